/*
 * copy: rows in PostgreSQL's binary form, the same bytes for COPY (FORMAT BINARY) and for binary
 * parameters of a statement: per row a count of fields (u16), per field its length (i32, -1: NULL)
 * and its bytes, all big-endian. A value that the type cannot hold is the server's to refuse; a
 * value of another type than its column's is a breach by the sender.
 */
#ifndef WORKERS_LOAD_COPY_H
#define WORKERS_LOAD_COPY_H

#include "buf.h"
#include "rows.h"
#include "value.h"
#include "wire.h"

/* OIDs of PostgreSQL's types; fixed for ever by its catalogue. */
enum {
	OID_BOOL = 16,
	OID_BYTEA = 17,
	OID_INT8 = 20,
	OID_INT2 = 21,
	OID_INT4 = 23,
	OID_TEXT = 25,
	OID_FLOAT8 = 701,
	OID_BYTEA_ARRAY = 1001,
	OID_INT4_ARRAY = 1007,
	OID_TEXT_ARRAY = 1009,
	OID_INT8_ARRAY = 1016,
	OID_DATE = 1082,
	OID_TIMESTAMPTZ = 1184,
	OID_NUMERIC = 1700,
	OID_UUID = 2950,
	OID_JSONB = 3802,
};

uint32_t copy_value_oid(enum value_type t);

/* ---- what stands around the rows ---- */
void copy_header(struct buf *b);
void copy_trailer(struct buf *b);

/* ---- fields ---- */
void copy_fields(struct buf *b, unsigned n); /* begins a row of n fields */
void copy_null(struct buf *b);
void copy_bool(struct buf *b, bool v);
void copy_int2(struct buf *b, int16_t v);
void copy_int4(struct buf *b, int32_t v);
void copy_int8(struct buf *b, int64_t v);
void copy_timestamp(struct buf *b, int64_t us_since_1970);
void copy_bytes(struct buf *b, const void *p, size_t n); /* text, bytea, uuid */
void copy_decimal(struct buf *b, const struct value *v);
void copy_value(struct buf *b, const struct value *v); /* by its own type; NULL too */

/* Arrays of one dimension, without NULLs, as a field. */
void copy_array_begin(struct buf *b, uint32_t element_oid, uint32_t n, size_t *mark);
void copy_array_end(struct buf *b, size_t mark);

/* ---- a row of a table ---- */
struct copy_layout {
	struct row_column columns[ROW_COLUMNS_MAX];
	unsigned columns_n; /* those that are sent: all but loaded_at, in rows.h' order */
	unsigned values_n;  /* of a struct row */
	uint32_t oids[ROW_COLUMNS_MAX];
	const struct part *parts; /* names for `missing` */
	unsigned parts_n;
};

void copy_layout(const struct model *m, unsigned table, struct copy_layout *out);

/* False: the row does not fit the table (count or types of values); nothing was appended. */
MUSTCHECK bool copy_row(const struct copy_layout *l, const struct row *row, int64_t batch,
			struct buf *b, struct err *e);

/* ---- walking encoded rows ---- */
struct copy_field {
	const uint8_t *data; /* NULL: SQL NULL; borrowed */
	uint32_t len;
};

/* Takes the row at *at apart; our own encoding, so a breach is our bug. Returns the count of
 * fields. */
unsigned copy_next(const struct buf *b, size_t *at, struct copy_field *fields, unsigned max);
int64_t copy_field_int8(const struct copy_field *f);

#endif
