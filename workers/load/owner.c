#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"

enum {
	PARTITION_IDS_MAX = 100 * 1000 * 1000,
	/* There may be more partitions than a frame holds. */
	OWN_PARTITIONS_MAX = 8000,
	PART_PARTITIONS_MAX = 500,
};

_Static_assert(OWN_PARTITIONS_MAX *PARTITION_LABEL_MAX < FRAME_BYTES_MAX / 4 * 3,
	       "OWN leaves room for the positions");

void
owner_bounds(struct owner *o, const struct model *m, unsigned lane)
{
	uint32_t kg = 0;

	while (keygroup_lane(kg, m->groups, m->lanes) < lane)
		kg++;
	o->kg_lo = kg;
	while (kg + 1 < m->groups && keygroup_lane(kg + 1, m->groups, m->lanes) == lane)
		kg++;
	o->kg_hi = kg;
	o->wanted = mem_resize(o->wanted, 1, sizeof(*o->wanted));
	o->wanted[0] = (struct span){o->kg_lo, o->kg_hi};
	o->wanted_n = 1;
}

void
owner_claim(struct owner *o, const struct claim *c)
{
	o->wanted = mem_resize(o->wanted, c->groups_n + 1, sizeof(*o->wanted));
	o->wanted_n = c->groups_n;
	for (uint32_t i = 0; i < c->groups_n; i++)
		o->wanted[i] = (struct span){c->groups[i], c->groups[i]};
	o->kg_lo = c->groups_n ? c->groups[0] : 0;
	o->kg_hi = c->groups_n ? c->groups[c->groups_n - 1] : 0;
}

/* ---- ranges ---- */

void
owner_ranges_clear(struct owner *o)
{
	for (uint32_t i = 0; i < o->ranges_n; i++)
		free(o->ranges[i].positions);
	free(o->ranges);
	o->ranges = NULL;
	o->ranges_n = 0;
	o->joined_n = 0;
}

struct owner_range *
owner_range_add(struct owner *o, uint32_t kg_lo, uint32_t kg_hi)
{
	o->ranges = mem_resize(o->ranges, o->ranges_n + 1, sizeof(*o->ranges));
	struct owner_range *r = &o->ranges[o->ranges_n++];
	*r = (struct owner_range){.kg_lo = kg_lo, .kg_hi = kg_hi};
	return r;
}

/* Where the partition stands, or would stand. */
static uint32_t
range_find(const struct owner_range *r, uint32_t partition)
{
	uint32_t lo = 0, hi = r->positions_n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (r->positions[mid].partition < partition)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool
range_has(const struct owner_range *r, uint32_t i, uint32_t partition)
{
	return i < r->positions_n && r->positions[i].partition == partition;
}

void
range_set(struct owner_range *r, uint32_t partition, int64_t next)
{
	uint32_t i = range_find(r, partition);

	r->moved = true;
	if (range_has(r, i, partition)) {
		r->positions[i].next = next;
		return;
	}
	if (r->positions_n == r->positions_max) {
		r->positions_max = r->positions_max ? r->positions_max * 2 : 16;
		r->positions = mem_resize(r->positions, r->positions_max, sizeof(*r->positions));
	}
	memmove(r->positions + i + 1, r->positions + i,
		(r->positions_n - i) * sizeof(*r->positions));
	r->positions[i] = (struct position){.partition = partition, .next = next};
	r->positions_n++;
}

void
range_unset(struct owner_range *r, uint32_t partition)
{
	uint32_t i = range_find(r, partition);

	if (!range_has(r, i, partition))
		return;
	r->moved = true;
	r->positions_n--;
	memmove(r->positions + i, r->positions + i + 1,
		(r->positions_n - i) * sizeof(*r->positions));
}

static bool
range_equal(const struct owner_range *a, const struct owner_range *b)
{
	if (a->kg_hi + 1 != b->kg_lo || a->positions_n != b->positions_n)
		return false;
	for (uint32_t i = 0; i < a->positions_n; i++)
		if (a->positions[i].partition != b->positions[i].partition ||
		    a->positions[i].next != b->positions[i].next)
			return false;
	return true;
}

void
owner_join(struct owner *o)
{
	uint32_t kept = 0;

	for (uint32_t i = 1; i < o->ranges_n; i++) {
		struct owner_range *r = &o->ranges[i];
		if (!range_equal(&o->ranges[kept], r)) {
			o->ranges[++kept] = *r;
			continue;
		}
		o->joined = mem_resize(o->joined, o->joined_n + 1, sizeof(*o->joined));
		o->joined[o->joined_n++] = r->kg_lo;
		o->ranges[kept].kg_hi = r->kg_hi;
		free(r->positions);
	}
	if (o->ranges_n)
		o->ranges_n = kept + 1;
}

void
owner_settled(struct owner *o)
{
	o->joined_n = 0;
	for (uint32_t i = 0; i < o->ranges_n; i++)
		o->ranges[i].moved = false;
}

/* ---- partitions ---- */

void
owner_partition(struct owner *o, uint32_t id, const struct known *k)
{
	check(id < PARTITION_IDS_MAX);
	if (id >= o->partitions_max) {
		uint32_t max = id + id / 2 + 16;
		o->partitions = mem_resize(o->partitions, max, sizeof(*o->partitions));
		memset(o->partitions + o->partitions_max, 0,
		       (max - o->partitions_max) * sizeof(*o->partitions));
		o->partitions_max = max;
	}
	struct known *old = &o->partitions[id];
	free(old->label);
	*old = *k;
	old->there = true;
	old->label = mem_string_n(k->label, k->label_len);
}

const struct known *
owner_known(const struct owner *o, uint32_t id)
{
	return id < o->partitions_max && o->partitions[id].there ? &o->partitions[id] : NULL;
}

/* ---- frames ---- */

static bool
partition_told(const struct owner *o, uint32_t id, bool done, struct partition *out)
{
	const struct known *k = owner_known(o, id);

	if (k == NULL || k->source < 0 || k->done != done)
		return false;
	*out = (struct partition){.id = id,
				  .source = (uint16_t)k->source,
				  .kind = k->kind,
				  .done = k->done,
				  .next = k->next,
				  .bytes = k->bytes,
				  .number = k->number,
				  .label = k->label,
				  .label_len = k->label_len};
	return true;
}

/* The id from which on OWN names nothing. */
static uint32_t
own_end(const struct owner *o)
{
	struct partition p;
	uint32_t id = 0;

	for (uint32_t n = 0; id < o->partitions_max && n < OWN_PARTITIONS_MAX; id++)
		n += partition_told(o, id, false, &p);
	return id;
}

void
owner_rest_start(const struct owner *o, bool done_too, struct owner_rest *r)
{
	*r = (struct owner_rest){.own_end = own_end(o), .done_too = done_too};
}

uint32_t
owner_rest_write(const struct owner *o, struct owner_rest *r, struct buf *body)
{
	struct partition p;
	uint32_t n = 0;

	for (; r->id < o->partitions_max && n < PART_PARTITIONS_MAX; r->id++) {
		if ((r->id >= r->own_end && partition_told(o, r->id, false, &p)) ||
		    (r->done_too && partition_told(o, r->id, true, &p))) {
			wire_partition_write(body, &p);
			n++;
		}
	}
	return n;
}

/* Of what OWN and PART name: a source that left the file keeps its positions here alone. */
static uint32_t
positions_told(const struct owner *o, const struct owner_range *r, struct position *out)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->positions_n; i++) {
		const struct known *k = owner_known(o, r->positions[i].partition);
		if (k && k->source >= 0)
			out[n++] = r->positions[i];
	}
	return n;
}

void
owner_own_write(const struct owner *o, unsigned lane, struct buf *body)
{
	struct own own = {.shard = lane,
			  .epoch = o->epoch,
			  .ranges_n = o->ranges_n,
			  .state_empty = o->state_empty};

	memcpy(own.hash_key, o->hash_key, HASH_KEY_BYTES);
	own.has_policy = o->has_policy;
	own.policy_serial = o->has_policy ? (uint64_t)o->policy_serial : 0;
	memcpy(own.policy_root, o->policy_root, POLICY_ROOT_BYTES);
	own.partitions = mem_zero(OWN_PARTITIONS_MAX + 1, sizeof(*own.partitions));
	for (uint32_t id = 0, end = own_end(o); id < end; id++)
		if (partition_told(o, id, false, &own.partitions[own.partitions_n]))
			own.partitions_n++;
	own.ranges = mem_zero(o->ranges_n, sizeof(*own.ranges));
	for (uint32_t i = 0; i < o->ranges_n; i++) {
		const struct owner_range *r = &o->ranges[i];
		struct position *told = mem_zero(r->positions_n, sizeof(*told));
		own.ranges[i] = (struct own_range){.kg_lo = r->kg_lo,
						   .kg_hi = r->kg_hi,
						   .positions = told,
						   .positions_n = positions_told(o, r, told)};
	}
	wire_own_write(body, &own);
	for (uint32_t i = 0; i < o->ranges_n; i++)
		free(own.ranges[i].positions);
	free(own.partitions);
	free(own.ranges);
}

static struct owner_range *
range_of(struct owner *o, const struct end_range *e)
{
	for (uint32_t i = 0; i < o->ranges_n; i++)
		if (o->ranges[i].kg_lo <= e->kg_lo && o->ranges[i].kg_hi >= e->kg_hi)
			return &o->ranges[i];
	return NULL;
}

/*
 * A position never goes back, that would read events a second time. One that lies behind ours is no
 * breach: after a restart a partition is read from the minimum over all lanes.
 */
static bool
position_take(struct owner *o, struct owner_range *r, const struct position *p, struct err *e)
{
	const struct known *k = owner_known(o, p->partition);

	if (k == NULL)
		return err_set(e, EXIT_BUG, "a position of partition %u, which has no PART",
			       p->partition);
	/* Tickets are returned, not stored; a done file has left the vectors. */
	if (k->kind == PARTITION_TRANSIENT || k->done)
		return true;
	uint32_t i = range_find(r, p->partition);
	if (!range_has(r, i, p->partition) || r->positions[i].next < p->next)
		range_set(r, p->partition, p->next);
	return true;
}

bool
owner_positions(struct owner *o, const struct end *end, struct err *e)
{
	for (uint32_t i = 0; i < end->ranges_n; i++) {
		const struct end_range *from = &end->ranges[i];
		struct owner_range *r = range_of(o, from);
		if (r == NULL)
			return err_set(e, EXIT_BUG, "positions of key groups %u to %u, not ours",
				       from->kg_lo, from->kg_hi);
		for (uint32_t j = 0; j < from->positions_n; j++)
			if (!position_take(o, r, &from->positions[j], e))
				return false;
	}
	return true;
}

static int
position_order(const void *a, const void *b)
{
	const struct position *x = a, *y = b;

	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	return (x->next > y->next) - (x->next < y->next);
}

/*
 * What END told, the minimum over the ranges: a partition that one range does not name is not in
 * the minimum.
 */
void
owner_committed_write(const struct owner *o, unsigned lane, const struct batch *b, struct buf *body)
{
	struct committed c = {.shard = lane, .epoch = o->epoch, .n = b->n};
	uint32_t all = 0;

	for (uint32_t i = 0; i < b->end.ranges_n; i++)
		all += b->end.ranges[i].positions_n;
	c.positions = mem_zero(all, sizeof(*c.positions));
	for (uint32_t i = 0; i < b->end.ranges_n; i++) {
		const struct end_range *r = &b->end.ranges[i];
		if (r->positions_n)
			memcpy(c.positions + c.positions_n, r->positions,
			       r->positions_n * sizeof(*r->positions));
		c.positions_n += r->positions_n;
	}
	qsort(c.positions, c.positions_n, sizeof(*c.positions), position_order);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < c.positions_n; i++)
		if (i == 0 || c.positions[i].partition != c.positions[i - 1].partition)
			c.positions[kept++] = c.positions[i];
	c.positions_n = kept;
	wire_committed_write(body, &c);
	free(c.positions);
}

void
owner_free(struct owner *o)
{
	owner_ranges_clear(o);
	free(o->wanted);
	free(o->joined);
	for (uint32_t i = 0; i < o->partitions_max; i++)
		free(o->partitions[i].label);
	free(o->partitions);
}
