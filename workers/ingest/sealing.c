#include "sealing.h"

#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"

static bool
persons(const struct model *m)
{
	for (unsigned i = 0; i < m->sources_n; i++)
		if (m->sources[i].subject_field >= 0)
			return true;
	return false;
}

bool
sealing_open(const struct worker *w, const struct sealing_out *out, struct sealing **of,
	     struct err *e)
{
	struct sealing *s = mem_zero(1, sizeof *s);
	const struct record_seal_setup setup = {.model = w->model,
						.tokens = s->keys.tokens,
						.persons = s->keys.persons,
						.windows = &s->windows,
						.page = w->page};

	*of = NULL;
	keyhash_init();
	s->m = w->model;
	s->page = w->page;
	s->out = *out;
	hold_init(&s->hold);
	windows_init(&s->windows, s->m, &s->keys.policy, &s->request);
	bool good = keys_open(&s->keys, w, e) && record_sealer_new(&setup, &s->records, e) &&
		    windows_reserve(&s->windows, e);
	if (good && persons(s->m)) {
		s->subjects = subjects_new(&s->request);
		good = s->subjects || err_set(e, EXIT_CONFIG, "%s", secret_shortage());
	}
	if (!good) {
		sealing_free(s);
		return false;
	}
	*of = s;
	return true;
}

void
sealing_free(struct sealing *s)
{
	if (!s)
		return;
	hold_free(&s->hold);
	record_sealer_free(s->records);
	subjects_free(s->subjects);
	windows_free(&s->windows);
	keys_free(&s->keys);
	free(s);
}

bool
sealing_own(struct sealing *s, const struct own *o, int64_t now_wall_us, struct err *e)
{
	return keys_admit(&s->keys, s->m, o, now_wall_us, e);
}

/* A new window: persons are asked again, so that an erasure takes effect. */
static void
persons_forget(struct sealing *s)
{
	if (s->windows_serial == s->windows.serial)
		return;
	s->windows_serial = s->windows.serial;
	if (s->subjects)
		subjects_forget(s->subjects);
}

/* What was forgotten and is waited for is wanted again. */
static void
persons_want(struct sealing *s)
{
	if (!s->subjects || s->hold.serial == subjects_serial(s->subjects))
		return;
	s->hold.serial = subjects_serial(s->subjects);
	for (const struct held *x = s->hold.first; x; x = x->next)
		if (x->has_sid)
			subjects_want(s->subjects, x->sid);
}

static void
requests_send(struct sealing *s, bool keys, struct mono now)
{
	struct buf body = {0};
	uint32_t n = 0;

	if (!s->out.ready(s->out.ctx))
		return;
	s->out.start(&body);
	if (keys)
		n += windows_requests(&s->windows, &body);
	if (s->subjects)
		n += subjects_requests(s->subjects, now, &body);
	if (n)
		s->out.send(s->out.ctx, n, &body);
	buf_free(&body);
}

static void
metrics_set(const struct sealing *s, struct mono now)
{
	metric_set(s->page, METRIC_HELD_EVENTS, s->hold.n);
	metric_set(s->page, METRIC_HELD_BYTES, s->hold.bytes);
	metric_set(s->page, METRIC_HELD_BYTES_MAX, HOLD_BYTES_MAX);
	if (!s->usable && s->stepped_at.us)
		metric_add(s->page, METRIC_KEY_WAIT_SECONDS,
			   (uint64_t)mono_since_us(s->stepped_at, now));
}

bool
sealing_step(struct sealing *s, struct mono now, int64_t now_wall_us, struct err *e)
{
	bool ask;

	if (!windows_step(&s->windows, now, now_wall_us, &ask, e))
		return false;
	if (!s->hold.n)
		s->held_at = now;
	persons_forget(s);
	persons_want(s);
	if (ask || (s->subjects && subjects_waiting(s->subjects)))
		requests_send(s, ask, now);
	metrics_set(s, now);
	sealing_look(s, now, now_wall_us);
	s->stepped_at = now;
	return true;
}

void
sealing_look(struct sealing *s, struct mono now, int64_t now_wall_us)
{
	s->usable = windows_usable(&s->windows, now, now_wall_us);
}

void
sealing_peer(struct sealing *s, struct mono now)
{
	struct buf body = {0};
	uint32_t n = 0;

	if (!s->out.ready(s->out.ctx))
		return;
	s->out.start(&body);
	if (windows_again(&s->windows, now))
		n += windows_requests(&s->windows, &body);
	if (s->subjects)
		n += subjects_again(s->subjects, &body);
	if (n)
		s->out.send(s->out.ctx, n, &body);
	buf_free(&body);
}

bool
sealing_answer(struct sealing *s, const struct keyans *a, struct mono now, struct err *e)
{
	uint64_t opened = s->windows.opened;

	if (a->kind == KEY_SUBJECTS)
		return !s->subjects || subjects_answer(s->subjects, a, now, e);
	windows_answer(&s->windows, a, now);
	metric_add(s->page, METRIC_KEY_WINDOWS, s->windows.opened - opened);
	/* Not a reason to wait: the files that we were given at birth do not change. */
	return !s->windows.outdated ||
	       err_set(e, EXIT_UNAVAILABLE,
		       "the keeper has policy %llu, ours is %llu; the key files are read anew",
		       (unsigned long long)a->policy_serial,
		       (unsigned long long)s->keys.policy.serial);
}

bool
sealing_person(struct sealing *s, const struct record *r, struct seal_subject *who, bool *bound)
{
	*bound = r->has_sid;
	if (!r->has_sid)
		return true;
	who->sid = r->sid;
	switch (subjects_find(s->subjects, r->sid, &who->secret)) {
	case SUBJECT_KNOWN:
	case SUBJECT_ERASED:
		return true;
	case SUBJECT_UNKNOWN:
		subjects_want(s->subjects, r->sid);
		return false;
	case SUBJECT_ASKED:
		break;
	}
	return false;
}

bool
sealing_due(struct sealing *s)
{
	const struct held *x = s->hold.first;
	const uint8_t *secret;

	if (!x || !s->usable)
		return false;
	if (!x->has_sid)
		return true;
	enum subject_state is = subjects_find(s->subjects, x->sid, &secret);
	if (is == SUBJECT_UNKNOWN)
		subjects_want(s->subjects, x->sid);
	return is == SUBJECT_KNOWN || is == SUBJECT_ERASED;
}

void
sealing_released(struct sealing *s, struct mono now)
{
	hold_drop(&s->hold);
	s->held_at = now;
}

const char *
sealing_waits(const struct sealing *s)
{
	if (!s->usable)
		return s->windows.why[0] ? s->windows.why : "no data key is published yet";
	if (s->hold.n && mono_since_ms(s->held_at, s->stepped_at) > HELD_TOLD_MS)
		return s->subjects && subjects_why(s->subjects)[0]
			   ? subjects_why(s->subjects)
			   : "secrets of persons have not come yet";
	return NULL;
}
