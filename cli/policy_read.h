/*
 * policy_read: what plan and check read of the directory of `keys:`: the policy's file and the
 * public key of its root, which stand there beside the secret keys.
 */
#ifndef CLI_POLICY_READ_H
#define CLI_POLICY_READ_H

#include "seal/policy.h"

#define POLICY_FILE	 "policy"
#define POLICY_ROOT_FILE "root.pub"

/* Both need m->keys_dir. The whole file, as it is, appended; nothing of it is verified. */
MUSTCHECK bool policy_file_read(const struct model *m, struct buf *out, struct err *e);
/* Only for a pipeline that the warehouse pins no root for. */
MUSTCHECK bool policy_root_read(const struct model *m, uint8_t root[static KEY_PUBLIC_BYTES],
				struct err *e);

/* Lower-case hexadecimal digits; false: other characters, or an odd number. Appended. */
MUSTCHECK bool policy_unhex(const char *digits, size_t n, struct buf *out);
void policy_hex(const void *bytes, size_t n, struct buf *out);
int64_t policy_now_ms(void); /* wall clock */

#endif
