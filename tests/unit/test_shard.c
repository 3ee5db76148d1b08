/*
 * shard: records into processes, batches, the clock, stored state. The world around it is made here: an
 * ingest that sends frames, a load that commits them, a database that answers.
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
#include "process.h"
#include "workers/correlate/batch.h"
#include "workers/correlate/shard.h"

enum { DAY = 86400, KEYS_MAX = 400, PARTITIONS = 3, FRAMES_MAX = 256, GROUPS = 16, FIELDS = 3 };
enum { DONE_PARTITION = 12, RELAYED = 20, POSITIONS = 64 };

#define SECOND_US INT64_C(1000000)
#define START_US  (INT64_C(1300000000) * SECOND_US)

#define PIPELINE(from, more)                                                                       \
	"pipeline: test\n"                                                                         \
	"rid_key: file:/nowhere/rid.key\n"                                                         \
	"groups: 16\n"                                                                             \
	"correlate:\n"                                                                             \
	"  by: id\n"                                                                               \
	"  folds:\n"                                                                               \
	"    parts: { count: a }\n"                                                                \
	"    word:  { last: [a.word, q.word] }\n"                                                  \
	"    words: { set: a.word }\n"                                                             \
	"    done:  { any: a, where: \"word = 'done'\" }\n"                                        \
	"  complete: done\n"                                                                       \
	"  deadline: 10d\n"                                                                        \
	"  keep_closed: 5d\n"                                                                      \
	"sources:\n"                                                                               \
	"  a:\n"                                                                                   \
	"    " from "\n"                                                                           \
	"    format: json\n"                                                                       \
	"    time: at\n"                                                                           \
	"    fields: { id: text, at: timestamp, word: text }\n"                                    \
	"  q:\n"                                                                                   \
	"    rabbitmq: { url: \"amqp://localhost\", queue: q, identity: message-id }\n"            \
	"    format: json\n"                                                                       \
	"    time: at\n"                                                                           \
	"    fields: { id: text, at: timestamp, word: text }\n"                                    \
	"warehouse:\n"                                                                             \
	"  postgresql: { dsn: \"dbname=x\", logins: /nowhere }\n"                                  \
	"tables:\n"                                                                                \
	"  fact_process: { kind: fact, grain: process, key: id, columns: { word: word, parts: "    \
	"parts } "                                                                                 \
	"}\n"                                                                                      \
	"  fact_a:       { kind: fact, grain: a, key: id, columns: { word: word } }\n" more

static const char pipeline[] = PIPELINE("file: { path: /nowhere/a.ndjson }", "");
static const char spread[] =
    PIPELINE("kafka: { brokers: x, topic: a }", "exchange: { brokers: x }\n");

struct stored {
	uint8_t key[STATE_KEY_BYTES];
	uint32_t kg;
	bool tombstone, has_check_at;
	int64_t check_at_us;
	struct buf body;
};

/* One batch as load would see it. */
struct seen {
	struct begin begin;
	struct end end;
	bool ended, last;
	uint64_t proc, evt, dead;
	struct stored states[KEYS_MAX];
	uint32_t states_n;
	char proc_keys[4096], reasons[4096];
};

struct world {
	struct model *m;
	struct metric_page page;
	struct shard *s;
	struct mono now;
	enum role from; /* of the next frame */
	int64_t wall_us;
	struct seen batches[FRAMES_MAX];
	unsigned batches_n;   /* begun */
	unsigned committed_n; /* of them */
	uint64_t forwarded;
	struct stored store[KEYS_MAX];
	uint32_t store_n;
	int64_t next[POSITIONS]; /* committed positions, by partition id */
	int64_t epoch;
	struct lookup_query query;
	bool asked;
	struct pack_reader reader;
	bool bounded;
};

static uint8_t hash_key[HASH_KEY_BYTES] = {1, 2, 3};

/* ---- what correlate sends ---- */

static void
proc_take(struct world *w, struct seen *b)
{
	static struct value inputs[EXPR_INPUTS_MAX];
	struct proc p = {.inputs = inputs};

	assert_true(wire_proc_read(&w->reader, &p));
	assert_int_equal(p.inputs_n, w->m->inputs_n);
	b->proc++;
	size_t n = strlen(b->proc_keys);
	snprintf(b->proc_keys + n, sizeof b->proc_keys - n, "%.*s:%.*s:%lld ",
		 (int)inputs[PROCESS_KEY].len, inputs[PROCESS_KEY].text,
		 (int)inputs[PROCESS_STATUS].len, inputs[PROCESS_STATUS].text,
		 (long long)inputs[PROCESS_EVENTS].integer);
}

static void
state_take(struct world *w, struct seen *b)
{
	struct state_row r;
	struct stored *x = &b->states[b->states_n++];

	assert_true(wire_state_read(&w->reader, &r));
	*x = (struct stored){.kg = r.kg, .tombstone = r.tombstone};
	x->has_check_at = r.has_check_at;
	x->check_at_us = r.check_at_us;
	memcpy(x->key, r.key, sizeof x->key);
	buf_add(&x->body, r.body, r.body_len);
	if (b->states_n > 1)
		assert_true(memcmp(x[-1].key, x->key, sizeof x->key) < 0);
}

static void
evt_take(struct world *w, struct seen *b)
{
	static struct value fields[FIELDS_MAX];
	struct record rec = {.fields = fields};

	assert_true(wire_record_read(&w->reader, &rec));
	assert_true(rec.has_rid);
	assert_int_equal(rec.source, 0);
	b->evt++;
}

static void
dead_take(struct world *w, struct seen *b)
{
	struct dead d;

	assert_true(wire_dead_read(&w->reader, &d));
	b->dead++;
	size_t n = strlen(b->reasons);
	snprintf(b->reasons + n, sizeof b->reasons - n, "%.*s: %.*s\n", (int)d.stage_len, d.stage,
		 (int)d.reason_len, d.reason);
}

static void
host_send(void *ctx, enum frame_type type, uint16_t flags, uint32_t count, struct buf *body)
{
	struct world *w = ctx;

	if (type == FRAME_BEGIN)
		assert_true(!w->batches_n || w->batches[w->batches_n - 1].ended);
	struct seen *b = &w->batches[type == FRAME_BEGIN ? w->batches_n++ : w->batches_n - 1];
	assert_true(body->len - FRAME_HEAD_BYTES <= FRAME_BYTES_FLUSH || count == 1);
	pack_reader_start(&w->reader, body->data + FRAME_HEAD_BYTES, body->len - FRAME_HEAD_BYTES);
	for (uint32_t i = 0; i < count; i++) {
		switch (type) {
		case FRAME_BEGIN:
			assert_true(wire_begin_read(&w->reader, &b->begin));
			break;
		case FRAME_PROC:
			proc_take(w, b);
			break;
		case FRAME_EVT:
			evt_take(w, b);
			break;
		case FRAME_STATE:
			state_take(w, b);
			break;
		case FRAME_DEAD:
			dead_take(w, b);
			break;
		case FRAME_END:
			assert_true(wire_end_read(&w->reader, &b->end));
			b->ended = true;
			b->last = flags & FRAME_LAST;
			break;
		default:
			fail_msg("a %s frame", frame_name(type));
		}
	}
	assert_true(pack_reader_end(&w->reader));
	if (type == FRAME_END) {
		assert_int_equal(b->end.proc, b->proc);
		assert_int_equal(b->end.evt, b->evt);
		assert_int_equal(b->end.state, b->states_n);
		assert_int_equal(b->end.dead, b->dead);
	}
	buf_clear(body);
}

static void
host_forward(void *ctx, const struct frame *f)
{
	struct world *w = ctx;

	w->forwarded |= UINT64_C(1) << f->head.type;
}

static bool
host_idle(void *ctx)
{
	struct world *w = ctx;

	return !w->asked;
}

static void
host_ask(void *ctx, const struct lookup_query *q)
{
	struct world *w = ctx;

	w->query = *q;
	w->asked = true;
}

/* ---- frames to correlate ---- */

static bool
give(struct world *w, enum frame_type type, uint16_t flags, uint32_t count, struct buf *body,
     struct err *e)
{
	struct frame f = {.head = {.type = (uint8_t)type, .flags = flags, .count = count},
			  .from = w->from};

	f.head.bytes = (uint32_t)body->len;
	/* Exactly as long as it is, so that reading on is seen. */
	uint8_t *bytes = mem_alloc(body->len);
	memcpy(bytes, body->data, body->len);
	f.body = bytes;
	bool ok = shard_frame(w->s, &f, w->now, w->wall_us, e);
	free(bytes);
	buf_free(body);
	return ok;
}

/* What is done, load tells ahead of OWN. */
static bool
give_done(struct world *w, struct err *e)
{
	struct partition p = {.id = DONE_PARTITION,
			      .source = 0,
			      .done = true,
			      .next = 7,
			      .label = "/nowhere/a0#x",
			      .label_len = 13};
	struct buf b = {0};

	wire_partition_write(&b, &p);
	w->from = ROLE_LOAD;
	bool ok = give(w, FRAME_PART, 0, 1, &b, e);
	w->from = ROLE_INGEST;
	return ok;
}

static void
give_own(struct world *w, bool state_empty)
{
	struct partition partitions[PARTITIONS] = {
	    {.id = 1, .source = 0, .label = "/nowhere/a1#x", .label_len = 13},
	    {.id = 2, .source = 0, .label = "/nowhere/a2#x", .label_len = 13},
	    {.id = 3, .source = 1, .kind = PARTITION_TRANSIENT, .label = "q", .label_len = 1}};
	struct position positions[2] = {{1, w->next[1]}, {2, w->next[2]}};
	struct own_range ranges[2] = {{0, 7, positions, 2}, {8, GROUPS - 1, positions, 2}};
	struct own o = {.shard = 0, .epoch = ++w->epoch, .partitions = partitions};
	struct buf b = {0};
	struct err e;

	o.partitions_n = PARTITIONS;
	o.ranges = ranges;
	o.ranges_n = 2;
	o.state_empty = state_empty;
	memcpy(o.hash_key, hash_key, sizeof o.hash_key);
	wire_own_write(&b, &o);
	if (!give(w, FRAME_OWN, 0, 1, &b, &e))
		fail_msg("%s", e.text);
}

/* A DATA frame under construction. */
struct data {
	struct buf body;
	uint32_t records;
	struct cover covers[PARTITIONS];
	uint32_t covers_n;
	uint16_t flags;
};

static void
data_event(struct data *d, unsigned partition, int64_t offset, const char *key, int64_t day,
	   const char *word)
{
	struct value fields[FIELDS];
	struct record rec = {
	    .kind = RECORD_EVENT, .source = partition == 3, .partition = partition};

	rec.offset = offset;
	rec.key = key;
	rec.key_len = (uint32_t)strlen(key);
	rec.kg = keyhash_group(keyhash64(hash_key, key, strlen(key)), GROUPS);
	rec.has_time = true;
	rec.time_us = START_US + day * DAY * SECOND_US + offset;
	rec.fields = fields;
	rec.fields_n = FIELDS;
	fields[0] = value_text(key, strlen(key));
	fields[1] = value_timestamp(rec.time_us);
	fields[2] = word ? value_text(word, strlen(word)) : value_null();
	if (partition == 3) {
		/* The identity is the word: the same word again is a redelivery. */
		rec.has_rid = true;
		keyhash_process(hash_key, word, strlen(word), rec.rid);
	}
	wire_record_write(&d->body, &rec);
	d->records++;
}

static void
data_dead(struct data *d, unsigned partition, int64_t offset)
{
	struct record rec = {.kind = RECORD_DEAD, .source = partition == 3, .partition = partition};

	rec.offset = offset;
	rec.key = "";
	rec.has_rid = true;
	rec.rid[0] = 9;
	rec.kg = 3;
	rec.reason = "it is broken";
	rec.reason_len = 12;
	wire_record_write(&d->body, &rec);
	d->records++;
}

enum { BEHIND, CAUGHT_UP, FINISHED };

static void
data_cover(struct data *d, unsigned partition, int64_t from, int64_t to, int64_t day, int how)
{
	d->covers[d->covers_n++] = (struct cover){.partition = partition,
						  .from = from,
						  .to = to,
						  .has_time = day >= 0,
						  .time_max_us = START_US + day * DAY * SECOND_US,
						  .caught_up = how == CAUGHT_UP,
						  .finished = how == FINISHED};
}

static bool
data_try(struct world *w, struct data *d, struct err *e)
{
	wire_covers_write(&d->body, d->covers, d->covers_n);
	bool ok = give(w, FRAME_DATA, d->flags, d->records, &d->body, e);
	*d = (struct data){0};
	return ok;
}

static void
data_give(struct world *w, struct data *d)
{
	struct err e;

	if (!data_try(w, d, &e))
		fail_msg("%s", e.text);
}

static void
tick(struct world *w, int64_t ms)
{
	struct mono next;
	struct err e;

	w->now = mono_add_ms(w->now, ms);
	w->wall_us += ms * 1000;
	if (!shard_tick(w->s, w->now, w->wall_us, &next, &e))
		fail_msg("%s", e.text);
}

/* ---- the database ---- */

static struct stored *
stored_find(struct world *w, const uint8_t key[static STATE_KEY_BYTES])
{
	for (uint32_t i = 0; i < w->store_n; i++)
		if (!memcmp(w->store[i].key, key, STATE_KEY_BYTES))
			return &w->store[i];
	return NULL;
}

static void
stored_put(struct world *w, const struct stored *x)
{
	struct stored *to = stored_find(w, x->key);
	struct buf body = {0};

	if (!to)
		to = &w->store[w->store_n++];
	buf_add(&body, x->body.data, x->body.len);
	buf_free(&to->body);
	*to = *x;
	to->body = body;
}

/* Commits the oldest batch that is not; answers with COMMITTED. */
static void
commit(struct world *w)
{
	struct seen *b = &w->batches[w->committed_n++];
	struct committed c = {.epoch = w->epoch, .n = b->begin.n};
	struct buf body = {0};
	struct err e;

	assert_true(b->ended);
	for (uint32_t i = 0; i < b->states_n; i++)
		stored_put(w, &b->states[i]);
	for (uint32_t i = 0; i < b->end.ranges[0].positions_n; i++)
		w->next[b->end.ranges[0].positions[i].partition] =
		    b->end.ranges[0].positions[i].next;
	wire_committed_write(&body, &c);
	if (!give(w, FRAME_COMMITTED, b->last ? FRAME_LAST : 0, 1, &body, &e))
		fail_msg("%s", e.text);
}

static int
due_order(const void *a, const void *b)
{
	const struct lookup_row *x = a, *y = b;

	if (x->at_us != y->at_us)
		return x->at_us < y->at_us ? -1 : 1;
	return memcmp(x->key, y->key, STATE_KEY_BYTES);
}

static void
rows_find(struct world *w, struct lookup_answer *a)
{
	const struct lookup_query *q = &w->query;

	for (uint32_t i = 0; i < w->store_n; i++) {
		const struct stored *x = &w->store[i];
		struct lookup_row r = {.key = x->key, .kg = x->kg, .tombstone = x->tombstone};
		r.body = x->body.data;
		r.body_len = x->body.len;
		r.at_us = x->check_at_us;
		bool take = q->kind == LOOKUP_KNOWN && q->slot == 0;
		for (unsigned k = 0; q->kind == LOOKUP_KEYS && k < q->keys_n; k++)
			take |= !memcmp(q->keys[k], x->key, STATE_KEY_BYTES);
		if (q->kind == LOOKUP_DUE) {
			struct lookup_row from = {.key = q->from_key, .at_us = q->from_us};
			take = x->has_check_at && due_order(&r, &from) > 0 &&
			       x->check_at_us <= q->to_us;
		}
		if (q->kind == LOOKUP_NEWEST && x->has_check_at &&
		    (!a->n || r.at_us > a->rows[0].at_us)) {
			a->rows[0] = r;
			a->n = 1;
		}
		if (take)
			a->rows[a->n++] = r;
	}
	if (q->kind == LOOKUP_DUE)
		qsort(a->rows, a->n, sizeof *a->rows, due_order);
}

/* Answers what was asked; false: nothing was. */
static bool
answer(struct world *w)
{
	static struct lookup_row rows[KEYS_MAX];
	struct lookup_answer a = {.query = &w->query, .rows = rows, .last = true};
	struct err e;

	if (!w->asked)
		return false;
	rows_find(w, &a);
	/* Small pages, so that scans have to go on. */
	if (w->query.kind == LOOKUP_DUE && a.n > 2) {
		a.n = 2;
		a.last = false;
	}
	w->asked = false;
	if (!shard_answer(w->s, &a, w->now, &e))
		fail_msg("%s", e.text);
	return true;
}

static void
settle(struct world *w)
{
	for (int i = 0; i < 1000; i++) {
		tick(w, 1);
		if (!answer(w) && w->committed_n == w->batches_n)
			return;
		while (w->committed_n < w->batches_n)
			commit(w);
	}
	fail_msg("it does not come to rest");
}

/* ---- the world ---- */

static void
shard_up(struct world *w, bool state_empty)
{
	struct shard_setup setup = {.model = w->m,
				    .lanes = 1,
				    .ingests = 1,
				    .bounded = w->bounded,
				    .page = &w->page,
				    .host = {w, host_send, host_forward, host_idle, host_ask}};
	struct err e;

	w->s = shard_new(&setup);
	if (!give_done(w, &e))
		fail_msg("%s", e.text);
	give_own(w, state_empty);
}

/* The worker dies: what was not committed is gone. */
static void
shard_down(struct world *w)
{
	shard_free(w->s);
	w->s = NULL;
	w->asked = false;
	for (unsigned i = 0; i < w->batches_n; i++) {
		for (uint32_t k = 0; k < w->batches[i].states_n; k++)
			buf_free(&w->batches[i].states[k].body);
		end_free(&w->batches[i].end);
	}
	memset(w->batches, 0, sizeof w->batches);
	w->batches_n = w->committed_n = 0;
}

static int
world_up(void **state)
{
	struct world *w = mem_zero(1, sizeof *w);
	struct conf_report report = {0};

	keyhash_init();
	if (!conf_read_text("test.yaml", pipeline, sizeof pipeline - 1, &w->m, &report))
		fail_msg("%s", buf_cstr(&report.text));
	conf_report_free(&report);
	w->now.us = 1000000;
	w->wall_us = START_US + 1000 * (int64_t)DAY * SECOND_US;
	shard_up(w, true);
	*state = w;
	return 0;
}

static int
world_down(void **state)
{
	struct world *w = *state;

	shard_down(w);
	for (uint32_t i = 0; i < w->store_n; i++)
		buf_free(&w->store[i].body);
	pack_reader_free(&w->reader);
	model_free(w->m);
	free(w);
	return 0;
}

static void
close_now(struct world *w)
{
	tick(w, 300);
}

#define last_batch(w) (&(w)->batches[(w)->batches_n - 1])

/* ---- what is done ---- */

static void
test_done_partitions_come_ahead_of_own(void **state)
{
	struct world *w = *state;
	struct data d = {0};
	struct err e = {0};

	assert_false(w->forwarded & UINT64_C(1) << FRAME_PART);
	assert_int_equal(shard_queued(w->s), 0);
	data_event(&d, DONE_PARTITION, 0, "p1", 1, "hello");
	data_give(w, &d);
	close_now(w);
	assert_int_equal(w->batches_n, 1);
	assert_false(give_done(w, &e));
	assert_non_null(strstr(e.text, "after OWN"));
}

/* ---- a batch ---- */

static void
test_events_become_a_batch(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	assert_true(w->forwarded & UINT64_C(1) << FRAME_OWN);
	data_event(&d, 1, 0, "p2", 1, "hello");
	data_event(&d, 1, 3, "p1", 1, "done");
	data_event(&d, 3, 1, "p1", 1, "x1");
	data_dead(&d, 2, 7);
	data_cover(&d, 1, 0, 5, 1, CAUGHT_UP);
	data_cover(&d, 2, 0, 8, 1, CAUGHT_UP);
	data_cover(&d, 3, 1, 2, 1, CAUGHT_UP);
	data_give(w, &d);
	tick(w, 100);
	assert_int_equal(w->batches_n, 0);
	close_now(w);
	assert_int_equal(w->batches_n, 1);
	struct seen *b = last_batch(w);
	assert_int_equal(b->begin.n, 1);
	assert_int_equal(b->begin.epoch, w->epoch);
	assert_string_equal(b->proc_keys, "p1:complete:2 p2:open:1 ");
	assert_int_equal(b->evt, 2);
	assert_int_equal(b->states_n, 2);
	assert_string_equal(b->reasons, "ingest: it is broken\n");
	assert_int_equal(b->end.ranges_n, 2);
	assert_int_equal(b->end.ranges[1].positions_n, 3);
	assert_int_equal(b->end.ranges[1].positions[0].next, 5);
	assert_int_equal(b->end.ranges[1].positions[1].next, 8);
	assert_int_equal(b->end.sources[0].events, 2);
	assert_int_equal(b->end.sources[0].dead, 1);
	assert_int_equal(b->end.sources[1].events, 1);
	/* Counted when it is committed: after a death it is made again. */
	assert_int_equal(metric_get(&w->page, METRIC_PROCESSES_OPENED), 0);
	assert_int_equal(metric_get(&w->page, METRIC_PROCESSES_COMPLETED), 0);
	assert_true(metric_get(&w->page, METRIC_OLDEST_UNCOMMITTED_SECONDS) >= 300000);
	commit(w);
	tick(w, 1);
	assert_int_equal(metric_get(&w->page, METRIC_PROCESSES_OPENED), 2);
	assert_int_equal(metric_get(&w->page, METRIC_PROCESSES_COMPLETED), 1);
	assert_int_equal(metric_get(&w->page, METRIC_OLDEST_UNCOMMITTED_SECONDS), 0);
}

static void
test_what_was_applied_is_dropped(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	shard_down(w);
	w->next[1] = 10;
	shard_up(w, true);
	data_event(&d, 1, 8, "p1", 1, "old");
	data_event(&d, 1, 9, "p1", 1, "old");
	data_event(&d, 1, 10, "p1", 1, "new");
	data_event(&d, 3, 1, "p1", 1, "x1");
	data_event(&d, 3, 2, "p1", 1, "x1");
	data_cover(&d, 1, 5, 11, 1, CAUGHT_UP);
	data_cover(&d, 3, 1, 3, 1, CAUGHT_UP);
	data_give(w, &d);
	close_now(w);
	assert_string_equal(last_batch(w)->proc_keys, "p1:open:2 ");
	assert_int_equal(last_batch(w)->end.sources[0].dropped, 2);
	assert_int_equal(last_batch(w)->end.sources[1].dropped, 1);
	assert_int_equal(last_batch(w)->evt, 1);
}

static void
test_two_batches_at_most(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	for (int64_t i = 0; i < 5; i++) {
		data_event(&d, 1, i, "p1", 1, "hello");
		data_cover(&d, 1, i, i + 1, 1, CAUGHT_UP);
		data_cover(&d, 2, 0, 0, 1, CAUGHT_UP);
		data_cover(&d, 3, 1, 1, -1, CAUGHT_UP);
		data_give(w, &d);
		close_now(w);
	}
	assert_int_equal(w->batches_n, 2);
	commit(w);
	tick(w, 1);
	assert_int_equal(w->batches_n, 3);
	assert_string_equal(last_batch(w)->proc_keys, "p1:open:5 ");
	assert_int_equal(last_batch(w)->end.ranges[0].positions[0].next, 5);
}

/* A full batch that cannot close holds frames back; nothing is lost, and the order stays. */
static void
test_a_full_batch_waits_for_a_commit(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	w->m->limits.batch_rows = w->m->limits.batch_rows_behind = 2;
	shard_down(w);
	shard_up(w, true);
	for (int64_t i = 0; i < 20; i++) {
		char key[8];
		snprintf(key, sizeof key, "p%02d", (int)i);
		data_event(&d, 1, i, key, 1, "hello");
		data_cover(&d, 1, i, i + 1, 1, BEHIND);
		data_give(w, &d);
	}
	assert_int_equal(w->batches_n, 2);
	assert_int_equal(shard_queued(w->s), 0);
	for (unsigned i = 0; i < 10; i++) {
		commit(w);
		tick(w, 1);
	}
	assert_int_equal(w->batches_n, 10);
	assert_string_equal(last_batch(w)->proc_keys, "p18:open:1 p19:open:1 ");
}

/* Its output is bounded by what its processes are, not only by an average of earlier ones. */
static void
test_large_processes_fill_a_batch(void **state)
{
	struct world *w = *state;
	struct data d = {0};
	static char word[40001];
	char key[8];

	w->m->limits.batch_bytes_max = 100000;
	shard_down(w);
	shard_up(w, true);
	memset(word, 'x', sizeof word - 1);
	for (int64_t i = 0; i < 6; i++) {
		snprintf(key, sizeof key, "p%d", (int)i);
		data_event(&d, 2, i, key, 1, word);
		data_cover(&d, 2, i, i + 1, 1, BEHIND);
		data_give(w, &d);
	}
	settle(w);
	/* One frame, with small events of large processes. */
	unsigned before = w->batches_n;
	for (int64_t i = 0; i < 60; i++) {
		snprintf(key, sizeof key, "p%d", (int)(i % 6));
		data_event(&d, 1, i, key, 0, "x");
	}
	data_cover(&d, 1, 0, 60, 0, BEHIND);
	data_give(w, &d);
	settle(w);
	close_now(w);
	settle(w);
	uint64_t events = 0;
	for (unsigned i = 0; i < w->batches_n; i++) {
		assert_true(w->batches[i].proc <= 3);
		events += w->batches[i].end.sources[0].events;
	}
	assert_int_equal(events, 66);
	assert_true(w->batches_n >= before + 10);
}

static void
test_positions_alone_close_after_a_while(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	data_cover(&d, 1, 0, 50, 1, CAUGHT_UP);
	data_cover(&d, 2, 0, 0, -1, CAUGHT_UP);
	data_cover(&d, 3, 1, 1, -1, CAUGHT_UP);
	data_give(w, &d);
	tick(w, 1000);
	assert_int_equal(w->batches_n, 0);
	assert_int_equal(metric_get(&w->page, METRIC_OLDEST_UNCOMMITTED_SECONDS), 0);
	tick(w, 4000);
	assert_int_equal(w->batches_n, 1);
	assert_int_equal(last_batch(w)->end.ranges[0].positions[0].next, 50);
	tick(w, 20000);
	assert_int_equal(w->batches_n, 1);
	/* No event waits, however late positions are committed. */
	assert_int_equal(metric_get(&w->page, METRIC_OLDEST_UNCOMMITTED_SECONDS), 0);
}

static void
test_behind_collects_for_longer(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	for (int64_t i = 0; i < 2; i++) {
		data_event(&d, 1, i, "p1", 1, "hello");
		data_cover(&d, 1, i, i + 1, 1, BEHIND);
		data_give(w, &d);
		close_now(w);
	}
	/* The first batch of an epoch is soon, the second waits. */
	assert_int_equal(w->batches_n, 1);
	tick(w, 25000);
	assert_int_equal(w->batches_n, 1);
	tick(w, 5000);
	assert_int_equal(w->batches_n, 2);
}

/* ---- breaches ---- */

static void
test_breaches_end_the_generation(void **state)
{
	struct world *w = *state;
	struct data d = {0};
	struct err e;

	data_event(&d, 1, 0, "p1", 1, "hello");
	data_cover(&d, 1, 0, 5, 1, BEHIND);
	data_give(w, &d);
	data_cover(&d, 1, 6, 7, 1, BEHIND);
	assert_false(data_try(w, &d, &e));
	assert_non_null(strstr(e.text, "a gap in partition 1"));

	data_cover(&d, 9, 0, 7, 1, BEHIND);
	assert_false(data_try(w, &d, &e));
	assert_non_null(strstr(e.text, "unknown partition 9"));

	data_event(&d, 1, 9, "p1", 1, "hello");
	data_cover(&d, 1, 5, 9, 1, BEHIND);
	assert_false(data_try(w, &d, &e));
	assert_non_null(strstr(e.text, "below a record"));

	data_event(&d, 3, 9, "p1", 1, "hello");
	d.body.data[1] ^= 3; /* another kind */
	assert_false(data_try(w, &d, &e));

	data_event(&d, 1, 9, "p1", 1, "hello");
	d.records = 2; /* fewer than it says */
	assert_false(data_try(w, &d, &e));

	struct buf body = {0};
	struct committed c = {.epoch = w->epoch, .n = 7};
	wire_committed_write(&body, &c);
	assert_false(give(w, FRAME_COMMITTED, 0, 1, &body, &e));
}

/* ---- the clock ---- */

static void
test_deadlines_and_tombstones(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	data_event(&d, 1, 0, "p1", 1, "hello");
	data_cover(&d, 1, 0, 1, 1, CAUGHT_UP);
	data_cover(&d, 2, 0, 0, -1, CAUGHT_UP);
	data_cover(&d, 3, 1, 1, -1, CAUGHT_UP);
	data_give(w, &d);
	settle(w);
	close_now(w);
	settle(w);
	assert_string_equal(last_batch(w)->proc_keys, "p1:open:1 ");
	/* Another process' event moves the time past p1's deadline. */
	data_event(&d, 1, 1, "p2", 12, "hello");
	data_cover(&d, 1, 1, 2, 12, CAUGHT_UP);
	data_give(w, &d);
	tick(w, 60);
	close_now(w);
	assert_string_equal(last_batch(w)->proc_keys, "p1:expired:1 p2:open:1 ");
	settle(w);
	data_event(&d, 1, 2, "p3", 17, "hello");
	data_cover(&d, 1, 2, 3, 17, CAUGHT_UP);
	data_give(w, &d);
	tick(w, 60);
	close_now(w);
	assert_string_equal(last_batch(w)->proc_keys, "p3:open:1 ");
	assert_int_equal(last_batch(w)->states_n, 2);
	settle(w);
	assert_int_equal(metric_get(&w->page, METRIC_PROCESSES_FORGOTTEN), 1);
	data_event(&d, 1, 3, "p1", 18, "too late");
	data_cover(&d, 1, 3, 4, 18, CAUGHT_UP);
	data_give(w, &d);
	close_now(w);
	assert_int_equal(last_batch(w)->proc, 0);
	assert_non_null(strstr(last_batch(w)->reasons, "correlate: late"));
	settle(w);
	assert_int_equal(metric_get(&w->page, METRIC_LATE_EVENTS), 1);
}

/* A source that lags holds the clock, and status can say which. */
/* on_close: an open process has no row; but one that was written follows its process. */
static void
test_a_reopened_process_is_emitted(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	w->m->emit_on_close = true;
	w->m->deadline_us = 0;
	w->m->quiet_for_us = 10 * (int64_t)DAY * SECOND_US;
	data_event(&d, 1, 0, "p1", 1, "hello");
	data_cover(&d, 1, 0, 1, 1, CAUGHT_UP);
	data_cover(&d, 2, 0, 0, -1, CAUGHT_UP);
	data_cover(&d, 3, 1, 1, -1, CAUGHT_UP);
	data_give(w, &d);
	close_now(w);
	assert_int_equal(last_batch(w)->proc, 0);
	assert_int_equal(last_batch(w)->states_n, 1);
	settle(w);
	data_event(&d, 1, 1, "p2", 12, "hello");
	data_cover(&d, 1, 1, 2, 12, CAUGHT_UP);
	data_give(w, &d);
	tick(w, 60);
	close_now(w);
	assert_string_equal(last_batch(w)->proc_keys, "p1:expired:1 ");
	settle(w);
	/* Now both are read back, p1 with an event that was not late enough to leave it closed. */
	shard_down(w);
	shard_up(w, false);
	data_event(&d, 1, 2, "p1", 5, "again");
	data_event(&d, 1, 3, "p2", 12, "again");
	data_cover(&d, 1, 2, 4, 12, CAUGHT_UP);
	data_cover(&d, 2, 0, 0, -1, CAUGHT_UP);
	data_cover(&d, 3, 1, 1, -1, CAUGHT_UP);
	data_give(w, &d);
	for (int i = 0; i < 100 && !w->batches_n; i++) {
		tick(w, 10);
		answer(w);
	}
	assert_string_equal(w->batches[0].proc_keys, "p1:open:2 ");
	assert_int_equal(w->batches[0].states_n, 2);
}

static void
test_the_slowest_source_holds_the_clock(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	data_event(&d, 1, 0, "p1", 1, "hello");
	data_cover(&d, 1, 0, 1, 30, CAUGHT_UP);
	data_cover(&d, 2, 0, 0, -1, CAUGHT_UP);
	data_give(w, &d);
	close_now(w);
	assert_int_equal(atomic_load(&w->page.waits_for_source), 1);
	assert_string_equal(last_batch(w)->proc_keys, "p1:open:1 ");
	data_cover(&d, 3, 1, 2, 2, BEHIND);
	data_give(w, &d);
	close_now(w);
	assert_int_equal(atomic_load(&w->page.waits_for_source), 1);
	assert_int_equal(metric_get(&w->page, METRIC_CLOCK_SECONDS),
			 START_US + 2 * (int64_t)DAY * SECOND_US);
	data_cover(&d, 3, 2, 2, 2, CAUGHT_UP);
	data_give(w, &d);
	tick(w, 60);
	tick(w, 300);
	assert_int_equal(atomic_load(&w->page.waits_for_source), -1);
	assert_string_equal(last_batch(w)->proc_keys, "p1:expired:1 ");
}

static void
test_the_end_of_a_bounded_run(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	w->bounded = true;
	shard_down(w);
	shard_up(w, true);
	data_event(&d, 1, 0, "p1", 1, "hello");
	data_event(&d, 1, 1, "p2", 20, "hello");
	data_cover(&d, 1, 0, 2, 20, FINISHED);
	data_cover(&d, 2, 0, 0, -1, FINISHED);
	data_cover(&d, 3, 1, 1, -1, FINISHED);
	d.flags = FRAME_LAST;
	data_give(w, &d);
	tick(w, 1);
	assert_int_equal(w->batches_n, 1);
	assert_true(last_batch(w)->last);
	assert_string_equal(last_batch(w)->proc_keys, "p1:expired:1 p2:open:1 ");
	assert_false(shard_done(w->s));
	commit(w);
	assert_true(shard_done(w->s));
}

/* A drain is LAST too; nothing expires because of it. An empty last batch says that all is in. */
static void
test_a_drain(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	data_event(&d, 1, 0, "p1", 1, "hello");
	data_cover(&d, 1, 0, 2, 20, BEHIND);
	data_give(w, &d);
	close_now(w);
	d.flags = FRAME_LAST;
	data_give(w, &d);
	tick(w, 1);
	assert_int_equal(w->batches_n, 2);
	assert_true(last_batch(w)->last);
	assert_int_equal(last_batch(w)->proc, 0);
	commit(w);
	assert_false(shard_done(w->s));
	commit(w);
	assert_true(shard_done(w->s));
}

/* ---- stored state ---- */

/* p1 open, p2 forgotten, in the database; the next generation begins. */
static void
stored_two(struct world *w)
{
	struct data d = {0};

	data_event(&d, 1, 0, "p2", 1, "done");
	data_event(&d, 1, 1, "p1", 7, "hello");
	data_cover(&d, 1, 0, 2, 7, CAUGHT_UP);
	data_cover(&d, 2, 0, 0, -1, CAUGHT_UP);
	data_cover(&d, 3, 1, 1, -1, CAUGHT_UP);
	data_give(w, &d);
	tick(w, 60);
	close_now(w);
	settle(w);
	assert_int_equal(w->store_n, 2);
	shard_down(w);
	shard_up(w, false);
}

static void
test_frames_wait_for_stored_state(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	stored_two(w);
	data_event(&d, 1, 2, "p1", 8, "again");
	data_event(&d, 1, 3, "p3", 8, "new");
	data_cover(&d, 1, 2, 4, 8, BEHIND);
	data_give(w, &d);
	data_event(&d, 1, 4, "p2", 8, "again");
	data_cover(&d, 1, 4, 5, 8, BEHIND);
	data_give(w, &d);
	tick(w, 1);
	/* One query asks for the keys of both frames. */
	assert_true(w->asked);
	assert_int_equal(w->query.kind, LOOKUP_KEYS);
	assert_int_equal(w->query.keys_n, 3);
	close_now(w);
	assert_int_equal(w->batches_n, 0);
	assert_true(answer(w));
	tick(w, 1);
	close_now(w);
	assert_string_equal(last_batch(w)->proc_keys, "p1:open:2 p3:open:1 ");
	assert_int_equal(last_batch(w)->dead, 1);
	assert_int_equal(metric_get(&w->page, METRIC_STATE_LOOKUPS), 3);
	settle(w);
	/* The filter is built meanwhile: now a new key needs no query. */
	for (int i = 0; i < 40; i++) {
		tick(w, 1);
		answer(w);
	}
	data_event(&d, 1, 5, "p4", 8, "new");
	data_cover(&d, 1, 5, 6, 8, BEHIND);
	data_give(w, &d);
	tick(w, 1);
	assert_int_equal(metric_get(&w->page, METRIC_STATE_LOOKUPS), 3);
	assert_int_equal(metric_get(&w->page, METRIC_PROCESSES_CACHED), 4);
}

/* A process that only the database has is found when the clock passes its deadline. */
static void
test_due_processes_in_the_database(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	stored_two(w);
	settle(w);
	data_event(&d, 1, 2, "p9", 20, "hello");
	data_cover(&d, 1, 2, 3, 20, CAUGHT_UP);
	data_cover(&d, 2, 0, 0, -1, CAUGHT_UP);
	data_cover(&d, 3, 1, 1, -1, CAUGHT_UP);
	data_give(w, &d);
	for (int i = 0; i < 40; i++) {
		tick(w, 100);
		answer(w);
		while (w->committed_n < w->batches_n)
			commit(w);
	}
	bool expired = false;
	for (unsigned i = 0; i < w->batches_n; i++)
		expired |= strstr(w->batches[i].proc_keys, "p1:expired:1 ") != NULL;
	assert_true(expired);
}

/* With all input silent after a restart, the clock goes on from where the states show that it was. */
static void
test_the_clock_goes_on_after_a_restart(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	stored_two(w);
	data_cover(&d, 1, 2, 2, -1, CAUGHT_UP);
	data_cover(&d, 2, 0, 0, -1, CAUGHT_UP);
	data_cover(&d, 3, 1, 1, -1, CAUGHT_UP);
	data_give(w, &d);
	settle(w);
	tick(w, 1000);
	assert_true(metric_get(&w->page, METRIC_CLOCK_SECONDS) >=
		    (uint64_t)(START_US + 7 * (int64_t)DAY * SECOND_US));
}

/* Events ahead of the wall put the clock at the wall, which moves on while the last scan is made. */
static void
test_a_bounded_run_ends_with_events_ahead_of_the_wall(void **state)
{
	struct world *w = *state;
	struct data d = {0};

	w->bounded = true;
	stored_two(w);
	w->wall_us = START_US + 6 * (int64_t)DAY * SECOND_US;
	data_event(&d, 1, 2, "p1", 8, "hello");
	data_cover(&d, 1, 2, 3, 8, FINISHED);
	data_cover(&d, 2, 0, 0, -1, FINISHED);
	data_cover(&d, 3, 1, 1, -1, FINISHED);
	d.flags = FRAME_LAST;
	data_give(w, &d);
	settle(w);
	assert_true(shard_done(w->s));
	/* And again with nothing new: where the clock stood is read from the states. */
	shard_down(w);
	shard_up(w, false);
	data_cover(&d, 1, 3, 3, -1, FINISHED);
	data_cover(&d, 2, 0, 0, -1, FINISHED);
	data_cover(&d, 3, 1, 1, -1, FINISHED);
	d.flags = FRAME_LAST;
	data_give(w, &d);
	settle(w);
	assert_true(shard_done(w->s));
	assert_true(metric_get(&w->page, METRIC_CLOCK_SECONDS) <= (uint64_t)w->wall_us);
}

/* ---- everything at once, at random ---- */

static uint64_t
draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

enum { RANDOM_EVENTS = 600, RANDOM_KEYS = 60 };

/* Event `offset` of partition 1 or 2, always the same. */
static void
random_event(struct data *d, unsigned partition, int64_t offset)
{
	uint64_t seed = (uint64_t)offset * 2 + partition + 77;
	char key[16], word[16];

	draw(&seed);
	draw(&seed);
	snprintf(key, sizeof key, "key%02u", (unsigned)(draw(&seed) % RANDOM_KEYS));
	snprintf(word, sizeof word, "word%u-long", (unsigned)(draw(&seed) % 9));
	data_event(d, partition, offset, key, 1 + offset * 4 / RANDOM_EVENTS,
		   draw(&seed) % 40 ? word : "done");
}

/* Reads both partitions to the end, with deaths and commits at random moments. */
static void
random_run(struct world *w, uint64_t seed, bool faults)
{
	int64_t at[3] = {0, 0, 0};
	bool fresh = true;
	struct data d = {0};

	while (w->next[1] < RANDOM_EVENTS || w->next[2] < RANDOM_EVENTS) {
		if (fresh) {
			at[1] = w->next[1];
			at[2] = w->next[2];
			fresh = false;
		}
		unsigned p = 1 + (unsigned)(draw(&seed) % 2);
		int64_t to = at[p] + (int64_t)(draw(&seed) % 250);
		if (to > RANDOM_EVENTS)
			to = RANDOM_EVENTS;
		for (int64_t i = at[p]; i < to; i++)
			random_event(&d, p, i);
		data_cover(&d, p, at[p], to, 1 + to * 4 / RANDOM_EVENTS,
			   to == RANDOM_EVENTS ? CAUGHT_UP : BEHIND);
		at[p] = to;
		data_give(w, &d);
		tick(w, (int64_t)(draw(&seed) % 200));
		if (draw(&seed) % 3)
			answer(w);
		if (draw(&seed) % 3 == 0 && w->committed_n < w->batches_n)
			commit(w);
		if ((faults && draw(&seed) % 12 == 0) || w->batches_n > FRAMES_MAX - 4) {
			shard_down(w);
			shard_up(w, w->store_n == 0);
			fresh = true;
		}
		if (at[1] == RANDOM_EVENTS && at[2] == RANDOM_EVENTS && !fresh) {
			tick(w, 30000);
			settle(w);
			tick(w, 30000);
			settle(w);
		}
	}
}

static int
stored_order(const void *a, const void *b)
{
	return memcmp(((const struct stored *)a)->key, ((const struct stored *)b)->key,
		      STATE_KEY_BYTES);
}

/* With a cache for a few processes and a death now and then: the same states as without. */
static void
test_deaths_and_a_small_cache_change_nothing(void **state)
{
	struct world *w = *state;
	struct world *plain;
	void *other;

	world_up(&other);
	plain = other;
	random_run(plain, 1, false);
	assert_int_equal(plain->store_n, RANDOM_KEYS);
	qsort(plain->store, plain->store_n, sizeof *plain->store, stored_order);
	uint64_t evicted = 0;
	for (uint64_t seed = 1; seed <= 12; seed++) {
		shard_down(w);
		memset(w->next, 0, sizeof w->next);
		for (uint32_t i = 0; i < w->store_n; i++)
			buf_free(&w->store[i].body);
		memset(w->store, 0, sizeof w->store);
		w->store_n = 0;
		w->m->limits.state_cache_bytes_max = 4000;
		/* Batches that close in the middle of frames. */
		w->m->limits.batch_rows = w->m->limits.batch_rows_behind =
		    3 + 5 * (uint32_t)(seed % 4);
		shard_up(w, true);
		random_run(w, seed * 31, true);
		evicted = metric_get(&w->page, METRIC_STATE_EVICTIONS);
		assert_int_equal(w->store_n, RANDOM_KEYS);
		qsort(w->store, w->store_n, sizeof *w->store, stored_order);
		for (uint32_t i = 0; i < w->store_n; i++) {
			const struct stored *x = &w->store[i], *y = &plain->store[i];
			assert_memory_equal(x->key, y->key, STATE_KEY_BYTES);
			assert_int_equal(x->body.len, y->body.len);
			assert_memory_equal(x->body.data, y->body.data, x->body.len);
		}
	}
	assert_true(evicted > 100);
	world_down(&other);
}

/* ---- behind an exchange ---- */

/* RELAYED: id of the exchange's partition of a key group, less the group. */

static int
spread_up(void **state)
{
	struct world *w = mem_zero(1, sizeof *w);
	struct conf_report report = {0};

	keyhash_init();
	if (!conf_read_text("test.yaml", spread, sizeof spread - 1, &w->m, &report))
		fail_msg("%s", buf_cstr(&report.text));
	conf_report_free(&report);
	w->now.us = 1000000;
	w->wall_us = START_US + 1000 * (int64_t)DAY * SECOND_US;
	w->from = ROLE_RELAY;
	*state = w;
	return 0;
}

/* Those key groups are ours; the first has read so far. */
static void
spread_own(struct world *w, const unsigned *groups, unsigned n, struct position *positions,
	   uint32_t positions_n, bool state_empty)
{
	struct shard_setup setup = {.model = w->m,
				    .lanes = 1,
				    .ingests = 1,
				    .page = &w->page,
				    .host = {w, host_send, host_forward, host_idle, host_ask}};
	struct partition partitions[2 + GROUPS] = {
	    {.id = 1, .source = 0, .label = "a/0", .label_len = 3},
	    {.id = 3, .source = 1, .kind = PARTITION_TRANSIENT, .label = "q", .label_len = 1}};
	struct own_range ranges[GROUPS];
	struct own o = {.epoch = ++w->epoch, .partitions = partitions, .partitions_n = 2 + GROUPS};
	struct claim c = {0};
	struct buf b = {0};
	struct err e;

	for (unsigned kg = 0; kg < GROUPS; kg++)
		partitions[2 + kg] = (struct partition){
		    .id = RELAYED + kg, .source = 2, .number = kg, .label = "x", .label_len = 1};
	for (unsigned i = 0; i < n; i++)
		ranges[i] = (struct own_range){.kg_lo = groups[i], .kg_hi = groups[i]};
	ranges[0].positions = positions;
	ranges[0].positions_n = positions_n;
	o.ranges = ranges;
	o.ranges_n = n;
	o.state_empty = state_empty;
	memcpy(o.hash_key, hash_key, sizeof o.hash_key);
	w->s = shard_new(&setup);
	wire_claim_write(&b, &c);
	assert_true(give(w, FRAME_CLAIM, 0, 1, &b, &e));
	assert_true(w->forwarded & UINT64_C(1) << FRAME_CLAIM);
	wire_own_write(&b, &o);
	if (!give(w, FRAME_OWN, 0, 1, &b, &e))
		fail_msg("%s", e.text);
}

/* The nth key of a group. */
static const char *
key_of(unsigned kg, unsigned nth)
{
	static char keys[8][16];
	static unsigned turn;
	char *key = keys[turn++ % 8];

	for (unsigned i = 0;; i++) {
		snprintf(key, sizeof keys[0], "k%u", i);
		if (keyhash_group(keyhash64(hash_key, key, strlen(key)), GROUPS) == kg && !nth--)
			return key;
	}
}

static int64_t
told_of(const struct end_range *r, uint32_t partition)
{
	for (uint32_t i = 0; i < r->positions_n; i++)
		if (r->positions[i].partition == partition)
			return r->positions[i].next;
	return -1;
}

static void
test_marks_by_group_and_partition(void **state)
{
	struct world *w = *state;
	struct data d = {0};
	const unsigned groups[] = {3, 7, 9};

	spread_own(w, groups, 3, NULL, 0, true);
	data_event(&d, 1, 10, key_of(3, 0), 1, "hello");
	data_event(&d, 1, 5, key_of(7, 0), 1, "hello");
	data_event(&d, 1, 10, key_of(3, 0), 1, "hello"); /* sent again */
	data_event(&d, 1, 4, key_of(7, 0), 1, "hello");
	data_event(&d, 3, 9, key_of(7, 0), 1, "x1");
	data_event(&d, 3, 2, key_of(7, 0), 1, "x2"); /* a ticket of another ingest */
	data_event(&d, 3, 4, key_of(7, 0), 1, "x1"); /* delivered again */
	data_cover(&d, RELAYED + 3, 0, 2, 1, CAUGHT_UP);
	data_cover(&d, RELAYED + 7, 0, 5, 1, CAUGHT_UP);
	data_cover(&d, RELAYED + 9, 0, 0, -1, CAUGHT_UP);
	data_give(w, &d);
	close_now(w);
	assert_int_equal(w->batches_n, 1);
	struct seen *b = last_batch(w);
	assert_int_equal(b->end.sources[0].events, 2);
	assert_int_equal(b->end.sources[0].dropped, 2);
	assert_int_equal(b->end.sources[1].events, 2);
	assert_int_equal(b->end.sources[1].dropped, 1);
	assert_int_equal(b->end.ranges_n, 3);
	assert_int_equal(b->end.ranges[0].positions_n, 2);
	assert_int_equal(told_of(&b->end.ranges[0], 1), 11);
	assert_int_equal(told_of(&b->end.ranges[0], RELAYED + 3), 2);
	assert_int_equal(b->end.ranges[1].positions_n, 2);
	assert_int_equal(told_of(&b->end.ranges[1], 1), 6);
	assert_int_equal(told_of(&b->end.ranges[1], RELAYED + 7), 5);
	assert_int_equal(b->end.ranges[2].positions_n, 0);
	/* What stands still is not told again. */
	data_event(&d, 1, 6, key_of(7, 0), 1, "hello");
	data_cover(&d, RELAYED + 7, 5, 6, 1, CAUGHT_UP);
	data_give(w, &d);
	close_now(w);
	b = last_batch(w);
	assert_int_equal(w->batches_n, 2);
	assert_int_equal(b->end.ranges[0].positions_n, 0);
	assert_int_equal(told_of(&b->end.ranges[1], 1), 7);
	assert_int_equal(b->end.sources[0].events, 1);
}

static void
test_marks_come_back(void **state)
{
	struct world *w = *state;
	struct data d = {0};
	struct err e = {0};
	const unsigned groups[] = {3, 7};
	struct position at[] = {{1, 11}, {RELAYED + 3, 40}};

	spread_own(w, groups, 2, at, 2, true);
	data_event(&d, 1, 10, key_of(3, 0), 1, "old");
	data_event(&d, 1, 11, key_of(3, 0), 1, "new");
	data_event(&d, 1, 0, key_of(7, 0), 1, "new");
	data_cover(&d, RELAYED + 3, 40, 42, 1, CAUGHT_UP);
	data_cover(&d, RELAYED + 7, 0, 1, 1, CAUGHT_UP);
	data_give(w, &d);
	close_now(w);
	assert_int_equal(last_batch(w)->end.sources[0].events, 2);
	assert_int_equal(last_batch(w)->end.sources[0].dropped, 1);
	data_cover(&d, RELAYED + 3, 50, 60, 1, CAUGHT_UP);
	assert_false(data_try(w, &d, &e));
	assert_non_null(strstr(e.text, "gap"));
	shard_down(w);
	spread_own(w, groups, 2, at, 2, true);
	data_cover(&d, RELAYED + 3, 50, 60, 1, CAUGHT_UP);
	assert_false(data_try(w, &d, &e));
	assert_non_null(strstr(e.text, "gap"));
	/* Covers of sources, of groups that are not ours; a second CLAIM. */
	data_cover(&d, 1, 0, 60, 1, CAUGHT_UP);
	assert_false(data_try(w, &d, &e));
	data_cover(&d, RELAYED + 4, 0, 60, 1, CAUGHT_UP);
	assert_false(data_try(w, &d, &e));
	assert_non_null(strstr(e.text, "not our group's"));
	data_event(&d, 1, 0, key_of(4, 0), 1, "not ours");
	assert_false(data_try(w, &d, &e));
	wire_claim_write(&d.body, &(struct claim){0});
	assert_false(give(w, FRAME_CLAIM, 0, 1, &d.body, &e));
	assert_non_null(strstr(e.text, "twice"));
}

/* How far the exchange was read is told at the end of a frame: no batch ends before. */
static void
test_no_batch_ends_inside_of_a_relayed_frame(void **state)
{
	struct world *w = *state;
	struct data d = {0};
	const unsigned groups[] = {3};

	w->m->limits.batch_rows = w->m->limits.batch_rows_behind = 2;
	spread_own(w, groups, 1, NULL, 0, false);
	for (unsigned i = 0; i < 200; i++)
		data_event(&d, 1, i, key_of(3, i % 100), 1, "hello");
	data_cover(&d, RELAYED + 3, 0, 200, 1, BEHIND);
	data_give(w, &d);
	/* Answers come chunk by chunk, and time passes between. */
	for (unsigned i = 0; i < 1000 && !w->batches_n; i++) {
		tick(w, 40000);
		answer(w);
	}
	close_now(w);
	assert_int_equal(w->batches_n, 1);
	assert_int_equal(last_batch(w)->proc, 100);
	assert_int_equal(last_batch(w)->end.sources[0].events, 200);
	assert_int_equal(told_of(&last_batch(w)->end.ranges[0], 1), 200);
	assert_int_equal(told_of(&last_batch(w)->end.ranges[0], RELAYED + 3), 200);
}

/* Neither sources nor the groups of other replicas hold the clock back. */
static void
test_the_clock_behind_an_exchange(void **state)
{
	struct world *w = *state;
	struct data d = {0};
	const unsigned groups[] = {3, 7};

	spread_own(w, groups, 2, NULL, 0, true);
	data_event(&d, 1, 0, key_of(3, 0), 1, "hello");
	data_event(&d, 1, 1, key_of(7, 0), 20, "hello");
	data_cover(&d, RELAYED + 3, 0, 1, 1, CAUGHT_UP);
	data_give(w, &d);
	close_now(w);
	assert_non_null(strstr(last_batch(w)->proc_keys, ":open:1 "));
	assert_int_equal(metric_get(&w->page, METRIC_PROCESSES_EXPIRED), 0);
	commit(w);
	/* Our other group was never heard of until now. */
	data_cover(&d, RELAYED + 7, 0, 1, 20, CAUGHT_UP);
	data_give(w, &d);
	close_now(w);
	close_now(w);
	while (w->committed_n < w->batches_n)
		commit(w);
	assert_int_equal(metric_get(&w->page, METRIC_PROCESSES_EXPIRED), 1);
}

/* A lane that was given nothing has nothing, and ends like any other. */
static void
test_a_lane_without_groups(void **state)
{
	struct world *w = *state;
	struct data d = {.flags = FRAME_LAST};
	struct buf b = {0};
	struct own o = {.epoch = ++w->epoch};
	struct shard_setup setup = {.model = w->m,
				    .lanes = 1,
				    .ingests = 1,
				    .page = &w->page,
				    .host = {w, host_send, host_forward, host_idle, host_ask}};
	struct err e = {0};

	w->s = shard_new(&setup);
	wire_own_write(&b, &o);
	assert_true(give(w, FRAME_OWN, 0, 1, &b, &e));
	data_give(w, &d);
	tick(w, 300);
	assert_int_equal(w->batches_n, 1);
	assert_true(last_batch(w)->last);
	assert_int_equal(last_batch(w)->end.ranges_n, 0);
}

int
main(void)
{
#define X(f) cmocka_unit_test_setup_teardown(f, spread_up, world_down)
#define T(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)
	const struct CMUnitTest tests[] = {
	    T(test_done_partitions_come_ahead_of_own),
	    T(test_events_become_a_batch),
	    T(test_what_was_applied_is_dropped),
	    T(test_two_batches_at_most),
	    T(test_a_full_batch_waits_for_a_commit),
	    T(test_large_processes_fill_a_batch),
	    T(test_positions_alone_close_after_a_while),
	    T(test_behind_collects_for_longer),
	    T(test_breaches_end_the_generation),
	    T(test_deadlines_and_tombstones),
	    T(test_a_reopened_process_is_emitted),
	    T(test_the_slowest_source_holds_the_clock),
	    T(test_the_end_of_a_bounded_run),
	    T(test_a_drain),
	    T(test_frames_wait_for_stored_state),
	    T(test_due_processes_in_the_database),
	    T(test_the_clock_goes_on_after_a_restart),
	    T(test_a_bounded_run_ends_with_events_ahead_of_the_wall),
	    T(test_deaths_and_a_small_cache_change_nothing),
	    X(test_marks_by_group_and_partition),
	    X(test_marks_come_back),
	    X(test_no_batch_ends_inside_of_a_relayed_frame),
	    X(test_the_clock_behind_an_exchange),
	    X(test_a_lane_without_groups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
