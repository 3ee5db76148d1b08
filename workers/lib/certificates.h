/*
 * certificates: which files a DSN names for TLS (sslrootcert, sslcert, sslkey, sslcrl, sslcrldir),
 * so that the sandbox leaves them readable: libpq opens them at each connection.
 */
#ifndef WORKERS_LIB_CERTIFICATES_H
#define WORKERS_LIB_CERTIFICATES_H

#include <stddef.h>

enum { CERTIFICATES_MAX = 5, CERTIFICATE_PATH_MAX = 1024 };

struct certificates {
	char path[CERTIFICATES_MAX][CERTIFICATE_PATH_MAX];
	const char *list[CERTIFICATES_MAX + 1]; /* the same, ends in NULL */
	unsigned n;
};

/*
 * From both forms of a DSN: "sslrootcert='/a b'" and "postgresql://..?sslrootcert=/a%20b". Only
 * absolute paths count; one that does not fit is left out.
 */
void certificates_find(const char *dsn, size_t n, struct certificates *out);

#endif
