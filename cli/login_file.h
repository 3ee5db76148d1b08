/*
 * login_file: the file of one of Weir's logins: a connection string with its user and password, as
 * `weir apply` and `weir logins init` write it, or as a person does. Where there is one, it is the
 * truth: the login gets its password, and nobody writes over it.
 */
#ifndef CLI_LOGIN_FILE_H
#define CLI_LOGIN_FILE_H

#include "buf.h"
#include "ddl.h"
#include "err.h"

enum {
	LOGIN_FILE_MAX = 4096,
	LOGIN_PATH_MAX = 4096,
	PASSWORD_BYTES = 24, /* random ones; two digits each */
	RID_KEY_BYTES = 32,
};

/* The pipeline file's directory of logins, or EXIT_CONFIG. */
MUSTCHECK bool login_directory(const struct model *m, const char **out, struct err *e);
MUSTCHECK bool login_path(const char *directory, enum ddl_login login,
			  char path[static LOGIN_PATH_MAX], struct err *e);

struct login_file {
	bool there, foreign;	  /* foreign: of another user */
	struct buf dsn, password; /* empty: it has none */
};
/* No file is no failure. It must be one that may hold a secret (secretfile.h). */
MUSTCHECK bool login_file_read(const char *path, const char *user, struct login_file *out,
			       struct err *e);
void login_file_free(struct login_file *f); /* wipes */

/* Random, in hexadecimal digits; the caller wipes it. */
void password_make(char out[static 2 * PASSWORD_BYTES + 1]);

/* Makes the directory, mode 0700, where there is none. */
MUSTCHECK bool directory_make(const char *path, struct err *e);
/* A new file of mode 0600, whole and synced; one that is there is an error. */
MUSTCHECK bool secret_create(const char *path, const void *data, size_t n, struct err *e);

/* A new key of queue identities at the place that the pipeline file names. */
MUSTCHECK bool rid_key_make(const struct model *m, struct err *e);

#endif
