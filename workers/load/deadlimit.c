#include "load.h"

/*
 * Without a limit a dropped column or a wrong path turns a whole source into dead letters before
 * anybody looks.
 */

static bool
too_many(const struct load *l, uint64_t dead, uint64_t events)
{
	double limit = l->w->model->limits.dead_letter_limit * (double)events;

	return dead > DEAD_MIN && (double)dead > limit;
}

static void
window_sum(const struct load *l, unsigned source, int64_t second, uint64_t *events, uint64_t *dead)
{
	for (int i = 0; i < DEAD_WINDOW_SECONDS; i++) {
		if (l->dead.second[i] <= second - DEAD_WINDOW_SECONDS)
			continue;
		*events += l->dead.source[source][i].events;
		*dead += l->dead.source[source][i].dead;
	}
}

/* All that came of a source: applied, or dead before it was. */
static uint64_t
events_of(const struct batch *b, unsigned source)
{
	uint64_t applied = source < b->end.sources_n ? b->end.sources[source].events : 0;

	return applied + b->source_dead[source];
}

bool
dead_within_limit(const struct load *l, const struct commit *c, struct err *e)
{
	const struct model *m = l->w->model;
	int64_t second = mono_now().us / 1000000;
	uint64_t events = 0, letters = c->b->dead.n + c->dead.n + c->dead_rows.n;

	if (l->w->accept_dead)
		return true;
	for (unsigned i = 0; i < m->sources_n; i++)
		events += events_of(c->b, i);
	if (too_many(l, letters, events))
		return err_set(e, EXIT_DATA,
			       "%llu of %llu events of one batch are dead letters, more than "
			       "dead_letter_limit "
			       "allows; see `weir dead list`, go on with --accept-dead",
			       (unsigned long long)letters, (unsigned long long)events);
	for (unsigned i = 0; i < m->sources_n; i++) {
		uint64_t dead = c->b->source_dead[i] + c->source_dead[i];
		events = events_of(c->b, i);
		if (dead == 0)
			continue;
		window_sum(l, i, second, &events, &dead);
		if (too_many(l, dead, events))
			return err_set(e, EXIT_DATA,
				       "%llu of %llu events of source %s within a minute are dead "
				       "letters, more than "
				       "dead_letter_limit allows; see `weir dead list`, go on with "
				       "--accept-dead",
				       (unsigned long long)dead, (unsigned long long)events,
				       m->sources[i].name.s);
	}
	return true;
}

void
dead_count(struct load *l, const struct commit *c)
{
	int64_t second = mono_now().us / 1000000;
	unsigned slot = (unsigned)(second % DEAD_WINDOW_SECONDS);

	for (unsigned i = 0; i < l->w->model->sources_n; i++) {
		if (l->dead.second[slot] != second)
			l->dead.source[i][slot].events = l->dead.source[i][slot].dead = 0;
		l->dead.source[i][slot].events += events_of(c->b, i);
		l->dead.source[i][slot].dead += c->b->source_dead[i] + c->source_dead[i];
	}
	l->dead.second[slot] = second;
}
