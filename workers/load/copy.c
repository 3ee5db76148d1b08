#include "copy.h"

#include <endian.h>
#include <string.h>

#include "log.h"

enum {
	DAYS_TO_2000 = 10957,
	NUMERIC_NEGATIVE = 0x4000,
	NUMERIC_GROUPS_MAX = 16, /* base-10000 digits of 38 decimal ones, any alignment */
};

static const int64_t us_to_2000 = INT64_C(946684800000000);

static const uint32_t value_oids[VALUE_TYPE_MAX] = {
    [VALUE_BOOLEAN] = OID_BOOL, [VALUE_INTEGER] = OID_INT8, [VALUE_DECIMAL] = OID_NUMERIC,
    [VALUE_FLOAT] = OID_FLOAT8, [VALUE_DATE] = OID_DATE,    [VALUE_TIMESTAMP] = OID_TIMESTAMPTZ,
    [VALUE_TEXT] = OID_TEXT,	[VALUE_JSON] = OID_JSONB,   [VALUE_SEALED] = OID_BYTEA,
};

uint32_t
copy_value_oid(enum value_type t)
{
	check(t < VALUE_TYPE_MAX);
	return value_oids[t];
}

/* ---- numbers, big-endian ---- */

static void
put16(struct buf *b, uint16_t v)
{
	v = htobe16(v);
	buf_add(b, &v, sizeof(v));
}

static void
put32(struct buf *b, uint32_t v)
{
	v = htobe32(v);
	buf_add(b, &v, sizeof(v));
}

static void
put64(struct buf *b, uint64_t v)
{
	v = htobe64(v);
	buf_add(b, &v, sizeof(v));
}

static uint32_t
get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

/* ---- around the rows ---- */

void
copy_header(struct buf *b)
{
	static const char signature[11] = "PGCOPY\n\377\r\n";

	buf_add(b, signature, sizeof(signature));
	put32(b, 0); /* flags */
	put32(b, 0); /* no extension */
}

void
copy_trailer(struct buf *b)
{
	put16(b, UINT16_MAX);
}

/* ---- fields ---- */

void
copy_fields(struct buf *b, unsigned n)
{
	put16(b, (uint16_t)n);
}

void
copy_null(struct buf *b)
{
	put32(b, UINT32_MAX);
}

void
copy_bool(struct buf *b, bool v)
{
	put32(b, 1);
	buf_byte(b, v);
}

void
copy_int2(struct buf *b, int16_t v)
{
	put32(b, sizeof(v));
	put16(b, (uint16_t)v);
}

void
copy_int4(struct buf *b, int32_t v)
{
	put32(b, sizeof(v));
	put32(b, (uint32_t)v);
}

void
copy_int8(struct buf *b, int64_t v)
{
	put32(b, sizeof(v));
	put64(b, (uint64_t)v);
}

void
copy_timestamp(struct buf *b, int64_t us_since_1970)
{
	copy_int8(b, us_since_1970 - us_to_2000);
}

void
copy_bytes(struct buf *b, const void *p, size_t n)
{
	put32(b, (uint32_t)n);
	buf_add(b, p, n);
}

/*
 * The low `digits` decimal digits of a scale that is no multiple of 4 make the last, partly filled
 * group; they are split off first, since shifting all of 38 digits would overflow.
 */
static unsigned
decimal_groups(uint128 units, unsigned scale, uint16_t groups[NUMERIC_GROUPS_MAX])
{
	static const uint16_t pow10[] = {1, 10, 100, 1000, 10000};
	unsigned digits = scale % 4, n = 0;

	if (digits) {
		groups[n++] = (uint16_t)((unsigned)(units % pow10[digits]) * pow10[4 - digits]);
		units /= pow10[digits];
	}
	for (; units > UINT64_MAX; units /= 10000)
		groups[n++] = (uint16_t)(units % 10000);
	for (uint64_t low = (uint64_t)units; low; low /= 10000)
		groups[n++] = (uint16_t)(low % 10000);
	return n; /* lowest first */
}

void
copy_decimal(struct buf *b, const struct value *v)
{
	uint16_t groups[NUMERIC_GROUPS_MAX];
	int128 units = value_units(v);
	bool negative = units < 0;
	uint128 size = negative ? -(uint128)units : (uint128)units;
	unsigned fraction = (v->scale + 3u) / 4; /* groups behind the point */
	unsigned n = decimal_groups(size, v->scale, groups), low = 0;

	while (n > 0 && groups[n - 1] == 0)
		n--;
	while (low < n && groups[low] == 0)
		low++;
	put32(b, 8 + 2 * (n - low));
	put16(b, (uint16_t)(n - low));
	put16(b, n > low ? (uint16_t)((int)n - (int)fraction - 1) : 0);
	put16(b, negative ? NUMERIC_NEGATIVE : 0);
	put16(b, v->scale);
	for (unsigned i = n; i > low; i--)
		put16(b, groups[i - 1]);
}

static void
copy_float(struct buf *b, double real)
{
	uint64_t bits;

	memcpy(&bits, &real, sizeof(bits));
	copy_int8(b, (int64_t)bits);
}

static void
copy_json(struct buf *b, const struct value *v)
{
	put32(b, v->len + 1);
	buf_byte(b, 1); /* version of jsonb's binary form */
	buf_add(b, v->text, v->len);
}

void
copy_value(struct buf *b, const struct value *v)
{
	switch ((enum value_type)v->type) {
	case VALUE_NULL:
		copy_null(b);
		return;
	case VALUE_BOOLEAN:
		copy_bool(b, v->boolean);
		return;
	case VALUE_INTEGER:
		copy_int8(b, v->integer);
		return;
	case VALUE_DECIMAL:
		copy_decimal(b, v);
		return;
	case VALUE_FLOAT:
		copy_float(b, v->real);
		return;
	case VALUE_DATE:
		copy_int4(b, (int32_t)(v->integer - DAYS_TO_2000));
		return;
	case VALUE_TIMESTAMP:
		copy_timestamp(b, v->integer);
		return;
	case VALUE_TEXT:
		copy_bytes(b, v->text, v->len);
		return;
	case VALUE_JSON:
		copy_json(b, v);
		return;
	case VALUE_SEALED:
		copy_bytes(b, v->text, v->len);
		return;
	case VALUE_TYPE_MAX:
		break;
	}
	panic("no such type of value: %u", v->type);
}

/* ---- arrays ---- */

void
copy_array_begin(struct buf *b, uint32_t element_oid, uint32_t n, size_t *mark)
{
	*mark = b->len;
	put32(b, 0); /* length, filled in at the end */
	put32(b, n ? 1 : 0);
	put32(b, 0); /* no NULLs */
	put32(b, element_oid);
	if (n) {
		put32(b, n);
		put32(b, 1); /* lower bound */
	}
}

void
copy_array_end(struct buf *b, size_t mark)
{
	uint32_t len = htobe32((uint32_t)(b->len - mark - sizeof(len)));

	memcpy(b->data + mark, &len, sizeof(len));
}

/* ---- a row of a table ---- */

static uint32_t
column_oid(const struct row_column *c)
{
	switch (c->role) {
	case ROW_RID:
	case ROW_VERSION_RID:
		return OID_UUID;
	case ROW_SID:
		return OID_BYTEA;
	case ROW_MISSING:
		return OID_TEXT_ARRAY;
	case ROW_BATCH:
	case ROW_REFERENCE:
		return OID_INT8;
	default:
		return copy_value_oid(c->type);
	}
}

void
copy_layout(const struct model *m, unsigned table, struct copy_layout *out)
{
	unsigned n = row_columns(m, table, out->columns, &out->values_n), kept = 0;

	for (unsigned i = 0; i < n; i++)
		if (out->columns[i].role != ROW_LOADED_AT)
			out->columns[kept++] = out->columns[i];
	out->columns_n = kept;
	for (unsigned i = 0; i < kept; i++)
		out->oids[i] = column_oid(&out->columns[i]);
	out->parts = m->parts;
	out->parts_n = m->parts_n;
}

static void
missing_write(const struct copy_layout *l, uint64_t missing, struct buf *b)
{
	size_t mark;

	copy_array_begin(b, OID_TEXT, (uint32_t)__builtin_popcountll(missing), &mark);
	for (unsigned i = 0; i < l->parts_n; i++)
		if (missing >> i & 1)
			copy_bytes(b, l->parts[i].name, strlen(l->parts[i].name));
	copy_array_end(b, mark);
}

static void
rid_write(const uint8_t rid[static RID_BYTES], struct buf *b)
{
	static const uint8_t none[RID_BYTES];

	if (memcmp(rid, none, RID_BYTES) == 0)
		copy_null(b);
	else
		copy_bytes(b, rid, RID_BYTES);
}

static bool
value_write(const struct row_column *c, const struct row *row, struct buf *b)
{
	const struct value *v = &row->values[c->value];

	if (v->type != VALUE_NULL && v->type != c->type)
		return false;
	if (v->type == VALUE_SEALED && !wire_carried_read(v->text, v->len, &(struct carried){0}))
		return false;
	copy_value(b, v);
	return true;
}

static bool
column_write(const struct copy_layout *l, const struct row_column *c, const struct row *row,
	     int64_t batch, struct buf *b)
{
	switch (c->role) {
	case ROW_RID:
	case ROW_VERSION_RID:
		rid_write(row->rid, b);
		return true;
	case ROW_SID:
		if (row->has_sid)
			copy_bytes(b, row->sid, SUBJECT_ID_BYTES);
		else
			copy_null(b);
		return true;
	case ROW_MISSING:
		missing_write(l, row->missing, b);
		return true;
	case ROW_BATCH:
		copy_int8(b, batch);
		return true;
	default:
		return value_write(c, row, b);
	}
}

bool
copy_row(const struct copy_layout *l, const struct row *row, int64_t batch, struct buf *b,
	 struct err *e)
{
	size_t start = b->len;

	if (row->values_n != l->values_n)
		return err_set(e, EXIT_BUG, "a row of %u values for a table of %u", row->values_n,
			       l->values_n);
	if (row->missing >> l->parts_n && l->parts_n < 64)
		return err_set(e, EXIT_BUG, "a row lacks a part that is not declared");
	copy_fields(b, l->columns_n);
	for (unsigned i = 0; i < l->columns_n; i++) {
		if (column_write(l, &l->columns[i], row, batch, b))
			continue;
		b->len = start;
		return err_set(e, EXIT_BUG, "column %s: a value of another type",
			       l->columns[i].name);
	}
	return true;
}

/* ---- walking ---- */

unsigned
copy_next(const struct buf *b, size_t *at, struct copy_field *fields, unsigned max)
{
	check(b->len - *at >= 2);
	unsigned n = (unsigned)b->data[*at] << 8 | b->data[*at + 1];

	*at += 2;
	check(n <= max);
	for (unsigned i = 0; i < n; i++) {
		check(b->len - *at >= 4);
		uint32_t len = get32(b->data + *at);
		*at += 4;
		fields[i] = (struct copy_field){NULL, 0};
		if (len == UINT32_MAX)
			continue;
		check(b->len - *at >= len);
		fields[i] = (struct copy_field){b->data + *at, len};
		*at += len;
	}
	return n;
}

int64_t
copy_field_int8(const struct copy_field *f)
{
	uint64_t v;

	check(f->data != NULL && f->len == sizeof(v));
	memcpy(&v, f->data, sizeof(v));
	return (int64_t)be64toh(v);
}
