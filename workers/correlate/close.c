/*
 * Closing a batch: everything that changed is judged, written and sent, rows in the order of their
 * keys.
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

static void
send_one(struct shard *s, enum frame_type type, uint16_t flags, struct buf *body)
{
	s->is.host.send(s->is.host.ctx, type, flags, 1, body);
	buf_free(body);
}

static void
send_pile(struct shard *s, enum frame_type type, struct pile *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		s->is.host.send(s->is.host.ctx, type, 0, p->bodies[i].count, &p->bodies[i].bytes);
}

/* ---- order: by eight bytes, and by the rest where those are equal ---- */

static uint64_t
big_endian(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < sizeof v; i++)
		v = v << 8 | (i < n ? p[i] : 0);
	return v;
}

static int
by_text(const void *a, const void *b, void *ctx)
{
	const struct order *x = a, *y = b;
	const struct shard *s = ctx;
	size_t n, m;

	if (x->prefix != y->prefix)
		return x->prefix < y->prefix ? -1 : 1;
	const char *p = process_key(entries_at(&s->entries, x->entry)->process, &n);
	const char *q = process_key(entries_at(&s->entries, y->entry)->process, &m);
	int c = memcmp(p, q, n < m ? n : m);
	return c ? c : (n > m) - (n < m);
}

static int
by_key(const void *a, const void *b, void *ctx)
{
	const struct order *x = a, *y = b;
	const struct shard *s = ctx;

	if (x->prefix != y->prefix)
		return x->prefix < y->prefix ? -1 : 1;
	return memcmp(entries_at(&s->entries, x->entry)->key,
		      entries_at(&s->entries, y->entry)->key, STATE_KEY_BYTES);
}

static void
order_changed(struct shard *s, bool text)
{
	struct batch *b = &s->batch;

	if (s->order_cap < b->changed_n) {
		s->order = mem_resize(s->order, b->changed_cap, sizeof *s->order);
		s->order_cap = b->changed_cap;
	}
	for (uint32_t i = 0; i < b->changed_n; i++) {
		const struct entry *e = entries_at(&s->entries, b->changed[i]);
		const uint8_t *p = e->key;
		size_t n = STATE_KEY_BYTES;
		if (text)
			p = (const uint8_t *)process_key(e->process, &n);
		s->order[i] = (struct order){big_endian(p, n), b->changed[i]};
	}
	if (b->changed_n)
		qsort_r(s->order, b->changed_n, sizeof *s->order, text ? by_text : by_key, s);
}

/* ---- processes ---- */

static void
count_transition(struct shard *s, enum process_status to)
{
	if (to == PROCESS_COMPLETE)
		s->batch.counts.completed++;
	else if (to == PROCESS_EXPIRED)
		s->batch.counts.expired++;
}

static void
judge(struct shard *s, struct entry *e, struct pile *proc)
{
	struct proc row = {.inputs = s->inputs, .inputs_n = s->m->inputs_n};
	enum process_status before = process_status(e->process);
	enum process_status now =
	    process_judge(s->layout, e->process, s->clock_us, &s->expr, &row.missing);
	size_t at;

	if (now != before)
		count_transition(s, now);
	if (process_forgettable(s->layout, e->process, s->forget_us))
		e->change |= CHANGE_FORGET;
	if (!(e->change & CHANGE_EVENT) && now == before) {
		if (!(e->change & CHANGE_FORGET))
			e->change |= CHANGE_NONE;
		return;
	}
	/* A row that was written must not stay behind when its process is open again. */
	if (s->m->emit_on_close && now == PROCESS_OPEN && !process_emitted(e->process))
		return;
	process_emit(e->process);
	process_inputs(s->layout, e->process, &s->expr, s->inputs);
	wire_proc_write(pile_begin(proc, &at), &row);
	pile_end(proc, at);
}

static void
state_write(struct shard *s, uint32_t entry, struct buf *body, struct pile *states)
{
	struct entry *e = entries_at(&s->entries, entry);
	int64_t due = process_due_us(s->layout, e->process);
	bool forget = e->change & CHANGE_FORGET;
	struct state_row row = {.kg = e->kg, .tombstone = forget};
	size_t at;

	if (!(e->change & CHANGE_NONE)) {
		buf_clear(body);
		if (forget)
			process_tombstone(e->process, body);
		else
			process_encode(s->layout, e->process, body);
		memcpy(row.key, e->key, STATE_KEY_BYTES);
		row.has_check_at = !forget && due != INT64_MAX;
		row.check_at_us = row.has_check_at ? due : 0;
		row.body = body->data;
		row.body_len = (uint32_t)body->len;
		wire_state_write(pile_begin(states, &at), &row);
		pile_end(states, at);
	}
	if (forget) {
		cache_forget(s, entry);
		s->batch.counts.forgotten++;
	} else {
		cache_due(s, entry, due);
	}
	e->change = 0;
}

static void
write_changed(struct shard *s, struct pile *proc, struct pile *states)
{
	struct buf body = {0};

	order_changed(s, true);
	for (uint32_t i = 0; i < s->batch.changed_n; i++)
		judge(s, entries_at(&s->entries, s->order[i].entry), proc);
	order_changed(s, false);
	for (uint32_t i = 0; i < s->batch.changed_n; i++)
		state_write(s, s->order[i].entry, &body, states);
	buf_free(&body);
	uint64_t bytes = proc->bytes + states->bytes;
	if (s->batch.changed_n >= 100)
		s->batch.row_bytes = bytes / s->batch.changed_n + 1;
}

/* ---- the batch ---- */

static void
send_begin(struct shard *s)
{
	struct begin x = {.shard = s->shard, .epoch = s->epoch, .n = s->batch.n};
	struct buf body = {0};

	pipe_body_start(&body);
	wire_begin_write(&body, &x);
	send_one(s, FRAME_BEGIN, 0, &body);
}

static void
send_end(struct shard *s, const struct pile *proc, const struct pile *states, bool last)
{
	struct end x = {.n = s->batch.n,
			.proc = proc->items,
			.evt = s->batch.evt.items,
			.state = states->items,
			.dead = s->batch.dead.items,
			.tables_n = s->m->tables_n,
			.sources_n = s->m->sources_n};
	struct buf body = {0};

	memcpy(x.sources, s->batch.sources, sizeof x.sources);
	ranges_end(&s->ranges, &x);
	pipe_body_start(&body);
	wire_end_write(&body, &x);
	end_free(&x);
	send_one(s, FRAME_END, last ? FRAME_LAST : 0, &body);
}

void
close_batch(struct shard *s, bool last)
{
	struct pile proc = {0}, states = {0};

	check(s->flights_n < BATCHES_UNCOMMITTED_MAX);
	write_changed(s, &proc, &states);
	send_begin(s);
	send_pile(s, FRAME_PROC, &proc);
	send_pile(s, FRAME_EVT, &s->batch.evt);
	send_pile(s, FRAME_STATE, &states);
	send_pile(s, FRAME_DEAD, &s->batch.dead);
	send_end(s, &proc, &states, last);
	pile_free(&proc);
	pile_free(&states);
	s->flights[s->flights_n++] = (struct flight){
	    s->batch.n, s->batch.open ? s->batch.oldest : mono_never(), last, s->batch.counts};
	batch_next(&s->batch);
	s->progress++;
}
