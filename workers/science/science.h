/*
 * science: opens sealed rows for the hand-overs that the pipeline file declares and the signed
 * policy lists, and seals each file to its recipients. Alone in the pool with a role's secret key.
 * A file comes to its name only when it is whole and its audit row is committed.
 *
 *   main      lifecycle: due times, one hand-over asked for, what becomes of a failure
 *   handover  one hand-over: check, query, open, seal, audit, rename
 *   place     the directory: names, the last one's time, what a death left behind
 */
#ifndef WORKERS_SCIENCE_SCIENCE_H
#define WORKERS_SCIENCE_SCIENCE_H

#include "pg.h"
#include "release.h"
#include "skel.h"

enum { ROLE_KEYS_MAX = 64, HANDOVER_NAME_MAX = 3 * NAME_BYTES_MAX };

struct science {
	struct worker *w;
	char *dsn;
	struct buf policy_file;
	struct key *keys[ROLE_KEYS_MAX];
	unsigned keys_n;
	int64_t due_us[HANDOFFS_MAX]; /* wall clock; INT64_MAX: not by itself */
	struct mono retry;
	int retry_ms;
};

/* ---- place ---- */

/* When the newest file of this hand-over was begun; INT64_MIN: there is none. */
int64_t place_last(int dir, const char *pipeline, const char *handoff);

/* One file that is being made. Its name, loans-monthly-20261124T103000Z.weir, is nobody else's. */
struct place {
	int dir, fd;
	char file[HANDOVER_NAME_MAX];
	char part[HANDOVER_NAME_MAX + 8]; /* what it is called until it is whole; "": no longer */
};

/*
 * Removes half files that a death left, and makes an empty one under a temporary name; the stamp is
 * of wall_us, or of the first second after it that no other file has. EXIT_UNAVAILABLE: another one
 * does the same now. dir stays the caller's.
 */
MUSTCHECK bool place_begin(int dir, const char *pipeline, const char *handoff, int64_t wall_us,
			   struct place *p, struct err *e);
/* Gives it its name, durably; never that of a file that is there. */
MUSTCHECK bool place_keep(struct place *p, struct err *e);
void place_end(struct place *p); /* removed, if it was not kept */

/* ---- handover ---- */

struct handed {
	char file[HANDOVER_NAME_MAX];
	uint64_t rows, opened, erased, failed, bytes;
	char digest[65]; /* SHA-256 in digits */
	int64_t audit;	 /* id of its row */
};

/*
 * Makes one file. EXIT_PERMISSION: the signed policy does not list it so, or the database refuses;
 * EXIT_UNAVAILABLE: trying again may help. Nothing with the final name is left behind by a failure.
 */
MUSTCHECK bool handover_make(struct science *s, const struct handoff *h, struct handed *out,
			     struct err *e);

#endif
