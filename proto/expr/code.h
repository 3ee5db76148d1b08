/*
 * code: what an expression is compiled to, private to proto/expr. A flat list of instructions;
 * operands are references to an input slot, a constant or a temporary. Jumps go forward only, so
 * every run ends. An instruction reads its operands before it writes its result, which may be one
 * of them.
 */
#ifndef PROTO_EXPR_CODE_H
#define PROTO_EXPR_CODE_H

#include "expr.h"
#include "functions.h"

/* A reference: two bits of kind, the rest an index. */
enum { REF_INPUT, REF_CONST, REF_TEMP, REF_KINDS };
enum {
	REF_SHIFT = 14,
	REF_INDEX = (1 << REF_SHIFT) - 1,
	TEMPS_MAX = 1024,
	CONSTS_MAX = 4096,
	CALL_ARGS_MAX = 64,
};

static inline uint16_t
ref_make(unsigned kind, unsigned index)
{
	return (uint16_t)(kind << REF_SHIFT | index);
}

enum op {
	OP_MOVE,	  /* dst = a */
	OP_JUMP,	  /* to b */
	OP_JUMP_FALSE,	  /* to b when a is false */
	OP_JUMP_TRUE,	  /* to b when a is true */
	OP_JUMP_NOT_TRUE, /* to b when a is false or null */
	OP_JUMP_NOT_NULL, /* to b when a is not null */
	OP_AND,		  /* three-valued */
	OP_OR,
	OP_NOT,
	OP_IS,		  /* aux: IS_* */
	OP_EQUAL_TEXT,	  /* aux: 1 = not equal */
	OP_COMPARE_INT,	  /* aux: COMPARE_* bits that make it true */
	OP_COMPARE,	  /* the same for any type */
	OP_IN,		  /* a among the constants of list b; aux: 1 = not */
	OP_LIKE,	  /* aux: 1 = not */
	OP_ARITH_INT,	  /* aux: '+' '-' '*' '%' */
	OP_ARITH_DECIMAL, /* and '/' */
	OP_ARITH_FLOAT,
	OP_DATE_DAYS, /* date a + or - integer b */
	OP_SECONDS,   /* timestamp a - timestamp b */
	OP_NEGATE,
	OP_JOIN, /* a || b */
	OP_CAST, /* aux: to which type */
	OP_CALL, /* aux: function; a: first of b argument references */
	OP_MAX
};

enum { COMPARE_LESS = 1, COMPARE_EQUAL = 2, COMPARE_GREATER = 4 };
enum { IS_NULL, IS_NOT_NULL, IS_TRUE, IS_NOT_TRUE, IS_FALSE, IS_NOT_FALSE };

struct code {
	uint8_t op, aux;
	uint16_t dst; /* index of a temporary */
	uint16_t a, b;
};

struct list { /* of `in (...)`: constants in ascending order, none null */
	struct value *values;
	unsigned n;
	bool has_null;
};

struct expr {
	enum value_type type;
	uint16_t result; /* reference */
	struct code *code;
	unsigned code_n;
	struct value *consts; /* their texts point into `texts` */
	unsigned consts_n;
	uint16_t *args; /* references, for OP_CALL */
	unsigned args_n;
	struct list *lists;
	unsigned lists_n;
	unsigned char *slots; /* one bit an input slot */
	char *texts;
	const struct zone *zone; /* borrowed */
	uint32_t bound;		 /* expr_bound() */
};

/* What OP_CAST does, also at compile time; false: overflow, malformed. Casts to text need st. */
MUSTCHECK bool expr_convert(const struct value *v, enum value_type to, const struct zone *zone,
			    struct expr_run_state *st, struct value *out);

/* Whether cast(x as type) exists. */
bool expr_convert_exists(enum value_type from, enum value_type to);

/* Room for a text of n bytes in the scratch; NULL when it is full. st->stack was prepared. */
char *scratch_take(struct expr_run_state *st, size_t n);
void run_state_prepare(struct expr_run_state *st);

/* SQL's like: % any run, _ one character, \ takes the next as it is. false: ends in a lone \. */
MUSTCHECK bool like_match(const char *s, size_t n, const char *pattern, size_t pattern_n,
			  bool *match);
bool like_good(const char *pattern, size_t n);

#endif
