/* keeper: its lifecycle, and what becomes of each failure. */
#include <stdlib.h>
#include <string.h>

#include "keeper.h"
#include "log.h"
#include "mem.h"

enum {
	DSN_BYTES_MAX = 4096,
	CONNECT_MS_MAX = 2500,
	RETRY_MS_FIRST = 100,
	RETRY_MS_MAX = 5000,
	ANSWERS_A_TURN = 16, /* then frames and the supervisor get their turn */
	ANSWER_BYTES_MAX = 64 + CORE_BYTES_MAX + KEYREQ_SUBJECTS_MAX * (SUBJECT_SECRET_BYTES + 2),
};

static const char *const settings[] = {
    "jit=off",
    "search_path=pg_catalog",
    "default_transaction_isolation=read committed",
    "lock_timeout=5s",
    "statement_timeout=15s",
    "idle_in_transaction_session_timeout=15s",
    "client_connection_check_interval=5s",
    NULL,
};

static bool
serve(void *ctx)
{
	return skel_serve(ctx);
}

static bool
dsn_read(struct keeper *k, struct err *e)
{
	struct buf dsn = {0};

	if (k->w->login_fd < 0)
		return err_set(e, EXIT_CONFIG, "no login file was handed over; run `weir apply`");
	bool got = skel_read_fd(k->w->login_fd, DSN_BYTES_MAX, &dsn, e);
	while (dsn.len && (dsn.data[dsn.len - 1] == '\n' || dsn.data[dsn.len - 1] == '\r'))
		dsn.len--;
	if (got)
		k->dsn = mem_string_n((const char *)dsn.data, dsn.len);
	if (dsn.data)
		explicit_bzero(dsn.data, dsn.cap);
	buf_free(&dsn);
	return got || err_context(e, "login file");
}

static bool
keeper_open(struct worker *w, struct err *e)
{
	struct keeper *k = mem_zero(1, sizeof *k);

	(void)e;
	w->state = k;
	k->w = w;
	k->retry_ms = RETRY_MS_FIRST;
	return true;
}

/* Behind the sandbox: undumpable, and as the user that the key file must allow. */
static bool
keeper_start(struct worker *w, struct err *e)
{
	struct keeper *k = w->state;
	int sealer = skel_key(w, "sealer.key"), policy = skel_key(w, "policy");

	if (!dsn_read(k, e))
		return false;
	if (sealer < 0 && policy < 0 && model_exchange(w->model))
		return true; /* the supervisor hands both over where something is sealed */
	if (sealer < 0 || policy < 0)
		return err_set(e, EXIT_CONFIG, "policy and sealer.key were not handed over");
	if (!skel_read_fd(policy, POLICY_BYTES_MAX, &k->policy_file, e))
		return err_context(e, "policy");
	if (!secret_open(true, e))
		return false;
	enum seal_error read = keyfile_read(sealer, NULL, &k->sealer);
	if (read != SEAL_OK)
		return seal_fail(e, read, "sealer.key");
	return key_label_is(k->sealer, KEY_SEALER, "", 0) ||
	       err_set(e, EXIT_PERMISSION, "sealer.key holds another key than its name says");
}

/* ---- the database ---- */

static bool
connected(struct keeper *k, struct err *e)
{
	struct facts facts;

	if (pg_alive(k->pg))
		return true;
	if (k->pg)
		metric_add(k->w->page, METRIC_CONNECTIONS_LOST, 1);
	pg_close(k->pg);
	k->pg = NULL;
	if (!pg_connect(k->dsn, "weir keeper", settings, CONNECT_MS_MAX, &k->pg, e))
		return false;
	pg_on_wait(k->pg, serve, k->w);
	if (store_facts(k->pg, k->w->model->pipeline.s, &facts, e) &&
	    (!k->sealer || keeper_policy_check(k, &facts, wall_now_us() / 1000, e))) {
		k->met = true;
		return true;
	}
	pg_close(k->pg);
	k->pg = NULL;
	return false;
}

/*
 * What waiting can help is waited for. What has been well before and is no longer (a login or a
 * policy that was replaced) may be so with the files as they are now: the next life reads those.
 */
static bool
failure_take(struct keeper *k, const struct err *failure, struct err *e)
{
	struct worker *w = k->w;

	if (w->ending)
		return true;
	if (failure->code == EXIT_UNAVAILABLE) {
		if (w->wait != WAIT_WAREHOUSE)
			log_warn("%s; waiting", failure->text);
		skel_wait(w, WAIT_WAREHOUSE, "%s", failure->text);
		k->due = mono_add_ms(mono_now(), k->retry_ms);
		k->retry_ms = k->retry_ms * 2 < RETRY_MS_MAX ? k->retry_ms * 2 : RETRY_MS_MAX;
		return true;
	}
	*e = *failure;
	if (k->met)
		e->code = EXIT_UNAVAILABLE;
	return false;
}

/* ---- requests ---- */

static void
answer_send(struct keeper *k, unsigned to, const struct keyans *a)
{
	struct buf body = {0};

	if (!pipe_peered(k->w->pipes, ROLE_INGEST))
		return; /* who asked is gone */
	/* At once as large as it gets, so that no copy is left behind; the pipe wipes it. */
	buf_reserve(&body, FRAME_HEAD_BYTES + ANSWER_BYTES_MAX);
	pipe_body_start(&body);
	wire_keyans_write(&body, a);
	pipe_send(k->w->pipes, ROLE_INGEST, to, FRAME_KEYANS, 0, 1, &body);
}

static void
full_tell(struct keeper *k, unsigned from, const struct keyreq *q)
{
	static const char why[] = "the keeper has too many requests waiting";
	struct keyans a = {
	    .kind = q->kind, .request = q->request, .reason = why, .reason_len = sizeof why - 1};

	metric_add(k->w->page, METRIC_KEYS_REFUSED, 1);
	answer_send(k, from, &a);
}

static bool
keeper_frame(struct worker *w, const struct frame *f, struct err *e)
{
	struct keeper *k = w->state;
	struct pack_reader r = {0};
	struct keyreq q;
	bool good = true;

	pack_reader_start(&r, f->body, f->head.bytes);
	for (uint32_t i = 0; good && i < f->head.count; i++) {
		good = wire_keyreq_read(&r, &q);
		if (!good)
			break;
		metric_add(w->page, METRIC_KEY_REQUESTS, 1);
		if (!queue_add(&k->queue, f->from_index, &q))
			full_tell(k, f->from_index, &q);
	}
	if (!good || !pack_reader_end(&r))
		good = err_set(e, EXIT_BUG, "%s from ingest.%u: %s",
			       frame_name((enum frame_type)f->head.type), f->from_index,
			       r.failed ? r.why : "bytes behind the last request");
	pack_reader_free(&r);
	return good;
}

/* Who asked is gone or has been told too: it asks again, by other numbers. */
static void
keeper_peer(struct worker *w)
{
	struct keeper *k = w->state;

	queue_clear(&k->queue);
}

static bool
turn(struct keeper *k, struct err *e)
{
	if (!connected(k, e))
		return false;
	for (int i = 0; i < ANSWERS_A_TURN && k->queue.n; i++) {
		if (!keeper_answer(k, mono_now(), wall_now_us() / 1000, answer_send, e))
			return false;
		skel_progress(k->w);
	}
	return true;
}

static bool
keeper_tick(struct worker *w, struct mono now, struct mono *next, struct err *e)
{
	struct keeper *k = w->state;
	struct err failure = {0};

	w->queued = k->queue.n;
	metric_set(w->page, METRIC_KEY_REQUESTS_WAITING, k->queue.n);
	*next = k->due;
	if (!mono_due(k->due, now))
		return true;
	if (!turn(k, &failure)) {
		bool going = failure_take(k, &failure, e);
		*next = k->due;
		return going;
	}
	k->retry_ms = RETRY_MS_FIRST;
	k->due = (struct mono){0};
	if (w->wait != WAIT_NOTHING)
		skel_wait(w, WAIT_NOTHING, "%s", "");
	w->queued = k->queue.n;
	metric_set(w->page, METRIC_KEY_REQUESTS_WAITING, k->queue.n);
	*next = k->queue.n ? now : mono_add_ms(now, CTL_STATS_MS);
	return true;
}

static void
keeper_stop(struct worker *w)
{
	struct keeper *k = w->state;

	if (k == NULL)
		return;
	queue_clear(&k->queue);
	pg_close(k->pg);
	key_free(k->sealer);
	policy_free(&k->policy);
	buf_free(&k->policy_file);
	if (k->dsn)
		explicit_bzero(k->dsn, strlen(k->dsn));
	free(k->dsn);
	free(k);
	w->state = NULL;
}

int
main(int argc, char **argv)
{
	static const struct worker_ops ops = {.role = ROLE_KEEPER,
					      .open = keeper_open,
					      .start = keeper_start,
					      .frame = keeper_frame,
					      .tick = keeper_tick,
					      .peer = keeper_peer,
					      .stop = keeper_stop};

	return skel_main(argc, argv, &ops);
}
