#include "functions.h"

#include "fn.h"
#include "lex.h"

const struct function functions[] = {
#define FUNCTION(name, least, most, args, result, kind, run, usage, doc)                           \
	{name, least, most, args, result, FUNCTION_##kind, run, usage, doc},
#include "functions.def"
#undef FUNCTION
};

const unsigned functions_n = sizeof functions / sizeof *functions;

_Static_assert(sizeof functions / sizeof *functions <= UINT8_MAX,
	       "an instruction holds a function's number in a byte");

enum unit
unit_find(const char *name, size_t n)
{
	static const char *const names[UNIT_MAX] = {
	    [UNIT_MICROSECOND] = "microsecond",
	    [UNIT_MILLISECOND] = "millisecond",
	    [UNIT_SECOND] = "second",
	    [UNIT_MINUTE] = "minute",
	    [UNIT_HOUR] = "hour",
	    [UNIT_DAY] = "day",
	    [UNIT_WEEK] = "week",
	    [UNIT_MONTH] = "month",
	    [UNIT_QUARTER] = "quarter",
	    [UNIT_YEAR] = "year",
	};

	if (n > 1 && (name[n - 1] == 's' || name[n - 1] == 'S'))
		n--; /* days */
	for (int i = 0; i < UNIT_MAX; i++)
		if (lex_same(name, n, names[i]))
			return (enum unit)i;
	return UNIT_MAX;
}
