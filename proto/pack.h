/*
 * pack: MessagePack through msgpack-c, whose header is included in pack.c alone. wire and process
 * are written in terms of these few verbs.
 *
 * Writing appends to a buf and cannot fail. Reading takes one item at a time out of a byte range:
 * pack_next checks that every length lies inside the range before msgpack-c sees it (msgpack-c
 * allocates what a header claims), so arbitrary bytes cost no more memory than a fixed multiple of
 * their number. Views are valid until the next pack_next on the same reader; texts borrow from the
 * range itself.
 */
#ifndef PROTO_PACK_H
#define PROTO_PACK_H

#include "buf.h"
#include "value.h"

enum {
	PACK_DEPTH_MAX = 16, /* nesting of arrays and maps; deeper is refused */
	PACK_EXT_DECIMAL = 1,
	PACK_EXT_DATE = 2,
	PACK_EXT_TIMESTAMP = 3,
	PACK_EXT_JSON = 4,
	PACK_EXT_SEALED = 0x53, /* SEALING "Sealed field"; or a carried one, wire.h */
};

void pack_nil(struct buf *b);
void pack_bool(struct buf *b, bool v);
void pack_int(struct buf *b, int64_t v);
void pack_uint(struct buf *b, uint64_t v);
void pack_text(struct buf *b, const char *s, size_t n);
void pack_bytes(struct buf *b, const void *p, size_t n);
void pack_array(struct buf *b, size_t n);
void pack_map(struct buf *b, size_t n);

/*
 * A value with its type: nil, bool, integer, float64 and str as they are; decimal as ext 1 (scale
 * u8, then the units as 1 to 16 bytes big-endian two's complement), date and timestamp as ext 2 and
 * 3 (8 bytes big-endian), json as ext 4. Twin: pack_view_value.
 */
void pack_value(struct buf *b, const struct value *v);

struct pack_reader {
	const uint8_t *data;
	size_t len, at;
	bool failed; /* sticky: the first failure stays, later reads fail at once */
	char why[128];
	void *zone; /* msgpack-c's, reused between items; pack_reader_free */
};

struct pack_view {
	const void *object;
};

void pack_reader_start(struct pack_reader *r, const void *p, size_t n);
void pack_reader_free(struct pack_reader *r);
bool pack_reader_end(struct pack_reader *r);		/* nothing failed and nothing trails */
bool pack_fail(struct pack_reader *r, const char *why); /* latches; always false */

/* The next item. With an expected array length (or -1: any type). */
bool pack_next(struct pack_reader *r, struct pack_view *out);
bool pack_next_array(struct pack_reader *r, size_t n, struct pack_view *out);

/* Readers of a view; each latches a failure in r when the type or range is not as asked. */
bool pack_view_array(struct pack_reader *r, struct pack_view v, size_t *n);
struct pack_view pack_view_at(struct pack_view array, size_t i); /* i < n, checked */
bool pack_view_map(struct pack_reader *r, struct pack_view v, size_t *n);
void pack_view_pair(struct pack_view map, size_t i, struct pack_view *key, struct pack_view *val);
bool pack_view_nil(struct pack_view v);
bool pack_view_bool(struct pack_reader *r, struct pack_view v, bool *out);
bool pack_view_int(struct pack_reader *r, struct pack_view v, int64_t *out);
bool pack_view_uint(struct pack_reader *r, struct pack_view v, uint64_t max, uint64_t *out);
bool pack_view_text(struct pack_reader *r, struct pack_view v, const char **s, size_t *n);
bool pack_view_bytes(struct pack_reader *r, struct pack_view v, const uint8_t **p, size_t *n);
bool pack_view_fixed(struct pack_reader *r, struct pack_view v, void *out, size_t n);
bool pack_view_value(struct pack_reader *r, struct pack_view v, struct value *out);

/* Convenience for arrays: element i as an unsigned or signed integer. */
bool pack_at_uint(struct pack_reader *r, struct pack_view a, size_t i, uint64_t max, uint64_t *out);
bool pack_at_int(struct pack_reader *r, struct pack_view a, size_t i, int64_t *out);

#endif
