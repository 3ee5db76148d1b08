/*
 * record_seal: the one place where values are sealed, between decoding and the lane's buffer. A
 * field with a class leaves as VALUE_SEALED, whatever it held; nothing else of it leaves but its
 * token. Nothing is allocated per field, once the buffers have grown.
 *
 * Not wiped event by event, since it would cost more than sealing: the decoder's buffers (the
 * event's JSON, unescaped texts), which the next event overwrites. Canonical forms are.
 */
#ifndef INGEST_RECORD_SEAL_H
#define INGEST_RECORD_SEAL_H

#include "metric.h"
#include "seal/token.h"
#include "source.h"
#include "window.h"

struct record_sealer;

/* All are borrowed. tokens, and persons, which sids are made with: by the model's domains. */
struct record_seal_setup {
	const struct model *model;
	struct token_key *const *tokens, *const *persons;
	struct windows *windows;
	struct metric_page *page;
};

MUSTCHECK bool record_sealer_new(const struct record_seal_setup *setup, struct record_sealer **out,
				 struct err *e);
void record_sealer_free(struct record_sealer *s); /* NULL is fine */

/* The person of a record of this source; false: none, or not in the subject's canonical form. */
bool record_sid(const struct record_sealer *s, unsigned source, const struct value *subject,
		uint8_t sid[static SUBJECT_ID_BYTES]);

/* Whether records of the source need their rid: something in them is sealed. */
bool record_seals(const struct record_sealer *s, unsigned source);

/*
 * Makes the tokens, then seals the fields of *r, in place; what they become is borrowed until the
 * next call. Windows must be usable. who: the person the values are bound to, NULL for none; its
 * secret NULL: erased. False: a value is too large, reason (REASON_MAX + 1) names the field.
 */
MUSTCHECK bool record_seal(struct record_sealer *s, struct record *r,
			   const uint8_t rid[static RID_BYTES], const struct seal_subject *who,
			   char *reason);

/*
 * The body of a dead letter: its event, sealed to the class dead_letter. One that was not read
 * whole, or is larger than can be sealed, is not kept, and reason says so.
 */
void record_seal_dead(struct record_sealer *s, struct record *r, const struct source_event *ev,
		      const uint8_t rid[static RID_BYTES], const struct seal_subject *who,
		      char *reason);

#endif
