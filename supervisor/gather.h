/*
 * gather: what a worker is handed at its birth: its slice of the configuration and the descriptors
 * its row in roles.def asks for. Login, key and secret files are opened anew for each birth, so
 * that a changed file reaches the next process; the supervisor never reads them.
 */
#ifndef SUPERVISOR_GATHER_H
#define SUPERVISOR_GATHER_H

#include "ctl.h"
#include "model.h"

struct gather;

/* Slices for all roles, made once. m must outlive it. Free: gather_free. */
MUSTCHECK struct gather *gather_new(const struct model *m, struct err *e);
void gather_free(struct gather *g); /* NULL is fine */

/* Borrowed; *bytes its length. Sealed: nobody can change it. */
int gather_slice(const struct gather *g, enum role role, uint32_t *bytes);

struct gathered {
	enum ctl_fd_kind kind;
	char name[160];
	int fd;
};

enum { GATHERED_SECRETS_MAX = 64, GATHERED_MAX = GATHERED_SECRETS_MAX + 44 };

/*
 * Opens login, key and secrets of a role into out (the caller closes them with gather_close),
 * returns how many, -1 and *e (EXIT_CONFIG, EXIT_PERMISSION) when one cannot be opened.
 */
int gather_open(const struct gather *g, enum role role, struct gathered out[static GATHERED_MAX],
		struct err *e);
void gather_close(struct gathered *items, int n);

#endif
