/*
 * hold: events of persons whose secret is not known yet, in order of arrival. An event enters when
 * its person is unknown, or when its partition has events here already, so a partition's order is
 * kept; others pass. A partition with events here has no frontier of its driver's: what its covers
 * say is what was routed, so they end exactly before the first event here, and it is neither caught
 * up nor finished.
 *
 * Bounded by HOLD_EVENTS_MAX and HOLD_BYTES_MAX: from there on sources are not read. Bytes are in
 * clear, so they are wiped when an event leaves.
 */
#ifndef INGEST_HOLD_H
#define INGEST_HOLD_H

#include "partitions.h"

enum {
	HOLD_EVENTS_MAX = 16384, /* beyond it nothing is read; one poll may still follow */
	HOLD_BYTES_MAX = 32 << 20,
};

struct held {
	struct held *next;
	struct ingest_partition *part;
	struct source_event event; /* its bytes are in bytes[] */
	bool has_sid;
	uint8_t sid[SUBJECT_ID_BYTES];
	size_t bytes_n;
	char bytes[];
};

struct hold {
	struct held *first, **last; /* oldest first; owned */
	uint32_t n;
	uint64_t bytes;
	uint64_t serial; /* of the subjects: as of when the persons here were wanted last */
};

void hold_init(struct hold *h);
void hold_free(struct hold *h);

static inline bool
hold_full(const struct hold *h)
{
	return h->n >= HOLD_EVENTS_MAX || h->bytes >= HOLD_BYTES_MAX;
}

/* Copies the event. sid NULL: it waits only for those before it. */
void hold_add(struct hold *h, struct ingest_partition *part, const struct source_event *ev,
	      const uint8_t *sid);

/* The oldest leaves. */
void hold_drop(struct hold *h);

#endif
