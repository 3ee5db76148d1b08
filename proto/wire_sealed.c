/*
 * Sealed values as the data path carries them: opaque, but of a known form. Nothing here opens
 * one; seal/ does. See wire.h.
 */
#include "wire_private.h"

/* SEALING "Sealed field" */
enum {
	PAYLOAD_VERSION = 1,
	PAYLOAD_SUITE = 1,
	PAYLOAD_BOUND = 1 << 0,
	PAYLOAD_ERASED = 1 << 1,
	PAYLOAD_PADEXP_MIN = 4, /* or 0 */
	PAYLOAD_PADEXP_MAX = 12,
	PAYLOAD_ERASED_BYTES = 4,
	PAYLOAD_AROUND = 44 + 16,	    /* head and tag */
	PAYLOAD_BYTES_MAX = TEXT_BYTES_MAX, /* 1 MiB, all in all */
};

enum {
	CARRIED_ELEMENTS = 5,
	SOURCE_LABEL_MAX = 191, /* model.h: label[192] */
	FIELD_PATH_MAX = 255,
	/* Heads of the array and of its elements, rid, sid. */
	CARRIED_HEADS = 1 + 5 + 3 + 3 + 2 + RID_BYTES + 2 + SUBJECT_ID_BYTES,
};

_Static_assert((int)PAYLOAD_BYTES_MAX + (int)SOURCE_LABEL_MAX + (int)FIELD_PATH_MAX +
		       (int)CARRIED_HEADS <=
		   (int)CARRIED_BYTES_MAX,
	       "what may be sealed may be carried");

bool
wire_payload_check(const void *p, size_t n)
{
	const uint8_t *head = p;

	if (n < PAYLOAD_ERASED_BYTES || head[0] != PAYLOAD_VERSION || head[1] != PAYLOAD_SUITE)
		return false;
	if (head[2] == PAYLOAD_ERASED)
		return n == PAYLOAD_ERASED_BYTES && head[3] == 0;
	if (head[2] & ~PAYLOAD_BOUND)
		return false;
	if (head[3] && (head[3] < PAYLOAD_PADEXP_MIN || head[3] > PAYLOAD_PADEXP_MAX))
		return false;
	return n > PAYLOAD_AROUND && n <= PAYLOAD_BYTES_MAX;
}

void
wire_carried_write(struct buf *b, const struct carried *c)
{
	pack_array(b, CARRIED_ELEMENTS);
	pack_bytes(b, c->payload, c->payload_len);
	pack_text(b, c->source, c->source_len);
	pack_text(b, c->path, c->path_len);
	pack_bytes(b, c->rid, RID_BYTES);
	sid_write(b, c->has_sid, c->sid);
}

static bool
carried_view(struct pack_reader *r, struct carried *c)
{
	struct pack_view a;

	if (!pack_next_array(r, CARRIED_ELEMENTS, &a) ||
	    !at_bytes(r, a, 0, PAYLOAD_ERASED_BYTES, PAYLOAD_BYTES_MAX, &c->payload,
		      &c->payload_len) ||
	    !at_text(r, a, 1, SOURCE_LABEL_MAX, &c->source, &c->source_len) ||
	    !at_text(r, a, 2, FIELD_PATH_MAX, &c->path, &c->path_len) ||
	    !pack_view_fixed(r, pack_view_at(a, 3), c->rid, RID_BYTES) ||
	    !at_sid(r, a, 4, &c->has_sid, c->sid))
		return false;
	if (!wire_payload_check(c->payload, c->payload_len))
		return pack_fail(r, "what is carried is not sealed");
	if (!c->source_len || !c->path_len)
		return pack_fail(r, "a sealed value from nowhere");
	return pack_reader_end(r);
}

bool
wire_carried_read(const void *p, size_t n, struct carried *c)
{
	struct pack_reader r = {0};

	*c = (struct carried){0};
	pack_reader_start(&r, p, n);
	bool ok = carried_view(&r, c);
	pack_reader_free(&r); /* what was read points into p */
	return ok;
}
