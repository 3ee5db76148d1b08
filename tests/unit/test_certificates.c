/* The files that a DSN names for TLS, in both of its forms, and hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "certificates.h"

static struct certificates
found(const char *dsn)
{
	static struct certificates c;

	certificates_find(dsn, strlen(dsn), &c);
	assert_null(c.list[c.n]);
	return c;
}

static void
keyword_form(void **state)
{
	struct certificates c =
	    found("host='db' sslrootcert='/etc/a b/ca\\'s.pem' sslcrl = /etc/crl.pem user='x'\n");

	(void)state;
	assert_int_equal(c.n, 2);
	assert_string_equal(c.path[0], "/etc/a b/ca's.pem");
	assert_string_equal(c.path[1], "/etc/crl.pem");
}

static void
uri_form(void **state)
{
	struct certificates c = found("postgresql://u:p@h/db?sslmode=verify-full&"
				      "sslrootcert=/etc/a%20b.pem&sslkey=/k%2Fx\n");

	(void)state;
	assert_int_equal(c.n, 2);
	assert_string_equal(c.path[0], "/etc/a b.pem");
	assert_string_equal(c.path[1], "/k/x");
}

static void
only_files_and_only_whole_words(void **state)
{
	char long_dsn[CERTIFICATE_PATH_MAX + 64];

	(void)state;
	assert_int_equal(found("sslrootcert=system").n, 0);
	assert_int_equal(found("sslrootcert=relative.pem").n, 0);
	assert_int_equal(found("xsslrootcert=/a mysslkey=/b").n, 0);
	assert_int_equal(found("sslrootcertx=/a").n, 0);
	assert_int_equal(found("sslrootcert").n, 0);
	assert_int_equal(found("sslrootcert=").n, 0);
	assert_int_equal(found("sslrootcert='/unclosed").n, 1);
	assert_int_equal(found("postgresql://h/db?sslrootcert=/a%00b").n, 0);
	assert_int_equal(found("postgresql://h/db?sslrootcert=/a%").n, 1);
	assert_int_equal(found("sslkey=/1 sslkey=/2 sslkey=/3 sslkey=/4 sslkey=/5 sslkey=/6").n,
			 CERTIFICATES_MAX);
	memset(long_dsn, 'a', sizeof long_dsn);
	memcpy(long_dsn, "sslrootcert=/", 13);
	long_dsn[sizeof long_dsn - 1] = '\0';
	assert_int_equal(found(long_dsn).n, 0);
	struct certificates c;
	certificates_find(NULL, 0, &c);
	assert_int_equal(c.n, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(keyword_form),
	    cmocka_unit_test(uri_form),
	    cmocka_unit_test(only_files_and_only_whole_words),
	};

	return cmocka_run_group_tests_name("certificates", tests, NULL, NULL);
}
