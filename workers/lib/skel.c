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

#include "certificates.h"
#include "conf.h"
#include "log.h"
#include "mem.h"
#include "places.h"
#include "sandbox.h"
#include "skel_private.h"

enum {
	FRAMES_A_TURN = 64,
	WAIT_TOLD_MS = 50, /* least time between two STATS */
	SECRET_BYTES_MAX = 64 * 1024,
	SOCKET_UMASK = 0117, /* pipes' sockets are 0660 */
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

const char *
skel_dir(const struct worker *w)
{
	return w->skel->dir;
}

bool
skel_asks_peers(const struct worker *w)
{
	unsigned all = 0;

	for (int r = 0; r < ROLE_MAX; r++)
		all += w->count[r];
	return (role_rows[w->ops->role].needs & NEED_PEERS) && w->model->peers_n > 0 && all == 1;
}

int
skel_key(const struct worker *w, const char *name)
{
	for (unsigned i = 0; i < w->keys_n; i++)
		if (!strcmp(w->keys[i].name, name))
			return w->keys[i].fd;
	return -1;
}

bool
skel_root_check(const struct worker *w, const uint8_t root[static ROOT_BYTES], struct err *e)
{
	return !w->has_root || !memcmp(w->root, root, ROOT_BYTES) ||
	       err_set(e, EXIT_PERMISSION,
		       "the database pins another policy root than --policy-root gives: it is "
		       "another database, or its administrator replaced the root");
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

bool
skel_serve(struct worker *w)
{
	struct mono now = mono_now();
	struct err e = {0};

	if (mono_due(w->skel->stats_due, now))
		channel_stats(w, now);
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

/* The login, the keys and the secrets: start has read what it needs. */
static void
secrets_close(struct worker *w)
{
	fd_close(&w->login_fd);
	fd_close(&w->rid_key_fd);
	for (unsigned i = 0; i < w->secrets_n; i++)
		fd_close(&w->secrets[i].fd);
	w->secrets_n = 0;
	for (unsigned i = 0; i < w->keys_n; i++)
		fd_close(&w->keys[i].fd);
	w->keys_n = 0;
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

static bool
sandbox_birth(struct worker *w, struct sandbox_report *report, struct err *e)
{
	struct certificates certificates = {.n = 0};
	struct sandbox_setup setup = {.role = w->ops->role, .readable = certificates.list};
	struct buf login = {0};

	const char *places[HANDOFFS_MAX + 1] = {NULL};
	unsigned needs = role_rows[w->ops->role].needs, places_n = 0;

	if (needs & NEED_PIPES)
		setup.pipe_dir = w->skel->dir;
	setup.peers = skel_asks_peers(w);
	for (unsigned i = 0; (needs & NEED_HANDOFF) && i < w->model->handoffs_n; i++)
		if (w->model->handoffs[i].directory)
			places[places_n++] = w->model->handoffs[i].directory;
	setup.writable = places;
	struct places sources = {0};
	static const char *const nowhere[] = {NULL};
	if ((needs & NEED_FILES) ? w->model->classes_n > 0 : (needs & NEED_EXCHANGE) != 0) {
		places_of_sources(w, &sources);
		setup.sources = sources.n ? (const char *const *)sources.list : nowhere;
	}
	bool done = w->login_fd < 0 || skel_read_fd(w->login_fd, SECRET_BYTES_MAX, &login, e);
	if (done)
		certificates_find((const char *)login.data, login.len, &certificates);
	done = done && sandbox_enter(&setup, report, e);
	if (login.data)
		explicit_bzero(login.data, login.cap);
	buf_free(&login);
	places_free(&sources);
	return done || err_context(e, "sandbox");
}

/* Order important: open before the sandbox, the sandbox before the first thread, bound before
 * READY. */
static bool
worker_birth(struct worker *w, struct err *e)
{
	const struct worker_ops *ops = w->ops;
	struct sandbox_report report = {0};

	if (!w->page)
		return err_set(e, EXIT_BUG, "no metric page was handed over");
	if (!model_read(w, e))
		return false;
	w->skel->opened = true;
	if (ops->open && !ops->open(w, e))
		return false;
	if (!sandbox_birth(w, &report, e))
		return false;
	if (ops->start && !ops->start(w, e))
		return false;
	secrets_close(w);
	if (!pipes_birth(w, e))
		return false;
	channel_ready(w, &report);
	return true;
}

/* HELLO, then CONFIG, descriptors and START. */
static bool
worker_configure(struct worker *w, struct err *e)
{
	struct pollfd in = {.fd = CTL_SOCKET, .events = POLLIN};

	channel_hello(w);
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

/* What PEER frames have asked for; of several about one role the last counts. */
static bool
peers_take(struct worker *w, struct err *e)
{
	struct skel *s = w->skel;

	if (!s->peers_due)
		return true;
	s->peers_due = false;
	for (int r = 0; r < ROLE_MAX; r++) {
		struct skel_peer due = s->peers[r];
		if (!due.incarnation)
			continue;
		s->peers[r] = (struct skel_peer){0};
		if (!pipes_peer(w->pipes, (enum role)r, due.incarnation, due.generation, e))
			return false;
		if (w->ops->peer)
			w->ops->peer(w);
	}
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
		channel_stats(w, now);
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
	if (!peers_take(w, e)) /* those that came while a callback waited */
		return false;
	struct pollfd fds[1 + WATCH_MAX] = {{.fd = CTL_SOCKET, .events = POLLIN}};
	unsigned n = 1 + (w->ops->watch ? w->ops->watch(w, fds + 1, WATCH_MAX) : 0);
	struct mono wake = mono_min(t->next, w->skel->stats_due);

	turn_wait(w, fds, n, t->more ? 0 : mono_poll_ms(wake, mono_now()));
	if (fds[0].revents && !channel_read(w, e))
		return false;
	if (w->ending || w->skel->gone)
		return true;
	if (!peers_take(w, e))
		return false;
	if (w->pipes && !frames_take(w, &t->more, e))
		return false;
	struct mono now = mono_now();
	t->next = mono_never();
	if (w->ops->tick && !w->ending && !w->ops->tick(w, now, &t->next, e))
		return false;
	w->skel->turned = true;
	/* Readiness hangs on it: waiting for something, or no longer, is told soon. */
	if (w->wait != w->skel->told)
		w->skel->stats_due =
		    mono_min(w->skel->stats_due, mono_add_ms(w->skel->stats_at, WAIT_TOLD_MS));
	if (mono_due(w->skel->stats_due, now))
		channel_stats(w, now);
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
		channel_bye(&w);
	worker_free(&w);
	log_exit(skel.gone || w.end_code == CTL_BYE_REBORN ? EXIT_DONE : w.end_code);
}
