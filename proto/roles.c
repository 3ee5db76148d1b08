#include "roles.h"

#include <string.h>

#include "wire.h"

#define ONE	  ROLE_PER_ONE
#define INGESTS	  ROLE_PER_INGESTS
#define LANES	  ROLE_PER_LANES
#define KEEPS	  ROLE_PER_KEEPS
#define HANDS	  ROLE_PER_HANDS
#define EXCHANGES ROLE_PER_EXCHANGES
#define DATA	  ROLE_KIND_DATA
#define ALONE	  ROLE_KIND_ALONE
#define PARENT	  ROLE_KIND_PARENT

const struct role_row role_rows[ROLE_MAX] = {
#define ROLE(id, name_, per_, kind_, uid_, needs_, words_)                                         \
	[ROLE_##id] = {.name = name_,                                                              \
		       .per = per_,                                                                \
		       .kind = kind_,                                                              \
		       .uid_offset = uid_,                                                         \
		       .needs = needs_,                                                            \
		       .words = words_},
#include "roles.def"
#undef ROLE
};

#define T(x) (1u << FRAME_##x)

/* The lane's frames travel one way; what load answers travels back on pipes of its own. */
#define LANE_FRAMES (T(OWN) | T(PART) | T(ASK) | T(BEGIN) | T(STATE) | T(DEAD) | T(DONE) | T(END))

const struct edge edges[] = {
    {ROLE_INGEST, ROLE_CORRELATE, EDGE_ALL, T(DATA) | T(PART) | T(ASK) | T(DONE)},
    {ROLE_RELAY, ROLE_CORRELATE, EDGE_ALL, T(CLAIM) | T(DATA) | T(PART) | T(ASK)},
    {ROLE_CORRELATE, ROLE_TRANSFORM, EDGE_LANE, LANE_FRAMES | T(CLAIM) | T(PROC) | T(EVT)},
    {ROLE_TRANSFORM, ROLE_LOAD, EDGE_LANE, (LANE_FRAMES & ~T(OWN)) | T(CLAIM) | T(ROWS)},
    {ROLE_LOAD, ROLE_CORRELATE, EDGE_LANE, T(PART) | T(OWN) | T(COMMITTED)},
    {ROLE_LOAD, ROLE_INGEST, EDGE_ALL, T(OWN) | T(PART) | T(COMMITTED)},
    {ROLE_LOAD, ROLE_RELAY, EDGE_ALL, T(OWN) | T(PART) | T(COMMITTED)},
    {ROLE_INGEST, ROLE_KEEPER, EDGE_PEER, T(KEYREQ)},
    {ROLE_KEEPER, ROLE_INGEST, EDGE_PEER, T(KEYANS)},
};

#undef T

const unsigned edges_n = sizeof edges / sizeof *edges;

enum role
role_find(const char *name)
{
	for (int i = 0; i < ROLE_MAX; i++)
		if (!strcmp(role_rows[i].name, name))
			return (enum role)i;
	return ROLE_MAX;
}
