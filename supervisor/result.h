/*
 * result: what a bounded run has done, summed over the metric pages: the line of JSON at its end,
 * and the progress line on a terminal meanwhile.
 */
#ifndef SUPERVISOR_RESULT_H
#define SUPERVISOR_RESULT_H

#include "fleet.h"

struct result {
	uint64_t events[SOURCES_MAX]; /* committed */
	uint64_t rows[TABLES_MAX];
	uint64_t all_events, backlog, processes, dead, duplicates;
	uint64_t
	    alarms; /* files that were cut, replaced or changed: some of their lines are not read */
};

void result_sum(const struct fleet *f, struct result *r);

/* The code the fleet ended with; 65 with alarms, 1 with dead letters, else 0. */
int result_code(const struct fleet *f, const struct result *r);

/*
 * One line:
 * {"pipeline","events":{source:n},"rows":{table:n},"processes","dead_letters","duplicates",
 * "alarms","seconds","generations","exit",
 * "workers":[{"role","index","cpu_seconds","peak_rss_bytes"}]},
 * with "reason" when exit is neither 0 nor 1. Appends to out.
 */
void result_print(const struct fleet *f, const struct result *r, int64_t us, struct buf *out);

/*
 * The same for a result file (outcome.h): without "workers", and then without "events" and "rows",
 * where it would be longer than OUTCOME_BYTES_MAX. out is overwritten.
 */
void result_brief(const struct fleet *f, const struct result *r, int64_t us, struct buf *out);

/* How `up` ended, for a result file: {"pipeline","instance","seconds","generations","exit"}, with
 * "reason" as above. Appends. */
void result_up(const struct fleet *f, int64_t us, struct buf *out);

/*
 * The line of a run for one hand-over (cli/start.h), appended; returns the exit code. What science
 * said is passed on when it is one line that begins and ends as a JSON object does.
 */
int result_handoff(const struct fleet *f, int64_t us, struct buf *out);

struct progress {
	struct mono started, shown;
	uint64_t events_shown;
	bool any; /* a line stands on the terminal */
};

/*
 * Rewrites the line on stderr, at most once a second. The cursor stays at its beginning, so that a
 * log line of whichever process replaces it.
 */
void progress_show(struct progress *p, const struct fleet *f, struct mono now);
void progress_end(struct progress *p); /* the next line begins at its beginning */

#endif
