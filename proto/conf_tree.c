/*
 * conf_tree: nodes and strings of a pipeline file, and where they stand in its text.
 */
#include "conf_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

enum { CHUNK_BYTES = 65536 };

struct conf_chunk {
	struct conf_chunk *next;
	size_t used, cap;
	_Alignas(16) uint8_t data[];
};

void *
conf_alloc(struct conf_tree *t, size_t n)
{
	struct conf_chunk *c = t->chunks;

	n = (n + 15) & ~(size_t)15;
	if (!c || c->cap - c->used < n) {
		size_t cap = n > CHUNK_BYTES ? n : CHUNK_BYTES;
		c = mem_zero(1, sizeof *c + cap);
		c->cap = cap;
		c->next = t->chunks;
		t->chunks = c;
	}
	void *p = c->data + c->used;
	c->used += n;
	return p;
}

char *
conf_string(struct conf_tree *t, const char *s, size_t n)
{
	char *p = conf_alloc(t, n + 1);

	if (n)
		memcpy(p, s, n);
	return p;
}

char *
conf_printf(struct conf_tree *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	check(n >= 0);
	char *p = conf_alloc(t, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}

struct conf_tree *
conf_tree_new(const char *name, const char *text, size_t n)
{
	struct conf_tree *t = mem_zero(1, sizeof *t);

	t->name = conf_string(t, name, strlen(name));
	t->text = conf_string(t, text, n);
	t->len = n;
	t->role = ROLE_MAX;
	return t;
}

void
conf_tree_free(struct conf_tree *t)
{
	if (!t)
		return;
	for (struct conf_chunk *c = t->chunks; c;) {
		struct conf_chunk *next = c->next;
		free(c);
		c = next;
	}
	free(t);
}

struct conf_node *
conf_node_new(struct conf_tree *t, enum conf_kind kind)
{
	struct conf_node *n = conf_alloc(t, sizeof *n);

	n->kind = kind;
	t->nodes++;
	return n;
}

void
conf_node_add(struct conf_node *parent, struct conf_node *child)
{
	child->parent = parent;
	child->next = NULL;
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
	parent->members++;
}

void
conf_node_remove(struct conf_node *parent, struct conf_node *child)
{
	struct conf_node *before = NULL;

	for (struct conf_node *n = parent->first; n != child; n = n->next)
		before = n;
	if (before)
		before->next = child->next;
	else
		parent->first = child->next;
	if (parent->last == child)
		parent->last = before;
	child->next = NULL;
	parent->members--;
}

void
conf_node_text(struct conf_tree *t, struct conf_node *n, const char *s, size_t len)
{
	n->text = conf_string(t, s, len);
	n->len = (uint32_t)len;
	n->replaced = true;
}

struct conf_node *
conf_node_next(const struct conf_node *root, struct conf_node *n)
{
	if (n->first)
		return n->first;
	while (n != root && !n->next)
		n = n->parent;
	return n == root ? NULL : n->next;
}

struct conf_node *
conf_get(const struct conf_node *n, const char *key)
{
	if (!n || n->kind != CONF_MAP)
		return NULL;
	for (struct conf_node *c = n->first; c; c = c->next) {
		if (strcmp(c->key, key) == 0)
			return c;
	}
	return NULL;
}

struct conf_node *
conf_good(const struct conf_node *n, const char *key)
{
	struct conf_node *c = conf_get(n, key);

	return c && !c->bad && c->option ? c : NULL;
}

struct conf_node *
conf_map_of(struct conf_node *n)
{
	return n && n->kind == CONF_MAP ? n : NULL;
}

struct conf_node *
conf_scalar_of(const struct conf_node *map, const char *key)
{
	struct conf_node *n = conf_good(map, key);

	return n && n->kind == CONF_SCALAR ? n : NULL;
}

void
conf_path(const struct conf_node *n, struct buf *out)
{
	const struct conf_node *way[CONF_DEPTH_MAX + 2];
	unsigned depth = 0;

	for (; n && n->key && depth < CONF_DEPTH_MAX + 2; n = n->parent)
		way[depth++] = n;
	while (depth-- > 0) {
		if (out->len)
			buf_byte(out, '.');
		buf_text(out, way[depth]->key);
	}
}

/* How many bytes of source, and of text, one step through a quoted or plain scalar takes. */
struct step {
	size_t source, text;
};

static bool
blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/*
 * A run of white space: without a line break it is itself, with one it folds into a space, with
 * more into the rest.
 */
static struct step
step_blank(const char *s, size_t n)
{
	size_t i = 0, breaks = 0;

	while (i < n && blank(s[i]))
		breaks += s[i++] == '\n';
	return (struct step){i, breaks == 0 ? i : breaks == 1 ? 1 : breaks - 1};
}

static struct step
step_escape(const char *s, size_t n)
{
	unsigned digits = n < 2 ? 0 : s[1] == 'x' ? 2 : s[1] == 'u' ? 4 : s[1] == 'U' ? 8 : 0;
	unsigned long code = 0;

	if (n < 2)
		return (struct step){1, 1};
	if (digits == 0)
		return (struct step){2, s[1] == '\n' ? 0 : 1};
	for (unsigned i = 0; i < digits && i + 2 < n; i++) {
		char c = s[i + 2];
		code = code * 16 + (unsigned long)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return (struct step){digits + 2, code < 0x80	  ? 1
					 : code < 0x800	  ? 2
					 : code < 0x10000 ? 3
							  : 4};
}

static struct step
step_flow(enum conf_style style, const char *s, size_t n)
{
	if (blank(s[0]))
		return step_blank(s, n);
	if (style == CONF_DOUBLE && s[0] == '\\')
		return step_escape(s, n);
	if (style == CONF_SINGLE && s[0] == '\'')
		return (struct step){n > 1 ? 2 : 1, 1};
	return (struct step){1, 1};
}

/* A block scalar: the indentation of its first line is cut from each; a folded one joins lines. */
static uint32_t
block_at(const struct conf_tree *t, const struct conf_node *n, size_t at)
{
	const char *s = t->text;
	size_t indent = 0, i = n->at, text = 0;

	while (i + indent < n->end && s[i + indent] == ' ')
		indent++;
	for (;;) {
		for (size_t k = 0; k < indent && i < n->end && s[i] == ' '; k++)
			i++;
		while (i < n->end && s[i] != '\n' && text < at) {
			i++;
			text++;
		}
		if (text >= at || i >= n->end)
			return (uint32_t)(i < n->end ? i : n->end);
		size_t breaks = 0;
		for (; i < n->end && s[i] == '\n'; i++)
			breaks++;
		text += n->style == CONF_LITERAL || breaks == 1 ? breaks : breaks - 1;
	}
}

uint32_t
conf_scalar_at(const struct conf_tree *t, const struct conf_node *n, size_t at)
{
	if (n->replaced || n->filled)
		return n->at;
	if (n->style == CONF_LITERAL || n->style == CONF_FOLDED)
		return block_at(t, n, at);
	size_t i = n->at, text = 0;
	while (i < n->end && text < at) {
		struct step s = step_flow(n->style, t->text + i, n->end - i);
		/* Inside a run that stays as it is. */
		if (s.source == s.text && text + s.text > at)
			return (uint32_t)(i + (at - text));
		i += s.source;
		text += s.text;
	}
	return (uint32_t)(i < n->end ? i : n->end);
}
