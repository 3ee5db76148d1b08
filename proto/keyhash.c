#include "keyhash.h"

#include <string.h>

#include <sodium.h>

#include "log.h"

_Static_assert(HASH_KEY_BYTES == crypto_shorthash_KEYBYTES, "SipHash takes 16 bytes of key");
_Static_assert(RID_BYTES == crypto_generichash_blake2b_BYTES_MIN, "a rid is BLAKE2b-128");

void
keyhash_init(void)
{
	if (sodium_init() < 0)
		panic("libsodium cannot be initialised");
}

uint64_t
keyhash64(const uint8_t key[static HASH_KEY_BYTES], const void *p, size_t n)
{
	uint8_t out[crypto_shorthash_BYTES];
	uint64_t v = 0;

	crypto_shorthash(out, p, n, key);
	for (unsigned i = 0; i < sizeof out; i++)
		v |= (uint64_t)out[i] << (8 * i);
	return v;
}

void
keyhash_process(const uint8_t key[static HASH_KEY_BYTES], const char *id, size_t n,
		uint8_t out[static 16])
{
	crypto_shorthash_siphashx24(out, (const uint8_t *)id, n, key);
}

int64_t
keyhash_surrogate(const uint8_t key[static HASH_KEY_BYTES], const char *natural, size_t n)
{
	return (int64_t)(keyhash64(key, natural, n) & INT64_MAX);
}

/* BLAKE2b-128 over several pieces, with a personalisation as SEALING.md's B2b-128 has it. */
struct hasher {
	crypto_generichash_blake2b_state state;
};

static void
hasher_start(struct hasher *h, const char *person, const uint8_t *key, size_t key_len)
{
	uint8_t personal[crypto_generichash_blake2b_PERSONALBYTES] = {0};

	check(strlen(person) <= sizeof personal);
	memcpy(personal, person, strlen(person));
	crypto_generichash_blake2b_init_salt_personal(&h->state, key, key_len, RID_BYTES, NULL,
						      personal);
}

static void
hasher_bytes(struct hasher *h, const void *p, size_t n)
{
	crypto_generichash_blake2b_update(&h->state, p, n);
}

static void
hasher_uint(struct hasher *h, uint64_t v, unsigned bytes)
{
	uint8_t p[8];

	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
	hasher_bytes(h, p, bytes);
}

/* L(x): a u16 length and the bytes. Longer than 65,535 bytes: their digest stands for them. */
static void
hasher_text(struct hasher *h, const void *p, size_t n)
{
	uint8_t digest[crypto_generichash_blake2b_BYTES];

	if (n > UINT16_MAX) {
		crypto_generichash_blake2b(digest, sizeof digest, p, n, NULL, 0);
		p = digest;
		n = sizeof digest;
	}
	hasher_uint(h, n, 2);
	hasher_bytes(h, p, n);
}

static void
hasher_end(struct hasher *h, uint8_t out[static RID_BYTES])
{
	crypto_generichash_blake2b_final(&h->state, out, RID_BYTES);
}

void
rid_kafka(const char *label, uint32_t partition, int64_t offset, uint8_t out[static RID_BYTES])
{
	struct hasher h;

	hasher_start(&h, "weir1.rid", NULL, 0);
	hasher_text(&h, label, strlen(label));
	hasher_uint(&h, partition, 4);
	hasher_uint(&h, (uint64_t)offset, 8);
	hasher_end(&h, out);
}

void
rid_file(const char *label, const char *path, size_t path_len, int64_t record,
	 uint8_t out[static RID_BYTES])
{
	struct hasher h;

	hasher_start(&h, "weir1.rid", NULL, 0);
	hasher_text(&h, label, strlen(label));
	hasher_text(&h, path, path_len);
	hasher_uint(&h, (uint64_t)record, 8);
	hasher_end(&h, out);
}

void
rid_queue(const uint8_t rid_key[static 32], const char *label, const void *identity, size_t n,
	  uint8_t out[static RID_BYTES])
{
	struct hasher h;

	hasher_start(&h, "weir1.rid", rid_key, 32);
	hasher_text(&h, label, strlen(label));
	hasher_text(&h, identity, n);
	hasher_end(&h, out);
}

void
rid_durable(const struct source *s, const struct partition *p, int64_t offset,
	    uint8_t out[static RID_BYTES])
{
	if (s->kind == SOURCE_KAFKA)
		rid_kafka(s->label, p->number, offset, out);
	else
		rid_file(s->label, p->label, p->label_len, offset, out);
}

void
digest_dead(const uint8_t key[static HASH_KEY_BYTES], const void *p, size_t n,
	    uint8_t out[static DIGEST_BYTES])
{
	struct hasher h;

	hasher_start(&h, "weir1.dead", key, HASH_KEY_BYTES);
	hasher_bytes(&h, p, n);
	hasher_end(&h, out);
}

void
random_bytes(void *p, size_t n)
{
	randombytes_buf(p, n);
}
