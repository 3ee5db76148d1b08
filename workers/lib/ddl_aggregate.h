/*
 * ddl_aggregate: the SQL of an aggregate: its table in data_visualization_schema, and the function
 * that builds it anew. Pure text from the whole model (a slice does not have it). All who read the
 * table see the content before or the content after, never an empty table between.
 *
 * Columns: one text for each of `by`, one for each measure (count bigint, else numeric or double
 * precision), as_of. A row is published only if
 *   - at least k different subjects are in it, and in each sum or mean, not counting nulls; of
 *     subjects that are tokens, k of one epoch: another epoch's may be the same persons;
 *   - of no sum (and no sum behind a mean) one subject has more than half, by absolute amount;
 *     with tokens of several epochs, not even if the largest of each are one person.
 * All other rows are added up to one whose `by` columns are all 'other', which must pass the same
 * tests; else they are left out. Rows of the fact without a subject count nowhere: nobody can tell
 * how many persons they are.
 */
#ifndef WORKERS_LIB_DDL_AGGREGATE_H
#define WORKERS_LIB_DDL_AGGREGATE_H

#include "ddl.h"

/* data_visualization_schema."name" */
void ddl_aggregate_name(const struct aggregate *a, struct buf *out);
/* refresh_<pipeline>.<name>, to be quoted */
void ddl_aggregate_refresh(const struct model *m, const struct aggregate *a, struct name *out);
/* admin_schema."refresh_<pipeline>.<name>"(), as GRANT and SELECT take it. */
void ddl_aggregate_function_name(const struct model *m, const struct aggregate *a, struct buf *out);

/* Statements without a semicolon, as in ddl.h. */
void ddl_aggregate_table(const struct model *m, const struct aggregate *a, struct buf *out);
/*
 * Returns the number of rows published. Runs as its owner; nobody else may until told so, and two
 * at the same time run one after the other.
 */
void ddl_aggregate_function(const struct model *m, const struct aggregate *a, struct buf *out);

/*
 * Table, its index and comments, function: a script. The table is new or empty of meaning: what it
 * holds is built again.
 */
void ddl_aggregate_script(const struct model *m, const struct aggregate *a, struct buf *out);

#endif
