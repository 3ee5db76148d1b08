"""A source driver alone (driver_probe.c), spoken to by a test."""

import json
import os
import queue
import subprocess
import threading

from ports import wait_for
from weir import BIN, SANITIZER_EXIT, SLOW

PROGRAM = BIN / "driver_probe"  # built by `make e2e`


class Probe:
    """
    `with Probe(kind, address, name, *options) as p`. Everything the driver says is kept: p.events[slot]
    in order, p.frontier[slot], p.found {slot: label}, p.listed, p.trouble.
    """

    def __init__(self, *arguments, autostart=None):
        self.autostart = autostart  # a position: every slot found is started there
        self.found, self.frontier, self.events = {}, {}, {}
        self.listed, self.trouble, self.troubles, self.refused = False, None, [], None
        self.sums = queue.Queue()
        self.process = subprocess.Popen([PROGRAM, *map(str, arguments)], text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, "ASAN_OPTIONS": f"exitcode={SANITIZER_EXIT}",
                                             "UBSAN_OPTIONS": f"exitcode={SANITIZER_EXIT}:print_stacktrace=1"})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.tell("quit")
        code = self.process.wait(10 * SLOW)
        self.reader.join()
        assert code != SANITIZER_EXIT, "a sanitizer's report, see its stderr"
        assert kind or self.refused or code == 0, code

    def _read(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "event" in said:
                self.events.setdefault(said["event"], []).append(said)
            elif "frontier" in said:
                self.frontier[said["frontier"]] = said
            elif "found" in said:
                self.found[said["found"]] = said["label"]
                if self.autostart is not None:
                    self.tell("start", said["found"], self.autostart)
            elif "listed" in said:
                self.listed = True
            elif "trouble" in said:
                self.trouble = said["trouble"]
                self.troubles.append(said["trouble"])
            elif "refused" in said:
                self.refused = said
            else:
                self.sums.put(said)

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def sum(self):
        self.tell("sum")
        return self.sums.get(timeout=30)

    def count(self):
        return sum(len(e) for e in self.events.values())

    def bodies(self):
        return [e["data"] for slot in sorted(self.events) for e in self.events[slot]]

    def wait(self, what, condition, timeout=60):
        def ask():
            assert self.process.poll() is None, f"{what}: the driver ended"
            return condition(self)
        return wait_for(what, ask, timeout, 0.01)

    def finished(self):
        return (self.listed and len(self.frontier) == len(self.found) and
                all(f["finished"] for f in self.frontier.values()))
