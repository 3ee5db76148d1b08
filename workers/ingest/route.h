/*
 * route: a buffer of records for each lane, and when it is sent. A frame carries the covers of
 * every partition whose frontier moved since the lane's last frame; they are taken at the moment of
 * sending, so they cover every record in the frame.
 *
 * Sent at its size (FRAME_BYTES_FLUSH, less where the credit is small), ROUTE_DELAY_MS after its
 * first record, or, without records, ROUTE_QUIET_MS after the last frame if a cover is due.
 */
#ifndef INGEST_ROUTE_H
#define INGEST_ROUTE_H

#include "credit.h"
#include "partitions.h"

enum {
	ROUTE_DELAY_MS = 10,
	ROUTE_QUIET_MS = 250,
	/*
	 * Frames that a lane's share of the credit holds at least: a frame that two batches share
	 * is paid back by the second, which must not wait for more meanwhile.
	 */
	ROUTE_SHARES = 8,
};

/*
 * Sends one DATA frame; takes the bytes of *body over. route.c knows no pipes, so that it can be
 * tested. start prepares an empty body (room for a head), bytes tells what a frame of it costs.
 */
struct route_out {
	void *ctx;
	void (*send)(void *ctx, unsigned lane, uint16_t flags, uint32_t count, struct buf *body);
	void (*start)(struct buf *body);
	size_t (*bytes)(const struct buf *body);
};

struct route {
	struct route_out out;
	struct parts *parts;
	struct credit *credit;
	struct cover *covers; /* scratch */
	uint32_t covers_max;
	size_t flush_bytes;
	struct route_lane {
		struct buf body;
		uint32_t count;
		struct mono first_at; /* when the first record was added */
		struct mono sent_at;  /* the last frame */
		bool last;	      /* FRAME_LAST was sent: nothing more */
	} lanes[LANES_MAX];
};

void route_init(struct route *r, const struct route_out *out, struct parts *parts,
		struct credit *credit);
void route_free(struct route *r);

/*
 * Adds a record to the lane of its key group. Afterwards the caller says part_routed, then calls
 * route_spill, in this order: a frame may only leave with a cover over all of its records.
 */
unsigned route_record(struct route *r, const struct record *rec, struct mono now);

/* Sends the lane if it is full. */
void route_spill(struct route *r, unsigned lane, struct mono now);

/* Sends what is due; returns when the next is. `all`: send everything now. */
struct mono route_flush(struct route *r, struct mono now, bool all);

/* Everything and FRAME_LAST to every lane. */
void route_last(struct route *r, struct mono now);

uint64_t route_queued(const struct route *r); /* records not sent yet */

#endif
