"""What is sealed comes out as it went in, for who may open it, and nothing else changes."""

import json
import os
import subprocess
import sys
import uuid

import psycopg
import pytest

import loans
import sealing
from sealing import SealedWeir, application, call, expected, write
from tables import Snapshot
from weir import Weir
from weir_reader import errors, sealed as sealed_module, values

N = 40
BROKEN = ['{"case_id": "L00001", "cpf": "%s", "customer": {"name": "half a li' % sealing.cpf_of(1),
          json.dumps(application(2, at="yesterday")), json.dumps(application(3, amount="a lot")),
          '{"case_id": "L00004", "case_id": "L00004", "cpf": "1"}', "not json at all: João"]
WANTED = list(sealing.SENSITIVE)


@pytest.fixture(scope="module")
def world_of(world, postgres):
    """(the sealed pipeline, the plain one) after the same events."""
    made = []
    directory = world / "sealing"
    directory.mkdir()
    directory.chmod(0o755)
    sealed = SealedWeir(directory / "sealed", sealing.pipeline("sealed"), postgres, "sealed")
    made.append(sealed)
    plain = Weir(directory / "plain", sealing.pipeline("plain", sealed=False), postgres.create_database("plain"))
    made.append(plain)
    for w in made:
        write(w.data / "application.ndjson", [application(n) for n in range(N)] + [application(9, seq=3, channel="web")])
        write(w.data / "application-broken.ndjson", BROKEN)
        write(w.data / "call.ndjson", [call(n) for n in range(0, N, 2)] + [call(n, cpf=sealing.cpf_of(n + 1)) for n in range(4, 9)])
    sealed.set_up()
    plain.apply()
    for w in made:
        w.result = w.run(codes=(1,))  # some events are broken
    yield sealed, plain
    for w in made:
        w.teardown()


@pytest.fixture(scope="module")
def reader(world_of):
    with world_of[0].reader() as r:
        yield r


@pytest.fixture(scope="module")
def raw(reader):
    return list(reader.rows("SELECT * FROM development_schema.raw_application ORDER BY case_id, seq", purpose="test of equality"))


def test_every_value_comes_out_as_it_went_in(raw):
    assert len(raw) == N + 1
    for row in raw:
        event = application(int(row["case_id"][1:]))
        want = expected(event)
        assert {k: row[k] for k in want} == want, row["case_id"]
        assert type(row["amount"]) is type(want["amount"]) and str(row["amount"]) == str(want["amount"])
        assert isinstance(row["notes"], values.Json) and row["notes"].value == event["notes"]
    assert [row["channel"] for row in raw[:9]] == [application(n)["channel"] for n in range(9)]


def test_a_persons_events_are_bound(raw, world_of):
    with world_of[0].superuser() as c:
        rows = c.execute("SELECT case_id, sid, cpf, amount FROM development_schema.raw_application ORDER BY case_id").fetchall()
    for case, sid, *carried in rows:
        nobody = case in ("L00005", "L00006")  # a null, and what is no CPF
        assert (sid is None) == nobody, case
        for value in carried:
            c = sealed_module.carried(bytes(value))
            assert sealed_module.head(c.payload).bound == (not nobody) and c.sid == (sid and bytes(sid))


def test_every_nonce_and_every_record_is_its_own(world_of):
    nonces, rids, kids = [], set(), set()
    with world_of[0].superuser() as c:
        for table, columns in (("raw_application", WANTED), ("raw_call", ["cpf", "remark"])):
            for row in c.execute(f"SELECT rid, {', '.join(columns)} FROM development_schema.{table}").fetchall():
                rids.add(row[0])
                for value in row[1:]:
                    carried = sealed_module.carried(bytes(value))
                    assert carried.rid == (row[0].bytes if isinstance(row[0], uuid.UUID) else bytes(row[0]))
                    nonces.append(carried.payload[20:44])
                    kids.add(sealed_module.head(carried.payload).kid)
    assert len(nonces) == len(set(nonces)) > 400 and len(rids) == N + 1 + 25
    assert len(kids) <= 4  # a window, not a record, has a key: one of each class


def test_equal_plaintexts_do_not_show(world_of):
    """Two records with the same values have nothing in common but header and key; lengths tell only padded sizes."""
    with world_of[0].superuser() as c:
        a, b = c.execute("SELECT name FROM development_schema.raw_application WHERE case_id = 'L00009'").fetchall()
        lengths = c.execute("SELECT DISTINCT octet_length(name) FROM development_schema.raw_application"
                            " WHERE case_id <> 'L00007'").fetchall()
    a, b = (sealed_module.carried(bytes(x[0])) for x in (a, b))
    assert a.payload[:20] == b.payload[:20] and a.payload[20:] != b.payload[20:] and a.rid != b.rid
    assert len(lengths) <= 2  # bound to a person or not


def test_tokens_join_across_sources(world_of, raw):
    sealed, _ = world_of
    with sealed.superuser() as c:
        rows = c.execute("SELECT case_id, seq, cpf_token FROM development_schema.raw_application").fetchall()
        calls = dict(c.execute("SELECT cpf_token, min(case_id) FROM development_schema.raw_call GROUP BY 1").fetchall())
        person = dict(c.execute("SELECT case_id, person FROM analytical_schema.fact_loan").fetchall())
    tokens = {case: token for case, _, token in rows}
    for case, token in tokens.items():
        if case in ("L00005", "L00006"):
            assert token is None
            continue
        found = sealed_module.token(bytes.fromhex(token))
        assert found.epoch == 1 and found.domain == int.from_bytes(
            sealing.weir_reader.sealed.blake(128, b"weir1.domain", b"person")[:2], "big")
        assert calls.get(token, case) == case or int(calls[token][1:]) + 1 == int(case[1:])
    assert len({t for t in tokens.values() if t}) == N - 2  # written with or without punctuation: one token a person
    assert tokens["L00010"] in calls and person["L00010"] == tokens["L00010"]


def test_folds_of_sealed_fields(reader):
    rows = {r["case_id"]: r for r in reader.rows(
        "SELECT p.*, f.band, f.incomes FROM development_schema.process p JOIN analytical_schema.fact_loan f USING (case_id)",
        purpose="test of folds")}
    assert len(rows) == N
    for case, row in rows.items():
        n = int(case[1:])
        event = application(n)
        assert row["amount"] == expected(event)["amount"]
        called = n % 2 == 0 or 4 <= n < 9
        assert row["who"] == (call(n)["remark"] if called else expected(event)["name"])
        assert row["incomes"] == 1 + (n == 9)  # sealed, a null is a value like any other: whether there is one is data


def test_derive_runs_before_sealing(world_of):
    with world_of[0].superuser() as c:
        bands = dict(c.execute("SELECT case_id, band FROM analytical_schema.fact_loan").fetchall())
    for case, band in bands.items():
        amount = application(int(case[1:]))["amount"]
        assert band == sum(amount >= edge for edge in (5000, 15000, 50000)), case


def test_a_sealed_run_equals_a_plain_run_where_it_is_clear(world_of):
    sealed, plain = world_of
    a, b = (Snapshot(w.dsn, facts=("fact_application",), members=()) for w in (sealed, plain))
    a.assert_equal(b, "sealed and plain")
    columns = "case_id, band, channel, applications, calls, last_at, status, events, missing, first_event_at"
    rows = [psycopg.connect(w.dsn).execute(f"SELECT {columns} FROM analytical_schema.fact_loan ORDER BY 1").fetchall()
            for w in (sealed, plain)]
    assert rows[0] == rows[1] and len(rows[0]) == N


def test_dead_letters_open_to_the_original_bytes(world_of, reader):
    sealed, plain = world_of
    with sealed.superuser() as c:
        rows = c.execute("SELECT d.rid, d.reason, d.body, d.sid, s.label FROM admin_schema.dead_letter d JOIN admin_schema.source s"
                         " ON s.id = d.source ORDER BY d.position").fetchall()
    assert len(rows) == len(BROKEN)
    bodies = [sealed_module.Carried(bytes(body), label, "$event", rid.bytes if isinstance(rid, uuid.UUID) else bytes(rid),
                                    sid and bytes(sid)) for rid, _, body, sid, label in rows]
    opened = reader.values(bodies, purpose="test of dead letters")
    assert sorted(x.encode() if isinstance(x, str) else x for x in opened) == sorted(x.encode() for x in BROKEN)
    for _, reason, *_ in rows:
        for secret in ("half a li", sealing.cpf_of(1), sealing.cpf_of(2), "a lot", "yesterday", "João"):
            assert secret not in reason
    with psycopg.connect(plain.dsn) as c:
        assert c.execute("SELECT count(*) FROM admin_schema.dead_letter").fetchone() == (len(BROKEN),)


def test_a_frame(reader):
    frame = reader.frame("SELECT case_id, amount, birth, married, notes FROM development_schema.raw_application"
                         " WHERE case_id < 'L00003' ORDER BY case_id", purpose="test of a data frame")
    assert frame.amount.tolist() == [1000.25, 0.0, 1e20 + 1] and frame.notes[2] == application(2)["notes"]
    assert str(frame.birth.dtype) == "datetime64[ns]" and frame.attrs["erased"] == 0
    empty = reader.frame("SELECT case_id, amount FROM development_schema.raw_application WHERE false", purpose="test of a data frame")
    assert list(empty.columns) == ["case_id", "amount"] and len(empty) == 0


def test_each_opening_is_in_the_audit(world_of, reader):
    sealed, _ = world_of
    count = "SELECT count(*) FROM key_schema.audit WHERE kind = 'release' AND purpose = %s AND login LIKE 'p\\_%%'"
    with sealed.superuser() as c:
        list(reader.rows("SELECT amount FROM development_schema.raw_application", purpose="why not"))
        assert c.execute(count, ("why not",)).fetchone() == (1,)
        kids, = c.execute("SELECT kids FROM key_schema.audit WHERE purpose = 'why not'").fetchone()
        used = c.execute("SELECT kid FROM key_schema.envelope WHERE class = 'financial'").fetchall()
        assert set(map(bytes, kids)) <= {bytes(k) for k, in used}
    with pytest.raises(ValueError):
        reader.rows("SELECT 1", purpose=" ")
    with pytest.raises(ValueError):
        reader.frame("SELECT 1", purpose="")


def test_the_policy_is_believed_of_the_right_root_only(world_of):
    sealed, _ = world_of
    root = (sealed.keys / "root.pub").read_text().strip()
    query = "SELECT amount FROM development_schema.raw_application LIMIT 1"
    with sealed.reader(root=root) as r:
        assert len(list(r.rows(query, purpose="test"))) == 1
    for options in ({"root": "11" * 32}, {"serial_min": 10_000}):
        with sealed.reader(**options) as r, pytest.raises(errors.Policy):
            list(r.rows(query, purpose="test"))


def test_the_command_opens_the_same(world_of, raw):
    sealed, _ = world_of
    done = sealed.open("SELECT case_id, seq, name, amount, notes FROM development_schema.raw_application ORDER BY 1, 2")
    rows = [json.loads(x, parse_float=str, parse_int=str) for x in done.stdout.splitlines()]
    assert [(r["case_id"], r["name"], r["amount"].strip('"')) for r in rows] == \
           [(r["case_id"], r["name"], str(r["amount"])) for r in raw]


# ---- the example, from start to notebook ----
def test_the_notebook_of_the_example(directory, postgres):
    text = (loans.ROOT / "examples" / "loans" / "pipeline.yaml").read_text()
    w = SealedWeir(directory / "loans", text, postgres, "notebook", {"WEIR_KEYS": str(directory / "loans" / "keys")})
    try:
        events = loans.twin(300)
        for stream, some in events.items():
            loans.write(w.data / f"{stream}.ndjson", some)
        w.set_up()
        w.run()
        done = subprocess.run([sys.executable, loans.ROOT / "examples" / "loans" / "notebook.py"], capture_output=True, text=True,
                              env={**os.environ, "WEIR_DSN": w.scientist(), "WEIR_MEMBER_KEY": str(w.member_key),
                                   "WEIR_PASSPHRASE_FILE": str(w.passphrase), "PYTHONPATH": str(loans.ROOT / "clients" / "python")})
        assert done.returncode == 0, done.stderr
        assert "300 loans, 0 values of erased persons" in done.stdout and "A_SUBMITTED" in done.stdout
        with w.superuser() as c:
            assert c.execute("SELECT count(*) FROM key_schema.audit WHERE purpose LIKE 'exploration%'").fetchone() == (2,)
    finally:
        w.teardown()


# ---- fields that are not declared ----
def run_unknown(postgres, make, unknown):
    w = make(f"unknown-{unknown.split()[0].strip('{}') or 'seal'}", unknown)
    write(w.data / "application.ndjson", [application(n, secret_hobby=f"hobby {n}", extra={"a": n}) for n in range(10, 15)])
    write(w.data / "call.ndjson", [call(11)])
    w.set_up()
    w.result = w.run(codes=(0, 1, 65))
    return w


@pytest.fixture
def make_sealed(directory, postgres):
    made = []

    def make(name, unknown):
        w = SealedWeir(directory / name, sealing.pipeline("unknown", unknown=unknown), postgres, directory.name[:40] + name)
        made.append(w)
        return w
    yield make
    for w in made:
        w.teardown()


@pytest.mark.parametrize("unknown", ["drop", "{ seal: other }", "reject"])
def test_fields_that_are_not_declared(postgres, make_sealed, unknown):
    w = run_unknown(postgres, make_sealed, unknown)
    with w.superuser() as c, w.reader() as reader:
        dead, = c.execute("SELECT count(*) FROM admin_schema.dead_letter").fetchone()
        rows = list(reader.rows("SELECT * FROM development_schema.raw_application ORDER BY case_id", purpose="test"))
        assert (dead, len(rows)) == ((5, 0) if unknown == "reject" else (0, 5))
        if "seal" in unknown:
            assert [r["$unknown"].value for r in rows] == [{"secret_hobby": f"hobby {n}", "extra": {"a": n}} for n in range(10, 15)]
        else:
            assert all("$unknown" not in r for r in rows)
