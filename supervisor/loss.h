/*
 * loss: what is remembered of lost workers and of missing dependencies: strikes for the throttle,
 * crashes by role, since when something has been down. Numbers only; what they mean is policy's.
 */
#ifndef SUPERVISOR_LOSS_H
#define SUPERVISOR_LOSS_H

#include "child.h"

enum { CRASHES_KEPT = CRASHES_MAX + 1, REASON_BYTES_MAX = 640 };

struct losses {
	unsigned strikes;     /* of generations, in a row without a commit */
	struct mono lost_at;  /* the last loss; 0: none yet */
	struct mono bear_due; /* throttle: when the next generation may be born */
	uint64_t batches;     /* committed when the last loss happened */
	struct {
		struct mono at[CRASHES_KEPT];
		unsigned n;
	} crashes[ROLE_MAX];	/* nothing was committed between them */
	struct mono down_since; /* of a dependency; 0: none is down */
	char down_why[REASON_BYTES_MAX];
};

/* A commit since the last loss: whatever was wrong, work goes on; counting starts anew. */
void losses_committed(struct losses *l, uint64_t batches);

/* A generation is lost by c; sets when the next one may come, returns in how many ms. */
int64_t losses_generation(struct losses *l, const struct child *c, enum cause cause,
			  struct mono now);

/* A worker that lives alone is lost; the same for it. */
int64_t losses_alone(struct child *c, enum cause cause, struct mono now);

/* One more crash of a role; how many there are within the window now. */
unsigned losses_crash(struct losses *l, enum role role, struct mono now);

void losses_down(struct losses *l, struct mono since, const char *subject, const char *why);

#endif
