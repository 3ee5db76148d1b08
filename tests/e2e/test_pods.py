"""The pods of k8s/ as containers of the real image, without a cluster: each with the files that its manifest mounts, as a kubelet
would lay them out, and with no others. So what the roles table says a workload needs is what it can live on."""

import base64
import json
import os
import re
import subprocess

import psycopg
import pytest
import yaml

import loans
import manifests
import oci
from manifests import GID, bundle
from ports import free_ports, wait_for
from sealing import SealedWeir
from weir import BAD_LINES

def kubelet_volume(directory, files, mode):
    """A Secret, ConfigMap or projected volume: links to files of root, which the pod's group may read."""
    data = directory / "..2026_11_24_12_00_00.1"
    data.mkdir(parents=True)
    directory.chmod(0o755)
    data.chmod(0o755)
    for name, content in files.items():
        (data / name).write_bytes(content)
        os.chown(data / name, 0, GID)
        (data / name).chmod(mode | 0o440)
        (directory / name).symlink_to(f"..data/{name}")
    (directory / "..data").symlink_to(data.name)
    return directory


class Site:
    """One overlay with servers of its own names: keys and logins as from a laptop, and pods of its workloads."""

    def __init__(self, overlay, directory, make_container, postgres, kafka, rabbit):
        self.bundle, self.directory, self.make = bundle(overlay), directory, make_container
        self.kafka, self.rabbit = kafka, rabbit
        self.name = f"{overlay}{os.urandom(3).hex()}"
        self.ports = {}
        home = directory / "weir"
        for name in ("owner", "sources"):
            (home / name).mkdir(parents=True)
        self._secret(home / "owner/dsn", postgres.dsn(self.name, tcp=True))
        self._secret(home / "sources/amqp", rabbit.url())
        self.places = {"WEIR_KAFKA": kafka.bootstrap}
        if "WEIR_EXCHANGE" in self.bundle.environment:
            self.places |= {"WEIR_EXCHANGE": kafka.bootstrap, "WEIR_EXCHANGE_COPIES": "1"}
        text = self.bundle.pipeline.replace("pipeline: loans", f"pipeline: {self.name}")
        self.text = re.sub(r"\bloans\.(application|offer|workitem)\b", rf"{self.name}.\1", text)
        self.w = SealedWeir(directory / "laptop", self.text, postgres, self.name, {
            **self.bundle.environment, **self.places, "WEIR_KEYS": str(home / "keys"), "WEIR_LOGINS": str(home / "logins"),
            "WEIR_RID_KEY": f"file:{home}/keys/rid.key", "WEIR_DSN": f"file:{home}/owner/dsn"})
        self.w.keys = home / "keys"
        self.w.keys_init()
        self.w.command("logins", "init", self.w.file)
        printed = subprocess.run([manifests.K8S / "secrets.sh", home], check=True, stdout=subprocess.PIPE, text=True).stdout
        self.contents = {d["metadata"]["name"]: {k: base64.b64decode(v) for k, v in (d.get("data") or d["binaryData"]).items()}
                         for d in yaml.safe_load_all(printed) if d}
        for stream in ("application", "workitem"):
            kafka.create_topic(f"{self.name}.{stream}", partitions=2)
        self.queue = rabbit.create_queue(f"{self.name}.offer")
        self.total = 0

    @staticmethod
    def _secret(path, text):
        path.touch(0o600)
        path.write_text(text)

    def workload(self, name):
        return next(w for w in self.bundle.workloads if w.name == name)

    # ---- volumes ----
    def _files(self, source):
        """Of one entry of a volume."""
        if "secret" in source:
            s = source["secret"]
            found = self.contents.get(s.get("secretName") or s["name"])
        else:
            s = source["configMap"]
            found = {"pipeline.yaml": self.pipeline.encode()} if "weir-pipeline" in s["name"] else self.contents[s["name"]]
        if found is None:
            assert s.get("optional"), f"nobody makes {s}"
            found = {}
        return {i["path"]: found[i["key"]] for i in s["items"] if i["key"] in found} if "items" in s else found

    def _mount(self, place, path, volume, mount):
        if "emptyDir" in volume:
            tmpfs = oci.tmpfs(path, mode="2777", size=volume["emptyDir"]["sizeLimit"].removesuffix("i").lower())
            tmpfs["options"].append(f"gid={GID}")
            return tmpfs
        if "claim" in volume:
            claim = self.directory / "claim"
            claim.mkdir(exist_ok=True)
            os.chown(claim, 0, GID)
            claim.chmod(0o2775)
            return oci.bind(claim, path, writable=True)
        files = {}
        for source in volume.get("projected", {}).get("sources", [volume]):
            files |= self._files(source)
        whole = volume.get("projected") or volume.get("secret") or volume["configMap"]
        here = kubelet_volume(place / volume["name"], files, whole.get("defaultMode", 0o644))
        assert mount["readOnly"]
        return oci.bind(os.path.realpath(here / mount["subPath"]) if "subPath" in mount else here, path)

    def pod(self, workload_name, pod_name, pipeline=None):
        """The container, as the manifest has it; the network is this machine's, so each listens on a port of its own."""
        workload = self.workload(workload_name)
        self.pipeline = (pipeline or self.text).replace("0.0.0.0:8080", f"127.0.0.1:{self.port(pod_name)}")
        for peer in re.findall(r"http://([\w-]+):8080", self.pipeline):
            self.pipeline = self.pipeline.replace(f"http://{peer}:8080", f"http://127.0.0.1:{self.port(f'{peer}-0')}")
        place = self.directory / "volumes" / pod_name
        mounts = [self._mount(place, path, v, m) for path, (v, m) in workload.mounts().items()]
        said = place / "termination-log"
        said.touch()
        said.chmod(0o666)
        mounts.append(oci.bind(said, "/dev/termination-log", writable=True))
        security = {**workload.pod["securityContext"], **workload.container["securityContext"]}
        args = [a.replace("$(POD_NAME)", pod_name) for a in workload.args]
        container = self.make(pod_name, args, user=(security["runAsUser"], security["runAsGroup"]), mounts=mounts,
                              groups=(security["fsGroup"],), read_only=security["readOnlyRootFilesystem"],
                              env={**self.bundle.environment, **self.places, "POD_NAME": pod_name})
        container.said = said
        return container

    def port(self, pod_name):
        if pod_name not in self.ports:  # nobody listens there yet: it may come twice
            self.ports[pod_name] = next(p for p in free_ports(20) if p not in self.ports.values())
        return self.ports[pod_name]

    # ---- life ----
    def apply(self):
        job = self.pod("weir-apply", "weir-apply")
        code = job.run()
        assert code == 0, job.tail()
        assert json.loads(job.said.read_text())["exit"] == 0, job.said.read_text()

    def ready(self, container, pod_name, seconds=60):
        def answers():
            assert container.process.poll() is None, container.tail()
            done = container.execute("/usr/bin/weir", "status", "-o", "json")
            return done.returncode == 0 and json.loads(done.stdout)
        try:
            return wait_for(f"{pod_name} to be ready", answers, seconds, 0.5)
        except TimeoutError:
            raise AssertionError(f"{pod_name} is not ready\n{container.tail()}") from None

    def feed(self, streams):
        for stream, events in streams.items():
            if stream == "offer":
                self.rabbit.publish(self.queue, events, message_id=lambda i, _: f"o{i}")
            else:
                self.kafka.produce(f"{self.name}.{stream}", events)
            self.total += len(events)

    def rows(self):
        with psycopg.connect(self.w.dsn, autocommit=True) as connection:
            return connection.execute("select case_id, outcome, events from analytical_schema.fact_loan").fetchall()

    def check(self, streams, seconds=60):
        wait_for("every event", lambda: sum(r[2] for r in self.rows()) >= self.total, seconds, 0.3)
        assert sorted(self.rows()) == sorted((case, c["outcome"], c["events"]) for case, c in loans.answer(streams).items())

    @staticmethod
    def stop(*containers):
        for container in containers:
            code = container.stop()
            assert code == 0, f"{container.directory.name} ended with {code}\n{container.tail()}"
            assert not BAD_LINES.search(container.text()), container.tail()


@pytest.fixture
def site(directory, make_container, postgres, kafka, rabbit):
    made = []

    def make(overlay):
        made.append(Site(overlay, directory, make_container, postgres, kafka, rabbit))
        return made[-1]
    yield make
    for s in made:
        s.w.teardown()


@pytest.fixture(scope="module")
def streams():
    return loans.twin(processes=150, seed=5)


def test_scaled(site, streams):
    s = site("scaled")
    s.apply()
    pods = {name: s.pod(workload, name).start() for name, workload in (
        ("weir-ingest-0", "weir-ingest"), ("weir-lanes-0", "weir-lanes"), ("weir-lanes-1", "weir-lanes"),
        ("weir-science-0", "weir-science"), ("weir-status-5d8c", "weir-status"))}
    s.feed(streams)
    seen = {name: s.ready(container, name) for name, container in pods.items()}
    for name, told in seen.items():
        workload = next(w for w in s.bundle.workloads if name.startswith(w.name + "-"))
        wanted = {manifests.roles()[r].name for r in manifests.roles_of(workload, yaml.safe_load(s.text))}
        assert set(told["status"]["roles"]) == wanted and told["status"]["separation"] != "none", (name, told)
    s.check(streams)
    done = pods["weir-science-0"].execute("/usr/bin/weir", "handoff", "run", "scoring")
    assert done.returncode == 0, done.stdout + done.stderr
    made, = (s.directory / "claim").iterdir()
    told = s.w.command("open", "file", made, "--member-key", s.w.member_key, "--passphrase-file", s.w.passphrase).stdout
    assert len(told.splitlines()) == 150
    for name in ("weir-ingest-0", "weir-lanes-0", "weir-status-5d8c"):
        assert pods[name].execute("/usr/bin/weir", "handoff", "run", "scoring").returncode in (77, 78)
    assert list((s.directory / "claim").iterdir()) == [made]
    s.stop(*pods.values())


def test_single(site, streams):
    s = site("single")
    s.apply()
    pod = s.pod("weir", "weir-0").start()
    s.ready(pod, "weir-0")
    s.feed(streams)
    s.check(streams)
    assert pod.execute("/usr/bin/weir", "handoff", "run", "scoring").returncode == 0
    s.stop(pod)


def test_batch(site, streams):
    """The result line is what stays of a pod: of one that was done, and of one that could not begin."""
    s = site("batch")
    s.apply()
    s.feed(streams)
    pod = s.pod("weir-run", "weir-run-29389680-abcde")
    code = pod.run()
    assert code == 0, pod.tail()
    s.check(streams)
    told = json.loads(pod.said.read_text())
    assert told["exit"] == 0 and sum(told["events"].values()) == s.total, told
    wrong = s.pod("weir-run", "weir-run-29389681-abcde", pipeline=s.text.replace("grain: process", "grain: procession"))
    assert wrong.run() == 78
    told = json.loads(wrong.said.read_text())
    assert told["exit"] == 78 and "procession" in told["error"], told
