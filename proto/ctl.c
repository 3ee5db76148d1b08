#include "ctl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum ctl_direction { UP, DOWN };

static const struct {
	const char *name;
	enum ctl_direction direction;
} types[CTL_TYPE_MAX] = {
#define CTL(id, direction_, words) [CTL_##id] = {.name = #id, .direction = direction_},
#include "ctl.def"
#undef CTL
};

enum { INDEX_MAX = LANES_MAX > INGESTS_MAX ? LANES_MAX : INGESTS_MAX };

const char *
ctl_name(enum ctl_type t)
{
	return (unsigned)t < CTL_TYPE_MAX ? types[t].name : "?";
}

bool
ctl_send(int sock, const struct ctl_frame *f, int fd, struct err *e)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)f, .iov_len = sizeof *f};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof fd)];
	} control = {.bytes = {0}};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof control.bytes;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	for (;;) {
		ssize_t n = sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n == (ssize_t)sizeof *f)
			return true;
		if (n < 0 && errno == EINTR)
			continue;
		int code = n < 0 && errno == EAGAIN ? EXIT_TRY_LATER : EXIT_BUG;
		return err_errno(e, code, "control channel: cannot send %s", ctl_name(f->type));
	}
}

/* The descriptor that came along, or -1; more than one does not fit and shows as MSG_CTRUNC. */
static int
fd_taken(struct msghdr *m)
{
	int fd = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof fd <= c->cmsg_len - CMSG_LEN(0); at += sizeof fd) {
			if (fd >= 0)
				close(fd);
			memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
		}
	}
	return fd;
}

enum ctl_result
ctl_recv(int sock, struct ctl_frame *f, int *fd, struct err *e)
{
	struct iovec iov = {.iov_base = f, .iov_len = sizeof *f};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof *fd)];
	} control;
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof control.bytes};
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return CTL_EMPTY;
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return CTL_EOF;
	if (n < 0) {
		err_errno(e, EXIT_BUG, "control channel");
		return CTL_BROKEN;
	}
	*fd = fd_taken(&m);
	if (n == (ssize_t)sizeof *f && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return CTL_GOT;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	err_set(e, EXIT_BUG, "control channel: a frame of %zd bytes where %d are the rule", n,
		CTL_BYTES);
	return CTL_BROKEN;
}

static bool
text_ends(const char *s, size_t size)
{
	return memchr(s, '\0', size);
}

/* What a type's own fields must hold; NULL when they do, else which does not. */
static const char *
fields_wrong(const struct ctl_frame *f)
{
	switch ((enum ctl_type)f->type) {
	case CTL_HELLO:
		return f->hello.pid > 0 ? NULL : "pid";
	case CTL_CONFIG:
		for (int i = 0; i < ROLE_MAX; i++)
			if (f->config.count[i] > INDEX_MAX)
				return "count";
		if (f->config.bounded > 1 || f->config.accept_dead > 1 || f->config.take_over > 1 ||
		    f->config.close > 1 || f->config.has_root > 1)
			return "flag";
		if (!text_ends(f->config.dir, sizeof f->config.dir))
			return "dir";
		if (!text_ends(f->config.instance, sizeof f->config.instance))
			return "instance";
		return text_ends(f->config.handoff, sizeof f->config.handoff) ? NULL : "handoff";
	case CTL_FD:
		if (f->fd.kind >= CTL_FD_KIND_MAX)
			return "kind";
		if (f->fd.of_role >= ROLE_MAX || f->fd.of_index >= INDEX_MAX)
			return "whose";
		return text_ends(f->fd.name, sizeof f->fd.name) ? NULL : "name";
	case CTL_PEER:
		if (f->peer.of_role >= ROLE_MAX)
			return "whose";
		return f->peer.incarnation && f->peer.generation ? NULL : "number";
	case CTL_READY:
		return f->ready.separation < SEPARATION_MAX ? NULL : "separation";
	case CTL_STATS:
		if (f->stats.wait >= WAIT_MAX || f->stats.wait_ms < 0)
			return "wait";
		if (f->stats.going > 1)
			return "going";
		return text_ends(f->stats.why, sizeof f->stats.why) ? NULL : "why";
	case CTL_BYE:
		if (f->bye.code < 0 || f->bye.code > 255)
			return "code";
		return text_ends(f->bye.why, sizeof f->bye.why) ? NULL : "why";
	case CTL_START:
	case CTL_GO:
	case CTL_DRAIN:
	case CTL_TYPE_MAX:
		return NULL;
	}
	return "type";
}

bool
ctl_check(const struct ctl_frame *f, bool up, struct err *e)
{
	if (f->version != CTL_VERSION)
		return err_set(e, EXIT_BUG, "control frame of version %u, %d is known", f->version,
			       CTL_VERSION);
	if (f->type >= CTL_TYPE_MAX)
		return err_set(e, EXIT_BUG, "control frame of unknown type %u", f->type);
	if ((types[f->type].direction == UP) != up)
		return err_set(e, EXIT_BUG, "control frame %s in the wrong direction",
			       ctl_name(f->type));
	if (f->role >= ROLE_MAX || f->role == ROLE_SUPERVISOR || f->index >= INDEX_MAX)
		return err_set(e, EXIT_BUG, "control frame %s of an unknown worker %u.%u",
			       ctl_name(f->type), f->role, f->index);
	const char *wrong = fields_wrong(f);
	if (wrong)
		return err_set(e, EXIT_BUG, "control frame %s: %s is out of its range",
			       ctl_name(f->type), wrong);
	return true;
}
