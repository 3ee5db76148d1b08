"""Weir as process 1 of a namespace of processes of its own, as in a container: it drains, reaps what is none of its own, and
says what separates its workers where no uid and no Landlock does."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest

import test_status
from ports import wait_for
from weir import ASAN, BIN, SLOW, Weir

APART = pathlib.Path(__file__).parent / "apart.py"
STRANGER = 64199  # a uid that nobody has
ALONE = ("unshare", "--pid", "--fork", "--kill-child=SIGKILL")


def namespace():
    """The words that make one; with a /proc of its own where it can be had (not in a chroot), which sanitizers look into."""
    for words in [(*ALONE, "--mount-proc"), *([] if ASAN else [ALONE])]:
        with contextlib.suppress(FileNotFoundError):
            if os.geteuid() == 0 and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
                return words
    return None


OWN = namespace()
pytestmark = pytest.mark.skipif(not OWN, reason="this system gives nobody a namespace of processes")


def stat_of(pid):
    """(state, parent), or None when it is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return fields[0], int(fields[1])


def children(pid):
    """{pid: state} of all its children, dead ones included."""
    found = {int(p.name): stat_of(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit()}
    return {child: s[0] for child, s in found.items() if s and s[1] == pid}


class Contained(Weir):
    def start(self, *args, own=True, uid=0, landlock=True):
        """Like up; with a namespace of its own, as another user, and without Landlock."""
        words = [*(OWN if own else ())]
        if uid or not landlock:
            words += [sys.executable, "-B", APART, str(uid)]
        with open(self.log, "ab") as out:
            process = subprocess.Popen([*words, BIN / "weir", "up", *args, self.file], cwd=self.directory, env=self.env,
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        process.log_from = (self.log, 0)
        self.supervisors.append(process)
        return process

    def first(self, process):
        """The pid that process 1 has out here."""
        return wait_for("process 1", lambda: next(iter(children(process.pid)), None), 10 * SLOW)

    def end(self, process):
        """unshare itself hears no signal; it ends as its child does."""
        os.kill(self.first(process), signal.SIGTERM)
        return process.wait(30 * SLOW)


@pytest.fixture
def contained(directory):
    made = []

    def make(text=None):
        w = Contained(directory / f"c{len(made)}", text or test_status.pipeline(0),
                      "postgresql://nobody@127.0.0.1:1/nothing")
        made.append(w)
        return w

    yield make
    for w in made:
        for process in w.supervisors:
            process.poll() is None and process.kill()  # and the kernel everything in its namespace
        w.killed = True
        w.teardown()


def test_it_drains_and_reaps_as_process_1(contained):
    w = contained()
    process = w.start("--only", "null")
    w.wait_ready(process)
    first = w.first(process)
    assert "NSpid:\t%d\t1\n" % first in pathlib.Path(f"/proc/{first}/status").read_text()
    # An orphan of somebody else, as `kubectl exec` leaves them, becomes a child of process 1, and is no zombie afterwards.
    subprocess.run(["nsenter", "--target", str(first), "--pid", "sh", "-c", "sleep 8 &"], check=True,
                   stdout=subprocess.DEVNULL)
    own = set(w.workers(process, "null") + w.workers(process, "status"))
    [orphan] = wait_for("the orphan's adoption", lambda: list(set(children(first)) - own), 7)
    wait_for("the orphan's end", lambda: stat_of(orphan) is None, 10 * SLOW)
    # A worker that is killed is born again, and leaves nothing either.
    dead = w.kill(process, "null")
    wait_for("another one", lambda: w.workers(process, "null") not in ([], [dead]), 20 * SLOW)
    wait_for("no zombie", lambda: stat_of(dead) is None and "Z" not in children(first).values(), 5 * SLOW)
    assert w.end(process) == 0, w.log_tail()
    assert "asked to stop: draining" in w.log.read_text()


def separation(w, *args, **how):
    process = w.start("--only", "null", *args, **how)
    w.wait_ready(process)
    # A worker that was just born has not said yet what separates it.
    wait_for("what separates each", lambda: all(x["state"] == "up" for x in w.status(process)["workers"]), 10 * SLOW)
    status = w.status(process)
    code = w.end(process) if how.get("own", True) else w.stop(process)
    assert code == 0, w.log_tail()
    return status["separation"], {x["separation"] for x in status["workers"]}


def test_what_separates_the_workers_is_said(contained):
    w = contained()
    if subprocess.run([sys.executable, "-B", APART, str(STRANGER), BIN / "weir", "--version"],
                      capture_output=True).returncode:
        pytest.skip("other users cannot run what was built here")
    assert separation(w)[0] in ("uid", "uid+landlock")
    assert separation(w, landlock=False) == ("uid", {"uid"})
    os.chown(w.run_dir, STRANGER, STRANGER)
    assert separation(w, uid=STRANGER, landlock=False) == ("pods", {"none"})
    assert separation(w, uid=STRANGER, landlock=False, own=False) == ("none", {"none"})
    # Pods keep the secrets of other workloads away, and nothing within one: that is what `require_sandbox` is about.
    w.file.write_text("require_sandbox: true\n" + w.file.read_text())
    process = w.start("--only", "null", uid=STRANGER, landlock=False)
    assert process.wait(30 * SLOW) == 77 and "nothing separates it from other workers" in w.log.read_text()
    assert separation(w, landlock=False) == ("uid", {"uid"})
