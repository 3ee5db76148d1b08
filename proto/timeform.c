/* Dates and forms of time, as text and as numbers. Zones are zone.c's. */
#include "timeform.h"

#include <string.h>

#include "decimal.h"

#define US_PER_SECOND INT64_C(1000000)
#define US_PER_DAY    (86400 * US_PER_SECOND)
#define DAYS_MIN      INT64_C(-719162) /* 0001-01-01 */
#define DAYS_MAX      INT64_C(2932896) /* 9999-12-31 */

enum { DATE_BYTES = 10, TIME_BYTES = 8, FRACTION_MAX = 9, FRACTION_KEPT = 6, NUMBER_MAX = 64 };

/* Days and civil dates: years begin in March, so that the leap day is the last one; 400-year eras.
 */
int64_t
date_from_civil(int64_t year, unsigned month, unsigned day)
{
	int64_t y = year - (month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (int64_t)((month + 9) % 12) + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
	       day_of_year - 719468;
}

void
date_to_civil(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t day_of_era = z - era * 146097;
	int64_t year_of_era =
	    (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year =
	    day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t m = (5 * day_of_year + 2) / 153;

	*day = (unsigned)(day_of_year - (153 * m + 2) / 5 + 1);
	*month = (unsigned)(m < 10 ? m + 3 : m - 9);
	*year = year_of_era + era * 400 + (*month <= 2);
}

/* Exactly n digits as a number, or -1. */
static int
digits(const char *s, unsigned n)
{
	int x = 0;

	for (unsigned i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		x = x * 10 + (s[i] - '0');
	}
	return x;
}

static unsigned
days_of_month(int year, int month)
{
	static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (unsigned)(month == 2 && leap);
}

bool
date_parse(const char *s, size_t n, int64_t *days, struct err *e)
{
	if (n != DATE_BYTES || s[4] != '-' || s[7] != '-')
		return err_set(e, EXIT_DATA, "not a date of the form 2011-10-01");
	int year = digits(s, 4), month = digits(s + 5, 2), day = digits(s + 8, 2);
	if (year < 0 || month < 0 || day < 0)
		return err_set(e, EXIT_DATA, "not a date of the form 2011-10-01");
	if (year < 1 || month < 1 || month > 12 || day < 1 ||
	    (unsigned)day > days_of_month(year, month))
		return err_set(e, EXIT_DATA, "no such day in the calendar");
	*days = date_from_civil(year, (unsigned)month, (unsigned)day);
	return true;
}

/* HH:MM:SS[.fraction] at s, microseconds of the day; *used tells its bytes. */
static bool
clock_parse(const char *s, size_t n, int64_t *us, size_t *used, struct err *e)
{
	size_t at = TIME_BYTES, from;
	int64_t unit = US_PER_SECOND / 10, fraction = 0;

	if (n < TIME_BYTES || s[2] != ':' || s[5] != ':')
		return err_set(e, EXIT_DATA, "not a time of the form 2011-10-01T00:38:44Z");
	int hour = digits(s, 2), minute = digits(s + 3, 2), second = digits(s + 6, 2);
	if (hour < 0 || minute < 0 || second < 0)
		return err_set(e, EXIT_DATA, "not a time of the form 2011-10-01T00:38:44Z");
	if (hour > 23 || minute > 59 || second > 59)
		return err_set(e, EXIT_DATA, "no such time of day");
	if (at < n && s[at] == '.') {
		from = ++at;
		for (; at < n && s[at] >= '0' && s[at] <= '9'; at++, unit /= 10)
			fraction += (s[at] - '0') * unit; /* unit is 0 past the microseconds */
		if (at == from || at - from > FRACTION_MAX)
			return err_set(e, EXIT_DATA, "fraction of a second has not 1 to %d digits",
				       FRACTION_MAX);
	}
	*us = (hour * 3600 + minute * 60 + second) * US_PER_SECOND + fraction;
	*used = at;
	return true;
}

/* Z or +HH:MM at s: the offset from UTC. */
static bool
offset_parse(const char *s, size_t n, int64_t *offset_us, struct err *e)
{
	*offset_us = 0;
	if (n == 1 && (*s == 'Z' || *s == 'z'))
		return true;
	if (n != 6 || (*s != '+' && *s != '-') || s[3] != ':')
		return err_set(e, EXIT_DATA, "what follows the time is no offset like Z or +02:00");
	int hour = digits(s + 1, 2), minute = digits(s + 4, 2);
	if (hour < 0 || minute < 0 || hour > 23 || minute > 59)
		return err_set(e, EXIT_DATA, "no such offset from UTC");
	*offset_us = (hour * 60 + minute) * 60 * US_PER_SECOND;
	if (*s == '-')
		*offset_us = -*offset_us;
	return true;
}

bool
date_in_range(int64_t days)
{
	return days >= DAYS_MIN && days <= DAYS_MAX;
}

int64_t
date_nearest(int64_t days)
{
	return days < DAYS_MIN ? DAYS_MIN : days > DAYS_MAX ? DAYS_MAX : days;
}

bool
time_in_range(int64_t us)
{
	return us >= DAYS_MIN * US_PER_DAY && us < (DAYS_MAX + 1) * US_PER_DAY;
}

static bool
time_check(int64_t us, struct err *e)
{
	if (!time_in_range(us))
		return err_set(e, EXIT_DATA, "time is outside the years 1 to 9999");
	return true;
}

static bool
rfc3339_parse(const char *s, size_t n, const struct zone *zone, int64_t *time_us, struct err *e)
{
	int64_t days, clock_us = 0, offset_us;
	size_t used = 0;

	if (n <= DATE_BYTES || !memchr("Tt ", s[DATE_BYTES], 3))
		return err_set(e, EXIT_DATA, "not a time of the form 2011-10-01T00:38:44Z");
	if (!date_parse(s, DATE_BYTES, &days, e))
		return false;
	size_t at = DATE_BYTES + 1;
	if (!clock_parse(s + at, n - at, &clock_us, &used, e))
		return false;
	at += used;
	int64_t local_us = days * US_PER_DAY + clock_us;
	if (at < n) {
		if (!offset_parse(s + at, n - at, &offset_us, e))
			return false;
		*time_us = local_us - offset_us;
	} else if (zone) {
		*time_us = zone_to_utc_us(zone, local_us);
	} else {
		return err_set(e, EXIT_DATA, "time has no offset, and no time_zone is declared");
	}
	return time_check(*time_us, e);
}

static bool
unix_parse(const char *s, size_t n, enum time_form form, int64_t *time_us, struct err *e)
{
	/* How many digits of a microsecond count one unit has. */
	static const unsigned char shift[TIME_FORM_MAX] = {
	    [TIME_UNIX_S] = 6, [TIME_UNIX_MS] = 3, [TIME_UNIX_US] = 0};
	struct value v, cut;

	if (n > NUMBER_MAX || !decimal_parse(s, n, &v, e))
		return err_set(e, EXIT_DATA, "time is not a number");
	if (!decimal_rescale(&v, form == TIME_UNIX_S ? shift[form] : 0, ROUND_FLOOR, &cut))
		return err_set(e, EXIT_DATA, "time is outside the years 1 to 9999");
	if (form != TIME_UNIX_S && decimal_compare(&v, &cut))
		return err_set(e, EXIT_DATA, "time is not a whole number");
	int128 us = value_units(&cut);
	int128 limit = (DAYS_MAX + 1) * US_PER_DAY;
	if (us > limit || us < -limit)
		return err_set(e, EXIT_DATA, "time is outside the years 1 to 9999");
	if (form == TIME_UNIX_MS)
		us *= (int128)decimal_pow10(shift[form]);
	if (us > limit || us < -limit)
		return err_set(e, EXIT_DATA, "time is outside the years 1 to 9999");
	*time_us = (int64_t)us;
	return time_check(*time_us, e);
}

bool
time_parse(const char *s, size_t n, enum time_form form, const struct zone *zone, int64_t *time_us,
	   struct err *e)
{
	if (form == TIME_RFC3339)
		return rfc3339_parse(s, n, zone, time_us, e);
	return unix_parse(s, n, form, time_us, e);
}
