/* prometheus: the text format, version 0.0.4. Names come from metric.def and are an interface. */
#include "render.h"

#include <inttypes.h>
#include <string.h>

enum metric_type { COUNTER, GAUGE };

struct metric_row {
	const char *name, *help;
	enum metric_type type;
};

#define ROW(name_, type_, help_)                                                                   \
	{                                                                                          \
		.name = name_, .help = help_, .type = type_                                        \
	}

static const struct metric_row worker_metrics[METRIC_MAX] = {
#define METRIC(id, name, type, help) [METRIC_##id] = ROW(name, type, help),
#define METRIC_SOURCE(id, name, type, help)
#define METRIC_TABLE(id, name, type, help)
#include "metric.def"
#undef METRIC
#undef METRIC_SOURCE
#undef METRIC_TABLE
};

static const struct metric_row source_metrics[METRIC_SOURCE_MAX] = {
#define METRIC(id, name, type, help)
#define METRIC_SOURCE(id, name, type, help) [METRIC_##id] = ROW(name, type, help),
#define METRIC_TABLE(id, name, type, help)
#include "metric.def"
#undef METRIC
#undef METRIC_SOURCE
#undef METRIC_TABLE
};

static const struct metric_row table_metrics[METRIC_TABLE_MAX] = {
#define METRIC(id, name, type, help)
#define METRIC_SOURCE(id, name, type, help)
#define METRIC_TABLE(id, name, type, help) [METRIC_##id] = ROW(name, type, help),
#include "metric.def"
#undef METRIC
#undef METRIC_SOURCE
#undef METRIC_TABLE
};

static void
head(struct buf *out, const struct metric_row *row)
{
	buf_printf(out, "# HELP weir_%s %s\n# TYPE weir_%s %s\n", row->name, row->help, row->name,
		   row->type == COUNTER ? "counter" : "gauge");
}

/* One sample; `labels` stand beside the worker's own. */
static void
sample(struct buf *out, const struct metric_row *row, const struct view_page *of, const char *label,
       const char *label_value, uint64_t value)
{
	buf_printf(out, "weir_%s{role=\"%s\",index=\"%u\"", row->name, role_name(of->role),
		   of->index);
	if (label)
		buf_printf(out, ",%s=\"%s\"", label, label_value);
	if (strstr(row->name, "seconds"))
		buf_printf(out, "} %.6f\n", (double)(int64_t)value / 1e6);
	else
		buf_printf(out, "} %" PRIu64 "\n", value);
}

static uint64_t
get(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static void
workers_render(const struct view *v, struct buf *out)
{
	for (int m = 0; m < METRIC_MAX; m++) {
		head(out, &worker_metrics[m]);
		for (unsigned i = 0; i < v->pages_n; i++)
			sample(out, &worker_metrics[m], &v->pages[i], NULL, NULL,
			       get(&v->pages[i].page->value[m]));
	}
}

/* A worker that never counted anything of a source (or table) has no series of it. */
static void
sources_render(const struct view *v, struct buf *out)
{
	for (int m = 0; m < METRIC_SOURCE_MAX; m++) {
		head(out, &source_metrics[m]);
		for (unsigned s = 0; s < v->model->sources_n; s++)
			for (unsigned i = 0; i < v->pages_n; i++) {
				uint64_t x = get(&v->pages[i].page->source[s][m]);
				if (x)
					sample(out, &source_metrics[m], &v->pages[i], "source",
					       v->model->sources[s].name.s, x);
			}
	}
}

static void
tables_render(const struct view *v, struct buf *out)
{
	for (int m = 0; m < METRIC_TABLE_MAX; m++) {
		head(out, &table_metrics[m]);
		for (unsigned t = 0; t < v->model->tables_n; t++)
			for (unsigned i = 0; i < v->pages_n; i++) {
				uint64_t x = get(&v->pages[i].page->table[t][m]);
				if (x)
					sample(out, &table_metrics[m], &v->pages[i], "table",
					       v->model->tables[t].name.s, x);
			}
	}
}

/* What the board knows: the supervisor's own figures. */
static void
board_render(const struct view *v, struct buf *out)
{
	struct unready u;

	buf_printf(out,
		   "# HELP weir_ready 1 while data workers and keeper are up and no dependency is "
		   "missing\n"
		   "# TYPE weir_ready gauge\nweir_ready %d\n",
		   !view_unready(v, 0, &u));
	buf_printf(out,
		   "# HELP weir_generation Generations of data workers since the start\n"
		   "# TYPE weir_generation counter\nweir_generation %u\n",
		   v->generation);
	buf_text(out, "# HELP weir_worker_up 1 while the worker is up\n"
		      "# TYPE weir_worker_up gauge\n");
	for (unsigned i = 0; i < v->rows_n; i++)
		buf_printf(out, "weir_worker_up{role=\"%s\",index=\"%u\"} %d\n",
			   role_name((enum role)v->rows[i].role), v->rows[i].index, v->rows[i].up);
	buf_text(out, "# HELP weir_worker_births_total Times the worker was started\n"
		      "# TYPE weir_worker_births_total counter\n");
	for (unsigned i = 0; i < v->rows_n; i++)
		buf_printf(out, "weir_worker_births_total{role=\"%s\",index=\"%u\"} %" PRIu64 "\n",
			   role_name((enum role)v->rows[i].role), v->rows[i].index,
			   v->rows[i].births);
}

/* ---- other supervisors ---- */

struct peer_row {
	const char *name, *help;
	double (*value)(const struct peer_answer *a, struct mono now);
	bool up_only;
};

static double
peer_up(const struct peer_answer *a, struct mono now)
{
	(void)now;
	return a->up;
}

static double
peer_ready(const struct peer_answer *a, struct mono now)
{
	(void)now;
	return a->ready;
}

static double
peer_oldest(const struct peer_answer *a, struct mono now)
{
	(void)now;
	return a->oldest_s;
}

static double
peer_age(const struct peer_answer *a, struct mono now)
{
	return (double)mono_since_us(a->answered_at, now) / 1e6;
}

static const struct peer_row peer_metrics[] = {
    {"peer_up", "1 while it answers for this pipeline", peer_up, false},
    {"peer_ready", "1 while it is ready", peer_ready, true},
    {"peer_oldest_uncommitted_seconds", "Its weir_oldest_uncommitted_seconds", peer_oldest, true},
    {"peer_answer_age_seconds", "Since it answered", peer_age, true},
};

/* The labels are the file's own texts, and numeric addresses: nothing that a peer says. */
static void
peers_render(const struct view *v, struct buf *out)
{
	struct peers_sum sum;

	view_peers_sum(v, &sum);
	buf_printf(out,
		   "# HELP weir_peers Addresses of other supervisors that are asked, names without "
		   "one included\n"
		   "# TYPE weir_peers gauge\nweir_peers %u\n",
		   v->peers_n);
	buf_printf(out,
		   "# HELP weir_peers_ready Other supervisors that are ready, each counted once\n"
		   "# TYPE weir_peers_ready gauge\nweir_peers_ready %u\n",
		   sum.ready);
	for (unsigned m = 0; m < sizeof peer_metrics / sizeof *peer_metrics; m++) {
		const struct peer_row *row = &peer_metrics[m];
		buf_printf(out, "# HELP weir_%s %s\n# TYPE weir_%s gauge\n", row->name, row->help,
			   row->name);
		for (unsigned i = 0; i < v->peers_n; i++) {
			const struct peer_answer *a = &v->peers[i];
			if (a->up || !row->up_only)
				buf_printf(out, "weir_%s{peer=\"%s\",address=\"%s\"} %.6g\n",
					   row->name, v->model->peers[a->peer].url, a->address,
					   row->value(a, v->now));
		}
	}
}

void
render_metrics(const struct view *v, struct buf *out)
{
	board_render(v, out);
	workers_render(v, out);
	sources_render(v, out);
	tables_render(v, out);
	if (v->asks)
		peers_render(v, out);
}
