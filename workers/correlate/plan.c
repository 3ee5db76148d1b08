/*
 * What to ask the database, in which order: states that frames wait for; once, where the clock
 * stood; due processes when the clock has passed them; and, in the background, every known key for
 * the filter.
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

enum { KEYS_MIN = 1024, TURNS = 4 /* every so often something goes before keys */ };

void
plan_init(struct shard *s, bool state_empty)
{
	struct plan *p = &s->plan;

	p->may_have = !state_empty;
	p->known = state_empty;
	p->newest_asked = state_empty;
	p->due_us = p->due_to_us = CLOCK_UNKNOWN;
	p->due_next = s->now;
}

void
plan_free(struct shard *s)
{
	free(s->plan.keys);
	s->plan.keys = NULL;
}

bool
plan_is_new(const struct shard *s, const uint8_t key[static STATE_KEY_BYTES])
{
	return s->plan.known && !filter_may_have(&s->filter, key);
}

static void
keys_grow(struct plan *p)
{
	uint32_t cap = p->cap ? p->cap * 2 : KEYS_MIN;
	uint32_t *keys = mem_zero(cap, sizeof *keys);

	for (uint32_t i = 0; i < p->n; i++)
		keys[i] = p->keys[(p->head + i) % p->cap];
	free(p->keys);
	p->keys = keys;
	p->head = 0;
	p->cap = cap;
}

void
plan_key(struct shard *s, uint32_t entry)
{
	struct plan *p = &s->plan;

	if (p->n == p->cap)
		keys_grow(p);
	p->keys[(p->head + p->n++) % p->cap] = entry;
	p->asked++;
}

/* ---- asking ---- */

static void
send(struct shard *s, enum lookup_kind kind)
{
	struct lookup_query *q = &s->plan.query;

	q->kind = kind;
	q->kg_lo = UINT32_MAX;
	q->kg_hi = 0;
	for (uint32_t i = 0; i < s->ranges.n; i++) {
		const struct key_range *r = &s->ranges.list[i];
		q->kg_lo = r->kg_lo < q->kg_lo ? r->kg_lo : q->kg_lo;
		q->kg_hi = r->kg_hi > q->kg_hi ? r->kg_hi : q->kg_hi;
	}
	s->is.host.lookup_send(s->is.host.ctx, q);
}

static void
send_keys(struct shard *s)
{
	struct plan *p = &s->plan;

	p->query.keys_n = 0;
	while (p->n && p->query.keys_n < LOOKUP_KEYS_MAX) {
		const struct entry *e = entries_at(&s->entries, p->keys[p->head]);
		memcpy(p->query.keys[p->query.keys_n++], e->key, STATE_KEY_BYTES);
		p->head = (p->head + 1) % p->cap;
		p->n--;
	}
	metric_add(s->is.page, METRIC_STATE_LOOKUPS, p->query.keys_n);
	send(s, LOOKUP_KEYS);
}

static bool
due_wanted(const struct shard *s)
{
	const struct plan *p = &s->plan;

	if (!p->may_have || p->asked || s->clock_us == CLOCK_UNKNOWN)
		return false;
	return p->scanning || (s->clock_us > p->due_us &&
			       (mono_due(p->due_next, s->now) || s->phase != SHARD_RUNS));
}

static void
send_due(struct shard *s)
{
	struct plan *p = &s->plan;

	if (!p->scanning) {
		p->scanning = true;
		p->due_to_us = s->clock_us;
		p->due_next = mono_add_ms(s->now, DUE_SCAN_MS);
	}
	p->query.from_us = p->due_us;
	memcpy(p->query.from_key, p->due_key, STATE_KEY_BYTES);
	p->query.to_us = p->due_to_us;
	send(s, LOOKUP_DUE);
}

static void
send_known(struct shard *s)
{
	s->plan.query.slot = s->plan.slot;
	s->plan.query.page = s->plan.page;
	send(s, LOOKUP_KNOWN);
}

void
plan_turn(struct shard *s)
{
	struct plan *p = &s->plan;

	if (!p->n && !p->may_have)
		return;
	if (!s->is.host.lookup_idle(s->is.host.ctx))
		return;
	bool others = ++p->turn % TURNS == 0;
	if (p->n && !(others && !p->known)) {
		send_keys(s);
	} else if (!p->newest_asked) {
		p->newest_asked = true;
		send(s, LOOKUP_NEWEST);
	} else if (due_wanted(s)) {
		send_due(s);
	} else if (!p->known) {
		send_known(s);
	}
}

bool
plan_due_done(const struct shard *s)
{
	const struct plan *p = &s->plan;

	return !p->may_have || s->clock_us == CLOCK_UNKNOWN ||
	       (!p->scanning && !p->asked && p->due_us >= s->clock_us);
}

/* ---- answers ---- */

static bool
state_take(struct shard *s, const struct lookup_row *row, struct err *e)
{
	uint32_t at = entries_find(&s->entries, row->key);
	struct process *p;

	if (at == ENTRY_NONE || entries_at(&s->entries, at)->kind != ENTRY_ASKED)
		return err_set(e, EXIT_BUG, "a state came that nobody had asked for");
	if (row->tombstone) {
		entries_at(&s->entries, at)->kind = ENTRY_TOMBSTONE;
		return true;
	}
	if (!process_decode(s->layout, row->body, row->body_len, &p, e))
		return false;
	cache_process(s, at, p);
	cache_due(s, at, process_due_us(s->layout, p));
	return true;
}

static bool
keys_answer(struct shard *s, const struct lookup_answer *a, struct err *e)
{
	for (unsigned i = 0; i < a->n; i++)
		if (!state_take(s, &a->rows[i], e))
			return false;
	for (unsigned i = 0; i < a->query->keys_n; i++) {
		uint32_t at = entries_find(&s->entries, a->query->keys[i]);
		check(at != ENTRY_NONE);
		struct entry *x = entries_at(&s->entries, at);
		if (x->kind == ENTRY_ASKED)
			x->kind = ENTRY_ABSENT;
	}
	check(s->plan.asked >= a->query->keys_n);
	s->plan.asked -= a->query->keys_n;
	return true;
}

/* Those that are not in memory are looked up; once here, they wait in the heap like all others. */
static void
due_answer(struct shard *s, const struct lookup_answer *a)
{
	struct plan *p = &s->plan;

	for (unsigned i = 0; i < a->n; i++) {
		const struct lookup_row *row = &a->rows[i];
		p->due_us = row->at_us;
		memcpy(p->due_key, row->key, STATE_KEY_BYTES);
		if (row->kg >= GROUPS_MAX || s->ranges.of[row->kg] == RANGE_NONE ||
		    entries_find(&s->entries, row->key) != ENTRY_NONE)
			continue;
		plan_key(s, cache_add(s, row->key, row->kg, ENTRY_ASKED));
	}
	if (a->last) {
		p->scanning = false;
		p->due_us = p->due_to_us;
		memset(p->due_key, 0xff, STATE_KEY_BYTES);
	}
}

static void
known_answer(struct shard *s, const struct lookup_answer *a)
{
	struct plan *p = &s->plan;

	for (unsigned i = 0; i < a->n; i++)
		filter_add(&s->filter, a->rows[i].key);
	p->page += LOOKUP_PAGES;
	if (!a->last)
		return;
	p->page = 0;
	p->slot++;
	p->known = p->slot == LOOKUP_SLOTS;
}

/* Where the clock stood, at least: the events of a stored state were covered. */
static bool
newest_answer(struct shard *s, const struct lookup_answer *a, struct err *e)
{
	struct process *p;

	if (!a->n || a->rows[0].tombstone)
		return true;
	if (!process_decode(s->layout, a->rows[0].body, a->rows[0].body_len, &p, e))
		return false;
	process_inputs(s->layout, p, &s->expr, s->inputs);
	if (s->inputs[PROCESS_LAST_EVENT_AT].type == VALUE_TIMESTAMP)
		clock_seen(&s->clock, s->inputs[PROCESS_LAST_EVENT_AT].integer, s->now);
	process_free(s->layout, p);
	return true;
}

bool
shard_answer(struct shard *s, const struct lookup_answer *a, struct mono now, struct err *e)
{
	s->now = now;
	s->progress++;
	switch (a->query->kind) {
	case LOOKUP_KEYS:
		return keys_answer(s, a, e);
	case LOOKUP_DUE:
		due_answer(s, a);
		return true;
	case LOOKUP_KNOWN:
		known_answer(s, a);
		return true;
	case LOOKUP_NEWEST:
		return newest_answer(s, a, e);
	}
	panic("an answer of kind %d", a->query->kind);
}
