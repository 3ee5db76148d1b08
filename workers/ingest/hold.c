#include "hold.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "seal/secret.h"

void
hold_init(struct hold *h)
{
	*h = (struct hold){0};
	h->last = &h->first;
}

void
hold_free(struct hold *h)
{
	while (h->first)
		hold_drop(h);
}

static const char *
bytes_take(char **to, const char *from, size_t n)
{
	char *at = *to;

	if (!from)
		return NULL;
	if (n)
		memcpy(at, from, n);
	*to += n;
	return at;
}

void
hold_add(struct hold *h, struct ingest_partition *part, const struct source_event *ev,
	 const uint8_t *sid)
{
	size_t reason = ev->reason ? strlen(ev->reason) + 1 : 0;
	size_t n = ev->len + ev->identity_len + reason;
	struct held *x = mem_alloc(sizeof *x + n);
	char *at = x->bytes;

	*x = (struct held){.part = part, .event = *ev, .has_sid = sid != NULL, .bytes_n = n};
	if (sid)
		memcpy(x->sid, sid, sizeof x->sid);
	x->event.data = bytes_take(&at, ev->data, ev->len);
	x->event.identity = bytes_take(&at, ev->identity, ev->identity_len);
	x->event.reason = bytes_take(&at, ev->reason, reason);
	*h->last = x;
	h->last = &x->next;
	h->n++;
	h->bytes += sizeof *x + n;
	part->held++;
}

void
hold_drop(struct hold *h)
{
	struct held *x = h->first;

	check(x && h->n && x->part->held);
	h->first = x->next;
	if (!h->first)
		h->last = &h->first;
	h->n--;
	h->bytes -= sizeof *x + x->bytes_n;
	x->part->held--;
	secret_wipe(x->bytes, x->bytes_n);
	free(x);
}
