/* Batches as they come down the lane: what breaks the protocol is refused; sets of keys; owners' positions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load/load.h"

static struct table tables[] = {{.kind = TABLE_DIMENSION}, {.kind = TABLE_CALENDAR}};
static struct source sources[1];
static struct model model = {.tables = tables, .tables_n = 2, .sources = sources, .sources_n = 1};
static struct copy_layout layouts[2] = {
    {.columns = {{.role = ROW_SURROGATE, .name = "k", .type = VALUE_INTEGER, .value = 0},
		 {.role = ROW_NATURAL, .name = "n", .type = VALUE_TEXT, .value = 1}},
     .columns_n = 2,
     .values_n = 2}};

bool
load_breathe(void *ctx)
{
	(void)ctx;
	return true;
}

static struct batches *
batches_make(void)
{
	struct batches *b = calloc(1, sizeof(*b));

	b->setup = (struct batch_setup){.m = &model, .layouts = layouts, .epoch = 7};
	return b;
}

static void
batches_unmake(struct batches *b)
{
	batches_free(b);
	free(b);
}

static bool
fed(struct batches *b, enum frame_type type, uint32_t count, struct buf *body)
{
	struct err e = {0};
	bool good = batches_frame(b, type, false, count, body->data, body->len, &e);

	assert_true(good || e.text[0]);
	buf_free(body);
	return good;
}

static bool
begun(struct batches *b, int64_t epoch, int64_t n)
{
	struct buf body = {0};
	struct begin x = {.epoch = epoch, .n = n};

	wire_begin_write(&body, &x);
	return fed(b, FRAME_BEGIN, 1, &body);
}

static bool
rowed(struct batches *b, unsigned table, uint32_t rows, uint32_t said)
{
	struct buf body = {0};
	struct value v[] = {value_integer(0), value_text("x", 1)};
	struct row row = {.values = v, .values_n = 2};

	wire_table_write(&body, table);
	for (uint32_t i = 0; i < rows; i++) {
		v[0].integer = (i * 7 + 5) % 11;
		wire_row_write(&body, &row);
	}
	return fed(b, FRAME_ROWS, said, &body);
}

static bool
ended(struct batches *b, int64_t n, uint64_t rows, uint64_t state)
{
	struct buf body = {0};
	struct end x = {.n = n, .rows = {rows}, .state = state, .tables_n = 2, .sources_n = 1};

	wire_end_write(&body, &x);
	return fed(b, FRAME_END, 1, &body);
}

static void
test_a_good_batch(void **state)
{
	struct batches *b = batches_make();

	(void)state;
	assert_null(batches_ready(b));
	for (int64_t n = 1; n <= 9; n++) {
		assert_true(begun(b, 7, n));
		assert_true(rowed(b, 0, 3, 3));
		assert_true(rowed(b, 0, 1, 1));
		assert_null(batches_ready(b));
		assert_int_equal(batches_ready_count(b), 0);
		assert_true(ended(b, n, 4, 0));
		assert_int_equal(batches_ready(b)->n, n);
		assert_int_equal(batches_ready(b)->rows[0].n, 4);
		assert_int_equal(batches_ready_count(b), 1);
		batches_drop(b);
	}
	batches_unmake(b);
}

/* One batch far over the limit does not take its memory for ever. */
static void
test_large_buffers_are_given_back(void **state)
{
	struct batches *b = batches_make();

	(void)state;
	model.limits.batch_bytes_max = 1000;
	for (int64_t n = 1; n <= 2 * BATCHES_MAX; n++) {
		uint32_t rows = n <= BATCHES_MAX ? 500 : 5;
		assert_true(begun(b, 7, n) && rowed(b, 0, rows, rows) && ended(b, n, rows, 0));
		batches_drop(b);
		for (unsigned i = 0; i < BATCHES_MAX; i++)
			assert_true(b->ring[i].rows[0].bytes.cap <= 2000);
	}
	assert_true(b->ring[0].rows[0].bytes.cap > 0);
	model.limits.batch_bytes_max = 0;
	batches_unmake(b);
}

/* Lanes write members in one order, or they wait for each other. */
static void
test_members_are_sorted(void **state)
{
	struct batches *b = batches_make();
	struct copy_field f[2];
	size_t at = 0;
	int64_t before = -1;

	(void)state;
	assert_true(begun(b, 7, 1) && rowed(b, 0, 20, 20) && ended(b, 1, 20, 0));
	const struct rows *rows = &batches_ready(b)->rows[0];
	for (int i = 0; i < 20; i++) {
		assert_int_equal(copy_next(&rows->bytes, &at, f, 2), 2);
		assert_true(copy_field_int8(&f[0]) >= before);
		before = copy_field_int8(&f[0]);
		assert_memory_equal(f[1].data, "x", 1);
	}
	assert_int_equal(at, rows->bytes.len);
	batches_unmake(b);
}

static void
test_breaches(void **state)
{
	(void)state;
	for (int breach = 0; breach < 10; breach++) {
		struct batches *b = batches_make();
		if (breach == 0)
			assert_false(rowed(b, 0, 1, 1)); /* outside of a batch */
		else if (breach == 1)
			assert_false(begun(b, 8, 1)); /* another epoch */
		else if (breach == 2)
			assert_false(begun(b, 7, 2)); /* not the next */
		else
			assert_true(begun(b, 7, 1));
		if (breach == 3)
			assert_false(begun(b, 7, 2)); /* inside another */
		if (breach == 4)
			assert_false(rowed(b, 1, 1, 1)); /* a calendar is not loaded */
		if (breach == 5)
			assert_false(rowed(b, 2, 1, 1)); /* no such table */
		if (breach == 6)
			assert_false(rowed(b, 0, 2, 1)); /* a trailing row */
		if (breach == 7)
			assert_false(rowed(b, 0, 1, 2)); /* a missing row */
		if (breach == 8)
			assert_false(ended(b, 1, 1, 0)); /* counts differ */
		if (breach == 9)
			assert_false(ended(b, 2, 0, 0)); /* another number */
		batches_unmake(b);
	}
}

static void
test_no_more_than_the_bound(void **state)
{
	struct batches *b = batches_make();

	(void)state;
	for (int64_t n = 1; n <= BATCHES_MAX; n++)
		assert_true(begun(b, 7, n) && ended(b, n, 0, 0));
	assert_int_equal(batches_ready_count(b), BATCHES_MAX);
	assert_false(begun(b, 7, BATCHES_MAX + 1));
	batches_unmake(b);
}

static void
sum(void *ctx, int64_t key)
{
	*(int64_t *)ctx += key;
}

static void
test_sets_of_keys(void **state)
{
	struct keyset k = {0};
	int64_t total = 0;

	(void)state;
	for (int round = 0; round < 3; round++)
		for (int64_t i = -500; i <= 1000; i++)
			keyset_add(&k, i);
	assert_int_equal(keyset_count(&k), 1501);
	keyset_each(&k, sum, &total);
	assert_int_equal(total, 1000 * 1001 / 2 - 500 * 501 / 2);
	keyset_clear(&k);
	assert_int_equal(keyset_count(&k), 0);
	keyset_add(&k, INT64_MIN);
	assert_int_equal(keyset_count(&k), 1);
	keyset_free(&k);
}

static void
test_bounds_of_lanes(void **state)
{
	(void)state;
	for (unsigned lanes = 1; lanes <= LANES_MAX; lanes++) {
		struct model m = {.groups = 128, .lanes = lanes};
		uint32_t next = 0;
		for (unsigned lane = 0; lane < lanes; lane++) {
			struct owner o = {0};
			owner_bounds(&o, &m, lane);
			assert_int_equal(o.kg_lo, next);
			assert_true(o.kg_hi >= o.kg_lo);
			next = o.kg_hi + 1;
			owner_free(&o);
		}
		assert_int_equal(next, 128);
	}
}

static void
test_positions(void **state)
{
	struct owner o = {0};
	struct known durable = {.label = (char[]){"f"}, .label_len = 1};
	struct known ticket = {.kind = PARTITION_TRANSIENT, .label = (char[]){"q"}, .label_len = 1};
	struct position at[] = {{9, 90}, {2, 20}, {3, 5}};
	struct end_range range = {.kg_hi = 127, .positions = at, .positions_n = 3};
	struct end end = {.ranges = &range, .ranges_n = 1};
	struct err e = {0};

	(void)state;
	owner_range_add(&o, 0, 127);
	owner_partition(&o, 2, &durable);
	owner_partition(&o, 3, &ticket);
	assert_false(owner_positions(&o, &end, &e)); /* nobody told of partition 9 */
	owner_partition(&o, 9, &durable);
	assert_true(owner_positions(&o, &end, &e));
	at[0].next = 7;
	assert_true(owner_positions(&o, &end, &e)); /* never back */
	assert_int_equal(o.ranges[0].positions_n, 2);
	assert_int_equal(o.ranges[0].positions[0].partition, 2);
	assert_int_equal(o.ranges[0].positions[1].next, 90);
	range_unset(&o.ranges[0], 2);
	assert_int_equal(o.ranges[0].positions_n, 1);
	range.kg_hi = 128;
	assert_false(owner_positions(&o, &end, &e)); /* not our range */
	owner_free(&o);
}

static void
test_committed_is_the_minimum(void **state)
{
	struct owner o = {.epoch = 7};
	struct position low[] = {{1, 10}, {2, 50}}, high[] = {{2, 40}, {1, 11}};
	struct end_range ranges[] = {{0, 1, low, 2}, {2, 3, high, 2}};
	struct batch *b = calloc(1, sizeof(*b));
	struct buf body = {0};
	struct pack_reader r = {0};
	struct committed c;

	(void)state;
	b->n = 3;
	b->end.ranges = ranges;
	b->end.ranges_n = 2;
	owner_committed_write(&o, 0, b, &body);
	pack_reader_start(&r, body.data, body.len);
	assert_true(wire_committed_read(&r, &c) && pack_reader_end(&r));
	assert_int_equal(c.n, 3);
	assert_int_equal(c.positions_n, 2);
	assert_int_equal(c.positions[0].next, 10);
	assert_int_equal(c.positions[1].next, 40);
	committed_free(&c);
	pack_reader_free(&r);
	buf_free(&body);
	free(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_good_batch),
	    cmocka_unit_test(test_large_buffers_are_given_back),
	    cmocka_unit_test(test_members_are_sorted),
	    cmocka_unit_test(test_breaches),
	    cmocka_unit_test(test_no_more_than_the_bound),
	    cmocka_unit_test(test_sets_of_keys),
	    cmocka_unit_test(test_bounds_of_lanes),
	    cmocka_unit_test(test_positions),
	    cmocka_unit_test(test_committed_is_the_minimum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
