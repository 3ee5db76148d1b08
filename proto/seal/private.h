/*
 * private: what the modules of proto/seal share and nobody else includes: the bytes of secrets,
 * BLAKE2b as SEALING writes it, big-endian bytes.
 */
#ifndef PROTO_SEAL_PRIVATE_H
#define PROTO_SEAL_PRIVATE_H

#include "buf.h"
#include "log.h"
#include "model.h"
#include "seal/secret.h"

void sodium_start(void); /* as often as one likes */

/* ---- the arena ---- */

/*
 * n bytes, zeroed, aligned to 16, in the arena; NULL as secret_of. arena_check panics when the
 * bytes were wiped by a fork; every use of a secret begins with it.
 */
MUSTCHECK void *arena_alloc(size_t n);
/* secret_open, with the machine's list of swaps from this file. */
MUSTCHECK bool arena_open(bool required, const char *swaps, struct err *e);
void arena_free(void *p);
void arena_check(const void *p);

const uint8_t *secret_bytes(const struct secret *s);
uint8_t *secret_writable(struct secret *s);

/* ---- B2b-N(key, person, msg) ---- */

enum { B2B_STATE_BYTES = 384, B2B_PERSON_BYTES = 16 };

struct b2b { /* crypto_generichash_blake2b_state; may be copied */
	_Alignas(64) uint8_t state[B2B_STATE_BYTES];
};

/* key NULL: none, else 32 bytes. person NULL: none, else at most 16 characters. */
void b2b_start(struct b2b *h, const uint8_t *key, const char *person, size_t out_bytes);
void b2b_add(struct b2b *h, const void *p, size_t n);
void b2b_text(struct b2b *h, const void *p, size_t n); /* L(x); n at most 65,535 */
void b2b_end(struct b2b *h, void *out, size_t out_bytes);
void b2b(const uint8_t *key, const char *person, const void *p, size_t n, void *out,
	 size_t out_bytes);

/* ---- big-endian bytes ---- */

void put_u16(struct buf *b, uint16_t v);
void put_u32(struct buf *b, uint32_t v);
void put_u64(struct buf *b, uint64_t v);
void put_text(struct buf *b, const char *s); /* L(x) */

/* Reading: the first failure stays (bad); then zeros come. */
struct cursor {
	const uint8_t *p;
	size_t n, at;
	bool bad;
};

const uint8_t *take(struct cursor *c, size_t n); /* NULL when bad */
void take_copy(struct cursor *c, void *out, size_t n);
uint64_t take_uint(struct cursor *c, unsigned bytes);
void take_zeros(struct cursor *c, size_t n); /* other bytes are bad */
/* L(x) without NUL inside, into out with a NUL; longer than max: bad. */
void take_text(struct cursor *c, char *out, size_t max);
bool take_end(const struct cursor *c); /* nothing failed and nothing trails */

#endif
