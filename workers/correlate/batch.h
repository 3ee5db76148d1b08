/*
 * batch: what a shard has folded and not yet sent, and the rules when it closes (DESIGN 4). Only
 * counting and deciding here; closing itself is close.c.
 */
#ifndef WORKERS_CORRELATE_BATCH_H
#define WORKERS_CORRELATE_BATCH_H

#include "mono.h"
#include "pile.h"
#include "roles.h"
#include "wire.h"

enum {
	BATCHES_UNCOMMITTED_MAX = 2,
	BATCH_QUIET_MS = 5000, /* only positions moved */
	BATCH_ROW_BYTES = 512, /* PROC and STATE of one process, until there is an average */
	BATCH_SHARES = 3,      /* two under way and one open share the credit */
};

struct batch_rules {
	uint64_t bytes_max; /* of output */
	uint64_t input_max; /* of DATA frames of one ingest: each has its own share of the credit */
	uint32_t rows, rows_behind;
	int64_t delay_us, delay_behind_us;
};

/* What a batch does to processes: counted once it is committed, since a lost one is made again. */
struct batch_counts {
	uint64_t opened, completed, expired, forgotten, late;
};

struct batch {
	int64_t n;	    /* its number, from 1 in each epoch */
	bool open;	    /* something is in it */
	struct mono opened; /* when the first came */
	struct mono oldest; /* when the oldest frame with records in it was received */
	bool moved;	    /* positions did */
	uint32_t *changed;  /* entries, each once */
	uint32_t changed_n, changed_cap;
	struct pile evt, dead;
	uint64_t input_of[INGESTS_MAX];
	uint64_t input_bytes; /* the largest of these */
	uint64_t row_bytes;   /* average of PROC and STATE per process so far */
	uint64_t held_bytes;  /* what its processes have beside their fixed slots */
	struct end_source sources[SOURCES_MAX];
	struct batch_counts counts;
};

void batch_rules_set(struct batch_rules *r, const struct limits *limits, unsigned lanes,
		     unsigned ingests);
void batch_free(struct batch *b);

/*
 * Marks that something is in it; what came from a source, at `came`. Positions and what the clock
 * changes are none of it: mono_never().
 */
void batch_open(struct batch *b, struct mono now, struct mono came);
void batch_changed(struct batch *b, uint32_t entry);
void batch_input(struct batch *b, unsigned ingest, uint64_t bytes);

/* After closing: empty, with the next number. */
void batch_next(struct batch *b);

/* A limit is reached: nothing more may go in. */
bool batch_full(const struct batch *b, const struct batch_rules *r, bool behind);

/* When it must close; mono_never() while it is empty. */
struct mono batch_deadline(const struct batch *b, const struct batch_rules *r, bool behind);

#endif
