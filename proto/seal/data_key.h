/* data_key: inside proto/seal, a data key from and as its bytes. */
#ifndef PROTO_SEAL_DATA_KEY_H
#define PROTO_SEAL_DATA_KEY_H

#include "seal/secret.h"
#include "seal/seal.h"

/* The caller wipes its copy of the bytes. */
MUSTCHECK enum seal_error data_key_of(const uint8_t key[static SECRET_KEY_BYTES],
				      struct data_key **out);
const uint8_t *data_key_bytes(const struct data_key *k);

#endif
