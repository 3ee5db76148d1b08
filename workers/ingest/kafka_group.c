/*
 * kafka_group: our offsets, told to the consumer group for everyone's lag tools; Weir never reads
 * them.
 */
#include "kafka_private.h"

#include "log.h"

enum {
	COMMIT_EVERY_MS = 1000,
	CLOSE_WAIT_MS = 100, /* for the answer to the last of them */
};

static bool
group_send(struct kafka *k)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);

	for (unsigned i = 0; i < k->slots_n; i++) {
		struct slot *s = &k->slots[i];

		if (s->told <= s->sent)
			continue;
		rd_kafka_topic_partition_list_add(list, k->source->topic, (int32_t)i)->offset =
		    s->told;
		s->sent = s->told;
	}
	k->commit_due = false;
	bool sent = list->cnt && !rd_kafka_commit_queue(k->rk, list, k->commits, NULL, NULL);
	rd_kafka_topic_partition_list_destroy(list);
	return sent;
}

void
group_serve(struct kafka *k, struct mono now)
{
	rd_kafka_event_t *answer;

	if (!k->commits)
		k->commits = rd_kafka_queue_new(k->rk);
	while ((answer = rd_kafka_queue_poll(k->commits, 0))) {
		if (rd_kafka_event_error(answer))
			log_debug("source %s: group offsets: %s", k->source->name.s,
				  rd_kafka_event_error_string(answer));
		rd_kafka_event_destroy(answer);
		k->commit_out = false;
	}
	if (!k->commit_due || k->commit_out || !mono_due(k->commit_at, now))
		return;
	k->commit_out = group_send(k);
	k->commit_at = mono_add_ms(now, COMMIT_EVERY_MS);
}

void
group_flush(struct kafka *k)
{
	if (!k->commits)
		return;
	/* At most one is under way before the last one can be sent. */
	for (unsigned turn = 0; turn < 2; turn++) {
		if (!k->commit_out && k->commit_due)
			k->commit_out = group_send(k);
		if (!k->commit_out)
			break;
		rd_kafka_event_t *answer = rd_kafka_queue_poll(k->commits, CLOSE_WAIT_MS / 2);
		if (!answer)
			break;
		rd_kafka_event_destroy(answer);
		k->commit_out = false;
	}
	rd_kafka_queue_destroy(k->commits);
}
