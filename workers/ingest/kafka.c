/*
 * kafka: topics as sources. One consumer handle per source; partitions are assigned by hand, there is
 * no group membership (the group only receives our offsets, for everyone's lag tools).
 *
 * Each partition keeps a queue of its own. A paused one is simply not read: librdkafka's pause would
 * throw away what was fetched and fetch it again, and a shared queue would let one paused partition
 * stand before the others. The queues' bound is therefore per partition: kafka_queue_bytes_max
 * divided by all partitions of all Kafka sources.
 *
 * What would block (metadata, offsets) is asked by a thread, the scout: at the start, every
 * SCOUT_REST_MS, and when it is kicked. It also creates the consumer, once it knows how many
 * partitions share the bound. The scout touches `shared` under its lock and nothing else.
 */
#include "source.h"

#include <errno.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"

enum {
	SCOUT_ASK_MS = 1000,	/* one question to the broker; close waits at most for one */
	SCOUT_RETRY_MS = 500,	/* after a failure */
	SCOUT_REST_MS = 20000,	/* between looks for new partitions; promised: found within 30 s */
	SCOUT_FAILURES_TOLD = 2, /* failed looks in a row before people hear of it */
	COMMIT_EVERY_MS = 1000,	/* group offsets, for lag tools only */
	KICK_EVERY_MS = 50,	/* see kick_when_dry */
	SUSPECT_EVERY_MS = 2000, /* between looks at a position that the broker refused ... */
	SUSPECT_LOOKS = 2,	/* ... and how many must agree that the topic ends below it */
	QUEUE_KB_MIN = 64,
	SERVE_MAX = 100, /* callbacks and errors of one poll */
};

enum slot_state {
	SLOT_FOUND,   /* not started: another ingest may read it */
	SLOT_WAITING, /* started, to be assigned by the next poll */
	SLOT_READING,
	SLOT_SUSPECT, /* the broker refused our position */
	SLOT_ENDED    /* bounded: its end was handed over */
};

struct slot {
	enum slot_state state;
	bool paused, caught_up;
	bool first_listing; /* was there when the source was first listed */
	int64_t first, end; /* offsets when it was found */
	int64_t want;	    /* as given to start */
	int64_t next;	    /* frontier */
	int64_t high;	    /* newest end known */
	int64_t told, sent; /* committed() and sent to the group */
	struct mono look_at; /* SUSPECT: next look */
	unsigned looks;
	rd_kafka_queue_t *queue;
};

struct range {
	int64_t first, end;
};

struct shared { /* between the worker's thread and the scout */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	unsigned kicks;	   /* asked for */
	unsigned answered; /* kicks seen when the last successful look began */
	rd_kafka_t *consumer; /* created by the scout, once; closed by close */
	struct range *ranges;
	unsigned ranges_n;
	unsigned first_n; /* partitions of the first listing; 0: not listed yet */
	unsigned failures;
	char why[SOURCE_TROUBLE_MAX];
};

struct kafka {
	const struct source_setup *setup; /* only during open */
	const struct source *source;
	struct metric_page *page;
	unsigned index;
	bool bounded;
	unsigned sources_n; /* Kafka sources of the pipeline: they share the queues' bound */
	uint64_t queue_bytes_max;
	rd_kafka_conf_t *conf; /* of every handle; duplicated for each */
	rd_kafka_t *probe;     /* the scout's until the consumer is there */
	pthread_t scout;
	bool scouting;
	struct shared shared;
	int wake; /* eventfd: queues and scout */

	struct slot *slots;
	unsigned slots_n, turn;
	bool known_before; /* some partition was started at a stored position */
	bool more;	   /* events may wait in a queue that will not wake us again */
	bool dry;	   /* the last poll found nothing although something is behind */
	struct mono kick_at, commit_at;
	bool commit_dirty, commit_out;
	rd_kafka_queue_t *commits;
	rd_kafka_message_t *held[SOURCE_BATCH_MAX]; /* payloads lent by the last poll */
	unsigned held_n;
	char label[300]; /* of discover, in turn */
	char (*labels)[300];
	char reason[SOURCE_TROUBLE_MAX]; /* the library's last error */
	bool broken;		 /* ... until the scout succeeds */
	unsigned broken_kick;
	char alarm[SOURCE_TROUBLE_MAX];	 /* loss: this source is stopped */
	char trouble[SOURCE_TROUBLE_MAX];
};
