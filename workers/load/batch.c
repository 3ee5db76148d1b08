#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

/* ---- frames ---- */

static struct batch *
current(struct batches *b)
{
	if (b->count == 0)
		return NULL;
	struct batch *x = &b->ring[(b->first + b->count - 1) % BATCHES_MAX];
	return x->complete ? NULL : x;
}

static bool
begin_take(struct batches *b, const struct begin *x, struct err *e)
{
	if (current(b))
		return err_set(e, EXIT_BUG, "a batch begins inside another");
	if (x->shard != b->setup.lane || x->epoch != b->setup.epoch)
		return err_set(e, EXIT_BUG, "a batch of lane %u, epoch %lld; this is lane %u, %lld",
			       x->shard, (long long)x->epoch, b->setup.lane,
			       (long long)b->setup.epoch);
	if (x->n != b->begun + 1)
		return err_set(e, EXIT_BUG, "batch %lld after batch %lld", (long long)x->n,
			       (long long)b->begun);
	if (b->count == BATCHES_MAX)
		return err_set(e, EXIT_BUG, "more than %d batches at once", BATCHES_MAX);
	b->begun = x->n;
	b->ring[(b->first + b->count++) % BATCHES_MAX].n = x->n;
	return true;
}

static void
references_note(struct batch *x, const struct table *t, const struct copy_layout *l,
		const struct row *row)
{
	for (unsigned i = 0; i < l->columns_n; i++) {
		const struct row_column *c = &l->columns[i];
		if (c->role == ROW_REFERENCE && row->values[c->value].type == VALUE_INTEGER)
			keyset_add(&x->refs[t->references[c->of].table],
				   row->values[c->value].integer);
	}
}

static bool
rows_take(struct batches *b, struct batch *x, uint32_t count, struct err *e)
{
	const struct model *m = b->setup.m;
	uint32_t table;
	struct row row = {.values = b->values};

	if (!wire_table_read(&b->reader, &table))
		return true; /* latched in the reader */
	if (table >= m->tables_n || m->tables[table].kind == TABLE_CALENDAR)
		return err_set(e, EXIT_BUG, "rows of table %u, which is none to load", table);
	for (uint32_t i = 0; i < count && wire_row_read(&b->reader, &row); i++) {
		if (!copy_row(&b->setup.layouts[table], &row, x->n, &x->rows[table].bytes, e))
			return err_context(e, "table %s", m->tables[table].name.s);
		if (m->tables[table].references_n)
			references_note(x, &m->tables[table], &b->setup.layouts[table], &row);
		x->rows[table].n++;
	}
	return true;
}

static void
state_take(struct batches *b, struct batch *x, uint32_t count)
{
	struct buf *out = &x->state.bytes;
	struct state_row s;

	for (uint32_t i = 0; i < count && wire_state_read(&b->reader, &s); i++) {
		copy_fields(out, 9);
		copy_int8(out, b->setup.epoch);
		copy_int8(out, x->n);
		if (s.has_check_at)
			copy_timestamp(out, s.check_at_us);
		else
			copy_null(out);
		copy_int4(out, b->setup.pipeline);
		copy_int4(out, (int32_t)s.kg);
		copy_int2(out, b->setup.build);
		copy_bool(out, s.tombstone);
		copy_bytes(out, s.key, sizeof(s.key));
		copy_bytes(out, s.body, s.body_len);
		x->state.n++;
	}
}

static void
bytes_or_null(struct buf *b, const void *p, size_t n)
{
	if (p)
		copy_bytes(b, p, n);
	else
		copy_null(b);
}

void
batch_dead(const struct batch_setup *setup, const struct dead_row *d, struct rows *out)
{
	static const char class[] = "dead_letter";
	struct buf *b = &out->bytes;

	copy_fields(b, DEAD_FIELDS);
	copy_int4(b, setup->pipeline);
	copy_int2(b, setup->build);
	copy_bytes(b, d->rid, RID_BYTES);
	if (d->source >= 0)
		copy_int4(b, setup->source_ids[d->source]);
	else
		copy_null(b);
	if (d->has_position) {
		copy_int4(b, (int32_t)d->partition);
		copy_int8(b, d->position);
	} else {
		copy_null(b);
		copy_null(b);
	}
	copy_bytes(b, d->stage, d->stage_len);
	copy_bytes(b, d->reason, d->reason_len);
	bytes_or_null(b, d->digest, DIGEST_BYTES);
	bytes_or_null(b, d->body ? class : NULL, sizeof(class) - 1);
	bytes_or_null(b, d->body, d->body_len);
	bytes_or_null(b, d->sid, SUBJECT_ID_BYTES);
	out->n++;
}

static void
replayed_take(const struct batch_setup *setup, const struct dead *d, struct rows *out)
{
	copy_fields(&out->bytes, REPLAYED_FIELDS);
	copy_int4(&out->bytes, setup->pipeline);
	copy_int2(&out->bytes, setup->build);
	copy_bytes(&out->bytes, d->rid, RID_BYTES);
	out->n++;
}

static bool
dead_take(struct batches *b, struct batch *x, uint32_t count, struct err *e)
{
	struct dead d;

	for (uint32_t i = 0; i < count && wire_dead_read(&b->reader, &d); i++) {
		if (d.source >= b->setup.m->sources_n)
			return err_set(e, EXIT_BUG, "a dead letter of source %u", d.source);
		if (d.replayed) {
			replayed_take(&b->setup, &d, &x->replayed);
			continue;
		}
		struct dead_row row = {.source = d.source,
				       .has_position = true,
				       .partition = d.partition,
				       .position = d.offset,
				       .stage = d.stage,
				       .stage_len = d.stage_len,
				       .reason = d.reason,
				       .reason_len = d.reason_len,
				       .digest = d.has_digest ? d.digest : NULL,
				       .body = d.body_len ? d.body : NULL,
				       .body_len = d.body_len,
				       .sid = d.has_sid ? d.sid : NULL};
		memcpy(row.rid, d.rid, RID_BYTES);
		batch_dead(&b->setup, &row, &x->dead);
		x->source_dead[d.source]++;
	}
	return true;
}

static bool
counts_match(const struct batches *b, const struct batch *x, struct err *e)
{
	const struct end *end = &x->end;
	const struct model *m = b->setup.m;

	if (end->n != x->n)
		return err_set(e, EXIT_BUG, "batch %lld ends as %lld", (long long)x->n,
			       (long long)end->n);
	if (end->tables_n > m->tables_n || end->sources_n > m->sources_n)
		return err_set(e, EXIT_BUG,
			       "batch %lld counts tables or sources that are not there",
			       (long long)x->n);
	for (unsigned t = 0; t < m->tables_n; t++)
		if (x->rows[t].n != (t < end->tables_n ? end->rows[t] : 0))
			return err_set(e, EXIT_BUG,
				       "batch %lld: %u rows of %s came, %llu were sent",
				       (long long)x->n, x->rows[t].n, m->tables[t].name.s,
				       (unsigned long long)(t < end->tables_n ? end->rows[t] : 0));
	if (x->state.n != end->state || x->dead.n + x->replayed.n != end->dead)
		return err_set(
		    e, EXIT_BUG,
		    "batch %lld: %u states and %u dead letters came, %llu and %llu were sent",
		    (long long)x->n, x->state.n, x->dead.n + x->replayed.n,
		    (unsigned long long)end->state, (unsigned long long)end->dead);
	return true;
}

/* ---- members in one order ---- */

struct member {
	int64_t key;
	size_t at, len;
};

static int
member_order(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at); /* as they came */
}

/*
 * Lanes share members. Two that insert the same two in different order would wait for each other,
 * so every batch has them in the order of their keys.
 */
static void
members_sort(struct rows *rows, const struct copy_layout *l)
{
	struct member *all = mem_alloc(rows->n * sizeof(*all));
	struct copy_field fields[ROW_COLUMNS_MAX];
	struct buf sorted = {0};
	size_t at = 0;
	unsigned key = 0;

	while (key < l->columns_n && l->columns[key].role != ROW_SURROGATE)
		key++;
	check(key < l->columns_n);
	for (uint32_t i = 0; i < rows->n; i++) {
		all[i].at = at;
		copy_next(&rows->bytes, &at, fields, ROW_COLUMNS_MAX);
		all[i].len = at - all[i].at;
		all[i].key = fields[key].data ? copy_field_int8(&fields[key]) : 0;
	}
	qsort(all, rows->n, sizeof(*all), member_order);
	buf_reserve(&sorted, rows->bytes.len);
	for (uint32_t i = 0; i < rows->n; i++)
		buf_add(&sorted, rows->bytes.data + all[i].at, all[i].len);
	buf_free(&rows->bytes);
	rows->bytes = sorted;
	free(all);
}

static bool
end_take(struct batches *b, struct batch *x, bool last, struct err *e)
{
	if (!wire_end_read(&b->reader, &x->end))
		return true;
	if (!counts_match(b, x, e))
		return false;
	for (unsigned t = 0; t < b->setup.m->tables_n; t++)
		if (b->setup.m->tables[t].kind == TABLE_DIMENSION && x->rows[t].n > 1)
			members_sort(&x->rows[t], &b->setup.layouts[t]);
	x->last = last;
	x->complete = true;
	return true;
}

static bool
body_take(struct batches *b, enum frame_type type, bool last, uint32_t count, struct err *e)
{
	struct batch *x = current(b);
	struct begin begin;

	if (type == FRAME_BEGIN)
		return !wire_begin_read(&b->reader, &begin) || begin_take(b, &begin, e);
	if (x == NULL)
		return err_set(e, EXIT_BUG, "%s outside of a batch", frame_name(type));
	switch (type) {
	case FRAME_ROWS:
		return rows_take(b, x, count, e);
	case FRAME_STATE:
		state_take(b, x, count);
		return true;
	case FRAME_DEAD:
		return dead_take(b, x, count, e);
	case FRAME_END:
		return end_take(b, x, last, e);
	default:
		return err_set(e, EXIT_BUG, "%s is no part of a batch", frame_name(type));
	}
}

bool
batches_frame(struct batches *b, enum frame_type type, bool last, uint32_t count,
	      const uint8_t *body, size_t n, struct err *e)
{
	if ((type == FRAME_BEGIN || type == FRAME_END) && count != 1)
		return err_set(e, EXIT_BUG, "%s with %u items", frame_name(type), count);
	pack_reader_start(&b->reader, body, n);
	if (!body_take(b, type, last, count, e))
		return false;
	if (!pack_reader_end(&b->reader))
		return err_set(e, EXIT_BUG, "%s: %s", frame_name(type), b->reader.why);
	if (b->count)
		b->ring[(b->first + b->count - 1) % BATCHES_MAX].bytes += n;
	return true;
}

/* ---- the ring ---- */

struct batch *
batches_ready(struct batches *b)
{
	struct batch *x = &b->ring[b->first];

	return b->count && x->complete ? x : NULL;
}

unsigned
batches_ready_count(const struct batches *b)
{
	if (b->count == 0)
		return 0;
	return b->count - !b->ring[(b->first + b->count - 1) % BATCHES_MAX].complete;
}

/* Keeps the buffer, the next batch is about as large; but not of one far over the limit. */
static void
rows_clear(struct rows *r, uint64_t bytes_max)
{
	if (r->bytes.cap / 2 > bytes_max)
		buf_free(&r->bytes);
	buf_clear(&r->bytes);
	r->n = 0;
}

static void
batch_clear(struct batch *x, uint64_t bytes_max)
{
	for (unsigned t = 0; t < TABLES_MAX; t++) {
		rows_clear(&x->rows[t], bytes_max);
		keyset_clear(&x->refs[t]);
	}
	rows_clear(&x->state, bytes_max);
	rows_clear(&x->dead, bytes_max);
	rows_clear(&x->replayed, bytes_max);
	memset(x->source_dead, 0, sizeof(x->source_dead));
	end_free(&x->end);
	memset(&x->end, 0, sizeof(x->end));
	x->complete = x->last = false;
	x->bytes = 0;
}

void
batches_drop(struct batches *b)
{
	struct batch *x = &b->ring[b->first];

	check(b->count > 0);
	batch_clear(x, b->setup.m->limits.batch_bytes_max);
	b->first = (b->first + 1) % BATCHES_MAX;
	b->count--;
	/* Its buffers go to the batch that begins next, or all of the ring's would grow so. */
	struct batch *next = &b->ring[(b->first + b->count) % BATCHES_MAX];
	struct batch other = *next;
	*next = *x;
	*x = other;
}

void
batches_free(struct batches *b)
{
	for (unsigned i = 0; i < BATCHES_MAX; i++) {
		struct batch *x = &b->ring[i];
		for (unsigned t = 0; t < TABLES_MAX; t++) {
			buf_free(&x->rows[t].bytes);
			keyset_free(&x->refs[t]);
		}
		buf_free(&x->state.bytes);
		buf_free(&x->dead.bytes);
		buf_free(&x->replayed.bytes);
		end_free(&x->end);
	}
	pack_reader_free(&b->reader);
}
