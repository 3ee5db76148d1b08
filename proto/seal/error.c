#include "seal/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "seal/secret.h"

static const struct {
	const char *name, *words;
} errors[SEAL_ERROR_MAX] = {
#define X(id, name, words) {name, words},
    SEAL_ERRORS(X)
#undef X
};

const char *
seal_error_name(enum seal_error why)
{
	return why < SEAL_ERROR_MAX ? errors[why].name : "?";
}

const char *
seal_error_words(enum seal_error why)
{
	return why < SEAL_ERROR_MAX ? errors[why].words : "?";
}

static int
code_of(enum seal_error why)
{
	switch (why) {
	case SEAL_SEALER:
	case SEAL_POLICY:
	case SEAL_SIGNATURE:
	case SEAL_VALIDITY:
	case SEAL_PERMISSIONS:
	case SEAL_PASSPHRASE:
	case SEAL_RECIPIENT:
	case SEAL_LOWPOINT:
	case SEAL_COMMIT:
	case SEAL_KDF:
		return EXIT_PERMISSION;
	case SEAL_SYSTEM:
		return EXIT_UNAVAILABLE;
	default:
		return EXIT_DATA;
	}
}

bool
seal_fail(struct err *e, enum seal_error why, const char *what_fmt, ...)
{
	char what[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, what_fmt);
	vsnprintf(what, sizeof what, what_fmt, ap);
	va_end(ap);
	if (why == SEAL_SYSTEM && secret_shortage())
		return err_set(e, EXIT_CONFIG, "%s: %s", what, secret_shortage());
	return err_set(e, code_of(why), "%s: %s (%s)", what, seal_error_words(why),
		       seal_error_name(why));
}
