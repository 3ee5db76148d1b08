/* An open-addressed set of rids: they are digests, so their own bytes are the hash. */
#include "fold.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

enum { IDENTITIES_MIN = 4 };

struct identities {
	uint32_t n, cap;	  /* cap: a power of two; at most three quarters are used */
	uint8_t rid[][RID_BYTES]; /* all zeros: free */
};

static const uint8_t nobody[RID_BYTES];

static uint32_t
home(const struct identities *x, const uint8_t rid[static RID_BYTES])
{
	uint32_t h;

	memcpy(&h, rid, sizeof h);
	return h & (x->cap - 1);
}

/* Slot of the rid, or the free one where it would go. */
static uint32_t
find(const struct identities *x, const uint8_t rid[static RID_BYTES])
{
	uint32_t i = home(x, rid);

	while (memcmp(x->rid[i], nobody, RID_BYTES) && memcmp(x->rid[i], rid, RID_BYTES))
		i = (i + 1) & (x->cap - 1);
	return i;
}

bool
identities_have(const struct identities *x, const uint8_t rid[static RID_BYTES])
{
	return x && !memcmp(x->rid[find(x, rid)], rid, RID_BYTES);
}

static size_t
bytes_of(uint32_t cap)
{
	return sizeof(struct identities) + (size_t)cap * RID_BYTES;
}

static struct identities *
grown(const struct identities *old, uint32_t cap)
{
	struct identities *x = mem_zero(1, bytes_of(cap));

	x->cap = cap;
	for (uint32_t i = 0; old && i < old->cap; i++)
		if (memcmp(old->rid[i], nobody, RID_BYTES))
			memcpy(x->rid[find(x, old->rid[i])], old->rid[i], RID_BYTES);
	x->n = old ? old->n : 0;
	return x;
}

void
identities_add(struct identities **x, const uint8_t rid[static RID_BYTES], uint64_t *heap)
{
	check(memcmp(rid, nobody, RID_BYTES));
	if (!*x || ((*x)->n + 1) * 4ull > (*x)->cap * 3ull) {
		uint32_t cap = *x ? (*x)->cap * 2 : IDENTITIES_MIN;
		struct identities *bigger = grown(*x, cap);
		*heap += *x ? bytes_of(cap) - bytes_of(cap / 2) : bytes_of(cap) + MALLOC_OVERHEAD;
		free(*x);
		*x = bigger;
	}
	memcpy((*x)->rid[find(*x, rid)], rid, RID_BYTES);
	(*x)->n++;
}

size_t
identities_growth(const struct identities *x)
{
	if (!x)
		return bytes_of(IDENTITIES_MIN) + MALLOC_OVERHEAD;
	return (x->n + 1) * 4ull > x->cap * 3ull ? bytes_of(x->cap * 2) - bytes_of(x->cap) : 0;
}

uint32_t
identities_count(const struct identities *x)
{
	return x ? x->n : 0;
}

static int
rid_compare(const void *a, const void *b)
{
	return memcmp(a, b, RID_BYTES);
}

void
identities_sorted(const struct identities *x, struct buf *out)
{
	size_t at = out->len;

	for (uint32_t i = 0; x && i < x->cap; i++)
		if (memcmp(x->rid[i], nobody, RID_BYTES))
			buf_add(out, x->rid[i], RID_BYTES);
	if (out->len > at)
		qsort(out->data + at, (out->len - at) / RID_BYTES, RID_BYTES, rid_compare);
}

void
identities_free(struct identities *x)
{
	free(x);
}
