/*
 * kafka_origin: headers of the exchange: "s" source's name, "p" partition's label, "o" offset, 8
 * bytes big-endian.
 */
#include "kafka_private.h"

enum { OFFSET_BYTES = 8 };

static bool
header_find(const rd_kafka_headers_t *all, const char *name, const char **p, size_t *n)
{
	const void *value;

	if (rd_kafka_header_get_last(all, name, &value, n) || !value)
		return false;
	*p = value;
	return true;
}

void
origin_read(const rd_kafka_message_t *m, struct source_event *ev)
{
	rd_kafka_headers_t *all;
	const char *source, *label, *offset;
	size_t source_n, label_n, offset_n;
	uint64_t at = 0;

	if (rd_kafka_message_headers(m, &all) || !header_find(all, "s", &source, &source_n) ||
	    !header_find(all, "p", &label, &label_n) ||
	    !header_find(all, "o", &offset, &offset_n) || offset_n != OFFSET_BYTES)
		return;
	for (unsigned i = 0; i < OFFSET_BYTES; i++)
		at = at << 8 | (uint8_t)offset[i];
	ev->from_source = source;
	ev->from_source_len = source_n;
	ev->from_label = label;
	ev->from_label_len = label_n;
	ev->from_offset = (int64_t)at;
}
