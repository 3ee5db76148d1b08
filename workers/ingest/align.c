#include "align.h"

/* Whether others wait for this one. */
static bool
holds(const struct ingest_partition *part, const bool *trouble, const bool *timed, struct mono now)
{
	if (part->caught_up || part->finished || trouble[part->source] || !timed[part->source])
		return false;
	return part->aligned || mono_since_ms(part->moved_at, now) < ALIGN_PATIENCE_MS;
}

/*
 * Event time of the slowest that holds; false: nobody holds. INT64_MIN: one that has shown no event
 * yet.
 */
static bool
slowest(const struct parts *p, const bool *trouble, const bool *timed, struct mono now,
	int64_t *time_us)
{
	bool any = false;

	for (uint32_t i = 0; i < p->reading_n; i++) {
		const struct ingest_partition *part = p->reading[i];
		int64_t at = part->has_time ? part->time_max_us : INT64_MIN;

		if (!holds(part, trouble, timed, now))
			continue;
		if (!any || at < *time_us)
			*time_us = at;
		any = true;
	}
	return any;
}

unsigned
align_decide(struct parts *p, const bool *trouble, const bool *timed, int64_t align_us,
	     struct mono now)
{
	int64_t slow = 0;
	bool any = slowest(p, trouble, timed, now, &slow);
	unsigned held = 0;

	for (uint32_t i = 0; i < p->reading_n; i++) {
		struct ingest_partition *part = p->reading[i];
		bool was = part->aligned;
		/*
		 * Let go a quarter earlier than held, so that it does not change with every event.
		 */
		int64_t lead = was ? align_us - align_us / 4 : align_us;

		part->aligned = any && part->has_time && timed[part->source] &&
				(slow == INT64_MIN || part->time_max_us - lead > slow);
		if (part->aligned && !was)
			held++;
		if (was && !part->aligned)
			part->moved_at = now; /* its patience begins anew */
	}
	return held;
}
