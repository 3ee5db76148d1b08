/*
 * Sealed values as the data path carries them: opaque, but of a known form. Nothing here opens
 * one; seal/ does. See wire.h.
 */
#include <string.h>

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

_Static_assert((int)SUBJECT_ID_BYTES == (int)RID_BYTES, "take_id reads both");
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

bool
wire_payload_erased(const void *p, size_t n)
{
	return n == PAYLOAD_ERASED_BYTES && ((const uint8_t *)p)[2] == PAYLOAD_ERASED;
}

/* Bound to a person, or erased as that person's: exactly when there is one. */
static bool
payload_suits(const void *p, size_t n, bool has_sid)
{
	const uint8_t *head = p;

	return wire_payload_check(p, n) && (head[2] != 0) == has_sid;
}

bool
wire_fields_check(const struct source *s, const struct record *rec)
{
	if (rec->fields_n != s->fields_n || (rec->has_sid && s->subject_field < 0))
		return false;
	for (uint32_t i = 0; i < rec->fields_n; i++) {
		const struct value *v = &rec->fields[i];
		const struct field *f = &s->fields[i];
		if (v->type == VALUE_NULL || (v->type == f->type && f->class < 0))
			continue;
		if (v->type != VALUE_SEALED || f->class < 0 ||
		    !payload_suits(v->text, v->len, rec->has_sid))
			return false;
	}
	return true;
}

bool
wire_body_check(const struct model *m, const struct record *rec)
{
	if (rec->has_sid && m->sources[rec->source].subject_field < 0)
		return false;
	return !rec->body_len ||
	       (m->classes_n && payload_suits(rec->body, rec->body_len, rec->has_sid));
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

/*
 * Read by hand: it is looked at on every way through the lane, and its form is one. MessagePack's
 * shortest heads, as wire_carried_write makes them.
 */
struct cursor {
	const uint8_t *at, *end;
};

enum { BIN8 = 0xc4, BIN16 = 0xc5, BIN32 = 0xc6, STR8 = 0xd9, STR_SHORT = 0xa0, NIL = 0xc0 };

static bool
take(struct cursor *c, size_t n, const uint8_t **out)
{
	if ((size_t)(c->end - c->at) < n)
		return false;
	*out = c->at;
	c->at += n;
	return true;
}

static bool
take_bytes(struct cursor *c, const uint8_t **out, uint32_t *len)
{
	const uint8_t *head;
	uint32_t n = 0;

	if (!take(c, 1, &head) || head[0] < BIN8 || head[0] > BIN32)
		return false;
	unsigned width = 1u << (head[0] - BIN8);
	if (!take(c, width, &head))
		return false;
	for (unsigned i = 0; i < width; i++)
		n = n << 8 | head[i];
	*len = n;
	/* A longer head than it needs would be another form of the same. */
	return (width == 1 || n >> (width == 2 ? 8 : 16)) && take(c, n, out);
}

/* Of at most 255 bytes. */
static bool
take_text(struct cursor *c, const char **out, uint32_t *len)
{
	const uint8_t *head, *text;

	if (!take(c, 1, &head))
		return false;
	if ((head[0] & 0xe0) == STR_SHORT) {
		*len = head[0] & 0x1f;
	} else {
		if (head[0] != STR8 || !take(c, 1, &head) || head[0] < 32)
			return false;
		*len = head[0];
	}
	bool whole = *len && take(c, *len, &text);
	*out = whole ? (const char *)text : NULL;
	return whole;
}

static bool
take_id(struct cursor *c, uint8_t out[static RID_BYTES])
{
	const uint8_t *p;

	if (!take(c, 2 + RID_BYTES, &p) || p[0] != BIN8 || p[1] != RID_BYTES)
		return false;
	memcpy(out, p + 2, RID_BYTES);
	return true;
}

bool
wire_carried_read(const void *p, size_t n, struct carried *out)
{
	struct cursor c = {p, (const uint8_t *)p + n};
	const uint8_t *head;

	*out = (struct carried){0};
	if (!take(&c, 1, &head) || head[0] != (0x90 | CARRIED_ELEMENTS) ||
	    !take_bytes(&c, &out->payload, &out->payload_len) ||
	    !wire_payload_check(out->payload, out->payload_len) ||
	    !take_text(&c, &out->source, &out->source_len) || out->source_len > SOURCE_LABEL_MAX ||
	    !take_text(&c, &out->path, &out->path_len) || !take_id(&c, out->rid))
		return false;
	out->has_sid = c.at < c.end && *c.at != NIL;
	if (out->has_sid ? !take_id(&c, out->sid) : !take(&c, 1, &head))
		return false;
	return c.at == c.end;
}
