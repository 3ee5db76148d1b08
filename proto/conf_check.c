/*
 * conf_check: the tree is held against the option table. Variables are resolved, short forms become
 * long ones, defaults are filled in, paths made absolute; what is wrong is reported and marked bad.
 * It goes through the whole tree, so all errors of a file come at once.
 */
#include "conf_tree.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VARIABLE_BYTES_MAX = 4096, KEY_TEXT_MAX = 64 };

/* ---- variables ---- */

static bool
variable_begins(const char *s)
{
	return s[0] == '$' && s[1] == '{';
}

/* NAME of "${NAME}" when that is the whole text. */
static const char *
variable_name(struct conf_tree *t, const struct conf_node *n)
{
	if (n->len < 4 || !variable_begins(n->text) || n->text[n->len - 1] != '}')
		return NULL;
	for (uint32_t i = 2; i < n->len - 1; i++) {
		if (!isalnum((unsigned char)n->text[i]) && n->text[i] != '_')
			return NULL;
	}
	return isdigit((unsigned char)n->text[2]) ? NULL : conf_string(t, n->text + 2, n->len - 3);
}

/*
 * The value is taken over as it is; it must be such that a printed configuration reads back to
 * itself.
 */
static void
variable_resolve(struct conf_tree *t, struct conf_node *n)
{
	const char *name = variable_name(t, n);

	if (!name && strstr(n->text, "${")) {
		conf_error(t, n, "a variable stands for a whole value: write \"${NAME}\" alone");
		return;
	}
	if (!name)
		return;
	const char *value = getenv(name);
	/* Not everybody who reads the file has its secrets, or needs them: looked for when used. */
	if (!value && n->option->type == OPTION_SECRET)
		value = conf_printf(t, "env:%s", name);
	if (!value)
		conf_error(t, n, "the environment variable %s is not set", name);
	else if (strlen(value) > VARIABLE_BYTES_MAX)
		conf_error(t, n, "the environment variable %s is longer than %d bytes", name,
			   VARIABLE_BYTES_MAX);
	else if (strpbrk(value, "\n\r"))
		conf_error(t, n, "the environment variable %s has a line break in its value", name);
	else if (strstr(value, "${"))
		conf_error(t, n,
			   "the environment variable %s has ${ in its value: variables do not nest",
			   name);
	else
		conf_node_text(t, n, value, strlen(value));
}

/* ---- shapes ---- */

/* "a, b, c": the keys that may stand in a map, for a message. */
static const char *
keys_list(struct conf_tree *t, const struct option *o)
{
	struct buf b = {0};

	for (const struct option *c = option_next(o, NULL); c; c = option_next(o, c)) {
		if (c->type == OPTION_REFUSED || c->flags & OPTION_HIDDEN)
			continue;
		buf_printf(&b, "%s%s", b.len ? ", " : "", option_key(c));
	}
	char *out = conf_string(t, (const char *)b.data, b.len);
	buf_free(&b);
	return out;
}

static void
key_refused(struct conf_tree *t, struct conf_node *n, const struct option *o)
{
	n->bad = true;
	conf_error_at(t, n->key_at, (uint32_t)strlen(n->key), NULL, "\"%s\" is not supported: %s",
		      n->key, o->words);
}

static void
key_unknown(struct conf_tree *t, struct conf_node *n)
{
	const struct option *o = n->parent->option;
	struct nearest near = {.word = n->key};
	uint32_t len = (uint32_t)strlen(n->key);
	const char *word = conf_quote(t, n->key, len);

	/* Wherever it stands, it asks for what must not be forgotten silently. */
	if (strcmp(n->key, "sensitive") == 0 || strcmp(n->key, "token") == 0) {
		n->bad = true;
		conf_error_at(t, n->key_at, len, NULL,
			      "\"%s\" belongs to a field of a source: sources.SOURCE.fields.FIELD",
			      n->key);
		return;
	}
	for (const struct option *c = option_next(o, NULL); c; c = option_next(o, c)) {
		if (c->type != OPTION_REFUSED && !(c->flags & OPTION_HIDDEN))
			nearest_try(&near, option_key(c));
	}
	n->bad = true;
	if (near.best)
		conf_error_at(t, n->key_at, len, near.best, "unknown key %s", word);
	else
		conf_error_at(t, n->key_at, len, NULL, "unknown key %s; legal here: %s", word,
			      keys_list(t, o));
}

/* A name of the user's choice. */
static bool
key_check(struct conf_tree *t, struct conf_node *n, const struct option *parent)
{
	static const struct option name = {.path = "name", .type = OPTION_NAME};
	union option_value v;
	char why[256];
	size_t len = strlen(n->key);

	if (parent->flags & OPTION_KEYS) {
		if (len > 0 && len <= KEY_TEXT_MAX && !strpbrk(n->key, "\n\r\t "))
			return true;
		conf_error_key(t, n, "a name here has 1 to %d bytes and no blanks", KEY_TEXT_MAX);
		return false;
	}
	if (option_read(&name, n->key, len, &v, why))
		return true;
	conf_error_key(t, n, "%s %s%s", conf_quote(t, n->key, len), why,
		       strcmp(option_key(parent), "fields") == 0
			   ? "; `path` says what it is called in the event"
			   : "");
	return false;
}

static struct conf_node *
child_fill(struct conf_tree *t, struct conf_node *n, const struct option *o, enum conf_kind kind)
{
	struct conf_node *c = conf_node_new(t, kind);

	c->key = conf_string(t, option_key(o), strlen(option_key(o)));
	c->at = n->at;
	c->end = n->at;
	c->key_at = n->key ? n->key_at : n->at;
	c->filled = true;
	c->option = o;
	conf_node_add(n, c);
	return c;
}

static void
default_fill(struct conf_tree *t, struct conf_node *n, const struct option *o)
{
	char cores[16];
	const char *fill = o->fill;

	if (o->type == OPTION_MAP) {
		child_fill(t, n, o, CONF_MAP);
		return;
	}
	if (strcmp(fill, "cores") == 0) {
		snprintf(cores, sizeof cores, "%u", option_cores());
		fill = cores;
	}
	conf_node_text(t, child_fill(t, n, o, CONF_SCALAR), fill, strlen(fill));
}

/*
 * What must stand in a map, and what stands there unless written. All that is missing is one error.
 */
static void
members_complete(struct conf_tree *t, struct conf_node *n)
{
	const struct option *o = n->option;
	struct buf missing = {0};

	for (const struct option *c = option_next(o, NULL); c; c = option_next(o, c)) {
		const char *key = option_key(c);
		if (strcmp(key, "*") == 0 || !option_seen(c, t->role) || conf_get(n, key))
			continue;
		if (c->fill)
			default_fill(t, n, c);
		else if (c->flags & OPTION_REQUIRED)
			buf_printf(&missing, "%s\"%s\"", missing.len ? ", " : "", key);
	}
	if (missing.len && n->key)
		conf_error_at(t, n->key_at, (uint32_t)strlen(n->key), NULL, "\"%s\" lacks %s",
			      n->key, buf_cstr(&missing));
	else if (missing.len)
		conf_error_at(t, n->at, 1, NULL, "the file lacks %s", buf_cstr(&missing));
	buf_free(&missing);
}

/* Exactly one of the siblings marked so. */
static void
one_check(struct conf_tree *t, struct conf_node *n)
{
	struct conf_node *first = NULL;
	struct buf b = {0};

	for (const struct option *c = option_next(n->option, NULL); c;
	     c = option_next(n->option, c)) {
		if (c->flags & OPTION_ONE)
			buf_printf(&b, "%s%s", b.len ? ", " : "", option_key(c));
	}
	for (struct conf_node *c = n->first; c; c = c->next) {
		if (!c->option || !(c->option->flags & OPTION_ONE))
			continue;
		if (first)
			conf_error_at(t, c->key_at, (uint32_t)strlen(c->key), NULL,
				      "\"%s\" and \"%s\" exclude each other: write one of %s",
				      first->key, c->key, buf_cstr(&b));
		else
			first = c;
	}
	if (b.len && !first)
		conf_error_at(t, n->key_at, (uint32_t)strlen(n->key), NULL,
			      "one of %s is missing here", buf_cstr(&b));
	buf_free(&b);
}

static void
map_check(struct conf_tree *t, struct conf_node *n)
{
	for (struct conf_node *c = n->first; c; c = c->next) {
		c->option = option_child(n->option, c->key);
		if (!c->option) {
			key_unknown(t, c);
		} else if (c->option->type == OPTION_REFUSED) {
			key_refused(t, c, c->option);
			c->option = NULL;
		} else if (n->option->type == OPTION_NAMED && !key_check(t, c, n->option)) {
			c->option = NULL;
		}
	}
	if (n->option->type == OPTION_MAP) {
		members_complete(t, n);
		one_check(t, n);
	}
}

/* `name: text` becomes `name: { key: text }`, `op: text` becomes `op: [text]`. */
static void
short_form(struct conf_tree *t, struct conf_node *n, enum conf_kind kind, const char *key)
{
	struct conf_node *c = conf_node_new(t, CONF_SCALAR);

	c->text = n->text;
	c->len = n->len;
	c->at = n->at;
	c->end = n->end;
	c->style = n->style;
	c->replaced = n->replaced;
	c->bad = n->bad;
	if (kind == CONF_MAP) {
		c->key = conf_string(t, key, strlen(key));
		c->key_at = n->key_at;
	}
	n->kind = kind;
	n->text = NULL;
	n->len = 0;
	conf_node_add(n, c);
}

static bool
shape_check(struct conf_tree *t, struct conf_node *n)
{
	const struct option *o = n->option;
	bool map = o->type == OPTION_MAP || o->type == OPTION_NAMED;

	if (n->kind == CONF_SCALAR && n->len == 0 && n->style == CONF_PLAIN && !n->filled) {
		conf_error_key(t, n, "%s has no value",
			       n->key ? conf_quote(t, n->key, strlen(n->key)) : "this item");
		return false;
	}
	if (n->kind == CONF_SCALAR && o->type == OPTION_MAP && *o->values)
		short_form(t, n, CONF_MAP, o->values);
	else if (n->kind == CONF_SCALAR && o->type == OPTION_LIST)
		short_form(t, n, CONF_LIST, NULL);
	enum conf_kind want = map ? CONF_MAP : o->type == OPTION_LIST ? CONF_LIST : CONF_SCALAR;
	if (n->kind == want || (n->kind == CONF_SCALAR && o->flags & OPTION_PLAIN))
		return true;
	const char *what = n->key ? conf_quote(t, n->key, strlen(n->key)) : "this item";
	if (o->type == OPTION_MAP)
		conf_error(t, n, "%s must be a map; legal keys: %s", what, keys_list(t, o));
	else
		conf_error(t, n, "%s must be %s%s", what,
			   o->flags & OPTION_PLAIN ? "a text or " : "", option_type_words(o->type));
	return false;
}

/* ---- values ---- */

/* A word that is not one of the legal ones: what it means elsewhere, or the nearest of them. */
static const char *
value_near(struct conf_tree *t, const struct conf_node *n)
{
	static const char *const elsewhere[][2] = {
	    {"string", "text"},	    {"varchar", "text"}, {"int", "integer"},
	    {"bigint", "integer"},  {"bool", "boolean"}, {"number", "decimal"},
	    {"numeric", "decimal"}, {"double", "float"}, {"datetime", "timestamp"},
	    {"object", "json"},	    {"array", "json"}};
	struct nearest near = {.word = n->text};

	if (n->option->type != OPTION_ENUM)
		return NULL;
	for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++) {
		if (strcmp(n->text, elsewhere[i][0]) == 0 &&
		    strstr(n->option->values, elsewhere[i][1]))
			return elsewhere[i][1];
	}
	for (const char *v = n->option->values; *v;) {
		size_t len = strcspn(v, "|");
		nearest_try(&near, conf_string(t, v, len));
		v += len + (v[len] == '|');
	}
	return near.best;
}

static void
value_check(struct conf_tree *t, struct conf_node *n)
{
	union option_value v;
	char why[256];
	const char *not = "", *shown = "";

	if (n->option->type == OPTION_NAMED || option_read(n->option, n->text, n->len, &v, why))
		return;
	/* What came from the environment, or may be a secret, is not repeated. */
	if (!n->replaced && n->option->type != OPTION_SECRET && strncmp(why, "must be", 7) == 0) {
		not = ", not ";
		shown = conf_quote(t, n->text, n->len);
	}
	if (n->key)
		conf_error_near(t, n, value_near(t, n), "\"%s\" %s%s%s", n->key, why, not, shown);
	else
		conf_error(t, n, "this item %s%s%s", why, not, shown);
}

static void
node_check(struct conf_tree *t, struct conf_node *n)
{
	if (n->kind == CONF_SCALAR && !n->filled && t->role == ROLE_MAX)
		variable_resolve(t, n);
	if (n->bad || !shape_check(t, n))
		return;
	if (n->kind == CONF_MAP) {
		map_check(t, n);
	} else if (n->kind == CONF_LIST) {
		for (struct conf_node *c = n->first; c; c = c->next)
			c->option = &option_item;
	} else {
		value_check(t, n);
	}
}

/* ---- paths ---- */

static void
path_join(struct conf_tree *t, struct conf_node *n, const char *dir, size_t skip)
{
	const char *path = n->text + skip;

	if (n->bad || *path == '/' || !*path)
		return;
	size_t len = strlen(dir);
	const char *slash = len && dir[len - 1] == '/' ? "" : "/";
	while (path[0] == '.' && path[1] == '/')
		path += 2;
	char *whole = conf_printf(t, "%.*s%s%s%s", (int)skip, n->text, dir, slash, path);
	conf_node_text(t, n, whole, strlen(whole));
}

/* A source's path begins at its directory; with it joined, the directory is no more needed. */
static void
file_path(struct conf_tree *t, struct conf_node *n)
{
	struct conf_node *dir = conf_get(n, "directory");
	struct conf_node *path = conf_good(n, "path");

	if (dir && !dir->bad) {
		path_join(t, dir, t->dir, 0);
		if (path)
			path_join(t, path, dir->text, 0);
		conf_node_remove(n, dir);
	} else if (path && !dir) {
		path_join(t, path, t->dir, 0);
	}
}

/* What is handed to a worker as a descriptor each. */
static void
secrets_count(struct conf_tree *t)
{
	unsigned n = 0;

	for (struct conf_node *s = t->root; s; s = conf_node_next(t->root, s)) {
		if (!s->option || s->option->type != OPTION_SECRET || s->kind != CONF_SCALAR ||
		    !s->option->see)
			continue;
		n += option_is_reference(s->text);
		if (n <= CONF_SECRETS_MAX || !option_is_reference(s->text))
			continue;
		conf_error(t, s, "more than %d secrets by reference: too many for one worker",
			   CONF_SECRETS_MAX);
		return;
	}
}

static void
paths_check(struct conf_tree *t)
{
	struct conf_node *sources = conf_good(t->root, "sources");

	for (struct conf_node *n = t->root; n; n = conf_node_next(t->root, n)) {
		if (n->kind != CONF_SCALAR || !n->option || n->bad)
			continue;
		if (n->option->type == OPTION_PATH)
			path_join(t, n, t->dir, 0);
		else if ((n->option->type == OPTION_SECRET || n->option->type == OPTION_FILE) &&
			 strncmp(n->text, "file:", 5) == 0)
			path_join(t, n, t->dir, 5);
	}
	for (struct conf_node *s = sources ? sources->first : NULL; s; s = s->next)
		file_path(t, conf_good(s, "file"));
}

void
conf_check(struct conf_tree *t)
{
	struct conf_node *next;

	t->root->option = &options[0];
	for (struct conf_node *n = t->root; n; n = next) {
		if (n->option)
			node_check(t, n);
		next = conf_node_next(t->root, n);
	}
	paths_check(t);
	secrets_count(t);
}
