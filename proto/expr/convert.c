/* Casts: from each type to each that makes sense. */
#include "code.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decimal.h"
#include "lex.h"
#include "timeform.h"

enum { NUMBER_TEXT_MAX = 128 };

#define US_PER_DAY INT64_C(86400000000)

bool
expr_convert_exists(enum value_type from, enum value_type to)
{
	static const unsigned to_from[VALUE_TYPE_MAX] = {
	    [VALUE_BOOLEAN] = 1u << VALUE_TEXT | 1u << VALUE_INTEGER,
	    [VALUE_INTEGER] =
		1u << VALUE_TEXT | 1u << VALUE_DECIMAL | 1u << VALUE_FLOAT | 1u << VALUE_BOOLEAN,
	    [VALUE_DECIMAL] = 1u << VALUE_TEXT | 1u << VALUE_INTEGER | 1u << VALUE_FLOAT,
	    [VALUE_FLOAT] = 1u << VALUE_TEXT | 1u << VALUE_INTEGER | 1u << VALUE_DECIMAL,
	    [VALUE_DATE] = 1u << VALUE_TEXT | 1u << VALUE_TIMESTAMP,
	    [VALUE_TIMESTAMP] = 1u << VALUE_TEXT | 1u << VALUE_DATE,
	    [VALUE_TEXT] = ~0u,
	};

	return from == VALUE_NULL || from == to || (to_from[to] >> from & 1);
}

static bool
to_boolean(const struct value *v, struct value *out)
{
	if (v->type == VALUE_INTEGER) {
		*out = value_boolean(v->integer != 0);
		return true;
	}
	static const char *const yes[] = {"true", "t", "yes", "y", "on", "1"};
	static const char *const no[] = {"false", "f", "no", "n", "off", "0"};
	for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
		if (lex_same(v->text, v->len, yes[i])) {
			*out = value_boolean(true);
			return true;
		}
		if (lex_same(v->text, v->len, no[i])) {
			*out = value_boolean(false);
			return true;
		}
	}
	return false;
}

/* Digits without the spaces around them and without a leading +. */
static bool
text_number(const struct value *v, struct value *out)
{
	const char *s = v->text;
	size_t n = v->len;
	struct err e;

	while (n && *s == ' ') {
		s++;
		n--;
	}
	while (n && s[n - 1] == ' ')
		n--;
	if (n && *s == '+' && n > 1 && s[1] != '-') {
		s++;
		n--;
	}
	return decimal_parse(s, n, out, &e);
}

static bool
to_integer(const struct value *v, struct value *out)
{
	struct value decimal = *v;
	int64_t i;

	if (v->type == VALUE_BOOLEAN) {
		*out = value_integer(v->boolean);
		return true;
	}
	if (v->type == VALUE_FLOAT) {
		double whole = rint(v->real);
		if (!(whole >= -0x1p63 && whole < 0x1p63))
			return false;
		*out = value_integer((int64_t)whole);
		return true;
	}
	if (v->type == VALUE_TEXT && !text_number(v, &decimal))
		return false;
	if (v->type == VALUE_TEXT && memchr(v->text, '.', v->len))
		return false; /* as in PostgreSQL: '1.5' is no integer */
	if (!decimal_to_integer(&decimal, &i))
		return false;
	*out = value_integer(i);
	return true;
}

static bool
to_decimal(const struct value *v, struct value *out)
{
	if (v->type == VALUE_INTEGER) {
		*out = decimal_from_integer(v->integer);
		return true;
	}
	if (v->type == VALUE_FLOAT)
		return decimal_from_double(v->real, out);
	return text_number(v, out);
}

static bool
to_float(const struct value *v, struct value *out)
{
	char text[NUMBER_TEXT_MAX];
	double x;

	if (v->type == VALUE_INTEGER) {
		x = (double)v->integer;
	} else if (v->type == VALUE_DECIMAL) {
		x = decimal_to_double(v);
	} else {
		char *end;
		if (!v->len || v->len >= sizeof text)
			return false;
		memcpy(text, v->text, v->len);
		text[v->len] = '\0';
		if (strspn(text, "0123456789+-.eE ") != v->len)
			return false;
		x = strtod(text, &end);
		if (end == text || end[strspn(end, " ")])
			return false;
	}
	*out = (struct value){.type = VALUE_FLOAT, .real = x};
	return isfinite(x);
}

static bool
to_date(const struct value *v, const struct zone *zone, struct value *out)
{
	struct err e;
	int64_t days;

	if (v->type == VALUE_TIMESTAMP) {
		if (!time_in_range(v->integer))
			return false;
		days = zone_date(zone, v->integer);
	} else if (!date_parse(v->text, v->len, &days, &e)) {
		return false;
	}
	*out = (struct value){.type = VALUE_DATE, .integer = days};
	return true;
}

/* A date is its midnight in the zone; a text may be a date, and is local without an offset. */
static bool
to_timestamp(const struct value *v, const struct zone *zone, struct value *out)
{
	struct err e;
	int64_t us, days;

	if (v->type == VALUE_TEXT && !date_parse(v->text, v->len, &days, &e)) {
		bool good =
		    time_parse(v->text, v->len, TIME_RFC3339, zone ? zone : zone_utc(), &us, &e);
		if (!good)
			return false;
		*out = value_timestamp(us);
		return true;
	}
	if (v->type == VALUE_DATE)
		days = v->integer;
	if (!date_in_range(days))
		return false;
	us = zone_to_utc_us(zone, days * US_PER_DAY);
	*out = value_timestamp(us);
	return time_in_range(us);
}

static bool
to_text(const struct value *v, struct expr_run_state *st, struct value *out)
{
	if (v->type == VALUE_JSON || v->type == VALUE_TEXT) {
		*out = value_text(v->text, v->len);
		return true;
	}
	char *p = scratch_take(st, VALUE_FORMAT_MAX);
	if (!p)
		return false;
	size_t n = value_format(v, p);
	st->used -= VALUE_FORMAT_MAX - n;
	*out = value_text(p, n);
	return true;
}

bool
expr_convert(const struct value *v, enum value_type to, const struct zone *zone,
	     struct expr_run_state *st, struct value *out)
{
	if (v->type == to) {
		*out = *v;
		return true;
	}
	switch (to) {
	case VALUE_BOOLEAN:
		return to_boolean(v, out);
	case VALUE_INTEGER:
		return to_integer(v, out);
	case VALUE_DECIMAL:
		return to_decimal(v, out);
	case VALUE_FLOAT:
		return to_float(v, out);
	case VALUE_DATE:
		return to_date(v, zone, out);
	case VALUE_TIMESTAMP:
		return to_timestamp(v, zone, out);
	case VALUE_TEXT:
		return to_text(v, st, out);
	default:
		return false;
	}
}
