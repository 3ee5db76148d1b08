#include "window.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "source.h"

void
windows_init(struct windows *w, const struct model *m, const struct policy *p, uint32_t *request)
{
	*w = (struct windows){.m = m, .policy = p, .request = request};
}

static void
set_end(struct window_set *s)
{
	for (unsigned i = 0; i < CLASSES_MAX; i++) {
		data_key_free(s->of[i].key);
		buf_free(&s->of[i].core);
		buf_free(&s->of[i].wraps);
	}
	*s = (struct window_set){0};
}

void
windows_free(struct windows *w)
{
	set_end(&w->now);
	set_end(&w->next);
}

bool
windows_reserve(const struct windows *w, struct err *e)
{
	struct data_key *keys[WINDOW_SETS * CLASSES_MAX] = {NULL};
	enum seal_error why = SEAL_OK;
	unsigned n = 0;

	while (why == SEAL_OK && n < WINDOW_SETS * w->m->classes_n)
		why = data_key_new(w->random, &keys[n++]);
	for (unsigned i = 0; i < n; i++)
		data_key_free(keys[i]);
	if (why == SEAL_OK)
		return true;
	seal_fail(e, why, "data keys of %u classes", w->m->classes_n);
	e->code = EXIT_CONFIG;
	return false;
}

static int64_t
life_ms(const struct windows *w)
{
	return w->m->limits.key_window_us / 1000;
}

static int64_t
margin_ms(const struct windows *w)
{
	int64_t tenth = life_ms(w) / 10;

	return tenth < WINDOW_MARGIN_MS ? tenth : WINDOW_MARGIN_MS;
}

/* By the clock that can jump, since readers judge by it, and by the one that cannot. */
static bool
set_over(const struct windows *w, const struct window_set *s, int64_t early_ms, struct mono now,
	 int64_t now_wall_us)
{
	return mono_since_ms(s->made_at, now) >= life_ms(w) - early_ms ||
	       now_wall_us / 1000 >= s->not_after_ms - early_ms;
}

bool
windows_usable(const struct windows *w, struct mono now, int64_t now_wall_us)
{
	return w->now.made && w->now.records + SOURCE_BATCH_MAX <= WINDOW_RECORDS_MAX &&
	       !set_over(w, &w->now, margin_ms(w), now, now_wall_us);
}

static bool
key_make(struct windows *w, unsigned class, struct err *e)
{
	struct window_key *k = &w->next.of[class];
	const char *name = w->m->classes[class].s;
	enum seal_error why = data_key_new(w->random, &k->key);
	struct core core;

	if (why == SEAL_OK)
		why = envelope_wrap_all(k->key, w->policy, name, &k->wraps, &k->wraps_n);
	if (why != SEAL_OK)
		return seal_fail(e, why, "a data key of class %s", name);
	core_fill(&core, k->key, w->policy, name, w->next.not_before_ms, w->next.not_after_ms);
	core_encode(&core, &k->core);
	k->request = ++*w->request;
	return true;
}

static bool
next_make(struct windows *w, struct mono now, int64_t now_wall_us, struct err *e)
{
	enum seal_error why;

	set_end(&w->next);
	why = policy_usable(w->policy, w->m->pipeline.s, 0, now_wall_us / 1000);
	if (why != SEAL_OK)
		return seal_fail(e, why, "the policy");
	w->next.made_at = now;
	w->next.not_before_ms = now_wall_us / 1000;
	w->next.not_after_ms = w->next.not_before_ms + life_ms(w);
	for (unsigned i = 0; i < w->m->classes_n; i++)
		if (!key_make(w, i, e))
			return false;
	w->next.unanswered = w->m->classes_n;
	w->next.made = true;
	return true;
}

/* Two thirds of its life or of its records are used. */
static bool
next_due(const struct windows *w, struct mono now, int64_t now_wall_us)
{
	return !w->now.made || w->now.records >= WINDOW_RECORDS_MAX / 3 * 2 ||
	       set_over(w, &w->now, life_ms(w) / 3, now, now_wall_us);
}

bool
windows_step(struct windows *w, struct mono now, int64_t now_wall_us, bool *ask, struct err *e)
{
	*ask = false;
	if (w->now.made && set_over(w, &w->now, 0, now, now_wall_us)) {
		set_end(&w->now);
		w->serial++;
	}
	if (w->next.made && mono_since_ms(w->next.made_at, now) < WINDOW_ASK_MS &&
	    !set_over(w, &w->next, life_ms(w) / 3, now, now_wall_us))
		return true;
	if (!mono_due(w->retry_at, now) || !next_due(w, now, now_wall_us))
		return true;
	*ask = true;
	return next_make(w, now, now_wall_us, e);
}

bool
windows_again(struct windows *w, struct mono now)
{
	if (w->next.made && mono_since_ms(w->next.made_at, now) < WINDOW_ASK_MS)
		return true;
	set_end(&w->next);
	w->retry_at = now;
	return false;
}

uint32_t
windows_requests(const struct windows *w, struct buf *body)
{
	uint32_t n = 0;

	for (unsigned i = 0; w->next.made && i < w->m->classes_n; i++) {
		const struct window_key *k = &w->next.of[i];
		struct keyreq q = {.kind = KEY_PUBLISH, .request = k->request};

		if (k->answered)
			continue;
		q.class = w->m->classes[i].s;
		q.class_len = (uint32_t)strlen(q.class);
		q.core = k->core.data;
		q.core_len = (uint32_t)k->core.len;
		check(k->wraps_n <= KEYREQ_WRAPS_MAX &&
		      k->wraps.len == (size_t)k->wraps_n * WRAP_BYTES);
		q.wraps_n = k->wraps_n;
		for (unsigned j = 0; j < k->wraps_n; j++)
			q.wraps[j] = k->wraps.data + (size_t)j * WRAP_BYTES;
		wire_keyreq_write(body, &q);
		n++;
	}
	return n;
}

static void
refused(struct windows *w, const char *why, size_t n, struct mono now)
{
	int64_t wait_ms = WINDOW_RETRY_MS;

	for (unsigned i = 0; i < w->refusals && wait_ms < WINDOW_RETRY_MS_MAX; i++)
		wait_ms *= 2;
	if (wait_ms > WINDOW_RETRY_MS_MAX)
		wait_ms = WINDOW_RETRY_MS_MAX;
	w->refusals++;
	snprintf(w->why, sizeof w->why, "%.*s", (int)n, why);
	log_warn("keeper: no key: %s", w->why);
	set_end(&w->next);
	w->retry_at = mono_add_ms(now, wait_ms);
}

/* The signed core is what was asked, but for who signed it: a sealer of the policy. */
static bool
core_same(const struct windows *w, unsigned class, const struct keyans *a, enum seal_error *why)
{
	const struct window_key *k = &w->next.of[class];
	struct buf asked = {0};
	struct core is;

	*why = core_verify(a->core, a->core_len, w->policy, &is);
	if (*why != SEAL_OK)
		return false;
	*why = SEAL_COMMIT;
	memset(is.sealer, 0, sizeof is.sealer);
	core_encode(&is, &asked);
	bool same = asked.len == k->core.len && !memcmp(asked.data, k->core.data, asked.len);
	buf_free(&asked);
	return same;
}

static void
next_use(struct windows *w)
{
	set_end(&w->now);
	w->now = w->next;
	w->next = (struct window_set){0};
	for (unsigned i = 0; i < w->m->classes_n; i++) {
		buf_free(&w->now.of[i].core);
		buf_free(&w->now.of[i].wraps);
	}
	w->serial++;
	w->opened++;
	w->refusals = 0;
	w->why[0] = '\0';
}

void
windows_answer(struct windows *w, const struct keyans *a, struct mono now)
{
	enum seal_error why;

	for (unsigned i = 0; w->next.made && i < w->m->classes_n; i++) {
		struct window_key *k = &w->next.of[i];

		if (k->request != a->request || k->answered)
			continue;
		if (!a->ok) {
			w->outdated = a->policy_serial > w->policy->serial;
			refused(w, a->reason, a->reason_len, now);
		} else if (!core_same(w, i, a, &why)) {
			refused(w, seal_error_words(why), strlen(seal_error_words(why)), now);
		} else {
			k->answered = true;
			if (!--w->next.unanswered)
				next_use(w);
		}
		return;
	}
}
