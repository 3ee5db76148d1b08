/*
 * utf8: what text functions need of UTF-8. Values are valid UTF-8 by contract (value.h); the
 * functions stay inside their bounds on any bytes.
 */
#ifndef PROTO_EXPR_UTF8_H
#define PROTO_EXPR_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Strict: no overlong forms, surrogates or NUL. *bad is the offset of the first wrong byte. */
bool utf8_check(const char *s, size_t n, size_t *bad);

/* Bytes of the well-formed character at s (n at least 1); 0: there is none. NUL is none. */
size_t utf8_character(const char *s, size_t n);

/* Bytes of the character at s: 1 to 4, never past n (n at least 1). */
static inline size_t
utf8_size(const char *s, size_t n)
{
	unsigned char c = (unsigned char)*s;
	size_t size = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	return size <= n ? size : n;
}

size_t utf8_length(const char *s, size_t n); /* characters */

/* Byte offset of character number `index` (0 is the first), at most n. */
size_t utf8_offset(const char *s, size_t n, size_t index);

/*
 * Simple case mapping of ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic; other characters
 * stay. A mapped character takes as many bytes as it had. Writes n bytes to out.
 */
void utf8_lower(const char *s, size_t n, char *out);
void utf8_upper(const char *s, size_t n, char *out);

#endif
