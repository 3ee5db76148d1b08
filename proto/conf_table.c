/*
 * conf_table: the star schema of a pipeline file: facts, dimensions, the calendar, and what refers
 * to what.
 */
#include "conf_tree.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"

enum { CALENDAR_DAYS_MAX = 366 * 400 };

/* `<name>_key`, the name without "dim_". False: reported. */
static bool
key_column(struct conf_build *b, struct conf_node *n, const char *name, struct name *out)
{
	const char *role = strncmp(name, "dim_", 4) == 0 && name[4] ? name + 4 : name;

	if (strlen(role) + strlen("_key") > NAME_BYTES_MAX) {
		conf_error_key(b->t, n, "with _key this name is longer than %d bytes",
			       NAME_BYTES_MAX);
		return false;
	}
	snprintf(out->s, sizeof out->s, "%.*s_key", (int)(NAME_BYTES_MAX - 4), role);
	return true;
}

/* A key that this kind of table does not have. */
static void
key_excluded(struct conf_build *b, struct conf_node *n, const char *key, const char *why)
{
	struct conf_node *c = conf_get(n, key);

	if (c)
		conf_error_key(b->t, c, "\"%s\" is for %s", key, why);
}

static void
key_needed(struct conf_build *b, struct conf_node *n, const char *key, const char *why)
{
	if (!conf_get(n, key))
		conf_error_key(b->t, n, "\"%s\" is missing: %s", key, why);
}

/* ---- what a table is ---- */

static void
fact_read(struct conf_build *b, struct table *t, struct conf_node *n)
{
	struct conf_node *grain = conf_scalar_of(n, "grain");
	struct conf_node *key = conf_scalar_of(n, "key");

	key_excluded(b, n, "from", "dimensions and calendars");
	key_excluded(b, n, "to", "calendars");
	key_needed(b, n, "grain", "what is one row? `process`, or the name of a source");
	name_set(&t->key, key ? key->text : b->m->key_name.s);
	t->key_type = b->m->key_type;
	t->unique = conf_boolean(n, "unique");
	t->grain = GRAIN_PROCESS;
	if (!grain)
		return;
	if (strcmp(grain->text, "process") == 0) {
		if (t->unique)
			conf_error_key(b->t, conf_get(n, "unique"),
				       "\"unique\" is for facts of a source: one row a process is "
				       "unique anyway");
		return;
	}
	struct nearest near = {.word = grain->text};
	nearest_try(&near, "process");
	if (near.best && model_source_find(b->m, grain->text, grain->len) < 0) {
		conf_error_near(b->t, grain, near.best, "there is no source \"%s\"", grain->text);
		return;
	}
	t->grain =
	    conf_source_of(b, grain, grain->text, conf_scalar_at(b->t, grain, 0), grain->len);
	if (t->grain >= 0 && b->m->sources[t->grain].reference)
		conf_error(b->t, grain, "\"%s\" is a reference source: it feeds dimensions only",
			   grain->text);
}

static bool
natural_key_suits(enum value_type t)
{
	return t == VALUE_TEXT || t == VALUE_INTEGER || t == VALUE_DATE || t == VALUE_BOOLEAN ||
	       t == VALUE_NULL;
}

static void
dimension_read(struct conf_build *b, struct table *t, struct conf_node *n)
{
	struct conf_node *from = conf_scalar_of(n, "from");
	struct conf_node *key = conf_scalar_of(n, "key");

	key_excluded(b, n, "grain", "facts");
	key_excluded(b, n, "to", "calendars");
	key_excluded(b, n, "unique", "facts");
	key_excluded(b, n, "references", "facts");
	key_needed(b, n, "key", "the column with the natural key");
	key_column(b, n, n->key, &t->surrogate);
	t->key_type = VALUE_NULL;
	if (key)
		name_set(&t->key, key->text);
	if (!from) {
		struct conf_node *columns = conf_get(n, "columns");
		if (columns && !conf_get(n, "from"))
			conf_error_key(b->t, columns,
				       "columns of a dimension need `from`: the source whose "
				       "events describe it");
		return;
	}
	t->grain = conf_source_of(b, from, from->text, conf_scalar_at(b->t, from, 0), from->len);
	if (t->grain < 0 || !key)
		return;
	struct conf_scope scope = {.b = b,
				   .kind = SCOPE_SOURCE,
				   .source = t->grain,
				   .fields = b->m->sources[t->grain].fields_n};
	t->key_expr = conf_compile(&scope, key, 0, key->len, VALUE_NULL);
	conf_scope_use(&scope, t->key_expr);
	if (!t->key_expr)
		return;
	t->key_type = expr_type(t->key_expr);
	if (!natural_key_suits(t->key_type))
		conf_error(b->t, key,
			   "a natural key is text, integer, date or boolean; this field is %s",
			   value_type_name(t->key_type));
}

static void
calendar_read(struct conf_build *b, struct table *t, struct conf_node *n)
{
	struct conf_node *from = conf_scalar_of(n, "from");
	struct conf_node *to = conf_scalar_of(n, "to");
	struct err e;

	key_excluded(b, n, "grain", "facts");
	key_excluded(b, n, "key", "facts and dimensions");
	key_excluded(b, n, "unique", "facts");
	key_excluded(b, n, "references", "facts");
	key_excluded(b, n, "columns", "facts and dimensions");
	key_needed(b, n, "from", "the first day, as 2011-01-01");
	key_needed(b, n, "to", "the last day, as 2030-12-31");
	key_column(b, n, n->key, &t->surrogate);
	name_set(&t->key, "date");
	t->key_type = VALUE_DATE;
	if (from && !date_parse(from->text, from->len, &t->from_date, &e)) {
		conf_error(b->t, from, "\"from\" of a calendar must be %s",
			   option_type_words(OPTION_DATE));
		return;
	}
	if (!from || !to || !date_parse(to->text, to->len, &t->to_date, &e))
		return;
	if (t->to_date < t->from_date)
		conf_error(b->t, to, "the last day is before the first");
	else if (t->to_date - t->from_date > CALENDAR_DAYS_MAX)
		conf_error(b->t, to, "a calendar has at most 400 years");
}

static bool
table_read(struct conf_build *b, struct table *t, struct conf_node *n)
{
	struct conf_node *kind = conf_map_of(n) && n->option ? conf_scalar_of(n, "kind") : NULL;
	struct conf_node *comment = kind ? conf_scalar_of(n, "comment") : NULL;

	name_set(&t->name, n->key);
	t->grain = -1;
	t->kind = TABLE_FACT;
	if (!kind)
		return false;
	if (comment)
		t->comment = mem_string(comment->text);
	switch (kind->text[0]) {
	case 'f':
		fact_read(b, t, n);
		break;
	case 'd':
		t->kind = TABLE_DIMENSION;
		dimension_read(b, t, n);
		break;
	default:
		t->kind = TABLE_CALENDAR;
		calendar_read(b, t, n);
		break;
	}
	return true;
}

/* ---- columns ---- */

/* What the expressions of a table see. False: nothing is known to compile them with. */
static bool
table_scope(struct conf_build *b, const struct table *t, struct conf_node *n,
	    struct conf_scope *out)
{
	struct conf_node *grain = conf_scalar_of(n, t->kind == TABLE_FACT ? "grain" : "from");

	if (!grain)
		return false;
	*out = (struct conf_scope){.b = b, .kind = SCOPE_PROCESS};
	if (t->grain < 0)
		return true;
	out->kind = SCOPE_SOURCE;
	out->source = t->grain;
	out->fields = b->m->sources[t->grain].fields_n;
	return true;
}

static void
column_read(struct conf_build *b, struct conf_scope *scope, struct column *c, struct conf_node *n)
{
	c->slot = -1;
	struct conf_node *expr = conf_scalar_of(n, "expr");
	struct conf_node *comment = conf_scalar_of(n, "comment");
	struct conf_node *scale = conf_scalar_of(n, "scale");
	enum value_type want = conf_type(n);

	name_set(&c->name, n->key);
	if (comment)
		c->comment = mem_string(comment->text);
	c->decimal_scale = (unsigned)conf_integer(n, "scale", 0);
	if (!expr || !n->option)
		return;
	c->source = mem_string(expr->text);
	c->expr = conf_compile(scope, expr, 0, expr->len, want);
	if (!c->expr)
		return;
	conf_scope_use(scope, c->expr);
	c->type = want == VALUE_NULL ? expr_type(c->expr) : want;
	if (c->type == VALUE_NULL)
		conf_error(b->t, expr,
			   "null alone has no type: write cast(null as TYPE), or add `type`");
	if (scale && c->type != VALUE_DECIMAL)
		conf_error_key(b->t, scale, "\"scale\" is for decimals; this column is %s",
			       value_type_name(c->type));
}

static void
columns_read(struct conf_build *b, struct table *t, struct conf_node *n)
{
	struct conf_node *columns = conf_map_of(conf_get(n, "columns"));
	struct conf_scope scope;

	if (!columns || t->kind == TABLE_CALENDAR || !table_scope(b, t, n, &scope))
		return;
	if (columns->members > COLUMNS_MAX) {
		conf_error_key(b->t, columns, "a table has at most %d columns, this one %u",
			       COLUMNS_MAX, columns->members);
		return;
	}
	t->columns = mem_zero(columns->members, sizeof *t->columns);
	for (struct conf_node *c = columns->first; c; c = c->next)
		column_read(b, &scope, &t->columns[t->columns_n++], c);
}

/* ---- references ---- */

static int
dimension_find(struct conf_build *b, struct conf_node *n, const char *name, uint32_t at,
	       uint32_t len)
{
	struct nearest near = {.word = name};

	for (unsigned i = 0; i < b->m->tables_n; i++) {
		if (strcmp(b->m->tables[i].name.s, name) == 0) {
			if (b->m->tables[i].kind != TABLE_FACT ||
			    !conf_get(conf_get(conf_get(b->t->root, "tables"), name), "kind"))
				return (int)i;
			conf_error_at(
			    b->t, at, len, NULL,
			    "\"%s\" is a fact: references lead to dimensions and calendars", name);
			n->bad = true;
			return -1;
		}
		if (b->m->tables[i].kind != TABLE_FACT)
			nearest_try(&near, b->m->tables[i].name.s);
	}
	n->bad = true;
	conf_error_at(b->t, at, len, near.best, "there is no dimension or calendar %s",
		      conf_quote(b->t, name, strlen(name)));
	return -1;
}

/*
 * A dimension without a source has the type of what refers to it, and all that refer to it agree.
 */
static void
reference_type(struct conf_build *b, struct conf_node *value, struct table *d, enum value_type t)
{
	if (t == VALUE_NULL)
		return;
	if (d->kind == TABLE_CALENDAR) {
		if (t != VALUE_DATE && t != VALUE_TIMESTAMP)
			conf_error(b->t, value,
				   "a reference to calendar \"%s\" must be a date or a timestamp, "
				   "this is %s",
				   d->name.s, value_type_name(t));
	} else if (!natural_key_suits(t)) {
		conf_error(b->t, value,
			   "a natural key is text, integer, date or boolean; this is %s",
			   value_type_name(t));
	} else if (d->key_type == VALUE_NULL) {
		d->key_type = t;
	} else if (d->key_type != t) {
		conf_error(b->t, value, "the natural key of \"%s\" is %s, this is %s", d->name.s,
			   value_type_name(d->key_type), value_type_name(t));
	}
}

static void
reference_read(struct conf_build *b, struct conf_scope *scope, struct reference *r,
	       struct conf_node *n)
{
	struct conf_node *dimension = conf_scalar_of(n, "dimension");
	struct conf_node *value = conf_scalar_of(n, "value");
	const char *name = dimension ? dimension->text : n->key;

	key_column(b, n, n->key, &r->column);
	if (!n->option || n->bad)
		return;
	r->table =
	    dimension_find(b, n, name, dimension ? conf_scalar_at(b->t, dimension, 0) : n->key_at,
			   (uint32_t)strlen(name));
	if (!value)
		return;
	r->source = mem_string(value->text);
	r->expr = conf_compile(scope, value, 0, value->len, VALUE_NULL);
	conf_scope_use(scope, r->expr);
	if (r->expr && r->table >= 0)
		reference_type(b, value, &b->m->tables[r->table], expr_type(r->expr));
}

static void
references_read(struct conf_build *b, struct table *t, struct conf_node *n)
{
	struct conf_node *references = conf_map_of(conf_get(n, "references"));
	struct conf_scope scope;

	if (!references || t->kind != TABLE_FACT || !table_scope(b, t, n, &scope))
		return;
	if (references->members > REFERENCES_MAX) {
		conf_error_key(b->t, references, "a fact has at most %d references, this one %u",
			       REFERENCES_MAX, references->members);
		return;
	}
	t->references = mem_zero(references->members, sizeof *t->references);
	for (struct conf_node *r = references->first; r; r = r->next)
		reference_read(b, &scope, &t->references[t->references_n++], r);
}

/* ---- names ---- */

/* The columns that Weir makes beside the declared ones. */
static const char *const process_made[] = {"status",	"missing", "first_event_at",
					   "closed_at", "events",  "revision",
					   "loaded_at", "batch",   NULL};
static const char *const event_made[] = {"rid", "event_at", "loaded_at", "batch", NULL};
static const char *const dimension_made[] = {"inferred",  "version_at", "version_rid",
					     "loaded_at", "batch",	NULL};

static const char *const *
made_of(const struct table *t)
{
	if (t->kind == TABLE_DIMENSION)
		return dimension_made;
	return t->grain < 0 ? process_made : event_made;
}

static bool
made_has(const struct table *t, const char *name)
{
	for (const char *const *made = made_of(t); *made; made++) {
		if (strcmp(*made, name) == 0)
			return true;
	}
	return false;
}

static void
column_names_check(struct conf_build *b, const struct table *t, struct conf_node *n)
{
	struct conf_node *columns = conf_map_of(conf_get(n, "columns"));
	struct conf_node *references = conf_map_of(conf_get(n, "references"));
	struct conf_node *key = conf_scalar_of(n, "key");

	if (key && (made_has(t, t->key.s) || strcmp(t->key.s, t->surrogate.s) == 0))
		conf_error(b->t, key,
			   "Weir makes a column \"%s\" itself: the key needs another name",
			   t->key.s);
	for (struct conf_node *c = columns ? columns->first : NULL; c; c = c->next) {
		if (made_has(t, c->key) || strcmp(c->key, t->surrogate.s) == 0)
			conf_error_key(
			    b->t, c,
			    "Weir makes a column \"%s\" itself: this one needs another name",
			    c->key);
		else if (strcmp(c->key, t->key.s) == 0)
			conf_error_key(b->t, c, "\"%s\" is already the key of this table", c->key);
	}
	for (struct conf_node *r = references ? references->first : NULL; r; r = r->next) {
		struct name column = {""};
		if (r->bad || !key_column(b, r, r->key, &column))
			continue;
		if (made_has(t, column.s) || strcmp(column.s, t->key.s) == 0 ||
		    conf_get(columns, column.s))
			conf_error_key(
			    b->t, r,
			    "its column \"%s\" is there already: give the reference another name",
			    column.s);
		for (struct conf_node *o = references->first; o != r; o = o->next) {
			struct name other = {""};
			if (!o->bad && key_column(b, o, o->key, &other) &&
			    strcmp(other.s, column.s) == 0)
				conf_error_key(b->t, r, "its column \"%s\" is also that of \"%s\"",
					       column.s, o->key);
		}
	}
}

void
conf_tables(struct conf_build *b)
{
	struct conf_node *tables = conf_map_of(conf_get(b->t->root, "tables"));
	struct model *m = b->m;
	bool known[TABLES_MAX] = {false};
	unsigned i = 0, declared = tables ? tables->members : 0, made = conf_tables_made(m);

	if (!tables)
		return;
	if (declared + made > TABLES_MAX) {
		conf_error_key(b->t, tables, "a pipeline has at most %d tables, this one %u%s",
			       TABLES_MAX, declared + made,
			       made ? " (those of raw events and of sealed folds count)" : "");
		return;
	}
	m->tables = mem_zero(declared + made, sizeof *m->tables);
	/* All of them first: a fact may refer to a dimension that stands below it. */
	for (struct conf_node *n = tables->first; n; n = n->next)
		known[m->tables_n] = table_read(b, &m->tables[m->tables_n], n), m->tables_n++;
	for (struct conf_node *n = tables->first; n; n = n->next, i++) {
		if (!known[i])
			continue;
		columns_read(b, &m->tables[i], n);
		references_read(b, &m->tables[i], n);
		column_names_check(b, &m->tables[i], n);
	}
	for (i = 0; i < m->tables_n; i++) {
		/*
		 * Nobody refers to it and nobody describes it: it holds its special members only.
		 */
		if (m->tables[i].kind == TABLE_DIMENSION && m->tables[i].key_type == VALUE_NULL)
			m->tables[i].key_type = VALUE_TEXT;
	}
	conf_tables_make(b);
}
