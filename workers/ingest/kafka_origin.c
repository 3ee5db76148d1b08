#include "kafka_origin.h"

#include <string.h>

#include "kafka_private.h"

enum {
	NUMBER_BYTES = 8,
	BEFORE_AT = NUMBER_BYTES,
	LAYOUT_AT = 2 * NUMBER_BYTES,
	NAME_N_AT = 3 * NUMBER_BYTES,
	NAME_AT,
};

static void
number_write(uint8_t *out, uint64_t n)
{
	for (unsigned i = 0; i < NUMBER_BYTES; i++)
		out[i] = (uint8_t)(n >> (56 - 8 * i));
}

static uint64_t
number_read(const uint8_t *p)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < NUMBER_BYTES; i++)
		n = n << 8 | p[i];
	return n;
}

void
origin_write(struct buf *out, const struct exchange_record *r)
{
	size_t name_n = strlen(r->source);
	uint8_t fixed[NAME_AT];

	number_write(fixed, (uint64_t)r->offset);
	number_write(fixed + BEFORE_AT, (uint64_t)r->before);
	number_write(fixed + LAYOUT_AT, r->layout);
	fixed[NAME_N_AT] = (uint8_t)name_n; /* at most NAME_BYTES_MAX */
	buf_clear(out);
	buf_add(out, fixed, sizeof fixed);
	buf_add(out, r->source, name_n);
	buf_add(out, r->label, r->label_len);
}

void
origin_read(const struct rd_kafka_message_s *m, struct source_event *ev)
{
	rd_kafka_headers_t *all;
	const void *value;
	const uint8_t *p;
	size_t n;

	if (rd_kafka_message_headers(m, &all) ||
	    rd_kafka_header_get_last(all, ORIGIN_HEADER, &value, &n) || !value || n < NAME_AT)
		return;
	p = value;
	size_t name_n = p[NAME_N_AT];
	if (n - NAME_AT < name_n)
		return;
	ev->from_source = (const char *)p + NAME_AT;
	ev->from_source_len = name_n;
	ev->from_label = ev->from_source + name_n;
	ev->from_label_len = n - NAME_AT - name_n;
	ev->from_offset = (int64_t)number_read(p);
	ev->from_before = (int64_t)number_read(p + BEFORE_AT);
	ev->from_layout = number_read(p + LAYOUT_AT);
}
