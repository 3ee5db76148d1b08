#include "json_table.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "json_reader.h"
#include "log.h"
#include "mem.h"

/* An undeclared key of this event, remembered to find it a second time. */
struct other_key {
	uint64_t serial;
	uint64_t hash;
	const char *key;
	uint32_t len, parent;
};

enum { OTHER_SLOTS = JSON_UNDECLARED_MAX * 2 };

/* An open object or array. Small, since one is written for each. */
struct level {
	uint32_t node;	  /* a declared path goes on in it; or 0 */
	uint32_t last;	  /* the declared key met last in it, for the guess */
	uint32_t copied;  /* it is the value of an undeclared member to be collected: where it
			    begins, and 1; else 0 */
	int16_t item;	  /* it is the value of this path; or -1 */
	bool tracked : 1; /* its keys matter */
	bool shown : 1;	  /* it is begun where undeclared members are collected, */
	bool more : 1;	  /* and has a member there */
};

_Static_assert(JSON_PATHS_MAX <= INT16_MAX, "items fit");

struct json {
	struct json_reader *reader;
	struct other_key *others; /* OTHER_SLOTS */
	struct buf event;	  /* with its padding */
	uint64_t serial;	  /* of this parse; never 0 */
	struct buf *undeclared;	  /* gets undeclared members; NULL: they are counted only */
	struct level levels[JSON_DEPTH_MAX];
};

struct walk {
	struct json *j;
	struct json_table *t;
	const char *data;
	struct level *levels; /* j's */
	unsigned depth;
	uint32_t node; /* what the next value belongs to, or 0 */
	unsigned undeclared;
	bool collected; /* the value that comes is an undeclared member's */
	int bad_path;
	struct json_token token;
	struct err *e;
};

struct json *
json_new(void)
{
	struct json *j = mem_zero(1, sizeof *j);

	j->reader = json_reader_new();
	if (!j->reader)
		fatal(EXIT_BUG, "out of memory for a JSON reader");
	j->others = mem_zero(OTHER_SLOTS, sizeof *j->others);
	return j;
}

void
json_free(struct json *j)
{
	if (!j)
		return;
	json_reader_free(j->reader);
	free(j->others);
	buf_free(&j->event);
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

/* Inside a value of a declared path it is that path's fault. */
static bool
wrong(struct walk *w, size_t at, const char *what)
{
	w->bad_path = w->t->nodes[w->node].item;
	for (unsigned i = w->depth; w->bad_path < 0 && i; i--)
		w->bad_path = w->levels[i - 1].item;
	return err_set(w->e, EXIT_DATA, "no valid JSON at byte %zu: %s", at, what);
}

/* What is wrong with the token at hand. */
static bool
wrong_token(struct walk *w, const char *what)
{
	return wrong(w, (size_t)(w->token.raw - w->data), what);
}

static bool
other_add(struct json *j, uint32_t parent, const struct json_token *key, uint64_t hash)
{
	for (uint64_t i = hash;; i++) {
		struct other_key *o = &j->others[i & (OTHER_SLOTS - 1)];

		if (o->serial != j->serial) {
			*o = (struct other_key){j->serial, hash, key->text, key->len, parent};
			return true;
		}
		if (o->hash == hash && o->parent == parent && o->len == key->len &&
		    !memcmp(o->key, key->text, key->len))
			return false;
	}
}

/* Which node a key belongs to; 0 when it is undeclared. */
static bool
key_find(struct walk *w, const struct level *l, uint32_t *node)
{
	const struct json_token *key = &w->token;
	uint64_t hash = json_key_hash(l->node, key->text, key->len);

	*node = json_table_find(w->t, l->node, key->text, key->len, hash);
	if (*node)
		return true;
	if (w->undeclared++ == JSON_UNDECLARED_MAX)
		return wrong_token(w, "too many undeclared keys");
	if (!other_add(w->j, l->node, key, hash))
		return wrong_token(w, "a key stands twice in one object");
	return true;
}

/* A key in quotes and its colon, behind a comma where one is needed. */
static void
collect_key(struct buf *out, struct level *in, const char *text, size_t n)
{
	if (in->more)
		buf_byte(out, ',');
	in->more = true;
	buf_byte(out, '"');
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20) {
			buf_printf(out, "\\u%04x", c);
			continue;
		}
		if (c == '"' || c == '\\')
			buf_byte(out, '\\');
		buf_byte(out, c);
	}
	buf_text(out, "\":");
}

/* An undeclared key: its object and those around it are begun, as far as they are not. */
static void
collect(struct walk *w)
{
	struct buf *out = w->j->undeclared;

	for (unsigned i = 0; i < w->depth; i++) {
		struct level *l = &w->levels[i];
		const struct json_node *node = &w->t->nodes[l->node];

		if (l->shown)
			continue;
		if (i)
			collect_key(out, &w->levels[i - 1], node->key, node->key_len);
		buf_byte(out, '{');
		l->shown = true;
	}
	collect_key(out, &w->levels[w->depth - 1], w->token.text, w->token.len);
	w->collected = true;
}

/* The level that was closed last: what is to be copied of it, or the end of what was begun. */
static void
collect_close(struct walk *w)
{
	const struct level *l = &w->levels[w->depth];

	if (l->copied) {
		const char *from = w->data + (l->copied - 1);
		buf_add(w->j->undeclared, from, (size_t)(w->token.raw - from));
	} else if (l->shown) {
		buf_byte(w->j->undeclared, '}');
	}
}

static bool
key(struct walk *w)
{
	struct level *l = &w->levels[w->depth - 1];
	struct json_node *nodes = w->t->nodes;

	if (!l->tracked)
		return true;
	uint32_t *guess = l->last ? &nodes[l->last].follows : &nodes[l->node].first;
	uint32_t node = *guess;
	if (!node || nodes[node].key_len != w->token.len ||
	    memcmp(nodes[node].key, w->token.text, w->token.len) != 0) {
		if (!key_find(w, l, &node))
			return false;
		if (!node) {
			if (w->j->undeclared)
				collect(w);
			return true;
		}
		*guess = node;
	}
	w->node = node;
	if (nodes[node].seen == w->j->serial)
		return wrong_token(w, "the key stands twice in one object");
	nodes[node].seen = w->j->serial;
	l->last = node;
	return true;
}

static void
item_set(struct json_item *it, const struct json_token *v)
{
	it->kind = v->kind;
	it->at = v->text;
	it->len = v->len;
	it->raw = v->raw;
	it->raw_len = v->raw_len;
}

/* The value of an undeclared member. */
static void
value_collect(struct walk *w)
{
	enum json_kind kind = w->token.kind;

	w->collected = false;
	if (kind == JSON_OBJECT || kind == JSON_ARRAY)
		w->levels[w->depth++] =
		    (struct level){.item = -1, .copied = (uint32_t)(w->token.raw - w->data) + 1};
	else
		buf_add(w->j->undeclared, w->token.raw, w->token.raw_len);
}

static bool
value(struct walk *w)
{
	const struct json_node *node = &w->t->nodes[w->node];
	enum json_kind kind = w->token.kind;
	bool goes_on = w->node && node->has_children;

	if (!w->node && w->collected) {
		value_collect(w);
		return true;
	}
	if (goes_on && kind != JSON_OBJECT && kind != JSON_NULL)
		return wrong_token(w,
				   "an object was expected, since a declared path goes on in it");
	if (node->item >= 0)
		item_set(&w->t->items[node->item], &w->token);
	if (kind == JSON_OBJECT || kind == JSON_ARRAY)
		w->levels[w->depth++] = (struct level){
		    .node = w->node, .item = (int16_t)node->item, .tracked = goes_on};
	w->node = 0;
	return true;
}

/* The object or array opened last is complete, so that its end is known. */
static void
closed(struct walk *w)
{
	int item = w->levels[--w->depth].item;

	if (w->j->undeclared)
		collect_close(w);
	if (item < 0)
		return;
	struct json_item *it = &w->t->items[item];
	it->at = it->raw;
	it->len = it->raw_len = (uint32_t)(w->token.raw - it->raw);
}

static bool
walk(struct walk *w)
{
	bool good = true;

	w->levels[w->depth++] = (struct level){.item = -1, .tracked = true};
	while (good)
		switch (json_reader_next(w->j->reader, &w->token)) {
		case JSON_STEP_KEY:
			good = key(w);
			break;
		case JSON_STEP_VALUE:
			good = value(w);
			break;
		case JSON_STEP_CLOSE:
			closed(w);
			break;
		case JSON_STEP_END:
			if (w->levels[0].shown)
				buf_byte(w->j->undeclared, '}');
			return true;
		case JSON_STEP_FAILED:
			good = wrong(w, w->token.offset, w->token.what);
			break;
		}
	return false;
}

/* The event with its padding, in j's buffer. */
static const char *
event_copy(struct json *j, const char *data, size_t n)
{
	static const char padding[JSON_PADDING];

	buf_clear(&j->event);
	buf_add(&j->event, data, n);
	buf_add(&j->event, padding, sizeof padding);
	return (const char *)j->event.data;
}

static bool
begin(struct json *j, const char *data, size_t n, struct err *e)
{
	const char *what;

	switch (json_reader_begin(j->reader, data, n, &what)) {
	case JSON_BEGIN_GOOD:
		return true;
	case JSON_BEGIN_NO_MEMORY:
		fatal(EXIT_BUG, "out of memory for a JSON event of %zu bytes", n);
	case JSON_BEGIN_BAD:
		break;
	}
	return err_set(e, EXIT_DATA, "%s", what);
}

void
json_collect(struct json *j, struct buf *out)
{
	j->undeclared = out;
}

bool
json_parse(struct json *j, struct json_table *t, const char *data, size_t n, unsigned *undeclared,
	   int *bad_path, struct err *e)
{
	*bad_path = -1;
	*undeclared = 0;
	if (n >= 3 && !memcmp(data, "\xef\xbb\xbf", 3)) {
		data += 3;
		n -= 3;
	}
	if (n > INT32_MAX)
		return err_set(e, EXIT_DATA, "the event is too long");
	/* The token is filled by the reader: zeroing it costs more than a member of an event. */
	struct walk w;
	w.j = j;
	w.t = t;
	w.levels = j->levels;
	w.depth = w.node = w.undeclared = 0;
	w.collected = false;
	w.bad_path = -1;
	w.e = e;
	w.data = event_copy(j, data, n);
	if (!begin(j, w.data, n, e))
		return false;
	for (unsigned i = 0; i < t->paths_n; i++)
		t->items[i].kind = JSON_ABSENT;
	j->serial++;
	bool good = walk(&w);
	*undeclared = w.undeclared;
	*bad_path = w.bad_path;
	return good;
}
