/*
 * conf: reads a pipeline file into a model; the option table (options.def) is the only list of
 * keys. validate, up, run, plan and apply share this one path, so a file that validates starts.
 */
#ifndef PROTO_CONF_H
#define PROTO_CONF_H

#include "model.h"
#include "roles.h"

enum {
	CONF_BYTES_MAX = 1 << 20,
	CONF_ERRORS_MAX = 100,
	CONF_SECRETS_MAX = 64, /* references of a file that go to one role */
};

/*
 * Every error found, already as text for a person:
 *   FILE:LINE:COLUMN: error: unknown key "batch_sise"; did you mean "batch_size"?
 *   <the source line>
 *   <caret line>
 * Errors of expressions point into the scalar. Appended to `report`; count returned.
 */
struct conf_report {
	struct buf text;
	unsigned errors;
	/*
	 * the same, for -o json: one object per error {file,line,column,message,suggestion}, joined
	 * by commas
	 */
	struct buf json;
};

/* On success *out is owned by the caller (model_free). False: see report, exit code 78. */
MUSTCHECK bool conf_read_file(const char *path, struct model **out, struct conf_report *report);
MUSTCHECK bool conf_read_text(const char *name, const char *text, size_t n, struct model **out,
			      struct conf_report *report);
void conf_report_free(struct conf_report *r);

/*
 * The effective configuration as YAML: defaults filled in, ${VAR} resolved, canonical order; parses
 * back to itself. With a role: only the keys that role may see (options.def); secrets given by
 * `file:` or `env:` stay references and reach the worker as descriptors. With ROLE_MAX: everything,
 * secrets (a literal password in a DSN or property) printed as ***, which does not parse back.
 */
void conf_print_slice(const struct model *m, enum role role, struct buf *out);
void conf_print_effective(const struct model *m, struct buf *out);

/*
 * Secrets that a role's workers get as descriptors (ctl FD frames), e.g. the URL of a RabbitMQ
 * source written as file:/run/secrets/amqp. name is stable ("sources.offer.rabbitmq.url").
 */
struct conf_secret {
	char name[160];
	char *from; /* "file:/path" or "env:NAME"; borrowed from the model */
};
unsigned conf_secrets(const struct model *m, enum role role, struct conf_secret *out, unsigned max);

/*
 * The bytes of a secret as it is written in the file: those of file:PATH (at most 64 KiB, of a file
 * that may hold a secret: secretfile.h) or
 * env:NAME, without trailing line breaks; any other text is the secret itself (model.dsn may be all
 * three). out is overwritten.
 */
MUSTCHECK bool conf_secret_read(const char *from, struct buf *out, struct err *e);

/* The reference page (docs/reference.md) and `weir help options`, from the option table. */
void conf_reference_print(struct buf *out);

#endif
