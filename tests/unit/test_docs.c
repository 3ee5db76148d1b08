/*
 * The documentation does not lie: every pipeline in it validates, and what comes from tables in
 * the code (functions, metrics, verbs, exit codes) stands in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"

enum { DOC_BYTES_MAX = 1 << 20, PIPELINES_MIN = 2 };

static char *
doc_read(const char *path)
{
	char *text = calloc(1, DOC_BYTES_MAX);
	FILE *f = fopen(path, "re");

	assert_non_null(text);
	if (!f)
		fail_msg("%s is not there", path);
	size_t n = fread(text, 1, DOC_BYTES_MAX - 1, f);
	assert_true(n < DOC_BYTES_MAX - 1);
	fclose(f);
	return text;
}

static void
named(const char *path, const char *text, const char *what)
{
	if (!strstr(text, what))
		fail_msg("%s does not name %s", path, what);
}

/* Every fenced block that begins with a pipeline's name. */
static unsigned
pipelines_check(const char *path)
{
	static const char fence[] = "```yaml\npipeline:";
	char *text = doc_read(path);
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, fence)); n++) {
		struct conf_report report = {0};
		struct model *m;
		at += strlen("```yaml\n");
		const char *end = strstr(at, "\n```");
		assert_non_null(end);
		if (!conf_read_text(path, at, (size_t)(end - at) + 1, &m, &report))
			fail_msg("%s\n%s", path, buf_cstr(&report.text));
		model_free(m);
		conf_report_free(&report);
	}
	free(text);
	return n;
}

static void
test_pipelines(void **state)
{
	glob_t found;
	unsigned n = pipelines_check("README.md");
	(void)state;

	assert_int_equal(glob("docs/*.md", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		n += pipelines_check(found.gl_pathv[i]);
	globfree(&found);
	assert_true(n >= PIPELINES_MIN);
}

static void
test_functions(void **state)
{
	static const char *const usages[] = {
#define FUNCTION(name, least, most, args, result, kind, run, usage, doc) "`" usage "`",
#include "expr/functions.def"
#undef FUNCTION
	};
	char *text = doc_read("docs/expressions.md");
	(void)state;

	for (size_t i = 0; i < sizeof usages / sizeof *usages; i++)
		named("docs/expressions.md", text, usages[i]);
	free(text);
}

static void
test_metrics(void **state)
{
	static const char *const names[] = {
#define METRIC(id, name, type, help)	    "`weir_" name "`",
#define METRIC_SOURCE(id, name, type, help) "`weir_" name "`",
#define METRIC_TABLE(id, name, type, help)  "`weir_" name "`",
#include "metric.def"
#undef METRIC
#undef METRIC_SOURCE
#undef METRIC_TABLE
	};
	char *text = doc_read("docs/metrics.md");
	(void)state;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		named("docs/metrics.md", text, names[i]);
	free(text);
}

static void
test_exit_codes(void **state)
{
	static const int codes[] = {
	    EXIT_DONE, EXIT_SOME_DEAD, EXIT_USAGE,	EXIT_DATA,   EXIT_UNAVAILABLE,
	    EXIT_BUG,  EXIT_TRY_LATER, EXIT_PERMISSION, EXIT_CONFIG, EXIT_NOTHING};
	char *text = doc_read("docs/exit-codes.md"), row[16];
	(void)state;

	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
		snprintf(row, sizeof row, "\n| %d |", codes[i]);
		named("docs/exit-codes.md", text, row);
	}
	free(text);
}

/* docs/reference.md is what `make docs` would make of it today. */
static void
test_reference(void **state)
{
	char *text = doc_read("docs/reference.md");
	struct buf now = {0};
	(void)state;

	conf_reference_print(&now);
	assert_string_equal(buf_cstr(&now), text);
	buf_free(&now);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pipelines), cmocka_unit_test(test_functions),
	    cmocka_unit_test(test_metrics),   cmocka_unit_test(test_exit_codes),
	    cmocka_unit_test(test_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
