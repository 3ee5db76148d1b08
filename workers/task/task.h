/*
 * task: background SQL of one pipeline, each chore a few statements, none in a hurry.
 *
 *   lead       one supervisor of several does what follows
 *   segment    the slot of admin_schema.state that new state goes to moves on when it is large, and
 *              a slot whose every row is superseded is emptied
 *   retain     closed shard rows and old runs go
 *   partition  raw events: partitions of the days to come, and too old ones go
 *   aggregate  rebuilt when their time has come
 */
#ifndef WORKERS_TASK_TASK_H
#define WORKERS_TASK_TASK_H

#include "pg.h"

enum {
	STATE_SLOTS = 8,
	SEGMENT_BYTES_MAX = 256 * 1024 * 1024, /* a slot this large is left for the next one */
	CLOSED_SHARDS_KEPT = 100, /* newest closed shard rows, for people who ask who it was */
	RUNS_KEPT_DAYS = 90,
	PARTITIONS_MS = 3600 * 1000,
	PARTITIONS_AGAIN_MS = 30 * 1000,
	PARTITIONS_BUSY_TOLD =
	    20, /* times in a row that a table was busy: said the first time and then each 20th */
	AGGREGATE_AGAIN_MS = 60 * 1000, /* after a failure, and while nothing can be shown */
	PROBE_MS_MIN = 30 * 1000,
	PROBE_SHARE = 50, /* of the time at most 1/50 goes into probing a slot */
};

struct chore {
	struct pg *pg;
	const char *name; /* of the pipeline; borrowed */
	int32_t pipeline;
	bool leads;			   /* of all supervisors, in this session */
	uint64_t emptied;		   /* slots, in all */
	uint64_t holding;		   /* slots that hold rows */
	struct mono probe_at[STATE_SLOTS]; /* when it is worth looking again for rows that count */
	struct mono partitions_at, aggregates_at;
	unsigned partitions_busy; /* times in a row that some table was */
};

/* EXIT_CONFIG: no such pipeline. */
MUSTCHECK bool task_pipeline(struct pg *pg, const char *name, int32_t *id, struct err *e);
/* c->leads: the chores are ours, and nobody else's as long as our session lives. */
MUSTCHECK bool task_leads(struct chore *c, struct err *e);
MUSTCHECK bool task_segments(struct chore *c, struct err *e);
MUSTCHECK bool task_retain(struct chore *c, struct err *e);
MUSTCHECK bool task_partitions(struct chore *c, struct err *e);
MUSTCHECK bool task_aggregates(struct chore *c, struct err *e);

#endif
