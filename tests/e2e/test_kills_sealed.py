"""The kills of test_kills.py with everything sealed, the keeper and science among the victims: equal by opening."""

import os
import shutil

import pytest

import loans
from ports import wait_for
from sealing import SealedWeir
from tables import Snapshot, assert_equal
from test_kills import ROLES, Feeder, Killer
from weir import SLOW

EXAMPLE = "pipeline.yaml"
MEMBERS = (("dim_resource", "resource_token", "resource_key"),)
RAW = {"application": "case_id, seq, event_at, activity, transition, resource, resource_token, amount_requested, amount_band",
       "offer": "case_id, seq, event_at, activity, transition, resource, resource_token",
       "workitem": "case_id, seq, event_at, activity, transition, resource, resource_token"}


class Opened:
    """All that a data scientist sees, opened; by natural keys, as nonces, rids and batches are of one run."""

    def __init__(self, w):
        with w.reader() as reader:
            def rows(query):
                return sorted((tuple(r.values()) for r in reader.rows(query, purpose="comparison")), key=repr)
            self.tables = {s: rows(f"select {c} from development_schema.raw_{s}") for s, c in RAW.items()}
            self.tables["process"] = rows("select case_id, amount, resource from development_schema.process")

    def assert_equal(self, other, what):
        for name, mine in self.tables.items():
            assert_equal(mine, other.tables[name], f"{what} {name}")


def sealed_weir(directory, name, postgres, **options):
    w = SealedWeir(directory, loans.pipeline(name=name, example=EXAMPLE, **options), postgres, f"{name}_db",
                   {"WEIR_KEYS": str(directory / "keys")})
    w.keys_init()
    return w


@pytest.fixture(scope="module")
def reference(postgres, world):
    """Streams, what a fault-free run makes of them, and the token keys it had."""
    streams = loans.twin(processes=2500, seed=17)
    w = sealed_weir(world / "kills-sealed-reference", "sealed_reference", postgres)
    for stream, events in streams.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    w.apply()
    w.run()
    with w.superuser() as c:
        assert c.execute("select count(*) from development_schema.raw_application").fetchone()[0] == len(streams["application"])
    made = streams, Snapshot(w.dsn, members=MEMBERS), Opened(w), w.keys
    w.teardown()
    return made


def test_kills_with_everything_sealed(reference, postgres, kafka, rabbit, directory, capsys):
    streams, expected, opened, keys = reference
    topic, queue = kafka.create_topic("kills-sealed", partitions=4), rabbit.create_queue("kills-sealed")
    w = sealed_weir(directory, "sealed_kills", postgres, lanes=2, ingests=2, more="rid_key: file:rid.key\n", sources={
        "application": f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {topic} }}',
        "offer": f'rabbitmq: {{ url: "{rabbit.url()}", queue: {queue}, identity: message-id }}',
        "workitem": loans.FOLLOW["workitem"]})
    for key in keys.glob("token-*.key"):  # equal tokens are comparable
        shutil.copy2(key, w.keys / key.name)
    w.sign()  # the policy lists the ids of these
    w.apply()
    n, total = int(os.environ.get("WEIR_SEALED_KILLS", "12")), sum(map(len, streams.values()))
    try:
        with w.superuser() as c:
            killer = Killer(w, c, 23, (*ROLES, "keeper", "science"))
            feeder = Feeder(streams, kafka, topic, rabbit, queue, w.data / "workitem.ndjson", n * 1.2)
            feeder.start()
            killer.random(n, feeder)
            feeder.tempo.set()
            feeder.join(120)
            assert not feeder.is_alive() and feeder.error is None, feeder.error
            count = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
            wait_for("every event", lambda: c.execute(count).fetchone()[0] >= total, 120 * SLOW, 0.2)
        wait_for("every acknowledgement", lambda: rabbit.count(queue) == 0, 30 * SLOW, 0.2)
        w.stop(killer.process)
        Snapshot(w.dsn, members=MEMBERS).assert_equal(expected, "with kills and without")
        Opened(w).assert_equal(opened, "opened, with kills and without")
    finally:
        w.teardown()
    with capsys.disabled():
        times = sorted(t for r, t in killer.restarts if r != "supervisor")
        if times:
            print(f"\n{n} kills with sealing: from a worker's death to the next commit {times[0]:.2f} to {times[-1]:.2f} s")
