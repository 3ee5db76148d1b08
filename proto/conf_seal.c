/*
 * conf_seal: what a pipeline file says of sealing: classes and tokens of fields, fields that are
 * not declared, persons, raw events; and the fields and tables that follow from it.
 */
#include "conf_tree.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"

static const char class_dead[] = "dead_letter";
static const char token_suffix[] = "_token";
static const char field_unknown[] = "$unknown";

/* Padding, as exponents of 2, where a field says nothing of it (SEALING "Bytes"). */
enum { PAD_SHORT = 4, PAD_TEXT = 8 };

enum value_type
conf_field_type(const struct field *f)
{
	return f->class >= 0 ? VALUE_SEALED : f->type;
}

const char *
conf_derive_hint(struct conf_tree *t, const struct field *f)
{
	const char *name = f->name.s;

	switch (f->type) {
	case VALUE_INTEGER:
	case VALUE_DECIMAL:
	case VALUE_FLOAT:
		return conf_printf(t, "bucket(%s, 10, 100)", name);
	case VALUE_DATE:
		return conf_printf(t, "%s >= date '2000-01-01'", name);
	case VALUE_TIMESTAMP:
		return conf_printf(t, "month(%s)", name);
	case VALUE_TEXT:
		return conf_printf(t, "case when %s like 'A%%' then 1 else 2 end", name);
	default:
		return conf_printf(t, "%s is not null", name);
	}
}

bool
conf_clear(struct conf_build *b, struct conf_node *n, const struct field *f, const char *what)
{
	if (f->token_of >= 0)
		conf_error(b->t, n,
			   "%s cannot be a token: it is needed before tokens are made. Let the "
			   "application send an identifier that is not sensitive",
			   what);
	else if (f->class >= 0)
		conf_error(b->t, n,
			   "%s cannot be a sensitive field: \"%s\" is sealed. Let the application "
			   "send one that is not sensitive",
			   what, f->name.s);
	return f->class < 0 && f->token_of < 0;
}

void
conf_derive_check(struct conf_build *b, struct conf_node *n, const struct expr *x)
{
	uint32_t most = expr_bound(x);
	char many[32] = "any number of";

	if (most <= DERIVE_RESULTS_MAX + 1)
		return;
	if (most < EXPR_UNBOUNDED)
		snprintf(many, sizeof many, "up to %u", most);
	conf_error(
	    b->t, n,
	    "a derived field is in clear, and this one could have %s results; over sensitive "
	    "fields it must have at most %d: bucket(), a comparison, a `case` of constants",
	    many, DERIVE_RESULTS_MAX);
}

/* ---- classes and domains ---- */

/* One place is kept for dead_letter. */
static int
class_of(struct conf_build *b, struct conf_node *n)
{
	struct model *m = b->m;

	if (strcmp(n->text, class_dead) == 0) {
		conf_error(b->t, n,
			   "\"%s\" is the class of whole events that could not be processed: name "
			   "another one",
			   class_dead);
		return -1;
	}
	for (unsigned i = 0; i < m->classes_n; i++) {
		if (strcmp(m->classes[i].s, n->text) == 0)
			return (int)i;
	}
	if (m->classes_n == CLASSES_MAX - 1) {
		conf_error(b->t, n, "a pipeline has at most %d recipient classes", CLASSES_MAX - 1);
		return -1;
	}
	name_set(&m->classes[m->classes_n], n->text);
	return (int)m->classes_n++;
}

static int
domain_of(struct conf_build *b, struct conf_node *n)
{
	struct model *m = b->m;

	for (unsigned i = 0; i < m->domains_n; i++) {
		if (strcmp(m->domains[i].name.s, n->text) == 0)
			return (int)i;
	}
	if (m->domains_n == DOMAINS_MAX) {
		conf_error(b->t, n, "a pipeline has at most %d token domains", DOMAINS_MAX);
		return -1;
	}
	name_set(&m->domains[m->domains_n].name, n->text);
	return (int)m->domains_n++;
}

/* The first field of the file that asks for sealing or a token, for a message. */
static struct conf_node *
sealing_first(struct conf_node *root)
{
	for (struct conf_node *n = root; n; n = conf_node_next(root, n)) {
		if (n->key && n->option &&
		    (strcmp(n->option->path, "sources.*.fields.*.sensitive") == 0 ||
		     strcmp(n->option->path, "sources.*.fields.*.token") == 0 ||
		     strcmp(n->option->path, "sources.*.unknown_fields.seal") == 0))
			return n;
	}
	return NULL;
}

void
conf_classes(struct conf_build *b)
{
	struct model *m = b->m;
	struct conf_node *first = sealing_first(b->t->root);

	if (!first)
		return;
	name_set(&m->classes[m->classes_n++], class_dead);
	if (!conf_get(b->t->root, "keys") &&
	    option_seen(option_child(b->t->root->option, "keys"), b->t->role))
		conf_error_key(b->t, first,
			       "sealing needs `keys: DIRECTORY` at the top of the file: where the "
			       "policy and the keys are (`weir keys init` makes them)");
}

/* ---- fields ---- */

static void
class_read(struct conf_build *b, struct field *f, struct conf_node *n)
{
	struct conf_node *class = conf_scalar_of(n, "sensitive");
	struct conf_node *pad = conf_scalar_of(n, "pad");
	int step = conf_word(n, "pad", -1);

	if (class)
		f->class = class_of(b, class);
	if (pad && !conf_get(n, "sensitive"))
		conf_error_key(b->t, pad,
			       "\"pad\" is for sensitive fields: only what is sealed is padded");
	if (f->class < 0)
		return;
	bool longer = (f->type == VALUE_TEXT || f->type == VALUE_JSON) && !conf_get(n, "token");
	f->padexp = longer ? PAD_TEXT : PAD_SHORT;
	/* The values are 0, 16, 32 and so on. */
	if (step >= 0)
		f->padexp = (uint8_t)(step ? step + PAD_SHORT - 1 : 0);
}

static void
token_read(struct conf_build *b, struct field *f, struct conf_node *n)
{
	struct conf_node *token = conf_scalar_of(n, "token");
	struct conf_node *canonical = conf_scalar_of(n, "canonical");

	if (canonical && !conf_get(n, "token"))
		conf_error_key(b->t, canonical,
			       "\"canonical\" is the form in which a value is tokenised: it needs "
			       "`token`");
	else if (canonical && f->type != VALUE_TEXT && f->type != VALUE_NULL)
		conf_error_key(
		    b->t, canonical,
		    "\"canonical\" is for text; this field is %s, whose plain digits are "
		    "tokenised",
		    value_type_name(f->type));
	if (!token)
		return;
	if (f->type != VALUE_TEXT && f->type != VALUE_INTEGER && f->type != VALUE_NULL) {
		conf_error_key(b->t, token,
			       "a token is made of text or integer identifiers; this field is %s. "
			       "Amounts and dates can be guessed: `derive` a band of them instead",
			       value_type_name(f->type));
		return;
	}
	f->canonical = (enum canonical)conf_word(n, "canonical", CANONICAL_AS_IS);
	f->domain = domain_of(b, token);
}

void
conf_seal_field(struct conf_build *b, struct source *s, struct conf_node *n)
{
	unsigned of = s->fields_n - 1;
	struct field *f = &s->fields[of];
	char name[2 * NAME_BYTES_MAX];

	if (!conf_map_of(n))
		return;
	class_read(b, f, n);
	token_read(b, f, n);
	if (!conf_get(n, "token"))
		return;
	snprintf(name, sizeof name, "%s%s", f->name.s, token_suffix);
	if (strlen(name) > NAME_BYTES_MAX)
		conf_error_key(b->t, n, "with %s this name is longer than %d bytes", token_suffix,
			       NAME_BYTES_MAX);
	else if (conf_get(n->parent, name))
		conf_error_key(
		    b->t, conf_get(n->parent, name),
		    "\"%s\" is the name of the token of \"%s\": this field needs another "
		    "name",
		    name, f->name.s);
	struct field *token = conf_field_new(s, name);
	token->type = VALUE_TEXT;
	token->token_of = (int)of;
}

unsigned
conf_fields_made(struct conf_node *source)
{
	struct conf_node *fields = conf_map_of(conf_get(source, "fields"));
	unsigned n = conf_map_of(conf_get(source, "unknown_fields")) != NULL;

	for (struct conf_node *f = fields ? fields->first : NULL; f; f = f->next)
		n += conf_map_of(f) && conf_get(f, "token");
	return n;
}

void
conf_unknown_fields(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct conf_node *what = conf_good(n, "unknown_fields");
	struct conf_node *seal;

	s->unknown = UNKNOWN_DROP;
	if (!what)
		return;
	if (what->kind == CONF_SCALAR) {
		s->unknown = strcmp(what->text, "reject") == 0 ? UNKNOWN_REJECT : UNKNOWN_DROP;
		if (s->unknown == UNKNOWN_DROP && strcmp(what->text, "drop") != 0)
			conf_error(b->t, what,
				   "\"unknown_fields\" must be drop, reject or { seal: CLASS }");
		return;
	}
	seal = conf_scalar_of(what, "seal");
	if (!conf_get(what, "seal"))
		conf_error_key(b->t, what,
			       "\"unknown_fields\" must be drop, reject or { seal: CLASS }");
	struct field *f = conf_field_new(s, field_unknown);
	s->unknown = UNKNOWN_SEAL;
	s->unknown_field = (int)s->fields_n - 1;
	f->type = VALUE_JSON;
	f->padexp = PAD_TEXT;
	if (seal)
		f->class = class_of(b, seal);
	if (seal && !conf_get(b->t->root, "raw"))
		conf_error(
		    b->t, seal,
		    "sealed fields that are not declared stand among the raw events alone: add "
		    "`raw: warehouse` at the top of the file");
}

/* Is one of two places in an event the other, or inside of it? */
static bool
paths_overlap(const char *a, const char *b)
{
	size_t n = strlen(a), k = strlen(b), least = n < k ? n : k;

	return strncmp(a, b, least) == 0 && (n == k || (n < k ? b[least] == '.' : a[least] == '.'));
}

/* What stands in the event as it is; tokens, derived fields and the rest have no place there. */
static bool
field_declared(const struct source *s, unsigned i)
{
	return !s->fields[i].derive && s->fields[i].token_of < 0 && (int)i != s->unknown_field;
}

/* What is sealed under one name must not go on in clear under another. */
void
conf_paths_check(struct conf_build *b, struct source *s, struct conf_node *n)
{
	struct conf_node *fields = conf_get(n, "fields");

	for (unsigned i = 0; i < s->fields_n; i++) {
		const struct field *f = &s->fields[i];
		for (unsigned k = 0; f->class < 0 && field_declared(s, i) && k < s->fields_n; k++) {
			const struct field *sealed = &s->fields[k];
			struct conf_node *at = conf_get(fields, f->name.s);
			if (sealed->class < 0 || !field_declared(s, k) || !at ||
			    !paths_overlap(f->path, sealed->path))
				continue;
			conf_error_key(b->t, at,
				       "\"%s\" has in clear what is sensitive as \"%s\" (%s): make "
				       "it sensitive too, or leave it out",
				       f->name.s, sealed->name.s, sealed->path);
			break;
		}
	}
}

void
conf_subject(struct conf_build *b, struct source *s, struct conf_node *n)
{
	int i = conf_field(b, (int)(s - b->m->sources), n, n->text, 0);

	if (i < 0)
		return;
	if (s->fields[i].domain >= 0) {
		s->subject_field = i;
		return;
	}
	if (s->fields[i].token_of >= 0)
		conf_error(b->t, n, "the subject is the field itself, not its token: write %s",
			   s->fields[s->fields[i].token_of].name.s);
	else if (!conf_get(conf_get(conf_get(n->parent, "fields"), n->text), "token"))
		conf_error(
		    b->t, n,
		    "the subject must have a token, by which the person is known: add `token: "
		    "DOMAIN` to field \"%s\"",
		    s->fields[i].name.s);
}

/* ---- tables ---- */

static bool
fold_sealed(const struct fold *f)
{
	return f->type == VALUE_SEALED;
}

static unsigned
folds_sealed(const struct model *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->folds_n; i++)
		n += fold_sealed(&m->folds[i]);
	return n;
}

unsigned
conf_tables_made(const struct model *m)
{
	return (m->raw_warehouse ? m->sources_n : 0) + (folds_sealed(m) > 0);
}

/* A name that Weir gives; false: a declared one is in its way. */
static struct table *
table_new(struct conf_build *b, const char *name, enum table_kind kind, int grain)
{
	struct conf_node *taken = conf_get(conf_get(b->t->root, "tables"), name);
	struct table *t = &b->m->tables[b->m->tables_n++];

	*t = (struct table){.kind = kind, .grain = grain, .key_type = VALUE_NULL};
	name_set(&t->name, name);
	if (taken)
		conf_error_key(b->t, taken,
			       "Weir makes a table \"%s\" in development_schema: this one needs "
			       "another name",
			       name);
	return t;
}

/* comment: of the column in the database, or NULL. */
static void
column_add(struct table *t, const char *name, enum value_type type, unsigned slot,
	   const char *comment)
{
	struct column *c = &t->columns[t->columns_n++];

	name_set(&c->name, name);
	c->type = type;
	c->slot = (int)slot;
	c->source = mem_string(name);
	c->comment = comment ? mem_string(comment) : NULL;
}

static const char *
field_comment(struct conf_build *b, const struct source *s, const struct field *f)
{
	const struct model *m = b->m;

	if (f->class >= 0)
		return conf_printf(b->t, "Sealed to class %s", m->classes[f->class].s);
	if (f->token_of < 0 || s->fields[f->token_of].domain < 0)
		return NULL;
	return conf_printf(b->t, "Token of %s in domain %s", s->fields[f->token_of].name.s,
			   m->domains[s->fields[f->token_of].domain].name.s);
}

/* Names of columns that Weir makes in the raw tables. */
static bool
raw_made(const char *name)
{
	static const char *const made[] = {"rid", "event_at", "sid", "loaded_at", "batch"};

	for (unsigned i = 0; i < sizeof made / sizeof made[0]; i++) {
		if (strcmp(made[i], name) == 0)
			return true;
	}
	return false;
}

/* The node of a field's declaration, to point at. */
static struct conf_node *
field_node(struct conf_build *b, const struct source *s, const char *name)
{
	struct conf_node *n = conf_get(conf_get(b->t->root, "sources"), s->name.s);
	struct conf_node *f = conf_get(conf_get(n, "fields"), name);

	return f ? f : conf_get(conf_get(n, "derive"), name);
}

static void
raw_make(struct conf_build *b, unsigned source)
{
	struct source *s = &b->m->sources[source];
	/* None: a name that was too long by itself, and has been told. */
	struct conf_node *at = conf_get(conf_get(b->t->root, "sources"), s->name.s);
	char name[2 * NAME_BYTES_MAX];

	snprintf(name, sizeof name, "raw_%s", s->name.s);
	if (at && strlen(name) > NAME_BYTES_MAX)
		conf_error_key(b->t, at, "with raw_ this name is longer than %d bytes",
			       NAME_BYTES_MAX);
	struct table *t = table_new(b, name, TABLE_RAW, (int)source);
	t->columns = mem_zero(s->fields_n, sizeof *t->columns);
	for (unsigned i = 0; i < s->fields_n; i++) {
		struct field *f = &s->fields[i];
		struct conf_node *n = field_node(b, s, f->name.s);
		f->used = true;
		column_add(t, f->name.s, conf_field_type(f), i, field_comment(b, s, f));
		if (n && raw_made(f->name.s))
			conf_error_key(
			    b->t, n,
			    "Weir makes a column \"%s\" of raw events itself: this field "
			    "needs another name; `path` says what it is called in the event",
			    f->name.s);
	}
}

static void
process_make(struct conf_build *b)
{
	struct model *m = b->m;
	struct conf_node *folds = conf_get(conf_get(b->t->root, "correlate"), "folds");
	struct table *t = table_new(b, "process", TABLE_SEALED_PROCESS, GRAIN_PROCESS);

	t->key = m->key_name;
	t->key_type = m->key_type;
	t->columns = mem_zero(m->folds_n, sizeof *t->columns);
	for (unsigned i = 0; i < m->folds_n; i++) {
		const char *name = m->folds[i].name.s;
		if (!fold_sealed(&m->folds[i]))
			continue;
		column_add(t, name, VALUE_SEALED, PROCESS_FIXED + i,
			   conf_printf(b->t, "Sealed: %s", m->folds[i].definition));
		if (strcmp(name, "revision") == 0 || strcmp(name, "loaded_at") == 0 ||
		    strcmp(name, "batch") == 0)
			conf_error_key(
			    b->t, conf_get(folds, name),
			    "Weir makes a column \"%s\" beside sealed folds itself: this "
			    "fold needs another name",
			    name);
	}
}

void
conf_tables_make(struct conf_build *b)
{
	struct model *m = b->m;
	bool sealed = folds_sealed(m) > 0;

	for (unsigned i = 0; m->raw_warehouse && i < m->sources_n; i++)
		raw_make(b, i);
	if (sealed)
		process_make(b);
}
