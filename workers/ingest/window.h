/*
 * window: the data keys in use, one of each class, made and ended together. Pure: the clocks come
 * from the caller, what is to be asked of the keeper goes to him as frame items.
 *
 * Life of a set: made -> asked (core and wraps of each class) -> every answer is there: in use, and
 * what was in use before is wiped -> after two thirds of its life or records the next is made ->
 * over: wiped, whether there is a next or not. Nothing is sealed under a key before the keeper has
 * said that its envelope is committed, nor after its not_after.
 */
#ifndef INGEST_WINDOW_H
#define INGEST_WINDOW_H

#include "mono.h"
#include "seal/envelope.h"
#include "wire.h"

enum {
	WINDOW_RECORDS_MAX = 1 << 24,
	WINDOW_MARGIN_MS = 1000, /* a key is not used so shortly before its end (a tenth if less) */
	WINDOW_ASK_MS = 30000,	 /* a set not answered for so long is made anew: its times age */
	WINDOW_RETRY_MS = 2000,	 /* after the keeper's refusal, doubled up to ... */
	WINDOW_RETRY_MS_MAX = 15000,
	WINDOW_SETS = 2, /* in use, and asked for */
};

struct window_key {
	struct data_key *key;
	struct buf core, wraps; /* unsigned; while it is asked */
	unsigned wraps_n;
	uint32_t request;
	bool answered;
};

struct window_set {
	struct window_key of[CLASSES_MAX];
	bool made;
	unsigned unanswered;
	struct mono made_at;
	int64_t not_before_ms, not_after_ms;
	uint64_t records;
};

struct windows {
	const struct model *m;
	const struct policy *policy;
	const struct seal_random *random; /* NULL: the system's */
	uint32_t *request;		  /* the worker's counter of requests */
	struct window_set now, next;
	uint64_t serial; /* rises when a set comes into use, and when one ends without a next */
	uint64_t opened; /* sets that came into use */
	struct mono retry_at;
	unsigned refusals;
	bool outdated;		  /* a refusal told of a newer policy than ours */
	char why[REASON_MAX + 1]; /* the keeper's last refusal, "" none since the last answer */
};

void windows_init(struct windows *w, const struct model *m, const struct policy *p,
		  uint32_t *request);
void windows_free(struct windows *w); /* wipes */
/*
 * Takes the memory of all keys that will ever be held at a time, and keeps it for them: a limit of
 * locked memory that is too low is found at the start (EXIT_CONFIG), and not by an event.
 */
MUSTCHECK bool windows_reserve(const struct windows *w, struct err *e);

/*
 * Ends what is over; makes the next set when it is time. *ask: there is one to be asked
 * (windows_requests). False: keys cannot be made: the policy has expired, locked memory is short.
 */
MUSTCHECK bool windows_step(struct windows *w, struct mono now, int64_t now_wall_us, bool *ask,
			    struct err *e);

/* The next set was lost on its way, perhaps: ask again, or make it anew if it has aged. */
bool windows_again(struct windows *w, struct mono now);

/* Appends a KEYREQ item for each key without an answer; returns how many. */
uint32_t windows_requests(const struct windows *w, struct buf *body);

/*
 * An answer to a publication; others are ignored (an earlier set's). A signed core that is not what
 * was asked counts as a refusal.
 */
void windows_answer(struct windows *w, const struct keyans *a, struct mono now);

/* Whether a whole poll of events may be sealed now. */
bool windows_usable(const struct windows *w, struct mono now, int64_t now_wall_us);

/* The key of a class; only while usable. */
static inline struct data_key *
windows_key(const struct windows *w, unsigned class)
{
	return w->now.of[class].key;
}

static inline void
windows_record(struct windows *w)
{
	w->now.records++;
}

#endif
