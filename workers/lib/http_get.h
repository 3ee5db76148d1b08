/*
 * http_get: GET requests side by side, each to an address that is given, each within bounds of time
 * and bytes. Plain HTTP, no redirect, no proxy, no name is resolved here. curl.h is included in
 * http_get.c alone.
 */
#ifndef WORKERS_LIB_HTTP_GET_H
#define WORKERS_LIB_HTTP_GET_H

#include "buf.h"

enum {
	HTTP_GETS_AT_ONCE = 8,
	HTTP_GET_CONNECT_MS = 2000, /* for the connection */
	HTTP_GET_MS = 4000,	    /* for all of it */
};

struct http_get {
	char url[320];	 /* http://HOST:PORT/PATH; what the server is told */
	char at[80];	 /* IP:PORT or [IP]:PORT; where to connect */
	struct buf body; /* the answer, at most bytes_max of it; freed after `ended` */
	size_t bytes_max;
	int status;   /* of the answer; 0: there was none, or it was too long */
	char why[96]; /* status 0: for a person */
};

/* Made in the main thread before others are; one thread at a time may run it. */
struct http_gets;
MUSTCHECK struct http_gets *http_gets_open(struct err *e);
void http_gets_close(struct http_gets *h); /* NULL is fine */

/*
 * All of them, answered or not, HTTP_GETS_AT_ONCE side by side; returns when the last one is.
 * `ended` is told of each one once, as soon as it has ended; then its body is freed, so that there
 * are never more than HTTP_GETS_AT_ONCE of them.
 */
typedef void http_get_ended(void *ctx, const struct http_get *get);
void http_gets_run(struct http_gets *h, struct http_get *gets, unsigned n, http_get_ended *ended,
		   void *ctx);

/* From any thread: a run ends at once, what is under way has no answer; so do all later ones. */
void http_gets_stop(struct http_gets *h);

#endif
