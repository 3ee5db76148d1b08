/*
 * relay: stands where ingest stands, behind the exchange (DESIGN 12). The consumer group gives this
 * replica its key groups, which are the partitions of the exchange; CLAIM tells each lane which of
 * them it is to own; OWN tells where each is to be read from; then records go to the lanes as they
 * came, with covers that speak of partitions of the exchange. What a record's own partition is
 * called is in the headers; its id is asked of load 0, like ingest's.
 *
 * groups.c has the key groups (pure but for sending), labels.c the ids of partitions, records.c the
 * way of a record.
 */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include "ingest/kafka_member.h"
#include "ingest/source.h"
#include "skel.h"

enum {
	RELAY_DELAY_MS = 10,  /* a record waits so long for others to its lane */
	RELAY_QUIET_MS = 250, /* without records, covers go so often */
	RELAY_SERVE_MS = 50,
	RELAY_FOUND_MAX = 256,
	RELAY_POLL_BYTES = 4 * 1024 * 1024,
	RELAY_SHARES = 8, /* frames that a lane's share of the credit holds at least */
};

/* A partition of any source, the exchange's own included. */
struct relay_partition {
	uint32_t id; /* 0: not known yet */
	uint16_t source;
	uint32_t number, label_len;
	char *label; /* owned */
	enum partition_kind kind;
	bool wanted, asked; /* its id */
	uint32_t told;	    /* 1 << lane: it knows the id */
	/* By key group: all events below are in, or on their way to the lane; owned, or NULL. */
	int64_t *marks;
};

struct labels {
	struct relay_partition **all; /* stable pointers; owned */
	uint32_t all_n;
	uint32_t *by_label, *by_id; /* open addressing: index + 1 */
	uint32_t map_n;
	unsigned wanted;
};

struct spent { /* bytes under way */
	int64_t to;
	uint64_t bytes;
	int64_t since_us; /* as unsent_since_us */
};

struct group {
	bool ours, found, started;
	bool stopped; /* its next record is of another pipeline file */
	unsigned lane;
	struct relay_partition *partition; /* of the exchange; NULL: OWN has not come */
	int64_t next, sent, committed;
	bool caught_up, sent_caught_up, has_time;
	int64_t time_max_us;
	int64_t waits_us;	 /* the exchange's time of the first record not read yet; 0: none */
	int64_t unsent_since_us; /* of the oldest in the lane's buffer; 0: there is none */
	uint64_t unsent_bytes;	 /* in the lane's buffer */
	struct spent *spent;	 /* oldest first, from spent_at */
	unsigned spent_at, spent_n, spent_cap;
};

struct relay_lane {
	struct buf body;
	uint32_t count;
	struct mono first_at, sent_at;
	bool owns, last, ended; /* OWN has come; LAST was sent; LAST is committed */
};

struct held { /* a record that waits for the id of its partition */
	struct held *next;
	struct source_event ev; /* texts follow, owned */
};

/* When the exchange got it; now, if it does not say so. */
static inline int64_t
event_since(const struct source_event *ev)
{
	return ev->has_broker_time && ev->broker_time_us > 0 ? ev->broker_time_us : wall_now_us();
}

struct relay {
	struct worker *w;
	const struct model *m;
	unsigned exchange; /* index of the source $exchange */
	unsigned lanes, lanes_own;
	struct source source; /* what the driver reads */
	struct member *member;
	const struct source_kind_ops *ops;
	void *driver;
	bool claimed, listed;
	unsigned found;
	struct group *groups; /* by key group */
	uint32_t *ours;	      /* key groups, ascending */
	unsigned ours_n, started;
	struct relay_lane lane[LANES_MAX];
	struct labels labels;
	struct cover *covers; /* scratch */
	struct pack_reader reader;
	struct value fields[FIELDS_MAX];
	uint8_t hash_key[HASH_KEY_BYTES];
	unsigned stopped; /* groups, and why the first of them is */
	char stopped_why[512];
	uint64_t layouts[SOURCES_MAX]; /* of our sources; 0: not asked for yet */
	struct source_event events[SOURCE_BATCH_MAX];
	struct held *held_first, *held_last;
	uint64_t held_n;
	uint64_t limit_bytes, used_bytes, event_bytes;
	int64_t before_us; /* since when something waited in an earlier life; 0: nothing did */
	size_t flush_bytes;
};

/* groups.c */
void groups_claim(struct relay *r, const uint32_t *owned, unsigned n); /* sends CLAIM */
MUSTCHECK bool groups_own(struct relay *r, unsigned lane, const struct own *o, struct err *e);
/* Starts reading what can be read by now. */
MUSTCHECK bool groups_start(struct relay *r, struct err *e);
MUSTCHECK bool groups_committed(struct relay *r, unsigned lane, const struct committed *c,
				struct err *e);
void groups_frontiers(struct relay *r);
/* A record of the group was put into its lane's buffer. */
void groups_routed(struct relay *r, struct group *g, const struct source_event *ev, size_t bytes,
		   struct mono now);
struct mono groups_flush(struct relay *r, struct mono now);
void groups_last(struct relay *r, struct mono now);
/*
 * Wall clock when the exchange got the oldest record of our key groups that is not committed,
 * whether it was read or not; 0: there is none, or nothing is known of those that are.
 */
int64_t groups_oldest(struct relay *r);
void groups_free(struct relay *r);

/* labels.c */
void labels_init(struct labels *n);
void labels_free(struct labels *n);
struct relay_partition *labels_find(const struct labels *n, uint16_t source, const char *label,
				    size_t len);
struct relay_partition *labels_id(const struct labels *n, uint32_t id);
struct relay_partition *labels_add(struct relay *r, uint16_t source, const char *label, size_t len);
void labels_want(struct relay *r, struct relay_partition *p);
void labels_ask(struct relay *r);
/* A partition's mark of a key group, to be read and to be set. */
int64_t *labels_mark(const struct relay *r, struct relay_partition *p, uint32_t kg);
/* Before anything of it goes to the lane. */
void labels_tell(struct relay *r, struct relay_partition *p, unsigned lane);
/* A partition of OWN, or of a PART ahead of it, of that lane. */
MUSTCHECK bool labels_told(struct relay *r, const struct partition *w, unsigned lane,
			   struct err *e);
MUSTCHECK bool labels_part(struct relay *r, const struct frame *f, struct err *e);

/* records.c */
MUSTCHECK bool record_take(struct relay *r, const struct source_event *ev, struct mono now,
			   struct err *e);
/* Those that waited for an id and need not any more. */
MUSTCHECK bool records_release(struct relay *r, struct mono now, struct err *e);
void records_free(struct relay *r);

#endif
