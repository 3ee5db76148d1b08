/*
 * shard, with sealed fields, raw events and dead letters: what correlate passes on, and what it
 * takes as a breach.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf.h"
#include "keyhash.h"
#include "mem.h"
#include "workers/correlate/shard.h"

enum { GROUPS = 16, SEEN_MAX = 64, BYTES_MAX = 256 };
enum { P_FILE = 1, P_QUEUE, P_DEAD, PARTITIONS = 3 };
enum { S_A, S_Q };

#define START_US INT64_C(1300000000000000)

static const char pipeline[] =
    "pipeline: test\n"
    "keys: /nowhere/keys\n"
    "rid_key: file:/nowhere/rid.key\n"
    "groups: 16\n"
    "raw: warehouse\n"
    "limits: { events_per_process_max: 3 }\n"
    "correlate:\n"
    "  by: id\n"
    "  folds:\n"
    "    income: { last: [a.income, q.income] }\n"
    "    done:   { any: a, where: \"word = 'done'\" }\n"
    "  complete: done\n"
    "  deadline: 10d\n"
    "sources:\n"
    "  a:\n"
    "    file: { path: /nowhere/a.ndjson }\n"
    "    format: json\n"
    "    time: at\n"
    "    subject: person\n"
    "    fields:\n"
    "      id: text\n"
    "      at: timestamp\n"
    "      word: text\n"
    "      income: { type: decimal, sensitive: financial }\n"
    "      person: { type: text, sensitive: identity, token: cpf }\n"
    "  q:\n"
    "    rabbitmq: { url: \"amqp://localhost\", queue: q, identity: body }\n"
    "    format: json\n"
    "    time: at\n"
    "    fields: { id: text, at: timestamp, income: { type: decimal, sensitive: financial } }\n"
    "warehouse:\n"
    "  postgresql: { dsn: \"dbname=x\", logins: /nowhere }\n"
    "tables:\n"
    "  fact_p: { kind: fact, grain: process, key: id, columns: { ok: done } }\n";

static const uint8_t hash_key[HASH_KEY_BYTES] = {1, 2, 3};
static const uint8_t bound[61] = {1, 1, 1, 4, 9}, unbound[61] = {1, 1, 0, 4, 8};

struct seen_evt {
	struct record rec;
	uint8_t income[BYTES_MAX];
	uint32_t income_len;
};

struct seen_dead {
	struct dead d;
	char reason[REASON_MAX + 1];
	uint8_t body[BYTES_MAX];
};

static struct {
	struct model *m;
	struct shard *s;
	struct metric_page page;
	struct mono now;
	int64_t wall_us;
	struct seen_evt evt[SEEN_MAX];
	struct seen_dead dead[SEEN_MAX];
	unsigned evt_n, dead_n, proc_n;
	struct buf income; /* of the last PROC */
	struct end end;
	struct begin begin;
	int64_t next[PARTITIONS + 1]; /* offsets given so far */
	struct pack_reader reader;
} T;

static int
field(unsigned source, const char *name)
{
	const struct source *s = &T.m->sources[source];

	for (unsigned i = 0; i < s->fields_n; i++)
		if (!strcmp(s->fields[i].name.s, name))
			return (int)i;
	fail_msg("no field %s", name);
	return -1;
}

/* ---- what correlate sends ---- */

static void
evt_take(void)
{
	static struct value fields[FIELDS_MAX];
	struct record rec = {.fields = fields};

	assert_true(wire_record_read(&T.reader, &rec) && T.evt_n < SEEN_MAX);
	struct seen_evt *x = &T.evt[T.evt_n++];
	const struct value *v = &fields[field(rec.source, "income")];
	x->rec = rec;
	x->income_len = v->type == VALUE_SEALED ? v->len : 0;
	assert_true(x->income_len <= BYTES_MAX);
	if (x->income_len)
		memcpy(x->income, v->text, v->len);
}

static void
dead_take(void)
{
	struct dead d;

	assert_true(wire_dead_read(&T.reader, &d) && T.dead_n < SEEN_MAX);
	struct seen_dead *x = &T.dead[T.dead_n++];
	x->d = d;
	snprintf(x->reason, sizeof x->reason, "%.*s", (int)d.reason_len, d.reason);
	assert_true(d.body_len <= BYTES_MAX);
	if (d.body_len)
		memcpy(x->body, d.body, d.body_len);
}

static void
proc_take(void)
{
	static struct value inputs[EXPR_INPUTS_MAX];
	struct proc p = {.inputs = inputs};

	assert_true(wire_proc_read(&T.reader, &p));
	buf_clear(&T.income);
	if (inputs[PROCESS_FIXED].type == VALUE_SEALED)
		buf_add(&T.income, inputs[PROCESS_FIXED].text, inputs[PROCESS_FIXED].len);
	T.proc_n++;
}

static void
host_send(void *ctx, enum frame_type type, uint16_t flags, uint32_t count, struct buf *body)
{
	struct state_row state;

	(void)ctx;
	(void)flags;
	pack_reader_start(&T.reader, body->data + FRAME_HEAD_BYTES, body->len - FRAME_HEAD_BYTES);
	for (uint32_t i = 0; i < count; i++)
		switch (type) {
		case FRAME_BEGIN:
			assert_true(wire_begin_read(&T.reader, &T.begin));
			break;
		case FRAME_PROC:
			proc_take();
			break;
		case FRAME_EVT:
			evt_take();
			break;
		case FRAME_DEAD:
			dead_take();
			break;
		case FRAME_STATE:
			assert_true(wire_state_read(&T.reader, &state));
			break;
		case FRAME_END:
			end_free(&T.end);
			assert_true(wire_end_read(&T.reader, &T.end));
			break;
		default:
			fail_msg("a %s frame", frame_name(type));
		}
	assert_true(pack_reader_end(&T.reader));
	buf_clear(body);
}

static void
host_forward(void *ctx, const struct frame *f)
{
	(void)ctx;
	(void)f;
}

static bool
host_idle(void *ctx)
{
	(void)ctx;
	return false;
}

static void
host_ask(void *ctx, const struct lookup_query *q)
{
	(void)ctx;
	(void)q;
}

/* ---- what it gets ---- */

static bool
give(enum frame_type type, uint32_t count, struct buf *body, struct err *e)
{
	struct frame f = {.head = {.type = (uint8_t)type, .count = count}, .from = ROLE_INGEST};

	f.head.bytes = (uint32_t)body->len;
	f.body = body->data;
	bool ok = shard_frame(T.s, &f, T.now, T.wall_us, e);
	buf_free(body);
	return ok;
}

struct event {
	struct record rec;
	struct value fields[FIELDS_MAX];
};

static struct value
sealed(const uint8_t *p)
{
	return (struct value){.type = VALUE_SEALED, .len = 61, .text = (const char *)p};
}

/* A good event: of file a one of a person, of the queue one of nobody with this identity. */
static void
event_make(struct event *ev, uint32_t partition, unsigned source, const char *key, uint8_t id)
{
	*ev = (struct event){0};
	struct record *r = &ev->rec;

	r->kind = RECORD_EVENT;
	r->source = (uint16_t)source;
	r->partition = partition;
	r->offset = ++T.next[partition];
	r->key = key;
	r->key_len = (uint32_t)strlen(key);
	r->kg = keyhash_group(keyhash64(hash_key, key, strlen(key)), GROUPS);
	r->has_time = true;
	r->time_us = START_US + r->offset;
	r->has_rid = partition != P_FILE;
	if (r->has_rid)
		memset(r->rid, id, RID_BYTES);
	r->has_sid = source == S_A;
	if (r->has_sid)
		memset(r->sid, 3, SUBJECT_ID_BYTES);
	r->fields = ev->fields;
	r->fields_n = T.m->sources[source].fields_n;
	ev->fields[field(source, "id")] = value_text(key, r->key_len);
	ev->fields[field(source, "income")] = sealed(source == S_A ? bound : unbound);
	if (source == S_A) {
		ev->fields[field(S_A, "person")] = sealed(bound);
		ev->fields[field(S_A, "word")] = value_text("x", 1);
	}
}

static bool
data_try(const struct record *rec, struct err *e)
{
	struct buf body = {0};
	struct cover c = {.partition = rec->partition,
			  .from = rec->offset,
			  .to = rec->offset + 1,
			  .caught_up = true};

	wire_record_write(&body, rec);
	wire_covers_write(&body, &c, 1);
	return give(FRAME_DATA, 1, &body, e);
}

static void
data_give(const struct record *rec)
{
	struct err e;

	if (!data_try(rec, &e))
		fail_msg("%s", e.text);
}

/* Closes the batch and commits it; what came in it is in T. */
static void
batch(void)
{
	struct committed c = {.epoch = 1};
	struct buf body = {0};
	struct mono next;
	struct err e;

	T.evt_n = T.dead_n = T.proc_n = 0;
	T.now = mono_add_ms(T.now, 31000); /* longer than a lane that is behind waits */
	if (!shard_tick(T.s, T.now, T.wall_us, &next, &e))
		fail_msg("%s", e.text);
	assert_int_equal(T.end.n, T.begin.n);
	assert_int_equal(T.end.evt, T.evt_n);
	assert_int_equal(T.end.dead, T.dead_n);
	c.n = T.end.n;
	wire_committed_write(&body, &c);
	if (!give(FRAME_COMMITTED, 1, &body, &e))
		fail_msg("%s", e.text);
}

static int
world_up(void **state)
{
	struct conf_report report = {0};
	struct shard_setup setup = {.lanes = 1,
				    .ingests = 1,
				    .page = &T.page,
				    .host = {NULL, host_send, host_forward, host_idle, host_ask}};
	struct partition partitions[PARTITIONS] = {
	    {.id = P_FILE, .source = S_A, .label = "/nowhere/a#x", .label_len = 12},
	    {.id = P_QUEUE,
	     .source = S_Q,
	     .kind = PARTITION_TRANSIENT,
	     .label = "q",
	     .label_len = 1},
	    {.id = P_DEAD,
	     .source = S_A,
	     .kind = PARTITION_TRANSIENT,
	     .label = "$dead",
	     .label_len = 5}};
	struct own_range range = {0, GROUPS - 1, NULL, 0};
	struct own o = {.epoch = 1,
			.has_policy = true,
			.policy_serial = 4,
			.partitions = partitions,
			.partitions_n = PARTITIONS,
			.ranges = &range,
			.ranges_n = 1,
			.state_empty = true};
	struct buf b = {0};
	struct err e;

	(void)state;
	keyhash_init();
	if (!conf_read_text("test.yaml", pipeline, sizeof pipeline - 1, &T.m, &report))
		fail_msg("%s", buf_cstr(&report.text));
	conf_report_free(&report);
	setup.model = T.m;
	T.now.us = 1000000;
	T.wall_us = START_US + 1000 * INT64_C(86400000000);
	T.s = shard_new(&setup);
	memcpy(o.hash_key, hash_key, sizeof o.hash_key);
	wire_own_write(&b, &o);
	if (!give(FRAME_OWN, 1, &b, &e))
		fail_msg("%s", e.text);
	return 0;
}

static int
world_down(void **state)
{
	(void)state;
	shard_free(T.s);
	pack_reader_free(&T.reader);
	end_free(&T.end);
	buf_free(&T.income);
	model_free(T.m);
	memset(&T, 0, sizeof T);
	return 0;
}

/* ---- raw events, sealed folds ---- */

static void
test_an_event_goes_on_as_it_came_and_its_fold_is_carried(void **state)
{
	struct event ev;
	struct carried c;

	(void)state;
	event_make(&ev, P_FILE, S_A, "p1", 0);
	data_give(&ev.rec);
	batch();
	assert_int_equal(T.evt_n, 1);
	const struct seen_evt *x = &T.evt[0];
	assert_true(x->rec.has_rid && x->rec.has_sid && !x->rec.raw_only && !x->rec.has_bound);
	assert_memory_equal(x->rec.sid, ev.rec.sid, SUBJECT_ID_BYTES);
	assert_int_equal(x->income_len, sizeof bound);
	assert_memory_equal(x->income, bound, sizeof bound);
	assert_int_equal(T.proc_n, 1);
	assert_true(wire_carried_read(T.income.data, T.income.len, &c));
	assert_memory_equal(c.rid, x->rec.rid, RID_BYTES);
	assert_memory_equal(c.sid, ev.rec.sid, SUBJECT_ID_BYTES);
	assert_memory_equal(c.payload, bound, sizeof bound);
}

static void
test_what_is_not_folded_is_kept_as_a_raw_event(void **state)
{
	struct event ev;

	(void)state;
	for (int i = 0; i < 3; i++) {
		event_make(&ev, P_FILE, S_A, "p1", 0);
		data_give(&ev.rec);
	}
	batch();
	assert_int_equal(T.evt_n, 3);
	event_make(&ev, P_FILE, S_A, "p1", 0); /* events_per_process_max */
	data_give(&ev.rec);
	batch();
	assert_int_equal(T.evt_n, 1);
	assert_true(T.evt[0].rec.raw_only);
	assert_int_equal(T.evt[0].income_len, sizeof bound);
	assert_int_equal(T.dead_n, 1);
	assert_non_null(strstr(T.dead[0].reason, "process_too_large"));
	assert_int_equal(T.dead[0].d.body_len, 0); /* what it said stands among the raw events */
	assert_false(T.dead[0].d.has_sid);
	assert_memory_equal(T.dead[0].d.rid, T.evt[0].rec.rid, RID_BYTES);
}

/* Everything is read up to a day, so that the clock goes there. */
static void
clock_to(int64_t day)
{
	struct cover c[PARTITIONS];
	struct buf body = {0};
	struct err e;

	for (uint32_t i = 0; i < PARTITIONS; i++)
		c[i] = (struct cover){.partition = i + 1,
				      .from = T.next[i + 1] ? T.next[i + 1] + 1 : 0,
				      .to = T.next[i + 1] + 1,
				      .has_time = true,
				      .time_max_us = START_US + day * INT64_C(86400000000),
				      .caught_up = true};
	wire_covers_write(&body, c, PARTITIONS);
	if (!give(FRAME_DATA, 0, &body, &e))
		fail_msg("%s", e.text);
}

static void
test_a_late_event_is_kept_as_a_raw_event(void **state)
{
	struct event ev;

	(void)state;
	event_make(&ev, P_FILE, S_A, "p1", 0);
	ev.fields[field(S_A, "word")] = value_text("done", 4);
	data_give(&ev.rec);
	batch();
	clock_to(100); /* complete, closed, forgotten */
	batch();
	event_make(&ev, P_FILE, S_A, "p1", 0);
	data_give(&ev.rec);
	batch();
	assert_int_equal(T.dead_n, 1);
	assert_non_null(strstr(T.dead[0].reason, "late"));
	assert_int_equal(T.evt_n, 1);
	assert_true(T.evt[0].rec.raw_only && T.evt[0].rec.has_sid);
}

static void
test_a_redelivery_is_no_second_raw_event(void **state)
{
	struct event ev;

	(void)state;
	event_make(&ev, P_QUEUE, S_Q, "p1", 7);
	data_give(&ev.rec);
	event_make(&ev, P_QUEUE, S_Q, "p1", 7);
	data_give(&ev.rec);
	batch();
	assert_int_equal(T.evt_n, 1);
	assert_int_equal(T.end.sources[S_Q].dropped, 1);
	assert_int_equal(T.dead_n, 0);
}

static void
test_equal_events_that_are_two_keep_the_rid_they_are_bound_to(void **state)
{
	struct event ev;

	(void)state;
	for (int i = 0; i < 2; i++) {
		event_make(&ev, P_QUEUE, S_Q, "p1", 7);
		ev.rec.distinct = true;
		data_give(&ev.rec);
	}
	batch();
	assert_int_equal(T.evt_n, 2);
	assert_false(T.evt[0].rec.has_bound);
	assert_true(T.evt[1].rec.has_bound);
	assert_memory_not_equal(T.evt[1].rec.rid, T.evt[0].rec.rid, RID_BYTES);
	assert_memory_equal(T.evt[1].rec.bound, T.evt[0].rec.rid, RID_BYTES);
}

/* ---- dead letters ---- */

static void
dead_make(struct event *ev, uint32_t partition, uint8_t id)
{
	event_make(ev, partition, S_A, "", id);
	ev->rec.kind = RECORD_DEAD;
	ev->rec.kg = 3;
	ev->rec.reason = "it is broken";
	ev->rec.reason_len = 12;
	ev->rec.body = bound;
	ev->rec.body_len = sizeof bound;
}

static void
test_a_dead_letter_keeps_its_body_and_its_person(void **state)
{
	struct event ev;

	(void)state;
	dead_make(&ev, P_FILE, 0);
	data_give(&ev.rec);
	batch();
	assert_int_equal(T.dead_n, 1);
	assert_int_equal(T.evt_n, 0); /* not decoded: no raw event */
	const struct seen_dead *x = &T.dead[0];
	assert_true(x->d.has_sid && x->d.has_digest && !x->d.replayed);
	assert_memory_equal(x->d.sid, ev.rec.sid, SUBJECT_ID_BYTES);
	assert_int_equal(x->d.body_len, sizeof bound);
	assert_memory_equal(x->body, bound, sizeof bound);
	assert_int_equal(T.end.sources[S_A].dead, 1);
}

static void
test_a_dead_letter_sent_again_goes_when_it_is_folded(void **state)
{
	struct event ev;
	uint8_t rid[RID_BYTES];

	(void)state;
	event_make(&ev, P_DEAD, S_A, "p1", 5);
	memcpy(rid, ev.rec.rid, RID_BYTES);
	data_give(&ev.rec);
	batch();
	assert_int_equal(T.evt_n, 1); /* now it is decoded */
	assert_memory_equal(T.evt[0].rec.rid, rid, RID_BYTES);
	assert_int_equal(T.dead_n, 1);
	assert_true(T.dead[0].d.replayed);
	assert_memory_equal(T.dead[0].d.rid, rid, RID_BYTES);
	assert_int_equal(T.end.sources[S_A].dead, 0);
	assert_int_equal(T.end.sources[S_A].events, 1);
	/* Once more: it was folded, so it goes again, and nothing else happens. */
	event_make(&ev, P_DEAD, S_A, "p1", 5);
	data_give(&ev.rec);
	batch();
	assert_int_equal(T.evt_n, 0);
	assert_int_equal(T.dead_n, 1);
	assert_true(T.dead[0].d.replayed);
	assert_int_equal(T.end.sources[S_A].dropped, 1);
}

static void
test_a_dead_letter_that_dies_again_stays(void **state)
{
	struct event ev;

	(void)state;
	dead_make(&ev, P_DEAD, 5);
	data_give(&ev.rec);
	batch();
	assert_int_equal(T.dead_n, 1);
	assert_false(T.dead[0].d.replayed);
	for (int i = 0; i < 3; i++) {
		event_make(&ev, P_FILE, S_A, "p1", 0);
		data_give(&ev.rec);
	}
	event_make(&ev, P_DEAD, S_A, "p1", 6); /* one too many for its process */
	data_give(&ev.rec);
	batch();
	assert_int_equal(T.dead_n, 1);
	assert_false(T.dead[0].d.replayed);
}

/* ---- breaches ---- */

static void
breach(const struct record *rec)
{
	struct err e = {0};

	assert_false(data_try(rec, &e));
	assert_int_equal(e.code, EXIT_BUG);
	assert_non_null(strstr(e.text, "sealed"));
	T.next[rec->partition]--; /* nothing of it was applied */
}

static void
test_sealed_and_clear_exchanged_are_a_breach(void **state)
{
	static const uint8_t short_one[61] = {1, 1, 2, 0};
	struct event ev;

	(void)state;
	event_make(&ev, P_FILE, S_A, "p1", 0);
	ev.fields[field(S_A, "income")] = value_decimal(150000, 2);
	breach(&ev.rec);
	event_make(&ev, P_FILE, S_A, "p1", 0);
	ev.fields[field(S_A, "person")] = value_text("12345678909", 11);
	breach(&ev.rec);
	event_make(&ev, P_FILE, S_A, "p1", 0);
	ev.fields[field(S_A, "word")] = sealed(bound);
	breach(&ev.rec);
	event_make(&ev, P_FILE, S_A, "p1", 0);
	ev.fields[field(S_A, "income")] = sealed(unbound);
	breach(&ev.rec);
	event_make(&ev, P_FILE, S_A, "p1", 0);
	ev.fields[field(S_A, "income")] = sealed(short_one);
	breach(&ev.rec);
	event_make(&ev, P_FILE, S_A, "p1", 0);
	ev.rec.has_sid = false;
	breach(&ev.rec);
	event_make(&ev, P_QUEUE, S_Q, "p1", 7); /* of a source that knows no persons */
	ev.rec.has_sid = true;
	ev.fields[field(S_Q, "income")] = sealed(bound);
	breach(&ev.rec);
	event_make(&ev, P_FILE, S_A, "p1", 0); /* what only correlate may say */
	ev.rec.raw_only = true;
	breach(&ev.rec);
	event_make(&ev, P_QUEUE, S_Q, "p1", 7);
	ev.rec.has_bound = true;
	breach(&ev.rec);
	dead_make(&ev, P_FILE, 0);
	ev.rec.body = unbound;
	breach(&ev.rec);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, world_up, world_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    WORLD(test_an_event_goes_on_as_it_came_and_its_fold_is_carried),
	    WORLD(test_what_is_not_folded_is_kept_as_a_raw_event),
	    WORLD(test_a_late_event_is_kept_as_a_raw_event),
	    WORLD(test_a_redelivery_is_no_second_raw_event),
	    WORLD(test_equal_events_that_are_two_keep_the_rid_they_are_bound_to),
	    WORLD(test_a_dead_letter_keeps_its_body_and_its_person),
	    WORLD(test_a_dead_letter_sent_again_goes_when_it_is_folded),
	    WORLD(test_a_dead_letter_that_dies_again_stays),
	    WORLD(test_sealed_and_clear_exchanged_are_a_breach),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
