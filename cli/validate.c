#include "cli.h"

#include <stdio.h>
#include <unistd.h>

#include "conf.h"

const struct option_row options_validate[] = {
    {"pipeline", 'p', OPTION_VALUE, "FILE", "the pipeline file"},
    {"effective", 0, OPTION_FLAG, NULL,
     "print the whole configuration, defaults filled in, secrets as ***"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

static void
valid_json(const struct model *m, const char *path, const struct conf_report *r, struct buf *out)
{
	buf_text(out, "{\"file\":");
	cli_json(out, path);
	buf_printf(out, ",\"valid\":%s", m ? "true" : "false");
	if (m) {
		buf_text(out, ",\"pipeline\":");
		cli_json(out, m->pipeline.s);
		buf_printf(out,
			   ",\"sources\":%u,\"folds\":%u,\"tables\":%u,\"lanes\":%u,\"ingests\":%u",
			   m->sources_n - model_exchange(m), m->folds_n, m->tables_n, m->lanes,
			   m->ingests);
	}
	buf_text(out, ",\"errors\":[");
	buf_add(out, r->json.data, r->json.len);
	buf_text(out, "]}");
}

static void
valid_text(const struct model *m, const char *path, struct buf *out)
{
	unsigned declared = m->sources_n - model_exchange(m);

	buf_printf(
	    out,
	    "%s: valid. Pipeline %s: %u source%s, %u fold%s, %u table%s, %u ingest%s, %u lane%s\n",
	    path, m->pipeline.s, declared, declared == 1 ? "" : "s", m->folds_n,
	    m->folds_n == 1 ? "" : "s", m->tables_n, m->tables_n == 1 ? "" : "s", m->ingests,
	    m->ingests == 1 ? "" : "s", m->lanes, m->lanes == 1 ? "" : "s");
}

/* One file; what is to be printed goes to out. */
static int
validate_one(struct cli *c, const char *path, struct buf *out)
{
	struct conf_report report = {0};
	struct model *m = NULL;

	if (access(path, R_OK)) {
		struct err e;
		err_errno(&e, EXIT_CONFIG, "cannot read the pipeline file \"%s\"", path);
		return cli_fail(c, &e,
				"name the file (weir validate PIPELINE), set WEIR_PIPELINE, "
				"or go to the directory that holds pipeline.yaml");
	}
	bool good = conf_read_file(path, &m, &report);
	if (c->json)
		valid_json(good ? m : NULL, path, &report, out);
	else if (good && args_flag(&c->args, "effective"))
		conf_print_effective(m, out);
	else if (good)
		valid_text(m, path, out);
	if (report.text.len)
		fwrite(report.text.data, 1, report.text.len, stderr);
	if (!good)
		cli_say("weir validate: %s: %u error%s, listed above", path, report.errors,
			report.errors == 1 ? "" : "s");
	conf_report_free(&report);
	if (good)
		model_free(m);
	return good ? EXIT_DONE : EXIT_CONFIG;
}

int
validate_run(struct cli *c)
{
	struct buf out = {0};
	unsigned n = c->args.operands_n;
	int worst = EXIT_DONE;

	if (n <= 1) {
		worst = validate_one(c, cli_pipeline(c, 0), &out);
	} else {
		buf_text(&out, c->json ? "[" : "");
		for (unsigned i = 0; i < n; i++) {
			int code = validate_one(c, c->args.operands[i], &out);
			worst = code > worst ? code : worst;
			buf_text(&out, c->json && i + 1 < n ? "," : "");
		}
		buf_text(&out, c->json ? "]" : "");
	}
	buf_text(&out, c->json && out.len ? "\n" : "");
	return cli_finish(c, &out, worst);
}
