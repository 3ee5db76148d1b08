/* Frames: every type survives a round trip; a truncated, lengthened or flipped body is refused,
 * whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "wire.h"

/* The form of a sealed field, which nobody can open: 44 bytes of head, a byte, a tag. */
static const uint8_t payload[61] = {1, 1, 1, 4, 9};
static const uint8_t erased[4] = {1, 1, 2, 0};

static struct value some_values[] = {
    {.type = VALUE_NULL},
    {.type = VALUE_BOOLEAN, .boolean = true},
    {.type = VALUE_INTEGER, .integer = INT64_MIN},
    {.type = VALUE_INTEGER, .integer = INT64_MAX},
    {.type = VALUE_FLOAT, .real = -0.5},
    {.type = VALUE_DATE, .integer = -719162},
    {.type = VALUE_TIMESTAMP, .integer = 1317422324546000},
    {.type = VALUE_TEXT, .len = 5, .text = "A_SUB"},
    {.type = VALUE_TEXT, .len = 0, .text = ""},
    {.type = VALUE_JSON, .len = 7, .text = "{\"a\":1}"},
    {.type = VALUE_SEALED, .len = sizeof payload, .text = (const char *)payload},
};

enum { SOME = sizeof some_values / sizeof *some_values };

static void
values_equal(const struct value *a, const struct value *b)
{
	assert_int_equal(a->type, b->type);
	if (a->type == VALUE_TEXT || a->type == VALUE_JSON || a->type == VALUE_SEALED) {
		assert_int_equal(a->len, b->len);
		assert_memory_equal(a->text, b->text, a->len);
	} else if (a->type == VALUE_DECIMAL) {
		assert_int_equal(a->scale, b->scale);
		assert_true(value_units(a) == value_units(b));
	} else if (a->type == VALUE_FLOAT) {
		assert_true(a->real == b->real);
	} else if (a->type != VALUE_NULL && a->type != VALUE_BOOLEAN) {
		assert_int_equal(a->integer, b->integer);
	}
}

static void
test_decimals_keep_every_digit(void **state)
{
	static const int128 ten19 = (int128)1000000000 * 10000000000;
	const int128 units[] = {0,
				1,
				-1,
				127,
				128,
				-128,
				-129,
				255,
				65535,
				INT64_MIN,
				INT64_MAX,
				ten19 * ten19 - 1,
				-(ten19 * ten19 - 1)};
	struct buf b = {0};
	struct pack_reader r = {0};
	struct pack_view v;
	struct value out;

	(void)state;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		struct value in = value_decimal(units[i], (unsigned)(i % (DECIMAL_SCALE_MAX + 1)));
		buf_clear(&b);
		pack_value(&b, &in);
		pack_reader_start(&r, b.data, b.len);
		assert_true(pack_next(&r, &v) && pack_view_value(&r, v, &out));
		assert_true(pack_reader_end(&r));
		values_equal(&in, &out);
	}
	pack_reader_free(&r);
	buf_free(&b);
}

static void
record_write(struct buf *b)
{
	struct record rec = {.kind = RECORD_EVENT,
			     .source = 2,
			     .partition = 77,
			     .offset = 123456789012,
			     .has_rid = true,
			     .distinct = true,
			     .rid = {1, 2, 3},
			     .kg = 127,
			     .key = "173688",
			     .key_len = 6,
			     .has_time = true,
			     .time_us = -1,
			     .sequence = 9,
			     .has_sid = true,
			     .sid = {4, 5},
			     .has_bound = true,
			     .bound = {6, 7},
			     .raw_only = true,
			     .fields = some_values,
			     .fields_n = SOME};
	struct record dead = {.kind = RECORD_DEAD,
			      .key = "",
			      .reason = "truncated",
			      .reason_len = 9,
			      .digest = {9},
			      .body = payload,
			      .body_len = sizeof payload};
	struct cover covers[2] = {{.partition = 77,
				   .from = 3,
				   .to = 9,
				   .has_time = true,
				   .time_max_us = 5,
				   .caught_up = true},
				  {.partition = 78, .from = 1, .to = 1, .finished = true}};

	wire_record_write(b, &rec);
	wire_record_write(b, &dead);
	wire_covers_write(b, covers, 2);
}

static bool
record_read(struct pack_reader *r)
{
	struct value fields[FIELDS_MAX];
	struct record rec = {.fields = fields};
	struct cover *c;
	uint32_t n;

	if (!wire_record_read(r, &rec))
		return false;
	bool right = rec.kind == RECORD_EVENT && rec.offset == 123456789012 && rec.has_rid &&
		     rec.distinct && rec.rid[2] == 3 && rec.kg == 127 && rec.key_len == 6 &&
		     rec.time_us == -1 && rec.has_time && rec.sequence == 9 && rec.has_sid &&
		     rec.has_bound && rec.bound[1] == 7 && rec.raw_only && rec.sid[1] == 5 &&
		     rec.fields_n == SOME;
	for (int i = 0; right && i < SOME; i++)
		values_equal(&some_values[i], &rec.fields[i]);
	if (!wire_record_read(r, &rec) || !wire_covers_read(r, &c, &n))
		return false;
	right = right && rec.kind == RECORD_DEAD && rec.reason_len == 9 && rec.digest[0] == 9 &&
		!rec.has_sid && !rec.has_bound && !rec.raw_only && rec.body_len == sizeof payload &&
		rec.body[4] == 9 && n == 2 && c[0].to == 9 && c[0].caught_up && !c[0].finished &&
		c[1].finished;
	free(c);
	return pack_reader_end(r) && right;
}

static void
own_write(struct buf *b)
{
	struct partition parts[2] = {
	    {.id = 1, .source = 0, .label = "topic/3", .label_len = 7, .number = 3},
	    {.id = 2,
	     .source = 1,
	     .kind = PARTITION_TRANSIENT,
	     .done = true,
	     .next = 4,
	     .bytes = 5,
	     .label = "queue",
	     .label_len = 5}};
	struct position pos[2] = {{1, 10}, {9, 1}};
	struct own_range ranges[2] = {{0, 63, pos, 2}, {64, 127, NULL, 0}};
	struct own o = {.hash_key = {7},
			.has_policy = true,
			.policy_root = {3, 2, 1},
			.policy_serial = UINT64_MAX,
			.shard = 1,
			.epoch = 42,
			.partitions = parts,
			.partitions_n = 2,
			.ranges = ranges,
			.ranges_n = 2,
			.state_empty = true};

	wire_own_write(b, &o);
}

static bool
own_read(struct pack_reader *r)
{
	struct own o;

	if (!wire_own_read(r, &o))
		return false;
	bool right = o.hash_key[0] == 7 && o.has_policy && o.policy_root[2] == 1 &&
		     o.policy_serial == UINT64_MAX && o.epoch == 42 && o.partitions_n == 2 &&
		     o.state_empty && o.partitions[0].number == 3 &&
		     o.partitions[1].kind == PARTITION_TRANSIENT && o.partitions[1].done &&
		     o.partitions[1].bytes == 5 && o.ranges_n == 2 &&
		     o.ranges[0].positions_n == 2 && o.ranges[0].positions[0].next == 10 &&
		     o.ranges[1].kg_lo == 64;
	own_free(&o);
	return pack_reader_end(r) && right;
}

static void
end_write(struct buf *b)
{
	struct position pos[1] = {{3, 300}};
	struct end_range ranges[1] = {{0, 127, pos, 1}};
	struct end e = {.n = 5,
			.ranges = ranges,
			.ranges_n = 1,
			.proc = 1,
			.evt = 2,
			.state = 3,
			.dead = 4,
			.rows = {10, 20},
			.tables_n = 2,
			.sources = {{7, 8, 9}},
			.sources_n = 1};
	struct committed c = {.shard = 1, .epoch = 2, .n = 5, .positions = pos, .positions_n = 1};

	wire_end_write(b, &e);
	wire_committed_write(b, &c);
}

static bool
end_read(struct pack_reader *r)
{
	struct end e;
	struct committed c;

	if (!wire_end_read(r, &e))
		return false;
	bool right = e.n == 5 && e.ranges[0].positions[0].next == 300 && e.rows[1] == 20 &&
		     e.sources[0].dropped == 9 && e.dead == 4;
	end_free(&e);
	if (!wire_committed_read(r, &c))
		return false;
	right = right && c.n == 5 && c.positions[0].partition == 3;
	committed_free(&c);
	return pack_reader_end(r) && right;
}

static void
batch_write(struct buf *b)
{
	uint8_t body[3] = {1, 2, 3};
	struct state_row s = {.key = {5},
			      .kg = 1,
			      .has_check_at = true,
			      .check_at_us = -7,
			      .body = body,
			      .body_len = 3};
	struct dead d = {.rid = {8},
			 .source = 1,
			 .partition = 2,
			 .offset = 3,
			 .stage = "load",
			 .stage_len = 4,
			 .reason = "why",
			 .reason_len = 3,
			 .has_digest = true,
			 .digest = {1},
			 .body = erased,
			 .body_len = sizeof erased,
			 .has_sid = true,
			 .sid = {7},
			 .replayed = true};
	struct row row = {.values = some_values,
			  .values_n = SOME,
			  .missing = 5,
			  .rid = {1},
			  .has_sid = true,
			  .sid = {6}};
	struct proc p = {.inputs = some_values, .inputs_n = SOME, .missing = UINT64_MAX};
	struct begin x = {1, 2, 3};
	struct done done = {4, 5, 6};

	wire_begin_write(b, &x);
	wire_proc_write(b, &p);
	wire_table_write(b, 63);
	wire_row_write(b, &row);
	wire_state_write(b, &s);
	wire_dead_write(b, &d);
	wire_done_write(b, &done);
}

static bool
batch_read(struct pack_reader *r)
{
	struct value values[COLUMNS_MAX * 2], inputs[EXPR_INPUTS_MAX];
	struct row row = {.values = values};
	struct proc p = {.inputs = inputs};
	struct begin x;
	struct state_row s;
	struct dead d;
	struct done done;
	uint32_t table;

	if (!wire_begin_read(r, &x) || !wire_proc_read(r, &p) || !wire_table_read(r, &table) ||
	    !wire_row_read(r, &row) || !wire_state_read(r, &s) || !wire_dead_read(r, &d) ||
	    !wire_done_read(r, &done))
		return false;
	for (int i = 0; i < SOME; i++) {
		values_equal(&some_values[i], &p.inputs[i]);
		values_equal(&some_values[i], &row.values[i]);
	}
	return pack_reader_end(r) && x.n == 3 && p.missing == UINT64_MAX && table == 63 &&
	       row.missing == 5 && row.rid[0] == 1 && row.has_sid && row.sid[0] == 6 &&
	       d.replayed && d.has_sid && d.sid[0] == 7 && d.body_len == 4 && s.key[0] == 5 &&
	       s.check_at_us == -7 && s.body_len == 3 && d.rid[0] == 8 && d.offset == 3 &&
	       d.has_digest && done.bytes == 6;
}

static void
keys_write(struct buf *b)
{
	static const uint8_t wraps[2][WRAP_BYTES] = {{1}, {2}}, core[CORE_BYTES_MAX] = {3};
	static const uint8_t sids[2 * SUBJECT_ID_BYTES] = {4}, secret[SUBJECT_SECRET_BYTES] = {5};
	struct keyreq publish = {.kind = KEY_PUBLISH,
				 .request = 1,
				 .class = "financial",
				 .class_len = 9,
				 .core = core,
				 .core_len = sizeof core,
				 .wraps = {wraps[0], wraps[1]},
				 .wraps_n = 2};
	struct keyreq subjects = {
	    .kind = KEY_SUBJECTS, .request = UINT32_MAX, .sids = sids, .sids_n = 2};
	struct keyans signed_core = {
	    .kind = KEY_PUBLISH, .request = 1, .ok = true, .core = core, .core_len = 200};
	struct keyans secrets = {.kind = KEY_SUBJECTS,
				 .request = UINT32_MAX,
				 .ok = true,
				 .secrets = {NULL, secret},
				 .secrets_n = 2};
	struct keyans refused = {.kind = KEY_PUBLISH,
				 .request = 3,
				 .policy_serial = 1ULL << 40,
				 .reason = "key store away",
				 .reason_len = 14};

	wire_keyreq_write(b, &publish);
	wire_keyreq_write(b, &subjects);
	wire_keyans_write(b, &signed_core);
	wire_keyans_write(b, &secrets);
	wire_keyans_write(b, &refused);
	struct keyreq ask = {.kind = KEY_FACTS, .request = 4};
	struct keyans facts = {.kind = KEY_FACTS,
			       .request = 4,
			       .ok = true,
			       .hash_key = {7},
			       .has_policy = true,
			       .policy_root = {8},
			       .pinned_serial = UINT64_MAX};
	wire_keyreq_write(b, &ask);
	wire_keyans_write(b, &facts);
	facts.has_policy = false;
	wire_keyans_write(b, &facts);
}

static bool
keys_read(struct pack_reader *r)
{
	struct keyreq q;
	struct keyans a;

	if (!wire_keyreq_read(r, &q))
		return false;
	bool right = q.kind == KEY_PUBLISH && q.request == 1 && q.class_len == 9 &&
		     q.core_len == CORE_BYTES_MAX && q.core[0] == 3 && q.wraps_n == 2 &&
		     q.wraps[1][0] == 2;
	if (!wire_keyreq_read(r, &q))
		return false;
	right = right && q.kind == KEY_SUBJECTS && q.request == UINT32_MAX && q.sids_n == 2 &&
		q.sids[0] == 4;
	if (!wire_keyans_read(r, &a))
		return false;
	right = right && a.kind == KEY_PUBLISH && a.ok && a.core_len == 200;
	if (!wire_keyans_read(r, &a))
		return false;
	right = right && a.ok && a.secrets_n == 2 && !a.secrets[0] && a.secrets[1][0] == 5;
	if (!wire_keyans_read(r, &a))
		return false;
	right =
	    right && !a.ok && a.request == 3 && a.reason_len == 14 && a.policy_serial == 1ULL << 40;
	if (!wire_keyreq_read(r, &q))
		return false;
	right = right && q.kind == KEY_FACTS && q.request == 4;
	if (!wire_keyans_read(r, &a))
		return false;
	right = right && a.kind == KEY_FACTS && a.ok && a.hash_key[0] == 7 && a.has_policy &&
		a.policy_root[0] == 8 && a.pinned_serial == UINT64_MAX;
	if (!wire_keyans_read(r, &a))
		return false;
	right = right && !a.has_policy && !a.pinned_serial;
	return pack_reader_end(r) && right;
}

static void
carried_write(struct buf *b)
{
	struct carried c = {.payload = payload,
			    .payload_len = sizeof payload,
			    .source = "loans@#1",
			    .source_len = 8,
			    .path = "customer.cpf",
			    .path_len = 12,
			    .rid = {1, 2},
			    .has_sid = true,
			    .sid = {8}};

	wire_carried_write(b, &c);
}

static bool
carried_read(struct pack_reader *r)
{
	struct carried c;

	return wire_carried_read(r->data, r->len, &c) && c.payload_len == sizeof payload &&
	       c.payload[4] == 9 && c.source_len == 8 && c.path_len == 12 && c.rid[1] == 2 &&
	       c.has_sid && c.sid[0] == 8;
}

static const struct {
	void (*write)(struct buf *b);
	bool (*read)(struct pack_reader *r);
} types[] = {{record_write, record_read}, {own_write, own_read},   {end_write, end_read},
	     {batch_write, batch_read},	  {keys_write, keys_read}, {carried_write, carried_read}};

enum { TYPES = sizeof types / sizeof *types };

static void
test_round_trips(void **state)
{
	struct pack_reader r = {0};

	(void)state;
	for (int t = 0; t < TYPES; t++) {
		struct buf b = {0};
		types[t].write(&b);
		pack_reader_start(&r, b.data, b.len);
		assert_true(types[t].read(&r));
		buf_free(&b);
	}
	pack_reader_free(&r);
}

static void
test_every_truncation_and_a_trailing_byte_are_refused(void **state)
{
	struct pack_reader r = {0};

	(void)state;
	for (int t = 0; t < TYPES; t++) {
		struct buf b = {0};
		types[t].write(&b);
		for (size_t n = 0; n < b.len; n++) {
			uint8_t *cut =
			    malloc(n ? n : 1); /* its own block: ASan sees a read past n */
			memcpy(cut, b.data, n);
			pack_reader_start(&r, cut, n);
			assert_false(types[t].read(&r));
			free(cut);
		}
		buf_byte(&b, 0xc0);
		pack_reader_start(&r, b.data, b.len);
		assert_false(types[t].read(&r));
		buf_free(&b);
	}
	pack_reader_free(&r);
}

static void
test_claims_of_huge_lengths_cost_nothing(void **state)
{
	static const uint8_t claims[][6] = {{0xdd, 0xff, 0xff, 0xff, 0xff, 0},
					    {0xdf, 0xff, 0xff, 0xff, 0xff, 0},
					    {0xdb, 0xff, 0xff, 0xff, 0xff, 0},
					    {0xc6, 0x7f, 0xff, 0xff, 0xff, 0},
					    {0xc9, 0xff, 0xff, 0xff, 0xff, 0}};
	struct pack_reader r = {0};
	struct pack_view v;

	(void)state;
	for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
		pack_reader_start(&r, claims[i], sizeof claims[i]);
		assert_false(pack_next(&r, &v));
	}
	uint8_t deep[200];
	memset(deep, 0x91, sizeof deep);
	pack_reader_start(&r, deep, sizeof deep);
	assert_false(pack_next(&r, &v));
	assert_non_null(strstr(r.why, "nested"));
	pack_reader_free(&r);
}

/* What a payload may look like, as far as it shows without any key. */
static void
test_the_form_of_a_payload(void **state)
{
	static const uint8_t bad[][4] = {{0, 1, 0, 4},	{2, 1, 0, 4}, {1, 0, 0, 4},   {1, 2, 0, 4},
					 {1, 1, 3, 0},	{1, 1, 4, 4}, {1, 1, 128, 4}, {1, 1, 0, 3},
					 {1, 1, 1, 13}, {1, 1, 2, 4}, {1, 1, 2, 0}};
	uint8_t p[sizeof payload];

	(void)state;
	assert_true(wire_payload_check(payload, sizeof payload));
	assert_false(wire_payload_check(payload, sizeof payload - 1));
	assert_true(wire_payload_check(erased, sizeof erased));
	assert_false(wire_payload_check(erased, 3));
	assert_false(wire_payload_check(payload, 4));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		memcpy(p, payload, sizeof p);
		memcpy(p, bad[i], 4);
		assert_false(wire_payload_check(p, sizeof p));
	}
	assert_false(wire_payload_check((const uint8_t[4]){1, 1, 2, 4}, 4));

	uint8_t *large = calloc(1, TEXT_BYTES_MAX + 1);
	memcpy(large, payload, 4);
	assert_true(wire_payload_check(large, TEXT_BYTES_MAX));
	assert_false(wire_payload_check(large, TEXT_BYTES_MAX + 1));
	free(large);
}

/* Writes one item with `at` replaced: an array of elements, each already encoded. */
static bool
reads_keyreq(const struct buf *b)
{
	struct pack_reader r = {0};
	struct keyreq k;

	pack_reader_start(&r, b->data, b->len);
	bool ok = wire_keyreq_read(&r, &k) && pack_reader_end(&r);
	pack_reader_free(&r);
	return ok;
}

static bool
reads_keyans(const struct buf *b)
{
	struct pack_reader r = {0};
	struct keyans k;

	pack_reader_start(&r, b->data, b->len);
	bool ok = wire_keyans_read(&r, &k) && pack_reader_end(&r);
	pack_reader_free(&r);
	return ok;
}

static void
publish_item(struct buf *b, size_t class_len, size_t core_len, size_t wraps_n, size_t wrap_len)
{
	static const char zeros[KEYREQ_SUBJECTS_MAX * SUBJECT_ID_BYTES];

	buf_clear(b);
	pack_array(b, 5);
	pack_uint(b, KEY_PUBLISH);
	pack_uint(b, 1);
	pack_text(b, zeros, class_len);
	pack_bytes(b, zeros, core_len);
	pack_array(b, wraps_n);
	for (size_t i = 0; i < wraps_n; i++)
		pack_bytes(b, zeros, wrap_len);
}

static void
subjects_item(struct buf *b, size_t bytes)
{
	static const char zeros[KEYREQ_SUBJECTS_MAX * SUBJECT_ID_BYTES + SUBJECT_ID_BYTES];

	buf_clear(b);
	pack_array(b, 3);
	pack_uint(b, KEY_SUBJECTS);
	pack_uint(b, 1);
	pack_bytes(b, zeros, bytes);
}

static void
secrets_item(struct buf *b, unsigned kind, size_t n, size_t len)
{
	static const char zeros[64];

	buf_clear(b);
	pack_array(b, 5);
	pack_uint(b, kind);
	pack_uint(b, 1);
	pack_bool(b, true);
	pack_uint(b, 0);
	pack_array(b, n);
	for (size_t i = 0; i < n; i++)
		pack_bytes(b, zeros, len);
}

static void
test_bounds_of_the_keepers_items(void **state)
{
	static const struct {
		size_t class_len, core_len, wraps_n, wrap_len;
		bool good;
	} publish[] = {
	    {NAME_BYTES_MAX, CORE_BYTES_MAX, KEYREQ_WRAPS_MAX, WRAP_BYTES, true},
	    {NAME_BYTES_MAX + 1, 10, 1, WRAP_BYTES, false},
	    {1, CORE_BYTES_MAX + 1, 1, WRAP_BYTES, false},
	    {1, 0, 1, WRAP_BYTES, false},
	    {1, 10, 0, WRAP_BYTES, false},
	    {1, 10, KEYREQ_WRAPS_MAX + 1, WRAP_BYTES, false},
	    {1, 10, 1, WRAP_BYTES - 1, false},
	};
	struct buf b = {0};

	(void)state;
	for (size_t i = 0; i < sizeof publish / sizeof *publish; i++) {
		publish_item(&b, publish[i].class_len, publish[i].core_len, publish[i].wraps_n,
			     publish[i].wrap_len);
		assert_int_equal(reads_keyreq(&b), publish[i].good);
	}
	subjects_item(&b, KEYREQ_SUBJECTS_MAX * SUBJECT_ID_BYTES);
	assert_true(reads_keyreq(&b));
	subjects_item(&b, (KEYREQ_SUBJECTS_MAX + 1) * SUBJECT_ID_BYTES);
	assert_false(reads_keyreq(&b));
	subjects_item(&b, SUBJECT_ID_BYTES + 1);
	assert_false(reads_keyreq(&b));
	subjects_item(&b, 0);
	assert_false(reads_keyreq(&b));
	secrets_item(&b, KEY_SUBJECTS, KEYREQ_SUBJECTS_MAX, SUBJECT_SECRET_BYTES);
	assert_true(reads_keyans(&b));
	secrets_item(&b, KEY_SUBJECTS, KEYREQ_SUBJECTS_MAX + 1, SUBJECT_SECRET_BYTES);
	assert_false(reads_keyans(&b));
	secrets_item(&b, KEY_SUBJECTS, 1, SUBJECT_SECRET_BYTES - 1);
	assert_false(reads_keyans(&b));
	secrets_item(&b, KEY_SUBJECTS, 0, 0);
	assert_false(reads_keyans(&b));
	secrets_item(&b, KEY_PUBLISH, 1, SUBJECT_SECRET_BYTES); /* an answer of the other kind */
	assert_false(reads_keyans(&b));
	secrets_item(&b, 2, 1, SUBJECT_SECRET_BYTES);
	assert_false(reads_keyans(&b));
	buf_free(&b);
}

/* A body that is not sealed would be an event in the clear, in the warehouse. */
static void
test_a_dead_letters_body_is_sealed(void **state)
{
	struct value none[1];
	struct record rec = {.kind = RECORD_DEAD, .key = "", .reason = ""};
	struct pack_reader r = {0};
	struct buf b = {0};

	(void)state;
	rec.body = (const uint8_t *)"{\"cpf\":\"12345678909\"}";
	rec.body_len = 21;
	wire_record_write(&b, &rec);
	rec.fields = none;
	pack_reader_start(&r, b.data, b.len);
	assert_false(wire_record_read(&r, &rec));
	assert_non_null(strstr(r.why, "not sealed"));

	struct dead d = {
	    .stage = "ingest", .stage_len = 6, .reason = "", .body = erased, .body_len = 3};
	buf_clear(&b);
	wire_dead_write(&b, &d);
	pack_reader_start(&r, b.data, b.len);
	assert_false(wire_dead_read(&r, &d));
	pack_reader_free(&r);
	buf_free(&b);
}

/* A record that says it has a sid and ends before it, and ids of other lengths. */
static void
test_ids_of_a_wrong_length(void **state)
{
	static const size_t lengths[] = {0, 15, 17, 31, 33, 48};
	static const uint8_t zeros[64];
	struct value values[COLUMNS_MAX * 2];
	struct row row = {.values = values};
	struct record rec = {.fields = values};
	struct pack_reader r = {0};
	struct buf b = {0};

	(void)state;
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		buf_clear(&b);
		pack_array(&b, 2);
		pack_uint(&b, 0);
		pack_bytes(&b, zeros, lengths[i]);
		pack_reader_start(&r, b.data, b.len);
		assert_false(wire_row_read(&r, &row));
	}
	for (int flags = 0; flags < 64; flags += 32) {
		buf_clear(&b);
		pack_array(&b, 9);
		pack_uint(&b, (uint64_t)flags); /* 32: has a sid */
		for (int i = 0; i < 8; i++)
			if (i == 3)
				pack_nil(&b);
			else if (i == 5)
				pack_text(&b, "", 0);
			else
				pack_uint(&b, 0);
		pack_reader_start(&r, b.data, b.len);
		assert_int_equal(wire_record_read(&r, &rec), !flags);
	}
	pack_reader_free(&r);
	buf_free(&b);
}

/* [2, request, ok, 0, [hash key, root or nil, serial]] */
static void
facts_item(struct buf *b, size_t elements, size_t key_len, size_t root_len, uint64_t serial)
{
	static const uint8_t zeros[POLICY_ROOT_BYTES + 1];

	buf_clear(b);
	pack_array(b, 5);
	pack_uint(b, KEY_FACTS);
	pack_uint(b, 1);
	pack_bool(b, true);
	pack_uint(b, 0);
	pack_array(b, elements);
	pack_bytes(b, zeros, key_len);
	if (root_len)
		pack_bytes(b, zeros, root_len);
	else
		pack_nil(b);
	pack_uint(b, serial);
	for (size_t i = 3; i < elements; i++)
		pack_nil(b);
}

static void
test_facts_of_a_wrong_form(void **state)
{
	struct buf b = {0};

	(void)state;
	facts_item(&b, 3, HASH_KEY_BYTES, POLICY_ROOT_BYTES, 5);
	assert_true(reads_keyans(&b));
	facts_item(&b, 3, HASH_KEY_BYTES, 0, 0);
	assert_true(reads_keyans(&b));
	facts_item(&b, 3, HASH_KEY_BYTES, 0, 5); /* a serial without a policy */
	assert_false(reads_keyans(&b));
	facts_item(&b, 4, HASH_KEY_BYTES, POLICY_ROOT_BYTES, 5);
	assert_false(reads_keyans(&b));
	facts_item(&b, 3, HASH_KEY_BYTES - 1, POLICY_ROOT_BYTES, 5);
	assert_false(reads_keyans(&b));
	facts_item(&b, 3, HASH_KEY_BYTES, POLICY_ROOT_BYTES + 1, 5);
	assert_false(reads_keyans(&b));
	buf_clear(&b);
	pack_array(&b, 3);
	pack_uint(&b, KEY_FACTS);
	pack_uint(&b, 1);
	pack_uint(&b, 0); /* not nil */
	assert_false(reads_keyreq(&b));
	buf_free(&b);
}

static bool
reads_claim(const uint32_t *groups, size_t n, struct claim *c)
{
	struct pack_reader r = {0};
	struct buf b = {0};

	pack_array(&b, n);
	for (size_t i = 0; i < n; i++)
		pack_uint(&b, groups ? groups[i] : i);
	pack_reader_start(&r, b.data, b.len);
	bool ok = wire_claim_read(&r, c);
	assert_true(!ok || pack_reader_end(&r));
	pack_reader_free(&r);
	buf_free(&b);
	return ok;
}

static void
test_claims(void **state)
{
	static const uint32_t same[] = {3, 3}, falling[] = {4, 3}, none[] = {GROUPS_MAX};
	static uint16_t some[] = {0, 7, GROUPS_MAX - 1};
	struct claim c = {.groups = some, .groups_n = 3};
	struct pack_reader r = {0};
	struct buf b = {0};

	(void)state;
	wire_claim_write(&b, &c);
	for (size_t n = 0; n < b.len; n++) {
		pack_reader_start(&r, b.data, n);
		assert_false(wire_claim_read(&r, &c));
	}
	pack_reader_start(&r, b.data, b.len);
	assert_true(wire_claim_read(&r, &c));
	assert_int_equal(c.groups_n, 3);
	assert_memory_equal(c.groups, some, sizeof some);
	claim_free(&c);
	assert_true(reads_claim(NULL, 0, &c));
	claim_free(&c);
	assert_true(reads_claim(NULL, GROUPS_MAX, &c));
	claim_free(&c);
	assert_false(reads_claim(NULL, GROUPS_MAX + 1, &c));
	assert_false(reads_claim(same, 2, &c));
	assert_false(reads_claim(falling, 2, &c));
	assert_false(reads_claim(none, 1, &c));
	pack_reader_free(&r);
	buf_free(&b);
}

static void
test_sealed_values_count_for_what_fits(void **state)
{
	static char bytes[1];
	struct value v[3] = {{.type = VALUE_SEALED, .len = VALUES_BYTES_MAX / 2, .text = bytes},
			     {.type = VALUE_SEALED, .len = VALUES_BYTES_MAX / 2, .text = bytes},
			     {.type = VALUE_SEALED, .len = 1000, .text = bytes}};

	(void)state;
	assert_int_equal(wire_values_fit(v, 2), 0);
	assert_int_equal(wire_values_fit(v, 3), 1);
	assert_int_equal(v[2].type, VALUE_NULL);
	assert_int_equal(v[1].type, VALUE_SEALED);
}

static void
test_heads(void **state)
{
	uint8_t p[FRAME_HEAD_BYTES + 4] = {0};
	struct frame_head h = {.version = WIRE_VERSION,
			       .type = FRAME_END,
			       .flags = FRAME_LAST,
			       .generation = 7,
			       .sender = 0x0102,
			       .receiver = 0x0201,
			       .count = 9,
			       .seq = 1ull << 40,
			       .bytes = 4};
	struct frame_head got;
	struct err e;

	(void)state;
	frame_head_encode(&h, p);
	assert_true(frame_head_decode(p, sizeof p, &got, &e));
	assert_int_equal(got.seq, 1ull << 40);
	assert_int_equal(got.flags, FRAME_LAST);
	assert_false(frame_head_decode(p, sizeof p - 1, &got, &e));
	assert_false(frame_head_decode(p, FRAME_HEAD_BYTES - 1, &got, &e));
	p[1] = FRAME_TYPE_MAX;
	assert_false(frame_head_decode(p, sizeof p, &got, &e));
	p[1] = FRAME_END;
	p[0] = WIRE_VERSION + 1;
	assert_false(frame_head_decode(p, sizeof p, &got, &e));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_decimals_keep_every_digit),
	    cmocka_unit_test(test_round_trips),
	    cmocka_unit_test(test_every_truncation_and_a_trailing_byte_are_refused),
	    cmocka_unit_test(test_claims_of_huge_lengths_cost_nothing),
	    cmocka_unit_test(test_the_form_of_a_payload),
	    cmocka_unit_test(test_bounds_of_the_keepers_items),
	    cmocka_unit_test(test_a_dead_letters_body_is_sealed),
	    cmocka_unit_test(test_ids_of_a_wrong_length),
	    cmocka_unit_test(test_sealed_values_count_for_what_fits),
	    cmocka_unit_test(test_facts_of_a_wrong_form),
	    cmocka_unit_test(test_claims),
	    cmocka_unit_test(test_heads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
