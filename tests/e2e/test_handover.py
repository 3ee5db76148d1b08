"""Replicas that are told to end: what they had is others' at once, and nothing is lost or doubled by it."""

import json
import threading
import time

import psycopg
import pytest

from confluent_kafka.admin import AdminClient

import loans
from ports import wait_for
from weir import SLOW

GROUPS = 8
COUNT = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
POSITIONS = "select kg_lo, next::text from admin_schema.key_range where kg_lo = kg_hi"
IDLE_SECONDS = 15  # the bar; measured: about 1, and 11 where a member does not say farewell


class Feeder(threading.Thread):
    """Events for every key group, all the time, until it is closed."""

    def __init__(self, kafka, topic):
        super().__init__(daemon=True)
        self.producer, self.topic, self.sent, self.over = kafka.producer(), topic, 0, threading.Event()
        self.arrived = 0
        self.event = loans.twin(processes=1)["application"][0]
        self.start()

    def report(self, error, _):
        self.arrived += error is None

    def run(self):
        while not self.over.wait(0.1):
            for _ in range(20):
                case = str(self.sent % 400)
                self.producer.produce(self.topic, json.dumps({**self.event, "case_id": case, "seq": self.sent}), key=case,
                                      on_delivery=self.report)
                self.sent += 1
            self.producer.flush()

    def close(self):
        self.over.set()
        self.join(30)
        assert not self.is_alive() and self.arrived == self.sent, f"{self.arrived} of {self.sent} are in the topic"
        return self.sent


class Gaps(threading.Thread):
    """When the position of each key group moved."""

    def __init__(self, dsn):
        super().__init__(daemon=True)
        self.connection, self.over, self.moved, self.last = psycopg.connect(dsn, autocommit=True), threading.Event(), {}, {}
        self.start()

    def run(self):
        while not self.over.wait(0.05):
            for group, position in self.connection.execute(POSITIONS).fetchall():
                if self.last.get(group) != position:
                    self.last[group] = position
                    self.moved.setdefault(group, []).append(time.monotonic())

    def close(self):
        self.over.set()
        self.join(30)
        self.connection.close()

    def longest(self, since):
        """The longest that any key group stood still since then; the time up to now counts, too."""
        gaps = [b - a for times in list(self.moved.values()) for a, b in zip(times, [*times[1:], time.monotonic()]) if b > since]
        return max(gaps)

    def all_moved(self, since):
        return len(self.moved) == GROUPS and all(times[-1] > since for times in list(self.moved.values()))


@pytest.fixture
def spread(make_weir, database, connection, kafka, request):
    """(weir, start a part, feeder, gaps)"""
    name = request.node.name.removeprefix("test_")
    topics = {s: kafka.create_topic(f"{name}.{s}", partitions=4) for s in loans.STREAMS}
    w = make_weir(loans.pipeline(lanes=1, sources={
        s: f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {t} }}' for s, t in topics.items()},
        more=f'groups: {GROUPS}\nexchange: {{ brokers: "{kafka.bootstrap}", topic: weir.{name} }}\n'))
    w.apply()
    feeder, gaps = Feeder(kafka, topics["application"]), Gaps(database)

    def start(instance, part="lanes"):
        return w.up("--only", part, "--instance", instance, log=w.directory / f"{instance}.log")

    yield w, start, feeder, gaps
    feeder.close()
    gaps.close()


def members(kafka, group):
    """How many the group has just now, by the broker's word."""
    found = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_groups(group, timeout=20)
    return sum(len(g.members) for g in found)


def owners(connection):
    return dict(connection.execute(
        "select s.instance, count(*) from admin_schema.key_range r join admin_schema.shard s using (epoch)"
        " where not s.closed group by 1").fetchall())


def test_lanes_that_end_leave_their_key_groups_at_once(spread, connection, kafka, capsys):
    w, start, feeder, gaps = spread
    source, a, b = start("in", "ingest,keeper"), start("a"), start("b")
    half = GROUPS // 2
    wait_for("both at work", lambda: owners(connection) == {"a": half, "b": half}, 60 * SLOW, 0.1)
    began = time.monotonic()
    wait_for("all key groups moving", lambda: gaps.all_moved(began), 30 * SLOW, 0.1)
    quiet = gaps.longest(began)
    told = time.monotonic()
    w.stop(b)
    ended = time.monotonic()
    assert members(kafka, "weir.loans.lanes") == 1, "it has left, and is not waited for"
    wait_for("the other one at work", lambda: owners(connection) == {"a": GROUPS} and gaps.all_moved(ended + 1), 40 * SLOW, 0.1)
    left = gaps.longest(told)
    # It comes back under its name, and gets its part again.
    back = time.monotonic()
    b = start("b")
    wait_for("both at work again", lambda: owners(connection) == {"a": half, "b": half} and
             gaps.all_moved(time.monotonic() - 1), 60 * SLOW, 0.1)
    joined = gaps.longest(back)
    assert left < IDLE_SECONDS * SLOW and joined < IDLE_SECONDS * SLOW
    sent = feeder.close()
    wait_for("every event", lambda: connection.execute(COUNT).fetchone()[0] >= sent, 60 * SLOW, 0.2)
    assert connection.execute(COUNT).fetchone()[0] == sent, "once each"
    with capsys.disabled():
        print(f"\na replica ends in order ({ended - told:.1f} s): the longest that a key group stood still {left:.1f} s,"
              f" at its return {joined:.1f} s; without either {quiet:.1f} s")
    for process in (source, a, b):
        w.stop(process)


def test_an_ingest_that_ends_leaves_its_partitions_at_once(spread, connection, kafka):
    w, start, feeder, gaps = spread
    lanes, a, b = start("lanes"), start("a", "ingest,keeper"), start("b", "ingest,keeper")
    began = time.monotonic()
    wait_for("all key groups moving", lambda: gaps.all_moved(began), 60 * SLOW, 0.1)
    assert members(kafka, "weir.loans.application") == 2
    told = time.monotonic()
    w.stop(b)
    assert members(kafka, "weir.loans.application") == 1, "it has left, and is not waited for"

    def all_read():
        sent = feeder.sent
        return wait_for("what was sent by now", lambda: connection.execute(COUNT).fetchone()[0] >= sent, 40 * SLOW, 0.05)

    all_read()  # of every partition, so those that were its are read
    assert time.monotonic() - told < IDLE_SECONDS * SLOW
    sent = feeder.close()
    wait_for("every event", lambda: connection.execute(COUNT).fetchone()[0] >= sent, 60 * SLOW, 0.2)
    assert connection.execute(COUNT).fetchone()[0] == sent, "once each"
    for process in (a, lanes):
        w.stop(process)


def test_the_only_replica_keeps_its_place(spread, connection, kafka):
    """Nobody could take what it has: it returns to it without waiting for others."""
    w, start, feeder, gaps = spread
    source, a = start("in", "ingest,keeper"), start("a")
    wait_for("all key groups moving", lambda: gaps.all_moved(0), 60 * SLOW, 0.1)
    w.stop(a)
    assert members(kafka, "weir.loans.lanes") == 1
    back = time.monotonic()
    a = start("a")
    wait_for("all of it", lambda: owners(connection) == {"a": GROUPS} and gaps.all_moved(back), 30 * SLOW, 0.05)
    log = (w.directory / "a.log").read_text()
    assert "begins anew" not in log.split("asked to stop")[1], "the group was not divided anew"
    for process in (source, a):
        w.stop(process)


@pytest.fixture
def lone(make_weir, kafka, request):
    """(weir, topics) of a pipeline with an ingest of its own and lanes, that runs."""
    name = request.node.name.removeprefix("test_").translate(str.maketrans("[]", ".."))
    topics = {s: kafka.create_topic(f"{name}.{s}", partitions=2) for s in loans.STREAMS}
    w = make_weir(loans.pipeline(name=f"lone_{len(name)}", lanes=1, sources={
        s: f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {t} }}' for s, t in topics.items()},
        more=f'groups: {GROUPS}\nexchange: {{ brokers: "{kafka.bootstrap}", topic: weir.{name} }}\n'))
    w.apply()
    source = w.up("--only", "ingest,keeper", "--instance", "in", log=w.directory / "in.log")
    w.up("--only", "lanes", "--instance", "lanes", log=w.directory / "lanes.log")
    return w, topics, source


def feed(kafka, connection, topic, partitions, before):
    """One event into each partition; all of them arrive."""
    producer = kafka.producer()  # one that knows how many there are now
    event = loans.twin(processes=1)["application"][0]
    for p in range(partitions):
        kafka.produce(topic, [{**event, "seq": before + p}], partition=p, producer=producer)
    wait_for("all of them", lambda: connection.execute(COUNT).fetchone()[0] == before + partitions, 60 * SLOW, 0.1)


def test_partitions_that_come_while_a_worker_is_reborn(lone, connection, kafka):
    """The group gives it back what it had, and sees no reason to divide anew."""
    w, topics, source = lone
    feed(kafka, connection, topics["application"], 2, 0)
    kafka.add_partitions(topics["application"], 4)
    w.kill(source, "ingest")
    feed(kafka, connection, topics["application"], 4, 2)


def test_another_topic_under_a_place_that_is_kept(lone, connection, kafka):
    w, topics, source = lone
    feed(kafka, connection, topics["application"], 2, 0)
    w.stop(source)
    other = kafka.create_topic(topics["application"] + "-other", partitions=4)
    w.file.write_text(w.file.read_text().replace(f"topic: {topics['application']} ", f"topic: {other} "))
    w.up("--only", "ingest,keeper", "--instance", "in", log=w.directory / "in.log")
    feed(kafka, connection, other, 4, 2)
