#include "json_text.h"

#include <stdint.h>
#include <string.h>

static size_t
digits(const char *s, size_t n, size_t i)
{
	while (i < n && s[i] >= '0' && s[i] <= '9')
		i++;
	return i;
}

bool
json_number_good(const char *s, size_t n)
{
	size_t i = 0, from;

	if (i < n && s[i] == '-')
		i++;
	from = i;
	i = digits(s, n, i);
	if (i == from || (s[from] == '0' && i > from + 1))
		return false;
	if (i < n && s[i] == '.') {
		from = ++i;
		i = digits(s, n, i);
		if (i == from)
			return false;
	}
	if (i < n && (s[i] == 'e' || s[i] == 'E')) {
		i++;
		if (i < n && (s[i] == '+' || s[i] == '-'))
			i++;
		from = i;
		i = digits(s, n, i);
		if (i == from)
			return false;
	}
	return i == n;
}

static bool
hex4(const char *s, size_t n, size_t i, uint32_t *out)
{
	uint32_t v = 0;

	if (n - i < 4)
		return false;
	for (size_t end = i + 4; i < end; i++) {
		char c = s[i];
		uint32_t d;

		if (c >= '0' && c <= '9')
			d = (uint32_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			d = (uint32_t)(c - 'a') + 10;
		else if (c >= 'A' && c <= 'F')
			d = (uint32_t)(c - 'A') + 10;
		else
			return false;
		v = v << 4 | d;
	}
	*out = v;
	return true;
}

static size_t
utf8_put(uint32_t c, char *out)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* At the u of \u; moves *i behind the escape. */
static const char *
unicode_escape(const char *s, size_t n, size_t *i, uint32_t *c)
{
	uint32_t low;

	if (!hex4(s, n, *i + 1, c))
		return "a \\u escape without four hexadecimal digits";
	*i += 5;
	if (*c == 0)
		return "a text holds NUL (\\u0000), which the warehouse cannot store";
	if (*c >= 0xdc00 && *c < 0xe000)
		return "a lone surrogate: half of a character";
	if (*c < 0xd800 || *c >= 0xdc00)
		return NULL;
	if (n - *i < 6 || s[*i] != '\\' || s[*i + 1] != 'u' || !hex4(s, n, *i + 2, &low) ||
	    low < 0xdc00 || low >= 0xe000)
		return "a lone surrogate: half of a character";
	*i += 6;
	*c = 0x10000 + ((*c - 0xd800) << 10 | (low - 0xdc00));
	return NULL;
}

static char
short_escape(char c)
{
	switch (c) {
	case '"':
	case '\\':
	case '/':
		return c;
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	default:
		return 0;
	}
}

const char *
json_unescape(const char *s, size_t n, char *out, size_t *out_len)
{
	size_t i = 0, to = 0;

	while (i < n) {
		const char *slash = memchr(s + i, '\\', n - i);
		size_t run = slash ? (size_t)(slash - (s + i)) : n - i;

		memcpy(out + to, s + i, run);
		to += run;
		i += run;
		if (!slash)
			break;
		if (++i == n)
			return "a backslash without a character";
		if (s[i] != 'u') {
			char c = short_escape(s[i++]);
			if (!c)
				return "an unknown escape behind a backslash";
			out[to++] = c;
			continue;
		}
		uint32_t c;
		const char *wrong = unicode_escape(s, n, &i, &c);
		if (wrong)
			return wrong;
		to += utf8_put(c, out + to);
	}
	*out_len = to;
	return NULL;
}
