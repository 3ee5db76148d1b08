/* science: one hand-over. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "opened.h"
#include "science.h"
#include "seal/digest.h"
#include "seal/handover.h"
#include "seal/policy_model.h"

enum { CONNECT_MS_MAX = 2500, DETAIL_BYTES_MAX = 8192 };

static const char *const settings[] = {
    "search_path=development_schema",
    "timezone=UTC",
    "datestyle=ISO",
    "bytea_output=hex",
    "lock_timeout=10s",
    "idle_in_transaction_session_timeout=10min",
    "client_connection_check_interval=5s",
    NULL,
};

struct making {
	struct science *s;
	const struct handoff *h;
	struct policy policy;
	struct pg *reader, *asker;
	struct release *release;
	struct handover_writer *writer;
	int dir;
	struct place place;
	struct handed *out;
	struct opened_counts counts;
	struct err put; /* why the sink failed */
};

static bool
serve(void *ctx)
{
	return skel_serve(ctx);
}

static bool
connect_one(struct making *x, struct pg **out, struct err *e)
{
	if (!pg_connect(x->s->dsn, "weir science", settings, CONNECT_MS_MAX, out, e))
		return false;
	pg_on_wait(*out, serve, x->s->w);
	return true;
}

/* Everything that can refuse comes before the first row is asked for. */
static bool
making_check(struct making *x, struct err *e)
{
	const struct science *s = x->s;

	if (!connect_one(x, &x->reader, e) || !connect_one(x, &x->asker, e))
		return false;
	return release_policy(x->asker, s->w->model->pipeline.s, s->w->has_root ? s->w->root : NULL,
			      &s->policy_file, false, &x->policy, e) &&
	       policy_handoff_check(&x->policy, x->h, e);
}

/* ---- the file ---- */

static bool
sink_put(void *of, const void *p, size_t n)
{
	struct making *x = of;
	const char *at = p;

	while (n) {
		ssize_t put = write(x->place.fd, at, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_errno(&x->put, EXIT_UNAVAILABLE, "cannot write to %s",
					 x->h->directory);
		at += put;
		n -= (size_t)put;
	}
	return true;
}

static bool
writer_fail(const struct making *x, enum seal_error why, struct err *e)
{
	if (why == SEAL_SYSTEM && x->put.code) {
		*e = x->put;
		return false;
	}
	return seal_fail(e, why, "hand-over %s", x->h->name.s);
}

static bool
rows_put(void *of, const void *p, size_t n, struct err *e)
{
	struct making *x = of;

	enum seal_error why = handover_write(x->writer, p, n);
	if (why != SEAL_OK)
		return writer_fail(x, why, e);
	skel_progress(x->s->w);
	return skel_serve(x->s->w) || err_set(e, EXIT_UNAVAILABLE, "the supervisor is gone");
}

static bool
file_begin(struct making *x, struct err *e)
{
	uint8_t pks[RECIPIENTS_MAX][KEY_PUBLIC_BYTES];
	const struct handoff *h = x->h;
	struct handover_head head = {.created_ms = wall_now_us() / 1000,
				     .pipeline = x->s->w->model->pipeline,
				     .name = h->name};

	memcpy(head.policy_hash, x->policy.hash, sizeof head.policy_hash);
	snprintf(head.format, sizeof head.format, "%s",
		 h->format == HANDOFF_CSV ? "csv" : "ndjson");
	snprintf(head.purpose, sizeof head.purpose, "%s", h->purpose);
	for (unsigned i = 0; i < h->recipients_n; i++)
		memcpy(pks[i], policy_member(&x->policy, h->recipients[i].s)->pk, KEY_PUBLIC_BYTES);
	x->dir = open(h->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->dir < 0)
		return err_errno(e, EXIT_CONFIG,
				 "cannot open \"%s\" (with users of their own for the roles, group "
				 "64200 must be able to write there)",
				 h->directory);
	if (!place_begin(x->dir, head.pipeline.s, h->name.s, wall_now_us(), &x->place, e))
		return err_context(e, "\"%s\"", h->directory);
	snprintf(x->out->file, sizeof x->out->file, "%s", x->place.file);
	struct handover_sink sink = {sink_put, x};
	enum seal_error why = handover_start(&head, (const uint8_t(*)[KEY_PUBLIC_BYTES])pks,
					     h->recipients_n, sink, &x->writer);
	return why == SEAL_OK || writer_fail(x, why, e);
}

static bool
file_rows(struct making *x, struct err *e)
{
	const struct science *s = x->s;
	struct release_setup setup = {.pg = x->asker,
				      .pipeline = s->w->model->pipeline.s,
				      .policy = &x->policy,
				      .keys = (const struct key *const *)s->keys,
				      .keys_n = s->keys_n,
				      .purpose = x->h->purpose};
	x->release = release_new(&setup);
	struct opened_setup rows = {.pg = x->reader,
				    .release = x->release,
				    .model = x->s->w->model,
				    .policy = &x->policy,
				    .query = x->h->query,
				    .format =
					x->h->format == HANDOFF_CSV ? OPENED_CSV : OPENED_NDJSON,
				    .columns = &policy_handoff(&x->policy, x->h->name.s)->columns,
				    .put = rows_put,
				    .of = x};
	return opened_run(&rows, &x->counts, e);
}

static bool
file_end(struct making *x, struct err *e)
{
	uint8_t digest[FILE_DIGEST_BYTES];

	enum seal_error why = handover_finish(x->writer);
	if (why != SEAL_OK)
		return writer_fail(x, why, e);
	if (fsync(x->place.fd))
		return err_errno(e, EXIT_UNAVAILABLE, "cannot write to %s", x->h->directory);
	if (!digest_file(x->place.fd, digest, &x->out->bytes, e))
		return false;
	for (unsigned i = 0; i < sizeof digest; i++)
		snprintf(x->out->digest + 2 * i, 3, "%02x", digest[i]);
	x->out->rows = x->counts.rows;
	x->out->opened = x->counts.opened;
	x->out->erased = x->counts.erased;
	x->out->failed = x->counts.failed;
	return true;
}

/* Who, what, why; when is the row's own. Names are checked by the policy: no escapes are needed. */
static void
detail_make(const struct making *x, struct buf *b)
{
	buf_printf(b,
		   "{\"handoff\":\"%s\",\"file\":\"%s\",\"rows\":%llu,\"opened\":%llu,"
		   "\"erased\":%llu,\"failed\":%llu,\"bytes\":%llu,\"sha256\":\"%s\","
		   "\"serial\":%llu,\"recipients\":[",
		   x->h->name.s, x->out->file, (unsigned long long)x->out->rows,
		   (unsigned long long)x->out->opened, (unsigned long long)x->out->erased,
		   (unsigned long long)x->out->failed, (unsigned long long)x->out->bytes,
		   x->out->digest, (unsigned long long)x->policy.serial);
	for (unsigned i = 0; i < x->h->recipients_n; i++)
		buf_printf(b, "%s\"%s\"", i ? "," : "", x->h->recipients[i].s);
	buf_text(b, "]}");
}

/* Before the file has its name: a row without a file can be, a file without a row cannot. */
static bool
audit(struct making *x, struct err *e)
{
	struct buf detail = {0};
	struct pg_result *r;

	detail_make(x, &detail);
	const struct pg_param params[] = {{.data = x->s->w->model->pipeline.s},
					  {.data = x->h->purpose},
					  {.data = buf_cstr(&detail)}};
	bool good =
	    pg_query(x->asker, "SELECT key_schema.audit_write($1, 'handoff', $2, $3::jsonb)",
		     params, 3, false, &r, e);
	if (good) {
		x->out->audit = pg_int(r, 0, 0);
		pg_result_free(r);
	}
	buf_free(&detail);
	return good || err_context(e, "audit");
}

static void
making_end(struct making *x)
{
	handover_writer_free(x->writer);
	release_free(x->release);
	pg_close(x->reader);
	pg_close(x->asker);
	policy_free(&x->policy);
	place_end(&x->place);
	if (x->dir >= 0)
		close(x->dir);
}

bool
handover_make(struct science *s, const struct handoff *h, struct handed *out, struct err *e)
{
	struct making x = {.s = s, .h = h, .dir = -1, .place = {.fd = -1}, .out = out};

	*out = (struct handed){0};
	bool good = making_check(&x, e) && file_begin(&x, e) && file_rows(&x, e) &&
		    file_end(&x, e) && audit(&x, e) && place_keep(&x.place, e);
	making_end(&x);
	return good || err_context(e, "hand-over %s", h->name.s);
}
