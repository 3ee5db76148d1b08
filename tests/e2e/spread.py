"""The loans, sealed, over an exchange between hosts: applications and work items from Kafka, offers from a queue; what is
fed, how far it has come, and whether the tables are those of one host that nobody disturbed."""

import shutil
import threading
import time

import psycopg

import loans
from network import Hosts
from ports import wait_for
from tables import Snapshot
from test_kills_sealed import MEMBERS, Opened, sealed_weir
from weir import SLOW

INGEST, LANES = "ingest,keeper", "lanes"
TOPICS = ("application", "workitem")  # the third stream, offer, goes to a queue
EVENTS = "select coalesce(sum(events), 0)::bigint from analytical_schema.fact_loan"


class Reference:
    """What one host makes of the streams, undisturbed; and its token keys, so that tokens are comparable."""

    def __init__(self, directory, name, postgres, streams):
        w = sealed_weir(directory, name, postgres)
        for stream, events in streams.items():
            loans.write(w.data / f"{stream}.ndjson", events)
        w.apply()
        result = w.run()
        assert result["events"] == {s: len(v) for s, v in streams.items()} and result["dead_letters"] == 0
        self.streams, self.keys = streams, w.keys
        self.snapshot, self.opened = Snapshot(w.dsn, members=MEMBERS), Opened(w)
        w.teardown()


class Feeder(threading.Thread):
    """Posts the streams side by side in time order, ten pieces a second, each the same share of what is left: so there is
    load for as long as a test wants it, at first more, then less."""

    def __init__(self, spread, share):
        super().__init__(daemon=True)
        self.spread, self.share = spread, share
        self.turn = threading.Lock()  # a piece is being posted
        self.sent = dict.fromkeys(loans.STREAMS, 0)
        self.finishing = threading.Event()
        self.error = None

    def run(self):
        try:
            while not all(self.sent[s] == len(v) for s, v in self.spread.streams.items()):
                with self.turn:
                    self.post(1.0 if self.finishing.is_set() else self.share)
                self.finishing.wait(0.1)
        except BaseException as e:  # told by the test, which joins us
            self.error = e

    def post(self, share):
        """To be called with the turn held."""
        for stream, events in self.spread.streams.items():
            first = self.sent[stream]
            end = min(len(events), first + max(1, int((len(events) - first) * min(share, 1))))
            self.spread.post(stream, events[first:end], first)
            self.sent[stream] = end

    def burst(self, share=0.05):
        """A backlog, so that a fault that follows at once finds something under way."""
        with self.turn:
            self.post(share)

    @property
    def fed(self):
        return sum(self.sent.values())

    @property
    def left(self):
        return sum(map(len, self.spread.streams.values())) - self.fed

    def finish(self):
        self.finishing.set()
        self.join(300)
        assert not self.is_alive() and self.error is None, self.error


class Spread:
    """One pipeline: its Weir (applied, nothing started), its hosts, its sources."""

    def __init__(self, directory, name, outside, reference, groups=12, partitions=4):
        self.name, self.outside, self.reference = name, outside, reference
        self.streams, self.kafka, self.rabbit = reference.streams, outside.kafka, outside.rabbit
        self.topics = {s: self.kafka.create_topic(f"{name}.{s}", partitions=partitions) for s in TOPICS}
        self.queue = self.rabbit.create_queue(name)
        self.exchange, self.groups = f"weir.{name}", groups
        sources = {s: f'kafka: {{ brokers: "{self.kafka.outer}", topic: {t} }}' for s, t in self.topics.items()}
        sources["offer"] = f'rabbitmq: {{ url: "{outside.rabbit_url}", queue: {self.queue}, identity: message-id }}'
        self.w = w = sealed_weir(directory, name, outside.postgres, lanes=2, ingests=1, sources=sources, more=(
            f'{Hosts.LISTEN}rid_key: file:rid.key\ngroups: {groups}\n'
            f'exchange: {{ brokers: "{self.kafka.outer}", topic: {self.exchange} }}\n'))
        for key in reference.keys.glob("token-*.key"):
            shutil.copy2(key, w.keys / key.name)
        w.sign()
        w.apply()
        self.hosts = Hosts(w, outside.network)
        self.connection = None

    # ---- feeding ----
    def post(self, stream, events, first):
        if stream in self.topics:
            self.kafka.produce(self.topics[stream], events)
        elif events:
            self.rabbit.publish(self.queue, events, message_id=lambda i, _: f"o{first + i}")

    def feed(self, share):
        feeder = Feeder(self, share)
        feeder.start()
        return feeder

    # ---- the warehouse, also one that was away ----
    def query(self, sql, *values):
        for again in (True, False):
            try:
                if self.connection is None:
                    self.connection = self.w.superuser()
                return self.connection.execute(sql, values).fetchall()
            except psycopg.OperationalError:
                self.connection = None
                if not again:
                    raise

    def events(self):
        return self.query(EVENTS)[0][0]

    def wait_for(self, what, condition, seconds, every=0.05):
        """With the end of every log when it does not come."""
        try:
            return wait_for(what, condition, seconds * SLOW, every)
        except TimeoutError as e:
            raise AssertionError(f"{e}\n{self.hosts.tails()}") from None

    def wait_events(self, n, seconds=120):
        try:
            wait_for(f"{n} events", lambda: self.events() >= n, seconds * SLOW, 0.1)
        except TimeoutError:
            raise AssertionError(f"{self.events()} of {n} events arrived\n{self.hosts.tails()}") from None

    def epoch(self):
        return self.query("select coalesce(max(epoch), 0) from admin_schema.shard")[0][0]

    def positions(self):
        """{key group: (epoch, instance, sum of all its positions)}"""
        return {kg: (epoch, instance, at) for kg, epoch, instance, at in self.query(
            "select kg_lo, r.epoch, s.instance, (select coalesce(sum(n), 0)::bigint from unnest(r.next) n)"
            " from admin_schema.key_range r left join admin_schema.shard s using (pipeline, build, epoch)")}

    def owners(self):
        return {instance for _, instance, _ in self.positions().values()}

    def shards(self, host):
        """{epoch: (batch, xmin)} of the host's shards that are closed: each commit of theirs would change their row."""
        return {e: rest for e, *rest in self.query(
            "select epoch, batch, xmin::text from admin_schema.shard where closed and instance = %s", host)}

    def marks(self, stream):
        """{partition: how far its events are in the warehouse, the farthest of all key groups}"""
        topic = self.topics[stream]
        return {int(label.rsplit("/", 1)[1]): at for label, at in self.query(
            "select p.label, max(u.next) from admin_schema.key_range r, unnest(r.partition, r.next) u (partition, next)"
            " join admin_schema.partition p on p.id = u.partition where p.label like %s group by 1", f"{topic}/%")}

    # ---- being done ----
    def check_answer(self, sent):
        """The rows in clear against the answer, computed from what was sent; nothing doubled in the raw tables."""
        streams = {s: v[:sent[s]] for s, v in self.streams.items()}
        cases = loans.answer(streams)
        got = self.query(
            "select case_id, outcome, (extract(epoch from submitted_at) * 1000000)::bigint,"
            " (extract(epoch from last_event_at) * 1000000)::bigint, offers_sent, work_items, events,"
            " (extract(epoch from first_event_at) * 1000000)::bigint from analytical_schema.fact_loan")
        want = [(k, c["outcome"], c.get("submitted_at"), c["last_event_at"], c["offers_sent"], c["work_done"], c["events"],
                 c["first_event_at"]) for k, c in cases.items()]
        assert sorted(got, key=repr) == sorted(want, key=repr), \
            f"{sorted(set(got) ^ set(want), key=repr)[:6]}\n{self.hosts.tails()}"
        for stream, events in streams.items():
            n, = self.query(f"select count(*), count(distinct rid) from development_schema.raw_{stream}")
            assert n == (len(events), len(events)), f"raw_{stream}: {n} rows and rids of {len(events)} events"
        assert self.query("select count(*) from admin_schema.dead_letter")[0][0] == 0

    def check(self):
        """Equal to the reference, all acknowledged; everything is stopped."""
        self.wait_for("every acknowledgement", lambda: self.rabbit.count(self.queue) == 0, 60, 0.2)
        self.hosts.stop_all()
        Snapshot(self.w.dsn, members=MEMBERS).assert_equal(self.reference.snapshot, "spread and on one host")
        Opened(self.w).assert_equal(self.reference.opened, "opened, spread and on one host")

    def sent_again(self):
        """Records that the exchange has more than once."""
        return self.kafka.count(self.exchange) - sum(map(len, self.streams.values()))

    def end(self):
        if self.connection is not None:
            self.connection.close()
        for host in list(self.hosts.up):
            self.hosts.thaw(host)
        self.w.teardown()
        for host in list(self.outside.network.hosts):
            self.outside.network.lose(host)


def seconds_until(condition, what, spread, seconds=90):
    start = time.monotonic()
    spread.wait_for(what, condition, seconds, 0.02)
    return time.monotonic() - start
