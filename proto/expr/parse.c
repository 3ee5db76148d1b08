/*
 * The grammar, by precedence climbing. It recurses only where the source nests (parentheses, calls,
 * case, not, -), at most EXPR_DEPTH_MAX deep, and once for each level of precedence.
 */
#include "build.h"

#include <stdlib.h>
#include <string.h>

#include "decimal.h"
#include "mem.h"

bool
parse_token(struct builder *b)
{
	return lex_next(&b->lex, &b->token);
}

bool
at_keyword(const struct builder *b, enum keyword k)
{
	return b->token.kind == TOKEN_KEYWORD && b->token.keyword == k;
}

bool
at_operator(const struct builder *b, const char *text)
{
	return token_is(&b->lex, &b->token, text);
}

bool
parse_expect(struct builder *b, const char *operator_text)
{
	if (!at_operator(b, operator_text))
		return expr_fail(b->error, b->token.from, b->token.to, "\"%s\" expected",
				 operator_text);
	return parse_token(b);
}

bool
parse_expect_keyword(struct builder *b, enum keyword k, const char *text)
{
	if (!at_keyword(b, k))
		return expr_fail(b->error, b->token.from, b->token.to, "\"%s\" expected", text);
	return parse_token(b);
}

static bool
deeper(struct builder *b)
{
	if (++b->depth > EXPR_DEPTH_MAX)
		return expr_fail(b->error, b->token.from, b->token.to,
				 "expression is nested more than %d deep", EXPR_DEPTH_MAX);
	return true;
}

bool
parse_nested(struct builder *b, struct operand *out)
{
	if (!deeper(b) || !parse_power(b, POWER_ANY, out))
		return false;
	b->depth--;
	return true;
}

bool
parse_range_operand(struct builder *b, struct operand *out)
{
	if (!deeper(b) || !parse_power(b, POWER_RANGE + 1, out))
		return false;
	b->depth--;
	return true;
}

/* ---- literals and names ---- */

static bool
parse_number(struct builder *b, struct operand *out)
{
	struct token t = b->token;
	struct value v;
	struct err e;
	int64_t i;

	if (!decimal_parse(b->lex.s + t.at, t.len, &v, &e))
		return expr_fail(b->error, t.from, t.to, "%s", e.text);
	bool plain = !memchr(b->lex.s + t.at, '.', t.len) && !memchr(b->lex.s + t.at, 'e', t.len) &&
		     !memchr(b->lex.s + t.at, 'E', t.len);
	if (plain && decimal_to_integer(&v, &i))
		v = value_integer(i);
	return build_const(b, v, t.from, t.to, out) && parse_token(b);
}

/* A string without the doubling of its quotes. */
static struct value
token_text(struct builder *b, const struct token *t)
{
	const char *s = b->lex.s + t->at;
	char *to = build_text(b, s, t->len);
	size_t n = 0;

	for (size_t i = 0; i < t->len; i++) {
		to[n++] = s[i];
		if (s[i] == '\'')
			i++;
	}
	return value_text(to, n);
}

static bool
parse_string(struct builder *b, struct operand *out)
{
	struct token t = b->token;

	return build_const(b, token_text(b, &t), t.from, t.to, out) && parse_token(b);
}

/* date '2011-10-01', timestamp '2011-10-01 00:38:44Z' */
static bool
parse_typed_string(struct builder *b, const struct token *name, struct operand *out)
{
	enum value_type type = lex_same(b->lex.s + name->at, name->len, "date") ? VALUE_DATE
			       : lex_same(b->lex.s + name->at, name->len, "timestamp")
				   ? VALUE_TIMESTAMP
				   : VALUE_NULL;

	if (type == VALUE_NULL)
		return expr_fail(b->error, b->token.from, b->token.to,
				 "only date and timestamp may stand before a text");
	if (!parse_string(b, out))
		return false;
	out->from = name->from;
	return type_convert(b, out, type);
}

static bool
parse_name(struct builder *b, struct operand *out)
{
	struct token name = b->token;

	if (!parse_token(b))
		return false;
	if (!name.quoted && at_operator(b, "("))
		return parse_call(b, &name, out);
	if (!name.quoted && b->token.kind == TOKEN_STRING)
		return parse_typed_string(b, &name, out);
	return build_input(b, b->lex.s + name.at, name.len, name.from, name.to, out);
}

/* ---- prefixes ---- */

static bool
parse_parenthesis(struct builder *b, struct operand *out)
{
	size_t from = b->token.from;

	if (!parse_token(b) || !parse_nested(b, out))
		return false;
	out->from = from;
	out->to = b->token.to;
	return parse_expect(b, ")");
}

static bool
parse_not(struct builder *b, struct operand *out)
{
	unsigned mark = b->top;
	size_t from = b->token.from;

	if (!parse_token(b) || !deeper(b) || !parse_power(b, POWER_NOT, out) ||
	    !type_boolean(b, out, "not") || !build_op(b, mark, OP_NOT, 0, out->ref, 0, out))
		return false;
	b->depth--;
	out->type = VALUE_BOOLEAN;
	out->from = from;
	return true;
}

static bool
parse_sign(struct builder *b, struct operand *out)
{
	unsigned mark = b->top;
	size_t from = b->token.from;
	bool minus = at_operator(b, "-");

	if (!parse_token(b) || !deeper(b) || !parse_power(b, POWER_UNARY, out))
		return false;
	b->depth--;
	out->from = from;
	if (minus)
		return type_negate(b, mark, out, out);
	if (!type_is_number(out->type) && out->type != VALUE_NULL)
		return expr_fail(b->error, out->from, out->to,
				 "+ needs a number, this is of type %s", type_words(out->type));
	return true;
}

static bool
parse_cast(struct builder *b, struct operand *out)
{
	unsigned mark = b->top;
	size_t from = b->token.from;

	if (!parse_token(b) || !parse_expect(b, "(") || !parse_nested(b, out) ||
	    !parse_expect_keyword(b, KEYWORD_AS, "as"))
		return false;
	struct token t = b->token;
	enum value_type to = value_type_find(b->lex.s + t.at, t.len);
	if (t.kind != TOKEN_NAME || to == VALUE_TYPE_MAX)
		return expr_fail(b->error, t.from, t.to,
				 "not a type; there are boolean, integer, decimal, float, date, "
				 "timestamp, text");
	if (!expr_convert_exists(out->type, to))
		return expr_fail(b->error, out->from, out->to, "%s cannot be cast to %s",
				 type_words(out->type), type_words(to));
	if (!parse_token(b))
		return false;
	size_t end = b->token.to;
	if (!parse_expect(b, ")"))
		return false;
	if (out->type != to && !build_op(b, mark, OP_CAST, to, out->ref, 0, out))
		return false;
	*out = (struct operand){out->ref, to, from, end};
	return true;
}

/* ---- case ---- */

bool
parse_settle(struct builder *b, unsigned mark, enum value_type common, bool mixed, uint32_t bound,
	     struct operand *out)
{
	struct operand made = {.ref = ref_make(REF_TEMP, mark)};

	b->bounds[mark] = bound;

	b->top = mark + 1;
	if (mixed && !build_op(b, mark, OP_CAST, common, made.ref, 0, &made))
		return false;
	out->ref = made.ref;
	out->type = common;
	return true;
}

struct branches { /* of one case: where each jumps from, and what types they have */
	unsigned jumps[EXPR_CODE_MAX / 2];
	unsigned n;
	enum value_type common;
	bool mixed;
	uint32_t bound; /* the sum of theirs */
};

/* A branch's value goes to temporary `mark`. */
static bool
parse_branch(struct builder *b, unsigned mark, struct branches *br)
{
	struct operand v;

	if (!parse_nested(b, &v))
		return false;
	enum value_type common = type_join(br->common, v.type);
	if (common == VALUE_TYPE_MAX)
		return expr_fail(b->error, v.from, v.to,
				 "this branch is of type %s, the ones before of type %s",
				 type_words(v.type), type_words(br->common));
	br->mixed = br->mixed || (br->common != VALUE_NULL && br->common != common) ||
		    (v.type != VALUE_NULL && v.type != common);
	br->common = common;
	br->bound = bound_add(br->bound, bound_of(b, v.ref));
	return build_move(b, mark, &v);
}

/* when CONDITION then VALUE; with a subject: when VALUE then VALUE */
static bool
parse_when(struct builder *b, unsigned mark, struct operand *subject, struct branches *br)
{
	unsigned inner = b->top, skip;
	struct operand condition;

	if (br->n >= sizeof br->jumps / sizeof *br->jumps)
		return expr_fail(b->error, b->token.from, b->token.to,
				 "case has too many branches");
	if (!parse_token(b) || !parse_nested(b, &condition))
		return false;
	if (subject) {
		struct operand left = *subject;
		if (!type_compare(b, inner, COMPARE_EQUAL, &left, &condition, &condition))
			return false;
	} else if (!type_boolean(b, &condition, "when")) {
		return false;
	}
	if (!build_jump(b, OP_JUMP_NOT_TRUE, condition.ref, &skip) ||
	    !parse_expect_keyword(b, KEYWORD_THEN, "then"))
		return false;
	b->top = inner;
	if (!parse_branch(b, mark, br) || !build_jump(b, OP_JUMP, 0, &br->jumps[br->n++]))
		return false;
	b->top = inner;
	build_land(b, skip);
	return true;
}

static bool
parse_branches(struct builder *b, unsigned mark, struct operand *subject, struct branches *br)
{
	struct operand null;
	bool some = false;

	for (; at_keyword(b, KEYWORD_WHEN); some = true)
		if (!parse_when(b, mark, subject, br))
			return false;
	if (!some)
		return expr_fail(b->error, b->token.from, b->token.to, "\"when\" expected");
	if (at_keyword(b, KEYWORD_ELSE)) {
		if (!parse_token(b) || !parse_branch(b, mark, br))
			return false;
	} else if (!build_const(b, value_null(), b->token.from, b->token.to, &null) ||
		   !build_move(b, mark, &null)) {
		return false;
	} else {
		br->bound = bound_add(br->bound, 1);
	}
	for (unsigned i = 0; i < br->n; i++)
		build_land(b, br->jumps[i]);
	return true;
}

static bool
parse_case(struct builder *b, struct operand *out)
{
	unsigned mark = b->top, result;
	size_t from = b->token.from;
	struct operand subject;
	bool simple = false;

	if (!parse_token(b) || !deeper(b) || !build_temp(b, &result))
		return false;
	if (!at_keyword(b, KEYWORD_WHEN)) {
		if (!parse_nested(b, &subject))
			return false;
		simple = true;
	}
	struct branches *br = mem_zero(1, sizeof *br);
	bool good = parse_branches(b, mark, simple ? &subject : NULL, br) &&
		    parse_settle(b, mark, br->common, br->mixed, br->bound, out);
	free(br);
	if (!good)
		return false;
	b->depth--;
	out->from = from;
	out->to = b->token.to;
	return parse_expect_keyword(b, KEYWORD_END, "end");
}

static bool
parse_keyword(struct builder *b, struct operand *out)
{
	struct token t = b->token;

	switch (t.keyword) {
	case KEYWORD_NOT:
		return parse_not(b, out);
	case KEYWORD_CASE:
		return parse_case(b, out);
	case KEYWORD_CAST:
		return parse_cast(b, out);
	case KEYWORD_NULL:
		return build_const(b, value_null(), t.from, t.to, out) && parse_token(b);
	case KEYWORD_TRUE:
	case KEYWORD_FALSE:
		return build_const(b, value_boolean(t.keyword == KEYWORD_TRUE), t.from, t.to,
				   out) &&
		       parse_token(b);
	default:
		return expr_fail(b->error, t.from, t.to,
				 "a value is expected before \"%.*s\" (a name that is a word of "
				 "SQL is written in "
				 "double quotes)",
				 (int)t.len, b->lex.s + t.at);
	}
}

static bool
parse_prefix(struct builder *b, struct operand *out)
{
	switch (b->token.kind) {
	case TOKEN_NUMBER:
		return parse_number(b, out);
	case TOKEN_STRING:
		return parse_string(b, out);
	case TOKEN_NAME:
		return parse_name(b, out);
	case TOKEN_KEYWORD:
		return parse_keyword(b, out);
	case TOKEN_OPERATOR:
		if (at_operator(b, "("))
			return parse_parenthesis(b, out);
		if (at_operator(b, "-") || at_operator(b, "+"))
			return parse_sign(b, out);
		break;
	case TOKEN_END:
		return expr_fail(b->error, b->token.from, b->token.to,
				 "the expression ends where a value is expected");
	}
	return expr_fail(b->error, b->token.from, b->token.to, "a value is expected here");
}

bool
parse_power(struct builder *b, enum power least, struct operand *out)
{
	unsigned mark = b->top;
	enum power before = POWER_UNARY;

	if (!parse_prefix(b, out))
		return false;
	for (;;) {
		enum power power = infix_power(b);
		if (power == POWER_ANY || power < least)
			return true;
		if (power == before && (power == POWER_COMPARE || power == POWER_RANGE))
			return expr_fail(b->error, b->token.from, b->token.to,
					 "comparisons do not chain; use \"and\" or parentheses");
		if (!infix_parse(b, mark, out))
			return false;
		before = power;
	}
}
