/*
 * cli: what the verbs of the command line share. A verb is a row of verbs[] (main.c) and one file.
 * Data goes to stdout, talk to stderr; with -o json stdout gets exactly one JSON document, an error
 * included. Every failure says what, where and why, and then what to do next.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "buf.h"
#include "err.h"
#include "model.h"
#include "option.h"

struct cli {
	const struct verb *verb;
	struct args args;
	bool json;
	bool no_input;
	const char *result_file; /* --result-file of the verbs that have it, or NULL */
};

struct verb {
	const char *name;
	int (*run)(struct cli *c); /* returns an exit code (err.h) */
	unsigned operands_min, operands_max;
	const char *operands;		  /* as in usage: "[PIPELINE]" */
	const char *help;		  /* one line */
	const char *text;		  /* the rest of `weir help VERB` */
	const struct option_row *options; /* NULL: only the common ones */
};

extern const struct verb verbs[];
extern const unsigned verbs_n;

/* One per file of this directory. */
int apply_run(struct cli *c);
int check_run(struct cli *c);
int dead_run(struct cli *c);
int demo_run(struct cli *c);
int explain_run(struct cli *c);
int handoff_run(struct cli *c);
int help_run(struct cli *c);
int keys_run(struct cli *c);
int logins_run(struct cli *c);
int open_run(struct cli *c);
int plan_run(struct cli *c);
int run_run(struct cli *c);
int status_run(struct cli *c);
int up_run(struct cli *c);
int validate_run(struct cli *c);
int version_run(struct cli *c);

extern const struct option_row options_apply[];
extern const struct option_row options_plan[];
extern const struct option_row options_demo[];
extern const struct option_row options_handoff[];
extern const struct option_row options_help[];
extern const struct option_row options_keys[];
extern const struct option_row options_logins[];
extern const struct option_row options_open[];
extern const struct option_row options_pipeline[]; /* only --pipeline */
extern const struct option_row options_dead[];
extern const struct option_row options_run[];
extern const struct option_row options_status[];
extern const struct option_row options_up[];
extern const struct option_row options_validate[];

const struct verb *verb_find(const char *name);
const char *verb_nearest(const char *name); /* NULL: none is near */

/* help.c: `weir help VERB`, on stdout. */
void help_verb_print(const struct verb *v);
void help_print(void);

/* say.c */

/*
 * Tells the failure (stderr; with -o json also as a document on stdout, and in the result file);
 * returns e->code.
 */
int cli_fail(const struct cli *c, const struct err *e, const char *next, ...) PRINTF(3, 4);
/* The line (outcome.h) into the result file, if one was asked for; a failure is told. */
void cli_result(const struct cli *c, const struct buf *line);
/* A line for people on stderr. */
void cli_say(const char *fmt, ...) PRINTF(1, 2);
/* Everything of b to stdout; false and *e when stdout cannot be written. */
MUSTCHECK bool cli_print(struct buf *b, struct err *e);
/* Prints b and turns a failing stdout into the exit code; frees b. */
int cli_finish(const struct cli *c, struct buf *b, int code);

/* The pipeline file: --pipeline, operand `at`, $WEIR_PIPELINE, ./pipeline.yaml; in this order. */
const char *cli_pipeline(const struct cli *c, unsigned at);
/* Reads it; what is wrong with it has been told when this returns false, with *code set. */
MUSTCHECK bool cli_model(const struct cli *c, const char *path, struct model **out, int *code);

/* json.c: one JSON string, in quotes; bytes that are not UTF-8 become U+FFFD. */
void cli_json(struct buf *b, const char *s);
void cli_json_n(struct buf *b, const char *s, size_t n);

/* table.c: cells of a table for people, columns padded to their widest cell. */
struct grid;
struct grid *grid_new(const char *const *heads, unsigned columns);
void grid_cell(struct grid *g, const char *fmt, ...) PRINTF(2, 3); /* row by row, left to right */
void grid_print(const struct grid *g, const char *indent, struct buf *out);
void grid_free(struct grid *g);

#endif
