/*
 * replay: dead letters that are sent again (`weir dead replay`). A socket beside the pipes, served
 * by ingest 0, not in a bounded run:
 *
 *   request  u32 length of what follows | u16 length of the label, source label | rid 16 | event
 *   answer   u32 length of what follows | rid 16 | u8 code | text for people, without values
 *
 * big-endian. Who may connect, the socket's permissions say (its owner and root). An event goes the
 * way of all events, on a transient partition PARTITION_DEAD of its source, under the rid that is
 * given. Answers come as events are committed, in no order.
 *
 * Bounded: REPLAY_CLIENTS connections, REPLAY_PENDING events without an answer; beyond that it is
 * not read. A client that breaks the form is cut off.
 */
#ifndef INGEST_REPLAY_H
#define INGEST_REPLAY_H

#include <poll.h>

#include "ingest.h"

enum {
	REPLAY_CLIENTS = 4,
	REPLAY_PENDING = 256,
	REPLAY_HEAD_BYTES = 4,
	REPLAY_BYTES_MAX = TEXT_BYTES_MAX + 1024, /* what can be sealed as a body, and its names */
	REPLAY_ANSWERS_MAX = 1 << 20,		  /* bytes a client has not taken: it is cut off */
};

enum replay_code { REPLAY_COMMITTED, REPLAY_DEAD, REPLAY_REFUSED };

struct replay;

/* Binds; before the sandbox. */
MUSTCHECK bool replay_open(const char *dir, struct replay **out, struct err *e);
void replay_close(struct replay *r); /* NULL is fine */

unsigned replay_watch(const struct replay *r, struct pollfd *fds, unsigned max);

/* Accepts, reads and passes events on as far as it may, writes answers. */
void replay_step(struct ingest *in, int64_t now_wall_us, struct mono now);

/* An event of ours went to a lane, or is a dead letter again (then nothing is sent). */
void replay_routed(struct ingest *in, const struct ingest_partition *part, int64_t ticket,
		   unsigned lane);
void replay_dead(struct ingest *in, const struct ingest_partition *part, int64_t ticket,
		 const char *reason);

/* The lane has committed: what it took is answered. */
void replay_committed(struct ingest *in, const struct ingest_partition *part, unsigned lane);

#endif
