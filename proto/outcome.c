#include "outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jsontext.h"
#include "log.h"

enum { FILE_MODE = 0644 }; /* nothing in it is secret */

/* Neither waits for a reader of a pipe nor becomes somebody's terminal. */
static int
file_open(const char *path, int flags)
{
	return open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags, FILE_MODE);
}

static bool
all_written(int fd, const void *data, size_t n)
{
	const char *at = data;

	while (n) {
		ssize_t done = write(fd, at, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		at += done;
		n -= (size_t)done;
	}
	return true;
}

bool
outcome_open(const char *path, struct err *e)
{
	int fd = file_open(path, O_CREAT | O_TRUNC);

	if (fd < 0)
		return err_errno(e, EXIT_USAGE, "cannot write the result file \"%s\"", path);
	close(fd);
	return true;
}

/* ".NAME.weir-PID" in the directory of path. */
static bool
beside_name(const char *path, char out[static PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	int n = snprintf(out, PATH_MAX, "%.*s.%s.weir-%d", (int)(name - path), path, name,
			 (int)getpid());

	return n > 0 && n < PATH_MAX;
}

/* A new file beside it, which then takes its name; false where that cannot be. */
static bool
replaced(const char *path, const struct buf *line)
{
	char beside[PATH_MAX];
	struct stat st;

	if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || !beside_name(path, beside))
		return false;
	int fd = file_open(beside, O_CREAT | O_EXCL | O_NOFOLLOW);
	if (fd < 0)
		return false;
	bool good = fchmod(fd, st.st_mode & 0777) == 0 && all_written(fd, line->data, line->len) &&
		    fsync(fd) == 0;
	good = close(fd) == 0 && good && rename(beside, path) == 0;
	if (!good)
		unlink(beside);
	return good;
}

bool
outcome_write(const char *path, const struct buf *line, struct err *e)
{
	check(line->len <= OUTCOME_BYTES_MAX);
	if (replaced(path, line))
		return true;
	int fd = file_open(path, O_CREAT | O_TRUNC);
	bool good = fd >= 0 && all_written(fd, line->data, line->len);
	if (!good)
		err_errno(e, EXIT_UNAVAILABLE, "cannot write the result file \"%s\"", path);
	if (fd >= 0)
		close(fd);
	return good;
}

void
outcome_error(struct buf *line, const char *what, const char *next, int code)
{
	buf_text(line, "{\"error\": ");
	jsontext_cut(line, what, OUTCOME_TEXT_BYTES);
	if (next && *next) {
		buf_text(line, ", \"next\": ");
		jsontext_cut(line, next, OUTCOME_TEXT_BYTES);
	}
	buf_printf(line, ", \"exit\": %d}\n", code);
}

void
outcome_stopped(const char *path, int signal_number)
{
	static const char begins[] = "{\"error\": \"stopped by a signal\", \"exit\": ";
	int code = 128 + signal_number;
	char line[sizeof begins + 8];
	size_t n = sizeof begins - 1;
	int fd = file_open(path, O_TRUNC);

	if (fd < 0)
		return;
	memcpy(line, begins, n);
	line[n++] = (char)('0' + code / 100);
	line[n++] = (char)('0' + code / 10 % 10);
	line[n++] = (char)('0' + code % 10);
	line[n++] = '}';
	line[n++] = '\n';
	(void)all_written(fd, line, n);
	close(fd);
}
