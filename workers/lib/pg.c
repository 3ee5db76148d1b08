#include "pg_private.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

/* ---- failures ---- */

void
pg_sqlstate_set(struct pg *p, const char *s)
{
	memset(p->sqlstate, 0, sizeof(p->sqlstate));
	if (s && strlen(s) == SQLSTATE_BYTES)
		memcpy(p->sqlstate, s, SQLSTATE_BYTES);
}

/* The first line of a libpq message; its later lines are hints, and positions in source code. */
void
pg_first_line(const char *s, char *out, size_t max)
{
	size_t n = strcspn(s, "\n");

	if (n >= max)
		n = max - 1;
	memcpy(out, s, n);
	out[n] = '\0';
}

bool
pg_fail_lost(struct pg *p, const char *why, struct err *e)
{
	char line[256];

	pg_first_line(why, line, sizeof(line));
	p->lost = true;
	pg_sqlstate_set(p, "08000");
	return err_set(e, EXIT_UNAVAILABLE, "connection to the warehouse lost: %s",
		       line[0] ? line : "closed by the server");
}

static const char *
diag(const PGresult *r, int field)
{
	const char *s = PQresultErrorField(r, field);

	return s ? s : "";
}

/* The server's words only where they cannot quote a value of an event. */
bool
pg_fail_result(struct pg *p, const PGresult *r, struct err *e)
{
	const char *state = diag(r, PG_DIAG_SQLSTATE);

	if (PQstatus(p->conn) == CONNECTION_BAD && state[0] == '\0')
		return pg_fail_lost(p, PQerrorMessage(p->conn), e);
	pg_sqlstate_set(p, state[0] ? state : "XX000");
	/* A server that became a standby stays one for this connection. */
	if (PQstatus(p->conn) == CONNECTION_BAD || strcmp(p->sqlstate, SQLSTATE_READ_ONLY) == 0)
		p->lost = true;
	int code = pg_exit_code(p->sqlstate);
	if (pg_fault(p->sqlstate) != PG_BAD_ROW)
		return err_set(e, code, "%s (SQLSTATE %s)", diag(r, PG_DIAG_MESSAGE_PRIMARY),
			       p->sqlstate);

	const char *table = diag(r, PG_DIAG_TABLE_NAME), *column = diag(r, PG_DIAG_COLUMN_NAME);
	const char *rule = diag(r, PG_DIAG_CONSTRAINT_NAME);
	return err_set(e, code, "%s%s%s%s%s%s%s (SQLSTATE %s)", pg_refusal(p->sqlstate),
		       table[0] ? ", table " : "", table, column[0] ? ", column " : "", column,
		       rule[0] ? ", constraint " : "", rule, p->sqlstate);
}

/* ---- waiting ---- */

/* Flushes what is queued; when that was all, and it is done, there is nothing to wait for yet. */
static bool
wait_turn(struct pg *p, bool *unflushed, struct err *e)
{
	int flushed = PQflush(p->conn);

	if (flushed < 0)
		return pg_fail_lost(p, PQerrorMessage(p->conn), e);
	bool done = *unflushed && flushed == 0;
	*unflushed = flushed > 0;
	if (done)
		return true;
	struct pollfd f = {.fd = PQsocket(p->conn),
			   .events = (short)(POLLIN | (flushed > 0 ? POLLOUT : 0))};
	int n = poll(&f, 1, PG_WAIT_MS);
	if (n > 0 && (f.revents & ~POLLOUT) && !PQconsumeInput(p->conn))
		return pg_fail_lost(p, PQerrorMessage(p->conn), e);
	/* By time, not when nothing came: a server that trickles must not keep us from serving. */
	if (p->on_wait && mono_due(p->serve_at, mono_now())) {
		p->serve_at = mono_add_ms(mono_now(), PG_WAIT_MS);
		if (!p->on_wait(p->on_wait_ctx))
			return pg_fail_lost(p, "given up while waiting", e);
	}
	return true;
}

/* Until all that was queued is with the kernel. */
bool
pg_flush(struct pg *p, struct err *e)
{
	bool unflushed = PQflush(p->conn) != 0;

	while (unflushed)
		if (!wait_turn(p, &unflushed, e))
			return false;
	return true;
}

/* The next result, NULL at the end of a statement. False: the connection is lost. */
bool
pg_next_result(struct pg *p, PGresult **out, struct err *e)
{
	bool unflushed = PQflush(p->conn) != 0;

	*out = NULL;
	while (unflushed || PQisBusy(p->conn))
		if (!wait_turn(p, &unflushed, e))
			return false;
	*out = PQgetResult(p->conn);
	return true;
}

bool
pg_result_good(const PGresult *r)
{
	switch (PQresultStatus(r)) {
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_EMPTY_QUERY:
	case PGRES_COPY_IN:
	case PGRES_COPY_OUT:
		return true;
	default:
		return false;
	}
}

struct pg_result *
pg_result_wrap(PGresult *r)
{
	struct pg_result *w = mem_alloc(sizeof(*w));

	w->r = r;
	return w;
}

/* Takes results until the statement ends; keeps the first one, or the first failure. */
bool
pg_collect(struct pg *p, struct pg_result **out, struct err *e)
{
	PGresult *kept = NULL, *r;
	bool good = true;

	for (;;) {
		if (!pg_next_result(p, &r, e)) {
			PQclear(kept);
			return false;
		}
		if (r == NULL)
			break;
		if (good && !pg_result_good(r))
			good = pg_fail_result(p, r, e);
		if (kept)
			PQclear(r);
		else
			kept = r;
		if (good && PQresultStatus(kept) == PGRES_COPY_IN)
			break; /* the caller feeds it */
	}
	if (good && out && kept)
		*out = pg_result_wrap(kept);
	else
		PQclear(kept);
	return good;
}

bool
pg_usable(struct pg *p, struct err *e)
{
	if (p->lost)
		return pg_fail_lost(p, "it was lost before", e);
	check(!p->async_busy);
	pg_sqlstate_set(p, NULL);
	return true;
}

bool
pg_sent(struct pg *p, int ok, struct err *e)
{
	return ok ? true : pg_fail_lost(p, PQerrorMessage(p->conn), e);
}

void
pg_close(struct pg *p)
{
	if (p == NULL)
		return;
	PQclear(p->async_result);
	PQfinish(p->conn);
	free(p->preparations);
	free(p);
}

bool
pg_alive(const struct pg *p)
{
	return p != NULL && !p->lost && PQstatus(p->conn) == CONNECTION_OK;
}

int
pg_backend_pid(const struct pg *p)
{
	return PQbackendPID(p->conn);
}

int
pg_fd(const struct pg *p)
{
	return PQsocket(p->conn);
}

void
pg_on_wait(struct pg *p, bool (*fn)(void *ctx), void *ctx)
{
	p->on_wait = fn;
	p->on_wait_ctx = ctx;
}

const char *
pg_sqlstate(const struct pg *p)
{
	return p->sqlstate;
}

/* ---- blocking statements ---- */

void
pg_params_fill(struct pg_params *out, const struct pg_param *params, unsigned n)
{
	check(n <= PG_PARAMS_MAX);
	for (unsigned i = 0; i < n; i++) {
		out->types[i] = params[i].type;
		out->values[i] = params[i].data;
		out->lengths[i] = (int)params[i].len;
		out->formats[i] = params[i].binary;
	}
}

bool
pg_exec(struct pg *p, const char *sql, struct pg_result **out, struct err *e)
{
	return pg_usable(p, e) && pg_sent(p, PQsendQuery(p->conn, sql), e) && pg_collect(p, out, e);
}

bool
pg_script(struct pg *p, const char *sql, struct err *e)
{
	return pg_exec(p, sql, NULL, e);
}

bool
pg_query(struct pg *p, const char *sql, const struct pg_param *params, unsigned n,
	 bool binary_result, struct pg_result **out, struct err *e)
{
	struct pg_params a;

	if (!pg_usable(p, e))
		return false;
	pg_params_fill(&a, params, n);
	return pg_sent(p,
		       PQsendQueryParams(p->conn, sql, (int)n, a.types, a.values, a.lengths,
					 a.formats, binary_result),
		       e) &&
	       pg_collect(p, out, e);
}

/* ---- results ---- */

unsigned
pg_rows(const struct pg_result *r)
{
	return (unsigned)PQntuples(r->r);
}

unsigned
pg_columns(const struct pg_result *r)
{
	return (unsigned)PQnfields(r->r);
}

const char *
pg_column_name(const struct pg_result *r, unsigned column)
{
	return PQfname(r->r, (int)column);
}

uint32_t
pg_column_oid(const struct pg_result *r, unsigned column)
{
	return PQftype(r->r, (int)column);
}

uint32_t
pg_column_table(const struct pg_result *r, unsigned column)
{
	return PQftable(r->r, (int)column);
}

int
pg_column_of(const struct pg_result *r, unsigned column)
{
	return PQftablecol(r->r, (int)column);
}

bool
pg_is_null(const struct pg_result *r, unsigned row, unsigned column)
{
	return PQgetisnull(r->r, (int)row, (int)column);
}

const char *
pg_text(const struct pg_result *r, unsigned row, unsigned column)
{
	return PQgetvalue(r->r, (int)row, (int)column);
}

const uint8_t *
pg_bytes(const struct pg_result *r, unsigned row, unsigned column, size_t *n)
{
	*n = (size_t)PQgetlength(r->r, (int)row, (int)column);
	return (const uint8_t *)PQgetvalue(r->r, (int)row, (int)column);
}

int64_t
pg_int(const struct pg_result *r, unsigned row, unsigned column)
{
	size_t n;
	const uint8_t *s = pg_bytes(r, row, column, &n);
	uint64_t u = 0;

	if (PQfformat(r->r, (int)column) == 0)
		return strtoll((const char *)s, NULL, 10);
	for (size_t i = 0; i < n; i++)
		u = u << 8 | s[i];
	if (n == 2)
		return (int16_t)u;
	return n == 4 ? (int32_t)u : (int64_t)u;
}

uint64_t
pg_affected(const struct pg_result *r)
{
	return strtoull(PQcmdTuples(r->r), NULL, 10);
}

void
pg_result_free(struct pg_result *r)
{
	if (r == NULL)
		return;
	PQclear(r->r);
	free(r);
}
