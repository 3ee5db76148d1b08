"""Hosts of their own on this machine: a network namespace each, on a cable to one bridge, where the servers of the test
are. A host can be added, lost with all that runs on it, cut off and joined again, cut off from one server alone, and
frozen. Whether the system lets us make such hosts is asked by network_or_skip."""

import contextlib
import os
import pathlib
import signal
import subprocess
import urllib.error
import urllib.request

import postgres_server
from kafka_server import KafkaServer
from ports import free_ports, wait_for
from rabbit_server import RabbitServer
from weir import BIN, SLOW, descendants

STATUS_PORT = 8080  # the same on every host: each has an address of its own
NOBODY = "02:00:00:00:00:01"  # an address of no card: what is sent there is heard by nobody
BRIDGE = "02:00:00:00:00:02"
FIRST_HOST = 10


def ip(*words, check=True):
    return subprocess.run(["ip", *map(str, words)], check=check, capture_output=True, text=True)


def is_possible():
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


def _names_are_mounted():
    with open("/proc/self/mountinfo") as f:  # os.path.ismount does not see a directory bound to itself
        return any(line.split()[4] == "/run/netns" for line in f)


@contextlib.contextmanager
def names_kept():
    """`ip netns add` mounts a directory of names and leaves it; what was not there before goes again."""
    were = _names_are_mounted()
    yield
    if not were and _names_are_mounted():
        subprocess.run(["umount", "-l", "/run/netns"], check=False)


def _free_network():
    """The first three numbers of a /24 that nobody here uses."""
    used = ip("-o", "addr").stdout
    for n in range(250):
        prefix = f"10.199.{(os.getpid() + n) % 250}"
        if f" {prefix}." not in used:
            return prefix
    raise RuntimeError("no free network")


class Network:
    """Kafka, RabbitMQ and PostgreSQL have an address each, so that a host can lose one of them alone."""

    def __init__(self):
        self.tag = f"w{os.getpid() % 1000000}"
        self.bridge = f"{self.tag}br"
        self.prefix = _free_network()
        self.kafka, self.rabbit, self.postgres = (f"{self.prefix}.{n}" for n in (1, 2, 3))
        self.hosts = {}  # name: number
        self.made = 0

    def make(self):
        # With an address of its own: else it has one of its cables', another one when a host comes or goes.
        ip("link", "add", self.bridge, "address", BRIDGE, "type", "bridge")
        for address in (self.kafka, self.rabbit, self.postgres):
            ip("addr", "add", f"{address}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        return self

    def remove(self):
        for host in list(self.hosts):
            self.lose(host)
        ip("link", "del", self.bridge, check=False)

    # ---- one host ----
    def namespace(self, host):
        return f"{self.tag}-{host}"

    def address(self, host):
        return f"{self.prefix}.{FIRST_HOST + self.hosts[host]}"

    def _cable(self, host, end):
        return f"{self.tag}{end}{self.hosts[host]}"

    def add(self, host):
        assert host not in self.hosts
        self.hosts[host] = min(set(range(240)) - set(self.hosts.values()))
        # An address always has the same card: else its neighbours would talk to that of the host before for a while.
        card = f"02:00:00:00:00:{FIRST_HOST + self.hosts[host]:02x}"
        ns, near, far = self.namespace(host), self._cable(host, "n"), self._cable(host, "f")
        ip("netns", "add", ns)
        ip("link", "add", near, "type", "veth", "peer", "name", far)
        ip("link", "set", near, "master", self.bridge, "up")
        ip("link", "set", far, "netns", ns)
        ip("-n", ns, "link", "set", "lo", "up")
        ip("-n", ns, "addr", "add", f"{self.address(host)}/24", "dev", far)
        ip("-n", ns, "link", "set", far, "address", card, "up")

    def pids(self, host):
        return [int(pid) for pid in ip("netns", "pids", self.namespace(host), check=False).stdout.split()]

    def popen(self, host, words, **how):
        return subprocess.Popen(["ip", "netns", "exec", self.namespace(host), *words], **how)

    def lose(self, host):
        """At once and without a word to anybody: its cable first, so that no farewell gets out."""
        ip("link", "del", self._cable(host, "n"), check=False)
        for pid in self.pids(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ip("netns", "del", self.namespace(host), check=False)
        del self.hosts[host]

    def cut(self, host, server=None):
        """Off the net, or from the server of this address alone: what is sent to it gets lost."""
        if server is None:
            ip("link", "set", self._cable(host, "n"), "down")
        else:
            ip("-n", self.namespace(host), "neigh", "replace", server, "lladdr", NOBODY, "nud", "permanent",
               "dev", self._cable(host, "f"))

    def mend(self, host, server=None):
        if server is None:
            ip("link", "set", self._cable(host, "n"), "up")
        else:
            ip("-n", self.namespace(host), "neigh", "del", server, "dev", self._cable(host, "f"), check=False)


# ---- servers that hosts reach ----
class OuterKafka(KafkaServer):
    """outer: its bootstrap address for hosts; the suite itself goes over loopback."""

    def __init__(self, directory, address):
        super().__init__(directory)
        port, = free_ports(1)
        self.outer = f"{address}:{port}"
        inner, outer = f"PLAINTEXT://{self.bootstrap}", f"OUTER://{self.outer}"
        self.settings = {
            "listeners": f"{inner},{outer},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"{inner},{outer}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OUTER:PLAINTEXT,CONTROLLER:PLAINTEXT"}


class OuterPostgres(postgres_server.PostgresServer):
    """The owner's DSN goes by the bridge, also for `weir apply`, which passes it on to the logins."""

    def __init__(self, directory, address):
        super().__init__(directory, settings={"listen_addresses": f"127.0.0.1,{address}"})
        self.address = address

    def dsn(self, database, tcp=True):
        return super().dsn(database, True).replace("127.0.0.1", self.address)

    def _initialize(self):
        super()._initialize()
        with open(self.data / "pg_hba.conf", "a") as f:
            f.write(f"host all all {self.address.rsplit('.', 1)[0]}.0/24 scram-sha-256\n")


class Outside:
    """The network and the servers on it; stop ends all of it."""

    def __init__(self, directory):
        directory = pathlib.Path(directory)
        self.network = Network()
        self.kafka = OuterKafka(directory / "kafka", self.network.kafka)
        self.postgres = OuterPostgres(directory / "postgres", self.network.postgres)
        self.rabbit = RabbitServer(directory / "rabbit", outer=self.network.rabbit)

    @property
    def rabbit_url(self):
        return self.rabbit.url(host=self.network.rabbit)

    def start(self):
        """The network is made."""
        for server in (self.kafka, self.postgres, self.rabbit):
            server.start()
        return self

    def stop(self):
        for server in (self.rabbit, self.postgres, self.kafka):
            server.stop()
        self.network.remove()


# ---- Weir on hosts ----
class Hosts:
    """Supervisors of one pipeline, each on a host of its own. The pipeline's file has LISTEN."""

    LISTEN = f"listen: 0.0.0.0:{STATUS_PORT}\n"

    def __init__(self, w, network):
        self.w, self.network = w, network
        self.up = {}  # host: supervisor
        w.killed = True  # a host without its database ends what it cannot end well

    def log(self, host):
        return self.w.directory / f"{host}.log"

    def start(self, host, only, instance=None):
        """Does not wait for it."""
        self.network.add(host)
        with open(self.log(host), "ab") as out:
            process = self.network.popen(
                host, [BIN / "weir", "up", "--only", only, "--instance", instance or host, self.w.file],
                cwd=self.w.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.w.env)
        self.w.supervisors.append(process)
        self.up[host] = process
        return process

    def is_ready(self, host):
        assert self.up[host].poll() is None, f"{host} ended with {self.up[host].returncode}\n{self.log_tail(host)}"
        # From inside: a host that is cut off still knows how it is.
        address = f"http://{self.network.address(host)}:{STATUS_PORT}/readyz"
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.HTTPError, OSError):
            return False

    def wait_ready(self, *hosts, seconds=90):
        for host in hosts or list(self.up):
            try:
                wait_for(f"{host} to be ready", lambda: self.is_ready(host), seconds * SLOW, 0.1)
            except TimeoutError as e:
                raise AssertionError(f"{e}\n{self.log_tail(host)}") from None

    def stop(self, host):
        """An orderly end, and the host goes."""
        self.w.stop(self.up.pop(host))
        self.network.lose(host)

    def lose(self, host):
        """The host and all that runs on it."""
        process, pids = self.up.pop(host), set(self.network.pids(host))
        self.network.lose(host)
        process.wait()
        wait_for("the end of its processes", lambda: not pids & set(descendants()), 10 * SLOW)

    def freeze(self, host):
        """As a machine that stands still: all of its processes."""
        for pid in self.network.pids(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self, host, workers_first=False):
        """workers_first: the supervisor stays frozen, so that nobody ends workers that have not been heard of."""
        for pid in self.network.pids(host):
            if workers_first and pid == self.up[host].pid:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill(self, host, role, index=0):
        return self.w.kill(self.up[host], role, index)

    def stop_all(self):
        # Ingest first: what it has delivered flows out through the lanes.
        for host in sorted(self.up):
            self.stop(host)

    def log_tail(self, host, n=25):
        return "\n".join(self.log(host).read_text(errors="replace").splitlines()[-n:])

    def tails(self, n=25):
        logs = sorted(self.w.directory.glob("*.log"))
        return "".join(f"--- {log.name}\n{self.log_tail(log.stem, n)}\n" for log in logs)
