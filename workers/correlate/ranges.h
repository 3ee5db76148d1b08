/*
 * ranges: the key groups that this shard owns, the partitions it hears of, and how far each range
 * has read each partition. A record below its range's position was applied before.
 *
 * With an exchange covers speak of its partitions, each of which is one key group and moves the
 * position of that group's range alone; the partitions of sources move by the records themselves,
 * by ranges_mark, since those of one group come in the order of their offsets.
 */
#ifndef WORKERS_CORRELATE_RANGES_H
#define WORKERS_CORRELATE_RANGES_H

#include "wire.h"

enum {
	PARTITION_ID_MAX = 1 << 24, /* ids are dense, given from 1 */
	RANGE_NONE = UINT16_MAX,
};

struct place {
	struct partition is; /* label owned */
	uint32_t number;     /* from 0, in order of coming: the clock's number too */
	bool dead_letters;   /* its events are dead letters, sent again */
	bool heard;	     /* a cover of this generation has come, up to frontier */
	int64_t frontier;
	int64_t highest; /* largest offset of a record applied; -1: none */
	bool moved;	 /* since the last END */
	int64_t *next;	 /* one a range; 0: nothing read */
	bool *marked;	 /* with an exchange: one a range; next moved since the last END */
};

struct key_range {
	uint32_t kg_lo, kg_hi;
};

struct ranges {
	struct key_range *list;
	uint32_t n;
	uint16_t of[GROUPS_MAX]; /* range of a key group, RANGE_NONE */
	int exchange;		 /* index of its source; -1: there is none */
	struct place **places;
	uint32_t places_n, places_cap;
	struct place **by_id;
	uint32_t by_id_n;
};

void ranges_init(struct ranges *r, int exchange);
void ranges_free(struct ranges *r);

/* What load took over, once; partitions are added to those that are known before. */
MUSTCHECK bool ranges_own(struct ranges *r, const struct own *o, struct err *e);

/* A new partition, or one that is known already (*added false). */
MUSTCHECK bool ranges_add(struct ranges *r, const struct partition *p, struct place **out,
			  bool *added, struct err *e);

/* NULL: unknown. */
static inline struct place *
ranges_place(const struct ranges *r, uint32_t id)
{
	return id < r->by_id_n ? r->by_id[id] : NULL;
}

/* Everything below `to` is in: positions rise. A gap between positions and cover is a breach. */
MUSTCHECK bool ranges_cover(struct ranges *r, struct place *p, const struct cover *c, bool *moved,
			    struct err *e);

/* With an exchange: a record of this partition was applied in that range, or needs no applying. */
void ranges_mark(struct ranges *r, struct place *p, uint16_t range, int64_t offset);

static inline bool
ranges_exchange(const struct ranges *r)
{
	return r->exchange >= 0;
}

/* Of the exchange, and its key group is ours. */
static inline bool
ranges_relayed(const struct ranges *r, const struct place *p)
{
	return p->is.source == r->exchange && p->is.number < GROUPS_MAX &&
	       r->of[p->is.number] != RANGE_NONE;
}

/* The positions for END, those that moved since the last one; end_free gives them back. */
void ranges_end(struct ranges *r, struct end *out);

#endif
