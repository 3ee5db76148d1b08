/*
 * start: the command line of the supervisor, for up, run, demo and handoff run.
 *
 * One hand-over: mode "run" with "--only" "science" "--handoff" NAME (and "--wait" SECONDS). Only
 * the science worker is born; it does that hand-over and ends. Then the supervisor prints one line,
 *
 *	{"pipeline": .., "handoff": NAME, "seconds": .., "exit": CODE, "result": {..}}
 *
 * and exits with CODE. result is what the science worker said with skel_end(w, 0, "%s", RESULT);
 * where it failed, "reason" stands in its place.
 */
#ifndef CLI_START_H
#define CLI_START_H

#include "err.h"
#include "model.h"

enum { START_WORDS_MAX = 32, START_PATH_MAX = 4096 };

struct start {
	char path[START_PATH_MAX + 64];
	char instance[64 + NAME_BYTES_MAX + 2];
	const char *argv[START_WORDS_MAX]; /* NULL-terminated; words are borrowed */
	unsigned argc;
};

/* Path of an executable of Weir: next to this one, else in ../libexec/weir. EXIT_CONFIG: not there.
 */
MUSTCHECK bool start_executable(const char *name, char *path, size_t n, struct err *e);

/* instance NULL: HOST:PIPELINE. */
MUSTCHECK bool start_prepare(struct start *s, const char *mode, const char *pipeline_file,
			     const struct model *m, const char *instance, struct err *e);
void start_add(struct start *s, const char *word);
/* Becomes the supervisor; returns only when that fails. */
bool start_exec(struct start *s, struct err *e);

#endif
