/*
 * fn: the bodies of the functions of functions.def, by what they work on: fn_text.c, fn_number.c,
 * fn_choice.c, fn_time.c. Private to proto/expr.
 */
#ifndef PROTO_EXPR_FN_H
#define PROTO_EXPR_FN_H

#include "functions.h"

bool fn_lower(struct call *c);
bool fn_upper(struct call *c);
bool fn_length(struct call *c);
bool fn_octet_length(struct call *c);
bool fn_substr(struct call *c);
bool fn_left(struct call *c);
bool fn_right(struct call *c);
bool fn_trim(struct call *c);
bool fn_ltrim(struct call *c);
bool fn_rtrim(struct call *c);
bool fn_lpad(struct call *c);
bool fn_rpad(struct call *c);
bool fn_replace(struct call *c);
bool fn_split_part(struct call *c);
bool fn_concat(struct call *c);
bool fn_starts_with(struct call *c);
bool fn_ends_with(struct call *c);
bool fn_contains(struct call *c);
bool fn_position(struct call *c);
bool fn_strpos(struct call *c);
bool fn_abs(struct call *c);
bool fn_sign(struct call *c);
bool fn_round(struct call *c);
bool fn_trunc(struct call *c);
bool fn_floor(struct call *c);
bool fn_ceil(struct call *c);
bool fn_sqrt(struct call *c);
bool fn_exp(struct call *c);
bool fn_ln(struct call *c);
bool fn_power(struct call *c);
bool fn_bucket(struct call *c);
bool fn_nullif(struct call *c);
bool fn_least(struct call *c);
bool fn_greatest(struct call *c);
bool fn_date(struct call *c);
bool fn_year(struct call *c);
bool fn_quarter(struct call *c);
bool fn_month(struct call *c);
bool fn_week(struct call *c);
bool fn_day(struct call *c);
bool fn_dow(struct call *c);
bool fn_isodow(struct call *c);
bool fn_doy(struct call *c);
bool fn_hour(struct call *c);
bool fn_minute(struct call *c);
bool fn_second(struct call *c);
bool fn_epoch(struct call *c);
bool fn_date_trunc(struct call *c);
bool fn_date_diff(struct call *c);
bool fn_age_days(struct call *c);
bool fn_add_days(struct call *c);
bool fn_add_months(struct call *c);
bool fn_add_seconds(struct call *c);
bool fn_make_date(struct call *c);
bool fn_to_timestamp(struct call *c);

#endif
