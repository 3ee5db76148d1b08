/* plan: tables, columns, foreign keys, comments; then special members and calendars; then grants.
 */
#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "owner.h"

/* Columns of plan.columns. */
enum { AT_TABLE, AT_COLUMN, AT_TYPE, AT_COMMENT, AT_KEY, AT_SCHEMA };

/* Columns of plan.comments. */
enum { OF_TABLE, OF_COMMENT, OF_SCHEMA };

/* Days of raw events are partitions, which are not planned one by one. */
#define OURS                                                                                       \
	" WHERE n.nspname IN ('analytical_schema', 'development_schema')"                          \
	" AND c.relkind IN ('r', 'p') AND NOT c.relispartition"

static bool
catalogue_read(struct plan *p, struct err *e)
{
	return pg_exec(p->pg,
		       "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod),"
		       " coalesce(col_description(c.oid, a.attnum), ''),"
		       " coalesce(a.attnum = ANY (i.indkey), false), n.nspname"
		       " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
		       " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT "
		       "a.attisdropped"
		       " LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary" OURS
		       " ORDER BY n.nspname, c.relname, a.attnum",
		       &p->columns, e) &&
	       pg_exec(p->pg,
		       "SELECT c.relname, coalesce(obj_description(c.oid, 'pg_class'), ''), "
		       "n.nspname"
		       " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace" OURS,
		       &p->comments, e);
}

static const char *
schema_of(const struct table *t)
{
	return ddl_schemas[ddl_table_schema(t)].name;
}

/* The table's comment, NULL when there is no such table. */
static const char *
table_there(const struct plan *p, const struct table *t)
{
	for (unsigned i = 0; i < pg_rows(p->comments); i++)
		if (!strcmp(pg_text(p->comments, i, OF_TABLE), t->name.s) &&
		    !strcmp(pg_text(p->comments, i, OF_SCHEMA), schema_of(t)))
			return pg_text(p->comments, i, OF_COMMENT);
	return NULL;
}

/* Is row i of plan.columns a column of that table? */
static bool
column_of(const struct plan *p, unsigned i, const struct table *t)
{
	return !strcmp(pg_text(p->columns, i, AT_TABLE), t->name.s) &&
	       !strcmp(pg_text(p->columns, i, AT_SCHEMA), schema_of(t));
}

static int
column_there(const struct plan *p, const struct table *t, const char *column)
{
	for (unsigned i = 0; i < pg_rows(p->columns); i++)
		if (column_of(p, i, t) && !strcmp(pg_text(p->columns, i, AT_COLUMN), column))
			return (int)i;
	return -1;
}

bool
plan_comment_pipeline(const char *comment, char name[NAME_BYTES_MAX + 1])
{
	static const char tail[] = "[weir pipeline=";
	const char *at = strstr(comment, tail);

	if (!at)
		return false;
	at += sizeof tail - 1;
	snprintf(name, NAME_BYTES_MAX + 1, "%.*s", (int)strcspn(at, " ]"), at);
	return true;
}

/* ---- comments ---- */

static void
comment_plan(struct plan *p, const char *kind, const char *object, struct buf *text,
	     const char *was, const char *words)
{
	struct buf sql = {0};

	if (!strcmp(was, buf_cstr(text)))
		return;
	ddl_comment_on(kind, object, buf_cstr(text), &sql);
	plan_add(p, '~', &sql, "comment of %s", words);
}

static void
comments_plan(struct plan *p, unsigned table)
{
	const struct table *t = &p->model->tables[table];
	struct ddl_column columns[DDL_COLUMNS_MAX];
	unsigned n = ddl_columns(p->model, table, columns);
	struct buf object = {0}, text = {0};
	char words[2 * NAME_BYTES_MAX + 2];

	ddl_table_name(p->model, table, &object);
	ddl_table_comment(p->model, table, &text);
	comment_plan(p, "TABLE", buf_cstr(&object), &text, table_there(p, t), t->name.s);
	size_t base = object.len;
	for (unsigned i = 0; i < n; i++) {
		int at = column_there(p, t, columns[i].name);
		object.len = base;
		buf_byte(&object, '.');
		pg_quote_name(&object, columns[i].name);
		buf_clear(&text);
		ddl_column_comment(&columns[i], &text);
		snprintf(words, sizeof words, "%s.%s", t->name.s, columns[i].name);
		comment_plan(p, "COLUMN", buf_cstr(&object), &text,
			     at < 0 ? "" : pg_text(p->columns, (unsigned)at, AT_COMMENT), words);
	}
	buf_free(&object);
	buf_free(&text);
}

/* ---- a new table ---- */

static void
table_create(struct plan *p, unsigned table)
{
	const struct table *t = &p->model->tables[table];
	static const char *const kinds[] = {"fact", "dimension", "calendar", "raw events",
					    "sealed folds"};
	struct ddl_column columns[DDL_COLUMNS_MAX];
	unsigned n = ddl_columns(p->model, table, columns);
	struct buf sql = {0};

	ddl_create_table(p->model, table, &sql);
	/* Its comments belong to it and are not worth lines of their own. */
	buf_text(&sql, ";\n");
	ddl_after_create(p->model, table, &sql);
	ddl_comments(p->model, table, &sql);
	plan_add(p, '+', &sql, "table %s.%s (%s, %u columns)", schema_of(t), t->name.s,
		 kinds[t->kind], n);
}

/* ---- an existing table ---- */

static void
column_add(struct plan *p, unsigned table, const struct ddl_column *c)
{
	const struct table *t = &p->model->tables[table];
	struct buf sql = {0};

	if (c->key) {
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "%s: its key would become %s, and a key cannot change; name the key "
			      "as it was, or "
			      "give the table another name",
			      t->name.s, c->name);
		return;
	}
	ddl_add_column(p->model, table, c, &sql);
	plan_add(p, '+', &sql, "column %s.%s %s (null in the rows that are there)", t->name.s,
		 c->name, c->type);
}

static void
column_retype(struct plan *p, unsigned table, const struct ddl_column *c, const char *was)
{
	const struct table *t = &p->model->tables[table];
	struct buf sql = {0};

	if (!plan_allowed(p, t->name.s, c->name)) {
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "column %s.%s is %s and would become %s: a destructive change; add "
			      "another column "
			      "instead, or allow it with --allow-destructive %s.%s",
			      t->name.s, c->name, was, c->type, t->name.s, c->name);
		return;
	}
	buf_text(&sql, "ALTER TABLE ");
	ddl_table_name(p->model, table, &sql);
	buf_text(&sql, " ALTER COLUMN ");
	pg_quote_name(&sql, c->name);
	buf_printf(&sql, " TYPE %s USING ", c->type);
	pg_quote_name(&sql, c->name);
	buf_printf(&sql, "::%s", c->type);
	plan_add(p, '~', &sql, "column %s.%s: %s becomes %s", t->name.s, c->name, was, c->type);
}

static void
column_drop(struct plan *p, unsigned table, const char *name)
{
	const struct table *t = &p->model->tables[table];
	struct buf sql = {0};

	if (!plan_allowed(p, t->name.s, name)) {
		plan_add_kind(
		    p, CHANGE_NOTE, 'i', NULL,
		    "column %s.%s is not in the pipeline file; it stays as it is (to drop it: "
		    "--allow-destructive %s.%s)",
		    t->name.s, name, t->name.s, name);
		return;
	}
	buf_text(&sql, "ALTER TABLE ");
	ddl_table_name(p->model, table, &sql);
	buf_text(&sql, " DROP COLUMN ");
	pg_quote_name(&sql, name);
	plan_add(p, '-', &sql, "column %s.%s", t->name.s, name);
}

static bool
column_wanted(const struct ddl_column *columns, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(columns[i].name, name))
			return true;
	return false;
}

static void
table_alter(struct plan *p, unsigned table)
{
	const struct table *t = &p->model->tables[table];
	const char *name = t->name.s;
	struct ddl_column columns[DDL_COLUMNS_MAX];
	unsigned n = ddl_columns(p->model, table, columns);

	for (unsigned i = 0; i < n; i++) {
		int at = column_there(p, t, columns[i].name);
		if (at < 0) {
			column_add(p, table, &columns[i]);
			continue;
		}
		const char *was = pg_text(p->columns, (unsigned)at, AT_TYPE);
		if (strcmp(was, columns[i].type))
			column_retype(p, table, &columns[i], was);
		if ((*pg_text(p->columns, (unsigned)at, AT_KEY) == 't') != columns[i].key)
			plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
				      "%s: its primary key is another one than the pipeline file's "
				      "(column %s), and "
				      "a key cannot change; give the table another name",
				      name, columns[i].name);
	}
	for (unsigned i = 0; i < pg_rows(p->columns); i++)
		if (column_of(p, i, t) &&
		    !column_wanted(columns, n, pg_text(p->columns, i, AT_COLUMN)))
			column_drop(p, table, pg_text(p->columns, i, AT_COLUMN));
	comments_plan(p, table);
}

/* A table of that name is there: is it ours? A calendar has the same rows for everyone. */
static bool
table_ours(struct plan *p, const struct table *t, const char *comment)
{
	char owner[NAME_BYTES_MAX + 1];

	if (!plan_comment_pipeline(comment, owner)) {
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "table %s.%s is there and was not made by Weir; give "
			      "the table another "
			      "name in the pipeline file, or drop it",
			      schema_of(t), t->name.s);
		return false;
	}
	if (!strcmp(owner, p->model->pipeline.s))
		return true;
	if (ddl_table_schema(t) == SCHEMA_DEVELOPMENT)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "table %s.%s belongs to pipeline %s; this pipeline needs a database "
			      "of its own, or sources and folds that make no such table",
			      schema_of(t), t->name.s, owner);
	else if (t->kind != TABLE_CALENDAR)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "table analytical_schema.%s belongs to pipeline %s; give it another "
			      "name in this file",
			      t->name.s, owner);
	return false;
}

/* Is row i of plan.comments a table of the model? */
static bool
table_wanted(const struct plan *p, unsigned i)
{
	for (unsigned t = 0; t < p->model->tables_n; t++)
		if (!strcmp(pg_text(p->comments, i, OF_TABLE), p->model->tables[t].name.s) &&
		    !strcmp(pg_text(p->comments, i, OF_SCHEMA), schema_of(&p->model->tables[t])))
			return true;
	return false;
}

static void
tables_left(struct plan *p)
{
	for (unsigned i = 0; i < pg_rows(p->comments); i++) {
		const char *name = pg_text(p->comments, i, OF_TABLE);
		const char *schema = pg_text(p->comments, i, OF_SCHEMA);
		char owner[NAME_BYTES_MAX + 1];
		struct buf sql = {0};
		if (!plan_comment_pipeline(pg_text(p->comments, i, OF_COMMENT), owner) ||
		    strcmp(owner, p->model->pipeline.s) || table_wanted(p, i))
			continue;
		if (!plan_allowed(p, name, NULL)) {
			plan_add_kind(
			    p, CHANGE_NOTE, 'i', NULL,
			    "table %s is not in the pipeline file; it stays as it is (to drop it: "
			    "--allow-destructive %s)",
			    name, name);
			continue;
		}
		buf_printf(&sql, "DROP TABLE %s.", schema);
		pg_quote_name(&sql, name);
		plan_add(p, '-', &sql, "table %s.%s", schema, name);
	}
}

/* ---- foreign keys ---- */

static bool
foreign_key_plan(struct plan *p, unsigned table, unsigned r, struct err *e)
{
	const struct table *t = &p->model->tables[table];
	const struct table *to = &p->model->tables[t->references[r].table];
	const char *column = t->references[r].column.s;
	const char *const params[] = {t->name.s, column, to->name.s, NULL};
	struct buf sql = {0};
	bool there = false;

	if (!plan_ask(
		p,
		"SELECT EXISTS (SELECT FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
		" JOIN pg_class d ON d.oid = k.confrelid"
		" JOIN pg_attribute a ON a.attrelid = c.oid AND k.conkey = ARRAY[a.attnum]"
		" WHERE k.contype = 'f' AND c.relnamespace = to_regnamespace('analytical_schema')"
		" AND d.relnamespace = c.relnamespace"
		" AND c.relname = $1 AND a.attname = $2 AND d.relname = $3)",
		params, &there, e))
		return false;
	if (there)
		return true;
	ddl_foreign_key(p->model, table, r, &sql);
	plan_add(p, '+', &sql, "foreign key %s.%s to %s (%s)", t->name.s, column, to->name.s,
		 p->model->foreign_keys_enforced ? "enforced" : "declared");
	return true;
}

bool
plan_tables(struct plan *p, struct err *e)
{
	const struct model *m = p->model;

	if (!catalogue_read(p, e))
		return false;
	for (unsigned i = 0; i < m->tables_n; i++) {
		const char *comment = table_there(p, &m->tables[i]);
		if (!comment)
			table_create(p, i);
		else if (table_ours(p, &m->tables[i], comment))
			table_alter(p, i);
	}
	for (unsigned i = 0; i < m->tables_n; i++)
		for (unsigned r = 0; r < m->tables[i].references_n; r++)
			if (!foreign_key_plan(p, i, r, e))
				return false;
	tables_left(p);
	return plan_raw(p, e) && plan_aggregates(p, e);
}

/* ---- special members and calendars ---- */

static bool
rows_there(struct plan *p, unsigned table, const char *condition, int64_t *n, struct err *e)
{
	struct buf sql = {0};
	struct pg_result *r;

	buf_text(&sql, "SELECT count(*) FROM ");
	ddl_table_name(p->model, table, &sql);
	buf_text(&sql, " WHERE ");
	pg_quote_name(&sql, p->model->tables[table].surrogate.s);
	buf_text(&sql, condition);
	bool good = pg_exec(p->pg, buf_cstr(&sql), &r, e);
	buf_free(&sql);
	if (good) {
		*n = pg_int(r, 0, 0);
		pg_result_free(r);
	}
	return good;
}

static bool
calendar_plan(struct plan *p, unsigned table, bool there, struct err *e)
{
	const struct table *t = &p->model->tables[table];
	int64_t have = 0, want = t->to_date - t->from_date + 1, year[2];
	unsigned month[2], day[2];
	char condition[96];
	struct buf sql = {0};

	date_to_civil(t->from_date, &year[0], &month[0], &day[0]);
	date_to_civil(t->to_date, &year[1], &month[1], &day[1]);
	snprintf(condition, sizeof condition, " BETWEEN %lld AND %lld",
		 (long long)(year[0] * 10000 + month[0] * 100 + day[0]),
		 (long long)(year[1] * 10000 + month[1] * 100 + day[1]));
	if (there && !rows_there(p, table, condition, &have, e))
		return false;
	if (have == want)
		return true;
	ddl_calendar_rows(p->model, table, &sql);
	plan_add(p, '+', &sql, "%lld days in %s", (long long)(want - have), t->name.s);
	return true;
}

bool
plan_rows(struct plan *p, struct err *e)
{
	for (unsigned i = 0; i < p->model->tables_n; i++) {
		const struct table *t = &p->model->tables[i];
		bool there = table_there(p, t) != NULL;
		int64_t have = 0;
		struct buf sql = {0};

		if (t->kind != TABLE_DIMENSION && t->kind != TABLE_CALENDAR)
			continue;
		if (p->refused && there && column_there(p, t, t->surrogate.s) < 0)
			continue; /* not such a table; that has been said */
		if (there && !rows_there(p, i, " IN (-1, -2)", &have, e))
			return false;
		if (have < 2) {
			ddl_members(p->model, i, &sql);
			plan_add(p, '+', &sql, "members unknown (-1) and invalid (-2) in %s",
				 t->name.s);
		}
		if (t->kind == TABLE_CALENDAR && !calendar_plan(p, i, there, e))
			return false;
	}
	return true;
}
