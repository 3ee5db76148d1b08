"""The suite owns its world: each server is started once, at first use, on free ports under one temporary
directory, and stopped at the end; each test has a database of its own."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import psycopg
import pytest

import loans
import weir as weir_module
from postgres_server import PostgresServer


def pytest_configure(config):
    config.addinivalue_line("markers", "faults: long fault runs (make faults)")
    config.addinivalue_line("markers", "golden: compares with files under tests/golden")
    weir_module.become_subreaper()


@pytest.fixture(scope="session")
def world():
    """A directory that every user may enter: workers run under uids of their own."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-e2e-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(world):
    server = PostgresServer(world / "postgres")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka(world):
    from kafka_server import KafkaServer
    server = KafkaServer(world / "kafka").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbit(world):
    from rabbit_server import RabbitServer
    server = RabbitServer(world / "rabbit").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def image(world):
    """Weir's image, built by the project's own file, or of the archive that WEIR_IMAGE names."""
    import oci
    if weir_module.ASAN:
        pytest.skip("the image is built without sanitizers")
    why_not = oci.unavailable()
    if why_not:
        print(f"\n*** NO CONTAINERS HERE ({why_not}): their tests are SKIPPED ***")
        pytest.skip(why_not)
    return oci.Image(os.environ.get("WEIR_IMAGE") or oci.build(world / "weir.oci"), world / "image")


@pytest.fixture
def make_container(image, directory):
    """make_container(name, args, ...): an oci.Container of this test, ended when the test ends."""
    import oci
    made = []

    def make(name, args=None, **more):
        container = oci.Container(image, directory / name, args, **more)
        made.append(container)
        return container

    yield make
    for container in made:
        container.close()


@pytest.fixture(scope="session")
def outside(world):
    """Servers that hosts of their own (network namespaces) reach. Skipped where the system lets nobody make such hosts."""
    import network
    directory = world / "outside"
    directory.mkdir()
    directory.chmod(0o755)
    with network.names_kept():
        if not network.is_possible():
            pytest.skip("needs root and network namespaces")
        servers = network.Outside(directory)
        try:
            servers.network.make()
        except subprocess.CalledProcessError as e:
            servers.network.remove()
            pytest.skip(f"needs bridges and cables between network namespaces: {e.stderr.strip()}")
        try:
            yield servers.start()
        finally:
            servers.stop()


_names = iter(range(1, 1 << 30))


@pytest.fixture
def database(postgres):
    """DSN of a fresh database, owned by a role that is no superuser."""
    return postgres.create_database(f"t{next(_names)}")


@pytest.fixture
def directory(world, request):
    path = world / f"{next(_names)}-{request.node.name.translate(str.maketrans('[]/ ', '----'))[:60]}"
    path.mkdir()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_weir(directory, database, request):
    """make_weir(pipeline text, name=...): a Weir of this test; checked and stopped when the test ends."""
    made = []

    def make(pipeline, name="a", dsn=None, env=None):
        w = weir_module.Weir(directory / name, pipeline, dsn or database, env)
        made.append(w)
        return w

    yield make
    for w in made:
        w.teardown()


@pytest.fixture
def connection(database):
    with psycopg.connect(database, autocommit=True) as c:
        yield c


@pytest.fixture(scope="session")
def bpic():
    """The real log's files. Absent: skipped, loudly."""
    files = loans.bpic_files()
    if not files:
        print("\n*** THE REAL DATA IS NOT HERE (../shared/data/bpic2012): its tests are SKIPPED ***")
        pytest.skip("bpic2012 is not beside the project")
    return files


@pytest.fixture(scope="session")
def twin():
    return loans.twin()


@pytest.fixture(scope="session")
def twin_files(world, twin):
    """The twin as {stream: file}."""
    directory = world / "twin"
    directory.mkdir()
    directory.chmod(0o755)
    for stream, events in twin.items():
        loans.write(directory / f"{stream}.ndjson", events)
    return {s: directory / f"{s}.ndjson" for s in loans.STREAMS}
