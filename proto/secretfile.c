#include "secretfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GROUP_BEYOND_READING = S_IWGRP | S_IXGRP };

bool
secretfile_permitted(unsigned mode, unsigned owner, unsigned euid)
{
	if (!S_ISREG(mode) || (owner != euid && owner != 0) || (mode & S_IRWXO))
		return false;
	return !(mode & S_IRWXG) || (owner == 0 && euid != 0 && !(mode & GROUP_BEYOND_READING));
}

bool
secretfile_check(const struct stat *st, const char *shown, struct err *e)
{
	unsigned mode = st->st_mode & 07777, owner = st->st_uid, euid = geteuid();

	if (secretfile_permitted(st->st_mode, owner, euid))
		return true;
	if (!S_ISREG(st->st_mode))
		return err_set(e, EXIT_PERMISSION, "%s is no file", shown);
	if (owner != euid && owner != 0)
		return err_set(e, EXIT_PERMISSION, "%s belongs to uid %u, neither ours nor root",
			       shown, owner);
	if (owner == 0 && euid != 0)
		return err_set(e, EXIT_PERMISSION,
			       "%s is root's, and others than its group may read it, or somebody "
			       "may do more than read (mode %04o); chmod 440 it",
			       shown, mode);
	return err_set(e, EXIT_PERMISSION,
		       "%s: others than its owner have rights on it (mode %04o); chmod 600 it%s",
		       shown, mode,
		       euid == 0 && mode == 0440 ? " (a group may read it only for a process that "
						   "is not root: runAsNonRoot)"
						 : "");
}

int
secretfile_open(int dir, const char *name, const char *shown, struct err *e)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0) {
		err_errno(e, errno == ENOENT || errno == ENOTDIR ? EXIT_CONFIG : EXIT_PERMISSION,
			  "cannot open %s", shown);
		return -1;
	}
	if (fstat(fd, &st) != 0)
		err_errno(e, EXIT_PERMISSION, "cannot look at %s", shown);
	else if (secretfile_check(&st, shown, e))
		return fd;
	close(fd);
	return -1;
}

bool
secretfile_read(const char *path, size_t max, struct buf *out, struct err *e)
{
	int fd = secretfile_open(AT_FDCWD, path, path, e);
	size_t start = out->len;
	ssize_t n = 0;

	if (fd < 0)
		return false;
	buf_reserve(out, max + 1);
	while (out->len - start <= max &&
	       (n = read(fd, out->data + out->len, max + 1 - (out->len - start))) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		out->len += n > 0 ? (size_t)n : 0;
	}
	bool good = n >= 0 || err_errno(e, EXIT_CONFIG, "cannot read %s", path);
	close(fd);
	if (good && out->len - start > max)
		good = err_set(e, EXIT_CONFIG, "%s: larger than %zu bytes, so it is no secret",
			       path, max);
	return good;
}
