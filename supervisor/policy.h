/*
 * policy: every decision of supervision, pure: tables of (state, event) to (action, next state),
 * and a few functions of numbers. No I/O, no clock. Each cell has a unit test.
 *
 * Two machines: one per child (a worker's process), one for the whole (the phase of the
 * supervisor).
 */
#ifndef SUPERVISOR_POLICY_H
#define SUPERVISOR_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

/* ---- a child ---- */
enum child_state {
	CHILD_DOWN,	  /* no process */
	CHILD_BORN,	  /* forked; HELLO is due */
	CHILD_CONFIGURED, /* has its slice and descriptors; READY is due */
	CHILD_READY,	  /* waits for GO */
	CHILD_UP,
	CHILD_ENDED,  /* said BYE; its exit is due */
	CHILD_KILLED, /* SIGKILL was sent; its exit is due */
	CHILD_STATE_MAX
};

enum child_event {
	EVENT_BIRTH, /* forked */
	EVENT_HELLO,
	EVENT_READY,
	EVENT_GO, /* the generation may begin */
	EVENT_STATS,
	EVENT_DONE, /* BYE 0 at its time: draining, or a bounded run */
	EVENT_QUIT, /* BYE that a restart may help: a dependency is down, or 0 at the wrong time */
	EVENT_REBORN,  /* BYE: nothing failed, the generation is to begin anew */
	EVENT_REFUSED, /* BYE that no restart can help: configuration, permission, fenced, our bug
			*/
	EVENT_BREACH,  /* a wrong control frame */
	EVENT_HANG,    /* silent, stuck, or not born in time */
	EVENT_KILL,    /* the supervisor wants it gone */
	EVENT_EXIT,    /* reaped */
	CHILD_EVENT_MAX
};

enum child_action {
	ACT_NONE,
	ACT_CONFIGURE, /* send CONFIG, descriptors, START */
	ACT_GO,	       /* send GO */
	ACT_NOTE,      /* remember what it said of itself */
	ACT_FINISH,    /* it has done its work */
	ACT_LOSS,  /* it is lost: a data worker ends the generation, another is born again alone */
	ACT_BREAK, /* SIGKILL, and it is lost */
	ACT_KILL,  /* SIGKILL, no more than that */
	ACT_STOP,  /* the supervisor stops with this worker's code and reason */
	ACT_BUG,   /* the supervisor itself is wrong */
	CHILD_ACTION_MAX
};

struct child_cell {
	enum child_action action;
	enum child_state next;
};

struct child_cell policy_child(enum child_state s, enum child_event ev);

/* ---- the whole ---- */
enum phase {
	PHASE_BEARING,	/* data workers are being born */
	PHASE_RUNNING,	/* GO was sent */
	PHASE_RENEWING, /* a generation was lost: its workers die, the next one waits for its time
			 */
	PHASE_DRAINING, /* ingest has stopped reading, the rest flows out */
	PHASE_CLOSING,	/* no data worker is left; the others end */
	PHASE_KILLING,
	PHASE_OVER,
	PHASE_MAX
};

enum phase_event {
	PHASE_EV_ALL_READY, /* every data worker */
	PHASE_EV_LOSS,	    /* of a data worker */
	PHASE_EV_REAPED,    /* no data worker is left and the throttle is over */
	PHASE_EV_ALL_DONE,  /* every data worker said BYE 0 and is gone */
	PHASE_EV_ASKED,	    /* SIGTERM, SIGINT */
	PHASE_EV_ASKED_AGAIN,
	PHASE_EV_REFUSED, /* go on is impossible: a worker's code, a limit of deaths, --wait */
	PHASE_EV_LATE,	  /* the phase's time limit is over */
	PHASE_EV_ALL_DOWN,
	PHASE_EVENT_MAX
};

enum phase_action {
	DO_NOTHING,
	DO_GO,
	DO_KILL_DATA, /* kill what is left of the generation */
	DO_BEAR,      /* the next generation */
	DO_DRAIN,     /* DRAIN to ingest */
	DO_CLOSE,     /* DRAIN to the workers that are alone */
	DO_ABANDON,   /* kill the data workers, then as DO_CLOSE */
	DO_KILL_ALL,
	PHASE_ACTION_MAX
};

struct phase_cell {
	enum phase_action action;
	enum phase next;
};

struct phase_cell policy_phase(enum phase p, enum phase_event ev);

/* ---- deaths ---- */
enum {
	THROTTLE_MS_FIRST = 100,
	THROTTLE_MS_MAX = 10000,
	CRASHES_MAX =
	    5, /* more of one role within CRASH_WINDOW_MS, nothing committed between: stop */
	CRASH_WINDOW_MS = 60000,
	BRIEF_MS = 1000,      /* shorter than that after READY: it hardly lived */
	SETTLED_MS = 10000,   /* so long after READY: a new count of strikes */
	BIRTH_MS_MAX = 30000, /* from fork to READY */
	EXIT_MS_MAX = 10000,  /* from BYE to its exit */
};

enum cause {
	CAUSE_KILLED, /* somebody's SIGKILL or SIGTERM after READY: born again at once */
	CAUSE_EARLY,  /* before READY: a bad start */
	CAUSE_QUIT,   /* said so: a dependency is down */
	CAUSE_CRASH,  /* a fault's signal, an exit without BYE, a breach of the protocol */
	CAUSE_HANG,   /* killed by us: silent or stuck */
	CAUSE_REBORN, /* asked for a new generation: neither strike nor delay of its own */
	CAUSE_MAX
};

/* What an unannounced exit means. signal 0: exited with code. */
enum cause policy_cause(bool was_ready, int signal, int code);

/*
 * Strikes after one more death: a worker that lived long starts anew; one that was killed by hand
 * has none, unless it hardly lived. lived_ms: since READY, -1 when it was not ready.
 */
unsigned policy_strikes(unsigned strikes, enum cause c, int64_t lived_ms);

/* Delay before the next birth after so many strikes in a row: 0, 100 ms, doubling, at most 10 s. */
int64_t policy_delay_ms(unsigned strikes);

/* One role's crashes within the window, nothing committed between. */
bool policy_gives_up(unsigned crashes);

/* What BYE with that code means while the worker may (or may not yet) end. */
enum child_event policy_bye(int code, bool may_end);

/* ---- hangs ---- */
struct vital {
	enum child_state state;
	int64_t silent_ms; /* since the last frame */
	int64_t age_ms;	   /* since the fork, or since BYE */
	int64_t still_ms;  /* since progress last rose, or since nothing was queued */
	bool queued, waiting;
};

/* NULL: alive. Else why it counts as hanging, for a person. */
const char *policy_hang(const struct vital *v);

#endif
