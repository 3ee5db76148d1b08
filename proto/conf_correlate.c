/*
 * conf_correlate: the correlation ID of each source, and when a process is complete.
 */
#include "conf_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

int
conf_source_of(struct conf_build *b, struct conf_node *n, const char *name, uint32_t at,
	       uint32_t len)
{
	int i = model_source_find(b->m, name, strlen(name));
	struct nearest near = {.word = name};

	if (i >= 0)
		return i;
	for (unsigned k = 0; k < b->m->sources_n; k++)
		nearest_try(&near, b->m->sources[k].name.s);
	n->bad = true;
	conf_error_at(b->t, at, len, near.best, "there is no source %s",
		      conf_quote(b->t, name, strlen(name)));
	return -1;
}

/* ---- by ---- */

/* The type of the correlation ID is that of the first source that has a right one. */
static void
key_type_check(struct conf_build *b, struct conf_node *n, struct source *s)
{
	enum value_type t = s->fields[s->key_field].type;

	if (t == VALUE_NULL)
		return;
	if (t != VALUE_TEXT && t != VALUE_INTEGER)
		conf_error(b->t, n, "a correlation ID must be text or integer; %s.%s is %s",
			   s->name.s, s->fields[s->key_field].name.s, value_type_name(t));
	else if (b->m->key_type == VALUE_NULL)
		b->m->key_type = t;
	else if (b->m->key_type != t)
		conf_error(
		    b->t, n,
		    "the correlation ID must have one type everywhere; %s.%s is %s, others are %s",
		    s->name.s, s->fields[s->key_field].name.s, value_type_name(t),
		    value_type_name(b->m->key_type));
}

static void
key_set(struct conf_build *b, struct conf_node *n, unsigned source)
{
	struct source *s = &b->m->sources[source];

	if (s->reference || s->fields_n == 0)
		return;
	s->key_field = conf_field(b, (int)source, n, n->text, 0);
	if (s->key_field >= 0 && conf_clear(b, n, &s->fields[s->key_field], "the correlation ID"))
		key_type_check(b, n, s);
}

static void
by_map_read(struct conf_build *b, struct conf_node *by)
{
	name_set(&b->m->key_name, "id");
	for (struct conf_node *n = by->first; n; n = n->next) {
		int i = conf_source_of(b, n, n->key, n->key_at, (uint32_t)strlen(n->key));
		if (i >= 0 && b->m->sources[i].reference)
			conf_error_key(b->t, n,
				       "\"%s\" is a reference source: it belongs to no process",
				       n->key);
		else if (i >= 0 && n->kind == CONF_SCALAR && !n->bad)
			key_set(b, n, (unsigned)i);
	}
	for (unsigned i = 0; i < b->m->sources_n; i++) {
		if (!b->m->sources[i].reference && !conf_get(by, b->m->sources[i].name.s))
			conf_error_key(b->t, by, "\"by\" says nothing of source \"%s\"",
				       b->m->sources[i].name.s);
	}
}

static void
by_read(struct conf_build *b, struct conf_node *correlate)
{
	static const struct option name = {.path = "by", .type = OPTION_NAME};
	struct conf_node *by = conf_good(correlate, "by");
	union option_value v;
	char why[256];

	name_set(&b->m->key_name, "id");
	if (!by)
		return;
	if (by->kind == CONF_MAP) {
		by_map_read(b, by);
		return;
	}
	if (!option_read(&name, by->text, by->len, &v, why)) {
		conf_error(b->t, by, "\"by\" %s, or a map from source to field", why);
		return;
	}
	name_set(&b->m->key_name, by->text);
	for (unsigned i = 0; i < b->m->sources_n; i++)
		key_set(b, by, i);
}

/* ---- complete ---- */

/* A conjunct's own text as its name: runs of white space become one space. */
static char *
part_name(const char *s, size_t n)
{
	char *name = mem_alloc(n + 1);
	size_t len = 0;
	char quote = 0;

	for (size_t i = 0; i < n; i++) {
		bool white = s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r';
		if (s[i] == '\'')
			quote = quote ? 0 : '\'';
		if (white && !quote && len > 0 && name[len - 1] == ' ')
			continue;
		name[len++] = white && !quote ? ' ' : s[i];
	}
	while (len > 0 && name[len - 1] == ' ')
		len--;
	name[len] = '\0';
	return name;
}

static void
part_add(struct conf_build *b, struct conf_node *n, size_t at, size_t len, char *name)
{
	struct conf_scope scope = {.b = b, .kind = SCOPE_COMPLETE};
	struct part *p = &b->m->parts[b->m->parts_n++];

	p->name = name;
	p->holds = conf_compile(&scope, n, at, len, VALUE_BOOLEAN);
}

static void
conjuncts_read(struct conf_build *b, struct conf_node *n)
{
	size_t at[PARTS_MAX + 1], len[PARTS_MAX + 1];
	unsigned count = expr_conjuncts(n->text, n->len, at, len, PARTS_MAX + 1);

	if (count > PARTS_MAX) {
		conf_error(
		    b->t, n,
		    "\"complete\" has more than %d parts joined by `and`: put some in parentheses",
		    PARTS_MAX);
		return;
	}
	b->m->parts = mem_zero(PARTS_MAX, sizeof *b->m->parts);
	if (count == 0) {
		at[0] = 0;
		len[0] = n->len;
		count = 1;
	}
	for (unsigned i = 0; i < count; i++)
		part_add(b, n, at[i], len[i], part_name(n->text + at[i], len[i]));
}

static void
complete_read(struct conf_build *b, struct conf_node *correlate)
{
	struct conf_node *complete = conf_good(correlate, "complete");

	if (!complete)
		return;
	if (complete->kind == CONF_SCALAR) {
		conjuncts_read(b, complete);
		return;
	}
	if (complete->members > PARTS_MAX) {
		conf_error_key(b->t, complete, "\"complete\" has %u parts, more than %d",
			       complete->members, PARTS_MAX);
		return;
	}
	b->m->parts = mem_zero(PARTS_MAX, sizeof *b->m->parts);
	for (struct conf_node *n = complete->first; n; n = n->next) {
		if (n->kind == CONF_SCALAR && !n->bad)
			part_add(b, n, 0, n->len, mem_string(n->key));
	}
}

void
conf_correlate(struct conf_build *b)
{
	struct conf_node *correlate = conf_get(b->t->root, "correlate");
	struct conf_node *folds = conf_get(correlate, "folds");

	by_read(b, correlate);
	if (folds && folds->kind == CONF_MAP)
		conf_folds(b, folds);
	b->m->inputs = mem_zero(EXPR_INPUTS_MAX, sizeof *b->m->inputs);
	conf_inputs_init(b);
	complete_read(b, correlate);
}
