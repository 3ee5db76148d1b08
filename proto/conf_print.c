/*
 * conf_print: the tree as text again: the whole effective configuration for a person, or the part
 * of it that one role may see. Values stand as they were written, defaults and variables filled in,
 * keys in the order of the option table; so what is printed reads back to itself.
 */
#include "conf_tree.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "secretfile.h"

enum { SECRET_BYTES_MAX = 65536 };

struct printer {
	struct buf *out;
	enum role role;
	bool shows_secrets;
};

/*
 * Fit to stand without quotes: our reader takes every scalar as text, so only YAML's own signs
 * matter.
 */
static bool
plain_is(const char *s)
{
	if (!isalnum((unsigned char)*s) && *s != '_' && *s != '/')
		return false;
	for (; *s; s++) {
		if (!isalnum((unsigned char)*s) && !strchr("_./@%+-", *s))
			return false;
	}
	return true;
}

static void
text_print(struct buf *out, const char *s, size_t n)
{
	if (n > 0 && plain_is(s)) {
		buf_add(out, s, n);
		return;
	}
	buf_byte(out, '"');
	for (size_t i = 0; i < n; i++) {
		uint8_t c = (uint8_t)s[i];
		/*
		 * NEL, the line and paragraph separators and the byte order mark are special to
		 * YAML.
		 */
		bool nel = c == 0xc2 && i + 1 < n && (uint8_t)s[i + 1] < 0xa0;
		bool separator = c == 0xe2 && i + 2 < n && (uint8_t)s[i + 1] == 0x80 &&
				 ((uint8_t)s[i + 2] & 0xfe) == 0xa8;
		bool mark = c == 0xef && i + 2 < n && (uint8_t)s[i + 1] == 0xbb &&
			    (uint8_t)s[i + 2] == 0xbf;
		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			buf_printf(out, "\\x%02x", c);
		else if (nel)
			buf_printf(out, "\\x%02x", (uint8_t)s[++i]);
		else if (separator || mark)
			buf_printf(out, "\\u%04x",
				   mark ? 0xfeff : 0x2000 + ((uint8_t)s[i + 2] & 0x3f)),
			    i += 2;
		else
			buf_byte(out, c);
	}
	buf_byte(out, '"');
}

/* A setting of librdkafka whose value is nobody's business. */
static bool
key_is_secret(const char *key)
{
	static const char *const words[] = {"password",		  "secret",	"key.pem",
					    "oauthbearer.config", "passphrase", "token"};

	for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (strstr(key, words[i]))
			return true;
	}
	return false;
}

/* A URL or DSN may hold a password anywhere, so none of it is shown. */
static bool
value_is_secret(const struct conf_node *n)
{
	if (n->option->type != OPTION_SECRET || option_is_reference(n->text))
		return false;
	if (n->parent->option->flags & OPTION_KEYS)
		return key_is_secret(n->key);
	return true;
}

static bool
shown(const struct printer *p, const struct conf_node *n)
{
	return n->option && !(n->option->flags & OPTION_HIDDEN) && option_seen(n->option, p->role);
}

/* A map or list that is being printed: where it has got to. */
struct level {
	const struct conf_node *node, *at;
	const struct option *option;
};

static const struct conf_node *
next_shown(const struct printer *p, struct level *l)
{
	const struct conf_node *n;

	/* Names of the user's choice keep their order: slots and indexes follow from it. */
	if (l->node->kind == CONF_LIST || l->node->option->type == OPTION_NAMED) {
		n = l->at ? l->at->next : l->node->first;
		while (n && !shown(p, n))
			n = n->next;
		return n;
	}
	while ((l->option = option_next(l->node->option, l->option)) != NULL) {
		n = conf_get(l->node, option_key(l->option));
		if (n && shown(p, n))
			return n;
	}
	return NULL;
}

static void
scalar_print(const struct printer *p, const struct conf_node *n)
{
	if (!p->shows_secrets && value_is_secret(n))
		buf_text(p->out, "\"***\"");
	else
		text_print(p->out, n->text, n->len);
	buf_byte(p->out, '\n');
}

static void
key_print(const struct printer *p, const struct level *l, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		buf_text(p->out, "  ");
	if (l->node->kind == CONF_LIST) {
		buf_text(p->out, "- ");
		return;
	}
	text_print(p->out, l->at->key, strlen(l->at->key));
	buf_text(p->out, l->at->kind == CONF_SCALAR ? ": " : ":\n");
}

/* One of which nothing is shown stands on the line of its key. */
static void
empty_print(const struct printer *p, const struct level *l)
{
	p->out->len--;
	buf_text(p->out, l->node->kind == CONF_LIST ? " []\n" : " {}\n");
}

/* Nesting is bounded by CONF_DEPTH_MAX, and one more for what a short form became. */
static void
tree_print(const struct printer *p, const struct conf_node *root)
{
	struct level open[CONF_DEPTH_MAX + 2] = {{.node = root}};
	unsigned depth = 0;

	for (;;) {
		struct level *l = &open[depth];
		const struct conf_node *n = next_shown(p, l);
		if (!n) {
			if (depth == 0)
				return;
			if (!l->at)
				empty_print(p, l);
			depth--;
			continue;
		}
		l->at = n;
		key_print(p, l, depth);
		if (n->kind == CONF_SCALAR)
			scalar_print(p, n);
		else
			open[++depth] = (struct level){.node = n};
	}
}

void
conf_print_slice(const struct model *m, enum role role, struct buf *out)
{
	struct printer p = {.out = out, .role = role, .shows_secrets = true};

	if (role == ROLE_MAX) {
		conf_print_effective(m, out);
		return;
	}
	buf_printf(out, "slice: %s\n", role_name(role));
	tree_print(&p, m->tree->root);
}

void
conf_print_effective(const struct model *m, struct buf *out)
{
	struct printer p = {.out = out, .role = ROLE_MAX};

	tree_print(&p, m->tree->root);
}

unsigned
conf_secrets(const struct model *m, enum role role, struct conf_secret *out, unsigned max)
{
	unsigned count = 0;
	struct conf_node *root = m->tree->root;

	for (struct conf_node *n = root; n; n = conf_node_next(root, n)) {
		if (!n->option || n->option->type != OPTION_SECRET || n->kind != CONF_SCALAR ||
		    !option_is_reference(n->text) || !option_seen(n->option, role) ||
		    role == ROLE_MAX || count == max)
			continue;
		struct buf path = {0};
		conf_path(n, &path);
		snprintf(out[count].name, sizeof out[count].name, "%s", buf_cstr(&path));
		out[count++].from = n->text;
		buf_free(&path);
	}
	return count;
}

bool
conf_secret_read(const char *from, struct buf *out, struct err *e)
{
	buf_clear(out);
	if (strncmp(from, "file:", 5) == 0) {
		if (!secretfile_read(from + 5, SECRET_BYTES_MAX, out, e))
			return false;
	} else if (strncmp(from, "env:", 4) == 0) {
		const char *value = getenv(from + 4);
		if (!value)
			return err_set(e, EXIT_CONFIG, "the environment variable %s is not set",
				       from + 4);
		buf_text(out, value);
	} else {
		buf_text(out, from);
	}
	while (out->len > 0 && (out->data[out->len - 1] == '\n' || out->data[out->len - 1] == '\r'))
		out->len--;
	return true;
}
