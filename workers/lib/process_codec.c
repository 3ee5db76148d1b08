/*
 * A process as bytes. [version, key, status, events, transitions, expired_at, first_at, last_at,
 * [sources seen], identities, {fold id: state}], a tombstone: [version, key, revision].
 * Times are nil when there are none. EMITTED is added to the status once a row was emitted. State
 * of a fold by its operation:
 *   first last  [time, sequence, partition, offset, value] or [time, sequence, rid, value]
 *   min max     value
 *   count       number        sum   [scale, big-endian two's complement]
 *   any all     the two bits, 1 true and 2 false
 *   set         [over, value...]
 *   list        [over, item...], an item as in first
 */
#include "fold.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

enum {
	STATE_VERSION = 1,
	STATE_ELEMENTS = 11,
	TOMBSTONE_ELEMENTS = 3,
	PLACE_ELEMENTS = 5,
	RID_ELEMENTS = 4,
	BIT_TRUE = 1,
	BIT_FALSE = 2,
	EMITTED = 4, /* above every status */
};

_Static_assert(PROCESS_STATUS_MAX <= (int)EMITTED, "a status and EMITTED are told apart");

/* ---- writing ---- */

static void
time_write(struct buf *out, int64_t time_us, int64_t none)
{
	if (time_us == none)
		pack_nil(out);
	else
		pack_int(out, time_us);
}

static void
item_write(struct buf *out, const struct origin *o, bool by_rid, const struct value *v)
{
	pack_array(out, by_rid ? RID_ELEMENTS : PLACE_ELEMENTS);
	time_write(out, o->time_us, INT64_MIN);
	pack_int(out, o->sequence);
	if (by_rid) {
		pack_bytes(out, o->rid, RID_BYTES);
	} else {
		pack_uint(out, o->place.partition);
		pack_int(out, o->place.offset);
	}
	pack_value(out, v);
}

static void
items_write(struct buf *out, const struct fold_slot *s, const struct process *p)
{
	struct items *const *slot = fold_at_of(s, p);
	const struct items *x = *slot;

	pack_array(out, 1 + (size_t)x->n);
	pack_uint(out, x->over);
	for (uint32_t i = 0; i < x->n; i++) {
		const struct item *item = &x->at[i];
		if (s->op == FOLD_LIST)
			item_write(out, &item->origin, item->by_rid, &item->value);
		else
			pack_value(out, &item->value);
	}
}

static void
sum_write(struct buf *out, const struct fold_slot *s, const struct process *p)
{
	uint8_t bytes[32];
	unsigned n = wide_bytes(fold_at_of(s, p), bytes);

	pack_array(out, 2);
	pack_uint(out, fold_flags_of(s, p) >> FLAG_SCALE_SHIFT);
	pack_bytes(out, bytes, n);
}

static void
fold_write(struct buf *out, const struct fold_slot *s, const struct process *p)
{
	uint8_t flags = fold_flags_of(s, p);
	struct value v;

	switch ((enum fold_op)s->op) {
	case FOLD_FIRST:
	case FOLD_LAST:
		v = fold_kept(s, p);
		item_write(out, fold_at_of(s, p), flags & FLAG_BY_RID, &v);
		return;
	case FOLD_MIN:
	case FOLD_MAX:
		v = fold_kept(s, p);
		pack_value(out, &v);
		return;
	case FOLD_COUNT:
		pack_uint(out, *(const uint64_t *)fold_at_of(s, p));
		return;
	case FOLD_SUM:
		sum_write(out, s, p);
		return;
	case FOLD_ANY:
	case FOLD_ALL:
		pack_uint(out, (flags & FLAG_TRUE ? BIT_TRUE : 0u) |
				   (flags & FLAG_FALSE ? BIT_FALSE : 0u));
		return;
	case FOLD_SET:
	case FOLD_LIST:
		items_write(out, s, p);
		return;
	case FOLD_OP_MAX:
		break;
	}
	panic("fold %s has operation %u", s->fold->name.s, s->op);
}

static void
seen_write(const struct process_layout *l, const struct process *p, struct buf *out)
{
	pack_array(out, (size_t)__builtin_popcountll(p->seen));
	for (unsigned i = 0; i < l->m->sources_n; i++)
		if (p->seen >> i & 1)
			pack_uint(out, l->source_id[i]);
}

static void
identities_write(const struct process_layout *l, const struct process *p, struct buf *out)
{
	struct buf *b = &l->scratch->text;

	buf_clear(b);
	identities_sorted(p->ids, b);
	pack_bytes(out, b->data, b->len);
}

void
process_encode(const struct process_layout *l, const struct process *p, struct buf *out)
{
	size_t n, folds = 0;
	const char *key = process_key(p, &n);

	pack_array(out, STATE_ELEMENTS);
	pack_uint(out, STATE_VERSION);
	pack_text(out, key, n);
	pack_uint(out, p->status | (p->emitted ? EMITTED : 0u));
	pack_uint(out, p->events);
	pack_uint(out, p->transitions);
	time_write(out, p->expired_at_us, INT64_MIN);
	time_write(out, p->first_at_us, INT64_MAX);
	time_write(out, p->last_at_us, INT64_MIN);
	seen_write(l, p, out);
	identities_write(l, p, out);
	for (unsigned i = 0; i < l->m->folds_n; i++)
		folds += fold_flags_of(&l->slots[i], p) & FLAG_SOME;
	pack_map(out, folds);
	for (unsigned i = 0; i < l->m->folds_n; i++) {
		if (!(fold_flags_of(&l->slots[i], p) & FLAG_SOME))
			continue;
		pack_uint(out, l->m->folds[i].id);
		fold_write(out, &l->slots[i], p);
	}
}

void
process_tombstone(const struct process *p, struct buf *out)
{
	size_t n;
	const char *key = process_key(p, &n);

	pack_array(out, TOMBSTONE_ELEMENTS);
	pack_uint(out, STATE_VERSION);
	pack_text(out, key, n);
	pack_int(out, process_revision(p));
}

/* ---- reading ---- */

static bool
time_read(struct pack_reader *r, struct pack_view v, int64_t none, int64_t *time_us)
{
	*time_us = none;
	return pack_view_nil(v) || pack_view_int(r, v, time_us);
}

/* A value of the fold's input type, as a well-behaved ingest could have sent it. */
static bool
value_read(struct pack_reader *r, struct pack_view view, const struct fold_slot *s, struct value *v)
{
	if (!pack_view_value(r, view, v))
		return false;
	if (v->type != s->in)
		return pack_fail(r, "a fold's value has another type");
	if ((v->type == VALUE_TEXT || v->type == VALUE_JSON) && v->len > TEXT_BYTES_MAX)
		return pack_fail(r, "a fold's text is too long");
	if (v->type == VALUE_SEALED && !wire_carried_read(v->text, v->len, &(struct carried){0}))
		return pack_fail(r, "a fold's value is not sealed, or has lost where it is from");
	if (v->type == VALUE_DECIMAL) {
		int128 units = value_units(v), limit = 1;
		for (int i = 0; i < DECIMAL_DIGITS_MAX; i++)
			limit *= 10;
		if (units >= limit || units <= -limit)
			return pack_fail(r, "a decimal has too many digits");
	}
	return true;
}

static bool
item_read(struct pack_reader *r, struct pack_view a, const struct fold_slot *s, struct origin *o,
	  bool *by_rid, struct value *v)
{
	size_t n;
	uint64_t partition;

	*o = (struct origin){0};
	if (!pack_view_array(r, a, &n))
		return false;
	if (n != PLACE_ELEMENTS && n != RID_ELEMENTS)
		return pack_fail(r, "an item has 4 or 5 elements");
	*by_rid = n == RID_ELEMENTS;
	if (!time_read(r, pack_view_at(a, 0), INT64_MIN, &o->time_us) ||
	    !pack_at_int(r, a, 1, &o->sequence))
		return false;
	if (*by_rid) {
		if (!pack_view_fixed(r, pack_view_at(a, 2), o->rid, RID_BYTES))
			return false;
	} else {
		if (!pack_at_uint(r, a, 2, UINT32_MAX, &partition) ||
		    !pack_at_int(r, a, 3, &o->place.offset))
			return false;
		o->place.partition = (uint32_t)partition;
	}
	return value_read(r, pack_view_at(a, n - 1), s, v);
}

static bool
ordered_read(struct pack_reader *r, struct pack_view view, const struct fold_slot *s,
	     struct process *p)
{
	struct origin o;
	bool by_rid;
	struct value v;

	if (!item_read(r, view, s, &o, &by_rid, &v))
		return false;
	memcpy(fold_at(s, p), &o, sizeof o);
	*fold_flags(s, p) = by_rid ? FLAG_BY_RID : 0;
	fold_keep(s, p, &v);
	return true;
}

static bool
sum_read(struct pack_reader *r, struct pack_view a, const struct fold_slot *s, struct process *p)
{
	size_t n, bytes_n;
	const uint8_t *bytes;
	uint64_t scale;
	struct wide w;

	if (!pack_view_array(r, a, &n))
		return false;
	if (n != 2)
		return pack_fail(r, "a sum has 2 elements");
	if (!pack_at_uint(r, a, 0, SUM_SCALE, &scale) ||
	    !pack_view_bytes(r, pack_view_at(a, 1), &bytes, &bytes_n))
		return false;
	if (!wide_from_bytes(&w, bytes, bytes_n))
		return pack_fail(r, "a sum has 1 to 32 bytes");
	memcpy(fold_at(s, p), &w, sizeof w);
	*fold_flags(s, p) = (uint8_t)(FLAG_SOME | scale << FLAG_SCALE_SHIFT);
	return true;
}

static bool
items_read(const struct process_layout *l, struct pack_reader *r, struct pack_view a,
	   const struct fold_slot *s, struct process *p)
{
	size_t n;
	uint64_t over;
	struct items **x = fold_at(s, p);

	if (!pack_view_array(r, a, &n))
		return false;
	if (n < 2)
		return pack_fail(r, "a set or list has items");
	if (!pack_at_uint(r, a, 0, s->op == FOLD_SET ? 1 : UINT64_MAX, &over))
		return false;
	for (size_t i = 1; i < n; i++) {
		struct origin o = {0};
		bool by_rid = false;
		struct value v;
		bool ok = s->op == FOLD_LIST ? item_read(r, pack_view_at(a, i), s, &o, &by_rid, &v)
					     : value_read(r, pack_view_at(a, i), s, &v);
		if (!ok)
			return false;
		if (!items_append(l, s, p, &o, by_rid, &v))
			return pack_fail(r, "items out of order or too many");
	}
	(*x)->over = over;
	return true;
}

static bool
fold_read(const struct process_layout *l, struct pack_reader *r, struct pack_view view,
	  const struct fold_slot *s, struct process *p)
{
	struct value v;
	uint64_t n;

	switch ((enum fold_op)s->op) {
	case FOLD_FIRST:
	case FOLD_LAST:
		return ordered_read(r, view, s, p);
	case FOLD_MIN:
	case FOLD_MAX:
		if (!value_read(r, view, s, &v))
			return false;
		fold_keep(s, p, &v);
		return true;
	case FOLD_COUNT:
		if (!pack_view_uint(r, view, INT64_MAX, &n))
			return false;
		*(uint64_t *)fold_at(s, p) = n;
		*fold_flags(s, p) = FLAG_SOME;
		return true;
	case FOLD_SUM:
		return sum_read(r, view, s, p);
	case FOLD_ANY:
	case FOLD_ALL:
		if (!pack_view_uint(r, view, BIT_TRUE | BIT_FALSE, &n))
			return false;
		*fold_flags(s, p) = (uint8_t)(FLAG_SOME | (n & BIT_TRUE ? FLAG_TRUE : 0) |
					      (n & BIT_FALSE ? FLAG_FALSE : 0));
		return true;
	case FOLD_SET:
	case FOLD_LIST:
		return items_read(l, r, view, s, p);
	case FOLD_OP_MAX:
		break;
	}
	panic("fold %s has operation %u", s->fold->name.s, s->op);
}

static bool
folds_read(const struct process_layout *l, struct pack_reader *r, struct pack_view map,
	   struct process *p)
{
	size_t n;

	if (!pack_view_map(r, map, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		struct pack_view key, view;
		uint64_t id;
		unsigned at = 0;
		pack_view_pair(map, i, &key, &view);
		if (!pack_view_uint(r, key, UINT64_MAX, &id))
			return false;
		while (at < l->m->folds_n && l->m->folds[at].id != id)
			at++;
		if (at == l->m->folds_n)
			continue;
		if (fold_flags_of(&l->slots[at], p))
			return pack_fail(r, "a fold twice");
		if (!fold_read(l, r, view, &l->slots[at], p))
			return false;
	}
	return true;
}

static bool
seen_read(const struct process_layout *l, struct pack_reader *r, struct pack_view a,
	  struct process *p)
{
	size_t n;

	if (!pack_view_array(r, a, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		uint64_t id;
		if (!pack_at_uint(r, a, i, UINT64_MAX, &id))
			return false;
		for (unsigned k = 0; k < l->m->sources_n; k++)
			if (l->source_id[k] == id)
				p->seen |= UINT64_C(1) << k;
	}
	return true;
}

static bool
identities_read(struct pack_reader *r, struct pack_view v, struct process *p)
{
	static const uint8_t nobody[RID_BYTES];
	const uint8_t *bytes;
	size_t n;

	if (!pack_view_bytes(r, v, &bytes, &n))
		return false;
	if (n % RID_BYTES)
		return pack_fail(r, "identities have 16 bytes each");
	for (size_t i = 0; i < n; i += RID_BYTES) {
		if (!memcmp(bytes + i, nobody, RID_BYTES) || identities_have(p->ids, bytes + i))
			return pack_fail(r, "an identity that is none, or twice");
		identities_add(&p->ids, bytes + i, &p->heap);
	}
	return true;
}

static bool
numbers_read(struct pack_reader *r, struct pack_view a, struct process *p)
{
	uint64_t status, events, transitions;

	if (!pack_at_uint(r, a, 2, EMITTED | (PROCESS_STATUS_MAX - 1), &status) ||
	    !pack_at_uint(r, a, 3, UINT32_MAX, &events) ||
	    !pack_at_uint(r, a, 4, UINT32_MAX, &transitions))
		return false;
	p->emitted = status & EMITTED;
	status &= ~(uint64_t)EMITTED;
	if (status >= PROCESS_STATUS_MAX)
		return pack_fail(r, "a status that is none");
	p->status = (uint8_t)status;
	p->events = (uint32_t)events;
	p->transitions = (uint32_t)transitions;
	if (!time_read(r, pack_view_at(a, 5), INT64_MIN, &p->expired_at_us) ||
	    !time_read(r, pack_view_at(a, 6), INT64_MAX, &p->first_at_us) ||
	    !time_read(r, pack_view_at(a, 7), INT64_MIN, &p->last_at_us))
		return false;
	return (p->first_at_us == INT64_MAX) == (p->last_at_us == INT64_MIN) ||
	       pack_fail(r, "a first event without a last one");
}

/* The array of n elements with version and key, what states and tombstones begin with. */
static bool
head_read(struct pack_reader *r, size_t n, struct pack_view *a, const char **key, size_t *key_len)
{
	uint64_t version;

	if (!pack_next_array(r, n, a) || !pack_at_uint(r, *a, 0, UINT32_MAX, &version))
		return false;
	if (version != STATE_VERSION)
		return pack_fail(r, "a state of another version");
	if (!pack_view_text(r, pack_view_at(*a, 1), key, key_len))
		return false;
	return *key_len <= KEY_BYTES_MAX || pack_fail(r, "a key is too long");
}

bool
process_decode(const struct process_layout *l, const uint8_t *body, size_t n, struct process **out,
	       struct err *e)
{
	struct pack_reader *r = &l->scratch->reader;
	struct process *p = NULL;
	struct pack_view a;
	const char *key;
	size_t key_len;

	*out = NULL;
	pack_reader_start(r, body, n);
	if (!head_read(r, STATE_ELEMENTS, &a, &key, &key_len))
		goto out;
	p = process_new(l, key, key_len);
	if (numbers_read(r, a, p) && seen_read(l, r, pack_view_at(a, 8), p) &&
	    identities_read(r, pack_view_at(a, 9), p) && folds_read(l, r, pack_view_at(a, 10), p) &&
	    pack_reader_end(r)) {
		*out = p;
		return true;
	}
out:
	process_free(l, p);
	return err_set(e, EXIT_DATA, "a stored state cannot be read: %s", r->why);
}

bool
process_tombstone_read(const uint8_t *body, size_t n, int64_t *revision, struct err *e)
{
	struct pack_reader r = {0};
	struct pack_view a;
	const char *key;
	size_t key_len;

	pack_reader_start(&r, body, n);
	bool ok = head_read(&r, TOMBSTONE_ELEMENTS, &a, &key, &key_len) &&
		  pack_at_int(&r, a, 2, revision) && pack_reader_end(&r);
	if (!ok)
		err_set(e, EXIT_DATA, "a stored tombstone cannot be read: %s", r.why);
	pack_reader_free(&r);
	return ok;
}
