/* skel_channel: the worker's end of the control channel on fd 3. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "skel_private.h"

enum { SEND_MS_MAX = 1000 }; /* HELLO, READY and BYE wait so long for room in the channel */

static void
frame_start(const struct worker *w, struct ctl_frame *f, enum ctl_type type)
{
	memset(f, 0, sizeof *f);
	f->version = CTL_VERSION;
	f->type = (uint8_t)type;
	f->role = (uint16_t)w->ops->role;
	f->index = (uint16_t)w->index;
	f->generation = w->generation;
}

/* For what must arrive; when the supervisor does not read, there is nobody to tell. */
static void
frame_send(struct worker *w, const struct ctl_frame *f)
{
	struct pollfd out = {.fd = CTL_SOCKET, .events = POLLOUT};
	struct err e;

	while (!ctl_send(CTL_SOCKET, f, -1, &e)) {
		if (e.code != EXIT_TRY_LATER || poll(&out, 1, SEND_MS_MAX) <= 0) {
			w->skel->gone = true;
			return;
		}
	}
}

void
channel_hello(struct worker *w)
{
	struct ctl_frame f;

	frame_start(w, &f, CTL_HELLO);
	f.hello.pid = getpid();
	frame_send(w, &f);
}

void
channel_ready(struct worker *w, const struct sandbox_report *report)
{
	struct ctl_frame f;

	frame_start(w, &f, CTL_READY);
	f.ready.separation = (uint8_t)report->separation;
	f.ready.seccomp = report->seccomp;
	f.ready.landlock = report->landlock;
	frame_send(w, &f);
}

void
channel_bye(struct worker *w)
{
	struct ctl_frame f;

	frame_start(w, &f, CTL_BYE);
	f.bye.code = w->end_code;
	snprintf(f.bye.why, sizeof f.bye.why, "%s", w->end_why);
	frame_send(w, &f);
}

/* The pipes count from zero in each generation, the page goes on: add what is new. */
void
counts_add(struct worker *w)
{
	struct pipe_counts *old = &w->skel->counted;

	if (!w->pipes)
		return;
	struct pipe_counts now = pipe_counts(w->pipes);
	metric_add(w->page, METRIC_FRAMES_SENT, now.sent_frames - old->sent_frames);
	metric_add(w->page, METRIC_BYTES_SENT, now.sent_bytes - old->sent_bytes);
	metric_add(w->page, METRIC_FRAMES_RECEIVED, now.received_frames - old->received_frames);
	metric_add(w->page, METRIC_BYTES_RECEIVED, now.received_bytes - old->received_bytes);
	*old = now;
}

/* Gossip: one that finds no room is left out, the next one says the same. */
void
channel_stats(struct worker *w, struct mono now)
{
	struct ctl_frame f;
	struct err e;

	w->skel->stats_at = now;
	w->skel->stats_due = mono_add_ms(now, CTL_STATS_MS);
	counts_add(w);
	frame_start(w, &f, CTL_STATS);
	f.stats.progress = w->progress;
	f.stats.queued = w->queued;
	f.stats.wait = (uint16_t)w->wait;
	f.stats.going = w->skel->turned;
	w->skel->told = w->wait;
	/* A wait that began in this very turn is younger than the turn's now. */
	if (w->wait != WAIT_NOTHING && mono_due(w->wait_since, now))
		f.stats.wait_ms = mono_since_ms(w->wait_since, now);
	snprintf(f.stats.why, sizeof f.stats.why, "%s", w->wait_why);
	if (!ctl_send(CTL_SOCKET, &f, -1, &e) && e.code != EXIT_TRY_LATER)
		w->skel->gone = true;
}

/* ---- coming down ---- */

static bool
config_take(struct worker *w, const struct ctl_frame *f, int fd, struct err *e)
{
	struct skel *s = w->skel;

	if (s->configured || fd < 0)
		return err_set(e, EXIT_BUG, "CONFIG comes once, with a descriptor");
	s->configured = true;
	s->slice_fd = fd;
	s->slice_bytes = f->config.slice_bytes;
	memcpy(s->dir, f->config.dir, sizeof s->dir);
	memcpy(w->instance, f->config.instance, sizeof w->instance);
	snprintf(w->handoff, sizeof w->handoff, "%s", f->config.handoff);
	w->has_root = f->config.has_root;
	memcpy(w->root, f->config.root, sizeof w->root);
	w->generation = f->generation;
	for (int i = 0; i < ROLE_MAX; i++)
		w->count[i] = f->config.count[i];
	w->bounded = f->config.bounded;
	w->accept_dead = f->config.accept_dead;
	w->take_over = f->config.take_over;
	w->close = f->config.close;
	w->until_wall_us = f->config.until_wall_us;
	return true;
}

/* A descriptor that a worker has one of. */
static bool
single_take(int *slot, int fd, struct err *e)
{
	if (*slot >= 0)
		return err_set(e, EXIT_BUG, "a descriptor of this kind was given before");
	*slot = fd;
	return true;
}

/* The rid key has its own place; the others are known by their file's name. */
static bool
key_take(struct worker *w, const char *name, int fd, struct err *e)
{
	if (!strcmp(name, "rid_key"))
		return single_take(&w->rid_key_fd, fd, e);
	if (w->keys_n == KEYS_MAX)
		return err_set(e, EXIT_BUG, "more than %d key files", KEYS_MAX);
	snprintf(w->keys[w->keys_n].name, sizeof w->keys->name, "%s", name);
	w->keys[w->keys_n++].fd = fd;
	return true;
}

static bool
page_take(struct worker *w, int fd, struct err *e)
{
	if (w->page)
		return err_set(e, EXIT_BUG, "a second metric page");
	w->page = metric_page_map(fd, true, e);
	if (w->page)
		close(fd);
	return w->page;
}

static bool
fd_take(struct worker *w, const struct ctl_frame *f, int fd, struct err *e)
{
	switch ((enum ctl_fd_kind)f->fd.kind) {
	case CTL_FD_LOGIN:
		return single_take(&w->login_fd, fd, e);
	case CTL_FD_KEY:
		return key_take(w, f->fd.name, fd, e);
	case CTL_FD_LISTEN:
		return single_take(&w->listen_fd, fd, e);
	case CTL_FD_BOARD:
		return single_take(&w->board_fd, fd, e);
	case CTL_FD_PAGE:
		return page_take(w, fd, e);
	case CTL_FD_PAGES:
		if (w->pages_n == BOARD_ROWS_MAX)
			return err_set(e, EXIT_BUG, "more than %d pages", BOARD_ROWS_MAX);
		w->pages[w->pages_n].fd = fd;
		w->pages[w->pages_n].role = (enum role)f->fd.of_role;
		w->pages[w->pages_n++].index = f->fd.of_index;
		return true;
	case CTL_FD_SECRET:
		if (w->secrets_n == SECRETS_MAX)
			return err_set(e, EXIT_BUG, "more than %d secrets", SECRETS_MAX);
		memcpy(w->secrets[w->secrets_n].name, f->fd.name, sizeof f->fd.name);
		w->secrets[w->secrets_n++].fd = fd;
		return true;
	case CTL_FD_KIND_MAX:
		break;
	}
	return err_set(e, EXIT_BUG, "a descriptor of an unknown kind");
}

static bool
go_take(struct worker *w, struct err *e)
{
	if (w->skel->going)
		return err_set(e, EXIT_BUG, "a second GO");
	if (w->pipes && !pipes_connect(w->pipes, e))
		return false;
	w->skel->going = true;
	w->skel->stats_due = (struct mono){0}; /* the first turn is told at once */
	return !w->ops->go || w->ops->go(w, e);
}

/* Carried out by the loop: this may be in the middle of a callback that waits (skel_serve). */
static bool
peer_take(struct worker *w, const struct ctl_frame *f, struct err *e)
{
	struct skel_peer *due = &w->skel->peers[f->peer.of_role];

	if (!w->pipes)
		return err_set(e, EXIT_BUG, "PEER for a worker without pipes");
	*due = (struct skel_peer){.incarnation = f->peer.incarnation,
				  .generation = f->peer.generation};
	w->skel->peers_due = true;
	return true;
}

static void
drain_take(struct worker *w)
{
	if (w->draining)
		return;
	w->draining = true;
	if (!w->skel->going)
		skel_end(w, EXIT_DONE, "drained before it began");
	else if (w->ops->drain)
		w->ops->drain(w);
	else if (role_rows[w->ops->role].kind == ROLE_KIND_ALONE)
		skel_end(w, EXIT_DONE, "drained");
}

/* The single place where control frames arrive. fd becomes the worker's when this succeeds. */
static bool
ctl_take(struct worker *w, const struct ctl_frame *f, int fd, struct err *e)
{
	struct skel *s = w->skel;

	if (!ctl_check(f, false, e))
		return false;
	if (f->role != w->ops->role || f->index != w->index)
		return err_set(e, EXIT_BUG, "a control frame for another worker");
	log_debug("%s <- supervisor %s", s->subject, ctl_name((enum ctl_type)f->type));
	if (f->type == CTL_CONFIG)
		return config_take(w, f, fd, e);
	if (f->type == CTL_FD && s->configured && !s->started && fd >= 0)
		return fd_take(w, f, fd, e);
	if (fd >= 0)
		return err_set(e, EXIT_BUG, "a descriptor with %s",
			       ctl_name((enum ctl_type)f->type));
	if (f->type == CTL_START && s->configured && !s->started) {
		s->started = true;
		return true;
	}
	if (f->type == CTL_GO && s->started)
		return go_take(w, e);
	if (f->type == CTL_PEER && s->going)
		return peer_take(w, f, e);
	if (f->type != CTL_DRAIN)
		return err_set(e, EXIT_BUG, "%s comes too early", ctl_name((enum ctl_type)f->type));
	drain_take(w);
	return true;
}

/* Takes what is in the channel; stops behind START, so that the birth goes on in order. */
bool
channel_read(struct worker *w, struct err *e)
{
	struct skel *s = w->skel;

	while (!w->ending) {
		struct ctl_frame f;
		bool before = s->started;
		int fd;
		switch (ctl_recv(CTL_SOCKET, &f, &fd, e)) {
		case CTL_EMPTY:
			return true;
		case CTL_EOF:
			s->gone = true;
			return true;
		case CTL_BROKEN:
			return false;
		case CTL_GOT:
			break;
		}
		if (!ctl_take(w, &f, fd, e)) {
			if (fd >= 0 && fd != s->slice_fd)
				close(fd);
			return false;
		}
		if (s->started != before)
			return true;
	}
	return true;
}
