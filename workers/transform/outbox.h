/*
 * outbox: ROWS frames under way, one a table; a frame leaves when it has FRAME_BYTES_FLUSH, or when
 * told.
 */
#ifndef WORKERS_TRANSFORM_OUTBOX_H
#define WORKERS_TRANSFORM_OUTBOX_H

#include "map.h"

struct outbox;

struct outbox *outbox_new(unsigned tables, map_rows rows, void *ctx);
void outbox_free(struct outbox *o); /* what was not sent is dropped */

/* Where to append the next row of a table; outbox_written must follow. */
struct buf *outbox_row(struct outbox *o, unsigned table);
void outbox_written(struct outbox *o, unsigned table);
void outbox_flush(struct outbox *o, unsigned table);

/* Rows written for each table since the last call. */
void outbox_counts(struct outbox *o, uint64_t rows[static TABLES_MAX]);

#endif
