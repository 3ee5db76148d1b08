#include "pack.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <msgpack.h>

#include "log.h"

enum { ZONE_CHUNK_BYTES = 16384 };

static int
sink(void *data, const char *p, size_t n)
{
	buf_add(data, p, n);
	return 0;
}

static inline msgpack_packer
packer(struct buf *b)
{
	return (msgpack_packer){.data = b, .callback = sink};
}

void
pack_nil(struct buf *b)
{
	msgpack_packer k = packer(b);
	msgpack_pack_nil(&k);
}

void
pack_bool(struct buf *b, bool v)
{
	msgpack_packer k = packer(b);
	if (v)
		msgpack_pack_true(&k);
	else
		msgpack_pack_false(&k);
}

void
pack_int(struct buf *b, int64_t v)
{
	msgpack_packer k = packer(b);
	msgpack_pack_int64(&k, v);
}

void
pack_uint(struct buf *b, uint64_t v)
{
	msgpack_packer k = packer(b);
	msgpack_pack_uint64(&k, v);
}

void
pack_text(struct buf *b, const char *s, size_t n)
{
	msgpack_packer k = packer(b);
	msgpack_pack_str(&k, n);
	buf_add(b, s, n);
}

void
pack_bytes(struct buf *b, const void *p, size_t n)
{
	msgpack_packer k = packer(b);
	msgpack_pack_bin(&k, n);
	buf_add(b, p, n);
}

void
pack_array(struct buf *b, size_t n)
{
	msgpack_packer k = packer(b);
	msgpack_pack_array(&k, n);
}

void
pack_map(struct buf *b, size_t n)
{
	msgpack_packer k = packer(b);
	msgpack_pack_map(&k, n);
}

static void
ext_write(struct buf *b, int8_t type, const void *p, size_t n)
{
	msgpack_packer k = packer(b);
	msgpack_pack_ext(&k, n, type);
	buf_add(b, p, n);
}

static void
ext_integer(struct buf *b, int8_t type, int64_t v)
{
	uint8_t p[8];

	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)((uint64_t)v >> (56 - 8 * i));
	ext_write(b, type, p, sizeof p);
}

/* Scale, then as few big-endian bytes as keep the sign. */
static void
ext_decimal(struct buf *b, const struct value *v)
{
	uint8_t p[17];
	int128 units = value_units(v);
	unsigned n = 1;

	for (int128 rest = units; n < 16 && (rest < -128 || rest > 127); n++)
		rest >>= 8;
	p[0] = v->scale;
	for (unsigned i = 0; i < n; i++)
		p[n - i] = (uint8_t)((uint128)units >> (8 * i));
	ext_write(b, PACK_EXT_DECIMAL, p, n + 1);
}

void
pack_value(struct buf *b, const struct value *v)
{
	msgpack_packer k = packer(b);

	switch ((enum value_type)v->type) {
	case VALUE_NULL:
		msgpack_pack_nil(&k);
		return;
	case VALUE_BOOLEAN:
		pack_bool(b, v->boolean);
		return;
	case VALUE_INTEGER:
		msgpack_pack_int64(&k, v->integer);
		return;
	case VALUE_FLOAT:
		msgpack_pack_double(&k, v->real);
		return;
	case VALUE_DECIMAL:
		ext_decimal(b, v);
		return;
	case VALUE_DATE:
		ext_integer(b, PACK_EXT_DATE, v->integer);
		return;
	case VALUE_TIMESTAMP:
		ext_integer(b, PACK_EXT_TIMESTAMP, v->integer);
		return;
	case VALUE_TEXT:
		pack_text(b, v->text, v->len);
		return;
	case VALUE_JSON:
		ext_write(b, PACK_EXT_JSON, v->text, v->len);
		return;
	case VALUE_SEALED:
		ext_write(b, PACK_EXT_SEALED, v->text, v->len);
		return;
	case VALUE_TYPE_MAX:
		break;
	}
	panic("a value has type %d", v->type);
}

void
pack_reader_start(struct pack_reader *r, const void *p, size_t n)
{
	r->data = p;
	r->len = n;
	r->at = 0;
	r->failed = false;
	r->why[0] = '\0';
}

void
pack_reader_free(struct pack_reader *r)
{
	if (r->zone)
		msgpack_zone_free(r->zone);
	*r = (struct pack_reader){0};
}

bool
pack_fail(struct pack_reader *r, const char *why)
{
	if (!r->failed) {
		r->failed = true;
		snprintf(r->why, sizeof r->why, "%s (near byte %zu of %zu)", why, r->at, r->len);
	}
	return false;
}

bool
pack_reader_end(struct pack_reader *r)
{
	if (!r->failed && r->at != r->len)
		return pack_fail(r, "trailing bytes");
	return !r->failed;
}

static uint32_t
big_endian(const uint8_t *p, unsigned n)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/*
 * What an item's first byte claims, by the MessagePack specification's table of formats: bytes of
 * length field, bytes of payload besides it, and children. False for the reserved byte 0xc1.
 */
struct claim {
	unsigned length_bytes; /* of a length that follows; 0: none */
	unsigned payload;      /* fixed bytes, beside what the length says */
	unsigned children;     /* fixed number of items inside */
	unsigned per_length;   /* children per unit of length: 1 array, 2 map; 0: the length counts
				  bytes */
};

static bool
claim_of(uint8_t c, struct claim *q)
{
	static const struct claim table[32] = {
	    /* c0 nil, c1 reserved, false, true, bin 8 16 32, ext 8 16 32 */
	    {0},
	    {0},
	    {0},
	    {0},
	    {1, 0, 0, 0},
	    {2, 0, 0, 0},
	    {4, 0, 0, 0},
	    {1, 1, 0, 0},
	    {2, 1, 0, 0},
	    {4, 1, 0, 0},
	    /* ca float 32 64, uint 8 16 32 64, int 8 16 32 64 */
	    {0, 4, 0, 0},
	    {0, 8, 0, 0},
	    {0, 1, 0, 0},
	    {0, 2, 0, 0},
	    {0, 4, 0, 0},
	    {0, 8, 0, 0},
	    {0, 1, 0, 0},
	    {0, 2, 0, 0},
	    {0, 4, 0, 0},
	    {0, 8, 0, 0},
	    /* d4 fixext 1 2 4 8 16, d9 str 8 16 32, dc array 16 32, de map 16 32 */
	    {0, 2, 0, 0},
	    {0, 3, 0, 0},
	    {0, 5, 0, 0},
	    {0, 9, 0, 0},
	    {0, 17, 0, 0},
	    {1, 0, 0, 0},
	    {2, 0, 0, 0},
	    {4, 0, 0, 0},
	    {2, 0, 0, 1},
	    {4, 0, 0, 1},
	    {2, 0, 0, 2},
	    {4, 0, 0, 2},
	};

	if (c <= 0x7f || c >= 0xe0)
		*q = (struct claim){0};
	else if (c <= 0x8f)
		*q = (struct claim){.children = 2u * (c & 0x0f)};
	else if (c <= 0x9f)
		*q = (struct claim){.children = c & 0x0f};
	else if (c <= 0xbf)
		*q = (struct claim){.payload = c & 0x1f};
	else
		*q = table[c - 0xc0];
	return c != 0xc1;
}

/* True when one whole item lies at r->at and every length in it stays inside the range. */
static bool
item_fits(struct pack_reader *r)
{
	size_t at = r->at;
	uint64_t open[PACK_DEPTH_MAX];
	unsigned depth = 0;

	for (;;) {
		struct claim q;
		if (at >= r->len)
			return pack_fail(r, "cut short");
		if (!claim_of(r->data[at++], &q))
			return pack_fail(r, "a reserved byte");
		if (r->len - at < q.length_bytes)
			return pack_fail(r, "cut short");
		uint64_t length = big_endian(r->data + at, q.length_bytes);
		at += q.length_bytes;
		uint64_t children = q.per_length ? length * q.per_length : q.children;
		uint64_t payload = q.payload + (q.per_length ? 0 : length);
		if (r->len - at < payload || r->len - at < children)
			return pack_fail(r, "a length beyond the end");
		at += payload;
		if (children) {
			if (depth == PACK_DEPTH_MAX)
				return pack_fail(r, "nested too deeply");
			open[depth++] = children;
			continue;
		}
		while (depth && --open[depth - 1] == 0)
			depth--;
		if (!depth)
			return true;
	}
}

bool
pack_next(struct pack_reader *r, struct pack_view *out)
{
	if (r->failed || !item_fits(r))
		return false;
	if (!r->zone)
		r->zone = msgpack_zone_new(ZONE_CHUNK_BYTES);
	else
		msgpack_zone_clear(r->zone);
	check(r->zone);
	msgpack_object *o = msgpack_zone_malloc(r->zone, sizeof *o);
	check(o);
	/* Texts and bytes are not copied: they point into the range. */
	msgpack_unpack_return got =
	    msgpack_unpack((const char *)r->data, r->len, &r->at, r->zone, o);
	if (got != MSGPACK_UNPACK_SUCCESS && got != MSGPACK_UNPACK_EXTRA_BYTES)
		return pack_fail(r, "not MessagePack");
	out->object = o;
	return true;
}

bool
pack_next_array(struct pack_reader *r, size_t n, struct pack_view *out)
{
	size_t have;

	if (!pack_next(r, out) || !pack_view_array(r, *out, &have))
		return false;
	return have == n || pack_fail(r, "an item has a wrong number of elements");
}

static inline const msgpack_object *
object(struct pack_view v)
{
	return v.object;
}

bool
pack_view_array(struct pack_reader *r, struct pack_view v, size_t *n)
{
	if (object(v)->type != MSGPACK_OBJECT_ARRAY)
		return pack_fail(r, "an array was expected");
	*n = object(v)->via.array.size;
	return true;
}

struct pack_view
pack_view_at(struct pack_view array, size_t i)
{
	check(i < object(array)->via.array.size);
	return (struct pack_view){&object(array)->via.array.ptr[i]};
}

bool
pack_view_map(struct pack_reader *r, struct pack_view v, size_t *n)
{
	if (object(v)->type != MSGPACK_OBJECT_MAP)
		return pack_fail(r, "a map was expected");
	*n = object(v)->via.map.size;
	return true;
}

void
pack_view_pair(struct pack_view map, size_t i, struct pack_view *key, struct pack_view *val)
{
	check(i < object(map)->via.map.size);
	key->object = &object(map)->via.map.ptr[i].key;
	val->object = &object(map)->via.map.ptr[i].val;
}

bool
pack_view_nil(struct pack_view v)
{
	return object(v)->type == MSGPACK_OBJECT_NIL;
}

bool
pack_view_bool(struct pack_reader *r, struct pack_view v, bool *out)
{
	if (object(v)->type != MSGPACK_OBJECT_BOOLEAN)
		return pack_fail(r, "a boolean was expected");
	*out = object(v)->via.boolean;
	return true;
}

bool
pack_view_int(struct pack_reader *r, struct pack_view v, int64_t *out)
{
	const msgpack_object *o = object(v);

	if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		*out = o->via.i64;
	else if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 <= INT64_MAX)
		*out = (int64_t)o->via.u64;
	else
		return pack_fail(r, "a signed integer was expected");
	return true;
}

bool
pack_view_uint(struct pack_reader *r, struct pack_view v, uint64_t max, uint64_t *out)
{
	const msgpack_object *o = object(v);

	if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > max)
		return pack_fail(r, "an unsigned integer within its range was expected");
	*out = o->via.u64;
	return true;
}

bool
pack_view_text(struct pack_reader *r, struct pack_view v, const char **s, size_t *n)
{
	if (object(v)->type != MSGPACK_OBJECT_STR)
		return pack_fail(r, "a text was expected");
	*s = object(v)->via.str.ptr;
	*n = object(v)->via.str.size;
	return true;
}

bool
pack_view_bytes(struct pack_reader *r, struct pack_view v, const uint8_t **p, size_t *n)
{
	if (object(v)->type != MSGPACK_OBJECT_BIN)
		return pack_fail(r, "bytes were expected");
	*p = (const uint8_t *)object(v)->via.bin.ptr;
	*n = object(v)->via.bin.size;
	return true;
}

bool
pack_view_fixed(struct pack_reader *r, struct pack_view v, void *out, size_t n)
{
	const uint8_t *p;
	size_t have;

	if (!pack_view_bytes(r, v, &p, &have))
		return false;
	if (have != n)
		return pack_fail(r, "bytes of a wrong length");
	memcpy(out, p, n);
	return true;
}

static bool
ext_read(struct pack_reader *r, const msgpack_object_ext *x, struct value *out)
{
	const uint8_t *p = (const uint8_t *)x->ptr;

	if (x->type == PACK_EXT_JSON) {
		*out = (struct value){.type = VALUE_JSON, .len = x->size, .text = x->ptr};
		return true;
	}
	if (x->type == PACK_EXT_SEALED) {
		*out = (struct value){.type = VALUE_SEALED, .len = x->size, .text = x->ptr};
		return true;
	}
	if (x->type == PACK_EXT_DECIMAL) {
		if (x->size < 2 || x->size > 17 || p[0] > DECIMAL_SCALE_MAX)
			return pack_fail(r, "a malformed decimal");
		int128 units = (int8_t)p[1];
		for (uint32_t i = 2; i < x->size; i++)
			units = (int128)((uint128)units << 8 | p[i]);
		*out = value_decimal(units, p[0]);
		return true;
	}
	if ((x->type != PACK_EXT_DATE && x->type != PACK_EXT_TIMESTAMP) || x->size != 8)
		return pack_fail(r, "an unknown extension");
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	out->type = x->type == PACK_EXT_DATE ? VALUE_DATE : VALUE_TIMESTAMP;
	out->integer = (int64_t)v;
	return true;
}

bool
pack_view_value(struct pack_reader *r, struct pack_view v, struct value *out)
{
	const msgpack_object *o = object(v);

	*out = value_null();
	switch (o->type) {
	case MSGPACK_OBJECT_NIL:
		return true;
	case MSGPACK_OBJECT_BOOLEAN:
		*out = value_boolean(o->via.boolean);
		return true;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		out->type = VALUE_INTEGER;
		return pack_view_int(r, v, &out->integer);
	case MSGPACK_OBJECT_FLOAT64:
		if (isnan(o->via.f64))
			return pack_fail(r, "not a number");
		out->type = VALUE_FLOAT;
		out->real = o->via.f64;
		return true;
	case MSGPACK_OBJECT_STR:
		*out = value_text(o->via.str.ptr, o->via.str.size);
		return true;
	case MSGPACK_OBJECT_EXT:
		return ext_read(r, &o->via.ext, out);
	default:
		return pack_fail(r, "a value of a type that no field has");
	}
}

bool
pack_at_uint(struct pack_reader *r, struct pack_view a, size_t i, uint64_t max, uint64_t *out)
{
	return pack_view_uint(r, pack_view_at(a, i), max, out);
}

bool
pack_at_int(struct pack_reader *r, struct pack_view a, size_t i, int64_t *out)
{
	return pack_view_int(r, pack_view_at(a, i), out);
}
