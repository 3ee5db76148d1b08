#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "conf.h"
#include "outcome.h"

void
cli_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void
cli_result(const struct cli *c, const struct buf *line)
{
	struct err e;

	if (c->result_file && !outcome_write(c->result_file, line, &e))
		cli_say("weir %s: %s", c->verb->name, e.text);
}

static void
failure_keep(const struct cli *c, const struct err *e, const char *next)
{
	struct buf line = {0};

	outcome_error(&line, e->text, next, e->code);
	cli_result(c, &line);
	buf_free(&line);
}

int
cli_fail(const struct cli *c, const struct err *e, const char *next, ...)
{
	char text[ERR_TEXT_MAX];
	struct buf b = {0};
	va_list ap;

	va_start(ap, next);
	vsnprintf(text, sizeof text, next, ap);
	va_end(ap);
	cli_say("weir %s: %s", c->verb ? c->verb->name : "", e->text);
	if (*text)
		cli_say("  next: %s", text);
	failure_keep(c, e, text);
	if (!c->json)
		return e->code;
	buf_printf(&b, "{\"error\":{\"code\":%d,\"message\":", e->code);
	cli_json(&b, e->text);
	buf_text(&b, ",\"next\":");
	cli_json(&b, text);
	buf_text(&b, "}}\n");
	struct err ignored; /* the failure itself is what counts */
	if (!cli_print(&b, &ignored))
		cli_say("weir: %s", ignored.text);
	buf_free(&b);
	return e->code;
}

bool
cli_print(struct buf *b, struct err *e)
{
	size_t at = 0;

	fflush(stdout);
	while (at < b->len) {
		ssize_t n = write(STDOUT_FILENO, b->data + at, b->len - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, EXIT_UNAVAILABLE, "cannot write the output");
		at += (size_t)n;
	}
	return true;
}

int
cli_finish(const struct cli *c, struct buf *b, int code)
{
	struct err e;

	if (!cli_print(b, &e)) {
		cli_say("weir %s: %s", c->verb->name, e.text);
		code = e.code;
	}
	buf_free(b);
	return code;
}

const char *
cli_pipeline(const struct cli *c, unsigned at)
{
	const char *path = args_value(&c->args, "pipeline");

	if (path)
		return path;
	if (at < c->args.operands_n)
		return c->args.operands[at];
	path = getenv("WEIR_PIPELINE");
	return path && *path ? path : "pipeline.yaml";
}

/* The file cannot be read at all: say which names are looked for. */
static int
model_absent(const struct cli *c, const char *path)
{
	struct err e;

	err_errno(&e, EXIT_CONFIG, "cannot read the pipeline file \"%s\"", path);
	return cli_fail(c, &e,
			"name the file (weir %s PIPELINE), set WEIR_PIPELINE, or go to the "
			"directory that holds pipeline.yaml",
			c->verb->name);
}

bool
cli_model(const struct cli *c, const char *path, struct model **out, int *code)
{
	struct conf_report report = {0};

	*code = EXIT_DONE;
	if (access(path, R_OK)) {
		*code = model_absent(c, path);
		return false;
	}
	bool good = conf_read_file(path, out, &report);
	if (!good) {
		struct err e;

		fflush(stderr);
		fwrite(report.text.data, 1, report.text.len, stderr);
		/* Who has only this line (--result-file) sees where to look. */
		const char *first = buf_cstr(&report.text);
		err_set(&e, EXIT_CONFIG, "%s: %u error%s, listed above%s%.*s", path, report.errors,
			report.errors == 1 ? "" : "s", *first ? "; " : "",
			(int)strcspn(first, "\n"), first);
		*code = cli_fail(c, &e, "mend the lines shown, then try `weir validate %s`", path);
	}
	conf_report_free(&report);
	return good;
}
