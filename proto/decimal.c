#include "decimal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	EXPONENT_MAX = 1000000, /* larger ones are cut to this: all the same out of range */
	WIDE_WORDS = 4,
	DOUBLE_EXACT_BITS = 53,
	DOUBLE_DIGITS = 15, /* every decimal of so many digits survives a double */
};

#define E18	    ((uint128)1000000000000000000ULL)
#define TEN(x)	    (x), (x)*10, (x)*100, (x)*1000, (x)*10000, (x)*100000
#define EIGHTEEN(x) TEN(x), TEN((x)*1000000), TEN((x)*1000000000000ULL)

static const uint128 pow10_table[DECIMAL_DIGITS_MAX + 1] = {
    EIGHTEEN((uint128)1), EIGHTEEN(E18), E18 *E18, E18 *E18 * 10, E18 *E18 * 100};

#undef TEN
#undef EIGHTEEN
#undef E18

uint128
decimal_pow10(unsigned n)
{
	return pow10_table[n];
}

static uint128
magnitude(int128 x)
{
	return x < 0 ? -(uint128)x : (uint128)x;
}

/* False when the magnitude has too many digits. */
static bool
decimal_make(bool negative, uint128 units, unsigned scale, struct value *out)
{
	if (units >= pow10_table[DECIMAL_DIGITS_MAX])
		return false;
	*out = value_decimal(negative ? -(int128)units : (int128)units, scale);
	return true;
}

/* ---- 256 bits, for products and for the numerators of quotients ---- */

struct wide {
	uint64_t w[WIDE_WORDS]; /* least significant first */
};

static struct wide
wide_mul(uint128 a, uint128 b)
{
	uint64_t a0 = (uint64_t)a, a1 = (uint64_t)(a >> 64);
	uint64_t b0 = (uint64_t)b, b1 = (uint64_t)(b >> 64);
	uint128 low = (uint128)a0 * b0;
	uint128 x = (uint128)a1 * b0 + (uint64_t)(low >> 64); /* cannot overflow */
	uint128 y = (uint128)a0 * b1 + (uint64_t)x;
	uint128 high = (uint128)a1 * b1 + (uint64_t)(x >> 64) + (uint64_t)(y >> 64);

	return (struct wide){{(uint64_t)low, (uint64_t)y, (uint64_t)high, (uint64_t)(high >> 64)}};
}

/* Divides by a divisor below 2^127; false when the quotient passes 128 bits (*rest is right even
 * so). */
static bool
wide_div(const struct wide *n, uint128 divisor, uint128 *quotient, uint128 *rest)
{
	uint128 r = 0, q = 0;
	bool fits = true;

	if (!n->w[2] && !n->w[3]) {
		uint128 x = ((uint128)n->w[1] << 64) | n->w[0];
		*quotient = x / divisor;
		*rest = x % divisor;
		return true;
	}
	for (int i = WIDE_WORDS * 64 - 1; i >= 0; i--) {
		r = r << 1 | (n->w[i / 64] >> (i % 64) & 1);
		fits = fits && !(q >> 127);
		q <<= 1;
		if (r >= divisor) {
			r -= divisor;
			q |= 1;
		}
	}
	*quotient = q;
	*rest = r;
	return fits;
}

static uint128
round_half(uint128 quotient, uint128 rest, uint128 divisor)
{
	return rest >= divisor - rest ? quotient + 1 : quotient;
}

/* ---- arithmetic ---- */

static unsigned
scale_larger(const struct value *a, const struct value *b)
{
	return a->scale > b->scale ? a->scale : b->scale;
}

/*
 * Whole parts and fractions apart: a number that has no room at the larger scale may still have a
 * sum that does.
 */
static bool
sum(int128 a, unsigned a_scale, int128 b, unsigned b_scale, struct value *out)
{
	unsigned scale = a_scale > b_scale ? a_scale : b_scale;
	int128 one_a = (int128)pow10_table[a_scale], one_b = (int128)pow10_table[b_scale];
	int128 fraction = a % one_a * (int128)pow10_table[scale - a_scale] +
			  b % one_b * (int128)pow10_table[scale - b_scale];
	int128 total;

	if (__builtin_mul_overflow(a / one_a + b / one_b, (int128)pow10_table[scale], &total) ||
	    __builtin_add_overflow(total, fraction, &total))
		return false;
	return decimal_make(total < 0, magnitude(total), scale, out);
}

bool
decimal_add(const struct value *a, const struct value *b, struct value *out)
{
	return sum(value_units(a), a->scale, value_units(b), b->scale, out);
}

bool
decimal_sub(const struct value *a, const struct value *b, struct value *out)
{
	return sum(value_units(a), a->scale, -value_units(b), b->scale, out);
}

bool
decimal_mul(const struct value *a, const struct value *b, struct value *out)
{
	int128 x = value_units(a), y = value_units(b);
	unsigned scale = (unsigned)a->scale + b->scale;
	unsigned excess = scale > DECIMAL_SCALE_MAX ? scale - DECIMAL_SCALE_MAX : 0;
	struct wide product = wide_mul(magnitude(x), magnitude(y));
	uint128 quotient, rest;

	if (!wide_div(&product, pow10_table[excess], &quotient, &rest))
		return false;
	if (excess)
		quotient = round_half(quotient, rest, pow10_table[excess]);
	return decimal_make((x < 0) != (y < 0), quotient, scale - excess, out);
}

bool
decimal_div(const struct value *a, const struct value *b, struct value *out)
{
	int128 x = value_units(a), y = value_units(b);
	unsigned scale = scale_larger(a, b);
	uint128 quotient, rest;

	if (!y)
		return false;
	if (scale < DECIMAL_DIV_SCALE)
		scale = DECIMAL_DIV_SCALE;
	struct wide n = wide_mul(magnitude(x), pow10_table[scale - a->scale + b->scale]);
	if (!wide_div(&n, magnitude(y), &quotient, &rest))
		return false;
	quotient = round_half(quotient, rest, magnitude(y));
	return decimal_make((x < 0) != (y < 0), quotient, scale, out);
}

/* The remainder has the sign of the dividend, as in SQL. */
bool
decimal_mod(const struct value *a, const struct value *b, struct value *out)
{
	int128 x = value_units(a), y = value_units(b);
	unsigned scale = scale_larger(a, b);
	uint128 quotient, rest, divisor;

	if (!y)
		return false;
	if (__builtin_mul_overflow(magnitude(y), pow10_table[scale - b->scale], &divisor) ||
	    divisor >> 127)
		return decimal_make(x < 0, magnitude(x), scale, out); /* then a had that scale */
	struct wide n = wide_mul(magnitude(x), pow10_table[scale - a->scale]);
	(void)wide_div(&n, divisor, &quotient, &rest);
	return decimal_make(x < 0, rest, scale, out);
}

static uint128
round_rest(uint128 quotient, uint128 rest, uint128 divisor, bool negative, enum decimal_round how)
{
	switch (how) {
	case ROUND_HALF_AWAY:
		return round_half(quotient, rest, divisor);
	case ROUND_FLOOR:
		return rest && negative ? quotient + 1 : quotient;
	case ROUND_CEIL:
		return rest && !negative ? quotient + 1 : quotient;
	case ROUND_TO_ZERO:
		break;
	}
	return quotient;
}

bool
decimal_rescale(const struct value *a, unsigned scale, enum decimal_round how, struct value *out)
{
	int128 x = value_units(a);
	uint128 units = magnitude(x);

	if (scale >= a->scale) {
		if (__builtin_mul_overflow(units, pow10_table[scale - a->scale], &units))
			return false;
	} else {
		uint128 divisor = pow10_table[a->scale - scale];
		units = round_rest(units / divisor, units % divisor, divisor, x < 0, how);
	}
	return decimal_make(x < 0, units, scale, out);
}

int
decimal_compare(const struct value *a, const struct value *b)
{
	int128 x = value_units(a), y = value_units(b);

	if (a->scale != b->scale) {
		int128 one_a = (int128)pow10_table[a->scale], one_b = (int128)pow10_table[b->scale];
		int128 whole_x = x / one_a, whole_y = y / one_b;
		if (whole_x != whole_y)
			return whole_x < whole_y ? -1 : 1;
		x = x % one_a * (int128)pow10_table[DECIMAL_SCALE_MAX - a->scale];
		y = y % one_b * (int128)pow10_table[DECIMAL_SCALE_MAX - b->scale];
	}
	return (x > y) - (x < y);
}

/* ---- conversions ---- */

struct value
decimal_from_integer(int64_t i)
{
	return value_decimal(i, 0);
}

bool
decimal_to_integer(const struct value *a, int64_t *out)
{
	struct value whole;

	if (!decimal_rescale(a, 0, ROUND_HALF_AWAY, &whole))
		return false;
	int128 x = value_units(&whole);
	if (x < INT64_MIN || x > INT64_MAX)
		return false;
	*out = (int64_t)x;
	return true;
}

size_t
decimal_format(const struct value *v, char out[static VALUE_FORMAT_MAX])
{
	char digits[VALUE_FORMAT_MAX];
	uint128 units = magnitude(value_units(v));
	size_t n = 0, at = 0;

	for (; units >> 64; units /= 10)
		digits[n++] = (char)('0' + (int)(units % 10));
	for (uint64_t low = (uint64_t)units; low || n <= v->scale; low /= 10)
		digits[n++] = (char)('0' + (int)(low % 10));
	if (value_units(v) < 0)
		out[at++] = '-';
	while (n) {
		out[at++] = digits[--n];
		if (n == v->scale && n)
			out[at++] = '.';
	}
	out[at] = '\0';
	return at;
}

double
decimal_to_double(const struct value *a)
{
	char text[VALUE_FORMAT_MAX];
	int128 x = value_units(a);

	/* Both exact, so one division rounds once; 10^18 needs 42 bits beside its factors of two.
	 */
	if (magnitude(x) >> DOUBLE_EXACT_BITS == 0)
		return (double)(int64_t)x / (double)(uint64_t)pow10_table[a->scale];
	decimal_format(a, text);
	return strtod(text, NULL);
}

/* ---- parsing ---- */

struct digits { /* [-]digits[.digits][e[+-]digits], taken apart */
	bool negative;
	const char *first; /* first significant digit; a point may stand between the digits */
	size_t count;	   /* significant digits, leading zeros not counted */
	size_t zeros;	   /* trailing zeros among them */
	int64_t scale;	   /* digits after the point, less the exponent */
};

static size_t
digits_run(const char *s, size_t n, size_t at, struct digits *d)
{
	for (; at < n && s[at] >= '0' && s[at] <= '9'; at++) {
		if (s[at] == '0' && !d->count)
			continue;
		if (!d->count)
			d->first = s + at;
		d->count++;
		d->zeros = s[at] == '0' ? d->zeros + 1 : 0;
	}
	return at;
}

static bool
digits_exponent(const char *s, size_t n, size_t at, struct digits *d)
{
	bool minus = at < n && s[at] == '-';
	int64_t exponent = 0;

	if (at < n && (s[at] == '-' || s[at] == '+'))
		at++;
	if (at == n)
		return false;
	for (; at < n && s[at] >= '0' && s[at] <= '9'; at++)
		if (exponent < EXPONENT_MAX)
			exponent = exponent * 10 + (s[at] - '0');
	d->scale += minus ? exponent : -exponent;
	return at == n;
}

static bool
digits_split(const char *s, size_t n, struct digits *d)
{
	size_t at = 0, from;

	*d = (struct digits){.first = s};
	if (at < n && s[at] == '-') {
		d->negative = true;
		at++;
	}
	from = at;
	at = digits_run(s, n, at, d);
	if (at == from)
		return false;
	if (at < n && s[at] == '.') {
		from = ++at;
		at = digits_run(s, n, at, d);
		if (at == from)
			return false;
		d->scale = (int64_t)(at - from);
	}
	if (at == n)
		return true;
	return (s[at] == 'e' || s[at] == 'E') && digits_exponent(s, n, at + 1, d);
}

/* The first `count` significant digits as a number; count is at most DECIMAL_DIGITS_MAX. */
static uint128
digits_units(const struct digits *d, size_t count)
{
	uint128 units = 0;

	for (const char *p = d->first; count; p++) {
		if (*p == '.')
			continue;
		units = units * 10 + (unsigned)(*p - '0');
		count--;
	}
	return units;
}

/* Trailing zeros of the fraction are kept, but given up where there is no room for them. */
static void
digits_shorten(struct digits *d)
{
	while (d->zeros && d->scale > 0 &&
	       (d->scale > DECIMAL_SCALE_MAX || d->count > DECIMAL_DIGITS_MAX)) {
		d->zeros--;
		d->count--;
		d->scale--;
	}
	if (!d->count && d->scale > DECIMAL_SCALE_MAX)
		d->scale = DECIMAL_SCALE_MAX;
	if (!d->count && d->scale < 0)
		d->scale = 0;
}

bool
decimal_parse(const char *s, size_t n, struct value *out, struct err *e)
{
	struct digits d;

	if (!digits_split(s, n, &d))
		return err_set(e, EXIT_DATA, "not a number in plain digits");
	digits_shorten(&d);
	if (d.scale > DECIMAL_SCALE_MAX)
		return err_set(e, EXIT_DATA, "decimal has more than %d digits after the point",
			       DECIMAL_SCALE_MAX);
	uint128 more = d.scale < 0 ? (uint128)-d.scale : 0;
	if (d.count + more > DECIMAL_DIGITS_MAX)
		return err_set(e, EXIT_DATA, "decimal has more than %d digits", DECIMAL_DIGITS_MAX);
	uint128 units = digits_units(&d, d.count) * pow10_table[(unsigned)more];
	if (!decimal_make(d.negative, units, d.scale < 0 ? 0 : (unsigned)d.scale, out))
		return err_set(e, EXIT_DATA, "decimal has more than %d digits", DECIMAL_DIGITS_MAX);
	return true;
}

bool
decimal_from_double(double x, struct value *out)
{
	char text[VALUE_FORMAT_MAX];
	struct digits d;

	if (!isfinite(x))
		return false;
	int n = snprintf(text, sizeof text, "%.*e", DOUBLE_DIGITS - 1, x);
	if (!digits_split(text, (size_t)n, &d))
		return false;
	if (!d.count) {
		*out = value_decimal(0, 0);
		return true;
	}
	size_t drop = d.scale > 0 && d.zeros > (size_t)d.scale ? (size_t)d.scale : d.zeros;
	d.count -= drop;
	d.scale -= (int64_t)drop;
	uint128 units = digits_units(&d, d.count);
	for (; d.scale > DECIMAL_SCALE_MAX && units; d.scale--)
		units = d.scale == DECIMAL_SCALE_MAX + 1 ? (units + 5) / 10 : units / 10;
	if (!units) {
		*out = value_decimal(0, 0);
		return true;
	}
	if (d.scale < 0) {
		if (-d.scale + (int64_t)d.count > DECIMAL_DIGITS_MAX)
			return false;
		units *= pow10_table[-d.scale];
		d.scale = 0;
	}
	return decimal_make(d.negative, units, (unsigned)d.scale, out);
}
