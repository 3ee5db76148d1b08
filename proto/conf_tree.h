/*
 * conf_tree: what the modules of the pipeline file share, and nobody else includes. A pipeline file
 * is read in four steps: conf_yaml (text to tree), conf_check (tree against the option table:
 * shapes, values, defaults), conf_model and its parts (tree to model), and back out by conf_print
 * (model's tree to text). All errors of all steps are collected in the tree and written by
 * conf_report at the end.
 *
 * A tree owns its text, nodes and strings; they live as long as the tree, which lives as long as
 * the model made from it.
 */
#ifndef PROTO_CONF_TREE_H
#define PROTO_CONF_TREE_H

#include "conf.h"

enum {
	CONF_DEPTH_MAX = 16,	 /* nesting of maps and lists; the table itself needs 6 */
	CONF_MEMBERS_MAX = 1024, /* of one map or list */
	CONF_NODES_MAX = 65536,
	CONF_PATH_MAX = 256,	 /* bytes of an option's path, user's names not included */
	CONF_TEXT_MAX = 16384,	 /* bytes of a scalar */
	DERIVE_RESULTS_MAX = 64, /* of an expression over sensitive fields, beside null */
};

/* ---- the option table ---- */

enum option_type {
	OPTION_MAP,
	OPTION_NAMED,
	OPTION_LIST,
	OPTION_TEXT,
	OPTION_EXPR,
	OPTION_NAME,
	OPTION_INTEGER,
	OPTION_SIZE,
	OPTION_DURATION,
	OPTION_FRACTION,
	OPTION_BOOLEAN,
	OPTION_ENUM,
	OPTION_DATE,
	OPTION_PATH,
	OPTION_SECRET,
	OPTION_FILE,
	OPTION_ADDRESS,
	OPTION_ZONE,
	OPTION_ROLE,
	OPTION_REFUSED,
	OPTION_TYPE_MAX
};

enum {
	OPTION_REQUIRED = 1 << 0,
	OPTION_ONE = 1 << 1,
	OPTION_PLAIN = 1 << 2,
	OPTION_KEYS = 1 << 3,
	OPTION_HIDDEN = 1 << 4,
};

struct option {
	const char *path;
	enum option_type type;
	const char *values, *fill;
	int64_t min, max;
	unsigned flags;
	unsigned see;	/* bit 1 << enum role */
	int at;		/* offset of the member of struct model, or -1 */
	unsigned bytes; /* of that member */
	const char *words;
};

extern const struct option options[];
extern const unsigned options_n;
extern const struct option option_item; /* what an item of a LIST is */

const char *
option_key(const struct option *o); /* last component of its path; "" of the file itself */
/* The row of a key below a row; NULL: there is none. */
const struct option *option_child(const struct option *parent, const char *key);
/* Walks the rows directly below a row: start with NULL. */
const struct option *option_next(const struct option *parent, const struct option *after);
bool option_seen(const struct option *o, enum role role); /* ROLE_MAX sees everything */
const char *option_type_words(enum option_type t); /* "a duration, as 250ms, 30s, 15m, 1h or 90d" */

/* One value of an option, read from text; why is set on failure, without the value itself. */
union option_value {
	int64_t integer; /* INTEGER, SIZE, DURATION, DATE (days), ENUM (index of the value) */
	double real;
	bool boolean;
	enum role role;
};
MUSTCHECK bool option_read(const struct option *o, const char *text, size_t n,
			   union option_value *out, char why[static 256]);
void option_bound_print(const struct option *o, int64_t bound, char out[static 32]);
bool option_is_reference(const char *s); /* file:PATH or env:NAME of a secret */
unsigned option_cores(void);		 /* default of lanes */

/* ---- the tree ---- */

enum conf_kind { CONF_SCALAR, CONF_MAP, CONF_LIST };
enum conf_style { CONF_PLAIN, CONF_SINGLE, CONF_DOUBLE, CONF_LITERAL, CONF_FOLDED };

struct conf_node {
	struct conf_node *parent, *first, *last, *next;
	const struct option *option; /* NULL: not known, an error was reported */
	char *key;		     /* of a map's member; NULL in a list and at the root */
	char *text;		     /* of a scalar; NUL-terminated, without NUL inside */
	uint32_t len;
	uint32_t key_at, at, end; /* byte offsets into the tree's text */
	enum conf_kind kind;
	enum conf_style style;
	bool bad;      /* an error was reported about it: nothing is built on it */
	bool filled;   /* a default, not written */
	bool replaced; /* the text is no more what stands at `at` (a variable, a path) */
	unsigned members;
};

struct conf_error {
	uint32_t at, len; /* where, in the tree's text */
	unsigned order;	  /* of reporting, among errors at one place */
	char *text;
	const char *suggestion; /* or NULL */
};

struct conf_tree {
	char *name, *dir; /* of the file, and of the directory that relative paths begin at */
	char *text;
	size_t len;
	struct conf_node *root;
	enum role role; /* of a slice; ROLE_MAX: the whole file */
	struct conf_chunk *chunks;
	unsigned nodes;
	struct conf_error errors[CONF_ERRORS_MAX];
	unsigned errors_n, errors_more;
};

struct conf_tree *conf_tree_new(const char *name, const char *text, size_t n);
void conf_tree_free(struct conf_tree *t);
void *conf_alloc(struct conf_tree *t, size_t n); /* zeroed; lives as long as the tree */
char *conf_string(struct conf_tree *t, const char *s, size_t n);
char *conf_printf(struct conf_tree *t, const char *fmt, ...) PRINTF(2, 3);
struct conf_node *conf_node_new(struct conf_tree *t, enum conf_kind kind);
void conf_node_add(struct conf_node *parent, struct conf_node *child);
void conf_node_remove(struct conf_node *parent, struct conf_node *child);
void conf_node_text(struct conf_tree *t, struct conf_node *n, const char *s, size_t len);
struct conf_node *conf_node_next(const struct conf_node *root, struct conf_node *n); /* preorder */

/* The member of that key; NULL when n is NULL, not a map, or has none. */
struct conf_node *conf_get(const struct conf_node *n, const char *key);
/* The same, only if nothing is wrong about it: NULL otherwise. */
struct conf_node *conf_good(const struct conf_node *n, const char *key);
/* n if it is a map; the member of that key if it is a scalar and nothing is wrong; else NULL. */
struct conf_node *conf_map_of(struct conf_node *n);
struct conf_node *conf_scalar_of(const struct conf_node *map, const char *key);
void conf_path(const struct conf_node *n, struct buf *out); /* "sources.offer.rabbitmq.url" */
/*
 * Where byte `at` of a scalar's text stands in the tree's text, through quotes, escapes and
 * folding.
 */
uint32_t conf_scalar_at(const struct conf_tree *t, const struct conf_node *n, size_t at);

/* ---- reports ---- */

void conf_error(struct conf_tree *t, struct conf_node *n, const char *fmt, ...) PRINTF(3, 4);
void conf_error_key(struct conf_tree *t, struct conf_node *n, const char *fmt, ...) PRINTF(3, 4);
void conf_error_near(struct conf_tree *t, struct conf_node *n, const char *suggestion,
		     const char *fmt, ...) PRINTF(4, 5);
void conf_error_at(struct conf_tree *t, uint32_t at, uint32_t len, const char *suggestion,
		   const char *fmt, ...) PRINTF(5, 6);
void conf_report_write(const struct conf_tree *t, struct conf_report *r);
const char *conf_quote(struct conf_tree *t, const char *s,
		       size_t n); /* "s", cut and made printable */

struct nearest { /* start with the word; try candidates; best is NULL when none is near */
	const char *word, *best;
	unsigned distance;
};
void nearest_try(struct nearest *x, const char *candidate);

/* ---- steps ---- */

bool conf_yaml_read(struct conf_tree *t); /* false: no tree; reported */
void conf_check(struct conf_tree *t);	  /* goes on after errors, marks nodes bad */

struct conf_build { /* a model being made; a type of VALUE_NULL marks what was wrong already */
	struct conf_tree *t;
	struct model *m;
};

void conf_model(struct conf_tree *t, struct model *m);
void conf_sources(struct conf_build *b);
void conf_correlate(struct conf_build *b); /* by, folds, complete; after sources */
void conf_folds(struct conf_build *b, struct conf_node *folds);
void conf_tables(struct conf_build *b);	    /* after correlate */
void conf_aggregates(struct conf_build *b); /* after tables */
void conf_handoffs(struct conf_build *b);
void conf_peers(struct conf_build *b);
/* Last: it adds a source that is none of the file's. */
void conf_exchange(struct conf_build *b);

/* Values of a map's members; what is absent or wrong gives `none`, false, VALUE_NULL. */
int64_t conf_integer(const struct conf_node *map, const char *key, int64_t none);
bool conf_boolean(const struct conf_node *map, const char *key);
/* Index of a word among an ENUM's values, or `none` when it is not there or wrong. */
int conf_word(const struct conf_node *map, const char *key, int none);
enum value_type conf_type(const struct conf_node *map); /* of its `type:` */

/*
 * Index of a field; -1 and a report when there is none. skip: where the name begins in the scalar's
 * text.
 */
int conf_field(struct conf_build *b, int source, struct conf_node *n, const char *name,
	       uint32_t skip);
/* The same of a source. */
int conf_source_of(struct conf_build *b, struct conf_node *n, const char *name, uint32_t at,
		   uint32_t len);

/* A further field of a source that has room for it: clear, and found under its own name. */
struct field *conf_field_new(struct source *s, const char *name);

/* ---- sealing ---- */

/* What a field just read says of class and token; its token becomes the next field. */
void conf_seal_field(struct conf_build *b, struct source *s, struct conf_node *n);
/* How many fields a source has beside the declared and the derived ones. */
unsigned conf_fields_made(struct conf_node *source);
void conf_unknown_fields(struct conf_build *b, struct source *s, struct conf_node *n);
void conf_paths_check(struct conf_build *b, struct source *s, struct conf_node *n);
void conf_subject(struct conf_build *b, struct source *s, struct conf_node *n);
void conf_classes(struct conf_build *b); /* after the sources: dead_letter, and is there a key? */
/* Type of a field outside ingest: VALUE_SEALED of a sensitive one. */
enum value_type conf_field_type(const struct field *f);
/* An expression of few results over it, for a message. */
const char *conf_derive_hint(struct conf_tree *t, const struct field *f);
/*
 * A use of a field that needs its value early and in clear; what: "the time of an event". False:
 * reported.
 */
bool conf_clear(struct conf_build *b, struct conf_node *n, const struct field *f, const char *what);
/* What a derived field may tell of sensitive ones. */
void conf_derive_check(struct conf_build *b, struct conf_node *n, const struct expr *x);
/* The tables that nobody declares: how many, and the tables themselves, behind the others. */
unsigned conf_tables_made(const struct model *m);
void conf_tables_make(struct conf_build *b);

/* ---- expressions ---- */

enum conf_scope_kind { SCOPE_SOURCE, SCOPE_COMPLETE, SCOPE_PROCESS };

struct conf_scope {
	struct conf_build *b;
	enum conf_scope_kind kind;
	int source;	 /* SCOPE_SOURCE */
	unsigned fields; /* SCOPE_SOURCE: how many of its fields are known here */
	bool open;	 /* SCOPE_SOURCE: at ingest, where sensitive fields are not yet sealed */
	bool poisoned;	 /* a name was asked for that had an error of its own */
};

/* Compiles bytes [at, at + len) of a scalar. Errors are reported where they stand; NULL then. */
struct expr *conf_compile(struct conf_scope *s, struct conf_node *n, size_t at, size_t len,
			  enum value_type want);
void conf_inputs_init(struct conf_build *b); /* the fixed inputs of a process, and its folds */
void conf_scope_use(struct conf_scope *s,
		    const struct expr *x); /* marks the fields that it reads */

void name_set(struct name *n, const char *s); /* s is at most NAME_BYTES_MAX long */

#endif
