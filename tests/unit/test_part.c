/* Which roles one supervisor bears, and whom they have pipes with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "supervisor/part.h"

#define BIT(r) (1u << ROLE_##r)

static char topic[] = "weir.loans";

static void
lists(void **state)
{
	uint32_t roles;
	struct err e;

	(void)state;
	assert_true(part_parse("ingest,keeper", &roles, &e));
	assert_int_equal(roles, BIT(INGEST) | BIT(KEEPER));
	assert_true(part_parse("lanes,status", &roles, &e));
	assert_int_equal(roles, BIT(RELAY) | BIT(CORRELATE) | BIT(TRANSFORM) | BIT(LOAD) |
				    BIT(TASK) | BIT(STATUS));
	assert_true(part_parse("", &roles, &e));
	assert_int_equal(roles, 0);
	static const char *const wrong[] = {
	    "supervisor", "lane",	   ",ingest",
	    "nobody",	  "ingest keeper", "a-very-long-name-that-no-role-of-ours-will-ever-have"};
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert_false(part_parse(wrong[i], &roles, &e));
		assert_int_equal(e.code, EXIT_USAGE);
	}
}

static bool
allowed(bool exchange, const char *list, bool bounded)
{
	struct model m = {.exchange = {.topic = exchange ? topic : NULL}};
	uint32_t roles;
	struct err e;

	assert_true(part_parse(list, &roles, &e));
	return part_check(&m, roles, bounded, &e);
}

static void
sides(void **state)
{
	(void)state;
	/* On one host all of them or none. */
	assert_true(allowed(false, "ingest,correlate,transform,load,task,status", false));
	assert_true(allowed(false, "null,status", false));
	assert_true(allowed(false, "science", true));
	assert_false(allowed(false, "ingest,keeper", false));
	assert_false(allowed(false, "lanes", false));
	/* With an exchange each side for itself. */
	assert_true(allowed(true, "ingest,keeper,status", false));
	assert_true(allowed(true, "lanes", false));
	assert_true(allowed(true, "ingest,keeper,lanes,science", false));
	assert_true(allowed(true, "science", true));
	assert_true(allowed(true, "task", false));
	assert_false(allowed(true, "ingest", false));
	assert_false(allowed(true, "correlate,transform,load", false));
	assert_false(allowed(true, "relay", false));
	assert_false(allowed(true, "ingest,keeper,lanes", true));
}

static void
counts(void **state)
{
	struct model one = {0}, spread = {.exchange = {.topic = topic}};

	(void)state;
	assert_int_equal(part_count(&one, ROLE_INGEST, ROLE_CORRELATE, 4), 4);
	assert_int_equal(part_count(&one, ROLE_LOAD, ROLE_INGEST, 2), 2);
	/* The two sides meet at the exchange and nowhere else. */
	assert_int_equal(part_count(&spread, ROLE_INGEST, ROLE_CORRELATE, 4), 0);
	assert_int_equal(part_count(&spread, ROLE_LOAD, ROLE_INGEST, 2), 0);
	assert_int_equal(part_count(&spread, ROLE_INGEST, ROLE_INGEST, 2), 2);
	assert_int_equal(part_count(&spread, ROLE_INGEST, ROLE_KEEPER, 1), 1);
	assert_int_equal(part_count(&spread, ROLE_RELAY, ROLE_CORRELATE, 4), 4);
	assert_int_equal(part_count(&spread, ROLE_STATUS, ROLE_INGEST, 2), 2);
}

static void
wholes(void **state)
{
	struct model one = {.ingests = 1, .lanes = 2},
		     spread = {.ingests = 1, .lanes = 2, .exchange = {.topic = topic}};
	uint32_t all = ~(1u << ROLE_NULL), has;

	(void)state;
	assert_true(part_whole(&one, all, &has));
	assert_int_equal(has, BIT(INGEST) | BIT(CORRELATE) | BIT(TRANSFORM) | BIT(LOAD) |
				  BIT(TASK) | BIT(STATUS));
	/* Roles that this pipeline has not are no part that is missing. */
	assert_true(part_whole(&one, has, &has));
	assert_false(part_whole(&one, BIT(STATUS), &has));
	assert_int_equal(has, BIT(STATUS));
	assert_true(part_whole(&spread, all, &has));
	assert_true(has & BIT(RELAY) && has & BIT(KEEPER));
	assert_false(part_whole(&spread, all & ~BIT(RELAY), &has));
	assert_false(part_apart()); /* a test is not the first process of a container */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lists),
	    cmocka_unit_test(sides),
	    cmocka_unit_test(counts),
	    cmocka_unit_test(wholes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
