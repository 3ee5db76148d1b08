/*
 * zone_rule: the POSIX form of a zone's rule, as it stands in the footer of zone files:
 * CET-1CEST,M3.5.0,M10.5.0/3 (RFC 8536: hours of a transition from -167 to 167).
 */
#ifndef PROTO_ZONE_RULE_H
#define PROTO_ZONE_RULE_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum zone_day { ZONE_DAY_MONTH, ZONE_DAY_JULIAN, ZONE_DAY_ORDINAL };

struct zone_change { /* a moment of every year, in local time before the change */
	enum zone_day kind;
	int month, week,
	    day; /* MONTH: week 5 is the last; else day of the year, from 1 or from 0 */
	int64_t time_s;
};

struct zone_rule {
	bool has_daylight;
	int64_t standard_s, daylight_s; /* east of UTC */
	struct zone_change start, end;	/* of daylight time */
};

MUSTCHECK bool zone_rule_parse(const char *s, size_t n, struct zone_rule *out);

/* Local seconds since 1970-01-01T00:00:00 of the change in that year. */
int64_t zone_rule_at(const struct zone_change *c, int64_t year);

#endif
