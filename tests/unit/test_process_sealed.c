/*
 * process, with sealed fields: what first and last keep is opaque and knows where it is from; any
 * order of the same events, with any number of restarts between them, gives the same bytes; a state
 * in which sealed and clear are exchanged is refused.
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

enum { EVENTS = 60, ROUNDS = 60, PAYLOAD_MAX = 400 };

static const char pipeline[] =
    "pipeline: test\n"
    "keys: /nowhere/keys\n"
    "rid_key: file:/nowhere/rid.key\n"
    "correlate:\n"
    "  by: id\n"
    "  folds:\n"
    "    income_first: { first: [a.income, q.income] }\n"
    "    income_last:  { last: [a.income, q.income] }\n"
    "    incomes:      { count: [a.income, q.income] }\n"
    "    word:         { last: [a.word, q.word] }\n"
    "    words:        { set: [a.word, q.word] }\n"
    "sources:\n"
    "  a:\n"
    "    file: { path: /nowhere/a.ndjson }\n"
    "    format: json\n"
    "    time: at\n"
    "    fields:\n"
    "      id: text\n"
    "      at: timestamp\n"
    "      income: { path: person.income, type: decimal, sensitive: financial }\n"
    "      person: { path: person.cpf, type: text, sensitive: identity, token: cpf }\n"
    "      word: text\n"
    "    subject: person\n"
    "  q:\n"
    "    rabbitmq: { url: \"amqp://localhost\", queue: q, identity: body }\n"
    "    format: json\n"
    "    time: at\n"
    "    fields:\n"
    "      id: text\n"
    "      at: timestamp\n"
    "      income: { path: person.income, type: decimal, sensitive: financial }\n"
    "      word: text\n"
    "warehouse:\n"
    "  postgresql: { dsn: \"dbname=x\", logins: /nowhere }\n"
    "tables:\n"
    "  fact_p: { kind: fact, grain: process, key: id, columns: { word: word, incomes: incomes } "
    "}\n";

static struct {
	struct model *m;
	struct process_layout *l;
	struct expr_run_state st;
	int field[2][8]; /* of source, by name below */
} T;

enum { F_INCOME, F_WORD };

static int
field_find(const struct source *s, const char *name)
{
	for (unsigned i = 0; i < s->fields_n; i++)
		if (!strcmp(s->fields[i].name.s, name))
			return (int)i;
	fail_msg("no field %s", name);
	return -1;
}

static unsigned
fold_find(const char *name)
{
	for (unsigned i = 0; i < T.m->folds_n; i++)
		if (!strcmp(T.m->folds[i].name.s, name))
			return i;
	fail_msg("no fold %s", name);
	return 0;
}

static int
setup(void **state)
{
	struct conf_report report = {0};

	(void)state;
	keyhash_init();
	if (!conf_read_text("test", pipeline, strlen(pipeline), &T.m, &report)) {
		print_error("%s", buf_cstr(&report.text));
		return -1;
	}
	conf_report_free(&report);
	T.l = process_layout_new(T.m);
	for (unsigned s = 0; s < 2; s++) {
		T.field[s][F_INCOME] = field_find(&T.m->sources[s], "income");
		T.field[s][F_WORD] = field_find(&T.m->sources[s], "word");
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	process_layout_free(T.l);
	expr_run_free(&T.st);
	model_free(T.m);
	return 0;
}

/* ---- events ---- */

struct event {
	struct record rec;
	struct value fields[FIELDS_MAX];
	uint8_t payload[PAYLOAD_MAX];
	uint32_t payload_len;
	char word[16];
};

static uint64_t
draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void
rid_of_place(void *ctx, const struct record *rec, uint8_t out[static RID_BYTES])
{
	static const uint8_t key[HASH_KEY_BYTES] = {1};
	int64_t place[2] = {rec->partition, rec->offset};

	(void)ctx;
	keyhash_process(key, (const char *)place, sizeof place, out);
}

/* Bytes of the form of a payload; nobody here could open real ones either. */
static uint32_t
payload_make(uint8_t p[static PAYLOAD_MAX], bool bound, uint64_t *seed)
{
	if (bound && draw(seed) % 8 == 0) {
		memcpy(p, (uint8_t[4]){1, 1, 2, 0}, 4);
		return 4;
	}
	uint32_t n = 61 + (uint32_t)(draw(seed) % (PAYLOAD_MAX - 61));
	for (uint32_t i = 0; i < n; i++)
		p[i] = (uint8_t)draw(seed);
	memcpy(p, (uint8_t[4]){1, 1, bound, 4}, 4);
	return n;
}

static void
event_make(struct event *ev, unsigned i, uint64_t *seed)
{
	unsigned source = (unsigned)(draw(seed) % 2);
	const struct source *s = &T.m->sources[source];

	*ev = (struct event){0};
	ev->rec = (struct record){.kind = RECORD_EVENT,
				  .source = (uint16_t)source,
				  .partition = 1 + (uint32_t)(draw(seed) % 3),
				  .offset = i,
				  .key = "p1",
				  .key_len = 2,
				  .has_time = draw(seed) % 5 != 0,
				  .fields = ev->fields,
				  .fields_n = s->fields_n};
	if (ev->rec.has_time)
		ev->rec.time_us = (int64_t)(draw(seed) % 6) * 1000000;
	ev->rec.has_sid = source == 0 && draw(seed) % 2;
	if (ev->rec.has_sid)
		memset(ev->rec.sid, (int)(1 + draw(seed) % 200), SUBJECT_ID_BYTES);
	ev->rec.has_rid = source == 1;
	if (ev->rec.has_rid)
		rid_of_place(NULL, &ev->rec, ev->rec.rid);
	ev->payload_len = payload_make(ev->payload, ev->rec.has_sid, seed);
	ev->fields[T.field[source][F_INCOME]] = (struct value){
	    .type = VALUE_SEALED, .len = ev->payload_len, .text = (const char *)ev->payload};
	if (draw(seed) % 6 == 0)
		ev->fields[T.field[source][F_INCOME]] = value_null();
	snprintf(ev->word, sizeof ev->word, "w%u", (unsigned)(draw(seed) % 9));
	ev->fields[T.field[source][F_WORD]] = value_text(ev->word, strlen(ev->word));
}

static struct event *
events_make(uint64_t seed, unsigned n)
{
	struct event *all = mem_zero(n, sizeof *all);

	for (unsigned i = 0; i < n; i++)
		event_make(&all[i], i, &seed);
	return all;
}

static enum fold_result
fold(struct process *p, const struct event *ev)
{
	return process_fold(T.l, p, &ev->rec, rid_of_place, NULL, &T.st);
}

static struct value
input(const struct process *p, const char *fold_name)
{
	static struct value inputs[EXPR_INPUTS_MAX];

	process_inputs(T.l, p, &T.st, inputs);
	return inputs[PROCESS_FIXED + fold_find(fold_name)];
}

static struct process *
again(struct process *p)
{
	struct buf b = {0};
	struct process *q;
	struct err e;

	process_encode(T.l, p, &b);
	process_free(T.l, p);
	if (!process_decode(T.l, b.data, b.len, &q, &e))
		fail_msg("%s", e.text);
	buf_free(&b);
	return q;
}

/* ---- what is kept ---- */

/* The event that the fold must have kept: by (time, rid), of those with a value. */
static const struct event *
best(const struct event *all, unsigned n, bool last)
{
	const struct event *at = NULL;
	uint8_t x[RID_BYTES], y[RID_BYTES];

	for (unsigned i = 0; i < n; i++) {
		const struct record *r = &all[i].rec;
		if (r->fields[T.field[r->source][F_INCOME]].type == VALUE_NULL)
			continue;
		if (!at) {
			at = &all[i];
			continue;
		}
		int64_t t = r->has_time ? r->time_us : INT64_MIN;
		int64_t u = at->rec.has_time ? at->rec.time_us : INT64_MIN;
		rid_of_place(NULL, r, x);
		rid_of_place(NULL, &at->rec, y);
		int c = t != u ? (t < u ? -1 : 1) : memcmp(x, y, RID_BYTES);
		if (last ? c > 0 : c < 0)
			at = &all[i];
	}
	return at;
}

static void
assert_carries(struct value v, const struct event *ev)
{
	const struct source *s = &T.m->sources[ev->rec.source];
	uint8_t rid[RID_BYTES];
	struct carried c;

	assert_int_equal(v.type, VALUE_SEALED);
	assert_true(wire_carried_read(v.text, v.len, &c));
	assert_int_equal(c.payload_len, ev->payload_len);
	assert_memory_equal(c.payload, ev->payload, ev->payload_len);
	assert_int_equal(c.source_len, strlen(s->label));
	assert_memory_equal(c.source, s->label, c.source_len);
	assert_int_equal(c.path_len, strlen("person.income"));
	assert_memory_equal(c.path, "person.income", c.path_len);
	rid_of_place(NULL, &ev->rec, rid);
	assert_memory_equal(c.rid, rid, RID_BYTES);
	assert_int_equal(c.has_sid, ev->rec.has_sid);
	assert_memory_equal(c.sid, ev->rec.sid, SUBJECT_ID_BYTES);
}

static void
test_folds_keep_where_a_value_is_from(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		struct event *all = events_make(seed, EVENTS);
		struct process *p = process_new(T.l, "p1", 2);
		int64_t with = 0;
		assert_int_equal(input(p, "income_first").type, VALUE_NULL);
		for (unsigned i = 0; i < EVENTS; i++) {
			const struct record *r = &all[i].rec;
			assert_int_equal(fold(p, &all[i]), FOLD_APPLIED);
			with += r->fields[T.field[r->source][F_INCOME]].type != VALUE_NULL;
			if (!with)
				continue;
			assert_carries(input(p, "income_first"), best(all, i + 1, false));
			assert_carries(input(p, "income_last"), best(all, i + 1, true));
			assert_int_equal(input(p, "incomes").integer, with);
		}
		p = again(p);
		assert_carries(input(p, "income_last"), best(all, EVENTS, true));
		process_free(T.l, p);
		free(all);
	}
}

/* ---- order does not matter ---- */

static void
shuffle(unsigned *order, unsigned n, uint64_t *seed)
{
	for (unsigned i = 0; i < n; i++)
		order[i] = i;
	for (unsigned i = n; i > 1; i--) {
		unsigned k = (unsigned)(draw(seed) % i), t = order[i - 1];
		order[i - 1] = order[k];
		order[k] = t;
	}
}

static void
test_any_order_gives_the_same_bytes(void **state)
{
	unsigned order[EVENTS];

	(void)state;
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		uint64_t dice = seed * 7919;
		struct event *all = events_make(seed, EVENTS);
		struct buf first = {0}, other = {0};
		unsigned n = 1 + (unsigned)(draw(&dice) % EVENTS);
		for (unsigned round = 0; round < 5; round++) {
			struct process *p = process_new(T.l, "p1", 2);
			shuffle(order, n, &dice);
			for (unsigned i = 0; i < n; i++) {
				const struct event *ev = &all[order[i]];
				size_t before = process_bytes(T.l, p);
				assert_int_equal(fold(p, ev), FOLD_APPLIED);
				assert_true(process_bytes(T.l, p) < before + (16 << 10));
				if (draw(&dice) % 8 == 0)
					p = again(p);
				if (ev->rec.has_rid && draw(&dice) % 4 == 0)
					assert_int_equal(fold(p, ev), FOLD_DUPLICATE);
			}
			struct buf *b = round ? &other : &first;
			buf_clear(b);
			process_encode(T.l, p, b);
			if (round) {
				assert_int_equal(first.len, other.len);
				assert_memory_equal(first.data, other.data, first.len);
			}
			process_free(T.l, p);
		}
		buf_free(&first);
		buf_free(&other);
		free(all);
	}
}

/* Two equal events that are two: the second has another rid, but was sealed under the first's. */
static void
test_an_event_told_apart_stays_bound_to_the_rid_it_came_with(void **state)
{
	struct event ev;
	uint64_t seed = 5;
	struct carried c;

	(void)state;
	do
		event_make(&ev, 1, &seed);
	while (ev.rec.source != 1 || ev.fields[T.field[1][F_INCOME]].type == VALUE_NULL ||
	       !ev.rec.has_time);
	struct event second = ev;
	second.rec.fields = second.fields;
	second.rec.distinct = true;
	second.rec.time_us++;
	second.rec.offset++;

	struct process *p = process_new(T.l, "p1", 2);
	assert_int_equal(fold(p, &ev), FOLD_APPLIED);
	process_distinguish(p, &second.rec);
	assert_memory_not_equal(second.rec.rid, ev.rec.rid, RID_BYTES);
	assert_true(second.rec.has_bound);
	assert_memory_equal(record_bound(&second.rec), ev.rec.rid, RID_BYTES);
	assert_int_equal(fold(p, &second), FOLD_APPLIED);
	p = again(p);
	struct value v = input(p, "income_last");
	assert_true(wire_carried_read(v.text, v.len, &c));
	assert_memory_equal(c.rid, ev.rec.rid, RID_BYTES);
	process_free(T.l, p);
}

/* ---- limits ---- */

static void
test_a_process_that_sealed_values_make_too_large(void **state)
{
	static char large[1 << 20];
	uint64_t was = T.m->limits.process_bytes_max, seed = 9;
	struct process *p = process_new(T.l, "p1", 2);
	struct event ev;

	(void)state;
	memcpy(large, (uint8_t[4]){1, 1, 0, 4}, 4);
	event_make(&ev, 0, &seed);
	ev.rec.has_sid = false;
	ev.fields[T.field[ev.rec.source][F_INCOME]] =
	    (struct value){.type = VALUE_SEALED, .len = sizeof large, .text = large};
	T.m->limits.process_bytes_max = 2 * sizeof large;
	assert_int_equal(fold(p, &ev), FOLD_TOO_LARGE);
	assert_int_equal(process_events(p), 0);
	T.m->limits.process_bytes_max = 3 * sizeof large;
	assert_int_equal(fold(p, &ev), FOLD_APPLIED);
	assert_true(process_bytes(T.l, p) > 2 * sizeof large);
	assert_true(process_bytes(T.l, p) <= 3 * sizeof large);
	p = again(p);
	struct carried c;
	struct value v = input(p, "income_first");
	assert_true(wire_carried_read(v.text, v.len, &c));
	assert_int_equal(c.payload_len, sizeof large);
	process_free(T.l, p);
	T.m->limits.process_bytes_max = was;
}

/* ---- hostile states ---- */

/* A state whose fold `name` is [time, sequence, rid, value] with this value. */
static void
state_with(const char *name, const struct value *v, struct buf *b)
{
	static const uint8_t rid[RID_BYTES] = {1};

	buf_clear(b);
	pack_array(b, 11);
	pack_uint(b, 1);
	pack_text(b, "p1", 2);
	pack_uint(b, 0);
	pack_uint(b, 1);
	pack_uint(b, 0);
	for (int i = 0; i < 3; i++)
		pack_nil(b);
	pack_array(b, 0);
	pack_bytes(b, "", 0);
	pack_map(b, 1);
	pack_uint(b, T.m->folds[fold_find(name)].id);
	pack_array(b, 4);
	pack_nil(b);
	pack_int(b, 0);
	pack_bytes(b, rid, RID_BYTES);
	pack_value(b, v);
}

static bool
reads(const char *name, const struct value *v)
{
	struct buf b = {0};
	struct process *p;
	struct err e;

	state_with(name, v, &b);
	bool ok = process_decode(T.l, b.data, b.len, &p, &e);
	if (ok)
		process_free(T.l, p);
	else
		assert_int_equal(e.code, EXIT_DATA);
	buf_free(&b);
	return ok;
}

static void
test_a_state_with_sealed_and_clear_exchanged_is_refused(void **state)
{
	uint8_t payload[61] = {1, 1, 0, 4};
	struct carried c = {.payload = payload,
			    .payload_len = sizeof payload,
			    .source = "a@#1",
			    .source_len = 4,
			    .path = "person.income",
			    .path_len = 13};
	struct value bare = {
	    .type = VALUE_SEALED, .len = sizeof payload, .text = (const char *)payload};
	struct value text = value_text("1500.00", 7), number = value_decimal(150000, 2);
	struct buf b = {0};

	(void)state;
	wire_carried_write(&b, &c);
	struct value good = {
	    .type = VALUE_SEALED, .len = (uint32_t)b.len, .text = (const char *)b.data};
	assert_true(reads("income_last", &good));
	assert_true(reads("word", &text));
	assert_false(reads("word", &good));	   /* sealed where the model says clear */
	assert_false(reads("income_last", &text)); /* clear where it says sealed */
	assert_false(reads("income_last", &number));
	assert_false(reads("income_last", &bare)); /* lost where it is from */
	for (uint32_t n = 0; n < good.len; n++) {
		struct value cut = {.type = VALUE_SEALED, .len = n, .text = good.text};
		assert_false(reads("income_last", &cut));
	}
	payload[0] = 2;
	buf_clear(&b);
	wire_carried_write(&b, &c);
	good.text = (const char *)b.data;
	assert_false(reads("income_last", &good));
	buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_folds_keep_where_a_value_is_from),
	    cmocka_unit_test(test_any_order_gives_the_same_bytes),
	    cmocka_unit_test(test_an_event_told_apart_stays_bound_to_the_rid_it_came_with),
	    cmocka_unit_test(test_a_process_that_sealed_values_make_too_large),
	    cmocka_unit_test(test_a_state_with_sealed_and_clear_exchanged_is_refused),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
