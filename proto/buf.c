#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mem.h"

enum { BUF_FIRST = 256 };

void
buf_reserve(struct buf *b, size_t more)
{
	size_t want = b->len + more;

	if (want <= b->cap)
		return;
	size_t cap = b->cap ? b->cap : BUF_FIRST;
	while (cap < want)
		cap += cap / 2 + 1;
	b->data = mem_resize(b->data, cap, 1);
	b->cap = cap;
}

void
buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

uint8_t *
buf_take(struct buf *b, size_t *len)
{
	uint8_t *p = b->data;

	*len = b->len;
	*b = (struct buf){0};
	return p;
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	buf_reserve(b, BUF_FIRST);
	va_start(ap, fmt);
	int n = vsnprintf((char *)b->data + b->len, b->cap - b->len, fmt, ap);
	va_end(ap);
	if (n <= 0)
		return;
	if ((size_t)n >= b->cap - b->len) {
		buf_reserve(b, (size_t)n + 1);
		va_start(ap, fmt);
		vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	b->len += (size_t)n;
}
