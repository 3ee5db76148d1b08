/*
 * status: serves what the board and everyone's metric pages say, and, alone under its supervisor
 * and with `peers:`, what the status of others says. No request waits for any of them.
 */
#include <stdlib.h>

#include "http.h"
#include "log.h"
#include "mem.h"
#include "render.h"
#include "skel.h"

struct status {
	struct view_source *source;
	struct http *http;
	struct peers *peers; /* NULL: none are asked */
};

static void
look(const struct status *s, struct view *v)
{
	view_take(s->source, v);
	v->asks = s->peers != NULL;
	v->peers_n = peers_take(s->peers, &v->peers);
}

static unsigned
livez(void *ctx, struct buf *out)
{
	const struct status *s = ctx;
	struct view v;

	view_take(s->source, &v);
	int64_t ms = view_silent_ms(&v);
	if (ms > SUPERVISOR_SILENT_MS_MAX) {
		buf_printf(out, "the supervisor hangs: no turn of it for %lld s\n",
			   (long long)ms / 1000);
		return 503;
	}
	buf_text(out, "alive\n");
	return 200;
}

static unsigned
readyz(void *ctx, struct buf *out)
{
	const struct status *s = ctx;
	struct view v;

	view_take(s->source, &v);
	return render_ready(&v, out) ? 200 : 503;
}

static unsigned
metrics(void *ctx, struct buf *out)
{
	const struct status *s = ctx;
	struct view v;

	look(s, &v);
	render_metrics(&v, out);
	free(v.peers);
	return 200;
}

static unsigned
status(void *ctx, struct buf *out)
{
	const struct status *s = ctx;
	struct view v;

	look(s, &v);
	render_status(&v, out);
	free(v.peers);
	return 200;
}

#define JSON_TYPE "application/json"

static const struct http_route routes[] = {
    {"/livez", "text/plain; charset=utf-8", livez},
    {"/readyz", JSON_TYPE, readyz},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics},
    {"/status", JSON_TYPE, status},
    {NULL, NULL, NULL},
};

static bool
status_open(struct worker *w, struct err *e)
{
	struct status *s = mem_zero(1, sizeof *s);
	struct view_fd pages[BOARD_ROWS_MAX];

	w->state = s;
	if (w->board_fd < 0 || w->listen_fd < 0)
		return err_set(e, EXIT_BUG, "board or listening socket was not handed over");
	for (unsigned i = 0; i < w->pages_n; i++)
		pages[i] = (struct view_fd){w->pages[i].fd, w->pages[i].role, w->pages[i].index};
	s->source = view_source_open(w->model, w->board_fd, pages, w->pages_n, e);
	return s->source;
}

static bool
status_start(struct worker *w, struct err *e)
{
	struct status *s = w->state;

	s->http = http_open(w->listen_fd, routes, s, e);
	if (s->http && skel_asks_peers(w)) {
		s->peers = peers_open(w->model, e);
		return s->peers;
	}
	return s->http;
}

static unsigned
status_watch(struct worker *w, struct pollfd *fds, unsigned max)
{
	const struct status *s = w->state;

	check(max >= 1);
	fds[0] = (struct pollfd){.fd = http_fd(s->http), .events = POLLIN};
	return 1;
}

static bool
status_tick(struct worker *w, struct mono now, struct mono *next, struct err *e)
{
	struct status *s = w->state;

	(void)e;
	*next = http_run(s->http, now);
	return true;
}

static void
status_stop(struct worker *w)
{
	struct status *s = w->state;

	if (!s)
		return;
	if (s->http) {
		http_close(s->http);
		w->listen_fd = -1; /* closed with the server */
	}
	peers_close(s->peers);
	view_source_close(s->source);
	free(s);
}

int
main(int argc, char **argv)
{
	static const struct worker_ops ops = {.role = ROLE_STATUS,
					      .open = status_open,
					      .start = status_start,
					      .watch = status_watch,
					      .tick = status_tick,
					      .stop = status_stop};

	return skel_main(argc, argv, &ops);
}
