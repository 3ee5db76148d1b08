/*
 * partitions: what ingest knows of every partition of the pipeline: its id, whether it is ours, how
 * far it was read, how far each lane was told (covers) and how far each lane has committed. Pure:
 * no pipes, no drivers, no clock of its own.
 *
 * The rule that everything hangs on (DESIGN 3): a cover [from, to) sent to a lane says that every
 * event of the partition below `to` that belongs to the lane has been sent to it. So `next` rises
 * only after an event has been routed, and covers are taken from `next` in the same frame as the
 * records, or later.
 */
#ifndef INGEST_PARTITIONS_H
#define INGEST_PARTITIONS_H

#include "mono.h"
#include "roles.h"
#include "source.h"
#include "wire.h"

enum part_state {
	PART_KNOWN,  /* told by OWN, its source has not shown it yet */
	PART_ABSENT, /* known, and its source was listed without it: told as caught up */
	PART_OTHERS, /* another ingest reads it */
	PART_WANTED, /* found, ours, its id is to be asked for */
	PART_ASKED,
	PART_READY,   /* has an id, is to be started */
	PART_READING, /* started */
	PART_DONE     /* read to its end in an earlier run, or told as DONE in this one */
};

struct part_lane {
	int64_t sent;	    /* `to` of the last cover */
	int64_t committed;  /* of COMMITTED, at first where reading began */
	int64_t stored_max; /* largest position of the lane's ranges at take-over */
	bool sent_caught_up, sent_finished;
};

struct ingest_partition {
	uint32_t id;	/* 0: not known yet */
	uint32_t index; /* in parts.all */
	uint16_t source;
	unsigned slot; /* of its driver; valid from PART_OTHERS on */
	enum part_state state;
	enum partition_kind kind;
	uint32_t number;
	char *label; /* owned */
	uint32_t label_len;
	bool was_known; /* to the lanes, from load: its PART need not be announced */
	bool was_done;	/* done_next and done_bytes hold */
	int64_t done_next, done_bytes;
	unsigned ranges_seen; /* ranges of OWN that have a position of it */
	int64_t position_min; /* over those */

	int64_t next; /* every event below has been routed, or does not exist */
	bool caught_up, finished, may_be_done;
	uint64_t backlog;
	bool has_time;
	int64_t time_max_us;
	struct mono moved_at; /* when next rose last, or when reading began */
	struct part_lane lanes[LANES_MAX];
	int64_t answered;     /* told to the driver as committed */
	bool aligned, paused; /* held back by align; as told to the driver */
	int64_t settle;	      /* nothing is read before all lanes have committed this position */
	bool made;	      /* of dead letters sent again: no driver has it */
	int64_t made_ticket;  /* the last one given */
	uint32_t held;	      /* its events that wait for a person's secret (hold.h) */
	bool done_told;
};

struct parts {
	struct ingest_partition **all; /* stable pointers; owned */
	uint32_t all_n;
	/* Those in PART_READING, and those in PART_ABSENT until that was told; borrowed. */
	struct ingest_partition **reading;
	uint32_t reading_n;
	uint32_t absent_n; /* of them in PART_ABSENT */
	struct ingest_partition **
	    *slots; /* [source][slot], NULL where a slot is not ours to read */
	uint32_t *slots_n;
	uint32_t *by_label, *by_id; /* open addressing: index + 1 into all */
	uint32_t map_n;
	unsigned lanes, sources;
	unsigned owns;	 /* lanes whose OWN has come */
	unsigned ranges; /* ranges in them */
	uint8_t hash_key[HASH_KEY_BYTES];
	uint8_t lane_of[GROUPS_MAX]; /* by key group */
	bool own_seen[LANES_MAX], group_owned[GROUPS_MAX];
	unsigned groups;
};

void parts_init(struct parts *p, const struct model *m, unsigned lanes);
void parts_free(struct parts *p);

/*
 * OWN of one lane. A breach (twice, other key, key group owned twice, unknown source) is an error.
 */
MUSTCHECK bool parts_own(struct parts *p, unsigned lane, const struct own *o, struct err *e);

/* A partition that OWN names, or a PART ahead of it. */
MUSTCHECK bool parts_told(struct parts *p, const struct partition *w, struct err *e);

/* All lanes have told what they own, and that is everything. */
bool parts_owned(const struct parts *p);

/*
 * A driver has found a slot. Decides by hash whether it is ours (ingest of ingests). Only after
 * parts_owned. The partition is returned: WANTED (ask its id), READY, DONE or OTHERS.
 */
MUSTCHECK bool parts_found(struct parts *p, unsigned source, const char *source_label,
			   const struct source_found *f, unsigned ingest, unsigned ingests,
			   struct ingest_partition **out, struct err *e);

/*
 * The transient partition of this label that no driver finds; always ingest 0's. READY, or WANTED
 * when it has no id yet. Once.
 */
struct ingest_partition *parts_made(struct parts *p, unsigned source, const char *label);

/* PART: an id. *out is ours and now READY or DONE, or NULL when we did not ask for it. */
MUSTCHECK bool parts_named(struct parts *p, const struct partition *w,
			   struct ingest_partition **out, struct err *e);

/* Where to start: the position for the driver's start, below 0 for a first start (source.h). */
int64_t part_start_position(const struct parts *p, const struct ingest_partition *part,
			    bool from_latest);

/*
 * READY to READING at a position (NONE: covers begin at 0, of a transient partition at ticket 1).
 */
void parts_start(struct parts *p, struct ingest_partition *part, int64_t position, struct mono now);

/*
 * A first start somewhere in the middle ("from: latest"): the first covers go up to there, and it
 * is read from there once they are committed. So a crash before finds that nothing was read, and
 * one after finds where to go on.
 */
void part_settle(struct ingest_partition *part, int64_t at);
bool part_settled(const struct parts *p, const struct ingest_partition *part);

/*
 * The source has been listed (source.h): its partitions that OWN told of and that were not found
 * are not there any more. Those that are ours get one cover, which moves nothing and says that they
 * are caught up (bounded: and finished), so that they hold no clock back. Found later after all,
 * they are read. Returns how many there are.
 */
struct absent_setup {
	const char *label; /* of the source */
	unsigned ingest, ingests;
	bool from_latest, bounded;
};
uint32_t parts_absent(struct parts *p, unsigned source, const struct absent_setup *is,
		      struct mono now);

/* Takes those whose cover every lane has been sent out of `reading`. */
void parts_absent_told(struct parts *p);

/* READING to DONE: leaves the covers. */
void parts_finish(struct parts *p, struct ingest_partition *part);

struct ingest_partition *parts_slot(const struct parts *p, unsigned source,
				    unsigned slot); /* NULL: not read here */
struct ingest_partition *parts_id(const struct parts *p, uint32_t id);

/* An event at offset has been routed. */
static inline void
part_routed(struct ingest_partition *p, int64_t offset, struct mono now)
{
	p->next = offset + 1;
	p->caught_up = false;
	p->moved_at = now;
}

static inline void
part_time(struct ingest_partition *p, int64_t time_us)
{
	if (!p->has_time || time_us > p->time_max_us)
		p->time_max_us = time_us;
	p->has_time = true;
}

/* The driver's frontier, after all events of its poll were routed. True when anything changed. */
bool part_frontier(struct ingest_partition *p, const struct source_frontier *f, struct mono now);

/* True when a cover of this partition is due to the lane. */
static inline bool
part_cover_due(const struct ingest_partition *p, unsigned lane)
{
	const struct part_lane *l = &p->lanes[lane];

	return p->next > l->sent || p->caught_up != l->sent_caught_up ||
	       p->finished != l->sent_finished;
}

bool part_covers_due(const struct parts *p, const struct ingest_partition *part); /* to any lane */

/* Takes the cover; afterwards none is due until something changes. */
struct cover part_cover_take(struct ingest_partition *p, unsigned lane);

/*
 * COMMITTED of a lane. Unknown ids are other ingests'. A position beyond what was sent is a breach.
 */
MUSTCHECK bool parts_committed(struct parts *p, unsigned lane, const struct committed *c,
			       struct err *e);

/* The smallest committed position over all lanes. */
int64_t part_committed_min(const struct parts *p, const struct ingest_partition *part);

#endif
