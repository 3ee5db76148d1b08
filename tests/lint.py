#!/usr/bin/env python3
"""The house rules that a script can hold: lint.py [--tally] all|sizes|globals|includes|format|docs

sizes     files <= 600 lines, functions <= 70, median <= 20, ninetieth percentile <= 55, lines <= 100 columns
globals   at least 60 % of functions static, no mutable data visible outside its file (nm)
includes  who may include whom; each third-party header in one module; the supervisor links no data-path library
format    clang-format
docs      files that the README names exist; every metric is in docs/metrics.md
"""

import os
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
os.chdir(ROOT)
FILE_LINES, FUNCTION_LINES, MEDIAN_LINES, P90_LINES, COLUMNS = 600, 70, 20, 55, 100
STATIC_SHARE = 0.6
PRODUCT = ("proto", "supervisor", "workers", "cli")

# Third-party header -> the files that may include it; a folder stands for its .c files.
THIRD_PARTY = {
    "zmq.h": {"proto/pipe.c"},
    "msgpack.h": {"proto/pack.c"},
    "sodium.h": {"proto/keyhash.c", "proto/seal/"},
    "libpq-fe.h": {"workers/lib/pg_private.h", "workers/lib/pg.c"},
    "librdkafka/rdkafka.h": {"workers/ingest/kafka_private.h", "workers/ingest/kafka.c", "workers/ingest/exchange.c",
                             "cli/exchange.c", "cli/sink_kafka.c"},
    "amqp.h": {"workers/ingest/rabbit_private.h", "workers/ingest/rabbit.c", "cli/sink_rabbit.c"},
    "amqp_tcp_socket.h": {"workers/ingest/rabbit.c", "workers/ingest/rabbit_connect.c", "workers/ingest/rabbit_private.h",
                          "cli/sink_rabbit.c"},
    "amqp_ssl_socket.h": {"workers/ingest/rabbit.c", "workers/ingest/rabbit_connect.c", "workers/ingest/rabbit_private.h"},
    "amqp_framing.h": {"workers/ingest/rabbit.c", "workers/ingest/rabbit_private.h"},
    "libfyaml.h": {"proto/conf_yaml.c"},
    "microhttpd.h": {"workers/status/http.c"},
    "simdjson.h": {"workers/ingest/json.cc"},
    "jansson.h": {"workers/status/json.c", "workers/status/answer.c", "cli/status_text.c"},
    "curl/curl.h": {"workers/lib/http_get.c"},
    "zlib.h": None, "zstd.h": None, "seccomp.h": {"proto/sandbox.c"}, "systemd/sd-daemon.h": set(),
}
SUPERVISOR_MAY = {"roles", "ctl", "conf", "model", "value", "expr/expr", "log", "metric", "mem", "err", "mono",
                  "sandbox", "buf", "rundir", "root", "secretfile", "outcome", "jsontext"}
SUPERVISOR_NEVER_LINKS = ("zmq", "pq", "sodium", "rdkafka", "rabbitmq", "msgpack")


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
                         capture_output=True, text=True, check=True).stdout.split()
    return [f for f in out if pathlib.Path(f).exists()]


def product_files(*suffixes):
    return [f for f in tracked() if f.split("/")[0] in PRODUCT and f.endswith(suffixes)]


def functions(path):
    """(name, lines, flat) of each function: its name stands at column 0 after the line of its type."""
    lines = pathlib.Path(path).read_text().splitlines()
    name = start = None
    for i, line in enumerate(lines):
        if start is None and re.match(r"[a-z_]\w*\(", line):
            name = re.match(r"\w+", line)[0]
        elif line == "{" and name:
            start = i
        elif line == "}" and start is not None:
            body = lines[start + 1:i]
            cases = sum(bool(re.match(r"\t*case ", x)) for x in body)
            yield name, i - start - 1, cases * 2 >= len(body) * 0.5
            name = start = None


def sizes():
    problems, all_lengths = [], []
    for path in product_files(".c", ".h", ".cc"):
        text = pathlib.Path(path).read_text().splitlines()
        if len(text) > FILE_LINES:
            problems.append(f"{path}: {len(text)} lines, at most {FILE_LINES}")
        for n, line in enumerate(text, 1):
            if len(line.expandtabs(8)) > COLUMNS and not path.endswith((".def",)):
                problems.append(f"{path}:{n}: {len(line.expandtabs(8))} columns, at most {COLUMNS}")
        if path.endswith(".c"):
            for name, length, flat in functions(path):
                all_lengths.append(length)
                if length > FUNCTION_LINES and not flat:
                    problems.append(f"{path}: {name} has {length} lines, at most {FUNCTION_LINES}")
    if all_lengths:
        p90 = sorted(all_lengths)[int(len(all_lengths) * 0.9)]
        median = statistics.median(all_lengths)
        print(f"sizes: {len(all_lengths)} functions, median {median:g} lines, p90 {p90}, longest {max(all_lengths)}")
        if median > MEDIAN_LINES or p90 > P90_LINES:
            problems.append(f"functions: median {median:g} (at most {MEDIAN_LINES}), p90 {p90} (at most {P90_LINES})")
    return problems


def static_share():
    """(static, all) functions of the product, from the sources: the compiler inlines static ones away."""
    static = total = 0
    for path in product_files(".c"):
        lines = pathlib.Path(path).read_text().splitlines()
        for i, line in enumerate(lines[1:], 1):
            if re.match(r"[a-z_]\w*\(", line) and re.match(r"[a-zA-Z_]", lines[i - 1]) and not line.endswith(";"):
                total += 1
                static += lines[i - 1].startswith("static")
    return static, total


def mutable_globals(objects):
    """Symbols of writable sections that other files can see; .data.rel.ro is constant after relocation."""
    for o in objects:
        for line in subprocess.run(["nm", "-f", "sysv", o], capture_output=True, text=True).stdout.splitlines():
            fields = [f.strip() for f in line.split("|")]
            if len(fields) == 7 and fields[2] in "BDC" and not fields[6].startswith(".data.rel.ro") \
                    and not fields[0].startswith(("_", "__odr_asan")):
                yield f"{o}: {fields[0]} is mutable and visible outside its file"


def globals_():
    build = ROOT / os.environ.get("B", "build")
    objects = [o for d in PRODUCT for o in (build / d).rglob("*.o") if o.name != "json.o"]
    if not objects:
        return ["globals: nothing is built; run make first"]
    problems = list(mutable_globals(objects))
    static, total = static_share()
    print(f"globals: {static} of {total} functions are static ({static / total:.0%}), {len(problems)} mutable globals")
    if static / total < STATIC_SHARE:
        problems.append(f"only {static / total:.0%} of the functions are static, at least {STATIC_SHARE:.0%} wanted")
    return problems


def own_headers(folder):
    return {str(p.relative_to(folder)) for p in pathlib.Path(folder).rglob("*.h")}


def may_include(path, header):
    """Whether this file may include this header of ours, written as it is found on the include path."""
    part = path.split("/")
    proto, lib = own_headers("proto"), own_headers("workers/lib")
    here = own_headers(pathlib.Path(path).parent)
    stem = header.removesuffix(".h")
    if part[0] == "proto":
        return header in proto or header in here or header.startswith("../") and header[3:] in proto
    if part[0] == "supervisor":
        return header in here or stem in SUPERVISOR_MAY
    if part[:2] == ["workers", "lib"]:
        return header in here or header in proto
    if part[:2] == ["workers", "relay"] and header.removeprefix("ingest/") in own_headers("workers/ingest"):
        return True  # it reads as ingest reads
    if part[0] == "workers":
        return header in here or header in lib or header in proto
    return header in here or header in lib or header in proto or header in ("migrations.h", "sql/migrations.h")


def belongs(path, owners):
    return path in owners or path.endswith(".c") and path.rpartition("/")[0] + "/" in owners


def includes():
    problems = []
    for path in product_files(".c", ".h", ".cc", ".def"):
        for line in pathlib.Path(path).read_text().splitlines():
            m = re.match(r'#include ([<"])([^>"]+)[>"]', line)
            if not m:
                continue
            kind, header = m.groups()
            if header.endswith(".def"):
                continue
            if kind == '"' and not may_include(path, header):
                problems.append(f"{path} may not include {header}")
            if header in THIRD_PARTY and THIRD_PARTY[header] is not None and not belongs(path, THIRD_PARTY[header]):
                problems.append(f"{path} includes {header}, which belongs to {', '.join(sorted(THIRD_PARTY[header])) or 'nobody'}")
    supervisor = pathlib.Path(os.environ.get("WEIR_BIN", "bin")) / "supervisor"
    if supervisor.exists():
        needed = subprocess.run(["readelf", "-d", supervisor], capture_output=True, text=True).stdout
        for library in SUPERVISOR_NEVER_LINKS:
            if re.search(rf"NEEDED.*lib{library}", needed):
                problems.append(f"{supervisor} links lib{library}")
    return problems


def format_():
    files = [f for f in tracked("*.c", "*.h") if "/golden/" not in f]
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], capture_output=True, text=True)
    bad = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "error:" in line})
    return [f"{f}: not as clang-format has it (make format)" for f in bad]


def docs():
    problems = []
    readme = pathlib.Path("README.md").read_text() if pathlib.Path("README.md").exists() else ""
    for name in set(re.findall(r"\b(?:proto|supervisor|workers|cli|sql|deploy|docs|examples|tests)/[\w./-]*\w", readme)):
        if not pathlib.Path(name).exists() and not list(ROOT.glob(name + "*")):
            problems.append(f"README.md names {name}, which does not exist")
    metrics = pathlib.Path("docs/metrics.md")
    text = metrics.read_text() if metrics.exists() else ""
    for name in re.findall(r'(?m)^METRIC(?:_SOURCE|_TABLE)?\(\w+, "(\w+)"', pathlib.Path("proto/metric.def").read_text()):
        if name not in text:
            problems.append(f"docs/metrics.md does not name weir_{name}")
    return problems


CHECKS = {"sizes": sizes, "globals": globals_, "includes": includes, "format": format_, "docs": docs}


def main(args):
    tally = "--tally" in args
    names = [a for a in args if not a.startswith("--")] or ["all"]
    names = list(CHECKS) if names == ["all"] else names
    failed = 0
    for name in names:
        if name not in CHECKS:
            sys.exit(__doc__)
        problems = CHECKS[name]()
        for p in problems[:40]:
            print(f"lint {name}: {p}")
        failed += bool(problems)
    print(f"lint: {len(names) - failed} passed, {failed} failed")
    if tally and os.environ.get("WEIR_TALLY"):
        with open(os.environ["WEIR_TALLY"], "a") as f:
            f.write(f"{len(names) - failed} {failed}\n")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
