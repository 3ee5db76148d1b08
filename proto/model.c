#include "model.h"

#include <stdlib.h>
#include <string.h>

#include "conf_tree.h"

static void
properties_free(struct property *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		free(p[i].key);
		free(p[i].value);
	}
	free(p);
}

static void
source_free(struct source *s)
{
	for (unsigned i = 0; i < s->fields_n; i++)
		expr_free(s->fields[i].derive);
	properties_free(s->properties, s->properties_n);
	free(s->fields);
	free(s->brokers);
	free(s->topic);
	free(s->url);
	free(s->queue);
	free(s->path);
}

static void
fold_free(struct fold *f)
{
	for (unsigned i = 0; i < f->inputs_n; i++)
		expr_free(f->inputs[i].where);
	free(f->definition);
}

static void
table_free(struct table *t)
{
	for (unsigned i = 0; i < t->columns_n; i++) {
		expr_free(t->columns[i].expr);
		free(t->columns[i].source);
		free(t->columns[i].comment);
	}
	for (unsigned i = 0; i < t->references_n; i++) {
		expr_free(t->references[i].expr);
		free(t->references[i].source);
	}
	expr_free(t->key_expr);
	free(t->columns);
	free(t->references);
	free(t->comment);
}

static void
aggregates_free(struct model *m)
{
	for (unsigned i = 0; i < m->aggregates_n; i++)
		free(m->aggregates[i].comment);
	free(m->aggregates);
}

static void
handoffs_free(struct model *m)
{
	for (unsigned i = 0; i < m->handoffs_n; i++) {
		free(m->handoffs[i].query);
		free(m->handoffs[i].purpose);
		free(m->handoffs[i].directory);
	}
	free(m->handoffs);
}

void
model_free(struct model *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->sources_n; i++)
		source_free(&m->sources[i]);
	for (unsigned i = 0; i < m->folds_n; i++)
		fold_free(&m->folds[i]);
	for (unsigned i = 0; i < m->parts_n; i++) {
		free(m->parts[i].name);
		expr_free(m->parts[i].holds);
	}
	for (unsigned i = 0; i < m->tables_n; i++)
		table_free(&m->tables[i]);
	aggregates_free(m);
	handoffs_free(m);
	properties_free(m->exchange.properties, m->exchange.properties_n);
	free(m->exchange.brokers);
	free(m->exchange.topic);
	free(m->sources);
	free(m->folds);
	free(m->parts);
	free(m->inputs);
	free(m->tables);
	free(m->path);
	free(m->zone_name);
	free(m->dsn);
	free(m->logins_dir);
	free(m->rid_key_path);
	free(m->keys_dir);
	free(m->keys_role);
	free(m->listen);
	free(m->peers);
	/* After the expressions, which may hold on to it. */
	if (m->zone)
		zone_close(m->zone);
	conf_tree_free(m->tree);
	free(m);
}

uint64_t
model_exchange_bytes(const struct model *m)
{
	uint64_t n = m->limits.event_bytes_max * 2 + EXCHANGE_DEAD_BYTES;

	return n < EXCHANGE_BYTES_MAX ? n : EXCHANGE_BYTES_MAX;
}

static bool
name_equal(const struct name *a, const char *name, size_t n)
{
	return strlen(a->s) == n && memcmp(a->s, name, n) == 0;
}

int
model_source_find(const struct model *m, const char *name, size_t n)
{
	for (unsigned i = 0; i < m->sources_n; i++) {
		if (name_equal(&m->sources[i].name, name, n))
			return (int)i;
	}
	return -1;
}

int
model_table_find(const struct model *m, const char *name, size_t n)
{
	for (unsigned i = 0; i < m->tables_n; i++) {
		if (name_equal(&m->tables[i].name, name, n))
			return (int)i;
	}
	return -1;
}
