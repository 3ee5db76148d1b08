#include "build.h"

#include <math.h>

#include "decimal.h"

const char *
type_words(enum value_type t)
{
	return t == VALUE_NULL ? "null" : value_type_name(t);
}

bool
type_is_number(enum value_type t)
{
	return t == VALUE_INTEGER || t == VALUE_DECIMAL || t == VALUE_FLOAT;
}

static bool
is_time(enum value_type t)
{
	return t == VALUE_DATE || t == VALUE_TIMESTAMP;
}

/* Integer, decimal, float widen in this order; a date widens to its midnight. */
enum value_type
type_join(enum value_type a, enum value_type b)
{
	if (a == b || b == VALUE_NULL)
		return a;
	if (a == VALUE_NULL)
		return b;
	if ((type_is_number(a) && type_is_number(b)) || (is_time(a) && is_time(b)))
		return a > b ? a : b;
	return VALUE_TYPE_MAX;
}

/*
 * A text constant beside dates or times is read as one, so that at > '2011-10-01' means what it
 * says.
 */
static enum value_type
operand_type(const struct builder *b, const struct operand *o, enum value_type time)
{
	bool constant = o->type == VALUE_TEXT && build_value(b, o);

	return constant && is_time(time) ? VALUE_NULL : o->type;
}

bool
type_common(struct builder *b, struct operand *o, unsigned n, const char *where,
	    enum value_type *out)
{
	enum value_type time = VALUE_NULL, type = VALUE_NULL;

	for (unsigned i = 0; i < n; i++)
		if (is_time(o[i].type) && o[i].type > time)
			time = o[i].type;
	for (unsigned i = 0; i < n; i++) {
		enum value_type next = type_join(type, operand_type(b, &o[i], time));
		if (next == VALUE_TYPE_MAX)
			return expr_fail(b->error, o[i].from, o[i].to,
					 "%s with %s: no common type%s", type_words(type),
					 type_words(o[i].type), where);
		type = next;
	}
	for (unsigned i = 0; i < n; i++)
		if (!type_convert(b, &o[i], type))
			return false;
	*out = type;
	return true;
}

/* Conversions the language makes by itself; constants are converted here and now. */
bool
type_convert(struct builder *b, struct operand *o, enum value_type to)
{
	const struct value *constant = build_value(b, o);
	struct operand made = *o;
	struct value v;
	unsigned temp;

	if (o->type == to || o->type == VALUE_NULL || to == VALUE_NULL)
		return true;
	if (constant) {
		if (!expr_convert(constant, to, b->scope->zone, NULL, &v))
			return expr_fail(b->error, o->from, o->to, "not a %s", type_words(to));
		return build_const(b, v, o->from, o->to, o);
	}
	if (!build_temp(b, &temp) || !build_op(b, temp, OP_CAST, to, o->ref, 0, &made))
		return false;
	made.type = to;
	*o = made;
	return true;
}

bool
type_boolean(struct builder *b, const struct operand *o, const char *where)
{
	if (o->type == VALUE_BOOLEAN || o->type == VALUE_NULL)
		return true;
	return expr_fail(b->error, o->from, o->to, "%s needs a boolean, this is of type %s", where,
			 type_words(o->type));
}

bool
type_compare(struct builder *b, unsigned mark, unsigned mask, struct operand *left,
	     struct operand *right, struct operand *out)
{
	struct operand both[2] = {*left, *right};
	enum value_type type;
	enum op op = OP_COMPARE;

	if (!type_common(b, both, 2, "; cast one of them", &type))
		return false;
	if (type == VALUE_TEXT && mask == COMPARE_EQUAL) {
		op = OP_EQUAL_TEXT;
		mask = 0;
	} else if (type == VALUE_TEXT && mask == (COMPARE_LESS | COMPARE_GREATER)) {
		op = OP_EQUAL_TEXT;
		mask = 1;
	} else if (type == VALUE_INTEGER || is_time(type)) {
		op = OP_COMPARE_INT;
	}
	size_t from = left->from, to = right->to;
	if (!build_op(b, mark, op, mask, both[0].ref, both[1].ref, out))
		return false;
	out->type = VALUE_BOOLEAN;
	out->from = from;
	out->to = to;
	return true;
}

/* ---- arithmetic ---- */

/* date and integer, date and date, timestamp and timestamp */
static bool
time_arith(struct builder *b, unsigned mark, char op, struct operand both[2], struct operand *out)
{
	bool swap = op == '+' && both[1].type == VALUE_DATE;
	struct operand *day = &both[swap], *number = &both[!swap];
	enum value_type common;

	if ((op == '+' || op == '-') && day->type == VALUE_DATE && number->type == VALUE_INTEGER) {
		out->type = VALUE_DATE;
		return build_op(b, mark, OP_DATE_DAYS, (unsigned)op, day->ref, number->ref, out);
	}
	bool text = both[0].type == VALUE_TEXT || both[1].type == VALUE_TEXT;
	if (op == '-' && (text || (is_time(both[0].type) && is_time(both[1].type)))) {
		if (!type_common(b, both, 2, "", &common))
			return false;
		out->type = common == VALUE_DATE ? VALUE_INTEGER : VALUE_DECIMAL;
		return build_op(b, mark, common == VALUE_DATE ? OP_ARITH_INT : OP_SECONDS, '-',
				both[0].ref, both[1].ref, out);
	}
	return expr_fail(
	    b->error, both[0].from, both[1].to,
	    "%s %c %s has no meaning; see add_days(), add_months(), add_seconds(), date_diff()",
	    type_words(both[0].type), op, type_words(both[1].type));
}

bool
type_arith(struct builder *b, unsigned mark, char op, struct operand *left, struct operand *right,
	   struct operand *out)
{
	struct operand both[2] = {*left, *right};
	enum value_type type;
	struct operand made = {.from = left->from, .to = right->to};

	if (is_time(left->type) || is_time(right->type)) {
		if (!time_arith(b, mark, op, both, &made))
			return false;
		*out = made;
		return true;
	}
	for (int i = 0; i < 2; i++)
		if (!type_is_number(both[i].type) && both[i].type != VALUE_NULL)
			return expr_fail(
			    b->error, both[i].from, both[i].to,
			    "%c needs numbers, this is of type %s%s", op, type_words(both[i].type),
			    both[i].type == VALUE_TEXT ? "; texts are joined by ||" : "");
	if (!type_common(b, both, 2, "", &type))
		return false;
	if (type == VALUE_NULL || (op == '/' && type == VALUE_INTEGER)) {
		type = op == '/' ? VALUE_DECIMAL : VALUE_INTEGER;
		if (!type_convert(b, &both[0], type) || !type_convert(b, &both[1], type))
			return false;
	}
	if (op == '%' && type == VALUE_FLOAT)
		return expr_fail(b->error, left->from, right->to, "%% needs integers or decimals");
	made.type = type;
	enum op code = type == VALUE_INTEGER   ? OP_ARITH_INT
		       : type == VALUE_DECIMAL ? OP_ARITH_DECIMAL
					       : OP_ARITH_FLOAT;
	if (!build_op(b, mark, code, (unsigned)op, both[0].ref, both[1].ref, &made))
		return false;
	*out = made;
	return true;
}

bool
type_negate(struct builder *b, unsigned mark, struct operand *o, struct operand *out)
{
	const struct value *constant = build_value(b, o);
	struct operand made = *o;

	if (!type_is_number(o->type) && o->type != VALUE_NULL)
		return expr_fail(b->error, o->from, o->to, "- needs a number, this is of type %s",
				 type_words(o->type));
	if (constant && constant->type == VALUE_INTEGER && constant->integer != INT64_MIN)
		return build_const(b, value_integer(-constant->integer), o->from, o->to, out);
	if (constant && constant->type == VALUE_DECIMAL)
		return build_const(b, value_decimal(-value_units(constant), constant->scale),
				   o->from, o->to, out);
	if (!build_op(b, mark, OP_NEGATE, 0, o->ref, 0, &made))
		return false;
	if (made.type == VALUE_NULL)
		made.type = VALUE_INTEGER;
	*out = made;
	return true;
}
