#include "load.h"

#include <stdlib.h>

#include "log.h"
#include "mem.h"
#include "param.h"

/*
 * Rows of admin_schema.key_range: made, cut and taken over. Rows that another number of lanes left
 * cross the bounds of what is wanted; such a row is cut, each piece with its positions. A piece
 * that is not wanted stays with its owner, which is closed, until its own lane takes it.
 */

enum { ROUNDS_MAX = 24 }; /* looks at what others do to the same rows meanwhile */

#define SPANS	"unnest($3, $4) w (lo, hi)"
#define OVERLAP RANGE_OVERLAP

#define OWNERS                                                                                     \
	" WHERE pipeline = $1 AND build = $2 AND NOT closed"                                       \
	" AND epoch IN (SELECT epoch FROM admin_schema.key_range" OVERLAP ")"

static const char lock_sql[] = "SELECT FROM admin_schema.shard" OWNERS " ORDER BY epoch FOR UPDATE";

static const char close_sql[] =
    "UPDATE admin_schema.shard SET closed = true, closed_by = $5" OWNERS " AND epoch < $5";

/* Each with how much speaks against owning it with our epoch: a later one, an open owner. */
static const char ranges_sql[] =
    "SELECT kg_lo, kg_hi, (r.epoch >= $5)::integer + (SELECT count(*) FROM admin_schema.shard s"
    " WHERE s.pipeline = $1 AND s.build = $2 AND s.epoch = r.epoch AND NOT s.closed)"
    " FROM admin_schema.key_range r" OVERLAP " ORDER BY kg_lo";

/*
 * At every bound of what is wanted. Locked first: whoever cuts the same row comes after us, and
 * finds it cut.
 */
static const char cut_sql[] =
    "WITH wide AS MATERIALIZED (SELECT * FROM admin_schema.key_range" OVERLAP
    " ORDER BY kg_lo FOR UPDATE),"
    " piece AS MATERIALIZED (SELECT r.kg_lo AS was, b.lo,"
    " coalesce(lead(b.lo) OVER (PARTITION BY r.kg_lo ORDER BY b.lo) - 1, r.kg_hi) AS hi,"
    " r.epoch, r.partition, r.next FROM wide r CROSS JOIN LATERAL (SELECT r.kg_lo AS lo"
    " UNION SELECT w.lo FROM " SPANS " WHERE w.lo > r.kg_lo AND w.lo <= r.kg_hi"
    " UNION SELECT w.hi + 1 FROM " SPANS " WHERE w.hi >= r.kg_lo AND w.hi < r.kg_hi) b),"
    " head AS (UPDATE admin_schema.key_range k SET kg_hi = p.hi FROM piece p"
    " WHERE k.pipeline = $1 AND k.build = $2 AND k.kg_lo = p.was AND p.lo = p.was)"
    " INSERT INTO admin_schema.key_range (pipeline, build, kg_lo, kg_hi, epoch, partition, next)"
    " SELECT $1, $2, lo, hi, epoch, partition, next FROM piece WHERE lo <> was";

/* Who makes rows where there are none holds this, so that no two make rows that overlap. */
static const char gaps_sql[] =
    "SELECT pg_advisory_xact_lock('admin_schema.key_range'::regclass::integer, $1)";

static const char make_sql[] =
    "INSERT INTO admin_schema.key_range (pipeline, build, kg_lo, kg_hi, epoch)"
    " SELECT $1, $2, u.lo, u.hi, 0 FROM unnest($3, $4) u (lo, hi)";

static const char move_sql[] =
    "UPDATE admin_schema.key_range SET epoch = $5" OVERLAP " AND epoch < $5";

static const char moved_sql[] =
    "SELECT kg_lo, kg_hi, (epoch <> $5)::integer FROM admin_schema.key_range" OVERLAP
    " ORDER BY kg_lo";

/* ---- asking ---- */

static void
spans_param(struct param_set *s, const struct span *spans, uint32_t n)
{
	param_array(s, OID_INT4_ARRAY, OID_INT4, n);
	for (uint32_t i = 0; i < n; i++)
		copy_int4(&s->bytes, (int32_t)spans[i].lo);
	param_array_end(s);
	param_array(s, OID_INT4_ARRAY, OID_INT4, n);
	for (uint32_t i = 0; i < n; i++)
		copy_int4(&s->bytes, (int32_t)spans[i].hi);
	param_array_end(s);
}

static bool
spans_query(struct load *l, const char *sql, const struct span *spans, uint32_t n, int64_t epoch,
	    struct pg_result **out, struct err *e)
{
	struct param_set s = {0};

	param_int4(&s, l->owner.pipeline);
	param_int2(&s, BUILD);
	spans_param(&s, spans, n);
	if (epoch >= 0)
		param_int8(&s, epoch);
	bool good = pg_query(l->pg, sql, params_made(&s), s.n, false, out, e);
	params_free(&s);
	return good;
}

bool
range_query(struct load *l, const char *sql, int64_t epoch, struct pg_result **out, struct err *e)
{
	return spans_query(l, sql, l->owner.wanted, l->owner.wanted_n, epoch, out, e);
}

static bool
epoch_draw(struct load *l, struct err *e)
{
	struct pg_result *r = NULL;

	if (!pg_exec(l->pg, "SELECT nextval('admin_schema.epoch')", &r, e))
		return false;
	l->owner.epoch = pg_int(r, 0, 0);
	pg_result_free(r);
	return true;
}

static bool
others_take(struct err *e)
{
	return err_set(e, EXIT_UNAVAILABLE, "others keep taking these key groups over");
}

/* ---- what is there, against what is wanted ---- */

struct look {
	bool open;  /* some owner is */
	bool cross; /* a row goes beyond a bound */
	struct span *gaps;
	uint32_t gaps_n;
};

static void
gap_add(struct look *k, uint32_t lo, uint32_t hi)
{
	k->gaps = mem_resize(k->gaps, k->gaps_n + 1, sizeof(*k->gaps));
	k->gaps[k->gaps_n++] = (struct span){lo, hi};
}

/* Rows and wanted spans both rise, and neither overlaps itself. */
static void
look_span(struct look *k, const struct span *want, const struct pg_result *r)
{
	uint32_t at = want->lo;

	for (unsigned i = 0; i < pg_rows(r); i++) {
		uint32_t lo = (uint32_t)pg_int(r, i, 0), hi = (uint32_t)pg_int(r, i, 1);
		if (hi < want->lo || lo > want->hi)
			continue;
		k->cross |= lo < want->lo || hi > want->hi;
		if (lo > at)
			gap_add(k, at, lo - 1);
		at = hi + 1;
	}
	if (at <= want->hi)
		gap_add(k, at, want->hi);
}

static void
look(const struct owner *o, const struct pg_result *r, struct look *k)
{
	*k = (struct look){0};
	for (unsigned i = 0; i < pg_rows(r); i++)
		k->open |= pg_int(r, i, 2) > 0;
	for (uint32_t i = 0; i < o->wanted_n; i++)
		look_span(k, &o->wanted[i], r);
}

/* ---- making it so ---- */

/* First start, or a lane that was never born: nothing is read there. */
static bool
gaps_fill(struct load *l, const struct look *k, bool *locked, struct err *e)
{
	struct param_set s = {0};

	if (*locked)
		return spans_query(l, make_sql, k->gaps, k->gaps_n, -1, NULL, e);
	param_int4(&s, l->owner.pipeline);
	*locked = pg_query(l->pg, gaps_sql, params_made(&s), s.n, false, NULL, e);
	params_free(&s);
	return *locked; /* and then another look: others may have made them */
}

static bool
shape(struct load *l, bool *done, bool *locked, struct err *e)
{
	struct pg_result *r = NULL;
	struct look k;
	bool good = true;

	if (!range_query(l, ranges_sql, l->owner.epoch, &r, e))
		return false;
	look(&l->owner, r, &k);
	pg_result_free(r);
	*done = !k.open && !k.cross && k.gaps_n == 0;
	if (!k.open && k.cross) {
		log_info("key groups %u to %u were other lanes': their positions are cut",
			 l->owner.kg_lo, l->owner.kg_hi);
		good = range_query(l, cut_sql, -1, NULL, e);
	} else if (!k.open && k.gaps_n) {
		good = gaps_fill(l, &k, locked, e);
	}
	free(k.gaps);
	return good;
}

/* From here on nobody else changes these rows; they must be what we saw, whole. */
static bool
move(struct load *l, struct err *e)
{
	struct owner *o = &l->owner;
	struct pg_result *r = NULL;
	struct look k;

	if (!range_query(l, move_sql, o->epoch, NULL, e) ||
	    !range_query(l, moved_sql, o->epoch, &r, e))
		return false;
	look(o, r, &k);
	free(k.gaps);
	owner_ranges_clear(o);
	for (unsigned i = 0; i < pg_rows(r); i++)
		owner_range_add(o, (uint32_t)pg_int(r, i, 0), (uint32_t)pg_int(r, i, 1));
	pg_result_free(r);
	return !k.open && !k.cross && k.gaps_n == 0 ? true : others_take(e);
}

/*
 * Closes whoever owns the ranges. Their rows are locked before our epoch is drawn: of two states of
 * a process the one with the greater epoch counts, so an owner's must be greater than those of all
 * owners before it, however late we come to it. Another take-over may commit between our looks;
 * then its row is open still, and we close that one too, with a newer epoch: the last one wins.
 */
bool
ranges_take(struct load *l, struct err *e)
{
	bool done = false, locked = false;

	for (int i = 0; !done && i < ROUNDS_MAX; i++)
		if (!range_query(l, lock_sql, -1, NULL, e) || !epoch_draw(l, e) ||
		    !range_query(l, close_sql, l->owner.epoch, NULL, e) ||
		    !shape(l, &done, &locked, e))
			return false;
	return done ? move(l, e) : others_take(e);
}
