/* keys grant: who opens what from now on. Rows and objects are never touched, only wraps. */
#include "keys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct grant {
	struct keys *k;
	struct key *root, *holder;
	struct policy to; /* what is to be signed */
};

static bool
grant_open(struct grant *x, bool holder, struct err *e)
{
	policy_copy(&x->to, &x->k->policy);
	return keys_root(x->k, &x->root, e) && (!holder || keys_holder(x->k, &x->holder, e));
}

static void
grant_close(struct grant *x)
{
	key_free(x->root);
	key_free(x->holder);
	policy_free(&x->to);
}

static struct policy_member *
member_find(struct policy *p, const char *name)
{
	for (unsigned i = 0; i < p->members_n; i++)
		if (!strcmp(p->members[i].name.s, name))
			return &p->members[i];
	return NULL;
}

static struct policy_class *
class_find(struct policy *p, const char *name)
{
	for (unsigned i = 0; i < p->classes_n; i++)
		if (!strcmp(p->classes[i].name.s, name))
			return &p->classes[i];
	return NULL;
}

static bool
audit_of(struct keys *k, const char *kind, const char *what, const char *name, const char *more,
	 struct err *e)
{
	const char *purpose = args_value(&k->c->args, "purpose");
	struct buf detail = {0};
	char words[256];

	buf_printf(&detail, "{\"what\":\"%s\",\"name\":\"%s\",\"serial\":%llu%s}", what, name,
		   (unsigned long long)k->policy.serial + !k->unchanged, more);
	snprintf(words, sizeof words, "%s %s %s", kind, what, name);
	bool good = keys_audit(k, kind, purpose ? purpose : words, buf_cstr(&detail), NULL, e);
	buf_free(&detail);
	return good;
}

/* ---- grant member ---- */

static bool
public_read(const char *path, uint8_t pk[static KEY_PUBLIC_BYTES], struct err *e)
{
	struct buf text = {0}, bytes = {0};

	bool good = file_read(path, 1024, &text, e);
	if (good &&
	    (!keys_unhex(buf_cstr(&text), text.len, &bytes) || bytes.len != KEY_PUBLIC_BYTES))
		good = err_set(e, EXIT_DATA, "%s does not hold 64 digits of a public key", path);
	if (good) {
		memcpy(pk, bytes.data, KEY_PUBLIC_BYTES);
		enum seal_error why = key_check_box(pk);
		good = why == SEAL_OK || seal_fail(e, why, "%s", path);
	}
	buf_free(&text);
	buf_free(&bytes);
	return good;
}

static bool
member_put(struct grant *x, const char *name, struct err *e)
{
	const char *path = args_value(&x->k->c->args, "public");
	struct policy_member *m = member_find(&x->to, name);
	const char *const *roles;
	uint8_t pk[KEY_PUBLIC_BYTES];
	unsigned n = args_list(&x->k->c->args, "role", &roles);

	if (!m && !path)
		return err_set(e, EXIT_USAGE,
			       "%s is no member yet: --public member-%s.pub, as `weir keys member "
			       "%s` makes it",
			       name, name, name);
	if (path && !public_read(path, pk, e))
		return false;
	if (m && path && memcmp(m->pk, pk, sizeof pk))
		return err_set(
		    e, EXIT_USAGE,
		    "%s is a member with another key; `weir keys revoke member %s` first", name,
		    name);
	if (!m) {
		m = policy_member_add(&x->to, name);
		memcpy(m->pk, pk, sizeof pk);
	}
	if (!n && x->to.roles_n == 1)
		name_list_add(&m->roles, x->to.roles[0].name.s);
	else if (!n && !m->roles.n)
		return err_set(e, EXIT_USAGE, "which role? --role NAME");
	for (unsigned i = 0; i < n; i++) {
		if (!policy_role(&x->to, roles[i]))
			return err_set(e, EXIT_USAGE, "there is no role \"%.80s\"", roles[i]);
		name_list_add(&m->roles, roles[i]);
	}
	return true;
}

static bool
secrets_seal(struct grant *x, const char *name, struct err *e)
{
	const struct policy_member *m = policy_member(&x->to, name);

	for (unsigned i = 0; i < m->roles.n; i++) {
		const struct policy_role *role = policy_role(&x->to, m->roles.s[i].s);
		struct key *secret = NULL;
		bool good = keys_role_secret(x->k, x->holder, role->name.s, role->epoch, role->pk,
					     &secret, e) &&
			    keys_role_seal(x->k, secret, role->name.s, role->epoch, name, m->pk, e);
		key_free(secret);
		if (!good)
			return err_context(e, "role %s", role->name.s);
		keys_did(x->k, "sealed the secret of role %s, epoch %u, to %s", role->name.s,
			 role->epoch, name);
	}
	return true;
}

bool
keys_grant_member(struct keys *k, struct err *e)
{
	const char *name = keys_operand(k, 0);
	struct grant x = {.k = k};

	bool good = keys_name_check("member", name, e) && grant_open(&x, true, e) &&
		    member_put(&x, name, e) && keys_policy_review(k, &x.to, e) &&
		    keys_begin(k, e) && secrets_seal(&x, name, e) &&
		    audit_of(k, "grant", "member", name, "", e) && keys_commit(k, e) &&
		    keys_policy_sign(k, &x.to, x.root, e);
	if (good) {
		keys_did(k, "no row and no wrap was touched: what the roles open, %s opens", name);
		keys_not(k,
			 "%s has no login of the warehouse by this; the administrator grants "
			 "data_scientists",
			 name);
		keys_next(k,
			  "`weir apply %s`; then %s opens with `weir open TABLE --member-key "
			  "member-%s.key --purpose ..`",
			  k->file, name, name);
	}
	grant_close(&x);
	return good;
}

/* ---- grant role ---- */

/* The key with which the holder opens a class: its own (escrow), or that of a
 * role of the class. */
static bool
class_opener(struct grant *x, const struct policy_class *c, struct key **out, struct err *e)
{
	struct err last = {.code = EXIT_PERMISSION};

	*out = NULL;
	if (key_type(x->holder) == KEY_ESCROW)
		return true;
	snprintf(last.text, sizeof last.text, "class %s has no role", c->name.s);
	for (unsigned i = 0; i < c->roles.n; i++) {
		const struct policy_role *role = policy_role(&x->k->policy, c->roles.s[i].s);
		if (role && keys_role_secret(x->k, x->holder, role->name.s, role->epoch, role->pk,
					     out, &last))
			return true;
	}
	*e = last;
	return false;
}

static bool
class_rewrap(struct grant *x, const char *class, const uint8_t *pk, struct rewrapped *sum,
	     struct err *e)
{
	const struct policy_class *was = policy_class(&x->k->policy, class);
	struct key *opener = NULL;

	if (!class_opener(x, was, &opener, e))
		return err_context(e, "class %s", class);
	bool good = keys_rewrap(x->k, opener ? opener : x->holder, pk, class, sum, e);
	key_free(opener);
	return good;
}

/* A role that is there, or a new one with its first key in *fresh. */
static bool
role_put(struct grant *x, const char *name, struct key **fresh, struct err *e)
{
	if (policy_role(&x->to, name))
		return true;
	enum seal_error why = key_generate(KEY_ROLE, name, 1, fresh);
	if (why != SEAL_OK)
		return seal_fail(e, why, "a new role key");
	struct policy_role *r = policy_role_add(&x->to, name);
	r->epoch = 1;
	memcpy(r->pk, key_public(*fresh), KEY_PUBLIC_BYTES);
	/* Whoever holds an escrowed key holds the new one, and the member that was
   * named. */
	const char *member = args_value(&x->k->c->args, "member");
	struct policy_member *m = member ? member_find(&x->to, member) : NULL;
	if (member && !m)
		return err_set(e, EXIT_USAGE, "--member \"%.80s\" is no member", member);
	if (m)
		name_list_add(&m->roles, name);
	return true;
}

static bool
classes_put(struct grant *x, const char *role, struct err *e)
{
	const char *const *classes;
	unsigned n = args_list(&x->k->c->args, "class", &classes);

	if (!n)
		return err_set(e, EXIT_USAGE, "which class may role %s open? --class CLASS", role);
	for (unsigned i = 0; i < n; i++) {
		struct policy_class *c = class_find(&x->to, classes[i]);
		if (!c)
			return err_set(e, EXIT_USAGE, "there is no class \"%.80s\" in the policy",
				       classes[i]);
		name_list_add(&c->roles, role);
	}
	return true;
}

static bool
fresh_seal(struct grant *x, const struct key *fresh, const char *role, struct err *e)
{
	const char *member = args_value(&x->k->c->args, "member");

	if (!fresh)
		return true;
	if (!keys_role_seal(x->k, fresh, role, 1, "escrow", x->k->policy.escrow, e))
		return false;
	keys_did(x->k, "made role %s; its secret is sealed to escrow%s%s", role,
		 member ? " and to " : "", member ? member : "");
	return !member || keys_role_seal(x->k, fresh, role, 1, member,
					 policy_member(&x->k->policy, member)->pk, e);
}

/* The wraps are those of the classes as they were signed before; new envelopes
 * get theirs at ingest. */
static bool
role_rewrap(struct grant *x, const char *role, struct err *e)
{
	const uint8_t *pk = policy_role(&x->to, role)->pk;
	const char *const *classes;
	unsigned n = args_list(&x->k->c->args, "class", &classes);
	struct rewrapped sum = {0};

	for (unsigned i = 0; i < n; i++)
		if (!class_rewrap(x, classes[i], pk, &sum, e))
			return false;
	keys_data(x->k, "wraps", "%llu", (unsigned long long)sum.added);
	keys_data(x->k, "seconds", "%.3f", (double)sum.us / 1e6);
	keys_did(x->k, "added %llu wraps for role %s in %.3f s; no row was touched",
		 (unsigned long long)sum.added, role, (double)sum.us / 1e6);
	if (sum.failed)
		keys_not(x->k, "%llu envelopes did not open; `weir keys verify` names them",
			 (unsigned long long)sum.failed);
	return true;
}

bool
keys_grant_role(struct keys *k, struct err *e)
{
	const char *name = keys_operand(k, 0);
	struct grant x = {.k = k};
	struct key *fresh = NULL;

	bool good = keys_name_check("role", name, e) && grant_open(&x, true, e) &&
		    role_put(&x, name, &fresh, e) && classes_put(&x, name, e) &&
		    keys_policy_review(k, &x.to, e) && keys_begin(k, e) &&
		    role_rewrap(&x, name, e) && fresh_seal(&x, fresh, name, e) &&
		    audit_of(k, "grant", "role", name, "", e) && keys_commit(k, e) &&
		    keys_policy_sign(k, &x.to, x.root, e);
	if (good)
		keys_next(k,
			  "`weir apply %s`, then restart the pipeline or `kill -HUP` its "
			  "supervisor; keys published until then get their wrap from the same "
			  "command again",
			  k->file);
	key_free(fresh);
	grant_close(&x);
	return good;
}

/* ---- grant science: the one service that opens by itself ---- */

bool
keys_grant_science(struct keys *k, struct err *e)
{
	const char *name = keys_operand(k, 0);
	const struct policy_role *role = policy_role(&k->policy, name);
	struct key *holder = NULL, *secret = NULL;
	char file[KEY_LABEL_MAX + 8];

	if (!role)
		return err_set(e, EXIT_USAGE, "there is no role \"%.80s\"", name);
	snprintf(file, sizeof file, "role-%s-%u.key", name, role->epoch);
	bool good = keys_holder(k, &holder, e) &&
		    keys_role_secret(k, holder, name, role->epoch, role->pk, &secret, e) &&
		    keyfile_create(k->dir, file, secret, NULL, NULL, e) && keys_begin(k, e) &&
		    audit_of(k, "grant", "science", name, "", e) && keys_commit(k, e);
	if (good) {
		keys_did(k,
			 "made %s/%s: the science worker opens as role %s for the hand-overs "
			 "that the policy lists",
			 k->m->keys_dir, file, name);
		keys_next(k, "restart the pipeline, or `kill -HUP` its supervisor");
	}
	key_free(holder);
	key_free(secret);
	return good;
}
