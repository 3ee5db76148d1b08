"""Events whose time is ahead of the wall clock, within limits.time_ahead_max: a healthy run ends at once. And what
such a pipeline shows after deaths, and when it is started a second time."""

import datetime as dt
import json

import pytest

from ports import free_ports, wait_for
from weir import SLOW

PIPELINE = """
pipeline: ahead
groups: 16
lanes: {lanes}
listen: 127.0.0.1:0
correlate: {{ by: id, folds: {{ n: {{ count: ev }} }}{deadline} }}
sources:
  ev:
    file: {{ path: "data/*.ndjson", follow: true }}
    format: json
    time: at
    fields: {{ id: text, at: timestamp }}
warehouse: {{ postgresql: {{ dsn: "env:WEIR_DSN", logins: logins }} }}
tables: {{ fact_x: {{ kind: fact, grain: process, key: id, columns: {{ n: n }} }} }}
"""


def append(w, ids):
    at = (dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=20)).isoformat()
    with open(w.data / "a.ndjson", "a") as f:
        for i in ids:
            f.write(json.dumps({"id": f"p{i}", "at": at}) + "\n")


@pytest.mark.parametrize("lanes,deadline", [(3, ", deadline: 1d"), (2, ""), (1, ", deadline: 5m")])
def test_runs_end(make_weir, connection, lanes, deadline):
    w = make_weir(PIPELINE.format(lanes=lanes, deadline=deadline))
    append(w, range(20))
    (w.data / "a.ndjson").chmod(0o644)
    w.apply()
    for i in range(3):
        assert w.run("--wait", "2", timeout=20)["seconds"] < 2
    for i in range(3):
        append(w, [i, 100 + i])
        result = w.run("--wait", "2", timeout=20)
        assert result["events"] == {"ev": 2} and result["seconds"] < 2
    assert w.run("--close", "--wait", "2", timeout=20)["seconds"] < 2
    rows = "select sum(n), count(*) from analytical_schema.fact_x"
    assert connection.execute(rows).fetchone() == (26, 23)
    process = w.up()
    w.stop(process, timeout=10)


def test_counters_after_deaths(make_weir, connection):
    """What a death makes again is counted once, and an idle pipeline has nothing uncommitted."""
    w = make_weir(PIPELINE.format(lanes=2, deadline=""))
    append(w, [0])
    (w.data / "a.ndjson").chmod(0o644)
    w.apply()
    process = w.up()
    for n in range(3):
        append(w, range(1 + 300 * n, 1 + 300 * (n + 1)))
        w.kill(process, ("load", "correlate", "ingest")[n])
        w.wait_ready(process)
    count = "select count(*) from analytical_schema.fact_x"
    wait_for("every process", lambda: connection.execute(count).fetchone()[0] == 901, 30 * SLOW)

    def idle(status):
        return status and status["oldest_uncommitted_seconds"] == 0
    wait_for("nothing uncommitted", lambda: idle(w.status(process)), 10 * SLOW)
    status = w.status(process)
    assert idle(status) and status["processes"]["opened"] <= 901
    w.stop(process)


def test_a_fixed_address_is_handed_on(make_weir):
    """A second `up` of the same name takes over, address included; another instance is told who holds the pipeline."""
    port = free_ports(1)[0]
    w = make_weir(PIPELINE.format(lanes=2, deadline="").replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    append(w, [0])
    (w.data / "a.ndjson").chmod(0o644)
    w.apply()
    first = w.up()
    done = w.command("run", "--instance", "other", "--wait", "3", w.file, codes=(75,), timeout=30)
    assert "is held by" in done.stderr
    second = w.up(ready=False, log=w.directory / "second.log")
    assert first.wait(30 * SLOW) == 75
    w.wait_ready(second)
    assert w.status(second)["url"] == f"http://127.0.0.1:{port}/"
    w.stop(second)
