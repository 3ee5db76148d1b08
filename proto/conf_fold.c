/*
 * conf_fold: the folds of a process: operation, inputs, their types, and the identity of their
 * state.
 */
#include "conf_tree.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"

/* How an operation treats its inputs. */
enum takes { TAKES_FIELD, TAKES_ORDERED, TAKES_NUMBER, TAKES_EITHER, TAKES_BOOLEAN };

static const struct {
	const char *name;
	enum takes takes;
	enum value_type gives; /* VALUE_NULL: the type of the inputs */
	bool sized;
} ops[FOLD_OP_MAX] = {
    [FOLD_FIRST] = {"first", TAKES_FIELD, VALUE_NULL, false},
    [FOLD_LAST] = {"last", TAKES_FIELD, VALUE_NULL, false},
    [FOLD_MIN] = {"min", TAKES_ORDERED, VALUE_NULL, false},
    [FOLD_MAX] = {"max", TAKES_ORDERED, VALUE_NULL, false},
    [FOLD_COUNT] = {"count", TAKES_EITHER, VALUE_INTEGER, false},
    [FOLD_SUM] = {"sum", TAKES_NUMBER, VALUE_DECIMAL, false},
    [FOLD_ANY] = {"any", TAKES_BOOLEAN, VALUE_BOOLEAN, false},
    [FOLD_ALL] = {"all", TAKES_BOOLEAN, VALUE_BOOLEAN, false},
    [FOLD_SET] = {"set", TAKES_FIELD, VALUE_JSON, true},
    [FOLD_LIST] = {"list", TAKES_FIELD, VALUE_JSON, true},
};

static bool
takes_source(enum fold_op op)
{
	return ops[op].takes == TAKES_EITHER || ops[op].takes == TAKES_BOOLEAN;
}

/* ---- inputs ---- */

/* "source" or "source.field". False: reported. */
static bool
input_resolve(struct conf_build *b, struct conf_node *n, struct fold *f, struct fold_input *in)
{
	size_t cut = strcspn(n->text, ".");
	const char *source = conf_string(b->t, n->text, cut);
	const char *field = n->text[cut] ? n->text + cut + 1 : NULL;

	in->source =
	    conf_source_of(b, n, source, conf_scalar_at(b->t, n, 0), (uint32_t)(cut ? cut : 1));
	in->field = -1;
	if (in->source < 0)
		return false;
	const struct source *s = &b->m->sources[in->source];
	if (s->reference) {
		conf_error(b->t, n, "\"%s\" is a reference source: its events belong to no process",
			   s->name.s);
		return false;
	}
	if (!field && !takes_source(f->op)) {
		conf_error(b->t, n, "\"%s\" folds the values of a field: write %s.FIELD",
			   ops[f->op].name, s->name.s);
		return false;
	}
	if (!field)
		return true;
	/* Of a source that could not be read we know no fields. */
	if (s->fields_n == 0)
		return false;
	in->field = conf_field(b, in->source, n, field, (uint32_t)cut + 1);
	return in->field >= 0;
}

/* What can be done with values that nobody here can open. */
static bool
sealed_suits(enum fold_op op)
{
	return op == FOLD_FIRST || op == FOLD_LAST || op == FOLD_COUNT;
}

static bool
input_suits(enum fold_op op, enum value_type t)
{
	if (t == VALUE_SEALED)
		return sealed_suits(op);
	switch (ops[op].takes) {
	case TAKES_ORDERED:
		return t != VALUE_JSON;
	case TAKES_NUMBER:
		return t == VALUE_INTEGER || t == VALUE_DECIMAL;
	case TAKES_BOOLEAN:
		return t == VALUE_BOOLEAN;
	default:
		return true;
	}
}

static void
input_unsuited(struct conf_build *b, struct conf_node *n, const struct fold *f,
	       const struct field *field)
{
	enum value_type t = conf_field_type(field);

	if (t == VALUE_SEALED)
		conf_error(b->t, n,
			   "%s is sensitive: of sealed values there are the folds first, last and "
			   "count. Fold %sa field that `derive` makes of it, as \"%s\"",
			   n->text, field->domain >= 0 ? "its token, or " : "",
			   conf_derive_hint(b->t, field));
	else if (f->op == FOLD_SUM && t == VALUE_FLOAT)
		conf_error(
		    b->t, n,
		    "\"sum\" of floats depends on their order: declare the field as decimal");
	else if (f->op == FOLD_SUM)
		conf_error(b->t, n, "\"sum\" takes integers or decimals; %s is %s", n->text,
			   value_type_name(t));
	else if (ops[f->op].takes == TAKES_BOOLEAN)
		conf_error(b->t, n,
			   "\"%s\" takes a boolean field, or a source and a `where`; %s is %s",
			   ops[f->op].name, n->text, value_type_name(t));
	else
		conf_error(b->t, n, "\"%s\" needs values that have an order; %s is %s",
			   ops[f->op].name, n->text, value_type_name(t));
}

/* The field's type against the operation and the inputs before it. False: something was wrong. */
static bool
input_type(struct conf_build *b, struct conf_node *n, struct fold *f, const struct fold_input *in)
{
	enum value_type t;

	if (in->field < 0)
		return true;
	t = conf_field_type(&b->m->sources[in->source].fields[in->field]);
	if (t == VALUE_NULL)
		return false;
	if (!input_suits(f->op, t)) {
		input_unsuited(b, n, f, &b->m->sources[in->source].fields[in->field]);
		return false;
	}
	if (f->in == VALUE_NULL)
		f->in = t;
	if (f->in != t) {
		conf_error(b->t, n, "inputs of one fold have one type; %s is %s, the others are %s",
			   n->text, value_type_name(t), value_type_name(f->in));
		return false;
	}
	b->m->sources[in->source].fields[in->field].used = true;
	return true;
}

static bool
where_read(struct conf_build *b, struct conf_node *where, struct fold_input *in)
{
	struct conf_scope scope = {.b = b,
				   .kind = SCOPE_SOURCE,
				   .source = in->source,
				   .fields = b->m->sources[in->source].fields_n};
	unsigned before = b->t->errors_n;

	in->where = conf_compile(&scope, where, 0, where->len, VALUE_BOOLEAN);
	conf_scope_use(&scope, in->where);
	/* Which of several sources does not have what it asks for. */
	if (b->t->errors_n > before)
		b->t->errors[before].text =
		    conf_printf(b->t, "%s (events of \"%s\")", b->t->errors[before].text,
				b->m->sources[in->source].name.s);
	return in->where != NULL;
}

/* ---- folds ---- */

static enum fold_op
op_find(const struct conf_node *n, struct conf_node **inputs)
{
	for (struct conf_node *c = n->first; c; c = c->next) {
		for (enum fold_op op = 0; op < FOLD_OP_MAX; op++) {
			if (strcmp(c->key, ops[op].name) == 0) {
				*inputs = c;
				return op;
			}
		}
	}
	return FOLD_OP_MAX;
}

static bool
inputs_read(struct conf_build *b, struct conf_node *list, struct conf_node *where, struct fold *f)
{
	bool fine = true;

	if (list->members == 0 || list->members > FOLD_INPUTS_MAX) {
		conf_error_key(b->t, list, "a fold has 1 to %d inputs", FOLD_INPUTS_MAX);
		return false;
	}
	for (struct conf_node *n = list->first; n; n = n->next) {
		struct fold_input *in = &f->inputs[f->inputs_n];
		if (n->kind != CONF_SCALAR || n->bad || !input_resolve(b, n, f, in)) {
			fine = false;
			continue;
		}
		f->inputs_n++;
		fine &= input_type(b, n, f, in);
		if (f->op == FOLD_ALL && in->field < 0 && !where) {
			conf_error(b->t, n,
				   "\"all\" of a source needs a `where`: what is it that every "
				   "event must pass?");
			fine = false;
		}
		if (where)
			fine &= !where->bad && where_read(b, where, in);
	}
	return fine;
}

/* As a person wrote it, in one line: "count offer where activity = 'O_SENT'". */
static char *
definition_print(const struct conf_node *inputs, const struct conf_node *where,
		 const struct fold *f)
{
	struct buf b = {0};
	size_t len;

	buf_printf(&b, "%s ", ops[f->op].name);
	for (const struct conf_node *n = inputs->first; n; n = n->next)
		buf_printf(&b, "%s%s", n == inputs->first ? "" : ", ", n->text);
	if (where)
		buf_printf(&b, " where %s", where->text);
	if (ops[f->op].sized)
		buf_printf(&b, " size %u", f->size);
	buf_byte(&b, 0);
	return (char *)buf_take(&b, &len);
}

static uint64_t
fnv1a(uint64_t h, const char *s)
{
	/* The NUL too, so that ("ab", "c") and ("a", "bc") differ. */
	for (const char *c = s;; c++) {
		h = (h ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
		if (!*c)
			return h;
	}
}

/* The type belongs to it: a field declared anew must not find state of its former type. */
static uint64_t
fold_id(const struct fold *f)
{
	uint64_t h = fnv1a(UINT64_C(0xcbf29ce484222325), f->name.s);

	h = fnv1a(h, f->definition);
	return fnv1a(h, value_type_name(f->in));
}

static void
fold_read(struct conf_build *b, struct conf_node *n, struct fold *f)
{
	struct conf_node *inputs = NULL, *where, *size;
	bool fine;

	name_set(&f->name, n->key);
	if (strcmp(f->name.s, b->m->key_name.s) == 0)
		conf_error_key(b->t, n, "\"%s\" is the correlation ID: a fold needs another name",
			       n->key);
	if (n->kind != CONF_MAP || !n->option)
		return;
	f->op = op_find(n, &inputs);
	where = conf_get(n, "where");
	size = conf_get(n, "size");
	if (f->op == FOLD_OP_MAX || inputs->kind != CONF_LIST)
		return;
	if (where && where->kind != CONF_SCALAR)
		where = NULL;
	fine = inputs_read(b, inputs, where, f);
	if (size && !ops[f->op].sized)
		conf_error_key(b->t, size, "\"size\" is for set and list");
	f->size = ops[f->op].sized ? (unsigned)conf_integer(n, "size", FOLD_SIZE_DEFAULT) : 0;
	if (!fine || n->bad)
		return;
	f->type = ops[f->op].gives == VALUE_NULL ? f->in : ops[f->op].gives;
	f->definition = definition_print(inputs, where, f);
	f->id = fold_id(f);
}

void
conf_folds(struct conf_build *b, struct conf_node *folds)
{
	struct model *m = b->m;

	if (folds->members > FOLDS_MAX) {
		conf_error_key(b->t, folds, "a pipeline has at most %d folds, this one %u",
			       FOLDS_MAX, folds->members);
		return;
	}
	m->folds = mem_zero(folds->members, sizeof *m->folds);
	for (struct conf_node *n = folds->first; n; n = n->next) {
		fold_read(b, n, &m->folds[m->folds_n]);
		m->folds_n++;
	}
}
