#include "credit.h"

#include <stdlib.h>

#include "log.h"
#include "mem.h"

struct credit_frame {
	struct credit_frame *next;
	struct mono sent_at;
	size_t bytes;
	uint32_t records, n;
	struct position covers[];
};

void
credit_free(struct credit *c)
{
	for (unsigned i = 0; i < LANES_MAX; i++)
		for (struct credit_frame *f = c->lanes[i].first, *next; f; f = next) {
			next = f->next;
			free(f);
		}
	*c = (struct credit){0};
}

void
credit_charge(struct credit *c, unsigned lane, size_t bytes, uint32_t records,
	      const struct cover *covers, uint32_t n, struct mono now)
{
	struct credit_frame *f = mem_alloc(sizeof *f + n * sizeof f->covers[0]);
	struct credit_lane *l = &c->lanes[lane];

	*f = (struct credit_frame){.sent_at = now, .bytes = bytes, .records = records, .n = n};
	for (uint32_t i = 0; i < n; i++)
		f->covers[i] = (struct position){covers[i].partition, covers[i].to};
	if (l->last)
		l->last->next = f;
	else
		l->first = f;
	l->last = f;
	c->used_bytes += bytes;
	c->records += records;
}

static bool
frame_covered(const struct credit_frame *f, unsigned lane, const struct parts *p)
{
	for (uint32_t i = 0; i < f->n; i++) {
		const struct ingest_partition *part = parts_id(p, f->covers[i].partition);

		if (part->lanes[lane].committed < f->covers[i].next)
			return false;
	}
	return true;
}

unsigned
credit_settle(struct credit *c, unsigned lane, const struct parts *p)
{
	struct credit_lane *l = &c->lanes[lane];
	unsigned frames = 0;

	while (l->first && frame_covered(l->first, lane, p)) {
		struct credit_frame *f = l->first;

		check(c->used_bytes >= f->bytes);
		c->used_bytes -= f->bytes;
		c->records -= f->records;
		l->first = f->next;
		if (!l->first)
			l->last = NULL;
		free(f);
		frames++;
	}
	return frames;
}

struct mono
credit_oldest(const struct credit *c)
{
	struct mono oldest = mono_never();

	for (unsigned i = 0; c->records && i < LANES_MAX; i++) {
		const struct credit_frame *f = c->lanes[i].first;
		while (f && !f->records)
			f = f->next;
		if (f)
			oldest = mono_min(oldest, f->sent_at);
	}
	return oldest;
}
