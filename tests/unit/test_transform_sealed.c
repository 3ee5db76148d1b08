/*
 * transform, with sealed fields: raw events and sealed folds become rows of development_schema in
 * which every sealed value is carried; what is sealed and should not be, or is not and should, is
 * a breach.
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
#include "pipe.h"
#include "rows.h"
#include "transform/map.h"

static const char pipeline[] =
    "pipeline: test\n"
    "keys: /nowhere/keys\n"
    "raw: warehouse\n"
    "correlate:\n"
    "  by: id\n"
    "  folds:\n"
    "    income: { last: order.income }\n"
    "    n:      { sum: order.n }\n"
    "sources:\n"
    "  order:\n"
    "    file: { directory: /srv, path: order.ndjson }\n"
    "    format: json\n"
    "    time: at\n"
    "    subject: person\n"
    "    unknown_fields: { seal: rest }\n"
    "    fields:\n"
    "      id: integer\n"
    "      at: timestamp\n"
    "      income: { path: person.income, type: decimal, sensitive: financial }\n"
    "      person: { path: person.cpf, type: text, sensitive: identity, token: cpf }\n"
    "      n: integer\n"
    "warehouse:\n"
    "  postgresql: { dsn: \"postgresql://localhost/x\", logins: /srv }\n"
    "tables:\n"
    "  fact_order: { kind: fact, grain: process, key: order_id, columns: { n: n } }\n"
    "  fact_line:  { kind: fact, grain: order, columns: { twice: \"n * 2\", who: person_token } "
    "}\n";

enum { ROWS_MAX = 16 };

static const uint8_t payload[61] = {1, 1, 1, 4, 9}, erased[4] = {1, 1, 2, 0};

static struct {
	struct model *m;
	struct map *map;
	struct {
		unsigned table;
		struct row row;
		struct value values[COLUMNS_MAX * 2];
	} got[ROWS_MAX];
	unsigned got_n;
	struct buf kept[ROWS_MAX * 2]; /* bodies, which the rows borrow from */
	unsigned kept_n;
} T;

static void
take(void *ctx, unsigned table, uint32_t count, struct buf *body)
{
	struct pack_reader r = {0};
	uint32_t id;

	(void)ctx;
	assert_true(T.kept_n < ROWS_MAX * 2);
	struct buf *b = &T.kept[T.kept_n++];
	buf_add(b, body->data + FRAME_HEAD_BYTES, pipe_body_bytes(body));
	pack_reader_start(&r, b->data, b->len);
	assert_true(wire_table_read(&r, &id));
	for (uint32_t i = 0; i < count; i++) {
		assert_true(T.got_n < ROWS_MAX);
		T.got[T.got_n].table = table;
		T.got[T.got_n].row.values = T.got[T.got_n].values;
		assert_true(wire_row_read(&r, &T.got[T.got_n].row));
		T.got_n++;
	}
	assert_true(pack_reader_end(&r));
	pack_reader_free(&r);
	buf_free(body);
}

static int
setup(void **state)
{
	struct conf_report report = {0};
	static const uint8_t key[HASH_KEY_BYTES] = {1};

	(void)state;
	keyhash_init();
	if (!conf_read_text("test", pipeline, strlen(pipeline), &T.m, &report)) {
		print_error("%s", buf_cstr(&report.text));
		return -1;
	}
	conf_report_free(&report);
	T.map = map_new(T.m, take, NULL);
	map_hash_key(T.map, key);
	return 0;
}

static int
fresh(void **state)
{
	(void)state;
	for (unsigned i = 0; i < T.kept_n; i++)
		buf_free(&T.kept[i]);
	T.kept_n = T.got_n = 0;
	return 0;
}

static int
teardown(void **state)
{
	fresh(state);
	map_free(T.map);
	model_free(T.m);
	return 0;
}

/* ---- names ---- */

static int
field(const char *name)
{
	const struct source *s = &T.m->sources[0];

	for (unsigned i = 0; i < s->fields_n; i++)
		if (!strcmp(s->fields[i].name.s, name))
			return (int)i;
	fail_msg("no field %s", name);
	return -1;
}

static const struct row *
row_of(const char *table, unsigned i)
{
	int t = model_table_find(T.m, table, strlen(table));

	assert_true(t >= 0);
	for (unsigned k = 0; k < T.got_n; k++)
		if ((int)T.got[k].table == t && !i--)
			return &T.got[k].row;
	return NULL;
}

static const struct value *
column(const char *table, const struct row *row, const char *name)
{
	struct row_column columns[ROW_COLUMNS_MAX];
	unsigned values_n;
	unsigned n = row_columns(T.m, (unsigned)model_table_find(T.m, table, strlen(table)),
				 columns, &values_n);

	assert_int_equal(values_n, row->values_n);
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(columns[i].name, name))
			return &row->values[columns[i].value];
	fail_msg("no column %s", name);
	return NULL;
}

/* ---- what goes in ---- */

struct event {
	struct record rec;
	struct value fields[FIELDS_MAX];
};

static struct value
sealed(const uint8_t *p, size_t n)
{
	return (struct value){.type = VALUE_SEALED, .len = (uint32_t)n, .text = (const char *)p};
}

static void
event_make(struct event *ev)
{
	*ev = (struct event){0};
	ev->rec = (struct record){.kind = RECORD_EVENT,
				  .partition = 1,
				  .has_rid = true,
				  .rid = {7, 7},
				  .key = "42",
				  .key_len = 2,
				  .has_time = true,
				  .time_us = 5000000,
				  .has_sid = true,
				  .sid = {3, 3},
				  .fields = ev->fields,
				  .fields_n = T.m->sources[0].fields_n};
	ev->fields[field("id")] = value_integer(42);
	ev->fields[field("at")] = value_timestamp(5000000);
	ev->fields[field("n")] = value_integer(4);
	ev->fields[field("income")] = sealed(payload, sizeof payload);
	ev->fields[field("person")] = sealed(erased, sizeof erased);
	ev->fields[field("person_token")] = value_text("01aa", 4);
	ev->fields[field("$unknown")] = sealed(payload, sizeof payload);
}

static bool
mapped(const struct event *ev)
{
	struct buf b = {0};
	struct err e = {0};
	uint64_t rows[TABLES_MAX];

	struct record rec = ev->rec;
	rec.fields = (struct value *)(uintptr_t)ev->fields;
	wire_record_write(&b, &rec);
	bool ok = map_evt(T.map, b.data, b.len, 1, &e);
	assert_true(ok || e.text[0]);
	map_end(T.map, rows);
	buf_free(&b);
	return ok;
}

static void
assert_carried(const struct value *v, const uint8_t *p, size_t n, const char *path,
	       const uint8_t *rid, bool has_sid)
{
	struct carried c;

	assert_int_equal(v->type, VALUE_SEALED);
	assert_true(wire_carried_read(v->text, v->len, &c));
	assert_int_equal(c.payload_len, n);
	assert_memory_equal(c.payload, p, n);
	assert_int_equal(c.source_len, strlen(T.m->sources[0].label));
	assert_memory_equal(c.source, T.m->sources[0].label, c.source_len);
	assert_int_equal(c.path_len, strlen(path));
	assert_memory_equal(c.path, path, c.path_len);
	assert_memory_equal(c.rid, rid, RID_BYTES);
	assert_int_equal(c.has_sid, has_sid);
	if (has_sid)
		assert_int_equal(c.sid[1], 3);
}

/* ---- raw events ---- */

static void
test_a_raw_row_carries_what_is_sealed(void **state)
{
	struct event ev;

	(void)state;
	event_make(&ev);
	assert_true(mapped(&ev));
	const struct row *raw = row_of("raw_order", 0);
	assert_non_null(raw);
	assert_memory_equal(raw->rid, ev.rec.rid, RID_BYTES);
	assert_true(raw->has_sid);
	assert_memory_equal(raw->sid, ev.rec.sid, SUBJECT_ID_BYTES);
	assert_int_equal(column("raw_order", raw, "event_at")->integer, 5000000);
	assert_int_equal(column("raw_order", raw, "id")->integer, 42);
	assert_int_equal(column("raw_order", raw, "n")->integer, 4);
	assert_memory_equal(column("raw_order", raw, "person_token")->text, "01aa", 4);
	assert_carried(column("raw_order", raw, "income"), payload, sizeof payload, "person.income",
		       ev.rec.rid, true);
	assert_carried(column("raw_order", raw, "person"), erased, sizeof erased, "person.cpf",
		       ev.rec.rid, true);
	assert_carried(column("raw_order", raw, "$unknown"), payload, sizeof payload, "$unknown",
		       ev.rec.rid, true);
	/* The fact beside it has what is clear, and nobody's pseudonym but the token. */
	const struct row *line = row_of("fact_line", 0);
	assert_non_null(line);
	assert_int_equal(column("fact_line", line, "twice")->integer, 8);
	assert_memory_equal(column("fact_line", line, "who")->text, "01aa", 4);
	assert_false(line->has_sid);
}

static void
test_an_event_of_nobody(void **state)
{
	uint8_t plain[61] = {1, 1, 0, 4};
	struct event ev;

	(void)state;
	event_make(&ev);
	ev.rec.has_sid = false;
	ev.rec.has_time = false;
	ev.fields[field("income")] = sealed(plain, sizeof plain);
	ev.fields[field("person")] = sealed(plain, sizeof plain);
	ev.fields[field("$unknown")] = value_null();
	assert_true(mapped(&ev));
	const struct row *raw = row_of("raw_order", 0);
	assert_false(raw->has_sid);
	assert_int_equal(column("raw_order", raw, "event_at")->type, VALUE_NULL);
	assert_int_equal(column("raw_order", raw, "$unknown")->type, VALUE_NULL);
	assert_carried(column("raw_order", raw, "income"), plain, sizeof plain, "person.income",
		       ev.rec.rid, false);
}

static void
test_an_event_that_was_not_folded_is_raw_alone(void **state)
{
	struct event ev;

	(void)state;
	event_make(&ev);
	ev.rec.raw_only = true;
	assert_true(mapped(&ev));
	assert_int_equal(T.got_n, 1);
	assert_non_null(row_of("raw_order", 0));
}

/* Readers hold a sealed value against its row: both have the rid it was sealed under. */
static void
test_an_event_told_apart_has_the_rid_it_came_with(void **state)
{
	struct event ev;

	(void)state;
	event_make(&ev);
	ev.rec.has_bound = true;
	memset(ev.rec.bound, 8, RID_BYTES);
	assert_true(mapped(&ev));
	const struct row *raw = row_of("raw_order", 0), *line = row_of("fact_line", 0);
	assert_memory_equal(raw->rid, ev.rec.bound, RID_BYTES);
	assert_memory_equal(line->rid, ev.rec.rid, RID_BYTES);
	assert_carried(column("raw_order", raw, "income"), payload, sizeof payload, "person.income",
		       ev.rec.bound, true);
}

/* Many large values in one row: they stay where they are while the others are appended. */
static void
test_large_sealed_values(void **state)
{
	uint8_t *large = calloc(1, TEXT_BYTES_MAX);
	struct event ev;

	(void)state;
	memcpy(large, payload, 4);
	event_make(&ev);
	ev.fields[field("income")] = sealed(large, TEXT_BYTES_MAX);
	ev.fields[field("person")] = sealed(large, TEXT_BYTES_MAX - 1);
	ev.fields[field("$unknown")] = sealed(large, TEXT_BYTES_MAX / 2);
	assert_true(mapped(&ev));
	const struct row *raw = row_of("raw_order", 0);
	assert_carried(column("raw_order", raw, "income"), large, TEXT_BYTES_MAX, "person.income",
		       ev.rec.rid, true);
	assert_carried(column("raw_order", raw, "person"), large, TEXT_BYTES_MAX - 1, "person.cpf",
		       ev.rec.rid, true);
	assert_carried(column("raw_order", raw, "$unknown"), large, TEXT_BYTES_MAX / 2, "$unknown",
		       ev.rec.rid, true);
	free(large);
}

/* ---- breaches ---- */

static void
test_sealed_and_clear_exchanged_are_a_breach(void **state)
{
	static const uint8_t unbound[61] = {1, 1, 0, 4}, newer[61] = {2, 1, 1, 4};
	struct event ev;

	(void)state;
	event_make(&ev);
	ev.fields[field("income")] = value_decimal(150000, 2);
	assert_false(mapped(&ev)); /* clear where the model says sealed */
	event_make(&ev);
	ev.fields[field("income")] = value_text("1500", 4);
	assert_false(mapped(&ev));
	event_make(&ev);
	ev.fields[field("person_token")] = sealed(payload, sizeof payload);
	assert_false(mapped(&ev)); /* sealed where it says clear */
	event_make(&ev);
	ev.fields[field("n")] = sealed(payload, sizeof payload);
	assert_false(mapped(&ev));
	event_make(&ev);
	ev.fields[field("income")] = sealed(payload, sizeof payload - 1);
	assert_false(mapped(&ev)); /* too short to be one */
	event_make(&ev);
	ev.fields[field("income")] = sealed(newer, sizeof newer);
	assert_false(mapped(&ev));
	event_make(&ev);
	ev.fields[field("income")] = sealed(unbound, sizeof unbound);
	assert_false(mapped(&ev)); /* would survive the person's erasure */
	event_make(&ev);
	ev.rec.has_sid = false;
	assert_false(mapped(&ev)); /* bound to nobody: never to be opened */
	assert_int_equal(T.got_n, 0);
}

/* ---- sealed folds ---- */

static bool
process_mapped(struct value income)
{
	struct value inputs[EXPR_INPUTS_MAX] = {{0}};
	struct proc p = {inputs, T.m->inputs_n, 0};
	struct buf b = {0};
	struct err e = {0};
	uint64_t rows[TABLES_MAX];

	inputs[PROCESS_KEY] = value_integer(42);
	inputs[PROCESS_STATUS] = value_text("open", 4);
	inputs[PROCESS_EVENTS] = value_integer(3);
	inputs[PROCESS_REVISION] = value_integer(9);
	for (unsigned i = 0; i < T.m->folds_n; i++)
		if (!strcmp(T.m->folds[i].name.s, "income"))
			inputs[PROCESS_FIXED + i] = income;
	wire_proc_write(&b, &p);
	bool ok = map_proc(T.map, b.data, b.len, 1, &e);
	map_end(T.map, rows);
	buf_free(&b);
	return ok;
}

static void
test_sealed_folds_have_a_row(void **state)
{
	struct carried c = {.payload = payload,
			    .payload_len = sizeof payload,
			    .source = T.m->sources[0].label,
			    .source_len = (uint32_t)strlen(T.m->sources[0].label),
			    .path = "person.income",
			    .path_len = 13,
			    .rid = {5},
			    .has_sid = true,
			    .sid = {3, 3}};
	struct buf b = {0};

	(void)state;
	wire_carried_write(&b, &c);
	assert_true(process_mapped(sealed(b.data, b.len)));
	const struct row *row = row_of("process", 0);
	assert_non_null(row);
	assert_int_equal(column("process", row, "id")->integer, 42);
	assert_int_equal(column("process", row, "revision")->integer, 9);
	assert_carried(column("process", row, "income"), payload, sizeof payload, "person.income",
		       c.rid, true);
	assert_false(row->has_sid);
	assert_non_null(row_of("fact_order", 0));
	buf_free(&b);
}

static void
test_a_sealed_fold_of_another_form_is_a_breach(void **state)
{
	(void)state;
	assert_true(process_mapped(value_null()));
	fresh(NULL);
	assert_false(process_mapped(sealed(payload, sizeof payload)));
	assert_false(process_mapped(value_text("1500", 4)));
	assert_false(process_mapped(value_decimal(1, 0)));
	assert_null(row_of("process", 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_a_raw_row_carries_what_is_sealed, fresh),
	    cmocka_unit_test_setup(test_an_event_of_nobody, fresh),
	    cmocka_unit_test_setup(test_an_event_that_was_not_folded_is_raw_alone, fresh),
	    cmocka_unit_test_setup(test_an_event_told_apart_has_the_rid_it_came_with, fresh),
	    cmocka_unit_test_setup(test_large_sealed_values, fresh),
	    cmocka_unit_test_setup(test_sealed_and_clear_exchanged_are_a_breach, fresh),
	    cmocka_unit_test_setup(test_sealed_folds_have_a_row, fresh),
	    cmocka_unit_test_setup(test_a_sealed_fold_of_another_form_is_a_breach, fresh),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
