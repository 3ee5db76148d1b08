/* value, decimal, timeform, zone: types, exact numbers, times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "decimal.h"
#include "timeform.h"
#include "value.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char *
shown(const struct value *v)
{
	static struct buf b;

	buf_clear(&b);
	value_print(v, &b);
	return buf_cstr(&b);
}

static struct value
dec(const char *s)
{
	struct value v = value_null();
	struct err e = {0};

	if (!decimal_parse(s, strlen(s), &v, &e))
		fail_msg("%s: %s", s, e.text);
	return v;
}

static void
test_types(void **state)
{
	(void)state;
	for (int t = VALUE_NULL + 1; t < VALUE_SEALED; t++) {
		const char *name = value_type_name((enum value_type)t);
		assert_int_equal(value_type_find(name, strlen(name)), t);
	}
	assert_int_equal(value_type_find("sealed", 6), VALUE_TYPE_MAX); /* not to be declared */
	assert_int_equal(value_type_find("number", 6), VALUE_TYPE_MAX);
	assert_int_equal(value_type_find("null", 4), VALUE_TYPE_MAX);
	assert_int_equal(value_type_find("", 0), VALUE_TYPE_MAX);
}

static void
test_decimal_parse(void **state)
{
	static const struct {
		const char *in, *out; /* out NULL: refused */
	} cases[] = {
	    {"0", "0"},
	    {"-0", "0"},
	    {"0.00", "0.00"},
	    {"1.50", "1.50"},
	    {"-12.345", "-12.345"},
	    {"007", "7"},
	    {"1e3", "1000"},
	    {"1.5E2", "150"},
	    {"15e-1", "1.5"},
	    {"1.2e+1", "12"},
	    {"0e400", "0"},
	    {"0e-400", "0.000000000000000000"},
	    {"99999999999999999999999999999999999999", "99999999999999999999999999999999999999"},
	    {"-99999999999999999999999999999999999999", "-99999999999999999999999999999999999999"},
	    {"99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"},
	    {"123456789012345678901234567890", "123456789012345678901234567890"},
	    {"0.000000000000000001", "0.000000000000000001"},
	    {"1.0000000000000000000000000000000000000000", "1.000000000000000000"},
	    {"12345678901234567890123456789012345678.0", "12345678901234567890123456789012345678"},
	    {"100000000000000000000000000000000000000", NULL},
	    {"999999999999999999999999999999999999999", NULL},
	    {"0.0000000000000000001", NULL},
	    {"1e38", NULL},
	    {"1e400", NULL},
	    {"1e-400", NULL},
	    {"1e99999999999999999999", NULL},
	    {"", NULL},
	    {"-", NULL},
	    {"+1", NULL},
	    {".5", NULL},
	    {"5.", NULL},
	    {"1e", NULL},
	    {"1e+", NULL},
	    {"1.2.3", NULL},
	    {" 1", NULL},
	    {"1 ", NULL},
	    {"0x10", NULL},
	    {"NaN", NULL},
	    {"Infinity", NULL},
	    {"--1", NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct value v = value_null();
		struct err e = {0};
		bool good = decimal_parse(cases[i].in, strlen(cases[i].in), &v, &e);
		if (good != (cases[i].out != NULL))
			fail_msg("%s: %s", cases[i].in, good ? "accepted" : e.text);
		if (good)
			assert_string_equal(shown(&v), cases[i].out);
		else
			assert_true(e.text[0]);
	}
}

static void
test_decimal_arith(void **state)
{
	static const struct {
		const char *a;
		char op;
		const char *b, *out; /* out NULL: no result */
	} cases[] = {
	    {"1.5", '+', "2.25", "3.75"},
	    {"-1.5", '+', "0.5", "-1.0"},
	    {"99999999999999999999999999999999999999", '+', "1", NULL},
	    {"99999999999999999999999999999999999999", '-', "0.5", NULL},
	    {"99999999999999999999", '+', "0.999999999999999999",
	     "99999999999999999999.999999999999999999"},
	    {"0.1", '+', "0.2", "0.3"},
	    {"1", '-', "0.000000000000000001", "0.999999999999999999"},
	    {"1.5", '*', "1.5", "2.25"},
	    {"0.0000000001", '*', "0.0000000001", "0.000000000000000000"},
	    {"0.0000000007", '*', "0.000000001", "0.000000000000000001"},
	    {"0.0000000005", '*', "0.000000001", "0.000000000000000001"},
	    {"-0.0000000005", '*', "0.000000001", "-0.000000000000000001"},
	    {"12345678901234567890", '*', "1000000000000000000",
	     "12345678901234567890000000000000000000"},
	    {"12345678901234567890", '*', "10000000000000000000", NULL},
	    {"9999999999999999999.999999999999999999", '*', "9.999999999999999999",
	     "99999999999999999989.999999999999999990"},
	    {"1", '/', "3", "0.333333"},
	    {"2", '/', "3", "0.666667"},
	    {"-2", '/', "3", "-0.666667"},
	    {"1", '/', "0", NULL},
	    {"1.000000000000000000", '/', "3", "0.333333333333333333"},
	    {"99999999999999999999999999999999", '/', "1.0000000", NULL},
	    {"9999999999999999999999999999999", '/', "1.0000000",
	     "9999999999999999999999999999999.0000000"},
	    {"99999999999999999999999999999999999999", '/',
	     "99999999999999999999999999999999999999", "1.000000"},
	    {"7", '%', "3", "1"},
	    {"-7", '%', "3", "-1"},
	    {"7.5", '%', "2", "1.5"},
	    {"1", '%', "0.3", "0.1"},
	    {"1", '%', "0", NULL},
	    {"0.000000000000000005", '%', "99999999999999999999999999999999999999",
	     "0.000000000000000005"},
	    {"99999999999999999999999999999999999999", '%', "0.000000000000000007",
	     "0.000000000000000001"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct value a = dec(cases[i].a), b = dec(cases[i].b), r = value_null();
		char op = cases[i].op;
		bool good = op == '+'	? decimal_add(&a, &b, &r)
			    : op == '-' ? decimal_sub(&a, &b, &r)
			    : op == '*' ? decimal_mul(&a, &b, &r)
			    : op == '/' ? decimal_div(&a, &b, &r)
					: decimal_mod(&a, &b, &r);
		if (good != (cases[i].out != NULL) || (good && strcmp(shown(&r), cases[i].out)))
			fail_msg("%s %c %s gives %s", cases[i].a, op, cases[i].b,
				 good ? shown(&r) : "nothing");
	}
}

/* Overflow of the intermediate is none of the result: 2*10^37 + 18 places - nearly as much. */
static void
test_decimal_cancels(void **state)
{
	struct value a = dec("10000000000000000000.000000000000000000");
	struct value b = dec("-99999999999999999999"), r;

	(void)state;
	assert_true(decimal_add(&a, &b, &r));
	assert_string_equal(shown(&r), "-89999999999999999999.000000000000000000");
}

static void
test_decimal_compare(void **state)
{
	static const struct {
		const char *a, *b;
		int order;
	} cases[] = {
	    {"1.0", "1.00", 0},
	    {"0", "-0.000", 0},
	    {"1", "1.000000000000000001", -1},
	    {"-1", "-1.000000000000000001", 1},
	    {"99999999999999999999999999999999999999", "0.999999999999999999", 1},
	    {"-99999999999999999999999999999999999999", "-0.999999999999999999", -1},
	    {"0.5", "-0.5", 1},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct value a = dec(cases[i].a), b = dec(cases[i].b);
		assert_int_equal(value_compare(&a, &b), cases[i].order);
		assert_int_equal(value_compare(&b, &a), -cases[i].order);
	}
}

static void
test_decimal_convert(void **state)
{
	static const struct {
		double d;
		const char *out;
	} doubles[] = {{0, "0"},
		       {1, "1"},
		       {0.1, "0.1"},
		       {-2.5, "-2.5"},
		       {1e20, "100000000000000000000"},
		       {1e37, "10000000000000000000000000000000000000"},
		       {1e-20, "0"},
		       {1.5e-18, "0.000000000000000002"},
		       {123456789.123456789, "123456789.123457"}};
	struct value v;
	int64_t i;

	(void)state;
	for (size_t k = 0; k < COUNT(doubles); k++) {
		assert_true(decimal_from_double(doubles[k].d, &v));
		assert_string_equal(shown(&v), doubles[k].out);
	}
	assert_false(decimal_from_double(1e38, &v));
	assert_false(decimal_from_double(1e300 * 1e300, &v));
	v = dec("0.1");
	assert_true(decimal_to_double(&v) == 0.1);
	v = dec("12345678901234567890.123456789");
	assert_true(decimal_to_double(&v) == 12345678901234567890.123456789);
	v = dec("9223372036854775807.4");
	assert_true(decimal_to_integer(&v, &i));
	assert_true(i == INT64_MAX);
	v = dec("9223372036854775807.5");
	assert_false(decimal_to_integer(&v, &i));
	v = dec("-2.5");
	assert_true(decimal_to_integer(&v, &i));
	assert_int_equal(i, -3);
}

/* Bytes as they come from a peer are at worst wrong, never undefined: the extremes of 128 bits. */
static void
test_decimal_extremes(void **state)
{
	int128 most = (int128)(~(uint128)0 >> 1);
	struct value a = value_decimal(most, 18), b = value_decimal(-most, 0), r;
	struct buf out = {0};

	(void)state;
	value_print(&a, &out);
	assert_true(out.len > 20);
	buf_free(&out);
	assert_true(decimal_compare(&a, &b) > 0);
	(void)!decimal_add(&a, &b, &r);
	(void)!decimal_mul(&a, &b, &r);
	(void)!decimal_div(&a, &b, &r);
	(void)!decimal_mod(&a, &b, &r);
}

static void
test_print(void **state)
{
	static const struct {
		double d;
		const char *out;
	} floats[] = {{0.1, "0.1"},
		      {-0.0, "0"},
		      {1, "1"},
		      {1e300, "1e+300"},
		      {1.0 / 3, "0.3333333333333333"},
		      {5e-324, "4.94065645841247e-324"}};
	struct value v = value_timestamp(0);

	(void)state;
	assert_string_equal(shown(&v), "1970-01-01T00:00:00Z");
	v = value_timestamp(INT64_C(1317429524546000));
	assert_string_equal(shown(&v), "2011-10-01T00:38:44.546Z");
	v = value_timestamp(-1);
	assert_string_equal(shown(&v), "1969-12-31T23:59:59.999999Z");
	v = value_integer(INT64_MIN);
	assert_string_equal(shown(&v), "-9223372036854775808");
	v = value_boolean(true);
	assert_string_equal(shown(&v), "true");
	v = (struct value){.type = VALUE_DATE, .integer = date_from_civil(2011, 10, 1)};
	assert_string_equal(shown(&v), "2011-10-01");
	v = (struct value){.type = VALUE_DATE, .integer = date_from_civil(1, 1, 1)};
	assert_string_equal(shown(&v), "0001-01-01");
	for (size_t i = 0; i < COUNT(floats); i++) {
		v = (struct value){.type = VALUE_FLOAT, .real = floats[i].d};
		assert_string_equal(shown(&v), floats[i].out);
	}
}

static void
test_compare(void **state)
{
	struct value a = value_text("ab", 2), b = value_text("abc", 3), empty = value_text("", 0);
	struct value minus = {.type = VALUE_FLOAT, .real = -0.0},
		     plus = {.type = VALUE_FLOAT, .real = 0};
	struct value no = value_boolean(false), yes = value_boolean(true);
	struct value high = value_text("\xc3\xa9", 2), low = value_text("z", 1);

	(void)state;
	assert_true(value_compare(&a, &b) < 0);
	assert_true(value_compare(&empty, &a) < 0);
	assert_int_equal(value_compare(&empty, &empty), 0);
	assert_int_equal(value_compare(&minus, &plus), 0);
	assert_true(value_compare(&no, &yes) < 0);
	assert_true(value_compare(&high, &low) > 0); /* by bytes, unsigned */
}

static void
test_calendar(void **state)
{
	(void)state;
	assert_int_equal(date_from_civil(1970, 1, 1), 0);
	assert_int_equal(date_from_civil(2000, 3, 1), 11017);
	assert_int_equal(date_from_civil(1, 1, 1), -719162);
	for (int64_t d = -719162; d <= 2932896; d += 37) {
		int64_t year;
		unsigned month, day;
		date_to_civil(d, &year, &month, &day);
		assert_true(month >= 1 && month <= 12 && day >= 1 && day <= 31);
		assert_int_equal(date_from_civil(year, month, day), d);
	}
}

static void
test_date_parse(void **state)
{
	static const char *const bad[] = {
	    "",		  "2011-10",	"2011-10-1",   "2011-1-01",  "11-10-01",
	    "2011-13-01", "2011-00-01", "2011-02-29",  "2012-02-30", "2011-04-31",
	    "0000-01-01", "2011/10/01", "2011-10-01 ", "2011-10-0x", "-011-10-01",
	    "20111001"};
	int64_t days;
	struct err e;

	(void)state;
	assert_true(date_parse("2012-02-29", 10, &days, &e));
	assert_int_equal(days, date_from_civil(2012, 2, 29));
	assert_true(date_parse("0001-01-01", 10, &days, &e));
	assert_true(date_parse("9999-12-31", 10, &days, &e));
	for (size_t i = 0; i < COUNT(bad); i++)
		if (date_parse(bad[i], strlen(bad[i]), &days, &e))
			fail_msg("%s accepted", bad[i]);
}

#define T INT64_C(1317429524546000) /* 2011-10-01T00:38:44.546Z */

static void
test_time_parse(void **state)
{
	static const struct {
		const char *in;
		enum time_form form;
		bool good;
		int64_t us;
	} cases[] = {
	    {"2011-10-01T00:38:44.546Z", TIME_RFC3339, true, T},
	    {"2011-10-01T00:38:44.546z", TIME_RFC3339, true, T},
	    {"2011-10-01t00:38:44.546Z", TIME_RFC3339, true, T},
	    {"2011-10-01 00:38:44.546Z", TIME_RFC3339, true, T},
	    {"2011-10-01T02:38:44.546+02:00", TIME_RFC3339, true, T},
	    {"2011-09-30T19:08:44.546-05:30", TIME_RFC3339, true, T},
	    {"2011-10-01T00:38:44.546000Z", TIME_RFC3339, true, T},
	    {"2011-10-01T00:38:44.546000999Z", TIME_RFC3339, true, T},
	    {"2011-10-01T00:38:44.5460009999Z", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:38:44Z", TIME_RFC3339, true, T - 546000},
	    {"2011-10-01T00:38:44.1Z", TIME_RFC3339, true, T - 446000},
	    {"2011-10-01T00:38:44-00:00", TIME_RFC3339, true, T - 546000},
	    {"1969-12-31T23:59:59.9Z", TIME_RFC3339, true, -100000},
	    {"9999-12-31T23:59:59.999999Z", TIME_RFC3339, true, INT64_C(253402300799999999)},
	    {"0001-01-01T00:00:00Z", TIME_RFC3339, true, INT64_C(-62135596800000000)},
	    {"0001-01-01T00:00:00+00:01", TIME_RFC3339, false, 0},
	    {"9999-12-31T23:59:59-00:01", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:38:44", TIME_RFC3339, false, 0}, /* no zone declared */
	    {"2011-10-01T00:38:44.Z", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:38:60Z", TIME_RFC3339, false, 0},
	    {"2011-10-01T24:00:00Z", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:60:00Z", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:38Z", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:38:44+0200", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:38:44+02", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:38:44+24:00", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:38:44+02:60", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:38:44ZZ", TIME_RFC3339, false, 0},
	    {"2011-10-01T00:38:44 Z", TIME_RFC3339, false, 0},
	    {"2011-02-30T00:38:44Z", TIME_RFC3339, false, 0},
	    {"2011-10-01_00:38:44Z", TIME_RFC3339, false, 0},
	    {"2011-10-01", TIME_RFC3339, false, 0},
	    {"20111001T003844Z", TIME_RFC3339, false, 0},
	    {"1317429524", TIME_RFC3339, false, 0},
	    {"", TIME_RFC3339, false, 0},
	    {"1317429524.546", TIME_UNIX_S, true, T},
	    {"1317429524", TIME_UNIX_S, true, T - 546000},
	    {"1.317429524546e9", TIME_UNIX_S, true, T},
	    {"-0.1", TIME_UNIX_S, true, -100000},
	    {"1317429524546", TIME_UNIX_MS, true, T},
	    {"1317429524546.5", TIME_UNIX_MS, false, 0},
	    {"1317429524546.0", TIME_UNIX_MS, true, T},
	    {"1317429524546000", TIME_UNIX_US, true, T},
	    {"253402300800", TIME_UNIX_S, false, 0},
	    {"99999999999999999999999999999999999999", TIME_UNIX_S, false, 0},
	    {"99999999999999999999999999999999999999", TIME_UNIX_MS, false, 0},
	    {"99999999999999999999999999999999999999", TIME_UNIX_US, false, 0},
	    {"1e400", TIME_UNIX_S, false, 0},
	    {"now", TIME_UNIX_S, false, 0},
	    {"", TIME_UNIX_MS, false, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct err e = {0};
		int64_t us = 0;
		bool good =
		    time_parse(cases[i].in, strlen(cases[i].in), cases[i].form, NULL, &us, &e);
		if (good != cases[i].good || us * good != cases[i].us)
			fail_msg("\"%s\": %d %lld %s", cases[i].in, good, (long long)us, e.text);
	}
}

static struct zone *
zone(const char *name)
{
	struct zone *z;
	struct err e = {0};

	if (!zone_open(name, &z, &e))
		fail_msg("%s: %s", name, e.text);
	return z;
}

static int64_t
local(const struct zone *z, const char *s)
{
	struct err e = {0};
	int64_t us;

	if (!time_parse(s, strlen(s), TIME_RFC3339, z, &us, &e))
		fail_msg("%s: %s", s, e.text);
	return us;
}

static void
test_zones(void **state)
{
	static const struct {
		const char *zone, *local, *utc;
	} cases[] = {
	    {"UTC", "2011-10-01T00:38:44", "2011-10-01T00:38:44Z"},
	    {"Europe/Paris", "2011-10-01T02:38:44.546", "2011-10-01T00:38:44.546Z"},
	    {"Europe/Paris", "2011-01-01T01:00:00", "2011-01-01T00:00:00Z"},
	    {"Europe/Paris", "2011-03-27T01:59:59", "2011-03-27T00:59:59Z"},
	    {"Europe/Paris", "2011-03-27T02:30:00", "2011-03-27T01:30:00Z"}, /* does not exist */
	    {"Europe/Paris", "2011-03-27T03:00:00", "2011-03-27T01:00:00Z"},
	    {"Europe/Paris", "2011-10-30T02:30:00", "2011-10-30T00:30:00Z"}, /* twice: the first */
	    {"Europe/Paris", "2011-10-30T03:00:00", "2011-10-30T02:00:00Z"},
	    {"Europe/Paris", "2500-07-01T12:00:00", "2500-07-01T10:00:00Z"},
	    {"Europe/Paris", "9999-07-01T12:00:00", "9999-07-01T10:00:00Z"},
	    {"Europe/Paris", "9999-12-31T12:00:00", "9999-12-31T11:00:00Z"},
	    {"America/New_York", "2011-11-06T01:30:00", "2011-11-06T05:30:00Z"}, /* twice */
	    {"America/New_York", "2011-11-06T02:00:00", "2011-11-06T07:00:00Z"},
	    {"America/New_York", "2040-07-04T12:00:00", "2040-07-04T16:00:00Z"},
	    {"Australia/Sydney", "2011-01-15T12:00:00", "2011-01-15T01:00:00Z"},
	    {"Australia/Sydney", "2060-01-15T12:00:00", "2060-01-15T01:00:00Z"},
	    {"Australia/Sydney", "2060-07-15T12:00:00", "2060-07-15T02:00:00Z"},
	    {"Asia/Kolkata", "2011-10-01T05:30:00", "2011-10-01T00:00:00Z"},
	    {"Asia/Tokyo", "2300-10-01T09:00:00", "2300-10-01T00:00:00Z"},
	    {"Etc/GMT+5", "2011-10-01T00:00:00", "2011-10-01T05:00:00Z"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct zone *z = zone(cases[i].zone);
		struct value v = value_timestamp(local(z, cases[i].local));
		if (strcmp(shown(&v), cases[i].utc))
			fail_msg("%s %s: %s", cases[i].zone, cases[i].local, shown(&v));
		zone_close(z);
	}
}

static void
test_zone_date(void **state)
{
	struct zone *z = zone("Europe/Paris");

	(void)state;
	assert_int_equal(zone_date(z, local(NULL, "2011-09-30T21:59:59Z")),
			 date_from_civil(2011, 9, 30));
	assert_int_equal(zone_date(z, local(NULL, "2011-09-30T22:00:00Z")),
			 date_from_civil(2011, 10, 1));
	assert_int_equal(zone_date(NULL, local(NULL, "1969-12-31T23:59:59.5Z")), -1);
	assert_int_equal(zone_offset_us(NULL, 0), 0);
	zone_close(z);
	zone_close(NULL);
}

/* What the C library says of the same zones, every 5 days and a bit. */
static void
test_zone_agrees(void **state)
{
	static const char *const zones[] = {
	    "Europe/Paris",	 "America/New_York", "Australia/Lord_Howe", "America/Nuuk",
	    "Africa/Casablanca", "Asia/Kathmandu",   "Pacific/Apia",	    "America/Sao_Paulo"};
	char *before = getenv("TZ") ? strdup(getenv("TZ")) : NULL;

	(void)state;
	for (size_t i = 0; i < COUNT(zones); i++) {
		struct zone *z = zone(zones[i]);
		setenv("TZ", zones[i], 1);
		tzset();
		for (int64_t t = INT64_C(-2208988800); t < INT64_C(16725225600);
		     t += 432000 + 1799) {
			struct tm tm;
			time_t at = t;
			localtime_r(&at, &tm);
			if (zone_offset_us(z, t * 1000000) != tm.tm_gmtoff * INT64_C(1000000))
				fail_msg("%s at %lld", zones[i], (long long)t);
		}
		zone_close(z);
	}
	if (before)
		setenv("TZ", before, 1);
	else
		unsetenv("TZ");
	tzset();
	free(before);
}

static void
test_zone_bad(void **state)
{
	static const char *const bad[] = {
	    "",	      "Mars/Olympus",  "../../../etc/passwd", "/etc/localtime",
	    "Europe", "Europe/Paris ", "tzdata.zi",	      "Europe/Par\nis"};

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct zone *z;
		struct err e = {0};
		if (zone_open(bad[i], &z, &e))
			fail_msg("%s accepted", bad[i]);
		assert_null(z);
		assert_true(e.code == EXIT_CONFIG && e.text[0]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_types),
	    cmocka_unit_test(test_decimal_parse),
	    cmocka_unit_test(test_decimal_arith),
	    cmocka_unit_test(test_decimal_cancels),
	    cmocka_unit_test(test_decimal_compare),
	    cmocka_unit_test(test_decimal_convert),
	    cmocka_unit_test(test_decimal_extremes),
	    cmocka_unit_test(test_print),
	    cmocka_unit_test(test_compare),
	    cmocka_unit_test(test_calendar),
	    cmocka_unit_test(test_date_parse),
	    cmocka_unit_test(test_time_parse),
	    cmocka_unit_test(test_zones),
	    cmocka_unit_test(test_zone_date),
	    cmocka_unit_test(test_zone_agrees),
	    cmocka_unit_test(test_zone_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
