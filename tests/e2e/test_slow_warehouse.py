"""A warehouse that works, but slowly: nobody is killed for waiting, nobody else may take over meanwhile."""

import psycopg

import loans
from ports import wait_for
from weir import SLOW

COUNT = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"


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
