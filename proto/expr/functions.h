/*
 * functions: the table of functions.def, private to proto/expr and for the docs.
 *
 * Kinds of arguments (the last one repeats):
 *   t text, i integer, b boolean, d date, s timestamp
 *   w a date or a timestamp, as it is
 *   n any number, as it is; m a number, as decimal; f a number, as float
 *   u the name of a unit ('day'); it reaches the function as the integer of enum unit
 *   e all arguments so marked, brought to one type
 *   x anything, as it is
 *
 * Kinds of results: t, i, b, d, s, m, f as above; 1 or 2 the type of that argument; e the common
 * type.
 */
#ifndef PROTO_EXPR_FUNCTIONS_H
#define PROTO_EXPR_FUNCTIONS_H

#include "expr.h"

struct call {
	const struct value *const *arg;
	unsigned n;
	const struct zone *zone;
	struct expr_run_state *st;
	struct value *out;
};

enum function_kind {
	FUNCTION_STRICT, /* null when an argument is null, without being called */
	FUNCTION_LOOSE,	 /* sees nulls */
	FUNCTION_FORM,	 /* the parser's own: coalesce, extract, ... */
	FUNCTION_SCOPE,	 /* the scope answers size(x), overflowed(x), seen(x) */
};

struct function {
	const char *name;
	unsigned args_min, args_max;
	const char *args;
	char result;
	enum function_kind kind;
	bool (*run)(struct call *c); /* false: there is no such value; null, counted */
	const char *usage, *doc;
};

extern const struct function functions[];
extern const unsigned functions_n;

enum unit {
	UNIT_MICROSECOND,
	UNIT_MILLISECOND,
	UNIT_SECOND,
	UNIT_MINUTE,
	UNIT_HOUR,
	UNIT_DAY,
	UNIT_WEEK,
	UNIT_MONTH,
	UNIT_QUARTER,
	UNIT_YEAR,
	UNIT_MAX
};

enum unit unit_find(const char *name, size_t n); /* UNIT_MAX: none */

#endif
