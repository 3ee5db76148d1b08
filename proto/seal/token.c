#include "seal/token.h"

#include <stdlib.h>

#include <sodium.h>

#include "mem.h"
#include "seal/key.h"
#include "seal/private.h"

enum { HASH_BYTES = 16, CPF_DIGITS = 11 };

/* ---- canonical forms ---- */

static bool
digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
one_of(char c, const char *set)
{
	return c && strchr(set, c);
}

/* Digits without the separators in between; anything else has no such form. */
static bool
digits_take(const char *s, size_t n, const char *separators, char *out, size_t *out_n)
{
	*out_n = 0;
	for (size_t i = 0; i < n; i++) {
		if (one_of(s[i], separators))
			continue;
		if (!digit(s[i]) || *out_n == TOKEN_CANONICAL_MAX)
			return false;
		out[(*out_n)++] = s[i];
	}
	return *out_n > 0;
}

static bool
lower_take(const char *s, size_t n, char *out, size_t *out_n)
{
	while (n && blank(s[n - 1]))
		n--;
	while (n && blank(*s)) {
		s++;
		n--;
	}
	if (n == 0 || n > TOKEN_CANONICAL_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		out[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] - 'A' + 'a') : s[i];
	*out_n = n;
	return true;
}

static bool
text_take(const char *s, size_t n, enum canonical form, char *out, size_t *out_n)
{
	switch (form) {
	case CANONICAL_AS_IS:
		if (n == 0 || n > TOKEN_CANONICAL_MAX)
			return false;
		memcpy(out, s, n);
		*out_n = n;
		return true;
	case CANONICAL_DIGITS:
		return digits_take(s, n, " .-/()+", out, out_n);
	case CANONICAL_LOWER:
		return lower_take(s, n, out, out_n);
	case CANONICAL_CPF:
		return digits_take(s, n, ".-", out, out_n) && *out_n == CPF_DIGITS;
	case CANONICAL_MAX:
		break;
	}
	panic("canonical form %d", form);
}

bool
token_canonical(const struct value *v, enum canonical form, char out[static TOKEN_CANONICAL_MAX],
		size_t *n)
{
	char text[VALUE_FORMAT_MAX];

	*n = 0;
	switch ((enum value_type)v->type) {
	case VALUE_TEXT:
		return text_take(v->text, v->len, form, out, n);
	case VALUE_BOOLEAN:
	case VALUE_INTEGER:
	case VALUE_DECIMAL:
	case VALUE_DATE:
	case VALUE_TIMESTAMP:
		return text_take(text, value_format(v, text), form, out, n);
	default:
		return false;
	}
}

/* ---- tokens ---- */

uint16_t
token_domain(const char *name)
{
	uint8_t hash[HASH_BYTES];

	sodium_start();
	b2b(NULL, "weir1.domain", name, strlen(name), hash, sizeof hash);
	return (uint16_t)(hash[0] << 8 | hash[1]);
}

struct token_secret {			      /* in the arena */
	uint8_t token_state[B2B_STATE_BYTES]; /* keyed; copied for each value */
	uint8_t sid_state[B2B_STATE_BYTES];
};

struct token_key {
	struct token_secret *secret;
	uint8_t head[TOKEN_BYTES - HASH_BYTES];
	uint8_t id[KEY_ID_BYTES];
};

static void
state_start(uint8_t *state, const uint8_t *key, const char *person)
{
	struct b2b h;

	b2b_start(&h, key, person, HASH_BYTES);
	memcpy(state, h.state, B2B_STATE_BYTES);
	sodium_memzero(&h, sizeof h);
}

enum seal_error
token_key_new(const struct key *k, const char *domain, unsigned epoch, struct token_key **out)
{
	uint16_t number = token_domain(domain);

	*out = NULL;
	if (epoch == 0 || epoch > TOKEN_EPOCH_MAX || !key_label_is(k, KEY_TOKEN, domain, epoch))
		return SEAL_KEY;
	struct token_secret *s = arena_alloc(sizeof *s);
	if (!s)
		return SEAL_SYSTEM;
	state_start(s->token_state, key_secret_bytes(k), "weir1.token");
	state_start(s->sid_state, key_secret_bytes(k), "weir1.sid");
	*out = mem_zero(1, sizeof **out);
	(*out)->secret = s;
	b2b(key_secret_bytes(k), "weir1.tokenkey", "", 0, (*out)->id, KEY_ID_BYTES);
	(*out)->head[0] = TOKEN_VERSION;
	(*out)->head[1] = (uint8_t)epoch;
	(*out)->head[2] = (uint8_t)(number >> 8);
	(*out)->head[3] = (uint8_t)number;
	return SEAL_OK;
}

void
token_key_free(struct token_key *t)
{
	if (!t)
		return;
	arena_free(t->secret);
	free(t);
}

void
token_key_id(const struct token_key *t, uint8_t out[static KEY_ID_BYTES])
{
	memcpy(out, t->id, KEY_ID_BYTES);
}

unsigned
token_key_epoch(const struct token_key *t)
{
	return t->head[1];
}

static void
hash(const uint8_t *state, const char *canonical, size_t n, uint8_t *out)
{
	struct b2b h;

	memcpy(h.state, state, B2B_STATE_BYTES);
	b2b_add(&h, canonical, n);
	b2b_end(&h, out, HASH_BYTES);
}

void
token_make(const struct token_key *t, const char *canonical, size_t n,
	   uint8_t out[static TOKEN_BYTES])
{
	arena_check(t->secret);
	memcpy(out, t->head, sizeof t->head);
	hash(t->secret->token_state, canonical, n, out + sizeof t->head);
}

void
token_text(const uint8_t token[static TOKEN_BYTES], char out[static TOKEN_TEXT_BYTES])
{
	for (unsigned i = 0; i < TOKEN_BYTES; i++) {
		out[2 * i] = "0123456789abcdef"[token[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[token[i] & 15];
	}
}

void
token_sid(const struct token_key *t, const char *canonical, size_t n, uint8_t sid[static SID_BYTES])
{
	arena_check(t->secret);
	hash(t->secret->sid_state, canonical, n, sid);
}

enum seal_error
token_decode(const void *p, size_t n, struct token *out)
{
	struct cursor c = {.p = p, .n = n};

	*out = (struct token){0};
	if (n != TOKEN_BYTES)
		return SEAL_MALFORMED;
	if (take_uint(&c, 1) != TOKEN_VERSION)
		return SEAL_VERSION;
	out->epoch = (uint8_t)take_uint(&c, 1);
	out->domain = (uint16_t)take_uint(&c, 2);
	take_copy(&c, out->hash, sizeof out->hash);
	return out->epoch ? SEAL_OK : SEAL_MALFORMED;
}
