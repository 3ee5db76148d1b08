/*
 * Runs compiled expressions: one pass over flat code. Nothing is allocated after the first run of a
 * state, and what cannot be computed is null and counted.
 */
#include "expr.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "code.h"
#include "decimal.h"
#include "log.h"
#include "mem.h"
#include "timeform.h"

struct machine {
	const struct value *base[REF_KINDS];
	struct value *temps;
	const struct expr *x;
	struct expr_run_state *st;
	const struct code *next;
};

static inline const struct value *
operand(const struct machine *m, uint16_t ref)
{
	return m->base[ref >> REF_SHIFT] + (ref & REF_INDEX);
}

static inline void
put(struct machine *m, const struct code *c, struct value v)
{
	m->temps[c->dst] = v;
}

static inline void
put_boolean(struct machine *m, const struct code *c, bool b)
{
	m->temps[c->dst] = value_boolean(b);
}

static void
put_nothing(struct machine *m, const struct code *c)
{
	m->st->nulled++;
	put(m, c, value_null());
}

static inline bool
is_null(const struct value *v)
{
	return v->type == VALUE_NULL;
}

static inline bool
is_true(const struct value *v)
{
	return v->type == VALUE_BOOLEAN && v->boolean;
}

static inline bool
is_false(const struct value *v)
{
	return v->type == VALUE_BOOLEAN && !v->boolean;
}

static inline void
jump_if(struct machine *m, const struct code *c, bool yes)
{
	if (yes)
		m->next = m->x->code + c->b;
}

/* ---- logic and comparison ---- */

static void
run_and(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);

	if (is_false(a) || is_false(b))
		put_boolean(m, c, false);
	else
		put(m, c, is_null(a) || is_null(b) ? value_null() : value_boolean(true));
}

static void
run_or(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);

	if (is_true(a) || is_true(b))
		put_boolean(m, c, true);
	else
		put(m, c, is_null(a) || is_null(b) ? value_null() : value_boolean(false));
}

static void
run_not(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a);

	put(m, c, is_null(a) ? value_null() : value_boolean(!a->boolean));
}

static void
run_is(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a);

	switch (c->aux) {
	case IS_NULL:
		put_boolean(m, c, is_null(a));
		break;
	case IS_NOT_NULL:
		put_boolean(m, c, !is_null(a));
		break;
	case IS_TRUE:
		put_boolean(m, c, is_true(a));
		break;
	case IS_NOT_TRUE:
		put_boolean(m, c, !is_true(a));
		break;
	case IS_FALSE:
		put_boolean(m, c, is_false(a));
		break;
	default:
		put_boolean(m, c, !is_false(a));
	}
}

static void
run_equal_text(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);

	if (is_null(a) || is_null(b)) {
		put(m, c, value_null());
		return;
	}
	bool equal = a->len == b->len && (!a->len || !memcmp(a->text, b->text, a->len));
	put_boolean(m, c, equal != c->aux);
}

/* The bits of COMPARE_LESS, _EQUAL, _GREATER are those of -1, 0, 1 plus one. */
static void
run_compare_int(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);

	if (is_null(a) || is_null(b)) {
		put(m, c, value_null());
		return;
	}
	int order = (a->integer > b->integer) - (a->integer < b->integer);
	put_boolean(m, c, c->aux >> (order + 1) & 1);
}

static void
run_compare(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);

	if (is_null(a) || is_null(b)) {
		put(m, c, value_null());
		return;
	}
	int order = value_compare(a, b);
	put_boolean(m, c, c->aux >> ((order > 0) - (order < 0) + 1) & 1);
}

static bool
list_has(const struct list *list, const struct value *v)
{
	unsigned low = 0, high = list->n;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		int order = value_compare(&list->values[middle], v);
		if (!order)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static void
run_in(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a);
	const struct list *list = &m->x->lists[c->b];

	if (is_null(a)) {
		put(m, c, value_null());
		return;
	}
	bool found = list_has(list, a);
	if (!found && list->has_null)
		put(m, c, value_null());
	else
		put_boolean(m, c, found != c->aux);
}

static void
run_like(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);
	bool match;

	if (is_null(a) || is_null(b))
		put(m, c, value_null());
	else if (!like_match(a->text, a->len, b->text, b->len, &match))
		put_nothing(m, c);
	else
		put_boolean(m, c, match != c->aux);
}

/* ---- arithmetic ---- */

static void
run_arith_int(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);
	int64_t r = 0;
	bool none;

	if (is_null(a) || is_null(b)) {
		put(m, c, value_null());
		return;
	}
	switch (c->aux) {
	case '+':
		none = __builtin_add_overflow(a->integer, b->integer, &r);
		break;
	case '-':
		none = __builtin_sub_overflow(a->integer, b->integer, &r);
		break;
	case '*':
		none = __builtin_mul_overflow(a->integer, b->integer, &r);
		break;
	default:
		none = !b->integer;
		if (!none && b->integer != -1) /* INT64_MIN % -1 traps; it is 0 */
			r = a->integer % b->integer;
	}
	if (none)
		put_nothing(m, c);
	else
		put(m, c, value_integer(r));
}

static void
run_arith_decimal(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);
	struct value r;
	bool good;

	if (is_null(a) || is_null(b)) {
		put(m, c, value_null());
		return;
	}
	switch (c->aux) {
	case '+':
		good = decimal_add(a, b, &r);
		break;
	case '-':
		good = decimal_sub(a, b, &r);
		break;
	case '*':
		good = decimal_mul(a, b, &r);
		break;
	case '/':
		good = decimal_div(a, b, &r);
		break;
	default:
		good = decimal_mod(a, b, &r);
	}
	if (good)
		put(m, c, r);
	else
		put_nothing(m, c);
}

static void
run_arith_float(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);
	double r;

	if (is_null(a) || is_null(b)) {
		put(m, c, value_null());
		return;
	}
	switch (c->aux) {
	case '+':
		r = a->real + b->real;
		break;
	case '-':
		r = a->real - b->real;
		break;
	case '*':
		r = a->real * b->real;
		break;
	default:
		r = b->real != 0 ? a->real / b->real : NAN;
	}
	if (isfinite(r))
		put(m, c, (struct value){.type = VALUE_FLOAT, .real = r});
	else
		put_nothing(m, c);
}

static void
run_date_days(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);
	int64_t r;

	if (is_null(a) || is_null(b)) {
		put(m, c, value_null());
		return;
	}
	bool none = c->aux == '+' ? __builtin_add_overflow(a->integer, b->integer, &r)
				  : __builtin_sub_overflow(a->integer, b->integer, &r);
	if (none || !date_in_range(r))
		put_nothing(m, c);
	else
		put(m, c, (struct value){.type = VALUE_DATE, .integer = r});
}

static void
run_seconds(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);

	if (is_null(a) || is_null(b))
		put(m, c, value_null());
	else
		put(m, c, value_decimal((int128)a->integer - b->integer, 6));
}

static void
run_negate(struct machine *m, const struct code *c)
{
	struct value v = *operand(m, c->a);

	if (v.type == VALUE_INTEGER && v.integer == INT64_MIN) {
		put_nothing(m, c);
		return;
	}
	if (v.type == VALUE_INTEGER)
		v.integer = -v.integer;
	else if (v.type == VALUE_DECIMAL)
		v = value_decimal(-value_units(&v), v.scale);
	else if (v.type == VALUE_FLOAT)
		v.real = -v.real;
	put(m, c, v);
}

/* ---- the rest ---- */

static void
run_join(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a), *b = operand(m, c->b);
	size_t n = (size_t)a->len + b->len;

	if (is_null(a) || is_null(b)) {
		put(m, c, value_null());
		return;
	}
	char *p = scratch_take(m->st, n);
	if (!p) {
		put_nothing(m, c);
		return;
	}
	if (a->len)
		memcpy(p, a->text, a->len);
	if (b->len)
		memcpy(p + a->len, b->text, b->len);
	put(m, c, value_text(p, n));
}

static void
run_cast(struct machine *m, const struct code *c)
{
	const struct value *a = operand(m, c->a);
	struct value r;

	if (is_null(a))
		put(m, c, value_null());
	else if (expr_convert(a, (enum value_type)c->aux, m->x->zone, m->st, &r))
		put(m, c, r);
	else
		put_nothing(m, c);
}

static void
run_call(struct machine *m, const struct code *c)
{
	const struct function *f = &functions[c->aux];
	const struct value *args[CALL_ARGS_MAX];
	struct value r = value_null();
	struct call call = {args, c->b, m->x->zone, m->st, &r};
	bool null = false;

	for (unsigned i = 0; i < c->b; i++) {
		args[i] = operand(m, m->x->args[c->a + i]);
		null = null || is_null(args[i]);
	}
	if (null && f->kind == FUNCTION_STRICT)
		put(m, c, value_null());
	else if (f->run(&call))
		put(m, c, r);
	else
		put_nothing(m, c);
}

static inline void
step(struct machine *m, const struct code *c)
{
	switch ((enum op)c->op) {
	case OP_MOVE:
		put(m, c, *operand(m, c->a));
		break;
	case OP_JUMP:
		jump_if(m, c, true);
		break;
	case OP_JUMP_FALSE:
		jump_if(m, c, is_false(operand(m, c->a)));
		break;
	case OP_JUMP_TRUE:
		jump_if(m, c, is_true(operand(m, c->a)));
		break;
	case OP_JUMP_NOT_TRUE:
		jump_if(m, c, !is_true(operand(m, c->a)));
		break;
	case OP_JUMP_NOT_NULL:
		jump_if(m, c, !is_null(operand(m, c->a)));
		break;
	case OP_AND:
		run_and(m, c);
		break;
	case OP_OR:
		run_or(m, c);
		break;
	case OP_NOT:
		run_not(m, c);
		break;
	case OP_IS:
		run_is(m, c);
		break;
	case OP_EQUAL_TEXT:
		run_equal_text(m, c);
		break;
	case OP_COMPARE_INT:
		run_compare_int(m, c);
		break;
	case OP_COMPARE:
		run_compare(m, c);
		break;
	case OP_IN:
		run_in(m, c);
		break;
	case OP_LIKE:
		run_like(m, c);
		break;
	case OP_ARITH_INT:
		run_arith_int(m, c);
		break;
	case OP_ARITH_DECIMAL:
		run_arith_decimal(m, c);
		break;
	case OP_ARITH_FLOAT:
		run_arith_float(m, c);
		break;
	case OP_DATE_DAYS:
		run_date_days(m, c);
		break;
	case OP_SECONDS:
		run_seconds(m, c);
		break;
	case OP_NEGATE:
		run_negate(m, c);
		break;
	case OP_JOIN:
		run_join(m, c);
		break;
	case OP_CAST:
		run_cast(m, c);
		break;
	case OP_CALL:
		run_call(m, c);
		break;
	case OP_MAX:
		panic("no instruction %u", c->op);
	}
}

void
expr_run(const struct expr *x, const struct value *inputs, struct expr_run_state *st,
	 struct value *out)
{
	if (!st->stack)
		run_state_prepare(st);
	struct machine m = {{inputs, x->consts, st->stack}, st->stack, x, st, x->code};
	const struct code *end = x->code + x->code_n;

	while (m.next < end) {
		const struct code *c = m.next++;
		step(&m, c);
	}
	*out = *operand(&m, x->result);
}

bool
expr_test(const struct expr *x, const struct value *inputs, struct expr_run_state *st)
{
	struct value v;

	expr_run(x, inputs, st, &v);
	return is_true(&v);
}

void
run_state_prepare(struct expr_run_state *st)
{
	st->stack = mem_zero(TEMPS_MAX, sizeof(struct value));
	st->scratch = mem_alloc(EXPR_SCRATCH_BYTES);
	st->used = 0;
}

char *
scratch_take(struct expr_run_state *st, size_t n)
{
	if (n > EXPR_SCRATCH_BYTES - st->used)
		return NULL;
	char *p = (char *)st->scratch + st->used;
	st->used += n;
	return p;
}

void
expr_run_reset(struct expr_run_state *st)
{
	st->used = 0;
}

void
expr_run_free(struct expr_run_state *st)
{
	free(st->stack);
	free(st->scratch);
	*st = (struct expr_run_state){.nulled = st->nulled};
}
