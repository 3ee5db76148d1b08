"""One person is erased: rows, raw events, dead letters and later hand-overs stay closed for that person, everything
else opens; what comes later of that person arrives erased, and is counted."""

import json
import re
import uuid

import pytest

import sealing
from ports import wait_for
from sealing import SealedWeir, application, call, cpf_of, expected, write
from weir import SLOW
from weir_reader import ERASED, handover, load_key, sealed

N, FIRST, GONE = 8, 20, 23
PERSON = f"L{GONE:05d}"
HANDOFF = """handoffs:
  risk:
    query: "SELECT case_id, name, amount FROM development_schema.raw_application"
    purpose: test of hand-overs
    recipients: [ana]
    to: out
"""
RAW = "SELECT rid, case_id, seq, cpf, name, amount, notes FROM development_schema.raw_application ORDER BY case_id, seq"
PROCESS = "SELECT case_id, amount, who FROM development_schema.process"
CALLS = "SELECT rid, case_id, cpf, remark FROM development_schema.raw_call"
FOLLOW = {s: sealing.FILE.format(name=s, follow=", follow: true") for s in ("application", "call")}


@pytest.fixture(scope="module")
def scene(world, postgres):
    w = SealedWeir(world / "erase", sealing.pipeline("erase", key_window="2s", sources=FOLLOW, more=HANDOFF), postgres, "erase")
    (w.directory / "out").mkdir()
    (w.directory / "out").chmod(0o777)
    w.people = range(FIRST, FIRST + N)
    write(w.data / "application-1.ndjson", [application(n) for n in w.people] + [application(n, amount="broken") for n in (GONE, GONE + 1)])
    write(w.data / "call-1.ndjson", [call(n) for n in w.people])
    try:
        w.set_up()
        w.process = w.up()
        wait_for("the first events", lambda: counts(w) == [N, N, 2], 60 * SLOW)
        w.before = snapshot(w)
        erase(w)
        yield w
    finally:
        w.teardown()


def counts(w):
    tables = ("development_schema.raw_application", "development_schema.raw_call", "admin_schema.dead_letter")
    with w.superuser() as c:
        return [c.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables]


def snapshot(w):
    """Everything that opens, as {what: {case: values}}."""
    with w.reader() as reader:
        got = {name: {r["case_id"]: tuple(v for k, v in r.items() if k not in ("case_id", "rid", "seq"))
                      for r in reader.rows(query, purpose="test of erasure") if r.get("seq", 1) == 1}
               for name, query in (("raw", RAW), ("process", PROCESS), ("calls", CALLS))}
        got["dead"] = dead_letters(w, reader)
    return got


def dead_letters(w, reader):
    with w.superuser() as c:
        rows = c.execute("SELECT d.rid, d.body, d.sid, s.label FROM admin_schema.dead_letter d JOIN admin_schema.source s"
                         " ON s.id = d.source AND s.pipeline = d.pipeline ORDER BY d.position").fetchall()
    bodies = [sealed.Carried(bytes(body), label, "$event", rid.bytes if isinstance(rid, uuid.UUID) else bytes(rid), sid and bytes(sid))
              for rid, body, sid, label in rows]
    return reader.values(bodies, purpose="test of erasure")


def erase(w):
    file = w.directory / "subject"
    file.touch(0o600)
    file.write_text(cpf_of(GONE) + "\n")
    return w.keys_command("erase", "--domain", "person", "--subject-file", file, "--purpose", "request 17 of the person")


def test_everything_was_open_before(scene):
    assert scene.before["raw"][PERSON][1] == expected(application(GONE))["name"]
    assert len(scene.before["raw"]) == len(scene.before["process"]) == len(scene.before["calls"]) == N
    assert not any(v is ERASED for part in ("raw", "process", "calls") for row in scene.before[part].values() for v in row)
    assert [json.loads(x)["case_id"] for x in scene.before["dead"]] == [PERSON, f"L{GONE + 1:05d}"]


def test_one_person_is_closed_and_everybody_else_is_open(scene):
    after = snapshot(scene)
    for part in ("raw", "process", "calls"):
        for case, row in after[part].items():
            if case == PERSON:
                assert all(v is ERASED for v in row), (part, row)
            else:
                assert row == scene.before[part][case], (part, case)
    assert after["dead"][0] is ERASED and after["dead"][1] == scene.before["dead"][1]


def test_a_frame_counts_what_is_missing(scene):
    with scene.reader() as reader:
        frame = reader.frame(RAW, purpose="test of erasure")
    assert frame.attrs["erased"] == 4 * sum(frame.case_id == PERSON)
    assert frame[frame.case_id == PERSON].name.isna().all() and frame[frame.case_id != PERSON].amount.notna().all()


def test_the_secret_is_gone_and_stays_so(scene):
    with scene.superuser() as c:
        gone = c.execute("SELECT count(*) FROM key_schema.subject WHERE secret IS NULL AND erased_at IS NOT NULL").fetchone()
        assert gone == (1,)
        with pytest.raises(Exception, match="cannot be undone"):
            c.execute("UPDATE key_schema.subject SET secret = sha256('x'), erased_at = NULL WHERE secret IS NULL")
        kinds = c.execute("SELECT kind, purpose, cardinality(sids) FROM key_schema.audit WHERE kind = 'erase'").fetchall()
    assert [(k, p) for k, p, _ in kinds] == [("erase", "request 17 of the person")] and kinds[0][2] >= 1
    again = erase(scene)  # nothing more to delete; said, and no failure
    assert cpf_of(GONE) not in again.stdout + again.stderr


def test_a_hand_over_made_afterwards_is_without_the_person(scene):
    scene.command("handoff", "run", "risk", scene.file, timeout=30)
    files = sorted((scene.directory / "out").iterdir())
    head, content = handover.decode(files[-1].read_bytes(), load_key(scene.member_key, sealing.PASSPHRASE))
    rows = [json.loads(x, parse_float=str, parse_int=str) for x in content.decode().splitlines()]
    assert application(GONE)["customer"]["name"] not in content.decode()
    for r in rows:
        if r["case_id"] != PERSON:
            want = scene.before["raw"].get(r["case_id"])
            assert want is None or (r["name"], r["amount"].strip('"')) == (want[1], str(want[2]))
    others = {r["case_id"] for r in rows} - {PERSON}
    assert len(others) >= N - 1


def test_new_events_arrive_erased_and_are_counted(scene):
    """Within one window at the latest: until then they are sealed, and do not open either."""
    erased = lambda: sum(float(x) for x in re.findall(r"^weir_erased_fields_total(?:\{[^}]*\})? (\S+)",
                                                      scene.get(scene.process, "/metrics")[1], re.M))
    seq = iter(range(10, 1000))

    def another():
        n = next(seq)
        before = counts(scene)[0]
        write(scene.data / f"application-{n}.ndjson", [application(GONE, seq=n, at=sealing.stamp(GONE + n).isoformat())])
        wait_for("the event", lambda: counts(scene)[0] == before + 1, 30 * SLOW)
        with scene.superuser() as c:
            value, = c.execute("SELECT name FROM development_schema.raw_application WHERE seq = %s", (n,)).fetchone()
        return sealed.head(sealed.carried(bytes(value)).payload).erased

    wait_for("an event that arrives erased", another, 30 * SLOW, 0.2)
    with scene.superuser() as c:
        names = [sealed.carried(bytes(x)).payload for x, in c.execute(
            "SELECT name FROM development_schema.raw_application WHERE case_id = %s", (PERSON,)).fetchall()]
        kids = [sealed.head(p).kid for p in names if not sealed.head(p).erased]
        late = c.execute("SELECT count(*) FROM key_schema.envelope WHERE kid = ANY(%s) AND not_before >= (SELECT min(erased_at)"
                         " FROM key_schema.subject)", (kids,)).fetchone()[0]
    assert kids and late == 0, "sealed in a window that began after the erasure"
    assert erased() >= len(sealing.SENSITIVE)
    with scene.reader() as reader:
        rows = [r for r in reader.rows(RAW, purpose="test of erasure") if r["case_id"] == PERSON]
    assert len(rows) >= 2 and all(r["name"] is ERASED and r["amount"] is ERASED for r in rows)
    write(scene.data / "application-last.ndjson", [application(99)])
    wait_for("another person's", lambda: case_is_open(scene, "L00099"), 30 * SLOW)


def case_is_open(w, case):
    with w.reader() as reader:
        rows = [r for r in reader.rows(RAW, purpose="test of erasure") if r["case_id"] == case]
    return rows and rows[0]["name"] == application(99)["customer"]["name"]
