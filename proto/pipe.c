#include "pipe.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <zmq.h>

#include "log.h"
#include "mem.h"

enum {
	LINGER_MS = 2000,	      /* how long closing waits for frames that nobody took yet */
	WAIT_ITEMS_MAX = 128,	      /* sockets and descriptors of one wait */
	MALLOC_KEEP_BYTES = 64 << 20, /* frames come from the heap, not from a fresh mapping each */
	/* The receiver of a new pipe may bind a moment after its sender connects. */
	PEER_RETRY_MS = 5,
	PEER_RETRY_MS_MAX = 500,
};

struct end_point { /* one socket: one edge between two workers */
	void *socket;
	const struct edge *edge;
	unsigned peer;
	uint32_t generation;
	uint64_t seq; /* last sent or received */
};

/* What the pipes to a role that restarts alone were made for; zeros: there are none yet. */
struct peering {
	uint32_t incarnation, generation;
};

struct pipes {
	struct pipes_setup setup;
	char dir[sizeof((struct sockaddr_un *)0)->sun_path];
	void *context;
	struct end_point *in, *out;
	unsigned in_n, out_n;
	unsigned turn; /* of pipe_recv's round */
	struct peering peering[ROLE_MAX];
	struct pipe_counts counts;
};

static uint16_t
address(enum role role, unsigned index)
{
	return (uint16_t)((unsigned)role << 8 | index);
}

/* Edges with one role that restarts alone, or (ROLE_MAX) those of the data workers alone. */
static bool
edge_is_with(const struct edge *d, enum role alone)
{
	if (alone == ROLE_MAX)
		return d->span != EDGE_PEER;
	return d->span == EDGE_PEER && (d->from == alone || d->to == alone);
}

/* Calls visit for each peer at the other end of an edge of ours; out: edges we send on. */
static bool
edges_each(struct pipes *p, bool out, enum role alone,
	   bool (*visit)(struct pipes *, const struct edge *, unsigned, struct err *),
	   struct err *e)
{
	for (unsigned i = 0; i < edges_n; i++) {
		const struct edge *d = &edges[i];
		if (!edge_is_with(d, alone) || (out ? d->from : d->to) != p->setup.role)
			continue;
		unsigned peers = p->setup.count[out ? d->to : d->from];
		for (unsigned j = 0; j < peers; j++) {
			if (d->span == EDGE_LANE && j != p->setup.index)
				continue;
			if (!visit(p, d, j, e))
				return false;
		}
	}
	return true;
}

/* The role of a peered edge that restarts alone: its incarnation is in the name. */
static const struct peering *
edge_peering(const struct pipes *p, const struct edge *d)
{
	enum role alone = role_rows[d->from].kind == ROLE_KIND_ALONE ? d->from : d->to;

	return &p->peering[alone];
}

static bool
url_make(const struct pipes *p, const struct edge *d, unsigned from, unsigned to, char *url,
	 size_t n, struct err *e)
{
	const struct peering *peering = edge_peering(p, d);
	char number[32];
	int len;

	if (d->span == EDGE_PEER)
		snprintf(number, sizeof number, "%u-%u", peering->generation, peering->incarnation);
	else
		snprintf(number, sizeof number, "%u", p->setup.generation);
	len = snprintf(url, n, "ipc://%s/%s.%s%u.%s%u", p->dir, number, role_name(d->from), from,
		       role_name(d->to), to);
	if (len < 0 || (size_t)len >= n)
		return err_set(e, EXIT_CONFIG, "the directory of the pipes has too long a name: %s",
			       p->dir);
	return true;
}

/* A peered pipe is dropped with what is in it: its other end is gone, or will be told. */
static bool
socket_make(struct pipes *p, int type, bool peered, void **out, struct err *e)
{
	int none = 0, linger = peered ? 0 : LINGER_MS;
	int retry = PEER_RETRY_MS, retry_max = PEER_RETRY_MS_MAX;
	void *s = zmq_socket(p->context, type);

	if (!s)
		return err_set(e, EXIT_BUG, "cannot make a pipe: %s", zmq_strerror(errno));
	/* No high-water mark: what bounds the pipes is ingest's credit. */
	bool good = !zmq_setsockopt(s, ZMQ_SNDHWM, &none, sizeof none) &&
		    !zmq_setsockopt(s, ZMQ_RCVHWM, &none, sizeof none) &&
		    !zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
	if (good && peered)
		good = !zmq_setsockopt(s, ZMQ_RECONNECT_IVL, &retry, sizeof retry) &&
		       !zmq_setsockopt(s, ZMQ_RECONNECT_IVL_MAX, &retry_max, sizeof retry_max);
	if (!good) {
		err_set(e, EXIT_BUG, "cannot set up a pipe: %s", zmq_strerror(errno));
		zmq_close(s);
		return false;
	}
	*out = s;
	return true;
}

static void
end_point_add(struct pipes *p, struct end_point **list, unsigned *n, void *socket,
	      const struct edge *d, unsigned peer)
{
	uint32_t generation =
	    d->span == EDGE_PEER ? edge_peering(p, d)->generation : p->setup.generation;

	*list = mem_resize(*list, *n + 1, sizeof **list);
	(*list)[(*n)++] =
	    (struct end_point){.socket = socket, .edge = d, .peer = peer, .generation = generation};
}

static bool
bind_in(struct pipes *p, const struct edge *d, unsigned peer, struct err *e)
{
	char url[sizeof p->dir + 64];
	void *s;

	if (!url_make(p, d, peer, p->setup.index, url, sizeof url, e) ||
	    !socket_make(p, ZMQ_PULL, d->span == EDGE_PEER, &s, e))
		return false;
	end_point_add(p, &p->in, &p->in_n, s, d, peer);
	if (zmq_bind(s, url))
		return err_set(e, EXIT_BUG, "cannot bind %s: %s", url, zmq_strerror(errno));
	return true;
}

static bool
connect_out(struct pipes *p, const struct edge *d, unsigned peer, struct err *e)
{
	char url[sizeof p->dir + 64];
	void *s;

	if (!url_make(p, d, p->setup.index, peer, url, sizeof url, e) ||
	    !socket_make(p, ZMQ_PUSH, d->span == EDGE_PEER, &s, e))
		return false;
	end_point_add(p, &p->out, &p->out_n, s, d, peer);
	if (zmq_connect(s, url))
		return err_set(e, EXIT_BUG, "cannot connect %s: %s", url, zmq_strerror(errno));
	return true;
}

bool
pipes_open(const struct pipes_setup *setup, struct pipes **out, struct err *e)
{
	struct pipes *p = mem_zero(1, sizeof *p);

	/* Frames of 256 KiB would otherwise be mapped and unmapped one by one: a page fault per 4
	 * KiB. */
	mallopt(M_MMAP_THRESHOLD, MALLOC_KEEP_BYTES);
	mallopt(M_TRIM_THRESHOLD, MALLOC_KEEP_BYTES);
	p->setup = *setup;
	int len = snprintf(p->dir, sizeof p->dir, "%s", setup->dir);
	p->setup.dir = p->dir;
	p->context = zmq_ctx_new();
	check(p->context);
	bool ok = len >= 0 && (size_t)len < sizeof p->dir;
	if (!ok)
		err_set(e, EXIT_CONFIG, "the directory of the pipes has too long a name");
	if (!ok || !edges_each(p, false, ROLE_MAX, bind_in, e)) {
		pipes_close(p);
		return false;
	}
	*out = p;
	return true;
}

bool
pipes_connect(struct pipes *p, struct err *e)
{
	return edges_each(p, true, ROLE_MAX, connect_out, e);
}

void
pipes_close(struct pipes *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->in_n; i++)
		zmq_close(p->in[i].socket);
	for (unsigned i = 0; i < p->out_n; i++)
		zmq_close(p->out[i].socket);
	zmq_ctx_term(p->context); /* waits for what is still to be taken, at most LINGER_MS */
	free(p->in);
	free(p->out);
	free(p);
}

static void
end_points_drop(struct end_point *list, unsigned *n, enum role alone)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < *n; i++) {
		if (edge_is_with(list[i].edge, alone))
			zmq_close(list[i].socket);
		else
			list[kept++] = list[i];
	}
	*n = kept;
}

bool
pipes_peer(struct pipes *p, enum role role, uint32_t incarnation, uint32_t generation,
	   struct err *e)
{
	struct peering *last = &p->peering[role];
	bool with = false, was = last->incarnation > 0;

	for (unsigned i = 0; i < edges_n; i++)
		with |= edge_is_with(&edges[i], role) &&
			(edges[i].from == p->setup.role || edges[i].to == p->setup.role);
	if (!with || role_rows[role].kind != ROLE_KIND_ALONE)
		return err_set(e, EXIT_BUG, "%s has no pipes that are made anew for %s",
			       role_name(p->setup.role), role_name(role));
	if (!incarnation || incarnation < last->incarnation || generation < last->generation ||
	    (was && incarnation == last->incarnation && generation == last->generation))
		return err_set(e, EXIT_BUG, "%s: PEER %u-%u after %u-%u", role_name(role),
			       generation, incarnation, last->generation, last->incarnation);
	end_points_drop(p->in, &p->in_n, role);
	end_points_drop(p->out, &p->out_n, role);
	p->turn = 0;
	*last = (struct peering){.incarnation = incarnation, .generation = generation};
	return edges_each(p, false, role, bind_in, e) && edges_each(p, true, role, connect_out, e);
}

bool
pipe_peered(const struct pipes *p, enum role to)
{
	for (unsigned i = 0; i < p->out_n; i++)
		if (p->out[i].edge->span == EDGE_PEER && p->out[i].edge->to == to)
			return true;
	return false;
}

void
pipe_body_start(struct buf *body)
{
	static const uint8_t room[FRAME_HEAD_BYTES];

	buf_clear(body);
	buf_add(body, room, sizeof room);
}

size_t
pipe_body_bytes(const struct buf *body)
{
	return body->len - FRAME_HEAD_BYTES;
}

static struct end_point *
out_find(struct pipes *p, enum role to, unsigned index)
{
	for (unsigned i = 0; i < p->out_n; i++)
		if (p->out[i].edge->to == to && p->out[i].peer == index)
			return &p->out[i];
	panic("%s has no pipe to %s %u", role_name(p->setup.role), role_name(to), index);
}

static void
bytes_free(void *data, void *hint)
{
	(void)hint;
	free(data);
}

/* For frames that carry secrets; what libzmq copied of it is the kernel's and its own. */
static void
bytes_wipe(void *data, void *hint)
{
	explicit_bzero(data, (size_t)(uintptr_t)hint);
	free(data);
}

/* Frames are counted here and nowhere else; data is taken over. */
static void
message_send(struct pipes *p, struct end_point *o, uint8_t *data, size_t n, enum frame_type type,
	     uint16_t flags, uint32_t count)
{
	struct frame_head h = {
	    .version = WIRE_VERSION,
	    .type = (uint8_t)type,
	    .flags = flags,
	    .generation = o->generation,
	    .sender = address(p->setup.role, p->setup.index),
	    .receiver = address(o->edge->to, o->peer),
	    .count = count,
	    .seq = ++o->seq,
	    .bytes = (uint32_t)(n - FRAME_HEAD_BYTES),
	};
	zmq_msg_t msg;

	if (!(o->edge->types & 1u << type))
		panic("%s may not send %s to %s", role_name(p->setup.role), frame_name(type),
		      role_name(o->edge->to));
	check(n >= FRAME_HEAD_BYTES && n - FRAME_HEAD_BYTES <= FRAME_BYTES_MAX);
	frame_head_encode(&h, data);
	bool secret = type == FRAME_KEYANS;
	if (zmq_msg_init_data(&msg, data, n, secret ? bytes_wipe : bytes_free,
			      (void *)(uintptr_t)n))
		panic("no memory for a message");
	while (zmq_msg_send(&msg, o->socket, ZMQ_DONTWAIT) < 0)
		if (errno != EINTR)
			panic("a pipe without high-water mark refused a frame: %s",
			      zmq_strerror(errno));
	p->counts.sent_frames++;
	p->counts.sent_bytes += n;
}

void
pipe_send(struct pipes *p, enum role to, unsigned index, enum frame_type type, uint16_t flags,
	  uint32_t count, struct buf *body)
{
	size_t n;
	struct end_point *o = out_find(p, to, index);

	check(body->len >= FRAME_HEAD_BYTES);
	uint8_t *data = buf_take(body, &n);
	message_send(p, o, data, n, type, flags, count);
}

void
pipe_forward(struct pipes *p, enum role to, unsigned index, const struct frame *f)
{
	size_t n = FRAME_HEAD_BYTES + (size_t)f->head.bytes;
	uint8_t *data = mem_alloc(n);

	memcpy(data + FRAME_HEAD_BYTES, f->body, f->head.bytes);
	message_send(p, out_find(p, to, index), data, n, (enum frame_type)f->head.type,
		     f->head.flags, f->head.count);
}

/* What a receiver insists on; a breach ends the generation. */
static bool
frame_check(const struct pipes *p, const struct end_point *i, const struct frame_head *h,
	    struct err *e)
{
	const char *from = role_name(i->edge->from);

	if (h->generation != i->generation)
		return err_set(e, EXIT_BUG, "%s %u sent a frame of generation %u, this is %u", from,
			       i->peer, h->generation, i->generation);
	if (h->sender != address(i->edge->from, i->peer) ||
	    h->receiver != address(p->setup.role, p->setup.index))
		return err_set(e, EXIT_BUG, "a frame from %s %u is addressed wrongly", from,
			       i->peer);
	if (h->seq != i->seq + 1)
		return err_set(e, EXIT_BUG, "a gap: %s %u sent frame %llu after %llu", from,
			       i->peer, (unsigned long long)h->seq, (unsigned long long)i->seq);
	if (!(i->edge->types & 1u << h->type))
		return err_set(e, EXIT_BUG, "%s %u may not send %s", from, i->peer,
			       frame_name((enum frame_type)h->type));
	return true;
}

static enum pipe_result
frame_take(struct pipes *p, struct end_point *i, zmq_msg_t *msg, struct frame *f, struct err *e)
{
	const uint8_t *data = zmq_msg_data(msg);
	size_t n = zmq_msg_size(msg);

	if (!frame_head_decode(data, n, &f->head, e) || !frame_check(p, i, &f->head, e))
		return PIPE_BROKEN;
	i->seq = f->head.seq;
	f->from = i->edge->from;
	f->from_index = i->peer;
	f->body = data + FRAME_HEAD_BYTES;
	f->msg_ = msg;
	p->counts.received_frames++;
	p->counts.received_bytes += n;
	return PIPE_FRAME;
}

enum pipe_result
pipe_recv(struct pipes *p, struct frame *f, struct err *e)
{
	zmq_msg_t *msg = mem_alloc(sizeof *msg);

	zmq_msg_init(msg);
	for (unsigned k = 0; k < p->in_n; k++) {
		struct end_point *i = &p->in[(p->turn + k) % p->in_n];
		if (zmq_msg_recv(msg, i->socket, ZMQ_DONTWAIT) < 0) {
			if (errno == EAGAIN || errno == EINTR)
				continue;
			panic("a pipe cannot be read: %s", zmq_strerror(errno));
		}
		p->turn = (p->turn + k + 1) % p->in_n;
		enum pipe_result got = frame_take(p, i, msg, f, e);
		if (got == PIPE_FRAME)
			return got;
		zmq_msg_close(msg);
		free(msg);
		return got;
	}
	zmq_msg_close(msg);
	free(msg);
	return PIPE_EMPTY;
}

void
frame_release(struct frame *f)
{
	if (!f->msg_)
		return;
	zmq_msg_close(f->msg_);
	free(f->msg_);
	*f = (struct frame){0};
}

bool
pipes_wait(struct pipes *p, struct pollfd *fds, unsigned fds_n, int timeout_ms)
{
	zmq_pollitem_t items[WAIT_ITEMS_MAX];
	unsigned n = 0;
	bool frames = false;

	check(p->in_n + fds_n <= WAIT_ITEMS_MAX);
	for (; n < p->in_n; n++)
		items[n] = (zmq_pollitem_t){.socket = p->in[n].socket, .events = ZMQ_POLLIN};
	for (unsigned i = 0; i < fds_n; i++) {
		short want = 0;
		want = (short)(want | (fds[i].events & POLLIN ? ZMQ_POLLIN : 0));
		want = (short)(want | (fds[i].events & POLLOUT ? ZMQ_POLLOUT : 0));
		items[n++] = (zmq_pollitem_t){.fd = fds[i].fd, .events = want};
	}
	if (zmq_poll(items, (int)n, timeout_ms) < 0)
		for (unsigned i = 0; i < n; i++)
			items[i].revents = 0; /* EINTR: the caller's loop comes round */
	for (unsigned i = 0; i < p->in_n; i++)
		frames |= items[i].revents != 0;
	for (unsigned i = 0; i < fds_n; i++) {
		short got = items[p->in_n + i].revents;
		fds[i].revents =
		    (short)((got & ZMQ_POLLIN ? POLLIN : 0) | (got & ZMQ_POLLOUT ? POLLOUT : 0) |
			    (got & ZMQ_POLLERR ? POLLERR : 0));
	}
	return frames;
}

struct pipe_counts
pipe_counts(const struct pipes *p)
{
	return p->counts;
}
