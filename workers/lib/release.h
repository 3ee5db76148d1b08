/*
 * release: opens sealed values through the audited release (SEALING "Opening is audited by
 * releasing keys"). Kids and sids of a batch's values are noted, then asked for at once: a request
 * in a transaction of its own, committed, which leaves an audit row; then a fetch of wraps and
 * secrets; then each value opens or says why not. Used by `weir open`, `weir dead` and science.
 *
 * Who opens is a member (role secrets sealed to the member come with the fetch), a role, or escrow.
 * Keys and secrets of a few batches are kept, so that a kid or sid is asked for once.
 */
#ifndef WORKERS_LIB_RELEASE_H
#define WORKERS_LIB_RELEASE_H

#include "pg.h"
#include "seal/policy.h"
#include "seal/seal.h"
#include "wire.h"

enum {
	RELEASE_KIDS_MAX = 10000,  /* of one request; key_schema.request refuses more */
	RELEASE_SIDS_MAX = 100000, /* likewise */
	RELEASE_KEPT_MAX = 4096,   /* data keys kept from one batch to the next */
	RELEASE_KEYS_MAX = 64,	   /* roles that one opener has */
};

struct release_setup {
	struct pg *pg; /* of the release alone: a request commits by itself. Borrowed */
	const char *pipeline;
	const struct policy *policy;   /* verified; borrowed */
	const struct key *const *keys; /* who opens; borrowed */
	unsigned keys_n;
	const char *purpose; /* not empty; goes to the audit chain */
};

/*
 * The policy that a reader goes by, under the root that the warehouse pins, which must be `root`
 * (NULL: not known): `file` (NULL: there is none, then the one that is installed), refused when it
 * is of a lower serial than the installed one, of another root or pipeline, or out of its time.
 * newest: instead of a file of a lower serial, a reader's old copy, the installed one is taken.
 * EXIT_PERMISSION.
 */
MUSTCHECK bool release_policy(struct pg *pg, const char *pipeline, const uint8_t *root,
			      const struct buf *file, bool newest, struct policy *out,
			      struct err *e);

struct release;

struct release *release_new(const struct release_setup *s);
void release_free(struct release *r); /* NULL is fine */

/* A batch begins: what was kept and has become too much goes. */
void release_batch(struct release *r);
/* Notes what opening this value needs. */
void release_note(struct release *r, const struct carried *c);
/* Asks for what was noted and is not known yet; nothing to ask: no request. */
MUSTCHECK bool release_ask(struct release *r, struct err *e);
uint64_t release_requests(const struct release *r); /* audit rows that were written */

/*
 * Opens one. plain is cleared and gets what the value borrows from; the caller wipes it
 * (secret_wipe). *raw as in seal_plain_value. SEAL_KEY: the warehouse has no envelope of this key;
 * SEAL_RECIPIENT: not sealed to whoever opens here.
 */
MUSTCHECK enum seal_error release_open(struct release *r, const struct carried *c,
				       struct buf *plain, struct value *v, bool *raw);

/*
 * Opens one and seals it again under `to`, for the same record, field and person and with the same
 * padding; the payload is appended to out, the plaintext wiped.
 */
MUSTCHECK enum seal_error release_reseal(struct release *r, const struct carried *c,
					 struct data_key *to, struct buf *out);

#endif
