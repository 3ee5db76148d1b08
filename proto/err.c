#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool
err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	return false;
}

bool
err_errno(struct err *e, int code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	size_t n = strlen(e->text);
	snprintf(e->text + n, sizeof e->text - n, ": %s", strerror(saved));
	return false;
}

bool
err_context(struct err *e, const char *fmt, ...)
{
	char context[ERR_TEXT_MAX];
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(context, sizeof context, fmt, ap);
	va_end(ap);
	memcpy(text, e->text, sizeof text);
	size_t n = strlen(context);
	if (n > sizeof e->text - 3)
		n = sizeof e->text - 3;
	memcpy(e->text, context, n);
	snprintf(e->text + n, sizeof e->text - n, ": %.*s", (int)(sizeof e->text - n - 3), text);
	return false;
}
