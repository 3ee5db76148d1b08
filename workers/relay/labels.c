#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "relay.h"

enum { MAP_FIRST = 256, NAMES_A_FRAME = 500 };

static uint64_t
fnv1a(uint64_t h, const void *p, size_t n)
{
	const uint8_t *s = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ s[i]) * 1099511628211u;
	return h;
}

static uint64_t
label_hash(uint16_t source, const char *label, size_t n)
{
	return fnv1a(fnv1a(14695981039346656037u, &source, sizeof source), label, n);
}

static uint64_t
id_hash(uint32_t id)
{
	return id * UINT64_C(0x9e3779b97f4a7c15) >> 20;
}

static void
map_put(uint32_t *map, uint32_t map_n, uint64_t hash, uint32_t index)
{
	while (map[hash & (map_n - 1)])
		hash++;
	map[hash & (map_n - 1)] = index + 1;
}

static void
maps_make(struct labels *n, uint32_t map_n)
{
	free(n->by_label);
	free(n->by_id);
	n->map_n = map_n;
	n->by_label = mem_zero(map_n, sizeof *n->by_label);
	n->by_id = mem_zero(map_n, sizeof *n->by_id);
	for (uint32_t i = 0; i < n->all_n; i++) {
		const struct relay_partition *p = n->all[i];

		map_put(n->by_label, map_n, label_hash(p->source, p->label, p->label_len), i);
		if (p->id)
			map_put(n->by_id, map_n, id_hash(p->id), i);
	}
}

void
labels_init(struct labels *n)
{
	maps_make(n, MAP_FIRST);
}

void
labels_free(struct labels *n)
{
	for (uint32_t i = 0; i < n->all_n; i++) {
		free(n->all[i]->label);
		free(n->all[i]->marks);
		free(n->all[i]);
	}
	free(n->all);
	free(n->by_label);
	free(n->by_id);
	*n = (struct labels){0};
}

struct relay_partition *
labels_find(const struct labels *n, uint16_t source, const char *label, size_t len)
{
	for (uint64_t i = label_hash(source, label, len);; i++) {
		uint32_t at = n->by_label[i & (n->map_n - 1)];

		if (!at)
			return NULL;
		struct relay_partition *p = n->all[at - 1];
		if (p->source == source && p->label_len == len && !memcmp(p->label, label, len))
			return p;
	}
}

struct relay_partition *
labels_id(const struct labels *n, uint32_t id)
{
	for (uint64_t i = id_hash(id); id; i++) {
		uint32_t at = n->by_id[i & (n->map_n - 1)];

		if (!at)
			return NULL;
		if (n->all[at - 1]->id == id)
			return n->all[at - 1];
	}
	return NULL;
}

/* Kafka's own number stands at the end of its label. */
static uint32_t
label_number(const char *label, size_t len)
{
	uint32_t number = 0, unit = 1;

	for (size_t i = len; i && label[i - 1] >= '0' && label[i - 1] <= '9'; i--) {
		number += unit * (uint32_t)(label[i - 1] - '0');
		unit *= 10;
	}
	return number;
}

struct relay_partition *
labels_add(struct relay *r, uint16_t source, const char *label, size_t len)
{
	struct labels *n = &r->labels;
	struct relay_partition *p = mem_zero(1, sizeof *p);
	enum source_kind kind = r->m->sources[source].kind;

	p->source = source;
	p->label = mem_string_n(label, len);
	p->label_len = (uint32_t)len;
	p->kind = kind == SOURCE_RABBITMQ ||
			  (len == strlen(PARTITION_DEAD) && !memcmp(label, PARTITION_DEAD, len))
		      ? PARTITION_TRANSIENT
		      : PARTITION_DURABLE;
	p->number = p->kind == PARTITION_DURABLE ? label_number(label, len) : 0;
	n->all = mem_resize(n->all, n->all_n + 1, sizeof(struct relay_partition *));
	n->all[n->all_n++] = p;
	if (n->all_n * 2 >= n->map_n)
		maps_make(n, n->map_n * 2);
	else
		map_put(n->by_label, n->map_n, label_hash(source, label, len), n->all_n - 1);
	return p;
}

int64_t *
labels_mark(const struct relay *r, struct relay_partition *p, uint32_t kg)
{
	if (!p->marks)
		p->marks = mem_zero(r->m->groups, sizeof *p->marks);
	return &p->marks[kg];
}

static void
id_set(struct labels *n, struct relay_partition *p, uint32_t id)
{
	for (uint32_t i = 0; i < n->all_n; i++)
		if (n->all[i] == p)
			map_put(n->by_id, n->map_n, id_hash(id), i);
	p->id = id;
}

static void
partition_write(struct buf *b, const struct relay_partition *p)
{
	struct partition w = {.id = p->id,
			      .source = p->source,
			      .kind = p->kind,
			      .number = p->number,
			      .label = p->label,
			      .label_len = p->label_len};

	wire_partition_write(b, &w);
}

void
labels_want(struct relay *r, struct relay_partition *p)
{
	if (p->id || p->wanted || p->asked)
		return;
	p->wanted = true;
	r->labels.wanted++;
}

void
labels_ask(struct relay *r)
{
	struct labels *n = &r->labels;
	struct buf body = {0};
	uint32_t asked = 0;

	/* Lane 0 can answer once it has taken over. */
	if (!n->wanted || !r->lane[0].owns)
		return;
	for (uint32_t i = 0; i < n->all_n; i++) {
		struct relay_partition *p = n->all[i];

		if (!p->wanted)
			continue;
		if (!asked)
			pipe_body_start(&body);
		partition_write(&body, p);
		p->wanted = false;
		p->asked = true;
		if (++asked == NAMES_A_FRAME) {
			pipe_send(r->w->pipes, ROLE_CORRELATE, 0, FRAME_ASK, 0, asked, &body);
			asked = 0;
		}
	}
	if (asked)
		pipe_send(r->w->pipes, ROLE_CORRELATE, 0, FRAME_ASK, 0, asked, &body);
	n->wanted = 0;
}

void
labels_tell(struct relay *r, struct relay_partition *p, unsigned lane)
{
	struct buf body = {0};

	if (p->told & 1u << lane)
		return;
	p->told |= 1u << lane;
	pipe_body_start(&body);
	partition_write(&body, p);
	pipe_send(r->w->pipes, ROLE_CORRELATE, lane, FRAME_PART, 0, 1, &body);
}

/* What is known by now of the partition that a frame names. */
static bool
named(struct relay *r, const struct partition *w, struct relay_partition **out, struct err *e)
{
	struct relay_partition *p;

	if (!w->id || w->source >= r->m->sources_n)
		return err_set(e, EXIT_BUG, "a partition without id or source");
	p = labels_find(&r->labels, w->source, w->label, w->label_len);
	if (!p)
		p = labels_add(r, w->source, w->label, w->label_len);
	if (!p->id) {
		if (labels_id(&r->labels, w->id))
			return err_set(e, EXIT_BUG, "id %u is given a second time", w->id);
		p->kind = w->kind;
		p->number = w->number;
		id_set(&r->labels, p, w->id);
		r->labels.wanted -= p->wanted;
		p->wanted = false;
	}
	if (p->id != w->id)
		return err_set(e, EXIT_BUG, "two lanes disagree on partition %u", w->id);
	*out = p;
	return true;
}

bool
labels_told(struct relay *r, const struct partition *w, unsigned lane, struct err *e)
{
	struct relay_partition *p;

	if (!named(r, w, &p, e))
		return false;
	p->told |= 1u << lane;
	return true;
}

bool
labels_part(struct relay *r, const struct frame *f, struct err *e)
{
	bool ahead = !r->lane[f->from_index].owns;
	struct relay_partition *p;
	struct partition w;
	bool ok = true;

	pack_reader_start(&r->reader, f->body, f->head.bytes);
	for (uint32_t i = 0; ok && i < f->head.count && wire_partition_read(&r->reader, &w); i++)
		ok = ahead ? labels_told(r, &w, f->from_index, e) : named(r, &w, &p, e);
	if (ok && !pack_reader_end(&r->reader))
		return err_set(e, EXIT_BUG, "PART: %s", r->reader.why);
	return ok;
}
