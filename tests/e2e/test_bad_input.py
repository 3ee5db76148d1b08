"""Hostile and broken events: each is a dead letter whose reason a person understands, or the right value; never a
crash, never a stopped pipeline. The good events around them arrive."""

import json
import re

import pytest

import loans

PIPELINE = """
pipeline: bad
lanes: 2
correlate:
  by: id
  folds:
    n:      { count: event }
    amount: { last: event.amount }
    big:    { sum: event.amount }
    note:   { last: event.note }
    whole:  { last: event.whole }
    flag:   { last: event.flag }
    day:    { last: event.day }
    ratio:  { last: event.ratio }
    doc:    { last: event.doc }
    at:     { last: event.at }
sources:
  event:
    file: { path: "data/*.ndjson" }
    format: json
    time: at
    fields:
      id:     text
      at:     timestamp
      amount: decimal
      note:   text
      whole:  integer
      flag:   boolean
      day:    date
      ratio:  float
      doc:    json
warehouse:
  postgresql: { dsn: "${WEIR_DSN}", logins: "${WEIR_LOGINS}" }
tables:
  fact_event:
    kind: fact
    grain: process
    key: id
    columns: { n: n, amount: amount, big: big, note: note, whole: whole, flag: flag, day: day, ratio: ratio, doc: doc, at: at }
"""
AT = b'"at":"2024-02-29T12:00:00Z"'


def event(id_, rest=b"", at=AT):
    parts = [b'"id":' + json.dumps(id_).encode(), at]
    return b"{" + b",".join(p for p in (*parts, rest) if p) + b"}"


# name -> (bytes of the line, regular expression that its reason must match)
DEAD = {
    "invalid UTF-8": (event("x", b'"note":"\xff\xfe"'), r"UTF-8"),
    "overlong UTF-8": (event("x", b'"note":"\xc0\xaf"'), r"UTF-8"),
    "invalid UTF-8 in an undeclared field": (event("x", b'"other":"\xff"'), r"UTF-8"),
    "truncated": (b'{"id":"x","at":"2024-02-', r"JSON|ends|string"),
    "empty object": (b"{}", r"\bid\b"),
    "not an object": (b"[1,2]", r"object"),
    "a bare word": (b"hello", r"JSON|object"),
    "trailing garbage": (event("x") + b" x", r"after|trailing|JSON"),
    "two objects": (event("x") + event("y"), r"after|trailing|JSON"),
    "nesting of 10,000": (event("x", b'"doc":' + b"[" * 10000 + b"]" * 10000), r"nest|deep"),
    "nesting in an undeclared field": (event("x", b'"other":' + b'{"a":' * 10000 + b"1" + b"}" * 10000), r"nest|deep"),
    "duplicate key": (event("x", b'"note":"a","note":"b"'), r"twice|duplicate"),
    "duplicate ID": (event("x", b'"id":"y"'), r"twice|duplicate"),
    "1e400": (event("x", b'"amount":1e400'), r"amount"),
    "1e400 as float": (event("x", b'"ratio":1e400'), r"ratio"),
    "39 digits": (event("x", b'"amount":' + b"1" * 39), r"amount.*38|38.*digits"),
    "scale 19": (event("x", b'"amount":0.' + b"1" * 19), r"amount"),
    "2^63": (event("x", b'"whole":9223372036854775808'), r"whole"),
    "fraction as integer": (event("x", b'"whole":1.5'), r"whole"),
    "text as integer": (event("x", b'"whole":"7"'), r"whole.*integer|integer.*whole"),
    "number as text": (event("x", b'"note":7'), r"note.*text|text.*note"),
    "object as text": (event("x", b'"note":{}'), r"note"),
    "text as boolean": (event("x", b'"flag":"true"'), r"flag"),
    "no such day": (event("x", b'"day":"2023-02-29"'), r"day"),
    "missing ID": (b"{" + AT + b"}", r"\bid\b"),
    "null ID": (b'{"id":null,' + AT + b"}", r"\bid\b"),
    "empty ID": (event(""), r"\bid\b"),
    "long ID": (event("x" * 300), r"\bid\b"),
    "NUL in a text": (event("x", rb'"note":"a\u0000b"'), r"note.*NUL|NUL"),
    "raw control character": (event("x", b'"note":"a\x01b"'), r"JSON|control"),
    "lone high surrogate": (event("x", rb'"note":"\ud800"'), r"surrogate|UTF|string"),
    "lone low surrogate": (event("x", rb'"note":"\udc00x"'), r"surrogate|UTF|string"),
    "no time": (event("x", at=b""), r"\bat\b"),
    "null time": (event("x", at=b'"at":null'), r"\bat\b"),
    "time without offset": (event("x", at=b'"at":"2024-02-29T12:00:00"'), r"\bat\b.*(offset|time_zone)"),
    "time of an impossible day": (event("x", at=b'"at":"2024-02-30T12:00:00Z"'), r"\bat\b"),
    "time of hour 25": (event("x", at=b'"at":"2024-02-29T25:00:00Z"'), r"\bat\b"),
    "time as a number": (event("x", at=b'"at":1709208000'), r"\bat\b"),
    "time in the far future": (event("x", at=b'"at":"9998-01-01T00:00:00Z"'), r"ahead|future"),
    "a word as time": (event("x", at=b'"at":"yesterday"'), r"\bat\b"),
    "NaN": (event("x", b'"ratio":NaN'), r"JSON|ratio"),
    "single quotes": (b"{'id':'x'}", r"JSON|key|quote"),
    "leading zeros": (event("x", b'"whole":007'), r"whole|JSON|number"),
    "missing comma": (b'{"id":"x" "at":"2024-02-29T12:00:00Z"}', r"JSON|comma"),
}

GOOD = {
    "max": (event("max", b'"whole":9223372036854775807'), {"whole": 9223372036854775807}),
    "min": (event("min", b'"whole":-9223372036854775808'), {"whole": -9223372036854775808}),
    "digits30": (event("digits30", b'"amount":123456789012345678901234567890'), {"amount": "123456789012345678901234567890"}),
    "digits38": (event("digits38", b'"amount":-9999999999999999999999999999999999999.9'),
                 {"amount": "-9999999999999999999999999999999999999.9"}),
    "scale18": (event("scale18", b'"amount":0.000000000000000001'), {"amount": "0.000000000000000001"}),
    "cents": (event("cents", b'"amount":0.10'), {"amount": "0.10"}),
    "exponent": (event("exponent", b'"amount":1.5e3'), {"amount": "1500"}),
    "escapes": (event("escapes", rb'"note":"\u00e9\n\t\"\\\/\ud83d\ude00"'), {"note": 'é\n\t"\\/\U0001f600'}),
    "utf8": (event("utf8", '"note":"Zaandam – ü"'.encode()), {"note": "Zaandam – ü"}),
    "nulls": (event("nulls", b'"note":null,"amount":null,"flag":null'), {"note": None, "amount": None, "flag": None}),
    "unknown": (event("unknown", b'"x":1,"y":{"id":"z"},"z":[1,{"note":"n"}]'), {"n": 1}),
    "spaces": (b'  { "id" : "spaces" , ' + AT + b' , "flag" : true }  ', {"flag": True}),
    "crlf": (event("crlf", b'"note":"a"') + b"\r", {"note": "a"}),
    "long": (event("long", b'"note":"' + b"x" * 1_000_000 + b'"'), {"note": "x" * 1_000_000}),
    "json": (event("json", b'"doc":{"a":[1,2.50,"\xc3\xa9"],"b":null}'), {"doc": {"a": [1, 2.5, "é"], "b": None}}),
    "day": (event("day", b'"day":"2024-02-29"'), {"day": "2024-02-29"}),
}

TIMES = {
    "2024-02-29T12:00:00Z": "2024-02-29T12:00:00+00:00",
    "2024-02-29t12:00:00z": "2024-02-29T12:00:00+00:00",
    "2024-02-29 12:00:00Z": "2024-02-29T12:00:00+00:00",
    "2024-02-29T12:00:00+00:00": "2024-02-29T12:00:00+00:00",
    "2024-02-29T14:00:00+02:00": "2024-02-29T12:00:00+00:00",
    "2024-02-28T23:30:00-12:30": "2024-02-29T12:00:00+00:00",
    "2024-02-29T12:00:00.5Z": "2024-02-29T12:00:00.500000+00:00",
    "2024-02-29T12:00:00.123456Z": "2024-02-29T12:00:00.123456+00:00",
    "2024-02-29T12:00:00.123456789Z": "2024-02-29T12:00:00.123456+00:00",
    "1969-12-31T23:59:59.999999Z": "1969-12-31T23:59:59.999999+00:00",
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00+00:00",
}


@pytest.fixture
def bad(make_weir):
    w = make_weir(PIPELINE)
    w.apply()
    return w


def write(w, lines, name="a.ndjson", begin=b""):
    path = w.data / name
    path.write_bytes(begin + b"".join(line + b"\n" for line in lines))
    path.chmod(0o644)


def test_each_is_a_dead_letter_with_a_reason(bad, connection):
    for line, _ in DEAD.values():
        assert b"\n" not in line
    write(bad, [line for line, _ in DEAD.values()] + [event(f"good-{i}") for i in range(10)])
    result = bad.run("--accept-dead", codes=(1,))
    reasons = dict(connection.execute("select position, reason from admin_schema.dead_letter").fetchall())
    wrong = []
    for position, (name, (_, pattern)) in enumerate(DEAD.items()):
        reason = reasons.get(position)
        if reason is None or not re.search(pattern, reason):
            wrong.append(f"{name}: {reason!r} does not match {pattern!r}")
    assert not wrong, "\n".join(wrong)
    assert result["dead_letters"] == len(DEAD) and len(reasons) == len(DEAD)
    assert connection.execute("select count(*) from analytical_schema.fact_event").fetchone() == (10,)
    # No reason shows what was in the event, and no log line does.
    log = bad.log.read_text()
    for secret in ("yesterday", "9223372036854775808", "11111111111"):
        assert secret not in log and not any(secret in r for r in reasons.values())


def test_each_is_the_right_value(bad, connection):
    write(bad, [line for line, _ in GOOD.values()], begin=b"\xef\xbb\xbf")
    bad.run()
    assert connection.execute("select position, reason from admin_schema.dead_letter").fetchall() == []
    for name, (_, expected) in GOOD.items():
        row = connection.execute("select n, amount::text, note, whole, flag, day::text, ratio, doc::jsonb as doc"
                                 " from analytical_schema.fact_event where id = %s", (name,))
        names = [d.name for d in row.description]
        got = dict(zip(names, row.fetchone() or []))
        assert got, name
        for column, value in expected.items():
            assert got[column] == value, f"{name}.{column}: {got[column]!r} is not {value!r}"


def test_forms_of_time(bad, connection):
    write(bad, [event(f"t{i}", at=f'"at":"{form}"'.encode()) for i, form in enumerate(TIMES)])
    bad.run()
    connection.execute("set time zone 'UTC'")
    got = dict(connection.execute(
        "select id, to_char(at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') from analytical_schema.fact_event").fetchall())
    for i, (form, expected) in enumerate(TIMES.items()):
        stamp = expected.removesuffix("+00:00")
        assert got.get(f"t{i}") == (stamp if "." in stamp else stamp + ".000000"), form


def test_sums_are_exact(bad, connection):
    write(bad, [event("sum", b'"amount":' + a) for a in (
        b"0.1", b"0.2", b"-0.3", b"99999999999999999999999999999999999999", b"-99999999999999999999999999999999999998",
        b"0.000000000000000001")])
    bad.run()
    assert connection.execute("select big::text from analytical_schema.fact_event where id = 'sum'").fetchone() == (
        "1.000000000000000001",)


def test_a_string_of_two_megabytes(bad, connection):
    """Over the limit of one field: a dead letter, not a crash and not a truncation."""
    write(bad, [event("big", b'"note":"' + b"x" * 2_000_000 + b'"'), event("after")])
    result = bad.run(codes=(1,))
    assert result["dead_letters"] == 1
    reason = connection.execute("select reason from admin_schema.dead_letter").fetchone()[0]
    assert re.search(r"note.*(long|bytes|1 MiB|MB)", reason), reason
    assert connection.execute("select id from analytical_schema.fact_event").fetchall() == [("after",)]


def test_too_many_dead_letters_stop_the_pipeline(bad, connection):
    """More than 1 % of a batch (at least 100) is no longer bad data but a wrong pipeline: exit 65, nothing committed."""
    write(bad, [b"junk"] * 500 + [event("good")])
    done = bad.command("run", "--until", "now", bad.file, codes=(65,))
    assert "--accept-dead" in done.stderr
    assert connection.execute("select count(*) from admin_schema.dead_letter").fetchone() == (0,)
    result = bad.run("--accept-dead", codes=(1,))
    assert result["dead_letters"] == 500


def test_dead_list_and_show(bad, connection):
    write(bad, [b"junk", event("good")])
    bad.run(codes=(1,))
    listed = bad.json("dead", "list", bad.file)
    letters = listed if isinstance(listed, list) else listed["dead_letters"]
    assert len(letters) == 1 and letters[0]["source"] == "event" and letters[0]["stage"] == "ingest"
    shown = bad.command("dead", "show", letters[0]["rid"], bad.file)
    assert "position" in shown.stdout.lower() and "digest" in shown.stdout.lower()
    assert "junk" not in shown.stdout


def test_the_same_by_kafka(kafka, make_weir, connection):
    topic = kafka.create_topic("bad-input", partitions=1)
    lines = [line for line, _ in DEAD.values()] + [b""] + [event("good")]
    kafka.produce(topic, lines, partition=0)
    w = make_weir(PIPELINE.replace('file: { path: "data/*.ndjson" }',
                                   f'kafka: {{ brokers: "{kafka.bootstrap}", topic: {topic} }}'))
    w.apply()
    result = w.run("--accept-dead", codes=(1,))
    assert result["dead_letters"] == len(DEAD) + 1  # an empty message is one too
    assert connection.execute("select id from analytical_schema.fact_event").fetchall() == [("good",)]


def test_nothing_of_the_loans_is_lost_between_broken_events(make_weir, twin, connection):
    w = make_weir(loans.pipeline())
    lines = [json.dumps(e).encode() for e in twin["application"]]
    broken = [line for line, _ in DEAD.values()]
    mixed = [x for i, line in enumerate(lines) for x in ((line, broken[i % len(broken)]) if i % 97 == 0 else (line,))]
    write(w, mixed, "application.ndjson")
    for stream in ("offer", "workitem"):
        loans.write(w.data / f"{stream}.ndjson", twin[stream])
    w.apply()
    w.run("--accept-dead", codes=(1,))
    loans.check_fact_loan(connection, twin)
