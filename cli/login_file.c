#include "login_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keyhash.h"
#include "owner.h"
#include "pg_login.h"

bool
login_directory(const struct model *m, const char **out, struct err *e)
{
	*out = m->logins_dir;
	return *out ||
	       err_set(e, EXIT_CONFIG, "%s: warehouse.postgresql.logins is missing", m->path);
}

bool
login_path(const char *directory, enum ddl_login login, char path[static LOGIN_PATH_MAX],
	   struct err *e)
{
	if (snprintf(path, LOGIN_PATH_MAX, "%s/%s.login", directory, ddl_logins[login].suffix) >=
	    LOGIN_PATH_MAX)
		return err_set(e, EXIT_CONFIG, "the path of %s.login is too long",
			       ddl_logins[login].suffix);
	return true;
}

bool
login_file_read(const char *path, const char *user, struct login_file *out, struct err *e)
{
	struct buf named = {0};

	*out = (struct login_file){0};
	if (access(path, F_OK))
		return errno == ENOENT || err_errno(e, EXIT_PERMISSION, "cannot look at %s", path);
	bool good = file_secret(path, LOGIN_FILE_MAX, &out->dsn, e) &&
		    (pg_dsn_who(buf_cstr(&out->dsn), &named, &out->password, e) ||
		     err_context(e, "%s", path));
	if (good) {
		out->there = true;
		out->foreign = strcmp(buf_cstr(&named), user) != 0;
	} else {
		login_file_free(out);
	}
	buf_free(&named);
	return good;
}

void
login_file_free(struct login_file *f)
{
	if (f->dsn.data)
		explicit_bzero(f->dsn.data, f->dsn.cap);
	if (f->password.data)
		explicit_bzero(f->password.data, f->password.cap);
	buf_free(&f->dsn);
	buf_free(&f->password);
}

void
password_make(char out[static 2 * PASSWORD_BYTES + 1])
{
	uint8_t bytes[PASSWORD_BYTES];

	random_bytes(bytes, sizeof bytes);
	for (unsigned i = 0; i < PASSWORD_BYTES; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	explicit_bzero(bytes, sizeof bytes);
}

bool
directory_make(const char *path, struct err *e)
{
	if (mkdir(path, 0700) && errno != EEXIST)
		return err_errno(e, EXIT_PERMISSION, "cannot make the directory \"%s\"", path);
	return true;
}

static bool
bytes_write(int fd, const void *data, size_t n)
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
	return fsync(fd) == 0;
}

bool
secret_create(const char *path, const void *data, size_t n, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_errno(e, EXIT_PERMISSION, "cannot write \"%s\"", path);
	bool good =
	    bytes_write(fd, data, n) || err_errno(e, EXIT_PERMISSION, "cannot write \"%s\"", path);
	close(fd);
	if (!good)
		unlink(path);
	return good;
}

bool
rid_key_make(const struct model *m, struct err *e)
{
	uint8_t key[RID_KEY_BYTES];

	random_bytes(key, sizeof key);
	bool good = secret_create(m->rid_key_path, key, sizeof key, e);
	explicit_bzero(key, sizeof key);
	return good;
}
