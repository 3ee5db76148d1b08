#include "lex.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

static const char *const keyword_texts[KEYWORD_MAX] = {
#define KEYWORD(id, text) [KEYWORD_##id] = text,
#include "keywords.def"
#undef KEYWORD
};

bool
expr_fail(struct expr_error *e, size_t at, size_t to, const char *fmt, ...)
{
	va_list ap;

	e->at = at;
	e->len = to > at ? to - at : 1;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	return false;
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool
lex_same(const char *a, size_t n, const char *word)
{
	if (strlen(word) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (lower(a[i]) != word[i])
			return false;
	return true;
}

bool
lex_check(struct lexer *l)
{
	size_t bad;

	if (l->n > EXPR_TEXT_MAX)
		return expr_fail(l->error, 0, 1, "expression is longer than %d bytes",
				 EXPR_TEXT_MAX);
	if (!utf8_check(l->s, l->n, &bad))
		return expr_fail(l->error, bad, bad + 1, "not a character of UTF-8");
	return true;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Bytes above 127 too: names in any language. */
static bool
starts_name(char c)
{
	return (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || (unsigned char)c >= 0x80;
}

static size_t
skip_digits(const struct lexer *l, size_t at)
{
	while (at < l->n && is_digit(l->s[at]))
		at++;
	return at;
}

static bool
lex_number(struct lexer *l, struct token *t)
{
	size_t at = skip_digits(l, l->at);

	if (at + 1 < l->n && l->s[at] == '.' && is_digit(l->s[at + 1]))
		at = skip_digits(l, at + 1);
	if (at < l->n && lower(l->s[at]) == 'e') {
		size_t e = at + 1;
		if (e < l->n && (l->s[e] == '+' || l->s[e] == '-'))
			e++;
		if (e < l->n && is_digit(l->s[e]))
			at = skip_digits(l, e);
	}
	if (at < l->n && (starts_name(l->s[at]) || l->s[at] == '.'))
		return expr_fail(l->error, l->at, at + 1, "not a number");
	t->kind = TOKEN_NUMBER;
	t->len = at - l->at;
	l->at = at;
	return true;
}

/* 'text' or "name"; the quote itself is written twice inside. */
static bool
lex_quoted(struct lexer *l, struct token *t)
{
	char quote = l->s[l->at];
	size_t at = l->at + 1;

	for (;; at++) {
		if (at >= l->n)
			return expr_fail(l->error, l->at, l->n, "no closing %c", quote);
		if (l->s[at] != quote)
			continue;
		if (at + 1 >= l->n || l->s[at + 1] != quote)
			break;
		at++;
	}
	t->kind = quote == '\'' ? TOKEN_STRING : TOKEN_NAME;
	t->quoted = true;
	t->at = l->at + 1;
	t->len = at - t->at;
	if (quote == '"' && (!t->len || memchr(l->s + t->at, '"', t->len)))
		return expr_fail(l->error, l->at, at + 1, "not a name");
	l->at = at + 1;
	return true;
}

static void
lex_name(struct lexer *l, struct token *t)
{
	size_t at = l->at;

	while (at < l->n && (starts_name(l->s[at]) || is_digit(l->s[at]) || l->s[at] == '.'))
		at++;
	t->kind = TOKEN_NAME;
	t->len = at - l->at;
	for (int i = 0; i < KEYWORD_MAX; i++)
		if (lex_same(l->s + l->at, t->len, keyword_texts[i])) {
			t->kind = TOKEN_KEYWORD;
			t->keyword = (enum keyword)i;
		}
	l->at = at;
}

static bool
lex_operator(struct lexer *l, struct token *t)
{
	static const char *const operators[] = {"<=", ">=", "<>", "!=", "||", "<", ">", "=",
						"+",  "-",  "*",  "/",	"%",  "(", ")", ","};

	if (l->n - l->at >= 2 && !memcmp(l->s + l->at, "--", 2))
		return expr_fail(l->error, l->at, l->at + 2,
				 "\"--\" begins a comment in SQL; write \"- -\" or parentheses");
	for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
		size_t n = strlen(operators[i]);
		if (l->n - l->at >= n && !memcmp(l->s + l->at, operators[i], n)) {
			t->kind = TOKEN_OPERATOR;
			t->len = n;
			l->at += n;
			return true;
		}
	}
	return expr_fail(l->error, l->at, l->at + 1, "unexpected character");
}

bool
lex_next(struct lexer *l, struct token *t)
{
	while (l->at < l->n && strchr(" \t\r\n", l->s[l->at]))
		l->at++;
	*t = (struct token){.kind = TOKEN_END, .at = l->at, .from = l->at};
	bool good = true;
	if (l->at < l->n) {
		char c = l->s[l->at];
		if (is_digit(c))
			good = lex_number(l, t);
		else if (c == '\'' || c == '"')
			good = lex_quoted(l, t);
		else if (starts_name(c))
			lex_name(l, t);
		else
			good = lex_operator(l, t);
	}
	t->to = l->at;
	return good;
}

bool
token_is(const struct lexer *l, const struct token *t, const char *operator_text)
{
	return t->kind == TOKEN_OPERATOR && t->len == strlen(operator_text) &&
	       !memcmp(l->s + t->at, operator_text, t->len);
}
