#include "convert.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT_CHARS_MAX = 1100, INTEGER_DIGITS_QUICK = 18 };

/*
 * Member by member: a struct put together on the stack and then copied as a whole is read back
 * before its narrow stores have drained, which cost a tenth of all decoding.
 */
static inline void
put(struct value *out, enum value_type type, uint32_t len)
{
	out->type = (uint8_t)type;
	out->scale = 0;
	out->len = len;
}

static bool
wrong_type(const struct json_item *it, const char *wanted, struct err *e)
{
	return err_set(e, EXIT_DATA, "%s was expected, this is %s", wanted,
		       json_kind_words(it->kind));
}

static bool
text(const struct json_item *it, struct value *out, struct err *e)
{
	if (it->kind != JSON_STRING)
		return wrong_type(it, "a text", e);
	if (it->len > TEXT_BYTES_MAX)
		return err_set(e, EXIT_DATA, "a text has at most %d bytes, this has %u",
			       TEXT_BYTES_MAX, it->len);
	put(out, VALUE_TEXT, it->len);
	out->text = it->at;
	return true;
}

static bool
json(const struct json_item *it, struct value *out, struct err *e)
{
	if (it->raw_len > TEXT_BYTES_MAX)
		return err_set(e, EXIT_DATA, "a json value has at most %d bytes, this has %u",
			       TEXT_BYTES_MAX, it->raw_len);
	put(out, VALUE_JSON, it->raw_len);
	out->text = it->raw;
	return true;
}

static bool
boolean(const struct json_item *it, struct value *out, struct err *e)
{
	if (it->kind != JSON_TRUE && it->kind != JSON_FALSE)
		return wrong_type(it, "true or false", e);
	put(out, VALUE_BOOLEAN, 0);
	out->boolean = it->kind == JSON_TRUE;
	return true;
}

/* Plain digits that cannot overflow. */
static bool
integer_quick(const char *s, size_t n, int64_t *out)
{
	bool negative = n && *s == '-';
	int64_t v = 0;

	if (n - negative > INTEGER_DIGITS_QUICK)
		return false;
	for (size_t i = negative; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (s[i] - '0');
	}
	*out = negative ? -v : v;
	return true;
}

/* All the digits, and forms like 5.0 and 1e3. */
static bool
integer_exact(const struct json_item *it, int64_t *out, struct err *e)
{
	struct value d;
	struct err unused;

	if (!decimal_parse(it->at, it->len, &d, &unused))
		return err_set(e, EXIT_DATA, "an integer of 64 bits was expected");
	int128 units = value_units(&d);
	for (unsigned i = d.scale; i; i--) {
		if (units % 10)
			return err_set(e, EXIT_DATA,
				       "an integer was expected, this has a fraction");
		units /= 10;
	}
	if (units < INT64_MIN || units > INT64_MAX)
		return err_set(e, EXIT_DATA,
			       "an integer has 64 bits (-2^63 to 2^63 - 1), this needs more");
	*out = (int64_t)units;
	return true;
}

static bool
integer(const struct json_item *it, struct value *out, struct err *e)
{
	int64_t v;

	if (it->kind != JSON_NUMBER)
		return wrong_type(it, "an integer", e);
	if (!integer_quick(it->at, it->len, &v) && !integer_exact(it, &v, e))
		return false;
	put(out, VALUE_INTEGER, 0);
	out->integer = v;
	return true;
}

static bool
decimal(const struct json_item *it, struct value *out, struct err *e)
{
	if (it->kind != JSON_NUMBER)
		return wrong_type(it, "a number", e);
	return decimal_parse(it->at, it->len, out, e);
}

static bool
real(const struct json_item *it, struct value *out, struct err *e)
{
	char s[FLOAT_CHARS_MAX + 1];

	if (it->kind != JSON_NUMBER)
		return wrong_type(it, "a number", e);
	if (it->len > FLOAT_CHARS_MAX)
		return err_set(e, EXIT_DATA, "a number has at most %d digits, this has %u",
			       FLOAT_CHARS_MAX, it->len);
	memcpy(s, it->at, it->len);
	s[it->len] = '\0';
	double v = strtod(s, NULL);
	if (!isfinite(v))
		return err_set(e, EXIT_DATA, "a float ends at about 1.8e308, this is larger");
	put(out, VALUE_FLOAT, 0);
	out->real = v;
	return true;
}

static bool
date(const struct json_item *it, struct value *out, struct err *e)
{
	int64_t days;

	if (it->kind != JSON_STRING)
		return wrong_type(it, "a date like \"2011-10-01\"", e);
	if (!date_parse(it->at, it->len, &days, e))
		return false;
	put(out, VALUE_DATE, 0);
	out->integer = days;
	return true;
}

static bool
timestamp(const struct json_item *it, enum time_form form, const struct zone *zone,
	  struct value *out, struct err *e)
{
	int64_t us;

	if (form == TIME_RFC3339 && it->kind != JSON_STRING)
		return wrong_type(it,
				  "a time like \"2011-10-01T00:38:44Z\" (numbers need form: "
				  "unix_s, unix_ms or unix_us)",
				  e);
	if (form != TIME_RFC3339 && it->kind != JSON_NUMBER)
		return wrong_type(it, "a time as a number", e);
	if (!time_parse(it->at, it->len, form, zone, &us, e))
		return false;
	put(out, VALUE_TIMESTAMP, 0);
	out->integer = us;
	return true;
}

bool
convert_item(const struct json_item *it, enum value_type type, enum time_form form,
	     const struct zone *zone, struct value *out, struct err *e)
{
	if (it->kind == JSON_ABSENT || it->kind == JSON_NULL) {
		put(out, VALUE_NULL, 0);
		out->integer = 0;
		return true;
	}
	switch (type) {
	case VALUE_BOOLEAN:
		return boolean(it, out, e);
	case VALUE_INTEGER:
		return integer(it, out, e);
	case VALUE_DECIMAL:
		return decimal(it, out, e);
	case VALUE_FLOAT:
		return real(it, out, e);
	case VALUE_DATE:
		return date(it, out, e);
	case VALUE_TIMESTAMP:
		return timestamp(it, form, zone, out, e);
	case VALUE_TEXT:
		return text(it, out, e);
	case VALUE_JSON:
		return json(it, out, e);
	case VALUE_NULL:
	case VALUE_SEALED: /* the type of a value that was sealed, never of a field */
	case VALUE_TYPE_MAX:
		break;
	}
	return err_set(e, EXIT_BUG, "a field without a type");
}
