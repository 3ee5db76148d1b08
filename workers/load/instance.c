#include "load.h"

#include "log.h"
#include "param.h"

/*
 * One statement: two supervisors that start at once cannot both see an old heartbeat. $5 forces.
 */
static const char claim_sql[] =
    "INSERT INTO admin_schema.instance AS i (pipeline, build, instance, mode, heartbeat, "
    "started_at)"
    " VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp())"
    " ON CONFLICT (pipeline, build) DO UPDATE SET instance = EXCLUDED.instance,"
    " mode = EXCLUDED.mode, heartbeat = EXCLUDED.heartbeat, started_at = EXCLUDED.started_at"
    " WHERE $5 OR i.instance = EXCLUDED.instance"
    " OR i.heartbeat < clock_timestamp() - make_interval(secs => $6 / 1000.0)";

static const char holder_sql[] =
    "SELECT instance, (extract(epoch FROM clock_timestamp() - heartbeat) * 1000)::bigint"
    " FROM admin_schema.instance WHERE pipeline = $1 AND build = $2";

/* The name may be the same (a second start on one host), the epoch is not. */
static const char beat_sql[] =
    "UPDATE admin_schema.instance SET heartbeat = clock_timestamp()"
    " WHERE pipeline = $1 AND build = $2 AND instance = $3 AND EXISTS (SELECT 1"
    " FROM admin_schema.shard s WHERE s.pipeline = $1 AND s.build = $2 AND s.epoch = $4"
    " AND NOT s.closed)";

/* Long ago: whoever comes next need not wait. */
static const char release_sql[] = "UPDATE admin_schema.instance SET heartbeat = to_timestamp(0)"
				  " WHERE pipeline = $1 AND build = $2 AND instance = $3";

/* ---- with an exchange: one row an instance, which keeps nobody off ---- */

static const char join_sql[] =
    "INSERT INTO admin_schema.replica (pipeline, build, instance, mode, heartbeat, started_at)"
    " VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp())"
    " ON CONFLICT (pipeline, build, instance) DO UPDATE SET mode = EXCLUDED.mode,"
    " heartbeat = EXCLUDED.heartbeat, started_at = EXCLUDED.started_at";

static const char forget_sql[] =
    "DELETE FROM admin_schema.replica WHERE pipeline = $1 AND build = $2 AND instance <> $3"
    " AND heartbeat < clock_timestamp() - interval '1 day'";

static const char replica_beat_sql[] =
    "UPDATE admin_schema.replica SET heartbeat = clock_timestamp()"
    " WHERE pipeline = $1 AND build = $2 AND instance = $3 AND EXISTS (SELECT 1"
    " FROM admin_schema.shard s WHERE s.pipeline = $1 AND s.build = $2 AND s.epoch = $4"
    " AND NOT s.closed)";

static const char leave_sql[] =
    "DELETE FROM admin_schema.replica WHERE pipeline = $1 AND build = $2 AND instance = $3";

static void
params_instance(const struct load *l, struct param_set *s)
{
	param_int4(s, l->owner.pipeline);
	param_int2(s, BUILD);
}

/* The other lanes only look: theirs to obey, lane 0's to write. */
static bool
holder_look(struct load *l, struct err *e)
{
	struct param_set s = {0};
	struct pg_result *r = NULL;

	params_instance(l, &s);
	bool good = pg_query(l->pg, holder_sql, params_made(&s), s.n, false, &r, e);
	params_free(&s);
	if (!good)
		return false;
	bool held = pg_rows(r) && strcmp(pg_text(r, 0, 0), l->w->instance) != 0 &&
		    pg_int(r, 0, 1) < INSTANCE_STALE_MS && !l->w->take_over;
	if (held)
		good = err_set(
		    e, EXIT_TRY_LATER,
		    "pipeline %s is held by %s, heard %lld.%lld s ago; stop it, or --take-over",
		    l->w->model->pipeline.s, pg_text(r, 0, 0), (long long)pg_int(r, 0, 1) / 1000,
		    (long long)pg_int(r, 0, 1) % 1000 / 100);
	pg_result_free(r);
	return good;
}

static bool
replica_join(struct load *l, struct err *e)
{
	struct param_set s = {0};

	if (l->w->index != 0)
		return true;
	params_instance(l, &s);
	param_text(&s, l->w->instance);
	bool good = pg_query(l->pg, forget_sql, params_made(&s), s.n, false, NULL, e);
	param_text(&s, l->w->bounded ? "run" : "up");
	good = good && pg_query(l->pg, join_sql, params_made(&s), s.n, false, NULL, e);
	params_free(&s);
	return good;
}

bool
instance_claim(struct load *l, struct err *e)
{
	struct param_set s = {0};
	struct pg_result *r = NULL;

	if (model_exchange(l->w->model))
		return replica_join(l, e);
	if (l->w->index != 0)
		return holder_look(l, e);
	params_instance(l, &s);
	param_text(&s, l->w->instance);
	param_text(&s, l->w->bounded ? "run" : "up");
	param_bool(&s, l->w->take_over);
	param_int4(&s, INSTANCE_STALE_MS);
	bool good = pg_query(l->pg, claim_sql, params_made(&s), s.n, false, &r, e);
	params_free(&s);
	if (!good)
		return false;
	bool claimed = pg_affected(r) == 1;
	pg_result_free(r);
	if (claimed)
		return true;
	/* Refused; should it have gone meanwhile, the next attempt succeeds. */
	return holder_look(l, e) ? err_set(e, EXIT_UNAVAILABLE, "the instance row is being taken")
				 : false;
}

void
instance_release(struct load *l)
{
	const char *sql = model_exchange(l->w->model) ? leave_sql : release_sql;
	struct param_set s = {0};
	struct err e = {0};

	if (l->w->index != 0 || !l->owned || !pg_alive(l->pg))
		return;
	params_instance(l, &s);
	param_text(&s, l->w->instance);
	if (!pg_query(l->pg, sql, params_made(&s), s.n, false, NULL, &e))
		log_debug("cannot give the instance row back: %s", e.text);
	params_free(&s);
}

/*
 * ---- heartbeat: on a connection of its own, so that a long commit does not look like death ----
 */

static void
beat_lost(struct load *l, const struct err *e)
{
	log_warn("heartbeat: %s", e->text);
	pg_close(l->beat);
	l->beat = NULL;
	l->beating = false;
}

static void
beat_send(struct load *l)
{
	struct param_set s = {0};
	struct err e = {0};

	if (l->beat == NULL &&
	    !pg_connect(l->dsn, "weir load heartbeat", NULL, CONNECT_MS_MAX, &l->beat, &e)) {
		log_warn("heartbeat: %s", e.text);
		return;
	}
	params_instance(l, &s);
	param_text(&s, l->w->instance);
	param_int8(&s, l->owner.epoch);
	if (pg_send(l->beat, model_exchange(l->w->model) ? replica_beat_sql : beat_sql,
		    params_made(&s), s.n, false, &e))
		l->beating = true;
	else
		beat_lost(l, &e);
	params_free(&s);
}

bool
instance_beat(struct load *l, struct mono now, struct err *e)
{
	struct pg_result *r = NULL;
	struct err lost = {0};

	if (l->w->index != 0 || !l->owned)
		return true;
	if (l->beating) {
		int got = pg_poll(l->beat, &r, &lost);
		if (got < 0)
			beat_lost(l, &lost);
		if (got <= 0)
			return true;
		l->beating = false;
		bool ours = pg_affected(r) == 1;
		pg_result_free(r);
		if (!ours) {
			metric_add(l->w->page, METRIC_FENCED, 1);
			return err_set(
			    e, model_exchange(l->w->model) ? CTL_BYE_REBORN : EXIT_TRY_LATER,
			    "another supervisor has taken pipeline %s over",
			    l->w->model->pipeline.s);
		}
	}
	if (mono_due(l->beat_at, now)) {
		l->beat_at = mono_add_ms(now, HEARTBEAT_MS);
		beat_send(l);
	}
	return true;
}
