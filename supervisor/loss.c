#include "loss.h"

#include <stdio.h>
#include <string.h>

void
losses_committed(struct losses *l, uint64_t batches)
{
	if (batches == l->batches)
		return;
	l->batches = batches;
	l->strikes = 0;
	memset(l->crashes, 0, sizeof l->crashes);
}

static unsigned
strikes_next(unsigned strikes, const struct child *c, enum cause cause, struct mono now)
{
	return policy_strikes(strikes, cause, c->ready ? mono_since_ms(c->ready_at, now) : -1);
}

int64_t
losses_generation(struct losses *l, const struct child *c, enum cause cause, struct mono now)
{
	l->strikes = strikes_next(l->strikes, c, cause, now);
	l->lost_at = now;
	l->bear_due = mono_add_ms(now, policy_delay_ms(l->strikes));
	return policy_delay_ms(l->strikes);
}

int64_t
losses_alone(struct child *c, enum cause cause, struct mono now)
{
	c->strikes = strikes_next(c->strikes, c, cause, now);
	c->birth_due = mono_add_ms(now, policy_delay_ms(c->strikes));
	return policy_delay_ms(c->strikes);
}

unsigned
losses_crash(struct losses *l, enum role role, struct mono now)
{
	struct mono *at = l->crashes[role].at;
	unsigned kept = 0;

	for (unsigned i = 0; i < l->crashes[role].n; i++)
		if (mono_since_ms(at[i], now) <= CRASH_WINDOW_MS)
			at[kept++] = at[i];
	if (kept == CRASHES_KEPT) {
		memmove(at, at + 1, (CRASHES_KEPT - 1) * sizeof *at);
		kept--;
	}
	at[kept++] = now;
	l->crashes[role].n = kept;
	return kept;
}

void
losses_down(struct losses *l, struct mono since, const char *subject, const char *why)
{
	if (l->down_since.us == 0 || since.us < l->down_since.us)
		l->down_since = since;
	snprintf(l->down_why, sizeof l->down_why, "%s: %s", subject, why);
}
