#include "policy.h"

#include <signal.h>
#include <stddef.h>

#include "ctl.h"

/*
 * Rows are states, columns are events, in the order of the enums. KILLED and ENDED swallow what was
 * still in the channel: the worker's fate is decided.
 */
#define TO(action_, next_)                                                                         \
	{                                                                                          \
		ACT_##action_, CHILD_##next_                                                       \
	}

static const struct child_cell child_cells[CHILD_STATE_MAX][CHILD_EVENT_MAX] =
    {
	[CHILD_DOWN] =
	    {
		[EVENT_BIRTH] = TO(NONE, BORN),
		[EVENT_HELLO] = TO(BUG, DOWN),
		[EVENT_READY] = TO(BUG, DOWN),
		[EVENT_GO] = TO(BUG, DOWN),
		[EVENT_STATS] = TO(BUG, DOWN),
		[EVENT_DONE] = TO(BUG, DOWN),
		[EVENT_QUIT] = TO(BUG, DOWN),
		[EVENT_REBORN] = TO(BUG, DOWN),
		[EVENT_REFUSED] = TO(BUG, DOWN),
		[EVENT_BREACH] = TO(BUG, DOWN),
		[EVENT_HANG] = TO(BUG, DOWN),
		[EVENT_KILL] = TO(NONE, DOWN),
		[EVENT_EXIT] = TO(BUG, DOWN),
	    },
	[CHILD_BORN] =
	    {
		[EVENT_BIRTH] = TO(BUG, BORN),
		[EVENT_HELLO] = TO(CONFIGURE, CONFIGURED),
		[EVENT_READY] = TO(BREAK, KILLED),
		[EVENT_GO] = TO(BUG, BORN),
		[EVENT_STATS] = TO(BREAK, KILLED),
		[EVENT_DONE] = TO(LOSS, ENDED),
		[EVENT_QUIT] = TO(LOSS, ENDED),
		[EVENT_REBORN] = TO(LOSS, ENDED),
		[EVENT_REFUSED] = TO(STOP, ENDED),
		[EVENT_BREACH] = TO(BREAK, KILLED),
		[EVENT_HANG] = TO(BREAK, KILLED),
		[EVENT_KILL] = TO(KILL, KILLED),
		[EVENT_EXIT] = TO(LOSS, DOWN),
	    },
	[CHILD_CONFIGURED] =
	    {
		[EVENT_BIRTH] = TO(BUG, CONFIGURED),
		[EVENT_HELLO] = TO(BREAK, KILLED),
		[EVENT_READY] = TO(NOTE, READY),
		[EVENT_GO] = TO(BUG, CONFIGURED),
		[EVENT_STATS] = TO(NOTE, CONFIGURED),
		[EVENT_DONE] = TO(FINISH, ENDED),
		[EVENT_QUIT] = TO(LOSS, ENDED),
		[EVENT_REBORN] = TO(LOSS, ENDED),
		[EVENT_REFUSED] = TO(STOP, ENDED),
		[EVENT_BREACH] = TO(BREAK, KILLED),
		[EVENT_HANG] = TO(BREAK, KILLED),
		[EVENT_KILL] = TO(KILL, KILLED),
		[EVENT_EXIT] = TO(LOSS, DOWN),
	    },
	[CHILD_READY] =
	    {
		[EVENT_BIRTH] = TO(BUG, READY),
		[EVENT_HELLO] = TO(BREAK, KILLED),
		[EVENT_READY] = TO(BREAK, KILLED),
		[EVENT_GO] = TO(GO, UP),
		[EVENT_STATS] = TO(NOTE, READY),
		[EVENT_DONE] = TO(FINISH, ENDED),
		[EVENT_QUIT] = TO(LOSS, ENDED),
		[EVENT_REBORN] = TO(LOSS, ENDED),
		[EVENT_REFUSED] = TO(STOP, ENDED),
		[EVENT_BREACH] = TO(BREAK, KILLED),
		[EVENT_HANG] = TO(BREAK, KILLED),
		[EVENT_KILL] = TO(KILL, KILLED),
		[EVENT_EXIT] = TO(LOSS, DOWN),
	    },
	[CHILD_UP] =
	    {
		[EVENT_BIRTH] = TO(BUG, UP),
		[EVENT_HELLO] = TO(BREAK, KILLED),
		[EVENT_READY] = TO(BREAK, KILLED),
		[EVENT_GO] = TO(BUG, UP),
		[EVENT_STATS] = TO(NOTE, UP),
		[EVENT_DONE] = TO(FINISH, ENDED),
		[EVENT_QUIT] = TO(LOSS, ENDED),
		[EVENT_REBORN] = TO(LOSS, ENDED),
		[EVENT_REFUSED] = TO(STOP, ENDED),
		[EVENT_BREACH] = TO(BREAK, KILLED),
		[EVENT_HANG] = TO(BREAK, KILLED),
		[EVENT_KILL] = TO(KILL, KILLED),
		[EVENT_EXIT] = TO(LOSS, DOWN),
	    },
	[CHILD_ENDED] =
	    {
		[EVENT_BIRTH] = TO(BUG, ENDED),
		[EVENT_HELLO] = TO(NONE, ENDED),
		[EVENT_READY] = TO(NONE, ENDED),
		[EVENT_GO] = TO(BUG, ENDED),
		[EVENT_STATS] = TO(NONE, ENDED),
		[EVENT_DONE] = TO(NONE, ENDED),
		[EVENT_QUIT] = TO(NONE, ENDED),
		[EVENT_REBORN] = TO(NONE, ENDED),
		[EVENT_REFUSED] = TO(NONE, ENDED),
		[EVENT_BREACH] = TO(KILL, KILLED),
		[EVENT_HANG] = TO(KILL, KILLED),
		[EVENT_KILL] = TO(KILL, KILLED),
		[EVENT_EXIT] = TO(NONE, DOWN),
	    },
	[CHILD_KILLED] =
	    {
		[EVENT_BIRTH] = TO(BUG, KILLED),
		[EVENT_HELLO] = TO(NONE, KILLED),
		[EVENT_READY] = TO(NONE, KILLED),
		[EVENT_GO] = TO(BUG, KILLED),
		[EVENT_STATS] = TO(NONE, KILLED),
		[EVENT_DONE] = TO(NONE, KILLED),
		[EVENT_QUIT] = TO(NONE, KILLED),
		[EVENT_REBORN] = TO(NONE, KILLED),
		[EVENT_REFUSED] = TO(NONE, KILLED),
		[EVENT_BREACH] = TO(NONE, KILLED),
		[EVENT_HANG] = TO(NONE, KILLED),
		[EVENT_KILL] = TO(NONE, KILLED),
		[EVENT_EXIT] = TO(NONE, DOWN),
	    },
};

#undef TO

struct child_cell
policy_child(enum child_state s, enum child_event ev)
{
	return child_cells[s][ev];
}

#define TO(action_, next_)                                                                         \
	{                                                                                          \
		DO_##action_, PHASE_##next_                                                        \
	}

static const struct phase_cell phase_cells[PHASE_MAX][PHASE_EVENT_MAX] =
    {
	[PHASE_BEARING] =
	    {
		[PHASE_EV_ALL_READY] = TO(GO, RUNNING),
		[PHASE_EV_LOSS] = TO(KILL_DATA, RENEWING),
		[PHASE_EV_REAPED] = TO(NOTHING, BEARING),
		[PHASE_EV_ALL_DONE] = TO(NOTHING, BEARING),
		[PHASE_EV_ASKED] = TO(ABANDON, CLOSING), /* nothing flows before GO */
		[PHASE_EV_ASKED_AGAIN] = TO(KILL_ALL, KILLING),
		[PHASE_EV_REFUSED] = TO(KILL_ALL, KILLING),
		[PHASE_EV_LATE] = TO(NOTHING, BEARING),
		[PHASE_EV_ALL_DOWN] = TO(NOTHING, BEARING),
	    },
	[PHASE_RUNNING] =
	    {
		[PHASE_EV_ALL_READY] = TO(NOTHING, RUNNING),
		[PHASE_EV_LOSS] = TO(KILL_DATA, RENEWING),
		[PHASE_EV_REAPED] = TO(NOTHING, RUNNING),
		[PHASE_EV_ALL_DONE] = TO(CLOSE, CLOSING),
		[PHASE_EV_ASKED] = TO(DRAIN, DRAINING),
		[PHASE_EV_ASKED_AGAIN] = TO(KILL_ALL, KILLING),
		[PHASE_EV_REFUSED] = TO(KILL_ALL, KILLING),
		[PHASE_EV_LATE] = TO(NOTHING, RUNNING),
		[PHASE_EV_ALL_DOWN] = TO(NOTHING, RUNNING),
	    },
	[PHASE_RENEWING] =
	    {
		[PHASE_EV_ALL_READY] = TO(NOTHING, RENEWING),
		[PHASE_EV_LOSS] = TO(NOTHING, RENEWING),
		[PHASE_EV_REAPED] = TO(BEAR, BEARING),
		[PHASE_EV_ALL_DONE] = TO(NOTHING, RENEWING),
		[PHASE_EV_ASKED] = TO(ABANDON, CLOSING),
		[PHASE_EV_ASKED_AGAIN] = TO(KILL_ALL, KILLING),
		[PHASE_EV_REFUSED] = TO(KILL_ALL, KILLING),
		[PHASE_EV_LATE] = TO(NOTHING, RENEWING),
		[PHASE_EV_ALL_DOWN] = TO(NOTHING, RENEWING),
	    },
	[PHASE_DRAINING] =
	    {
		[PHASE_EV_ALL_READY] = TO(NOTHING, DRAINING),
		[PHASE_EV_LOSS] = TO(ABANDON, CLOSING), /* the next start redoes the rest */
		[PHASE_EV_REAPED] = TO(NOTHING, DRAINING),
		[PHASE_EV_ALL_DONE] = TO(CLOSE, CLOSING),
		[PHASE_EV_ASKED] = TO(NOTHING, DRAINING),
		[PHASE_EV_ASKED_AGAIN] = TO(KILL_ALL, KILLING),
		[PHASE_EV_REFUSED] = TO(KILL_ALL, KILLING),
		[PHASE_EV_LATE] = TO(ABANDON, CLOSING),
		[PHASE_EV_ALL_DOWN] = TO(NOTHING, DRAINING),
	    },
	[PHASE_CLOSING] =
	    {
		[PHASE_EV_ALL_READY] = TO(NOTHING, CLOSING),
		[PHASE_EV_LOSS] = TO(NOTHING, CLOSING),
		[PHASE_EV_REAPED] = TO(NOTHING, CLOSING),
		[PHASE_EV_ALL_DONE] = TO(NOTHING, CLOSING),
		[PHASE_EV_ASKED] = TO(NOTHING, CLOSING),
		[PHASE_EV_ASKED_AGAIN] = TO(KILL_ALL, KILLING),
		[PHASE_EV_REFUSED] = TO(NOTHING, CLOSING), /* the data is safe */
		[PHASE_EV_LATE] = TO(KILL_ALL, KILLING),
		[PHASE_EV_ALL_DOWN] = TO(NOTHING, OVER),
	    },
	[PHASE_KILLING] =
	    {
		[PHASE_EV_ALL_READY] = TO(NOTHING, KILLING),
		[PHASE_EV_LOSS] = TO(NOTHING, KILLING),
		[PHASE_EV_REAPED] = TO(NOTHING, KILLING),
		[PHASE_EV_ALL_DONE] = TO(NOTHING, KILLING),
		[PHASE_EV_ASKED] = TO(NOTHING, KILLING),
		[PHASE_EV_ASKED_AGAIN] = TO(NOTHING, KILLING),
		[PHASE_EV_REFUSED] = TO(NOTHING, KILLING),
		[PHASE_EV_LATE] = TO(NOTHING, KILLING),
		[PHASE_EV_ALL_DOWN] = TO(NOTHING, OVER),
	    },
	[PHASE_OVER] =
	    {
		[PHASE_EV_ALL_READY] = TO(NOTHING, OVER),
		[PHASE_EV_LOSS] = TO(NOTHING, OVER),
		[PHASE_EV_REAPED] = TO(NOTHING, OVER),
		[PHASE_EV_ALL_DONE] = TO(NOTHING, OVER),
		[PHASE_EV_ASKED] = TO(NOTHING, OVER),
		[PHASE_EV_ASKED_AGAIN] = TO(NOTHING, OVER),
		[PHASE_EV_REFUSED] = TO(NOTHING, OVER),
		[PHASE_EV_LATE] = TO(NOTHING, OVER),
		[PHASE_EV_ALL_DOWN] = TO(NOTHING, OVER),
	    },
};

#undef TO

struct phase_cell
policy_phase(enum phase p, enum phase_event ev)
{
	return phase_cells[p][ev];
}

enum cause
policy_cause(bool was_ready, int signal, int code)
{
	bool by_hand =
	    signal == SIGKILL || signal == SIGTERM || signal == SIGINT || signal == SIGHUP;

	if (signal ? !by_hand : code != 0)
		return CAUSE_CRASH;
	return was_ready ? CAUSE_KILLED : CAUSE_EARLY;
}

unsigned
policy_strikes(unsigned strikes, enum cause c, int64_t lived_ms)
{
	if (lived_ms > SETTLED_MS)
		strikes = 0;
	if (c == CAUSE_REBORN)
		return strikes;
	return strikes + (c != CAUSE_KILLED || lived_ms < BRIEF_MS);
}

int64_t
policy_delay_ms(unsigned strikes)
{
	int64_t ms = THROTTLE_MS_FIRST;

	if (strikes == 0)
		return 0;
	while (--strikes && ms < THROTTLE_MS_MAX)
		ms *= 2;
	return ms < THROTTLE_MS_MAX ? ms : THROTTLE_MS_MAX;
}

bool
policy_gives_up(unsigned crashes)
{
	return crashes > CRASHES_MAX;
}

enum child_event
policy_bye(int code, bool may_end)
{
	switch (code) {
	case EXIT_DONE:
		return may_end ? EVENT_DONE : EVENT_QUIT;
	case EXIT_UNAVAILABLE:
		return EVENT_QUIT;
	case CTL_BYE_REBORN:
		return EVENT_REBORN;
	default:
		return EVENT_REFUSED;
	}
}

const char *
policy_hang(const struct vital *v)
{
	switch (v->state) {
	case CHILD_BORN:
	case CHILD_CONFIGURED:
		return v->age_ms > BIRTH_MS_MAX ? "it was not ready in time" : NULL;
	case CHILD_READY:
	case CHILD_UP:
		if (v->silent_ms > CTL_HANG_MS)
			return "it sent no sign of life";
		if (v->queued && !v->waiting && v->still_ms > CTL_STUCK_MS)
			return "work is queued and nothing moves";
		return NULL;
	case CHILD_ENDED:
		return v->age_ms > EXIT_MS_MAX ? "it said BYE and did not exit" : NULL;
	case CHILD_DOWN:
	case CHILD_KILLED:
	case CHILD_STATE_MAX:
		return NULL;
	}
	return NULL;
}
