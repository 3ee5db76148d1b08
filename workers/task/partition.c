/*
 * Raw events are kept by day: the days to come have a partition before their rows, and old days
 * go.
 */
#include "task.h"

#include "log.h"

static const char partitions_sql[] =
    "SELECT made, dropped, array_to_string(busy, ', ') FROM admin_schema.raw_partitions($1)";

/* A busy table is tried again soon; that it stays so is said, since old days are kept meanwhile. */
static void
busy_tell(struct chore *c, const char *tables)
{
	if (!*tables) {
		c->partitions_busy = 0;
		return;
	}
	c->partitions_at = mono_add_ms(mono_now(), PARTITIONS_AGAIN_MS);
	if (++c->partitions_busy % PARTITIONS_BUSY_TOLD == 1)
		log_warn(
		    "raw events: a transaction holds %s: partitions of the days to come are not "
		    "made there and old days do not go (%u tries)",
		    tables, c->partitions_busy);
}

bool
task_partitions(struct chore *c, struct err *e)
{
	struct pg_param param = {.data = c->name};
	struct pg_result *r = NULL;

	if (!mono_due(c->partitions_at, mono_now()))
		return true;
	if (!pg_query(c->pg, partitions_sql, &param, 1, false, &r, e))
		return false;
	if (pg_int(r, 0, 0) || pg_int(r, 0, 1))
		log_info("raw events: %lld partitions made, %lld dropped",
			 (long long)pg_int(r, 0, 0), (long long)pg_int(r, 0, 1));
	c->partitions_at = mono_add_ms(mono_now(), PARTITIONS_MS);
	busy_tell(c, pg_text(r, 0, 2));
	pg_result_free(r);
	return true;
}
