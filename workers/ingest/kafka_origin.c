/*
 * kafka_origin: headers of the exchange: "s" source's name, "p" partition's label, "o" its offset,
 * and the one before it if there was one, "f" the layout of its fields; numbers are 8 bytes
 * big-endian.
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

static uint64_t
number_read(const char *p)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < NUMBER_BYTES; i++)
		n = n << 8 | (uint8_t)p[i];
	return n;
}

static bool
offsets_read(const rd_kafka_headers_t *all, struct source_event *ev)
{
	const char *p;
	size_t n;

	if (!header_find(all, "o", &p, &n) || (n != NUMBER_BYTES && n != 2 * NUMBER_BYTES))
		return false;
	ev->from_offset = (int64_t)number_read(p);
	ev->from_before = n == NUMBER_BYTES ? -1 : (int64_t)number_read(p + NUMBER_BYTES);
	return true;
}

void
origin_read(const rd_kafka_message_t *m, struct source_event *ev)
{
	rd_kafka_headers_t *all;
	const char *source, *label, *layout;
	size_t source_n, label_n, layout_n;

	if (rd_kafka_message_headers(m, &all) || !header_find(all, "s", &source, &source_n) ||
	    !header_find(all, "p", &label, &label_n) || !offsets_read(all, ev) ||
	    !header_find(all, "f", &layout, &layout_n) || layout_n != NUMBER_BYTES)
		return;
	ev->from_source = source;
	ev->from_source_len = source_n;
	ev->from_label = label;
	ev->from_label_len = label_n;
	ev->from_layout = number_read(layout);
}
