#include "ranges.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

enum { PLACES_MIN = 16 };

void
ranges_init(struct ranges *r, int exchange)
{
	*r = (struct ranges){.exchange = exchange};
	for (unsigned i = 0; i < GROUPS_MAX; i++)
		r->of[i] = RANGE_NONE;
}

void
ranges_free(struct ranges *r)
{
	for (uint32_t i = 0; i < r->places_n; i++) {
		free((void *)(uintptr_t)r->places[i]->is.label);
		free(r->places[i]->next);
		free(r->places[i]->marked);
		free(r->places[i]);
	}
	free(r->places);
	free(r->by_id);
	free(r->list);
	ranges_init(r, r->exchange);
}

static void
vectors_make(const struct ranges *r, struct place *p)
{
	free(p->next);
	free(p->marked);
	p->next = mem_zero(r->n, sizeof *p->next);
	p->marked = ranges_exchange(r) ? mem_zero(r->n, sizeof *p->marked) : NULL;
}

static void
by_id_grow(struct ranges *r, uint32_t id)
{
	uint32_t n = r->by_id_n ? r->by_id_n : PLACES_MIN;

	if (id < r->by_id_n)
		return;
	while (n <= id)
		n *= 2;
	r->by_id = mem_resize(r->by_id, n, sizeof(struct place *));
	memset(r->by_id + r->by_id_n, 0, (n - r->by_id_n) * sizeof(struct place *));
	r->by_id_n = n;
}

bool
ranges_add(struct ranges *r, const struct partition *p, struct place **out, bool *added,
	   struct err *e)
{
	if (!p->id || p->id > PARTITION_ID_MAX)
		return err_set(e, EXIT_BUG, "a partition has the id %u", p->id);
	*out = ranges_place(r, p->id);
	*added = !*out;
	if (*out)
		return true;
	struct place *q = mem_zero(1, sizeof *q);
	q->is = *p;
	q->is.label = mem_string_n(p->label, p->label_len);
	q->number = r->places_n;
	q->dead_letters = p->kind == PARTITION_TRANSIENT && !strcmp(q->is.label, PARTITION_DEAD);
	q->highest = -1;
	vectors_make(r, q);
	if (r->places_n == r->places_cap) {
		r->places_cap = r->places_cap ? r->places_cap * 2 : PLACES_MIN;
		r->places = mem_resize(r->places, r->places_cap, sizeof(struct place *));
	}
	r->places[r->places_n++] = q;
	by_id_grow(r, p->id);
	r->by_id[p->id] = q;
	*out = q;
	return true;
}

static bool
range_own(struct ranges *r, uint16_t i, const struct own_range *o, struct err *e)
{
	r->list[i] = (struct key_range){o->kg_lo, o->kg_hi};
	if (o->kg_lo > o->kg_hi || o->kg_hi >= GROUPS_MAX)
		return err_set(e, EXIT_BUG, "key groups %u to %u are none", o->kg_lo, o->kg_hi);
	for (uint32_t kg = o->kg_lo; kg <= o->kg_hi; kg++) {
		if (r->of[kg] != RANGE_NONE)
			return err_set(e, EXIT_BUG, "key group %u is in two ranges", kg);
		r->of[kg] = i;
	}
	for (uint32_t k = 0; k < o->positions_n; k++) {
		struct place *p = ranges_place(r, o->positions[k].partition);
		if (!p)
			return err_set(e, EXIT_BUG, "a position names the unknown partition %u",
				       o->positions[k].partition);
		p->next[i] = o->positions[k].next;
	}
	return true;
}

bool
ranges_own(struct ranges *r, const struct own *o, struct err *e)
{
	struct place *p;
	bool added;

	check(!r->n);
	if (o->ranges_n >= RANGE_NONE)
		return err_set(e, EXIT_BUG, "%u ranges are too many", o->ranges_n);
	r->n = o->ranges_n;
	r->list = mem_zero(r->n, sizeof *r->list);
	for (uint32_t i = 0; i < r->places_n; i++)
		vectors_make(r, r->places[i]);
	for (uint32_t i = 0; i < o->partitions_n; i++)
		if (!ranges_add(r, &o->partitions[i], &p, &added, e))
			return false;
	for (uint32_t i = 0; i < r->n; i++)
		if (!range_own(r, (uint16_t)i, &o->ranges[i], e))
			return false;
	return true;
}

void
ranges_mark(struct ranges *r, struct place *p, uint16_t range, int64_t offset)
{
	check(ranges_exchange(r) && range < r->n);
	p->next[range] = offset + 1;
	p->moved = p->marked[range] = true;
}

/* Position `from` of a range may be raised to `to`. */
static bool
range_cover(const struct place *p, uint16_t range, const struct cover *c, struct err *e)
{
	/* A position of 0 is that of a partition never read: it may begin anywhere. */
	if (!p->next[range] || c->from <= p->next[range])
		return true;
	return err_set(e, EXIT_BUG,
		       "a gap in partition %u: the position is %lld, covered from %lld", p->is.id,
		       (long long)p->next[range], (long long)c->from);
}

static bool
relayed_cover(struct ranges *r, struct place *p, const struct cover *c, bool *moved, struct err *e)
{
	if (!ranges_relayed(r, p))
		return err_set(e, EXIT_BUG, "partition %u is covered, which is not our group's",
			       p->is.id);
	uint16_t range = r->of[p->is.number];
	if (!range_cover(p, range, c, e))
		return false;
	if (c->to > p->next[range]) {
		ranges_mark(r, p, range, c->to - 1);
		*moved = true;
	}
	p->heard = true;
	p->frontier = c->to;
	return true;
}

bool
ranges_cover(struct ranges *r, struct place *p, const struct cover *c, bool *moved, struct err *e)
{
	if (p->heard && c->from != p->frontier)
		return err_set(e, EXIT_BUG,
			       "a gap in partition %u: covered up to %lld, then from %lld",
			       p->is.id, (long long)p->frontier, (long long)c->from);
	if (c->to <= p->highest)
		return err_set(e, EXIT_BUG,
			       "partition %u is covered up to %lld, below a record at %lld",
			       p->is.id, (long long)c->to, (long long)p->highest);
	if (ranges_exchange(r))
		return relayed_cover(r, p, c, moved, e);
	for (uint32_t i = 0; i < r->n; i++) {
		if (!range_cover(p, (uint16_t)i, c, e))
			return false;
		if (c->to <= p->next[i])
			continue;
		p->next[i] = c->to;
		*moved = p->moved = true;
	}
	p->heard = true;
	p->frontier = c->to;
	return true;
}

/*
 * In the middle of a frame: what was applied up to there, since records come in the order of
 * offsets.
 */
static void
place_catch_up(const struct ranges *r, struct place *p)
{
	for (uint32_t i = 0; i < r->n; i++) {
		if (p->highest < p->next[i])
			continue;
		p->next[i] = p->highest + 1;
		p->moved = true;
	}
}

/* Every partition that moved, in each range; with an exchange, where it did. */
static bool
told(const struct ranges *r, struct place *p, uint32_t range)
{
	if (!ranges_exchange(r))
		return p->moved;
	bool marked = p->moved && p->marked[range];
	p->marked[range] = false;
	return marked;
}

void
ranges_end(struct ranges *r, struct end *out)
{
	for (uint32_t k = 0; k < r->places_n && !ranges_exchange(r); k++)
		place_catch_up(r, r->places[k]);
	out->ranges_n = r->n;
	out->ranges = mem_zero(r->n, sizeof *out->ranges);
	for (uint32_t i = 0; i < r->n; i++) {
		struct end_range *g = &out->ranges[i];
		g->kg_lo = r->list[i].kg_lo;
		g->kg_hi = r->list[i].kg_hi;
		g->positions = mem_zero(r->places_n, sizeof *g->positions);
		for (uint32_t k = 0; k < r->places_n; k++) {
			struct place *p = r->places[k];
			if (told(r, p, i))
				g->positions[g->positions_n++] =
				    (struct position){p->is.id, p->next[i]};
		}
	}
	for (uint32_t k = 0; k < r->places_n; k++)
		r->places[k]->moved = false;
}
