/* transform's mapping: which rows a process and an event make, and which dimension rows travel. */
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
#include "transform/map.h"
#include "transform/members.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char pipeline[] =
    "pipeline: test\n"
    "time_zone: Europe/Paris\n"
    "correlate:\n"
    "  by: id\n"
    "  folds:\n"
    "    started:  { min: order.at }\n"
    "    customer: { last: order.customer }\n"
    "    total:    { sum: order.amount }\n"
    "  complete: { paid: seen(payment) }\n"
    "sources:\n"
    "  order:\n"
    "    file: { directory: /srv, path: order.ndjson }\n"
    "    format: json\n"
    "    time: at\n"
    "    fields: { id: integer, at: timestamp, customer: text, amount: decimal, n: integer }\n"
    "  payment:\n"
    "    file: { directory: /srv, path: payment.ndjson }\n"
    "    format: json\n"
    "    time: at\n"
    "    fields: { id: integer, at: timestamp, customer: text }\n"
    "  person:\n"
    "    file: { directory: /srv, path: person.ndjson }\n"
    "    format: json\n"
    "    time: at\n"
    "    reference: name\n"
    "    fields: { name: text, at: timestamp, city: text }\n"
    "warehouse:\n"
    "  postgresql: { dsn: \"postgresql://localhost/x\", logins: /srv }\n"
    "tables:\n"
    "  dim_date: { kind: calendar, from: 2011-01-01, to: 2012-12-31 }\n"
    "  dim_customer:\n"
    "    kind: dimension\n"
    "    from: person\n"
    "    key: name\n"
    "    columns: { city: \"upper(city)\" }\n"
    "  fact_order:\n"
    "    kind: fact\n"
    "    grain: process\n"
    "    key: order_id\n"
    "    columns: { total: total, ratio: \"100 / total\" }\n"
    "    references: { dim_customer: customer, dim_date: started }\n"
    "  fact_line:\n"
    "    kind: fact\n"
    "    grain: order\n"
    "    columns: { label: \"lower(customer) || '!'\", twice: \"n * 2\" }\n"
    "    references: { dim_customer: customer, dim_date: at }\n";

enum { DIM_DATE, DIM_CUSTOMER, FACT_ORDER, FACT_LINE, TABLES };
enum { ORDER, PAYMENT, PERSON };
enum { ROWS_MAX = 20000 };

static const uint8_t hash_key[HASH_KEY_BYTES] = {1, 2, 3};

/* ---- what came out ---- */

struct got {
	unsigned table;
	char text[700]; /* values joined by |, then missing and rid when there are */
};

static struct {
	struct model *model;
	struct map *map;
	struct got *got;
	unsigned got_n, frames;
	uint64_t rows[TABLES_MAX];
} T;

static void
row_text(const struct row *row, char *out, size_t room)
{
	struct buf b = {0};

	for (uint32_t i = 0; i < row->values_n; i++) {
		if (i)
			buf_byte(&b, '|');
		value_print(&row->values[i], &b);
	}
	if (row->missing)
		buf_printf(&b, "|missing %llx", (unsigned long long)row->missing);
	if (row->rid[0])
		buf_printf(&b, "|rid %u", row->rid[0]);
	snprintf(out, room, "%s", buf_cstr(&b));
	buf_free(&b);
}

static void
take(void *ctx, unsigned table, uint32_t count, struct buf *body)
{
	struct value values[COLUMNS_MAX * 2];
	struct row row = {.values = values};
	struct pack_reader r = {0};
	uint32_t id;

	(void)ctx;
	pack_reader_start(&r, body->data + FRAME_HEAD_BYTES, pipe_body_bytes(body));
	assert_true(wire_table_read(&r, &id));
	assert_int_equal(id, table);
	for (uint32_t i = 0; i < count; i++) {
		assert_true(wire_row_read(&r, &row));
		assert_true(T.got_n < ROWS_MAX);
		T.got[T.got_n].table = table;
		row_text(&row, T.got[T.got_n].text, sizeof T.got->text);
		T.got_n++;
	}
	assert_true(pack_reader_end(&r));
	pack_reader_free(&r);
	T.frames++;
	buf_free(body);
}

static int
setup(void **state)
{
	struct conf_report report = {0};

	(void)state;
	keyhash_init();
	if (!conf_read_text("test", pipeline, strlen(pipeline), &T.model, &report)) {
		print_error("%s", buf_cstr(&report.text));
		return -1;
	}
	conf_report_free(&report);
	T.got = calloc(ROWS_MAX, sizeof *T.got);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	free(T.got);
	model_free(T.model);
	return 0;
}

static int
generation_begin(void **state)
{
	(void)state;
	T.map = map_new(T.model, take, NULL);
	map_hash_key(T.map, hash_key);
	T.got_n = T.frames = 0;
	return 0;
}

static int
generation_end(void **state)
{
	(void)state;
	map_free(T.map);
	return 0;
}

static void
batch_end(void)
{
	map_end(T.map, T.rows);
}

static const char *
got(unsigned table, unsigned i)
{
	for (unsigned k = 0; k < T.got_n; k++)
		if (T.got[k].table == table && !i--)
			return T.got[k].text;
	return "";
}

static unsigned
got_count(unsigned table)
{
	unsigned n = 0;

	for (unsigned k = 0; k < T.got_n; k++)
		n += T.got[k].table == table;
	return n;
}

static const char *
surrogate(const char *natural)
{
	static char text[8][24];
	static unsigned at;

	at = (at + 1) % COUNT(text);
	snprintf(text[at], sizeof text[at], "%lld",
		 (long long)keyhash_surrogate(hash_key, natural, strlen(natural)));
	return text[at];
}

/* ---- what goes in ---- */

static int64_t
us(const char *s)
{
	struct err e;
	int64_t t = 0;

	assert_true(time_parse(s, strlen(s), TIME_RFC3339, NULL, &t, &e));
	return t;
}

static struct value
text(const char *s)
{
	return s ? value_text(s, strlen(s)) : value_null();
}

static void
event_write(struct buf *b, unsigned source, const char *key, const char *at, uint8_t rid,
	    struct value *fields)
{
	struct record r = {.kind = source == PERSON ? RECORD_REFERENCE : RECORD_EVENT,
			   .source = (uint16_t)source,
			   .partition = 1,
			   .has_rid = true,
			   .rid = {rid},
			   .key = key,
			   .key_len = (uint32_t)strlen(key),
			   .has_time = at,
			   .time_us = at ? us(at) : 0,
			   .fields = fields,
			   .fields_n = T.model->sources[source].fields_n};

	wire_record_write(b, &r);
}

static void
events_map(struct buf *b, uint32_t n)
{
	struct err e = {0};

	if (!map_evt(T.map, b->data, b->len, n, &e))
		fail_msg("%s", e.text);
	buf_free(b);
}

static void
order(const char *key, const char *at, uint8_t rid, const char *customer, int64_t n)
{
	struct value fields[] = {value_null(), value_timestamp(us(at)), text(customer),
				 value_null(), value_integer(n)};
	struct buf b = {0};

	event_write(&b, ORDER, key, at, rid, fields);
	events_map(&b, 1);
}

static void
person(const char *name, const char *at, uint8_t rid, const char *city)
{
	struct value fields[] = {text(name), at ? value_timestamp(us(at)) : value_null(),
				 text(city)};
	struct buf b = {0};

	event_write(&b, PERSON, name ? name : "?", at, rid, fields);
	events_map(&b, 1);
}

/* key, status, first, last, closed, events, revision, then the folds and what expressions ask for
 */
static struct proc
process(struct value *inputs, int64_t key, const char *customer, const char *started, int128 cents)
{
	struct proc p = {inputs, T.model->inputs_n, 0};

	for (unsigned i = 0; i < T.model->inputs_n; i++)
		inputs[i] = value_null();
	inputs[PROCESS_KEY] = value_integer(key);
	inputs[PROCESS_STATUS] = text("open");
	inputs[PROCESS_FIRST_EVENT_AT] = value_timestamp(us("2011-10-01T00:00:00Z"));
	inputs[PROCESS_EVENTS] = value_integer(3);
	inputs[PROCESS_REVISION] = value_integer(4);
	inputs[PROCESS_FIXED] = started ? value_timestamp(us(started)) : value_null();
	inputs[PROCESS_FIXED + 1] = text(customer);
	inputs[PROCESS_FIXED + 2] = value_decimal(cents, 2);
	for (unsigned i = PROCESS_FIXED; i < T.model->inputs_n; i++)
		if (T.model->inputs[i].kind == INPUT_SEEN)
			inputs[i] = value_boolean(false);
	return p;
}

static void
process_map(const struct proc *p)
{
	struct buf b = {0};
	struct err e = {0};

	wire_proc_write(&b, p);
	if (!map_proc(T.map, b.data, b.len, 1, &e))
		fail_msg("%s", e.text);
	buf_free(&b);
}

/* ---- facts ---- */

static void
test_process(void **state)
{
	struct value inputs[EXPR_INPUTS_MAX];
	struct proc p = process(inputs, 42, "Ann", "2011-09-30T22:30:00Z", 800);
	char want[700];

	(void)state;
	p.missing = 1;
	process_map(&p);
	batch_end();
	snprintf(want, sizeof want,
		 "42|8.00|12.500000|%s|20111001|open|2011-10-01T00:00:00Z|null|3|4|missing 1",
		 surrogate("Ann"));
	assert_string_equal(got(FACT_ORDER, 0), want);
	snprintf(want, sizeof want, "%s|Ann|null|true|null", surrogate("Ann"));
	assert_string_equal(got(DIM_CUSTOMER, 0), want);
	assert_int_equal(T.rows[FACT_ORDER], 1);
	assert_int_equal(T.rows[DIM_CUSTOMER], 1);
	assert_int_equal(T.rows[FACT_LINE], 0);
	assert_int_equal(T.got[0].table, DIM_CUSTOMER); /* before the fact */
}

static void
test_division_is_counted(void **state)
{
	struct value inputs[EXPR_INPUTS_MAX];
	struct proc p = process(inputs, 42, "Ann", NULL, 0);

	(void)state;
	process_map(&p);
	batch_end();
	assert_non_null(strstr(got(FACT_ORDER, 0), "42|0.00|null|"));
	assert_int_equal(map_counts(T.map).nulled, 1);
}

static void
test_event(void **state)
{
	char want[700];

	(void)state;
	order("7", "2012-12-31T22:59:59Z", 9, "ANN", 21);
	batch_end();
	snprintf(want, sizeof want, "7|2012-12-31T22:59:59Z|ann!|42|%s|20121231|rid 9",
		 surrogate("ANN"));
	assert_string_equal(got(FACT_LINE, 0), want);
	assert_int_equal(T.rows[FACT_LINE], 1);
	assert_int_equal(T.rows[FACT_ORDER], 0);
}

static void
test_references_out_of_bounds(void **state)
{
	static char longest[KEY_BYTES_MAX + 2];
	static const struct {
		const char *customer, *at, *keys;
	} cases[] = {
	    {NULL, "2011-06-01T00:00:00Z", "|-1|20110601|"},
	    {"", "2011-06-01T00:00:00Z", "|-2|20110601|"},
	    {" \t\n", "2011-06-01T00:00:00Z", "|-2|20110601|"},
	    {longest, "2011-06-01T00:00:00Z", "|-2|20110601|"},
	    {NULL, "2010-12-31T22:59:59Z",
	     "|-1|-2|"}, /* 23:59:59 in Paris: the day before the first */
	    {NULL, "2010-12-31T23:00:00Z", "|-1|20110101|"},
	    {NULL, "2012-12-31T23:00:00Z", "|-1|-2|"},
	};
	struct value inputs[EXPR_INPUTS_MAX];

	(void)state;
	memset(longest, 'x', KEY_BYTES_MAX + 1);
	for (size_t i = 0; i < COUNT(cases); i++) {
		T.got_n = 0;
		order("7", cases[i].at, 1, cases[i].customer, 1);
		batch_end();
		if (!strstr(got(FACT_LINE, 0), cases[i].keys))
			fail_msg("%zu: %s", i, got(FACT_LINE, 0));
		assert_int_equal(got_count(DIM_CUSTOMER), 0);
	}
	longest[KEY_BYTES_MAX] = 0;
	T.got_n = 0;
	order("7", cases[0].at, 1, longest, 1);
	struct proc p = process(inputs, 1, "Ann", NULL, 0);
	process_map(&p);
	batch_end();
	assert_int_equal(got_count(DIM_CUSTOMER), 2);
	assert_non_null(strstr(got(FACT_ORDER, 0), "|-1|open"));
}

/* ---- dimensions ---- */

static void
test_member_described(void **state)
{
	char want[700];

	(void)state;
	person("Ann", "2011-05-01T00:00:00Z", 5, "Oslo");
	batch_end();
	snprintf(want, sizeof want, "%s|Ann|OSLO|false|2011-05-01T00:00:00Z|rid 5",
		 surrogate("Ann"));
	assert_string_equal(got(DIM_CUSTOMER, 0), want);
	assert_int_equal(got_count(DIM_CUSTOMER), 1);
	assert_int_equal(got_count(FACT_LINE), 0);
}

static void
test_member_newest_of_a_batch(void **state)
{
	(void)state;
	order("7", "2011-05-03T00:00:00Z", 1, "Ann", 1);
	person("Ann", "2011-05-02T00:00:00Z", 5, "second");
	person("Ann", "2011-05-01T00:00:00Z", 9, "first");
	person("Ann", NULL, 9, "timeless");
	person("Ann", "2011-05-02T00:00:00Z", 6, "a longer name that has no room in the old place");
	person("Ann", "2011-05-02T00:00:00Z", 6, "again");
	order("8", "2011-05-03T00:00:00Z", 2, "Ann", 1);
	person("Bob", NULL, 9, "timeless");
	batch_end();
	assert_int_equal(got_count(DIM_CUSTOMER), 2);
	assert_non_null(strstr(got(DIM_CUSTOMER, 0), "|A LONGER NAME"));
	assert_non_null(strstr(got(DIM_CUSTOMER, 0), "|rid 6"));
	assert_non_null(strstr(got(DIM_CUSTOMER, 1), "|TIMELESS|false|null|rid 9"));
	assert_int_equal(T.rows[DIM_CUSTOMER], 2);
	assert_int_equal(map_counts(T.map).skipped, 4);
}

static void
test_member_sent_once_a_version(void **state)
{
	(void)state;
	order("7", "2011-05-03T00:00:00Z", 1, "Ann", 1);
	batch_end();
	assert_int_equal(got_count(DIM_CUSTOMER), 1);
	T.got_n = 0;
	order("7", "2011-05-03T00:00:00Z", 1, "Ann", 1);
	batch_end();
	assert_int_equal(got_count(DIM_CUSTOMER), 0); /* inferred before */
	person("Ann", "2011-05-02T00:00:00Z", 5, "Oslo");
	batch_end();
	assert_int_equal(got_count(DIM_CUSTOMER), 1);
	person("Ann", "2011-05-02T00:00:00Z", 5, "Oslo");
	person("Ann", "2011-05-01T00:00:00Z", 9, "Rome");
	order("7", "2011-05-03T00:00:00Z", 1, "Ann", 1);
	batch_end();
	assert_int_equal(got_count(DIM_CUSTOMER), 1); /* nothing newer */
	person("Ann", "2011-05-02T00:00:00Z", 6, "Rome");
	batch_end();
	assert_int_equal(got_count(DIM_CUSTOMER), 2);
	assert_non_null(strstr(got(DIM_CUSTOMER, 1), "ROME"));
}

static void
test_member_without_a_key(void **state)
{
	(void)state;
	person(NULL, "2011-05-02T00:00:00Z", 5, "Oslo");
	person("  ", "2011-05-02T00:00:00Z", 5, "Oslo");
	batch_end();
	assert_int_equal(T.got_n, 0);
}

/* More members than are remembered: nothing is lost, some rows are sent again. */
static void
test_members_pushed_out(void **state)
{
	enum { MANY = MEMBERS_SENT_MAX * 2 };
	struct members *m = members_new();
	unsigned again = 0;

	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < MANY; i++) {
			char name[24];
			int n = snprintf(name, sizeof name, "m%d", i);
			struct member_id id = {1, keyhash_surrogate(hash_key, name, (size_t)n),
					       member_check(name, (size_t)n)};
			struct member_version v = {
			    .described = true, .has_time = true, .time_us = 1};
			bool wanted = members_offer(m, &id, &v);
			if (wanted)
				members_put(m, name, (size_t)n);
			assert_true(round || wanted);
			again += round && wanted;
			if (i % 1000 == 999)
				members_sent(m);
		}
	}
	assert_true(again > 0 && again < MANY + 1);
	members_free(m);
	members_free(NULL);
}

static void
visit_count(void *ctx, const uint8_t *row, size_t n)
{
	unsigned *count = ctx;

	(void)row;
	(void)n;
	++*count;
}

/* Two natural keys with one surrogate key: load must see both. */
static void
test_members_collision(void **state)
{
	struct members *m = members_new();
	struct member_id a = {1, 77, 1}, b = {1, 77, 2}, other = {2, 77, 1};
	struct member_version v = {0};
	unsigned n = 0;

	(void)state;
	assert_true(members_offer(m, &a, &v));
	members_put(m, "a", 1);
	assert_true(members_offer(m, &b, &v));
	members_put(m, "b", 1);
	assert_true(members_offer(m, &other, &v));
	members_put(m, "c", 1);
	assert_false(members_offer(m, &a, &v));
	members_each(m, 1, visit_count, &n);
	assert_int_equal(n, 2);
	members_sent(m);
	assert_false(members_offer(m, &a, &v));
	assert_false(members_offer(m, &b, &v));
	members_free(m);
}

/* ---- frames ---- */

static void
test_frames_are_flushed(void **state)
{
	enum { MANY = 12000 };
	struct value fields[] = {value_null(), value_null(), text("Ann"), value_null(),
				 value_integer(1)};
	struct buf b = {0};

	(void)state;
	for (int i = 0; i < MANY; i++)
		event_write(&b, ORDER, "123456789", "2011-05-02T00:00:00Z", 1, fields);
	events_map(&b, MANY);
	assert_true(T.frames >= 2);
	batch_end();
	assert_int_equal(got_count(FACT_LINE), MANY);
	assert_int_equal(T.rows[FACT_LINE], MANY);
	batch_end();
	assert_int_equal(T.rows[FACT_LINE], 0);
}

static void
refused_evt(const void *body, size_t n, uint32_t count)
{
	struct err e = {0};

	assert_false(map_evt(T.map, body, n, count, &e));
	assert_true(e.code == EXIT_BUG && e.text[0]);
}

static void
test_hostile_frames(void **state)
{
	struct value fields[] = {value_null(), value_null(), text("Ann"), value_null(),
				 value_integer(1)};
	struct value inputs[EXPR_INPUTS_MAX];
	struct buf b = {0};
	struct err e = {0};

	(void)state;
	event_write(&b, ORDER, "1", "2011-05-02T00:00:00Z", 1, fields);
	for (size_t n = 0; n < b.len; n++)
		refused_evt(b.data, n, 1);
	refused_evt(b.data, b.len, 0);
	refused_evt(b.data, b.len, 2);
	buf_clear(&b);
	event_write(&b, ORDER, "not a number", "2011-05-02T00:00:00Z", 1, fields);
	refused_evt(b.data, b.len, 1);
	buf_clear(&b);
	fields[4] = text("a text where an integer is declared");
	event_write(&b, ORDER, "1", "2011-05-02T00:00:00Z", 1, fields);
	refused_evt(b.data, b.len, 1);
	buf_clear(&b);

	struct proc p = process(inputs, 1, "Ann", NULL, 0);
	p.inputs_n--;
	wire_proc_write(&b, &p);
	assert_false(map_proc(T.map, b.data, b.len, 1, &e));
	buf_clear(&b);
	p.inputs_n++;
	inputs[PROCESS_STATUS] = value_integer(1);
	wire_proc_write(&b, &p);
	assert_false(map_proc(T.map, b.data, b.len, 1, &e));
	buf_free(&b);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, generation_begin, generation_end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_process),
	    TEST(test_division_is_counted),
	    TEST(test_event),
	    TEST(test_references_out_of_bounds),
	    TEST(test_member_described),
	    TEST(test_member_newest_of_a_batch),
	    TEST(test_member_sent_once_a_version),
	    TEST(test_member_without_a_key),
	    TEST(test_members_pushed_out),
	    TEST(test_members_collision),
	    TEST(test_frames_are_flushed),
	    TEST(test_hostile_frames),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
