"""The figures of the sizing table (docs/deploy.md): the sealed loans example through an exchange, each part of it under a
supervisor of its own. What an event takes of each process, of Kafka, of the database's log and tables; what a person takes
of locked memory; then, with nothing to do, CPU and memory of each worker and the connections that it holds. Then, on one host,
what an open process takes of memory and of the database's tables."""

import os
import re
import threading
import time

import psycopg

import corpus
import loans
import measure
from pipelines import AMOUNT, HEAD, LIVE, LIVE_TABLES, WAREHOUSE, source
from ports import wait_for
from sealing import SealedWeir
from weir import Weir

PARTS = ("ingest,keeper", "lanes", "science", "status")
COPIES = int(os.environ.get("SIZING_COPIES", 4))
OPEN = int(os.environ.get("SIZING_OPEN", 1_000_000))
IDLE_SECONDS = 20
PEOPLE = "select count(*) from key_schema.subject"
EVENTS = "select coalesce(sum(events), 0) from analytical_schema.fact_loan"
SCHEMAS = ("analytical_schema", "development_schema", "admin_schema")
SIZES = ("select n.nspname, sum(pg_total_relation_size(c.oid)) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
         " where c.relkind in ('r', 'm') group by 1")
CONNECTIONS = ("select regexp_replace(application_name, '[.][0-9]+$', ''), count(*) from pg_stat_activity"
               " where application_name like 'weir%' group by 1 order by 1")


def _proc(pid, file, what):
    """A figure in kB of a file of /proc, as bytes."""
    with open(f"/proc/{pid}/{file}") as f:
        return int(re.search(rf"^{what}:\s+(\d+) kB", f.read(), re.M)[1]) * 1024


def _sockets(pid, port):
    """Connections of a process to a port."""
    with open(f"/proc/{pid}/net/tcp") as f:
        lines = [line.split() for line in list(f)[1:]]
    there = {f"socket:[{x[9]}]" for x in lines if int(x[2].split(":")[1], 16) == port and x[3] == "01"}
    found = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{fd}") in there
        except OSError:
            pass
    return found


def _cached(w, process):
    """Processes in memory, and the bytes that are counted for them."""
    text = w.get(process, "/metrics")[1]
    return [sum(map(float, re.findall(rf"^weir_{m}(?:\{{.*\}})? (\S+)$", text, re.M)))
            for m in ("processes_cached", "state_cache_bytes")]


def _sizes(c):
    found = dict(c.execute(SIZES).fetchall())
    return {s: int(found.get(s, 0)) for s in SCHEMAS}


class Sizing:
    def __init__(self, bench):
        self.bench = bench
        self.topics, self.events = {}, 0
        for stream, lines in corpus.streams()[1].items():
            self.topics[stream] = bench.kafka.create_topic(f"sizing.{stream}", partitions=4)
            self.events += corpus.post(bench.kafka, self.topics[stream], corpus.copies(lines, COPIES))
        sources = {s: f'kafka: {{ brokers: "{bench.kafka.bootstrap}", topic: {t} }}' for s, t in self.topics.items()}
        directory = bench.directory / "sizing"
        exchange = f'exchange: {{ brokers: "{bench.kafka.bootstrap}" }}\n'
        self.w = SealedWeir(directory, loans.pipeline(name="sizing", sources=sources, lanes=1, example="pipeline.yaml",
                                                      more=exchange), bench.postgres, "bench_sizing",
                            {"WEIR_KEYS": str(directory / "keys")})
        (directory / "handoffs").mkdir()
        self.w.set_up()
        self.replicas = {}

    def workers(self, part):
        """{pid: name} of a replica, its supervisor first."""
        pid = self.replicas[part].pid
        return {pid: "supervisor", **{p: measure.name_of(p) for p in measure.children(pid)}}

    def run(self):
        for part in PARTS:
            self.replicas[part] = self.w.up("--only", part, "--instance", part.split(",")[0], ready=False,
                                            log=self.w.directory / f"{part}.log")
        with self.w.superuser() as c:
            ingest = wait_for("the worker", lambda: {n: p for p, n in self.workers(PARTS[0]).items()}.get("ingest"), 30)
            locked, log, sizes = _proc(ingest, "status", "VmLck"), self._log(c), _sizes(c)
            with measure.Servers(self.bench.postgres.pid, self.bench.kafka.pid) as servers:
                wait_for("every event", lambda: c.execute(EVENTS).fetchone()[0] >= self.events, 900, 0.5)
                cpu = {p: measure.by_name(r.pid) for p, r in self.replicas.items()}
            self.tell_work(c, cpu, servers.seconds, log, sizes, ingest, locked)
            self.tell_idle(c)
        for process in self.replicas.values():
            self.w.stop(process)
        with measure.Servers(self.bench.postgres.pid, self.bench.kafka.pid) as servers:
            time.sleep(IDLE_SECONDS)
        print("   without Weir: " + ", ".join(f"{n} {s / IDLE_SECONDS * 1e3:.1f}" for n, s in servers.seconds.items()))

    def _log(self, c):
        return int(c.execute("select pg_current_wal_lsn() - '0/0'").fetchone()[0])

    def tell_work(self, c, cpu, servers, log, sizes, ingest, locked):
        each, unit = self.events, 1e6 / self.events
        people = c.execute(PEOPLE).fetchone()[0]
        print(f"\n== sizing: the sealed example, {each:,} events of {people:,} loans through an exchange")
        for part, names in cpu.items():
            print(f"   µs/event, {part}: " + ", ".join(f"{n} {s * unit:.2f}" for n, s in names.items()))
        print("   µs/event: " + ", ".join(f"{n} {s * unit:.2f}" for n, s in servers.items()))
        exchange = self._topic_bytes("weir.sizing")
        sources = sum(self._topic_bytes(t) for t in self.topics.values())
        print(f"   bytes/event: sources {sources / each:.0f}, exchange {exchange / each:.0f},"
              f" PostgreSQL's log {(self._log(c) - log) / each:.0f}, tables "
              + ", ".join(f"{s} {(n - sizes[s]) / each:.0f}" for s, n in _sizes(c).items()))
        print(f"   locked memory of ingest: {locked // 1024} KiB at its birth, {_proc(ingest, 'status', 'VmLck') // 1024} KiB"
              f" with {people:,} persons in the window")
        cached, used = _cached(self.w, self.replicas["lanes"])
        print(f"   in memory: {cached:,.0f} loans, {used / cached:.0f} bytes each")
        for part in self.replicas:
            print(f"   peak MiB, {part}: " + ", ".join(
                f"{n} {measure.peak_bytes(p) / 2**20:.0f}" for p, n in self.workers(part).items()))

    def _topic_bytes(self, topic):
        return sum(f.stat().st_size for f in self.bench.kafka.directory.glob(f"data/{topic}-*/*.log"))

    def tell_idle(self, c):
        def cpu():
            return {p: measure.by_name(r.pid) for p, r in self.replicas.items()}
        before, start = cpu(), time.monotonic()
        with measure.Servers(self.bench.postgres.pid, self.bench.kafka.pid) as servers:
            time.sleep(IDLE_SECONDS)
        after, wall = cpu(), time.monotonic() - start
        print(f"   idle for {wall:.0f} s, ms of CPU a second:")
        for part, names in after.items():
            print(f"     {part}: {sum(after[part].values()) / wall * 1e3 - sum(before[part].values()) / wall * 1e3:.1f}  "
                  + ", ".join(f"{n} {(s - before[part].get(n, 0)) / wall * 1e3:.1f}" for n, s in names.items()))
        print("     " + ", ".join(f"{n} {s / wall * 1e3:.1f}" for n, s in servers.seconds.items()))
        print("   PSS in MiB, and connections to Kafka:")
        for part in self.replicas:
            print(f"     {part}: " + ", ".join(
                f"{n} {_proc(p, 'smaps_rollup', 'Pss') / 2**20:.1f}"
                + (f" ({_sockets(p, self.bench.kafka.port)})" if _sockets(p, self.bench.kafka.port) else "")
                for p, n in self.workers(part).items()))
        self.tell_connections(c)

    def tell_connections(self, c):
        """The most that were seen of each kind, with state to be looked up and a hand-over under way."""
        self.w.stop(self.replicas.pop("lanes"))
        self.replicas["lanes"] = self.w.up("--only", "lanes", "--instance", "lanes", log=self.w.directory / "again.log")
        for stream, lines in corpus.streams()[1].items():
            corpus.post(self.bench.kafka, self.topics[stream], corpus.copies(lines, 1))
        handoff = threading.Thread(target=lambda: self.w.command("handoff", "run", "scoring", self.w.file, codes=None))
        handoff.start()
        most, end = {}, time.monotonic() + IDLE_SECONDS
        while handoff.is_alive() or time.monotonic() < end:
            for application, n in c.execute(CONNECTIONS).fetchall():
                most[application] = max(most.get(application, 0), n)
            time.sleep(0.02)
        print("   connections to PostgreSQL, one lane: " + ", ".join(f"{a} {n}" for a, n in sorted(most.items())))


def open_processes(bench):
    """OPEN processes of one event each, all of them open, in the memory of one lane and in the database."""
    topic = bench.kafka.create_topic("sizing.open", partitions=4)
    corpus.post(bench.kafka, topic, corpus.rounds(OPEN, 1))
    dsn = bench.postgres.create_database("bench_open")
    w = Weir(bench.directory / "open", HEAD.format(name="open", lanes=1) + LIVE + source(
        "event", bench.kafka, topic, AMOUNT, "{ type: timestamp, form: unix_s }") + LIVE_TABLES + WAREHOUSE, dsn)
    w.apply()
    process = w.up()
    with psycopg.connect(bench.postgres.superuser_dsn("bench_open"), autocommit=True) as c:
        wait_for("every process", lambda: c.execute("select count(*) from analytical_schema.fact_loan").fetchone()[0] == OPEN,
                 300, 0.5)
        sizes = _sizes(c)
        state = c.execute("select sum(pg_total_relation_size(c.oid)) from pg_class c where relkind = 'r' and relname like 'state_%'"
                          " and relnamespace = 'admin_schema'::regnamespace").fetchone()[0]
    cached, used = _cached(w, process)
    correlate, = w.workers(process, "correlate")
    print(f"\n== sizing: {OPEN:,} open processes of three folds")
    print(f"   cached {cached:,.0f}, counted {used / cached:.0f} bytes each, PSS of correlate"
          f" {_proc(correlate, 'smaps_rollup', 'Pss') / cached:.0f} bytes each")
    print(f"   bytes each in the database: state {int(state) / OPEN:.0f}, fact {sizes['analytical_schema'] / OPEN:.0f}")
    w.stop(process)


def run(bench):
    Sizing(bench).run()
    open_processes(bench)
