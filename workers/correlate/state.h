/*
 * state: the inside of a shard, shared by shard.c (frames and time), apply.c (records), close.c
 * (batches), plan.c (what to ask the database) and cache.c (what stays in memory).
 */
#ifndef WORKERS_CORRELATE_STATE_H
#define WORKERS_CORRELATE_STATE_H

#include "batch.h"
#include "clock.h"
#include "due.h"
#include "filter.h"
#include "process.h"
#include "ranges.h"
#include "shard.h"

enum {
	CHUNK_RECORDS = 64,	 /* resolved together, so that memory is fetched ahead */
	LOOKUP_AHEAD_MAX = 4000, /* keys under way before frames further back are looked at */
	SWEEP_MAX = 8192,	 /* entries in a row that may not be evicted, then it gives up */
	CLOCK_MS = 50,		 /* how often the clock is read anew */
	DUE_SCAN_MS = 1000,	 /* how often the database is asked for due processes */
	TICK_MS_MAX = 500,
};

/* A frame that waits, or is being applied. */
struct queued {
	struct queued *next;
	struct frame frame; /* body borrowed, or owned when kept */
	struct mono came;
	size_t at;     /* DATA: the next record in the body */
	uint32_t left; /* DATA: records not yet applied */
	bool counted;  /* DATA: its bytes are in a batch */
	size_t ask_at; /* DATA: the next record whose process is to be asked for ahead */
	uint32_t ask_left;
};

struct item {
	struct record rec;
	uint8_t key[STATE_KEY_BYTES];
	struct place *place;
	uint32_t entry; /* ENTRY_NONE: new, or not of a process */
	bool drop;	/* below its range's position */
	size_t end;	/* where its record ends in the frame */
};

struct chunk {
	struct item items[CHUNK_RECORDS];
	struct value fields[CHUNK_RECORDS][FIELDS_MAX];
};

struct flight { /* a batch sent and not committed */
	int64_t n;
	struct mono oldest;
	bool last;
	struct batch_counts counts;
};

struct order { /* for sorting what changed */
	uint64_t prefix;
	uint32_t entry;
};

/* What is to be asked of the database. */
struct plan {
	uint32_t *keys; /* entries, kind ENTRY_ASKED, not sent yet; a ring */
	uint32_t head, n, cap;
	uint32_t asked; /* entries of kind ENTRY_ASKED */
	struct lookup_query query;
	bool may_have; /* the database may have states of this shard */
	bool newest_asked;
	bool known;    /* the filter is complete */
	unsigned slot; /* of the filter's building */
	uint32_t page;
	int64_t due_us, due_to_us; /* asked up to here; the scan under way goes to due_to_us */
	uint8_t due_key[STATE_KEY_BYTES];
	bool scanning;
	struct mono due_next;
	unsigned turn;
};

enum shard_phase { SHARD_RUNS, SHARD_LAST, SHARD_CLOSED, SHARD_DONE };

struct shard {
	struct shard_setup is;
	const struct model *m;
	struct process_layout *layout;
	struct expr_run_state expr;
	struct value *inputs; /* EXPR_INPUTS_MAX */
	struct entries entries;
	struct due due;
	struct filter filter;
	struct clock clock;
	struct ranges ranges;
	struct batch batch;
	struct batch_rules rules;
	struct plan plan;
	struct pack_reader reader, ahead;
	struct chunk *chunk;
	struct record spare; /* for looking ahead */
	struct value *spare_fields;
	struct order *order;
	uint32_t order_cap;
	struct queued *head, **tail;
	uint64_t queued;
	struct flight flights[BATCHES_UNCOMMITTED_MAX];
	unsigned flights_n;
	int64_t committed;
	enum shard_phase phase;
	unsigned lasts; /* ingests that have said LAST */
	bool claimed;	/* with an exchange: CLAIM has passed */
	bool owned;
	/*
	 * With an exchange: a part of a frame is applied. How far its partitions were read is only
	 * told at its end, so no batch closes inside.
	 */
	bool within;
	uint8_t hash_key[HASH_KEY_BYTES];
	uint32_t shard;
	int64_t epoch;
	bool evt[SOURCES_MAX]; /* some table takes this source's events */
	bool raw[SOURCES_MAX]; /* a raw table does, also those that are not folded */
	int64_t
	    clock_us; /* what processes are judged by; CLOCK_END in the last turn of run --close */
	int64_t forget_us; /* what they are forgotten by: never the end of time */
	int clock_holder;
	struct mono clock_next;
	struct mono last_at; /* when SHARD_LAST began, the end of the clock's time */
	int64_t last_wall_us;
	size_t cache_bytes, cache_max; /* of processes and entries */
	uint32_t hand;
	uint64_t progress;
	struct mono now;
	int64_t wall_us;
};

/* apply.c */
/* APPLY_FULL: the batch must close before more of it is folded. */
enum apply_result { APPLY_DONE, APPLY_WAITS, APPLY_FULL, APPLY_BROKEN };
enum apply_result apply_data(struct shard *s, struct queued *q, struct err *e);
void apply_ask_ahead(struct shard *s, struct queued *q);
bool apply_place(struct shard *s, const struct partition *p, struct err *e);
void apply_clock(struct shard *s, const struct place *p); /* a place that is new to the clock */

/* close.c */
void close_batch(struct shard *s, bool last);

/* plan.c */
void plan_init(struct shard *s, bool state_empty);
void plan_free(struct shard *s);
void plan_key(struct shard *s, uint32_t entry); /* an entry to look up: becomes ENTRY_ASKED */
bool plan_is_new(const struct shard *s, const uint8_t key[static STATE_KEY_BYTES]);
void plan_turn(struct shard *s);	   /* sends the next query, when one can be taken */
bool plan_due_done(const struct shard *s); /* every due process up to clock_us is in memory */

/* cache.c */
uint32_t cache_add(struct shard *s, const uint8_t key[static STATE_KEY_BYTES], uint32_t kg,
		   enum entry_kind kind);
void cache_process(struct shard *s, uint32_t entry, struct process *p); /* becomes ENTRY_PROCESS */
void cache_forget(struct shard *s, uint32_t entry);		    /* becomes ENTRY_TOMBSTONE */
void cache_touch(struct shard *s, uint32_t entry, unsigned change); /* into the open batch */
void cache_due(struct shard *s, uint32_t entry, int64_t at_us);	    /* when the clock changes it */
void cache_evict(struct shard *s);
void cache_free(struct shard *s);

#endif
