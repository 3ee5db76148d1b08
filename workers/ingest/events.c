#include "ingest.h"

#include <string.h>

#include "keyhash.h"

/* The bytes that make a queue's event the same event when it is delivered again. */
static bool
queue_identity(const struct source *s, const struct source_event *ev, struct decoded *d,
	       const char **p, size_t *n)
{
	*p = ev->data;
	*n = ev->len;
	switch (s->identity) {
	case IDENTITY_MESSAGE_ID:
		if (!ev->identity_len) {
			memcpy(d->reason, "the message has no message-id",
			       sizeof "the message has no message-id");
			return false;
		}
		*p = ev->identity;
		*n = ev->identity_len;
		return true;
	case IDENTITY_PATH:
		if (d->identity) {
			*p = d->identity;
			*n = d->identity_len;
		}
		return true;
	case IDENTITY_BODY:
	case IDENTITY_NONE:
		break;
	}
	return true;
}

static void
rid_of(const struct ingest *in, const struct ingest_partition *part, int64_t offset,
       uint8_t out[static RID_BYTES])
{
	struct partition p = {.id = part->id,
			      .source = part->source,
			      .kind = part->kind,
			      .number = part->number,
			      .label = part->label,
			      .label_len = part->label_len};

	rid_durable(&in->m->sources[part->source], &p, offset, out);
}

static uint64_t
rid_head(const uint8_t rid[static RID_BYTES])
{
	uint64_t v = 0;

	for (unsigned i = 0; i < sizeof v; i++)
		v |= (uint64_t)rid[i] << (8 * i);
	return v;
}

/* A dead letter goes to the lane of its rid; it keeps a digest, never the bytes. */
static void
dead_make(const struct ingest *in, const struct ingest_partition *part,
	  const struct source_event *ev, struct decoded *d)
{
	struct record *r = &d->record;

	r->kind = RECORD_DEAD;
	r->has_time = false;
	r->time_us = 0;
	r->sequence = 0;
	r->key = "";
	r->key_len = 0;
	r->fields_n = 0;
	r->reason = d->reason;
	r->reason_len = (uint32_t)strlen(d->reason);
	digest_dead(in->parts.hash_key, ev->data, ev->len, r->digest);
	uint8_t rid[RID_BYTES];
	if (r->has_rid)
		memcpy(rid, r->rid, sizeof rid);
	else
		rid_of(in, part, ev->offset, rid);
	r->kg = keyhash_group(rid_head(rid), in->m->groups);
}

static struct ingest_partition *
event_place(const struct ingest *in, unsigned source, const struct source_event *ev)
{
	struct ingest_partition *part = parts_slot(&in->parts, source, ev->slot);

	return part && part->state == PART_READING && ev->offset >= part->next ? part : NULL;
}

bool
event_take(struct ingest *in, unsigned source, const struct source_event *ev, int64_t now_wall_us,
	   struct mono now, struct err *e)
{
	const struct source *s = &in->m->sources[source];
	struct ingest_partition *part = event_place(in, source, ev);
	struct decoded *d = &in->decoded;
	struct record *r = &d->record;

	if (!part)
		return err_set(e, EXIT_BUG, "source %s delivered an event that was not asked for",
			       s->name.s);
	bool good = decoder_event(in->decoder, source, ev, now_wall_us, d);
	r->partition = part->id;
	r->offset = ev->offset;
	r->distinct =
	    part->kind == PARTITION_TRANSIENT && s->identity == IDENTITY_BODY && !ev->redelivered;
	if (part->kind == PARTITION_TRANSIENT) {
		const char *identity;
		size_t n;

		good = queue_identity(s, ev, d, &identity, &n) && good;
		rid_queue(in->rid_key, s->label, identity, n, r->rid);
		r->has_rid = true;
	}
	if (good)
		r->kg =
		    keyhash_group(keyhash64(in->parts.hash_key, r->key, r->key_len), in->m->groups);
	else
		dead_make(in, part, ev, d);
	unsigned lane = route_record(&in->route, r, now);
	part_routed(part, ev->offset, now);
	if (r->has_time)
		part_time(part, r->time_us);
	route_spill(&in->route, lane, now);
	metric_add(in->w->page, METRIC_UNKNOWN_FIELDS, d->undeclared);
	return true;
}
