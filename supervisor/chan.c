#include "chan.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "part.h"
#include "peer.h"

static void
frame_start(const struct child *c, struct ctl_frame *f, enum ctl_type type)
{
	memset(f, 0, sizeof *f);
	f->version = CTL_VERSION;
	f->type = (uint8_t)type;
	f->role = (uint16_t)c->role;
	f->index = (uint16_t)c->index;
	f->generation = c->generation;
}

bool
chan_send(struct child *c, enum ctl_type type, struct err *e)
{
	struct ctl_frame f;

	frame_start(c, &f, type);
	return ctl_send(c->sock, &f, -1, e);
}

static bool
config_send(struct child *c, const struct chan_setup *s, struct err *e)
{
	struct ctl_frame f;
	uint32_t bytes;
	int slice = gather_slice(s->gather, c->role, &bytes);

	frame_start(c, &f, CTL_CONFIG);
	f.config.slice_bytes = bytes;
	for (int i = 0; i < ROLE_MAX; i++)
		f.config.count[i] =
		    (uint16_t)part_count(s->model, c->role, (enum role)i, s->count[i]);
	f.config.bounded = s->bounded;
	f.config.close = s->close;
	f.config.accept_dead = s->accept_dead;
	f.config.take_over = s->take_over;
	f.config.until_wall_us = s->until_wall_us;
	snprintf(f.config.dir, sizeof f.config.dir, "%s", s->dir);
	snprintf(f.config.instance, sizeof f.config.instance, "%s", s->instance);
	snprintf(f.config.handoff, sizeof f.config.handoff, "%s", s->handoff);
	f.config.has_root = s->root != NULL;
	if (s->root)
		memcpy(f.config.root, s->root, sizeof f.config.root);
	return ctl_send(c->sock, &f, slice, e);
}

static bool
fd_send(struct child *c, enum ctl_fd_kind kind, const char *name, const struct child *of, int fd,
	struct err *e)
{
	struct ctl_frame f;

	frame_start(c, &f, CTL_FD);
	f.fd.kind = (uint16_t)kind;
	f.fd.of_role = (uint16_t)of->role;
	f.fd.of_index = (uint16_t)of->index;
	snprintf(f.fd.name, sizeof f.fd.name, "%s", name);
	return ctl_send(c->sock, &f, fd, e);
}

/* Login, key, secrets: opened for this birth, closed here as soon as they are on their way. */
static bool
secrets_send(struct child *c, const struct chan_setup *s, struct err *e)
{
	struct gathered items[GATHERED_MAX];
	int n = gather_open(s->gather, c->role, items, e);
	bool good = n >= 0;

	for (int i = 0; good && i < n; i++)
		good = fd_send(c, items[i].kind, items[i].name, c, items[i].fd, e);
	if (n > 0)
		gather_close(items, n);
	return good;
}

static bool
pages_send(struct child *c, const struct chan_setup *s, struct err *e)
{
	for (unsigned i = 0; i < s->children_n; i++)
		if (!fd_send(c, CTL_FD_PAGES, "", &s->children[i], s->children[i].page_read_fd, e))
			return false;
	return fd_send(c, CTL_FD_BOARD, "", c, s->board_fd, e);
}

bool
chan_configure(struct child *c, const struct chan_setup *s, struct err *e)
{
	unsigned needs = role_rows[c->role].needs;

	return config_send(c, s, e) && secrets_send(c, s, e) &&
	       fd_send(c, CTL_FD_PAGE, "", c, c->page_fd, e) &&
	       (!(needs & NEED_PAGES) || pages_send(c, s, e)) &&
	       (!(needs & NEED_LISTEN) || fd_send(c, CTL_FD_LISTEN, "", c, s->listen_fd, e)) &&
	       chan_send(c, CTL_START, e);
}

bool
chan_peer(struct child *c, enum role alone, const struct peering *p, struct err *e)
{
	struct ctl_frame f;

	frame_start(c, &f, CTL_PEER);
	f.peer.of_role = (uint16_t)alone;
	f.peer.incarnation = p->incarnation;
	f.peer.generation = p->generation;
	return ctl_send(c->sock, &f, -1, e);
}

static void
stats_take(struct child *c, const struct ctl_frame *f, struct mono now)
{
	if (f->stats.progress != c->progress || f->stats.queued == 0 ||
	    f->stats.wait != WAIT_NOTHING)
		c->moved = now;
	c->progress = f->stats.progress;
	c->queued = f->stats.queued;
	c->going = f->stats.going;
	c->wait = (enum worker_wait)f->stats.wait;
	c->wait_since = mono_add_ms(now, -f->stats.wait_ms);
	memcpy(c->why, f->stats.why, sizeof c->why);
	c->row.wait = f->stats.wait;
	c->row.wait_ms = f->stats.wait_ms;
	memcpy(c->row.why, f->stats.why, sizeof c->row.why);
}

static void
ready_take(struct child *c, const struct ctl_frame *f, struct mono now)
{
	c->ready = true;
	c->ready_at = now;
	c->row.ready_since_wall_us = wall_now_us();
	c->row.separation = f->ready.separation;
	c->row.seccomp = f->ready.seccomp;
	c->row.landlock = f->ready.landlock;
}

/* A checked frame as an event. */
static void
frame_take(struct child *c, const struct ctl_frame *f, bool may_end, struct chan_event *out)
{
	struct mono now = mono_now();

	c->heard = now;
	switch ((enum ctl_type)f->type) {
	case CTL_HELLO:
		out->event = EVENT_HELLO;
		return;
	case CTL_READY:
		ready_take(c, f, now);
		out->event = EVENT_READY;
		return;
	case CTL_STATS:
		stats_take(c, f, now);
		out->event = EVENT_STATS;
		return;
	case CTL_BYE:
		c->bye_at = now;
		out->event = policy_bye(f->bye.code, may_end);
		out->code = f->bye.code;
		memcpy(out->why, f->bye.why, sizeof out->why);
		return;
	case CTL_CONFIG:
	case CTL_FD:
	case CTL_START:
	case CTL_GO:
	case CTL_DRAIN:
	case CTL_PEER:
	case CTL_TYPE_MAX:
		break;
	}
	panic("%s: %s passed the check", c->subject, ctl_name((enum ctl_type)f->type));
}

static bool
breach(struct chan_event *out, const struct err *e)
{
	out->event = EVENT_BREACH;
	snprintf(out->why, sizeof out->why, "%s", e->text);
	return true;
}

bool
chan_read(struct child *c, bool may_end, struct chan_event *out)
{
	struct ctl_frame f;
	struct err e = {0};
	int fd;

	memset(out, 0, sizeof *out);
	if (c->sock < 0)
		return false;
	switch (ctl_recv(c->sock, &f, &fd, &e)) {
	case CTL_EMPTY:
		return false;
	case CTL_EOF:
		close(c->sock);
		c->sock = -1;
		return false;
	case CTL_BROKEN:
		return breach(out, &e);
	case CTL_GOT:
		break;
	}
	if (fd >= 0) {
		close(fd);
		err_set(&e, EXIT_BUG, "a descriptor came up");
		return breach(out, &e);
	}
	if (!ctl_check(&f, true, &e))
		return breach(out, &e);
	/* Its first HELLO comes before CONFIG, so it cannot know the generation yet. */
	bool mine = f.role == c->role && f.index == c->index &&
		    (f.generation == c->generation || f.type == CTL_HELLO || f.type == CTL_BYE);
	if (!mine) {
		err_set(&e, EXIT_BUG, "a frame in another worker's name or generation");
		return breach(out, &e);
	}
	log_debug("supervisor <- %s %s", c->subject, ctl_name((enum ctl_type)f.type));
	frame_take(c, &f, may_end, out);
	return true;
}
