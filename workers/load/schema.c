/*
 * The warehouse's tables against the pipeline file: a file that was changed and not applied would
 * otherwise put its values into columns of another type, or fail at the first row.
 */
#include "ddl.h"
#include "load.h"

static void
wanted_write(const struct model *m, unsigned table, struct buf *sql)
{
	struct ddl_column columns[DDL_COLUMNS_MAX];
	struct buf name = {0};
	unsigned n = ddl_columns(m, table, columns);

	buf_text(sql, "SELECT w.name, w.type, format_type(a.atttypid, a.atttypmod) FROM (VALUES ");
	for (unsigned i = 0; i < n; i++) {
		buf_text(sql, i ? ", (" : "(");
		pg_quote_text(sql, columns[i].name);
		buf_text(sql, ", ");
		pg_quote_text(sql, columns[i].type);
		buf_byte(sql, ')');
	}
	ddl_table_name(m, table, &name);
	buf_text(
	    sql,
	    ") w (name, type) LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = to_regclass(");
	pg_quote_text(sql, buf_cstr(&name));
	buf_text(
	    sql,
	    ") AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped"
	    " WHERE a.attname IS NULL OR format_type(a.atttypid, a.atttypmod) <> w.type LIMIT 1");
	buf_free(&name);
}

static bool
table_check(struct load *l, unsigned table, struct err *e)
{
	const struct model *m = l->w->model;
	struct pg_result *r = NULL;
	struct buf sql = {0};

	wanted_write(m, table, &sql);
	bool good = pg_exec(l->pg, buf_cstr(&sql), &r, e);
	buf_free(&sql);
	if (good && pg_rows(r))
		good =
		    err_set(e, EXIT_CONFIG,
			    "table %s: column %s is %s in the warehouse and %s in the pipeline "
			    "file; run `weir apply`",
			    m->tables[table].name.s, pg_text(r, 0, 0),
			    pg_is_null(r, 0, 2) ? "missing" : pg_text(r, 0, 2), pg_text(r, 0, 1));
	pg_result_free(r);
	return good;
}

bool
schema_check(struct load *l, struct err *e)
{
	for (unsigned t = 0; t < l->w->model->tables_n; t++)
		if (!table_check(l, t, e))
			return false;
	return true;
}
