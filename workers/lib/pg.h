/*
 * pg: PostgreSQL through libpq (libpq-fe.h is included in pg.c alone). One connection, one thread.
 * Two ways of use: blocking calls for the command line and for load's commit path (each bounded by
 * the session's timeouts), and an asynchronous query for loops that must not stop (correlate,
 * task).
 */
#ifndef WORKERS_LIB_PG_H
#define WORKERS_LIB_PG_H

#include "buf.h"
#include "err.h"
#include "mono.h"

struct pg;
struct pg_result;

enum { PG_PARAMS_MAX = 256, PG_PREPARED_MAX = 512, SQLSTATE_BYTES = 5, PG_WAIT_MS = 200 };

struct pg_param {
	const void *data; /* NULL: SQL NULL */
	size_t len;
	bool binary;   /* else text, NUL-terminated */
	uint32_t type; /* OID, 0: let the server infer */
};

/*
 * Connects; waits at most timeout_ms. Sets application_name, TCP keepalives, client_encoding UTF8,
 * statement settings (a NULL-terminated list "name=value"), TLS as the DSN says. An error carries
 * EXIT_UNAVAILABLE, EXIT_PERMISSION (28) or EXIT_CONFIG (3D, bad DSN); it never shows a password.
 */
MUSTCHECK bool pg_connect(const char *dsn, const char *application, const char *const *settings,
			  int timeout_ms, struct pg **out, struct err *e);
void pg_close(struct pg *p); /* NULL is fine */
bool pg_alive(const struct pg *p);
int pg_backend_pid(const struct pg *p);
int pg_fd(const struct pg *p);

/*
 * While a blocking call waits for the server, fn is called at least every PG_WAIT_MS, so that a
 * worker stays alive to its supervisor during a long commit. When it returns false the call fails
 * and the connection is lost.
 */
void pg_on_wait(struct pg *p, bool (*fn)(void *ctx), void *ctx);

/* Blocking. *out is NULL-able when rows are not wanted. The result is the caller's: pg_result_free.
 */
MUSTCHECK bool pg_exec(struct pg *p, const char *sql, struct pg_result **out, struct err *e);
MUSTCHECK bool pg_query(struct pg *p, const char *sql, const struct pg_param *params, unsigned n,
			bool binary_result, struct pg_result **out, struct err *e);
/* Several statements in one string, no parameters (migrations); stops at the first error. */
MUSTCHECK bool pg_script(struct pg *p, const char *sql, struct err *e);

/* Pipelined statements: queue without waiting, then one pg_pipeline_end that reports the first
 * failure. */
MUSTCHECK bool pg_pipeline_begin(struct pg *p, struct err *e);
MUSTCHECK bool pg_pipeline_add(struct pg *p, const char *sql, const struct pg_param *params,
			       unsigned n, struct err *e);
/*
 * The same with a statement that is prepared once a connection, at its first use. sql is known by
 * its address: it must stay as it is while the connection lives. At most PG_PREPARED_MAX of them.
 */
MUSTCHECK bool pg_pipeline_prepared(struct pg *p, const char *sql, const struct pg_param *params,
				    unsigned n, struct err *e);
/* results[i] (caller frees each) for the first `max` statements; *failed = index of the one that
 * failed */
MUSTCHECK bool pg_pipeline_end(struct pg *p, struct pg_result **results, unsigned max,
			       unsigned *failed, struct err *e);

/* COPY: begin with "COPY t (..) FROM STDIN (FORMAT BINARY)", put, end. end(false) aborts it. */
MUSTCHECK bool pg_copy_begin(struct pg *p, const char *sql, struct err *e);
MUSTCHECK bool pg_copy_put(struct pg *p, const void *data, size_t n, struct err *e);
MUSTCHECK bool pg_copy_end(struct pg *p, bool good, uint64_t *rows, struct err *e);

/* Asynchronous: at most one under way. pg_poll: 1 = *out is there, 0 = not yet, -1 = failed (*e).
 */
MUSTCHECK bool pg_send(struct pg *p, const char *sql, const struct pg_param *params, unsigned n,
		       bool binary_result, struct err *e);
int pg_poll(struct pg *p, struct pg_result **out, struct err *e);
bool pg_wants_write(const struct pg *p); /* poll for POLLOUT too */

/* SQLSTATE of the last failure ("" when none, "08000" for a lost connection). */
const char *pg_sqlstate(const struct pg *p);

#define SQLSTATE_READ_ONLY "25006" /* a standby */

/* What to do about a failure, by SQLSTATE class (DESIGN 4). */
enum pg_fault { PG_BAD_ROW, PG_RETRY, PG_STOP };
enum pg_fault pg_fault(const char sqlstate[static SQLSTATE_BYTES + 1]);
int pg_exit_code(const char sqlstate[static SQLSTATE_BYTES + 1]); /* an enum exit_code */
const char *pg_refusal(const char *sqlstate); /* of classes 22 and 23, in words without a value */

unsigned pg_rows(const struct pg_result *r);
unsigned pg_columns(const struct pg_result *r);
const char *pg_column_name(const struct pg_result *r, unsigned column); /* borrowed */
uint32_t pg_column_oid(const struct pg_result *r, unsigned column);	/* of its type */
/* The table's oid and the column's number in it; 0: an expression made it. */
uint32_t pg_column_table(const struct pg_result *r, unsigned column);
int pg_column_of(const struct pg_result *r, unsigned column);
bool pg_is_null(const struct pg_result *r, unsigned row, unsigned column);
const char *pg_text(const struct pg_result *r, unsigned row, unsigned column); /* NUL-terminated */
const uint8_t *pg_bytes(const struct pg_result *r, unsigned row, unsigned column, size_t *n);
int64_t pg_int(const struct pg_result *r, unsigned row,
	       unsigned column); /* text or binary int2/4/8 */
uint64_t pg_affected(const struct pg_result *r);
void pg_result_free(struct pg_result *r);

/* "quoted""identifier" and 'quoted''literal', appended. */
void pg_quote_name(struct buf *b, const char *name);
void pg_quote_text(struct buf *b, const char *text);

#endif
