#include "mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

void *
mem_alloc(size_t bytes)
{
	void *p = malloc(bytes ? bytes : 1);

	if (!p)
		fatal(EXIT_BUG, "out of memory (%zu bytes wanted)", bytes);
	return p;
}

void *
mem_zero(size_t count, size_t bytes)
{
	void *p = calloc(count ? count : 1, bytes ? bytes : 1);

	if (!p)
		fatal(EXIT_BUG, "out of memory (%zu x %zu bytes wanted)", count, bytes);
	return p;
}

void *
mem_resize(void *old, size_t count, size_t bytes)
{
	if (bytes && count > SIZE_MAX / bytes)
		panic("allocation of %zu x %zu bytes overflows", count, bytes);
	size_t total = count * bytes;
	void *p = realloc(old, total ? total : 1);
	if (!p)
		fatal(EXIT_BUG, "out of memory (%zu x %zu bytes wanted)", count, bytes);
	return p;
}

char *
mem_string_n(const char *s, size_t n)
{
	char *p = mem_alloc(n + 1);

	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

char *
mem_string(const char *s)
{
	return mem_string_n(s, strlen(s));
}
