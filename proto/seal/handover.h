/*
 * handover: a file for named recipients (SEALING "Hand-over to data science"), written and read as
 * a stream with bounded memory.
 *
 *   head    "WRH1" | suite u8 = 1 | 3 zero | kid 16 | commit 32 | created_ms u64 | policy hash 16
 *           | L(pipeline) | L(name of the hand-over) | L(format: "ndjson", "csv") | L(purpose)
 *           | u8 n | n wraps (envelope.h) of 97, n 1..64
 *   stream  secretstream header 24, then chunks: u32 length | crypto_secretstream_xchacha20poly1305
 *           of at most 64 KiB (length = plain + 17), associated data of every chunk =
 *           B2b-256(no key, "weir1.handover", head). The last chunk has TAG_FINAL and nothing
 *           follows; every other has TAG_MESSAGE and is full.
 *   keys    stream key = B2b-256(data key, "weir1.handover", ""); commit and kid as in seal.h
 *
 * Order of a reader's checks: head as far as it is there: MALFORMED, SUITE, kid not the
 * commitment's head COMMIT, ends early TRUNCATED; no wrap of this key RECIPIENT; COMMIT; per chunk:
 * ends early TRUNCATED; length beyond 17..65553 MALFORMED; AUTH; a chunk that is not full and not
 * the last, another tag: MALFORMED; bytes after the last MALFORMED. What was read before an error
 * is not to be used.
 */
#ifndef PROTO_SEAL_HANDOVER_H
#define PROTO_SEAL_HANDOVER_H

#include "model.h"
#include "seal/envelope.h"
#include "seal/keyfile.h"
#include "seal/policy.h"
#include "seal/seal.h"

enum {
	HANDOVER_CHUNK_BYTES = 64 * 1024,
	HANDOVER_RECIPIENTS_MAX = 64,
	HANDOVER_TEXT_MAX = 1024, /* purpose */
	HANDOVER_HEAD_MAX = 96 + 64 + 64 + 16 + HANDOVER_TEXT_MAX + 8 +
			    HANDOVER_RECIPIENTS_MAX * ENVELOPE_WRAP_BYTES,
};

struct handover_head {
	uint8_t kid[KID_BYTES];
	int64_t created_ms;
	uint8_t policy_hash[POLICY_HASH_BYTES];
	struct name pipeline, name;
	char format[16];
	char purpose[HANDOVER_TEXT_MAX + 1];
	unsigned recipients_n;
};

/* ---- writing ---- */

/* Where bytes go; false ends the writing with SEAL_SYSTEM and leaves the reason with its owner. */
struct handover_sink {
	bool (*put)(void *of, const void *p, size_t n);
	void *of;
};

struct handover_writer;

/* Sets kid and recipients_n of head. pks: recipients' public keys. LOWPOINT, SIZE, SYSTEM. */
MUSTCHECK enum seal_error handover_start(struct handover_head *head,
					 const uint8_t (*pks)[KEY_PUBLIC_BYTES], unsigned n,
					 struct handover_sink sink, struct handover_writer **out);
MUSTCHECK enum seal_error handover_write(struct handover_writer *w, const void *p, size_t n);
/* Writes the final chunk: without it a file is truncated to every reader. */
MUSTCHECK enum seal_error handover_finish(struct handover_writer *w);
void handover_writer_free(struct handover_writer *w);

/* ---- reading ---- */

/* Fills up to n bytes; *got 0: the end. False: SEAL_SYSTEM. */
struct handover_source {
	bool (*get)(void *of, void *p, size_t n, size_t *got);
	void *of;
};

struct handover_reader;

/* Reads the head. Nothing of it is authenticated before the first handover_read. */
MUSTCHECK enum seal_error handover_open(struct handover_source source, const struct key *recipient,
					struct handover_head *head, struct handover_reader **out);
/*
 * The next chunk, borrowed until the next call, wiped by it; *n 0: the whole file was read and is
 * complete. An error is final.
 */
MUSTCHECK enum seal_error handover_read(struct handover_reader *r, const uint8_t **p, size_t *n);
void handover_reader_free(struct handover_reader *r);

/* Head alone, without a key: for `inspect`. */
MUSTCHECK enum seal_error handover_inspect(struct handover_source source,
					   struct handover_head *head);

#endif
