/*
 * origin: whether a carried value lies where it belongs. It brings along what it is bound to
 * (source, field, record), so it would open wherever somebody has put it whole. A result column
 * that comes straight from a table of development_schema tells where it is from, and so a value
 * is refused that is of
 *   raw_<source>   another source, or the path of another field of that source, or, with the
 *                  table's rid among the columns, another record;
 *   process        a field that the fold of the column's name does not read.
 * Of a source that the model has no more, the policy's paths and the table's columns tell fields
 * apart, as far as names do. Not noticed: columns that an expression or a view of another name
 * made, records where rid is not among the columns, values of another process in `process`.
 */
#ifndef WORKERS_LIB_ORIGIN_H
#define WORKERS_LIB_ORIGIN_H

#include "model.h"
#include "pg.h"
#include "seal/policy.h"
#include "wire.h"

struct origin;

/*
 * Of a result's columns (text form), once for all results of one query. Asks the catalogue by pg,
 * which may be in a transaction. Free: origin_free.
 */
MUSTCHECK bool origin_of(struct pg *pg, const struct model *m, const struct policy *policy,
			 const struct pg_result *r, struct origin **out, struct err *e);
void origin_free(struct origin *o); /* NULL is fine */

/* SEAL_OK, or SEAL_AUTH: moved here from elsewhere. */
MUSTCHECK enum seal_error origin_judge(const struct origin *o, const struct pg_result *r,
				       unsigned row, unsigned column, const struct carried *c);

#endif
