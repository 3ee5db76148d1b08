#include "board.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 64 };

void
board_publish(struct board *b, struct child *children, unsigned n)
{
	struct mono now = mono_now();

	for (unsigned i = 0; i < n; i++) {
		struct child *c = &children[i];
		c->row.state = (uint8_t)c->state;
		snprintf(c->row.state_name, sizeof c->row.state_name, "%s",
			 child_state_name(c->state));
		c->row.up = c->state == CHILD_UP && c->going;
		c->row.wait = (uint16_t)c->wait;
		c->row.wait_ms = c->wait == WAIT_NOTHING ? 0 : mono_since_ms(c->wait_since, now);
		memcpy(c->row.why, c->why, sizeof c->row.why);
		board_row_write(b, i, &c->row);
	}
	atomic_store(&b->rows_n, n);
}

/* HOST:PORT or [HOST]:PORT apart. */
static bool
where_split(const char *where, char *host, size_t host_bytes, const char **port)
{
	const char *colon = strrchr(where, ':');

	if (!colon || colon == where || !colon[1])
		return false;
	size_t n = (size_t)(colon - where);
	if (where[0] == '[' && where[n - 1] == ']') {
		where++;
		n -= 2;
	}
	if (n >= host_bytes)
		return false;
	memcpy(host, where, n);
	host[n] = '\0';
	*port = colon + 1;
	return true;
}

static bool
url_print(int fd, char *url, size_t url_bytes)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof at;
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getsockname(fd, (struct sockaddr *)&at, &len) != 0 ||
	    getnameinfo((struct sockaddr *)&at, len, host, sizeof host, port, sizeof port,
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return false;
	int n = at.ss_family == AF_INET6 ? snprintf(url, url_bytes, "http://[%s]:%s/", host, port)
					 : snprintf(url, url_bytes, "http://%s:%s/", host, port);
	return n > 0 && (size_t)n < url_bytes;
}

static int
listen_at(const struct addrinfo *a)
{
	int one = 1;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int
board_listen(const char *where, char *url, size_t url_bytes, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
	struct addrinfo *at = NULL;
	const char *port;
	char host[64];

	if (!where_split(where, host, sizeof host, &port) ||
	    getaddrinfo(host, port, &hints, &at) != 0) {
		err_set(e, EXIT_CONFIG, "listen: \"%s\" is not ADDRESS:PORT", where);
		return -1;
	}
	int fd = listen_at(at);
	int code = fd < 0 && errno == EADDRINUSE ? EXIT_UNAVAILABLE : EXIT_CONFIG;
	if (fd < 0)
		err_errno(e, code, "listen: cannot listen on %s", where);
	freeaddrinfo(at);
	if (code == EXIT_UNAVAILABLE)
		snprintf(url, url_bytes, "http://%s/", where);
	if (fd < 0)
		return -1;
	if (!url_print(fd, url, url_bytes)) {
		err_set(e, EXIT_BUG, "listen: no address for %s", where);
		close(fd);
		fd = -1;
	}
	return fd;
}
