/* flight: how far a source may be answered while records of it are under way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ingest/flight.h"

enum { A = 0, B = 200, RECORDS = 1000 };

static struct mono
at(int64_t us)
{
	return (struct mono){us};
}

static void
test_nothing_under_way(void **state)
{
	struct flights f = {0};

	(void)state;
	assert_int_equal(flights_low(&f, A, 7), 7);
	assert_true(flights_oldest(&f).us == INT64_MAX);
	flights_free(&f);
}

static void
test_the_smallest_undelivered_counts(void **state)
{
	struct flights f = {0};
	struct flight *x3 = flight_add(&f, A, 3, 10, at(1));
	struct flight *x5 = flight_add(&f, A, 5, 20, at(2));
	struct flight *x9 = flight_add(&f, A, 9, 30, at(3));
	struct flight *b = flight_add(&f, B, 4, 5, at(4));

	(void)state;
	assert_int_equal(f.n, 4);
	assert_int_equal(f.bytes, 65);
	flight_done(&f, x5); /* of another key group: reported first */
	flight_done(&f, x9);
	assert_int_equal(flights_low(&f, A, 10), 3);
	assert_int_equal(flights_low(&f, B, 10), 4);
	assert_true(flights_oldest(&f).us == 1);
	flight_done(&f, x3);
	assert_int_equal(flights_low(&f, A, 10), 10);
	assert_int_equal(f.bytes, 5);
	assert_true(flights_oldest(&f).us == 4);
	flight_done(&f, b);
	assert_int_equal(f.n, 0);
	assert_int_equal(f.bytes, 0);
	assert_true(flights_oldest(&f).us == INT64_MAX);
	flights_free(&f);
}

/* Against a plain list, delivered in a scattered order; half are left to flights_free. */
static void
test_any_order(void **state)
{
	struct flights f = {0};
	struct flight *all[RECORDS];
	bool done[RECORDS] = {false};

	(void)state;
	for (int i = 0; i < RECORDS; i++)
		all[i] = flight_add(&f, A, i * 2, 1, at(i));
	for (int n = 0; n < RECORDS / 2; n++) {
		int i = n * 37 % RECORDS, low = 0;

		flight_done(&f, all[i]);
		done[i] = true;
		while (low < RECORDS && done[low])
			low++;
		assert_int_equal(flights_low(&f, A, RECORDS * 2), low * 2);
		assert_int_equal(f.n, RECORDS - n - 1);
	}
	flights_free(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing_under_way),
	    cmocka_unit_test(test_the_smallest_undelivered_counts),
	    cmocka_unit_test(test_any_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
