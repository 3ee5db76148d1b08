/* handoff run: one hand-over, now, by the science worker alone. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

#include "outcome.h"
#include "roles.h"
#include "start.h"

const struct option_row options_handoff[] = {
    {"pipeline", 'p', OPTION_VALUE, "FILE", "the pipeline file"},
    {"wait", 0, OPTION_VALUE, "SECONDS", "how long a dependency may stay down; then exit 69"},
    {"policy-root", 0, OPTION_VALUE, "FILE", "refuse another root of the policy (root.pub)"},
    {OUTCOME_OPTION, 0, OPTION_VALUE, "FILE",
     "how it ended goes there, as one line of JSON of at most 4096 bytes"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

static bool
handoff_find(const struct model *m, const char *name, struct err *e)
{
	char list[300] = "";

	for (unsigned i = 0; i < m->handoffs_n; i++) {
		size_t at = strlen(list);
		if (!strcmp(m->handoffs[i].name.s, name))
			return true;
		snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "",
			 m->handoffs[i].name.s);
	}
	return err_set(e, EXIT_USAGE, "%s has no hand-over \"%.80s\"%s%s", m->path, name,
		       *list ? "; it has " : "", list);
}

static bool
handoff_start(const struct cli *c, const char *path, const struct model *m, const char *name,
	      struct err *e)
{
	const char *wait = args_value(&c->args, "wait");
	const char *root = args_value(&c->args, "policy-root");
	struct start s;

	if (!handoff_find(m, name, e) || !start_prepare(&s, "run", path, m, NULL, e))
		return false;
	if (c->result_file) {
		start_add(&s, "--" OUTCOME_OPTION);
		start_add(&s, c->result_file);
	}
	start_add(&s, "--only");
	start_add(&s, role_name(ROLE_SCIENCE));
	start_add(&s, "--handoff");
	start_add(&s, name);
	if (wait) {
		start_add(&s, "--wait");
		start_add(&s, wait);
	}
	if (root) {
		start_add(&s, "--policy-root");
		start_add(&s, root);
	}
	fflush(stdout);
	return start_exec(&s, e);
}

int
handoff_run(struct cli *c)
{
	const char *path = cli_pipeline(c, 2);
	struct model *m;
	struct err e;
	int code;

	if (strcmp(c->args.operands[0], "run")) {
		err_set(&e, EXIT_USAGE, "\"handoff %.40s\" is unknown; \"handoff run NAME\" is",
			c->args.operands[0]);
		return cli_fail(c, &e, "weir handoff run NAME [PIPELINE]");
	}
	if (!cli_model(c, path, &m, &code))
		return code;
	if (!handoff_start(c, path, m, c->args.operands[1], &e))
		code = cli_fail(c, &e, "weir handoff run NAME [PIPELINE]");
	model_free(m);
	return code;
}
