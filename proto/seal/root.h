/*
 * root: the public key of the policy's root as persons hand it on, apart from database and pipeline
 * file: root.pub, 64 hexadecimal digits and perhaps a line's end, or the 32 bytes.
 */
#ifndef SEAL_ROOT_H
#define SEAL_ROOT_H

#include "seal/policy.h"
#include "wire.h"

enum { ROOT_FILE_MAX = 128 };

MUSTCHECK bool root_parse(const void *p, size_t n, uint8_t out[static POLICY_ROOT_BYTES]);

/* EXIT_CONFIG: it cannot be read, or holds something else. */
MUSTCHECK bool root_read(const char *path, uint8_t out[static POLICY_ROOT_BYTES], struct err *e);

#endif
