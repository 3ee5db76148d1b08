/*
 * explain: one process out of the stored state, as text for people or as JSON.
 */
#ifndef CLI_EXPLAIN_H
#define CLI_EXPLAIN_H

#include "cli.h"
#include "pg.h"

/* EXIT_NOTHING: no such process, or it was forgotten. */
MUSTCHECK bool explain_process(struct pg *pg, const struct model *m, const char *id, bool json,
			       struct buf *out, struct err *e);

#endif
