"""How far behind the warehouse is: weir_oldest_uncommitted_seconds, which more or fewer replicas follow from, sees what waits
in the broker, read or not, by the broker's time."""

import re
import time

import psycopg
import pytest

import loans
from ports import wait_for
from weir import SLOW

COUNT = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
LITTLE = {"inflight_bytes_max": "256KiB", "event_bytes_max": "16KiB"}  # so that most of it cannot be read
AGED_SECONDS = 5


def oldest(w, process):
    """The largest of all workers, as an autoscaler takes it; None while nobody answers."""
    code, text = w.get(process, "/metrics")
    found = re.findall(r'(?m)^weir_oldest_uncommitted_seconds\{.*\} (\S+)$', text) if code == 200 else []
    return max(map(float, found)) if found else None


class Watch:
    """Takes samples; none may say more than the age of the oldest event that there is."""

    def __init__(self, w, process, since):
        self.w, self.process, self.since, self.samples = w, process, since, []

    def look(self):
        value = oldest(self.w, self.process)
        if value is not None:
            assert value <= time.time() - self.since + 0.1, "older than anything"
            self.samples.append((time.time(), value))
        return value

    def until(self, what, condition, seconds=30):
        return wait_for(what, lambda: (v := self.look()) is not None and condition(v) and (v or True), seconds * SLOW, 0.1)


@pytest.fixture
def topics(kafka, request):
    name = request.node.name.removeprefix("test_")
    made = {s: kafka.create_topic(f"{name}.{s}", partitions=2) for s in loans.STREAMS}
    return {s: (t, f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {t} }}') for s, t in made.items()}


def produce(kafka, topics, streams):
    for stream, events in streams.items():
        kafka.produce(topics[stream][0], events)


def rises_with_the_clock(watch, since, floor):
    """While nothing is committed: exact to what it took to come here, and a second a second."""
    first = watch.until("its age", lambda v: v >= floor)
    at = time.time()
    watch.until("a rise", lambda v: v >= first + 2)
    assert time.time() - at < 4 * SLOW
    assert watch.samples[-1][1] > time.time() - since - 5 * SLOW, "it is at least as old as the first one"


def test_backlog_of_the_exchange(make_weir, database, connection, kafka, topics):
    streams = loans.twin(processes=3000)
    w = make_weir(loans.pipeline(sources={s: x for s, (_, x) in topics.items()}, lanes=1, limits=LITTLE, more=(
        f'groups: 8\nexchange: {{ brokers: "{kafka.bootstrap}", topic: weir.oldest }}\n')))
    w.apply()
    source = w.up("--only", "ingest,keeper", "--instance", "in", log=w.directory / "in.log")
    since = time.time()
    produce(kafka, topics, streams)
    total = sum(map(len, streams.values()))
    end = time.time()
    wait_for("all of it in the exchange", lambda: kafka.count("weir.oldest") == total, 60 * SLOW, 0.2)
    assert oldest(w, source) == 0, "what is delivered is not ingest's any more"
    wait_for("age", lambda: time.time() - end > AGED_SECONDS, 60)
    with psycopg.connect(database) as blocker:
        blocker.execute("lock table analytical_schema.fact_loan in exclusive mode")
        process = w.up("--only", "lanes", "--instance", "lanes", log=w.directory / "lanes.log")
        watch = Watch(w, process, since)
        rises_with_the_clock(watch, since, AGED_SECONDS)
        assert re.search(r'(?m)^weir_source_backlog\{role="relay".*\} [1-9]', w.get(process, "/metrics")[1]), "not all is read"
        # What a replica has under way is dropped with a worker's death; what waits, waits.
        watch.samples.clear()
        born = w.status(process)["generation"]
        w.kill(process, "correlate")
        wait_for("another generation", lambda: watch.look() and w.status(process)["generation"] > born, 30 * SLOW, 0.02)
        rises_with_the_clock(watch, since, AGED_SECONDS)
        assert min(v for _, v in watch.samples) > AGED_SECONDS
        blocker.rollback()
    watch.until("its fall", lambda v: v == 0, 120)
    assert connection.execute(COUNT).fetchone()[0] == total
    # Long after the last one: a new event is as old as it is, not as that one.
    time_before = time.time()
    watch.since = time_before
    kafka.produce(topics["application"][0], [dict(streams["application"][0], seq=999)])
    deadline = time.time() + 5
    while connection.execute(COUNT).fetchone()[0] == total and time.time() < deadline:
        watch.look()
    assert connection.execute(COUNT).fetchone()[0] == total + 1
    w.stop(process)
    w.stop(source)


def test_backlog_of_a_source(make_weir, database, connection, kafka, topics):
    """Without an exchange ingest knows: it has the credit, and what it may not read is in its topics."""
    streams = loans.twin(processes=3000)
    w = make_weir(loans.pipeline(sources={s: x for s, (_, x) in topics.items()}, lanes=1, limits=LITTLE))
    w.apply()
    process = w.up()
    with psycopg.connect(database) as blocker:
        blocker.execute("lock table analytical_schema.fact_loan in exclusive mode")
        since = time.time()
        produce(kafka, topics, streams)
        watch = Watch(w, process, since)
        rises_with_the_clock(watch, since, 1)
        blocker.rollback()
    watch.until("its fall", lambda v: v == 0, 120)
    assert connection.execute(COUNT).fetchone()[0] == sum(map(len, streams.values()))
    w.stop(process)
