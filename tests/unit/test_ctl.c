/* Control frames: over a real pair of sockets, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl.h"

struct pair {
	int up, down;
};

static int
pair_open(void **state)
{
	static struct pair p;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	p = (struct pair){fds[0], fds[1]};
	*state = &p;
	return 0;
}

static int
pair_close(void **state)
{
	struct pair *p = *state;

	if (p->up >= 0)
		close(p->up);
	if (p->down >= 0)
		close(p->down);
	return 0;
}

/* A frame that passes the check in its own direction. */
static struct ctl_frame
good(enum ctl_type type)
{
	struct ctl_frame f;

	memset(&f, 0, sizeof f);
	f.version = CTL_VERSION;
	f.type = (uint8_t)type;
	f.role = ROLE_INGEST;
	if (type == CTL_HELLO)
		f.hello.pid = 1;
	if (type == CTL_PEER)
		f.peer.incarnation = f.peer.generation = 1;
	return f;
}

static bool
goes_up(enum ctl_type type)
{
	return type == CTL_HELLO || type == CTL_READY || type == CTL_STATS || type == CTL_BYE;
}

static void
travels_with_a_descriptor(void **state)
{
	struct pair *p = *state;
	struct ctl_frame f = good(CTL_FD), got;
	struct err e;
	int fd, pipe_fds[2];
	char c = 0;

	assert_int_equal(pipe(pipe_fds), 0);
	snprintf(f.fd.name, sizeof f.fd.name, "load");
	assert_true(ctl_send(p->down, &f, pipe_fds[0], &e));
	assert_int_equal(ctl_recv(p->up, &got, &fd, &e), CTL_GOT);
	assert_memory_equal(&f, &got, sizeof f);
	assert_true(fd >= 0 && fd != pipe_fds[0]);
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	assert_int_equal(read(fd, &c, 1), 1);
	assert_int_equal(c, 'x');
	close(fd);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void
empty_and_eof(void **state)
{
	struct pair *p = *state;
	struct ctl_frame f = good(CTL_BYE);
	struct err e;
	int fd;

	assert_int_equal(ctl_recv(p->up, &f, &fd, &e), CTL_EMPTY);
	assert_int_equal(fd, -1);
	f = good(CTL_BYE);
	assert_true(ctl_send(p->down, &f, -1, &e));
	close(p->down);
	p->down = -1;
	/* What was said before the end is still heard. */
	assert_int_equal(ctl_recv(p->up, &f, &fd, &e), CTL_GOT);
	assert_int_equal(ctl_recv(p->up, &f, &fd, &e), CTL_EOF);
	assert_false(ctl_send(p->up, &f, -1, &e));
}

static void
wrong_sizes_break(void **state)
{
	struct pair *p = *state;
	static char bytes[CTL_BYTES + 1];
	const size_t sizes[] = {1, CTL_BYTES - 1, CTL_BYTES + 1};
	struct ctl_frame f;
	struct err e;
	int fd;

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(send(p->down, bytes, sizes[i], 0), (ssize_t)sizes[i]);
		assert_int_equal(ctl_recv(p->up, &f, &fd, &e), CTL_BROKEN);
		assert_int_equal(fd, -1);
	}
}

static void
two_descriptors_break(void **state)
{
	struct pair *p = *state;
	struct ctl_frame f = good(CTL_FD), got;
	struct iovec iov = {&f, sizeof f};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {.bytes = {0}};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof control.bytes};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int two[2] = {STDIN_FILENO, STDERR_FILENO}, fd;
	struct err e;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof two);
	memcpy(CMSG_DATA(c), two, sizeof two);
	int next = dup(STDIN_FILENO);
	close(next);
	assert_int_equal(sendmsg(p->down, &m, 0), (ssize_t)sizeof f);
	/* The space that 4 bytes are padded to holds two: both must be gone, or the frame is refused. */
	enum ctl_result r = ctl_recv(p->up, &got, &fd, &e);
	assert_true(r == CTL_BROKEN || r == CTL_GOT);
	if (fd >= 0)
		close(fd);
	int after = dup(STDIN_FILENO);
	close(after);
	assert_int_equal(after, next); /* no descriptor stays behind */
}

static void
a_full_channel_says_so(void **state)
{
	struct pair *p = *state;
	struct ctl_frame f = good(CTL_STATS);
	struct err e = {0};
	int sent = 0;

	while (sent < 100000 && ctl_send(p->down, &f, -1, &e))
		sent++;
	assert_int_equal(e.code, EXIT_TRY_LATER);
	/* A birth of status sends a page for each slot at once: that much must fit. */
	assert_true(sent >= 72);
}

static void
each_type_has_one_direction(void **state)
{
	struct err e;

	(void)state;
	for (int t = 0; t < CTL_TYPE_MAX; t++) {
		struct ctl_frame f = good((enum ctl_type)t);
		assert_int_equal(ctl_check(&f, true, &e), goes_up((enum ctl_type)t));
		assert_int_equal(ctl_check(&f, false, &e), !goes_up((enum ctl_type)t));
	}
}

static void
heads_are_checked(void **state)
{
	struct ctl_frame f;
	struct err e;

	(void)state;
	f = good(CTL_READY);
	f.version++;
	assert_false(ctl_check(&f, true, &e));
	f = good(CTL_READY);
	f.type = CTL_TYPE_MAX;
	assert_false(ctl_check(&f, true, &e));
	f.type = 255;
	assert_false(ctl_check(&f, true, &e));
	f = good(CTL_READY);
	f.role = ROLE_MAX;
	assert_false(ctl_check(&f, true, &e));
	f.role = ROLE_SUPERVISOR;
	assert_false(ctl_check(&f, true, &e));
	f = good(CTL_READY);
	f.index = 8;
	assert_false(ctl_check(&f, true, &e));
}

static void
bodies_are_checked(void **state)
{
	struct ctl_frame f;
	struct err e;

	(void)state;
	f = good(CTL_HELLO);
	f.hello.pid = 0;
	assert_false(ctl_check(&f, true, &e));
	f = good(CTL_READY);
	f.ready.separation = SEPARATION_MAX;
	assert_false(ctl_check(&f, true, &e));
	f = good(CTL_STATS);
	f.stats.wait = WAIT_MAX;
	assert_false(ctl_check(&f, true, &e));
	f = good(CTL_STATS);
	f.stats.wait_ms = -1;
	assert_false(ctl_check(&f, true, &e));
	f = good(CTL_BYE);
	f.bye.code = 256;
	assert_false(ctl_check(&f, true, &e));
	f.bye.code = -1;
	assert_false(ctl_check(&f, true, &e));
	f = good(CTL_FD);
	f.fd.kind = CTL_FD_KIND_MAX;
	assert_false(ctl_check(&f, false, &e));
	f = good(CTL_FD);
	f.fd.of_role = ROLE_MAX;
	assert_false(ctl_check(&f, false, &e));
	f = good(CTL_CONFIG);
	f.config.count[ROLE_LOAD] = 9;
	assert_false(ctl_check(&f, false, &e));
	f = good(CTL_CONFIG);
	f.config.bounded = 2;
	assert_false(ctl_check(&f, false, &e));
	f = good(CTL_CONFIG);
	f.config.has_root = 2;
	assert_false(ctl_check(&f, false, &e));
}

static void
texts_must_end(void **state)
{
	struct ctl_frame f;
	struct err e;

	(void)state;
	f = good(CTL_STATS);
	memset(f.stats.why, 'x', sizeof f.stats.why);
	assert_false(ctl_check(&f, true, &e));
	f = good(CTL_BYE);
	memset(f.bye.why, 'x', sizeof f.bye.why);
	assert_false(ctl_check(&f, true, &e));
	f = good(CTL_FD);
	memset(f.fd.name, 'x', sizeof f.fd.name);
	assert_false(ctl_check(&f, false, &e));
	f = good(CTL_CONFIG);
	memset(f.config.dir, 'x', sizeof f.config.dir);
	assert_false(ctl_check(&f, false, &e));
	f = good(CTL_CONFIG);
	memset(f.config.instance, 'x', sizeof f.config.instance);
	assert_false(ctl_check(&f, false, &e));
}

static void
types_have_names(void **state)
{
	(void)state;
	assert_string_equal(ctl_name(CTL_HELLO), "HELLO");
	assert_string_equal(ctl_name(CTL_BYE), "BYE");
	assert_string_equal(ctl_name(CTL_TYPE_MAX), "?");
}

int
main(void)
{
#define WITH_PAIR(f) cmocka_unit_test_setup_teardown(f, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
	    WITH_PAIR(travels_with_a_descriptor), WITH_PAIR(empty_and_eof),
	    WITH_PAIR(wrong_sizes_break),	  WITH_PAIR(two_descriptors_break),
	    WITH_PAIR(a_full_channel_says_so),	  cmocka_unit_test(each_type_has_one_direction),
	    cmocka_unit_test(heads_are_checked),  cmocka_unit_test(bodies_are_checked),
	    cmocka_unit_test(texts_must_end),	  cmocka_unit_test(types_have_names),
	};

	return cmocka_run_group_tests_name("ctl", tests, NULL, NULL);
}
