/* demo: one loan as three people see it, and one who must not; each really logs in. */
#include "demo.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keyhash.h"
#include "owner.h"
#include "pg_login.h"
#include "start.h"

enum {
	PASSWORD_BYTES = 16,
	CONNECT_MS = 10000,
	OPEN_MS = 30000,
	CELLS_MAX = 16,
	OPENED_BYTES_MAX = 65536,
};

enum person { PERSON_BUSINESS, PERSON_ANALYST, PERSON_SCIENTIST, PERSON_OPERATOR, PERSON_MAX };

static const struct {
	const char *login, *group, *words;
} people[PERSON_MAX] = {
    [PERSON_BUSINESS] = {"demo_business", "business_analysts", "business analyst"},
    [PERSON_ANALYST] = {"demo_analyst", "data_analysts", "data analyst"},
    [PERSON_SCIENTIST] = {"demo_scientist", "data_scientists", "data scientist"},
    [PERSON_OPERATOR] = {"demo_operator", "operators", "operator"},
};

/* What is asked; $1 is the loan. The same texts are what a person would type. */
static const char aggregate_sql[] =
    "SELECT a.amount_band, a.outcome, a.loans, a.as_of::timestamp(0) AS as_of"
    " FROM data_visualization_schema.loans_by_band a ORDER BY a.loans DESC LIMIT 4";
static const char row_sql[] =
    "SELECT f.case_id, f.outcome, f.amount_band, f.events, left(d.resource_token, 16) || '...'"
    " AS resource_token FROM analytical_schema.fact_loan f"
    " JOIN analytical_schema.dim_resource d USING (resource_key) WHERE f.case_id = '%s'";
static const char fact_sql[] = "SELECT amount_band FROM analytical_schema.fact_loan";
static const char sealed_sql[] =
    "SELECT case_id, amount, resource FROM development_schema.process WHERE case_id = '%s'";

/* ---- logins of the demo's people ---- */

static bool
person_make(struct pg *owner, enum person who, struct buf *dsn, struct err *e)
{
	uint8_t bytes[PASSWORD_BYTES];
	char password[2 * PASSWORD_BYTES + 1];
	struct buf sql = {0};

	random_bytes(bytes, sizeof bytes);
	for (unsigned i = 0; i < sizeof bytes; i++)
		snprintf(password + 2 * i, 3, "%02x", bytes[i]);
	buf_printf(&sql, "CREATE ROLE %s LOGIN IN ROLE %s PASSWORD ", people[who].login,
		   people[who].group);
	struct buf verifier = {0};
	bool good = pg_scram(owner, people[who].login, password, &verifier, e);
	if (good) {
		pg_quote_text(&sql, buf_cstr(&verifier));
		good = pg_script(owner, buf_cstr(&sql), e) &&
		       pg_dsn_for(owner, people[who].login, password, dsn, e);
	}
	buf_free(&verifier);
	buf_free(&sql);
	return good;
}

/* ---- what they see ---- */

static void
rows_text(struct pg_result *rows, struct buf *out)
{
	const char *heads[CELLS_MAX];
	unsigned n = pg_columns(rows) < CELLS_MAX ? pg_columns(rows) : CELLS_MAX;

	for (unsigned j = 0; j < n; j++)
		heads[j] = pg_column_name(rows, j);
	struct grid *g = grid_new(heads, n);
	for (unsigned i = 0; i < pg_rows(rows); i++)
		for (unsigned j = 0; j < n; j++)
			grid_cell(g, "%s", pg_is_null(rows, i, j) ? "-" : pg_text(rows, i, j));
	grid_print(g, "    ", out);
	grid_free(g);
}

/* A question that must be answered. */
static bool
seen_text(struct pg *pg, const char *sql, struct buf *out, struct err *e)
{
	struct pg_result *rows;

	if (!pg_exec(pg, sql, &rows, e))
		return false;
	rows_text(rows, out);
	pg_result_free(rows);
	return true;
}

/* One that must be refused; an answer is our bug, and the demo fails. */
static bool
refused_text(struct pg *pg, const char *sql, const char *what, struct buf *out, struct err *e)
{
	struct pg_result *rows = NULL;
	struct err why;

	if (pg_exec(pg, sql, &rows, &why)) {
		pg_result_free(rows);
		return err_set(e, EXIT_BUG, "%s was answered and must not be", what);
	}
	if (why.code != EXIT_PERMISSION && !strstr(why.text, "permission denied")) {
		*e = why;
		return false;
	}
	const char *said = strstr(why.text, "permission denied");
	buf_printf(out, "    %s: %.*s\n", what, (int)strcspn(said ? said : why.text, "\n"),
		   said ? said : why.text);
	return true;
}

/* `weir open`, as the scientist would call it: with the own login and the own member key. */
static bool
open_text(const struct demo_report *r, const char *dsn, const char *id, struct buf *out,
	  struct err *e)
{
	char weir[START_PATH_MAX], login[DEMO_PATH_MAX + 32], key[DEMO_PATH_MAX + 32],
	    passphrase[DEMO_PATH_MAX + 32], shown[DEMO_PATH_MAX + 32], sql[256];

	snprintf(login, sizeof login, "%s/scientist.login", r->dir);
	snprintf(key, sizeof key, "%s/keys/member-ana.key", r->dir);
	snprintf(passphrase, sizeof passphrase, "%s/passphrase", r->dir);
	snprintf(shown, sizeof shown, "%s/opened", r->dir);
	snprintf(sql, sizeof sql, sealed_sql, id);
	if (!demo_self(weir, sizeof weir, e) || !demo_secret_write(login, dsn, e) ||
	    !demo_secret_write(shown, "", e))
		return false;
	const char *const argv[] = {weir,
				    "open",
				    sql,
				    "--pipeline",
				    r->pipeline_file,
				    "--dsn-file",
				    login,
				    "--member-key",
				    key,
				    "--passphrase-file",
				    passphrase,
				    "--purpose",
				    "demo",
				    "--output",
				    "csv",
				    NULL};
	const struct program_setup setup = {.argv = argv, .log = shown, .end_signal = SIGTERM};
	struct buf text = {0};
	bool good = program_run(&setup, OPEN_MS, e) && file_read(shown, OPENED_BYTES_MAX, &text, e);
	for (const char *at = buf_cstr(&text); good && *at;
	     at += strcspn(at, "\n"), at += *at == '\n')
		buf_printf(out, "    %.*s\n", (int)strcspn(at, "\r\n"), at);
	unlink(shown);
	buf_free(&text);
	return good;
}

static bool
person_text(const struct demo_report *r, enum person who, const char *id, struct pg *pg,
	    const char *dsn, struct buf *out, struct err *e)
{
	char sql[512];

	buf_printf(out, "%s  %s (logs in as %s)\n", who ? "\n" : "", people[who].words,
		   people[who].login);
	snprintf(sql, sizeof sql, sealed_sql, id);
	switch (who) {
	case PERSON_BUSINESS:
		return seen_text(pg, aggregate_sql, out, e) &&
		       refused_text(pg, fact_sql, "a single loan", out, e);
	case PERSON_ANALYST: {
		char row[512];
		snprintf(row, sizeof row, row_sql, id);
		return seen_text(pg, row, out, e) &&
		       refused_text(pg, sql, "the sealed amount", out, e);
	}
	case PERSON_SCIENTIST:
		return open_text(r, dsn, id, out, e);
	case PERSON_OPERATOR:
		return refused_text(pg, sql, "the sealed amount", out, e) &&
		       refused_text(pg, "SELECT key_schema.request('loans', '{}', '{}', 'curious')",
				    "the keys", out, e);
	case PERSON_MAX:
		break;
	}
	return false;
}

bool
demo_roles_text(const struct demo_report *r, const char *id, struct buf *out, struct err *e)
{
	bool good = pg_script(r->pg, "SELECT admin_schema.\"refresh_loans.loans_by_band\"()", e);

	for (unsigned who = 0; good && who < PERSON_MAX; who++) {
		struct buf dsn = {0};
		struct pg *pg = NULL;
		good = person_make(r->pg, who, &dsn, e) &&
		       pg_connect(buf_cstr(&dsn), "weir demo", NULL, CONNECT_MS, &pg, e) &&
		       person_text(r, who, id, pg, buf_cstr(&dsn), out, e);
		pg_close(pg);
		buf_free(&dsn);
	}
	return good;
}
