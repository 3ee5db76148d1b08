#include "entries.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

enum { SLOTS_MIN = 1024, CHUNKS_MIN = 16 };

void
entries_init(struct entries *t)
{
	*t = (struct entries){.mask = SLOTS_MIN - 1, .free = ENTRY_NONE};
	t->slots = mem_zero(SLOTS_MIN, sizeof *t->slots);
}

void
entries_free(struct entries *t)
{
	for (uint32_t i = 0; i < t->chunks_n; i++)
		free(t->chunks[i]);
	free(t->chunks);
	free(t->slots);
	*t = (struct entries){0};
}

/* The slot that holds the key, or the free one at the end of its run. */
static uint32_t
slot_of(const struct entries *t, const uint8_t key[static STATE_KEY_BYTES])
{
	uint32_t tag = entries_tag(key);
	uint32_t i = tag & t->mask;

	for (; t->slots[i].at; i = (i + 1) & t->mask)
		if (t->slots[i].tag == tag &&
		    !memcmp(entries_at(t, t->slots[i].at - 1)->key, key, STATE_KEY_BYTES))
			break;
	return i;
}

uint32_t
entries_find(const struct entries *t, const uint8_t key[static STATE_KEY_BYTES])
{
	return t->slots[slot_of(t, key)].at - 1; /* a free slot's 0 becomes ENTRY_NONE */
}

static void
slots_grow(struct entries *t)
{
	struct entry_slot *old = t->slots;
	uint32_t n = t->mask + 1;

	check(n <= UINT32_MAX / 2);
	t->slots = mem_zero((size_t)n * 2, sizeof *t->slots);
	t->mask = n * 2 - 1;
	for (uint32_t i = 0; i < n; i++) {
		if (!old[i].at)
			continue;
		uint32_t to = old[i].tag & t->mask;
		while (t->slots[to].at)
			to = (to + 1) & t->mask;
		t->slots[to] = old[i];
	}
	free(old);
}

static void
chunk_add(struct entries *t)
{
	uint32_t first = t->chunks_n * ENTRY_CHUNK;

	check(first < UINT32_MAX - 2 * ENTRY_CHUNK);
	if (t->chunks_n == t->chunks_cap) {
		t->chunks_cap = t->chunks_cap ? t->chunks_cap * 2 : CHUNKS_MIN;
		t->chunks = mem_resize(t->chunks, t->chunks_cap, sizeof(struct entry *));
	}
	t->chunks[t->chunks_n++] = mem_zero(ENTRY_CHUNK, sizeof(struct entry));
	for (uint32_t i = ENTRY_CHUNK; i-- > 0;) {
		entries_at(t, first + i)->heap_at = t->free;
		t->free = first + i;
	}
}

uint32_t
entries_add(struct entries *t, const uint8_t key[static STATE_KEY_BYTES])
{
	/* At most five eighths full: runs stay short. */
	if ((uint64_t)(t->n + 1) * 8 > (uint64_t)(t->mask + 1) * 5)
		slots_grow(t);
	if (t->free == ENTRY_NONE)
		chunk_add(t);
	uint32_t at = t->free;
	struct entry *e = entries_at(t, at);
	uint32_t i = slot_of(t, key);
	check(!t->slots[i].at);
	t->free = e->heap_at;
	*e = (struct entry){.heap_at = ENTRY_NONE};
	memcpy(e->key, key, STATE_KEY_BYTES);
	t->slots[i] = (struct entry_slot){entries_tag(key), at + 1};
	t->n++;
	return at;
}

void
entries_remove(struct entries *t, uint32_t at)
{
	struct entry *e = entries_at(t, at);
	uint32_t hole = slot_of(t, e->key);

	check(t->slots[hole].at == at + 1 && e->heap_at == ENTRY_NONE);
	/* Close the hole: pull back whoever would not be found past it. */
	for (uint32_t i = (hole + 1) & t->mask; t->slots[i].at; i = (i + 1) & t->mask) {
		uint32_t home = t->slots[i].tag & t->mask;
		if (((i - home) & t->mask) < ((i - hole) & t->mask))
			continue;
		t->slots[hole] = t->slots[i];
		hole = i;
	}
	t->slots[hole] = (struct entry_slot){0};
	*e = (struct entry){.heap_at = t->free};
	t->free = at;
	t->n--;
}
