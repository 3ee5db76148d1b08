/*
 * The supervisor's decisions: one test per cell of both tables, against a second, independent writing of them as a
 * grid, and tests of the rules that the tables must keep as a whole.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl.h"
#include "mem.h"
#include "supervisor/policy.h"

/* Each cell "action:next"; "-" changes nothing and does nothing, "!" cannot happen. */
static const char *const states[CHILD_STATE_MAX] = {"down", "born",  "conf",  "ready",
						    "up",   "ended", "killed"};
static const char *const actions[CHILD_ACTION_MAX] = {"none", "configure", "go",   "note", "finish",
						      "loss", "break",	   "kill", "stop", "bug"};

#define GRID_COLUMNS 13

/* clang-format off */
static const char *const child_grid[CHILD_STATE_MAX][GRID_COLUMNS] = {
/*            BIRTH        HELLO             READY           GO        STATS           DONE            QUIT          REBORN        REFUSED       BREACH          HANG            KILL           EXIT */
/* down   */ {"none:born", "!",              "!",            "!",      "!",            "!",            "!",          "!",          "!",          "!",            "!",            "-",           "!"},
/* born   */ {"!",         "configure:conf", "break:killed", "!",      "break:killed", "loss:ended",   "loss:ended", "loss:ended", "stop:ended", "break:killed", "break:killed", "kill:killed", "loss:down"},
/* conf   */ {"!",         "break:killed",   "note:ready",   "!",      "note:conf",    "finish:ended", "loss:ended", "loss:ended", "stop:ended", "break:killed", "break:killed", "kill:killed", "loss:down"},
/* ready  */ {"!",         "break:killed",   "break:killed", "go:up",  "note:ready",   "finish:ended", "loss:ended", "loss:ended", "stop:ended", "break:killed", "break:killed", "kill:killed", "loss:down"},
/* up     */ {"!",         "break:killed",   "break:killed", "!",      "note:up",      "finish:ended", "loss:ended", "loss:ended", "stop:ended", "break:killed", "break:killed", "kill:killed", "loss:down"},
/* ended  */ {"!",         "-",              "-",            "!",      "-",            "-",            "-",          "-",          "-",          "kill:killed",  "kill:killed",  "kill:killed", "none:down"},
/* killed */ {"!",         "-",              "-",            "!",      "-",            "-",            "-",          "-",          "-",          "-",            "-",            "-",           "none:down"},
};

static const char *const phases[PHASE_MAX] = {"bearing", "running", "renewing", "draining", "closing", "killing", "over"};
static const char *const doings[PHASE_ACTION_MAX] = {"nothing", "go", "kill-data", "bear", "drain", "close", "abandon", "kill-all"};

static const char *const phase_grid[PHASE_MAX][PHASE_EVENT_MAX] = {
/*              ALL_READY     LOSS                  REAPED          ALL_DONE         ASKED              ASKED_AGAIN         REFUSED             LATE                ALL_DOWN */
/* bearing  */ {"go:running", "kill-data:renewing", "-",            "-",             "abandon:closing", "kill-all:killing", "kill-all:killing", "-",                "-"},
/* running  */ {"-",          "kill-data:renewing", "-",            "close:closing", "drain:draining",  "kill-all:killing", "kill-all:killing", "-",                "-"},
/* renewing */ {"-",          "-",                  "bear:bearing", "-",             "abandon:closing", "kill-all:killing", "kill-all:killing", "-",                "-"},
/* draining */ {"-",          "abandon:closing",    "-",            "close:closing", "-",               "kill-all:killing", "kill-all:killing", "abandon:closing",  "-"},
/* closing  */ {"-",          "-",                  "-",            "-",             "-",               "kill-all:killing", "-",                "kill-all:killing", "nothing:over"},
/* killing  */ {"-",          "-",                  "-",            "-",             "-",               "-",                "-",                "-",                "nothing:over"},
/* over     */ {"-",          "-",                  "-",            "-",             "-",               "-",                "-",                "-",                "-"},
};
/* clang-format on */

_Static_assert(GRID_COLUMNS == CHILD_EVENT_MAX, "the grid has a column for each event");

struct cell {
	char name[64];
	int row, column;
};

static void
expect(const char *want, const char *action, const char *next, const char *stay, const char *idle)
{
	char got[64];

	snprintf(got, sizeof got, "%s:%s", action, next);
	if (!strcmp(want, "-")) {
		assert_string_equal(action, idle);
		assert_string_equal(next, stay);
	} else if (!strcmp(want, "!")) {
		assert_string_equal(action, "bug");
		assert_string_equal(next, stay);
	} else {
		assert_string_equal(got, want);
	}
}

static void
child_cell(void **state)
{
	const struct cell *c = *state;
	struct child_cell got = policy_child((enum child_state)c->row, (enum child_event)c->column);

	expect(child_grid[c->row][c->column], actions[got.action], states[got.next], states[c->row],
	       "none");
}

static void
phase_cell(void **state)
{
	const struct cell *c = *state;
	struct phase_cell got = policy_phase((enum phase)c->row, (enum phase_event)c->column);

	expect(phase_grid[c->row][c->column], doings[got.action], phases[got.next], phases[c->row],
	       "nothing");
}

/* ---- rules over whole tables ---- */

static void
every_process_can_end(void **state)
{
	(void)state;
	for (int s = CHILD_BORN; s < CHILD_STATE_MAX; s++) {
		assert_int_equal(policy_child((enum child_state)s, EVENT_EXIT).next, CHILD_DOWN);
		assert_int_equal(policy_child((enum child_state)s, EVENT_KILL).next, CHILD_KILLED);
	}
}

static void
a_loss_is_told_once(void **state)
{
	(void)state;
	/* Whatever a child says after it is given up, nothing follows but its reaping. */
	for (int ev = 0; ev < CHILD_EVENT_MAX; ev++) {
		enum child_action a = policy_child(CHILD_KILLED, (enum child_event)ev).action;
		assert_true(a == ACT_NONE || a == ACT_BUG);
		a = policy_child(CHILD_ENDED, (enum child_event)ev).action;
		assert_true(a == ACT_NONE || a == ACT_BUG || a == ACT_KILL);
	}
}

static void
frames_never_reach_a_bug(void **state)
{
	static const enum child_event from_worker[] = {EVENT_HELLO,   EVENT_READY,  EVENT_STATS,
						       EVENT_DONE,    EVENT_QUIT,   EVENT_REBORN,
						       EVENT_REFUSED, EVENT_BREACH, EVENT_EXIT};

	(void)state;
	/* Only what the supervisor does itself can be its bug, never what a living worker sends. */
	for (int s = CHILD_BORN; s < CHILD_STATE_MAX; s++)
		for (unsigned i = 0; i < sizeof from_worker / sizeof *from_worker; i++)
			assert_int_not_equal(
			    policy_child((enum child_state)s, from_worker[i]).action, ACT_BUG);
}

static void
only_ready_goes(void **state)
{
	(void)state;
	for (int s = 0; s < CHILD_STATE_MAX; s++)
		for (int ev = 0; ev < CHILD_EVENT_MAX; ev++)
			if (policy_child((enum child_state)s, (enum child_event)ev).next ==
				CHILD_UP &&
			    s != CHILD_UP) {
				assert_int_equal(s, CHILD_READY);
				assert_int_equal(ev, EVENT_GO);
			}
}

static void
stopping_never_turns_back(void **state)
{
	(void)state;
	for (int p = PHASE_DRAINING; p < PHASE_MAX; p++)
		for (int ev = 0; ev < PHASE_EVENT_MAX; ev++)
			assert_true((int)policy_phase((enum phase)p, (enum phase_event)ev).next >=
				    p);
}

/* ---- deaths ---- */

static void
causes(void **state)
{
	(void)state;
	assert_int_equal(policy_cause(true, SIGKILL, 0), CAUSE_KILLED);
	assert_int_equal(policy_cause(true, SIGTERM, 0), CAUSE_KILLED);
	assert_int_equal(policy_cause(false, SIGKILL, 0), CAUSE_EARLY);
	assert_int_equal(policy_cause(true, SIGSEGV, 0), CAUSE_CRASH);
	assert_int_equal(policy_cause(false, SIGABRT, 0), CAUSE_CRASH);
	assert_int_equal(policy_cause(true, 0, 99), CAUSE_CRASH);
	assert_int_equal(policy_cause(false, 0, 127), CAUSE_CRASH);
	assert_int_equal(policy_cause(true, 0, 0), CAUSE_KILLED);
	assert_int_equal(policy_cause(false, 0, 0), CAUSE_EARLY);
}

static void
strikes(void **state)
{
	static const struct {
		unsigned before;
		enum cause cause;
		int64_t lived_ms;
		unsigned after;
	} rows[] = {
	    {0, CAUSE_KILLED, 5000, 0}, /* kill -9 of a working worker: no delay */
	    {0, CAUSE_KILLED, 500, 1},	/* one that hardly lived */
	    {3, CAUSE_KILLED, 5000, 3}, {3, CAUSE_KILLED, 20000, 0}, {0, CAUSE_CRASH, 5000, 1},
	    {4, CAUSE_CRASH, 5000, 5},	{4, CAUSE_CRASH, 20000, 1}, /* lived long: a new count */
	    {0, CAUSE_REBORN, 10, 0},	{2, CAUSE_REBORN, -1, 2},    {2, CAUSE_EARLY, -1, 3},
	    {2, CAUSE_QUIT, 5000, 3},	{2, CAUSE_HANG, 6000, 3},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(policy_strikes(rows[i].before, rows[i].cause, rows[i].lived_ms),
				 rows[i].after);
}

static void
throttle(void **state)
{
	static const int64_t want[] = {0, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000};

	(void)state;
	for (unsigned i = 0; i < sizeof want / sizeof *want; i++)
		assert_int_equal(policy_delay_ms(i), want[i]);
	assert_int_equal(policy_delay_ms(4000000000u), THROTTLE_MS_MAX);
}

static void
giving_up(void **state)
{
	(void)state;
	assert_false(policy_gives_up(0));
	assert_false(policy_gives_up(CRASHES_MAX));
	assert_true(policy_gives_up(CRASHES_MAX + 1));
}

static void
byes(void **state)
{
	(void)state;
	assert_int_equal(policy_bye(EXIT_DONE, true), EVENT_DONE);
	assert_int_equal(policy_bye(EXIT_DONE, false), EVENT_QUIT);
	assert_int_equal(policy_bye(EXIT_UNAVAILABLE, true), EVENT_QUIT);
	assert_int_equal(policy_bye(EXIT_UNAVAILABLE, false), EVENT_QUIT);
	assert_int_equal(policy_bye(CTL_BYE_REBORN, true), EVENT_REBORN);
	assert_int_equal(policy_bye(CTL_BYE_REBORN, false), EVENT_REBORN);
	for (int may = 0; may < 2; may++) {
		assert_int_equal(policy_bye(EXIT_CONFIG, may), EVENT_REFUSED);
		assert_int_equal(policy_bye(EXIT_PERMISSION, may), EVENT_REFUSED);
		assert_int_equal(policy_bye(EXIT_TRY_LATER, may), EVENT_REFUSED);
		assert_int_equal(policy_bye(EXIT_BUG, may), EVENT_REFUSED);
		assert_int_equal(policy_bye(EXIT_DATA, may), EVENT_REFUSED);
		assert_int_equal(policy_bye(200, may), EVENT_REFUSED);
	}
}

/* ---- hangs ---- */

static void
hangs(void **state)
{
	static const struct {
		struct vital v;
		bool hangs;
	} rows[] = {
	    {{.state = CHILD_UP, .silent_ms = CTL_HANG_MS}, false},
	    {{.state = CHILD_UP, .silent_ms = CTL_HANG_MS + 1}, true},
	    {{.state = CHILD_READY, .silent_ms = CTL_HANG_MS + 1}, true},
	    {{.state = CHILD_UP, .queued = true, .still_ms = CTL_STUCK_MS + 1}, true},
	    {{.state = CHILD_UP, .queued = true, .still_ms = CTL_STUCK_MS}, false},
	    {{.state = CHILD_UP, .queued = false, .still_ms = CTL_STUCK_MS + 1}, false},
	    {{.state = CHILD_UP, .queued = true, .waiting = true, .still_ms = CTL_STUCK_MS + 1},
	     false},
	    {{.state = CHILD_BORN, .silent_ms = BIRTH_MS_MAX, .age_ms = BIRTH_MS_MAX}, false},
	    {{.state = CHILD_BORN, .age_ms = BIRTH_MS_MAX + 1}, true},
	    {{.state = CHILD_CONFIGURED, .age_ms = BIRTH_MS_MAX + 1}, true},
	    {{.state = CHILD_ENDED, .age_ms = EXIT_MS_MAX}, false},
	    {{.state = CHILD_ENDED, .age_ms = EXIT_MS_MAX + 1}, true},
	    {{.state = CHILD_DOWN, .silent_ms = 1 << 30, .age_ms = 1 << 30}, false},
	    {{.state = CHILD_KILLED, .silent_ms = 1 << 30, .age_ms = 1 << 30}, false},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(policy_hang(&rows[i].v) != NULL, rows[i].hangs);
}

static const struct CMUnitTest rules[] = {
    cmocka_unit_test(every_process_can_end),
    cmocka_unit_test(a_loss_is_told_once),
    cmocka_unit_test(frames_never_reach_a_bug),
    cmocka_unit_test(only_ready_goes),
    cmocka_unit_test(stopping_never_turns_back),
    cmocka_unit_test(causes),
    cmocka_unit_test(strikes),
    cmocka_unit_test(throttle),
    cmocka_unit_test(giving_up),
    cmocka_unit_test(byes),
    cmocka_unit_test(hangs),
};

enum {
	CELLS_CHILD = (int)CHILD_STATE_MAX * CHILD_EVENT_MAX,
	CELLS_PHASE = (int)PHASE_MAX * PHASE_EVENT_MAX,
	CELLS = CELLS_CHILD + CELLS_PHASE,
	RULES = sizeof rules / sizeof *rules,
};

/* One cmocka test per cell. */
static void
cells_add(struct CMUnitTest *tests, struct cell *cells, const char *what, int rows, int columns,
	  const char *const *row_names, CMUnitTestFunction run)
{
	for (int i = 0; i < rows * columns; i++) {
		cells[i].row = i / columns;
		cells[i].column = i % columns;
		snprintf(cells[i].name, sizeof cells[i].name, "%s %s, event %d", what,
			 row_names[cells[i].row], cells[i].column);
		tests[i] = (struct CMUnitTest){
		    .name = cells[i].name, .test_func = run, .initial_state = &cells[i]};
	}
}

int
main(void)
{
	static struct cell cells[CELLS];
	static struct CMUnitTest tests[CELLS + RULES];

	cells_add(tests, cells, "child", CHILD_STATE_MAX, CHILD_EVENT_MAX, states, child_cell);
	cells_add(tests + CELLS_CHILD, cells + CELLS_CHILD, "phase", PHASE_MAX, PHASE_EVENT_MAX,
		  phases, phase_cell);
	memcpy(tests + CELLS, rules, sizeof rules);
	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
