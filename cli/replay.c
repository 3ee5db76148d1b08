#include "replay.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "buf.h"
#include "mem.h"
#include "rundir.h"
#include "seal/secret.h"

enum { ANSWER_BYTES_MAX = 4096, ANSWER_HEAD = 4, ANSWER_FIXED = RID_BYTES + 1 };

struct replay_link {
	int fd;
	replay_told told;
	void *of;
	unsigned under_way;
	struct buf in;
};

static int
socket_connect(const char *dir)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	int n = snprintf(at.sun_path, sizeof at.sun_path, "%s/replay.sock", dir);
	if (n < 0 || (size_t)n >= sizeof at.sun_path)
		return -1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0)
		return fd;
	int why = errno;
	if (fd >= 0)
		close(fd);
	errno = why;
	return -1;
}

bool
replay_link_open(const char *pipeline, replay_told told, void *of, struct replay_link **out,
		 struct err *e)
{
	struct rundir_note notes[RUNDIR_FOUND_MAX];
	unsigned n = rundir_find(notes, RUNDIR_FOUND_MAX);
	int fd = -1;

	*out = NULL;
	err_set(e, EXIT_TRY_LATER, "pipeline %s does not run on this machine", pipeline);
	for (unsigned i = 0; i < n && fd < 0; i++) {
		if (strcmp(notes[i].pipeline, pipeline))
			continue;
		fd = socket_connect(notes[i].path);
		if (fd < 0)
			err_errno(e, EXIT_TRY_LATER, "the running pipeline %s cannot be reached",
				  pipeline);
	}
	if (fd < 0)
		return false;
	*out = mem_zero(1, sizeof **out);
	**out = (struct replay_link){.fd = fd, .told = told, .of = of};
	return true;
}

static uint32_t
u32_read(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* One whole answer from the front of what was read; false: there is none yet, or *e is set. */
static bool
answer_next(struct replay_link *l, bool *broken)
{
	char text[ANSWER_BYTES_MAX];

	if (l->in.len < ANSWER_HEAD)
		return false;
	uint32_t n = u32_read(l->in.data);
	*broken = n < ANSWER_FIXED || n >= ANSWER_BYTES_MAX;
	if (*broken || l->in.len < ANSWER_HEAD + n)
		return false;
	const uint8_t *rid = l->in.data + ANSWER_HEAD;
	uint8_t code = rid[RID_BYTES];
	*broken = code > REPLAY_ANSWER_REFUSED || !l->under_way;
	if (*broken)
		return false;
	snprintf(text, sizeof text, "%.*s", (int)(n - ANSWER_FIXED),
		 (const char *)rid + ANSWER_FIXED);
	l->told(l->of, rid, (enum replay_answer)code, text);
	l->under_way--;
	l->in.len -= ANSWER_HEAD + n;
	memmove(l->in.data, l->in.data + ANSWER_HEAD + n, l->in.len);
	return true;
}

/* Waits for bytes and takes the answers in them. */
static bool
answers_read(struct replay_link *l, struct err *e)
{
	struct pollfd fds = {.fd = l->fd, .events = POLLIN};
	bool broken = false;

	int ready = poll(&fds, 1, REPLAY_ANSWER_MS_MAX);
	if (ready < 0 && errno == EINTR)
		return true;
	if (ready <= 0)
		return err_set(e, EXIT_UNAVAILABLE, "no answer within %d s",
			       REPLAY_ANSWER_MS_MAX / 1000);
	buf_reserve(&l->in, ANSWER_BYTES_MAX);
	ssize_t n = read(l->fd, l->in.data + l->in.len, ANSWER_BYTES_MAX);
	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0)
		return err_set(e, EXIT_UNAVAILABLE,
			       "the pipeline ended or began anew before it answered");
	l->in.len += (size_t)n;
	while (answer_next(l, &broken))
		;
	return !broken || err_set(e, EXIT_BUG, "an answer of the pipeline has not its form");
}

static bool
bytes_send(int fd, const struct buf *b, struct err *e)
{
	for (size_t at = 0; at < b->len;) {
		ssize_t n = send(fd, b->data + at, b->len - at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, EXIT_UNAVAILABLE, "cannot send to the pipeline");
		at += (size_t)n;
	}
	return true;
}

bool
replay_link_send(struct replay_link *l, const char *label, size_t label_len,
		 const uint8_t rid[static RID_BYTES], const void *event, size_t n, struct err *e)
{
	struct buf b = {0};
	size_t rest = 2 + label_len + RID_BYTES + n;

	while (l->under_way >= REPLAY_UNDER_WAY_MAX)
		if (!answers_read(l, e))
			return false;
	for (int shift = 24; shift >= 0; shift -= 8)
		buf_byte(&b, (uint8_t)(rest >> shift));
	buf_byte(&b, (uint8_t)(label_len >> 8));
	buf_byte(&b, (uint8_t)label_len);
	buf_add(&b, label, label_len);
	buf_add(&b, rid, RID_BYTES);
	buf_add(&b, event, n);
	bool good = bytes_send(l->fd, &b, e);
	l->under_way += good;
	secret_wipe(b.data, b.cap);
	buf_free(&b);
	return good;
}

bool
replay_link_wait(struct replay_link *l, struct err *e)
{
	while (l->under_way)
		if (!answers_read(l, e))
			return false;
	return true;
}

void
replay_link_close(struct replay_link *l)
{
	if (!l)
		return;
	close(l->fd);
	buf_free(&l->in);
	free(l);
}
