#include "map.h"

#include <stdlib.h>
#include <string.h>

#include "decimal.h"
#include "keyhash.h"
#include "log.h"
#include "mem.h"
#include "members.h"
#include "outbox.h"
#include "rows.h"
#include "timeform.h"

enum { MEMBER_UNKNOWN = -1, MEMBER_INVALID = -2 };

struct plan { /* of one table */
	struct row_column columns[ROW_COLUMNS_MAX];
	unsigned columns_n, values_n;
};

struct map {
	const struct model *m;
	uint8_t hash_key[HASH_KEY_BYTES];
	struct plan *plans;
	struct outbox *outbox;
	struct members *members;
	struct pack_reader reader;
	struct expr_run_state st;
	uint64_t skipped;
	struct buf member_row;
	struct buf carried; /* sealed values of the row in hand */
	struct value inputs[EXPR_INPUTS_MAX];
	struct value values[COLUMNS_MAX * 2];
};

_Static_assert((int)ROW_COLUMNS_MAX <= (int)COLUMNS_MAX * 2,
	       "a row's values fit what readers of rows have");
_Static_assert((int)FIELDS_MAX <= (int)EXPR_INPUTS_MAX, "an event's fields are inputs");

struct subject { /* what a row is made of */
	const struct value *inputs;
	const struct record *event; /* NULL: a process */
	uint64_t missing;
	struct value key;     /* of the process; of a fact */
	struct value natural; /* of a dimension */
	int64_t surrogate;
	bool inferred;
};

struct map *
map_new(const struct model *m, map_rows rows, void *ctx)
{
	struct map *x = mem_zero(1, sizeof *x);

	x->m = m;
	x->plans = mem_zero(m->tables_n, sizeof *x->plans);
	for (unsigned t = 0; t < m->tables_n; t++) {
		struct plan *p = &x->plans[t];
		p->columns_n = row_columns(m, t, p->columns, &p->values_n);
	}
	x->outbox = outbox_new(m->tables_n, rows, ctx);
	x->members = members_new();
	return x;
}

void
map_free(struct map *x)
{
	if (!x)
		return;
	outbox_free(x->outbox);
	members_free(x->members);
	pack_reader_free(&x->reader);
	expr_run_free(&x->st);
	buf_free(&x->member_row);
	buf_free(&x->carried);
	free(x->plans);
	free(x);
}

void
map_hash_key(struct map *x, const uint8_t key[static HASH_KEY_BYTES])
{
	memcpy(x->hash_key, key, HASH_KEY_BYTES);
}

struct map_counts
map_counts(const struct map *x)
{
	return (struct map_counts){x->st.nulled, x->skipped};
}

/* ---- natural keys ---- */

enum natural { NATURAL_GOOD, NATURAL_UNKNOWN, NATURAL_INVALID };

static bool
text_blank(const struct value *v)
{
	for (uint32_t i = 0; i < v->len; i++)
		if (!strchr(" \t\r\n\v\f", v->text[i]))
			return false;
	return true;
}

/* The canonical text of a natural key, in the value itself or in `room`. */
static enum natural
natural_text(const struct value *v, char room[static VALUE_FORMAT_MAX], const char **s, size_t *n)
{
	if (v->type == VALUE_NULL)
		return NATURAL_UNKNOWN;
	if (v->type != VALUE_TEXT) {
		*s = room;
		*n = value_format(v, room);
		return NATURAL_GOOD;
	}
	if (v->len > KEY_BYTES_MAX || text_blank(v))
		return NATURAL_INVALID;
	*s = v->text;
	*n = v->len;
	return NATURAL_GOOD;
}

static enum natural
natural_find(const struct map *x, unsigned table, const struct value *v, struct member_id *id)
{
	char room[VALUE_FORMAT_MAX];
	const char *s;
	size_t n;
	enum natural kind = natural_text(v, room, &s, &n);

	if (kind == NATURAL_GOOD)
		*id = (struct member_id){table, keyhash_surrogate(x->hash_key, s, n),
					 member_check(s, n)};
	return kind;
}

static int64_t
calendar_key(const struct map *x, const struct table *t, const struct value *v)
{
	int64_t days, year;
	unsigned month, day;

	if (v->type == VALUE_NULL)
		return MEMBER_UNKNOWN;
	if (v->type == VALUE_TIMESTAMP && !time_in_range(v->integer))
		return MEMBER_INVALID;
	days = v->type == VALUE_DATE ? v->integer : zone_date(x->m->zone, v->integer);
	if (days < t->from_date || days > t->to_date)
		return MEMBER_INVALID;
	date_to_civil(days, &year, &month, &day);
	return year * 10000 + month * 100 + day;
}

/* ---- members ---- */

/* Row of a fact, its reference, the reference's member, that member's row: dimensions refer to
 * nothing. */
static void row_make(struct map *x, unsigned table, const struct subject *s, struct row *row);

static void
member_row(struct map *x, unsigned table, const struct subject *s)
{
	struct value values[COLUMNS_MAX * 2];
	struct row row = {.values = values};

	row_make(x, table, s, &row);
	x->st.nulled += wire_values_fit(values, row.values_n);
	buf_clear(&x->member_row);
	wire_row_write(&x->member_row, &row);
	members_put(x->members, x->member_row.data, x->member_row.len);
}

/* A member that so far is known only by its natural key. */
static void
member_infer(struct map *x, const struct member_id *id, const struct value *natural)
{
	static const struct member_version inferred;
	struct subject s = {.natural = *natural, .surrogate = id->key, .inferred = true};

	if (members_offer(x->members, id, &inferred))
		member_row(x, id->table, &s);
	else
		x->skipped++;
}

static void
member_describe(struct map *x, unsigned table, const struct record *event)
{
	struct subject s = {.inputs = x->inputs, .event = event};
	struct member_version v = {true, event->has_time, event->time_us, {0}};
	struct member_id id;

	expr_run_reset(&x->st);
	expr_run(x->m->tables[table].key_expr, x->inputs, &x->st, &s.natural);
	if (natural_find(x, table, &s.natural, &id) != NATURAL_GOOD)
		return;
	s.surrogate = id.key;
	memcpy(v.rid, event->rid, RID_BYTES);
	if (members_offer(x->members, &id, &v))
		member_row(x, table, &s);
	else
		x->skipped++;
}

/* ---- rows ---- */

static struct value
reference_value(struct map *x, const struct reference *r, const struct subject *s)
{
	const struct table *t = &x->m->tables[r->table];
	struct member_id id;
	struct value v;

	expr_run(r->expr, s->inputs, &x->st, &v);
	if (t->kind == TABLE_CALENDAR)
		return value_integer(calendar_key(x, t, &v));
	switch (natural_find(x, (unsigned)r->table, &v, &id)) {
	case NATURAL_UNKNOWN:
		return value_integer(MEMBER_UNKNOWN);
	case NATURAL_INVALID:
		return value_integer(MEMBER_INVALID);
	case NATURAL_GOOD:
		break;
	}
	member_infer(x, &id, &v);
	return value_integer(id.key);
}

/* A sealed field with what opening it needs to know. Appended: there is room. */
static struct value
field_carried(struct map *x, const struct field *f, const struct record *r, const struct value *v)
{
	const char *label = x->m->sources[r->source].label;
	struct carried c = {.payload = (const uint8_t *)v->text,
			    .payload_len = v->len,
			    .source = label,
			    .source_len = (uint32_t)strlen(label),
			    .path = f->path,
			    .path_len = (uint32_t)strlen(f->path),
			    .has_sid = r->has_sid};
	size_t at = x->carried.len;

	memcpy(c.rid, record_bound(r), RID_BYTES);
	memcpy(c.sid, r->sid, SUBJECT_ID_BYTES);
	wire_carried_write(&x->carried, &c);
	return (struct value){.type = VALUE_SEALED,
			      .len = (uint32_t)(x->carried.len - at),
			      .text = (const char *)x->carried.data + at};
}

/* So that values may point into it while it fills. */
static void
carried_reserve(struct map *x, const struct record *r)
{
	size_t n = 0;

	for (uint32_t i = 0; i < r->fields_n; i++)
		if (r->fields[i].type == VALUE_SEALED)
			n += r->fields[i].len + CARRIED_AROUND_MAX;
	buf_clear(&x->carried);
	buf_reserve(&x->carried, n);
}

/* Columns that no expression makes: fields of raw events, sealed folds. */
static struct value
column_slot(struct map *x, const struct column *c, const struct subject *s)
{
	const struct value *v = &s->inputs[c->slot];

	if (v->type != VALUE_SEALED || !s->event)
		return *v;
	return field_carried(x, &x->m->sources[s->event->source].fields[c->slot], s->event, v);
}

static struct value
column_declared(struct map *x, const struct column *c, const struct subject *s)
{
	struct value v = value_null();

	if (!c->expr)
		return column_slot(x, c, s);
	if (!s->inferred)
		expr_run(c->expr, s->inputs, &x->st, &v);
	return v;
}

static struct value
event_time(const struct subject *s)
{
	return s->event && s->event->has_time ? value_timestamp(s->event->time_us) : value_null();
}

/* An event's key is the canonical text of its correlation ID; false: it is not. */
static bool
event_key(const struct map *x, const struct record *r, struct value *out)
{
	struct value digits;
	struct err e;
	int64_t i;

	*out = value_text(r->key, r->key_len);
	if (x->m->key_type != VALUE_INTEGER)
		return true;
	if (!decimal_parse(r->key, r->key_len, &digits, &e) || !decimal_to_integer(&digits, &i))
		return false;
	*out = value_integer(i);
	return true;
}

static struct value
column_value(struct map *x, const struct table *t, const struct row_column *c,
	     const struct subject *s)
{
	switch (c->role) {
	case ROW_KEY:
		return s->key;
	case ROW_EVENT_AT:
	case ROW_VERSION_AT:
		return event_time(s);
	case ROW_COLUMN:
		return column_declared(x, &t->columns[c->of], s);
	case ROW_REFERENCE:
		return reference_value(x, &t->references[c->of], s);
	case ROW_STATUS:
		return s->inputs[PROCESS_STATUS];
	case ROW_FIRST_EVENT_AT:
		return s->inputs[PROCESS_FIRST_EVENT_AT];
	case ROW_CLOSED_AT:
		return s->inputs[PROCESS_CLOSED_AT];
	case ROW_EVENTS:
		return s->inputs[PROCESS_EVENTS];
	case ROW_REVISION:
		return s->inputs[PROCESS_REVISION];
	case ROW_SURROGATE:
		return value_integer(s->surrogate);
	case ROW_NATURAL:
		return s->natural;
	case ROW_INFERRED:
		return value_boolean(s->inferred);
	default:
		panic("column %s has no value", c->name);
	}
}

static void
row_make(struct map *x, unsigned table, const struct subject *s, struct row *row)
{
	const struct plan *p = &x->plans[table];

	row->values_n = p->values_n;
	row->missing = s->missing;
	row->has_sid = false;
	memset(row->rid, 0, RID_BYTES);
	if (s->event)
		memcpy(row->rid, s->event->rid, RID_BYTES);
	for (unsigned i = 0; i < p->columns_n; i++)
		if (p->columns[i].value >= 0)
			row->values[p->columns[i].value] =
			    column_value(x, &x->m->tables[table], &p->columns[i], s);
}

static void
fact_row(struct map *x, unsigned table, const struct subject *s)
{
	struct row row = {.values = x->values};

	expr_run_reset(&x->st);
	row_make(x, table, s, &row);
	x->st.nulled += wire_values_fit(row.values, row.values_n);
	wire_row_write(outbox_row(x->outbox, table), &row);
	outbox_written(x->outbox, table);
}

/*
 * Of a decoded event, or of a process' sealed folds: nothing is computed. A raw event has the rid
 * with which it came, so that a reader can hold its sealed values against it.
 */
static void
development_row(struct map *x, unsigned table, const struct subject *s)
{
	struct row row = {.values = x->values};

	if (s->event)
		carried_reserve(x, s->event);
	row_make(x, table, s, &row);
	if (s->event)
		memcpy(row.rid, record_bound(s->event), RID_BYTES);
	if (s->event && s->event->has_sid) {
		row.has_sid = true;
		memcpy(row.sid, s->event->sid, SUBJECT_ID_BYTES);
	}
	x->st.nulled += wire_values_fit(row.values, row.values_n);
	wire_row_write(outbox_row(x->outbox, table), &row);
	outbox_written(x->outbox, table);
}

/* ---- frames ---- */

/* Compiled code relies on the types that it was compiled for. */
static bool
type_check(const struct value *v, enum value_type want)
{
	return v->type == VALUE_NULL || v->type == want;
}

static bool
sealed_check(const struct value *v)
{
	return v->type != VALUE_SEALED || wire_carried_read(v->text, v->len, &(struct carried){0});
}

static bool
proc_check(const struct map *x, const struct proc *p)
{
	if (p->inputs_n != x->m->inputs_n)
		return false;
	for (uint32_t i = 0; i < p->inputs_n; i++)
		if (!type_check(&p->inputs[i], x->m->inputs[i].type) ||
		    !sealed_check(&p->inputs[i]))
			return false;
	return true;
}

static bool
frame_bad(struct map *x, const char *what, struct err *e)
{
	return err_set(e, EXIT_BUG, "%s frame: %s", what,
		       x->reader.failed ? x->reader.why : "does not fit the pipeline");
}

bool
map_proc(struct map *x, const uint8_t *body, size_t n, uint32_t count, struct err *e)
{
	struct proc p = {.inputs = x->inputs};

	pack_reader_start(&x->reader, body, n);
	for (uint32_t i = 0; i < count; i++) {
		if (!wire_proc_read(&x->reader, &p) || !proc_check(x, &p))
			return frame_bad(x, "PROC", e);
		struct subject s = {
		    .inputs = x->inputs, .missing = p.missing, .key = x->inputs[PROCESS_KEY]};
		for (unsigned t = 0; t < x->m->tables_n; t++) {
			const struct table *table = &x->m->tables[t];
			if (table->kind == TABLE_FACT && table->grain == GRAIN_PROCESS)
				fact_row(x, t, &s);
			else if (table->kind == TABLE_SEALED_PROCESS)
				development_row(x, t, &s);
		}
	}
	return pack_reader_end(&x->reader) || frame_bad(x, "PROC", e);
}

static bool
event_check(const struct map *x, const struct record *r, struct value *key)
{
	if (r->kind == RECORD_DEAD || r->source >= x->m->sources_n || !r->has_rid)
		return false;
	const struct source *s = &x->m->sources[r->source];
	return wire_fields_check(s, r) && (s->reference || event_key(x, r, key));
}

static void
event_rows(struct map *x, const struct subject *s)
{
	const struct record *r = s->event;

	for (unsigned t = 0; t < x->m->tables_n; t++) {
		const struct table *table = &x->m->tables[t];
		if (table->grain != (int)r->source)
			continue;
		if (table->kind == TABLE_RAW)
			development_row(x, t, s);
		else if (r->raw_only)
			continue;
		else if (table->kind == TABLE_FACT)
			fact_row(x, t, s);
		else if (table->kind == TABLE_DIMENSION)
			member_describe(x, t, r);
	}
}

bool
map_evt(struct map *x, const uint8_t *body, size_t n, uint32_t count, struct err *e)
{
	struct record r = {.fields = x->inputs};

	pack_reader_start(&x->reader, body, n);
	for (uint32_t i = 0; i < count; i++) {
		struct subject s = {.inputs = x->inputs, .event = &r};
		if (!wire_record_read(&x->reader, &r) || !event_check(x, &r, &s.key))
			return frame_bad(x, "EVT", e);
		event_rows(x, &s);
	}
	return pack_reader_end(&x->reader) || frame_bad(x, "EVT", e);
}

/* ---- the end of a batch ---- */

struct sending {
	struct map *x;
	unsigned table;
};

static void
member_send(void *ctx, const uint8_t *row, size_t n)
{
	const struct sending *s = ctx;

	buf_add(outbox_row(s->x->outbox, s->table), row, n);
	outbox_written(s->x->outbox, s->table);
}

void
map_end(struct map *x, uint64_t rows[static TABLES_MAX])
{
	for (unsigned t = 0; t < x->m->tables_n; t++) {
		if (x->m->tables[t].kind != TABLE_DIMENSION)
			continue;
		members_each(x->members, t, member_send, &(struct sending){x, t});
		outbox_flush(x->outbox, t);
	}
	members_sent(x->members);
	for (unsigned t = 0; t < x->m->tables_n; t++)
		outbox_flush(x->outbox, t);
	outbox_counts(x->outbox, rows);
}
