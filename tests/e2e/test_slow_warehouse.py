"""A warehouse that works, but slowly: nobody is killed for waiting, nobody else may take over meanwhile."""

import os

import psycopg
import pytest

import loans
from ports import wait_for
from weir import SLOW

COUNT = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def generations(w, process):
    return max(x["births"] for x in w.status(process)["workers"] if x["role"] == "load")


def test_a_commit_that_takes_longer_than_the_hang_limit(make_weir, database, connection, twin):
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    w.apply()
    process = w.up("--instance", "first", log=w.directory / "first.log")
    born = generations(w, process)
    with psycopg.connect(database) as blocker:
        # As a long query of somebody else, or a vacuum full: the commit stands in the middle.
        blocker.execute("lock table analytical_schema.fact_loan in exclusive mode")
        for stream, events in twin.items():
            loans.write(w.data / f"{stream}.ndjson", events)
        wait_for("a load that waits", lambda: connection.execute(
            "select count(*) from pg_locks where not granted and relation = 'analytical_schema.fact_loan'::regclass"
            " and waitstart < now() - interval '6 s'").fetchone()[0], 60 * SLOW)
        assert w.get(process, "/readyz")[0] == 503
        # The heartbeat goes on beside the commit.
        refused = w.command("run", "--until", "now", "--instance", "second", w.file, codes=(75,))
        assert "held by first" in refused.stderr
        blocker.rollback()
    total = sum(map(len, twin.values()))
    wait_for("every event", lambda: connection.execute(COUNT).fetchone()[0] == total, 60 * SLOW)
    wait_for("ready again", lambda: w.get(process, "/readyz")[0] == 200, 30 * SLOW)
    assert generations(w, process) == born, "nobody was killed"
    w.stop(process)
    loans.check_fact_loan(connection, twin)


@pytest.mark.parametrize("kind", ["file", "kafka"])
def test_waiting_costs_nothing(make_weir, database, connection, kind, request):
    """With the credit used up and more to read, a worker sleeps until the warehouse goes on."""
    streams = loans.twin(processes=4000)
    kafka = request.getfixturevalue("kafka") if kind == "kafka" else None
    sources = dict(loans.FOLLOW)
    for stream in streams if kafka else ():
        topic = kafka.create_topic(f"waiting-{stream}", partitions=2)
        sources[stream] = f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {topic} }}'
    w = make_weir(loans.pipeline(sources=sources, limits={"inflight_bytes_max": "256KiB", "event_bytes_max": "16KiB"}))
    w.apply()
    process = w.up()
    with psycopg.connect(database) as blocker:
        blocker.execute("lock table analytical_schema.fact_loan in exclusive mode")
        for stream, events in streams.items():
            if kafka:
                kafka.produce(f"waiting-{stream}", events)
            else:
                loans.write(w.data / f"{stream}.ndjson", events)
        waited = ("select coalesce(max(extract(epoch from clock_timestamp() - waitstart)), 0)::float8 from pg_locks"
                  " where not granted and relation = 'analytical_schema.fact_loan'::regclass")
        wait_for("a load that waits", lambda: connection.execute(waited).fetchone()[0] > 1, 60 * SLOW)
        pids = [pid for role in ("ingest", "correlate", "transform", "load") for pid in w.workers(process, role)]
        before, began = {p: cpu_seconds(p) for p in pids}, connection.execute(waited).fetchone()[0]
        wait_for("four seconds of it", lambda: connection.execute(waited).fetchone()[0] > began + 4, 60 * SLOW)
        used = {p: cpu_seconds(p) - before[p] for p in pids}
        assert max(used.values()) < 1, "a spinning worker would have used all of it"
        blocker.rollback()
    total = sum(map(len, streams.values()))
    wait_for("every event", lambda: connection.execute(COUNT).fetchone()[0] == total, 120 * SLOW)
    w.stop(process)
    loans.check_fact_loan(connection, streams)
