#include "route.h"

#include <stdlib.h>

#include "log.h"
#include "mem.h"

void
route_init(struct route *r, const struct route_out *out, struct parts *parts, struct credit *credit)
{
	uint64_t share = credit->limit_bytes / ((uint64_t)parts->lanes * ROUTE_SHARES);

	*r = (struct route){.out = *out, .parts = parts, .credit = credit};
	r->flush_bytes = share < FRAME_BYTES_FLUSH ? share : FRAME_BYTES_FLUSH;
}

void
route_free(struct route *r)
{
	for (unsigned i = 0; i < LANES_MAX; i++)
		buf_free(&r->lanes[i].body);
	free(r->covers);
	*r = (struct route){0};
}

static uint32_t
covers_take(struct route *r, unsigned lane)
{
	struct parts *p = r->parts;
	uint32_t n = 0;

	if (r->covers_max < p->reading_n) {
		r->covers_max = p->reading_n;
		r->covers = mem_resize(r->covers, r->covers_max, sizeof *r->covers);
	}
	for (uint32_t i = 0; i < p->reading_n; i++)
		if (part_cover_due(p->reading[i], lane))
			r->covers[n++] = part_cover_take(p->reading[i], lane);
	return n;
}

static void
lane_send(struct route *r, unsigned lane, uint16_t flags, struct mono now)
{
	struct route_lane *l = &r->lanes[lane];
	uint32_t n = covers_take(r, lane);

	check(!l->last && (n || !l->count));
	if (!l->count)
		r->out.start(&l->body);
	wire_covers_write(&l->body, r->covers, n);
	credit_charge(r->credit, lane, FRAME_HEAD_BYTES + r->out.bytes(&l->body), l->count,
		      r->covers, n, now);
	r->out.send(r->out.ctx, lane, flags, l->count, &l->body);
	l->count = 0;
	l->sent_at = now;
	l->last = flags & FRAME_LAST;
}

unsigned
route_record(struct route *r, const struct record *rec, struct mono now)
{
	unsigned lane = r->parts->lane_of[rec->kg];
	struct route_lane *l = &r->lanes[lane];

	if (!l->count) {
		r->out.start(&l->body);
		l->first_at = now;
	}
	wire_record_write(&l->body, rec);
	l->count++;
	return lane;
}

void
route_spill(struct route *r, unsigned lane, struct mono now)
{
	if (r->out.bytes(&r->lanes[lane].body) >= r->flush_bytes)
		lane_send(r, lane, 0, now);
}

static bool
cover_due(const struct route *r, unsigned lane)
{
	const struct parts *p = r->parts;

	for (uint32_t i = 0; i < p->reading_n; i++)
		if (part_cover_due(p->reading[i], lane))
			return true;
	return false;
}

struct mono
route_flush(struct route *r, struct mono now, bool all)
{
	struct mono next = mono_never();

	for (unsigned i = 0; i < r->parts->lanes; i++) {
		struct route_lane *l = &r->lanes[i];
		bool due = l->count || cover_due(r, i);
		struct mono at = l->count ? mono_add_ms(l->first_at, ROUTE_DELAY_MS)
					  : mono_add_ms(l->sent_at, ROUTE_QUIET_MS);

		if (!due || l->last)
			continue;
		if (all || mono_due(at, now))
			lane_send(r, i, 0, now);
		else
			next = mono_min(next, at);
	}
	return next;
}

void
route_last(struct route *r, struct mono now)
{
	for (unsigned i = 0; i < r->parts->lanes; i++)
		lane_send(r, i, FRAME_LAST, now);
}

uint64_t
route_queued(const struct route *r)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < r->parts->lanes; i++)
		n += r->lanes[i].count;
	return n;
}
