/*
 * decode: from an event's bytes to a record's typed fields, or to a reason why it is a dead letter.
 * A reason names the field and what is wrong, never the value.
 *
 * Rules where JSON and the pipeline file's types meet:
 *  - text takes a JSON string, nothing else. A correlation ID declared as text must be a string,
 * one declared as integer must be a number; both are then compared as canonical text.
 *  - integer takes a number that is whole (5, 5.0 and 5e0 are the same), 64 bits with sign.
 *  - decimal takes a number, exact to the digit (value.h). float: a number that a double can hold.
 *  - date and timestamp as value.h says; a timestamp of form rfc3339 is a string, unix_* a number.
 *  - json takes anything and keeps it as it stands.
 *  - null and a missing field are the same: no value.
 *  - fields that are not declared are counted, refused, or kept together as one json object.
 */
#ifndef INGEST_DECODE_H
#define INGEST_DECODE_H

#include "model.h"
#include "source.h"
#include "wire.h"

struct decoder;

/* The model must outlive it; free with decoder_free. */
MUSTCHECK bool decoder_new(const struct model *m, struct decoder **out, struct err *e);
void decoder_free(struct decoder *d);

struct decoded {
	/* kind, source, key, time, sequence and fields are set here; the rest is the caller's */
	struct record record;
	const char *identity; /* of a queue event, where its source declares a path; else NULL */
	size_t identity_len;
	unsigned undeclared;	     /* fields that the pipeline does not declare */
	char reason[REASON_MAX + 1]; /* when it could not be decoded */
};

/*
 * Decodes one event. now_wall_us bounds event time (time_ahead_max). False: out->reason says why,
 * the record is not to be used. Everything in *out is borrowed until the next call.
 */
bool decoder_event(struct decoder *d, unsigned source, const struct source_event *ev,
		   int64_t now_wall_us, struct decoded *out);

/*
 * The subject of an event that decoder_event has just refused, looked for anew and by itself: it is
 * found unless the event is no JSON, too large, or has keys twice at the top or on its path. What
 * decoder_event gave is gone; borrowed until the next call. The source has a subject.
 */
MUSTCHECK bool decoder_subject(struct decoder *d, unsigned source, const struct source_event *ev,
			       struct value *out);

/* Overflows, divisions by zero and failed casts of derived fields so far. */
uint64_t decoder_nulled(const struct decoder *d);

#endif
