#include "state.h"

#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"

/* ---- life ---- */

static void
evt_set(struct shard *s)
{
	for (unsigned i = 0; i < s->m->tables_n; i++) {
		const struct table *t = &s->m->tables[i];
		if (t->kind != TABLE_CALENDAR && t->grain >= 0)
			s->evt[t->grain] = true;
		if (t->kind == TABLE_RAW)
			s->raw[t->grain] = true;
	}
}

struct shard *
shard_new(const struct shard_setup *setup)
{
	struct shard *s = mem_zero(1, sizeof *s);
	const struct limits *limits = &setup->model->limits;

	s->is = *setup;
	s->m = setup->model;
	s->layout = process_layout_new(s->m);
	s->inputs = mem_zero(EXPR_INPUTS_MAX, sizeof *s->inputs);
	s->chunk = mem_zero(1, sizeof *s->chunk);
	s->spare_fields = mem_zero(FIELDS_MAX, sizeof *s->spare_fields);
	s->tail = &s->head;
	entries_init(&s->entries);
	clock_init(&s->clock);
	ranges_init(&s->ranges, model_exchange(s->m) ? (int)s->m->sources_n - 1 : -1);
	batch_rules_set(&s->rules, limits, setup->lanes, setup->ingests);
	s->batch.n = 1;
	s->clock_us = s->forget_us = CLOCK_UNKNOWN;
	s->clock_holder = -1;
	s->cache_max = limits->state_cache_bytes_max / setup->lanes;
	evt_set(s);
	metric_set(s->is.page, METRIC_STATE_CACHE_BYTES_MAX, s->cache_max);
	return s;
}

static void
queued_free(struct queued *q)
{
	free((void *)(uintptr_t)q->frame.body);
	free(q);
}

void
shard_free(struct shard *s)
{
	if (!s)
		return;
	while (s->head) {
		struct queued *q = s->head;
		s->head = q->next;
		queued_free(q);
	}
	cache_free(s);
	clock_free(&s->clock);
	ranges_free(&s->ranges);
	batch_free(&s->batch);
	plan_free(s);
	pack_reader_free(&s->reader);
	pack_reader_free(&s->ahead);
	process_layout_free(s->layout);
	expr_run_free(&s->expr);
	free(s->inputs);
	free(s->chunk);
	free(s->spare_fields);
	free(s->order);
	free(s);
}

/* ---- batches ---- */

static bool
can_close(const struct shard *s)
{
	return s->flights_n < BATCHES_UNCOMMITTED_MAX && s->phase != SHARD_CLOSED &&
	       s->phase != SHARD_DONE && !s->within;
}

/* True when it closed one: there is room again. */
static bool
close_when_due(struct shard *s)
{
	struct mono at = batch_deadline(&s->batch, &s->rules, clock_behind(&s->clock));
	bool due = mono_due(at, s->now) && can_close(s);

	if (due)
		close_batch(s, false);
	return due;
}

/* Nothing more may be folded until a batch is committed. */
static bool
is_blocked(const struct shard *s)
{
	return batch_full(&s->batch, &s->rules, clock_behind(&s->clock));
}

/* ---- frames ---- */

static struct queued *
keep(struct shard *s, const struct queued *q)
{
	struct queued *k = mem_alloc(sizeof *k);
	uint8_t *body = mem_alloc(q->frame.head.bytes);

	*k = *q;
	if (q->frame.head.bytes)
		memcpy(body, q->frame.body, q->frame.head.bytes);
	k->frame.body = body;
	k->next = NULL;
	*s->tail = k;
	s->tail = &k->next;
	s->queued++;
	return k;
}

static enum apply_result
take_data(struct shard *s, struct queued *q, struct err *e)
{
	for (;;) {
		if (!s->within && is_blocked(s) && !close_when_due(s))
			return APPLY_WAITS;
		enum apply_result got = apply_data(s, q, e);
		if (got == APPLY_DONE && q->frame.head.flags & FRAME_LAST)
			s->lasts++;
		if (got != APPLY_FULL)
			return got;
	}
}

static enum apply_result
take_partitions(struct shard *s, const struct queued *q, struct err *e)
{
	struct partition p;

	pack_reader_start(&s->reader, q->frame.body, q->frame.head.bytes);
	for (uint32_t i = 0; i < q->frame.head.count; i++) {
		if (!wire_partition_read(&s->reader, &p))
			break;
		if (!apply_place(s, &p, e))
			return APPLY_BROKEN;
	}
	if (!pack_reader_end(&s->reader)) {
		err_set(e, EXIT_BUG, "PART: %s", s->reader.why);
		return APPLY_BROKEN;
	}
	s->is.host.forward(s->is.host.ctx, &q->frame);
	return APPLY_DONE;
}

/* A frame whose turn it is; APPLY_WAITS: not yet. */
static enum apply_result
take(struct shard *s, struct queued *q, struct err *e)
{
	switch ((enum frame_type)q->frame.head.type) {
	case FRAME_DATA:
		return take_data(s, q, e);
	case FRAME_PART:
		return take_partitions(s, q, e);
	case FRAME_ASK:
	case FRAME_DONE:
		s->is.host.forward(s->is.host.ctx, &q->frame);
		return APPLY_DONE;
	default:
		err_set(e, EXIT_BUG, "a %s frame has no business here",
			frame_name(q->frame.head.type));
		return APPLY_BROKEN;
	}
}

/* Takes waiting frames while they can be taken. */
static bool
drain(struct shard *s, struct err *e)
{
	while (s->owned && s->head) {
		struct queued *q = s->head;
		switch (take(s, q, e)) {
		case APPLY_BROKEN:
			return false;
		case APPLY_WAITS:
		case APPLY_FULL:
			return true;
		case APPLY_DONE:
			break;
		}
		s->head = q->next;
		if (!s->head)
			s->tail = &s->head;
		s->queued--;
		queued_free(q);
		close_when_due(s);
	}
	return true;
}

/* Keys of frames that wait: asked for now, so that one query serves many. */
static void
ask_ahead(struct shard *s)
{
	if (s->plan.known && !s->plan.may_have)
		return;
	for (struct queued *q = s->head; q && s->plan.asked < LOOKUP_AHEAD_MAX; q = q->next)
		if (q->frame.head.type == FRAME_DATA && q->ask_left && s->owned)
			apply_ask_ahead(s, q);
}

/* Partitions that OWN does not name, told by load ahead of it. */
static bool
learn(struct shard *s, const struct frame *f, struct err *e)
{
	struct partition p;
	struct place *place;
	bool added, ok = true;

	if (s->owned)
		return err_set(e, EXIT_BUG, "PART came from load after OWN");
	pack_reader_start(&s->reader, f->body, f->head.bytes);
	for (uint32_t i = 0; ok && i < f->head.count && wire_partition_read(&s->reader, &p); i++)
		ok = p.source < s->m->sources_n
			 ? ranges_add(&s->ranges, &p, &place, &added, e)
			 : err_set(e, EXIT_BUG, "partition %u is of source %u", p.id, p.source);
	if (ok && !pack_reader_end(&s->reader))
		return err_set(e, EXIT_BUG, "PART: %s", s->reader.why);
	return ok;
}

static bool
own(struct shard *s, const struct frame *f, struct err *e)
{
	struct own o;
	bool ok = true;

	if (s->owned)
		return err_set(e, EXIT_BUG, "OWN came twice");
	pack_reader_start(&s->reader, f->body, f->head.bytes);
	if (!wire_own_read(&s->reader, &o) || !pack_reader_end(&s->reader))
		return err_set(e, EXIT_BUG, "OWN: %s", s->reader.why);
	memcpy(s->hash_key, o.hash_key, HASH_KEY_BYTES);
	s->shard = o.shard;
	s->epoch = o.epoch;
	for (uint32_t i = 0; ok && i < o.partitions_n; i++)
		if (o.partitions[i].source >= s->m->sources_n)
			ok = err_set(e, EXIT_BUG, "partition %u is of source %u",
				     o.partitions[i].id, o.partitions[i].source);
	ok = ok && ranges_own(&s->ranges, &o, e);
	for (uint32_t i = 0; ok && i < s->ranges.places_n; i++)
		apply_clock(s, s->ranges.places[i]);
	plan_init(s, o.state_empty || !o.ranges_n);
	own_free(&o);
	s->owned = ok;
	if (ok)
		s->is.host.forward(s->is.host.ctx, f);
	return ok;
}

static void
counts_add(struct metric_page *p, const struct batch_counts *c)
{
	metric_add(p, METRIC_PROCESSES_OPENED, c->opened);
	metric_add(p, METRIC_PROCESSES_COMPLETED, c->completed);
	metric_add(p, METRIC_PROCESSES_EXPIRED, c->expired);
	metric_add(p, METRIC_PROCESSES_FORGOTTEN, c->forgotten);
	metric_add(p, METRIC_LATE_EVENTS, c->late);
}

static bool
committed(struct shard *s, const struct frame *f, struct err *e)
{
	struct committed c;

	pack_reader_start(&s->reader, f->body, f->head.bytes);
	if (!wire_committed_read(&s->reader, &c) || !pack_reader_end(&s->reader))
		return err_set(e, EXIT_BUG, "COMMITTED: %s", s->reader.why);
	int64_t n = c.n;
	bool ok = s->owned && c.epoch == s->epoch && n > s->committed && n < s->batch.n;
	committed_free(&c);
	if (!ok)
		return err_set(e, EXIT_BUG, "COMMITTED of a batch %lld that is not under way",
			       (long long)n);
	s->committed = n;
	unsigned kept = 0;
	for (unsigned i = 0; i < s->flights_n; i++) {
		if (s->flights[i].n > n) {
			s->flights[kept++] = s->flights[i];
			continue;
		}
		counts_add(s->is.page, &s->flights[i].counts);
		if (s->flights[i].last)
			s->phase = SHARD_DONE;
	}
	s->flights_n = kept;
	s->progress++;
	cache_evict(s);
	return true;
}

/* Which key groups this lane is to own: load takes them over. */
static bool
claim(struct shard *s, const struct frame *f, struct err *e)
{
	if (!ranges_exchange(&s->ranges) || s->claimed)
		return err_set(e, EXIT_BUG, "CLAIM came %s",
			       s->claimed ? "twice" : "without an exchange");
	s->claimed = true;
	s->is.host.forward(s->is.host.ctx, f);
	return true;
}

bool
shard_frame(struct shard *s, const struct frame *f, struct mono now, int64_t wall_us, struct err *e)
{
	struct queued q = {
	    .frame = *f, .came = now, .left = f->head.count, .ask_left = f->head.count};

	s->now = now;
	s->wall_us = wall_us;
	if (f->head.type == FRAME_OWN)
		return own(s, f, e) && drain(s, e);
	if (f->head.type == FRAME_PART && f->from == ROLE_LOAD)
		return learn(s, f, e);
	if (f->head.type == FRAME_COMMITTED)
		return committed(s, f, e);
	if (f->head.type == FRAME_CLAIM)
		return claim(s, f, e);
	if (s->head || !s->owned) {
		keep(s, &q);
		return true;
	}
	switch (take(s, &q, e)) {
	case APPLY_BROKEN:
		return false;
	case APPLY_WAITS:
	case APPLY_FULL:
		keep(s, &q);
		return true;
	case APPLY_DONE:
		break;
	}
	close_when_due(s);
	return true;
}

/* ---- time ---- */

/* run --close: once everything is read, finished partitions count as plus infinity. */
static bool
is_end_of_time(const struct shard *s)
{
	return s->is.close && s->phase == SHARD_LAST && clock_finished(&s->clock);
}

static void
clock_turn(struct shard *s)
{
	uint32_t at;

	if (mono_due(s->clock_next, s->now) || s->phase == SHARD_LAST) {
		bool last = s->phase == SHARD_LAST;
		s->forget_us = clock_read(&s->clock, last ? s->last_at : s->now,
					  last ? s->last_wall_us : s->wall_us, &s->clock_holder);
		s->clock_us = is_end_of_time(s) ? CLOCK_END : s->forget_us;
		s->clock_next = mono_add_ms(s->now, CLOCK_MS);
	}
	if (s->clock_us == CLOCK_UNKNOWN)
		return;
	while (!is_blocked(s) && (at = due_take(&s->due, &s->entries, s->clock_us)) != ENTRY_NONE) {
		batch_open(&s->batch, s->now, mono_never());
		cache_touch(s, at, CHANGE_CLOCK);
	}
}

/* True when the clock has nothing left to change, in memory or in the database. */
static bool
nothing_due(const struct shard *s)
{
	return (!s->due.n || s->due.items[0].at_us > s->clock_us) &&
	       (!s->is.bounded || !clock_finished(&s->clock) || plan_due_done(s));
}

/*
 * A bounded run is read: what no ingest has spoken of (a file that is gone) does not hold the
 * clock.
 */
static void
nobody_reads(struct shard *s)
{
	for (uint32_t i = 0; s->is.bounded && i < s->ranges.places_n; i++)
		if (!s->ranges.places[i]->heard)
			clock_gone(&s->clock, s->ranges.places[i]->number);
}

static void
last_turn(struct shard *s)
{
	if (s->phase == SHARD_RUNS && s->owned && s->lasts == s->is.ingests && !s->head) {
		s->phase = SHARD_LAST;
		/* Time stands still: a clock at the wall would run on before each scan. */
		s->last_at = s->now;
		s->last_wall_us = s->wall_us;
		nobody_reads(s);
		clock_turn(s);
	}
	if (s->phase != SHARD_LAST || !can_close(s) || !nothing_due(s))
		return;
	close_batch(s, true);
	s->phase = SHARD_CLOSED;
}

static void
gauges(struct shard *s)
{
	struct metric_page *p = s->is.page;
	struct mono oldest = s->batch.open ? s->batch.oldest : mono_never();

	for (unsigned i = 0; i < s->flights_n; i++)
		oldest = mono_min(oldest, s->flights[i].oldest);
	for (const struct queued *q = s->head; q; q = q->next) {
		if (!q->frame.head.count || q->frame.head.type != FRAME_DATA)
			continue;
		oldest = mono_min(oldest, q->came);
		break;
	}
	metric_set(p, METRIC_OLDEST_UNCOMMITTED_SECONDS,
		   oldest.us == INT64_MAX ? 0 : (uint64_t)mono_since_us(oldest, s->now));
	metric_set(p, METRIC_PROCESSES_CACHED, s->entries.n);
	metric_set(p, METRIC_STATE_CACHE_BYTES, s->cache_bytes);
	metric_set(p, METRIC_CLOCK_SECONDS, s->forget_us > 0 ? (uint64_t)s->forget_us : 0);
	metric_set(p, METRIC_EXPRESSION_NULLS, s->expr.nulled);
	metric_set(p, METRIC_FOLD_OVERFLOWS, process_overflows(s->layout));
	atomic_store_explicit(&p->waits_for_source, s->clock_holder, memory_order_relaxed);
}

bool
shard_tick(struct shard *s, struct mono now, int64_t wall_us, struct mono *next, struct err *e)
{
	s->now = now;
	s->wall_us = wall_us;
	*next = mono_add_ms(now, TICK_MS_MAX);
	if (!s->owned)
		return true;
	/*
	 * Each closing makes room for frames and due processes that waited; two at most are under
	 * way.
	 */
	do {
		if (!drain(s, e))
			return false;
		clock_turn(s);
	} while (close_when_due(s));
	ask_ahead(s);
	last_turn(s);
	plan_turn(s);
	cache_evict(s);
	gauges(s);
	struct mono due = batch_deadline(&s->batch, &s->rules, clock_behind(&s->clock));
	if (can_close(s))
		*next = mono_min(*next, due);
	return true;
}

bool
shard_done(const struct shard *s)
{
	return s->phase == SHARD_DONE;
}

uint64_t
shard_queued(const struct shard *s)
{
	return s->queued && s->plan.asked == 0 && !is_blocked(s) ? s->queued : 0;
}

uint64_t
shard_progress(const struct shard *s)
{
	return s->progress;
}
