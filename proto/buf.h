/*
 * buf: a growing byte buffer. The owner frees it with buf_free, or gives the bytes away with
 * buf_take. Appending cannot fail (mem.h).
 */
#ifndef PROTO_BUF_H
#define PROTO_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "err.h"

struct buf {
	uint8_t *data; /* owned; NULL while nothing was reserved */
	size_t len;    /* bytes used */
	size_t cap;    /* bytes allocated */
};

void buf_reserve(struct buf *b, size_t more);  /* room for `more` bytes beyond len */
void buf_free(struct buf *b);		       /* leaves an empty, usable buffer */
uint8_t *buf_take(struct buf *b, size_t *len); /* the caller frees with free(); b is empty after */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);

static inline void
buf_clear(struct buf *b)
{
	b->len = 0;
}

static inline void
buf_add(struct buf *b, const void *p, size_t n)
{
	if (b->cap - b->len < n)
		buf_reserve(b, n);
	if (n)
		memcpy(b->data + b->len, p, n);
	b->len += n;
}

static inline void
buf_byte(struct buf *b, uint8_t c)
{
	if (b->cap == b->len)
		buf_reserve(b, 1);
	b->data[b->len++] = c;
}

static inline void
buf_text(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

/* A NUL after the bytes, not counted in len; the result is borrowed until the next change. */
static inline const char *
buf_cstr(struct buf *b)
{
	buf_byte(b, 0);
	b->len--;
	return (const char *)b->data;
}

#endif
