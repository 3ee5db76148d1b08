/* apply: does what plan shows, in one transaction. */
#include "plan.h"

#include <stdio.h>

#include "jsontext.h"
#include "log.h"
#include "outcome.h"
#include "owner.h"

enum { ITEM_BYTES = 400, MORE_BYTES = 32 }; /* of a result file: one change; what follows them */

const struct option_row options_apply[] = {
    {"pipeline", 'p', OPTION_VALUE, "FILE", "the pipeline file"},
    {"allow-destructive", 0, OPTION_LIST, "TABLE.COLUMN",
     "change the type of this column, or drop it (TABLE alone: drop the table); may be repeated"},
    {"sql", 0, OPTION_FLAG, NULL, "print the SQL, too"},
    {OUTCOME_OPTION, 0, OPTION_VALUE, "FILE",
     "how it ended goes there, as one line of JSON of at most 4096 bytes"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

struct applying {
	struct plan plan;
	struct login_made logins[LOGIN_MAX];
	unsigned logins_n;
};

static bool
change_do(struct applying *a, const struct change *c, struct err *e)
{
	struct plan *p = &a->plan;

	switch (c->kind) {
	case CHANGE_SQL:
		return pg_script(p->pg, c->sql, e);
	case CHANGE_LOGIN: {
		check(a->logins_n < LOGIN_MAX);
		struct login_made *l = &a->logins[a->logins_n++];
		return login_make(p, c, l, e) && pg_script(p->pg, buf_cstr(&l->sql), e);
	}
	case CHANGE_RID_KEY:
		return rid_key_make(p->model, e);
	case CHANGE_TOPIC:
		return exchange_make(p->model, e);
	case CHANGE_NOTE:
	case CHANGE_REFUSED:
		break;
	}
	return true;
}

static bool
changes_do(struct applying *a, struct err *e)
{
	for (unsigned i = 0; i < a->plan.n; i++)
		if (!change_do(a, &a->plan.changes[i], e))
			return err_context(e, "%s", a->plan.changes[i].words);
	return true;
}

/*
 * The files come to their places after the commit: a file without its login would be worse than a
 * login without its file, for which the next apply makes a new password.
 */
static bool
commit(struct applying *a, struct err *e)
{
	const char *const params[] = {a->plan.model->pipeline.s, NULL};
	struct pg_result *r;

	if (!owner_query(a->plan.pg,
			 "UPDATE admin_schema.pipeline SET applied_at = now() WHERE name = $1",
			 params, &r, e))
		return false;
	pg_result_free(r);
	if (!pg_script(a->plan.pg, "COMMIT", e))
		return false;
	for (unsigned i = 0; i < a->logins_n; i++)
		if (!login_place(&a->logins[i], e))
			return false;
	return true;
}

static int
refused_tell(const struct cli *c, const struct plan *p, struct buf *out)
{
	if (c->json)
		plan_json(p, "refused", out);
	else
		plan_print(p, false, out);
	cli_say("weir apply: %u change%s refused (!), so nothing was done", p->refused,
		p->refused == 1 ? " is" : "s are");
	cli_say("  next: settle the lines marked !, then try again; `weir plan` shows them without "
		"applying");
	return EXIT_CONFIG;
}

static int
done_tell(const struct cli *c, const struct plan *p, struct buf *out)
{
	if (c->json)
		plan_json(p, p->todo ? "applied" : "nothing", out);
	else
		plan_print(p, args_flag(&c->args, "sql"), out);
	if (p->todo)
		cli_say("applied %u change%s. Next: `weir up %s`, or `weir run %s`", p->todo,
			p->todo == 1 ? "" : "s", p->model->path, p->model->path);
	else
		cli_say("nothing to do");
	return EXIT_DONE;
}

static int
failed_tell(const struct cli *c, struct pg *pg, const struct err *e)
{
	if (!pg_alive(pg))
		return cli_fail(
		    c, e, "nothing was changed; see that the database stays up, then try again");
	if (e->code == EXIT_PERMISSION)
		return cli_fail(c, e,
				"nothing was changed; give the owner the right that is missing, "
				"or apply as a database administrator");
	return cli_fail(c, e, "nothing was changed; mend the cause, then try again");
}

/* As much of it as a result file holds: the counts, and the first changes, or refusals. */
static void
result_keep(const struct cli *c, const struct plan *p, const char *outcome, int code)
{
	struct buf line = {0};
	unsigned left = p->refused ? p->refused : p->todo;

	buf_text(&line, "{\"pipeline\": ");
	cli_json(&line, p->model->pipeline.s);
	buf_printf(&line,
		   ", \"outcome\": \"%s\", \"changes\": %u, \"refused\": %u, \"exit\": %d, "
		   "\"items\": [",
		   outcome, p->todo, p->refused, code);
	for (unsigned i = 0, shown = 0; i < p->n; i++) {
		const struct change *change = &p->changes[i];
		size_t before = line.len;
		if (change->mark == 'i' || (p->refused && change->mark != '!'))
			continue;
		buf_text(&line, shown++ ? ", " : "");
		jsontext_cut(&line, change->words, ITEM_BYTES);
		if (line.len > OUTCOME_BYTES_MAX - MORE_BYTES) {
			line.len = before;
			break;
		}
		left--;
	}
	buf_printf(&line, "], \"more\": %u}\n", left);
	cli_result(c, &line);
	buf_free(&line);
}

static int
apply_do(const struct cli *c, const struct model *m, struct pg *pg)
{
	struct applying a = {.plan = {.cli = c, .model = m, .pg = pg}};
	struct plan *p = &a.plan;
	const char *outcome = NULL; /* NULL: it failed, and was told */
	struct buf out = {0};
	struct err e;
	int code;

	/* One apply at a time: the second one waits, then finds nothing to do. */
	if (!pg_script(pg, "BEGIN; SELECT pg_advisory_xact_lock(hashtext('weir apply'))", &e) ||
	    !plan_make(p, &e)) {
		code = failed_tell(c, pg, &e);
	} else if (p->refused) {
		code = refused_tell(c, p, &out);
		outcome = "refused";
	} else if (p->todo && (!changes_do(&a, &e) || !commit(&a, &e))) {
		code = failed_tell(c, pg, &e);
	} else {
		code = done_tell(c, p, &out);
		outcome = p->todo ? "applied" : "nothing";
	}
	code = cli_finish(c, &out, code);
	if (outcome)
		result_keep(c, p, outcome, code);
	for (unsigned i = 0; i < a.logins_n; i++)
		login_drop(&a.logins[i]);
	plan_drop(p);
	return code;
}

int
apply_run(struct cli *c)
{
	struct model *m;
	struct pg *pg;
	int code;

	if (!cli_model(c, cli_pipeline(c, 0), &m, &code))
		return code;
	if (owner_connect(c, m, &pg, &code)) {
		code = apply_do(c, m, pg);
		pg_close(pg);
	}
	model_free(m);
	return code;
}
