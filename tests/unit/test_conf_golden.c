/*
 * Wrong pipeline files and what a person is told about them: each tests/golden/conf/NAME.yaml
 * beside its NAME.expect. GOLDEN_UPDATE=1 accepts today's words. A file that is valid expects its
 * effective configuration, which must read back to itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glob.h>
#include <unistd.h>

#include "conf.h"

enum { WRONG_MIN = 25 };

static void
text_read(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "re");
	size_t n;

	buf_clear(out);
	if (!f)
		return;
	do {
		buf_reserve(out, 4096);
		n = fread(out->data + out->len, 1, 4096, f);
		out->len += n;
	} while (n > 0);
	fclose(f);
}

static void
text_write(const char *path, const struct buf *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(text->data, 1, text->len, f), text->len);
	assert_int_equal(fclose(f), 0);
}

static void
effective_twice(const struct model *m, struct buf *out)
{
	struct conf_report report = {0};
	struct buf again = {0};
	struct model *second;

	conf_print_effective(m, out);
	assert_true(conf_read_text("again.yaml", buf_cstr(out), out->len, &second, &report));
	conf_print_effective(second, &again);
	assert_string_equal(buf_cstr(out), buf_cstr(&again));
	model_free(second);
	buf_free(&again);
}

/* True when the file is wrong. */
static bool
outcome(const char *path, struct buf *out)
{
	struct conf_report report = {0};
	struct model *m;
	bool fine = conf_read_file(path, &m, &report);

	buf_clear(out);
	if (fine) {
		assert_int_equal(report.errors, 0);
		effective_twice(m, out);
		model_free(m);
	} else {
		assert_null(m);
		assert_true(report.errors > 0);
		buf_add(out, report.text.data, report.text.len);
	}
	conf_report_free(&report);
	return !fine;
}

static void
golden_files(void **state)
{
	struct buf got = {0}, want = {0};
	unsigned wrong = 0, differ = 0;
	glob_t files;

	(void)state;
	assert_int_equal(glob("*.yaml", 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		char expect[512];
		const char *path = files.gl_pathv[i];
		snprintf(expect, sizeof expect, "%.*s.expect", (int)(strlen(path) - 5), path);
		wrong += outcome(path, &got);
		text_read(expect, &want);
		if (strcmp(buf_cstr(&got), buf_cstr(&want)) == 0)
			continue;
		if (getenv("GOLDEN_UPDATE")) {
			text_write(expect, &got);
			continue;
		}
		differ++;
		print_message("%s is not as expected; today:\n%s", path, buf_cstr(&got));
	}
	globfree(&files);
	buf_free(&got);
	buf_free(&want);
	assert_int_equal(differ, 0);
	assert_true(wrong >= WRONG_MIN);
}

/* The world of the golden files: where they lie, and the variables that they may ask for. */
static int
golden_setup(void **state)
{
	(void)state;
	setenv("WEIR_DSN", "postgresql://owner:secret@localhost/warehouse", 1);
	setenv("WEIR_TEST_LINES", "a\nb", 1);
	setenv("WEIR_TEST_NESTED", "a${WEIR_DSN}b", 1);
	unsetenv("WEIR_TEST_UNSET");
	return chdir("tests/golden/conf");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(golden_files, golden_setup),
	};

	return cmocka_run_group_tests_name("conf golden", tests, NULL, NULL);
}
