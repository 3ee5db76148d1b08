/*
 * ingest_world: an ingest worker in one process with its test: real model, policy and keys; the
 * keeper, the lanes and the sources are played by the test, the clock is its own.
 */
#ifndef TESTS_UNIT_INGEST_WORLD_H
#define TESTS_UNIT_INGEST_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf.h"
#include "ingest/ingest.h"
#include "keyhash.h"
#include "mem.h"
#include "seal/envelope.h"

enum {
	WORLD_SERIAL = 3,
	WORLD_RECORDS_MAX = 8192,
	WORLD_KEYS_MAX = 256,
	WORLD_ERASED_MAX = 8,
	WORLD_PARTS = 3,
};

#define WORLD_WALL_US INT64_C(1700000000000000)

static const char world_file[] =
    "pipeline: loans\n"
    "keys: /k\n"
    "raw: warehouse\n"
    "limits: { key_window: 15m }\n"
    "correlate: { by: id, folds: { incomes: { last: e.income } } }\n"
    "warehouse: { postgresql: { dsn: d, logins: /l } }\n"
    "tables: { f: { kind: fact, grain: process } }\n"
    "sources:\n"
    "  e:\n"
    "    file: { path: /a }\n"
    "    time: at\n"
    "    subject: cpf\n"
    "    unknown_fields: { seal: identity }\n"
    "    fields:\n"
    "      id: text\n"
    "      at: timestamp\n"
    "      name: { type: text, sensitive: identity }\n"
    "      cpf: { type: text, sensitive: identity, token: person, canonical: cpf }\n"
    "      income: { type: decimal, sensitive: financial, path: money.income }\n"
    "    derive: { band: \"case when income > 1000 then 'high' else 'low' end\" }\n"
    "  strict:\n"
    "    file: { path: /b }\n"
    "    time: none\n"
    "    unknown_fields: reject\n"
    "    fields: { id: text, note: { type: text, sensitive: identity } }\n"
    "  plain:\n"
    "    file: { path: /c }\n"
    "    time: none\n"
    "    fields: { id: text, n: integer }\n";

enum { S_E, S_STRICT, S_PLAIN };
enum { E_ID, E_AT, E_NAME, E_CPF, E_CPF_TOKEN, E_INCOME, E_BAND }; /* as the tests find them */

struct got { /* a record that a lane has received */
	struct record r;
	struct value fields[FIELDS_MAX];
	struct buf bytes; /* of its texts */
};

struct published {
	uint8_t kid[KID_BYTES];
	char class[NAME_BYTES_MAX + 1];
	struct buf wraps;
	struct data_key *key; /* as opened by the role */
};

struct world {
	struct model *model;
	struct worker worker;
	struct metric_page page;
	struct ingest *in;
	struct err e;
	struct key *root, *sealer, *audit, *escrow, *role, *token;
	struct policy policy;
	struct buf policy_file;
	struct mono now;
	int64_t wall_us;
	/* lanes */
	struct got *got;
	uint32_t got_n;
	struct buf data; /* every byte of every DATA frame */
	int64_t to[16];	 /* by partition id: end of the last cover */
	bool caught_up[16];
	/* keeper */
	bool up, silent;
	struct buf asked; /* KEYREQ items not answered */
	uint32_t asked_n;
	uint32_t publishes, persons; /* asked so far */
	const char *refuse;
	struct published keys[WORLD_KEYS_MAX];
	unsigned keys_n;
	uint8_t erased[WORLD_ERASED_MAX][SUBJECT_ID_BYTES];
	unsigned erased_n;
};

/* ---- keys and policy ---- */

static inline struct key *
world_key(enum key_type type, const char *name, unsigned epoch)
{
	struct key *k = NULL;

	assert_int_equal(key_generate(type, name, epoch, &k), SEAL_OK);
	return k;
}

/* A file that only its owner may read, as a descriptor. */
static inline int
world_fd(const void *p, size_t n, mode_t mode)
{
	int fd = memfd_create("key", MFD_CLOEXEC);

	assert_true(fd >= 0 && fchmod(fd, mode) == 0);
	assert_int_equal(write(fd, p, n), (ssize_t)n);
	return fd;
}

static inline void
world_hand(struct world *w, const char *name, const void *p, size_t n, mode_t mode)
{
	unsigned i = w->worker.keys_n++;

	w->worker.keys[i].fd = world_fd(p, n, mode);
	snprintf(w->worker.keys[i].name, sizeof w->worker.keys[i].name, "%s", name);
}

static inline void
world_token_list(struct policy *p, const struct key *k)
{
	char name[NAME_BYTES_MAX + 1];
	struct token_key *t;
	enum key_type type;
	unsigned epoch;

	assert_true(key_label_parse(key_label(k), &type, name, &epoch));
	assert_int_equal(token_key_new(k, name, epoch, &t), SEAL_OK);
	struct policy_token *to = policy_token_add(p, name);
	to->epoch = epoch;
	token_key_id(t, to->id);
	token_key_free(t);
}

static inline void
world_policy_make(struct world *w)
{
	struct policy *p = &w->policy;
	static const char *const classes[] = {"identity", "financial", POLICY_DEAD_LETTER};

	p->serial = WORLD_SERIAL;
	p->not_before_ms = 0;
	p->not_after_ms = WORLD_WALL_US / 1000 + INT64_C(365) * 86400000;
	struct policy_role *role = policy_role_add(p, "data_science");
	role->epoch = 1;
	memcpy(role->pk, key_public(w->role), KEY_PUBLIC_BYTES);
	for (unsigned i = 0; i < 3; i++)
		name_list_add(&policy_class_add(p, classes[i])->roles, "data_science");
	memcpy(p->escrow, key_public(w->escrow), KEY_PUBLIC_BYTES);
	memcpy(p->audit, key_public(w->audit), KEY_PUBLIC_BYTES);
	policy_sealer_add(p, key_public(w->sealer));
	policy_of_model(p, w->model);
	world_token_list(p, w->token);
}

static inline void
world_policy_sign(struct world *w)
{
	buf_clear(&w->policy_file);
	assert_int_equal(policy_sign(&w->policy, w->root, &w->policy_file), SEAL_OK);
}

/* ---- lanes ---- */

static const char *
world_keep(struct got *g, const char *s, size_t n)
{
	/* Reserved for the whole record before. */
	assert_true(g->bytes.cap - g->bytes.len >= n);
	buf_add(&g->bytes, s, n);
	return (const char *)g->bytes.data + g->bytes.len - n;
}

static inline void
world_got(struct world *w, const struct record *r)
{
	assert_true(w->got_n < WORLD_RECORDS_MAX);
	struct got *g = &w->got[w->got_n++];
	size_t n = r->key_len + r->reason_len + r->body_len;

	g->r = *r;
	for (uint32_t i = 0; i < r->fields_n; i++)
		n += r->fields[i].len;
	buf_reserve(&g->bytes, n + 1);
	g->r.key = world_keep(g, r->key, r->key_len);
	if (r->reason)
		g->r.reason = world_keep(g, r->reason, r->reason_len);
	if (r->body)
		g->r.body = (const uint8_t *)world_keep(g, (const char *)r->body, r->body_len);
	for (uint32_t i = 0; i < r->fields_n; i++) {
		const struct value *v = &r->fields[i];

		g->fields[i] = *v;
		if (v->type == VALUE_TEXT || v->type == VALUE_JSON || v->type == VALUE_SEALED)
			g->fields[i].text = world_keep(g, v->text, v->len);
	}
	g->r.fields = g->fields;
}

static inline void
world_data(void *ctx, unsigned lane, uint16_t flags, uint32_t count, struct buf *body)
{
	struct world *w = ctx;
	struct pack_reader r = {0};
	struct value fields[FIELDS_MAX];
	struct cover *covers;
	uint32_t n;

	(void)lane, (void)flags;
	pack_reader_start(&r, body->data, body->len);
	for (uint32_t i = 0; i < count; i++) {
		struct record rec = {.fields = fields};

		assert_true(wire_record_read(&r, &rec));
		assert_true(rec.offset >= w->to[rec.partition]);
		world_got(w, &rec);
	}
	assert_true(wire_covers_read(&r, &covers, &n) && pack_reader_end(&r));
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(covers[i].from, w->to[covers[i].partition]);
		w->to[covers[i].partition] = covers[i].to;
		w->caught_up[covers[i].partition] = covers[i].caught_up;
	}
	free(covers);
	pack_reader_free(&r);
	buf_add(&w->data, body->data, body->len);
	buf_free(body);
}

static inline void
world_body_start(struct buf *b)
{
	buf_clear(b);
}

static inline size_t
world_body_bytes(const struct buf *b)
{
	return b->len;
}

/* ---- keeper ---- */

static inline bool
world_keeper_ready(void *ctx)
{
	const struct world *w = ctx;

	return w->up;
}

static inline void
world_keeper_send(void *ctx, uint32_t count, struct buf *body)
{
	struct world *w = ctx;

	buf_add(&w->asked, body->data, body->len);
	w->asked_n += count;
	buf_free(body);
}

static inline void
world_publish(struct world *w, const struct keyreq *q, struct keyans *a, struct buf *out)
{
	struct core core;
	struct published *p;

	w->publishes++;
	assert_int_equal(envelope_admit(q->core, q->core_len, q->wraps, q->wraps_n,
					&w->in->sealing->keys.policy, w->wall_us / 1000, &core),
			 SEAL_OK);
	core_sign(&core, w->sealer, out);
	a->core = out->data;
	a->core_len = (uint32_t)out->len;
	assert_true(w->keys_n < WORLD_KEYS_MAX);
	p = &w->keys[w->keys_n++];
	memcpy(p->kid, core.kid, KID_BYTES);
	snprintf(p->class, sizeof p->class, "%s", core.class.s);
	for (unsigned i = 0; i < q->wraps_n && !p->key; i++)
		if (wrap_open(q->wraps[i], WRAP_BYTES, w->role, core.commit, &p->key) != SEAL_OK)
			p->key = NULL;
	assert_non_null(p->key);
}

static inline bool
world_erased(const struct world *w, const uint8_t *sid)
{
	for (unsigned i = 0; i < w->erased_n; i++)
		if (!memcmp(w->erased[i], sid, SUBJECT_ID_BYTES))
			return true;
	return false;
}

/* A person's secret, made of the sid: the test's own rule. */
static inline void
world_secret(const uint8_t *sid, uint8_t out[static SUBJECT_SECRET_BYTES])
{
	for (unsigned i = 0; i < SUBJECT_SECRET_BYTES; i++)
		out[i] = (uint8_t)(sid[i % SUBJECT_ID_BYTES] ^ 0x5a);
}

static inline void
world_answer(struct world *w, const struct keyreq *q)
{
	static uint8_t secrets[KEYREQ_SUBJECTS_MAX][SUBJECT_SECRET_BYTES];
	struct keyans a = {.kind = q->kind, .request = q->request, .ok = !w->refuse};
	struct buf core = {0};

	if (w->refuse) {
		a.reason = w->refuse;
		a.reason_len = (uint32_t)strlen(w->refuse);
	} else if (q->kind == KEY_PUBLISH) {
		world_publish(w, q, &a, &core);
	} else {
		w->persons += q->sids_n;
		a.secrets_n = q->sids_n;
		for (uint32_t i = 0; i < q->sids_n; i++) {
			const uint8_t *sid = q->sids + (size_t)i * SUBJECT_ID_BYTES;

			world_secret(sid, secrets[i]);
			a.secrets[i] = world_erased(w, sid) ? NULL : secrets[i];
		}
	}
	assert_true(sealing_answer(w->in->sealing, &a, w->now, &w->e));
	buf_free(&core);
}

/* The keeper answers all that was asked, in order. */
static inline void
world_keeper(struct world *w)
{
	struct buf asked = w->asked;
	uint32_t n = w->asked_n;
	struct pack_reader r = {0};
	struct keyreq q;

	w->asked = (struct buf){0};
	w->asked_n = 0;
	pack_reader_start(&r, asked.data, asked.len);
	for (uint32_t i = 0; i < n; i++) {
		assert_true(wire_keyreq_read(&r, &q));
		world_answer(w, &q);
	}
	assert_true(pack_reader_end(&r));
	pack_reader_free(&r);
	buf_free(&asked);
}

/* A keeper that dies: what it was asked and has not answered is gone. */
static inline void
world_keeper_dies(struct world *w)
{
	buf_clear(&w->asked);
	w->asked_n = 0;
}

/* ---- turns ---- */

static inline void
world_step(struct world *w)
{
	bool more = false;

	assert_true(sealing_step(w->in->sealing, w->now, w->wall_us, &w->e));
	events_release(w->in, w->wall_us, w->now, &more);
}

static inline void
world_pass_ms(struct world *w, int64_t ms)
{
	w->now = mono_add_ms(w->now, ms);
	w->wall_us += ms * 1000;
}

/* Turns until nothing is asked any more. */
static inline void
world_settle(struct world *w)
{
	do {
		world_keeper(w);
		world_step(w);
	} while (w->asked_n);
}

static inline void
world_flush(struct world *w)
{
	route_flush(&w->in->route, w->now, true);
}

static inline void
world_event(struct world *w, unsigned source, int64_t offset, const char *text, size_t n)
{
	/* Borrowed bytes do not outlive the call. */
	char *copy = mem_alloc(n);
	const struct source_event ev = {.offset = offset, .data = copy, .len = n};

	memcpy(copy, text, n);
	assert_true(event_take(w->in, source, &ev, w->wall_us, w->now, &w->e));
	memset(copy, 0, n);
	free(copy);
}

static inline void
world_text(struct world *w, unsigned source, int64_t offset, const char *text)
{
	world_event(w, source, offset, text, strlen(text));
}

/* ---- opening ---- */

/* Opens a sealed value with the role's key; NULL class: not under a key that was published. */
static inline enum seal_error
world_open_value(struct world *w, const struct got *g, const char *path, const uint8_t *p, size_t n,
		 struct buf *plain, const char **class)
{
	const struct source *s = &w->model->sources[g->r.source];
	struct seal_place at;
	struct sealed_head h;
	uint8_t rid[RID_BYTES], secret[SUBJECT_SECRET_BYTES];
	const struct ingest_partition *part = parts_id(&w->in->parts, g->r.partition);
	const struct partition place = {.id = part->id,
					.source = part->source,
					.label = part->label,
					.label_len = part->label_len};
	struct seal_subject who = {.sid = g->r.sid, .secret = secret};

	*class = NULL;
	assert_int_equal(sealed_head_read(p, n, &h), SEAL_OK);
	if (h.erased)
		return SEAL_ERASED;
	if (g->r.has_rid)
		memcpy(rid, g->r.rid, RID_BYTES);
	else
		rid_durable(s, &place, g->r.offset, rid);
	world_secret(g->r.sid, secret);
	assert_int_equal(h.bound, g->r.has_sid);
	assert_int_equal(seal_place_set(&at, w->model->pipeline.s, s->label, strlen(s->label), path,
					strlen(path), 0),
			 SEAL_OK);
	for (unsigned i = 0; i < w->keys_n; i++)
		if (!memcmp(w->keys[i].kid, h.kid, KID_BYTES)) {
			*class = w->keys[i].class;
			return seal_open(w->keys[i].key, &at, rid, h.bound ? &who : NULL, p, n,
					 plain);
		}
	return SEAL_KEY;
}

/* A field of a record, opened; it must be under the key of its class. */
static inline struct value
world_open_field(struct world *w, const struct got *g, unsigned field, struct buf *plain)
{
	const struct field *f = &w->model->sources[g->r.source].fields[field];
	const struct value *v = &g->fields[field];
	struct value out;
	const char *class;
	bool raw;

	assert_int_equal(v->type, VALUE_SEALED);
	assert_int_equal(
	    world_open_value(w, g, f->path, (const uint8_t *)v->text, v->len, plain, &class),
	    SEAL_OK);
	assert_string_equal(class, w->model->classes[f->class].s);
	assert_int_equal(seal_plain_value(plain, &out, &raw), SEAL_OK);
	assert_false(raw);
	return out;
}

static inline int
world_field(const struct world *w, unsigned source, const char *name)
{
	for (unsigned i = 0; i < w->model->sources[source].fields_n; i++)
		if (!strcmp(w->model->sources[source].fields[i].name.s, name))
			return (int)i;
	fail_msg("no field %s", name);
	return -1;
}

/* ---- life ---- */

static inline void
world_own(const struct world *w, struct own *o, struct own_range *range)
{
	*range = (struct own_range){.kg_hi = w->model->groups - 1};
	*o = (struct own){.has_policy = true,
			  .policy_serial = WORLD_SERIAL,
			  .epoch = 7,
			  .ranges = range,
			  .ranges_n = 1};
	memcpy(o->policy_root, key_public(w->root), KEY_PUBLIC_BYTES);
}

/* One partition of each source, being read. */
static inline void
world_partitions(struct world *w)
{
	for (unsigned i = 0; i < w->model->sources_n; i++) {
		const struct source_found f = {.label = "p", .label_len = 1};
		struct partition named = {
		    .id = i + 1, .source = (uint16_t)i, .label = "p", .label_len = 1};
		struct ingest_partition *part;

		assert_true(parts_found(&w->in->parts, i, w->model->sources[i].label, &f, 0, 1,
					&part, &w->e));
		assert_true(parts_named(&w->in->parts, &named, &part, &w->e));
		parts_start(&w->in->parts, part, SOURCE_POSITION_NONE, w->now);
	}
}

/* Keys are handed over, nothing is opened yet. */
static inline struct world *
world_prepare(const char *file)
{
	struct world *w = mem_zero(1, sizeof *w);
	struct conf_report report = {0};

	keyhash_init();
	assert_true(secret_open(false, &w->e));
	if (!conf_read_text("test", file, strlen(file), &w->model, &report))
		fail_msg("%s", buf_cstr(&report.text));
	conf_report_free(&report);
	w->root = world_key(KEY_ROOT, "", 0);
	w->sealer = world_key(KEY_SEALER, "", 0);
	w->audit = world_key(KEY_AUDIT, "", 0);
	w->escrow = world_key(KEY_ESCROW, "", 0);
	w->role = world_key(KEY_ROLE, "data_science", 1);
	w->token = world_key(KEY_TOKEN, "person", 2);
	world_policy_make(w);
	world_policy_sign(w);
	w->now = (struct mono){1000000000};
	w->wall_us = WORLD_WALL_US;
	w->up = true;
	w->worker.model = w->model;
	w->worker.page = &w->page;
	w->worker.count[ROLE_INGEST] = w->worker.count[ROLE_CORRELATE] = 1;
	w->got = mem_zero(WORLD_RECORDS_MAX, sizeof *w->got);
	return w;
}

static inline void
world_hand_keys(struct world *w)
{
	struct buf token = {0};

	assert_int_equal(keyfile_encode(w->token, NULL, NULL, &token), SEAL_OK);
	world_hand(w, "policy", w->policy_file.data, w->policy_file.len, 0644);
	world_hand(w, "token-person-2.key", token.data, token.len, 0600);
	buf_free(&token);
}

static const struct sealing_out world_keeper_out = {NULL, world_keeper_ready, world_body_start,
						    world_keeper_send};

static inline bool
world_seal(struct world *w)
{
	struct sealing_out keeper = world_keeper_out;

	keeper.ctx = w;
	return sealing_open(&w->worker, &keeper, &w->in->sealing, &w->e);
}

/* Owned and reading, before the first key. */
static inline struct world *
world_new(const char *file)
{
	struct world *w = world_prepare(file);
	struct route_out out = {w, world_data, world_body_start, world_body_bytes};
	struct ingest *in = mem_zero(1, sizeof *in);
	struct own_range range;
	struct own own;

	world_hand_keys(w);
	w->in = in;
	in->w = &w->worker;
	in->m = w->model;
	in->credit.limit_bytes = 1 << 30;
	parts_init(&in->parts, w->model, 1);
	route_init(&in->route, &out, &in->parts, &in->credit);
	assert_true(decoder_new(w->model, &in->decoder, &w->e));
	if (!world_seal(w))
		fail_msg("%s", w->e.text);
	world_own(w, &own, &range);
	if (!sealing_own(in->sealing, &own, w->wall_us, &w->e))
		fail_msg("%s", w->e.text);
	assert_true(parts_own(&in->parts, 0, &own, &w->e));
	in->phase = INGEST_READING;
	world_partitions(w);
	return w;
}

static inline void
world_close(struct world *w)
{
	if (w->in) {
		sealing_free(w->in->sealing);
		decoder_free(w->in->decoder);
		route_free(&w->in->route);
		credit_free(&w->in->credit);
		parts_free(&w->in->parts);
		pack_reader_free(&w->in->reader);
		free(w->in);
	}
	for (unsigned i = 0; i < w->worker.keys_n; i++)
		close(w->worker.keys[i].fd);
	for (unsigned i = 0; i < w->keys_n; i++)
		data_key_free(w->keys[i].key);
	for (uint32_t i = 0; i < w->got_n; i++)
		buf_free(&w->got[i].bytes);
	key_free(w->root);
	key_free(w->sealer);
	key_free(w->audit);
	key_free(w->escrow);
	key_free(w->role);
	key_free(w->token);
	policy_free(&w->policy);
	buf_free(&w->policy_file);
	buf_free(&w->data);
	buf_free(&w->asked);
	model_free(w->model);
	free(w->got);
	free(w);
}

#endif
