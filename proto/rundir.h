/*
 * rundir: the directory of one running supervisor: the sockets of its pipes, and the note by which
 * `weir status` finds it. DIR/weir-XXXXXX, DIR = $XDG_RUNTIME_DIR (when workers may pass through
 * it), else /tmp; short, because a socket's path has 108 bytes. Mode 0700, or root:weir 0770 where
 * the supervisor is root.
 *
 * The note, DIR/weir-XXXXXX/note, is written once and locked as long as the supervisor lives, so a
 * directory without a living owner is recognised, and swept by the next start.
 */
#ifndef PROTO_RUNDIR_H
#define PROTO_RUNDIR_H

#include <sys/types.h>

#include "err.h"

enum { RUNDIR_BYTES_MAX = 64, RUNDIR_FOUND_MAX = 64 };

struct rundir {
	char path[RUNDIR_BYTES_MAX];
	int note_fd; /* holds the lock; -1: no note yet */
};

/* What a note says: what is running here. */
struct rundir_note {
	char pipeline[64];
	char instance[64];
	char url[64]; /* of status */
	pid_t pid;
	char path[RUNDIR_BYTES_MAX]; /* of the directory: rundir_find's answer, not in the note */
};

/* Makes a directory and sweeps those that nobody owns any more. Undone by rundir_remove. */
MUSTCHECK bool rundir_create(struct rundir *d, struct err *e);
MUSTCHECK bool rundir_note_write(struct rundir *d, const struct rundir_note *n, struct err *e);
void rundir_clean(const struct rundir *d); /* removes the sockets of a generation that is gone */
void rundir_remove(struct rundir *d);	   /* with everything in it */

/* The supervisors that run now and that this user may see; at most `max`. Returns how many. */
unsigned rundir_find(struct rundir_note *out, unsigned max);

#endif
