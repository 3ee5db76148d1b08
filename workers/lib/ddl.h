/*
 * ddl: the SQL that makes the warehouse of a model: schemas, tables, keys, comments, special
 * members, calendars, logins and grants. Pure text from the model: nothing here connects, compares
 * or decides; that is `weir plan` and `weir apply`. Which columns a table has and in which order is
 * rows.h' answer, except for a calendar, whose columns are ddl_calendar.c's.
 *
 * Names of schemas, tables, columns, logins and groups are an interface (docs/warehouse.md).
 */
#ifndef WORKERS_LIB_DDL_H
#define WORKERS_LIB_DDL_H

#include "buf.h"
#include "err.h"
#include "model.h"
#include "rows.h"

/* ---- schemas ---- */
enum ddl_schema {
	SCHEMA_ADMIN,
	SCHEMA_ANALYTICAL,
	SCHEMA_DEVELOPMENT,
	SCHEMA_VISUALIZATION,
	SCHEMA_KEY, /* made by a migration, as admin_schema is */
	SCHEMA_MAX
};

struct ddl_schema_row {
	const char *name, *comment;
};

extern const struct ddl_schema_row ddl_schemas[SCHEMA_MAX];

/* ---- columns ---- */
enum { DDL_TYPE_BYTES = 40, DDL_COLUMNS_MAX = ROW_COLUMNS_MAX };

struct ddl_column {
	const char *name;	   /* borrowed from the model or constant */
	char type[DDL_TYPE_BYTES]; /* as PostgreSQL's format_type prints it: "timestamp with time
				      zone" */
	const char *constraint;	   /* "", "NOT NULL", "NOT NULL DEFAULT 0" ... */
	const char *comment;	   /* or NULL */
	const char *refers;	   /* a reference: the table it refers to; else NULL */
	const char *source;	   /* a column's expression as written, or NULL */
	bool volatile_;		   /* not part of a row's content */
	bool key;		   /* of the primary key */
};

/* Fills columns[DDL_COLUMNS_MAX]; returns how many. */
unsigned ddl_columns(const struct model *m, unsigned table, struct ddl_column *columns);

/* ---- statements, appended to out without a semicolon ---- */
enum ddl_schema ddl_table_schema(const struct table *t);
void ddl_table_name(const struct model *m, unsigned table,
		    struct buf *out); /* schema.table, quoted */
void ddl_create_table(const struct model *m, unsigned table, struct buf *out);
void ddl_add_column(const struct model *m, unsigned table, const struct ddl_column *c,
		    struct buf *out);

/*
 * What a new table needs beside its columns, as a script. Raw events: the partition for what has no
 * other (days are admin_schema.raw_partitions'), and indexes by person and by time.
 */
void ddl_after_create(const struct model *m, unsigned table, struct buf *out);

/*
 * The text of a table's comment: the pipeline file's, and a tail for machines:
 * "One row a loan [weir pipeline=loans volatile=revision,loaded_at,batch]".
 */
void ddl_table_comment(const struct model *m, unsigned table, struct buf *text);
void ddl_column_comment(const struct ddl_column *c, struct buf *text); /* empty: none */
void ddl_comment_on(const char *kind, const char *object, const char *text, struct buf *out);

/* All comments of a table and its columns, as a script. */
void ddl_comments(const struct model *m, unsigned table, struct buf *out);

/* Name of the constraint of reference r of a fact, at most NAME_BYTES_MAX bytes. */
void ddl_foreign_key_name(const struct model *m, unsigned table, unsigned r, struct name *out);
/* NOT VALID unless enforced: declared for readers, checked by load as sets. */
void ddl_foreign_key(const struct model *m, unsigned table, unsigned r, struct buf *out);

/* ---- special members ---- */
enum { MEMBER_UNKNOWN = -1, MEMBER_INVALID = -2 };

/* Inserts those that are not there: -1 for NULL, -2 for an invalid value. Dimensions and calendars.
 */
void ddl_members(const struct model *m, unsigned table, struct buf *out);
/* Inserts the days of from..to that are not there, in one statement. */
void ddl_calendar_rows(const struct model *m, unsigned table, struct buf *out);

/* Everything of one table as a script, in the order in which apply does it: for golden tests and
 * people. */
void ddl_script(const struct model *m, unsigned table, struct buf *out);

/* ---- logins and groups ---- */
enum ddl_login {
	LOGIN_LOAD,
	LOGIN_STATE,
	LOGIN_TASK,
	LOGIN_OPERATOR,
	LOGIN_KEEPER, /* these two only where something is sealed */
	LOGIN_RELEASE,
	LOGIN_MAX
};

struct ddl_login_row {
	const char *suffix; /* the login is weir_<pipeline>_<suffix>, its file <suffix>.login */
	const char *words;
};

extern const struct ddl_login_row ddl_logins[LOGIN_MAX];

/* Whether the pipeline has this login: keeper and release only where it seals. */
bool ddl_login_used(const struct model *m, enum ddl_login login);

/* EXIT_CONFIG when the name would be longer than PostgreSQL allows. */
MUSTCHECK bool ddl_login_name(const struct model *m, enum ddl_login login, struct name *out,
			      struct err *e);

/* People's roles without a login, made once for all pipelines; members are granted by the
 * administrator. */
enum ddl_group {
	GROUP_ANALYSTS,
	GROUP_SCIENTISTS,
	GROUP_BUSINESS,
	GROUP_BI,
	GROUP_OPERATORS,
	GROUP_MAX
};

struct ddl_group_row {
	const char *name, *words;
};

extern const struct ddl_group_row ddl_groups[GROUP_MAX];

/* ---- grants ---- */
enum ddl_object {
	OBJECT_SCHEMA,
	OBJECT_TABLE,
	OBJECT_SEQUENCE,
	OBJECT_FUNCTION, /* object has the types of its arguments */
	OBJECT_DEFAULT	 /* tables that the owner makes in that schema later on */
};

enum { DDL_GRANT_COLUMNS_MAX = 16 };

struct ddl_grant {
	struct name grantee;
	enum ddl_object kind;
	char object[2 * NAME_BYTES_MAX + 80]; /* quoted, with schema */
	const char *privilege;		      /* one: "SELECT" */
	const char
	    *columns[DDL_GRANT_COLUMNS_MAX + 1]; /* NULL-terminated; none: the whole object */
};

/*
 * Calls visit for every grant that the pipeline's logins and the groups need, exactly those; stops
 * when it returns false, and returns that.
 */
MUSTCHECK bool ddl_grants(const struct model *m,
			  bool (*visit)(void *ctx, const struct ddl_grant *g, struct err *e),
			  void *ctx, struct err *e);
void ddl_grant(const struct ddl_grant *g, struct buf *out);

#endif
