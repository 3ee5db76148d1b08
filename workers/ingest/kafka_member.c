#include "kafka_member.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kafka_private.h"
#include "log.h"
#include "mem.h"

enum {
	COMMIT_EVERY_MS = 1000,
	CLOSE_WAIT_MS = 100, /* for the answer to the last commit */
	SERVE_MAX = 100,     /* callbacks of one poll */
	STARTS_ASK_MS = 50,  /* each of two questions */
	JOIN_TOLD_MS = 5000, /* joining takes no longer, unless something is wrong */
	LEAVE_MS_MAX = 1000, /* for saying farewell; without it the session has to end */
	LEAVE_POLL_MS = 10,
	COVER_FIRST_MS = 3000, /* after joining: is everything read by somebody? */
	COVER_EVERY_MS = 20000,
	COVER_ASK_MS = 5000,
};

struct member {
	struct kafka kafka; /* source, conf, shared: of its configuration (kafka_scout.c) */
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue, *commits, *covers;
	char group[MEMBER_NAME_MAX];
	int event;
	enum member_state state;
	uint32_t *owned;
	int64_t *told, *sent, *confirmed; /* by place in owned */
	unsigned owned_n;
	struct mono since, commit_at, leave_by, cover_at;
	bool commit_due, commit_out, leaving, cover_out;
	char trouble[SOURCE_TROUBLE_MAX * 2];
};

static int
number_order(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void
owned_take(struct member *m, const rd_kafka_topic_partition_list_t *list)
{
	unsigned n = (unsigned)list->cnt;

	m->owned = mem_zero(n ? n : 1, sizeof *m->owned);
	m->told = mem_zero(n ? n : 1, sizeof *m->told);
	m->sent = mem_zero(n ? n : 1, sizeof *m->sent);
	m->confirmed = mem_zero(n ? n : 1, sizeof *m->confirmed);
	/* A static member gets what it had, be it of another topic that it read before. */
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(list->elems[i].topic, m->kafka.source->topic))
			m->owned[m->owned_n++] = (uint32_t)list->elems[i].partition;
	for (unsigned i = 0; i < m->owned_n; i++)
		m->told[i] = m->sent[i] = m->confirmed[i] = -1;
	qsort(m->owned, m->owned_n, sizeof *m->owned, number_order);
	m->state = MEMBER_OWNS;
	m->cover_at = mono_add_ms(mono_now(), COVER_FIRST_MS);
}

/* The answer to either is an empty assignment: this handle fetches nothing. */
static void
rebalanced(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
	   void *opaque)
{
	struct kafka *k = opaque;
	struct member *m = (struct member *)(void *)((char *)k - offsetof(struct member, kafka));

	if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
		rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);

		rd_kafka_assign(rk, none);
		rd_kafka_topic_partition_list_destroy(none);
	} else {
		rd_kafka_assign(rk, NULL);
	}
	if (m->state == MEMBER_JOINING && err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
		owned_take(m, list);
	else if (m->state == MEMBER_OWNS)
		m->state = MEMBER_LOST;
}

static void
number_set(rd_kafka_conf_t *conf, const char *key, int value)
{
	char text[16];

	snprintf(text, sizeof text, "%d", value);
	kafka_conf_set(conf, key, text);
}

static bool
conf_open(struct member *m, const struct member_setup *setup, struct err *e)
{
	rd_kafka_conf_t *conf;
	char why[SOURCE_TROUBLE_MAX] = "";

	if (!kafka_conf_make(&m->kafka, setup->source, e))
		return false;
	conf = rd_kafka_conf_dup(m->kafka.conf);
	kafka_conf_set(conf, "group.id", setup->group);
	kafka_conf_set(conf, "group.instance.id", setup->name);
	kafka_conf_set(conf, "partition.assignment.strategy", "range");
	kafka_conf_set(conf, "topic.metadata.refresh.interval.ms", "20000"); /* new partitions */
	number_set(conf, "session.timeout.ms", MEMBER_SESSION_MS);
	number_set(conf, "max.poll.interval.ms", MEMBER_SESSION_MS);
	number_set(conf, "heartbeat.interval.ms", MEMBER_SESSION_MS / 20);
	rd_kafka_conf_set_rebalance_cb(conf, rebalanced);
	m->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
	if (m->rk)
		return true;
	rd_kafka_conf_destroy(conf);
	return err_set(e, EXIT_CONFIG, "kafka.properties: %s", why);
}

static bool
join(struct member *m, struct err *e)
{
	static const uint64_t one = 1;
	rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);

	rd_kafka_poll_set_consumer(m->rk);
	m->queue = rd_kafka_queue_get_consumer(m->rk);
	m->commits = rd_kafka_queue_new(m->rk);
	m->covers = rd_kafka_queue_new(m->rk);
	rd_kafka_queue_io_event_enable(m->queue, m->event, &one, sizeof one);
	rd_kafka_topic_partition_list_add(topics, m->kafka.source->topic, RD_KAFKA_PARTITION_UA);
	rd_kafka_resp_err_t err = rd_kafka_subscribe(m->rk, topics);
	rd_kafka_topic_partition_list_destroy(topics);
	return !err || err_set(e, EXIT_CONFIG, "topic %s: %s", m->kafka.source->topic,
			       rd_kafka_err2str(err));
}

bool
member_open(const struct member_setup *setup, struct member **out, struct err *e)
{
	struct member *m = mem_zero(1, sizeof *m);

	m->kafka.source = setup->source->source;
	snprintf(m->group, sizeof m->group, "%s", setup->group);
	m->since = mono_now();
	pthread_mutex_init(&m->kafka.shared.lock, NULL);
	m->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (m->event < 0)
		err_errno(e, EXIT_UNAVAILABLE, "eventfd");
	if (m->event < 0 || !conf_open(m, setup, e) || !join(m, e)) {
		member_close(m);
		return false;
	}
	*out = m;
	return true;
}

static bool
commit_send(struct member *m)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);

	for (unsigned i = 0; i < m->owned_n; i++) {
		if (m->told[i] <= m->sent[i])
			continue;
		rd_kafka_topic_partition_list_add(list, m->kafka.source->topic,
						  (int32_t)m->owned[i])
		    ->offset = m->told[i];
		m->sent[i] = m->told[i];
	}
	m->commit_due = false;
	bool sent = list->cnt && !rd_kafka_commit_queue(m->rk, list, m->commits, NULL, NULL);
	rd_kafka_topic_partition_list_destroy(list);
	return sent;
}

static bool
commit_answer(struct member *m, int wait_ms)
{
	rd_kafka_event_t *answer = rd_kafka_queue_poll(m->commits, wait_ms);

	if (!answer)
		return false;
	if (rd_kafka_event_error(answer)) {
		log_debug("group offsets: %s", rd_kafka_event_error_string(answer));
		memcpy(m->sent, m->confirmed, m->owned_n * sizeof *m->sent);
		m->commit_due = true;
	} else {
		memcpy(m->confirmed, m->sent, m->owned_n * sizeof *m->sent);
	}
	rd_kafka_event_destroy(answer);
	m->commit_out = false;
	return true;
}

static void
commits_serve(struct member *m, struct mono now)
{
	while (commit_answer(m, 0))
		;
	if (!m->commit_due || m->commit_out || !mono_due(m->commit_at, now))
		return;
	m->commit_out = commit_send(m);
	m->commit_at = mono_add_ms(now, COMMIT_EVERY_MS);
}

static unsigned
partitions_count(struct member *m)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(m->rk, m->kafka.source->topic, NULL);
	const struct rd_kafka_metadata *md;
	unsigned n = 0;

	if (!topic)
		return 0;
	if (!rd_kafka_metadata(m->rk, 0, topic, &md, STARTS_ASK_MS)) {
		if (md->topic_cnt == 1 && !md->topics[0].err)
			n = (unsigned)md->topics[0].partition_cnt;
		rd_kafka_metadata_destroy(md);
	}
	rd_kafka_topic_destroy(topic);
	return n;
}

/* At most one is under way before the last one can be sent. */
static void
commits_flush(struct member *m)
{
	for (unsigned turn = 0; turn < 2 && m->state == MEMBER_OWNS; turn++) {
		if (!m->commit_out && m->commit_due)
			m->commit_out = commit_send(m);
		if (m->commit_out && !commit_answer(m, CLOSE_WAIT_MS / 2))
			break;
	}
}

void
member_leave(struct member *m)
{
	if (!m || m->leaving || m->state == MEMBER_FENCED)
		return;
	commits_flush(m);
	m->leaving = !rd_kafka_unsubscribe(m->rk);
	m->leave_by = mono_add_ms(mono_now(), LEAVE_MS_MAX);
}

/* Whether the farewell is on its way: the library has forgotten who it was. */
static bool
nobody(struct member *m)
{
	char *id = rd_kafka_memberid(m->rk);
	bool empty = !id || !*id;

	if (id)
		rd_kafka_mem_free(m->rk, id);
	return empty;
}

/*
 * To the end of a leave. The library says nothing of the answer to it; but the broker answers a
 * connection's questions in their order, so that the answer to a later one tells.
 */
static void
leave_end(struct member *m)
{
	rd_kafka_message_t *got;
	int left_ms;

	if (!m->leaving)
		return;
	m->leaving = false;
	while (!nobody(m) && !mono_due(m->leave_by, mono_now())) {
		got = rd_kafka_consumer_poll(m->rk, LEAVE_POLL_MS);
		if (got)
			rd_kafka_message_destroy(got);
	}
	left_ms = (int)-mono_since_ms(m->leave_by, mono_now());
	if (left_ms <= 0)
		return;
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, m->kafka.source->topic, 0);
	rd_kafka_committed(m->rk, list, left_ms);
	rd_kafka_topic_partition_list_destroy(list);
}

/*
 * ---- what nobody reads ----
 * Who comes back under its name within the session's time gets what it had, and the group is not
 * divided anew, not even where the topic has more partitions by then, or is another one. Nobody
 * would notice: so each member asks now and then whether everything is somebody's.
 */

static void
cover_ask(struct member *m)
{
	const char *groups[] = {m->group};
	char why[8];
	rd_kafka_AdminOptions_t *options =
	    rd_kafka_AdminOptions_new(m->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);

	rd_kafka_AdminOptions_set_request_timeout(options, COVER_ASK_MS, why, sizeof why);
	rd_kafka_DescribeConsumerGroups(m->rk, groups, 1, options, m->covers);
	rd_kafka_AdminOptions_destroy(options);
	m->cover_out = true;
}

/* Marks what members have of our topic. False: the group is not at rest, or may not be asked. */
static bool
cover_mark(const struct member *m, const rd_kafka_ConsumerGroupDescription_t *g, bool *read,
	   unsigned n)
{
	if (rd_kafka_ConsumerGroupDescription_error(g) ||
	    rd_kafka_ConsumerGroupDescription_state(g) != RD_KAFKA_CONSUMER_GROUP_STATE_STABLE)
		return false;
	for (size_t i = 0; i < rd_kafka_ConsumerGroupDescription_member_count(g); i++) {
		const rd_kafka_topic_partition_list_t *list =
		    rd_kafka_MemberAssignment_partitions(rd_kafka_MemberDescription_assignment(
			rd_kafka_ConsumerGroupDescription_member(g, i)));
		for (int p = 0; list && p < list->cnt; p++)
			if (!strcmp(list->elems[p].topic, m->kafka.source->topic) &&
			    (unsigned)list->elems[p].partition < n)
				read[list->elems[p].partition] = true;
	}
	return true;
}

static void
cover_judge(struct member *m, const rd_kafka_ConsumerGroupDescription_t *g)
{
	unsigned n = partitions_count(m), i = 0;
	bool *read = mem_zero(n ? n : 1, sizeof *read);

	if (n && cover_mark(m, g, read, n)) {
		while (i < n && read[i])
			i++;
		if (i < n) {
			log_info("topic %s partition %u is read by nobody: the group is divided "
				 "anew",
				 m->kafka.source->topic, i);
			/*
			 * Who joins as a new one is given its share anew. Here and now: nothing is
			 * left of this process a moment after it has said that it is over.
			 */
			member_leave(m);
			leave_end(m);
			m->state = MEMBER_LOST;
		}
	}
	free(read);
}

static void
cover_serve(struct member *m, struct mono now)
{
	if (m->cover_out) {
		rd_kafka_event_t *answer = rd_kafka_queue_poll(m->covers, 0);
		const rd_kafka_ConsumerGroupDescription_t **groups;
		const rd_kafka_DescribeConsumerGroups_result_t *result;
		size_t n = 0;

		if (!answer)
			return;
		m->cover_out = false;
		result = rd_kafka_event_DescribeConsumerGroups_result(answer);
		groups = result ? rd_kafka_DescribeConsumerGroups_result_groups(result, &n) : NULL;
		if (n == 1)
			cover_judge(m, groups[0]);
		rd_kafka_event_destroy(answer);
	} else if (mono_due(m->cover_at, now)) {
		cover_ask(m);
		m->cover_at = mono_add_ms(now, COVER_EVERY_MS);
	}
}

enum member_state
member_poll(struct member *m, struct mono now)
{
	rd_kafka_message_t *got;
	uint64_t raised;
	char why[8];

	if (read(m->event, &raised, sizeof raised) < 0)
		check(errno == EAGAIN);
	for (unsigned i = 0; i < SERVE_MAX && (got = rd_kafka_consumer_poll(m->rk, 0)); i++) {
		if (got->err == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED)
			m->state = MEMBER_LOST;
		rd_kafka_message_destroy(got);
	}
	if (rd_kafka_fatal_error(m->rk, why, sizeof why) != RD_KAFKA_RESP_ERR_NO_ERROR)
		m->state = MEMBER_FENCED;
	if (m->state == MEMBER_OWNS) {
		commits_serve(m, now);
		cover_serve(m, now);
	}
	return m->state;
}

const uint32_t *
member_owned(const struct member *m, unsigned *n)
{
	*n = m->owned_n;
	return m->owned;
}

void
member_committed(struct member *m, uint32_t partition, int64_t next)
{
	for (unsigned i = 0; i < m->owned_n; i++)
		if (m->owned[i] == partition && next > m->told[i]) {
			m->told[i] = next;
			m->commit_due = true;
		}
}

int64_t
member_confirmed(const struct member *m, uint32_t partition)
{
	for (unsigned i = 0; i < m->owned_n; i++)
		if (m->owned[i] == partition)
			return m->confirmed[i];
	return -1;
}

bool
member_starts(struct member *m, struct member_starts *out)
{
	unsigned n = partitions_count(m);
	rd_kafka_topic_partition_list_t *list;

	if (!n)
		return false;
	list = rd_kafka_topic_partition_list_new((int)n);
	for (unsigned i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, m->kafka.source->topic, (int32_t)i);
	rd_kafka_resp_err_t err = rd_kafka_committed(m->rk, list, STARTS_ASK_MS);
	for (unsigned i = 0; i < n && !err; i++)
		err = list->elems[i].err;
	if (!err) {
		*out = (struct member_starts){.next = mem_zero(n, sizeof *out->next), .n = n};
		for (unsigned i = 0; i < n; i++) {
			int64_t at = list->elems[i].offset;

			out->next[list->elems[i].partition] = at >= 0 ? at : -1;
			out->any = out->any || at >= 0;
		}
	}
	rd_kafka_topic_partition_list_destroy(list);
	return !err;
}

void
member_starts_free(struct member_starts *s)
{
	free(s->next);
	*s = (struct member_starts){0};
}

const char *
member_trouble(struct member *m)
{
	struct shared *sh = &m->kafka.shared;

	if (m->state != MEMBER_JOINING || mono_since_ms(m->since, mono_now()) < JOIN_TOLD_MS)
		return NULL;
	pthread_mutex_lock(&sh->lock);
	snprintf(m->trouble, sizeof m->trouble, "topic %s at %s: the group has not met%s%s",
		 m->kafka.source->topic, m->kafka.source->brokers, sh->reason[0] ? ": " : "",
		 sh->reason);
	pthread_mutex_unlock(&sh->lock);
	return m->trouble;
}

int
member_fd(const struct member *m)
{
	return m->event;
}

void
member_close(struct member *m)
{
	if (!m)
		return;
	leave_end(m);
	commits_flush(m);
	if (m->commits)
		rd_kafka_queue_destroy(m->commits);
	if (m->covers)
		rd_kafka_queue_destroy(m->covers);
	if (m->queue)
		rd_kafka_queue_destroy(m->queue);
	/* Without a farewell of its own: a static member that comes back gets what it had. */
	if (m->rk)
		rd_kafka_destroy_flags(m->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	if (m->kafka.conf)
		rd_kafka_conf_destroy(m->kafka.conf);
	pthread_mutex_destroy(&m->kafka.shared.lock);
	if (m->event >= 0)
		close(m->event);
	free(m->owned);
	free(m->told);
	free(m->sent);
	free(m->confirmed);
	free(m);
}
