/*
 * dead: dead letters as the owner reads them, for `weir dead` and the demo.
 */
#ifndef CLI_DEAD_H
#define CLI_DEAD_H

#include "cli.h"
#include "pg.h"

/* Newest first; source NULL: of all. The caller frees *out. */
MUSTCHECK bool dead_query(struct pg *pg, const struct model *m, const char *source,
			  const char *limit, struct pg_result **out, struct err *e);
void dead_table(const struct pg_result *r, const char *indent, struct buf *out);

/* Counts by source, stage and reason; source NULL: of all. */
MUSTCHECK bool dead_reasons(struct pg *pg, const struct model *m, const char *source,
			    struct pg_result **out, struct err *e);
void dead_reasons_table(const struct pg_result *r, const char *indent, struct buf *out);

/* ---- bodies: dead_body.c ---- */

enum { DEAD_RID_DIGITS = 32, DEAD_BATCH = 100 };

/* The beginning of a RID, dashes or not, as digits. EXIT_USAGE. */
MUSTCHECK bool dead_rid_prefix(const char *rid, char out[static DEAD_RID_DIGITS + 1],
			       struct err *e);

int dead_open(struct cli *c);	/* weir dead open RID */
int dead_replay(struct cli *c); /* weir dead replay RID | --all */

#endif
