/*
 * seal: sealed fields (SEALING "Bytes", "Opening order"). A data key seals the values of one
 * (ingest worker, class, window), about a microsecond each, without allocating. The same key opens
 * them.
 *
 *   payload  0 1 version = 1 | 1 1 suite = 1 | 2 1 flags: bit 0 subject-bound | 3 1 padexp 0, 4..12
 *            4 16 kid | 20 24 nonce | 44 n+16 ciphertext and tag
 *   erased   exactly 01 01 02 00: flags bit 1 stands alone and nothing follows
 *   inside   the value as MessagePack, then sodium_pad to a multiple of 2^padexp (0x80, zeros; a
 *            whole block when it fits exactly); padexp 0: no padding at all
 *   AAD      payload[0..20) || L(pipeline) || L(source label) || L(field path)
 *            || rid[16] || sid[16]; sid zeros when not subject-bound
 *   keys     fk = B2b-256(data key, "weir1.field", sid || s), both zeros when not subject-bound
 *            nk = B2b-256(data key, "weir1.nonce", "")
 *            commit = B2b-256(data key, "weir1.commit", ""), kid = commit[0..16)
 *   nonce    B2b-192(nk, "weir1.nonce", random[16] || AAD || padded plaintext)
 *   cipher   XChaCha20-Poly1305-IETF(key fk, nonce, AAD)
 *
 * Values inside, as pack_value() of pack.h writes them: nil, bool, integer (any of MessagePack's
 * integers within int64), float64, str, and
 *   decimal    ext 1: scale u8 (0..18), then the units, 1 to 16 bytes big-endian two's complement
 *   date       ext 2: days since 1970-01-01, 8 bytes big-endian two's complement
 *   timestamp  ext 3: microseconds since 1970-01-01T00:00:00Z, 8 bytes likewise
 *   json       ext 4: the text as UTF-8
 *   raw bytes  bin: a dead letter's event, which need not be UTF-8
 * str and json are valid UTF-8 without NUL. Anything else (float32, NaN, arrays, maps, other ext,
 * trailing bytes) is SEAL_VALUE.
 *
 * Order of a reader's checks, which decides the error class: fewer than 4 bytes MALFORMED; VERSION;
 * SUITE; flags: not 0, 1, 2: FLAGS; padexp PADDING; flags 2: padexp not 0 PADDING, other length
 * than 4 MALFORMED, else ERASED; fewer than 61 bytes MALFORMED; more than SEALED_PAYLOAD_MAX SIZE;
 * other kid KEY; bound but no subject secret ERASED; AUTH; PADDING; VALUE.
 */
#ifndef PROTO_SEAL_SEAL_H
#define PROTO_SEAL_SEAL_H

#include "buf.h"
#include "seal/error.h"
#include "value.h"

enum {
	SEALED_VERSION = 1,
	SEALED_SUITE = 1,
	SEALED_BOUND = 1 << 0,
	SEALED_ERASED = 1 << 1,
	SEALED_ERASED_BYTES = 4,
	SEALED_PREFIX_BYTES = 20, /* what the AAD takes of the payload */
	SEALED_HEAD_BYTES = 44,
	SEALED_TAG_BYTES = 16,
	SEALED_PADEXP_MIN = 4, /* and 0: none */
	SEALED_PADEXP_MAX = 12,
	SEALED_NAME_MAX = 255,		     /* pipeline, source label, field path: bytes each */
	SEALED_PAYLOAD_MAX = TEXT_BYTES_MAX, /* 1 MiB, all in all */
	KID_BYTES = 16,
	SID_BYTES = 16,
	COMMIT_BYTES = 32,
};

/* Where random bytes come from. Tests inject a stuck one; the nonce must survive it. */
struct seal_random {
	void (*fill)(void *of, void *out, size_t n);
	void *of;
};

/* ---- the data key ---- */
struct data_key; /* in the arena; made once per window, not once per record */

/* A fresh one. random NULL: the system's, taken in blocks. SYSTEM: no locked memory is left. */
MUSTCHECK enum seal_error data_key_new(const struct seal_random *random, struct data_key **out);
void data_key_free(struct data_key *k);			  /* wipes; NULL is fine */
const uint8_t *data_key_kid(const struct data_key *k);	  /* KID_BYTES */
const uint8_t *data_key_commit(const struct data_key *k); /* COMMIT_BYTES */

/* ---- where a value stands ---- */

/*
 * The part of the AAD that is equal for all records of a (source, field), and the field's padding.
 * Made once, usable with every key; written to while sealing or opening, so one thread at a time.
 * A plain struct without pointers: embed it.
 */
struct seal_place {
	uint16_t aad_bytes; /* up to where the rid goes */
	uint8_t padexp;	    /* for sealing; opening takes the payload's */
	uint8_t aad[SEALED_PREFIX_BYTES + 3 * (2 + SEALED_NAME_MAX) + RID_BYTES + SID_BYTES];
};

/*
 * source is the label (name@cluster#generation), field the dotted path of the event (struct
 * field.path; "$event" for a dead letter's event, "$unknown" for undeclared fields). SEAL_SIZE: a
 * name longer than SEALED_NAME_MAX. SEAL_PADDING: padexp is neither 0 nor 4..12.
 */
MUSTCHECK enum seal_error seal_place_set(struct seal_place *at, const char *pipeline,
					 const char *source, size_t source_len, const char *field,
					 size_t field_len, unsigned padexp);

/* padexp when nothing is declared: 4 for numbers, times and booleans, 8 for json, 5 for text. */
unsigned seal_padexp_default(enum value_type t);

/* The person that a value is bound to. Consecutive values of one person share the key's work. */
struct seal_subject {
	const uint8_t *sid;    /* SID_BYTES */
	const uint8_t *secret; /* 32 bytes; NULL: erased. Readers alone may pass NULL */
};

/* ---- sealing ---- */

/*
 * Appends the payload (not the ext head around it) to out. who NULL: not subject-bound. Null and
 * empty values are sealed too. SEAL_SIZE: the
 * payload would pass SEALED_PAYLOAD_MAX. The plaintext is wiped from the
 * scratch memory used. A VALUE_SEALED is a bug.
 */
MUSTCHECK enum seal_error seal_value(struct data_key *k, struct seal_place *at,
				     const uint8_t rid[static RID_BYTES],
				     const struct seal_subject *who, const struct value *v,
				     struct buf *out);
/* The same for raw bytes. */
MUSTCHECK enum seal_error seal_raw(struct data_key *k, struct seal_place *at,
				   const uint8_t rid[static RID_BYTES],
				   const struct seal_subject *who, const void *p, size_t n,
				   struct buf *out);
/* What a sensitive value of an erased person becomes; the caller counts it. */
void seal_erased(struct buf *out);

/* ---- opening ---- */

struct sealed_head {
	uint8_t flags, padexp;
	bool erased, bound;
	uint8_t kid[KID_BYTES]; /* zeros when erased */
};

/* Reads and checks the header alone: for `inspect`, and to collect kids. Erased is SEAL_OK here. */
MUSTCHECK enum seal_error sealed_head_read(const void *p, size_t n, struct sealed_head *h);

/*
 * Opens a payload. plain is cleared and gets the MessagePack of one value; the caller wipes it
 * (secret_wipe) when its content has been handed on. at->padexp is not looked at. A payload that is
 * not bound ignores who.
 */
MUSTCHECK enum seal_error seal_open(struct data_key *k, struct seal_place *at,
				    const uint8_t rid[static RID_BYTES],
				    const struct seal_subject *who, const void *p, size_t n,
				    struct buf *plain);

/*
 * The value in the bytes that seal_open gave, borrowed from them. *raw: it was bin; then *v is a
 * text whose bytes need not be UTF-8.
 */
MUSTCHECK enum seal_error seal_plain_value(const struct buf *plain, struct value *v, bool *raw);

/* libsodium is started by whichever of these is called first; keyhash_init does it as well. */

#endif
