/* process: folds that do not depend on order, status by clock, state bodies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keyhash.h"
#include "mem.h"
#include "process.h"

enum { HOUR = 3600, EVENTS = 120, ROUNDS = 40, SOURCES = 2 };

#define SECOND_US INT64_C(1000000)

enum { F_N, F_D, F_T, F_B, F_AT, F_J, FIELDS };

enum {
	FIRST_T,
	LAST_T,
	FIRST_D,
	LAST_J,
	MIN_N,
	MAX_D,
	MIN_T,
	MAX_AT,
	COUNT_A,
	COUNT_N,
	SUM_N,
	SUM_D,
	ANY_B,
	ALL_B,
	ANY_Q,
	ALL_Q,
	SET_T,
	SET_D,
	LIST_N,
	LIST_T,
	FOLDS
};

struct world {
	struct model m;
	struct source sources[SOURCES];
	struct field fields[SOURCES][FIELDS];
	struct fold folds[FOLDS];
	struct process_input inputs[PROCESS_FIXED + FOLDS + 5];
	struct part parts[2];
	struct process_layout *l;
	struct expr_run_state st;
};

static const enum value_type field_types[FIELDS] = {VALUE_INTEGER, VALUE_DECIMAL,   VALUE_TEXT,
						    VALUE_BOOLEAN, VALUE_TIMESTAMP, VALUE_JSON};
static const char *const field_names[FIELDS] = {"n", "d", "t", "b", "at", "j"};

static void
name_set(struct name *n, const char *s)
{
	snprintf(n->s, sizeof n->s, "%s", s);
}

/* ---- scopes for expressions ---- */

static bool
field_find(void *ctx, const char *name, size_t n, unsigned *slot, enum value_type *type)
{
	(void)ctx;
	for (unsigned i = 0; i < FIELDS; i++)
		if (strlen(field_names[i]) == n && !memcmp(field_names[i], name, n)) {
			*slot = i;
			*type = field_types[i];
			return true;
		}
	return false;
}

static bool
input_find(void *ctx, const char *name, size_t n, unsigned *slot, enum value_type *type)
{
	struct world *w = ctx;

	for (unsigned i = 0; i < w->m.inputs_n; i++)
		if (strlen(w->inputs[i].name) == n && !memcmp(w->inputs[i].name, name, n)) {
			*slot = i;
			*type = w->inputs[i].type;
			return true;
		}
	return false;
}

static const char *
no_name(void *ctx, unsigned i)
{
	(void)ctx;
	(void)i;
	return NULL;
}

static struct expr *
compiled(struct world *w, bool of_process, const char *text)
{
	struct expr_scope scope = {
	    .ctx = w, .find = of_process ? input_find : field_find, .next = no_name};
	struct expr_error e;
	struct expr *x;

	if (!expr_compile(text, strlen(text), &scope, VALUE_BOOLEAN, &x, &e))
		fail_msg("%s: %s", text, e.text);
	return x;
}

/* ---- the model ---- */

static void
fold_set(struct world *w, unsigned i, const char *name, enum fold_op op, int field,
	 enum value_type type, unsigned size, bool only_source_1)
{
	struct fold *f = &w->folds[i];

	name_set(&f->name, name);
	f->id = 0x9e3779b97f4a7c15u * (i + 1);
	f->op = op;
	f->type = type;
	f->in = field < 0 ? VALUE_BOOLEAN : field_types[field];
	f->size = size;
	f->inputs_n = only_source_1 ? 1 : 2;
	for (unsigned k = 0; k < f->inputs_n; k++)
		f->inputs[k] = (struct fold_input){only_source_1 ? 1 : (int)k, field, NULL};
}

static void
folds_set(struct world *w)
{
	fold_set(w, FIRST_T, "first_t", FOLD_FIRST, F_T, VALUE_TEXT, 0, false);
	fold_set(w, LAST_T, "last_t", FOLD_LAST, F_T, VALUE_TEXT, 0, false);
	fold_set(w, FIRST_D, "first_d", FOLD_FIRST, F_D, VALUE_DECIMAL, 0, false);
	fold_set(w, LAST_J, "last_j", FOLD_LAST, F_J, VALUE_JSON, 0, false);
	fold_set(w, MIN_N, "min_n", FOLD_MIN, F_N, VALUE_INTEGER, 0, false);
	fold_set(w, MAX_D, "max_d", FOLD_MAX, F_D, VALUE_DECIMAL, 0, false);
	fold_set(w, MIN_T, "min_t", FOLD_MIN, F_T, VALUE_TEXT, 0, false);
	fold_set(w, MAX_AT, "max_at", FOLD_MAX, F_AT, VALUE_TIMESTAMP, 0, false);
	fold_set(w, COUNT_A, "count_a", FOLD_COUNT, -1, VALUE_INTEGER, 0, false);
	fold_set(w, COUNT_N, "count_n", FOLD_COUNT, F_N, VALUE_INTEGER, 0, false);
	fold_set(w, SUM_N, "sum_n", FOLD_SUM, F_N, VALUE_INTEGER, 0, false);
	fold_set(w, SUM_D, "sum_d", FOLD_SUM, F_D, VALUE_DECIMAL, 0, false);
	fold_set(w, ANY_B, "any_b", FOLD_ANY, F_B, VALUE_BOOLEAN, 0, false);
	fold_set(w, ALL_B, "all_b", FOLD_ALL, F_B, VALUE_BOOLEAN, 0, false);
	fold_set(w, ANY_Q, "any_q", FOLD_ANY, -1, VALUE_BOOLEAN, 0, true);
	fold_set(w, ALL_Q, "all_q", FOLD_ALL, -1, VALUE_BOOLEAN, 0, true);
	fold_set(w, SET_T, "set_t", FOLD_SET, F_T, VALUE_JSON, 3, false);
	fold_set(w, SET_D, "set_d", FOLD_SET, F_D, VALUE_JSON, 64, false);
	fold_set(w, LIST_N, "list_n", FOLD_LIST, F_N, VALUE_JSON, 5, false);
	fold_set(w, LIST_T, "list_t", FOLD_LIST, F_T, VALUE_JSON, 4096, false);
	w->folds[ANY_Q].inputs[0].where = compiled(w, false, "n = 7");
	w->folds[ALL_Q].inputs[0].where = compiled(w, false, "n >= -3");
}

static void
input_add(struct world *w, enum process_input_kind kind, unsigned of, const char *name,
	  enum value_type type)
{
	struct process_input *in = &w->inputs[w->m.inputs_n++];

	*in = (struct process_input){.kind = kind, .of = of, .type = type};
	snprintf(in->name, sizeof in->name, "%s", name);
}

static void
inputs_set(struct world *w)
{
	static const struct {
		const char *name;
		enum value_type type;
	} fixed[PROCESS_FIXED] = {{"id", VALUE_TEXT},
				  {"status", VALUE_TEXT},
				  {"first_event_at", VALUE_TIMESTAMP},
				  {"last_event_at", VALUE_TIMESTAMP},
				  {"closed_at", VALUE_TIMESTAMP},
				  {"events", VALUE_INTEGER},
				  {"revision", VALUE_INTEGER}};

	for (unsigned i = 0; i < PROCESS_FIXED; i++)
		input_add(w, INPUT_FIXED, i, fixed[i].name, fixed[i].type);
	for (unsigned i = 0; i < FOLDS; i++)
		input_add(w, INPUT_FOLD, i, w->folds[i].name.s, w->folds[i].type);
	input_add(w, INPUT_SIZE, SET_T, "size(set_t)", VALUE_INTEGER);
	input_add(w, INPUT_OVERFLOWED, SET_T, "overflowed(set_t)", VALUE_BOOLEAN);
	input_add(w, INPUT_OVERFLOWED, LIST_N, "overflowed(list_n)", VALUE_BOOLEAN);
	input_add(w, INPUT_SEEN, 0, "seen(a)", VALUE_BOOLEAN);
	input_add(w, INPUT_SEEN, 1, "seen(q)", VALUE_BOOLEAN);
}

static int
world_up(void **state)
{
	struct world *w = mem_zero(1, sizeof *w);

	keyhash_init();
	name_set(&w->m.pipeline, "test");
	w->m.groups = 128;
	w->m.sources = w->sources;
	w->m.sources_n = SOURCES;
	for (unsigned s = 0; s < SOURCES; s++) {
		name_set(&w->sources[s].name, s ? "q" : "a");
		snprintf(w->sources[s].label, sizeof w->sources[s].label, "%s@here#1",
			 s ? "q" : "a");
		w->sources[s].fields = w->fields[s];
		w->sources[s].fields_n = FIELDS;
		for (unsigned i = 0; i < FIELDS; i++) {
			name_set(&w->fields[s][i].name, field_names[i]);
			w->fields[s][i].type = field_types[i];
		}
	}
	w->m.key_type = VALUE_TEXT;
	w->m.limits.events_per_process_max = 100000;
	w->m.limits.process_bytes_max = 16 << 20;
	folds_set(w);
	w->m.folds = w->folds;
	w->m.folds_n = FOLDS;
	w->m.inputs = w->inputs;
	inputs_set(w);
	w->parts[0] = (struct part){"decided", compiled(w, true, "any_b")};
	w->parts[1] = (struct part){"heard", compiled(w, true, "not any_b or seen(q)")};
	w->m.parts = w->parts;
	w->m.parts_n = 2;
	w->m.deadline_us = 24 * HOUR * SECOND_US;
	w->m.keep_closed_us = 48 * HOUR * SECOND_US;
	w->l = process_layout_new(&w->m);
	*state = w;
	return 0;
}

static int
world_down(void **state)
{
	struct world *w = *state;

	process_layout_free(w->l);
	expr_run_free(&w->st);
	expr_free(w->folds[ANY_Q].inputs[0].where);
	expr_free(w->folds[ALL_Q].inputs[0].where);
	expr_free(w->parts[0].holds);
	expr_free(w->parts[1].holds);
	free(w);
	return 0;
}

/* ---- events ---- */

struct event {
	struct record rec;
	struct value fields[FIELDS];
	uint8_t rid[RID_BYTES]; /* what rid_of answers */
	char text[40];
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
	uint8_t key[HASH_KEY_BYTES] = {1};
	int64_t place[2] = {rec->partition, rec->offset};

	(void)ctx;
	keyhash_process(key, (const char *)place, sizeof place, out);
}

static void
event_fields(struct event *ev, uint64_t *seed)
{
	static const char *const words[] = {"",		"a",
					    "bb",	"a longer text of some bytes",
					    "\"q\"\n",	"another text that does not fit",
					    "eight888", "nine99999"};
	const char *word = words[draw(seed) % 8];
	unsigned scale = (unsigned)(draw(seed) % 3);

	snprintf(ev->text, sizeof ev->text, "%s", word);
	ev->fields[F_N] = value_integer((int64_t)(draw(seed) % 20) - 4);
	ev->fields[F_D] = value_decimal((int128)(draw(seed) % 50) * (scale ? 10 : 1) - 100, scale);
	ev->fields[F_T] = value_text(ev->text, strlen(ev->text));
	ev->fields[F_B] = value_boolean(draw(seed) % 2);
	ev->fields[F_AT] = value_timestamp((int64_t)(draw(seed) % 1000) * SECOND_US);
	ev->fields[F_J] = (struct value){.type = VALUE_JSON, .len = 7, .text = "{\"a\":1}"};
	for (unsigned i = 0; i < FIELDS; i++)
		if (draw(seed) % 6 == 0)
			ev->fields[i] = value_null();
}

/* Few times and sequences, so that there are many ties. */
static void
event_make(struct event *ev, unsigned i, uint64_t *seed)
{
	*ev = (struct event){0};
	ev->rec = (struct record){.kind = RECORD_EVENT,
				  .source = (uint16_t)(draw(seed) % 2),
				  .partition = 1 + (uint32_t)(draw(seed) % 3),
				  .offset = i,
				  .has_time = draw(seed) % 5 != 0,
				  .sequence = (int64_t)(draw(seed) % 2),
				  .key = "p1",
				  .key_len = 2,
				  .fields = ev->fields,
				  .fields_n = FIELDS};
	if (ev->rec.has_time)
		ev->rec.time_us = (int64_t)(draw(seed) % 6) * HOUR * SECOND_US;
	rid_of_place(NULL, &ev->rec, ev->rid);
	if (ev->rec.source == 1) {
		ev->rec.has_rid = true;
		memcpy(ev->rec.rid, ev->rid, RID_BYTES);
	}
	event_fields(ev, seed);
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
fold(struct world *w, struct process *p, const struct event *ev)
{
	return process_fold(w->l, p, &ev->rec, rid_of_place, NULL, &w->st);
}

static struct value
input(struct world *w, const struct process *p, const char *name)
{
	static struct value inputs[EXPR_INPUTS_MAX];
	enum value_type type;
	unsigned slot = 0;

	assert_true(input_find(w, name, strlen(name), &slot, &type));
	process_inputs(w->l, p, &w->st, inputs);
	return inputs[slot];
}

static void
assert_text(struct value v, const char *want)
{
	assert_true(v.type == VALUE_TEXT || v.type == VALUE_JSON);
	if (v.len != strlen(want) || memcmp(v.text, want, v.len))
		fail_msg("got %.*s, want %s", (int)v.len, v.text, want);
}

static void
assert_units(struct value v, int128 units, unsigned scale)
{
	assert_int_equal(v.type, VALUE_DECIMAL);
	assert_true(value_units(&v) == units);
	assert_int_equal(v.scale, scale);
}

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

static struct process *
again(struct world *w, struct process *p)
{
	struct buf b = {0};
	struct process *q;
	struct err e;

	process_encode(w->l, p, &b);
	process_free(w->l, p);
	if (!process_decode(w->l, b.data, b.len, &q, &e))
		fail_msg("%s", e.text);
	buf_free(&b);
	return q;
}

/* ---- order does not matter ---- */

static void
test_any_order_gives_the_same_bytes(void **state)
{
	struct world *w = *state;
	unsigned order[EVENTS];
	uint64_t missing;

	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		uint64_t dice = seed * 7919;
		struct event *all = events_make(seed, EVENTS);
		struct buf first = {0}, other = {0};
		unsigned n = 1 + (unsigned)(draw(&dice) % EVENTS);
		for (unsigned round = 0; round < 6; round++) {
			struct process *p = process_new(w->l, "p1", 2);
			struct buf *b = round ? &other : &first;
			shuffle(order, n, &dice);
			for (unsigned i = 0; i < n; i++) {
				assert_int_equal(fold(w, p, &all[order[i]]), FOLD_APPLIED);
				/* Stored and read back, or a redelivery, at any point: no
				 * difference. */
				if (draw(&dice) % 16 == 0)
					p = again(w, p);
				if (all[order[i]].rec.has_rid && draw(&dice) % 4 == 0)
					assert_int_equal(fold(w, p, &all[order[i]]),
							 FOLD_DUPLICATE);
			}
			process_judge(w->l, p, INT64_MIN, &w->st, &missing);
			buf_clear(b);
			process_encode(w->l, p, b);
			if (round) {
				assert_int_equal(first.len, other.len);
				assert_memory_equal(first.data, other.data, first.len);
			}
			process_free(w->l, p);
		}
		buf_free(&first);
		buf_free(&other);
		free(all);
	}
}

static int
event_order(const void *a, const void *b)
{
	const struct event *x = a, *y = b;
	int64_t tx = x->rec.has_time ? x->rec.time_us : INT64_MIN;
	int64_t ty = y->rec.has_time ? y->rec.time_us : INT64_MIN;

	if (tx != ty)
		return tx < ty ? -1 : 1;
	if (x->rec.sequence != y->rec.sequence)
		return x->rec.sequence < y->rec.sequence ? -1 : 1;
	return memcmp(x->rid, y->rid, RID_BYTES);
}

/* The same values as sorting all events and reading them off. */
static void
test_values_are_those_of_the_sorted_events(void **state)
{
	struct world *w = *state;

	for (uint64_t seed = 100; seed < 100 + ROUNDS; seed++) {
		struct event *all = events_make(seed, EVENTS);
		struct process *p = process_new(w->l, "p1", 2);
		const struct event *first = NULL, *last = NULL;
		int64_t sum_n = 0, count_n = 0, min_n = INT64_MAX;
		int128 sum_d = 0;
		bool any_q = false, all_q = true;
		for (unsigned i = 0; i < EVENTS; i++)
			assert_int_equal(fold(w, p, &all[i]), FOLD_APPLIED);
		qsort(all, EVENTS, sizeof *all, event_order);
		for (unsigned i = 0; i < EVENTS; i++) {
			const struct event *ev = &all[i];
			/* qsort moved the structs: their pointers are the neighbours'. */
			const struct value *f = ev->fields;
			if (f[F_T].type && !first)
				first = ev;
			if (f[F_T].type)
				last = ev;
			if (f[F_N].type) {
				sum_n += f[F_N].integer;
				count_n++;
				min_n = f[F_N].integer < min_n ? f[F_N].integer : min_n;
				if (ev->rec.source == 1) {
					any_q |= f[F_N].integer == 7;
					all_q &= f[F_N].integer >= -3;
				}
			}
			if (f[F_D].type) {
				int128 hundredths = value_units(&f[F_D]);
				for (unsigned k = f[F_D].scale; k < 2; k++)
					hundredths *= 10;
				sum_d += hundredths;
			}
		}
		assert_text(input(w, p, "first_t"), first->text);
		assert_text(input(w, p, "last_t"), last->text);
		assert_int_equal(input(w, p, "sum_n").integer, sum_n);
		assert_int_equal(input(w, p, "count_n").integer, count_n);
		assert_int_equal(input(w, p, "min_n").integer, min_n);
		assert_int_equal(input(w, p, "count_a").integer, EVENTS);
		assert_int_equal(input(w, p, "any_q").boolean, any_q);
		assert_int_equal(input(w, p, "all_q").boolean, all_q);
		assert_units(input(w, p, "sum_d"), sum_d, 2);
		assert_int_equal(input(w, p, "events").integer, EVENTS);
		process_free(w->l, p);
		free(all);
	}
}

/* ---- single folds ---- */

static struct event
plain(unsigned source, int64_t offset, int64_t hour)
{
	struct event ev = {0};

	ev.rec = (struct record){.kind = RECORD_EVENT,
				 .source = (uint16_t)source,
				 .partition = 1,
				 .offset = offset,
				 .has_time = true,
				 .time_us = hour * HOUR * SECOND_US,
				 .fields_n = FIELDS};
	if (source == 1) {
		ev.rec.has_rid = true;
		ev.rec.rid[15] = 1;
		ev.rec.rid[0] = (uint8_t)offset;
	}
	return ev;
}

static enum fold_result
fold_plain(struct world *w, struct process *p, struct event *ev)
{
	ev->rec.fields = ev->fields;
	return fold(w, p, ev);
}

static void
test_nothing_folded(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);

	assert_int_equal(input(w, p, "any_b").boolean, false);
	assert_int_equal(input(w, p, "all_b").boolean, true);
	assert_int_equal(input(w, p, "count_a").integer, 0);
	assert_int_equal(input(w, p, "sum_n").type, VALUE_NULL);
	assert_int_equal(input(w, p, "first_t").type, VALUE_NULL);
	assert_int_equal(input(w, p, "set_t").type, VALUE_NULL);
	assert_int_equal(input(w, p, "size(set_t)").integer, 0);
	assert_int_equal(input(w, p, "first_event_at").type, VALUE_NULL);
	assert_int_equal(input(w, p, "closed_at").type, VALUE_NULL);
	assert_text(input(w, p, "status"), "open");
	assert_text(input(w, p, "id"), "p1");
	p = again(w, p);
	assert_text(input(w, p, "id"), "p1");
	process_free(w->l, p);
}

static void
test_sums_are_exact_beyond_38_digits(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	int128 most = 1;
	struct event ev = plain(0, 1, 1);
	uint64_t nulled = w->st.nulled;

	for (int i = 0; i < DECIMAL_DIGITS_MAX; i++)
		most *= 10;
	most -= 1;
	ev.fields[F_D] = value_decimal(most, 0);
	ev.fields[F_N] = value_integer(INT64_MAX);
	for (int i = 0; i < 1000; i++)
		fold_plain(w, p, &ev);
	assert_int_equal(input(w, p, "sum_d").type, VALUE_NULL);
	assert_int_equal(input(w, p, "sum_n").type, VALUE_NULL);
	assert_true(w->st.nulled > nulled);
	p = again(w, p);
	ev.fields[F_D] = value_decimal(-most, 0);
	ev.fields[F_N] = value_integer(-INT64_MAX);
	for (int i = 0; i < 999; i++)
		fold_plain(w, p, &ev);
	assert_units(input(w, p, "sum_d"), most, 0);
	assert_int_equal(input(w, p, "sum_n").integer, INT64_MAX);
	/* A small value of the largest scale needs 38 + 18 digits: too many for a result. */
	ev.fields[F_D] = value_decimal(-1, 18);
	ev.fields[F_N] = value_null();
	fold_plain(w, p, &ev);
	assert_int_equal(input(w, p, "sum_d").type, VALUE_NULL);
	ev.fields[F_D] = value_decimal(-most, 0);
	fold_plain(w, p, &ev);
	assert_units(input(w, p, "sum_d"), -1, 18);
	p = again(w, p);
	assert_units(input(w, p, "sum_d"), -1, 18);
	process_free(w->l, p);
}

static void
test_sets_and_lists_are_bounded(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	uint64_t over = process_overflows(w->l);
	char text[16];

	for (int i = 0; i < 9; i++) {
		struct event ev = plain(0, i, 20 - i);
		snprintf(text, sizeof text, "t%d", i % 4);
		ev.fields[F_T] = value_text(text, strlen(text));
		ev.fields[F_N] = value_integer(i);
		if (i == 2) {
			assert_int_equal(input(w, p, "size(set_t)").integer, 2);
			assert_false(input(w, p, "overflowed(set_t)").boolean);
			assert_text(input(w, p, "set_t"), "[\"t0\",\"t1\"]");
			assert_text(input(w, p, "list_n"), "[1,0]");
		}
		fold_plain(w, p, &ev);
	}
	/* Events came newest first: the five newest are the first five. */
	assert_text(input(w, p, "list_n"), "[4,3,2,1,0]");
	assert_true(input(w, p, "overflowed(list_n)").boolean);
	assert_int_equal(input(w, p, "size(set_t)").integer, 3);
	assert_true(input(w, p, "overflowed(set_t)").boolean);
	assert_true(process_overflows(w->l) >= over + 5);
	process_free(w->l, p);
}

static void
test_equal_decimals_are_one(void **state)
{
	struct world *w = *state;

	for (int turn = 0; turn < 2; turn++) {
		struct process *p = process_new(w->l, "p1", 2);
		struct event a = plain(0, 1, 1), b = plain(0, 2, 1);
		a.fields[F_D] = value_decimal(15, 1);
		b.fields[F_D] = value_decimal(1500, 3);
		fold_plain(w, p, turn ? &a : &b);
		fold_plain(w, p, turn ? &b : &a);
		assert_text(input(w, p, "set_d"), "[1.5]");
		assert_units(input(w, p, "max_d"), 1500, 3);
		process_free(w->l, p);
	}
}

static void
test_equal_events_that_are_two(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	struct event first = plain(1, 1, 1);

	first.rec.has_rid = true;
	memset(first.rec.rid, 7, RID_BYTES);
	for (unsigned i = 0; i < 1000; i++) {
		struct event equal = first;

		equal.rec.fields = equal.fields;
		process_distinguish(p, &equal.rec);
		assert_int_equal(fold_plain(w, p, &equal), FOLD_APPLIED);
		if (i % 100 == 99)
			p = again(w, p);
		assert_int_equal(fold_plain(w, p, &equal), FOLD_DUPLICATE);
		assert_int_equal(fold_plain(w, p, &first), FOLD_DUPLICATE);
	}
	process_free(w->l, p);
}

static void
test_a_hot_process_is_bounded(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	struct buf before = {0}, after = {0};

	w->m.limits.events_per_process_max = 3;
	for (int i = 1; i <= 3; i++) {
		struct event ev = plain(1, i, i);
		assert_int_equal(fold_plain(w, p, &ev), FOLD_APPLIED);
	}
	process_encode(w->l, p, &before);
	struct event more = plain(1, 4, 4), known = plain(1, 2, 2);
	assert_int_equal(fold_plain(w, p, &more), FOLD_TOO_MANY);
	assert_int_equal(fold_plain(w, p, &known), FOLD_DUPLICATE);
	process_encode(w->l, p, &after);
	assert_int_equal(before.len, after.len);
	assert_memory_equal(before.data, after.data, after.len);
	w->m.limits.events_per_process_max = 100000;
	buf_free(&before);
	buf_free(&after);
	process_free(w->l, p);
}

/* However its events come, a process stays below its bytes, and an event beyond changes nothing. */
static void
test_a_large_process_is_bounded(void **state)
{
	struct world *w = *state;
	static char text[6000];
	struct buf before = {0}, after = {0};

	w->m.limits.process_bytes_max = 64 * 1024;
	for (unsigned source = 0; source < SOURCES; source++) {
		struct process *p = process_new(w->l, "p1", 2);
		unsigned applied = 0;
		for (int i = 1; i <= 400; i++) {
			struct event ev = plain(source, i, i);
			memset(text, 'a' + i % 26, sizeof text);
			ev.fields[F_T] = value_text(text, i % 3 ? 6000 / (unsigned)i : 9);
			memcpy(ev.rec.rid, &i, sizeof i);
			buf_clear(&before);
			buf_clear(&after);
			process_encode(w->l, p, &before);
			enum fold_result got = fold_plain(w, p, &ev);
			process_encode(w->l, p, &after);
			assert_true(process_bytes(w->l, p) <= 64 * 1024);
			assert_true(after.len <= 64 * 1024);
			applied += got == FOLD_APPLIED;
			if (got == FOLD_APPLIED)
				continue;
			assert_int_equal(got, FOLD_TOO_LARGE);
			assert_int_equal(before.len, after.len);
			assert_memory_equal(before.data, after.data, after.len);
		}
		assert_true(applied > 10 && applied < 400);
		assert_int_equal(process_events(p), applied);
		process_free(w->l, p);
	}
	w->m.limits.process_bytes_max = 16 << 20;
	buf_free(&before);
	buf_free(&after);
}

static void
test_many_identities(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	size_t bare = process_bytes(w->l, p);

	for (unsigned turn = 0; turn < 2; turn++) {
		uint64_t seed = 5;
		for (unsigned i = 0; i < 2000; i++) {
			struct event ev = plain(1, 1, 1);
			for (unsigned k = 0; k < 2; k++)
				memcpy(ev.rec.rid + 8 * k, &(uint64_t){draw(&seed)}, 8);
			assert_int_equal(fold_plain(w, p, &ev),
					 turn ? FOLD_DUPLICATE : FOLD_APPLIED);
		}
		if (!turn)
			p = again(w, p);
	}
	assert_true(process_bytes(w->l, p) > bare + 2000 * RID_BYTES);
	process_free(w->l, p);
}

/* ---- status ---- */

static int64_t
hours(int64_t n)
{
	return n * HOUR * SECOND_US;
}

static void
test_completeness_and_missing(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	struct event yes = plain(0, 1, 5), heard = plain(1, 2, 7);
	uint64_t missing;

	yes.fields[F_B] = value_boolean(true);
	assert_int_equal(process_judge(w->l, p, INT64_MAX, &w->st, &missing), PROCESS_OPEN);
	assert_int_equal(missing, 1);
	fold_plain(w, p, &yes);
	assert_int_equal(process_judge(w->l, p, hours(6), &w->st, &missing), PROCESS_OPEN);
	assert_int_equal(missing, 2);
	assert_int_equal(process_due_us(w->l, p), hours(5 + 24));
	fold_plain(w, p, &heard);
	assert_int_equal(process_judge(w->l, p, hours(100), &w->st, &missing), PROCESS_COMPLETE);
	assert_int_equal(missing, 0);
	assert_int_equal(input(w, p, "closed_at").integer, hours(7));
	assert_int_equal(process_revision(p), 2);
	assert_int_equal(process_due_us(w->l, p), hours(7 + 48));
	assert_false(process_forgettable(w->l, p, hours(7 + 48) - 1));
	assert_true(process_forgettable(w->l, p, hours(7 + 48)));
	assert_int_equal(process_seen(p), 3);
	process_free(w->l, p);
}

/* Part of the state; one that was stored before it was kept says no. */
static void
test_emitted_is_remembered(void **state)
{
	struct world *w = *state;
	struct buf b = {0};
	struct process *p, *q;
	struct event heard = plain(1, 2, 7), yes = plain(0, 1, 5);
	uint64_t missing;
	struct err e;

	yes.fields[F_B] = value_boolean(true);
	for (unsigned closed = 0; closed < 2; closed++) {
		p = process_new(w->l, "p1", 2);
		fold_plain(w, p, &heard);
		if (closed)
			fold_plain(w, p, &yes);
		process_judge(w->l, p, INT64_MIN, &w->st, &missing);
		p = again(w, p);
		assert_false(process_emitted(p));
		process_emit(p);
		p = again(w, p);
		assert_true(process_emitted(p));
		assert_int_equal(process_status(p), closed ? PROCESS_COMPLETE : PROCESS_OPEN);
		buf_clear(&b);
		process_encode(w->l, p, &b);
		/* array, version, text of two bytes: then the status */
		assert_int_equal(b.data[5], 4 + closed);
		b.data[5] = 7;
		assert_false(process_decode(w->l, b.data, b.len, &q, &e));
		b.data[5] = (uint8_t)closed;
		assert_true(process_decode(w->l, b.data, b.len, &q, &e));
		assert_false(process_emitted(q));
		process_free(w->l, q);
		process_free(w->l, p);
	}
	buf_free(&b);
}

static void
test_expiry_is_a_transition_of_the_clock(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	struct event one = plain(0, 1, 5), late = plain(0, 2, 40), yes = plain(1, 3, 41);
	uint64_t missing;

	fold_plain(w, p, &one);
	assert_int_equal(process_judge(w->l, p, hours(29) - 1, &w->st, &missing), PROCESS_OPEN);
	assert_int_equal(process_revision(p), 1);
	assert_int_equal(process_judge(w->l, p, hours(29), &w->st, &missing), PROCESS_EXPIRED);
	assert_int_equal(process_revision(p), 2);
	assert_int_equal(input(w, p, "closed_at").integer, hours(29));
	/* Judging again changes nothing, nor does a clock that is unknown after a restart. */
	p = again(w, p);
	assert_int_equal(process_judge(w->l, p, INT64_MIN, &w->st, &missing), PROCESS_EXPIRED);
	assert_int_equal(process_revision(p), 2);
	/* A late event revises, and keeps the process from being forgotten. */
	fold_plain(w, p, &late);
	assert_int_equal(process_judge(w->l, p, INT64_MIN, &w->st, &missing), PROCESS_EXPIRED);
	assert_int_equal(process_revision(p), 3);
	assert_int_equal(input(w, p, "closed_at").integer, hours(29));
	assert_int_equal(process_due_us(w->l, p), hours(40 + 48));
	yes.fields[F_B] = value_boolean(true);
	fold_plain(w, p, &yes);
	assert_int_equal(process_judge(w->l, p, INT64_MIN, &w->st, &missing), PROCESS_COMPLETE);
	assert_int_equal(input(w, p, "closed_at").integer, hours(41));
	assert_int_equal(process_revision(p), 4);
	process_free(w->l, p);
}

static void
test_quiet_for(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	struct event one = plain(0, 1, 5), two = plain(0, 2, 6);
	uint64_t missing;

	w->m.quiet_for_us = hours(2);
	fold_plain(w, p, &one);
	assert_int_equal(process_due_us(w->l, p), hours(7));
	assert_int_equal(process_judge(w->l, p, hours(7), &w->st, &missing), PROCESS_EXPIRED);
	fold_plain(w, p, &two);
	assert_int_equal(process_judge(w->l, p, hours(7), &w->st, &missing), PROCESS_OPEN);
	assert_int_equal(input(w, p, "closed_at").type, VALUE_NULL);
	assert_int_equal(process_due_us(w->l, p), hours(8));
	assert_int_equal(process_judge(w->l, p, hours(8), &w->st, &missing), PROCESS_EXPIRED);
	assert_int_equal(process_revision(p), 4);
	w->m.quiet_for_us = 0;
	process_free(w->l, p);
}

/* Without a timed event there is no deadline, and nothing to forget by. */
static void
test_events_without_time(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	struct event one = plain(1, 1, 0), two = plain(0, 2, -5);
	uint64_t missing;

	one.rec.has_time = false;
	one.fields[F_T] = value_text("untimed", 7);
	one.fields[F_B] = value_boolean(true);
	fold_plain(w, p, &one);
	assert_int_equal(process_judge(w->l, p, INT64_MAX, &w->st, &missing), PROCESS_COMPLETE);
	assert_int_equal(process_due_us(w->l, p), INT64_MAX);
	assert_false(process_forgettable(w->l, p, INT64_MAX));
	assert_int_equal(input(w, p, "closed_at").type, VALUE_NULL);
	two.fields[F_T] = value_text("timed", 5);
	fold_plain(w, p, &two);
	assert_text(input(w, p, "first_t"), "untimed");
	assert_text(input(w, p, "last_t"), "timed");
	process_free(w->l, p);
}

/* ---- bodies ---- */

static void
test_tombstones(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	struct event one = plain(0, 1, 1);
	struct buf b = {0};
	struct err e;
	int64_t revision = 0;
	struct process *q;

	fold_plain(w, p, &one);
	process_tombstone(p, &b);
	assert_true(b.len < 50);
	assert_true(process_tombstone_read(b.data, b.len, &revision, &e));
	assert_int_equal(revision, 1);
	assert_false(process_decode(w->l, b.data, b.len, &q, &e));
	for (size_t n = 0; n < b.len; n++)
		assert_false(process_tombstone_read(b.data, n, &revision, &e));
	buf_free(&b);
	process_free(w->l, p);
}

static void
test_damaged_bodies_are_refused(void **state)
{
	struct world *w = *state;
	struct event *all = events_make(3, 40);
	struct process *p = process_new(w->l, "p1", 2), *q;
	struct buf b = {0};
	struct err e;

	for (unsigned i = 0; i < 40; i++)
		fold(w, p, &all[i]);
	process_encode(w->l, p, &b);
	for (size_t n = 0; n < b.len; n++)
		assert_false(process_decode(w->l, b.data, n, &q, &e));
	buf_byte(&b, 0xc0);
	assert_false(process_decode(w->l, b.data, b.len, &q, &e));
	b.len--;
	for (size_t i = 0; i < b.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			b.data[i] ^= (uint8_t)(1u << bit);
			if (process_decode(w->l, b.data, b.len, &q, &e))
				process_free(w->l, q);
			b.data[i] ^= (uint8_t)(1u << bit);
		}
	buf_free(&b);
	process_free(w->l, p);
	free(all);
}

/* A pipeline whose folds changed reads what it still knows. */
static void
test_a_changed_pipeline(void **state)
{
	struct world *w = *state;
	struct process *p = process_new(w->l, "p1", 2);
	struct event one = plain(0, 1, 1);
	uint64_t id = w->folds[MIN_N].id;

	one.fields[F_N] = value_integer(3);
	fold_plain(w, p, &one);
	w->folds[MIN_N].id = 42;
	p = again(w, p);
	w->folds[MIN_N].id = id;
	p = again(w, p);
	assert_int_equal(input(w, p, "count_n").integer, 1);
	assert_int_equal(input(w, p, "min_n").integer, 3);
	struct buf b = {0};
	struct err e;
	process_encode(w->l, p, &b);
	process_free(w->l, p);
	w->folds[MIN_N].id = 42;
	assert_true(process_decode(w->l, b.data, b.len, &p, &e));
	assert_int_equal(input(w, p, "min_n").type, VALUE_NULL);
	assert_int_equal(input(w, p, "count_n").integer, 1);
	w->folds[MIN_N].id = id;
	buf_free(&b);
	process_free(w->l, p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_any_order_gives_the_same_bytes),
	    cmocka_unit_test(test_values_are_those_of_the_sorted_events),
	    cmocka_unit_test(test_nothing_folded),
	    cmocka_unit_test(test_sums_are_exact_beyond_38_digits),
	    cmocka_unit_test(test_sets_and_lists_are_bounded),
	    cmocka_unit_test(test_equal_decimals_are_one),
	    cmocka_unit_test(test_equal_events_that_are_two),
	    cmocka_unit_test(test_a_hot_process_is_bounded),
	    cmocka_unit_test(test_a_large_process_is_bounded),
	    cmocka_unit_test(test_many_identities),
	    cmocka_unit_test(test_completeness_and_missing),
	    cmocka_unit_test(test_emitted_is_remembered),
	    cmocka_unit_test(test_expiry_is_a_transition_of_the_clock),
	    cmocka_unit_test(test_quiet_for),
	    cmocka_unit_test(test_events_without_time),
	    cmocka_unit_test(test_tombstones),
	    cmocka_unit_test(test_damaged_bodies_are_refused),
	    cmocka_unit_test(test_a_changed_pipeline),
	};

	return cmocka_run_group_tests(tests, world_up, world_down);
}
