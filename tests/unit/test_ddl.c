/*
 * The SQL of the loans example, table by table and grant by grant, beside tests/golden/ddl/.
 * GOLDEN_UPDATE=1 accepts today's. And what must hold for any pipeline: names quoted, names cut,
 * special members.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "ddl.h"

static struct model *
model_make(const char *path)
{
	struct conf_report report = {0};
	struct model *m = NULL;

	setenv("WEIR_DSN", "postgresql://owner@localhost/warehouse", 1);
	setenv("WEIR_DATA", "/srv/loans", 1);
	setenv("WEIR_LOGINS", "/srv/logins", 1);
	if (!conf_read_file(path, &m, &report))
		fail_msg("%s", buf_cstr(&report.text));
	conf_report_free(&report);
	return m;
}

static struct model *
model_of(const char *tables)
{
	static const char head[] =
	    "pipeline: p\ncorrelate: { by: id, folds: { x: { first: s.x } } }\n"
	    "sources: { s: { file: { path: /srv/x }, format: json, time: at, fields: "
	    "{ id: integer, at: timestamp, x: decimal, t: text } } }\n"
	    "warehouse: { postgresql: { dsn: \"postgresql://o@h/d\", logins: /srv/l } }\n"
	    "tables:\n";
	struct conf_report report = {0};
	struct model *m = NULL;
	struct buf text = {0};

	buf_text(&text, head);
	buf_text(&text, tables);
	if (!conf_read_text("p.yaml", buf_cstr(&text), text.len, &m, &report))
		fail_msg("%s", buf_cstr(&report.text));
	conf_report_free(&report);
	buf_free(&text);
	return m;
}

static void
file_read_all(const char *path, struct buf *out)
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
	} while (n);
	fclose(f);
}

static void
golden(const char *name, struct buf *got)
{
	char path[256];
	struct buf want = {0};

	snprintf(path, sizeof path, "tests/golden/ddl/%s.sql", name);
	if (getenv("GOLDEN_UPDATE")) {
		FILE *f = fopen(path, "we");
		assert_non_null(f);
		assert_int_equal(fwrite(got->data, 1, got->len, f), got->len);
		assert_int_equal(fclose(f), 0);
	}
	file_read_all(path, &want);
	assert_string_equal(buf_cstr(got), buf_cstr(&want));
	buf_free(&want);
}

static void
test_tables(void **state)
{
	struct model *m = model_make("examples/loans/pipeline.yaml");
	(void)state;

	for (unsigned i = 0; i < m->tables_n; i++) {
		struct buf b = {0};
		char name[128];
		ddl_script(m, i, &b);
		snprintf(name, sizeof name, "loans.%s", m->tables[i].name.s);
		golden(name, &b);
		buf_free(&b);
	}
	model_free(m);
}

static bool
grant_write(void *ctx, const struct ddl_grant *g, struct err *e)
{
	(void)e;
	ddl_grant(g, ctx);
	buf_text(ctx, ";\n");
	return true;
}

static void
test_grants(void **state)
{
	struct model *m = model_make("examples/loans/pipeline.yaml");
	struct buf b = {0};
	struct err e;
	(void)state;

	assert_true(ddl_grants(m, grant_write, &b, &e));
	golden("loans.grants", &b);
	/* Whatever else changes: nobody but load writes, and nobody reads a whole fact but analysts. */
	const char *text = buf_cstr(&b);
	assert_null(
	    strstr(text, "GRANT SELECT ON TABLE \"analytical_schema\".\"fact_loan\" TO \"weir"));
	assert_null(strstr(text, "GRANT DELETE ON TABLE \"analytical_schema\""));
	assert_null(strstr(text, "WITH GRANT OPTION"));
	buf_free(&b);
	model_free(m);
}

static bool
grant_stop(void *ctx, const struct ddl_grant *g, struct err *e)
{
	unsigned *n = ctx;

	(void)g;
	return ++*n < 3 || err_set(e, EXIT_UNAVAILABLE, "enough");
}

static void
test_grants_stop(void **state)
{
	struct model *m = model_make("examples/loans/pipeline.yaml");
	unsigned n = 0;
	struct err e;
	(void)state;

	assert_false(ddl_grants(m, grant_stop, &n, &e));
	assert_int_equal(n, 3);
	assert_string_equal(e.text, "enough");
	model_free(m);
}

static void
test_login_names(void **state)
{
	struct model *m = model_make("examples/loans/pipeline.yaml");
	struct name name;
	struct err e;
	(void)state;

	assert_true(ddl_login_name(m, LOGIN_LOAD, &name, &e));
	assert_string_equal(name.s, "weir_loans_load");
	memset(m->pipeline.s, 'x', NAME_BYTES_MAX);
	m->pipeline.s[NAME_BYTES_MAX] = 0;
	assert_false(ddl_login_name(m, LOGIN_LOAD, &name, &e));
	assert_int_equal(e.code, EXIT_CONFIG);
	model_free(m);
}

static void
test_foreign_key_names(void **state)
{
	struct model *m = model_make("examples/loans/pipeline.yaml");
	int t = model_table_find(m, "fact_loan", strlen("fact_loan"));
	struct name a, b;
	(void)state;

	/* However long the names are: two columns of a table have two constraints. */
	memset(m->tables[t].name.s, 'f', NAME_BYTES_MAX);
	memset(m->tables[t].references[0].column.s, 'c', NAME_BYTES_MAX);
	memset(m->tables[t].references[1].column.s, 'd', NAME_BYTES_MAX);
	ddl_foreign_key_name(m, (unsigned)t, 0, &a);
	ddl_foreign_key_name(m, (unsigned)t, 1, &b);
	assert_true(strlen(a.s) <= NAME_BYTES_MAX);
	assert_string_not_equal(a.s, b.s);
	model_free(m);
}

static void
test_members(void **state)
{
	struct model *m = model_of("  dim_t: { kind: dimension, key: t }\n  dim_d: { kind: "
				   "calendar, from: 2024-02-28, to: 2024-03-01 }\n"
				   "  fact_s: { kind: fact, grain: s, key: id, unique: true, "
				   "columns: { x: x }, references: "
				   "{ dim_t: t, dim_d: at } }\n");
	struct buf b = {0};
	(void)state;

	ddl_members(m, 0, &b);
	assert_non_null(strstr(buf_cstr(&b), "(-1, '(unknown)'), (-2, '(invalid)')"));
	buf_clear(&b);
	ddl_members(m, 1, &b);
	assert_non_null(strstr(buf_cstr(&b), "(-1, NULL), (-2, NULL)"));
	buf_clear(&b);
	ddl_calendar_rows(m, 1, &b);
	assert_non_null(
	    strstr(buf_cstr(&b), "date '2024-02-28' + i AS d FROM generate_series(0, 2)"));
	buf_clear(&b);
	ddl_create_table(m, 2, &b);
	assert_non_null(strstr(buf_cstr(&b), "PRIMARY KEY (\"rid\")"));
	buf_free(&b);
	model_free(m);
}

static void
test_comments_are_quoted(void **state)
{
	struct model *m =
	    model_of("  dim_t: { kind: dimension, key: t, comment: \"it's \\\\ 'so'; DROP\" }\n"
		     "  fact_s: { kind: fact, grain: s, key: id, references: { dim_t: t } }\n");
	struct buf b = {0};
	(void)state;

	ddl_comments(m, 0, &b);
	assert_non_null(strstr(buf_cstr(&b), "it''s"));
	assert_non_null(
	    strstr(buf_cstr(&b), "''so''; DROP [weir pipeline=p volatile=loaded_at,batch]'"));
	buf_free(&b);
	model_free(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tables),
	    cmocka_unit_test(test_grants),
	    cmocka_unit_test(test_grants_stop),
	    cmocka_unit_test(test_login_names),
	    cmocka_unit_test(test_foreign_key_names),
	    cmocka_unit_test(test_members),
	    cmocka_unit_test(test_comments_are_quoted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
