/*
 * map: processes and events to the rows of the model's tables. Knows frames' bodies, no pipes: what
 * it makes leaves through a callback, one table a time.
 *
 * A process makes a row in each fact of process grain. An event makes a row in each fact whose
 * grain is its source, and describes a member of each dimension that is `from` its source. A
 * reference makes an inferred member.
 *
 * Natural keys: null refers to MEMBER_UNKNOWN; a blank text, a text longer than KEY_BYTES_MAX, and
 * a day outside of the calendar refer to MEMBER_INVALID.
 */
#ifndef WORKERS_TRANSFORM_MAP_H
#define WORKERS_TRANSFORM_MAP_H

#include "wire.h"

struct map;

/*
 * Rows of one table: *body was begun by pipe_body_start and has the table and `count` rows; the
 * callee takes the bytes and leaves the buffer empty.
 */
typedef void (*map_rows)(void *ctx, unsigned table, uint32_t count, struct buf *body);

/* The model must outlive it. */
struct map *map_new(const struct model *m, map_rows rows, void *ctx);
void map_free(struct map *x); /* NULL is fine */
void map_hash_key(struct map *x, const uint8_t key[static HASH_KEY_BYTES]);

/* The body of a PROC or EVT frame with `count` items. false: it breaks the workers' contract. */
MUSTCHECK bool map_proc(struct map *x, const uint8_t *body, size_t n, uint32_t count,
			struct err *e);
MUSTCHECK bool map_evt(struct map *x, const uint8_t *body, size_t n, uint32_t count, struct err *e);

/* The end of a batch: what waits leaves, dimensions first. rows[t]: the batch's rows of table t. */
void map_end(struct map *x, uint64_t rows[static TABLES_MAX]);

struct map_counts {	  /* since the beginning */
	uint64_t nulled;  /* expressions without a value: expr.h */
	uint64_t skipped; /* dimension rows not sent, this version having been sent */
};
struct map_counts map_counts(const struct map *x);

#endif
