"""`weir keys revoke .. --reseal`: rows under new data keys, which the revoked key has no wrap of."""

import os
import subprocess

import pytest

import sealing
from ports import wait_for
from sealing import application, call, cpf_of
from test_keys import Keys, same
from weir import BIN
from weir_reader import keyfile, load_key, sealed

N = 30
TABLES = ("raw_application", "raw_call", "process")


@pytest.fixture
def keys(directory, postgres):
    w = Keys(directory / "w", sealing.pipeline("reseal"), postgres, f"reseal_{os.urandom(4).hex()}")
    w.set_up()
    w.feed([application(n) for n in range(N)])
    w.feed([call(n) for n in range(10, N)], "call")
    yield w
    w.teardown()


def opened(w, codes=(0,)):
    order = {"raw_application": "rid", "raw_call": "rid", "process": "case_id"}
    return {t: w.rows(f"SELECT * FROM {t} ORDER BY {order[t]}", codes=codes) for t in TABLES}


def payloads(w):
    """All sealed values of development_schema: {(table, column, row): Carried}."""
    found = {}
    with w.superuser() as c:
        for t in TABLES:
            with c.cursor() as cursor:
                cursor.execute(f"SELECT * FROM development_schema.{t} ORDER BY {'case_id' if t == 'process' else 'rid'}")
                for i, row in enumerate(cursor):
                    for d, v in zip(cursor.description, row):
                        if isinstance(v, bytes) and len(v) > 40 and v[0] == 0x95:
                            found[t, d.name, i] = sealed.carried(v)
    return found


def kids(found):
    return {k: sealed.head(c.payload).kid for k, c in found.items() if not sealed.head(c.payload).erased}


def wraps(w):
    return [(bytes(k), bytes(r), bytes(x)) for k, r, x in w.query("SELECT kid, rkid, wrap FROM key_schema.wrap")]


def data_keys(kept, *secrets):
    """What somebody who kept these wraps and these secret keys has: {kid: bytes}."""
    return {kid: s.unseal(wrap[17:]) for kid, rkid, wrap in kept for s in secrets if s.id == rkid}


def opens(w, found, held):
    """How many of these values the held data keys open, with every person's secret as it is now."""
    secrets = {bytes(s): bytes(x) for s, x in w.query("SELECT sid, secret FROM key_schema.subject WHERE secret IS NOT NULL")}
    n = 0
    for c in found.values():
        h = sealed.head(c.payload)
        if not h.erased and h.kid in held and (not h.bound or c.sid in secrets):
            sealed.DataKey(held[h.kid]).open(w.pipeline_name, c, secrets.get(c.sid))
            n += 1
    return n


def erase(w, n):
    w.keys_json("erase", "--domain", "person", yes=False, input=cpf_of(n) + "\n")


def start(w, words):
    return subprocess.Popen([BIN / "weir", "keys", *words, "--pipeline", w.file, "--passphrase-file", w.passphrase, "--yes"],
                            env=w.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def waiting_pid(c):
    """Of the command's session, when it waits for a row."""
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE ONLY%' AND datname = current_database()"
    pid, = wait_for("the command waits for the row", lambda: c.execute(waiting).fetchone(), 30)
    return pid


def test_a_members_kept_secret_opens_nothing_of_what_is_sealed_anew(keys):
    secret, public = keys.new_member("bob")
    keys.keys_command("grant", "member", "bob", "--public", public, "--member-key", keys.member_key)
    keys.apply()
    erase(keys, 12)
    before, old, role = opened(keys), payloads(keys), keys.role_key()
    kept = wraps(keys)
    assert opens(keys, old, data_keys(kept, role)) > 300  # bob kept the role's secret and all wraps
    assert "--member-key" in keys.keys_command("revoke", "member", "bob", "--reseal", codes=(64,)).stderr
    told = keys.keys_json("revoke", "member", "bob", "--reseal", "--member-key", keys.member_key)
    assert told["resealed"]["failed"] == 0 and told["resealed"]["values"] > 300 and told["resealed"]["erased"] > 0
    assert told["unneeded"] == told["old_envelopes"] > 0
    assert any("admin_schema.state" in line for line in told["not"]) and any("backups" in line for line in told["not"])
    keys.apply()
    assert opened(keys) == before
    new, now = payloads(keys), wraps(keys)
    changed = {k: c for k, c in new.items() if c != old[k]}
    assert len(changed) == told["resealed"]["values"]
    assert {k: c._replace(payload=b"") for k, c in new.items()} == {k: c._replace(payload=b"") for k, c in old.items()}
    held = data_keys(kept + now, role, load_key(secret, sealing.PASSPHRASE))
    assert opens(keys, changed, held) == 0
    assert not set(kids(changed).values()) & {k for k, _, _ in kept}
    erased = [r for r in keys.rows("SELECT * FROM raw_application") if r["case_id"] == "L00012"]
    assert erased[0]["name"] == {"$sealed": "erased"}
    audit = keys.query("SELECT detail FROM key_schema.audit WHERE kind = 'revoke' ORDER BY id")
    assert len(audit) == 2 and audit[1][0]["resealed"]["values"] == told["resealed"]["values"]
    assert keys.keys_json("audit", "verify", yes=False)["bad"] is None
    # What ingest of a new start seals is under keys that bob has not either, and a second run finds nothing to do.
    keys.feed([application(N)])
    again = keys.keys_json("revoke", "member", "bob", "--reseal", "--member-key", keys.member_key)
    assert again["resealed"]["values"] == 0
    keys.keys_command("rotate", "role", "data_science", "--finish", "--member-key", keys.member_key)
    assert all(same(r, int(r["case_id"][1:])) for r in keys.rows("raw_application") if r["case_id"] != "L00012")
    assert keys.keys_json("verify", "--member-key", keys.member_key)["problems"] == 0


def test_a_role_killed_in_the_middle_and_again(keys):
    keys.keys_command("grant", "role", "risk", "--class", "financial", "--member", "ana", "--member-key", keys.member_key)
    keys.apply()
    erase(keys, 15)
    me = load_key(keys.member_key, sealing.PASSPHRASE)
    text, = keys.query("SELECT sealed FROM key_schema.role_key WHERE role = 'risk' AND member = 'ana'")[0]
    risk = keyfile.SecretKey(keyfile.ROLE, "role", me.unseal(text))
    before, old, kept = opened(keys), payloads(keys), wraps(keys)
    held = data_keys(kept, risk)
    assert opens(keys, old, held) > 50
    words = ["revoke", "role", "risk", "--class", "financial", "--reseal", "--member-key", keys.member_key]
    with keys.superuser() as c, keys.superuser() as other:  # somebody holds a row of the second table: the command waits there
        c.autocommit = False
        c.execute("SELECT 1 FROM development_schema.raw_application WHERE case_id = 'L00029' FOR UPDATE")
        p = start(keys, words)
        pid = waiting_pid(other)
        p.kill()
        p.wait(10)
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        wait_for("its session ends", lambda: not other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone(), 10)
        c.rollback()
    half = payloads(keys)
    moved = [k for k in half if half[k] != old[k]]
    assert 0 < len(moved) < len([k for k, kid in kids(old).items() if kid in held])
    assert opened(keys) == before  # at every moment everything opens
    told = keys.keys_json(*words)
    new = payloads(keys)
    changed = {k: c for k, c in new.items() if c != old[k]}
    assert told["resealed"]["values"] == len(changed) - len(moved) > 0
    assert all(new[k] == half[k] for k in moved)  # what was done is not done again
    assert opens(keys, changed, {**held, **data_keys(wraps(keys), risk)}) == 0 and told["unneeded"] == told["old_envelopes"]
    keys.apply()
    assert opened(keys) == before
    assert keys.keys_json(*words)["resealed"]["values"] == 0
    assert keys.keys_json("verify", "--member-key", keys.member_key)["problems"] == 0


def test_who_opens_no_more_cannot_seal_anew(keys):
    secret, public = keys.new_member("bob")
    keys.keys_command("grant", "role", "risk", "--class", "financial", "--member", "ana", "--member-key", keys.member_key)
    keys.keys_command("grant", "member", "bob", "--role", "risk", "--public", public, "--member-key", keys.member_key)
    keys.apply()
    words = ["revoke", "role", "risk", "--class", "financial", "--reseal", "--member-key"]
    assert "escrow" in keys.keys_command(*words, secret, codes=(77,)).stderr
    assert keys.query("SELECT count(*) FROM key_schema.audit WHERE kind = 'revoke'") == [(0,)]
    before = payloads(keys)
    told = keys.keys_json(*words, keys.keys / "escrow.key")
    keys.apply()
    rows = keys.rows("SELECT case_id, name, amount FROM raw_application", key=secret, codes=(1,))
    assert all(r["amount"] == {"$sealed": "recipient"} for r in rows)
    assert all(same(r, int(r["case_id"][1:])) for r in keys.rows("raw_application"))
    assert len([k for k, c in payloads(keys).items() if c != before[k]]) == told["resealed"]["values"] > 0


def test_a_row_that_is_written_meanwhile_keeps_what_was_written(keys):
    """The loader replaces a row while the command waits for it: the newer values stay, and are sealed anew in their turn."""
    keys.keys_command("grant", "role", "risk", "--class", "financial", "--member", "ana", "--member-key", keys.member_key)
    keys.apply()
    words = ["revoke", "role", "risk", "--class", "financial", "--reseal", "--member-key", keys.member_key]
    before = payloads(keys)
    with keys.superuser() as c, keys.superuser() as other:
        c.autocommit = False
        c.execute("UPDATE development_schema.process p SET amount = q.amount FROM development_schema.process q"
                  " WHERE p.case_id = 'L00020' AND q.case_id = 'L00021'")
        p = start(keys, words)
        waiting_pid(other)
        c.commit()
        assert p.wait(60) == 0
    rows = {r["case_id"]: r["amount"] for r in keys.rows("process")}
    assert rows["L00020"] == rows["L00021"]
    moved = payloads(keys)
    financial = {k for k in before if k[0] == "process" and k[1] == "amount"}
    assert all(moved[k] != before[k] for k in financial)
    assert keys.keys_json(*words)["resealed"]["values"] == 0
