/*
 * owner: the connection of plan, apply, status, explain and dead: the owner's, from the pipeline
 * file.
 */
#ifndef CLI_OWNER_H
#define CLI_OWNER_H

#include "cli.h"
#include "pg.h"

enum { OWNER_CONNECT_MS = 10000, OWNER_SECRET_MAX = 4096, OWNER_VERSION_MIN = 150000 };

/* A failure has been told when this returns false, with *code set. Close with pg_close. */
MUSTCHECK bool owner_connect(const struct cli *c, const struct model *m, struct pg **out,
			     int *code);

/* The owner's DSN as it is written, or from where `file:` or `env:` say; appended. Wipe it. */
MUSTCHECK bool owner_dsn(const struct model *m, struct buf *out, struct err *e);

/* The same, told by the caller: by owner_fail, which returns the exit code, or in other words. */
MUSTCHECK bool owner_open(const struct model *m, struct pg **out, struct err *e);
int owner_fail(const struct cli *c, const struct model *m, const struct err *e);

/* Whole contents of a small file, as they are; refuses more than max bytes. */
MUSTCHECK bool file_whole(const char *path, size_t max, struct buf *out, struct err *e);
/* The same without a trailing newline. */
MUSTCHECK bool file_read(const char *path, size_t max, struct buf *out, struct err *e);
/* The same of a file that may hold a secret (secretfile.h), and of no other. */
MUSTCHECK bool file_secret(const char *path, size_t max, struct buf *out, struct err *e);

/* One query with text parameters (a NULL-terminated list); the caller frees *out. */
MUSTCHECK bool owner_query(struct pg *pg, const char *sql, const char *const *params,
			   struct pg_result **out, struct err *e);

/*
 * The pipeline's row of admin_schema: its id, and its hash key. EXIT_NOTHING when nothing was
 * applied. The failure is told by the caller.
 */
struct owner_pipeline {
	int64_t id;
	int build;
	uint8_t hash_key[16];
};
MUSTCHECK bool owner_pipeline(struct pg *pg, const struct model *m, struct owner_pipeline *out,
			      struct err *e);

#endif
