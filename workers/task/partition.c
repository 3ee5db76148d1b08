/*
 * Raw events are kept by day: the days to come have a partition before their rows, and old days
 * go.
 */
#include "task.h"

#include <string.h>

#include "log.h"

static const char partitions_sql[] = "SELECT made, dropped FROM admin_schema.raw_partitions($1)";

bool
task_partitions(struct chore *c, struct err *e)
{
	struct pg_param param = {.data = c->name};
	struct pg_result *r = NULL;

	if (!mono_due(c->partitions_at, mono_now()))
		return true;
	if (!pg_query(c->pg, partitions_sql, &param, 1, false, &r, e)) {
		/* A table that is busy for a moment: soon again. */
		bool busy = pg_alive(c->pg) && strcmp(pg_sqlstate(c->pg), "55P03") == 0;
		c->partitions_at = mono_add_ms(mono_now(), PARTITIONS_AGAIN_MS);
		return busy;
	}
	if (pg_int(r, 0, 0) || pg_int(r, 0, 1))
		log_info("raw events: %lld partitions made, %lld dropped",
			 (long long)pg_int(r, 0, 0), (long long)pg_int(r, 0, 1));
	pg_result_free(r);
	c->partitions_at = mono_add_ms(mono_now(), PARTITIONS_MS);
	return true;
}
