/* The nearest known name, for messages. */
#include "build.h"

#include <stdio.h>
#include <string.h>

enum { NEAR_NAME_MAX = 64, NEAR_EDITS_MIN = 2, NEAR_LETTERS_PER_EDIT = 3 };

struct best {
	const char *name;
	unsigned edits;
};

/* Levenshtein's distance; names longer than NEAR_NAME_MAX are never near. */
static unsigned
edits(const char *a, size_t n, const char *b)
{
	unsigned row[NEAR_NAME_MAX + 1];
	size_t m = strlen(b);

	if (n > NEAR_NAME_MAX || m > NEAR_NAME_MAX)
		return NEAR_NAME_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned cost = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			if (row[j] + 1 < cost)
				cost = row[j] + 1;
			if (row[j - 1] + 1 < cost)
				cost = row[j - 1] + 1;
			row[j] = cost;
		}
	}
	return row[m];
}

static void
best_offer(struct best *best, const char *name, size_t n, const char *known)
{
	unsigned x = edits(name, n, known);

	if (x < best->edits)
		*best = (struct best){known, x};
}

static struct best
best_start(size_t n)
{
	unsigned most = (unsigned)(n / NEAR_LETTERS_PER_EDIT);

	return (struct best){NULL, (most > NEAR_EDITS_MIN ? most : NEAR_EDITS_MIN) + 1};
}

static void
best_say(const struct best *best, const char *after, char out[static NEAR_BYTES])
{
	out[0] = '\0';
	if (best->name)
		snprintf(out, NEAR_BYTES, "; did you mean %.80s%s?", best->name, after);
}

void
near_name(const struct builder *b, const char *name, size_t n, char out[static NEAR_BYTES])
{
	struct best best = best_start(n);
	const char *known;

	for (unsigned i = 0; b->scope->next && (known = b->scope->next(b->scope->ctx, i)); i++)
		best_offer(&best, name, n, known);
	best_say(&best, "", out);
}

void
near_function(const char *name, size_t n, char out[static NEAR_BYTES])
{
	struct best best = best_start(n);

	for (unsigned i = 0; i < functions_n; i++)
		best_offer(&best, name, n, functions[i].name);
	best_say(&best, "()", out);
}
