/* answer: one request after another, from the queue to the pipe. */
#include "keeper.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

typedef void send_fn(struct keeper *k, unsigned to, const struct keyans *a);

/* Who asks can tell by our serial whose policy is the older one. */
static bool
is_of_another_policy(const struct keeper *k, const struct keyreq *q)
{
	struct core core;

	return q->kind == KEY_PUBLISH &&
	       core_decode(q->core, q->core_len, false, &core) == SEAL_OK &&
	       memcmp(core.policy_hash, k->policy.hash, sizeof core.policy_hash) != 0;
}

/* A newer policy is in force as soon as the warehouse has it: nothing is signed under ours then. */
static bool
policy_holds(struct keeper *k, struct err *e)
{
	struct facts is;

	if (!store_facts(k->pg, k->w->model->pipeline.s, &is, e))
		return false;
	if (is.has_root && is.serial <= k->policy.serial &&
	    !memcmp(is.root, k->root, sizeof is.root))
		return true;
	return err_set(e, EXIT_PERMISSION,
		       "a policy of serial %llu is in force, ours is %llu; the key files are read "
		       "anew",
		       (unsigned long long)is.serial, (unsigned long long)k->policy.serial);
}

static void
refuse(struct keeper *k, const struct request *r, const struct keyreq *q, const char *why,
       send_fn *send)
{
	struct keyans a = {.kind = q->kind, .request = q->request, .reason = why};

	a.reason_len = (uint32_t)strnlen(why, REASON_MAX);
	a.policy_serial = is_of_another_policy(k, q) ? k->policy.serial : 0;
	log_warn("ingest.%u is refused: %s", r->from, why);
	metric_add(k->w->page, METRIC_KEYS_REFUSED, 1);
	send(k, r->from, &a);
}

/* A refusal of the database's that no repetition would change: of these bytes, not of our login. */
static bool
is_of_these_bytes(const struct keeper *k)
{
	return pg_fault(pg_sqlstate(k->pg)) == PG_BAD_ROW;
}

static bool
publish(struct keeper *k, struct request *r, const struct keyreq *q, struct mono now,
	int64_t now_ms, send_fn *send, struct err *e)
{
	const char *pipeline = k->w->model->pipeline.s;
	char why[REASON_MAX + 1];
	struct core core;
	struct buf whole = {0};

	if (!policy_holds(k, e))
		return false;
	if (!judge_publish(&k->policy, pipeline, q, now_ms, &core, why)) {
		refuse(k, r, q, why, send);
		return true;
	}
	unsigned limit = rate_limit(k->w->model);
	if (!r->counted && !rate_take(&k->rates[r->from], limit, now)) {
		snprintf(why, sizeof why, "more than %u envelopes in a minute", limit);
		refuse(k, r, q, why, send);
		return true;
	}
	r->counted = true; /* when the database has to be asked again, it stays one */
	core_sign(&core, k->sealer, &whole);
	bool good = store_publish(k->pg, pipeline, &core, &whole, q, e);
	if (good) {
		struct keyans a = {.kind = q->kind, .request = q->request, .ok = true};
		a.core = whole.data;
		a.core_len = (uint32_t)whole.len;
		metric_add(k->w->page, METRIC_KEYS_PUBLISHED, 1);
		send(k, r->from, &a);
	} else if (is_of_these_bytes(k)) {
		refuse(k, r, q,
		       "the warehouse refuses the envelope: another one of that key is there",
		       send);
		good = true;
	}
	buf_free(&whole);
	return good;
}

static bool
subjects(struct keeper *k, const struct request *r, const struct keyreq *q, send_fn *send,
	 struct err *e)
{
	bool erased[KEYREQ_SUBJECTS_MAX];
	struct buf secrets = {0};
	struct keyans a = {.kind = q->kind, .request = q->request, .ok = true};

	bool good = store_secrets(k->pg, k->w->model->pipeline.s, q, &secrets, erased, e);
	if (good) {
		a.secrets_n = q->sids_n;
		for (uint32_t i = 0; i < q->sids_n; i++)
			a.secrets[i] =
			    erased[i] ? NULL : secrets.data + (size_t)i * SUBJECT_SECRET_BYTES;
		metric_add(k->w->page, METRIC_SUBJECT_SECRETS, q->sids_n);
		send(k, r->from, &a);
	} else if (is_of_these_bytes(k)) {
		refuse(k, r, q, "the warehouse refuses the subjects", send);
		good = true;
	}
	if (secrets.data)
		secret_wipe(secrets.data, secrets.cap);
	buf_free(&secrets);
	return good;
}

static bool
facts_tell(struct keeper *k, const struct request *r, const struct keyreq *q, send_fn *send,
	   struct err *e)
{
	struct keyans a = {.kind = q->kind, .request = q->request, .ok = true};
	struct facts facts;

	if (!store_facts(k->pg, k->w->model->pipeline.s, &facts, e))
		return false;
	memcpy(a.hash_key, facts.hash_key, sizeof a.hash_key);
	a.has_policy = facts.has_root;
	memcpy(a.policy_root, facts.root, sizeof a.policy_root);
	a.pinned_serial = facts.serial;
	send(k, r->from, &a);
	return true;
}

static bool
answer(struct keeper *k, struct request *r, const struct keyreq *q, struct mono now, int64_t now_ms,
       send_fn *send, struct err *e)
{
	if (q->kind == KEY_FACTS)
		return facts_tell(k, r, q, send, e);
	if (!k->sealer) {
		refuse(k, r, q, "this keeper has no sealer key: the pipeline seals nothing", send);
		return true;
	}
	return q->kind == KEY_PUBLISH ? publish(k, r, q, now, now_ms, send, e)
				      : subjects(k, r, q, send, e);
}

bool
keeper_answer(struct keeper *k, struct mono now, int64_t now_ms, send_fn *send, struct err *e)
{
	struct request *r = queue_first(&k->queue);
	struct pack_reader reader = {0};
	struct keyreq q;

	if (!r)
		return true;
	pack_reader_start(&reader, r->item.data, r->item.len);
	bool read = wire_keyreq_read(&reader, &q);
	check(read); /* we wrote it */
	bool good = answer(k, r, &q, now, now_ms, send, e);
	pack_reader_free(&reader);
	if (good)
		queue_drop(&k->queue);
	return good;
}
