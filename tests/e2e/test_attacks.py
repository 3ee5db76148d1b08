"""Attacks on sealed data, by who owns the warehouse, edits files or sends events. Each fails closed: what was tampered
with does not open, everything else does."""

import contextlib
import json
import time

import msgpack
import psycopg
import pytest

import seal_writer as writer
import sealing
from ports import wait_for
from sealing import SealedWeir, application, call, expected, write
from weir import SLOW
from weir_reader import Sealed, audit, errors, handover, load_key, policy, sealed

N = 12
TABLE = "development_schema.raw_application"
QUERY = f"SELECT rid, case_id, amount, income, name FROM {TABLE} ORDER BY case_id"
HANDOFF = """handoffs:
  risk:
    query: "SELECT case_id, name, amount FROM development_schema.raw_application"
    purpose: test of hand-overs
    recipients: [ana]
    to: out
"""


@pytest.fixture(scope="module")
def scene(world, postgres):
    w = SealedWeir(world / "attacks", sealing.pipeline(
        "attacks", key_window="2s", more=HANDOFF,
        sources={"application": sealing.FILE.format(name="application", follow=", follow: true"),
                 "call": sealing.FILE.format(name="call", follow=", follow: true")}), postgres, "attacks")
    (w.directory / "out").mkdir(mode=0o777)
    (w.directory / "out").chmod(0o777)
    write(w.data / "application.ndjson", [application(n) for n in range(10, 10 + N)])
    write(w.data / "call.ndjson", [call(n) for n in range(10, 10 + N)])
    try:
        w.set_up()
        w.run()
        yield w
    finally:
        w.teardown()


@pytest.fixture(scope="module")
def reader(scene):
    with scene.reader() as r:
        yield r


@contextlib.contextmanager
def tampered(w, *statements):
    """As the warehouse's administrator; undone afterwards. A snapshot of what the statements touch is put back."""
    tables = [TABLE, "key_schema.wrap", "key_schema.envelope", "key_schema.policy", "key_schema.role_key", "key_schema.audit"]
    with w.superuser() as c:
        c.execute("SET session_replication_role = replica")  # triggers stop no administrator
        for i, t in enumerate(tables):
            c.execute(f"CREATE TEMP TABLE kept_{i} AS SELECT * FROM {t}")
        try:
            for s in statements:
                c.execute(*s) if isinstance(s, tuple) else c.execute(s)
            yield c
        finally:
            for i, t in reversed(list(enumerate(tables))):
                # The audit goes on meanwhile: what was added stays.
                c.execute(f"DELETE FROM {t}" + (f" WHERE id <= (SELECT max(id) FROM kept_{i})" if t.endswith("audit") else ""))
            for i, t in enumerate(tables):
                c.execute(f"INSERT INTO {t} SELECT * FROM kept_{i}")


def rows(reader, query=QUERY):
    return {r["case_id"]: r for r in reader.rows(query, purpose="test of attacks", on_error="mark")}


def refused(value, *names):
    assert isinstance(value, Sealed) and value.error.name in names, value
    return True


def carried(w, case, field):
    with w.superuser() as c:
        value, = c.execute(f"SELECT {field} FROM {TABLE} WHERE case_id = %s", (case,)).fetchone()
    return sealed.carried(bytes(value))


def pack(c):
    return writer.carried(*c)


def put(case, field, c):
    return f"UPDATE {TABLE} SET {field} = %s WHERE case_id = %s", (pack(c), case)


def assert_others_open(got, but):
    for case, row in got.items():
        if case not in but:
            assert row["amount"] == expected(application(int(case[1:])))["amount"]


# ---- in the warehouse ----
def test_values_of_two_rows_swapped(scene, reader):
    a, b = carried(scene, "L00010", "amount"), carried(scene, "L00011", "amount")
    with tampered(scene, put("L00010", "amount", a._replace(payload=b.payload)), put("L00011", "amount", b._replace(payload=a.payload))):
        got = rows(reader)
        assert refused(got["L00010"]["amount"], "auth") and refused(got["L00011"]["amount"], "auth")
        assert_others_open(got, {"L00010", "L00011"})
        assert got["L00010"]["income"] == expected(application(10))["income"]
    with tampered(scene, put("L00010", "amount", b), put("L00011", "amount", a)):  # with all they bring along
        got = rows(reader)
        assert refused(got["L00010"]["amount"], "auth") and refused(got["L00011"]["amount"], "auth")


def test_values_of_two_fields_swapped(scene, reader):
    a, b = carried(scene, "L00010", "amount"), carried(scene, "L00010", "income")
    for swap in ((put("L00010", "amount", a._replace(payload=b.payload)), put("L00010", "income", b._replace(payload=a.payload))),
                 (put("L00010", "amount", b), put("L00010", "income", a))):
        with tampered(scene, *swap):
            got = rows(reader)
            assert refused(got["L00010"]["amount"], "auth") and refused(got["L00010"]["income"], "auth")
            assert_others_open(got, {"L00010"})


def test_a_value_of_another_person(scene, reader):
    a, b = carried(scene, "L00010", "amount"), carried(scene, "L00011", "amount")
    with tampered(scene, put("L00010", "amount", a._replace(sid=b.sid)), put("L00011", "amount", b._replace(sid=None))):
        got = rows(reader)
        assert refused(got["L00010"]["amount"], "auth") and refused(got["L00011"]["amount"], "auth")


def test_a_value_of_another_pipeline(scene, reader):
    """Even one who has the data key (which nobody has) cannot paste what was sealed for another pipeline."""
    at = carried(scene, "L00010", "amount")
    kid = sealed.head(at.payload).kid
    with scene.superuser() as c:
        secret, = c.execute("SELECT secret FROM key_schema.subject WHERE sid = %s", (at.sid,)).fetchone()
    key = writer.DataKey(scene.data_keys()[kid])
    assert key.kid == kid
    paste = lambda pipeline: at._replace(payload=key.seal(writer.plain(1), pipeline, at.source, at.path, at.rid, at.sid, bytes(secret)))
    with tampered(scene, put("L00010", "amount", paste("other"))):
        assert refused(rows(reader)["L00010"]["amount"], "auth")
    with tampered(scene, put("L00010", "amount", paste("attacks"))):  # the test's own seal would open, in its place
        assert rows(reader)["L00010"]["amount"] == 1


def test_every_bit_of_header_nonce_and_tag(scene, reader):
    at = carried(scene, "L00010", "name")
    n = len(at.payload)
    places = [*range(44), 44, 45, *range(n - 16, n)]
    flipped = []
    for place in places:
        for bit in range(8):
            bad = bytearray(at.payload)
            bad[place] ^= 1 << bit
            flipped.append(at._replace(payload=bytes(bad)))
    got = reader.values([at, *flipped], purpose="test of attacks", on_error="mark")
    assert got[0] == expected(application(10))["name"]
    for place, value in zip([p for p in places for _ in range(8)], got[1:]):
        refused(value, *({0: ["version"], 1: ["suite"], 2: ["flags", "auth", "padding", "malformed"], 3: ["padding", "auth"]}
                         .get(place, ["key"] if place < 20 else ["auth"])))


def test_the_command_refuses_what_was_tampered_with(scene):
    at = carried(scene, "L00010", "amount")
    bad = at._replace(payload=at.payload[:-1] + bytes([at.payload[-1] ^ 1]))
    with tampered(scene, put("L00010", "amount", bad)):
        done = scene.open(f"SELECT case_id, amount FROM {TABLE} WHERE case_id IN ('L00010', 'L00011') ORDER BY 1", codes=(1,))
    first, second = done.stdout.splitlines()
    assert json.loads(first) == {"case_id": "L00010", "amount": {"$sealed": "auth"}}
    assert str(expected(application(11))["amount"]) in second


def opened_by_command(w, query=QUERY, codes=(1,)):
    return {r["case_id"]: r for r in map(json.loads, w.open(query, codes=codes).stdout.splitlines())}


AUTH = {"$sealed": "auth"}


def test_the_command_refuses_values_of_two_rows_swapped(scene):
    a, b = carried(scene, "L00010", "amount"), carried(scene, "L00011", "amount")
    for swap in ((put("L00010", "amount", a._replace(payload=b.payload)), put("L00011", "amount", b._replace(payload=a.payload))),
                 (put("L00010", "amount", b), put("L00011", "amount", a))):  # the second with all they bring along
        with tampered(scene, *swap):
            got = opened_by_command(scene)
            assert got["L00010"]["amount"] == got["L00011"]["amount"] == AUTH
            assert float(got["L00010"]["income"]) == float(expected(application(10))["income"])
            assert [r["amount"] for case, r in got.items() if r["amount"] == AUTH and case not in ("L00010", "L00011")] == []


def test_the_command_refuses_values_of_two_fields_swapped(scene):
    a, b = carried(scene, "L00010", "amount"), carried(scene, "L00010", "name")
    with tampered(scene, put("L00010", "amount", b), put("L00010", "name", a)):
        for query in (QUERY, f"SELECT case_id, amount AS a, name AS n FROM {TABLE}"):  # by whatever name, with or without rid
            got = opened_by_command(scene, query)["L00010"]
            assert [v for v in got.values() if isinstance(v, dict)] == [AUTH, AUTH]


def test_the_command_refuses_another_fields_value_in_a_fold(scene):
    with scene.superuser() as c:
        value, = c.execute("SELECT amount FROM development_schema.process WHERE case_id = 'L00010'").fetchone()
        other, = c.execute("SELECT who FROM development_schema.process WHERE case_id = 'L00010'").fetchone()
        c.execute("UPDATE development_schema.process SET amount = who WHERE case_id = 'L00010'")
        try:
            got = opened_by_command(scene, "SELECT case_id, amount, who FROM development_schema.process")
            assert got["L00010"]["amount"] == AUTH and got["L00010"]["who"] == "remark 10: spoke with Zoë"
        finally:
            c.execute("UPDATE development_schema.process SET amount = %s, who = %s WHERE case_id = 'L00010'", (value, other))
    assert all(r["amount"] != AUTH for r in opened_by_command(scene, "SELECT case_id, amount FROM development_schema.process", (0,)).values())


def test_a_hand_over_does_not_take_a_moved_value(scene):
    a, b = carried(scene, "L00010", "amount"), carried(scene, "L00010", "name")
    with tampered(scene, put("L00010", "amount", b), put("L00010", "name", a)):
        row = handed_over(scene)["L00010"]
    assert row["amount"] == row["name"] == AUTH


def handed_over(w):
    before = set((w.directory / "out").iterdir())
    w.command("handoff", "run", "risk", w.file, codes=(0, 1), timeout=30)
    made, = set((w.directory / "out").iterdir()) - before
    _, content = handover.decode(made.read_bytes(), load_key(w.member_key, sealing.PASSPHRASE))
    return {r["case_id"]: r for r in map(json.loads, content.splitlines())}


def test_a_hand_over_does_not_take_a_column_that_was_renamed(scene):
    """The signed query and its column names stay as they are; what lies under a name is another field."""
    rename = lambda *pairs: [f"ALTER TABLE {TABLE} RENAME {a} TO {b}" for a, b in pairs]
    with scene.superuser() as c:
        for there, back in (([("name", "kept"), ("birth", "name")], [("name", "birth"), ("kept", "name")]),
                            ([("amount", "kept"), ("income", "amount")], [("amount", "income"), ("kept", "amount")])):
            for s in rename(*there):
                c.execute(s)
            try:
                assert all(r[there[0][0]] == AUTH for r in handed_over(scene).values())
            finally:
                for s in rename(*back):
                    c.execute(s)
    assert all(r["name"] == expected(application(int(case[1:])))["name"] for case, r in handed_over(scene).items())


def test_a_wrap_moved_to_another_key(scene, reader):
    with scene.superuser() as c:
        role = scene.role_key().id
        (a,), (b,) = c.execute("SELECT w.kid FROM key_schema.wrap w JOIN key_schema.envelope e USING (pipeline, kid) WHERE rkid = %s"
                               " AND class IN ('financial', 'identity') AND kid IN (SELECT substr(decode(x, 'hex'), 1, 16) FROM unnest(%s::text[]) x)"
                               " ORDER BY class", (role, [k.hex() for k in used(scene)])).fetchall()[:2]
    move = ("UPDATE key_schema.wrap SET wrap = (SELECT wrap FROM key_schema.wrap WHERE kid = %s AND rkid = %s)"
            " WHERE kid = %s AND rkid = %s", (b, role, a, role))
    with tampered(scene, move):
        got = rows(reader)
        assert all(refused(r["amount"], "commit") for r in got.values())
        assert all(r["name"] == expected(application(int(case[1:])))["name"] for case, r in got.items())


def used(w):
    return {sealed.head(carried(w, "L00010", f).payload).kid for f in ("amount", "name")}


def test_envelopes_that_were_changed(scene, reader):
    """A core whose dates or class were changed, or that another sealer signed, opens nothing."""
    kid = sealed.head(carried(scene, "L00010", "amount").payload).kid
    with scene.superuser() as c:
        core, = c.execute("SELECT core FROM key_schema.envelope WHERE kid = %s", (kid,)).fetchone()
    core = bytes(core)
    change = lambda data: ("UPDATE key_schema.envelope SET core = %s WHERE kid = %s", (data, kid))
    later = bytearray(core)
    later[64] ^= 1
    with tampered(scene, change(bytes(later))):
        assert refused(rows(reader)["L00010"]["amount"], "signature")
    forger = writer.Signer()
    forged = core[:72] + forger.id + core[88:-64]
    with tampered(scene, change(forged + forger.sign(b"WRE1-core", forged))):
        assert refused(rows(reader)["L00010"]["amount"], "sealer")


def test_a_policy_of_the_administrators_own(scene):
    """It is believed by nobody who was told the root, nor by who has seen a later one."""
    root = (scene.keys / "root.pub").read_text().strip()
    mine, body = writer.Signer(), None
    with scene.reader(root=root) as r:
        good = r.release.policy
        body = scene_policy(scene)
    assert policy.decode(body, bytes.fromhex(root)).serial == good.serial
    forged = body[:-64] + mine.sign(b"WRP1-policy", body[:-64])
    with tampered(scene, ("UPDATE key_schema.policy SET body = %s", (forged,))):
        with scene.reader(root=root) as r, pytest.raises(errors.Signature):
            list(r.rows(QUERY, purpose="test of attacks"))


def scene_policy(w):
    with w.superuser() as c:
        return bytes(c.execute("SELECT body FROM key_schema.policy ORDER BY serial DESC LIMIT 1").fetchone()[0])


# ---- the release ----
def test_a_release_that_is_rolled_back(scene):
    kid = sealed.head(carried(scene, "L00010", "amount").payload).kid
    ask = ("SELECT key_schema.request('attacks', %s::bytea[], '{}', 'peek')", ([kid],))
    with psycopg.connect(scene.scientist()) as c:
        ticket, = c.execute(*ask).fetchone()
        with pytest.raises(psycopg.Error, match="not committed"):
            c.execute("SELECT * FROM key_schema.fetch(%s)", (ticket,)).fetchall()
        c.rollback()
        with pytest.raises(psycopg.Error, match="no such ticket"):
            c.execute("SELECT * FROM key_schema.fetch(%s)", (ticket,)).fetchall()
        c.rollback()
        ticket, = c.execute(*ask).fetchone()
        c.commit()
        assert c.execute("SELECT count(*) FROM key_schema.fetch(%s) WHERE kind = 'wrap'", (ticket,)).fetchone()[0] >= 1


def test_a_ticket_of_another_user_or_late(scene):
    kid = sealed.head(carried(scene, "L00010", "amount").payload).kid
    with psycopg.connect(scene.scientist(), autocommit=True) as a, psycopg.connect(scene.scientist(), autocommit=True) as b:
        ticket, = a.execute("SELECT key_schema.request('attacks', %s::bytea[], '{}', 'mine')", ([kid],)).fetchone()
        fetch = ("SELECT * FROM key_schema.fetch(%s)", (ticket,))
        with pytest.raises(psycopg.Error, match="no such ticket"):
            b.execute(*fetch).fetchall()
        with tampered(scene, ("UPDATE key_schema.audit SET at = at - interval '601 s' WHERE ticket = %s", (ticket,))):
            with pytest.raises(psycopg.Error, match="ten minutes"):
                a.execute(*fetch).fetchall()
        assert a.execute(*fetch).fetchall()


def test_who_is_no_data_scientist_gets_no_ticket(scene):
    kid = sealed.head(carried(scene, "L00010", "amount").payload).kid
    for group in ("data_analysts", "business_analysts", "bi", "operators"):
        with psycopg.connect(scene.scientist(group), autocommit=True) as c:
            for statement in ("SELECT key_schema.request('attacks', %s::bytea[], '{}', 'x')", f"SELECT %s::bytea[], * FROM {TABLE}",
                              "SELECT %s::bytea[], * FROM key_schema.wrap", "SELECT %s::bytea[], * FROM key_schema.subject"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    c.execute(statement, ([kid],))


def test_the_audit_names_the_first_bad_row(scene, reader):
    rows(reader), rows(reader)
    chain = "SELECT id, prev, hash, convert_to(key_schema.audit_text(a), 'UTF8') FROM key_schema.audit a ORDER BY id"
    verify = lambda code: scene.keys_command("audit", "verify", yes=False, codes=(code,))
    with tampered(scene) as c:
        assert audit.first_bad_row(c.execute(chain).fetchall()) is None
        verify(0)
        for change in ("UPDATE key_schema.audit SET purpose = 'nothing' WHERE id = 2", "UPDATE key_schema.audit SET login = 'nobody' WHERE id = 2",
                       "DELETE FROM key_schema.audit WHERE id = 2"):
            c.execute("BEGIN")
            c.execute(change)
            assert audit.first_bad_row(c.execute(chain).fetchall()) == 2
            c.execute("ROLLBACK")
        c.execute("UPDATE key_schema.audit SET purpose = 'nothing' WHERE id = 2")
        assert " 2" in verify(65).stdout


# ---- key files and policies at a start ----
def refused_start(w, *words):
    """Weir does not run, says why, and reads nothing."""
    done = w.command("run", "--until", "now", w.file, codes=None, timeout=60)
    assert done.returncode == 77, f"exit {done.returncode}\n{done.stderr[-3000:]}"
    assert any(word in done.stderr for word in words), f"{words}: none is in\n{done.stderr[-3000:]}"


@contextlib.contextmanager
def changed(*paths):
    kept = [(p, p.read_bytes(), p.stat()) for p in paths]
    try:
        yield
    finally:
        for p, data, was in kept:
            p.write_bytes(data)
            p.chmod(was.st_mode & 0o777)


@pytest.mark.parametrize("name, mode", [("sealer.key", 0o640), ("token-person-1.key", 0o604)])
def test_key_files_that_others_may_read(scene, name, mode):
    with changed(scene.keys / name):
        (scene.keys / name).chmod(mode)
        refused_start(scene, name.removesuffix(".key"))


def test_a_member_key_that_others_may_read_or_with_other_parameters(scene):
    with changed(scene.member_key):
        scene.member_key.chmod(0o640)
        done = scene.open(QUERY, codes=(77,))
        assert "permissions" in done.stderr and not done.stdout.strip()
    good = scene.member_key.read_bytes()
    for at, value in ((8, (11).to_bytes(4, "big")), (12, (2 * 1024 * 1024 + 1).to_bytes(4, "big")), (12, (7).to_bytes(4, "big")),
                      (8, (0).to_bytes(4, "big")), (8, b"\xff" * 8)):
        with changed(scene.member_key):
            scene.member_key.write_bytes(good[:at] + value + good[at + len(value):])
            started = time.monotonic()
            assert "kdf" in scene.open(QUERY, codes=(77,)).stderr
            assert time.monotonic() - started < 10 * SLOW
            with pytest.raises(errors.Kdf):
                load_key(scene.member_key, sealing.PASSPHRASE)


def test_policies_rolled_back_changed_or_with_a_low_order_key(scene):
    file, root_key = scene.keys / "policy", load_key(scene.keys / "root.key", sealing.PASSPHRASE)
    with changed(file):
        old = file.read_bytes()
        scene.sign("--renew")
        with changed(file):
            scene.apply()
        refused = old
        file.write_bytes(refused)  # the one before
        refused_start(scene, "policy")
    with scene.superuser() as c:
        file.write_bytes(scene_policy(scene))
    good = file.read_bytes()
    with changed(file):
        bad = bytearray(good)
        bad[40] ^= 1
        file.write_bytes(bad)
        refused_start(scene, "not signed", "signature")
        file.write_bytes(good[:-64] + bytes(64))
        refused_start(scene, "not signed", "signature")
        file.write_bytes(writer.policy(writer.Signer(), good[8:-64]))
        refused_start(scene, "not signed", "signature")
        root, pk = writer.Signer(root_key._secret), policy.decode(good, root_key.public).roles["data_science"].public
        assert root.public == root_key.public and good.count(pk) == 1
        file.write_bytes(writer.policy(root, good[8:-64].replace(pk, bytes(32))))
        refused_start(scene, "lowpoint")
        with pytest.raises(errors.LowPoint):
            policy.decode(file.read_bytes(), root_key.public)
        body = msgpack.unpackb(good[8:-64])
        body[2] = int(time.time() * 1000) - 1000  # it ran out a second ago
        file.write_bytes(writer.policy(root, body))
        refused_start(scene, "valid")
    scene.run()


def test_a_low_order_key_is_granted_nothing(scene):
    public = scene.directory / "member-eve.pub"
    with changed(scene.keys / "policy"):
        for pk in ("00" * 32, "01" + "00" * 31, "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"):
            public.write_text(pk + "\n")
            done = scene.keys_command("grant", "member", "eve", "--role", "data_science", "--public", public, "--member-key",
                                      scene.member_key, codes=None)
            assert done.returncode not in (0, 70) and "lowpoint" in done.stderr, done.stderr
    with scene.superuser() as c:
        assert c.execute("SELECT count(*) FROM key_schema.role_key WHERE member = 'eve'").fetchone() == (0,)


@contextlib.contextmanager
def fitting_tables(w, word):
    """What apply would have done; else load, which compares columns, refuses before ingest can."""
    there, back = {"amount": ("RENAME amount TO kept, ADD amount numeric", "DROP amount, RENAME kept TO amount"),
                   "rich": ("ADD rich boolean", "DROP rich")}.get(word, ("", ""))
    with w.superuser() as c:
        alter = lambda steps: [c.execute(f"ALTER TABLE {TABLE} {step}") for step in steps.split(", ") if step]
        alter(there)
        try:
            yield
        finally:
            alter(back)


@pytest.mark.parametrize("change, word", [
    (("amount: { type: decimal, sensitive: financial }", "amount: decimal"), "amount"),
    (("      band: \"bucket(amount, 5000, 15000, 50000)\"\n", "      band: \"bucket(amount, 5000, 15000, 50000)\"\n"
      "      rich: \"income > 10000\"\n"), "rich"),
    (("name: { type: text, sensitive: identity, path: customer.name }", "name: { type: text, sensitive: financial, path: customer.name }"),
     "name"),
    (("    subject: cpf\n", ""), "subject"),
    (("      channel: text\n", "      channel: { type: text, path: secret_note }\n"), "application.secret_note: read in clear"),
    (("      channel: text\n", "      channel: { type: text, path: customer.note }\n"), "application.customer.note: read in clear"),
    ((", canonical: cpf, pad: 16", ", pad: 16"), "canonical form"),
    ((", canonical: cpf, pad: 16", ", canonical: cpf, pad: 0"), "padded less"),
    (("recipients: [ana]", "recipients: [ana]\n    format: csv"), None),
    (("SELECT case_id, name, amount FROM", "SELECT case_id, name, amount, income FROM"), "risk"),
    (("purpose: test of hand-overs", "purpose: marketing"), "risk"),
], ids=["no-longer-sensitive", "new-derive", "another-class", "no-subject", "clear-of-undeclared", "clear-of-a-neighbour", "canonical",
        "pad", "another-format", "another-query", "another-purpose"])
def test_a_pipeline_file_that_is_weaker_than_what_was_signed(scene, change, word):
    """Whoever edits the one file declassifies nothing: apply refuses it, and so does ingest, even where the tables were
    made to fit."""
    with changed(scene.file):
        text = scene.file.read_text()
        assert change[0] in text
        scene.file.write_text(text.replace(change[0], change[1], 1))
        applied = scene.command("apply", scene.file, codes=None)
        with fitting_tables(scene, word):
            done = scene.command("run", "--until", "now", scene.file, codes=None, timeout=60)
        if word is None:
            assert done.returncode == 0  # no weaker for that
        elif word == "risk":
            done = scene.command("handoff", "run", "risk", scene.file, codes=None, timeout=30)
            assert done.returncode == 77 and word in done.stderr, done.stderr[-2000:]
            assert not any(p for p in (scene.directory / "out").iterdir() if "income" in p.name)
        else:
            assert applied.returncode != 0 and word in applied.stdout + applied.stderr, applied.stdout + applied.stderr
            assert done.returncode == 77 and "signed" in done.stderr, done.stderr[-3000:]
    scene.apply()
    with scene.superuser() as c:
        kind, = c.execute("SELECT data_type FROM information_schema.columns WHERE table_name = 'raw_application' AND column_name = 'amount'"
                          ).fetchone()
    assert kind == "bytea"


# ---- hand-over files ----
def test_a_hand_over_that_is_truncated(scene):
    out = scene.directory / "out"
    scene.command("handoff", "run", "risk", scene.file, timeout=30)
    files = [p for p in out.iterdir() if p.is_file()]
    assert len(files) >= 1, "no file"
    whole, me = files[0].read_bytes(), load_key(scene.member_key, sealing.PASSPHRASE)
    head, content = handover.decode(whole, me)
    assert head.name == "risk" and content.count(b"\n") == N
    opens = lambda path: scene.command("open", "file", path, "--member-key", scene.member_key, "--passphrase-file", scene.passphrase,
                                       codes=None)
    assert [json.loads(x)["case_id"] for x in opens(files[0]).stdout.splitlines()] and opens(files[0]).returncode == 0
    opened = sealing.weir_reader.open_file(files[0], scene.member_key, sealing.PASSPHRASE)
    assert (opened.name, opened.purpose, len(opened.frame())) == ("risk", "test of hand-overs", N)
    cut = scene.directory / "cut.weir"
    for n in (len(whole) - 1, len(whole) - 20, len(head.data) + 24, len(head.data) // 2):
        cut.write_bytes(whole[:n])
        done = opens(cut)
        assert done.returncode != 0 and "truncated" in done.stderr, done.stderr
        with pytest.raises(errors.Truncated):
            handover.decode(whole[:n], me)


# ---- events ----
@pytest.fixture(scope="module")
def living(scene, reader):
    process = scene.up()
    yield process
    if process.poll() is None:
        scene.stop(process)


def count(w, where="true"):
    with w.superuser() as c:
        return c.execute(f"SELECT count(*) FROM {TABLE} WHERE {where}").fetchone()[0]


def test_events_that_imitate_sealed_values(scene, reader, living):
    """JSON has no extension types: bytes of sealed values, tokens and envelopes in an event are texts like any other."""
    at = carried(scene, "L00010", "amount")
    sent = [application(500, channel=at.payload.hex(), customer={"name": pack(at).hex()}),
            application(501, channel="\u00c7S\u0001\u0001\u0001\u0004", customer={"name": "\\x01010200"}),
            application(502, channel="0101" + "00" * 18)]
    bad = application(503, amount={"$ext": 0x53, "data": at.payload.hex()}), application(504, amount=at.payload.hex())
    write(scene.data / "application-imitations.ndjson", [*sent, *bad])
    wait_for("the events", lambda: count(scene, "case_id >= 'L00500'") == len(sent), 60 * SLOW)
    got = rows(reader, f"SELECT rid, case_id, channel, name, amount, cpf_token FROM {TABLE} WHERE case_id >= 'L00500'")
    for e in sent:
        assert (got[e["case_id"]]["channel"], got[e["case_id"]]["name"]) == (e["channel"], e["customer"]["name"])
    with scene.superuser() as c:
        wait_for("dead letters", lambda: c.execute("SELECT count(*) FROM admin_schema.dead_letter").fetchone()[0] == 2, 30 * SLOW)


def test_the_keeper_without_its_store(scene, reader, living):
    """The current key until its window ends; then back pressure: nothing in clear, nothing under an expired key. When the
    store is back, everything arrives."""
    keeper = "weir_attacks_keeper"
    before, known = count(scene), set(scene.data_keys())
    scene.server.sql(f"ALTER ROLE {keeper} CONNECTION LIMIT 0")
    scene.server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{keeper}'")
    try:
        with scene.superuser() as c:
            wait_for("the end of every window", lambda: c.execute(
                "SELECT coalesce(bool_and(not_after + interval '200 ms' < clock_timestamp()), false) FROM key_schema.envelope").fetchone()[0],
                30 * SLOW)
        known |= set(scene.data_keys())
        write(scene.data / "application-late.ndjson", [application(n) for n in range(600, 600 + N)])
        wait_for("ingest that waits for the keeper", lambda: any(
            x["role"] == "ingest" and "keeper" in x["why"] for x in scene.status(living)["unready"]), 30 * SLOW)
        with scene.superuser() as c:  # several windows later
            start = c.execute("SELECT clock_timestamp()").fetchone()[0]
            wait_for("time to pass", lambda: c.execute("SELECT clock_timestamp() > %s + interval '3 s'", (start,)).fetchone()[0], 10)
            dead, = c.execute("SELECT count(*) FROM admin_schema.dead_letter WHERE at > %s", (start,)).fetchone()
        assert count(scene) == before and dead == 0 and not set(scene.data_keys()) - known
        assert living.poll() is None
    finally:
        scene.server.sql(f"ALTER ROLE {keeper} CONNECTION LIMIT -1")
    wait_for("what was held back", lambda: count(scene) == before + N, 60 * SLOW)
    got = rows(reader, f"SELECT rid, case_id, amount, income, name FROM {TABLE} WHERE case_id >= 'L00600'")
    assert len(got) == N
    assert_others_open(got, ())
    with scene.superuser() as c:
        kids = {sealed.head(sealed.carried(bytes(x)).payload).kid for x, in c.execute(f"SELECT amount FROM {TABLE} WHERE case_id >= 'L00600'")}
    assert not kids & known, "sealed under a key whose window had ended"
