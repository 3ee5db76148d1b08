/* rows: the columns of the example's tables, which are what DDL, transform and load agree on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf.h"
#include "rows.h"

static struct model *model;

static int
setup(void **state)
{
	struct conf_report report = {0};

	(void)state;
	setenv("WEIR_DSN", "postgresql://owner@localhost/warehouse", 1);
	setenv("WEIR_DATA", "/srv/loans", 1);
	setenv("WEIR_LOGINS", "/srv/logins", 1);
	if (!conf_read_file("examples/loans/plain.yaml", &model, &report)) {
		print_error("%s", buf_cstr(&report.text));
		return -1;
	}
	conf_report_free(&report);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	model_free(model);
	return 0;
}

struct want {
	const char *name;
	enum row_column_role role;
	enum value_type type;
	int value;
};

static void
columns_check(const char *table, const struct want *want, unsigned n, unsigned values)
{
	struct row_column columns[ROW_COLUMNS_MAX];
	unsigned values_n;
	int t = model_table_find(model, table, strlen(table));

	assert_true(t >= 0);
	unsigned got = row_columns(model, (unsigned)t, columns, &values_n);
	for (unsigned i = 0; i < got && i < n; i++) {
		if (strcmp(columns[i].name, want[i].name) || columns[i].role != want[i].role ||
		    columns[i].type != want[i].type || columns[i].value != want[i].value)
			fail_msg("%s column %u: %s, role %d, type %d, value %d", table, i,
				 columns[i].name, columns[i].role, columns[i].type,
				 columns[i].value);
		bool changes = !strcmp(want[i].name, "revision") ||
			       !strcmp(want[i].name, "loaded_at") || !strcmp(want[i].name, "batch");
		assert_int_equal(columns[i].volatile_, changes);
	}
	assert_int_equal(got, n);
	assert_int_equal(values_n, values);
}

#define COLUMNS(table, values, ...)                                                                \
	do {                                                                                       \
		static const struct want want[] = {__VA_ARGS__};                                   \
		columns_check(table, want, sizeof want / sizeof *want, values);                    \
	} while (0)

static void
test_process_fact(void **state)
{
	(void)state;
	COLUMNS("fact_loan", 14, {"case_id", ROW_KEY, VALUE_TEXT, 0},
		{"outcome", ROW_COLUMN, VALUE_TEXT, 1},
		{"amount_requested", ROW_COLUMN, VALUE_DECIMAL, 2},
		{"submitted_at", ROW_COLUMN, VALUE_TIMESTAMP, 3},
		{"last_event_at", ROW_COLUMN, VALUE_TIMESTAMP, 4},
		{"offers_sent", ROW_COLUMN, VALUE_INTEGER, 5},
		{"work_items", ROW_COLUMN, VALUE_INTEGER, 6},
		{"resource_key", ROW_REFERENCE, VALUE_INTEGER, 7},
		{"date_key", ROW_REFERENCE, VALUE_INTEGER, 8},
		{"status", ROW_STATUS, VALUE_TEXT, 9}, {"missing", ROW_MISSING, VALUE_NULL, -1},
		{"first_event_at", ROW_FIRST_EVENT_AT, VALUE_TIMESTAMP, 10},
		{"closed_at", ROW_CLOSED_AT, VALUE_TIMESTAMP, 11},
		{"events", ROW_EVENTS, VALUE_INTEGER, 12},
		{"revision", ROW_REVISION, VALUE_INTEGER, 13},
		{"loaded_at", ROW_LOADED_AT, VALUE_TIMESTAMP, -1},
		{"batch", ROW_BATCH, VALUE_INTEGER, -1});
}

static void
test_transaction_fact(void **state)
{
	(void)state;
	COLUMNS("fact_work", 6, {"rid", ROW_RID, VALUE_NULL, -1},
		{"case_id", ROW_KEY, VALUE_TEXT, 0}, {"event_at", ROW_EVENT_AT, VALUE_TIMESTAMP, 1},
		{"activity", ROW_COLUMN, VALUE_TEXT, 2}, {"transition", ROW_COLUMN, VALUE_TEXT, 3},
		{"seq", ROW_COLUMN, VALUE_INTEGER, 4},
		{"resource_key", ROW_REFERENCE, VALUE_INTEGER, 5},
		{"loaded_at", ROW_LOADED_AT, VALUE_TIMESTAMP, -1},
		{"batch", ROW_BATCH, VALUE_INTEGER, -1});
}

static void
test_dimension(void **state)
{
	(void)state;
	COLUMNS("dim_resource", 4, {"resource_key", ROW_SURROGATE, VALUE_INTEGER, 0},
		{"resource", ROW_NATURAL, VALUE_TEXT, 1},
		{"inferred", ROW_INFERRED, VALUE_BOOLEAN, 2},
		{"version_at", ROW_VERSION_AT, VALUE_TIMESTAMP, 3},
		{"version_rid", ROW_VERSION_RID, VALUE_NULL, -1},
		{"loaded_at", ROW_LOADED_AT, VALUE_TIMESTAMP, -1},
		{"batch", ROW_BATCH, VALUE_INTEGER, -1});
}

static void
test_calendar(void **state)
{
	(void)state;
	COLUMNS("dim_date", 0, {"date_key", ROW_SURROGATE, VALUE_INTEGER, 0},
		{"date", ROW_NATURAL, VALUE_DATE, 1});
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_process_fact),
	    cmocka_unit_test(test_transaction_fact),
	    cmocka_unit_test(test_dimension),
	    cmocka_unit_test(test_calendar),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
