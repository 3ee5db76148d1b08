#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "mem.h"

enum { KEYSET_SLOTS_MIN = 64 };

static uint32_t
slot_of(const struct keyset *k, int64_t key)
{
	/* Surrogate keys are hashes already, but the special members are not. */
	uint64_t h = (uint64_t)key * UINT64_C(0x9e3779b97f4a7c15);
	uint32_t i = (uint32_t)(h >> 32) & (k->slots_n - 1);

	while (k->slots[i] != 0 && k->slots[i] != key)
		i = (i + 1) & (k->slots_n - 1);
	return i;
}

static void
grow(struct keyset *k)
{
	struct keyset old = *k;

	k->slots_n = old.slots_n ? old.slots_n * 2 : KEYSET_SLOTS_MIN;
	k->slots = mem_zero(k->slots_n, sizeof(*k->slots));
	for (uint32_t i = 0; i < old.slots_n; i++)
		if (old.slots[i] != 0)
			k->slots[slot_of(k, old.slots[i])] = old.slots[i];
	free(old.slots);
}

void
keyset_add(struct keyset *k, int64_t key)
{
	if (key == 0) {
		k->zero = true;
		return;
	}
	if (k->used * 2 >= k->slots_n)
		grow(k);
	int64_t *slot = &k->slots[slot_of(k, key)];
	k->used += *slot == 0;
	*slot = key;
}

uint32_t
keyset_count(const struct keyset *k)
{
	return k->used + k->zero;
}

void
keyset_each(const struct keyset *k, void (*fn)(void *ctx, int64_t key), void *ctx)
{
	if (k->zero)
		fn(ctx, 0);
	for (uint32_t i = 0; i < k->slots_n; i++)
		if (k->slots[i] != 0)
			fn(ctx, k->slots[i]);
}

void
keyset_clear(struct keyset *k)
{
	if (k->used)
		memset(k->slots, 0, k->slots_n * sizeof(*k->slots));
	k->used = 0;
	k->zero = false;
}

void
keyset_free(struct keyset *k)
{
	free(k->slots);
	*k = (struct keyset){0};
}
