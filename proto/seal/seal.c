#include "seal/seal.h"

#include <stdlib.h>

#include <sodium.h>

#include "expr/utf8.h"
#include "mem.h"
#include "pack.h"
#include "seal/data_key.h"
#include "seal/private.h"

enum {
	NONCE_AT = SEALED_PREFIX_BYTES,
	NONCE_BYTES = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
	RANDOM_BYTES = 16,
	POOL_BYTES = 512, /* of randomness: a system call for 32 values instead of one each */
	SUBJECT_BYTES = 32,
	VALUE_HEAD_MAX = 32, /* MessagePack of anything but the bytes of a text */
};

_Static_assert(SEALED_HEAD_BYTES == NONCE_AT + NONCE_BYTES, "the nonce ends the head");
_Static_assert(SEALED_TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "Poly1305's tag");
_Static_assert(SECRET_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "a key's size");

struct data_secret { /* in the arena */
	uint8_t key[SECRET_KEY_BYTES];
	uint8_t field[SECRET_KEY_BYTES]; /* fk of values that are not subject-bound */
	bool has_who;
	uint8_t who[SID_BYTES + SUBJECT_BYTES]; /* the last person, */
	uint8_t who_field[SECRET_KEY_BYTES];	/* and their fk */
};

struct sealing {			      /* in the arena: what only sealing needs */
	uint8_t nonce_state[B2B_STATE_BYTES]; /* keyed with nk; copied for each value */
	uint8_t pool[POOL_BYTES];
	unsigned pool_used;
};

struct data_key {
	uint8_t commit[COMMIT_BYTES];
	struct data_secret *secret;
	struct sealing *sealing; /* made by the first value that is sealed */
	struct seal_random random;
};

/* ---- keys ---- */

enum seal_error
data_key_of(const uint8_t key[static SECRET_KEY_BYTES], struct data_key **out)
{
	static const uint8_t nobody[SID_BYTES + SUBJECT_BYTES];

	sodium_start();
	*out = NULL;
	struct data_secret *s = arena_alloc(sizeof *s);
	if (!s)
		return SEAL_SYSTEM;
	struct data_key *k = mem_zero(1, sizeof *k);
	k->secret = s;
	memcpy(s->key, key, sizeof s->key);
	b2b(s->key, "weir1.commit", NULL, 0, k->commit, sizeof k->commit);
	b2b(s->key, "weir1.field", nobody, sizeof nobody, s->field, sizeof s->field);
	*out = k;
	return SEAL_OK;
}

static bool
sealing_start(struct data_key *k)
{
	uint8_t nk[SECRET_KEY_BYTES];
	struct b2b h;

	if (k->sealing)
		return true;
	k->sealing = arena_alloc(sizeof *k->sealing);
	if (!k->sealing)
		return false;
	arena_check(k->secret);
	b2b(k->secret->key, "weir1.nonce", NULL, 0, nk, sizeof nk);
	b2b_start(&h, nk, "weir1.nonce", NONCE_BYTES);
	memcpy(k->sealing->nonce_state, h.state, B2B_STATE_BYTES);
	k->sealing->pool_used = POOL_BYTES;
	sodium_memzero(nk, sizeof nk);
	sodium_memzero(&h, sizeof h);
	return true;
}

enum seal_error
data_key_new(const struct seal_random *random, struct data_key **out)
{
	uint8_t key[SECRET_KEY_BYTES];

	sodium_start();
	if (random)
		random->fill(random->of, key, sizeof key);
	else
		randombytes_buf(key, sizeof key);
	enum seal_error why = data_key_of(key, out);
	sodium_memzero(key, sizeof key);
	if (why != SEAL_OK)
		return why;
	/* Now: a key that has no room to seal is none, and a value that waits for room is lost. */
	if (!sealing_start(*out)) {
		data_key_free(*out);
		*out = NULL;
		return SEAL_SYSTEM;
	}
	if (random)
		(*out)->random = *random;
	return SEAL_OK;
}

void
data_key_free(struct data_key *k)
{
	if (!k)
		return;
	arena_free(k->secret);
	arena_free(k->sealing);
	free(k);
}

const uint8_t *
data_key_kid(const struct data_key *k)
{
	return k->commit;
}

const uint8_t *
data_key_commit(const struct data_key *k)
{
	return k->commit;
}

const uint8_t *
data_key_bytes(const struct data_key *k)
{
	arena_check(k->secret);
	return k->secret->key;
}

/* fk of a person's values; of the last person it is remembered, for the fields of one record. */
static const uint8_t *
field_key(struct data_key *k, const struct seal_subject *who)
{
	struct data_secret *s = k->secret;
	uint8_t person[SID_BYTES + SUBJECT_BYTES];

	arena_check(s);
	if (!who)
		return s->field;
	memcpy(person, who->sid, SID_BYTES);
	memcpy(person + SID_BYTES, who->secret, SUBJECT_BYTES);
	if (!s->has_who || sodium_memcmp(s->who, person, sizeof person) != 0) {
		b2b(s->key, "weir1.field", person, sizeof person, s->who_field,
		    sizeof s->who_field);
		memcpy(s->who, person, sizeof person);
		s->has_who = true;
	}
	sodium_memzero(person, sizeof person);
	return s->who_field;
}

/* ---- places ---- */

static size_t
name_put(uint8_t *p, const char *s, size_t n)
{
	p[0] = (uint8_t)(n >> 8);
	p[1] = (uint8_t)n;
	if (n)
		memcpy(p + 2, s, n);
	return n + 2;
}

static bool
padexp_allowed(unsigned padexp)
{
	return padexp == 0 || (padexp >= SEALED_PADEXP_MIN && padexp <= SEALED_PADEXP_MAX);
}

enum seal_error
seal_place_set(struct seal_place *at, const char *pipeline, const char *source, size_t source_len,
	       const char *field, size_t field_len, unsigned padexp)
{
	size_t pipeline_len = strlen(pipeline), n = SEALED_PREFIX_BYTES;

	if (pipeline_len > SEALED_NAME_MAX || source_len > SEALED_NAME_MAX ||
	    field_len > SEALED_NAME_MAX)
		return SEAL_SIZE;
	if (!padexp_allowed(padexp))
		return SEAL_PADDING;
	n += name_put(at->aad + n, pipeline, pipeline_len);
	n += name_put(at->aad + n, source, source_len);
	n += name_put(at->aad + n, field, field_len);
	at->aad_bytes = (uint16_t)n;
	at->padexp = (uint8_t)padexp;
	return SEAL_OK;
}

unsigned
seal_padexp_default(enum value_type t)
{
	if (t == VALUE_JSON)
		return 8;
	return t == VALUE_TEXT ? 5 : 4;
}

/* Completes the AAD of one value; returns its length. */
static size_t
aad_complete(struct seal_place *at, const uint8_t *prefix, const uint8_t *rid, const uint8_t *sid)
{
	uint8_t *p = at->aad + at->aad_bytes;

	memcpy(at->aad, prefix, SEALED_PREFIX_BYTES);
	memcpy(p, rid, RID_BYTES);
	if (sid)
		memcpy(p + RID_BYTES, sid, SID_BYTES);
	else
		memset(p + RID_BYTES, 0, SID_BYTES);
	return (size_t)at->aad_bytes + RID_BYTES + SID_BYTES;
}

/* ---- sealing ---- */

static void
random_take(struct data_key *k, uint8_t out[static RANDOM_BYTES])
{
	struct sealing *s = k->sealing;

	if (k->random.fill) {
		k->random.fill(k->random.of, out, RANDOM_BYTES);
		return;
	}
	if (s->pool_used == POOL_BYTES) {
		randombytes_buf(s->pool, POOL_BYTES);
		s->pool_used = 0;
	}
	memcpy(out, s->pool + s->pool_used, RANDOM_BYTES);
	memset(s->pool + s->pool_used, 0, RANDOM_BYTES);
	s->pool_used += RANDOM_BYTES;
}

/*
 * Hedged: keyed over the random bytes and everything that is sealed, so that equal random bytes
 * (a fork, a snapshot, a stuck generator) give equal nonces for equal messages only.
 */
static void
nonce_make(struct data_key *k, const uint8_t *aad, size_t aad_n, const uint8_t *plain, size_t n,
	   uint8_t out[static NONCE_BYTES])
{
	uint8_t random[RANDOM_BYTES];
	struct b2b h;

	arena_check(k->sealing);
	random_take(k, random);
	memcpy(h.state, k->sealing->nonce_state, B2B_STATE_BYTES);
	b2b_add(&h, random, sizeof random);
	b2b_add(&h, aad, aad_n);
	b2b_add(&h, plain, n);
	b2b_end(&h, out, NONCE_BYTES);
}

/*
 * As sodium_pad does, but in time that depends on the length, which nobody can measure from outside
 * here; sodium_pad walks over the whole block byte by byte. room_make has left the room.
 */
static size_t
plain_pad(uint8_t *plain, size_t n, unsigned padexp)
{
	size_t block = (size_t)1 << padexp, zeros = block - 1 - (n & (block - 1));

	if (padexp == 0)
		return n;
	plain[n] = 0x80;
	memset(plain + n + 1, 0, zeros);
	return n + 1 + zeros;
}

/* The value stands in out after room for the head: padded, then encrypted where it stands. */
static enum seal_error
plain_seal(struct data_key *k, struct seal_place *at, const uint8_t *rid,
	   const struct seal_subject *who, struct buf *out, size_t start)
{
	uint8_t *payload = out->data + start, *plain = payload + SEALED_HEAD_BYTES;
	size_t n = plain_pad(plain, out->len - start - SEALED_HEAD_BYTES, at->padexp);

	check(out->cap - start >= SEALED_HEAD_BYTES + n + SEALED_TAG_BYTES);
	if (SEALED_HEAD_BYTES + n + SEALED_TAG_BYTES > SEALED_PAYLOAD_MAX) {
		sodium_memzero(plain, n);
		out->len = start;
		return SEAL_SIZE;
	}
	payload[0] = SEALED_VERSION;
	payload[1] = SEALED_SUITE;
	payload[2] = who ? SEALED_BOUND : 0;
	payload[3] = at->padexp;
	memcpy(payload + 4, k->commit, KID_BYTES);
	size_t aad_n = aad_complete(at, payload, rid, who ? who->sid : NULL);
	nonce_make(k, at->aad, aad_n, plain, n, payload + NONCE_AT);
	crypto_aead_xchacha20poly1305_ietf_encrypt(plain, NULL, plain, n, at->aad, aad_n, NULL,
						   payload + NONCE_AT, field_key(k, who));
	out->len = start + SEALED_HEAD_BYTES + n + SEALED_TAG_BYTES;
	return SEAL_OK;
}

/* Room for all of it at once: a buffer that moved would leave plaintext behind. */
static enum seal_error
room_make(struct data_key *k, struct buf *out, size_t bytes)
{
	if (bytes > SEALED_PAYLOAD_MAX)
		return SEAL_SIZE;
	if (!sealing_start(k))
		return SEAL_SYSTEM;
	buf_reserve(out, SEALED_HEAD_BYTES + VALUE_HEAD_MAX + bytes + (1 << SEALED_PADEXP_MAX) +
			     SEALED_TAG_BYTES);
	out->len += SEALED_HEAD_BYTES;
	return SEAL_OK;
}

enum seal_error
seal_value(struct data_key *k, struct seal_place *at, const uint8_t rid[static RID_BYTES],
	   const struct seal_subject *who, const struct value *v, struct buf *out)
{
	size_t start = out->len;
	bool text = v->type == VALUE_TEXT || v->type == VALUE_JSON;

	check(v->type != VALUE_SEALED && (!who || who->secret));
	enum seal_error why = room_make(k, out, text ? v->len : 0);
	if (why != SEAL_OK)
		return why;
	pack_value(out, v);
	return plain_seal(k, at, rid, who, out, start);
}

enum seal_error
seal_raw(struct data_key *k, struct seal_place *at, const uint8_t rid[static RID_BYTES],
	 const struct seal_subject *who, const void *p, size_t n, struct buf *out)
{
	size_t start = out->len;
	enum seal_error why = room_make(k, out, n);

	check(!who || who->secret);
	if (why != SEAL_OK)
		return why;
	pack_bytes(out, p, n);
	return plain_seal(k, at, rid, who, out, start);
}

void
seal_erased(struct buf *out)
{
	const uint8_t erased[SEALED_ERASED_BYTES] = {SEALED_VERSION, SEALED_SUITE, SEALED_ERASED,
						     0};

	buf_add(out, erased, sizeof erased);
}

/* ---- opening ---- */

enum seal_error
sealed_head_read(const void *p, size_t n, struct sealed_head *h)
{
	const uint8_t *b = p;

	*h = (struct sealed_head){0};
	if (n < SEALED_ERASED_BYTES)
		return SEAL_MALFORMED;
	if (b[0] != SEALED_VERSION)
		return SEAL_VERSION;
	if (b[1] != SEALED_SUITE)
		return SEAL_SUITE;
	if (b[2] > SEALED_ERASED)
		return SEAL_FLAGS;
	if (!padexp_allowed(b[3]) || (b[2] == SEALED_ERASED && b[3]))
		return SEAL_PADDING;
	h->flags = b[2];
	h->padexp = b[3];
	h->bound = b[2] == SEALED_BOUND;
	h->erased = b[2] == SEALED_ERASED;
	if (h->erased)
		return n == SEALED_ERASED_BYTES ? SEAL_OK : SEAL_MALFORMED;
	if (n < SEALED_HEAD_BYTES + 1 + SEALED_TAG_BYTES)
		return SEAL_MALFORMED;
	if (n > SEALED_PAYLOAD_MAX)
		return SEAL_SIZE;
	memcpy(h->kid, b + 4, KID_BYTES);
	return SEAL_OK;
}

enum seal_error
seal_open(struct data_key *k, struct seal_place *at, const uint8_t rid[static RID_BYTES],
	  const struct seal_subject *who, const void *p, size_t n, struct buf *plain)
{
	const uint8_t *b = p;
	struct sealed_head h;
	enum seal_error why = sealed_head_read(p, n, &h);

	buf_clear(plain);
	if (why != SEAL_OK)
		return why;
	if (h.erased)
		return SEAL_ERASED;
	if (memcmp(h.kid, k->commit, KID_BYTES) != 0)
		return SEAL_KEY;
	if (h.bound && (!who || !who->secret))
		return SEAL_ERASED;
	if (!h.bound)
		who = NULL;
	size_t aad_n = aad_complete(at, b, rid, who ? who->sid : NULL);
	size_t sealed = n - SEALED_HEAD_BYTES, bytes = sealed - SEALED_TAG_BYTES;
	buf_reserve(plain, bytes);
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain->data, NULL, NULL,
						       b + SEALED_HEAD_BYTES, sealed, at->aad,
						       aad_n, b + NONCE_AT, field_key(k, who)))
		return SEAL_AUTH;
	if (h.padexp && sodium_unpad(&bytes, plain->data, bytes, (size_t)1 << h.padexp) != 0) {
		sodium_memzero(plain->data, bytes);
		return SEAL_PADDING;
	}
	plain->len = bytes;
	return SEAL_OK;
}

static bool
characters_valid(const struct value *v)
{
	size_t bad;

	return (v->type != VALUE_TEXT && v->type != VALUE_JSON) ||
	       utf8_check(v->text, v->len, &bad);
}

static bool
plain_read(struct pack_reader *r, struct value *v, bool *raw)
{
	struct pack_view view;
	const uint8_t *bytes;
	size_t n;

	if (!pack_next(r, &view) || !pack_reader_end(r))
		return false;
	*raw = r->data[0] >= 0xc4 && r->data[0] <= 0xc6; /* bin 8, 16, 32 */
	if (!*raw)
		return pack_view_value(r, view, v) && v->type != VALUE_SEALED &&
		       characters_valid(v);
	if (!pack_view_bytes(r, view, &bytes, &n))
		return false;
	*v = value_text((const char *)bytes, n);
	return true;
}

enum seal_error
seal_plain_value(const struct buf *plain, struct value *v, bool *raw)
{
	struct pack_reader r = {0};

	*v = value_null();
	*raw = false;
	pack_reader_start(&r, plain->data, plain->len);
	bool good = plain_read(&r, v, raw);
	pack_reader_free(&r);
	return good ? SEAL_OK : SEAL_VALUE;
}
