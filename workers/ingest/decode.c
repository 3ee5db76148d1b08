#include "decode.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert.h"
#include "json.h"
#include "log.h"
#include "mem.h"

/* 0001-01-01 and the end of 9999-12-31: what value.h accepts. */
#define TIME_US_MIN (INT64_C(-719162) * INT64_C(86400000000))
#define TIME_US_MAX (INT64_C(2932897) * INT64_C(86400000000) - 1)

struct decoder_source {
	struct json_table *table;
	int *items; /* of each field: its path in the table; those that are made have none, -1 */
	int identity_item;	    /* path of a queue's identity, or -1 */
	struct json_table *subject; /* its path alone, for events that are refused; or NULL */
};

struct decoder {
	const struct model *m;
	struct decoder_source *sources;
	struct json *json;
	struct value values[FIELDS_MAX];
	struct expr_run_state run;
	struct buf key;	    /* a key that is not text */
	struct buf unknown; /* undeclared members, where they are to be sealed */
};

/* Not a member of the event: derived, a token, or all that is undeclared. */
static bool
field_made(const struct source *s, unsigned i)
{
	return s->fields[i].derive || s->fields[i].token_of >= 0 || (int)i == s->unknown_field;
}

static bool
table_new(struct decoder *d, unsigned source, struct err *e)
{
	const struct source *s = &d->m->sources[source];
	struct decoder_source *ds = &d->sources[source];
	const char *paths[FIELDS_MAX + 1];
	unsigned n = 0;

	check(s->fields_n <= FIELDS_MAX && s->key_field < (int)s->fields_n);
	ds->items = mem_zero(s->fields_n, sizeof *ds->items);
	for (unsigned i = 0; i < s->fields_n; i++) {
		bool made = field_made(s, i);

		ds->items[i] = made ? -1 : (int)n;
		if (!made)
			paths[n++] = s->fields[i].path;
	}
	ds->identity_item = -1;
	if (s->kind == SOURCE_RABBITMQ && s->identity == IDENTITY_PATH) {
		ds->identity_item = (int)n;
		paths[n++] = s->identity_path;
	}
	if (!json_table_new(paths, n, &ds->table, e) ||
	    (s->subject_field >= 0 &&
	     !json_table_new((const char *const[]){s->fields[s->subject_field].path}, 1,
			     &ds->subject, e)))
		return err_context(e, "source %s", s->name.s);
	return true;
}

bool
decoder_new(const struct model *m, struct decoder **out, struct err *e)
{
	struct decoder *d = mem_zero(1, sizeof *d);

	*out = NULL;
	d->m = m;
	d->sources = mem_zero(m->sources_n, sizeof *d->sources);
	d->json = json_new();
	for (unsigned i = 0; i < m->sources_n; i++)
		if (!table_new(d, i, e)) {
			decoder_free(d);
			return false;
		}
	*out = d;
	return true;
}

void
decoder_free(struct decoder *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < d->m->sources_n; i++) {
		json_table_free(d->sources[i].table);
		json_table_free(d->sources[i].subject);
		free(d->sources[i].items);
	}
	free(d->sources);
	json_free(d->json);
	expr_run_free(&d->run);
	buf_free(&d->key);
	if (d->unknown.data)
		explicit_bzero(d->unknown.data, d->unknown.cap);
	buf_free(&d->unknown);
	free(d);
}

uint64_t
decoder_nulled(const struct decoder *d)
{
	return d->run.nulled;
}

static bool PRINTF(2, 3) dead(struct decoded *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out->reason, sizeof out->reason, fmt, ap);
	va_end(ap);
	return false;
}

/* A parser's error, with the field it belongs to. */
static bool
dead_json(const struct decoder *d, unsigned source, int path, const struct err *e,
	  struct decoded *out)
{
	const struct source *s = &d->m->sources[source];
	const struct decoder_source *ds = &d->sources[source];

	for (unsigned i = 0; path >= 0 && i < s->fields_n; i++)
		if (ds->items[i] == path)
			return dead(out, "field %s: %s", s->fields[i].name.s, e->text);
	return dead(out, "%s", e->text);
}

/* A token is made where values are sealed; here it is null. */
static void
field_make(struct decoder *d, const struct source *s, unsigned i)
{
	struct value *v = &d->values[i];

	*v = value_null();
	if (s->fields[i].derive)
		expr_run(s->fields[i].derive, d->values, &d->run, v);
	else if ((int)i == s->unknown_field && d->unknown.len)
		*v = (struct value){.type = VALUE_JSON,
				    .len = (uint32_t)d->unknown.len,
				    .text = (const char *)d->unknown.data};
}

static bool
unknown_check(const struct decoder *d, const struct source *s, struct decoded *out)
{
	/* A hostile name can be a value, so none is told. */
	if (s->unknown == UNKNOWN_REJECT && out->undeclared)
		return dead(out, "the event has fields that are not declared (unknown_fields)");
	if (d->unknown.len > TEXT_BYTES_MAX)
		return dead(out,
			    "the fields that are not declared have %zu bytes, at most %d can be "
			    "sealed",
			    d->unknown.len, TEXT_BYTES_MAX);
	return true;
}

static bool
fields_convert(struct decoder *d, unsigned source, struct decoded *out)
{
	const struct source *s = &d->m->sources[source];
	const struct decoder_source *ds = &d->sources[source];
	struct err e;

	expr_run_reset(&d->run);
	for (unsigned i = 0; i < s->fields_n; i++) {
		const struct field *f = &s->fields[i];

		if (ds->items[i] < 0)
			field_make(d, s, i);
		else if (!convert_item(json_item(ds->table, (unsigned)ds->items[i]), f->type,
				       f->form, d->m->zone, &d->values[i], &e))
			return dead(out, "field %s: %s", f->name.s, e.text);
	}
	return true;
}

/* The correlation ID or reference key as canonical text. */
static bool
key_set(struct decoder *d, const struct source *s, struct decoded *out)
{
	const struct value *v = &d->values[s->key_field];
	const char *name = s->fields[s->key_field].name.s;
	const char *what = s->reference ? "reference key" : "correlation ID";
	struct record *r = &out->record;

	if (v->type == VALUE_NULL)
		return dead(out, "field %s: the %s is missing", name, what);
	if (v->type == VALUE_TEXT) {
		r->key = v->text;
		r->key_len = v->len;
	} else {
		buf_clear(&d->key);
		value_print(v, &d->key);
		r->key = (const char *)d->key.data;
		r->key_len = (uint32_t)d->key.len;
	}
	if (!r->key_len)
		return dead(out, "field %s: the %s is empty", name, what);
	if (r->key_len > KEY_BYTES_MAX)
		return dead(out, "field %s: the %s has %u bytes, at most %d are possible", name,
			    what, r->key_len, KEY_BYTES_MAX);
	return true;
}

static bool
time_of_field(const struct decoder *d, const struct source *s, struct decoded *out)
{
	const struct value *v = &d->values[s->time_field];

	if (v->type != VALUE_TIMESTAMP && v->type != VALUE_DATE)
		return dead(out, "field %s: the event has no time",
			    s->fields[s->time_field].name.s);
	out->record.time_us =
	    v->type == VALUE_DATE ? v->integer * INT64_C(86400000000) : v->integer;
	return true;
}

static bool
time_set(const struct decoder *d, const struct source *s, const struct source_event *ev,
	 int64_t now_wall_us, struct decoded *out)
{
	const char *from = "the broker's time";
	struct record *r = &out->record;
	int64_t ahead = d->m->limits.time_ahead_max_us;

	r->has_time = s->time != TIME_NONE;
	if (s->time == TIME_NONE)
		return true;
	if (s->time == TIME_OF_BROKER) {
		if (!ev->has_broker_time)
			return dead(out, "the broker gave this event no time");
		r->time_us = ev->broker_time_us;
		if (r->time_us < TIME_US_MIN || r->time_us > TIME_US_MAX)
			return dead(out, "the broker's time is outside the years 1 to 9999");
	} else if (!time_of_field(d, s, out)) {
		return false;
	} else {
		from = s->fields[s->time_field].name.s;
	}
	if (r->time_us - ahead > now_wall_us)
		return dead(
		    out, "%s%s: the time lies more than %lld s (time_ahead_max) in the future",
		    s->time == TIME_OF_BROKER ? "" : "field ", from, (long long)(ahead / 1000000));
	return true;
}

/* The identity that a queue's event carries inside; text or number. */
static bool
identity_set(const struct decoder *d, unsigned source, struct decoded *out)
{
	const struct decoder_source *ds = &d->sources[source];

	if (ds->identity_item < 0)
		return true;
	const struct json_item *it = json_item(ds->table, (unsigned)ds->identity_item);
	if ((it->kind != JSON_STRING && it->kind != JSON_NUMBER) || !it->len)
		return dead(out, "the identity at %s is missing, empty or neither text nor number",
			    d->m->sources[source].identity_path);
	out->identity = it->at;
	out->identity_len = it->len;
	return true;
}

/* What is sealed or tokenised is seen by sealing.c first. */
static void
fields_send(struct decoder *d, const struct source *s, struct record *r)
{
	if (s->sequence_field >= 0 && d->values[s->sequence_field].type == VALUE_INTEGER)
		r->sequence = d->values[s->sequence_field].integer;
	for (unsigned i = 0; i < s->fields_n; i++)
		if (!s->fields[i].used && s->fields[i].domain < 0)
			d->values[i] = value_null();
	r->fields = d->values;
	r->fields_n = s->fields_n;
}

bool
decoder_event(struct decoder *d, unsigned source, const struct source_event *ev,
	      int64_t now_wall_us, struct decoded *out)
{
	const struct source *s = &d->m->sources[source];
	struct err e;
	int path;

	out->record = (struct record){.kind = s->reference ? RECORD_REFERENCE : RECORD_EVENT,
				      .source = (uint16_t)source};
	out->identity = NULL;
	out->identity_len = 0;
	out->undeclared = 0;
	if (ev->reason)
		return dead(out, "%s", ev->reason);
	if (ev->len > d->m->limits.event_bytes_max)
		return dead(out, "the event has %zu bytes, event_bytes_max is %llu", ev->len,
			    (unsigned long long)d->m->limits.event_bytes_max);
	buf_clear(&d->unknown);
	json_collect(d->json, s->unknown_field >= 0 ? &d->unknown : NULL);
	if (!json_parse(d->json, d->sources[source].table, ev->data, ev->len, &out->undeclared,
			&path, &e))
		return dead_json(d, source, path, &e, out);
	if (!unknown_check(d, s, out) || !fields_convert(d, source, out) || !key_set(d, s, out) ||
	    !time_set(d, s, ev, now_wall_us, out) || !identity_set(d, source, out))
		return false;
	fields_send(d, s, &out->record);
	return true;
}

/* What is wrong elsewhere, or a number where text is declared, does not matter here. */
bool
decoder_subject(struct decoder *d, unsigned source, const struct source_event *ev,
		struct value *out)
{
	const struct source *s = &d->m->sources[source];
	const struct field *f = &s->fields[s->subject_field];
	const struct decoder_source *ds = &d->sources[source];
	unsigned undeclared;
	struct err e;
	int path;

	if (ev->reason || ev->len > d->m->limits.event_bytes_max)
		return false;
	json_collect(d->json, NULL);
	if (!json_parse(d->json, ds->subject, ev->data, ev->len, &undeclared, &path, &e))
		return false;
	const struct json_item *it = json_item(ds->subject, 0);
	if (f->type == VALUE_TEXT && it->kind == JSON_NUMBER) {
		*out = value_text(it->raw, it->raw_len);
		return true;
	}
	return convert_item(it, f->type, f->form, d->m->zone, out, &e);
}
