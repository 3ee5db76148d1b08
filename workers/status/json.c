/* json: /status and /readyz. */
#include "render.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sandbox.h"

/* A wall-clock or event time as 2011-10-01T00:38:44.546Z; null for 0. */
static json_t *
time_json(int64_t us)
{
	char text[64];
	struct tm tm;
	time_t s = (time_t)(us / 1000000 - (us % 1000000 < 0));
	int64_t ms = (us - (int64_t)s * 1000000) / 1000;

	if (us == 0 || !gmtime_r(&s, &tm))
		return json_null();
	size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof text - n, ".%03dZ", (int)ms);
	return json_string(text);
}

static json_t *
number(uint64_t x)
{
	return json_integer((json_int_t)x);
}

/* Texts of servers may be in any encoding; JSON is UTF-8. */
static json_t *
text_json(const char *s)
{
	json_t *t = json_string(s);

	return t ? t : json_string("(text that is not UTF-8)");
}

static void
put(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

static void
print(json_t *root, struct buf *out)
{
	char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));

	if (text) {
		buf_text(out, text);
		buf_byte(out, '\n');
	}
	free(text);
	json_decref(root);
}

static const char *
seccomp_name(uint8_t s)
{
	switch (s) {
	case SECCOMP_ON:
		return "on";
	case SECCOMP_SANITIZER:
		return "on, but ptrace is allowed: sanitizer build";
	default:
		return "off";
	}
}

static json_t *
deaths_json(const struct board_row *row)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < row->deaths_n && i < BOARD_DEATHS_MAX; i++) {
		json_t *d = json_object();
		put(d, "at", time_json(row->deaths[i].at_wall_us));
		put(d, "signal", json_integer(row->deaths[i].signal));
		put(d, "code", json_integer(row->deaths[i].code));
		json_array_append_new(list, d);
	}
	return list;
}

static json_t *
worker_json(const struct board_row *row)
{
	json_t *w = json_object();

	put(w, "role", json_string(role_name((enum role)row->role)));
	put(w, "index", json_integer(row->index));
	put(w, "pid", row->pid ? json_integer(row->pid) : json_null());
	put(w, "state", text_json(row->state_name));
	put(w, "up_since", time_json(row->up_since_wall_us));
	put(w, "ready_since", time_json(row->ready_since_wall_us));
	put(w, "wait", json_string(wait_name((enum worker_wait)row->wait)));
	put(w, "wait_seconds", json_real((double)row->wait_ms / 1e3));
	put(w, "why", text_json(row->why));
	put(w, "separation", json_string(separation_name((enum separation)row->separation)));
	put(w, "seccomp", json_string(seccomp_name(row->seccomp)));
	put(w, "landlock", json_integer(row->landlock));
	put(w, "births", number(row->births));
	put(w, "deaths", deaths_json(row));
	return w;
}

static json_t *
workers_json(const struct view *v)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < v->rows_n; i++)
		json_array_append_new(list, worker_json(&v->rows[i]));
	return list;
}

static json_t *
sources_json(const struct view *v)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < v->model->sources_n; i++) {
		json_t *s = json_object();
		put(s, "name", json_string(v->model->sources[i].name.s));
		put(s, "events", number(view_source_sum(v, i, METRIC_SOURCE_EVENTS)));
		put(s, "committed", number(view_source_sum(v, i, METRIC_SOURCE_COMMITTED)));
		put(s, "backlog", number(view_source_sum(v, i, METRIC_SOURCE_BACKLOG)));
		put(s, "dead", number(view_source_sum(v, i, METRIC_SOURCE_DEAD)));
		put(s, "duplicates", number(view_source_sum(v, i, METRIC_SOURCE_DROPPED)));
		put(s, "errors", number(view_source_sum(v, i, METRIC_SOURCE_ERRORS)));
		put(s, "time",
		    time_json((int64_t)view_source_max(v, i, METRIC_SOURCE_TIME_SECONDS)));
		json_array_append_new(list, s);
	}
	return list;
}

static json_t *
tables_json(const struct view *v)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < v->model->tables_n; i++) {
		json_t *t = json_object();
		put(t, "name", json_string(v->model->tables[i].name.s));
		put(t, "rows", number(view_table_sum(v, i, METRIC_TABLE_ROWS)));
		json_array_append_new(list, t);
	}
	return list;
}

static json_t *
processes_json(const struct view *v)
{
	json_t *p = json_object();

	put(p, "opened", number(view_sum(v, METRIC_PROCESSES_OPENED)));
	put(p, "completed", number(view_sum(v, METRIC_PROCESSES_COMPLETED)));
	put(p, "expired", number(view_sum(v, METRIC_PROCESSES_EXPIRED)));
	put(p, "forgotten", number(view_sum(v, METRIC_PROCESSES_FORGOTTEN)));
	put(p, "cached", number(view_sum(v, METRIC_PROCESSES_CACHED)));
	put(p, "late_events", number(view_sum(v, METRIC_LATE_EVENTS)));
	return p;
}

static json_t *
commits_json(const struct view *v)
{
	json_t *c = json_object();
	uint64_t last = view_max(v, METRIC_LAST_COMMIT_SECONDS);

	put(c, "batches", number(view_sum(v, METRIC_BATCHES)));
	put(c, "retries", number(view_sum(v, METRIC_BATCH_RETRIES)));
	put(c, "last_at", time_json((int64_t)last));
	put(c, "stale_rows", number(view_sum(v, METRIC_STALE_ROWS)));
	put(c, "fenced", number(view_sum(v, METRIC_FENCED)));
	return c;
}

/* A bound that is always in use: how much of it, and how often it was reached. */
static json_t *
bound_json(const struct view *v, enum metric now, uint64_t max, enum metric reached)
{
	json_t *b = json_object();

	put(b, "now", number(view_sum(v, now)));
	put(b, "max", number(max));
	put(b, "reached", number(view_sum(v, reached)));
	return b;
}

static json_t *
limits_json(const struct view *v)
{
	const struct limits *l = &v->model->limits;
	json_t *o = json_object();

	put(o, "inflight_bytes_max",
	    bound_json(v, METRIC_INFLIGHT_BYTES, l->inflight_bytes_max, METRIC_CREDIT_WAITS));
	put(o, "state_cache_bytes_max",
	    bound_json(v, METRIC_STATE_CACHE_BYTES, l->state_cache_bytes_max,
		       METRIC_STATE_EVICTIONS));
	put(o, "batch_bytes_max", number(l->batch_bytes_max));
	put(o, "kafka_queue_bytes_max", number(l->kafka_queue_bytes_max));
	put(o, "event_bytes_max", number(l->event_bytes_max));
	put(o, "batch_rows", number(l->batch_rows));
	put(o, "batch_rows_behind", number(l->batch_rows_behind));
	put(o, "events_per_process_max", number(l->events_per_process_max));
	put(o, "process_bytes_max", number(l->process_bytes_max));
	put(o, "files_open_max", number(l->files_open_max));
	put(o, "dead_letter_limit", json_real(l->dead_letter_limit));
	return o;
}

static json_t *
unready_json(const struct view *v)
{
	json_t *list = json_array();
	struct unready u;

	for (unsigned i = 0; view_unready(v, i, &u); i++) {
		json_t *o = json_object();
		put(o, "dependency", json_string(u.dependency));
		if (u.row) {
			put(o, "role", json_string(role_name((enum role)u.row->role)));
			put(o, "index", json_integer(u.row->index));
			put(o, "seconds", json_real((double)u.row->wait_ms / 1e3));
		}
		put(o, "why", text_json(u.why));
		json_array_append_new(list, o);
	}
	return list;
}

/* ---- what it bears, and whom it asks ---- */

static json_t *
roles_json(uint32_t roles)
{
	json_t *list = json_array();

	for (int r = 0; r < ROLE_MAX; r++)
		if (roles & 1u << r)
			json_array_append_new(list, json_string(role_name((enum role)r)));
	return list;
}

static json_t *
only_json(uint32_t roles, bool whole)
{
	return whole ? json_null() : roles_json(roles);
}

static json_t *
reasons_json(const struct peer_answer *a)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < a->reasons_n; i++) {
		json_t *o = json_object();
		put(o, "dependency", json_string(a->reasons[i].dependency));
		if (*a->reasons[i].role)
			put(o, "role", json_string(a->reasons[i].role));
		put(o, "why", json_string(a->reasons[i].why));
		json_array_append_new(list, o);
	}
	return list;
}

static void
peer_said_put(json_t *o, const struct peer_answer *a)
{
	put(o, "instance", json_string(a->instance));
	put(o, "ready", json_boolean(a->ready));
	put(o, "reasons", reasons_json(a));
	put(o, "draining", json_boolean(a->draining));
	put(o, "roles", roles_json(a->roles));
	put(o, "only", only_json(a->roles, a->whole));
	put(o, "separation", json_string(a->separation));
	put(o, "generation", json_integer(a->generation));
	put(o, "uptime_seconds", json_real(a->uptime_s));
	put(o, "oldest_uncommitted_seconds", json_real(a->oldest_s));
	put(o, "events", number(a->events));
	put(o, "committed", number(a->committed));
	put(o, "backlog", number(a->backlog));
	put(o, "dead", number(a->dead));
}

static json_t *
peer_json(const struct view *v, const struct peer_answer *a)
{
	json_t *o = json_object();
	double age_s = (double)mono_since_us(a->answered_at, v->now) / 1e6;

	put(o, "url", json_string(v->model->peers[a->peer].url));
	put(o, "address", *a->address ? json_string(a->address) : json_null());
	put(o, "up", json_boolean(a->up));
	put(o, "answer_age_seconds", a->answered_at.us ? json_real(age_s) : json_null());
	if (a->up)
		peer_said_put(o, a);
	else
		put(o, "why", text_json(a->why));
	return o;
}

static json_t *
peers_sum_json(const struct view *v)
{
	struct peers_sum sum;
	json_t *o = json_object();

	view_peers_sum(v, &sum);
	put(o, "names", json_integer(v->model->peers_n));
	put(o, "addresses", json_integer(v->peers_n));
	put(o, "up", json_integer(sum.up));
	put(o, "ready", json_integer(sum.ready));
	put(o, "draining", json_integer(sum.draining));
	put(o, "oldest_uncommitted_seconds", json_real(sum.oldest_s));
	put(o, "events", number(sum.events));
	put(o, "committed", number(sum.committed));
	put(o, "backlog", number(sum.backlog));
	put(o, "dead", number(sum.dead));
	return o;
}

static void
peers_put(const struct view *v, json_t *o)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < v->peers_n; i++)
		json_array_append_new(list, peer_json(v, &v->peers[i]));
	put(o, "peers", list);
	put(o, "peers_sum", peers_sum_json(v));
}

static void
clock_put(const struct view *v, json_t *o)
{
	int64_t clock_us;
	int held;
	bool any = view_clock(v, &clock_us, &held);
	const char *by = held >= 0 ? v->model->sources[held].name.s : NULL;
	uint64_t oldest_us = view_max(v, METRIC_OLDEST_UNCOMMITTED_SECONDS);

	put(o, "clock", any ? time_json(clock_us) : json_null());
	put(o, "clock_held_by", by ? json_string(by) : json_null());
	put(o, "oldest_uncommitted_seconds", json_real((double)oldest_us / 1e6));
}

void
render_status(const struct view *v, struct buf *out)
{
	json_t *o = json_object();
	int64_t up_us = v->now_wall_us - v->board->started_wall_us;
	struct unready u;

	put(o, "pipeline", json_string(v->board->pipeline));
	put(o, "instance", text_json(v->board->instance));
	put(o, "url", json_string(v->board->url));
	put(o, "generation", json_integer(v->generation));
	put(o, "started_at", time_json(v->board->started_wall_us));
	put(o, "uptime_seconds", json_real((double)up_us / 1e6));
	put(o, "draining", json_boolean(v->draining));
	put(o, "ready", json_boolean(!view_unready(v, 0, &u)));
	put(o, "unready", unready_json(v));
	put(o, "separation", json_string(view_separation_name(v)));
	put(o, "roles", roles_json(v->board->roles));
	put(o, "only", only_json(v->board->roles, v->board->whole));
	clock_put(v, o);
	put(o, "workers", workers_json(v));
	put(o, "sources", sources_json(v));
	put(o, "tables", tables_json(v));
	put(o, "processes", processes_json(v));
	put(o, "commits", commits_json(v));
	put(o, "limits", limits_json(v));
	if (v->asks)
		peers_put(v, o);
	print(o, out);
}

bool
render_ready(const struct view *v, struct buf *out)
{
	json_t *o = json_object();
	struct unready u;
	bool ready = !view_unready(v, 0, &u);

	put(o, "ready", json_boolean(ready));
	put(o, "unready", unready_json(v));
	print(o, out);
	return ready;
}
