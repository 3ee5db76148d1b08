/*
 * keeper: signs and publishes the key envelopes of ingest, and hands it the secrets of subjects. It
 * holds the sealer key and a login that may call three functions; it sees no record, no data key
 * and no token key.
 *
 *   main   lifecycle, and what becomes of each failure
 *   queue  requests that wait, bounded
 *   judge  what is refused before the database is asked
 *   store  the three functions of the key schema
 */
#ifndef WORKERS_KEEPER_KEEPER_H
#define WORKERS_KEEPER_KEEPER_H

#include "pg.h"
#include "seal/envelope.h"
#include "seal/policy.h"
#include "skel.h"

enum {
	REQUESTS_MAX = 256, /* that wait; one more is refused, and asked again later */
	REQUESTS_BYTES_MAX = 4 * 1024 * 1024,
	RATE_MS = 60 * 1000,
	RATES_KEPT = 2048, /* twice what CLASSES_MAX classes need whose windows last a second */
};

/* ---- queue ---- */

struct request {
	unsigned from;	 /* ingest */
	bool counted;	 /* by the rate limit */
	struct buf item; /* as wire_keyreq_write writes it */
};

struct queue { /* a zeroed one is empty */
	struct request slots[REQUESTS_MAX];
	unsigned head, n;
	size_t bytes;
};

/* A copy. False: it is full. */
MUSTCHECK bool queue_add(struct queue *q, unsigned from, const struct keyreq *k);
struct request *queue_first(struct queue *q); /* NULL: empty */
void queue_drop(struct queue *q);	      /* the first */
void queue_clear(struct queue *q);

/* ---- judge ---- */

/*
 * Envelopes of one ingest within RATE_MS: ENVELOPES_PER_MINUTE_MAX, or, where windows are declared
 * so short, twice as many as they need.
 */
unsigned rate_limit(const struct model *m);

struct rate { /* of one ingest: when the last envelopes were asked for */
	struct mono at[RATES_KEPT];
	unsigned next;
};

/* Counts one more; false: there were `limit` within RATE_MS, and it is not counted. */
MUSTCHECK bool rate_take(struct rate *r, unsigned limit, struct mono now);

/*
 * Whether this envelope may be signed now (envelope_admit, and the policy's own validity). False:
 * why, at most REASON_MAX bytes, without values. core is what was decoded.
 */
MUSTCHECK bool judge_publish(const struct policy *p, const char *pipeline, const struct keyreq *k,
			     int64_t now_ms, struct core *core, char why[static REASON_MAX + 1]);

/* ---- store ---- */

struct facts { /* what the warehouse pins */
	uint8_t hash_key[HASH_KEY_BYTES];
	bool has_root;
	uint8_t root[POLICY_ROOT_BYTES];
	uint64_t serial;
};

MUSTCHECK bool store_facts(struct pg *pg, const char *pipeline, struct facts *out, struct err *e);

/* wraps as in k; signed is the whole core. The same bytes again: nothing happens. */
MUSTCHECK bool store_publish(struct pg *pg, const char *pipeline, const struct core *core,
			     const struct buf *signed_core, const struct keyreq *k, struct err *e);

/*
 * The secrets of k's sids, in their order: *n of them in out->data, SUBJECT_SECRET_BYTES each,
 * erased[i] where there is none any more. The caller wipes out.
 */
MUSTCHECK bool store_secrets(struct pg *pg, const char *pipeline, const struct keyreq *k,
			     struct buf *out, bool erased[static KEYREQ_SUBJECTS_MAX],
			     struct err *e);

/* ---- the worker ---- */

struct keeper {
	struct worker *w;
	char *dsn;
	struct key *sealer; /* NULL: nothing is sealed; only facts are told, for an exchange */
	struct buf policy_file;
	struct policy policy;		 /* empty until the warehouse has been asked for its root */
	uint8_t root[POLICY_ROOT_BYTES]; /* whose signature it has */
	struct pg *pg;
	bool met; /* login, policy and sealer were found good once */
	struct mono due;
	int retry_ms;
	struct queue queue;
	struct rate rates[INGESTS_MAX];
};

/*
 * The policy file against what the warehouse pins and the sealer key. EXIT_PERMISSION: another
 * root's, an older serial, another pipeline's, not valid now, or our sealer is not listed;
 * EXIT_CONFIG: the warehouse pins none.
 */
MUSTCHECK bool keeper_policy_check(struct keeper *k, const struct facts *facts, int64_t now_ms,
				   struct err *e);

/*
 * Answers the first request, if the database does. False: it is still there, *e says why
 * (EXIT_UNAVAILABLE: later; EXIT_PERMISSION: another policy is in force now).
 */
MUSTCHECK bool keeper_answer(struct keeper *k, struct mono now, int64_t now_ms,
			     void (*send)(struct keeper *k, unsigned to, const struct keyans *a),
			     struct err *e);

#endif
