/*
 * shard: what correlate does, without its sockets: frames go in, frames come out through the host.
 * Events are folded strictly in the order in which their frames arrived; a frame that needs states
 * from the database waits for them, and the frames behind it wait too, their keys being asked for
 * meanwhile. One thread; nothing in here blocks.
 */
#ifndef WORKERS_CORRELATE_SHARD_H
#define WORKERS_CORRELATE_SHARD_H

#include "lookup.h"
#include "metric.h"
#include "pipe.h"

struct shard;

/* The world outside. send takes the bytes (pipe_send); both go to transform. */
struct shard_host {
	void *ctx;
	void (*send)(void *ctx, enum frame_type type, uint16_t flags, uint32_t count,
		     struct buf *body);
	void (*forward)(void *ctx, const struct frame *f);
	/* Stored state: true when a query can be taken, and taking one. Answers: shard_answer. */
	bool (*lookup_idle)(void *ctx);
	void (*lookup_send)(void *ctx, const struct lookup_query *q);
};

struct shard_setup {
	const struct model *model; /* must outlive the shard */
	unsigned lanes, ingests;   /* ingests: who sends DATA; with an exchange the relay, one */
	bool bounded;
	bool close; /* bounded: the end of input is the end of time, deadlines fire */
	struct metric_page *page;
	struct shard_host host;
};

struct shard *shard_new(const struct shard_setup *setup);
void shard_free(struct shard *s);

/* Any frame that correlate receives. False: a breach of the protocol, the generation must end. */
MUSTCHECK bool shard_frame(struct shard *s, const struct frame *f, struct mono now, int64_t wall_us,
			   struct err *e);
MUSTCHECK bool shard_answer(struct shard *s, const struct lookup_answer *a, struct mono now,
			    struct err *e);

/* Everything that time brings: clock, due processes, queued frames, closing batches. */
MUSTCHECK bool shard_tick(struct shard *s, struct mono now, int64_t wall_us, struct mono *next,
			  struct err *e);

bool shard_done(const struct shard *s);	      /* the last batch is committed */
uint64_t shard_queued(const struct shard *s); /* frames that wait for nothing but this worker */
uint64_t
shard_progress(const struct shard *s); /* rises with every frame applied and batch closed */

#endif
