/*
 * Each supervisor with lanes has a task worker, and the work is there once: who has the pipeline's
 * lock does it, as long as its session lives; the others look again at each turn.
 */
#include "task.h"

#include <stdio.h>

#include "log.h"

static const char lead_sql[] =
    "SELECT pg_try_advisory_lock('admin_schema.aggregate'::regclass::integer, $1)::integer";

bool
task_leads(struct chore *c, struct err *e)
{
	char id[16];
	struct pg_param param = {.data = id};
	struct pg_result *r = NULL;

	if (c->leads)
		return true;
	snprintf(id, sizeof(id), "%d", c->pipeline);
	if (!pg_query(c->pg, lead_sql, &param, 1, false, &r, e))
		return false;
	c->leads = pg_int(r, 0, 0);
	pg_result_free(r);
	if (c->leads)
		log_debug("the chores of pipeline %s are ours", c->name);
	return true;
}
