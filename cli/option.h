/*
 * option: the command line of one verb, read against a table of its options. Options may stand
 * before or after operands; "--" ends them. Values are borrowed from argv. Pure: prints nothing.
 */
#ifndef CLI_OPTION_H
#define CLI_OPTION_H

#include <stdbool.h>

#include "err.h"

enum { OPERANDS_MAX = 4, OPTIONS_MAX = 24, OPTION_VALUES_MAX = 16 };

enum option_kind {
	OPTION_FLAG,
	OPTION_VALUE,
	OPTION_LIST, /* may be given several times */
};

struct option_row {
	const char *name; /* without the dashes; NULL ends a table */
	char letter;	  /* one-letter form, or 0 */
	enum option_kind kind;
	const char *value; /* what stands for the value in help: "NAME" */
	const char *help;
};

struct args {
	const char *operands[OPERANDS_MAX];
	unsigned operands_n;
	struct {
		const struct option_row *row;
		const char *values[OPTION_VALUES_MAX]; /* a flag: "" */
		unsigned values_n;
	} options[OPTIONS_MAX];
	unsigned options_n;
};

/* Options that every verb has: -o, --no-input, --help. */
extern const struct option_row options_common[];

/*
 * Reads argv (without the program and the verb). `rows` may be NULL. An unknown option, a missing
 * value, a value for a flag, an option given twice and too many operands are EXIT_USAGE, with the
 * nearest option named.
 */
MUSTCHECK bool args_read(struct args *a, const struct option_row *rows, unsigned operands_max,
			 int argc, char **argv, struct err *e);

bool args_flag(const struct args *a, const char *name);
const char *args_value(const struct args *a, const char *name); /* NULL: not given */
unsigned args_list(const struct args *a, const char *name, const char *const **values);

/* Edit distance, swaps of neighbours counted once; for "did you mean". */
unsigned near_distance(const char *a, const char *b);
/* Whether b is near enough to a to be what was meant. */
bool near_enough(const char *a, const char *b, unsigned distance);

#endif
