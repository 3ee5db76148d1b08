#include "view.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "mono.h"
#include "sandbox.h"

struct view_source {
	const struct model *model;
	const struct board *board;
	struct view_page pages[BOARD_ROWS_MAX];
	struct metric_page *mapped[BOARD_ROWS_MAX];
	unsigned n;
};

struct view_source *
view_source_open(const struct model *m, int board_fd, const struct view_fd *pages, unsigned n,
		 struct err *e)
{
	struct view_source *s = mem_zero(1, sizeof *s);

	check(n <= BOARD_ROWS_MAX);
	s->model = m;
	s->board = board_map(board_fd, e);
	while (s->board && s->n < n) {
		const struct view_fd *from = &pages[s->n];
		s->mapped[s->n] = metric_page_map(from->fd, false, e);
		if (!s->mapped[s->n])
			break;
		s->pages[s->n].page = s->mapped[s->n];
		s->pages[s->n].role = from->role;
		s->pages[s->n++].index = from->index;
	}
	if (s->board && s->n == n)
		return s;
	view_source_close(s);
	return NULL;
}

void
view_source_close(struct view_source *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n; i++)
		metric_page_unmap(s->mapped[i]);
	board_unmap(s->board);
	free(s);
}

void
view_take(const struct view_source *s, struct view *v)
{
	unsigned n = atomic_load(&s->board->rows_n);

	memset(v, 0, sizeof *v);
	v->model = s->model;
	v->board = s->board;
	v->pages = s->pages;
	v->pages_n = s->n;
	v->generation = atomic_load(&s->board->generation);
	v->draining = atomic_load(&s->board->draining);
	v->now_wall_us = wall_now_us();
	v->now = mono_now();
	for (unsigned i = 0; i < n && i < BOARD_ROWS_MAX; i++)
		if (board_row_read(s->board, i, &v->rows[v->rows_n]) &&
		    v->rows[v->rows_n].role < ROLE_MAX)
			v->rows_n++;
}

uint64_t
view_sum(const struct view *v, enum metric m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < v->pages_n; i++)
		sum += metric_get(v->pages[i].page, m);
	return sum;
}

uint64_t
view_max(const struct view *v, enum metric m)
{
	uint64_t max = 0;

	for (unsigned i = 0; i < v->pages_n; i++) {
		uint64_t x = metric_get(v->pages[i].page, m);
		max = x > max ? x : max;
	}
	return max;
}

static uint64_t
get(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

uint64_t
view_source_sum(const struct view *v, unsigned source, enum metric_source m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < v->pages_n; i++)
		sum += get(&v->pages[i].page->source[source][m]);
	return sum;
}

uint64_t
view_source_max(const struct view *v, unsigned source, enum metric_source m)
{
	uint64_t max = 0;

	for (unsigned i = 0; i < v->pages_n; i++) {
		uint64_t x = get(&v->pages[i].page->source[source][m]);
		max = x > max ? x : max;
	}
	return max;
}

uint64_t
view_table_sum(const struct view *v, unsigned table, enum metric_table m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < v->pages_n; i++)
		sum += get(&v->pages[i].page->table[table][m]);
	return sum;
}

bool
view_clock(const struct view *v, int64_t *clock_us, int *held)
{
	bool any = false;

	*held = -1;
	for (unsigned i = 0; i < v->pages_n; i++) {
		const struct metric_page *p = v->pages[i].page;
		int64_t at = (int64_t)metric_get(p, METRIC_CLOCK_SECONDS);
		if (v->pages[i].role != ROLE_CORRELATE || at == 0 || (any && at >= *clock_us))
			continue;
		any = true;
		*clock_us = at;
		int64_t source = atomic_load(&p->waits_for_source);
		*held = source >= 0 && source < (int64_t)v->model->sources_n ? (int)source : -1;
	}
	return any;
}

int64_t
view_silent_ms(const struct view *v)
{
	struct mono beat = {atomic_load(&v->board->beat_us)};

	return mono_since_ms(beat, v->now);
}

const char *
wait_name(enum worker_wait w)
{
	static const char *const names[WAIT_MAX] = {
	    [WAIT_NOTHING] = "nothing",
	    [WAIT_WAREHOUSE] = "warehouse",
	    [WAIT_SOURCE] = "source",
	    [WAIT_PEERS] = "peers",
	};

	return (unsigned)w < WAIT_MAX ? names[w] : "?";
}

static bool
row_unready(const struct board_row *row, struct unready *out)
{
	/* Without the keeper ingest goes on until its window ends, and no further. */
	bool needed = role_rows[row->role].kind == ROLE_KIND_DATA || row->role == ROLE_KEEPER;

	out->row = row;
	if (row->wait != WAIT_NOTHING) {
		out->dependency = wait_name((enum worker_wait)row->wait);
		out->why = row->why;
		return true;
	}
	if (!needed || row->up)
		return false;
	out->dependency = "worker";
	out->why = row->state_name;
	return true;
}

bool
view_unready(const struct view *v, unsigned i, struct unready *out)
{
	unsigned seen = 0;

	if (v->draining) {
		*out = (struct unready){.dependency = "drain", .why = "asked to stop"};
		if (seen++ == i)
			return true;
	}
	for (unsigned k = 0; k < v->rows_n; k++)
		if (row_unready(&v->rows[k], out) && seen++ == i)
			return true;
	return false;
}

enum separation
view_separation(const struct view *v)
{
	enum separation least = SEPARATION_MAX;

	for (unsigned i = 0; i < v->rows_n; i++)
		if (v->rows[i].ready_since_wall_us && v->rows[i].separation < least)
			least = (enum separation)v->rows[i].separation;
	return least == SEPARATION_MAX ? SEPARATION_NONE : least;
}

const char *
view_separation_name(const struct view *v)
{
	enum separation s = view_separation(v);

	return s == SEPARATION_NONE && v->board->apart ? "pods" : separation_name(s);
}

/* An instance that was counted under another name or address before. */
static bool
counted(const struct view *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (v->peers[i].up && !strcmp(v->peers[i].instance, v->peers[n].instance))
			return true;
	return false;
}

void
view_peers_sum(const struct view *v, struct peers_sum *out)
{
	*out = (struct peers_sum){0};
	for (unsigned i = 0; i < v->peers_n; i++) {
		const struct peer_answer *a = &v->peers[i];
		if (!a->up || counted(v, i))
			continue;
		out->up++;
		out->ready += a->ready;
		out->draining += a->draining;
		out->oldest_s = a->oldest_s > out->oldest_s ? a->oldest_s : out->oldest_s;
		out->events += a->events;
		out->committed += a->committed;
		out->backlog += a->backlog;
		out->dead += a->dead;
	}
}
