/*
 * flight: records that were handed to the exchange and are not known to be there. How far a source
 * partition may be answered to its broker is the smallest offset of it under way, whatever is
 * delivered after it: delivery reports of different exchange partitions come in any order. Pure.
 */
#ifndef INGEST_FLIGHT_H
#define INGEST_FLIGHT_H

#include <stddef.h>

#include "mono.h"

struct flight;

struct flight_line { /* of one source partition, by offset */
	struct flight *first, *last;
};

struct flights {
	struct flight_line *lines; /* by index of the source partition; owned */
	uint32_t lines_n;
	uint32_t n; /* not delivered */
	uint64_t bytes;
};

void flights_free(struct flights *f);

/* Offsets of a partition rise. The flight is ended by flight_done, or by flights_free. */
struct flight *flight_add(struct flights *f, uint32_t partition, int64_t offset, size_t bytes,
			  struct mono now);
void flight_done(struct flights *f, struct flight *x);

/* The smallest offset of the partition under way; `none` when there is none. */
int64_t flights_low(const struct flights *f, uint32_t partition, int64_t none);

/* When the oldest one under way began; mono_never() when there is none. */
struct mono flights_oldest(const struct flights *f);

#endif
