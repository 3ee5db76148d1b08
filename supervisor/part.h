/*
 * part: which roles of a pipeline one supervisor bears. Without an exchange that is all of them;
 * with one, the sources' side (ingest, keeper) and the lanes' side (relay, correlate, transform,
 * load, task) may live under supervisors of their own, on other hosts, any number of each.
 */
#ifndef SUPERVISOR_PART_H
#define SUPERVISOR_PART_H

#include "err.h"
#include "model.h"
#include "roles.h"

#define PART_LANES "lanes" /* in a list of roles: the whole side of the lanes */

/* A list of roles' names, comma between. EXIT_USAGE. */
MUSTCHECK bool part_parse(const char *list, uint32_t *roles, struct err *e);

/* Whether these can do anything useful with this pipeline. */
MUSTCHECK bool part_check(const struct model *m, uint32_t roles, bool bounded, struct err *e);

/* Which of these roles this pipeline has; true: all that it has are among them. */
bool part_whole(const struct model *m, uint32_t roles, uint32_t *has);

/* This process is the first of a namespace of processes of its own, as in a container. */
bool part_apart(void);

/* How many workers of a role a pipeline has, before it is divided. */
unsigned part_many(const struct model *m, enum role role);

/*
 * How many of `of` a worker of `role` has pipes with: behind an exchange the two sides meet there
 * and nowhere else, also when both live under one supervisor.
 */
unsigned part_count(const struct model *m, enum role role, enum role of, unsigned many);

#endif
