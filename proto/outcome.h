/*
 * outcome: how a command ended, as one line of JSON in a file (--result-file): for who started it
 * and does not read its output. Kubernetes shows /dev/termination-log, of at most 4096 bytes, with
 * the container that ended.
 *
 * The file is empty while the command runs and after a crash, and whole otherwise: a new file takes
 * its name (.NAME.weir-PID until then, and never over one that is there) where the directory lets
 * us; where it does not (a file that is mounted, a device), it is
 * written in place.
 */
#ifndef PROTO_OUTCOME_H
#define PROTO_OUTCOME_H

#include "buf.h"
#include "err.h"

#define OUTCOME_OPTION "result-file" /* of the command and of the supervisor */

enum {
	OUTCOME_BYTES_MAX = 4096,  /* with the line break */
	OUTCOME_TEXT_BYTES = 1500, /* of one text in it; a longer one is cut */
};

/* Empties the file, which it makes where there is none: before anything is done. EXIT_USAGE. */
MUSTCHECK bool outcome_open(const char *path, struct err *e);

/* One line with its line break, at most OUTCOME_BYTES_MAX. */
MUSTCHECK bool outcome_write(const char *path, const struct buf *line, struct err *e);

/* {"error": WHAT, "next": NEXT, "exit": CODE}, appended; next NULL or "": left out. */
void outcome_error(struct buf *line, const char *what, const char *next, int code);

/* Of a signal handler: the same of being stopped, in place. No error is told. */
void outcome_stopped(const char *path, int signal_number);

#endif
