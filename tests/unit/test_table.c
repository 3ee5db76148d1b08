/* What correlate keeps by key: entries, the due heap, the filter of known keys; and when a batch closes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mem.h"
#include "pipe.h"
#include "workers/correlate/batch.h"
#include "workers/correlate/due.h"
#include "workers/correlate/entries.h"
#include "workers/correlate/filter.h"

enum { KEYS = 20000, STEPS = 200000 };

static uint64_t
draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Keys with few different homes, so that runs collide, wrap around and are cut in the middle. */
static void
key_make(uint32_t i, uint8_t key[static STATE_KEY_BYTES])
{
	memset(key, 0, STATE_KEY_BYTES);
	uint32_t tag = i % 3 ? i * 2654435761u : UINT32_MAX - i % 7;
	memcpy(key, &tag, sizeof tag);
	memcpy(key + 12, &i, sizeof i);
}

static void
test_entries_against_a_plain_array(void **state)
{
	struct entries t;
	uint32_t *at = mem_alloc(KEYS * sizeof *at);
	uint8_t key[STATE_KEY_BYTES];
	uint64_t seed = 9;
	uint32_t alive = 0;

	(void)state;
	entries_init(&t);
	for (uint32_t i = 0; i < KEYS; i++)
		at[i] = ENTRY_NONE;
	for (unsigned step = 0; step < STEPS; step++) {
		/* Grows, then shrinks. */
		bool add = draw(&seed) % 100 < (step < STEPS / 2 ? 70 : 30);
		uint32_t i = (uint32_t)(draw(&seed) % KEYS);
		key_make(i, key);
		assert_int_equal(entries_find(&t, key), at[i]);
		if (add && at[i] == ENTRY_NONE) {
			at[i] = entries_add(&t, key);
			entries_at(&t, at[i])->kind = ENTRY_PROCESS;
			alive++;
		} else if (!add && at[i] != ENTRY_NONE) {
			entries_remove(&t, at[i]);
			at[i] = ENTRY_NONE;
			alive--;
		}
		assert_int_equal(t.n, alive);
	}
	for (uint32_t i = 0; i < KEYS; i++) {
		key_make(i, key);
		assert_int_equal(entries_find(&t, key), at[i]);
	}
	free(at);
	entries_free(&t);
}

static void
test_due_gives_the_earliest(void **state)
{
	struct entries t;
	struct due d = {0};
	int64_t *want = mem_alloc(KEYS * sizeof *want);
	uint8_t key[STATE_KEY_BYTES];
	uint64_t seed = 4;

	(void)state;
	entries_init(&t);
	for (uint32_t i = 0; i < KEYS; i++) {
		key_make(i, key);
		assert_int_equal(entries_add(&t, key), i);
		want[i] = INT64_MAX;
	}
	for (unsigned step = 0; step < 3 * KEYS; step++) {
		uint32_t i = (uint32_t)(draw(&seed) % KEYS);
		want[i] = draw(&seed) % 4 ? (int64_t)(draw(&seed) % 5000) : INT64_MAX;
		due_set(&d, &t, i, want[i]);
		assert_int_equal(due_at(&d, &t, i), want[i]);
	}
	int64_t last = INT64_MIN;
	for (int64_t clock = 0; clock <= 5000; clock += 50) {
		uint32_t i;
		while ((i = due_take(&d, &t, clock)) != ENTRY_NONE) {
			assert_true(want[i] <= clock && want[i] >= last);
			last = want[i];
			want[i] = INT64_MAX;
			assert_int_equal(due_at(&d, &t, i), INT64_MAX);
		}
	}
	for (uint32_t i = 0; i < KEYS; i++)
		assert_int_equal(want[i], INT64_MAX);
	assert_int_equal(d.n, 0);
	free(want);
	due_free(&d);
	entries_free(&t);
}

static void
random_key(uint64_t *seed, uint8_t key[static STATE_KEY_BYTES])
{
	for (unsigned i = 0; i < 2; i++)
		memcpy(key + 8 * i, &(uint64_t){draw(seed)}, 8);
}

static void
test_the_filter_forgets_nobody(void **state)
{
	struct filter f = {0};
	uint8_t key[STATE_KEY_BYTES];
	uint64_t seed = 11;
	unsigned wrong = 0;

	(void)state;
	random_key(&seed, key);
	assert_false(filter_may_have(&f, key));
	for (unsigned i = 0; i < 500000; i++) {
		random_key(&seed, key);
		filter_add(&f, key);
	}
	seed = 11;
	random_key(&seed, key);
	for (unsigned i = 0; i < 500000; i++) {
		random_key(&seed, key);
		assert_true(filter_may_have(&f, key));
	}
	for (unsigned i = 0; i < 100000; i++) {
		random_key(&seed, key);
		wrong += filter_may_have(&f, key);
	}
	assert_true(wrong < 100);
	filter_free(&f);
}

static void
test_piles_are_cut(void **state)
{
	struct pile p = {0};
	static uint8_t bytes[FRAME_BYTES_FLUSH + 100];
	size_t at, total = 0;
	uint32_t items = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		size_t n = i == 50 ? sizeof bytes : 10000 + i;
		memset(bytes, (int)i, n);
		buf_add(pile_begin(&p, &at), bytes, n);
		pile_end(&p, at);
		total += n;
	}
	assert_int_equal(p.items, 100);
	assert_int_equal(p.bytes, total);
	for (uint32_t i = 0; i < p.n; i++) {
		size_t n = pipe_body_bytes(&p.bodies[i].bytes);
		assert_true(n <= FRAME_BYTES_FLUSH || p.bodies[i].count == 1);
		assert_true(p.bodies[i].count);
		/* Each body begins with its first item, whole. */
		assert_int_equal(p.bodies[i].bytes.data[FRAME_HEAD_BYTES], items);
		items += p.bodies[i].count;
		total -= n;
	}
	assert_int_equal(items, 100);
	assert_int_equal(total, 0);
	pile_free(&p);
}

static void
test_when_a_batch_closes(void **state)
{
	struct limits limits = {.inflight_bytes_max = 6000,
				.batch_bytes_max = 5 * BATCH_ROW_BYTES,
				.batch_rows = 3,
				.batch_rows_behind = 4,
				.batch_delay_us = 250000,
				.batch_delay_behind_us = 30000000};
	struct batch_rules r;
	struct batch b = {.n = 1};
	struct mono now = {1000}, came = {900};

	(void)state;
	batch_rules_set(&r, &limits, 1, 2);
	assert_int_equal(r.input_max, 1000);
	assert_int_equal(batch_deadline(&b, &r, false).us, INT64_MAX);
	batch_open(&b, now, came);
	assert_int_equal(b.oldest.us, 900);
	assert_int_equal(batch_deadline(&b, &r, false).us, 1000 + BATCH_QUIET_MS * 1000);
	batch_changed(&b, 7);
	assert_int_equal(batch_deadline(&b, &r, false).us, 251000);
	/* Behind or not: the first of an epoch does not wait. */
	assert_int_equal(batch_deadline(&b, &r, true).us, 251000);
	b.n = 2;
	assert_int_equal(batch_deadline(&b, &r, true).us, 30001000);
	batch_input(&b, 0, 999);
	batch_input(&b, 1, 999);
	assert_false(batch_full(&b, &r, true));
	batch_input(&b, 1, 1);
	assert_true(batch_full(&b, &r, true));
	assert_int_equal(batch_deadline(&b, &r, true).us, 1000);
	b.input_bytes = 999;
	batch_changed(&b, 8);
	batch_changed(&b, 9);
	assert_true(batch_full(&b, &r, false));
	assert_false(batch_full(&b, &r, true));
	b.row_bytes = 900;
	assert_true(batch_full(&b, &r, true));
	b.row_bytes = 1;
	assert_false(batch_full(&b, &r, true));
	b.held_bytes = limits.batch_bytes_max;
	assert_true(batch_full(&b, &r, true));
	batch_next(&b);
	assert_int_equal(b.n, 3);
	assert_false(b.open);
	assert_false(batch_full(&b, &r, false));
	batch_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_entries_against_a_plain_array),
	    cmocka_unit_test(test_due_gives_the_earliest),
	    cmocka_unit_test(test_the_filter_forgets_nobody),
	    cmocka_unit_test(test_piles_are_cut),
	    cmocka_unit_test(test_when_a_batch_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
