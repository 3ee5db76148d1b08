/*
 * mono: monotonic time as a type of its own, so that seconds, milliseconds and wall-clock
 * microseconds cannot be mixed up by accident. Wall time is always a plain int64_t named *_wall_us
 * or, for event time, time_us: microseconds since 1970-01-01T00:00:00Z.
 */
#ifndef PROTO_MONO_H
#define PROTO_MONO_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct mono {
	int64_t us; /* microseconds of CLOCK_MONOTONIC */
};

static inline struct mono
mono_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (struct mono){(int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000};
}

static inline struct mono
mono_add_ms(struct mono m, int64_t ms)
{
	return (struct mono){m.us + ms * 1000};
}

static inline struct mono
mono_never(void)
{
	return (struct mono){INT64_MAX};
}

/* True when `deadline` has been reached at `now`. */
static inline bool
mono_due(struct mono deadline, struct mono now)
{
	return now.us >= deadline.us;
}

static inline struct mono
mono_min(struct mono a, struct mono b)
{
	return a.us < b.us ? a : b;
}

static inline int64_t
mono_since_us(struct mono then, struct mono now)
{
	return now.us - then.us;
}

static inline int64_t
mono_since_ms(struct mono then, struct mono now)
{
	return (now.us - then.us) / 1000;
}

/* Milliseconds from now until deadline, rounded up, for poll(2): -1 for never, 0 when due. */
static inline int
mono_poll_ms(struct mono deadline, struct mono now)
{
	if (deadline.us == INT64_MAX)
		return -1;
	if (deadline.us <= now.us)
		return 0;
	int64_t ms = (deadline.us - now.us + 999) / 1000;
	return ms > 3600000 ? 3600000 : (int)ms;
}

/* Wall clock, microseconds since the epoch. Never used to measure an interval. */
static inline int64_t
wall_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

#endif
