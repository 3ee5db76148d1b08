/*
 * kafka_private: what kafka.c (the driver) and kafka_scout.c (its handles, and the thread that asks
 * the broker what would block) share, and kafka_member.c. rdkafka.h is included here alone; nobody
 * else includes this file.
 */
#ifndef INGEST_KAFKA_PRIVATE_H
#define INGEST_KAFKA_PRIVATE_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>

#include "source.h"

enum { TOPIC_BYTES_MAX = 249 };

enum slot_state {
	SLOT_FOUND,   /* not started: another ingest may read it */
	SLOT_WAITING, /* started; the next poll assigns it */
	SLOT_READING,
	SLOT_SUSPECT, /* the broker refused our position; the scout is asked */
	SLOT_ENDED    /* bounded: read to its end */
};

struct slot { /* a partition; its index is the partition's number */
	enum slot_state state;
	bool paused, at_end;
	bool late;	    /* found after the first listing */
	bool stored;	    /* started at a stored position */
	bool heard;	    /* the broker has answered for this position */
	int64_t first, end; /* offsets when it was found */
	int64_t next;	    /* frontier */
	int64_t high;	    /* newest end known */
	int64_t told, sent; /* committed(), and what of it went to the group */
	unsigned kick;	    /* SUSPECT: the scout's answer to this kick decides */
	unsigned looks;
	struct mono look_at;
	rd_kafka_message_t *peek; /* taken from the queue, not handed over yet; or NULL */
	int64_t waits_us;	  /* broker time of the last one looked at */
	rd_kafka_queue_t *queue;
	char *label;
};

struct range {
	int64_t first, end;
};

struct shared {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	unsigned kicks, answered;     /* asked for; of these, begun after and done well */
	rd_kafka_t *consumer;	      /* made by the scout once, ended by close */
	struct range *ranges;	      /* of the last good look, by partition number */
	unsigned ranges_n, listing_n; /* now; in the first listing (0: none yet) */
	unsigned errors;	      /* of the library, ever */
	unsigned failures;	      /* looks that failed in a row */
	char why[SOURCE_TROUBLE_MAX];
	char reason[SOURCE_TROUBLE_MAX]; /* the library's last word on its connections */
};

struct kafka {
	const struct source *source;
	struct metric_page *page;
	unsigned index;
	bool bounded, origins;
	uint64_t event_bytes_max, queue_bytes_max; /* the latter: of this source */
	rd_kafka_conf_t *conf;			   /* copied for each handle */
	rd_kafka_t *probe;			   /* the scout's, until there is a consumer */
	pthread_t scout;
	bool scouting;
	struct shared shared;
	int event; /* eventfd: a queue or the scout has something */

	rd_kafka_t *rk; /* shared.consumer, once seen */
	struct slot *slots;
	unsigned slots_n, told_n, turn, errors_seen;
	bool known_before; /* some partition was started at a stored position */
	bool more, dry;	   /* see kafka_next */
	struct mono kick_at, commit_at, peek_at;
	bool commit_due, commit_out;
	rd_kafka_queue_t *commits;
	rd_kafka_message_t *held[SOURCE_BATCH_MAX]; /* payloads lent by the last poll */
	unsigned held_n;
	char alarm[SOURCE_TROUBLE_MAX]; /* loss: the source is stopped */
	char trouble[SOURCE_TROUBLE_MAX * 2];
};

/*
 * The configuration that all handles of a source share, into k->conf: k->source and k->shared.lock
 * are set before. EXIT_CONFIG, EXIT_PERMISSION.
 */
MUSTCHECK bool kafka_conf_make(struct kafka *k, const struct source_setup *setup, struct err *e);
void kafka_conf_set(rd_kafka_conf_t *conf, const char *key, const char *value);

/*
 * Configuration, probe handle and scout thread. On failure *e says why (EXIT_CONFIG) and what was
 * begun is undone by scout_end, which is to be called in any case and waits at most SCOUT_ASK_MS.
 * The scout's consumer then is the caller's.
 */
MUSTCHECK bool scout_begin(struct kafka *k, const struct source_setup *setup, struct err *e);
void scout_end(struct kafka *k);

/*
 * Wants a fresh look; the answer to this kick is there when shared.answered has reached what is
 * returned.
 */
unsigned scout_kick(struct kafka *k);

/*
 * Sends what committed() told (at most once a second) and takes the answers; a failure costs
 * nothing.
 */
void group_serve(struct kafka *k, struct mono now);
void group_flush(struct kafka *k); /* the last of it, in close; waits at most 100 ms */

/* What was looked at is forgotten: it will be fetched again, or is not wanted. */
void peek_drop(struct slot *s);
void slot_unassign(struct kafka *k, unsigned slot);

/* The broker refused the slot's position: nothing is read of it until suspects_look knows more. */
void slot_suspect(struct kafka *k, unsigned slot, struct mono now);
void suspects_look(struct kafka *k, struct mono now); /* may set k->alarm: a loss */

#endif
