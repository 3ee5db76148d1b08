#include <stdlib.h>

#include "load.h"
#include "mem.h"

_Static_assert((int)STATEMENTS_MAX <= (int)PG_PREPARED_MAX,
	       "a connection has room for every statement there may be");

struct load *
load_new(struct worker *w, char *dsn)
{
	const struct model *m = w->model;
	struct load *l = mem_zero(1, sizeof(*l));
	size_t n;

	l->w = w;
	l->dsn = dsn;
	l->backoff_ms = BACKOFF_MS_MIN;
	l->dialect = &dialect_postgresql;
	l->layouts = mem_zero(m->tables_n + 1, sizeof(*l->layouts));
	l->sinks = mem_zero(SINK_MAX, sizeof(*l->sinks));
	for (unsigned t = 0; t < m->tables_n; t++) {
		struct buf sql = {0};
		if (m->tables[t].kind != TABLE_CALENDAR)
			copy_layout(m, t, &l->layouts[t]);
		if (m->tables[t].kind != TABLE_DIMENSION && m->tables[t].kind != TABLE_CALENDAR)
			continue; /* nothing refers to it */
		l->dialect->absent(m, t, &sql);
		buf_byte(&sql, 0);
		l->absent[t] = (char *)buf_take(&sql, &n);
	}
	l->dialect->sinks(m, l->layouts, l->sinks);
	return l;
}

void
load_owned(struct load *l)
{
	struct batch_setup *s = &l->batches.setup;

	s->m = l->w->model;
	s->layouts = l->layouts;
	s->lane = l->w->index;
	s->pipeline = l->owner.pipeline;
	s->build = BUILD;
	s->epoch = l->owner.epoch;
	memcpy(s->source_ids, l->owner.source_ids, sizeof(s->source_ids));
	l->owned = true;
}

enum role
load_reader(const struct load *l)
{
	return model_exchange(l->w->model) ? ROLE_RELAY : ROLE_INGEST;
}

void
load_free(struct load *l)
{
	if (l == NULL)
		return;
	pg_close(l->pg);
	pg_close(l->beat);
	batches_free(&l->batches);
	owner_free(&l->owner);
	buf_free(&l->asks);
	buf_free(&l->dones);
	sinks_free(l->sinks);
	for (unsigned t = 0; t < TABLES_MAX; t++)
		free(l->absent[t]);
	free(l->sinks);
	free(l->layouts);
	free(l->dsn);
	free(l);
}
