/* Background chores against a private PostgreSQL; how it starts and when it is skipped: see test_load.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"
#include "sql/migrations.h"
#include "task/task.h"

static struct {
	struct pg *eye;
	struct chore chore;
} t;

static void
run(const char *sql)
{
	struct err e = {0};

	if (!pg_exec(t.eye, sql, NULL, &e))
		fail_msg("%s: %s", sql, e.text);
}

static int64_t
number(const char *sql)
{
	struct err e = {0};
	struct pg_result *r = NULL;

	if (!pg_exec(t.eye, sql, &r, &e))
		fail_msg("%s: %s", sql, e.text);
	int64_t n = pg_int(r, 0, 0);
	pg_result_free(r);
	return n;
}

static void
segments(void)
{
	struct err e = {0};

	memset(t.chore.probe_at, 0, sizeof(t.chore.probe_at));
	if (!task_segments(&t.chore, &e))
		fail_msg("%s", e.text);
}

static int
setup(void **state)
{
	static const char *const settings[] = {"enable_hashjoin=off", "lock_timeout=100ms",
					       "client_min_messages=warning", NULL};
	const char *dsn = getenv("WEIR_TEST_DSN");
	struct err e = {0};

	(void)state;
	if (dsn == NULL)
		return 0;
	memset(&t, 0, sizeof(t));
	if (!pg_connect(dsn, "eye", settings, 5000, &t.eye, &e) ||
	    !pg_connect(dsn, "task", settings, 5000, &t.chore.pg, &e))
		fail_msg("%s", e.text);
	run("DROP SCHEMA IF EXISTS admin_schema, key_schema CASCADE");
	for (unsigned i = 0; i < migrations_n; i++)
		run(migrations[i].text);
	run("INSERT INTO admin_schema.pipeline (id, name, g, hash_key)"
	    " SELECT n, 'p' || n, 128, decode(repeat('00', 16), 'hex') FROM generate_series(1, 2) "
	    "n");
	run("UPDATE admin_schema.pipeline SET segment = 5 WHERE id = 2");
	assert_true(task_pipeline(t.chore.pg, "p1", &t.chore.pipeline, &e));
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	pg_close(t.eye);
	pg_close(t.chore.pg);
	memset(&t, 0, sizeof(t));
	return 0;
}

static void
needs_postgres(void)
{
	if (t.eye == NULL)
		skip();
}

static void
states(int slot, int batch, int from, int to)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
		 "INSERT INTO admin_schema.state_%d (epoch, batch, pipeline, kg, build, tombstone, "
		 "key, body)"
		 " SELECT 1, %d, 1, 0, 1, false, lpad(n::text, 32, '0')::uuid, '' FROM "
		 "generate_series(%d, %d) n",
		 slot, batch, from, to);
	run(sql);
}

static void
test_a_slot_goes_when_all_of_it_is_superseded(void **state)
{
	(void)state;
	needs_postgres();
	states(0, 1, 1, 100);
	states(1, 2, 1, 99);
	run("UPDATE admin_schema.pipeline SET segment = 1 WHERE id = 1");
	segments();
	assert_int_equal(t.chore.emptied, 0); /* number 100 counts */
	assert_int_equal(t.chore.holding, 2);
	states(1, 1, 100, 100); /* as old as what is there: does not supersede it */
	segments();
	assert_int_equal(t.chore.emptied, 0);
	states(1, 3, 100, 100);
	segments();
	assert_int_equal(t.chore.emptied, 1);
	assert_int_equal(t.chore.holding, 1);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.state"), 101);
	/* The current slot stays, whatever is in it; so does one that another pipeline writes to. */
	states(5, 9, 1, 100);
	segments();
	assert_int_equal(number("SELECT count(*) FROM admin_schema.state"), 201);
	/* Another pipeline's row of the same key supersedes nothing. */
	run("UPDATE admin_schema.pipeline SET segment = 2 WHERE id = 1");
	run("UPDATE admin_schema.state SET pipeline = 2 WHERE segment = 5 AND key = lpad('7', 32, "
	    "'0')::uuid");
	segments();
	assert_int_equal(t.chore.emptied, 1);
}

static void
test_a_writer_in_the_slot_is_waited_for(void **state)
{
	struct err e = {0};
	struct pg *writer = NULL;

	(void)state;
	needs_postgres();
	assert_true(pg_connect(getenv("WEIR_TEST_DSN"), "writer", NULL, 5000, &writer, &e));
	states(0, 1, 1, 10);
	states(1, 2, 1, 10);
	run("UPDATE admin_schema.pipeline SET segment = 1 WHERE id = 1");
	assert_true(pg_script(writer,
			      "BEGIN; INSERT INTO admin_schema.state_0 SELECT 1, 7, NULL, 1, 0, 1, "
			      "0, false, key, body"
			      " FROM admin_schema.state_1 LIMIT 1",
			      &e));
	segments(); /* no error, another time */
	assert_int_equal(t.chore.emptied, 0);
	assert_true(pg_exec(writer, "COMMIT", NULL, &e));
	segments(); /* the late row counts */
	assert_int_equal(t.chore.emptied, 0);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.state_0"), 11);
	pg_close(writer);
}

static void
test_a_large_segment_is_left(void **state)
{
	(void)state;
	needs_postgres();
	/* Bodies that do not compress, past the limit. */
	run("INSERT INTO admin_schema.state_0 (epoch, batch, pipeline, kg, build, tombstone, key, "
	    "body)"
	    " SELECT 1, 1, 1, 0, 1, false, gen_random_uuid(), decode(repeat(md5(n::text), 100), "
	    "'hex')"
	    " FROM generate_series(1, 100) n");
	segments();
	assert_int_equal(number("SELECT segment FROM admin_schema.pipeline WHERE id = 1"), 0);
	run("ALTER TABLE admin_schema.state_0 ALTER body SET STORAGE plain");
	run("INSERT INTO admin_schema.state_0 (epoch, batch, pipeline, kg, build, tombstone, key, "
	    "body)"
	    " SELECT 1, 1, 1, 0, 1, false, gen_random_uuid(), decode(repeat(md5(n::text), 480), "
	    "'hex')"
	    " FROM generate_series(1, 33000) n");
	states(1, 1, 1, 1); /* not empty: passed over */
	segments();
	assert_int_equal(number("SELECT segment FROM admin_schema.pipeline WHERE id = 1"), 2);
	segments();
	assert_int_equal(number("SELECT segment FROM admin_schema.pipeline WHERE id = 1"), 2);
}

static void
test_old_bookkeeping_goes(void **state)
{
	struct err e = {0};

	(void)state;
	needs_postgres();
	run("INSERT INTO admin_schema.shard (pipeline, build, epoch, instance, lane, closed, "
	    "backend_pid,"
	    " backend_start) SELECT 1, 1, n, 'a', 0, n < 300, 1, now() FROM generate_series(1, "
	    "300) n");
	run("INSERT INTO admin_schema.key_range (pipeline, build, kg_lo, kg_hi, epoch) VALUES"
	    " (1, 1, 0, 63, 5), (1, 1, 64, 127, 300)");
	run("INSERT INTO admin_schema.run (pipeline, kind, instance, started_at) VALUES"
	    " (1, 'run', 'a', now()), (1, 'run', 'a', now() - interval '91 days')");
	assert_true(task_retain(&t.chore, &e));
	assert_int_equal(number("SELECT count(*) FROM admin_schema.shard"), CLOSED_SHARDS_KEPT + 2);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.shard WHERE epoch = 5"), 1);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.run"), 1);
}

/* ---- aggregates and raw partitions ---- */

/* Two whose functions count how often they were called; the fact is the schema's only table. */
static void
aggregates_make(void)
{
	run("DROP SCHEMA IF EXISTS analytical_schema, development_schema CASCADE");
	run("CREATE SCHEMA analytical_schema");
	run("CREATE TABLE analytical_schema.fact_x (n integer)");
	run("CREATE TABLE analytical_schema.calls (name text)");
	for (int i = 0; i < 2; i++) {
		char sql[512];
		snprintf(sql, sizeof(sql),
			 "CREATE FUNCTION admin_schema.refresh_%d() RETURNS bigint LANGUAGE plpgsql"
			 " AS $$ BEGIN INSERT INTO analytical_schema.calls VALUES ('%d');"
			 " RETURN (SELECT count(*) FROM analytical_schema.fact_x) - 1; END $$",
			 i, i);
		run(sql);
	}
	run("INSERT INTO admin_schema.aggregate (pipeline, name, fact, refresh, digest, every)"
	    " SELECT 1, 'a' || n, 'fact_x', 'refresh_' || n, sha256(''), '1 hour'"
	    " FROM generate_series(0, 1) n");
}

static int64_t
aggregates(void)
{
	struct err e = {0};

	t.chore.aggregates_at = (struct mono){0};
	if (!task_aggregates(&t.chore, &e))
		fail_msg("%s", e.text);
	return number("SELECT count(*) FROM analytical_schema.calls");
}

static void
test_an_aggregate_is_built_when_it_is_due(void **state)
{
	(void)state;
	needs_postgres();
	aggregates_make();
	assert_int_equal(aggregates(), 0); /* the fact has no row */
	run("INSERT INTO analytical_schema.fact_x VALUES (1)");
	assert_int_equal(aggregates(), 2);
	assert_int_equal(aggregates(), 2);
	/* One that shows nothing is tried each minute, one that shows something when its hour is up. */
	run("UPDATE admin_schema.aggregate SET built_at = built_at - interval '61 seconds'");
	run("INSERT INTO analytical_schema.fact_x VALUES (2)");
	run("UPDATE admin_schema.aggregate SET rows = 7 WHERE name = 'a1'");
	assert_int_equal(aggregates(), 3);
	assert_int_equal(number("SELECT rows FROM admin_schema.aggregate WHERE name = 'a0'"), 1);
	run("UPDATE admin_schema.aggregate SET built_at = now() - interval '61 minutes'");
	assert_int_equal(aggregates(), 5);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.aggregate WHERE"
				" built_at > now() - interval '1 minute'"),
			 2);
}

static void
test_a_broken_aggregate_is_alone_with_it(void **state)
{
	(void)state;
	needs_postgres();
	aggregates_make();
	run("DROP FUNCTION admin_schema.refresh_0()");
	run("INSERT INTO analytical_schema.fact_x VALUES (1)");
	assert_int_equal(aggregates(), 1);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.aggregate WHERE built_at IS NULL"
				" AND name = 'a0'"),
			 1);
	assert_false(mono_due(t.chore.aggregates_at, mono_now()));
	assert_int_equal(number("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in "
				"transaction'"),
			 0);
}

static void
test_partitions_wait_for_a_busy_table(void **state)
{
	struct err e = {0};

	(void)state;
	needs_postgres();
	t.chore.name = "p1";
	run("DROP SCHEMA IF EXISTS development_schema CASCADE");
	run("CREATE SCHEMA development_schema");
	run("CREATE TABLE development_schema.raw_x (loaded_at timestamptz NOT NULL DEFAULT now())"
	    " PARTITION BY RANGE (loaded_at)");
	run("CREATE TABLE development_schema.raw_y (loaded_at timestamptz NOT NULL DEFAULT now())"
	    " PARTITION BY RANGE (loaded_at)");
	run("INSERT INTO admin_schema.raw_table VALUES (1, 'raw_x', '3 days'), (1, 'raw_y', NULL)");
	run("BEGIN");
	run("LOCK TABLE development_schema.raw_x IN ACCESS EXCLUSIVE MODE");
	assert_true(task_partitions(&t.chore, &e));
	assert_false(mono_due(t.chore.partitions_at, mono_now()));
	assert_int_equal(t.chore.partitions_busy, 1);
	/* The other table does not wait. */
	assert_int_equal(number("SELECT count(*) FROM pg_inherits"
				" WHERE inhparent = 'development_schema.raw_y'::regclass"),
			 9);
	run("ROLLBACK");
	t.chore.partitions_at = (struct mono){0};
	assert_true(task_partitions(&t.chore, &e));
	assert_int_equal(number("SELECT count(*) FROM pg_inherits"
				" WHERE inhparent = 'development_schema.raw_x'::regclass"),
			 9);
	assert_int_equal(t.chore.partitions_busy, 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_a_slot_goes_when_all_of_it_is_superseded, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_a_writer_in_the_slot_is_waited_for, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_a_large_segment_is_left, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_old_bookkeeping_goes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_an_aggregate_is_built_when_it_is_due, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_a_broken_aggregate_is_alone_with_it, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_partitions_wait_for_a_busy_table, setup, teardown),
	};

	(void)argc;
	if (!getenv("WEIR_TEST_DSN")) {
		if (access("/usr/lib/postgresql/15/bin/initdb", X_OK) == 0) {
			execlp("python3", "python3", "tests/e2e/postgres_server.py", argv[0], NULL);
			perror("python3");
			return 1;
		}
		fprintf(stderr, "*** POSTGRESQL 15 IS NOT HERE: its tests are SKIPPED ***\n");
	}
	log_open("test_task");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
