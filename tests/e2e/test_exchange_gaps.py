"""What an exchange can lose, and what its topic can become: lanes stop loudly and never read over it; and the ways out."""

import os

import pytest

import loans
from ports import wait_for
from weir import SLOW

GROUPS = 4
EVENTS = "select coalesce(sum(events), 0)::bigint from analytical_schema.fact_loan"
GROUP_TOOL = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
INGEST, LANES = "ingest,keeper", "lanes"


class Pipeline:
    """One on this host, in two parts; three Kafka sources."""

    def __init__(self, make_weir, kafka, connection):
        self.kafka, self.connection = kafka, connection
        self.name = f"gaps{os.getpid()}_{os.urandom(2).hex()}"
        self.topics = {s: kafka.create_topic(f"{self.name}.{s}", partitions=2) for s in loans.STREAMS}
        self.exchange = f"weir.{self.name}"
        self.generations = {}
        self.weir = make_weir(self.text(), name=self.name)
        self.weir.apply()
        self.fed = {s: [] for s in loans.STREAMS}
        self.parts = 0

    def text(self):
        sources = {s: f'kafka: {{ brokers: "{self.kafka.bootstrap}", topic: {t} }}' for s, t in self.topics.items()}
        text = loans.pipeline(self.name, sources, lanes=2, more=(
            f'groups: {GROUPS}\nexchange: {{ brokers: "{self.kafka.bootstrap}", topic: {self.exchange} }}\n'))
        for stream, n in self.generations.items():
            text = text.replace(f"  {stream}:\n", f"  {stream}:\n    generation: {n}\n", 1)
        return text

    def renew(self):
        self.weir.file.write_text(self.text())

    def feed(self, seed, processes=300):
        for stream, events in loans.twin(processes=processes, seed=seed).items():
            events = [{**e, "case_id": f"{seed}-{e['case_id']}"} for e in events]
            self.kafka.produce(self.topics[stream], events)
            self.fed[stream] += events

    @property
    def total(self):
        return sum(map(len, self.fed.values()))

    def up(self, only, ready=True):
        self.parts += 1
        log = self.weir.directory / f"{only.split(',')[0]}{self.parts}.log"
        return self.weir.up("--only", only, "--instance", only.split(",")[0], ready=ready, log=log)

    def log(self, process):
        return process.log_from[0].read_text()

    def ended(self, process):
        try:
            return wait_for("its end", lambda: process.poll() is not None, 60 * SLOW, 0.1) and process.returncode
        except TimeoutError as e:
            raise AssertionError(f"{e}\n{self.log(process)}") from None

    def refused(self, code, text):
        """Lanes that start now end with that code, and say that."""
        lanes = self.up(LANES, ready=False)
        assert self.ended(lanes) == code, self.log(lanes)
        assert text in self.log(lanes), self.log(lanes)

    def events(self):
        return self.connection.execute(EVENTS).fetchone()[0]

    def wait_events(self):
        wait_for(f"{self.total} events", lambda: self.events() >= self.total, 60 * SLOW, 0.1)

    def wait_exchanged(self, n):
        wait_for(f"{n} records in the exchange", lambda: self.kafka.count(self.exchange) >= n, 60 * SLOW, 0.1)

    def check(self):
        self.wait_events()
        loans.check_fact_loan(self.connection, self.fed)
        assert self.connection.execute("select count(*) from analytical_schema.fact_work").fetchone()[0] == \
            len(self.fed["workitem"])

    def pass_through(self, seed):
        """Fed, in the warehouse; both parts ended in order."""
        ingest, lanes = self.up(INGEST), self.up(LANES)
        self.feed(seed)
        self.wait_events()
        self.weir.stop(ingest)
        self.weir.stop(lanes)

    def set_back(self, to=0):
        """The sources' groups, as kafka-consumer-groups --reset-offsets does."""
        from confluent_kafka import Consumer, TopicPartition
        for stream, topic in self.topics.items():
            consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": f"weir.{self.name}.{stream}"})
            partitions = range(self.kafka.topic_partitions(topic))
            consumer.commit(offsets=[TopicPartition(topic, p, to) for p in partitions], asynchronous=False)
            consumer.close()

    def recreate(self):
        partitions = self.kafka.topic_partitions(self.exchange)
        self.kafka.delete_topic(self.exchange)
        self.kafka.create_topic(self.exchange, partitions)


@pytest.fixture
def pipeline(make_weir, kafka, connection):
    return Pipeline(make_weir, kafka, connection)


def start_again(pipeline):
    """The way out: another topic, the groups set back; what was applied is dropped."""
    pipeline.exchange += ".2"
    pipeline.renew()
    pipeline.weir.apply()
    wait_for("a group that nobody is in", lambda: try_set_back(pipeline), 30 * SLOW, 0.5)
    ingest, lanes = pipeline.up(INGEST), pipeline.up(LANES)
    pipeline.check()
    for process in (ingest, lanes):
        pipeline.weir.stop(process)


def try_set_back(pipeline):
    """Static members stay for a while; until then the broker takes nobody else's offsets."""
    from confluent_kafka import KafkaException
    try:
        pipeline.set_back()
    except KafkaException:
        return False
    return True


def test_retention_that_was_faster_than_the_lanes(pipeline):
    """Lanes were away for longer than records are kept: they name what is gone, and read nothing behind it."""
    pipeline.pass_through(1)
    ingest = pipeline.up(INGEST)
    pipeline.feed(2)
    pipeline.wait_exchanged(pipeline.total)
    ends = pipeline.kafka.offsets(pipeline.exchange)
    pipeline.kafka.delete_records(pipeline.exchange, {0: ends[0][1]})
    before = pipeline.events()
    lanes = pipeline.up(LANES, ready=False)
    wait_for("the alarm", lambda: "LOSS: topic" in pipeline.log(lanes), 60 * SLOW, 0.1)
    assert f"{pipeline.exchange} partition 0" in pipeline.log(lanes)
    assert pipeline.weir.get(lanes, "/readyz")[0] == 503
    assert "are gone from the broker" in pipeline.weir.get(lanes, "/readyz")[1]
    pipeline.weir.stop(lanes)
    pipeline.weir.stop(ingest)
    read = pipeline.connection.execute(
        "select count(*) from admin_schema.key_range r, unnest(r.partition, r.next) u (id, next) join admin_schema.partition p"
        " using (id) where p.label = %s and u.next > %s", (f"{pipeline.exchange}/0", ends[0][1])).fetchone()[0]
    assert read == 0 and pipeline.events() >= before


def test_a_topic_that_was_made_anew(pipeline):
    """Shorter than our positions: told by its end. Grown beyond them: told by what each record names as the one before."""
    pipeline.pass_through(1)
    lost = pipeline.kafka.count(pipeline.exchange)
    pipeline.recreate()
    lanes = pipeline.up(LANES, ready=False)
    wait_for("the alarm", lambda: "was the topic re-created" in pipeline.log(lanes), 60 * SLOW, 0.1)
    pipeline.weir.stop(lanes)
    ingest = pipeline.up(INGEST)
    while pipeline.kafka.count(pipeline.exchange) < 2 * lost:
        pipeline.feed(10 + pipeline.parts + len(pipeline.fed["offer"]))
        pipeline.wait_exchanged(1)
        wait_for("what is fed in the exchange", lambda: pipeline.kafka.count(pipeline.exchange) >= pipeline.total - lost,
                 60 * SLOW, 0.1)
    pipeline.weir.stop(ingest)
    before = pipeline.events()
    pipeline.refused(65, "sent before it, never came")
    assert pipeline.events() == before
    start_again(pipeline)


def test_a_topic_that_is_gone_is_not_made_again(pipeline):
    """In its place would stand one that lanes read from the middle."""
    pipeline.pass_through(1)
    pipeline.kafka.delete_topic(pipeline.exchange)
    said = pipeline.weir.command("apply", pipeline.weir.file, codes=(78,))
    assert f"exchange topic {pipeline.exchange} is gone, and lanes have positions in it" in said.stdout + said.stderr
    assert pipeline.kafka.topic_partitions(pipeline.exchange) == 0
    pipeline.exchange += ".2"
    pipeline.renew()
    assert "the exchange was another topic before" in pipeline.weir.command("plan", pipeline.weir.file, codes=(0, 99)).stdout
    pipeline.weir.apply()
    pipeline.pass_through(2)
    pipeline.check()


def test_partitions_that_were_added(pipeline):
    """Neither side starts, and apply says why."""
    pipeline.kafka.add_partitions(pipeline.exchange, GROUPS + 1)
    ingest = pipeline.up(INGEST, ready=False)
    assert ingest.wait(60 * SLOW) == 78
    pipeline.refused(78, "the pipeline has")  # by the group's word or by the topic's, whichever comes first
    said = pipeline.weir.command("apply", pipeline.weir.file, codes=(78,))
    assert f"has {GROUPS + 1} partitions, and the pipeline has {GROUPS} groups" in said.stdout + said.stderr


def test_a_source_of_another_generation(pipeline):
    """Its offsets begin anew: what is left of the former one must not raise their marks."""
    ingest = pipeline.up(INGEST)
    pipeline.feed(1)
    pipeline.wait_exchanged(pipeline.total)
    pipeline.weir.stop(ingest)
    pipeline.generations["offer"] = 2
    pipeline.renew()
    pipeline.weir.apply()
    lanes = pipeline.up(LANES, ready=False)
    wait_for("what they wait for", lambda: "source offer are others, or its cluster or generation" in
             pipeline.weir.get(lanes, "/readyz")[1], 60 * SLOW, 0.1)
    pipeline.weir.stop(lanes)
    assert pipeline.connection.execute("select count(*) from analytical_schema.fact_loan where offers_sent > 0").fetchone() == (0,)
    del pipeline.generations["offer"]
    pipeline.renew()
    lanes = pipeline.up(LANES)
    pipeline.check()
    pipeline.weir.stop(lanes)


def test_a_pipeline_of_the_same_name(pipeline):
    """The warehouse forgot it, the exchange did not: its records are not read as the new one's."""
    ingest = pipeline.up(INGEST)
    pipeline.feed(1)
    pipeline.wait_exchanged(pipeline.total)
    pipeline.weir.stop(ingest)
    pipeline.connection.execute("delete from admin_schema.pipeline where name = %s", (pipeline.name,))
    pipeline.weir.command("apply", pipeline.weir.file)
    pipeline.refused(65, "its key would be of another key group")
    assert pipeline.events() == 0
    start_again(pipeline)


def test_group_offsets_that_are_lost(pipeline):
    """The lanes' group is for lag tools alone: positions are the warehouse's. The sources' groups lost: all is sent again,
    and dropped by its offset."""
    pipeline.pass_through(1)
    groups = [x for g in (*loans.STREAMS, "lanes") for x in ("--group", f"weir.{pipeline.name}.{g}")]

    def forgotten():
        """True when all are; a group's members stay for a while."""
        said = pipeline.kafka.tool(GROUP_TOOL, "--bootstrap-server", pipeline.kafka.bootstrap, "--delete", *groups)
        return "not empty" not in said
    wait_for("groups that nobody is in", forgotten, 30 * SLOW, 0.5)
    sent = pipeline.kafka.count(pipeline.exchange)
    ingest, lanes = pipeline.up(INGEST), pipeline.up(LANES)
    pipeline.feed(2)
    pipeline.check()
    assert pipeline.kafka.count(pipeline.exchange) >= sent + pipeline.total
    pipeline.weir.stop(ingest)
    pipeline.weir.stop(lanes)
    pipeline.check()
