/* http_get: a real server on loopback that answers with large bodies, and what of them is kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workers/lib/http_get.h"

enum { GETS = 3 * HTTP_GETS_AT_ONCE + 1, BODY = 64 * 1024 };

static struct http_get gets[GETS];
static unsigned told[GETS], answered;
static struct http_gets *client;

static void
serve(int listener)
{
	static char answer[BODY + 64], head[4096];

	memset(answer, 'x', sizeof answer);
	int n =
	    snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BODY);
	answer[n] = 'x';
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		bool good = read(fd, head, sizeof head) > 0;
		for (size_t at = 0; good && at < (size_t)n + BODY;) {
			ssize_t sent = write(fd, answer + at, (size_t)n + BODY - at);
			good = sent > 0;
			at += good ? (size_t)sent : 0;
		}
		close(fd);
	}
}

static pid_t
server_start(char at[static 80])
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof own;
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&own, sizeof own), 0);
	assert_int_equal(listen(listener, GETS), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&own, &n), 0);
	snprintf(at, 80, "127.0.0.1:%u", ntohs(own.sin_port));
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		signal(SIGPIPE, SIG_IGN);
		serve(listener);
	}
	close(listener);
	return pid;
}

/* What is under way may have a body; what was told has none any more. */
static void
ended(void *ctx, const struct http_get *get)
{
	unsigned bodies = 0;

	assert_ptr_equal(ctx, gets);
	told[get - gets]++;
	answered += get->status == 200 && get->body.len == BODY;
	for (unsigned i = 0; i < GETS; i++) {
		bodies += gets[i].body.cap != 0;
		if (told[i] && &gets[i] != get)
			assert_int_equal(gets[i].body.cap, 0);
	}
	assert_in_range(bodies, 0, HTTP_GETS_AT_ONCE);
}

static void
run(const char *at)
{
	memset(gets, 0, sizeof gets);
	memset(told, 0, sizeof told);
	answered = 0;
	for (unsigned i = 0; i < GETS; i++) {
		snprintf(gets[i].url, sizeof gets[i].url, "http://%s/status", at);
		snprintf(gets[i].at, sizeof gets[i].at, "%s", at);
		gets[i].bytes_max = BODY;
	}
	http_gets_run(client, gets, GETS, ended, gets);
	for (unsigned i = 0; i < GETS; i++) {
		assert_int_equal(told[i], 1);
		assert_int_equal(gets[i].body.cap, 0);
	}
}

static void
test_bodies_go_as_requests_end(void **state)
{
	struct err e;
	char at[80];

	(void)state;
	pid_t server = server_start(at);
	client = http_gets_open(&e);
	assert_non_null(client);
	run(at);
	assert_int_equal(answered, GETS);
	/* After a stop nothing is asked, and each is told all the same. */
	http_gets_stop(client);
	run(at);
	assert_int_equal(answered, 0);
	http_gets_close(client);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_bodies_go_as_requests_end)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
