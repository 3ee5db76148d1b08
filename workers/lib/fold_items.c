/* The folds that keep several values: set (the N smallest by hash) and list (the N newest). */
#include "fold.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

enum { ITEMS_MIN = 4 };

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static bool
owns_text(const struct value *v)
{
	return v->type == VALUE_TEXT || v->type == VALUE_JSON;
}

/* A copy that owns its text. */
static struct value
value_own(const struct value *v, struct process *p)
{
	struct value copy = *v;

	if (!owns_text(v))
		return copy;
	char *text = mem_alloc(v->len);
	if (v->len)
		memcpy(text, v->text, v->len);
	copy.text = text;
	p->heap += v->len + MALLOC_OVERHEAD;
	return copy;
}

static void
item_free(struct item *i)
{
	if (owns_text(&i->value))
		free((void *)(uintptr_t)i->value.text);
}

static void
item_drop(struct item *i, struct process *p)
{
	if (owns_text(&i->value))
		p->heap -= i->value.len + MALLOC_OVERHEAD;
	item_free(i);
}

static struct items *
items_of(const struct fold_slot *s, struct process *p)
{
	struct items **x = fold_at(s, p);

	if (!*x) {
		*x = mem_zero(1, sizeof **x);
		p->heap += sizeof **x + MALLOC_OVERHEAD;
	}
	*fold_flags(s, p) |= FLAG_SOME;
	return *x;
}

/* Makes room at index i. */
static struct item *
items_insert(struct items *x, uint32_t i, struct process *p)
{
	if (x->n == x->cap) {
		uint32_t cap = x->cap ? x->cap * 2 : ITEMS_MIN;
		p->heap += (cap - x->cap) * sizeof *x->at + (x->cap ? 0 : MALLOC_OVERHEAD);
		x->at = mem_resize(x->at, cap, sizeof *x->at);
		x->cap = cap;
	}
	memmove(x->at + i + 1, x->at + i, (x->n - i) * sizeof *x->at);
	x->n++;
	x->at[i] = (struct item){0};
	return &x->at[i];
}

void
items_free(struct items *x)
{
	if (!x)
		return;
	for (uint32_t i = 0; i < x->n; i++)
		item_free(&x->at[i]);
	free(x->at);
	free(x);
}

size_t
items_growth(const struct fold_use *u, const struct process *p, const struct value *v)
{
	struct items *const *slot = fold_at_of(u->slot, p);
	const struct items *x = *slot;
	size_t text = owns_text(v) ? v->len + MALLOC_OVERHEAD : 0;

	if (!x)
		return sizeof *x + ITEMS_MIN * sizeof *x->at + 2 * MALLOC_OVERHEAD + text;
	if (x->n == u->slot->fold->size && u->alone) {
		/* The one that leaves makes room. */
		const struct value *gone = &x->at[u->slot->op == FOLD_SET ? x->n - 1 : 0].value;
		size_t room = owns_text(gone) ? gone->len + MALLOC_OVERHEAD : 0;
		return text > room ? text - room : 0;
	}
	bool full = x->n + (u->alone ? 1u : FIELDS_MAX) > x->cap;
	return text + (full ? (x->cap ? x->cap : ITEMS_MIN) * sizeof *x->at : 0);
}

/* ---- set ---- */

/* 1.50 and 1.5 are one element. */
static struct value
value_reduced(const struct value *v)
{
	if (v->type != VALUE_DECIMAL)
		return *v;
	int128 units = value_units(v);
	unsigned scale = v->scale;
	while (scale && units % 10 == 0) {
		units /= 10;
		scale--;
	}
	return value_decimal(units, scale);
}

/* Unkeyed and fixed: a set keeps the same elements everywhere and for ever. The last step spreads
 * FNV's weak high bits, since elements are chosen by size. */
static uint64_t
value_hash(const struct process_layout *l, const struct value *v)
{
	struct buf *b = &l->scratch->text;
	uint64_t h = FNV_START;

	buf_clear(b);
	value_print(v, b);
	for (size_t i = 0; i < b->len; i++)
		h = (h ^ b->data[i]) * FNV_PRIME;
	h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}

static int
set_compare(uint64_t hash, const struct value *v, const struct item *i)
{
	if (hash != i->hash)
		return hash < i->hash ? -1 : 1;
	return value_compare(v, &i->value);
}

static uint32_t
set_find(const struct items *x, uint64_t hash, const struct value *v, bool *there)
{
	uint32_t lo = 0, hi = x->n;

	*there = false;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = set_compare(hash, v, &x->at[mid]);
		if (c == 0) {
			*there = true;
			return mid;
		}
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

void
set_add(const struct process_layout *l, const struct fold_slot *s, struct process *p,
	const struct value *v)
{
	struct items *x = items_of(s, p);
	struct value w = value_reduced(v);
	uint64_t hash = value_hash(l, &w);
	bool there;
	uint32_t i = set_find(x, hash, &w, &there);

	if (there)
		return;
	if (x->n == s->fold->size) {
		x->over = 1;
		l->scratch->overflows++;
		if (i == x->n)
			return;
		item_drop(&x->at[--x->n], p);
	}
	struct item *item = items_insert(x, i, p);
	item->hash = hash;
	item->value = value_own(&w, p);
}

/* ---- list ---- */

void
list_add(const struct process_layout *l, const struct fold_slot *s, struct process *p,
	 const struct value *v, const struct fold_event *ev)
{
	struct items *x = items_of(s, p);
	uint32_t i = x->n;

	/* Events mostly come in order: from the new end. */
	while (i && origin_compare(ev, &ev->origin, ev->by_rid, &x->at[i - 1].origin,
				   x->at[i - 1].by_rid) < 0)
		i--;
	if (x->n == s->fold->size) {
		x->over++;
		l->scratch->overflows++;
		if (i == 0)
			return;
		item_drop(&x->at[0], p);
		memmove(x->at, x->at + 1, --x->n * sizeof *x->at);
		i--;
	}
	struct item *item = items_insert(x, i, p);
	item->origin = ev->origin;
	item->by_rid = ev->by_rid;
	item->value = value_own(v, p);
}

bool
items_append(const struct process_layout *l, const struct fold_slot *s, struct process *p,
	     const struct origin *o, bool by_rid, const struct value *v)
{
	struct items *x = items_of(s, p);
	struct item item = {.by_rid = by_rid};

	if (x->n == s->fold->size)
		return false;
	const struct item *before = x->n ? &x->at[x->n - 1] : NULL;
	if (s->op == FOLD_SET) {
		item.value = value_reduced(v);
		item.hash = value_hash(l, &item.value);
		if (before && set_compare(item.hash, &item.value, before) <= 0)
			return false;
	} else {
		item.value = *v;
		item.origin = *o;
		if (before && (o->time_us < before->origin.time_us ||
			       (o->time_us == before->origin.time_us &&
				o->sequence < before->origin.sequence)))
			return false;
	}
	item.value = value_own(&item.value, p);
	*items_insert(x, x->n, p) = item;
	return true;
}

/* ---- as JSON ---- */

static void
json_text(struct buf *b, const char *s, size_t n)
{
	static const char hex[] = "0123456789abcdef";

	buf_byte(b, '"');
	for (size_t i = 0; i < n; i++) {
		uint8_t c = (uint8_t)s[i];
		if (c == '"' || c == '\\') {
			buf_byte(b, '\\');
			buf_byte(b, c);
		} else if (c < 0x20) {
			buf_text(b, "\\u00");
			buf_byte(b, (uint8_t)hex[c >> 4]);
			buf_byte(b, (uint8_t)hex[c & 15]);
		} else {
			buf_byte(b, c);
		}
	}
	buf_byte(b, '"');
}

static void
json_value(struct buf *b, const struct value *v)
{
	switch ((enum value_type)v->type) {
	case VALUE_TEXT:
		json_text(b, v->text, v->len);
		return;
	case VALUE_JSON:
		buf_add(b, v->text, v->len);
		return;
	case VALUE_DATE:
	case VALUE_TIMESTAMP:
		buf_byte(b, '"');
		value_print(v, b);
		buf_byte(b, '"');
		return;
	default:
		value_print(v, b);
	}
}

static int
by_value(const void *a, const void *b)
{
	const struct item *const *x = a, *const *y = b;

	return value_compare(&(*x)->value, &(*y)->value);
}

/* A set in the order of its values, a list from the oldest to the newest. */
void
items_json(const struct process_layout *l, const struct fold_slot *s, const struct process *p,
	   struct buf *out)
{
	struct items *const *slot = fold_at_of(s, p);
	const struct items *x = *slot;
	struct process_scratch *c = l->scratch;

	if (c->order_cap < x->n) {
		c->order = mem_resize(c->order, x->cap, sizeof *c->order);
		c->order_cap = x->cap;
	}
	for (uint32_t i = 0; i < x->n; i++)
		c->order[i] = &x->at[i];
	if (s->op == FOLD_SET)
		qsort(c->order, x->n, sizeof *c->order, by_value);
	buf_byte(out, '[');
	for (uint32_t i = 0; i < x->n; i++) {
		if (i)
			buf_byte(out, ',');
		json_value(out, &c->order[i]->value);
	}
	buf_byte(out, ']');
}
