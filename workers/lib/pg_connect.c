#include "pg_private.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"

enum { SETTINGS_MAX = 16, CONNECT_WORDS_MAX = 12 };

static const char *
word_of(const PQconninfoOption *o, const char *word)
{
	for (; o->keyword; o++)
		if (strcmp(o->keyword, word) == 0)
			return o->val;
	return NULL;
}

/*
 * Asked before libpq does, which prints memory that nobody filled where the system's reason should
 * stand, and with sslmode=require goes on without a file that it cannot see. Opened, because
 * access(2) knows nothing of Landlock.
 */
static bool
certificates_check(const PQconninfoOption *given, struct err *e)
{
	static const char *const words[] = {"sslrootcert", "sslcrl"};
	const char *mode = word_of(given, "sslmode");

	if (mode && strcmp(mode, "disable") == 0)
		return true;
	for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
		const char *file = word_of(given, words[i]);
		if (!file || !*file)
			continue;
		int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0 && errno == EACCES)
			return err_set(
			    e, EXIT_PERMISSION,
			    "cannot connect to the warehouse: %s %s: %s; workers run under "
			    "uids of their own: every user must be able to read it",
			    words[i], file, strerror(EACCES));
		if (fd < 0)
			return err_errno(e, EXIT_CONFIG, "cannot connect to the warehouse: %s %s",
					 words[i], file);
		close(fd);
	}
	return true;
}

/* "-c name=value" for each setting, after what the DSN itself has. */
static void
options_text(const PQconninfoOption *o, const char *const *settings, struct buf *b)
{
	for (; o->keyword; o++)
		if (strcmp(o->keyword, "options") == 0 && o->val)
			buf_text(b, o->val);
	for (unsigned i = 0; settings && settings[i]; i++) {
		check(i < SETTINGS_MAX);
		buf_text(b, " -c ");
		for (const char *s = settings[i]; *s; s++) {
			if (isspace((unsigned char)*s) || *s == '\\')
				buf_byte(b, '\\');
			buf_byte(b, (uint8_t)*s);
		}
	}
}

static PGconn *
conn_start(const char *dsn, const PQconninfoOption *given, const char *application,
	   const char *options)
{
	static const char *const defaults[][2] = {
	    {"keepalives_idle", "30"},
	    {"keepalives_interval", "10"},
	    {"keepalives_count", "3"},
	    {"tcp_user_timeout", "30000"},
	};
	const char *words[CONNECT_WORDS_MAX] = {"dbname", "application_name", "client_encoding",
						"options"};
	const char *values[CONNECT_WORDS_MAX] = {dsn, application, "UTF8", options};
	unsigned n = 4;

	for (unsigned i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
		if (word_of(given, defaults[i][0]))
			continue;
		words[n] = defaults[i][0];
		values[n++] = defaults[i][1];
	}
	/* expand_dbname: words that follow the DSN win over those in it. */
	return PQconnectStartParams(words, values, 1);
}

/* PQconnectPoll keeps no SQLSTATE; in verbose messages it stands before the text: "FATAL:  28P01:
 * ...". */
static void
connect_sqlstate(struct pg *p, const char *message)
{
	pg_sqlstate_set(p, NULL);
	for (const char *s = strstr(message, ":  "); s; s = strstr(s + 1, ":  ")) {
		char state[SQLSTATE_BYTES + 1] = "";
		size_t n = 0;
		while (n < SQLSTATE_BYTES &&
		       (isdigit((unsigned char)s[3 + n]) || isupper((unsigned char)s[3 + n]))) {
			state[n] = s[3 + n];
			n++;
		}
		if (n == SQLSTATE_BYTES && s[3 + n] == ':') {
			pg_sqlstate_set(p, state);
			return;
		}
	}
}

static bool
fail_connect(struct pg *p, struct err *e)
{
	char line[256];

	connect_sqlstate(p, PQerrorMessage(p->conn));
	pg_first_line(PQerrorMessage(p->conn), line, sizeof(line));
	p->lost = true;
	int code = p->sqlstate[0]			? pg_exit_code(p->sqlstate)
		   : PQconnectionNeedsPassword(p->conn) ? EXIT_PERMISSION
							: EXIT_UNAVAILABLE;
	return err_set(e, code, "cannot connect to the warehouse: %s", line);
}

static bool
conn_finish(struct pg *p, int timeout_ms, struct err *e)
{
	struct mono deadline = mono_add_ms(mono_now(), timeout_ms);
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;

	if (PQstatus(p->conn) == CONNECTION_BAD)
		return fail_connect(p, e);
	while (state != PGRES_POLLING_OK) {
		struct pollfd f = {.fd = PQsocket(p->conn),
				   .events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT};
		int n = poll(&f, 1, mono_poll_ms(deadline, mono_now()));
		if (n <= 0 && mono_due(deadline, mono_now()))
			return err_set(
			    e, EXIT_UNAVAILABLE,
			    "cannot connect to the warehouse: no answer from %s within %d ms",
			    PQhost(p->conn) ? PQhost(p->conn) : "the server", timeout_ms);
		if (n <= 0)
			continue;
		state = PQconnectPoll(p->conn);
		if (state == PGRES_POLLING_FAILED)
			return fail_connect(p, e);
	}
	return true;
}

static void
notice_ignore(void *ctx, const PGresult *r)
{
	(void)ctx;
	(void)r;
}

bool
pg_connect(const char *dsn, const char *application, const char *const *settings, int timeout_ms,
	   struct pg **out, struct err *e)
{
	char *why = NULL;
	struct buf options = {0};
	PQconninfoOption *given = PQconninfoParse(dsn, &why);

	if (given == NULL) {
		/* libpq's words may quote a piece of the password. */
		PQfreemem(why);
		return err_set(
		    e, EXIT_CONFIG,
		    "the warehouse's DSN is neither a URL (postgresql://...) nor words (host=...)");
	}
	if (!certificates_check(given, e)) {
		PQconninfoFree(given);
		return false;
	}
	/*
	 * Names are looked up while we wait, and nobody is served: no longer than two tries of a
	 * second.
	 */
	setenv("RES_OPTIONS", "timeout:1 attempts:2", 0);
	struct pg *p = mem_zero(1, sizeof(*p));
	options_text(given, settings, &options);
	p->conn = conn_start(dsn, given, application, buf_cstr(&options));
	check(p->conn != NULL);
	buf_free(&options);
	PQconninfoFree(given);
	PQsetErrorVerbosity(p->conn, PQERRORS_VERBOSE);
	PQsetNoticeReceiver(p->conn, notice_ignore, NULL);
	if (!conn_finish(p, timeout_ms, e)) {
		pg_close(p);
		return false;
	}
	PQsetErrorVerbosity(p->conn, PQERRORS_DEFAULT);
	check(PQsetnonblocking(p->conn, 1) == 0);
	*out = p;
	return true;
}
