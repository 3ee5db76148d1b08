/*
 * board: what the supervisor shows of itself (metric.h's struct board), and the socket on which
 * status serves it.
 */
#ifndef SUPERVISOR_BOARD_H
#define SUPERVISOR_BOARD_H

#include "child.h"

/* Writes every child's row. */
void board_publish(struct board *b, struct child *children, unsigned n);

/*
 * The listening socket for HOST:PORT (HOST a number, [..] for IPv6; PORT 0: any). url:
 * http://HOST:PORT/ with the port it got. -1 and *e on failure: EXIT_UNAVAILABLE when somebody else
 * listens there (url is set), else EXIT_CONFIG. The caller closes it.
 */
int board_listen(const char *where, char *url, size_t url_bytes, struct err *e);

#endif
