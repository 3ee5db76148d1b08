#include "pg_private.h"

#include <stdlib.h>

#include "log.h"
#include "mem.h"

enum { COPY_CHUNK_BYTES = 256 * 1024 }; /* handed to libpq at once; it buffers a copy */

/* ---- pipeline ---- */

static void
queue_note(struct pg *p, bool preparation)
{
	if (p->queued_n == p->queued_max) {
		p->queued_max = p->queued_max ? p->queued_max * 2 : 64;
		p->preparations =
		    mem_resize(p->preparations, p->queued_max, sizeof(*p->preparations));
	}
	p->preparations[p->queued_n++] = preparation;
}

bool
pg_pipeline_begin(struct pg *p, struct err *e)
{
	if (!pg_usable(p, e))
		return false;
	p->queued_n = 0;
	return pg_sent(p, PQenterPipelineMode(p->conn), e);
}

bool
pg_pipeline_add(struct pg *p, const char *sql, const struct pg_param *params, unsigned n,
		struct err *e)
{
	struct pg_params a;

	pg_params_fill(&a, params, n);
	if (!pg_sent(
		p,
		PQsendQueryParams(p->conn, sql, (int)n, a.types, a.values, a.lengths, a.formats, 0),
		e))
		return false;
	queue_note(p, false);
	return true;
}

static void
statement_name(unsigned i, char name[static 8])
{
	static const char digits[] = "0123456789";

	name[0] = 'w';
	name[1] = digits[i / 100 % 10];
	name[2] = digits[i / 10 % 10];
	name[3] = digits[i % 10];
	name[4] = '\0';
}

bool
pg_pipeline_prepared(struct pg *p, const char *sql, const struct pg_param *params, unsigned n,
		     struct err *e)
{
	struct pg_params a;
	char name[8];
	unsigned i = 0;

	pg_params_fill(&a, params, n);
	while (i < p->prepared_n && p->prepared[i] != sql)
		i++;
	check(i < PG_PREPARED_MAX);
	statement_name(i, name);
	if (i == p->prepared_n) {
		if (!pg_sent(p, PQsendPrepare(p->conn, name, sql, (int)n, a.types), e))
			return false;
		queue_note(p, true);
		p->prepared[p->prepared_n++] = sql;
	}
	if (!pg_sent(p,
		     PQsendQueryPrepared(p->conn, name, (int)n, a.values, a.lengths, a.formats, 0),
		     e))
		return false;
	queue_note(p, false);
	return true;
}

/*
 * One queued statement's results. A failed preparation is forgotten together with all that were
 * new: a rolled-back pipeline prepared none of those after the failure.
 */
static bool
pipeline_take(struct pg *p, struct pg_result **out, bool *good, struct err *e)
{
	PGresult *r, *end;

	if (!pg_next_result(p, &r, e))
		return false;
	check(r != NULL);
	if (PQresultStatus(r) == PGRES_PIPELINE_ABORTED)
		*good = false;
	else if (!pg_result_good(r) && *good)
		*good = pg_fail_result(p, r, e);
	if (*good && out)
		*out = pg_result_wrap(r);
	else
		PQclear(r);
	if (!pg_next_result(p, &end, e))
		return false;
	check(end == NULL);
	return true;
}

static bool
pipeline_sync(struct pg *p, struct err *e)
{
	PGresult *r;

	if (!pg_next_result(p, &r, e))
		return false;
	bool synced = PQresultStatus(r) == PGRES_PIPELINE_SYNC;
	PQclear(r);
	return synced && PQexitPipelineMode(p->conn) ? true
						     : pg_fail_lost(p, PQerrorMessage(p->conn), e);
}

bool
pg_pipeline_end(struct pg *p, struct pg_result **results, unsigned max, unsigned *failed,
		struct err *e)
{
	bool good = true;
	unsigned at = 0, first_new = p->prepared_n;

	for (unsigned i = 0; i < max; i++)
		results[i] = NULL;
	for (unsigned i = 0; i < p->queued_n; i++)
		first_new -= p->preparations[i];
	if (!pg_sent(p, PQpipelineSync(p->conn), e))
		return false;
	for (unsigned i = 0; i < p->queued_n; i++) {
		bool was_good = good, keep = !p->preparations[i] && at < max;
		if (!pipeline_take(p, keep ? &results[at] : NULL, &good, e))
			return false;
		if (was_good && !good) {
			if (failed)
				*failed = at;
			p->prepared_n = first_new;
		} else if (good && p->preparations[i]) {
			first_new++;
		}
		at += !p->preparations[i];
	}
	return pipeline_sync(p, e) && good;
}

/* ---- COPY ---- */

bool
pg_copy_begin(struct pg *p, const char *sql, struct err *e)
{
	struct pg_result *r = NULL;

	if (!pg_exec(p, sql, &r, e))
		return false;
	bool in = r && PQresultStatus(r->r) == PGRES_COPY_IN;
	pg_result_free(r);
	check(in);
	return true;
}

bool
pg_copy_put(struct pg *p, const void *data, size_t n, struct err *e)
{
	const char *s = data;

	while (n > 0) {
		int part = n < COPY_CHUNK_BYTES ? (int)n : COPY_CHUNK_BYTES;
		if (PQputCopyData(p->conn, s, part) != 1)
			return pg_fail_lost(p, PQerrorMessage(p->conn), e);
		if (!pg_flush(p, e))
			return false;
		s += part;
		n -= (size_t)part;
	}
	return true;
}

bool
pg_copy_end(struct pg *p, bool good, uint64_t *rows, struct err *e)
{
	struct pg_result *r = NULL;

	if (PQputCopyEnd(p->conn, good ? NULL : "given up") != 1)
		return pg_fail_lost(p, PQerrorMessage(p->conn), e);
	if (!pg_collect(p, &r, e))
		return false;
	if (rows)
		*rows = pg_affected(r);
	pg_result_free(r);
	return true;
}

/* ---- asynchronous query ---- */

bool
pg_send(struct pg *p, const char *sql, const struct pg_param *params, unsigned n,
	bool binary_result, struct err *e)
{
	struct pg_params a;

	if (!pg_usable(p, e))
		return false;
	pg_params_fill(&a, params, n);
	if (!pg_sent(p,
		     PQsendQueryParams(p->conn, sql, (int)n, a.types, a.values, a.lengths,
				       a.formats, binary_result),
		     e))
		return false;
	p->async_busy = true;
	p->async_unflushed = PQflush(p->conn) > 0;
	return true;
}

static int
poll_lost(struct pg *p, struct err *e)
{
	p->async_busy = false;
	(void)pg_fail_lost(p, PQerrorMessage(p->conn), e);
	return -1;
}

int
pg_poll(struct pg *p, struct pg_result **out, struct err *e)
{
	check(p->async_busy);
	int flushed = PQflush(p->conn);
	p->async_unflushed = flushed > 0;
	if (flushed < 0 || !PQconsumeInput(p->conn))
		return poll_lost(p, e);
	while (!PQisBusy(p->conn)) {
		PGresult *r = PQgetResult(p->conn);
		if (r && p->async_result) {
			PQclear(r);
		} else if (r) {
			p->async_result = r;
		} else {
			p->async_busy = false;
			r = p->async_result;
			p->async_result = NULL;
			if (r && pg_result_good(r)) {
				*out = pg_result_wrap(r);
				return 1;
			}
			(void)pg_fail_result(p, r, e);
			PQclear(r);
			return -1;
		}
	}
	return 0;
}

bool
pg_wants_write(const struct pg *p)
{
	return p->async_unflushed;
}
