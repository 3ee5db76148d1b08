/*
 * value: one value of a field, a fold or a column, while it is in flight. Types are those of the
 * pipeline file. A value never owns its bytes: text and json are borrowed from the frame, the
 * process or the scratch buffer they came from, and are valid UTF-8 without NUL.
 *
 * decimal: units * 10^-scale, units a signed 128-bit integer of at most 38 digits, scale 0 to 18.
 * date: days since 1970-01-01. timestamp: microseconds since 1970-01-01T00:00:00Z. Both in
 * PostgreSQL's range (0001-01-01 to 9999-12-31 is what we accept).
 */
#ifndef PROTO_VALUE_H
#define PROTO_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"

enum value_type {
	VALUE_NULL, /* only as the type of a value, never of a field */
	VALUE_BOOLEAN,
	VALUE_INTEGER,
	VALUE_DECIMAL,
	VALUE_FLOAT,
	VALUE_DATE,
	VALUE_TIMESTAMP,
	VALUE_TEXT,
	VALUE_JSON,
	VALUE_SEALED, /* opaque bytes: no expression, comparison or text of it exists */
	VALUE_TYPE_MAX
};

enum {
	DECIMAL_DIGITS_MAX = 38,
	DECIMAL_SCALE_MAX = 18,
	TEXT_BYTES_MAX = 1 << 20, /* longest text, json or sealed value of one field */
	RID_BYTES = 16,
	VALUE_FORMAT_MAX = 64, /* longest canonical text of anything but text and json */
};

typedef __int128 int128;
typedef unsigned __int128 uint128;

struct value {
	uint8_t type;  /* enum value_type */
	uint8_t scale; /* of a decimal */
	uint32_t len;  /* bytes of text, json or sealed */
	union {
		bool boolean;
		int64_t integer; /* integer, date, timestamp */
		double real;
		const char *text; /* text, json, sealed; not NUL-terminated */
		struct {
			uint64_t lo;
			int64_t hi;
		} decimal;
	};
};

static inline struct value
value_null(void)
{
	return (struct value){.type = VALUE_NULL};
}

static inline struct value
value_integer(int64_t i)
{
	return (struct value){.type = VALUE_INTEGER, .integer = i};
}

static inline struct value
value_boolean(bool b)
{
	return (struct value){.type = VALUE_BOOLEAN, .boolean = b};
}

static inline struct value
value_timestamp(int64_t us)
{
	return (struct value){.type = VALUE_TIMESTAMP, .integer = us};
}

static inline struct value
value_text(const char *s, size_t n)
{
	return (struct value){.type = VALUE_TEXT, .len = (uint32_t)n, .text = s};
}

static inline int128
value_units(const struct value *v)
{
	return (int128)(((uint128)(uint64_t)v->decimal.hi << 64) | v->decimal.lo);
}

static inline struct value
value_decimal(int128 units, unsigned scale)
{
	return (struct value){.type = VALUE_DECIMAL,
			      .scale = (uint8_t)scale,
			      .decimal = {(uint64_t)units, (int64_t)((uint128)units >> 64)}};
}

const char *value_type_name(enum value_type t); /* "text", ...; as in the pipeline file */
enum value_type value_type_find(const char *name, size_t n); /* VALUE_TYPE_MAX: none */

/*
 * Total order within one type (the types must be equal and not null): numbers by value, text and
 * json by bytes, false before true, floats with -0 = 0 and no NaN (NaN never becomes a value).
 * Decimals of different scale compare by value: 1.0 = 1.00.
 */
int value_compare(const struct value *a, const struct value *b);

/*
 * The canonical text of a value, as it is shown, hashed and compared as a correlation ID or a
 * natural key: integers and decimals in plain digits (decimal keeps its scale), timestamps as
 * 2011-10-01T00:38:44.546Z (fraction without trailing zeros, absent when zero), dates as
 * 2011-10-01, booleans true and false. Appends to b.
 */
void value_print(const struct value *v, struct buf *b);

/* The same into an array, for any type but text and json; returns the bytes, adds no NUL. */
size_t value_format(const struct value *v, char out[static VALUE_FORMAT_MAX]);

/*
 * Decimal from JSON digits: [-]digits[.digits][e[+-]digits]. Exact or an error: more than 38
 * significant digits, scale outside 0..18 (after applying the exponent; trailing zeros of the
 * fraction are kept as scale, but may be dropped to reach 18), anything else but digits.
 * 1e400 is an error.
 */
MUSTCHECK bool decimal_parse(const char *s, size_t n, struct value *out, struct err *e);

/*
 * Forms of time (pipeline file: `form:` of a field). RFC 3339 with offset or Z, also with a space
 * for T and lower-case t and z, fractions of 1 to 9 digits cut to microseconds, seconds 60 refused.
 * Without an offset: only when zone is not NULL (an IANA name; the local time of that zone; a local
 * time that does not exist or is ambiguous takes the earlier offset). unix_s, unix_ms, unix_us take
 * a JSON number (unix_s may have a fraction).
 */
enum time_form { TIME_RFC3339, TIME_UNIX_S, TIME_UNIX_MS, TIME_UNIX_US, TIME_FORM_MAX };

struct zone; /* an opened IANA time zone */
MUSTCHECK bool zone_open(const char *name, struct zone **out, struct err *e); /* free: zone_close */
void zone_close(struct zone *z);
int64_t zone_offset_us(const struct zone *z, int64_t time_us); /* local = utc + offset; NULL: 0 */
int64_t zone_to_utc_us(const struct zone *z, int64_t local_us);
int64_t zone_date(const struct zone *z, int64_t time_us); /* days since the epoch, in that zone */

MUSTCHECK bool time_parse(const char *s, size_t n, enum time_form form, const struct zone *zone,
			  int64_t *time_us, struct err *e);
MUSTCHECK bool date_parse(const char *s, size_t n, int64_t *days, struct err *e); /* 2011-10-01 */
int64_t date_from_civil(int64_t year, unsigned month, unsigned day); /* proleptic Gregorian */
void date_to_civil(int64_t days, int64_t *year, unsigned *month, unsigned *day);

#endif
