/* Sums in 256 bits: exact, and the same for every order of adding. */
#include "fold.h"

#include <string.h>

static const uint64_t ten_to[SUM_SCALE + 1] = {
    UINT64_C(1),
    UINT64_C(10),
    UINT64_C(100),
    UINT64_C(1000),
    UINT64_C(10000),
    UINT64_C(100000),
    UINT64_C(1000000),
    UINT64_C(10000000),
    UINT64_C(100000000),
    UINT64_C(1000000000),
    UINT64_C(10000000000),
    UINT64_C(100000000000),
    UINT64_C(1000000000000),
    UINT64_C(10000000000000),
    UINT64_C(100000000000000),
    UINT64_C(1000000000000000),
    UINT64_C(10000000000000000),
    UINT64_C(100000000000000000),
    UINT64_C(1000000000000000000),
};

static void
wide_plus(struct wide *w, const struct wide *v)
{
	uint128 carry = 0;

	for (int i = 0; i < WIDE_LIMBS; i++) {
		carry += (uint128)w->limb[i] + v->limb[i];
		w->limb[i] = (uint64_t)carry;
		carry >>= 64;
	}
}

static void
wide_negate(struct wide *w)
{
	uint128 carry = 1;

	for (int i = 0; i < WIDE_LIMBS; i++) {
		carry += (uint64_t)~w->limb[i];
		w->limb[i] = (uint64_t)carry;
		carry >>= 64;
	}
}

void
wide_add(struct wide *w, const struct value *v)
{
	bool decimal = v->type == VALUE_DECIMAL;
	int128 units = decimal ? value_units(v) : v->integer;
	uint128 size = units < 0 ? -(uint128)units : (uint128)units;
	uint64_t by = ten_to[SUM_SCALE - (decimal ? v->scale : 0u)];
	struct wide x = {0};

	uint128 low = (uint128)(uint64_t)size * by;
	uint128 high = (uint128)(uint64_t)(size >> 64) * by + (uint64_t)(low >> 64);
	x.limb[0] = (uint64_t)low;
	x.limb[1] = (uint64_t)high;
	x.limb[2] = (uint64_t)(high >> 64);
	if (units < 0)
		wide_negate(&x);
	wide_plus(w, &x);
}

/* Divides by a number below 2^63; returns the rest. */
static uint64_t
wide_divide(struct wide *w, uint64_t by)
{
	uint128 rest = 0;

	for (int i = WIDE_LIMBS - 1; i >= 0; i--) {
		rest = rest << 64 | w->limb[i];
		w->limb[i] = (uint64_t)(rest / by);
		rest %= by;
	}
	return (uint64_t)rest;
}

bool
wide_value(const struct wide *w, unsigned scale, struct value *out)
{
	struct wide x = *w;
	bool negative = x.limb[WIDE_LIMBS - 1] >> 63;
	uint128 limit = (uint128)ten_to[18] * ten_to[18] * 100;

	if (negative)
		wide_negate(&x);
	/* Nothing is lost: no value that was added had a larger scale. */
	wide_divide(&x, ten_to[SUM_SCALE - scale]);
	uint128 size = (uint128)x.limb[1] << 64 | x.limb[0];
	if (x.limb[2] || x.limb[3] || size >= limit)
		return false;
	*out = value_decimal(negative ? -(int128)size : (int128)size, scale);
	return true;
}

unsigned
wide_bytes(const struct wide *w, uint8_t out[static 32])
{
	uint8_t all[32];
	unsigned skip = 0;

	for (unsigned i = 0; i < 32; i++)
		all[31 - i] = (uint8_t)(w->limb[i / 8] >> (8 * (i % 8)));
	uint8_t sign = all[0] & 0x80 ? 0xff : 0;
	while (skip < 31 && all[skip] == sign && (all[skip + 1] & 0x80) == (sign & 0x80))
		skip++;
	memcpy(out, all + skip, 32 - skip);
	return 32 - skip;
}

bool
wide_from_bytes(struct wide *w, const uint8_t *p, size_t n)
{
	if (!n || n > 32)
		return false;
	uint64_t fill = p[0] & 0x80 ? UINT64_MAX : 0;
	*w = (struct wide){{fill, fill, fill, fill}};
	for (size_t i = 0; i < n; i++) {
		unsigned bit = (unsigned)(8 * (i % 8));
		uint64_t byte = p[n - 1 - i];
		w->limb[i / 8] = (w->limb[i / 8] & ~(UINT64_C(0xff) << bit)) | byte << bit;
	}
	return true;
}
