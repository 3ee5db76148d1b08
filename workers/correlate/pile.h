/*
 * pile: items of one frame type, written one by one and cut into bodies of at most
 * FRAME_BYTES_FLUSH (an item that is larger alone stands alone). Bodies have the room for the head
 * that pipe_send wants.
 */
#ifndef WORKERS_CORRELATE_PILE_H
#define WORKERS_CORRELATE_PILE_H

#include "buf.h"

struct pile_body {
	struct buf bytes;
	uint32_t count;
};

struct pile {
	struct pile_body *bodies;
	uint32_t n, cap;
	uint64_t items;
	size_t bytes; /* of all items */
};

void pile_free(struct pile *p);

/* Where to append the next item; pile_end after it was written. */
struct buf *pile_begin(struct pile *p, size_t *at);
void pile_end(struct pile *p, size_t at);

/* Empties the pile; bodies that were not sent are freed. */
void pile_clear(struct pile *p);

#endif
