#include "outbox.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "pipe.h"

struct box {
	struct buf body;
	uint32_t waiting; /* rows in body */
	uint64_t rows;
};

struct outbox {
	map_rows rows;
	void *ctx;
	unsigned tables;
	struct box boxes[TABLES_MAX];
};

struct outbox *
outbox_new(unsigned tables, map_rows rows, void *ctx)
{
	struct outbox *o = mem_zero(1, sizeof *o);

	o->rows = rows;
	o->ctx = ctx;
	o->tables = tables;
	return o;
}

void
outbox_free(struct outbox *o)
{
	for (unsigned t = 0; t < o->tables; t++)
		buf_free(&o->boxes[t].body);
	free(o);
}

struct buf *
outbox_row(struct outbox *o, unsigned table)
{
	struct box *b = &o->boxes[table];

	if (!b->waiting) {
		pipe_body_start(&b->body);
		wire_table_write(&b->body, table);
	}
	return &b->body;
}

void
outbox_flush(struct outbox *o, unsigned table)
{
	struct box *b = &o->boxes[table];

	if (!b->waiting)
		return;
	o->rows(o->ctx, table, b->waiting, &b->body);
	b->waiting = 0;
}

void
outbox_written(struct outbox *o, unsigned table)
{
	struct box *b = &o->boxes[table];

	b->waiting++;
	b->rows++;
	if (pipe_body_bytes(&b->body) >= FRAME_BYTES_FLUSH)
		outbox_flush(o, table);
}

void
outbox_counts(struct outbox *o, uint64_t rows[static TABLES_MAX])
{
	memset(rows, 0, TABLES_MAX * sizeof *rows);
	for (unsigned t = 0; t < o->tables; t++) {
		rows[t] = o->boxes[t].rows;
		o->boxes[t].rows = 0;
	}
}
