"""CPU time and memory of processes from outside: the kernel's own accounting."""

import os
import pathlib
import threading

HERTZ = os.sysconf("SC_CLK_TCK")


def stat_seconds(pid, reaped):
    """CPU seconds (user and system) of a process, with those of its reaped children if asked."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15 if reaped else 13])) / HERTZ


def tree_seconds(pid):
    """A server with all its processes: itself, reaped children, living children."""
    total = stat_seconds(pid, True)
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            try:
                total += stat_seconds(int(child), False)
            except OSError:
                pass
    return total


def peak_bytes(pid):
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Servers:
    """CPU of PostgreSQL and the broker between start and stop."""

    def __init__(self, postgres_pid, broker_pid):
        self.pids = {"PostgreSQL": postgres_pid, "broker": broker_pid}

    def __enter__(self):
        self.before = {n: tree_seconds(p) for n, p in self.pids.items()}
        return self

    def __exit__(self, *_):
        self.seconds = {n: tree_seconds(p) - self.before[n] for n, p in self.pids.items()}


class PeakOf(threading.Thread):
    """Peak memory of one process while it lives."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.bytes, self.over = pid, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            self.bytes = max(self.bytes, peak_bytes(self.pid))
