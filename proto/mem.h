/*
 * mem: allocation that cannot fail. Running out of memory is our own fault (every queue and buffer
 * is bounded), so these end the process loudly instead of returning NULL.
 */
#ifndef PROTO_MEM_H
#define PROTO_MEM_H

#include <stddef.h>

/* All: the caller owns the result and frees it with free(). Sizes of 0 give a valid pointer. */
void *mem_alloc(size_t bytes);
void *mem_zero(size_t count, size_t bytes);
void *mem_resize(void *p, size_t count, size_t bytes); /* checks count * bytes for overflow */
char *mem_string(const char *s);
char *mem_string_n(const char *s, size_t n); /* copies n bytes and adds a NUL */

#endif
