"""Who cannot read: values that go in as sensitive are looked for in everything that leaves ingest, is stored, is shown
or lies in the memory of another process, in every dress they may wear. Beside each search stands one that must find
something, so that a search which sees nothing is noticed."""

import json
import os
import pathlib
import re
import resource
import signal
import subprocess

import pytest

import sealing
from ports import wait_for
from postgres_server import PROGRAMS
from sealing import Needles, SealedWeir, application, call, memory, number_forms, write
from weir import ASAN, BIN, SLOW, descendants

pytestmark = pytest.mark.skipif(ASAN, reason="sanitizers shadow all memory, and do not work while traced")

CPF, INCOME, NAME = "52998224725", "835719204658.37", "Quimera Tuyuca Ofélia"
REMARK, HOBBY, BIRTH_NOTE = "canário amarelo de 1973", "zanzibar-philately", "nasceu-em-Cachoeiro"
DOTTED = "529.982.247-25"
VISIBLE = "zebra-channel-in-clear"

CANARIES = Needles(cpf=CPF, dotted=DOTTED, income=INCOME, units=number_forms(INCOME.replace(".", "")), name=NAME,
                   ascii_name=NAME[:14], remark=REMARK, hobby=HOBBY, note=BIRTH_NOTE)
SEEN = Needles(channel=VISIBLE)
TRACED = "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,process_vm_writev"


def events(first, n):
    for i in range(first, first + n):
        yield application(i, cpf=(CPF, DOTTED)[i % 2], income=float(INCOME), customer={"name": NAME}, amount=float(INCOME),
                          notes={"birth": BIRTH_NOTE}, channel=VISIBLE, hobby=HOBBY)


def broken():
    good = json.dumps(next(events(400, 1)), ensure_ascii=False)
    yield good[:-20]
    yield good.replace('"seq": 1', '"seq": "%s"' % NAME)
    yield good.replace('"at": "', '"at": "%s' % CPF)
    yield '{"cpf": "%s", "cpf": "%s"}' % (CPF, CPF)
    yield "%s %s %s" % (CPF, NAME, INCOME)


class Traced:
    """A supervisor whose writes, and those of every worker, are recorded from the first instruction on."""

    def __init__(self, w):
        self.w, self.file = w, w.directory / "trace"
        out = open(w.log, "ab")
        self.process = subprocess.Popen(
            ["strace", "-D", "-f", "-qq", "-xx", "-s", "16777216", "-e", f"trace={TRACED}", "-e", "signal=none",
             "-o", self.file, BIN / "weir", "up", w.file], cwd=w.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env={**w.env, "XDG_RUNTIME_DIR": str(w.run_dir)},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2))
        out.close()
        self.process.log_from = (w.log, 0)
        w.supervisors.append(self.process)
        w.wait_ready(self.process, 60)

    def streams(self):
        """{(pid, descriptor): all bytes written}, in order."""
        found = {}
        with open(self.file, "rb") as f:
            for line in f:
                head = re.match(rb"(\d+)\s+\w+\((\d+)", line)
                if head:
                    data = b"".join(bytes.fromhex(x.replace(rb"\x", b"").decode()) for x in re.findall(rb'"((?:\\x[0-9a-f]{2})+)"', line))
                    found.setdefault(head.groups(), bytearray()).extend(data)
        return found


@pytest.fixture(scope="module")
def scene(world, postgres, rabbit):
    directory = world / "canary"
    queue = rabbit.create_queue("canary")
    postgres.sql("SELECT pg_switch_wal()")
    lsn = postgres.sql("SELECT pg_current_wal_lsn()").strip()
    w = SealedWeir(directory, sealing.pipeline(
        "canary", key_window="2s", limits={"dead_letter_limit": "100%"},
        sources={"application": sealing.FILE.format(name="application", follow=", follow: true"),
                 "call": f"rabbitmq: {{ url: env:WEIR_AMQP, queue: {queue}, identity: message-id }}"}),
        postgres, "canary", {"WEIR_AMQP": rabbit.url()})
    w.lsn, w.queue, w.rabbit = lsn, queue, rabbit
    try:
        w.set_up()
        w.traced = Traced(w)
        feed(w, 100)
        yield w
    finally:
        w.teardown()


def count(w, what):
    with w.superuser() as c:
        return c.execute(f"SELECT count(*) FROM {what}").fetchone()[0]


def feed(w, first, n=25):
    """Events and broken events over both transports, and waits for them."""
    tables = ("development_schema.raw_application", "development_schema.raw_call", "admin_schema.dead_letter")
    before = [count(w, t) for t in tables]
    bad = [b.replace('"L004', f'"L{first}') for b in broken()]
    write(w.data / f"application-{first}.ndjson", [*events(first, n), *bad])
    calls = [json.dumps(call(i, cpf=CPF, remark=REMARK), ensure_ascii=False).encode() for i in range(first, first + n)]
    w.rabbit.publish(w.queue, [*calls, *(f"{first} {x}".encode() for x in bad)], message_id=lambda i, body: f"{first}-{i}")
    want = [before[0] + n, before[1] + n, before[2] + 2 * len(bad)]
    wait_for(f"{want} rows", lambda: [count(w, t) for t in tables] == want, 60 * SLOW)


def processes(w):
    """{pid: role} of the supervisor and its workers."""
    return {w.traced.process.pid: "supervisor", **descendants(w.traced.process.pid)}


def roles(w):
    found = {}
    for pid, name in processes(w).items():
        found.setdefault(name, []).append(pid)
    return found


def test_memory_of_every_other_process(scene):
    """Not ingest, which reads plaintext; not science, of which there is none here."""
    seen = set()
    for role, pids in roles(scene).items():
        for pid in pids:
            for piece in memory(pid):
                if SEEN.found(piece):
                    seen.add(role)
                assert role == "ingest" or not CANARIES.found(piece), f"{role} (pid {pid}): {CANARIES.found(piece)}"
    assert {"ingest", "transform"} <= seen, "the search does not see what is in clear"


def test_keys_are_wiped_after_their_window(scene):
    """Every data key that the role can unwrap, looked for in every process: in ingest only, and only a current one. And
    the secret of a person who was seen in an earlier window only."""
    write(scene.data / "application-once.ndjson", [application(99, channel="once", customer={"name": "Once"})])
    wait_for("the one", lambda: count(scene, "development_schema.raw_application WHERE channel = 'once'"), 30 * SLOW)
    with scene.superuser() as c:
        secret, = c.execute("SELECT secret FROM key_schema.subject JOIN development_schema.raw_application USING (sid)"
                            " WHERE channel = 'once'").fetchone()
    old = {**scene.data_keys(), b"the person's": bytes(secret)}
    feed(scene, 200)
    wait_for("windows after those", lambda: len(scene.data_keys().keys() - old.keys()) >= 3 * 3, 60 * SLOW, 0.2)
    feed(scene, 300)
    now = scene.data_keys()
    current = {k: v for k, v in now.items() if k not in old}
    held = {}
    for role, pids in roles(scene).items():
        for pid in pids:
            everything = b"\0".join(memory(pid))
            left = [k for k, v in old.items() if v in everything]
            assert not left, f"{role}: keys of windows that have ended: {left}"
            held[role] = sum(v in everything for v in {**current, **scene.data_keys()}.values())
    assert held.pop("ingest") >= 1, "the search does not see a key that is in use"
    assert not any(held.values()), held


def test_secret_keys_are_in_no_service(scene):
    """The role's key and the member's are with people; a token key with ingest alone, the sealer's with the keeper."""
    me = sealing.weir_reader.load_key(scene.member_key, sealing.PASSPHRASE)
    service = {p.name: sealing.weir_reader.load_key(p)._secret for p in scene.keys.glob("token-*.key")}
    service["sealer"] = sealing.weir_reader.load_key(scene.keys / "sealer.key")._secret
    holds = {}
    for role, pids in roles(scene).items():
        for pid in pids:
            everything = b"\0".join(memory(pid))
            assert scene.role_key()._secret not in everything and me._secret not in everything, role
            holds[role] = {name for name, secret in service.items() if secret in everything}
    assert {r for r, names in holds.items() if any(n.startswith("token") for n in names)} == {"ingest"}, holds
    assert {r for r, names in holds.items() if "sealer" in names} == {"keeper"}, holds


def test_arguments_and_environment(scene):
    secrets = Needles(passphrase=sealing.PASSPHRASE, role=scene.role_key()._secret,
                      **{p.stem.replace("-", "_"): sealing.weir_reader.load_key(p)._secret for p in scene.keys.glob("token-*.key")})
    for pid, name in processes(scene).items():
        for what in ("environ", "cmdline"):
            data = pathlib.Path(f"/proc/{pid}/{what}").read_bytes()
            assert not CANARIES.found(data) + secrets.found(data), f"{name} {what}"
    assert b"WEIR_DSN" in pathlib.Path(f"/proc/{scene.traced.process.pid}/environ").read_bytes()


def test_status_metrics_and_commands(scene):
    shown = [scene.traced.w.get(scene.traced.process, path)[1] for path in ("/status", "/metrics", "/readyz", "/livez")]
    assert "application" in shown[0] and "weir_" in shown[1]
    for words in (["status", scene.file], ["dead", "list", scene.file], ["plan", scene.file], ["check", scene.file]):
        done = scene.command(*words, codes=None)
        shown.append(done.stdout + done.stderr)
    shown.append(scene.keys_command("verify", yes=False, codes=None).stdout)
    for text in shown:
        assert not CANARIES.found(text.encode()), text[:200]


def test_no_process_leaves_a_core(scene):
    """A crash of each role: no core file, though the supervisor was started with no limit."""
    for role, pids in sorted(roles(scene).items()):
        if role == "supervisor":
            continue  # sees no record and reads no key; that its memory has neither is tested above
        limits = pathlib.Path(f"/proc/{pids[0]}/limits").read_text()
        assert re.search(r"Max core file size\s+0\s+0\s", limits), f"{role}: {limits}"
    scene.killed = True
    for role in ("ingest", "keeper", "correlate", "transform", "load", "task", "status"):
        before = roles(scene).get(role, [])
        for pid in before:
            os.kill(pid, signal.SIGSEGV)
        wait_for(f"another {role}", lambda: set(roles(scene).get(role, [])) - set(before), 30 * SLOW)
        scene.wait_ready(scene.traced.process, 60)
    left = [p for d in (scene.directory, pathlib.Path("/")) for p in d.glob("core*") if p.is_file()]
    assert not left


# ---- what is stored; the pipeline is stopped for it ----
@pytest.fixture(scope="module")
def stopped(scene):
    if scene.traced.process.poll() is None:
        scene.stop(scene.traced.process)
    return scene


def test_every_byte_that_any_process_wrote(stopped):
    """Frames of all pipes, the database's sockets, control channels, logs: whatever passed a write. Only what ingest
    answers to its broker is not ours to keep, and it holds nothing either."""
    streams = stopped.traced.streams()
    assert sum(map(len, streams.values())) > 100_000
    assert sum(bool(SEEN.found(data)) for data in streams.values()) >= 4, "frames are not seen"
    kids = list(stopped.data_keys())
    assert any(kid in data for data in streams.values() for kid in kids), "sealed values are not seen"
    for (pid, fd), data in streams.items():
        assert not CANARIES.found(data), f"pid {pid.decode()} descriptor {fd.decode()}: {CANARIES.found(data)}"


def test_every_table(stopped):
    seen = 0
    with stopped.superuser() as c:
        c.execute("ANALYZE")  # statistics are samples of values
        tables = [x for x, in c.execute(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE relkind IN ('r', 'm') AND n.nspname NOT IN ('information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'").fetchall()]
        for table in tables:
            for how in ("text", "csv") if table.startswith("pg_catalog") else ("text", "csv", "binary"):
                with c.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT (FORMAT {how})") as copy:
                    data = b"".join(bytes(x) for x in copy)
                seen += bool(SEEN.found(data))
                assert not CANARIES.found(data), f"{table} as {how}: {CANARIES.found(data)}"
                if how == "text":  # bytea is hexadecimal in it
                    unhexed = b"".join(bytes.fromhex(x.decode()) for x in re.findall(rb"\\\\x((?:[0-9a-f]{2})+)", data))
                    assert not CANARIES.found(unhexed), table
    assert seen >= 6


def test_a_dump(stopped):
    dump = subprocess.run([PROGRAMS / "pg_dump", "-d", stopped.server.superuser_dsn(stopped.database)], capture_output=True,
                          check=True).stdout
    assert SEEN.found(dump) and not CANARIES.found(dump)


def test_the_servers_files(stopped):
    """Heap, indexes, TOAST and the log of all changes, as bytes on disk."""
    server = stopped.server
    server.sql("CHECKPOINT")
    oid = server.sql(f"SELECT oid FROM pg_database WHERE datname = '{stopped.database}'").strip()
    first = server.sql(f"SELECT pg_walfile_name('{stopped.lsn}')").strip()
    files = list((server.data / "base" / oid).iterdir())
    files += [p for p in (server.data / "pg_wal").iterdir() if p.is_file() and p.name >= first]
    files += [server.directory / "log"]
    seen = 0
    for path in files:
        data = path.read_bytes()
        seen += bool(SEEN.found(data))
        assert not CANARIES.found(data), f"{path}: {CANARIES.found(data)}"
    assert seen >= 2


def test_logs_and_every_file_of_the_pipeline(stopped):
    for path in stopped.directory.rglob("*"):
        if path.is_file() and stopped.data not in path.parents and path != stopped.traced.file:
            assert not CANARIES.found(path.read_bytes()), f"{path}: {CANARIES.found(path.read_bytes())}"
    assert CANARIES.found((stopped.data / "application-100.ndjson").read_bytes())
    assert stopped.log.stat().st_size > 1000


def test_all_of_it_opens(stopped):
    """What was looked for in vain is there, for who may open it."""
    with stopped.reader() as reader:
        rows = list(reader.rows("SELECT cpf, name, income, notes FROM development_schema.raw_application", purpose="test of canaries"))
        calls = list(reader.rows("SELECT cpf, remark FROM development_schema.raw_call", purpose="test of canaries"))
    assert (len(rows), len(calls)) == (76, 75)
    assert {(r["name"], str(r["income"]), r["notes"].text) for r in rows if r["name"] != "Once"} == {(NAME, INCOME, '{"birth": "%s"}' % BIRTH_NOTE)}
    assert {c["remark"] for c in calls} == {REMARK} and {r["cpf"] for r in rows} == {CPF, DOTTED, sealing.cpf_of(99)}
