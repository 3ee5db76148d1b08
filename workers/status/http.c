#include "http.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct http {
	struct MHD_Daemon *daemon;
	const struct http_route *routes;
	void *ctx;
};

static enum MHD_Result
reply(struct MHD_Connection *connection, unsigned status, const char *content_type,
      struct buf *body, const char *allow)
{
	size_t n = body->len;
	struct MHD_Response *r =
	    MHD_create_response_from_buffer(n, buf_take(body, &n), MHD_RESPMEM_MUST_FREE);

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	if (allow)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, allow);
	enum MHD_Result result = MHD_queue_response(connection, status, r);
	MHD_destroy_response(r);
	return result;
}

static enum MHD_Result
refuse(struct MHD_Connection *connection, unsigned status, const char *why, const char *allow)
{
	struct buf body = {0};

	buf_text(&body, why);
	return reply(connection, status, "text/plain; charset=utf-8", &body, allow);
}

static enum MHD_Result
request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
	const char *version, const char *upload, size_t *upload_size, void **seen)
{
	const struct http *h = cls;

	(void)version;
	(void)upload;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n", "GET, HEAD");
	/*
	 * Called once when the head is there, once more when the body is: the second one answers.
	 */
	if (!*seen) {
		*seen = cls;
		return MHD_YES;
	}
	*upload_size = 0;
	for (const struct http_route *r = h->routes; r->path; r++) {
		if (strcmp(url, r->path) != 0)
			continue;
		struct buf body = {0};
		unsigned status = r->answer(h->ctx, &body);
		return reply(connection, status, r->content_type, &body, NULL);
	}
	return refuse(connection, MHD_HTTP_NOT_FOUND, "/livez /readyz /metrics /status\n", NULL);
}

struct http *
http_open(int listen_fd, const struct http_route *routes, void *ctx, struct err *e)
{
	struct http *h = mem_zero(1, sizeof *h);

	h->routes = routes;
	h->ctx = ctx;
	h->daemon = MHD_start_daemon(
	    MHD_USE_EPOLL, 0, NULL, NULL, request, h, MHD_OPTION_LISTEN_SOCKET, listen_fd,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
	    MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX_EACH,
	    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_TIMEOUT_S,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_BYTES, MHD_OPTION_END);
	if (h->daemon)
		return h;
	free(h);
	err_set(e, EXIT_BUG, "the HTTP server does not start");
	return NULL;
}

void
http_close(struct http *h)
{
	if (!h)
		return;
	/* The socket is the supervisor's too: closing it here would not end it, and need not. */
	MHD_stop_daemon(h->daemon);
	free(h);
}

int
http_fd(const struct http *h)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);

	return info ? info->epoll_fd : -1;
}

struct mono
http_run(struct http *h, struct mono now)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(h->daemon);
	return MHD_get_timeout(h->daemon, &ms) == MHD_YES ? mono_add_ms(now, (int64_t)ms)
							  : mono_never();
}
