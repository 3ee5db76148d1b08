#include "value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decimal.h"
#include "log.h"
#include "timeform.h"

enum {
	DOUBLE_DIGITS_MIN = 15, /* significant digits that always survive a double, */
	DOUBLE_DIGITS_MAX = 17, /* and those that always tell it apart */
};

#define US_PER_SECOND	1000000
#define SECONDS_PER_DAY 86400

static const char *const type_names[VALUE_TYPE_MAX] = {
    [VALUE_NULL] = "null",	     [VALUE_BOOLEAN] = "boolean", [VALUE_INTEGER] = "integer",
    [VALUE_DECIMAL] = "decimal",     [VALUE_FLOAT] = "float",	  [VALUE_DATE] = "date",
    [VALUE_TIMESTAMP] = "timestamp", [VALUE_TEXT] = "text",	  [VALUE_JSON] = "json",
    [VALUE_SEALED] = "sealed",
};

const char *
value_type_name(enum value_type t)
{
	return t < VALUE_TYPE_MAX ? type_names[t] : "?";
}

enum value_type
value_type_find(const char *name, size_t n)
{
	for (int t = VALUE_NULL + 1; t < VALUE_SEALED; t++)
		if (strlen(type_names[t]) == n && !memcmp(type_names[t], name, n))
			return (enum value_type)t;
	return VALUE_TYPE_MAX;
}

static int
bytes_compare(const struct value *a, const struct value *b)
{
	size_t n = a->len < b->len ? a->len : b->len;
	int c = n ? memcmp(a->text, b->text, n) : 0;

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

int
value_compare(const struct value *a, const struct value *b)
{
	switch (a->type) {
	case VALUE_BOOLEAN:
		return (int)a->boolean - (int)b->boolean;
	case VALUE_INTEGER:
	case VALUE_DATE:
	case VALUE_TIMESTAMP:
		return (a->integer > b->integer) - (a->integer < b->integer);
	case VALUE_DECIMAL:
		return decimal_compare(a, b);
	case VALUE_FLOAT:
		return (a->real > b->real) - (a->real < b->real);
	case VALUE_TEXT:
	case VALUE_JSON:
		return bytes_compare(a, b);
	default:
		panic("value_compare: values of type %s have no order", value_type_name(a->type));
	}
}

/* n digits with leading zeros */
static char *
put_digits(char *to, unsigned x, unsigned n)
{
	for (unsigned i = n; i; i--) {
		to[i - 1] = (char)('0' + (int)(x % 10));
		x /= 10;
	}
	return to + n;
}

/* Days out of range come only from a peer that is wrong; they are shown as the nearest that is in
 * it. */
static char *
put_date(char *to, int64_t days)
{
	int64_t year;
	unsigned month, day;

	date_to_civil(date_nearest(days), &year, &month, &day);
	to = put_digits(to, (unsigned)year, 4);
	*to++ = '-';
	to = put_digits(to, month, 2);
	*to++ = '-';
	return put_digits(to, day, 2);
}

static char *
put_timestamp(char *to, int64_t us)
{
	int64_t seconds = us / US_PER_SECOND - (us % US_PER_SECOND < 0);
	unsigned fraction = (unsigned)((us % US_PER_SECOND + US_PER_SECOND) % US_PER_SECOND);
	int64_t days = seconds / SECONDS_PER_DAY - (seconds % SECONDS_PER_DAY < 0);
	unsigned second = (unsigned)(seconds - days * SECONDS_PER_DAY);

	to = put_date(to, days);
	*to++ = 'T';
	to = put_digits(to, second / 3600, 2);
	*to++ = ':';
	to = put_digits(to, second / 60 % 60, 2);
	*to++ = ':';
	to = put_digits(to, second % 60, 2);
	if (fraction) {
		*to++ = '.';
		to = put_digits(to, fraction, 6);
		while (to[-1] == '0')
			to--;
	}
	*to++ = 'Z';
	return to;
}

/* The shortest of the usual lengths that reads back as the same number. */
static char *
put_float(char *to, double x)
{
	int n = 0;

	if (x == 0)
		x = 0; /* no "-0" */
	for (int digits = DOUBLE_DIGITS_MIN; digits <= DOUBLE_DIGITS_MAX; digits++) {
		n = snprintf(to, VALUE_FORMAT_MAX, "%.*g", digits, x);
		if (strtod(to, NULL) == x)
			break;
	}
	return to + n;
}

static char *
put_integer(char *to, int64_t i)
{
	uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
	unsigned n = 1;

	if (i < 0)
		*to++ = '-';
	for (uint64_t rest = u; rest >= 10; rest /= 10)
		n++;
	for (unsigned at = n; at; at--) {
		to[at - 1] = (char)('0' + (int)(u % 10));
		u /= 10;
	}
	return to + n;
}

static char *
put_word(char *to, const char *word)
{
	size_t n = strlen(word);

	memcpy(to, word, n);
	return to + n;
}

size_t
value_format(const struct value *v, char out[static VALUE_FORMAT_MAX])
{
	char *end = out;

	switch (v->type) {
	case VALUE_NULL:
		end = put_word(out, "null");
		break;
	case VALUE_BOOLEAN:
		end = put_word(out, v->boolean ? "true" : "false");
		break;
	case VALUE_INTEGER:
		end = put_integer(out, v->integer);
		break;
	case VALUE_DECIMAL:
		end += decimal_format(v, out);
		break;
	case VALUE_FLOAT:
		end = put_float(out, v->real);
		break;
	case VALUE_DATE:
		end = put_date(out, v->integer);
		break;
	case VALUE_TIMESTAMP:
		end = put_timestamp(out, v->integer);
		break;
	default:
		panic("value_format: not for type %u", v->type);
	}
	return (size_t)(end - out);
}

void
value_print(const struct value *v, struct buf *b)
{
	if (v->type == VALUE_TEXT || v->type == VALUE_JSON) {
		buf_add(b, v->text, v->len);
		return;
	}
	buf_reserve(b, VALUE_FORMAT_MAX);
	b->len += value_format(v, (char *)b->data + b->len);
}
