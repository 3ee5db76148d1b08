/*
 * wire_private: small readers that the files of wire share: element i of array a into a narrower
 * type. Included by wire*.c alone.
 */
#ifndef PROTO_WIRE_PRIVATE_H
#define PROTO_WIRE_PRIVATE_H

#include "wire.h"

static inline bool
at_u32(struct pack_reader *r, struct pack_view a, size_t i, uint32_t *out)
{
	uint64_t v = 0;
	bool ok = pack_at_uint(r, a, i, UINT32_MAX, &v);

	*out = (uint32_t)v;
	return ok;
}

static inline bool
at_u16(struct pack_reader *r, struct pack_view a, size_t i, uint64_t max, uint16_t *out)
{
	uint64_t v = 0;
	bool ok = pack_at_uint(r, a, i, max, &v);

	*out = (uint16_t)v;
	return ok;
}

static inline bool
at_bool(struct pack_reader *r, struct pack_view a, size_t i, bool *out)
{
	return pack_view_bool(r, pack_view_at(a, i), out);
}

static inline bool
at_text(struct pack_reader *r, struct pack_view a, size_t i, size_t max, const char **s,
	uint32_t *len)
{
	size_t n = 0;

	if (!pack_view_text(r, pack_view_at(a, i), s, &n))
		return false;
	*len = (uint32_t)n;
	return n <= max || pack_fail(r, "a text longer than its limit");
}

/* A text or bytes between min and max. */
static inline bool
at_bytes(struct pack_reader *r, struct pack_view a, size_t i, size_t min, size_t max,
	 const uint8_t **p, uint32_t *len)
{
	size_t n = 0;

	if (!pack_view_bytes(r, pack_view_at(a, i), p, &n))
		return false;
	*len = (uint32_t)n;
	return (n >= min && n <= max) || pack_fail(r, "bytes of a wrong length");
}

/* A sid or nil. */
static inline void
sid_write(struct buf *b, bool has_sid, const uint8_t sid[static SUBJECT_ID_BYTES])
{
	if (has_sid)
		pack_bytes(b, sid, SUBJECT_ID_BYTES);
	else
		pack_nil(b);
}

static inline bool
at_sid(struct pack_reader *r, struct pack_view a, size_t i, bool *has_sid,
       uint8_t sid[static SUBJECT_ID_BYTES])
{
	struct pack_view v = pack_view_at(a, i);

	*has_sid = !pack_view_nil(v);
	return !*has_sid || pack_view_fixed(r, v, sid, SUBJECT_ID_BYTES);
}

/* A sealed payload as MessagePack ext, or nil for none. */
static inline void
body_write(struct buf *b, const uint8_t *body, uint32_t n)
{
	struct value v = {.type = VALUE_SEALED, .len = n, .text = (const char *)body};

	if (n)
		pack_value(b, &v);
	else
		pack_nil(b);
}

static inline bool
at_body(struct pack_reader *r, struct pack_view a, size_t i, const uint8_t **body, uint32_t *n)
{
	struct value v;

	*body = NULL;
	*n = 0;
	if (!pack_view_value(r, pack_view_at(a, i), &v))
		return false;
	if (v.type == VALUE_NULL)
		return true;
	if (v.type != VALUE_SEALED || !wire_payload_check(v.text, v.len))
		return pack_fail(r, "a dead letter's body is not sealed");
	*body = (const uint8_t *)v.text;
	*n = v.len;
	return true;
}

#endif
