#include "pg_login.h"

#include <string.h>

#include "pg_private.h"

bool
pg_scram(struct pg *p, const char *user, const char *password, struct buf *out, struct err *e)
{
	char *verifier = PQencryptPasswordConn(p->conn, password, user, "scram-sha-256");

	if (!verifier)
		return err_set(e, EXIT_UNAVAILABLE, "cannot make a password verifier for %s", user);
	buf_text(out, verifier);
	PQfreemem(verifier);
	return true;
}

static void
word_write(struct buf *out, const char *word, const char *value)
{
	if (!value || !*value)
		return;
	buf_printf(out, "%s%s='", out->len ? " " : "", word);
	for (; *value; value++) {
		if (*value == '\'' || *value == '\\')
			buf_byte(out, '\\');
		buf_byte(out, (uint8_t)*value);
	}
	buf_byte(out, '\'');
}

bool
pg_dsn_for(struct pg *p, const char *user, const char *password, struct buf *out, struct err *e)
{
	/* Where the server is and how to be sure of it; nothing of who the owner is. */
	static const char *const kept[] = {"host",
					   "hostaddr",
					   "port",
					   "dbname",
					   "sslmode",
					   "sslrootcert",
					   "sslcrl",
					   "ssl_min_protocol_version",
					   "channel_binding",
					   "target_session_attrs",
					   "connect_timeout"};
	PQconninfoOption *options = PQconninfo(p->conn);

	if (!options)
		return err_set(e, EXIT_UNAVAILABLE, "cannot read the connection's settings");
	for (unsigned i = 0; i < sizeof kept / sizeof *kept; i++)
		for (const PQconninfoOption *o = options; o->keyword; o++)
			if (!strcmp(o->keyword, kept[i]))
				word_write(out, o->keyword, o->val);
	PQconninfoFree(options);
	word_write(out, "user", user);
	word_write(out, "password", password);
	return true;
}
