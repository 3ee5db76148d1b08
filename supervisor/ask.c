#include "ask.h"

enum { STEADY_MS = 3000 }; /* so long without waiting: the dependency is back */

static bool
data_all(const struct fleet *f, bool (*is)(const struct child *c))
{
	for (unsigned i = 0; i < f->n; i++)
		if (child_is_data(&f->children[i]) && !is(&f->children[i]))
			return false;
	return true;
}

static bool
is_ready(const struct child *c)
{
	return c->state == CHILD_READY;
}

static bool
is_down(const struct child *c)
{
	return c->state == CHILD_DOWN;
}

/*
 * Up for a while: had it to wait for something, it would have said so. Of a bounded run some lanes
 * end before others: those have what they needed.
 */
static bool
is_steady(const struct child *c)
{
	if (c->state == CHILD_DOWN && c->done)
		return true;
	return c->state == CHILD_UP && mono_since_ms(c->ready_at, mono_now()) > STEADY_MS;
}

bool
ask_data_ready(const struct fleet *f)
{
	return data_all(f, is_ready);
}

bool
ask_data_down(const struct fleet *f)
{
	return data_all(f, is_down);
}

bool
ask_data_steady(const struct fleet *f)
{
	return data_all(f, is_steady);
}

bool
ask_all_down(const struct fleet *f)
{
	for (unsigned i = 0; i < f->n; i++)
		if (f->children[i].state != CHILD_DOWN)
			return false;
	return true;
}

bool
ask_errand(const struct fleet *f, const struct child *c)
{
	return c->role == ROLE_SCIENCE && *f->setup.chan.handoff;
}

bool
ask_finished(const struct fleet *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		const struct child *c = &f->children[i];
		if ((child_is_data(c) || ask_errand(f, c)) && !(c->state == CHILD_DOWN && c->done))
			return false;
	}
	return true;
}

bool
ask_may_end(const struct fleet *f, const struct child *c)
{
	if (f->phase == PHASE_CLOSING || f->phase == PHASE_KILLING)
		return true;
	if (!child_is_data(c) && !ask_errand(f, c))
		return false;
	return f->phase == PHASE_DRAINING || (f->phase == PHASE_RUNNING && f->setup.chan.bounded);
}

bool
ask_waits_outside(const struct fleet *f, const struct child *c)
{
	bool struck = false;

	for (unsigned i = 0; i < f->n; i++)
		struck |= f->children[i].role == ROLE_KEEPER && f->children[i].strikes > 0;
	return c->wait == WAIT_WAREHOUSE || c->wait == WAIT_SOURCE ||
	       (c->wait == WAIT_PEERS && c->role == ROLE_INGEST && struck);
}

uint64_t
ask_batches(const struct fleet *f)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < f->n; i++)
		sum += metric_get(f->children[i].page, METRIC_BATCHES);
	return sum;
}
