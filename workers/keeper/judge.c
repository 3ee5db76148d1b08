#include "keeper.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

unsigned
rate_limit(const struct model *m)
{
	int64_t window_ms = m->limits.key_window_us / 1000;
	int64_t windows = window_ms > 0 ? (RATE_MS + window_ms - 1) / window_ms : 1;
	int64_t needed = 2 * windows * m->classes_n;

	if (needed < ENVELOPES_PER_MINUTE_MAX)
		return ENVELOPES_PER_MINUTE_MAX;
	return needed < RATES_KEPT ? (unsigned)needed : RATES_KEPT;
}

bool
rate_take(struct rate *r, unsigned limit, struct mono now)
{
	check(limit > 0 && limit <= RATES_KEPT);
	const struct mono *oldest = &r->at[(r->next + RATES_KEPT - limit) % RATES_KEPT];

	if (oldest->us && mono_since_ms(*oldest, now) < RATE_MS)
		return false;
	r->at[r->next] = now;
	r->next = (r->next + 1) % RATES_KEPT;
	return true;
}

bool
judge_publish(const struct policy *p, const char *pipeline, const struct keyreq *k, int64_t now_ms,
	      struct core *core, char why[static REASON_MAX + 1])
{
	enum seal_error usable = policy_usable(p, pipeline, p->serial, now_ms);

	if (usable != SEAL_OK) {
		snprintf(why, REASON_MAX + 1, "the policy cannot be used: %s (%s)",
			 seal_error_words(usable), seal_error_name(usable));
		return false;
	}
	enum seal_error admitted =
	    envelope_admit(k->core, k->core_len, k->wraps, k->wraps_n, p, now_ms, core);
	if (admitted == SEAL_POLICY)
		snprintf(why, REASON_MAX + 1,
			 "the envelope is not of this policy, pipeline or class (policy); a new "
			 "policy is in force once `weir apply` has run");
	else if (admitted != SEAL_OK)
		snprintf(why, REASON_MAX + 1, "the envelope: %s (%s)", seal_error_words(admitted),
			 seal_error_name(admitted));
	else if (strlen(core->class.s) != k->class_len ||
		 memcmp(core->class.s, k->class, k->class_len) != 0)
		snprintf(why, REASON_MAX + 1, "the envelope is of another class than was said");
	else
		return true;
	return false;
}

bool
keeper_policy_check(struct keeper *k, const struct facts *facts, int64_t now_ms, struct err *e)
{
	const char *pipeline = k->w->model->pipeline.s;
	struct policy p = {0};
	uint8_t id[KEY_ID_BYTES], pk[KEY_PUBLIC_BYTES];

	if (!facts->has_root)
		return err_set(e, EXIT_CONFIG,
			       "the warehouse pins no policy root for pipeline %s; `weir apply` "
			       "installs the policy",
			       pipeline);
	enum seal_error read =
	    policy_decode(k->policy_file.data, k->policy_file.len, facts->root, &p);
	if (read == SEAL_SIGNATURE)
		return err_set(e, EXIT_PERMISSION,
			       "the policy file is not signed by the root that the warehouse pins; "
			       "`weir keys policy root` replaces a root");
	if (read != SEAL_OK)
		return seal_fail(e, read, "the policy file");
	if (p.serial < facts->serial) {
		err_set(e, EXIT_PERMISSION,
			"the policy file has serial %llu, the warehouse has seen %llu: an older "
			"policy is not used",
			(unsigned long long)p.serial, (unsigned long long)facts->serial);
		policy_free(&p);
		return false;
	}
	enum seal_error usable = policy_usable(&p, pipeline, facts->serial, now_ms);
	key_id(key_public(k->sealer), id);
	bool good = usable == SEAL_OK || seal_fail(e, usable, "the policy file");
	if (good && !policy_sealer_listed(&p, id, pk))
		good =
		    err_set(e, EXIT_PERMISSION,
			    "the policy does not list sealer.key: envelopes signed with it would "
			    "open for nobody");
	if (!good) {
		policy_free(&p);
		return false;
	}
	policy_free(&k->policy);
	k->policy = p;
	memcpy(k->root, facts->root, sizeof k->root);
	return true;
}
