/*
 * chan: a child's control channel, seen from the supervisor: frames out, and frames in as events of
 * the policy. What comes up is gossip: it is checked, copied into the child's row, and believed no
 * further.
 */
#ifndef SUPERVISOR_CHAN_H
#define SUPERVISOR_CHAN_H

#include "child.h"
#include "gather.h"

/* What all workers of a start are told alike. */
struct chan_setup {
	const struct gather *gather;
	const struct model *model;
	const char *dir, *instance;
	const char *handoff; /* "": none in particular */
	const uint8_t *root; /* of the policy, ROOT_BYTES; NULL: what the database says */
	unsigned count[ROLE_MAX];
	bool bounded, close, accept_dead, take_over;
	int64_t until_wall_us;
	int listen_fd, board_fd;
	const struct child *children; /* whose pages status is given */
	unsigned children_n;
};

/* CONFIG, the descriptors its role needs, START. *e.code tells whether a restart can help. */
MUSTCHECK bool chan_configure(struct child *c, const struct chan_setup *s, struct err *e);

MUSTCHECK bool chan_send(struct child *c, enum ctl_type type, struct err *e); /* GO, DRAIN */

/* PEER: how the role that restarts alone, and the data workers, live now. */
struct peering;
MUSTCHECK bool chan_peer(struct child *c, enum role alone, const struct peering *p, struct err *e);

struct chan_event {
	enum child_event event;
	int code;      /* of BYE */
	char why[512]; /* of BYE, or of the breach */
};

/*
 * Takes one frame. False: nothing there now (an EOF closes c->sock: the exit follows). may_end: BYE
 * 0 is right at this time. What STATS and READY say is in *c already.
 */
MUSTCHECK bool chan_read(struct child *c, bool may_end, struct chan_event *out);

#endif
