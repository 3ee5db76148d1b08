#include "partitions.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

enum { MAP_FIRST = 64 };

static uint64_t
fnv1a(uint64_t h, const void *p, size_t n)
{
	const uint8_t *s = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ s[i]) * 1099511628211u;
	return h;
}

/* Source and partition label, with a zero byte between them: labels hold none. */
static uint64_t
label_hash(const void *source, size_t source_n, const char *label, size_t n)
{
	uint64_t h = fnv1a(14695981039346656037u, source, source_n);

	return fnv1a(fnv1a(h, "", 1), label, n);
}

static uint64_t
map_hash(uint16_t source, const char *label, size_t n)
{
	return label_hash(&source, sizeof source, label, n);
}

void
parts_init(struct parts *p, const struct model *m, unsigned lanes)
{
	*p = (struct parts){.lanes = lanes, .sources = m->sources_n, .groups = m->groups};
	check(lanes >= 1 && lanes <= LANES_MAX && m->groups <= GROUPS_MAX);
	p->slots = mem_zero(m->sources_n, sizeof *p->slots);
	p->slots_n = mem_zero(m->sources_n, sizeof *p->slots_n);
	p->map_n = MAP_FIRST;
	p->by_label = mem_zero(p->map_n, sizeof *p->by_label);
	p->by_id = mem_zero(p->map_n, sizeof *p->by_id);
}

void
parts_free(struct parts *p)
{
	for (uint32_t i = 0; i < p->all_n; i++) {
		free(p->all[i]->label);
		free(p->all[i]);
	}
	for (unsigned i = 0; i < p->sources && p->slots; i++)
		free(p->slots[i]);
	free(p->all);
	free(p->reading);
	free(p->slots);
	free(p->slots_n);
	free(p->by_label);
	free(p->by_id);
	*p = (struct parts){0};
}

static struct ingest_partition *
label_find(const struct parts *p, uint16_t source, const char *label, size_t n)
{
	for (uint64_t i = map_hash(source, label, n);; i++) {
		uint32_t at = p->by_label[i & (p->map_n - 1)];

		if (!at)
			return NULL;
		struct ingest_partition *part = p->all[at - 1];
		if (part->source == source && part->label_len == n &&
		    !memcmp(part->label, label, n))
			return part;
	}
}

static void
map_put(uint32_t *map, uint32_t map_n, uint64_t hash, uint32_t index)
{
	while (map[hash & (map_n - 1)])
		hash++;
	map[hash & (map_n - 1)] = index + 1;
}

static uint64_t
id_hash(uint32_t id)
{
	return id * UINT64_C(0x9e3779b97f4a7c15) >> 20;
}

static void
maps_grow(struct parts *p)
{
	p->map_n *= 2;
	free(p->by_label);
	free(p->by_id);
	p->by_label = mem_zero(p->map_n, sizeof *p->by_label);
	p->by_id = mem_zero(p->map_n, sizeof *p->by_id);
	for (uint32_t i = 0; i < p->all_n; i++) {
		const struct ingest_partition *part = p->all[i];

		map_put(p->by_label, p->map_n, map_hash(part->source, part->label, part->label_len),
			i);
		if (part->id)
			map_put(p->by_id, p->map_n, id_hash(part->id), i);
	}
}

static struct ingest_partition *
part_add(struct parts *p, uint16_t source, const char *label, size_t n)
{
	struct ingest_partition *part = mem_zero(1, sizeof *part);

	if (p->all_n * 2 >= p->map_n)
		maps_grow(p);
	part->index = p->all_n;
	part->source = source;
	part->label = mem_string_n(label, n);
	part->label_len = (uint32_t)n;
	p->all = mem_resize(p->all, p->all_n + 1, sizeof(struct ingest_partition *));
	p->all[p->all_n] = part;
	map_put(p->by_label, p->map_n, map_hash(source, label, n), p->all_n);
	p->all_n++;
	return part;
}

static void
part_id_set(struct parts *p, struct ingest_partition *part, uint32_t id)
{
	part->id = id;
	map_put(p->by_id, p->map_n, id_hash(id), part->index);
}

struct ingest_partition *
parts_id(const struct parts *p, uint32_t id)
{
	for (uint64_t i = id_hash(id); id; i++) {
		uint32_t at = p->by_id[i & (p->map_n - 1)];

		if (!at)
			return NULL;
		if (p->all[at - 1]->id == id)
			return p->all[at - 1];
	}
	return NULL;
}

/* ---- OWN ---- */

static void
part_known(struct ingest_partition *part, const struct partition *w)
{
	part->was_known = true;
	part->was_done = w->done;
	part->done_next = w->next;
	part->done_bytes = w->bytes;
}

bool
parts_told(struct parts *p, const struct partition *w, struct err *e)
{
	struct ingest_partition *part;

	if (!w->id || w->source >= p->sources)
		return err_set(e, EXIT_BUG, "OWN names a partition without id or source");
	part = label_find(p, w->source, w->label, w->label_len);
	if (part && part->id == w->id)
		return true; /* every lane tells all of them */
	if (part || parts_id(p, w->id))
		return err_set(e, EXIT_BUG, "OWN of two lanes disagree on partition %u", w->id);
	part = part_add(p, w->source, w->label, w->label_len);
	part->kind = w->kind;
	part->number = w->number;
	part_known(part, w);
	part_id_set(p, part, w->id);
	return true;
}

static bool
own_range(struct parts *p, unsigned lane, const struct own_range *r, struct err *e)
{
	if (r->kg_lo > r->kg_hi || r->kg_hi >= p->groups)
		return err_set(e, EXIT_BUG, "OWN has a range outside the key groups");
	for (uint32_t kg = r->kg_lo; kg <= r->kg_hi; kg++) {
		if (p->group_owned[kg])
			return err_set(e, EXIT_BUG, "two lanes own key group %u", kg);
		p->group_owned[kg] = true;
		p->lane_of[kg] = (uint8_t)lane;
	}
	p->ranges++;
	for (uint32_t i = 0; i < r->positions_n; i++) {
		struct ingest_partition *part = parts_id(p, r->positions[i].partition);
		int64_t next = r->positions[i].next;

		if (!part)
			return err_set(e, EXIT_BUG, "OWN has a position of an unknown partition");
		if (!part->ranges_seen || next < part->position_min)
			part->position_min = next;
		part->ranges_seen++;
		if (next > part->lanes[lane].stored_max)
			part->lanes[lane].stored_max = next;
	}
	return true;
}

bool
parts_own(struct parts *p, unsigned lane, const struct own *o, struct err *e)
{
	if (lane >= p->lanes || o->shard != lane || p->own_seen[lane])
		return err_set(e, EXIT_BUG, "OWN of lane %u came twice or from elsewhere", lane);
	if (p->owns && memcmp(p->hash_key, o->hash_key, sizeof p->hash_key) != 0)
		return err_set(e, EXIT_BUG, "two lanes have different hash keys");
	memcpy(p->hash_key, o->hash_key, sizeof p->hash_key);
	for (uint32_t i = 0; i < o->partitions_n; i++)
		if (!parts_told(p, &o->partitions[i], e))
			return false;
	for (uint32_t i = 0; i < o->ranges_n; i++)
		if (!own_range(p, lane, &o->ranges[i], e))
			return false;
	p->own_seen[lane] = true;
	if (++p->owns < p->lanes)
		return true;
	for (unsigned kg = 0; kg < p->groups; kg++)
		if (!p->group_owned[kg])
			return err_set(e, EXIT_BUG, "no lane owns key group %u", kg);
	return true;
}

bool
parts_owned(const struct parts *p)
{
	return p->owns == p->lanes;
}

/* ---- found, named, started ---- */

static bool
slot_bind(struct parts *p, struct ingest_partition *part, unsigned slot, struct err *e)
{
	uint32_t *n = &p->slots_n[part->source];

	if (slot >= SOURCE_SLOTS_MAX)
		return err_set(e, EXIT_DATA, "a source has more than %d partitions",
			       SOURCE_SLOTS_MAX);
	if (slot >= *n) {
		uint32_t more = slot < 32 ? 64 : slot * 2;
		struct ingest_partition ***list = &p->slots[part->source];

		*list = mem_resize(*list, more, sizeof(struct ingest_partition *));
		memset(*list + *n, 0, (more - *n) * sizeof(struct ingest_partition *));
		*n = more;
	}
	p->slots[part->source][slot] = part;
	part->slot = slot;
	return true;
}

static bool
part_ours(const struct ingest_partition *part, const char *source_label, unsigned ingest,
	  unsigned ingests)
{
	if (part->kind == PARTITION_TRANSIENT && !strcmp(part->label, PARTITION_DEAD))
		return ingest == 0;
	return label_hash(source_label, strlen(source_label), part->label, part->label_len) %
		   ingests ==
	       ingest;
}

static void
reading_add(struct parts *p, struct ingest_partition *part)
{
	p->reading = mem_resize(p->reading, p->reading_n + 1, sizeof(struct ingest_partition *));
	p->reading[p->reading_n++] = part;
}

static void
reading_remove(struct parts *p, const struct ingest_partition *part)
{
	for (uint32_t i = 0; i < p->reading_n; i++)
		if (p->reading[i] == part) {
			p->reading[i] = p->reading[--p->reading_n];
			return;
		}
}

/* It was found after all. */
static void
absent_revive(struct parts *p, struct ingest_partition *part)
{
	uint32_t before = p->reading_n;

	reading_remove(p, part);
	p->absent_n -= before - p->reading_n;
	part->state = PART_KNOWN;
	part->caught_up = part->finished = false;
}

bool
parts_found(struct parts *p, unsigned source, const char *source_label,
	    const struct source_found *f, unsigned ingest, unsigned ingests,
	    struct ingest_partition **out, struct err *e)
{
	struct ingest_partition *part;

	check(parts_owned(p) && source < p->sources);
	if (f->label_len > PARTITION_LABEL_MAX)
		return err_set(e, EXIT_DATA, "a partition's label has %zu bytes, at most %d",
			       f->label_len, PARTITION_LABEL_MAX);
	part = label_find(p, (uint16_t)source, f->label, f->label_len);
	if (part && part->state == PART_ABSENT)
		absent_revive(p, part);
	if (part && part->state != PART_KNOWN)
		return err_set(e, EXIT_BUG, "a partition was found twice");
	if (!part)
		part = part_add(p, (uint16_t)source, f->label, f->label_len);
	part->kind = f->kind;
	part->number = f->number;
	*out = part;
	if (!part_ours(part, source_label, ingest, ingests)) {
		part->state = PART_OTHERS;
		return true;
	}
	part->state = !part->id ? PART_WANTED : part->was_done ? PART_DONE : PART_READY;
	return slot_bind(p, part, f->slot, e);
}

struct ingest_partition *
parts_made(struct parts *p, unsigned source, const char *label)
{
	struct ingest_partition *part = label_find(p, (uint16_t)source, label, strlen(label));

	check(parts_owned(p) && source < p->sources);
	if (!part)
		part = part_add(p, (uint16_t)source, label, strlen(label));
	if (part->state == PART_ABSENT)
		absent_revive(p, part);
	check(part->state == PART_KNOWN && !part->made);
	part->kind = PARTITION_TRANSIENT;
	part->made = true;
	part->state = part->id ? PART_READY : PART_WANTED;
	return part;
}

bool
parts_named(struct parts *p, const struct partition *w, struct ingest_partition **out,
	    struct err *e)
{
	struct ingest_partition *part;

	*out = NULL;
	if (!w->id || w->source >= p->sources)
		return err_set(e, EXIT_BUG, "PART without id or source");
	part = label_find(p, w->source, w->label, w->label_len);
	if (!part || (part->state != PART_ASKED && part->state != PART_WANTED))
		return true;
	if (parts_id(p, w->id))
		return err_set(e, EXIT_BUG, "PART gives id %u a second time", w->id);
	part_id_set(p, part, w->id);
	if (w->done)
		part_known(part, w);
	part->state = w->done ? PART_DONE : PART_READY;
	*out = part;
	return true;
}

/* Some partition of the source has a position. */
static bool
source_begun(const struct parts *p, uint16_t source)
{
	for (uint32_t i = 0; i < p->all_n; i++)
		if (p->all[i]->source == source && p->all[i]->ranges_seen)
			return true;
	return false;
}

int64_t
part_start_position(const struct parts *p, const struct ingest_partition *part, bool from_latest)
{
	if (part->kind == PARTITION_TRANSIENT)
		return SOURCE_POSITION_NONE;
	if (!part->ranges_seen)
		return from_latest && source_begun(p, part->source) ? SOURCE_POSITION_FIRST
								    : SOURCE_POSITION_NONE;
	/*
	 * A range without a position has committed nothing of the partition: it needs everything
	 * from its beginning. Where reading begins at the latest, that was never below the others'
	 * positions.
	 */
	if (part->ranges_seen < p->ranges && !from_latest)
		return SOURCE_POSITION_NONE;
	return part->position_min;
}

/* Covers of it begin at the position. */
static void
part_begin(struct parts *p, struct ingest_partition *part, int64_t position, struct mono now)
{
	if (position < 0)
		position = part->kind == PARTITION_TRANSIENT ? 1 : 0;
	part->next = part->answered = position;
	part->moved_at = now;
	for (unsigned i = 0; i < p->lanes; i++) {
		part->lanes[i].sent = position;
		part->lanes[i].committed = position;
	}
	reading_add(p, part);
}

void
parts_start(struct parts *p, struct ingest_partition *part, int64_t position, struct mono now)
{
	check(part->state == PART_READY && part->id);
	part->state = PART_READING;
	part_begin(p, part, position, now);
}

uint32_t
parts_absent(struct parts *p, unsigned source, const struct absent_setup *is, struct mono now)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->all_n; i++) {
		struct ingest_partition *part = p->all[i];

		if (part->source != source || part->state != PART_KNOWN || part->was_done ||
		    !part_ours(part, is->label, is->ingest, is->ingests))
			continue;
		part->state = PART_ABSENT;
		part_begin(p, part, part_start_position(p, part, is->from_latest), now);
		part->caught_up = true;
		part->finished = is->bounded;
		p->absent_n++;
		/* Of dead letters sent again nothing is missing. */
		n += strcmp(part->label, PARTITION_DEAD) != 0;
	}
	return n;
}

bool
part_covers_due(const struct parts *p, const struct ingest_partition *part)
{
	for (unsigned i = 0; i < p->lanes; i++)
		if (part_cover_due(part, i))
			return true;
	return false;
}

void
parts_absent_told(struct parts *p)
{
	for (uint32_t i = 0; p->absent_n && i < p->reading_n;) {
		struct ingest_partition *part = p->reading[i];

		if (part->state != PART_ABSENT || part_covers_due(p, part)) {
			i++;
			continue;
		}
		p->reading[i] = p->reading[--p->reading_n];
		p->absent_n--;
	}
}

void
part_settle(struct ingest_partition *part, int64_t at)
{
	check(at >= part->next);
	part->next = part->settle = at;
}

bool
part_settled(const struct parts *p, const struct ingest_partition *part)
{
	return !part->settle || part_committed_min(p, part) >= part->settle;
}

void
parts_finish(struct parts *p, struct ingest_partition *part)
{
	check(part->state == PART_READING);
	reading_remove(p, part);
	part->state = PART_DONE;
}

struct ingest_partition *
parts_slot(const struct parts *p, unsigned source, unsigned slot)
{
	return slot < p->slots_n[source] ? p->slots[source][slot] : NULL;
}

/* ---- frontiers, covers, positions ---- */

bool
part_frontier(struct ingest_partition *p, const struct source_frontier *f, struct mono now)
{
	bool changed =
	    f->next > p->next || f->caught_up != p->caught_up || f->finished != p->finished;

	if (f->next > p->next) {
		p->next = f->next;
		p->moved_at = now;
	}
	p->caught_up = f->caught_up;
	p->finished = f->finished;
	p->may_be_done = f->done;
	p->done_bytes = f->done_bytes;
	p->backlog = f->backlog;
	return changed;
}

struct cover
part_cover_take(struct ingest_partition *p, unsigned lane)
{
	struct part_lane *l = &p->lanes[lane];
	struct cover c = {.partition = p->id,
			  .from = l->sent,
			  .to = p->next,
			  .has_time = p->has_time,
			  .time_max_us = p->time_max_us,
			  .caught_up = p->caught_up,
			  .finished = p->finished};

	l->sent = p->next;
	l->sent_caught_up = p->caught_up;
	l->sent_finished = p->finished;
	return c;
}

bool
parts_committed(struct parts *p, unsigned lane, const struct committed *c, struct err *e)
{
	for (uint32_t i = 0; i < c->positions_n; i++) {
		struct ingest_partition *part = parts_id(p, c->positions[i].partition);
		int64_t next = c->positions[i].next;

		if (!part || part->state != PART_READING)
			continue; /* another ingest's, or done */
		if (next <= part->lanes[lane].committed)
			continue;
		/* A lane may have been ahead of the others when reading began. */
		if (next > part->lanes[lane].sent && next > part->lanes[lane].stored_max)
			return err_set(e, EXIT_BUG,
				       "lane %u committed partition %u beyond what it was sent",
				       lane, part->id);
		part->lanes[lane].committed = next;
	}
	return true;
}

int64_t
part_committed_min(const struct parts *p, const struct ingest_partition *part)
{
	int64_t min = part->lanes[0].committed;

	for (unsigned i = 1; i < p->lanes; i++)
		if (part->lanes[i].committed < min)
			min = part->lanes[i].committed;
	return min;
}
