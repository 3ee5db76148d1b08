/*
 * conf_report: errors as a person reads them. Collected in any order, written in the order of the
 * file.
 */
#include "conf_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

enum {
	EXCERPT_BYTES_MAX = 160, /* of a source line; a longer one is cut around the caret */
	EXCERPT_BEFORE = 80,
	QUOTE_BYTES_MAX = 64,
	NEAREST_WORD_MAX = 64,
};

static void PRINTF(5, 0) error_add(struct conf_tree *t, uint32_t at, uint32_t len,
				   const char *suggestion, const char *fmt, va_list ap)
{
	char text[1024];

	if (t->errors_n == CONF_ERRORS_MAX) {
		t->errors_more++;
		return;
	}
	vsnprintf(text, sizeof text, fmt, ap);
	if (at > t->len)
		at = (uint32_t)t->len;
	t->errors[t->errors_n] = (struct conf_error){.at = at,
						     .len = len ? len : 1,
						     .order = t->errors_n,
						     .text = conf_string(t, text, strlen(text)),
						     .suggestion = suggestion};
	t->errors_n++;
}

/* What to underline of a value: a scalar with its quotes, of a map or list its first byte. */
static void
node_range(const struct conf_node *n, uint32_t *at, uint32_t *len)
{
	bool quoted = n->style == CONF_SINGLE || n->style == CONF_DOUBLE;

	*at = n->at;
	*len = 1;
	if (n->kind != CONF_SCALAR || n->filled)
		return;
	*len = n->end > n->at ? n->end - n->at : 1;
	if (quoted && n->at > 0) {
		*at -= 1;
		*len = n->end - n->at + 2;
	}
}

void
conf_error(struct conf_tree *t, struct conf_node *n, const char *fmt, ...)
{
	uint32_t at, len;
	va_list ap;

	n->bad = true;
	node_range(n, &at, &len);
	va_start(ap, fmt);
	error_add(t, at, len, NULL, fmt, ap);
	va_end(ap);
}

void
conf_error_near(struct conf_tree *t, struct conf_node *n, const char *suggestion, const char *fmt,
		...)
{
	uint32_t at, len;
	va_list ap;

	n->bad = true;
	node_range(n, &at, &len);
	va_start(ap, fmt);
	error_add(t, at, len, suggestion, fmt, ap);
	va_end(ap);
}

void
conf_error_key(struct conf_tree *t, struct conf_node *n, const char *fmt, ...)
{
	va_list ap;

	n->bad = true;
	va_start(ap, fmt);
	error_add(t, n->key ? n->key_at : n->at, n->key ? (uint32_t)strlen(n->key) : 1, NULL, fmt,
		  ap);
	va_end(ap);
}

void
conf_error_at(struct conf_tree *t, uint32_t at, uint32_t len, const char *suggestion,
	      const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_add(t, at, len, suggestion, fmt, ap);
	va_end(ap);
}

const char *
conf_quote(struct conf_tree *t, const char *s, size_t n)
{
	struct buf b = {0};
	size_t cut = n > QUOTE_BYTES_MAX ? QUOTE_BYTES_MAX : n;

	/* Not in the middle of a character. */
	while (cut < n && cut > 0 && ((unsigned char)s[cut] & 0xc0) == 0x80)
		cut--;
	buf_byte(&b, '"');
	for (size_t i = 0; i < cut; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c < 0x20 || c == 0x7f)
			buf_printf(&b, "\\x%02x", c);
		else
			buf_byte(&b, c);
	}
	buf_text(&b, cut < n ? "...\"" : "\"");
	char *out = conf_string(t, (const char *)b.data, b.len);
	buf_free(&b);
	return out;
}

/* Edit distance (insert, delete, replace, swap of neighbours), three rows at a time. */
static unsigned
distance(const char *a, size_t n, const char *b, size_t m)
{
	unsigned rows[3][NEAREST_WORD_MAX + 1];

	for (size_t j = 0; j <= m; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned *now = rows[i % 3], *was = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned best = was[j - 1] + (a[i - 1] != b[j - 1]);
			if (was[j] + 1 < best)
				best = was[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			now[j] = best;
		}
	}
	return rows[n % 3][m];
}

void
nearest_try(struct nearest *x, const char *candidate)
{
	size_t n = strlen(x->word), m = strlen(candidate);

	if (n == 0 || n > NEAREST_WORD_MAX || m > NEAREST_WORD_MAX)
		return;
	unsigned d = distance(x->word, n, candidate, m);
	/* A third of the word may be wrong, and one letter of a short one. */
	if (d > 1 && d > n / 3)
		return;
	if (d >= n && n < 3)
		return;
	if (!x->best || d < x->distance) {
		x->best = candidate;
		x->distance = d;
	}
}

/* ---- writing ---- */

struct place {
	unsigned line, column; /* from 1; columns count characters */
	size_t begin, end;     /* of the source line */
};

static struct place
place_of(const struct conf_tree *t, uint32_t at)
{
	struct place p = {.line = 1, .column = 1};

	for (size_t i = 0; i < at; i++) {
		if (t->text[i] == '\n') {
			p.line++;
			p.begin = i + 1;
		}
	}
	for (size_t i = p.begin; i < at; i++)
		p.column += ((unsigned char)t->text[i] & 0xc0) != 0x80;
	p.end = p.begin;
	while (p.end < t->len && t->text[p.end] != '\n' && t->text[p.end] != '\r')
		p.end++;
	return p;
}

static bool
continues(const struct conf_tree *t, size_t i)
{
	return i < t->len && ((unsigned char)t->text[i] & 0xc0) == 0x80;
}

static void
excerpt_write(const struct conf_tree *t, const struct conf_error *x, const struct place *p,
	      struct buf *out)
{
	size_t begin = p->begin, end = p->end;

	if (end - begin > EXCERPT_BYTES_MAX) {
		if (x->at - begin > EXCERPT_BEFORE)
			begin = x->at - EXCERPT_BEFORE;
		while (continues(t, begin))
			begin++;
		if (end - begin > EXCERPT_BYTES_MAX)
			end = begin + EXCERPT_BYTES_MAX;
		while (end < p->end && continues(t, end))
			end++;
	}
	buf_text(out, "  ");
	for (size_t i = begin; i < end; i++) {
		unsigned char c = (unsigned char)t->text[i];
		buf_byte(out, c < 0x20 || c == 0x7f ? ' ' : c);
	}
	buf_text(out, "\n  ");
	for (size_t i = begin; i < x->at && i < end; i++) {
		if (!continues(t, i))
			buf_byte(out, ' ');
	}
	buf_byte(out, '^');
	for (size_t i = x->at + 1u; i < x->at + (size_t)x->len && i < end; i++) {
		if (!continues(t, i))
			buf_byte(out, '~');
	}
	buf_byte(out, '\n');
}

static void
json_text(struct buf *out, const char *s)
{
	buf_byte(out, '"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", c);
		else if (c < 0x20)
			buf_printf(out, "\\u%04x", c);
		else
			buf_byte(out, c);
	}
	buf_byte(out, '"');
}

static void
error_write(const struct conf_tree *t, const struct conf_error *x, struct conf_report *r)
{
	struct place p = place_of(t, x->at);

	buf_printf(&r->text, "%s:%u:%u: error: %s", t->name, p.line, p.column, x->text);
	if (x->suggestion)
		buf_printf(&r->text, "; did you mean \"%s\"?", x->suggestion);
	buf_byte(&r->text, '\n');
	if (p.end > p.begin)
		excerpt_write(t, x, &p, &r->text);
	buf_text(&r->json, r->json.len ? ",{\"file\":" : "{\"file\":");
	json_text(&r->json, t->name);
	buf_printf(&r->json, ",\"line\":%u,\"column\":%u,\"message\":", p.line, p.column);
	json_text(&r->json, x->text);
	buf_text(&r->json, ",\"suggestion\":");
	if (x->suggestion)
		json_text(&r->json, x->suggestion);
	else
		buf_text(&r->json, "null");
	buf_byte(&r->json, '}');
}

static int
error_order(const void *a, const void *b)
{
	const struct conf_error *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void
conf_report_write(const struct conf_tree *t, struct conf_report *r)
{
	struct conf_error *sorted = mem_alloc(t->errors_n * sizeof *sorted);

	if (t->errors_n)
		memcpy(sorted, t->errors, t->errors_n * sizeof *sorted);
	qsort(sorted, t->errors_n, sizeof *sorted, error_order);
	for (unsigned i = 0; i < t->errors_n; i++)
		error_write(t, &sorted[i], r);
	if (t->errors_more)
		buf_printf(&r->text, "%s: %u more errors are not shown\n", t->name, t->errors_more);
	r->errors += t->errors_n + t->errors_more;
	free(sorted);
}

void
conf_report_free(struct conf_report *r)
{
	buf_free(&r->text);
	buf_free(&r->json);
	r->errors = 0;
}
