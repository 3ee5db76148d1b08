#include "fn.h"

#include <math.h>

#include "decimal.h"

enum { INTEGER_DIGITS = 18 }; /* 10 to this power still fits 64 bits */

static bool
put_float(struct call *c, double x)
{
	*c->out = (struct value){.type = VALUE_FLOAT, .real = x};
	return isfinite(x);
}

bool
fn_abs(struct call *c)
{
	const struct value *v = c->arg[0];

	*c->out = *v;
	if (v->type == VALUE_FLOAT)
		c->out->real = fabs(v->real);
	else if (v->type == VALUE_DECIMAL && value_units(v) < 0)
		*c->out = value_decimal(-value_units(v), v->scale);
	else if (v->type == VALUE_INTEGER && v->integer < 0)
		return !__builtin_sub_overflow(INT64_C(0), v->integer, &c->out->integer);
	return true;
}

bool
fn_sign(struct call *c)
{
	const struct value *v = c->arg[0];
	int sign;

	if (v->type == VALUE_FLOAT)
		sign = (v->real > 0) - (v->real < 0);
	else if (v->type == VALUE_DECIMAL)
		sign = (value_units(v) > 0) - (value_units(v) < 0);
	else
		sign = (v->integer > 0) - (v->integer < 0);
	*c->out = value_integer(sign);
	return true;
}

/* A decimal with at most `digits` digits after the point; below zero also tens, hundreds, ... */
static bool
round_decimal(struct call *c, const struct value *v, int64_t digits, enum decimal_round how)
{
	struct value unit, cut;

	if (digits >= v->scale && digits >= 0) {
		*c->out = *v;
		return true;
	}
	if (digits >= 0)
		return decimal_rescale(v, (unsigned)digits, how, c->out);
	if (digits < -DECIMAL_SCALE_MAX) {
		*c->out = value_decimal(0, 0);
		return true;
	}
	int128 ten = (int128)decimal_pow10((unsigned)-digits);
	struct value parts = value_decimal(value_units(v), v->scale);
	unit = value_decimal(ten, 0);
	if (!decimal_mod(&parts, &unit, &cut) || !decimal_sub(&parts, &cut, &parts) ||
	    !decimal_rescale(&parts, 0, ROUND_TO_ZERO, c->out))
		return false;
	struct value half = value_decimal(ten / 2, 0);
	bool negative = value_units(&cut) < 0;
	struct value magnitude = negative ? value_decimal(-value_units(&cut), cut.scale) : cut;
	if (how == ROUND_HALF_AWAY && decimal_compare(&magnitude, &half) >= 0)
		return negative ? decimal_sub(c->out, &unit, c->out)
				: decimal_add(c->out, &unit, c->out);
	return true;
}

static bool
round_integer(struct call *c, const struct value *v, int64_t digits, enum decimal_round how)
{
	struct value decimal = decimal_from_integer(v->integer);
	struct call inner = *c;
	struct value rounded;

	*c->out = *v;
	if (digits >= 0)
		return true;
	if (digits < -INTEGER_DIGITS) {
		*c->out = value_integer(0);
		return true;
	}
	inner.out = &rounded;
	return round_decimal(&inner, &decimal, digits, how) &&
	       decimal_to_integer(&rounded, &c->out->integer);
}

static bool
round_any(struct call *c, enum decimal_round how)
{
	const struct value *v = c->arg[0];
	int64_t digits = c->n > 1 ? c->arg[1]->integer : 0;

	if (v->type == VALUE_INTEGER)
		return round_integer(c, v, digits, how);
	if (v->type == VALUE_DECIMAL)
		return round_decimal(c, v, digits, how);
	if (digits > DECIMAL_SCALE_MAX || digits < -DECIMAL_SCALE_MAX)
		return put_float(c, digits > 0 ? v->real : 0);
	double factor = pow(10, (double)digits);
	double scaled = v->real * factor;
	if (!isfinite(scaled))
		return put_float(c, v->real);
	return put_float(c, (how == ROUND_TO_ZERO ? trunc(scaled) : round(scaled)) / factor);
}

bool
fn_round(struct call *c)
{
	return round_any(c, ROUND_HALF_AWAY);
}

bool
fn_trunc(struct call *c)
{
	return round_any(c, ROUND_TO_ZERO);
}

bool
fn_floor(struct call *c)
{
	const struct value *v = c->arg[0];

	if (v->type == VALUE_FLOAT)
		return put_float(c, floor(v->real));
	if (v->type == VALUE_DECIMAL)
		return decimal_rescale(v, 0, ROUND_FLOOR, c->out);
	*c->out = *v;
	return true;
}

bool
fn_ceil(struct call *c)
{
	const struct value *v = c->arg[0];

	if (v->type == VALUE_FLOAT)
		return put_float(c, ceil(v->real));
	if (v->type == VALUE_DECIMAL)
		return decimal_rescale(v, 0, ROUND_CEIL, c->out);
	*c->out = *v;
	return true;
}

bool
fn_sqrt(struct call *c)
{
	return put_float(c, sqrt(c->arg[0]->real));
}

bool
fn_exp(struct call *c)
{
	return put_float(c, exp(c->arg[0]->real));
}

bool
fn_ln(struct call *c)
{
	return put_float(c, log(c->arg[0]->real));
}

bool
fn_power(struct call *c)
{
	return put_float(c, pow(c->arg[0]->real, c->arg[1]->real));
}

bool
fn_bucket(struct call *c)
{
	int64_t n = 0;

	for (unsigned i = 1; i < c->n; i++)
		n += value_compare(c->arg[0], c->arg[i]) >= 0;
	*c->out = value_integer(n);
	return true;
}

/* ---- choice ---- */

bool
fn_nullif(struct call *c)
{
	const struct value *a = c->arg[0], *b = c->arg[1];
	bool both = a->type != VALUE_NULL && b->type != VALUE_NULL;

	*c->out = both && !value_compare(a, b) ? value_null() : *a;
	return true;
}

static bool
extreme(struct call *c, int sign)
{
	const struct value *best = NULL;

	for (unsigned i = 0; i < c->n; i++)
		if (c->arg[i]->type != VALUE_NULL &&
		    (!best || value_compare(c->arg[i], best) * sign > 0))
			best = c->arg[i];
	*c->out = best ? *best : value_null();
	return true;
}

bool
fn_least(struct call *c)
{
	return extreme(c, -1);
}

bool
fn_greatest(struct call *c)
{
	return extreme(c, 1);
}
