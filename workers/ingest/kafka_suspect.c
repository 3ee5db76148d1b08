/* kafka_suspect: a position that the broker refuses is lost, or there after all. */
#include <inttypes.h>
#include <stdio.h>

#include "kafka_private.h"
#include "log.h"

enum {
	SUSPECT_EVERY_MS = 2000, /* between looks at a position that the broker refused ... */
	SUSPECT_LOOKS = 2,	 /* ... and how many must agree that the topic ends below it */
};

void
peek_drop(struct slot *s)
{
	if (s->peek)
		rd_kafka_message_destroy(s->peek);
	s->peek = NULL;
}

void
slot_unassign(struct kafka *k, unsigned slot)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	rd_kafka_topic_partition_list_add(list, k->source->topic, (int32_t)slot);
	rd_kafka_error_t *error = rd_kafka_incremental_unassign(k->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	peek_drop(&k->slots[slot]);
	if (error)
		rd_kafka_error_destroy(error); /* it was not assigned: what we want */
}

void
slot_suspect(struct kafka *k, unsigned slot, struct mono now)
{
	struct slot *s = &k->slots[slot];

	slot_unassign(k, slot);
	s->state = SLOT_SUSPECT;
	s->kick = scout_kick(k);
	s->look_at = now;
	s->looks = 0;
}

/* The scout's answer: lost, not (yet) there, or a misunderstanding. */
static void
slot_judge(struct kafka *k, unsigned slot, const struct range *r, struct mono now)
{
	struct slot *s = &k->slots[slot];
	const char *topic = k->source->topic;

	if (s->next < r->first && !s->stored && !s->heard) {
		/* A first start: retention went on while we were connecting. */
		s->next = s->told = s->sent = r->first;
		s->state = SLOT_WAITING;
	} else if (s->next < r->first) {
		snprintf(k->alarm, sizeof k->alarm,
			 "LOSS: topic %s partition %u: offsets %" PRId64 " to %" PRId64
			 " are gone from the broker and were never read (retention?); the source "
			 "is stopped",
			 topic, slot, s->next, r->first - 1);
	} else if (s->next <= r->end) {
		s->state = SLOT_WAITING;
	} else if (++s->looks >= SUSPECT_LOOKS) {
		snprintf(k->alarm, sizeof k->alarm,
			 "LOSS: topic %s partition %u ends at %" PRId64
			 ", but it was read up to %" PRId64
			 " before: was the topic re-created? The source is stopped",
			 topic, slot, r->end, s->next);
	} else {
		/* A broker that has just started may know less of the end than it will. */
		s->look_at = mono_add_ms(now, SUSPECT_EVERY_MS);
		s->kick = 0;
	}
	if (k->alarm[0])
		log_error("source %s: %s", k->source->name.s, k->alarm);
}

void
suspects_look(struct kafka *k, struct mono now)
{
	struct shared *sh = &k->shared;

	for (unsigned i = 0; i < k->slots_n && !k->alarm[0]; i++) {
		struct slot *s = &k->slots[i];
		struct range r;
		bool answered;

		if (s->state != SLOT_SUSPECT || !mono_due(s->look_at, now))
			continue;
		if (!s->kick)
			s->kick = scout_kick(k);
		pthread_mutex_lock(&sh->lock);
		answered = sh->answered >= s->kick;
		r = sh->ranges[i];
		pthread_mutex_unlock(&sh->lock);
		if (answered)
			slot_judge(k, i, &r, now);
	}
}
