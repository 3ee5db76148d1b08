/* keys revoke --reseal: rows of development_schema, a batch in one transaction. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "reseal.h"

enum {
	ROWS_START = 100,
	ROWS_MAX = 1000,
	BYTES_WANTED = 8 << 20, /* of one batch */
	COLUMNS_READ_MAX = PG_PARAMS_MAX - 2,
	ADDRESS_MAX = 32, /* "(4294967295,65535)", and an xmin */
};

struct sealed_table {
	const char *name, *columns; /* both quoted */
	unsigned n;
	char *update; /* owned */
};

/* The old envelope of a cell's value; NULL: it holds none, or it is not to be sealed anew. */
static struct old *
cell_old(const struct reseal *x, const struct pg_result *r, unsigned row, unsigned column,
	 struct carried *c)
{
	struct sealed_head head;
	size_t n;

	if (pg_is_null(r, row, column))
		return NULL;
	const uint8_t *p = pg_bytes(r, row, column, &n);
	if (!wire_carried_read(p, n, c) ||
	    sealed_head_read(c->payload, c->payload_len, &head) != SEAL_OK || head.erased)
		return NULL;
	return reseal_old(x, head.kid);
}

static bool
batch_ask(struct reseal *x, const struct pg_result *r, bool *some, struct err *e)
{
	bool wanted[POLICY_CLASSES_MAX] = {false}, good = true;
	struct carried c;

	*some = false;
	release_batch(x->release);
	for (unsigned i = 0; i < pg_rows(r); i++)
		for (unsigned j = 1; j < pg_columns(r); j++) {
			const struct old *o = cell_old(x, r, i, j, &c);
			if (!o)
				continue;
			release_note(x->release, &c);
			wanted[o->class] = *some = true;
		}
	good = !*some || release_ask(x->release, e);
	for (unsigned i = 0; good && i < x->of->classes.n; i++)
		good = !wanted[i] || reseal_fresh(x, i, e);
	return good;
}

/* The value anew, appended; false: it stays as it is, counted. */
static bool
value_reseal(struct reseal *x, struct old *o, const struct carried *c)
{
	struct fresh *f = &x->fresh[o->class];
	struct carried anew = *c;
	struct buf payload = {0};

	enum seal_error why = release_reseal(x->release, c, f->key, &payload);
	if (why == SEAL_OK) {
		anew.payload = payload.data;
		anew.payload_len = (uint32_t)payload.len;
		wire_carried_write(&x->row, &anew);
		f->values++;
	} else if (why == SEAL_ERASED) {
		x->erased++;
	} else {
		x->failed++;
		x->by_error[why]++;
		o->needed = true;
	}
	buf_free(&payload);
	return why == SEAL_OK;
}

static void
cell_text(const struct pg_result *r, unsigned row, unsigned column, char out[static ADDRESS_MAX])
{
	size_t n;
	const uint8_t *p = pg_bytes(r, row, column, &n);

	snprintf(out, ADDRESS_MAX, "%.*s", (int)n, (const char *)p);
}

/* Queues the update of a row if one of its values is sealed anew. */
static bool
row_reseal(struct reseal *x, const struct sealed_table *t, const struct pg_result *r, unsigned row,
	   unsigned *sent, struct err *e)
{
	struct pg_param params[PG_PARAMS_MAX] = {{0}};
	size_t from[PG_PARAMS_MAX], n;
	uint64_t values = 0;
	struct carried c;

	buf_clear(&x->row);
	for (unsigned j = 1; j <= t->n; j++) {
		struct old *o = cell_old(x, r, row, j, &c);
		params[j] = (struct pg_param){.binary = true, .type = OID_BYTEA};
		from[j] = x->row.len;
		if (o && value_reseal(x, o, &c)) {
			params[j].len = x->row.len - from[j];
			values++;
		} else if (!pg_is_null(r, row, j)) {
			params[j].data = pg_bytes(r, row, j, &n);
			params[j].len = n;
		}
	}
	if (!values)
		return true;
	for (unsigned j = 1; j <= t->n; j++)
		if (!params[j].data && !pg_is_null(r, row, j))
			params[j].data = x->row.data + from[j];
	char address[ADDRESS_MAX], xmin[ADDRESS_MAX];
	cell_text(r, row, 0, address);
	cell_text(r, row, t->n + 1, xmin);
	params[0].data = address;
	params[t->n + 1].data = xmin;
	x->values += values;
	++*sent;
	return pg_pipeline_add(x->k->pg, t->update, params, t->n + 2, e);
}

/* The rows of a batch, in one transaction. */
static bool
batch_update(struct reseal *x, const struct sealed_table *t, const struct pg_result *r,
	     struct err *e)
{
	struct pg_result *done[ROWS_MAX + 2] = {NULL};
	unsigned sent = 0;

	if (!pg_pipeline_begin(x->k->pg, e) || !pg_pipeline_add(x->k->pg, "BEGIN", NULL, 0, e))
		return false;
	bool good = true;
	for (unsigned i = 0; good && i < pg_rows(r); i++)
		good = row_reseal(x, t, r, i, &sent, e);
	good = good && pg_pipeline_add(x->k->pg, "COMMIT", NULL, 0, e) &&
	       pg_pipeline_end(x->k->pg, done, sent + 2, NULL, e);
	for (unsigned i = 0; i < sent + 2; i++) {
		/* A row that somebody changed meanwhile is not there under this address. */
		if (done[i] && i > 0 && i <= sent)
			x->rows += pg_affected(done[i]);
		pg_result_free(done[i]);
	}
	x->changed += sent;
	return good;
}

static size_t
result_bytes(const struct pg_result *r)
{
	size_t sum = 0, n;

	for (unsigned i = 0; i < pg_rows(r); i++)
		for (unsigned j = 0; j < pg_columns(r); j++) {
			pg_bytes(r, i, j, &n);
			sum += n;
		}
	return sum;
}

void
reseal_progress(const struct reseal *x, bool end)
{
	if (!isatty(STDERR_FILENO) || x->k->c->json)
		return;
	fprintf(stderr, "\r%llu rows read, %llu sealed anew%s", (unsigned long long)x->read,
		(unsigned long long)x->rows, end ? "\n" : "");
	fflush(stderr);
}

static bool
table_batches(struct reseal *x, const struct sealed_table *t, struct err *e)
{
	unsigned wanted = ROWS_START, got = ROWS_START;
	bool good = true, some;

	while (good && got == wanted) {
		char sql[64];
		struct pg_result *r;
		snprintf(sql, sizeof sql, "FETCH %u FROM weir_rows", wanted);
		if (!pg_query(x->reader, sql, NULL, 0, true, &r, e))
			return false;
		got = pg_rows(r);
		size_t bytes = result_bytes(r);
		good = batch_ask(x, r, &some, e) && (!some || batch_update(x, t, r, e));
		pg_result_free(r);
		x->read += got;
		reseal_progress(x, false);
		if (got == wanted && bytes > BYTES_WANTED)
			got = wanted = wanted > 16 ? wanted / 2 : 8;
		else if (got == wanted)
			got = wanted = wanted * 2 < ROWS_MAX ? wanted * 2 : ROWS_MAX;
	}
	return good;
}

/*
 * An address (ctid) stays a row's own while the reader's snapshot lives. Where somebody changes the
 * row while the update waits for it, PostgreSQL goes on to the newer version without asking for its
 * address again; xmin tells the two apart.
 */
static bool
table_reseal(struct reseal *x, struct sealed_table *t, struct err *e)
{
	struct buf sql = {0};

	if (t->n > COLUMNS_READ_MAX)
		return err_set(e, EXIT_CONFIG, "%s has more than %d sealed columns", t->name,
			       COLUMNS_READ_MAX);
	buf_printf(
	    &sql,
	    "DECLARE weir_rows NO SCROLL CURSOR FOR SELECT ctid::text, %s, xmin::text FROM ONLY %s",
	    t->columns, t->name);
	bool good = pg_script(x->reader,
			      "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", e) &&
		    pg_script(x->reader, buf_cstr(&sql), e) && table_batches(x, t, e) &&
		    pg_script(x->reader, "COMMIT", e);
	buf_free(&sql);
	return good || err_context(e, "table %s", t->name);
}

/* "a, b" becomes UPDATE ... SET a = $2, b = $3. Names come one by one, quoted. */
static bool
update_make(struct reseal *x, struct sealed_table *t, const char *oid, struct err *e)
{
	const char *const params[] = {oid, NULL};
	struct buf sql = {0};
	struct pg_result *r;

	if (!owner_query(x->k->pg,
			 "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::oid "
			 "AND attnum > 0 AND NOT attisdropped AND atttypid = 'bytea'::regtype "
			 "ORDER BY attnum",
			 params, &r, e))
		return false;
	t->n = pg_rows(r);
	buf_printf(&sql, "UPDATE ONLY %s SET ", t->name);
	for (unsigned i = 0; i < t->n; i++)
		buf_printf(&sql, "%s%s = $%u", i ? ", " : "", pg_text(r, i, 0), i + 2);
	buf_printf(&sql, " WHERE ctid = $1::tid AND xmin = $%u::text::xid", t->n + 2);
	t->update = mem_string_n(buf_cstr(&sql), sql.len);
	buf_free(&sql);
	pg_result_free(r);
	return true;
}

/* Every table and partition of development_schema: what other pipelines or earlier builds have
 * there too is under no envelope in question, or it is, and then it is meant. */
bool
reseal_pass(struct reseal *x, struct err *e)
{
	struct pg_result *r;

	x->changed = x->erased = x->failed = 0;
	memset(x->by_error, 0, sizeof x->by_error);
	for (unsigned i = 0; i < x->olds_n; i++)
		x->olds[i].needed = false;
	if (!pg_exec(x->k->pg,
		     "SELECT c.oid, format('%I.%I', n.nspname, c.relname), "
		     "string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_class c "
		     "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON "
		     "a.attrelid = c.oid WHERE n.nspname = 'development_schema' AND c.relkind = "
		     "'r' AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = "
		     "'bytea'::regtype GROUP BY 1, 2 ORDER BY 2",
		     &r, e))
		return false;
	bool good = true;
	for (unsigned i = 0; good && i < pg_rows(r); i++) {
		struct sealed_table t = {.name = pg_text(r, i, 1), .columns = pg_text(r, i, 2)};
		good = update_make(x, &t, pg_text(r, i, 0), e) && table_reseal(x, &t, e);
		free(t.update);
	}
	pg_result_free(r);
	return good;
}
