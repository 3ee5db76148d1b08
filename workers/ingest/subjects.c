#include "subjects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

struct slot {
	uint8_t sid[SUBJECT_ID_BYTES];
	uint8_t secret[SUBJECT_SECRET_BYTES];
	uint8_t state; /* SUBJECT_UNKNOWN: free */
	uint8_t room[15];
};

_Static_assert(sizeof(struct slot) == 64, "a slot is a cache line");

struct request {
	uint32_t number; /* 0: free */
	uint32_t n;
	struct mono again_at; /* refused: not before */
	bool refused;
	uint8_t sids[KEYREQ_SUBJECTS_MAX][SUBJECT_ID_BYTES];
};

struct subjects {
	struct slot *slots;
	size_t bytes; /* of slots: a power of two of them */
	uint32_t used;
	uint32_t *number;
	uint64_t serial;
	uint8_t (*wanted)[SUBJECT_ID_BYTES];
	uint32_t wanted_n;
	struct request *requests;
	unsigned refused_n; /* of them: refused, to be asked again */
	char why[REASON_MAX + 1];
};

struct subjects *
subjects_new(uint32_t *request)
{
	struct subjects *s = mem_zero(1, sizeof *s);

	s->number = request;
	s->slots = secret_map_fitting(SUBJECTS_SLOTS * sizeof *s->slots,
				      SUBJECTS_SLOTS_LEAST * sizeof *s->slots, &s->bytes);
	s->wanted = mem_alloc(SUBJECTS_WANTED_MAX * sizeof *s->wanted);
	s->requests = mem_zero(SUBJECTS_REQUESTS_MAX, sizeof *s->requests);
	if (s->slots)
		return s;
	subjects_free(s);
	return NULL;
}

void
subjects_free(struct subjects *s)
{
	if (!s)
		return;
	secret_unmap(s->slots, s->bytes);
	free(s->wanted);
	free(s->requests);
	free(s);
}

void
subjects_forget(struct subjects *s)
{
	s->serial++;
	s->wanted_n = 0;
	if (!s->used)
		return;
	secret_map_clear(s->slots, s->bytes);
	s->used = 0;
}

static uint32_t
slots_n(const struct subjects *s)
{
	return (uint32_t)(s->bytes / sizeof *s->slots);
}

/* A sid is a keyed hash, so its first bytes scatter. The slot of it, or the free one for it. */
static struct slot *
slot_at(const struct subjects *s, const uint8_t *sid)
{
	uint64_t h;

	memcpy(&h, sid, sizeof h);
	for (;; h++) {
		struct slot *at = &s->slots[h & (slots_n(s) - 1)];

		if (at->state == SUBJECT_UNKNOWN || !memcmp(at->sid, sid, SUBJECT_ID_BYTES))
			return at;
	}
}

enum subject_state
subjects_find(const struct subjects *s, const uint8_t sid[static SUBJECT_ID_BYTES],
	      const uint8_t **secret)
{
	const struct slot *at = slot_at(s, sid);

	*secret = at->state == SUBJECT_KNOWN ? at->secret : NULL;
	return (enum subject_state)at->state;
}

static struct slot *
slot_take(struct subjects *s, const uint8_t *sid)
{
	struct slot *at = slot_at(s, sid);

	if (at->state != SUBJECT_UNKNOWN)
		return at;
	if (s->used == slots_n(s) / 2) {
		subjects_forget(s);
		at = slot_at(s, sid);
	}
	s->used++;
	memcpy(at->sid, sid, SUBJECT_ID_BYTES);
	return at;
}

bool
subjects_want(struct subjects *s, const uint8_t sid[static SUBJECT_ID_BYTES])
{
	struct slot *at;

	if (s->wanted_n == SUBJECTS_WANTED_MAX)
		return false;
	at = slot_take(s, sid);
	if (at->state != SUBJECT_UNKNOWN)
		return true;
	at->state = SUBJECT_ASKED;
	memcpy(s->wanted[s->wanted_n++], sid, SUBJECT_ID_BYTES);
	return true;
}

bool
subjects_waiting(const struct subjects *s)
{
	return s->wanted_n || s->refused_n;
}

static void
request_write(const struct request *r, struct buf *body)
{
	const struct keyreq q = {
	    .kind = KEY_SUBJECTS, .request = r->number, .sids = r->sids[0], .sids_n = r->n};

	wire_keyreq_write(body, &q);
}

/* The oldest that are wanted. */
static void
request_fill(struct subjects *s, struct request *r)
{
	uint32_t n = s->wanted_n < KEYREQ_SUBJECTS_MAX ? s->wanted_n : KEYREQ_SUBJECTS_MAX;

	r->number = ++*s->number;
	r->n = n;
	r->refused = false;
	memcpy(r->sids, s->wanted, n * sizeof *s->wanted);
	s->wanted_n -= n;
	memmove(s->wanted, s->wanted + n, s->wanted_n * sizeof *s->wanted);
}

uint32_t
subjects_requests(struct subjects *s, struct mono now, struct buf *body)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < SUBJECTS_REQUESTS_MAX; i++) {
		struct request *r = &s->requests[i];

		if (r->number && !(r->refused && mono_due(r->again_at, now)))
			continue;
		if (!r->number && !s->wanted_n)
			continue;
		if (!r->number)
			request_fill(s, r);
		s->refused_n -= r->refused;
		r->refused = false;
		request_write(r, body);
		n++;
	}
	return n;
}

uint32_t
subjects_again(struct subjects *s, struct buf *body)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < SUBJECTS_REQUESTS_MAX; i++) {
		if (!s->requests[i].number)
			continue;
		s->refused_n -= s->requests[i].refused;
		s->requests[i].refused = false;
		request_write(&s->requests[i], body);
		n++;
	}
	return n;
}

static void
secrets_take(struct subjects *s, const struct request *r, const struct keyans *a)
{
	for (uint32_t i = 0; i < r->n; i++) {
		struct slot *at = slot_take(s, r->sids[i]);

		at->state = a->secrets[i] ? SUBJECT_KNOWN : SUBJECT_ERASED;
		if (a->secrets[i])
			memcpy(at->secret, a->secrets[i], SUBJECT_SECRET_BYTES);
		else
			secret_wipe(at->secret, sizeof at->secret);
	}
}

bool
subjects_answer(struct subjects *s, const struct keyans *a, struct mono now, struct err *e)
{
	for (unsigned i = 0; i < SUBJECTS_REQUESTS_MAX; i++) {
		struct request *r = &s->requests[i];

		if (!r->number || r->number != a->request)
			continue;
		if (!a->ok) {
			snprintf(s->why, sizeof s->why, "%.*s", (int)a->reason_len, a->reason);
			log_warn("keeper: no secrets of persons: %s", s->why);
			s->refused_n += !r->refused;
			r->refused = true;
			r->again_at = mono_add_ms(now, SUBJECTS_RETRY_MS);
			return true;
		}
		if (a->secrets_n != r->n)
			return err_set(e, EXIT_BUG, "KEYANS has %u secrets, %u were asked for",
				       a->secrets_n, r->n);
		secrets_take(s, r, a);
		r->number = 0;
		s->why[0] = '\0';
		return true;
	}
	return true;
}

uint64_t
subjects_serial(const struct subjects *s)
{
	return s->serial;
}

const char *
subjects_why(const struct subjects *s)
{
	return s->why;
}
