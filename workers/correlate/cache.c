/*
 * What stays in memory: an entry changed by a batch that is not committed, and others while there
 * is room.
 */
#include "state.h"

#include "log.h"

uint32_t
cache_add(struct shard *s, const uint8_t key[static STATE_KEY_BYTES], uint32_t kg,
	  enum entry_kind kind)
{
	uint32_t at = entries_add(&s->entries, key);
	struct entry *e = entries_at(&s->entries, at);

	e->kind = (uint8_t)kind;
	e->kg = (uint16_t)kg;
	e->touched = true;
	s->cache_bytes += ENTRY_BYTES;
	return at;
}

void
cache_process(struct shard *s, uint32_t entry, struct process *p)
{
	struct entry *e = entries_at(&s->entries, entry);

	check(!e->process);
	e->kind = ENTRY_PROCESS;
	e->process = p;
	s->cache_bytes += process_bytes(s->layout, p);
}

static void
process_drop(struct shard *s, struct entry *e)
{
	if (!e->process)
		return;
	s->cache_bytes -= process_bytes(s->layout, e->process);
	process_free(s->layout, e->process);
	e->process = NULL;
}

void
cache_forget(struct shard *s, uint32_t entry)
{
	struct entry *e = entries_at(&s->entries, entry);

	due_set(&s->due, &s->entries, entry, INT64_MAX);
	process_drop(s, e);
	e->kind = ENTRY_TOMBSTONE;
}

void
cache_touch(struct shard *s, uint32_t entry, unsigned change)
{
	struct entry *e = entries_at(&s->entries, entry);

	if (e->batch != s->batch.n) {
		e->batch = s->batch.n;
		e->change = 0;
		batch_changed(&s->batch, entry);
		s->batch.held_bytes += process_bytes_beside(e->process);
	}
	e->change = (uint8_t)(e->change | change);
	e->touched = true;
}

void
cache_due(struct shard *s, uint32_t entry, int64_t at_us)
{
	const struct process *p = entries_at(&s->entries, entry)->process;

	/*
	 * The end of time closes what is open; to forget what is closed, the clock itself must get
	 * there.
	 */
	if (s->clock_us == CLOCK_END && process_status(p) != PROCESS_OPEN)
		at_us = INT64_MAX;
	due_set(&s->due, &s->entries, entry, at_us);
}

static bool
may_go(const struct shard *s, uint32_t at, const struct entry *e)
{
	if (e->batch > s->committed || e->wanted || e->kind == ENTRY_ASKED)
		return false;
	/* What is due and still to be judged would not be found in the database again. */
	return due_at(&s->due, &s->entries, at) > s->clock_us;
}

static void
evict(struct shard *s, uint32_t at, struct entry *e)
{
	if (e->kind != ENTRY_ABSENT) {
		filter_add(&s->filter, e->key);
		s->plan.may_have = true;
		metric_add(s->is.page, METRIC_STATE_EVICTIONS, 1);
	}
	due_set(&s->due, &s->entries, at, INT64_MAX);
	process_drop(s, e);
	entries_remove(&s->entries, at);
	s->cache_bytes -= ENTRY_BYTES;
}

/*
 * A clock hand over the entries: whoever was used since it passed stays for one more round. Gives
 * up after SWEEP_MAX in a row that may not go; the next turn goes on from there.
 */
void
cache_evict(struct shard *s)
{
	uint32_t span = entries_span(&s->entries);
	uint64_t steps = 2 * (uint64_t)span;

	for (unsigned stuck = 0; stuck < SWEEP_MAX && s->cache_bytes > s->cache_max && steps;
	     steps--) {
		uint32_t at = s->hand < span ? s->hand : 0;
		struct entry *e = entries_at(&s->entries, at);
		s->hand = at + 1;
		if (e->kind == ENTRY_FREE)
			continue;
		if (e->touched) {
			e->touched = false;
		} else if (may_go(s, at, e)) {
			evict(s, at, e);
			stuck = 0;
		} else {
			stuck++;
		}
	}
}

void
cache_free(struct shard *s)
{
	for (uint32_t i = 0; i < entries_span(&s->entries); i++)
		process_free(s->layout, entries_at(&s->entries, i)->process);
	entries_free(&s->entries);
	due_free(&s->due);
	filter_free(&s->filter);
}
