/*
 * opened: the rows of one query, their sealed values opened, as NDJSON or CSV. A carried value
 * (wire.h) in a bytea column is opened wherever it stands; all else is printed as the database has
 * it. The query runs in a READ ONLY transaction behind a cursor; keys are asked for once a batch.
 *
 * NDJSON: numbers, booleans, null and json as they are, everything else as a string; a time as
 * 2011-10-01T00:38:44.546Z; bytes that are no text as "\\x00ff". A value that does not open is
 * {"$sealed":"erased"}, with the name of a seal_error; auth also when it was moved whole from
 * another row or field, as far as origin.h notices. CSV: a head line, RFC 4180 quoting, null is
 * empty, a value that does not open is <erased>. No other value reads so: a text like <erased>
 * gets a backslash in front, \<erased> one more; a json object whose first name is $sealed gets
 * $$sealed, and so on. EXIT_PERMISSION: also a query that would write.
 */
#ifndef WORKERS_LIB_OPENED_H
#define WORKERS_LIB_OPENED_H

#include "model.h"
#include "release.h"

enum opened_format { OPENED_NDJSON, OPENED_CSV, OPENED_JSON }; /* JSON: one array of the rows */

enum { OPENED_ROWS_MAX = 10000, OPENED_BYTES_WANTED = 8 << 20 };

struct opened_setup {
	struct pg *pg; /* of the reader, outside of a transaction; another than the release's */
	struct release *release;
	const struct model *model;   /* where values belong: origin.h */
	const struct policy *policy; /* likewise */
	const char *query;	     /* one statement */
	enum opened_format format;
	const struct name_list *columns; /* NULL or empty: any; else no other may come */
	/* Where bytes go, a batch at a time; they are wiped after it. */
	bool (*put)(void *of, const void *p, size_t n, struct err *e);
	void *of;
};

struct opened_counts {
	uint64_t rows, opened, erased, failed; /* values, but rows */
	uint64_t by_error[SEAL_ERROR_MAX];
};

/* EXIT_PERMISSION: a column that is not listed, or the database refuses the login. */
MUSTCHECK bool opened_run(const struct opened_setup *s, struct opened_counts *counts,
			  struct err *e);

/* "2 erased, 1 recipient": what did not open, appended; nothing when all did. */
void opened_words(const struct opened_counts *c, struct buf *out);

/* One opened value as JSON, as above; appended. */
void opened_json(const struct value *v, bool raw, struct buf *out);

#endif
