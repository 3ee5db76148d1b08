#include "task.h"

#include <stdio.h>

static const char shards_sql[] =
    "DELETE FROM admin_schema.shard s WHERE pipeline = $1 AND closed"
    " AND NOT EXISTS (SELECT FROM admin_schema.key_range r WHERE r.pipeline = s.pipeline"
    " AND r.build = s.build AND r.epoch = s.epoch)"
    " AND epoch < (SELECT min(epoch) FROM (SELECT epoch FROM admin_schema.shard"
    " WHERE pipeline = $1 AND closed ORDER BY epoch DESC LIMIT $2::text::integer) newest)";

static const char runs_sql[] = "DELETE FROM admin_schema.run WHERE pipeline = $1"
			       " AND started_at < now() - make_interval(days => $2::text::integer)";

static const char pipeline_sql[] = "SELECT id FROM admin_schema.pipeline WHERE name = $1";

bool
task_retain(struct chore *c, struct err *e)
{
	char id[16], shards[16], days[16];

	snprintf(id, sizeof(id), "%d", c->pipeline);
	snprintf(shards, sizeof(shards), "%d", CLOSED_SHARDS_KEPT);
	snprintf(days, sizeof(days), "%d", RUNS_KEPT_DAYS);
	struct pg_param by_shards[] = {{.data = id}, {.data = shards}};
	struct pg_param by_days[] = {{.data = id}, {.data = days}};
	return pg_query(c->pg, shards_sql, by_shards, 2, false, NULL, e) &&
	       pg_query(c->pg, runs_sql, by_days, 2, false, NULL, e);
}

bool
task_pipeline(struct pg *pg, const char *name, int32_t *id, struct err *e)
{
	struct pg_param param = {.data = name};
	struct pg_result *r = NULL;

	if (!pg_query(pg, pipeline_sql, &param, 1, false, &r, e))
		return false;
	bool there = pg_rows(r) == 1;
	if (there)
		*id = (int32_t)pg_int(r, 0, 0);
	pg_result_free(r);
	return there || err_set(e, EXIT_CONFIG,
				"pipeline %s is not in this warehouse; run `weir apply`", name);
}
