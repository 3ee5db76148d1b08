/* keys revoke: who opens what no more. Wraps and sealed secrets go; rows are touched with --reseal
 * alone, after that (keys_reseal.c). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keys.h"
#include "mem.h"

struct revoke {
	struct keys *k;
	const char *name;
	bool reseal;
	struct key *root, *holder; /* holder: with reseal */
	struct policy to;
	struct reseal_of of;
	struct rotation *renewed; /* roles of a member */
	unsigned renewed_n;
};

static bool
revoke_open(struct revoke *x, const char *what, struct err *e)
{
	x->name = keys_operand(x->k, 0);
	x->reseal = args_flag(&x->k->c->args, "reseal");
	x->of.what = what;
	x->of.name = x->name;
	policy_copy(&x->to, &x->k->policy);
	return !x->reseal || keys_holder(x->k, &x->holder, e);
}

static void
revoke_close(struct revoke *x)
{
	for (unsigned i = 0; i < x->renewed_n; i++)
		key_free(x->renewed[i].fresh);
	free(x->renewed);
	free(x->of.classes.s);
	key_free(x->root);
	key_free(x->holder);
	policy_free(&x->to);
}

/* Who is to open the rows must be able to when everything else is done. */
static bool
holder_check(const struct revoke *x, struct err *e)
{
	char name[NAME_BYTES_MAX + 1];
	enum key_type type;
	unsigned epoch;

	if (key_type(x->holder) == KEY_ESCROW)
		return true;
	const struct policy_member *m = key_label_parse(key_label(x->holder), &type, name, &epoch)
					    ? policy_member(&x->to, name)
					    : NULL;
	for (unsigned i = 0; i < x->of.classes.n; i++) {
		const struct policy_class *c = policy_class(&x->to, x->of.classes.s[i].s);
		bool opens = false;
		for (unsigned j = 0; m && c && j < c->roles.n; j++)
			opens |= name_list_has(&m->roles, c->roles.s[j].s);
		if (!opens)
			return err_set(e, EXIT_PERMISSION,
				       "the key of \"%s\" opens class %s no more then: --reseal "
				       "needs one of who stays, or escrow's",
				       key_label(x->holder), x->of.classes.s[i].s);
	}
	return true;
}

/* ---- the audit, and what it tells of an earlier run ---- */

static bool
audit_revoke(struct revoke *x, uint64_t serial, struct err *e)
{
	const char *purpose = args_value(&x->k->c->args, "purpose");
	struct buf detail = {0};
	char words[256];

	buf_printf(&detail, "{\"what\":\"%s\",\"name\":\"%s\",\"serial\":%llu", x->of.what, x->name,
		   (unsigned long long)serial);
	for (unsigned i = 0; x->reseal && i < x->of.classes.n; i++)
		buf_printf(&detail, "%s\"%s\"", i ? "," : ",\"reseal\":[", x->of.classes.s[i].s);
	buf_text(&detail, x->reseal && x->of.classes.n ? "]}" : "}");
	snprintf(words, sizeof words, "revoke %s %s", x->of.what, x->name);
	bool good =
	    keys_audit(x->k, "revoke", purpose ? purpose : words, buf_cstr(&detail), NULL, e);
	buf_free(&detail);
	return good;
}

/* Classes of an earlier --reseal and the serial from which on envelopes are new. */
static bool
begun_read(const struct revoke *x, struct name_list *classes, uint64_t *serial, bool *found,
	   struct err *e)
{
	const char *const params[] = {x->k->id, x->of.what, x->name, NULL};
	struct pg_result *r;

	if (!owner_query(x->k->pg,
			 "SELECT a.detail->>'serial', c FROM (SELECT detail FROM key_schema.audit "
			 "WHERE pipeline = $1::int AND kind = 'revoke' AND detail->>'what' = $2 "
			 "AND detail->>'name' = $3 AND detail ? 'reseal' ORDER BY id DESC LIMIT 1) "
			 "a, jsonb_array_elements_text(a.detail->'reseal') c",
			 params, &r, e))
		return false;
	*found = pg_rows(r) > 0;
	for (unsigned i = 0; i < pg_rows(r); i++) {
		*serial = (uint64_t)pg_int(r, i, 0);
		name_list_add(classes, pg_text(r, i, 1));
	}
	pg_result_free(r);
	return true;
}

static void
reseal_next(struct revoke *x)
{
	if (x->renewed_n || !strcmp(x->of.what, "member"))
		keys_next(x->k,
			  "`weir apply %s` and `kill -HUP`; then the same command once more, for "
			  "what was sealed until then; then `weir keys rotate role ROLE --finish`",
			  x->k->file);
	else
		keys_next(x->k,
			  "`weir apply %s` and `kill -HUP`; then the same command once more, for "
			  "what was sealed until then",
			  x->k->file);
}

static bool
reseal_run(struct revoke *x, struct err *e)
{
	if (!keys_reseal(x->k, x->holder, &x->of, e))
		return false;
	reseal_next(x);
	return true;
}

/* ---- a member ---- */

static bool
member_rows_drop(struct keys *k, const char *name, struct err *e)
{
	const char *const params[] = {k->id, name, NULL};
	struct pg_result *r;

	if (!owner_query(k->pg,
			 "DELETE FROM key_schema.role_key WHERE pipeline = $1::int "
			 "AND member = $2",
			 params, &r, e))
		return false;
	keys_did(k, "took away %llu role secrets that were sealed to %s",
		 (unsigned long long)pg_affected(r), name);
	pg_result_free(r);
	return true;
}

/* What init left for apply to publish must not come back. */
static void
sealed_files_drop(struct keys *k, const struct policy_member *m)
{
	char file[2 * NAME_BYTES_MAX + 64];

	for (unsigned i = 0; i < m->roles.n; i++) {
		const struct policy_role *role = policy_role(&k->policy, m->roles.s[i].s);
		snprintf(file, sizeof file, "role-%s-%u.%s.sealed", m->roles.s[i].s,
			 role ? role->epoch : 0, m->name.s);
		unlinkat(k->dir, file, 0);
	}
}

static void
member_tell(struct keys *k, const char *name, bool reseal, const char *role)
{
	keys_did(k,
		 "from the next `weir apply` on no release gives %s a role secret, and "
		 "no hand-over is sealed to %s",
		 name, name);
	if (!reseal)
		keys_not(k,
			 "what %s opened or copied before stays known to %s, and so does a role "
			 "secret that %s kept: it opens wraps that %s can still read; rows stay "
			 "under their data keys (--reseal seals them anew)",
			 name, name, name, name);
	keys_not(k, "the login of %s is not touched: REVOKE data_scientists from it", name);
	if (*role)
		keys_next(k,
			  "`weir keys rotate role %s %s` makes a kept secret useless for "
			  "everything published after it",
			  role, k->file);
}

/* A role's secret may have been kept: with --reseal its roles get another, and what they open is
 * sealed anew. */
static bool
member_reseal_prepare(struct revoke *x, const struct policy_member *m, struct err *e)
{
	const struct policy *p = &x->k->policy;

	x->renewed = mem_zero(m->roles.n ? m->roles.n : 1, sizeof *x->renewed);
	for (unsigned i = 0; i < m->roles.n; i++) {
		const struct policy_role *role = policy_role(&x->to, m->roles.s[i].s);
		if (!role)
			continue;
		struct rotation *r = &x->renewed[x->renewed_n++];
		*r = (struct rotation){
		    .k = x->k, .holder = x->holder, .to = &x->to, .name = role->name.s};
		if (!keys_role_prepare(r, e))
			return false;
		for (unsigned j = 0; j < p->classes_n; j++)
			if (name_list_has(&p->classes[j].roles, role->name.s))
				name_list_add(&x->of.classes, p->classes[j].name.s);
	}
	return holder_check(x, e);
}

static bool
member_revoke(struct revoke *x, const struct policy_member *m, struct err *e)
{
	struct keys *k = x->k;

	if (!keys_policy_review(k, &x->to, e) || !keys_begin(k, e) ||
	    !member_rows_drop(k, x->name, e))
		return false;
	for (unsigned i = 0; i < x->renewed_n; i++)
		if (!keys_role_renew(&x->renewed[i], e))
			return false;
	if (!audit_revoke(x, k->policy.serial + 1, e) || !keys_commit(k, e))
		return false;
	sealed_files_drop(k, m);
	for (unsigned i = 0; i < x->renewed_n; i++)
		if (!keys_role_file(&x->renewed[i], e))
			return false;
	/* m is of the policy that goes. */
	if (!keys_policy_sign(k, &x->to, x->root, e))
		return false;
	for (unsigned i = 0; i < x->renewed_n; i++)
		if (!keys_role_renewed(&x->renewed[i], e))
			return false;
	x->of.serial = k->policy.serial;
	return true;
}

/* The policy was signed in an earlier run, which did not end, or rows came after it. */
static bool
member_again(struct revoke *x, struct err *e)
{
	bool found = false;

	if (!x->reseal)
		return err_set(e, EXIT_USAGE, "there is no member \"%.80s\"", x->name);
	if (!begun_read(x, &x->of.classes, &x->of.serial, &found, e))
		return false;
	if (!found)
		return err_set(e, EXIT_USAGE,
			       "there is no member \"%.80s\", and none was revoked with --reseal",
			       x->name);
	keys_did(x->k, "%s was revoked before; sealing goes on", x->name);
	return holder_check(x, e) && reseal_run(x, e);
}

bool
keys_revoke_member(struct keys *k, struct err *e)
{
	struct revoke x = {.k = k};
	struct name first = {0};

	bool good = revoke_open(&x, "member", e);
	const struct policy_member *m = policy_member(&k->policy, x.name);
	if (good && !m) {
		good = member_again(&x, e);
	} else if (good) {
		if (m->roles.n)
			first = m->roles.s[0];
		for (unsigned i = 0; i < x.to.handoffs_n; i++)
			name_list_remove(&x.to.handoffs[i].recipients, x.name);
		policy_member_remove(&x.to, x.name);
		good = keys_root(k, &x.root, e) && (!x.reseal || member_reseal_prepare(&x, m, e)) &&
		       member_revoke(&x, m, e);
		if (good)
			member_tell(k, x.name, x.reseal, x.reseal ? "" : first.s);
		good = good && (!x.reseal || reseal_run(&x, e));
	}
	revoke_close(&x);
	return good;
}

/* ---- a role ---- */

static bool
wraps_drop(struct keys *k, const uint8_t *pk, const char *class, uint64_t *n, struct err *e)
{
	uint8_t rkid[KEY_ID_BYTES];
	struct pg_result *r;

	key_id(pk, rkid);
	const struct pg_param params[] = {
	    {.data = k->id},
	    {.data = rkid, .len = sizeof rkid, .binary = true, .type = 17},
	    {.data = class},
	};
	if (!pg_query(k->pg,
		      "DELETE FROM key_schema.wrap w USING key_schema.envelope e "
		      "WHERE w.pipeline "
		      "= $1::int AND e.pipeline = w.pipeline AND e.kid = w.kid AND "
		      "w.rkid = $2 AND "
		      "e.class = $3",
		      params, 3, false, &r, e))
		return false;
	*n += pg_affected(r);
	pg_result_free(r);
	return true;
}

static bool
classes_take(struct revoke *x, struct err *e)
{
	const char *const *classes;
	unsigned n = args_list(&x->k->c->args, "class", &classes);

	if (!n)
		return err_set(e, EXIT_USAGE, "which class may role %s open no more? --class CLASS",
			       x->name);
	for (unsigned i = 0; i < n; i++) {
		struct policy_class *c = NULL;
		for (unsigned j = 0; j < x->to.classes_n; j++)
			if (!strcmp(x->to.classes[j].name.s, classes[i]))
				c = &x->to.classes[j];
		if (!c)
			return err_set(e, EXIT_USAGE, "there is no class \"%.80s\"", classes[i]);
		name_list_remove(&c->roles, x->name);
		name_list_add(&x->of.classes, classes[i]);
	}
	return !x->reseal || holder_check(x, e);
}

/* Nothing changes in the policy: an earlier run did it, and with --reseal it said from when on. */
static bool
role_serial(struct revoke *x, struct err *e)
{
	struct name_list begun = {0};
	uint64_t serial = 0;
	bool found = false, all = true;

	x->of.serial = x->k->policy.serial + !x->k->unchanged;
	if (!x->reseal || !x->k->unchanged)
		return true;
	if (!begun_read(x, &begun, &serial, &found, e))
		return false;
	for (unsigned i = 0; i < x->of.classes.n; i++)
		all &= name_list_has(&begun, x->of.classes.s[i].s);
	if (found && all)
		x->of.serial = serial;
	free(begun.s);
	return true;
}

static bool
role_revoke(struct revoke *x, const uint8_t *pk, uint64_t *wraps, struct err *e)
{
	struct keys *k = x->k;

	if (!keys_root(k, &x->root, e) || !keys_policy_review(k, &x->to, e) || !role_serial(x, e) ||
	    !keys_begin(k, e))
		return false;
	for (unsigned i = 0; i < x->of.classes.n; i++)
		if (!wraps_drop(k, pk, x->of.classes.s[i].s, wraps, e))
			return false;
	return audit_revoke(x, x->of.serial, e) && keys_commit(k, e) &&
	       keys_policy_sign(k, &x->to, x->root, e);
}

bool
keys_revoke_role(struct keys *k, struct err *e)
{
	const struct policy_role *role = policy_role(&k->policy, keys_operand(k, 0));
	uint8_t pk[KEY_PUBLIC_BYTES];
	struct revoke x = {.k = k};
	uint64_t wraps = 0;

	if (!role)
		return err_set(e, EXIT_USAGE, "there is no role \"%.80s\"", keys_operand(k, 0));
	memcpy(pk, role->pk, sizeof pk);
	bool good =
	    revoke_open(&x, "role", e) && classes_take(&x, e) && role_revoke(&x, pk, &wraps, e);
	if (good) {
		keys_data(k, "wraps", "%llu", (unsigned long long)wraps);
		keys_did(k, "took away %llu wraps of role %s", (unsigned long long)wraps, x.name);
		if (!x.reseal)
			keys_not(k,
				 "data keys that a member of %s kept still open what was sealed "
				 "with them (--reseal seals it anew)",
				 x.name);
		keys_next(k,
			  "`weir apply %s` and `kill -HUP`; then once more, for keys that were "
			  "published until then",
			  k->file);
	}
	good = good && (!x.reseal || reseal_run(&x, e));
	revoke_close(&x);
	return good;
}
