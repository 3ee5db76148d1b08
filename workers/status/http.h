/*
 * http: a small server of GET requests on a listening socket that is given. No thread: it is
 * driven from the worker's loop. microhttpd.h is included in http.c alone.
 *
 * Who may connect can hold nobody else off: a connection is of one request, it ends when it is
 * HTTP_AGE_MS old whatever comes on it, and where an address has its HTTP_CONNECTIONS_MAX_EACH, or
 * all have HTTP_CONNECTIONS_KEPT, the oldest makes room for the newest.
 */
#ifndef STATUS_HTTP_H
#define STATUS_HTTP_H

#include "buf.h"
#include "mono.h"

enum {
	HTTP_CONNECTIONS_MAX = 64,
	HTTP_CONNECTIONS_KEPT = 48,    /* the rest is for those that come in one turn */
	HTTP_CONNECTIONS_MAX_EACH = 8, /* of one address */
	HTTP_AGE_MS = 3000,	       /* of a connection, from its beginning to its answer's end */
	HTTP_CONNECTION_BYTES = 16 * 1024, /* memory for one request's line and headers */
};

struct http;

struct http_route {
	const char *path, *content_type;
	/* Appends the body; returns the status (200, 503). */
	unsigned (*answer)(void *ctx, struct buf *out);
};

/*
 * routes: an array that ends in a row without path, borrowed, as ctx is. listen_fd stays the
 * caller's.
 */
MUSTCHECK struct http *http_open(int listen_fd, const struct http_route *routes, void *ctx,
				 struct err *e);
void http_close(struct http *h); /* NULL is fine */

int http_fd(const struct http *h);		       /* readable: something to do */
struct mono http_run(struct http *h, struct mono now); /* does it; returns when to come again */

#endif
