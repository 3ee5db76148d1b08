/* sink: files, and what all kinds share. */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"
#include "mem.h"

enum { PATH_BYTES_MAX = 4096 };

/* ---- a file ---- */

struct file_sink {
	int fd;
	char *path;
	struct buf lines;
};

static bool
file_send(void *ctx, const char *line, size_t n, const char *key, size_t key_n, struct err *e)
{
	struct file_sink *f = ctx;

	(void)key, (void)key_n, (void)e;
	buf_add(&f->lines, line, n);
	buf_byte(&f->lines, '\n');
	return true;
}

static bool
file_push(void *ctx, struct err *e)
{
	struct file_sink *f = ctx;
	size_t at = 0;

	while (at < f->lines.len) {
		ssize_t n = write(f->fd, f->lines.data + at, f->lines.len - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, EXIT_UNAVAILABLE, "cannot append to %s", f->path);
		at += (size_t)n;
	}
	buf_clear(&f->lines);
	return true;
}

static void
file_close(void *ctx)
{
	struct file_sink *f = ctx;

	close(f->fd);
	buf_free(&f->lines);
	free(f->path);
	free(f);
}

static const struct sink_ops file_ops = {
    .send = file_send, .push = file_push, .settle = file_push, .close = file_close};

bool
sink_file_open(const char *path, struct sink *out, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_errno(e, EXIT_UNAVAILABLE, "cannot write %s", path);
	struct file_sink *f = mem_zero(1, sizeof *f);
	f->fd = fd;
	f->path = mem_string(path);
	*out = (struct sink){&file_ops, f};
	return true;
}

/* A name that the source's pattern matches: it with nothing for each *, or one in its directory. */
static void
file_path(const struct source *s, char out[static PATH_BYTES_MAX])
{
	struct stat st;
	size_t n = 0;

	if (stat(s->path, &st) == 0 && S_ISDIR(st.st_mode)) {
		snprintf(out, PATH_BYTES_MAX, "%s/%s.ndjson", s->path, s->name.s);
		return;
	}
	for (const char *p = s->path; *p && n + 1 < PATH_BYTES_MAX; p++)
		if (*p != '*')
			out[n++] = *p;
	out[n] = 0;
}

/* ---- all kinds ---- */

bool
sink_secret(const struct model *m, const struct source *s, const char *what, struct buf *out,
	    struct err *e)
{
	struct conf_secret secrets[CONF_SECRETS_MAX];
	unsigned n = conf_secrets(m, ROLE_INGEST, secrets, CONF_SECRETS_MAX);
	char name[160];

	snprintf(name, sizeof name, "sources.%s.%s", s->name.s, what);
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(secrets[i].name, name))
			return conf_secret_read(secrets[i].from, out, e);
	return err_set(e, EXIT_CONFIG, "%s was not given", name);
}

bool
sink_open(const struct model *m, const struct source *s, struct sink *out, struct err *e)
{
	char path[PATH_BYTES_MAX];

	switch (s->kind) {
	case SOURCE_KAFKA:
		return sink_kafka_open(m, s, out, e);
	case SOURCE_RABBITMQ:
		return sink_rabbit_open(m, s, out, e);
	case SOURCE_FILE:
		file_path(s, path);
		return sink_file_open(path, out, e);
	case SOURCE_EXCHANGE:
	case SOURCE_KIND_MAX:
		break;
	}
	return err_set(e, EXIT_CONFIG, "source %s: nothing can be written there", s->name.s);
}

void
sink_close(struct sink *s)
{
	if (s->ops)
		s->ops->close(s->ctx);
	*s = (struct sink){0};
}
