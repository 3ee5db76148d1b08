/*
 * What leaves ingest where a pipeline seals: sealed values that open with the right key and no
 * other, tokens, bodies of dead letters; and nothing in clear.
 */
#include "ingest_world.h"

static const char ana[] = "{\"id\":\"a1\",\"at\":\"2023-11-14T00:00:00Z\",\"name\":\"Ana Canary\","
			  "\"cpf\":\"529.982.247-25\",\"money\":{\"income\":1234.50}}";

static int
setup(void **state)
{
	struct world *w = world_new(world_file);

	world_step(w);
	world_settle(w);
	assert_true(sealing_ready(w->in->sealing));
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	world_close(*state);
	return 0;
}

static bool
bytes_have(const struct buf *b, const char *s)
{
	return memmem(b->data, b->len, s, strlen(s)) != NULL;
}

static void
text_is(const struct value *v, const char *s)
{
	assert_int_equal(v->type, VALUE_TEXT);
	assert_int_equal(v->len, strlen(s));
	assert_memory_equal(v->text, s, v->len);
}

/* ---- fields ---- */

static void
fields_open(void **state)
{
	struct world *w = *state;
	struct buf plain = {0};
	struct value v;

	world_text(w, S_E, 5, ana);
	world_settle(w);
	world_flush(w);
	assert_int_equal(w->got_n, 1);
	const struct got *g = &w->got[0];
	assert_int_equal(g->r.kind, RECORD_EVENT);
	assert_true(g->r.has_sid);
	text_is(&g->fields[world_field(w, S_E, "id")], "a1");
	v = world_open_field(w, g, (unsigned)world_field(w, S_E, "name"), &plain);
	text_is(&v, "Ana Canary");
	v = world_open_field(w, g, (unsigned)world_field(w, S_E, "cpf"), &plain);
	text_is(&v, "529.982.247-25");
	v = world_open_field(w, g, (unsigned)world_field(w, S_E, "income"), &plain);
	assert_int_equal(v.type, VALUE_DECIMAL);
	assert_true(value_units(&v) == 123450 && v.scale == 2);
	text_is(&g->fields[world_field(w, S_E, "band")], "high"); /* before sealing */
	assert_int_equal(metric_get(&w->page, METRIC_TOKENS), 1);
	assert_int_equal(metric_get(&w->page, METRIC_SEALED_FIELDS), 4);
	buf_free(&plain);
}

static void
absent_and_empty_are_sealed(void **state)
{
	struct world *w = *state;
	struct buf plain = {0};
	struct value v;

	world_text(w, S_STRICT, 0, "{\"id\":\"x\"}");
	world_text(w, S_STRICT, 1, "{\"id\":\"x\",\"note\":\"\"}");
	world_flush(w);
	assert_int_equal(w->got_n, 2);
	v = world_open_field(w, &w->got[0], (unsigned)world_field(w, S_STRICT, "note"), &plain);
	assert_int_equal(v.type, VALUE_NULL);
	v = world_open_field(w, &w->got[1], (unsigned)world_field(w, S_STRICT, "note"), &plain);
	text_is(&v, "");
	assert_false(w->got[0].r.has_sid);
	buf_free(&plain);
}

static void
token_of(struct world *w, const struct got *g, char out[static TOKEN_TEXT_BYTES + 1])
{
	const struct value *v = &g->fields[world_field(w, S_E, "cpf_token")];

	assert_int_equal(v->type, VALUE_TEXT);
	assert_int_equal(v->len, TOKEN_TEXT_BYTES);
	memcpy(out, v->text, v->len);
	out[v->len] = '\0';
}

static void
tokens_join(void **state)
{
	struct world *w = *state;
	char a[TOKEN_TEXT_BYTES + 1], b[TOKEN_TEXT_BYTES + 1];

	world_text(w, S_E, 0, ana);
	world_text(w, S_E, 1,
		   "{\"id\":\"b\",\"at\":\"2023-11-14T00:00:00Z\",\"cpf\":\"52998224725\"}");
	world_text(w, S_E, 2, "{\"id\":\"c\",\"at\":\"2023-11-14T00:00:00Z\",\"cpf\":\"not one\"}");
	world_text(w, S_E, 3, "{\"id\":\"d\",\"at\":\"2023-11-14T00:00:00Z\"}");
	world_settle(w);
	world_flush(w);
	assert_int_equal(w->got_n, 4);
	token_of(w, &w->got[0], a);
	token_of(w, &w->got[1], b);
	assert_string_equal(a, b);
	assert_memory_equal(a, "0102", 4); /* version and epoch */
	assert_memory_equal(w->got[0].r.sid, w->got[1].r.sid, SUBJECT_ID_BYTES);
	for (unsigned i = 2; i < 4; i++) {
		assert_int_equal(w->got[i].fields[world_field(w, S_E, "cpf_token")].type,
				 VALUE_NULL);
		assert_false(w->got[i].r.has_sid);
	}
	assert_int_equal(metric_get(&w->page, METRIC_TOKENS), 2);
	assert_int_equal(metric_get(&w->page, METRIC_TOKENS_REFUSED), 1);
}

/* Whatever else is wrong with an event: its person is found, so that it can be erased. */
static void
dead_have_their_person(void **state)
{
	struct world *w = *state;

	world_text(w, S_E, 0, ana);
	world_text(w, S_E, 1, "{\"id\":\"a\",\"cpf\":\"529.982.247-25\",\"money\":[1]}");
	world_text(w, S_E, 2, "{\"id\":\"a\",\"cpf\":52998224725,\"money\":{\"income\":1}}");
	world_settle(w);
	world_flush(w);
	assert_int_equal(w->got_n, 3);
	for (unsigned i = 1; i < 3; i++) {
		assert_int_equal(w->got[i].r.kind, RECORD_DEAD);
		assert_true(w->got[i].r.has_sid);
		assert_memory_equal(w->got[i].r.sid, w->got[0].r.sid, SUBJECT_ID_BYTES);
	}
}

/* Tokens are made with the newest key, sids with the oldest: tombstones are by sid. */
static void
rotation_keeps_persons(void **state)
{
	struct world *w = world_prepare(world_file);
	struct key *k = world_key(KEY_TOKEN, "person", 3);
	struct token_key *oldest;
	struct buf file = {0};
	char token[TOKEN_TEXT_BYTES + 1];
	uint8_t sid[SUBJECT_ID_BYTES];

	(void)state;
	world_token_list(&w->policy, k);
	world_policy_sign(w);
	assert_int_equal(keyfile_encode(k, NULL, NULL, &file), SEAL_OK);
	world_hand(w, "token-person-3.key", file.data, file.len, 0600);
	world_start(w);
	world_step(w);
	world_text(w, S_E, 0, ana);
	world_settle(w);
	world_flush(w);
	assert_int_equal(w->got_n, 1);
	token_of(w, &w->got[0], token);
	assert_memory_equal(token, "0103", 4);
	assert_int_equal(token_key_new(w->token, "person", 2, &oldest), SEAL_OK);
	token_sid(oldest, "52998224725", 11, sid);
	assert_true(w->got[0].r.has_sid);
	assert_memory_equal(w->got[0].r.sid, sid, sizeof sid);
	token_key_free(oldest);
	buf_free(&file);
	key_free(k);
	world_close(w);
}

/* ---- fields that are not declared ---- */

static void
unknown_sealed(void **state)
{
	struct world *w = *state;
	struct buf plain = {0};
	struct value v;
	const unsigned unknown = (unsigned)w->model->sources[S_E].unknown_field;

	world_text(w, S_E, 0,
		   "{\"phone\" : \"+55 11\", \"id\":\"a\",\"at\":\"2023-11-14T00:00:00Z\","
		   "\"money\":{\"income\":1, \"debt\" : [1, {\"x\":2}] ,\"k\\\"\\u0001\":null},"
		   "\"o\":{\"money\":{\"a\":1}},\"e\":{}}");
	world_text(w, S_E, 1, "{\"id\":\"a\",\"at\":\"2023-11-14T00:00:00Z\"}");
	world_text(w, S_E, 2,
		   "{\"id\":\"a\",\"at\":\"2023-11-14T00:00:00Z\",\"money\":{\"z\":true}}");
	world_settle(w);
	world_flush(w);
	v = world_open_field(w, &w->got[0], unknown, &plain);
	assert_int_equal(v.type, VALUE_JSON);
	static const char want[] =
	    "{\"phone\":\"+55 11\",\"money\":{\"debt\":[1, {\"x\":2}],\"k\\\"\\u0001\":null},"
	    "\"o\":{\"money\":{\"a\":1}},\"e\":{}}";
	assert_int_equal(v.len, sizeof want - 1);
	assert_memory_equal(v.text, want, v.len);
	v = world_open_field(w, &w->got[1], unknown, &plain);
	assert_int_equal(v.type, VALUE_NULL);
	v = world_open_field(w, &w->got[2], unknown, &plain);
	assert_int_equal(v.len, sizeof "{\"money\":{\"z\":true}}" - 1);
	assert_int_equal(metric_get(&w->page, METRIC_UNKNOWN_FIELDS), 6);
	buf_free(&plain);
}

static void
unknown_rejected(void **state)
{
	struct world *w = *state;

	world_text(w, S_STRICT, 0, "{\"id\":\"a\",\"Ana Canary\":1}");
	world_text(w, S_PLAIN, 0, "{\"id\":\"a\",\"other\":1}");
	world_flush(w);
	assert_int_equal(w->got_n, 2);
	assert_int_equal(w->got[0].r.kind, RECORD_DEAD);
	assert_null(memmem(w->got[0].r.reason, w->got[0].r.reason_len, "Canary", 6));
	assert_int_equal(w->got[1].r.kind, RECORD_EVENT);
	assert_int_equal(w->page.source[S_STRICT][METRIC_SOURCE_UNKNOWN], 1);
	assert_int_equal(w->page.source[S_PLAIN][METRIC_SOURCE_UNKNOWN], 1);
	assert_false(bytes_have(&w->data, "Canary"));
}

/* ---- dead letters ---- */

static void
body_is(struct world *w, const struct got *g, const char *event, size_t n, bool wants_raw)
{
	struct buf plain = {0};
	struct value v;
	const char *class;
	bool raw;

	assert_int_equal(g->r.kind, RECORD_DEAD);
	assert_int_equal(world_open_value(w, g, "$event", g->r.body, g->r.body_len, &plain, &class),
			 SEAL_OK);
	assert_string_equal(class, POLICY_DEAD_LETTER);
	assert_int_equal(seal_plain_value(&plain, &v, &raw), SEAL_OK);
	assert_int_equal(raw, wants_raw);
	assert_int_equal(v.len, n);
	assert_memory_equal(v.text, event, n);
	buf_free(&plain);
}

static void
dead_bodies_open(void **state)
{
	struct world *w = *state;
	static const char bad_time[] =
	    "{\"id\":\"a\",\"at\":\"Canary\",\"cpf\":\"52998224725\",\"name\":\"Canary\"}";
	static const char bytes[] = "\xff\xfe Canary";

	world_text(w, S_E, 0, bad_time);
	world_event(w, S_E, 1, bytes, sizeof bytes - 1);
	world_text(w, S_PLAIN, 0, "Canary, no JSON");
	world_settle(w);
	world_flush(w);
	assert_int_equal(w->got_n, 3);
	for (unsigned i = 0; i < 3; i++) {
		const struct got *g = &w->got[i];

		if (g->r.source == S_PLAIN) {
			body_is(w, g, "Canary, no JSON", 15, false);
			assert_false(g->r.has_sid);
		} else if (g->r.offset == 0) {
			body_is(w, g, bad_time, sizeof bad_time - 1, false);
			assert_true(g->r.has_sid); /* the person could be read */
		} else {
			body_is(w, g, bytes, sizeof bytes - 1, true);
			assert_false(g->r.has_sid);
		}
	}
	assert_false(bytes_have(&w->data, "Canary"));
}

static void
dead_too_large(void **state)
{
	struct world *w = *state;
	size_t n = (2 << 20) + 100;
	char *event = mem_alloc(n);

	memset(event, ' ', n);
	memcpy(event, "{\"id\":\"a\",\"at\":\"2023-11-14T00:00:00Z\",\"Canary\":\"", 48);
	memset(event + 48, 'x', n - 50);
	memcpy(event + n - 2, "\"}", 2);
	world_event(w, S_E, 0, event, n);
	world_settle(w);
	world_flush(w);
	assert_int_equal(w->got_n, 1);
	assert_int_equal(w->got[0].r.kind, RECORD_DEAD);
	assert_int_equal(w->got[0].r.body_len, 0);
	assert_non_null(memmem(w->got[0].r.reason, w->got[0].r.reason_len, "not kept", 8));
	assert_true(w->data.len < 1000);
	free(event);
}

/* ---- persons ---- */

/* Covers end exactly before the first event that waits, and order is kept. */
static void
hold_keeps_order(void **state)
{
	struct world *w = *state;

	world_text(w, S_E, 3, "{\"id\":\"a\",\"at\":\"2023-11-14T00:00:00Z\"}"); /* of nobody */
	world_text(w, S_E, 7, ana);
	world_text(w, S_E, 9, "{\"id\":\"b\",\"at\":\"2023-11-14T00:00:00Z\"}"); /* behind it */
	world_text(w, S_PLAIN, 4, "{\"id\":\"p\",\"n\":1}");			 /* passes */
	assert_int_equal(w->in->sealing->hold.n, 2);
	world_flush(w);
	assert_int_equal(w->got_n, 2);
	assert_int_equal(w->to[S_E + 1], 4);
	assert_int_equal(w->to[S_PLAIN + 1], 5);
	world_step(w);
	assert_int_equal(w->in->sealing->hold.n, 2); /* asked, not answered */
	assert_int_equal(w->asked_n, 1);
	world_flush(w);
	assert_int_equal(w->to[S_E + 1], 4);
	world_settle(w);
	assert_int_equal(w->in->sealing->hold.n, 0);
	assert_int_equal(w->in->sealing->hold.bytes, 0);
	world_flush(w);
	assert_int_equal(w->got_n, 4);
	assert_int_equal(w->got[2].r.offset, 7);
	assert_int_equal(w->got[3].r.offset, 9);
	assert_int_equal(w->to[S_E + 1], 10);
	assert_int_equal(w->persons, 1);
	world_text(w, S_E, 11, ana); /* known by now */
	assert_int_equal(w->in->sealing->hold.n, 0);
}

static void
person_text(char *out, size_t n, unsigned i)
{
	snprintf(out, n, "{\"id\":\"p%u\",\"at\":\"2023-11-14T00:00:00Z\",\"cpf\":\"%011u\"}", i,
		 i);
}

/* More persons than a request takes, and more than the requests under way. */
static void
many_persons(void **state)
{
	struct world *w = *state;
	enum { PERSONS = 3000 };
	char text[128];

	for (unsigned i = 0; i < PERSONS; i++) {
		person_text(text, sizeof text, i);
		world_text(w, S_E, i, text);
	}
	assert_int_equal(w->in->sealing->hold.n, PERSONS);
	world_step(w);
	assert_int_equal(w->asked_n, 3);
	world_settle(w);
	while (w->in->sealing->hold.n)
		world_step(w);
	world_flush(w);
	assert_int_equal(w->got_n, PERSONS);
	for (unsigned i = 0; i < PERSONS; i++)
		assert_int_equal(w->got[i].r.offset, i);
	assert_int_equal(w->persons, PERSONS);
}

static void
full_hold_stops_reading(void **state)
{
	struct world *w = *state;
	char text[128];
	unsigned i;

	for (i = 0; sealing_ready(w->in->sealing); i++) {
		person_text(text, sizeof text, i);
		world_text(w, S_E, i, text);
	}
	assert_int_equal(i, HOLD_EVENTS_MAX);
	world_step(w);
	assert_null(sealing_waits(w->in->sealing));
	world_pass_ms(w, HELD_TOLD_MS + 1);
	world_step(w);
	assert_string_equal(sealing_waits(w->in->sealing), "secrets of persons have not come yet");
	assert_int_equal(metric_get(&w->page, METRIC_HELD_EVENTS), HOLD_EVENTS_MAX);
	assert_true(w->asked_n <= SUBJECTS_REQUESTS_MAX);
}

/* A keeper that dies and one that refuses: asked again, nothing is lost, nothing passes. */
static void
persons_asked_again(void **state)
{
	struct world *w = *state;

	world_text(w, S_E, 0, ana);
	world_step(w);
	assert_int_equal(w->asked_n, 1);
	world_keeper_dies(w);
	world_step(w);
	assert_int_equal(w->asked_n, 0); /* nobody has said that it died */
	sealing_peer(w->in->sealing, w->now);
	assert_int_equal(w->asked_n, 1);
	w->refuse = "the key store is away";
	world_keeper(w);
	w->refuse = NULL;
	world_step(w);
	assert_int_equal(w->asked_n, 0);
	world_pass_ms(w, SUBJECTS_RETRY_MS);
	world_step(w);
	assert_int_equal(w->asked_n, 1);
	world_flush(w);
	assert_int_equal(w->got_n, 0);
	world_settle(w);
	world_flush(w);
	assert_int_equal(w->got_n, 1);
}

/* An erasure is effective when the window ends: from then on the person's values are erased. */
static void
erased_within_a_window(void **state)
{
	struct world *w = *state;
	struct buf plain = {0};
	const char *class;

	world_text(w, S_E, 0, ana);
	world_settle(w);
	world_flush(w);
	memcpy(w->erased[w->erased_n++], w->got[0].r.sid, SUBJECT_ID_BYTES);
	world_text(w, S_E, 1, ana);
	world_pass_ms(w, 11 * 60 * 1000);
	world_step(w);
	world_settle(w); /* new keys: persons are forgotten */
	world_text(w, S_E, 2, ana);
	world_text(w, S_E, 3, "{\"id\":\"a\",\"at\":\"Canary\",\"cpf\":\"52998224725\"}");
	world_settle(w);
	world_flush(w);
	assert_int_equal(w->got_n, 4);
	world_open_field(w, &w->got[1], (unsigned)world_field(w, S_E, "name"), &plain);
	for (unsigned i = 0; i < w->model->sources[S_E].fields_n; i++) {
		const struct value *v = &w->got[2].fields[i];

		if (w->model->sources[S_E].fields[i].class < 0)
			continue;
		assert_int_equal(v->type, VALUE_SEALED);
		assert_int_equal(v->len, SEALED_ERASED_BYTES);
	}
	assert_int_equal(world_open_value(w, &w->got[3], "$event", w->got[3].r.body,
					  w->got[3].r.body_len, &plain, &class),
			 SEAL_ERASED);
	assert_int_equal(metric_get(&w->page, METRIC_ERASED_FIELDS), 5);
	buf_free(&plain);
}

/* ---- nothing in clear ---- */

static uint32_t
chance(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* A value that cannot stand in the bytes by accident. */
static void
canary_make(uint32_t *seed, char out[static 13], bool digits)
{
	for (unsigned i = 0; i < 12; i++)
		out[i] = (char)(digits ? '1' + chance(seed) % 9 : 'a' + chance(seed) % 26);
	out[12] = '\0';
}

static void
nothing_in_clear(void **state)
{
	struct world *w = *state;
	enum { EVENTS = 600 };
	static char canaries[EVENTS][4][13];
	static const char *const times[] = {"2023-11-14T00:00:00Z", "broken"};
	uint32_t seed = 20231114;
	struct buf text = {0};

	for (unsigned i = 0; i < EVENTS; i++) {
		for (unsigned k = 0; k < 4; k++)
			canary_make(&seed, canaries[i][k], k == 1 || k == 2);
		canaries[i][1][11] = '\0';
		buf_clear(&text);
		buf_printf(&text,
			   "{\"id\":\"id%u\",\"at\":\"%s\",\"name\":\"%s\",\"cpf\":%s\"%s\","
			   "\"money\":{\"income\":%s},\"%s\":\"%s\"%s",
			   i % 50, times[chance(&seed) % 4 == 0], canaries[i][0],
			   chance(&seed) % 8 ? "" : "0", canaries[i][1], canaries[i][2],
			   canaries[i][3], canaries[i][3], chance(&seed) % 10 ? "}" : "");
		world_text(w, S_E, i, buf_cstr(&text));
		if (chance(&seed) % 16 == 0)
			world_settle(w);
	}
	world_settle(w);
	while (w->in->sealing->hold.n)
		world_step(w);
	world_flush(w);
	assert_int_equal(w->got_n, EVENTS);
	for (unsigned i = 0; i < EVENTS; i++)
		for (unsigned k = 0; k < 4; k++)
			assert_false(bytes_have(&w->data, canaries[i][k]));
	buf_free(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH_WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    WITH_WORLD(fields_open),
	    WITH_WORLD(absent_and_empty_are_sealed),
	    WITH_WORLD(tokens_join),
	    WITH_WORLD(unknown_sealed),
	    WITH_WORLD(unknown_rejected),
	    WITH_WORLD(dead_bodies_open),
	    WITH_WORLD(dead_too_large),
	    WITH_WORLD(hold_keeps_order),
	    WITH_WORLD(many_persons),
	    WITH_WORLD(full_hold_stops_reading),
	    WITH_WORLD(persons_asked_again),
	    WITH_WORLD(erased_within_a_window),
	    WITH_WORLD(dead_have_their_person),
	    WITH_WORLD(nothing_in_clear),
	    cmocka_unit_test(rotation_keeps_persons),
	};

	return cmocka_run_group_tests_name("ingest_seal", tests, NULL, NULL);
}
