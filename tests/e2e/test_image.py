"""The image, run by a real runtime as Docker and Kubernetes run it: a read-only root, no capabilities, any user."""

import json
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import threading
import time
import urllib.error
import urllib.request

import psycopg
import pytest

import loans
import oci
from certificates import Certificates
from kafka_server import KafkaServer
from ports import free_ports, wait_for
from postgres_server import PostgresServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = (ROOT / "VERSION").read_text().strip()
BYTES_MAX = 60_000_000
ROLES = {line.split('"')[1] for line in (ROOT / "proto" / "roles.def").read_text().splitlines() if line.startswith("ROLE(")}
WRITABLE = {"run/weir"}  # by everybody, with the sticky bit
STRANGER = (10001, 64200)  # without an entry in /etc/passwd
DATA = "/var/lib/weir/data"  # through directories of the image's own user
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
ORPHAN = r"""
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(void)
{
	if (fork() > 0)
		return 0;
	prctl(PR_SET_NAME, "orphan");
	close(0), close(1), close(2);
	pause();
}
"""


class Place:
    """What a host gives to a container: pipeline file, data, the owner's DSN, a directory for logins."""

    def __init__(self, directory, pipeline, dsn, user=STRANGER):
        self.directory, self.user = directory, user
        self.data, self.logins, self.owner = (directory / n for n in ("data", "logins", "owner"))
        for d in (self.data, self.logins, self.owner):
            d.mkdir()
            os.chown(d, *user)
        self.data.chmod(0o755)
        self.logins.chmod(0o700)
        self.write(pipeline)
        self.dsn = self.owner / "dsn"
        self.dsn.write_text(dsn)
        self.dsn.chmod(0o400)
        os.chown(self.dsn, *user)

    def write(self, pipeline):
        self.pipeline = self.directory / "pipeline.yaml"
        self.pipeline.write_text(pipeline)
        self.pipeline.chmod(0o644)

    def container(self, make, name, *args, owner=False, mounts=()):
        mounts = [oci.bind(self.pipeline, "/etc/weir/pipeline.yaml"), oci.bind(self.data, DATA),
                  oci.bind(self.logins, "/etc/weir/logins", writable=owner), *mounts,
                  *([oci.bind(self.owner, "/etc/weir/owner")] if owner else [])]
        return make(name, args, user=self.user, mounts=mounts, env={
            "WEIR_DSN": "file:/etc/weir/owner/dsn", "WEIR_DATA": DATA, "WEIR_LOGINS": "/etc/weir/logins"})


def ran(container, code=0, timeout=120):
    """Its output, once it has ended as it should."""
    got = container.run(timeout)
    assert got == code, f"exit {got}, not {code}\n{container.tail()}"
    return container.text()


def answers(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
    except OSError:
        return 0, ""


# ---- what is in it ----
def test_size_and_labels(image):
    print(f"\n*** the image: {image.bytes / 1e6:.1f} MB unpacked, at most {BYTES_MAX / 1e6:.0f} ***")
    assert image.bytes <= BYTES_MAX
    labels = {k.removeprefix("org.opencontainers.image."): v for k, v in image.labels.items()}
    assert labels["title"] == "Weir" and labels["version"] == VERSION
    assert len(labels["description"]) > 40 and set(labels) == {"title", "version", "description"}
    c = image.config
    assert (c["User"], c["Entrypoint"], c["Cmd"]) == ("64100:64200", ["/usr/bin/weir"], ["up"])
    assert (c["StopSignal"], c["ExposedPorts"]) == ("SIGTERM", {"8080/tcp": {}})


def test_nothing_else_is_in_it(image):
    """The command, a program a role, libraries, certificates, zones: no shell, nothing setuid, nothing to write to."""
    programs, libraries, writable, odd = set(), 0, set(), []
    for path in image.rootfs.rglob("*"):
        at, kept = str(path.relative_to(image.rootfs)), path.lstat()
        if stat.S_ISREG(kept.st_mode) and kept.st_mode & 0o111:
            if ".so" in path.name:
                libraries += 1
            else:
                programs.add(at)
        if not stat.S_ISLNK(kept.st_mode) and kept.st_mode & 0o022:
            writable.add(at)
        if kept.st_mode & 0o6000 or not (path.is_dir() or path.is_file()) or (kept.st_uid, kept.st_gid) not in \
                ((0, 0), image.user):
            odd.append(at)
    assert programs == {"usr/bin/weir"} | {f"usr/libexec/weir/{role}" for role in ROLES}
    assert writable == WRITABLE and not odd, (writable, odd)
    assert libraries > 20
    owned = {str(p.relative_to(image.rootfs)) for p in image.rootfs.rglob("*") if p.lstat().st_uid == image.user[0]}
    assert owned == {"etc/weir/keys", "etc/weir/logins", "var/lib/weir", "var/lib/weir/handoffs"}
    # Secrets and hand-overs are their owner's; what is mounted beside these is anybody's to come to.
    modes = {at: (image.rootfs / at).stat().st_mode & 0o777 for at in owned}
    assert modes.pop("var/lib/weir") == 0o755 and set(modes.values()) == {0o700}
    print(f"\n*** the image: {len(programs)} programs, {libraries} libraries ***")


def test_it_tells_nothing_of_where_it_was_built(image):
    """One date for everything, so that the same sources and packages give the same image; no path of the build."""
    created = image.document["created"]
    assert {h["created"] for h in image.document["history"]} == {created}
    assert len({p.lstat().st_mtime for p in image.rootfs.rglob("*") if stat.S_ISREG(p.lstat().st_mode)}) == 1
    for program in [image.rootfs / "usr/bin/weir", *(image.rootfs / "usr/libexec/weir").iterdir()]:
        binary = program.read_bytes()
        assert b"/src/" not in binary and os.fsencode(ROOT) not in binary, program
    assert "BuildHost" not in image.labels and "io.buildah.version" not in image.labels


# ---- what it is made from ----
LIST = """# deb http://a.example/debian bookworm main
deb http://a.example/debian bookworm main contrib
deb-src http://a.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://b.example/debian-security/ bookworm-security contrib main
deb http://a.example/debian bookworm-updates contrib
deb https://other.example/apt other-bookworm main
"""
PARAGRAPHS = """Types: deb
# Suites: nothing
URIs: http://c.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/x.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian-security
Suites: bookworm-security
Components: main


types: deb deb-src
uris: http://c.example/debian-security http://d.example/debian-security
suites: bookworm-security
components: main"""


@pytest.mark.parametrize("files, wanted", [
    ({}, []),
    ({"sources.list": LIST}, ["http://a.example/debian bookworm", "https://b.example/debian-security/ bookworm-security"]),
    ({"sources.list.d/debian.sources": PARAGRAPHS, "sources.list.d/other.sources": "Types: deb\nURIs: http://o.example\nSuites: x\n"},
     ["http://c.example/debian bookworm", "http://c.example/debian bookworm-updates",
      "http://c.example/debian-security bookworm-security"]),
    ({"sources.list": LIST, "sources.list.d/debian.sources": PARAGRAPHS, "sources.list.d/off": LIST},
     ["http://a.example/debian bookworm", "https://b.example/debian-security/ bookworm-security",
      "http://c.example/debian bookworm-updates"]),
], ids=["none", "lines", "paragraphs", "both"])
def test_sources_of_the_base(tmp_path, files, wanted):
    """Security updates are among them where the machine has them, in either form of apt's."""
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run([ROOT / "deploy" / "sources.sh", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.splitlines() == [f"deb {line} main" for line in wanted]


def test_libraries_are_of_this_machines_sources(image):
    """As new as apt has them here: what the base has not is upgraded before the libraries are taken."""
    known = subprocess.run(["apt-cache", "policy", "libssl3"], capture_output=True, text=True).stdout
    candidate = re.search(r"Candidate: ([0-9.]+)", known)
    if not candidate:
        pytest.skip("apt knows no libssl3: it has no lists")
    library, = image.rootfs.rglob("libcrypto.so.3")
    have, = set(re.findall(rb"OpenSSL (3\.[0-9.]+) ", library.read_bytes()))
    number = lambda version: tuple(map(int, version.split(".")))
    assert number(have.decode()) >= number(candidate[1])


# ---- that it runs ----
def test_any_user_runs_it(image, make_container):
    for n, user in enumerate((image.user, STRANGER, (2000000000, 1))):
        container = make_container(f"c{n}", ["--version"], user=user)
        assert ran(container).strip() == f"weir {VERSION}"


def test_exit_codes_pass_through(directory, make_container):
    closed, = free_ports(1)
    place = Place(directory, loans.pipeline(), f"postgresql://owner:x@127.0.0.1:{closed}/nowhere")
    wrong = directory / "wrong.yaml"
    wrong.write_text("pipeline: x\nsauces: {}\n")
    wrong.chmod(0o644)
    cases = (("valid", ["validate"], 0), ("usage", ["up", "--no-such-option"], 64), ("verb", ["upp"], 64),
             ("bare", [], 64), ("wrong", ["up", "/wrong.yaml"], 78), ("absent", ["validate", "/nowhere.yaml"], 78),
             ("down", ["apply"], 69))
    for name, words, code in cases:
        container = place.container(make_container, name, *words, owner=True,
                                    mounts=[oci.bind(wrong, "/wrong.yaml")])
        text = ran(container, code)
        assert name != "wrong" or "sauces" in text


def test_time_zones(directory, make_container):
    place = Place(directory, loans.pipeline(more="time_zone: Europe/Amsterdam\n"), "postgresql://owner@localhost/x")
    ran(place.container(make_container, "good", "validate"))
    place.write(loans.pipeline(more="time_zone: Europe/Atlantis\n"))
    assert "Atlantis" in ran(place.container(make_container, "bad", "validate"), 78)


def test_tls_is_verified(world, image, directory, make_container):
    """Kafka by OpenSSL's own place of certificates, PostgreSQL by the file: both know the image's authorities, and one
    that was mounted among them."""
    authority = Certificates(world / "image-authority")
    kafka = KafkaServer(world / "image-kafka", certificates=authority)
    postgres = PostgresServer(world / "image-postgres", certificates=authority)
    try:
        kafka.start()
        postgres.start()
        topic = kafka.create_topic("applications", partitions=1)
        events = loans.twin(processes=20)
        kafka.produce(topic, events["application"])
        brokers = f'kafka: {{ brokers: "localhost:{kafka.ssl_port}", topic: {topic}, properties: {{ security.protocol: ssl }} }}'
        dsn = postgres.create_database("warehouse", tcp=True) + f"?sslmode=verify-full&sslrootcert={BUNDLE}"
        place = Place(directory, loans.pipeline(sources={"application": brokers}), dsn)
        ours = directory / "bundle.crt"
        ours.write_bytes((image.rootfs / BUNDLE[1:]).read_bytes() + authority.ca.read_bytes())
        ours.chmod(0o644)
        known = [oci.bind(ours, BUNDLE)]
        assert "certificate verify failed" in ran(place.container(make_container, "stranger", "apply", owner=True), 69)
        ran(place.container(make_container, "apply", "apply", owner=True, mounts=known))
        run = ["run", "--until", "now", "--wait"]
        result = json.loads(ran(place.container(make_container, "run", *run, 30, mounts=known)).splitlines()[-1])
        assert result["events"]["application"] == len(events["application"])
        # The login says which file it is checked by; for Kafka the image's own is taken.
        (place.logins / "own").mkdir()
        for login in place.logins.glob("*.login"):
            login.write_text(login.read_text().replace(BUNDLE, "/etc/weir/ours.crt"))
        refused = ran(place.container(make_container, "kafka", *run, 4, mounts=[oci.bind(ours, "/etc/weir/ours.crt")]), 69)
        assert re.search(r"certificate.*verif", refused), refused
    finally:
        kafka.stop()
        postgres.stop()


# ---- as the first process ----
class Feeder(threading.Thread):
    """Appends the twin to its files, a little at a time, until it is told to hurry."""

    def __init__(self, data, events):
        super().__init__()
        self.data, self.events, self.hurry = data, events, threading.Event()
        self.fed = 0
        for stream in events:
            (data / f"{stream}.ndjson").touch()

    def run(self):
        files = {s: open(self.data / f"{s}.ndjson", "a", buffering=1) for s in self.events}
        lines = [(e["at"], s, json.dumps(e)) for s, all_of in self.events.items() for e in all_of]
        for i, (_, stream, line) in enumerate(sorted(lines)):
            files[stream].write(line + "\n")
            self.fed += 1
            if i % 10 == 9:
                self.hurry.wait(0.02)
        for f in files.values():
            f.close()


@pytest.fixture
def orphan(directory):
    """A program that leaves a child behind."""
    source, program = directory / "orphan.c", directory / "orphan"
    source.write_text(ORPHAN)
    subprocess.run(["gcc", "-static", "-o", program, source], check=True)
    return program


def no_zombies(container):
    wait_for("an end without zombies", lambda: all(state != "Z" for _, _, state, _ in container.processes().values()), 10)


def test_first_process(postgres, directory, make_container, orphan):
    """Workers are killed and reaped while events come, so is a stranger's orphan; SIGTERM drains, and nothing is lost."""
    port, = free_ports(1)
    twin = loans.twin(processes=1500, seed=9)
    text = loans.pipeline(sources=loans.FOLLOW, more=f"listen: 127.0.0.1:{port}\ndrain_limit: 20s\n")
    database = postgres.create_database(f"image{os.getpid()}", tcp=True)
    place = Place(directory, text, database)
    ran(place.container(make_container, "apply", "apply", owner=True))
    feeder = Feeder(place.data, twin)
    up = place.container(make_container, "up", mounts=[oci.bind(orphan, "/orphan")])
    up.config["process"]["args"] = up.image.config["Entrypoint"] + up.image.config["Cmd"]
    up.start()
    ready = lambda: up.process.poll() is not None or answers(port, "/readyz")[0] == 200
    try:
        wait_for("readiness", ready, 30)
        assert up.process.poll() is None, up.tail()
        feeder.start()
        for role in ("ingest", "load", "status", "correlate"):
            before = up.workers(role)
            fed = feeder.fed
            os.kill(before[0], signal.SIGKILL)
            wait_for(f"a new {role}", lambda: set(up.workers(role)) - set(before), 20)
            wait_for("readiness", ready, 30)
            no_zombies(up)
            wait_for("more events", lambda: feeder.fed > fed, 30)
        assert up.processes()[up.pid][0] == 1 and up.processes()[up.pid][3] == "supervisor"
        done = up.execute("/orphan")
        assert done.returncode == 0, done.stderr
        adopted = lambda: [p for p, (_, parent, _, name) in up.processes().items() if name == "orphan" and parent == up.pid]
        os.kill(wait_for("the orphan's adoption", adopted, 10)[0], signal.SIGKILL)
        wait_for("the orphan's burial", lambda: not any(x[3] == "orphan" for x in up.processes().values()), 10)
        code, body = answers(port, "/status")
        assert code == 200
        print(f"\n*** separation in the container: {json.loads(body).get('separation')} ***")
        assert feeder.is_alive(), "all events were fed before the stop: it shows nothing"
        started = time.monotonic()
        code = up.stop(timeout=40)
        seconds = time.monotonic() - started
        print(f"*** SIGTERM to the first process: exit {code} after {seconds:.2f} s, with {feeder.fed} events fed ***")
        assert code == 0 and seconds < 20, up.tail()
        assert not up.processes()
    finally:
        feeder.hurry.set()
        if feeder.ident:
            feeder.join()
    with psycopg.connect(database) as c:
        events, = c.execute("SELECT coalesce(sum(events), 0) FROM analytical_schema.fact_loan").fetchone()
    assert 0 < events < sum(map(len, twin.values()))
    ran(place.container(make_container, "rest", "run", "--until", "now"))
    with psycopg.connect(database) as c:
        loans.check_fact_loan(c, twin)


def test_a_stop_ends_what_waits(directory, make_container):
    """`weir apply` is the first process too, and waits for a database that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = Place(directory, loans.pipeline(), f"postgresql://owner:x@127.0.0.1:{silent.getsockname()[1]}/x")
        apply = place.container(make_container, "apply", "apply", owner=True).start()
        silent.settimeout(20)
        asked, _ = silent.accept()
        with asked:
            assert asked.recv(1)  # and waits
            assert apply.stop(timeout=5) == 128 + signal.SIGTERM
