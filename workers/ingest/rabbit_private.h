/*
 * rabbit_private: what rabbit.c (the driver), rabbit_connect.c (connecting, in a thread of its own)
 * and rabbit_inbox.c (deliveries from frames) share. amqp.h is included here alone; nobody else
 * includes this.
 */
#ifndef INGEST_RABBIT_PRIVATE_H
#define INGEST_RABBIT_PRIVATE_H

#include <amqp.h>

#include "source.h"

enum {
	RABBIT_CHANNEL = 1, /* the only one of each connection */
	PREFETCH_DEFAULT = 20000,
};

/* ---- connecting ---- */

struct connector;

struct connected {
	amqp_connection_state_t conn; /* logged in, channel open, prefetch set; now the caller's */
	uint32_t ready, consumers;    /* of the queue, at that moment */
};

enum connect_result { CONNECT_BUSY, CONNECT_DONE, CONNECT_FAILED };

/*
 * Reads the URL (EXIT_CONFIG when it is none) and starts the thread, which waits for
 * connector_want. event: an eventfd raised with each result; stays the caller's.
 *
 * URL: amqp[s]://USER:PASSWORD@HOST:PORT/VHOST?OPTIONS, parts percent-encoded; amqps options
 * cacertfile, certfile, keyfile, verify=verify_peer|verify_none, and for both heartbeat=SECONDS.
 * The certificate must name HOST; the library compares host names only, so HOST must not be an
 * address.
 */
MUSTCHECK bool connector_open(const struct source_setup *setup, int event, struct connector **out,
			      struct err *e);
void connector_want(struct connector *c); /* one attempt; not while one is under way */
/* why: SOURCE_TROUBLE_MAX bytes, filled on CONNECT_FAILED. */
enum connect_result connector_take(struct connector *c, struct connected *out, char *why);
const char *connector_place(const struct connector *c); /* "queue Q at HOST:PORT", for people */
void connector_close(struct connector *c); /* waits for an attempt under way, cut short */

/* ---- deliveries ---- */

struct delivery {
	struct delivery *next;
	uint64_t tag;
	bool redelivered, has_time, has_identity;
	int64_t time_us;
	uint64_t size;	     /* of the body as sent; bytes holds at most event_bytes_max of it */
	size_t identity_len; /* in front of the body in bytes */
	size_t body_len;
	char bytes[];
};

struct inbox {
	struct delivery *head, **tail; /* complete ones, in order of their tags */
	unsigned n;
	size_t bytes;
	uint64_t bytes_max;    /* of one body */
	struct delivery *part; /* header seen, body incomplete */
	uint64_t part_left;
	bool expects_header;
	uint64_t tag; /* last seen */
	bool redelivered;
	bool counted; /* the broker has answered how many messages are ready */
	uint32_t ready, consumers;
};

enum inbox_result { INBOX_FRAME, INBOX_EMPTY, INBOX_LOST };

void inbox_open(struct inbox *in, uint64_t bytes_max);
/*
 * Takes one frame, if there is one, without waiting. INBOX_LOST: why (SOURCE_TROUBLE_MAX) says it.
 */
enum inbox_result inbox_read(struct inbox *in, amqp_connection_state_t conn, char *why);
struct delivery *inbox_take(struct inbox *in); /* the oldest, now the caller's (free); NULL: none */
void inbox_clear(struct inbox *in);	       /* a new channel begins with tag 1 */

amqp_table_entry_t entry_true(const char *key); /* of an argument table */

/* Reads on, and forgets it, until the broker answers our close; at most so long. */
void close_wait(amqp_connection_state_t conn, int ms);

/* The code and text of a close method, appended as words for people. */
void close_words(const amqp_method_t *m, char *why, size_t n);

#endif
