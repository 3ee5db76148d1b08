#include "ddl.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "pg.h"

const struct ddl_schema_row ddl_schemas[SCHEMA_MAX] = {
    [SCHEMA_ADMIN] = {"admin_schema",
		      "Weir's own bookkeeping: owners, positions, process state, dead letters"},
    [SCHEMA_ANALYTICAL] = {"analytical_schema", "Dimensions and facts, for data analysts"},
    [SCHEMA_DEVELOPMENT] = {"development_schema",
			    "Raw events with sealed fields, for data scientists"},
    [SCHEMA_VISUALIZATION] = {"data_visualization_schema",
			      "Aggregates, for business analysts and BI tools"},
    [SCHEMA_KEY] = {"key_schema", "Key envelopes, secrets of persons, signed policies, audit of "
				  "openings; by functions only"},
};

/* As format_type() prints them, so that the catalogue can be compared as text. */
static const char *const type_names[VALUE_TYPE_MAX] = {
    [VALUE_BOOLEAN] = "boolean", [VALUE_INTEGER] = "bigint",
    [VALUE_DECIMAL] = "numeric", [VALUE_FLOAT] = "double precision",
    [VALUE_DATE] = "date",	 [VALUE_TIMESTAMP] = "timestamp with time zone",
    [VALUE_TEXT] = "text",	 [VALUE_JSON] = "jsonb",
    [VALUE_SEALED] = "bytea",
};

/* ---- columns ---- */

/* What each role of a column is in SQL; type NULL: by the value's type. */
static const struct {
	const char *type, *constraint, *comment;
} role_sql[] = {
    [ROW_KEY] = {NULL, "NOT NULL", "The process: its correlation ID"},
    [ROW_RID] = {"uuid", "NOT NULL", "Identity of the event"},
    [ROW_EVENT_AT] = {NULL, "", "Time of the event; null where its source has none"},
    [ROW_COLUMN] = {NULL, "", NULL},
    [ROW_REFERENCE] = {"bigint", "NOT NULL DEFAULT -1", NULL},
    [ROW_STATUS] = {NULL, "NOT NULL", "open, complete or expired"},
    [ROW_MISSING] = {"text[]", "NOT NULL DEFAULT '{}'",
		     "Parts that the process lacks, or lacked when it expired"},
    [ROW_FIRST_EVENT_AT] = {NULL, "", "Time of the first event"},
    [ROW_CLOSED_AT] = {NULL, "",
		       "Complete: time of its newest event. Expired: when it was due. Open: null"},
    [ROW_EVENTS] = {NULL, "NOT NULL", "Events folded"},
    [ROW_REVISION] = {NULL, "NOT NULL",
		      "Rises with every event and change of status; the greatest wins"},
    [ROW_SURROGATE] = {"bigint", "NOT NULL",
		       "Keyed hash of the natural key; -1 unknown, -2 invalid"},
    [ROW_NATURAL] = {NULL, "", "Natural key"},
    [ROW_INFERRED] = {NULL, "NOT NULL DEFAULT false", "Known from a reference only"},
    [ROW_VERSION_AT] = {NULL, "", "Time of the event that described it last"},
    [ROW_VERSION_RID] = {"uuid", "", "Identity of that event"},
    [ROW_SID] = {"bytea", "", "The person: a keyed pseudonym; null where the event has none"},
    [ROW_LOADED_AT] = {NULL, "NOT NULL DEFAULT now()", "When the row was written"},
    [ROW_BATCH] = {NULL, "NOT NULL DEFAULT 0", "The batch that wrote the row; 0: weir apply"},
};

static void
column_type(const struct table *t, const struct row_column *r, char type[DDL_TYPE_BYTES])
{
	const char *name = role_sql[r->role].type;

	check(name || (r->type > VALUE_NULL && r->type < VALUE_TYPE_MAX));
	if (r->role == ROW_COLUMN && r->type == VALUE_DECIMAL && t->columns[r->of].decimal_scale)
		snprintf(type, DDL_TYPE_BYTES, "numeric(%d,%u)", DECIMAL_DIGITS_MAX,
			 t->columns[r->of].decimal_scale);
	else
		snprintf(type, DDL_TYPE_BYTES, "%s", name ? name : type_names[r->type]);
}

static bool
column_is_key(const struct table *t, enum row_column_role role)
{
	switch (role) {
	case ROW_KEY:
		return t->grain == GRAIN_PROCESS;
	case ROW_RID:
		return t->unique;
	case ROW_SURROGATE:
		return true;
	default:
		return false;
	}
}

unsigned ddl_calendar_columns(const struct table *t, struct ddl_column *columns);

unsigned
ddl_columns(const struct model *m, unsigned table, struct ddl_column *columns)
{
	const struct table *t = &m->tables[table];
	struct row_column rows[ROW_COLUMNS_MAX];
	unsigned values_n, n;

	if (t->kind == TABLE_CALENDAR)
		return ddl_calendar_columns(t, columns);
	n = row_columns(m, table, rows, &values_n);
	for (unsigned i = 0; i < n; i++) {
		const struct row_column *r = &rows[i];
		struct ddl_column *c = &columns[i];
		*c = (struct ddl_column){.name = r->name,
					 .constraint = role_sql[r->role].constraint,
					 .comment =
					     r->comment ? r->comment : role_sql[r->role].comment,
					 .volatile_ = r->volatile_,
					 .key = column_is_key(t, r->role)};
		if (r->role == ROW_REFERENCE)
			c->refers = m->tables[t->references[r->of].table].name.s;
		if (r->role == ROW_COLUMN)
			c->source = t->columns[r->of].source;
		column_type(t, r, c->type);
	}
	return n;
}

/* ---- tables ---- */

enum ddl_schema
ddl_table_schema(const struct table *t)
{
	return t->kind == TABLE_RAW || t->kind == TABLE_SEALED_PROCESS ? SCHEMA_DEVELOPMENT
								       : SCHEMA_ANALYTICAL;
}

void
ddl_table_name(const struct model *m, unsigned table, struct buf *out)
{
	pg_quote_name(out, ddl_schemas[ddl_table_schema(&m->tables[table])].name);
	buf_byte(out, '.');
	pg_quote_name(out, m->tables[table].name.s);
}

static void
column_write(const struct ddl_column *c, struct buf *out)
{
	pg_quote_name(out, c->name);
	buf_printf(out, " %s%s%s", c->type, *c->constraint ? " " : "", c->constraint);
}

static void
key_write(const struct ddl_column *columns, unsigned n, struct buf *out)
{
	unsigned keys = 0;

	for (unsigned i = 0; i < n; i++)
		if (columns[i].key) {
			buf_text(out, keys++ ? ", " : ",\n\tPRIMARY KEY (");
			pg_quote_name(out, columns[i].name);
		}
	buf_text(out, keys ? ")" : "");
}

void
ddl_create_table(const struct model *m, unsigned table, struct buf *out)
{
	struct ddl_column columns[DDL_COLUMNS_MAX];
	unsigned n = ddl_columns(m, table, columns);

	buf_text(out, "CREATE TABLE ");
	ddl_table_name(m, table, out);
	buf_text(out, " (");
	for (unsigned i = 0; i < n; i++) {
		buf_text(out, i ? ",\n\t" : "\n\t");
		column_write(&columns[i], out);
	}
	key_write(columns, n, out);
	buf_text(out, "\n)");
	const struct table *t = &m->tables[table];
	bool process = t->kind == TABLE_FACT || t->kind == TABLE_SEALED_PROCESS;
	if (t->kind == TABLE_RAW)
		buf_text(out, " PARTITION BY RANGE (\"loaded_at\")");
	/* A process' row is written again as its events arrive: room for it on its own page. */
	else if (process && t->grain == GRAIN_PROCESS)
		buf_text(out, " WITH (fillfactor = 80)");
}

/* A long name is cut, and told apart from others that begin in the same way. */
static void
default_partition_name(const struct table *t, struct buf *out)
{
	enum { WHOLE_MAX = 54, KEPT = 45 };
	char name[NAME_BYTES_MAX + 1];
	uint32_t h = 2166136261u;

	for (const char *c = t->name.s; *c; c++)
		h = (h ^ (uint8_t)*c) * 16777619u;
	if (strlen(t->name.s) <= WHOLE_MAX)
		snprintf(name, sizeof name, "%.*s_default", WHOLE_MAX, t->name.s);
	else
		snprintf(name, sizeof name, "%.*s_%08x_default", KEPT, t->name.s, h);
	pg_quote_name(out, ddl_schemas[SCHEMA_DEVELOPMENT].name);
	buf_byte(out, '.');
	pg_quote_name(out, name);
}

void
ddl_after_create(const struct model *m, unsigned table, struct buf *out)
{
	const struct table *t = &m->tables[table];

	if (t->kind != TABLE_RAW)
		return;
	buf_text(out, "CREATE TABLE ");
	default_partition_name(t, out);
	buf_text(out, " PARTITION OF ");
	ddl_table_name(m, table, out);
	buf_text(out, " DEFAULT;\nCREATE INDEX ON ");
	ddl_table_name(m, table, out);
	buf_text(out, " (\"sid\") WHERE \"sid\" IS NOT NULL;\n");
	/* Events come about in the order of their times: a summary of pages does, for little. */
	buf_text(out, "CREATE INDEX ON ");
	ddl_table_name(m, table, out);
	buf_text(out, " USING brin (\"event_at\");\n");
}

void
ddl_add_column(const struct model *m, unsigned table, const struct ddl_column *c, struct buf *out)
{
	buf_text(out, "ALTER TABLE ");
	ddl_table_name(m, table, out);
	buf_text(out, " ADD COLUMN ");
	column_write(c, out);
}

/* ---- comments ---- */

void
ddl_table_comment(const struct model *m, unsigned table, struct buf *text)
{
	const struct table *t = &m->tables[table];
	struct ddl_column columns[DDL_COLUMNS_MAX];
	unsigned n = ddl_columns(m, table, columns);
	const char *between = " volatile=";

	if (t->comment && *t->comment)
		buf_printf(text, "%s ", t->comment);
	buf_printf(text, "[weir pipeline=%s", m->pipeline.s);
	for (unsigned i = 0; i < n; i++)
		if (columns[i].volatile_) {
			buf_printf(text, "%s%s", between, columns[i].name);
			between = ",";
		}
	buf_byte(text, ']');
}

void
ddl_column_comment(const struct ddl_column *c, struct buf *text)
{
	if (c->comment)
		buf_text(text, c->comment);
	else if (c->refers)
		buf_printf(text, "Member of %s; -1 unknown, -2 invalid", c->refers);
	else if (c->source)
		buf_printf(text, "= %s", c->source);
	if (c->volatile_)
		buf_text(text, text->len ? " [volatile]" : "[volatile]");
}

void
ddl_comment_on(const char *kind, const char *object, const char *text, struct buf *out)
{
	buf_printf(out, "COMMENT ON %s %s IS ", kind, object);
	pg_quote_text(out, text);
}

/* ---- foreign keys ---- */

void
ddl_foreign_key_name(const struct model *m, unsigned table, unsigned r, struct name *out)
{
	const struct table *t = &m->tables[table];
	const char *column = t->references[r].column.s;

	/* The column tells them apart, so it is the table's name that is cut. */
	int room = NAME_BYTES_MAX - (int)strlen(column) - (int)strlen("__fk");
	struct buf b = {0};
	buf_printf(&b, "%.*s_%s_fk", room > 0 ? room : 0, t->name.s, column);
	size_t n = b.len < NAME_BYTES_MAX ? b.len : NAME_BYTES_MAX;
	memcpy(out->s, b.data, n);
	out->s[n] = 0;
	buf_free(&b);
}

void
ddl_foreign_key(const struct model *m, unsigned table, unsigned r, struct buf *out)
{
	const struct reference *ref = &m->tables[table].references[r];
	struct name name;

	ddl_foreign_key_name(m, table, r, &name);
	buf_text(out, "ALTER TABLE ");
	ddl_table_name(m, table, out);
	buf_text(out, " ADD CONSTRAINT ");
	pg_quote_name(out, name.s);
	buf_text(out, " FOREIGN KEY (");
	pg_quote_name(out, ref->column.s);
	buf_text(out, ") REFERENCES ");
	ddl_table_name(m, (unsigned)ref->table, out);
	buf_text(out, " (");
	pg_quote_name(out, m->tables[ref->table].surrogate.s);
	buf_text(out, m->foreign_keys_enforced ? ")" : ") NOT VALID");
}

/* ---- special members ---- */

/* A label where the natural key is a text; elsewhere no value could not be a real one. */
static void
member_write(const struct table *t, int key, const char *label, struct buf *out)
{
	buf_printf(out, "(%d, ", key);
	if (t->kind == TABLE_DIMENSION && t->key_type == VALUE_TEXT)
		pg_quote_text(out, label);
	else
		buf_text(out, "NULL");
	buf_byte(out, ')');
}

void
ddl_members(const struct model *m, unsigned table, struct buf *out)
{
	const struct table *t = &m->tables[table];

	buf_text(out, "INSERT INTO ");
	ddl_table_name(m, table, out);
	buf_text(out, " (");
	pg_quote_name(out, t->surrogate.s);
	buf_text(out, ", ");
	pg_quote_name(out, t->key.s);
	buf_text(out, ") VALUES ");
	member_write(t, MEMBER_UNKNOWN, "(unknown)", out);
	buf_text(out, ", ");
	member_write(t, MEMBER_INVALID, "(invalid)", out);
	buf_text(out, " ON CONFLICT DO NOTHING");
}

/* ---- the whole of a table ---- */

void
ddl_comments(const struct model *m, unsigned table, struct buf *out)
{
	struct ddl_column columns[DDL_COLUMNS_MAX];
	unsigned n = ddl_columns(m, table, columns);
	struct buf object = {0}, text = {0};

	ddl_table_name(m, table, &object);
	ddl_table_comment(m, table, &text);
	ddl_comment_on("TABLE", buf_cstr(&object), buf_cstr(&text), out);
	buf_text(out, ";\n");
	size_t base = object.len;
	for (unsigned i = 0; i < n; i++) {
		buf_clear(&text);
		ddl_column_comment(&columns[i], &text);
		if (!text.len)
			continue;
		object.len = base;
		buf_byte(&object, '.');
		pg_quote_name(&object, columns[i].name);
		ddl_comment_on("COLUMN", buf_cstr(&object), buf_cstr(&text), out);
		buf_text(out, ";\n");
	}
	buf_free(&object);
	buf_free(&text);
}

void
ddl_script(const struct model *m, unsigned table, struct buf *out)
{
	const struct table *t = &m->tables[table];

	ddl_create_table(m, table, out);
	buf_text(out, ";\n");
	ddl_after_create(m, table, out);
	ddl_comments(m, table, out);
	for (unsigned r = 0; r < t->references_n; r++) {
		ddl_foreign_key(m, table, r, out);
		buf_text(out, ";\n");
	}
	if (t->kind != TABLE_DIMENSION && t->kind != TABLE_CALENDAR)
		return;
	ddl_members(m, table, out);
	buf_text(out, ";\n");
	if (t->kind == TABLE_CALENDAR) {
		ddl_calendar_rows(m, table, out);
		buf_text(out, ";\n");
	}
}
