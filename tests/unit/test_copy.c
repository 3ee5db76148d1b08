/* Rows in PostgreSQL's binary form, byte by byte; what a server makes of them is test_load's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "load/copy.h"
#include "load/param.h"

static void
bytes_are(struct buf *b, const char *hex)
{
	struct buf got = {0};

	for (size_t i = 0; i < b->len; i++)
		buf_printf(&got, "%02x", b->data[i]);
	assert_string_equal(buf_cstr(&got), hex);
	buf_free(&got);
	buf_clear(b);
}

/* numeric: length, groups, weight, sign, scale, base-10000 digits. */
static void
decimal_is(int128 units, unsigned scale, const char *hex)
{
	struct value v = value_decimal(units, scale);
	struct buf b = {0};

	copy_decimal(&b, &v);
	bytes_are(&b, hex);
	buf_free(&b);
}

static void
test_decimals(void **state)
{
	int128 largest = 1;

	(void)state;
	decimal_is(0, 0,
		   "00000008"
		   "0000"
		   "0000"
		   "0000"
		   "0000");
	decimal_is(0, 5,
		   "00000008"
		   "0000"
		   "0000"
		   "0000"
		   "0005");
	decimal_is(1, 0,
		   "0000000a"
		   "0001"
		   "0000"
		   "0000"
		   "0000"
		   "0001");
	decimal_is(-1, 0,
		   "0000000a"
		   "0001"
		   "0000"
		   "4000"
		   "0000"
		   "0001");
	decimal_is(123456, 2,
		   "0000000c"
		   "0002"
		   "0000"
		   "0000"
		   "0002"
		   "04d2"
		   "15e0");
	decimal_is(10000, 0,
		   "0000000a"
		   "0001"
		   "0001"
		   "0000"
		   "0000"
		   "0001");
	decimal_is(1, 4,
		   "0000000a"
		   "0001"
		   "ffff"
		   "0000"
		   "0004"
		   "0001");
	decimal_is(1, 5,
		   "0000000a"
		   "0001"
		   "fffe"
		   "0000"
		   "0005"
		   "03e8");
	decimal_is(-5, 1,
		   "0000000a"
		   "0001"
		   "ffff"
		   "4000"
		   "0001"
		   "1388");
	decimal_is(100000001, 4,
		   "0000000e"
		   "0003"
		   "0001"
		   "0000"
		   "0004"
		   "0001"
		   "0000"
		   "0001");
	for (int i = 0; i < 38; i++)
		largest *= 10;
	decimal_is(largest - 1, 0,
		   "0000001c"
		   "000a"
		   "0009"
		   "0000"
		   "0000"
		   "0063"
		   "270f270f270f270f270f270f270f270f270f");
	decimal_is(1 - largest, 18,
		   "0000001c"
		   "000a"
		   "0004"
		   "4000"
		   "0012"
		   "270f270f270f270f270f270f270f270f270f"
		   "26ac");
}

static void
test_scalars(void **state)
{
	struct buf b = {0};
	struct value v[] = {
	    value_null(),
	    value_boolean(true),
	    value_integer(-2),
	    {.type = VALUE_FLOAT, .real = 1.5},
	    {.type = VALUE_DATE, .integer = 10957},
	    {.type = VALUE_DATE, .integer = -719162}, /* 0001-01-01 */
	    value_timestamp(INT64_C(946684800000001)),
	    value_text("ab", 2),
	    {.type = VALUE_JSON, .text = "{}", .len = 2},
	};
	static const char *const expected[] = {"ffffffff",
					       "0000000101",
					       "00000008fffffffffffffffe",
					       "000000083ff8000000000000",
					       "0000000400000000",
					       "00000004fff4dbf9",
					       "000000080000000000000001",
					       "000000026162",
					       "00000003017b7d"};

	(void)state;
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		copy_value(&b, &v[i]);
		bytes_are(&b, expected[i]);
	}
	buf_free(&b);
}

static void
test_arrays_and_params(void **state)
{
	struct param_set s = {0};

	(void)state;
	param_int4(&s, 7);
	param_array(&s, OID_INT8_ARRAY, OID_INT8, 2);
	copy_int8(&s.bytes, 1);
	copy_int8(&s.bytes, -1);
	param_array_end(&s);
	param_array(&s, OID_TEXT_ARRAY, OID_TEXT, 0);
	param_array_end(&s);
	const struct pg_param *p = params_made(&s);
	assert_int_equal(s.n, 3);
	assert_int_equal(p[0].len, 4);
	assert_int_equal(p[1].type, OID_INT8_ARRAY);
	assert_int_equal(p[1].len, 20 + 2 * 12);
	assert_int_equal(p[2].len, 12); /* no dimension */
	params_clear(&s);
	assert_int_equal(s.n, 0);
	params_free(&s);
}

/* A table of four sent columns, as copy_layout would make it. */
static struct part parts[] = {{.name = (char[]){"paid"}}, {.name = (char[]){"sent"}}};
static struct copy_layout layout = {
    .columns = {{.role = ROW_RID, .name = "rid", .value = -1},
		{.role = ROW_KEY, .name = "id", .type = VALUE_TEXT, .value = 0},
		{.role = ROW_MISSING, .name = "missing", .value = -1},
		{.role = ROW_BATCH, .name = "batch", .value = -1}},
    .columns_n = 4,
    .values_n = 1,
    .parts = parts,
    .parts_n = 2,
};

static void
test_a_row_and_back(void **state)
{
	struct buf b = {0};
	struct err e = {0};
	struct value v = value_text("k", 1);
	struct row row = {.values = &v, .values_n = 1, .missing = 2, .rid = {9}};
	struct copy_field f[8];
	size_t at = 0;

	(void)state;
	assert_true(copy_row(&layout, &row, 5, &b, &e));
	memset(row.rid, 0, sizeof(row.rid));
	row.missing = 0;
	v = value_null();
	assert_true(copy_row(&layout, &row, 6, &b, &e));
	assert_int_equal(copy_next(&b, &at, f, 8), 4);
	assert_int_equal(f[0].len, RID_BYTES);
	assert_memory_equal(f[1].data, "k", 1);
	assert_int_equal(f[2].len, 20 + 4 + 4);
	assert_int_equal(copy_field_int8(&f[3]), 5);
	assert_int_equal(copy_next(&b, &at, f, 8), 4);
	assert_null(f[0].data);
	assert_null(f[1].data);
	assert_int_equal(at, b.len);
	buf_free(&b);
}

static void
test_a_row_that_does_not_fit(void **state)
{
	struct buf b = {0};
	struct err e = {0};
	struct value v[] = {value_integer(1), value_null()};
	struct row row = {.values = v, .values_n = 1};

	(void)state;
	assert_false(copy_row(&layout, &row, 1, &b, &e)); /* an integer where a text belongs */
	row.values_n = 2;
	assert_false(copy_row(&layout, &row, 1, &b, &e));
	row.values_n = 1;
	row.missing = 4;
	assert_false(copy_row(&layout, &row, 1, &b, &e));
	assert_int_equal(b.len, 0);
	buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_decimals),
	    cmocka_unit_test(test_scalars),
	    cmocka_unit_test(test_arrays_and_params),
	    cmocka_unit_test(test_a_row_and_back),
	    cmocka_unit_test(test_a_row_that_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
