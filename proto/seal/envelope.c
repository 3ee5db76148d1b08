#include "seal/envelope.h"

#include <sodium.h>

#include "seal/data_key.h"
#include "seal/key.h"
#include "seal/private.h"

_Static_assert(ENVELOPE_WRAP_BYTES == 1 + KEY_ID_BYTES + KEY_SEALED_BYTES, "a wrap");
_Static_assert(ENVELOPE_WRAPS_MAX >= POLICY_ROLES_MAX + 1, "every role and escrow");

static const uint8_t magic[4] = "WRE1";
static const char context[] = "WRE1-core";

/* ---- core ---- */

void
core_fill(struct core *c, const struct data_key *k, const struct policy *p, const char *class,
	  int64_t not_before_ms, int64_t not_after_ms)
{
	size_t n = strlen(class);

	check(n <= NAME_BYTES_MAX);
	*c = (struct core){
	    .not_before_ms = not_before_ms, .not_after_ms = not_after_ms, .pipeline = p->pipeline};
	memcpy(c->kid, data_key_kid(k), KID_BYTES);
	memcpy(c->commit, data_key_commit(k), COMMIT_BYTES);
	memcpy(c->policy_hash, p->hash, POLICY_HASH_BYTES);
	memcpy(c->class.s, class, n);
}

void
core_encode(const struct core *c, struct buf *out)
{
	buf_add(out, magic, sizeof magic);
	put_u32(out, (uint32_t)SEALED_SUITE << 24);
	buf_add(out, c->kid, KID_BYTES);
	buf_add(out, c->commit, COMMIT_BYTES);
	put_u64(out, (uint64_t)c->not_before_ms);
	put_u64(out, (uint64_t)c->not_after_ms);
	buf_add(out, c->sealer, KEY_ID_BYTES);
	buf_add(out, c->policy_hash, POLICY_HASH_BYTES);
	put_text(out, c->pipeline.s);
	put_text(out, c->class.s);
}

/* A moment: milliseconds that a signed integer holds. */
static int64_t
take_ms(struct cursor *c)
{
	uint64_t v = take_uint(c, 8);

	c->bad |= v > INT64_MAX;
	return (int64_t)(v & INT64_MAX);
}

enum seal_error
core_decode(const void *p, size_t n, bool is_signed, struct core *out)
{
	struct cursor c = {.p = p, .n = n};
	const uint8_t *m = take(&c, sizeof magic);

	*out = (struct core){0};
	if (!m || memcmp(m, magic, sizeof magic) != 0)
		return SEAL_MALFORMED;
	uint64_t suite = take_uint(&c, 1);
	if (c.bad)
		return SEAL_MALFORMED;
	if (suite != SEALED_SUITE)
		return SEAL_SUITE;
	take_zeros(&c, 3);
	take_copy(&c, out->kid, KID_BYTES);
	take_copy(&c, out->commit, COMMIT_BYTES);
	out->not_before_ms = take_ms(&c);
	out->not_after_ms = take_ms(&c);
	take_copy(&c, out->sealer, KEY_ID_BYTES);
	take_copy(&c, out->policy_hash, POLICY_HASH_BYTES);
	take_text(&c, out->pipeline.s, NAME_BYTES_MAX);
	take_text(&c, out->class.s, NAME_BYTES_MAX);
	if (is_signed)
		take(&c, KEY_SIGNATURE_BYTES);
	if (!take_end(&c) || !out->pipeline.s[0] || !out->class.s[0])
		return SEAL_MALFORMED;
	if (memcmp(out->kid, out->commit, KID_BYTES) != 0)
		return SEAL_COMMIT;
	return out->not_before_ms <= out->not_after_ms ? SEAL_OK : SEAL_VALIDITY;
}

void
core_sign(struct core *c, const struct key *sealer, struct buf *out)
{
	uint8_t signature[KEY_SIGNATURE_BYTES];
	size_t start = out->len;

	check(key_type(sealer) == KEY_SEALER);
	key_id(key_public(sealer), c->sealer);
	core_encode(c, out);
	key_sign(sealer, context, out->data + start, out->len - start, signature);
	buf_add(out, signature, sizeof signature);
}

enum seal_error
core_verify(const void *p, size_t n, const struct policy *policy, struct core *out)
{
	uint8_t pk[KEY_PUBLIC_BYTES];
	enum seal_error why = core_decode(p, n, true, out);

	if (why != SEAL_OK)
		return why;
	if (!policy_sealer_listed(policy, out->sealer, pk))
		return SEAL_SEALER;
	size_t body = n - KEY_SIGNATURE_BYTES;
	why = key_verify(pk, context, p, body, (const uint8_t *)p + body);
	if (why != SEAL_OK)
		return why;
	return strcmp(out->pipeline.s, policy->pipeline.s) == 0 &&
		       policy_class(policy, out->class.s)
		   ? SEAL_OK
		   : SEAL_POLICY;
}

/* ---- wraps ---- */

enum seal_error
wrap_make(const struct data_key *k, const uint8_t pk[static KEY_PUBLIC_BYTES],
	  uint8_t out[static ENVELOPE_WRAP_BYTES])
{
	out[0] = SEALED_SUITE;
	key_id(pk, out + 1);
	return key_box_seal(pk, data_key_bytes(k), SECRET_KEY_BYTES, out + 1 + KEY_ID_BYTES);
}

enum seal_error
wrap_recipient(const void *p, size_t n, uint8_t rkid[static KEY_ID_BYTES])
{
	const uint8_t *b = p;

	if (n != ENVELOPE_WRAP_BYTES)
		return SEAL_MALFORMED;
	if (b[0] != SEALED_SUITE)
		return SEAL_SUITE;
	memcpy(rkid, b + 1, KEY_ID_BYTES);
	return SEAL_OK;
}

enum seal_error
wrap_open(const void *p, size_t n, const struct key *recipient,
	  const uint8_t commit[static COMMIT_BYTES], struct data_key **out)
{
	uint8_t rkid[KEY_ID_BYTES], mine[KEY_ID_BYTES], key[SECRET_KEY_BYTES];
	enum seal_error why = wrap_recipient(p, n, rkid);

	*out = NULL;
	if (why != SEAL_OK)
		return why;
	key_id(key_public(recipient), mine);
	if (memcmp(mine, rkid, KEY_ID_BYTES) != 0 ||
	    !key_box_open(recipient, (const uint8_t *)p + 1 + KEY_ID_BYTES, sizeof key, key))
		return SEAL_RECIPIENT;
	why = data_key_of(key, out);
	sodium_memzero(key, sizeof key);
	if (why == SEAL_OK && sodium_memcmp(data_key_commit(*out), commit, COMMIT_BYTES) != 0) {
		data_key_free(*out);
		*out = NULL;
		why = SEAL_COMMIT;
	}
	return why;
}

enum seal_error
envelope_wrap_all(const struct data_key *k, const struct policy *p, const char *class,
		  struct buf *out, unsigned *n)
{
	uint8_t pks[ENVELOPE_WRAPS_MAX][KEY_PUBLIC_BYTES];
	size_t start = out->len;
	enum seal_error why = policy_recipients(p, class, pks, ENVELOPE_WRAPS_MAX, n);

	for (unsigned i = 0; why == SEAL_OK && i < *n; i++) {
		buf_reserve(out, ENVELOPE_WRAP_BYTES);
		why = wrap_make(k, pks[i], out->data + out->len);
		out->len += ENVELOPE_WRAP_BYTES;
	}
	if (why != SEAL_OK)
		out->len = start;
	return why;
}

/* ---- the keeper's judgement ---- */

/* Exactly one wrap for each of the class' recipients. */
static enum seal_error
wraps_admit(const uint8_t *const wraps[], unsigned wraps_n, const struct policy *p,
	    const char *class)
{
	uint8_t pks[ENVELOPE_WRAPS_MAX][KEY_PUBLIC_BYTES], id[KEY_ID_BYTES], rkid[KEY_ID_BYTES];
	bool met[ENVELOPE_WRAPS_MAX] = {false};
	unsigned n;
	enum seal_error why = policy_recipients(p, class, pks, ENVELOPE_WRAPS_MAX, &n);

	if (why != SEAL_OK)
		return why;
	if (wraps_n != n)
		return SEAL_RECIPIENT;
	for (unsigned i = 0; i < wraps_n; i++) {
		unsigned j = 0;
		why = wrap_recipient(wraps[i], ENVELOPE_WRAP_BYTES, rkid);
		if (why != SEAL_OK)
			return why;
		for (; j < n; j++) {
			key_id(pks[j], id);
			if (!met[j] && memcmp(id, rkid, KEY_ID_BYTES) == 0)
				break;
		}
		if (j == n)
			return SEAL_RECIPIENT;
		met[j] = true;
	}
	return SEAL_OK;
}

enum seal_error
envelope_admit(const void *core, size_t core_len, const uint8_t *const wraps[], unsigned wraps_n,
	       const struct policy *p, int64_t now_ms, struct core *out)
{
	enum seal_error why = core_decode(core, core_len, false, out);

	if (why != SEAL_OK)
		return why;
	if (memcmp(out->policy_hash, p->hash, POLICY_HASH_BYTES) != 0 ||
	    strcmp(out->pipeline.s, p->pipeline.s) != 0 || !policy_class(p, out->class.s))
		return SEAL_POLICY;
	/* Differences without overflow: neither moment is negative, and now is a clock's. */
	if (now_ms < 0 || out->not_after_ms - out->not_before_ms > ENVELOPE_WINDOW_MS_MAX ||
	    out->not_before_ms - now_ms > ENVELOPE_SKEW_MS_MAX ||
	    now_ms - out->not_before_ms > ENVELOPE_SKEW_MS_MAX)
		return SEAL_VALIDITY;
	return wraps_admit(wraps, wraps_n, p, out->class.s);
}

/* ---- the whole ---- */

void
envelope_encode(const struct envelope *e, struct buf *out)
{
	check(e->core_len <= UINT16_MAX && e->n >= 1 && e->n <= ENVELOPE_WRAPS_MAX);
	put_u16(out, (uint16_t)e->core_len);
	buf_add(out, e->core, e->core_len);
	buf_byte(out, (uint8_t)e->n);
	buf_add(out, e->wraps, (size_t)e->n * ENVELOPE_WRAP_BYTES);
}

enum seal_error
envelope_decode(const void *p, size_t n, struct envelope *out)
{
	struct cursor c = {.p = p, .n = n};

	*out = (struct envelope){0};
	size_t core_len = (size_t)take_uint(&c, 2);
	const uint8_t *core = take(&c, core_len);
	unsigned wraps_n = (unsigned)take_uint(&c, 1);
	const uint8_t *wraps = take(&c, (size_t)wraps_n * ENVELOPE_WRAP_BYTES);
	if (!take_end(&c) || wraps_n < 1 || wraps_n > ENVELOPE_WRAPS_MAX ||
	    core_len > ENVELOPE_CORE_MAX)
		return SEAL_MALFORMED;
	*out = (struct envelope){core, core_len, wraps, wraps_n};
	return SEAL_OK;
}

enum seal_error
envelope_find(const struct envelope *e, const struct key *recipient, const uint8_t **wrap)
{
	uint8_t mine[KEY_ID_BYTES];

	*wrap = NULL;
	key_id(key_public(recipient), mine);
	for (unsigned i = 0; i < e->n; i++) {
		const uint8_t *w = e->wraps + (size_t)i * ENVELOPE_WRAP_BYTES;
		if (memcmp(w + 1, mine, KEY_ID_BYTES) == 0) {
			*wrap = w;
			return SEAL_OK;
		}
	}
	return SEAL_RECIPIENT;
}
