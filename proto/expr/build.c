#include "build.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

const struct value *
build_value(const struct builder *b, const struct operand *o)
{
	if (o->ref >> REF_SHIFT != REF_CONST)
		return NULL;
	return (const struct value *)(const void *)b->consts.data + (o->ref & REF_INDEX);
}

bool
build_const(struct builder *b, struct value v, size_t from, size_t to, struct operand *out)
{
	size_t index = b->consts.len / sizeof v;

	if (index >= CONSTS_MAX)
		return expr_fail(b->error, from, to, "expression has more than %d constants",
				 CONSTS_MAX);
	buf_add(&b->consts, &v, sizeof v);
	*out = (struct operand){ref_make(REF_CONST, (unsigned)index), (enum value_type)v.type, from,
				to};
	return true;
}

bool
build_input(struct builder *b, const char *name, size_t n, size_t from, size_t to,
	    struct operand *out)
{
	char near[NEAR_BYTES];
	enum value_type type;
	unsigned slot;

	if (!b->scope->find(b->scope->ctx, name, n, &slot, &type)) {
		near_name(b, name, n, near);
		return expr_fail(b->error, from, to, "unknown name \"%.*s\"%s",
				 n > NEAR_BYTES ? NEAR_BYTES : (int)n, name, near);
	}
	check(slot < EXPR_INPUTS_MAX && type > VALUE_NULL && type < VALUE_TYPE_MAX);
	b->x->slots[slot / 8] |= (unsigned char)(1u << slot % 8);
	*out = (struct operand){ref_make(REF_INPUT, slot), type, from, to};
	return true;
}

/* All texts are parts of the source, each used once: they fit into its size. */
char *
build_text(struct builder *b, const char *s, size_t n)
{
	char *p = b->x->texts + b->texts_used;

	check(b->texts_used + n <= b->lex.n);
	memcpy(p, s, n);
	b->texts_used += n;
	return p;
}

bool
build_temp(struct builder *b, unsigned *index)
{
	if (b->top >= TEMPS_MAX)
		return expr_fail(b->error, b->token.from, b->token.to,
				 "expression needs more than %d intermediate results", TEMPS_MAX);
	*index = b->top++;
	return true;
}

static bool
emit(struct builder *b, struct code c, unsigned *at)
{
	size_t index = b->code.len / sizeof c;

	if (index >= EXPR_CODE_MAX)
		return expr_fail(b->error, b->token.from, b->token.to,
				 "expression has more than %d steps", EXPR_CODE_MAX);
	buf_add(&b->code, &c, sizeof c);
	*at = (unsigned)index;
	return true;
}

bool
build_op(struct builder *b, unsigned mark, enum op op, unsigned aux, uint16_t a, uint16_t c,
	 struct operand *out)
{
	unsigned index = mark, at;

	b->top = mark;
	if (!build_temp(b, &index))
		return false;
	b->bounds[index] = bound_op(b, op, aux, a, c);
	out->ref = ref_make(REF_TEMP, index);
	struct code code = {(uint8_t)op, (uint8_t)aux, (uint16_t)index, a, c};
	return emit(b, code, &at);
}

bool
build_move(struct builder *b, unsigned mark, const struct operand *from)
{
	unsigned at;

	if (from->ref == ref_make(REF_TEMP, mark))
		return true;
	b->bounds[mark] = bound_of(b, from->ref);
	struct code code = {OP_MOVE, 0, (uint16_t)mark, from->ref, 0};
	return emit(b, code, &at);
}

bool
build_jump(struct builder *b, enum op op, uint16_t a, unsigned *at)
{
	struct code code = {(uint8_t)op, 0, 0, a, 0};

	return emit(b, code, at);
}

void
build_land(struct builder *b, unsigned at)
{
	struct code *code = (struct code *)(void *)b->code.data;

	code[at].b = (uint16_t)(b->code.len / sizeof *code);
}

bool
build_args(struct builder *b, const struct operand *args, unsigned n, uint16_t *first)
{
	size_t index = b->args.len / sizeof(uint16_t);

	check(n <= CALL_ARGS_MAX && index + n <= UINT16_MAX);
	for (unsigned i = 0; i < n; i++)
		buf_add(&b->args, &args[i].ref, sizeof args[i].ref);
	*first = (uint16_t)index;
	return true;
}

static int
by_value(const void *a, const void *b)
{
	return value_compare(a, b);
}

/* Items are constants of one type, or null. */
bool
build_list(struct builder *b, const struct operand *items, unsigned n, uint16_t *index)
{
	struct list list = {.values = mem_zero(n, sizeof *list.values)};

	for (unsigned i = 0; i < n; i++) {
		const struct value *v = build_value(b, &items[i]);
		if (v->type == VALUE_NULL)
			list.has_null = true;
		else
			list.values[list.n++] = *v;
	}
	qsort(list.values, list.n, sizeof *list.values, by_value);
	*index = (uint16_t)(b->lists.len / sizeof list);
	buf_add(&b->lists, &list, sizeof list);
	return true;
}
