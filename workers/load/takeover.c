#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "param.h"

enum {
	TERMINATE_MAX = 3, /* sessions of a stopped loader ended in one take-over */
	VERIFY_LOCK_MS = 3000,
};

/* ---- connecting ---- */

static bool
ignored(bool done, struct err *e)
{
	(void)e;
	return done;
}

/*
 * Keys are checked set-wise when this login may switch triggers off; else the server checks each
 * row. Commits are durable even where the server's default is not: what is acknowledged to a queue
 * is gone from it.
 */
static bool
session_prepare(struct load *l, struct err *e)
{
	struct err refused = {0};

	l->set_checks = false;
	if (!l->w->model->foreign_keys_enforced) {
		l->set_checks = ignored(
		    pg_exec(l->pg, "SET session_replication_role = replica", NULL, &refused), e);
		if (!l->set_checks && !pg_alive(l->pg))
			return err_set(e, EXIT_UNAVAILABLE, "%s", refused.text);
		if (!l->set_checks)
			log_warn(
			    "foreign keys are checked row by row, which costs several times the "
			    "load itself: the load login may not set session_replication_role "
			    "(`weir apply` prints the grant)");
	}
	if (!pg_exec(l->pg,
		     "SELECT set_config('synchronous_commit', 'on', false)"
		     " WHERE current_setting('synchronous_commit') = 'off'",
		     NULL, e))
		return false;
	for (unsigned i = 0; i < SINK_MAX; i++)
		if (l->sinks[i].stage && !pg_exec(l->pg, l->sinks[i].stage, NULL, e))
			return err_context(e, "stage of %s", l->sinks[i].name);
	return true;
}

bool
load_connect(struct load *l, struct err *e)
{
	if (!pg_connect(l->dsn, "weir load", l->dialect->settings, CONNECT_MS_MAX, &l->pg, e))
		return false;
	pg_on_wait(l->pg, load_breathe, l);
	if (session_prepare(l, e))
		return true;
	pg_close(l->pg);
	l->pg = NULL;
	return false;
}

/* ---- the pipeline's row ---- */

static const char pipeline_sql[] = "SELECT id, g, hash_key, live_build, policy_root, policy_serial "
				   "FROM admin_schema.pipeline WHERE name = $1";

static bool
pipeline_missing(const struct load *l, struct err *e)
{
	return err_set(e, EXIT_CONFIG, "pipeline %s is not in this warehouse; run `weir apply %s`",
		       l->w->model->pipeline.s, l->w->model->path ? l->w->model->path : "FILE");
}

/* False: no policy that ingest could hold a file against. */
static bool
policy_take(struct owner *o, const struct pg_result *r)
{
	size_t n;

	o->has_policy = !pg_is_null(r, 0, 4);
	if (!o->has_policy)
		return true;
	const uint8_t *root = pg_bytes(r, 0, 4, &n);
	if (n != POLICY_ROOT_BYTES)
		return false;
	memcpy(o->policy_root, root, n);
	o->policy_serial = pg_is_null(r, 0, 5) ? 0 : pg_int(r, 0, 5);
	return o->policy_serial >= 0;
}

static bool
pipeline_take(struct load *l, const struct pg_result *r, struct err *e)
{
	size_t n;

	if (pg_rows(r) == 0)
		return pipeline_missing(l, e);
	if (pg_int(r, 0, 1) != l->w->model->groups)
		return err_set(
		    e, EXIT_CONFIG,
		    "pipeline %s has %lld key groups since it was created, the file says %u: "
		    "groups cannot change",
		    l->w->model->pipeline.s, (long long)pg_int(r, 0, 1), l->w->model->groups);
	const uint8_t *key = pg_bytes(r, 0, 2, &n);
	check(n == HASH_KEY_BYTES);
	memcpy(l->owner.hash_key, key, n);
	if (!policy_take(&l->owner, r))
		return err_set(e, EXIT_CONFIG,
			       "the policy of pipeline %s in the warehouse is none; run `weir "
			       "apply`",
			       l->w->model->pipeline.s);
	l->owner.pipeline = (int32_t)pg_int(r, 0, 0);
	return true;
}

static bool
pipeline_read(struct load *l, struct err *e)
{
	struct param_set s = {0};
	struct pg_result *r = NULL;

	param_text(&s, l->w->model->pipeline.s);
	bool good = pg_query(l->pg, pipeline_sql, params_made(&s), s.n, true, &r, e);
	params_free(&s);
	if (!good) {
		const char *state = pg_sqlstate(l->pg);
		/* No such table or schema: nothing was ever applied. */
		if (strcmp(state, "42P01") == 0 || strcmp(state, "3F000") == 0)
			return pipeline_missing(l, e);
		return false;
	}
	good = pipeline_take(l, r, e);
	pg_result_free(r);
	return good;
}

/* ---- the shard's row, and what is read ---- */

static const char positions_sql[] =
    "SELECT kg_lo, u.partition, u.next FROM admin_schema.key_range r,"
    " unnest(r.partition, r.next) u (partition, next)" RANGE_OVERLAP " ORDER BY 1, 2";

static const char earlier_sql[] =
    "UPDATE admin_schema.shard SET closed = true, closed_by = $3 WHERE pipeline = $1"
    " AND build = $2 AND NOT closed AND epoch < $3 AND instance = $4 AND (lane = $5 OR lane >= $6)"
    " AND NOT EXISTS (SELECT FROM admin_schema.key_range r WHERE r.pipeline = $1"
    " AND r.build = $2 AND r.epoch = shard.epoch)";

static const char shard_sql[] =
    "INSERT INTO admin_schema.shard (pipeline, build, epoch, instance, lane, backend_pid,"
    " backend_start) SELECT $1, $2, $3, $4, $5, pid, backend_start FROM pg_stat_activity"
    " WHERE pid = pg_backend_pid()";

/* The loader that was recorded with a shard row, if its session is still that one. */
static const char terminate_sql[] =
    "SELECT a.pid, pg_terminate_backend(a.pid) FROM admin_schema.shard s JOIN pg_stat_activity a"
    " ON a.pid = s.backend_pid AND a.backend_start = s.backend_start"
    " WHERE s.pipeline = $1 AND s.build = $2 AND NOT s.closed AND a.pid <> pg_backend_pid()"
    " AND (s.epoch = $5 OR s.epoch IN (SELECT epoch FROM admin_schema.key_range" RANGE_OVERLAP "))";

/* A lane without key groups leaves a row that no take-over would ever close. */
static bool
shard_earlier(struct load *l, struct err *e)
{
	struct param_set s = {0};

	if (!model_exchange(l->w->model))
		return true;
	param_int4(&s, l->owner.pipeline);
	param_int2(&s, BUILD);
	param_int8(&s, l->owner.epoch);
	param_text(&s, l->w->instance);
	param_int2(&s, (int16_t)l->w->index);
	param_int2(&s, (int16_t)l->w->count[ROLE_LOAD]);
	bool good = pg_query(l->pg, earlier_sql, params_made(&s), s.n, false, NULL, e);
	params_free(&s);
	return good;
}

static bool
shard_insert(struct load *l, struct err *e)
{
	struct param_set s = {0};

	param_int4(&s, l->owner.pipeline);
	param_int2(&s, BUILD);
	param_int8(&s, l->owner.epoch);
	param_text(&s, l->w->instance);
	param_int2(&s, (int16_t)l->w->index);
	bool good = pg_query(l->pg, shard_sql, params_made(&s), s.n, false, NULL, e);
	params_free(&s);
	return good;
}

static bool
positions_read(struct load *l, struct err *e)
{
	struct pg_result *r = NULL;
	uint32_t range = 0;

	if (!range_query(l, positions_sql, -1, &r, e))
		return false;
	for (unsigned i = 0; i < pg_rows(r); i++) {
		while (l->owner.ranges[range].kg_lo != (uint32_t)pg_int(r, i, 0)) {
			range++;
			check(range < l->owner.ranges_n);
		}
		const struct known *k = owner_known(&l->owner, (uint32_t)pg_int(r, i, 1));
		if (k && !k->done)
			range_set(&l->owner.ranges[range], (uint32_t)pg_int(r, i, 1),
				  pg_int(r, i, 2));
	}
	pg_result_free(r);
	return true;
}

static bool
state_look(struct load *l, struct err *e)
{
	struct param_set s = {0};
	struct pg_result *r = NULL;

	param_int4(&s, l->owner.pipeline);
	param_int2(&s, BUILD);
	bool good = pg_query(
	    l->pg, "SELECT FROM admin_schema.state WHERE pipeline = $1 AND build = $2 LIMIT 1",
	    params_made(&s), s.n, false, &r, e);
	params_free(&s);
	if (!good)
		return false;
	l->owner.state_empty = pg_rows(r) == 0;
	pg_result_free(r);
	return true;
}

static bool
lock_timeout(struct load *l, int ms, struct err *e)
{
	struct buf sql = {0};

	buf_printf(&sql, "SET LOCAL lock_timeout = %d", ms);
	bool good = pg_exec(l->pg, buf_cstr(&sql), NULL, e);
	buf_free(&sql);
	return good;
}

/* What must be in one transaction; the caller ends it. */
static bool
take(struct load *l, struct err *e)
{
	if (!pg_exec(l->pg, "BEGIN", NULL, e) || !lock_timeout(l, TAKEOVER_LOCK_MS, e) ||
	    !ranges_take(l, e) || !shard_earlier(l, e) || !shard_insert(l, e) ||
	    !partitions_read(l, e) || !positions_read(l, e) || !state_look(l, e))
		return false;
	return pg_exec(l->pg, "COMMIT", NULL, e);
}

static bool
rollback(struct load *l)
{
	struct err e;

	return pg_alive(l->pg) && pg_exec(l->pg, "ROLLBACK", NULL, &e);
}

static bool
lock_failed(const struct load *l)
{
	return strcmp(pg_sqlstate(l->pg), "55P03") == 0;
}

/* A stopped or cut-off loader holds its row for ever otherwise. */
static bool
holders_terminate(struct load *l, int64_t epoch, struct err *e)
{
	struct pg_result *r = NULL;

	if (!range_query(l, terminate_sql, epoch, &r, e))
		return false;
	for (unsigned i = 0; i < pg_rows(r); i++)
		log_warn(
		    "ended the session of a loader that holds key groups %u to %u (backend %s)",
		    l->owner.kg_lo, l->owner.kg_hi, pg_text(r, i, 0));
	pg_result_free(r);
	return true;
}

bool
takeover(struct load *l, struct err *e)
{
	if (!model_exchange(l->w->model)) /* else CLAIM has said it */
		owner_bounds(&l->owner, l->w->model, l->w->index);
	if (!pipeline_read(l, e) || !schema_check(l, e) || !instance_claim(l, e) ||
	    !sources_register(l, e))
		return false;
	for (int i = 0;; i++) {
		l->owner.batch = 0;
		if (take(l, e))
			return true;
		bool blocked = lock_failed(l);
		if (!rollback(l) || !blocked || i == TERMINATE_MAX)
			return false;
		if (!holders_terminate(l, 0, e))
			return false;
	}
}

/* ---- after a lost connection ---- */

static const char verify_sql[] = "SELECT batch, closed FROM admin_schema.shard"
				 " WHERE pipeline = $1 AND build = $2 AND epoch = $3 FOR UPDATE";

static const char rebind_sql[] =
    "UPDATE admin_schema.shard SET backend_pid = a.pid, backend_start = a.backend_start"
    " FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()"
    " AND pipeline = $1 AND build = $2 AND epoch = $3";

static const char winner_sql[] =
    "SELECT w.instance, w.lane FROM admin_schema.shard s JOIN admin_schema.shard w"
    " ON w.pipeline = s.pipeline AND w.build = s.build AND w.epoch = s.closed_by"
    " WHERE s.pipeline = $1 AND s.build = $2 AND s.epoch = $3";

static bool
query_shard(struct load *l, const char *sql, struct pg_result **out, struct err *e)
{
	struct param_set s = {0};

	param_int4(&s, l->owner.pipeline);
	param_int2(&s, BUILD);
	param_int8(&s, l->owner.epoch);
	bool good = pg_query(l->pg, sql, params_made(&s), s.n, false, out, e);
	params_free(&s);
	return good;
}

bool
takeover_lost(struct load *l, struct err *e)
{
	struct pg_result *r = NULL;
	struct err ignore = {0};

	int code = model_exchange(l->w->model) ? CTL_BYE_REBORN : EXIT_TRY_LATER;

	metric_add(l->w->page, METRIC_FENCED, 1);
	if (!pg_alive(l->pg) || !query_shard(l, winner_sql, &r, &ignore) || pg_rows(r) == 0)
		err_set(e, code, "another supervisor has taken pipeline %s over",
			l->w->model->pipeline.s);
	else
		err_set(e, code, "%s has taken key groups %u to %u over", pg_text(r, 0, 0),
			l->owner.kg_lo, l->owner.kg_hi);
	pg_result_free(r);
	return false;
}

static bool
verify_take(struct load *l, const struct pg_result *r, bool *committed, struct err *e)
{
	if (pg_rows(r) == 0)
		return err_set(e, EXIT_TRY_LATER,
			       "the shard row of epoch %lld is gone: was the warehouse restored?",
			       (long long)l->owner.epoch);
	if (pg_text(r, 0, 1)[0] == 't')
		return takeover_lost(l, e);
	int64_t batch = pg_int(r, 0, 0);
	if (batch < l->owner.batch)
		return err_set(e, EXIT_TRY_LATER,
			       "the warehouse went back from batch %lld to %lld: was it restored, "
			       "or failed over "
			       "to a stale standby?",
			       (long long)l->owner.batch, (long long)batch);
	check(batch <= l->owner.batch + 1);
	*committed = batch == l->owner.batch + 1;
	return true;
}

bool
takeover_verify(struct load *l, bool *committed, struct err *e)
{
	for (int i = 0;; i++) {
		struct pg_result *r = NULL;
		bool good =
		    pg_exec(l->pg, "BEGIN", NULL, e) && lock_timeout(l, VERIFY_LOCK_MS, e) &&
		    query_shard(l, verify_sql, &r, e) && verify_take(l, r, committed, e) &&
		    query_shard(l, rebind_sql, NULL, e) && pg_exec(l->pg, "COMMIT", NULL, e);
		pg_result_free(r);
		if (good)
			return true;
		struct err why = *e;
		bool blocked = lock_failed(l);
		if (!rollback(l) || !blocked || i == TERMINATE_MAX) {
			*e = why;
			return false;
		}
		/* Our own former session, which the server believes alive. */
		if (!holders_terminate(l, l->owner.epoch, e))
			return false;
	}
}
