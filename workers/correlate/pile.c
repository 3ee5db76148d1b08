#include "pile.h"

#include <stdlib.h>

#include "mem.h"
#include "pipe.h"

enum { BODIES_MIN = 4 };

static struct pile_body *
body_add(struct pile *p)
{
	if (p->n == p->cap) {
		p->cap = p->cap ? p->cap * 2 : BODIES_MIN;
		p->bodies = mem_resize(p->bodies, p->cap, sizeof *p->bodies);
	}
	struct pile_body *b = &p->bodies[p->n++];
	*b = (struct pile_body){0};
	pipe_body_start(&b->bytes);
	return b;
}

struct buf *
pile_begin(struct pile *p, size_t *at)
{
	struct pile_body *b = p->n ? &p->bodies[p->n - 1] : body_add(p);

	*at = b->bytes.len;
	return &b->bytes;
}

void
pile_end(struct pile *p, size_t at)
{
	struct pile_body *b = &p->bodies[p->n - 1];
	size_t n = b->bytes.len - at;

	p->items++;
	p->bytes += n;
	if (!b->count || pipe_body_bytes(&b->bytes) <= FRAME_BYTES_FLUSH) {
		b->count++;
		return;
	}
	/* One too many: it begins the next body. */
	struct pile_body *next = body_add(p);
	b = next - 1;
	buf_add(&next->bytes, b->bytes.data + at, n);
	b->bytes.len = at;
	next->count = 1;
}

void
pile_clear(struct pile *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		buf_free(&p->bodies[i].bytes);
	p->n = 0;
	p->items = 0;
	p->bytes = 0;
}

void
pile_free(struct pile *p)
{
	pile_clear(p);
	free(p->bodies);
	*p = (struct pile){0};
}
