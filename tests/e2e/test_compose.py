"""docker-compose.yml: what Compose makes of it is clean and keeps its secrets in files; and its services run, in the order
of depends_on, with the image, commands, users, mounts and environment that Compose would give them, against servers of
the suite's own."""

import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import psycopg
import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition

import loans
import oci
from kafka_server import KafkaServer
from ports import free_ports, wait_for
from postgres_server import PROGRAMS, PostgresServer
from rabbit_server import RabbitServer
from weir import ASAN

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
VERSION = (ROOT / "VERSION").read_text().strip()
WEIR = f"weir:{VERSION}"
SERVERS = {"kafka": 9092, "rabbitmq": 5672, "postgres": 5432}
ONCE = {"setup", "topics", "keys", "policy", "share", "apply"}
STATUS_PORT = 8080
DRAIN_SECONDS = 30  # of a pipeline that does not say otherwise
FEED_SECONDS = 3


def config(file=FILE):
    """What Compose makes of the file; the finished process."""
    assert shutil.which("docker-compose"), "docker-compose is not installed"
    return subprocess.run(["docker-compose", "-f", file, "config"], cwd=ROOT, text=True, capture_output=True)


@pytest.fixture(scope="module")
def composed():
    done = config()
    assert done.returncode == 0 and not done.stderr, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.fixture(scope="module")
def services(composed):
    return composed["services"]


def ours(services):
    return {n: s for n, s in services.items() if s["image"] == WEIR}


def mounts(service):
    """{target: (source, writable)}"""
    parts = [v.split(":") for v in service.get("volumes", [])]
    return {target: (source, mode != "ro") for source, target, mode in parts}


def who_mounts(services, volume):
    return {n for n, s in services.items() if any(source == volume for source, _ in mounts(s).values())}


# ---- what is written ----
def test_images_are_named_exactly(services):
    for name, service in services.items():
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+|postgres:15\.\d+-bookworm", service["image"]), name
    assert set(ours(services)) == {"keys", "policy", "apply", "weir", "feed"}
    for service in ours(services).values():
        assert service["build"]["dockerfile"] == "deploy/Dockerfile" and pathlib.Path(service["build"]["context"]) == ROOT
    assert f"ARG VERSION={VERSION}\n" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_weir_may_nothing(services):
    for name, service in ours(services).items():
        assert service["user"] == "64100:64200" and service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert [t.split(":")[0] for t in service["tmpfs"]] == ["/run/weir"], name
        assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"} & set(service) or \
            service["network_mode"] == "none", name
    assert {n for n, s in services.items() if s.get("network_mode") == "none"} == {"setup", "keys", "policy", "share"}
    grace = services["weir"]["stop_grace_period"]
    assert grace == f"{DRAIN_SECONDS + 15}s" and "drain_limit" not in (ROOT / "examples/loans/mixed.yaml").read_text()
    ports = [str(p) for s in services.values() for p in s.get("ports", [])]
    assert ports and all(p.startswith("127.0.0.1:") for p in ports)


def test_secrets_are_files(composed, services):
    """None in the environment or a command, each in a volume that only its readers mount."""
    for name, service in services.items():
        words = [*service.get("environment", {}).items(), *(("command", str(w)) for w in service.get("command") or [])]
        for key, value in words:
            assert "://" not in str(value).replace("PLAINTEXT://", "").replace("CONTROLLER://", "") or \
                str(value) == f"http://127.0.0.1:{STATUS_PORT}", (name, key)
            if re.search(r"PASS|SECRET|DSN|AMQP|RID_KEY", key):
                assert key.endswith("_FILE") or str(value).startswith("file:/"), (name, key)
    secret = {"login-postgres": {"postgres"}, "login-rabbitmq": {"rabbitmq"}, "owner": {"apply"},
              "sources": {"weir", "feed"}, "office": {"keys", "policy"}, "keys": {"keys", "policy", "share"},
              "keys-apply": {"share", "apply"}, "keys-weir": {"share", "weir"}, "logins": {"apply", "weir"}}
    for volume, readers in secret.items():
        assert volume in composed["volumes"] and who_mounts(services, volume) == readers | {"setup"}
    writers = {(n, v) for n, s in services.items() for v, writable in mounts(s).values() if writable and v in secret}
    assert writers == {("setup", v) for v in secret} | {("keys", "keys"), ("policy", "keys"), ("apply", "logins"), ("share", "keys-apply"),
                                                           ("share", "keys-weir")}


def test_whoever_waits_waits_for_the_right_thing(services):
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how["condition"] == wanted, (name, other)
            assert other in ONCE or services[other]["healthcheck"]["test"][0] == "CMD", other
    assert {n for n, s in services.items() if "healthcheck" in s} == {*SERVERS, "weir"}
    assert not any("restart" in services[n] for n in ONCE)


def test_variables_and_files_are_there(services):
    asked = set(re.findall(r'"\$\{(\w+)\}"', (ROOT / "examples/loans/mixed.yaml").read_text()))
    for name, service in ours(services).items():
        assert set(service["environment"]) == asked, name
        assert mounts(service)["/etc/weir/pipeline.yaml"] == (str(ROOT / "examples/loans/mixed.yaml"), False), name
    for service in services.values():
        for source, writable in mounts(service).values():
            if source.startswith("/"):
                assert pathlib.Path(source).stat().st_mode & 0o044 and not writable


@pytest.mark.parametrize("old, new, words", [
    ("apply: { condition: service_completed_successfully }", "apply: { condition: service_finished }", "service_finished"),
    ("healthcheck:\n      test", "healthchecks:\n      test", "healthchecks"),
    ("read_only: true", "read_onyl: true", "read_onyl"),
    ("policy: { condition", "polizy: { condition", "polizy"),
])
def test_a_mistake_is_seen(directory, old, new, words):
    text = FILE.read_text()
    assert old in text
    wrong = directory / "docker-compose.yml"
    wrong.write_text(text.replace(old, new, 1))
    done = config(wrong)
    assert done.returncode and words in done.stderr


# ---- what runs ----
def in_order(services):
    """Names, each after all that it waits for."""
    done = []
    while len(done) < len(services):
        done += sorted(n for n, s in services.items() if n not in done and set(s.get("depends_on", {})) <= set(done))
    return done


class Project:
    """
    What `docker compose up` would be here: Weir's containers by runc; the other services are the suite's servers, given
    what the file gives to the images: the same scripts, definitions and commands.
    """

    def __init__(self, services, directory, make_container, servers):
        self.services, self.directory, self.make_container = services, directory, make_container
        self.kafka, self.rabbit, self.postgres = servers
        self.status_port, = free_ports(1)
        self.ports = {"kafka": self.kafka.port, "rabbitmq": self.rabbit.port, "postgres": self.postgres.port}
        self.volumes = directory / "volumes"
        names = {source for s in services.values() for source, _ in mounts(s).values() if not source.startswith("/")}
        for name in names:
            (self.volumes / name).mkdir(parents=True)
        self.runs = collections.Counter()

    def here(self, text):
        """With the addresses that the servers have here."""
        for name, port in SERVERS.items():
            text = str(text).replace(f"{name}:{port}", f"{name}:{self.ports[name]}")
        return text.replace(f":{STATUS_PORT}", f":{self.status_port}")

    def volume(self, source):
        return pathlib.Path(source) if source.startswith("/") else self.volumes / source

    def container(self, name, command=None, **more):
        """`docker compose run NAME COMMAND`; more: {target: (volume, writable)} beside its own mounts."""
        s = self.services[name]
        self.runs[name] += 1
        binds = [oci.bind(self.volume(source), target, writable)
                 for target, (source, writable) in {**mounts(s), **more}.items()]
        target, _, options = s["tmpfs"][0].partition(":")
        options = dict(o.split("=") for o in options.split(","))
        container = self.make_container(
            f"{name}{self.runs[name]}", [self.here(w) for w in command or s["command"]],
            user=tuple(map(int, s["user"].split(":"))), read_only=s["read_only"], hosts=dict.fromkeys(SERVERS, "127.0.0.1"),
            mounts=[oci.tmpfs(target, **options), *binds], env={k: self.here(v) for k, v in s["environment"].items()})
        if s.get("network_mode") == "none":
            container.config["linux"]["namespaces"].append({"type": "network"})
        return container

    def once(self, name, **more):
        """To its end, which must be a good one; what it said."""
        container = self.container(name, **more)
        code = container.run()
        assert code == 0, f"{name}: exit {code}\n{container.tail()}"
        return container.text()

    # ---- the other services ----
    def script(self, name):
        """A service that is a script of the file's in an image of PostgreSQL."""
        s = self.services[name]
        scripts = {target: source for target, (source, _) in mounts(s).items() if source.startswith("/")}
        kept = {target: source for target, (source, _) in mounts(s).items() if not source.startswith("/")}
        assert all(target == f"/volumes/{source}" for target, source in kept.items())
        subprocess.run([scripts.get(w, w) for w in s["entrypoint"]], check=True,
                       env={"PATH": os.environ["PATH"], "VOLUMES": str(self.volumes),
                            **{k: self.here(v) for k, v in s.get("environment", {}).items()}})

    def rabbitmq(self):
        found = mounts(self.services["rabbitmq"])
        lines = dict(x.split(" = ") for x in pathlib.Path(found["/etc/rabbitmq/conf.d/20-weir.conf"][0]).read_text()
                     .splitlines() if not x.startswith("#"))
        assert set(lines) == {"load_definitions"}
        place, _, name = lines["load_definitions"].rpartition("/")
        self.rabbit.ctl("import_definitions", self.volume(found[place][0]) / name)
        self.rabbit.ctl("set_permissions", "-p", "loans", self.rabbit.user, ".*", ".*", ".*")
        wait_for("the queue", lambda: self.rabbit.count("loans.offer", "loans") == 0, 20)

    def postgresql(self):
        """As its image does with a file of /docker-entrypoint-initdb.d."""
        found = mounts(self.services["postgres"])
        script = pathlib.Path(found["/docker-entrypoint-initdb.d/weir.sql"][0]).read_text()
        secret = self.volume(found["/run/secrets"][0])
        assert (secret / "superuser").stat().st_size and self.services["postgres"]["environment"] == {
            "POSTGRES_PASSWORD_FILE": "/run/secrets/superuser"}
        done = subprocess.run([PROGRAMS / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", self.postgres.superuser_dsn()],
                              input=script.replace("/run/secrets", str(secret)), text=True, capture_output=True)
        assert done.returncode == 0 and not done.stderr, done.stderr

    def topics(self):
        s = self.services["topics"]
        assert s["entrypoint"] == ["/opt/kafka/bin/kafka-topics.sh"]
        words = [self.here(w).replace("kafka:", "127.0.0.1:") for w in s["command"]]
        self.kafka.tool("org.apache.kafka.tools.TopicCommand", *words)

    def before_weir(self, first):
        """All that is done once, in the order of depends_on; each, for each of them, what it said."""
        said = {}
        others = {"setup": lambda: self.script("setup"), "share": lambda: self.script("share"), "topics": self.topics, "kafka": lambda: None,
                  "rabbitmq": self.rabbitmq if first else lambda: None,
                  "postgres": self.postgresql if first else lambda: None}
        for name in in_order(self.services):
            if name in others:
                others[name]()
            elif name in ONCE:
                said[name] = self.once(name)
        return said


@pytest.fixture(scope="module")
def servers(world, image):
    """Of this test's own: the file makes users, roles and queues in them."""
    kafka = KafkaServer(world / "compose-kafka")
    rabbit = RabbitServer(world / "compose-rabbit")
    rabbit.user = "admin"  # weir is a user of the file's
    postgres = PostgresServer(world / "compose-postgres")
    postgres.OWNER = "nobody_else"
    started = []
    try:
        for server in (kafka, rabbit, postgres):
            server.start()
            started.append(server)
        yield kafka, rabbit, postgres
    finally:
        for server in started:
            server.stop()


def fed(project, topic):
    """The feed's events that can be read, by stream, and how many cannot: from the topic, the queue and the file."""
    consumer = Consumer({"bootstrap.servers": project.kafka.bootstrap, "group.id": "compose-test", "enable.auto.commit": False})
    ends = project.kafka.offsets(topic)
    consumer.assign([TopicPartition(topic, p, 0) for p in ends])
    applications = []
    while len(applications) < sum(end for _, end in ends.values()):
        applications += [m for m in consumer.consume(1000, 1) if not m.error()]
    consumer.close()
    assert all(m.key() for m in applications if b'"case_id":"2990' not in m.value())
    offers = project.rabbit.take("loans.offer", 1 << 20, vhost="loans")
    work = [line for f in (project.volumes / "data").iterdir() for line in f.read_bytes().splitlines()]
    streams, broken = {}, 0
    for stream, bodies in (("application", [m.value() for m in applications]), ("offer", offers), ("workitem", work)):
        streams[stream] = []
        for body in bodies:
            try:
                event = json.loads(body.decode())
                good = event["case_id"] and re.match(r"\d{4}-", event["at"]) and "1e400" not in body.decode() and \
                    not isinstance(event.get("amount_requested"), str) and body.count(b'"case_id"') == 1
            except (ValueError, KeyError):
                good = False
            if good:
                streams[stream].append(event)
            broken += not good
    return streams, broken


def band(amount):
    return None if amount is None else sum(amount >= limit for limit in (5000, 15000, 50000))


def check_rows(connection, streams):
    """Every row of fact_loan, and that who worked on it is a token: the same for the same person."""
    cases = loans.answer(streams)
    tokens = collections.defaultdict(set)
    got = connection.execute(
        "SELECT case_id, outcome, amount_band, (extract(epoch FROM submitted_at) * 1000000)::bigint,"
        " (extract(epoch FROM last_event_at) * 1000000)::bigint, offers_sent, work_items, events, resource_token"
        " FROM analytical_schema.fact_loan LEFT JOIN analytical_schema.dim_resource USING (resource_key)").fetchall()
    have, want = {}, {}
    for case, *row, token in got:
        have[case] = row
        tokens[cases[case].get("resource")].add(token)
    for case, c in cases.items():
        want[case] = [c["outcome"], band(c.get("amount")), c.get("submitted_at"), c["last_event_at"], c["offers_sent"],
                      c["work_done"], c["events"]]
    wrong = [(k, want.get(k), have.get(k)) for k in want.keys() | have.keys() if want.get(k) != have.get(k)]
    assert not wrong, f"{len(wrong)} of {len(want)} rows wrong, e.g. {wrong[:3]}"
    tokens.pop(None, None)
    assert all(len(t) == 1 and None not in t for t in tokens.values())
    assert len(set.union(*tokens.values())) == len(tokens)
    return len(want)


@pytest.mark.skipif(ASAN, reason="the image is built without sanitizers")
def test_it_runs(services, directory, make_container, servers):
    project = Project(services, directory, make_container, servers)
    kafka, rabbit, postgres = servers
    said = project.before_weir(first=True)
    assert "signed the policy" in said["policy"]
    check_keys(project)
    # Some loans of the feed's, all before Weir starts, so that the queue still has them to be counted.
    command = services["feed"]["command"]
    at = command.index("--seconds") + 1
    counts = project.once("feed", command=[*command[:at], FEED_SECONDS, *command[at + 1:]])
    streams, broken = fed(project, "loans.application")
    told = re.search(r"application (\d+), offer (\d+), workitem (\d+), and (\d+) broken", counts)
    assert tuple(map(int, told.groups())) == (*map(len, streams.values()), broken) and min(map(int, told.groups())) > 0
    weir = project.container("weir").start()
    health = [project.here(w) for w in services["weir"]["healthcheck"]["test"][1:]]
    wait_for("health", lambda: weir.process.poll() is not None or weir.execute(*health).returncode == 0, 60, 0.5)
    assert weir.process.poll() is None, weir.tail()
    # More of them live, by every way in.
    twin = loans.twin(processes=300, seed=5)
    kafka.produce("loans.application", twin["application"])
    rabbit.publish("loans.offer", twin["offer"], lambda i, body: f"twin-{i}", vhost="loans")
    loans.write(project.volumes / "data" / "workitem-twin.ndjson", twin["workitem"])
    everything = {s: streams[s] + twin[s] for s in loans.STREAMS}
    n = sum(map(len, everything.values()))
    with psycopg.connect(postgres.superuser_dsn("warehouse"), autocommit=True) as c:
        one = lambda sql: c.execute(sql).fetchone()[0]
        events = "SELECT coalesce(sum(events), 0) FROM analytical_schema.fact_loan"
        dead = "SELECT count(*) FROM admin_schema.dead_letter"
        try:
            wait_for("every row", lambda: weir.process.poll() is not None or (one(events), one(dead)) == (n, broken), 90, 0.2)
        except TimeoutError:
            raise AssertionError(f"{one(events)} of {n} events, {one(dead)} of {broken} broken\n{weir.tail()}") from None
        assert weir.process.poll() is None, weir.tail()
        rows = check_rows(c, everything)
        owner = one("SELECT rolsuper FROM pg_roles WHERE rolname = 'owner'")
        assert owner is False and one("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'warehouse'") == "UTF8"
    wait_for("every acknowledgement", lambda: rabbit.count("loans.offer", "loans") == 0, 20)
    hand_over(project, everything)
    started = time.monotonic()
    code = weir.stop(signal.SIGTERM, timeout=DRAIN_SECONDS + 15)
    print(f"\n*** compose: {n} events and {broken} broken ones, {rows} rows as they must be; exit {code} "
          f"{time.monotonic() - started:.2f} s after SIGTERM ***")
    assert code == 0, weir.tail()
    # The next `docker compose up`: all that is done once is done already.
    (project.volumes / "keys-weir" / "token-gone.key").write_text("of a domain that is no more")
    again = project.before_weir(first=False)
    check_keys(project)
    assert "made nothing" in again["keys"] and "stays as it is" in again["policy"] and "nothing to do" in again["apply"]


def check_keys(project):
    """Who may open everything by a passphrase is not with the owner's connection, nor with the service."""
    have = {v: {f.name for f in (project.volumes / v).iterdir()} for v in ("keys", "keys-apply", "keys-weir")}
    public = {"policy", "root.pub"}
    kinds = lambda files: {re.split(r"[-.]", f)[0] for f in files - public}
    assert {f for f in have["keys-apply"] - public if not f.endswith(".sealed")} == set() == public - have["keys-apply"]
    assert kinds(have["keys-apply"]) == {"role"}
    assert kinds(have["keys-weir"]) == {"sealer", "token", "role", "rid"} and public < have["keys-weir"]
    assert have["keys-apply"] | have["keys-weir"] < have["keys"]
    assert kinds(have["keys"] - have["keys-apply"] - have["keys-weir"]) >= {"root", "escrow", "member"}
    for volume in ("keys-apply", "keys-weir"):
        for file in (project.volumes / volume).iterdir():
            assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (64100, 0o400) and file.read_bytes() == \
                (project.volumes / "keys" / file.name).read_bytes()


def hand_over(project, streams):
    """Science writes where it may, for ana, who opens it; the passphrase is the office's alone."""
    project.once("weir", command=["handoff", "run", "scoring"])
    made, = (project.volumes / "handoffs").iterdir()
    opened = project.once("policy", command=[
        "open", "file", f"/var/lib/weir/handoffs/{made.name}", "--member-key", "/etc/weir/keys/member-ana.key",
        "--passphrase-file", "/etc/weir/office/passphrase"], **{"/var/lib/weir/handoffs": ("handoffs", False)})
    got = {x["case_id"]: x for x in map(json.loads, filter(lambda x: x.startswith("{"), opened.splitlines()))}
    cases = loans.answer(streams)
    assert set(got) == set(cases)
    for case, c in cases.items():
        amount, resource = got[case]["amount"], got[case]["resource"]
        assert (amount is None) == (c.get("amount") is None) and (amount is None or float(amount) == float(c["amount"])), case
        assert resource == c.get("resource"), case
