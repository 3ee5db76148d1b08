/*
 * peers: what other supervisors' status says, asked in the background: one thread for each name of
 * `peers:`, which asks every address that the name resolves to, again and again. What comes from
 * there is believed as little as what comes from anywhere: texts are cut and made printable
 * (answer.c), and every number has a bound.
 */
#ifndef STATUS_PEERS_H
#define STATUS_PEERS_H

#include "ctl.h"
#include "http_get.h"
#include "model.h"
#include "mono.h"

enum {
	PEER_ADDRESSES_MAX = 64,     /* of one name; what it has beyond them is not asked */
	PEER_BYTES_MAX = 256 * 1024, /* of one answer; it is read and freed as it ends, so that */
	PEER_BODIES_BYTES_MAX =	     /* all that are there at once come to 32 MiB at most */
	PEERS_MAX * HTTP_GETS_AT_ONCE * PEER_BYTES_MAX,
	PEER_DEPTH_MAX = 16,  /* of its nesting */
	PEER_REASONS_MAX = 4, /* why it is not ready: so many are kept */
	PEER_ASK_MS = 5000,   /* from one round to the next */
	PEER_STOP_MS = 2000,  /* what the threads have for ending */
};

struct peer_reason {
	char dependency[16], role[16], why[160];
};

struct peer_answer {
	unsigned peer;	  /* which of model->peers */
	char address[80]; /* IP:PORT; "": the name does not resolve */
	bool up;	  /* it answered, and for this pipeline; else why */
	char why[160];
	struct mono answered_at; /* us 0: never */
	/* up only */
	char instance[64], separation[16];
	bool ready, draining;
	uint32_t roles; /* 1 << ROLE_* that it bears */
	bool whole;	/* all that the pipeline has */
	uint32_t generation;
	double oldest_s, uptime_s;
	uint64_t events, committed, backlog, dead;
	struct peer_reason reasons[PEER_REASONS_MAX];
	unsigned reasons_n;
};

struct peers;

/* Starts to ask; of m nothing is kept. */
MUSTCHECK struct peers *peers_open(const struct model *m, struct err *e);
void peers_close(struct peers *p); /* NULL is fine */

/*
 * All answers as they are now, in the order of the names and of the addresses; never waits for a
 * peer. The caller frees *out. NULL and 0 when there is nothing yet.
 */
unsigned peers_take(struct peers *p, struct peer_answer **out);

/* An answer of /status read into *a; false: a->why says what is wrong with it (answer.c). */
MUSTCHECK bool peer_answer_read(const char *pipeline, const uint8_t *text, size_t n,
				struct peer_answer *a);

#endif
