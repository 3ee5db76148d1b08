/* exchange: the topic between ingests and lanes: whether it is there, and how it is made. */
#include "plan.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "log.h"

enum {
	ASK_MS = 5000,
	MAKE_MS = 15000,
	WHY_MAX = 256,
	COPIES_GOOD = 3, /* with fewer, confirmed by all may mean one disk */
};

static void
log_dropped(const rd_kafka_t *rk, int level, const char *fac, const char *buf)
{
	(void)rk, (void)level, (void)fac, (void)buf;
}

static void
error_keep(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
	char *why = opaque;

	(void)rk;
	if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !*why)
		snprintf(why, WHY_MAX, "%s", reason);
}

/* A property as it stands in the file, or what its reference leads to. */
static bool
property_read(const struct model *m, const struct property *p, struct buf *value, struct err *e)
{
	struct conf_secret secrets[CONF_SECRETS_MAX];
	char name[160];

	if (p->value) {
		buf_text(value, p->value);
		return true;
	}
	unsigned n = conf_secrets(m, ROLE_INGEST, secrets, CONF_SECRETS_MAX);
	snprintf(name, sizeof name, "exchange.properties.%s", p->key);
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(secrets[i].name, name))
			return conf_secret_read(secrets[i].from, value, e);
	return err_set(e, EXIT_CONFIG, "%s was not given", name);
}

static bool
property_set(rd_kafka_conf_t *conf, const struct model *m, const struct property *p, struct err *e)
{
	struct buf value = {0};
	char why[WHY_MAX];
	bool good = property_read(m, p, &value, e);

	/* Not the library's own words: they repeat the value. */
	if (good &&
	    rd_kafka_conf_set(conf, p->key, buf_cstr(&value), why, sizeof why) != RD_KAFKA_CONF_OK)
		good = err_set(e, EXIT_CONFIG,
			       "exchange.properties.%s: librdkafka has no such property, or "
			       "refuses the value",
			       p->key);
	if (value.data)
		explicit_bzero(value.data, value.cap);
	buf_free(&value);
	return good;
}

static rd_kafka_t *
client_open(const struct model *m, char heard[static WHY_MAX], struct err *e)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	const struct exchange *x = &m->exchange;
	char why[WHY_MAX] = "";
	bool good = true;

	heard[0] = '\0';
	rd_kafka_conf_set_opaque(conf, heard);
	rd_kafka_conf_set_log_cb(conf, log_dropped);
	rd_kafka_conf_set_error_cb(conf, error_keep);
	for (unsigned i = 0; good && i < x->properties_n; i++)
		good = property_set(conf, m, &x->properties[i], e);
	good = good && (rd_kafka_conf_set(conf, "bootstrap.servers", x->brokers, why, sizeof why) ==
			    RD_KAFKA_CONF_OK ||
			err_set(e, EXIT_CONFIG, "exchange.brokers: %s", why));
	rd_kafka_conf_set(conf, "allow.auto.create.topics", "false", why, sizeof why);
	rd_kafka_t *rk = good ? rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why) : NULL;
	if (rk)
		return rk;
	rd_kafka_conf_destroy(conf);
	if (good)
		err_set(e, EXIT_CONFIG, "exchange.properties: %s", why);
	return NULL;
}

/* The fewest that a partition has. */
static int
copies_count(const rd_kafka_metadata_topic_t *topic)
{
	int copies = topic->partition_cnt ? topic->partitions[0].replica_cnt : 0;

	for (int i = 1; i < topic->partition_cnt; i++)
		if (topic->partitions[i].replica_cnt < copies)
			copies = topic->partitions[i].replica_cnt;
	return copies;
}

/* *n: partitions of the topic; 0: there is none. *copies: of what is in it. */
static bool
topic_count(rd_kafka_t *rk, const struct model *m, const char *heard, int *n, int *copies,
	    struct err *e)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, m->exchange.topic, NULL);
	const struct rd_kafka_metadata *md;
	rd_kafka_resp_err_t err = rd_kafka_last_error();

	if (!topic)
		return err_set(e, EXIT_CONFIG, "exchange.topic: %s", rd_kafka_err2str(err));
	err = rd_kafka_metadata(rk, 0, topic, &md, ASK_MS);
	rd_kafka_poll(rk, 0); /* error_keep */
	rd_kafka_topic_destroy(topic);
	if (err)
		return err_set(e, EXIT_UNAVAILABLE, "exchange: cannot reach %s: %s",
			       m->exchange.brokers, *heard ? heard : rd_kafka_err2str(err));
	err = md->topic_cnt == 1 ? md->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	*n = err ? 0 : md->topics[0].partition_cnt;
	*copies = err ? (int)m->exchange.replication : copies_count(&md->topics[0]);
	rd_kafka_metadata_destroy(md);
	return !err || err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
	       err_set(e, EXIT_UNAVAILABLE, "exchange: topic %s: %s", m->exchange.topic,
		       rd_kafka_err2str(err));
}

struct settings { /* of the topic as it is */
	char cleanup[32], timestamp[32], unclean[8];
	int64_t message_bytes, retention_ms, retention_bytes;
};

static void
setting_take(struct settings *s, const rd_kafka_ConfigEntry_t *entry)
{
	const char *name = rd_kafka_ConfigEntry_name(entry);
	const char *value = rd_kafka_ConfigEntry_value(entry);

	if (!value)
		return;
	if (!strcmp(name, "cleanup.policy"))
		snprintf(s->cleanup, sizeof s->cleanup, "%s", value);
	else if (!strcmp(name, "message.timestamp.type"))
		snprintf(s->timestamp, sizeof s->timestamp, "%s", value);
	else if (!strcmp(name, "unclean.leader.election.enable"))
		snprintf(s->unclean, sizeof s->unclean, "%s", value);
	else if (!strcmp(name, "retention.bytes"))
		s->retention_bytes = strtoll(value, NULL, 10);
	else if (!strcmp(name, "max.message.bytes"))
		s->message_bytes = strtoll(value, NULL, 10);
	else if (!strcmp(name, "retention.ms"))
		s->retention_ms = strtoll(value, NULL, 10);
}

static bool
settings_take(struct settings *s, rd_kafka_event_t *event, struct err *e)
{
	size_t n = 0, entries_n = 0;

	if (!event)
		return err_set(e, EXIT_UNAVAILABLE, "exchange: the brokers do not answer");
	const rd_kafka_DescribeConfigs_result_t *result =
	    rd_kafka_event_DescribeConfigs_result(event);
	if (rd_kafka_event_error(event) || !result)
		return err_set(e, EXIT_UNAVAILABLE, "exchange: settings of the topic: %s",
			       rd_kafka_event_error_string(event));
	const rd_kafka_ConfigResource_t **topics =
	    rd_kafka_DescribeConfigs_result_resources(result, &n);
	if (!n || rd_kafka_ConfigResource_error(topics[0]))
		return err_set(e, EXIT_CONFIG, "exchange: settings of the topic: %s",
			       n ? rd_kafka_ConfigResource_error_string(topics[0]) : "none");
	const rd_kafka_ConfigEntry_t **entries =
	    rd_kafka_ConfigResource_configs(topics[0], &entries_n);
	for (size_t i = 0; i < entries_n; i++)
		setting_take(s, entries[i]);
	return true;
}

static bool
settings_read(rd_kafka_t *rk, const char *topic, struct settings *s, struct err *e)
{
	rd_kafka_ConfigResource_t *of = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
	rd_kafka_queue_t *answers = rd_kafka_queue_new(rk);

	*s = (struct settings){.retention_bytes = -1};
	rd_kafka_DescribeConfigs(rk, &of, 1, NULL, answers);
	rd_kafka_event_t *event = rd_kafka_queue_poll(answers, MAKE_MS);
	bool good = settings_take(s, event, e);
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(answers);
	rd_kafka_ConfigResource_destroy(of);
	return good;
}

/* What a record may have: a user may want less than the default. */
static int64_t
message_bytes(const struct model *m)
{
	int64_t n = (int64_t)model_exchange_bytes(m);

	for (unsigned i = 0; i < m->exchange.properties_n; i++) {
		const struct property *p = &m->exchange.properties[i];

		if (!strcmp(p->key, "message.max.bytes") && p->value &&
		    strtoll(p->value, NULL, 10) < n)
			n = strtoll(p->value, NULL, 10);
	}
	return n;
}

/* What may lose events, and yet may be meant. */
static void
settings_note(struct plan *p, const struct settings *s)
{
	const char *topic = p->model->exchange.topic;

	if (s->retention_bytes >= 0)
		plan_add_kind(p, CHANGE_NOTE, 'i', NULL,
			      "exchange topic %s: retention.bytes is %" PRId64
			      ": events go, read or not, as soon as there are so many bytes; -1 "
			      "leaves it to exchange.retention",
			      topic, s->retention_bytes);
	if (!strcmp(s->unclean, "true"))
		plan_add_kind(p, CHANGE_NOTE, 'i', NULL,
			      "exchange topic %s: unclean.leader.election.enable is true: a broker "
			      "that missed confirmed events may come to lead, and they are lost",
			      topic);
	if (!strcmp(s->timestamp, "CreateTime"))
		plan_add_kind(p, CHANGE_NOTE, 'i', NULL,
			      "exchange topic %s: message.timestamp.type is CreateTime: where the "
			      "clock of an ingest is behind, its events are deleted too early; "
			      "LogAppendTime goes by the brokers'",
			      topic);
}

/* Queues' messages are acknowledged as soon as the exchange has confirmed them. */
static void
copies_judge(struct plan *p, int copies)
{
	if (copies < COPIES_GOOD)
		plan_add_kind(p, CHANGE_NOTE, 'i', NULL,
			      "exchange: fewer than %d copies of each event (%d): one disk may be "
			      "all that holds it, and messages of queues are acknowledged on it",
			      COPIES_GOOD, copies);
}

/* A topic that somebody else made, or that has been changed since. */
static void
settings_judge(struct plan *p, const struct settings *s)
{
	const struct exchange *x = &p->model->exchange;
	int64_t bytes = message_bytes(p->model);

	if (strcmp(s->cleanup, "delete") != 0)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "exchange topic %s: cleanup.policy is %s, and must be delete: events "
			      "would be lost",
			      x->topic, s->cleanup);
	if (s->message_bytes < bytes)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "exchange topic %s: max.message.bytes is %" PRId64
			      ", and an event may come to %" PRId64
			      "; raise it, or lower limits.event_bytes_max",
			      x->topic, s->message_bytes, bytes);
	if (s->retention_ms != x->retention_us / 1000)
		plan_add_kind(p, CHANGE_NOTE, 'i', NULL,
			      "exchange topic %s: retention.ms is %" PRId64
			      ", the pipeline file has %" PRId64
			      "; `weir apply` leaves a topic that is there as it is",
			      x->topic, s->retention_ms, x->retention_us / 1000);
	settings_note(p, s);
}

/* Whether lanes of this pipeline have read that topic, or, not `same`, any other. */
static bool
topic_was_read(struct plan *p, bool same, bool *was, struct err *e)
{
	const char *params[] = {p->model->pipeline.s, p->model->exchange.topic,
				same ? "true" : "false", NULL};

	*was = false;
	return !p->admin_there ||
	       plan_ask(p,
			"SELECT EXISTS (SELECT FROM admin_schema.pipeline l"
			" JOIN admin_schema.key_range r ON r.pipeline = l.id"
			" CROSS JOIN unnest(r.partition, r.next) u (id, next)"
			" JOIN admin_schema.partition p ON p.pipeline = l.id AND p.id = u.id"
			" JOIN admin_schema.source s ON s.pipeline = l.id AND s.id = p.source"
			" WHERE l.name = $1 AND s.name = '" SOURCE_EXCHANGE_NAME "' AND u.next > 0"
			" AND starts_with(p.label, $2 || '/') = $3::boolean)",
			params, was, e);
}

/*
 * A topic that lanes have read is gone. One in its place would begin at 0 again, and they would
 * skip all of it that is below their positions.
 */
static bool
topic_missing(struct plan *p, struct err *e)
{
	const struct exchange *x = &p->model->exchange;
	bool this_one, another;

	if (!topic_was_read(p, true, &this_one, e) || !topic_was_read(p, false, &another, e))
		return false;
	if (this_one) {
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "exchange topic %s is gone, and lanes have positions in it: name "
			      "another topic, and set the sources' consumer groups back to where "
			      "nothing was lost yet; what was applied will be dropped",
			      x->topic);
		return true;
	}
	plan_add_kind(p, CHANGE_TOPIC, '+', NULL,
		      "exchange topic %s at %s: %u partitions, one for each key group, replication "
		      "%u; events are deleted after %" PRId64 " h",
		      x->topic, x->brokers, p->model->groups, x->replication,
		      x->retention_us / INT64_C(3600000000));
	if (another)
		plan_add_kind(
		    p, CHANGE_NOTE, 'i', NULL,
		    "the exchange was another topic before: what lanes have not read of it "
		    "by now is lost, unless the sources' consumer groups are set back");
	return true;
}

bool
plan_exchange(struct plan *p, struct err *e)
{
	const struct model *m = p->model;
	const struct exchange *x = &m->exchange;
	char heard[WHY_MAX];
	int n = 0, copies = 0;

	if (!model_exchange(m))
		return true;
	rd_kafka_t *rk = client_open(m, heard, e);
	if (!rk)
		return false;
	struct settings s;
	bool good =
	    topic_count(rk, m, heard, &n, &copies, e) && (!n || settings_read(rk, x->topic, &s, e));
	rd_kafka_destroy(rk);
	if (!good)
		return false;
	copies_judge(p, copies);
	if (!n)
		return topic_missing(p, e);
	if ((unsigned)n != m->groups)
		plan_add_kind(
		    p, CHANGE_REFUSED, '!', NULL,
		    "exchange topic %s has %d partitions, and the pipeline has %u groups: "
		    "each group is one partition; name another topic, or delete this one",
		    x->topic, n, m->groups);
	settings_judge(p, &s);
	return true;
}

/* ---- doing ---- */

static bool
setting(rd_kafka_NewTopic_t *topic, const char *key, const char *value, struct err *e)
{
	return !rd_kafka_NewTopic_set_config(topic, key, value) ||
	       err_set(e, EXIT_BUG, "topic's %s", key);
}

static bool
number(rd_kafka_NewTopic_t *topic, const char *key, uint64_t value, struct err *e)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, value);
	return setting(topic, key, text, e);
}

static bool
created(rd_kafka_queue_t *answers, struct err *e)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(answers, MAKE_MS);
	const rd_kafka_CreateTopics_result_t *result =
	    event ? rd_kafka_event_CreateTopics_result(event) : NULL;
	size_t n = 0;
	bool good = false;

	if (!event)
		err_set(e, EXIT_UNAVAILABLE, "the brokers do not answer");
	else if (rd_kafka_event_error(event) || !result)
		err_set(e, EXIT_UNAVAILABLE, "%s", rd_kafka_event_error_string(event));
	else {
		const rd_kafka_topic_result_t **topics =
		    rd_kafka_CreateTopics_result_topics(result, &n);
		rd_kafka_resp_err_t err =
		    n ? rd_kafka_topic_result_error(topics[0]) : RD_KAFKA_RESP_ERR_UNKNOWN;
		good = !err || err == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS;
		if (!good)
			err_set(e, EXIT_CONFIG, "%s",
				n && rd_kafka_topic_result_error_string(topics[0])
				    ? rd_kafka_topic_result_error_string(topics[0])
				    : rd_kafka_err2str(err));
	}
	if (event)
		rd_kafka_event_destroy(event);
	return good;
}

static bool
topic_create(rd_kafka_t *rk, rd_kafka_NewTopic_t *topic, struct err *e)
{
	rd_kafka_AdminOptions_t *options =
	    rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_queue_t *answers = rd_kafka_queue_new(rk);

	rd_kafka_CreateTopics(rk, &topic, 1, options, answers);
	bool good = created(answers, e);
	rd_kafka_queue_destroy(answers);
	rd_kafka_AdminOptions_destroy(options);
	return good;
}

bool
exchange_make(const struct model *m, struct err *e)
{
	const struct exchange *x = &m->exchange;
	char heard[WHY_MAX], why[WHY_MAX] = "";
	rd_kafka_t *rk = client_open(m, heard, e);

	if (!rk)
		return false;
	rd_kafka_NewTopic_t *topic =
	    rd_kafka_NewTopic_new(x->topic, (int)m->groups, (int)x->replication, why, sizeof why);
	bool good = topic || err_set(e, EXIT_CONFIG, "%s", why);
	good =
	    good && setting(topic, "cleanup.policy", "delete", e) &&
	    /* Else the clock of an ingest, if it is behind, would have its records deleted. */
	    setting(topic, "message.timestamp.type", "LogAppendTime", e) &&
	    setting(topic, "retention.bytes", "-1", e) &&
	    setting(topic, "unclean.leader.election.enable", "false", e) &&
	    number(topic, "retention.ms", (uint64_t)x->retention_us / 1000, e) &&
	    number(topic, "max.message.bytes", model_exchange_bytes(m), e) &&
	    (x->replication < 3 || number(topic, "min.insync.replicas", x->replication - 1, e)) &&
	    topic_create(rk, topic, e);
	if (topic)
		rd_kafka_NewTopic_destroy(topic);
	rd_kafka_destroy(rk);
	return good;
}
