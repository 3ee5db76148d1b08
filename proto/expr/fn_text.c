#include "fn.h"

#include <string.h>

#include "code.h"
#include "utf8.h"

/* A new text; false when the scratch is full. */
static bool
text_new(struct call *c, size_t n, char **p)
{
	*p = n > TEXT_BYTES_MAX ? NULL : scratch_take(c->st, n);
	*c->out = value_text(*p, n);
	return *p;
}

/* Part of an argument: nothing is copied. */
static bool
text_part(struct call *c, const struct value *v, size_t from, size_t to)
{
	/* An empty text may have no address at all, and nothing may be added to none. */
	*c->out = value_text(from ? v->text + from : v->text, to - from);
	return true;
}

bool
fn_lower(struct call *c)
{
	char *p;

	if (!text_new(c, c->arg[0]->len, &p))
		return false;
	utf8_lower(c->arg[0]->text, c->arg[0]->len, p);
	return true;
}

bool
fn_upper(struct call *c)
{
	char *p;

	if (!text_new(c, c->arg[0]->len, &p))
		return false;
	utf8_upper(c->arg[0]->text, c->arg[0]->len, p);
	return true;
}

bool
fn_length(struct call *c)
{
	*c->out = value_integer((int64_t)utf8_length(c->arg[0]->text, c->arg[0]->len));
	return true;
}

bool
fn_octet_length(struct call *c)
{
	*c->out = value_integer(c->arg[0]->len);
	return true;
}

/* Characters [from, to) counted from 0, both cut to the text. */
static bool
characters(struct call *c, int64_t from, int64_t to)
{
	const struct value *v = c->arg[0];

	if (from < 0)
		from = 0;
	if (to <= from)
		return text_part(c, v, 0, 0);
	size_t start = utf8_offset(v->text, v->len, (size_t)from);
	size_t bytes = utf8_offset(v->text + start, v->len - start, (size_t)(to - from));
	return text_part(c, v, start, start + bytes);
}

/* As in SQL: positions before 1 exist but are empty. */
bool
fn_substr(struct call *c)
{
	int64_t from = c->arg[1]->integer, to = INT64_MAX;

	if (c->n > 2) {
		if (c->arg[2]->integer < 0)
			return false;
		if (__builtin_add_overflow(from, c->arg[2]->integer, &to))
			to = INT64_MAX;
	}
	if (from == INT64_MIN)
		from++;
	return characters(c, from - 1, to == INT64_MIN ? to : to - 1);
}

static int64_t
length_of(const struct value *v)
{
	return (int64_t)utf8_length(v->text, v->len);
}

bool
fn_left(struct call *c)
{
	int64_t n = c->arg[1]->integer;

	if (n < 0)
		n = n < -(INT64_C(1) << 32) ? 0 : length_of(c->arg[0]) + n;
	return characters(c, 0, n);
}

bool
fn_right(struct call *c)
{
	int64_t n = c->arg[1]->integer, length = length_of(c->arg[0]);

	if (n < 0)
		return n < -length ? characters(c, 0, 0) : characters(c, -n, INT64_MAX);
	return characters(c, n > length ? 0 : length - n, INT64_MAX);
}

/* ---- trim ---- */

static bool
one_of(const char *s, size_t size, const struct value *set)
{
	for (size_t at = 0; at < set->len;) {
		size_t n = utf8_size(set->text + at, set->len - at);
		if (n == size && !memcmp(set->text + at, s, n))
			return true;
		at += n;
	}
	return false;
}

/* Bytes of the last character of s[0..n). */
static size_t
last_size(const char *s, size_t n)
{
	size_t size = 1;

	while (size < n && size < 4 && ((unsigned char)s[n - size] & 0xc0) == 0x80)
		size++;
	return size;
}

static bool
trim(struct call *c, bool begin, bool end)
{
	const struct value *v = c->arg[0];
	struct value space = value_text(" ", 1);
	const struct value *set = c->n > 1 ? c->arg[1] : &space;
	size_t from = 0, to = v->len;

	while (begin && from < to) {
		size_t size = utf8_size(v->text + from, to - from);
		if (!one_of(v->text + from, size, set))
			break;
		from += size;
	}
	while (end && from < to) {
		size_t size = last_size(v->text + from, to - from);
		if (!one_of(v->text + to - size, size, set))
			break;
		to -= size;
	}
	return text_part(c, v, from, to);
}

bool
fn_trim(struct call *c)
{
	return trim(c, true, true);
}

bool
fn_ltrim(struct call *c)
{
	return trim(c, true, false);
}

bool
fn_rtrim(struct call *c)
{
	return trim(c, false, true);
}

/* ---- pad ---- */

static bool
pad(struct call *c, bool before)
{
	const struct value *v = c->arg[0];
	struct value space = value_text(" ", 1);
	const struct value *fill = c->n > 2 ? c->arg[2] : &space;
	int64_t want = c->arg[1]->integer, length = length_of(v);
	char *p;

	if (want <= length || !fill->len)
		return characters(c, 0, want);
	if (want > EXPR_SCRATCH_BYTES)
		return false;
	size_t more = (size_t)(want - length), fill_length = (size_t)length_of(fill);
	if (!fill_length)
		return characters(c, 0, want);
	size_t whole = more / fill_length;
	size_t part = utf8_offset(fill->text, fill->len, more % fill_length);
	size_t bytes = whole * fill->len + part;
	if (!text_new(c, v->len + bytes, &p))
		return false;
	char *to = before ? p : p + v->len;
	for (size_t i = 0; i < whole; i++, to += fill->len)
		memcpy(to, fill->text, fill->len);
	if (part)
		memcpy(to, fill->text, part);
	if (v->len)
		memcpy(before ? p + bytes : p, v->text, v->len);
	return true;
}

bool
fn_lpad(struct call *c)
{
	return pad(c, true);
}

bool
fn_rpad(struct call *c)
{
	return pad(c, false);
}

/* ---- search ---- */

/* Offset of the part at or after `from`, or the text's length + 1. */
static size_t
find(const struct value *text, const struct value *part, size_t from)
{
	const char *p = NULL;

	if (!part->len)
		return from;
	if (text->len > from)
		p = memmem(text->text + from, text->len - from, part->text, part->len);
	return p ? (size_t)(p - text->text) : (size_t)text->len + 1;
}

bool
fn_replace(struct call *c)
{
	const struct value *v = c->arg[0], *from = c->arg[1], *to = c->arg[2];
	size_t count = 0, at;
	char *p;

	if (!from->len)
		return text_part(c, v, 0, v->len);
	for (at = find(v, from, 0); at <= v->len; at = find(v, from, at + from->len))
		count++;
	if (!text_new(c, v->len - count * from->len + count * to->len, &p))
		return false;
	size_t done = 0;
	for (at = find(v, from, 0); at <= v->len; at = find(v, from, done)) {
		memcpy(p, v->text + done, at - done);
		p += at - done;
		if (to->len)
			memcpy(p, to->text, to->len);
		p += to->len;
		done = at + from->len;
	}
	if (v->len > done)
		memcpy(p, v->text + done, v->len - done);
	return true;
}

/* The n-th part, or, backwards, found by its number from the front. */
bool
fn_split_part(struct call *c)
{
	const struct value *v = c->arg[0], *mark = c->arg[1];
	int64_t n = c->arg[2]->integer, parts = 1;
	size_t from = 0, at;

	if (!n)
		return false;
	if (!mark->len)
		return text_part(c, v, 0, n == 1 || n == -1 ? v->len : 0);
	if (n < 0) {
		for (at = find(v, mark, 0); at <= v->len; at = find(v, mark, at + mark->len))
			parts++;
		if (n < -parts)
			return text_part(c, v, 0, 0);
		n += parts + 1;
	}
	for (; n > 1; n--) {
		at = find(v, mark, from);
		if (at > v->len)
			return text_part(c, v, 0, 0);
		from = at + mark->len;
	}
	at = find(v, mark, from);
	return text_part(c, v, from, at > v->len ? v->len : at);
}

bool
fn_concat(struct call *c)
{
	size_t before = c->st->used, total = 0;
	struct value parts[CALL_ARGS_MAX];
	char *p;

	for (unsigned i = 0; i < c->n; i++) {
		parts[i] = value_text(NULL, 0);
		if (c->arg[i]->type != VALUE_NULL &&
		    !expr_convert(c->arg[i], VALUE_TEXT, c->zone, c->st, &parts[i]))
			return false;
		total += parts[i].len;
	}
	if (!text_new(c, total, &p)) {
		c->st->used = before;
		return false;
	}
	for (unsigned i = 0; i < c->n; i++) {
		if (parts[i].len)
			memcpy(p, parts[i].text, parts[i].len);
		p += parts[i].len;
	}
	return true;
}

bool
fn_starts_with(struct call *c)
{
	const struct value *v = c->arg[0], *part = c->arg[1];

	*c->out = value_boolean(v->len >= part->len &&
				(!part->len || !memcmp(v->text, part->text, part->len)));
	return true;
}

bool
fn_ends_with(struct call *c)
{
	const struct value *v = c->arg[0], *part = c->arg[1];

	*c->out = value_boolean(
	    v->len >= part->len &&
	    (!part->len || !memcmp(v->text + v->len - part->len, part->text, part->len)));
	return true;
}

bool
fn_contains(struct call *c)
{
	*c->out = value_boolean(find(c->arg[0], c->arg[1], 0) <= c->arg[0]->len);
	return true;
}

static bool
position(struct call *c, const struct value *text, const struct value *part)
{
	size_t at = find(text, part, 0);

	*c->out = value_integer(at > text->len ? 0 : (int64_t)utf8_length(text->text, at) + 1);
	return true;
}

bool
fn_position(struct call *c)
{
	return position(c, c->arg[1], c->arg[0]);
}

bool
fn_strpos(struct call *c)
{
	return position(c, c->arg[0], c->arg[1]);
}

/* ---- like ---- */

bool
like_good(const char *pattern, size_t n)
{
	size_t escapes = 0;

	while (escapes < n && pattern[n - 1 - escapes] == '\\')
		escapes++;
	return escapes % 2 == 0;
}

/* Remembers the last % and begins again one character later: no recursion. */
bool
like_match(const char *s, size_t n, const char *pattern, size_t pattern_n, bool *match)
{
	size_t at = 0, p = 0, any = SIZE_MAX, retry = 0;

	if (!like_good(pattern, pattern_n))
		return false;
	for (;;) {
		if (p < pattern_n && pattern[p] == '%') {
			any = ++p;
			retry = at;
			continue;
		}
		if (at == n && p == pattern_n)
			break;
		bool escaped = p < pattern_n && pattern[p] == '\\';
		size_t literal = p + escaped;
		if (at < n && !escaped && p < pattern_n && pattern[p] == '_') {
			at += utf8_size(s + at, n - at);
			p++;
		} else if (at < n && literal < pattern_n && pattern[literal] == s[at]) {
			at++;
			p = literal + 1;
		} else if (any != SIZE_MAX && retry < n) {
			retry += utf8_size(s + retry, n - retry);
			at = retry;
			p = any;
		} else {
			*match = false;
			return true;
		}
	}
	*match = true;
	return true;
}
