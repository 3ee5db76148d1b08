#include "skel.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"
#include "log.h"
#include "mem.h"
#include "sandbox.h"

enum {
	FRAMES_A_TURN = 64,
	SECRET_BYTES_MAX = 64 * 1024,
	SEND_MS_MAX = 1000,  /* HELLO, READY and BYE wait so long for room in the channel */
	SOCKET_UMASK = 0117, /* pipes' sockets are 0660 */
};

struct skel {
	const char *subject; /* "ingest.0" */
	int slice_fd;
	size_t slice_bytes;
	char dir[sizeof((struct ctl_frame *)0)->config.dir];
	bool configured, started, opened, going, gone; /* gone: EOF on the channel */
	struct mono stats_due;
	struct pipe_counts counted; /* what the page has seen of pipe_counts */
};

void
skel_end(struct worker *w, int code, const char *fmt, ...)
{
	va_list ap;

	if (w->ending)
		return; /* the first reason is the cause */
	w->ending = true;
	w->end_code = code;
	va_start(ap, fmt);
	vsnprintf(w->end_why, sizeof w->end_why, fmt, ap);
	va_end(ap);
}

/* A callback failed: its error decides how the worker ends. */
static void
end_by(struct worker *w, const struct err *e)
{
	skel_end(w, e->code ? e->code : EXIT_BUG, "%s", e->text);
}

void
skel_wait(struct worker *w, enum worker_wait wait, const char *fmt, ...)
{
	va_list ap;

	if (w->wait != wait)
		w->wait_since = mono_now();
	w->wait = wait;
	va_start(ap, fmt);
	vsnprintf(w->wait_why, sizeof w->wait_why, fmt, ap);
	va_end(ap);
}

bool
skel_read_fd(int fd, size_t max, struct buf *out, struct err *e)
{
	buf_clear(out);
	for (;;) {
		buf_reserve(out, 4096);
		ssize_t n = pread(fd, out->data + out->len, 4096, (off_t)out->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, EXIT_PERMISSION, "cannot read a descriptor");
		if (n == 0)
			return true;
		out->len += (size_t)n;
		if (out->len > max)
			return err_set(e, EXIT_CONFIG, "a file of more than %zu bytes", max);
	}
}

bool
skel_secret(struct worker *w, const char *name, struct buf *out, struct err *e)
{
	for (unsigned i = 0; i < w->secrets_n; i++) {
		if (strcmp(w->secrets[i].name, name) != 0)
			continue;
		if (!skel_read_fd(w->secrets[i].fd, SECRET_BYTES_MAX, out, e))
			return err_context(e, "secret %s", name);
		while (out->len &&
		       (out->data[out->len - 1] == '\n' || out->data[out->len - 1] == '\r'))
			out->len--;
		return true;
	}
	return err_set(e, EXIT_CONFIG, "secret %s was not handed over", name);
}

/* ---- going up ---- */

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

static void
hello_send(struct worker *w)
{
	struct ctl_frame f;

	frame_start(w, &f, CTL_HELLO);
	f.hello.pid = getpid();
	frame_send(w, &f);
}

static void
ready_send(struct worker *w, const struct sandbox_report *report)
{
	struct ctl_frame f;

	frame_start(w, &f, CTL_READY);
	f.ready.separation = (uint8_t)report->separation;
	f.ready.seccomp = report->seccomp;
	f.ready.landlock = report->landlock;
	frame_send(w, &f);
}

static void
bye_send(struct worker *w)
{
	struct ctl_frame f;

	frame_start(w, &f, CTL_BYE);
	f.bye.code = w->end_code;
	snprintf(f.bye.why, sizeof f.bye.why, "%s", w->end_why);
	frame_send(w, &f);
}

/* The pipes count from zero in each generation, the page goes on: add what is new. */
static void
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
static void
stats_send(struct worker *w, struct mono now)
{
	struct ctl_frame f;
	struct err e;

	w->skel->stats_due = mono_add_ms(now, CTL_STATS_MS);
	counts_add(w);
	frame_start(w, &f, CTL_STATS);
	f.stats.progress = w->progress;
	f.stats.queued = w->queued;
	f.stats.wait = (uint16_t)w->wait;
	if (w->wait != WAIT_NOTHING)
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
		return single_take(&w->rid_key_fd, fd, e);
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
	return !w->ops->go || w->ops->go(w, e);
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
	if (f->type != CTL_DRAIN)
		return err_set(e, EXIT_BUG, "%s comes too early", ctl_name((enum ctl_type)f->type));
	drain_take(w);
	return true;
}

/* Takes what is in the channel; stops behind START, so that the birth goes on in order. */
static bool
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

bool
skel_serve(struct worker *w)
{
	struct mono now = mono_now();
	struct err e = {0};

	if (mono_due(w->skel->stats_due, now))
		stats_send(w, now);
	if (!channel_read(w, &e))
		end_by(w, &e);
	return !w->skel->gone && !w->ending;
}

/* ---- birth ---- */

static bool
model_read(struct worker *w, struct err *e)
{
	struct conf_report report = {0};
	struct buf slice = {0};
	bool done = skel_read_fd(w->skel->slice_fd, CONF_BYTES_MAX, &slice, e);

	if (done && slice.len != w->skel->slice_bytes)
		done = err_set(e, EXIT_BUG, "slice of %zu bytes, %zu were announced", slice.len,
			       w->skel->slice_bytes);
	if (done &&
	    !conf_read_text("slice", (const char *)slice.data, slice.len, &w->model, &report))
		done = err_set(e, EXIT_BUG, "the slice does not parse: %.300s",
			       buf_cstr(&report.text));
	conf_report_free(&report);
	buf_free(&slice);
	close(w->skel->slice_fd);
	w->skel->slice_fd = -1;
	return done;
}

static void
fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The login, the key and the secrets: start has read what it needs. */
static void
secrets_close(struct worker *w)
{
	fd_close(&w->login_fd);
	fd_close(&w->rid_key_fd);
	for (unsigned i = 0; i < w->secrets_n; i++)
		fd_close(&w->secrets[i].fd);
	w->secrets_n = 0;
}

static bool
pipes_birth(struct worker *w, struct err *e)
{
	struct pipes_setup setup = {.dir = w->skel->dir,
				    .role = w->ops->role,
				    .index = w->index,
				    .generation = w->generation};

	if (!(role_rows[w->ops->role].needs & NEED_PIPES))
		return true;
	memcpy(setup.count, w->count, sizeof setup.count);
	return pipes_open(&setup, &w->pipes, e);
}

/* Order important: open before the sandbox, the sandbox before the first thread, bound before
 * READY. */
static bool
worker_birth(struct worker *w, struct err *e)
{
	const struct worker_ops *ops = w->ops;
	struct sandbox_report report = {0};
	bool piped = role_rows[ops->role].needs & NEED_PIPES;

	if (!w->page)
		return err_set(e, EXIT_BUG, "no metric page was handed over");
	if (!model_read(w, e))
		return false;
	w->skel->opened = true;
	if (ops->open && !ops->open(w, e))
		return false;
	if (!sandbox_enter(ops->role, piped ? w->skel->dir : NULL, &report, e))
		return err_context(e, "sandbox");
	if (ops->start && !ops->start(w, e))
		return false;
	secrets_close(w);
	if (!pipes_birth(w, e))
		return false;
	ready_send(w, &report);
	return true;
}

/* HELLO, then CONFIG, descriptors and START. */
static bool
worker_configure(struct worker *w, struct err *e)
{
	struct pollfd in = {.fd = CTL_SOCKET, .events = POLLIN};

	hello_send(w);
	while (!w->skel->started && !w->skel->gone && !w->ending) {
		if (poll(&in, 1, -1) < 0 && errno != EINTR)
			return err_errno(e, EXIT_BUG, "control channel");
		if (!channel_read(w, e))
			return false;
	}
	return true;
}

/* ---- the loop ---- */

/* The single place where data frames arrive; *more when the turn ended before the frames did. */
static bool
frames_take(struct worker *w, bool *more, struct err *e)
{
	*more = false;
	for (int i = 0; i < FRAMES_A_TURN && !w->ending; i++) {
		struct frame f;
		enum pipe_result r = pipe_recv(w->pipes, &f, e);
		if (r == PIPE_EMPTY)
			return true;
		if (r == PIPE_BROKEN)
			return false;
		log_debug("%s <- %s.%u %s %u %u", w->skel->subject, role_name(f.from), f.from_index,
			  frame_name((enum frame_type)f.head.type), f.head.count, f.head.bytes);
		bool taken = w->ops->frame && w->ops->frame(w, &f, e);
		if (!w->ops->frame)
			err_set(e, EXIT_BUG, "this role takes no frames");
		frame_release(&f);
		if (!taken)
			return false;
	}
	*more = true;
	return true;
}

/* Waits for the channel (fds[0]), the role's descriptors, a frame or the deadline. */
static void
turn_wait(struct worker *w, struct pollfd *fds, unsigned n, int timeout_ms)
{
	if (w->pipes) {
		pipes_wait(w->pipes, fds, n, timeout_ms);
		return;
	}
	if (poll(fds, n, timeout_ms) < 0)
		for (unsigned i = 0; i < n; i++)
			fds[i].revents = 0;
}

/* One turn before GO: alive, and listening to the supervisor alone. */
static bool
turn_before_go(struct worker *w, struct err *e)
{
	struct pollfd in = {.fd = CTL_SOCKET, .events = POLLIN};
	struct mono now = mono_now();

	if (mono_due(w->skel->stats_due, now))
		stats_send(w, now);
	poll(&in, 1, mono_poll_ms(w->skel->stats_due, now));
	return channel_read(w, e);
}

struct turn {
	struct mono next; /* when tick wants to be called */
	bool more;	  /* frames are waiting */
};

static bool
turn_take(struct worker *w, struct turn *t, struct err *e)
{
	struct pollfd fds[1 + WATCH_MAX] = {{.fd = CTL_SOCKET, .events = POLLIN}};
	unsigned n = 1 + (w->ops->watch ? w->ops->watch(w, fds + 1, WATCH_MAX) : 0);
	struct mono wake = mono_min(t->next, w->skel->stats_due);

	turn_wait(w, fds, n, t->more ? 0 : mono_poll_ms(wake, mono_now()));
	if (fds[0].revents && !channel_read(w, e))
		return false;
	if (w->ending || w->skel->gone)
		return true;
	if (w->pipes && !frames_take(w, &t->more, e))
		return false;
	struct mono now = mono_now();
	t->next = mono_never();
	if (w->ops->tick && !w->ending && !w->ops->tick(w, now, &t->next, e))
		return false;
	if (mono_due(w->skel->stats_due, now))
		stats_send(w, now);
	return true;
}

static bool
worker_loop(struct worker *w, struct err *e)
{
	struct turn turn = {.next = {0}}; /* tick at once after GO */

	while (!w->ending && !w->skel->gone) {
		bool done = w->skel->going ? turn_take(w, &turn, e) : turn_before_go(w, e);
		if (!done)
			return false;
	}
	return true;
}

/* ---- from beginning to end ---- */

static void
worker_free(struct worker *w)
{
	if (w->ops->stop && w->skel->opened)
		w->ops->stop(w);
	counts_add(w);
	if (w->pipes)
		pipes_close(w->pipes);
	if (w->model)
		model_free(w->model);
	secrets_close(w);
	fd_close(&w->listen_fd);
	fd_close(&w->board_fd);
	fd_close(&w->skel->slice_fd);
	for (unsigned i = 0; i < w->pages_n; i++)
		fd_close(&w->pages[i].fd);
	metric_page_unmap(w->page);
}

static void
process_prepare(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	int type;
	socklen_t n = sizeof type;

	if (getsockopt(CTL_SOCKET, SOL_SOCKET, SO_TYPE, &type, &n) != 0 || type != SOCK_SEQPACKET)
		fatal(EXIT_USAGE, "this is a worker: it is started by `weir up`, not by hand");
	/* From here on no orphan: should the supervisor be gone already, the channel says EOF. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	/* Ctrl-C and a service manager's SIGTERM reach the whole group; the supervisor alone
	 * decides. */
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGTERM, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	umask(SOCKET_UMASK);
}

static unsigned
index_parse(const char *text)
{
	char *end;
	unsigned long i = strtoul(text, &end, 10);

	if (end == text || *end || i >= (LANES_MAX > INGESTS_MAX ? LANES_MAX : INGESTS_MAX))
		fatal(EXIT_USAGE, "no worker of index %s", text);
	return (unsigned)i;
}

int
skel_main(int argc, char **argv, const struct worker_ops *ops)
{
	struct skel skel = {.slice_fd = -1};
	struct worker w = {.ops = ops,
			   .login_fd = -1,
			   .rid_key_fd = -1,
			   .listen_fd = -1,
			   .board_fd = -1,
			   .skel = &skel};
	char subject[64];
	struct err e = {0};

	w.index = argc > 1 ? index_parse(argv[1]) : 0;
	snprintf(subject, sizeof subject, "%s.%u", role_name(ops->role), w.index);
	skel.subject = subject;
	log_open(subject);
	process_prepare();
	if (!worker_configure(&w, &e) || (skel.started && !worker_birth(&w, &e)) ||
	    !worker_loop(&w, &e))
		end_by(&w, &e);
	if (!skel.gone)
		bye_send(&w);
	worker_free(&w);
	log_exit(skel.gone ? EXIT_DONE : w.end_code);
}
