/*
 * members: which dimension rows go to load. Of each member only the newest version of a batch is
 * sent, at the batch's end, and only if nothing as new was sent before in this generation. What was
 * sent is remembered in a table of fixed size, MEMBERS_SENT_MAX entries: an entry that was pushed
 * out costs a row more, nothing else, since the merge is idempotent. Remembering what is not yet
 * committed is right, because a batch that fails ends the generation, and this worker with it.
 *
 * A member is known by its table, its surrogate key and a second hash of its natural key: two
 * natural keys with one surrogate key are both sent, so that load can see the collision.
 */
#ifndef WORKERS_TRANSFORM_MEMBERS_H
#define WORKERS_TRANSFORM_MEMBERS_H

#include <stdbool.h>

#include "wire.h"

enum { MEMBERS_SENT_MAX = 1 << 16 };

/* In ascending order: inferred, described without a time, by time, by rid. */
struct member_version {
	bool described;
	bool has_time;
	int64_t time_us;
	uint8_t rid[RID_BYTES];
};

struct member_id {
	unsigned table;
	int64_t key;	/* surrogate */
	uint32_t check; /* of the natural key */
};

struct members;
struct members *members_new(void);
void members_free(struct members *m); /* NULL is fine */

/* Is this version wanted? Then its row must follow: members_put. */
bool members_offer(struct members *m, const struct member_id *id, const struct member_version *v);

/* The row of the last member offered, packed (wire_row_write); copied. */
void members_put(struct members *m, const void *row, size_t n);

/* The batch's rows of one table, in the order in which their members appeared. */
void members_each(const struct members *m, unsigned table,
		  void (*visit)(void *ctx, const uint8_t *row, size_t n), void *ctx);

/* The batch's rows were sent: remembers their versions and forgets the rows. */
void members_sent(struct members *m);

uint32_t member_check(const char *natural, size_t n);

#endif
