#include "rows.h"

#include "log.h"

struct list {
	struct row_column *columns;
	unsigned n;
	unsigned values;
};

/* Columns that the frame carries apart from the values, or that load fills in by itself. */
static bool
sent_as_value(enum row_column_role role)
{
	return role != ROW_RID && role != ROW_SID && role != ROW_VERSION_RID &&
	       role != ROW_MISSING && role != ROW_LOADED_AT && role != ROW_BATCH;
}

static void
add(struct list *l, enum row_column_role role, unsigned of, const char *name, enum value_type type,
    const char *comment)
{
	check(l->n < ROW_COLUMNS_MAX);
	l->columns[l->n++] = (struct row_column){
	    .role = role,
	    .of = of,
	    .name = name,
	    .type = type,
	    .comment = comment,
	    .volatile_ = role == ROW_REVISION || role == ROW_LOADED_AT || role == ROW_BATCH,
	    .value = sent_as_value(role) ? (int)l->values++ : -1,
	};
}

static void
add_declared(struct list *l, const struct table *t)
{
	for (unsigned i = 0; i < t->columns_n; i++)
		add(l, ROW_COLUMN, i, t->columns[i].name.s, t->columns[i].type,
		    t->columns[i].comment);
	for (unsigned i = 0; i < t->references_n; i++)
		add(l, ROW_REFERENCE, i, t->references[i].column.s, VALUE_INTEGER, NULL);
}

static void
add_loaded(struct list *l)
{
	add(l, ROW_LOADED_AT, 0, "loaded_at", VALUE_TIMESTAMP, NULL);
	add(l, ROW_BATCH, 0, "batch", VALUE_INTEGER, NULL);
}

static void
process_columns(struct list *l, const struct model *m, const struct table *t)
{
	add(l, ROW_KEY, 0, t->key.s, m->key_type, NULL);
	add_declared(l, t);
	add(l, ROW_STATUS, 0, "status", VALUE_TEXT, NULL);
	add(l, ROW_MISSING, 0, "missing", VALUE_NULL, NULL);
	add(l, ROW_FIRST_EVENT_AT, 0, "first_event_at", VALUE_TIMESTAMP, NULL);
	add(l, ROW_CLOSED_AT, 0, "closed_at", VALUE_TIMESTAMP, NULL);
	add(l, ROW_EVENTS, 0, "events", VALUE_INTEGER, NULL);
	add(l, ROW_REVISION, 0, "revision", VALUE_INTEGER, NULL);
	add_loaded(l);
}

static void
transaction_columns(struct list *l, const struct model *m, const struct table *t)
{
	add(l, ROW_RID, 0, "rid", VALUE_NULL, NULL);
	add(l, ROW_KEY, 0, t->key.s, m->key_type, NULL);
	add(l, ROW_EVENT_AT, 0, "event_at", VALUE_TIMESTAMP, NULL);
	add_declared(l, t);
	add_loaded(l);
}

static void
dimension_columns(struct list *l, const struct table *t)
{
	add(l, ROW_SURROGATE, 0, t->surrogate.s, VALUE_INTEGER, NULL);
	add(l, ROW_NATURAL, 0, t->key.s, t->key_type, NULL);
	add_declared(l, t);
	add(l, ROW_INFERRED, 0, "inferred", VALUE_BOOLEAN, NULL);
	add(l, ROW_VERSION_AT, 0, "version_at", VALUE_TIMESTAMP, NULL);
	add(l, ROW_VERSION_RID, 0, "version_rid", VALUE_NULL, NULL);
	add_loaded(l);
}

static void
raw_columns(struct list *l, const struct table *t)
{
	add(l, ROW_RID, 0, "rid", VALUE_NULL, NULL);
	add(l, ROW_EVENT_AT, 0, "event_at", VALUE_TIMESTAMP, NULL);
	add(l, ROW_SID, 0, "sid", VALUE_NULL, NULL);
	add_declared(l, t);
	add_loaded(l);
}

static void
sealed_columns(struct list *l, const struct model *m, const struct table *t)
{
	add(l, ROW_KEY, 0, t->key.s, m->key_type, NULL);
	add_declared(l, t);
	add(l, ROW_REVISION, 0, "revision", VALUE_INTEGER, NULL);
	add_loaded(l);
}

unsigned
row_columns(const struct model *m, unsigned table, struct row_column *columns, unsigned *values_n)
{
	const struct table *t = &m->tables[table];
	struct list l = {.columns = columns};

	switch (t->kind) {
	case TABLE_FACT:
		if (t->grain == GRAIN_PROCESS)
			process_columns(&l, m, t);
		else
			transaction_columns(&l, m, t);
		break;
	case TABLE_DIMENSION:
		dimension_columns(&l, t);
		break;
	case TABLE_RAW:
		raw_columns(&l, t);
		break;
	case TABLE_SEALED_PROCESS:
		sealed_columns(&l, m, t);
		break;
	case TABLE_CALENDAR: /* its key and its day; the rest is ddl_calendar.c's */
		add(&l, ROW_SURROGATE, 0, t->surrogate.s, VALUE_INTEGER, NULL);
		add(&l, ROW_NATURAL, 0, t->key.s, VALUE_DATE, NULL);
		break;
	}
	*values_n = t->kind == TABLE_CALENDAR ? 0 : l.values;
	return l.n;
}
