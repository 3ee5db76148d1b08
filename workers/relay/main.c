#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"
#include "relay.h"

/* ---- birth ---- */

/* The page outlives its worker: what waited when the last one ended waits still. */
static void
before_take(struct relay *r)
{
	int64_t age_us = (int64_t)metric_get(r->w->page, METRIC_OLDEST_UNCOMMITTED_SECONDS);

	if (age_us > 0)
		r->before_us = wall_now_us() - age_us;
}

static bool
relay_open(struct worker *w, struct err *e)
{
	struct relay *r = mem_zero(1, sizeof *r);
	const struct model *m = w->model;

	w->state = r;
	r->w = w;
	r->m = m;
	r->lanes = w->count[ROLE_CORRELATE];
	r->exchange = m->sources_n - 1;
	if (!model_exchange(m) || m->sources[r->exchange].kind != SOURCE_EXCHANGE || !r->lanes)
		return err_set(e, EXIT_BUG, "a relay without exchange or lanes");
	r->source = m->sources[r->exchange];
	r->source.brokers = m->exchange.brokers;
	r->source.topic = m->exchange.topic;
	r->source.properties = m->exchange.properties;
	r->source.properties_n = m->exchange.properties_n;
	r->source.from_latest = false;
	r->groups = mem_zero(m->groups, sizeof *r->groups);
	labels_init(&r->labels);
	r->limit_bytes = m->limits.inflight_bytes_max;
	uint64_t share = r->limit_bytes / ((uint64_t)r->lanes * RELAY_SHARES);
	r->flush_bytes = share < FRAME_BYTES_FLUSH ? share : FRAME_BYTES_FLUSH;
	metric_set(w->page, METRIC_INFLIGHT_BYTES_MAX, r->limit_bytes);
	before_take(r);
	return true;
}

/* The driver asks by the names that a source's settings have. */
static bool
secret_get(void *ctx, const char *name, struct buf *out)
{
	static const char prefix[] = "sources." SOURCE_EXCHANGE_NAME ".kafka.";
	char own[160];
	struct err e;

	if (strncmp(name, prefix, sizeof prefix - 1) != 0)
		return false;
	snprintf(own, sizeof own, "exchange.%s", name + sizeof prefix - 1);
	return skel_secret(ctx, own, out, &e);
}

static bool
relay_start(struct worker *w, struct err *e)
{
	struct relay *r = w->state;
	char group[MEMBER_NAME_MAX];
	struct source_setup setup = {.model = r->m,
				     .source = &r->source,
				     .index = r->exchange,
				     .ingests = 1,
				     .page = w->page,
				     .origins = true,
				     .secret = secret_get,
				     .secret_ctx = w};
	struct member_setup join = {.source = &setup, .group = group, .name = w->instance};

	keyhash_init();
	snprintf(group, sizeof group, "weir.%s.lanes", r->m->pipeline.s);
	r->ops = &source_kafka;
	if (!r->ops->open(&setup, &r->driver, e)) {
		r->driver = NULL;
		return err_context(e, "exchange");
	}
	if (!member_open(&join, &r->member, e))
		return err_context(e, "exchange");
	return true;
}

/* ---- frames ---- */

static bool
own_take(struct relay *r, const struct frame *f, struct err *e)
{
	struct own o;

	pack_reader_start(&r->reader, f->body, f->head.bytes);
	if (!wire_own_read(&r->reader, &o))
		return err_set(e, EXIT_BUG, "OWN: %s", r->reader.why);
	bool good = groups_own(r, f->from_index, &o, e);
	own_free(&o);
	return good;
}

static bool
last_take(struct relay *r, unsigned lane, struct err *e)
{
	unsigned ended = 0;

	if (!r->lane[lane].last)
		return err_set(e, EXIT_BUG, "lane %u ended before the relay did", lane);
	r->lane[lane].ended = true;
	for (unsigned i = 0; i < r->lanes; i++)
		ended += r->lane[i].ended;
	if (ended == r->lanes)
		skel_end(r->w, EXIT_DONE, "everything read is committed");
	return true;
}

static bool
committed_take(struct relay *r, const struct frame *f, struct err *e)
{
	struct committed c;

	pack_reader_start(&r->reader, f->body, f->head.bytes);
	if (!wire_committed_read(&r->reader, &c))
		return err_set(e, EXIT_BUG, "COMMITTED: %s", r->reader.why);
	bool good = groups_committed(r, f->from_index, &c, e);
	committed_free(&c);
	if (good && (f->head.flags & FRAME_LAST))
		good = last_take(r, f->from_index, e);
	return good;
}

static bool
relay_frame(struct worker *w, const struct frame *f, struct err *e)
{
	struct relay *r = w->state;

	switch ((enum frame_type)f->head.type) {
	case FRAME_OWN:
		return own_take(r, f, e);
	case FRAME_PART:
		return labels_part(r, f, e);
	case FRAME_COMMITTED:
		return committed_take(r, f, e);
	default:
		return err_set(e, EXIT_BUG, "relay takes no %s",
			       frame_name((enum frame_type)f->head.type));
	}
}

/* ---- turns ---- */

static bool
may_read(const struct relay *r)
{
	return r->lanes_own == r->lanes && !r->w->draining && !r->held_n &&
	       r->used_bytes < r->limit_bytes;
}

static unsigned
relay_watch(struct worker *w, struct pollfd *fds, unsigned max)
{
	struct relay *r = w->state;
	unsigned n = 1;

	fds[0] = (struct pollfd){.fd = member_fd(r->member), .events = POLLIN};
	if (may_read(r))
		n += r->ops->watch(r->driver, fds + n, max - n);
	return n;
}

/* False: this life is over, or *e says why. */
static bool
member_turn(struct relay *r, struct mono now, struct err *e)
{
	const uint32_t *owned;
	unsigned n;

	switch (member_poll(r->member, now)) {
	case MEMBER_JOINING:
		return true;
	case MEMBER_OWNS:
		if (r->claimed)
			return true;
		owned = member_owned(r->member, &n);
		if (n && owned[n - 1] >= r->m->groups)
			return err_set(e, EXIT_CONFIG,
				       "topic %s has more partitions than the pipeline has key "
				       "groups (%u)",
				       r->source.topic, r->m->groups);
		groups_claim(r, owned, n);
		return true;
	case MEMBER_LOST:
		skel_end(r->w, CTL_BYE_REBORN, "the exchange's key groups are divided anew");
		return true;
	case MEMBER_FENCED:
		break;
	}
	return err_set(e, EXIT_UNAVAILABLE,
		       "another replica has joined as \"%s\": each needs an --instance of its own",
		       r->w->instance);
}

static bool
discover(struct relay *r, struct err *e)
{
	struct source_found found[RELAY_FOUND_MAX];
	unsigned n = 0;

	if (r->listed)
		return true;
	if (!r->ops->discover(r->driver, found, RELAY_FOUND_MAX, &n, &r->listed, e))
		return false;
	r->found += n;
	if (r->found > r->m->groups || (r->listed && r->found != r->m->groups))
		return err_set(e, EXIT_CONFIG,
			       "topic %s has %u partitions, but the pipeline has %u key groups: "
			       "`weir apply` makes it as it is to be",
			       r->source.topic, r->found, r->m->groups);
	for (unsigned i = 0; i < n; i++)
		r->groups[found[i].slot].found = true;
	return true;
}

static unsigned
poll_size(const struct relay *r)
{
	uint64_t bytes = r->limit_bytes - r->used_bytes;
	uint64_t each = r->event_bytes ? r->event_bytes : 1024;
	uint64_t n = (bytes < RELAY_POLL_BYTES ? bytes : RELAY_POLL_BYTES) / each;

	if (n > SOURCE_BATCH_MAX)
		return SOURCE_BATCH_MAX;
	return n ? (unsigned)n : 1;
}

static bool
read_turn(struct relay *r, struct mono now, bool *more, struct err *e)
{
	unsigned max = may_read(r) ? poll_size(r) : 0, n = 0;
	uint64_t bytes = 0;

	if (!r->ops->poll(r->driver, now, r->events, max, &n, e))
		return err_context(e, "exchange");
	for (unsigned i = 0; i < n; i++) {
		bytes += r->events[i].len;
		if (!record_take(r, &r->events[i], now, e))
			return false;
	}
	if (n) {
		r->event_bytes = bytes / n + 1;
		metric_source_add(r->w->page, r->exchange, METRIC_SOURCE_EVENTS, n);
		metric_source_add(r->w->page, r->exchange, METRIC_SOURCE_BYTES, bytes);
		skel_progress(r->w);
		*more = true;
	}
	if (!r->held_n && !r->w->draining)
		groups_frontiers(r);
	return true;
}

static void
waits_tell(struct relay *r)
{
	const char *why = member_trouble(r->member);

	if (!why && r->stopped)
		why = r->stopped_why;
	if (!why)
		why = r->ops->trouble(r->driver);
	if (why)
		skel_wait(r->w, WAIT_SOURCE, "exchange: %s", why);
	else if (!r->claimed)
		skel_wait(r->w, WAIT_PEERS, "the group of replicas has not divided the key groups");
	else if (r->lanes_own < r->lanes)
		skel_wait(r->w, WAIT_PEERS, "the lanes have not taken over yet");
	else
		skel_wait(r->w, WAIT_NOTHING, "%s", "");
}

static void
drain_turn(struct relay *r, struct mono now)
{
	if (!r->w->draining || r->lane[0].last)
		return;
	if (r->lanes_own < r->lanes)
		skel_end(r->w, CTL_BYE_REBORN, "asked to stop before the lanes had taken over");
	else
		groups_last(r, now);
}

static void
metrics_set(struct relay *r)
{
	int64_t oldest_us = groups_oldest(r), now_us = wall_now_us();

	r->w->queued = r->held_n;
	for (unsigned i = 0; i < r->lanes; i++)
		r->w->queued += r->lane[i].count;
	metric_set(r->w->page, METRIC_INFLIGHT_BYTES, r->used_bytes);
	/* The exchange's clock may be ahead of ours. */
	metric_set(r->w->page, METRIC_OLDEST_UNCOMMITTED_SECONDS,
		   oldest_us && oldest_us < now_us ? (uint64_t)(now_us - oldest_us) : 0);
}

static bool
relay_tick(struct worker *w, struct mono now, struct mono *next, struct err *e)
{
	struct relay *r = w->state;
	struct mono flush = mono_never();
	bool more = false;

	if (!member_turn(r, now, e))
		return false;
	if (w->ending)
		return true;
	if (!discover(r, e) || !groups_start(r, e) || !read_turn(r, now, &more, e))
		return false;
	/* Nothing follows LAST: what waits for an id then is its next reader's. */
	if (!w->draining) {
		if (!records_release(r, now, e))
			return false;
		labels_ask(r);
	}
	waits_tell(r);
	if (r->lanes_own == r->lanes)
		flush = groups_flush(r, now);
	drain_turn(r, now);
	metrics_set(r);
	*next = more ? now : mono_min(flush, mono_add_ms(now, RELAY_SERVE_MS));
	if (may_read(r))
		*next = mono_min(*next, r->ops->next(r->driver));
	return true;
}

static void
relay_stop(struct worker *w)
{
	struct relay *r = w->state;

	if (!r)
		return;
	/* Who has everything has nobody to leave it to; it need not wait at its return. */
	if (w->draining && r->ours_n < r->m->groups)
		member_leave(r->member);
	member_close(r->member);
	if (r->driver)
		r->ops->close(r->driver);
	records_free(r);
	groups_free(r);
	labels_free(&r->labels);
	pack_reader_free(&r->reader);
	free(r);
	w->state = NULL;
}

static const struct worker_ops ops = {
    .role = ROLE_RELAY,
    .open = relay_open,
    .start = relay_start,
    .frame = relay_frame,
    .watch = relay_watch,
    .tick = relay_tick,
    .stop = relay_stop,
};

int
main(int argc, char **argv)
{
	return skel_main(argc, argv, &ops);
}
