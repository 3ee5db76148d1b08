/*
 * digest: SHA-256 of a whole file, as `sha256sum` shows it: the name by which the audit chain knows
 * a hand-over.
 */
#ifndef PROTO_SEAL_DIGEST_H
#define PROTO_SEAL_DIGEST_H

#include <stdint.h>

#include "seal/error.h"

enum { FILE_DIGEST_BYTES = 32 };

/* Reads the descriptor from its beginning with pread. */
MUSTCHECK bool digest_file(int fd, uint8_t out[static FILE_DIGEST_BYTES], uint64_t *bytes,
			   struct err *e);

#endif
