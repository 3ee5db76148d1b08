/*
 * Records into processes. A DATA frame is taken in chunks: decoded, their processes found (fetching
 * memory for all of them at once), then folded in order. A chunk that needs states from the
 * database stops the frame.
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"

/* ---- decoding ---- */

static bool
content_fits(const struct model *m, const struct record *rec)
{
	if (rec->raw_only || rec->has_bound) /* for correlate to say */
		return false;
	return rec->kind == RECORD_DEAD ? wire_body_check(m, rec)
					: wire_fields_check(&m->sources[rec->source], rec);
}

/* Below its range's position. Tickets that came by an exchange are of many ingests. */
static bool
is_old(const struct shard *s, const struct record *rec, const struct place *place)
{
	if (ranges_exchange(&s->ranges) && place->is.kind == PARTITION_TRANSIENT)
		return false;
	return rec->offset < place->next[s->ranges.of[rec->kg]];
}

/*
 * A record as an ingest of this pipeline can have sent it; its place, and whether it was applied
 * before.
 */
static bool
record_place(const struct shard *s, const struct record *rec, struct place **place, bool *drop,
	     struct err *e)
{
	*place = ranges_place(&s->ranges, rec->partition);
	if (!*place || rec->source >= s->m->sources_n || (*place)->is.source != rec->source ||
	    rec->source == s->ranges.exchange)
		return err_set(e, EXIT_BUG, "a record of source %u names partition %u", rec->source,
			       rec->partition);
	uint16_t range = s->ranges.of[rec->kg];
	if (range == RANGE_NONE)
		return err_set(e, EXIT_BUG, "a record of key group %u is not ours", rec->kg);
	if (!content_fits(s->m, rec))
		return err_set(
		    e, EXIT_BUG,
		    "a record has other fields than source %s, or not sealed as they are "
		    "declared",
		    s->m->sources[rec->source].name.s);
	if ((*place)->is.kind == PARTITION_TRANSIENT && !rec->has_rid)
		return err_set(e, EXIT_BUG, "a record of a queue has no identity");
	*drop = is_old(s, rec, *place);
	return true;
}

static bool
chunk_decode(struct shard *s, uint32_t n, struct err *e)
{
	for (uint32_t i = 0; i < n; i++) {
		struct item *it = &s->chunk->items[i];
		it->rec.fields = s->chunk->fields[i];
		if (!wire_record_read(&s->reader, &it->rec))
			return err_set(e, EXIT_BUG, "DATA: %s", s->reader.why);
		it->end = s->reader.at;
		if (!record_place(s, &it->rec, &it->place, &it->drop, e))
			return false;
	}
	return true;
}

/* ---- finding processes ---- */

static bool
is_folded(const struct item *it)
{
	return it->rec.kind == RECORD_EVENT && !it->drop;
}

/* The entry of a key, asked for when the database may know more; ENTRY_NONE: the process is new. */
static uint32_t
entry_of(struct shard *s, const uint8_t key[static STATE_KEY_BYTES], uint32_t kg)
{
	uint32_t at = entries_find(&s->entries, key);

	if (at != ENTRY_NONE || plan_is_new(s, key))
		return at;
	at = cache_add(s, key, kg, ENTRY_ASKED);
	plan_key(s, at);
	return at;
}

/* True when every process of the chunk is in memory or known to be new. */
static bool
chunk_resolve(struct shard *s, uint32_t n)
{
	struct item *items = s->chunk->items;
	uint32_t asked = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (!is_folded(&items[i]))
			continue;
		keyhash_process(s->hash_key, items[i].rec.key, items[i].rec.key_len, items[i].key);
		entries_prefetch(&s->entries, items[i].key);
	}
	for (uint32_t i = 0; i < n; i++) {
		items[i].entry = ENTRY_NONE;
		if (!is_folded(&items[i]))
			continue;
		items[i].entry = entry_of(s, items[i].key, items[i].rec.kg);
		if (items[i].entry != ENTRY_NONE)
			__builtin_prefetch(entries_at(&s->entries, items[i].entry));
	}
	for (uint32_t i = 0; i < n; i++) {
		if (items[i].entry == ENTRY_NONE)
			continue;
		const struct entry *e = entries_at(&s->entries, items[i].entry);
		asked += e->kind == ENTRY_ASKED;
		if (e->process) {
			__builtin_prefetch(e->process);
			__builtin_prefetch((const char *)e->process + 64);
			__builtin_prefetch((const char *)e->process + 128);
		}
	}
	for (uint32_t i = 0; asked && i < n; i++)
		if (items[i].entry != ENTRY_NONE)
			entries_at(&s->entries, items[i].entry)->wanted = true;
	return !asked;
}

/* ---- what becomes of a record ---- */

static void
rid_of(void *ctx, const struct record *rec, uint8_t out[static RID_BYTES])
{
	const struct shard *s = ctx;
	const struct place *p = ranges_place(&s->ranges, rec->partition);

	if (p) {
		rid_durable(&s->m->sources[p->is.source], &p->is, rec->offset, out);
		return;
	}
	/*
	 * Its partition was deleted from the database by hand: any fixed answer keeps the order
	 * total.
	 */
	memset(out, 0, RID_BYTES);
	memcpy(out, &rec->offset, sizeof rec->offset);
}

static void
rid_fill(struct shard *s, struct item *it)
{
	if (it->rec.has_rid)
		return;
	rid_of(s, &it->rec, it->rec.rid);
	it->rec.has_rid = true;
}

static void
dead_put(struct shard *s, struct dead *d)
{
	size_t at;

	d->stage_len = (uint32_t)strlen(d->stage);
	wire_dead_write(pile_begin(&s->batch.dead, &at), d);
	pile_end(&s->batch.dead, at);
}

static void
dead_write(struct shard *s, struct item *it, enum role stage, const char *reason, size_t reason_len)
{
	struct record *rec = &it->rec;
	struct dead d = {.source = rec->source,
			 .partition = rec->partition,
			 .offset = rec->offset,
			 .stage = role_name(stage),
			 .reason = reason,
			 .reason_len = (uint32_t)reason_len,
			 .has_digest = rec->kind == RECORD_DEAD,
			 .body = rec->body,
			 .body_len = rec->body_len,
			 .has_sid = rec->kind == RECORD_DEAD && rec->has_sid};

	rid_fill(s, it);
	memcpy(d.rid, rec->rid, RID_BYTES);
	memcpy(d.digest, rec->digest, DIGEST_BYTES);
	memcpy(d.sid, rec->sid, SUBJECT_ID_BYTES);
	dead_put(s, &d);
	s->batch.sources[rec->source].dead++;
}

/* A dead letter that was sent again is in: it goes with this batch. */
static void
replayed_write(struct shard *s, const struct item *it)
{
	const struct record *rec = &it->rec;
	struct dead d = {.source = rec->source,
			 .partition = rec->partition,
			 .offset = rec->offset,
			 .stage = role_name(ROLE_CORRELATE),
			 .reason = "",
			 .replayed = true};

	if (!it->place->dead_letters)
		return;
	memcpy(d.rid, record_bound(rec), RID_BYTES);
	dead_put(s, &d);
}

static void
evt_write(struct shard *s, struct item *it)
{
	size_t at;

	rid_fill(s, it);
	wire_record_write(pile_begin(&s->batch.evt, &at), &it->rec);
	pile_end(&s->batch.evt, at);
}

/* Not folded; what it said is kept where raw events are. */
static void
refuse(struct shard *s, struct item *it, const char *reason)
{
	dead_write(s, it, ROLE_CORRELATE, reason, strlen(reason));
	it->rec.raw_only = true;
	if (s->raw[it->rec.source])
		evt_write(s, it);
}

/* The process of an event: the one in memory, or a new one. ENTRY_NONE: it was forgotten. */
static uint32_t
process_of(struct shard *s, struct item *it)
{
	if (it->entry == ENTRY_NONE)
		it->entry = entries_find(&s->entries,
					 it->key); /* begun by an earlier record of the chunk */
	if (it->entry == ENTRY_NONE)
		it->entry = cache_add(s, it->key, it->rec.kg, ENTRY_ABSENT);
	struct entry *e = entries_at(&s->entries, it->entry);
	e->wanted = false;
	check(e->kind != ENTRY_ASKED && e->kind != ENTRY_FREE);
	if (e->kind == ENTRY_TOMBSTONE)
		return ENTRY_NONE;
	if (e->kind == ENTRY_ABSENT) {
		cache_process(s, it->entry, process_new(s->layout, it->rec.key, it->rec.key_len));
		s->batch.counts.opened++;
	}
	return it->entry;
}

static void
fold_event(struct shard *s, struct item *it)
{
	uint32_t at = process_of(s, it);

	if (at == ENTRY_NONE) {
		s->batch.counts.late++;
		refuse(s, it, "late: its process was closed and forgotten");
		return;
	}
	const struct entry *e = entries_at(&s->entries, at);
	struct process *p = e->process;
	size_t before = process_bytes(s->layout, p), after;
	if (it->rec.distinct)
		process_distinguish(p, &it->rec);
	switch (process_fold(s->layout, p, &it->rec, rid_of, s, &s->expr)) {
	case FOLD_APPLIED:
		after = process_bytes(s->layout, p);
		s->cache_bytes += after - before;
		if (e->batch == s->batch.n && after > before)
			s->batch.held_bytes += after - before;
		cache_touch(s, at, CHANGE_EVENT);
		s->batch.sources[it->rec.source].events++;
		if (s->evt[it->rec.source])
			evt_write(s, it);
		replayed_write(s, it);
		return;
	case FOLD_DUPLICATE:
		s->batch.sources[it->rec.source].dropped++;
		replayed_write(s, it);
		return;
	case FOLD_TOO_MANY:
		refuse(s, it, "process_too_large: its process has events_per_process_max events");
		return;
	case FOLD_TOO_LARGE:
		refuse(s, it, "process_too_large: its process would pass process_bytes_max");
		return;
	}
}

/* By an exchange a record may come again within one chunk: it was sent again. */
static void
item_mark(struct shard *s, struct item *it)
{
	const struct record *rec = &it->rec;

	if (!ranges_exchange(&s->ranges)) {
		it->place->highest = rec->offset;
		return;
	}
	it->drop = is_old(s, rec, it->place);
	if (it->drop && it->entry != ENTRY_NONE)
		entries_at(&s->entries, it->entry)->wanted = false;
	if (!it->drop && it->place->is.kind == PARTITION_DURABLE)
		ranges_mark(&s->ranges, it->place, s->ranges.of[rec->kg], rec->offset);
}

static void
item_apply(struct shard *s, struct item *it)
{
	struct record *rec = &it->rec;

	item_mark(s, it);
	if (it->drop) {
		s->batch.sources[rec->source].dropped++;
		return;
	}
	switch (rec->kind) {
	case RECORD_EVENT:
		fold_event(s, it);
		break;
	case RECORD_REFERENCE:
		s->batch.sources[rec->source].events++;
		evt_write(s, it);
		replayed_write(s, it);
		break;
	case RECORD_DEAD:
		dead_write(s, it, ROLE_INGEST, rec->reason, rec->reason_len);
		break;
	}
}

/* ---- covers ---- */

static bool
covers_apply(struct shard *s, struct err *e)
{
	struct cover *covers;
	uint32_t n;
	bool ok = true;

	if (!wire_covers_read(&s->reader, &covers, &n) || !pack_reader_end(&s->reader)) {
		free(covers);
		return err_set(e, EXIT_BUG, "DATA: %s", s->reader.why);
	}
	for (uint32_t i = 0; ok && i < n; i++) {
		const struct cover *c = &covers[i];
		struct place *p = ranges_place(&s->ranges, c->partition);
		bool moved = false;
		if (!p) {
			ok = err_set(e, EXIT_BUG, "a cover names the unknown partition %u",
				     c->partition);
			break;
		}
		ok = ranges_cover(&s->ranges, p, c, &moved, e);
		if (moved) {
			s->batch.moved = true;
			batch_open(&s->batch, s->now, mono_never());
		}
		clock_cover(&s->clock, p->number, c->has_time ? c->time_max_us : CLOCK_UNKNOWN,
			    c->caught_up, c->finished, s->now);
	}
	free(covers);
	return ok;
}

/* ---- a frame ---- */

static enum apply_result
chunk_apply(struct shard *s, struct queued *q, struct err *e)
{
	uint32_t n = q->left < CHUNK_RECORDS ? q->left : CHUNK_RECORDS;

	if (!chunk_decode(s, n, e))
		return APPLY_BROKEN;
	if (!chunk_resolve(s, n))
		return APPLY_WAITS;
	batch_open(&s->batch, s->now, q->came);
	if (!q->counted)
		batch_input(&s->batch, q->frame.from_index, q->frame.head.bytes);
	q->counted = true;
	s->within = ranges_exchange(&s->ranges);
	/* Small events of large processes: the batch may be full within the chunk. */
	for (uint32_t i = 0; i < n && (s->within || s->batch.held_bytes < s->rules.bytes_max);
	     i++) {
		struct item *it = &s->chunk->items[i];
		/* Positions are kept in the middle of a frame too: they need the order. */
		if (!s->within && it->rec.offset <= it->place->highest) {
			err_set(e, EXIT_BUG, "partition %u: record %lld after %lld",
				it->rec.partition, (long long)it->rec.offset,
				(long long)it->place->highest);
			return APPLY_BROKEN;
		}
		item_apply(s, it);
		q->left--;
		q->at = it->end;
	}
	return APPLY_DONE;
}

enum apply_result
apply_data(struct shard *s, struct queued *q, struct err *e)
{
	pack_reader_start(&s->reader, q->frame.body, q->frame.head.bytes);
	s->reader.at = q->at;
	while (q->left) {
		s->reader.at = q->at;
		enum apply_result got = chunk_apply(s, q, e);
		if (got != APPLY_DONE)
			return got;
		if (q->left && !s->within &&
		    batch_full(&s->batch, &s->rules, clock_behind(&s->clock)))
			return APPLY_FULL;
	}
	if (!covers_apply(s, e))
		return APPLY_BROKEN;
	s->within = false;
	s->progress++;
	return APPLY_DONE;
}

void
apply_ask_ahead(struct shard *s, struct queued *q)
{
	uint8_t key[STATE_KEY_BYTES];
	struct place *place;
	struct err ignored;
	bool drop;

	if (q->ask_left > q->left) {
		q->ask_left = q->left;
		q->ask_at = q->at;
	}
	pack_reader_start(&s->ahead, q->frame.body, q->frame.head.bytes);
	s->ahead.at = q->ask_at;
	for (; q->ask_left && s->plan.asked < LOOKUP_AHEAD_MAX; q->ask_left--) {
		s->spare.fields = s->spare_fields;
		/* Whatever is wrong with it is said when it is applied. */
		if (!wire_record_read(&s->ahead, &s->spare) ||
		    !record_place(s, &s->spare, &place, &drop, &ignored)) {
			q->ask_left = 0;
			return;
		}
		q->ask_at = s->ahead.at;
		if (s->spare.kind != RECORD_EVENT || drop)
			continue;
		keyhash_process(s->hash_key, s->spare.key, s->spare.key_len, key);
		uint32_t at = entry_of(s, key, s->spare.kg);
		if (at != ENTRY_NONE)
			entries_at(&s->entries, at)->wanted = true;
	}
}

/*
 * What is done holds the clock back no more. Behind an exchange covers speak of its own partitions,
 * and those of our key groups alone come here.
 */
void
apply_clock(struct shard *s, const struct place *p)
{
	bool counts = s->m->sources[p->is.source].time != TIME_NONE;
	uint32_t n = clock_add(&s->clock, p->is.source, counts);

	if (p->is.done || (ranges_exchange(&s->ranges) && !ranges_relayed(&s->ranges, p)))
		clock_gone(&s->clock, n);
}

bool
apply_place(struct shard *s, const struct partition *p, struct err *e)
{
	struct place *place;
	bool added;

	if (p->source >= s->m->sources_n)
		return err_set(e, EXIT_BUG, "partition %u is of source %u", p->id, p->source);
	if (!ranges_add(&s->ranges, p, &place, &added, e))
		return false;
	if (added)
		apply_clock(s, place);
	return true;
}
