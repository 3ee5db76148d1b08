/*
 * keyring: the files of the keys directory that a role's needs allow it, opened and never read. A
 * name is taken as it stands in the directory; symbolic links are not followed.
 */
#ifndef SUPERVISOR_KEYRING_H
#define SUPERVISOR_KEYRING_H

#include "gather.h"

enum { KEYRING_MAX = 40 }; /* files of one role; what more there is belongs to old epochs */

/*
 * Appends to out[*n] (the caller closes them, also after a failure). EXIT_CONFIG: one is missing,
 * *e says which and what to do; EXIT_PERMISSION: it cannot be opened, or others may read it.
 */
MUSTCHECK bool keyring_open(const struct model *m, enum role role,
			    struct gathered out[static GATHERED_MAX], int *n, struct err *e);

#endif
