#include "fold.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

/* ---- the total order ---- */

void
fold_event_start(struct fold_event *ev, const struct record *rec, process_rid_of rid_of, void *ctx)
{
	*ev = (struct fold_event){.rec = rec, .by_rid = rec->has_rid, .rid_of = rid_of, .ctx = ctx};
	ev->origin.time_us = rec->has_time ? rec->time_us : INT64_MIN;
	ev->origin.sequence = rec->sequence;
	if (rec->has_rid) {
		memcpy(ev->origin.rid, rec->rid, RID_BYTES);
	} else {
		ev->origin.place.offset = rec->offset;
		ev->origin.place.partition = rec->partition;
	}
}

/* The rid of what lies at a place: asked for, or (nobody to ask) the place itself, big-endian. */
static void
origin_rid(const struct fold_event *ev, const struct origin *o, bool by_rid,
	   uint8_t out[static RID_BYTES])
{
	if (by_rid) {
		memcpy(out, o->rid, RID_BYTES);
		return;
	}
	if (ev->rid_of) {
		struct record there = {.partition = o->place.partition, .offset = o->place.offset};
		ev->rid_of(ev->ctx, &there, out);
		return;
	}
	memset(out, 0, RID_BYTES);
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(o->place.partition >> (24 - 8 * i));
	for (int i = 0; i < 8; i++)
		out[4 + i] = (uint8_t)((uint64_t)o->place.offset >> (56 - 8 * i));
}

int
origin_compare(const struct fold_event *ev, const struct origin *a, bool a_by_rid,
	       const struct origin *b, bool b_by_rid)
{
	uint8_t x[RID_BYTES], y[RID_BYTES];

	if (a->time_us != b->time_us)
		return a->time_us < b->time_us ? -1 : 1;
	if (a->sequence != b->sequence)
		return a->sequence < b->sequence ? -1 : 1;
	origin_rid(ev, a, a_by_rid, x);
	origin_rid(ev, b, b_by_rid, y);
	return memcmp(x, y, RID_BYTES);
}

/* ---- values in slots ---- */

static uint32_t
value_slot_bytes(enum value_type t)
{
	switch (t) {
	case VALUE_DECIMAL:
		return 2 * sizeof(uint64_t);
	case VALUE_TEXT:
	case VALUE_JSON:
	case VALUE_SEALED:
		return sizeof(struct text_slot);
	default:
		return sizeof(int64_t);
	}
}

uint32_t
fold_slot_bytes(const struct fold *f)
{
	switch (f->op) {
	case FOLD_FIRST:
	case FOLD_LAST:
		return (uint32_t)sizeof(struct origin) + value_slot_bytes(f->in);
	case FOLD_MIN:
	case FOLD_MAX:
		return value_slot_bytes(f->in);
	case FOLD_COUNT:
		return sizeof(uint64_t);
	case FOLD_SUM:
		return sizeof(struct wide);
	case FOLD_SET:
	case FOLD_LIST:
		return sizeof(struct items *);
	case FOLD_ANY:
	case FOLD_ALL:
	case FOLD_OP_MAX:
		break;
	}
	return 0;
}

static uint32_t
value_offset(const struct fold_slot *s)
{
	return s->op == FOLD_FIRST || s->op == FOLD_LAST ? sizeof(struct origin) : 0;
}

static void
text_free(struct text_slot *t, struct process *p)
{
	if (!t->cap)
		return;
	p->heap -= t->cap + MALLOC_OVERHEAD;
	free(t->out);
	t->cap = 0;
}

static void
text_keep(struct text_slot *t, struct process *p, const struct value *v)
{
	if (v->len <= TEXT_INLINE) {
		text_free(t, p);
		memset(t->in, 0, TEXT_INLINE);
		if (v->len)
			memcpy(t->in, v->text, v->len);
	} else {
		/* Too small, or so large that keeping it would waste: anew. */
		if (t->cap < v->len || t->cap / 4 > v->len) {
			text_free(t, p);
			t->out = mem_alloc(v->len);
			t->cap = v->len;
			p->heap += t->cap + MALLOC_OVERHEAD;
		}
		memcpy(t->out, v->text, v->len);
	}
	t->len = v->len;
}

void
fold_keep(const struct fold_slot *s, struct process *p, const struct value *v)
{
	uint8_t *at = (uint8_t *)fold_at(s, p) + value_offset(s);
	uint8_t *flags = fold_flags(s, p);
	uint8_t scale = v->type == VALUE_DECIMAL ? v->scale : 0;

	*flags = (uint8_t)((*flags & FLAG_BY_RID) | FLAG_SOME | scale << FLAG_SCALE_SHIFT);
	if (is_bytes(s->in))
		text_keep((struct text_slot *)(void *)at, p, v);
	else if (s->in == VALUE_DECIMAL)
		memcpy(at, &v->decimal, 2 * sizeof(uint64_t));
	else if (s->in == VALUE_BOOLEAN)
		memcpy(at, &(int64_t){v->boolean}, sizeof(int64_t));
	else
		memcpy(at, &v->integer, sizeof(int64_t));
}

size_t
fold_growth(const struct fold_use *u, const struct process *p, const struct value *v)
{
	const struct fold_slot *s = u->slot;
	size_t len = v->len;

	if (s->op == FOLD_SET || s->op == FOLD_LIST)
		return items_growth(u, p, v);
	if (s->op > FOLD_MAX || !is_bytes(s->in))
		return 0;
	if (s->in == VALUE_SEALED)
		len += CARRIED_AROUND_MAX;
	if (len <= TEXT_INLINE)
		return 0;
	const uint8_t *at = (const uint8_t *)fold_at_of(s, p) + value_offset(s);
	const struct text_slot *t = (const struct text_slot *)(const void *)at;
	if (!t->cap)
		return len + MALLOC_OVERHEAD;
	return len > t->cap ? len - t->cap : 0;
}

struct value
fold_kept(const struct fold_slot *s, const struct process *p)
{
	const uint8_t *at = (const uint8_t *)fold_at_of(s, p) + value_offset(s);
	struct value v = {.type = s->in};

	if (is_bytes(s->in)) {
		const struct text_slot *t = (const struct text_slot *)(const void *)at;
		v.len = t->len;
		v.text = t->cap ? t->out : t->in;
	} else if (s->in == VALUE_DECIMAL) {
		memcpy(&v.decimal, at, 2 * sizeof(uint64_t));
		v.scale = fold_flags_of(s, p) >> FLAG_SCALE_SHIFT;
	} else if (s->in == VALUE_BOOLEAN) {
		int64_t b;
		memcpy(&b, at, sizeof b);
		v.boolean = b != 0;
	} else {
		memcpy(&v.integer, at, sizeof(int64_t));
	}
	return v;
}

/* ---- folding ---- */

/*
 * A sealed value away from its record: opening needs to know whose it was. Borrowed from scratch.
 */
static struct value
value_carried(const struct process_layout *l, const struct value *v, const struct fold_event *ev)
{
	const struct record *rec = ev->rec;
	const struct source *src = &l->m->sources[rec->source];
	struct buf *b = &l->scratch->text;
	struct carried c = {.payload = (const uint8_t *)v->text,
			    .payload_len = v->len,
			    .source = src->label,
			    .source_len = (uint32_t)strlen(src->label),
			    .path = src->fields[ev->field].path,
			    .path_len = (uint32_t)strlen(src->fields[ev->field].path),
			    .has_sid = rec->has_sid};

	if (rec->has_bound)
		memcpy(c.rid, rec->bound, RID_BYTES);
	else
		origin_rid(ev, &ev->origin, ev->by_rid, c.rid);
	memcpy(c.sid, rec->sid, SUBJECT_ID_BYTES);
	buf_clear(b);
	wire_carried_write(b, &c);
	return (struct value){
	    .type = VALUE_SEALED, .len = (uint32_t)b->len, .text = (const char *)b->data};
}

static void
apply_ordered(const struct process_layout *l, const struct fold_slot *s, struct process *p,
	      const struct value *v, const struct fold_event *ev)
{
	struct origin *o = fold_at(s, p);
	uint8_t *flags = fold_flags(s, p);

	if (*flags & FLAG_SOME) {
		int c = origin_compare(ev, &ev->origin, ev->by_rid, o, *flags & FLAG_BY_RID);
		if (s->op == FOLD_FIRST ? c >= 0 : c <= 0)
			return;
	}
	*o = ev->origin;
	*flags = ev->by_rid ? FLAG_BY_RID : 0;
	struct value kept = s->in == VALUE_SEALED ? value_carried(l, v, ev) : *v;
	fold_keep(s, p, &kept);
}

static void
apply_extreme(const struct fold_slot *s, struct process *p, const struct value *v)
{
	if (*fold_flags(s, p) & FLAG_SOME) {
		struct value have = fold_kept(s, p);
		int c = value_compare(v, &have);
		/* 1.0 and 1.00 are equal; that the larger scale stays makes the order not matter.
		 */
		if (c == 0 && v->type == VALUE_DECIMAL && v->scale > have.scale)
			c = s->op == FOLD_MIN ? -1 : 1;
		if (s->op == FOLD_MIN ? c >= 0 : c <= 0)
			return;
	}
	fold_keep(s, p, v);
}

static void
apply_sum(const struct fold_slot *s, struct process *p, const struct value *v)
{
	uint8_t *flags = fold_flags(s, p);
	uint8_t scale = *flags >> FLAG_SCALE_SHIFT;

	if (v->type == VALUE_DECIMAL && v->scale > scale)
		scale = v->scale;
	*flags = (uint8_t)(FLAG_SOME | scale << FLAG_SCALE_SHIFT);
	wide_add(fold_at(s, p), v);
}

void
fold_apply(const struct process_layout *l, const struct fold_slot *s, struct process *p,
	   const struct value *v, const struct fold_event *ev)
{
	switch ((enum fold_op)s->op) {
	case FOLD_FIRST:
	case FOLD_LAST:
		apply_ordered(l, s, p, v, ev);
		return;
	case FOLD_MIN:
	case FOLD_MAX:
		apply_extreme(s, p, v);
		return;
	case FOLD_COUNT:
		*fold_flags(s, p) |= FLAG_SOME;
		*(uint64_t *)fold_at(s, p) += 1;
		return;
	case FOLD_SUM:
		apply_sum(s, p, v);
		return;
	case FOLD_ANY:
	case FOLD_ALL:
		*fold_flags(s, p) |= FLAG_SOME | (v->boolean ? FLAG_TRUE : FLAG_FALSE);
		return;
	case FOLD_SET:
		set_add(l, s, p, v);
		return;
	case FOLD_LIST:
		list_add(l, s, p, v, ev);
		return;
	case FOLD_OP_MAX:
		break;
	}
	panic("fold %s has operation %u", s->fold->name.s, s->op);
}

bool
fold_coerce(enum value_type in, const struct value *v, struct value *out)
{
	*out = *v;
	if (v->type == in) {
		if (in == VALUE_FLOAT)
			out->real += 0.0; /* -0 and 0 are equal: keep one of them */
		return true;
	}
	if (in == VALUE_DECIMAL && v->type == VALUE_INTEGER) {
		*out = value_decimal(v->integer, 0);
		return true;
	}
	if (in == VALUE_FLOAT && v->type == VALUE_INTEGER) {
		*out = (struct value){.type = VALUE_FLOAT, .real = (double)v->integer};
		return true;
	}
	return false;
}

/* ---- results ---- */

static void
sum_value(const struct fold_slot *s, const struct process *p, struct expr_run_state *st,
	  struct value *out)
{
	uint8_t flags = fold_flags_of(s, p);
	struct value v;

	*out = value_null();
	if (!(flags & FLAG_SOME))
		return;
	bool fits = wide_value(fold_at_of(s, p), flags >> FLAG_SCALE_SHIFT, &v);
	if (fits && s->fold->type == VALUE_INTEGER) {
		int128 units = value_units(&v);
		fits = !v.scale && units >= INT64_MIN && units <= INT64_MAX;
		v = value_integer((int64_t)units);
	}
	if (fits)
		*out = v;
	else
		st->nulled++;
}

void
fold_value(const struct process_layout *l, const struct fold_slot *s, const struct process *p,
	   struct expr_run_state *st, struct value *out)
{
	uint8_t flags = fold_flags_of(s, p);
	struct buf *json = &l->scratch->json;
	size_t at = json->len;

	*out = value_null();
	switch ((enum fold_op)s->op) {
	case FOLD_FIRST:
	case FOLD_LAST:
	case FOLD_MIN:
	case FOLD_MAX:
		if (flags & FLAG_SOME)
			*out = fold_kept(s, p);
		return;
	case FOLD_COUNT:
		*out = value_integer((int64_t) * (const uint64_t *)fold_at_of(s, p));
		return;
	case FOLD_SUM:
		sum_value(s, p, st, out);
		return;
	case FOLD_ANY:
		*out = value_boolean(flags & FLAG_TRUE);
		return;
	case FOLD_ALL:
		*out = value_boolean(!(flags & FLAG_FALSE));
		return;
	case FOLD_SET:
	case FOLD_LIST:
		if (!(flags & FLAG_SOME))
			return;
		items_json(l, s, p, json);
		if (json->len - at > TEXT_BYTES_MAX) {
			json->len = at;
			st->nulled++;
			return;
		}
		*out = (struct value){.type = VALUE_JSON, .len = (uint32_t)(json->len - at)};
		return;
	case FOLD_OP_MAX:
		break;
	}
	panic("fold %s has operation %u", s->fold->name.s, s->op);
}

void
fold_free(const struct fold_slot *s, struct process *p)
{
	if (s->op == FOLD_SET || s->op == FOLD_LIST) {
		struct items **x = fold_at(s, p);
		items_free(*x);
		*x = NULL;
		return;
	}
	if (s->op <= FOLD_MAX && is_bytes(s->in)) {
		uint8_t *at = (uint8_t *)fold_at(s, p) + value_offset(s);
		text_free((struct text_slot *)(void *)at, p);
	}
}
