"""The pile's fast shape, as a data engineer writes it in an afternoon: consume, COPY raw rows into a staging table,
let PostgreSQL group and merge. Counts twice after a crash between its two commits; here it never crashes.

usage: peer_elt.py BOOTSTRAP DSN BATCH TOPIC ...   expects bench.fact_loan; ends when nothing has come for 3 s
"""

import sys
import time

import confluent_kafka
import psycopg2

try:
    import orjson as parser
except ImportError:
    import json as parser


class Rows:
    """A file object over text that COPY reads."""

    def __init__(self, text):
        self.text, self.at = text, 0

    def read(self, n=-1):
        part = self.text[self.at:] if n < 0 else self.text[self.at:self.at + n]
        self.at += len(part)
        return part


MERGE = r"""
insert into bench.fact_loan as f
select case_id, min(at) filter (where activity = 'A_SUBMITTED'), max(amount), bool_or(activity = 'A_APPROVED'),
	bool_or(activity = 'A_DECLINED'), bool_or(activity = 'A_CANCELLED'), count(*) filter (where activity = 'O_SENT'),
	count(*) filter (where activity like 'W\_%' and transition = 'COMPLETE'), max(at), 'open'
from stage group by case_id
on conflict (case_id) do update set
	submitted_at = coalesce(excluded.submitted_at, f.submitted_at), amount = coalesce(excluded.amount, f.amount),
	approved = f.approved or excluded.approved, declined = f.declined or excluded.declined,
	cancelled = f.cancelled or excluded.cancelled, offers_sent = f.offers_sent + excluded.offers_sent,
	work_items = f.work_items + excluded.work_items, last_event_at = greatest(f.last_event_at, excluded.last_event_at)
"""
OUTCOME = """update bench.fact_loan set outcome = case when approved then 'approved' when declined then 'declined'
	when cancelled then 'cancelled' else 'open' end where outcome <> case when approved then 'approved'
	when declined then 'declined' when cancelled then 'cancelled' else 'open' end"""


def line(value):
    e = parser.loads(value)
    amount = e.get("amount_requested")
    return "\t".join((e["case_id"], e["activity"], e["transition"], e["at"], "\\N" if amount is None else str(amount)))


def main(bootstrap, dsn, batch, *topics):
    db = psycopg2.connect(dsn)
    cursor = db.cursor()
    cursor.execute("create temp table stage (case_id text, activity text, transition text, at timestamptz, amount numeric)")
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": bootstrap, "group.id": f"peer-{time.time_ns()}", "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "queued.max.messages.kbytes": 131072, "fetch.max.bytes": 4 << 20})
    consumer.subscribe(list(topics))
    held, count, last = [], 0, time.monotonic()

    def load():
        nonlocal held, count
        cursor.execute("truncate stage")
        cursor.copy_expert("copy stage from stdin", Rows("\n".join(map(line, held)) + "\n"))
        cursor.execute(MERGE)
        db.commit()
        consumer.commit(asynchronous=False)
        count, held = count + len(held), []

    while True:
        values = [m.value() for m in consumer.consume(10000, 0.5) if not m.error()]
        if values:
            held += values
            last = time.monotonic()
        idle = count + len(held) > 0 and time.monotonic() - last > 3
        if len(held) >= int(batch) or (idle and held):
            load()
            last = time.monotonic()
        if idle and not held:
            break
    cursor.execute(OUTCOME)
    db.commit()
    print(count)


main(*sys.argv[1:])
