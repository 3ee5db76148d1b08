/*
 * due: which processes in memory the clock will change next: a binary heap of (event time, entry).
 * An entry is in it at most once and knows its place (entry.heap_at), so it can be moved and taken
 * out.
 */
#ifndef WORKERS_CORRELATE_DUE_H
#define WORKERS_CORRELATE_DUE_H

#include "entries.h"

struct due_item {
	int64_t at_us;
	uint32_t entry;
};

struct due {
	struct due_item *items;
	uint32_t n, cap;
};

void due_free(struct due *d);

/* Puts the entry in, moves it, or (INT64_MAX) takes it out. */
void due_set(struct due *d, const struct entries *t, uint32_t entry, int64_t at_us);

/* When the entry is due; INT64_MAX: never. */
int64_t due_at(const struct due *d, const struct entries *t, uint32_t entry);

/* The earliest, when it is not after clock_us: taken out. ENTRY_NONE: nobody. */
uint32_t due_take(struct due *d, const struct entries *t, int64_t clock_us);

#endif
