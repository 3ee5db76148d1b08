#include "jsontext.h"

#include <string.h>

#include "expr/utf8.h"

static void
byte_write(struct buf *b, uint8_t c)
{
	switch (c) {
	case '"':
		buf_text(b, "\\\"");
		break;
	case '\\':
		buf_text(b, "\\\\");
		break;
	case '\n':
		buf_text(b, "\\n");
		break;
	case '\t':
		buf_text(b, "\\t");
		break;
	default:
		if (c < ' ' || c == 0x7f)
			buf_printf(b, "\\u%04x", c);
		else
			buf_byte(b, c);
	}
}

/* The character at s, of at most n bytes; how many it has. */
static size_t
character_write(struct buf *b, const char *s, size_t n)
{
	size_t len = *s ? utf8_character(s, n) : 1;

	if (len == 0)
		buf_text(b, "\\ufffd");
	else if (len == 1)
		byte_write(b, (uint8_t)*s);
	else
		buf_add(b, s, len);
	return len ? len : 1;
}

void
jsontext_n(struct buf *b, const char *s, size_t n)
{
	buf_byte(b, '"');
	for (size_t i = 0; i < n;)
		i += character_write(b, s + i, n - i);
	buf_byte(b, '"');
}

void
jsontext(struct buf *b, const char *s)
{
	jsontext_n(b, s, strlen(s));
}

void
jsontext_cut(struct buf *b, const char *s, size_t n)
{
	size_t end = strlen(s), start = b->len + 1;

	buf_byte(b, '"');
	for (size_t i = 0; i < end;) {
		size_t before = b->len;
		i += character_write(b, s + i, end - i);
		if (b->len - start > n) {
			b->len = before;
			break;
		}
	}
	buf_byte(b, '"');
}
