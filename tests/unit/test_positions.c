/*
 * partitions, covers, credit, alignment: what ingest may say to a lane, and when. The rule under
 * test is that of DESIGN 3: a cover [from, to) leaves only when every event below `to` that belongs
 * to the lane has left with it or before it.
 */
#include "ingest/align.h"
#include "ingest/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mem.h"
#include "pack.h"

enum { LANES = 4, GROUPS = 128 };

/* What one lane has received, checked as correlate would. */
struct lane {
	int64_t to[8];	   /* by partition id: the last cover's end */
	int64_t record[8]; /* offset of the last record of the partition */
	unsigned frames, records;
	bool last, caught_up[8];
};

struct world {
	struct model model;
	struct source sources[2];
	struct parts parts;
	struct credit credit;
	struct route route;
	struct lane lanes[LANES];
	struct mono now;
};

static void
body_start(struct buf *b)
{
	buf_clear(b);
}

static size_t
body_bytes(const struct buf *b)
{
	return b->len;
}

/* Every record of a frame lies below the cover of its partition in the same frame. */
static void
frame_check(void *ctx, unsigned lane, uint16_t flags, uint32_t count, struct buf *body)
{
	struct world *w = ctx;
	struct lane *l = &w->lanes[lane];
	struct pack_reader r = {0};
	struct value fields[FIELDS_MAX];
	struct cover *covers;
	uint32_t n;

	assert_false(l->last);
	pack_reader_start(&r, body->data, body->len);
	for (uint32_t i = 0; i < count; i++) {
		struct record rec = {.fields = fields};

		assert_true(wire_record_read(&r, &rec));
		assert_int_equal(w->parts.lane_of[rec.kg], lane);
		assert_true(rec.offset > l->record[rec.partition]);
		assert_true(rec.offset >= l->to[rec.partition]);
		l->record[rec.partition] = rec.offset;
		l->records++;
	}
	assert_true(wire_covers_read(&r, &covers, &n));
	assert_true(pack_reader_end(&r));
	for (uint32_t i = 0; i < n; i++) {
		unsigned id = covers[i].partition;

		assert_int_equal(covers[i].from, l->to[id]);
		assert_true(covers[i].to >= covers[i].from);
		l->to[id] = covers[i].to;
		l->caught_up[id] = covers[i].caught_up;
	}
	for (unsigned id = 0; id < 8; id++)
		assert_true(l->record[id] < l->to[id] || l->record[id] < 0);
	free(covers);
	l->frames++;
	l->last = flags & FRAME_LAST;
	pack_reader_free(&r);
	buf_free(body);
}

static void
own_lane(struct world *w, unsigned lane, const struct partition *partitions, uint32_t partitions_n,
	 struct position *positions, uint32_t positions_n)
{
	struct own_range range = {.kg_lo = lane * GROUPS / LANES,
				  .kg_hi = (lane + 1) * GROUPS / LANES - 1,
				  .positions = positions,
				  .positions_n = positions_n};
	struct partition copy[8];
	struct own o = {.shard = lane, .epoch = 7 + lane, .ranges = &range, .ranges_n = 1};
	struct err e;

	if (partitions_n)
		memcpy(copy, partitions, partitions_n * sizeof *copy);
	o.partitions = copy;
	o.partitions_n = partitions_n;
	assert_true(parts_own(&w->parts, lane, &o, &e));
}

static int
setup(void **state)
{
	struct world *w = mem_zero(1, sizeof *w);
	const struct route_out out = {w, frame_check, body_start, body_bytes};

	w->model = (struct model){.sources = w->sources, .sources_n = 2, .groups = GROUPS};
	parts_init(&w->parts, &w->model, LANES);
	w->credit.limit_bytes = 1 << 20;
	route_init(&w->route, &out, &w->parts, &w->credit);
	w->now = (struct mono){1000000};
	for (unsigned i = 0; i < LANES; i++)
		memset(w->lanes[i].record, -1, sizeof w->lanes[i].record);
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	route_free(&w->route);
	credit_free(&w->credit);
	parts_free(&w->parts);
	free(w);
	return 0;
}

static struct ingest_partition *
found(struct world *w, unsigned source, unsigned slot, const char *label)
{
	struct source_found f = {.slot = slot, .label = label, .label_len = strlen(label)};
	struct ingest_partition *part;
	struct err e;

	assert_true(parts_found(&w->parts, source, "src", &f, 0, 1, &part, &e));
	return part;
}

static struct ingest_partition *
named(struct world *w, unsigned source, const char *label, uint32_t id)
{
	struct partition p = {.id = id,
			      .source = (uint16_t)source,
			      .label = label,
			      .label_len = (uint32_t)strlen(label)};
	struct ingest_partition *part;
	struct err e;

	assert_true(parts_named(&w->parts, &p, &part, &e));
	return part;
}

/* A partition with an id, being read from the beginning. */
static struct ingest_partition *
reading(struct world *w, unsigned slot, const char *label, uint32_t id)
{
	struct ingest_partition *part = found(w, 0, slot, label);

	assert_int_equal(part->state, PART_WANTED);
	part->state = PART_ASKED;
	assert_ptr_equal(named(w, 0, label, id), part);
	parts_start(&w->parts, part, part_start_position(&w->parts, part, false), w->now);
	return part;
}

static void
own_all(struct world *w)
{
	for (unsigned i = 0; i < LANES; i++)
		own_lane(w, i, NULL, 0, NULL, 0);
	assert_true(parts_owned(&w->parts));
}

static void
event(struct world *w, struct ingest_partition *part, int64_t offset, uint32_t kg)
{
	struct record r = {
	    .partition = part->id, .offset = offset, .kg = kg, .key = "k", .key_len = 1};
	unsigned lane = route_record(&w->route, &r, w->now);

	part_routed(part, offset, w->now);
	route_spill(&w->route, lane, w->now);
}

static void
frontier(struct ingest_partition *part, int64_t next, bool caught_up, struct mono now)
{
	struct source_frontier f = {.next = next, .caught_up = caught_up};

	part_frontier(part, &f, now);
}

static void
test_covers_hold_under_any_mixture(void **state)
{
	struct world *w = *state;
	struct ingest_partition *p[3];
	int64_t offset[3] = {0};
	uint32_t seed = 12345;
	unsigned events = 0;

	own_all(w);
	p[0] = reading(w, 0, "a", 1);
	p[1] = reading(w, 1, "b", 2);
	p[2] = reading(w, 2, "c", 3);
	for (int i = 0; i < 200000; i++) {
		seed = seed * 1664525 + 1013904223;
		unsigned k = (seed >> 8) % 3;
		switch ((seed >> 16) % 64) {
		case 0:
			w->now = mono_add_ms(w->now, seed >> 24);
			route_flush(&w->route, w->now, false);
			break;
		case 1:
			offset[k] += 3; /* a hole: compacted away, or a control record */
			frontier(p[k], offset[k], true, w->now);
			break;
		default:
			event(w, p[k], offset[k]++, (seed >> 10) % GROUPS);
			events++;
		}
	}
	route_last(&w->route, w->now);
	unsigned records = 0;
	for (unsigned i = 0; i < LANES; i++) {
		records += w->lanes[i].records;
		assert_true(w->lanes[i].last);
		for (unsigned k = 0; k < 3; k++)
			assert_int_equal(w->lanes[i].to[p[k]->id], p[k]->next);
	}
	assert_int_equal(records, events);
	assert_int_equal(route_queued(&w->route), 0);
}

static void
test_flush_rule(void **state)
{
	struct world *w = *state;

	own_all(w);
	struct ingest_partition *p = reading(w, 0, "a", 1);
	route_flush(&w->route, w->now, false);
	assert_int_equal(w->lanes[0].frames, 0); /* nothing moved */
	event(w, p, 0, 0);
	struct mono next = route_flush(&w->route, w->now, false);
	assert_int_equal(w->lanes[0].frames, 0);
	assert_true(next.us <= mono_add_ms(w->now, ROUTE_DELAY_MS).us);
	w->now = mono_add_ms(w->now, ROUTE_DELAY_MS);
	route_flush(&w->route, w->now, false);
	assert_int_equal(w->lanes[0].frames, 1);
	/* The other lanes have no record, but the frontier moved for them too. */
	w->now = mono_add_ms(w->now, ROUTE_QUIET_MS);
	next = route_flush(&w->route, w->now, false);
	for (unsigned i = 1; i < LANES; i++)
		assert_int_equal(w->lanes[i].frames, 1);
	assert_int_equal(w->lanes[0].frames, 1);
	assert_true(next.us == mono_never().us);
	/* A flag alone is told too, quietly. */
	frontier(p, 1, true, w->now);
	w->now = mono_add_ms(w->now, ROUTE_QUIET_MS);
	route_flush(&w->route, w->now, false);
	for (unsigned i = 0; i < LANES; i++) {
		assert_int_equal(w->lanes[i].frames, 2);
		assert_true(w->lanes[i].caught_up[1]);
	}
	/* A full buffer does not wait. */
	for (int i = 1; w->lanes[2].frames == 2; i++) {
		assert_true(i < 100000);
		event(w, p, i, 2 * GROUPS / LANES);
	}
}

static void
committed(struct world *w, unsigned lane, uint32_t id, int64_t next)
{
	struct position pos = {id, next};
	struct committed c = {.shard = lane, .positions = &pos, .positions_n = 1};
	struct err e;

	assert_true(parts_committed(&w->parts, lane, &c, &e));
	credit_settle(&w->credit, lane, &w->parts);
}

static void
test_credit_is_paid_back_by_commits(void **state)
{
	struct world *w = *state;

	own_all(w);
	struct ingest_partition *p = reading(w, 0, "a", 1);
	assert_true(credit_oldest(&w->credit).us == mono_never().us);
	for (int i = 0; i < 100; i++)
		event(w, p, i, 5); /* lane 0 */
	route_flush(&w->route, w->now, true);
	uint64_t all = w->credit.used_bytes;
	assert_true(all > 100);
	assert_true(credit_oldest(&w->credit).us == w->now.us);
	int64_t sent_us = w->now.us;
	frontier(p, 100, true, w->now);
	w->now = mono_add_ms(w->now, ROUTE_QUIET_MS);
	route_flush(&w->route, w->now, true); /* a flag, no record */
	all = w->credit.used_bytes;
	assert_true(credit_oldest(&w->credit).us == sent_us);
	committed(w, 0, 1, 50);
	assert_int_equal(w->credit.used_bytes, all);
	committed(w, 0, 1, 100);
	assert_true(credit_oldest(&w->credit).us == mono_never().us); /* the lanes' covers alone */
	assert_true(w->credit.used_bytes < all && w->credit.used_bytes > 0);
	assert_int_equal(part_committed_min(&w->parts, p), 0); /* three lanes are behind */
	for (unsigned i = 1; i < LANES; i++)
		committed(w, i, 1, 100);
	assert_int_equal(w->credit.used_bytes, 0);
	assert_int_equal(part_committed_min(&w->parts, p), 100);
	committed(w, 1, 1, 40); /* an older one comes late: nothing falls back */
	assert_int_equal(part_committed_min(&w->parts, p), 100);
	w->credit.limit_bytes = 10;
	event(w, p, 100, 5);
	route_flush(&w->route, w->now, true);
	assert_false(credit_left(&w->credit));
}

static void
test_commit_beyond_what_was_sent_is_a_breach(void **state)
{
	struct world *w = *state;
	struct position pos = {1, 5};
	struct committed c = {.shard = 2, .positions = &pos, .positions_n = 1};
	struct err e;

	own_all(w);
	reading(w, 0, "a", 1);
	assert_false(parts_committed(&w->parts, 2, &c, &e));
	pos.partition = 99; /* another ingest's */
	assert_true(parts_committed(&w->parts, 2, &c, &e));
}

static void
test_start_is_the_minimum_over_all_ranges(void **state)
{
	static const struct partition known[] = {
	    {.id = 1, .source = 0, .label = "a", .label_len = 1},
	    {.id = 2, .source = 0, .label = "b", .label_len = 1},
	    {.id = 3, .source = 1, .label = "a", .label_len = 1},
	    {.id = 4,
	     .source = 0,
	     .label = "d",
	     .label_len = 1,
	     .done = true,
	     .next = 9,
	     .bytes = 90},
	};
	struct world *w = *state;

	for (unsigned i = 0; i < LANES; i++) {
		struct position pos[] = {{1, 40 + 10 * i}, {3, 7}, {2, 5}};
		own_lane(w, i, known, 4, pos, i == 3 ? 2 : 3);
	}
	struct ingest_partition *a = found(w, 0, 0, "a"), *b = found(w, 0, 1, "b"),
				*c = found(w, 1, 0, "a"), *d = found(w, 0, 2, "d");
	assert_int_equal(a->id, 1);
	assert_int_equal(a->state, PART_READY);
	assert_true(a->was_known);
	assert_int_equal(part_start_position(&w->parts, a, false), 40);
	/*
	 * One range has nothing of it: from the beginning; at the latest, the least that others
	 * have.
	 */
	assert_int_equal(part_start_position(&w->parts, b, false), SOURCE_POSITION_NONE);
	assert_int_equal(part_start_position(&w->parts, b, true), 5);
	assert_int_equal(c->id, 3);
	assert_int_equal(part_start_position(&w->parts, c, false), 7);
	assert_int_equal(d->state, PART_DONE);
	assert_int_equal(d->done_bytes, 90);
	parts_start(&w->parts, a, 40, w->now);
	committed(w, 3, 1,
		  70); /* where lane 3 stood at take-over: no breach, though nothing was sent */
	assert_int_equal(part_committed_min(&w->parts, a), 40);
}

/* OWN leaves out what is done: there may be any number of such files. */
static void
test_an_id_may_come_with_done(void **state)
{
	struct world *w = *state;
	struct partition p = {
	    .id = 9, .label = "a", .label_len = 1, .done = true, .next = 40, .bytes = 90};
	struct err e;

	own_all(w);
	struct ingest_partition *a = found(w, 0, 0, "a"), *named_one;
	assert_int_equal(a->state, PART_WANTED);
	a->state = PART_ASKED;
	assert_true(parts_named(&w->parts, &p, &named_one, &e));
	assert_ptr_equal(named_one, a);
	assert_int_equal(a->state, PART_DONE);
	assert_true(a->was_known);
	assert_int_equal(a->done_next, 40);
	assert_int_equal(a->done_bytes, 90);
	assert_int_equal(w->parts.reading_n, 0);
}

static void
test_own_is_checked(void **state)
{
	struct world *w = *state;
	struct position pos = {5, 1};
	struct own_range r = {.kg_lo = 0, .kg_hi = GROUPS / 2};
	struct own o = {.shard = 0, .ranges = &r, .ranges_n = 1};
	struct err e;

	assert_true(parts_own(&w->parts, 0, &o, &e));
	assert_false(parts_own(&w->parts, 0, &o, &e)); /* twice */
	o.shard = 1;
	assert_false(parts_own(&w->parts, 1, &o, &e)); /* a key group of lane 0 */
	o.hash_key[0] = 1;
	assert_false(parts_own(&w->parts, 1, &o, &e)); /* another hash key */
	o.hash_key[0] = 0;
	r = (struct own_range){.kg_lo = 100, .kg_hi = GROUPS};
	assert_false(parts_own(&w->parts, 1, &o, &e)); /* no such key group */
	r = (struct own_range){.kg_lo = 100, .kg_hi = 101, .positions = &pos, .positions_n = 1};
	assert_false(parts_own(&w->parts, 1, &o, &e)); /* position of nobody */
	assert_false(parts_owned(&w->parts));
}

static void
test_partitions_are_divided(void **state)
{
	struct world *w = *state;
	unsigned mine[3] = {0};
	char label[32];
	struct err e;

	own_all(w);
	for (unsigned i = 0; i < 3000; i++) {
		struct source_found f = {.slot = i, .label = label};
		struct ingest_partition *part;
		unsigned readers = 0;

		snprintf(label, sizeof label, "topic/%u", i);
		f.label_len = strlen(label);
		for (unsigned k = 0; k < 3; k++) {
			struct parts other;
			struct own o = {.ranges_n = 1};
			struct own_range r = {.kg_hi = GROUPS - 1};

			o.ranges = &r;
			parts_init(&other, &w->model, 1);
			assert_true(parts_own(&other, 0, &o, &e));
			assert_true(parts_found(&other, 0, "src", &f, k, 3, &part, &e));
			readers += part->state == PART_WANTED;
			mine[k] += part->state == PART_WANTED;
			parts_free(&other);
		}
		assert_int_equal(readers, 1);
	}
	for (unsigned k = 0; k < 3; k++)
		assert_in_range(mine[k], 700, 1300);
}

static void
test_many_partitions(void **state)
{
	struct world *w = *state;
	char label[32];

	own_all(w);
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(label, sizeof label, "file%u", i);
		found(w, 0, i, label);
	}
	for (unsigned i = 5000; i--;) {
		snprintf(label, sizeof label, "file%u", i);
		assert_non_null(named(w, 0, label, i + 1));
	}
	for (unsigned i = 0; i < 5000; i++) {
		assert_int_equal(parts_id(&w->parts, i + 1)->slot, i);
		assert_ptr_equal(parts_slot(&w->parts, 0, i), parts_id(&w->parts, i + 1));
	}
	assert_null(parts_slot(&w->parts, 0, 1000000));
	assert_null(parts_slot(&w->parts, 1, 0));
	assert_null(parts_id(&w->parts, 0));
	assert_null(named(w, 0, "nobody asked", 9999));
}

static void
test_transient_covers_begin_at_ticket_one(void **state)
{
	struct world *w = *state;
	struct source_found f = {.kind = PARTITION_TRANSIENT, .label = "q", .label_len = 1};
	struct ingest_partition *part;
	struct err e;

	own_all(w);
	assert_true(parts_found(&w->parts, 0, "src", &f, 0, 1, &part, &e));
	named(w, 0, "q", 1);
	parts_start(&w->parts, part, part_start_position(&w->parts, part, false), w->now);
	assert_int_equal(part->next, 1);
	for (unsigned i = 0; i < LANES; i++)
		w->lanes[i].to[1] = 1;
	event(w, part, 1, 3);
	route_flush(&w->route, w->now, true);
	assert_int_equal(w->lanes[0].to[1], 2);
}

#define DAY INT64_C(86400000000)

static unsigned
decide(struct world *w, bool trouble)
{
	const bool troubles[2] = {trouble, false}, timed[2] = {true, true};

	return align_decide(&w->parts, troubles, timed, DAY, w->now);
}

static void
test_align_holds_back_the_leaders(void **state)
{
	struct world *w = *state;

	own_all(w);
	struct ingest_partition *slow = reading(w, 0, "a", 1), *fast = reading(w, 1, "b", 2);
	part_time(slow, 10 * DAY);
	part_time(fast, 11 * DAY);
	assert_int_equal(decide(w, false), 0);
	part_time(fast, 11 * DAY + 1);
	assert_int_equal(decide(w, false), 1);
	assert_true(fast->aligned && !slow->aligned);
	part_time(slow, 10 * DAY + DAY / 8); /* not enough to let go */
	slow->moved_at = w->now;
	decide(w, false);
	assert_true(fast->aligned);
	part_time(slow, 10 * DAY + DAY / 2);
	decide(w, false);
	assert_false(fast->aligned);
}

static void
test_align_never_stalls(void **state)
{
	struct world *w = *state;

	own_all(w);
	struct ingest_partition *slow = reading(w, 0, "a", 1), *fast = reading(w, 1, "b", 2);
	part_time(fast, 100 * DAY);
	decide(w, false);
	assert_true(fast->aligned); /* the other has not shown its time yet */
	w->now = mono_add_ms(w->now, ALIGN_PATIENCE_MS);
	decide(w, false);
	assert_false(fast->aligned); /* and does not come */
	part_time(slow, 1 * DAY);
	part_routed(slow, 0, w->now);
	decide(w, false);
	assert_true(fast->aligned);
	decide(w, true); /* its source is in trouble; it is the other's too here */
	assert_false(fast->aligned);
	decide(w, false);
	assert_true(fast->aligned);
	frontier(slow, 1, true, w->now);
	decide(w, false);
	assert_false(fast->aligned); /* caught up: not slow, it just has nothing */
	slow->caught_up = false;
	decide(w, false);
	assert_true(fast->aligned);
	slow->finished = true;
	decide(w, false);
	assert_false(fast->aligned);
	/* Whatever the times are, somebody reads. */
	slow->finished = false;
	for (uint32_t i = 0; i < 1000; i++) {
		part_time(i % 3 ? slow : fast, (int64_t)(i * 2654435761u % 400) * DAY);
		slow->moved_at = fast->moved_at = w->now;
		decide(w, false);
		assert_false(slow->aligned && fast->aligned);
	}
}

static void
test_done_leaves_the_covers(void **state)
{
	struct world *w = *state;

	own_all(w);
	struct ingest_partition *p = reading(w, 0, "a", 1), *q = reading(w, 1, "b", 2);
	event(w, p, 0, 1);
	event(w, q, 0, 1);
	route_flush(&w->route, w->now, true);
	parts_finish(&w->parts, p);
	assert_int_equal(w->parts.reading_n, 1);
	for (unsigned i = 0; i < LANES; i++)
		committed(w, i, 1, 1); /* an answer that was on its way harms nobody */
	event(w, q, 1, 1);
	route_last(&w->route, w->now);
	assert_int_equal(w->lanes[0].to[2], 2);
}

/* Read in an earlier run and not found any more: one cover says so, and it holds nothing back. */
static void
test_absent_is_told_once(void **state)
{
	struct world *w = *state;
	struct partition known[] = {{.id = 1, .label = "a", .label_len = 1},
				    {.id = 2, .label = "b", .label_len = 1},
				    {.id = 3, .source = 1, .label = "c", .label_len = 1},
				    {.id = 4, .label = "d", .label_len = 1, .done = true}};
	const struct absent_setup is = {.label = "src", .ingests = 1, .bounded = true};

	for (unsigned i = 0; i < LANES; i++) {
		struct position at[] = {{1, 50}, {2, 40 + i}};
		own_lane(w, i, known, 4, at, 2);
		w->lanes[i].to[1] = 50;
		w->lanes[i].to[2] = 40;
	}
	parts_start(&w->parts, found(w, 0, 0, "a"), 50, w->now);
	/* "c" is of another source, "d" is done. */
	assert_int_equal(parts_absent(&w->parts, 0, &is, w->now), 1);
	assert_int_equal(parts_absent(&w->parts, 0, &is, w->now), 0);
	parts_absent_told(&w->parts);
	assert_int_equal(w->parts.reading_n, 2);
	assert_true(parts_id(&w->parts, 2)->finished);
	route_flush(&w->route, w->now, true);
	for (unsigned i = 0; i < LANES; i++) {
		assert_true(w->lanes[i].caught_up[2]);
		assert_int_equal(w->lanes[i].to[2], 40);
		assert_int_equal(w->lanes[i].frames, 1);
	}
	committed(w, 0, 2, 43); /* what the lane had of it already is no breach */
	parts_absent_told(&w->parts);
	assert_int_equal(w->parts.reading_n, 1);
	/* It comes after all: it is read from where covers ended. */
	struct ingest_partition *p = found(w, 0, 1, "b");
	assert_int_equal(p->state, PART_READY);
	int64_t at = part_start_position(&w->parts, p, false);
	assert_int_equal(at, 40);
	parts_start(&w->parts, p, at, w->now);
	event(w, p, 40, 1);
	route_last(&w->route, w->now);
	assert_int_equal(w->lanes[3].to[2], 41);
	assert_false(w->lanes[3].caught_up[2]);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	static const struct CMUnitTest tests[] = {
	    T(test_covers_hold_under_any_mixture),
	    T(test_flush_rule),
	    T(test_credit_is_paid_back_by_commits),
	    T(test_commit_beyond_what_was_sent_is_a_breach),
	    T(test_start_is_the_minimum_over_all_ranges),
	    T(test_an_id_may_come_with_done),
	    T(test_own_is_checked),
	    T(test_partitions_are_divided),
	    T(test_many_partitions),
	    T(test_transient_covers_begin_at_ticket_one),
	    T(test_align_holds_back_the_leaders),
	    T(test_align_never_stalls),
	    T(test_done_leaves_the_covers),
	    T(test_absent_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
