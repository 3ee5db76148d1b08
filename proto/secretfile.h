/*
 * secretfile: which files may hold a secret (a key, a login, a passphrase, what `file:` names), and
 * how they are opened. One rule for all of them, that of PostgreSQL's server keys:
 *
 *   a regular file, and
 *   - ours (of our effective user) or root's, without any right of group and others; or
 *   - root's, with no more than reading for the group, when we are not root ourselves. Whoever is
 *     not root can be given a file of root's by a group alone: Kubernetes mounts a Secret as
 *     root:fsGroup 0440.
 *
 * Symbolic links are followed (those mounts are made of them): what counts is the file that was
 * opened, not its name. A pipe or a device is never waited for.
 */
#ifndef PROTO_SECRETFILE_H
#define PROTO_SECRETFILE_H

#include <sys/types.h>

#include "buf.h"
#include "err.h"

struct stat;

/* The rule itself: mode and owner as fstat gives them, for a process of this effective user. */
bool secretfile_permitted(unsigned mode, unsigned owner, unsigned euid);

/* The same for us, with words that say what is wrong and what to do: EXIT_PERMISSION. */
MUSTCHECK bool secretfile_check(const struct stat *st, const char *shown, struct err *e);

/*
 * Opens name in the directory dir (AT_FDCWD for a path) for reading, close-on-exec, when it may
 * hold a secret; the caller closes it. -1: EXIT_CONFIG where there is none, else EXIT_PERMISSION.
 * shown stands for the file in messages ("login /etc/weir/logins/load.login").
 */
MUSTCHECK int secretfile_open(int dir, const char *name, const char *shown, struct err *e);

/* Appends the whole file, at most max bytes; a longer one is no secret. */
MUSTCHECK bool secretfile_read(const char *path, size_t max, struct buf *out, struct err *e);

#endif
