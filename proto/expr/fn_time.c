#include "fn.h"

#include "decimal.h"
#include "timeform.h"

#define US_PER_SECOND INT64_C(1000000)
#define US_PER_DAY    (86400 * US_PER_SECOND)

enum { MONTHS_MAX = 12 * 10000, MICRO_SCALE = 6 };

static int64_t
floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

struct civil {
	int64_t days, year;
	unsigned month, day;
};

/* The day of a date, or of a timestamp in the zone. */
static bool
civil_of(const struct call *c, const struct value *v, struct civil *out)
{
	if (v->type == VALUE_DATE) {
		if (!date_in_range(v->integer))
			return false;
		out->days = v->integer;
	} else {
		if (!time_in_range(v->integer))
			return false;
		out->days = zone_date(c->zone, v->integer);
	}
	date_to_civil(out->days, &out->year, &out->month, &out->day);
	return true;
}

static bool
put_integer(struct call *c, int64_t i)
{
	*c->out = value_integer(i);
	return true;
}

static bool
put_date(struct call *c, int64_t days)
{
	*c->out = (struct value){.type = VALUE_DATE, .integer = days};
	return date_in_range(days);
}

static bool
put_time(struct call *c, int64_t us)
{
	*c->out = value_timestamp(us);
	return time_in_range(us);
}

bool
fn_date(struct call *c)
{
	struct civil x;

	return civil_of(c, c->arg[0], &x) && put_date(c, x.days);
}

bool
fn_year(struct call *c)
{
	struct civil x;

	return civil_of(c, c->arg[0], &x) && put_integer(c, x.year);
}

bool
fn_quarter(struct call *c)
{
	struct civil x;

	return civil_of(c, c->arg[0], &x) && put_integer(c, (x.month + 2) / 3);
}

bool
fn_month(struct call *c)
{
	struct civil x;

	return civil_of(c, c->arg[0], &x) && put_integer(c, x.month);
}

bool
fn_day(struct call *c)
{
	struct civil x;

	return civil_of(c, c->arg[0], &x) && put_integer(c, x.day);
}

/* 1970-01-01 was a Thursday. Monday is 0. */
static int64_t
weekday(int64_t days)
{
	return ((days + 3) % 7 + 7) % 7;
}

/* The ISO week belongs to the year of its Thursday. */
bool
fn_week(struct call *c)
{
	struct civil x;

	if (!civil_of(c, c->arg[0], &x))
		return false;
	int64_t thursday = x.days - weekday(x.days) + 3;
	date_to_civil(thursday, &x.year, &x.month, &x.day);
	return put_integer(c, (thursday - date_from_civil(x.year, 1, 1)) / 7 + 1);
}

bool
fn_dow(struct call *c)
{
	struct civil x;

	return civil_of(c, c->arg[0], &x) && put_integer(c, (weekday(x.days) + 1) % 7);
}

bool
fn_isodow(struct call *c)
{
	struct civil x;

	return civil_of(c, c->arg[0], &x) && put_integer(c, weekday(x.days) + 1);
}

bool
fn_doy(struct call *c)
{
	struct civil x;

	return civil_of(c, c->arg[0], &x) &&
	       put_integer(c, x.days - date_from_civil(x.year, 1, 1) + 1);
}

/* ---- time of day ---- */

static bool
local_us_of_day(const struct call *c, const struct value *v, int64_t *us)
{
	if (!time_in_range(v->integer))
		return false;
	int64_t local = v->integer + zone_offset_us(c->zone, v->integer);
	*us = local - floor_div(local, US_PER_DAY) * US_PER_DAY;
	return true;
}

bool
fn_hour(struct call *c)
{
	int64_t us;

	return local_us_of_day(c, c->arg[0], &us) && put_integer(c, us / (3600 * US_PER_SECOND));
}

bool
fn_minute(struct call *c)
{
	int64_t us;

	return local_us_of_day(c, c->arg[0], &us) && put_integer(c, us / (60 * US_PER_SECOND) % 60);
}

bool
fn_second(struct call *c)
{
	int64_t us;

	if (!local_us_of_day(c, c->arg[0], &us))
		return false;
	*c->out = value_decimal(us % (60 * US_PER_SECOND), MICRO_SCALE);
	return true;
}

bool
fn_epoch(struct call *c)
{
	*c->out = value_decimal(c->arg[0]->integer, MICRO_SCALE);
	return true;
}

/* ---- units ---- */

/* Number of the unit's beginnings up to this local moment: their difference counts crossings. */
static int64_t
unit_count(enum unit unit, int64_t local_us)
{
	static const int64_t lengths_us[UNIT_MAX] = {
	    [UNIT_MICROSECOND] = 1,
	    [UNIT_MILLISECOND] = 1000,
	    [UNIT_SECOND] = US_PER_SECOND,
	    [UNIT_MINUTE] = 60 * US_PER_SECOND,
	    [UNIT_HOUR] = 3600 * US_PER_SECOND,
	    [UNIT_DAY] = US_PER_DAY,
	};
	int64_t year, days = floor_div(local_us, US_PER_DAY);
	unsigned month, day;

	if (lengths_us[unit])
		return floor_div(local_us, lengths_us[unit]);
	if (unit == UNIT_WEEK)
		return floor_div(days + 3, 7);
	date_to_civil(days, &year, &month, &day);
	int64_t months = year * 12 + month - 1;
	return unit == UNIT_MONTH ? months : unit == UNIT_QUARTER ? months / 3 : year;
}

/* Local moment at which the unit number `count` begins. */
static int64_t
unit_start_us(enum unit unit, int64_t count, int64_t local_us)
{
	int64_t months = unit == UNIT_MONTH ? count : unit == UNIT_QUARTER ? count * 3 : count * 12;

	switch (unit) {
	case UNIT_MONTH:
	case UNIT_QUARTER:
	case UNIT_YEAR:
		return date_from_civil(months / 12, (unsigned)(months % 12) + 1, 1) * US_PER_DAY;
	case UNIT_WEEK:
		return (count * 7 - 3) * US_PER_DAY;
	case UNIT_DAY:
		return count * US_PER_DAY;
	case UNIT_HOUR:
		return local_us - (local_us - floor_div(local_us, US_PER_DAY) * US_PER_DAY) %
				      (3600 * US_PER_SECOND);
	case UNIT_MINUTE:
		return count * 60 * US_PER_SECOND;
	case UNIT_SECOND:
		return count * US_PER_SECOND;
	case UNIT_MILLISECOND:
		return count * 1000;
	default:
		return local_us;
	}
}

/* In local time; units below the day keep the offset of the moment. */
bool
fn_date_trunc(struct call *c)
{
	enum unit unit = (enum unit)c->arg[0]->integer;
	const struct value *v = c->arg[1];

	if (v->type == VALUE_DATE) {
		if (!date_in_range(v->integer))
			return false;
		int64_t local = v->integer * US_PER_DAY;
		return put_date(c,
				unit_start_us(unit, unit_count(unit, local), local) / US_PER_DAY);
	}
	if (!time_in_range(v->integer))
		return false;
	int64_t offset = zone_offset_us(c->zone, v->integer);
	int64_t local = v->integer + offset;
	int64_t start = unit_start_us(unit, unit_count(unit, local), local);
	return put_time(c, unit < UNIT_DAY ? start - offset : zone_to_utc_us(c->zone, start));
}

/* Days and longer are counted in local time; shorter units as they pass, whatever clocks do. */
static bool
moment(const struct call *c, const struct value *v, enum unit unit, int64_t *us)
{
	if (v->type == VALUE_DATE) {
		if (!date_in_range(v->integer))
			return false;
		*us = v->integer * US_PER_DAY;
		if (unit < UNIT_DAY)
			*us = zone_to_utc_us(c->zone, *us);
		return true;
	}
	if (!time_in_range(v->integer))
		return false;
	*us = v->integer;
	if (unit >= UNIT_DAY)
		*us += zone_offset_us(c->zone, v->integer);
	return true;
}

bool
fn_date_diff(struct call *c)
{
	enum unit unit = (enum unit)c->arg[0]->integer;
	int64_t a, b;

	if (!moment(c, c->arg[1], unit, &a) || !moment(c, c->arg[2], unit, &b))
		return false;
	return put_integer(c, unit_count(unit, b) - unit_count(unit, a));
}

bool
fn_age_days(struct call *c)
{
	int64_t a, b;

	if (!moment(c, c->arg[0], UNIT_SECOND, &a) || !moment(c, c->arg[1], UNIT_SECOND, &b))
		return false;
	return put_integer(c, (b - a) / US_PER_DAY);
}

/* ---- moving ---- */

/* The same local time of day on another day. */
static bool
put_day_like(struct call *c, const struct value *v, int64_t days)
{
	if (v->type == VALUE_DATE)
		return put_date(c, days);
	if (!date_in_range(days))
		return false;
	int64_t local = v->integer + zone_offset_us(c->zone, v->integer);
	int64_t of_day = local - floor_div(local, US_PER_DAY) * US_PER_DAY;
	return put_time(c, zone_to_utc_us(c->zone, days * US_PER_DAY + of_day));
}

bool
fn_add_days(struct call *c)
{
	struct civil x;
	int64_t days;

	return civil_of(c, c->arg[0], &x) &&
	       !__builtin_add_overflow(x.days, c->arg[1]->integer, &days) &&
	       put_day_like(c, c->arg[0], days);
}

static unsigned
days_in_month(int64_t year, unsigned month)
{
	int64_t next =
	    month == 12 ? date_from_civil(year + 1, 1, 1) : date_from_civil(year, month + 1, 1);

	return (unsigned)(next - date_from_civil(year, month, 1));
}

bool
fn_add_months(struct call *c)
{
	int64_t n = c->arg[1]->integer;
	struct civil x;

	if (!civil_of(c, c->arg[0], &x) || n > MONTHS_MAX || n < -MONTHS_MAX)
		return false;
	int64_t months = x.year * 12 + x.month - 1 + n;
	int64_t year = floor_div(months, 12);
	unsigned month = (unsigned)(months - year * 12) + 1;
	unsigned last = days_in_month(year, month);
	return put_day_like(c, c->arg[0],
			    date_from_civil(year, month, x.day < last ? x.day : last));
}

static bool
seconds_to_us(const struct value *v, int64_t *us)
{
	struct value micro;

	if (!decimal_rescale(v, MICRO_SCALE, ROUND_HALF_AWAY, &micro))
		return false;
	int128 x = value_units(&micro);
	*us = (int64_t)x;
	return x == *us;
}

bool
fn_add_seconds(struct call *c)
{
	int64_t us, sum;

	return seconds_to_us(c->arg[1], &us) &&
	       !__builtin_add_overflow(c->arg[0]->integer, us, &sum) && put_time(c, sum);
}

bool
fn_make_date(struct call *c)
{
	int64_t year = c->arg[0]->integer, month = c->arg[1]->integer, day = c->arg[2]->integer;

	if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 ||
	    day > days_in_month(year, (unsigned)month))
		return false;
	return put_date(c, date_from_civil(year, (unsigned)month, (unsigned)day));
}

bool
fn_to_timestamp(struct call *c)
{
	int64_t us;

	return seconds_to_us(c->arg[0], &us) && put_time(c, us);
}
