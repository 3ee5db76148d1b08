/*
 * peer: when the pipes between data workers and a role that restarts alone must be made anew. Pure,
 * of the children's states; fleet sends what follows from it.
 */
#ifndef SUPERVISOR_PEER_H
#define SUPERVISOR_PEER_H

#include "child.h"

struct peering { /* what the workers were told last; zeros: nothing yet */
	uint32_t incarnation, generation;
};

/* 1 << role of those at the other ends of its peered edges; 0: it has none. */
uint32_t peer_partners(enum role alone);

/*
 * True when either side was born since `last` and both can take a PEER frame: the one that is alone
 * is up, and so is each partner that has not finished. *last is what to tell then.
 */
bool peer_due(enum role alone, const struct child *children, unsigned n, struct peering *last);

#endif
