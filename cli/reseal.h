/*
 * reseal: what keys_reseal.c (envelopes, new data keys, the report) and keys_reseal_rows.c (tables
 * and rows) share.
 */
#ifndef CLI_RESEAL_H
#define CLI_RESEAL_H

#include "keys.h"
#include "release.h"
#include "seal/envelope.h"

enum { OID_BYTEA = 17 };

struct old { /* an envelope that the revoked key could open */
	uint8_t kid[KID_BYTES];
	unsigned class; /* index into classes */
	bool needed;
};

struct fresh {		      /* the data key that takes its place, of one class */
	struct data_key *key; /* NULL: none yet */
	int64_t since_ms;
	uint64_t values;
};

struct reseal {
	struct keys *k;
	const struct reseal_of *of;
	struct key *sealer;
	const struct key *holder;
	struct pg *reader, *asker;
	struct release *release;
	struct old *olds; /* by kid */
	unsigned olds_n;
	struct fresh fresh[POLICY_CLASSES_MAX];
	struct buf row;						    /* the new values of one row */
	uint64_t read, rows, values, keys;			    /* of all passes */
	uint64_t changed, erased, failed, by_error[SEAL_ERROR_MAX]; /* of one pass */
};

/* The old envelope of this kid; NULL: it is none. */
struct old *reseal_old(const struct reseal *x, const uint8_t *kid);
/* A data key to seal this class with; published before it returns. */
MUSTCHECK bool reseal_fresh(struct reseal *x, unsigned class, struct err *e);

/*
 * Once over every table and partition of development_schema. x->changed: rows that were updated,
 * also those that somebody else changed meanwhile: nothing is left to do when it is 0.
 */
MUSTCHECK bool reseal_pass(struct reseal *x, struct err *e);
void reseal_progress(const struct reseal *x, bool end); /* on a terminal */

#endif
