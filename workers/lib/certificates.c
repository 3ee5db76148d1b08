#include "certificates.h"

#include <stdbool.h>
#include <string.h>

static const char *const names[] = {"sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir"};

struct cursor {
	const char *at, *end;
};

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The next byte of a value; -1 at its end. quote: '\'' inside quotes, '&' in a URI, else ' '. */
static int
value_byte(struct cursor *c, char quote)
{
	if (c->at == c->end)
		return -1;
	char b = *c->at;
	bool ends = quote == ' ' ? b == ' ' || b == '\t' || b == '\n' : b == quote || b == '\n';
	if (ends)
		return -1;
	c->at++;
	if (quote != '&' && b == '\\' && c->at < c->end)
		return (unsigned char)*c->at++;
	if (quote == '&' && b == '%' && c->end - c->at >= 2 && hex(c->at[0]) >= 0 &&
	    hex(c->at[1]) >= 0) {
		c->at += 2;
		return hex(c->at[-2]) << 4 | hex(c->at[-1]);
	}
	return (unsigned char)b;
}

static void
value_take(struct cursor c, char quote, struct certificates *out)
{
	char *path = out->path[out->n];
	size_t n = 0;
	int b;

	while ((b = value_byte(&c, quote)) >= 0) {
		if (n == CERTIFICATE_PATH_MAX - 1 || b == 0)
			return;
		path[n++] = (char)b;
	}
	path[n] = '\0';
	if (path[0] != '/')
		return;
	out->list[out->n] = path;
	out->list[++out->n] = NULL;
}

/* Just behind "name=", spaces around = allowed; NULL when the word at `at` is another. */
static const char *
word_match(const char *at, const char *end, const char *name)
{
	size_t n = strlen(name);

	if ((size_t)(end - at) < n || memcmp(at, name, n) != 0)
		return NULL;
	at += n;
	while (at < end && *at == ' ')
		at++;
	if (at == end || *at != '=')
		return NULL;
	at++;
	while (at < end && *at == ' ')
		at++;
	return at;
}

void
certificates_find(const char *dsn, size_t n, struct certificates *out)
{
	static const char *const schemes[] = {"postgresql://", "postgres://"};
	const char *end = dsn ? dsn + n : NULL;
	bool uri = false;

	*out = (struct certificates){.n = 0};
	for (unsigned i = 0; i < 2; i++)
		uri =
		    uri || (n > strlen(schemes[i]) && !memcmp(dsn, schemes[i], strlen(schemes[i])));
	for (const char *at = dsn; at < end; at++) {
		if (at > dsn && !strchr(uri ? "?&" : " \t\n'", at[-1]))
			continue;
		for (unsigned i = 0; i < CERTIFICATES_MAX && out->n < CERTIFICATES_MAX; i++) {
			const char *value = word_match(at, end, names[i]);
			if (!value)
				continue;
			bool quoted = !uri && value < end && *value == '\'';
			value_take((struct cursor){value + quoted, end},
				   uri	    ? '&'
				   : quoted ? '\''
					    : ' ',
				   out);
		}
	}
}
