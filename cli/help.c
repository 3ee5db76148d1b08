#include "cli.h"

#include <stdio.h>
#include <string.h>

#include "conf.h"

const struct option_row options_help[] = {
    {"reference", 0, OPTION_FLAG, NULL, "the reference page of the pipeline file (Markdown)"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

static bool
option_has(const struct option_row *rows, const char *name)
{
	for (; rows && rows->name; rows++)
		if (!strcmp(rows->name, name))
			return true;
	return false;
}

/* Of those that a verb has made its own (`own`), its words count. */
static void
options_print(const struct option_row *rows, const struct option_row *own)
{
	char left[64];

	for (; rows && rows->name; rows++) {
		if (option_has(own, rows->name))
			continue;
		snprintf(left, sizeof left, "%c%c%s --%s%s%s", rows->letter ? '-' : ' ',
			 rows->letter ? rows->letter : ' ', rows->letter ? "," : " ", rows->name,
			 rows->value ? " " : "", rows->value ? rows->value : "");
		if (strlen(left) > 28)
			printf("  %s\n  %-28s %s\n", left, "", rows->help);
		else
			printf("  %-28s %s\n", left, rows->help);
	}
}

void
help_verb_print(const struct verb *v)
{
	printf("weir %s%s%s [options]\n  %s\n", v->name, *v->operands ? " " : "", v->operands,
	       v->help);
	if (*v->text)
		printf("\n%s\n", v->text);
	printf("\nOptions\n");
	options_print(v->options, NULL);
	options_print(options_common, v->options);
	if (strstr(v->operands, "PIPELINE"))
		printf("\nWithout PIPELINE: $WEIR_PIPELINE, then ./pipeline.yaml.\n");
}

void
help_print(void)
{
	printf("weir %s: event streams in, one consolidated row per process out\n\n"
	       "  weir VERB [operands] [options]\n\n",
	       WEIR_VERSION);
	for (unsigned i = 0; i < verbs_n; i++)
		printf("  %-10s %s\n", verbs[i].name, verbs[i].help);
	printf("\nEvery verb: -o json, --no-input, --help. `weir help VERB` says more.\n"
	       "Exit codes: 0 done, 1 done with dead letters, 64 usage, 65 input unusable,\n"
	       "69 dependency down, 70 a bug of Weir, 75 try later, 77 permission refused,\n"
	       "78 configuration, 99 nothing to do.\n"
	       "Data goes to stdout, talk to stderr. WEIR_LOG=debug says more.\n");
}

static void
help_json(struct buf *b)
{
	buf_text(b, "{\"verbs\":[");
	for (unsigned i = 0; i < verbs_n; i++) {
		buf_text(b, i ? ",{\"verb\":" : "{\"verb\":");
		cli_json(b, verbs[i].name);
		buf_text(b, ",\"operands\":");
		cli_json(b, verbs[i].operands);
		buf_text(b, ",\"help\":");
		cli_json(b, verbs[i].help);
		buf_text(b, ",\"options\":[");
		const struct option_row *o = verbs[i].options;
		for (unsigned j = 0; o && o[j].name; j++) {
			buf_text(b, j ? "," : "");
			cli_json(b, o[j].name);
		}
		buf_text(b, "]}");
	}
	buf_text(b, "]}\n");
}

int
help_run(struct cli *c)
{
	struct buf b = {0};
	const char *name = c->args.operands_n ? c->args.operands[0] : NULL;

	if (args_flag(&c->args, "reference") || (name && !strcmp(name, "options"))) {
		conf_reference_print(&b);
		return cli_finish(c, &b, EXIT_DONE);
	}
	if (c->json) {
		help_json(&b);
		return cli_finish(c, &b, EXIT_DONE);
	}
	if (!name) {
		help_print();
		return EXIT_DONE;
	}
	const struct verb *v = verb_find(name);
	if (!v) {
		struct err e;
		const char *near = verb_nearest(name);
		err_set(&e, EXIT_USAGE, "unknown verb \"%.40s\"%s%s%s", name,
			near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
		return cli_fail(c, &e, "`weir help` lists the verbs");
	}
	help_verb_print(v);
	return EXIT_DONE;
}
