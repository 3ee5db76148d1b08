"""Replicas on hosts of their own: a network namespace each, behind one bridge. A host that is cut off is replaced by the
others, and finds, when it comes back, that it owns nothing any more: what it still had under way is refused."""

import contextlib
import os
import subprocess
import threading
import time

import psycopg
import pytest

import loans
import postgres_server
from kafka_server import KafkaServer
from ports import free_ports, wait_for
from weir import BIN, SLOW, Weir, descendants

NETWORK = f"10.199.{os.getpid() % 250}"  # another one for a run beside this
GROUPS = 12
HOSTS = ("in0", "lane0", "lane1", "lane2")
COUNT = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
LOST_HOST_SECONDS = 15


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def network_is_possible():
    """Whether this system lets us make hosts: root, namespaces, and programs inside of them."""
    probe = f"weir-probe-{os.getpid()}"
    try:
        if os.geteuid() != 0 or ip("netns", "add", probe, check=False).returncode:
            return False
    except FileNotFoundError:
        return False
    runs = ip("netns", "exec", probe, "true", check=False).returncode == 0
    ip("netns", "del", probe, check=False)
    return runs


class Network:
    """A bridge in this namespace, and a cable from it to each host."""

    def __init__(self):
        self.tag = f"w{os.getpid() % 100000}"
        self.bridge = f"{self.tag}br"

    def make(self):
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{NETWORK}.1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        for i, host in enumerate(HOSTS):
            ns, near, far = self.namespace(host), self.cable(host), f"{self.tag}f{i}"
            ip("netns", "add", ns)
            ip("link", "add", near, "type", "veth", "peer", "name", far)
            ip("link", "set", near, "master", self.bridge, "up")
            ip("link", "set", far, "netns", ns)
            ip("-n", ns, "link", "set", "lo", "up")
            ip("-n", ns, "addr", "add", f"{NETWORK}.{10 + i}/24", "dev", far)
            ip("-n", ns, "link", "set", far, "up")

    def namespace(self, host):
        return f"{self.tag}-{host}"

    def cable(self, host):
        return f"{self.tag}n{HOSTS.index(host)}"

    def cut(self, host):
        ip("link", "set", self.cable(host), "down")

    def mend(self, host):
        ip("link", "set", self.cable(host), "up")

    def remove(self):
        for host in HOSTS:
            ip("netns", "del", self.namespace(host), check=False)
            ip("link", "del", self.cable(host), check=False)
        ip("link", "del", self.bridge, check=False)


def names_mounted():
    with open("/proc/self/mountinfo") as f:  # os.path.ismount does not see a directory bound to itself
        return any(line.split()[4] == "/run/netns" for line in f)


@pytest.fixture(scope="module")
def names():
    """`ip netns add` mounts a directory of names and leaves it; what was not there before goes again."""
    were = names_mounted()
    yield
    if not were and names_mounted():
        subprocess.run(["umount", "-l", "/run/netns"], check=False)


@pytest.fixture(scope="module")
def network(names):
    if not network_is_possible():
        pytest.skip("needs root and network namespaces")
    made = Network()
    try:
        made.make()
    except subprocess.CalledProcessError as e:
        made.remove()
        pytest.skip(f"needs bridges and cables between network namespaces: {e.stderr.strip()}")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def outer_kafka(network, world):
    server = KafkaServer(world / "hosts-kafka")
    server.outer_port, = free_ports(1)
    inner, outer = f"PLAINTEXT://127.0.0.1:{server.port}", f"OUTER://{NETWORK}.1:{server.outer_port}"
    server.settings = {
        "listeners": f"{inner},{outer},CONTROLLER://127.0.0.1:{server.controller_port}",
        "advertised.listeners": f"{inner},{outer}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OUTER:PLAINTEXT,CONTROLLER:PLAINTEXT"}
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def outer_postgres(network, world):
    before = postgres_server.ACCESS
    postgres_server.ACCESS = before + f"host all all {NETWORK}.0/24 scram-sha-256\n"
    server = postgres_server.PostgresServer(world / "hosts-postgres", settings={
        "listen_addresses": f"127.0.0.1,{NETWORK}.1"})
    try:
        server.start()
        yield server
        server.stop()
    finally:
        postgres_server.ACCESS = before


def start(w, network, host, only):
    """A supervisor on a host of its own."""
    log = w.directory / f"{host}.log"
    with open(log, "ab") as out:
        process = subprocess.Popen(["ip", "netns", "exec", network.namespace(host), BIN / "weir", "up", "--only", only,
                                    "--instance", host, w.file], cwd=w.directory, stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=out, env=w.env)
    process.log_from = (log, 0)
    w.supervisors.append(process)
    return process


def owners(connection):
    return {r[0] for r in connection.execute(
        "select distinct s.instance from admin_schema.key_range k join admin_schema.shard s using (pipeline, build, epoch)")}


def test_a_host_is_cut_off_and_comes_back(network, outer_kafka, outer_postgres, directory, capsys):
    kafka, streams = outer_kafka, loans.twin(processes=1500, seed=41)
    inner = outer_postgres.create_database("hosts", tcp=True)
    dsn = inner.replace("127.0.0.1", f"{NETWORK}.1")
    brokers = f"{NETWORK}.1:{kafka.outer_port}"
    topics = {s: kafka.create_topic(f"hosts.{s}", partitions=3) for s in loans.STREAMS}
    w = Weir(directory / "w", loans.pipeline(
        "hosts", {s: f'kafka: {{ brokers: "{brokers}", topic: {t} }}' for s, t in topics.items()},
        more=f'groups: {GROUPS}\nexchange: {{ brokers: "{brokers}" }}\n'), dsn)
    w.killed = True  # a host without its database ends what it cannot end well
    w.apply()
    total, going = sum(map(len, streams.values())), threading.Event()

    def feed():
        pieces = 200
        for n in range(pieces):
            for s, events in streams.items():
                kafka.produce(topics[s], events[len(events) * n // pieces:len(events) * (n + 1) // pieces])
            going.wait(0.1)

    feeder = threading.Thread(target=feed, daemon=True)
    try:
        with psycopg.connect(inner, autocommit=True) as connection:
            start(w, network, "in0", "ingest,keeper")
            lanes = [start(w, network, host, "lanes") for host in HOSTS[1:]]
            wait_for("three owners", lambda: owners(connection) == set(HOSTS[1:]), 60 * SLOW, 0.1)
            feeder.start()
            wait_for("some events", lambda: connection.execute(COUNT).fetchone()[0] > 200, 60 * SLOW, 0.1)
            network.cut("lane1")
            cut_at = time.monotonic()
            wait_for("two owners", lambda: owners(connection) == {"lane0", "lane2"}, 60 * SLOW, 0.05)
            taken = time.monotonic() - cut_at
            network.mend("lane1")
            wait_for("three owners again", lambda: owners(connection) == set(HOSTS[1:]), 60 * SLOW, 0.1)
            going.set()
            feeder.join(60)
            wait_for("every event", lambda: connection.execute(COUNT).fetchone()[0] >= total, 90 * SLOW, 0.2)
            for process in lanes:
                w.stop(process, code=None)
            loans.check_fact_loan(connection, streams)
    except BaseException:
        with capsys.disabled():
            for host in HOSTS:
                with contextlib.suppress(OSError):
                    print(f"--- {host}\n" + "\n".join((w.directory / f"{host}.log").read_text().splitlines()[-25:]))
        raise
    finally:
        network.mend("lane1")
        w.teardown()
    assert not descendants()
    with capsys.disabled():
        print(f"\nkey groups of a host that was cut off were taken over after {taken:.1f} s")
    assert taken < LOST_HOST_SECONDS * SLOW
