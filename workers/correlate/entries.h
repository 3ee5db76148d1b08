/*
 * entries: the processes in memory by the 128-bit hash of their correlation ID. Open addressing
 * over small slots, entries in a slab: an entry's number stays its own while it lives, its address
 * too. It owns entries, not what hangs on them.
 */
#ifndef WORKERS_CORRELATE_ENTRIES_H
#define WORKERS_CORRELATE_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STATE_KEY_BYTES = 16, ENTRY_CHUNK = 4096 };

#define ENTRY_NONE UINT32_MAX

enum entry_kind {
	ENTRY_FREE,
	ENTRY_ASKED,  /* being looked up in the database */
	ENTRY_ABSENT, /* looked up: the database has nothing */
	ENTRY_PROCESS,
	ENTRY_TOMBSTONE
};

/* What happened to an entry in the open batch, and what is decided when it closes. */
enum {
	CHANGE_EVENT = 1 << 0,
	CHANGE_CLOCK = 1 << 1,
	CHANGE_FORGET = 1 << 2, /* a tombstone takes its place */
	CHANGE_NONE = 1 << 3,	/* the clock changed nothing after all */
};

struct process;

struct entry {
	uint8_t key[STATE_KEY_BYTES];
	struct process *process; /* of ENTRY_PROCESS */
	int64_t batch;		 /* the last one that changed it; 0: none of this generation */
	uint32_t heap_at;	 /* due.h; ENTRY_NONE: in no heap. Of a free one: the next free */
	uint16_t kg;
	uint8_t kind;	/* enum entry_kind */
	uint8_t change; /* CHANGE_* in the open batch */
	bool touched;	/* used since the clock hand passed */
	bool wanted;	/* a queued frame waits for it: not to be evicted */
};

struct entry_slot {
	uint32_t tag; /* the key's first four bytes: its home and most of its identity */
	uint32_t at;  /* entry + 1; 0: free */
};

struct entries {
	struct entry_slot *slots;
	uint32_t mask; /* slots - 1 */
	uint32_t n;    /* entries alive */
	struct entry **chunks;
	uint32_t chunks_n, chunks_cap;
	uint32_t free; /* first free entry; ENTRY_NONE */
};

void entries_init(struct entries *t);
void entries_free(struct entries *t);

/* Number of the entry, ENTRY_NONE when there is none. */
uint32_t entries_find(const struct entries *t, const uint8_t key[static STATE_KEY_BYTES]);

/* A new, zeroed entry of that key, which is not there; its kind is the caller's to set. */
uint32_t entries_add(struct entries *t, const uint8_t key[static STATE_KEY_BYTES]);
void entries_remove(struct entries *t, uint32_t at);

/* Entries ever made: their numbers are below this, some may be ENTRY_FREE. */
static inline uint32_t
entries_span(const struct entries *t)
{
	return t->chunks_n * ENTRY_CHUNK;
}

static inline struct entry *
entries_at(const struct entries *t, uint32_t at)
{
	return &t->chunks[at / ENTRY_CHUNK][at % ENTRY_CHUNK];
}

static inline uint32_t
entries_tag(const uint8_t key[static STATE_KEY_BYTES])
{
	uint32_t tag;

	__builtin_memcpy(&tag, key, sizeof tag);
	return tag;
}

static inline void
entries_prefetch(const struct entries *t, const uint8_t key[static STATE_KEY_BYTES])
{
	__builtin_prefetch(&t->slots[entries_tag(key) & t->mask]);
}

/* Bytes of memory per entry, slots and heap included, for the cache's account. */
enum { ENTRY_BYTES = sizeof(struct entry) + 2 * sizeof(struct entry_slot) + 16 };

#endif
