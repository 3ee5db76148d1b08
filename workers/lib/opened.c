#include "opened.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "expr/utf8.h"
#include "log.h"
#include "origin.h"

enum {
	ROWS_START = 1000,
	OID_BOOL = 16,
	OID_BYTEA = 17,
	OID_INT8 = 20,
	OID_INT2 = 21,
	OID_INT4 = 23,
	OID_JSON = 114,
	OID_FLOAT4 = 700,
	OID_FLOAT8 = 701,
	OID_TIMESTAMPTZ = 1184,
	OID_NUMERIC = 1700,
	OID_JSONB = 3802,
};

struct opened {
	const struct opened_setup *setup;
	struct opened_counts *counts;
	struct origin *origin; /* made with the first rows */
	struct buf out, bytes, plain, text;
	bool began; /* a row or the head was printed */
};

/* ---- JSON ---- */

static bool
is_text(const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t len = s[i] ? utf8_character(s + i, n - i) : 1;
		if (!len)
			return false;
		i += len;
	}
	return true;
}

/* s is UTF-8. */
static void
json_text(struct buf *out, const char *s, size_t n)
{
	buf_byte(out, '"');
	for (size_t i = 0; i < n; i++) {
		uint8_t c = (uint8_t)s[i];
		if (c == '"' || c == '\\') {
			buf_byte(out, '\\');
			buf_byte(out, c);
		} else if (c < ' ' || c == 0x7f) {
			buf_printf(out, "\\u%04x", c);
		} else {
			buf_byte(out, c);
		}
	}
	buf_byte(out, '"');
}

static void
hex_text(struct buf *out, const char *s, size_t n)
{
	buf_text(out, "\\x");
	for (size_t i = 0; i < n; i++)
		buf_printf(out, "%02x", (uint8_t)s[i]);
}

static void
json_bytes(struct buf *out, const char *s, size_t n)
{
	buf_text(out, "\"\\");
	hex_text(out, s, n);
	buf_byte(out, '"');
}

/* A line break between two of its tokens would end the row; inside of a string there is none. */
static void
json_line(struct buf *out, const char *s, size_t n)
{
	size_t at = out->len;

	buf_add(out, s, n);
	for (; at < out->len; at++)
		if (out->data[at] == '\n' || out->data[at] == '\r')
			out->data[at] = ' ';
}

void
opened_json(const struct value *v, bool raw, struct buf *out)
{
	struct buf text = {0};

	if (v->type == VALUE_TEXT && (!raw || is_text(v->text, v->len))) {
		json_text(out, v->text, v->len);
	} else if (v->type == VALUE_TEXT) {
		json_bytes(out, v->text, v->len);
	} else if (v->type == VALUE_JSON) {
		json_line(out, v->text, v->len);
	} else if (v->type == VALUE_NULL) {
		buf_text(out, "null");
	} else if (v->type == VALUE_DATE || v->type == VALUE_TIMESTAMP) {
		value_print(v, &text);
		json_text(out, (const char *)text.data, text.len);
	} else {
		value_print(v, out);
	}
	buf_free(&text);
}

/* ---- CSV ---- */

static void
csv_text(struct buf *out, const char *s, size_t n)
{
	bool plain = n > 0;

	for (size_t i = 0; i < n; i++)
		plain &= s[i] != '"' && s[i] != ',' && s[i] != '\n' && s[i] != '\r';
	if (plain) {
		buf_add(out, s, n);
		return;
	}
	buf_byte(out, '"');
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '"')
			buf_byte(out, '"');
		buf_byte(out, (uint8_t)s[i]);
	}
	buf_byte(out, '"');
}

static void
csv_value(struct opened *o, const struct value *v, bool raw)
{
	if (v->type == VALUE_NULL)
		return;
	buf_clear(&o->text);
	if (raw && !is_text(v->text, v->len))
		hex_text(&o->text, v->text, v->len);
	else
		value_print(v, &o->text);
	csv_text(&o->out, (const char *)o->text.data, o->text.len);
}

/* ---- cells ---- */

static int
digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The bytes of a bytea in text form. */
static bool
cell_bytes(const char *s, struct buf *out)
{
	buf_clear(out);
	if (s[0] != '\\' || s[1] != 'x')
		return false;
	for (s += 2; s[0] && s[1]; s += 2) {
		int hi = digit(s[0]), lo = digit(s[1]);
		if (hi < 0 || lo < 0)
			return false;
		buf_byte(out, (uint8_t)(hi << 4 | lo));
	}
	return !s[0];
}

/* Whether the cell holds a carried value; *c borrows from o->bytes. */
static bool
cell_carried(struct opened *o, const struct pg_result *r, unsigned row, unsigned column,
	     struct carried *c)
{
	return pg_column_oid(r, column) == OID_BYTEA && !pg_is_null(r, row, column) &&
	       cell_bytes(pg_text(r, row, column), &o->bytes) &&
	       wire_carried_read(o->bytes.data, o->bytes.len, c);
}

/* ---- values that look like the marks of those that did not open ---- */

static void
insert(struct buf *out, size_t at, uint8_t c)
{
	buf_byte(out, c);
	memmove(out->data + at + 1, out->data + at, out->len - 1 - at);
	out->data[at] = c;
}

/* "\<erased>" is the text "<erased>", "\\<erased>" the text "\<erased>". */
static void
csv_escape(struct buf *out, size_t start)
{
	size_t at = start;

	while (at < out->len && out->data[at] == '\\')
		at++;
	if (at == out->len || out->data[at++] != '<')
		return;
	while (at < out->len && out->data[at] >= 'a' && out->data[at] <= 'z')
		at++;
	if (at + 1 == out->len && out->data[at] == '>')
		insert(out, start, '\\');
}

/* One ASCII character of a JSON string, perhaps written as \u00xx; 0: another one, or the end. */
static uint8_t
json_ascii(const struct buf *b, size_t *at)
{
	char hex[5] = "";
	unsigned c;

	if (*at >= b->len || b->data[*at] == '"')
		return 0;
	if (b->data[*at] != '\\')
		return b->data[(*at)++];
	if (b->len - *at < 6 || b->data[*at + 1] != 'u')
		return 0;
	memcpy(hex, b->data + *at + 2, 4);
	if (sscanf(hex, "%4x", &c) != 1 || c > 0x7f)
		return 0;
	*at += 6;
	return (uint8_t)c;
}

static size_t
json_blank(const struct buf *b, size_t at)
{
	while (at < b->len && strchr(" \t\n\r", b->data[at]) && b->data[at])
		at++;
	return at;
}

/* An object that begins with "$sealed" gets "$$sealed", one with "$$sealed" one more, and so on. */
static void
json_escape(struct buf *out, size_t start)
{
	static const char name[] = "sealed";
	size_t at = json_blank(out, start), key;
	unsigned dollars = 0, i = 0;
	uint8_t c;

	if (at == out->len || out->data[at] != '{')
		return;
	at = json_blank(out, at + 1);
	if (at == out->len || out->data[at] != '"')
		return;
	key = ++at;
	while ((c = json_ascii(out, &at)) == '$')
		dollars++;
	for (; name[i] && c == (uint8_t)name[i]; i++)
		c = json_ascii(out, &at);
	if (dollars && !name[i] && at < out->len && out->data[at] == '"')
		insert(out, key, '$');
}

static void
value_escape(struct opened *o, size_t start)
{
	if (o->setup->format == OPENED_CSV)
		csv_escape(&o->out, start);
	else
		json_escape(&o->out, start);
}

/* moved: SEAL_OK, or why it is not even tried. */
static void
sealed_print(struct opened *o, enum seal_error moved, const struct carried *c)
{
	bool csv = o->setup->format == OPENED_CSV, raw = false;
	size_t start = o->out.len;
	struct value v;

	enum seal_error why =
	    moved != SEAL_OK ? moved : release_open(o->setup->release, c, &o->plain, &v, &raw);
	o->counts->by_error[why]++;
	if (why == SEAL_OK)
		o->counts->opened++;
	else if (why == SEAL_ERASED)
		o->counts->erased++;
	else
		o->counts->failed++;
	if (why != SEAL_OK)
		buf_printf(&o->out, csv ? "<%s>" : "{\"$sealed\":\"%s\"}", seal_error_name(why));
	else if (csv)
		csv_value(o, &v, raw);
	else
		opened_json(&v, raw, &o->out);
	if (why == SEAL_OK)
		value_escape(o, start);
	secret_wipe(o->plain.data, o->plain.cap);
	secret_wipe(o->text.data, o->text.cap);
}

/* The database's own text of a number is JSON, but for what JSON has no word for. */
static bool
is_number(const char *s)
{
	return s[strspn(s, "-+.0123456789eE")] == 0;
}

/* "2011-10-01 00:38:44.546+00", in UTC. */
static void
time_text(struct buf *out, const char *s, size_t n)
{
	buf_clear(out);
	bool usual =
	    n > 14 && s[10] == ' ' && s[n - 3] == '+' && s[n - 2] == '0' && s[n - 1] == '0';
	buf_add(out, s, usual ? n - 3 : n);
	if (usual) {
		out->data[10] = 'T';
		buf_byte(out, 'Z');
	}
}

static void
clear_print(struct opened *o, uint32_t oid, const char *s)
{
	size_t n = strlen(s);

	if (oid == OID_TIMESTAMPTZ) {
		time_text(&o->text, s, n);
		n = o->text.len;
		s = buf_cstr(&o->text);
	}
	if (o->setup->format == OPENED_CSV)
		csv_text(&o->out, oid == OID_BOOL ? (*s == 't' ? "true" : "false") : s,
			 oid == OID_BOOL ? (*s == 't' ? 4 : 5) : n);
	else if (oid == OID_BOOL)
		buf_text(&o->out, *s == 't' ? "true" : "false");
	else if (oid == OID_JSON || oid == OID_JSONB)
		json_line(&o->out, s, n);
	else if ((oid == OID_INT2 || oid == OID_INT4 || oid == OID_INT8 || oid == OID_FLOAT4 ||
		  oid == OID_FLOAT8 || oid == OID_NUMERIC) &&
		 is_number(s))
		buf_add(&o->out, s, n);
	else
		json_text(&o->out, s, n);
}

static void
cell_print(struct opened *o, const struct pg_result *r, unsigned row, unsigned column)
{
	struct carried c;
	size_t start = o->out.len;

	if (cell_carried(o, r, row, column, &c))
		sealed_print(o, origin_judge(o->origin, r, row, column, &c), &c);
	else if (!pg_is_null(r, row, column)) {
		clear_print(o, pg_column_oid(r, column), pg_text(r, row, column));
		value_escape(o, start);
	} else if (o->setup->format != OPENED_CSV)
		buf_text(&o->out, "null");
}

/* ---- rows ---- */

static void
head_print(struct opened *o, const struct pg_result *r)
{
	if (o->began)
		return;
	if (o->setup->format == OPENED_JSON)
		buf_byte(&o->out, '[');
	for (unsigned i = 0; o->setup->format == OPENED_CSV && i < pg_columns(r); i++) {
		const char *name = pg_column_name(r, i);
		buf_text(&o->out, i ? "," : "");
		csv_text(&o->out, name, strlen(name));
	}
	if (o->setup->format == OPENED_CSV)
		buf_text(&o->out, "\r\n");
	o->began = true;
}

static void
row_print(struct opened *o, const struct pg_result *r, unsigned row)
{
	bool csv = o->setup->format == OPENED_CSV;

	if (o->setup->format == OPENED_JSON && o->counts->rows)
		buf_byte(&o->out, ',');
	for (unsigned i = 0; i < pg_columns(r); i++) {
		const char *name = pg_column_name(r, i);
		buf_text(&o->out, csv ? (i ? "," : "") : (i ? "," : "{"));
		if (!csv) {
			json_text(&o->out, name, strlen(name));
			buf_byte(&o->out, ':');
		}
		cell_print(o, r, row, i);
	}
	buf_text(&o->out, csv ? "\r\n" : "}");
	if (o->setup->format == OPENED_NDJSON)
		buf_byte(&o->out, '\n');
	o->counts->rows++;
}

static bool
columns_check(const struct opened *o, const struct pg_result *r, struct err *e)
{
	const struct name_list *l = o->setup->columns;

	for (unsigned i = 0; l && l->n && i < pg_columns(r); i++)
		if (!name_list_has(l, pg_column_name(r, i)))
			return err_set(e, EXIT_PERMISSION,
				       "column \"%s\" is not in the signed list of this hand-over",
				       pg_column_name(r, i));
	return true;
}

static bool
batch_print(struct opened *o, const struct pg_result *r, struct err *e)
{
	struct carried c;

	if (!columns_check(o, r, e) ||
	    (!o->origin &&
	     !origin_of(o->setup->pg, o->setup->model, o->setup->policy, r, &o->origin, e)))
		return false;
	release_batch(o->setup->release);
	for (unsigned i = 0; i < pg_rows(r); i++)
		for (unsigned j = 0; j < pg_columns(r); j++)
			if (cell_carried(o, r, i, j, &c))
				release_note(o->setup->release, &c);
	if (!release_ask(o->setup->release, e))
		return false;
	head_print(o, r);
	for (unsigned i = 0; i < pg_rows(r); i++)
		row_print(o, r, i);
	bool good = o->setup->put(o->setup->of, o->out.data, o->out.len, e);
	secret_wipe(o->out.data, o->out.cap);
	buf_clear(&o->out);
	return good;
}

static bool
cursor_open(const struct opened *o, struct err *e)
{
	struct buf sql = {0};

	if (!pg_script(o->setup->pg, "BEGIN TRANSACTION READ ONLY", e))
		return false;
	buf_printf(&sql, "DECLARE weir_rows NO SCROLL CURSOR FOR %s", o->setup->query);
	/* The extended protocol takes one statement only. */
	bool good = pg_query(o->setup->pg, buf_cstr(&sql), NULL, 0, false, NULL, e);
	buf_free(&sql);
	return good;
}

/* Batches of about OPENED_BYTES_WANTED, so that rows of large values need no more memory. */
static unsigned
rows_next(unsigned rows, size_t bytes)
{
	if (bytes > OPENED_BYTES_WANTED)
		return rows > 16 ? rows / 2 : 8;
	return rows * 4 < OPENED_ROWS_MAX ? rows * 4 : OPENED_ROWS_MAX;
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

static bool
batches(struct opened *o, struct err *e)
{
	unsigned wanted = ROWS_START, got = ROWS_START;
	bool good = true;

	while (good && got == wanted) {
		char sql[64];
		struct pg_result *r;
		snprintf(sql, sizeof sql, "FETCH %u FROM weir_rows", wanted);
		if (!pg_exec(o->setup->pg, sql, &r, e))
			return false;
		got = pg_rows(r);
		size_t bytes = result_bytes(r);
		good = batch_print(o, r, e);
		pg_result_free(r);
		if (got == wanted)
			got = wanted = rows_next(wanted, bytes);
	}
	return good;
}

bool
opened_run(const struct opened_setup *s, struct opened_counts *counts, struct err *e)
{
	struct opened o = {.setup = s, .counts = counts};

	*counts = (struct opened_counts){0};
	bool good = cursor_open(&o, e) && batches(&o, e);
	/* Not a server that will be writable again: the query wants to write, and is refused it. */
	if (!good && !strcmp(pg_sqlstate(s->pg), "25006"))
		e->code = EXIT_PERMISSION;
	if (good && s->format == OPENED_JSON)
		good = s->put(s->of, "]\n", 2, e);
	if (pg_alive(s->pg)) {
		struct err ignored; /* the rows are read, or the failure is told already */
		if (!pg_script(s->pg, "ROLLBACK", &ignored))
			log_debug("%s", ignored.text);
	}
	origin_free(o.origin);
	buf_free(&o.out);
	buf_free(&o.bytes);
	buf_free(&o.plain);
	buf_free(&o.text);
	return good;
}

void
opened_words(const struct opened_counts *c, struct buf *out)
{
	bool some = false;

	for (unsigned i = SEAL_OK + 1; i < SEAL_ERROR_MAX; i++) {
		if (!c->by_error[i])
			continue;
		buf_printf(out, "%s%llu %s", some ? ", " : "", (unsigned long long)c->by_error[i],
			   seal_error_name((enum seal_error)i));
		some = true;
	}
}
