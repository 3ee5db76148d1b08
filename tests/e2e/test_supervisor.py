"""The supervisor and the skeleton by themselves: the null worker and status, no data path, no server."""

import json
import os
import pathlib
import signal
import subprocess
import urllib.request

import pytest

import loans
from ports import wait_for
from weir import ASAN, BIN, SLOW, Weir, descendants


class Alone(Weir):
    def up(self, *args, only="null,status", ready=True, env=None, log=None):
        with open(self.log, "ab") as out:
            process = subprocess.Popen([BIN / "supervisor", "up", self.file, "--only", only, *args],
                                       cwd=self.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       env={**self.env, **(env or {})})
        process.log_from = (self.log, 0)
        self.supervisors.append(process)
        if ready:
            self.wait_ready(process)
        return process

    def null(self, process):
        """The null worker as status shows it."""
        rows = (self.status(process) or {"workers": []})["workers"]
        return next((r for r in rows if r["role"] == "null"), None)


@pytest.fixture
def alone(directory):
    made = Alone(directory / "a", loans.pipeline(sources=loans.FOLLOW), "postgresql://nobody@127.0.0.1:1/none")
    yield made
    made.teardown()


def run_directory(pid):
    """The directory in which the supervisor of that pid keeps its note."""
    for note in pathlib.Path("/tmp").glob("weir-??????/note"):
        if note.read_text().splitlines()[-1] == str(pid):
            return note.parent
    return None


def test_the_supervisor_links_no_data_path():
    text = subprocess.run(["readelf", "-d", BIN / "supervisor"], capture_output=True, text=True, check=True).stdout
    needed = [line.split("[")[1].rstrip("]") for line in text.splitlines() if "NEEDED" in line]
    assert needed
    for library in ("zmq", "pq", "sodium", "rdkafka", "rabbitmq", "msgpack", "microhttpd", "simdjson"):
        assert not any(n.startswith(f"lib{library}") for n in needed), needed


def test_a_killed_worker_is_born_again(alone):
    process = alone.up()
    before = alone.null(process)
    os.kill(before["pid"], signal.SIGKILL)
    after = wait_for("the next birth", lambda: (lambda n: n if n and n["state"] == "up" and
                                               n["pid"] != before["pid"] else None)(alone.null(process)), 20 * SLOW)
    assert after["births"] == before["births"] + 1
    assert [d["signal"] for d in after["deaths"]] == [signal.SIGKILL]
    assert "signal 9" in alone.log.read_text()
    alone.stop(process)


def test_a_hangup_bears_every_worker_anew(alone):
    process = alone.up()
    before = {r["role"]: r["pid"] for r in alone.status(process)["workers"]}
    process.send_signal(signal.SIGHUP)

    def renewed():
        rows = (alone.status(process) or {"workers": []})["workers"]
        return rows and all(r["state"] == "up" and r["pid"] != before[r["role"]] and r["births"] == 2 for r in rows)

    wait_for("everyone's next birth", renewed, 20 * SLOW)
    assert process.poll() is None
    alone.stop(process)


def test_status_dies_and_serves_again_on_the_same_port(alone):
    process = alone.up()
    url = alone.url(process)
    victim = next(r for r in alone.status(process)["workers"] if r["role"] == "status")
    os.kill(victim["pid"], signal.SIGKILL)
    wait_for("its next life", lambda: (alone.status(process) or {"workers": []})["workers"] and any(
        r["role"] == "status" and r["births"] == 2 for r in alone.status(process)["workers"]), 20 * SLOW)
    assert alone.url(process) == url
    alone.stop(process)


def test_no_orphan_and_no_directory_is_left(alone):
    process = alone.up()
    stale = run_directory(process.pid)
    assert stale and (stale.stat().st_mode & 0o007) == 0
    process.kill()
    process.wait()
    wait_for("the end of its workers", lambda: not descendants(), 5 * SLOW)
    assert stale.exists()
    process = alone.up()  # sweeps what nobody owns
    assert not stale.exists()
    mine = run_directory(process.pid)
    alone.stop(process)
    assert not mine.exists()


def test_a_worker_holds_nothing_but_its_channel(alone):
    process = alone.up()
    pid = alone.null(process)["pid"]
    fds = {int(p.name): os.readlink(p) for p in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
    assert sorted(fds) == [0, 1, 2, 3], fds
    assert fds[0] == "/dev/null" and fds[3].startswith("socket:")
    environ = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    names = {e.split(b"=")[0].decode() for e in environ if e}
    assert names <= {"TZ", "LANG", "LC_ALL", "LC_CTYPE", "WEIR_LOG", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS"}
    alone.stop(process)


def test_the_sandbox_is_told_as_it_is(alone):
    process = alone.up()
    row = alone.null(process)
    text = pathlib.Path(f"/proc/{row['pid']}/status").read_text()
    assert "NoNewPrivs:\t1" in text and "Seccomp:\t2" in text and "CapEff:\t0000000000000000" in text
    assert ("sanitizer" in row["seccomp"]) == ASAN
    if os.geteuid() == 0:
        assert row["separation"] in ("uid", "uid+landlock") and "Uid:\t0" not in text
        assert pathlib.Path(f"/proc/{row['pid']}/limits").read_text().split("Max core file size")[1].split()[0] == "0"
    assert alone.status(process)["separation"] == row["separation"]
    alone.stop(process)


def test_a_hanging_worker_is_killed_and_the_reason_told(alone):
    process = alone.up()
    victim = alone.null(process)["pid"]
    os.kill(victim, signal.SIGSTOP)
    wait_for("its end", lambda: not pathlib.Path(f"/proc/{victim}").exists(), 40 * SLOW)
    assert "sign of life" in alone.log.read_text()
    alone.stop(process)


def test_a_second_interrupt_does_not_wait(alone):
    process = alone.up()
    os.kill(alone.null(process)["pid"], signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    wait_for("draining", lambda: "draining" in alone.log.read_text(), 5 * SLOW)
    process.send_signal(signal.SIGINT)
    alone.killed = True  # those that were ending, by the supervisor
    assert process.wait(2 * SLOW) == 0


def test_a_stopped_worker_does_not_hold_the_end_up(alone):
    process = alone.up()
    os.kill(alone.null(process)["pid"], signal.SIGSTOP)
    alone.stop(process, timeout=10)


def test_http(alone):
    process = alone.up()
    assert alone.get(process, "/livez") == (200, "alive\n")
    assert json.loads(alone.get(process, "/readyz")[1]) == {"ready": True, "unready": []}
    assert alone.get(process, "/nothing")[0] == 404
    request = urllib.request.Request(alone.url(process) + "/status", data=b"x" * 100000, method="POST")
    with pytest.raises(OSError):  # 405, or the connection ends before all is sent
        urllib.request.urlopen(request, timeout=5)
    assert alone.get(process, "/livez")[0] == 200
    alone.stop(process)


def test_a_missing_login_is_named(alone):
    process = alone.up(only="task,status", ready=False)
    assert process.wait(20 * SLOW) == 78
    assert "task.login" in alone.log.read_text() and "weir apply" in alone.log.read_text()


def test_usage():
    for command in (["null"], ["supervisor"], ["supervisor", "up"], ["supervisor", "up", "x", "--never"],
                    ["supervisor", "run", "x", "--wait", "long"], ["supervisor", "up", "x", "--only", "nobody"],
                    ["supervisor", "run", "x", "--only", "science,task", "--handoff", "h"],
                    ["supervisor", "up", "x", "--only", "science", "--handoff", "h"]):
        done = subprocess.run([BIN / command[0], *command[1:]], capture_output=True, text=True)
        assert done.returncode == 64 and done.stderr and not done.stdout, command


def test_run_of_nothing_prints_one_line(alone):
    done = subprocess.run([BIN / "supervisor", "run", alone.file, "--only", "null,status"], env=alone.env,
                          capture_output=True, text=True, timeout=30 * SLOW)
    alone.log.write_text(done.stderr)
    result = json.loads(done.stdout)
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    assert result["exit"] == 0 and result["dead_letters"] == 0 and result["pipeline"] == "loans"
    assert set(result) >= {"pipeline", "events", "processes", "rows", "dead_letters", "duplicates", "seconds",
                            "generations", "exit"}
