/*
 * ingest: the state of one ingest worker, shared by its main.c, reader.c (sources), events.c (one
 * event's way into a lane: decoded, sealed, routed), names.c (ids of partitions), replay.c (dead
 * letters sent again) and finish.c (how it ends).
 */
#ifndef INGEST_INGEST_H
#define INGEST_INGEST_H

#include "credit.h"
#include "decode.h"
#include "partitions.h"
#include "route.h"
#include "sealing.h"
#include "skel.h"
#include "source.h"

enum {
	RID_KEY_BYTES = 32,
	POLL_BYTES = 4 * 1024 * 1024, /* aimed at: payload of one poll */
	FOUND_MAX = 256,	      /* partitions taken from a driver in one turn */
	SERVE_MS = 50,		      /* how often sources are served while nothing may be read */
	BLOCKED_PAUSE_MS = 2000, /* nothing may be read for so long: sources are told to pause */
	ALIGN_EVERY_MS = 5,
	DONE_WAIT_MS = 500, /* no record under way: so long a bounded run's end waits for lanes */
};

struct driver {
	const struct source_kind_ops *ops;
	void *self;
	const struct source *source;
	bool listed; /* its first listing is complete */
	bool absent; /* what was not found in it has been told */
	bool troubled;
	uint64_t event_bytes; /* mean of the last poll: how many events the next may hand over */
	int64_t waits_us;     /* broker time of the oldest event that is not read; 0: not known */
};

enum ingest_phase {
	INGEST_WAITING, /* for OWN of all lanes */
	INGEST_READING,
	INGEST_CLOSING, /* bounded: all is read and sent; finished files are being told */
	INGEST_LAST	/* FRAME_LAST is sent; waits until everything is committed */
};

struct ingest {
	struct worker *w;
	const struct model *m;
	unsigned sources_n;    /* that are read: an exchange is the model's last, and is not */
	struct outlet *outlet; /* NULL: records go to lanes */
	struct parts parts;
	struct credit credit;
	struct route route;
	struct decoder *decoder;
	struct driver drivers[SOURCES_MAX];
	bool timed[SOURCES_MAX]; /* events of the source have a time */
	bool troubled[SOURCES_MAX];
	struct source_event events[SOURCE_BATCH_MAX];
	struct decoded decoded;
	struct pack_reader reader;
	enum ingest_phase phase;
	unsigned wanted, asked; /* partitions without an id */
	bool starved;		/* no credit left */
	bool blocked;		/* that, or the keeper is waited for */
	bool paused_all;	/* sources were told, because it lasts */
	struct mono blocked_at, align_at, closing_at, committed_at;
	unsigned lanes_last; /* lanes whose last COMMITTED has come */
	uint8_t rid_key[RID_KEY_BYTES];
	bool has_rid_key;
	struct sealing *sealing; /* NULL: the pipeline seals nothing */
	struct replay *replay;	 /* NULL: dead letters are not sent again through us */
};

/* reader.c */
MUSTCHECK bool reader_open(struct ingest *in, struct err *e);
void reader_close(struct ingest *in);
MUSTCHECK bool reader_discover(struct ingest *in, struct mono now, bool *more, struct err *e);
/* One poll of each source. *more: something was read, come back at once. */
MUSTCHECK bool reader_poll(struct ingest *in, struct mono now, bool *more, struct err *e);
void reader_align(struct ingest *in, struct mono now);
void reader_trouble(struct ingest *in);
struct mono reader_next(const struct ingest *in);
unsigned reader_watch(const struct ingest *in, struct pollfd *fds, unsigned max);
/* Starts a READY partition, or tells its driver of a DONE one. */
MUSTCHECK bool reader_start(struct ingest *in, struct ingest_partition *part, struct mono now,
			    struct err *e);
/* A partition that no driver has. */
void reader_made_start(struct ingest *in, struct ingest_partition *part, struct mono now);
bool reader_may_read(const struct ingest *in);
/* Broker time of the oldest event known to wait unread in a source; 0: none is known. */
int64_t reader_waits_us(const struct ingest *in);
void reader_answer(struct ingest *in, const struct committed *c, unsigned lane);
bool reader_listed(const struct ingest *in);

/* events.c */
/* Events that waited for a person's secret and need not any more. *more: there may be others. */
void events_release(struct ingest *in, int64_t now_wall_us, struct mono now, bool *more);
MUSTCHECK bool event_take(struct ingest *in, unsigned source, const struct source_event *ev,
			  int64_t now_wall_us, struct mono now, struct err *e);

/* A dead letter sent again, of a partition that was made for it; ev->rid is its identity. */
void event_again(struct ingest *in, struct ingest_partition *part, const struct source_event *ev,
		 int64_t now_wall_us, struct mono now);

/* names.c */
void names_ask(struct ingest *in);
MUSTCHECK bool names_part(struct ingest *in, const struct frame *f, struct err *e);

/* finish.c */
void finish_done(struct ingest *in);
void finish_step(struct ingest *in, struct mono now);
bool finish_committed(struct ingest *in, unsigned lane, bool last, struct err *e);

#endif
