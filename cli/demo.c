/* demo: the main job on this machine alone, started, fed, shown and taken away again. */
#include "demo.h"

#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"
#include "keyhash.h"
#include "mono.h"
#include "rundir.h"
#include "start.h"

enum {
	FEED_MS = 20000,
	SETTLE_MS = 15000,
	TICK_MS = 25,
	LOOK_MS = 500,	      /* at the warehouse, on a terminal */
	LOOK_PLAIN_MS = 5000, /* elsewhere: a line each */
	APPLY_MS = 60000,
	STOP_MS = 40000,
	LOG_TAIL_BYTES = 3000,
};

const struct option_row options_demo[] = {
    {"keep", 0, OPTION_FLAG, NULL, "stay up until Ctrl-C, and print the address and the DSN"},
    {"feed", 0, OPTION_FLAG, NULL,
     "only write the demo's events, to the sources of a pipeline file"},
    {"pipeline", 'p', OPTION_VALUE, "FILE", "feed: the pipeline file"},
    {"seconds", 0, OPTION_VALUE, "N", "feed: for so long (default: until it is told to stop)"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

struct demo {
	const struct cli *cli;
	char dir[DEMO_PATH_MAX], data[DEMO_PATH_MAX], logins[DEMO_PATH_MAX], log[DEMO_PATH_MAX];
	char keys[DEMO_PATH_MAX];
	char pipeline_file[START_PATH_MAX + 128];
	bool keep, terminal;
	struct demo_server server;
	struct program supervisor;
	struct model *model;
	struct demo_feed *feed;
	struct pg *pg;
	double seconds;
	int64_t last_ms;
};

static struct {
	volatile sig_atomic_t asked; /* SIGINT or SIGTERM */
} self;

static void
on_signal(int n)
{
	self.asked = n;
}

/* ---- the world of the demo ---- */

static bool
pipeline_find(struct demo *d, struct err *e)
{
	static const char *const places[] = {"../examples", "../share/weir/examples",
					     "../../examples"};
	static const char name[] = "loans/pipeline.yaml";
	char self_path[START_PATH_MAX];

	if (!demo_self(self_path, sizeof self_path, e))
		return false;
	*strrchr(self_path, '/') = 0;
	for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
		snprintf(d->pipeline_file, sizeof d->pipeline_file, "%s/%s/%s", self_path,
			 places[i], name);
		if (!access(d->pipeline_file, R_OK))
			return true;
	}
	snprintf(d->pipeline_file, sizeof d->pipeline_file, "examples/%s", name);
	return !access(d->pipeline_file, R_OK) ||
	       err_set(e, EXIT_CONFIG, "the example pipeline %s is not beside the executable",
		       name);
}

static bool
directories_make(struct demo *d, struct err *e)
{
	const char *tmp = getenv("TMPDIR");

	umask(022);
	if (!tmp || *tmp != '/' || strlen(tmp) > 64) /* a socket's path has 108 bytes */
		tmp = "/tmp";
	snprintf(d->dir, sizeof d->dir, "%s/weir-demo-XXXXXX", tmp);
	if (!mkdtemp(d->dir)) {
		err_errno(e, EXIT_UNAVAILABLE, "cannot make a directory in %s", tmp);
		*d->dir = 0;
		return false;
	}
	snprintf(d->data, sizeof d->data, "%.256s/data", d->dir);
	snprintf(d->logins, sizeof d->logins, "%.256s/logins", d->dir);
	snprintf(d->keys, sizeof d->keys, "%.256s/keys", d->dir);
	snprintf(d->log, sizeof d->log, "%.256s/weir.log", d->dir);
	/* Workers run as users of their own and must get at the data. */
	if (chmod(d->dir, 0755) || mkdir(d->data, 0755))
		return err_errno(e, EXIT_UNAVAILABLE, "cannot make %s", d->data);
	return true;
}

static bool
environment_set(struct demo *d, struct err *e)
{
	if (setenv("WEIR_DSN", d->server.dsn, 1) || setenv("WEIR_DATA", d->data, 1) ||
	    setenv("WEIR_LOGINS", d->logins, 1) || setenv("WEIR_KEYS", d->keys, 1))
		return err_errno(e, EXIT_UNAVAILABLE, "cannot set the environment");
	return true;
}

static bool
model_read(struct demo *d, struct err *e)
{
	struct conf_report report = {0};
	bool good = conf_read_file(d->pipeline_file, &d->model, &report);

	if (!good) {
		fwrite(report.text.data, 1, report.text.len, stderr);
		err_set(e, EXIT_CONFIG, "%s is not valid here", d->pipeline_file);
	}
	conf_report_free(&report);
	return good;
}

static bool
apply_start(struct demo *d, struct err *e)
{
	char weir[START_PATH_MAX];
	const char *const argv[] = {weir, "apply", d->pipeline_file, NULL};
	const struct program_setup setup = {.argv = argv, .log = d->log, .end_signal = SIGTERM};

	return demo_self(weir, sizeof weir, e) && program_run(&setup, APPLY_MS, e);
}

static bool
supervisor_start(struct demo *d, struct err *e)
{
	struct start s;

	if (!start_prepare(&s, "up", d->pipeline_file, d->model, NULL, e))
		return false;
	start_add(&s, "--no-progress");
	const struct program_setup setup = {.argv = s.argv, .log = d->log, .end_signal = SIGTERM};
	return program_start(&d->supervisor, &setup, e);
}

static void
say_step(const char *text, struct mono since)
{
	cli_say("  %4.1f s  %s", (double)mono_since_us(since, mono_now()) / 1e6, text);
}

static bool
demo_start(struct demo *d, struct err *e)
{
	struct mono begun = mono_now();

	if (!pipeline_find(d, e) || !directories_make(d, e) ||
	    !demo_server_start(&d->server, d->dir, e))
		return false;
	say_step("a private PostgreSQL runs", begun);
	struct demo_keys keys = {d->dir, d->pipeline_file, d->log};
	if (!environment_set(d, e) || !model_read(d, e) || !demo_keys_make(&keys, e))
		return false;
	say_step("weir keys: root, sealer, role, member and token keys; the policy is signed",
		 begun);
	if (!apply_start(d, e))
		return false;
	say_step("weir apply: schemas, logins, tables and grants are there", begun);
	if (!demo_feed_open_files(&d->feed, d->data, e) || !supervisor_start(d, e) ||
	    !pg_connect(d->server.dsn, "weir demo", NULL, APPLY_MS, &d->pg, e))
		return false;
	say_step("weir up: the workers start, and three streams of loan events begin", begun);
	return true;
}

/* ---- while it runs ---- */

static bool
supervisor_lives(struct demo *d, struct err *e)
{
	int code;

	if (program_ended(&d->supervisor, &code))
		return err_set(e, EXIT_UNAVAILABLE, "the supervisor ended with %d", code);
	return true;
}

static void
live_line(const struct demo *d, const struct demo_seen *seen, int64_t ms)
{
	uint64_t written[STREAM_MAX], broken, sum = 0;

	demo_feed_counts(d->feed, written, &broken);
	for (unsigned i = 0; i < STREAM_MAX; i++)
		sum += written[i];
	fprintf(stderr,
		"%s  %4.1f s  events written %s, in rows %s   loans %s: %s complete, %s open   "
		"dead letters %s%s",
		d->terminal ? "\r\033[K" : "", (double)ms / 1e3, demo_number((int64_t)sum).s,
		demo_number(seen->events).s, demo_number(seen->loans).s,
		demo_number(seen->complete).s, demo_number(seen->open).s, demo_number(seen->dead).s,
		d->terminal ? "" : "\n");
	fflush(stderr);
}

/* Until time is up or somebody asks; keeps the live line. */
static bool
feed_run(struct demo *d, int64_t limit_ms, struct err *e)
{
	struct mono begun = mono_now(), look = begun;
	struct demo_seen seen;

	while (!self.asked && mono_since_ms(begun, mono_now()) < limit_ms) {
		if (!supervisor_lives(d, e) || !demo_feed_tick(d->feed, false, e))
			return false;
		if (mono_due(look, mono_now())) {
			if (!demo_seen_read(d->pg, &seen, e))
				return false;
			live_line(d, &seen, mono_since_ms(begun, mono_now()));
			look = mono_add_ms(mono_now(), d->terminal ? LOOK_MS : LOOK_PLAIN_MS);
		}
		poll(NULL, 0, TICK_MS);
	}
	d->seconds = (double)mono_since_us(begun, mono_now()) / 1e6;
	return true;
}

/* Writes what is left and waits until all of it is in rows. */
static bool
settle(struct demo *d, struct err *e)
{
	uint64_t written[STREAM_MAX], broken, sum = 0;
	struct demo_seen seen = {0};

	if (!demo_feed_tick(d->feed, true, e))
		return false;
	struct mono begun = mono_now();
	demo_feed_counts(d->feed, written, &broken);
	for (unsigned i = 0; i < STREAM_MAX; i++)
		sum += written[i];
	d->last_ms = -1;
	while (mono_since_ms(begun, mono_now()) < SETTLE_MS) {
		if (!supervisor_lives(d, e) || !demo_seen_read(d->pg, &seen, e))
			return false;
		if ((uint64_t)seen.events == sum && (uint64_t)seen.dead == broken) {
			d->last_ms = mono_since_ms(begun, mono_now());
			break;
		}
		poll(NULL, 0, TICK_MS);
	}
	live_line(d, &seen, (int64_t)(d->seconds * 1e3));
	if (d->terminal)
		fputc('\n', stderr);
	if (d->last_ms < 0)
		return err_set(e, EXIT_BUG,
			       "of %llu events and %llu broken ones, %lld and %lld arrived",
			       (unsigned long long)sum, (unsigned long long)broken,
			       (long long)seen.events, (long long)seen.dead);
	return true;
}

static bool
report(struct demo *d, struct err *e)
{
	struct demo_report r = {.cli = d->cli,
				.model = d->model,
				.pg = d->pg,
				.feed = d->feed,
				.seconds = d->seconds,
				.last_ms = d->last_ms,
				.dir = d->dir,
				.dsn = d->server.dsn,
				.pipeline_file = d->pipeline_file,
				.keep = d->keep};
	struct buf out = {0};
	bool good = d->cli->json ? demo_report_json(&r, &out, e) : demo_report_text(&r, &out, e);

	good = good && cli_print(&out, e);
	buf_free(&out);
	return good;
}

/* The status address of our supervisor, from its note. */
static void
url_find(const struct demo *d, char *url, size_t n)
{
	struct rundir_note notes[RUNDIR_FOUND_MAX];
	unsigned found = rundir_find(notes, RUNDIR_FOUND_MAX);

	snprintf(url, n, "(see the log)");
	for (unsigned i = 0; i < found; i++)
		if (notes[i].pid == d->supervisor.pid)
			snprintf(url, n, "%s", notes[i].url);
}

/* With --keep: goes on feeding until somebody asks. */
static bool
keep_on(struct demo *d, struct err *e)
{
	char url[sizeof((struct rundir_note *)0)->url];

	url_find(d, url, sizeof url);
	cli_say("\nThe pipeline goes on, and so do its streams. Ctrl-C ends it and takes "
		"everything away.\n"
		"  URL   %s  (status, metrics, readyz)\n  DSN   %s\n  log   %s",
		url, d->server.dsn, d->log);
	return feed_run(d, INT64_MAX, e);
}

/* ---- the end ---- */

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

/* The last lines that Weir and PostgreSQL wrote, where something went wrong. */
static void
log_tail(const char *path)
{
	char text[LOG_TAIL_BYTES + 1];
	FILE *f = fopen(path, "re");

	if (!f)
		return;
	if (fseek(f, -LOG_TAIL_BYTES, SEEK_END))
		rewind(f);
	size_t n = fread(text, 1, LOG_TAIL_BYTES, f);
	fclose(f);
	text[n] = 0;
	if (n)
		cli_say("-- end of %s\n%s", path, text);
}

static bool
demo_stop(struct demo *d, struct err *e)
{
	bool ran = d->supervisor.pid != 0;
	int code = program_stop(&d->supervisor, SIGTERM, STOP_MS);

	return !ran || !code || err_set(e, EXIT_BUG, "the supervisor ended with %d", code);
}

static void
demo_clean(struct demo *d)
{
	enum { DIRECTORIES_OPEN = 16 };

	pg_close(d->pg);
	demo_feed_close(d->feed);
	demo_server_stop(&d->server);
	if (d->model)
		model_free(d->model);
	if (*d->dir && nftw(d->dir, remove_one, DIRECTORIES_OPEN, FTW_DEPTH | FTW_PHYS))
		cli_say("weir demo: %s could not be removed whole", d->dir);
}

static bool
demo_do(struct demo *d, struct err *e)
{
	if (!demo_start(d, e) || !feed_run(d, FEED_MS, e))
		return false;
	if (self.asked && !d->keep)
		return true;
	return settle(d, e) && report(d, e) && (!d->keep || keep_on(d, e));
}

int
demo_run(struct cli *c)
{
	struct demo *d = &(struct demo){.cli = c, .keep = args_flag(&c->args, "keep")};
	struct sigaction action = {.sa_handler = on_signal};
	struct err e;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	if (args_flag(&c->args, "feed"))
		return demo_sources_feed(c, &self.asked);
	keyhash_init();
	d->terminal = isatty(STDERR_FILENO);
	cli_say("weir demo: loans at a bank, live");
	bool good = demo_do(d, &e);
	good = demo_stop(d, good ? &e : &(struct err){0}) && good;
	int code = good ? self.asked && !d->keep ? 128 + self.asked : EXIT_DONE : e.code;
	if (!good) {
		log_tail(d->log);
		log_tail(d->server.log);
		cli_fail(c, &e,
			 e.code == EXIT_UNAVAILABLE && !*d->server.data
			     ? "install PostgreSQL: apt-get install postgresql-15"
			     : "the lines above say more; WEIR_LOG=debug says most");
	}
	demo_clean(d);
	return code;
}
