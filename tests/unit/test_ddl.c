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
#include "ddl_aggregate.h"

static struct model *
model_make(const char *path)
{
	struct conf_report report = {0};
	struct model *m = NULL;

	setenv("WEIR_DSN", "postgresql://owner@localhost/warehouse", 1);
	setenv("WEIR_DATA", "/srv/loans", 1);
	setenv("WEIR_LOGINS", "/srv/logins", 1);
	setenv("WEIR_KEYS", "/srv/keys", 1);
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
	struct model *m = model_make("examples/loans/plain.yaml");
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

/* Raw events, sealed folds, the aggregate and what else the sealed example has that the plain has not. */
static void
test_sealed_tables(void **state)
{
	struct model *m = model_make("examples/loans/pipeline.yaml");
	char name[128];
	(void)state;

	for (unsigned i = 0; i < m->tables_n; i++) {
		struct buf b = {0};
		if (m->tables[i].kind == TABLE_CALENDAR)
			continue;
		ddl_script(m, i, &b);
		snprintf(name, sizeof name, "sealed.%s", m->tables[i].name.s);
		golden(name, &b);
		buf_free(&b);
	}
	for (unsigned i = 0; i < m->aggregates_n; i++) {
		struct buf b = {0};
		ddl_aggregate_script(m, &m->aggregates[i], &b);
		snprintf(name, sizeof name, "sealed.%s", m->aggregates[i].name.s);
		golden(name, &b);
		buf_free(&b);
	}
	model_free(m);
}

/* Where a sealed value may stand: in development_schema, as bytes. */
static void
test_sealed_columns(void **state)
{
	struct model *m = model_make("tests/golden/conf/sealing.yaml");
	unsigned sealed = 0;
	(void)state;

	for (unsigned t = 0; t < m->tables_n; t++) {
		struct ddl_column columns[DDL_COLUMNS_MAX];
		unsigned n = ddl_columns(m, t, columns);
		bool development = ddl_table_schema(&m->tables[t]) == SCHEMA_DEVELOPMENT;
		for (unsigned i = 0; i < n; i++) {
			bool bytes = strcmp(columns[i].type, "bytea") == 0;
			assert_true(development || !bytes);
			sealed += bytes && strcmp(columns[i].name, "sid") != 0;
		}
	}
	/* Of one source 5 fields and what is not declared, of the other one, and two folds. */
	assert_int_equal(sealed, 6 + 1 + 2);
	model_free(m);
}

/* Long names of sources that begin alike have default partitions of their own. */
static void
test_default_partition_names(void **state)
{
	struct model *m = model_make("tests/golden/conf/sealing.yaml");
	struct buf a = {0}, b = {0};
	unsigned t = 4;
	(void)state;

	assert_int_equal(m->tables[t].kind, TABLE_RAW);
	memset(m->tables[t].name.s, 'x', NAME_BYTES_MAX);
	ddl_after_create(m, t, &a);
	m->tables[t].name.s[NAME_BYTES_MAX - 1] = 'y';
	ddl_after_create(m, t, &b);
	const char *end = strstr(buf_cstr(&a), " PARTITION OF ");
	assert_non_null(end);
	size_t head = (size_t)(end - buf_cstr(&a));
	assert_memory_not_equal(a.data, b.data, head);
	assert_true(head <= strlen("CREATE TABLE \"development_schema\".\"\"") + NAME_BYTES_MAX);
	buf_free(&a);
	buf_free(&b);
	model_free(m);
}

/* Whatever column a calendar has can be grouped by. */
static void
test_aggregate_by_calendar(void **state)
{
	static const char text[] =
	    "  dim_d: { kind: calendar, from: 2024-02-28, to: 2024-03-01 }\n"
	    "  fact_s: { kind: fact, grain: s, key: id, references: { dim_d: at } }\n"
	    "aggregates: { x: { fact: fact_s, by: [dim_d.%s], measures: { n: count } } }\n";
	struct model *m =
	    model_of("  dim_d: { kind: calendar, from: 2024-02-28, to: 2024-03-01 }\n");
	struct ddl_column columns[DDL_COLUMNS_MAX];
	unsigned n = ddl_columns(m, 0, columns), tried = 0;
	(void)state;

	for (unsigned i = 0; i < n; i++) {
		char tables[512], want[128];
		struct buf b = {0};
		if (columns[i].key || columns[i].volatile_)
			continue;
		snprintf(tables, sizeof tables, text, columns[i].name);
		struct model *with = model_of(tables);
		ddl_aggregate_function(with, with->aggregates, &b);
		snprintf(want, sizeof want, "SELECT d0.\"%s\"::text AS b0", columns[i].name);
		assert_non_null(strstr(buf_cstr(&b), want));
		buf_free(&b);
		model_free(with);
		tried++;
	}
	assert_true(tried > 10);
	model_free(m);
}

/* Every kind of measure and of column to group by. */
static void
test_aggregates(void **state)
{
	struct model *m = model_make("tests/golden/conf/sealing.yaml");
	struct buf b = {0};
	(void)state;

	for (unsigned i = 0; i < m->aggregates_n; i++) {
		struct name refresh;
		ddl_aggregate_refresh(m, &m->aggregates[i], &refresh);
		ddl_aggregate_script(m, &m->aggregates[i], &b);
		assert_non_null(strstr(buf_cstr(&b), refresh.s));
	}
	golden("aggregates", &b);
	/* Nobody but its owner runs it, and it takes no name from who calls. */
	assert_non_null(strstr(buf_cstr(&b), "SET search_path = pg_catalog, pg_temp"));
	assert_non_null(strstr(buf_cstr(&b), "() FROM PUBLIC"));
	assert_null(strstr(buf_cstr(&b), "TRUNCATE"));
	buf_free(&b);
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
	struct model *m = model_make("examples/loans/plain.yaml");
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
	struct model *m = model_make("examples/loans/plain.yaml");
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
	struct model *m = model_make("examples/loans/plain.yaml");
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
	struct model *m = model_make("examples/loans/plain.yaml");
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

/* cola + b_c is not cola_b + c. */
static void
refresh_names_differ(void **state)
{
	static struct model m;
	struct aggregate a = {0};
	struct name one, two;

	(void)state;
	snprintf(m.pipeline.s, sizeof m.pipeline.s, "cola");
	snprintf(a.name.s, sizeof a.name.s, "b_c");
	ddl_aggregate_refresh(&m, &a, &one);
	snprintf(m.pipeline.s, sizeof m.pipeline.s, "cola_b");
	snprintf(a.name.s, sizeof a.name.s, "c");
	ddl_aggregate_refresh(&m, &a, &two);
	assert_string_not_equal(one.s, two.s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(refresh_names_differ),
	    cmocka_unit_test(test_tables),
	    cmocka_unit_test(test_sealed_tables),
	    cmocka_unit_test(test_sealed_columns),
	    cmocka_unit_test(test_default_partition_names),
	    cmocka_unit_test(test_aggregates),
	    cmocka_unit_test(test_aggregate_by_calendar),
	    cmocka_unit_test(test_grants),
	    cmocka_unit_test(test_grants_stop),
	    cmocka_unit_test(test_login_names),
	    cmocka_unit_test(test_foreign_key_names),
	    cmocka_unit_test(test_members),
	    cmocka_unit_test(test_comments_are_quoted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
