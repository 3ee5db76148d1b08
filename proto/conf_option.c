/*
 * conf_option: the option table as data, and how one value is read from text.
 */
#include "conf_tree.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define KB	    INT64_C(1000)
#define MB	    (1000 * KB)
#define GB	    (1000 * MB)
#define MILLISECOND INT64_C(1000)
#define SECOND	    (1000 * MILLISECOND)
#define MINUTE	    (60 * SECOND)
#define HOUR	    (60 * MINUTE)
#define DAY	    (24 * HOUR)

#define BIT(role)   (1u << ROLE_##role)
#define SEE_EVERY   (~0u)
#define SEE_DATA                                                                                   \
	(BIT(SUPERVISOR) | BIT(INGEST) | BIT(RELAY) | BIT(CORRELATE) | BIT(TRANSFORM) |            \
	 BIT(LOAD) | BIT(STATUS) | BIT(SCIENCE))
#define SEE_SOURCE     (BIT(SUPERVISOR) | BIT(INGEST))
#define SEE_THAT       (SEE_DATA | BIT(KEEPER)) /* that there is an exchange */
#define SEE_EXCHANGE   (BIT(SUPERVISOR) | BIT(INGEST) | BIT(RELAY))
#define SEE_STATUS     (BIT(SUPERVISOR) | BIT(STATUS))
#define SEE_SUPERVISOR BIT(SUPERVISOR)
#define SEE_TASK       (BIT(SUPERVISOR) | BIT(TASK))
#define SEE_SCIENCE    (BIT(SUPERVISOR) | BIT(SCIENCE))
#define SEE_COMMAND    0u

#define REQUIRED       OPTION_REQUIRED
#define ONE	       OPTION_ONE
#define PLAIN	       OPTION_PLAIN
#define KEYS	       OPTION_KEYS
#define HIDDEN	       OPTION_HIDDEN

#define AT(member)                                                                                 \
	(int)offsetof(struct model, member), (unsigned)sizeof(((struct model *)0)->member)
#define NOWHERE -1, 0

/* Twice, because member is two values by the time it arrives. */
#define OPTION(...) OPTION_ROW(__VA_ARGS__)
#define OPTION_ROW(path_, type_, values_, fill_, min_, max_, flags_, see_, at_, bytes_, words_)    \
	{path_, OPTION_##type_, values_, fill_, min_, max_, flags_, see_, at_, bytes_, words_},

const struct option options[] = {
#include "options.def"
};
const unsigned options_n = sizeof options / sizeof options[0];

const struct option option_item = {.path = "*",
				   .type = OPTION_TEXT,
				   .values = "",
				   .min = 1,
				   .max = 255,
				   .see = SEE_EVERY,
				   .at = -1};

struct unit {
	const char *name;
	int64_t factor;
};

/* Smallest first, so that printing finds the largest that divides. */
static const struct unit sizes[] = {
    {"B", 1},	{"KB", KB},	      {"kB", KB}, {"KiB", 1024},
    {"MB", MB}, {"MiB", 1024 * 1024}, {"GB", GB}, {"GiB", 1024 * 1024 * 1024}};
static const struct unit durations[] = {
    {"ms", MILLISECOND}, {"s", SECOND}, {"m", MINUTE}, {"h", HOUR}, {"d", DAY}};

enum {
	SIZES_N = sizeof sizes / sizeof sizes[0],
	DURATIONS_N = sizeof durations / sizeof durations[0]
};

static const char *const type_words[OPTION_TYPE_MAX] = {
    [OPTION_MAP] = "a map of keys",
    [OPTION_NAMED] = "a map of names",
    [OPTION_LIST] = "a text or a list of texts",
    [OPTION_TEXT] = "a text",
    [OPTION_EXPR] = "an expression",
    [OPTION_NAME] = "a name (a letter or _, then letters, digits and _, lower case, at most 63)",
    [OPTION_INTEGER] = "a whole number",
    [OPTION_SIZE] = "a size, as 64KiB or 256MB",
    [OPTION_DURATION] = "a duration, as 250ms, 30s, 15m, 1h or 90d",
    [OPTION_FRACTION] = "a share of 0% to 100%, as 1% or 0.01",
    [OPTION_BOOLEAN] = "true or false",
    [OPTION_ENUM] = "one of a few words",
    [OPTION_DATE] = "a date, as 2011-10-01",
    [OPTION_PATH] = "a path",
    [OPTION_SECRET] = "a text, or file:PATH or env:NAME of a secret one",
    [OPTION_FILE] = "file:PATH",
    [OPTION_ADDRESS] = "HOST:PORT",
    [OPTION_ZONE] = "a time zone, as Europe/Amsterdam",
    [OPTION_ROLE] = "the name of a role",
    [OPTION_REFUSED] = "not used",
};

const char *
option_type_words(enum option_type t)
{
	return type_words[t];
}

const char *
option_key(const struct option *o)
{
	const char *dot = strrchr(o->path, '.');

	return dot ? dot + 1 : o->path;
}

/* Does path name something directly or deeper below parent? Answers what stands after the dot. */
static const char *
below(const struct option *parent, const char *path)
{
	size_t n = strlen(parent->path);

	if (n == 0)
		return *path ? path : NULL;
	if (strncmp(path, parent->path, n) != 0 || path[n] != '.')
		return NULL;
	return path + n + 1;
}

const struct option *
option_child(const struct option *parent, const char *key)
{
	const struct option *any = NULL;
	/* A user's key with a dot in it must not reach deeper rows. */
	bool exact = parent->flags & OPTION_KEYS || !strchr(key, '.');

	for (unsigned i = 0; i < options_n; i++) {
		const char *rest = below(parent, options[i].path);
		if (!rest)
			continue;
		if (exact && strcmp(rest, key) == 0 && strcmp(key, "*") != 0)
			return &options[i];
		if (strcmp(rest, "*") == 0)
			any = &options[i];
	}
	return any;
}

const struct option *
option_next(const struct option *parent, const struct option *after)
{
	for (const struct option *o = after ? after + 1 : options; o < options + options_n; o++) {
		const char *rest = below(parent, o->path);
		/* Settings of librdkafka have dots in their names. */
		if (rest && (parent->flags & OPTION_KEYS || !strchr(rest, '.')))
			return o;
	}
	return NULL;
}

bool
option_seen(const struct option *o, enum role role)
{
	return role == ROLE_MAX || (o->see >> role & 1u);
}

bool
option_is_reference(const char *s)
{
	return strncmp(s, "file:", 5) == 0 || strncmp(s, "env:", 4) == 0;
}

unsigned
option_cores(void)
{
	cpu_set_t set;
	int n = 1;

	if (sched_getaffinity(0, sizeof set, &set) == 0)
		n = CPU_COUNT(&set);
	return n < 1 ? 1 : n > LANES_MAX ? LANES_MAX : (unsigned)n;
}

/* Digits alone; false when there are none, others, or too many. */
static bool
digits_read(const char *s, size_t n, int64_t *out)
{
	int64_t v = 0;

	if (n == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!isdigit((unsigned char)s[i]) || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, s[i] - '0', &v))
			return false;
	}
	*out = v;
	return true;
}

static bool
unit_read(const struct unit *units, unsigned units_n, const char *s, size_t n, int64_t *out)
{
	size_t d = 0;
	int64_t v;

	while (d < n && isdigit((unsigned char)s[d]))
		d++;
	if (!digits_read(s, d, &v))
		return false;
	while (d < n && s[d] == ' ')
		d++;
	for (unsigned i = 0; i < units_n; i++) {
		if (strlen(units[i].name) == n - d && memcmp(units[i].name, s + d, n - d) == 0)
			return !__builtin_mul_overflow(v, units[i].factor, out);
	}
	/* No unit: bytes are fine, and so is nothing; a bare duration is not. */
	*out = v;
	return d == n && (units == sizes || v == 0);
}

static bool
fraction_read(const char *s, size_t n, double *out)
{
	char copy[32], *end;
	double scale = 1;

	if (n > 0 && s[n - 1] == '%') {
		scale = 100;
		n--;
	}
	if (n == 0 || n >= sizeof copy)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!isdigit((unsigned char)s[i]) && s[i] != '.')
			return false;
	}
	memcpy(copy, s, n);
	copy[n] = '\0';
	*out = strtod(copy, &end) / scale;
	return *end == '\0';
}

static bool
name_is(const char *s, size_t n)
{
	if (n == 0 || n > NAME_BYTES_MAX || isdigit((unsigned char)s[0]))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!(s[i] >= 'a' && s[i] <= 'z') && !isdigit((unsigned char)s[i]) && s[i] != '_')
			return false;
	}
	return true;
}

static bool
address_is(const char *s, size_t n)
{
	const char *colon = memrchr(s, ':', n);
	int64_t port;

	if (!colon || colon == s || memchr(s, ' ', n) || n > 255)
		return false;
	return digits_read(colon + 1, (size_t)(s + n - colon - 1), &port) && port <= 65535;
}

static bool
enum_read(const char *values, const char *s, size_t n, int64_t *out)
{
	int64_t i = 0;

	for (const char *v = values; *v; i++) {
		size_t len = strcspn(v, "|");
		if (len == n && memcmp(v, s, n) == 0) {
			*out = i;
			return true;
		}
		v += len + (v[len] == '|');
	}
	return false;
}

void
option_bound_print(const struct option *o, int64_t bound, char out[static 32])
{
	const struct unit *units = o->type == OPTION_SIZE ? sizes : durations;
	unsigned n = o->type == OPTION_SIZE	  ? SIZES_N
		     : o->type == OPTION_DURATION ? DURATIONS_N
						  : 0;

	for (unsigned i = n; i-- > 0;) {
		if (bound && bound % units[i].factor == 0) {
			snprintf(out, 32, "%lld%s", (long long)(bound / units[i].factor),
				 units[i].name);
			return;
		}
	}
	snprintf(out, 32, "%lld", (long long)bound);
}

static bool
range_check(const struct option *o, int64_t v, char why[static 256])
{
	char lo[32], hi[32];

	if ((o->min == 0 && o->max == 0) || (v >= o->min && v <= o->max))
		return true;
	option_bound_print(o, o->min, lo);
	option_bound_print(o, o->max, hi);
	snprintf(why, 256, "must be %s to %s", lo, hi);
	return false;
}

static bool
text_check(const struct option *o, const char *s, size_t n, char why[static 256])
{
	/* Prose and SQL may go over several lines. */
	bool lines = strcmp(option_key(o), "comment") == 0 || strcmp(option_key(o), "query") == 0;

	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)s[i] < 0x20 && !lines) {
			snprintf(why, 256, "has a line break or another control character");
			return false;
		}
	}
	if (n < (size_t)o->min) {
		snprintf(why, 256, "must not be empty");
		return false;
	}
	if (o->max && n > (size_t)o->max) {
		snprintf(why, 256, "is longer than %lld bytes", (long long)o->max);
		return false;
	}
	return true;
}

/* "one of a, b, c" from a|b|c */
static void
values_print(const char *values, char why[static 256])
{
	size_t len =
	    (size_t)snprintf(why, 256, "%s", strchr(values, '|') ? "must be one of " : "must be ");

	for (const char *v = values; *v && len < 250; v++) {
		if (*v == '|')
			why[len++] = ',';
		why[len++] = *v == '|' ? ' ' : *v;
	}
	why[len] = '\0';
}

static bool
text_read(const struct option *o, const char *s, size_t n, union option_value *out,
	  char why[static 256])
{
	struct err e;
	struct zone *zone;
	bool fine = true;

	switch (o->type) {
	case OPTION_NAME:
		fine = name_is(s, n);
		break;
	case OPTION_DATE:
		fine = date_parse(s, n, &out->integer, &e);
		break;
	case OPTION_FILE:
		fine = n > 5 && strncmp(s, "file:", 5) == 0 && text_check(o, s, n, why);
		break;
	case OPTION_ADDRESS:
		fine = address_is(s, n) && text_check(o, s, n, why);
		break;
	case OPTION_ROLE:
		out->role = role_find(s);
		fine = out->role != ROLE_MAX;
		break;
	case OPTION_ZONE:
		fine = text_check(o, s, n, why) && zone_open(s, &zone, &e);
		if (fine)
			zone_close(zone);
		break;
	case OPTION_EXPR:
		return true;
	default:
		return text_check(o, s, n, why);
	}
	if (!fine)
		snprintf(why, 256, "must be %s", type_words[o->type]);
	return fine;
}

bool
option_read(const struct option *o, const char *s, size_t n, union option_value *out,
	    char why[static 256])
{
	bool fine;

	switch (o->type) {
	case OPTION_INTEGER:
		fine = digits_read(s, n, &out->integer);
		break;
	case OPTION_SIZE:
		fine = unit_read(sizes, SIZES_N, s, n, &out->integer);
		break;
	case OPTION_DURATION:
		fine = unit_read(durations, DURATIONS_N, s, n, &out->integer);
		break;
	case OPTION_FRACTION:
		fine = fraction_read(s, n, &out->real) && out->real <= 1;
		break;
	case OPTION_BOOLEAN:
		out->boolean = strcmp(s, "true") == 0;
		fine = out->boolean || strcmp(s, "false") == 0;
		break;
	case OPTION_ENUM:
		if (!enum_read(o->values, s, n, &out->integer)) {
			values_print(o->values, why);
			return false;
		}
		return true;
	default:
		return text_read(o, s, n, out, why);
	}
	if (!fine) {
		snprintf(why, 256, "must be %s", type_words[o->type]);
		return false;
	}
	return o->type == OPTION_FRACTION || o->type == OPTION_BOOLEAN ||
	       range_check(o, out->integer, why);
}
