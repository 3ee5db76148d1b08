/*
 * rabbit_inbox: messages from the frames of one channel. The library's own calls for that wait for
 * the rest of a message; this takes what is there and keeps its place.
 */
#include "rabbit_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "log.h"
#include "mem.h"

void
inbox_open(struct inbox *in, uint64_t bytes_max)
{
	*in = (struct inbox){.bytes_max = bytes_max};
	in->tail = &in->head;
}

struct delivery *
inbox_take(struct inbox *in)
{
	struct delivery *d = in->head;

	if (!d)
		return NULL;
	in->head = d->next;
	if (!in->head)
		in->tail = &in->head;
	in->n--;
	in->bytes -= d->identity_len + d->body_len;
	d->next = NULL;
	return d;
}

void
inbox_clear(struct inbox *in)
{
	struct delivery *d;

	while ((d = inbox_take(in)))
		free(d);
	free(in->part);
	inbox_open(in, in->bytes_max);
}

void
close_words(const amqp_method_t *m, char *why, size_t n)
{
	unsigned code = 0;
	amqp_bytes_t text = {0, NULL};

	if (m->id == AMQP_CONNECTION_CLOSE_METHOD) {
		const amqp_connection_close_t *c = m->decoded;
		code = c->reply_code;
		text = c->reply_text;
	} else if (m->id == AMQP_CHANNEL_CLOSE_METHOD) {
		const amqp_channel_close_t *c = m->decoded;
		code = c->reply_code;
		text = c->reply_text;
	}
	snprintf(why, n, "the broker said %u %.*s", code, (int)text.len, (const char *)text.bytes);
}

static void
part_complete(struct inbox *in)
{
	struct delivery *d = in->part;

	in->part = NULL;
	*in->tail = d;
	in->tail = &d->next;
	in->n++;
	in->bytes += d->identity_len + d->body_len;
}

static enum inbox_result
lost(char *why, const char *text)
{
	snprintf(why, SOURCE_TROUBLE_MAX, "%s", text);
	return INBOX_LOST;
}

static enum inbox_result
method_read(struct inbox *in, const amqp_method_t *m, char *why)
{
	if (in->part || in->expects_header)
		return lost(why, "a message without its body");
	switch (m->id) {
	case AMQP_BASIC_DELIVER_METHOD: {
		const amqp_basic_deliver_t *d = m->decoded;

		if (d->delivery_tag != in->tag + 1)
			return lost(why, "delivery tags with a gap");
		in->tag = d->delivery_tag;
		in->redelivered = d->redelivered;
		in->expects_header = true;
		return INBOX_FRAME;
	}
	case AMQP_QUEUE_DECLARE_OK_METHOD: {
		const amqp_queue_declare_ok_t *ok = m->decoded;

		in->counted = true;
		in->ready = ok->message_count;
		in->consumers = ok->consumer_count;
		return INBOX_FRAME;
	}
	case AMQP_BASIC_CANCEL_METHOD:
		return lost(why, "the broker ended our consumer (queue deleted or moved?)");
	case AMQP_CHANNEL_CLOSE_METHOD:
	case AMQP_CONNECTION_CLOSE_METHOD:
		close_words(m, why, SOURCE_TROUBLE_MAX);
		return INBOX_LOST;
	default: /* answers to what was sent, connection.blocked */
		return INBOX_FRAME;
	}
}

static enum inbox_result
header_read(struct inbox *in, const amqp_frame_t *f, char *why)
{
	const amqp_basic_properties_t *p = f->payload.properties.decoded;
	uint64_t size = f->payload.properties.body_size;
	amqp_bytes_t id = {0, NULL};

	if (!in->expects_header || f->payload.properties.class_id != AMQP_BASIC_CLASS)
		return lost(why, "a message without its delivery");
	in->expects_header = false;
	if (p->_flags & AMQP_BASIC_MESSAGE_ID_FLAG)
		id = p->message_id;
	size_t kept = (size_t)(size < in->bytes_max ? size : in->bytes_max);
	struct delivery *d = mem_alloc(sizeof *d + id.len + kept);
	*d = (struct delivery){.tag = in->tag,
			       .redelivered = in->redelivered,
			       .size = size,
			       .has_identity = p->_flags & AMQP_BASIC_MESSAGE_ID_FLAG,
			       .identity_len = id.len};
	if (id.len)
		memcpy(d->bytes, id.bytes, id.len);
	if ((p->_flags & AMQP_BASIC_TIMESTAMP_FLAG) && p->timestamp < INT64_MAX / 1000000) {
		d->has_time = true;
		d->time_us = (int64_t)p->timestamp * 1000000;
	}
	in->part = d;
	in->part_left = size;
	if (!size)
		part_complete(in);
	return INBOX_FRAME;
}

static enum inbox_result
body_read(struct inbox *in, amqp_bytes_t piece, char *why)
{
	struct delivery *d = in->part;

	if (!d || piece.len > in->part_left)
		return lost(why, "more of a message than it announced");
	size_t room = (size_t)(d->size < in->bytes_max ? d->size : in->bytes_max) - d->body_len;
	size_t kept = piece.len < room ? piece.len : room;
	if (kept)
		memcpy(d->bytes + d->identity_len + d->body_len, piece.bytes, kept);
	d->body_len += kept;
	in->part_left -= piece.len;
	if (!in->part_left)
		part_complete(in);
	return INBOX_FRAME;
}

enum inbox_result
inbox_read(struct inbox *in, amqp_connection_state_t conn, char *why)
{
	struct timeval none = {0, 0};
	amqp_frame_t f;

	/* Everything of the frames before was copied. */
	amqp_maybe_release_buffers_on_channel(conn, RABBIT_CHANNEL);
	int status = amqp_simple_wait_frame_noblock(conn, &f, &none);
	if (status == AMQP_STATUS_TIMEOUT)
		return INBOX_EMPTY;
	if (status != AMQP_STATUS_OK)
		return lost(why, amqp_error_string2(status));
	if (f.frame_type == AMQP_FRAME_METHOD)
		return method_read(in, &f.payload.method, why);
	if (f.channel != RABBIT_CHANNEL)
		return lost(why, "a frame of a channel that was not opened");
	if (f.frame_type == AMQP_FRAME_HEADER)
		return header_read(in, &f, why);
	if (f.frame_type == AMQP_FRAME_BODY)
		return body_read(in, f.payload.body_fragment, why);
	return lost(why, "a frame of an unknown type");
}

amqp_table_entry_t
entry_true(const char *key)
{
	return (amqp_table_entry_t){
	    .key = amqp_cstring_bytes(key),
	    .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}}};
}

void
close_wait(amqp_connection_state_t conn, int ms)
{
	struct mono end = mono_add_ms(mono_now(), ms);

	for (;;) {
		int64_t left = end.us - mono_now().us;
		struct timeval wait = {.tv_usec = left > 0 ? left : 0};
		amqp_frame_t f;

		amqp_maybe_release_buffers_on_channel(conn, RABBIT_CHANNEL);
		if (left <= 0 || amqp_simple_wait_frame_noblock(conn, &f, &wait) ||
		    (f.frame_type == AMQP_FRAME_METHOD &&
		     f.payload.method.id == AMQP_CONNECTION_CLOSE_OK_METHOD))
			return;
	}
}
