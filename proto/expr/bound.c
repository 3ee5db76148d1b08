/*
 * How many results an expression can have, known while it is compiled: a function of few values has
 * few results. Some operators have few whatever goes in. Null counts: it tells something, too.
 */
#include "build.h"

#include <string.h>

enum { BOOLEAN_RESULTS = 3 };

/* Functions of few results by themselves, beside null; bucket() has as many as arguments. */
static const struct {
	const char *name;
	uint32_t results;
} few[] = {{"sign", 3},	  {"quarter", 4}, {"month", 12}, {"dow", 7},
	   {"isodow", 7}, {"day", 31},	  {"hour", 24},	 {"week", 53}};

uint32_t
bound_add(uint32_t a, uint32_t b)
{
	uint32_t sum;

	return __builtin_add_overflow(a, b, &sum) ? EXPR_UNBOUNDED : sum;
}

static uint32_t
bound_multiply(uint32_t a, uint32_t b)
{
	uint32_t product;

	return __builtin_mul_overflow(a, b, &product) ? EXPR_UNBOUNDED : product;
}

static uint32_t
least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

uint32_t
bound_of(const struct builder *b, uint16_t ref)
{
	unsigned index = ref & REF_INDEX;

	switch (ref >> REF_SHIFT) {
	case REF_INPUT:
		return b->scope->bound ? b->scope->bound(b->scope->ctx, index) : 1;
	case REF_TEMP:
		return b->bounds[index];
	default:
		return 1;
	}
}

static uint32_t
bound_call(const struct builder *b, const struct function *f, unsigned first, unsigned n)
{
	const uint16_t *args = (const uint16_t *)(const void *)b->args.data + first;
	uint32_t product = 1;

	for (unsigned i = 0; i < n; i++)
		product = bound_multiply(product, bound_of(b, args[i]));
	if (f->result == 'b')
		return least(product, BOOLEAN_RESULTS);
	if (strcmp(f->name, "bucket") == 0)
		return least(product, n + 1);
	for (unsigned i = 0; i < sizeof few / sizeof few[0]; i++) {
		if (strcmp(few[i].name, f->name) == 0)
			return least(product, few[i].results + 1);
	}
	return product;
}

uint32_t
bound_op(const struct builder *b, enum op op, unsigned aux, uint16_t a, uint16_t c)
{
	switch (op) {
	case OP_CALL:
		return bound_call(b, &functions[aux], a, c);
	case OP_IS:
		return least(bound_of(b, a), 2);
	case OP_NOT:
	case OP_IN:
		return least(bound_of(b, a), BOOLEAN_RESULTS);
	case OP_AND:
	case OP_OR:
	case OP_EQUAL_TEXT:
	case OP_COMPARE_INT:
	case OP_COMPARE:
	case OP_LIKE:
		return least(bound_multiply(bound_of(b, a), bound_of(b, c)), BOOLEAN_RESULTS);
	case OP_MOVE:
	case OP_NEGATE:
	case OP_CAST:
		return bound_of(b, a);
	default:
		return bound_multiply(bound_of(b, a), bound_of(b, c));
	}
}

/* Nor can there be more results than there are inputs to tell apart. */
uint32_t
bound_result(const struct builder *b, uint16_t ref)
{
	uint32_t inputs = 1;

	for (unsigned slot = 0; slot < EXPR_INPUTS_MAX; slot++) {
		if (b->x->slots[slot / 8] >> slot % 8 & 1)
			inputs = bound_multiply(
			    inputs, b->scope->bound ? b->scope->bound(b->scope->ctx, slot) : 1);
	}
	return least(inputs, bound_of(b, ref));
}
