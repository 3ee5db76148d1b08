/* Items of DATA and EVT: records and covers. See wire.h. */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "wire_private.h"

/* ---- records ---- */

enum {
	RECORD_FIXED = 9, /* and the sid, of one that has it */
	RECORD_DEAD_ELEMENTS = 3,
	RECORD_HAS_TIME = 1 << 2,
	RECORD_DISTINCT = 1 << 3,
	RECORD_RAW_ONLY = 1 << 4,
	RECORD_HAS_SID = 1 << 5,
	RECORD_KIND_MASK = 3,
	RECORD_BITS =
	    RECORD_HAS_TIME | RECORD_DISTINCT | RECORD_RAW_ONLY | RECORD_HAS_SID | RECORD_KIND_MASK
};

static void
rid_write(struct buf *b, const struct record *rec)
{
	uint8_t both[2 * RID_BYTES];

	if (!rec->has_rid) {
		pack_nil(b);
		return;
	}
	memcpy(both, rec->rid, RID_BYTES);
	memcpy(both + RID_BYTES, rec->bound, RID_BYTES);
	pack_bytes(b, both, rec->has_bound ? sizeof both : RID_BYTES);
}

static bool
rid_view(struct pack_reader *r, struct pack_view v, struct record *rec)
{
	const uint8_t *p;
	size_t n;

	if (pack_view_nil(v))
		return true;
	if (!pack_view_bytes(r, v, &p, &n))
		return false;
	if (n != RID_BYTES && n != 2 * RID_BYTES)
		return pack_fail(r, "a rid of a wrong length");
	rec->has_rid = true;
	rec->has_bound = n > RID_BYTES;
	memcpy(rec->rid, p, RID_BYTES);
	if (rec->has_bound)
		memcpy(rec->bound, p + RID_BYTES, RID_BYTES);
	return true;
}

/*
 * [kind and flags, source, partition, offset, rid or nil, key group, key, time, sequence, sid if
 * there is one, fields...]; of a dead one the fields are reason, digest, body or nil. After a rid
 * there may be, in the same bytes, the one that sealed fields are bound to.
 */
void
wire_record_write(struct buf *b, const struct record *rec)
{
	bool dead = rec->kind == RECORD_DEAD;

	pack_array(b, RECORD_FIXED + rec->has_sid + (dead ? RECORD_DEAD_ELEMENTS : rec->fields_n));
	pack_uint(b, (unsigned)rec->kind | (rec->has_time ? (unsigned)RECORD_HAS_TIME : 0) |
			 (rec->distinct ? (unsigned)RECORD_DISTINCT : 0) |
			 (rec->raw_only ? (unsigned)RECORD_RAW_ONLY : 0) |
			 (rec->has_sid ? (unsigned)RECORD_HAS_SID : 0));
	pack_uint(b, rec->source);
	pack_uint(b, rec->partition);
	pack_int(b, rec->offset);
	rid_write(b, rec);
	pack_uint(b, rec->kg);
	pack_text(b, rec->key, rec->key_len);
	pack_int(b, rec->time_us);
	pack_int(b, rec->sequence);
	if (rec->has_sid)
		pack_bytes(b, rec->sid, SUBJECT_ID_BYTES);
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
	rec->raw_only = kind & RECORD_RAW_ONLY;
	rec->has_sid = kind & RECORD_HAS_SID;
	if (!rid_view(r, pack_view_at(a, 4), rec) || !at_u32(r, a, 5, &rec->kg) ||
	    !at_text(r, a, 6, KEY_BYTES_MAX, &rec->key, &rec->key_len) ||
	    !pack_at_int(r, a, 7, &rec->time_us) || !pack_at_int(r, a, 8, &rec->sequence))
		return false;
	return rec->kg < GROUPS_MAX || pack_fail(r, "a key group that is none");
}

static bool
dead_view(struct pack_reader *r, struct pack_view a, size_t at, size_t n, struct record *rec)
{
	if (n != at + RECORD_DEAD_ELEMENTS)
		return pack_fail(r, "a dead record has a reason, a digest and a body");
	return at_text(r, a, at, REASON_MAX, &rec->reason, &rec->reason_len) &&
	       pack_view_fixed(r, pack_view_at(a, at + 1), rec->digest, DIGEST_BYTES) &&
	       at_body(r, a, at + 2, &rec->body, &rec->body_len);
}

bool
wire_record_read(struct pack_reader *r, struct record *rec)
{
	struct pack_view a;
	struct value *fields = rec->fields;
	size_t n, at;

	*rec = (struct record){.fields = fields};
	if (!pack_next(r, &a) || !pack_view_array(r, a, &n))
		return false;
	if (n < RECORD_FIXED || n > RECORD_FIXED + 1 + FIELDS_MAX)
		return pack_fail(r, "a record with a wrong number of elements");
	if (!record_head_view(r, a, rec))
		return false;
	at = RECORD_FIXED + (rec->has_sid ? 1u : 0u);
	if (n < at || n > at + FIELDS_MAX)
		return pack_fail(r, "a record with a wrong number of elements");
	if (rec->has_sid &&
	    !pack_view_fixed(r, pack_view_at(a, RECORD_FIXED), rec->sid, SUBJECT_ID_BYTES))
		return false;
	if (rec->kind == RECORD_DEAD)
		return dead_view(r, a, at, n, rec);
	rec->fields_n = (uint32_t)(n - at);
	for (uint32_t i = 0; i < rec->fields_n; i++)
		if (!pack_view_value(r, pack_view_at(a, at + i), &fields[i]))
			return false;
	return true;
}

/* FNV-1a: nobody chooses these bytes but the pipeline file. */
static uint64_t
layout_mix(uint64_t h, const void *p, size_t n)
{
	const uint8_t *at = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ at[i]) * UINT64_C(1099511628211);
	return h;
}

uint64_t
wire_layout(const struct source *s)
{
	uint64_t h = UINT64_C(14695981039346656037);
	const uint8_t version = WIRE_VERSION;

	h = layout_mix(h, &version, 1);
	h = layout_mix(h, s->label, strlen(s->label) + 1);
	for (unsigned i = 0; i < s->fields_n; i++) {
		const struct field *f = &s->fields[i];
		/* One that nothing reads is sent as null. */
		const uint8_t kind[] = {(uint8_t)f->type, f->used, f->class >= 0, f->token_of >= 0};

		h = layout_mix(h, f->name.s, strlen(f->name.s) + 1);
		h = layout_mix(h, kind, sizeof kind);
	}
	return h ? h : 1;
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
