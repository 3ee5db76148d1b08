/* up and run: validate, then become the supervisor. */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "outcome.h"
#include "roles.h"
#include "start.h"

enum { ONLY_BYTES = 256 };

#define OPTIONS_OF_BOTH                                                                            \
	{"pipeline", 'p', OPTION_VALUE, "FILE", "the pipeline file"},                              \
	    {"instance", 0, OPTION_VALUE, "NAME",                                                  \
	     "name of this instance (default: HOST:PIPELINE)"},                                    \
	    {"accept-dead", 0, OPTION_FLAG, NULL, "go on beyond dead_letter_limit"},               \
	    {"take-over", 0, OPTION_FLAG, NULL,                                                    \
	     "take the pipeline over from an instance that still holds it"},                       \
	    {"policy-root", 0, OPTION_VALUE, "FILE",                                               \
	     "refuse a pipeline that does not seal under this root (root.pub)"},                   \
	    {"only", 0, OPTION_VALUE, "ROLE,...",                                                  \
	     "these roles alone (\"lanes\": relay, correlate, transform, load, task)"},            \
	    {OUTCOME_OPTION, 0, OPTION_VALUE, "FILE",                                              \
	     "how it ended goes there, as one line of JSON of at most 4096 bytes"},                \
	{                                                                                          \
		"no-progress", 0, OPTION_FLAG, NULL, "no progress line, even on a terminal"        \
	}

const struct option_row options_up[] = {
    OPTIONS_OF_BOTH,
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

const struct option_row options_run[] = {
    OPTIONS_OF_BOTH,
    {"until", 0, OPTION_VALUE, "now", "read each source to the end it has now (the default)"},
    {"wait", 0, OPTION_VALUE, "SECONDS", "how long a dependency may stay down; then exit 69"},
    {"close", 0, OPTION_FLAG, NULL,
     "treat the end of input as the end of time: deadlines of open processes fire"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

bool
start_executable(const char *name, char *path, size_t n, struct err *e)
{
	static const char *const beside[] = {"", "../libexec/weir/"};
	char self[START_PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);

	if (len <= 0)
		return err_errno(e, EXIT_UNAVAILABLE, "cannot read /proc/self/exe");
	self[len] = 0;
	*(strrchr(self, '/') + 1) = 0;
	for (unsigned i = 0; i < sizeof beside / sizeof *beside; i++) {
		int used = snprintf(path, n, "%s%s%s", self, beside[i], name);
		if (used > 0 && (size_t)used < n && !access(path, X_OK))
			return true;
	}
	return err_set(e, EXIT_CONFIG,
		       "the executable \"%s\" is neither in %s nor in %s../libexec/weir", name,
		       self, self);
}

static void
add(struct start *s, const char *word)
{
	check(s->argc + 1 < START_WORDS_MAX);
	s->argv[s->argc++] = word;
	s->argv[s->argc] = NULL;
}

static void
add_value(struct start *s, const char *name, const char *value)
{
	if (value) {
		add(s, name);
		add(s, value);
	}
}

bool
start_prepare(struct start *s, const char *mode, const char *pipeline_file, const struct model *m,
	      const char *instance, struct err *e)
{
	char host[64] = "localhost";

	*s = (struct start){0};
	if (!start_executable(role_name(ROLE_SUPERVISOR), s->path, sizeof s->path, e))
		return false;
	gethostname(host, sizeof host - 1);
	snprintf(s->instance, sizeof s->instance, "%s:%s", host, m->pipeline.s);
	add(s, s->path);
	add(s, mode);
	add(s, pipeline_file);
	add(s, "--instance");
	add(s, instance ? instance : s->instance);
	return true;
}

void
start_add(struct start *s, const char *word)
{
	add(s, word);
}

bool
start_exec(struct start *s, struct err *e)
{
	char *argv[START_WORDS_MAX];
	sigset_t stop;

	/* A stop that comes meanwhile waits until the supervisor listens. */
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	/* execv does not write to them; its type is older than const. */
	memcpy(argv, s->argv, sizeof argv);
	execv(s->path, argv);
	return err_errno(e, EXIT_UNAVAILABLE, "cannot run %s", s->path);
}

static bool
wait_check(const char *wait, struct err *e)
{
	if (!wait)
		return true;
	char *end;
	errno = 0;
	double seconds = strtod(wait, &end);
	if (errno || end == wait || *end || seconds < 0 || seconds > 1e6)
		return err_set(e, EXIT_USAGE, "--wait \"%.40s\" is no number of seconds", wait);
	return true;
}

static int
start_run(struct cli *c, const char *mode)
{
	const char *path = cli_pipeline(c, 0);
	const struct args *a = &c->args;
	bool bounded = !strcmp(mode, "run");
	struct model *m;
	struct start s;
	struct err e;
	char only[ONLY_BYTES];
	int code;

	const char *until = bounded ? args_value(a, "until") : NULL;
	if (until && strcmp(until, "now")) {
		err_set(&e, EXIT_USAGE, "--until \"%.40s\": only \"now\" is known", until);
		return cli_fail(c, &e, "weir run --until now");
	}
	if (bounded && !wait_check(args_value(a, "wait"), &e))
		return cli_fail(c, &e, "weir run --wait 30");
	if (!cli_model(c, path, &m, &code))
		return code;
	bool good = start_prepare(&s, mode, path, m, args_value(a, "instance"), &e);
	if (good) /* before what the supervisor may refuse */
		add_value(&s, "--" OUTCOME_OPTION, c->result_file);
	if (good && args_value(a, "only")) {
		/* Whoever lives is asked how it is. */
		snprintf(only, sizeof only, "%s,%s", args_value(a, "only"), role_name(ROLE_STATUS));
		add_value(&s, "--only", only);
	}
	if (good && bounded) {
		add_value(&s, "--until", "now");
		add_value(&s, "--wait", args_value(a, "wait"));
		if (args_flag(a, "close"))
			add(&s, "--close");
	}
	if (good) {
		if (args_flag(a, "accept-dead"))
			add(&s, "--accept-dead");
		if (args_flag(a, "take-over"))
			add(&s, "--take-over");
		if (args_flag(a, "no-progress"))
			add(&s, "--no-progress");
		add_value(&s, "--policy-root", args_value(a, "policy-root"));
		add_value(&s, "-o", c->json ? "json" : NULL);
		fflush(stdout);
		good = start_exec(&s, &e);
	}
	model_free(m);
	return cli_fail(c, &e,
			"install Weir whole (`make install`), or run it from its bin directory");
}

int
up_run(struct cli *c)
{
	return start_run(c, "up");
}

int
run_run(struct cli *c)
{
	return start_run(c, "run");
}
