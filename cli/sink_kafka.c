/* sink_kafka: the demo's events into a topic that is there, by an idempotent producer. */
#include "sink.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

enum { ASK_MS = 10000, WAIT_MS = 100, WHY_MAX = 256, NAME_MAX_BYTES = 160 };

struct kafka_sink {
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	const struct source *source; /* borrowed */
	rd_kafka_resp_err_t failed;  /* of the first event that did not arrive */
	char heard[WHY_MAX];
};

static void
log_dropped(const rd_kafka_t *rk, int level, const char *fac, const char *buf)
{
	(void)rk, (void)level, (void)fac, (void)buf;
}

static void
error_keep(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
	struct kafka_sink *k = opaque;

	(void)rk;
	if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !*k->heard)
		snprintf(k->heard, sizeof k->heard, "%s", reason);
}

static void
delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
	struct kafka_sink *k = opaque;

	(void)rk;
	if (m->err && !k->failed)
		k->failed = m->err;
}

static bool
failed(const struct kafka_sink *k, const char *why, struct err *e)
{
	return err_set(e, EXIT_UNAVAILABLE, "topic %s at %s: %s", k->source->topic,
		       k->source->brokers, *k->heard ? k->heard : why);
}

static bool
setting(rd_kafka_conf_t *conf, const char *key, const char *value, struct err *e)
{
	char why[WHY_MAX];

	/* Not the library's own words: they repeat the value, which may be a password. */
	return rd_kafka_conf_set(conf, key, value, why, sizeof why) == RD_KAFKA_CONF_OK ||
	       err_set(e, EXIT_CONFIG, "librdkafka refuses %s, or its value", key);
}

static bool
properties_set(rd_kafka_conf_t *conf, const struct model *m, const struct source *s, struct err *e)
{
	bool good = true;

	for (unsigned i = 0; good && i < s->properties_n; i++) {
		const struct property *p = &s->properties[i];
		char name[NAME_MAX_BYTES];
		struct buf value = {0};
		snprintf(name, sizeof name, "kafka.properties.%s", p->key);
		if (p->value)
			buf_text(&value, p->value);
		else
			good = sink_secret(m, s, name, &value, e);
		good = good && setting(conf, p->key, buf_cstr(&value), e);
		if (value.data)
			explicit_bzero(value.data, value.cap);
		buf_free(&value);
	}
	return good;
}

static bool
topic_there(struct kafka_sink *k, struct err *e)
{
	const rd_kafka_metadata_t *md;
	rd_kafka_resp_err_t err = rd_kafka_metadata(k->rk, 0, k->topic, &md, ASK_MS);

	rd_kafka_poll(k->rk, 0); /* error_keep */
	if (err)
		return failed(k, rd_kafka_err2str(err), e);
	err = md->topic_cnt == 1 ? md->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	rd_kafka_metadata_destroy(md);
	*k->heard = 0;
	return !err || failed(k, rd_kafka_err2str(err), e);
}

static bool
kafka_send(void *ctx, const char *line, size_t n, const char *key, size_t key_n, struct err *e)
{
	struct kafka_sink *k = ctx;

	for (int waited_ms = 0; waited_ms < SINK_SETTLE_MS; waited_ms += WAIT_MS) {
		/* The library writes to neither; its types are older than const. */
		if (!rd_kafka_produce(k->topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
				      (void *)(uintptr_t)line, n, key, key_n, NULL))
			return true;
		if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			break;
		rd_kafka_poll(k->rk, WAIT_MS);
	}
	return failed(k, rd_kafka_err2str(rd_kafka_last_error()), e);
}

static bool
kafka_push(void *ctx, struct err *e)
{
	struct kafka_sink *k = ctx;

	rd_kafka_poll(k->rk, 0);
	return !k->failed || failed(k, rd_kafka_err2str(k->failed), e);
}

static bool
kafka_settle(void *ctx, struct err *e)
{
	struct kafka_sink *k = ctx;
	rd_kafka_resp_err_t err = rd_kafka_flush(k->rk, SINK_SETTLE_MS);

	return err ? failed(k, rd_kafka_err2str(err), e) : kafka_push(k, e);
}

static void
kafka_close(void *ctx)
{
	struct kafka_sink *k = ctx;

	if (k->topic)
		rd_kafka_topic_destroy(k->topic);
	if (k->rk) {
		rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
		rd_kafka_destroy(k->rk);
	}
	free(k);
}

static const struct sink_ops kafka_ops = {
    .send = kafka_send, .push = kafka_push, .settle = kafka_settle, .close = kafka_close};

static bool
client_open(struct kafka_sink *k, const struct model *m, struct err *e)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[WHY_MAX], most[16];

	snprintf(most, sizeof most, "%d", SINK_UNSETTLED_MAX);
	rd_kafka_conf_set_opaque(conf, k);
	rd_kafka_conf_set_log_cb(conf, log_dropped);
	rd_kafka_conf_set_error_cb(conf, error_keep);
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	bool good = properties_set(conf, m, k->source, e) &&
		    setting(conf, "bootstrap.servers", k->source->brokers, e) &&
		    setting(conf, "allow.auto.create.topics", "false", e) &&
		    setting(conf, "enable.idempotence", "true", e) &&
		    setting(conf, "queue.buffering.max.messages", most, e);
	k->rk = good ? rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why) : NULL;
	if (k->rk)
		return true;
	rd_kafka_conf_destroy(conf);
	return good ? err_set(e, EXIT_CONFIG, "source %s: %s", k->source->name.s, why) : false;
}

bool
sink_kafka_open(const struct model *m, const struct source *s, struct sink *out, struct err *e)
{
	struct kafka_sink *k = mem_zero(1, sizeof *k);

	k->source = s;
	bool good = client_open(k, m, e);
	k->topic = good ? rd_kafka_topic_new(k->rk, s->topic, NULL) : NULL;
	good = good && (k->topic || failed(k, rd_kafka_err2str(rd_kafka_last_error()), e)) &&
	       topic_there(k, e);
	if (!good) {
		kafka_close(k);
		return false;
	}
	*out = (struct sink){&kafka_ops, k};
	return true;
}
