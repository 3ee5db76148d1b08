"""The real log through the exchange: five hosts of their own make of it what one host makes, and what was published."""

import threading
import time

import pytest

import loans
from spread import INGEST, LANES, Reference, Spread
from weir import ASAN

pytestmark = pytest.mark.skipif(ASAN, reason="sanitizers: test_exchange.py is for them")

COUNTED = ("select activity, count(*) from development_schema.raw_application group by 1 union all"
           " select activity, count(*) from development_schema.raw_offer group by 1")


def test_the_real_log_over_five_hosts(bpic, outside, world, directory, capsys):
    streams = {s: loans.read(f) for s, f in bpic.items()}
    assert {s: len(v) for s, v in streams.items()} == loans.EVENTS
    spread = Spread(directory, "bpic", outside, Reference(world / "bpic-one-host", "bpic_one_host", outside.postgres, streams),
                    groups=24)
    try:
        for n in range(2):
            spread.hosts.start(f"in{n}", INGEST)
        for n in range(3):
            spread.hosts.start(f"lane{n}", LANES)
        spread.hosts.wait_ready()
        start = time.monotonic()
        posting = [threading.Thread(target=spread.post, args=(s, v, 0), daemon=True) for s, v in streams.items()]
        for thread in posting:
            thread.start()
        for thread in posting:
            thread.join(300)
        posted = time.monotonic() - start
        spread.wait_events(sum(map(len, streams.values())), 300)
        arrived = time.monotonic() - start
        assert spread.owners() == {"lane0", "lane1", "lane2"}
        assert dict(spread.query(COUNTED)) == loans.PUBLISHED
        assert spread.query("select count(*) from analytical_schema.fact_work") == [(loans.EVENTS["workitem"],)]
        assert spread.query("select count(*) from analytical_schema.fact_loan") == [(loans.CASES,)]
        spread.check()
        again = spread.sent_again()
    finally:
        spread.end()
    with capsys.disabled():
        print(f"\nbpic2012 over 2 hosts of ingest and 3 of lanes: {sum(loans.EVENTS.values())} events, posted within"
              f" {posted:.1f} s, all in the warehouse after {arrived:.1f} s; {again} were sent again; equal to one host")
