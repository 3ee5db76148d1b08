#include "value.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decimal.h"
#include "log.h"

enum {
	NUMBER_TEXT_MAX = 32,
	DOUBLE_DIGITS_MIN = 15, /* significant digits that always survive a double, */
	DOUBLE_DIGITS_MAX = 17, /* and those that always tell it apart */
};

#define US_PER_SECOND	1000000
#define SECONDS_PER_DAY 86400

static const char *const type_names[VALUE_TYPE_MAX] = {
    [VALUE_NULL] = "null",	     [VALUE_BOOLEAN] = "boolean", [VALUE_INTEGER] = "integer",
    [VALUE_DECIMAL] = "decimal",     [VALUE_FLOAT] = "float",	  [VALUE_DATE] = "date",
    [VALUE_TIMESTAMP] = "timestamp", [VALUE_TEXT] = "text",	  [VALUE_JSON] = "json",
};

const char *
value_type_name(enum value_type t)
{
	return t < VALUE_TYPE_MAX ? type_names[t] : "?";
}

enum value_type
value_type_find(const char *name, size_t n)
{
	for (int t = VALUE_NULL + 1; t < VALUE_TYPE_MAX; t++)
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

static void
print_date(int64_t days, struct buf *b)
{
	int64_t year;
	unsigned month, day;

	date_to_civil(days, &year, &month, &day);
	buf_printf(b, "%04" PRId64 "-%02u-%02u", year, month, day);
}

static void
print_timestamp(int64_t us, struct buf *b)
{
	int64_t seconds = us / US_PER_SECOND;
	unsigned fraction = (unsigned)((us % US_PER_SECOND + US_PER_SECOND) % US_PER_SECOND);

	if (us < 0 && fraction)
		seconds--;
	int64_t days = seconds / SECONDS_PER_DAY - (seconds % SECONDS_PER_DAY < 0);
	unsigned second = (unsigned)(seconds - days * SECONDS_PER_DAY);
	print_date(days, b);
	buf_printf(b, "T%02u:%02u:%02u", second / 3600, second / 60 % 60, second % 60);
	if (fraction) {
		buf_printf(b, ".%06u", fraction);
		while (b->data[b->len - 1] == '0')
			b->len--;
	}
	buf_byte(b, 'Z');
}

/* The shortest of the usual lengths that reads back as the same number. */
static void
print_float(double x, struct buf *b)
{
	char text[NUMBER_TEXT_MAX];

	if (x == 0)
		x = 0; /* no "-0" */
	for (int digits = DOUBLE_DIGITS_MIN; digits <= DOUBLE_DIGITS_MAX; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, x);
		if (strtod(text, NULL) == x)
			break;
	}
	buf_text(b, text);
}

static void
print_integer(int64_t i, struct buf *b)
{
	char digits[NUMBER_TEXT_MAX];
	size_t at = sizeof digits;
	uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;

	do {
		digits[--at] = (char)('0' + (int)(u % 10));
		u /= 10;
	} while (u);
	if (i < 0)
		digits[--at] = '-';
	buf_add(b, digits + at, sizeof digits - at);
}

void
value_print(const struct value *v, struct buf *b)
{
	switch (v->type) {
	case VALUE_NULL:
		buf_text(b, "null");
		break;
	case VALUE_BOOLEAN:
		buf_text(b, v->boolean ? "true" : "false");
		break;
	case VALUE_INTEGER:
		print_integer(v->integer, b);
		break;
	case VALUE_DECIMAL:
		decimal_print(v, b);
		break;
	case VALUE_FLOAT:
		print_float(v->real, b);
		break;
	case VALUE_DATE:
		print_date(v->integer, b);
		break;
	case VALUE_TIMESTAMP:
		print_timestamp(v->integer, b);
		break;
	case VALUE_TEXT:
	case VALUE_JSON:
		buf_add(b, v->text, v->len);
		break;
	default:
		panic("value_print: no type %u", v->type);
	}
}
