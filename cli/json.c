#include "cli.h"

#include <string.h>

/* Length of the UTF-8 sequence at s, 0 when the bytes there are none. */
static size_t
utf8_length(const uint8_t *s, size_t n)
{
	size_t len = s[0] < 0x80		   ? 1
		     : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		     : (s[0] & 0xf0) == 0xe0	   ? 3
		     : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						   : 0;

	if (!len || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return len;
}

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
	const uint8_t *p = (const uint8_t *)s;

	buf_byte(b, '"');
	for (size_t i = 0; i < n;) {
		size_t len = utf8_length(p + i, n - i);
		if (len == 0) {
			buf_text(b, "\\ufffd");
			i++;
		} else if (len == 1) {
			json_byte(b, p[i++]);
		} else {
			buf_add(b, p + i, len);
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
