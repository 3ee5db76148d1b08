/*
 * kafka_origin: where a record of the exchange comes from, as its message's one header says (each
 * header costs librdkafka several allocations, on either side): offset or ticket, the offset before
 * it, layout of its fields (8 bytes each, big-endian), length of the source's name (1 byte), the
 * name, the label of the source's partition.
 */
#ifndef INGEST_KAFKA_ORIGIN_H
#define INGEST_KAFKA_ORIGIN_H

#include "exchange.h"
#include "source.h"

#define ORIGIN_HEADER "o"

struct rd_kafka_message_s; /* librdkafka's rd_kafka_message_t */

/* The header's bytes, in place of what out has. */
void origin_write(struct buf *out, const struct exchange_record *r);

/*
 * Borrowed from the message. ev->from_source stays NULL where the header is missing, or is none of
 * ours.
 */
void origin_read(const struct rd_kafka_message_s *m, struct source_event *ev);

#endif
