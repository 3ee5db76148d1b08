/*
 * skel: the only lifecycle of a worker. main() of a role is
 *
 *     int main(int argc, char **argv) { return skel_main(argc, argv, &ops); }
 *
 * with a struct literal of callbacks. Order, always: hello, config (slice read, model loaded),
 * descriptors, open (privileged: open files, start nothing), sandbox, start (threads, connections
 * may begin here), pipes bound, READY, GO, pipes connected, go, loop, drain, BYE, stop. All memory
 * is freed on the way out.
 *
 * The loop waits for pipe frames, for the worker's own descriptors (watch) and for the deadline
 * that tick returned; after each wake it hands over frames (at most 64 a turn), then calls tick.
 * STATS goes up every second by itself, so no callback may block for longer than about a second.
 *
 * EOF on fd 3: the supervisor is gone; the loop ends at once, nothing is sent, exit 0.
 */
#ifndef WORKERS_LIB_SKEL_H
#define WORKERS_LIB_SKEL_H

#include <poll.h>

#include "ctl.h"
#include "metric.h"
#include "model.h"
#include "mono.h"
#include "pipe.h"

enum { WATCH_MAX = 80, SECRETS_MAX = 64, KEYS_MAX = 64 };

struct worker {
	const struct worker_ops *ops;
	unsigned index;
	uint32_t generation;
	unsigned count[ROLE_MAX];
	char instance[64];
	bool bounded, accept_dead, take_over;
	bool close; /* bounded: finished partitions count as the end of time */
	int64_t until_wall_us;
	/*
	 * science: do this hand-over alone and end with skel_end(w, 0, "%s", RESULT), RESULT a JSON
	 * object in one line of at most 500 bytes; the supervisor prints it. "": each at its time.
	 */
	char handoff[NAME_BYTES_MAX + 1];
	bool has_root; /* the policy's root is told from outside: skel_root_check */
	uint8_t root[ROOT_BYTES];
	struct model *model;
	struct pipes *pipes;	  /* NULL for roles without NEED_PIPES */
	struct metric_page *page; /* never NULL */
	bool draining;
	void *state; /* the role's own, set by open */

	/*
	 * Descriptors by kind, -1 when not given. The skeleton closes login, keys and secrets after
	 * start.
	 */
	int login_fd, rid_key_fd, listen_fd, board_fd;
	struct {
		int fd;
		enum role role;
		unsigned index;
	} pages[BOARD_ROWS_MAX];
	unsigned pages_n;
	struct {
		int fd;
		char name[160];
	} secrets[SECRETS_MAX];
	unsigned secrets_n;
	/*
	 * Files of the keys directory: "policy", "sealer.key", "token-<domain>-<epoch>.key",
	 * "role-<role>-<epoch>.key"; all that this role's needs allow, in no order.
	 */
	struct {
		int fd;
		char name[160];
	} keys[KEYS_MAX];
	unsigned keys_n;

	/* Told to the supervisor with the next STATS. */
	uint64_t progress, queued;
	enum worker_wait wait;
	struct mono wait_since;
	char wait_why[256];

	/* Set by the role to leave the loop: skel_end(). */
	bool ending;
	int end_code;
	char end_why[ERR_TEXT_MAX];

	struct skel *skel; /* the skeleton's own */
};

struct worker_ops {
	enum role role;
	/* All may be NULL. false + *e ends the worker with e->code. */
	bool (*open)(struct worker *w, struct err *e);
	bool (*start)(struct worker *w, struct err *e);
	bool (*go)(struct worker *w, struct err *e);
	/*
	 * A frame that its edge lists. Decoding failure or protocol breach: panic is wrong, return
	 * false.
	 */
	bool (*frame)(struct worker *w, const struct frame *f, struct err *e);
	/* Fills fds (at most max), returns how many; called before each wait. */
	unsigned (*watch)(struct worker *w, struct pollfd *fds, unsigned max);
	/*
	 * After each wake; fds as filled by watch with revents. Returns when it wants to be called
	 * again.
	 */
	bool (*tick)(struct worker *w, struct mono now, struct mono *next, struct err *e);
	void (*drain)(struct worker *w); /* DRAIN arrived; w->draining is set */
	/*
	 * After go, whenever the pipes between data workers and a role that restarts alone were
	 * made anew (pipes_peer): what was asked and is not answered must be asked again.
	 */
	void (*peer)(struct worker *w);
	void (*stop)(struct worker *w); /* free everything; also after a failed open or start */
};

int skel_main(int argc, char **argv, const struct worker_ops *ops);

/* Leave the loop after this turn: code and reason go up with BYE. 0: done. */
void skel_end(struct worker *w, int code, const char *fmt, ...) PRINTF(3, 4);

/*
 * Waiting for a dependency, with a reason for people; skel_wait(w, WAIT_NOTHING, "") when it is
 * back.
 */
void skel_wait(struct worker *w, enum worker_wait wait, const char *fmt, ...) PRINTF(3, 4);

/* A unit of work was done. */
static inline void
skel_progress(struct worker *w)
{
	w->progress++;
}

/*
 * For a callback that must wait long for a dependency (load, while the server works on a commit):
 * call it at least every 250 ms meanwhile. Sends STATS when due and looks at fd 3; never waits.
 * False: the supervisor is gone or broke the protocol; return at once, the loop will end.
 */
MUSTCHECK bool skel_serve(struct worker *w);

/*
 * Whole contents of a descriptor from offset 0 (pread), at most max bytes; the caller frees *out.
 */
MUSTCHECK bool skel_read_fd(int fd, size_t max, struct buf *out, struct err *e);

/* The directory of the pipes' sockets, as it was told; borrowed. */
const char *skel_dir(const struct worker *w);

/* NEED_PEERS, there are peers, and no other worker lives under this supervisor: it may ask them. */
bool skel_asks_peers(const struct worker *w);

/* The descriptor of a key file by its name; -1: not given. It stays the skeleton's. */
int skel_key(const struct worker *w, const char *name);

/* EXIT_PERMISSION: --policy-root gave another root than this one, which the database pins. */
MUSTCHECK bool skel_root_check(const struct worker *w, const uint8_t root[static ROOT_BYTES],
			       struct err *e);

/* The secret of that name, without a trailing newline. false: not given. */
MUSTCHECK bool skel_secret(struct worker *w, const char *name, struct buf *out, struct err *e);

#endif
