/*
 * clock: the event-time clock of a shard (DESIGN 5), as a pure function of what was covered and of
 * the time that has passed. T is the largest event time covered over all partitions. A partition
 * that is caught up counts as T plus the time since T last rose, a finished one as T, any other as
 * the largest event time covered there; one that nothing was heard of yet holds the clock back. The
 * clock is the minimum, never beyond the wall, and never runs back.
 */
#ifndef WORKERS_CORRELATE_CLOCK_H
#define WORKERS_CORRELATE_CLOCK_H

#include "mono.h"

#define CLOCK_UNKNOWN INT64_MIN
#define CLOCK_END     (INT64_MAX - 1)

struct clock_partition {
	int64_t time_us; /* largest covered; CLOCK_UNKNOWN */
	int16_t source;
	bool counts; /* its source has event times */
	bool heard;  /* a cover has come */
	bool caught_up, finished;
	bool gone; /* read to its end in an earlier run */
};

struct clock {
	struct clock_partition *partitions;
	uint32_t n, cap;
	int64_t time_us; /* T; CLOCK_UNKNOWN */
	struct mono rose;
	int64_t now_us;		     /* the last answer */
	uint32_t behind, unfinished; /* partitions */
};

void clock_free(struct clock *c);
void clock_init(struct clock *c);

/*
 * A partition of a source; returns its number, from 0. counts: false for sources without event
 * times.
 */
uint32_t clock_add(struct clock *c, unsigned source, bool counts);

/* Read to its end, before or now: it does not hold the clock back any more. */
void clock_gone(struct clock *c, uint32_t partition);

/* What a cover says of a partition; time_us is CLOCK_UNKNOWN when it has none. */
void clock_cover(struct clock *c, uint32_t partition, int64_t time_us, bool caught_up,
		 bool finished, struct mono now);

/* An event of this time is known to have been covered before (found in a stored state). */
void clock_seen(struct clock *c, int64_t time_us, struct mono now);

/* The clock; *holder is the source that holds it back (-1: none, everything is caught up). */
int64_t clock_read(struct clock *c, struct mono now, int64_t wall_us, int *holder);

static inline bool
clock_behind(const struct clock *c)
{
	return c->behind > 0;
}

static inline bool
clock_finished(const struct clock *c)
{
	return !c->unfinished;
}

#endif
