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

/* A | ends a cell of the table. */
static void
cell_print(const char *text, struct buf *out)
{
	for (; *text; text++) {
		if (*text == '|')
			buf_byte(out, '\\');
		buf_byte(out, (uint8_t)*text);
	}
}

static const char *
result_words(char kind)
{
	switch (kind) {
	case 't':
		return "text";
	case 'i':
		return "integer";
	case 'b':
		return "boolean";
	case 'd':
		return "date";
	case 's':
		return "timestamp";
	case 'm':
		return "decimal";
	case 'f':
		return "float";
	case 'e':
		return "common type";
	default:
		return "as given";
	}
}

void
expr_reference_print(struct buf *out)
{
	buf_text(out, "| function | result | meaning |\n|---|---|---|\n");
	for (unsigned i = 0; i < functions_n; i++) {
		buf_text(out, "| `");
		cell_print(functions[i].usage, out);
		buf_printf(out, "` | %s | ", result_words(functions[i].result));
		cell_print(functions[i].doc, out);
		buf_text(out, " |\n");
	}
}
