/* correlate: owns a shard: folds events into processes, deadlines, completeness. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"
#include "shard.h"
#include "skel.h"

enum { DSN_BYTES_MAX = 4096 };

struct correlate {
	struct shard *shard;
	struct lookup *lookup; /* NULL: no login was handed over */
	uint64_t lost;	       /* as counted in the metrics */
};

/* ---- the shard's world ---- */

static void
host_send(void *ctx, enum frame_type type, uint16_t flags, uint32_t count, struct buf *body)
{
	struct worker *w = ctx;

	pipe_send(w->pipes, ROLE_TRANSFORM, w->index, type, flags, count, body);
}

static void
host_forward(void *ctx, const struct frame *f)
{
	struct worker *w = ctx;

	pipe_forward(w->pipes, ROLE_TRANSFORM, w->index, f);
}

static bool
host_lookup_idle(void *ctx)
{
	struct worker *w = ctx;
	const struct correlate *c = w->state;

	return c->lookup && lookup_idle(c->lookup);
}

static void
host_lookup_send(void *ctx, const struct lookup_query *q)
{
	struct worker *w = ctx;
	struct correlate *c = w->state;

	lookup_send(c->lookup, q);
}

/* ---- the skeleton's callbacks ---- */

static bool
login_read(struct worker *w, struct correlate *c, struct err *e)
{
	char application[32];
	struct buf dsn = {0};

	if (w->login_fd < 0)
		return err_set(e, EXIT_CONFIG, "no login file was handed over; run `weir apply`");
	if (!skel_read_fd(w->login_fd, DSN_BYTES_MAX, &dsn, e)) {
		buf_free(&dsn);
		return err_context(e, "login file");
	}
	while (dsn.len && (dsn.data[dsn.len - 1] == '\n' || dsn.data[dsn.len - 1] == '\r'))
		dsn.len--;
	snprintf(application, sizeof application, "weir %s.%u", role_name(ROLE_CORRELATE),
		 w->index);
	c->lookup = lookup_new(buf_cstr(&dsn), w->model->pipeline.s, application);
	explicit_bzero(dsn.data, dsn.len);
	buf_free(&dsn);
	return true;
}

static bool
correlate_open(struct worker *w, struct err *e)
{
	struct correlate *c = mem_zero(1, sizeof *c);
	struct shard_setup setup = {
	    .model = w->model,
	    .lanes = w->count[ROLE_CORRELATE],
	    .ingests = w->count[model_exchange(w->model) ? ROLE_RELAY : ROLE_INGEST],
	    .bounded = w->bounded,
	    .close = w->close,
	    .page = w->page,
	    .host = {w, host_send, host_forward, host_lookup_idle, host_lookup_send},
	};

	w->state = c;
	keyhash_init();
	c->shard = shard_new(&setup);
	return login_read(w, c, e);
}

static bool
correlate_frame(struct worker *w, const struct frame *f, struct err *e)
{
	struct correlate *c = w->state;

	return shard_frame(c->shard, f, mono_now(), wall_now_us(), e);
}

static unsigned
correlate_watch(struct worker *w, struct pollfd *fds, unsigned max)
{
	const struct correlate *c = w->state;

	return lookup_watch(c->lookup, fds, max);
}

/* Answers of the database, as many as are there. */
static bool
lookups_turn(struct correlate *c, struct mono now, struct mono *next, struct err *e)
{
	struct lookup_answer a;

	switch (lookup_poll(c->lookup, now, &a, next, e)) {
	case LOOKUP_BROKEN:
		return false;
	case LOOKUP_ANSWER:
		return shard_answer(c->shard, &a, now, e);
	case LOOKUP_NOTHING:
		break;
	}
	return true;
}

static void
wait_tell(struct worker *w, struct correlate *c)
{
	const char *why;
	uint64_t lost = lookup_lost(c->lookup);

	metric_add(w->page, METRIC_CONNECTIONS_LOST, lost - c->lost);
	c->lost = lost;
	if (lookup_waits(c->lookup, &why)) {
		if (w->wait != WAIT_WAREHOUSE)
			log_warn("waiting for the warehouse: %s", why);
		skel_wait(w, WAIT_WAREHOUSE, "%s", why);
	} else if (w->wait != WAIT_NOTHING) {
		skel_wait(w, WAIT_NOTHING, "%s", "");
	}
}

static bool
correlate_tick(struct worker *w, struct mono now, struct mono *next, struct err *e)
{
	struct correlate *c = w->state;
	struct mono again;

	if (!lookups_turn(c, now, &again, e) || !shard_tick(c->shard, now, wall_now_us(), next, e))
		return false;
	/*
	 * The turn may have asked something: sent at once, so that the descriptor can be waited
	 * for.
	 */
	if (!lookup_idle(c->lookup) && !lookups_turn(c, now, &again, e))
		return false;
	*next = mono_min(*next, again);
	w->queued = shard_queued(c->shard);
	w->progress = shard_progress(c->shard);
	wait_tell(w, c);
	if (shard_done(c->shard))
		skel_end(w, EXIT_DONE, "%s", "everything is committed");
	return true;
}

static void
correlate_stop(struct worker *w)
{
	struct correlate *c = w->state;

	if (!c)
		return;
	shard_free(c->shard);
	lookup_free(c->lookup);
	free(c);
	w->state = NULL;
}

static const struct worker_ops ops = {
    .role = ROLE_CORRELATE,
    .open = correlate_open,
    .frame = correlate_frame,
    .watch = correlate_watch,
    .tick = correlate_tick,
    .stop = correlate_stop,
};

int
main(int argc, char **argv)
{
	return skel_main(argc, argv, &ops);
}
