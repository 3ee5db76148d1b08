#include "wire.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "wire_private.h"

static const char *const names[FRAME_TYPE_MAX] = {
#define X(id, words) #id,
    FRAMES(X)
#undef X
};

const char *
frame_name(enum frame_type t)
{
	return (unsigned)t < FRAME_TYPE_MAX ? names[t] : "?";
}

/* ---- head: little-endian by hand, so that the layout is the same everywhere ---- */

static void
put(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t
get(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

void
frame_head_encode(const struct frame_head *h, uint8_t out[static FRAME_HEAD_BYTES])
{
	out[0] = h->version;
	out[1] = h->type;
	put(out + 2, h->flags, 2);
	put(out + 4, h->generation, 4);
	put(out + 8, h->sender, 2);
	put(out + 10, h->receiver, 2);
	put(out + 12, h->count, 4);
	put(out + 16, h->seq, 8);
	put(out + 24, h->bytes, 4);
	put(out + 28, 0, 4);
}

/* n: bytes of the whole message, head and body. Twin: frame_head_encode. */
bool
frame_head_decode(const uint8_t *p, size_t n, struct frame_head *h, struct err *e)
{
	if (n < FRAME_HEAD_BYTES)
		return err_set(e, EXIT_BUG, "a frame of %zu bytes has no whole head", n);
	*h = (struct frame_head){
	    .version = p[0],
	    .type = p[1],
	    .flags = (uint16_t)get(p + 2, 2),
	    .generation = (uint32_t)get(p + 4, 4),
	    .sender = (uint16_t)get(p + 8, 2),
	    .receiver = (uint16_t)get(p + 10, 2),
	    .count = (uint32_t)get(p + 12, 4),
	    .seq = get(p + 16, 8),
	    .bytes = (uint32_t)get(p + 24, 4),
	};
	if (h->version != WIRE_VERSION)
		return err_set(e, EXIT_BUG, "a frame of version %u, we speak %d", h->version,
			       WIRE_VERSION);
	if (h->type >= FRAME_TYPE_MAX)
		return err_set(e, EXIT_BUG, "a frame of unknown type %u", h->type);
	if (h->flags & ~FRAME_LAST || get(p + 28, 4))
		return err_set(e, EXIT_BUG, "a frame with reserved bits set");
	if (h->bytes != n - FRAME_HEAD_BYTES || h->bytes > FRAME_BYTES_MAX)
		return err_set(e, EXIT_BUG, "a frame says %u bytes and has %zu", h->bytes,
			       n - FRAME_HEAD_BYTES);
	return true;
}

/* ---- partitions ---- */

void
wire_partition_write(struct buf *b, const struct partition *p)
{
	pack_array(b, 8);
	pack_uint(b, p->id);
	pack_uint(b, p->source);
	pack_uint(b, p->kind);
	pack_bool(b, p->done);
	pack_int(b, p->next);
	pack_int(b, p->bytes);
	pack_uint(b, p->number);
	pack_text(b, p->label, p->label_len);
}

static bool
partition_view(struct pack_reader *r, struct pack_view a, struct partition *p)
{
	size_t n;
	uint64_t kind;

	*p = (struct partition){0};
	if (!pack_view_array(r, a, &n))
		return false;
	if (n != 8)
		return pack_fail(r, "a partition has 8 elements");
	if (!at_u32(r, a, 0, &p->id) || !at_u16(r, a, 1, SOURCES_MAX - 1, &p->source) ||
	    !pack_at_uint(r, a, 2, PARTITION_TRANSIENT, &kind) || !at_bool(r, a, 3, &p->done) ||
	    !pack_at_int(r, a, 4, &p->next) || !pack_at_int(r, a, 5, &p->bytes) ||
	    !at_u32(r, a, 6, &p->number) ||
	    !at_text(r, a, 7, PARTITION_LABEL_MAX, &p->label, &p->label_len))
		return false;
	p->kind = (enum partition_kind)kind;
	return true;
}

bool
wire_partition_read(struct pack_reader *r, struct partition *p)
{
	struct pack_view a;

	return pack_next(r, &a) && partition_view(r, a, p);
}

/* ---- positions: one flat array partition, next, partition, next ... ---- */

static void
positions_write(struct buf *b, const struct position *p, uint32_t n)
{
	pack_array(b, (size_t)n * 2);
	for (uint32_t i = 0; i < n; i++) {
		pack_uint(b, p[i].partition);
		pack_int(b, p[i].next);
	}
}

/* Allocates *out; the caller frees it, also after a failure. */
static bool
positions_view(struct pack_reader *r, struct pack_view a, struct position **out, uint32_t *count)
{
	size_t n;

	if (!pack_view_array(r, a, &n))
		return false;
	if (n % 2)
		return pack_fail(r, "positions come in pairs");
	*out = mem_zero(n / 2, sizeof **out);
	*count = (uint32_t)(n / 2);
	for (uint32_t i = 0; i < *count; i++)
		if (!at_u32(r, a, i * 2, &(*out)[i].partition) ||
		    !pack_at_int(r, a, i * 2 + 1, &(*out)[i].next))
			return false;
	return true;
}

/* ---- OWN ---- */

/*
 * [hash key, shard, epoch, state empty, partitions, ranges, policy root or nil, lowest serial]
 */
void
wire_own_write(struct buf *b, const struct own *o)
{
	pack_array(b, 8);
	pack_bytes(b, o->hash_key, HASH_KEY_BYTES);
	pack_uint(b, o->shard);
	pack_int(b, o->epoch);
	pack_bool(b, o->state_empty);
	pack_array(b, o->partitions_n);
	for (uint32_t i = 0; i < o->partitions_n; i++)
		wire_partition_write(b, &o->partitions[i]);
	pack_array(b, o->ranges_n);
	for (uint32_t i = 0; i < o->ranges_n; i++) {
		pack_array(b, 3);
		pack_uint(b, o->ranges[i].kg_lo);
		pack_uint(b, o->ranges[i].kg_hi);
		positions_write(b, o->ranges[i].positions, o->ranges[i].positions_n);
	}
	if (o->has_policy)
		pack_bytes(b, o->policy_root, POLICY_ROOT_BYTES);
	else
		pack_nil(b);
	pack_uint(b, o->has_policy ? o->policy_serial : 0);
}

static bool
own_policy_view(struct pack_reader *r, struct pack_view a, struct own *o)
{
	o->has_policy = !pack_view_nil(pack_view_at(a, 6));
	if (o->has_policy &&
	    !pack_view_fixed(r, pack_view_at(a, 6), o->policy_root, POLICY_ROOT_BYTES))
		return false;
	if (!pack_at_uint(r, a, 7, UINT64_MAX, &o->policy_serial))
		return false;
	return o->has_policy || !o->policy_serial || pack_fail(r, "a serial without a policy");
}

static bool
own_partitions_view(struct pack_reader *r, struct pack_view a, struct own *o)
{
	size_t n;

	if (!pack_view_array(r, a, &n))
		return false;
	o->partitions = mem_zero(n, sizeof *o->partitions);
	o->partitions_n = (uint32_t)n;
	for (size_t i = 0; i < n; i++)
		if (!partition_view(r, pack_view_at(a, i), &o->partitions[i]))
			return false;
	return true;
}

static bool
range_view(struct pack_reader *r, struct pack_view a, uint32_t *lo, uint32_t *hi,
	   struct position **positions, uint32_t *positions_n)
{
	size_t n;

	if (!pack_view_array(r, a, &n))
		return false;
	if (n != 3)
		return pack_fail(r, "a range has 3 elements");
	if (!at_u32(r, a, 0, lo) || !at_u32(r, a, 1, hi))
		return false;
	if (*lo > *hi || *hi >= GROUPS_MAX)
		return pack_fail(r, "a range of key groups that is none");
	return positions_view(r, pack_view_at(a, 2), positions, positions_n);
}

static bool
own_ranges_view(struct pack_reader *r, struct pack_view a, struct own *o)
{
	size_t n;

	if (!pack_view_array(r, a, &n))
		return false;
	o->ranges = mem_zero(n, sizeof *o->ranges);
	o->ranges_n = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		struct own_range *g = &o->ranges[i];
		if (!range_view(r, pack_view_at(a, i), &g->kg_lo, &g->kg_hi, &g->positions,
				&g->positions_n))
			return false;
	}
	return true;
}

bool
wire_own_read(struct pack_reader *r, struct own *o)
{
	struct pack_view a;

	*o = (struct own){0};
	if (pack_next_array(r, 8, &a) &&
	    pack_view_fixed(r, pack_view_at(a, 0), o->hash_key, HASH_KEY_BYTES) &&
	    at_u32(r, a, 1, &o->shard) && pack_at_int(r, a, 2, &o->epoch) &&
	    at_bool(r, a, 3, &o->state_empty) && own_partitions_view(r, pack_view_at(a, 4), o) &&
	    own_ranges_view(r, pack_view_at(a, 5), o) && own_policy_view(r, a, o))
		return true;
	own_free(o);
	return false;
}

void
own_free(struct own *o)
{
	for (uint32_t i = 0; i < o->ranges_n; i++)
		free(o->ranges[i].positions);
	free(o->ranges);
	free(o->partitions);
	*o = (struct own){0};
}

/* ---- CLAIM: one flat array of key groups ---- */

void
wire_claim_write(struct buf *b, const struct claim *c)
{
	pack_array(b, c->groups_n);
	for (uint32_t i = 0; i < c->groups_n; i++)
		pack_uint(b, c->groups[i]);
}

bool
wire_claim_read(struct pack_reader *r, struct claim *c)
{
	struct pack_view a;
	size_t n = 0;

	*c = (struct claim){0};
	if (!pack_next(r, &a) || !pack_view_array(r, a, &n))
		return false;
	if (n > GROUPS_MAX)
		return pack_fail(r, "more key groups than there can be");
	c->groups = mem_zero(n, sizeof *c->groups);
	c->groups_n = (uint32_t)n;
	bool ok = true;
	for (uint32_t i = 0; ok && i < n; i++) {
		ok = at_u16(r, a, i, GROUPS_MAX - 1, &c->groups[i]);
		if (ok && i && c->groups[i] <= c->groups[i - 1])
			ok = pack_fail(r, "key groups that do not rise");
	}
	if (!ok)
		claim_free(c);
	return ok;
}

void
claim_free(struct claim *c)
{
	free(c->groups);
	*c = (struct claim){0};
}

/* ---- COMMITTED ---- */

void
wire_committed_write(struct buf *b, const struct committed *c)
{
	pack_array(b, 4);
	pack_uint(b, c->shard);
	pack_int(b, c->epoch);
	pack_int(b, c->n);
	positions_write(b, c->positions, c->positions_n);
}

bool
wire_committed_read(struct pack_reader *r, struct committed *c)
{
	struct pack_view a;

	*c = (struct committed){0};
	if (pack_next_array(r, 4, &a) && at_u32(r, a, 0, &c->shard) &&
	    pack_at_int(r, a, 1, &c->epoch) && pack_at_int(r, a, 2, &c->n) &&
	    positions_view(r, pack_view_at(a, 3), &c->positions, &c->positions_n))
		return true;
	committed_free(c);
	return false;
}

void
committed_free(struct committed *c)
{
	free(c->positions);
	*c = (struct committed){0};
}

/* ---- END ---- */

void
wire_end_write(struct buf *b, const struct end *e)
{
	pack_array(b, 8);
	pack_int(b, e->n);
	pack_array(b, e->ranges_n);
	for (uint32_t i = 0; i < e->ranges_n; i++) {
		pack_array(b, 3);
		pack_uint(b, e->ranges[i].kg_lo);
		pack_uint(b, e->ranges[i].kg_hi);
		positions_write(b, e->ranges[i].positions, e->ranges[i].positions_n);
	}
	pack_uint(b, e->proc);
	pack_uint(b, e->evt);
	pack_uint(b, e->state);
	pack_uint(b, e->dead);
	pack_array(b, e->tables_n);
	for (uint32_t i = 0; i < e->tables_n; i++)
		pack_uint(b, e->rows[i]);
	pack_array(b, (size_t)e->sources_n * 3);
	for (uint32_t i = 0; i < e->sources_n; i++) {
		pack_uint(b, e->sources[i].events);
		pack_uint(b, e->sources[i].dead);
		pack_uint(b, e->sources[i].dropped);
	}
}

static bool
end_ranges_view(struct pack_reader *r, struct pack_view a, struct end *e)
{
	size_t n;

	if (!pack_view_array(r, a, &n))
		return false;
	e->ranges = mem_zero(n, sizeof *e->ranges);
	e->ranges_n = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		struct end_range *g = &e->ranges[i];
		if (!range_view(r, pack_view_at(a, i), &g->kg_lo, &g->kg_hi, &g->positions,
				&g->positions_n))
			return false;
	}
	return true;
}

static bool
end_counts_view(struct pack_reader *r, struct pack_view tables, struct pack_view sources,
		struct end *e)
{
	size_t n;

	if (!pack_view_array(r, tables, &n))
		return false;
	if (n > TABLES_MAX)
		return pack_fail(r, "more tables than there can be");
	e->tables_n = (uint32_t)n;
	for (size_t i = 0; i < n; i++)
		if (!pack_at_uint(r, tables, i, UINT64_MAX, &e->rows[i]))
			return false;
	if (!pack_view_array(r, sources, &n))
		return false;
	if (n % 3 || n / 3 > SOURCES_MAX)
		return pack_fail(r, "counts of sources come in threes");
	e->sources_n = (uint32_t)(n / 3);
	for (size_t i = 0; i < e->sources_n; i++)
		if (!pack_at_uint(r, sources, i * 3, UINT64_MAX, &e->sources[i].events) ||
		    !pack_at_uint(r, sources, i * 3 + 1, UINT64_MAX, &e->sources[i].dead) ||
		    !pack_at_uint(r, sources, i * 3 + 2, UINT64_MAX, &e->sources[i].dropped))
			return false;
	return true;
}

bool
wire_end_read(struct pack_reader *r, struct end *e)
{
	struct pack_view a;

	*e = (struct end){0};
	if (pack_next_array(r, 8, &a) && pack_at_int(r, a, 0, &e->n) &&
	    end_ranges_view(r, pack_view_at(a, 1), e) &&
	    pack_at_uint(r, a, 2, UINT64_MAX, &e->proc) &&
	    pack_at_uint(r, a, 3, UINT64_MAX, &e->evt) &&
	    pack_at_uint(r, a, 4, UINT64_MAX, &e->state) &&
	    pack_at_uint(r, a, 5, UINT64_MAX, &e->dead) &&
	    end_counts_view(r, pack_view_at(a, 6), pack_view_at(a, 7), e))
		return true;
	end_free(e);
	return false;
}

void
end_free(struct end *e)
{
	for (uint32_t i = 0; i < e->ranges_n; i++)
		free(e->ranges[i].positions);
	free(e->ranges);
	*e = (struct end){0};
}
