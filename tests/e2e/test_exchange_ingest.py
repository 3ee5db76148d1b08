"""The sources' side of an exchange: what ingest writes to the topic, against a real broker."""

import collections
import json
import os
import signal

import msgpack
import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, TopicPartition

import sealing
from ports import wait_for
from weir import SLOW

GROUPS = 6
SIDE = ("--only", "ingest,keeper,status")

PIPELINE = """pipeline: {name}
lanes: 1
ingests: {ingests}
groups: {groups}
exchange: {{ brokers: "{brokers}"{exchange} }}
{more}correlate:
  by: case_id
  folds: {{ n: {{ count: event }}, last: {{ max: event.n }}, note: {{ last: event.note }} }}
sources:
  event:
    {source}
    time: at
    fields: {{ case_id: text, at: timestamp, n: integer, note: text }}
warehouse:
  postgresql: {{ dsn: "${{WEIR_DSN}}", logins: "${{WEIR_LOGINS}}" }}
tables:
  fact_case: {{ kind: fact, grain: process, key: case_id, columns: {{ n: n }} }}
"""

_names = iter(range(1, 1 << 30))


class Side:
    """One pipeline with a Kafka source and an exchange, each with topics of its own."""

    def __init__(self, make_weir, kafka, exchange="", ingests=1, partitions=4, source=None, more="", groups=GROUPS):
        self.name = f"x{os.getpid()}_{next(_names)}"
        self.kafka, self.topic = kafka, f"in.{self.name}"
        self.group = f"weir.{self.name}.event"
        if not source:
            kafka.create_topic(self.topic, partitions)
        source = source or f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {self.topic} }}'
        self.weir = make_weir(PIPELINE.format(
            name=self.name, ingests=ingests, groups=groups, brokers=kafka.bootstrap, exchange=exchange, source=source,
            more=more), name=self.name)
        self.out = f"weir.{self.name}"

    def up(self, instance="a", ready=True):
        return self.weir.up(*SIDE, "--instance", instance, ready=ready)

    def records(self):
        """Every message of the exchange, in the order of each partition."""
        ends = self.kafka.offsets(self.out)
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": f"look.{self.out}",
                             "enable.partition.eof": True, "auto.offset.reset": "earliest", "log_level": 0})
        consumer.assign([TopicPartition(self.out, p, 0) for p in ends])
        left, found = set(ends), []
        try:
            while left:
                m = consumer.poll(10)
                assert m is not None
                if m.error():
                    left.discard(m.partition())
                else:
                    found.append(m)
        finally:
            consumer.close()
        return found

    def count(self):
        return sum(end for _, end in self.kafka.offsets(self.out).values())


def events(n, first=0, **more):
    return [{"case_id": f"c{i % 97}", "at": "2024-05-01T10:00:00Z", "n": i, **more} for i in range(first, first + n)]


def origin(m):
    (name, h), = m.headers()
    end = 25 + h[24]
    assert name == "o"
    return h[25:end].decode(), h[end:].decode(), int.from_bytes(h[:8], "big")


def record(m):
    """[kind and flags, source, partition, offset, rid, key group, key, time, sequence, fields...]"""
    return msgpack.unpackb(m.value(), strict_map_key=False)


def marked(messages):
    """What a reader keeps that goes by (exchange partition, source partition, offset); how many came again."""
    marks, kept, again = collections.defaultdict(lambda: -1), [], 0
    for m in messages:
        _, label, at = origin(m)
        if at <= marks[m.partition(), label]:
            again += 1
            continue
        marks[m.partition(), label] = at
        kept.append(m)
    return kept, again


def settled(side, n, seconds=30):
    """Each event is in the exchange once, for who goes by the marks; the count of those sent again."""
    wait_for(f"{n} records in the exchange", lambda: side.count() >= n, seconds * SLOW, 0.2)
    wait_for("the group's offsets", lambda: sum(max(o, 0) for o in side.kafka.committed(side.group, side.topic).values()) == n,
             seconds * SLOW, 0.2)
    kept, again = marked(side.records())
    assert sorted(record(m)[11] for m in kept) == list(range(n))
    assert len({origin(m) for m in kept}) == n
    return again


def answered_is_delivered(side):
    """Whatever the sources' group was told is in the exchange: asked in this order, at any time."""
    committed = side.kafka.committed(side.group, side.topic)
    there = {origin(m)[1:] for m in side.records()}
    for p, end in committed.items():
        missing = [o for o in range(max(end, 0)) if (f"{side.topic}/{p}", o) not in there]
        assert not missing, f"partition {p} is committed up to {end}, and {missing[:5]} are not in the exchange"
    return sum(max(o, 0) for o in committed.values())


def test_records_equal_the_events(make_weir, kafka):
    side = Side(make_weir, kafka)
    plan = side.weir.command("plan", side.weir.file).stdout
    assert f"exchange topic {side.out} at {kafka.bootstrap}: {GROUPS} partitions, one for each key group" in plan
    side.weir.apply()
    assert side.kafka.topic_partitions(side.out) == GROUPS
    assert "exchange topic" not in side.weir.command("plan", side.weir.file, codes=(0, 99)).stdout
    process = side.up()
    kafka.produce(side.topic, events(2000) + [b"no event"])
    wait_for("the records", lambda: side.count() == 2001, 30 * SLOW, 0.2)
    messages = side.records()
    assert {m.timestamp()[0] for m in messages} == {TIMESTAMP_LOG_APPEND_TIME}  # retention goes by the broker's clock
    dead = [m for m in messages if record(m)[0] & 3 == 2]
    live = [m for m in messages if record(m)[0] & 3 == 0]
    assert len(dead) == 1 and len(live) == 2000
    groups = {}
    for m in live:
        r = record(m)
        source, label, at = origin(m)
        assert (source, r[1], r[2], r[3]) == ("event", 0, 0, at)
        assert label.startswith(f"{side.topic}/")
        assert r[5] == m.partition()  # the key group
        assert r[6] == f"c{r[11] % 97}"
        assert groups.setdefault(r[6], r[5]) == r[5]
    assert sorted(record(m)[11] for m in live) == list(range(2000))
    wait_for("the group's offsets", lambda: sum(kafka.committed(side.group, side.topic).values()) == 2001, 20 * SLOW, 0.2)
    side.weir.stop(process)


def test_a_topic_of_another_division_is_refused(make_weir, kafka):
    side = Side(make_weir, kafka)
    kafka.create_topic(side.out, GROUPS + 1)
    done = side.weir.command("apply", side.weir.file, codes=(78,))
    assert f"has {GROUPS + 1} partitions, and the pipeline has {GROUPS} groups" in done.stdout + done.stderr


def test_a_topic_that_would_lose_events_is_refused(make_weir, kafka):
    side = Side(make_weir, kafka)
    side.weir.apply()
    kafka.alter_topic(side.out, retention_ms=3600000, max_message_bytes=100000000)
    plan = side.weir.command("plan", side.weir.file, codes=(99,)).stdout
    assert "retention.ms is 3600000, the pipeline file has 604800000" in plan
    kafka.alter_topic(side.out, cleanup_policy="compact", max_message_bytes=1000)
    plan = side.weir.command("plan", side.weir.file, codes=(78,)).stdout
    assert "cleanup.policy is compact" in plan and "max.message.bytes is 1000" in plan


def test_what_the_topic_may_lose_is_said(make_weir, kafka):
    side = Side(make_weir, kafka)
    few = "exchange: fewer than 3 copies of each event (1)"
    assert few in side.weir.command("plan", side.weir.file).stdout
    side.weir.apply()
    got = kafka.topic_settings(side.out)
    assert (got["retention.bytes"], got["unclean.leader.election.enable"]) == ("-1", "false")
    assert got["message.timestamp.type"] == "LogAppendTime" and got["cleanup.policy"] == "delete"
    plan = side.weir.command("plan", side.weir.file, codes=(99,)).stdout
    assert few in plan and f"exchange topic {side.out}" not in plan
    kafka.alter_topic(side.out, retention_ms=604800000, max_message_bytes=100000000, retention_bytes=1 << 30,
                      unclean_leader_election_enable="true", message_timestamp_type="CreateTime")
    plan = side.weir.command("plan", side.weir.file, codes=(99,)).stdout
    for said in ("retention.bytes is 1073741824", "unclean.leader.election.enable is true", "message.timestamp.type is CreateTime"):
        assert f"exchange topic {side.out}: {said}" in plan, plan


def test_files_are_refused(make_weir, kafka):
    side = Side(make_weir, kafka, source='file: { path: "x.ndjson" }')
    done = side.weir.command("validate", side.weir.file, codes=(78,))
    assert "files cannot be read with `exchange:`" in done.stderr + done.stdout


def test_without_its_topic_it_waits(make_weir, kafka):
    side = Side(make_weir, kafka)
    side.weir.apply()
    kafka.delete_topic(side.out)
    process = side.up(ready=False)
    wait_for("what it waits for", lambda: "it does not exist; `weir apply` makes it" in json.dumps(side.weir.status(process)),
             20 * SLOW)
    side.weir.apply()
    kafka.produce(side.topic, events(10))
    wait_for("the records", lambda: side.count() == 10, 20 * SLOW, 0.2)
    side.weir.stop(process)


def test_kills(make_weir, kafka):
    """kill -9 of ingest, again and again, while events come."""
    side = Side(make_weir, kafka, ingests=2)
    side.weir.apply()
    process = side.up()
    n = 0
    for _ in range(4):
        kafka.produce(side.topic, events(6000, n))
        n += 6000
        wait_for("some records", lambda: side.count() > n - 6000, 30 * SLOW, 0.02)
        side.weir.kill(process, "ingest")
        answered_is_delivered(side)
    again = settled(side, n)
    print("sent again:", again)
    side.weir.stop(process)


def test_a_drain_sends_nothing_again(make_weir, kafka):
    side = Side(make_weir, kafka)
    side.weir.apply()
    n = 0
    for _ in range(3):
        process = side.up()
        kafka.produce(side.topic, events(3000, n))
        n += 3000
        wait_for("some records", lambda: side.count() > n - 3000, 30 * SLOW, 0.02)
        side.weir.stop(process)
    process = side.up()
    assert settled(side, n) == 0
    side.weir.stop(process)


def test_nothing_is_answered_before_it_is_delivered(make_weir, kafka, world):
    """The exchange's broker stands still: its records time out, ingest is born again, and loses nothing."""
    from kafka_server import KafkaServer
    other = KafkaServer(world / f"kafka-{next(_names)}").start()
    try:
        side = Side(make_weir, kafka, exchange=', properties: { message.timeout.ms: "3000" }')
        text = side.weir.file.read_text()
        side.weir.file.write_text(text.replace(f'exchange: {{ brokers: "{kafka.bootstrap}"', f'exchange: {{ brokers: "{other.bootstrap}"'))
        side.weir.apply()
        process = side.up()
        kafka.produce(side.topic, events(500))
        look = Side.__new__(Side)
        look.__dict__.update(side.__dict__, kafka=other)
        wait_for("the records", lambda: look.count() == 500, 30 * SLOW, 0.2)
        wait_for("offsets", lambda: sum(kafka.committed(side.group, side.topic).values()) == 500, 20 * SLOW, 0.2)
        os.killpg(other.pid, signal.SIGSTOP)
        kafka.produce(side.topic, events(500, 500))
        births = lambda: {r["role"]: r["births"] for r in (side.weir.status(process) or {"workers": []})["workers"]}
        wait_for("another birth of ingest", lambda: births().get("ingest", 0) > 1, 40 * SLOW, 0.2)
        assert sum(kafka.committed(side.group, side.topic).values()) == 500
        assert "did not take a record" in side.weir.log.read_text()
        os.killpg(other.pid, signal.SIGCONT)
        wait_for("the rest", lambda: sum(kafka.committed(side.group, side.topic).values()) == 1000, 60 * SLOW, 0.2)
        kept, _ = marked(look.records())
        assert sorted(record(m)[11] for m in kept) == list(range(1000))
        side.weir.stop(process)
    finally:
        os.killpg(other.pid, signal.SIGCONT)
        other.stop()


def test_an_oversize_record_is_a_dead_letter(make_weir, kafka):
    side = Side(make_weir, kafka, exchange=', properties: { message.max.bytes: "20000" }')
    side.weir.apply()
    process = side.up()
    kafka.produce(side.topic, events(10) + events(1, 10, note="x" * 30000) + events(10, 11))
    wait_for("the records", lambda: side.count() == 21, 30 * SLOW, 0.2)
    dead = [record(m) for m in side.records() if record(m)[0] & 3 == 2]
    assert [r[9] for r in dead] == ["larger than the exchange takes"]
    assert [r["births"] for r in side.weir.status(process)["workers"] if r["role"] == "ingest"] == [1]
    side.weir.stop(process)


def test_two_hosts_share_the_source(make_weir, kafka):
    """A second supervisor joins, and leaves: each rebalance is a new generation, and nothing is lost."""
    side = Side(make_weir, kafka)
    side.weir.apply()
    first = side.up("a")
    kafka.produce(side.topic, events(3000))
    wait_for("some records", lambda: side.count() > 0, 30 * SLOW, 0.02)
    second = side.weir.up(*SIDE, "--instance", "b", ready=False, log=side.weir.directory / "b.log")
    side.weir.wait_ready(second)
    kafka.produce(side.topic, events(3000, 3000))
    settled(side, 6000)
    assert "divided anew" in side.weir.log.read_text()
    side.weir.killed = True
    second.kill()
    second.wait()
    assert answered_is_delivered(side) == 6000
    kafka.produce(side.topic, events(3000, 6000))
    settled(side, 9000, 40)
    side.weir.stop(first)


@pytest.mark.parametrize("latest", [False, True])
def test_where_a_group_begins(make_weir, kafka, latest):
    side = Side(make_weir, kafka)
    if latest:
        text = side.weir.file.read_text()
        side.weir.file.write_text(text.replace(f"topic: {side.topic} }}", f"topic: {side.topic}, from: latest }}"))
    side.weir.apply()
    kafka.produce(side.topic, events(100))
    process = side.up()
    if latest:
        wait_for("where it begins", lambda: sum(max(o, 0) for o in kafka.committed(side.group, side.topic).values()) == 100,
                 20 * SLOW, 0.2)
    kafka.produce(side.topic, events(100, 100))
    n = 100 if latest else 200
    wait_for("the records", lambda: side.count() == n, 30 * SLOW, 0.2)
    assert sorted(record(m)[11] for m in side.records()) == list(range(200 - n, 200))
    side.weir.stop(process)


def test_a_queue_is_acked_after_delivery(make_weir, kafka, rabbit):
    queue = f"q{os.getpid()}"
    rabbit.create_queue(queue)
    side = Side(make_weir, kafka, source=f'rabbitmq: {{ url: "{rabbit.url()}", queue: {queue}, identity: message-id }}',
                more="rid_key: file:rid.key\n")
    side.weir.apply()
    process = side.up()
    rabbit.publish(queue, events(1000), message_id=lambda i, _: f"m{i}")
    wait_for("the records", lambda: side.count() >= 1000, 30 * SLOW, 0.2)
    side.weir.kill(process, "ingest")
    rabbit.publish(queue, events(1000, 1000), message_id=lambda i, _: f"m{1000 + i}")
    wait_for("an empty queue", lambda: rabbit.count(queue) == 0, 30 * SLOW, 0.2)
    by_rid = {record(m)[4]: record(m)[11] for m in side.records()}
    assert sorted(by_rid.values()) == list(range(2000))
    side.weir.stop(process)


def test_what_is_sensitive_is_sealed_in_the_exchange(directory, postgres, kafka):
    """With keys: facts and envelopes come from one keeper; the topic has no value in clear; the policy decides."""
    name = f"xs{os.getpid()}"
    topics = {s: kafka.create_topic(f"{s}.{name}", 2) for s in ("application", "call")}
    text = sealing.pipeline(name=name, sources={
        s: f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {t} }}' for s, t in topics.items()})
    made = sealing.SealedWeir(directory / "sealed", text + f'exchange: {{ brokers: "{kafka.bootstrap}" }}\ngroups: {GROUPS}\n',
                              postgres, name)
    try:
        made.set_up()
        process = made.up(*SIDE)
        sent = [{"case_id": f"c{i}", "seq": 0, "at": "2024-05-01T10:00:00Z", "channel": "web", "cpf": "529.982.247-25",
                 "customer": {"name": "Secretia Person"}, "amount": 777.77 + i} for i in range(50)]
        kafka.produce(topics["application"], sent)
        side = Side.__new__(Side)
        side.kafka, side.out = kafka, f"weir.{name}"
        wait_for("the records", lambda: side.count() == 50, 30 * SLOW, 0.2)
        made.kill(process, "keeper")
        kafka.produce(topics["application"], sent + [b"{ Secretia"])
        wait_for("the records", lambda: side.count() == 101, 30 * SLOW, 0.2)
        for m in side.records():
            assert b"Secretia" not in m.value() and b"529.982" not in m.value() and b"52998224725" not in m.value()
        made.stop(process)
        (made.keys / "policy").rename(directory / "policy")
        process = made.up(*SIDE, ready=False)
        assert process.wait(20 * SLOW) == 78
    finally:
        made.teardown()
