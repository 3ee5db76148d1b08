/* Items of DATA and EVT: records and covers. See wire.h. */
#include <stdlib.h>

#include "mem.h"
#include "wire_private.h"

/* ---- records ---- */

enum {
	RECORD_FIXED = 10,
	RECORD_DEAD_ELEMENTS = 3,
	RECORD_HAS_TIME = 1 << 2,
	RECORD_DISTINCT = 1 << 3,
	RECORD_KIND_MASK = 3,
	RECORD_BITS = RECORD_HAS_TIME | RECORD_DISTINCT | RECORD_KIND_MASK
};

/*
 * [kind | has_time | distinct, source, partition, offset, rid or nil, key group, key, time,
 * sequence, sid or nil, fields...]; of a dead one the fields are reason, digest, body or nil.
 */
void
wire_record_write(struct buf *b, const struct record *rec)
{
	bool dead = rec->kind == RECORD_DEAD;

	pack_array(b, RECORD_FIXED + (dead ? RECORD_DEAD_ELEMENTS : rec->fields_n));
	pack_uint(b, (unsigned)rec->kind | (rec->has_time ? (unsigned)RECORD_HAS_TIME : 0) |
			 (rec->distinct ? (unsigned)RECORD_DISTINCT : 0));
	pack_uint(b, rec->source);
	pack_uint(b, rec->partition);
	pack_int(b, rec->offset);
	if (rec->has_rid)
		pack_bytes(b, rec->rid, RID_BYTES);
	else
		pack_nil(b);
	pack_uint(b, rec->kg);
	pack_text(b, rec->key, rec->key_len);
	pack_int(b, rec->time_us);
	pack_int(b, rec->sequence);
	sid_write(b, rec->has_sid, rec->sid);
	if (dead) {
		pack_text(b, rec->reason, rec->reason_len);
		pack_bytes(b, rec->digest, DIGEST_BYTES);
		body_write(b, rec->body, rec->body_len);
		return;
	}
	for (uint32_t i = 0; i < rec->fields_n; i++)
		pack_value(b, &rec->fields[i]);
}

static bool
record_head_view(struct pack_reader *r, struct pack_view a, struct record *rec)
{
	uint64_t kind;

	if (!pack_at_uint(r, a, 0, RECORD_BITS, &kind) ||
	    !at_u16(r, a, 1, SOURCES_MAX - 1, &rec->source) || !at_u32(r, a, 2, &rec->partition) ||
	    !pack_at_int(r, a, 3, &rec->offset))
		return false;
	if ((kind & RECORD_KIND_MASK) > RECORD_DEAD)
		return pack_fail(r, "a record of unknown kind");
	rec->kind = (enum record_kind)(kind & RECORD_KIND_MASK);
	rec->has_time = kind & RECORD_HAS_TIME;
	rec->distinct = kind & RECORD_DISTINCT;
	rec->has_rid = !pack_view_nil(pack_view_at(a, 4));
	if (rec->has_rid && !pack_view_fixed(r, pack_view_at(a, 4), rec->rid, RID_BYTES))
		return false;
	if (!at_u32(r, a, 5, &rec->kg) ||
	    !at_text(r, a, 6, KEY_BYTES_MAX, &rec->key, &rec->key_len) ||
	    !pack_at_int(r, a, 7, &rec->time_us) || !pack_at_int(r, a, 8, &rec->sequence) ||
	    !at_sid(r, a, 9, &rec->has_sid, rec->sid))
		return false;
	return rec->kg < GROUPS_MAX || pack_fail(r, "a key group that is none");
}

bool
wire_record_read(struct pack_reader *r, struct record *rec)
{
	struct pack_view a;
	struct value *fields = rec->fields;
	size_t n;

	*rec = (struct record){.fields = fields};
	if (!pack_next(r, &a) || !pack_view_array(r, a, &n))
		return false;
	if (n < RECORD_FIXED || n > RECORD_FIXED + FIELDS_MAX)
		return pack_fail(r, "a record with a wrong number of elements");
	if (!record_head_view(r, a, rec))
		return false;
	if (rec->kind == RECORD_DEAD) {
		if (n != RECORD_FIXED + RECORD_DEAD_ELEMENTS)
			return pack_fail(r, "a dead record has a reason, a digest and a body");
		return at_text(r, a, RECORD_FIXED, REASON_MAX, &rec->reason, &rec->reason_len) &&
		       pack_view_fixed(r, pack_view_at(a, RECORD_FIXED + 1), rec->digest,
				       DIGEST_BYTES) &&
		       at_body(r, a, RECORD_FIXED + 2, &rec->body, &rec->body_len);
	}
	rec->fields_n = (uint32_t)(n - RECORD_FIXED);
	for (uint32_t i = 0; i < rec->fields_n; i++)
		if (!pack_view_value(r, pack_view_at(a, RECORD_FIXED + i), &fields[i]))
			return false;
	return true;
}

/* ---- covers: one flat array, five elements each ---- */

enum {
	COVER_ELEMENTS = 5,
	COVER_TIME = 1,
	COVER_CAUGHT_UP = 2,
	COVER_FINISHED = 4,
	COVER_FLAGS = 7
};

void
wire_covers_write(struct buf *b, const struct cover *c, uint32_t n)
{
	pack_array(b, (size_t)n * COVER_ELEMENTS);
	for (uint32_t i = 0; i < n; i++) {
		pack_uint(b, c[i].partition);
		pack_int(b, c[i].from);
		pack_int(b, c[i].to);
		pack_int(b, c[i].time_max_us);
		pack_uint(b, (c[i].has_time ? COVER_TIME : 0u) |
				 (c[i].caught_up ? COVER_CAUGHT_UP : 0u) |
				 (c[i].finished ? COVER_FINISHED : 0u));
	}
}

static bool
cover_view(struct pack_reader *r, struct pack_view a, size_t at, struct cover *c)
{
	uint64_t flags;

	if (!at_u32(r, a, at, &c->partition) || !pack_at_int(r, a, at + 1, &c->from) ||
	    !pack_at_int(r, a, at + 2, &c->to) || !pack_at_int(r, a, at + 3, &c->time_max_us) ||
	    !pack_at_uint(r, a, at + 4, COVER_FLAGS, &flags))
		return false;
	c->has_time = flags & COVER_TIME;
	c->caught_up = flags & COVER_CAUGHT_UP;
	c->finished = flags & COVER_FINISHED;
	return c->from <= c->to || pack_fail(r, "a cover that ends before it begins");
}

bool
wire_covers_read(struct pack_reader *r, struct cover **c, uint32_t *n)
{
	struct pack_view a;
	size_t elements;

	*c = NULL;
	*n = 0;
	if (!pack_next(r, &a) || !pack_view_array(r, a, &elements))
		return false;
	if (elements % COVER_ELEMENTS)
		return pack_fail(r, "a cover has 5 elements");
	*c = mem_zero(elements / COVER_ELEMENTS, sizeof **c);
	*n = (uint32_t)(elements / COVER_ELEMENTS);
	for (uint32_t i = 0; i < *n; i++) {
		if (cover_view(r, a, (size_t)i * COVER_ELEMENTS, &(*c)[i]))
			continue;
		free(*c);
		*c = NULL;
		*n = 0;
		return false;
	}
	return true;
}
