"""A cluster, the servers outside of it, and Weir deployed to it: once each, for tests that run in order, inside a box."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "e2e")]

import cluster as cluster_module  # noqa: E402
import deployment  # noqa: E402
import loans  # noqa: E402
import servers  # noqa: E402
from load import Sources  # noqa: E402
from tables import Snapshot  # noqa: E402
from test_kills_sealed import MEMBERS, Opened, sealed_weir  # noqa: E402

SCALED = deployment.K8S / "overlays" / "test"
PROCESSES, SEED = 1500, 61
VOLUME = "handoffs"


def pytest_configure(config):
    if "WEIR_BOX" not in os.environ or "WEIR_IMAGE" not in os.environ:
        raise pytest.UsageError("these tests run inside a box, with an image: tests/run-k8s")


def pytest_sessionfinish(session):
    """Adds "passed failed" to the tally of whoever called us."""
    terminal, tally = session.config.pluginmanager.get_plugin("terminalreporter"), os.environ.get("WEIR_TALLY")
    if tally and terminal:
        count = {word: len(terminal.stats.get(word, [])) for word in ("passed", "failed", "error")}
        with open(tally, "a") as f:
            f.write(f"{count['passed']} {count['failed'] + count['error']}\n")


@pytest.fixture(scope="session")
def world():
    directory = pathlib.Path(os.environ["WEIR_BOX"]) / "world"
    directory.mkdir(mode=0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster():
    programs = subprocess.run([cluster_module.HERE / "build.sh", "all"], stdout=subprocess.PIPE, text=True, check=True)
    with cluster_module.running(programs.stdout.strip()) as running:
        running.load(os.environ["WEIR_IMAGE"])
        running.wait_account("default")
        yield running


@pytest.fixture(scope="session")
def postgres(cluster, world):
    server = servers.Postgres(world / "postgres").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka(cluster, world):
    server = servers.Kafka(world / "kafka").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbit(cluster, world):
    server = servers.Rabbit(world / "rabbit").start()
    yield server
    server.stop()


class Reference:
    """What one host makes of the streams, undisturbed; keys: its directory of them."""

    def __init__(self, directory, postgres):
        self.streams = loans.twin(processes=PROCESSES, seed=SEED)
        w = sealed_weir(directory, "reference", postgres)
        for stream, events in self.streams.items():
            loans.write(w.data / f"{stream}.ndjson", events)
        w.apply()
        result = w.run()
        assert result["events"] == {s: len(v) for s, v in self.streams.items()} and result["dead_letters"] == 0
        self.keys, self.tables, self.opened = w.keys, Snapshot(w.dsn, members=MEMBERS), Opened(w)
        w.teardown()

    def assert_equal(self, w):
        Snapshot(w.dsn, members=MEMBERS).assert_equal(self.tables, "in pods and on one host")
        Opened(w).assert_equal(self.opened, "opened, in pods and on one host")


@pytest.fixture(scope="session")
def reference(world, postgres):
    return Reference(world / "reference", postgres)


@pytest.fixture(scope="session")
def handoffs(cluster, world):
    """A volume for the claim of science; its directory."""
    directory = world / "volume"
    directory.mkdir(mode=0o755)
    cluster.apply({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": VOLUME},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": str(directory)},
                 "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                     {"key": "kubernetes.io/hostname", "operator": "In", "values": [cluster_module.NODE_NAME]}]}]}}}})
    return directory


@pytest.fixture(scope="session")
def scaled(cluster, world, postgres, kafka, rabbit, reference, handoffs):
    """The overlay's namespace with its Secrets; nothing of it is applied yet."""
    pipeline = (deployment.K8S / "overlays" / "scaled" / "pipeline.yaml").read_text()
    made = deployment.Deployment(cluster, "weir", SCALED, pipeline, world / "scaled", postgres, rabbit, reference.keys)
    made.sources = Sources(reference.streams, kafka, rabbit)
    return made
