/*
 * conf_reference: the reference page, from the option table alone.
 */
#include "conf_tree.h"

#include <stdio.h>
#include <string.h>

static const char *
role_words(enum role r)
{
	return role_name(r);
}

static void
see_print(const struct option *o, struct buf *out)
{
	unsigned n = 0;

	for (enum role r = 0; r < ROLE_MAX; r++) {
		if (r != ROLE_NULL && option_seen(o, r))
			n++;
	}
	if (n == ROLE_MAX - 1) {
		buf_text(out, "every role");
		return;
	}
	if (n == 0) {
		buf_text(out, "no worker: `weir plan` and `weir apply` alone");
		return;
	}
	for (enum role r = 0, first = 1; r < ROLE_MAX; r++) {
		if (r == ROLE_NULL || !option_seen(o, r))
			continue;
		buf_printf(out, "%s%s", first ? "" : ", ", role_words(r));
		first = 0;
	}
}

static void
values_print(const struct option *o, struct buf *out)
{
	for (const char *v = o->values; *v;) {
		size_t len = strcspn(v, "|");
		buf_printf(out, "%s`%.*s`", v == o->values ? "" : ", ", (int)len, v);
		v += len + (v[len] == '|');
	}
}

static void
facts_print(const struct option *o, struct buf *out)
{
	char lo[32], hi[32];

	if (o->type == OPTION_ENUM)
		values_print(o, out);
	else
		buf_text(out, option_type_words(o->type));
	if ((o->type == OPTION_INTEGER || o->type == OPTION_SIZE || o->type == OPTION_DURATION) &&
	    o->max) {
		option_bound_print(o, o->min, lo);
		option_bound_print(o, o->max, hi);
		buf_printf(out, "; %s to %s", lo, hi);
	}
	if (o->flags & OPTION_REQUIRED)
		buf_text(out, "; required");
	if (o->flags & OPTION_ONE)
		buf_text(out, "; exactly one of its kind");
	if (o->fill && strcmp(o->fill, "cores") == 0)
		buf_printf(out, "; default: the number of cores, at most %d", LANES_MAX);
	else if (o->fill && strcmp(o->fill, "{}") != 0)
		buf_printf(out, "; default `%s`", o->fill);
}

void
conf_reference_print(struct buf *out)
{
	buf_text(out, "# The pipeline file\n\n"
		      "Every key, from the table that also checks the file (`proto/options.def`). "
		      "This page is made by `make docs`.\n\n"
		      "Values: sizes have a unit (`64KiB`, `256MB`), durations too (`250ms`, "
		      "`30s`, `15m`, `1h`, `90d`), shares are "
		      "`1%` or `0.01`. `\"${NAME}\"` as a whole value is taken from the "
		      "environment; for a secret that is not there, `env:NAME` stands instead, "
		      "which is an error only "
		      "for who needs it. A secret is best given as "
		      "`file:PATH` or `env:NAME`. Relative paths begin where the pipeline file is. "
		      "In the list below `*` stands for a "
		      "name of your choice: lower case letters, digits and `_`, at most 63.\n\n"
		      "*Seen by* lists the roles whose workers get the key: each worker gets its "
		      "part of the file and no more.\n\n");
	for (unsigned i = 1; i < options_n; i++) {
		const struct option *o = &options[i];
		if (o->type == OPTION_REFUSED || o->flags & OPTION_HIDDEN)
			continue;
		if (!strchr(o->path, '.'))
			buf_printf(out, "## %s\n\n", o->path);
		else
			buf_printf(out, "### `%s`\n\n", o->path);
		buf_printf(out, "%s\n\n", o->words);
		buf_text(out, "- Value: ");
		facts_print(o, out);
		buf_text(out, "\n- Seen by: ");
		see_print(o, out);
		buf_text(out, "\n\n");
	}
	buf_text(out, "## Not supported\n\nKeys that are known and refused, so that nothing is "
		      "promised silently.\n\n");
	for (unsigned i = 1; i < options_n; i++) {
		if (options[i].type == OPTION_REFUSED)
			buf_printf(out, "- `%s`: %s.\n", options[i].path, options[i].words);
	}
}
