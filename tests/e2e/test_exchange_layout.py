"""A pipeline file that was changed while the exchange held records of the one before: nothing is read as something else."""

import os

import pytest

from ports import wait_for
from weir import SLOW

GROUPS = 4

PIPELINE = """pipeline: {name}
lanes: 1
groups: {groups}
exchange: {{ brokers: "{brokers}" }}
correlate:
  by: case_id
  folds: {{ n: {{ count: event }}, a: {{ max: event.a }}, b: {{ max: event.b }}{fold} }}
sources:
  event:
    kafka: {{ brokers: "{brokers}", topic: {topic} }}
    format: json
    time: none
    fields: {{ {fields} }}
warehouse:
  postgresql: {{ dsn: "${{WEIR_DSN}}", logins: "${{WEIR_LOGINS}}" }}
tables:
  fact_case: {{ kind: fact, grain: process, key: case_id, columns: {{ n: n, a: a, b: b{column} }} }}
"""
BEFORE = {"fields": "case_id: text, a: integer, b: integer"}
CHANGES = {
    "another order": {"fields": "case_id: text, b: integer, a: integer"},
    "one more in front": {"fields": "case_id: text, z: integer, a: integer, b: integer", "fold": ", z: { max: event.z }",
                          "column": ", z: z"},
}
OTHER_SOURCE = """  additional:
    kafka: {{ brokers: "{brokers}", topic: {topic}.more }}
    format: json
    time: none
    fields: {{ case_id: text }}
"""


class Changed:
    def __init__(self, make_weir, kafka, connection):
        self.connection = connection
        self.kafka, self.name = kafka, f"layout{os.getpid()}_{os.urandom(2).hex()}"
        self.topic = kafka.create_topic(f"in.{self.name}", 2)
        self.weir = make_weir(self.text(**BEFORE), name=self.name)
        self.weir.apply()

    def text(self, fields, fold="", column=""):
        return PIPELINE.format(name=self.name, groups=GROUPS, brokers=self.kafka.bootstrap, topic=self.topic, fields=fields,
                               fold=fold, column=column)

    def post(self, first, n):
        self.kafka.produce(self.topic, [{"case_id": f"c{i}", "a": 1000 + i, "b": i} for i in range(first, first + n)])

    def up(self, only):
        return self.weir.up("--only", only, "--instance", only.split(",")[0], log=self.weir.directory / f"{only}.log")

    def rows(self):
        return self.connection.execute("select case_id, n, a, b from analytical_schema.fact_case order by 1").fetchall()

    def wait_rows(self, n):
        wait_for("rows", lambda: len(self.rows()) >= n, 60 * SLOW, 0.2)
        assert self.rows() == sorted((f"c{i}", 1, 1000 + i, i) for i in range(n))

    def wait_exchanged(self, n):
        """Until so many records are in the exchange."""
        def there():
            return sum(end for _, end in self.kafka.offsets(f"weir.{self.name}").values()) >= n
        wait_for("the exchange", there, 60 * SLOW, 0.2)

    def lanes_waiting(self):
        """Lanes that live, and say that what is in the exchange is not for them."""
        lanes = self.weir.up("--only", "lanes", "--instance", "lanes", ready=False, log=self.weir.directory / "waiting.log")
        why = "was written under another pipeline file or version: the fields of source event are others"
        wait_for("the reason", lambda: why in self.weir.get(lanes, "/readyz")[1], 60 * SLOW, 0.2)
        assert self.weir.get(lanes, "/readyz")[0] == 503 and lanes.poll() is None
        return lanes

    def refused_by_lanes(self):
        self.weir.stop(self.lanes_waiting())


@pytest.fixture
def changed(make_weir, kafka, connection):
    return Changed(make_weir, kafka, connection)


@pytest.mark.parametrize("change", CHANGES)
def test_records_of_other_fields_wait_for_lanes_that_know_them(changed, change):
    """In the exchange lie events of the file before, and behind them those of the new one."""
    changed.post(0, 40)
    ingest = changed.up("ingest,keeper")
    changed.wait_exchanged(40)
    changed.weir.stop(ingest)
    before, after = changed.weir.file.read_text(), changed.text(**CHANGES[change])
    changed.weir.file.write_text(after)
    changed.weir.apply()
    ingest = changed.up("ingest,keeper")
    changed.post(40, 40)
    changed.wait_exchanged(80)
    changed.weir.stop(ingest)
    changed.refused_by_lanes()
    assert changed.rows() == []
    # Lanes of the file before read what is theirs, commit it, and stop at the rest.
    changed.weir.file.write_text(before)
    lanes = changed.lanes_waiting()
    changed.wait_rows(40)
    changed.weir.stop(lanes)
    changed.weir.file.write_text(after)
    lanes = changed.up("lanes")
    changed.wait_rows(80)
    changed.weir.stop(lanes)


def test_a_source_more_moves_nothing(changed):
    """Another source stands before the one whose records are in the exchange: they are known by its name."""
    changed.kafka.create_topic(f"{changed.topic}.more", 1)
    changed.post(0, 40)
    ingest = changed.up("ingest,keeper")
    changed.wait_exchanged(40)
    changed.weir.stop(ingest)
    more = OTHER_SOURCE.format(brokers=changed.kafka.bootstrap, topic=changed.topic)
    changed.weir.file.write_text(changed.text(**BEFORE).replace("sources:\n", "sources:\n" + more))
    changed.weir.apply()
    lanes = changed.up("lanes")
    changed.wait_rows(40)
    changed.weir.stop(lanes)
