"""The benchmark's events: copies of the loan log under other case ids, as KEY<tab>VALUE lines for kcat."""

import gzip
import json
import subprocess

import loans

COPIES = 8


def streams():
    """{stream: lines} of one copy: the real log, or a twin of its size where it is not at hand."""
    files = loans.bpic_files()
    if files:
        return "bpic2012", {s: gzip.open(f, "rt").read().splitlines() for s, f in files.items()}
    twin = loans.twin(processes=loans.CASES)
    return "twin", {s: [json.dumps(e, separators=(",", ":")) for e in v] for s, v in twin.items()}


def post(kafka, topic, lines):
    """Posts KEY<tab>VALUE lines through kcat: lz4, partitioned by key."""
    kcat = subprocess.Popen(["kcat", "-q", "-b", kafka.bootstrap, "-P", "-t", topic, "-K", "\t", "-z", "lz4",
                             "-X", "linger.ms=20", "-X", "batch.num.messages=10000"], stdin=subprocess.PIPE)
    n = 0
    block = []
    for line in lines:
        block.append(line)
        n += 1
        if len(block) == 20000:
            kcat.stdin.write(("\n".join(block) + "\n").encode())
            block = []
    if block:
        kcat.stdin.write(("\n".join(block) + "\n").encode())
    kcat.stdin.close()
    if kcat.wait():
        raise RuntimeError(f"kcat failed for {topic}")
    return n


def copies(lines, n=COPIES):
    """One whole copy after another, each under case ids with a suffix of its own."""
    split = []
    for line in lines:
        at = line.index('"', len('{"case_id":"'))
        split.append((line[len('{"case_id":"'):at], line[at:]))
    for k in range(n):
        for case, rest in split:
            key = f"{case}-{k:02d}"
            yield f'{key}\t{{"case_id":"{key}{rest}'


def rounds(processes, touches):
    """Each process is touched once a round: no batch sees a process twice."""
    base = 1_700_000_000
    for r in range(touches):
        for p in range(processes):
            yield (f'{p}\t{{"case_id":"{p}","seq":{r},"activity":"A_{r}","transition":"COMPLETE",'
                   f'"at":{base + r * 60},"amount_requested":{p % 50000}.25}}')
