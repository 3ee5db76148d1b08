#include "lookup.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "pg.h"

enum {
	OID_INT4 = 23,
	OID_INT8 = 20,
	OID_UUID = 2950,
	OID_UUID_ARRAY = 2951,
	OID_TIMESTAMPTZ = 1184,
	ARRAY_HEAD_BYTES = 20,
	PAGE_BYTES = 8192,
};

/* PostgreSQL counts from 2000-01-01. */
#define PG_EPOCH_US INT64_C(946684800000000)

static const char pipeline_sql[] =
    "SELECT id, live_build FROM admin_schema.pipeline WHERE name = $1";
/*
 * Key by key: of segments that were never analysed the planner believes that they are tiny, and
 * would rather compare every row with all keys.
 */
static const char keys_sql[] =
    "SELECT k.key, s.tombstone, s.body FROM unnest($3) k (key) CROSS JOIN LATERAL"
    " (SELECT tombstone, body FROM admin_schema.state WHERE pipeline = $1 AND build = $2"
    " AND key = k.key ORDER BY epoch DESC, batch DESC LIMIT 1) s";
static const char due_sql[] =
    "SELECT key, kg, check_at FROM admin_schema.state WHERE pipeline = $1 AND build = $2"
    " AND check_at IS NOT NULL AND check_at >= $5 AND (check_at, key) > ($5, $6)"
    " AND check_at <= $7 AND kg BETWEEN $3 AND $4 ORDER BY check_at, key LIMIT 1000";
static const char newest_sql[] =
    "SELECT tombstone, body FROM admin_schema.state WHERE pipeline = $1 AND build = $2"
    " AND check_at IS NOT NULL AND kg BETWEEN $3 AND $4 ORDER BY check_at DESC LIMIT 1";
/* A row without key says that the segment goes on behind this stretch. */
static const char known_sql[] =
    "SELECT key FROM admin_schema.state WHERE segment = %u AND ctid >= '(%u,0)' AND"
    " ctid < '(%u,0)' AND pipeline = $1 AND build = $2 AND kg BETWEEN $3 AND $4 UNION ALL"
    " SELECT NULL WHERE pg_relation_size('admin_schema.state_%u') > %llu";

_Static_assert(LOOKUP_ROWS_MAX == 1000, "due_sql has the same limit");

struct lookup {
	char *dsn, *pipeline, *application;
	struct pg *pg;
	int32_t id, build;
	struct lookup_query query;
	bool wanted; /* query waits for its answer */
	bool sent;   /* ... and is under way on this connection */
	struct mono retry_at;
	int backoff_ms;
	uint64_t lost;
	struct err why;
	bool waiting;
	struct pg_result *result;
	struct lookup_row rows[LOOKUP_ROWS_MAX];
	struct lookup_row *many; /* KNOWN: as many as there are */
	unsigned many_cap;
	struct buf sql, params;
};

struct lookup *
lookup_new(const char *dsn, const char *pipeline, const char *application)
{
	struct lookup *l = mem_zero(1, sizeof *l);

	l->dsn = mem_string(dsn);
	l->pipeline = mem_string(pipeline);
	l->application = mem_string(application);
	l->backoff_ms = LOOKUP_BACKOFF_MS;
	return l;
}

void
lookup_free(struct lookup *l)
{
	if (!l)
		return;
	pg_result_free(l->result);
	pg_close(l->pg);
	explicit_bzero(l->dsn, strlen(l->dsn));
	free(l->dsn);
	free(l->pipeline);
	free(l->application);
	free(l->many);
	buf_free(&l->sql);
	buf_free(&l->params);
	free(l);
}

bool
lookup_idle(const struct lookup *l)
{
	return !l->wanted;
}

void
lookup_send(struct lookup *l, const struct lookup_query *q)
{
	check(!l->wanted);
	l->query = *q;
	l->wanted = true;
	l->sent = false;
}

/* ---- connection ---- */

static void
later(struct lookup *l, struct mono now)
{
	l->retry_at = mono_add_ms(now, l->backoff_ms);
	l->backoff_ms *= 2;
	if (l->backoff_ms > LOOKUP_BACKOFF_MS_MAX)
		l->backoff_ms = LOOKUP_BACKOFF_MS_MAX;
	l->waiting = true;
}

static void
disconnect(struct lookup *l)
{
	if (l->pg)
		l->lost++;
	pg_close(l->pg);
	l->pg = NULL;
	l->sent = false;
}

static bool
pipeline_find(struct lookup *l, struct err *e)
{
	struct pg_param name = {.data = l->pipeline, .len = strlen(l->pipeline)};
	struct pg_result *r;

	if (!pg_query(l->pg, pipeline_sql, &name, 1, true, &r, e))
		return false;
	bool found = pg_rows(r) == 1;
	if (found) {
		l->id = (int32_t)pg_int(r, 0, 0);
		l->build = (int32_t)pg_int(r, 0, 1);
	}
	pg_result_free(r);
	return found ||
	       err_set(e, EXIT_CONFIG, "the warehouse does not know pipeline %s", l->pipeline);
}

/* False: not now; l->why says why, a code other than EXIT_UNAVAILABLE is final. */
static bool
connect_now(struct lookup *l, struct mono now)
{
	static const char *const settings[] = {"default_transaction_read_only=on",
					       "statement_timeout=60s",
					       "enable_seqscan=off",
					       "enable_bitmapscan=off",
					       "jit=off",
					       NULL};

	if (!mono_due(l->retry_at, now))
		return false;
	if (pg_connect(l->dsn, l->application, settings, LOOKUP_CONNECT_MS, &l->pg, &l->why) &&
	    pipeline_find(l, &l->why)) {
		l->backoff_ms = LOOKUP_BACKOFF_MS;
		l->waiting = false;
		return true;
	}
	pg_close(l->pg);
	l->pg = NULL;
	later(l, mono_now());
	return false;
}

/* ---- asking ---- */

static void
put_be(struct buf *b, uint64_t v, unsigned bytes)
{
	while (bytes--)
		buf_byte(b, (uint8_t)(v >> (8 * bytes)));
}

/* Appends bytes to params and notes where; the pointer is set once the buffer stands still. */
static void
param(struct pg_param *p, uint32_t oid, size_t at, const struct buf *b)
{
	*p = (struct pg_param){.len = b->len - at, .binary = true, .type = oid};
}

static void
keys_array(struct lookup *l)
{
	const struct lookup_query *q = &l->query;

	put_be(&l->params, 1, 4); /* dimensions */
	put_be(&l->params, 0, 4); /* no nulls */
	put_be(&l->params, OID_UUID, 4);
	put_be(&l->params, q->keys_n, 4);
	put_be(&l->params, 1, 4); /* lower bound */
	for (unsigned i = 0; i < q->keys_n; i++) {
		put_be(&l->params, STATE_KEY_BYTES, 4);
		buf_add(&l->params, q->keys[i], STATE_KEY_BYTES);
	}
}

static uint64_t
pg_time(int64_t us)
{
	/* Before everything that PostgreSQL can store is its -infinity. */
	return us < INT64_MIN + PG_EPOCH_US ? (uint64_t)INT64_MIN : (uint64_t)(us - PG_EPOCH_US);
}

struct params {
	struct pg_param list[8];
	unsigned n;
};

static void
add_number(struct lookup *l, struct params *p, uint32_t oid, uint64_t v, unsigned bytes)
{
	size_t at = l->params.len;

	put_be(&l->params, v, bytes);
	param(&p->list[p->n++], oid, at, &l->params);
}

static void
params_make(struct lookup *l, struct params *p)
{
	const struct lookup_query *q = &l->query;
	size_t at;

	p->n = 0;
	buf_clear(&l->params);
	add_number(l, p, OID_INT4, (uint32_t)l->id, 4);
	add_number(l, p, OID_INT4, (uint32_t)l->build, 4);
	if (q->kind == LOOKUP_KEYS) {
		at = l->params.len;
		keys_array(l);
		param(&p->list[p->n++], OID_UUID_ARRAY, at, &l->params);
	} else {
		add_number(l, p, OID_INT4, q->kg_lo, 4);
		add_number(l, p, OID_INT4, q->kg_hi, 4);
	}
	if (q->kind == LOOKUP_DUE) {
		add_number(l, p, OID_TIMESTAMPTZ, pg_time(q->from_us), 8);
		at = l->params.len;
		buf_add(&l->params, q->from_key, STATE_KEY_BYTES);
		param(&p->list[p->n++], OID_UUID, at, &l->params);
		add_number(l, p, OID_TIMESTAMPTZ, pg_time(q->to_us), 8);
	}
	at = 0;
	for (unsigned i = 0; i < p->n; i++) {
		p->list[i].data = l->params.data + at;
		at += p->list[i].len;
	}
}

static const char *
sql_of(struct lookup *l)
{
	const struct lookup_query *q = &l->query;

	switch (q->kind) {
	case LOOKUP_KEYS:
		return keys_sql;
	case LOOKUP_DUE:
		return due_sql;
	case LOOKUP_NEWEST:
		return newest_sql;
	case LOOKUP_KNOWN:
		buf_clear(&l->sql);
		buf_printf(&l->sql, known_sql, q->slot, q->page, q->page + LOOKUP_PAGES, q->slot,
			   ((unsigned long long)q->page + LOOKUP_PAGES) * PAGE_BYTES);
		return buf_cstr(&l->sql);
	}
	panic("a query of kind %d", q->kind);
}

/* ---- answers ---- */

static void
row_read(const struct lookup *l, unsigned i, struct lookup_row *row)
{
	const struct pg_result *r = l->result;
	size_t n;

	*row = (struct lookup_row){0};
	switch (l->query.kind) {
	case LOOKUP_KEYS:
		row->key = pg_bytes(r, i, 0, &n);
		row->tombstone = *pg_bytes(r, i, 1, &n);
		row->body = pg_bytes(r, i, 2, &row->body_len);
		return;
	case LOOKUP_DUE:
		row->key = pg_bytes(r, i, 0, &n);
		row->kg = (uint32_t)pg_int(r, i, 1);
		row->at_us = pg_int(r, i, 2) + PG_EPOCH_US;
		return;
	case LOOKUP_KNOWN:
		row->key = pg_bytes(r, i, 0, &n);
		return;
	case LOOKUP_NEWEST:
		row->tombstone = *pg_bytes(r, i, 0, &n);
		row->body = pg_bytes(r, i, 1, &row->body_len);
		return;
	}
}

static void
answer_read(struct lookup *l, struct lookup_answer *a)
{
	unsigned n = pg_rows(l->result);
	bool known = l->query.kind == LOOKUP_KNOWN;

	*a = (struct lookup_answer){.query = &l->query, .rows = l->rows, .last = true};
	if (known && n > l->many_cap) {
		l->many = mem_resize(l->many, n, sizeof *l->many);
		l->many_cap = n;
	}
	if (known)
		a->rows = l->many;
	check(known || n <= LOOKUP_ROWS_MAX);
	for (unsigned i = 0; i < n; i++) {
		if (known && pg_is_null(l->result, i, 0))
			a->last = false;
		else
			row_read(l, i, &a->rows[a->n++]);
	}
	if (l->query.kind == LOOKUP_DUE)
		a->last = n < LOOKUP_ROWS_MAX;
}

/* A query failed: over again, on a new connection if this one is gone. */
static enum lookup_result
failed(struct lookup *l, struct mono now, struct err *e)
{
	l->sent = false;
	if (!pg_alive(l->pg) || pg_fault(pg_sqlstate(l->pg)) == PG_RETRY) {
		disconnect(l);
		later(l, now);
		return LOOKUP_NOTHING;
	}
	*e = l->why;
	err_context(e, "reading stored state");
	return LOOKUP_BROKEN;
}

enum lookup_result
lookup_poll(struct lookup *l, struct mono now, struct lookup_answer *a, struct mono *next,
	    struct err *e)
{
	struct params p;

	pg_result_free(l->result);
	l->result = NULL;
	*next = mono_never();
	if (!l->wanted)
		return LOOKUP_NOTHING;
	if (!l->pg && !connect_now(l, now)) {
		*next = l->retry_at;
		if (l->why.code == EXIT_UNAVAILABLE)
			return LOOKUP_NOTHING;
		*e = l->why;
		return LOOKUP_BROKEN;
	}
	if (!l->sent) {
		params_make(l, &p);
		if (!pg_send(l->pg, sql_of(l), p.list, p.n, true, &l->why))
			return failed(l, now, e);
		l->sent = true;
	}
	int got = pg_poll(l->pg, &l->result, &l->why);
	if (got < 0)
		return failed(l, now, e);
	if (!got)
		return LOOKUP_NOTHING;
	l->wanted = false;
	l->sent = false;
	answer_read(l, a);
	return LOOKUP_ANSWER;
}

bool
lookup_waits(const struct lookup *l, const char **why)
{
	*why = l->why.text;
	return l->wanted && l->waiting;
}

uint64_t
lookup_lost(const struct lookup *l)
{
	return l->lost;
}

unsigned
lookup_watch(const struct lookup *l, struct pollfd *fds, unsigned max)
{
	if (!l->pg || !l->sent || !max)
		return 0;
	fds[0] = (struct pollfd){.fd = pg_fd(l->pg), .events = POLLIN};
	if (pg_wants_write(l->pg))
		fds[0].events |= POLLOUT;
	return 1;
}
