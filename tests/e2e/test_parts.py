"""Each part of k8s/overlays/scaled as a pod has it: another user than root, and the files of that workload's own Secrets, by links,
root's and its group's, and nothing else: no owner's connection, no other login, no other key. The parts make one pipeline."""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

import loans
import sealing
from ports import wait_for
from weir import BIN, SLOW, Weir

ROOT = pathlib.Path(__file__).resolve().parents[2]
UID, GID = 64100, 64200  # those of the image
COUNT = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="another user's processes and root's files are made by root alone")

LANES = {"load.login", "state.login", "task.login"}


def mount(place, files):
    """As the kubelet fills a volume of Secrets: a directory of links to links, everything root's, readable for the pod's group."""
    place.mkdir(parents=True)
    generation = place / "..2026_11_24_12_00_00.1"
    generation.mkdir()
    for name, data in files.items():
        (generation / name).write_bytes(data)
        os.chown(generation / name, 0, GID)
        (generation / name).chmod(0o440)
        (place / name).symlink_to(f"..data/{name}")
    (place / "..data").symlink_to(generation.name)
    for directory in (place, generation):
        directory.chmod(0o755)


def remount(place, files):
    """A Secret that changed: a new generation, then one rename."""
    old = place / os.readlink(place / "..data")
    new = place / f"..2026_11_24_13_00_00.{len(list(place.glob('..2026*')))}"
    new.mkdir()
    for name, data in files.items():
        (new / name).write_bytes(data)
        os.chown(new / name, 0, GID)
        (new / name).chmod(0o440)
    new.chmod(0o755)
    (place / "..data_tmp").symlink_to(new.name)
    (place / "..data_tmp").rename(place / "..data")
    shutil.rmtree(old)


class Pod(Weir):
    """A file system of its own under `directory`: /etc/weir, /run/weir, and nothing of the others'."""

    def __init__(self, directory, text, secrets, environment):
        self.directory = directory
        directory.mkdir()
        directory.chmod(0o755)
        self.etc, self.log, self.run_dir = directory / "etc", directory / "pod.log", directory / "run"
        for place, files in secrets.items():
            mount(self.etc / place, files)
        self.etc.mkdir(exist_ok=True)
        self.etc.chmod(0o755)
        self.file = self.etc / "pipeline.yaml"
        self.file.write_text(text)
        self.file.chmod(0o644)
        self.run_dir.mkdir()
        (directory / "handoffs").mkdir()
        for own in (self.run_dir, directory / "handoffs"):
            os.chown(own, 0, GID)
            own.chmod(0o2770)
        files = {"WEIR_AMQP": "sources/amqp", "WEIR_DSN": "owner/dsn", "WEIR_RID_KEY": "keys/rid.key"}
        self.env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(self.run_dir), "WEIR_LOG": os.environ.get("WEIR_LOG", "info"),
                    "WEIR_LOGINS": f"{self.etc}/logins", "WEIR_KEYS": f"{self.etc}/keys", "WEIR_HANDOFFS": f"{directory}/handoffs",
                    "ASAN_OPTIONS": "abort_on_error=0:exitcode=86:detect_stack_use_after_return=0", "UBSAN_OPTIONS": "print_stacktrace=1",
                    **{name: f"file:{self.etc}/{path}" for name, path in files.items()}, **environment}
        self.supervisors, self.killed = [], False

    @staticmethod
    def _user():
        return {"user": UID, "group": GID, "extra_groups": []}

    def command(self, *args, codes=(0,), timeout=120, env=None, input=None):
        done = subprocess.run([BIN / "weir", *map(str, args)], cwd=self.directory, text=True, capture_output=True, input=input,
                              timeout=timeout * SLOW, env={**self.env, **(env or {})}, **self._user())
        assert codes is None or done.returncode in codes, f"weir {args}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def up(self, *args, ready=True, env=None, log=None):
        with open(self.log, "ab") as out:
            process = subprocess.Popen([BIN / "weir", "up", *map(str, args), self.file], cwd=self.directory, stdout=out, stderr=out,
                                       stdin=subprocess.DEVNULL, env={**self.env, **(env or {})}, **self._user())
        process.log_from = (self.log, 0)
        self.supervisors.append(process)
        if ready:
            self.wait_ready(process, 60)
        return process


class Cluster:
    def __init__(self, directory, name, postgres, kafka, rabbit):
        self.directory, self.name, self.kafka, self.rabbit = directory, name, kafka, rabbit
        self.topics = {s: kafka.create_topic(f"{name}.{s}", partitions=2) for s in ("application", "workitem")}
        self.queue = rabbit.create_queue(f"{name}.offer")
        text = (ROOT / "k8s" / "overlays" / "scaled" / "pipeline.yaml").read_text()
        changes = [("pipeline: loans\n", f"pipeline: {name}\n"), ("listen: 0.0.0.0:8080\n", "listen: 127.0.0.1:0\n"),
                   ("groups: 128\n", "groups: 12\n"), ("queue: loans.offer", f"queue: {self.queue}"),
                   *((f"topic: loans.{s}", f"topic: {t}") for s, t in self.topics.items())]
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} in the overlay's pipeline"
            text = text.replace(old, new)
        self.text = re.sub(r"^peers: .*\n", "", text, flags=re.M)
        self.environment = {"WEIR_KAFKA": kafka.bootstrap, "WEIR_EXCHANGE": kafka.bootstrap, "WEIR_EXCHANGE_COPIES": "1"}
        admin = directory / "admin"
        self.admin = sealing.SealedWeir(admin, self.text, postgres, f"{name}_db", {
            **self.environment, "WEIR_KEYS": str(admin / "keys"), "WEIR_HANDOFFS": str(admin), "WEIR_RID_KEY": f"file:{admin}/keys/rid.key",
            "WEIR_AMQP": f"file:{admin}/amqp"})
        self.pods = []

    def secrets(self):
        """What the owner makes before there is anything: keys, policy, logins, without a database."""
        self.admin.keys_init()
        self.admin.command("logins", "init", self.admin.file)
        keys = {p.name: p.read_bytes() for p in self.admin.keys.iterdir()}
        logins = {p.name: p.read_bytes() for p in self.admin.logins.iterdir()}
        public = {n: v for n, v in keys.items() if n in ("policy", "root.pub")}
        pick = lambda names: {n: logins[n] for n in names}
        self.of = {
            "apply": {"owner": {"dsn": self.admin.dsn.encode() + b"\n"}, "logins": logins,
                      "keys": public | {n: v for n, v in keys.items() if n.endswith(".sealed")}},
            "ingest": {"keys": public | {n: v for n, v in keys.items() if n in ("sealer.key", "rid.key") or n.startswith("token-")},
                       "logins": pick({"keeper.login"}), "sources": {"amqp": self.rabbit.url().encode()}},
            "lanes": {"logins": pick(LANES)},
            "science": {"keys": public | {n: v for n, v in keys.items() if n.startswith("role-") and n.endswith(".key")},
                        "logins": pick({"release.login"})},
            "status": {},
        }

    def pod(self, kind, name, text=None, secrets=None):
        pod = Pod(self.directory / name, text or self.text, {**(secrets or self.of[kind]), "root": {
            "root.pub": (self.admin.keys / "root.pub").read_bytes()}}, self.environment)
        self.pods.append(pod)
        return pod

    def up(self, pod, only, **kw):
        return pod.up("--only", only, "--instance", pod.directory.name,
                      *(["--policy-root", pod.etc / "root" / "root.pub"] if only != "status" else []), **kw)


@pytest.fixture
def cluster(directory, postgres, kafka, rabbit, request):
    c = Cluster(directory, request.node.name.removeprefix("test_").partition("[")[0][:30], postgres, kafka, rabbit)
    yield c
    for process in [p for pod in c.pods for p in pod.supervisors if p.poll() is None]:  # after a failure
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60 * SLOW)
    for pod in [*c.pods, c.admin]:
        pod.teardown()


def feed(cluster, streams, part):
    """Half of each stream."""
    for stream, events in streams.items():
        first, end = (0, len(events) // 2) if part == 0 else (len(events) // 2, len(events))
        if stream == "offer":
            cluster.rabbit.publish(cluster.queue, events[first:end], message_id=lambda i, _: f"o{first + i}")
        else:
            cluster.kafka.produce(cluster.topics[stream], events[first:end])


def test_parts_with_their_own_secrets(cluster):
    cluster.secrets()
    assert (cluster.admin.keys / "rid.key").stat().st_size == 32  # `keys init` made it, as the pipeline has a queue
    apply = cluster.pod("apply", "apply")
    done = apply.command("apply", apply.file)
    assert "no key of queue identities here" in done.stdout and "with the password that stands in" in done.stdout
    assert "nothing to do" in apply.command("apply", apply.file).stderr
    streams = loans.twin(processes=400, seed=5)
    total = sum(map(len, streams.values()))
    parts = {"ingest": "ingest,keeper", "lanes": "lanes", "science": "science", "status": "status"}
    pods = {name: cluster.pod(name.partition("-")[0], name) for name in ("ingest-0", "lanes-0", "lanes-1", "science-0", "status-0")}
    for pod in pods.values():
        assert pod.command("validate", pod.file).returncode == 0
        done = pod.command("plan", pod.file, codes=(78,))
        assert f"{pod.etc}/owner/dsn" in done.stderr
    running = {name: cluster.up(pod, parts[name.partition("-")[0]], ready=False) for name, pod in pods.items()}
    for name, process in running.items():
        pods[name].wait_ready(process, 60)
    with cluster.admin.superuser() as connection:
        arrived = lambda n: wait_for("every event", lambda: connection.execute(COUNT).fetchone()[0] >= n, 90 * SLOW, 0.2)
        feed(cluster, streams, 0)
        arrived(sum(len(v) // 2 for v in streams.values()))

        # A password is changed: the new file is mounted by another link, and the next birth of the workers reads it.
        login = cluster.admin.logins / "load.login"
        login.write_text(re.sub(r"password='[^']*'", "password='another one'", login.read_text()))
        cluster.of["apply"]["logins"]["load.login"] = login.read_bytes()
        remount(apply.etc / "logins", cluster.of["apply"]["logins"])
        assert "gets the password that stands in" in apply.command("apply", apply.file).stdout
        for name in ("lanes-0", "lanes-1"):
            remount(pods[name].etc / "logins", cluster.of["lanes"]["logins"] | {"load.login": login.read_bytes()})
            running[name].send_signal(signal.SIGHUP)
        feed(cluster, streams, 1)
        arrived(total)
        cases = {e["case_id"] for events in streams.values() for e in events}
        assert connection.execute("select count(*) from analytical_schema.fact_loan").fetchone() == (len(cases),)

    # Each says how it is to whoever is in its pod, without any login.
    for name, pod in pods.items():
        done = pod.command("status", pod.file, "--url", pod.url(running[name]), codes=(0,))
        assert pod.directory.name in done.stdout, done.stdout + done.stderr
        assert "RUNNING" in pod.command("status", pod.file).stdout  # one of this machine is found without an address, too

    # A hand-over, made beside the running worker of the same pod; its member opens it elsewhere.
    science = pods["science-0"]
    made = json.loads(science.command("handoff", "run", "scoring", science.file, "--policy-root",
                                      science.etc / "root" / "root.pub").stdout)
    file, = (science.directory / "handoffs").glob("*.weir")
    assert made["exit"] == 0 and made["result"]["rows"] == len(cases), made
    opened = cluster.admin.command("open", "file", file, "--member-key", cluster.admin.member_key, "--passphrase-file",
                                   cluster.admin.passphrase).stdout.splitlines()
    amounts = collections.Counter()
    for e in sorted(streams["application"], key=lambda e: (e["at"], e["seq"])):
        if e["activity"] == "A_SUBMITTED":
            amounts.setdefault(e["case_id"], float(e["amount_requested"]))
    got = {r["case_id"]: float(r["amount"]) for r in map(json.loads, opened) if r["amount"] is not None}
    assert got and got == dict(amounts)

    for name in ("status-0", "science-0", "ingest-0", "lanes-0", "lanes-1"):
        pods[name].stop(running[name])


class Nowhere(Cluster):
    """The secrets alone: neither brokers nor a database."""

    def __init__(self, directory):
        directory.mkdir()
        directory.chmod(0o755)
        self.directory, self.pods = directory, []
        self.text = re.sub(r"^(peers|listen): .*\n", "", (ROOT / "k8s" / "overlays" / "scaled" / "pipeline.yaml").read_text(), flags=re.M)
        self.environment = {"WEIR_KAFKA": "127.0.0.1:1", "WEIR_EXCHANGE": "127.0.0.1:1", "WEIR_EXCHANGE_COPIES": "1"}
        self.admin = self
        self.w = Weir(directory / "admin", self.text, "host=127.0.0.1 port=1 dbname=none", {
            **self.environment, "WEIR_KEYS": f"{directory}/admin/keys", "WEIR_HANDOFFS": str(directory), "WEIR_AMQP": "amqp://127.0.0.1:1/",
            "WEIR_RID_KEY": f"file:{directory}/admin/keys/rid.key"})
        self.file, self.dsn = self.w.file, self.w.dsn
        self.keys, self.logins = self.w.directory / "keys", self.w.directory / "logins"
        self.rabbit, self.url = self, lambda: "amqp://127.0.0.1:1/"

    def command(self, *args):
        return self.w.command(*args)

    def keys_init(self):
        passphrase = self.directory / "passphrase"
        passphrase.touch(0o600)
        passphrase.write_text("a passphrase\n")
        self.command("keys", "init", self.file, "--member", "ana", "--passphrase-file", passphrase, "--kdf-memory", 1)


@pytest.fixture(scope="module")
def nowhere(world):
    c = Nowhere(world / "nowhere")
    c.secrets()
    return c


@pytest.mark.parametrize("kind, only, place, name, said", [
    ("ingest", "ingest,keeper", "keys", "sealer.key", "keys/sealer.key is missing"),
    ("ingest", "ingest,keeper", "keys", "policy", "keys/policy is missing"),
    ("ingest", "ingest,keeper", "keys", "rid.key", "weir keys rid"),
    ("ingest", "ingest,keeper", "keys", "token-staff-1.key", "token-staff-<epoch>.key is missing"),
    ("ingest", "ingest,keeper", "logins", "keeper.login", "keeper.login"),
    ("ingest", "ingest,keeper", "sources", "amqp", "sources/amqp"),
    ("lanes", "lanes", "logins", "state.login", "state.login"),
    ("science", "science", "keys", "role-data_science-1.key", "role-<name>-<epoch>.key is missing"),
    ("science", "science", "logins", "release.login", "release.login"),
])
def test_a_secret_of_its_own_that_is_missing_is_named(nowhere, directory, kind, only, place, name, said):
    secrets = {p: {n: v for n, v in files.items() if n != name} for p, files in nowhere.of[kind].items()}
    assert name not in secrets[place] and name in nowhere.of[kind][place]
    pod = Pod(directory / "pod", nowhere.text, secrets, nowhere.environment)
    try:
        process = pod.up("--only", only, "--instance", "x", ready=False)
        assert process.wait(30 * SLOW) == 78, pod.log_tail()
        assert said in pod.log.read_text(), pod.log_tail()
    finally:
        pod.teardown()


@pytest.mark.parametrize("kind, only, place, name", [
    ("ingest", "ingest,keeper", "keys", "sealer.key"), ("ingest", "ingest,keeper", "keys", "rid.key"),
    ("ingest", "ingest,keeper", "logins", "keeper.login"), ("ingest", "ingest,keeper", "sources", "amqp"),
    ("lanes", "lanes", "logins", "load.login"), ("science", "science", "keys", "role-data_science-1.key"),
])
def test_a_secret_that_everybody_may_read_is_refused(nowhere, directory, kind, only, place, name):
    pod = Pod(directory / "pod", nowhere.text, nowhere.of[kind], nowhere.environment)
    try:
        (pod.etc / place / "..data" / name).resolve().chmod(0o444)
        process = pod.up("--only", only, "--instance", "x", ready=False)
        assert process.wait(30 * SLOW) == 77, pod.log_tail()
        assert f"{place}/{name} is root's, and others than its group may read it" in pod.log.read_text(), pod.log_tail()
    finally:
        pod.teardown()


def test_secrets_by_variables_that_only_some_have(make_weir, connection):
    """`${NAME}` of a secret, in a file that all parts share: whoever lacks it works, as far as it needs none."""
    w = make_weir(loans.pipeline(sources={"offer": 'kafka: { brokers: "127.0.0.1:1", topic: x, properties: { sasl.password: "${WEIR_PW}" } }'}))
    without = {k: v for k, v in w.env.items() if k != "WEIR_DSN"}
    w.env = without
    w.command("validate", w.file)
    for verb in ("plan", "apply", "check"):
        assert "environment variable WEIR_DSN, which is not set" in w.command(verb, w.file, codes=(78,)).stderr
    w.command("apply", w.file, env={"WEIR_DSN": w.dsn})
    process = w.up(ready=False)
    assert process.wait(30 * SLOW) == 78
    assert "the environment has no WEIR_PW" in w.log.read_text()
    w.file.write_text(loans.pipeline())
    for s in loans.STREAMS:
        loans.write(w.data / f"{s}.ndjson", [])
    w.run()
