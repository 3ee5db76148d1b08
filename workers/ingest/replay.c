#include "replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"

static const char socket_name[] = "replay.sock";

enum {
	BACKLOG = 8,
	READ_BYTES = 64 * 1024,
	LABEL_BYTES = 2,
	SOCKET_MODE = 0600,
	LANE_NONE = LANES_MAX,
};

struct client {
	int fd; /* -1: free */
	uint64_t serial;
	struct buf in, out;
	size_t out_at;
	unsigned pending;
	bool ended; /* nothing more comes from it; answers may still go */
};

struct pending {
	const struct ingest_partition *part; /* NULL: free */
	int64_t ticket;
	unsigned lane; /* LANE_NONE: held */
	unsigned client;
	uint64_t serial; /* of the client: it may be gone */
	uint8_t rid[RID_BYTES];
};

struct replay {
	int fd;
	char *path;
	uint64_t serial;
	struct client clients[REPLAY_CLIENTS];
	struct pending pending[REPLAY_PENDING];
	unsigned pending_n;
	struct ingest_partition *parts[SOURCES_MAX];
};

static void
client_free(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->in.data)
		secret_wipe(c->in.data, c->in.cap);
	buf_free(&c->in);
	buf_free(&c->out);
	*c = (struct client){.fd = -1};
}

bool
replay_open(const char *dir, struct replay **out, struct err *e)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct buf path = {0};
	struct replay *r;

	*out = NULL;
	buf_printf(&path, "%s/%s", dir, socket_name);
	if (path.len >= sizeof at.sun_path) {
		buf_free(&path);
		return err_set(e, EXIT_CONFIG, "the path of %s is too long", socket_name);
	}
	r = mem_zero(1, sizeof *r);
	for (unsigned i = 0; i < REPLAY_CLIENTS; i++)
		r->clients[i].fd = -1;
	r->path = mem_string(buf_cstr(&path));
	buf_free(&path);
	memcpy(at.sun_path, r->path, strlen(r->path));
	unlink(r->path); /* of an ingest that is gone */
	r->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->fd < 0 || bind(r->fd, (struct sockaddr *)&at, sizeof at) != 0 ||
	    chmod(r->path, SOCKET_MODE) != 0 || listen(r->fd, BACKLOG) != 0) {
		err_errno(e, EXIT_CONFIG, "%s", r->path);
		replay_close(r);
		return false;
	}
	*out = r;
	return true;
}

void
replay_close(struct replay *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < REPLAY_CLIENTS; i++)
		client_free(&r->clients[i]);
	if (r->fd >= 0)
		close(r->fd);
	free(r->path);
	free(r);
}

unsigned
replay_watch(const struct replay *r, struct pollfd *fds, unsigned max)
{
	unsigned n = 0;

	if (max < 1 + REPLAY_CLIENTS || r->pending_n == REPLAY_PENDING)
		return 0;
	fds[n++] = (struct pollfd){.fd = r->fd, .events = POLLIN};
	for (unsigned i = 0; i < REPLAY_CLIENTS; i++)
		if (r->clients[i].fd >= 0 && !r->clients[i].ended &&
		    r->clients[i].in.len <= REPLAY_BYTES_MAX)
			fds[n++] = (struct pollfd){.fd = r->clients[i].fd, .events = POLLIN};
	return n;
}

/* ---- answers ---- */

static uint32_t
u32_read(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void
u32_write(struct buf *b, uint32_t v)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		buf_byte(b, (uint8_t)(v >> shift));
}

static void
answer(struct client *c, const uint8_t *rid, enum replay_code code, const char *text)
{
	size_t n = strlen(text);

	u32_write(&c->out, (uint32_t)(RID_BYTES + 1 + n));
	buf_add(&c->out, rid, RID_BYTES);
	buf_byte(&c->out, (uint8_t)code);
	buf_add(&c->out, text, n);
}

static void
pending_end(struct replay *r, struct pending *p, enum replay_code code, const char *text)
{
	struct client *c = &r->clients[p->client];

	if (c->fd >= 0 && c->serial == p->serial) {
		c->pending--;
		answer(c, p->rid, code, text);
	}
	p->part = NULL;
	r->pending_n--;
}

static struct pending *
pending_find(struct replay *r, const struct ingest_partition *part, int64_t ticket)
{
	for (unsigned i = 0; i < REPLAY_PENDING; i++)
		if (r->pending[i].part == part && r->pending[i].ticket == ticket)
			return &r->pending[i];
	panic("an event that nobody has sent again");
}

void
replay_routed(struct ingest *in, const struct ingest_partition *part, int64_t ticket, unsigned lane)
{
	pending_find(in->replay, part, ticket)->lane = lane;
}

void
replay_dead(struct ingest *in, const struct ingest_partition *part, int64_t ticket,
	    const char *reason)
{
	pending_end(in->replay, pending_find(in->replay, part, ticket), REPLAY_DEAD, reason);
}

void
replay_committed(struct ingest *in, const struct ingest_partition *part, unsigned lane)
{
	struct replay *r = in->replay;

	for (unsigned i = 0; i < REPLAY_PENDING && r->pending_n; i++) {
		struct pending *p = &r->pending[i];

		if (p->part == part && p->lane == lane && p->ticket < part->lanes[lane].committed)
			pending_end(r, p, REPLAY_COMMITTED, "committed");
	}
}

/* ---- requests ---- */

struct request {
	uint8_t rid[RID_BYTES];
	const char *label, *event;
	size_t label_len, event_len;
};

enum parsed { PARSED_GOOD, PARSED_SHORT, PARSED_BAD };

static enum parsed
request_parse(const struct buf *in, struct request *q, size_t *bytes)
{
	const uint8_t *p = in->data;
	uint32_t n;

	if (in->len < REPLAY_HEAD_BYTES)
		return PARSED_SHORT;
	n = u32_read(p);
	if (n > REPLAY_BYTES_MAX || n < LABEL_BYTES + RID_BYTES)
		return PARSED_BAD;
	if (in->len - REPLAY_HEAD_BYTES < n)
		return PARSED_SHORT;
	p += REPLAY_HEAD_BYTES;
	q->label_len = (size_t)p[0] << 8 | p[1];
	if (q->label_len > n - LABEL_BYTES - RID_BYTES)
		return PARSED_BAD;
	q->label = (const char *)p + LABEL_BYTES;
	p += LABEL_BYTES + q->label_len;
	memcpy(q->rid, p, RID_BYTES);
	q->event = (const char *)p + RID_BYTES;
	q->event_len = n - LABEL_BYTES - q->label_len - RID_BYTES;
	*bytes = REPLAY_HEAD_BYTES + n;
	return PARSED_GOOD;
}

static int
source_of(const struct model *m, const struct request *q)
{
	for (unsigned i = 0; i < m->sources_n; i++)
		if (strlen(m->sources[i].label) == q->label_len &&
		    !memcmp(m->sources[i].label, q->label, q->label_len))
			return (int)i;
	return -1;
}

/* The partition of a source's dead letters; NULL: it has no id yet, which is asked for. */
static struct ingest_partition *
part_get(struct ingest *in, unsigned source, struct mono now)
{
	struct ingest_partition **part = &in->replay->parts[source];

	if (!*part) {
		*part = parts_made(&in->parts, source, PARTITION_DEAD);
		in->wanted += (*part)->state == PART_WANTED;
	}
	if ((*part)->state == PART_READY)
		reader_made_start(in, *part, now);
	return (*part)->state == PART_READING ? *part : NULL;
}

static void
pending_add(struct replay *r, struct client *c, const struct ingest_partition *part,
	    const struct request *q)
{
	struct pending *p = r->pending;

	check(r->pending_n < REPLAY_PENDING);
	while (p->part)
		p++;
	*p = (struct pending){.part = part,
			      .ticket = part->made_ticket,
			      .lane = LANE_NONE,
			      .client = (unsigned)(c - r->clients),
			      .serial = c->serial};
	memcpy(p->rid, q->rid, RID_BYTES);
	r->pending_n++;
	c->pending++;
}

/* False: it must wait. */
static bool
request_take(struct ingest *in, struct client *c, const struct request *q, int64_t now_wall_us,
	     struct mono now)
{
	int source = source_of(in->m, q);
	struct source_event ev = {
	    .data = q->event, .len = q->event_len, .redelivered = true, .replayed = true};

	if (source < 0) {
		answer(c, q->rid, REPLAY_REFUSED, "the pipeline has no source of this label");
		return true;
	}
	struct ingest_partition *part = part_get(in, (unsigned)source, now);
	if (!part)
		return false;
	part->made_ticket++;
	pending_add(in->replay, c, part, q);
	ev.offset = part->made_ticket;
	memcpy(ev.rid, q->rid, RID_BYTES);
	event_again(in, part, &ev, now_wall_us, now);
	return true;
}

/* The bytes taken are in clear: they are wiped, and the rest moves to the front. */
static void
input_drop(struct buf *in, size_t n)
{
	size_t rest = in->len - n;

	memmove(in->data, in->data + n, rest);
	secret_wipe(in->data + rest, n);
	in->len = rest;
}

/* False: the client is to be cut off. */
static bool
client_requests(struct ingest *in, struct client *c, int64_t now_wall_us, struct mono now)
{
	struct request q;
	size_t n;

	while (in->replay->pending_n < REPLAY_PENDING && reader_may_read(in)) {
		switch (request_parse(&c->in, &q, &n)) {
		case PARSED_SHORT:
			return true;
		case PARSED_BAD:
			return false;
		case PARSED_GOOD:
			break;
		}
		if (!request_take(in, c, &q, now_wall_us, now))
			return true;
		input_drop(&c->in, n);
	}
	return true;
}

/* False: the client has gone. */
static bool
client_read(struct client *c)
{
	uint8_t *at;
	ssize_t n;

	if (c->ended || c->in.len > REPLAY_BYTES_MAX)
		return true;
	if (!c->in.cap) /* once, so that no copy of it stays elsewhere */
		buf_reserve(&c->in, REPLAY_HEAD_BYTES + REPLAY_BYTES_MAX + READ_BYTES);
	at = c->in.data + c->in.len;
	n = recv(c->fd, at, READ_BYTES, 0);
	if (n > 0)
		c->in.len += (size_t)n;
	c->ended = n == 0;
	return n >= 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool
request_whole(const struct buf *in)
{
	struct request q;
	size_t n;

	return request_parse(in, &q, &n) == PARSED_GOOD;
}

static bool
client_write(struct client *c)
{
	while (c->out_at < c->out.len) {
		ssize_t n =
		    send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN && c->out.len - c->out_at <= REPLAY_ANSWERS_MAX;
		c->out_at += (size_t)n;
	}
	buf_clear(&c->out);
	c->out_at = 0;
	/* What is left of an ended one is no request. */
	return !c->ended || c->pending || request_whole(&c->in);
}

static void
clients_accept(struct replay *r)
{
	for (unsigned i = 0; i < REPLAY_CLIENTS; i++) {
		if (r->clients[i].fd >= 0)
			continue;
		r->clients[i].fd = accept4(r->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (r->clients[i].fd < 0)
			return;
		r->clients[i].serial = ++r->serial;
	}
}

void
replay_step(struct ingest *in, int64_t now_wall_us, struct mono now)
{
	struct replay *r = in->replay;

	clients_accept(r);
	for (unsigned i = 0; i < REPLAY_CLIENTS; i++) {
		struct client *c = &r->clients[i];

		if (c->fd < 0)
			continue;
		if (!client_read(c) || !client_requests(in, c, now_wall_us, now) ||
		    !client_write(c))
			client_free(c);
	}
}
