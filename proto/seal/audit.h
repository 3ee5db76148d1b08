/*
 * audit: the chain of release rows. hash = SHA-256(hash of the row before || canonical text of the
 * row), the first row's predecessor being 32 zero bytes. The audit key signs heads of the chain:
 * "WRA1-head\0" || L(pipeline) || u64 id || hash 32 || u64 at_ms.
 */
#ifndef PROTO_SEAL_AUDIT_H
#define PROTO_SEAL_AUDIT_H

#include "seal/error.h"
#include "seal/keyfile.h"

enum { AUDIT_HASH_BYTES = 32 };

void audit_hash(const uint8_t prev[static AUDIT_HASH_BYTES], const void *text, size_t n,
		uint8_t out[static AUDIT_HASH_BYTES]);

struct audit_head {
	const char *pipeline;
	uint64_t id;
	uint8_t hash[AUDIT_HASH_BYTES];
	int64_t at_ms; /* when it was signed */
};

void audit_head_sign(const struct key *audit, const struct audit_head *h,
		     uint8_t signature[static KEY_SIGNATURE_BYTES]);
MUSTCHECK enum seal_error audit_head_verify(const uint8_t pk[static KEY_PUBLIC_BYTES],
					    const struct audit_head *h,
					    const uint8_t signature[static KEY_SIGNATURE_BYTES]);

#endif
