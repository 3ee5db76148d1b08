/*
 * sink_rabbit: the demo's events into a queue that is there, each with a message-id, persistent and
 * confirmed by the broker. Speaks amqp:// alone.
 */
#include "sink.h"

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "mem.h"
#include "mono.h"

enum {
	CHANNEL = 1,
	CONNECT_SECONDS = 5,
	FRAME_MAX = 131072,
	WHY_MAX = 256,
	DELIVERY_PERSISTENT = 2
};

struct rabbit_sink {
	amqp_connection_state_t conn;
	const struct source *source; /* borrowed */
	char *url;
	size_t url_len;
	int64_t began_us; /* of the wall: message-ids of two runs differ */
	uint64_t sent;
	uint64_t confirmed; /* this one and all before it; beyond it: */
	bool ahead[SINK_UNSETTLED_MAX];
};

static bool
failed(const struct rabbit_sink *r, const char *why, struct err *e)
{
	return err_set(e, EXIT_UNAVAILABLE, "queue %s of source %s: %s", r->source->queue,
		       r->source->name.s, why);
}

static bool
status_good(const struct rabbit_sink *r, int status, struct err *e)
{
	return status == AMQP_STATUS_OK || failed(r, amqp_error_string2(status), e);
}

static bool
closed(const struct rabbit_sink *r, const amqp_method_t *m, struct err *e)
{
	amqp_bytes_t text = {0};
	char why[WHY_MAX];

	if (m->id == AMQP_CHANNEL_CLOSE_METHOD)
		text = ((const amqp_channel_close_t *)m->decoded)->reply_text;
	else if (m->id == AMQP_CONNECTION_CLOSE_METHOD)
		text = ((const amqp_connection_close_t *)m->decoded)->reply_text;
	snprintf(why, sizeof why, "the broker closed: %.*s", (int)text.len,
		 text.bytes ? (const char *)text.bytes : "");
	return failed(r, why, e);
}

static bool
refused(const struct rabbit_sink *r, const amqp_rpc_reply_t *reply, struct err *e)
{
	if (reply->reply_type == AMQP_RESPONSE_SERVER_EXCEPTION)
		return err_set(e, EXIT_PERMISSION, "queue %s of source %s: the login was refused",
			       r->source->queue, r->source->name.s);
	return failed(r, amqp_error_string2(reply->library_error), e);
}

static bool
reply_good(const struct rabbit_sink *r, struct err *e)
{
	amqp_rpc_reply_t reply = amqp_get_rpc_reply(r->conn);

	if (reply.reply_type == AMQP_RESPONSE_NORMAL)
		return true;
	if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION)
		return closed(r, &reply.reply, e);
	return failed(r, amqp_error_string2(reply.library_error), e);
}

static void
confirm(struct rabbit_sink *r, uint64_t tag, bool all_before)
{
	if (!all_before)
		r->ahead[tag % SINK_UNSETTLED_MAX] = true;
	while (r->confirmed < r->sent && ((all_before && r->confirmed < tag) ||
					  r->ahead[(r->confirmed + 1) % SINK_UNSETTLED_MAX]))
		r->ahead[++r->confirmed % SINK_UNSETTLED_MAX] = false;
}

/* What the broker says of events that it was sent; waits at most so long for the first word. */
static bool
confirmations_take(struct rabbit_sink *r, int64_t wait_ms, struct err *e)
{
	amqp_frame_t frame;

	for (;; wait_ms = 0) {
		struct timeval wait = {wait_ms / 1000, wait_ms % 1000 * 1000};
		int status = amqp_simple_wait_frame_noblock(r->conn, &frame, &wait);
		if (status == AMQP_STATUS_TIMEOUT)
			return true;
		if (!status_good(r, status, e))
			return false;
		if (frame.frame_type != AMQP_FRAME_METHOD)
			continue;
		const amqp_method_t *m = &frame.payload.method;
		if (m->id == AMQP_BASIC_NACK_METHOD)
			return failed(r, "the broker did not take an event", e);
		if (m->id != AMQP_BASIC_ACK_METHOD)
			return closed(r, m, e);
		const amqp_basic_ack_t *ack = m->decoded;
		confirm(r, ack->delivery_tag, ack->multiple);
		amqp_maybe_release_buffers(r->conn);
	}
}

static bool
room_wait(struct rabbit_sink *r, uint64_t unsettled_max, struct err *e)
{
	struct mono begun = mono_now();

	while (r->sent - r->confirmed > unsettled_max) {
		int64_t left_ms = SINK_SETTLE_MS - mono_since_ms(begun, mono_now());
		if (left_ms <= 0)
			return failed(r, "the broker confirms nothing", e);
		if (!confirmations_take(r, left_ms, e))
			return false;
	}
	return true;
}

static bool
rabbit_send(void *ctx, const char *line, size_t n, const char *key, size_t key_n, struct err *e)
{
	struct rabbit_sink *r = ctx;
	char id[64];

	(void)key, (void)key_n;
	if (!room_wait(r, SINK_UNSETTLED_MAX - 1, e))
		return false;
	snprintf(id, sizeof id, "%" PRIx64 "-%" PRIu64, (uint64_t)r->began_us, r->sent);
	const amqp_basic_properties_t properties = {
	    ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
		      AMQP_BASIC_MESSAGE_ID_FLAG,
	    .content_type = amqp_cstring_bytes("application/json"),
	    .delivery_mode = DELIVERY_PERSISTENT,
	    .message_id = amqp_cstring_bytes(id)};
	/* The library does not write to it; its type is older than const. */
	amqp_bytes_t body = {.len = n, .bytes = (void *)(uintptr_t)line};
	if (!status_good(r,
			 amqp_basic_publish(r->conn, CHANNEL, amqp_empty_bytes,
					    amqp_cstring_bytes(r->source->queue), false, false,
					    &properties, body),
			 e))
		return false;
	r->sent++;
	return true;
}

static bool
rabbit_push(void *ctx, struct err *e)
{
	return confirmations_take(ctx, 0, e);
}

static bool
rabbit_settle(void *ctx, struct err *e)
{
	return room_wait(ctx, 0, e);
}

static void
rabbit_close(void *ctx)
{
	struct rabbit_sink *r = ctx;

	if (r->conn)
		amqp_destroy_connection(r->conn);
	if (r->url)
		explicit_bzero(r->url, r->url_len);
	free(r->url);
	free(r);
}

static const struct sink_ops rabbit_ops = {
    .send = rabbit_send, .push = rabbit_push, .settle = rabbit_settle, .close = rabbit_close};

/* The text itself is not repeated anywhere: it holds a password. */
static bool
url_read(struct rabbit_sink *r, const struct model *m, struct amqp_connection_info *info,
	 struct err *e)
{
	static char root[] = "/";
	struct buf url = {0};

	if (r->source->url)
		buf_text(&url, r->source->url);
	else if (!sink_secret(m, r->source, "rabbitmq.url", &url, e))
		return false;
	r->url = mem_string(buf_cstr(&url));
	r->url_len = strlen(r->url);
	explicit_bzero(url.data, url.cap);
	buf_free(&url);
	char *options = strchr(r->url, '?');
	if (options)
		*options = 0;
	if (amqp_parse_url(r->url, info) != AMQP_STATUS_OK)
		return err_set(
		    e, EXIT_CONFIG,
		    "sources.%s.rabbitmq.url is not amqp://USER:PASSWORD@HOST:PORT/VHOST",
		    r->source->name.s);
	if (!*info->vhost)
		info->vhost = root;
	return !info->ssl ||
	       err_set(e, EXIT_CONFIG, "source %s: the demo's events go by amqp:// only",
		       r->source->name.s);
}

static bool
queue_reach(struct rabbit_sink *r, const struct amqp_connection_info *info, struct err *e)
{
	struct timeval connecting = {.tv_sec = CONNECT_SECONDS};

	r->conn = amqp_new_connection();
	amqp_socket_t *socket = r->conn ? amqp_tcp_socket_new(r->conn) : NULL;
	if (!socket)
		return failed(r, "no memory for a connection", e);
	amqp_set_handshake_timeout(r->conn, &connecting);
	amqp_set_rpc_timeout(r->conn, &connecting);
	if (!status_good(r, amqp_socket_open_noblock(socket, info->host, info->port, &connecting),
			 e))
		return false;
	amqp_rpc_reply_t reply = amqp_login(r->conn, info->vhost, CHANNEL, FRAME_MAX, 0,
					    AMQP_SASL_METHOD_PLAIN, info->user, info->password);
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		return refused(r, &reply, e);
	amqp_channel_open(r->conn, CHANNEL);
	if (!reply_good(r, e))
		return false;
	amqp_queue_declare(r->conn, CHANNEL, amqp_cstring_bytes(r->source->queue), true, false,
			   false, false, amqp_empty_table);
	if (!reply_good(r, e))
		return false;
	amqp_confirm_select(r->conn, CHANNEL);
	return reply_good(r, e);
}

bool
sink_rabbit_open(const struct model *m, const struct source *s, struct sink *out, struct err *e)
{
	struct rabbit_sink *r = mem_zero(1, sizeof *r);
	struct amqp_connection_info info;

	r->source = s;
	r->began_us = wall_now_us();
	if (!url_read(r, m, &info, e) || !queue_reach(r, &info, e)) {
		rabbit_close(r);
		return false;
	}
	*out = (struct sink){&rabbit_ops, r};
	return true;
}
