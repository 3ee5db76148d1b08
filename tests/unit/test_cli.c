/* The command line: options, "did you mean", JSON strings, tables for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/option.h"

static const struct option_row rows[] = {
    {"instance", 'i', OPTION_VALUE, "NAME", ""},
    {"take-over", 0, OPTION_FLAG, NULL, ""},
    {"allow", 0, OPTION_LIST, "WHAT", ""},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

/* Words end with NULL. */
static bool
read_words(struct args *a, struct err *e, const char *const *words)
{
	static char room[16][64];
	char *argv[16];
	int n = 0;

	for (; words[n]; n++) {
		snprintf(room[n], sizeof room[n], "%s", words[n]);
		argv[n] = room[n];
	}
	return args_read(a, rows, 2, n, argv, e);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
test_forms(void **state)
{
	struct args a;
	struct err e;
	(void)state;

	assert_true(
	    read_words(&a, &e, WORDS("x.yaml", "--instance", "one", "--take-over", "-ojson")));
	assert_int_equal(a.operands_n, 1);
	assert_string_equal(a.operands[0], "x.yaml");
	assert_string_equal(args_value(&a, "instance"), "one");
	assert_true(args_flag(&a, "take-over"));
	assert_string_equal(args_value(&a, "output"), "json");
	assert_false(args_flag(&a, "no-input"));

	assert_true(read_words(&a, &e, WORDS("--instance=a=b", "-o=text", "x.yaml")));
	assert_string_equal(args_value(&a, "instance"), "a=b");
	assert_true(read_words(&a, &e, WORDS("-i", "", "--take-over", "--take-over")));
	assert_string_equal(args_value(&a, "instance"), "");
	assert_true(read_words(&a, &e, WORDS("--", "--take-over", "-")));
	assert_int_equal(a.operands_n, 2);
	assert_false(args_flag(&a, "take-over"));
}

static void
test_list(void **state)
{
	struct args a;
	struct err e;
	const char *const *values;
	(void)state;

	assert_true(read_words(&a, &e, WORDS("--allow", "t.a", "--allow=t.b")));
	assert_int_equal(args_list(&a, "allow", &values), 2);
	assert_string_equal(values[1], "t.b");
	assert_int_equal(args_list(&a, "instance", &values), 0);
	assert_null(values);
}

static void
test_wrong(void **state)
{
	static const struct {
		const char *const words[4];
		const char *says;
	} cases[] = {
	    {{"--instanse", "x"}, "did you mean \"--instance\""},
	    {{"--take-ovre"}, "did you mean \"--take-over\""},
	    {{"--inst"}, "did you mean \"--instance\""},
	    {{"--zzzz"}, "unknown option \"--zzzz\""},
	    {{"-z"}, "unknown option \"-z\""},
	    {{"--instance"}, "needs a value: NAME"},
	    {{"--take-over=yes"}, "takes no value"},
	    {{"-i", "a", "-ib"}, "given twice"},
	    {{"a", "b", "c"}, "\"c\" is one operand too many"},
	    {{"-o", "xml"}, "\"xml\" is no output format"},
	};
	struct args a;
	struct err e;
	(void)state;

	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_false(read_words(&a, &e, cases[i].words));
		assert_int_equal(e.code, EXIT_USAGE);
		if (!strstr(e.text, cases[i].says))
			fail_msg("case %u: %s", i, e.text);
	}
}

static void
test_near(void **state)
{
	(void)state;
	assert_int_equal(near_distance("plan", "plan"), 0);
	assert_int_equal(near_distance("paln", "plan"), 1);
	assert_int_equal(near_distance("", "plan"), 4);
	assert_int_equal(near_distance("valdate", "validate"), 1);
	assert_true(near_enough("valdate", "validate", near_distance("valdate", "validate")));
	assert_false(near_enough("up", "run", near_distance("up", "run")));
	assert_false(near_enough("x", "up", near_distance("x", "up")));
	char endless[4096];
	memset(endless, 'a', sizeof endless - 1);
	endless[sizeof endless - 1] = 0;
	assert_true(near_distance(endless, "plan") >= 64);
}

static void
test_json(void **state)
{
	struct buf b = {0};
	(void)state;

	cli_json(&b, "a\"b\\c\n\t\x01é€😀\x7f");
	assert_string_equal(buf_cstr(&b), "\"a\\\"b\\\\c\\n\\t\\u0001é€😀\\u007f\"");
	buf_clear(&b);
	/* Overlong, surrogate, beyond U+10FFFF, cut short: none of it may reach a reader. */
	cli_json(&b, "\xc0\x80|\xed\xa0\x80|\xf4\x90\x80\x80|\xe2\x82");
	assert_null(memchr(b.data, 0xc0, b.len));
	assert_null(memchr(b.data, 0xed, b.len));
	assert_null(memchr(b.data, 0xf4, b.len));
	assert_null(memchr(b.data, 0xe2, b.len));
	buf_clear(&b);
	cli_json_n(&b, "a\0b", 3);
	assert_string_equal(buf_cstr(&b), "\"a\\u0000b\"");
	buf_free(&b);
}

static void
test_grid(void **state)
{
	static const char *const heads[] = {"name", "n"};
	struct grid *g = grid_new(heads, 2);
	struct buf b = {0};
	(void)state;

	grid_cell(g, "%s", "größer");
	grid_cell(g, "%d", 1);
	grid_cell(g, "%s", "a\x1b[31m\nb"); /* a terminal stays sane */
	grid_cell(g, "%d", 22);
	grid_print(g, "> ", &b);
	assert_string_equal(buf_cstr(&b), "> name      n\n> größer    1\n> a [31m b  22\n");
	grid_free(g);
	buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forms), cmocka_unit_test(test_list), cmocka_unit_test(test_wrong),
	    cmocka_unit_test(test_near),  cmocka_unit_test(test_json), cmocka_unit_test(test_grid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
