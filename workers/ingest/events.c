#include "ingest.h"

#include <stdio.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "outlet.h"
#include "replay.h"

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

static void
rid_get(const struct ingest *in, const struct ingest_partition *part, const struct source_event *ev,
	const struct record *r, uint8_t out[static RID_BYTES])
{
	if (r->has_rid)
		memcpy(out, r->rid, RID_BYTES);
	else
		rid_of(in, part, ev->offset, out);
}

static uint64_t
rid_head(const uint8_t rid[static RID_BYTES])
{
	uint64_t v = 0;

	for (unsigned i = 0; i < sizeof v; i++)
		v |= (uint64_t)rid[i] << (8 * i);
	return v;
}

/*
 * Where the event would have gone if it has a key at all: another life may find it good (its time
 * lies no longer ahead), and then must meet the same positions. Else by its rid.
 */
static uint32_t
dead_group(const struct ingest *in, const struct ingest_partition *part,
	   const struct source_event *ev, const struct record *r)
{
	uint8_t rid[RID_BYTES];

	if (r->key_len && r->key_len <= KEY_BYTES_MAX)
		return keyhash_group(keyhash64(in->parts.hash_key, r->key, r->key_len),
				     in->m->groups);
	rid_get(in, part, ev, r, rid);
	return keyhash_group(rid_head(rid), in->m->groups);
}

/*
 * A dead letter keeps a digest, and its bytes only sealed; then the digest is of the sealed bytes,
 * since one of the event would tell who guesses it that he is right.
 */
static void
dead_make(const struct ingest *in, const struct ingest_partition *part,
	  const struct source_event *ev, struct decoded *d)
{
	struct record *r = &d->record;

	r->kg = dead_group(in, part, ev, r);
	r->kind = RECORD_DEAD;
	r->has_time = false;
	r->time_us = 0;
	r->sequence = 0;
	r->key = "";
	r->key_len = 0;
	r->fields_n = 0;
	r->reason = d->reason;
	r->reason_len = (uint32_t)strlen(d->reason);
	if (in->sealing)
		digest_dead(in->parts.hash_key, r->body, r->body_len, r->digest);
	else
		digest_dead(in->parts.hash_key, ev->data, ev->len, r->digest);
}

/* The person that the record's values are bound to, if it has one. */
static void
person_set(struct ingest *in, unsigned source, const struct source_event *ev, bool good,
	   struct decoded *d)
{
	const struct source *s = &in->m->sources[source];
	struct record *r = &d->record;
	struct value v;

	r->has_sid = false;
	if (s->subject_field < 0)
		return;
	if (good)
		v = r->fields[s->subject_field];
	else if (!decoder_subject(in->decoder, source, ev, &v))
		return;
	r->has_sid = record_sid(in->sealing->records, source, &v, r->sid);
}

/* A record that the exchange would not take becomes a dead letter before it is sent. */
static bool
fits(const struct ingest *in, struct decoded *d)
{
	if (!in->outlet || outlet_fits(in, &d->record))
		return true;
	snprintf(d->reason, sizeof d->reason, "%s", "larger than the exchange takes");
	return false;
}

enum sealed { SEALED_GOOD, SEALED_DEAD, SEALED_HELD };

/*
 * Seals the decoded event, or its bytes if it is a dead letter; or holds it until its person's
 * secret is known, and behind others of its partition that wait (`waited`: it was the first).
 */
static enum sealed
event_seal(struct ingest *in, struct ingest_partition *part, const struct source_event *ev,
	   bool good, bool waited)
{
	struct sealing *s = in->sealing;
	struct decoded *d = &in->decoded;
	struct record *r = &d->record;
	uint8_t rid[RID_BYTES] = {0};
	struct seal_subject person;
	bool bound;

	person_set(in, part->source, ev, good, d);
	bool known = sealing_person(s, r, &person, &bound);
	check(known || !waited);
	if (!known || (part->held && !waited)) {
		hold_add(&s->hold, part, ev, r->has_sid ? r->sid : NULL);
		return SEALED_HELD;
	}
	if (!good || record_seals(s->records, part->source))
		rid_get(in, part, ev, r, rid);
	if (good && record_seal(s->records, r, rid, bound ? &person : NULL, d->reason) &&
	    fits(in, d))
		return SEALED_GOOD;
	if (good)
		rid_get(in, part, ev, r, rid);
	r->fields_n = 0;
	record_seal_dead(s->records, r, ev, rid, bound ? &person : NULL, d->reason);
	if (in->outlet && !outlet_fits(in, r))
		r->body_len = 0; /* not kept: the reason says that it is large */
	return SEALED_DEAD;
}

static struct ingest_partition *
event_place(const struct ingest *in, unsigned source, const struct source_event *ev)
{
	struct ingest_partition *part = parts_slot(&in->parts, source, ev->slot);

	return part && part->state == PART_READING && ev->offset >= part->next ? part : NULL;
}

/* Queue events carry their identity. */
static bool
rid_set(const struct ingest *in, const struct ingest_partition *part, const struct source_event *ev,
	struct decoded *d)
{
	const struct source *s = &in->m->sources[part->source];
	const char *identity;
	size_t n;

	d->record.has_rid = true;
	if (ev->replayed) {
		memcpy(d->record.rid, ev->rid, RID_BYTES);
		return true;
	}
	bool good = queue_identity(s, ev, d, &identity, &n);
	rid_queue(in->rid_key, s->label, identity, n, d->record.rid);
	return good;
}

static unsigned
event_route(struct ingest *in, struct ingest_partition *part, const struct source_event *ev,
	    bool good, struct mono now)
{
	struct decoded *d = &in->decoded;
	struct record *r = &d->record;

	if (good)
		r->kg =
		    keyhash_group(keyhash64(in->parts.hash_key, r->key, r->key_len), in->m->groups);
	else
		dead_make(in, part, ev, d);
	unsigned lane = 0;
	if (in->outlet)
		outlet_record(in, part, r, now);
	else
		lane = route_record(&in->route, r, now);
	part_routed(part, ev->offset, now);
	if (r->has_time && !part->made)
		part_time(part, r->time_us);
	part->caught_up = part->made;
	if (!in->outlet)
		route_spill(&in->route, lane, now);
	if (d->undeclared) {
		metric_add(in->w->page, METRIC_UNKNOWN_FIELDS, d->undeclared);
		metric_source_add(in->w->page, part->source, METRIC_SOURCE_UNKNOWN, d->undeclared);
	}
	return lane;
}

static void
event_pass(struct ingest *in, struct ingest_partition *part, const struct source_event *ev,
	   int64_t now_wall_us, struct mono now, bool waited)
{
	const struct source *s = &in->m->sources[part->source];
	struct decoded *d = &in->decoded;
	struct record *r = &d->record;
	bool good = decoder_event(in->decoder, part->source, ev, now_wall_us, d);

	r->partition = in->outlet ? 0 : part->id; /* an id is the database's, and there is none */
	r->offset = ev->offset;
	r->distinct =
	    part->kind == PARTITION_TRANSIENT && s->identity == IDENTITY_BODY && !ev->redelivered;
	if (part->kind == PARTITION_TRANSIENT)
		good = rid_set(in, part, ev, d) && good;
	if (in->sealing) {
		enum sealed is = event_seal(in, part, ev, good, waited);

		if (is == SEALED_HELD)
			return;
		good = is == SEALED_GOOD;
	} else if (good) {
		good = fits(in, d);
	}
	if (ev->replayed && !good) {
		/* It stays the dead letter that it is. */
		part_routed(part, ev->offset, now);
		part->caught_up = true;
		replay_dead(in, part, ev->offset, d->reason);
	} else {
		unsigned lane = event_route(in, part, ev, good, now);

		if (ev->replayed)
			replay_routed(in, part, ev->offset, lane);
	}
}

void
event_again(struct ingest *in, struct ingest_partition *part, const struct source_event *ev,
	    int64_t now_wall_us, struct mono now)
{
	event_pass(in, part, ev, now_wall_us, now, false);
}

bool
event_take(struct ingest *in, unsigned source, const struct source_event *ev, int64_t now_wall_us,
	   struct mono now, struct err *e)
{
	struct ingest_partition *part = event_place(in, source, ev);

	if (!part)
		return err_set(e, EXIT_BUG, "source %s delivered an event that was not asked for",
			       in->m->sources[source].name.s);
	event_pass(in, part, ev, now_wall_us, now, false);
	return true;
}

void
events_release(struct ingest *in, int64_t now_wall_us, struct mono now, bool *more)
{
	struct sealing *s = in->sealing;
	unsigned n = 0;

	while (in->phase == INGEST_READING && !in->w->draining && credit_left(&in->credit) &&
	       sealing_due(s)) {
		if (n++ == SOURCE_BATCH_MAX) {
			*more = true;
			break;
		}
		event_pass(in, s->hold.first->part, &s->hold.first->event, now_wall_us, now, true);
		sealing_released(s, now);
	}
	if (n)
		skel_progress(in->w);
}
