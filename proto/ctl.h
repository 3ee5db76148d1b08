/*
 * ctl: the control channel between supervisor and worker. Fixed-size frames; the supervisor
 * distrusts what comes up: length, type, direction and state are checked, a wrong one ends the
 * worker.
 */
#ifndef PROTO_CTL_H
#define PROTO_CTL_H

#include "roles.h"
#include "root.h"

enum {
	CTL_VERSION = 1,
	CTL_SOCKET = 3,
	CTL_BYTES = 1024,
	CTL_STATS_MS = 1000,  /* interval of STATS */
	CTL_HANG_MS = 5000,   /* no STATS for so long: killed */
	CTL_STUCK_MS = 60000, /* queued work without progress for so long: killed */
	/*
	 * BYE with this in place of an exit code: the generation is to begin anew, and nothing has
	 * failed (a consumer group has divided its partitions anew). No throttle, no strike.
	 */
	CTL_BYE_REBORN = 90,
};

enum ctl_type {
#define CTL(id, direction, words) CTL_##id,
#include "ctl.def"
#undef CTL
	CTL_TYPE_MAX
};

enum ctl_fd_kind {
	CTL_FD_LOGIN,  /* file with a DSN */
	CTL_FD_KEY,    /* a key file of the keys directory, or the rid key; the policy */
	CTL_FD_SECRET, /* a source's credential; name says which */
	CTL_FD_PAGE,   /* its own metric page, writable */
	CTL_FD_PAGES,  /* another worker's metric page, read-only (status) */
	CTL_FD_BOARD,  /* the supervisor's board: what status shows of the workers, read-only */
	CTL_FD_LISTEN,
	CTL_FD_KIND_MAX
};

/* What keeps a worker from going on; told in STATS, shown by status, used by run --wait. */
enum worker_wait { WAIT_NOTHING, WAIT_WAREHOUSE, WAIT_SOURCE, WAIT_PEERS, WAIT_MAX };

/* What keeps workers from each other's files and memory, the weakest first. */
enum separation {
	SEPARATION_NONE,
	SEPARATION_LANDLOCK,
	SEPARATION_UID,
	SEPARATION_BOTH,
	SEPARATION_MAX
};

struct ctl_frame {
	uint8_t version, type; /* CTL_VERSION, enum ctl_type */
	uint16_t role, index;
	uint32_t generation;
	union {
		struct {
			int32_t pid;
		} hello;
		struct {
			uint32_t slice_bytes;
			uint16_t count[ROLE_MAX];
			uint8_t bounded; /* run: read to a fixed end, then LAST */
			uint8_t accept_dead, take_over;
			uint8_t close; /* run --close: finished partitions are the end of time */
			int64_t until_wall_us; /* bounded: events that arrive later are not read */
			char dir[108];	       /* of the pipes' sockets */
			char instance[64];     /* name of this supervisor, for the instance row */
			char handoff[64];      /* science: this alone; "": each at its time */
			uint8_t has_root;      /* --policy-root: no other is believed */
			uint8_t root[ROOT_BYTES];
		} config;
		struct {
			uint16_t kind;
			uint16_t of_role, of_index; /* PAGES: whose */
			char name[160]; /* LOGIN: its name; KEY: its file's; SECRET: the secret's */
		} fd;
		struct {
			uint16_t of_role;     /* the role that restarts alone */
			uint32_t incarnation; /* of it */
			uint32_t generation;  /* of the data workers */
		} peer;
		struct {
			uint8_t separation;
			uint8_t seccomp, landlock;
		} ready;
		struct {
			uint64_t progress; /* rises with every unit of work done */
			uint64_t queued;   /* units waiting in this worker; 0: idle */
			uint16_t wait;	   /* enum worker_wait */
			int64_t wait_ms;   /* for how long */
			char why[256];	   /* of wait: limited, without values */
			uint8_t going;	   /* 1: has got GO and done its first turn */
		} stats;
		struct {
			int32_t code;
			char why[512];
		} bye;
		uint8_t bytes[CTL_BYTES - 16];
	};
};

_Static_assert(sizeof(struct ctl_frame) == CTL_BYTES, "control frames are of one size");

const char *ctl_name(enum ctl_type t);

/*
 * fd: -1 for none; it stays the caller's. Never blocks for long: the pair's buffer holds many
 * frames.
 */
MUSTCHECK bool ctl_send(int sock, const struct ctl_frame *f, int fd, struct err *e);

enum ctl_result { CTL_GOT, CTL_EMPTY, CTL_EOF, CTL_BROKEN };

/* Never waits. *fd is -1 or a received descriptor, close-on-exec, now the caller's. */
enum ctl_result ctl_recv(int sock, struct ctl_frame *f, int *fd, struct err *e);

/* Checks version, type, direction, and that texts end inside their arrays. Pure: fuzzed. */
MUSTCHECK bool ctl_check(const struct ctl_frame *f, bool up, struct err *e);

#endif
