"""`weir keys`, `weir open` and hand-overs against a real warehouse: what was sealed opens for who may, and for nobody else."""

import csv
import hashlib
import io
import json
import os
import subprocess

import psycopg
import pytest

import seal_writer
import sealing
from sealing import application, call, cpf_of, write
from ports import wait_for
from sealing import weir_reader
from weir import BIN, SLOW

N = 30
PURPOSE = "test of opening"
FIELDS = ("case_id", "cpf", "name", "amount", "income", "birth", "married", "score", "children")
HANDOFF = """handoffs:
  monthly:
    query: "SELECT case_id, name, amount, band FROM raw_application ORDER BY case_id"
    purpose: a model of risk
    recipients: [ana]
    to: {to}
"""


class Keys(sealing.SealedWeir):
    def opened(self, what, *options, key=None, codes=(0,), dsn=None, passphrase=None):
        dsn_file = self.directory / "reader.dsn"
        dsn_file.touch(0o600)
        dsn_file.write_text(dsn or self.scientist())
        return self.command("open", what, "--pipeline", self.file, "--member-key", key or self.member_key, "--passphrase-file",
                            passphrase or self.passphrase, "--purpose", PURPOSE, "--dsn-file", dsn_file, *options, codes=codes)

    def rows(self, what, **kw):
        return [json.loads(line) for line in self.opened(what, **kw).stdout.splitlines()]

    def keys_json(self, *words, codes=(0,), **kw):
        return json.loads(self.keys_command(*words, "-o", "json", codes=codes, **kw).stdout)

    def query(self, sql, *params):
        with self.superuser() as c:
            return c.execute(sql, params or None).fetchall()

    def feed(self, events, name="application"):
        write(self.data / f"{name}-{len(list(self.data.iterdir()))}.ndjson", events)
        return self.run()

    def new_member(self, name):
        self.command("keys", "member", name, "--passphrase-file", self.passphrase, "--kdf-memory", 1)
        return self.directory / f"member-{name}.key", self.directory / f"member-{name}.pub"


@pytest.fixture
def keys(directory, postgres):
    """A sealed pipeline, applied and fed with N applications."""
    (directory / "out").mkdir()
    (directory / "out").chmod(0o777)
    w = Keys(directory / "w", sealing.pipeline(more=HANDOFF.format(to=directory / "out")), postgres, f"keys_{os.urandom(4).hex()}")
    w.out = directory / "out"
    w.set_up()
    w.feed([application(n) for n in range(N)])
    yield w
    w.teardown()


def in_clear(n):
    """What opening event n must give, as JSON has it."""
    event = json.loads(json.dumps(application(n)))
    event["name"] = event.get("customer", {}).get("name")
    return {f: event.get(f) for f in FIELDS}


def same(row, n):
    wanted = in_clear(n)
    got = {f: row[f] for f in FIELDS}
    for f in ("amount", "income", "score"):
        if wanted[f] is not None:
            wanted[f], got[f] = float(wanted[f]), float(got[f])
    return got == wanted


def test_init_never_overwrites_and_says_what_to_do(keys):
    before = {p.name: p.read_bytes() for p in keys.keys.iterdir()}
    again = keys.command("keys", "init", keys.file, "--passphrase-file", keys.passphrase, codes=(78,))
    assert "never overwritten" in again.stderr and "next:" in again.stderr
    assert {p.name: p.read_bytes() for p in keys.keys.iterdir()} == before
    for p in keys.keys.glob("*.key"):
        assert p.stat().st_mode & 0o77 == 0, p


def test_open_gives_what_went_in(keys):
    rows = keys.rows("SELECT * FROM raw_application ORDER BY case_id")
    assert len(rows) == N
    assert all(same(row, n) for n, row in enumerate(rows)), next((row, in_clear(n)) for n, row in enumerate(rows) if not same(row, n))
    table = keys.rows("raw_application")
    assert sorted(r["case_id"] for r in table) == [r["case_id"] for r in rows]
    document = json.loads(keys.opened("SELECT case_id, name FROM raw_application ORDER BY 1", "-o", "json").stdout)
    assert [r["name"] for r in document] == [r["name"] for r in rows]
    as_csv = list(csv.DictReader(io.StringIO(keys.opened("SELECT case_id, name, amount FROM raw_application ORDER BY 1", "-o", "csv").stdout)))
    assert [r["case_id"] for r in as_csv] == [r["case_id"] for r in rows]
    assert as_csv[9]["name"] == rows[9]["name"]
    process = keys.rows("SELECT * FROM process ORDER BY 1")
    assert [p["who"] for p in process] == [r["name"] for r in rows]


def test_every_opening_leaves_a_row_that_says_who_and_why(keys):
    keys.rows("raw_application")
    login, purpose, kids = keys.query("SELECT login, purpose, kids FROM key_schema.audit WHERE kind = 'release' ORDER BY id DESC")[0]
    assert login.startswith("p_") and purpose == PURPOSE and kids
    refused = keys.command("open", "raw_application", keys.file, "--member-key", keys.member_key, codes=(64,))
    assert "--purpose" in refused.stderr


def test_nobody_opens_with_another_key_passphrase_or_login(keys):
    stranger, _ = keys.new_member("eve")
    done = keys.opened("SELECT case_id, name FROM raw_application ORDER BY 1", key=stranger, codes=(1,))
    assert all(json.loads(line)["name"] == {"$sealed": "recipient"} for line in done.stdout.splitlines())
    wrong = keys.directory / "wrong"
    wrong.touch(0o600)
    wrong.write_text("another passphrase\n")
    assert "passphrase" in keys.opened("raw_application", passphrase=wrong, codes=(77,)).stderr
    assert keys.opened("raw_application", dsn=keys.scientist("business_analysts"), codes=(77,)).stdout == ""
    keys.member_key.chmod(0o644)
    assert "permissions" in keys.opened("raw_application", codes=(77,)).stderr
    keys.member_key.chmod(0o600)


def test_opened_data_goes_to_a_terminal_only_when_asked(keys):
    parent, child = os.openpty()
    dsn = keys.directory / "reader.dsn"
    dsn.write_text(keys.scientist())
    assert "dsn: others than its owner" in keys.command("open", "raw_application", keys.file, "--member-key", keys.member_key,
                                                        "--dsn-file", dsn, "--show", "--purpose", PURPOSE, "--passphrase-file",
                                                        keys.passphrase, codes=(77,)).stderr
    dsn.chmod(0o600)
    words = [BIN / "weir", "open", "raw_application", keys.file, "--member-key", keys.member_key, "--passphrase-file", keys.passphrase,
             "--purpose", PURPOSE, "--dsn-file", dsn]
    done = subprocess.run(list(map(str, words)), cwd=keys.directory, env=keys.env, stdout=child, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 64 and "--show" in done.stderr
    os.close(child)
    os.close(parent)


def test_a_member_is_granted_and_revoked_without_touching_rows(keys):
    secret, public = keys.new_member("bob")
    before = keys.query("SELECT count(*), max(xmin::text::bigint) FROM key_schema.wrap")
    told = keys.keys_json("grant", "member", "bob", "--public", public, "--member-key", keys.member_key)
    assert told["serial"] == 3 and any("bob" in line for line in told["changes"])
    keys.apply()
    assert keys.query("SELECT count(*), max(xmin::text::bigint) FROM key_schema.wrap") == before
    rows = keys.rows("SELECT * FROM raw_application ORDER BY case_id", key=secret)
    assert all(same(row, n) for n, row in enumerate(rows))
    told = keys.keys_json("revoke", "member", "bob")
    assert any("--reseal" in line for line in told["not"]) and any("REVOKE" in line for line in told["not"])
    keys.apply()
    done = keys.opened("SELECT case_id, name FROM raw_application", key=secret, codes=(1,))
    assert '"$sealed":"recipient"' in done.stdout
    kinds = [k for k, in keys.query("SELECT kind FROM key_schema.audit WHERE kind IN ('grant', 'revoke') ORDER BY id")]
    assert kinds == ["grant", "revoke"]


def test_a_role_is_granted_one_class_alone(keys):
    secret, public = keys.new_member("bob")
    keys.keys_command("grant", "role", "risk", "--class", "financial", "--member", "ana", "--member-key", keys.member_key)
    keys.keys_command("grant", "member", "bob", "--role", "risk", "--public", public, "--member-key", keys.member_key)
    keys.apply()
    rows = keys.opened("SELECT case_id, name, amount FROM raw_application ORDER BY 1", key=secret, codes=(1,)).stdout.splitlines()
    for n, row in enumerate(map(json.loads, rows)):
        assert row["name"] == {"$sealed": "recipient"} and float(row["amount"]) == float(in_clear(n)["amount"])
    assert keys.keys_json("verify", "--member-key", keys.member_key)["problems"] == 0
    keys.keys_command("revoke", "role", "risk", "--class", "financial")
    keys.apply()
    assert '"amount":{"$sealed":"recipient"}' in keys.opened("SELECT amount FROM raw_application", key=secret, codes=(1,)).stdout
    assert keys.rows("SELECT amount FROM raw_application")


def test_a_role_is_rotated(keys):
    old = keys.role_key()
    told = keys.keys_json("rotate", "role", "data_science", "--member-key", keys.member_key)
    wraps, = keys.query("SELECT count(*) FROM key_schema.envelope")[0]
    assert told["epoch"] == 2 and told["wraps"] == told["dropped"] == wraps > 0
    keys.apply()
    assert keys.keys_json("verify", "--member-key", keys.member_key)["problems"] == 0
    assert keys.query("SELECT count(*) FROM key_schema.wrap WHERE rkid = %s", old.id) == [(0,)]
    keys.keys_command("rotate", "role", "data_science", "--finish", "--member-key", keys.member_key)
    assert keys.query("SELECT DISTINCT epoch FROM key_schema.role_key") == [(2,)]
    keys.feed([application(n) for n in range(N, N + 5)])
    rows = keys.rows("SELECT * FROM raw_application ORDER BY case_id")
    assert len(rows) == N + 5 and all(same(row, n) for n, row in enumerate(rows))


def test_the_sealer_is_rotated(keys):
    signed = lambda: {bytes(s) for s, in keys.query("SELECT DISTINCT substring(core from 73 for 16) FROM key_schema.envelope")}
    before, file = signed(), (keys.keys / "sealer.key").read_bytes()
    told = keys.keys_json("rotate", "sealer", "--purpose", "once a year")
    assert told["serial"] > 1 and any("lists the sealer before" in line for line in told["not"])
    assert (keys.keys / "sealer.key.old").read_bytes() == file != (keys.keys / "sealer.key").read_bytes()
    assert (keys.keys / "sealer.key").stat().st_mode & 0o77 == 0
    keys.apply()
    keys.feed([application(n) for n in range(N, N + 5)])
    assert len(before) == 1 and before < signed() and len(signed()) == 2
    assert keys.keys_json("verify", "--member-key", keys.member_key)["problems"] == 0
    rows = keys.rows("SELECT * FROM raw_application ORDER BY case_id")
    assert len(rows) == N + 5 and all(same(row, n) for n, row in enumerate(rows))
    assert keys.query("SELECT purpose, detail->>'what' FROM key_schema.audit WHERE kind = 'rotate'") == [("once a year", "sealer")]
    # Lost, and not only rotated: the same command makes another.
    (keys.keys / "sealer.key").unlink()
    (keys.keys / "sealer.key.old").unlink()
    keys.keys_command("rotate", "sealer")
    keys.apply()
    keys.feed([application(n) for n in range(N + 5, N + 8)])
    assert len(signed()) == 3 and len(keys.rows("raw_application")) == N + 8


def test_escrow_opens_for_a_role_that_lost_its_members(keys):
    _, public = keys.new_member("bob")
    keys.keys_command("grant", "member", "bob", "--public", public, "--member-key", keys.keys / "escrow.key")
    keys.apply()
    rows = keys.rows("SELECT * FROM raw_application ORDER BY case_id", key=keys.directory / "member-bob.key")
    assert all(same(row, n) for n, row in enumerate(rows))


def test_token_keys_have_epochs(keys):
    told = keys.keys_json("rotate", "token", "person", yes=False)
    assert told["epoch"] == 2 and (keys.keys / "token-person-2.key").exists()
    assert "policy sign" in told["next"] and "weir apply" in told["next"]
    write(keys.data / "application-9.ndjson", [application(9, seq=6)])
    refused = keys.command("run", "--until", "now", keys.file, codes=(77,), timeout=60)
    assert "token key of domain person, epoch 2 is not in the signed policy" in refused.stderr
    (keys.data / "application-9.ndjson").unlink()
    signed = keys.keys_json("policy", "sign")
    assert any("+ token key of domain person, epoch 2" in line for line in signed["changes"])
    keys.apply()
    keys.feed([application(9, seq=7)])
    tokens = {t[:4] for t, in keys.query("SELECT cpf_token FROM development_schema.raw_application WHERE case_id = 'L00009'")}
    assert tokens == {"0101", "0102"}


def test_a_token_key_under_another_ones_name(keys):
    """Persons would have other pseudonyms, which no erasure finds: everything that uses or looks at the key says so."""
    there = keys.keys / "token-person-1.key"
    kept = there.rename(keys.directory / "kept")
    assert keys.keys_json("rotate", "token", "person", yes=False)["epoch"] == 1  # none is there
    words = "token key of domain person, epoch 1 is another than the signed policy lists"
    try:
        assert words in keys.command("run", "--until", "now", keys.file, codes=(77,), timeout=60).stderr
        assert words in keys.keys_command("erase", "--domain", "person", yes=False, codes=(77,), input=cpf_of(9) + "\n").stderr
        checked = keys.command("check", keys.file, codes=None)
        assert checked.returncode and words in checked.stdout
        verified = keys.keys_json("verify", yes=False, codes=(65,))
        assert any(words in line for line in verified["not"])
    finally:
        kept.rename(there)
    assert keys.keys_json("verify", yes=False)["problems"] == 0


@pytest.mark.parametrize("by", ["stdin", "file"])
def test_an_erased_person_never_opens_again_in_any_epoch(keys, by):
    keys.keys_command("rotate", "token", "person", yes=False)
    keys.sign()
    keys.apply()
    write(keys.data / "application-broken.ndjson", ['{"cpf": "%s"' % cpf_of(9)])
    keys.command("run", "--until", "now", keys.file, codes=(1,), timeout=60)
    keys.feed([application(9, seq=7)])
    digits = cpf_of(9)
    identifier = f"{digits[:3]}.{digits[3:6]}.{digits[6:9]}-{digits[9:]}\n"
    options, given = [], identifier
    if by == "file":
        path = keys.directory / "subject"
        path.write_text(identifier)
        options, given = ["--subject-file", path], None
    told = keys.keys_json("erase", "--domain", "person", *options, yes=False, input=given)
    assert (told["sids"], told["erased"], told["tombstones"]) == (2, 1, 2)  # as it is written, and digits
    assert any("window" in line for line in told["did"])
    assert told["dead_letters_of_nobody"] == 1 and any("1 dead letters are bound to no person" in line for line in told["not"])
    rows = keys.rows("SELECT * FROM raw_application ORDER BY case_id, seq")
    for row in rows:
        if row["case_id"] == "L00009":
            assert row["name"] == row["amount"] == row["cpf"] == {"$sealed": "erased"}
        else:
            assert same(row, int(row["case_id"][1:]))
    again = keys.keys_json("erase", "--domain", "person", *options, yes=False, input=given)
    assert (again["erased"], again["erased_before"]) == (0, 2)
    audit = keys.query("SELECT kind, cardinality(sids), detail::text, purpose FROM key_schema.audit WHERE kind = 'erase'")
    assert audit[0][:2] == ("erase", 2) and digits not in str(audit)
    keys.keys_command("rotate", "token", "person", yes=False)
    keys.sign()
    keys.apply()
    keys.feed([application(9, seq=8)])
    assert keys.query("SELECT DISTINCT left(cpf_token, 4) FROM development_schema.raw_application WHERE seq = 8") == [("0103",)]
    assert keys.query("SELECT DISTINCT secret FROM key_schema.subject WHERE erased_at IS NOT NULL") == [(None,)]
    assert all(r["name"] == {"$sealed": "erased"} for r in keys.rows("SELECT name FROM raw_application WHERE case_id = 'L00009'"))


def test_who_holds_the_audit_cannot_keep_a_person_from_being_erased(keys):
    """A reader's transaction that idles by its own setting is named, and ended once the owner may end sessions."""
    dsn, given = keys.scientist(), cpf_of(11) + "\n"
    erase = lambda *options, **kw: keys.keys_command("erase", "--domain", "person", *options, yes=False, input=given, **kw)
    owner, = keys.query("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'key_schema.chain'::regclass")[0]
    kid, = keys.query("SELECT kid FROM key_schema.envelope LIMIT 1")[0]
    with psycopg.connect(dsn, autocommit=True) as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT key_schema.request(%s, %s, '{}', 'to hold it')", (keys.pipeline_name, [bytes(kid)]))
        holder.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        refused = erase(codes=(69,))
        assert f"login {holder.info.user} holds the audit" in refused.stderr and "pg_terminate_backend" in refused.stderr
        keys.server.sql(f"GRANT pg_signal_backend TO {owner}")
        try:
            done = erase()
        finally:
            keys.server.sql(f"REVOKE pg_signal_backend FROM {owner}")
        assert f"ended the session of login {holder.info.user}" in done.stdout + done.stderr
        with pytest.raises(psycopg.OperationalError):
            holder.execute("SELECT 1")


def test_an_identifier_of_another_form_is_refused(keys):
    done = keys.keys_command("erase", "--domain", "person", yes=False, input="not a number\n", codes=(64,))
    assert "form" in done.stderr and "not a number" not in done.stderr
    keys.keys_command("erase", "--domain", "nothing", yes=False, input="1\n", codes=(64,))


def test_verify_names_what_is_wrong(keys):
    good = keys.keys_json("verify", "--member-key", keys.member_key)
    assert good["problems"] == 0 and good["opened"] == good["envelopes"] > 0
    one, two = [k for k, in keys.query("SELECT kid FROM key_schema.envelope ORDER BY kid LIMIT 2")]
    role = keys.role_key()
    with keys.superuser() as c:
        c.execute("DELETE FROM key_schema.wrap WHERE kid = %s AND rkid = %s", (one, role.id))
        c.execute("UPDATE key_schema.envelope SET core = set_byte(core, 40, get_byte(core, 40) # 1) WHERE kid = %s", (two,))
    bad = keys.keys_json("verify", codes=(65,))
    assert bad["problems"] == 2
    assert any(one.hex() in line and "no wrap for role data_science" in line for line in bad["not"])
    assert any(two.hex() in line for line in bad["not"])


def test_a_wrap_of_another_key_is_noticed(keys):
    role = keys.role_key()
    (a, wrap_a), (b, wrap_b) = keys.query("SELECT w.kid, w.wrap FROM key_schema.wrap w JOIN key_schema.envelope e"
                                            " USING (pipeline, kid) WHERE w.rkid = %s AND e.class <> 'dead_letter' ORDER BY kid LIMIT 2", role.id)
    with keys.superuser() as c:
        c.execute("UPDATE key_schema.wrap SET wrap = %s WHERE kid = %s AND rkid = %s", (wrap_b, a, role.id))
    bad = keys.keys_json("verify", "--member-key", keys.member_key, codes=(65,))
    assert any(a.hex() in line and "commit" in line for line in bad["not"])
    assert '"$sealed":"commit"' in keys.opened("raw_application", codes=(1,)).stdout + keys.opened("process", codes=(0, 1)).stdout


def test_the_audit_chain_names_its_first_bad_row(keys):
    for _ in range(3):
        keys.rows("SELECT case_id, name FROM raw_application LIMIT 3")
    heads = keys.directory / "heads"
    signed = keys.keys_json("audit", "sign", "--heads", heads, yes=False)
    assert keys.keys_json("audit", "verify", "--heads", heads, yes=False)["heads"] == 1
    assert keys.keys_json("audit", "verify", yes=False)["rows"] == signed["id"]
    with keys.superuser() as c:
        c.execute("ALTER TABLE key_schema.audit DISABLE TRIGGER stays")
        c.execute("UPDATE key_schema.audit SET purpose = 'nothing to see' WHERE id = 2")
        bad = keys.keys_json("audit", "verify", yes=False, codes=(65,))
        assert bad["bad"] == 2 and "what was hashed" in bad["not"][0]
        # A chain that is written anew as a whole fits in itself, and not to the head that was taken away.
        c.execute("""DO $$ DECLARE a key_schema.audit; p bytea := decode(repeat('00', 32), 'hex'); BEGIN
            FOR a IN SELECT * FROM key_schema.audit ORDER BY id LOOP
                a.prev := p; a.hash := sha256(p || convert_to(key_schema.audit_text(a), 'UTF8')); p := a.hash;
                UPDATE key_schema.audit SET prev = a.prev, hash = a.hash WHERE id = a.id; END LOOP; END $$""")
        assert keys.keys_json("audit", "verify", yes=False)["bad"] is None
        bad = keys.keys_json("audit", "verify", "--heads", heads, yes=False, codes=(65,))
        assert bad["bad"] == signed["id"] and "signed head" in bad["not"][0]
        c.execute("DELETE FROM key_schema.audit WHERE id = 3")
        assert keys.keys_json("audit", "verify", yes=False, codes=(65,))["bad"] == 3
    text = heads.read_text().split()
    heads.write_text(" ".join(text[:2] + ["00" * 32] + text[3:]) + "\n")
    assert "signature" in keys.keys_command("audit", "verify", "--heads", heads, yes=False, codes=(77,)).stderr


def test_a_policy_is_signed_only_by_its_root_and_shows_what_it_changes(keys):
    text = keys.file.read_text()
    keys.file.write_text(text.replace("amount: { type: decimal, sensitive: financial }", "amount: decimal"))
    refused = keys.command("apply", keys.file, codes=(78,))
    assert "amount" in refused.stdout + refused.stderr
    shown = keys.keys_command("policy", "sign", yes=False, codes=(64,))
    assert "application.amount" in shown.stdout
    assert keys.keys_json("policy", "show", yes=False)["serial"] == 2
    keys.file.write_text(text)
    # The warehouse can now say which columns the hand-over has.
    columns = keys.keys_json("policy", "sign")
    assert columns["serial"] == 3 and any("monthly" in line for line in columns["changes"])
    unchanged = keys.keys_json("policy", "sign")
    assert "nothing in it changes" in unchanged["not"][0]
    assert keys.keys_json("policy", "sign", "--renew")["serial"] == 4
    keys.apply()


def test_the_root_is_replaced_by_the_old_one_alone(keys):
    keys.keys_command("policy", "root", "--kdf-memory", 1)
    keys.apply()
    assert keys.keys_json("verify")["problems"] == 0
    keys.keys_command("policy", "sign", "--renew", "--root-key", keys.keys / "root.key.old")
    assert "pins" in keys.command("apply", keys.file, codes=(78,)).stdout
    rows = keys.rows("SELECT * FROM raw_application ORDER BY case_id")
    assert all(same(row, n) for n, row in enumerate(rows))


def test_inspect_needs_no_key(keys):
    value, = keys.query("SELECT name FROM development_schema.raw_application WHERE case_id = 'L00009'")[0]
    for form in (value.hex(), "\\x" + value.hex()):
        told = json.loads(keys.command("keys", "inspect", "-o", "json", input=form).stdout)
        assert told["kind"] == "sealed" and told["field"] == "customer.name" and told["bound"]
    core, = keys.query("SELECT core FROM key_schema.envelope LIMIT 1")[0]
    assert json.loads(keys.command("keys", "inspect", "-o", "json", input=core.hex()).stdout)["kind"] == "core"
    keys.command("keys", "inspect", input="rubbish", codes=(65,))
    keys.command("keys", "inspect", input="", codes=(64,))


def handoff(keys, codes=(0,)):
    done = keys.command("handoff", "run", "monthly", keys.file, codes=codes)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else None


def test_a_hand_over_is_sealed_to_its_recipients_and_audited(keys):
    told = handoff(keys)
    result = told["result"]
    assert told["exit"] == 0 and result["rows"] == N and result["failed"] == 0
    path, = keys.out.iterdir()
    assert path.name == result["file"]
    assert subprocess.run(["sha256sum", path], capture_output=True, text=True).stdout.split()[0] == result["sha256"]
    assert b"Customer" not in path.read_bytes()
    opened = keys.command("open", "file", path, "--member-key", keys.member_key, "--passphrase-file", keys.passphrase)
    rows = [json.loads(line) for line in opened.stdout.splitlines()]
    assert [r["case_id"] for r in rows] == [f"L{n:05d}" for n in range(N)]
    assert [r["name"] for r in rows] == [in_clear(n)["name"] for n in range(N)]
    audit = keys.query("SELECT login, purpose, detail FROM key_schema.audit WHERE kind = 'handoff'")
    assert len(audit) == 1 and audit[0][0].endswith("_release") and audit[0][1] == "a model of risk"
    assert audit[0][2]["sha256"] == result["sha256"] and audit[0][2]["recipients"] == ["ana"]
    stranger, _ = keys.new_member("eve")
    refused = keys.command("open", "file", path, "--member-key", stranger, "--passphrase-file", keys.passphrase, codes=(65, 77))
    assert "recipient" in refused.stderr and refused.stdout == ""
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-40], whole + b"x", whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:]):
        path.write_bytes(damaged)
        done = keys.command("open", "file", path, "--member-key", keys.member_key, "--passphrase-file", keys.passphrase, codes=(65,))
        assert done.stdout == ""


@pytest.mark.parametrize("change", [("SELECT case_id, name,", "SELECT case_id, cpf AS name,"), ("recipients: [ana]", "recipients: [ana, bob]"),
                                    ("monthly:", "weekly:")])
def test_a_hand_over_that_was_not_signed_is_refused(keys, change):
    _, public = keys.new_member("bob")
    keys.keys_command("grant", "member", "bob", "--public", public, "--member-key", keys.member_key)
    keys.apply()
    keys.file.write_text(keys.file.read_text().replace(*change))
    name = "weekly" if "weekly" in change[1] else "monthly"
    done = keys.command("handoff", "run", name, keys.file, codes=(77,))
    assert "policy" in done.stdout + done.stderr or "signed" in done.stdout + done.stderr
    assert list(keys.out.iterdir()) == []
    assert keys.query("SELECT count(*) FROM key_schema.audit WHERE kind = 'handoff'") == [(0,)]


def test_no_secret_is_in_argv_or_environment(keys):
    done = keys.command("keys", "policy", "sign", keys.file, "--renew", "--yes", "--no-input", codes=(64,))
    assert "--passphrase-file" in done.stderr
    done = keys.command("open", "raw_application", keys.file, "--member-key", keys.member_key, "--passphrase-file", keys.passphrase,
                        "--purpose", PURPOSE, "--dsn", keys.dsn, codes=(64,))
    assert "env:NAME" in done.stderr


def test_dead_letters_are_opened_and_sent_again(keys):
    broken = json.dumps(application(40, income="a lot"))
    late = json.dumps(application(41, at="yesterday"))
    write(keys.data / "application-broken.ndjson", [broken, late])
    keys.run(codes=(1,))
    letters = {r["reason"]: r for r in keys.json("dead", "list", keys.file)}
    assert len(letters) == 2 and all(r["sealed"] > 0 for r in letters.values())
    options = ["--pipeline", keys.file, "--member-key", keys.member_key, "--passphrase-file", keys.passphrase, "--purpose", PURPOSE]
    events = set()
    for r in letters.values():
        shown = keys.command("dead", "show", r["rid"], keys.file).stdout
        assert "weir dead open" in shown and "a lot" not in shown and "yesterday" not in shown
        events.add(keys.command("dead", "open", r["rid"], *options).stdout.rstrip("\n"))
    assert events == {broken, late}
    assert "does not run" in keys.command("dead", "replay", "--all", *options, codes=(75,)).stderr
    # An income that may be any text makes one of them good; the other one has no time still.
    keys.file.write_text(keys.file.read_text().replace("income: { type: decimal", "income: { type: text")
                         .replace('path: "application*.ndjson"', 'path: "application*.ndjson", follow: true'))
    keys.sign()
    keys.apply()
    process = keys.up()
    done = keys.command("dead", "replay", "--all", *options, "-o", "json", codes=(1,), env={"XDG_RUNTIME_DIR": str(keys.run_dir)})
    told = json.loads(done.stdout)
    assert (told["committed"], told["dead"], told["refused"]) == (1, 1, 0)
    assert len(keys.json("dead", "list", keys.file)) == 1
    rows = keys.rows("SELECT case_id, income FROM raw_application WHERE case_id IN ('L00040', 'L00041')")
    assert rows == [{"case_id": "L00040", "income": "a lot"}]
    keys.stop(process)


def test_a_hand_over_comes_by_itself_and_a_death_leaves_no_half_of_it(keys):
    keys.file.write_text(keys.file.read_text().replace("SELECT case_id, name,", "SELECT case_id, pg_sleep(0.1)::text AS nap, name,")
                         .replace("    recipients: [ana]", "    every: 1h\n    format: csv\n    recipients: [ana]")
                         .replace('path: "application*.ndjson"', 'path: "application*.ndjson", follow: true'))
    keys.sign()
    keys.apply()
    process = keys.up()
    wait_for("a file that is being written", lambda: list(keys.out.glob(".*.part")), 30 * SLOW)
    keys.kill(process, "science")
    assert list(keys.out.glob("*.weir")) == []
    path, = wait_for("a whole file", lambda: list(keys.out.glob("*.weir")), 60 * SLOW)
    assert list(keys.out.glob(".*.part")) == []
    opened = keys.command("open", "file", path, "--member-key", keys.member_key, "--passphrase-file", keys.passphrase)
    rows = list(csv.DictReader(io.StringIO(opened.stdout)))
    assert [r["case_id"] for r in rows] == [f"L{n:05d}" for n in range(N)] and rows[9]["name"] == in_clear(9)["name"]
    assert len(keys.query("SELECT 1 FROM key_schema.audit WHERE kind = 'handoff'")) == 1
    keys.stop(process)


def test_two_hand_overs_at_once_are_two_files(keys):
    keys.file.write_text(keys.file.read_text().replace("SELECT case_id, name,", "SELECT case_id, pg_sleep(0.1)::text AS nap, name,"))
    keys.sign()
    keys.apply()
    started = [subprocess.Popen([BIN / "weir", "handoff", "run", "monthly", keys.file], cwd=keys.directory, stdin=subprocess.DEVNULL,
                                env={**keys.env, "XDG_RUNTIME_DIR": str(keys.run_dir)}, stdout=subprocess.DEVNULL)
               for _ in range(2)]
    assert [p.wait(90 * SLOW) for p in started] == [0, 0]
    digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in keys.out.iterdir()}
    told = keys.query("SELECT detail->>'file', detail->>'sha256' FROM key_schema.audit WHERE kind = 'handoff'")
    assert len(told) == 2 and dict(told) == digests
    for path in keys.out.iterdir():
        opened = keys.command("open", "file", path, "--member-key", keys.member_key, "--passphrase-file", keys.passphrase)
        assert len(opened.stdout.splitlines()) == N


def test_a_root_of_the_database_alone_is_not_believed(keys):
    """Its administrator puts a root and a policy of his own there."""
    mine = seal_writer.Signer()
    with keys.superuser() as c:
        body, = c.execute("SELECT body FROM key_schema.policy ORDER BY serial DESC LIMIT 1").fetchone()
        c.execute("SET session_replication_role = replica")
        c.execute("UPDATE key_schema.policy SET body = %s", (bytes(body)[:-64] + mine.sign(b"WRP1-policy", bytes(body)[:-64]),))
        c.execute("UPDATE admin_schema.pipeline SET policy_root = %s", (mine.public,))
    with keys.reader() as r, pytest.raises(weir_reader.SealError):
        list(r.rows("SELECT name FROM development_schema.raw_application", purpose=PURPOSE))
    told = keys.directory / "told.pub"
    (keys.keys / "root.pub").rename(told)
    assert "signature" in keys.opened("raw_application", codes=(77,)).stderr  # the policy in the key directory is of another
    (keys.keys / "policy").unlink()
    keys.opened("raw_application")  # nothing else is known
    assert "another root" in keys.opened("raw_application", "--root", told, codes=(77,)).stderr
    told.rename(keys.keys / "root.pub")
    assert "another root" in keys.opened("raw_application", codes=(77,)).stderr


def test_no_value_reads_like_the_mark_of_one_that_did_not_open(keys):
    keys.feed([application(41, customer={"name": "<erased>"}, notes={"$sealed": "erased"}),
               application(42, customer={"name": "\\<auth>"}, notes={"$$sealed": 1}), application(43, customer={"name": "<b>"}, notes={"a": {"$sealed": 1}})])
    query = "SELECT name, notes, json '{\"\\u0024sealed\":\"x\"}' AS clear FROM raw_application WHERE case_id >= 'L00041' ORDER BY case_id"
    rows = keys.rows(query)
    assert [r["name"] for r in rows] == ["<erased>", "\\<auth>", "<b>"]  # strings, no marks
    assert [r["notes"] for r in rows] == [{"$$sealed": "erased"}, {"$$$sealed": 1}, {"a": {"$sealed": 1}}]
    assert rows[0]["clear"] == {"$$sealed": "x"}
    as_csv = list(csv.reader(io.StringIO(keys.opened(query, "-o", "csv").stdout)))
    assert [r[0] for r in as_csv[1:]] == ["\\<erased>", "\\\\<auth>", "\\<b>"]


def test_pipes_blanks_and_queries_that_write(keys):
    pipe = keys.directory / "pipe"
    os.mkfifo(pipe, 0o600)
    for other in ({"key": pipe}, {"passphrase": pipe}):
        keys.opened("raw_application", codes=(77,), **other)
    for blank in (" ", "\u00a0", "\u3000\t\u200b"):
        assert "--purpose" in keys.opened("raw_application", "--purpose", blank, codes=(64,)).stderr
    writes = "SELECT key_schema.request('loans', ARRAY[decode(repeat('00', 16), 'hex')], '{}', 'x')"
    assert "read-only" in keys.opened(writes, codes=(77,)).stderr
