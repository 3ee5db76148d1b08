#include "exchange.h"

#include <errno.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kafka_origin.h"
#include "log.h"
#include "mem.h"

enum {
	TOPIC_ASK_MS = 100,	 /* one question for the topic, until it is there ... */
	TOPIC_RETRY_MS = 500,	 /* ... and how often it is asked */
	DELIVERY_TOLD_MS = 2000, /* a record under way for so long: that is told */
	RECORD_AROUND = 1024,	 /* header, and what the protocol adds to a record */
	FLIGHT_BYTES = 700,	 /* what is kept of a record under way beside it, roughly */
	WHY_MAX = 256,
};

struct exchange_pipe {
	const struct model *m;
	struct flights *flights;
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	int event;
	size_t bytes_max;
	int64_t patience_ms; /* a record under way for longer has failed; 0: never */
	struct buf origin;   /* the header of the record that is being sent */
	bool ready;
	struct mono ask_at;
	bool failed; /* a delivery, or the producer as a whole */
	char failure[WHY_MAX];
	char reason[WHY_MAX]; /* the library's last word on its connections */
	char trouble[2 * WHY_MAX + 256];
};

/* ---- configuration ---- */

static void
conf_set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
	char why[WHY_MAX];

	check(rd_kafka_conf_set(conf, key, value, why, sizeof why) == RD_KAFKA_CONF_OK);
}

static bool
property_set(rd_kafka_conf_t *conf, const struct exchange_out *out, const struct property *p,
	     struct err *e)
{
	char name[160], why[WHY_MAX];
	struct buf value = {0};

	snprintf(name, sizeof name, "exchange.properties.%s", p->key);
	if (!out->secret || !out->secret(out->secret_ctx, name, &value)) {
		if (!p->value)
			return err_set(e, EXIT_CONFIG, "%s was not given", name);
		buf_text(&value, p->value);
	}
	rd_kafka_conf_res_t set =
	    rd_kafka_conf_set(conf, p->key, buf_cstr(&value), why, sizeof why);
	explicit_bzero(value.data, value.len);
	buf_free(&value);
	if (set == RD_KAFKA_CONF_OK)
		return true;
	/* Not its own text: that one repeats the value. */
	return err_set(e, EXIT_CONFIG, "%s: %s", name,
		       set == RD_KAFKA_CONF_UNKNOWN ? "there is no such property of librdkafka"
						    : "librdkafka refuses the value");
}

static void
failed(struct exchange_pipe *x, const char *why)
{
	if (!x->failed)
		snprintf(x->failure, sizeof x->failure, "%s", why);
	x->failed = true;
}

static void
errors_heard(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
	struct exchange_pipe *x = opaque;
	char why[WHY_MAX];

	if (code == RD_KAFKA_RESP_ERR__FATAL) {
		rd_kafka_fatal_error(rk, why, sizeof why);
		failed(x, why);
	} else if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !x->reason[0]) {
		snprintf(x->reason, sizeof x->reason, "%s", reason);
	}
}

static void
delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
	struct exchange_pipe *x = opaque;

	(void)rk;
	if (m->err) {
		failed(x, rd_kafka_err2str(m->err));
		return;
	}
	x->reason[0] = '\0';
	flight_done(x->flights, m->_private);
}

static void
log_dropped(const rd_kafka_t *rk, int level, const char *fac, const char *buf)
{
	(void)rk, (void)level, (void)fac, (void)buf;
}

static bool
conf_fill(struct exchange_pipe *x, rd_kafka_conf_t *conf, const struct exchange_out *out,
	  struct err *e)
{
	static const char *const fixed[][2] = {
	    /* A user may tune these ... */
	    {"socket.keepalive.enable", "true"},
	    {"reconnect.backoff.ms", "50"},
	    {"reconnect.backoff.max.ms", "1000"},
	    {"compression.codec", "lz4"}, /* a third to a half of the bytes, for next to nothing */
	    {"message.timeout.ms", "0"},  /* a broker that is away is waited for */
	    {NULL, NULL},
	    /*
	     * ... but not these. Bounds are the credit's. A time-out of the library's own would
	     * drop a record and send the next one, gapless or not.
	     */
	    {"message.timeout.ms", "0"},
	    {"enable.idempotence", "true"},
	    {"enable.gapless.guarantee", "true"},
	    {"acks", "all"},
	    {"allow.auto.create.topics", "false"},
	    {"queue.buffering.max.messages", "10000000"},
	    {"queue.buffering.max.kbytes", "2097151"},
	};
	const unsigned fixed_n = sizeof fixed / sizeof *fixed;
	const struct exchange *is = &x->m->exchange;
	char id[NAME_BYTES_MAX + 8], bytes[24];
	size_t bytes_n = sizeof bytes;
	unsigned i = 0;

	rd_kafka_conf_set_opaque(conf, x);
	rd_kafka_conf_set_error_cb(conf, errors_heard);
	rd_kafka_conf_set_log_cb(conf, log_dropped);
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	snprintf(id, sizeof id, "weir-%s", x->m->pipeline.s);
	conf_set(conf, "client.id", id);
	snprintf(bytes, sizeof bytes, "%" PRIu64, model_exchange_bytes(x->m));
	conf_set(conf, "message.max.bytes", bytes);
	for (; fixed[i][0]; i++)
		conf_set(conf, fixed[i][0], fixed[i][1]);
	for (unsigned p = 0; p < is->properties_n; p++)
		if (!property_set(conf, out, &is->properties[p], e))
			return false;
	check(rd_kafka_conf_get(conf, "message.timeout.ms", bytes, &bytes_n) == RD_KAFKA_CONF_OK);
	x->patience_ms = strtoll(bytes, NULL, 10);
	for (i++; i < fixed_n; i++)
		conf_set(conf, fixed[i][0], fixed[i][1]);
	conf_set(conf, "bootstrap.servers", is->brokers);
	bytes_n = sizeof bytes;
	check(rd_kafka_conf_get(conf, "message.max.bytes", bytes, &bytes_n) == RD_KAFKA_CONF_OK);
	/* A user may want less; the topic takes no more. */
	x->bytes_max = strtoul(bytes, NULL, 10);
	if (x->bytes_max > model_exchange_bytes(x->m))
		x->bytes_max = model_exchange_bytes(x->m);
	x->bytes_max -= x->bytes_max > 2 * RECORD_AROUND ? RECORD_AROUND : 0;
	return true;
}

bool
exchange_open(const struct exchange_out *out, struct exchange_pipe **of, struct err *e)
{
	static const uint64_t one = 1;
	struct exchange_pipe *x = mem_zero(1, sizeof *x);
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[WHY_MAX] = "";

	*of = x;
	x->m = out->model;
	x->flights = out->flights;
	x->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	bool good = x->event >= 0 || err_errno(e, EXIT_UNAVAILABLE, "eventfd");
	good = good && conf_fill(x, conf, out, e);
	x->rk = good ? rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why) : NULL;
	if (!x->rk) {
		rd_kafka_conf_destroy(conf);
		return !good ? false : err_set(e, EXIT_CONFIG, "exchange.properties: %s", why);
	}
	rd_kafka_queue_t *main_queue = rd_kafka_queue_get_main(x->rk);
	rd_kafka_queue_io_event_enable(main_queue, x->event, &one, sizeof one);
	rd_kafka_queue_destroy(main_queue);
	x->topic = rd_kafka_topic_new(x->rk, x->m->exchange.topic, NULL);
	return x->topic || err_set(e, EXIT_CONFIG, "exchange.topic: %s",
				   rd_kafka_err2str(rd_kafka_last_error()));
}

void
exchange_close(struct exchange_pipe *x)
{
	if (!x)
		return;
	if (x->rk)
		rd_kafka_purge(x->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
					  RD_KAFKA_PURGE_F_NON_BLOCKING);
	if (x->topic)
		rd_kafka_topic_destroy(x->topic);
	if (x->rk)
		rd_kafka_destroy(x->rk);
	if (x->event >= 0)
		close(x->event);
	buf_free(&x->origin);
	free(x);
}

/* ---- work ---- */

/* As many partitions as key groups: a record of another division would be lost to its lane. */
static bool
topic_look(struct exchange_pipe *x, struct err *e)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_resp_err_t err = rd_kafka_metadata(x->rk, 0, x->topic, &md, TOPIC_ASK_MS);
	int n = 0;

	if (err) {
		if (!x->reason[0])
			snprintf(x->reason, sizeof x->reason, "%s", rd_kafka_err2str(err));
		return true;
	}
	err = md->topic_cnt == 1 ? md->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	n = err ? 0 : md->topics[0].partition_cnt;
	rd_kafka_metadata_destroy(md);
	if (err || !n) {
		snprintf(x->reason, sizeof x->reason, "%s",
			 !err || err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
			     ? "it does not exist; `weir apply` makes it"
			     : rd_kafka_err2str(err));
		return true;
	}
	if ((unsigned)n != x->m->groups)
		return err_set(e, EXIT_CONFIG,
			       "the exchange topic %s has %d partitions, and the pipeline %u "
			       "groups: each group is one partition",
			       x->m->exchange.topic, n, x->m->groups);
	x->ready = true;
	x->reason[0] = '\0';
	return true;
}

static void
patience_look(struct exchange_pipe *x, struct mono now)
{
	struct mono oldest = x->patience_ms ? flights_oldest(x->flights) : mono_never();
	char why[WHY_MAX];

	if (oldest.us == INT64_MAX || mono_since_ms(oldest, now) <= x->patience_ms)
		return;
	snprintf(why, sizeof why, "it was not confirmed within %" PRId64 " ms", x->patience_ms);
	failed(x, why);
}

bool
exchange_serve(struct exchange_pipe *x, struct mono now, struct err *e)
{
	uint64_t raised;

	if (read(x->event, &raised, sizeof raised) < 0)
		check(errno == EAGAIN);
	rd_kafka_poll(x->rk, 0);
	patience_look(x, now);
	if (x->failed)
		return err_set(e, EXIT_UNAVAILABLE, "the exchange did not take a record: %s",
			       x->failure);
	if (x->ready || !mono_due(x->ask_at, now))
		return true;
	x->ask_at = mono_add_ms(now, TOPIC_RETRY_MS);
	return topic_look(x, e);
}

bool
exchange_ready(const struct exchange_pipe *x)
{
	return x->ready;
}

size_t
exchange_bytes_max(const struct exchange_pipe *x)
{
	return x->bytes_max;
}

bool
exchange_send(struct exchange_pipe *x, const struct exchange_record *r, struct mono now,
	      struct err *e)
{
	struct flight *f = flight_add(x->flights, r->partition, r->offset,
				      r->bytes->len + r->label_len + FLIGHT_BYTES, now);

	origin_write(&x->origin, r);
	rd_kafka_resp_err_t err = rd_kafka_producev(
	    x->rk, RD_KAFKA_V_RKT(x->topic), RD_KAFKA_V_PARTITION((int32_t)r->group),
	    RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
	    RD_KAFKA_V_VALUE(r->bytes->data, r->bytes->len),
	    RD_KAFKA_V_HEADER(ORIGIN_HEADER, x->origin.data, (ssize_t)x->origin.len),
	    RD_KAFKA_V_OPAQUE(f), RD_KAFKA_V_END);
	return !err || err_set(e, EXIT_UNAVAILABLE, "the exchange did not take a record: %s",
			       rd_kafka_err2str(err));
}

const char *
exchange_trouble(struct exchange_pipe *x, struct mono now)
{
	struct mono oldest = flights_oldest(x->flights);
	bool late = oldest.us != INT64_MAX && mono_since_ms(oldest, now) > DELIVERY_TOLD_MS;

	if (x->ready && !late)
		return NULL;
	snprintf(x->trouble, sizeof x->trouble, "topic %s at %s: %s", x->m->exchange.topic,
		 x->m->exchange.brokers,
		 x->reason[0] ? x->reason
		 : x->ready   ? "records are not confirmed"
			      : "not reached yet");
	return x->trouble;
}

int
exchange_fd(const struct exchange_pipe *x)
{
	return x->event;
}
