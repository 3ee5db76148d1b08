#include "origin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

static const char raw_prefix[] = "raw_";

struct origin_column {
	char raw[NAME_BYTES_MAX + 1], name[NAME_BYTES_MAX + 1]; /* of a raw table: source, column */
	char *others;		     /* its sealed columns, ",a,b,"; owned */
	const struct source *source; /* NULL: the model has it no more */
	const struct field *field;   /* the one of the column's name; NULL: none has it */
	const struct fold *fold;     /* of the sealed process */
	int rid;		     /* the result's column with the row's rid; -1: none */
};

struct origin {
	const struct model *m;
	const struct policy *policy;
	struct origin_column *columns;
	unsigned n;
};

/* Columns of the catalogue in question: "(16384,3),(16384,5)". */
static bool
wanted_columns(const struct pg_result *r, struct buf *out)
{
	for (unsigned i = 0; i < pg_columns(r); i++)
		if (pg_column_table(r, i))
			buf_printf(out, "%s(%u::oid,%d)", out->len ? "," : "",
				   pg_column_table(r, i), pg_column_of(r, i));
	return out->len > 0;
}

static bool
catalogue_ask(struct pg *pg, const char *wanted, struct pg_result **out, struct err *e)
{
	struct buf sql = {0};

	/* A partition stands for its table. */
	buf_printf(
	    &sql,
	    "SELECT a.attrelid::bigint, a.attnum, a.attname, coalesce(p.relname, c.relname), "
	    "(SELECT ',' || string_agg(b.attname, ',') || ',' FROM pg_catalog.pg_attribute "
	    "b WHERE b.attrelid = c.oid AND b.atttypid = 'pg_catalog.bytea'::regtype) "
	    "FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = "
	    "a.attrelid LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid LEFT JOIN "
	    "pg_catalog.pg_class p ON p.oid = i.inhparent WHERE c.relnamespace = "
	    "pg_catalog.to_regnamespace('development_schema') AND (a.attrelid, a.attnum) IN "
	    "(%s)",
	    wanted);
	bool good = pg_query(pg, buf_cstr(&sql), NULL, 0, false, out, e);
	buf_free(&sql);
	return good;
}

static const struct source *
source_find(const struct model *m, const char *name)
{
	for (unsigned i = 0; i < m->sources_n; i++)
		if (!strcmp(m->sources[i].name.s, name))
			return &m->sources[i];
	return NULL;
}

static const struct field *
field_find(const struct source *s, const char *name)
{
	for (unsigned i = 0; i < s->fields_n; i++)
		if (!strcmp(s->fields[i].name.s, name))
			return &s->fields[i];
	return NULL;
}

static const struct fold *
fold_find(const struct model *m, const char *name)
{
	for (unsigned i = 0; i < m->folds_n; i++)
		if (!strcmp(m->folds[i].name.s, name))
			return &m->folds[i];
	return NULL;
}

static void
column_set(const struct model *m, struct origin_column *c, const struct pg_result *found,
	   unsigned row)
{
	const char *column = pg_text(found, row, 2), *table = pg_text(found, row, 3);
	const char *others = pg_text(found, row, 4);

	if (!strncmp(table, raw_prefix, sizeof raw_prefix - 1)) {
		snprintf(c->raw, sizeof c->raw, "%s", table + sizeof raw_prefix - 1);
		snprintf(c->name, sizeof c->name, "%s", column);
		c->others = mem_string_n(others, strlen(others));
		c->source = source_find(m, c->raw);
		c->field = c->source ? field_find(c->source, column) : NULL;
	} else if (!strcmp(table, "process")) {
		c->fold = fold_find(m, column);
	}
}

/* The row of the catalogue that tells of a column; false: none does. */
static bool
row_of(const struct pg_result *r, unsigned column, const struct pg_result *found, unsigned *row)
{
	for (*row = 0; *row < pg_rows(found); ++*row)
		if (pg_int(found, *row, 0) == (int64_t)pg_column_table(r, column) &&
		    pg_int(found, *row, 1) == pg_column_of(r, column))
			return true;
	return false;
}

static int
rid_find(const struct pg_result *r, const struct pg_result *found, unsigned column)
{
	unsigned row;

	for (unsigned i = 0; i < pg_columns(r); i++)
		if (pg_column_table(r, i) == pg_column_table(r, column) &&
		    row_of(r, i, found, &row) && !strcmp(pg_text(found, row, 2), "rid"))
			return (int)i;
	return -1;
}

static void
columns_set(struct origin *o, const struct pg_result *r, const struct pg_result *found)
{
	unsigned row;

	for (unsigned i = 0; i < o->n; i++) {
		if (!pg_column_table(r, i) || !row_of(r, i, found, &row))
			continue;
		column_set(o->m, &o->columns[i], found, row);
		if (*o->columns[i].raw)
			o->columns[i].rid = rid_find(r, found, i);
	}
}

bool
origin_of(struct pg *pg, const struct model *m, const struct policy *policy,
	  const struct pg_result *r, struct origin **out, struct err *e)
{
	struct origin *o = mem_zero(1, sizeof *o);
	struct pg_result *found = NULL;
	struct buf wanted = {0};

	o->m = m;
	o->policy = policy;
	o->n = pg_columns(r);
	o->columns = mem_zero(o->n ? o->n : 1, sizeof *o->columns);
	for (unsigned i = 0; i < o->n; i++)
		o->columns[i].rid = -1;
	bool good = !wanted_columns(r, &wanted) || catalogue_ask(pg, buf_cstr(&wanted), &found, e);
	if (good && found) {
		columns_set(o, r, found);
		pg_result_free(found);
	}
	buf_free(&wanted);
	*out = good ? o : NULL;
	if (!good)
		origin_free(o);
	return good;
}

void
origin_free(struct origin *o)
{
	for (unsigned i = 0; o && i < o->n; i++)
		free(o->columns[i].others);
	if (o)
		free(o->columns);
	free(o);
}

/* A rid as uuid prints it: digits, with dashes between. */
static bool
rid_is(const char *text, const uint8_t rid[static RID_BYTES])
{
	char digits[2 * RID_BYTES + 1];
	unsigned n = 0;

	for (unsigned i = 0; i < RID_BYTES; i++)
		snprintf(digits + 2 * i, 3, "%02x", rid[i]);
	for (; *text; text++)
		if (*text != '-' && (n == 2 * RID_BYTES || *text != digits[n++]))
			return false;
	return n == 2 * RID_BYTES;
}

/* The source's name is what its label begins with. */
static bool
source_is(const char *name, const struct carried *c)
{
	size_t n = strlen(name);

	return c->source_len >= n && !memcmp(c->source, name, n) &&
	       (c->source_len == n || c->source[n] == '@');
}

static bool
path_is(const struct field *f, const struct carried *c)
{
	return strlen(f->path) == c->path_len && !memcmp(f->path, c->path, c->path_len);
}

/* What was sealed under a path that no field has now may lie anywhere: fields are renamed. */
static bool
of_another_field(const struct origin_column *at, const struct carried *c)
{
	if (!at->field || path_is(at->field, c))
		return false;
	for (unsigned i = 0; i < at->source->fields_n; i++)
		if (path_is(&at->source->fields[i], c))
			return true;
	return false;
}

/*
 * The same without the model's fields: a column that has a signed path's name holds that path, and
 * none holds what is another column's name. Nested paths are not told from each other.
 */
static bool
of_another_column(const struct policy *p, const struct origin_column *at, const struct carried *c)
{
	char path[POLICY_PATH_MAX + 3];
	size_t n = strlen(at->name);

	if (c->path_len == n && !memcmp(c->path, at->name, n))
		return false;
	for (unsigned i = 0; i < p->sensitive_n; i++)
		if (!strcmp(p->sensitive[i].source.s, at->raw) &&
		    !strcmp(p->sensitive[i].path, at->name))
			return true;
	snprintf(path, sizeof path, ",%.*s,", (int)c->path_len, c->path);
	return strstr(at->others, path) != NULL;
}

/* A source that is gone, and a field that is gone, cannot be told from what the fold once read. */
static bool
of_another_fold(const struct model *m, const struct fold *f, const struct carried *c)
{
	bool known = false;

	for (unsigned i = 0; i < f->inputs_n; i++) {
		const struct source *s = &m->sources[f->inputs[i].source];
		if (f->inputs[i].field >= 0 && source_is(s->name.s, c) &&
		    path_is(&s->fields[f->inputs[i].field], c))
			return false;
	}
	for (unsigned i = 0; i < m->sources_n; i++)
		for (unsigned j = 0; j < m->sources[i].fields_n; j++)
			known |= source_is(m->sources[i].name.s, c) &&
				 path_is(&m->sources[i].fields[j], c);
	return known;
}

enum seal_error
origin_judge(const struct origin *o, const struct pg_result *r, unsigned row, unsigned column,
	     const struct carried *c)
{
	const struct origin_column *at = &o->columns[column];
	bool moved = false;

	if (*at->raw)
		moved =
		    !source_is(at->raw, c) ||
		    (at->source ? of_another_field(at, c) : of_another_column(o->policy, at, c)) ||
		    (at->rid >= 0 && !pg_is_null(r, row, (unsigned)at->rid) &&
		     !rid_is(pg_text(r, row, (unsigned)at->rid), c->rid));
	else if (at->fold)
		moved = of_another_fold(o->m, at->fold, c);
	return moved ? SEAL_AUTH : SEAL_OK;
}
