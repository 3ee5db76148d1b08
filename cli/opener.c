/* open: who opens. */
#include "open.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf.h"
#include "root.h"

static const char *const settings[] = {"search_path=development_schema",
				       "timezone=UTC",
				       "datestyle=ISO",
				       "bytea_output=hex",
				       "lock_timeout=30s",
				       "client_min_messages=warning",
				       NULL};

bool
opener_shows(const struct cli *c, struct err *e)
{
	return args_flag(&c->args, "show") || !isatty(STDOUT_FILENO) ||
	       err_set(e, EXIT_USAGE,
		       "opened data would go to this terminal: send it to a file or a program, or "
		       "say --show");
}

/* Never a DSN itself: argv is everybody's to read. */
static bool
dsn_read(const struct opener *o, bool owner, struct buf *out, struct err *e)
{
	const char *path = args_value(&o->k.c->args, "dsn-file");
	const char *ref = args_value(&o->k.c->args, "dsn");

	if (path)
		return file_secret(path, OWNER_SECRET_MAX, out, e);
	if (ref && strncmp(ref, "env:", 4) && strncmp(ref, "file:", 5))
		return err_set(e, EXIT_USAGE,
			       "--dsn takes env:NAME or file:PATH, not the DSN itself");
	if (ref || (owner && o->k.m->dsn))
		return conf_secret_read(ref ? ref : o->k.m->dsn, out, e);
	return true;
}

static bool
connect_both(struct opener *o, bool owner, struct err *e)
{
	struct buf dsn = {0};
	const char *text;

	bool good = dsn_read(o, owner, &dsn, e);
	text = buf_cstr(&dsn);
	good = good && pg_connect(text, "weir open", settings, OWNER_CONNECT_MS, &o->reader, e) &&
	       pg_connect(text, "weir open", settings, OWNER_CONNECT_MS, &o->asker, e);
	secret_wipe(dsn.data, dsn.cap);
	buf_free(&dsn);
	return good;
}

/*
 * The root as it was handed on apart from the database: --root, else root.pub of the key directory.
 * *root is NULL where there is neither: then who administers the database can have put one there.
 */
static bool
root_known(struct opener *o, uint8_t held[static ROOT_BYTES], const uint8_t **root, struct err *e)
{
	char path[KEYS_PATH_MAX];

	keys_path(&o->k, "root", "root.pub", path);
	bool given = args_value(&o->k.c->args, "root") != NULL;
	*root = NULL;
	if (!given && (!o->k.m->keys_dir || (access(path, F_OK) && errno == ENOENT)))
		return true;
	*root = held;
	return root_read(path, held, e);
}

/* What is installed counts; a file in the key directory may be newer than it. */
static bool
policy_ready(struct opener *o, struct err *e)
{
	char path[KEYS_PATH_MAX];
	struct buf file = {0};
	struct err absent;
	uint8_t held[ROOT_BYTES];
	const uint8_t *root;

	if (!root_known(o, held, &root, e))
		return false;
	keys_path(&o->k, NULL, "policy", path);
	bool there = o->k.m->keys_dir && file_whole(path, POLICY_BYTES_MAX, &file, &absent);
	bool good = release_policy(o->asker, o->k.m->pipeline.s, root, there ? &file : NULL, true,
				   &o->k.policy, e);
	buf_free(&file);
	return good;
}

/* Whether there is more in it than blanks, those included that UTF-8 has beyond ASCII. */
static bool
purpose_says(const char *s)
{
	static const char *const blanks[] = {" ",
					     "\t",
					     "\n",
					     "\r",
					     "\v",
					     "\f",
					     "\x7f",
					     "\xc2\x85",
					     "\xc2\xa0",
					     "\xc2\xad",
					     "\xe1\x9a\x80",
					     "\xe2\x80\xa8",
					     "\xe2\x80\xa9",
					     "\xe2\x80\xaf",
					     "\xe2\x81\x9f",
					     "\xe2\x81\xa0",
					     "\xe3\x80\x80",
					     "\xef\xbb\xbf"};

	while (s && *s) {
		size_t n = 0;
		for (size_t i = 0; i < sizeof blanks / sizeof *blanks && !n; i++)
			if (!strncmp(s, blanks[i], strlen(blanks[i])))
				n = strlen(blanks[i]);
		/* U+2000 to U+200F */
		if (!n && !strncmp(s, "\xe2\x80", 2) && (uint8_t)s[2] >= 0x80 &&
		    (uint8_t)s[2] <= 0x8f)
			n = 3;
		if (!n)
			return true;
		s += n;
	}
	return false;
}

static bool
opener_prepare(struct opener *o, bool owner, struct err *e)
{
	const char *purpose = args_value(&o->k.c->args, "purpose");

	if (!purpose_says(purpose))
		return err_set(e, EXIT_USAGE,
			       "why is this opened? --purpose TEXT; it goes to the audit chain");
	if (!secret_open(false, e) || !keys_holder(&o->k, &o->holder, e) ||
	    !connect_both(o, owner, e) || !policy_ready(o, e))
		return false;
	o->keys[0] = o->holder;
	struct release_setup setup = {.pg = o->asker,
				      .pipeline = o->k.m->pipeline.s,
				      .policy = &o->k.policy,
				      .keys = o->keys,
				      .keys_n = 1,
				      .purpose = purpose};
	o->release = release_new(&setup);
	return true;
}

bool
opener_open(struct opener *o, struct cli *c, unsigned pipeline_at, bool owner, int *code)
{
	struct err e;

	*o = (struct opener){.k = {.c = c, .dir = -1, .file = cli_pipeline(c, pipeline_at)}};
	if (!cli_model(c, o->k.file, &o->k.m, code))
		return false;
	if (opener_prepare(o, owner, &e))
		return true;
	*code = cli_fail(c, &e, "`weir help %s` shows the options", c->verb->name);
	opener_close(o);
	return false;
}

void
opener_close(struct opener *o)
{
	release_free(o->release);
	pg_close(o->reader);
	pg_close(o->asker);
	key_free(o->holder);
	policy_free(&o->k.policy);
	secret_free(o->k.passphrase);
	secret_free(o->k.root_passphrase);
	model_free(o->k.m);
}
