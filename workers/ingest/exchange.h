/*
 * exchange: the topic that records go to in place of lanes (DESIGN 12): its partition is the key
 * group, its header says where the record comes from. Idempotent and without gaps: what is
 * delivered of a key group is always a beginning of what was handed over, which the lanes' marks
 * rely on. So the first delivery that fails ends this worker, and its successor reads again from
 * what the sources' groups know. And no record may be given up while others go on: librdkafka never
 * does, whatever message.timeout.ms says; we do, as a whole. Each record names the one before it,
 * so that the lanes find a gap, wherever it came from.
 */
#ifndef INGEST_EXCHANGE_H
#define INGEST_EXCHANGE_H

#include <poll.h>

#include "buf.h"
#include "flight.h"
#include "model.h"

struct exchange_out {
	const struct model *model;
	/* As in struct source_setup; during open. */
	bool (*secret)(void *ctx, const char *name, struct buf *out);
	void *secret_ctx;
	struct flights *flights; /* borrowed until close */
};

struct exchange_record {
	uint32_t group;	    /* key group */
	const char *source; /* its name */
	const char *label;  /* of the source's partition */
	size_t label_len;
	int64_t offset;
	/* Of the record of its partition that went to this group before it; -1: none by us. */
	int64_t before;
	uint64_t layout;	 /* wire_layout of its source */
	const struct buf *bytes; /* as wire_record_write writes them; copied */
	uint32_t partition;	 /* of struct flights */
};

struct exchange_pipe;

/* Begins to connect. EXIT_CONFIG: a property that librdkafka does not take. */
MUSTCHECK bool exchange_open(const struct exchange_out *out, struct exchange_pipe **x,
			     struct err *e);
void exchange_close(struct exchange_pipe *x); /* does not wait for deliveries; NULL is fine */

/*
 * Once a turn: takes delivery reports, looks for the topic until it is there. False: a delivery has
 * failed (EXIT_UNAVAILABLE), or the topic is not one for this pipeline (EXIT_CONFIG).
 */
MUSTCHECK bool exchange_serve(struct exchange_pipe *x, struct mono now, struct err *e);

/* The topic is there and has a partition for each key group. */
bool exchange_ready(const struct exchange_pipe *x);

/* A larger record is not to be sent: the broker would refuse it. */
size_t exchange_bytes_max(const struct exchange_pipe *x);

/* Only while ready. False: as exchange_serve. */
MUSTCHECK bool exchange_send(struct exchange_pipe *x, const struct exchange_record *r,
			     struct mono now, struct err *e);

/* Why nothing is delivered, for people; NULL when all is well. Borrowed until the next call. */
const char *exchange_trouble(struct exchange_pipe *x, struct mono now);

/* Becomes ready when exchange_serve has something to do. */
int exchange_fd(const struct exchange_pipe *x);

#endif
