/* What to do about a failure of the warehouse, by SQLSTATE; and quoting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pg.h"

static void
test_every_class_has_its_answer(void **state)
{
	static const struct {
		const char *sqlstate;
		enum pg_fault fault;
		int code;
	} rows[] = {
	    {"22003", PG_BAD_ROW, EXIT_DATA},	   {"22P05", PG_BAD_ROW, EXIT_DATA},
	    {"23502", PG_BAD_ROW, EXIT_DATA},	   {"23505", PG_BAD_ROW, EXIT_DATA},
	    {"08000", PG_RETRY, EXIT_UNAVAILABLE}, {"08006", PG_RETRY, EXIT_UNAVAILABLE},
	    {"40001", PG_RETRY, EXIT_UNAVAILABLE}, {"40P01", PG_RETRY, EXIT_UNAVAILABLE},
	    {"53100", PG_RETRY, EXIT_UNAVAILABLE}, {"53300", PG_RETRY, EXIT_UNAVAILABLE},
	    {"55P03", PG_RETRY, EXIT_UNAVAILABLE}, {"57014", PG_RETRY, EXIT_UNAVAILABLE},
	    {"57P01", PG_RETRY, EXIT_UNAVAILABLE}, {"57P03", PG_RETRY, EXIT_UNAVAILABLE},
	    {"58030", PG_RETRY, EXIT_UNAVAILABLE}, {"42703", PG_STOP, EXIT_CONFIG},
	    {"42P01", PG_STOP, EXIT_CONFIG},	   {"42501", PG_STOP, EXIT_PERMISSION},
	    {"28P01", PG_STOP, EXIT_PERMISSION},   {"3D000", PG_STOP, EXIT_CONFIG},
	    {"3F000", PG_STOP, EXIT_CONFIG},	   {"0A000", PG_STOP, EXIT_CONFIG},
	    {"25006", PG_RETRY, EXIT_UNAVAILABLE}, {"25001", PG_STOP, EXIT_CONFIG},
	    {"XX000", PG_STOP, EXIT_CONFIG},	   {"55P02", PG_STOP, EXIT_CONFIG},
	    {"\0\0\0\0", PG_STOP, EXIT_CONFIG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char s[SQLSTATE_BYTES + 1] = "";
		memcpy(s, rows[i].sqlstate, SQLSTATE_BYTES);
		assert_int_equal(pg_fault(s), rows[i].fault);
		assert_int_equal(pg_exit_code(s), rows[i].code);
	}
}

static void
test_refusals_are_in_words(void **state)
{
	(void)state;
	assert_string_equal(pg_refusal("22003"), "number out of range");
	assert_string_equal(pg_refusal("23999"), "constraint violated");
	assert_string_equal(pg_refusal("22999"), "value refused");
}

static void
quoted_is(void (*quote)(struct buf *, const char *), const char *text, const char *expected)
{
	struct buf b = {0};

	quote(&b, text);
	assert_string_equal(buf_cstr(&b), expected);
	buf_free(&b);
}

static void
test_quoting(void **state)
{
	(void)state;
	quoted_is(pg_quote_name, "plain", "\"plain\"");
	quoted_is(pg_quote_name, "a\"; DROP", "\"a\"\"; DROP\"");
	quoted_is(pg_quote_name, "", "\"\"");
	quoted_is(pg_quote_text, "it's", "'it''s'");
	quoted_is(pg_quote_text, "a\\'b", " E'a\\\\''b'");
}

static void
test_a_bad_dsn_shows_nothing_of_itself(void **state)
{
	struct pg *p = NULL;
	struct err e = {0};

	(void)state;
	assert_false(pg_connect("host=x password=hush hush", "test", NULL, 100, &p, &e));
	assert_int_equal(e.code, EXIT_CONFIG);
	assert_null(strstr(e.text, "hush"));
	assert_null(p);
}

static void
test_a_server_that_is_not_there(void **state)
{
	struct pg *p = NULL;
	struct err e = {0};

	(void)state;
	assert_false(pg_connect("postgresql://u:hush@127.0.0.1:1/d", "test", NULL, 2000, &p, &e));
	assert_int_equal(e.code, EXIT_UNAVAILABLE);
	assert_null(strstr(e.text, "hush"));
	pg_close(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_class_has_its_answer),
	    cmocka_unit_test(test_refusals_are_in_words),
	    cmocka_unit_test(test_quoting),
	    cmocka_unit_test(test_a_bad_dsn_shows_nothing_of_itself),
	    cmocka_unit_test(test_a_server_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
