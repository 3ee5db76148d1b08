#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"
#include "relay.h"

/* A record that no ingest of ours can have written ends everything: it is not ours to skip. */
static bool
strange(const struct relay *r, const struct source_event *ev, const char *why, struct err *e)
{
	return err_set(e, EXIT_DATA,
		       "topic %s partition %u offset %lld holds what is no record of this "
		       "pipeline: %s",
		       r->source.topic, ev->slot, (long long)ev->offset, why);
}

/*
 * Fields have no names in a record: one of another layout would be read as something else. No error
 * of the data: the pipeline file was changed while the exchange was not empty. *why: for people.
 */
static bool
of_other_file(struct relay *r, const struct source_event *ev, char *why, size_t n)
{
	int found = model_source_find(r->m, ev->from_source, ev->from_source_len);
	unsigned source = (unsigned)found;

	if (found < 0 || source == r->exchange) {
		snprintf(why, n, "its source is not in ours");
		return true;
	}
	if (!r->layouts[source])
		r->layouts[source] = wire_layout(&r->m->sources[source]);
	if (r->layouts[source] == ev->from_layout)
		return false;
	snprintf(why, n, "the fields of source %s are others, or its cluster or generation",
		 r->m->sources[source].name.s);
	return true;
}

/*
 * The group is read no further, by us: what came before goes on to be committed, what comes behind
 * waits as well, for lanes of the file that it was written under.
 */
static void
group_stop(struct relay *r, const struct source_event *ev, const char *why)
{
	struct group *g = &r->groups[ev->slot];

	g->stopped = true;
	g->caught_up = false;
	g->waits_us = event_since(ev);
	r->ops->pause(r->driver, ev->slot, true);
	if (!r->stopped++)
		snprintf(r->stopped_why, sizeof r->stopped_why,
			 "topic %s partition %u offset %lld was written under another pipeline "
			 "file or version: %s. Lanes of that file must read the exchange to its "
			 "end, with every ingest stopped",
			 r->source.topic, ev->slot, (long long)ev->offset, why);
}

static bool
record_read(struct relay *r, const struct source_event *ev, struct record *rec, struct err *e)
{
	const struct model *m = r->m;

	if (!ev->from_source)
		return strange(r, ev, "its header is missing", e);
	int source = model_source_find(m, ev->from_source, ev->from_source_len);
	check(source >= 0); /* of_other_file */
	rec->fields = r->fields;
	pack_reader_start(&r->reader, (const uint8_t *)ev->data, ev->len);
	if (!wire_record_read(&r->reader, rec) || !pack_reader_end(&r->reader))
		return strange(r, ev, r->reader.why, e);
	rec->source = (uint16_t)source; /* its place among the sources may have changed */
	if (rec->kg != ev->slot)
		return strange(r, ev, "it is of another key group", e);
	/* Each pipeline hashes under a key of its own, also one that had the name before. */
	if (rec->kind != RECORD_DEAD &&
	    rec->kg != keyhash_group(keyhash64(r->hash_key, rec->key, rec->key_len), m->groups))
		return strange(r, ev, "its key would be of another key group", e);
	if (rec->offset != ev->from_offset || rec->offset < 0)
		return strange(r, ev, "header and record have different offsets", e);
	if (!ev->from_label_len || ev->from_label_len > PARTITION_LABEL_MAX)
		return strange(r, ev, "the label of its partition", e);
	return true;
}

static struct relay_partition *
record_partition(struct relay *r, const struct source_event *ev, uint16_t source)
{
	struct relay_partition *p =
	    labels_find(&r->labels, source, ev->from_label, ev->from_label_len);

	if (!p)
		p = labels_add(r, source, ev->from_label, ev->from_label_len);
	labels_want(r, p);
	return p;
}

/*
 * Each record says which one of its partition its ingest sent to this group before it. That one
 * stands before it in the topic, so it has been read, by us or by who owned the group: if not, the
 * topic has lost it, and the mark would make the lane drop it if it came again.
 */
static bool
mark_raise(struct relay *r, const struct source_event *ev, const struct relay_partition *p,
	   int64_t *mark, struct err *e)
{
	if (ev->from_before >= *mark)
		return err_set(
		    e, EXIT_DATA,
		    "LOSS: topic %s partition %u offset %lld is the event %lld of %s %s, and the "
		    "one at %lld, sent before it, never came: was the topic re-created, or did its "
		    "brokers lose records? Name another exchange.topic, and set the sources' "
		    "groups back",
		    r->source.topic, ev->slot, (long long)ev->offset, (long long)ev->from_offset,
		    r->m->sources[p->source].name.s, p->label, (long long)ev->from_before);
	if (ev->from_offset >= *mark)
		*mark = ev->from_offset + 1;
	return true;
}

static bool
record_route(struct relay *r, const struct source_event *ev, struct record *rec,
	     struct relay_partition *p, struct mono now, struct err *e)
{
	struct group *g = &r->groups[ev->slot];
	struct relay_lane *l = &r->lane[g->lane];

	if (p->kind == PARTITION_DURABLE && !mark_raise(r, ev, p, labels_mark(r, p, ev->slot), e))
		return false;
	labels_tell(r, p, g->lane);
	if (!l->count)
		pipe_body_start(&l->body);
	size_t before = l->body.len;
	rec->partition = p->id;
	wire_record_write(&l->body, rec);
	if (rec->has_time && (!g->has_time || rec->time_us > g->time_max_us)) {
		g->time_max_us = rec->time_us;
		g->has_time = true;
	}
	groups_routed(r, g, ev, l->body.len - before, now);
	if (pipe_body_bytes(&l->body) >= r->flush_bytes)
		groups_flush(r, now);
	return true;
}

static const char *
copied(char **room, const char *p, size_t n)
{
	char *at = *room;

	memcpy(at, p, n);
	*room += n;
	return at;
}

static void
hold(struct relay *r, const struct source_event *ev)
{
	struct held *h = mem_alloc(sizeof *h + ev->len + ev->from_source_len + ev->from_label_len);
	char *room = (char *)(h + 1);

	*h = (struct held){.ev = *ev};
	h->ev.data = copied(&room, ev->data, ev->len);
	h->ev.from_source = copied(&room, ev->from_source, ev->from_source_len);
	h->ev.from_label = copied(&room, ev->from_label, ev->from_label_len);
	if (r->held_last)
		r->held_last->next = h;
	else
		r->held_first = h;
	r->held_last = h;
	r->held_n++;
}

bool
record_take(struct relay *r, const struct source_event *ev, struct mono now, struct err *e)
{
	char why[NAME_BYTES_MAX + 96];
	struct record rec;

	if (r->groups[ev->slot].stopped)
		return true;
	if (ev->from_source && of_other_file(r, ev, why, sizeof why)) {
		group_stop(r, ev, why);
		return true;
	}
	if (!record_read(r, ev, &rec, e))
		return false;
	struct relay_partition *p = record_partition(r, ev, rec.source);
	/* Behind one that waits all wait: the order of a partition is kept. */
	if (p->id && !r->held_n)
		return record_route(r, ev, &rec, p, now, e);
	hold(r, ev);
	return true;
}

bool
records_release(struct relay *r, struct mono now, struct err *e)
{
	while (r->held_first) {
		struct held *h = r->held_first;
		struct record rec;

		if (!record_read(r, &h->ev, &rec, e))
			return false;
		struct relay_partition *p = record_partition(r, &h->ev, rec.source);
		if (!p->id)
			return true;
		if (!record_route(r, &h->ev, &rec, p, now, e))
			return false;
		r->held_first = h->next;
		if (!h->next)
			r->held_last = NULL;
		r->held_n--;
		free(h);
	}
	return true;
}

void
records_free(struct relay *r)
{
	for (struct held *h = r->held_first, *next; h; h = next) {
		next = h->next;
		free(h);
	}
	r->held_first = r->held_last = NULL;
}
