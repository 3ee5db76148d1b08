"""A pipeline spread over an exchange: replicas of ingest and of the lanes, each a supervisor of its own, with everything
sealed. Whatever is killed, added or taken away, the tables equal those of one host that nobody disturbed."""

import random
import shutil
import threading
import time

import pytest
from confluent_kafka import Consumer

import loans
from ports import wait_for
from tables import Snapshot
from test_kills_sealed import EXAMPLE, MEMBERS, Opened, sealed_weir
from weir import SLOW, descendants

GROUPS = 12
SOURCES_SIDE, LANES_SIDE = "ingest,keeper", "lanes"
COUNT = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
LOST_HOST_SECONDS, LOST_WORKER_SECONDS = 15, 2


class Feeder(threading.Thread):
    """Posts the streams side by side in time order: applications and work items to Kafka, offers to a queue."""

    def __init__(self, streams, kafka, topics, rabbit, queue, seconds):
        super().__init__(daemon=True)
        self.streams, self.kafka, self.topics = streams, kafka, topics
        self.rabbit, self.queue, self.pieces = rabbit, queue, max(int(seconds * 10), 1)
        self.tempo = threading.Event()  # set: no more waiting between pieces
        self.error = None

    def run(self):
        try:
            for n in range(self.pieces):
                self._piece(n)
                self.tempo.wait(0.1)
        except BaseException as e:  # told by the test, which joins us
            self.error = e

    def _piece(self, n):
        cut = {s: (len(v) * n // self.pieces, len(v) * (n + 1) // self.pieces) for s, v in self.streams.items()}
        for stream, topic in self.topics.items():
            self.kafka.produce(topic, self.streams[stream][slice(*cut[stream])])
        first, end = cut["offer"]
        if end > first:
            self.rabbit.publish(self.queue, self.streams["offer"][first:end], message_id=lambda i, _: f"o{first + i}")

    def finish(self):
        self.tempo.set()
        self.join(120)
        assert not self.is_alive() and self.error is None, self.error


class Pool:
    """Replicas by name; each writes a log of its own."""

    def __init__(self, w, connection, streams):
        self.w, self.connection = w, connection
        self.total = sum(map(len, streams.values()))
        self.replicas = {}

    def start(self, name, only=LANES_SIDE, ready=True):
        part = ("--only", only) if only else ()
        process = self.w.up(*part, "--instance", name, ready=False, log=self.w.directory / f"{name}.log")
        self.replicas[name] = process
        if ready:
            self.w.wait_ready(process, 60)
        return process

    def start_all(self, ingests=2, lanes=3):
        for i in range(ingests):
            self.start(f"in-{i}", SOURCES_SIDE, ready=False)
        for i in range(lanes):
            self.start(f"lane-{i}", ready=False)
        for process in self.replicas.values():
            self.w.wait_ready(process, 60)

    def stop(self, name):
        self.w.stop(self.replicas.pop(name))

    def lose(self, name):
        """As a host is lost: the supervisor and all below it, without a word."""
        process = self.replicas.pop(name)
        self.w.killed = True
        below = descendants(process.pid)
        process.kill()
        process.wait()
        wait_for("the end of its workers", lambda: not set(below) & set(descendants()), 10 * SLOW)

    def stop_all(self):
        # Ingest first: what it has delivered flows out through the lanes.
        for name in sorted(self.replicas):
            self.stop(name)

    def events(self):
        return self.connection.execute(COUNT).fetchone()[0]

    def epoch(self):
        return self.connection.execute("select max(epoch) from admin_schema.shard").fetchone()[0]

    def commits(self, name, epoch):
        """Whether the replica has committed under an epoch after that."""
        return self.connection.execute("select 1 from admin_schema.shard where instance = %s and epoch > %s and batch > 0",
                                       (name, epoch)).fetchone()

    def wait_for_all(self, seconds=90):
        try:
            wait_for("every event", lambda: self.events() >= self.total, seconds * SLOW, 0.2)
        except TimeoutError:
            pytest.fail(f"{self.events()} of {self.total} events arrived\n{self.logs()}")

    def logs(self, n=25):
        text = ""
        for log in sorted(self.w.directory.glob("*.log")):
            text += f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-n:]) + "\n"
        return text


@pytest.fixture(scope="module")
def reference(postgres, world):
    """Streams, what one host makes of them undisturbed, and the token keys it had."""
    streams = loans.twin(processes=2000, seed=29)
    w = sealed_weir(world / "exchange-reference", "exchange_reference", postgres)
    for stream, events in streams.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    w.apply()
    w.run()
    made = streams, Snapshot(w.dsn, members=MEMBERS), Opened(w), w.keys
    w.teardown()
    return made


@pytest.fixture
def spread(reference, postgres, kafka, rabbit, directory, request):
    """(weir, pool, feeder of so many seconds, check): a pipeline with an exchange, applied, nothing started."""
    streams, expected, opened, keys = reference
    name = request.node.name.removeprefix("test_").partition("[")[0][:40]
    groups = getattr(request, "param", GROUPS)
    topics = {s: kafka.create_topic(f"{name}.{s}", partitions=4) for s in ("application", "workitem")}
    queue = rabbit.create_queue(name)
    sources = {s: f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {t} }}' for s, t in topics.items()}
    sources["offer"] = f'rabbitmq: {{ url: "{rabbit.url()}", queue: {queue}, identity: message-id }}'
    w = sealed_weir(directory, name, postgres, lanes=2, ingests=1, sources=sources,
                    more=f"rid_key: file:rid.key\ngroups: {groups}\n"
                         f'exchange: {{ brokers: "{kafka.bootstrap}", topic: weir.{name} }}\n')
    for key in keys.glob("token-*.key"):  # equal tokens are comparable
        shutil.copy2(key, w.keys / key.name)
    w.sign()
    w.apply()

    def feed(seconds):
        feeder = Feeder(streams, kafka, topics, rabbit, queue, seconds)
        feeder.start()
        return feeder

    def check():
        wait_for("every acknowledgement", lambda: rabbit.count(queue) == 0, 30 * SLOW, 0.2)
        pool.stop_all()
        Snapshot(w.dsn, members=MEMBERS).assert_equal(expected, "spread and on one host")
        Opened(w).assert_equal(opened, "opened, spread and on one host")

    with w.superuser() as connection:
        pool = Pool(w, connection, streams)
        yield w, pool, feed, check
        print(pool.logs())  # shown with a failure
        w.teardown()


def test_exchange_equals_one_host(spread, kafka):
    w, pool, feed, check = spread
    pool.start_all()
    feed(2).finish()
    pool.wait_for_all()
    assert kafka.topic_partitions(f"weir.{w.pipeline_name}") == GROUPS
    check()


def test_exchange_under_one_supervisor(spread):
    """Both sides in one place, with nothing but the exchange between them."""
    w, pool, feed, check = spread
    process = pool.start("all", only=None)
    assert {"ingest", "keeper", "relay", "load"} <= set(descendants(process.pid).values())
    feed(1).finish()
    pool.wait_for_all()
    w.command("status", w.file)
    check()


@pytest.mark.parametrize("spread", [2], indirect=True)
def test_exchange_more_lanes_than_groups(spread):
    """Lanes and replicas that own nothing are no trouble, neither alive nor when they are told to end."""
    w, pool, feed, check = spread
    pool.start_all(ingests=1, lanes=3)
    feed(1).finish()
    pool.wait_for_all()
    start = time.monotonic()
    for name in [n for n in pool.replicas if n.startswith("lane-")]:
        pool.stop(name)
    assert time.monotonic() - start < 20 * SLOW
    check()


def test_exchange_kills(spread, capsys):
    """kill -9 of workers of every role and of whole supervisors, on both sides; a replica more, a replica less."""
    w, pool, feed, check = spread
    rng = random.Random(5)
    pool.start_all()
    feeder = feed(25)
    times = []
    for role in rng.sample(("relay", "correlate", "transform", "load", "ingest", "keeper", "relay", "ingest"), 8):
        side = [n for n in pool.replicas if n.startswith("in-" if role in ("ingest", "keeper") else "lane-")]
        victim, epoch = rng.choice(side), pool.epoch()
        w.kill(pool.replicas[victim], role, rng.randrange(4))
        if not victim.startswith("lane-"):
            continue
        start = time.monotonic()
        wait_for(f"a commit of {victim} after the death of {role}", lambda: pool.commits(victim, epoch), 60 * SLOW, 0.01)
        times.append(time.monotonic() - start)
    pool.start("lane-3")
    pool.lose("lane-1")
    pool.lose("in-1")
    pool.start("in-1", SOURCES_SIDE)
    pool.stop("lane-0")
    pool.start("lane-0")
    feeder.finish()
    pool.wait_for_all()
    check()
    with capsys.disabled():
        print(f"\n{len(times)} kills behind an exchange: from a worker's death to its replica's next commit "
              f"{min(times):.2f} to {max(times):.2f} s")
    assert sorted(times)[len(times) // 2] < LOST_WORKER_SECONDS * SLOW


def test_exchange_lost_host(spread, capsys):
    """What a lost host owned is taken over by the others within the bar."""
    w, pool, feed, check = spread
    pool.start_all(ingests=1, lanes=2)
    feeder = feed(30)
    wait_for("some events", lambda: pool.events() > 100, 60 * SLOW, 0.1)
    pool.lose("lane-1")
    start = time.monotonic()
    wait_for("its key groups with the other",
             lambda: pool.connection.execute("select count(distinct instance) from admin_schema.shard s where exists"
                                             " (select 1 from admin_schema.key_range k where k.epoch = s.epoch)"
                                             ).fetchone()[0] == 1, 60 * SLOW, 0.1)
    taken = time.monotonic() - start
    feeder.finish()
    pool.wait_for_all()
    check()
    with capsys.disabled():
        print(f"\nkey groups of a lost host were taken over after {taken:.1f} s")
    assert taken < LOST_HOST_SECONDS * SLOW


def test_exchange_rebalances(spread, kafka):
    """Twenty rebalances in a row throttle nothing and stop nobody."""
    w, pool, feed, check = spread
    pool.start_all(ingests=1, lanes=2)
    feeder = feed(15)
    for _ in range(20):
        guest = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": f"weir.{w.pipeline_name}.lanes",
                          "session.timeout.ms": 10000, "partition.assignment.strategy": "range", "log_level": 0})
        guest.subscribe([f"weir.{w.pipeline_name}"])
        wait_for("a place in the group", lambda: guest.poll(0.1) is not None or guest.assignment(), 60 * SLOW, 0)
        guest.close()  # it leaves: one more
    feeder.finish()
    pool.wait_for_all()
    log = (w.directory / "lane-0.log").read_text()
    assert log.count("key groups of 12 are ours") >= 20, log  # each in a life of its own
    assert not [line for line in log.splitlines() if "the next one comes in" in line and "comes in 0 ms" not in line]
    assert "restarting does not help" not in log
    check()
