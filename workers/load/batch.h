/*
 * batch: what one lane commits at once, collected frame by frame and kept encoded until the commit
 * is known: after a lost connection it is written again from here. Checks the lane's protocol:
 * epoch, order of batches, and that every count of END matches; a breach ends the generation.
 */
#ifndef WORKERS_LOAD_BATCH_H
#define WORKERS_LOAD_BATCH_H

#include "dialect.h"
#include "pack.h"

enum {
	BATCHES_MAX = 3
}; /* correlate keeps at most two uncommitted; the next may begin to arrive */

/* Distinct surrogate keys that a batch refers to, per dimension: the set-wise check of foreign
 * keys. */
struct keyset {
	int64_t *slots; /* open addressing; 0 is kept apart, since it marks a free slot */
	uint32_t slots_n, used;
	bool zero;
};

void keyset_add(struct keyset *k, int64_t key);
uint32_t keyset_count(const struct keyset *k);
void keyset_each(const struct keyset *k, void (*fn)(void *ctx, int64_t key), void *ctx);
void keyset_clear(struct keyset *k);
void keyset_free(struct keyset *k);

struct rows {
	struct buf bytes; /* in the form of copy.h */
	uint32_t n;
};

struct batch {
	int64_t n;
	struct rows rows[TABLES_MAX], state, dead;
	struct rows replayed;		/* dead letters that are in with this batch: they go */
	struct keyset refs[TABLES_MAX]; /* by the table that is referred to */
	uint64_t source_dead[SOURCES_MAX];
	struct end end;
	bool complete, last; /* END has come; with FRAME_LAST */
	size_t bytes;
};

/* What rows of this pipeline and epoch look like; fixed at take-over. */
struct batch_setup {
	const struct model *m;
	const struct copy_layout *layouts; /* by table */
	uint32_t lane;
	int32_t pipeline;
	int16_t build;
	int64_t epoch;
	int32_t source_ids[SOURCES_MAX]; /* admin_schema.source.id by index in the model */
};

struct batches {
	struct batch_setup setup;
	struct batch ring[BATCHES_MAX];
	unsigned first, count; /* the last one may be incomplete */
	int64_t begun;	       /* number of the batch that began last */
	struct pack_reader reader;
	struct value values[COLUMNS_MAX * 2];
};

/* BEGIN, ROWS, STATE, DEAD or END. */
MUSTCHECK bool batches_frame(struct batches *b, enum frame_type type, bool last, uint32_t count,
			     const uint8_t *body, size_t n, struct err *e);

struct batch *batches_ready(struct batches *b); /* the oldest, when complete; else NULL */
void batches_drop(struct batches *b);		/* the oldest: it is committed */
unsigned batches_ready_count(const struct batches *b);
void batches_free(struct batches *b);

/* One more dead letter; used for DEAD frames and for rows that the warehouse refuses. */
struct dead_row {
	uint8_t rid[RID_BYTES];
	int source; /* index in the model, or -1 */
	bool has_position;
	uint32_t partition;
	int64_t position;
	const char *stage, *reason; /* not NUL-terminated */
	size_t stage_len, reason_len;
	const uint8_t *digest; /* NULL: none */
	const uint8_t *body;   /* sealed to class dead_letter; NULL: not kept */
	size_t body_len;
	const uint8_t *sid; /* NULL: of nobody */
};

void batch_dead(const struct batch_setup *setup, const struct dead_row *d, struct rows *out);

#endif
