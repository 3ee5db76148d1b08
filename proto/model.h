/*
 * model: a pipeline file, understood. conf.c reads YAML into this; every process works from it. All
 * names are resolved to indexes, all expressions are compiled, all defaults are filled in. A
 * worker's model comes from its slice (conf.h) and has only what its role may know: strings it may
 * not see are NULL. Immutable after loading; owned by whoever called model_free.
 *
 * Inputs of expressions ("slots"):
 *  - of a source: slot i = field i (fields[]), then one more per source: none.
 *  - of a process: process_inputs[], see below: key, built-ins, folds, size()/seen().
 */
#ifndef PROTO_MODEL_H
#define PROTO_MODEL_H

#include "expr/expr.h"
#include "value.h"

enum {
	NAME_BYTES_MAX = 63, /* PostgreSQL's identifier */
	SOURCES_MAX = 63,    /* `seen` is a 64-bit mask */
	FIELDS_MAX = 128,    /* per source, derived ones included */
	FOLDS_MAX = 128,
	FOLD_INPUTS_MAX = 16,
	PARTS_MAX = 32, /* of `complete:` */
	TABLES_MAX = 64,
	COLUMNS_MAX = 128,
	REFERENCES_MAX = 16,
	FOLD_SIZE_MAX = 4096, /* largest declared N of set and list */
	FOLD_SIZE_DEFAULT = 64,
	KEY_BYTES_MAX = 256, /* a correlation ID or natural key; longer is a dead letter */
	GROUPS_MAX = 4096,
	GROUPS_DEFAULT = 128,
	CLASSES_MAX = 16, /* recipient classes of a pipeline, dead_letter included */
	DOMAINS_MAX = 16, /* token domains */
	AGGREGATES_MAX = 64,
	MEASURES_MAX = 16,
	DIMENSIONS_MAX = 8, /* columns an aggregate groups by */
	HANDOFFS_MAX = 32,
	EXCHANGE_DEAD_BYTES = 1200 * 1024,	 /* the largest dead letter, sealed */
	EXCHANGE_BYTES_MAX = 1000 * 1000 * 1000, /* of a message: librdkafka's */
	RECIPIENTS_MAX = 16,
	PEERS_MAX = 16, /* names of other supervisors' status */
};

struct name {
	char s[NAME_BYTES_MAX + 1];
};

/*
 * Forms in which a value is tokenised (SEALING "Token"). As it is; only digits, separators removed;
 * ASCII lower case without surrounding blanks; a Brazilian CPF: 11 digits, its dots and dash
 * removed. A value that has not the form is not tokenised.
 */
enum canonical { CANONICAL_AS_IS, CANONICAL_DIGITS, CANONICAL_LOWER, CANONICAL_CPF, CANONICAL_MAX };

struct field {
	struct name name;
	char path[256]; /* dotted path in the event; the name itself when not declared */
	enum value_type type;
	enum time_form form; /* of a timestamp */
	bool used; /* something downstream reads it; an unused one is checked, then sent as null */
	struct expr *derive;	 /* not NULL: computed at ingest from the fields before it */
	const char *derive_text; /* its source, borrowed from the tree: what a policy signs */
	int class;		 /* index of classes[]: sealed before it leaves ingest; -1: clear */
	int domain;   /* index of domains[]: a field `<name>_token` follows it; -1: none */
	int token_of; /* this field is the token (text) of that field; -1: it is not one */
	enum canonical canonical; /* with domain */
	uint8_t padexp;		  /* with class: SEALING "Bytes"; 0 or 4..12 */
};

enum source_kind {
	SOURCE_KAFKA,
	SOURCE_RABBITMQ,
	SOURCE_FILE,
	/*
	 * Not declared: the last source of a pipeline with an exchange, so that the partitions of
	 * its topic have ids like any other. It has no fields; no ingest reads it.
	 */
	SOURCE_EXCHANGE,
	SOURCE_KIND_MAX
};

#define SOURCE_EXCHANGE_NAME "$exchange"
enum source_time { TIME_OF_FIELD, TIME_OF_BROKER, TIME_NONE };
enum source_unknown { UNKNOWN_DROP, UNKNOWN_SEAL, UNKNOWN_REJECT };
enum source_identity { IDENTITY_NONE, IDENTITY_MESSAGE_ID, IDENTITY_PATH, IDENTITY_BODY };

struct property {
	char *key, *value; /* handed to librdkafka as they are; value NULL: comes as a descriptor */
};

struct source {
	struct name name;
	char label[192]; /* name@cluster#generation: enters rids, so it never changes */
	enum source_kind kind;
	struct field *fields;
	unsigned fields_n;
	enum source_time time;
	int time_field;		     /* index, or -1 */
	int sequence_field;	     /* index of an integer field, or -1 */
	int key_field;		     /* index of the correlation ID, or of the reference key */
	bool reference;		     /* feeds dimensions only, folded into no process */
	int subject_field;	     /* a field with a token: its person can be erased; -1: none */
	enum source_unknown unknown; /* what becomes of undeclared fields */
	int unknown_field; /* UNKNOWN_SEAL: index of the field "$unknown" (json, sealed); else -1 */
	/* kafka */
	char *brokers, *topic;
	bool from_latest; /* first start: false = earliest */
	struct property *properties;
	unsigned properties_n;
	/* rabbitmq */
	char *url; /* amqp:// or amqps://; NULL when it comes as a descriptor (secret) */
	char *queue;
	enum source_identity identity;
	char identity_path[256];
	unsigned prefetch;
	/* file */
	char *path; /* absolute: a file, a directory, or a glob in its last component */
	bool follow;
};

enum fold_op {
	FOLD_FIRST,
	FOLD_LAST,
	FOLD_MIN,
	FOLD_MAX,
	FOLD_COUNT,
	FOLD_SUM,
	FOLD_ANY,
	FOLD_ALL,
	FOLD_SET,
	FOLD_LIST,
	FOLD_OP_MAX
};

struct fold_input {
	int source;
	int field;	    /* index, or -1: the event itself (count, any, all) */
	struct expr *where; /* over that source's fields; NULL: every event */
};

struct fold {
	struct name name;
	uint64_t id; /* hash of name and definition: the key of its state, survives reordering */
	enum fold_op op;
	enum value_type type; /* of the result: set and list give json (an array), sum a decimal */
	enum value_type in;   /* of the inputs that are fields; VALUE_NULL when all are events */
	unsigned size;	      /* N of set and list */
	struct fold_input inputs[FOLD_INPUTS_MAX];
	unsigned inputs_n;
	char *definition; /* for explain: count offer where activity = 'O_SENT' */
};

struct part {		    /* of `complete:` */
	char *name;	    /* declared, or the conjunct's own text */
	struct expr *holds; /* boolean over process inputs */
};

/*
 * What a process offers to expressions, in slot order: PROCESS_* first, of which a fold may take
 * the name, then one per fold (slot PROCESS_FIXED + i), then, as far as some expression asks for
 * them, size(fold), overflowed(fold) and seen(source).
 */
enum {
	PROCESS_KEY,		/* text or integer; named as model.key_name */
	PROCESS_STATUS,		/* text: open, complete, expired */
	PROCESS_FIRST_EVENT_AT, /* timestamp, null while no timed event */
	PROCESS_LAST_EVENT_AT,
	PROCESS_CLOSED_AT,
	PROCESS_EVENTS,	  /* integer */
	PROCESS_REVISION, /* integer */
	PROCESS_FIXED
};

enum process_input_kind { INPUT_FIXED, INPUT_FOLD, INPUT_SIZE, INPUT_OVERFLOWED, INPUT_SEEN };

struct process_input {
	enum process_input_kind kind;
	unsigned of; /* index of fold or source */
	char name[NAME_BYTES_MAX + 16];
	enum value_type type;
};

/*
 * TABLE_RAW and TABLE_SEALED_PROCESS are not declared; they follow from `raw:` and from folds of
 * sealed fields, and stand after the declared ones. They are in development_schema.
 */
enum table_kind {
	TABLE_FACT,
	TABLE_DIMENSION,
	TABLE_CALENDAR,
	TABLE_RAW, /* grain: a source; a row for each decoded event, its fields; `raw_<source>` */
	TABLE_SEALED_PROCESS /* grain: a process; columns = the sealed folds; `process` */
};

struct column {
	struct name name;
	enum value_type type;
	struct expr *expr; /* over process inputs (process grain) or the grain source's fields */
	/* TABLE_RAW: field, TABLE_SEALED_PROCESS: slot of inputs[]; expr is NULL then; else -1 */
	int slot;
	char *source;		/* the expression's text, for comments and plan */
	char *comment;		/* or NULL */
	unsigned decimal_scale; /* numeric(38, scale) when > 0 and type is decimal; else numeric */
};

struct reference { /* a foreign key of a fact: column `<role>_key` */
	struct name column;
	int table;	   /* a dimension or calendar of tables[] */
	struct expr *expr; /* the natural key; date or timestamp for a calendar */
	char *source;
};

enum { GRAIN_PROCESS = -1 };

struct table {
	struct name name;
	enum table_kind kind;
	/* fact: GRAIN_PROCESS or a source; dimension: the source that describes it, or -1 */
	int grain;
	struct name key;       /* fact: the process key's column; dimension: natural key's column */
	struct name surrogate; /* dimension, calendar: `<name>_key`, the name without "dim_" */
	enum value_type key_type;
	struct expr *key_expr; /* dimension with a source: natural key over its fields */
	bool unique;	       /* transaction fact: unique index on rid */
	struct column *columns;
	unsigned columns_n;
	struct reference *references;
	unsigned references_n;
	int64_t from_date, to_date; /* calendar: first and last day */
	char *comment;
};

/* ---- sealing ---- */

struct domain {
	struct name name;
	unsigned epoch; /* of the token key in use, from 1; 0 until ingest has opened it */
};

enum measure_op { MEASURE_COUNT, MEASURE_SUM, MEASURE_AVG };

struct measure {
	struct name name;
	enum measure_op op;
	int column; /* of the fact; -1: count of rows */
};

/* What business analysts may see: a table in data_visualization_schema, rebuilt whole. */
struct aggregate {
	struct name name;
	int table; /* the fact */
	/* Grouped by: columns of the fact, or of a dimension it refers to. */
	struct {
		struct name name;
		int reference; /* index into the fact's references; -1: the fact's own column */
		/* index of a column; -1: `name` is the natural key, a calendar's, or status */
		int column;
	} by[DIMENSIONS_MAX];
	unsigned by_n;
	struct measure measures[MEASURES_MAX];
	unsigned measures_n;
	struct name subject; /* column of the fact that tells persons apart; its key by default */
	unsigned k;	     /* default 10, at least 2 */
	int64_t every_us;    /* default 1 day */
	bool overlap;	     /* overlap: accepted */
	char *comment;
};

enum handoff_format { HANDOFF_NDJSON, HANDOFF_CSV };

struct handoff {
	struct name name;
	char *query; /* one SELECT over development_schema */
	char *purpose;
	struct name recipients[RECIPIENTS_MAX]; /* members of the policy */
	unsigned recipients_n;
	enum handoff_format format;
	char *directory;  /* where the file goes */
	int64_t every_us; /* 0: only by `weir handoff run` */
};

/* The topic between ingests and lanes; one partition for each key group. */
struct exchange {
	char *brokers; /* seen by ingest and relay alone, as the properties are */
	char *topic;   /* NULL: there is no exchange */
	struct property *properties;
	unsigned properties_n;
	uint32_t replication; /* of the topic when `weir apply` makes it */
	int64_t retention_us;
};

struct limits {				 /* names as in the pipeline file; each has a metric */
	uint64_t inflight_bytes_max;	 /* 128 MB, over all ingests of this supervisor */
	uint64_t state_cache_bytes_max;	 /* 256 MB over all lanes */
	uint64_t batch_bytes_max;	 /* 16 MB of output */
	uint64_t kafka_queue_bytes_max;	 /* 128 MB */
	uint64_t event_bytes_max;	 /* 4 MB: a larger event is a dead letter */
	uint32_t batch_rows;		 /* 10,000 changed processes */
	uint32_t batch_rows_behind;	 /* 50,000 */
	int64_t batch_delay_us;		 /* 250 ms */
	int64_t batch_delay_behind_us;	 /* 30 s */
	uint32_t events_per_process_max; /* 100,000 */
	uint64_t process_bytes_max;	 /* 16 MB of memory; at most 48: it fits a frame */
	int64_t time_ahead_max_us;	 /* 1 h */
	int64_t align_us;		 /* 1 day */
	uint32_t files_open_max;	 /* 64 */
	int64_t key_window_us;		 /* 15 min: the life of a data key */
	double dead_letter_limit;	 /* 0.01 of a batch, at least 100 */
};

/* Where other supervisors' status may be: http://HOST:PORT, taken apart. */
struct peer_name {
	char url[264]; /* without a slash at the end */
	char host[254], port[6];
};

struct model {
	struct name pipeline;
	char *path;	 /* of the pipeline file; for messages */
	unsigned groups; /* G */
	unsigned lanes, ingests;
	char *zone_name; /* NULL: not declared, times without offset are refused */
	struct zone *zone;
	struct source *sources;
	unsigned sources_n;
	enum value_type key_type; /* text or integer: the correlation ID */
	struct name key_name;	  /* `by`, when one name; else "id" */
	struct fold *folds;
	unsigned folds_n;
	struct part *parts;
	unsigned parts_n; /* 0: a process never completes */
	struct process_input *inputs;
	unsigned inputs_n;
	int64_t deadline_us, quiet_for_us; /* 0: none */
	int64_t keep_closed_us;		   /* default 30 days */
	bool emit_on_close;
	char *dsn; /* warehouse, the owner's: plan and apply only; read with conf_secret_read */
	char *logins_dir;   /* where apply writes login files */
	char *rid_key_path; /* queue sources only */
	struct exchange exchange;
	/*
	 * Sealing: classes_n > 0 as soon as a field is sensitive or has a token; dead_letter
	 * is then the last of them.
	 */
	struct name classes[CLASSES_MAX];
	unsigned classes_n;
	struct domain domains[DOMAINS_MAX];
	unsigned domains_n;
	char *keys_dir;	 /* directory of policy and key files; NULL: nothing is sealed */
	char *keys_role; /* the role that science is */
	unsigned keys_role_epoch;
	bool raw_warehouse; /* raw events are kept in development_schema */
	int64_t raw_keep_us;
	struct aggregate *aggregates;
	unsigned aggregates_n;
	struct handoff *handoffs;
	unsigned handoffs_n;
	bool foreign_keys_enforced; /* default: declared */
	struct table *tables;
	unsigned tables_n;
	struct limits limits;
	bool require_sandbox;
	char *listen; /* status: HOST:PORT, default 127.0.0.1:0 */
	struct peer_name *peers;
	unsigned peers_n;
	int64_t drain_limit_us; /* 30 s */
	struct conf_tree *tree; /* conf.c's own: what conf_print_* print from */
};

static inline bool
model_exchange(const struct model *m)
{
	return m->exchange.topic != NULL;
}

/* The largest message of the exchange: an event grows by what seals it. */
uint64_t model_exchange_bytes(const struct model *m);

void model_free(struct model *m);
int model_source_find(const struct model *m, const char *name, size_t n); /* -1: none */
int model_table_find(const struct model *m, const char *name, size_t n);

#endif
