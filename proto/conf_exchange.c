/*
 * conf_exchange: the topic between ingests and lanes, and the source that stands for it.
 */
#include "conf_tree.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"

static void
topic_set(struct conf_build *b, struct conf_node *n)
{
	const struct option *o = option_child(n->option, "topic");
	struct conf_node *topic = conf_get(n, "topic");
	struct model *m = b->m;

	if (!topic) {
		char *text = conf_printf(b->t, "weir.%s", m->pipeline.s);
		topic = conf_node_new(b->t, CONF_SCALAR);
		topic->key = conf_string(b->t, "topic", strlen("topic"));
		topic->at = topic->end = n->at;
		topic->key_at = n->key_at;
		topic->filled = true;
		topic->option = o;
		conf_node_add(n, topic);
		conf_node_text(b->t, topic, text, strlen(text));
	}
	if (!m->exchange.topic)
		m->exchange.topic = mem_string(topic->kind == CONF_SCALAR ? topic->text : "");
}

static void
properties_set(struct model *m, const struct conf_node *properties)
{
	struct exchange *x = &m->exchange;

	if (!properties || properties->kind != CONF_MAP)
		return;
	x->properties = mem_zero(properties->members, sizeof *x->properties);
	for (struct conf_node *p = properties->first; p; p = p->next) {
		if (p->bad || p->kind != CONF_SCALAR)
			continue;
		x->properties[x->properties_n++] = (struct property){
		    .key = mem_string(p->key),
		    .value = option_is_reference(p->text) ? NULL : mem_string(p->text)};
	}
}

/* What a consumer group cannot divide among ingests on several hosts. */
static void
sources_check(struct conf_build *b)
{
	struct conf_node *sources = conf_get(b->t->root, "sources");

	for (unsigned i = 0; i < b->m->sources_n; i++) {
		const struct source *s = &b->m->sources[i];
		/* None: a name that was too long, and has been told. */
		struct conf_node *at = conf_get(conf_get(sources, s->name.s), "file");
		if (s->kind != SOURCE_FILE || !at)
			continue;
		conf_error_key(b->t, at,
			       "files cannot be read with `exchange:`: ingests on several hosts "
			       "share their sources through the broker, and how far a file was "
			       "read is known to its lanes alone");
	}
}

static void
source_add(struct model *m)
{
	struct source s = {.kind = SOURCE_EXCHANGE,
			   .time = TIME_NONE,
			   .time_field = -1,
			   .sequence_field = -1,
			   .key_field = -1,
			   .subject_field = -1,
			   .unknown_field = -1,
			   .reference = true};

	name_set(&s.name, SOURCE_EXCHANGE_NAME);
	snprintf(s.label, sizeof s.label, "%s@#1", SOURCE_EXCHANGE_NAME);
	for (unsigned i = 0; i < m->sources_n; i++)
		if (m->sources[i].time != TIME_NONE && !m->sources[i].reference)
			s.time = TIME_OF_BROKER; /* covers of its partitions carry a time */
	m->sources[m->sources_n++] = s;		 /* conf_source.c has left the room */
}

void
conf_exchange(struct conf_build *b)
{
	struct conf_node *n = conf_good(b->t->root, "exchange");

	if (!n || n->kind != CONF_MAP || !n->option)
		return;
	topic_set(b, n);
	properties_set(b->m, conf_get(n, "properties"));
	sources_check(b);
	if (b->m->sources_n == SOURCES_MAX)
		conf_error_key(b->t, n, "with `exchange:` a pipeline has at most %d sources",
			       SOURCES_MAX - 1);
	else if (b->m->sources_n)
		source_add(b->m);
}
