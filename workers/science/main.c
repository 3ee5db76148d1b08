/* science: its lifecycle, due times, and what becomes of each failure. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"
#include "science.h"

enum {
	DSN_BYTES_MAX = 4096,
	RETRY_MS_FIRST = 500,
	RETRY_MS_MAX = 60000,
	LOOK_MS = 1000,
};

static bool
dsn_read(struct science *s, struct err *e)
{
	struct buf dsn = {0};

	if (s->w->login_fd < 0)
		return err_set(e, EXIT_CONFIG, "no login file was handed over; run `weir apply`");
	bool got = skel_read_fd(s->w->login_fd, DSN_BYTES_MAX, &dsn, e);
	while (dsn.len && (dsn.data[dsn.len - 1] == '\n' || dsn.data[dsn.len - 1] == '\r'))
		dsn.len--;
	if (got)
		s->dsn = mem_string_n((const char *)dsn.data, dsn.len);
	if (dsn.data)
		secret_wipe(dsn.data, dsn.cap);
	buf_free(&dsn);
	return got || err_context(e, "login file");
}

/* A file that holds another key than its name says was put there by mistake, or not by mistake. */
static bool
role_key_read(struct science *s, int fd, const char *file, struct err *e)
{
	char name[NAME_BYTES_MAX + 1], label[KEY_LABEL_MAX + 1];
	enum key_type type;
	unsigned epoch;
	struct key *key = NULL;
	size_t n = strlen(file);

	if (n < 4 || n - 4 > KEY_LABEL_MAX)
		return true;
	snprintf(label, sizeof label, "%.*s", (int)(n - 4), file);
	if (!key_label_parse(label, &type, name, &epoch) || type != KEY_ROLE ||
	    s->keys_n == ROLE_KEYS_MAX)
		return true;
	enum seal_error why = keyfile_read(fd, NULL, &key);
	if (why != SEAL_OK)
		return seal_fail(e, why, "%s", file);
	s->keys[s->keys_n++] = key;
	return key_label_is(key, KEY_ROLE, name, epoch) ||
	       err_set(e, EXIT_PERMISSION, "%s holds another key than its name says", file);
}

static void
dues_set(struct science *s)
{
	const struct model *m = s->w->model;
	int64_t now = wall_now_us();

	for (unsigned i = 0; i < m->handoffs_n; i++) {
		const struct handoff *h = &m->handoffs[i];
		bool named = *s->w->handoff && !strcmp(s->w->handoff, h->name.s);
		s->due_us[i] = named ? now : INT64_MAX;
		/* A bounded run ends with its sources: it does not wait for hand-overs. */
		if (*s->w->handoff || s->w->bounded || !h->every_us)
			continue;
		int dir = open(h->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		int64_t last = dir < 0 ? INT64_MIN : place_last(dir, m->pipeline.s, h->name.s);
		if (dir >= 0)
			close(dir);
		s->due_us[i] = last == INT64_MIN ? now : last + h->every_us;
	}
}

static bool
science_open(struct worker *w, struct err *e)
{
	struct science *s = mem_zero(1, sizeof *s);

	(void)e;
	w->state = s;
	s->w = w;
	s->retry_ms = RETRY_MS_FIRST;
	return true;
}

/* Behind the sandbox: undumpable, and as the user that the key files must allow. */
static bool
science_start(struct worker *w, struct err *e)
{
	struct science *s = w->state;
	int policy = skel_key(w, "policy");

	if (!dsn_read(s, e))
		return false;
	if (policy < 0)
		return err_set(e, EXIT_CONFIG, "the policy was not handed over");
	if (!skel_read_fd(policy, POLICY_BYTES_MAX, &s->policy_file, e))
		return err_context(e, "policy");
	if (!secret_open(true, e))
		return false;
	for (unsigned i = 0; i < w->keys_n; i++)
		if (!role_key_read(s, w->keys[i].fd, w->keys[i].name, e))
			return false;
	if (!s->keys_n)
		return err_set(
		    e, EXIT_PERMISSION,
		    "no role key is in the key directory; `weir keys grant science ROLE` "
		    "puts one there");
	dues_set(s);
	return true;
}

static void
result_tell(struct science *s, const struct handed *h, const char *name)
{
	char line[ERR_TEXT_MAX];

	snprintf(
	    line, sizeof line,
	    "{\"handoff\":\"%s\",\"file\":\"%s\",\"rows\":%llu,\"opened\":%llu,\"erased\":%llu,"
	    "\"failed\":%llu,\"bytes\":%llu,\"sha256\":\"%s\",\"audit\":%lld}",
	    name, h->file, (unsigned long long)h->rows, (unsigned long long)h->opened,
	    (unsigned long long)h->erased, (unsigned long long)h->failed,
	    (unsigned long long)h->bytes, h->digest, (long long)h->audit);
	log_info("%s", line);
	if (*s->w->handoff)
		skel_end(s->w, EXIT_DONE, "%s", line);
}

/* What waiting can help is waited for; else this hand-over fails, or the run that was for it. */
static void
failure_take(struct science *s, unsigned i, const struct err *failure)
{
	struct worker *w = s->w;

	if (w->ending)
		return;
	log_warn("%s", failure->text);
	if (failure->code == EXIT_UNAVAILABLE) {
		skel_wait(w, WAIT_WAREHOUSE, "%s", failure->text);
		s->retry = mono_add_ms(mono_now(), s->retry_ms);
		s->retry_ms = s->retry_ms * 2 < RETRY_MS_MAX ? s->retry_ms * 2 : RETRY_MS_MAX;
	} else if (*w->handoff) {
		skel_end(w, failure->code, "%s", failure->text);
	} else {
		/* A refusal lasts until somebody signs: it is said again at the next due time. */
		s->due_us[i] = wall_now_us() + w->model->handoffs[i].every_us;
	}
}

static void
handover_do(struct science *s, unsigned i)
{
	const struct handoff *h = &s->w->model->handoffs[i];
	struct handed done;
	struct err failure = {0};
	int64_t begun = wall_now_us();

	if (!handover_make(s, h, &done, &failure)) {
		failure_take(s, i, &failure);
		return;
	}
	skel_wait(s->w, WAIT_NOTHING, "%s", "");
	skel_progress(s->w);
	s->retry_ms = RETRY_MS_FIRST;
	s->due_us[i] = h->every_us && !*s->w->handoff ? begun + h->every_us : INT64_MAX;
	result_tell(s, &done, h->name.s);
}

static bool
science_tick(struct worker *w, struct mono now, struct mono *next, struct err *e)
{
	struct science *s = w->state;

	*next = mono_add_ms(now, LOOK_MS);
	if (w->draining) {
		skel_end(w, EXIT_DONE, "%s", "drained");
		return true;
	}
	if (!mono_due(s->retry, now)) {
		*next = s->retry;
		return true;
	}
	bool known = !*w->handoff;
	for (unsigned i = 0; i < w->model->handoffs_n && !w->ending; i++) {
		known |= !strcmp(w->handoff, w->model->handoffs[i].name.s);
		if (s->due_us[i] <= wall_now_us())
			handover_do(s, i);
	}
	return known || err_set(e, EXIT_CONFIG, "there is no hand-over %s", w->handoff);
}

static void
science_stop(struct worker *w)
{
	struct science *s = w->state;

	if (!s)
		return;
	for (unsigned i = 0; i < s->keys_n; i++)
		key_free(s->keys[i]);
	buf_free(&s->policy_file);
	if (s->dsn)
		secret_wipe(s->dsn, strlen(s->dsn));
	free(s->dsn);
	free(s);
	w->state = NULL;
}

int
main(int argc, char **argv)
{
	static const struct worker_ops ops = {.role = ROLE_SCIENCE,
					      .open = science_open,
					      .start = science_start,
					      .tick = science_tick,
					      .stop = science_stop};

	return skel_main(argc, argv, &ops);
}
