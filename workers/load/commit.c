/*
 * commit: one transaction a batch. Fence, positions, dimensions, facts of processes, facts of
 * events, state, dead letters; then COMMIT. Either all of it is there, or nothing.
 */
#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "param.h"

/*
 * The segment is read under the same snapshot; should the task role move it meanwhile, the old slot
 * is still right.
 */
static const char fence_sql[] =
    "UPDATE admin_schema.shard SET batch = $4 WHERE pipeline = $1 AND build = $2 AND epoch = $3"
    " AND batch = $4 - 1 AND NOT closed"
    " RETURNING (SELECT segment FROM admin_schema.pipeline WHERE id = $1)";

static const char positions_sql[] =
    "UPDATE admin_schema.key_range SET partition = $5, next = $6, kg_hi = $7"
    " WHERE pipeline = $1 AND build = $2 AND kg_lo = $3 AND epoch = $4";

static const char join_sql[] = "DELETE FROM admin_schema.key_range"
			       " WHERE pipeline = $1 AND build = $2 AND kg_lo = $3 AND epoch = $4";

static const char look_sql[] = "SELECT batch, closed FROM admin_schema.shard"
			       " WHERE pipeline = $1 AND build = $2 AND epoch = $3";

enum commit_outcome
commit_class(const struct load *l)
{
	if (!pg_alive(l->pg))
		return COMMIT_RETRY;
	switch (pg_fault(pg_sqlstate(l->pg))) {
	case PG_BAD_ROW:
		return COMMIT_BAD;
	case PG_RETRY:
		return COMMIT_RETRY;
	case PG_STOP:
		break;
	}
	return COMMIT_STOP;
}

/* ---- fence and positions ---- */

static bool
fence_send(struct commit *c)
{
	struct param_set s = {0};

	param_int4(&s, c->l->owner.pipeline);
	param_int2(&s, BUILD);
	param_int8(&s, c->l->owner.epoch);
	param_int8(&s, c->b->n);
	bool good = pg_pipeline_prepared(c->l->pg, fence_sql, params_made(&s), s.n, c->e);
	params_free(&s);
	return good;
}

/* Of a row of ours, by its first key group. */
static void
params_range(const struct commit *c, uint32_t kg_lo, struct param_set *s)
{
	param_int4(s, c->l->owner.pipeline);
	param_int2(s, BUILD);
	param_int4(s, (int32_t)kg_lo);
	param_int8(s, c->l->owner.epoch);
}

static bool
join_send(struct commit *c, uint32_t kg_lo)
{
	struct param_set s = {0};

	params_range(c, kg_lo, &s);
	bool good = pg_pipeline_add(c->l->pg, join_sql, params_made(&s), s.n, c->e);
	params_free(&s);
	return good;
}

/* Behind an exchange a lane has a range for each key group, and most stand still. */
static bool
positions_due(const struct commit *c, const struct owner_range *r)
{
	return r->moved || !model_exchange(c->l->w->model);
}

static unsigned
positions_count(const struct commit *c)
{
	const struct owner *o = &c->l->owner;
	unsigned n = 0;

	for (uint32_t i = 0; i < o->ranges_n; i++)
		n += positions_due(c, &o->ranges[i]);
	return n;
}

static bool
positions_send(struct commit *c, const struct owner_range *r)
{
	struct param_set s = {0};

	params_range(c, r->kg_lo, &s);
	param_array(&s, OID_INT4_ARRAY, OID_INT4, r->positions_n);
	for (uint32_t i = 0; i < r->positions_n; i++)
		copy_int4(&s.bytes, (int32_t)r->positions[i].partition);
	param_array_end(&s);
	param_array(&s, OID_INT8_ARRAY, OID_INT8, r->positions_n);
	for (uint32_t i = 0; i < r->positions_n; i++)
		copy_int8(&s.bytes, r->positions[i].next);
	param_array_end(&s);
	param_int4(&s, (int32_t)r->kg_hi);
	bool good = pg_pipeline_prepared(c->l->pg, positions_sql, params_made(&s), s.n, c->e);
	params_free(&s);
	return good;
}

enum { HEAD_RESULTS = 2 }; /* BEGIN, the fence; then one a row of a range */

static bool
head_send(struct commit *c, bool careful)
{
	const struct owner *o = &c->l->owner;

	if (!pg_pipeline_begin(c->l->pg, c->e) ||
	    !pg_pipeline_add(c->l->pg, "BEGIN", NULL, 0, c->e) || !fence_send(c))
		return false;
	for (uint32_t i = 0; i < o->joined_n; i++)
		if (!join_send(c, o->joined[i]))
			return false;
	for (uint32_t i = 0; i < o->ranges_n; i++)
		if (positions_due(c, &o->ranges[i]) && !positions_send(c, &o->ranges[i]))
			return false;
	/* Rows one by one, keys checked by the server, so that it names the row. */
	return !careful || !c->l->set_checks ||
	       pg_pipeline_add(c->l->pg, "SET LOCAL session_replication_role = origin", NULL, 0,
			       c->e);
}

/* The fence did not hold: who, or what, is in the way? */
static enum commit_outcome
fence_lost(struct commit *c)
{
	struct param_set s = {0};
	struct pg_result *r = NULL;

	param_int4(&s, c->l->owner.pipeline);
	param_int2(&s, BUILD);
	param_int8(&s, c->l->owner.epoch);
	bool good = pg_query(c->l->pg, look_sql, params_made(&s), s.n, false, &r, c->e);
	params_free(&s);
	if (!good)
		return commit_class(c->l);
	bool there = pg_rows(r) == 1, closed = there && pg_text(r, 0, 1)[0] == 't';
	int64_t batch = there ? pg_int(r, 0, 0) : -1;
	pg_result_free(r);
	if (there && !closed && batch == c->b->n)
		return COMMIT_DONE;
	if (closed || !there) {
		(void)takeover_lost(c->l, c->e);
		return COMMIT_FENCED;
	}
	err_set(c->e, EXIT_BUG, "batch %lld of epoch %lld meets a shard row at batch %lld",
		(long long)c->b->n, (long long)c->l->owner.epoch, (long long)batch);
	return COMMIT_STOP;
}

/* *held: the fence; else look why. */
static bool
head_run(struct commit *c, bool careful, bool *held)
{
	unsigned n = HEAD_RESULTS + c->l->owner.joined_n + positions_count(c);
	struct pg_result **r = mem_zero(n, sizeof(struct pg_result *));

	bool good = head_send(c, careful) && pg_pipeline_end(c->l->pg, r, n, NULL, c->e);
	*held = good && pg_rows(r[1]) == 1;
	if (*held)
		c->slot = (unsigned)pg_int(r[1], 0, 0) % STATE_SLOTS;
	for (unsigned i = 0; i < n; i++) {
		check(!*held || i < HEAD_RESULTS || pg_affected(r[i]) == 1);
		pg_result_free(r[i]);
	}
	free(r);
	return good || err_context(c->e, "fence and positions of batch %lld", (long long)c->b->n);
}

/* ---- the rest ---- */

static bool
tail_run(struct commit *c)
{
	if (!merge_sink(c, SINK_STATE + c->slot, &c->b->state) ||
	    !merge_sink(c, SINK_REPLAYED, &c->b->replayed) ||
	    !merge_sink(c, SINK_DEAD, &c->b->dead) || !merge_sink(c, SINK_DEAD, &c->dead))
		return false;
	/* A row that was refused before is the same letter: only new ones count. */
	c->row_letters = 0;
	return merge_sink(c, SINK_DEAD, &c->dead_rows);
}

static void
undo(struct commit *c)
{
	struct err ignore;

	if (pg_alive(c->l->pg) && !pg_exec(c->l->pg, "ROLLBACK", NULL, &ignore))
		log_debug("rollback: %s", ignore.text);
}

static enum commit_outcome
failed(struct commit *c)
{
	enum commit_outcome o = c->dangling ? COMMIT_BAD : commit_class(c->l);

	if (o == COMMIT_STOP)
		c->e->code = EXIT_CONFIG;
	undo(c);
	return o;
}

/*
 * The dead letters' stage may hold the first part of them when the second comes: ON CONFLICT DO
 * NOTHING makes that harmless.
 */
static enum commit_outcome
attempt(struct commit *c, bool careful)
{
	bool held = false;

	if (!head_run(c, careful, &held))
		return failed(c);
	if (!held) {
		undo(c);
		return fence_lost(c);
	}
	if (!(careful ? bisect_rows(c) : merge_rows(c)))
		return failed(c);
	if (!tail_run(c)) {
		enum commit_outcome o = failed(c);
		/* Neither state nor letters can be left out of a batch. */
		if (o == COMMIT_BAD)
			c->e->code = EXIT_BUG;
		return o == COMMIT_BAD ? COMMIT_STOP : o;
	}
	if (!dead_within_limit(c->l, c, c->e)) {
		undo(c);
		return COMMIT_STOP;
	}
	if (!pg_exec(c->l->pg, "COMMIT", NULL, c->e))
		return failed(c);
	return COMMIT_DONE;
}

static void
counts_reset(struct commit *c)
{
	memset(c->written, 0, sizeof(c->written));
	memset(c->source_dead, 0, sizeof(c->source_dead));
	buf_clear(&c->dead.bytes);
	c->dead.n = 0;
	buf_clear(&c->dead_rows.bytes);
	c->dead_rows.n = 0;
	c->row_letters = 0;
	c->stale = 0;
	c->dangling = false;
}

static void
metrics_count(const struct commit *c, struct mono began)
{
	struct metric_page *p = c->l->w->page;
	const struct model *m = c->l->w->model;

	metric_add(p, METRIC_BATCHES, 1);
	metric_add(p, METRIC_COMMIT_SECONDS, (uint64_t)mono_since_us(began, mono_now()));
	metric_set(p, METRIC_LAST_COMMIT_SECONDS, (uint64_t)wall_now_us());
	metric_set(p, METRIC_BATCH_BYTES, c->b->bytes);
	metric_add(p, METRIC_STALE_ROWS, c->stale);
	metric_add(p, METRIC_ROWS_BISECTED, c->dead.n + c->dead_rows.n);
	metric_add(p, METRIC_ROW_LETTERS, c->row_letters);
	for (unsigned t = 0; t < m->tables_n; t++)
		metric_table_add(p, t, METRIC_TABLE_ROWS, c->written[t]);
	for (unsigned i = 0; i < m->sources_n; i++) {
		metric_source_add(p, i, METRIC_SOURCE_DEAD,
				  c->b->source_dead[i] + c->source_dead[i]);
		if (i >= c->b->end.sources_n)
			continue;
		metric_source_add(p, i, METRIC_SOURCE_COMMITTED, c->b->end.sources[i].events);
		metric_source_add(p, i, METRIC_SOURCE_DROPPED, c->b->end.sources[i].dropped);
	}
}

enum commit_outcome
commit_batch(struct load *l, const struct batch *b, struct err *e)
{
	struct commit c = {.l = l, .b = b, .e = e};
	struct mono began = mono_now();

	if (!owner_positions(&l->owner, &b->end, e))
		return COMMIT_STOP;
	/* With an exchange each key group may go its own way. */
	if (!model_exchange(l->w->model))
		owner_join(&l->owner);
	/* What came as dead letters may be too many already, before anything is written. */
	if (!dead_within_limit(l, &c, e))
		return COMMIT_STOP;
	enum commit_outcome o = attempt(&c, false);
	if (o == COMMIT_BAD) {
		log_warn("batch %lld was refused (%s); looking for the rows", (long long)b->n,
			 e->text);
		counts_reset(&c);
		o = attempt(&c, true);
	}
	if (o == COMMIT_DONE) {
		dead_count(l, &c);
		metrics_count(&c, began);
	}
	buf_free(&c.dead.bytes);
	buf_free(&c.dead_rows.bytes);
	return o == COMMIT_BAD ? COMMIT_STOP : o;
}
