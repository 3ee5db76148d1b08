"""Weir as its user starts it: one pipeline in a directory of its own, and every process it makes."""

import contextlib
import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess
import urllib.error
import urllib.request

from ports import wait_for

BIN = pathlib.Path(os.environ.get("WEIR_BIN", pathlib.Path(__file__).resolve().parents[2] / "bin"))
ASAN = "asan" in BIN.parts
SLOW = 4 if ASAN else 1  # sanitizers slow everything down
# "Sanitizer" also when it could not do its work, as LeakSanitizer where ptrace is refused.
BAD_LINES = re.compile(r"panic:|runtime error:|Sanitizer")
LATE_LINES = re.compile(r"said BYE and then: signal 9")  # too slow to end, and then killed, unless by a test
SANITIZER_EXIT = 86  # no exit code of ours
PR_SET_CHILD_SUBREAPER = 36


def become_subreaper():
    """Orphans of Weir become our children: a leaked process cannot hide."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def processes(executables=None):
    """{pid: (ppid, executable's name)} of everything that runs from BIN."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            exe = os.readlink(entry / "exe").removesuffix(" (deleted)")
            stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if pathlib.Path(exe).parent == BIN and stat[0] != "Z":
            found[int(entry.name)] = (int(stat[1]), pathlib.Path(exe).name)
    return found


def descendants(of=None):
    """Weir's processes below a pid (default: ours), nearest first."""
    table = processes()
    below, frontier = [], {of or os.getpid()}
    while frontier:
        layer = [pid for pid, (parent, _) in table.items() if parent in frontier]
        below += layer
        frontier = set(layer)
    return {pid: table[pid][1] for pid in below}


class Failed(Exception):
    pass


class Weir:
    """directory: holds pipeline.yaml, logins, data and logs. dsn: the owner's."""

    def __init__(self, directory, pipeline, dsn, env=None, name="pipeline.yaml"):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        self.data = self.directory / "data"
        self.data.mkdir(exist_ok=True)
        self.dsn = dsn
        self.file = self.directory / name
        self.file.write_text(pipeline)
        self.log = self.directory / "weir.log"
        self.run_dir = self.directory / "run"
        self.run_dir.mkdir(exist_ok=True)
        self.env = {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.directory),
            "WEIR_DSN": dsn, "WEIR_DATA": str(self.data), "WEIR_LOGINS": str(self.directory / "logins"),
            "WEIR_LOG": os.environ.get("WEIR_LOG", "info"), "XDG_RUNTIME_DIR": str(self.run_dir),
            "ASAN_OPTIONS": f"abort_on_error=0:exitcode={SANITIZER_EXIT}:detect_stack_use_after_return=0",
            "UBSAN_OPTIONS": "print_stacktrace=1", **(env or {}),
        }
        self.supervisors = []
        self.killed = False  # some worker, by the test

    # ---- commands that end ----
    def command(self, *args, codes=(0,), timeout=120, env=None, input=None):
        """Runs `weir ARGS`; the result has stdout and stderr as text. Fails on any other exit code."""
        done = subprocess.run([BIN / "weir", *map(str, args)], cwd=self.directory, text=True,
                              capture_output=True, timeout=timeout * SLOW, input=input,
                              env={**self.env, **(env or {})})
        with open(self.log, "a") as log:
            log.write(f"--- weir {' '.join(map(str, args))} -> {done.returncode}\n{done.stderr}")
        if codes is not None and done.returncode not in codes:
            raise Failed(f"weir {' '.join(map(str, args))}: exit {done.returncode}\n"
                         f"{done.stdout[-3000:]}{done.stderr[-6000:]}")
        return done

    def json(self, *args, **kw):
        return json.loads(self.command(*args, "-o", "json", **kw).stdout)

    def apply(self):
        return self.command("apply", self.file, codes=(0, 99))

    def run(self, *args, codes=(0,), timeout=300, env=None):
        """`weir run --until now`; returns the result line as data (None when there was none)."""
        done = self.command("run", "--until", "now", *args, self.file, codes=codes, timeout=timeout, env=env)
        lines = [x for x in done.stdout.splitlines() if x.startswith("{")]
        result = json.loads(lines[-1]) if lines else None
        if result is not None:
            result["stderr"] = done.stderr
        return result

    # ---- living supervisors ----
    def up(self, *args, ready=True, env=None, log=None):
        out = open(log or self.log, "ab")
        process = subprocess.Popen([BIN / "weir", "up", *map(str, args), self.file], cwd=self.directory,
                                   env={**self.env, **(env or {})},
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        out.close()
        process.log_from = (log or self.log, 0)
        self.supervisors.append(process)
        if ready:
            self.wait_ready(process)
        return process

    def url(self, process):
        """The status address this supervisor wrote into its log."""
        text = pathlib.Path(process.log_from[0]).read_text(errors="replace")
        found = re.findall(r"status on (http://[0-9.:\[\]]+)/?", text)
        return found[-1] if found else None

    def get(self, process, path):
        """(HTTP status, body) of the status worker; (0, "") while it does not answer."""
        url = self.url(process)
        if not url:
            return 0, ""
        try:
            with urllib.request.urlopen(url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def status(self, process):
        code, body = self.get(process, "/status")
        return json.loads(body) if code == 200 else None

    def wait_ready(self, process, timeout=30):
        def ready():
            if process.poll() is not None:
                raise Failed(f"weir up ended with {process.returncode}\n{self.log_tail()}")
            return self.get(process, "/readyz")[0] == 200
        try:
            wait_for("readiness", ready, timeout * SLOW, 0.1)
        except TimeoutError as e:
            raise Failed(f"{e}\n{self.get(process, '/readyz')}\n{self.log_tail()}") from None

    def workers(self, process, role=None):
        """Pids of the supervisor's workers, by role."""
        return sorted(pid for pid, name in descendants(process.pid).items() if role in (None, name))

    def kill(self, process, role, index=0):
        """kill -9 of one worker; returns its pid, or None when there is none just now."""
        pids = self.workers(process, role)
        if not pids:
            return None
        self.killed = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[index % len(pids)], signal.SIGKILL)
        return pids[index % len(pids)]

    def stop(self, process, sig=signal.SIGTERM, timeout=60, code=0):
        if process.poll() is None:
            process.send_signal(sig)
        try:
            got = process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(f"weir up did not end in {timeout} s after {sig.name}\n{self.log_tail()}") from None
        if code is not None and got != code:
            raise Failed(f"weir up ended with {got}, not {code}\n{self.log_tail()}")
        return got

    def log_tail(self, n=60):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-n:])

    # ---- the end of every test ----
    def teardown(self):
        """Stops what still runs, then fails on a sanitizer's report, a panic, or a process left behind."""
        for process in self.supervisors:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20 * SLOW)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        with contextlib.suppress(TimeoutError):  # a killed supervisor's workers see end of file and go
            wait_for("the end of every worker", lambda: not descendants(), 5 * SLOW)
        left = descendants()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        bad = []
        for log in self.directory.glob("*.log"):
            bad += [line for line in log.read_text(errors="replace").splitlines()
                    if BAD_LINES.search(line) or not self.killed and LATE_LINES.search(line)]
        assert not left, f"processes left behind: {left}\n{self.log_tail()}"
        assert not bad, "\n".join(bad[:10]) + "\n" + self.log_tail(120)
