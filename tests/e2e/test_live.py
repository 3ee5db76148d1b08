"""Live and batch are the same pipeline: `up` fed slowly gives what one `run` gives."""

import os

import psycopg

import loans
from ports import wait_for
from tables import Snapshot
from weir import SLOW


def committed(w, process):
    status = w.status(process)
    return sum(s["committed"] for s in status["sources"]) if status else 0


def feed(w, streams, done, pieces=12):
    """Appends the streams piece by piece, waiting until each piece is committed; odd pieces end inside a line."""
    texts = {s: "".join(loans.json.dumps(e) + "\n" for e in v) for s, v in streams.items()}
    files = {s: open(w.data / f"{s}.ndjson", "a") for s in texts}
    for s in files:
        os.chmod(w.data / f"{s}.ndjson", 0o644)
    written = 0
    for piece in range(pieces):
        for s, text in texts.items():
            size = len(text)
            cut = size * (piece + 1) // pieces
            part = text[size * piece // pieces:cut]
            files[s].write(part)
            files[s].flush()
        written = sum(t[:len(t) * (piece + 1) // pieces].count("\n") for t in texts.values())
        wait_for(f"{written} events committed", lambda: done() >= written, 60 * SLOW)
    for f in files.values():
        f.close()


def test_batch_equals_live(make_weir, twin, twin_files, postgres, directory):
    live_dsn, batch_dsn = postgres.create_database("live"), postgres.create_database("batch")
    live = make_weir(loans.pipeline(name="live", sources=loans.FOLLOW), name="live", dsn=live_dsn)
    live.apply()
    process = live.up()
    feed(live, twin, lambda: committed(live, process))
    live.stop(process)

    batch = make_weir(loans.pipeline(name="batch"), name="batch", dsn=batch_dsn)
    for stream, events in twin.items():
        loans.write(batch.data / f"{stream}.ndjson", events)
    batch.apply()
    batch.run()
    with psycopg.connect(batch_dsn) as c:
        loans.check_fact_loan(c, twin)
    Snapshot(live_dsn).assert_equal(Snapshot(batch_dsn), "live and batch")


def test_new_files_are_found_and_a_drain_loses_nothing(make_weir, twin, database, connection):
    """Files that appear later are read; SIGTERM in the middle commits what was read, and the next start goes on."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    w.apply()
    process = w.up()
    third = {s: len(v) // 3 for s, v in twin.items()}
    for n in range(3):
        for s, v in twin.items():
            part = v[n * third[s]:] if n == 2 else v[n * third[s]:(n + 1) * third[s]]
            loans.write(w.data / f"{s}-{n}.ndjson{'.gz' if n == 1 else ''}", part)
        if n == 1:
            wait_for("some commit", lambda: committed(w, process) > 0, 60 * SLOW)
            w.stop(process)
            process = w.up()
    total = sum(map(len, twin.values()))
    count = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
    wait_for("every event", lambda: connection.execute(count).fetchone()[0] == total, 60 * SLOW)
    w.stop(process)
    loans.check_fact_loan(connection, twin)


def test_two_supervisors_of_one_pipeline(make_weir, twin_files):
    """The second is told who holds it and exits 75; --take-over takes it."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    w.apply()
    first = w.up("--instance", "first")
    second = w.command("up", "--instance", "second", w.file, codes=(75,), timeout=60)
    assert "held by first" in second.stderr and "--take-over" in second.stderr
    third = w.up("--instance", "third", "--take-over", ready=False, log=w.directory / "third.log")
    wait_for("the first one's end", lambda: first.poll() is not None, 60 * SLOW)
    w.wait_ready(third)
    w.stop(third)


def test_latest_survives_a_crash_before_the_first_rows(make_weir, kafka, database, connection, twin):
    """`from: latest` is stored before the first event is read: a crash finds where reading began."""
    topic = kafka.create_topic("latest", partitions=2)
    old, new = twin["application"][:200], twin["application"][200:300]
    kafka.produce(topic, old)
    w = make_weir(loans.pipeline(sources={
        **loans.FOLLOW, "application": f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {topic}, from: latest }}'}))
    w.apply()
    process = w.up()
    table = "analytical_schema.fact_loan"
    with psycopg.connect(database) as blocker:
        blocker.execute(f"lock table {table} in exclusive mode")
        kafka.produce(topic, new)
        wait_for("rows that wait", lambda: connection.execute(
            f"select count(*) from pg_locks where not granted and relation = '{table}'::regclass").fetchone()[0],
            60 * SLOW)
        w.kill(process, "ingest")
        wait_for("its end", lambda: any(x["births"] > 1 for x in w.status(process)["workers"]), 30 * SLOW)
        blocker.rollback()
    count = f"select coalesce(sum(events), 0) from {table}"
    wait_for("what came later", lambda: connection.execute(count).fetchone()[0] >= len(new), 60 * SLOW)
    w.stop(process)
    assert connection.execute(count).fetchone()[0] == len(new)


def test_a_second_start_under_the_same_name(make_weir, twin_files):
    """The default name is HOST:PIPELINE: a second start on one host takes over, and the first one notices by itself,
    without an event that would make it commit."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    w.apply()
    first = w.up(log=w.directory / "first.log")
    second = w.up(ready=False, log=w.directory / "second.log")
    wait_for("the first one's end", lambda: first.poll() is not None, 30 * SLOW)
    assert first.returncode == 75 and "taken" in (w.directory / "first.log").read_text()
    w.wait_ready(second)
    w.stop(second)


SILENCE = """pipeline: silence
lanes: 2
sources:
  calls:
    file: { directory: "${WEIR_DATA}", path: "calls*.ndjson", follow: true }
    format: json
    time: at
    fields: { id: text, at: timestamp }
correlate:
  by: id
  quiet_for: 2s
  folds:
    calls: { count: calls }
warehouse:
  postgresql: { dsn: "${WEIR_DSN}", logins: "${WEIR_LOGINS}" }
tables:
  fact_call:
    kind: fact
    grain: process
    key: id
    columns:
      calls: calls
"""


def test_a_removed_file_does_not_stop_the_clock(make_weir, database, connection):
    """A followed file that is gone at the next start has nothing more to say: deadlines fire all the same, live and
    bounded."""
    w = make_weir(SILENCE)
    w.apply()
    status = "select id, status from analytical_schema.fact_call order by id"
    loans.write(w.data / "calls-1.ndjson", [{"id": "a", "at": "2024-01-01T00:00:00Z"}])
    process = w.up()
    wait_for("the first file", lambda: committed(w, process) == 1, 30 * SLOW)
    w.stop(process)
    os.remove(w.data / "calls-1.ndjson")
    loans.write(w.data / "calls-2.ndjson", [{"id": "b", "at": "2024-01-01T00:00:01Z"}])
    process = w.up()
    wait_for("both are quiet", lambda: connection.execute(status).fetchall() == [("a", "expired"), ("b", "expired")],
             30 * SLOW)
    assert w.status(process)["clock_held_by"] is None
    w.stop(process)
    os.remove(w.data / "calls-2.ndjson")
    loans.write(w.data / "calls-3.ndjson", [{"id": "c", "at": "2024-01-01T00:00:02Z"}])
    w.run()
    assert connection.execute(status).fetchall()[2] == ("c", "open")


def test_a_cut_file_is_an_alarm_of_run(make_weir, twin, database):
    """A file that lost lines which were read before: `run` says so in its result and does not exit with 0."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    for stream, events in twin.items():
        loans.write(w.data / f"{stream}.ndjson", events[:100])
    w.apply()
    assert w.run()["alarms"] == 0
    before = Snapshot(database)
    loans.write(w.data / "offer.ndjson", twin["offer"][:10])
    result = w.run(codes=(65,))
    assert result["alarms"] == 1 and "offer.ndjson" in result["stderr"]
    Snapshot(database).assert_equal(before, "nothing is taken back or doubled")
