/*
 * roles: the roles table (roles.def) and the edges table as data that C can walk.
 */
#ifndef PROTO_ROLES_H
#define PROTO_ROLES_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

enum role {
#define ROLE(id, name, per, kind, uid, needs, words) ROLE_##id,
#include "roles.def"
#undef ROLE
	ROLE_MAX
};

enum role_per {
	ROLE_PER_ONE,
	ROLE_PER_INGESTS,
	ROLE_PER_LANES,
	ROLE_PER_KEEPS,	    /* one as soon as the pipeline seals, or has an exchange */
	ROLE_PER_HANDS,	    /* one as soon as it has hand-overs */
	ROLE_PER_EXCHANGES, /* one as soon as it has an exchange */
	ROLE_PER_MAX
};
enum role_kind { ROLE_KIND_DATA, ROLE_KIND_ALONE, ROLE_KIND_PARENT };

enum {
	NEED_SOURCES = 1 << 0,
	NEED_LOAD = 1 << 1,
	NEED_STATE = 1 << 2,
	NEED_TASK = 1 << 3,
	NEED_LISTEN = 1 << 4,
	NEED_PAGES = 1 << 5,
	NEED_PIPES = 1 << 6,
	NEED_NET = 1 << 7,
	NEED_FILES = 1 << 8,
	NEED_TOKENS = 1 << 9,
	NEED_SEALER = 1 << 10,
	NEED_KEEPER = 1 << 11,
	NEED_ROLE_KEY = 1 << 12,
	NEED_RELEASE = 1 << 13,
	NEED_HANDOFF = 1 << 14,
	NEED_EXCHANGE = 1 << 15,
	NEED_PEERS = 1 << 16,
};

enum {
	WEIR_UID_BASE =
	    64200, /* workers' uids and their common gid, where the supervisor is root */
	WEIR_GID = 64200,
	INGESTS_MAX = 8,
	LANES_MAX = 8,
};

struct role_row {
	const char *name;
	enum role_per per;
	enum role_kind kind;
	unsigned uid_offset;
	unsigned needs;
	const char *words;
};

extern const struct role_row role_rows[ROLE_MAX];

static inline const char *
role_name(enum role r)
{
	return role_rows[r].name;
}

/* ROLE_MAX when there is none of that name. */
enum role role_find(const char *name);

/*
 * Who may send to whom: the whole topology of data pipes. An edge that is not a row cannot be
 * opened; a frame type that is not in its row ends the receiver.
 *   EDGE_ALL   every sender of that role to every receiver
 *   EDGE_LANE  sender i to receiver i
 *   EDGE_PEER  as EDGE_ALL, to or from a role that restarts alone: its name carries that role's
 *              incarnation too, and it is made anew on a PEER control frame
 */
enum edge_span { EDGE_ALL, EDGE_LANE, EDGE_PEER };

struct edge {
	enum role from, to;
	enum edge_span span;
	uint32_t types; /* 1 << FRAME_* (wire.h) allowed on it */
};

extern const struct edge edges[];
extern const unsigned edges_n;

#endif
