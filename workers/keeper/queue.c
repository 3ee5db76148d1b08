#include "keeper.h"

#include "wire.h"

bool
queue_add(struct queue *q, unsigned from, const struct keyreq *k)
{
	if (q->n == REQUESTS_MAX)
		return false;
	struct request *r = &q->slots[(q->head + q->n) % REQUESTS_MAX];
	*r = (struct request){.from = from};
	wire_keyreq_write(&r->item, k);
	if (q->bytes + r->item.len > REQUESTS_BYTES_MAX) {
		buf_free(&r->item);
		return false;
	}
	q->bytes += r->item.len;
	q->n++;
	return true;
}

struct request *
queue_first(struct queue *q)
{
	return q->n ? &q->slots[q->head] : NULL;
}

void
queue_drop(struct queue *q)
{
	struct request *r = queue_first(q);

	if (!r)
		return;
	q->bytes -= r->item.len;
	buf_free(&r->item);
	q->head = (q->head + 1) % REQUESTS_MAX;
	q->n--;
}

void
queue_clear(struct queue *q)
{
	while (q->n)
		queue_drop(q);
}
