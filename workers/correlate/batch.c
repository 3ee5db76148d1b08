#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

enum { CHANGED_MIN = 1024 };

void
batch_rules_set(struct batch_rules *r, const struct limits *limits, unsigned lanes,
		unsigned ingests)
{
	*r = (struct batch_rules){
	    .bytes_max = limits->batch_bytes_max,
	    .input_max = limits->inflight_bytes_max / ((uint64_t)BATCH_SHARES * lanes * ingests),
	    .rows = limits->batch_rows,
	    .rows_behind = limits->batch_rows_behind,
	    .delay_us = limits->batch_delay_us,
	    .delay_behind_us = limits->batch_delay_behind_us,
	};
}

void
batch_free(struct batch *b)
{
	free(b->changed);
	pile_free(&b->evt);
	pile_free(&b->dead);
	*b = (struct batch){0};
}

void
batch_open(struct batch *b, struct mono now, struct mono came)
{
	if (!b->open) {
		b->open = true;
		b->opened = now;
		b->oldest = mono_never();
	}
	b->oldest = mono_min(b->oldest, came);
}

void
batch_changed(struct batch *b, uint32_t entry)
{
	if (b->changed_n == b->changed_cap) {
		b->changed_cap = b->changed_cap ? b->changed_cap * 2 : CHANGED_MIN;
		b->changed = mem_resize(b->changed, b->changed_cap, sizeof *b->changed);
	}
	b->changed[b->changed_n++] = entry;
}

void
batch_input(struct batch *b, unsigned ingest, uint64_t bytes)
{
	b->input_of[ingest] += bytes;
	if (b->input_of[ingest] > b->input_bytes)
		b->input_bytes = b->input_of[ingest];
}

void
batch_next(struct batch *b)
{
	b->n++;
	b->open = false;
	b->moved = false;
	b->changed_n = 0;
	b->input_bytes = 0;
	b->held_bytes = 0;
	memset(b->input_of, 0, sizeof b->input_of);
	pile_clear(&b->evt);
	pile_clear(&b->dead);
	memset(b->sources, 0, sizeof b->sources);
	b->counts = (struct batch_counts){0};
}

bool
batch_full(const struct batch *b, const struct batch_rules *r, bool behind)
{
	uint64_t row = b->row_bytes ? b->row_bytes : BATCH_ROW_BYTES;
	uint64_t rows = b->changed_n * row;

	/* Few large processes are not seen in an average. */
	if (rows < b->held_bytes)
		rows = b->held_bytes;
	return b->changed_n >= (behind ? r->rows_behind : r->rows) ||
	       b->evt.bytes + b->dead.bytes + rows >= r->bytes_max ||
	       b->input_bytes >= r->input_max;
}

struct mono
batch_deadline(const struct batch *b, const struct batch_rules *r, bool behind)
{
	/* The first batch of an epoch shows that the lane works, and ends a recovery: soon. */
	int64_t delay_us = behind && b->n > 1 ? r->delay_behind_us : r->delay_us;

	if (!b->open)
		return mono_never();
	if (batch_full(b, r, behind))
		return b->opened;
	if (!b->changed_n && !b->evt.items && !b->dead.items)
		return mono_add_ms(b->opened, BATCH_QUIET_MS);
	return (struct mono){b->opened.us + delay_us};
}
