/* Calls: functions of the table, the forms that only look like functions, and what the scope
 * answers. */
#include "build.h"

#include <stdio.h>
#include <string.h>

enum { SCOPE_NAME_MAX = 160 };

static const struct function *
function_find(const char *name, size_t n)
{
	for (unsigned i = 0; i < functions_n; i++)
		if (lex_same(name, n, functions[i].name))
			return &functions[i];
	return NULL;
}

/* size(x), overflowed(x), seen(x): one name to the scope. */
static bool
call_scope(struct builder *b, const struct function *f, const struct token *name,
	   struct operand *out)
{
	char spelled[SCOPE_NAME_MAX];
	struct token of;

	if (!parse_token(b))
		return false;
	of = b->token;
	if (of.kind != TOKEN_NAME)
		return expr_fail(b->error, of.from, of.to, "a name is expected: %s", f->usage);
	if (!parse_token(b))
		return false;
	size_t to = b->token.to;
	if (!parse_expect(b, ")"))
		return false;
	int n = snprintf(spelled, sizeof spelled, "%s(%.*s)", f->name,
			 of.len > SCOPE_NAME_MAX ? SCOPE_NAME_MAX : (int)of.len, b->lex.s + of.at);
	if (n >= (int)sizeof spelled)
		return expr_fail(b->error, of.from, of.to, "name is too long");
	return build_input(b, spelled, (size_t)n, name->from, to, out);
}

static bool
call_coalesce(struct builder *b, const struct token *name, struct operand *out)
{
	unsigned mark = b->top, result, jumps[CALL_ARGS_MAX], n = 0;
	enum value_type common = VALUE_NULL;
	uint32_t bound = 0;
	bool mixed = false;
	struct operand v;

	if (!build_temp(b, &result))
		return false;
	do {
		if (n == CALL_ARGS_MAX)
			return expr_fail(b->error, b->token.from, b->token.to,
					 "coalesce() takes at most %d values", CALL_ARGS_MAX);
		b->top = mark + 1;
		if (!parse_token(b) || !parse_nested(b, &v))
			return false;
		enum value_type next = type_join(common, v.type);
		if (next == VALUE_TYPE_MAX)
			return expr_fail(b->error, v.from, v.to,
					 "coalesce() has values of type %s and %s",
					 type_words(common), type_words(v.type));
		mixed = mixed || (common != VALUE_NULL && common != next) ||
			(v.type != VALUE_NULL && v.type != next);
		common = next;
		bound = bound_add(bound, bound_of(b, v.ref));
		if (!build_move(b, mark, &v) ||
		    !build_jump(b, OP_JUMP_NOT_NULL, ref_make(REF_TEMP, mark), &jumps[n++]))
			return false;
	} while (at_operator(b, ","));
	for (unsigned i = 0; i < n; i++)
		build_land(b, jumps[i]);
	if (!parse_settle(b, mark, common, mixed, bound, out))
		return false;
	out->from = name->from;
	out->to = b->token.to;
	return parse_expect(b, ")");
}

/* ---- arguments ---- */

struct arguments {
	struct operand arg[CALL_ARGS_MAX];
	unsigned n;
};

static char
argument_kind(const struct function *f, unsigned i)
{
	size_t n = strlen(f->args);

	return f->args[i < n ? i : n - 1];
}

static bool
fits(char kind, enum value_type t)
{
	switch (kind) {
	case 't':
		return t == VALUE_TEXT;
	case 'i':
		return t == VALUE_INTEGER;
	case 'b':
		return t == VALUE_BOOLEAN;
	case 'd':
		return t == VALUE_DATE;
	case 's':
		return t == VALUE_TIMESTAMP;
	case 'w':
		return t == VALUE_DATE || t == VALUE_TIMESTAMP;
	case 'n':
	case 'f':
		return type_is_number(t);
	case 'm':
		return t == VALUE_INTEGER || t == VALUE_DECIMAL;
	default:
		return true;
	}
}

static const char *
kind_words(char kind)
{
	switch (kind) {
	case 't':
		return "a text";
	case 'i':
		return "an integer";
	case 'b':
		return "a boolean";
	case 'd':
		return "a date";
	case 's':
		return "a timestamp";
	case 'w':
		return "a date or a timestamp";
	case 'm':
		return "an integer or a decimal";
	default:
		return "a number";
	}
}

/* The name of a unit becomes its number now. */
static bool
argument_unit(struct builder *b, struct operand *o)
{
	const struct value *v = build_value(b, o);
	enum unit unit = v && v->type == VALUE_TEXT ? unit_find(v->text, v->len) : UNIT_MAX;

	if (unit == UNIT_MAX)
		return expr_fail(b->error, o->from, o->to,
				 "a unit is expected: 'year', 'quarter', 'month', 'week', 'day', "
				 "'hour', 'minute', "
				 "'second', 'millisecond' or 'microsecond'");
	return build_const(b, value_integer(unit), o->from, o->to, o);
}

static bool
argument_check(struct builder *b, const struct function *f, unsigned i, struct operand *o)
{
	char kind = argument_kind(f, i);

	if (kind == 'u')
		return argument_unit(b, o);
	if (o->type == VALUE_TEXT && build_value(b, o) &&
	    (kind == 's' || kind == 'd' || kind == 'w'))
		return type_convert(b, o, kind == 'd' ? VALUE_DATE : VALUE_TIMESTAMP);
	if (o->type == VALUE_DATE && kind == 's')
		return type_convert(b, o, VALUE_TIMESTAMP);
	if (o->type != VALUE_NULL && !fits(kind, o->type))
		return expr_fail(b->error, o->from, o->to, "%s() needs %s here, this is of type %s",
				 f->name, kind_words(kind), type_words(o->type));
	if (kind == 'f')
		return type_convert(b, o, VALUE_FLOAT);
	if (kind == 'm')
		return type_convert(b, o, VALUE_DECIMAL);
	return true;
}

static enum value_type
result_type(const struct function *f, const struct arguments *a, enum value_type common)
{
	switch (f->result) {
	case 't':
		return VALUE_TEXT;
	case 'i':
		return VALUE_INTEGER;
	case 'b':
		return VALUE_BOOLEAN;
	case 'd':
		return VALUE_DATE;
	case 's':
		return VALUE_TIMESTAMP;
	case 'm':
		return VALUE_DECIMAL;
	case 'f':
		return VALUE_FLOAT;
	case '1':
		return a->arg[0].type;
	case '2':
		return a->arg[1].type;
	default:
		return common;
	}
}

/* Bounds that do not ascend are a slip of the pen; only constants can be looked at. */
static bool
bucket_check(struct builder *b, const struct arguments *a)
{
	for (unsigned i = 2; i < a->n; i++) {
		const struct value *low = build_value(b, &a->arg[i - 1]);
		const struct value *high = build_value(b, &a->arg[i]);
		if (low && high && low->type == high->type && low->type != VALUE_NULL &&
		    value_compare(low, high) >= 0)
			return expr_fail(b->error, a->arg[i].from, a->arg[i].to,
					 "the bounds of bucket() must ascend");
	}
	return true;
}

static bool
arguments_check(struct builder *b, const struct function *f, struct arguments *a,
		enum value_type *common, size_t to)
{
	if (a->n < f->args_min || a->n > f->args_max)
		return expr_fail(b->error, a->n ? a->arg[0].from : to - 1,
				 a->n ? a->arg[a->n - 1].to : to,
				 "%s() does not take %u argument%s: %s", f->name, a->n,
				 a->n == 1 ? "" : "s", f->usage);
	for (unsigned i = 0; i < a->n; i++)
		if (!argument_check(b, f, i, &a->arg[i]))
			return false;
	*common = VALUE_NULL;
	if (argument_kind(f, 0) != 'e')
		return true;
	if (!type_common(b, a->arg, a->n, " in this call", common))
		return false;
	return strcmp(f->name, "bucket") || bucket_check(b, a);
}

static bool
call_emit(struct builder *b, unsigned mark, const struct function *f, struct arguments *a,
	  size_t from, size_t to, struct operand *out)
{
	enum value_type common;
	uint16_t first;

	if (!arguments_check(b, f, a, &common, to))
		return false;
	if (!f->run) /* mod(a, b) is a % b */
		return type_arith(b, mark, '%', &a->arg[0], &a->arg[1], out);
	if (!build_args(b, a->arg, a->n, &first) ||
	    !build_op(b, mark, OP_CALL, (unsigned)(f - functions), first, (uint16_t)a->n, out))
		return false;
	*out = (struct operand){out->ref, result_type(f, a, common), from, to};
	return true;
}

static bool
arguments_parse(struct builder *b, struct arguments *a, bool first_stops_at_in)
{
	if (at_operator(b, ")"))
		return true;
	for (;;) {
		if (a->n == CALL_ARGS_MAX)
			return expr_fail(b->error, b->token.from, b->token.to,
					 "more than %d arguments", CALL_ARGS_MAX);
		struct operand *o = &a->arg[a->n];
		bool special = first_stops_at_in && !a->n;
		if (special ? !parse_range_operand(b, o) : !parse_nested(b, o))
			return false;
		a->n++;
		bool in =
		    special && b->token.kind == TOKEN_KEYWORD && b->token.keyword == KEYWORD_IN;
		if (!in && !at_operator(b, ","))
			return true;
		if (!parse_token(b))
			return false;
	}
}

/* extract(year from x) */
static bool
call_extract(struct builder *b, const struct token *name, struct operand *out)
{
	unsigned mark = b->top;
	struct arguments a = {.n = 1};
	struct token field;

	if (!parse_token(b))
		return false;
	field = b->token;
	const struct function *f = function_find(b->lex.s + field.at, field.len);
	bool known = f && (f->result == 'i' || f->result == 'm') && f->kind == FUNCTION_STRICT &&
		     !strpbrk(f->args, "tnixfme") && f->args_max == 1;
	if (field.kind != TOKEN_NAME || !known)
		return expr_fail(
		    b->error, field.from, field.to,
		    "a field is expected: year, quarter, month, week, day, dow, isodow, doy, hour, "
		    "minute, second or epoch");
	if (!parse_token(b))
		return false;
	if (b->token.kind != TOKEN_NAME || !lex_same(b->lex.s + b->token.at, b->token.len, "from"))
		return expr_fail(b->error, b->token.from, b->token.to, "\"from\" expected");
	if (!parse_token(b) || !parse_nested(b, &a.arg[0]))
		return false;
	size_t to = b->token.to;
	return parse_expect(b, ")") && call_emit(b, mark, f, &a, name->from, to, out);
}

bool
parse_call(struct builder *b, const struct token *name, struct operand *out)
{
	unsigned mark = b->top;
	struct arguments a = {.n = 0};
	char near[NEAR_BYTES];
	const struct function *f = function_find(b->lex.s + name->at, name->len);

	if (!f) {
		near_function(b->lex.s + name->at, name->len, near);
		return expr_fail(b->error, name->from, name->to, "unknown function \"%.*s\"%s",
				 name->len > NEAR_BYTES ? NEAR_BYTES : (int)name->len,
				 b->lex.s + name->at, near);
	}
	if (f->kind == FUNCTION_SCOPE)
		return call_scope(b, f, name, out);
	if (f->kind == FUNCTION_FORM)
		return strcmp(f->name, "coalesce") ? call_extract(b, name, out)
						   : call_coalesce(b, name, out);
	if (!parse_token(b) || !arguments_parse(b, &a, !strcmp(f->name, "position")))
		return false;
	size_t to = b->token.to;
	return parse_expect(b, ")") && call_emit(b, mark, f, &a, name->from, to, out);
}
