/*
 * credit: the one bound of the data path (inflight_bytes_max). Every frame of records costs its
 * bytes from sending until its lane has committed all of its covers. Pure.
 */
#ifndef INGEST_CREDIT_H
#define INGEST_CREDIT_H

#include "partitions.h"

struct credit_frame;

struct credit {
	uint64_t limit_bytes; /* this ingest's share */
	uint64_t used_bytes;
	uint64_t records; /* in frames that are not committed */
	struct credit_lane {
		struct credit_frame *first, *last; /* oldest first */
	} lanes[LANES_MAX];
};

void credit_free(struct credit *c);

/* A frame was sent to the lane at `now` with so many records and these covers (copied). */
void credit_charge(struct credit *c, unsigned lane, size_t bytes, uint32_t records,
		   const struct cover *covers, uint32_t n, struct mono now);

/*
 * After COMMITTED: gives back what its lane's committed positions cover. Returns the frames paid
 * back.
 */
unsigned credit_settle(struct credit *c, unsigned lane, const struct parts *p);

static inline bool
credit_left(const struct credit *c)
{
	return c->used_bytes < c->limit_bytes;
}

/*
 * When the oldest frame of records that is not committed was sent; mono_never() when there is none.
 * Frames of covers alone do not count: what they tell may wait for the next batch.
 */
struct mono credit_oldest(const struct credit *c);

#endif
