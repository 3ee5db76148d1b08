"""The warehouse goes away, comes back, stops answering; a loader stops and wakes as a zombie."""

import os
import re
import signal

import psycopg

import loans
from ports import wait_for
from weir import SLOW

COUNT = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"


def events_in(dsn):
    try:
        with psycopg.connect(dsn, connect_timeout=5) as c:
            return c.execute(COUNT).fetchone()[0]
    except psycopg.OperationalError:
        return -1


def test_restart_in_the_middle(make_weir, postgres, database, twin):
    """PostgreSQL is killed and started again twice while events arrive: equal."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    w.apply()
    process = w.up()
    total = sum(map(len, twin.values()))
    for n in range(3):
        for stream, events in twin.items():
            loans.write(w.data / f"{stream}-{n}.ndjson", events[len(events) * n // 3:len(events) * (n + 1) // 3])
        if n < 2:
            wait_for("a commit", lambda: events_in(database) > 0, 60 * SLOW)
            postgres.kill() if n else postgres.stop()
            wait_for("not ready", lambda: w.get(process, "/readyz")[0] == 503, 30 * SLOW)
            postgres.start()
    wait_for("every event", lambda: events_in(database) == total, 90 * SLOW)
    w.stop(process)
    with psycopg.connect(database) as c:
        loans.check_fact_loan(c, twin)
        assert c.execute("select count(*) from analytical_schema.fact_work").fetchone()[0] == len(twin["workitem"])


def test_a_stopped_loader_wakes_as_a_zombie(make_weir, database, connection, twin):
    """A whole supervisor with its loaders stands still for 5 s, another takes over; the one that wakes
    writes nothing: its epochs are closed and their batches do not rise."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    for stream, events in twin.items():
        loans.write(w.data / f"{stream}-0.ndjson", events[:len(events) // 2])
    w.apply()
    first = w.up("--instance", "first")
    wait_for("a commit", lambda: connection.execute(COUNT).fetchone()[0] > 0, 60 * SLOW)
    stopped = [first.pid, *w.workers(first)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    old = connection.execute("select max(epoch) from admin_schema.shard").fetchone()[0]
    for stream, events in twin.items():
        loans.write(w.data / f"{stream}-1.ndjson", events[len(events) // 2:])
    # Its heartbeat grows old: after 5 s another may take over, without being told to.
    second_log = w.directory / "second.log"

    def second_starts():
        process = w.up("--instance", "second", ready=False, log=second_log)
        wait_for("an outcome", lambda: process.poll() is not None or w.get(process, "/readyz")[0] == 200, 60 * SLOW)
        return process if process.poll() is None else None

    second = wait_for("the take-over", second_starts, 60 * SLOW, 0.5)
    total = sum(map(len, twin.values()))
    wait_for("every event", lambda: connection.execute(COUNT).fetchone()[0] == total, 60 * SLOW)
    before = connection.execute(
        "select epoch, batch, closed from admin_schema.shard where epoch <= %s order by 1", (old,)).fetchall()
    assert all(closed for _, _, closed in before)
    for pid in reversed(stopped):
        os.kill(pid, signal.SIGCONT)
    wait_for("the zombie's end", lambda: first.poll() is not None, 60 * SLOW)
    after = connection.execute(
        "select epoch, batch, closed from admin_schema.shard where epoch <= %s order by 1", (old,)).fetchall()
    assert before == after, "the zombie wrote"
    assert re.search(r"took over|taken over|held by", w.log.read_text()), "it says who took over"
    w.stop(second)
    loans.check_fact_loan(connection, twin)


def test_a_stopped_loader_alone(make_weir, connection, twin):
    """SIGSTOP of one loader in the middle of its work: the hang rule ends it, the successor's take-over ends its
    database session if it still holds the row lock."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW, limits={"batch_delay": "50ms"}))
    w.apply()
    process = w.up()
    for stream, events in twin.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    wait_for("a commit", lambda: connection.execute(COUNT).fetchone()[0] > 0, 60 * SLOW)
    loader = w.workers(process, "load")[0]
    os.kill(loader, signal.SIGSTOP)
    total = sum(map(len, twin.values()))
    wait_for("every event", lambda: connection.execute(COUNT).fetchone()[0] == total, 90 * SLOW)
    w.stop(process)
    loans.check_fact_loan(connection, twin)


def test_a_row_the_warehouse_refuses(make_weir, connection, twin):
    """A constraint of the warehouse's owner: the culprit becomes a dead letter, the rest of its batch commits."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    w.apply()
    connection.execute("alter table analytical_schema.fact_work add constraint no_nine check (seq <> 9)")
    for stream, events in twin.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    nines = sum(e["seq"] == 9 for e in twin["workitem"])
    assert nines
    result = w.run("--accept-dead", codes=(1,))
    assert result["dead_letters"] == nines
    got = connection.execute("select count(*), count(*) filter (where seq = 9) from analytical_schema.fact_work").fetchone()
    assert got == (len(twin["workitem"]) - nines, 0)
    loans.check_fact_loan(connection, twin)
    dead = connection.execute("select distinct stage from admin_schema.dead_letter").fetchall()
    assert dead == [("load",)]


def test_a_row_of_a_process_the_warehouse_refuses(make_weir, connection, twin):
    """A process' row is of no source; its dead letter counts all the same, once however often it is refused."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW, limits={"batch_delay": "50ms"}))
    w.apply()
    case = twin["application"][0]["case_id"]
    connection.execute(f"alter table analytical_schema.fact_loan add constraint no_case check (case_id <> '{case}')")
    for stream, events in twin.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    result = w.run(codes=(1,))
    assert result["dead_letters"] == 1 and result["exit"] == 1
    assert connection.execute("select stage, source from admin_schema.dead_letter").fetchall() == [("load", None)]
    assert connection.execute("select count(*) from analytical_schema.fact_loan").fetchone()[0] == \
        len({e["case_id"] for events in twin.values() for e in events}) - 1


def test_a_dropped_column_stops_the_shard(make_weir, connection, twin):
    """What no retry can mend stops with the statement, exit 78, instead of ten thousand dead letters."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    w.apply()
    connection.execute("alter table analytical_schema.fact_work drop column seq")
    for stream, events in twin.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    done = w.command("run", "--until", "now", w.file, codes=(78,))
    assert "fact_work" in done.stderr and "seq" in done.stderr
    assert connection.execute("select count(*) from admin_schema.dead_letter").fetchone() == (0,)
