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

/* loans-monthly-20261124T103000Z.weir; stamp of its beginning. */
void place_name(const char *pipeline, const char *handoff, int64_t wall_us,
		char out[static HANDOVER_NAME_MAX]);
/* When the newest file of this hand-over was begun; INT64_MIN: there is none. */
int64_t place_last(int dir, const char *pipeline, const char *handoff);
/* Removes what a death left: half files under temporary names. */
void place_sweep(int dir, const char *pipeline, const char *handoff);

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
