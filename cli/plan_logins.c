/* plan: logins with their files, and the key of queue identities. */
#include "plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "login_file.h"
#include "owner.h"
#include "pg_login.h"

enum { LOGIN_TRY_MS = 5000 };

/* ---- planning ---- */

enum login_state {
	LOGIN_GOOD,
	LOGIN_NO_FILE,
	LOGIN_REJECTED, /* by the server, as it is */
	LOGIN_FOREIGN,
	LOGIN_NO_PASSWORD,
};

static enum login_state
login_connect(const char *dsn)
{
	struct pg *pg = NULL;
	struct err why;
	/* Another failure (no such database, too many connections) is not of the password. */
	bool rejected =
	    !pg_connect(dsn, "weir", NULL, LOGIN_TRY_MS, &pg, &why) && why.code == EXIT_PERMISSION;

	pg_close(pg);
	return rejected ? LOGIN_REJECTED : LOGIN_GOOD;
}

/* Workers may reach the server by another way than the owner does; or somebody mistook it. */
static bool
login_elsewhere(struct plan *p, const char *path, const struct name *login, struct login_file *file,
		struct err *e)
{
	struct buf where = {0};
	bool good = pg_dsn_elsewhere(p->pg, buf_cstr(&file->dsn), &where, e);

	if (where.len)
		plan_add_kind(p, CHANGE_NOTE, 'i', NULL,
			      "login %s: %s leads elsewhere than the owner's connection: %s; it "
			      "must be the same database by another way",
			      login->s, path, buf_cstr(&where));
	buf_free(&where);
	return good;
}

/* Whether the file is there, is this login's, and the server takes what is in it. */
static bool
login_try(struct plan *p, const char *path, const struct name *login, bool role_there,
	  enum login_state *state, struct err *e)
{
	struct login_file file;

	if (!login_file_read(path, login->s, &file, e))
		return false;
	*state = LOGIN_GOOD;
	if (!file.there)
		*state = LOGIN_NO_FILE;
	else if (file.foreign)
		*state = LOGIN_FOREIGN;
	else if (role_there)
		*state = login_connect(buf_cstr(&file.dsn));
	bool good = !file.there || file.foreign || login_elsewhere(p, path, login, &file, e);
	if (file.there && !file.password.len && (!role_there || *state == LOGIN_REJECTED))
		*state = LOGIN_NO_PASSWORD;
	login_file_free(&file);
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
		c = plan_add_kind(
		    p, CHANGE_LOGIN, '+', &sql, "login %s (%s), %s %s", name->s,
		    ddl_logins[login].words,
		    state == LOGIN_NO_FILE ? "in" : "with the password that stands in", path);
	else if (state == LOGIN_NO_FILE)
		c = plan_add_kind(p, CHANGE_LOGIN, '~', &sql,
				  "login %s: a new password, because there is no file %s", name->s,
				  path);
	else
		c = plan_add_kind(p, CHANGE_LOGIN, '~', &sql,
				  "login %s: gets the password that stands in %s, with which the "
				  "server refuses it now",
				  name->s, path);
	c->of = login;
}

static bool
login_plan(struct plan *p, enum ddl_login login, struct err *e)
{
	struct name name;
	char path[LOGIN_PATH_MAX];
	const char *directory;
	enum login_state state;
	bool there;

	if (!ddl_login_name(p->model, login, &name, e) ||
	    !login_directory(p->model, &directory, e) || !login_path(directory, login, path, e))
		return false;
	const char *const params[] = {name.s, NULL};
	if (!plan_ask(p, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", params, &there,
		      e) ||
	    !login_try(p, path, &name, there, &state, e))
		return false;
	if (state == LOGIN_FOREIGN)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "login %s: %s is the file of another login; give each pipeline a "
			      "directory of its "
			      "own (warehouse.postgresql.logins)",
			      name.s, path);
	else if (state == LOGIN_NO_PASSWORD)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "login %s: %s has no password, and the server does not let it in "
			      "without; write one there, or remove the file",
			      name.s, path);
	else if (!p->may_create_role && (!there || state != LOGIN_GOOD))
		plan_role_refuse(p, "login", name.s);
	else if (!there || state != LOGIN_GOOD)
		login_add(p, login, &name, there, state, path);
	return true;
}

/* A key of queue identities is made where it may be: a place that others fill is left alone. */
static bool
directory_writable(const char *path)
{
	char directory[LOGIN_PATH_MAX];
	char *slash;

	snprintf(directory, sizeof directory, "%s", path);
	slash = strrchr(directory, '/');
	if (slash)
		slash[slash == directory] = 0;
	return access(slash ? directory : ".", W_OK) == 0;
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
		if (directory_writable(path))
			plan_add_kind(
			    p, CHANGE_RID_KEY, '+', NULL,
			    "key of queue identities in %s: keep it, it cannot be made again",
			    path);
		else
			plan_add_kind(p, CHANGE_NOTE, 'i', NULL,
				      "no key of queue identities here (%s): ingest needs it, "
				      "`weir keys rid` makes it",
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

/* The password of the file that is there; else a new one, and its file beside its place. */
static bool
password_take(struct plan *p, const char *user, struct login_made *out, struct buf *password,
	      struct err *e)
{
	char fresh[2 * PASSWORD_BYTES + 1];
	struct login_file file;
	struct buf line = {0};

	if (!login_file_read(out->path, user, &file, e))
		return false;
	buf_add(password, file.password.data, file.password.len);
	bool there = file.there && !file.foreign;
	login_file_free(&file);
	if (there)
		return true;
	password_make(fresh);
	buf_clear(password);
	buf_text(password, fresh);
	bool good = pg_dsn_for(p->pg, user, fresh, &line, e);
	explicit_bzero(fresh, sizeof fresh);
	buf_byte(&line, '\n');
	snprintf(out->temporary, sizeof out->temporary, "%s.new", out->path);
	unlink(out->temporary); /* of an apply that was killed */
	good = good && secret_create(out->temporary, line.data, line.len, e);
	if (!good)
		*out->temporary = 0;
	explicit_bzero(line.data, line.len);
	buf_free(&line);
	return good;
}

bool
login_make(struct plan *p, const struct change *c, struct login_made *out, struct err *e)
{
	struct buf password = {0}, verifier = {0};
	const char *directory;
	struct name name;

	*out = (struct login_made){0};
	if (!ddl_login_name(p->model, c->of, &name, e) ||
	    !login_directory(p->model, &directory, e) ||
	    !login_path(directory, c->of, out->path, e) || !directory_make(directory, e))
		return false;
	bool good = password_take(p, name.s, out, &password, e) &&
		    pg_scram(p->pg, name.s, buf_cstr(&password), &verifier, e);
	if (good) {
		buf_text(&out->sql, c->sql);
		pg_quote_text(&out->sql, buf_cstr(&verifier));
	}
	if (password.data)
		explicit_bzero(password.data, password.cap);
	buf_free(&password);
	buf_free(&verifier);
	return good;
}

bool
login_place(struct login_made *l, struct err *e)
{
	if (!*l->temporary)
		return true; /* the file was there */
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
