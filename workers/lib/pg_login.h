/*
 * pg_login: what `weir apply` and `weir logins` need to make logins: a password's verifier, so that
 * the password itself never reaches the server or its log, and connection strings of other users of
 * the same database.
 */
#ifndef WORKERS_LIB_PG_LOGIN_H
#define WORKERS_LIB_PG_LOGIN_H

#include "pg.h"

/* SCRAM-SHA-256 verifier, for CREATE ROLE ... PASSWORD '...'; appended. */
MUSTCHECK bool pg_scram(struct pg *p, const char *user, const char *password, struct buf *out,
			struct err *e);

/* "host='..' port='..' dbname='..' ..." of this connection with another user and password;
 * appended. */
MUSTCHECK bool pg_dsn_for(struct pg *p, const char *user, const char *password, struct buf *out,
			  struct err *e);

/*
 * The same from a connection string, without a connection: what it does not say comes from libpq's
 * environment and defaults, as when connecting. EXIT_CONFIG, in words that show nothing of it: the
 * string is none, names no database, or leaves that to a service file.
 */
MUSTCHECK bool pg_dsn_near(const char *dsn, const char *user, const char *password, struct buf *out,
			   struct err *e);

/*
 * Where that string leads to, if not to where this connection does: `host "a" (the owner's: "b")`
 * and the same of port and dbname, appended; nothing when it is the same place.
 */
MUSTCHECK bool pg_dsn_elsewhere(struct pg *p, const char *dsn, struct buf *out, struct err *e);

/* The user and the password that a connection string has, appended; empty: it has none. */
MUSTCHECK bool pg_dsn_who(const char *dsn, struct buf *user, struct buf *password, struct err *e);

#endif
