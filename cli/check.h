/*
 * check: what of a warehouse and of the files beside it is not as the pipeline file has it:
 * rights in the catalogue, logins' files, keys and policy. Each part adds rows; nothing is
 * changed.
 */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include "cli.h"
#include "pg.h"

enum drift {
	DRIFT_MISSING, /* should be, and is not */
	DRIFT_EXTRA,   /* is, and should not be */
	DRIFT_WRONG,
	DRIFT_NOTE, /* good to know; counts for nothing */
	DRIFT_MAX
};

struct check_row {
	enum drift drift;
	char *what, *next; /* owned; next may be empty */
};

enum { CHECK_ROWS_MAX = 20000 };

struct check {
	const struct cli *cli;
	const struct model *model;
	struct pg *pg; /* borrowed; a read-only transaction is open */
	struct check_row *rows;
	unsigned n, cap;
	unsigned drifts;   /* rows that are no notes */
	unsigned examined; /* rights, roles and files that were looked at */
};

/* next: the command or the SQL that settles it; "" where there is none. */
void check_add(struct check *c, enum drift drift, const char *next, const char *fmt, ...)
    PRINTF(4, 5);

/* check_grants.c: rights, roles, memberships, functions, triggers. False: the catalogue failed. */
MUSTCHECK bool check_grants(struct check *c, struct err *e);
/* check_keys.c: login files, key files, policy. False: the catalogue failed. */
MUSTCHECK bool check_files(struct check *c, struct err *e);

#endif
