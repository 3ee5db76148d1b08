"""Status: alone under its supervisor, of others beside it, and what the words it serves are worth."""

import contextlib
import json
import os
import signal
import socket
import threading
import time

import psycopg
import pytest

import loans
from ports import free_ports, wait_for
from weir import SLOW, Weir, descendants

PIPELINE = """
pipeline: {name}
listen: 127.0.0.1:{port}
correlate: {{ by: id, folds: {{ x: {{ first: thing.x }} }} }}
sources:
  thing:
    file: {{ path: "data/thing*.ndjson" }}
    format: json
    time: at
    fields: {{ id: text, x: text, at: timestamp }}
warehouse:
  postgresql: {{ dsn: "postgresql://nobody@127.0.0.1:1/nothing", logins: logins }}
tables:
  fact_thing: {{ kind: fact, grain: process, key: id, columns: {{ x: x }} }}
"""


def pipeline(port=0, peers=(), name="watched"):
    text = PIPELINE.format(name=name, port=port)
    return text + "peers:\n" + "".join(f"  - {p}\n" for p in peers) if peers else text


@pytest.fixture
def make(directory):
    """Supervisors of no database at all: status needs none."""
    made = []

    def one(text, name):
        made.append(Weir(directory / name, text, "postgresql://nobody@127.0.0.1:1/nothing"))
        return made[-1]

    yield one
    for w in made:
        w.teardown()


def by_url(status, url):
    return [p for p in status["peers"] if p["url"] == url]


def peers_when(w, process, condition, timeout=20):
    """/status as soon as the condition holds of it."""
    def look():
        status = w.status(process)
        return status if status and condition(status) else None
    return wait_for("the peers' answers", look, timeout * SLOW, 0.2)


# ---- peers that are what they say ----

def test_status_alone_needs_nothing_and_shows_the_others(make):
    first, second, own = free_ports(3)
    others = [f"http://127.0.0.1:{first}", f"http://127.0.0.1:{second}"]
    a = make(pipeline(first, others), "a")
    b = make(pipeline(second), "b")
    w = make(pipeline(own, [*others, f"http://localhost:{first}", "http://nowhere.invalid:80"]), "w")
    pa, pb = a.up("--only", "null", "--instance", "one"), b.up("--only", "null", "--instance", "two")
    process = w.up("--only", "status", "--instance", "watcher")
    status = peers_when(w, process, lambda s: s["peers_sum"]["up"] == 2 and len(s["peers"]) == 4)
    assert status["roles"] == status["only"] == ["status"] and status["ready"]
    one, two = by_url(status, others[0])[0], by_url(status, others[1])[0]
    assert (one["instance"], one["only"], one["ready"], one["up"]) == ("one", ["status", "null"], True, True)
    assert two["instance"] == "two" and two["address"] == f"127.0.0.1:{second}"
    assert 0 <= one["answer_age_seconds"] < 60 and one["separation"] == a.status(pa)["separation"]
    # The same one under another name counts once; a name that does not resolve says so.
    assert by_url(status, f"http://localhost:{first}")[0]["up"]
    nowhere = by_url(status, "http://nowhere.invalid:80")[0]
    assert not nowhere["up"] and nowhere["address"] is None and "does not resolve" in nowhere["why"]
    assert status["peers_sum"]["ready"] == 2 and status["peers_sum"]["names"] == 4
    # Who bears more than status asks nobody.
    assert "peers" not in a.status(pa)
    code, text = w.get(process, "/metrics")
    assert code == 200 and "\nweir_peers 4\n" in text and "\nweir_peers_ready 2\n" in text
    assert f'\nweir_peer_up{{peer="{others[0]}",address="127.0.0.1:{first}"}} 1\n' in text
    assert '\nweir_peer_up{peer="http://nowhere.invalid:80",address=""} 0\n' in text
    shown = w.command("status", "--url", w.url(process)).stdout
    assert "2 answer at 4 addresses, 2 ready" in shown and "NO ANSWER" in shown and "null" in shown, shown
    # A peer's end is seen; its own status is asked without any file at hand.
    assert "bears status" in a.command("status", "--url", f"http://127.0.0.1:{first}").stdout
    b.stop(pb)
    status = peers_when(w, process, lambda s: not by_url(s, others[1])[0]["up"])
    gone = by_url(status, others[1])[0]
    assert gone["why"] and gone["answer_age_seconds"] > 0 and status["ready"]
    w.stop(process, timeout=10)
    assert w.command("status", "--url", f"http://127.0.0.1:{own}", codes=(69,)).stderr.count("Next:") == 1


# ---- peers that are not ----

class Liar:
    """A server of one answer: chunks that are sent one after another; `slow` seconds between them."""

    def __init__(self, chunks, slow=0.0):
        self.chunks, self.slow, self.asked = chunks, slow, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def accept(self):
        while not self.over.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.asked += 1
            self.threads.append(threading.Thread(target=self.answer, args=(connection,), daemon=True))
            self.threads[-1].start()

    def answer(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            for chunk in self.chunks():
                if self.over.wait(self.slow) if self.slow else self.over.is_set():
                    return
                connection.sendall(chunk)

    def close(self):
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for t in self.threads:
            t.join(10)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def whole(body, head=HEAD):
    return lambda: [head + b"Content-Length: %d\r\n\r\n" % len(body) + body]


def endless(first, again):
    def chunks():
        yield first
        while True:
            yield again
    return chunks


def status_of(**more):
    return json.dumps({"pipeline": "watched", "instance": "liar", "ready": True, "only": None, "roles": [], "unready": [],
                       "separation": "uid", "oldest_uncommitted_seconds": 0.0, **more}).encode()


CONTROL = status_of(instance="a\x1b[2J\x07\u202e" + "x" * 5000, separation="\x1b]0;title\x07",
                    only=["\x1b[31m", "no_such_role"], roles=["\x1b", 7, None, {}],
                    oldest_uncommitted_seconds=1e300, ready="yes", generation=-5,
                    unready=[{"dependency": "\r\nSet", "why": "\x7f\x9b" + "y" * 3000}] * 50,
                    sources=[{"events": 2**62, "committed": -1, "dead": "many"}] * 60)
LIES = {
    "endless": (endless(HEAD + b"\r\n", b" " * 65536), 0, "more than 262144 bytes"),
    "announced": (whole(b"{" + b" " * 300000 + b"}"), 0, "more than 262144 bytes"),
    "endless head": (endless(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 8000 + b"\r\n"), 0, ""),
    "slow": (endless(HEAD + b"Content-Length: 1000\r\n\r\n", b" "), 0.5, "within 4000 ms"),
    "silent": (endless(b"", b""), 0.5, "within 4000 ms"),
    "deep": (whole(b'{"pipeline": "watched", "x": ' + b"[" * 100000), 0, "nested too deeply"),
    "text": (whole(b"hello\n"), 0, "not JSON"),
    "half": (whole(status_of()[:-10]), 0, "not JSON"),
    "nul": (whole(status_of(instance="a\x00b")), 0, "not JSON"),
    "list": (whole(b"[1, 2]"), 0, "no status of Weir"),
    "other": (whole(status_of(pipeline="another")), 0, "another pipeline: another"),
    "error": (whole(b"no", b"HTTP/1.1 500 Oh\r\n"), 0, "answers 500"),
    "redirect": (whole(b"", b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n"), 0, "answers 302"),
    "no HTTP": (lambda: [b"220 ready\r\n" * 10], 0, ""),
    "nothing": (lambda: [], 0, ""),
    "control": (whole(CONTROL), 0, None),
}


def test_no_answer_of_a_peer_harms(make):
    liars = {name: Liar(chunks, slow) for name, (chunks, slow, _) in LIES.items()}
    try:
        w = make(pipeline(0, [x.url for x in liars.values()]), "w")
        process = w.up("--only", "status")
        pid = w.workers(process, "status")
        slowest = 0.0

        def asked():
            nonlocal slowest
            began = time.monotonic()
            status = w.status(process)
            slowest = max(slowest, time.monotonic() - began)
            twice = all(x.asked >= 2 for x in liars.values())
            return status if twice and len(status["peers"]) == len(liars) else None

        status = wait_for("two rounds", asked, 60 * SLOW, 0.1)
        assert slowest < 2 * SLOW, f"a request waited {slowest:.1f} s"
        for name, (_, _, why) in LIES.items():
            peer = by_url(status, liars[name].url)[0]
            assert peer["up"] == (why is None), (name, peer)
            assert why is None or peer["why"] and why in peer["why"], (name, peer)
        said = by_url(status, liars["control"].url)[0]
        assert said["instance"].startswith("a?[2J?") and len(said["instance"]) == 63 and said["instance"].isascii()
        assert said["separation"] == "?]0;title?" and said["roles"] == [] and not said["ready"]
        assert said["oldest_uncommitted_seconds"] == 1e12 and said["generation"] == 0
        assert said["events"] == 2**53 - 1 and said["committed"] == 0 and said["dead"] == 0
        assert len(said["reasons"]) == 4 and said["reasons"][0]["dependency"] == "??Set"
        assert all(ch.isprintable() or ch == "\n" for ch in w.get(process, "/status")[1])
        shown = w.command("status", "--url", w.url(process)).stdout
        assert "\x1b" not in shown and "\r" not in shown
        assert w.workers(process, "status") == pid and status["ready"] and status["workers"][0]["deaths"] == []
        with open(f"/proc/{pid[0]}/status") as f:
            rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
        assert rss < 100 * 1024 * SLOW, f"{rss} KiB"
        # An end waits for none of them either.
        began = time.monotonic()
        w.stop(process)
        assert time.monotonic() - began < 3 * SLOW and "SIGKILL" not in w.log_tail()
    finally:
        for x in liars.values():
            x.close()


@pytest.mark.parametrize("peers, says", [
    (["https://a:1"], "must be http://HOST:PORT"), (["http://a"], "must be http://HOST:PORT"),
    (["http://a:1/x"], "must be http://HOST:PORT"), (["http://a b:1"], "must be http://HOST:PORT"),
    (["http://user@a:1"], "must be http://HOST:PORT"), (["http://a:70000"], "must be http://HOST:PORT"),
    (["http://a:1", "http://a:1/"], "twice"), ([f"http://a:{n}" for n in range(1, 18)], "at most 16"),
])
def test_peers_that_are_none_are_refused(make, peers, says):
    w = make(pipeline(0, peers), "w")
    assert says in w.command("validate", w.file, codes=(78,)).stderr


# ---- liveness ----

def test_a_hung_supervisor_is_not_alive(make):
    w = make(pipeline(0), "w")
    process = w.up("--only", "status")
    [status] = w.workers(process, "status")
    [supervisor] = [pid for pid, name in descendants().items() if name == "supervisor"]
    assert w.get(process, "/livez") == (200, "alive\n")
    os.kill(supervisor, signal.SIGSTOP)
    try:
        began = time.monotonic()
        wait_for("503", lambda: w.get(process, "/livez")[0] == 503, 30 * SLOW, 0.2)
        assert time.monotonic() - began > 10, "a supervisor may be slow"
        assert "hangs" in w.get(process, "/livez")[1]
    finally:
        os.kill(supervisor, signal.SIGCONT)
    wait_for("200", lambda: w.get(process, "/livez")[0] == 200, 10 * SLOW, 0.1)
    assert w.workers(process, "status") == [status], "it was not born again for that"
    w.stop(process)


AGE_S, EACH = 3, 8  # workers/status/http.h


def half_open(own, port):
    s = socket.socket()
    s.bind((own, 0))
    s.settimeout(10 * SLOW)
    s.connect(("127.0.0.1", port))
    s.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n")
    s.setblocking(False)
    return s


def ended(s):
    """Whether the server closed it; another header line, if not."""
    try:
        s.sendall(b"X-More: 1\r\n")
        return s.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("own", [["127.0.0.1"], [f"127.0.0.{n}" for n in range(1, 17)]], ids=["one address", "many"])
def test_requests_that_never_end_keep_no_probe_out(make, own):
    [port] = free_ports(1)
    w = make(pipeline(port), "w")
    process = w.up("--only", "status")
    slow = []
    try:
        slow = [half_open(own[n % len(own)], port) for n in range(96)]
        assert w.get(process, "/livez") == (200, "alive\n")
        # Each address keeps its newest, and they end however busy they are.
        newest, began, probes = slow[-min(len(own) * EACH, 32):], time.monotonic(), 0
        while not all([ended(s) for s in newest]):
            assert time.monotonic() - began < 2 * AGE_S * SLOW, "they live on"
            assert w.get(process, "/livez")[0] == 200
            probes += 1
            time.sleep(0.2)
        assert probes and all(ended(s) for s in slow)
        assert w.get(process, "/livez")[0] == w.get(process, "/metrics")[0] == 200
    finally:
        for s in slow:
            s.close()
    w.stop(process)


# ---- the end ----

def test_readiness_ends_with_the_request_to_stop_and_work_after_it(make_weir, database, connection, twin):
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    w.apply()
    process = w.up()
    with psycopg.connect(database) as blocker:
        blocker.execute("lock table analytical_schema.fact_loan in exclusive mode")
        for stream, events in twin.items():
            loans.write(w.data / f"{stream}.ndjson", events)
        wait_for("a load that waits", lambda: connection.execute(
            "select count(*) from pg_locks where not granted and relation = 'analytical_schema.fact_loan'::regclass"
        ).fetchone()[0], 60 * SLOW)
        assert w.get(process, "/readyz")[0] == 200, "work under way is no reason"
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        code, body = wait_for("503", lambda: (r := w.get(process, "/readyz"))[0] == 503 and r, 5 * SLOW, 0.02)
        took = time.monotonic() - began
        assert [u["dependency"] for u in json.loads(body)["unready"]][0] == "drain" and took < 1 * SLOW, took
        status = w.status(process)
        assert status["draining"] and not status["ready"] and process.poll() is None
        assert w.get(process, "/livez")[0] == 200
        shown = w.command("status", "--url", w.url(process), codes=(75,)).stdout
        assert "DRAINING" in shown and "Next: wait for its end" in shown
        blocker.rollback()
    assert process.wait(30 * SLOW) == 0
    committed = connection.execute("select sum(events) from analytical_schema.fact_loan").fetchone()[0]
    assert committed > 0, "what was under way is committed"
