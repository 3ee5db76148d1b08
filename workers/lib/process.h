/*
 * process: the state of one process: its folds, what it has seen, its status. Pure: no I/O, no
 * clock of its own. Used by correlate (folding) and by `weir explain` (reading a stored state).
 *
 * A process is one allocation with fixed slots laid out once per model, plus what its texts, sets,
 * lists and identities need. process_bytes() counts all of it.
 *
 * Folding is independent of order: any interleaving of the same events gives the same values,
 * counts, status, and the same encoded bytes except where the header says volatile.
 */
#ifndef WORKERS_LIB_PROCESS_H
#define WORKERS_LIB_PROCESS_H

#include "model.h"
#include "wire.h"

struct process;

enum process_status { PROCESS_OPEN, PROCESS_COMPLETE, PROCESS_EXPIRED, PROCESS_STATUS_MAX };
const char *process_status_name(enum process_status s);

struct process_layout; /* slots of a model; one per worker */
struct process_layout *process_layout_new(const struct model *m); /* m must outlive it */
void process_layout_free(struct process_layout *l);

struct process *process_new(const struct process_layout *l, const char *key, size_t key_len);
void process_free(const struct process_layout *l, struct process *p); /* NULL is fine */
size_t process_bytes(const struct process_layout *l, const struct process *p);
size_t process_bytes_beside(const struct process *p); /* of these, beside its fixed slots */
const char *process_key(const struct process *p, size_t *len);

/*
 * Of two equal events that are two events (rec->distinct) the later one gets the next free rid, so
 * that each is folded; a redelivery still has the rid of the first. Its sealed fields stay bound to
 * the rid it came with (rec->bound).
 */
void process_distinguish(const struct process *p, struct record *rec);

enum fold_result { FOLD_APPLIED, FOLD_DUPLICATE, FOLD_TOO_MANY, FOLD_TOO_LARGE };

/*
 * Folds one event. What first, last and list keep remembers where its event lies (partition,
 * offset; a queue event: its rid), and rid_of is asked only when a tie of (time, sequence) needs
 * the rid: of this record or of an earlier one, then *rec has nothing but partition and offset.
 * NULL: the place itself breaks ties. A queue event (rec->has_rid) is remembered by its identity:
 * FOLD_DUPLICATE when it was folded before. FOLD_TOO_MANY: events_per_process_max is reached.
 * FOLD_TOO_LARGE: process_bytes() could pass process_bytes_max. All but FOLD_APPLIED: nothing
 * changed. `any` and `all` of an event itself: any is true when an event fulfils
 * `where`, all when every event does. A sealed field is kept, by first and last, in its carried
 * form (wire.h), of which the process knows nothing but its bytes; count counts that it is there.
 */
typedef void (*process_rid_of)(void *ctx, const struct record *rec, uint8_t out[static RID_BYTES]);
enum fold_result process_fold(const struct process_layout *l, struct process *p,
			      const struct record *rec, process_rid_of rid_of, void *ctx,
			      struct expr_run_state *st);

/*
 * Status at a clock (event time, µs; INT64_MIN: unknown). Complete when all parts hold (and there
 * are parts); else expired when clock >= due; else open. An expiry is a transition of the clock and
 * counts (revision = events + transitions); that the clock has passed a due time is remembered, so
 * that a clock that is unknown after a restart reopens nothing. missing: bit i = part i does not
 * hold.
 */
enum process_status process_judge(const struct process_layout *l, struct process *p,
				  int64_t clock_us, struct expr_run_state *st, uint64_t *missing);

/* Next event time at which judging could change (deadline, quiet_for), or, once closed, when it may
 * be forgotten: keep_closed after closed_at and after the last event. INT64_MAX: never. */
int64_t process_due_us(const struct process_layout *l, const struct process *p);
bool process_forgettable(const struct process_layout *l, const struct process *p, int64_t clock_us);

/* The values for expressions and PROC, in slot order; texts borrow from p and scratch until the
 * next call. Together they fit a frame (wire_values_fit). */
void process_inputs(const struct process_layout *l, const struct process *p,
		    struct expr_run_state *st, struct value *inputs);

enum process_status process_status(const struct process *p); /* as last judged */
int64_t process_events(const struct process *p);
int64_t process_revision(const struct process *p);
/* Some row of it was written: what changes it later must be told, whatever its status. */
void process_emit(struct process *p);
bool process_emitted(const struct process *p);
uint64_t process_seen(const struct process *p); /* bit i: an event of source i was folded */

/* Values that did not fit into a set or list, over all processes of this layout. */
uint64_t process_overflows(const struct process_layout *l);

/*
 * Encoding of a state body: MessagePack, a map from fold id to the fold's state, so that a changed
 * pipeline cannot misread it: an unknown fold id is skipped, a missing one is empty. A tombstone
 * body has only key and revision. Volatile (may differ between two orders or paces of the same
 * events): how often the process expired, the due time that was passed, whether a row was
 * emitted; all else is equal byte for byte.
 */
void process_encode(const struct process_layout *l, const struct process *p, struct buf *out);
void process_tombstone(const struct process *p, struct buf *out);
MUSTCHECK bool process_decode(const struct process_layout *l, const uint8_t *body, size_t n,
			      struct process **out, struct err *e);
bool process_tombstone_read(const uint8_t *body, size_t n, int64_t *revision, struct err *e);

#endif
