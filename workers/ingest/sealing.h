/*
 * sealing: what ingest has where the pipeline seals: the policy and token keys, the windows of data
 * keys, secrets of persons, events that wait for them, and the talk with the keeper. Nothing is
 * read before the first envelopes are published, nor while there is no usable key: back pressure,
 * never plaintext and never an expired key.
 */
#ifndef INGEST_SEALING_H
#define INGEST_SEALING_H

#include "hold.h"
#include "keys.h"
#include "record_seal.h"
#include "subjects.h"
#include "window.h"

/* Sends `count` KEYREQ items; takes the bytes of *body over. start prepares an empty body. */
struct sealing_out {
	void *ctx;
	bool (*ready)(void *ctx); /* there is a keeper to send to */
	void (*start)(struct buf *body);
	void (*send)(void *ctx, uint32_t count, struct buf *body);
};

struct sealing {
	const struct model *m;
	struct metric_page *page;
	struct sealing_out out;
	struct keys keys;
	uint32_t request; /* the last number given to a request */
	struct windows windows;
	struct subjects *subjects; /* NULL: no source has persons */
	struct record_sealer *records;
	struct hold hold;
	uint64_t windows_serial; /* subjects were forgotten for it */
	bool usable;		 /* as of the last step: this turn's events may be sealed */
	struct mono stepped_at;
	struct mono held_at; /* when the oldest held event became the oldest */
};

enum { HELD_TOLD_MS = 2000 }; /* it waits for so long: that is told */

/* From the descriptors that w has; false with EXIT_PERMISSION when one is missing or wrong. */
MUSTCHECK bool sealing_open(const struct worker *w, const struct sealing_out *out,
			    struct sealing **s, struct err *e);
void sealing_free(struct sealing *s); /* wipes; NULL is fine */

/* OWN of a lane: the policy against what the database pins. */
MUSTCHECK bool sealing_own(struct sealing *s, const struct own *o, int64_t now_wall_us,
			   struct err *e);

/* Once a turn, before anything is read: ends, makes and asks for keys, asks for secrets. */
MUSTCHECK bool sealing_step(struct sealing *s, struct mono now, int64_t now_wall_us, struct err *e);

/* Before each poll, since a turn may be long: whether its events may be sealed. */
void sealing_look(struct sealing *s, struct mono now, int64_t now_wall_us);

/* The keeper lives anew: everything unanswered is asked again. */
void sealing_peer(struct sealing *s, struct mono now);

/* One item of KEYANS. */
MUSTCHECK bool sealing_answer(struct sealing *s, const struct keyans *a, struct mono now,
			      struct err *e);

/*
 * The person of a record: *who is set, and *bound says whether there is one. False: the secret is
 * not known (it is asked for now): hold the event.
 */
MUSTCHECK bool sealing_person(struct sealing *s, const struct record *r, struct seal_subject *who,
			      bool *bound);

/* The oldest held event may go on; sealing_released when it has. */
bool sealing_due(struct sealing *s);
void sealing_released(struct sealing *s, struct mono now);

/* Whether events may be read: keys are usable and what is held has room. */
static inline bool
sealing_ready(const struct sealing *s)
{
	return s->usable && !hold_full(&s->hold);
}

/* Why it waits for the keeper, for people; NULL: it does not. */
const char *sealing_waits(const struct sealing *s);

#endif
