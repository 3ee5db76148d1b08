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
enum { KEPT = sizeof kept / sizeof *kept };

static const char *
word_value(const PQconninfoOption *options, const char *word)
{
	for (const PQconninfoOption *o = options; o && o->keyword; o++)
		if (!strcmp(o->keyword, word))
			return o->val && *o->val ? o->val : NULL;
	return NULL;
}

bool
pg_dsn_for(struct pg *p, const char *user, const char *password, struct buf *out, struct err *e)
{
	PQconninfoOption *options = PQconninfo(p->conn);

	if (!options)
		return err_set(e, EXIT_UNAVAILABLE, "cannot read the connection's settings");
	for (unsigned i = 0; i < KEPT; i++)
		word_write(out, kept[i], word_value(options, kept[i]));
	PQconninfoFree(options);
	word_write(out, "user", user);
	word_write(out, "password", password);
	return true;
}

/* libpq's message may show a part of the text, which has a password. */
static PQconninfoOption *
dsn_parse(const char *dsn, struct err *e)
{
	PQconninfoOption *given = PQconninfoParse(dsn, NULL);

	if (!given)
		err_set(e, EXIT_CONFIG,
			"it is no connection string of PostgreSQL (postgresql://... or key=value)");
	return given;
}

bool
pg_dsn_near(const char *dsn, const char *user, const char *password, struct buf *out, struct err *e)
{
	PQconninfoOption *given = dsn_parse(dsn, e);
	PQconninfoOption *defaults = given ? PQconndefaults() : NULL;
	const char *name = word_value(given, "dbname");
	bool good = given != NULL;

	if (good && word_value(given, "service"))
		good = err_set(e, EXIT_CONFIG, "it names a service, whose file is not read here");
	if (good && !name && !word_value(defaults, "dbname") && !word_value(given, "user"))
		good = err_set(e, EXIT_CONFIG, "it names no database (dbname)");
	for (unsigned i = 0; good && i < KEPT; i++) {
		const char *value = word_value(given, kept[i]);
		if (!value)
			value = word_value(defaults, kept[i]);
		if (!value && !strcmp(kept[i], "dbname"))
			value = word_value(given, "user"); /* as libpq has it */
		word_write(out, kept[i], value);
	}
	if (good) {
		word_write(out, "user", user);
		word_write(out, "password", password);
	}
	PQconninfoFree(defaults);
	PQconninfoFree(given);
	return good;
}

/* As connecting has it: what is not said comes from the environment and the defaults. */
static const char *
place_value(const PQconninfoOption *given, const PQconninfoOption *defaults, const char *word)
{
	bool is_host = !strcmp(word, "host"), is_name = !strcmp(word, "dbname");
	const char *value = word_value(given, word);

	if (!value && is_host)
		value = word_value(given, "hostaddr");
	if (!value)
		value = word_value(defaults, word);
	if (!value && is_host)
		value = word_value(defaults, "hostaddr");
	if (!value && is_name)
		value = word_value(given, "user");
	return value ? value : "";
}

bool
pg_dsn_elsewhere(struct pg *p, const char *dsn, struct buf *out, struct err *e)
{
	static const char *const words[] = {"host", "port", "dbname"};
	PQconninfoOption *given = dsn_parse(dsn, e);
	PQconninfoOption *ours = given ? PQconninfo(p->conn) : NULL;
	PQconninfoOption *defaults = given ? PQconndefaults() : NULL;

	for (unsigned i = 0; given && i < sizeof words / sizeof *words; i++) {
		const char *there = place_value(given, defaults, words[i]);
		const char *here = place_value(ours, NULL, words[i]);
		if (strcmp(there, here) != 0)
			buf_printf(out, "%s%s \"%s\" (the owner's: \"%s\")", out->len ? ", " : "",
				   words[i], there, here);
	}
	PQconninfoFree(defaults);
	PQconninfoFree(ours);
	PQconninfoFree(given);
	return given != NULL;
}

bool
pg_dsn_who(const char *dsn, struct buf *user, struct buf *password, struct err *e)
{
	PQconninfoOption *given = dsn_parse(dsn, e);

	if (!given)
		return false;
	buf_text(user, word_value(given, "user") ? word_value(given, "user") : "");
	buf_text(password, word_value(given, "password") ? word_value(given, "password") : "");
	PQconninfoFree(given);
	return true;
}
