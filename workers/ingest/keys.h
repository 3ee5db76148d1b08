/*
 * keys: what ingest is handed to seal with: the signed policy and the token keys. It has no secret
 * key of any role, so what it has sealed it cannot open once the data key is wiped.
 */
#ifndef INGEST_KEYS_H
#define INGEST_KEYS_H

#include "seal/policy.h"
#include "seal/token.h"
#include "skel.h"

struct keys {
	struct policy policy;
	bool admitted;	 /* the policy is signed by the pinned root and covers the pipeline file */
	struct buf file; /* of the policy: judged by what each lane tells */
	/* By the model's index of domains. */
	struct token_key *tokens[DOMAINS_MAX];	/* of the highest epoch */
	struct token_key *persons[DOMAINS_MAX]; /* of the lowest epoch, for sids (seal/token.h) */
};

/*
 * Reads the descriptors named policy and token-<domain>-<epoch>.key of w. Of each domain the keys of
 * the highest and of the lowest epoch are taken; a domain without one, or a file of another label,
 * is an error.
 */
MUSTCHECK bool keys_open(struct keys *k, const struct worker *w, struct err *e);
void keys_free(struct keys *k); /* wipes */

/*
 * OWN: the policy must be signed by the root that the database pins, not be older than it says, be
 * valid now, the pipeline file as strong as its list, and the token keys those that it
 * lists. EXIT_PERMISSION otherwise.
 */
MUSTCHECK bool keys_admit(struct keys *k, const struct model *m, const struct own *o,
			  int64_t now_wall_us, struct err *e);

#endif
