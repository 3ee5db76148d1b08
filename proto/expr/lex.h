/*
 * lex: the tokens of an expression. A token only points into the source. Keywords and function
 * names are case-insensitive; other names are taken as written, "quoted" ones whatever they spell.
 */
#ifndef PROTO_EXPR_LEX_H
#define PROTO_EXPR_LEX_H

#include "expr.h"

enum token_kind {
	TOKEN_END,
	TOKEN_NAME,
	TOKEN_NUMBER,
	TOKEN_STRING,
	TOKEN_OPERATOR, /* < > <= >= <> != = + - * / % || ( ) , */
	TOKEN_KEYWORD,
};

enum keyword {
#define KEYWORD(id, text) KEYWORD_##id,
#include "keywords.def"
#undef KEYWORD
	KEYWORD_MAX
};

struct token {
	enum token_kind kind;
	enum keyword keyword; /* of TOKEN_KEYWORD */
	bool quoted;	      /* a name in double quotes; at and len are those of what is inside */
	size_t at, len;	      /* bytes of the source; a string without its quotes */
	size_t from, to;      /* the whole token, for carets */
};

struct lexer {
	const char *s;
	size_t n, at;
	struct expr_error *error;
};

/* False: *lexer->error says where and why. The source is valid UTF-8 without NUL (lex_check). */
MUSTCHECK bool lex_check(struct lexer *l);
MUSTCHECK bool lex_next(struct lexer *l, struct token *t);

bool token_is(const struct lexer *l, const struct token *t, const char *operator_text);

/* Case-insensitive, for function, type and unit names. */
bool lex_same(const char *a, size_t n, const char *word);

/* Sets *e; always false. */
bool expr_fail(struct expr_error *e, size_t at, size_t to, const char *fmt, ...) PRINTF(4, 5);

#endif
