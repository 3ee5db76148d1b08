#include "peer.h"

uint32_t
peer_partners(enum role alone)
{
	uint32_t partners = 0;

	if (role_rows[alone].kind != ROLE_KIND_ALONE)
		return 0;
	for (unsigned i = 0; i < edges_n; i++) {
		if (edges[i].span != EDGE_PEER)
			continue;
		if (edges[i].from == alone)
			partners |= 1u << edges[i].to;
		if (edges[i].to == alone)
			partners |= 1u << edges[i].from;
	}
	return partners;
}

bool
peer_due(enum role alone, const struct child *children, unsigned n, struct peering *last)
{
	struct peering now = {0};
	uint32_t partners = peer_partners(alone);

	for (unsigned i = 0; i < n; i++) {
		const struct child *c = &children[i];
		bool up = c->state == CHILD_UP;
		if (c->role == alone && up)
			now.incarnation = (uint32_t)c->row.births;
		if (!(partners & 1u << c->role))
			continue;
		if (up)
			now.generation = c->generation;
		else if (!c->done)
			return false;
	}
	if (!now.incarnation || !now.generation ||
	    (now.incarnation == last->incarnation && now.generation == last->generation))
		return false;
	*last = now;
	return true;
}
