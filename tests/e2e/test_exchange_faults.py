"""Hosts that get lost, are cut off, stand still and come back, servers that die, records that the exchange refuses: at
random moments under load. Work goes on in time, and after each of them the warehouse holds what was sent, once."""

import contextlib
import os
import random
import time

import pytest
from confluent_kafka import Consumer

import loans
from ports import wait_for
from spread import INGEST, LANES, Reference, Spread, seconds_until
from weir import ASAN, SLOW

pytestmark = pytest.mark.skipif(ASAN, reason="sanitizers: test_exchange.py is for them")

LOST_HOST_SECONDS, LOST_WORKER_SECONDS = 15, 2
SESSION_SECONDS = 10  # MEMBER_SESSION_MS: who is not heard of for so long is taken for lost
HOSTS_MAX = 4  # of a kind; at least two of each are left
SMALL_BYTES = 1200  # one record passes, most batches do not
EVERYWHERE = 400  # so many events reach every partition
POSTING_SECONDS = 1  # at most, unless the machine is busy with other things
TOPIC = {"cleanup_policy": "delete", "retention_ms": 7 * 86400 * 1000}


class Faults:
    """Each fault is a method that ends when its consequences have been seen; it returns its figures as text."""

    def __init__(self, spread, feeder, rng, cut_seconds):
        self.spread, self.hosts, self.network = spread, spread.hosts, spread.outside.network
        self.feeder, self.rng, self.cut_seconds = feeder, rng, cut_seconds
        self.numbers = {"in": 0, "lane": 0}  # names are never used twice
        self.zombies = {}  # host: its closed shards when it came back
        self.waits = {"host": [], "worker": []}

    # ---- hosts ----
    def kind(self, kind):
        return sorted(h for h in self.hosts.up if h.startswith(kind))

    def add(self, kind):
        host = f"{kind}{self.numbers[kind]}"
        self.numbers[kind] += 1
        self.hosts.start(host, INGEST if kind == "in" else LANES)
        return host

    def one(self, kind):
        return self.rng.choice(self.kind(kind))

    def refill(self, kind):
        """Two of a kind at least; the new one has its share before anything else happens."""
        while len(self.kind(kind)) < 2:
            host = self.add(kind)
            self.hosts.wait_ready(host)
            self.owning(kind)

    def owning(self, kind):
        if kind == "lane":
            wanted = set(self.kind("lane"))
            self.spread.wait_for("owners of the key groups", lambda: self.spread.owners() == wanted, 90, 0.1)

    # ---- when does work go on? ----
    def lanes_go_on(self, host, epoch, before):
        """Every key group that the host had has been worked on by somebody else."""
        lost = {kg: at for kg, (_, owner, at) in before.items() if owner == host}
        assert lost, f"{host} owned nothing"

        def worked():
            now = self.spread.positions()
            return all(now[kg][0] > epoch and now[kg][2] > at for kg, at in lost.items())
        return seconds_until(worked, f"work on the {len(lost)} key groups of {host}", self.spread)

    def sources_go_on(self):
        """Until events that come from now on are in the warehouse, of every partition of every topic; without the time
        that it takes to post them."""
        ends = {s: {p: end for p, (_, end) in self.spread.kafka.offsets(t).items()} for s, t in self.spread.topics.items()}
        start = time.monotonic()
        self.feeder.burst(max(0.01, EVERYWHERE / (1 + self.feeder.left)))
        posted = time.monotonic()

        def read():
            return all(self.spread.marks(s).get(p, 0) > end for s, all_ in ends.items() for p, end in all_.items())
        self.spread.wait_for("new events of every partition", read, 90, 0.02)
        return time.monotonic() - max(start, posted - POSTING_SECONDS)

    def goes_on(self, host, epoch, before):
        return self.sources_go_on() if host.startswith("in") else self.lanes_go_on(host, epoch, before)

    def others_took(self, host, epoch, before):
        seconds = self.goes_on(host, epoch, before)
        self.waits["host"].append(seconds)
        return seconds

    def remember(self, host):
        """What the host's closed shards had committed when others had taken over: it is held against what they have later."""
        self.zombies.setdefault(host, {}).update(self.spread.shards(host))

    def zombies_wrote_nothing(self):
        for host, before in self.zombies.items():
            now = self.spread.shards(host)  # the oldest go some time
            assert all(now[e] == rest for e, rest in before.items() if e in now), f"{host}: {before} became {now}"

    # ---- faults ----
    def lose(self, kind):
        self.refill(kind)
        host, epoch, before = self.one(kind), self.spread.epoch(), self.spread.positions()
        self.feeder.burst()
        self.hosts.lose(host)
        seconds = self.others_took(host, epoch, before)
        return f"{host} lost: work went on after {seconds:.1f} s"

    def lose_ingest(self):
        return self.lose("in")

    def lose_lanes(self):
        return self.lose("lane")

    def away(self, kind, what, begin, end):
        """A host that others take for lost, while it takes itself for alive."""
        self.refill(kind)
        host, epoch, before = self.one(kind), self.spread.epoch(), self.spread.positions()
        self.feeder.burst()
        begin(host)
        start = time.monotonic()
        seconds = self.others_took(host, epoch, before)
        self.remember(host)
        left = self.cut_seconds - (time.monotonic() - start)
        if left > 0:
            time.sleep(left)  # it is away for so long: not a wait for anything
        end(host)
        self.hosts.wait_ready(host)
        self.owning(kind)
        self.zombies_wrote_nothing()
        tried = self.hosts.log(host).read_text().count("taken key groups")
        return (f"{host} {what} for {time.monotonic() - start:.0f} s: work went on after {seconds:.1f} s;"
                f" of its {len(self.zombies[host])} closed shards none has written since, {tried} tried")

    def cut_lanes(self):
        return self.away("lane", "cut off", self.network.cut, self.network.mend)

    def cut_ingest(self):
        return self.away("in", "cut off", self.network.cut, self.network.mend)

    def cut_lanes_from_kafka(self):
        """It still has the warehouse, and does not know yet that its key groups are others'."""
        server = self.network.kafka
        return self.away("lane", "cut off from Kafka", lambda h: self.network.cut(h, server),
                         lambda h: self.network.mend(h, server))

    def thaw(self, host):
        """What it has in hand goes out before anybody tells it that it is late."""
        self.hosts.thaw(host, workers_first=True)
        time.sleep(self.rng.random() * 2)  # a random moment
        self.hosts.thaw(host)

    def freeze_lanes(self):
        return self.away("lane", "frozen", self.hosts.freeze, self.thaw)

    def freeze_ingest(self):
        return self.away("in", "frozen", self.hosts.freeze, self.thaw)

    def add_one(self):
        kind = min(("in", "lane"), key=lambda k: len(self.kind(k)))
        if len(self.kind(kind)) >= HOSTS_MAX:
            return self.remove_two()
        host = self.add(kind)
        seconds = seconds_until(lambda: self.hosts.is_ready(host), f"{host} to be ready", self.spread)
        self.owning(kind)
        return f"{host} added: ready after {seconds:.1f} s; work goes on after {self.sources_go_on():.1f} s"

    def remove_two(self):
        """At the same time, one after the other being told."""
        gone = []
        for kind in ("in", "lane"):
            if len(self.kind(kind)) < 3:
                self.hosts.wait_ready(self.add(kind))
            gone.append(self.one(kind))
        self.owning("lane")
        self.feeder.burst()
        start = time.monotonic()
        for host in gone:
            self.hosts.up[host].terminate()
        for host in gone:
            self.hosts.stop(host)
        stopped = time.monotonic() - start
        seconds = self.sources_go_on()
        self.owning("lane")
        return f"{' and '.join(gone)} removed within {stopped:.1f} s: work went on {seconds:.1f} s later"

    def kill_worker(self, role, kind):
        self.refill(kind)
        host, epoch = self.one(kind), self.spread.epoch()
        self.feeder.burst(0.02)
        self.spread.wait_for(f"a {role} to kill", lambda: self.hosts.kill(host, role, self.rng.randrange(2)), 30)
        if kind == "lane":
            seconds = seconds_until(lambda: self.spread.query(
                "select 1 from admin_schema.shard where instance = %s and epoch > %s and batch > 0", host, epoch),
                f"a commit of {host} after the death of {role}", self.spread)
        else:
            seconds = self.sources_go_on()
        self.waits["worker"].append(seconds)
        return f"{role} of {host} killed: work went on after {seconds:.2f} s"

    def kill_data_workers(self):
        told = [self.kill_worker(*x) for x in (("ingest", "in"), ("relay", "lane"),
                                              (self.rng.choice(("correlate", "transform", "load")), "lane"))]
        return "; ".join(told)

    def kill_kafka(self):
        self.feeder.burst()
        with self.feeder.turn:  # nobody can post meanwhile
            self.spread.kafka.kill()
            self.spread.kafka.start()
        return f"Kafka killed and back: work went on {self.sources_go_on():.1f} s later"

    def kill_postgres(self):
        self.feeder.burst()
        self.spread.outside.postgres.kill()
        with contextlib.suppress(Exception):
            self.spread.connection.close()
        self.spread.connection = None
        wait_for("PostgreSQL again", self.postgres_again, 60 * SLOW, 0.5)
        return f"PostgreSQL killed and back: work went on {self.sources_go_on():.1f} s later"

    def postgres_again(self):
        """A child of the one that was killed may hold its memory for a moment."""
        server = self.spread.outside.postgres
        try:
            return server.start()
        except RuntimeError:
            server.process = None
            return None

    def refuse_records(self):
        """The topic takes less than is sent: deliveries fail in the middle, and ingests begin anew until it is mended."""
        logs = [self.hosts.log(h) for h in self.kind("in")]
        said = lambda: sum(log.read_text().count("the exchange did not take a record") for log in logs)
        before, kafka, topic = said(), self.spread.kafka, self.spread.exchange
        kafka.alter_topic(topic, max_message_bytes=SMALL_BYTES, **TOPIC)
        try:
            self.feeder.burst()
            self.spread.wait_for("deliveries that fail", lambda: said() >= before + 3, 60)
        finally:
            kafka.alter_topic(topic, max_message_bytes=8 << 20, **TOPIC)
        failed = said() - before
        return f"{failed} lives of ingests ended by refused records: work went on {self.sources_go_on():.1f} s later"

    def rebalance(self, group, topic, times):
        """A guest that comes and goes: two rebalances each time."""
        for _ in range(times):
            guest = Consumer({"bootstrap.servers": self.spread.kafka.bootstrap, "group.id": group,
                              "session.timeout.ms": SESSION_SECONDS * 1000, "log_level": 0,
                              "partition.assignment.strategy": "range", "enable.auto.commit": False})
            guest.subscribe([topic])
            wait_for("a place in the group", lambda: guest.poll(0.05) is not None or guest.assignment(), 60 * SLOW, 0)
            guest.close()

    def rebalance_all(self):
        start, name = time.monotonic(), self.spread.name
        self.feeder.burst()
        self.rebalance(f"weir.{name}.lanes", self.spread.exchange, 5)
        self.rebalance(f"weir.{name}.application", self.spread.topics["application"], 5)
        took = time.monotonic() - start
        return f"20 rebalances within {took:.1f} s: work went on {self.sources_go_on():.1f} s later"

    def same_name(self):
        """A second host that calls itself like another: they push each other out, until it goes."""
        kind = self.rng.choice(("in", "lane"))
        host, twin = self.one(kind), f"twin{self.numbers[kind]}"
        self.numbers[kind] += 1
        self.hosts.start(twin, INGEST if kind == "in" else LANES, instance=host)
        said = lambda: sum(self.hosts.log(h).read_text().count("needs an --instance of its own") for h in (host, twin))
        before = said()
        self.spread.wait_for("both to be told", lambda: said() >= before + 2, 60)
        self.hosts.lose(twin)
        seconds = self.sources_go_on()
        self.owning(kind)
        return f"two hosts named {host}: work went on {seconds:.1f} s after one was lost"


QUICK = ("lose_lanes", "cut_lanes", "add_one", "kill_data_workers", "refuse_records", "freeze_ingest", "kill_kafka",
         "rebalance_all", "kill_postgres", "lose_ingest", "remove_two")
ALL = (*QUICK, "cut_ingest", "cut_lanes_from_kafka", "freeze_lanes", "same_name")


def settled(spread, feeder):
    """All that was sent so far is there, once: the feeder waits."""
    with feeder.turn:
        assert feeder.error is None, feeder.error
        spread.wait_events(feeder.fed)
        spread.check_answer(feeder.sent)


def play(outside, directory, reference, name, faults, rng, share, cut_seconds, tell):
    spread = Spread(directory, name, outside, reference)
    try:
        feeder = spread.feed(share)
        does = Faults(spread, feeder, rng, cut_seconds)
        for kind, n in (("in", 2), ("lane", 2)):
            for _ in range(n):
                does.add(kind)
        spread.hosts.wait_ready()
        does.owning("lane")
        for n, fault in enumerate(faults):
            time.sleep(rng.random())  # the random moment
            start = time.monotonic()
            told = getattr(does, fault)()
            settled(spread, feeder)
            tell(f"{n + 1:3}. {told} ({time.monotonic() - start:.0f} s)")
        feeder.finish()
        spread.wait_events(feeder.fed)
        spread.check()
        does.zombies_wrote_nothing()
        tell(f"     equal to one host; {spread.sent_again()} records were sent again and dropped; the longest waits:"
             f" {max(does.waits['host'], default=0):.1f} s for a host, {max(does.waits['worker'], default=0):.2f} s for a worker")
        return does.waits
    except BaseException:
        tell(spread.hosts.tails())
        raise
    finally:
        spread.end()


def in_time(waits):
    assert all(s < LOST_HOST_SECONDS * SLOW for s in waits["host"]), waits
    worker = sorted(waits["worker"])
    assert not worker or worker[len(worker) // 2] < LOST_WORKER_SECONDS * SLOW, waits


def test_faults_of_hosts(outside, world, directory, capsys):
    reference = Reference(world / "faults-one-host", "faults_one_host", outside.postgres, loans.twin(processes=4000, seed=31))

    def tell(text):
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    in_time(play(outside, directory, reference, "faults", QUICK, random.Random(11), 1 / 500, SESSION_SECONDS + 3, tell))


@pytest.mark.faults
@pytest.mark.skipif("WEIR_FAULTS" not in os.environ, reason="make faults")
def test_many_faults_of_hosts(outside, world, directory, capsys):
    """WEIR_FAULTS / 5 faults in a row; WEIR_SEED plays a sequence again."""
    n = int(os.environ["WEIR_FAULTS"]) // 5
    seed = int(os.environ.get("WEIR_SEED") or random.randrange(1 << 32))
    rng, faults = random.Random(seed), []
    while len(faults) < n:
        faults += rng.sample(ALL, len(ALL))
    # Of fewer days than a loan's deadline: when the last ones pass depends on the clock of each lane.
    reference = Reference(world / "many-one-host", "many_one_host", outside.postgres, loans.twin(processes=15000, seed=37))

    def tell(text):
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    tell(f"WEIR_SEED={seed}: {n} faults of hosts")
    in_time(play(outside, directory, reference, "many_faults", faults[:n], rng, 1 / 4000, 60, tell))
