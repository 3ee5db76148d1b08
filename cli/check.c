/* check: the list of drifts and how it is shown; the verb. */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "owner.h"

enum { WHAT_MAX = 1000 };

static const struct {
	const char *name;
	char mark;
} drifts[DRIFT_MAX] = {
    [DRIFT_MISSING] = {"missing", '-'},
    [DRIFT_EXTRA] = {"extra", '+'},
    [DRIFT_WRONG] = {"wrong", '!'},
    [DRIFT_NOTE] = {"note", 'i'},
};

void
check_add(struct check *c, enum drift drift, const char *next, const char *fmt, ...)
{
	char what[WHAT_MAX];
	va_list ap;

	check(c->n < CHECK_ROWS_MAX);
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	if (c->n == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 32;
		c->rows = mem_resize(c->rows, c->cap, sizeof *c->rows);
	}
	c->rows[c->n++] =
	    (struct check_row){.drift = drift, .what = mem_string(what), .next = mem_string(next)};
	c->drifts += drift != DRIFT_NOTE;
}

static void
check_free(struct check *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		free(c->rows[i].what);
		free(c->rows[i].next);
	}
	free(c->rows);
}

static void
check_print(const struct check *c, struct buf *out)
{
	for (unsigned i = 0; i < c->n; i++) {
		const struct check_row *r = &c->rows[i];
		buf_printf(out, "  %c %s: %s\n", drifts[r->drift].mark, drifts[r->drift].name,
			   r->what);
		if (*r->next)
			buf_printf(out, "      %s\n", r->next);
	}
}

static void
check_json(const struct check *c, struct buf *out)
{
	buf_text(out, "{\"pipeline\":");
	cli_json(out, c->model->pipeline.s);
	buf_printf(out, ",\"outcome\":\"%s\",\"examined\":%u,\"drifts\":%u,\"rows\":[",
		   c->drifts ? "drift" : "good", c->examined, c->drifts);
	for (unsigned i = 0; i < c->n; i++) {
		buf_printf(out, "%s{\"kind\":\"%s\",\"what\":", i ? "," : "",
			   drifts[c->rows[i].drift].name);
		cli_json(out, c->rows[i].what);
		buf_text(out, ",\"next\":");
		cli_json(out, c->rows[i].next);
		buf_byte(out, '}');
	}
	buf_text(out, "]}\n");
}

static int
check_show(const struct check *c)
{
	struct buf out = {0};

	if (c->cli->json)
		check_json(c, &out);
	else
		check_print(c, &out);
	if (c->drifts)
		cli_say(
		    "%u drift%s among %u rights, roles and files. Next: what stands below each; "
		    "what is missing comes with `weir apply %s`",
		    c->drifts, c->drifts == 1 ? "" : "s", c->examined, c->model->path);
	else
		cli_say("as it should be: %u rights, roles and files", c->examined);
	return cli_finish(c->cli, &out, c->drifts ? EXIT_CONFIG : EXIT_DONE);
}

static int
check_all(const struct cli *cli, const struct model *m, struct pg *pg)
{
	struct check c = {.cli = cli, .model = m, .pg = pg};
	struct owner_pipeline at;
	struct err e;
	int code;

	if (!pg_script(pg, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &e) ||
	    !owner_pipeline(pg, m, &at, &e) || !check_grants(&c, &e) || !check_files(&c, &e))
		code = cli_fail(cli, &e,
				e.code == EXIT_NOTHING
				    ? "`weir apply %s` makes it"
				    : "weir check reads the catalogue as the owner of %s",
				m->path);
	else
		code = check_show(&c);
	check_free(&c);
	return code;
}

int
check_run(struct cli *cli)
{
	struct model *m;
	struct pg *pg;
	int code;

	if (!cli_model(cli, cli_pipeline(cli, 0), &m, &code))
		return code;
	if (owner_connect(cli, m, &pg, &code)) {
		code = check_all(cli, m, pg);
		pg_close(pg);
	}
	model_free(m);
	return code;
}
