/*
 * fold: the private half of process.h: how a process lies in memory and what one fold does with one
 * value. Included by process*.c, fold*.c and identities.c alone.
 *
 * A process is one block: struct process, one slot per fold (8-byte aligned, laid out once per
 * model), one flag byte per fold, the key's text. What does not fit into a slot (texts of more than
 * 8 bytes, items of sets and lists, identities) is allocated beside it and counted in process.heap.
 */
#ifndef WORKERS_LIB_FOLD_H
#define WORKERS_LIB_FOLD_H

#include "process.h"

enum {
	MALLOC_OVERHEAD = 16, /* what the allocator adds, on average; for process_bytes */
	TEXT_INLINE = 8,
	WIDE_LIMBS = 4,
	SUM_SCALE = DECIMAL_SCALE_MAX,
};

/* Place of an event in the total order (time, sequence, rid). A durable one keeps where it lies;
 * its rid is computed from that when a tie asks for it. */
struct origin {
	int64_t time_us; /* INT64_MIN: an event without time, before all others */
	int64_t sequence;
	union {
		uint8_t rid[RID_BYTES];
		struct {
			int64_t offset;
			uint32_t partition;
			uint32_t zero;
		} place;
	};
};

struct text_slot {
	uint32_t len;
	uint32_t cap; /* 0: the bytes are in in[]; else of the allocation out */
	union {
		char in[TEXT_INLINE];
		char *out;
	};
};

/* Two's complement, least significant limb first: 256 bits at scale SUM_SCALE. An event adds at
 * most 10^38 * 10^18 < 2^187, so 2^68 of them fit. */
struct wide {
	uint64_t limb[WIDE_LIMBS];
};

/* One element of a set (by hash) or a list (by origin). */
struct item {
	struct origin origin;
	uint64_t hash;
	struct value value; /* text and json: owned by the item */
	bool by_rid;
};

struct items {
	uint32_t n, cap;
	uint64_t over;	 /* set: 1 when an element was left out; list: how many were */
	struct item *at; /* set: by (hash, value); list: oldest first */
};

/* Flag byte of a fold. The scale of a decimal or of a sum stands in the upper five bits. */
enum {
	FLAG_SOME = 1 << 0,   /* something was folded */
	FLAG_BY_RID = 1 << 1, /* first, last: origin holds a rid, not a place */
	FLAG_TRUE = 1 << 3,   /* any, all: a true was folded */
	FLAG_FALSE = 1 << 4,
	FLAG_SCALE_SHIFT = 3,
};

struct identities; /* rids of the queue events folded */

struct process {
	uint64_t seen;
	int64_t first_at_us, last_at_us; /* INT64_MAX, INT64_MIN: no timed event */
	int64_t expired_at_us;	/* largest due time that a clock has passed; INT64_MIN: none */
	uint64_t heap;		/* bytes beside the block */
	struct identities *ids; /* NULL: none */
	uint32_t events, transitions;
	uint32_t key_at; /* offset of the key's text in the block */
	uint16_t key_len;
	uint8_t status;
	bool emitted;
};

struct fold_slot {
	const struct fold *fold;
	uint32_t at;	  /* offset of the slot in the block */
	uint32_t flag_at; /* offset of its flag byte */
	uint8_t op, in;	  /* enum fold_op, enum value_type */
};

/* What an event of one source does to one fold. */
struct fold_use {
	const struct fold_slot *slot;
	const struct expr *where;
	int field;
	bool alone; /* the only use of its slot by this source */
};

struct process_scratch {
	struct value inputs[EXPR_INPUTS_MAX];
	size_t json_at[EXPR_INPUTS_MAX];
	struct buf json, text;
	struct item **order;
	uint32_t order_cap;
	struct pack_reader reader;
	uint64_t overflows;
};

struct process_layout {
	const struct model *m;
	uint32_t bytes; /* of a block without its key */
	struct fold_slot slots[FOLDS_MAX];
	struct fold_use *uses[SOURCES_MAX];
	unsigned uses_n[SOURCES_MAX];
	uint64_t source_id[SOURCES_MAX]; /* hash of the label: how a state names a source */
	unsigned part_slots[EXPR_INPUTS_MAX], part_slots_n; /* inputs that `complete:` reads */
	struct process_scratch *scratch;
};

/* The event being folded; its rid is asked for only when it is needed. */
struct fold_event {
	const struct record *rec;
	int field; /* whose value is being folded; -1: none's */
	struct origin origin;
	bool by_rid;
	process_rid_of rid_of; /* NULL: the place stands for the rid */
	void *ctx;
};

void fold_event_start(struct fold_event *ev, const struct record *rec, process_rid_of rid_of,
		      void *ctx);
int origin_compare(const struct fold_event *ev, const struct origin *a, bool a_by_rid,
		   const struct origin *b, bool b_by_rid);

static inline uint8_t *
fold_flags(const struct fold_slot *s, struct process *p)
{
	return (uint8_t *)p + s->flag_at;
}

static inline uint8_t
fold_flags_of(const struct fold_slot *s, const struct process *p)
{
	return ((const uint8_t *)p)[s->flag_at];
}

static inline void *
fold_at(const struct fold_slot *s, struct process *p)
{
	return (uint8_t *)p + s->at;
}

static inline const void *
fold_at_of(const struct fold_slot *s, const struct process *p)
{
	return (const uint8_t *)p + s->at;
}

/* Kept as bytes of any length: text, json, and sealed values in their carried form (wire.h). */
static inline bool
is_bytes(enum value_type t)
{
	return t == VALUE_TEXT || t == VALUE_JSON || t == VALUE_SEALED;
}

/* Bytes of a fold's slot, a multiple of 8. */
uint32_t fold_slot_bytes(const struct fold *f);

/* Folds one value, not null, already of the fold's input type. */
void fold_apply(const struct process_layout *l, const struct fold_slot *s, struct process *p,
		const struct value *v, const struct fold_event *ev);

/* first, last, min, max: sets or reads what is kept; the flag byte must be FLAG_SOME for a read. */
void fold_keep(const struct fold_slot *s, struct process *p, const struct value *v);
struct value fold_kept(const struct fold_slot *s, const struct process *p);

/* The value of a fold. A set or list is appended to scratch.json, *out then has no text yet: see
 * inputs. */
void fold_value(const struct process_layout *l, const struct fold_slot *s, const struct process *p,
		struct expr_run_state *st, struct value *out);
void fold_free(const struct fold_slot *s, struct process *p);

/* By how much process.heap could grow, at most, when this value is folded. */
size_t fold_growth(const struct fold_use *u, const struct process *p, const struct value *v);

/* A value as the fold's input type takes it (an integer widens); false: it cannot. */
bool fold_coerce(enum value_type in, const struct value *v, struct value *out);

/* fold_sum.c */
void wide_add(struct wide *w, const struct value *v); /* integer or decimal */
bool wide_value(const struct wide *w, unsigned scale,
		struct value *out);				   /* false: over 38 digits */
unsigned wide_bytes(const struct wide *w, uint8_t out[static 32]); /* shortest big-endian; count */
bool wide_from_bytes(struct wide *w, const uint8_t *p, size_t n);

/* fold_items.c */
void set_add(const struct process_layout *l, const struct fold_slot *s, struct process *p,
	     const struct value *v);
void list_add(const struct process_layout *l, const struct fold_slot *s, struct process *p,
	      const struct value *v, const struct fold_event *ev);
size_t items_growth(const struct fold_use *u, const struct process *p, const struct value *v);
void items_free(struct items *x);
/* Appends an item as it was encoded; false when it breaks the order or the limit. */
bool items_append(const struct process_layout *l, const struct fold_slot *s, struct process *p,
		  const struct origin *o, bool by_rid, const struct value *v);
void items_json(const struct process_layout *l, const struct fold_slot *s, const struct process *p,
		struct buf *out);

/* identities.c */
bool identities_have(const struct identities *x, const uint8_t rid[static RID_BYTES]);
/* *x may be NULL; adds to *heap what it allocates. The rid is not there yet. */
void identities_add(struct identities **x, const uint8_t rid[static RID_BYTES], uint64_t *heap);
size_t identities_growth(const struct identities *x);		     /* by one more, at most */
uint32_t identities_count(const struct identities *x);		     /* NULL: 0 */
void identities_sorted(const struct identities *x, struct buf *out); /* appended, 16 bytes each */
void identities_free(struct identities *x);

#endif
