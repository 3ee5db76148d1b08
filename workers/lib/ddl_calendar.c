/* ddl: the calendar dimension, its columns and its rows. */
#include "ddl.h"

#include <stdio.h>

#include "pg.h"

/* Each column in the terms of one day d; names of months and weekdays do not depend on the server's
 * locale. */
static const struct {
	const char *name, *type, *expr, *comment;
} calendar[] = {
    {"year", "smallint", "extract(year from d)::smallint", "Year"},
    {"quarter", "smallint", "extract(quarter from d)::smallint", "Quarter, 1 to 4"},
    {"month", "smallint", "extract(month from d)::smallint", "Month, 1 to 12"},
    {"month_name", "text",
     "(array['January','February','March','April','May','June','July','August','September',"
     "'October','November','December'])[extract(month from d)::int]",
     "Name of the month"},
    {"day", "smallint", "extract(day from d)::smallint", "Day of the month"},
    {"day_of_year", "smallint", "extract(doy from d)::smallint", "Day of the year, from 1"},
    {"weekday", "smallint", "extract(isodow from d)::smallint", "Day of the week, 1 = Monday"},
    {"weekday_name", "text",
     "(array['Monday','Tuesday','Wednesday','Thursday','Friday','Saturday','Sunday'])"
     "[extract(isodow from d)::int]",
     "Name of the weekday"},
    {"is_weekend", "boolean", "extract(isodow from d) >= 6", "Saturday or Sunday"},
    {"iso_year", "smallint", "extract(isoyear from d)::smallint",
     "Year that the ISO week belongs to"},
    {"iso_week", "smallint", "extract(week from d)::smallint", "ISO week, 1 to 53"},
    {"year_month", "text", "to_char(d, 'YYYY-MM')", "Year and month, 2011-10"},
    {"year_quarter", "text", "to_char(d, 'YYYY-\"Q\"Q')", "Year and quarter, 2011-Q4"},
};

enum { CALENDAR_N = sizeof calendar / sizeof *calendar };

unsigned ddl_calendar_columns(const struct table *t, struct ddl_column *columns);

static struct ddl_column
column_make(const char *name, const char *type, const char *constraint, const char *comment)
{
	struct ddl_column c = {.name = name, .constraint = constraint, .comment = comment};

	snprintf(c.type, sizeof c.type, "%s", type);
	return c;
}

unsigned
ddl_calendar_columns(const struct table *t, struct ddl_column *columns)
{
	unsigned n = 0;

	columns[n] = column_make(t->surrogate.s, "bigint", "NOT NULL",
				 "The day as yyyymmdd; -1 unknown, -2 invalid");
	columns[n++].key = true;
	columns[n++] = column_make(t->key.s, "date", "", "The day");
	for (unsigned i = 0; i < CALENDAR_N; i++)
		columns[n++] =
		    column_make(calendar[i].name, calendar[i].type, "", calendar[i].comment);
	columns[n] = column_make("loaded_at", "timestamp with time zone", "NOT NULL DEFAULT now()",
				 "When the row was written");
	columns[n++].volatile_ = true;
	columns[n] = column_make("batch", "bigint", "NOT NULL DEFAULT 0",
				 "The batch that wrote the row; 0: weir apply");
	columns[n++].volatile_ = true;
	return n;
}

static void
day_write(int64_t days, struct buf *out)
{
	int64_t year;
	unsigned month, day;

	date_to_civil(days, &year, &month, &day);
	buf_printf(out, "date '%04lld-%02u-%02u'", (long long)year, month, day);
}

void
ddl_calendar_rows(const struct model *m, unsigned table, struct buf *out)
{
	const struct table *t = &m->tables[table];

	buf_text(out, "INSERT INTO ");
	ddl_table_name(m, table, out);
	buf_text(out, " (");
	pg_quote_name(out, t->surrogate.s);
	buf_text(out, ", ");
	pg_quote_name(out, t->key.s);
	for (unsigned i = 0; i < CALENDAR_N; i++)
		buf_printf(out, ", %s", calendar[i].name);
	buf_text(out, ")\nSELECT to_char(d, 'YYYYMMDD')::bigint, d");
	for (unsigned i = 0; i < CALENDAR_N; i++)
		buf_printf(out, ",\n\t%s", calendar[i].expr);
	buf_text(out, "\nFROM (SELECT ");
	day_write(t->from_date, out);
	buf_printf(out, " + i AS d FROM generate_series(0, %lld) i) days\nON CONFLICT DO NOTHING",
		   (long long)(t->to_date - t->from_date));
}
