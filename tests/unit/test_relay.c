/* The relay between a stubbed exchange and lanes that are this test: real pipes, frames by hand. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "keyhash.h"
#include "mem.h"
#include "relay/relay.h"

enum { GROUPS = 12, LANES = 2, WAIT_MS = 5000, EXCHANGE = 1, LATE_MS = 10000 };

static const uint32_t owned[] = {1, 3, 5, 7, 9}; /* lanes: 1 3 5 | 7 9 */

/* What the modules under test call, and what it was. */
static struct {
	int64_t started[GROUPS], told[GROUPS];
	bool caught_up, paused[GROUPS];
	int64_t waits_us[GROUPS];
} seen;

void
member_committed(struct member *m, uint32_t partition, int64_t next)
{
	(void)m;
	seen.told[partition] = next;
}

static bool
driver_start(void *self, unsigned slot, int64_t next, struct err *e)
{
	(void)self, (void)e;
	seen.started[slot] = next;
	return true;
}

static void
driver_frontier(void *self, unsigned slot, struct source_frontier *out)
{
	(void)self;
	*out = (struct source_frontier){.next = seen.started[slot],
					.caught_up = seen.caught_up && !seen.waits_us[slot],
					.waits_us = seen.waits_us[slot]};
}

static void
driver_pause(void *self, unsigned slot, bool paused)
{
	(void)self;
	seen.paused[slot] = paused;
}

static const struct source_kind_ops driver = {
    .start = driver_start, .frontier = driver_frontier, .pause = driver_pause};

static char topic[] = "weir.loans", directory[] = "/tmp/weir-relay-XXXXXX";
static struct field fields[] = {{.name = {"n"}, .type = VALUE_INTEGER, .class = -1}};
static const struct source calls = {
    .name = {"calls"}, .kind = SOURCE_KAFKA, .fields = fields, .fields_n = 1};

struct world {
	struct model m;
	struct source sources[2];
	struct worker w;
	struct relay r;
	struct pipes *lanes[LANES];
	struct metric_page *page;
	struct mono now;
};

static struct pipes *
pipes_of(enum role role, unsigned index)
{
	struct pipes_setup setup = {
	    .dir = directory, .role = role, .index = index, .generation = 1};
	struct pipes *p = NULL;
	struct err e;

	setup.count[ROLE_RELAY] = 1;
	setup.count[ROLE_CORRELATE] = setup.count[ROLE_TRANSFORM] = setup.count[ROLE_LOAD] = LANES;
	assert_true(pipes_open(&setup, &p, &e));
	return p;
}

static int
open_world(void **state)
{
	struct world *t = mem_zero(1, sizeof *t);
	struct err e;

	memset(&seen, 0, sizeof seen);
	memset(seen.started, 0xff, sizeof seen.started);
	assert_non_null(mkdtemp(directory));
	t->sources[0] = calls;
	t->sources[1] = (struct source){.name = {SOURCE_EXCHANGE_NAME}, .kind = SOURCE_EXCHANGE};
	t->m = (struct model){
	    .groups = GROUPS, .sources = t->sources, .sources_n = 2, .exchange = {.topic = topic}};
	t->page = mem_zero(1, sizeof *t->page);
	t->w.page = t->page;
	t->r = (struct relay){.w = &t->w,
			      .m = &t->m,
			      .exchange = EXCHANGE,
			      .lanes = LANES,
			      .ops = &driver,
			      .source = {.topic = topic},
			      .limit_bytes = 1 << 20,
			      .flush_bytes = 1 << 20};
	t->r.groups = mem_zero(GROUPS, sizeof *t->r.groups);
	for (unsigned i = 0; i < GROUPS; i++)
		t->r.groups[i].found = true;
	labels_init(&t->r.labels);
	t->now = mono_now();
	for (unsigned i = 0; i < LANES; i++)
		t->lanes[i] = pipes_of(ROLE_CORRELATE, i);
	t->w.pipes = pipes_of(ROLE_RELAY, 0);
	assert_true(pipes_connect(t->w.pipes, &e));
	*state = t;
	return 0;
}

static int
close_world(void **state)
{
	struct world *t = *state;
	char command[sizeof directory + 16];

	records_free(&t->r);
	groups_free(&t->r);
	labels_free(&t->r.labels);
	pack_reader_free(&t->r.reader);
	pipes_close(t->w.pipes);
	for (unsigned i = 0; i < LANES; i++)
		pipes_close(t->lanes[i]);
	free(t->page);
	free(t);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	memcpy(strrchr(directory, '-') + 1, "XXXXXX", 6);
	return system(command);
}

/* The next frame to the lane, of this type. */
static struct frame
taken(struct world *t, unsigned lane, enum frame_type type)
{
	struct frame f;
	struct err e;

	while (pipe_recv(t->lanes[lane], &f, &e) != PIPE_FRAME)
		assert_true(pipes_wait(t->lanes[lane], NULL, 0, WAIT_MS));
	assert_int_equal(f.head.type, type);
	return f;
}

static void
assert_claim(struct world *t, unsigned lane, const uint16_t *want, unsigned n)
{
	struct frame f = taken(t, lane, FRAME_CLAIM);
	struct pack_reader r = {0};
	struct claim c;

	pack_reader_start(&r, f.body, f.head.bytes);
	assert_true(wire_claim_read(&r, &c) && pack_reader_end(&r));
	assert_int_equal(c.groups_n, n);
	assert_memory_equal(c.groups, want, n * sizeof *want);
	claim_free(&c);
	frame_release(&f);
	pack_reader_free(&r);
}

/* Both lanes own what they were given; group 1 has been read up to 40, the others are new. */
static void
own_all(struct world *t)
{
	struct partition known[] = {
	    {.id = 7, .source = 1, .label = "weir.loans/1", .label_len = 12, .number = 1},
	    {.id = 8, .source = 0, .label = "calls/0", .label_len = 7}};
	struct position at[] = {{7, 40}, {8, 1000}};
	struct own_range first[] = {{1, 1, at, 2}, {3, 3, NULL, 0}, {5, 5, NULL, 0}};
	struct own_range second[] = {{7, 7, NULL, 0}, {9, 9, NULL, 0}};
	struct own a = {.partitions = known, .partitions_n = 2, .ranges = first, .ranges_n = 3};
	struct own b = {.shard = 1, .ranges = second, .ranges_n = 2};
	struct err e;

	groups_claim(&t->r, owned, 5);
	for (unsigned i = 0; i < LANES; i++) {
		struct frame f = taken(t, i, FRAME_CLAIM);
		frame_release(&f);
	}
	assert_true(groups_own(&t->r, 0, &a, &e) && groups_own(&t->r, 1, &b, &e));
	assert_int_equal(t->r.lanes_own, LANES);
}

static void
name(struct world *t, uint32_t id, uint16_t source, const char *label)
{
	struct partition w = {
	    .id = id, .source = source, .label = label, .label_len = (uint32_t)strlen(label)};
	struct buf b = {0};
	struct err e;

	if (source == EXCHANGE)
		w.number = (uint32_t)atol(strchr(label, '/') + 1);
	wire_partition_write(&b, &w);
	struct frame f = {.head = {.type = FRAME_PART, .count = 1, .bytes = (uint32_t)b.len},
			  .from = ROLE_LOAD,
			  .body = (const uint8_t *)b.data};
	assert_true(labels_part(&t->r, &f, &e));
	buf_free(&b);
}

static void
name_groups(struct world *t)
{
	struct err e;

	name(t, 20, EXCHANGE, "weir.loans/3");
	name(t, 21, EXCHANGE, "weir.loans/5");
	name(t, 22, EXCHANGE, "weir.loans/7");
	name(t, 23, EXCHANGE, "weir.loans/9");
	assert_true(groups_start(&t->r, &e));
}

struct posted {
	struct buf bytes;
	struct source_event ev;
};

/* A key of that group, as the lanes hash: OWN has told no other hash key than zeros. */
static void
key_of(unsigned kg, char key[static 16])
{
	static const uint8_t hash_key[HASH_KEY_BYTES];

	for (unsigned n = 0;; n++) {
		snprintf(key, 16, "k%u", n);
		if (keyhash_group(keyhash64(hash_key, key, strlen(key)), GROUPS) == kg)
			return;
	}
}

static struct posted
post(unsigned kg, int64_t offset, const char *label, int64_t from)
{
	char key[16];
	key_of(kg, key);
	struct value v = {.type = VALUE_INTEGER, .integer = from};
	struct record rec = {.kg = kg,
			     .offset = from,
			     .key = key,
			     .key_len = (uint32_t)strlen(key),
			     .has_time = true,
			     .time_us = from * 10,
			     .fields = &v,
			     .fields_n = 1};
	struct posted p = {.bytes = {0}};

	wire_record_write(&p.bytes, &rec);
	p.ev = (struct source_event){.slot = kg,
				     .offset = offset,
				     .data = (const char *)p.bytes.data,
				     .len = p.bytes.len,
				     .from_source = "calls",
				     .from_source_len = 5,
				     .from_label = label,
				     .from_label_len = strlen(label),
				     .from_offset = from,
				     .from_before = -1,
				     .from_layout = wire_layout(&calls)};
	return p;
}

static void
take(struct world *t, unsigned kg, int64_t offset, const char *label, int64_t from)
{
	struct posted p = post(kg, offset, label, from);
	struct err e;

	assert_true(record_take(&t->r, &p.ev, t->now, &e));
	buf_free(&p.bytes);
}

static void
claims_are_divided(void **state)
{
	struct world *t = *state;

	groups_claim(&t->r, owned, 5);
	assert_claim(t, 0, (const uint16_t[]){1, 3, 5}, 3);
	assert_claim(t, 1, (const uint16_t[]){7, 9}, 2);
}

static void
a_replica_without_groups_claims_none(void **state)
{
	struct world *t = *state;

	groups_claim(&t->r, owned, 0);
	assert_claim(t, 0, NULL, 0);
	assert_claim(t, 1, NULL, 0);
}

static void
reading_begins_where_own_says(void **state)
{
	struct world *t = *state;
	struct err e;

	own_all(t);
	assert_true(groups_start(&t->r, &e));
	assert_int_equal(seen.started[1], 40);
	assert_int_equal(seen.started[3], -1); /* its id is not known yet */
	labels_ask(&t->r);
	struct frame f = taken(t, 0, FRAME_ASK);
	assert_int_equal(f.head.count, 4);
	frame_release(&f);
	name_groups(t);
	for (unsigned i = 1; i < 5; i++)
		assert_int_equal(seen.started[owned[i]], 0);
}

static void
what_was_not_claimed_is_not_owned(void **state)
{
	struct world *t = *state;
	struct own_range wrong[] = {{1, 2, NULL, 0}}, some[] = {{1, 1, NULL, 0}};
	struct own o = {.ranges = wrong, .ranges_n = 1};
	struct err e;

	assert_false(groups_own(&t->r, 0, &o, &e)); /* before CLAIM */
	groups_claim(&t->r, owned, 5);
	assert_false(groups_own(&t->r, 0, &o, &e));
	o.ranges = some;
	assert_false(groups_own(&t->r, 1, &o, &e)); /* the other lane's */
}

static void
less_than_claimed_is_refused(void **state)
{
	struct world *t = *state;
	struct own_range some[] = {{1, 1, NULL, 0}};
	struct own o = {.ranges = some, .ranges_n = 1};
	struct err e;

	groups_claim(&t->r, owned, 5);
	assert_false(groups_own(&t->r, 0, &o, &e));
}

/* DATA to the lane: offsets and partitions of its records, and its covers. */
static void
assert_data(struct world *t, unsigned lane, const int64_t *offsets, const uint32_t *ids, unsigned n,
	    const struct cover *want, uint32_t want_n)
{
	struct frame f = taken(t, lane, FRAME_DATA);
	struct pack_reader r = {0};
	struct value values[FIELDS_MAX];
	struct cover *covers;
	uint32_t covers_n;

	pack_reader_start(&r, f.body, f.head.bytes);
	assert_int_equal(f.head.count, n);
	for (unsigned i = 0; i < n; i++) {
		struct record rec = {.fields = values};
		assert_true(wire_record_read(&r, &rec));
		assert_int_equal(rec.offset, offsets[i]);
		assert_int_equal(rec.partition, ids[i]);
		assert_int_equal(rec.fields[0].integer, offsets[i]);
	}
	assert_true(wire_covers_read(&r, &covers, &covers_n) && pack_reader_end(&r));
	assert_int_equal(covers_n, want_n);
	for (uint32_t i = 0; i < covers_n; i++) {
		assert_int_equal(covers[i].partition, want[i].partition);
		assert_int_equal(covers[i].from, want[i].from);
		assert_int_equal(covers[i].to, want[i].to);
		assert_int_equal(covers[i].time_max_us, want[i].time_max_us);
	}
	free(covers);
	frame_release(&f);
	pack_reader_free(&r);
}

static void
records_wait_for_the_id_of_their_partition(void **state)
{
	struct world *t = *state;
	struct err e;

	own_all(t);
	labels_ask(&t->r);
	name_groups(t);
	struct frame ask = taken(t, 0, FRAME_ASK);
	frame_release(&ask);
	take(t, 1, 41, "calls/0", 1000); /* known */
	take(t, 1, 42, "calls/1", 5);	 /* not known */
	take(t, 1, 43, "calls/0", 1001); /* behind it */
	assert_int_equal(t->r.held_n, 2);
	assert_int_equal(t->r.groups[1].next, 42);
	groups_flush(&t->r, mono_add_ms(t->now, LATE_MS));
	assert_data(
	    t, 0, (const int64_t[]){1000}, (const uint32_t[]){8}, 1,
	    (const struct cover[]){{.partition = 7, .from = 40, .to = 42, .time_max_us = 10000}},
	    1);
	assert_true(records_release(&t->r, t->now, &e));
	assert_int_equal(t->r.held_n, 2);
	labels_ask(&t->r);
	ask = taken(t, 0, FRAME_ASK);
	assert_int_equal(ask.head.count, 1);
	frame_release(&ask);
	name(t, 9, 0, "calls/1");
	assert_true(records_release(&t->r, t->now, &e));
	assert_int_equal(t->r.held_n, 0);
	groups_flush(&t->r, mono_add_ms(t->now, LATE_MS));
	struct frame part = taken(t, 0, FRAME_PART); /* before what is of it */
	frame_release(&part);
	assert_data(
	    t, 0, (const int64_t[]){5, 1001}, (const uint32_t[]){9, 8}, 2,
	    (const struct cover[]){{.partition = 7, .from = 42, .to = 44, .time_max_us = 10010}},
	    1);
}

static void
credit_comes_back_with_commits(void **state)
{
	struct world *t = *state;
	struct position at = {7, 42};
	struct committed c = {.positions = &at, .positions_n = 1};
	struct err e;

	own_all(t);
	name_groups(t);
	take(t, 1, 41, "calls/0", 1000);
	assert_int_equal(t->r.used_bytes, 0); /* not sent yet */
	groups_flush(&t->r, mono_add_ms(t->now, LATE_MS));
	assert_true(t->r.used_bytes > 0);
	at.next = 41;
	assert_true(groups_committed(&t->r, 0, &c, &e));
	assert_true(t->r.used_bytes > 0);
	at.next = 42;
	assert_true(groups_committed(&t->r, 0, &c, &e));
	assert_int_equal(t->r.used_bytes, 0);
	assert_int_equal(seen.told[1], 42);
	at.next = 43;
	assert_false(groups_committed(&t->r, 0, &c, &e)); /* beyond what was sent */
	at = (struct position){8, 5000}; /* a mark of a source's partition is none of ours */
	assert_true(groups_committed(&t->r, 0, &c, &e));
}

static void
strange_records_are_refused(void **state)
{
	struct world *t = *state;
	struct err e;

	own_all(t);
	name_groups(t);
	for (int wrong = 0; wrong < 8; wrong++) {
		struct posted p = post(3, 0, "calls/0", 1000);

		t->r.hash_key[0] = wrong == 1; /* of a pipeline that had the name before */

		p.ev.from_source = wrong == 0 ? NULL : p.ev.from_source;
		p.ev.from_offset += wrong == 2;
		p.ev.slot += wrong == 3 ? 2 : 0; /* of another key group */
		p.ev.from_label_len = wrong == 4 ? 0 : p.ev.from_label_len;
		p.ev.from_label_len = wrong == 5 ? PARTITION_LABEL_MAX + 1 : p.ev.from_label_len;
		p.ev.len -= wrong == 6;
		if (wrong == 7)
			buf_byte(&p.bytes, 0), p.ev.data = (const char *)p.bytes.data, p.ev.len++;
		assert_false(record_take(&t->r, &p.ev, t->now, &e));
		assert_int_equal(e.code, EXIT_DATA);
		buf_free(&p.bytes);
	}
	assert_int_equal(t->r.held_n, 0);
}

/* Of a source that we do not have, or with other fields: what came before goes on, the rest waits. */
static void
groups_stop_before_records_of_another_file(void **state)
{
	struct world *t = *state;

	own_all(t);
	name_groups(t);
	seen.caught_up = true;
	for (int wrong = 0; wrong < 2; wrong++) {
		unsigned kg = wrong ? 3 : 1;
		struct posted p = post(kg, 51, "calls/0", 1001);
		struct err e;

		take(t, kg, 50, "calls/0", 1000);
		p.ev.from_source = wrong ? "calms" : p.ev.from_source;
		p.ev.from_layout ^= !wrong;
		assert_true(record_take(&t->r, &p.ev, t->now, &e));
		buf_free(&p.bytes);
		take(t, kg, 52, "calls/0", 1002); /* behind it */
		seen.started[kg] = 53;		  /* so far the driver has read */
		groups_frontiers(&t->r);
		assert_int_equal(t->r.groups[kg].next, 51);
		assert_false(t->r.groups[kg].caught_up);
		assert_true(t->r.groups[kg].waits_us > 0 && seen.paused[kg]);
	}
	assert_int_equal(t->r.stopped, 2);
	assert_non_null(strstr(t->r.stopped_why, "another pipeline file"));
}

/* Record `from` of a partition whose ingest sent `before` to the group before it. */
static bool
chained(struct world *t, unsigned kg, int64_t offset, int64_t before, int64_t from)
{
	struct posted p = post(kg, offset, "calls/0", from);
	struct err e = {0};

	p.ev.from_before = before;
	bool good = record_take(&t->r, &p.ev, t->now, &e);
	assert_true(good || (e.code == EXIT_DATA && strstr(e.text, "LOSS")));
	buf_free(&p.bytes);
	return good;
}

static void
a_gap_before_a_record_is_found(void **state)
{
	struct world *t = *state;

	own_all(t);
	name_groups(t);
	assert_true(chained(t, 1, 41, 990, 1000)); /* 990 is in, by OWN */
	assert_true(chained(t, 1, 42, 1000, 1003));
	assert_true(chained(t, 1, 43, 990, 1000)); /* sent again, by another ingest */
	assert_true(chained(t, 1, 44, 1003, 1004));
	assert_true(chained(t, 3, 0, -1, 7)); /* of another group: its own chain */
	assert_true(chained(t, 3, 1, 7, 9));
	assert_false(chained(t, 3, 2, 10, 12));
	assert_false(chained(t, 5, 5000, 0, 1)); /* offset 0 is one, too */
	assert_false(chained(t, 1, 45, 1005, 1010));
}

/* Whatever a reader of the fields goes by is in it. */
static void
a_layout_is_of_everything_that_is_read(void **state)
{
	struct field two[] = {
	    {.name = {"a"}, .type = VALUE_TEXT, .used = true, .class = -1, .token_of = -1},
	    {.name = {"b"}, .type = VALUE_TEXT, .used = true, .class = -1, .token_of = -1}};
	struct source s = {.fields = two, .fields_n = 2};
	const uint64_t was = wire_layout(&s);

	(void)state;
	assert_true(was != 0);
	assert_true(was == wire_layout(&s));
	s.fields_n = 1;
	assert_true(was != wire_layout(&s));
	s.fields_n = 2;
	for (int change = 0; change < 7; change++) {
		struct field kept[2];

		memcpy(kept, two, sizeof kept);
		if (change == 0)
			two[0] = kept[1], two[1] = kept[0];
		two[1].type = change == 1 ? VALUE_INTEGER : two[1].type;
		two[1].used = change != 2;
		two[1].class = change == 3 ? 0 : -1;
		two[1].token_of = change == 4 ? 0 : -1;
		if (change == 5)
			two[1].name.s[0] = 'c';
		s.label[0] = change == 6 ? 'x' : '\0';
		assert_true(was != wire_layout(&s));
		memcpy(two, kept, sizeof two);
		s.label[0] = '\0';
	}
	assert_true(was == wire_layout(&s));
}

static void
quiet_groups_are_told_when_they_have_caught_up(void **state)
{
	struct world *t = *state;

	own_all(t);
	name_groups(t);
	t->r.started = 0;
	struct err e;
	assert_true(groups_start(&t->r, &e));
	seen.caught_up = true;
	groups_frontiers(&t->r);
	groups_flush(&t->r, mono_add_ms(t->now, LATE_MS));
	for (unsigned i = 0; i < 2; i++) { /* 7 and 9: their ids are told first */
		struct frame f = taken(t, 1, FRAME_PART);
		frame_release(&f);
	}
	assert_data(t, 1, NULL, NULL, 0,
		    (const struct cover[]){{.partition = 22}, {.partition = 23}}, 2);
	groups_last(&t->r, t->now);
	struct frame last = taken(t, 1, FRAME_DATA);
	assert_int_equal(last.head.flags, FRAME_LAST);
	frame_release(&last);
}

/* A record that the exchange got at that time; 0: it does not say when. */
static void
take_of(struct world *t, unsigned kg, int64_t offset, int64_t time_us)
{
	struct posted p = post(kg, offset, "calls/0", offset);
	struct err e;

	p.ev.has_broker_time = time_us != 0;
	p.ev.broker_time_us = time_us;
	assert_true(record_take(&t->r, &p.ev, t->now, &e));
	buf_free(&p.bytes);
}

static void
commit(struct world *t, int64_t next)
{
	struct position at = {7, next};
	struct committed c = {.positions = &at, .positions_n = 1};
	struct err e;

	assert_true(groups_committed(&t->r, 0, &c, &e));
}

static void
the_oldest_is_known_by_the_time_of_the_exchange(void **state)
{
	enum { MINUTE_US = 60000000 };
	struct world *t = *state;
	int64_t wall_us = wall_now_us();

	/* What an earlier life saw counts until this one sees for itself. */
	t->r.before_us = wall_us - 9 * MINUTE_US;
	assert_int_equal(groups_oldest(&t->r), t->r.before_us);
	own_all(t);
	name_groups(t);
	groups_frontiers(&t->r);
	assert_int_equal(groups_oldest(&t->r), wall_us - 9 * MINUTE_US);
	seen.caught_up = true;
	groups_frontiers(&t->r);
	assert_int_equal(groups_oldest(&t->r), 0);
	assert_int_equal(t->r.before_us, 0);
	/* What waits unread, what is read, what is sent: the oldest of all groups. */
	seen.waits_us[3] = wall_us - 2 * MINUTE_US;
	groups_frontiers(&t->r);
	assert_int_equal(groups_oldest(&t->r), wall_us - 2 * MINUTE_US);
	take_of(t, 1, 41, wall_us - 3 * MINUTE_US);
	take_of(t, 1, 42, wall_us - 4 * MINUTE_US); /* two ingests have two clocks */
	assert_int_equal(groups_oldest(&t->r), wall_us - 4 * MINUTE_US);
	groups_flush(&t->r, mono_add_ms(t->now, LATE_MS));
	take_of(t, 1, 43, wall_us - 1 * MINUTE_US);
	commit(t, 43);
	assert_int_equal(groups_oldest(&t->r), wall_us - 2 * MINUTE_US);
	seen.waits_us[3] = 0;
	groups_frontiers(&t->r);
	assert_int_equal(groups_oldest(&t->r), wall_us - 1 * MINUTE_US);
	groups_flush(&t->r, mono_add_ms(t->now, 2 * LATE_MS));
	commit(t, 44);
	assert_int_equal(groups_oldest(&t->r), 0);
	/* One that does not say when it came, comes now. */
	take_of(t, 1, 44, 0);
	assert_true(groups_oldest(&t->r) >= wall_us);
}

int
main(void)
{
#define IN_WORLD(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)
	const struct CMUnitTest tests[] = {
	    IN_WORLD(claims_are_divided),
	    IN_WORLD(a_replica_without_groups_claims_none),
	    IN_WORLD(reading_begins_where_own_says),
	    IN_WORLD(what_was_not_claimed_is_not_owned),
	    IN_WORLD(less_than_claimed_is_refused),
	    IN_WORLD(records_wait_for_the_id_of_their_partition),
	    IN_WORLD(credit_comes_back_with_commits),
	    IN_WORLD(the_oldest_is_known_by_the_time_of_the_exchange),
	    IN_WORLD(strange_records_are_refused),
	    IN_WORLD(groups_stop_before_records_of_another_file),
	    IN_WORLD(a_gap_before_a_record_is_found),
	    cmocka_unit_test(a_layout_is_of_everything_that_is_read),
	    IN_WORLD(quiet_groups_are_told_when_they_have_caught_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
