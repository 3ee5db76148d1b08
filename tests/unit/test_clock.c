/* clock: the event-time clock of a shard, by DESIGN 5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "workers/correlate/clock.h"

#define SECOND INT64_C(1000000)
#define WALL   (INT64_C(2000000000) * SECOND)

static struct clock c;
static struct mono now;

static int
up(void **state)
{
	(void)state;
	clock_init(&c);
	now.us = 5 * SECOND;
	return 0;
}

static int
down(void **state)
{
	(void)state;
	clock_free(&c);
	return 0;
}

static int64_t
read_at(int64_t wall_us, int *holder)
{
	return clock_read(&c, now, wall_us, holder);
}

static int64_t
read_clock(void)
{
	int holder;

	return read_at(WALL, &holder);
}

static void
cover(uint32_t p, int64_t seconds, bool caught_up)
{
	clock_cover(&c, p, seconds * SECOND, caught_up, false, now);
}

static void
test_unknown_until_all_are_heard(void **state)
{
	int holder;

	(void)state;
	assert_int_equal(read_clock(), CLOCK_UNKNOWN);
	clock_add(&c, 0, true);
	clock_add(&c, 7, true);
	assert_true(clock_behind(&c));
	clock_cover(&c, 0, CLOCK_UNKNOWN, true, false, now);
	assert_int_equal(read_at(WALL, &holder), CLOCK_UNKNOWN);
	assert_int_equal(holder, 7); /* named also while no event time is known */
	cover(0, 100, true);
	assert_int_equal(read_at(WALL, &holder), CLOCK_UNKNOWN);
	assert_int_equal(holder, 7);
	cover(1, 90, false);
	assert_int_equal(read_at(WALL, &holder), 90 * SECOND);
	assert_int_equal(holder, 7);
	cover(1, 95, true);
	assert_int_equal(read_at(WALL, &holder), 100 * SECOND);
	assert_int_equal(holder, -1);
	assert_false(clock_behind(&c));
}

/* All input has stopped: time goes on as it passes, from when T last rose. */
static void
test_silence_passes(void **state)
{
	(void)state;
	clock_add(&c, 0, true);
	clock_add(&c, 1, true);
	cover(0, 100, true);
	cover(1, 50, true);
	now.us += 30 * SECOND;
	assert_int_equal(read_clock(), 130 * SECOND);
	/* An older event changes nothing, a newer one begins again from its own time. */
	cover(1, 60, true);
	assert_int_equal(read_clock(), 130 * SECOND);
	cover(1, 140, true);
	now.us += 5 * SECOND;
	assert_int_equal(read_clock(), 145 * SECOND);
}

static void
test_a_backlog_holds_it(void **state)
{
	(void)state;
	clock_add(&c, 0, true);
	clock_add(&c, 1, true);
	cover(0, 1000, true);
	cover(1, 10, false);
	now.us += 3600 * SECOND;
	assert_int_equal(read_clock(), 10 * SECOND);
	cover(1, 500, false);
	assert_int_equal(read_clock(), 500 * SECOND);
}

static void
test_never_back_and_never_beyond_the_wall(void **state)
{
	int holder;

	(void)state;
	clock_add(&c, 0, true);
	cover(0, 1000, true);
	assert_int_equal(read_at(400 * SECOND, &holder), 400 * SECOND);
	assert_int_equal(read_at(300 * SECOND, &holder), 400 * SECOND);
	/* A partition found later holds the clock where it is. */
	clock_add(&c, 1, true);
	assert_int_equal(read_clock(), 400 * SECOND);
	cover(1, 5, false);
	assert_int_equal(read_clock(), 400 * SECOND);
	cover(1, 5, true);
	assert_int_equal(read_clock(), 1000 * SECOND);
}

static void
test_finished_partitions_count_as_t(void **state)
{
	(void)state;
	clock_add(&c, 0, true);
	clock_add(&c, 1, true);
	clock_cover(&c, 0, 70 * SECOND, false, true, now);
	assert_false(clock_finished(&c));
	clock_cover(&c, 1, CLOCK_UNKNOWN, false, true, now);
	assert_true(clock_finished(&c));
	now.us += 10 * SECOND;
	assert_int_equal(read_clock(), 70 * SECOND);
}

static void
test_sources_without_time_do_not_move_it(void **state)
{
	int holder;

	(void)state;
	clock_add(&c, 3, false);
	clock_add(&c, 1, true);
	clock_cover(&c, 0, CLOCK_UNKNOWN, false, false, now);
	cover(1, 42, true);
	assert_int_equal(read_at(WALL, &holder), 42 * SECOND);
	/* It is behind all the same: batches may be larger. */
	assert_true(clock_behind(&c));
}

static void
test_partitions_that_are_gone(void **state)
{
	(void)state;
	clock_add(&c, 0, true);
	clock_add(&c, 1, true);
	clock_gone(&c, 0);
	cover(1, 42, true);
	assert_int_equal(read_clock(), 42 * SECOND);
	assert_false(clock_behind(&c));
	/* It came back, with something appended. */
	cover(0, 43, false);
	assert_true(clock_behind(&c));
	assert_int_equal(read_clock(), 43 * SECOND);
}

/* After a restart: what the states show, although nothing new was read. */
static void
test_seen_before(void **state)
{
	(void)state;
	clock_add(&c, 0, true);
	clock_cover(&c, 0, CLOCK_UNKNOWN, true, false, now);
	assert_int_equal(read_clock(), CLOCK_UNKNOWN);
	clock_seen(&c, 77 * SECOND, now);
	now.us += SECOND;
	assert_int_equal(read_clock(), 78 * SECOND);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, up, down)
	const struct CMUnitTest tests[] = {
	    T(test_unknown_until_all_are_heard),
	    T(test_silence_passes),
	    T(test_a_backlog_holds_it),
	    T(test_never_back_and_never_beyond_the_wall),
	    T(test_finished_partitions_count_as_t),
	    T(test_sources_without_time_do_not_move_it),
	    T(test_partitions_that_are_gone),
	    T(test_seen_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
