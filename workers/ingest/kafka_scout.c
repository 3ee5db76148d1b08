/*
 * kafka_scout: the handles of a Kafka source, and the thread that asks the broker what would block
 * the worker: how many partitions there are, and where they begin and end. At the start, every
 * SCOUT_REST_MS, and when it is kicked. It makes the consumer once it knows how many partitions
 * share the bound of the fetch queues.
 */
#include "kafka_private.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"

enum {
	SCOUT_ASK_MS = 1000,   /* one question to the broker; an end waits at most for one */
	SCOUT_RETRY_MS = 500,  /* after a failure */
	SCOUT_REST_MS = 20000, /* between looks for new partitions: found within 30 s */
	QUEUE_KB_MIN = 64,
	QUEUE_KB_MAX = 2097151, /* librdkafka's */
	/*
	 * What librdkafka 2.0 keeps of a message beside its payload, which alone it counts. Small
	 * events would otherwise take several times the bound.
	 */
	MESSAGE_BYTES = 600,
	QUEUE_MESSAGES_MIN = 100,
	QUEUE_MESSAGES_MAX = 10000000, /* librdkafka's */
};

/* ---- configuration ---- */

/*
 * An exchange has many partitions and few events in each: an answer waits for more of them, or for
 * fetch.wait.max.ms. Else most answers have one event, and cost ten times as much an event.
 */
#define EXCHANGE_FETCH_MIN "65536"

/* Ours: they decide what is read and what counts as read; or would load code. */
static const char *const reserved[] = {"bootstrap.servers",
				       "metadata.broker.list",
				       "group.id",
				       "session.timeout.ms",
				       "enable.auto.commit",
				       "enable.auto.offset.store",
				       "auto.offset.reset",
				       "isolation.level",
				       "enable.partition.eof",
				       "queued.min.messages",
				       "queued.max.messages.kbytes",
				       "plugin.library.paths",
				       "log.queue",
				       "allow.auto.create.topics"};

void
kafka_conf_set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
	char why[256];

	check(rd_kafka_conf_set(conf, key, value, why, sizeof why) == RD_KAFKA_CONF_OK);
}

/* Asked before librdkafka does, which says neither which file it is nor why. */
static bool
location_check(const struct property *p, struct err *e)
{
	static const char end[] = ".location";
	size_t n = strlen(p->key);

	if (!p->value || !strcmp(p->value, "probe") || n < sizeof end ||
	    strcmp(p->key + n - (sizeof end - 1), end) != 0 || !access(p->value, R_OK))
		return true;
	return err_errno(e, errno == EACCES ? EXIT_PERMISSION : EXIT_CONFIG,
			 "kafka.properties.%s %s (ingest runs under a uid of its own)", p->key,
			 p->value);
}

static bool
property_set(struct kafka *k, const struct source_setup *setup, const struct property *p,
	     struct err *e)
{
	const char *name = k->source->name.s;
	char secret[160], why[256];
	struct buf value = {0};

	for (unsigned i = 0; i < sizeof reserved / sizeof *reserved; i++)
		if (!strcmp(p->key, reserved[i]))
			return err_set(e, EXIT_CONFIG,
				       "kafka.properties.%s is Weir's own and cannot be set",
				       p->key);
	if (!location_check(p, e))
		return false;
	snprintf(secret, sizeof secret, "sources.%s.kafka.properties.%s", name, p->key);
	if (!setup->secret || !setup->secret(setup->secret_ctx, secret, &value)) {
		if (!p->value)
			return err_set(e, EXIT_CONFIG, "%s was not given", secret);
		buf_text(&value, p->value);
	}
	rd_kafka_conf_res_t set =
	    rd_kafka_conf_set(k->conf, p->key, buf_cstr(&value), why, sizeof why);
	memset(value.data, 0, value.len);
	buf_free(&value);
	if (set == RD_KAFKA_CONF_OK)
		return true;
	/* Not its own text: that one repeats the value. */
	return err_set(e, EXIT_CONFIG, "kafka.properties.%s: %s", p->key,
		       set == RD_KAFKA_CONF_UNKNOWN ? "there is no such property of librdkafka"
						    : "librdkafka refuses the value");
}

static void
errors_heard(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
	struct shared *sh = &((struct kafka *)opaque)->shared;

	(void)rk;
	pthread_mutex_lock(&sh->lock);
	sh->errors++;
	/* "1/1 brokers are down" says less than what was heard before it. */
	if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !sh->reason[0])
		snprintf(sh->reason, sizeof sh->reason, "%s", reason);
	pthread_mutex_unlock(&sh->lock);
}

static void
log_dropped(const rd_kafka_t *rk, int level, const char *fac, const char *buf)
{
	(void)rk, (void)level, (void)fac, (void)buf;
}

bool
kafka_conf_make(struct kafka *k, const struct source_setup *setup, struct err *e)
{
	static const char *const fixed[][2] = {
	    /*
	     * A user may tune these ... Small fetches: what one brings is taken whole, beyond
	     * the bound of the queue.
	     */
	    {"fetch.max.bytes", "1048576"},
	    {"fetch.message.max.bytes", "262144"},
	    {"fetch.wait.max.ms", "100"}, /* bounds how late an end is noticed */
	    {"fetch.error.backoff.ms", "100"},
	    {"reconnect.backoff.ms", "50"},
	    {"reconnect.backoff.max.ms", "1000"},
	    {"socket.keepalive.enable", "true"},
	    {"check.crcs", "true"},
	    {NULL, NULL},
	    /* ... but not these. */
	    {"enable.auto.commit", "false"},
	    {"enable.auto.offset.store", "false"},
	    {"auto.offset.reset", "error"},
	    {"isolation.level", "read_committed"},
	    {"enable.partition.eof", "true"},
	    /*
	     * We join no group. This is how long an end waits for the group offsets of a
	     * coordinator that does not come; librdkafka's 45 s are longer than a worker has.
	     */
	    {"session.timeout.ms", "1000"},
	};
	const unsigned fixed_n = sizeof fixed / sizeof *fixed;
	char group[NAME_BYTES_MAX + 8];
	unsigned i = 0;

	k->conf = rd_kafka_conf_new();
	rd_kafka_conf_set_opaque(k->conf, k);
	rd_kafka_conf_set_error_cb(k->conf, errors_heard);
	rd_kafka_conf_set_log_cb(k->conf, log_dropped);
	for (; fixed[i][0]; i++)
		kafka_conf_set(k->conf, fixed[i][0], fixed[i][1]);
	snprintf(group, sizeof group, "weir-%s", setup->model->pipeline.s);
	kafka_conf_set(k->conf, "client.id", group);
	if (setup->origins)
		kafka_conf_set(k->conf, "fetch.min.bytes", EXCHANGE_FETCH_MIN);
	for (unsigned p = 0; p < k->source->properties_n; p++)
		if (!property_set(k, setup, &k->source->properties[p], e))
			return false;
	for (i++; i < fixed_n; i++)
		kafka_conf_set(k->conf, fixed[i][0], fixed[i][1]);
	kafka_conf_set(k->conf, "group.id", group);
	kafka_conf_set(k->conf, "bootstrap.servers", k->source->brokers);
	return true;
}

static void
conf_set_within(rd_kafka_conf_t *conf, const char *key, uint64_t value, uint64_t min, uint64_t max)
{
	char text[24];

	value = value < min ? min : value > max ? max : value;
	snprintf(text, sizeof text, "%" PRIu64, value);
	kafka_conf_set(conf, key, text);
}

/*
 * partitions: those that share the source's part of the bound; 0: nothing is fetched yet. Both
 * settings count per partition, and fetching stops at either: half of the share is for payload,
 * half for what surrounds it.
 */
static rd_kafka_t *
handle_make(struct kafka *k, unsigned partitions, char *why, size_t why_n)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_dup(k->conf);
	uint64_t half = k->queue_bytes_max / 2 / (partitions ? partitions : 1);

	conf_set_within(conf, "queued.max.messages.kbytes", half / 1024, QUEUE_KB_MIN,
			QUEUE_KB_MAX);
	conf_set_within(conf, "queued.min.messages", half / MESSAGE_BYTES, QUEUE_MESSAGES_MIN,
			QUEUE_MESSAGES_MAX);
	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, why_n);
	if (!rk)
		rd_kafka_conf_destroy(conf);
	return rk;
}

/* ---- scout ---- */

static void
event_raise(struct kafka *k)
{
	uint64_t one = 1;

	if (write(k->event, &one, sizeof one) < 0)
		check(errno == EAGAIN); /* it is raised already */
}

static bool
scout_fail(struct kafka *k, bool reached, const char *what)
{
	struct shared *sh = &k->shared;

	pthread_mutex_lock(&sh->lock);
	sh->failures++;
	snprintf(sh->why, sizeof sh->why,
		 reached ? "topic %s at %s: %s" : "topic %s: cannot reach %s: %s", k->source->topic,
		 k->source->brokers, !reached && sh->reason[0] ? sh->reason : what);
	pthread_mutex_unlock(&sh->lock);
	event_raise(k);
	return false;
}

static bool
scout_count(struct kafka *k, rd_kafka_t *rk, rd_kafka_topic_t *topic, unsigned *n)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, topic, &md, SCOUT_ASK_MS);

	rd_kafka_poll(rk, 0); /* errors_heard, as long as nobody else polls this handle */
	if (err)
		return scout_fail(k, false, rd_kafka_err2str(err));
	err = md->topic_cnt == 1 ? md->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	*n = err ? 0 : (unsigned)md->topics[0].partition_cnt;
	rd_kafka_metadata_destroy(md);
	if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || (!err && !*n))
		return scout_fail(k, true, "it does not exist (yet); waiting for it");
	if (err)
		return scout_fail(k, true, rd_kafka_err2str(err));
	if (*n > SOURCE_SLOTS_MAX)
		return scout_fail(k, true, "more partitions than Weir reads of one source");
	return true;
}

static bool
scout_offsets(struct kafka *k, rd_kafka_t *rk, unsigned n, int64_t which, struct range *ranges)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
	rd_kafka_resp_err_t err;

	for (unsigned i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, k->source->topic, (int32_t)i)->offset =
		    which;
	err = rd_kafka_offsets_for_times(rk, list, SCOUT_ASK_MS);
	for (int i = 0; i < list->cnt && !err; i++) {
		const rd_kafka_topic_partition_t *p = &list->elems[i];

		err = p->err;
		if (which == RD_KAFKA_OFFSET_BEGINNING)
			ranges[p->partition].first = p->offset;
		else
			ranges[p->partition].end = p->offset;
	}
	rd_kafka_topic_partition_list_destroy(list);
	return err ? scout_fail(k, true, rd_kafka_err2str(err)) : true;
}

/* With isolation.level read_committed an end is that of the last finished transaction. */
static bool
scout_look(struct kafka *k, rd_kafka_t *rk, rd_kafka_topic_t *topic, unsigned kicks)
{
	struct shared *sh = &k->shared;
	unsigned n, errors = 0;

	if (!scout_count(k, rk, topic, &n))
		return false;
	struct range *ranges = mem_zero(n, sizeof *ranges);
	pthread_mutex_lock(&sh->lock);
	errors = sh->errors;
	pthread_mutex_unlock(&sh->lock);
	if (!scout_offsets(k, rk, n, RD_KAFKA_OFFSET_BEGINNING, ranges) ||
	    !scout_offsets(k, rk, n, RD_KAFKA_OFFSET_END, ranges)) {
		free(ranges);
		return false;
	}
	pthread_mutex_lock(&sh->lock);
	if (n >= sh->ranges_n) { /* an older broker may know fewer */
		free(sh->ranges);
		sh->ranges = ranges;
		sh->ranges_n = n;
		ranges = NULL;
	}
	if (!sh->listing_n)
		sh->listing_n = n;
	sh->answered = kicks;
	sh->failures = 0;
	if (sh->errors == errors)
		sh->reason[0] = 0;
	pthread_mutex_unlock(&sh->lock);
	free(ranges);
	event_raise(k);
	return true;
}

/* The consumer, as soon as the number of partitions is known. True when it is there. */
static bool
scout_consumer(struct kafka *k, rd_kafka_topic_t *topic)
{
	char why[SOURCE_TROUBLE_MAX] = "";
	unsigned n;

	if (!scout_count(k, k->probe, topic, &n))
		return false;
	rd_kafka_t *rk = handle_make(k, n, why, sizeof why);
	if (!rk)
		return scout_fail(k, true, why);
	rd_kafka_poll_set_consumer(rk);
	pthread_mutex_lock(&k->shared.lock);
	k->shared.consumer = rk;
	pthread_mutex_unlock(&k->shared.lock);
	return true;
}

/* Until it is time to look again. False: the end. */
static bool
scout_wait(struct kafka *k, unsigned *kicks)
{
	struct shared *sh = &k->shared;
	struct timespec until;

	pthread_mutex_lock(&sh->lock);
	clock_gettime(CLOCK_MONOTONIC, &until);
	int64_t ms = sh->failures ? SCOUT_RETRY_MS : SCOUT_REST_MS;
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000)
		until.tv_sec++, until.tv_nsec -= 1000000000;
	while (!sh->stop && (sh->failures || sh->kicks == *kicks))
		if (pthread_cond_timedwait(&sh->wake, &sh->lock, &until) == ETIMEDOUT)
			break;
	*kicks = sh->kicks;
	bool go_on = !sh->stop;
	pthread_mutex_unlock(&sh->lock);
	return go_on;
}

static void *
scout_main(void *arg)
{
	struct kafka *k = arg;
	rd_kafka_topic_t *topic = rd_kafka_topic_new(k->probe, k->source->topic, NULL);
	unsigned kicks = 0;
	bool there = false, go_on = true;

	while (go_on && !(there = scout_consumer(k, topic)))
		go_on = scout_wait(k, &kicks);
	rd_kafka_topic_destroy(topic);
	if (!there)
		return NULL;
	rd_kafka_destroy_flags(k->probe, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	k->probe = NULL;
	topic = rd_kafka_topic_new(k->shared.consumer, k->source->topic, NULL);
	do
		scout_look(k, k->shared.consumer, topic, kicks);
	while (scout_wait(k, &kicks));
	rd_kafka_topic_destroy(topic);
	return NULL;
}

unsigned
scout_kick(struct kafka *k)
{
	pthread_mutex_lock(&k->shared.lock);
	unsigned kick = ++k->shared.kicks;
	pthread_cond_signal(&k->shared.wake);
	pthread_mutex_unlock(&k->shared.lock);
	return kick;
}

bool
scout_begin(struct kafka *k, const struct source_setup *setup, struct err *e)
{
	char why[SOURCE_TROUBLE_MAX] = "";
	pthread_condattr_t monotonic;
	sigset_t all, before;

	pthread_mutex_init(&k->shared.lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&k->shared.wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	k->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (k->event < 0)
		return err_errno(e, EXIT_UNAVAILABLE, "eventfd");
	if (!kafka_conf_make(k, setup, e))
		return false;
	k->probe = handle_make(k, 0, why, sizeof why);
	if (!k->probe)
		return err_set(e, EXIT_CONFIG, "kafka.properties: %s", why);
	/* Signals are the worker's main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = pthread_create(&k->scout, NULL, scout_main, k);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = failed;
	if (failed)
		return err_errno(e, EXIT_UNAVAILABLE, "a thread");
	k->scouting = true;
	return true;
}

void
scout_end(struct kafka *k)
{
	if (k->scouting) {
		pthread_mutex_lock(&k->shared.lock);
		k->shared.stop = true;
		pthread_cond_signal(&k->shared.wake);
		pthread_mutex_unlock(&k->shared.lock);
		pthread_join(k->scout, NULL);
	}
	if (k->probe)
		rd_kafka_destroy_flags(k->probe, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	if (k->conf)
		rd_kafka_conf_destroy(k->conf);
	free(k->shared.ranges);
	pthread_cond_destroy(&k->shared.wake);
	pthread_mutex_destroy(&k->shared.lock);
	if (k->event >= 0)
		close(k->event);
}
