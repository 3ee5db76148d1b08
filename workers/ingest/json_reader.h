/*
 * json_reader: one JSON event as a row of steps, in order and completely. The shim around simdjson
 * (json.cc, the only place that includes it): its public on-demand interface reads, we keep count.
 *
 * On-demand checks only what is asked for, so the reader asks for everything: every key and every
 * text is unescaped, every boolean and null read, every object and array walked to its end. One
 * thing it cannot give: a number without loss. Its getters yield 64 bits or a double and refuse
 * what fits neither (1e400), though it is valid JSON; a double has 16 digits, a decimal 38. So a
 * number is taken as its raw token, and number_good checks its grammar.
 *
 * What simdjson 3.0.1 refuses by itself: invalid UTF-8, unescaped control characters, unknown
 * escapes, lone surrogates, a broken structure. The reader adds \u0000, nesting deeper than
 * JSON_DEPTH_MAX and anything behind the object. No recursion, no exceptions, no allocation but for
 * an event longer than all before. One thread.
 */
#ifndef INGEST_JSON_READER_H
#define INGEST_JSON_READER_H

#include "json.h"

enum { JSON_PADDING = 64 }; /* bytes that simdjson may read behind an event */

enum json_step {
	JSON_STEP_KEY,	 /* the next member's key: text, len; raw: where it stands */
	JSON_STEP_VALUE, /* kind, raw, and of a scalar raw_len, text, len; others are open now */
	JSON_STEP_CLOSE, /* the object or array opened last ends; raw: the byte behind it */
	JSON_STEP_END,	 /* the event is complete */
	JSON_STEP_FAILED /* what, offset; the next call must be json_reader_begin */
};

struct json_token {
	enum json_kind kind;
	uint32_t len, raw_len;
	const char *text; /* unescaped; valid until the next json_reader_begin */
	const char *raw;  /* in the event, without the white space behind */
	const char *what; /* why it failed, for people */
	size_t offset;	  /* where it failed */
};

enum json_begin {
	JSON_BEGIN_GOOD, /* an object is open; the first step is its first key or its end */
	JSON_BEGIN_BAD,	 /* *what says why */
	JSON_BEGIN_NO_MEMORY
};

struct json_reader;

#ifdef __cplusplus
extern "C" {
#endif
struct json_reader *json_reader_new(void); /* NULL: no memory */
void json_reader_free(struct json_reader *r);

/* Behind data[n] stand JSON_PADDING bytes of 0. data is borrowed until the last step. */
enum json_begin json_reader_begin(struct json_reader *r, const char *data, size_t n,
				  const char **what);
enum json_step json_reader_next(struct json_reader *r, struct json_token *t);
#ifdef __cplusplus
}
#endif

#endif
