"""CPU time and memory of processes from outside: the kernel's own accounting."""

import os
import pathlib
import threading
import time

HERTZ = os.sysconf("SC_CLK_TCK")


def own_seconds(pid):
    """CPU seconds (user and system, all its threads) of a living process, to the nanosecond: its clock."""
    return time.clock_gettime(~pid << 3 | 2)


def reaped_seconds(pid):
    """Of its children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[13:15])) / HERTZ


def name_of(pid):
    return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()


def by_name(pid):
    """CPU seconds of a supervisor's living workers by their names, its own as "supervisor", those that ended as "ended"."""
    cpu = {"supervisor": own_seconds(pid), "ended": reaped_seconds(pid)}
    for child in children(pid):
        try:
            name = name_of(child)
            cpu[name] = cpu.get(name, 0) + own_seconds(child)
        except OSError:
            pass
    return cpu


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            pass
    return found


def tree_seconds(pid):
    """A server with all its processes: itself, reaped children, living children."""
    total = own_seconds(pid) + reaped_seconds(pid)
    for child in children(pid):
        try:
            total += own_seconds(child)
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
