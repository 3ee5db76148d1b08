#include "utf8.h"

#include <string.h>

size_t
utf8_character(const char *text, size_t n)
{
	const uint8_t *s = (const uint8_t *)text;
	static const uint32_t least[] = {0, 0x01, 0x80, 0x800, 0x10000};
	size_t size = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (!size || size > n || s[0] > 0xf4)
		return 0;
	uint32_t c = size == 1 ? s[0] : s[0] & (0x7fu >> size);
	for (size_t i = 1; i < size; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	bool surrogate = c >= 0xd800 && c <= 0xdfff;
	return c >= least[size] && c <= 0x10ffff && !surrogate ? size : 0;
}

bool
utf8_check(const char *s, size_t n, size_t *bad)
{
	for (size_t at = 0; at < n;) {
		size_t size = utf8_character(s + at, n - at);
		if (!size) {
			*bad = at;
			return false;
		}
		at += size;
	}
	return true;
}

size_t
utf8_length(const char *s, size_t n)
{
	size_t length = 0;

	for (size_t i = 0; i < n; i++)
		length += ((unsigned char)s[i] & 0xc0) != 0x80;
	return length;
}

size_t
utf8_offset(const char *s, size_t n, size_t index)
{
	size_t at = 0;

	for (; index && at < n; index--)
		at += utf8_size(s + at, n - at);
	return at;
}

/* Pairs that differ in the lowest bit: first and last capital, and which parity capitals have. */
static bool
in_pairs(uint32_t c, bool *odd_capital)
{
	*odd_capital = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e);
	return *odd_capital || (c >= 0x100 && c <= 0x137 && c != 0x130 && c != 0x131) ||
	       (c >= 0x14a && c <= 0x177) || (c >= 0x460 && c <= 0x481);
}

static uint32_t
character_lower(uint32_t c)
{
	bool odd;

	if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7) ||
	    (c >= 0x391 && c <= 0x3ab && c != 0x3a2) || (c >= 0x410 && c <= 0x42f))
		return c + 0x20;
	if (c >= 0x400 && c <= 0x40f)
		return c + 0x50;
	if (in_pairs(c, &odd) && (c & 1) == (odd ? 1u : 0u))
		return c + 1;
	return c;
}

static uint32_t
character_upper(uint32_t c)
{
	bool odd;

	if ((c >= 'a' && c <= 'z') || (c >= 0xe0 && c <= 0xfe && c != 0xf7) ||
	    (c >= 0x3b1 && c <= 0x3cb && c != 0x3c2) || (c >= 0x430 && c <= 0x44f))
		return c - 0x20;
	if (c >= 0x450 && c <= 0x45f)
		return c - 0x50;
	if (in_pairs(c, &odd) && (c & 1) == (odd ? 0u : 1u))
		return c - 1;
	return c;
}

/* One and two byte characters are mapped; the mappings above never leave their size. */
static void
utf8_map(const char *s, size_t n, char *out, uint32_t (*map)(uint32_t))
{
	for (size_t at = 0; at < n;) {
		size_t size = utf8_size(s + at, n - at);
		if (size == 1) {
			out[at] = (char)map((unsigned char)s[at]);
		} else if (size == 2 && (unsigned char)s[at] >= 0xc0) {
			uint32_t c =
			    map(((uint32_t)s[at] & 0x1f) << 6 | ((uint32_t)s[at + 1] & 0x3f));
			out[at] = (char)(0xc0 | c >> 6);
			out[at + 1] = (char)(0x80 | (c & 0x3f));
		} else {
			memcpy(out + at, s + at, size);
		}
		at += size;
	}
}

void
utf8_lower(const char *s, size_t n, char *out)
{
	utf8_map(s, n, out, character_lower);
}

void
utf8_upper(const char *s, size_t n, char *out)
{
	utf8_map(s, n, out, character_upper);
}
