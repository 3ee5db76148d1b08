"""kill -9 of every role at seeded random moments, under load, all three transports: the tables equal a fault-free
run's, nothing is left behind, and the time from a death to the next commit is printed."""

import json
import os
import random
import signal
import threading
import time

import psycopg
import pytest

import loans
from ports import wait_for
from tables import Snapshot
from weir import SLOW, descendants

DATA_ROLES = ("ingest", "correlate", "transform", "load")
ALONE_ROLES = ("task", "status", "keeper", "science")  # no generation ends with them
ROLES = (*DATA_ROLES, "task", "status", "supervisor")


class Feeder(threading.Thread):
    """Posts the streams side by side in time order: application to Kafka, offers to a queue, work items to a
    file that grows in pieces which end anywhere."""

    def __init__(self, streams, kafka, topic, rabbit, queue, path, seconds):
        super().__init__(daemon=True)
        self.streams, self.kafka, self.topic = streams, kafka, topic
        self.rabbit, self.queue, self.path = rabbit, queue, path
        self.pieces = max(int(seconds * 10), 1)
        self.tempo = threading.Event()  # set: no more waiting between pieces
        self.error = None

    def run(self):
        try:
            self._feed()
        except BaseException as e:  # told by the test, which joins us
            self.error = e

    def _feed(self):
        text = "".join(json.dumps(e) + "\n" for e in self.streams["workitem"]).encode()
        sent = 0
        with open(self.path, "ab") as f:
            os.chmod(self.path, 0o644)
            for n in range(self.pieces):
                def piece(v):
                    return v[len(v) * n // self.pieces:len(v) * (n + 1) // self.pieces]
                self.kafka.produce(self.topic, piece(self.streams["application"]))
                offers = piece(self.streams["offer"])
                if offers:
                    first = sent
                    self.rabbit.publish(self.queue, offers, message_id=lambda i, _: f"o{first + i}")
                    sent += len(offers)
                f.write(piece(text))
                f.flush()
                self.tempo.wait(0.1)


class Killer:
    def __init__(self, w, connection, seed, roles=ROLES):
        self.w, self.connection, self.rng, self.roles = w, connection, random.Random(seed), roles
        self.process = w.up("--instance", "killed")
        self.restarts = []  # (role, seconds to the next commit)

    def _progress(self):
        return self.connection.execute(
            "select coalesce(max(epoch), 0), coalesce(sum(batch), 0) from admin_schema.shard").fetchone()

    def _next_commit(self, role, epoch):
        """Commits under an epoch that did not exist before the death."""
        start = time.monotonic()
        wait_for(f"a commit after the death of {role}", lambda: self.connection.execute(
            "select 1 from admin_schema.shard where epoch > %s and batch > 0", (epoch,)).fetchone(), 60 * SLOW, 0.01)
        self.restarts.append((role, time.monotonic() - start))

    def kill(self, role, wait):
        epoch = self._progress()[0]
        if role == "supervisor":
            # `weir up` has become the supervisor: one process.
            self.process.kill()
            self.process.wait()
            wait_for("the end of its workers", lambda: not descendants(), 10 * SLOW)
            self.process = self.w.up("--instance", "killed", ready=False)
        elif self.w.kill(self.process, role, self.rng.randrange(8)) is None:
            return False
        if wait and role not in ALONE_ROLES:
            self._next_commit(role, epoch)
        return True

    def random(self, n, feeder):
        """n kills, each role in turn in a random order, at random moments."""
        roles = []
        while len(roles) < n:
            roles += self.rng.sample(self.roles, len(self.roles))
        for role in roles[:n]:
            # Every other kill falls into the recovery of the one before.
            wait = self.rng.random() < 0.5 and feeder.is_alive()
            pause = threading.Event()
            pause.wait(self.rng.random() * 0.8)  # the random moment: not a wait for anything
            wait_for(f"a {role} to kill", lambda: self.kill(role, wait), 30 * SLOW, 0.02)


@pytest.fixture(scope="module")
def load(postgres, world):
    """A longer twin and its fault-free tables."""
    from weir import Weir
    streams = loans.twin(processes=int(os.environ.get("WEIR_KILL_PROCESSES", "5000")), seed=7)
    dsn = postgres.create_database("kills_reference")
    w = Weir(world / "kills-reference", loans.pipeline(name="reference"), dsn)
    for stream, events in streams.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    w.apply()
    w.run()
    w.teardown()
    with psycopg.connect(dsn) as c:
        loans.check_fact_loan(c, streams)
    return streams, Snapshot(dsn)


def kills(n, seed, load, kafka, rabbit, make_weir, database, connection, capsys):
    streams, expected = load
    topic = kafka.create_topic(f"kills-{n}-{seed}", partitions=4)
    queue = rabbit.create_queue(f"kills-{n}-{seed}")
    w = make_weir(loans.pipeline(lanes=2, ingests=2, more="rid_key: file:rid.key\n", sources={
        "application": f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {topic} }}',
        "offer": f'rabbitmq: {{ url: "{rabbit.url()}", queue: {queue}, identity: message-id }}',
        "workitem": loans.FOLLOW["workitem"]}))
    w.apply()
    killer = Killer(w, connection, seed)
    feeder = Feeder(streams, kafka, topic, rabbit, queue, w.data / "workitem.ndjson", n * 1.2)
    feeder.start()
    killer.random(n, feeder)
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
    w.stop(killer.process)
    Snapshot(database).assert_equal(expected, "with kills and without")
    with capsys.disabled():
        times = sorted(t for r, t in killer.restarts if r != "supervisor")
        if times:
            print(f"\n{n} kills (seed {seed}): from a worker's death to the next commit "
                  f"{times[0]:.2f} to {times[-1]:.2f} s, median {times[len(times) // 2]:.2f} s ({len(times)} measured)")


def test_twenty_kills(load, kafka, rabbit, make_weir, database, connection, capsys):
    kills(20, int(os.environ.get("WEIR_SEED", "11")), load, kafka, rabbit, make_weir, database, connection, capsys)


@pytest.mark.faults
@pytest.mark.skipif("WEIR_FAULTS" not in os.environ, reason="make faults")
@pytest.mark.parametrize("round", range(10))
def test_many_kills(round, load, kafka, rabbit, make_weir, database, connection, capsys):
    n = int(os.environ["WEIR_FAULTS"]) // 10
    kills(n, 1000 + round, load, kafka, rabbit, make_weir, database, connection, capsys)


def test_workers_end_with_their_supervisor(make_weir, twin_files):
    """No orphan: within a moment of the supervisor's kill -9 every worker is gone."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    w.apply()
    process = w.up()
    assert len(w.workers(process)) >= 9
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for("the end of every worker", lambda: not descendants(), 5 * SLOW)


def test_a_hanging_worker_is_killed(make_weir, twin_files, connection, twin):
    """SIGSTOP of correlate: no STATS for 5 s is a death; the work goes on."""
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    w.apply()
    process = w.up()
    victim = w.workers(process, "correlate")[0]
    os.kill(victim, signal.SIGSTOP)
    wait_for("the end of the stopped worker", lambda: victim not in w.workers(process), 20 * SLOW)
    for stream, events in twin.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    total = sum(map(len, twin.values()))
    count = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
    wait_for("every event", lambda: connection.execute(count).fetchone()[0] == total, 60 * SLOW)
    w.stop(process)
    loans.check_fact_loan(connection, twin)
