"""The Kafka driver against a real broker: what is read, in which order, and what is said when it fails."""

import itertools
import json

import pytest

from kafka_server import KafkaServer
from probe import Probe

NONE = -1
_names = (f"driver{i}" for i in itertools.count())


@pytest.fixture
def topic():
    return next(_names)


def events(n, first=0, cases=97):
    return [{"case_id": f"c{i % cases}", "i": i} for i in range(first, first + n)]


def numbers(probe):
    return sorted(json.loads(body)["i"] for body in probe.bodies())


def in_order(probe):
    return all(a["offset"] < b["offset"]
               for said in probe.events.values() for a, b in zip(said, said[1:]))


def probe_of(kafka, topic, *options, **more):
    return Probe("kafka", kafka.bootstrap, topic, *options, **more)


def test_everything_in_order_and_caught_up(kafka, topic):
    kafka.create_topic(topic, 4)
    kafka.produce(topic, events(5000), timestamp_ms=1700000000123)
    with probe_of(kafka, topic, autostart=NONE) as p:
        p.wait("all", lambda p: p.count() == 5000)
        assert numbers(p) == list(range(5000)) and in_order(p)
        assert p.found == {i: f"{topic}/{i}" for i in range(4)} and p.listed
        assert p.events[0][0]["time"] == 1700000000123000
        p.wait("caught up", lambda p: all(f["caught_up"] for f in p.frontier.values()))
        assert not any(f["finished"] for f in p.frontier.values())
        kafka.produce(topic, events(10, 5000))
        p.wait("the new ones", lambda p: p.count() == 5010)


def test_bounded_ends_where_the_topic_ended(kafka, topic):
    kafka.create_topic(topic, 3)
    kafka.produce(topic, events(900), partition=0)
    kafka.produce(topic, events(100, 900), partition=1)
    with probe_of(kafka, topic, "bounded") as p:
        p.wait("listing", lambda p: len(p.found) == 3)
        kafka.produce(topic, events(50, 2000), partition=0)
        kafka.produce(topic, events(50, 3000), partition=2)
        for slot in range(3):
            p.tell("start", slot, NONE)
        p.wait("the end", Probe.finished)
        assert numbers(p) == list(range(1000))
        assert [p.frontier[i]["next"] for i in range(3)] == [900, 100, 0]


def test_transactions_leave_holes_and_hide_what_was_aborted(kafka, topic):
    kafka.create_topic(topic, 1)
    kafka.transaction(topic, events(10))
    kafka.transaction(topic, events(10, 100), commit=False)
    with probe_of(kafka, topic, "bounded", autostart=NONE) as p:
        p.wait("the end", Probe.finished)
        assert numbers(p) == list(range(10))
        assert p.frontier[0]["next"] == 22  # 20 events and two control records
    producer = kafka.producer(**{"transactional.id": "open"})
    producer.init_transactions(30)
    producer.begin_transaction()
    kafka.produce(topic, events(10, 200), producer=producer)
    with probe_of(kafka, topic, autostart=0) as p:
        p.wait("the stable ones", lambda p: p.frontier.get(0, {}).get("next") == 22)
        p.wait("caught up", lambda p: p.frontier[0]["caught_up"])
        with probe_of(kafka, topic, "bounded", autostart=0) as bounded:
            bounded.wait("the end", Probe.finished)
        producer.commit_transaction(30)
        p.wait("the rest", lambda p: p.frontier[0]["next"] == 33)
        assert numbers(p) == list(range(10)) + list(range(200, 210))


def test_starts_where_it_is_told(kafka, topic):
    kafka.create_topic(topic, 2)
    kafka.produce(topic, events(100), partition=0)
    kafka.produce(topic, events(100, 100), partition=1)
    with probe_of(kafka, topic, "bounded") as p:
        p.wait("listing", lambda p: len(p.found) == 2)
        p.tell("start", 0, 40)
        p.tell("start", 1, 100)
        p.wait("the end", Probe.finished)
        assert numbers(p) == list(range(40, 100))
    with probe_of(kafka, topic, "latest", autostart=NONE) as p:
        p.wait("start", lambda p: len(p.frontier) == 2)
        kafka.produce(topic, events(5, 1000))
        p.wait("new ones only", lambda p: p.count() == 5)


def test_paused_partitions_are_not_read_and_lose_nothing(kafka, topic):
    kafka.create_topic(topic, 2)
    kafka.produce(topic, events(2000), partition=0)
    kafka.produce(topic, events(2000, 2000), partition=1)
    with probe_of(kafka, topic) as p:
        p.wait("listing", lambda p: len(p.found) == 2)
        p.tell("pause 0")
        p.tell("start", 0, NONE)
        p.tell("start", 1, NONE)
        p.wait("the other one", lambda p: len(p.events.get(1, [])) == 2000)
        assert 0 not in p.events
        p.tell("resume 0")
        p.wait("all", lambda p: p.count() == 4000)
        for round_ in range(20):
            p.tell("pause 0")
            kafka.produce(topic, events(10, 4000 + round_ * 10), partition=0)
            p.tell("resume 0")
        p.wait("all", lambda p: p.count() == 4200)
        assert numbers(p) == list(range(4200)) and in_order(p)


def test_compressed_in_every_way(kafka, topic):
    kafka.create_topic(topic, 2)
    for i, codec in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
        producer = kafka.producer(**{"compression.codec": codec})
        kafka.produce(topic, events(200, i * 200), producer=producer)
    with probe_of(kafka, topic, "bounded", autostart=NONE) as p:
        p.wait("the end", Probe.finished)
        assert numbers(p) == list(range(1000))


def test_group_offsets_are_told(kafka, topic):
    kafka.create_topic(topic, 2)
    kafka.produce(topic, events(100), partition=1)
    with probe_of(kafka, topic, autostart=NONE) as p:
        p.wait("all", lambda p: p.count() == 100)
        p.tell("committed", 1, 60)
        p.wait("the group", lambda p: kafka.committed("weir-probe", topic)[1] == 60)
        p.tell("committed", 1, 100)
    assert kafka.committed("weir-probe", topic) == {0: -1001, 1: 100}


def test_a_broker_that_dies_and_returns(world, topic):
    server = KafkaServer(world / "kafka-dies").start()
    try:
        server.create_topic(topic, 2)
        server.produce(topic, events(1000))
        with probe_of(server, topic, autostart=NONE) as p:
            p.wait("all", lambda p: p.count() == 1000)
            server.kill()
            p.wait("trouble", lambda p: p.trouble and server.bootstrap in p.trouble)
            server.start()
            server.produce(topic, events(1000, 1000))
            p.wait("the rest", lambda p: p.count() == 2000)
            assert numbers(p) == list(range(2000)) and in_order(p)
            p.wait("well again", lambda p: p.trouble is None)
        server.stop()
        with probe_of(server, topic, "bounded", autostart=NONE) as p:
            p.wait("trouble", lambda p: p.trouble and "cannot reach" in p.trouble)
            server.start()
            p.wait("the end", Probe.finished)
            assert numbers(p) == list(range(2000))
            assert p.sum()["slowest_us"] < 200000
    finally:
        server.stop()


def test_a_topic_that_is_not_there_yet(kafka, topic):
    with probe_of(kafka, topic, autostart=NONE) as p:
        p.wait("trouble", lambda p: p.trouble and "does not exist" in p.trouble and topic in p.trouble)
        kafka.create_topic(topic, 2)
        kafka.produce(topic, events(10))
        p.wait("all", lambda p: p.count() == 10)
        p.wait("well", lambda p: p.trouble is None)


def test_events_that_retention_took_are_a_loss_alarm(kafka, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, events(100))
    kafka.delete_records(topic, {0: 50})
    with probe_of(kafka, topic, autostart=20) as p:
        p.wait("the alarm", lambda p: p.trouble and "LOSS" in p.trouble)
        assert "20 to 49" in p.trouble and topic in p.trouble
        assert p.count() == 0
    with probe_of(kafka, topic, "bounded", autostart=NONE) as p:  # but a first start is none
        p.wait("the end", Probe.finished)
        assert numbers(p) == list(range(50, 100))


def test_a_topic_that_was_made_anew_is_a_loss_alarm(kafka, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, events(30))
    for options in ((), ("bounded",)):
        with probe_of(kafka, topic, *options, autostart=100) as p:
            p.wait("the alarm", lambda p: p.trouble and "re-created" in p.trouble)
            assert "ends at 30" in p.trouble and "up to 100" in p.trouble
            assert p.count() == 0 and not p.finished()


def test_new_partitions_are_found_and_read_from_their_start(kafka, topic):
    kafka.create_topic(topic, 1)
    with probe_of(kafka, topic, "latest", autostart=NONE) as p:
        p.wait("listing", lambda p: p.listed)
        kafka.add_partitions(topic, 3)
        kafka.produce(topic, events(10), partition=2)
        p.wait("the new ones", lambda p: p.count() == 10, 30)
        assert sorted(p.found) == [0, 1, 2]


@pytest.mark.parametrize("option, word", [
    ("no.such.property=1", "no such property"), ("ssl.key.password=hush", None),
    ("security.protocol=hush", "refuses the value"), ("group.id=x", "Weir's own")])
def test_properties_are_checked_and_their_values_not_shown(kafka, topic, option, word):
    with probe_of(kafka, topic, option) as p:
        if word is None:
            p.wait("trouble", lambda p: p.trouble)
            return
        p.process.wait(10)
        p.reader.join()
        assert p.refused["refused"] == 78 and word in p.refused["why"]
        assert "hush" not in p.refused["why"] and option.split("=")[0] in p.refused["why"]
