/*
 * decimal: exact arithmetic on decimal values (value.h). Every function is total: false means that
 * the result has more than DECIMAL_DIGITS_MAX digits or does not exist (division by zero), and *out
 * is then untouched. Scales: + - take the larger one, * the sum (rounded to DECIMAL_SCALE_MAX where
 * it would pass it), / max(DECIMAL_DIV_SCALE, both), % the larger one. Rounding is half away from
 * zero.
 */
#ifndef PROTO_DECIMAL_H
#define PROTO_DECIMAL_H

#include "value.h"

enum { DECIMAL_DIV_SCALE = 6 };

uint128 decimal_pow10(unsigned n); /* n at most DECIMAL_DIGITS_MAX */

MUSTCHECK bool decimal_add(const struct value *a, const struct value *b, struct value *out);
MUSTCHECK bool decimal_sub(const struct value *a, const struct value *b, struct value *out);
MUSTCHECK bool decimal_mul(const struct value *a, const struct value *b, struct value *out);
MUSTCHECK bool decimal_div(const struct value *a, const struct value *b, struct value *out);
MUSTCHECK bool decimal_mod(const struct value *a, const struct value *b, struct value *out);

enum decimal_round { ROUND_HALF_AWAY, ROUND_TO_ZERO, ROUND_FLOOR, ROUND_CEIL };

/* The same number with another scale (at most DECIMAL_SCALE_MAX). */
MUSTCHECK bool decimal_rescale(const struct value *a, unsigned scale, enum decimal_round how,
			       struct value *out);

int decimal_compare(const struct value *a, const struct value *b); /* by value: 1.0 = 1.00 */
struct value decimal_from_integer(int64_t i);			   /* scale 0 */
/* Rounded half away; false: it does not fit 64 bits. */
MUSTCHECK bool decimal_to_integer(const struct value *a, int64_t *out);
double decimal_to_double(const struct value *a); /* the nearest double */
/* 15 significant digits, at most DECIMAL_SCALE_MAX of them after the point; false: too large or not
 * finite. */
MUSTCHECK bool decimal_from_double(double d, struct value *out);

size_t decimal_format(const struct value *v, char out[static VALUE_FORMAT_MAX]); /* adds a NUL */

#endif
