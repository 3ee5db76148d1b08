/* task: the loop around the chores. A failure is said and tried again: nothing here is urgent. */
#include "task.h"

#include <stdlib.h>

#include "log.h"
#include "mem.h"
#include "skel.h"

enum {
	DSN_BYTES_MAX = 4096,
	CONNECT_MS_MAX = 2500,
	TURN_MS = 5000,
	RETRY_MS_MAX = 60000,
};

struct task {
	struct worker *w;
	char *dsn;
	struct chore chore;
	struct mono due;
	int retry_ms;
};

static const char *const settings[] = {
    "enable_hashjoin=off",
    "enable_mergejoin=off",
    "jit=off",
    "search_path=pg_catalog",
    "lock_timeout=500ms",
    "statement_timeout=60s",
    "idle_in_transaction_session_timeout=30s",
    "client_connection_check_interval=5s",
    /* A host that is lost leads no longer than this. */
    "tcp_keepalives_idle=10",
    "tcp_keepalives_interval=5",
    "tcp_keepalives_count=3",
    NULL,
};

static bool
serve(void *ctx)
{
	return skel_serve(ctx);
}

static bool
task_open(struct worker *w, struct err *e)
{
	struct task *t = mem_zero(1, sizeof(*t));
	struct buf dsn = {0};

	w->state = t;
	t->w = w;
	t->retry_ms = TURN_MS;
	t->chore.name = w->model->pipeline.s;
	if (w->login_fd < 0)
		return err_set(e, EXIT_CONFIG, "no login file was handed over; run `weir apply`");
	bool got = skel_read_fd(w->login_fd, DSN_BYTES_MAX, &dsn, e);
	while (dsn.len && (dsn.data[dsn.len - 1] == '\n' || dsn.data[dsn.len - 1] == '\r'))
		dsn.len--;
	if (got)
		t->dsn = mem_string_n((const char *)dsn.data, dsn.len);
	buf_free(&dsn);
	return got || err_context(e, "login file");
}

static bool
connected(struct task *t, struct err *e)
{
	if (pg_alive(t->chore.pg))
		return true;
	pg_close(t->chore.pg);
	t->chore.pg = NULL;
	t->chore.leads = false;
	if (!pg_connect(t->dsn, "weir task", settings, CONNECT_MS_MAX, &t->chore.pg, e))
		return false;
	pg_on_wait(t->chore.pg, serve, t->w);
	return task_pipeline(t->chore.pg, t->w->model->pipeline.s, &t->chore.pipeline, e);
}

static bool
turn(struct task *t, struct err *e)
{
	uint64_t before = t->chore.emptied;
	bool good = connected(t, e) && task_leads(&t->chore, e);

	if (!good || !t->chore.leads)
		return good;
	good = task_segments(&t->chore, e) && task_retain(&t->chore, e) &&
	       task_partitions(&t->chore, e) && task_aggregates(&t->chore, e);
	metric_add(t->w->page, METRIC_SEGMENTS_DROPPED, t->chore.emptied - before);
	metric_set(t->w->page, METRIC_STATE_SEGMENTS, t->chore.holding);
	return good;
}

static bool
task_tick(struct worker *w, struct mono now, struct mono *next, struct err *e)
{
	struct task *t = w->state;
	struct err failure = {0};

	(void)e;
	*next = t->due;
	if (!mono_due(t->due, now))
		return true;
	if (turn(t, &failure)) {
		t->retry_ms = TURN_MS;
		skel_wait(w, WAIT_NOTHING, "%s", "");
		skel_progress(w);
	} else if (!w->ending) {
		log_warn("%s; trying again", failure.text);
		if (failure.code == EXIT_UNAVAILABLE)
			skel_wait(w, WAIT_WAREHOUSE, "%s", failure.text);
		t->retry_ms = t->retry_ms * 2 < RETRY_MS_MAX ? t->retry_ms * 2 : RETRY_MS_MAX;
	}
	t->due = mono_add_ms(mono_now(), t->retry_ms);
	*next = t->due;
	return true;
}

static void
task_stop(struct worker *w)
{
	struct task *t = w->state;

	if (t == NULL)
		return;
	pg_close(t->chore.pg);
	free(t->dsn);
	free(t);
	w->state = NULL;
}

int
main(int argc, char **argv)
{
	static const struct worker_ops ops = {
	    .role = ROLE_TASK, .open = task_open, .tick = task_tick, .stop = task_stop};

	return skel_main(argc, argv, &ops);
}
