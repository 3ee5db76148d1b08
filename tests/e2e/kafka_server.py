"""A private Kafka broker: one KRaft node on loopback, started by tests/kafka/broker."""

import gzip
import json
import pathlib
import secrets
import signal
import subprocess
import zlib

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from ports import die_with_parent, free_ports, listens, wait_for

BROKER = pathlib.Path(__file__).resolve().parent.parent / "kafka" / "broker"
START_SECONDS = 90
STOP_SECONDS = 30


def fetch():
    """The jars, once per machine; before the clock of any test runs."""
    subprocess.run([BROKER, "fetch"], check=True, stdout=subprocess.DEVNULL)


def lines_of(path):
    """The lines of a plain, .gz or .zst file, without their ends."""
    path = str(path)
    if path.endswith(".gz"):
        with gzip.open(path, "rb") as f:
            yield from (line.rstrip(b"\n") for line in f)
    elif path.endswith(".zst"):
        with subprocess.Popen(["zstd", "-dcq", path], stdout=subprocess.PIPE) as p:
            yield from (line.rstrip(b"\n") for line in p.stdout)
    else:
        with open(path, "rb") as f:
            yield from (line.rstrip(b"\n") for line in f)


class KafkaServer:
    """
    start, stop, kill (-9) and start again on the same port and data. settings: server properties.
    certificates: those of listeners for SSL and SASL_SSL, on ssl_port and sasl_port; the second one
    takes user and password by PLAIN.
    """

    def __init__(self, directory, settings=None, certificates=None):
        self.directory = pathlib.Path(directory)
        self.port, self.controller_port, self.ssl_port, self.sasl_port = free_ports(4)
        self.user, self.password = "weir", secrets.token_hex(12)
        self.settings = {**(self._tls(certificates.pem) if certificates else {}), **(settings or {})}
        self.process = None
        self._client = self._producer = None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def _tls(self, pem):
        ports = {"PLAINTEXT": self.port, "SSL": self.ssl_port, "SASL_SSL": self.sasl_port}
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
        return {
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": listeners,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": pem,
            "listener.name.sasl_ssl.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config":
                "org.apache.kafka.common.security.plain.PlainLoginModule required "
                f'user_{self.user}="{self.password}";'}

    # ---- life ----
    def start(self):
        assert self.process is None
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = [f"{k}={v}" for k, v in self.settings.items()]
        with open(self.directory / "broker.log", "ab") as log:
            self.process = subprocess.Popen(
                [BROKER, "run", self.directory, str(self.port), str(self.controller_port), *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=die_with_parent)
        wait_for(f"Kafka on {self.bootstrap}", self._serves, START_SECONDS, 0.1)
        return self

    def _serves(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"Kafka ended with {self.process.returncode}:\n{self.log_tail()}")
        if not listens(self.port):
            return False
        # The port opens before the broker is registered: it serves once it lists itself.
        try:
            found = self._admin().list_topics(timeout=2).brokers.values()
        except KafkaException:
            return False
        return any(b.port == self.port for b in found)

    def stop(self):
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)

    def restart(self):
        self.stop()
        return self.start()

    def _end(self, sig):
        if self.process is None:
            return
        self._client = self._producer = None
        self.process.send_signal(sig)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def log_tail(self, n=30):
        log = (self.directory / "broker.log").read_text(errors="replace")
        return "\n".join(log.splitlines()[-n:])

    # ---- topics ----
    def _conf(self, **more):
        conf = {"bootstrap.servers": self.bootstrap, "log_level": 0, "error_cb": lambda e: None}
        conf.update({k.replace("_", "."): v for k, v in more.items()})
        return conf

    def _admin(self):
        # Kept: a client that is dropped takes its pending answers with it.
        if self._client is None:
            self._client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._client

    def create_topic(self, name, partitions=4, **config):
        """config: retention_ms=1000 and the like."""
        config = {k.replace("_", "."): str(v) for k, v in config.items()}
        new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
        self._admin().create_topics([new])[name].result(30)
        wait_for(f"topic {name}", lambda: self.topic_partitions(name) == partitions, 30)
        return name

    def delete_topic(self, name):
        self._admin().delete_topics([name])[name].result(30)
        wait_for(f"end of topic {name}", lambda: self.topic_partitions(name) == 0, 30)

    def add_partitions(self, name, total):
        self._admin().create_partitions([NewPartitions(name, total)])[name].result(30)
        wait_for(f"partitions of {name}", lambda: self.topic_partitions(name) == total, 30)

    def alter_topic(self, name, **config):
        resource = ConfigResource("topic", name)
        for k, v in config.items():
            resource.set_config(k.replace("_", "."), str(v))
        self._admin().alter_configs([resource])[resource].result(30)

    def topic_settings(self, name):
        resource = ConfigResource("topic", name)
        return {k: v.value for k, v in self._admin().describe_configs([resource])[resource].result(30).items()}

    def topic_partitions(self, name):
        topics = self._admin().list_topics(timeout=10).topics
        return len(topics[name].partitions) if name in topics else 0

    def delete_records(self, topic, before):
        """As retention does: the offsets below before[partition] vanish."""
        wanted = [{"topic": topic, "partition": p, "offset": o} for p, o in before.items()]
        path = self.directory / "delete-records.json"
        path.write_text(json.dumps({"version": 1, "partitions": wanted}))
        self.tool("org.apache.kafka.tools.DeleteRecordsCommand", "--bootstrap-server", self.bootstrap,
                  "--offset-json-file", path)

    def tool(self, *args):
        done = subprocess.run([BROKER, "tool", *map(str, args)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120)
        assert done.returncode == 0, done.stdout
        return done.stdout

    # ---- messages ----
    def producer(self, **more):
        return Producer(self._conf(**{
            "enable.idempotence": True, "compression.codec": "lz4", "linger.ms": 20,
            "batch.num.messages": 10000, "batch.size": 102400,
            "queue.buffering.max.messages": 200000, **more}))

    def produce(self, topic, events, key="case_id", producer=None, partition=None, timestamp_ms=0):
        """
        Events: bytes, or objects to be written as JSON. One key always meets the same partition, so the
        order within a process holds. Returns when the broker has all of them; the count.
        """
        if producer is None:
            # Kept: a new idempotent one waits about a second before its first message.
            self._producer = self.producer() if self._producer is None else self._producer
            producer = self._producer
        n, failures = 0, []

        def report(error, _):
            if error:
                failures.append(error)

        count = self.topic_partitions(topic)
        more = {"on_delivery": report}
        if timestamp_ms:
            more["timestamp"] = timestamp_ms
        for event in events:
            value = event if isinstance(event, bytes) else json.dumps(event).encode()
            name = _key_of(value, key)
            where = zlib.crc32(name) % count if partition is None else partition
            self._produce_one(producer, topic, value, name, where, more)
            n += 1
        producer.flush(60)
        assert not failures, failures[0]
        return n

    @staticmethod
    def _produce_one(producer, topic, value, key, partition, more):
        while True:
            try:
                producer.produce(topic, value, key, partition, **more)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)

    def produce_file(self, topic, path, key="case_id"):
        return self.produce(topic, lines_of(path), key)

    def transaction(self, topic, events, commit=True, transactional_id="weir-tests", **more):
        """One transaction, committed or aborted: each leaves a control record, a hole in the offsets."""
        producer = self.producer(**{"transactional.id": transactional_id})
        producer.init_transactions(30)
        producer.begin_transaction()
        before = {p: end for p, (_, end) in self.offsets(topic).items()}
        n = self.produce(topic, events, producer=producer, **more)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
        # Both return before the control records are written; until then readers see no further.
        wait_for("the end of the transaction", lambda: self._ended(topic, before, n), 30)
        return n

    def _ended(self, topic, before, n):
        now = {p: end for p, (_, end) in self.offsets(topic).items()}
        touched = sum(1 for p in now if now[p] > before[p])
        return sum(now.values()) == sum(before.values()) + n + touched

    def offsets(self, topic):
        """{partition: (first, end)} as the broker holds them."""
        consumer = Consumer(self._conf(**{"group.id": "weir-tests-offsets"}))

        def ask():
            try:
                return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=20)
                        for p in range(self.topic_partitions(topic))}
            except KafkaException as error:  # a new topic's leader is not known at once
                if not error.args[0].retriable() and error.args[0].code() != 6:
                    raise
                return None

        try:
            return wait_for(f"offsets of {topic}", ask, 30)
        finally:
            consumer.close()

    def count(self, topic):
        """Offsets between first and end: messages, and control records where there were transactions."""
        return sum(end - first for first, end in self.offsets(topic).values())

    def committed(self, group, topic):
        """{partition: offset} that a group has committed; -1001 for none."""
        consumer = Consumer(self._conf(**{"group.id": group}))
        try:
            wanted = [TopicPartition(topic, p) for p in range(self.topic_partitions(topic))]
            return {t.partition: t.offset for t in consumer.committed(wanted, timeout=20)}
        finally:
            consumer.close()


def _key_of(value, key):
    """The key's text in a JSON event; an event that is broken on purpose gets an empty one."""
    try:
        found = json.loads(value)
        return str(found.get(key, "")).encode() if isinstance(found, dict) else b""
    except (ValueError, RecursionError):
        return b""


def _self_test():
    """python3 kafka_server.py: every verb once against a real broker."""
    import tempfile
    import time

    fetch()
    with tempfile.TemporaryDirectory() as directory:
        started = time.monotonic()
        server = KafkaServer(directory).start()
        print(f"start {time.monotonic() - started:.1f} s, pid {server.pid}")
        try:
            server.create_topic("t", 4)
            started = time.monotonic()
            n = server.produce("t", ({"case_id": str(i % 997), "i": i} for i in range(100000)))
            print(f"produced {n} in {time.monotonic() - started:.1f} s")
            assert server.count("t") == n
            started = time.monotonic()
            server.kill()
            server.start()
            print(f"kill -9 and start {time.monotonic() - started:.1f} s")
            assert server.count("t") == n
            server.add_partitions("t", 6)
            server.transaction("t", [{"case_id": "a"}], partition=5)
            server.transaction("t", [{"case_id": "a"}], commit=False, partition=5)
            assert server.offsets("t")[5] == (0, 4), server.offsets("t")
            server.delete_records("t", {0: 10})
            assert server.offsets("t")[0][0] == 10
            server.delete_topic("t")
        finally:
            server.stop()
    print("ok")


if __name__ == "__main__":
    _self_test()
