/*
 * conf_handoff: data sets that are opened and handed over.
 */
#include "conf_tree.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "mem.h"

static char *
text_of(struct conf_node *map, const char *key)
{
	struct conf_node *n = conf_scalar_of(map, key);

	return n ? mem_string(n->text) : NULL;
}

/* Where quoted text, a quoted name or a comment that begins at s ends; s itself: none begins. */
static const char *
quoted_end(const char *s)
{
	const char *end = s;

	if (*s == '\'' || *s == '"') {
		end = strchr(s + 1, *s);
		return end ? end + 1 : s + strlen(s);
	}
	if (s[0] == '-' && s[1] == '-')
		return s + strcspn(s, "\n");
	if (s[0] == '/' && s[1] == '*') {
		end = strstr(s + 2, "*/");
		return end ? end + 2 : s + strlen(s);
	}
	return s;
}

static bool
word_at(const char *s, const char *word)
{
	size_t n = strlen(word);

	return strncasecmp(s, word, n) == 0 && !isalnum((unsigned char)s[n]) && s[n] != '_';
}

/*
 * The database decides what a query may do; this finds slips early: two statements, or another one
 * than SELECT.
 */
static void
query_check(struct conf_build *b, struct conf_node *n)
{
	const char *s = n->text, *end;
	bool begun = false;

	while (*s) {
		end = quoted_end(s);
		if (end == s && !isspace((unsigned char)*s) && !begun) {
			begun = true;
			if (!word_at(s, "select") && !word_at(s, "with"))
				break;
		}
		if (end == s && *s == ';') {
			conf_error_at(b->t, conf_scalar_at(b->t, n, (size_t)(s - n->text)), 1, NULL,
				      "\"query\" is one SELECT, without a semicolon");
			return;
		}
		s = end > s ? end : s + 1;
	}
	if (!begun || *s)
		conf_error(b->t, n, "\"query\" must be one SELECT");
}

static void
recipients_read(struct conf_build *b, struct handoff *h, struct conf_node *list)
{
	static const struct option name = {.path = "name", .type = OPTION_NAME};
	union option_value v;
	char why[256];

	if (list->members == 0 || list->members > RECIPIENTS_MAX) {
		conf_error_key(b->t, list, "a hand-over has 1 to %d recipients", RECIPIENTS_MAX);
		return;
	}
	for (struct conf_node *n = list->first; n; n = n->next) {
		if (n->kind != CONF_SCALAR || n->bad)
			continue;
		if (!option_read(&name, n->text, n->len, &v, why)) {
			conf_error(b->t, n, "a recipient %s", why);
			continue;
		}
		for (unsigned i = 0; i < h->recipients_n; i++) {
			if (strcmp(h->recipients[i].s, n->text) == 0)
				conf_error(b->t, n, "\"%s\" stands here twice", n->text);
		}
		name_set(&h->recipients[h->recipients_n++], n->text);
	}
}

static void
handoff_read(struct conf_build *b, struct handoff *h, struct conf_node *n)
{
	struct conf_node *query = conf_scalar_of(n, "query"), *list = conf_good(n, "recipients");

	name_set(&h->name, n->key);
	h->query = text_of(n, "query");
	h->purpose = text_of(n, "purpose");
	h->directory = text_of(n, "to");
	h->format = (enum handoff_format)conf_word(n, "format", HANDOFF_NDJSON);
	h->every_us = conf_integer(n, "every", 0);
	if (query)
		query_check(b, query);
	if (list && list->kind == CONF_LIST)
		recipients_read(b, h, list);
}

void
conf_handoffs(struct conf_build *b)
{
	struct conf_node *handoffs = conf_get(b->t->root, "handoffs");
	struct model *m = b->m;
	bool whole = option_seen(option_child(b->t->root->option, "sources"), b->t->role);

	if (!handoffs || handoffs->kind != CONF_MAP)
		return;
	if (handoffs->members > HANDOFFS_MAX) {
		conf_error_key(b->t, handoffs, "a pipeline has at most %d hand-overs, this one %u",
			       HANDOFFS_MAX, handoffs->members);
		return;
	}
	if (whole && handoffs->members && m->classes_n == 0)
		conf_error_key(b->t, handoffs,
			       "a hand-over opens sealed fields, and no field of this pipeline is "
			       "sensitive: a grant on its tables is all that is needed");
	m->handoffs = mem_zero(handoffs->members, sizeof *m->handoffs);
	for (struct conf_node *n = handoffs->first; n; n = n->next) {
		if (n->kind == CONF_MAP && n->option)
			handoff_read(b, &m->handoffs[m->handoffs_n++], n);
	}
}
