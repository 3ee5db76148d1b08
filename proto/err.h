/*
 * err: the expected kind of failure (bad data, a failing peer, a wrong file). A function that can
 * fail so returns bool and fills a struct err; context is added upwards and the one who decides
 * what to do logs it, once. Our own faults do not come here: they end in log.h's fatal or panic.
 * A message never contains the value of an event's field.
 */
#ifndef PROTO_ERR_H
#define PROTO_ERR_H

#include <stdbool.h>
#include <stddef.h>

#define MUSTCHECK    __attribute__((warn_unused_result))
#define PRINTF(a, b) __attribute__((format(printf, a, b)))
#define NORETURN     __attribute__((noreturn))

#define ERR_TEXT_MAX 512 /* bytes; longer texts are cut */

/* Process exit codes: an interface (docs/reference/exit-codes). */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_SOME_DEAD = 1, /* done, some records dead-lettered */
	EXIT_USAGE = 64,
	EXIT_DATA = 65,	       /* input unusable */
	EXIT_UNAVAILABLE = 69, /* dependency down */
	EXIT_BUG = 70,
	EXIT_TRY_LATER = 75,
	EXIT_PERMISSION = 77, /* key or permission refused */
	EXIT_CONFIG = 78,
	EXIT_NOTHING = 99, /* nothing to do */
};

struct err {
	int code; /* an enum exit_code: what the process would exit with if nobody can go on */
	char text[ERR_TEXT_MAX];
};

/*
 * Sets code and text (replacing what was there); always returns false, for `return err_set(...)`.
 */
bool err_set(struct err *e, int code, const char *fmt, ...) PRINTF(3, 4);

/* As err_set, with ": " and strerror(errno) of the moment of the call appended. */
bool err_errno(struct err *e, int code, const char *fmt, ...) PRINTF(3, 4);

/* Puts "context: " before the text that is there; always returns false. */
bool err_context(struct err *e, const char *fmt, ...) PRINTF(2, 3);

#endif
