/*
 * lookup: reads of stored state, one at a time, never waited for. The shard plans what to ask
 * (plan.c); this sends it, and asks again over a new connection when one was lost.
 */
#ifndef WORKERS_CORRELATE_LOOKUP_H
#define WORKERS_CORRELATE_LOOKUP_H

#include <poll.h>

#include "err.h"
#include "mono.h"
#include "entries.h"

enum {
	LOOKUP_KEYS_MAX = 1000,	 /* keys of one query */
	LOOKUP_ROWS_MAX = 1000,	 /* due processes of one answer */
	LOOKUP_PAGES = 1024,	 /* database pages of one chunk of known keys */
	LOOKUP_SLOTS = 8,	 /* segments of admin_schema.state */
	LOOKUP_CONNECT_MS = 800, /* the loop stands still for so long at most */
	LOOKUP_BACKOFF_MS = 100, /* first pause between attempts, doubled up to: */
	LOOKUP_BACKOFF_MS_MAX = 5000,
};

enum lookup_kind {
	LOOKUP_KEYS,   /* the newest state of each key: key, tombstone, body */
	LOOKUP_DUE,    /* keys with check_at in a span: key, kg, at */
	LOOKUP_KNOWN,  /* keys that lie in a stretch of a segment: key */
	LOOKUP_NEWEST, /* the state with the greatest check_at: tombstone, body */
};

struct lookup_query {
	enum lookup_kind kind;
	uint8_t keys[LOOKUP_KEYS_MAX][STATE_KEY_BYTES];
	unsigned keys_n;
	uint32_t kg_lo, kg_hi;
	int64_t from_us, to_us; /* DUE: after (from_us, from_key), up to to_us */
	uint8_t from_key[STATE_KEY_BYTES];
	unsigned slot; /* KNOWN */
	uint32_t page; /* KNOWN: the first of LOOKUP_PAGES */
};

struct lookup_row {
	const uint8_t *key;
	uint32_t kg;
	int64_t at_us;
	bool tombstone;
	const uint8_t *body;
	size_t body_len;
};

struct lookup_answer {
	const struct lookup_query *query;
	struct lookup_row *rows; /* borrowed until the call returns */
	unsigned n;
	bool last; /* KNOWN: the segment ends here; DUE: nothing more up to to_us */
};

struct lookup;

/* dsn: of the state login, copied. pipeline: its name. */
struct lookup *lookup_new(const char *dsn, const char *pipeline, const char *application);
void lookup_free(struct lookup *l);

/* True when a query can be taken; the query is copied. */
bool lookup_idle(const struct lookup *l);
void lookup_send(struct lookup *l, const struct lookup_query *q);

/*
 * Goes on with what is under way. LOOKUP_ANSWER: *a, borrowed until the next call. LOOKUP_BROKEN: a
 * failure that trying again does not mend (*e). *next: when to call again, besides when the
 * descriptor is ready.
 */
enum lookup_result { LOOKUP_NOTHING, LOOKUP_ANSWER, LOOKUP_BROKEN };
enum lookup_result lookup_poll(struct lookup *l, struct mono now, struct lookup_answer *a,
			       struct mono *next, struct err *e);

/* True while a query waits for a connection; *why is for people. */
bool lookup_waits(const struct lookup *l, const char **why);
uint64_t lookup_lost(const struct lookup *l); /* connections lost so far */

/* Fills at most one descriptor to wait for. */
unsigned lookup_watch(const struct lookup *l, struct pollfd *fds, unsigned max);

#endif
