/*
 * ingest: reads sources, decodes, routes by key group. The way of an event: a driver (kafka.c,
 * rabbit.c, file.c) hands it over in poll, decode.c makes a record of it, route.c puts it into the
 * buffer of its lane and sends it with the covers of partitions.c; COMMITTED comes back from load,
 * gives credit back (credit.c) and is answered to the broker. Where the pipeline seals, sealing.c
 * has the keys and record_seal.c seals what decode.c made before route.c sees it.
 */
#include "ingest.h"

#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"
#include "outlet.h"
#include "replay.h"

enum { ROOM_SHARE = 8 };

static void
data_start(struct buf *body)
{
	pipe_body_start(body);
}

static void
data_send(void *ctx, unsigned lane, uint16_t flags, uint32_t count, struct buf *body)
{
	struct ingest *in = ctx;

	/* What is in flight counts by its bytes, so they must not have much room around them. */
	if (body->cap - body->len > body->len / ROOM_SHARE) {
		body->data = mem_resize(body->data, body->len, 1);
		body->cap = body->len;
	}
	pipe_send(in->w->pipes, ROLE_CORRELATE, lane, FRAME_DATA, flags, count, body);
}

static bool
keeper_ready(void *ctx)
{
	const struct ingest *in = ctx;

	return in->w->pipes && pipe_peered(in->w->pipes, ROLE_KEEPER);
}

static void
keeper_send(void *ctx, uint32_t count, struct buf *body)
{
	const struct ingest *in = ctx;

	pipe_send(in->w->pipes, ROLE_KEEPER, 0, FRAME_KEYREQ, 0, count, body);
}

static bool
ingest_open(struct worker *w, struct err *e)
{
	struct ingest *in = mem_zero(1, sizeof *in);
	struct buf key = {0};
	const struct route_out out = {in, data_send, data_start, pipe_body_bytes};
	const struct sealing_out keeper = {in, keeper_ready, data_start, keeper_send};

	w->state = in;
	in->w = w;
	in->m = w->model;
	in->sources_n = w->model->sources_n - model_exchange(w->model);
	in->credit.limit_bytes = w->model->limits.inflight_bytes_max / w->count[ROLE_INGEST];
	metric_set(w->page, METRIC_INFLIGHT_BYTES_MAX, in->credit.limit_bytes);
	parts_init(&in->parts, w->model, model_exchange(w->model) ? 1 : w->count[ROLE_CORRELATE]);
	route_init(&in->route, &out, &in->parts, &in->credit);
	if (!decoder_new(w->model, &in->decoder, e))
		return false;
	if (w->model->classes_n && !sealing_open(w, &keeper, &in->sealing, e))
		return false;
	if (in->sealing && !w->index && !w->bounded && !model_exchange(w->model) &&
	    !replay_open(skel_dir(w), &in->replay, e))
		return false;
	if (w->rid_key_fd < 0)
		return true;
	bool good = skel_read_fd(w->rid_key_fd, RID_KEY_BYTES, &key, e);
	if (good && key.len != RID_KEY_BYTES)
		good = err_set(e, EXIT_CONFIG, "the rid key has %zu bytes, not %d", key.len,
			       RID_KEY_BYTES);
	if (good)
		memcpy(in->rid_key, key.data, RID_KEY_BYTES);
	in->has_rid_key = good;
	buf_free(&key);
	return good;
}

static bool
ingest_start(struct worker *w, struct err *e)
{
	struct ingest *in = w->state;

	keyhash_init();
	return (!model_exchange(w->model) || outlet_open(in, e)) && reader_open(in, e);
}

/* What the database pins wins over every file. */
static bool
own_policy(struct ingest *in, const struct own *o, struct err *e)
{
	if (in->sealing)
		return (!o->has_policy || skel_root_check(in->w, o->policy_root, e)) &&
		       sealing_own(in->sealing, o, wall_now_us(), e);
	return !o->has_policy ||
	       err_set(e, EXIT_PERMISSION,
		       "the database pins a policy of this pipeline, and its file seals nothing");
}

static bool
own_use(struct ingest *in, unsigned lane, struct own *o, struct err *e)
{
	bool good = own_policy(in, o, e) && parts_own(&in->parts, lane, o, e);

	own_free(o);
	if (good && parts_owned(&in->parts)) {
		in->phase = INGEST_READING;
		if (in->outlet)
			log_info("the keeper has told of the pipeline, reading begins");
		else
			log_info("all %u lanes have taken over, reading begins", in->parts.lanes);
	}
	return good;
}

static bool
own_take(struct ingest *in, const struct frame *f, struct err *e)
{
	struct own o;

	pack_reader_start(&in->reader, f->body, f->head.bytes);
	if (!wire_own_read(&in->reader, &o))
		return err_set(e, EXIT_BUG, "OWN: %s", in->reader.why);
	return own_use(in, f->from_index, &o, e);
}

static bool
committed_take(struct ingest *in, const struct frame *f, struct err *e)
{
	struct committed c;

	pack_reader_start(&in->reader, f->body, f->head.bytes);
	if (!wire_committed_read(&in->reader, &c))
		return err_set(e, EXIT_BUG, "COMMITTED: %s", in->reader.why);
	bool good = parts_committed(&in->parts, f->from_index, &c, e);
	if (good) {
		credit_settle(&in->credit, f->from_index, &in->parts);
		reader_answer(in, &c, f->from_index);
		finish_done(in);
		good = finish_committed(in, f->from_index, f->head.flags & FRAME_LAST, e);
	}
	committed_free(&c);
	return good;
}

static bool
answer_take(struct ingest *in, const struct keyans *a, struct mono now, struct err *e)
{
	struct own o;

	if (a->kind != KEY_FACTS)
		return in->sealing ? sealing_answer(in->sealing, a, now, e)
				   : err_set(e, EXIT_BUG, "KEYANS, and nothing is sealed");
	if (!in->outlet)
		return err_set(e, EXIT_BUG, "KEYANS of facts that were not asked for");
	return !outlet_facts(in, a, &o) || own_use(in, 0, &o, e);
}

static bool
keeper_take(struct ingest *in, const struct frame *f, struct err *e)
{
	struct mono now = mono_now();
	struct keyans a;
	bool good = true;

	pack_reader_start(&in->reader, f->body, f->head.bytes);
	for (uint32_t i = 0; good && i < f->head.count && wire_keyans_read(&in->reader, &a); i++)
		good = answer_take(in, &a, now, e);
	if (good && !pack_reader_end(&in->reader))
		good = err_set(e, EXIT_BUG, "KEYANS: %s", in->reader.why);
	/* It held secrets of persons. The bytes are the frame's own, const to its readers alone. */
	secret_wipe((void *)(uintptr_t)f->body, f->head.bytes);
	return good;
}

static bool
ingest_frame(struct worker *w, const struct frame *f, struct err *e)
{
	struct ingest *in = w->state;

	switch ((enum frame_type)f->head.type) {
	case FRAME_OWN:
		return own_take(in, f, e);
	case FRAME_PART:
		return names_part(in, f, e);
	case FRAME_COMMITTED:
		return committed_take(in, f, e);
	case FRAME_KEYANS:
		return keeper_take(in, f, e);
	default:
		return err_set(e, EXIT_BUG, "ingest takes no %s",
			       frame_name((enum frame_type)f->head.type));
	}
}

static unsigned
ingest_watch(struct worker *w, struct pollfd *fds, unsigned max)
{
	const struct ingest *in = w->state;
	unsigned n = reader_watch(in, fds, max);

	if (in->outlet)
		n += outlet_watch(in, fds + n, max - n);
	if (in->replay && reader_may_read(in))
		n += replay_watch(in->replay, fds + n, max - n);
	return n;
}

/*
 * Age of the oldest event that is not committed (behind an exchange: not delivered): since it was
 * sent, or, of one that is not even read, by the broker's time where the driver knows it.
 */
static int64_t
oldest_age_us(const struct ingest *in, struct mono now)
{
	struct mono sent = in->outlet ? outlet_oldest(in) : credit_oldest(&in->credit);
	int64_t age_us = sent.us == INT64_MAX ? 0 : mono_since_us(sent, now);
	int64_t waits_us = reader_waits_us(in);

	if (waits_us && wall_now_us() - waits_us > age_us)
		age_us = wall_now_us() - waits_us;
	return age_us;
}

static void
metrics_set(struct ingest *in, struct mono now)
{
	struct metric_page *page = in->w->page;

	in->w->queued = in->outlet ? outlet_queued(in) : route_queued(&in->route);
	metric_set(page, METRIC_INFLIGHT_BYTES, in->credit.used_bytes);
	/* Before anything may be read, what an earlier life saw on this page stays as it was. */
	if (in->phase != INGEST_WAITING)
		metric_set(page, METRIC_OLDEST_UNCOMMITTED_SECONDS,
			   (uint64_t)oldest_age_us(in, now));
	metric_set(page, METRIC_EXPRESSION_NULLS, decoder_nulled(in->decoder));
}

/* Keys first: a turn's events are sealed under what is usable at its beginning. */
static bool
keys_turn(struct ingest *in, struct mono now, bool *more, struct err *e)
{
	int64_t wall_us = wall_now_us();

	if (in->phase == INGEST_WAITING)
		return true;
	if (!sealing_step(in->sealing, now, wall_us, e))
		return false;
	events_release(in, wall_us, now, more);
	if (in->replay && in->phase == INGEST_READING)
		replay_step(in, wall_us, now);
	return true;
}

static void
ingest_peer(struct worker *w)
{
	struct ingest *in = w->state;

	if (in->sealing)
		sealing_peer(in->sealing, mono_now());
	if (in->outlet)
		outlet_peer(in);
}

static bool
ingest_tick(struct worker *w, struct mono now, struct mono *next, struct err *e)
{
	struct ingest *in = w->state;
	bool more = false;

	if (in->outlet && !outlet_serve(in, now, e))
		return false;
	if (in->sealing && !keys_turn(in, now, &more, e))
		return false;
	if (in->phase == INGEST_READING && !w->draining && !reader_discover(in, now, &more, e))
		return false;
	if (!reader_poll(in, now, &more, e))
		return false;
	reader_trouble(in);
	reader_align(in, now);
	struct mono flush = mono_never();
	if (!in->outlet && (in->phase == INGEST_READING || in->phase == INGEST_CLOSING))
		flush = route_flush(&in->route, now, false);
	if (!in->outlet)
		finish_step(in, now);
	else if (w->draining)
		outlet_finish(in);
	metrics_set(in, now);
	*next = more ? now : mono_min(flush, reader_next(in));
	*next = mono_min(*next, mono_add_ms(now, SERVE_MS));
	return true;
}

static void
ingest_stop(struct worker *w)
{
	struct ingest *in = w->state;

	if (!in)
		return;
	reader_close(in);
	outlet_close(in);
	replay_close(in->replay);
	sealing_free(in->sealing);
	decoder_free(in->decoder);
	route_free(&in->route);
	credit_free(&in->credit);
	parts_free(&in->parts);
	pack_reader_free(&in->reader);
	explicit_bzero(in->rid_key, sizeof in->rid_key);
	free(in);
	w->state = NULL;
}

static const struct worker_ops ops = {
    .role = ROLE_INGEST,
    .open = ingest_open,
    .start = ingest_start,
    .frame = ingest_frame,
    .watch = ingest_watch,
    .tick = ingest_tick,
    .peer = ingest_peer,
    .stop = ingest_stop,
};

int
main(int argc, char **argv)
{
	return skel_main(argc, argv, &ops);
}
