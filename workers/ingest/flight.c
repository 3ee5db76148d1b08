#include "flight.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

struct flight {
	struct flight *next; /* of its line */
	uint32_t partition;
	bool done;
	int64_t offset;
	size_t bytes;
	struct mono at;
};

void
flights_free(struct flights *f)
{
	for (uint32_t i = 0; i < f->lines_n; i++)
		for (struct flight *x = f->lines[i].first, *next; x; x = next) {
			next = x->next;
			free(x);
		}
	free(f->lines);
	*f = (struct flights){0};
}

static struct flight_line *
line_of(struct flights *f, uint32_t partition)
{
	if (partition >= f->lines_n) {
		uint32_t n = partition + 64;

		f->lines = mem_resize(f->lines, n, sizeof *f->lines);
		memset(f->lines + f->lines_n, 0, (n - f->lines_n) * sizeof *f->lines);
		f->lines_n = n;
	}
	return &f->lines[partition];
}

struct flight *
flight_add(struct flights *f, uint32_t partition, int64_t offset, size_t bytes, struct mono now)
{
	struct flight_line *line = line_of(f, partition);
	struct flight *x = mem_zero(1, sizeof *x);

	check(!line->last || line->last->offset < offset);
	*x = (struct flight){.partition = partition, .offset = offset, .bytes = bytes, .at = now};
	if (line->last)
		line->last->next = x;
	else
		line->first = x;
	line->last = x;
	f->n++;
	f->bytes += bytes;
	return x;
}

void
flight_done(struct flights *f, struct flight *x)
{
	struct flight_line *line = &f->lines[x->partition];

	check(!x->done && f->n);
	x->done = true;
	f->n--;
	f->bytes -= x->bytes;
	while (line->first && line->first->done) {
		struct flight *gone = line->first;

		line->first = gone->next;
		if (!line->first)
			line->last = NULL;
		free(gone);
	}
}

int64_t
flights_low(const struct flights *f, uint32_t partition, int64_t none)
{
	if (partition >= f->lines_n || !f->lines[partition].first)
		return none;
	return f->lines[partition].first->offset;
}

struct mono
flights_oldest(const struct flights *f)
{
	struct mono oldest = mono_never();

	for (uint32_t i = 0; f->n && i < f->lines_n; i++)
		if (f->lines[i].first)
			oldest = mono_min(oldest, f->lines[i].first->at);
	return oldest;
}
