/* keys: the report of a sub-verb, and bytes as digits. */
#include "keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LINE_MAX_BYTES = 2048 };

/* A line of the report: text for people, and an element of a JSON array. */
static void
line_add(struct keys *k, struct buf *json, const char *mark, const char *line)
{
	buf_printf(&k->text, "%s%s\n", mark, line);
	buf_text(json, json->len ? "," : "");
	cli_json(json, line);
}

void
keys_did(struct keys *k, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	line_add(k, &k->did, "", line);
}

void
keys_not(struct keys *k, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	line_add(k, &k->not_done, "not done: ", line);
}

void
keys_next(struct keys *k, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(k->next, sizeof k->next, fmt, ap);
	va_end(ap);
}

void
keys_data(struct keys *k, const char *name, const char *fmt, ...)
{
	char value[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof value, fmt, ap);
	va_end(ap);
	buf_byte(&k->data, ',');
	cli_json(&k->data, name);
	buf_printf(&k->data, ":%s", value);
}

void
keys_words(struct keys *k, const char *name, struct buf *b)
{
	const char *at = buf_cstr(b);

	buf_byte(&k->data, ',');
	cli_json(&k->data, name);
	buf_text(&k->data, ":[");
	for (bool first = true; *at; first = false) {
		size_t n = strcspn(at, "\n");
		buf_text(&k->data, first ? "" : ",");
		cli_json_n(&k->data, at, n);
		buf_add(&k->text, at, n);
		buf_byte(&k->text, '\n');
		at += n + (at[n] == '\n');
	}
	buf_byte(&k->data, ']');
}

void
keys_hex(struct buf *b, const void *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *x = p;

	for (size_t i = 0; i < n; i++) {
		buf_byte(b, (uint8_t)digits[x[i] >> 4]);
		buf_byte(b, (uint8_t)digits[x[i] & 15]);
	}
}

static int
digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

bool
keys_unhex(const char *s, size_t n, struct buf *out)
{
	if (n >= 2 && s[0] == '\\' && s[1] == 'x') {
		s += 2;
		n -= 2;
	}
	if (n % 2)
		return false;
	for (size_t i = 0; i < n; i += 2) {
		int hi = digit(s[i]), lo = digit(s[i + 1]);
		if (hi < 0 || lo < 0)
			return false;
		buf_byte(out, (uint8_t)(hi << 4 | lo));
	}
	return true;
}

void
keys_array_add(struct buf *array, const void *p, size_t n)
{
	buf_text(array, array->len ? ",\"\\\\x" : "{\"\\\\x");
	keys_hex(array, p, n);
	buf_byte(array, '"');
}

void
keys_array_end(struct buf *array)
{
	buf_text(array, array->len ? "}" : "{}");
}

int64_t
keys_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
