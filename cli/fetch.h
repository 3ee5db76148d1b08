/*
 * fetch: one GET of a running supervisor's status, over plain HTTP to a host that the caller names.
 */
#ifndef CLI_FETCH_H
#define CLI_FETCH_H

#include "buf.h"
#include "err.h"

enum { FETCH_MS = 3000, FETCH_BYTES_MAX = 8 << 20 };

/*
 * url: http://HOST:PORT or http://HOST:PORT/...; `path` replaces what follows the port. *status
 * is the HTTP status, the body is appended. Waits at most FETCH_MS. EXIT_UNAVAILABLE: nobody
 * answers there.
 */
MUSTCHECK bool fetch(const char *url, const char *path, int *status, struct buf *body,
		     struct err *e);

#endif
