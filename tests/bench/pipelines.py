"""The benchmark's pipeline files: a head, folds, sources and tables, put together by who runs them."""

HEAD = """pipeline: {name}
lanes: {lanes}
"""
WAREHOUSE = """
warehouse:
  postgresql: { dsn: "${WEIR_DSN}", logins: "${WEIR_LOGINS}" }
"""
FIELDS = """    time: at
    sequence: seq
    fields: {{ case_id: text, seq: integer, activity: text, transition: text, at: {at}{more} }}
"""


def source(name, kafka, topic, more="", at="timestamp"):
    return (f"  {name}:\n    kafka: {{ brokers: \"{kafka.bootstrap}\", topic: {topic} }}\n    format: json\n"
            + FIELDS.format(more=more, at=at).replace("{{", "{").replace("}}", "}"))


AMOUNT = ", amount_requested: decimal"

PEERS_FOLDS = """correlate:
  by: case_id
  folds:
    submitted_at:  { min: application.at, where: "activity = 'A_SUBMITTED'" }
    amount:        { first: application.amount_requested }
    approved:      { any: application, where: "activity = 'A_APPROVED'" }
    declined:      { any: application, where: "activity = 'A_DECLINED'" }
    cancelled:     { any: application, where: "activity = 'A_CANCELLED'" }
    offers_sent:   { count: offer, where: "activity = 'O_SENT'" }
    work_items:    { count: workitem, where: "transition = 'COMPLETE'" }
    last_event_at: { max: [application.at, offer.at, workitem.at] }
sources:
"""
PEERS_TABLES = """
tables:
  fact_loan:
    kind: fact
    grain: process
    key: case_id
    columns:
      submitted_at: submitted_at
      amount: amount
      approved: approved
      declined: declined
      cancelled: cancelled
      offers_sent: offers_sent
      work_items: work_items
      last_event_at: last_event_at
      outcome: "case when approved then 'approved' when declined then 'declined' when cancelled then 'cancelled' else 'open' end"
"""
APPEND = """correlate:
  by: case_id
  folds: { events_seen: { count: workitem } }
sources:
"""
APPEND_TABLES = """
tables:
  fact_work:
    kind: fact
    grain: workitem
    key: case_id
    columns: { activity: activity, transition: transition, seq: seq }
"""
# The fields of work items, clear, sealed, and sealed with tokens; all of them are sent on, the last of a process is kept.
SEALING = """keys: keys
correlate:
  by: case_id
  folds:
    events_seen: {{ count: workitem }}
    last_activity: {{ last: workitem.activity }}
    last_transition: {{ last: workitem.transition }}
    last_resource: {{ last: workitem.resource }}
{tokens}
sources:
  workitem:
    kafka: {{ brokers: "{bootstrap}", topic: {topic} }}
    time: at
    sequence: seq
    fields:
      case_id: text
      seq: integer
      at: timestamp
      activity: {activity}
      transition: {transition}
      resource: {resource}
tables:
  fact_case: {{ kind: fact, grain: process, key: case_id, columns: {{ events_seen: events_seen }} }}
"""
TOKENS = """    activities: { last: workitem.activity_token }
    staff: { last: workitem.resource_token }
"""
SEALED = "{ type: text, sensitive: identity, pad: 32 }"
TOKENED = "{ type: text, sensitive: identity, pad: 32, token: %s }"
LIVE = """correlate:
  by: case_id
  folds:
    amount:        { last: event.amount_requested }
    touches:       { count: event }
    last_event_at: { max: event.at }
  deadline: 90d
limits: { batch_rows: 10000, batch_rows_behind: 10000, align: 3650d }
sources:
"""
LIVE_TABLES = """
tables:
  fact_loan:
    kind: fact
    grain: process
    key: case_id
    columns: { amount: amount, touches: touches, last_event_at: last_event_at }
"""
