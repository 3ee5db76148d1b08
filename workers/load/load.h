/*
 * load: what the files of this role share. One struct load per process, one thread.
 *
 *   main.c       frames in, batches out: the loop        setup.c  made and freed
 *   owner.c      what this lane owns: ranges, positions, partitions; the OWN frame
 *   takeover.c   how it comes to own it, and whether it still does
 *   range.c      rows of key ranges: cut where lanes were others, and taken
 *   schema.c     whether the tables are as the pipeline file says
 *   instance.c   the courtesy between supervisors: a row with a heartbeat
 *   partition.c  ids of partitions: ASK, PART, DONE
 *   batch.c      frames collected       copy.c  rows in binary form     dialect_pg.c  SQL
 *   commit.c     one transaction        merge.c rows into the warehouse
 *   bisect.c     refused rows found     deadlimit.c  how many are too many
 */
#ifndef WORKERS_LOAD_LOAD_H
#define WORKERS_LOAD_LOAD_H

#include "batch.h"
#include "pg.h"
#include "skel.h"

enum {
	BUILD = 1,
	CONNECT_MS_MAX = 2500, /* below CTL_HANG_MS: nothing is served meanwhile */
	BACKOFF_MS_MIN = 100,
	BACKOFF_MS_MAX = 5000,
	INSTANCE_STALE_MS = 5000,
	HEARTBEAT_MS = 1000,
	TAKEOVER_LOCK_MS = 500,
	DEAD_MIN = 100, /* so many dead letters are never too many */
	DEAD_WINDOW_SECONDS = 60,
};

/* ---- what this lane owns ---- */

struct owner_range {
	uint32_t kg_lo, kg_hi;
	struct position *positions; /* durable, not done; sorted by partition */
	uint32_t positions_n, positions_max;
	bool moved; /* since the last commit */
};

struct span { /* key groups, inclusive */
	uint32_t lo, hi;
};

struct known { /* a partition; index = its id */
	bool there, done;
	int source; /* index in the model; -1: the file has that source no more */
	enum partition_kind kind;
	int64_t next, bytes;
	uint32_t number;
	char *label;
	uint32_t label_len;
};

struct owner {
	int32_t pipeline;
	uint8_t hash_key[HASH_KEY_BYTES];
	bool has_policy; /* pinned at apply */
	uint8_t policy_root[POLICY_ROOT_BYTES];
	int64_t policy_serial;
	struct span *wanted; /* what this lane is to own; rising, apart from each other */
	uint32_t wanted_n;
	uint32_t kg_lo, kg_hi; /* from the first to the last of it */
	int64_t epoch, batch;  /* batch: the last one committed */
	struct owner_range *ranges;
	uint32_t ranges_n;
	uint32_t *joined; /* kg_lo of rows that the next commit joins to the one before */
	uint32_t joined_n;
	struct known *partitions;
	uint32_t partitions_max; /* ids are below it */
	int32_t source_ids[SOURCES_MAX];
	bool state_empty;
};

void owner_bounds(struct owner *o, const struct model *m, unsigned lane);
/* What CLAIM says: key groups that need not be neighbours, each a range of its own. */
void owner_claim(struct owner *o, const struct claim *c);
void owner_ranges_clear(struct owner *o);
struct owner_range *owner_range_add(struct owner *o, uint32_t kg_lo, uint32_t kg_hi);
/*
 * Neighbours that have read every partition equally far become one: lanes that were joined read
 * apart only until then. What END says of a part is said of the whole from then on.
 */
void owner_join(struct owner *o);
void owner_settled(struct owner *o); /* a commit is in: what was joined, what moved */
void range_set(struct owner_range *r, uint32_t partition, int64_t next);
void range_unset(struct owner_range *r, uint32_t partition);
/* Takes the description over; the label is copied. */
void owner_partition(struct owner *o, uint32_t id, const struct known *k);
const struct known *owner_known(const struct owner *o, uint32_t id); /* NULL: none */
/* OWN names what is not done, as far as it goes into a frame. */
void owner_own_write(const struct owner *o, unsigned lane, struct buf *body);
/* What OWN does not name, with or without what is done; as much as goes into one PART at a time. */
struct owner_rest {
	uint32_t id, own_end; /* where it goes on; from where on OWN names nothing */
	bool done_too;
};
void owner_rest_start(const struct owner *o, bool done_too, struct owner_rest *r);
/* Returns how many it wrote; 0: no more. */
uint32_t owner_rest_write(const struct owner *o, struct owner_rest *r, struct buf *body);
/* The positions of an END into the ranges; false: a breach. */
MUSTCHECK bool owner_positions(struct owner *o, const struct end *end, struct err *e);
void owner_committed_write(const struct owner *o, unsigned lane, const struct batch *b,
			   struct buf *body);
void owner_free(struct owner *o);

/* ---- dead letters of a source's last minute ---- */
struct dead_window {
	int64_t second[DEAD_WINDOW_SECONDS];
	struct {
		uint64_t events, dead;
	} source[SOURCES_MAX][DEAD_WINDOW_SECONDS];
};

/* ---- the whole ---- */
struct load {
	struct worker *w;
	char *dsn;
	const struct dialect *dialect;
	struct copy_layout *layouts; /* by table */
	struct sink *sinks;
	char *absent[TABLES_MAX]; /* SQL of the check of foreign keys, by dimension */

	struct pg *pg;	 /* NULL while there is none */
	bool set_checks; /* triggers are off on this connection; keys are checked as sets */
	struct mono retry_at;
	int backoff_ms;

	bool claimed;  /* with an exchange: CLAIM has come */
	bool owned;    /* take-over has committed and OWN was sent */
	bool doubtful; /* the connection is new since: look at the shard row first */
	struct owner owner;
	struct batches batches;
	struct buf asks; /* ASK frames that wait, each u32 length and its body */
	struct buf dones;
	bool last_committed;

	struct pg *beat; /* lane 0: the heartbeat's own connection */
	bool beating;
	struct mono beat_at;

	struct dead_window dead;
	struct mono waiting_since; /* the server has not answered since; us 0: it has */
};

/* ---- setup.c ---- */
struct load *load_new(struct worker *w, char *dsn); /* dsn becomes its own; free: load_free */
void load_owned(struct load *l);		    /* take-over has committed: batches may come */
void load_free(struct load *l);
/* Who reads for the lanes, and hears OWN, PART and COMMITTED. */
enum role load_reader(const struct load *l);

/* Whatever waits long for the server calls this: serves supervisor and heartbeat. */
bool load_breathe(void *ctx);

/* ---- takeover.c ---- */
/* Connects, and prepares the session. */
MUSTCHECK bool load_connect(struct load *l, struct err *e);
MUSTCHECK bool schema_check(struct load *l, struct err *e); /* EXIT_CONFIG: run weir apply */
/* False: e->code EXIT_UNAVAILABLE: try again later; anything else: give up. */
MUSTCHECK bool takeover(struct load *l, struct err *e);
/* After a lost connection: still the owner? *committed: the batch in doubt is in. */
MUSTCHECK bool takeover_verify(struct load *l, bool *committed, struct err *e);
/*
 * Fills e with who took over; always false. With an exchange key groups move between replicas, and
 * the generation begins anew with those that are left.
 */
bool takeover_lost(struct load *l, struct err *e);

/* ---- range.c ---- */
/* What is wanted ($3, $4) has groups of the row. */
#define RANGE_OVERLAP                                                                              \
	" WHERE pipeline = $1 AND build = $2 AND EXISTS (SELECT FROM unnest($3, $4) w (lo, hi)"    \
	" WHERE kg_lo <= w.hi AND kg_hi >= w.lo)"

/* A statement about what is wanted: $1 to $4, and $5 an epoch; -1: it has none. */
MUSTCHECK bool range_query(struct load *l, const char *sql, int64_t epoch, struct pg_result **out,
			   struct err *e);
/* Within the take-over's transaction: draws the epoch, and fills in the ranges. */
MUSTCHECK bool ranges_take(struct load *l, struct err *e);

/* ---- instance.c ---- */
MUSTCHECK bool instance_claim(struct load *l, struct err *e);
void instance_release(struct load *l);
/* Heartbeat; false: another supervisor took over. */
MUSTCHECK bool instance_beat(struct load *l, struct mono now, struct err *e);

/* ---- partition.c ---- */
MUSTCHECK bool sources_register(struct load *l, struct err *e);
MUSTCHECK bool partitions_read(struct load *l, struct err *e);
MUSTCHECK bool partitions_ask(struct load *l, const uint8_t *body, size_t n, struct err *e);
MUSTCHECK bool partitions_learn(struct load *l, const uint8_t *body, size_t n, struct err *e);
MUSTCHECK bool partitions_done(struct load *l, const uint8_t *body, size_t n, struct err *e);

/* ---- commit.c, merge.c, bisect.c ---- */
enum commit_outcome {
	COMMIT_DONE,
	COMMIT_FENCED, /* e: who */
	COMMIT_BAD,    /* a row was refused, or refers to nothing: bisect */
	COMMIT_RETRY,  /* the warehouse cannot now */
	COMMIT_STOP,   /* e: what is wrong with it */
};

struct commit {
	struct load *l;
	const struct batch *b;
	unsigned slot; /* of admin_schema.state */
	uint64_t written[TABLES_MAX], stale;
	bool dangling; /* some row refers to a member that is not there */
	uint64_t source_dead[SOURCES_MAX];
	/* Letters of rows that were refused here: of events, and of no single source. */
	struct rows dead, dead_rows;
	uint64_t row_letters; /* of the latter, those that were not there before */
	struct err *e;
};

/* One transaction, or nothing. */
enum commit_outcome commit_batch(struct load *l, const struct batch *b, struct err *e);
/* Class of the failure that the connection just had. */
enum commit_outcome commit_class(const struct load *l);

/* All rows of the batch, set by set. False: c->e, class by commit_class; nothing is undone here. */
MUSTCHECK bool merge_rows(struct commit *c);
MUSTCHECK bool merge_sink(struct commit *c, unsigned sink, const struct rows *rows);
/* Tables in the one order in which all lanes write them: members before what refers to them. */
MUSTCHECK bool merge_order(struct commit *c, bool (*fn)(struct commit *c, unsigned table),
			   bool (*between)(struct commit *c));

/* Rows one by one in one round trip, from row `first`, which begins at byte `at`. */
struct each {
	unsigned sink;
	const struct rows *rows;
	uint32_t first, n;
	size_t at;
	const char *before, *after; /* statements around; or NULL */
	uint32_t failed;	    /* out: the row that was refused */
};
MUSTCHECK bool merge_each(struct commit *c, struct each *each);

/* The same rows, with the refused ones left out and noted in c->dead. */
MUSTCHECK bool bisect_rows(struct commit *c);
/* A dead letter for one row; reason without a value. fields as the sink has them. */
void bisect_note(struct commit *c, unsigned table, const struct copy_field *fields,
		 const char *why);

/* ---- deadlimit.c ---- */
/* False: more dead letters than the pipeline stands; e with EXIT_DATA and a sentence. */
MUSTCHECK bool dead_within_limit(const struct load *l, const struct commit *c, struct err *e);
void dead_count(struct load *l, const struct commit *c);

#endif
