/*
 * skel_private: what the two halves of the skeleton share: skel.c (lifecycle), skel_channel.c (fd
 * 3).
 */
#ifndef WORKERS_LIB_SKEL_PRIVATE_H
#define WORKERS_LIB_SKEL_PRIVATE_H

#include "sandbox.h"
#include "skel.h"

struct skel_peer { /* of the last PEER; zeros: none is due */
	uint32_t incarnation, generation;
};

struct skel {
	const char *subject; /* "ingest.0" */
	int slice_fd;
	size_t slice_bytes;
	char dir[sizeof((struct ctl_frame *)0)->config.dir];
	bool configured, started, opened, going, gone; /* gone: EOF on the channel */
	bool turned;				       /* the first turn after GO is done */
	bool peers_due;
	struct skel_peer peers[ROLE_MAX];
	struct mono stats_at, stats_due;
	enum worker_wait told;	    /* wait of the last STATS */
	struct pipe_counts counted; /* what the page has seen of pipe_counts */
};

/* Up. What must arrive waits a little for room; STATS is gossip and does not. */
void channel_hello(struct worker *w);
void channel_ready(struct worker *w, const struct sandbox_report *report);
void channel_bye(struct worker *w);
void channel_stats(struct worker *w, struct mono now); /* and when the next one is due */

/* Down: takes what is there; stops behind START, so that the birth goes on in order. */
MUSTCHECK bool channel_read(struct worker *w, struct err *e);

/* Adds to the metric page what the pipes have counted since the last time. */
void counts_add(struct worker *w);

#endif
