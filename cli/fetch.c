#include "fetch.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mono.h"

struct address {
	char host[256], port[8];
};

static bool
url_split(const char *url, struct address *a, struct err *e)
{
	static const char scheme[] = "http://";
	const char *host = url + sizeof scheme - 1;

	if (strncmp(url, scheme, sizeof scheme - 1))
		return err_set(e, EXIT_USAGE, "\"%.80s\" is no address like http://127.0.0.1:8080",
			       url);
	bool brackets = *host == '[';
	host += brackets;
	size_t n = strcspn(host, brackets ? "]" : ":/");
	const char *port = host + n + (brackets && host[n] == ']');
	if (!n || n >= sizeof a->host || *port != ':')
		return err_set(e, EXIT_USAGE, "\"%.80s\" is no address like http://127.0.0.1:8080",
			       url);
	snprintf(a->host, sizeof a->host, "%.*s", (int)n, host);
	snprintf(a->port, sizeof a->port, "%.*s", (int)strspn(port + 1, "0123456789"), port + 1);
	return true;
}

static bool
ready(int fd, short events, struct mono deadline)
{
	struct pollfd p = {.fd = fd, .events = events};
	int n;

	do
		n = poll(&p, 1, mono_poll_ms(deadline, mono_now()));
	while (n < 0 && errno == EINTR);
	return n > 0;
}

static int
connect_one(const struct addrinfo *ai, struct mono deadline)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), why = 0;
	socklen_t n = sizeof why;

	if (fd < 0)
		return -1;
	if (!connect(fd, ai->ai_addr, ai->ai_addrlen))
		return fd;
	if (errno == EINPROGRESS && ready(fd, POLLOUT, deadline) &&
	    !getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n) && !why)
		return fd;
	close(fd);
	return -1;
}

static int
connect_any(const struct address *a, struct mono deadline)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	int fd = -1;

	if (getaddrinfo(a->host, a->port, &hints, &list))
		return -1;
	for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = connect_one(ai, deadline);
	freeaddrinfo(list);
	return fd;
}

static bool
request_send(int fd, const struct address *a, const char *path, struct mono deadline)
{
	struct buf b = {0};
	size_t at = 0;

	buf_printf(&b, "GET %s HTTP/1.0\r\nHost: %s:%s\r\n\r\n", path, a->host, a->port);
	while (at < b.len && ready(fd, POLLOUT, deadline)) {
		ssize_t n = send(fd, b.data + at, b.len - at, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			break;
		at += n > 0 ? (size_t)n : 0;
	}
	bool good = at == b.len;
	buf_free(&b);
	return good;
}

/* Everything until the other side closes. */
static bool
answer_read(int fd, struct buf *in, struct mono deadline)
{
	while (in->len < FETCH_BYTES_MAX && ready(fd, POLLIN, deadline)) {
		buf_reserve(in, 65536);
		ssize_t n = recv(fd, in->data + in->len, 65536, 0);
		if (n == 0)
			return true;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return false;
		in->len += n > 0 ? (size_t)n : 0;
	}
	return false;
}

static bool
answer_split(struct buf *in, int *status, struct buf *body)
{
	const char *text = buf_cstr(in);
	const char *head = strstr(text, "\r\n\r\n");

	if (strncmp(text, "HTTP/1.", 7) || !head || in->len < 12)
		return false;
	*status = (int)strtol(text + 9, NULL, 10);
	buf_add(body, head + 4, in->len - (size_t)(head + 4 - text));
	return true;
}

bool
fetch(const char *url, const char *path, int *status, struct buf *body, struct err *e)
{
	struct mono deadline = mono_add_ms(mono_now(), FETCH_MS);
	struct address a;
	struct buf in = {0};

	if (!url_split(url, &a, e))
		return false;
	int fd = connect_any(&a, deadline);
	if (fd < 0)
		return err_set(e, EXIT_UNAVAILABLE, "nobody answers at %s:%s", a.host, a.port);
	bool good = (request_send(fd, &a, path, deadline) && answer_read(fd, &in, deadline) &&
		     answer_split(&in, status, body)) ||
		    err_set(e, EXIT_UNAVAILABLE, "no whole answer from %s:%s within %d ms", a.host,
			    a.port, FETCH_MS);
	close(fd);
	buf_free(&in);
	return good;
}
