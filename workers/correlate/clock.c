#include "clock.h"

#include <stdlib.h>

#include "log.h"
#include "mem.h"

enum { PARTITIONS_MIN = 16 };

void
clock_init(struct clock *c)
{
	*c = (struct clock){.time_us = CLOCK_UNKNOWN, .now_us = CLOCK_UNKNOWN};
}

void
clock_free(struct clock *c)
{
	free(c->partitions);
	clock_init(c);
}

static bool
is_behind(const struct clock_partition *p)
{
	return !p->gone && !p->caught_up && !p->finished;
}

static bool
is_unfinished(const struct clock_partition *p)
{
	return !p->gone && !p->finished;
}

uint32_t
clock_add(struct clock *c, unsigned source, bool counts)
{
	if (c->n == c->cap) {
		c->cap = c->cap ? c->cap * 2 : PARTITIONS_MIN;
		c->partitions = mem_resize(c->partitions, c->cap, sizeof *c->partitions);
	}
	c->partitions[c->n] = (struct clock_partition){
	    .time_us = CLOCK_UNKNOWN, .source = (int16_t)source, .counts = counts};
	c->behind++;
	c->unfinished++;
	return c->n++;
}

/* Applies a change of one partition and keeps the two numbers right. */
static void
change(struct clock *c, struct clock_partition *p, struct clock_partition to)
{
	c->behind += (uint32_t)is_behind(&to) - (uint32_t)is_behind(p);
	c->unfinished += (uint32_t)is_unfinished(&to) - (uint32_t)is_unfinished(p);
	*p = to;
}

void
clock_gone(struct clock *c, uint32_t partition)
{
	check(partition < c->n);
	struct clock_partition to = c->partitions[partition];
	to.gone = true;
	change(c, &c->partitions[partition], to);
}

void
clock_seen(struct clock *c, int64_t time_us, struct mono now)
{
	if (time_us <= c->time_us)
		return;
	c->time_us = time_us;
	c->rose = now;
}

void
clock_cover(struct clock *c, uint32_t partition, int64_t time_us, bool caught_up, bool finished,
	    struct mono now)
{
	check(partition < c->n);
	struct clock_partition to = c->partitions[partition];
	to.heard = true;
	to.gone = false;
	to.caught_up = caught_up;
	to.finished = finished;
	if (to.counts && time_us > to.time_us)
		to.time_us = time_us;
	change(c, &c->partitions[partition], to);
	if (to.counts)
		clock_seen(c, time_us, now);
}

/* T plus the time since it rose. */
static int64_t
passed(const struct clock *c, struct mono now)
{
	return c->time_us + mono_since_us(c->rose, now);
}

int64_t
clock_read(struct clock *c, struct mono now, int64_t wall_us, int *holder)
{
	*holder = -1;
	if (c->time_us == CLOCK_UNKNOWN) {
		for (uint32_t i = 0; i < c->n && *holder < 0; i++)
			if (c->partitions[i].counts && is_behind(&c->partitions[i]))
				*holder = c->partitions[i].source;
		return c->now_us;
	}
	int64_t least = INT64_MAX;
	bool any = false;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct clock_partition *p = &c->partitions[i];
		if (!p->counts || p->gone)
			continue;
		int64_t at = !p->heard	    ? CLOCK_UNKNOWN
			     : p->finished  ? c->time_us
			     : p->caught_up ? passed(c, now)
					    : p->time_us;
		if (!any || at < least)
			least = at;
		if (is_behind(p) && at == least)
			*holder = p->source;
		any = true;
	}
	if (!any)
		return c->now_us;
	if (least > wall_us)
		least = wall_us;
	if (least > c->now_us)
		c->now_us = least;
	return c->now_us;
}
