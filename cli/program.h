/*
 * program: a program started by the demo, in a process group of its own, which dies with us.
 */
#ifndef CLI_PROGRAM_H
#define CLI_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

#include "err.h"

struct program_setup {
	const char *const *argv; /* argv[0] is the path; NULL-terminated */
	const char *log;	 /* file that takes stdout and stderr, appended to */
	uid_t uid;		 /* 0: as we are */
	gid_t gid;
	int end_signal; /* what it gets when we die */
};

struct program {
	pid_t pid; /* 0: none */
};

MUSTCHECK bool program_start(struct program *c, const struct program_setup *s, struct err *e);
/* Whether it has ended; then *code is its exit code, or 128 + signal. */
bool program_ended(struct program *c, int *code);
/* Sends signal, waits at most ms, then kills. The exit code, or 128 + signal. */
int program_stop(struct program *c, int signal, int ms);
/* Starts, waits at most ms for the end; an exit code other than 0 is a failure. */
MUSTCHECK bool program_run(const struct program_setup *s, int ms, struct err *e);

#endif
