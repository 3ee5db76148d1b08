/* Operators between values. The value on the left has been parsed, the token is the operator. */
#include "build.h"

#include <stdlib.h>

#include "mem.h"

enum { IN_ITEMS_MAX = 1024 };

/* and, or: the right side is not computed where the left one decides. */
static bool
parse_logic(struct builder *b, unsigned mark, bool is_and, struct operand *left)
{
	const char *word = is_and ? "and" : "or";
	struct operand right;
	unsigned decided;

	if (!type_boolean(b, left, word) || !parse_token(b))
		return false;
	b->top = mark;
	if (!build_temp(b, &(unsigned){0}) || !build_move(b, mark, left) ||
	    !build_jump(b, is_and ? OP_JUMP_FALSE : OP_JUMP_TRUE, ref_make(REF_TEMP, mark),
			&decided) ||
	    !parse_power(b, is_and ? POWER_NOT : POWER_AND, &right) ||
	    !type_boolean(b, &right, word) ||
	    !build_op(b, mark, is_and ? OP_AND : OP_OR, 0, ref_make(REF_TEMP, mark), right.ref,
		      left))
		return false;
	build_land(b, decided);
	left->type = VALUE_BOOLEAN;
	left->to = right.to;
	return true;
}

static bool
parse_is(struct builder *b, unsigned mark, struct operand *left)
{
	bool negative = false;
	unsigned test;

	if (!parse_token(b))
		return false;
	if (at_keyword(b, KEYWORD_NOT)) {
		negative = true;
		if (!parse_token(b))
			return false;
	}
	if (at_keyword(b, KEYWORD_NULL))
		test = negative ? IS_NOT_NULL : IS_NULL;
	else if (at_keyword(b, KEYWORD_TRUE))
		test = negative ? IS_NOT_TRUE : IS_TRUE;
	else if (at_keyword(b, KEYWORD_FALSE))
		test = negative ? IS_NOT_FALSE : IS_FALSE;
	else
		return expr_fail(b->error, b->token.from, b->token.to,
				 "null, true or false is expected after \"is\"");
	if (test > IS_NOT_NULL && !type_boolean(b, left, "is true or false"))
		return false;
	size_t to = b->token.to;
	if (!parse_token(b) || !build_op(b, mark, OP_IS, test, left->ref, 0, left))
		return false;
	left->type = VALUE_BOOLEAN;
	left->to = to;
	return true;
}

static bool
parse_between(struct builder *b, unsigned mark, bool negative, struct operand *left)
{
	struct operand low, high, above, below;
	unsigned at;

	if (!parse_token(b) || !parse_power(b, POWER_RANGE + 1, &low) ||
	    !parse_expect_keyword(b, KEYWORD_AND, "and"))
		return false;
	unsigned mark_high = b->top;
	if (!parse_power(b, POWER_RANGE + 1, &high))
		return false;
	size_t from = left->from, to = high.to;
	struct operand value = *left;
	(void)mark_high;
	if (!build_temp(b, &at) ||
	    !type_compare(b, at, COMPARE_GREATER | COMPARE_EQUAL, &value, &low, &above) ||
	    !build_temp(b, &at) ||
	    !type_compare(b, at, COMPARE_LESS | COMPARE_EQUAL, &value, &high, &below) ||
	    !build_op(b, mark, OP_AND, 0, above.ref, below.ref, left) ||
	    (negative && !build_op(b, mark, OP_NOT, 0, left->ref, 0, left)))
		return false;
	*left = (struct operand){left->ref, VALUE_BOOLEAN, from, to};
	return true;
}

struct items {
	struct operand item[IN_ITEMS_MAX];
	unsigned n;
};

static bool
parse_items(struct builder *b, struct items *in)
{
	do {
		if (in->n >= IN_ITEMS_MAX)
			return expr_fail(b->error, b->token.from, b->token.to,
					 "list has more than %d values", IN_ITEMS_MAX);
		if (!parse_token(b) || !parse_nested(b, &in->item[in->n]))
			return false;
		if (!build_value(b, &in->item[in->n]))
			return expr_fail(
			    b->error, in->item[in->n].from, in->item[in->n].to,
			    "only constants may stand in a list; write x = a or x = b");
		in->n++;
	} while (at_operator(b, ","));
	return true;
}

/* item[0] is what is looked for. */
static bool
build_in(struct builder *b, unsigned mark, bool negative, struct items *in, struct operand *left)
{
	enum value_type common;
	uint16_t list;

	if (!type_common(b, in->item, in->n, " in this list", &common) ||
	    !build_list(b, in->item + 1, in->n - 1, &list))
		return false;
	size_t from = left->from;
	if (!build_op(b, mark, OP_IN, negative, in->item[0].ref, list, left))
		return false;
	*left = (struct operand){left->ref, VALUE_BOOLEAN, from, b->token.to};
	return true;
}

static bool
parse_in(struct builder *b, unsigned mark, bool negative, struct operand *left)
{
	if (!parse_token(b))
		return false;
	if (!at_operator(b, "("))
		return expr_fail(b->error, b->token.from, b->token.to, "\"(\" expected");
	struct items *in = mem_zero(1, sizeof *in);
	in->item[in->n++] = *left;
	bool good = parse_items(b, in) && build_in(b, mark, negative, in, left);
	free(in);
	return good && parse_expect(b, ")");
}

static bool
parse_like(struct builder *b, unsigned mark, bool negative, struct operand *left)
{
	struct operand pattern;

	if (!parse_token(b) || !parse_power(b, POWER_RANGE + 1, &pattern))
		return false;
	struct operand both[2] = {*left, pattern};
	for (int i = 0; i < 2; i++)
		if (both[i].type != VALUE_TEXT && both[i].type != VALUE_NULL)
			return expr_fail(b->error, both[i].from, both[i].to,
					 "like needs texts, this is of type %s",
					 type_words(both[i].type));
	const struct value *constant = build_value(b, &pattern);
	if (constant && constant->type == VALUE_TEXT && !like_good(constant->text, constant->len))
		return expr_fail(b->error, pattern.from, pattern.to,
				 "pattern ends in a \\ that escapes nothing");
	size_t from = left->from;
	if (!build_op(b, mark, OP_LIKE, negative, left->ref, pattern.ref, left))
		return false;
	*left = (struct operand){left->ref, VALUE_BOOLEAN, from, pattern.to};
	return true;
}

static bool
parse_join(struct builder *b, unsigned mark, struct operand *left)
{
	struct operand right;

	if (!parse_token(b) || !parse_power(b, POWER_JOIN + 1, &right))
		return false;
	struct operand both[2] = {*left, right};
	for (int i = 0; i < 2; i++)
		if (both[i].type != VALUE_TEXT && both[i].type != VALUE_NULL)
			return expr_fail(
			    b->error, both[i].from, both[i].to,
			    "|| joins texts, this is of type %s; use concat() or cast(... as text)",
			    type_words(both[i].type));
	size_t from = left->from;
	if (!build_op(b, mark, OP_JOIN, 0, left->ref, right.ref, left))
		return false;
	*left = (struct operand){left->ref, VALUE_TEXT, from, right.to};
	return true;
}

struct infix {
	const char *text;
	enum power power;
	unsigned mask; /* of a comparison */
};

static const struct infix infixes[] = {
    {"=", POWER_COMPARE, COMPARE_EQUAL},
    {"<>", POWER_COMPARE, COMPARE_LESS | COMPARE_GREATER},
    {"!=", POWER_COMPARE, COMPARE_LESS | COMPARE_GREATER},
    {"<", POWER_COMPARE, COMPARE_LESS},
    {"<=", POWER_COMPARE, COMPARE_LESS | COMPARE_EQUAL},
    {">", POWER_COMPARE, COMPARE_GREATER},
    {">=", POWER_COMPARE, COMPARE_GREATER | COMPARE_EQUAL},
    {"||", POWER_JOIN, 0},
    {"+", POWER_ADD, 0},
    {"-", POWER_ADD, 0},
    {"*", POWER_MULTIPLY, 0},
    {"/", POWER_MULTIPLY, 0},
    {"%", POWER_MULTIPLY, 0},
};

static const struct infix *
infix_find(const struct builder *b)
{
	for (size_t i = 0; i < sizeof infixes / sizeof *infixes; i++)
		if (at_operator(b, infixes[i].text))
			return &infixes[i];
	return NULL;
}

static enum power
keyword_power(const struct builder *b)
{
	if (b->token.kind != TOKEN_KEYWORD)
		return POWER_ANY;
	switch (b->token.keyword) {
	case KEYWORD_OR:
		return POWER_OR;
	case KEYWORD_AND:
		return POWER_AND;
	case KEYWORD_IS:
		return POWER_IS;
	case KEYWORD_NOT: /* not in, not between, not like */
	case KEYWORD_IN:
	case KEYWORD_BETWEEN:
	case KEYWORD_LIKE:
		return POWER_RANGE;
	default:
		return POWER_ANY;
	}
}

static bool
parse_keyword_infix(struct builder *b, unsigned mark, struct operand *left)
{
	bool negative = at_keyword(b, KEYWORD_NOT);

	if (negative && !parse_token(b))
		return false;
	if (at_keyword(b, KEYWORD_IN))
		return parse_in(b, mark, negative, left);
	if (at_keyword(b, KEYWORD_BETWEEN))
		return parse_between(b, mark, negative, left);
	if (at_keyword(b, KEYWORD_LIKE))
		return parse_like(b, mark, negative, left);
	if (negative)
		return expr_fail(b->error, b->token.from, b->token.to,
				 "in, between or like is expected after \"not\"");
	if (at_keyword(b, KEYWORD_IS))
		return parse_is(b, mark, left);
	return parse_logic(b, mark, at_keyword(b, KEYWORD_AND), left);
}

static bool
parse_operator_infix(struct builder *b, unsigned mark, const struct infix *op, struct operand *left)
{
	struct operand right;

	if (op->power == POWER_JOIN)
		return parse_join(b, mark, left);
	if (!parse_token(b) || !parse_power(b, op->power + 1, &right))
		return false;
	if (op->power == POWER_COMPARE)
		return type_compare(b, mark, op->mask, left, &right, left);
	return type_arith(b, mark, op->text[0], left, &right, left);
}

enum power
infix_power(const struct builder *b)
{
	const struct infix *op = infix_find(b);

	return op ? op->power : keyword_power(b);
}

bool
infix_parse(struct builder *b, unsigned mark, struct operand *left)
{
	const struct infix *op = infix_find(b);

	return op ? parse_operator_infix(b, mark, op, left) : parse_keyword_infix(b, mark, left);
}
