/* The frames of one batch on its way down the lane: DONE, BEGIN, PROC, ROWS, STATE, DEAD. See
 * wire.h. */
#include "wire_private.h"

#include <string.h>

/* ---- what fits a frame ---- */

static size_t
text_bytes(const struct value *v)
{
	return v->type >= VALUE_TEXT && v->type <= VALUE_SEALED ? v->len : 0;
}

unsigned
wire_values_fit(struct value *v, uint32_t n)
{
	size_t sum = 0;
	unsigned nulled = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += text_bytes(&v[i]);
	for (uint32_t i = n; sum > VALUES_BYTES_MAX && i-- > 0;) {
		size_t bytes = text_bytes(&v[i]);
		if (bytes <= KEY_BYTES_MAX)
			continue;
		sum -= bytes;
		v[i] = value_null();
		nulled++;
	}
	return nulled;
}

/* ---- DONE ---- */

void
wire_done_write(struct buf *b, const struct done *d)
{
	pack_array(b, 3);
	pack_uint(b, d->partition);
	pack_int(b, d->next);
	pack_int(b, d->bytes);
}

bool
wire_done_read(struct pack_reader *r, struct done *d)
{
	struct pack_view a;
	uint64_t partition = 0;

	*d = (struct done){0};
	bool ok = pack_next_array(r, 3, &a) && pack_at_uint(r, a, 0, UINT32_MAX, &partition) &&
		  pack_at_int(r, a, 1, &d->next) && pack_at_int(r, a, 2, &d->bytes);
	d->partition = (uint32_t)partition;
	return ok;
}

/* ---- BEGIN ---- */

void
wire_begin_write(struct buf *b, const struct begin *x)
{
	pack_array(b, 3);
	pack_uint(b, x->shard);
	pack_int(b, x->epoch);
	pack_int(b, x->n);
}

bool
wire_begin_read(struct pack_reader *r, struct begin *x)
{
	struct pack_view a;
	uint64_t shard = 0;

	*x = (struct begin){0};
	bool ok = pack_next_array(r, 3, &a) && pack_at_uint(r, a, 0, UINT16_MAX, &shard) &&
		  pack_at_int(r, a, 1, &x->epoch) && pack_at_int(r, a, 2, &x->n);
	x->shard = (uint32_t)shard;
	return ok;
}

/* ---- values of PROC and ROWS ---- */

static bool
values_view(struct pack_reader *r, struct pack_view a, size_t from, size_t n, struct value *out)
{
	for (size_t i = 0; i < n; i++)
		if (!pack_view_value(r, pack_view_at(a, from + i), &out[i]))
			return false;
	return true;
}

void
wire_proc_write(struct buf *b, const struct proc *p)
{
	pack_array(b, (size_t)p->inputs_n + 1);
	pack_uint(b, p->missing);
	for (uint32_t i = 0; i < p->inputs_n; i++)
		pack_value(b, &p->inputs[i]);
}

bool
wire_proc_read(struct pack_reader *r, struct proc *p)
{
	struct pack_view a;
	size_t n;

	if (!pack_next(r, &a) || !pack_view_array(r, a, &n))
		return false;
	if (n < 1 || n > EXPR_INPUTS_MAX + 1)
		return pack_fail(r, "a process with a wrong number of inputs");
	p->inputs_n = (uint32_t)(n - 1);
	return pack_at_uint(r, a, 0, UINT64_MAX, &p->missing) &&
	       values_view(r, a, 1, n - 1, p->inputs);
}

void
wire_table_write(struct buf *b, uint32_t table)
{
	pack_uint(b, table);
}

bool
wire_table_read(struct pack_reader *r, uint32_t *table)
{
	struct pack_view v;
	uint64_t id = 0;

	bool ok = pack_next(r, &v) && pack_view_uint(r, v, TABLES_MAX - 1, &id);
	*table = (uint32_t)id;
	return ok;
}

enum { ROW_FIXED = 2, ROW_IDS = RID_BYTES + SUBJECT_ID_BYTES };

/* [missing, nil or rid, or rid and sid in one, values...] */
void
wire_row_write(struct buf *b, const struct row *row)
{
	static const uint8_t zeros[RID_BYTES];
	uint8_t ids[ROW_IDS];

	pack_array(b, (size_t)row->values_n + ROW_FIXED);
	pack_uint(b, row->missing);
	if (row->has_sid) {
		memcpy(ids, row->rid, RID_BYTES);
		memcpy(ids + RID_BYTES, row->sid, SUBJECT_ID_BYTES);
		pack_bytes(b, ids, ROW_IDS);
	} else if (memcmp(row->rid, zeros, RID_BYTES)) {
		pack_bytes(b, row->rid, RID_BYTES);
	} else {
		pack_nil(b);
	}
	for (uint32_t i = 0; i < row->values_n; i++)
		pack_value(b, &row->values[i]);
}

static bool
row_ids_view(struct pack_reader *r, struct pack_view v, struct row *row)
{
	const uint8_t *p;
	size_t n;

	memset(row->rid, 0, RID_BYTES);
	row->has_sid = false;
	if (pack_view_nil(v))
		return true;
	if (!pack_view_bytes(r, v, &p, &n))
		return false;
	if (n != RID_BYTES && n != ROW_IDS)
		return pack_fail(r, "a row's rid of a wrong length");
	memcpy(row->rid, p, RID_BYTES);
	row->has_sid = n == ROW_IDS;
	if (row->has_sid)
		memcpy(row->sid, p + RID_BYTES, SUBJECT_ID_BYTES);
	return true;
}

bool
wire_row_read(struct pack_reader *r, struct row *row)
{
	struct pack_view a;
	size_t n;

	if (!pack_next(r, &a) || !pack_view_array(r, a, &n))
		return false;
	if (n < ROW_FIXED || n > COLUMNS_MAX * 2 + ROW_FIXED)
		return pack_fail(r, "a row with a wrong number of values");
	row->values_n = (uint32_t)(n - ROW_FIXED);
	return pack_at_uint(r, a, 0, UINT64_MAX, &row->missing) &&
	       row_ids_view(r, pack_view_at(a, 1), row) &&
	       values_view(r, a, ROW_FIXED, row->values_n, row->values);
}

/* ---- STATE ---- */

void
wire_state_write(struct buf *b, const struct state_row *s)
{
	pack_array(b, 5);
	pack_bytes(b, s->key, sizeof s->key);
	pack_uint(b, s->kg);
	if (s->has_check_at)
		pack_int(b, s->check_at_us);
	else
		pack_nil(b);
	pack_bool(b, s->tombstone);
	pack_bytes(b, s->body, s->body_len);
}

bool
wire_state_read(struct pack_reader *r, struct state_row *s)
{
	struct pack_view a;
	uint64_t kg = 0;
	size_t n = 0;

	*s = (struct state_row){0};
	if (!pack_next_array(r, 5, &a) ||
	    !pack_view_fixed(r, pack_view_at(a, 0), s->key, sizeof s->key) ||
	    !pack_at_uint(r, a, 1, GROUPS_MAX - 1, &kg))
		return false;
	s->kg = (uint32_t)kg;
	s->has_check_at = !pack_view_nil(pack_view_at(a, 2));
	if (s->has_check_at && !pack_at_int(r, a, 2, &s->check_at_us))
		return false;
	if (!pack_view_bool(r, pack_view_at(a, 3), &s->tombstone) ||
	    !pack_view_bytes(r, pack_view_at(a, 4), &s->body, &n))
		return false;
	s->body_len = (uint32_t)n;
	return true;
}

/* ---- DEAD ---- */

enum { DEAD_ELEMENTS = 10 };

/*
 * [rid, source, partition, offset, stage, reason, digest or nil, body or nil, sid or nil, replayed]
 */
void
wire_dead_write(struct buf *b, const struct dead *d)
{
	pack_array(b, DEAD_ELEMENTS);
	pack_bytes(b, d->rid, RID_BYTES);
	pack_uint(b, d->source);
	pack_uint(b, d->partition);
	pack_int(b, d->offset);
	pack_text(b, d->stage, d->stage_len);
	pack_text(b, d->reason, d->reason_len);
	if (d->has_digest)
		pack_bytes(b, d->digest, DIGEST_BYTES);
	else
		pack_nil(b);
	body_write(b, d->body, d->body_len);
	sid_write(b, d->has_sid, d->sid);
	pack_bool(b, d->replayed);
}

static bool
dead_texts_view(struct pack_reader *r, struct pack_view a, struct dead *d)
{
	size_t stage, reason;

	if (!pack_view_text(r, pack_view_at(a, 4), &d->stage, &stage) ||
	    !pack_view_text(r, pack_view_at(a, 5), &d->reason, &reason))
		return false;
	if (stage > NAME_BYTES_MAX || reason > REASON_MAX)
		return pack_fail(r, "a text longer than its limit");
	d->stage_len = (uint32_t)stage;
	d->reason_len = (uint32_t)reason;
	return true;
}

bool
wire_dead_read(struct pack_reader *r, struct dead *d)
{
	struct pack_view a;
	uint64_t source = 0, partition = 0;

	*d = (struct dead){0};
	if (!pack_next_array(r, DEAD_ELEMENTS, &a) ||
	    !pack_view_fixed(r, pack_view_at(a, 0), d->rid, RID_BYTES) ||
	    !pack_at_uint(r, a, 1, SOURCES_MAX - 1, &source) ||
	    !pack_at_uint(r, a, 2, UINT32_MAX, &partition) || !pack_at_int(r, a, 3, &d->offset) ||
	    !dead_texts_view(r, a, d))
		return false;
	d->source = (uint16_t)source;
	d->partition = (uint32_t)partition;
	d->has_digest = !pack_view_nil(pack_view_at(a, 6));
	if (d->has_digest && !pack_view_fixed(r, pack_view_at(a, 6), d->digest, DIGEST_BYTES))
		return false;
	return at_body(r, a, 7, &d->body, &d->body_len) && at_sid(r, a, 8, &d->has_sid, d->sid) &&
	       at_bool(r, a, 9, &d->replayed);
}
