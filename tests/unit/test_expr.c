/* expr: what expressions mean, what they refuse and where, and what they cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "expr/expr.h"
#include "expr/functions.h"
#include "mono.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- a scope with one name of each type, and a null of each ---- */

static const struct {
	const char *name;
	enum value_type type;
} names[] = {
    {"activity", VALUE_TEXT},
    {"approved", VALUE_BOOLEAN},
    {"declined", VALUE_BOOLEAN},
    {"n", VALUE_INTEGER},
    {"amount", VALUE_DECIMAL},
    {"ratio", VALUE_FLOAT},
    {"day", VALUE_DATE},
    {"at", VALUE_TIMESTAMP},
    {"later", VALUE_TIMESTAMP},
    {"doc", VALUE_JSON},
    {"no_text", VALUE_TEXT},
    {"no_bool", VALUE_BOOLEAN},
    {"no_n", VALUE_INTEGER},
    {"no_amount", VALUE_DECIMAL},
    {"no_at", VALUE_TIMESTAMP},
    {"seen(offer)", VALUE_BOOLEAN},
    {"size(tags)", VALUE_INTEGER},
    {"overflowed(tags)", VALUE_BOOLEAN},
    {"application.at", VALUE_TIMESTAMP},
    {"end", VALUE_INTEGER},
    {"größe", VALUE_INTEGER},
    {"big", VALUE_INTEGER},
    {"huge", VALUE_DECIMAL},
    {"long_text", VALUE_TEXT},
};

static bool
scope_find(void *ctx, const char *name, size_t n, unsigned *slot, enum value_type *type)
{
	(void)ctx;
	for (unsigned i = 0; i < COUNT(names); i++)
		if (strlen(names[i].name) == n && !memcmp(names[i].name, name, n)) {
			*slot = i;
			*type = names[i].type;
			return true;
		}
	return false;
}

static const char *
scope_next(void *ctx, unsigned i)
{
	(void)ctx;
	return i < COUNT(names) ? names[i].name : NULL;
}

static struct {
	struct expr_scope scope;
	struct value inputs[COUNT(names)];
	struct expr_run_state st;
	struct zone *paris;
	char long_text[60000];
} T = {.scope = {NULL, scope_find, scope_next, NULL}};

static struct value *
input(const char *name)
{
	unsigned slot = 0;
	enum value_type type;

	if (!scope_find(NULL, name, strlen(name), &slot, &type))
		fail_msg("no input %s", name);
	return &T.inputs[slot];
}

static int
setup(void **state)
{
	struct err e;
	int64_t us;

	(void)state;
	memset(T.long_text, 'x', sizeof T.long_text);
	for (size_t i = 0; i < COUNT(T.inputs); i++)
		T.inputs[i] = value_null();
	*input("activity") = value_text("A_SUBMITTED", 11);
	*input("approved") = value_boolean(true);
	*input("declined") = value_boolean(false);
	*input("n") = value_integer(7);
	*input("amount") = value_decimal(1234550, 2);
	*input("ratio") = (struct value){.type = VALUE_FLOAT, .real = 0.25};
	*input("day") = (struct value){.type = VALUE_DATE, .integer = date_from_civil(2012, 2, 29)};
	if (!time_parse("2011-09-30T22:38:44.546Z", 24, TIME_RFC3339, NULL, &us, &e))
		return -1;
	*input("at") = *input("application.at") = value_timestamp(us);
	*input("later") = value_timestamp(us + INT64_C(86400000000) * 3 + 500000);
	*input("doc") = (struct value){.type = VALUE_JSON, .len = 2, .text = "[]"};
	*input("seen(offer)") = value_boolean(true);
	*input("size(tags)") = value_integer(3);
	*input("overflowed(tags)") = value_boolean(false);
	*input("end") = value_integer(99);
	*input("größe") = value_integer(42);
	*input("big") = value_integer(INT64_MAX);
	struct value huge;
	if (!decimal_parse("99999999999999999999999999999999999999", 38, &huge, &e))
		return -1;
	*input("huge") = huge;
	*input("long_text") = value_text(T.long_text, sizeof T.long_text);
	return zone_open("Europe/Paris", &T.paris, &e) ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	expr_run_free(&T.st);
	zone_close(T.paris);
	return 0;
}

static struct expr *
compiled(const char *source, enum value_type want)
{
	struct expr *x;
	struct expr_error e;

	if (!expr_compile(source, strlen(source), &T.scope, want, &x, &e))
		fail_msg("%s\n%*s^ %s", source, (int)e.at, "", e.text);
	return x;
}

static const char *
result(const char *source)
{
	static struct buf b;
	struct expr *x = compiled(source, VALUE_NULL);
	struct value v;

	expr_run_reset(&T.st);
	expr_run(x, T.inputs, &T.st, &v);
	if (v.type != VALUE_NULL && v.type != expr_type(x))
		fail_msg("%s: declared %s, gave %s", source, value_type_name(expr_type(x)),
			 value_type_name((enum value_type)v.type));
	buf_clear(&b);
	value_print(&v, &b);
	expr_free(x);
	return buf_cstr(&b);
}

struct sample {
	const char *source, *out;
};

static void
samples_check(const struct sample *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *out = result(s[i].source);
		if (strcmp(out, s[i].out))
			fail_msg("%s gives %s, not %s", s[i].source, out, s[i].out);
	}
}

/* ---- meaning ---- */

static void
test_literals_and_names(void **state)
{
	static const struct sample samples[] = {
	    {"1", "1"},
	    {"1.50", "1.50"},
	    {"1e3", "1000"},
	    {"9223372036854775807", "9223372036854775807"},
	    {"9223372036854775808", "9223372036854775808"},
	    {"'it''s'", "it's"},
	    {"''", ""},
	    {"''''", "'"},
	    {"'größe'", "größe"},
	    {"TRUE", "true"},
	    {"false", "false"},
	    {"Null", "null"},
	    {"date '2011-10-01'", "2011-10-01"},
	    {"timestamp '2011-10-01 00:38:44.5Z'", "2011-10-01T00:38:44.5Z"},
	    {"timestamp '2011-10-01T00:38:44+02:00'", "2011-09-30T22:38:44Z"},
	    {"timestamp '2011-10-01'", "2011-10-01T00:00:00Z"},
	    {"activity", "A_SUBMITTED"},
	    {"application.at = at", "true"},
	    {"\"end\"", "99"},
	    {"größe", "42"},
	    {"day", "2012-02-29"},
	    {"seen(offer)", "true"},
	    {"SEEN( offer )", "true"},
	    {"size(tags) + 1", "4"},
	    {"overflowed(tags)", "false"},
	    {"\tn\r\n", "7"},
	};

	(void)state;
	samples_check(samples, COUNT(samples));
}

static void
test_arithmetic(void **state)
{
	static const struct sample samples[] = {
	    {"1 + 2 * 3", "7"},
	    {"(1 + 2) * 3", "9"},
	    {"1 - 2 - 3", "-4"},
	    {"- n", "-7"},
	    {"- - n", "7"},
	    {"+n", "7"},
	    {"-2 * -3", "6"},
	    {"n % 4", "3"},
	    {"-7 % 4", "-3"},
	    {"mod(n, 4)", "3"},
	    {"7 / 2", "3.500000"},
	    {"n / 0", "null"},
	    {"n % 0", "null"},
	    {"amount / 0", "null"},
	    {"ratio / 0", "null"},
	    {"2 / 3", "0.666667"},
	    {"amount", "12345.50"},
	    {"amount + 1", "12346.50"},
	    {"amount * 2", "24691.00"},
	    {"amount * 1.00000", "12345.5000000"},
	    {"amount / 2", "6172.750000"},
	    {"amount % 100", "45.50"},
	    {"amount - amount", "0.00"},
	    {"n * 0.1", "0.7"},
	    {"ratio * 2", "0.5"},
	    {"ratio + amount", "12345.75"},
	    {"1 / ratio", "4"},
	    {"big + 1", "null"},
	    {"big * 2", "null"},
	    {"-big - 2", "null"},
	    {"big + 1.0", "9223372036854775808.0"},
	    {"huge + 1", "null"},
	    {"huge * 10", "null"},
	    {"huge - huge", "0"},
	    {"0.1 + 0.2 = 0.3", "true"},
	    {"no_n + 1", "null"},
	    {"1 + null", "null"},
	    {"day - date '2012-02-28'", "1"},
	    {"day - '2012-02-28'", "1"},
	    {"day + 1", "2012-03-01"},
	    {"1 + day", "2012-03-01"},
	    {"day - 60", "2011-12-31"},
	    {"day + big", "null"},
	    {"day + 10000000", "null"},
	    {"later - at", "259200.500000"},
	    {"at - later", "-259200.500000"},
	    {"at - '2011-09-30T22:38:44Z'", "0.546000"},
	    {"at - date '2011-09-30'", "81524.546000"},
	};

	(void)state;
	samples_check(samples, COUNT(samples));
}

static void
test_comparison(void **state)
{
	static const struct sample samples[] = {
	    {"activity = 'A_SUBMITTED'", "true"},
	    {"activity <> 'A_SUBMITTED'", "false"},
	    {"activity != 'x'", "true"},
	    {"'a' < 'b'", "true"},
	    {"'Z' < 'a'", "true"},
	    {"'a' < 'ab'", "true"},
	    {"'' < 'a'", "true"},
	    {"'z' < 'é'", "true"},
	    {"n = 7.0", "true"},
	    {"n >= 7", "true"},
	    {"n > 7", "false"},
	    {"n < 7.000001", "true"},
	    {"amount > 12345", "true"},
	    {"amount = 12345.5", "true"},
	    {"ratio = 0.25", "true"},
	    {"approved = true", "true"},
	    {"declined < approved", "true"},
	    {"at > '2011-09-30'", "true"},
	    {"'2011-09-30' < at", "true"},
	    {"day = '2012-02-29'", "true"},
	    {"day < at", "false"},
	    {"doc = doc", "true"},
	    {"activity = null", "null"},
	    {"null = null", "null"},
	    {"no_text = 'x'", "null"},
	    {"no_amount < 1", "null"},
	    {"n between 1 and 7", "true"},
	    {"n between 8 and 9", "false"},
	    {"n not between 8 and 9", "true"},
	    {"n between 1.5 and 7.5", "true"},
	    {"n between null and 6", "false"},
	    {"n between null and 8", "null"},
	    {"at between '2011-09-30' and '2011-10-01'", "true"},
	    {"n + 1 between 8 and 2 * 4 and approved", "true"},
	    {"activity in ('A', 'A_SUBMITTED', 'B')", "true"},
	    {"activity not in ('A', 'B')", "true"},
	    {"activity in ('A', null)", "null"},
	    {"activity not in ('A', null)", "null"},
	    {"activity in ('A_SUBMITTED', null)", "true"},
	    {"activity not in ('A_SUBMITTED', null)", "false"},
	    {"no_text in ('A')", "null"},
	    {"n in (1, 2, 7)", "true"},
	    {"n in (1.5, 7.0)", "true"},
	    {"n in (-7, 8)", "false"},
	    {"day in ('2012-02-29', '2012-03-01')", "true"},
	    {"n in (12,11,10,9,8,7,6,5,4,3,2,1)", "true"},
	    {"activity like 'A%'", "true"},
	    {"activity like 'A'", "false"},
	    {"activity like '%SUB%'", "true"},
	    {"activity like '_\\_S%D'", "true"},
	    {"activity like 'A\\%'", "false"},
	    {"activity not like 'B%'", "true"},
	    {"'' like '%'", "true"},
	    {"'' like '_'", "false"},
	    {"'größe' like 'gr__e'", "true"},
	    {"'größe' like 'gr%e'", "true"},
	    {"'aXbXc' like 'a%X_'", "true"},
	    {"'a%b' like 'a\\%b'", "true"},
	    {"no_text like '%'", "null"},
	    {"activity is null", "false"},
	    {"no_text is null", "true"},
	    {"no_text is not null", "false"},
	    {"n = 8 is null", "false"},
	    {"no_bool is true", "false"},
	    {"no_bool is not true", "true"},
	    {"no_bool is not false", "true"},
	    {"approved is true", "true"},
	    {"approved is false", "false"},
	    {"null is null", "true"},
	};

	(void)state;
	samples_check(samples, COUNT(samples));
}

/* Every pair of true, false, null, as operands that are constants, inputs and computed. */
static void
test_three_valued_logic(void **state)
{
	static const char *const words[] = {"true", "false", "null"};
	static const char *const computed[] = {"(n = 7)", "(n = 8)", "(no_n = 7)"};
	static const char *const inputs[] = {"approved", "declined", "no_bool"};
	static const char *const *const kinds[] = {words, computed, inputs};
	/* rows: left true, false, null; columns: right */
	static const int and_table[3][3] = {{0, 1, 2}, {1, 1, 1}, {2, 1, 2}};
	static const int or_table[3][3] = {{0, 0, 0}, {0, 1, 2}, {0, 2, 2}};
	static const int not_table[3] = {1, 0, 2};
	char source[128];

	(void)state;
	for (int left = 0; left < 3; left++) {
		for (int kind = 0; kind < 9; kind++) {
			for (int right = 0; right < 3; right++) {
				const char *a = kinds[kind / 3][left], *b = kinds[kind % 3][right];
				snprintf(source, sizeof source, "%s and %s", a, b);
				assert_string_equal(result(source), words[and_table[left][right]]);
				snprintf(source, sizeof source, "%s or %s", a, b);
				assert_string_equal(result(source), words[or_table[left][right]]);
			}
			snprintf(source, sizeof source, "not %s", kinds[kind / 3][left]);
			assert_string_equal(result(source), words[not_table[left]]);
		}
	}
	assert_string_equal(result("approved or declined and declined"), "true");
	assert_string_equal(result("not declined and approved"), "true");
	assert_string_equal(result("not (declined and approved)"), "true");
	assert_string_equal(result("not not approved"), "true");
	assert_string_equal(result("not n = 8"), "true");
}

static void
test_choice(void **state)
{
	static const struct sample samples[] = {
	    {"case when approved then 'yes' else 'no' end", "yes"},
	    {"case when declined then 'yes' else 'no' end", "no"},
	    {"case when no_bool then 'yes' end", "null"},
	    {"case when declined then 1 when approved then 2 else 3 end", "2"},
	    {"case when declined then 1 else 2.5 end", "2.5"},
	    {"case when approved then 1 else 2.5 end", "1"},
	    {"case when approved then 1 else ratio end", "1"},
	    {"case when approved then null else 1 end", "null"},
	    {"case n when 6 then 'six' when 7 then 'seven' end", "seven"},
	    {"case n when 7.0 then 'seven' end", "seven"},
	    {"case no_n when 7 then 'seven' else 'none' end", "none"},
	    {"case activity when 'A_SUBMITTED' then case when approved then 'a' else 'b' end end",
	     "a"},
	    {"case when n = 0 then 0 else 1 / n end", "0.142857"},
	    {"coalesce(no_text, 'x')", "x"},
	    {"coalesce(no_n, n, 8)", "7"},
	    {"coalesce(no_n, amount)", "12345.50"},
	    {"coalesce(n, amount)", "7"},
	    {"coalesce(null, null)", "null"},
	    {"coalesce(no_n, no_n + 1, 3) + 1", "4"},
	    {"nullif(n, 7)", "null"},
	    {"nullif(n, 8)", "7"},
	    {"nullif(n, no_n)", "7"},
	    {"nullif(no_n, 8)", "null"},
	    {"least(3, 1, 2)", "1"},
	    {"greatest(1, 2.5, no_n)", "2.5"},
	    {"greatest(no_n, no_n)", "null"},
	    {"least('b', 'a')", "a"},
	    {"greatest(day, date '2013-01-01')", "2013-01-01"},
	    {"bucket(4999.99, 5000, 15000, 50000)", "0"},
	    {"bucket(5000, 5000, 15000, 50000)", "1"},
	    {"bucket(amount, 5000, 15000, 50000)", "1"},
	    {"bucket(50000, 5000, 15000, 50000)", "3"},
	    {"bucket(no_amount, 1)", "null"},
	};

	(void)state;
	samples_check(samples, COUNT(samples));
}

static void
test_casts(void **state)
{
	static const struct sample samples[] = {
	    {"cast('12' as integer)", "12"},
	    {"cast(' +12 ' as integer)", "12"},
	    {"cast('1.5' as integer)", "null"},
	    {"cast('x' as integer)", "null"},
	    {"cast('' as integer)", "null"},
	    {"cast(1.5 as integer)", "2"},
	    {"cast(-1.5 as integer)", "-2"},
	    {"cast(ratio as integer)", "0"},
	    {"cast(huge as integer)", "null"},
	    {"cast(true as integer)", "1"},
	    {"cast('1.50' as decimal)", "1.50"},
	    {"cast('1e400' as decimal)", "null"},
	    {"cast(n as decimal)", "7"},
	    {"cast(ratio as decimal)", "0.25"},
	    {"cast('0.1' as float)", "0.1"},
	    {"cast('1e400' as float)", "null"},
	    {"cast('nan' as float)", "null"},
	    {"cast('inf' as float)", "null"},
	    {"cast('0x10' as float)", "null"},
	    {"cast(amount as float)", "12345.5"},
	    {"cast('2011-10-01' as date)", "2011-10-01"},
	    {"cast('2011-13-01' as date)", "null"},
	    {"cast(at as date)", "2011-09-30"},
	    {"cast(day as timestamp)", "2012-02-29T00:00:00Z"},
	    {"cast('2011-10-01T01:02:03Z' as timestamp)", "2011-10-01T01:02:03Z"},
	    {"cast('2011-10-01 01:02:03' as timestamp)", "2011-10-01T01:02:03Z"},
	    {"cast('yesterday' as timestamp)", "null"},
	    {"cast('YES' as boolean)", "true"},
	    {"cast('off' as boolean)", "false"},
	    {"cast('2' as boolean)", "null"},
	    {"cast(0 as boolean)", "false"},
	    {"cast(amount as text)", "12345.50"},
	    {"cast(at as text)", "2011-09-30T22:38:44.546Z"},
	    {"cast(approved as text)", "true"},
	    {"cast(doc as text)", "[]"},
	    {"cast(null as integer)", "null"},
	    {"cast(no_text as integer)", "null"},
	    {"cast(n as text) || '!'", "7!"},
	};

	(void)state;
	samples_check(samples, COUNT(samples));
}

static void
test_text_functions(void **state)
{
	static const struct sample samples[] = {
	    {"lower('ABCÄÖÜŁΩЖ')", "abcäöüłωж"},
	    {"upper('abcäöüłωж')", "ABCÄÖÜŁΩЖ"},
	    {"lower('ẞß×÷')", "ẞß×÷"},
	    {"length('größe')", "5"},
	    {"octet_length('größe')", "7"},
	    {"length('')", "0"},
	    {"substr('größe', 3)", "öße"},
	    {"substr('größe', 3, 2)", "öß"},
	    {"substring('abc', 0, 2)", "a"},
	    {"substr('abc', -5)", "abc"},
	    {"substr('abc', 9)", ""},
	    {"substr('abc', 2, -1)", "null"},
	    {"substr('abc', 2, big)", "bc"},
	    {"substr('abc', -big, big)", ""},
	    {"left('größe', 3)", "grö"},
	    {"left('abc', -1)", "ab"},
	    {"left('abc', -9)", ""},
	    {"left('abc', -big)", ""},
	    {"right('größe', 2)", "ße"},
	    {"right('abc', -1)", "bc"},
	    {"right('abc', -big)", ""},
	    {"right('abc', 9)", "abc"},
	    {"trim('  a b ')", "a b"},
	    {"ltrim('xxaxx', 'x')", "axx"},
	    {"rtrim('axyö', 'öyx')", "a"},
	    {"trim('ööö', 'ö')", ""},
	    {"lpad('7', 3, '0')", "007"},
	    {"lpad('abcd', 2)", "ab"},
	    {"rpad('ö', 4, 'äb')", "öäbä"},
	    {"rpad('x', 3, '')", "x"},
	    {"lpad('x', 1000000)", "null"},
	    {"replace('a-b-c', '-', '+ ')", "a+ b+ c"},
	    {"replace('aaaa', 'aa', 'b')", "bb"},
	    {"replace('abc', '', 'x')", "abc"},
	    {"replace('abc', 'abc', '')", ""},
	    {"split_part('a,b,c', ',', 2)", "b"},
	    {"split_part('a,b,c', ',', 4)", ""},
	    {"split_part('a,b,c', ',', -1)", "c"},
	    {"split_part('a,b,c', ',', -3)", "a"},
	    {"split_part('a,b,c', ',', -4)", ""},
	    {"split_part('a,b,c', ',', 0)", "null"},
	    {"split_part('abc', '', 1)", "abc"},
	    {"concat('a', no_text, 1, amount, approved)", "a112345.50true"},
	    {"'a' || 'b' || activity", "abA_SUBMITTED"},
	    {"'a' || null", "null"},
	    {"starts_with(activity, 'A_')", "true"},
	    {"ends_with(activity, 'TED')", "true"},
	    {"ends_with('a', 'aa')", "false"},
	    {"contains(activity, 'SUB')", "true"},
	    {"contains(activity, '')", "true"},
	    {"position('ß' in 'größe')", "4"},
	    {"position('x', 'abc')", "0"},
	    {"strpos('abc', 'c')", "3"},
	    {"lower(no_text)", "null"},
	    {"length(long_text || 'x')", "60001"},
	    {"long_text || long_text", "null"},
	};

	(void)state;
	samples_check(samples, COUNT(samples));
}

static void
test_number_functions(void **state)
{
	static const struct sample samples[] = {
	    {"abs(-7)", "7"},
	    {"abs(-1.5)", "1.5"},
	    {"abs(-big - 1)", "null"},
	    {"sign(-0.5)", "-1"},
	    {"sign(0)", "0"},
	    {"round(2.5)", "3"},
	    {"round(-2.5)", "-3"},
	    {"round(2.345, 2)", "2.35"},
	    {"round(2.3, 5)", "2.3"},
	    {"round(1250, -2)", "1300"},
	    {"round(1249, -2)", "1200"},
	    {"round(-1250, -2)", "-1300"},
	    {"round(1250.5, -2)", "1300"},
	    {"round(1.0, -30)", "0"},
	    {"round(cast(2.5 as float))", "3"},
	    {"round(cast(0.125 as float), 2)", "0.13"},
	    {"trunc(2.9)", "2"},
	    {"trunc(-2.99, 1)", "-2.9"},
	    {"floor(-1.1)", "-2"},
	    {"floor(1.9)", "1"},
	    {"ceil(1.1)", "2"},
	    {"ceiling(-1.9)", "-1"},
	    {"floor(n)", "7"},
	    {"sqrt(16)", "4"},
	    {"sqrt(-1)", "null"},
	    {"ln(0)", "null"},
	    {"exp(0)", "1"},
	    {"exp(1000)", "null"},
	    {"power(2, 10)", "1024"},
	};

	(void)state;
	samples_check(samples, COUNT(samples));
}

static void
test_time_functions(void **state)
{
	static const struct sample samples[] = {
	    {"date(at)", "2011-09-30"},
	    {"date(day)", "2012-02-29"},
	    {"year(at)", "2011"},
	    {"quarter(at)", "3"},
	    {"month(day)", "2"},
	    {"day(day)", "29"},
	    {"week(date '2010-01-03')", "53"},
	    {"week(date '2012-12-31')", "1"},
	    {"dow(date '2012-02-29')", "3"},
	    {"dow(date '2012-03-04')", "0"},
	    {"isodow(date '2012-03-04')", "7"},
	    {"doy(date '2012-12-31')", "366"},
	    {"hour(at)", "22"},
	    {"minute(at)", "38"},
	    {"second(at)", "44.546000"},
	    {"epoch(at)", "1317422324.546000"},
	    {"extract(year from at)", "2011"},
	    {"EXTRACT(dow FROM day)", "3"},
	    {"extract(epoch from at)", "1317422324.546000"},
	    {"date_trunc('hour', at)", "2011-09-30T22:00:00Z"},
	    {"date_trunc('day', at)", "2011-09-30T00:00:00Z"},
	    {"date_trunc('week', day)", "2012-02-27"},
	    {"date_trunc('month', day)", "2012-02-01"},
	    {"date_trunc('quarter', at)", "2011-07-01T00:00:00Z"},
	    {"date_trunc('years', at)", "2011-01-01T00:00:00Z"},
	    {"date_trunc('second', at)", "2011-09-30T22:38:44Z"},
	    {"date_trunc('millisecond', at)", "2011-09-30T22:38:44.546Z"},
	    {"date_diff('day', at, later)", "3"},
	    {"date_diff('hour', at, later)", "72"},
	    {"date_diff('month', date '2011-12-31', date '2012-01-01')", "1"},
	    {"date_diff('year', date '2012-01-01', date '2011-12-31')", "-1"},
	    {"date_diff('week', date '2012-03-04', date '2012-03-05')", "1"},
	    {"date_diff('day', '2011-09-30', at)", "0"},
	    {"date_diff('second', at, later)", "259201"},
	    {"age_days(at, later)", "3"},
	    {"age_days(later, at)", "-3"},
	    {"age_days(at, day)", "151"},
	    {"add_days(day, 1)", "2012-03-01"},
	    {"add_days(at, -1)", "2011-09-29T22:38:44.546Z"},
	    {"add_days(day, big)", "null"},
	    {"add_months(date '2012-01-31', 1)", "2012-02-29"},
	    {"add_months(date '2012-02-29', -12)", "2011-02-28"},
	    {"add_months(day, big)", "null"},
	    {"add_seconds(at, 1.5)", "2011-09-30T22:38:46.046Z"},
	    {"add_seconds(at, huge)", "null"},
	    {"make_date(2012, 2, 29)", "2012-02-29"},
	    {"make_date(2011, 2, 29)", "null"},
	    {"to_timestamp(1317422324.546)", "2011-09-30T22:38:44.546Z"},
	    {"year(no_at)", "null"},
	};

	(void)state;
	samples_check(samples, COUNT(samples));
}

static void
test_time_zone(void **state)
{
	static const struct sample samples[] = {
	    {"date(at)", "2011-10-01"},
	    {"hour(at)", "0"},
	    {"cast(at as date)", "2011-10-01"},
	    {"cast(date '2011-10-01' as timestamp)", "2011-09-30T22:00:00Z"},
	    {"timestamp '2011-10-01 00:00:00'", "2011-09-30T22:00:00Z"},
	    {"at >= '2011-10-01'", "true"},
	    {"date_trunc('month', at)", "2011-09-30T22:00:00Z"},
	    {"date_trunc('day', timestamp '2011-10-30 12:00:00')", "2011-10-29T22:00:00Z"},
	    {"add_days(timestamp '2011-10-29 12:00:00', 1)", "2011-10-30T11:00:00Z"},
	    {"date_diff('hour', timestamp '2011-10-30', timestamp '2011-10-31')", "25"},
	    {"date_diff('day', timestamp '2011-10-30', timestamp '2011-10-31')", "1"},
	    {"date_diff('hour', date '2011-10-30', date '2011-10-31')", "25"},
	};

	(void)state;
	T.scope.zone = T.paris;
	samples_check(samples, COUNT(samples));
	T.scope.zone = NULL;
}

/* ---- what is counted ---- */

static void
test_nulled_is_counted(void **state)
{
	static const struct {
		const char *source;
		uint64_t nulled;
	} cases[] = {
	    {"n / 0", 1},
	    {"big + 1", 1},
	    {"cast('x' as integer)", 1},
	    {"long_text || long_text", 1},
	    {"no_n / 0", 0},
	    {"no_n + 1", 0},
	    {"case when n = 7 then 1 else n / 0 end", 0},
	    {"n <> 7 and 1 / 0 > 1", 0},
	    {"n = 7 or 1 / 0 > 1", 0},
	    {"coalesce(n, n / 0)", 0},
	    {"coalesce(n / 0, n % 0, 3)", 2},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint64_t before = T.st.nulled;
		result(cases[i].source);
		if (T.st.nulled - before != cases[i].nulled)
			fail_msg("%s: %llu", cases[i].source,
				 (unsigned long long)(T.st.nulled - before));
	}
}

/* ---- what is refused, and where ---- */

static void
test_errors(void **state)
{
	static const struct {
		const char *source, *under; /* what the caret underlines */
		const char *says;
	} cases[] = {
	    {"", "", "empty"},
	    {"  ", "  ", "empty"},
	    {"activty = 'x'", "activty", "did you mean activity?"},
	    {"approvd", "approvd", "did you mean approved?"},
	    {"nothing_like_it", "nothing_like_it", "unknown name"},
	    {"lowr(activity)", "lowr", "did you mean lower()?"},
	    {"seen(ofer)", "seen(ofer)", "did you mean seen(offer)?"},
	    {"seen()", ")", "seen(source)"},
	    {"n = ", "", "ends where a value is expected"},
	    {"n = 'x'", "'x'", "integer with text"},
	    {"n + activity", "activity", "+ needs numbers"},
	    {"activity + 'x'", "activity", "joined by ||"},
	    {"activity || n", "n", "cast"},
	    {"at + 1", "at + 1", "add_seconds"},
	    {"day * 2", "day * 2", "no meaning"},
	    {"not n", "n", "not needs a boolean"},
	    {"n and approved", "n", "and needs a boolean"},
	    {"approved and n", "n", "and needs a boolean"},
	    {"case when n then 1 end", "n", "when needs a boolean"},
	    {"case when approved then 1 else 'x' end", "'x'", "this branch is of type text"},
	    {"case 1 end", "end", "\"when\" expected"},
	    {"case when approved then 1", "", "\"end\" expected"},
	    {"coalesce(n, 'x')", "'x'", "coalesce()"},
	    {"lower(n)", "n", "needs a text"},
	    {"lower()", ")", "lower(text)"},
	    {"lower('a', 'b')", "'a', 'b'", "does not take 2 arguments"},
	    {"substr(activity, 1.5)", "1.5", "needs an integer"},
	    {"date_trunc('fortnight', at)", "'fortnight'", "a unit is expected"},
	    {"date_trunc(activity, at)", "activity", "a unit is expected"},
	    {"extract(fun from at)", "fun", "a field is expected"},
	    {"extract(lower from at)", "lower", "a field is expected"},
	    {"extract(year, at)", ",", "\"from\" expected"},
	    {"hour(n)", "n", "needs a timestamp"},
	    {"bucket(n, 10, 5)", "5", "must ascend"},
	    {"bucket(n)", "n", "bucket(x, a, b, ...)"},
	    {"n in ()", ")", "a value is expected"},
	    {"n in (1, amount)", "amount", "only constants"},
	    {"n in (1, 'x')", "'x'", "no common type"},
	    {"n in 1", "1", "\"(\" expected"},
	    {"n like 'x'", "n", "like needs texts"},
	    {"activity like 'x\\'", "'x\\'", "escapes nothing"},
	    {"n between 1 or 2", "or", "\"and\" expected"},
	    {"1 < n < 3", "<", "do not chain"},
	    {"n = 1 = 2", "=", "do not chain"},
	    {"n not 1", "1", "in, between or like"},
	    {"n is 5", "5", "null, true or false"},
	    {"n is true", "n", "boolean"},
	    {"cast(n as number)", "number", "not a type"},
	    {"cast(n as date)", "n", "integer cannot be cast to date"},
	    {"cast(approved as decimal)", "approved", "boolean cannot be cast"},
	    {"cast(n, text)", ",", "\"as\" expected"},
	    {"date '2011-13-01'", "date '2011-13-01'", "not a date"},
	    {"at > 'soon'", "'soon'", "not a timestamp"},
	    {"interval '1 day'", "'1 day'", "only date and timestamp"},
	    {"(n", "", "\")\" expected"},
	    {"n)", ")", "should end here"},
	    {"n n", "n", "should end here"},
	    {"n 'x'", "'x'", "only date and timestamp"},
	    {"end", "end", "double quotes"},
	    {"'abc", "'abc", "no closing '"},
	    {"\"abc", "\"abc", "no closing \""},
	    {"\"\"", "\"\"", "not a name"},
	    {"n ; n", ";", "unexpected character"},
	    {"n -- comment", "--", "comment"},
	    {"1.2.3", "1.2.", "not a number"},
	    {"12abc", "12a", "not a number"},
	    {"n = \xff", "\xff", "UTF-8"},
	    {"n = '\xc0\x80'", "\xc0", "UTF-8"},
	    {"1e400", "1e400", "more than 38 digits"},
	    {"- approved", "- approved", "- needs a number"},
	    {"ratio % 2", "ratio % 2", "integers or decimals"},
	    {"size(nothing)", "size(nothing)", "unknown name"},
	    {"select 1", "select", "unknown name"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *s = cases[i].source;
		struct expr *x;
		struct expr_error e;
		if (expr_compile(s, strlen(s), &T.scope, VALUE_NULL, &x, &e))
			fail_msg("%s: compiled", s);
		assert_null(x);
		size_t n = strlen(cases[i].under);
		bool placed =
		    n ? e.len == n && e.at + n <= strlen(s) && !memcmp(s + e.at, cases[i].under, n)
		      : e.len == 1 && e.at == strlen(s);
		if (!*s)
			placed = e.at == 0 && e.len == 1;
		if (!placed || !strstr(e.text, cases[i].says))
			fail_msg("%s\n%*s^ %zu bytes: %s", s, (int)e.at, "", e.len, e.text);
	}
}

static void
test_wanted_type(void **state)
{
	static const struct {
		const char *source;
		enum value_type want;
		bool good;
	} cases[] = {
	    {"n", VALUE_INTEGER, true},	      {"n", VALUE_DECIMAL, true},
	    {"n", VALUE_FLOAT, true},	      {"7", VALUE_DECIMAL, true},
	    {"amount", VALUE_INTEGER, false}, {"ratio", VALUE_DECIMAL, false},
	    {"null", VALUE_DATE, true},	      {"day", VALUE_TIMESTAMP, false},
	    {"n", VALUE_TEXT, false},	      {"approved", VALUE_BOOLEAN, true},
	    {"n", VALUE_BOOLEAN, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *s = cases[i].source;
		struct expr *x;
		struct expr_error e;
		bool good = expr_compile(s, strlen(s), &T.scope, cases[i].want, &x, &e);
		if (good != cases[i].good)
			fail_msg("%s as %s", s, value_type_name(cases[i].want));
		if (good && expr_type(x) != VALUE_NULL) {
			struct value v;
			expr_run(x, T.inputs, &T.st, &v);
			assert_int_equal(v.type, cases[i].want);
		}
		expr_free(x);
	}
}

/* ---- limits ---- */

static void
repeat(struct buf *b, const char *s, int n)
{
	for (int i = 0; i < n; i++)
		buf_text(b, s);
}

static bool
compiles(struct buf *b, const char *says)
{
	struct expr *x;
	struct expr_error e;
	bool good = expr_compile((const char *)b->data, b->len, &T.scope, VALUE_NULL, &x, &e);

	if (!good && says && !strstr(e.text, says))
		fail_msg("%s", e.text);
	expr_free(x);
	buf_free(b);
	return good;
}

static void
test_limits(void **state)
{
	struct buf b = {0};

	(void)state;
	repeat(&b, "(", EXPR_DEPTH_MAX - 1);
	buf_text(&b, "n");
	repeat(&b, ")", EXPR_DEPTH_MAX - 1);
	assert_true(compiles(&b, NULL));
	repeat(&b, "(", 16000);
	assert_false(compiles(&b, "nested more than"));
	repeat(&b, "not ", 4000);
	assert_false(compiles(&b, "nested more than"));
	repeat(&b, "- ", 8000);
	assert_false(compiles(&b, "nested more than"));
	repeat(&b, "case when ", 1600);
	assert_false(compiles(&b, "nested more than"));
	repeat(&b, "coalesce(", 1600);
	assert_false(compiles(&b, "nested more than"));
	repeat(&b, "n+", 4000);
	buf_text(&b, "n");
	assert_true(compiles(&b, NULL)); /* long is not deep */
	repeat(&b, "n+", 8000);
	buf_text(&b, "n");
	assert_false(compiles(&b, "steps"));
	repeat(&b, "approved or ", 1300);
	buf_text(&b, "n=1");
	assert_true(compiles(&b, NULL));
	repeat(&b, " ", EXPR_TEXT_MAX);
	buf_text(&b, "n");
	assert_false(compiles(&b, "longer than"));
	buf_text(&b, "n in (1");
	repeat(&b, ",1", 2000);
	buf_text(&b, ")");
	assert_false(compiles(&b, "more than 1024 values"));
	buf_text(&b, "concat(1");
	repeat(&b, ",1", 64);
	buf_text(&b, ")");
	assert_false(compiles(&b, "more than 64 arguments"));
}

/* Texts of several runs live together until the reset; then their room is used again. */
static void
test_scratch(void **state)
{
	struct expr *x = compiled("activity || cast(n as text)", VALUE_TEXT);
	struct value first, second;

	(void)state;
	expr_run_reset(&T.st);
	expr_run(x, T.inputs, &T.st, &first);
	expr_run(x, T.inputs, &T.st, &second);
	assert_true(first.text != second.text);
	assert_memory_equal(first.text, "A_SUBMITTED7", 12);
	for (int i = 0; i < 100000; i++) {
		expr_run_reset(&T.st);
		expr_run(x, T.inputs, &T.st, &second);
		assert_int_equal(second.len, 12);
	}
	expr_free(x);
	expr_free(NULL);
}

static void
slots_visit(void *ctx, unsigned slot)
{
	unsigned char *seen = ctx;

	seen[slot]++;
}

static void
test_slots(void **state)
{
	struct expr *x = compiled(
	    "n + n > size(tags) and (activity in ('a') or lower(no_text) = 'x')", VALUE_BOOLEAN);
	unsigned char seen[COUNT(names)] = {0};

	(void)state;
	expr_slots(x, slots_visit, seen);
	for (size_t i = 0; i < COUNT(names); i++) {
		bool used = !strcmp(names[i].name, "n") || !strcmp(names[i].name, "size(tags)") ||
			    !strcmp(names[i].name, "activity") || !strcmp(names[i].name, "no_text");
		assert_int_equal(seen[i], used);
	}
	expr_free(x);
}

/* ---- how much a result can tell ---- */

static uint32_t
sealed_bound(void *ctx, unsigned slot)
{
	const char *name = names[slot].name;

	(void)ctx;
	return strcmp(name, "amount") == 0 || strcmp(name, "no_text") == 0 ||
		       strcmp(name, "day") == 0 || strcmp(name, "declined") == 0
		   ? EXPR_UNBOUNDED
	       : strcmp(name, "n") == 0 ? 5
					: 1;
}

enum { SEALED_TRIES = 400, RESULTS_SEEN_MAX = 128 };

/* Values for what is sealed: many, and null. */
static void
sealed_set(unsigned i)
{
	static char text[SEALED_TRIES][8];

	*input("amount") = i % 23 ? value_decimal((int)(i * 37) - 3000, 2) : value_null();
	snprintf(text[i], sizeof text[i], "%c%u", 'A' + (int)(i % 5), i);
	*input("no_text") = i % 19 ? value_text(text[i], strlen(text[i])) : value_null();
	*input("day") =
	    i % 17 ? (struct value){.type = VALUE_DATE, .integer = 15000 + i * 11} : value_null();
	*input("declined") = i % 3 ? value_boolean(i % 2) : value_null();
	*input("n") = i % 5 ? value_integer(i % 5) : value_null();
}

static bool
result_new(const struct value *v, struct value *seen, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (v->type == seen[i].type &&
		    (v->type == VALUE_NULL || value_compare(v, &seen[i]) == 0))
			return false;
	}
	return true;
}

/* How many different results there are over all tries. */
static unsigned
results_count(const struct expr *x)
{
	static struct value seen[RESULTS_SEEN_MAX];
	struct expr_run_state st = {0};
	unsigned n = 0;

	for (unsigned i = 0; i < SEALED_TRIES && n < RESULTS_SEEN_MAX; i++) {
		struct value out;
		sealed_set(i);
		expr_run(x, T.inputs, &st, &out);
		if (result_new(&out, seen, n))
			seen[n++] = out;
	}
	expr_run_free(&st);
	return n;
}

static void
test_bound(void **state)
{
	static const struct {
		const char *source;
		uint32_t most;
	} cases[] = {
	    {"ratio * 2", 1},
	    {"activity = 'x' and approved", 1},
	    {"amount", EXPR_UNBOUNDED},
	    {"declined", EXPR_UNBOUNDED},
	    {"n", 5},
	    {"n + n", 5},
	    {"n * 100 + bucket(amount, 0)", 5 * 3},
	    {"amount > 5", 3},
	    {"amount is null", 2},
	    {"declined is true", 2},
	    {"not declined", 3},
	    {"declined or amount > 5", 3},
	    {"no_text in ('A1', 'B2')", 3},
	    {"no_text like 'A%'", 3},
	    {"amount between 1 and 2", 3},
	    {"starts_with(no_text, 'A')", 3},
	    {"bucket(amount, 0, 10, 20)", 5},
	    {"-bucket(amount, 0, 10, 20)", 5},
	    {"cast(bucket(amount, 0, 10, 20) as text)", 5},
	    {"bucket(amount, ratio)", 3},
	    {"bucket(amount, 0) * bucket(amount, 10)", 9},
	    {"month(day)", 13},
	    {"quarter(day)", 5},
	    {"dow(day)", 8},
	    {"year(day)", EXPR_UNBOUNDED},
	    {"sign(amount)", 4},
	    {"round(amount)", EXPR_UNBOUNDED},
	    {"left(no_text, 1)", EXPR_UNBOUNDED},
	    {"length(no_text)", EXPR_UNBOUNDED},
	    {"case when amount > 5 then 'a' when declined then 'b' else 'c' end", 3},
	    {"case when amount > 5 then 'a' end", 2},
	    {"case when amount > 5 then activity else 'c' end", 2},
	    {"case when amount > 5 then no_text else 'c' end", EXPR_UNBOUNDED},
	    {"case when approved then no_text end", EXPR_UNBOUNDED},
	    {"case month(day) when 1 then 'a' when 2 then 'b' else 'c' end", 3},
	    {"case when amount > 5 then case when declined then 1 else 2 end else 3 end", 3},
	    {"case when amount > 5 then 1 else 2 end + case when declined then 10 else 20 end", 4},
	    {"case when length(no_text) > 2 then case when no_text > 'B' then 1 end else 7 end", 3},
	    {"coalesce(amount > 5, false)", 4},
	    {"coalesce(amount, 0)", EXPR_UNBOUNDED},
	    {"coalesce(no_text, activity)", EXPR_UNBOUNDED},
	    {"concat(cast(amount > 5 as text), cast(declined and approved as text))", 9},
	    {"nullif(amount, 5)", EXPR_UNBOUNDED},
	    {"least(amount, 5)", EXPR_UNBOUNDED},
	    {"activity || no_text", EXPR_UNBOUNDED},
	    {"case when activity = 'a' then 1 when activity = 'b' then 2 else 3 end", 1},
	};
	struct expr_scope before = T.scope;
	struct value inputs[COUNT(names)];

	(void)state;
	memcpy(inputs, T.inputs, sizeof inputs);
	T.scope.bound = sealed_bound;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct expr *x = compiled(cases[i].source, VALUE_NULL);
		unsigned found = results_count(x);
		if (expr_bound(x) != cases[i].most || found > cases[i].most)
			fail_msg("%s: at most %u, found %u", cases[i].source, expr_bound(x), found);
		expr_free(x);
	}
	T.scope = before;
	memcpy(T.inputs, inputs, sizeof inputs);
}

static void
test_conjuncts(void **state)
{
	static const struct {
		const char *source;
		unsigned n;
		const char *parts[4];
	} cases[] = {
	    {"approved", 1, {"approved"}},
	    {" approved  and seen(offer)", 2, {"approved", "seen(offer)"}},
	    {"(approved and declined) and n = 1", 2, {"(approved and declined)", "n = 1"}},
	    {"n between 1 and 2 and approved", 2, {"n between 1 and 2", "approved"}},
	    {"case when approved and declined then true end and n = 1",
	     2,
	     {"case when approved and declined then true end", "n = 1"}},
	    {"approved and declined or seen(offer)", 1, {"approved and declined or seen(offer)"}},
	    {"not approved and 'x and y' = activity AND n > 1",
	     3,
	     {"not approved", "'x and y' = activity", "n > 1"}},
	    {"", 0, {NULL}},
	};
	size_t at[4], len[4];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *s = cases[i].source;
		unsigned n = expr_conjuncts(s, strlen(s), at, len, 4);
		if (n != cases[i].n)
			fail_msg("%s: %u", s, n);
		for (unsigned k = 0; k < n; k++)
			if (len[k] != strlen(cases[i].parts[k]) ||
			    memcmp(s + at[k], cases[i].parts[k], len[k]))
				fail_msg("%s: part %u is %.*s", s, k, (int)len[k], s + at[k]);
	}
}

static void
test_expr_test(void **state)
{
	static const struct {
		const char *source;
		bool out;
	} cases[] = {{"approved", true}, {"declined", false}, {"no_bool", false}, {"null", false}};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct expr *x = compiled(cases[i].source, VALUE_BOOLEAN);
		assert_int_equal(expr_test(x, T.inputs, &T.st), cases[i].out);
		expr_free(x);
	}
}

/* Every function of the table: it has words, and refuses to be called with nothing it needs. */
static void
test_function_table(void **state)
{
	(void)state;
	for (unsigned i = 0; i < functions_n; i++) {
		const struct function *f = &functions[i];
		char source[64];
		struct expr *x;
		struct expr_error e;
		assert_true(f->args_min >= 1 && f->args_min <= f->args_max);
		assert_int_equal(strncmp(f->usage, f->name, strlen(f->name)), 0);
		assert_true(f->doc[0]);
		int n = snprintf(source, sizeof source, "%s()", f->name);
		assert_false(expr_compile(source, (size_t)n, &T.scope, VALUE_NULL, &x, &e));
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(f->name, functions[k].name);
	}
}

/* A ceiling that only a mistake of a kind reaches; the figure itself is printed. */
static void
test_cost(void **state)
{
	enum { RUNS = 200000, CEILING_NS = 2000 };
	static const char *const sources[] = {
	    "activity = 'A_SUBMITTED'", "n > 3 and activity in ('A', 'B', 'C')",
	    "case when declined then 'd' when approved then 'a' else 'o' end", "amount * 1.19",
	    "date(at)"};

	(void)state;
	for (size_t i = 0; i < COUNT(sources); i++) {
		struct expr *x = compiled(sources[i], VALUE_NULL);
		struct mono start = mono_now();
		struct value v;
		for (int k = 0; k < RUNS; k++)
			expr_run(x, T.inputs, &T.st, &v);
		int64_t ns = mono_since_us(start, mono_now()) * 1000 / RUNS;
		print_message("%lld ns  %s\n", (long long)ns, sources[i]);
		assert_true(ns < CEILING_NS);
		expr_free(x);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_literals_and_names),
	    cmocka_unit_test(test_arithmetic),
	    cmocka_unit_test(test_comparison),
	    cmocka_unit_test(test_three_valued_logic),
	    cmocka_unit_test(test_choice),
	    cmocka_unit_test(test_casts),
	    cmocka_unit_test(test_text_functions),
	    cmocka_unit_test(test_number_functions),
	    cmocka_unit_test(test_time_functions),
	    cmocka_unit_test(test_time_zone),
	    cmocka_unit_test(test_nulled_is_counted),
	    cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_wanted_type),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_scratch),
	    cmocka_unit_test(test_slots),
	    cmocka_unit_test(test_bound),
	    cmocka_unit_test(test_conjuncts),
	    cmocka_unit_test(test_expr_test),
	    cmocka_unit_test(test_function_table),
	    cmocka_unit_test(test_cost),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
