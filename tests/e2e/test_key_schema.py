"""key_schema by itself, as hostile clients meet it: envelopes, secrets of persons, opening in two steps, the audit chain."""

import hashlib
import os
import pathlib
import random
import threading

import psycopg
import psycopg.conninfo
import pytest

SQL = pathlib.Path(__file__).resolve().parents[2] / "sql"
REQUEST = "SELECT key_schema.request('vault', %s::bytea[], %s::bytea[], %s)"
FETCH = "SELECT * FROM key_schema.fetch(%s)"
SECRETS = "SELECT key_schema.subject_secrets('vault', %s::bytea[])"
PUBLISH = "SELECT key_schema.publish_envelope('vault', %s, 'c', now(), now() + interval '15 min', %s, %s::bytea[], %s::bytea[])"
MEMBERS = {"weir_vault_keeper": "", "weir_vault_release": "", "vault_anna": "IN ROLE data_scientists",
           "vault_bob": "IN ROLE data_scientists", "weir_safe_keeper": ""}


class Vault:
    def __init__(self, postgres, database):
        self.postgres = postgres
        self.name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
        self.owner = psycopg.connect(database, autocommit=True)
        self.super = psycopg.connect(postgres.superuser_dsn(self.name), autocommit=True)
        for file in sorted(SQL.glob("*.sql")):
            self.owner.execute(file.read_text())
        self.owner.execute("INSERT INTO admin_schema.pipeline (id, name, g, hash_key) VALUES (1, 'vault', 128, %s)", (bytes(16),))
        for role, more in {"data_scientists": None, **MEMBERS}.items():
            if not self.super.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
                self.super.execute(f"CREATE ROLE {role}" + ("" if more is None else f" LOGIN PASSWORD 'x' {more}"))
        self.owner.execute("""
GRANT USAGE ON SCHEMA key_schema TO weir_vault_keeper, weir_safe_keeper, weir_vault_release, data_scientists;
GRANT EXECUTE ON FUNCTION key_schema.publish_envelope, key_schema.subject_secrets, key_schema.pipeline_facts
	TO weir_vault_keeper, weir_safe_keeper;
GRANT EXECUTE ON FUNCTION key_schema.request, key_schema.fetch TO weir_vault_release, data_scientists;
GRANT EXECUTE ON FUNCTION key_schema.audit_write TO weir_vault_release""")
        self.keeper, self.release, self.anna, self.bob, self.stranger = map(self.login, (
            "weir_vault_keeper", "weir_vault_release", "vault_anna", "vault_bob", "weir_safe_keeper"))
        self.kid = self.publish()

    def login(self, role):
        p = self.postgres
        return psycopg.connect(f"postgresql://{role}:x@/{self.name}?host={p.directory}&port={p.port}", autocommit=True)

    def publish(self, kid=None):
        kid = kid or os.urandom(16)
        self.keeper.execute(PUBLISH, (kid, *envelope(kid)))
        return kid

    def rewind(self, ticket, by):
        """Only a superuser can: with the trigger off."""
        self.super.execute("ALTER TABLE key_schema.audit DISABLE TRIGGER stays")
        self.super.execute("UPDATE key_schema.audit SET at = at - %s::interval WHERE ticket = %s", (by, ticket))
        self.super.execute("ALTER TABLE key_schema.audit ENABLE TRIGGER stays")


def envelope(kid):
    rkids = [os.urandom(16) for _ in range(2)]
    return b"WRE1\1\0\0\0" + kid + os.urandom(160), rkids, [b"\1" + r + os.urandom(80) for r in rkids]


@pytest.fixture
def vault(postgres, database):
    v = Vault(postgres, database)
    yield v
    for c in (v.owner, v.super, v.keeper, v.release, v.anna, v.bob, v.stranger):
        c.close()


def refused(c, state, statement, parameters=()):
    with pytest.raises(psycopg.Error) as e:
        c.execute(statement, parameters)
    assert e.value.sqlstate == state, (statement, e.value)
    if c.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
        c.execute("ROLLBACK")


def test_envelopes(vault):
    """The same again is fine; anything else under a kid that is taken, or that does not fit together, is not."""
    kid = os.urandom(16)
    core, rkids, wraps = envelope(kid)
    with vault.keeper.transaction():  # now() is the same
        vault.keeper.execute(PUBLISH, (kid, core, rkids, wraps))
        vault.keeper.execute(PUBLISH, (kid, core, rkids, wraps))
    refused(vault.keeper, "23505", PUBLISH, (kid, core, rkids, wraps))  # another window
    for bad in ((kid, core, rkids, wraps[::-1]), (kid, core, rkids, wraps[:1]), (kid, core, [], []), (os.urandom(16), core, rkids, wraps),
                (kid, None, rkids, wraps), (kid, core[:50], rkids, wraps), (kid, core, rkids, None), (kid, core, None, wraps),
                (kid, core, rkids, [w[:-1] for w in wraps]), (kid[:8], core, rkids, wraps), (kid, b"XXXX" + core[4:], rkids, wraps),
                (kid, core, [os.urandom(16)] * 65, [bytes(97)] * 65), (kid, core + bytes(65536), rkids, wraps)):
        refused(vault.keeper, "22023", PUBLISH, bad)
    for c in (vault.stranger, vault.anna, vault.release):
        refused(c, "42501", PUBLISH, (kid, core, rkids, wraps))


def test_secrets_of_persons(vault):
    sids = [os.urandom(16) for _ in range(1024)]
    first = vault.keeper.execute(SECRETS, (sids,)).fetchone()[0]
    assert len(set(first)) == 1024 and all(len(s) == 32 for s in first)
    assert vault.keeper.execute(SECRETS, (sids[::-1],)).fetchone()[0] == first[::-1]
    assert vault.keeper.execute(SECRETS, ([sids[0]] * 2,)).fetchone()[0] == [first[0]] * 2
    assert vault.keeper.execute(SECRETS, ([],)).fetchone()[0] == []
    for bad in (sids + [os.urandom(16)], [b"x"], [None], None):
        refused(vault.keeper, "22023", SECRETS, (bad,))
    vault.owner.execute("UPDATE key_schema.subject SET secret = NULL, erased_at = now() WHERE sid = %s", (sids[3],))
    assert vault.keeper.execute(SECRETS, ([sids[3], sids[4]],)).fetchone()[0] == [None, first[4]]
    refused(vault.owner, "42501", "UPDATE key_schema.subject SET secret = %s, erased_at = NULL WHERE sid = %s", (first[3], sids[3]))
    refused(vault.owner, "42501", "DELETE FROM key_schema.subject WHERE sid = %s", (sids[3],))
    refused(vault.stranger, "42501", SECRETS, (sids[:1],))
    refused(vault.anna, "42501", SECRETS, (sids[:1],))


def test_two_who_make_the_same_persons_agree(vault):
    batches = [[os.urandom(16) for _ in range(300)] for _ in range(6)]
    answers, errors = [], []

    def ask(seed):
        try:
            c = vault.login("weir_vault_keeper")
            for batch in batches:
                mine = random.Random(seed).sample(batch, len(batch))
                answers.append(tuple(sorted(zip(mine, c.execute(SECRETS, (mine,)).fetchone()[0]))))
            c.close()
        except psycopg.Error as e:
            errors.append(e)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(5)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not errors and len(answers) == 30 and len(set(answers)) == 6
    vault.keeper.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    late = [os.urandom(16)]
    vault.login("weir_vault_keeper").execute(SECRETS, (late,))
    refused(vault.keeper, "40001", SECRETS, (late,))


def ask(c, v, purpose="why"):
    return c.execute(REQUEST, ([v.kid], [], purpose)).fetchone()[0]


def test_opening_in_two_steps(vault):
    v, a = vault, vault.anna
    sids = [os.urandom(16), os.urandom(16)]
    secret, _ = v.keeper.execute(SECRETS, (sids,)).fetchone()[0]
    v.owner.execute("UPDATE key_schema.subject SET secret = NULL, erased_at = now() WHERE sid = %s", (sids[1],))
    v.owner.execute("INSERT INTO key_schema.role_key VALUES (1, 'ds', 1, 'anna', %s, %s, 'sealed')", (bytes(16), bytes(32)))
    ticket = a.execute(REQUEST, ([v.kid, os.urandom(16)], [*sids, os.urandom(16)], "risk model")).fetchone()[0]
    rows = a.execute(FETCH, (ticket,)).fetchall()
    assert sorted(r[0] for r in rows) == ["role", "subject", "subject", "wrap", "wrap"]
    assert ("subject", sids[0], None, None, secret) in rows and ("subject", sids[1], None, None, None) in rows
    assert ("role", b"anna", bytes(16), bytes(32), b"sealed") in rows
    assert sorted(map(repr, a.execute(FETCH, (ticket,)).fetchall())) == sorted(map(repr, rows))
    for c in (v.bob, v.release, v.owner, v.super):  # not even the owner by this way: it is another's
        refused(c, "42501", FETCH, (ticket,))
    refused(v.keeper, "42501", FETCH, (ticket,))
    refused(a, "42501", FETCH, ("00000000-0000-0000-0000-000000000000",))
    refused(a, "42501", FETCH, (None,))


def test_no_keys_without_a_committed_row(vault):
    v, a = vault, vault.anna
    count = lambda: v.owner.execute("SELECT count(*) FROM key_schema.audit").fetchone()[0]
    a.execute("BEGIN")
    ticket = ask(a, v)
    refused(a, "55000", FETCH, (ticket,))  # in the same transaction; and that ended it
    assert count() == 0
    a.execute("BEGIN")
    ticket = ask(a, v)
    a.execute("ROLLBACK")
    refused(a, "42501", FETCH, (ticket,))
    a.execute("BEGIN; SAVEPOINT s")
    ticket = ask(a, v)
    a.execute("RELEASE s")
    refused(a, "55000", FETCH, (ticket,))
    a.execute("BEGIN; SAVEPOINT s")
    ticket = ask(a, v)
    a.execute("ROLLBACK TO s; COMMIT")
    refused(a, "42501", FETCH, (ticket,))
    other = v.login("vault_anna")
    a.execute("BEGIN")
    ticket = ask(a, v)
    refused(other, "42501", FETCH, (ticket,))  # from a second session of the same person
    a.execute("COMMIT")
    assert len(other.execute(FETCH, (ticket,)).fetchall()) == 2
    a.execute("SET synchronous_commit = off")
    assert len(a.execute(FETCH, (ask(a, v),)).fetchall()) == 2
    other.execute("BEGIN; DECLARE c CURSOR FOR SELECT key_schema.request('vault',"
                  f" ARRAY['\\x{v.kid.hex()}'::bytea], '{{}}', 'x')")
    ticket = other.execute("FETCH c").fetchone()[0]
    refused(other, "55000", FETCH, (ticket,))
    assert count() == 2


def test_ten_minutes(vault):
    ticket = ask(vault.anna, vault)
    vault.rewind(ticket, "9 min 50 s")
    assert vault.anna.execute(FETCH, (ticket,)).fetchall()
    vault.rewind(ticket, "11 s")
    refused(vault.anna, "55000", FETCH, (ticket,))


def test_what_is_asked_has_bounds_and_a_reason(vault):
    v, a = vault, vault.anna
    for bad in (([v.kid], [], ""), ([v.kid], [], " \t"), ([v.kid], [], None), ([v.kid], [], "x" * 5000), ([], [], "x"), (None, None, "x"),
                ([b"1"], [], "x"), ([None], [], "x"), ([v.kid] * 10_001, [], "x"), ([], [v.kid] * 100_001, "x")):
        refused(a, "22023", REQUEST, bad)
    assert a.execute(REQUEST, ([v.kid] * 10_000, [v.kid] * 100_000, "all of it")).fetchone()
    refused(v.keeper, "42501", REQUEST, ([v.kid], [], "x"))
    ticket = ask(v.bob, v)
    v.super.execute("REVOKE data_scientists FROM vault_bob")
    try:
        refused(v.bob, "42501", REQUEST, ([v.kid], [], "x"))
        refused(v.bob, "42501", FETCH, (ticket,))  # one who has left has no use of an open ticket
    finally:
        v.super.execute("GRANT data_scientists TO vault_bob")


def test_rows_stay(vault):
    ask(vault.anna, vault)
    for c in (vault.owner, vault.super):
        for statement in ("UPDATE key_schema.audit SET purpose = 'x'", "DELETE FROM key_schema.audit", "TRUNCATE key_schema.audit",
                          "UPDATE key_schema.audit SET purpose = 'x' WHERE false", "TRUNCATE key_schema.audit CASCADE",
                          "MERGE INTO key_schema.audit a USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE",
                          "DELETE FROM key_schema.policy", "UPDATE key_schema.policy SET serial = 1"):
            refused(c, "42501", statement)
    refused(vault.owner, "23503", "DELETE FROM admin_schema.pipeline")
    for c in (vault.anna, vault.keeper, vault.release):
        for inner in ("audit_add(1, 'handoff', NULL, NULL, NULL, 'x', '{}')", "pipeline_for('vault', 'keeper', NULL)", "log_wait()"):
            refused(c, "42501", f"SELECT key_schema.{inner}")


def test_rows_of_hand_overs_and_of_the_owner(vault):
    write = "SELECT key_schema.audit_write('vault', %s, %s, %s)"
    assert vault.release.execute(write, ("handoff", "monthly", '{"rows": 3}')).fetchone() == (1,)
    for kind in ("rotate", "erase", "policy", "release", None):
        refused(vault.release, "42501", write, (kind, "x", "{}"))
    refused(vault.anna, "42501", write, ("handoff", "x", "{}"))
    refused(vault.release, "22023", write, ("handoff", "", "{}"))
    refused(vault.release, "22023", write, ("handoff", "x", '"' + "x" * 70_000 + '"'))
    assert vault.owner.execute(write, ("rotate", "a new epoch", "{}")).fetchone() == (2,)
    refused(vault.owner, "22023", write, ("release", "x", "{}"))
    refused(vault.owner, "23514", write, ("else", "x", "{}"))


def net(t):
    return "-," if t is None else f"{len(t.encode())}:{t},"


def chain(owner):
    """Checks the chain from its columns alone; returns how long it is."""
    head = bytes(32)
    rows = owner.execute(
        "SELECT id, (extract(epoch FROM at) * 1000000)::bigint, login, xid::text, kind, ticket::text, kids, sids, purpose,"
        " detail::text, prev, hash, key_schema.audit_text(a) FROM key_schema.audit a ORDER BY id").fetchall()
    for n, (number, at, login, xid, kind, ticket, kids, sids, purpose, detail, prev, digest, said) in enumerate(rows, 1):
        text = "weir1.audit\n" + "".join(map(net, ["1", str(number), str(at), login, xid, kind, ticket, " ".join(k.hex() for k in kids),
                                                  " ".join(s.hex() for s in sids), purpose, detail]))
        assert (number, prev, said) == (n, head, text)
        head = hashlib.sha256(prev + text.encode()).digest()
        assert digest == head
    assert owner.execute("SELECT id, hash FROM key_schema.chain").fetchall() == [(len(rows), head)]
    return len(rows)


def test_one_chain_for_all(vault):
    """Many at once, some of whom roll back or are killed: no gap, no fork, nothing lost."""
    done, errors = [], []

    def many(role, seed):
        rng = random.Random(seed)
        c = vault.login(role)
        for i in range(25):
            try:
                c.execute("BEGIN")
                c.execute(REQUEST, ([vault.kid], [os.urandom(16)] * rng.randint(0, 3), f"é, {role}:{i},\n"))
                end = rng.choice(["COMMIT", "COMMIT", "ROLLBACK", "die"])
                if end == "die":
                    c.close()
                    c = vault.login(role)
                else:
                    c.execute(end)
                    done.extend([i] if end == "COMMIT" else [])
            except psycopg.Error as e:
                errors.append(e)
                return
        c.close()

    threads = [threading.Thread(target=many, args=(r, n)) for n, r in enumerate(
        ["vault_anna", "vault_bob", "weir_vault_release", "vault_anna", "weir_vault_release"])]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not errors and chain(vault.owner) == len(done) > 20
    vault.bob.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    ask(vault.anna, vault)
    refused(vault.bob, "40001", REQUEST, ([vault.kid], [], "a stale snapshot"))
    assert chain(vault.owner) == len(done) + 1


def test_a_changed_row_breaks_the_chain(vault):
    tickets = [ask(vault.anna, vault, f"n {i}") for i in range(4)]
    assert chain(vault.owner) == 4
    vault.rewind(tickets[1], "1 microsecond")
    with pytest.raises(AssertionError):
        chain(vault.owner)
