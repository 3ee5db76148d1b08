/*
 * token: equal values of a join domain become equal pseudonyms (SEALING "Token"), and the sid of a
 * person. About half a microsecond each, without allocating.
 *
 *   payload  version u8 = 1 | epoch u8 | domain u16 | B2b-128(token key, "weir1.token", canonical)
 *   domain   the first two bytes, big-endian, of B2b-128(no key, "weir1.domain", name)
 *   sid      B2b-128(token key of the subject's domain, lowest epoch, "weir1.sid", canonical)
 *
 * Tokens are made with the key of the highest epoch. A sid stays the same whatever is rotated: a
 * tombstone is by sid, and a person who was erased must not come back under another.
 *
 * Canonical forms (enum canonical of model.h). Before any: a value that is null, float, json or
 * sealed has none; other types than text are taken in their canonical text (value_print).
 *   as is   the bytes
 *   digits  separators (blank . - / ( ) +) removed; then ASCII digits alone
 *   lower   ASCII blanks trimmed from both ends, A-Z lower-cased; other bytes as they are
 *   cpf     . and - removed; then exactly 11 ASCII digits
 * A canonical form is 1 to TOKEN_CANONICAL_MAX bytes; else the value has none: it gets no token,
 * and the caller counts it.
 */
#ifndef PROTO_SEAL_TOKEN_H
#define PROTO_SEAL_TOKEN_H

#include "model.h"
#include "seal/error.h"
#include "seal/keyfile.h"
#include "seal/seal.h"

enum {
	TOKEN_VERSION = 1,
	TOKEN_BYTES = 20,
	TOKEN_TEXT_BYTES = 2 * TOKEN_BYTES, /* as a field `<name>_token`: lower-case hex */
	TOKEN_EPOCH_MAX = 255,
	TOKEN_CANONICAL_MAX = 1024,
};

/* False: the value has no such form. out gets *n bytes; wipe it as it is the value in clear. */
bool token_canonical(const struct value *v, enum canonical form,
		     char out[static TOKEN_CANONICAL_MAX], size_t *n);

uint16_t token_domain(const char *name);

struct token_key; /* one domain and epoch; in the arena */

/*
 * From a key file of type token, whose label names domain and epoch. SEAL_KEY: its type or label
 * is another. The caller keeps k, which may be freed afterwards.
 */
MUSTCHECK enum seal_error token_key_new(const struct key *k, const char *domain, unsigned epoch,
					struct token_key **out);
void token_key_free(struct token_key *t);

/*
 * What a policy knows a token key by: B2b-128(key, "weir1.tokenkey", ""). It tells nothing of the
 * key; an Ed25519 or X25519 key has key_id instead.
 */
void token_key_id(const struct token_key *t, uint8_t out[static KEY_ID_BYTES]);
unsigned token_key_epoch(const struct token_key *t);

void token_make(const struct token_key *t, const char *canonical, size_t n,
		uint8_t out[static TOKEN_BYTES]);
void token_text(const uint8_t token[static TOKEN_BYTES], char out[static TOKEN_TEXT_BYTES]);
void token_sid(const struct token_key *t, const char *canonical, size_t n,
	       uint8_t sid[static SID_BYTES]);

struct token {
	uint8_t epoch;
	uint16_t domain;
	uint8_t hash[16];
};

/* Not 20 bytes: MALFORMED; version; epoch 0: MALFORMED. */
MUSTCHECK enum seal_error token_decode(const void *p, size_t n, struct token *out);

#endif
