/*
 * source: what a kind of source (kafka.c, rabbit.c, file.c) offers to ingest's core. A kind is one
 * struct literal at the end of its file and one row in source_kinds (source.c). One driver object
 * serves one source of the pipeline file; all calls come from the worker's only thread.
 *
 * No call may block for longer than SOURCE_BLOCK_MS_MAX: connecting, metadata and closing are done
 * in steps, from poll, or by threads of the library's own.
 *
 * Life:  open -> (poll, discover, watch, next: for ever) -> close
 *        discover names a slot -> start(slot) by the core, if this ingest owns it and ids are known
 *        -> events of the slot come from poll -> pause/resume/committed at any time -> close
 * A slot is the driver's own number of a partition, from 0 in order of discovery, stable until
 * close. Nothing is read of a slot that was not started, so another ingest may read it.
 *
 * Durable partitions: offsets rise strictly within a slot, holes are allowed. Transient ones
 * (queues): `offset` is the ticket: the driver numbers deliveries 1, 2, 3 ... over the whole life
 * of the driver, also across its own reconnections. Tickets of a lost channel can no longer be
 * acked: committed() of them is ignored, the broker delivers those messages again under new
 * tickets.
 */
#ifndef INGEST_SOURCE_H
#define INGEST_SOURCE_H

#include <poll.h>

#include "metric.h"
#include "model.h"
#include "mono.h"
#include "wire.h"

enum {
	SOURCE_BATCH_MAX = 1000, /* events of one poll */
	SOURCE_BLOCK_MS_MAX = 100,
	SOURCE_SLOTS_MAX = 1 << 20, /* more partitions of one source are refused */
	SOURCE_FDS_MAX = 4,	    /* descriptors one driver may ask to be watched */
	SOURCE_TROUBLE_MAX = 256,   /* bytes of a driver's trouble text */
};

enum {
	SOURCE_POSITION_NONE = -1,  /* start: no position of the slot was ever committed ... */
	SOURCE_POSITION_FIRST = -2, /* ... but of another slot of the source: skip nothing */
};

/* Borrowed by open until close, `secret` and `secret_ctx` only during open. */
struct source_setup {
	const struct model *model;
	const struct source *source; /* of model->sources */
	unsigned index;		     /* its index there: label of metrics */
	unsigned ingest, ingests;    /* this worker among its likes: limits are shared */
	struct metric_page *page; /* the driver counts METRIC_SOURCE_ERRORS; the core all others */
	bool origins;	       /* kafka: an exchange topic, its events say where they come from */
	bool bounded;	       /* read each slot to the end it had when it was found */
	int64_t until_wall_us; /* bounded: what arrived later (broker time) need not be read */
	/* A secret by its conf.h name ("sources.offer.rabbitmq.url"), appended; false: not given.
	 */
	bool (*secret)(void *ctx, const char *name, struct buf *out);
	void *secret_ctx;
};

struct source_found {
	unsigned slot;
	enum partition_kind kind;
	uint32_t number; /* Kafka's partition number, else 0 */
	const char
	    *label;	  /* identity of the partition (wire.h); borrowed until the next discover */
	size_t label_len; /* at most PARTITION_LABEL_MAX */
};

struct source_event {
	unsigned slot;
	int64_t offset;	  /* durable: its offset; transient: its ticket */
	const char *data; /* payload; NULL with len 0 is an empty event */
	size_t len;
	bool redelivered; /* queues: the broker says it was delivered before */
	bool has_broker_time;
	int64_t broker_time_us; /* microseconds since 1970: Kafka's timestamp, AMQP's timestamp
				   property */
	const char *identity;	/* queues: message-id; NULL when the message has none */
	size_t identity_len;
	/*
	 * Not NULL: the driver could not get at the event's payload (a line over event_bytes_max, a
	 * broken record); the event becomes a dead letter with this reason. data is then what there
	 * is of it, for the digest. A text without values of the event.
	 */
	const char *reason;
	/*
	 * With origins: source, partition's label and offset that the event had before the
	 * exchange; NULL: its header does not say so.
	 */
	const char *from_source, *from_label;
	size_t from_source_len, from_label_len;
	int64_t from_offset;
	/* Of the record of the same partition that its ingest sent here before; -1: none. */
	int64_t from_before;
	uint64_t from_layout; /* wire_layout of its source where it was written */
	bool replayed;	      /* a dead letter sent again (replay.c alone): rid is its identity */
	uint8_t rid[RID_BYTES];
};

struct source_frontier {
	int64_t next;	/* every event below was handed over by poll, or does not exist */
	bool caught_up; /* the source had nothing more of this slot when it was last asked */
	bool finished; /* bounded: the end is reached; or a file that cannot grow: nothing comes any
			  more */
	uint64_t backlog; /* events known to wait behind next; 0 when unknown; for metrics and
			     progress */
	int64_t waits_us; /* broker time of the first event behind next; 0: none, or not known */
	/* A finished durable slot that no later run need read: told to load as DONE (files only).
	 */
	bool done;
	int64_t done_bytes; /* size of the finished file, compared when it is met again */
};

struct source_kind_ops {
	/*
	 * Begins to connect, does not wait for it. A driver that cannot ever work (bad property, no
	 * such kind of URL, a path that may not be read) fails with a code of err.h. *out is closed
	 * with close.
	 */
	bool (*open)(const struct source_setup *setup, void **out, struct err *e);

	/*
	 * Partitions found and not yet told, at most max. Cheap when there are none. *listed: the
	 * first listing is complete (in a bounded run, nothing is found after it).
	 */
	bool (*discover)(void *self, struct source_found *out, unsigned max, unsigned *n,
			 bool *listed, struct err *e);

	/*
	 * Read the slot from `next` on (SOURCE_POSITION_NONE: a first start; Kafka: earliest or
	 * latest as the source says, otherwise 0; FIRST: earliest). Transient slots always get
	 * NONE. A position that is not there any more (retention, a shorter file, a re-created
	 * topic) is a loss: trouble, never a silent skip.
	 */
	bool (*start)(void *self, unsigned slot, int64_t next, struct err *e);

	/* In place of start: read to its end in an earlier run; complains loudly when it changed.
	 */
	bool (*done)(void *self, unsigned slot, int64_t next, int64_t bytes, struct err *e);

	/*
	 * Does what is due (connect, heartbeats, look for new partitions) and hands over at most
	 * max events that are there; max 0: only what is due. Never waits for events. Payloads,
	 * identities and reasons are borrowed until the next poll or close of this driver. false:
	 * this worker cannot go on.
	 */
	bool (*poll)(void *self, struct mono now, struct source_event *events, unsigned max,
		     unsigned *n, struct err *e);

	/* As of the last poll's return; slot was started. Cheap: asked for each slot after each
	 * poll. */
	void (*frontier)(void *self, unsigned slot, struct source_frontier *out);

	/*
	 * Paused: after this call no poll hands over events of the slot, until resumed; resuming
	 * goes on at the frontier. Idempotent, and called often (alignment): it keeps what was
	 * fetched. A queue stops its consumer; connections stay served.
	 */
	void (*pause)(void *self, unsigned slot, bool paused);

	/*
	 * Everything of the slot below next is durable in every lane. Kafka: commit to the group
	 * (asynchronously), queues: ack up to ticket next - 1, files: nothing. next rises.
	 */
	void (*committed)(void *self, unsigned slot, int64_t next);

	/* Descriptors that become ready when poll has something to do; at most SOURCE_FDS_MAX. */
	unsigned (*watch)(void *self, struct pollfd *fds, unsigned max);

	/* When poll wants to be called even if no descriptor is ready; mono_never() when it need
	 * not. */
	struct mono (*next)(void *self);

	/*
	 * Why this source does not deliver (broker unreachable, loss alarm), for people, without
	 * secrets; NULL when all is well. Borrowed until the next call. Shown as WAIT_SOURCE;
	 * repeated attempts are the driver's.
	 */
	const char *(*trouble)(void *self);

	/* Sends what was told by committed(), waits for it at most SOURCE_BLOCK_MS_MAX, frees all.
	 */
	void (*close)(void *self);
};

extern const struct source_kind_ops source_kafka, source_rabbitmq, source_file;

/* The registry: by enum source_kind. */
const struct source_kind_ops *source_kind_ops(enum source_kind kind);

#endif
