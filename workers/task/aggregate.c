/*
 * Aggregates are rebuilt as a whole, by functions that `weir apply` made and that run as the
 * owner: task can read neither facts nor what comes of them. One that shows nothing is tried again
 * sooner than `every`: the groups may have grown, and what was never shown gives nothing away by
 * changing.
 */
#include "task.h"

#include <stdio.h>

#include "log.h"

static const char due_sql[] =
    "SELECT a.name, a.refresh FROM admin_schema.aggregate a WHERE a.pipeline = $1"
    " AND CASE WHEN a.built_at IS NULL THEN EXISTS (SELECT FROM pg_class c"
    "  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'analytical_schema'"
    "  AND c.relname = a.fact AND pg_relation_size(c.oid) > 0)"
    " ELSE a.built_at <= now() - CASE a.rows WHEN 0 THEN"
    "  least(a.every, make_interval(secs => $2::text::integer)) ELSE a.every END END"
    " ORDER BY a.built_at NULLS FIRST, a.name";

/* Joins with dimensions are large ones here, unlike the look-ups of the other chores. */
static const char begin_sql[] = "BEGIN; SET LOCAL statement_timeout = '10min';"
				" SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on";

static const char built_sql[] = "UPDATE admin_schema.aggregate SET built_at = now(),"
				" rows = $3::text::bigint WHERE pipeline = $1 AND name = $2";

static bool
refresh(struct chore *c, const char *function, char rows[static 24], struct err *e)
{
	struct pg_result *r = NULL;
	struct buf sql = {0};

	buf_text(&sql, "SELECT admin_schema.");
	pg_quote_name(&sql, function);
	buf_text(&sql, "()");
	bool good = pg_exec(c->pg, buf_cstr(&sql), &r, e);
	buf_free(&sql);
	if (!good)
		return false;
	snprintf(rows, 24, "%lld", (long long)pg_int(r, 0, 0));
	pg_result_free(r);
	return true;
}

static bool
build(struct chore *c, const char *name, const char *function, struct err *e)
{
	struct mono began = mono_now();
	char id[16], rows[24];
	struct pg_param params[] = {{.data = id}, {.data = name}, {.data = rows}};

	snprintf(id, sizeof(id), "%d", c->pipeline);
	if (!pg_script(c->pg, begin_sql, e) || !refresh(c, function, rows, e) ||
	    !pg_query(c->pg, built_sql, params, 3, false, NULL, e) ||
	    !pg_exec(c->pg, "COMMIT", NULL, e))
		return false;
	log_info("aggregate %s: %s rows in %lld ms", name, rows,
		 (long long)mono_since_ms(began, mono_now()));
	return true;
}

/* One that fails is said, and does not keep the others from being built. */
static bool
build_or_say(struct chore *c, const char *name, const char *function, struct err *e)
{
	struct err why, ignore;

	if (build(c, name, function, &why))
		return true;
	if (!pg_alive(c->pg)) {
		*e = why;
		return false;
	}
	log_warn("aggregate %s cannot be built: %s", name, why.text);
	c->aggregates_at = mono_add_ms(mono_now(), AGGREGATE_AGAIN_MS);
	return pg_exec(c->pg, "ROLLBACK", NULL, &ignore) || (*e = ignore, false);
}

bool
task_aggregates(struct chore *c, struct err *e)
{
	char id[16], again[16];
	struct pg_param params[] = {{.data = id}, {.data = again}};
	struct pg_result *r = NULL;
	bool good = true;

	if (!mono_due(c->aggregates_at, mono_now()))
		return true;
	snprintf(id, sizeof(id), "%d", c->pipeline);
	snprintf(again, sizeof(again), "%d", AGGREGATE_AGAIN_MS / 1000);
	if (!pg_query(c->pg, due_sql, params, 2, false, &r, e))
		return false;
	for (unsigned i = 0; good && i < pg_rows(r); i++)
		good = build_or_say(c, pg_text(r, i, 0), pg_text(r, i, 1), e);
	pg_result_free(r);
	return good;
}
