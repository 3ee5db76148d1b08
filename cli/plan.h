/*
 * plan: what must be done to a warehouse so that it fits a pipeline file, as a list of changes.
 * plan prints the list, apply does it; both make it in the same way, inside of one transaction.
 */
#ifndef CLI_PLAN_H
#define CLI_PLAN_H

#include "cli.h"
#include "ddl.h"
#include "login_file.h"
#include "pg.h"

enum change_kind {
	CHANGE_SQL,
	CHANGE_LOGIN,	/* `of` is the login: a new password, its file, then `sql` */
	CHANGE_RID_KEY, /* a key file for queue sources */
	CHANGE_TOPIC,	/* of the exchange */
	CHANGE_NOTE,	/* nothing to do; something to know */
	CHANGE_REFUSED,
};

struct change {
	enum change_kind kind;
	char mark;	   /* + ~ - ! i, as plan prints it */
	char *words, *sql; /* owned; sql may be NULL */
	unsigned of;
};

enum { PLAN_CHANGES_MAX = 20000 };

struct plan {
	const struct cli *cli;
	const struct model *model;
	struct pg *pg; /* borrowed; a transaction is open */
	struct change *changes;
	unsigned n, cap;
	unsigned todo, refused, notes;
	/* catalogue of analytical_schema, see plan_tables.c */
	struct pg_result *columns, *comments;
	bool superuser, may_create_role, may_create_schema, admin_there;
	bool role_refused;	    /* what to do about it was said */
	struct buf owner, database; /* names in quotes, for lines that an administrator types */
	int64_t pipeline;	    /* id; 0: not there yet */
};

/* Fills an empty plan; the changes are in the order in which they must be done. */
MUSTCHECK bool plan_make(struct plan *p, struct err *e);
void plan_drop(struct plan *p);
void plan_print(const struct plan *p, bool sql, struct buf *out);
void plan_json(const struct plan *p, const char *outcome, struct buf *out);

/* Both take sql's bytes away (NULL is fine). */
void plan_add(struct plan *p, char mark, struct buf *sql, const char *fmt, ...) PRINTF(4, 5);
struct change *plan_add_kind(struct plan *p, enum change_kind kind, char mark, struct buf *sql,
			     const char *fmt, ...) PRINTF(5, 6);

/* A role that the owner may not create; the first one says what the administrator can do. */
void plan_role_refuse(struct plan *p, const char *what, const char *name);

/* One question to the catalogue, with text parameters: is it true? NULL counts as no. */
MUSTCHECK bool plan_ask(struct plan *p, const char *sql, const char *const *params, bool *yes,
			struct err *e);

/* Whether --allow-destructive names it ("table.column" or "table", with or without the schema). */
bool plan_allowed(const struct plan *p, const char *table, const char *column);

/* "[weir pipeline=NAME" of a comment made by us; false: what it stands at is not Weir's. */
bool plan_comment_pipeline(const char *comment, char name[NAME_BYTES_MAX + 1]);

/* The parts, in order. */
MUSTCHECK bool plan_admin(struct plan *p, struct err *e);  /* migrations, schemas, groups */
MUSTCHECK bool plan_logins(struct plan *p, struct err *e); /* logins and their files, the rid key */
MUSTCHECK bool plan_pipeline(struct plan *p, struct err *e); /* the pipeline's row, its sources */
MUSTCHECK bool plan_policy(struct plan *p, struct err *e);
MUSTCHECK bool plan_role_keys(struct plan *p,
			      struct err *e); /* secrets of roles that init sealed */
MUSTCHECK bool plan_tables(struct plan *p, struct err *e);
/* Of plan_tables: which raw tables there are, and for how long; aggregates. */
MUSTCHECK bool plan_raw(struct plan *p, struct err *e);
MUSTCHECK bool plan_aggregates(struct plan *p, struct err *e);
MUSTCHECK bool plan_rows(struct plan *p, struct err *e);	   /* special members, calendars */
MUSTCHECK bool plan_grants_to_come(struct plan *p, struct err *e); /* default privileges */
MUSTCHECK bool plan_grants(struct plan *p, struct err *e);

/* exchange.c: the topic; doing: nothing happens where it is there by now. */
MUSTCHECK bool plan_exchange(struct plan *p, struct err *e);
MUSTCHECK bool exchange_make(const struct model *m, struct err *e);

/*
 * plan_logins.c: doing. A file that is there stays as it is, and gives the password; a new one is
 * written beside its place, and comes there with login_place.
 */
struct login_made {
	char path[LOGIN_PATH_MAX], temporary[LOGIN_PATH_MAX + 8]; /* "": there is none */
	struct buf sql;						  /* with the password's verifier */
};
MUSTCHECK bool login_make(struct plan *p, const struct change *c, struct login_made *out,
			  struct err *e);
MUSTCHECK bool login_place(struct login_made *l, struct err *e);
void login_drop(struct login_made *l); /* after a failure: removes the temporary file */

#endif
