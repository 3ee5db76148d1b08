/*
 * pg_private: what the files of module pg share; libpq's header comes in here and nowhere else.
 * pg.c waits, fails and runs single statements; pg_connect.c connects; pg_flow.c has pipelines,
 * COPY and the asynchronous query.
 */
#ifndef WORKERS_LIB_PG_PRIVATE_H
#define WORKERS_LIB_PG_PRIVATE_H

#include <postgresql/libpq-fe.h>

#include "pg.h"

struct pg {
	PGconn *conn; /* never NULL */
	bool lost;    /* nothing more can be sent; close it */
	bool (*on_wait)(void *ctx);
	void *on_wait_ctx;
	struct mono serve_at; /* when it is to be called again */
	char sqlstate[SQLSTATE_BYTES + 1];
	const char *prepared[PG_PREPARED_MAX]; /* by address; the index is the statement's name */
	unsigned prepared_n;
	/* pipeline: what was queued; a statement may be preceded by its preparation */
	bool *preparations;
	unsigned queued_n, queued_max;
	/* asynchronous query */
	PGresult *async_result;
	bool async_busy, async_unflushed;
};

struct pg_result {
	PGresult *r;
};

/* One statement's parameters as libpq takes them. */
struct pg_params {
	Oid types[PG_PARAMS_MAX];
	const char *values[PG_PARAMS_MAX];
	int lengths[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
};

void pg_params_fill(struct pg_params *out, const struct pg_param *params, unsigned n);

/* Failures: each notes the SQLSTATE, fills *e and returns false. */
bool pg_fail_lost(struct pg *p, const char *why, struct err *e);
bool pg_fail_result(struct pg *p, const PGresult *r, struct err *e);
void pg_sqlstate_set(struct pg *p, const char *s); /* NULL: none */
void pg_first_line(const char *s, char *out, size_t max);

/* A statement may be sent now; forgets the last SQLSTATE. */
bool pg_usable(struct pg *p, struct err *e);
/* What libpq's send functions returned, as ours. */
bool pg_sent(struct pg *p, int ok, struct err *e);

/* Until all that was queued is with the kernel. */
bool pg_flush(struct pg *p, struct err *e);
/* The next result, NULL at the end of a statement; waits. False: the connection is lost. */
bool pg_next_result(struct pg *p, PGresult **out, struct err *e);
/* Takes results until the statement ends; keeps the first one, or the first failure. */
bool pg_collect(struct pg *p, struct pg_result **out, struct err *e);

bool pg_result_good(const PGresult *r);
struct pg_result *pg_result_wrap(PGresult *r);

#endif
