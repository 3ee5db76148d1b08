/*
 * json: reads one JSON event and hands out what stands at the declared paths. simdjson parses
 * (json_reader.h says how, and why numbers are taken as raw tokens); json_path.c keeps what is
 * declared and looks for keys that stand twice. Everything is visited, so that nothing passes
 * unchecked, declared or not.
 *
 * Refused, each with a reason for people: anything that is not exactly one object, invalid UTF-8,
 * unescaped control characters, unknown escapes, lone surrogates, \u0000 (the warehouse cannot
 * store it), nesting deeper than JSON_DEPTH_MAX, a key that stands twice in the top object or in an
 * object on a declared path, something else than an object where a declared path goes on. A byte
 * order mark before the object is ignored (RFC 8259, 8.1). Digits of numbers are kept as they
 * stand. One thread; input of any length and content is safe.
 */
#ifndef INGEST_JSON_H
#define INGEST_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum {
	JSON_DEPTH_MAX = 64,
	JSON_UNDECLARED_MAX = 4096, /* undeclared keys beside declared ones, per event */
	JSON_PATHS_MAX = 256,
};

enum json_kind {
	JSON_ABSENT,
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_OBJECT,
	JSON_ARRAY
};

struct json_item {
	enum json_kind kind;
	uint32_t len, raw_len;
	const char *at;	 /* JSON_STRING: unescaped, valid UTF-8 without NUL; else as raw */
	const char *raw; /* the value as it stands in the event, quotes included */
};

struct json; /* buffers, one per worker */
struct json *json_new(void);
void json_free(struct json *j);

struct json_table; /* declared paths of one source; remembers the order of keys as a guess */

/*
 * Paths are dotted ("customer.address.city"); the same path may stand twice. An empty component or
 * more than JSON_PATHS_MAX paths fail. The caller frees with json_table_free.
 */
MUSTCHECK bool json_table_new(const char *const *paths, unsigned n, struct json_table **out,
			      struct err *e);
void json_table_free(struct json_table *t);

/*
 * data is copied and needs no padding. Items point into j's buffers, until its next json_parse. On
 * failure e->text says why and *bad_path which path's value was at fault, -1 for none. *undeclared:
 * keys dropped.
 */
MUSTCHECK bool json_parse(struct json *j, struct json_table *t, const char *data, size_t n,
			  unsigned *undeclared, int *bad_path, struct err *e);

/*
 * From now on undeclared members are appended to *out, as one object with their values as they
 * stand; those of an object on a declared path stand in that object. Nothing is appended when there
 * are none; after a failed parse it is a fragment. NULL: no longer.
 */
struct buf;
void json_collect(struct json *j, struct buf *out);

/* What stands at path i after a successful parse; borrowed. */
const struct json_item *json_item(const struct json_table *t, unsigned i);

/* "a number", "text", ...: for reasons. */
const char *json_kind_words(enum json_kind k);

#endif
