/*
 * child: one slot of the fleet: a role, an index, and the process that lives there now. Birth,
 * death and what is remembered of both. What to do about it is policy's; when, is fleet's.
 */
#ifndef SUPERVISOR_CHILD_H
#define SUPERVISOR_CHILD_H

#include <sys/types.h>

#include "ctl.h"
#include "metric.h"
#include "mono.h"
#include "policy.h"

struct child {
	enum role role;
	unsigned index;
	char subject[32]; /* "ingest.0" */
	enum child_state state;
	pid_t pid;
	int sock; /* -1: none, or the worker closed it */
	uint32_t generation;
	bool ready; /* this process said READY */
	bool going; /* its STATS say that it works */
	bool done;  /* this process said BYE 0 at its time */

	/* Outlives the process: its counters, and what status reads. */
	int page_fd, page_read_fd;
	struct metric_page *page;

	int64_t cpu_us;		 /* user and system time of all its processes that have ended */
	uint64_t peak_rss_bytes; /* the largest of them */
	struct mono born, ready_at, heard, moved, bye_at;
	uint64_t progress, queued;
	enum worker_wait wait;
	struct mono wait_since;
	char why[256];

	unsigned strikes;      /* in a row; policy_delay_ms */
	struct mono birth_due; /* of one that is born again alone */
	char death[160];       /* the last one, for a person */

	struct board_row row; /* as it is shown */
};

/* Makes the slot with its metric page; undone by child_free. */
MUSTCHECK bool child_init(struct child *c, enum role role, unsigned index, struct err *e);
void child_free(struct child *c);

/*
 * Forks and execs `path`, with the control socket as fd 3, /dev/null as input, stderr as output,
 * and nothing else open; envp as given. The caller posts EVENT_BIRTH. Undone by child_reaped.
 */
MUSTCHECK bool child_spawn(struct child *c, const char *path, char *const *envp,
			   uint32_t generation, struct err *e);

void child_kill(struct child *c);

/* The process is gone: forgets it, keeps the evidence. status and used as from wait4. */
struct rusage;
void child_reaped(struct child *c, int status, const struct rusage *used, int64_t now_wall_us);

/* NULL: alive (policy_hang). */
const char *child_hang(const struct child *c, struct mono now);

const char *child_state_name(enum child_state s);
bool child_is_data(const struct child *c);

#endif
