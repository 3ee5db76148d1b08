/*
 * load: commits batches to the warehouse. It takes its lane's key groups over, tells OWN, then
 * writes each batch in one transaction and answers COMMITTED. Frames are only collected when they
 * arrive; everything that needs the warehouse happens in tick, in order, and is tried again from
 * memory while the warehouse is down.
 */
#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"

enum {
	DSN_BYTES_MAX = 4096,
	SLOW_SAY_MS = 2000, /* a commit that takes longer is told as waiting */
};

/* ---- waiting ---- */

static void
queued_tell(struct load *l)
{
	/* What waits for the warehouse is not stuck work: nobody but the warehouse can move it. */
	l->w->queued = l->w->wait == WAIT_WAREHOUSE ? 0 : batches_ready_count(&l->batches);
}

bool
load_breathe(void *ctx)
{
	struct load *l = ctx;
	struct mono now = mono_now();
	struct err e = {0};

	if (l->waiting_since.us == 0)
		l->waiting_since = now;
	if (mono_since_ms(l->waiting_since, now) > SLOW_SAY_MS) {
		skel_wait(l->w, WAIT_WAREHOUSE, "the warehouse works on batch %lld",
			  (long long)l->owner.batch + 1);
		queued_tell(l);
	}
	if (!instance_beat(l, now, &e)) {
		skel_end(l->w, e.code, "%s", e.text);
		return false;
	}
	return skel_serve(l->w);
}

static void
answered(struct load *l)
{
	l->waiting_since = (struct mono){0};
	l->backoff_ms = BACKOFF_MS_MIN;
	skel_wait(l->w, WAIT_NOTHING, "%s", "");
}

/* The warehouse cannot now: wait, longer each time, and say so. */
static void
retry_later(struct load *l, const struct err *e)
{
	log_warn("%s; trying again", e->text);
	skel_wait(l->w, WAIT_WAREHOUSE, "%s", e->text);
	l->waiting_since = (struct mono){0};
	l->retry_at = mono_add_ms(mono_now(), l->backoff_ms);
	l->backoff_ms = l->backoff_ms * 2 < BACKOFF_MS_MAX ? l->backoff_ms * 2 : BACKOFF_MS_MAX;
	if (l->pg && !pg_alive(l->pg)) {
		metric_add(l->w->page, METRIC_CONNECTIONS_LOST, 1);
		pg_close(l->pg);
		l->pg = NULL;
		l->doubtful = l->owned;
	}
}

/* True: the failure was a passing one and is dealt with. */
static bool
passing(struct load *l, struct err *e)
{
	if (e->code != EXIT_UNAVAILABLE)
		return false;
	retry_later(l, e);
	return true;
}

/* ---- what goes out ---- */

/*
 * Whoever gets OWN knows all partitions before: what OWN does not name goes ahead of it. To
 * correlate what is done too, since states name the events of such files; ingest asks for what it
 * finds.
 */
static void
own_tell(struct load *l, enum role to, unsigned index)
{
	struct pipes *pipes = l->w->pipes;
	struct buf body = {0};
	struct owner_rest rest;
	uint32_t n;

	owner_rest_start(&l->owner, to == ROLE_CORRELATE, &rest);
	pipe_body_start(&body);
	while ((n = owner_rest_write(&l->owner, &rest, &body)) > 0) {
		pipe_send(pipes, to, index, FRAME_PART, 0, n, &body);
		pipe_body_start(&body);
	}
	owner_own_write(&l->owner, l->w->index, &body);
	pipe_send(pipes, to, index, FRAME_OWN, 0, 1, &body);
}

static void
own_send(struct load *l)
{
	own_tell(l, ROLE_CORRELATE, l->w->index);
	for (unsigned i = 0; i < l->w->count[load_reader(l)]; i++)
		own_tell(l, load_reader(l), i);
}

static void
committed_send(struct load *l, const struct batch *b)
{
	struct worker *w = l->w;
	uint16_t flags = b->last ? FRAME_LAST : 0;
	enum role reader = load_reader(l);

	for (unsigned i = 0; i <= w->count[reader]; i++) {
		struct buf body = {0};
		pipe_body_start(&body);
		owner_committed_write(&l->owner, w->index, b, &body);
		if (i < w->count[reader])
			pipe_send(w->pipes, reader, i, FRAME_COMMITTED, flags, 1, &body);
		else
			pipe_send(w->pipes, ROLE_CORRELATE, w->index, FRAME_COMMITTED, flags, 1,
				  &body);
	}
}

/* ---- what the warehouse is asked for ---- */

static void
owned_set(struct load *l)
{
	load_owned(l);
	if (model_exchange(l->w->model))
		log_info("epoch %lld owns %u key groups", (long long)l->owner.epoch,
			 l->owner.wanted_n);
	else
		log_info("epoch %lld owns key groups %u to %u%s", (long long)l->owner.epoch,
			 l->owner.kg_lo, l->owner.kg_hi,
			 l->owner.state_empty ? ", no state yet" : "");
	own_send(l);
}

/* The oldest batch is in the warehouse. */
static void
batch_committed(struct load *l)
{
	struct batch *b = batches_ready(&l->batches);

	l->owner.batch = b->n;
	owner_settled(&l->owner);
	l->last_committed = b->last;
	committed_send(l, b);
	batches_drop(&l->batches);
	skel_progress(l->w);
	answered(l);
	if (!l->last_committed)
		return;
	instance_release(l);
	skel_end(l->w, EXIT_DONE, "batch %lld was the last", (long long)l->owner.batch);
}

static bool
batch_turn(struct load *l, struct err *e)
{
	const struct batch *b = batches_ready(&l->batches);

	switch (commit_batch(l, b, e)) {
	case COMMIT_DONE:
		batch_committed(l);
		return true;
	case COMMIT_RETRY:
		metric_add(l->w->page, METRIC_BATCH_RETRIES, 1);
		e->code = EXIT_UNAVAILABLE;
		return l->w->ending || passing(l, e);
	case COMMIT_FENCED:
	case COMMIT_BAD:
	case COMMIT_STOP:
		break;
	}
	return false;
}

static bool
connect_turn(struct load *l, struct err *e)
{
	bool committed = false;

	if (l->pg == NULL && !load_connect(l, e))
		return passing(l, e);
	if (!l->owned && model_exchange(l->w->model) && !l->claimed)
		return true;
	if (!l->owned) {
		if (!takeover(l, e))
			return passing(l, e);
		owned_set(l);
		answered(l);
	}
	if (l->doubtful) {
		if (!takeover_verify(l, &committed, e))
			return passing(l, e);
		l->doubtful = false;
		answered(l);
		if (committed)
			batch_committed(l);
	}
	return true;
}

/* Takes the first frame of a queue; each is u32 length and body. */
static bool
queue_turn(struct load *l, struct buf *queue,
	   bool (*fn)(struct load *, const uint8_t *, size_t, struct err *), struct err *e)
{
	uint32_t n;

	while (queue->len) {
		memcpy(&n, queue->data, sizeof(n));
		if (!fn(l, queue->data + sizeof(n), n, e))
			return passing(l, e);
		queue->len -= sizeof(n) + n;
		memmove(queue->data, queue->data + sizeof(n) + n, queue->len);
		skel_progress(l->w);
	}
	return true;
}

static bool
ready(const struct load *l)
{
	return pg_alive(l->pg) && l->owned && !l->doubtful && !l->w->ending;
}

static bool
work_turn(struct load *l, struct err *e)
{
	if (!ready(l) && !connect_turn(l, e))
		return false;
	if (ready(l) && !queue_turn(l, &l->asks, partitions_ask, e))
		return false;
	if (ready(l) && !queue_turn(l, &l->dones, partitions_done, e))
		return false;
	if (ready(l) && batches_ready(&l->batches))
		return batch_turn(l, e);
	return true;
}

/* ---- the skeleton's callbacks ---- */

static bool
load_open(struct worker *w, struct err *e)
{
	struct buf dsn = {0};

	keyhash_init();
	if (w->login_fd < 0)
		return err_set(e, EXIT_CONFIG, "no login file was handed over; run `weir apply`");
	if (!skel_read_fd(w->login_fd, DSN_BYTES_MAX, &dsn, e)) {
		buf_free(&dsn);
		return err_context(e, "login file");
	}
	while (dsn.len && (dsn.data[dsn.len - 1] == '\n' || dsn.data[dsn.len - 1] == '\r'))
		dsn.len--;
	w->state = load_new(w, mem_string_n((const char *)dsn.data, dsn.len));
	/*
	 * Until take-over has committed nobody may call this supervisor ready. The warehouse is not
	 * down for it: that is told when it does not answer.
	 */
	skel_wait(w, WAIT_PEERS, "taking the key groups over");
	buf_free(&dsn);
	return true;
}

static void
queue_add(struct buf *queue, const struct frame *f)
{
	uint32_t n = f->head.bytes;

	buf_add(queue, &n, sizeof(n));
	buf_add(queue, f->body, n);
}

static bool
claim_take(struct load *l, const struct frame *f, struct err *e)
{
	struct pack_reader *r = &l->batches.reader;
	struct claim c;

	if (l->claimed || !model_exchange(l->w->model))
		return err_set(e, EXIT_BUG, "CLAIM frame: one is expected with an exchange, once");
	pack_reader_start(r, f->body, f->head.bytes);
	if (!wire_claim_read(r, &c))
		return err_set(e, EXIT_BUG, "CLAIM frame: %s", r->why);
	bool good = pack_reader_end(r);
	if (good && c.groups_n && c.groups[c.groups_n - 1] >= l->w->model->groups)
		good = pack_fail(r, "a key group that the pipeline has not");
	if (good)
		owner_claim(&l->owner, &c);
	claim_free(&c);
	l->claimed = good;
	return good || err_set(e, EXIT_BUG, "CLAIM frame: %s", r->why);
}

static bool
load_frame(struct worker *w, const struct frame *f, struct err *e)
{
	struct load *l = w->state;

	if (f->head.type == FRAME_CLAIM)
		return claim_take(l, f, e);
	if (!l->owned)
		return err_set(e, EXIT_BUG, "%s before OWN",
			       frame_name((enum frame_type)f->head.type));
	switch ((enum frame_type)f->head.type) {
	case FRAME_ASK:
		queue_add(&l->asks, f);
		return true;
	case FRAME_DONE:
		queue_add(&l->dones, f);
		return true;
	case FRAME_PART:
		return partitions_learn(l, f->body, f->head.bytes, e);
	default:
		return batches_frame(&l->batches, (enum frame_type)f->head.type,
				     f->head.flags & FRAME_LAST, f->head.count, f->body,
				     f->head.bytes, e);
	}
}

static bool
load_tick(struct worker *w, struct mono now, struct mono *next, struct err *e)
{
	struct load *l = w->state;

	if (!instance_beat(l, now, e))
		return false;
	if (mono_due(l->retry_at, now) && !work_turn(l, e))
		return w->ending; /* what ended it meanwhile is the cause */
	queued_tell(l);
	*next = l->retry_at.us > mono_now().us ? l->retry_at : mono_never();
	if (w->index == 0 && l->owned)
		*next = mono_min(*next, l->beat_at);
	if (batches_ready(&l->batches) && l->retry_at.us <= mono_now().us)
		*next = mono_now();
	return true;
}

static unsigned
load_watch(struct worker *w, struct pollfd *fds, unsigned max)
{
	const struct load *l = w->state;

	if (!l->beating || max == 0)
		return 0;
	fds[0] =
	    (struct pollfd){.fd = pg_fd(l->beat),
			    .events = (short)(POLLIN | (pg_wants_write(l->beat) ? POLLOUT : 0))};
	return 1;
}

static void
load_stop(struct worker *w)
{
	load_free(w->state);
	w->state = NULL;
}

int
main(int argc, char **argv)
{
	static const struct worker_ops ops = {.role = ROLE_LOAD,
					      .open = load_open,
					      .frame = load_frame,
					      .tick = load_tick,
					      .watch = load_watch,
					      .stop = load_stop};

	return skel_main(argc, argv, &ops);
}
