/*
 * subjects: secrets of persons, as the keeper told them in this window. Kept until the window ends,
 * so that an erasure is effective within one. Bounded: when as many persons are known as half of
 * the slots all are forgotten, and asked again as they are met. Pure: requests go to the caller as
 * frame items.
 *
 * The secrets lie in pages of their own (secret_map), wiped when forgotten.
 */
#ifndef INGEST_SUBJECTS_H
#define INGEST_SUBJECTS_H

#include "mono.h"
#include "seal/secret.h"
#include "wire.h"

enum {
	SUBJECTS_SLOTS = 1 << 18, /* of 64 bytes: 16 MiB, touched as they fill */
	SUBJECTS_SLOTS_LEAST =
	    1 << 16,		   /* where no more may be locked; half is more than are wanted */
	SUBJECTS_REQUESTS_MAX = 8, /* unanswered at a time */
	SUBJECTS_WANTED_MAX = 16384,
	SUBJECTS_RETRY_MS = 1000, /* after the keeper's refusal */
};

enum subject_state { SUBJECT_UNKNOWN, SUBJECT_ASKED, SUBJECT_KNOWN, SUBJECT_ERASED };

struct subjects;

/* request: the worker's counter. NULL: not even the least may be locked (secret_shortage). */
struct subjects *subjects_new(uint32_t *request);
void subjects_free(struct subjects *s); /* wipes; NULL is fine */

/* *secret: SUBJECT_SECRET_BYTES when known, borrowed until the next call that changes s. */
enum subject_state subjects_find(const struct subjects *s,
				 const uint8_t sid[static SUBJECT_ID_BYTES],
				 const uint8_t **secret);

/* Will be asked for. False: too many are wanted already; come again. */
bool subjects_want(struct subjects *s, const uint8_t sid[static SUBJECT_ID_BYTES]);

bool subjects_waiting(const struct subjects *s); /* something is wanted or was refused */

/* Appends KEYREQ items for what is wanted, as far as requests are free; returns how many. */
uint32_t subjects_requests(struct subjects *s, struct mono now, struct buf *body);

/* Appends all that is unanswered once more. */
uint32_t subjects_again(struct subjects *s, struct buf *body);

/*
 * An answer to KEY_SUBJECTS; one that nobody waits for is ignored. Another number of secrets than
 * was asked for is a breach.
 */
MUSTCHECK bool subjects_answer(struct subjects *s, const struct keyans *a, struct mono now,
			       struct err *e);

/* The window has ended: everything is forgotten, wiped. */
void subjects_forget(struct subjects *s);

/* Rises whenever something was forgotten: what waits must be wanted again. */
uint64_t subjects_serial(const struct subjects *s);
const char *subjects_why(const struct subjects *s); /* the keeper's last refusal; "" */

#endif
