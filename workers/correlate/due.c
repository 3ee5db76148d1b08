#include "due.h"

#include <stdlib.h>

#include "log.h"
#include "mem.h"

enum { DUE_MIN = 1024 };

void
due_free(struct due *d)
{
	free(d->items);
	*d = (struct due){0};
}

static void
place(struct due *d, const struct entries *t, uint32_t i, struct due_item item)
{
	d->items[i] = item;
	entries_at(t, item.entry)->heap_at = i;
}

/* Finds the place of an item that may stand too low or too high at i. */
static void
sift(struct due *d, const struct entries *t, uint32_t i, struct due_item item)
{
	while (i && d->items[(i - 1) / 2].at_us > item.at_us) {
		place(d, t, i, d->items[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (;;) {
		uint32_t child = 2 * i + 1;
		if (child >= d->n)
			break;
		if (child + 1 < d->n && d->items[child + 1].at_us < d->items[child].at_us)
			child++;
		if (d->items[child].at_us >= item.at_us)
			break;
		place(d, t, i, d->items[child]);
		i = child;
	}
	place(d, t, i, item);
}

static void
take_out(struct due *d, const struct entries *t, uint32_t i)
{
	entries_at(t, d->items[i].entry)->heap_at = ENTRY_NONE;
	struct due_item last = d->items[--d->n];
	if (i < d->n)
		sift(d, t, i, last);
}

void
due_set(struct due *d, const struct entries *t, uint32_t entry, int64_t at_us)
{
	uint32_t i = entries_at(t, entry)->heap_at;

	if (at_us == INT64_MAX) {
		if (i != ENTRY_NONE)
			take_out(d, t, i);
		return;
	}
	if (i == ENTRY_NONE) {
		if (d->n == d->cap) {
			d->cap = d->cap ? d->cap * 2 : DUE_MIN;
			d->items = mem_resize(d->items, d->cap, sizeof *d->items);
		}
		i = d->n++;
	} else if (d->items[i].at_us == at_us) {
		return;
	}
	sift(d, t, i, (struct due_item){at_us, entry});
}

int64_t
due_at(const struct due *d, const struct entries *t, uint32_t entry)
{
	uint32_t i = entries_at(t, entry)->heap_at;

	return i == ENTRY_NONE ? INT64_MAX : d->items[i].at_us;
}

uint32_t
due_take(struct due *d, const struct entries *t, int64_t clock_us)
{
	if (!d->n || d->items[0].at_us > clock_us)
		return ENTRY_NONE;
	uint32_t entry = d->items[0].entry;
	take_out(d, t, 0);
	return entry;
}
