/* plan: logins with their files, and the key of queue identities. */
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keyhash.h"
#include "owner.h"
#include "pg_login.h"

enum { PASSWORD_BYTES = 24, LOGIN_FILE_MAX = 4096, LOGIN_TRY_MS = 5000, RID_KEY_BYTES = 32 };

static bool
login_path(const struct model *m, enum ddl_login login, char *path, size_t n, struct err *e)
{
	if (!m->logins_dir)
		return err_set(e, EXIT_CONFIG, "%s: warehouse.postgresql.logins is missing",
			       m->path);
	if (snprintf(path, n, "%s/%s.login", m->logins_dir, ddl_logins[login].suffix) >= (int)n)
		return err_set(e, EXIT_CONFIG, "the path of %s.login is too long",
			       ddl_logins[login].suffix);
	return true;
}

/* ---- planning ---- */

enum login_state { LOGIN_GOOD, LOGIN_NO_FILE, LOGIN_REJECTED, LOGIN_FOREIGN };

static enum login_state
login_connect(const char *dsn)
{
	struct pg *pg = NULL;
	struct err why;
	/* Any other failure (too many connections) says nothing about the password. */
	bool rejected = !pg_connect(dsn, "weir", NULL, LOGIN_TRY_MS, &pg, &why) &&
			(why.code == EXIT_PERMISSION || why.code == EXIT_CONFIG);

	pg_close(pg);
	return rejected ? LOGIN_REJECTED : LOGIN_GOOD;
}

/* Whether the file is there, is this login's, and the server takes what is in it. */
static bool
login_try(const char *path, const struct name *login, bool role_there, enum login_state *state,
	  struct err *e)
{
	struct buf dsn = {0};
	char user[NAME_BYTES_MAX + 16];

	*state = LOGIN_NO_FILE;
	if (access(path, F_OK))
		return true;
	bool good = file_secret(path, LOGIN_FILE_MAX, &dsn, e);
	snprintf(user, sizeof user, "user='%s'", login->s);
	if (good && !strstr(buf_cstr(&dsn), user))
		*state = LOGIN_FOREIGN;
	else if (good && role_there)
		*state = login_connect(buf_cstr(&dsn));
	buf_free(&dsn);
	return good;
}

/* All but the password's verifier, which is made when it is done. */
static void
login_sql(const struct name *name, bool there, struct buf *sql)
{
	buf_printf(sql, "%s ROLE ", there ? "ALTER" : "CREATE");
	pg_quote_name(sql, name->s);
	buf_text(sql, " LOGIN PASSWORD ");
}

static void
login_add(struct plan *p, enum ddl_login login, const struct name *name, bool there,
	  enum login_state state, const char *path)
{
	struct buf sql = {0};
	struct change *c;

	login_sql(name, there, &sql);
	if (!there)
		c = plan_add_kind(p, CHANGE_LOGIN, '+', &sql, "login %s (%s), in %s", name->s,
				  ddl_logins[login].words, path);
	else
		c = plan_add_kind(
		    p, CHANGE_LOGIN, '~', &sql, "login %s: a new password, because %s %s", name->s,
		    state == LOGIN_NO_FILE ? "there is no file" : "the server refuses the one in",
		    path);
	c->of = login;
}

static bool
login_plan(struct plan *p, enum ddl_login login, struct err *e)
{
	struct name name;
	char path[4096];
	enum login_state state;
	bool there;

	if (!ddl_login_name(p->model, login, &name, e) ||
	    !login_path(p->model, login, path, sizeof path, e))
		return false;
	const char *const params[] = {name.s, NULL};
	if (!plan_ask(p, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", params, &there,
		      e) ||
	    !login_try(path, &name, there, &state, e))
		return false;
	if (state == LOGIN_FOREIGN)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "login %s: %s is the file of another login; give each pipeline a "
			      "directory of its "
			      "own (warehouse.postgresql.logins)",
			      name.s, path);
	else if (!p->may_create_role && (!there || state != LOGIN_GOOD))
		plan_role_refuse(p, "login", name.s);
	else if (!there || state != LOGIN_GOOD)
		login_add(p, login, &name, there, state, path);
	return true;
}

static bool
rid_key_plan(struct plan *p, struct err *e)
{
	const char *path = p->model->rid_key_path;
	struct stat st;

	if (!path)
		return true;
	if (stat(path, &st)) {
		if (errno != ENOENT)
			return err_errno(e, EXIT_CONFIG, "cannot look at the rid key %s", path);
		plan_add_kind(p, CHANGE_RID_KEY, '+', NULL,
			      "key of queue identities in %s: keep it, it cannot be made again",
			      path);
		return true;
	}
	if (st.st_size != RID_KEY_BYTES)
		return err_set(e, EXIT_CONFIG,
			       "%s: rid_key names %s, which has %lld bytes and not %d",
			       p->model->path, path, (long long)st.st_size, RID_KEY_BYTES);
	return true;
}

bool
plan_logins(struct plan *p, struct err *e)
{
	for (unsigned i = 0; i < LOGIN_MAX; i++)
		if (ddl_login_used(p->model, i) && !login_plan(p, i, e))
			return false;
	return rid_key_plan(p, e);
}

/* ---- doing ---- */

static bool
file_write(int fd, const void *data, size_t n)
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

/* A new file of mode 0600; an old one of that name is replaced. */
static bool
secret_write(const char *path, const void *data, size_t n, struct err *e)
{
	if (unlink(path) && errno != ENOENT)
		return err_errno(e, EXIT_PERMISSION, "cannot replace \"%s\"", path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(e, EXIT_PERMISSION, "cannot write \"%s\"", path);
	bool good =
	    file_write(fd, data, n) || err_errno(e, EXIT_PERMISSION, "cannot write \"%s\"", path);
	close(fd);
	if (!good)
		unlink(path);
	return good;
}

static void
password_make(char out[2 * PASSWORD_BYTES + 1])
{
	uint8_t bytes[PASSWORD_BYTES];

	random_bytes(bytes, sizeof bytes);
	for (unsigned i = 0; i < PASSWORD_BYTES; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	explicit_bzero(bytes, sizeof bytes);
}

static bool
directory_make(const char *path, struct err *e)
{
	if (mkdir(path, 0700) && errno != EEXIST)
		return err_errno(e, EXIT_PERMISSION, "cannot make the directory \"%s\"", path);
	return true;
}

bool
login_make(struct plan *p, const struct change *c, struct login_made *out, struct err *e)
{
	char password[2 * PASSWORD_BYTES + 1];
	struct buf verifier = {0}, line = {0};
	struct name name;

	*out = (struct login_made){0};
	if (!ddl_login_name(p->model, c->of, &name, e) ||
	    !login_path(p->model, c->of, out->path, sizeof out->path, e) ||
	    !directory_make(p->model->logins_dir, e))
		return false;
	password_make(password);
	bool good = pg_scram(p->pg, name.s, password, &verifier, e) &&
		    pg_dsn_for(p->pg, name.s, password, &line, e);
	if (good) {
		buf_text(&out->sql, c->sql);
		pg_quote_text(&out->sql, buf_cstr(&verifier));
		buf_byte(&line, '\n');
		snprintf(out->temporary, sizeof out->temporary, "%s.new", out->path);
		good = secret_write(out->temporary, line.data, line.len, e);
		if (!good)
			*out->temporary = 0;
	}
	explicit_bzero(password, sizeof password);
	if (line.data)
		explicit_bzero(line.data, line.len);
	buf_free(&line);
	buf_free(&verifier);
	return good;
}

bool
login_place(struct login_made *l, struct err *e)
{
	if (rename(l->temporary, l->path))
		return err_errno(e, EXIT_PERMISSION, "cannot write \"%s\"", l->path);
	*l->temporary = 0;
	return true;
}

void
login_drop(struct login_made *l)
{
	if (*l->temporary)
		unlink(l->temporary);
	buf_free(&l->sql);
}

bool
rid_key_make(const struct model *m, struct err *e)
{
	uint8_t key[RID_KEY_BYTES];

	random_bytes(key, sizeof key);
	bool good = secret_write(m->rid_key_path, key, sizeof key, e);
	explicit_bzero(key, sizeof key);
	return good;
}
