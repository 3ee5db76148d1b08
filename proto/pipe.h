/*
 * pipe: the data pipes of one worker: ZeroMQ PUSH/PULL over ipc://, one pair of sockets per edge,
 * the edges from roles.c. Names carry the generation, so a frame of another generation cannot
 * arrive by name; the head is checked all the same. Pipes have no high-water mark and never block;
 * what bounds them is ingest's credit (inflight_bytes_max). Delivered means: the receiver took the
 * frame from its socket; it does not mean processed, and nothing is acknowledged here (COMMITTED
 * is).
 *
 * A receiver that sees another version, generation, sender, a gap in seq, a frame type its edge
 * does not list, or a wrong length fails pipe_recv: the worker must exit, the generation ends. One
 * thread. Created after exec and sandbox, never before a fork.
 *
 * Pipes to and from a role that restarts alone (EDGE_PEER) are none of pipes_open's: they are made,
 * and made anew, by pipes_peer, under names that carry generation and incarnation. What was under
 * way in the old ones is lost, and known to be: whoever asked asks again after pipes_peer.
 */
#ifndef PROTO_PIPE_H
#define PROTO_PIPE_H

#include "roles.h"
#include "wire.h"

struct pipes;

struct pipes_setup {
	const char *dir; /* of the sockets; the path must leave room in sockaddr_un */
	enum role role;
	unsigned index;
	uint32_t generation;
	unsigned count[ROLE_MAX]; /* how many workers of each role there are */
};

/* Binds every pipe this worker receives on. The caller frees with pipes_close. */
MUSTCHECK bool pipes_open(const struct pipes_setup *setup, struct pipes **out, struct err *e);

/* Connects every pipe it sends on; after GO, when all receivers have bound. */
MUSTCHECK bool pipes_connect(struct pipes *p, struct err *e);

void pipes_close(struct pipes *p);

/*
 * The role that restarts alone now lives as `incarnation` (from 1), the data workers as
 * `generation`: closes the pipes to and from it and makes new ones, in which seq begins at 1. A
 * frame of the old ones, also one that has arrived and was not taken, is never seen. False with
 * EXIT_BUG: neither number has risen or one has fallen, or we have no edge with that role.
 */
MUSTCHECK bool pipes_peer(struct pipes *p, enum role role, uint32_t incarnation,
			  uint32_t generation, struct err *e);

/* Whether pipes to this role are there: before the first pipes_peer, pipe_send to it is a bug. */
bool pipe_peered(const struct pipes *p, enum role to);

/*
 * Sends. body: the frame's bytes were appended to *body after pipe_body_start, which reserves the
 * head's room; the pipe takes the bytes over and leaves *body empty.
 */
void pipe_body_start(struct buf *body);
void pipe_send(struct pipes *p, enum role to, unsigned index, enum frame_type type, uint16_t flags,
	       uint32_t count, struct buf *body);
size_t pipe_body_bytes(const struct buf *body); /* so far, without the head */

struct frame {
	struct frame_head head;
	enum role from;
	unsigned from_index;
	const uint8_t *body; /* borrowed until frame_release */
	void *msg_;
};

enum pipe_result { PIPE_FRAME, PIPE_EMPTY, PIPE_BROKEN };

/*
 * Takes the next frame that is there, fairly over the edges; never waits. The caller releases it.
 */
enum pipe_result pipe_recv(struct pipes *p, struct frame *f, struct err *e);
void frame_release(struct frame *f);

/* Sends the same body on to another worker without decoding it; f stays the caller's. */
void pipe_forward(struct pipes *p, enum role to, unsigned index, const struct frame *f);

/*
 * Waits until a frame, one of `fds` (poll(2) semantics, results in revents), or the deadline. True
 * when a frame may be there.
 */
struct pollfd;
bool pipes_wait(struct pipes *p, struct pollfd *fds, unsigned fds_n, int timeout_ms);

/* Bytes sent and received so far, for metrics. */
struct pipe_counts {
	uint64_t sent_frames, sent_bytes, received_frames, received_bytes;
};
struct pipe_counts pipe_counts(const struct pipes *p);

#endif
