/*
 * envelope: a data key for its recipients (SEALING "Key envelope", "Order of publication").
 *
 *   core  "WRE1" | suite u8 = 1 | 3 zero | kid 16 | commit 32 | not_before_ms u64
 *         | not_after_ms u64 | sealer id 16 = B2b-128(sealer pk) | policy hash 16
 *         | L(pipeline) L(class) | Ed25519 signature 64 over "WRE1-core\0" || all before
 *   wrap  suite u8 = 1 | rkid 16 = B2b-128(recipient pk) | crypto_box_seal(data key, pk) 80: 97
 *   whole (ext 0x4B, heads of lake objects)  u16 core length | core | u8 n | n wraps, n 1..64
 *
 * ingest makes a core without sealer and signature (core_encode) and the wraps of the class' roles
 * and of escrow; the keeper judges them (envelope_admit), signs (core_sign) and publishes. A reader
 * verifies (core_verify) and opens a wrap.
 *
 * Order of checks: core: length, magic MALFORMED; SUITE; zero bytes, names, exact length MALFORMED;
 * kid not the commitment's head COMMIT; not_before > not_after VALIDITY. core_verify: SEALER,
 * SIGNATURE, then another pipeline or unknown class POLICY. wrap_open: length MALFORMED; SUITE;
 * rkid not this key's, or the box does not open: RECIPIENT; COMMIT.
 */
#ifndef PROTO_SEAL_ENVELOPE_H
#define PROTO_SEAL_ENVELOPE_H

#include "model.h"
#include "seal/keyfile.h"
#include "seal/policy.h"
#include "seal/seal.h"

enum {
	ENVELOPE_WRAP_BYTES = 97,
	ENVELOPE_WRAPS_MAX = 64,
	ENVELOPE_CORE_MAX = 512,
	ENVELOPE_WINDOW_MS_MAX = 16 * 60 * 1000, /* 15 minutes and one of skew */
	ENVELOPE_SKEW_MS_MAX = 60 * 1000,
	ENVELOPES_PER_MINUTE_MAX = 60, /* of one ingest; the keeper counts */
};

struct core {
	uint8_t kid[KID_BYTES];
	uint8_t commit[COMMIT_BYTES];
	int64_t not_before_ms, not_after_ms; /* since 1970, wall clock */
	uint8_t sealer[KEY_ID_BYTES];	     /* zeros until signed */
	uint8_t policy_hash[POLICY_HASH_BYTES];
	struct name pipeline, class;
};

/* kid, commit, times and names of a window; sealer zeros. */
void core_fill(struct core *c, const struct data_key *k, const struct policy *p, const char *class,
	       int64_t not_before_ms, int64_t not_after_ms);

/* Appends the core without its signature; twin of core_decode with signed false. */
void core_encode(const struct core *c, struct buf *out);
MUSTCHECK enum seal_error core_decode(const void *p, size_t n, bool is_signed, struct core *out);

/* Puts the sealer's id in and appends core and signature. */
void core_sign(struct core *c, const struct key *sealer, struct buf *out);

/* A signed core: decoded; sealer listed in the policy, signature, its pipeline and class. */
MUSTCHECK enum seal_error core_verify(const void *p, size_t n, const struct policy *policy,
				      struct core *out);

/* One wrap. SEAL_LOWPOINT: pk makes no secret. */
MUSTCHECK enum seal_error wrap_make(const struct data_key *k,
				    const uint8_t pk[static KEY_PUBLIC_BYTES],
				    uint8_t out[static ENVELOPE_WRAP_BYTES]);
/* recipient: a role, escrow or member key. The caller frees *out. */
MUSTCHECK enum seal_error wrap_open(const void *p, size_t n, const struct key *recipient,
				    const uint8_t commit[static COMMIT_BYTES],
				    struct data_key **out);
/* Whom a wrap is for, without opening it. */
MUSTCHECK enum seal_error wrap_recipient(const void *p, size_t n,
					 uint8_t rkid[static KEY_ID_BYTES]);

/*
 * The wraps of a class for ingest: one per role of the class in the policy's order, escrow last.
 * Appends n * ENVELOPE_WRAP_BYTES to out. SEAL_POLICY: no such class.
 */
MUSTCHECK enum seal_error envelope_wrap_all(const struct data_key *k, const struct policy *p,
					    const char *class, struct buf *out, unsigned *n);

/*
 * The keeper's judgement of what ingest asks to have signed: unsigned core of this policy's hash
 * and pipeline, a class of it, window at most ENVELOPE_WINDOW_MS_MAX, not_before within
 * ENVELOPE_SKEW_MS_MAX of now, wraps for exactly the class' roles and escrow. Whether they hold the
 * right key, nobody without a secret can tell: readers do, by the commitment.
 * POLICY, VALIDITY, RECIPIENT, or core_decode's and wrap's own errors.
 */
MUSTCHECK enum seal_error envelope_admit(const void *core, size_t core_len,
					 const uint8_t *const wraps[], unsigned wraps_n,
					 const struct policy *p, int64_t now_ms, struct core *out);

/* The whole, as lake objects carry it. Views borrow from the bytes. */
struct envelope {
	const uint8_t *core;
	size_t core_len;
	const uint8_t *wraps; /* n * ENVELOPE_WRAP_BYTES */
	unsigned n;
};
void envelope_encode(const struct envelope *e, struct buf *out);
MUSTCHECK enum seal_error envelope_decode(const void *p, size_t n, struct envelope *out);

/* The wrap of this recipient among n; SEAL_RECIPIENT: none. */
MUSTCHECK enum seal_error envelope_find(const struct envelope *e, const struct key *recipient,
					const uint8_t **wrap);

#endif
