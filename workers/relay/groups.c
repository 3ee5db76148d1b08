#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "relay.h"

enum { LABEL_BYTES = 300 };

/* ---- CLAIM and OWN ---- */

static void
claim_send(struct relay *r, unsigned lane)
{
	uint16_t *groups = mem_zero(r->ours_n + 1, sizeof *groups);
	struct claim c = {.groups = groups};
	struct buf body = {0};

	for (unsigned i = 0; i < r->ours_n; i++)
		if (r->groups[r->ours[i]].lane == lane)
			groups[c.groups_n++] = (uint16_t)r->ours[i];
	pipe_body_start(&body);
	wire_claim_write(&body, &c);
	pipe_send(r->w->pipes, ROLE_CORRELATE, lane, FRAME_CLAIM, 0, 1, &body);
	free(groups);
}

void
groups_claim(struct relay *r, const uint32_t *owned, unsigned n)
{
	r->ours = mem_zero(n + 1, sizeof *r->ours);
	r->covers = mem_zero(n + 1, sizeof *r->covers);
	r->ours_n = n;
	for (unsigned i = 0; i < n; i++) {
		struct group *g = &r->groups[owned[i]];

		r->ours[i] = owned[i];
		g->ours = true;
		g->lane = i * r->lanes / n;
	}
	for (unsigned lane = 0; lane < r->lanes; lane++)
		claim_send(r, lane);
	r->claimed = true;
	log_info("%u key groups of %u are ours", n, r->m->groups);
}

/* The partition of the exchange that is this key group. */
static struct relay_partition *
group_partition(struct relay *r, uint32_t kg)
{
	char label[LABEL_BYTES];
	int n = snprintf(label, sizeof label, "%s/%u", r->source.topic, kg);
	struct relay_partition *p =
	    labels_find(&r->labels, (uint16_t)r->exchange, label, (size_t)n);

	return p ? p : labels_add(r, (uint16_t)r->exchange, label, (size_t)n);
}

static bool
own_group(struct relay *r, unsigned lane, uint32_t kg, const struct own_range *range, struct err *e)
{
	struct group *g = &r->groups[kg];

	if (!g->ours || g->lane != lane || g->partition)
		return err_set(e, EXIT_BUG, "lane %u owns key group %u, which it was not given",
			       lane, kg);
	g->partition = group_partition(r, kg);
	for (uint32_t i = 0; i < range->positions_n; i++) {
		const struct position *at = &range->positions[i];
		struct relay_partition *p = labels_id(&r->labels, at->partition);

		if (!p)
			return err_set(e, EXIT_BUG, "a position names the unknown partition %u",
				       at->partition);
		if (p == g->partition)
			g->next = at->next;
		else if (p->source != r->exchange && p->kind == PARTITION_DURABLE)
			*labels_mark(r, p, kg) = at->next;
	}
	g->sent = g->committed = g->next;
	labels_want(r, g->partition);
	return true;
}

bool
groups_own(struct relay *r, unsigned lane, const struct own *o, struct err *e)
{
	uint32_t owned = 0, given = 0;

	if (!r->claimed || r->lane[lane].owns)
		return err_set(e, EXIT_BUG, "OWN of lane %u came twice, or before its CLAIM", lane);
	for (uint32_t i = 0; i < o->partitions_n; i++)
		if (!labels_told(r, &o->partitions[i], lane, e))
			return false;
	for (uint32_t i = 0; i < o->ranges_n; i++) {
		const struct own_range *range = &o->ranges[i];

		if (range->kg_lo > range->kg_hi || range->kg_hi >= r->m->groups)
			return err_set(e, EXIT_BUG, "OWN has a range outside the key groups");
		for (uint32_t kg = range->kg_lo; kg <= range->kg_hi; kg++, owned++)
			if (!own_group(r, lane, kg, range, e))
				return false;
	}
	for (unsigned i = 0; i < r->ours_n; i++)
		given += r->groups[r->ours[i]].lane == lane;
	if (given != owned)
		return err_set(e, EXIT_BUG, "lane %u owns %u of %u key groups", lane, owned, given);
	memcpy(r->hash_key, o->hash_key, sizeof r->hash_key);
	r->lane[lane].owns = true;
	if (++r->lanes_own == r->lanes)
		log_info("all %u lanes have taken over, reading begins", r->lanes);
	return true;
}

bool
groups_start(struct relay *r, struct err *e)
{
	for (unsigned i = 0; r->started < r->ours_n && i < r->ours_n; i++) {
		struct group *g = &r->groups[r->ours[i]];

		if (g->started || !g->found || !g->partition || !g->partition->id)
			continue;
		/* Nothing is skipped: what was never read begins at 0, wherever the topic does. */
		if (!r->ops->start(r->driver, r->ours[i], g->next, e))
			return false;
		g->started = true;
		r->started++;
	}
	return true;
}

/* ---- reading ---- */

void
groups_routed(struct relay *r, struct group *g, const struct source_event *ev, size_t bytes,
	      struct mono now)
{
	struct relay_lane *l = &r->lane[g->lane];
	int64_t since_us = event_since(ev);

	if (!l->count++)
		l->first_at = now;
	if (!g->unsent_since_us || since_us < g->unsent_since_us)
		g->unsent_since_us = since_us;
	g->next = ev->offset + 1;
	g->caught_up = false;
	g->unsent_bytes += bytes;
}

void
groups_frontiers(struct relay *r)
{
	uint64_t backlog = 0;

	for (unsigned i = 0; i < r->ours_n; i++) {
		struct group *g = &r->groups[r->ours[i]];
		struct source_frontier f = {0};

		if (!g->started)
			continue;
		r->ops->frontier(r->driver, r->ours[i], &f);
		backlog += f.backlog;
		if (g->stopped)
			continue;
		if (f.next > g->next)
			g->next = f.next;
		g->caught_up = f.caught_up;
		g->waits_us = f.waits_us;
	}
	metric_source_set(r->w->page, r->exchange, METRIC_SOURCE_BACKLOG, backlog);
}

/* ---- sending ---- */

static bool
cover_due(const struct group *g)
{
	return g->started && (g->next > g->sent || g->caught_up != g->sent_caught_up);
}

static void
spent_add(struct relay *r, struct group *g)
{
	if (!g->unsent_bytes)
		return;
	if (g->spent_at && g->spent_at + g->spent_n == g->spent_cap) {
		memmove(g->spent, g->spent + g->spent_at, g->spent_n * sizeof *g->spent);
		g->spent_at = 0;
	}
	if (g->spent_n == g->spent_cap) {
		g->spent_cap = g->spent_cap ? g->spent_cap * 2 : 8;
		g->spent = mem_resize(g->spent, g->spent_cap, sizeof *g->spent);
	}
	g->spent[g->spent_at + g->spent_n++] =
	    (struct spent){.to = g->next, .bytes = g->unsent_bytes, .since_us = g->unsent_since_us};
	r->used_bytes += g->unsent_bytes;
	g->unsent_bytes = 0;
	g->unsent_since_us = 0;
}

static uint32_t
covers_take(struct relay *r, unsigned lane)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < r->ours_n; i++) {
		struct group *g = &r->groups[r->ours[i]];

		if (g->lane != lane || !cover_due(g))
			continue;
		labels_tell(r, g->partition, lane);
		r->covers[n++] = (struct cover){.partition = g->partition->id,
						.from = g->sent,
						.to = g->next,
						.has_time = g->has_time,
						.time_max_us = g->time_max_us,
						.caught_up = g->caught_up};
		g->sent = g->next;
		g->sent_caught_up = g->caught_up;
		spent_add(r, g);
	}
	return n;
}

static void
lane_send(struct relay *r, unsigned lane, uint16_t flags, struct mono now)
{
	struct relay_lane *l = &r->lane[lane];
	uint32_t n = covers_take(r, lane);

	check(!l->last && (n || !l->count));
	if (!l->count)
		pipe_body_start(&l->body);
	wire_covers_write(&l->body, r->covers, n);
	pipe_send(r->w->pipes, ROLE_CORRELATE, lane, FRAME_DATA, flags, l->count, &l->body);
	l->count = 0;
	l->sent_at = now;
	l->last = flags & FRAME_LAST;
}

static bool
lane_due(const struct relay *r, unsigned lane)
{
	for (unsigned i = 0; i < r->ours_n; i++)
		if (r->groups[r->ours[i]].lane == lane && cover_due(&r->groups[r->ours[i]]))
			return true;
	return false;
}

struct mono
groups_flush(struct relay *r, struct mono now)
{
	struct mono next = mono_never();

	for (unsigned i = 0; i < r->lanes; i++) {
		struct relay_lane *l = &r->lane[i];
		struct mono at = l->count ? mono_add_ms(l->first_at, RELAY_DELAY_MS)
					  : mono_add_ms(l->sent_at, RELAY_QUIET_MS);

		if (l->last || (!l->count && !lane_due(r, i)))
			continue;
		if (mono_due(at, now) || pipe_body_bytes(&l->body) >= r->flush_bytes)
			lane_send(r, i, 0, now);
		else
			next = mono_min(next, at);
	}
	return next;
}

void
groups_last(struct relay *r, struct mono now)
{
	for (unsigned i = 0; i < r->lanes; i++)
		lane_send(r, i, FRAME_LAST, now);
}

/* ---- COMMITTED ---- */

static bool
group_committed(struct relay *r, struct group *g, uint32_t kg, int64_t next, struct err *e)
{
	if (next <= g->committed)
		return true;
	if (next > g->sent)
		return err_set(e, EXIT_BUG, "key group %u is committed beyond what was sent", kg);
	g->committed = next;
	while (g->spent_n && g->spent[g->spent_at].to <= next) {
		r->used_bytes -= g->spent[g->spent_at++].bytes;
		g->spent_n--;
	}
	if (!g->spent_n)
		g->spent_at = 0;
	member_committed(r->member, kg, next);
	return true;
}

bool
groups_committed(struct relay *r, unsigned lane, const struct committed *c, struct err *e)
{
	for (uint32_t i = 0; i < c->positions_n; i++) {
		const struct relay_partition *p = labels_id(&r->labels, c->positions[i].partition);

		if (!p || p->source != r->exchange || p->number >= r->m->groups)
			continue; /* of a source */
		struct group *g = &r->groups[p->number];
		if (g->ours && g->lane == lane && g->started &&
		    !group_committed(r, g, p->number, c->positions[i].next, e))
			return false;
	}
	return true;
}

/* Of one group; 0: nothing. *blind: something waits of which nothing is known. */
static int64_t
group_oldest(const struct group *g, bool *blind)
{
	int64_t since_us = g->spent_n		? g->spent[g->spent_at].since_us
			   : g->unsent_since_us ? g->unsent_since_us
						: g->waits_us;

	*blind |= !g->started || (!since_us && !g->caught_up);
	return since_us;
}

int64_t
groups_oldest(struct relay *r)
{
	int64_t oldest_us = r->held_first ? event_since(&r->held_first->ev) : 0;
	bool blind = !r->claimed || r->lanes_own < r->lanes;

	for (unsigned i = 0; i < r->ours_n; i++) {
		int64_t us = group_oldest(&r->groups[r->ours[i]], &blind);
		if (us && (!oldest_us || us < oldest_us))
			oldest_us = us;
	}
	/* Until we see for ourselves, what an earlier life saw is still there. */
	if (!blind)
		r->before_us = 0;
	if (r->before_us && (!oldest_us || r->before_us < oldest_us))
		return r->before_us;
	return oldest_us;
}

void
groups_free(struct relay *r)
{
	for (unsigned i = 0; r->groups && i < r->m->groups; i++)
		free(r->groups[i].spent);
	for (unsigned i = 0; i < LANES_MAX; i++)
		buf_free(&r->lane[i].body);
	free(r->groups);
	free(r->ours);
	free(r->covers);
}
