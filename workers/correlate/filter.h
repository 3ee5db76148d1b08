/*
 * filter: which keys the database may know. A Bloom filter of fixed size, one cache line a key.
 * False positives cost a lookup; there are no false negatives, so a key that is not in a complete
 * filter is new.
 */
#ifndef WORKERS_CORRELATE_FILTER_H
#define WORKERS_CORRELATE_FILTER_H

#include "entries.h"

enum {
	FILTER_BYTES = 8 << 20, /* per shard: about 1 % false positives at 6 million keys */
	FILTER_LINE_WORDS = 8,
	FILTER_BITS_PER_KEY = 5,
};

struct filter {
	uint64_t (*lines)[FILTER_LINE_WORDS]; /* NULL until the first key */
	uint64_t keys;			      /* added, repetitions included */
};

void filter_free(struct filter *f);
void filter_add(struct filter *f, const uint8_t key[static STATE_KEY_BYTES]);
bool filter_may_have(const struct filter *f, const uint8_t key[static STATE_KEY_BYTES]);

#endif
