/*
 * decode: what an event's bytes become, and which reason a person reads when they cannot become
 * anything. No reason may hold a value of the event.
 */
#include "ingest/decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/json.h"
#include "mem.h"

enum {
	F_ID,
	F_SEQ,
	F_AT,
	F_AMOUNT,
	F_SCORE,
	F_OK,
	F_DAY,
	F_NOTE,
	F_DOC,
	F_CITY,
	F_UNIX,
	F_HIDDEN,
	FIELDS
};

#define NOW INT64_C(1700000000000000)

static struct field
field(const char *name, const char *path, enum value_type type)
{
	struct field f = {.type = type, .used = true, .class = -1, .domain = -1, .token_of = -1};

	snprintf(f.name.s, sizeof f.name.s, "%s", name);
	snprintf(f.path, sizeof f.path, "%s", path);
	return f;
}

struct world {
	struct field fields[FIELDS];
	struct source source;
	struct model model;
	struct decoder *d;
	struct decoded out;
};

static void
world_open(struct world *w)
{
	struct err e;

	*w = (struct world){.source = {.kind = SOURCE_FILE,
				       .fields_n = FIELDS,
				       .time = TIME_OF_FIELD,
				       .time_field = F_AT,
				       .sequence_field = F_SEQ,
				       .key_field = F_ID,
				       .subject_field = -1,
				       .unknown_field = -1},
			    .model = {.sources_n = 1, .groups = 128, .key_type = VALUE_TEXT}};
	w->fields[F_ID] = field("id", "id", VALUE_TEXT);
	w->fields[F_SEQ] = field("seq", "seq", VALUE_INTEGER);
	w->fields[F_AT] = field("at", "at", VALUE_TIMESTAMP);
	w->fields[F_AMOUNT] = field("amount", "amount", VALUE_DECIMAL);
	w->fields[F_SCORE] = field("score", "score", VALUE_FLOAT);
	w->fields[F_OK] = field("ok", "ok", VALUE_BOOLEAN);
	w->fields[F_DAY] = field("day", "day", VALUE_DATE);
	w->fields[F_NOTE] = field("note", "note", VALUE_TEXT);
	w->fields[F_DOC] = field("doc", "doc", VALUE_JSON);
	w->fields[F_CITY] = field("city", "customer.address.city", VALUE_TEXT);
	w->fields[F_UNIX] = field("unix", "unix", VALUE_TIMESTAMP);
	w->fields[F_UNIX].form = TIME_UNIX_MS;
	w->fields[F_HIDDEN] = field("hidden", "hidden", VALUE_INTEGER);
	w->fields[F_HIDDEN].used = false;
	w->source.fields = w->fields;
	w->model.sources = &w->source;
	w->model.limits.event_bytes_max = 4 << 20;
	w->model.limits.time_ahead_max_us = INT64_C(3600000000);
	assert_true(decoder_new(&w->model, &w->d, &e));
}

static int
setup(void **state)
{
	struct world *w = mem_alloc(sizeof *w);

	world_open(w);
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	decoder_free(w->d);
	free(w);
	return 0;
}

/* The bytes end at the end of their own allocation, so that a sanitizer sees any step beyond. */
static bool
decode_bytes(struct world *w, const char *s, size_t n)
{
	char *copy = mem_alloc(n);
	static char *last;

	free(last);
	last = copy;
	if (n)
		memcpy(copy, s, n);
	struct source_event ev = {.data = copy, .len = n};
	w->out.reason[0] = '\0';
	bool good = decoder_event(w->d, 0, &ev, NOW, &w->out);
	assert_int_equal(good, w->out.reason[0] == '\0');
	if (!good) {
		free(last);
		last = NULL;
	}
	return good;
}

static bool
decode(struct world *w, const char *s)
{
	return decode_bytes(w, s, strlen(s));
}

#define HEAD "{\"id\":\"A1\",\"at\":\"2011-10-01T00:38:44.546+02:00\""

/* One more member behind id and time. */
static bool
decode_member(struct world *w, const char *member)
{
	char s[2048];

	snprintf(s, sizeof s, HEAD ",%s}", member);
	return decode(w, s);
}

static void
refused(struct world *w, bool good, const char *reason)
{
	if (good)
		fail_msg("accepted, but was to be refused with \"%s\"", reason);
	if (!strstr(w->out.reason, reason))
		fail_msg("reason \"%s\" does not hold \"%s\"", w->out.reason, reason);
}

static void
assert_print(const struct value *v, const char *text)
{
	struct buf b = {0};

	value_print(v, &b);
	assert_string_equal(buf_cstr(&b), text);
	buf_free(&b);
}

static void
test_whole_event(void **state)
{
	struct world *w = *state;

	assert_true(
	    decode(w, "  {\"seq\":7, \"at\" : \"2011-10-01T00:38:44.546+02:00\",\"id\":\"A1\","
		      "\"amount\":20000.10,\"score\":1e3,\"ok\":true,\"day\":\"2011-10-02\","
		      "\"note\":\"caf\\u00e9 \\\"x\\\" \\ud83d\\ude00\",\"doc\":{\"a\": [1, {}]},"
		      "\"customer\":{\"x\":1,\"address\":{\"zip\":[],\"city\":\"Delft\"}},"
		      "\"unix\":1317422324546,\"hidden\":5,\"more\":null}\r\n"));
	const struct record *r = &w->out.record;
	assert_int_equal(r->kind, RECORD_EVENT);
	assert_int_equal(r->key_len, 2);
	assert_memory_equal(r->key, "A1", 2);
	assert_true(r->has_time);
	assert_true(r->time_us == INT64_C(1317422324546000));
	assert_int_equal(r->sequence, 7);
	assert_int_equal(r->fields_n, FIELDS);
	assert_print(&r->fields[F_SEQ], "7");
	assert_print(&r->fields[F_AMOUNT], "20000.10");
	assert_true(r->fields[F_SCORE].real == 1000.0);
	assert_true(r->fields[F_OK].boolean);
	assert_print(&r->fields[F_DAY], "2011-10-02");
	assert_print(&r->fields[F_NOTE], "caf\xc3\xa9 \"x\" \xf0\x9f\x98\x80");
	assert_print(&r->fields[F_DOC], "{\"a\": [1, {}]}");
	assert_print(&r->fields[F_CITY], "Delft");
	assert_print(&r->fields[F_UNIX], "2011-09-30T22:38:44.546Z");
	assert_int_equal(r->fields[F_HIDDEN].type, VALUE_NULL); /* not used: checked, not sent */
	assert_int_equal(w->out.undeclared, 3);
}

static void
test_order_of_keys_does_not_matter(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 3; i++) {
		assert_true(decode_member(w, "\"note\":\"n\",\"amount\":1,\"x\":1,\"ok\":false"));
		assert_print(&w->out.record.fields[F_NOTE], "n");
		assert_true(decode_member(w, "\"ok\":true,\"amount\":2"));
		assert_int_equal(w->out.record.fields[F_NOTE].type, VALUE_NULL);
		assert_print(&w->out.record.fields[F_AMOUNT], "2");
		assert_true(decode_member(w, "\"\\u006eote\":\"e\",\"amount\" : 3"));
		assert_print(&w->out.record.fields[F_NOTE], "e");
		assert_print(&w->out.record.fields[F_AMOUNT], "3");
	}
}

static void
test_not_json(void **state)
{
	static const struct {
		const char *s, *reason;
	} cases[] = {
	    {"", "the event is empty"},
	    {"  \n ", "the event is empty"},
	    {"{", "ends in the middle"},
	    {"{\"id\":\"A1\"", "ends in the middle"},
	    {"{\"id\":\"A1", "ends in the middle"},
	    {"{\"id\":", "ends in the middle"},
	    {"{\"id\"", "ends in the middle"},
	    {"{\"id\" \"A1\"}", "a colon was expected"},
	    {"{\"id\":\"A1\",}", "a key in quotes was expected"},
	    {"{,}", "a key in quotes"},
	    {"{\"a\":1 \"b\":2}", "a comma or the end of the object"},
	    {"{\"a\":[1 2]}", "a comma or the end of the array"},
	    {"{\"a\":[1,]}", "neither true, false, null"},
	    {"{\"a\":[1}}", "a comma or the end of the array"},
	    {"{\"a\":{]}", "a key in quotes"},
	    {"{} {}", "something follows"},
	    {"{}x", "something follows"},
	    {"{}}", "something follows"},
	    {"[]", "no JSON object"},
	    {"\"id\"", "no JSON object"},
	    {"12", "no JSON object"},
	    {"null", "no JSON object"},
	    {"{\"a\":tru}", "neither true"},
	    {"{\"a\":truex}", "neither true"},
	    {"{\"a\":nul}", "neither true"},
	    {"{\"a\":01}", "neither true"},
	    {"{\"a\":1.}", "neither true"},
	    {"{\"a\":.5}", "neither true"},
	    {"{\"a\":+1}", "neither true"},
	    {"{\"a\":-}", "neither true"},
	    {"{\"a\":1e}", "neither true"},
	    {"{\"a\":NaN}", "neither true"},
	    {"{\"a\":Infinity}", "neither true"},
	    {"{\"a\":'x'}", "neither true"},
	    {"{\"a\":\"x\"y}", "a comma or the end of the object"},
	    {"{\"a\":\"\t\"}", "control character"},
	    {"{\"a\":\"\\x\"}", "unknown escape"},
	    {"{\"a\":\"\\u12g4\"}", "hexadecimal"},
	    {"{\"a\":\"\\u12\"}", "hexadecimal"},
	    {"{\"\\x\":1}", "unknown escape"},
	    {"{\"a\":\"\xff\"}", "not valid UTF-8"},
	    {"{\"a\":\"\xc0\x80\"}", "not valid UTF-8"},
	    {"{\"a\":\"\xed\xa0\x80\"}", "not valid UTF-8"},
	    {"{\"a\":[\"\xf4\x90\x80\x80\"]}", "not valid UTF-8"},
	    {"\xff\xfe{\x00", "not valid UTF-8"},
	    {"{/* no */}", "a key in quotes"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		refused(w, decode(w, cases[i].s), cases[i].reason);
	refused(w, decode_bytes(w, "{\"a\":1\0}", 8), "neither true");
	refused(w, decode_bytes(w, "{\"a\":\"\0\"}", 9), "control character");
}

/* What no path is declared for is checked like everything else. */
static void
test_undeclared_values_are_checked(void **state)
{
	static const char *const good[] = {
	    "\"other\":[1e400,-0.0E+1,123456789012345678901234567890123456789012345]",
	    "\"other\":[[],{},\"\",[{\"k\":[null,true,false]}]]",
	    "\"other\" : { \"k\" : [ 1 , 2 ] } ",
	};
	static const char *const bad[] = {
	    "01",	   "1.e1",	"1e+",	 "--1",	      "1 2",	    "0x1",
	    "1_0",	   "tru",	"nulll", "1\f",	      "true\v",	    "\"\\u00g0\"",
	    "\"\\udc00\"", "[1,,2]",	"[,1]",	 "{\"k\"}",   "{\"k\":}",   "{\"k\":1,}",
	    "{1:1}",	   "{\"k\" 1}", "[1}",	 "{\"k\":1]", "\"x\"\"y\"", "{}[]",
	};
	struct world *w = *state;
	char s[256];

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(decode_member(w, good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(s, sizeof s, "\"other\":[{\"deep\":%s}]", bad[i]);
		refused(w, decode_member(w, s), "no valid JSON at byte");
	}
}

static void
test_json_keeps_what_stands(void **state)
{
	static const char *const docs[] = {
	    "[1,  2 ]", "{ }", "\"a\\u0041 \"", "1.50", "{\"k\": [ {} ]}", "false", "\"\"",
	};
	struct world *w = *state;
	char s[256];

	for (size_t i = 0; i < sizeof docs / sizeof *docs; i++) {
		snprintf(s, sizeof s, "\"doc\": %s\r\n\t ,\"x\":1", docs[i]);
		assert_true(decode_member(w, s));
		assert_print(&w->out.record.fields[F_DOC], docs[i]);
	}
}

/* A reader keeps nothing of an event before, whether that one was good or not. */
static void
test_events_after_bad_ones(void **state)
{
	struct world *w = *state;
	struct buf b = {0};

	buf_text(&b, HEAD ",\"note\":\"");
	for (unsigned i = 0; i < 200000; i++)
		buf_byte(&b, 'x');
	buf_text(&b, "\"}");
	for (int i = 0; i < 3; i++) {
		assert_true(decode_bytes(w, (char *)b.data, b.len));
		assert_int_equal(w->out.record.fields[F_NOTE].len, 200000);
		assert_false(decode(w, "{\"doc\":[[[1 2]]]}"));
		assert_false(decode_bytes(w, (char *)b.data, b.len - 1));
		assert_false(decode(w, "{\"note\":{\"k\":\"\\ud800\"}}"));
		assert_true(decode_member(w, "\"note\":\"n\""));
		assert_print(&w->out.record.fields[F_NOTE], "n");
		assert_int_equal(w->out.record.fields[F_DOC].type, VALUE_NULL);
	}
	buf_free(&b);
}

static void
test_surrogates_and_nul(void **state)
{
	struct world *w = *state;

	refused(w, decode_member(w, "\"note\":\"\\ud800\""), "field note: ");
	refused(w, decode_member(w, "\"note\":\"\\ud800\""), "lone surrogate");
	refused(w, decode_member(w, "\"note\":\"\\udc00\""), "lone surrogate");
	refused(w, decode_member(w, "\"note\":\"\\ud800x\""), "lone surrogate");
	refused(w, decode_member(w, "\"note\":\"\\ud800\\u0041\""), "lone surrogate");
	refused(w, decode_member(w, "\"note\":\"\\ud800\\ud800\""), "lone surrogate");
	refused(w, decode_member(w, "\"note\":\"a\\u0000b\""), "field note: ");
	refused(w, decode_member(w, "\"note\":\"a\\u0000b\""), "NUL");
	/* The same inside what nobody reads: a json value, an undeclared field, a key. */
	refused(w, decode_member(w, "\"doc\":[{\"k\":\"\\ud800\"}]"), "field doc: ");
	refused(w, decode_member(w, "\"other\":[\"\\u0000\"]"), "NUL");
	refused(w, decode_member(w, "\"other\":{\"\\udfff\":1}"), "lone surrogate");
	refused(w, decode_member(w, "\"\\u0000\":1"), "NUL");
}

static void
test_byte_order_mark_is_ignored(void **state)
{
	struct world *w = *state;

	assert_true(decode(w, "\xef\xbb\xbf" HEAD "}\r"));
	refused(w, decode(w, "\xef\xbb\xbf"), "empty");
	refused(w, decode(w, "\xef\xbb\xbf\xef\xbb\xbf{}"), "no JSON object");
}

static void
test_keys_twice(void **state)
{
	struct world *w = *state;

	refused(w, decode_member(w, "\"id\":\"A2\""), "field id: ");
	refused(w, decode_member(w, "\"id\":\"A2\""), "stands twice");
	refused(w, decode_member(w, "\"\\u0069d\":\"A2\""), "stands twice");
	refused(w, decode_member(w, "\"other\":1,\"b\":2,\"other\":3"), "stands twice");
	refused(w, decode_member(w, "\"other\":1,\"\\u006fther\":3"), "stands twice");
	refused(w, decode_member(w, "\"customer\":{\"address\":{\"city\":\"a\",\"city\":\"b\"}}"),
		"field city: ");
	refused(w, decode_member(w, "\"customer\":{\"address\":{},\"address\":{}}"),
		"stands twice");
	refused(w, decode_member(w, "\"customer\":{\"y\":1,\"y\":{}}"), "stands twice");
	/* The same key in different objects is none of these. */
	assert_true(decode_member(w, "\"customer\":{\"id\":1,\"address\":{\"id\":2}}"));
}

static void
test_nesting(void **state)
{
	struct world *w = *state;
	struct buf b = {0};

	for (unsigned depth = 60; depth <= 70; depth++) {
		buf_clear(&b);
		buf_text(&b, HEAD ",\"doc\":");
		for (unsigned i = 1; i < depth; i++)
			buf_byte(&b, '[');
		for (unsigned i = 1; i < depth; i++)
			buf_byte(&b, ']');
		buf_byte(&b, '}');
		bool good = decode_bytes(w, (char *)b.data, b.len);
		if (depth <= JSON_DEPTH_MAX)
			assert_true(good);
		else
			refused(w, good, "field doc: no valid JSON at byte");
	}
	for (int object = 0; object < 2; object++) {
		buf_clear(&b);
		buf_text(&b, HEAD ",\"deep\":");
		for (unsigned i = 0; i < 10000; i++)
			buf_text(&b, object ? "{\"a\":" : "[");
		refused(w, decode_bytes(w, (char *)b.data, b.len), "ends in the middle");
		for (unsigned i = 0; i <= 10000; i++)
			buf_byte(&b, object || i == 10000 ? '}' : ']');
		refused(w, decode_bytes(w, (char *)b.data, b.len), "nested too deep (at most 64");
	}
	buf_free(&b);
}

static void
test_many_undeclared_keys(void **state)
{
	struct world *w = *state;
	struct buf b = {0};

	for (unsigned n = JSON_UNDECLARED_MAX; n <= JSON_UNDECLARED_MAX + 1; n++) {
		buf_clear(&b);
		buf_text(&b, HEAD);
		for (unsigned i = 0; i < n; i++)
			buf_printf(&b, ",\"k%u\":%u", i, i);
		buf_byte(&b, '}');
		bool good = decode_bytes(w, (char *)b.data, b.len);
		if (n == JSON_UNDECLARED_MAX)
			assert_true(good);
		else
			refused(w, good, "too many undeclared keys");
	}
	assert_true(decode_member(w, "\"k1\":1"));
	assert_int_equal(w->out.undeclared, 1);
	buf_free(&b);
}

static void
test_wrong_types(void **state)
{
	static const struct {
		const char *member, *reason;
	} cases[] = {
	    {"\"note\":5", "field note: a text was expected, this is a number"},
	    {"\"note\":true", "field note: a text was expected, this is a boolean"},
	    {"\"note\":{}", "field note: a text was expected, this is an object"},
	    {"\"note\":[1]", "field note: a text was expected, this is an array"},
	    {"\"amount\":\"12.50\"", "field amount: a number was expected, this is a text"},
	    {"\"seq\":\"1\"", "field seq: an integer was expected, this is a text"},
	    {"\"seq\":1.5", "field seq: an integer was expected"},
	    {"\"seq\":9223372036854775808", "field seq: an integer has 64 bits"},
	    {"\"seq\":-9223372036854775809", "field seq: an integer has 64 bits"},
	    {"\"seq\":1e400", "field seq: an integer of 64 bits"},
	    {"\"hidden\":\"x\"", "field hidden: an integer was expected"},
	    {"\"ok\":1", "field ok: true or false was expected, this is a number"},
	    {"\"ok\":\"true\"", "field ok: true or false was expected, this is a text"},
	    {"\"amount\":1e400", "field amount: decimal has more than 38 digits"},
	    {"\"amount\":123456789012345678901234567890123456789",
	     "field amount: decimal has more"},
	    {"\"amount\":0.1234567890123456789", "field amount: decimal has more than 18 digits"},
	    {"\"score\":1e400", "field score: a float ends at"},
	    {"\"score\":\"1\"", "field score: a number was expected"},
	    {"\"day\":\"2011-02-29\"", "field day: no such day"},
	    {"\"day\":20110229", "field day: a date like"},
	    {"\"unix\":\"2011-10-01T00:00:00Z\"", "field unix: a time as a number"},
	    {"\"unix\":1e30", "field unix: "},
	    {"\"customer\":5", "an object was expected"},
	    {"\"customer\":[]", "an object was expected"},
	    {"\"customer\":{\"address\":\"x\"}", "an object was expected"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		refused(w, decode_member(w, cases[i].member), cases[i].reason);
}

static void
test_numbers_to_the_digit(void **state)
{
	struct world *w = *state;
	const struct value *f;

	assert_true(decode_member(w, "\"seq\":9223372036854775807"));
	assert_true(w->out.record.fields[F_SEQ].integer == INT64_MAX);
	assert_true(decode_member(w, "\"seq\":-9223372036854775808"));
	assert_true(w->out.record.fields[F_SEQ].integer == INT64_MIN);
	assert_true(decode_member(w, "\"seq\":5.0"));
	assert_print(&w->out.record.fields[F_SEQ], "5");
	assert_true(decode_member(w, "\"seq\":-0"));
	assert_print(&w->out.record.fields[F_SEQ], "0");
	assert_true(decode_member(w, "\"seq\":12e2"));
	assert_print(&w->out.record.fields[F_SEQ], "1200");
	assert_true(decode_member(w, "\"amount\":123456789012345678901234567890.12"));
	f = w->out.record.fields;
	assert_print(&f[F_AMOUNT], "123456789012345678901234567890.12");
	assert_true(decode_member(w, "\"amount\":99999999999999999999999999999999999999"));
	f = w->out.record.fields;
	assert_print(&f[F_AMOUNT], "99999999999999999999999999999999999999");
	assert_true(decode_member(w, "\"amount\":0.10"));
	f = w->out.record.fields;
	assert_print(&f[F_AMOUNT], "0.10");
	assert_true(decode_member(w, "\"score\":1e-400"));
	assert_true(w->out.record.fields[F_SCORE].real == 0.0);
}

static void
test_null_is_no_value(void **state)
{
	struct world *w = *state;

	assert_true(decode_member(w, "\"seq\":null,\"amount\":null,\"note\":null,\"doc\":null,"
				     "\"customer\":null,\"ok\":null,\"day\":null,\"unix\":null"));
	for (int i = F_AMOUNT; i < FIELDS; i++)
		assert_int_equal(w->out.record.fields[i].type, VALUE_NULL);
	assert_int_equal(w->out.record.sequence, 0);
	assert_true(decode_member(w, "\"customer\":{\"address\":null}"));
}

static void
test_correlation_id(void **state)
{
	struct world *w = *state;
	struct buf b = {0};

#define AT "\"at\":\"2011-10-01T00:38:44Z\""
	refused(w, decode(w, "{" AT "}"), "field id: the correlation ID is missing");
	refused(w, decode(w, "{\"id\":null," AT "}"), "field id: the correlation ID is missing");
	refused(w, decode(w, "{\"id\":\"\"," AT "}"), "field id: the correlation ID is empty");
	refused(w, decode(w, "{\"id\":7," AT "}"),
		"field id: a text was expected, this is a number");
	for (unsigned n = KEY_BYTES_MAX; n <= KEY_BYTES_MAX + 1; n++) {
		buf_clear(&b);
		buf_text(&b, "{" AT ",\"id\":\"");
		for (unsigned i = 0; i < n; i++)
			buf_byte(&b, 'k');
		buf_text(&b, "\"}");
		bool good = decode_bytes(w, (char *)b.data, b.len);
		if (n == KEY_BYTES_MAX)
			assert_int_equal(w->out.record.key_len, KEY_BYTES_MAX);
		else
			refused(w, good, "field id: the correlation ID has 257 bytes");
	}
	buf_free(&b);
	w->fields[F_ID].type = VALUE_INTEGER;
	assert_true(decode(w, "{\"id\":7.0," AT "}"));
	assert_int_equal(w->out.record.key_len, 1);
	assert_memory_equal(w->out.record.key, "7", 1);
	refused(w, decode(w, "{\"id\":\"7\"," AT "}"), "field id: an integer");
}

static void
test_time_of_event(void **state)
{
	struct world *w = *state;
	static const char *const good[] = {
	    "2011-10-01T00:38:44Z",	     "2011-10-01 00:38:44Z",	  "2011-10-01t00:38:44z",
	    "2011-10-01T02:38:44+02:00",     "2011-09-30T17:38:44-07:00", "2011-10-01T00:38:44.0Z",
	    "2011-10-01T00:38:44.000000000Z"};
	static const char *const bad[] = {"2011-10-01",
					  "2011-10-01T00:38:44",
					  "2011-13-01T00:00:00Z",
					  "2011-10-01T24:00:00Z",
					  "2011-10-01T00:38:60Z",
					  "2011-10-01T00:38Z",
					  "01.10.2011",
					  "",
					  "2011-10-01T00:38:44.Z",
					  "2011-10-01T00:38:44+2",
					  "20111001T003844Z",
					  "now"};
	char s[256];

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		snprintf(s, sizeof s, "{\"id\":\"1\",\"at\":\"%s\"}", good[i]);
		assert_true(decode(w, s));
		assert_true(w->out.record.time_us == INT64_C(1317429524000000));
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(s, sizeof s, "{\"id\":\"1\",\"at\":\"%s\"}", bad[i]);
		refused(w, decode(w, s), "field at: ");
	}
	refused(w, decode(w, "{\"id\":\"1\"}"), "field at: the event has no time");
	refused(w, decode(w, "{\"id\":\"1\",\"at\":null}"), "field at: the event has no time");
	refused(w, decode(w, "{\"id\":\"1\",\"at\":1317429524}"), "unix_s");
	assert_true(decode(w, "{\"id\":\"1\",\"at\":\"2023-11-14T23:13:20Z\"}"));
	refused(w, decode(w, "{\"id\":\"1\",\"at\":\"2023-11-14T23:13:21Z\"}"),
		"field at: the time lies more than 3600 s (time_ahead_max) in the future");
}

static void
test_broker_time_and_none(void **state)
{
	struct world *w = *state;
	struct source_event ev = {.data = "{\"id\":\"1\"}", .len = 10};

	w->source.time = TIME_OF_BROKER;
	assert_false(decoder_event(w->d, 0, &ev, NOW, &w->out));
	assert_string_equal(w->out.reason, "the broker gave this event no time");
	ev.has_broker_time = true;
	ev.broker_time_us = 5;
	assert_true(decoder_event(w->d, 0, &ev, NOW, &w->out));
	assert_true(w->out.record.has_time && w->out.record.time_us == 5);
	ev.broker_time_us = INT64_MAX;
	assert_false(decoder_event(w->d, 0, &ev, NOW, &w->out));
	ev.broker_time_us = INT64_MIN;
	assert_false(decoder_event(w->d, 0, &ev, NOW, &w->out));
	w->source.time = TIME_NONE;
	assert_true(decoder_event(w->d, 0, &ev, NOW, &w->out));
	assert_false(w->out.record.has_time);
}

static void
test_sizes(void **state)
{
	struct world *w = *state;
	struct buf b = {0};

	buf_text(&b, HEAD ",\"note\":\"");
	for (unsigned i = 0; i < 2 << 20; i++)
		buf_byte(&b, 'x');
	buf_text(&b, "\"}");
	refused(w, decode_bytes(w, (char *)b.data, b.len),
		"field note: a text has at most 1048576 bytes, this has 2097152");
	w->model.limits.event_bytes_max = 1000;
	refused(w, decode_bytes(w, (char *)b.data, b.len), "event_bytes_max is 1000");
	buf_free(&b);
}

static void
test_identity_in_the_event(void **state)
{
	struct world *w = *state;
	struct err e;

	decoder_free(w->d);
	w->source.kind = SOURCE_RABBITMQ;
	w->source.identity = IDENTITY_PATH;
	snprintf(w->source.identity_path, sizeof w->source.identity_path, "meta.id");
	assert_true(decoder_new(&w->model, &w->d, &e));
	assert_true(decode_member(w, "\"meta\":{\"id\":\"m-1\"}"));
	assert_int_equal(w->out.identity_len, 3);
	assert_memory_equal(w->out.identity, "m-1", 3);
	assert_true(decode_member(w, "\"meta\":{\"id\":12}"));
	assert_memory_equal(w->out.identity, "12", 2);
	refused(w, decode_member(w, "\"meta\":{}"), "the identity at meta.id is missing");
	refused(w, decode_member(w, "\"x\":1"), "the identity at meta.id is missing");
}

/* No reason holds what the event says: a secret stands at every place of a bad event. */
static void
test_reasons_hold_no_values(void **state)
{
	static const char *const events[] = {
	    "{\"id\":\"A1\",\"at\":\"S3CRET\"}",
	    "{\"id\":[\"S3CRET\"],\"at\":\"2011-10-01T00:38:44Z\"}",
	    "{\"S3CRET\":1,\"S3CRET\":2}",
	    "{\"note\":S3CRET}",
	    "{\"note\":\"S3CRET\\u0000\"}",
	    "{\"note\":\"S3CRET\"} S3CRET",
	    "{\"day\":\"S3CRET\",\"id\":\"S3CRET\"}",
	    "{\"amount\":\"S3CRET\"}",
	    "S3CRET",
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
		assert_false(decode(w, events[i]));
		assert_null(strstr(w->out.reason, "S3CRET"));
	}
}

static void
test_bad_paths(void **state)
{
	static const char *const paths[] = {"a.b", "a..b"};
	struct json_table *t;
	struct err e;

	(void)state;
	assert_false(json_table_new(paths, 2, &t, &e));
	assert_null(t);
	assert_true(json_table_new(paths, 1, &t, &e));
	json_table_free(t);
	json_table_free(NULL);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	static const struct CMUnitTest tests[] = {
	    T(test_whole_event),
	    T(test_order_of_keys_does_not_matter),
	    T(test_not_json),
	    T(test_undeclared_values_are_checked),
	    T(test_json_keeps_what_stands),
	    T(test_events_after_bad_ones),
	    T(test_surrogates_and_nul),
	    T(test_byte_order_mark_is_ignored),
	    T(test_keys_twice),
	    T(test_nesting),
	    T(test_many_undeclared_keys),
	    T(test_wrong_types),
	    T(test_numbers_to_the_digit),
	    T(test_null_is_no_value),
	    T(test_correlation_id),
	    T(test_time_of_event),
	    T(test_broker_time_and_none),
	    T(test_sizes),
	    T(test_identity_in_the_event),
	    T(test_reasons_hold_no_values),
	    T(test_bad_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
