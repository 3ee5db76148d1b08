/*
 * outlet: an ingest whose records go to the exchange. It has no lanes: what OWN would tell comes
 * from the keeper, which partitions are its own and where they begin from the sources' consumer
 * groups, and what COMMITTED would tell from delivery reports. To the rest of ingest it looks like
 * one lane that owns every key group.
 */
#include "outlet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exchange.h"
#include "flight.h"
#include "kafka_member.h"
#include "keyhash.h"
#include "log.h"
#include "mem.h"

enum {
	FACTS_AGAIN_MS = 2000, /* after a refusal */
	POSITIONS_MS = 500,    /* between questions for a group's offsets */
	VALUE_AROUND = 48,     /* what a value has in a record beside its text, at most */
	BEFORE_STEP = 16,
	RECORD_FIXED = 512, /* the record without key, reason, body and fields, at most */
	/*
	 * Under way at most, whatever the pipeline may have: enough for any broker, and what is
	 * under way stays in the processor's caches (measured: 2 microseconds a record less than
	 * with a hundred thousand of them).
	 */
	FLYING_BYTES_MAX = 16 * 1024 * 1024,
};

struct outlet_source { /* a Kafka source's place in its group */
	struct member *member;
	struct member_starts starts;
	bool started; /* starts are known */
	struct mono ask_at;
};

struct outlet {
	struct ingest *in;
	struct exchange_pipe *pipe;
	struct flights flights;
	struct outlet_source sources[SOURCES_MAX];
	uint64_t layouts[SOURCES_MAX];
	int64_t **before; /* by partition's index, then by key group: what was sent last; owned */
	uint32_t before_n;
	struct buf bytes; /* of the record that is being sent */
	uint32_t ids;	  /* the last given: nobody but us hears of them */
	uint32_t request;
	bool asked;
	struct mono ask_at;
	bool failed;
	struct err failure; /* of a send: told at the next turn */
	struct mono now;
};

static bool
secret_get(void *ctx, const char *name, struct buf *out)
{
	struct err e;

	return skel_secret(ctx, name, out, &e);
}

bool
outlet_open(struct ingest *in, struct err *e)
{
	struct outlet *o = mem_zero(1, sizeof *o);
	const struct exchange_out out = {
	    .model = in->m, .secret = secret_get, .secret_ctx = in->w, .flights = &o->flights};

	in->outlet = o;
	o->in = in;
	if (in->credit.limit_bytes > FLYING_BYTES_MAX)
		in->credit.limit_bytes = FLYING_BYTES_MAX;
	metric_set(in->w->page, METRIC_INFLIGHT_BYTES_MAX, in->credit.limit_bytes);
	for (unsigned i = 0; i < in->m->sources_n; i++)
		o->layouts[i] = wire_layout(&in->m->sources[i]);
	return exchange_open(&out, &o->pipe, e) || err_context(e, "exchange");
}

/* Others read some of its partitions, so that they can take ours. */
static bool
shared(const struct outlet_source *s)
{
	unsigned n = 0;

	if (s->member)
		member_owned(s->member, &n);
	return s->member && n < s->starts.n;
}

void
outlet_close(struct ingest *in)
{
	struct outlet *o = in->outlet;

	if (!o)
		return;
	for (unsigned i = 0; in->w->draining && i < SOURCES_MAX; i++)
		if (shared(&o->sources[i]))
			member_leave(o->sources[i].member);
	for (unsigned i = 0; i < SOURCES_MAX; i++) {
		member_close(o->sources[i].member);
		member_starts_free(&o->sources[i].starts);
	}
	exchange_close(o->pipe);
	for (uint32_t i = 0; i < o->before_n; i++)
		free(o->before[i]);
	free(o->before);
	flights_free(&o->flights);
	buf_free(&o->bytes);
	free(o);
	in->outlet = NULL;
}

/* ---- sources that a group divides ---- */

bool
outlet_join(struct ingest *in, unsigned source, const struct source_setup *setup, struct err *e)
{
	char group[MEMBER_NAME_MAX], name[MEMBER_NAME_MAX];
	struct member_setup join = {.source = setup, .group = group, .name = name};

	if (setup->source->kind != SOURCE_KAFKA)
		return true;
	snprintf(group, sizeof group, "weir.%s.%s", in->m->pipeline.s, setup->source->name.s);
	snprintf(name, sizeof name, "%s-%u", in->w->instance, in->w->index);
	return member_open(&join, &in->outlet->sources[source].member, e);
}

static bool
source_serve(struct outlet *o, unsigned source, struct mono now, struct err *e)
{
	struct outlet_source *s = &o->sources[source];

	switch (member_poll(s->member, now)) {
	case MEMBER_JOINING:
		return true;
	case MEMBER_OWNS:
		if (s->started || !mono_due(s->ask_at, now))
			return true;
		s->started = member_starts(s->member, &s->starts);
		s->ask_at = mono_add_ms(now, POSITIONS_MS);
		return true;
	case MEMBER_LOST:
		return err_set(e, CTL_BYE_REBORN, "the partitions of %s are divided anew",
			       o->in->m->sources[source].name.s);
	case MEMBER_FENCED:
		break;
	}
	return err_set(
	    e, EXIT_UNAVAILABLE,
	    "another ingest has joined as \"%s-%u\": each needs an --instance of its own",
	    o->in->w->instance, o->in->w->index);
}

/* Whether the source's partitions may be looked at: what is ours of them is known. */
bool
outlet_divided(const struct ingest *in, unsigned source)
{
	const struct outlet_source *s = &in->outlet->sources[source];

	return !s->member || s->started;
}

bool
outlet_owns(const struct ingest *in, unsigned source, const struct source_found *f)
{
	const struct member *m = in->outlet->sources[source].member;
	const uint32_t *owned;
	unsigned n;

	if (!m)
		return true;
	owned = member_owned(m, &n);
	for (unsigned i = 0; i < n; i++)
		if (owned[i] == f->number)
			return true;
	return false;
}

int64_t
outlet_start(const struct ingest *in, const struct ingest_partition *part)
{
	const struct outlet_source *s = &in->outlet->sources[part->source];

	if (!s->member)
		return SOURCE_POSITION_NONE;
	if (part->number < s->starts.n && s->starts.next[part->number] >= 0)
		return s->starts.next[part->number];
	return s->starts.any ? SOURCE_POSITION_FIRST : SOURCE_POSITION_NONE;
}

const char *
outlet_source_trouble(const struct ingest *in, unsigned source)
{
	struct member *m = in->outlet->sources[source].member;

	return m ? member_trouble(m) : NULL;
}

/* ---- ids and facts ---- */

bool
outlet_names(struct ingest *in, struct mono now, struct err *e)
{
	struct outlet *o = in->outlet;

	for (uint32_t i = 0; in->wanted && i < in->parts.all_n; i++) {
		struct ingest_partition *part = in->parts.all[i];
		struct partition p = {.id = o->ids + 1,
				      .source = part->source,
				      .kind = part->kind,
				      .number = part->number,
				      .label = part->label,
				      .label_len = part->label_len};

		if (part->state != PART_WANTED)
			continue;
		o->ids++;
		in->wanted--;
		if (!parts_named(&in->parts, &p, &part, e) || !reader_start(in, part, now, e))
			return false;
	}
	return true;
}

static void
facts_ask(struct outlet *o, struct mono now)
{
	struct ingest *in = o->in;
	struct keyreq q = {.kind = KEY_FACTS};
	struct buf body = {0};

	if (in->phase != INGEST_WAITING || o->asked || !mono_due(o->ask_at, now) ||
	    !pipe_peered(in->w->pipes, ROLE_KEEPER))
		return;
	q.request = ++o->request;
	pipe_body_start(&body);
	wire_keyreq_write(&body, &q);
	pipe_send(in->w->pipes, ROLE_KEEPER, 0, FRAME_KEYREQ, 0, 1, &body);
	o->asked = true;
}

/* The keeper lives anew: what was asked is lost. */
void
outlet_peer(struct ingest *in)
{
	in->outlet->asked = false;
}

bool
outlet_facts(struct ingest *in, const struct keyans *a, struct own *own)
{
	struct outlet *o = in->outlet;

	if (in->phase != INGEST_WAITING)
		return false;
	if (!a->ok) {
		log_warn("keeper: %.*s", (int)a->reason_len, a->reason);
		o->asked = false;
		o->ask_at = mono_add_ms(mono_now(), FACTS_AGAIN_MS);
		return false;
	}
	*own = (struct own){.has_policy = a->has_policy, .policy_serial = a->pinned_serial};
	memcpy(own->hash_key, a->hash_key, sizeof own->hash_key);
	memcpy(own->policy_root, a->policy_root, sizeof own->policy_root);
	own->ranges = mem_zero(1, sizeof *own->ranges);
	own->ranges_n = 1;
	own->ranges[0].kg_hi = in->m->groups - 1;
	return true;
}

/* ---- records ---- */

bool
outlet_fits(const struct ingest *in, const struct record *r)
{
	size_t n = RECORD_FIXED + r->key_len + r->body_len + r->reason_len;

	for (uint32_t i = 0; i < r->fields_n; i++)
		n += VALUE_AROUND + r->fields[i].len;
	return n <= exchange_bytes_max(in->outlet->pipe);
}

/* Offset of the last record of the partition that went to the group; -1: none. */
static int64_t *
before(struct outlet *o, const struct ingest_partition *part, uint32_t group)
{
	const unsigned groups = o->in->m->groups;

	if (part->index >= o->before_n) {
		uint32_t n = part->index + BEFORE_STEP;

		o->before = mem_resize(o->before, n, sizeof(int64_t *));
		memset(o->before + o->before_n, 0, (n - o->before_n) * sizeof(int64_t *));
		o->before_n = n;
	}
	int64_t **of = &o->before[part->index];
	if (!*of) {
		*of = mem_zero(groups, sizeof **of);
		for (unsigned i = 0; i < groups; i++)
			(*of)[i] = -1;
	}
	return &(*of)[group];
}

void
outlet_record(struct ingest *in, const struct ingest_partition *part, const struct record *r,
	      struct mono now)
{
	struct outlet *o = in->outlet;
	int64_t *last = part->kind == PARTITION_DURABLE ? before(o, part, r->kg) : NULL;
	const struct exchange_record out = {.group = r->kg,
					    .source = in->m->sources[part->source].name.s,
					    .label = part->label,
					    .label_len = part->label_len,
					    .offset = r->offset,
					    .before = last ? *last : -1,
					    .layout = o->layouts[part->source],
					    .bytes = &o->bytes,
					    .partition = part->index};

	if (o->failed)
		return;
	buf_clear(&o->bytes);
	wire_record_write(&o->bytes, r);
	o->failed = !exchange_send(o->pipe, &out, now, &o->failure);
	if (last)
		*last = r->offset;
	in->credit.used_bytes = o->flights.bytes;
}

/* ---- what is delivered is answered to the sources ---- */

static void
part_answer(struct outlet *o, struct ingest_partition *part)
{
	struct ingest *in = o->in;
	struct member *member = o->sources[part->source].member;
	int64_t low = flights_low(&o->flights, part->index, part->next);

	/* "from: latest": read only once the group knows where that was. */
	if (member && !part_settled(&in->parts, part)) {
		member_committed(member, part->number, part->settle);
		if (member_confirmed(member, part->number) < part->settle)
			return;
	}
	if (low > part->lanes[0].committed)
		part->lanes[0].committed = low;
	if (low <= part->answered)
		return;
	part->answered = low;
	if (member)
		member_committed(member, part->number, low);
	else
		in->drivers[part->source].ops->committed(in->drivers[part->source].self, part->slot,
							 low);
}

bool
outlet_serve(struct ingest *in, struct mono now, struct err *e)
{
	struct outlet *o = in->outlet;

	if (o->failed) {
		*e = o->failure;
		return false;
	}
	if (!exchange_serve(o->pipe, now, e))
		return false;
	facts_ask(o, now);
	for (unsigned i = 0; i < in->sources_n; i++)
		if (o->sources[i].member && !source_serve(o, i, now, e))
			return false;
	in->credit.used_bytes = o->flights.bytes;
	for (uint32_t i = 0; i < in->parts.reading_n; i++)
		if (in->parts.reading[i]->state == PART_READING)
			part_answer(o, in->parts.reading[i]);
	return true;
}

bool
outlet_ready(const struct ingest *in)
{
	return exchange_ready(in->outlet->pipe);
}

uint64_t
outlet_queued(const struct ingest *in)
{
	return in->outlet->flights.n;
}

struct mono
outlet_oldest(const struct ingest *in)
{
	return flights_oldest(&in->outlet->flights);
}

const char *
outlet_trouble(const struct ingest *in, struct mono now)
{
	return exchange_trouble(in->outlet->pipe, now);
}

unsigned
outlet_watch(const struct ingest *in, struct pollfd *fds, unsigned max)
{
	const struct outlet *o = in->outlet;
	unsigned n = 0;

	if (max)
		fds[n++] = (struct pollfd){.fd = exchange_fd(o->pipe), .events = POLLIN};
	for (unsigned i = 0; i < in->sources_n && n < max; i++)
		if (o->sources[i].member)
			fds[n++] = (struct pollfd){.fd = member_fd(o->sources[i].member),
						   .events = POLLIN};
	return n;
}

/* A drain: what was handed over is waited for; then the groups hear how far it goes. */
void
outlet_finish(struct ingest *in)
{
	if (in->phase == INGEST_READING || in->phase == INGEST_WAITING) {
		in->phase = INGEST_LAST;
		log_info("reading has ended, %u records are on their way", in->outlet->flights.n);
	}
	if (!in->outlet->flights.n)
		skel_end(in->w, EXIT_DONE, "everything read is in the exchange");
}
