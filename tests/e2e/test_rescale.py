"""Another number of lanes: the file says so, the supervisor begins again, nothing is lost or doubled. Kills of
workers and of the supervisor leave the lanes at different positions before each change."""

import os
import random

import psycopg
import pytest

import loans
from ports import wait_for
from tables import Snapshot
from test_kills import Feeder, Killer
from weir import SLOW, Weir, descendants

PROCESSES = int(os.environ.get("WEIR_RESCALE_PROCESSES", "3000"))
ROLES = ("ingest", "correlate", "transform", "load")


@pytest.fixture(scope="module")
def undisturbed(postgres, world):
    streams = loans.twin(processes=PROCESSES, seed=17)
    dsn = postgres.create_database("rescale_reference")
    w = Weir(world / "rescale-reference", loans.pipeline(name="reference", lanes=2), dsn)
    for stream, events in streams.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    w.apply()
    w.run()
    w.teardown()
    with psycopg.connect(dsn) as c:
        loans.check_fact_loan(c, streams)
    return streams, Snapshot(dsn)


def rescale(w, lanes):
    text = w.file.read_text()
    start = text.index("lanes: ")
    w.file.write_text(text[:start] + f"lanes: {lanes}" + text[text.index("\n", start):])


def ranges(connection):
    """[(first, last, epoch's lane)], which tile all key groups."""
    rows = connection.execute(
        "select kg_lo, kg_hi, s.lane, s.closed from admin_schema.key_range r join admin_schema.shard s"
        " using (pipeline, build, epoch) order by kg_lo").fetchall()
    groups = connection.execute("select g from admin_schema.pipeline").fetchone()[0]
    assert [lo for lo, *_ in rows] == [0, *(hi + 1 for _, hi, *_ in rows[:-1])] and rows[-1][1] == groups - 1, rows
    return rows


def owned(connection, lanes):
    rows = ranges(connection)
    return not any(closed for *_, closed in rows) and {lane for _, _, lane, _ in rows} == set(range(lanes))


def test_lanes_change_under_way(undisturbed, kafka, rabbit, make_weir, database, connection):
    streams, expected = undisturbed
    rng = random.Random(int(os.environ.get("WEIR_SEED", "5")))
    topic = kafka.create_topic("rescale", partitions=4)
    queue = rabbit.create_queue("rescale")
    w = make_weir(loans.pipeline(lanes=1, ingests=2, more="rid_key: file:rid.key\n", sources={
        "application": f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {topic} }}',
        "offer": f'rabbitmq: {{ url: "{rabbit.url()}", queue: {queue}, identity: message-id }}',
        "workitem": loans.FOLLOW["workitem"]}))
    w.apply()
    feeder = Feeder(streams, kafka, topic, rabbit, queue, w.data / "workitem.ndjson", 15)
    killer = Killer(w, connection, rng.random(), ROLES)
    feeder.start()
    for n, lanes in enumerate((1, 3, 2, 4, 1, 2)):
        if n:
            rescale(w, lanes)
            killer.process = w.up("--instance", "killed", ready=False)
            wait_for(f"{lanes} lanes", lambda: owned(connection, lanes), 30 * SLOW, 0.05)
        for role in rng.sample(ROLES, 2):
            wait_for(f"a {role} to kill", lambda: killer.kill(role, feeder.is_alive()), 30 * SLOW, 0.02)
        if lanes == 2 and n > 3:
            break
        if rng.random() < 0.5:
            killer.process.kill()
            killer.process.wait()
            wait_for("the end of its workers", lambda: not descendants(), 10 * SLOW)
        else:
            w.stop(killer.process)
        ranges(connection)
    feeder.tempo.set()
    feeder.join(120)
    assert not feeder.is_alive() and feeder.error is None, feeder.error
    total = sum(map(len, streams.values()))
    count = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
    try:
        wait_for("every event", lambda: connection.execute(count).fetchone()[0] >= total, 120 * SLOW, 0.2)
    except TimeoutError:
        pytest.fail(f"{connection.execute(count).fetchone()[0]} of {total} events arrived\n{w.log_tail()}")
    wait_for("every acknowledgement", lambda: rabbit.count(queue) == 0, 30 * SLOW, 0.2)
    # Whoever has read everything equally far has one range a lane again.
    wait_for("joined ranges", lambda: len(ranges(connection)) == 2, 30 * SLOW, 0.2)
    w.stop(killer.process)
    Snapshot(database).assert_equal(expected, "with other lanes and without")
    loans.check_fact_loan(connection, streams)


def test_bounded_runs_with_other_lanes(make_weir, database, connection):
    """Each run reads what came since, with as many lanes as its file says."""
    streams = loans.twin(processes=300, seed=23)
    w = make_weir(loans.pipeline(lanes=1, sources=None))
    w.apply()
    for n, lanes in enumerate((1, 4, 3, 8, 2)):
        rescale(w, lanes)
        for stream, events in streams.items():
            loans.write(w.data / f"{stream}-{n}.ndjson", events[len(events) * n // 5:len(events) * (n + 1) // 5])
        w.run()
        assert owned(connection, lanes)
    loans.check_fact_loan(connection, streams)


def test_one_host_an_exchange_and_back(undisturbed, kafka, rabbit, make_weir, database, connection):
    """A pipeline goes on behind an exchange with what one host had read, with other lanes, and the other way round."""
    streams, expected = undisturbed
    topics = {s: kafka.create_topic(f"back.{s}", partitions=3) for s in ("application", "workitem")}
    queue = rabbit.create_queue("back")
    sources = {s: f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {t} }}' for s, t in topics.items()}
    sources["offer"] = f'rabbitmq: {{ url: "{rabbit.url()}", queue: {queue}, identity: message-id }}'
    exchange = f'exchange: {{ brokers: "{kafka.bootstrap}", topic: weir.back }}\n'
    w = make_weir(loans.pipeline(lanes=2, sources=sources, more="rid_key: file:rid.key\ngroups: 12\n"))
    plain, sent, posted = w.file.read_text(), 0, 0
    for n, (text, lanes) in enumerate(((plain, 2), (plain + exchange, 3), (plain + exchange, 1), (plain, 2))):
        w.file.write_text(text)
        rescale(w, lanes)
        w.apply()
        process = w.up("--instance", "one")
        for stream, events in streams.items():
            piece = events[len(events) * n // 4:len(events) * (n + 1) // 4]
            sent += len(piece)
            if stream in topics:
                kafka.produce(topics[stream], piece)
            else:
                first = posted
                rabbit.publish(queue, piece, message_id=lambda i, _: f"o{first + i}")
                posted += len(piece)
        count = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
        try:
            wait_for("every event", lambda: connection.execute(count).fetchone()[0] >= sent, 60 * SLOW, 0.2)
        except TimeoutError:
            pytest.fail(f"{connection.execute(count).fetchone()[0]} of {sent} events arrived\n{w.log_tail()}")
        wait_for("every acknowledgement", lambda: rabbit.count(queue) == 0, 30 * SLOW, 0.2)
        w.kill(process, "load")  # what was read is read again
        w.stop(process)
    Snapshot(database).assert_equal(expected, "by way of an exchange and without")
    loans.check_fact_loan(connection, streams)
