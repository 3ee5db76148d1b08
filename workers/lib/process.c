#include "fold.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

static const char *const status_names[PROCESS_STATUS_MAX] = {"open", "complete", "expired"};

const char *
process_status_name(enum process_status s)
{
	return (unsigned)s < PROCESS_STATUS_MAX ? status_names[s] : "?";
}

/* ---- layout ---- */

static uint64_t
label_hash(const char *label)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *label; label++)
		h = (h ^ (uint8_t)*label) * UINT64_C(0x100000001b3);
	return h;
}

static void
layout_slots(struct process_layout *l)
{
	const struct model *m = l->m;
	uint32_t at = (sizeof(struct process) + 7) & ~7u;

	for (unsigned i = 0; i < m->folds_n; i++) {
		const struct fold *f = &m->folds[i];
		struct fold_slot *s = &l->slots[i];
		check(f->in != VALUE_SEALED || f->op == FOLD_FIRST || f->op == FOLD_LAST ||
		      f->op == FOLD_COUNT);
		*s = (struct fold_slot){.fold = f, .at = at};
		s->op = (uint8_t)f->op;
		s->in = (uint8_t)f->in;
		at += fold_slot_bytes(f);
	}
	for (unsigned i = 0; i < m->folds_n; i++)
		l->slots[i].flag_at = at++;
	l->bytes = at;
}

static void
layout_uses(struct process_layout *l)
{
	const struct model *m = l->m;

	for (unsigned i = 0; i < m->folds_n; i++)
		for (unsigned k = 0; k < m->folds[i].inputs_n; k++) {
			const struct fold_input *in = &m->folds[i].inputs[k];
			check(in->source >= 0 && (unsigned)in->source < m->sources_n);
			unsigned *n = &l->uses_n[in->source];
			struct fold_use **u = &l->uses[in->source];
			*u = mem_resize(*u, *n + 1, sizeof **u);
			bool alone = !*n || (*u)[*n - 1].slot != &l->slots[i];
			if (!alone)
				(*u)[*n - 1].alone = false;
			(*u)[(*n)++] = (struct fold_use){&l->slots[i], in->where, in->field, alone};
		}
}

static void
part_slot(void *ctx, unsigned slot)
{
	struct process_layout *l = ctx;

	check(slot < l->m->inputs_n);
	for (unsigned i = 0; i < l->part_slots_n; i++)
		if (l->part_slots[i] == slot)
			return;
	l->part_slots[l->part_slots_n++] = slot;
}

struct process_layout *
process_layout_new(const struct model *m)
{
	struct process_layout *l = mem_zero(1, sizeof *l);

	check(m->folds_n <= FOLDS_MAX && m->sources_n <= SOURCES_MAX &&
	      m->inputs_n <= EXPR_INPUTS_MAX);
	l->m = m;
	l->scratch = mem_zero(1, sizeof *l->scratch);
	layout_slots(l);
	layout_uses(l);
	for (unsigned i = 0; i < m->sources_n; i++)
		l->source_id[i] = label_hash(m->sources[i].label);
	for (unsigned i = 0; i < m->parts_n; i++)
		expr_slots(m->parts[i].holds, part_slot, l);
	return l;
}

void
process_layout_free(struct process_layout *l)
{
	if (!l)
		return;
	for (unsigned i = 0; i < SOURCES_MAX; i++)
		free(l->uses[i]);
	buf_free(&l->scratch->json);
	buf_free(&l->scratch->text);
	free(l->scratch->order);
	pack_reader_free(&l->scratch->reader);
	free(l->scratch);
	free(l);
}

/* ---- birth and death ---- */

struct process *
process_new(const struct process_layout *l, const char *key, size_t key_len)
{
	check(key_len <= KEY_BYTES_MAX);
	struct process *p = mem_alloc(l->bytes + key_len);

	memset(p, 0, l->bytes);
	p->first_at_us = INT64_MAX;
	p->last_at_us = INT64_MIN;
	p->expired_at_us = INT64_MIN;
	p->key_at = l->bytes;
	p->key_len = (uint16_t)key_len;
	if (key_len)
		memcpy((char *)p + l->bytes, key, key_len);
	return p;
}

void
process_free(const struct process_layout *l, struct process *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < l->m->folds_n; i++)
		fold_free(&l->slots[i], p);
	identities_free(p->ids);
	free(p);
}

size_t
process_bytes(const struct process_layout *l, const struct process *p)
{
	return l->bytes + p->key_len + p->heap + MALLOC_OVERHEAD;
}

size_t
process_bytes_beside(const struct process *p)
{
	return p->key_len + p->heap;
}

const char *
process_key(const struct process *p, size_t *len)
{
	*len = p->key_len;
	return (const char *)p + p->key_at;
}

/* ---- folding ---- */

/* The value that this event gives to a fold; null: none. */
static struct value
use_value(const struct fold_use *u, const struct record *rec, struct expr_run_state *st)
{
	struct value v = value_boolean(true), got;

	if (u->field < 0 && u->where && u->slot->op == FOLD_ALL) {
		expr_run(u->where, rec->fields, st, &v);
		return v;
	}
	if (u->field >= 0)
		v = rec->fields[u->field];
	if (v.type == VALUE_NULL || (u->where && !expr_test(u->where, rec->fields, st)))
		return value_null();
	if (u->slot->op == FOLD_COUNT || u->field < 0)
		return v;
	return fold_coerce(u->slot->in, &v, &got) ? got : value_null();
}

/*
 * The n-th rid after the first of equal events; it differs where identities.c looks for its home.
 */
static void
rid_after(const uint8_t first[static RID_BYTES], uint32_t n, uint8_t out[static RID_BYTES])
{
	uint32_t head;

	memcpy(out, first, RID_BYTES);
	memcpy(&head, first, sizeof head);
	head ^= n;
	memcpy(out, &head, sizeof head);
}

void
process_distinguish(const struct process *p, struct record *rec)
{
	uint8_t rid[RID_BYTES];
	uint32_t low = 0, high = 1;

	if (!rec->has_rid || !identities_have(p->ids, rec->rid))
		return;
	/*
	 * Those taken have the numbers below some bound: low is taken; high, in the end, is free.
	 */
	for (;; low = high, high *= 2) {
		rid_after(rec->rid, high, rid);
		if (!identities_have(p->ids, rid))
			break;
	}
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		rid_after(rec->rid, middle, rid);
		if (identities_have(p->ids, rid))
			low = middle;
		else
			high = middle;
	}
	rid_after(rec->rid, high, rid);
	memcpy(rec->bound, rec->rid, RID_BYTES);
	rec->has_bound = true;
	memcpy(rec->rid, rid, RID_BYTES);
}

/* What the event could add to the process' bytes; exact: with a look at each `where`. */
static size_t
event_growth(const struct process_layout *l, const struct process *p, const struct record *rec,
	     struct expr_run_state *st, bool exact)
{
	size_t sum = rec->has_rid ? identities_growth(p->ids) : 0;

	for (unsigned i = 0; i < l->uses_n[rec->source]; i++) {
		const struct fold_use *u = &l->uses[rec->source][i];
		struct value v = exact		? use_value(u, rec, st)
				 : u->field < 0 ? value_boolean(true)
						: rec->fields[u->field];
		if (v.type != VALUE_NULL)
			sum += fold_growth(u, p, &v);
	}
	if (exact)
		expr_run_reset(st);
	return sum;
}

static bool
fits(const struct process_layout *l, const struct process *p, const struct record *rec,
     struct expr_run_state *st)
{
	size_t bytes = process_bytes(l, p), max = l->m->limits.process_bytes_max;

	return bytes + event_growth(l, p, rec, st, false) <= max ||
	       bytes + event_growth(l, p, rec, st, true) <= max;
}

enum fold_result
process_fold(const struct process_layout *l, struct process *p, const struct record *rec,
	     process_rid_of rid_of, void *ctx, struct expr_run_state *st)
{
	struct fold_event ev;

	check(rec->source < l->m->sources_n &&
	      rec->fields_n == l->m->sources[rec->source].fields_n);
	if (rec->has_rid && identities_have(p->ids, rec->rid))
		return FOLD_DUPLICATE;
	if (p->events >= l->m->limits.events_per_process_max)
		return FOLD_TOO_MANY;
	if (!fits(l, p, rec, st))
		return FOLD_TOO_LARGE;
	if (rec->has_rid)
		identities_add(&p->ids, rec->rid, &p->heap);
	p->events++;
	p->seen |= UINT64_C(1) << rec->source;
	if (rec->has_time && rec->time_us < p->first_at_us)
		p->first_at_us = rec->time_us;
	if (rec->has_time && rec->time_us > p->last_at_us)
		p->last_at_us = rec->time_us;
	fold_event_start(&ev, rec, rid_of, ctx);
	for (unsigned i = 0; i < l->uses_n[rec->source]; i++) {
		const struct fold_use *u = &l->uses[rec->source][i];
		struct value v = use_value(u, rec, st);
		ev.field = u->field;
		if (v.type != VALUE_NULL)
			fold_apply(l, u->slot, p, &v, &ev);
	}
	expr_run_reset(st);
	return FOLD_APPLIED;
}

/* ---- judging ---- */

static int64_t
later(int64_t time_us, int64_t by_us)
{
	int64_t sum;

	return __builtin_add_overflow(time_us, by_us, &sum) ? INT64_MAX : sum;
}

/* The event time at which an open process expires: INT64_MAX never. */
static int64_t
expires_us(const struct process_layout *l, const struct process *p)
{
	int64_t due = INT64_MAX;

	if (p->last_at_us == INT64_MIN)
		return due;
	if (l->m->deadline_us)
		due = later(p->first_at_us, l->m->deadline_us);
	if (l->m->quiet_for_us) {
		int64_t quiet = later(p->last_at_us, l->m->quiet_for_us);
		due = quiet < due ? quiet : due;
	}
	return due;
}

/* False: open, or closed without an event that has a time. */
static bool
closed_at(const struct process_layout *l, const struct process *p, int64_t *at_us)
{
	if (p->status == PROCESS_OPEN || p->last_at_us == INT64_MIN)
		return false;
	*at_us = p->status == PROCESS_COMPLETE ? p->last_at_us : expires_us(l, p);
	return true;
}

static struct value
key_value(const struct process_layout *l, const struct process *p)
{
	size_t n;
	const char *s = process_key(p, &n);
	struct value v;
	struct err ignored;

	if (l->m->key_type != VALUE_INTEGER)
		return value_text(s, n);
	/* The key is the canonical text of what was an integer. */
	if (!decimal_parse(s, n, &v, &ignored) || v.scale)
		return value_null();
	return value_integer((int64_t)value_units(&v));
}

static struct value
fixed_value(const struct process_layout *l, const struct process *p, unsigned which)
{
	int64_t at;

	switch (which) {
	case PROCESS_KEY:
		return key_value(l, p);
	case PROCESS_STATUS: {
		const char *name = process_status_name(p->status);
		return value_text(name, strlen(name));
	}
	case PROCESS_FIRST_EVENT_AT:
		return p->first_at_us == INT64_MAX ? value_null() : value_timestamp(p->first_at_us);
	case PROCESS_LAST_EVENT_AT:
		return p->last_at_us == INT64_MIN ? value_null() : value_timestamp(p->last_at_us);
	case PROCESS_CLOSED_AT:
		return closed_at(l, p, &at) ? value_timestamp(at) : value_null();
	case PROCESS_EVENTS:
		return value_integer(process_events(p));
	case PROCESS_REVISION:
		return value_integer(process_revision(p));
	default:
		panic("a process has no input %u", which);
	}
}

static const struct items *
items_of_fold(const struct process_layout *l, const struct process *p, unsigned fold)
{
	struct items *const *x = fold_at_of(&l->slots[fold], p);

	check(l->slots[fold].op == FOLD_SET || l->slots[fold].op == FOLD_LIST);
	return *x;
}

static struct value
input_value(const struct process_layout *l, const struct process *p, unsigned slot,
	    struct expr_run_state *st)
{
	const struct process_input *in = &l->m->inputs[slot];
	const struct items *x;
	struct value v;

	switch (in->kind) {
	case INPUT_FIXED:
		return fixed_value(l, p, slot);
	case INPUT_FOLD:
		fold_value(l, &l->slots[in->of], p, st, &v);
		return v;
	case INPUT_SIZE:
		x = items_of_fold(l, p, in->of);
		return value_integer(x ? x->n : 0);
	case INPUT_OVERFLOWED:
		x = items_of_fold(l, p, in->of);
		return value_boolean(x && x->over);
	case INPUT_SEEN:
		return value_boolean(p->seen >> in->of & 1);
	}
	panic("an input of a process has kind %d", in->kind);
}

/* JSON is written into a buffer that moves while it grows, so the texts are tied to it at the end.
 */
static void
json_tie(const struct process_layout *l, struct value *inputs, unsigned slot)
{
	if (inputs[slot].type == VALUE_JSON && l->m->inputs[slot].kind == INPUT_FOLD) {
		unsigned op = l->m->folds[l->m->inputs[slot].of].op;
		if (op == FOLD_SET || op == FOLD_LIST)
			inputs[slot].text =
			    (const char *)l->scratch->json.data + l->scratch->json_at[slot];
	}
}

enum process_status
process_judge(const struct process_layout *l, struct process *p, int64_t clock_us,
	      struct expr_run_state *st, uint64_t *missing)
{
	struct process_scratch *c = l->scratch;
	int64_t due = expires_us(l, p);

	*missing = 0;
	buf_clear(&c->json);
	for (unsigned i = 0; i < l->part_slots_n; i++) {
		unsigned slot = l->part_slots[i];
		c->json_at[slot] = c->json.len;
		c->inputs[slot] = input_value(l, p, slot, st);
	}
	for (unsigned i = 0; i < l->part_slots_n; i++)
		json_tie(l, c->inputs, l->part_slots[i]);
	for (unsigned i = 0; i < l->m->parts_n; i++)
		if (!expr_test(l->m->parts[i].holds, c->inputs, st))
			*missing |= UINT64_C(1) << i;
	expr_run_reset(st);

	enum process_status status = PROCESS_OPEN;
	if (l->m->parts_n && !*missing)
		status = PROCESS_COMPLETE;
	else if (due != INT64_MAX && (clock_us >= due || p->expired_at_us >= due))
		status = PROCESS_EXPIRED;
	if (status == PROCESS_EXPIRED) {
		if (p->status != PROCESS_EXPIRED)
			p->transitions++;
		if (p->expired_at_us < due)
			p->expired_at_us = due;
	}
	p->status = (uint8_t)status;
	return status;
}

int64_t
process_due_us(const struct process_layout *l, const struct process *p)
{
	int64_t at;

	if (p->status == PROCESS_OPEN)
		return expires_us(l, p);
	if (!closed_at(l, p, &at))
		return INT64_MAX;
	return later(at > p->last_at_us ? at : p->last_at_us, l->m->keep_closed_us);
}

bool
process_forgettable(const struct process_layout *l, const struct process *p, int64_t clock_us)
{
	if (p->status == PROCESS_OPEN)
		return false;
	int64_t due = process_due_us(l, p);

	return due != INT64_MAX && clock_us >= due;
}

void
process_inputs(const struct process_layout *l, const struct process *p, struct expr_run_state *st,
	       struct value *inputs)
{
	buf_clear(&l->scratch->json);
	for (unsigned i = 0; i < l->m->inputs_n; i++) {
		l->scratch->json_at[i] = l->scratch->json.len;
		inputs[i] = input_value(l, p, i, st);
	}
	st->nulled += wire_values_fit(inputs, l->m->inputs_n);
	for (unsigned i = 0; i < l->m->inputs_n; i++)
		json_tie(l, inputs, i);
}

enum process_status
process_status(const struct process *p)
{
	return p->status;
}

int64_t
process_events(const struct process *p)
{
	return p->events;
}

int64_t
process_revision(const struct process *p)
{
	return (int64_t)p->events + p->transitions;
}

void
process_emit(struct process *p)
{
	p->emitted = true;
}

bool
process_emitted(const struct process *p)
{
	return p->emitted;
}

uint64_t
process_seen(const struct process *p)
{
	return p->seen;
}

uint64_t
process_overflows(const struct process_layout *l)
{
	return l->scratch->overflows;
}
