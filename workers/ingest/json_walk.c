#include "json_table.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "json_text.h"
#include "mem.h"

/* An undeclared key of this event, remembered to find it a second time. */
struct other_key {
	uint64_t serial;
	uint64_t hash;
	const char *key;
	uint32_t len, parent;
};

enum { OTHER_SLOTS = JSON_UNDECLARED_MAX * 2 };

/* An open object or array. */
struct level {
	uint32_t node; /* a declared path goes on in it; or 0 */
	uint32_t last; /* the declared key met last in it, for the guess */
	uint32_t at;   /* where it begins */
	int item;      /* it is the value of this path; or -1 */
	bool object, tracked;
};

struct json {
	struct json_scanner *scanner;
	struct other_key *others; /* OTHER_SLOTS */
	struct buf scratch;	  /* unescaped texts */
	uint64_t serial;	  /* of this parse; never 0 */
	struct level levels[JSON_DEPTH_MAX];
};

struct walk {
	struct json *j;
	struct json_table *t;
	const char *data;
	uint32_t n;
	const uint32_t *at;   /* positions of tokens; at[count] is n */
	uint32_t count, i;    /* i: the token to read next */
	bool escapes;	      /* a backslash stands somewhere */
	struct level *levels; /* JSON_DEPTH_MAX of them, j's */
	unsigned depth;
	uint32_t node; /* what the next value belongs to, or 0 */
	unsigned undeclared;
	int bad_path;
	struct err *e;
};

enum step { STEP_MEMBER, STEP_VALUE, STEP_AFTER, STEP_END, STEP_FAILED };

struct json *
json_new(void)
{
	struct json *j = mem_zero(1, sizeof *j);

	j->scanner = json_scanner_new();
	j->others = mem_zero(OTHER_SLOTS, sizeof *j->others);
	return j;
}

void
json_free(struct json *j)
{
	if (!j)
		return;
	json_scanner_free(j->scanner);
	free(j->others);
	buf_free(&j->scratch);
	free(j);
}

const char *
json_kind_words(enum json_kind k)
{
	static const char *const words[] = {
	    [JSON_ABSENT] = "nothing",	 [JSON_NULL] = "null",	     [JSON_FALSE] = "a boolean",
	    [JSON_TRUE] = "a boolean",	 [JSON_NUMBER] = "a number", [JSON_STRING] = "a text",
	    [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array"};

	return words[k];
}

static enum step
wrong(struct walk *w, uint32_t at, const char *what)
{
	/* Inside a value of a declared path it is that path's fault. */
	for (unsigned i = w->depth; w->bad_path < 0 && i; i--)
		w->bad_path = w->levels[i - 1].item;
	if (w->i >= w->count)
		what = "the event ends in the middle";
	err_set(w->e, EXIT_DATA, "no valid JSON at byte %u: %s", at, what);
	return STEP_FAILED;
}

/* What is wrong with the value of the path at hand. */
static enum step
wrong_value(struct walk *w, uint32_t at, const char *what)
{
	w->bad_path = w->t->nodes[w->node].item;
	return wrong(w, at, what);
}

static char
token(const struct walk *w)
{
	return w->i < w->count ? w->data[w->at[w->i]] : '\0';
}

/* End of the scalar that begins at token i: behind it stands only white space. */
static uint32_t
scalar_end(const struct walk *w, uint32_t i)
{
	uint32_t end = w->at[i + 1];

	while (end > w->at[i] + 1) {
		char c = w->data[end - 1];
		if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
			break;
		end--;
	}
	return end;
}

/* The inside of the string at token i, unescaped. */
static const char *
string_read(struct walk *w, uint32_t i, const char **s, uint32_t *len)
{
	uint32_t from = w->at[i] + 1, end = scalar_end(w, i);

	if (end <= from || w->data[end - 1] != '"')
		return "a text without its closing quote";
	*s = w->data + from;
	*len = end - 1 - from;
	if (!w->escapes || !memchr(*s, '\\', *len))
		return NULL;
	/* The scratch has room for the whole event, so it does not move while texts point into it.
	 */
	char *out = (char *)w->j->scratch.data + w->j->scratch.len;
	size_t out_len;
	const char *what = json_unescape(*s, *len, out, &out_len);
	if (what)
		return what;
	w->j->scratch.len += out_len;
	*s = out;
	*len = (uint32_t)out_len;
	return NULL;
}

static bool
other_add(struct walk *w, uint32_t parent, const char *key, uint32_t n, uint64_t hash)
{
	struct json *j = w->j;

	for (uint64_t i = hash;; i++) {
		struct other_key *o = &j->others[i & (OTHER_SLOTS - 1)];

		if (o->serial != j->serial) {
			*o = (struct other_key){j->serial, hash, key, n, parent};
			return true;
		}
		if (o->hash == hash && o->parent == parent && o->len == n &&
		    !memcmp(o->key, key, n))
			return false;
	}
}

/* True when the guessed node's key is what stands in the quotes of token i. */
static bool
key_guessed(const struct walk *w, uint32_t node, uint32_t i)
{
	const struct json_node *g = &w->t->nodes[node];
	uint32_t from = w->at[i] + 1;

	return node && !w->escapes && w->at[i + 1] - from > g->key_len &&
	       w->data[from + g->key_len] == '"' && !memcmp(w->data + from, g->key, g->key_len);
}

/* A key of an object on a declared path: which node it is, 0 for an undeclared one. */
static enum step
key_read(struct walk *w, struct level *l)
{
	struct json_table *t = w->t;
	uint32_t *guess = l->last ? &t->nodes[l->last].follows : &t->nodes[l->node].first;
	uint32_t at = w->at[w->i], node = *guess;

	if (!key_guessed(w, node, w->i)) {
		const char *key, *what;
		uint32_t n;

		what = string_read(w, w->i, &key, &n);
		if (what)
			return wrong(w, at, what);
		uint64_t hash = json_key_hash(l->node, key, n);
		node = json_table_find(t, l->node, key, n, hash);
		if (!node) {
			w->node = 0;
			if (w->undeclared++ == JSON_UNDECLARED_MAX)
				return wrong(w, at, "too many undeclared keys");
			if (!other_add(w, l->node, key, n, hash))
				return wrong(w, at, "a key stands twice in one object");
			return STEP_VALUE;
		}
		*guess = node;
	}
	w->node = node;
	if (t->nodes[node].seen == w->j->serial)
		return wrong_value(w, at, "the key stands twice in one object");
	t->nodes[node].seen = w->j->serial;
	l->last = node;
	return STEP_VALUE;
}

static void
item_set(struct walk *w, int item, enum json_kind kind, uint32_t from, uint32_t end)
{
	struct json_item *it = &w->t->items[item];

	it->kind = kind;
	it->raw = it->at = w->data + from;
	it->raw_len = it->len = end - from;
}

static enum step
string_value(struct walk *w, int item)
{
	const char *s, *what;
	uint32_t len;

	if (item < 0 && !w->escapes)
		return STEP_AFTER;
	what = string_read(w, w->i, &s, &len);
	if (what)
		return wrong_value(w, w->at[w->i], what);
	if (item >= 0) {
		item_set(w, item, JSON_STRING, w->at[w->i], scalar_end(w, w->i));
		w->t->items[item].at = s;
		w->t->items[item].len = len;
	}
	return STEP_AFTER;
}

static enum step
member(struct walk *w)
{
	struct level *l = &w->levels[w->depth - 1];
	enum step next = STEP_VALUE;

	if (token(w) != '"')
		return wrong(w, w->at[w->i], "a key in quotes was expected");
	if (l->tracked)
		next = key_read(w, l);
	else {
		w->node = 0;
		if (w->escapes)
			next = string_value(w, -1);
	}
	if (next == STEP_FAILED)
		return next;
	w->i++;
	if (token(w) != ':')
		return wrong(w, w->at[w->i], "a colon was expected behind a key");
	w->i++;
	return STEP_VALUE;
}

static enum step
word_value(struct walk *w, int item, const char *word, uint32_t n, enum json_kind kind)
{
	uint32_t from = w->at[w->i], end = scalar_end(w, w->i);

	if (end - from != n || memcmp(w->data + from, word, n) != 0)
		return wrong_value(w, from, "neither true, false, null, a number nor a text");
	if (item >= 0)
		item_set(w, item, kind, from, end);
	return STEP_AFTER;
}

static enum step
number_value(struct walk *w, int item)
{
	uint32_t from = w->at[w->i], end = scalar_end(w, w->i);

	if (!json_number_good(w->data + from, end - from))
		return wrong_value(w, from, "neither true, false, null, a number nor a text");
	if (item >= 0)
		item_set(w, item, JSON_NUMBER, from, end);
	return STEP_AFTER;
}

static enum step
scalar(struct walk *w)
{
	const struct json_node *node = &w->t->nodes[w->node];
	char c = token(w);
	enum step next;

	if (node->has_children && w->node && c != 'n') {
		w->bad_path = node->item;
		return wrong(w, w->at[w->i],
			     "an object was expected, since a declared path goes on in it");
	}
	if (c == '"')
		next = string_value(w, node->item);
	else if (c == 't')
		next = word_value(w, node->item, "true", 4, JSON_TRUE);
	else if (c == 'f')
		next = word_value(w, node->item, "false", 5, JSON_FALSE);
	else if (c == 'n')
		next = word_value(w, node->item, "null", 4, JSON_NULL);
	else
		next = number_value(w, node->item);
	w->i++;
	return next;
}

/* '{' or '[' at token i. */
static enum step
open_level(struct walk *w, bool object)
{
	const struct json_node *node = &w->t->nodes[w->node];
	bool top = w->depth == 0;

	if (w->depth == JSON_DEPTH_MAX)
		return wrong_value(w, w->at[w->i], "nested too deep (at most 64 levels)");
	if (!object && w->node && node->has_children)
		return wrong_value(w, w->at[w->i],
				   "an object was expected, since a declared path goes on in it");
	w->levels[w->depth++] =
	    (struct level){.node = w->node,
			   .at = w->at[w->i],
			   .item = node->item,
			   .object = object,
			   .tracked = object && (top || (w->node && node->has_children))};
	w->i++;
	w->node = 0;
	if (token(w) == (object ? '}' : ']'))
		return STEP_AFTER;
	return object ? STEP_MEMBER : STEP_VALUE;
}

static enum step
close_level(struct walk *w)
{
	const struct level *l = &w->levels[--w->depth];

	if (l->item >= 0)
		item_set(w, l->item, l->object ? JSON_OBJECT : JSON_ARRAY, l->at, w->at[w->i] + 1);
	w->i++;
	return w->depth ? STEP_AFTER : STEP_END;
}

/* Behind a value or at an empty object's or array's end. */
static enum step
after(struct walk *w)
{
	const struct level *l = &w->levels[w->depth - 1];
	char c = token(w);

	if (c == (l->object ? '}' : ']'))
		return close_level(w);
	if (c == ',') {
		w->i++;
		w->node = 0;
		return l->object ? STEP_MEMBER : STEP_VALUE;
	}
	return wrong(w, w->at[w->i],
		     l->object ? "a comma or the end of the object was expected"
			       : "a comma or the end of the array was expected");
}

static enum step
value(struct walk *w)
{
	char c = token(w);

	if (c == '{')
		return open_level(w, true);
	if (c == '[')
		return open_level(w, false);
	return scalar(w);
}

static bool
walk(struct walk *w)
{
	enum step step = open_level(w, true);

	for (;;)
		switch (step) {
		case STEP_MEMBER:
			step = member(w);
			break;
		case STEP_VALUE:
			step = value(w);
			break;
		case STEP_AFTER:
			step = after(w);
			break;
		case STEP_END:
			if (w->i == w->count)
				return true;
			step = wrong(w, w->at[w->i], "something follows behind the object");
			break;
		case STEP_FAILED:
			return false;
		}
}

static bool
scan(struct walk *w)
{
	static const char *const whys[] = {
	    [JSON_SCAN_EMPTY] = "the event is empty",
	    [JSON_SCAN_UTF8] = "the event is not valid UTF-8",
	    [JSON_SCAN_CONTROL] = "no valid JSON: a control character stands unescaped in a text",
	    [JSON_SCAN_UNCLOSED] =
		"no valid JSON: a text is not closed; the event ends in the middle",
	    [JSON_SCAN_FAILED] = "no valid JSON",
	};
	enum json_scan r = json_scan(w->j->scanner, w->data, w->n, &w->at, &w->count);

	if (r != JSON_SCAN_GOOD)
		return err_set(w->e, EXIT_DATA, "%s", whys[r]);
	if (token(w) != '{')
		return err_set(w->e, EXIT_DATA, "the event is no JSON object");
	return true;
}

bool
json_parse(struct json *j, struct json_table *t, const char *data, size_t n, unsigned *undeclared,
	   int *bad_path, struct err *e)
{
	struct walk w;

	*bad_path = -1;
	*undeclared = 0;
	if (n >= 3 && !memcmp(data, "\xef\xbb\xbf", 3)) {
		data += 3;
		n -= 3;
	}
	if (n > INT32_MAX)
		return err_set(e, EXIT_DATA, "the event is too long");
	w = (struct walk){.j = j,
			  .t = t,
			  .data = data,
			  .n = (uint32_t)n,
			  .bad_path = -1,
			  .e = e,
			  .levels = j->levels};
	if (!scan(&w))
		return false;
	for (unsigned i = 0; i < t->paths_n; i++)
		t->items[i].kind = JSON_ABSENT;
	j->serial++;
	buf_clear(&j->scratch);
	w.escapes = memchr(data, '\\', n) != NULL;
	if (w.escapes)
		buf_reserve(&j->scratch, n);
	bool good = walk(&w);
	*undeclared = w.undeclared;
	*bad_path = w.bad_path;
	return good;
}
