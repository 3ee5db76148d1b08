/*
 * kafka: topics as sources. One consumer handle per source; partitions are assigned by hand, there
 * is no group membership (the group only receives our offsets, for everyone's lag tools).
 *
 * Each partition keeps a queue of its own. A paused one is simply not read: librdkafka's pause
 * would throw away what was fetched and fetch it again, and in a shared queue a paused partition
 * would stand before the others. The queues' bound is therefore per partition:
 * kafka_queue_bytes_max divided by all partitions of all Kafka sources.
 */
#include "kafka_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kafka_origin.h"
#include "log.h"
#include "mem.h"

enum {
	KICK_EVERY_MS = 50,  /* see slots_dry */
	SERVE_MAX = 100,     /* callbacks and errors of one poll */
	PEEK_EVERY_MS = 250, /* looks at what waits, for its age */
	PEEK_TRIES = 8,	     /* messages that are no events, on the way to one */
};

/* ---- partitions ---- */

/* Slots for what the scout has found. True: the first listing is complete. */
static bool
slots_grow(struct kafka *k)
{
	struct shared *sh = &k->shared;
	char label[TOPIC_BYTES_MAX + 16];

	pthread_mutex_lock(&sh->lock);
	unsigned n = k->bounded ? sh->listing_n : sh->ranges_n;
	bool listed = sh->listing_n != 0;
	if (n > k->slots_n)
		k->slots = mem_resize(k->slots, n, sizeof *k->slots);
	for (; k->slots_n < n; k->slots_n++) {
		const struct range *r = &sh->ranges[k->slots_n];

		snprintf(label, sizeof label, "%s/%u", k->source->topic, k->slots_n);
		k->slots[k->slots_n] = (struct slot){.first = r->first,
						     .end = r->end,
						     .high = r->end,
						     .next = r->first,
						     .label = mem_string(label),
						     .late = k->slots_n >= sh->listing_n};
	}
	k->rk = sh->consumer;
	pthread_mutex_unlock(&sh->lock);
	return listed;
}

static bool
kafka_discover(void *self, struct source_found *out, unsigned max, unsigned *n, bool *listed,
	       struct err *e)
{
	struct kafka *k = self;

	(void)e;
	bool first_listing = slots_grow(k);
	for (*n = 0; *n < max && k->told_n < k->slots_n; k->told_n++, ++*n) {
		const struct slot *s = &k->slots[k->told_n];

		out[*n] = (struct source_found){.slot = k->told_n,
						.kind = PARTITION_DURABLE,
						.number = k->told_n,
						.label = s->label,
						.label_len = strlen(s->label)};
	}
	*listed = first_listing && k->told_n == k->slots_n;
	return true;
}

static bool
kafka_start(void *self, unsigned slot, int64_t next, struct err *e)
{
	struct kafka *k = self;
	struct slot *s = &k->slots[slot];

	(void)e;
	check(slot < k->slots_n && s->state == SLOT_FOUND);
	if (next >= 0) {
		s->next = next;
		s->stored = k->known_before = true;
	} else {
		/*
		 * "latest" is for the first start of a source; what is new in it later is read
		 * whole.
		 */
		bool skip = k->source->from_latest && !s->late && !k->known_before &&
			    next != SOURCE_POSITION_FIRST;
		s->next = skip ? s->end : s->first;
	}
	s->told = s->sent = s->next;
	s->state = k->bounded && s->next == s->end ? SLOT_ENDED : SLOT_WAITING;
	k->more = true;
	return true;
}

static bool
kafka_done(void *self, unsigned slot, int64_t next, int64_t bytes, struct err *e)
{
	(void)self, (void)slot, (void)next, (void)bytes;
	return err_set(e, EXIT_BUG, "a Kafka partition is never done");
}

static void
slot_queue_open(struct kafka *k, unsigned slot)
{
	static const uint64_t one = 1;
	struct slot *s = &k->slots[slot];

	if (s->queue)
		return;
	s->queue = rd_kafka_queue_get_partition(k->rk, k->source->topic, (int32_t)slot);
	check(s->queue);
	/* Before assigning: else what comes first goes to the handle's common queue. */
	rd_kafka_queue_forward(s->queue, NULL);
	rd_kafka_queue_io_event_enable(s->queue, k->event, &one, sizeof one);
}

static bool
slots_assign(struct kafka *k, struct err *e)
{
	rd_kafka_topic_partition_list_t *list = NULL;

	for (unsigned i = 0; i < k->slots_n; i++) {
		struct slot *s = &k->slots[i];

		if (s->state != SLOT_WAITING)
			continue;
		slot_queue_open(k, i);
		if (!list)
			list = rd_kafka_topic_partition_list_new(16);
		rd_kafka_topic_partition_list_add(list, k->source->topic, (int32_t)i)->offset =
		    s->next;
		s->state = SLOT_READING;
		s->at_end = false;
	}
	if (!list)
		return true;
	rd_kafka_error_t *error = rd_kafka_incremental_assign(k->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (!error)
		return true;
	err_set(e, EXIT_BUG, "assign: %s", rd_kafka_error_string(error));
	rd_kafka_error_destroy(error);
	return false;
}

/* ---- reading ---- */

static void
held_release(struct kafka *k)
{
	for (unsigned i = 0; i < k->held_n; i++)
		rd_kafka_message_destroy(k->held[i]);
	k->held_n = 0;
}

static void
slot_error(struct kafka *k, unsigned slot, const rd_kafka_message_t *m, struct mono now)
{
	struct slot *s = &k->slots[slot];

	switch (m->err) {
	case RD_KAFKA_RESP_ERR__PARTITION_EOF:
		/* Nothing is left below it, even where control records leave holes. */
		if (m->offset > s->next)
			s->next = m->offset;
		s->at_end = true;
		break;
	case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
	case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
		if (s->state == SLOT_READING)
			slot_suspect(k, slot, now);
		break;
	default:
		metric_source_add(k->page, k->index, METRIC_SOURCE_ERRORS, 1);
		scout_kick(k); /* it says what is wrong, if it lasts */
	}
}

/* Broker time of a message, microseconds since 1970; false: it has none. */
static bool
message_time(const rd_kafka_message_t *m, int64_t *us)
{
	rd_kafka_timestamp_type_t type;
	int64_t ms = rd_kafka_message_timestamp(m, &type);

	if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || ms < 0 || ms >= INT64_MAX / 1000)
		return false;
	*us = ms * 1000;
	return true;
}

static void
slot_event(struct kafka *k, unsigned slot, rd_kafka_message_t *m, struct source_event *ev)
{
	struct slot *s = &k->slots[slot];

	s->next = m->offset + 1;
	s->at_end = false;
	*ev = (struct source_event){
	    .slot = slot, .offset = m->offset, .data = m->payload, .len = m->len};
	ev->has_broker_time = message_time(m, &ev->broker_time_us);
	if (k->origins)
		origin_read(m, ev);
	else if (m->len > k->event_bytes_max)
		ev->reason = "larger than event_bytes_max";
}

/* What was looked at before, then what the partition's queue has; at most max. */
static ssize_t
slot_take(struct slot *s, rd_kafka_message_t **got, unsigned max)
{
	ssize_t n = 0, more = 0;

	if (s->peek)
		got[n++] = s->peek;
	s->peek = NULL;
	if ((size_t)n < max)
		more = rd_kafka_consume_batch_queue(s->queue, 0, got + n, max - (size_t)n);
	return n + (more > 0 ? more : 0);
}

/* Takes at most max messages from one partition's queue; the number of events among them. */
static unsigned
slot_read(struct kafka *k, unsigned slot, struct source_event *events, unsigned max,
	  struct mono now)
{
	struct slot *s = &k->slots[slot];
	rd_kafka_message_t **got = k->held + k->held_n;
	ssize_t taken = slot_take(s, got, max);
	unsigned n = 0;

	if (taken == (ssize_t)max)
		k->more = true;
	for (ssize_t i = 0; i < taken; i++) {
		rd_kafka_message_t *m = got[i];
		bool wanted = !m->err && s->state == SLOT_READING && m->offset >= s->next;

		s->heard = s->heard || wanted || m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
		if (wanted && k->bounded && m->offset >= s->end && s->end > s->next)
			s->next = s->end; /* the end lay in a hole */
		if (wanted && !(k->bounded && s->next >= s->end)) {
			slot_event(k, slot, m, &events[n]);
			got[n++] = m;
			continue;
		}
		if (m->err)
			slot_error(k, slot, m, now);
		rd_kafka_message_destroy(m);
	}
	k->held_n += n;
	/* Beyond its end only if the broker has that too (a shorter topic is a loss). */
	if (k->bounded && s->state == SLOT_READING &&
	    (s->next == s->end || (s->next > s->end && s->heard))) {
		s->state = SLOT_ENDED;
		slot_unassign(k, slot);
	}
	return n;
}

static void
slot_high(struct kafka *k, unsigned slot)
{
	struct slot *s = &k->slots[slot];
	int64_t low, high;

	if (!rd_kafka_get_watermark_offsets(k->rk, k->source->topic, (int32_t)slot, &low, &high) &&
	    high > s->high)
		s->high = high;
	if (s->next > s->high)
		s->high = s->next;
}

static bool
slot_caught_up(const struct slot *s)
{
	return s->at_end || s->next >= s->high;
}

/* The first event that waits in the partition's queue; it stays the next to be read. */
static void
slot_peek(struct kafka *k, unsigned slot, struct mono now)
{
	struct slot *s = &k->slots[slot];
	rd_kafka_message_t *m;

	for (int i = 0; i < PEEK_TRIES && !s->peek && s->state == SLOT_READING; i++) {
		if (rd_kafka_consume_batch_queue(s->queue, 0, &m, 1) != 1)
			return;
		s->heard = s->heard || !m->err || m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
		if (!m->err && m->offset >= s->next) {
			s->peek = m;
			s->at_end = false;
			k->more = k->more || !s->paused; /* its queue may wake nobody for it */
			return;
		}
		if (m->err)
			slot_error(k, slot, m, now);
		rd_kafka_message_destroy(m);
	}
}

/* How long something has been waiting is asked for metrics alone, so seldom. */
static void
slots_peek(struct kafka *k, struct mono now)
{
	if (k->bounded || !mono_due(k->peek_at, now))
		return;
	k->peek_at = mono_add_ms(now, PEEK_EVERY_MS);
	for (unsigned i = 0; i < k->slots_n; i++) {
		struct slot *s = &k->slots[i];

		if (s->state != SLOT_READING)
			continue;
		slot_high(k, i);
		if (s->next < s->high)
			slot_peek(k, i, now);
		if (s->peek && !message_time(s->peek, &s->waits_us))
			s->waits_us = 0;
	}
}

static unsigned
slots_read(struct kafka *k, struct source_event *events, unsigned max, struct mono now)
{
	unsigned n = 0;

	k->more = k->dry = false;
	for (unsigned i = 0; i < k->slots_n && n < max; i++) {
		unsigned slot = (k->turn + i) % k->slots_n;
		struct slot *s = &k->slots[slot];

		if (s->state != SLOT_READING || s->paused)
			continue;
		n += slot_read(k, slot, events + n, max - n, now);
		slot_high(k, slot);
		k->dry = k->dry || !slot_caught_up(s);
	}
	if (n == max)
		k->more = true; /* some partitions were not even asked */
	k->dry = k->dry && n == 0;
	k->turn++;
	return n;
}

/*
 * A full queue makes librdkafka 2.0 stop fetching that partition until its broker thread looks
 * again, which it does once a second when nothing else wakes it. A question of the scout does.
 */
static void
slots_dry(struct kafka *k, struct mono now)
{
	if (!k->dry || !mono_due(k->kick_at, now))
		return;
	pthread_mutex_lock(&k->shared.lock);
	bool pending = k->shared.failures || k->shared.answered != k->shared.kicks;
	pthread_mutex_unlock(&k->shared.lock);
	if (!pending)
		scout_kick(k);
	k->kick_at = mono_add_ms(now, KICK_EVERY_MS);
}

/* ---- the driver ---- */

static void
errors_count(struct kafka *k)
{
	pthread_mutex_lock(&k->shared.lock);
	unsigned more = k->shared.errors - k->errors_seen;
	pthread_mutex_unlock(&k->shared.lock);
	if (!more)
		return;
	k->errors_seen += more;
	metric_source_add(k->page, k->index, METRIC_SOURCE_ERRORS, more);
	scout_kick(k);
}

static bool
kafka_poll(void *self, struct mono now, struct source_event *events, unsigned max, unsigned *n,
	   struct err *e)
{
	struct kafka *k = self;
	rd_kafka_message_t *m;
	uint64_t raised;

	*n = 0;
	held_release(k);
	if (read(k->event, &raised, sizeof raised) < 0)
		check(errno == EAGAIN);
	errors_count(k);
	if (!k->rk || !k->slots_n)
		return true;
	for (unsigned i = 0; i < SERVE_MAX && (m = rd_kafka_consumer_poll(k->rk, 0)); i++)
		rd_kafka_message_destroy(m); /* connection errors; errors_heard has them */
	group_serve(k, now);
	if (k->alarm[0])
		return true;
	suspects_look(k, now);
	if (!slots_assign(k, e))
		return false;
	if (max > SOURCE_BATCH_MAX)
		max = SOURCE_BATCH_MAX;
	if (max) {
		*n = slots_read(k, events, max, now);
		slots_dry(k, now);
	}
	slots_peek(k, now);
	return true;
}

static void
kafka_frontier(void *self, unsigned slot, struct source_frontier *out)
{
	const struct slot *s = &((struct kafka *)self)->slots[slot];
	bool waits = s->state == SLOT_READING && (s->peek || s->next < s->high);

	*out = (struct source_frontier){.next = s->next,
					.caught_up = s->state != SLOT_SUSPECT && slot_caught_up(s),
					.finished = s->state == SLOT_ENDED,
					.backlog =
					    s->high > s->next ? (uint64_t)(s->high - s->next) : 0,
					.waits_us = waits ? s->waits_us : 0};
}

static void
kafka_pause(void *self, unsigned slot, bool paused)
{
	struct kafka *k = self;

	if (k->slots[slot].paused && !paused)
		k->more = true; /* its queue may have woken us while it was paused */
	k->slots[slot].paused = paused;
}

static void
kafka_committed(void *self, unsigned slot, int64_t next)
{
	struct kafka *k = self;

	if (next > k->slots[slot].told) {
		k->slots[slot].told = next;
		k->commit_due = true;
	}
}

static unsigned
kafka_watch(void *self, struct pollfd *fds, unsigned max)
{
	struct kafka *k = self;

	if (!max)
		return 0;
	fds[0] = (struct pollfd){.fd = k->event, .events = POLLIN};
	return 1;
}

static struct mono
kafka_next(void *self)
{
	struct kafka *k = self;
	struct mono next = mono_never();

	if (!k->rk || k->alarm[0])
		return next;
	if (k->more)
		return (struct mono){0};
	if (k->dry)
		next = mono_min(next, k->kick_at);
	if (k->commit_due && !k->commit_out)
		next = mono_min(next, k->commit_at);
	for (unsigned i = 0; i < k->slots_n; i++)
		if (k->slots[i].state == SLOT_SUSPECT && !k->slots[i].kick)
			next = mono_min(next, k->slots[i].look_at);
	return next;
}

static const char *
kafka_trouble(void *self)
{
	struct kafka *k = self;

	if (k->alarm[0])
		return k->alarm;
	pthread_mutex_lock(&k->shared.lock);
	bool failing = k->shared.failures != 0;
	if (failing)
		snprintf(k->trouble, sizeof k->trouble, "%s", k->shared.why);
	pthread_mutex_unlock(&k->shared.lock);
	return failing ? k->trouble : NULL;
}

static void
kafka_close(void *self)
{
	struct kafka *k = self;

	if (!k)
		return;
	if (k->rk)
		group_flush(k);
	held_release(k);
	scout_end(k);
	rd_kafka_t *consumer = k->shared.consumer;
	for (unsigned i = 0; i < k->slots_n; i++) {
		peek_drop(&k->slots[i]);
		if (k->slots[i].queue)
			rd_kafka_queue_destroy(k->slots[i].queue);
		free(k->slots[i].label);
	}
	free(k->slots);
	if (consumer)
		rd_kafka_destroy_flags(consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	free(k);
}

static bool
kafka_open(const struct source_setup *setup, void **out, struct err *e)
{
	struct kafka *k = mem_zero(1, sizeof *k);
	unsigned sources = 0;

	for (unsigned i = 0; i < setup->model->sources_n; i++)
		sources += setup->model->sources[i].kind == SOURCE_KAFKA;
	k->source = setup->source;
	k->page = setup->page;
	k->index = setup->index;
	k->bounded = setup->bounded;
	k->origins = setup->origins;
	k->event_bytes_max = setup->model->limits.event_bytes_max;
	k->queue_bytes_max = setup->model->limits.kafka_queue_bytes_max / (sources ? sources : 1);
	k->event = -1;
	if (!scout_begin(k, setup, e)) {
		kafka_close(k);
		return false;
	}
	*out = k;
	return true;
}

const struct source_kind_ops source_kafka = {
    .open = kafka_open,
    .discover = kafka_discover,
    .start = kafka_start,
    .done = kafka_done,
    .poll = kafka_poll,
    .frontier = kafka_frontier,
    .pause = kafka_pause,
    .committed = kafka_committed,
    .watch = kafka_watch,
    .next = kafka_next,
    .trouble = kafka_trouble,
    .close = kafka_close,
};
