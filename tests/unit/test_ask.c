/* ask: when a supervisor may say that a dependency is down, and that it is over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mem.h"
#include "supervisor/ask.h"

enum { LANES = 2 };

static int
fleet_up(void **state)
{
	struct fleet *f = mem_zero(1, sizeof *f);

	f->n = LANES;
	for (unsigned i = 0; i < LANES; i++) {
		f->children[i].role = ROLE_LOAD;
		f->children[i].index = i;
		f->children[i].state = CHILD_UP;
		f->children[i].ready_at = mono_add_ms(mono_now(), -10000);
	}
	*state = f;
	return 0;
}

static int
fleet_down(void **state)
{
	free(*state);
	return 0;
}

/* Of a bounded run one lane ends before the other; what was down before is over all the same. */
static void
test_a_lane_that_has_ended_is_steady(void **state)
{
	struct fleet *f = *state;

	assert_true(ask_data_steady(f));
	f->children[0].state = CHILD_DOWN;
	assert_false(ask_data_steady(f));
	f->children[0].done = true;
	assert_true(ask_data_steady(f));
	f->children[1].ready_at = mono_now();
	assert_false(ask_data_steady(f));
}

static void
test_taking_over_is_no_dependency(void **state)
{
	struct fleet *f = *state;

	f->children[0].wait = WAIT_PEERS;
	assert_false(ask_waits_outside(f, &f->children[0]));
	f->children[0].wait = WAIT_WAREHOUSE;
	assert_true(ask_waits_outside(f, &f->children[0]));
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fleet_up, fleet_down)
	const struct CMUnitTest tests[] = {
	    T(test_a_lane_that_has_ended_is_steady),
	    T(test_taking_over_is_no_dependency),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
