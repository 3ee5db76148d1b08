#include "option.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

enum { NEAR_BYTES_MAX = 64 };

const struct option_row options_common[] = {
    {"output", 'o', OPTION_VALUE, "FORMAT", "text (default) or json: one JSON document on stdout"},
    {"no-input", 0, OPTION_FLAG, NULL, "never ask; fail where a question would be needed"},
    {"help", 'h', OPTION_FLAG, NULL, "this text"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

unsigned
near_distance(const char *a, const char *b)
{
	unsigned rows[3][NEAR_BYTES_MAX + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > NEAR_BYTES_MAX || m > NEAR_BYTES_MAX)
		return NEAR_BYTES_MAX;
	for (unsigned j = 0; j <= m; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= n; i++) {
		unsigned *row = rows[i % 3], *up = rows[(i + 2) % 3], *upup = rows[(i + 1) % 3];

		row[0] = i;
		for (unsigned j = 1; j <= m; j++) {
			unsigned cost = a[i - 1] != b[j - 1];
			row[j] = min3(up[j] + 1, row[j - 1] + 1, up[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = min3(row[j], upup[j - 2] + 1, row[j]);
		}
	}
	return rows[n % 3][m];
}

bool
near_enough(const char *a, const char *b, unsigned distance)
{
	size_t n = strlen(a), m = strlen(b);

	/* What was typed may also be the beginning of what was meant. */
	if (n >= 2 && !strncmp(a, b, n))
		return true;
	return distance <= 1 + (n < m ? n : m) / 4 && distance < n;
}

static const struct option_row *
row_find(const struct option_row *rows, const char *name, size_t n, char letter)
{
	for (; rows && rows->name; rows++)
		if (letter ? rows->letter == letter
			   : strlen(rows->name) == n && !memcmp(rows->name, name, n))
			return rows;
	return NULL;
}

static const struct option_row *
row_find_any(const struct option_row *rows, const char *name, size_t n, char letter)
{
	const struct option_row *row = row_find(rows, name, n, letter);

	return row ? row : row_find(options_common, name, n, letter);
}

static void
row_nearest(const struct option_row *rows, const char *name, const char **best, unsigned *least)
{
	for (; rows && rows->name; rows++) {
		unsigned d = near_distance(name, rows->name);
		if (d < *least && near_enough(name, rows->name, d)) {
			*least = d;
			*best = rows->name;
		}
	}
}

static bool
option_unknown(const struct option_row *rows, const char *word, struct err *e)
{
	char name[NEAR_BYTES_MAX];
	const char *best = NULL;
	unsigned least = NEAR_BYTES_MAX;

	if (word[1] != '-')
		return err_set(e, EXIT_USAGE, "unknown option \"%.40s\"", word);
	snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
	row_nearest(rows, name, &best, &least);
	row_nearest(options_common, name, &best, &least);
	if (!best)
		return err_set(e, EXIT_USAGE, "unknown option \"--%.40s\"", name);
	return err_set(e, EXIT_USAGE, "unknown option \"--%.40s\"; did you mean \"--%s\"?", name,
		       best);
}

static bool
option_add(struct args *a, const struct option_row *row, const char *value, struct err *e)
{
	unsigned i = 0;

	while (i < a->options_n && a->options[i].row != row)
		i++;
	if (i == a->options_n) {
		check(a->options_n < OPTIONS_MAX);
		a->options_n++;
		a->options[i].row = row;
		a->options[i].values_n = 0;
	}
	if (a->options[i].values_n && row->kind == OPTION_FLAG)
		return true;
	if (a->options[i].values_n && row->kind == OPTION_VALUE)
		return err_set(e, EXIT_USAGE, "option \"--%s\" is given twice", row->name);
	if (a->options[i].values_n == OPTION_VALUES_MAX)
		return err_set(e, EXIT_USAGE, "option \"--%s\" is given more than %d times",
			       row->name, OPTION_VALUES_MAX);
	a->options[i].values[a->options[i].values_n++] = value;
	return true;
}

/* argv[*i] begins with "-"; a value may be in the same word or in the next one. */
static bool
option_read(struct args *a, const struct option_row *rows, int argc, char **argv, int *i,
	    struct err *e)
{
	const char *word = argv[*i], *value = NULL;
	const struct option_row *row;

	if (word[1] == '-') {
		size_t n = strcspn(word + 2, "=");
		row = row_find_any(rows, word + 2, n, 0);
		if (word[2 + n])
			value = word + 3 + n;
	} else {
		row = row_find_any(rows, NULL, 0, word[1]);
		if (word[2])
			value = word[2] == '=' ? word + 3 : word + 2;
	}
	if (!row)
		return option_unknown(rows, word, e);
	if (row->kind == OPTION_FLAG && value)
		return err_set(e, EXIT_USAGE, "option \"--%s\" takes no value", row->name);
	if (row->kind == OPTION_FLAG)
		value = "";
	if (!value && *i + 1 < argc)
		value = argv[++*i];
	if (!value)
		return err_set(e, EXIT_USAGE, "option \"--%s\" needs a value: %s", row->name,
			       row->value);
	return option_add(a, row, value, e);
}

bool
args_read(struct args *a, const struct option_row *rows, unsigned operands_max, int argc,
	  char **argv, struct err *e)
{
	bool ended = false;

	*a = (struct args){0};
	check(operands_max <= OPERANDS_MAX);
	for (int i = 0; i < argc; i++) {
		if (!ended && !strcmp(argv[i], "--")) {
			ended = true;
		} else if (!ended && argv[i][0] == '-' && argv[i][1]) {
			if (!option_read(a, rows, argc, argv, &i, e))
				return false;
		} else if (a->operands_n == operands_max) {
			return err_set(e, EXIT_USAGE, "\"%.80s\" is one operand too many", argv[i]);
		} else {
			a->operands[a->operands_n++] = argv[i];
		}
	}
	/* A verb may have formats of its own. */
	const char *format =
	    row_find(rows, "output", strlen("output"), 0) ? NULL : args_value(a, "output");
	if (format && strcmp(format, "json") && strcmp(format, "text"))
		return err_set(e, EXIT_USAGE, "\"%.40s\" is no output format; text and json are",
			       format);
	return true;
}

bool
args_flag(const struct args *a, const char *name)
{
	return args_value(a, name) != NULL;
}

const char *
args_value(const struct args *a, const char *name)
{
	for (unsigned i = 0; i < a->options_n; i++)
		if (!strcmp(a->options[i].row->name, name))
			return a->options[i].values[0];
	return NULL;
}

unsigned
args_list(const struct args *a, const char *name, const char *const **values)
{
	for (unsigned i = 0; i < a->options_n; i++)
		if (!strcmp(a->options[i].row->name, name)) {
			*values = a->options[i].values;
			return a->options[i].values_n;
		}
	*values = NULL;
	return 0;
}
