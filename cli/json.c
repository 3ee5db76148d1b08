#include "cli.h"

#include <string.h>

#include "expr/utf8.h"

static void
json_byte(struct buf *b, uint8_t c)
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

void
cli_json_n(struct buf *b, const char *s, size_t n)
{
	buf_byte(b, '"');
	for (size_t i = 0; i < n;) {
		size_t len = s[i] ? utf8_character(s + i, n - i) : 1;
		if (len == 0) {
			buf_text(b, "\\ufffd");
			i++;
		} else if (len == 1) {
			json_byte(b, (uint8_t)s[i++]);
		} else {
			buf_add(b, s + i, len);
			i += len;
		}
	}
	buf_byte(b, '"');
}

void
cli_json(struct buf *b, const char *s)
{
	cli_json_n(b, s, strlen(s));
}
