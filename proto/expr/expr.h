/*
 * expr: the expression subset of SQL that the pipeline file uses (`where`, `complete`, `derive`,
 * column expressions). Small, total and typed: no loops, nulls as in SQL (three-valued logic),
 * compiled once and run without allocation. The functions are one table, expr/functions.def.
 *
 * Language: literals (1, 1.5, 'text', true, false, null, date '2011-10-01', timestamp '...'), names
 * (letters, digits, _ and dots), = <> != < <= > >=, + - * / %, || (text), and or not,
 * [not] in (...), [not] between a and b, is [not] null, is [not] true/false,
 * [not] like 'pattern' (%, _ and \), case [x] when .. then .. [else ..] end, coalesce, cast(x as
 * type), functions, bucket(x, a, b, ...) = integer 0..n, size(set), seen(source).
 *
 * Types: integer op decimal = decimal; + - have scale max(both), * the sum (rounded half away to 18
 * where it would pass), / decimal with scale max(6, both); integer / integer is decimal too;
 * integer % integer is integer; float with anything numeric is float; date - date = integer days;
 * timestamp - timestamp = decimal seconds, scale 6; date + integer = date. text compares by bytes.
 * Overflow, division by zero and a failed cast give NULL and are counted.
 */
#ifndef PROTO_EXPR_H
#define PROTO_EXPR_H

#include "../value.h"

enum {
	EXPR_TEXT_MAX = 16384,	    /* bytes of source */
	EXPR_DEPTH_MAX = 64,	    /* nesting; deeper is an error, never a stack overflow */
	EXPR_CODE_MAX = 4096,	    /* instructions */
	EXPR_INPUTS_MAX = 1024,	    /* slots of a scope */
	EXPR_SCRATCH_BYTES = 65536, /* text made by one run; more gives NULL, counted */
};

struct expr; /* compiled; immutable, usable by many runs */

/*
 * What names mean. find() answers the slot and type of a name; `size(x)` and `seen(x)` are asked
 * for as one name with exactly that spelling (lower case function, no spaces), so that scopes
 * decide them. next(i) lists the names for "did you mean" (NULL at the end).
 */
struct expr_scope {
	void *ctx;
	bool (*find)(void *ctx, const char *name, size_t n, unsigned *slot, enum value_type *type);
	const char *(*next)(void *ctx, unsigned i);
	const struct zone *zone; /* for date(timestamp) and the like; NULL is UTC */
	/*
	 * How many values of what must not be known a slot may have: 1 of one that is clear,
	 * EXPR_UNBOUNDED of one that is not. NULL: all are clear.
	 */
	uint32_t (*bound)(void *ctx, unsigned slot);
};

#define EXPR_UNBOUNDED UINT32_MAX

struct expr_error {
	size_t at;	/* byte offset into the source, for the caret */
	size_t len;	/* bytes the caret underlines, at least 1 */
	char text[256]; /* what is wrong; with the nearest known name where there is one */
};

/*
 * Compiles; want = VALUE_NULL takes any type, otherwise the result must have that type (integer
 * widens to decimal and float by itself, NULL fits all). On failure *out is NULL and *e says where
 * and why. The caller frees with expr_free. The zone must outlive the expression.
 */
MUSTCHECK bool expr_compile(const char *source, size_t n, const struct expr_scope *scope,
			    enum value_type want, struct expr **out, struct expr_error *e);
void expr_free(struct expr *x);			 /* NULL is fine */
enum value_type expr_type(const struct expr *x); /* VALUE_NULL for the bare literal null */

/* Calls visit for each input slot that the expression reads, once per slot. */
void expr_slots(const struct expr *x, void (*visit)(void *ctx, unsigned slot), void *ctx);

/*
 * How many results, null among them, there can be at most while the clear inputs stay the same:
 * what the result can tell of the others. 1: nothing. EXPR_UNBOUNDED: no small number is known.
 */
uint32_t expr_bound(const struct expr *x);

/*
 * Top-level conjuncts (a and b and c): their number, and the source range of each, for `complete:`.
 * Parenthesised conjunctions are one conjunct.
 */
unsigned expr_conjuncts(const char *source, size_t n, size_t at[], size_t len[], unsigned max);

struct expr_run_state { /* one per thread; zero-initialise, expr_run_free at the end */
	uint8_t *scratch;
	size_t used;
	uint64_t nulled; /* overflows, divisions by zero, failed casts, scratch exhausted */
	void *stack;
};

/* Texts in *out live in the scratch until expr_run_reset. inputs[slot] must have the scope's type
 * or be null. */
void expr_run(const struct expr *x, const struct value *inputs, struct expr_run_state *st,
	      struct value *out);
void expr_run_reset(struct expr_run_state *st);
void expr_run_free(struct expr_run_state *st);

/* true only for TRUE; NULL and FALSE are false: what `where` means. */
bool expr_test(const struct expr *x, const struct value *inputs, struct expr_run_state *st);

#endif
