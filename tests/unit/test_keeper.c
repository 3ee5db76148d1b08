/*
 * The keeper: what it refuses, what it publishes, and whose secrets it gives, against a private
 * PostgreSQL with a login that may call its three functions. Starts itself again under
 * tests/e2e/postgres_server.py, which owns the cluster; without PostgreSQL those tests are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "keeper/keeper.h"
#include "keyhash.h"
#include "log.h"
#include "mem.h"
#include "pg_login.h"
#include "sql/migrations.h"

enum { NOW_MS = 1700000000, MINUTE = 60 * 1000, ROLES = 2, SERIAL = 5 };

static struct {
	struct key *root, *other_root, *sealer, *stranger;
	struct key *roles[ROLES], *escrow, *audit;
	struct policy policy; /* as signed */
	struct buf file;
	struct model model;
	struct worker worker;
	struct keeper *k;
	struct pg *eye;
	struct buf dsn;
	/* of the last answer */
	unsigned answers, to;
	struct keyans answer;
	char reason[REASON_MAX + 1];
	uint8_t core[CORE_BYTES_MAX];
	bool erased[KEYREQ_SUBJECTS_MAX];
	uint8_t secrets[KEYREQ_SUBJECTS_MAX][SUBJECT_SECRET_BYTES];
} t;

/* ---- making ---- */

static struct key *
key_make(enum key_type type, const char *name, unsigned epoch)
{
	struct key *k = NULL;

	assert_int_equal(key_generate(type, name, epoch, &k), SEAL_OK);
	return k;
}

static void
policy_make(struct policy *p, const char *pipeline, uint64_t serial)
{
	static const char *const names[ROLES] = {"science", "audit_room"};

	p->serial = serial;
	p->not_before_ms = 0;
	p->not_after_ms = (int64_t)NOW_MS * 1000;
	snprintf(p->pipeline.s, sizeof p->pipeline.s, "%s", pipeline);
	for (int i = 0; i < ROLES; i++) {
		struct policy_role *r = policy_role_add(p, names[i]);
		r->epoch = 1;
		memcpy(r->pk, key_public(t.roles[i]), sizeof r->pk);
	}
	name_list_add(&policy_class_add(p, "financial")->roles, names[0]);
	name_list_add(&policy_class_add(p, POLICY_DEAD_LETTER)->roles, names[0]);
	name_list_add(&p->classes[p->classes_n - 1].roles, names[1]);
	memcpy(p->escrow, key_public(t.escrow), sizeof p->escrow);
	memcpy(p->audit, key_public(t.audit), sizeof p->audit);
	policy_sealer_add(p, key_public(t.sealer));
}

static void
policy_signed(struct policy *p, const struct key *root, struct buf *file)
{
	buf_clear(file);
	assert_int_equal(policy_sign(p, root, file), SEAL_OK);
}

/* A request as ingest makes it; freed by published_free. */
struct published {
	struct data_key *key;
	struct buf core, wraps;
	struct keyreq q;
	char class[NAME_BYTES_MAX + 1];
};

static void
published_wraps(struct published *x, const char *class)
{
	unsigned n;

	buf_clear(&x->wraps);
	assert_int_equal(envelope_wrap_all(x->key, &t.policy, class, &x->wraps, &n), SEAL_OK);
	x->q.wraps_n = n;
	for (unsigned i = 0; i < n; i++)
		x->q.wraps[i] = x->wraps.data + (size_t)i * WRAP_BYTES;
}

static void
published_core(struct published *x, const struct policy *p, const char *class, int64_t nb,
	       int64_t na)
{
	struct core core = {0};

	core_fill(&core, x->key, p, class, nb, na);
	buf_clear(&x->core);
	core_encode(&core, &x->core);
	x->q.core = x->core.data;
	x->q.core_len = (uint32_t)x->core.len;
}

static void
published_make(struct published *x, const char *class)
{
	memset(x, 0, sizeof *x);
	assert_int_equal(data_key_new(NULL, &x->key), SEAL_OK);
	snprintf(x->class, sizeof x->class, "%s", class);
	x->q = (struct keyreq){.kind = KEY_PUBLISH, .request = 7, .class = x->class};
	x->q.class_len = (uint32_t)strlen(class);
	published_core(x, &t.policy, class, NOW_MS, NOW_MS + 15 * MINUTE);
	published_wraps(x, class);
}

static void
published_free(struct published *x)
{
	data_key_free(x->key);
	buf_free(&x->core);
	buf_free(&x->wraps);
}

/* ---- what is refused without a database ---- */

static bool
judged(const struct keyreq *q, int64_t now_ms)
{
	char why[REASON_MAX + 1] = "";
	struct core core;
	bool good = judge_publish(&t.policy, "shop", q, now_ms, &core, why);

	assert_true(good || why[0]);
	return good;
}

static void
test_a_proper_envelope_is_admitted(void **state)
{
	struct published x;

	(void)state;
	published_make(&x, "financial");
	assert_int_equal(x.q.wraps_n, 2);
	assert_true(judged(&x.q, NOW_MS));
	assert_true(judged(&x.q, NOW_MS + MINUTE));
	published_free(&x);
	published_make(&x, POLICY_DEAD_LETTER);
	assert_int_equal(x.q.wraps_n, 3);
	assert_true(judged(&x.q, NOW_MS));
	published_free(&x);
}

static void
test_times_are_judged(void **state)
{
	struct published x;

	(void)state;
	published_make(&x, "financial");
	assert_false(judged(&x.q, NOW_MS + MINUTE + 1));
	assert_false(judged(&x.q, NOW_MS - MINUTE - 1));
	published_core(&x, &t.policy, "financial", NOW_MS, NOW_MS + 16 * MINUTE + 1);
	assert_false(judged(&x.q, NOW_MS));
	published_core(&x, &t.policy, "financial", NOW_MS, NOW_MS - 1);
	assert_false(judged(&x.q, NOW_MS));
	/* Once the policy has expired nothing is signed under it. */
	int64_t late = (int64_t)NOW_MS * 1000 + 1;
	published_core(&x, &t.policy, "financial", late, late + MINUTE);
	assert_false(judged(&x.q, late));
	published_free(&x);
}

static void
test_another_policy_pipeline_or_class_is_refused(void **state)
{
	struct policy other = {0};
	struct buf file = {0};
	struct published x;
	char why[REASON_MAX + 1];
	struct core core;

	(void)state;
	published_make(&x, "financial");
	policy_make(&other, "shop", SERIAL + 1);
	policy_signed(&other, t.root, &file);
	published_core(&x, &other, "financial", NOW_MS, NOW_MS + MINUTE);
	assert_false(judged(&x.q, NOW_MS));
	published_core(&x, &t.policy, "health", NOW_MS, NOW_MS + MINUTE);
	assert_false(judged(&x.q, NOW_MS));
	published_core(&x, &t.policy, POLICY_DEAD_LETTER, NOW_MS, NOW_MS + MINUTE);
	published_wraps(&x, POLICY_DEAD_LETTER);
	assert_false(judged(&x.q, NOW_MS)); /* said to be of class financial */
	published_core(&x, &t.policy, "financial", NOW_MS, NOW_MS + MINUTE);
	published_wraps(&x, "financial");
	assert_false(judge_publish(&t.policy, "bank", &x.q, NOW_MS, &core, why));
	assert_true(judged(&x.q, NOW_MS));
	published_free(&x);
	policy_free(&other);
	buf_free(&file);
}

static void
test_wraps_are_those_of_the_class(void **state)
{
	struct published x, dead;
	uint8_t strange[WRAP_BYTES];

	(void)state;
	published_make(&x, "financial");
	published_make(&dead, POLICY_DEAD_LETTER);
	x.q.wraps_n = 1; /* without escrow */
	assert_false(judged(&x.q, NOW_MS));
	x.q.wraps_n = 2;
	x.q.wraps[1] = x.q.wraps[0]; /* one twice, escrow missing */
	assert_false(judged(&x.q, NOW_MS));
	published_wraps(&x, "financial");
	x.q.wraps[2] = dead.q.wraps[1]; /* a role that is not of the class */
	x.q.wraps_n = 3;
	assert_false(judged(&x.q, NOW_MS));
	assert_int_equal(wrap_make(x.key, key_public(t.stranger), strange), SEAL_OK);
	x.q.wraps_n = 2;
	x.q.wraps[0] = strange;
	assert_false(judged(&x.q, NOW_MS));
	published_free(&x);
	published_free(&dead);
}

static void
test_every_cut_and_flip_of_a_core_is_refused(void **state)
{
	struct published x;
	size_t changed = 0;

	(void)state;
	published_make(&x, "financial");
	for (uint32_t n = 0; n < x.core.len; n++) {
		x.q.core_len = n;
		assert_false(judged(&x.q, NOW_MS));
	}
	x.q.core_len = (uint32_t)x.core.len;
	/* What stays admitted: the commitment's tail, which only readers can judge; another time
	 * within bounds; a sealer's id, which the keeper overwrites. */
	for (size_t i = 0; i < x.core.len; i++) {
		x.core.data[i] ^= 0x40;
		changed += !judged(&x.q, NOW_MS);
		x.core.data[i] ^= 0x40;
	}
	assert_true(changed >= x.core.len - 16 - 2 * 8 - KEY_ID_BYTES);
	assert_true(judged(&x.q, NOW_MS));
	published_free(&x);
}

static void
test_sixty_a_minute(void **state)
{
	static struct rate r;
	struct mono now = {1000 * 1000};

	(void)state;
	for (int i = 0; i < ENVELOPES_PER_MINUTE_MAX; i++)
		assert_true(rate_take(&r, ENVELOPES_PER_MINUTE_MAX, mono_add_ms(now, i)));
	assert_false(rate_take(&r, ENVELOPES_PER_MINUTE_MAX, mono_add_ms(now, RATE_MS - 1)));
	assert_true(rate_take(&r, ENVELOPES_PER_MINUTE_MAX, mono_add_ms(now, RATE_MS)));
	assert_false(rate_take(&r, ENVELOPES_PER_MINUTE_MAX, mono_add_ms(now, RATE_MS)));
	assert_true(rate_take(&r, ENVELOPES_PER_MINUTE_MAX, mono_add_ms(now, RATE_MS + 1)));
	memset(&r, 0, sizeof r);
	for (int i = 0; i < RATES_KEPT; i++)
		assert_true(rate_take(&r, RATES_KEPT, now));
	assert_false(rate_take(&r, RATES_KEPT, now));
	assert_true(rate_take(&r, RATES_KEPT, mono_add_ms(now, RATE_MS)));
}

/* Windows that are declared short are not starved by the limit. */
static void
test_the_rate_follows_the_window(void **state)
{
	struct model m = {.classes_n = 3};

	(void)state;
	m.limits.key_window_us = 15 * 60 * INT64_C(1000000);
	assert_int_equal(rate_limit(&m), ENVELOPES_PER_MINUTE_MAX);
	m.limits.key_window_us = 2000000;
	assert_int_equal(rate_limit(&m), 2 * 3 * 30);
	m.limits.key_window_us = 1000000;
	m.classes_n = CLASSES_MAX;
	assert_int_equal(rate_limit(&m), 2 * CLASSES_MAX * 60);
	assert_true(2 * CLASSES_MAX * 60 <= RATES_KEPT);
}

static void
test_the_queue_is_bounded(void **state)
{
	static struct queue q;
	static uint8_t sids[KEYREQ_SUBJECTS_MAX * SUBJECT_ID_BYTES];
	struct keyreq k = {.kind = KEY_SUBJECTS, .sids = sids, .sids_n = 1};
	struct pack_reader r = {0};
	struct keyreq got;
	unsigned n;

	(void)state;
	assert_null(queue_first(&q));
	for (n = 0; n < REQUESTS_MAX + 10; n++) {
		k.request = n;
		if (n >= 10)
			queue_drop(&q);
		assert_true(queue_add(&q, n % INGESTS_MAX, &k));
		if (n < 10 - 1)
			continue;
		pack_reader_start(&r, queue_first(&q)->item.data, queue_first(&q)->item.len);
		assert_true(wire_keyreq_read(&r, &got));
		assert_int_equal(got.request, n < 10 ? 0 : n - 9);
	}
	while (q.n < REQUESTS_MAX)
		assert_true(queue_add(&q, 0, &k));
	assert_false(queue_add(&q, 0, &k));
	queue_clear(&q);
	k.sids_n = KEYREQ_SUBJECTS_MAX;
	for (n = 0; queue_add(&q, 0, &k); n++)
		assert_true(q.bytes <= REQUESTS_BYTES_MAX);
	assert_true(n > 200 && n <= REQUESTS_MAX);
	queue_clear(&q);
	assert_int_equal(q.bytes, 0);
	pack_reader_free(&r);
}

/* ---- the policy against what the warehouse pins ---- */

static struct facts
facts_of(const struct key *root, uint64_t serial)
{
	struct facts f = {.has_root = root != NULL, .serial = serial};

	if (root)
		memcpy(f.root, key_public(root), sizeof f.root);
	return f;
}

static int
check_code(struct facts f, int64_t now_ms)
{
	struct err e = {0};

	return keeper_policy_check(t.k, &f, now_ms, &e) ? 0 : e.code;
}

static void
test_the_pinned_root_and_serial_win(void **state)
{
	struct policy p = {0};

	(void)state;
	assert_int_equal(check_code(facts_of(t.root, SERIAL), NOW_MS), 0);
	assert_int_equal(check_code(facts_of(t.root, SERIAL - 1), NOW_MS), 0);
	assert_int_equal(check_code(facts_of(t.root, SERIAL + 1), NOW_MS), EXIT_PERMISSION);
	assert_int_equal(check_code(facts_of(t.other_root, SERIAL), NOW_MS), EXIT_PERMISSION);
	assert_int_equal(check_code(facts_of(NULL, 0), NOW_MS), EXIT_CONFIG);
	assert_int_equal(check_code(facts_of(t.root, SERIAL), (int64_t)NOW_MS * 1000 + 1),
			 EXIT_PERMISSION);
	/* A sealer that nobody would believe. */
	struct key *sealer = t.k->sealer;
	t.k->sealer = t.stranger;
	assert_int_equal(check_code(facts_of(t.root, SERIAL), NOW_MS), EXIT_PERMISSION);
	t.k->sealer = sealer;
	/* One of another pipeline, and bytes that are none. */
	policy_make(&p, "bank", SERIAL);
	policy_signed(&p, t.root, &t.k->policy_file);
	assert_int_equal(check_code(facts_of(t.root, SERIAL), NOW_MS), EXIT_PERMISSION);
	t.k->policy_file.len--;
	assert_int_not_equal(check_code(facts_of(t.root, SERIAL), NOW_MS), 0);
	t.k->policy_file.len = 0;
	assert_int_not_equal(check_code(facts_of(t.root, SERIAL), NOW_MS), 0);
	buf_clear(&t.k->policy_file);
	buf_add(&t.k->policy_file, t.file.data, t.file.len);
	assert_int_equal(check_code(facts_of(t.root, SERIAL), NOW_MS), 0);
	policy_free(&p);
}

/* ---- with a database ---- */

static void
run(const char *sql)
{
	struct err e = {0};

	if (!pg_exec(t.eye, sql, NULL, &e))
		fail_msg("%s: %s", sql, e.text);
}

static int64_t
number(const char *sql)
{
	struct err e = {0};
	struct pg_result *r = NULL;

	if (!pg_exec(t.eye, sql, &r, &e))
		fail_msg("%s: %s", sql, e.text);
	int64_t n = pg_int(r, 0, 0);
	pg_result_free(r);
	return n;
}

static void
taken(struct keeper *k, unsigned to, const struct keyans *a)
{
	assert_ptr_equal(k, t.k);
	t.answers++;
	t.to = to;
	t.answer = *a;
	memset(t.reason, 0, sizeof t.reason);
	if (a->reason)
		memcpy(t.reason, a->reason, a->reason_len);
	if (a->core)
		memcpy(t.core, a->core, a->core_len);
	for (uint32_t i = 0; i < a->secrets_n; i++) {
		t.erased[i] = !a->secrets[i];
		if (a->secrets[i])
			memcpy(t.secrets[i], a->secrets[i], SUBJECT_SECRET_BYTES);
	}
}

static void
connect_keeper(void)
{
	static const char *const settings[] = {"search_path=pg_catalog", NULL};
	struct err e = {0};

	pg_close(t.k->pg);
	t.k->pg = NULL;
	if (!pg_connect(buf_cstr(&t.dsn), "weir keeper", settings, 5000, &t.k->pg, &e))
		fail_msg("%s", e.text);
}

/* Asks, and takes the answer. */
static void
asked(unsigned from, const struct keyreq *q)
{
	struct err e = {0};
	unsigned before = t.answers;

	assert_true(queue_add(&t.k->queue, from, q));
	if (!keeper_answer(t.k, mono_now(), NOW_MS, taken, &e))
		fail_msg("%s", e.text);
	assert_int_equal(t.answers, before + 1);
	assert_int_equal(t.to, from);
	assert_int_equal(t.answer.request, q->request);
	assert_int_equal(t.k->queue.n, 0);
}

static int
setup(void **state)
{
	(void)state;
	queue_clear(&t.k->queue);
	memset(t.k->rates, 0, sizeof t.k->rates);
	if (t.eye == NULL)
		return 0;
	run("TRUNCATE key_schema.wrap, key_schema.envelope, key_schema.subject");
	connect_keeper();
	return 0;
}

static void
needs_postgres(void)
{
	if (t.eye == NULL)
		skip();
}

static void
test_facts_are_read(void **state)
{
	struct facts f;
	struct err e = {0};

	(void)state;
	needs_postgres();
	assert_true(store_facts(t.k->pg, "shop", &f, &e));
	assert_true(f.has_root);
	assert_memory_equal(f.root, key_public(t.root), sizeof f.root);
	assert_int_equal(f.serial, SERIAL);
	static const uint8_t zeros[HASH_KEY_BYTES];
	assert_memory_not_equal(f.hash_key, zeros, sizeof zeros);
	assert_false(store_facts(t.k->pg, "bank", &f, &e)); /* not our pipeline */
	assert_int_not_equal(e.code, EXIT_UNAVAILABLE);
}

/* With an exchange ingest asks for them; where nothing is sealed they are all that is told. */
static void
test_facts_are_told(void **state)
{
	static const uint8_t sid[SUBJECT_ID_BYTES], zeros[HASH_KEY_BYTES];
	struct keyreq facts = {.kind = KEY_FACTS, .request = 9};
	struct keyreq person = {.kind = KEY_SUBJECTS, .request = 10, .sids = sid, .sids_n = 1};
	struct key *sealer = t.k->sealer;

	(void)state;
	needs_postgres();
	asked(2, &facts);
	assert_true(t.answer.ok && t.answer.has_policy);
	assert_memory_equal(t.answer.policy_root, key_public(t.root), POLICY_ROOT_BYTES);
	assert_int_equal(t.answer.pinned_serial, SERIAL);
	assert_memory_not_equal(t.answer.hash_key, zeros, sizeof zeros);
	t.k->sealer = NULL;
	asked(2, &facts);
	assert_true(t.answer.ok);
	asked(2, &person);
	assert_false(t.answer.ok);
	assert_non_null(strstr(t.reason, "seals nothing"));
	t.k->sealer = sealer;
	assert_int_equal(number("SELECT count(*) FROM key_schema.subject"), 0);
}

static void
test_an_envelope_is_signed_and_published(void **state)
{
	struct published x;
	struct core core;

	(void)state;
	needs_postgres();
	published_make(&x, POLICY_DEAD_LETTER);
	asked(1, &x.q);
	assert_true(t.answer.ok);
	assert_int_equal(core_verify(t.core, t.answer.core_len, &t.policy, &core), SEAL_OK);
	assert_memory_equal(core.kid, data_key_kid(x.key), KID_BYTES);
	assert_int_equal(number("SELECT count(*) FROM key_schema.envelope"), 1);
	assert_int_equal(number("SELECT count(*) FROM key_schema.wrap"), 3);
	assert_int_equal(number("SELECT (extract(epoch FROM not_before) * 1000)::bigint"
				" FROM key_schema.envelope"),
			 NOW_MS);
	assert_int_equal(number("SELECT (extract(epoch FROM not_after) * 1000)::bigint"
				" FROM key_schema.envelope"),
			 NOW_MS + 15 * MINUTE);
	assert_int_equal(number("SELECT count(*) FROM key_schema.envelope"
				" WHERE class = 'dead_letter'"),
			 1);
	/* Asked again, as after a new birth: the same answer, nothing new. */
	uint8_t first[CORE_BYTES_MAX];
	memcpy(first, t.core, sizeof first);
	x.q.request = 8;
	asked(1, &x.q);
	assert_true(t.answer.ok);
	assert_memory_equal(t.core, first, t.answer.core_len);
	assert_int_equal(number("SELECT count(*) FROM key_schema.wrap"), 3);
	/* Another core or other wraps of that key: refused, and the keeper goes on. */
	published_core(&x, &t.policy, POLICY_DEAD_LETTER, NOW_MS, NOW_MS + MINUTE);
	asked(1, &x.q);
	assert_false(t.answer.ok);
	published_core(&x, &t.policy, POLICY_DEAD_LETTER, NOW_MS, NOW_MS + 15 * MINUTE);
	published_wraps(&x, POLICY_DEAD_LETTER);
	asked(1, &x.q);
	assert_false(t.answer.ok);
	assert_int_equal(number("SELECT count(*) FROM key_schema.envelope"), 1);
	published_free(&x);
}

/* As soon as the warehouse has a newer policy nothing is signed under ours: it is read anew. */
static void
test_a_newer_policy_ends_it(void **state)
{
	struct published x;
	struct policy other = {0};
	struct buf file = {0};
	struct err e = {0};

	(void)state;
	needs_postgres();
	published_make(&x, "financial");
	run("UPDATE admin_schema.pipeline SET policy_serial = policy_serial + 1 WHERE name = "
	    "'shop'");
	assert_true(queue_add(&t.k->queue, 0, &x.q));
	assert_false(keeper_answer(t.k, mono_now(), NOW_MS, taken, &e));
	assert_int_equal(e.code, EXIT_PERMISSION);
	assert_int_equal(number("SELECT count(*) FROM key_schema.envelope"), 0);
	queue_clear(&t.k->queue);
	run("UPDATE admin_schema.pipeline SET policy_serial = policy_serial - 1 WHERE name = "
	    "'shop'");
	asked(0, &x.q);
	assert_true(t.answer.ok);
	/* Who asks under another one is told whose is the older. */
	policy_make(&other, "shop", SERIAL + 1);
	policy_signed(&other, t.root, &file);
	published_core(&x, &other, "financial", NOW_MS, NOW_MS + MINUTE);
	asked(0, &x.q);
	assert_false(t.answer.ok);
	assert_int_equal(t.answer.policy_serial, SERIAL);
	policy_free(&other);
	buf_free(&file);
	published_free(&x);
}

static void
test_a_refused_envelope_reaches_nobody(void **state)
{
	uint64_t before = metric_get(t.worker.page, METRIC_KEYS_REFUSED);
	struct published x;

	(void)state;
	needs_postgres();
	published_make(&x, "financial");
	published_core(&x, &t.policy, "financial", NOW_MS, NOW_MS + 60 * MINUTE);
	asked(0, &x.q);
	assert_false(t.answer.ok);
	assert_non_null(strstr(t.reason, "validity"));
	assert_int_equal(metric_get(t.worker.page, METRIC_KEYS_REFUSED), before + 1);
	assert_int_equal(number("SELECT count(*) FROM key_schema.envelope"), 0);
	published_free(&x);
}

static void
test_the_rate_is_of_each_ingest(void **state)
{
	struct published x;

	(void)state;
	needs_postgres();
	for (int i = 0; i < ENVELOPES_PER_MINUTE_MAX; i++) {
		published_make(&x, "financial");
		asked(0, &x.q);
		assert_true(t.answer.ok);
		published_free(&x);
	}
	published_make(&x, "financial");
	asked(0, &x.q);
	assert_false(t.answer.ok);
	assert_non_null(strstr(t.reason, "minute"));
	asked(1, &x.q);
	assert_true(t.answer.ok);
	assert_int_equal(number("SELECT count(*) FROM key_schema.envelope"),
			 ENVELOPES_PER_MINUTE_MAX + 1);
	published_free(&x);
}

static void
test_subjects_have_one_secret_until_they_are_erased(void **state)
{
	static uint8_t sids[KEYREQ_SUBJECTS_MAX * SUBJECT_ID_BYTES];
	static uint8_t kept[KEYREQ_SUBJECTS_MAX][SUBJECT_SECRET_BYTES];
	static const uint8_t zeros[SUBJECT_SECRET_BYTES];
	struct keyreq q = {.kind = KEY_SUBJECTS, .request = 3, .sids = sids};

	(void)state;
	needs_postgres();
	for (uint32_t i = 0; i < KEYREQ_SUBJECTS_MAX; i++) {
		sids[i * SUBJECT_ID_BYTES] = (uint8_t)(i / 2 >> 8); /* each twice */
		sids[i * SUBJECT_ID_BYTES + 1] = (uint8_t)(i / 2);
	}
	q.sids_n = KEYREQ_SUBJECTS_MAX;
	asked(2, &q);
	assert_true(t.answer.ok);
	assert_int_equal(t.answer.secrets_n, KEYREQ_SUBJECTS_MAX);
	assert_int_equal(number("SELECT count(*) FROM key_schema.subject"),
			 KEYREQ_SUBJECTS_MAX / 2);
	for (int i = 0; i < KEYREQ_SUBJECTS_MAX; i += 2) {
		assert_false(t.erased[i]);
		assert_memory_equal(t.secrets[i], t.secrets[i + 1], SUBJECT_SECRET_BYTES);
		assert_memory_not_equal(t.secrets[i], zeros, SUBJECT_SECRET_BYTES);
		if (i)
			assert_memory_not_equal(t.secrets[i], t.secrets[i - 1],
						SUBJECT_SECRET_BYTES);
	}
	memcpy(kept, t.secrets, sizeof kept);
	run("UPDATE key_schema.subject SET secret = NULL, erased_at = now()"
	    " WHERE sid = '\\x00010000000000000000000000000000'");
	asked(2, &q);
	for (int i = 0; i < KEYREQ_SUBJECTS_MAX; i++) {
		assert_int_equal(t.erased[i], i == 2 || i == 3);
		if (!t.erased[i])
			assert_memory_equal(t.secrets[i], kept[i], SUBJECT_SECRET_BYTES);
	}
	q.sids_n = 1;
	q.sids = sids + 2 * SUBJECT_ID_BYTES;
	asked(0, &q);
	assert_true(t.answer.ok && t.answer.secrets_n == 1 && t.erased[0]);
}

/* The connection is lost: the request stays, and is counted once. */
static void
test_a_lost_database_is_asked_again(void **state)
{
	struct published x;
	struct err e = {0};
	char sql[128];
	static const char *const none[] = {NULL};
	struct pg *super = NULL;

	(void)state;
	needs_postgres();
	published_make(&x, "financial");
	assert_true(queue_add(&t.k->queue, 0, &x.q));
	snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d, 5000)", pg_backend_pid(t.k->pg));
	if (!pg_connect(getenv("WEIR_TEST_SUPERUSER_DSN"), "eye", none, 5000, &super, &e) ||
	    !pg_exec(super, sql, NULL, &e))
		fail_msg("%s", e.text);
	pg_close(super);
	unsigned before = t.answers;
	assert_false(keeper_answer(t.k, mono_now(), NOW_MS, taken, &e));
	assert_int_equal(e.code, EXIT_UNAVAILABLE);
	assert_int_equal(t.answers, before);
	assert_int_equal(t.k->queue.n, 1);
	connect_keeper();
	assert_true(keeper_answer(t.k, mono_now(), NOW_MS, taken, &e));
	assert_true(t.answer.ok);
	assert_int_equal(t.k->rates[0].next, 1);
	assert_int_equal(number("SELECT count(*) FROM key_schema.envelope"), 1);
	published_free(&x);
}

static void
test_the_login_can_do_nothing_else(void **state)
{
	static const char *const wrong[] = {
	    "SELECT secret FROM key_schema.subject",
	    "SELECT wrap FROM key_schema.wrap",
	    "SELECT * FROM key_schema.envelope",
	    "DELETE FROM key_schema.subject",
	    "SELECT key_schema.request('shop', '{}', '{}', 'why not')",
	    "SELECT * FROM key_schema.fetch(gen_random_uuid())",
	    "SELECT key_schema.subject_secrets('bank', '{}')",
	    "SELECT hash_key FROM admin_schema.pipeline",
	};
	struct err e = {0};

	(void)state;
	needs_postgres();
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		if (pg_exec(t.k->pg, wrong[i], NULL, &e))
			fail_msg("%s: allowed", wrong[i]);
		assert_string_equal(pg_sqlstate(t.k->pg), "42501");
	}
}

/* ---- the world ---- */

static void
warehouse_make(void)
{
	static const char *const schemas[] = {"admin_schema", "analytical_schema",
					      "development_schema", "data_visualization_schema"};
	struct err e = {0};
	struct buf sql = {0};

	for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++)
		buf_printf(&sql, "CREATE SCHEMA IF NOT EXISTS %s;", schemas[i]);
	if (!pg_script(t.eye, buf_cstr(&sql), &e))
		fail_msg("%s", e.text);
	for (unsigned i = 0; i < migrations_n; i++)
		if (!pg_script(t.eye, migrations[i].text, &e))
			fail_msg("migration %u: %s", migrations[i].number, e.text);
	run("CREATE ROLE weir_shop_keeper LOGIN PASSWORD 'secret'");
	run("GRANT USAGE ON SCHEMA key_schema TO weir_shop_keeper");
	run("GRANT EXECUTE ON FUNCTION key_schema.pipeline_facts, key_schema.publish_envelope,"
	    " key_schema.subject_secrets TO weir_shop_keeper");
	buf_clear(&sql);
	buf_printf(&sql, "INSERT INTO admin_schema.pipeline"
			 " (id, name, g, hash_key, policy_root, policy_serial) VALUES"
			 " (1, 'shop', 128, '\\x000102030405060708090a0b0c0d0e0f', '\\x");
	for (int i = 0; i < KEY_PUBLIC_BYTES; i++)
		buf_printf(&sql, "%02x", key_public(t.root)[i]);
	buf_printf(&sql, "', %d)", SERIAL);
	run(buf_cstr(&sql));
	buf_free(&sql);
	assert_true(pg_dsn_for(t.eye, "weir_shop_keeper", "secret", &t.dsn, &e));
}

static void
world_open(void)
{
	static const char *const settings[] = {"timezone=UTC", "client_min_messages=warning", NULL};
	struct err e = {0};

	if (!secret_open(false, &e))
		fail_msg("%s", e.text);
	t.root = key_make(KEY_ROOT, "", 0);
	t.other_root = key_make(KEY_ROOT, "", 0);
	t.sealer = key_make(KEY_SEALER, "", 0);
	t.stranger = key_make(KEY_MEMBER, "eve", 0);
	t.roles[0] = key_make(KEY_ROLE, "science", 1);
	t.roles[1] = key_make(KEY_ROLE, "audit_room", 1);
	t.escrow = key_make(KEY_ESCROW, "", 0);
	t.audit = key_make(KEY_AUDIT, "", 0);
	policy_make(&t.policy, "shop", SERIAL);
	policy_signed(&t.policy, t.root, &t.file);

	snprintf(t.model.pipeline.s, sizeof t.model.pipeline.s, "shop");
	t.model.classes_n = 2;
	t.model.limits.key_window_us = 15 * 60 * INT64_C(1000000);
	t.worker.model = &t.model;
	int fd = metric_page_create(ROLE_KEEPER, 0, &e);
	t.worker.page = metric_page_map(fd, true, &e);
	close(fd);
	t.k = mem_zero(1, sizeof *t.k);
	t.k->w = &t.worker;
	t.k->sealer = t.sealer;
	buf_add(&t.k->policy_file, t.file.data, t.file.len);
	struct facts f = facts_of(t.root, SERIAL);
	if (!keeper_policy_check(t.k, &f, NOW_MS, &e))
		fail_msg("%s", e.text);
	const char *dsn = getenv("WEIR_TEST_DSN");
	if (dsn == NULL)
		return;
	if (!pg_connect(dsn, "eye", settings, 5000, &t.eye, &e)) {
		fprintf(stderr, "%s\n", e.text);
		exit(1);
	}
	warehouse_make();
}

static void
world_close(void)
{
	struct key *const keys[] = {t.root,	t.other_root, t.sealer, t.stranger,
				    t.roles[0], t.roles[1],   t.escrow, t.audit};

	queue_clear(&t.k->queue);
	pg_close(t.k->pg);
	policy_free(&t.k->policy);
	buf_free(&t.k->policy_file);
	free(t.k);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		key_free(keys[i]);
	policy_free(&t.policy);
	buf_free(&t.file);
	buf_free(&t.dsn);
	pg_close(t.eye);
	metric_page_unmap(t.worker.page);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_proper_envelope_is_admitted),
	    cmocka_unit_test(test_times_are_judged),
	    cmocka_unit_test(test_another_policy_pipeline_or_class_is_refused),
	    cmocka_unit_test(test_wraps_are_those_of_the_class),
	    cmocka_unit_test(test_every_cut_and_flip_of_a_core_is_refused),
	    cmocka_unit_test(test_sixty_a_minute),
	    cmocka_unit_test(test_the_rate_follows_the_window),
	    cmocka_unit_test(test_the_queue_is_bounded),
	    cmocka_unit_test(test_the_pinned_root_and_serial_win),
	    cmocka_unit_test_setup(test_facts_are_read, setup),
	    cmocka_unit_test_setup(test_facts_are_told, setup),
	    cmocka_unit_test_setup(test_an_envelope_is_signed_and_published, setup),
	    cmocka_unit_test_setup(test_a_newer_policy_ends_it, setup),
	    cmocka_unit_test_setup(test_a_refused_envelope_reaches_nobody, setup),
	    cmocka_unit_test_setup(test_the_rate_is_of_each_ingest, setup),
	    cmocka_unit_test_setup(test_subjects_have_one_secret_until_they_are_erased, setup),
	    cmocka_unit_test_setup(test_a_lost_database_is_asked_again, setup),
	    cmocka_unit_test_setup(test_the_login_can_do_nothing_else, setup),
	};

	(void)argc;
	if (!getenv("WEIR_TEST_DSN")) {
		if (access("/usr/lib/postgresql/15/bin/initdb", X_OK) == 0) {
			execlp("python3", "python3", "tests/e2e/postgres_server.py", argv[0], NULL);
			perror("python3");
			return 1;
		}
		fprintf(stderr, "*** POSTGRESQL 15 IS NOT HERE: its tests are SKIPPED ***\n");
	}
	log_open("test_keeper");
	keyhash_init();
	world_open();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	world_close();
	return failed;
}
