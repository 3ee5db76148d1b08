/*
 * demo: the generator. Every loan is a script of events drawn from a few branches, each event
 * with the time at which it happened (simulated: a second of the demo is six hours of the bank)
 * and the time at which its stream delivers it, which for some offers is a good deal later. A
 * heap holds what is not due yet.
 */
#include "demo.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "mem.h"
#include "mono.h"

enum {
	LOANS_PER_S = 250,
	TIME_FACTOR = 6 * 3600, /* simulated seconds in one of ours, */
	FAST_S = 60,		/* for so long; then time goes at its usual pace */
	BEHIND_S = 3600,	/* and stays behind: an event from the future would be refused */
	STAFF = 60,
	FIRST_CASE = 200000,
	BROKEN_EVERY_MS = 1300,
	PENDING_MAX = 1 << 20,
};

const char *const demo_stream_names[STREAM_MAX] = {"application", "offer", "workitem"};

struct event {
	int64_t due_us; /* since the start, our time */
	int64_t at_us;	/* since the start, our time; printed in simulated time */
	uint32_t loan;
	uint16_t seq, staff;
	uint32_t amount; /* 0: none */
	enum demo_stream stream;
	const char *activity, *transition;
	bool held; /* comes when the demo is over, if at all */
};

struct demo_feed {
	struct sink sinks[STREAM_MAX];
	struct buf line;
	uint64_t written[STREAM_MAX], broken;
	struct event *heap; /* least due_us first */
	size_t n, cap;
	struct mono started;
	int64_t origin_wall_us; /* simulated time of the start */
	uint64_t random;
	uint64_t first_case;
	uint32_t loans;
	unsigned broken_next;
};

/* ---- the heap ---- */

static void
heap_push(struct demo_feed *f, const struct event *e)
{
	check(f->n < PENDING_MAX);
	if (f->n == f->cap) {
		f->cap = f->cap ? f->cap * 2 : 4096;
		f->heap = mem_resize(f->heap, f->cap, sizeof *f->heap);
	}
	size_t i = f->n++;
	while (i && f->heap[(i - 1) / 2].due_us > e->due_us) {
		f->heap[i] = f->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	f->heap[i] = *e;
}

static struct event
heap_pop(struct demo_feed *f)
{
	struct event top = f->heap[0], last = f->heap[--f->n];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;
		if (child + 1 < f->n && f->heap[child + 1].due_us < f->heap[child].due_us)
			child++;
		if (child >= f->n || f->heap[child].due_us >= last.due_us)
			break;
		f->heap[i] = f->heap[child];
		i = child;
	}
	f->heap[i] = last;
	return top;
}

/* ---- chance ---- */

/* xorshift64*: the demo tells the same story each time. */
static uint32_t
draw(struct demo_feed *f, uint32_t n)
{
	f->random ^= f->random >> 12;
	f->random ^= f->random << 25;
	f->random ^= f->random >> 27;
	return (uint32_t)((f->random * 2685821657736338717ull) >> 33) % n;
}

static bool
chance(struct demo_feed *f, uint32_t percent)
{
	return draw(f, 100) < percent;
}

/* ---- the script of one loan ---- */

struct script {
	struct demo_feed *feed;
	struct event e;	     /* the next one, but for stream and activity */
	int64_t offer_delay; /* how much later than the others offers are delivered */
	bool offer_held;     /* never, as long as the demo runs */
};

static void
step(struct script *s, enum demo_stream stream, const char *activity, const char *transition,
     uint32_t wait_ms)
{
	s->e.at_us += (int64_t)(1 + draw(s->feed, 2 * wait_ms + 1)) * 1000;
	s->e.stream = stream;
	s->e.activity = activity;
	s->e.transition = transition;
	s->e.due_us = s->e.at_us + (stream == STREAM_OFFER ? s->offer_delay : 0);
	s->e.held = stream == STREAM_OFFER && s->offer_held;
	heap_push(s->feed, &s->e);
	s->e.seq++;
	s->e.amount = 0;
}

static void
state(struct script *s, const char *activity, uint32_t wait_ms)
{
	step(s, STREAM_APPLICATION, activity, "COMPLETE", wait_ms);
}

static void
offer(struct script *s, const char *activity, uint32_t wait_ms)
{
	step(s, STREAM_OFFER, activity, "COMPLETE", wait_ms);
}

static void
work(struct script *s, const char *activity, uint32_t wait_ms)
{
	step(s, STREAM_WORKITEM, activity, "SCHEDULE", wait_ms);
	s->e.staff = (uint16_t)(1 + draw(s->feed, STAFF));
	step(s, STREAM_WORKITEM, activity, "START", wait_ms);
	step(s, STREAM_WORKITEM, activity, "COMPLETE", wait_ms);
}

static void
decision(struct script *s)
{
	uint32_t x = draw(s->feed, 100);

	if (x < 62) {
		offer(s, "O_ACCEPTED", 60);
		state(s, "A_APPROVED", 20);
		state(s, "A_REGISTERED", 5);
		state(s, "A_ACTIVATED", 5);
	} else if (x < 80) {
		offer(s, "O_DECLINED", 60);
		state(s, "A_DECLINED", 20);
	} else {
		offer(s, "O_CANCELLED", 60);
		state(s, "A_CANCELLED", 20);
	}
}

static void
loan_write(struct demo_feed *f, int64_t now_us)
{
	struct script s = {
	    .feed = f,
	    .e = {.at_us = now_us, .loan = f->loans++, .staff = (uint16_t)(1 + draw(f, STAFF))}};

	if (chance(f, 8))
		s.offer_delay = (int64_t)(1000 + draw(f, 3000)) * 1000;
	s.offer_held = chance(f, 1);
	s.e.amount = 1000 + draw(f, 490) * 100;
	state(&s, "A_SUBMITTED", 1);
	state(&s, "A_PARTLYSUBMITTED", 2);
	if (chance(f, 28)) {
		state(&s, chance(f, 80) ? "A_DECLINED" : "A_CANCELLED", 150);
		return;
	}
	state(&s, "A_PREACCEPTED", 100);
	work(&s, "W_Complete application", 120);
	state(&s, "A_ACCEPTED", 60);
	offer(&s, "O_SELECTED", 60);
	offer(&s, "O_CREATED", 5);
	offer(&s, "O_SENT", 5);
	state(&s, "A_FINALIZED", 10);
	work(&s, "W_Call after offer", 250);
	if (chance(f, 9)) /* the customer is never heard of again */
		return;
	offer(&s, "O_SENT_BACK", 200);
	work(&s, "W_Assess application", 150);
	decision(&s);
}

/* ---- writing ---- */

static void
time_print(const struct demo_feed *f, int64_t since_us, char out[40])
{
	int64_t fast_us = since_us < FAST_S * 1000000ll ? since_us : FAST_S * 1000000ll;
	int64_t at_us = f->origin_wall_us + fast_us * TIME_FACTOR + (since_us - fast_us);
	time_t s = (time_t)(at_us / 1000000);
	struct tm tm;

	gmtime_r(&s, &tm);
	size_t n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 40 - n, ".%03dZ", (int)(at_us / 1000 % 1000));
}

static bool
event_write(struct demo_feed *f, const struct event *e, struct err *err)
{
	struct buf *b = &f->line;
	char at[40], key[24];

	time_print(f, e->at_us, at);
	snprintf(key, sizeof key, "%" PRIu64, f->first_case + e->loan);
	buf_clear(b);
	buf_printf(b,
		   "{\"case_id\":\"%s\",\"seq\":%u,\"activity\":\"%s\",\"transition\":\"%s\","
		   "\"at\":\"%s\"",
		   key, e->seq, e->activity, e->transition, at);
	if (e->staff)
		buf_printf(b, ",\"resource\":\"%u\"", 10000 + e->staff * 37);
	if (e->amount)
		buf_printf(b, ",\"amount_requested\":%u.00,\"registered_at\":\"%s\"", e->amount,
			   at);
	buf_byte(b, '}');
	f->written[e->stream]++;
	const struct sink *to = &f->sinks[e->stream];
	return to->ops->send(to->ctx, buf_cstr(b), b->len, key, strlen(key), err);
}

/* What real streams bring, too. %s is the time. */
static const struct {
	enum demo_stream stream;
	const char *line;
} broken[] = {
    {STREAM_APPLICATION, "{\"case_id\":\"299001\",\"seq\":0,\"activity\":\"A_SUBMITTED\",\"at\":\"%"
			 "s\",\"amount_requested\":\"a lot\"}"},
    {STREAM_WORKITEM, "{\"case_id\":\"299002\",\"seq\":3,\"activity\":\"W_Assess "
		      "application\",\"transition\":\"STA"},
    {STREAM_OFFER, "{\"seq\":7,\"activity\":\"O_SENT\",\"transition\":\"COMPLETE\",\"at\":\"%s\"}"},
    {STREAM_APPLICATION,
     "{\"case_id\":\"299004\",\"seq\":1,\"activity\":\"A_ACCEPTED\",\"at\":\"yesterday at noon\"}"},
    {STREAM_WORKITEM,
     "{\"case_id\":\"299005\",\"seq\":2,\"activity\":\"W_\xff\xfe\",\"at\":\"%s\"}"},
    {STREAM_OFFER, "{\"case_id\":\"299006\",\"case_id\":\"299007\",\"seq\":8,\"activity\":\"O_"
		   "SENT\",\"at\":\"%s\"}"},
    {STREAM_APPLICATION, "{\"case_id\":\"299008\",\"seq\":0,\"activity\":\"A_SUBMITTED\",\"at\":\"%"
			 "s\",\"amount_requested\":1e400}"},
};

enum { BROKEN_N = sizeof broken / sizeof *broken };

static bool
broken_write(struct demo_feed *f, int64_t now_us, struct err *e)
{
	unsigned i = f->broken_next++ % BROKEN_N;
	const struct sink *to = &f->sinks[broken[i].stream];
	struct buf *b = &f->line;
	const char *mark = strstr(broken[i].line, "%s");
	char at[40];

	time_print(f, now_us, at);
	buf_clear(b);
	if (mark) {
		buf_add(b, broken[i].line, (size_t)(mark - broken[i].line));
		buf_printf(b, "%s%s", at, mark + 2);
	} else {
		buf_text(b, broken[i].line);
	}
	f->broken++;
	return to->ops->send(to->ctx, buf_cstr(b), b->len, NULL, 0, e);
}

void
demo_feed_open(struct demo_feed **out, const struct sink sinks[static STREAM_MAX], bool again)
{
	struct demo_feed *f = mem_zero(1, sizeof *f);

	*out = f;
	f->random = 0x9e3779b97f4a7c15ull;
	f->started = mono_now();
	f->origin_wall_us = wall_now_us() - (FAST_S * (int64_t)TIME_FACTOR + BEHIND_S) * 1000000;
	f->first_case = again ? (uint64_t)wall_now_us() / 1000 : FIRST_CASE;
	memcpy(f->sinks, sinks, sizeof f->sinks);
}

bool
demo_feed_open_files(struct demo_feed **out, const char *dir, struct err *e)
{
	struct sink sinks[STREAM_MAX] = {0};
	char path[DEMO_PATH_MAX];
	bool good = true;

	for (unsigned i = 0; good && i < STREAM_MAX; i++) {
		snprintf(path, sizeof path, "%s/%s.ndjson", dir, demo_stream_names[i]);
		good = sink_file_open(path, &sinks[i], e);
	}
	demo_feed_open(out, sinks, false);
	return good;
}

static bool
push(struct demo_feed *f, bool last, struct err *e)
{
	for (unsigned i = 0; i < STREAM_MAX; i++) {
		const struct sink *s = &f->sinks[i];
		if (!(last ? s->ops->settle(s->ctx, e) : s->ops->push(s->ctx, e)))
			return false;
	}
	return true;
}

bool
demo_feed_tick(struct demo_feed *f, bool last, struct err *e)
{
	int64_t now_us = mono_since_us(f->started, mono_now());

	while (!last && (int64_t)f->loans * 1000000 / LOANS_PER_S < now_us)
		loan_write(f, (int64_t)f->loans * 1000000 / LOANS_PER_S);
	while (!last && f->broken < (uint64_t)now_us / 1000 / BROKEN_EVERY_MS)
		if (!broken_write(f, now_us, e))
			return false;
	while (f->n && (last || f->heap[0].due_us <= now_us)) {
		struct event event = heap_pop(f);
		if (!event.held && !event_write(f, &event, e))
			return false;
	}
	return push(f, last, e);
}

void
demo_feed_counts(const struct demo_feed *f, uint64_t written[static STREAM_MAX], uint64_t *n)
{
	memcpy(written, f->written, sizeof f->written);
	*n = f->broken;
}

void
demo_feed_close(struct demo_feed *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < STREAM_MAX; i++)
		sink_close(&f->sinks[i]);
	buf_free(&f->line);
	free(f->heap);
	free(f);
}
