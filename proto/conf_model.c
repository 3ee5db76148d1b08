/*
 * conf_model: the checked tree becomes a model. The plain members come from the option table; what
 * needs thought has modules of its own.
 */
#include "conf_tree.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

void
name_set(struct name *n, const char *s)
{
	size_t len = strlen(s);

	if (len > NAME_BYTES_MAX)
		len = NAME_BYTES_MAX;
	memcpy(n->s, s, len);
	n->s[len] = '\0';
}

static void
integer_set(void *member, unsigned bytes, int64_t v)
{
	uint32_t narrow = (uint32_t)v;

	if (bytes == sizeof v)
		memcpy(member, &v, sizeof v);
	else
		memcpy(member, &narrow, sizeof narrow);
}

static void
text_set(void *member, const struct option *o, const char *text)
{
	char *copy;

	if (o->bytes == sizeof(struct name)) {
		name_set(member, text);
		return;
	}
	check(o->bytes == sizeof copy);
	/* rid_key: the scheme is not part of the path. */
	copy = mem_string(o->type == OPTION_FILE ? text + strlen("file:") : text);
	memcpy(member, &copy, sizeof copy);
}

static void
member_set(struct model *m, const struct conf_node *n)
{
	const struct option *o = n->option;
	void *member = (char *)m + o->at;
	union option_value v;
	char why[256];

	if (!option_read(o, n->text, n->len, &v, why))
		return;
	switch (o->type) {
	case OPTION_INTEGER:
	case OPTION_SIZE:
	case OPTION_DURATION:
		check(o->bytes == sizeof(int64_t) || o->bytes == sizeof(uint32_t));
		integer_set(member, o->bytes, v.integer);
		break;
	case OPTION_FRACTION:
		memcpy(member, &v.real, sizeof v.real);
		break;
	case OPTION_BOOLEAN:
		memcpy(member, &v.boolean, sizeof v.boolean);
		break;
	default:
		text_set(member, o, n->text);
		break;
	}
}

static void
members_set(struct conf_tree *t, struct model *m)
{
	for (struct conf_node *n = t->root; n; n = conf_node_next(t->root, n)) {
		if (n->option && n->option->at >= 0 && n->kind == CONF_SCALAR && !n->bad)
			member_set(m, n);
	}
}

static bool
word_is(const struct conf_node *n, const char *word)
{
	return n && n->kind == CONF_SCALAR && strcmp(n->text, word) == 0;
}

/* What one value says about another. */
static void
cross_check(struct conf_build *b)
{
	struct model *m = b->m;
	struct conf_node *lanes = conf_good(b->t->root, "lanes");
	struct conf_node *groups = conf_good(b->t->root, "groups");

	/* The default follows the number of cores, and must not break a pipeline of few groups. */
	if (lanes && lanes->filled && groups && m->lanes > m->groups) {
		m->lanes = m->groups;
		char *text = conf_printf(b->t, "%u", m->lanes);
		conf_node_text(b->t, lanes, text, strlen(text));
	}
	if (lanes && groups && m->lanes > m->groups)
		conf_error(
		    b->t, lanes,
		    "more lanes (%u) than groups (%u): a lane without key groups has no work",
		    m->lanes, m->groups);
	struct conf_node *limits = conf_get(b->t->root, "limits");
	struct conf_node *event = conf_good(limits, "event_bytes_max");
	if (event && conf_good(limits, "inflight_bytes_max") &&
	    m->limits.event_bytes_max > m->limits.inflight_bytes_max / m->ingests)
		conf_error(b->t, event,
			   "an event of this size does not fit into the share of "
			   "inflight_bytes_max that one ingest has");
}

void
conf_model(struct conf_tree *t, struct model *m)
{
	struct conf_build b = {.t = t, .m = m};
	struct conf_node *warehouse = conf_get(conf_get(t->root, "warehouse"), "postgresql");
	struct err e;

	m->path = mem_string(t->name);
	members_set(t, m);
	if (m->zone_name && !zone_open(m->zone_name, &m->zone, &e))
		conf_error(t, conf_get(t->root, "time_zone"), "%s", e.text);
	m->emit_on_close = word_is(conf_get(conf_get(t->root, "correlate"), "emit"), "on_close");
	m->raw_warehouse = conf_get(t->root, "raw") != NULL;
	m->foreign_keys_enforced = word_is(conf_get(warehouse, "foreign_keys"), "enforced");
	if (!m->ingests)
		m->ingests = 1;
	cross_check(&b);
	conf_sources(&b);
	conf_correlate(&b);
	conf_tables(&b);
	conf_aggregates(&b);
	conf_handoffs(&b);
	conf_peers(&b);
	conf_exchange(&b);
}
