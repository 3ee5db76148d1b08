#include "seal/key.h"

#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#include "mem.h"
#include "seal/private.h"

_Static_assert(KEY_SIGNATURE_BYTES == crypto_sign_BYTES, "Ed25519");
_Static_assert(KEY_SEALED_BYTES == SECRET_KEY_BYTES + crypto_box_SEALBYTES, "a sealed key");

enum { EXPANDED_BYTES = crypto_sign_SECRETKEYBYTES };

struct key {
	enum key_type type;
	char label[KEY_LABEL_MAX + 1];
	uint8_t pk[KEY_PUBLIC_BYTES]; /* zeros of a symmetric one */
	struct secret *secret;	      /* of Ed25519 seed and public key: what signing takes */
};

enum kind { KIND_SIGN, KIND_BOX, KIND_SYMMETRIC };

static const struct {
	const char *name;
	enum kind kind;
	bool named, epoch; /* the label goes on with -<name>, -<epoch> */
} types[KEY_TYPE_MAX] = {
    [KEY_ROOT] = {"root", KIND_SIGN, false, false},
    [KEY_SEALER] = {"sealer", KIND_SIGN, false, false},
    [KEY_AUDIT] = {"audit", KIND_SIGN, false, false},
    [KEY_ESCROW] = {"escrow", KIND_BOX, false, false},
    [KEY_MEMBER] = {"member", KIND_BOX, true, false},
    [KEY_ROLE] = {"role", KIND_BOX, true, true},
    [KEY_TOKEN] = {"token", KIND_SYMMETRIC, true, true},
    [KEY_RID] = {"rid", KIND_SYMMETRIC, false, false},
};

static bool
type_known(enum key_type t)
{
	return t > 0 && t < KEY_TYPE_MAX;
}

const char *
key_type_name(enum key_type t)
{
	check(type_known(t));
	return types[t].name;
}

/* ---- labels ---- */

bool
key_label_make(enum key_type t, const char *name, unsigned epoch,
	       char out[static KEY_LABEL_MAX + 1])
{
	int n;

	check(type_known(t));
	if (types[t].epoch)
		n = snprintf(out, KEY_LABEL_MAX + 1, "%s-%s-%u", types[t].name, name, epoch);
	else if (types[t].named)
		n = snprintf(out, KEY_LABEL_MAX + 1, "%s-%s", types[t].name, name);
	else
		n = snprintf(out, KEY_LABEL_MAX + 1, "%s", types[t].name);
	return n > 0 && n <= KEY_LABEL_MAX;
}

/* "-<number>" at the end: digits without a leading zero, up to 9 of them. */
static bool
epoch_cut(const char *s, size_t *n, unsigned *epoch)
{
	size_t at = *n;
	unsigned v = 0;

	while (at && s[at - 1] >= '0' && s[at - 1] <= '9')
		at--;
	if (at == *n || *n - at > 9 || s[at] == '0' || at < 2 || s[at - 1] != '-')
		return false;
	for (size_t i = at; i < *n; i++)
		v = v * 10 + (unsigned)(s[i] - '0');
	*epoch = v;
	*n = at - 1;
	return true;
}

bool
key_label_parse(const char *label, enum key_type *t, char *name, unsigned *epoch)
{
	name[0] = '\0';
	*epoch = 0;
	for (enum key_type i = 1; i < KEY_TYPE_MAX; i++) {
		size_t prefix = strlen(types[i].name), n = strlen(label);
		if (n < prefix || memcmp(label, types[i].name, prefix) != 0)
			continue;
		*t = i;
		if (!types[i].named) {
			if (n == prefix)
				return true;
			continue;
		}
		if (label[prefix] != '-' || (types[i].epoch && !epoch_cut(label, &n, epoch)))
			continue;
		prefix++;
		if (n <= prefix || n - prefix > NAME_BYTES_MAX)
			continue;
		memcpy(name, label + prefix, n - prefix);
		name[n - prefix] = '\0';
		return true;
	}
	return false;
}

bool
key_label_is(const struct key *k, enum key_type t, const char *name, unsigned epoch)
{
	char label[KEY_LABEL_MAX + 1];

	return k->type == t && key_label_make(t, name, epoch, label) &&
	       strcmp(label, k->label) == 0;
}

/* ---- keys ---- */

static enum seal_error
pair_make(struct key *k, const uint8_t *secret)
{
	uint8_t expanded[EXPANDED_BYTES];
	enum kind kind = types[k->type].kind;

	if (kind == KIND_SIGN) {
		crypto_sign_seed_keypair(k->pk, expanded, secret);
		k->secret = secret_of(expanded, sizeof expanded);
		sodium_memzero(expanded, sizeof expanded);
	} else {
		if (kind == KIND_BOX)
			crypto_scalarmult_base(k->pk, secret);
		k->secret = secret_of(secret, SECRET_KEY_BYTES);
	}
	return k->secret ? SEAL_OK : SEAL_SYSTEM;
}

enum seal_error
key_of(enum key_type t, const char *label, const uint8_t secret[static 32], struct key **out)
{
	sodium_start();
	check(type_known(t));
	*out = NULL;
	if (strlen(label) > KEY_LABEL_MAX)
		return SEAL_SIZE;
	struct key *k = mem_zero(1, sizeof *k);
	k->type = t;
	memcpy(k->label, label, strlen(label));
	enum seal_error why = pair_make(k, secret);
	if (why != SEAL_OK) {
		free(k);
		return why;
	}
	*out = k;
	return SEAL_OK;
}

enum seal_error
key_generate(enum key_type t, const char *name, unsigned epoch, struct key **out)
{
	char label[KEY_LABEL_MAX + 1];
	uint8_t secret[SECRET_KEY_BYTES];

	sodium_start();
	*out = NULL;
	if (!key_label_make(t, name, epoch, label))
		return SEAL_SIZE;
	randombytes_buf(secret, sizeof secret);
	enum seal_error why = key_of(t, label, secret, out);
	sodium_memzero(secret, sizeof secret);
	return why;
}

void
key_free(struct key *k)
{
	if (!k)
		return;
	secret_free(k->secret);
	free(k);
}

enum key_type
key_type(const struct key *k)
{
	return k->type;
}

const char *
key_label(const struct key *k)
{
	return k->label;
}

const uint8_t *
key_public(const struct key *k)
{
	check(types[k->type].kind != KIND_SYMMETRIC);
	return k->pk;
}

const uint8_t *
key_secret_bytes(const struct key *k)
{
	return secret_bytes(k->secret);
}

bool
key_is_box(const struct key *k)
{
	return types[k->type].kind == KIND_BOX;
}

void
key_rid_bytes(const struct key *k, uint8_t out[static 32])
{
	check(k->type == KEY_RID);
	memcpy(out, secret_bytes(k->secret), SECRET_KEY_BYTES);
}

/* ---- public keys ---- */

void
key_id(const uint8_t pk[static KEY_PUBLIC_BYTES], uint8_t out[static KEY_ID_BYTES])
{
	b2b(NULL, NULL, pk, KEY_PUBLIC_BYTES, out, KEY_ID_BYTES);
}

enum seal_error
key_check_box(const uint8_t pk[static KEY_PUBLIC_BYTES])
{
	/* Any scalar does: clamped, it is a multiple of the small orders. */
	static const uint8_t scalar[crypto_scalarmult_SCALARBYTES] = {1};
	uint8_t shared[crypto_scalarmult_BYTES];

	sodium_start();
	return crypto_scalarmult(shared, scalar, pk) == 0 ? SEAL_OK : SEAL_LOWPOINT;
}

enum seal_error
key_check_sign(const uint8_t pk[static KEY_PUBLIC_BYTES])
{
	sodium_start();
	return crypto_core_ed25519_is_valid_point(pk) == 1 ? SEAL_OK : SEAL_LOWPOINT;
}

/* ---- signatures ---- */

static void
message_make(const char *context, const void *p, size_t n, struct buf *out)
{
	buf_add(out, context, strlen(context) + 1);
	buf_add(out, p, n);
}

void
key_sign(const struct key *k, const char *context, const void *p, size_t n,
	 uint8_t out[static KEY_SIGNATURE_BYTES])
{
	struct buf m = {0};

	check(types[k->type].kind == KIND_SIGN);
	message_make(context, p, n, &m);
	crypto_sign_detached(out, NULL, m.data, m.len, secret_bytes(k->secret));
	buf_free(&m);
}

enum seal_error
key_verify(const uint8_t pk[static KEY_PUBLIC_BYTES], const char *context, const void *p, size_t n,
	   const uint8_t signature[static KEY_SIGNATURE_BYTES])
{
	struct buf m = {0};

	sodium_start();
	message_make(context, p, n, &m);
	int r = crypto_sign_verify_detached(signature, m.data, m.len, pk);
	buf_free(&m);
	return r == 0 ? SEAL_OK : SEAL_SIGNATURE;
}

/* ---- boxes ---- */

bool
key_box_open(const struct key *k, const uint8_t *sealed, size_t n, uint8_t *out)
{
	check(key_is_box(k));
	return crypto_box_seal_open(out, sealed, n + crypto_box_SEALBYTES, k->pk,
				    secret_bytes(k->secret)) == 0;
}

enum seal_error
key_box_seal(const uint8_t pk[static KEY_PUBLIC_BYTES], const uint8_t *p, size_t n, uint8_t *out)
{
	if (key_check_box(pk) != SEAL_OK || crypto_box_seal(out, p, n, pk) != 0)
		return SEAL_LOWPOINT;
	return SEAL_OK;
}

enum seal_error
key_seal_to(const struct key *role, const uint8_t pk[static KEY_PUBLIC_BYTES],
	    uint8_t out[static KEY_SEALED_BYTES])
{
	check(role->type == KEY_ROLE);
	return key_box_seal(pk, secret_bytes(role->secret), SECRET_KEY_BYTES, out);
}

enum seal_error
key_unseal(const void *p, size_t n, const struct key *member, const char *role, unsigned epoch,
	   const uint8_t pk[static KEY_PUBLIC_BYTES], struct key **out)
{
	char label[KEY_LABEL_MAX + 1];
	uint8_t secret[SECRET_KEY_BYTES];

	*out = NULL;
	if (n != KEY_SEALED_BYTES || !key_label_make(KEY_ROLE, role, epoch, label))
		return SEAL_MALFORMED;
	if (!key_box_open(member, p, sizeof secret, secret))
		return SEAL_RECIPIENT;
	enum seal_error why = key_of(KEY_ROLE, label, secret, out);
	sodium_memzero(secret, sizeof secret);
	if (why == SEAL_OK && sodium_memcmp((*out)->pk, pk, KEY_PUBLIC_BYTES) != 0) {
		key_free(*out);
		*out = NULL;
		why = SEAL_COMMIT;
	}
	return why;
}
