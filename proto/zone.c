/*
 * Time zones from the system's compiled zone files (TZif, RFC 8536), read whole at zone_open and
 * never looked at again: a worker has no file system by the time it needs one, and no process-wide
 * state (TZ, tzset) is touched.
 *
 * The rule in the footer, for times after the last transition in the file, is written out for the
 * 400 years after it; the Gregorian calendar repeats after so many, so later times are looked up
 * there.
 */
#include "value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "timeform.h"
#include "zone_rule.h"

#define ZONE_DIR	"/usr/share/zoneinfo"
#define US_PER_SECOND	INT64_C(1000000)
#define SECONDS_PER_DAY INT64_C(86400)
#define SECONDS_PER_ERA (146097 * SECONDS_PER_DAY) /* 400 years */

enum {
	ZONE_NAME_MAX = 64,
	ZONE_FILE_MAX = 1 << 20,
	TZIF_HEAD_BYTES = 44,
	TZIF_TYPE_BYTES = 6,
	TZIF_TIMES_MAX = 100000,
	ERA_YEARS = 400,
};

struct transition {
	int64_t at_s;	  /* UTC seconds */
	int64_t offset_s; /* from then on */
};

struct zone {
	int64_t first_offset_s; /* before the first transition */
	struct transition *transitions;
	size_t transitions_n;
	bool repeats; /* times after the last transition are those of 400 years before */
};

/* ---- reading TZif: counts are checked against the file's size before anything is read ---- */

struct tzif {
	const uint8_t *times, *indexes, *types, *footer;
	size_t times_n, types_n, footer_n;
	const uint8_t *end; /* of this block */
};

static uint32_t
be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t
be64(const uint8_t *p)
{
	return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

/* One block of the file with times of `width` bytes. */
static bool
tzif_block(const uint8_t *p, size_t n, size_t width, struct tzif *t)
{
	if (n < TZIF_HEAD_BYTES || memcmp(p, "TZif", 4))
		return false;
	size_t utc_n = be32(p + 20), standard_n = be32(p + 24), leaps_n = be32(p + 28);
	size_t times_n = be32(p + 32), types_n = be32(p + 36), chars_n = be32(p + 40);
	if (utc_n > TZIF_TIMES_MAX || standard_n > TZIF_TIMES_MAX || leaps_n > TZIF_TIMES_MAX ||
	    times_n > TZIF_TIMES_MAX || types_n > TZIF_TIMES_MAX || chars_n > TZIF_TIMES_MAX)
		return false;
	size_t bytes = TZIF_HEAD_BYTES + times_n * (width + 1) + types_n * TZIF_TYPE_BYTES +
		       chars_n + leaps_n * (width + 4) + standard_n + utc_n;
	if (bytes > n || !types_n)
		return false;
	t->times = p + TZIF_HEAD_BYTES;
	t->indexes = t->times + times_n * width;
	t->types = t->indexes + times_n;
	t->times_n = times_n;
	t->types_n = types_n;
	t->end = p + bytes;
	return true;
}

static int64_t
tzif_offset(const struct tzif *t, size_t type)
{
	return (int32_t)be32(t->types + type * TZIF_TYPE_BYTES);
}

/* The 64-bit block of a version 2 file, and its footer. */
static bool
tzif_parse(const uint8_t *p, size_t n, struct tzif *t)
{
	if (!tzif_block(p, n, 4, t) || p[4] < '2')
		return false;
	size_t skip = (size_t)(t->end - p);
	if (!tzif_block(p + skip, n - skip, 8, t))
		return false;
	size_t rest = n - (size_t)(t->end - p);
	const uint8_t *newline =
	    rest > 1 && t->end[0] == '\n' ? memchr(t->end + 1, '\n', rest - 1) : NULL;
	t->footer = newline ? t->end + 1 : NULL;
	t->footer_n = newline ? (size_t)(newline - t->footer) : 0;
	for (size_t i = 0; i < t->times_n; i++)
		if (t->indexes[i] >= t->types_n ||
		    (i && be64(t->times + 8 * i) <= be64(t->times + 8 * (i - 1))))
			return false;
	return true;
}

/* ---- building ---- */

static void
zone_add(struct zone *z, int64_t at_s, int64_t offset_s)
{
	if (z->transitions_n && at_s <= z->transitions[z->transitions_n - 1].at_s)
		return;
	z->transitions[z->transitions_n++] = (struct transition){at_s, offset_s};
}

static void
zone_add_year(struct zone *z, const struct zone_rule *rule, int64_t year)
{
	int64_t starts_s = zone_rule_at(&rule->start, year) - rule->standard_s;
	int64_t ends_s = zone_rule_at(&rule->end, year) - rule->daylight_s;
	struct transition start = {starts_s, rule->daylight_s};
	struct transition end = {ends_s, rule->standard_s};
	bool north = starts_s < ends_s;

	zone_add(z, north ? start.at_s : end.at_s, north ? start.offset_s : end.offset_s);
	zone_add(z, north ? end.at_s : start.at_s, north ? end.offset_s : start.offset_s);
}

static void
zone_build(struct zone *z, const struct tzif *t, const struct zone_rule *rule)
{
	size_t era = rule ? 2 * (ERA_YEARS + 2) : 0;

	z->transitions = mem_zero(t->times_n + era + 1, sizeof *z->transitions);
	z->first_offset_s = tzif_offset(t, 0);
	for (size_t i = 0; i < t->times_n; i++)
		zone_add(z, be64(t->times + 8 * i), tzif_offset(t, t->indexes[i]));
	if (!rule || !rule->has_daylight)
		return;
	int64_t year = 1970;
	unsigned month, day;
	if (z->transitions_n)
		date_to_civil(z->transitions[z->transitions_n - 1].at_s / SECONDS_PER_DAY, &year,
			      &month, &day);
	for (int64_t y = year; y <= year + ERA_YEARS + 1; y++)
		zone_add_year(z, rule, y);
	z->repeats = true;
}

static bool
zone_name_good(const char *name)
{
	size_t n = strlen(name);

	return n && n <= ZONE_NAME_MAX && name[0] != '/' && !strstr(name, "..") &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/") ==
		   n;
}

static bool
zone_read(const char *name, struct buf *file, struct err *e)
{
	struct buf path = {0};
	struct stat st;
	bool good = false;

	buf_printf(&path, "%s/%s", ZONE_DIR, name);
	int fd = open(buf_cstr(&path), O_RDONLY | O_CLOEXEC);
	buf_free(&path);
	if (fd < 0 && errno == ENOENT && access(ZONE_DIR, F_OK) != 0)
		return err_set(e, EXIT_CONFIG,
			       "time zone %s: this machine has no %s; install the package tzdata",
			       name, ZONE_DIR);
	if (fd < 0)
		return err_errno(e, EXIT_CONFIG, "time zone %s: not in %s", name, ZONE_DIR);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > ZONE_FILE_MAX) {
		err_set(e, EXIT_CONFIG, "time zone %s: not a zone file", name);
		goto out;
	}
	buf_reserve(file, (size_t)st.st_size);
	ssize_t got = read(fd, file->data, (size_t)st.st_size);
	if (got != st.st_size) {
		err_set(e, EXIT_CONFIG, "time zone %s: its file cannot be read", name);
		goto out;
	}
	file->len = (size_t)got;
	good = true;
out:
	close(fd);
	return good;
}

bool
zone_open(const char *name, struct zone **out, struct err *e)
{
	struct zone_rule rule;
	struct buf file = {0};
	struct tzif t;
	bool good = false;

	*out = NULL;
	if (!zone_name_good(name))
		return err_set(e, EXIT_CONFIG, "not the name of a time zone, like Europe/Paris");
	if (!strcmp(name, "UTC") || !strcmp(name, "Etc/UTC")) {
		*out = mem_zero(1, sizeof **out);
		return true;
	}
	if (!zone_read(name, &file, e))
		goto out;
	if (!tzif_parse(file.data, file.len, &t)) {
		err_set(e, EXIT_CONFIG, "time zone %s: its file is damaged or of version 1", name);
		goto out;
	}
	bool ruled = t.footer_n > 0;
	if (ruled && !zone_rule_parse((const char *)t.footer, t.footer_n, &rule)) {
		err_set(e, EXIT_CONFIG, "time zone %s: its file has a rule we do not know", name);
		goto out;
	}
	*out = mem_zero(1, sizeof **out);
	zone_build(*out, &t, ruled ? &rule : NULL);
	good = true;
out:
	buf_free(&file);
	return good;
}

const struct zone *
zone_utc(void)
{
	static const struct zone utc;

	return &utc;
}

void
zone_close(struct zone *z)
{
	if (!z)
		return;
	free(z->transitions);
	free(z);
}

/* ---- use ---- */

static int64_t
floor_seconds(int64_t us)
{
	return us / US_PER_SECOND - (us % US_PER_SECOND < 0);
}

static int64_t
offset_at(const struct zone *z, int64_t at_s)
{
	size_t low = 0, high = z->transitions_n; /* the answer is before `high` */

	if (!high || at_s < z->transitions[0].at_s)
		return z->first_offset_s;
	int64_t last_s = z->transitions[high - 1].at_s;
	if (z->repeats && at_s >= last_s)
		at_s -= ((at_s - last_s) / SECONDS_PER_ERA + 1) * SECONDS_PER_ERA;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (z->transitions[middle].at_s <= at_s)
			low = middle;
		else
			high = middle;
	}
	return z->transitions[low].offset_s;
}

int64_t
zone_offset_us(const struct zone *z, int64_t time_us)
{
	return z ? offset_at(z, floor_seconds(time_us)) * US_PER_SECOND : 0;
}

/*
 * Offsets change less than daily, and none is a day long: the offset a day before is the earlier
 * one. A time in the hour that is skipped has neither; by the earlier offset it falls behind the
 * gap.
 */
int64_t
zone_to_utc_us(const struct zone *z, int64_t local_us)
{
	if (!z)
		return local_us;
	int64_t local_s = floor_seconds(local_us);
	int64_t before_s = offset_at(z, local_s - SECONDS_PER_DAY);
	int64_t after_s = offset_at(z, local_s + SECONDS_PER_DAY);
	int64_t use_s = before_s;
	if (offset_at(z, local_s - before_s) != before_s &&
	    offset_at(z, local_s - after_s) == after_s)
		use_s = after_s;
	return local_us - use_s * US_PER_SECOND;
}

int64_t
zone_date(const struct zone *z, int64_t time_us)
{
	int64_t local_s = floor_seconds(time_us + zone_offset_us(z, time_us));

	return local_s / SECONDS_PER_DAY - (local_s % SECONDS_PER_DAY < 0);
}
