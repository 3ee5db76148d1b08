/*
 * plan: what raw tables and aggregates there are, besides their tables: rows of admin_schema that
 * task works from, and the functions that build aggregates.
 */
#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "ddl_aggregate.h"
#include "owner.h"

enum { INTERVAL_BYTES = 32, DIGEST_HEX = 64 };

/* As PostgreSQL takes an interval. */
static void
interval_print(int64_t us, char out[static INTERVAL_BYTES])
{
	snprintf(out, INTERVAL_BYTES, "%lld microseconds", (long long)us);
}

/* Is that table of admin_schema there yet? Before the migration that makes it, it is not. */
static bool
bookkeeping_there(struct plan *p, const char *name, bool *there, struct err *e)
{
	const char *const params[] = {name, NULL};

	return plan_ask(p, "SELECT to_regclass('admin_schema.' || $1) IS NOT NULL", params, there,
			e);
}

static void
pipeline_id(const struct plan *p, struct buf *sql)
{
	buf_text(sql, "(SELECT id FROM admin_schema.pipeline WHERE name = ");
	pg_quote_text(sql, p->model->pipeline.s);
	buf_byte(sql, ')');
}

/* ---- raw events ---- */

static bool
raw_same(struct plan *p, const char *table, const char *keep, bool *same, struct err *e)
{
	const char *const params[] = {p->model->pipeline.s, table, keep, NULL};

	return plan_ask(p,
			"SELECT EXISTS (SELECT FROM admin_schema.raw_table r"
			" JOIN admin_schema.pipeline p ON p.id = r.pipeline"
			" WHERE p.name = $1 AND r.name = $2 AND r.keep = $3::interval)",
			params, same, e);
}

/* The days from today on are made at once, so that no row need wait for one. */
static void
raw_add(struct plan *p, const char *table, const char *keep)
{
	int64_t days = p->model->raw_keep_us / (INT64_C(86400) * 1000000);
	struct buf sql = {0};

	buf_text(&sql, "INSERT INTO admin_schema.raw_table (pipeline, name, keep) VALUES (");
	pipeline_id(p, &sql);
	buf_text(&sql, ", ");
	pg_quote_text(&sql, table);
	buf_text(&sql, ", ");
	pg_quote_text(&sql, keep);
	buf_text(&sql, ") ON CONFLICT (pipeline, name) DO UPDATE SET keep = excluded.keep;\n"
		       "SELECT admin_schema.raw_partitions(");
	pg_quote_text(&sql, p->model->pipeline.s);
	buf_byte(&sql, ')');
	plan_add(p, '+', &sql,
		 "raw events in development_schema.%s are kept %lld days, a partition each", table,
		 (long long)days);
}

bool
plan_raw(struct plan *p, struct err *e)
{
	char keep[INTERVAL_BYTES];
	bool there;

	if (!p->model->raw_warehouse)
		return true;
	if (!bookkeeping_there(p, "raw_table", &there, e))
		return false;
	interval_print(p->model->raw_keep_us, keep);
	for (unsigned i = 0; i < p->model->tables_n; i++) {
		const struct table *t = &p->model->tables[i];
		bool same = false;
		if (t->kind != TABLE_RAW)
			continue;
		if (there && !raw_same(p, t->name.s, keep, &same, e))
			return false;
		if (!same)
			raw_add(p, t->name.s, keep);
	}
	return true;
}

/* ---- aggregates ---- */

struct known {		    /* of an aggregate, in the database */
	bool row;	    /* admin_schema knows it */
	bool table, ours;   /* a table of that name is there; it is this pipeline's */
	bool same, in_time; /* made by the same SQL; built as often */
	char digest[DIGEST_HEX + 1];
};

static bool
table_look(struct plan *p, const struct aggregate *a, struct known *k, struct err *e)
{
	const char *const params[] = {a->name.s, NULL};
	char owner[NAME_BYTES_MAX + 1];
	struct pg_result *r;

	if (!owner_query(p->pg,
			 "SELECT coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_class c"
			 " WHERE c.relnamespace = to_regnamespace('data_visualization_schema')"
			 " AND c.relname = $1",
			 params, &r, e))
		return false;
	k->table = pg_rows(r) > 0;
	k->ours = k->table && plan_comment_pipeline(pg_text(r, 0, 0), owner) &&
		  strcmp(owner, p->model->pipeline.s) == 0;
	pg_result_free(r);
	return true;
}

static bool
row_look(struct plan *p, const struct aggregate *a, const char *every, struct known *k,
	 struct err *e)
{
	const char *const params[] = {p->model->pipeline.s, a->name.s, k->digest, every, NULL};
	struct pg_result *r;

	if (!owner_query(
		p->pg,
		"SELECT a.digest = decode($3, 'hex'), a.every = $4::interval"
		" FROM admin_schema.aggregate a JOIN admin_schema.pipeline p ON p.id = a.pipeline"
		" WHERE p.name = $1 AND a.name = $2",
		params, &r, e))
		return false;
	k->row = pg_rows(r) > 0;
	k->same = k->row && *pg_text(r, 0, 0) == 't';
	k->in_time = k->row && *pg_text(r, 0, 1) == 't';
	pg_result_free(r);
	return true;
}

static bool
digest_make(struct plan *p, const char *script, struct known *k, struct err *e)
{
	const char *const params[] = {script, NULL};
	struct pg_result *r;

	if (!owner_query(p->pg, "SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')", params, &r,
			 e))
		return false;
	snprintf(k->digest, sizeof k->digest, "%s", pg_text(r, 0, 0));
	pg_result_free(r);
	return true;
}

static void
row_write(struct plan *p, const struct aggregate *a, const char *every, const struct known *k,
	  struct buf *sql)
{
	struct name refresh;

	ddl_aggregate_refresh(p->model, a, &refresh);
	buf_text(sql,
		 "INSERT INTO admin_schema.aggregate (pipeline, name, fact, refresh, digest, every)"
		 " VALUES (");
	pipeline_id(p, sql);
	const char *const values[] = {a->name.s, p->model->tables[a->table].name.s, refresh.s};
	for (unsigned i = 0; i < sizeof values / sizeof values[0]; i++) {
		buf_text(sql, ", ");
		pg_quote_text(sql, values[i]);
	}
	buf_printf(sql, ", decode('%s', 'hex'), ", k->digest);
	pg_quote_text(sql, every);
	buf_text(sql, ") ON CONFLICT (pipeline, name) DO UPDATE SET fact = excluded.fact, refresh ="
		      " excluded.refresh, digest = excluded.digest, every = excluded.every");
	if (!k->same || !k->table)
		buf_text(sql, ", built_at = NULL, rows = NULL");
}

/* It holds nothing that could not be built again, so another definition is another table. */
static void
aggregate_make(struct plan *p, const struct aggregate *a, const char *every, const struct known *k,
	       struct buf *script)
{
	struct buf sql = {0};

	if (k->table) {
		buf_text(&sql, "DROP TABLE ");
		ddl_aggregate_name(a, &sql);
		buf_text(&sql, ";\n");
	}
	buf_add(&sql, script->data, script->len);
	row_write(p, a, every, k, &sql);
	plan_add(p, k->table ? '~' : '+', &sql,
		 "aggregate data_visualization_schema.%s of %s (at least %u subjects a row)%s",
		 a->name.s, p->model->tables[a->table].name.s, a->k,
		 k->table ? ": it is defined anew, and empty until it is built" : "");
}

static bool
aggregate_plan(struct plan *p, const struct aggregate *a, bool rows, struct err *e)
{
	struct buf script = {0}, sql = {0};
	struct known k = {0};
	char every[INTERVAL_BYTES];

	interval_print(a->every_us, every);
	ddl_aggregate_script(p->model, a, &script);
	bool good = digest_make(p, buf_cstr(&script), &k, e) && table_look(p, a, &k, e) &&
		    (!rows || row_look(p, a, every, &k, e));
	if (good && k.table && !k.ours) {
		plan_add_kind(
		    p, CHANGE_REFUSED, '!', NULL,
		    "data_visualization_schema.%s is there and is not of this pipeline; give "
		    "the aggregate another name",
		    a->name.s);
	} else if (good && (!k.table || !k.same)) {
		aggregate_make(p, a, every, &k, &script);
	} else if (good && !k.in_time) {
		row_write(p, a, every, &k, &sql);
		plan_add(p, '~', &sql, "aggregate %s is built at another interval", a->name.s);
	}
	buf_free(&script);
	return good;
}

static bool
aggregate_wanted(const struct model *m, const char *name)
{
	for (unsigned i = 0; i < m->aggregates_n; i++)
		if (!strcmp(m->aggregates[i].name.s, name))
			return true;
	return false;
}

static void
aggregate_drop(struct plan *p, const char *name, const char *refresh)
{
	struct buf sql = {0};

	if (!plan_allowed(p, name, NULL)) {
		plan_add_kind(
		    p, CHANGE_NOTE, 'i', NULL,
		    "aggregate %s is not in the pipeline file; it stays, and is still built "
		    "(to drop it: --allow-destructive %s)",
		    name, name);
		return;
	}
	buf_text(&sql, "DROP TABLE IF EXISTS data_visualization_schema.");
	pg_quote_name(&sql, name);
	buf_text(&sql, ";\nDROP FUNCTION IF EXISTS admin_schema.");
	pg_quote_name(&sql, refresh);
	buf_text(&sql, "();\nDELETE FROM admin_schema.aggregate WHERE pipeline = ");
	pipeline_id(p, &sql);
	buf_text(&sql, " AND name = ");
	pg_quote_text(&sql, name);
	plan_add(p, '-', &sql, "aggregate %s", name);
}

static bool
aggregates_left(struct plan *p, struct err *e)
{
	const char *const params[] = {p->model->pipeline.s, NULL};
	struct pg_result *r;

	if (!owner_query(p->pg,
			 "SELECT a.name, a.refresh FROM admin_schema.aggregate a"
			 " JOIN admin_schema.pipeline p ON p.id = a.pipeline WHERE p.name = $1"
			 " ORDER BY a.name",
			 params, &r, e))
		return false;
	for (unsigned i = 0; i < pg_rows(r); i++)
		if (!aggregate_wanted(p->model, pg_text(r, i, 0)))
			aggregate_drop(p, pg_text(r, i, 0), pg_text(r, i, 1));
	pg_result_free(r);
	return true;
}

bool
plan_aggregates(struct plan *p, struct err *e)
{
	bool rows;

	if (!bookkeeping_there(p, "aggregate", &rows, e))
		return false;
	for (unsigned i = 0; i < p->model->aggregates_n; i++)
		if (!aggregate_plan(p, &p->model->aggregates[i], rows, e))
			return false;
	return !rows || aggregates_left(p, e);
}
