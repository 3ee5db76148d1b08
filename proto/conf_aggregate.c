/*
 * conf_aggregate: what business analysts are shown: which columns of which fact an aggregate groups
 * by, what it counts, and whose privacy it keeps.
 */
#include "conf_tree.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"

/* ---- columns ---- */

static int
column_find(const struct table *t, const char *name)
{
	for (unsigned i = 0; i < t->columns_n; i++) {
		if (strcmp(t->columns[i].name.s, name) == 0)
			return (int)i;
	}
	return -1;
}

static void
column_missing(struct conf_build *b, const struct table *t, struct conf_node *n, const char *name,
	       uint32_t skip, bool status)
{
	struct nearest near = {.word = name};

	for (unsigned i = 0; i < t->columns_n; i++)
		nearest_try(&near, t->columns[i].name.s);
	if (t->key.s[0])
		nearest_try(&near, t->key.s);
	if (status)
		nearest_try(&near, "status");
	conf_error_at(b->t, conf_scalar_at(b->t, n, skip), (uint32_t)strlen(name), near.best,
		      "table \"%s\" has no column %s", t->name.s,
		      conf_quote(b->t, name, strlen(name)));
}

/* Of a calendar, as ddl_calendar.c makes it. */
static bool
calendar_has(struct nearest *near)
{
	static const char *const columns[] = {
	    "year",	   "quarter",	 "month",	 "month_name", "day",
	    "day_of_year", "weekday",	 "weekday_name", "is_weekend", "iso_year",
	    "iso_week",	   "year_month", "year_quarter"};

	for (unsigned i = 0; i < sizeof columns / sizeof columns[0]; i++) {
		if (strcmp(columns[i], near->word) == 0)
			return true;
		nearest_try(near, columns[i]);
	}
	return false;
}

/* The reference of a fact that its file calls so: a dimension's name, or a role's. */
static int
reference_find(const struct model *m, const struct table *fact, const char *name)
{
	for (unsigned i = 0; i < fact->references_n; i++) {
		const struct reference *r = &fact->references[i];
		const char *role = strncmp(name, "dim_", 4) == 0 && name[4] ? name + 4 : name;
		size_t len = strlen(role);
		if (strncmp(r->column.s, role, len) == 0 &&
		    strcmp(r->column.s + len, "_key") == 0 && r->table >= 0 &&
		    (unsigned)r->table < m->tables_n)
			return (int)i;
	}
	return -1;
}

static bool
by_dimension(struct conf_build *b, struct aggregate *a, struct conf_node *n, const char *name,
	     uint32_t skip)
{
	const struct table *fact = &b->m->tables[a->table];
	const struct table *d = &b->m->tables[fact->references[a->by[a->by_n].reference].table];
	int *column = &a->by[a->by_n].column;

	*column = -1;
	if (!name || strcmp(name, d->key.s) == 0) {
		name_set(&a->by[a->by_n].name, d->key.s);
		return true;
	}
	struct nearest near = {.word = name};
	*column = column_find(d, name);
	name_set(&a->by[a->by_n].name, name);
	if (*column >= 0 || (d->kind == TABLE_CALENDAR && calendar_has(&near)))
		return true;
	if (d->kind == TABLE_CALENDAR)
		conf_error_at(b->t, conf_scalar_at(b->t, n, skip), (uint32_t)strlen(name),
			      near.best, "calendar \"%s\" has no column %s", d->name.s,
			      conf_quote(b->t, name, strlen(name)));
	else
		column_missing(b, d, n, name, skip, false);
	return false;
}

/* "column", "reference" or "reference.column". False: reported. */
static bool
by_resolve(struct conf_build *b, struct aggregate *a, struct conf_node *n)
{
	const struct table *fact = &b->m->tables[a->table];
	size_t cut = strcspn(n->text, ".");
	const char *head = conf_string(b->t, n->text, cut);
	const char *column = n->text[cut] ? n->text + cut + 1 : NULL;
	/* A column of the fact's own comes first: a reference is also called like its dimension. */
	int own = column ? -1 : column_find(fact, head);
	int reference = own >= 0 ? -1 : reference_find(b->m, fact, head);

	a->by[a->by_n].reference = reference;
	if (reference >= 0)
		return by_dimension(b, a, n, column, (uint32_t)cut + 1);
	if (column) {
		conf_error_at(b->t, conf_scalar_at(b->t, n, 0), (uint32_t)(cut ? cut : 1), NULL,
			      "fact \"%s\" has no reference %s", fact->name.s,
			      conf_quote(b->t, head, cut));
		return false;
	}
	name_set(&a->by[a->by_n].name, head);
	a->by[a->by_n].column = own;
	if (own >= 0 && fact->columns[own].type == VALUE_JSON) {
		conf_error(b->t, n, "\"%s\" is json, which has no groups", head);
		return false;
	}
	/* status is a column that Weir makes. */
	if (own >= 0 || (fact->grain == GRAIN_PROCESS && strcmp(head, "status") == 0))
		return true;
	if (strcmp(head, fact->key.s) == 0)
		conf_error(b->t, n,
			   "\"%s\" is the key: each group would be one row, and none would be "
			   "published",
			   head);
	else
		column_missing(b, fact, n, head, 0, fact->grain == GRAIN_PROCESS);
	return false;
}

/* Columns of the table beside those that are asked for. */
static bool
name_made(const char *name)
{
	return strcmp(name, "as_of") == 0;
}

static bool
name_taken(const struct aggregate *a, const char *name)
{
	for (unsigned i = 0; i < a->by_n; i++) {
		if (strcmp(a->by[i].name.s, name) == 0)
			return true;
	}
	for (unsigned i = 0; i < a->measures_n; i++) {
		if (strcmp(a->measures[i].name.s, name) == 0)
			return true;
	}
	return name_made(name);
}

static void
by_read(struct conf_build *b, struct aggregate *a, struct conf_node *list)
{
	if (list->members == 0 || list->members > DIMENSIONS_MAX) {
		conf_error_key(b->t, list, "an aggregate groups by 1 to %d columns",
			       DIMENSIONS_MAX);
		return;
	}
	for (struct conf_node *n = list->first; n; n = n->next) {
		if (n->kind != CONF_SCALAR || n->bad || !by_resolve(b, a, n))
			continue;
		if (name_taken(a, a->by[a->by_n].name.s))
			conf_error(b->t, n, "there are two columns \"%s\"", a->by[a->by_n].name.s);
		a->by_n++;
	}
}

/* ---- measures ---- */

static bool
number_is(enum value_type t)
{
	return t == VALUE_INTEGER || t == VALUE_DECIMAL || t == VALUE_FLOAT;
}

static void
measure_column(struct conf_build *b, const struct table *fact, struct measure *m,
	       struct conf_node *n)
{
	m->column = column_find(fact, n->text);
	if (m->column < 0)
		column_missing(b, fact, n, n->text, 0, false);
	else if (!number_is(fact->columns[m->column].type) &&
		 fact->columns[m->column].type != VALUE_NULL)
		conf_error(b->t, n, "\"%s\" needs a number column; %s is %s", n->key, n->text,
			   value_type_name(fact->columns[m->column].type));
}

static void
measure_read(struct conf_build *b, const struct table *fact, struct measure *m, struct conf_node *n)
{
	struct conf_node *sum = conf_scalar_of(n, "sum"), *avg = conf_scalar_of(n, "avg");

	name_set(&m->name, n->key);
	m->op = MEASURE_COUNT;
	m->column = -1;
	if (n->bad)
		return;
	if (n->kind == CONF_SCALAR && strcmp(n->text, "count") == 0)
		return;
	if (n->kind == CONF_SCALAR || n->members != 1) {
		conf_error_key(b->t, n, "a measure is count, { sum: COLUMN } or { avg: COLUMN }");
		return;
	}
	m->op = sum ? MEASURE_SUM : MEASURE_AVG;
	if (sum || avg)
		measure_column(b, fact, m, sum ? sum : avg);
}

static void
measures_read(struct conf_build *b, struct aggregate *a, struct conf_node *map)
{
	if (map->members == 0 || map->members > MEASURES_MAX) {
		conf_error_key(b->t, map, "an aggregate has 1 to %d measures", MEASURES_MAX);
		return;
	}
	for (struct conf_node *n = map->first; n; n = n->next) {
		if (!n->option)
			continue;
		if (name_taken(a, n->key))
			conf_error_key(b->t, n, "there is a column \"%s\" already", n->key);
		measure_read(b, &b->m->tables[a->table], &a->measures[a->measures_n], n);
		a->measures_n++;
	}
}

/* ---- aggregates ---- */

static bool
fact_find(struct conf_build *b, struct aggregate *a, struct conf_node *n)
{
	struct nearest near = {.word = n->text};
	const struct model *m = b->m;

	for (unsigned i = 0; i < m->tables_n; i++) {
		if (m->tables[i].kind == TABLE_FACT)
			nearest_try(&near, m->tables[i].name.s);
	}
	a->table = model_table_find(m, n->text, n->len);
	if (a->table >= 0 && m->tables[a->table].kind == TABLE_FACT)
		return true;
	if (a->table >= 0)
		conf_error(b->t, n, "\"%s\" is not a fact", n->text);
	else
		conf_error_near(b->t, n, near.best, "there is no fact %s",
				conf_quote(b->t, n->text, n->len));
	a->table = -1;
	return false;
}

static void
subject_read(struct conf_build *b, struct aggregate *a, struct conf_node *n)
{
	const struct table *fact = &b->m->tables[a->table];

	name_set(&a->subject, n ? n->text : fact->key.s);
	if (n && strcmp(n->text, fact->key.s) != 0 && column_find(fact, n->text) < 0)
		column_missing(b, fact, n, n->text, 0, false);
}

static void
overlap_check(struct conf_build *b, const struct aggregate *a, struct conf_node *n)
{
	if (a->overlap)
		return;
	for (const struct aggregate *o = b->m->aggregates; o < a; o++) {
		if (o->table != a->table)
			continue;
		conf_error_key(
		    b->t, n,
		    "\"%s\" is of the same fact: by subtracting one from the other a small "
		    "group may show. Write `overlap: accepted` here if that is acceptable",
		    o->name.s);
		return;
	}
}

/* Names of functions in the database end somewhere. */
static void
name_check(struct conf_build *b, struct conf_node *n)
{
	size_t used = strlen("refresh_.") + strlen(b->m->pipeline.s);

	if (used + strlen(n->key) > NAME_BYTES_MAX)
		conf_error_key(
		    b->t, n,
		    "with the pipeline's name this one is too long for the function that "
		    "builds it: at most %zu bytes",
		    used < NAME_BYTES_MAX ? NAME_BYTES_MAX - used : 0);
}

static void
aggregate_read(struct conf_build *b, struct aggregate *a, struct conf_node *n)
{
	struct conf_node *fact = conf_scalar_of(n, "fact");
	struct conf_node *by = conf_good(n, "by"), *measures = conf_good(n, "measures");
	struct conf_node *comment = conf_scalar_of(n, "comment");

	name_set(&a->name, n->key);
	name_check(b, n);
	a->table = -1;
	a->k = (unsigned)conf_integer(n, "k", 0);
	a->every_us = conf_integer(n, "every", 0);
	a->overlap = conf_get(n, "overlap") != NULL;
	if (comment)
		a->comment = mem_string(comment->text);
	/* In a slice the names are all there is to know. */
	if (!option_seen(option_child(n->option, "by"), b->t->role) || !fact ||
	    !conf_get(b->t->root, "tables") || !fact_find(b, a, fact))
		return;
	if (by && by->kind == CONF_LIST)
		by_read(b, a, by);
	if (conf_map_of(measures))
		measures_read(b, a, measures);
	subject_read(b, a, conf_scalar_of(n, "subject"));
	overlap_check(b, a, n);
}

void
conf_aggregates(struct conf_build *b)
{
	struct conf_node *aggregates = conf_map_of(conf_get(b->t->root, "aggregates"));
	struct model *m = b->m;

	if (!aggregates)
		return;
	if (aggregates->members > AGGREGATES_MAX) {
		conf_error_key(b->t, aggregates,
			       "a pipeline has at most %d aggregates, this one %u", AGGREGATES_MAX,
			       aggregates->members);
		return;
	}
	m->aggregates = mem_zero(aggregates->members, sizeof *m->aggregates);
	for (struct conf_node *n = aggregates->first; n; n = n->next) {
		if (conf_map_of(n) && n->option)
			aggregate_read(b, &m->aggregates[m->aggregates_n++], n);
	}
}
