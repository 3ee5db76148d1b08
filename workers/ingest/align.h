/*
 * align: in a backlog, partitions whose event time leads the slowest by more than limits.align
 * wait, so that a process' events meet in one batch and its row is written once. Pure.
 *
 * Never a stall: the slowest reads always; and only a partition that really has a backlog and is
 * delivering holds others back. One that is caught up, finished, without event time, whose source
 * is in trouble, or from which nothing came for ALIGN_PATIENCE_MS although it may read, holds
 * nobody.
 */
#ifndef INGEST_ALIGN_H
#define INGEST_ALIGN_H

#include "partitions.h"

enum { ALIGN_PATIENCE_MS = 1000 };

/*
 * Sets part->aligned of all partitions being read; returns how many became held back. `trouble`
 * says of each source whether it is in trouble, `timed` whether its events have a time.
 */
unsigned align_decide(struct parts *p, const bool *trouble, const bool *timed, int64_t align_us,
		      struct mono now);

#endif
