/* logins: the files of a pipeline's logins, made before there is a database that knows them. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

#include "login_file.h"
#include "owner.h"
#include "pg_login.h"

const struct option_row options_logins[] = {
    {"pipeline", 'p', OPTION_VALUE, "FILE", "the pipeline file"},
    {"to", 0, OPTION_VALUE, "DIR", "where the files go (default: logins of the pipeline file)"},
    {"at", 0, OPTION_VALUE, "ADDRESS",
     "where the workers find the warehouse, without a password: \"host=H port=P dbname=D "
     "sslmode=verify-full\" (default: as warehouse.postgresql.dsn)"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

struct logins {
	struct cli *c;
	struct model *m;
	const char *directory;
	struct buf address;	     /* a connection string: the owner's, or --at */
	struct buf text, made, kept; /* lists of JSON strings: paths */
};

/* argv is everybody's to read: an address there has no password. */
static bool
address_given(const char *at, struct buf *out, struct err *e)
{
	struct buf user = {0}, password = {0};
	bool good = pg_dsn_who(at, &user, &password, e);

	if (good && password.len)
		good = err_set(e, EXIT_USAGE,
			       "--at has a password, which everybody here can read "
			       "now: change it; an address is enough");
	else if (good)
		buf_text(out, at);
	else
		err_context(e, "--at");
	if (password.data)
		explicit_bzero(password.data, password.cap);
	buf_free(&password);
	buf_free(&user);
	return good;
}

static bool
address_find(struct logins *l, struct err *e)
{
	const char *at = args_value(&l->c->args, "at");

	return at ? address_given(at, &l->address, e) : owner_dsn(l->m, &l->address, e);
}

static void
listed(struct logins *l, struct buf *list, const char *word, const char *path, const char *what)
{
	if (list->len)
		buf_byte(list, ',');
	cli_json(list, path);
	buf_printf(&l->text, "%s %s: %s\n", word, path, what);
}

static bool
file_make(struct logins *l, const char *path, const char *user, const char *words, struct err *e)
{
	char password[2 * PASSWORD_BYTES + 1], what[200];
	struct buf line = {0};

	password_make(password);
	bool good =
	    pg_dsn_near(buf_cstr(&l->address), user, password, &line, e) ||
	    err_context(e, args_value(&l->c->args, "at") ? "--at" : "warehouse.postgresql.dsn");
	buf_byte(&line, '\n');
	good = good && secret_create(path, line.data, line.len, e);
	explicit_bzero(password, sizeof password);
	explicit_bzero(line.data, line.cap);
	buf_free(&line);
	snprintf(what, sizeof what, "%s (%s)", user, words);
	if (good)
		listed(l, &l->made, "made", path, what);
	return good;
}

static bool
login_init(struct logins *l, enum ddl_login login, struct err *e)
{
	char path[LOGIN_PATH_MAX];
	struct login_file file;
	struct name name;

	if (!ddl_login_name(l->m, login, &name, e) || !login_path(l->directory, login, path, e) ||
	    !login_file_read(path, name.s, &file, e))
		return false;
	bool there = file.there, foreign = file.foreign;
	login_file_free(&file);
	if (foreign)
		return err_set(e, EXIT_CONFIG,
			       "%s is the file of another login than %s; give each pipeline a "
			       "directory of its own",
			       path, name.s);
	if (!there)
		return file_make(l, path, name.s, ddl_logins[login].words, e);
	listed(l, &l->kept, "kept", path, "it was there, and is never written over");
	return true;
}

static bool
logins_init(struct logins *l, struct err *e)
{
	bool good = address_find(l, e) && directory_make(l->directory, e);

	for (unsigned i = 0; good && i < LOGIN_MAX; i++)
		if (ddl_login_used(l->m, i))
			good = login_init(l, i, e);
	return good;
}

static int
logins_tell(struct logins *l)
{
	struct buf out = {0};

	if (l->c->json) {
		buf_text(&out, "{\"directory\":");
		cli_json(&out, l->directory);
		buf_text(&out, ",\"made\":[");
		buf_add(&out, l->made.data, l->made.len);
		buf_text(&out, "],\"kept\":[");
		buf_add(&out, l->kept.data, l->kept.len);
		buf_text(&out, "]}\n");
	} else {
		buf_add(&out, l->text.data, l->text.len);
	}
	cli_say(
	    "next: `weir apply %s`, where these files are in its directory of logins, gives the "
	    "logins these passwords",
	    l->m->path);
	return cli_finish(l->c, &out, EXIT_DONE);
}

/* What was made before the failure stays, and is kept the next time. */
static int
logins_failed(struct logins *l, const struct err *e)
{
	struct err ignored;

	if (!l->c->json && !cli_print(&l->text, &ignored))
		cli_say("weir logins: %s", ignored.text);
	return cli_fail(l->c, e, "%s",
			e->code == EXIT_USAGE ? "weir logins init [PIPELINE] [--to DIR] [--at "
						"ADDRESS]"
			: l->address.len      ? "mend the cause, then try again: files that are "
						"there are kept"
					      : "say where the warehouse is: --at \"host=H port=P "
						"dbname=D\"");
}

int
logins_run(struct cli *c)
{
	struct logins l = {.c = c, .directory = args_value(&c->args, "to")};
	struct err e;
	int code;

	if (strcmp(c->args.operands[0], "init") != 0) {
		err_set(&e, EXIT_USAGE, "\"logins %.40s\" is unknown; \"logins init\" is",
			c->args.operands[0]);
		return cli_fail(c, &e, "weir logins init [PIPELINE]");
	}
	if (!cli_model(c, cli_pipeline(c, 1), &l.m, &code))
		return code;
	bool good = (l.directory || login_directory(l.m, &l.directory, &e)) && logins_init(&l, &e);
	code = good ? logins_tell(&l) : logins_failed(&l, &e);
	if (l.address.data)
		explicit_bzero(l.address.data, l.address.cap);
	buf_free(&l.address);
	buf_free(&l.text);
	buf_free(&l.made);
	buf_free(&l.kept);
	model_free(l.m);
	return code;
}
