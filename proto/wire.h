/*
 * wire: what travels in the data pipes. A frame is a fixed head and a MessagePack body; `count`
 * items of the frame's type stand one after another in the body, each a positional array. Encoder
 * and decoder of a type stand side by side. Decoders are fit for hostile bytes: they check every
 * length and type, reject trailing bytes, latch the first failure (pack_reader.failed) and never
 * apply half an item.
 *
 * Head, 32 bytes, little-endian: version u8, type u8, flags u16, generation u32, sender u16,
 * receiver u16, count u32, seq u64, bytes u32 (of the body), zero u32. sender and receiver are role
 * << 8 | index.
 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include "buf.h"
#include "model.h"
#include "pack.h"
#include "value.h"

enum {
	WIRE_VERSION = 2,
	FRAME_HEAD_BYTES = 32,
	FRAME_BYTES_FLUSH = 256 * 1024,	     /* a sender flushes at this size */
	FRAME_BYTES_MAX = 64 * 1024 * 1024,  /* a receiver refuses more */
	VALUES_BYTES_MAX = 56 * 1024 * 1024, /* texts of one process or row: they fit a frame */
	PARTITION_LABEL_MAX = 4200,	     /* a file's path and digest, the longest */
	REASON_MAX = 200,		     /* bytes of a dead letter's reason */
	HASH_KEY_BYTES = 16,
	DIGEST_BYTES = 16,
	SUBJECT_ID_BYTES = 16, /* sid: keyed pseudonym of a person, in clear */
	SUBJECT_SECRET_BYTES = 32,
	POLICY_ROOT_BYTES = 32,
	KEYREQ_SUBJECTS_MAX = 1024,
	KEYREQ_WRAPS_MAX = 64,
	WRAP_BYTES = 97,
	CORE_BYTES_MAX = 512,
	CARRIED_AROUND_MAX = 512, /* what a carried value has beside its payload */
	CARRIED_BYTES_MAX = TEXT_BYTES_MAX + CARRIED_AROUND_MAX,
};

/* FRAME(ID, words): the name table, the roles' edges and the fuzzer expand this. */
#define FRAMES(X)                                                                                  \
	X(OWN, "load tells what this lane owns")                                                   \
	X(ASK, "ingest asks ids for partitions it has found")                                      \
	X(PART, "a partition's id")                                                                \
	X(DATA, "records and covers")                                                              \
	X(DONE, "partitions read to their end")                                                    \
	X(BEGIN, "a batch begins")                                                                 \
	X(PROC, "changed processes")                                                               \
	X(EVT, "records for event-grain tables")                                                   \
	X(ROWS, "rows of one table")                                                               \
	X(STATE, "process states")                                                                 \
	X(DEAD, "dead letters")                                                                    \
	X(END, "a batch ends")                                                                     \
	X(COMMITTED, "a batch is in the warehouse")                                                \
	X(KEYREQ, "ingest asks the keeper: an envelope to publish, secrets of subjects")           \
	X(KEYANS, "the keeper answers")                                                            \
	X(CLAIM, "relay tells which key groups this lane is to own")

enum frame_type {
#define X(id, words) FRAME_##id,
	FRAMES(X)
#undef X
	    FRAME_TYPE_MAX
};

enum { FRAME_LAST = 1 << 0 }; /* flag: nothing follows from this sender (drain, bounded end) */

const char *frame_name(enum frame_type t);

struct frame_head {
	uint8_t version, type;
	uint16_t flags;
	uint32_t generation;
	uint16_t sender, receiver;
	uint32_t count;
	uint64_t seq;
	uint32_t bytes;
};

void frame_head_encode(const struct frame_head *h, uint8_t out[static FRAME_HEAD_BYTES]);
MUSTCHECK bool frame_head_decode(const uint8_t *p, size_t n, struct frame_head *h, struct err *e);

/*
 * Reading: one struct pack_reader (pack.h) per worker, reused; values borrow from the frame's
 * bytes.
 */

/* ---- partitions ---- */
enum partition_kind { PARTITION_DURABLE, PARTITION_TRANSIENT };

/* Label of the transient partition on which dead letters of a source are sent again. */
#define PARTITION_DEAD "$dead"

struct partition {	 /* OWN, ASK (id 0), PART */
	uint32_t id;	 /* given by load, from 1; fits PostgreSQL's integer */
	uint16_t source; /* index in the model */
	enum partition_kind kind;
	bool done;	     /* read to its end in an earlier run: DONE was committed */
	int64_t next, bytes; /* of a done file: records and size, to see that it changed; else 0 */
	uint32_t number;     /* Kafka's partition number; 0 otherwise */
	const char
	    *label; /* borrowed. Kafka: "topic/number"; file: "path#digest"; queue: its name */
	uint32_t label_len;
};

void wire_partition_write(struct buf *b, const struct partition *p);
bool wire_partition_read(struct pack_reader *r, struct partition *p);

struct position {
	uint32_t partition;
	int64_t next; /* the next offset to read; for a transient partition the next ticket */
};

/* ---- OWN: one item ---- */
struct own_range {
	uint32_t kg_lo, kg_hi;	    /* inclusive */
	struct position *positions; /* durable, not done; absent = 0 */
	uint32_t positions_n;
};

struct own {
	uint8_t hash_key[HASH_KEY_BYTES];
	bool has_policy; /* the database pins a policy: it wins over any file */
	uint8_t policy_root[POLICY_ROOT_BYTES];
	uint64_t policy_serial; /* the lowest that may be used */
	uint32_t shard;		/* = lane */
	int64_t epoch;
	/* All of the pipeline that are not done; labels borrowed from the frame. */
	struct partition *partitions;
	uint32_t partitions_n;
	struct own_range *ranges;
	uint32_t ranges_n;
	bool state_empty; /* no state in these ranges: nobody need be looked up */
};

void wire_own_write(struct buf *b, const struct own *o);
bool wire_own_read(struct pack_reader *r, struct own *o); /* free with own_free */
void own_free(struct own *o);

/* ---- CLAIM: one item; the first frame of a generation that reads an exchange ---- */
struct claim {
	uint16_t *groups; /* key groups, rising; may be none */
	uint32_t groups_n;
};

void wire_claim_write(struct buf *b, const struct claim *c);
bool wire_claim_read(struct pack_reader *r, struct claim *c); /* free with claim_free */
void claim_free(struct claim *c);

/* ---- DATA: `count` records, then one array of covers ---- */
enum record_kind {
	RECORD_EVENT,	  /* of a process */
	RECORD_REFERENCE, /* of a reference source: feeds dimensions only */
	RECORD_DEAD	  /* could not be decoded: stage, reason and digest instead of fields */
};

struct record {
	enum record_kind kind;
	uint16_t source;
	uint32_t partition;
	int64_t offset; /* or ticket */
	bool has_rid; /* queue events carry theirs; others are computed where needed (keyhash.h) */
	uint8_t rid[RID_BYTES];
	/* Queues with identity: body: never applied before, even if an equal rid was. */
	bool distinct;
	/*
	 * EVT: it was told apart from an equal event, and has another rid since; its sealed fields
	 * are bound to this one.
	 */
	bool has_bound;
	uint8_t bound[RID_BYTES];
	bool raw_only; /* EVT: it was not folded; raw tables alone take it */
	uint32_t kg;
	const char *key; /* canonical text of the correlation ID; borrowed */
	uint32_t key_len;
	bool has_time; /* false: source with time none; comes before all others in the order */
	int64_t time_us;
	int64_t sequence;     /* 0 where the source declares none */
	struct value *fields; /* model's order; the array is the caller's, FIELDS_MAX long */
	uint32_t fields_n;
	bool has_sid; /* sealed fields of this record are bound to this person */
	uint8_t sid[SUBJECT_ID_BYTES];
	const char *reason; /* RECORD_DEAD; borrowed */
	uint32_t reason_len;
	/* RECORD_DEAD: the event, sealed to class dead_letter; borrowed; length 0: not kept. */
	const uint8_t *body;
	uint32_t body_len;
	uint8_t digest[DIGEST_BYTES]; /* RECORD_DEAD: keyed digest of the raw bytes */
};

/* The rid in the AAD of its sealed fields. */
static inline const uint8_t *
record_bound(const struct record *rec)
{
	return rec->has_bound ? rec->bound : rec->rid;
}

void wire_record_write(struct buf *b, const struct record *rec);
bool wire_record_read(struct pack_reader *r,
		      struct record *rec); /* rec->fields set by the caller */

/*
 * What a source's records are: a digest of our version, of the source's identity (name, cluster,
 * generation) and of the names, types and kinds of its fields, in order. A record is read by who
 * has the same; never 0.
 */
uint64_t wire_layout(const struct source *s);

/*
 * A cover says: every event of this partition in [from, to) that belongs to the receiver's shard is
 * in this frame or an earlier one. `to` is the read frontier, not a record's offset.
 */
struct cover {
	uint32_t partition;
	int64_t from, to;
	bool has_time;
	int64_t time_max_us; /* largest event time up to `to`, of the whole partition */
	bool caught_up;	     /* the source had no more when this was sent */
	bool finished;	     /* bounded run: nothing will come any more */
};

void wire_covers_write(struct buf *b, const struct cover *c, uint32_t n);
bool wire_covers_read(struct pack_reader *r, struct cover **c, uint32_t *n); /* caller frees *c */

/* ---- DONE ---- */
struct done {
	uint32_t partition;
	int64_t next, bytes;
};

void wire_done_write(struct buf *b, const struct done *d);
bool wire_done_read(struct pack_reader *r, struct done *d);

/*
 * ---- carried: a sealed value away from its record, as VALUE_SEALED of a process ----
 * [payload bin, source label str, field path str, rid bin16, sid bin16 or nil]
 */
struct carried {
	const uint8_t *payload; /* SEALING "Sealed field", or the erased form; all borrowed */
	uint32_t payload_len;
	const char *source, *path;
	uint32_t source_len, path_len;
	uint8_t rid[RID_BYTES];
	bool has_sid;
	uint8_t sid[SUBJECT_ID_BYTES];
};

/*
 * The fields of an event are as its source declares them: types, sealed what is sensitive and
 * nothing else, bound to a person exactly when the record names one.
 */
bool wire_fields_check(const struct source *s, const struct record *rec);
/* The same of a dead letter's body. */
bool wire_body_check(const struct model *m, const struct record *rec);

/* True: has the form of a payload (its first four bytes and its length), or is the erased form. */
bool wire_payload_check(const void *p, size_t n);
/* Of a payload that was checked: the person was erased before it was sealed. */
bool wire_payload_erased(const void *p, size_t n);
void wire_carried_write(struct buf *b, const struct carried *c);
/* False: not the bytes of one. */
bool wire_carried_read(const void *p, size_t n, struct carried *c);

/* ---- KEYREQ, KEYANS: `count` items; asked again until answered, so each is idempotent ---- */
enum key_kind {
	KEY_PUBLISH,
	KEY_SUBJECTS,
	KEY_FACTS /* what OWN tells an ingest that has lanes: with an exchange it has none */
};

struct keyreq {
	enum key_kind kind;
	uint32_t request; /* rises in each ingest; the answer carries it back */
	/* KEY_PUBLISH: the core without its signature, and every wrap */
	const char *class;
	uint32_t class_len;
	const uint8_t *core;
	uint32_t core_len;
	const uint8_t *wraps[KEYREQ_WRAPS_MAX]; /* WRAP_BYTES each */
	uint32_t wraps_n;
	/* KEY_SUBJECTS */
	const uint8_t *sids; /* SUBJECT_ID_BYTES each, one after another; one bin on the wire */
	uint32_t sids_n;
};

struct keyans {
	enum key_kind kind;
	uint32_t request;
	bool ok;
	uint64_t policy_serial; /* the core is of another policy than the keeper's; else 0 */
	const char *reason;	/* !ok: without values */
	uint32_t reason_len;
	const uint8_t *core; /* KEY_PUBLISH: signed */
	uint32_t core_len;
	const uint8_t *secrets[KEYREQ_SUBJECTS_MAX]; /* NULL: the person was erased */
	uint32_t secrets_n;
	/* KEY_FACTS; as in struct own, the serial being the lowest that may be used */
	uint8_t hash_key[HASH_KEY_BYTES];
	bool has_policy;
	uint8_t policy_root[POLICY_ROOT_BYTES];
	uint64_t pinned_serial;
};

void wire_keyreq_write(struct buf *b, const struct keyreq *k);
bool wire_keyreq_read(struct pack_reader *r, struct keyreq *k);
void wire_keyans_write(struct buf *b, const struct keyans *k);
bool wire_keyans_read(struct pack_reader *r, struct keyans *k);

/* ---- BEGIN: one item ---- */
struct begin {
	uint32_t shard;
	int64_t epoch, n;
};

void wire_begin_write(struct buf *b, const struct begin *x);
bool wire_begin_read(struct pack_reader *r, struct begin *x);

/* ---- PROC: a changed process as transform sees it: values of model.inputs, in slot order ---- */
struct proc {
	struct value *inputs; /* caller's array, EXPR_INPUTS_MAX long */
	uint32_t inputs_n;
	uint64_t missing; /* bit i: part i of `complete:` does not hold */
};

void wire_proc_write(struct buf *b, const struct proc *p);
bool wire_proc_read(struct pack_reader *r, struct proc *p);

/* ---- EVT: records as in DATA, each with its rid filled in ---- */

/*
 * ---- ROWS: first item table id (unsigned), then `count` rows ----
 * The values stand in the order of rows.h.
 */
struct row {
	struct value *values;
	uint32_t values_n;
	uint64_t missing;	/* process facts only, else 0 */
	uint8_t rid[RID_BYTES]; /* transaction facts, raw events, dimension versions; else zeros */
	bool has_sid;		/* raw events of a person */
	uint8_t sid[SUBJECT_ID_BYTES];
};

void wire_table_write(struct buf *b, uint32_t table);
bool wire_table_read(struct pack_reader *r, uint32_t *table);
void wire_row_write(struct buf *b, const struct row *row);
bool wire_row_read(struct pack_reader *r,
		   struct row *row); /* values: caller's, COLUMNS_MAX * 2 long */

/* ---- STATE ---- */
struct state_row {
	uint8_t key[16]; /* keyhash_process() of the correlation ID */
	uint32_t kg;
	bool has_check_at;
	int64_t check_at_us; /* lower bound of the next clock transition */
	bool tombstone;
	const uint8_t *body; /* process.h's encoding; borrowed */
	uint32_t body_len;
};

void wire_state_write(struct buf *b, const struct state_row *s);
bool wire_state_read(struct pack_reader *r, struct state_row *s);

/*
 * Texts of one process or row that together pass VALUES_BYTES_MAX become null from the last one on,
 * but no key; returns how many did.
 */
unsigned wire_values_fit(struct value *v, uint32_t n);

/* ---- DEAD ---- */
struct dead {
	uint8_t rid[RID_BYTES];
	uint16_t source;
	uint32_t partition;
	int64_t offset;
	const char *stage; /* a role's name */
	uint32_t stage_len;
	const char *reason; /* for a person; never a value of the event */
	uint32_t reason_len;
	bool has_digest;
	uint8_t digest[DIGEST_BYTES];
	const uint8_t *body; /* as in struct record */
	uint32_t body_len;
	bool has_sid;
	uint8_t sid[SUBJECT_ID_BYTES];
	/* The dead letter of this source and rid was sent again and is folded now: it goes. */
	bool replayed;
};

void wire_dead_write(struct buf *b, const struct dead *d);
bool wire_dead_read(struct pack_reader *r, struct dead *d);

/* ---- END: one item ---- */
struct end_range {
	uint32_t kg_lo, kg_hi;
	struct position *positions; /* transient ones (tickets) too */
	uint32_t positions_n;
};

struct end_source { /* what this batch took from a source, for counts and limits */
	uint64_t events, dead, dropped; /* dropped: applied before (position or identity) */
};

struct end {
	int64_t n;
	struct end_range *ranges;
	uint32_t ranges_n;
	uint64_t proc, evt, state, dead; /* items sent by correlate */
	uint64_t rows[TABLES_MAX];	 /* items sent by transform; zeros from correlate */
	struct end_source sources[SOURCES_MAX];
	uint32_t tables_n, sources_n;
};

void wire_end_write(struct buf *b, const struct end *e);
bool wire_end_read(struct pack_reader *r, struct end *e); /* free with end_free */
void end_free(struct end *e);

/* ---- COMMITTED: one item ---- */
struct committed {
	uint32_t shard;
	int64_t epoch, n;
	struct position *positions; /* minimum over the lane's ranges; transient ones too */
	uint32_t positions_n;
};

void wire_committed_write(struct buf *b, const struct committed *c);
bool wire_committed_read(struct pack_reader *r, struct committed *c); /* free with committed_free */
void committed_free(struct committed *c);

#endif
