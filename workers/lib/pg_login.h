/*
 * pg_login: what `weir apply` needs to make logins: a password's verifier, so that the password
 * itself never reaches the server or its log, and the DSN of another user of the same database.
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

#endif
