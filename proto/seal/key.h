/* key: inside proto/seal, the secret bytes of a struct key. */
#ifndef PROTO_SEAL_KEY_H
#define PROTO_SEAL_KEY_H

#include "seal/keyfile.h"

/* The 32 bytes as a file keeps them: seed, X25519 secret or symmetric key. */
const uint8_t *key_secret_bytes(const struct key *k);
bool key_is_box(const struct key *k);

/* Opens crypto_box_seal of exactly n bytes for k, into out; false: not for it, or changed. */
bool key_box_open(const struct key *k, const uint8_t *sealed, size_t n, uint8_t *out);
/* SEAL_LOWPOINT, or SEAL_OK with n + 48 bytes in out. */
MUSTCHECK enum seal_error key_box_seal(const uint8_t pk[static KEY_PUBLIC_BYTES], const uint8_t *p,
				       size_t n, uint8_t *out);

#endif
