#include "ingest.h"

#include <string.h>

#include "align.h"
#include "log.h"
#include "outlet.h"
#include "replay.h"

static bool
secret_get(void *ctx, const char *name, struct buf *out)
{
	struct err e;

	return skel_secret(ctx, name, out, &e);
}

bool
reader_open(struct ingest *in, struct err *e)
{
	for (unsigned i = 0; i < in->sources_n; i++) {
		const struct source *s = &in->m->sources[i];
		struct driver *d = &in->drivers[i];
		struct source_setup setup = {.model = in->m,
					     .source = s,
					     .index = i,
					     .ingest = in->w->index,
					     .ingests = in->w->count[ROLE_INGEST],
					     .page = in->w->page,
					     .bounded = in->w->bounded,
					     .until_wall_us = in->w->until_wall_us,
					     .secret = secret_get,
					     .secret_ctx = in->w};

		if (s->kind == SOURCE_RABBITMQ && !in->has_rid_key)
			return err_set(e, EXIT_CONFIG, "source %s: no rid key was handed over",
				       s->name.s);
		in->timed[i] = s->time != TIME_NONE;
		d->source = s;
		d->ops = source_kind_ops(s->kind);
		if (!d->ops->open(&setup, &d->self, e)) {
			d->self = NULL;
			return err_context(e, "source %s", s->name.s);
		}
		if (in->outlet && !outlet_join(in, i, &setup, e))
			return err_context(e, "source %s", s->name.s);
	}
	return true;
}

void
reader_close(struct ingest *in)
{
	for (unsigned i = 0; i < in->sources_n; i++)
		if (in->drivers[i].self)
			in->drivers[i].ops->close(in->drivers[i].self);
}

/* Driver's view of what may be read: align's word, and everything when it is blocked for long. */
static void
pause_tell(struct ingest *in, struct ingest_partition *part)
{
	struct driver *d = &in->drivers[part->source];
	if (part->made)
		return;
	bool pause = part->aligned || in->paused_all || !part_settled(&in->parts, part);

	if (pause != part->paused)
		d->ops->pause(d->self, part->slot, pause);
	part->paused = pause;
}

static void
pauses_tell(struct ingest *in)
{
	for (uint32_t i = 0; i < in->parts.reading_n; i++)
		if (in->parts.reading[i]->state == PART_READING)
			pause_tell(in, in->parts.reading[i]);
}

void
reader_made_start(struct ingest *in, struct ingest_partition *part, struct mono now)
{
	parts_start(&in->parts, part, SOURCE_POSITION_NONE, now);
	part->caught_up = true;
}

bool
reader_start(struct ingest *in, struct ingest_partition *part, struct mono now, struct err *e)
{
	struct driver *d = &in->drivers[part->source];

	if (part->made) {
		reader_made_start(in, part, now);
		return true;
	}
	if (part->state == PART_DONE)
		return d->ops->done(d->self, part->slot, part->done_next, part->done_bytes, e);
	int64_t at = in->outlet ? outlet_start(in, part)
				: part_start_position(&in->parts, part, d->source->from_latest);
	if (!d->ops->start(d->self, part->slot, at, e))
		return err_context(e, "source %s", d->source->name.s);
	parts_start(&in->parts, part, at, now);
	if (at == SOURCE_POSITION_NONE && d->source->from_latest) {
		struct source_frontier f = {0};

		d->ops->frontier(d->self, part->slot, &f);
		part_settle(part, f.next);
		pause_tell(in, part);
	}
	return true;
}

static bool
found_take(struct ingest *in, unsigned source, const struct source_found *f, struct mono now,
	   struct err *e)
{
	struct ingest_partition *part;
	bool divided = in->outlet != NULL; /* by the broker, not among us */

	if (divided && !outlet_owns(in, source, f))
		return true;
	if (!parts_found(&in->parts, source, in->m->sources[source].label, f,
			 divided ? 0 : in->w->index, divided ? 1 : in->w->count[ROLE_INGEST], &part,
			 e))
		return err_context(e, "source %s", in->m->sources[source].name.s);
	if (part->state == PART_WANTED)
		in->wanted++;
	if (part->state == PART_READY || part->state == PART_DONE)
		return reader_start(in, part, now, e);
	return true;
}

/* What earlier runs have read and the source does not show any more: it holds nothing back. */
static void
absent_take(struct ingest *in, unsigned source, struct mono now)
{
	struct driver *d = &in->drivers[source];
	const struct absent_setup is = {.label = d->source->label,
					.ingest = in->w->index,
					.ingests = in->w->count[ROLE_INGEST],
					.from_latest = d->source->from_latest,
					.bounded = in->w->bounded};

	if (!d->listed || d->absent)
		return;
	d->absent = true;
	uint32_t n = parts_absent(&in->parts, source, &is, now);
	if (n)
		log_info("source %s: %u partitions of earlier runs are not there any more",
			 d->source->name.s, n);
}

bool
reader_discover(struct ingest *in, struct mono now, bool *more, struct err *e)
{
	for (unsigned i = 0; i < in->sources_n; i++) {
		struct driver *d = &in->drivers[i];
		struct source_found found[FOUND_MAX];
		unsigned n = 0;

		if (in->outlet && !outlet_divided(in, i))
			continue;
		if (!d->ops->discover(d->self, found, FOUND_MAX, &n, &d->listed, e))
			return err_context(e, "source %s", d->source->name.s);
		for (unsigned k = 0; k < n; k++)
			if (!found_take(in, i, &found[k], now, e))
				return false;
		*more = *more || n == FOUND_MAX;
		absent_take(in, i, now);
	}
	if (in->outlet)
		return outlet_names(in, now, e);
	parts_absent_told(&in->parts);
	names_ask(in);
	return true;
}

bool
reader_listed(const struct ingest *in)
{
	for (unsigned i = 0; i < in->sources_n; i++)
		if (!in->drivers[i].listed)
			return false;
	return true;
}

/* What each partition of the source shows now that the poll's events are routed. */
static void
frontiers_take(struct ingest *in, unsigned source, struct mono now)
{
	struct driver *d = &in->drivers[source];
	uint64_t backlog = 0;
	int64_t newest = 0, waits_us = 0;

	for (uint32_t i = 0; i < in->parts.reading_n; i++) {
		struct ingest_partition *part = in->parts.reading[i];
		struct source_frontier f = {0};

		if (part->source != source || part->state != PART_READING || part->made)
			continue;
		d->ops->frontier(d->self, part->slot, &f);
		if (f.waits_us && (!waits_us || f.waits_us < waits_us))
			waits_us = f.waits_us;
		/* Not everything below the driver's frontier is routed while events are held. */
		if (part->held)
			part->backlog = f.backlog + part->held;
		else
			part_frontier(part, &f, now);
		backlog += part->backlog;
		if (part->has_time && part->time_max_us > newest)
			newest = part->time_max_us;
	}
	d->waits_us = waits_us;
	metric_source_set(in->w->page, source, METRIC_SOURCE_BACKLOG, backlog);
	metric_source_set(in->w->page, source, METRIC_SOURCE_TIME_SECONDS, (uint64_t)newest);
}

/*
 * How many events may come: by number, by the bytes they are likely to have, and by what credit is
 * left.
 */
static unsigned
poll_size(const struct ingest *in, const struct driver *d)
{
	uint64_t bytes = in->credit.limit_bytes - in->credit.used_bytes;
	uint64_t each = d->event_bytes ? d->event_bytes : 1024;

	if (bytes > POLL_BYTES)
		bytes = POLL_BYTES;
	uint64_t n = bytes / each;
	if (n > SOURCE_BATCH_MAX)
		return SOURCE_BATCH_MAX;
	return n ? (unsigned)n : 1;
}

int64_t
reader_waits_us(const struct ingest *in)
{
	int64_t oldest_us = 0;

	for (unsigned i = 0; i < in->sources_n; i++) {
		int64_t us = in->drivers[i].waits_us;
		if (us && (!oldest_us || us < oldest_us))
			oldest_us = us;
	}
	return oldest_us;
}

bool
reader_may_read(const struct ingest *in)
{
	return in->phase == INGEST_READING && !in->w->draining && credit_left(&in->credit) &&
	       (!in->outlet || outlet_ready(in)) && (!in->sealing || sealing_ready(in->sealing));
}

static bool
source_poll(struct ingest *in, unsigned source, struct mono now, bool *more, struct err *e)
{
	struct driver *d = &in->drivers[source];
	int64_t wall_us = wall_now_us();
	uint64_t bytes = 0;

	if (in->sealing)
		sealing_look(in->sealing, now, wall_us);
	unsigned max = reader_may_read(in) ? poll_size(in, d) : 0, n = 0;
	if (!d->ops->poll(d->self, now, in->events, max, &n, e))
		return err_context(e, "source %s", d->source->name.s);
	check(n <= max);
	for (unsigned i = 0; i < n; i++) {
		bytes += in->events[i].len;
		if (!event_take(in, source, &in->events[i], wall_us, now, e))
			return false;
	}
	if (n) {
		d->event_bytes = bytes / n + 1;
		metric_source_add(in->w->page, source, METRIC_SOURCE_EVENTS, n);
		metric_source_add(in->w->page, source, METRIC_SOURCE_BYTES, bytes);
		skel_progress(in->w);
		*more = true;
	}
	if (in->phase == INGEST_READING && !in->w->draining)
		frontiers_take(in, source, now);
	return true;
}

/*
 * Out of credit, or without keys, nothing is read; when it lasts, sources are told, so that they
 * stop fetching too.
 */
static void
blocked_watch(struct ingest *in, struct mono now)
{
	bool starved = !credit_left(&in->credit);
	bool blocked = starved || (in->sealing && !sealing_ready(in->sealing)) ||
		       (in->outlet && !outlet_ready(in));

	if (starved && !in->starved)
		metric_add(in->w->page, METRIC_CREDIT_WAITS, 1);
	if (blocked && !in->blocked)
		in->blocked_at = now;
	if (!blocked && in->blocked)
		for (uint32_t i = 0; i < in->parts.reading_n; i++)
			in->parts.reading[i]->moved_at = now; /* nobody was slow meanwhile */
	in->starved = starved;
	in->blocked = blocked;
	in->paused_all =
	    in->w->draining || (blocked && mono_since_ms(in->blocked_at, now) > BLOCKED_PAUSE_MS);
}

bool
reader_poll(struct ingest *in, struct mono now, bool *more, struct err *e)
{
	blocked_watch(in, now);
	for (unsigned i = 0; i < in->sources_n; i++)
		if (!source_poll(in, i, now, more, e))
			return false;
	return true;
}

void
reader_align(struct ingest *in, struct mono now)
{
	if (in->phase == INGEST_READING && !in->blocked && mono_due(in->align_at, now)) {
		unsigned held =
		    align_decide(&in->parts, in->troubled, in->timed, in->m->limits.align_us, now);

		metric_add(in->w->page, METRIC_ALIGN_PAUSES, held);
		in->align_at = mono_add_ms(now, ALIGN_EVERY_MS);
	}
	pauses_tell(in);
}

void
reader_trouble(struct ingest *in)
{
	const char *keeper = in->sealing && in->phase == INGEST_READING && !in->w->draining
				 ? sealing_waits(in->sealing)
				 : NULL;
	const char *exchange = in->outlet ? outlet_trouble(in, mono_now()) : NULL;
	bool told = false;

	for (unsigned i = 0; i < in->sources_n; i++) {
		const struct driver *d = &in->drivers[i];
		const char *why = d->ops->trouble(d->self);

		if (!why && in->outlet)
			why = outlet_source_trouble(in, i);
		in->troubled[i] = why != NULL;
		if (!why || told)
			continue;
		skel_wait(in->w, WAIT_SOURCE, "source %s: %s", d->source->name.s, why);
		told = true;
	}
	if (!told && exchange)
		skel_wait(in->w, WAIT_PEERS, "exchange: %s", exchange);
	else if (!told && keeper)
		skel_wait(in->w, WAIT_PEERS, "keeper: %s", keeper);
	else if (!told && in->phase == INGEST_WAITING && in->outlet)
		skel_wait(in->w, WAIT_PEERS, "keeper: it has not told of the pipeline yet");
	else if (!told && in->phase == INGEST_WAITING)
		skel_wait(in->w, WAIT_PEERS, "the lanes have not taken over yet");
	else if (!told)
		skel_wait(in->w, WAIT_NOTHING, "%s", "");
}

struct mono
reader_next(const struct ingest *in)
{
	struct mono next = mono_never();

	/*
	 * A driver that has events is due at once, and stays so while nothing may be read: then it
	 * is served by time (SERVE_MS), as its descriptors are.
	 */
	if (!reader_may_read(in))
		return next;
	for (unsigned i = 0; i < in->sources_n; i++)
		next = mono_min(next, in->drivers[i].ops->next(in->drivers[i].self));
	return next;
}

unsigned
reader_watch(const struct ingest *in, struct pollfd *fds, unsigned max)
{
	unsigned n = 0;

	/*
	 * While nothing may be read a ready descriptor would only spin: sources are served by time.
	 */
	if (!reader_may_read(in))
		return 0;
	for (unsigned i = 0; i < in->sources_n && n + SOURCE_FDS_MAX <= max; i++)
		n += in->drivers[i].ops->watch(in->drivers[i].self, fds + n, SOURCE_FDS_MAX);
	return n;
}

/* What is durable in every lane is answered to the broker. */
void
reader_answer(struct ingest *in, const struct committed *c, unsigned lane)
{
	for (uint32_t i = 0; i < c->positions_n; i++) {
		struct ingest_partition *part = parts_id(&in->parts, c->positions[i].partition);

		if (!part || part->state != PART_READING)
			continue;
		if (part->made) {
			replay_committed(in, part, lane);
			continue;
		}
		int64_t min = part_committed_min(&in->parts, part);
		if (min <= part->answered)
			continue;
		part->answered = min;
		in->drivers[part->source].ops->committed(in->drivers[part->source].self, part->slot,
							 min);
	}
}
