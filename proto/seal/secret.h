/*
 * secret: memory that holds keys. One arena per process, of sodium_malloc pages: locked (checked,
 * since with a small limit only the first pages are, silently), out of core dumps, zeroed in a
 * forked child (MADV_WIPEONFORK), wiped when freed. A struct secret has no printing path: its bytes
 * are visible in proto/seal alone.
 *
 * What locking is for: no key comes to a disk. Where the limit of locked memory is reached and the
 * machine has no swap (/proc/swaps, looked at once, at the start), memory that is not locked does
 * as well: it is used, and said once. Where it swaps, no secret is made.
 *
 * A child that uses an inherited secret panics: its keys are zeros, and sealing under them would be
 * sealing under none.
 */
#ifndef PROTO_SEAL_SECRET_H
#define PROTO_SEAL_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "seal/error.h"

enum {
	SECRET_ARENA_BYTES =
	    32768, /* of the first part: fits a limit of 64 KiB; grows by such parts */
	SECRET_BYTES_MAX = 4096, /* one secret */
	SECRET_KEY_BYTES = 32,
};

/*
 * Once per process, after exec and before the first secret and the sandbox; a second call does
 * nothing. Services pass required = true and refuse to run with keys that could be swapped out
 * (EXIT_CONFIG); a command does not. Part after part may come later, inside the sandbox (mmap,
 * mlock, madvise, mprotect).
 */
MUSTCHECK bool secret_open(bool required, struct err *e);
size_t secret_unlocked_bytes(void); /* that could not be locked and are used; 0 is well */
/* Why the last secret could not be made: the limit, what to do; NULL: it could, or no memory. */
const char *secret_shortage(void);

struct secret;

/* A copy of n bytes, 1 to SECRET_BYTES_MAX. NULL: must be locked, and the limit is reached. */
MUSTCHECK struct secret *secret_of(const void *p, size_t n);
MUSTCHECK struct secret *secret_random(size_t n);
void secret_free(struct secret *s); /* wipes; NULL is fine */
size_t secret_length(const struct secret *s);
bool secret_equal(const struct secret *a, const struct secret *b); /* in constant time */

/* Wipes memory that is not the arena's: frames and buffers that carried a secret. */
void secret_wipe(void *p, size_t n);

/*
 * Anonymous pages for many short-lived secrets (subject secrets of a window): out of core dumps,
 * zeroed in a forked child, locked as they are touched. Zeros at first; the caller unmaps, which
 * wipes. NULL: they must be locked and cannot be (secret_shortage).
 */
MUSTCHECK void *secret_map(size_t bytes);
void secret_unmap(void *p, size_t bytes); /* NULL is fine */
/*
 * At most so many; halves of it, down to least, where they must be locked and would take more than
 * half of the limit.
 */
MUSTCHECK void *secret_map_fitting(size_t most, size_t least, size_t *bytes);
void secret_map_clear(void *p, size_t bytes); /* zeros again; stays as it is otherwise */

/*
 * Passphrases, without a final newline, 1 to 1024 bytes. From a file that may hold a secret
 * (secretfile.h); from the terminal: /dev/tty with echo off, asked twice when `again`. The caller
 * frees *out.
 */
MUSTCHECK enum seal_error passphrase_read(int fd, struct secret **out);
MUSTCHECK enum seal_error passphrase_ask(const char *prompt, bool again, struct secret **out);

#endif
