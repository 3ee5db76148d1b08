#include "http.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "mem.h"

struct guest {
	int fd; /* -1: no connection, or one that was told to end */
	bool taken;
	struct mono since;
	uint64_t turn; /* they begin one after another */
	struct in6_addr address;
};

struct http {
	struct MHD_Daemon *daemon;
	struct guest guests[HTTP_CONNECTIONS_MAX];
	uint64_t turns;
	const struct http_route *routes;
	void *ctx;
};

/* ---- connections ---- */

static struct in6_addr
address_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *at = info ? info->client_addr : NULL;
	struct in6_addr out = IN6ADDR_ANY_INIT;

	if (at && at->sa_family == AF_INET6) {
		out = ((const struct sockaddr_in6 *)(const void *)at)->sin6_addr;
	} else if (at && at->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)at;
		out.s6_addr[10] = out.s6_addr[11] = 0xff;
		memcpy(out.s6_addr + 12, &in->sin_addr, sizeof in->sin_addr);
	}
	return out;
}

/* The server reads its end, and closes it. */
static void
guest_end(struct guest *g)
{
	shutdown(g->fd, SHUT_RDWR);
	g->fd = -1;
}

/* The oldest of an address, or, NULL, of all; *n: how many there are. NULL: none. */
static struct guest *
guest_oldest(struct http *h, const struct in6_addr *address, unsigned *n)
{
	struct guest *oldest = NULL;

	*n = 0;
	for (unsigned i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		struct guest *g = &h->guests[i];
		if (g->fd < 0 || (address && memcmp(&g->address, address, sizeof *address) != 0))
			continue;
		++*n;
		if (!oldest || g->turn < oldest->turn)
			oldest = g;
	}
	return oldest;
}

static void
room_make(struct http *h, const struct in6_addr *address, unsigned max)
{
	unsigned n;
	struct guest *oldest = guest_oldest(h, address, &n);

	if (n >= max)
		guest_end(oldest);
}

static void
guest_begin(struct http *h, struct MHD_Connection *connection, void **context)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct guest new = {.fd = info ? info->connect_fd : -1,
			    .taken = true,
			    .since = mono_now(),
			    .turn = h->turns++,
			    .address = address_of(connection)};

	room_make(h, &new.address, HTTP_CONNECTIONS_MAX_EACH);
	room_make(h, NULL, HTTP_CONNECTIONS_KEPT);
	for (unsigned i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		if (h->guests[i].taken)
			continue;
		h->guests[i] = new;
		*context = &h->guests[i];
		return;
	}
	guest_end(&new);
}

static void
guests_change(void *cls, struct MHD_Connection *connection, void **context,
	      enum MHD_ConnectionNotificationCode code)
{
	struct guest *g = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		guest_begin(cls, connection, context);
	else if (g)
		*g = (struct guest){.fd = -1};
}

/* Ends those that are too old; returns when the next one will be. */
static struct mono
guests_age(struct http *h, struct mono now)
{
	unsigned n;

	for (;;) {
		struct guest *oldest = guest_oldest(h, NULL, &n);
		if (!oldest)
			return mono_never();
		struct mono over = mono_add_ms(oldest->since, HTTP_AGE_MS);
		if (!mono_due(over, now))
			return over;
		guest_end(oldest);
	}
}

/* ---- requests ---- */

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
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
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
	for (unsigned i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		h->guests[i].fd = -1;
	h->daemon = MHD_start_daemon(
	    MHD_USE_EPOLL, 0, NULL, NULL, request, h, MHD_OPTION_LISTEN_SOCKET, listen_fd,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
	    MHD_OPTION_NOTIFY_CONNECTION, guests_change, h, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)HTTP_CONNECTION_BYTES, MHD_OPTION_END);
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

	guests_age(h, now);
	MHD_run(h->daemon);
	struct mono next = guests_age(h, now);
	if (MHD_get_timeout(h->daemon, &ms) == MHD_YES)
		next = mono_min(next, mono_add_ms(now, (int64_t)ms));
	return next;
}
