#include "seal/private.h"

#include <sodium.h>

_Static_assert(sizeof(crypto_generichash_blake2b_state) <= sizeof(struct b2b) &&
		   _Alignof(crypto_generichash_blake2b_state) <= _Alignof(struct b2b),
	       "a BLAKE2b state fits struct b2b");

void
sodium_start(void)
{
	if (sodium_init() < 0)
		panic("libsodium cannot be initialised");
}

static crypto_generichash_blake2b_state *
state_of(struct b2b *h)
{
	return (crypto_generichash_blake2b_state *)(void *)h->state;
}

void
b2b_start(struct b2b *h, const uint8_t *key, const char *person, size_t out_bytes)
{
	uint8_t personal[B2B_PERSON_BYTES] = {0};

	if (person) {
		check(strlen(person) <= sizeof personal);
		memcpy(personal, person, strlen(person));
	}
	int r = crypto_generichash_blake2b_init_salt_personal(
	    state_of(h), key, key ? SECRET_KEY_BYTES : 0, out_bytes, NULL, personal);
	check(r == 0);
}

void
b2b_add(struct b2b *h, const void *p, size_t n)
{
	crypto_generichash_blake2b_update(state_of(h), p, n);
}

void
b2b_text(struct b2b *h, const void *p, size_t n)
{
	check(n <= UINT16_MAX);
	uint8_t length[2] = {(uint8_t)(n >> 8), (uint8_t)n};
	b2b_add(h, length, sizeof length);
	b2b_add(h, p, n);
}

void
b2b_end(struct b2b *h, void *out, size_t out_bytes)
{
	crypto_generichash_blake2b_final(state_of(h), out, out_bytes);
}

void
b2b(const uint8_t *key, const char *person, const void *p, size_t n, void *out, size_t out_bytes)
{
	struct b2b h;

	b2b_start(&h, key, person, out_bytes);
	b2b_add(&h, p, n);
	b2b_end(&h, out, out_bytes);
	if (key)
		sodium_memzero(&h, sizeof h);
}

static void
put_uint(struct buf *b, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		buf_byte(b, (uint8_t)(v >> (8 * (bytes - 1 - i))));
}

void
put_u16(struct buf *b, uint16_t v)
{
	put_uint(b, v, 2);
}

void
put_u32(struct buf *b, uint32_t v)
{
	put_uint(b, v, 4);
}

void
put_u64(struct buf *b, uint64_t v)
{
	put_uint(b, v, 8);
}

void
put_text(struct buf *b, const char *s)
{
	size_t n = strlen(s);

	check(n <= UINT16_MAX);
	put_u16(b, (uint16_t)n);
	buf_add(b, s, n);
}

const uint8_t *
take(struct cursor *c, size_t n)
{
	if (c->bad || c->n - c->at < n) {
		c->bad = true;
		return NULL;
	}
	c->at += n;
	return c->p + c->at - n;
}

void
take_copy(struct cursor *c, void *out, size_t n)
{
	const uint8_t *p = take(c, n);

	if (p)
		memcpy(out, p, n);
	else
		memset(out, 0, n);
}

uint64_t
take_uint(struct cursor *c, unsigned bytes)
{
	const uint8_t *p = take(c, bytes);
	uint64_t v = 0;

	for (unsigned i = 0; p && i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

void
take_zeros(struct cursor *c, size_t n)
{
	const uint8_t *p = take(c, n);

	for (size_t i = 0; p && i < n; i++)
		c->bad |= p[i] != 0;
}

void
take_text(struct cursor *c, char *out, size_t max)
{
	size_t n = (size_t)take_uint(c, 2);
	const uint8_t *p = take(c, n);

	out[0] = '\0';
	if (!p || n > max || memchr(p, 0, n)) {
		c->bad = true;
		return;
	}
	memcpy(out, p, n);
	out[n] = '\0';
}

bool
take_end(const struct cursor *c)
{
	return !c->bad && c->at == c->n;
}
