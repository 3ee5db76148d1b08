/*
 * outlet: an ingest whose records go to the exchange in place of lanes: its way out, its place in
 * the sources' consumer groups, and what it is told by the keeper in place of OWN.
 */
#ifndef INGEST_OUTLET_H
#define INGEST_OUTLET_H

#include "ingest.h"

MUSTCHECK bool outlet_open(struct ingest *in, struct err *e);
void outlet_close(struct ingest *in);

/* Joins the source's consumer group, if it is one that has them (Kafka). */
MUSTCHECK bool outlet_join(struct ingest *in, unsigned source, const struct source_setup *setup,
			   struct err *e);
bool outlet_divided(const struct ingest *in, unsigned source); /* what is ours of it is known */
bool outlet_owns(const struct ingest *in, unsigned source, const struct source_found *f);
/* As part_start_position: by the offsets of the group. */
int64_t outlet_start(const struct ingest *in, const struct ingest_partition *part);
const char *outlet_source_trouble(const struct ingest *in, unsigned source);

/* Gives ids, which nobody else hears of, to what was found, and starts it. */
MUSTCHECK bool outlet_names(struct ingest *in, struct mono now, struct err *e);

/*
 * KEYANS of facts: false: nothing comes of it. True: *own is as if one lane owned everything; free
 * with own_free.
 */
bool outlet_facts(struct ingest *in, const struct keyans *a, struct own *own);
void outlet_peer(struct ingest *in);

/* Whether the exchange takes a record of this size; a larger one becomes a dead letter. */
bool outlet_fits(const struct ingest *in, const struct record *r);
/* A failure is told by the next outlet_serve. */
void outlet_record(struct ingest *in, const struct ingest_partition *part, const struct record *r,
		   struct mono now);

/* Once a turn. False: this life is over. */
MUSTCHECK bool outlet_serve(struct ingest *in, struct mono now, struct err *e);
bool outlet_ready(const struct ingest *in);
uint64_t outlet_queued(const struct ingest *in);
struct mono outlet_oldest(const struct ingest *in);
const char *outlet_trouble(const struct ingest *in, struct mono now);
unsigned outlet_watch(const struct ingest *in, struct pollfd *fds, unsigned max);
void outlet_finish(struct ingest *in);

#endif
