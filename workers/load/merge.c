#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "param.h"

enum { EACH_ROWS_MAX = 40 }; /* COPY and a merge cost about as much as so many single rows */

/* ---- results ---- */

/* A row a process, in which the greater revision stays: facts, and sealed folds. */
static bool
is_of_process(const struct commit *c, unsigned sink)
{
	const struct model *m = c->l->w->model;

	if (sink >= m->tables_n)
		return false;
	const struct table *t = &m->tables[sink];
	return t->kind == TABLE_SEALED_PROCESS ||
	       (t->kind == TABLE_FACT && t->grain == GRAIN_PROCESS);
}

/* A row an event, only added. */
static bool
is_of_event(const struct table *t)
{
	return t->kind == TABLE_RAW || (t->kind == TABLE_FACT && t->grain != GRAIN_PROCESS);
}

static void
written_note(struct commit *c, unsigned sink, uint64_t n)
{
	if (sink < TABLES_MAX)
		c->written[sink] += n;
	else if (sink == SINK_DEAD)
		c->row_letters += n;
}

/* A result of (surrogate, natural key) for each member whose surrogate another natural key has. */
static void
collided_note(struct commit *c, unsigned sink, const struct pg_result *r)
{
	const struct copy_layout *l = &c->l->layouts[sink];
	struct copy_field fields[ROW_COLUMNS_MAX] = {0};

	for (unsigned i = 0; i < pg_rows(r); i++) {
		for (unsigned j = 0; j < l->columns_n; j++) {
			const char *natural = pg_text(r, i, 1);
			if (l->columns[j].role == ROW_NATURAL)
				fields[j] = (struct copy_field){(const uint8_t *)natural,
								(uint32_t)strlen(natural)};
		}
		bisect_note(c, sink, fields, "another natural key has the same surrogate key");
	}
}

static void
step_result(struct commit *c, unsigned sink, const struct step *step, uint32_t rows,
	    const struct pg_result *r)
{
	switch (step->kind) {
	case STEP_WRITE:
		written_note(c, sink, pg_affected(r));
		if (is_of_process(c, sink))
			c->stale += rows - pg_affected(r);
		return;
	case STEP_UPGRADE:
		written_note(c, sink, pg_affected(r));
		return;
	case STEP_COLLIDED:
		collided_note(c, sink, r);
		return;
	}
}

/* ---- few rows: one by one ---- */

static bool
each_send(struct commit *c, const struct each *x)
{
	const struct sink *k = &c->l->sinks[x->sink];
	struct copy_field fields[ROW_COLUMNS_MAX];
	struct pg_param params[ROW_COLUMNS_MAX];
	size_t at = x->at;

	if (x->before && !pg_pipeline_add(c->l->pg, x->before, NULL, 0, c->e))
		return false;
	for (uint32_t i = 0; i < x->n; i++) {
		unsigned n = copy_next(&x->rows->bytes, &at, fields, ROW_COLUMNS_MAX);
		check(n == k->fields_n);
		for (unsigned j = 0; j < n; j++)
			params[j] = (struct pg_param){.data = fields[j].data,
						      .len = fields[j].len,
						      .binary = true,
						      .type = k->oids[j]};
		for (unsigned s = 0; s < k->steps_n; s++)
			if (!pg_pipeline_prepared(c->l->pg, k->steps[s].row, params, n, c->e))
				return false;
	}
	return !x->after || pg_pipeline_add(c->l->pg, x->after, NULL, 0, c->e);
}

bool
merge_each(struct commit *c, struct each *x)
{
	const struct sink *k = &c->l->sinks[x->sink];
	unsigned head = x->before != NULL, steps = x->n * k->steps_n, failed = 0;
	struct pg_result **r = mem_zero(head + steps, sizeof(struct pg_result *));

	bool good = pg_pipeline_begin(c->l->pg, c->e) && each_send(c, x) &&
		    pg_pipeline_end(c->l->pg, r, head + steps, &failed, c->e);
	if (good)
		for (unsigned i = 0; i < steps; i++)
			step_result(c, x->sink, &k->steps[i % k->steps_n], 1, r[head + i]);
	else
		x->failed = x->first + (failed >= head ? (failed - head) / k->steps_n : 0);
	for (unsigned i = 0; i < head + steps; i++)
		pg_result_free(r[i]);
	free(r);
	return good;
}

/* ---- many rows: COPY, then the steps over the stage ---- */

static bool
copy_rows(struct commit *c, const struct sink *k, const struct rows *rows)
{
	struct buf edge = {0};
	uint64_t n = 0;

	if (!pg_copy_begin(c->l->pg, k->copy, c->e))
		return false;
	copy_header(&edge);
	bool good = pg_copy_put(c->l->pg, edge.data, edge.len, c->e) &&
		    pg_copy_put(c->l->pg, rows->bytes.data, rows->bytes.len, c->e);
	buf_clear(&edge);
	copy_trailer(&edge);
	good = good && pg_copy_put(c->l->pg, edge.data, edge.len, c->e) &&
	       pg_copy_end(c->l->pg, true, &n, c->e);
	buf_free(&edge);
	check(!good || n == rows->n);
	return good;
}

static bool
steps_run(struct commit *c, unsigned sink, uint32_t rows)
{
	const struct sink *k = &c->l->sinks[sink];
	struct pg_result *r[STEPS_MAX] = {0};

	bool good = pg_pipeline_begin(c->l->pg, c->e);
	for (unsigned i = 0; good && i < k->steps_n; i++)
		good = pg_pipeline_prepared(c->l->pg, k->steps[i].staged, NULL, 0, c->e);
	good = good && pg_pipeline_end(c->l->pg, r, k->steps_n, NULL, c->e);
	for (unsigned i = 0; i < k->steps_n; i++) {
		if (good)
			step_result(c, sink, &k->steps[i], rows, r[i]);
		pg_result_free(r[i]);
	}
	return good;
}

bool
merge_sink(struct commit *c, unsigned sink, const struct rows *rows)
{
	const struct sink *k = &c->l->sinks[sink];

	if (rows->n == 0)
		return true;
	if (rows->n <= EACH_ROWS_MAX) {
		struct each all = {.sink = sink, .rows = rows, .n = rows->n};
		return merge_each(c, &all) || err_context(c->e, "rows of %s", k->name);
	}
	if (!copy_rows(c, k, rows))
		return err_context(c->e, "COPY into %s", k->name);
	if (k->stage == NULL) {
		written_note(c, sink, rows->n);
		return true;
	}
	return steps_run(c, sink, rows->n) || err_context(c->e, "merge into %s", k->name);
}

/* ---- foreign keys, as sets ---- */

static void
key_add(void *ctx, int64_t key)
{
	copy_int8(ctx, key);
}

static bool
absent_send(struct commit *c, unsigned table)
{
	const struct keyset *keys = &c->b->refs[table];
	struct param_set s = {0};

	param_array(&s, OID_INT8_ARRAY, OID_INT8, keyset_count(keys));
	keyset_each(keys, key_add, &s.bytes);
	param_array_end(&s);
	bool good = pg_pipeline_prepared(c->l->pg, c->l->absent[table], params_made(&s), s.n, c->e);
	params_free(&s);
	return good;
}

/* Triggers are off: what they would have refused is found here, for all rows at once. */
static bool
references_check(struct commit *c)
{
	struct pg_result *r[TABLES_MAX] = {0};
	unsigned n = 0;

	if (!c->l->set_checks)
		return true;
	bool good = pg_pipeline_begin(c->l->pg, c->e);
	for (unsigned t = 0; good && t < c->l->w->model->tables_n; t++)
		if (keyset_count(&c->b->refs[t])) {
			good = absent_send(c, t);
			n++;
		}
	good = good && pg_pipeline_end(c->l->pg, r, n, NULL, c->e);
	for (unsigned i = 0; i < n; i++) {
		c->dangling |= good && pg_rows(r[i]) > 0;
		pg_result_free(r[i]);
	}
	if (!good)
		return err_context(c->e, "check of foreign keys");
	return !c->dangling ||
	       err_set(c->e, EXIT_DATA, "rows refer to members that are in no dimension");
}

/* ---- all ---- */

bool
merge_order(struct commit *c, bool (*fn)(struct commit *c, unsigned table),
	    bool (*between)(struct commit *c))
{
	const struct model *m = c->l->w->model;

	for (unsigned t = 0; t < m->tables_n; t++)
		if (m->tables[t].kind == TABLE_DIMENSION && !fn(c, t))
			return false;
	if (!between(c))
		return false;
	for (unsigned t = 0; t < m->tables_n; t++)
		if (is_of_process(c, t) && !fn(c, t))
			return false;
	for (unsigned t = 0; t < m->tables_n; t++)
		if (is_of_event(&m->tables[t]) && !fn(c, t))
			return false;
	return true;
}

static bool
table_merge(struct commit *c, unsigned table)
{
	return merge_sink(c, table, &c->b->rows[table]);
}

bool
merge_rows(struct commit *c)
{
	return merge_order(c, table_merge, references_check);
}
