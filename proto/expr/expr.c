#include "expr.h"

#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "mem.h"

_Static_assert((int)EXPR_INPUTS_MAX <= (int)REF_INDEX && CONSTS_MAX <= REF_INDEX &&
		   TEMPS_MAX <= REF_INDEX,
	       "references have room for every operand");

static bool
compile(struct builder *b, enum value_type want, struct operand *result)
{
	if (!lex_check(&b->lex) || !parse_token(b))
		return false;
	if (b->token.kind == TOKEN_END)
		return expr_fail(b->error, 0, b->lex.n, "the expression is empty");
	if (!parse_nested(b, result))
		return false;
	if (b->token.kind != TOKEN_END)
		return expr_fail(b->error, b->token.from, b->token.to,
				 "the expression should end here");
	if (want == VALUE_NULL || result->type == VALUE_NULL || result->type == want)
		return true;
	bool widens = type_is_number(want) && type_join(result->type, want) == want;
	if (!widens)
		return expr_fail(b->error, result->from, result->to,
				 "this is of type %s, %s is needed", type_words(result->type),
				 type_words(want));
	return type_convert(b, result, want);
}

static void
finish(struct builder *b, const struct operand *result)
{
	struct expr *x = b->x;
	size_t bytes;

	x->type = result->type;
	x->result = result->ref;
	x->bound = bound_result(b, result->ref);
	x->zone = b->scope->zone;
	buf_reserve(&b->code,
		    sizeof *x->code); /* a run adds to the pointer even where there is no code */
	x->code = (struct code *)(void *)buf_take(&b->code, &bytes);
	x->code_n = (unsigned)(bytes / sizeof *x->code);
	x->consts = (struct value *)(void *)buf_take(&b->consts, &bytes);
	x->consts_n = (unsigned)(bytes / sizeof *x->consts);
	x->args = (uint16_t *)(void *)buf_take(&b->args, &bytes);
	x->args_n = (unsigned)(bytes / sizeof *x->args);
	x->lists = (struct list *)(void *)buf_take(&b->lists, &bytes);
	x->lists_n = (unsigned)(bytes / sizeof *x->lists);
}

bool
expr_compile(const char *source, size_t n, const struct expr_scope *scope, enum value_type want,
	     struct expr **out, struct expr_error *e)
{
	struct builder b = {.lex = {source, n, 0, e}, .scope = scope, .error = e};
	struct operand result;

	*out = NULL;
	*e = (struct expr_error){0};
	b.x = mem_zero(1, sizeof *b.x);
	b.x->slots = mem_zero(EXPR_INPUTS_MAX / 8, 1);
	b.x->texts = mem_alloc(n);
	bool good = compile(&b, want, &result);
	finish(&b, good ? &result : &(struct operand){0});
	if (!good) {
		expr_free(b.x);
		return false;
	}
	*out = b.x;
	return true;
}

void
expr_free(struct expr *x)
{
	if (!x)
		return;
	for (unsigned i = 0; i < x->lists_n; i++)
		free(x->lists[i].values);
	free(x->lists);
	free(x->args);
	free(x->consts);
	free(x->code);
	free(x->slots);
	free(x->texts);
	free(x);
}

enum value_type
expr_type(const struct expr *x)
{
	return x->type;
}

uint32_t
expr_bound(const struct expr *x)
{
	return x->bound;
}

void
expr_slots(const struct expr *x, void (*visit)(void *ctx, unsigned slot), void *ctx)
{
	for (unsigned slot = 0; slot < EXPR_INPUTS_MAX; slot++)
		if (x->slots[slot / 8] >> slot % 8 & 1)
			visit(ctx, slot);
}

/* ---- conjuncts ---- */

struct conjuncts {
	size_t *at, *len;
	unsigned n, max;
	size_t from, to; /* of the one under way; to = end of its last token */
};

static void
conjunct_end(struct conjuncts *c)
{
	if (c->n < c->max && c->to > c->from) {
		c->at[c->n] = c->from;
		c->len[c->n] = c->to - c->from;
		c->n++;
	}
}

/* `and` also belongs to between; `case` holds any number of them. An `or` outside makes it one
 * conjunct. */
unsigned
expr_conjuncts(const char *source, size_t n, size_t at[], size_t len[], unsigned max)
{
	struct expr_error e;
	struct lexer l = {source, n, 0, &e};
	struct conjuncts c = {at, len, 0, max, 0, 0};
	unsigned nested = 0, betweens = 0;
	bool fresh = true, either = false;
	struct token t;
	size_t first = 0;

	while (lex_next(&l, &t) && t.kind != TOKEN_END) {
		bool word = t.kind == TOKEN_KEYWORD;
		nested += token_is(&l, &t, "(") || (word && t.keyword == KEYWORD_CASE);
		nested -= nested && (token_is(&l, &t, ")") || (word && t.keyword == KEYWORD_END));
		betweens += !nested && word && t.keyword == KEYWORD_BETWEEN;
		either = either || (!nested && word && t.keyword == KEYWORD_OR);
		bool splits = !nested && word && t.keyword == KEYWORD_AND;
		if (splits && betweens) {
			betweens--;
			splits = false;
		}
		if (splits) {
			conjunct_end(&c);
			fresh = true;
			continue;
		}
		if (fresh)
			c.from = t.from;
		if (!c.to)
			first = c.from;
		fresh = false;
		c.to = t.to;
	}
	conjunct_end(&c);
	if (either && c.n) {
		c.n = 1;
		at[0] = first;
		len[0] = c.to - first;
	}
	return c.n;
}
