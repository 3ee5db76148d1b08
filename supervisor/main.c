/*
 * The supervisor: births, deaths, restarts and configuration slices of all workers of one pipeline.
 *It sees no record. Started by `weir up` and `weir run`:
 *
 *	supervisor up|run PIPELINE [--instance NAME] [--until now] [--wait SECONDS] [--close]
 *	    [--accept-dead] [--take-over] [--no-progress] [-o json|text] [--only ROLE,...]
 *	    [--handoff NAME] [--policy-root FILE] [--result-file FILE]
 *
 * SIGTERM drains; SIGHUP bears all workers anew, with the key files as they are now. --handoff,
 * with run --only science: one hand-over and no more (cli/start.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "board.h"
#include "conf.h"
#include "loop.h"
#include "log.h"
#include "mem.h"
#include "notify.h"
#include "outcome.h"
#include "part.h"
#include "root.h"

enum { WAIT_SECONDS_DEFAULT = 30, WAIT_SECONDS_MAX = 1000000, EXEC_DIR_BYTES = 4096, ENV_MAX = 16 };

struct options {
	const char *pipeline, *instance, *handoff, *root_path, *result_path;
	uint8_t root[ROOT_BYTES];
	bool bounded, close, accept_dead, take_over, progress;
	int64_t wait_ms;
	uint32_t roles;
};

/* What a worker may inherit: no credential hides in these. */
static const char *const env_kept[] = {"TZ",
				       "LANG",
				       "LC_ALL",
				       "LC_CTYPE",
				       "WEIR_LOG",
#ifdef WEIR_ASAN
				       "ASAN_OPTIONS",
				       "LSAN_OPTIONS",
				       "UBSAN_OPTIONS",
#endif
				       NULL};

/* The line into the result file, if one was asked for. */
static void
outcome_keep(const struct options *o, const struct buf *line)
{
	struct err e;

	if (o->result_path && !outcome_write(o->result_path, line, &e))
		log_error("%s", e.text);
}

/* Nothing has begun yet: told, kept, over. */
static void NORETURN PRINTF(3, 4) refuse(const struct options *o, int code, const char *fmt, ...)
{
	struct buf line = {0};
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.text, sizeof e.text, fmt, ap);
	va_end(ap);
	outcome_error(&line, e.text, NULL, code);
	outcome_keep(o, &line);
	buf_free(&line);
	fatal(code, "%s", e.text);
}

static uint32_t
roles_parse(const struct options *o, const char *list)
{
	uint32_t roles;
	struct err e;

	if (!part_parse(list, &roles, &e))
		refuse(o, e.code, "%s", e.text);
	return roles;
}

static int64_t
wait_parse(const struct options *o, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0 && seconds <= WAIT_SECONDS_MAX))
		refuse(o, EXIT_USAGE, "--wait: \"%s\" is no number of seconds", text);
	return (int64_t)(seconds * 1000);
}

static bool
flag_parse(struct options *o, const char *word)
{
	if (!strcmp(word, "--accept-dead"))
		o->accept_dead = true;
	else if (!strcmp(word, "--take-over"))
		o->take_over = true;
	else if (!strcmp(word, "--close"))
		o->close = true;
	else if (!strcmp(word, "--no-progress"))
		o->progress = false;
	else
		return false;
	return true;
}

static void
value_parse(struct options *o, const char *word, const char *value)
{
	if (!value)
		refuse(o, EXIT_USAGE, "%s: a value is missing, or there is no such option", word);
	if (!strcmp(word, "--instance"))
		o->instance = value;
	else if (!strcmp(word, "--wait"))
		o->wait_ms = wait_parse(o, value);
	else if (!strcmp(word, "--only"))
		o->roles = roles_parse(o, value);
	else if (!strcmp(word, "--handoff"))
		o->handoff = value;
	else if (!strcmp(word, "--" OUTCOME_OPTION))
		o->result_path = value;
	else if (!strcmp(word, "--policy-root"))
		o->root_path = value;
	else if (!strcmp(word, "--until") && !strcmp(value, "now"))
		return;
	else if (!strcmp(word, "-o") && (!strcmp(value, "json") || !strcmp(value, "text")))
		return; /* the result line is JSON in any case */
	else
		refuse(o, EXIT_USAGE, "no option %s %s", word, value);
}

static void
options_parse(struct options *o, int argc, char **argv)
{
	*o = (struct options){.handoff = "",
			      .wait_ms = WAIT_SECONDS_DEFAULT * 1000,
			      .progress = true,
			      .roles = ~(1u << ROLE_NULL)};
	if (argc < 2 || (strcmp(argv[1], "up") != 0 && strcmp(argv[1], "run") != 0))
		refuse(o, EXIT_USAGE, "started by `weir up` or `weir run`, not by hand");
	o->bounded = !strcmp(argv[1], "run");
	for (int i = 2; i < argc; i++) {
		if (argv[i][0] != '-') {
			if (o->pipeline)
				refuse(o, EXIT_USAGE, "one pipeline, not also %s", argv[i]);
			o->pipeline = argv[i];
		} else if (!flag_parse(o, argv[i])) {
			value_parse(o, argv[i], argv[i + 1]);
			i++;
		}
	}
	if (!o->pipeline)
		refuse(o, EXIT_USAGE, "which pipeline?");
	if (*o->handoff && !(o->bounded && o->roles == 1u << ROLE_SCIENCE))
		refuse(o, EXIT_USAGE, "--handoff belongs to run --only %s",
		       role_name(ROLE_SCIENCE));
}

/* HOST:PIPELINE when none was given; a long one ends in a hash, so that two never become one. */
static void
instance_name(const struct options *o, const struct model *m, char *out, size_t size)
{
	char host[256] = "localhost", name[512];
	uint64_t hash = 14695981039346656037u;

	gethostname(host, sizeof host - 1);
	if (o->instance)
		snprintf(name, sizeof name, "%s", o->instance);
	else
		snprintf(name, sizeof name, "%s:%s", host, m->pipeline.s);
	if (strlen(name) < size) {
		memcpy(out, name, strlen(name) + 1);
		return;
	}
	for (const char *p = name; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	snprintf(out, size, "%.*s~%016llx", (int)size - 18, name, (unsigned long long)hash);
}

/* The directory of our own executable: the workers' are beside it. */
static bool
exec_dir_find(char *dir, size_t size, uint32_t roles, struct err *e)
{
	ssize_t n = readlink("/proc/self/exe", dir, size - 1);
	char path[EXEC_DIR_BYTES + 64];

	if (n <= 0)
		return err_errno(e, EXIT_BUG, "/proc/self/exe");
	dir[n] = '\0';
	*(strrchr(dir, '/') + 1) = '\0';
	for (int r = 0; r < ROLE_MAX; r++) {
		snprintf(path, sizeof path, "%s%s", dir, role_name((enum role)r));
		if ((roles & 1u << r) && access(path, X_OK) != 0)
			return err_errno(e, EXIT_CONFIG, "the installation is incomplete: %s",
					 path);
	}
	return true;
}

static void
environment_make(char *envp[static ENV_MAX])
{
	int n = 0;

	for (int i = 0; env_kept[i]; i++) {
		const char *value = getenv(env_kept[i]);
		if (!value)
			continue;
		struct buf b = {0};
		size_t len;
		buf_printf(&b, "%s=%s", env_kept[i], value);
		buf_byte(&b, 0);
		envp[n++] = (char *)buf_take(&b, &len);
	}
	envp[n] = NULL;
}

/* Everything that lives as long as the supervisor. */
struct world {
	struct options options;
	struct model *model;
	struct gather *gather;
	struct rundir rundir;
	struct board *board;
	int board_fd, board_read_fd, listen_fd, signals;
	char url[64], instance[64], exec_dir[EXEC_DIR_BYTES];
	char *envp[ENV_MAX];
	struct fleet fleet;
};

static bool
board_open(struct world *w, struct err *e)
{
	const struct model *m = w->model;
	char path[64];

	w->board = board_create(&w->board_fd, e);
	if (!w->board)
		return false;
	snprintf(path, sizeof path, "/proc/self/fd/%d", w->board_fd);
	w->board_read_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (w->board_read_fd < 0)
		return err_errno(e, EXIT_BUG, "board");
	/* One hand-over may run beside the pipeline that holds the declared address. */
	bool declared = m->listen && !*w->options.handoff;
	w->listen_fd = board_listen(declared ? m->listen : "127.0.0.1:0", w->url, sizeof w->url, e);
	if (w->listen_fd < 0 && e->code != EXIT_UNAVAILABLE)
		return false;
	if (w->listen_fd < 0)
		log_warn("%s; status waits for it", e->text);
	memcpy(w->board->pipeline, m->pipeline.s, sizeof w->board->pipeline);
	memcpy(w->board->instance, w->instance, sizeof w->board->instance);
	memcpy(w->board->url, w->url, sizeof w->board->url);
	w->board->started_wall_us = wall_now_us();
	w->board->whole = part_whole(m, w->options.roles, &w->board->roles);
	w->board->apart = !w->board->whole && part_apart();
	return true;
}

static bool
note_write(struct world *w, struct err *e)
{
	struct rundir_note note = {.pid = getpid()};

	/* By this name `weir status` finds the pipeline; a hand-over beside it is none. */
	if (*w->options.handoff)
		snprintf(note.pipeline, sizeof note.pipeline, "handoff:%s", w->options.handoff);
	else
		memcpy(note.pipeline, w->model->pipeline.s, sizeof note.pipeline);
	memcpy(note.instance, w->instance, sizeof note.instance);
	memcpy(note.url, w->url, sizeof note.url);
	return rundir_note_write(&w->rundir, &note, e);
}

static bool
handoff_declared(const struct model *m, const char *name)
{
	for (unsigned i = 0; i < m->handoffs_n; i++)
		if (!strcmp(m->handoffs[i].name.s, name))
			return true;
	return false;
}

/* What one edited file could undo is told from outside of it. */
static bool
root_pinned(struct options *o, const struct model *m, struct err *e)
{
	if (!m->classes_n)
		return err_set(
		    e, EXIT_PERMISSION,
		    "--policy-root says that this pipeline seals, and its file seals nothing");
	return root_read(o->root_path, o->root, e);
}

static bool
world_open(struct world *w, struct err *e)
{
	const struct options *o = &w->options;

	if (*o->handoff && !handoff_declared(w->model, o->handoff))
		return err_set(e, EXIT_USAGE, "the pipeline file has no hand-over %.64s",
			       o->handoff);
	if (o->root_path && !root_pinned(&w->options, w->model, e))
		return false;
	instance_name(o, w->model, w->instance, sizeof w->instance);
	if (!part_check(w->model, o->roles, o->bounded, e))
		return false;
	if (!exec_dir_find(w->exec_dir, sizeof w->exec_dir, o->roles, e))
		return false;
	environment_make(w->envp);
	w->signals = loop_signals(e);
	if (w->signals < 0)
		return false;
	w->gather = gather_new(w->model, e);
	if (!w->gather || !board_open(w, e) || !rundir_create(&w->rundir, e) || !note_write(w, e))
		return false;
	struct fleet_setup setup = {.model = w->model,
				    .rundir = &w->rundir,
				    .board = w->board,
				    .exec_dir = w->exec_dir,
				    .envp = w->envp,
				    .roles = o->roles,
				    .wait_ms = o->wait_ms,
				    .listen = w->model->listen,
				    .chan = {.gather = w->gather,
					     .model = w->model,
					     .dir = w->rundir.path,
					     .instance = w->instance,
					     .handoff = o->handoff,
					     .root = o->root_path ? o->root : NULL,
					     .bounded = o->bounded,
					     .close = o->close,
					     .accept_dead = o->accept_dead,
					     .take_over = o->take_over,
					     .until_wall_us = wall_now_us(),
					     .listen_fd = w->listen_fd,
					     .board_fd = w->board_read_fd}};
	return fleet_init(&w->fleet, &setup, e);
}

static void
fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void
world_close(struct world *w)
{
	fleet_free(&w->fleet);
	rundir_remove(&w->rundir);
	gather_free(w->gather);
	board_unmap(w->board);
	fd_close(w->board_fd);
	fd_close(w->board_read_fd);
	fd_close(w->listen_fd);
	fd_close(w->signals);
	for (int i = 0; w->envp[i]; i++)
		free(w->envp[i]);
	model_free(w->model);
}

/* Runs the fleet to its end; the exit code. kept: the line for a result file. */
static int
work(struct world *w, struct buf *kept)
{
	struct progress progress = {.started = mono_now()};
	bool shown = w->options.bounded && !*w->options.handoff && w->options.progress &&
		     isatty(STDERR_FILENO);
	struct result result;

	if (*w->options.handoff)
		log_info("hand-over %s of %s", w->options.handoff, w->model->pipeline.s);
	else
		log_info("%s %s: status on %s", w->options.bounded ? "run" : "up",
			 w->model->pipeline.s, w->url);
	loop_run(&w->fleet, w->signals, shown ? &progress : NULL);
	w->listen_fd = w->fleet.setup.chan.listen_fd;
	int64_t us = mono_since_us(progress.started, mono_now());
	if (!w->options.bounded) {
		result_up(&w->fleet, us, kept);
		return w->fleet.exit_code;
	}
	if (w->fleet.asked && !w->fleet.exit_code) {
		w->fleet.exit_code = EXIT_TRY_LATER;
		snprintf(w->fleet.reason, sizeof w->fleet.reason,
			 "stopped by a signal before the end; what was committed stays");
	}
	struct buf line = {0};
	int code;
	if (*w->options.handoff) {
		code = result_handoff(&w->fleet, us, &line);
		buf_add(kept, line.data, line.len);
	} else {
		result_sum(&w->fleet, &result);
		result_print(&w->fleet, &result, us, &line);
		result_brief(&w->fleet, &result, us, kept);
		code = result_code(&w->fleet, &result);
	}
	fwrite(line.data, 1, line.len, stdout);
	buf_free(&line);
	return code;
}

static struct model *
pipeline_read(const struct options *o)
{
	struct conf_report report = {0};
	struct model *m = NULL;

	if (!conf_read_file(o->pipeline, &m, &report)) {
		fwrite(report.text.data, 1, report.text.len, stderr);
		conf_report_free(&report);
		refuse(o, EXIT_CONFIG, "%s is not valid", o->pipeline);
	}
	conf_report_free(&report);
	return m;
}

int
main(int argc, char **argv)
{
	const struct rlimit no_core = {0, 0};
	struct world *w = mem_zero(1, sizeof *w);
	struct buf kept = {0};
	struct err e;
	int code;

	log_open(role_name(ROLE_SUPERVISOR));
	setrlimit(RLIMIT_CORE, &no_core); /* it reads the pipeline file, secrets included */
	options_parse(&w->options, argc, argv);
	w->board_fd = w->board_read_fd = w->listen_fd = w->signals = w->rundir.note_fd = -1;
	w->model = pipeline_read(&w->options);
	if (world_open(w, &e)) {
		code = work(w, &kept);
	} else {
		log_error("%s", e.text);
		code = e.code;
		outcome_error(&kept, e.text, NULL, code);
	}
	outcome_keep(&w->options, &kept);
	buf_free(&kept);
	world_close(w);
	free(w);
	log_exit(code);
}
