/*
 * Data keys over time, and what ingest refuses to begin with: no key is used before its envelope is
 * published, nor after its end; without one nothing is read. The clock is the test's.
 */
#include "ingest_world.h"

enum { MINUTE_MS = 60000, LIFE_MS = 15 * MINUTE_MS };

static int
setup(void **state)
{
	*state = world_new(world_file);
	return 0;
}

static int
teardown(void **state)
{
	world_close(*state);
	return 0;
}

static bool
ready(struct world *w)
{
	world_step(w);
	return sealing_ready(w->in->sealing);
}

static void
kid_now(const struct world *w, uint8_t kid[static KID_BYTES])
{
	memcpy(kid, data_key_kid(windows_key(&w->in->sealing->windows, 0)), KID_BYTES);
}

static void
nothing_before_the_envelopes(void **state)
{
	struct world *w = *state;

	assert_false(ready(w));
	assert_string_equal(sealing_waits(w->in->sealing), "no data key is published yet");
	assert_int_equal(w->asked_n, w->model->classes_n);
	world_pass_ms(w, 1000);
	assert_false(ready(w));
	assert_int_equal(w->asked_n, w->model->classes_n); /* asked once */
	world_keeper(w);
	assert_true(ready(w));
	assert_null(sealing_waits(w->in->sealing));
	assert_int_equal(w->publishes, w->model->classes_n);
	assert_int_equal(metric_get(&w->page, METRIC_KEY_WINDOWS), 1);
	assert_true(metric_get(&w->page, METRIC_KEY_WAIT_SECONDS) >= 1000000);
}

/* One class answered is not enough: a record has fields of several. */
static void
every_class_is_needed(void **state)
{
	struct world *w = *state;
	struct pack_reader r = {0};
	struct keyreq q;

	world_step(w);
	pack_reader_start(&r, w->asked.data, w->asked.len);
	for (unsigned i = 0; i < w->model->classes_n; i++) {
		assert_false(ready(w));
		assert_true(wire_keyreq_read(&r, &q));
		world_answer(w, &q);
	}
	assert_true(ready(w));
	pack_reader_free(&r);
}

static void
next_while_in_use(void **state)
{
	struct world *w = *state;
	uint8_t first[KID_BYTES], second[KID_BYTES];

	world_step(w);
	world_settle(w);
	kid_now(w, first);
	world_pass_ms(w, LIFE_MS / 3 * 2 - 1000);
	assert_true(ready(w));
	assert_int_equal(w->asked_n, 0);
	world_pass_ms(w, 2000);
	assert_true(ready(w));
	assert_int_equal(w->asked_n, w->model->classes_n);
	kid_now(w, second);
	assert_memory_equal(first, second, KID_BYTES); /* until the answer */
	world_settle(w);
	assert_true(ready(w));
	kid_now(w, second);
	assert_memory_not_equal(first, second, KID_BYTES);
}

/* The keeper stays away: the key until its end, then back pressure; it is wiped. */
static void
expired_is_never_used(void **state)
{
	struct world *w = *state;

	world_step(w);
	world_settle(w);
	for (int64_t ms = 0; ms < LIFE_MS - WINDOW_MARGIN_MS; ms += 10000, world_pass_ms(w, 10000))
		assert_true(ready(w));
	world_pass_ms(w, 10000);
	assert_false(ready(w));
	assert_false(w->in->sealing->windows.now.made);
	assert_null(windows_key(&w->in->sealing->windows, 0));
	/* What it asks for is as old as half a minute at most, or the keeper would refuse it. */
	world_keeper_dies(w);
	world_pass_ms(w, 5 * MINUTE_MS);
	assert_false(ready(w));
	sealing_peer(w->in->sealing, w->now);
	world_settle(w);
	assert_true(ready(w));
}

/* Held events do not pass without a key, though their persons are known. */
static void
held_waits_for_a_key(void **state)
{
	struct world *w = *state;

	world_step(w);
	world_settle(w);
	world_text(w, S_E, 0,
		   "{\"id\":\"a\",\"at\":\"2023-11-14T00:00:00Z\",\"cpf\":\"52998224725\"}");
	world_step(w);
	world_pass_ms(w, LIFE_MS);
	world_step(w); /* the window ends: what was asked is asked again */
	assert_false(sealing_ready(w->in->sealing));
	w->refuse = "the key store is away";
	world_keeper(w);
	w->refuse = NULL;
	world_flush(w);
	assert_int_equal(w->got_n, 0);
	for (unsigned i = 0; i < 4; i++) {
		world_pass_ms(w, WINDOW_RETRY_MS);
		world_step(w);
		world_settle(w);
	}
	world_flush(w);
	assert_int_equal(w->got_n, 1);
	assert_int_equal(w->got[0].r.kind, RECORD_EVENT);
}

static void
clock_jumps(void **state)
{
	struct world *w = *state;

	world_step(w);
	world_settle(w);
	w->wall_us += (int64_t)LIFE_MS * 1000; /* the wall clock alone */
	assert_false(ready(w));
	world_settle(w);
	assert_true(ready(w));
	w->now = mono_add_ms(w->now, LIFE_MS); /* the other alone */
	assert_false(ready(w));
	world_settle(w);
	assert_true(ready(w));
}

static void
records_end_a_window(void **state)
{
	struct world *w = *state;
	struct windows *x = &w->in->sealing->windows;

	world_step(w);
	world_settle(w);
	x->now.records = WINDOW_RECORDS_MAX / 3 * 2;
	assert_true(ready(w));
	assert_int_equal(w->asked_n, w->model->classes_n);
	x->now.records = WINDOW_RECORDS_MAX - SOURCE_BATCH_MAX + 1;
	assert_false(ready(w));
	world_settle(w);
	assert_true(ready(w));
	assert_int_equal(x->now.records, 0);
}

/* A refusal is told and tried again, ever more seldom. */
static void
refusals(void **state)
{
	struct world *w = *state;

	world_step(w);
	w->refuse = "at most 60 envelopes a minute";
	world_keeper(w);
	assert_false(ready(w));
	assert_string_equal(sealing_waits(w->in->sealing), w->refuse);
	assert_int_equal(w->asked_n, 0);
	world_pass_ms(w, WINDOW_RETRY_MS);
	world_step(w);
	assert_int_equal(w->asked_n, w->model->classes_n);
	world_keeper(w);
	world_pass_ms(w, WINDOW_RETRY_MS);
	world_step(w);
	assert_int_equal(w->asked_n, 0);
	world_pass_ms(w, WINDOW_RETRY_MS);
	w->refuse = NULL;
	world_step(w);
	world_settle(w);
	assert_true(ready(w));
	assert_null(sealing_waits(w->in->sealing));
}

enum { CORE_POLICY_AT = 88 }; /* envelope.h */

/* A core that somebody else signed, or of another key, is no publication of ours. */
static void
wrong_cores(void **state)
{
	struct world *w = *state;
	struct key *other = world_key(KEY_SEALER, "", 0), *own = w->sealer;
	struct windows *x = &w->in->sealing->windows;

	world_step(w);
	w->sealer = other;
	world_keeper(w);
	assert_false(ready(w));
	w->sealer = own;
	world_pass_ms(w, WINDOW_RETRY_MS);
	world_step(w);
	/* It says something else than was asked: the policy's hash, before the pipeline's name. */
	x->next.of[0].core.data[CORE_POLICY_AT] ^= 1;
	world_keeper(w);
	assert_false(ready(w));
	world_pass_ms(w, 2 * WINDOW_RETRY_MS);
	world_step(w);
	world_settle(w);
	assert_true(ready(w));
	key_free(other);
}

/* Waiting helps where the keeper has the older policy; where we have it, a new birth does. */
static void
a_newer_policy_ends_us(void **state)
{
	struct world *w = *state;
	struct keyans a = {.kind = KEY_PUBLISH, .reason = "policy", .reason_len = 6};

	world_step(w);
	a.request = w->in->sealing->windows.next.of[0].request;
	a.policy_serial = WORLD_SERIAL - 1;
	assert_true(sealing_answer(w->in->sealing, &a, w->now, &w->e));
	world_pass_ms(w, 2 * WINDOW_RETRY_MS);
	world_step(w);
	a.request = w->in->sealing->windows.next.of[0].request;
	a.policy_serial = WORLD_SERIAL + 1;
	assert_false(sealing_answer(w->in->sealing, &a, w->now, &w->e));
	assert_int_equal(w->e.code, EXIT_UNAVAILABLE);
}

static void
expired_policy_makes_no_keys(void **state)
{
	struct world *w = *state;
	bool ask;

	world_step(w);
	world_settle(w);
	w->now = mono_add_ms(w->now, LIFE_MS);
	w->wall_us = (w->policy.not_after_ms + 1000) * 1000;
	assert_false(windows_step(&w->in->sealing->windows, w->now, w->wall_us, &ask, &w->e));
	assert_int_equal(w->e.code, EXIT_PERMISSION);
	assert_false(windows_usable(&w->in->sealing->windows, w->now, w->wall_us));
}

/* ---- what is refused at the beginning ---- */

/* Hands over what prepare made and asks the policy; the error's code, 0 when it is admitted. */
static int
admitted(struct world *w, const struct own *own)
{
	struct keys k;
	int code = 0;

	if (!keys_open(&k, &w->worker, &w->e) || !keys_admit(&k, w->model, own, w->wall_us, &w->e))
		code = w->e.code;
	keys_free(&k);
	return code;
}

static void
policies_refused(void **state)
{
	struct world *w = world_prepare(world_file);
	struct own own;
	struct own_range range;

	(void)state;
	world_hand_keys(w);
	world_own(w, &own, &range);
	assert_int_equal(admitted(w, &own), 0);
	own.has_policy = false;
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION);
	own.has_policy = true;
	own.policy_serial = WORLD_SERIAL + 1; /* rolled back */
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION);
	own.policy_serial = WORLD_SERIAL;
	own.policy_root[3] ^= 1; /* another root, or none of ours */
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION);
	own.policy_root[3] ^= 1;
	w->wall_us = (w->policy.not_after_ms + 1) * 1000;
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION);
	world_close(w);
}

/* The pipeline file is weaker than the list that was signed. */
static void
weaker_files_refused(void **state)
{
	static const char *const changes[][2] = {
	    {"name: { type: text, sensitive: identity }", "name: text"},
	    {"sensitive: financial, path", "sensitive: identity, path"},
	    {"    subject: cpf\n", ""},
	    {"then 'high' else", "then 'very high' else"},
	    {", canonical: cpf", ""},
	    {"    fields: { id: text, note", "    fields: { id: text, more: text, note"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++) {
		struct world *w = world_prepare(world_file);
		const char *at = strstr(world_file, changes[i][0]);
		struct conf_report report = {0};
		struct buf file = {0};
		struct own own;
		struct own_range range;

		assert_non_null(at);
		buf_add(&file, world_file, (size_t)(at - world_file));
		buf_text(&file, changes[i][1]);
		buf_text(&file, at + strlen(changes[i][0]));
		world_hand_keys(w);
		world_own(w, &own, &range);
		model_free(w->model);
		if (!conf_read_text("test", (const char *)file.data, file.len, &w->model, &report))
			fail_msg("%s", buf_cstr(&report.text));
		conf_report_free(&report);
		w->worker.model = w->model;
		if (admitted(w, &own) != EXIT_PERMISSION)
			fail_msg("change %u was admitted", i);
		buf_free(&file);
		world_close(w);
	}
}

static void
token_keys_refused(void **state)
{
	struct own own;
	struct own_range range;
	struct buf file = {0}, other = {0};
	struct world *w = world_prepare(world_file);
	struct key *k = world_key(KEY_TOKEN, "person", 3);

	(void)state;
	assert_int_equal(keyfile_encode(w->token, NULL, NULL, &file), SEAL_OK);
	assert_int_equal(keyfile_encode(k, NULL, NULL, &other), SEAL_OK);
	world_own(w, &own, &range);
	world_hand(w, "policy", w->policy_file.data, w->policy_file.len, 0644);
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION); /* none */
	world_hand(w, "token-person-2.key", file.data, file.len, 0640);
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION); /* the group may read it */
	assert_int_equal(fchmod(w->worker.keys[1].fd, 0600), 0);
	assert_int_equal(admitted(w, &own), 0);
	/* The highest epoch is taken, so a file under another's name is noticed. */
	world_hand(w, "token-person-3.key", file.data, file.len, 0600);
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION);
	close(w->worker.keys[2].fd);
	w->worker.keys_n--;
	world_hand(w, "token-person-3.key", other.data, other.len, 0600);
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION); /* not signed */
	world_token_list(&w->policy, k);
	world_policy_sign(w);
	close(w->worker.keys[0].fd);
	w->worker.keys[0].fd = world_fd(w->policy_file.data, w->policy_file.len, 0644);
	assert_int_equal(admitted(w, &own), 0);
	/* The oldest that was signed is not there: persons would have other pseudonyms. */
	w->worker.keys[1].name[0] = 'x';
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION);
	w->worker.keys[1].name[0] = 't';
	/* The newest that was signed is not there; then another key under its name. */
	close(w->worker.keys[2].fd);
	w->worker.keys_n--;
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION);
	key_free(k);
	k = world_key(KEY_TOKEN, "person", 3);
	buf_clear(&other);
	assert_int_equal(keyfile_encode(k, NULL, NULL, &other), SEAL_OK);
	world_hand(w, "token-person-3.key", other.data, other.len, 0600);
	assert_int_equal(admitted(w, &own), EXIT_PERMISSION);
	key_free(k);
	buf_free(&file);
	buf_free(&other);
	world_close(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH_WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    WITH_WORLD(nothing_before_the_envelopes),
	    WITH_WORLD(every_class_is_needed),
	    WITH_WORLD(next_while_in_use),
	    WITH_WORLD(expired_is_never_used),
	    WITH_WORLD(held_waits_for_a_key),
	    WITH_WORLD(clock_jumps),
	    WITH_WORLD(records_end_a_window),
	    WITH_WORLD(refusals),
	    WITH_WORLD(a_newer_policy_ends_us),
	    WITH_WORLD(wrong_cores),
	    WITH_WORLD(expired_policy_makes_no_keys),
	    cmocka_unit_test(policies_refused),
	    cmocka_unit_test(weaker_files_refused),
	    cmocka_unit_test(token_keys_refused),
	};

	return cmocka_run_group_tests_name("ingest_window", tests, NULL, NULL);
}
