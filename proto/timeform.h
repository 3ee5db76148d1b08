/*
 * timeform: the range of dates and times that Weir accepts, for code that computes with them.
 */
#ifndef PROTO_TIMEFORM_H
#define PROTO_TIMEFORM_H

#include "value.h"

bool date_in_range(int64_t days); /* 0001-01-01 to 9999-12-31 */
bool time_in_range(int64_t us);
int64_t date_nearest(int64_t days); /* in the range */

const struct zone *zone_utc(void); /* static: never closed */

#endif
