/*
 * rabbit: classic and quorum queues as sources, one connection with one channel each.
 *
 * A ticket is base + delivery tag: base is what had been handed over when the channel began, so
 * tickets of a lost channel are at most base and can never be taken for tags of the next one.
 * Deliveries of a lost channel that were not handed over are forgotten: the broker delivers them
 * again.
 *
 * The consumer is cancelled when a pause lasts, not at once: what is on its way is kept in the
 * inbox, and short pauses (one commit's time) cost nothing. The connection is read in every state,
 * or heartbeats would stop.
 */
#include "rabbit_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"

enum {
	RETRY_MS_MIN = 100, /* after a lost connection; doubles up to ... */
	RETRY_MS_MAX = 2000,
	TICK_MS = 2000,		    /* at least so often the connection is served (heartbeats) */
	PAUSE_MS = 50,		    /* a pause that lasts longer ends the consumer ... */
	PAUSE_BYTES = 1 << 20,	    /* ... or one with so much in the inbox */
	INBOX_BYTES_MAX = 64 << 20, /* more on its way after that: the channel is given up */
	FRAMES_MAX = 20000,	    /* of one poll */
	QUIET_MS = 200,		    /* without a delivery: the queue is taken to be empty */
	EMPTY_MS = 1000,	    /* bounded: without one, and the broker says empty: the end */
	EMPTY_NEW_MS = 5000, /* ... on a channel that has delivered nothing: it may just start */
	COUNT_MS = 5000,     /* between questions for the number of ready messages */
	COUNT_BOUNDED_MS = 250,
	ANSWER_MS = 20000,		/* later than that: the broker hangs */
	OTHERS_MS = 2000,		/* bounded: a former consumer may take so long to vanish */
	UNACKED_MS_MAX = 5 * 60 * 1000, /* without a commit: messages go back to the queue */
	CLOSE_MS = 80,
	ABSENT_MAX = 2, /* answers in a row that there is no consumer; a queue may lack a leader */
};

enum link {
	LINK_RESTING, /* until retry_at */
	LINK_CONNECTING,
	LINK_OPEN,
	LINK_PARKED /* closed because nothing was committed; opened again by the next commit */
};

struct rabbit {
	const struct source *source;
	struct metric_page *page;
	unsigned index;
	struct connector *connector;
	int event;
	enum link link;
	struct mono retry_at;
	int64_t retry_ms;
	amqp_connection_state_t conn;
	struct inbox inbox;
	struct delivery *lent;
	bool told, started, paused, consuming, more;
	unsigned prefetch;
	unsigned consumer;	   /* number of the tag: a new one each time */
	unsigned asked_of, absent; /* the question's consumer; answers that there is none */

	int64_t base, handed; /* tickets */
	int64_t durable;      /* committed: every ticket up to it */
	int64_t acked;	   /* of these, told to this channel's broker (or lost with an older one) */
	int64_t acked_all; /* messages acked, over all channels */
	struct mono progress_at, delivery_at, acked_at, paused_at, served_at, count_at, asked_at;
	bool count_out;
	uint64_t ready; /* as last counted */

	bool bounded, counted, ended;
	struct mono opened_at;	  /* first time */
	int64_t first_count, end; /* messages at the start; the ticket that is the last */

	char why[SOURCE_TROUBLE_MAX];
	char trouble[2 * SOURCE_TROUBLE_MAX + 640];
};

/* ---- the connection's life ---- */

static void
link_drop(struct rabbit *r)
{
	if (r->conn)
		amqp_destroy_connection(r->conn);
	r->conn = NULL;
	r->consuming = r->count_out = false;
	r->absent = 0;
	inbox_clear(&r->inbox);
	/* What was handed over and not acked comes again, under new tickets. */
	r->base = r->acked = r->handed;
}

static void
link_lost(struct rabbit *r, struct mono now)
{
	metric_source_add(r->page, r->index, METRIC_SOURCE_ERRORS, 1);
	link_drop(r);
	r->link = LINK_RESTING;
	r->retry_at = mono_add_ms(now, r->retry_ms);
	r->retry_ms = r->retry_ms * 2 > RETRY_MS_MAX ? RETRY_MS_MAX : r->retry_ms * 2;
}

static bool
sent(struct rabbit *r, amqp_method_number_t id, void *method, struct mono now)
{
	int status = amqp_send_method(r->conn, RABBIT_CHANNEL, id, method);

	if (status == AMQP_STATUS_OK)
		return true;
	snprintf(r->why, sizeof r->why, "%s", amqp_error_string2(status));
	link_lost(r, now);
	return false;
}

static void
ready_told(struct rabbit *r, uint32_t ready, uint32_t consumers, struct mono now)
{
	bool others = consumers > (r->consuming ? 1u : 0u);

	r->ready = ready;
	r->count_out = false;
	r->count_at = mono_add_ms(now, r->bounded ? COUNT_BOUNDED_MS : COUNT_MS);
	if (!r->bounded || r->counted)
		return;
	/* A killed predecessor's messages come back late; a new queue says "empty" at first. */
	if (mono_since_ms(r->opened_at, now) < (others ? OTHERS_MS : ready ? 0 : EMPTY_MS))
		return;
	r->counted = true;
	r->first_count = ready;
	r->end = r->handed + ready;
	r->ended = !ready;
}

static void
link_opened(struct rabbit *r, const struct connected *c, struct mono now)
{
	r->conn = c->conn;
	r->link = LINK_OPEN;
	r->why[0] = 0;
	r->progress_at = r->delivery_at = r->served_at = now;
	if (!r->opened_at.us)
		r->opened_at = now;
	if (r->counted) /* what of the first count was handed over and not acked comes again */
		r->end = r->handed + r->first_count - r->acked_all;
	ready_told(r, c->ready, c->consumers, now);
}

static void
link_step(struct rabbit *r, struct mono now)
{
	struct connected c = {0};

	if (r->link == LINK_RESTING && mono_due(r->retry_at, now) && !(r->ended && !r->conn)) {
		r->link = LINK_CONNECTING;
		connector_want(r->connector);
	}
	if (r->link != LINK_CONNECTING)
		return;
	switch (connector_take(r->connector, &c, r->why)) {
	case CONNECT_DONE:
		link_opened(r, &c, now);
		break;
	case CONNECT_FAILED:
		link_lost(r, now);
		break;
	case CONNECT_BUSY:
		break;
	}
}

/* ---- what is sent ---- */

static bool
ack_send(struct rabbit *r, struct mono now)
{
	int64_t upto = r->durable < r->handed ? r->durable : r->handed;

	if (upto <= r->acked)
		return true;
	amqp_basic_ack_t ack = {.delivery_tag = (uint64_t)(upto - r->base), .multiple = true};
	if (!sent(r, AMQP_BASIC_ACK_METHOD, &ack, now))
		return false;
	r->acked_all += upto - r->acked;
	r->acked = upto;
	r->progress_at = r->acked_at = now;
	r->retry_ms = RETRY_MS_MIN;
	return true;
}

/* No answers are asked for: a refusal closes the channel, which says why. */
static bool
consumer_set(struct rabbit *r, bool on, struct mono now)
{
	char text[32];

	if (r->consuming == on)
		return true;
	r->consuming = on;
	r->consumer += on;
	snprintf(text, sizeof text, "weir-%u", r->consumer);
	amqp_bytes_t tag = amqp_cstring_bytes(text);
	if (!on) {
		amqp_basic_cancel_t m = {.consumer_tag = tag, .nowait = true};
		return sent(r, AMQP_BASIC_CANCEL_METHOD, &m, now);
	}
	r->delivery_at = now;
	amqp_basic_consume_t m = {
	    .queue = amqp_cstring_bytes(r->source->queue), .consumer_tag = tag, .nowait = true};
	return sent(r, AMQP_BASIC_CONSUME_METHOD, &m, now);
}

/*
 * Also the proof that the broker lives: frames are taken without waiting, and the library notices
 * missing heartbeats only while it waits.
 */
static bool
count_send(struct rabbit *r, struct mono now)
{
	if (r->count_out && mono_since_ms(r->asked_at, mono_now()) >= ANSWER_MS) {
		snprintf(r->why, sizeof r->why, "no answer for %d s", ANSWER_MS / 1000);
		link_lost(r, now);
		return false;
	}
	if (r->count_out || !mono_due(r->count_at, now))
		return true;
	amqp_queue_declare_t m = {.queue = amqp_cstring_bytes(r->source->queue), .passive = true};
	r->count_out = true;
	r->asked_at = mono_now();
	r->asked_of = r->consumer;
	return sent(r, AMQP_QUEUE_DECLARE_METHOD, &m, now);
}

/* ---- what is read ---- */

static bool
inbox_full(const struct rabbit *r)
{
	/* Paused: what is on its way must come in, or the connection is not served. */
	return !r->paused && r->inbox.n >= SOURCE_BATCH_MAX;
}

/* The answer to a question that was asked after we began to consume: are we still there? */
static bool
consumer_gone(struct rabbit *r)
{
	if (!r->consuming || r->asked_of != r->consumer || r->inbox.consumers)
		r->absent = 0;
	else if (++r->absent >= ABSENT_MAX)
		snprintf(r->why, sizeof r->why, "the queue does not know our consumer any more");
	return r->absent >= ABSENT_MAX;
}

/* False: the connection is lost. */
static bool
frames_read(struct rabbit *r, struct mono now)
{
	unsigned before = r->inbox.n;
	enum inbox_result got = INBOX_FRAME;

	/* A full inbox is no reason to let heartbeats lapse. */
	bool one = inbox_full(r) && mono_since_ms(r->served_at, now) >= TICK_MS;
	for (unsigned i = 0; i < FRAMES_MAX && got == INBOX_FRAME && (one || !inbox_full(r)); i++) {
		got = inbox_read(&r->inbox, r->conn, r->why);
		one = false;
		r->served_at = now;
		if (r->inbox.counted) {
			r->inbox.counted = false;
			ready_told(r, r->inbox.ready, r->inbox.consumers, now);
			if (got == INBOX_FRAME && consumer_gone(r))
				got = INBOX_LOST;
		}
	}
	if (got == INBOX_FRAME)
		r->more = true;
	if (r->inbox.n > before)
		r->delivery_at = now;
	if (got != INBOX_LOST && r->inbox.bytes > INBOX_BYTES_MAX) {
		snprintf(r->why, sizeof r->why,
			 "more was on its way than fits while reading is paused");
		got = INBOX_LOST;
	}
	if (got == INBOX_LOST)
		link_lost(r, now);
	return got != INBOX_LOST;
}

static void
park_if_stuck(struct rabbit *r, struct mono now)
{
	if (r->acked == r->handed && !r->inbox.n)
		r->progress_at = now; /* nothing is unacknowledged */
	if (mono_since_ms(r->progress_at, now) < UNACKED_MS_MAX)
		return;
	link_drop(r);
	r->link = LINK_PARKED;
	snprintf(r->why, sizeof r->why,
		 "nothing was committed for %d s; its messages went back and are read again with "
		 "the next commit",
		 UNACKED_MS_MAX / 1000);
}

static void
end_if_empty(struct rabbit *r, struct mono now)
{
	int64_t quiet_ms = r->inbox.tag ? EMPTY_MS : EMPTY_NEW_MS;

	/*
	 * Unacked messages may fill the prefetch, and after an ack the broker takes its time: that
	 * nothing comes says something about the queue only when all was acked and a while has
	 * passed since.
	 */
	if (r->bounded && r->counted && r->consuming && !r->inbox.n && !r->ready && !r->paused &&
	    r->acked == r->handed && mono_since_ms(r->acked_at, now) >= quiet_ms &&
	    mono_since_ms(r->delivery_at, now) >= quiet_ms)
		r->ended = true;
}

static void
open_serve(struct rabbit *r, struct mono now)
{
	bool wanted = r->started && !r->ended && (!r->bounded || r->counted);
	bool held = r->paused &&
		    (mono_since_ms(r->paused_at, now) >= PAUSE_MS || r->inbox.bytes > PAUSE_BYTES);

	if (!ack_send(r, now))
		return;
	if (!consumer_set(r, wanted && (r->paused ? r->consuming && !held : true), now))
		return;
	if (!count_send(r, now) || !frames_read(r, now))
		return;
	end_if_empty(r, now);
	park_if_stuck(r, now);
}

/* ---- the driver ---- */

static void
lent_free(struct rabbit *r)
{
	while (r->lent) {
		struct delivery *d = r->lent;

		r->lent = d->next;
		free(d);
	}
}

static void
hand_over(struct rabbit *r, struct delivery *d, struct source_event *ev)
{
	r->handed = r->base + (int64_t)d->tag;
	*ev = (struct source_event){.offset = r->handed,
				    .data = d->bytes + d->identity_len,
				    .len = d->body_len,
				    .redelivered = d->redelivered,
				    .has_broker_time = d->has_time,
				    .broker_time_us = d->time_us};
	if (d->has_identity) {
		ev->identity = d->bytes;
		ev->identity_len = d->identity_len;
	}
	if (d->body_len < d->size)
		ev->reason = "larger than event_bytes_max";
	d->next = r->lent;
	r->lent = d;
	if (r->bounded && r->handed >= r->end)
		r->ended = true;
}

static bool
rabbit_poll(void *self, struct mono now, struct source_event *events, unsigned max, unsigned *n,
	    struct err *e)
{
	struct rabbit *r = self;
	uint64_t raised;

	(void)e;
	*n = 0;
	r->more = false;
	lent_free(r);
	if (read(r->event, &raised, sizeof raised) < 0)
		check(errno == EAGAIN);
	link_step(r, now);
	if (r->link == LINK_OPEN)
		open_serve(r, now);
	if (r->started && !r->paused)
		while (*n < max && !r->ended && r->inbox.n)
			hand_over(r, inbox_take(&r->inbox), &events[(*n)++]);
	r->more = r->more || (max && r->inbox.n && !r->paused && !r->ended);
	return true;
}

static bool
rabbit_discover(void *self, struct source_found *out, unsigned max, unsigned *n, bool *listed,
		struct err *e)
{
	struct rabbit *r = self;

	(void)e;
	*n = 0;
	if (!r->told && max) {
		out[(*n)++] = (struct source_found){.kind = PARTITION_TRANSIENT,
						    .label = r->source->queue,
						    .label_len = strlen(r->source->queue)};
		r->told = true;
	}
	*listed = r->told;
	return true;
}

static bool
rabbit_start(void *self, unsigned slot, int64_t next, struct err *e)
{
	struct rabbit *r = self;

	(void)e;
	check(slot == 0 && next == SOURCE_POSITION_NONE && !r->started);
	r->started = true;
	return true;
}

static bool
rabbit_done(void *self, unsigned slot, int64_t next, int64_t bytes, struct err *e)
{
	(void)self, (void)slot, (void)next, (void)bytes;
	return err_set(e, EXIT_BUG, "a queue is never done");
}

static void
rabbit_frontier(void *self, unsigned slot, struct source_frontier *out)
{
	const struct rabbit *r = self;
	struct mono now = mono_now();

	(void)slot;
	/* Silence means an empty queue only while the broker may send. */
	bool may_send =
	    r->link == LINK_OPEN && r->consuming && r->handed + r->inbox.n - r->acked < r->prefetch;
	*out = (struct source_frontier){
	    .next = r->handed + 1,
	    .caught_up = r->ended || (may_send && !r->inbox.n &&
				      mono_since_ms(r->delivery_at, now) >= QUIET_MS),
	    .finished = r->ended,
	    .backlog = r->bounded ? (uint64_t)(r->end > r->handed ? r->end - r->handed : 0)
				  : r->ready + r->inbox.n};
}

static void
rabbit_pause(void *self, unsigned slot, bool paused)
{
	struct rabbit *r = self;

	(void)slot;
	if (paused && !r->paused)
		r->paused_at = mono_now();
	if (!paused && r->paused)
		r->more = true;
	r->paused = paused;
}

static void
rabbit_committed(void *self, unsigned slot, int64_t next)
{
	struct rabbit *r = self;

	(void)slot;
	if (next - 1 <= r->durable)
		return;
	r->durable = next - 1;
	r->more = true;
	if (r->link == LINK_PARKED) {
		r->link = LINK_RESTING;
		r->retry_at = (struct mono){0};
	}
}

static unsigned
rabbit_watch(void *self, struct pollfd *fds, unsigned max)
{
	struct rabbit *r = self;

	if (max < 2)
		return 0;
	fds[0] = (struct pollfd){.fd = r->event, .events = POLLIN};
	if (r->link != LINK_OPEN || inbox_full(r))
		return 1;
	fds[1] = (struct pollfd){.fd = amqp_get_sockfd(r->conn), .events = POLLIN};
	return 2;
}

static struct mono
rabbit_next(void *self)
{
	struct rabbit *r = self;

	if (r->more)
		return (struct mono){0};
	if (r->link == LINK_RESTING)
		return r->ended ? mono_never() : r->retry_at;
	if (r->link != LINK_OPEN)
		return mono_never();
	struct mono next = mono_add_ms(r->served_at, TICK_MS);
	if (!r->count_out)
		next = mono_min(next, r->count_at);
	if (r->paused && r->consuming)
		next = mono_min(next, mono_add_ms(r->paused_at, PAUSE_MS));
	struct mono quiet = mono_add_ms(r->delivery_at, QUIET_MS + 1);
	if (r->consuming && !mono_due(quiet, mono_now()))
		next = mono_min(next, quiet); /* caught up by then */
	return next;
}

static const char *
rabbit_trouble(void *self)
{
	struct rabbit *r = self;

	if (!r->why[0] || r->ended)
		return NULL;
	snprintf(r->trouble, sizeof r->trouble, "%s: %s", connector_place(r->connector), r->why);
	return r->trouble;
}

/* The last acks, then a close that is answered: only then were the acks read, too. */
static void
farewell(struct rabbit *r)
{
	struct mono now = mono_now();
	amqp_connection_close_t m = {.reply_code = AMQP_REPLY_SUCCESS,
				     .reply_text = amqp_cstring_bytes("done")};

	if (ack_send(r, now) && consumer_set(r, false, now) &&
	    !amqp_send_method(r->conn, 0, AMQP_CONNECTION_CLOSE_METHOD, &m))
		close_wait(r->conn, CLOSE_MS);
}

static void
rabbit_close(void *self)
{
	struct rabbit *r = self;

	if (!r)
		return;
	lent_free(r);
	if (r->link == LINK_OPEN)
		farewell(r);
	link_drop(r);
	connector_close(r->connector);
	if (r->event >= 0)
		close(r->event);
	free(r);
}

static bool
rabbit_open(const struct source_setup *setup, void **out, struct err *e)
{
	struct rabbit *r = mem_zero(1, sizeof *r);

	r->source = setup->source;
	r->page = setup->page;
	r->index = setup->index;
	r->bounded = setup->bounded;
	r->retry_ms = RETRY_MS_MIN;
	r->prefetch = setup->source->prefetch ? setup->source->prefetch : PREFETCH_DEFAULT;
	inbox_open(&r->inbox, setup->model->limits.event_bytes_max);
	r->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (r->event < 0)
		err_errno(e, EXIT_UNAVAILABLE, "eventfd");
	if (r->event < 0 || !connector_open(setup, r->event, &r->connector, e)) {
		rabbit_close(r);
		return false;
	}
	*out = r;
	return true;
}

const struct source_kind_ops source_rabbitmq = {
    .open = rabbit_open,
    .discover = rabbit_discover,
    .start = rabbit_start,
    .done = rabbit_done,
    .poll = rabbit_poll,
    .frontier = rabbit_frontier,
    .pause = rabbit_pause,
    .committed = rabbit_committed,
    .watch = rabbit_watch,
    .next = rabbit_next,
    .trouble = rabbit_trouble,
    .close = rabbit_close,
};
