#include "zone_rule.h"

#include "value.h"

enum {
	ABBREVIATION_MIN = 3,
	OFFSET_HOURS_MAX = 24,
	CHANGE_HOURS_MAX = 167,
	CHANGE_HOUR_DEFAULT = 2,
	DAYLIGHT_SHIFT_S = 3600,
};

#define SECONDS_PER_DAY INT64_C(86400)

struct cursor {
	const char *s;
	size_t n, at;
};

static bool
cursor_take(struct cursor *c, char want)
{
	if (c->at == c->n || c->s[c->at] != want)
		return false;
	c->at++;
	return true;
}

static bool
cursor_number(struct cursor *c, int max, int *out)
{
	size_t from = c->at;
	int x = 0;

	for (; c->at < c->n && c->s[c->at] >= '0' && c->s[c->at] <= '9'; c->at++) {
		x = x * 10 + (c->s[c->at] - '0');
		if (x > max)
			return false;
	}
	*out = x;
	return c->at > from;
}

/* CET or <+0330>. */
static bool
cursor_abbreviation(struct cursor *c)
{
	size_t from = c->at;
	bool quoted = cursor_take(c, '<');

	while (c->at < c->n) {
		char x = c->s[c->at];
		bool letter = (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z');
		bool digit = (x >= '0' && x <= '9') || x == '+' || x == '-';
		if (!letter && !(quoted && digit))
			break;
		c->at++;
	}
	return quoted ? cursor_take(c, '>') : c->at - from >= ABBREVIATION_MIN;
}

/* [+-]hh[:mm[:ss]] */
static bool
cursor_time(struct cursor *c, int hours_max, int64_t *out)
{
	bool minus = cursor_take(c, '-');
	int hours, minutes = 0, seconds = 0;

	if (!minus)
		(void)cursor_take(c, '+');
	if (!cursor_number(c, hours_max, &hours))
		return false;
	if (cursor_take(c, ':')) {
		if (!cursor_number(c, 59, &minutes))
			return false;
		if (cursor_take(c, ':') && !cursor_number(c, 59, &seconds))
			return false;
	}
	*out = hours * INT64_C(3600) + minutes * INT64_C(60) + seconds;
	if (minus)
		*out = -*out;
	return true;
}

static bool
cursor_month_day(struct cursor *c, struct zone_change *out)
{
	out->kind = ZONE_DAY_MONTH;
	return cursor_number(c, 12, &out->month) && out->month >= 1 && cursor_take(c, '.') &&
	       cursor_number(c, 5, &out->week) && out->week >= 1 && cursor_take(c, '.') &&
	       cursor_number(c, 6, &out->day);
}

/* ,M3.5.0/2 */
static bool
cursor_change(struct cursor *c, struct zone_change *out)
{
	bool good;

	*out = (struct zone_change){.time_s = CHANGE_HOUR_DEFAULT * INT64_C(3600)};
	if (!cursor_take(c, ','))
		return false;
	if (cursor_take(c, 'M')) {
		good = cursor_month_day(c, out);
	} else if (cursor_take(c, 'J')) {
		out->kind = ZONE_DAY_JULIAN;
		good = cursor_number(c, 365, &out->day) && out->day >= 1;
	} else {
		out->kind = ZONE_DAY_ORDINAL;
		good = cursor_number(c, 365, &out->day);
	}
	if (good && cursor_take(c, '/'))
		good = cursor_time(c, CHANGE_HOURS_MAX, &out->time_s);
	return good;
}

bool
zone_rule_parse(const char *s, size_t n, struct zone_rule *out)
{
	struct cursor c = {s, n, 0};

	*out = (struct zone_rule){0};
	if (!cursor_abbreviation(&c) || !cursor_time(&c, OFFSET_HOURS_MAX, &out->standard_s))
		return false;
	out->standard_s = -out->standard_s; /* POSIX counts west of UTC */
	if (c.at == c.n)
		return true;
	out->has_daylight = true;
	out->daylight_s = out->standard_s + DAYLIGHT_SHIFT_S;
	if (!cursor_abbreviation(&c))
		return false;
	if (c.at < c.n && c.s[c.at] != ',') {
		if (!cursor_time(&c, OFFSET_HOURS_MAX, &out->daylight_s))
			return false;
		out->daylight_s = -out->daylight_s;
	}
	return cursor_change(&c, &out->start) && cursor_change(&c, &out->end) && c.at == c.n;
}

static int64_t
day_of_month_rule(const struct zone_change *c, int64_t year)
{
	int64_t first = date_from_civil(year, (unsigned)c->month, 1);
	int64_t next = c->month == 12 ? date_from_civil(year + 1, 1, 1)
				      : date_from_civil(year, (unsigned)c->month + 1, 1);
	int64_t weekday = ((first + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
	int64_t day = first + (c->day - weekday + 7) % 7 + 7 * (c->week - 1);

	while (day >= next)
		day -= 7;
	return day;
}

int64_t
zone_rule_at(const struct zone_change *c, int64_t year)
{
	int64_t day;

	switch (c->kind) {
	case ZONE_DAY_MONTH:
		day = day_of_month_rule(c, year);
		break;
	case ZONE_DAY_JULIAN: /* 29 February is never counted */
		day = date_from_civil(year, 1, 1) + c->day - 1;
		if (c->day >= 60)
			day += date_from_civil(year, 3, 1) - date_from_civil(year, 2, 28) - 1;
		break;
	default:
		day = date_from_civil(year, 1, 1) + c->day;
	}
	return day * SECONDS_PER_DAY + c->time_s;
}
