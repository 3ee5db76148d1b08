/*
 * fleet: all children of one supervisor, and the phase they are in. Events come in (frames, exits,
 * signals, time), policy says what to do, this does it. No waiting here: loop does that.
 */
#ifndef SUPERVISOR_FLEET_H
#define SUPERVISOR_FLEET_H

#include "chan.h"
#include "child.h"
#include "loss.h"
#include "peer.h"
#include "rundir.h"

enum {
	CLOSE_MS_MAX = 3000, /* what the workers that are alone have for ending */
	ADDRESS_MS_MAX =
	    30000, /* what an earlier supervisor has for leaving the address of status */
};

struct fleet_setup {
	const struct model *model;
	const struct rundir *rundir;
	struct board *board;
	struct chan_setup chan;
	const char *exec_dir; /* of the workers' executables, ends in / */
	char *const *envp;    /* of the workers */
	uint32_t roles;	      /* 1 << ROLE_*: which there are */
	int64_t wait_ms;      /* bounded: how long a dependency may be down */
	const char
	    *listen; /* asked for while chan.listen_fd is -1: status is born when it is free */
};

struct fleet {
	struct fleet_setup setup;
	struct child children[BOARD_ROWS_MAX];
	unsigned n;
	enum phase phase;
	struct mono phase_due; /* the phase's time limit */
	uint32_t generation;
	struct losses losses;
	struct mono taken_since; /* the data workers are steady, and the address is still taken */
	struct peering told[ROLE_MAX]; /* of each role that restarts alone */
	bool asked;		       /* to stop */
	int exit_code;
	char reason[REASON_BYTES_MAX]; /* of exit_code != 0 */
	char said[512];		       /* by science, of the one hand-over that this was for */
};

/* Makes the slots. On failure nothing is left to free. */
MUSTCHECK bool fleet_init(struct fleet *f, const struct fleet_setup *setup, struct err *e);
void fleet_free(struct fleet *f);

void fleet_begin(struct fleet *f);	      /* the first births */
void fleet_read(struct fleet *f, unsigned i); /* child i's channel is readable */
void fleet_reap(struct fleet *f);	      /* SIGCHLD */
void fleet_stop(struct fleet *f,
		bool at_once); /* SIGTERM, SIGINT: drain; at_once: kill when asked before */

/* SIGHUP: every worker is born anew, with the key and login files as they are now. */
void fleet_renew(struct fleet *f);

/* Time passes: hangs, throttles, limits; publishes the board. Returns when it wants to be called
 * again. */
struct mono fleet_tick(struct fleet *f, struct mono now);

static inline bool
fleet_over(const struct fleet *f)
{
	return f->phase == PHASE_OVER;
}

#endif
