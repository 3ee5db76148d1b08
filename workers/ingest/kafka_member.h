/*
 * kafka_member: our place in a consumer group, which divides the partitions of one topic among
 * replicas. Nothing is fetched through it: whoever asks reads what it was given by a driver of its
 * own, from positions that are not the group's. Static membership: who comes back under the same
 * name within the session's time gets what it had, without disturbing the others.
 *
 * What was given is given once: when the group divides anew, this membership is over, and its owner
 * ends and joins again (the generation ends).
 */
#ifndef INGEST_KAFKA_MEMBER_H
#define INGEST_KAFKA_MEMBER_H

#include "source.h"

enum {
	MEMBER_SESSION_MS = 10000, /* a host not heard of for so long is lost */
	MEMBER_NAME_MAX = 200,	   /* bytes of group and of the name in it */
};

struct member_setup {
	const struct source_setup *source; /* brokers, topic, properties, secrets; during open */
	const char *group;
	const char *name; /* in the group: the same in every life, and nobody else's */
};

enum member_state {
	MEMBER_JOINING,
	MEMBER_OWNS,  /* member_owned tells what; perhaps nothing */
	MEMBER_LOST,  /* the group divides anew */
	MEMBER_FENCED /* somebody else joined under our name */
};

struct member;

/* Begins to join, does not wait for it. */
MUSTCHECK bool member_open(const struct member_setup *setup, struct member **out, struct err *e);
void member_close(struct member *m); /* NULL is fine; stays a member until the session ends */

/*
 * Before close, at an end in order: the group learns of it at once and gives what we had to others,
 * where it would else wait for the session to end. Of several, all are to be told before the first
 * is closed: close then waits at most a second from here on. NULL is fine.
 */
void member_leave(struct member *m);

/* Does what is due, never waits; at least every second. */
enum member_state member_poll(struct member *m, struct mono now);

/* Partition numbers, ascending; borrowed until close. */
const uint32_t *member_owned(const struct member *m, unsigned *n);

/* Everything below next is durable: told to the group about once a second, for lag tools. */
void member_committed(struct member *m, uint32_t partition, int64_t next);

/* Up to where the group has confirmed it; -1: nothing yet. */
int64_t member_confirmed(const struct member *m, uint32_t partition);

struct member_starts {
	int64_t *next; /* by partition number: the group's offset, -1: none; owned */
	unsigned n;
	bool any; /* the group has one of some partition */
};

/*
 * Where the group has read to, of all partitions of the topic. Waits for the broker, at most
 * SOURCE_BLOCK_MS_MAX; false: ask again later.
 */
MUSTCHECK bool member_starts(struct member *m, struct member_starts *out);
void member_starts_free(struct member_starts *s);

const char *member_trouble(struct member *m); /* why it is not joined, for people; NULL */
int member_fd(const struct member *m);	      /* readable when poll has something to do */

#endif
