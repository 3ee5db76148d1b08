#include "release.h"

#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"
#include "seal/envelope.h"

enum {
	ID_BYTES = 16,
	SLAB_SECRETS = 4096, /* secrets of one mapping */
	SLABS_MAX = 1024,
	PLACES_MAX = 64,
	TABLE_START = 1024,
	OID_BYTEA = 17,
};

/* ---- what is known of a kid or a sid ---- */

enum known { KNOWN_WANTED, KNOWN_GOOD, KNOWN_BAD };

struct entry {
	uint8_t id[ID_BYTES];
	bool used;
	enum known known;
	enum seal_error why;   /* KNOWN_BAD */
	struct data_key *key;  /* of a kid */
	const uint8_t *secret; /* of a sid: in a slab */
};

struct id_table {
	struct entry *entries;
	size_t n, cap; /* cap: a power of two */
};

struct place {
	char source[SEALED_NAME_MAX + 1], path[SEALED_NAME_MAX + 1];
	size_t source_len, path_len;
	struct seal_place at;
};

struct release {
	struct release_setup setup;
	uint8_t hash_key[HASH_KEY_BYTES];
	struct id_table kids, sids;
	uint8_t *slabs[SLABS_MAX];
	unsigned slabs_n;
	bool short_of_memory;
	size_t secrets_n;
	struct key *roles[RELEASE_KEYS_MAX]; /* opened with a member's key */
	unsigned roles_n;
	struct place places[PLACES_MAX];
	unsigned places_n, place_next;
	uint64_t requests;
};

static struct entry *
table_at(const struct release *r, const struct id_table *t, const uint8_t *id)
{
	size_t i = keyhash64(r->hash_key, id, ID_BYTES) & (t->cap - 1);

	while (t->entries[i].used && memcmp(t->entries[i].id, id, ID_BYTES) != 0)
		i = (i + 1) & (t->cap - 1);
	return &t->entries[i];
}

static void
table_grow(const struct release *r, struct id_table *t)
{
	struct id_table old = *t;

	t->cap = old.cap ? old.cap * 2 : TABLE_START;
	t->entries = mem_zero(t->cap, sizeof *t->entries);
	for (size_t i = 0; i < old.cap; i++)
		if (old.entries[i].used)
			*table_at(r, t, old.entries[i].id) = old.entries[i];
	free(old.entries);
}

static void
table_want(const struct release *r, struct id_table *t, const uint8_t *id)
{
	if (t->n * 2 >= t->cap)
		table_grow(r, t);
	struct entry *x = table_at(r, t, id);
	if (x->used)
		return;
	*x = (struct entry){.used = true, .known = KNOWN_WANTED};
	memcpy(x->id, id, ID_BYTES);
	t->n++;
}

static struct entry *
table_find(const struct release *r, const struct id_table *t, const uint8_t *id)
{
	struct entry *x = t->cap ? table_at(r, t, id) : NULL;

	return x && x->used ? x : NULL;
}

static void
table_clear(struct id_table *t)
{
	for (size_t i = 0; i < t->cap; i++)
		data_key_free(t->entries[i].key);
	free(t->entries);
	*t = (struct id_table){0};
}

/* NULL: no memory for it (secret_shortage). */
static const uint8_t *
secret_keep(struct release *r, const uint8_t *secret)
{
	size_t slab = r->secrets_n / SLAB_SECRETS, at = r->secrets_n % SLAB_SECRETS;

	check(slab < SLABS_MAX);
	if (slab == r->slabs_n) {
		r->slabs[slab] = secret_map((size_t)SLAB_SECRETS * SUBJECT_SECRET_BYTES);
		if (!r->slabs[slab])
			return NULL;
		r->slabs_n++;
	}
	uint8_t *to = r->slabs[slab] + at * SUBJECT_SECRET_BYTES;
	memcpy(to, secret, SUBJECT_SECRET_BYTES);
	r->secrets_n++;
	return to;
}

static void
forget(struct release *r)
{
	table_clear(&r->kids);
	table_clear(&r->sids);
	for (unsigned i = 0; i < r->slabs_n; i++)
		secret_unmap(r->slabs[i], (size_t)SLAB_SECRETS * SUBJECT_SECRET_BYTES);
	r->slabs_n = 0;
	r->secrets_n = 0;
}

struct release *
release_new(const struct release_setup *s)
{
	struct release *r = mem_zero(1, sizeof *r);

	r->setup = *s;
	keyhash_init();
	random_bytes(r->hash_key, sizeof r->hash_key);
	return r;
}

void
release_free(struct release *r)
{
	if (!r)
		return;
	forget(r);
	for (unsigned i = 0; i < r->roles_n; i++)
		key_free(r->roles[i]);
	free(r);
}

uint64_t
release_requests(const struct release *r)
{
	return r->requests;
}

void
release_batch(struct release *r)
{
	if (r->kids.n > RELEASE_KEPT_MAX || r->sids.n > RELEASE_SIDS_MAX)
		forget(r);
}

void
release_note(struct release *r, const struct carried *c)
{
	struct sealed_head head;

	if (sealed_head_read(c->payload, c->payload_len, &head) != SEAL_OK || head.erased)
		return;
	table_want(r, &r->kids, head.kid);
	if (head.bound && c->has_sid)
		table_want(r, &r->sids, c->sid);
}

/* ---- asking ---- */

static void
id_add(struct buf *b, const uint8_t *id)
{
	static const char digits[] = "0123456789abcdef";

	buf_text(b, b->len ? ",\"\\\\x" : "{\"\\\\x");
	for (unsigned i = 0; i < ID_BYTES; i++) {
		buf_byte(b, (uint8_t)digits[id[i] >> 4]);
		buf_byte(b, (uint8_t)digits[id[i] & 15]);
	}
	buf_byte(b, '"');
}

/* At most max wanted ids from *at on, as an array in text form. Returns how many. */
static unsigned
wanted_list(const struct id_table *t, size_t *at, unsigned max, struct buf *out)
{
	unsigned n = 0;

	for (; *at < t->cap && n < max; ++*at) {
		const struct entry *x = &t->entries[*at];
		if (!x->used || x->known != KNOWN_WANTED)
			continue;
		id_add(out, x->id);
		n++;
	}
	buf_text(out, n ? "}" : "{}");
	return n;
}

/* The member's name by which its role secrets are listed; NULL: who opens is no member. */
static const struct key *
member_of(const struct release *r, char name[static NAME_BYTES_MAX + 1])
{
	enum key_type type;
	unsigned epoch;

	for (unsigned i = 0; i < r->setup.keys_n; i++)
		if (key_type(r->setup.keys[i]) == KEY_MEMBER &&
		    key_label_parse(key_label(r->setup.keys[i]), &type, name, &epoch))
			return r->setup.keys[i];
	return NULL;
}

static bool
role_known(const struct release *r, const uint8_t *pk)
{
	for (unsigned i = 0; i < r->roles_n; i++)
		if (!memcmp(key_public(r->roles[i]), pk, KEY_PUBLIC_BYTES))
			return true;
	return false;
}

static void
role_take(struct release *r, const struct key *member, const uint8_t *pk, const uint8_t *sealed,
	  size_t sealed_len)
{
	const struct policy *p = r->setup.policy;

	for (unsigned i = 0; i < p->roles_n; i++) {
		if (memcmp(p->roles[i].pk, pk, KEY_PUBLIC_BYTES) || r->roles_n == RELEASE_KEYS_MAX)
			continue;
		enum seal_error why = key_unseal(sealed, sealed_len, member, p->roles[i].name.s,
						 p->roles[i].epoch, pk, &r->roles[r->roles_n]);
		if (why == SEAL_OK)
			r->roles_n++;
		else
			log_warn("the secret of role %s is not for this key: %s",
				 p->roles[i].name.s, seal_error_name(why));
		return;
	}
}

/* Whether a cell of text or bytea is these bytes. */
static bool
cell_is(const struct pg_result *res, unsigned row, unsigned column, const char *text)
{
	size_t n;
	const uint8_t *p = pg_bytes(res, row, column, &n);

	return n == strlen(text) && !memcmp(p, text, n);
}

static void
roles_take(struct release *r, const struct pg_result *res)
{
	char name[NAME_BYTES_MAX + 1];
	const struct key *member = member_of(r, name);
	size_t pk_len, sealed_len;

	for (unsigned i = 0; member && i < pg_rows(res); i++) {
		if (!cell_is(res, i, 0, "role") || !cell_is(res, i, 1, name))
			continue;
		const uint8_t *pk = pg_bytes(res, i, 3, &pk_len);
		const uint8_t *sealed = pg_bytes(res, i, 4, &sealed_len);
		if (pk_len == KEY_PUBLIC_BYTES && !role_known(r, pk))
			role_take(r, member, pk, sealed, sealed_len);
	}
}

static const struct key *
recipient_find(const struct release *r, const uint8_t *rkid)
{
	uint8_t id[KEY_ID_BYTES];

	for (unsigned i = 0; i < r->setup.keys_n + r->roles_n; i++) {
		const struct key *k =
		    i < r->setup.keys_n ? r->setup.keys[i] : r->roles[i - r->setup.keys_n];
		key_id(key_public(k), id);
		if (!memcmp(id, rkid, KEY_ID_BYTES))
			return k;
	}
	return NULL;
}

static void
wrap_take(struct release *r, const struct pg_result *res, unsigned row)
{
	size_t kid_len, rkid_len, core_len, wrap_len;
	const uint8_t *kid = pg_bytes(res, row, 1, &kid_len);
	const uint8_t *rkid = pg_bytes(res, row, 2, &rkid_len);
	const uint8_t *core = pg_bytes(res, row, 3, &core_len);
	const uint8_t *wrap = pg_bytes(res, row, 4, &wrap_len);
	struct core c;

	if (kid_len != ID_BYTES || rkid_len != KEY_ID_BYTES)
		return;
	struct entry *x = table_find(r, &r->kids, kid);
	if (!x || x->known == KNOWN_GOOD)
		return;
	x->known = KNOWN_BAD;
	const struct key *k = recipient_find(r, rkid);
	if (!k) {
		/* Another wrap of this key may be ours, or have told a better reason. */
		x->why = x->why == SEAL_OK ? SEAL_RECIPIENT : x->why;
		return;
	}
	x->why = core_verify(core, core_len, r->setup.policy, &c);
	if (x->why == SEAL_OK && memcmp(c.kid, kid, KID_BYTES))
		x->why = SEAL_COMMIT;
	if (x->why == SEAL_OK)
		x->why = wrap_open(wrap, wrap_len, k, c.commit, &x->key);
	if (x->why == SEAL_OK)
		x->known = KNOWN_GOOD;
	r->short_of_memory |= x->why == SEAL_SYSTEM;
}

static void
subject_take(struct release *r, const struct pg_result *res, unsigned row)
{
	size_t sid_len, secret_len;
	const uint8_t *sid = pg_bytes(res, row, 1, &sid_len);
	const uint8_t *secret = pg_bytes(res, row, 4, &secret_len);

	struct entry *x = sid_len == ID_BYTES ? table_find(r, &r->sids, sid) : NULL;
	if (!x || x->known == KNOWN_GOOD)
		return;
	bool good = !pg_is_null(res, row, 4) && secret_len == SUBJECT_SECRET_BYTES;
	x->known = good ? KNOWN_GOOD : KNOWN_BAD;
	x->why = good ? SEAL_OK : SEAL_ERASED;
	if (good)
		x->secret = secret_keep(r, secret);
	r->short_of_memory |= good && !x->secret;
}

/* Whoever is wanted still was not in the answer: no such envelope, or no such person. */
static void
rest_absent(struct id_table *t, enum seal_error why)
{
	for (size_t i = 0; i < t->cap; i++)
		if (t->entries[i].used && t->entries[i].known == KNOWN_WANTED) {
			t->entries[i].known = KNOWN_BAD;
			t->entries[i].why = why;
		}
}

static void
answer_take(struct release *r, const struct pg_result *res)
{
	roles_take(r, res);
	for (unsigned i = 0; i < pg_rows(res); i++) {
		if (cell_is(res, i, 0, "wrap"))
			wrap_take(r, res, i);
		else if (cell_is(res, i, 0, "subject"))
			subject_take(r, res, i);
	}
}

static bool
ask_once(struct release *r, const char *kids, const char *sids, struct err *e)
{
	const struct pg_param params[] = {{.data = r->setup.pipeline},
					  {.data = kids},
					  {.data = sids},
					  {.data = r->setup.purpose}};
	struct pg_result *res;

	/* One statement outside of a transaction: it is committed when it returns. */
	if (!pg_query(r->setup.pg,
		      "SELECT key_schema.request($1, $2::bytea[], $3::bytea[], $4)::text", params,
		      4, false, &res, e))
		return err_context(e, "requesting keys");
	char ticket[64] = "";
	size_t n = strlen(pg_text(res, 0, 0));
	if (n < sizeof ticket)
		memcpy(ticket, pg_text(res, 0, 0), n + 1);
	pg_result_free(res);
	r->requests++;
	const struct pg_param fetch[] = {{.data = ticket}};
	if (!pg_query(r->setup.pg,
		      "SELECT kind, id, rkid, core, body FROM key_schema.fetch($1::uuid)", fetch, 1,
		      true, &res, e))
		return err_context(e, "fetching keys");
	answer_take(r, res);
	pg_result_free(res);
	if (!r->short_of_memory)
		return true;
	/* Nothing that could not be kept may pass for a value that does not open. */
	r->short_of_memory = false;
	forget(r);
	return seal_fail(e, SEAL_SYSTEM, "the keys of these rows");
}

bool
release_ask(struct release *r, struct err *e)
{
	size_t kid_at = 0, sid_at = 0;
	bool good = true;

	while (good) {
		struct buf kids = {0}, sids = {0};
		unsigned n = wanted_list(&r->kids, &kid_at, RELEASE_KIDS_MAX, &kids) +
			     wanted_list(&r->sids, &sid_at, RELEASE_SIDS_MAX, &sids);
		if (n)
			good = ask_once(r, buf_cstr(&kids), buf_cstr(&sids), e);
		buf_free(&kids);
		buf_free(&sids);
		if (!n)
			break;
	}
	if (good) {
		rest_absent(&r->kids, SEAL_KEY);
		rest_absent(&r->sids, SEAL_ERASED);
	}
	return good;
}

/* ---- opening ---- */

static struct seal_place *
place_of(struct release *r, const struct carried *c, enum seal_error *why)
{
	for (unsigned i = 0; i < r->places_n; i++) {
		struct place *p = &r->places[i];
		if (p->source_len == c->source_len && p->path_len == c->path_len &&
		    !memcmp(p->source, c->source, c->source_len) &&
		    !memcmp(p->path, c->path, c->path_len))
			return &p->at;
	}
	if (c->source_len > SEALED_NAME_MAX || c->path_len > SEALED_NAME_MAX) {
		*why = SEAL_SIZE;
		return NULL;
	}
	unsigned i = r->places_n < PLACES_MAX ? r->places_n++ : r->place_next++ % PLACES_MAX;
	struct place *p = &r->places[i];
	p->source_len = c->source_len;
	p->path_len = c->path_len;
	memcpy(p->source, c->source, c->source_len);
	memcpy(p->path, c->path, c->path_len);
	*why = seal_place_set(&p->at, r->setup.pipeline, c->source, c->source_len, c->path,
			      c->path_len, 0);
	if (*why != SEAL_OK)
		p->source_len = SIZE_MAX; /* found by nobody */
	return *why == SEAL_OK ? &p->at : NULL;
}

/* *who is filled when the value is bound to a person; a secret of NULL is SEAL_ERASED then. */
static void
subject_of(const struct release *r, const struct carried *c, struct seal_subject *who)
{
	const struct entry *x = c->has_sid ? table_find(r, &r->sids, c->sid) : NULL;

	*who = (struct seal_subject){.sid = c->sid,
				     .secret = x && x->known == KNOWN_GOOD ? x->secret : NULL};
}

enum seal_error
release_open(struct release *r, const struct carried *c, struct buf *plain, struct value *v,
	     bool *raw)
{
	struct sealed_head head;
	struct seal_subject who;

	enum seal_error why = sealed_head_read(c->payload, c->payload_len, &head);
	if (why != SEAL_OK)
		return why;
	if (head.erased)
		return SEAL_ERASED;
	struct entry *x = table_find(r, &r->kids, head.kid);
	if (!x || x->known != KNOWN_GOOD)
		return x && x->known == KNOWN_BAD ? x->why : SEAL_KEY;
	struct seal_place *at = place_of(r, c, &why);
	if (!at)
		return why;
	subject_of(r, c, &who);
	why = seal_open(x->key, at, c->rid, &who, c->payload, c->payload_len, plain);
	return why == SEAL_OK ? seal_plain_value(plain, v, raw) : why;
}

enum seal_error
release_reseal(struct release *r, const struct carried *c, struct data_key *to, struct buf *out)
{
	struct sealed_head head;
	struct seal_place *at;
	struct seal_subject who;
	struct buf plain = {0};
	struct value v;
	bool raw = false;

	enum seal_error why = release_open(r, c, &plain, &v, &raw);
	if (why == SEAL_OK)
		why = sealed_head_read(c->payload, c->payload_len, &head);
	if (why == SEAL_OK && (at = place_of(r, c, &why)) != NULL) {
		const struct seal_subject *bound = head.bound ? &who : NULL;
		subject_of(r, c, &who);
		at->padexp = head.padexp;
		why = raw ? seal_raw(to, at, c->rid, bound, v.text, v.len, out)
			  : seal_value(to, at, c->rid, bound, &v, out);
	}
	secret_wipe(plain.data, plain.cap);
	buf_free(&plain);
	return why;
}
