#include "seal/audit.h"

#include <sodium.h>

#include "seal/private.h"

_Static_assert(AUDIT_HASH_BYTES == crypto_hash_sha256_BYTES, "SHA-256");

static const char context[] = "WRA1-head";

void
audit_hash(const uint8_t prev[static AUDIT_HASH_BYTES], const void *text, size_t n,
	   uint8_t out[static AUDIT_HASH_BYTES])
{
	crypto_hash_sha256_state h;

	sodium_start();
	crypto_hash_sha256_init(&h);
	crypto_hash_sha256_update(&h, prev, AUDIT_HASH_BYTES);
	crypto_hash_sha256_update(&h, text, n);
	crypto_hash_sha256_final(&h, out);
}

static void
head_encode(const struct audit_head *h, struct buf *out)
{
	put_text(out, h->pipeline);
	put_u64(out, h->id);
	buf_add(out, h->hash, sizeof h->hash);
	put_u64(out, (uint64_t)h->at_ms);
}

void
audit_head_sign(const struct key *audit, const struct audit_head *h,
		uint8_t signature[static KEY_SIGNATURE_BYTES])
{
	struct buf b = {0};

	check(key_type(audit) == KEY_AUDIT);
	head_encode(h, &b);
	key_sign(audit, context, b.data, b.len, signature);
	buf_free(&b);
}

enum seal_error
audit_head_verify(const uint8_t pk[static KEY_PUBLIC_BYTES], const struct audit_head *h,
		  const uint8_t signature[static KEY_SIGNATURE_BYTES])
{
	struct buf b = {0};

	head_encode(h, &b);
	enum seal_error why = key_verify(pk, context, b.data, b.len, signature);
	buf_free(&b);
	return why;
}
