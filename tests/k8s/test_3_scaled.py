"""The scaled overlay with real pods, in this order: each test sends a share of the loans, and leaves all of it committed."""

import concurrent.futures
import datetime
import json
import os
import pathlib
import signal
import time

import psycopg
import pytest

from box import NODE
from cluster import KUBELET
from load import Load
from pods import STATUS_PORT
from ports import wait_for
from servers import KAFKA_PORT, POSTGRES_PORT, RABBIT_PORT
from weir import BAD_LINES

COMPONENTS = ("ingest", "lanes", "science", "status")
DEAD_SECONDS = 15
GRACE_SECONDS = 45


@pytest.fixture
def said(capsys):
    def say(text):
        with capsys.disabled():
            print(f"\nk8s: {text}", flush=True)
    return say


@pytest.fixture
def pods(scaled):
    """Of the overlay, all of them ready but science, which hangs for a while."""
    for component in ("ingest", "lanes", "status"):
        scaled.pods.wait_ready(component, len(scaled.pods.of(component)) or 1)
    return scaled.pods


@pytest.fixture
def no_autoscaler(scaled):
    """Nobody but the test says how many there are."""
    scaled.pods.kubectl("delete", "hpa", "weir-lanes", "--ignore-not-found")


def load(scaled, share, seconds):
    return Load(scaled.sources, scaled.w.dsn, share, seconds)


def settle(scaled, seconds=120):
    """Until all that was sent is committed and acknowledged; then it is checked."""
    def all_here():
        return scaled.events() >= scaled.sources.count()
    try:
        wait_for("every event", all_here, seconds, 0.3)
    except TimeoutError:
        pytest.fail(f"{scaled.events()} of {scaled.sources.count()} events arrived\n{scaled.pods.story()}")
    wait_for("every acknowledgement", lambda: scaled.sources.rabbit.count(scaled.sources.queue) == 0, 60, 0.3)
    scaled.check_answer(scaled.sources.sent_streams())


def some(scaled, more):
    """Waits for so many more events than there were at the call."""
    wanted = scaled.events() + more
    wait_for("some events", lambda: scaled.events() >= wanted, 60, 0.1)


# ---- it works ----
def test_loans_arrive(scaled, pods):
    scaled.sources.post(0.1)
    settle(scaled)


def test_one_page_shows_all(scaled, pods):
    name, = pods.of("status")
    text = pods.exec(name, "/usr/bin/weir", "status").stdout
    for pod in ("weir-ingest-0", "weir-lanes-0", "weir-science-0"):
        assert pod in text, text
    for component in COMPONENTS:
        for pod in pods.of(component).values():
            status = json.loads(pods.http(pod, "/status")[1])
            assert status["separation"] in ("pods", "landlock"), status["separation"]


# ---- who has what ----
def files(root):
    """Every regular file of a pod that is not the kernel's."""
    for directory, names, found in os.walk(root):
        if pathlib.Path(directory) == pathlib.Path(root):
            names[:] = [n for n in names if n not in ("proc", "sys", "dev")]
        for name in found:
            path = pathlib.Path(directory) / name
            if not path.is_symlink() and path.is_file():
                yield path


def holders(pods, secret):
    """{component: files of its pods that have these bytes}"""
    found = {}
    for component in COMPONENTS:
        for pod in pods.of(component).values():
            root = pods.root(pod)
            found[component] = [str(f.relative_to(root)) for f in files(root) if secret in f.read_bytes()]
    return found


def test_the_role_key_is_in_science_only(scaled, pods):
    key, = scaled.w.keys.glob("role-*.key")
    found = holders(pods, key.read_bytes())
    assert found["science"] and not any(found[c] for c in COMPONENTS if c != "science"), found
    owner = holders(pods, (scaled.home / "owner/dsn").read_bytes())
    assert not any(owner.values()), owner


def test_no_pod_has_a_token_or_may_ask_for_secrets(scaled, pods):
    for component in COMPONENTS:
        for pod in pods.of(component).values():
            assert pod["spec"]["automountServiceAccountToken"] is False
            assert not any("serviceAccountToken" in str(v) for v in pod["spec"]["volumes"])
            assert not (pods.root(pod) / "var/run/secrets").exists()
            account = pod["spec"]["serviceAccountName"]
            done = pods.kubectl("get", "secret", "weir-keys-science", check=False,
                                *[f"--as=system:serviceaccount:{scaled.namespace}:{account}"])
            assert done.returncode != 0 and "forbidden" in done.stderr


# ---- the network ----
def test_only_named_flows_are_open(scaled, pods):
    at = {c: next(iter(pods.of(c).values())) for c in COMPONENTS}
    address = {c: pods.address(p) for c, p in at.items()}
    open_to = {"ingest": {POSTGRES_PORT, RABBIT_PORT, KAFKA_PORT}, "lanes": {POSTGRES_PORT, KAFKA_PORT},
               "science": {POSTGRES_PORT}, "status": set()}
    expected = {(c, NODE, port): "open" if port in allowed else "silence"
                # The last one is the kubelet's, which listens at the same address.
                for c, allowed in open_to.items() for port in (POSTGRES_PORT, RABBIT_PORT, KAFKA_PORT, KUBELET)}
    expected |= {(a, address[b], STATUS_PORT): "open" if a == "status" else "silence"
                 for a in COMPONENTS for b in COMPONENTS if a != b}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = dict(zip(expected, pool.map(lambda way: pods.connect(at[way[0]], *way[1:]), expected)))
    assert found == expected, {way: told for way, told in found.items() if told != expected[way]}


# ---- hand-overs ----
def test_science_makes_a_hand_over(scaled, pods, handoffs):
    """A member's key opens it outside of the cluster, nobody else's does, and no other pod can make one."""
    w = scaled.w
    w.sign()  # now that there are tables, the policy lists the columns of the query
    scaled.apply_secrets()
    pods.kubectl("delete", "pod", "weir-science-0")
    pods.wait_ready("science", 1)
    made = set(handoffs.iterdir())
    told = json.loads(pods.exec("weir-science-0", "/usr/bin/weir", "handoff", "run", "scoring").stdout.splitlines()[-1])
    path, = set(handoffs.iterdir()) - made
    assert told["exit"] == 0 and told["result"]["file"] == path.name
    rows = [json.loads(line) for line in w.command(
        "open", "file", path, "--member-key", w.member_key, "--passphrase-file", w.passphrase).stdout.splitlines()]
    amounts = {e["case_id"]: e["amount_requested"] for e in scaled.sources.sent_streams()["application"]
               if e["activity"] == "A_SUBMITTED"}
    assert {r["case_id"]: float(r["amount"]) for r in rows if r["amount"] is not None} == amounts
    assert rows and b"amount" not in path.read_bytes()[-4096:]
    w.command("keys", "member", "eve", "--pipeline", w.file, "--passphrase-file", w.passphrase, "--kdf-memory", 1)
    for key in (w.keys / "member-eve.key", *w.keys.glob("role-*.key")):
        done = w.command("open", "file", path, "--member-key", key, "--passphrase-file", w.passphrase, codes=None)
        assert done.returncode in (65, 77) and done.stdout == "", (key, done)
    for component in ("ingest", "lanes", "status"):
        for name in pods.of(component):
            done = pods.exec(name, "/usr/bin/weir", "handoff", "run", "scoring", check=False)
            assert done.returncode != 0, done.stdout
    assert set(handoffs.iterdir()) - made == {path}


# ---- more, less, lost ----
HUNG = "weir-science-0"


@pytest.fixture(scope="module")
def stopped(scaled):
    """A supervisor that hangs from here on: (its restarts until now, when). It takes a while until somebody acts."""
    pod = scaled.pods.pod(HUNG)
    os.kill(scaled.pods.first_process(pod), signal.SIGSTOP)
    return scaled.pods.restarts(pod), datetime.datetime.now(datetime.timezone.utc)


def test_a_supervisor_hangs(stopped):
    """Looked at again below."""


def test_lanes_one_three_one_under_load(scaled, pods, no_autoscaler, said):
    with load(scaled, 0.2, 25) as running:
        some(scaled, 50)
        begun = time.monotonic()
        pods.scale("statefulset/weir-lanes", 3)
        wait_for("three owners", lambda: scaled.owners() == {f"weir-lanes-{n}" for n in range(3)}, 120, 0.2)
        up = time.monotonic() - begun
        pods.wait_ready("lanes", 3)
        some(scaled, 100)
        begun = time.monotonic()
        pods.scale("statefulset/weir-lanes", 1)
        wait_for("one owner", lambda: scaled.owners() == {"weir-lanes-0"}, 120, 0.2)
        down = time.monotonic() - begun
        assert running.posted.wait(120)
        settle(scaled)
    running.check()
    said(f"lanes 1 -> 3 in {up:.1f} s, 3 -> 1 in {down:.1f} s; no event waited longer than {running.worst:.1f} s")


def test_a_killed_container(scaled, pods, no_autoscaler, said):
    """kill -9 of the supervisor, one of the lanes and one of ingest: each is started again in its place."""
    text = []
    # Those that ended while the Job was not done yet would be started again only after a while.
    pods.kubectl("delete", "pod", "weir-lanes-0", "weir-ingest-0")
    for component in ("lanes", "ingest"):
        pods.wait_ready(component, 1)
    with load(scaled, 0.15, 25) as running:
        for name in ("weir-lanes-0", "weir-ingest-0"):
            some(scaled, 30)
            pod = pods.pod(name)
            restarts, running.worst = pods.restarts(pod), 0.0
            begun = time.monotonic()
            os.kill(pods.first_process(pod), signal.SIGKILL)
            wait_for("its restart", lambda: pods.restarts(pods.pod(name)) > restarts, 60, 0.2)
            again = time.monotonic() - begun
            some(scaled, 30)
            text.append(f"{name} {running.worst:.1f} s (started again after {again:.1f} s)")
        assert running.posted.wait(120)
        settle(scaled)
    running.check()
    said("kill -9 of a supervisor, the longest that an event waited: " + ", ".join(text))


def test_a_pod_is_lost(scaled, pods, no_autoscaler, said):
    """Killed with all it has, without a grace, while there are others."""
    pods.scale("statefulset/weir-lanes", 2)
    pods.wait_ready("lanes", 2)
    with load(scaled, 0.1, 15) as running:
        some(scaled, 30)
        running.worst = 0.0
        pods.kubectl("delete", "pod", "weir-lanes-1", "--grace-period=0", "--force")
        some(scaled, 50)
        assert running.posted.wait(120)
        settle(scaled)
    running.check()
    said(f"a pod of the lanes killed at once: no event waited longer than {running.worst:.1f} s")


def test_a_drain_by_eviction(scaled, pods, no_autoscaler, said):
    """Within its grace, out of service before it goes, and work goes on."""
    pods.scale("statefulset/weir-lanes", 2)
    pods.wait_ready("lanes", 2)
    victim = "weir-lanes-0"
    with load(scaled, 0.15, 15) as running:
        some(scaled, 30)
        running.worst = 0.0
        pod = pods.pod(victim)
        answers = []

        def gone():  # the container's end is the end of its answers
            answers.append(pods.http(pod, "/readyz")[0])
            return answers[-1] == 0
        with concurrent.futures.ThreadPoolExecutor() as pool:
            ended = pool.submit(lambda: wait_for("its end", gone, GRACE_SECONDS, 0.005) and time.monotonic())
            begun = time.monotonic()
            done = pods.evict(victim)
            assert done.returncode == 0, done.stderr
            took = ended.result() - begun
        pods.wait_ready("lanes", 2)
        some(scaled, 50)
        assert running.posted.wait(120)
        settle(scaled)
    running.check()
    said(f"an evicted pod of the lanes drained in {took:.1f} s; no event waited longer than {running.worst:.1f} s; "
         f"/readyz said {list(dict.fromkeys(answers))}")
    assert 503 in answers
    assert running.worst < DEAD_SECONDS


def test_a_disruption_budget_holds(scaled, pods):
    """With one pod of two not there, the other may not be evicted."""
    first, second = pods.evict("weir-lanes-1"), pods.evict("weir-lanes-0")
    assert first.returncode == 0, first.stderr
    assert second.returncode != 0 and "disruption budget" in second.stderr
    pods.wait_ready("lanes", 2)


def test_a_hung_supervisor_is_restarted(scaled, stopped, said):
    """By its liveness probe, which fails three times, and then after a grace that it does not use."""
    restarts, begun = stopped
    wait_for("its restart", lambda: scaled.pods.restarts(scaled.pods.pod(HUNG)) > restarts, 180, 0.5)
    scaled.pods.wait_ready("science", 1)
    done = scaled.pods.pod(HUNG)["status"]["containerStatuses"][0]
    ended = datetime.datetime.fromisoformat(done["lastState"]["terminated"]["finishedAt"])
    said(f"a stopped supervisor was ended after {(ended - begun).total_seconds():.0f} s")


# ---- the autoscaler ----
def test_lanes_are_scaled_by_the_metric(scaled, pods, said):
    """A warehouse that stands still makes events wait; that makes the autoscaler ask for more lanes."""
    pods.scale("statefulset/weir-lanes", 1)
    wait_for("one owner", lambda: scaled.owners() == {"weir-lanes-0"}, 120, 0.2)
    scaled.apply()  # the autoscaler again
    pods.kubectl("patch", "hpa", "weir-lanes", "--type=json", "-p", json.dumps([
        {"op": "replace", "path": "/spec/maxReplicas", "value": 3},
        {"op": "replace", "path": "/spec/metrics/0/pods/target/averageValue", "value": "4"},
        {"op": "replace", "path": "/spec/behavior/scaleUp/stabilizationWindowSeconds", "value": 0}]))
    wanted = lambda: pods.get("statefulset", "weir-lanes")["spec"]["replicas"]
    assert wanted() == 1
    with load(scaled, 0.1, 10) as running:
        assert running.posted.wait(60)
        settle(scaled)
        assert wanted() == 1  # as long as events are committed in time
        with psycopg.connect(scaled.w.dsn) as holder:
            holder.execute("lock table analytical_schema.fact_loan in share mode")
            scaled.sources.post(0.05)
            begun = time.monotonic()
            wait_for("three replicas", lambda: wanted() == 3, 120, 0.2)
            took = time.monotonic() - begun
        pods.wait_ready("lanes", 3)
        settle(scaled)
    running.check()
    said(f"the autoscaler asked for three lanes {took:.1f} s after the warehouse stood still")
    pods.kubectl("delete", "hpa", "weir-lanes")


# ---- after all that ----
def test_everything_equals_one_host(scaled, pods, reference):
    while scaled.sources.count() < scaled.sources.total:
        scaled.sources.post(0.1)
    settle(scaled)
    reference.assert_equal(scaled.w)


def test_nothing_went_wrong_unseen(scaled, pods):
    """No zombie in any pod, no panic in any log."""
    for component in COMPONENTS:
        for name, pod in pods.of(component).items():
            dead = {pid: p for pid, p in pods.processes(pod).items() if p[1] == "Z"}
            assert not dead, (name, dead)
            text = pods.logs(name)
            bad = [line for line in text.splitlines() if BAD_LINES.search(line)]
            assert not bad, (name, bad)
