"""What more than one machine costs: lanes behind an exchange as one, two and four replicas, each a supervisor of its own
with one lane, side by side on this machine.

cost: CPU an event of all replicas and PostgreSQL, from a backlog in the exchange to the last commit. The backlog is written
once, by one replica of ingest, whose side is told too; each run begins with a copy of the database as ingest left it. The
events are those of `peers`, nothing sealed: the cheaper an event, the more a replica's fixed costs show.

slow: events a second where each commit waits at its end (a trigger that sleeps), with batches of 10,000 rows and no larger.
Each event is of another process, so that a batch has as many events as rows, however many replicas there are.
"""

import os
import statistics
import time

import psycopg

import measure
from pipelines import AMOUNT, HEAD, LIVE, LIVE_TABLES, PEERS_FOLDS, PEERS_TABLES, WAREHOUSE, source
from ports import wait_for
from weir import Weir

REPLICAS = (1, 2, 4)
ROUNDS = int(os.environ.get("ROUNDS", 3))
COST_BAR, SPEED_BAR = 1.15, 3.2
COMMIT_SECONDS = 1

SLOW_COMMIT = f"""
create function admin_schema.wait() returns trigger language plpgsql as
  'begin perform pg_sleep({COMMIT_SECONDS}); return null; end';
create constraint trigger wait after update on admin_schema.shard deferrable initially deferred
  for each row when (new.batch > old.batch) execute function admin_schema.wait();
alter table admin_schema.shard enable always trigger wait
"""
OWNERS = "select count(*) from admin_schema.shard where not closed"
AT_WORK = OWNERS + " and batch > 0"
BATCHES = "select sum(batch) from admin_schema.shard"
POSITIONS = ("select coalesce(sum(n), 0) from admin_schema.key_range r cross join lateral unnest(r.partition, r.next) u (p, n)"
             " join admin_schema.partition p on p.id = u.p where p.label like %s")


class Backlog:
    """An exchange full of events, and the database as it is before any lane has run."""

    def __init__(self, bench, name, events, pipeline, sql=None):
        self.bench, self.name, self.topic, self.events = bench, name, f"weir.{name}", events
        self.database, self.saved = f"bench_{name}", f"bench_{name}_saved"
        dsn = bench.postgres.create_database(self.database)
        self.w = Weir(bench.directory / name, HEAD.format(name=name, lanes=1)
                      + f'exchange: {{ brokers: "{bench.kafka.bootstrap}" }}\n' + pipeline + WAREHOUSE, dsn)
        self.w.apply()
        if sql:
            bench.postgres.sql(sql, self.database)
        self._fill()
        bench.postgres.sql(f"alter database {self.database} rename to {self.saved}")

    def _fill(self):
        bench = self.bench
        with measure.Servers(bench.postgres.pid, bench.kafka.pid) as servers:
            process = self.w.up("--only", "ingest,keeper", "--instance", "in-0", log=self.w.directory / "in-0.log")
            wait_for("the backlog", lambda: bench.kafka.count(self.topic) >= self.events, 600, 0.3)
            cpu = measure.by_name(process.pid)
        self.w.stop(process)
        self.filled = {"Weir": sum(cpu.values()), "broker": servers.seconds["broker"]}
        logs = bench.kafka.directory.glob(f"data/{self.topic}-*/*.log")
        self.disk_bytes = sum(f.stat().st_size for f in logs)

    def _unowned(self):
        """Members that ended are missed by the group only after their session."""
        groups = self.bench.kafka._admin().list_groups(f"{self.topic}.lanes", timeout=10)
        return not groups or not groups[0].members

    def _fresh(self):
        sql = self.bench.postgres.sql
        sql(f"drop database if exists {self.database}")
        sql(f"create database {self.database} template {self.saved} owner {self.bench.postgres.OWNER}")
        sql("checkpoint")
        wait_for("an empty group", self._unowned, 60, 0.5)

    def run(self, replicas):
        """Seconds of CPU by process and of the servers, of the births, and of the clock while all are at work."""
        self._fresh()
        bench, start = self.bench, {}
        with psycopg.connect(bench.postgres.superuser_dsn(self.database), autocommit=True) as c:
            def ask(query, *args):
                return c.execute(query, args).fetchone()[0]
            with measure.Servers(bench.postgres.pid, bench.kafka.pid) as servers:
                processes = [self.w.up("--only", "lanes", "--instance", f"lane-{i}", ready=False,
                                       log=self.w.directory / f"lane-{i}.log") for i in range(replicas)]
                wait_for("the owners", lambda: ask(OWNERS) == replicas, 60, 0.05)
                births = sum(sum(measure.by_name(p.pid).values()) for p in processes)
                wait_for("a commit of each", lambda: ask(AT_WORK) == replicas, 120, 0.02)
                began, done = time.monotonic(), ask(POSITIONS, f"{self.topic}/%")
                wait_for("the last commit", lambda: ask(POSITIONS, f"{self.topic}/%") >= self.events, 600, 0.1)
                wall = time.monotonic() - began
                cpu = {}
                for p in processes:
                    for name, seconds in measure.by_name(p.pid).items():
                        cpu[name] = cpu.get(name, 0) + seconds
            batches = ask(BATCHES)
        for p in processes:
            self.w.stop(p)
        return {"cpu": cpu, "births": births, **servers.seconds, "batches": int(batches),
                "per_second": float(self.events - done) / wall}


def _median(runs, of):
    return statistics.median(map(of, runs))


def _rounds(backlog):
    """{replicas: runs}: in turn, so that a slow minute of the machine falls on all."""
    runs = {n: [] for n in REPLICAS}
    for _ in range(ROUNDS):
        for n in REPLICAS:
            runs[n].append(backlog.run(n))
    return runs


def _bar(what, ratio, bar, met):
    print(f"   {what}: {ratio:.2f}, bar {bar}: {'met' if met else 'MISSED'}")


def cost(bench):
    sources = "".join(source(s, bench.kafka, t, AMOUNT if s == "application" else "") for s, t in bench.topics.items())
    events = sum(bench.kafka.count(t) for t in bench.topics.values())
    backlog = Backlog(bench, "scale", events, PEERS_FOLDS + sources + PEERS_TABLES)
    unit = 1e6 / events
    print(f"\n== scale: {events:,} events through an exchange, nothing sealed; medians of {ROUNDS} runs, µs/event")
    print(f"   into the exchange by one ingest: Weir {backlog.filled['Weir'] * unit:.2f}, broker"
          f" {backlog.filled['broker'] * unit:.2f}; {backlog.disk_bytes / events:.0f} bytes an event on the broker's disk")
    roles = ("relay", "correlate", "transform", "load", "task", "status", "supervisor", "ended")
    print(f"   {'replicas':<9}" + "".join(f"{r:>11}" for r in roles) + f"{'PostgreSQL':>12}{'broker':>8}{'births':>8}"
          f"{'both':>7}{'batches':>9}{'events/s':>11}")
    runs, both = _rounds(backlog), {}
    for n in REPLICAS:
        both[n] = _median(runs[n], lambda r: sum(r["cpu"].values()) + r["PostgreSQL"]) * unit
        print(f"   {n:<9}" + "".join(f"{_median(runs[n], lambda r: r['cpu'].get(x, 0)) * unit:>11.3f}" for x in roles)
              + f"{_median(runs[n], lambda r: r['PostgreSQL']) * unit:>12.3f}{_median(runs[n], lambda r: r['broker']) * unit:>8.2f}"
              f"{_median(runs[n], lambda r: r['births']) * unit:>8.3f}{both[n]:>7.2f}"
              f"{_median(runs[n], lambda r: r['batches']):>9.0f}{_median(runs[n], lambda r: r['per_second']):>11,.0f}")
    ratio = both[REPLICAS[-1]] / both[1]
    _bar(f"Weir (births too) and PostgreSQL, {REPLICAS[-1]} replicas to 1", ratio, COST_BAR, ratio <= COST_BAR)
    bench.report["scale"] = {"events": events, "us_per_event": {n: round(v, 3) for n, v in both.items()},
                             "ratio": round(ratio, 3), "bar": COST_BAR,
                             "exchange_bytes": round(backlog.disk_bytes / events, 1),
                             "into_us": {k: round(v * unit, 3) for k, v in backlog.filled.items()}}


def slow(bench, topic):
    events = bench.kafka.count(topic)
    text = source("event", bench.kafka, topic, AMOUNT, "{ type: timestamp, form: unix_s }")
    backlog = Backlog(bench, "slow", events, LIVE + text + LIVE_TABLES, SLOW_COMMIT)
    print(f"\n== scale, slow warehouse: {events:,} events, batches of 10,000 rows, each commit waits {COMMIT_SECONDS} s;"
          f" medians of {ROUNDS} runs")
    print(f"   {'replicas':<9}{'batches':>9}{'events/s':>11}{'to 1':>7}")
    runs, speed = _rounds(backlog), {}
    for n in REPLICAS:
        speed[n] = _median(runs[n], lambda r: r["per_second"])
        print(f"   {n:<9}{_median(runs[n], lambda r: r['batches']):>9.0f}{speed[n]:>11,.0f}{speed[n] / speed[1]:>7.2f}")
    ratio = speed[REPLICAS[-1]] / speed[1]
    _bar(f"throughput, {REPLICAS[-1]} replicas to 1", ratio, SPEED_BAR, ratio >= SPEED_BAR)
    bench.report["slow"] = {"events": events, "events_per_second": {n: round(v) for n, v in speed.items()},
                            "ratio": round(ratio, 3), "bar": SPEED_BAR}
