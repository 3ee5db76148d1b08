"""Every bound, reached: the tables stay right, and its metric says so."""

import json
import re

import pytest

import loans
from ports import wait_for
from weir import SLOW


def metrics(w, process):
    """{name: sum over workers} of /metrics."""
    code, text = w.get(process, "/metrics")
    assert code == 200
    sums = {}
    for line in text.splitlines():
        m = re.match(r"(weir_\w+)(?:\{[^}]*\})? ([0-9.e+-]+)$", line)
        if m:
            sums[m[1]] = sums.get(m[1], 0) + float(m[2])
    return sums


def run_with(make_weir, connection, streams, limits, lanes=2, ingests=1):
    """Feeds everything to an `up` with these limits; checks the tables; returns the metrics."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW, limits=limits, lanes=lanes, ingests=ingests))
    for stream, events in streams.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    w.apply()
    process = w.up()
    total = sum(map(len, streams.values()))
    count = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
    wait_for("every event", lambda: connection.execute(count).fetchone()[0] == total, 120 * SLOW, 0.1)
    got = metrics(w, process)
    w.stop(process)
    loans.check_fact_loan(connection, streams)
    return got


@pytest.fixture(scope="module")
def long_twin():
    """Enough events for every limit below to be reached many times."""
    return loans.twin(processes=6000)


def test_inflight_bytes(make_weir, connection, long_twin):
    got = run_with(make_weir, connection, long_twin, {"inflight_bytes_max": "256KiB", "event_bytes_max": "16KiB"})
    assert got["weir_credit_waits_total"] > 0
    assert got["weir_inflight_bytes_max"] <= 256 * 1024


def test_state_cache_and_lookups(make_weir, connection, long_twin):
    """A cache far smaller than the open processes: they are evicted, and read back from the database."""
    shuffled = {s: sorted(v, key=lambda e: (e["seq"], e["case_id"])) for s, v in long_twin.items()}
    got = run_with(make_weir, connection, shuffled, {"state_cache_bytes_max": "64KiB", "batch_rows": 500,
                                                     "batch_rows_behind": 500})
    assert got["weir_state_evictions_total"] > 0 and got["weir_state_lookups_total"] > 0


def test_batch_bytes(make_weir, connection, long_twin):
    got = run_with(make_weir, connection, long_twin, {"batch_bytes_max": "64KiB"})
    assert got["weir_batches_total"] > 10


def test_batch_rows(make_weir, connection, long_twin):
    got = run_with(make_weir, connection, long_twin, {"batch_rows": 50, "batch_rows_behind": 50})
    assert got["weir_batches_total"] >= 6000 / 50


def test_align(make_weir, connection, twin):
    """One stream lies months behind the others: those wait, so that a process' events meet."""
    got = run_with(make_weir, connection, twin, {"align": "1h"})
    assert got["weir_align_pauses_total"] > 0


def test_many_ingests_and_lanes(make_weir, connection, twin):
    run_with(make_weir, connection, twin, {}, lanes=8, ingests=3)


def test_events_per_process(make_weir, connection, twin):
    w = make_weir(loans.pipeline(limits={"events_per_process_max": 5}))
    for stream, events in twin.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    w.apply()
    result = w.run("--accept-dead", codes=(1,))
    per_case = {}
    for events in twin.values():
        for e in events:
            per_case[e["case_id"]] = per_case.get(e["case_id"], 0) + 1
    assert result["dead_letters"] == sum(max(n - 5, 0) for n in per_case.values())
    reasons = connection.execute("select distinct stage from admin_schema.dead_letter").fetchall()
    assert reasons == [("correlate",)]
    assert connection.execute("select max(events) from analytical_schema.fact_loan").fetchone() == (5,)


def test_process_bytes(make_weir, connection):
    """A list that alone would be larger than a frame: dead letters, and the pipeline goes on."""
    w = make_weir(loans.pipeline(folds="    pads:          { list: application.pad, size: 100 }\n"
                                       "    pad:           { last: application.pad }\n",
                                 columns="".join(f"      pad{n}: pad\n" for n in range(70))).replace(
        "      registered_at:    timestamp\n", "      registered_at:    timestamp\n      pad: text\n", 1))
    event = {"seq": 0, "activity": "A_SUBMITTED", "transition": "COMPLETE", "at": "2024-01-01T00:00:00Z"}
    loans.write(w.data / "application.ndjson", [{"case_id": "big", **event, "pad": "x" * 1_048_000 + str(n)}
                                                for n in range(70)] + [{"case_id": "small", **event}])
    for stream in ("offer", "workitem"):
        loans.write(w.data / f"{stream}.ndjson", [])
    w.apply()
    dead = w.run("--accept-dead", codes=(1,))["dead_letters"]
    rows = dict(connection.execute("select case_id, events from analytical_schema.fact_loan").fetchall())
    assert rows == {"big": 70 - dead, "small": 1} and 10 <= rows["big"] <= 16
    assert connection.execute("select distinct reason from admin_schema.dead_letter").fetchall() == [
        ("process_too_large: its process would pass process_bytes_max",)]
    # 70 columns of 1 MB do not fit a frame: the last ones are null.
    assert connection.execute("select length(pad0) > 1000000, pad69 from analytical_schema.fact_loan "
                              "where case_id = 'big'").fetchone() == (True, None)


def test_event_bytes(make_weir, connection):
    w = make_weir(loans.pipeline(limits={"event_bytes_max": "64KiB"}))
    good = {"case_id": "1", "seq": 0, "activity": "A_SUBMITTED", "transition": "COMPLETE", "at": "2024-01-01T00:00:00Z"}
    loans.write(w.data / "application.ndjson", [good, {**good, "case_id": "2", "pad": "x" * 70000}, {**good, "case_id": "3"}])
    for stream in ("offer", "workitem"):
        loans.write(w.data / f"{stream}.ndjson", [])
    w.apply()
    assert w.run(codes=(1,))["dead_letters"] == 1
    assert connection.execute("select case_id from analytical_schema.fact_loan order by 1").fetchall() == [("1",), ("3",)]


def test_files_open(make_weir, connection, twin):
    """More files than may be open at once."""
    w = make_weir(loans.pipeline(limits={"files_open_max": 4}))
    for stream, events in twin.items():
        for n in range(20):
            loans.write(w.data / f"{stream}-{n:02}.ndjson", events[n::20])
    w.apply()
    w.run()
    loans.check_fact_loan(connection, twin)


def test_time_ahead(make_weir, connection):
    w = make_weir(loans.pipeline())
    good = {"case_id": "1", "seq": 0, "activity": "A_SUBMITTED", "transition": "COMPLETE", "at": "2024-01-01T00:00:00Z"}
    loans.write(w.data / "application.ndjson", [good, {**good, "at": "2924-01-01T00:00:00Z"}])
    for stream in ("offer", "workitem"):
        loans.write(w.data / f"{stream}.ndjson", [])
    w.apply()
    assert w.run(codes=(1,))["dead_letters"] == 1
    assert connection.execute("select status, events from analytical_schema.fact_loan").fetchall() == [("open", 1)]


def test_set_and_list_are_bounded(make_weir, connection):
    folds = ("    acts:          { set: application.activity, size: 3 }\n"
             "    newest:        { list: application.seq, size: 2 }\n")
    columns = '      acts: acts\n      acts_n: "size(acts)"\n      acts_over: "overflowed(acts)"\n      newest: newest\n'
    w = make_weir(loans.pipeline(folds=folds, columns=columns))
    events = [{"case_id": "1", "seq": n, "activity": f"A_{n % 6}", "transition": "COMPLETE",
               "at": f"2024-01-01T00:00:{n:02}Z"} for n in range(12)]
    loans.write(w.data / "application.ndjson", events)
    for stream in ("offer", "workitem"):
        loans.write(w.data / f"{stream}.ndjson", [])
    w.apply()
    w.run()
    acts, n, over, newest = connection.execute(
        "select acts::text, acts_n, acts_over, newest::text from analytical_schema.fact_loan").fetchone()
    assert len(json.loads(acts)) == n == 3 and over is True
    assert json.loads(newest) == [10, 11]
