#include "filter.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

enum { FILTER_LINES = FILTER_BYTES / (FILTER_LINE_WORDS * sizeof(uint64_t)), BIT_BITS = 9 };

void
filter_free(struct filter *f)
{
	free(f->lines);
	*f = (struct filter){0};
}

/* The line from the middle of the key (entries.c uses its first bytes), the bits from its end. */
static size_t
line_of(const uint8_t key[static STATE_KEY_BYTES])
{
	uint32_t v;

	memcpy(&v, key + 4, sizeof v);
	return v % FILTER_LINES;
}

static uint64_t
bits_of(const uint8_t key[static STATE_KEY_BYTES])
{
	uint64_t v;

	memcpy(&v, key + 8, sizeof v);
	return v;
}

void
filter_add(struct filter *f, const uint8_t key[static STATE_KEY_BYTES])
{
	if (!f->lines)
		f->lines = mem_zero(FILTER_LINES, sizeof *f->lines);
	uint64_t *line = f->lines[line_of(key)];
	uint64_t bits = bits_of(key);

	for (unsigned i = 0; i < FILTER_BITS_PER_KEY; i++, bits >>= BIT_BITS)
		line[bits >> 6 & 7] |= UINT64_C(1) << (bits & 63);
	f->keys++;
}

bool
filter_may_have(const struct filter *f, const uint8_t key[static STATE_KEY_BYTES])
{
	if (!f->lines)
		return false;
	const uint64_t *line = f->lines[line_of(key)];
	uint64_t bits = bits_of(key);

	for (unsigned i = 0; i < FILTER_BITS_PER_KEY; i++, bits >>= BIT_BITS)
		if (!(line[bits >> 6 & 7] >> (bits & 63) & 1))
			return false;
	return true;
}
