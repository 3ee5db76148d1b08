#include "ddl_aggregate.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "pg.h"

static const char other[] = "other";

void
ddl_aggregate_name(const struct aggregate *a, struct buf *out)
{
	pg_quote_name(out, ddl_schemas[SCHEMA_VISUALIZATION].name);
	buf_byte(out, '.');
	pg_quote_name(out, a->name.s);
}

/* No name has a point: cola + b_c and cola_b + c are two functions. */
void
ddl_aggregate_refresh(const struct model *m, const struct aggregate *a, struct name *out)
{
	int n = snprintf(out->s, sizeof out->s, "refresh_%s.%s", m->pipeline.s, a->name.s);

	check(n < (int)sizeof out->s); /* the pipeline file's reader saw to that */
}

void
ddl_aggregate_function_name(const struct model *m, const struct aggregate *a, struct buf *out)
{
	struct name name;

	ddl_aggregate_refresh(m, a, &name);
	pg_quote_name(out, ddl_schemas[SCHEMA_ADMIN].name);
	buf_byte(out, '.');
	pg_quote_name(out, name.s);
	buf_text(out, "()");
}

static const struct table *
fact_of(const struct model *m, const struct aggregate *a)
{
	check(a->table >= 0 && (unsigned)a->table < m->tables_n);
	return &m->tables[a->table];
}

/* ---- the table ---- */

static const char *
measure_type(const struct model *m, const struct aggregate *a, const struct measure *x)
{
	if (x->op == MEASURE_COUNT)
		return "bigint";
	return fact_of(m, a)->columns[x->column].type == VALUE_FLOAT ? "double precision"
								     : "numeric";
}

void
ddl_aggregate_table(const struct model *m, const struct aggregate *a, struct buf *out)
{
	buf_text(out, "CREATE TABLE ");
	ddl_aggregate_name(a, out);
	buf_text(out, " (");
	for (unsigned i = 0; i < a->by_n; i++) {
		buf_text(out, i ? ",\n\t" : "\n\t");
		pg_quote_name(out, a->by[i].name.s);
		buf_text(out, " text");
	}
	for (unsigned i = 0; i < a->measures_n; i++) {
		buf_text(out, ",\n\t");
		pg_quote_name(out, a->measures[i].name.s);
		buf_printf(out, " %s", measure_type(m, a, &a->measures[i]));
	}
	buf_text(
	    out,
	    ",\n\t\"as_of\" timestamp with time zone NOT NULL,\n\tUNIQUE NULLS NOT DISTINCT (");
	for (unsigned i = 0; i < a->by_n; i++) {
		buf_text(out, i ? ", " : "");
		pg_quote_name(out, a->by[i].name.s);
	}
	buf_text(out, ")\n)");
}

/* ---- comments ---- */

static void
column_comment(const struct aggregate *a, const char *column, const char *text, struct buf *out)
{
	struct buf object = {0};

	ddl_aggregate_name(a, &object);
	buf_byte(&object, '.');
	pg_quote_name(&object, column);
	ddl_comment_on("COLUMN", buf_cstr(&object), text, out);
	buf_text(out, ";\n");
	buf_free(&object);
}

static void
by_words(const struct model *m, const struct aggregate *a, unsigned i, struct buf *text)
{
	const struct table *fact = fact_of(m, a);

	if (a->by[i].reference < 0)
		buf_printf(text, "%s of %s", a->by[i].name.s, fact->name.s);
	else
		buf_printf(text, "%s of %s, by %s", a->by[i].name.s,
			   m->tables[fact->references[a->by[i].reference].table].name.s,
			   fact->references[a->by[i].reference].column.s);
	buf_text(text, "; other: all groups too small to show");
}

static void
measure_words(const struct model *m, const struct aggregate *a, const struct measure *x,
	      struct buf *text)
{
	static const char *const words[] = {"Rows", "Sum of", "Mean of"};
	const struct table *fact = fact_of(m, a);

	buf_text(text, words[x->op]);
	if (x->column >= 0)
		buf_printf(text, " %s", fact->columns[x->column].name.s);
}

static void
comments(const struct model *m, const struct aggregate *a, struct buf *out)
{
	struct buf object = {0}, text = {0};

	ddl_aggregate_name(a, &object);
	if (a->comment && *a->comment)
		buf_printf(&text, "%s ", a->comment);
	buf_printf(&text, "[weir pipeline=%s aggregate=%s subject=%s k=%u volatile=as_of]",
		   m->pipeline.s, fact_of(m, a)->name.s, a->subject.s, a->k);
	ddl_comment_on("TABLE", buf_cstr(&object), buf_cstr(&text), out);
	buf_text(out, ";\n");
	for (unsigned i = 0; i < a->by_n; i++) {
		buf_clear(&text);
		by_words(m, a, i, &text);
		column_comment(a, a->by[i].name.s, buf_cstr(&text), out);
	}
	for (unsigned i = 0; i < a->measures_n; i++) {
		buf_clear(&text);
		measure_words(m, a, &a->measures[i], &text);
		column_comment(a, a->measures[i].name.s, buf_cstr(&text), out);
	}
	column_comment(a, "as_of", "When it was built [volatile]", out);
	buf_free(&object);
	buf_free(&text);
}

/* ---- the function ---- */

/* "b0, b1" or "'other', 'other'", and the like: one piece a group-by column. */
static void
by_list(const struct aggregate *a, const char *before, const char *format_index, struct buf *out)
{
	for (unsigned i = 0; i < a->by_n; i++) {
		buf_text(out, i ? before : "");
		if (format_index)
			buf_printf(out, "%s%u", format_index, i);
		else
			buf_printf(out, "'%s'", other);
	}
}

static void
column_of(const char *alias, const char *name, struct buf *out)
{
	buf_printf(out, "%s.", alias);
	pg_quote_name(out, name);
}

static void
by_value(const struct aggregate *a, unsigned i, struct buf *out)
{
	char alias[16];

	snprintf(alias, sizeof alias, "d%u", i);
	column_of(a->by[i].reference < 0 ? "f" : alias, a->by[i].name.s, out);
	buf_printf(out, "::text AS b%u", i);
}

static void
joins(const struct model *m, const struct aggregate *a, struct buf *out)
{
	const struct table *fact = fact_of(m, a);
	char alias[16];

	for (unsigned i = 0; i < a->by_n; i++) {
		if (a->by[i].reference < 0)
			continue;
		const struct reference *r = &fact->references[a->by[i].reference];
		snprintf(alias, sizeof alias, "d%u", i);
		buf_text(out, "\n\t\tLEFT JOIN ");
		ddl_table_name(m, (unsigned)r->table, out);
		buf_printf(out, " %s ON ", alias);
		column_of(alias, m->tables[r->table].surrogate.s, out);
		buf_text(out, " = ");
		column_of("f", r->column.s, out);
	}
}

/*
 * A token of another epoch is another subject, though perhaps the same person: what is asked of a
 * group must hold as if all tokens of the other epochs were of persons who are there already.
 */
static void
epoch_write(const struct aggregate *a, struct buf *out)
{
	struct buf text = {0};

	column_of("f", a->subject.s, &text);
	buf_text(&text, "::text");
	buf_printf(out,
		   "CASE WHEN %s ~ '^01[0-9a-f]{38}$' THEN substr(%s, 3, 2) ELSE '' END AS epoch",
		   buf_cstr(&text), buf_cstr(&text));
	buf_free(&text);
}

/* One row a group and subject: how many rows, and of each summed column the sum and how many. */
static void
parts_write(const struct model *m, const struct aggregate *a, struct buf *out)
{
	const struct table *fact = fact_of(m, a);

	buf_text(out, "\tWITH part AS (\n\t\tSELECT ");
	for (unsigned i = 0; i < a->by_n; i++) {
		by_value(a, i, out);
		buf_text(out, ", ");
	}
	column_of("f", a->subject.s, out);
	buf_text(out, " AS subject, ");
	epoch_write(a, out);
	buf_text(out, ", count(*) AS n");
	for (unsigned i = 0; i < a->measures_n; i++) {
		const struct measure *x = &a->measures[i];
		if (x->op == MEASURE_COUNT)
			continue;
		buf_text(out, ", sum(");
		column_of("f", fact->columns[x->column].name.s, out);
		buf_printf(out, ") AS s%u, count(", i);
		column_of("f", fact->columns[x->column].name.s, out);
		buf_printf(out, ") AS n%u", i);
	}
	buf_text(out, "\n\t\tFROM ");
	ddl_table_name(m, (unsigned)a->table, out);
	buf_text(out, " f");
	joins(m, a, out);
	buf_text(out, "\n\t\tWHERE ");
	column_of("f", a->subject.s, out);
	/* By position: a name could also be a column of the fact. */
	buf_text(out, " IS NOT NULL\n\t\tGROUP BY ");
	for (unsigned i = 0; i < a->by_n + 2; i++)
		buf_printf(out, "%s%u", i ? ", " : "", i + 1);
	buf_text(out, "\n\t)");
}

/* Of one epoch: how many subjects, how many have something to add, the largest of these. */
static void
seen_write(const struct aggregate *a, const char *window, struct buf *out)
{
	buf_printf(out, ", count(*)%s AS k", window);
	for (unsigned i = 0; i < a->measures_n; i++)
		if (a->measures[i].op != MEASURE_COUNT)
			buf_printf(out, ", count(s%u)%s AS k%u, max(abs(s%u))%s AS m%u", i, window,
				   i, i, window, i);
}

/* What a row must pass, of windows of many rows: each epoch's largest counts once, at its head. */
static void
test_write(const struct aggregate *a, struct buf *out)
{
	buf_printf(out, "max(k) OVER w >= %u", a->k);
	for (unsigned i = 0; i < a->measures_n; i++) {
		if (a->measures[i].op == MEASURE_COUNT)
			continue;
		buf_printf(out,
			   "\n\t\t\tAND max(k%u) OVER w >= %u AND 2 * sum(m%u) FILTER (WHERE head) "
			   "OVER w <= sum(abs(s%u)) OVER w",
			   i, a->k, i, i);
	}
}

/* The same where each row is one epoch of the only group. */
static void
other_test_write(const struct aggregate *a, struct buf *out)
{
	buf_printf(out, "max(k) >= %u", a->k);
	for (unsigned i = 0; i < a->measures_n; i++) {
		if (a->measures[i].op != MEASURE_COUNT)
			buf_printf(out, "\n\t\t\tAND max(k%u) >= %u AND 2 * sum(m%u) <= sum(t%u)",
				   i, a->k, i, i);
	}
}

static void
measures_write(const struct model *m, const struct aggregate *a, struct buf *out)
{
	for (unsigned i = 0; i < a->measures_n; i++) {
		const char *type = measure_type(m, a, &a->measures[i]);
		if (a->measures[i].op == MEASURE_COUNT)
			buf_printf(out, ", sum(n)::%s", type);
		else if (a->measures[i].op == MEASURE_SUM)
			buf_printf(out, ", sum(s%u)::%s", i, type);
		else
			buf_printf(out, ", (sum(s%u) / nullif(sum(n%u), 0))::%s", i, i, type);
	}
	buf_text(out, ", now()");
}

static void
sums_write(const struct aggregate *a, bool totals, struct buf *out)
{
	for (unsigned i = 0; i < a->measures_n; i++) {
		if (a->measures[i].op == MEASURE_COUNT)
			continue;
		buf_printf(out, ", sum(s%u) AS s%u, sum(n%u) AS n%u", i, i, i, i);
		if (totals)
			buf_printf(out, ", sum(abs(s%u)) AS t%u", i, i);
	}
}

/* Small groups add up by subject: one who is in two of them is still one. */
static void
other_write(const struct model *m, const struct aggregate *a, struct buf *out)
{
	buf_text(out, "\n\tUNION ALL\n\tSELECT ");
	by_list(a, ", ", NULL, out);
	measures_write(m, a, out);
	buf_text(out, "\n\tFROM (SELECT sum(n) AS n");
	sums_write(a, true, out);
	seen_write(a, "", out);
	buf_text(out, "\n\t\tFROM (SELECT epoch, sum(n) AS n");
	sums_write(a, false, out);
	buf_text(out, "\n\t\t\tFROM judged WHERE NOT fine GROUP BY epoch, subject) small"
		      "\n\t\tGROUP BY epoch) seen\n\tHAVING ");
	other_test_write(a, out);
}

static void
insert_write(const struct model *m, const struct aggregate *a, struct buf *out)
{
	parts_write(m, a, out);
	buf_text(out, ", seen AS (\n\t\tSELECT *, row_number() OVER e = 1 AS head");
	seen_write(a, " OVER e", out);
	buf_text(out, "\n\t\tFROM part WINDOW e AS (PARTITION BY ");
	by_list(a, ", ", "b", out);
	buf_text(out, ", epoch)\n\t), judged AS (\n\t\tSELECT *, coalesce(");
	test_write(a, out);
	/* A group that is really called so cannot stand beside the one that we make. */
	buf_text(out, "\n\t\t\tAND NOT (");
	for (unsigned i = 0; i < a->by_n; i++)
		buf_printf(out, "%scoalesce(b%u = '%s', false)", i ? " AND " : "", i, other);
	buf_text(out, "), false) AS fine\n\t\tFROM seen WINDOW w AS (PARTITION BY ");
	by_list(a, ", ", "b", out);
	buf_text(out, ")\n\t)\n\tINSERT INTO ");
	ddl_aggregate_name(a, out);
	buf_text(out, "\n\tSELECT ");
	by_list(a, ", ", "b", out);
	measures_write(m, a, out);
	buf_text(out, "\n\tFROM judged WHERE fine GROUP BY ");
	by_list(a, ", ", "b", out);
	other_write(m, a, out);
	buf_text(out, ";\n");
}

void
ddl_aggregate_function(const struct model *m, const struct aggregate *a, struct buf *out)
{
	buf_text(out, "CREATE OR REPLACE FUNCTION ");
	ddl_aggregate_function_name(m, a, out);
	/* How a date or a number becomes text must not depend on who calls. */
	buf_text(
	    out,
	    " RETURNS bigint\nLANGUAGE plpgsql SECURITY DEFINER"
	    "\nSET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' SET timezone = "
	    "'UTC' SET extra_float_digits = 1"
	    "\nAS $weir$\n#variable_conflict use_column\nDECLARE\n\twritten bigint;\nBEGIN\n"
	    "\tLOCK TABLE ");
	ddl_aggregate_name(a, out);
	buf_text(out, " IN SHARE ROW EXCLUSIVE MODE;\n\tDELETE FROM ");
	ddl_aggregate_name(a, out);
	buf_text(out, ";\n");
	insert_write(m, a, out);
	buf_text(out, "\tGET DIAGNOSTICS written = ROW_COUNT;\n\tRETURN written;\nEND $weir$");
}

void
ddl_aggregate_script(const struct model *m, const struct aggregate *a, struct buf *out)
{
	ddl_aggregate_table(m, a, out);
	buf_text(out, ";\n");
	comments(m, a, out);
	ddl_aggregate_function(m, a, out);
	buf_text(out, ";\nREVOKE ALL ON FUNCTION ");
	ddl_aggregate_function_name(m, a, out);
	buf_text(out, " FROM PUBLIC;\n");
}
