"""The loan process: the real log (bpic2012) where it lies beside the project, a synthetic twin always, the
pipelines over them, and the answer computed from the events alone."""

import collections
import datetime as dt
import gzip
import json
import pathlib
import random

ROOT = pathlib.Path(__file__).resolve().parents[2]
BPIC = ROOT.parent / "shared" / "data" / "bpic2012"
STREAMS = ("application", "offer", "workitem")
EVENTS = {"application": 60849, "offer": 31244, "workitem": 170107}
CASES = 13087

# Counts published for the log (its README).
PUBLISHED = {
    "A_SUBMITTED": 13087, "A_PARTLYSUBMITTED": 13087, "A_PREACCEPTED": 7367, "A_ACCEPTED": 5113,
    "A_FINALIZED": 5015, "A_DECLINED": 7635, "A_CANCELLED": 2807, "A_APPROVED": 2246, "A_REGISTERED": 2246,
    "A_ACTIVATED": 2246, "O_SELECTED": 7030, "O_CREATED": 7030, "O_SENT": 7030, "O_SENT_BACK": 3454,
    "O_CANCELLED": 3655, "O_ACCEPTED": 2243, "O_DECLINED": 802,
}


def bpic_files():
    """{stream: path}, or None (said loudly by the caller) where the log is not at hand."""
    files = {s: BPIC / f"{s}.ndjson.gz" for s in STREAMS}
    return files if all(f.exists() for f in files.values()) else None


def read(path):
    with (gzip.open(path, "rt") if str(path).endswith(".gz") else open(path)) as f:
        return [json.loads(line) for line in f]


def write(path, events):
    text = "".join(json.dumps(e, separators=(",", ":"), ensure_ascii=False) + "\n" for e in events)
    if str(path).endswith(".gz"):
        with gzip.open(path, "wt", compresslevel=1) as f:
            f.write(text)
    else:
        path.write_text(text)
    path.chmod(0o644)


# ---- the twin ----
def _stamp(t, rng):
    zone = dt.timezone(dt.timedelta(hours=rng.choice((1, 2))))
    return t.astimezone(zone).isoformat(timespec="milliseconds")


def twin(processes=2000, seed=1):
    """{stream: events}, each in order of event time: a process of the same shape, invented."""
    rng = random.Random(seed)
    start = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)
    streams = {s: [] for s in STREAMS}
    for n in range(processes):
        case, t, seq = str(500000 + 3 * n), start + dt.timedelta(minutes=7 * n), 0
        who = str(10000 + rng.randrange(60))

        def event(stream, activity, transition="COMPLETE", **more):
            nonlocal t, seq
            t += dt.timedelta(milliseconds=rng.randrange(1, 4_000_000))
            e = {"case_id": case, "seq": seq, "activity": activity, "transition": transition,
                 "at": _stamp(t, rng), "resource": who, **more}
            if rng.random() < 0.05:
                del e["resource"]
            streams[stream].append((t, e))
            seq += 1

        amount = rng.choice((5000, 7500.5, 15000, 20000, 49999.99))
        event("application", "A_SUBMITTED", amount_requested=amount, registered_at=_stamp(t, rng))
        event("application", "A_PARTLYSUBMITTED")
        for _ in range(rng.randrange(1, 9)):
            event("workitem", rng.choice(("W_Completeren aanvraag", "W_Nabellen offertes", "W_Valideren aanvraag")),
                  rng.choice(("SCHEDULE", "START", "COMPLETE")))
        fate = rng.random()
        if fate < 0.45:
            event("application", "A_DECLINED")
        elif fate < 0.6:
            event("application", "A_CANCELLED")
        elif fate < 0.9:
            for activity in ("O_SELECTED", "O_CREATED", "O_SENT"):
                event("offer", activity)
            event("application", "A_APPROVED")
            event("workitem", "W_Valideren aanvraag", "COMPLETE")
    return {s: [e for _, e in sorted(v, key=lambda x: x[0])] for s, v in streams.items()}


# ---- the answer ----
def micros(text):
    t = dt.datetime.fromisoformat(text)
    return (t - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)) // dt.timedelta(microseconds=1)


def answer(streams):
    """{case: expected columns of fact_loan}, by plain counting."""
    cases = {}
    for stream in STREAMS:
        for e in streams[stream]:
            c = cases.setdefault(e["case_id"], collections.defaultdict(int, seen=set()))
            at = micros(e["at"])
            order = (at, e["seq"])
            c["events"] += 1
            c["seen"].add(stream)
            c["last_event_at"] = max(c.get("last_event_at", at), at)
            c["first_event_at"] = min(c.get("first_event_at", at), at)
            if "resource" in e and order >= c.get("resource_order", order):
                c["resource_order"], c["resource"] = order, e["resource"]
            a = e["activity"]
            if a == "A_SUBMITTED":
                c["submitted_at"], c["amount"] = at, e["amount_requested"]
            c["approved"] |= a == "A_APPROVED"
            c["declined"] |= a == "A_DECLINED"
            c["cancelled"] |= a == "A_CANCELLED"
            c["offers_sent"] += a == "O_SENT"
            c["work_done"] += stream == "workitem" and e["transition"] == "COMPLETE"
    for c in cases.values():
        c["outcome"] = ("approved" if c["approved"] else "declined" if c["declined"]
                        else "cancelled" if c["cancelled"] else "open")
    return cases


def check_fact_loan(connection, streams):
    """Every column of every row of fact_loan against the answer."""
    cases = answer(streams)
    got = connection.execute(
        "select f.case_id, outcome, amount_requested::float8, (extract(epoch from submitted_at) * 1000000)::bigint,"
        " (extract(epoch from last_event_at) * 1000000)::bigint, offers_sent, work_items, events,"
        " (extract(epoch from first_event_at) * 1000000)::bigint, r.resource, status"
        " from analytical_schema.fact_loan f left join analytical_schema.dim_resource r using (resource_key)").fetchall()
    wrong = []
    for case, *row in got:
        c = cases.get(case)
        want = c and [c["outcome"], c.get("amount"), c.get("submitted_at"), c["last_event_at"], c["offers_sent"],
                      c["work_done"], c["events"], c["first_event_at"], c.get("resource")]
        have = row[:-1]
        if want is None or want[:-1] != have[:-1] or (want[-1] is not None and want[-1] != have[-1]):
            wrong.append((case, want, have))
    assert not wrong, f"{len(wrong)} rows wrong, e.g. {wrong[:3]}"
    assert len(got) == len(cases), f"{len(got)} rows for {len(cases)} processes"


# ---- pipelines ----
def pipeline(name="loans", sources=None, lanes=2, ingests=1, more="", folds="", columns="", limits=None,
             example="plain.yaml"):
    """The example, with other transports: sources is {stream: "kafka: {...}"}; file is the default."""
    text = (ROOT / "examples" / "loans" / example).read_text()
    text = text.replace("pipeline: loans", f"pipeline: {name}\nlanes: {lanes}\ningests: {ingests}", 1)
    for stream in STREAMS:
        old = f'file: {{ directory: "${{WEIR_DATA}}", path: "{stream}*.ndjson*", follow: true }}'
        assert old in text, "the example's source lines changed"
        new = (sources or {}).get(stream, f'file: {{ directory: "${{WEIR_DATA}}", path: "{stream}*.ndjson*" }}')
        text = text.replace(old, new, 1)
    if folds:
        text = text.replace("  # A decision ends a loan", folds + "  # A decision ends a loan", 1)
    if columns:
        text = text.replace("      work_items:       work_done\n", "      work_items:       work_done\n" + columns, 1)
    if limits:
        text += "limits:\n" + "".join(f"  {k}: {v}\n" for k, v in limits.items())
    return text + more


FOLLOW = {s: f'file: {{ directory: "${{WEIR_DATA}}", path: "{s}*.ndjson*", follow: true }}' for s in STREAMS}


def counting(sources=None, lanes=2, name="counts"):
    """One count fold and column for each published activity."""
    folds = columns = ""
    for a in PUBLISHED:
        source = "application" if a.startswith("A_") else "offer"
        folds += f"    n_{a.lower()}: {{ count: {source}, where: \"activity = '{a}'\" }}\n"
        columns += f"      n_{a.lower()}: n_{a.lower()}\n"
    return pipeline(name, sources, lanes, folds=folds, columns=columns)
