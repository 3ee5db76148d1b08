/*
 * conf_scope: what names mean in the expressions of a pipeline file, and where their errors stand.
 */
#include "conf_tree.h"

#include <stdio.h>
#include <string.h>

/* Names of PROCESS_*, in slot order; the first is the correlation ID's own. */
static const struct {
	const char *name;
	enum value_type type;
	bool judged; /* follows from completeness, so `complete` cannot ask for it */
} fixed[PROCESS_FIXED] = {
    [PROCESS_KEY] = {NULL, VALUE_NULL, false},
    [PROCESS_STATUS] = {"status", VALUE_TEXT, true},
    [PROCESS_FIRST_EVENT_AT] = {"first_event_at", VALUE_TIMESTAMP, false},
    [PROCESS_LAST_EVENT_AT] = {"last_event_at", VALUE_TIMESTAMP, false},
    [PROCESS_CLOSED_AT] = {"closed_at", VALUE_TIMESTAMP, true},
    [PROCESS_EVENTS] = {"events", VALUE_INTEGER, false},
    [PROCESS_REVISION] = {"revision", VALUE_INTEGER, true},
};

/* Asked for as one name: size(fold), overflowed(fold), seen(source). */
static const struct {
	const char *name;
	enum process_input_kind kind;
	enum value_type type;
} asks[] = {{"size", INPUT_SIZE, VALUE_INTEGER},
	    {"overflowed", INPUT_OVERFLOWED, VALUE_BOOLEAN},
	    {"seen", INPUT_SEEN, VALUE_BOOLEAN}};

enum { ASKS_N = sizeof asks / sizeof asks[0] };

static const char *
fixed_name(const struct model *m, unsigned i)
{
	return i == PROCESS_KEY ? m->key_name.s : fixed[i].name;
}

void
conf_inputs_init(struct conf_build *b)
{
	struct model *m = b->m;

	for (unsigned i = 0; i < PROCESS_FIXED; i++) {
		struct process_input *in = &m->inputs[m->inputs_n++];
		*in = (struct process_input){.kind = INPUT_FIXED, .of = i, .type = fixed[i].type};
		snprintf(in->name, sizeof in->name, "%s", fixed_name(m, i));
		if (i == PROCESS_KEY)
			in->type = m->key_type;
	}
	for (unsigned i = 0; i < m->folds_n; i++) {
		struct process_input *in = &m->inputs[m->inputs_n++];
		*in = (struct process_input){.kind = INPUT_FOLD, .of = i, .type = m->folds[i].type};
		snprintf(in->name, sizeof in->name, "%s", m->folds[i].name.s);
	}
}

static bool
text_is(const char *s, const char *name, size_t n)
{
	return strlen(s) == n && memcmp(s, name, n) == 0;
}

/* Slot of an input made on demand: the same question is asked once. */
static unsigned
input_slot(struct model *m, enum process_input_kind kind, unsigned of, const char *name, size_t n,
	   enum value_type type)
{
	for (unsigned i = 0; i < m->inputs_n; i++) {
		if (m->inputs[i].kind == kind && m->inputs[i].of == of)
			return i;
	}
	struct process_input *in = &m->inputs[m->inputs_n];
	*in = (struct process_input){.kind = kind, .of = of, .type = type};
	snprintf(in->name, sizeof in->name, "%.*s", (int)n, name);
	return m->inputs_n++;
}

static int
fold_find(const struct model *m, const char *name, size_t n)
{
	for (unsigned i = 0; i < m->folds_n; i++) {
		if (text_is(m->folds[i].name.s, name, n))
			return (int)i;
	}
	return -1;
}

static bool
asked_find(struct conf_scope *s, const char *name, size_t n, unsigned *slot, enum value_type *type)
{
	struct model *m = s->b->m;
	const char *open = memchr(name, '(', n);

	if (!open || name[n - 1] != ')')
		return false;
	const char *of = open + 1;
	size_t of_n = n - (size_t)(of - name) - 1;
	for (unsigned i = 0; i < ASKS_N; i++) {
		if (!text_is(asks[i].name, name, (size_t)(open - name)))
			continue;
		int x = asks[i].kind == INPUT_SEEN ? model_source_find(m, of, of_n)
						   : fold_find(m, of, of_n);
		if (x < 0 || (asks[i].kind == INPUT_SEEN && m->sources[x].reference))
			return false;
		if (asks[i].kind != INPUT_SEEN && m->folds[x].type == VALUE_NULL)
			s->poisoned = true;
		else if (asks[i].kind != INPUT_SEEN && m->folds[x].op != FOLD_SET &&
			 m->folds[x].op != FOLD_LIST)
			return false;
		*slot = input_slot(m, asks[i].kind, (unsigned)x, name, n, asks[i].type);
		*type = asks[i].type;
		return true;
	}
	return false;
}

static bool
process_find(struct conf_scope *s, const char *name, size_t n, unsigned *slot,
	     enum value_type *type)
{
	struct model *m = s->b->m;
	int fold = fold_find(m, name, n);

	if (fold >= 0) {
		*slot = PROCESS_FIXED + (unsigned)fold;
		*type = m->folds[fold].type;
		/* Nobody here can open it: sealed_why() says what there is instead. */
		return *type != VALUE_SEALED;
	}
	for (unsigned i = 0; i < PROCESS_FIXED; i++) {
		if (!text_is(fixed_name(m, i), name, n) ||
		    (fixed[i].judged && s->kind == SCOPE_COMPLETE))
			continue;
		*slot = i;
		*type = m->inputs[i].type;
		return true;
	}
	return asked_find(s, name, n, slot, type);
}

static bool
source_find(struct conf_scope *s, const char *name, size_t n, unsigned *slot, enum value_type *type)
{
	const struct source *source = &s->b->m->sources[s->source];

	for (unsigned i = 0; i < s->fields; i++) {
		const struct field *f = &source->fields[i];
		if (text_is(f->name.s, name, n)) {
			*slot = i;
			*type = f->type;
			return s->open ? f->token_of < 0 : f->class < 0;
		}
	}
	/* Of a source that could not be read we know nothing. */
	s->poisoned |= source->fields_n == 0;
	return false;
}

static bool
scope_find(void *ctx, const char *name, size_t n, unsigned *slot, enum value_type *type)
{
	struct conf_scope *s = ctx;
	bool found = s->kind == SCOPE_SOURCE ? source_find(s, name, n, slot, type)
					     : process_find(s, name, n, slot, type);

	if (found && *type == VALUE_NULL) {
		s->poisoned = true;
		*type = VALUE_TEXT;
	}
	return found;
}

static const char *
scope_next(void *ctx, unsigned i)
{
	struct conf_scope *s = ctx;
	const struct model *m = s->b->m;

	if (s->kind == SCOPE_SOURCE)
		return i < s->fields ? m->sources[s->source].fields[i].name.s : NULL;
	if (i < m->folds_n)
		return m->folds[i].name.s;
	i -= m->folds_n;
	return i < PROCESS_FIXED ? fixed_name(m, i) : NULL;
}

/*
 * What stands in the parentheses of a name like seen(x), and how the nearest known one is called.
 */
static const char *
asked_why(const struct conf_scope *s, const char *what, const char *of)
{
	const struct model *m = s->b->m;
	struct nearest near = {.word = of};
	int fold = fold_find(m, of, strlen(of));
	bool seen = strcmp(what, "seen") == 0;

	if (!seen && fold >= 0)
		return conf_printf(s->b->t,
				   "%s() is for folds of kind set or list, and \"%s\" is not one",
				   what, of);
	if (seen && model_source_find(m, of, strlen(of)) >= 0)
		return conf_printf(s->b->t,
				   "\"%s\" is a reference source: it belongs to no process", of);
	for (unsigned i = 0; i < (seen ? m->sources_n : m->folds_n); i++)
		nearest_try(&near, seen ? m->sources[i].name.s : m->folds[i].name.s);
	return conf_printf(s->b->t, "there is no %s %s%s%s%s", seen ? "source" : "fold",
			   conf_quote(s->b->t, of, strlen(of)),
			   near.best ? "; did you mean \"" : "", near.best ? near.best : "",
			   near.best ? "\"?" : "");
}

/* Why a field that exists cannot be read where it is asked for. NULL: there is no such field. */
static const char *
field_why(const struct conf_scope *s, const char *name, size_t n)
{
	const struct source *source = &s->b->m->sources[s->source];

	for (unsigned i = 0; i < s->fields; i++) {
		const struct field *f = &source->fields[i];
		if (!text_is(f->name.s, name, n))
			continue;
		if (s->open && f->token_of >= 0)
			return conf_printf(
			    s->b->t,
			    "\"%s\" is a token, made after the derived fields: name it "
			    "in folds, columns and references",
			    f->name.s);
		if (s->open || f->class < 0)
			return NULL;
		const char *token = f->domain >= 0
					? conf_printf(s->b->t, "its token %s_token, or ", f->name.s)
					: "";
		return conf_printf(
		    s->b->t,
		    "\"%s\" is sensitive, and sealed here: use %sa field that `derive` "
		    "makes of it, as \"%s\"",
		    f->name.s, token, conf_derive_hint(s->b->t, f));
	}
	return NULL;
}

static const char *
fold_why(const struct conf_scope *s, const char *name, size_t n)
{
	int i = fold_find(s->b->m, name, n);

	if (i < 0 || s->b->m->folds[i].type != VALUE_SEALED)
		return NULL;
	return conf_printf(
	    s->b->t,
	    "\"%s\" folds a sensitive field: it is sealed, and goes to "
	    "development_schema.process alone. Fold the field's token, or a field that "
	    "`derive` makes of it",
	    s->b->m->folds[i].name.s);
}

/* Of a name that the expression does not know we may know why. NULL: we do not. */
static const char *
scope_why(const struct conf_scope *s, const char *name, size_t n)
{
	const char *open = memchr(name, '(', n);
	struct conf_tree *t = s->b->t;

	if (n > 2 && name[0] == '"' && name[n - 1] == '"') {
		name++;
		n -= 2;
	}
	if (s->kind == SCOPE_SOURCE)
		return field_why(s, name, n);
	const char *sealed = fold_why(s, name, n);
	if (sealed)
		return sealed;
	for (unsigned i = 0; s->kind == SCOPE_COMPLETE && i < PROCESS_FIXED; i++) {
		if (fixed[i].judged && text_is(fixed[i].name, name, n))
			return conf_printf(
			    t, "\"%s\" follows from completeness, so it is not known here",
			    fixed[i].name);
	}
	for (unsigned i = 0; open && i < ASKS_N; i++) {
		if (name[n - 1] == ')' && text_is(asks[i].name, name, (size_t)(open - name)))
			return asked_why(s, asks[i].name,
					 conf_string(t, open + 1, (size_t)(name + n - open) - 2));
	}
	return NULL;
}

/* What a derived field may tell of sensitive ones, through those above it too. */
static uint32_t
field_bound(void *ctx, unsigned slot)
{
	const struct conf_scope *s = ctx;
	const struct field *f = &s->b->m->sources[s->source].fields[slot];

	if (slot >= s->fields)
		return 1;
	if (f->class >= 0)
		return EXPR_UNBOUNDED;
	return f->derive ? expr_bound(f->derive) : 1;
}

struct expr *
conf_compile(struct conf_scope *s, struct conf_node *n, size_t at, size_t len, enum value_type want)
{
	struct expr_scope scope = {.ctx = s,
				   .find = scope_find,
				   .next = scope_next,
				   .zone = s->b->m->zone,
				   .bound = s->open ? field_bound : NULL};
	struct expr_error e = {0};
	struct expr *x;

	s->poisoned = false;
	if (expr_compile(n->text + at, len, &scope, want, &x, &e)) {
		if (!s->poisoned)
			return x;
		/* Made of something that was reported already. */
		expr_free(x);
		n->bad = true;
		return NULL;
	}
	n->bad = true;
	if (s->poisoned)
		return NULL;
	size_t from = at + e.at > n->len ? n->len : at + e.at;
	size_t to = from + e.len > n->len ? n->len : from + e.len;
	const char *why = scope_why(s, n->text + from, to - from);
	uint32_t begin = conf_scalar_at(s->b->t, n, from), end = conf_scalar_at(s->b->t, n, to);
	conf_error_at(s->b->t, begin, end > begin ? end - begin : 1, NULL, "%s",
		      why ? why : e.text);
	return NULL;
}

static void
use_visit(void *ctx, unsigned slot)
{
	struct conf_scope *s = ctx;

	s->b->m->sources[s->source].fields[slot].used = true;
}

void
conf_scope_use(struct conf_scope *s, const struct expr *x)
{
	if (x && s->kind == SCOPE_SOURCE)
		expr_slots(x, use_visit, s);
}
