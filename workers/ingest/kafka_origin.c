/*
 * kafka_origin: headers of the exchange: "s" source's name, "p" partition's label, "o" offset and
 * "f" the layout of its fields, both 8 bytes big-endian.
 */
#include "kafka_private.h"

enum { NUMBER_BYTES = 8 };

static bool
header_find(const rd_kafka_headers_t *all, const char *name, const char **p, size_t *n)
{
	const void *value;

	if (rd_kafka_header_get_last(all, name, &value, n) || !value)
		return false;
	*p = value;
	return true;
}

static bool
header_number(const rd_kafka_headers_t *all, const char *name, uint64_t *out)
{
	const char *p;
	size_t n;

	if (!header_find(all, name, &p, &n) || n != NUMBER_BYTES)
		return false;
	*out = 0;
	for (unsigned i = 0; i < NUMBER_BYTES; i++)
		*out = *out << 8 | (uint8_t)p[i];
	return true;
}

void
origin_read(const rd_kafka_message_t *m, struct source_event *ev)
{
	rd_kafka_headers_t *all;
	const char *source, *label;
	size_t source_n, label_n;
	uint64_t at, layout;

	if (rd_kafka_message_headers(m, &all) || !header_find(all, "s", &source, &source_n) ||
	    !header_find(all, "p", &label, &label_n) || !header_number(all, "o", &at) ||
	    !header_number(all, "f", &layout))
		return;
	ev->from_source = source;
	ev->from_source_len = source_n;
	ev->from_label = label;
	ev->from_label_len = label_n;
	ev->from_offset = (int64_t)at;
	ev->from_layout = layout;
}
