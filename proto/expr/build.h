/*
 * build: an expression while it is compiled, private to proto/expr. The parser goes over the source
 * once; each rule leaves one operand and emits the code that computes it, so there is no tree to
 * walk or to overflow.
 *
 * Temporaries are a stack: who parses an operand at top `mark` finds its result either in no
 * temporary at all (an input, a constant) or in temporary `mark`, and top at most mark + 1.
 *
 * All functions: false = *b->error was set.
 */
#ifndef PROTO_EXPR_BUILD_H
#define PROTO_EXPR_BUILD_H

#include "code.h"
#include "lex.h"

struct operand {
	uint16_t ref;
	enum value_type type;
	size_t from, to; /* in the source */
};

struct builder {
	struct lexer lex;
	struct token token; /* the one to be parsed next */
	const struct expr_scope *scope;
	struct expr_error *error;
	struct expr *x;
	struct buf code, consts, args, lists; /* arrays of struct expr, growing */
	size_t texts_used;
	unsigned top;		    /* temporaries in use */
	unsigned depth;		    /* nesting */
	uint32_t bounds[TEMPS_MAX]; /* of what is in each temporary: bound.c */
};

/* ---- build.c: code, constants, temporaries ---- */
MUSTCHECK bool build_const(struct builder *b, struct value v, size_t from, size_t to,
			   struct operand *out);
MUSTCHECK bool build_input(struct builder *b, const char *name, size_t n, size_t from, size_t to,
			   struct operand *out);
const struct value *build_value(const struct builder *b,
				const struct operand *o); /* of a constant, else NULL */
char *build_text(struct builder *b, const char *s,
		 size_t n); /* a copy that lives with the expression */

MUSTCHECK bool build_temp(struct builder *b, unsigned *index);
/* Emits with result in temporary `mark`; frees those above it; *out is the result. */
MUSTCHECK bool build_op(struct builder *b, unsigned mark, enum op op, unsigned aux, uint16_t a,
			uint16_t c, struct operand *out);
MUSTCHECK bool build_move(struct builder *b, unsigned mark, const struct operand *from);
MUSTCHECK bool build_jump(struct builder *b, enum op op, uint16_t a, unsigned *at);
void build_land(struct builder *b, unsigned at); /* the jump at `at` comes here */
MUSTCHECK bool build_args(struct builder *b, const struct operand *args, unsigned n,
			  uint16_t *first);
MUSTCHECK bool build_list(struct builder *b, const struct operand *items, unsigned n,
			  uint16_t *index);

/* ---- bound.c: how many values there can be (expr_bound) ---- */
uint32_t bound_of(const struct builder *b, uint16_t ref);
uint32_t bound_op(const struct builder *b, enum op op, unsigned aux, uint16_t a, uint16_t c);
uint32_t bound_add(uint32_t a, uint32_t b);
uint32_t bound_result(const struct builder *b, uint16_t ref);

/* ---- type.c: what operators mean for types ---- */
const char *type_words(enum value_type t);
bool type_is_number(enum value_type t);
/* The type all can be brought to; VALUE_TYPE_MAX: none. */
enum value_type type_join(enum value_type a, enum value_type b);
MUSTCHECK bool type_common(struct builder *b, struct operand *o, unsigned n, const char *where,
			   enum value_type *out);
MUSTCHECK bool type_convert(struct builder *b, struct operand *o, enum value_type to);
MUSTCHECK bool type_boolean(struct builder *b, const struct operand *o, const char *where);
MUSTCHECK bool type_compare(struct builder *b, unsigned mark, unsigned mask, struct operand *left,
			    struct operand *right, struct operand *out);
MUSTCHECK bool type_arith(struct builder *b, unsigned mark, char op, struct operand *left,
			  struct operand *right, struct operand *out);
MUSTCHECK bool type_negate(struct builder *b, unsigned mark, struct operand *o,
			   struct operand *out);

/* ---- parse.c, infix.c, call.c: the grammar ---- */

/* What binds how tightly, loosest first; as in PostgreSQL. */
enum power {
	POWER_ANY,
	POWER_OR,
	POWER_AND,
	POWER_NOT,
	POWER_IS,
	POWER_COMPARE,
	POWER_RANGE, /* between, in, like */
	POWER_JOIN,
	POWER_ADD,
	POWER_MULTIPLY,
	POWER_UNARY,
};

bool at_keyword(const struct builder *b, enum keyword k);
bool at_operator(const struct builder *b, const char *text);
enum power infix_power(const struct builder *b); /* of the operator that comes next, or POWER_ANY */
MUSTCHECK bool infix_parse(struct builder *b, unsigned mark, struct operand *left);
MUSTCHECK bool parse_power(struct builder *b, enum power least, struct operand *out);
MUSTCHECK bool parse_nested(struct builder *b, struct operand *out);	    /* one level deeper */
MUSTCHECK bool parse_range_operand(struct builder *b, struct operand *out); /* stops before `in` */
MUSTCHECK bool parse_token(struct builder *b); /* on to the next token */
MUSTCHECK bool parse_expect(struct builder *b, const char *operator_text);
MUSTCHECK bool parse_expect_keyword(struct builder *b, enum keyword k, const char *text);
MUSTCHECK bool parse_call(struct builder *b, const struct token *name, struct operand *out);
/* After a value was put to temporary `mark` in several branches: brings it to their common type. */
MUSTCHECK bool parse_settle(struct builder *b, unsigned mark, enum value_type common, bool mixed,
			    uint32_t bound, struct operand *out);

/* "; did you mean "x"?" or "": into out. */
enum { NEAR_BYTES = 120 };
void near_name(const struct builder *b, const char *name, size_t n, char out[static NEAR_BYTES]);
void near_function(const char *name, size_t n, char out[static NEAR_BYTES]);

#endif
