/*
 * convert: one JSON item to one typed value. Pure.
 */
#ifndef INGEST_CONVERT_H
#define INGEST_CONVERT_H

#include "json.h"
#include "value.h"

/*
 * *out borrows the item's bytes. JSON_ABSENT and JSON_NULL give the null value. e->text on failure
 * is to be read behind "field x: " and holds nothing of the value.
 */
MUSTCHECK bool convert_item(const struct json_item *it, enum value_type type, enum time_form form,
			    const struct zone *zone, struct value *out, struct err *e);

#endif
