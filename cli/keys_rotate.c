/* keys rotate: new data keys, a new epoch of a role, a new epoch of a token
 * domain; a new root. */
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rundir.h"
#include "seal/token.h"

/* ---- data ---- */

bool
keys_rotate_data(struct keys *k, struct err *e)
{
	struct rundir_note notes[RUNDIR_FOUND_MAX];
	unsigned n = rundir_find(notes, RUNDIR_FOUND_MAX), told = 0;

	for (unsigned i = 0; i < n; i++) {
		if (strcmp(notes[i].pipeline, k->m->pipeline.s))
			continue;
		if (kill(notes[i].pid, SIGHUP))
			return err_errno(e, EXIT_PERMISSION, "cannot signal the supervisor, pid %d",
					 (int)notes[i].pid);
		keys_did(k,
			 "told the supervisor %s (pid %d): all workers are born anew, and every "
			 "ingest begins a new data key for each class",
			 notes[i].instance, (int)notes[i].pid);
		told++;
	}
	keys_data(k, "supervisors", "%u", told);
	if (!told)
		keys_not(k,
			 "pipeline %s does not run on this machine; a start begins with "
			 "new data "
			 "keys anyway",
			 k->m->pipeline.s);
	keys_not(k, "data keys change by themselves every 15 minutes; what was "
		    "sealed before stays "
		    "under the keys it has");
	return true;
}

/* ---- role ---- */

static bool
holder_adds(struct rotation *x, const struct key *from, const uint8_t *pk, struct err *e)
{
	return keys_rewrap(x->k, from, pk, NULL, &x->sum, e);
}

/* The secrets of epochs that are not in the policy any more, as far as the
 * holder has them. */
static bool
epochs_rewrap(struct rotation *x, const uint8_t *to, struct err *e)
{
	const char *const params[] = {x->k->id, x->name, NULL};
	struct buf pk = {0};
	struct pg_result *r;

	if (!owner_query(x->k->pg,
			 "SELECT DISTINCT epoch, pk FROM key_schema.role_key WHERE pipeline = "
			 "$1::int AND role = $2 ORDER BY epoch",
			 params, &r, e))
		return false;
	bool good = true;
	for (unsigned i = 0; good && i < pg_rows(r); i++) {
		const char *text = pg_text(r, i, 1);
		struct key *old = NULL;
		buf_clear(&pk);
		if (!keys_unhex(text, strlen(text), &pk) || pk.len != KEY_PUBLIC_BYTES)
			good = err_set(e, EXIT_DATA, "role %s: a damaged public key", x->name);
		else if (memcmp(pk.data, to, KEY_PUBLIC_BYTES))
			good = keys_role_secret(x->k, x->holder, x->name, (unsigned)pg_int(r, i, 0),
						pk.data, &old, e) &&
			       holder_adds(x, old, to, e);
		key_free(old);
	}
	pg_result_free(r);
	buf_free(&pk);
	return good;
}

/*
 * Wraps of older epochs go only where the new one stands beside them; *left:
 * those that stay. The sealed secrets of older epochs go when no wrap of theirs
 * is left and the restart is over.
 */
static bool
old_drop(struct rotation *x, const uint8_t *to, bool secrets, uint64_t *gone, struct err *e)
{
	uint8_t rkid[KEY_ID_BYTES];
	struct pg_result *r;

	key_id(to, rkid);
	const struct pg_param params[] = {
	    {.data = x->k->id},
	    {.data = x->name},
	    {.data = rkid, .len = sizeof rkid, .binary = true, .type = 17},
	};
	if (!pg_query(x->k->pg,
		      "DELETE FROM key_schema.wrap w WHERE w.pipeline = $1::int AND "
		      "w.rkid IN "
		      "(SELECT rkid FROM key_schema.role_key WHERE pipeline = "
		      "$1::int AND role = $2 "
		      "AND rkid <> $3) AND EXISTS (SELECT FROM key_schema.wrap t "
		      "WHERE t.pipeline = "
		      "w.pipeline AND t.kid = w.kid AND t.rkid = $3)",
		      params, 3, false, &r, e))
		return false;
	*gone = pg_affected(r);
	pg_result_free(r);
	if (!secrets)
		return true;
	return pg_query(x->k->pg,
			"DELETE FROM key_schema.role_key k WHERE pipeline = $1::int AND role = "
			"$2 "
			"AND rkid <> $3 AND NOT EXISTS (SELECT FROM key_schema.wrap w WHERE "
			"w.pipeline = k.pipeline AND w.rkid = k.rkid)",
			params, 3, false, NULL, e);
}

static void
rewrap_tell(struct rotation *x, uint64_t gone)
{
	keys_data(x->k, "wraps", "%llu", (unsigned long long)x->sum.added);
	keys_data(x->k, "dropped", "%llu", (unsigned long long)gone);
	keys_data(x->k, "seconds", "%.3f", (double)x->sum.us / 1e6);
	keys_did(x->k,
		 "added %llu wraps for the new key in %.3f s and took away %llu of "
		 "the old one; no "
		 "row was touched",
		 (unsigned long long)x->sum.added, (double)x->sum.us / 1e6,
		 (unsigned long long)gone);
	if (x->sum.failed)
		keys_not(x->k, "%llu envelopes did not open; `weir keys verify` names them",
			 (unsigned long long)x->sum.failed);
}

/* The new secret for escrow and every member of the role. */
static bool
fresh_seal(struct rotation *x, unsigned epoch, struct err *e)
{
	const struct policy *p = x->to;

	if (!keys_role_seal(x->k, x->fresh, x->name, epoch, "escrow", p->escrow, e))
		return false;
	for (unsigned i = 0; i < p->members_n; i++)
		if (name_list_has(&p->members[i].roles, x->name) &&
		    !keys_role_seal(x->k, x->fresh, x->name, epoch, p->members[i].name.s,
				    p->members[i].pk, e))
			return false;
	return true;
}

/* Where science opens as this role, its file follows. */
static bool
science_file(struct rotation *x, unsigned epoch, struct err *e)
{
	char was[KEY_LABEL_MAX + 8], file[KEY_LABEL_MAX + 8];

	snprintf(was, sizeof was, "role-%s-%u.key", x->name, epoch - 1);
	snprintf(file, sizeof file, "role-%s-%u.key", x->name, epoch);
	if (faccessat(x->k->dir, was, F_OK, AT_SYMLINK_NOFOLLOW))
		return true;
	if (!keyfile_create(x->k->dir, file, x->fresh, NULL, NULL, e))
		return false;
	keys_did(x->k, "made %s/%s for science; %s stays until --finish", x->k->m->keys_dir, file,
		 was);
	return true;
}

static bool
audit_rotate(struct keys *k, const char *what, const char *name, unsigned epoch, struct err *e)
{
	const char *purpose = args_value(&k->c->args, "purpose");
	char detail[256], words[128];

	snprintf(detail, sizeof detail, "{\"what\":\"%s\",\"name\":\"%s\",\"epoch\":%u}", what,
		 name, epoch);
	snprintf(words, sizeof words, "rotate %s %s", what, name);
	return keys_audit(k, "rotate", purpose ? purpose : words, detail, NULL, e);
}

bool
keys_role_prepare(struct rotation *x, struct err *e)
{
	const struct policy_role *now = policy_role(&x->k->policy, x->name);

	x->epoch = now->epoch + 1;
	enum seal_error why = key_generate(KEY_ROLE, x->name, x->epoch, &x->fresh);
	if (why != SEAL_OK)
		return seal_fail(e, why, "a new role key");
	for (unsigned i = 0; i < x->to->roles_n; i++)
		if (!strcmp(x->to->roles[i].name.s, x->name)) {
			x->to->roles[i].epoch = x->epoch;
			memcpy(x->to->roles[i].pk, key_public(x->fresh), KEY_PUBLIC_BYTES);
		}
	return true;
}

bool
keys_role_renew(struct rotation *x, struct err *e)
{
	return fresh_seal(x, x->epoch, e) && epochs_rewrap(x, key_public(x->fresh), e) &&
	       audit_rotate(x->k, "role", x->name, x->epoch, e);
}

bool
keys_role_file(struct rotation *x, struct err *e)
{
	return science_file(x, x->epoch, e);
}

bool
keys_role_renewed(struct rotation *x, struct err *e)
{
	uint64_t gone = 0;

	if (!old_drop(x, key_public(x->fresh), false, &gone, e))
		return false;
	keys_data(x->k, "epoch", "%u", x->epoch);
	rewrap_tell(x, gone);
	keys_not(x->k, "keys that ingest publishes until its restart are still for the old key");
	return true;
}

static bool
role_rotate(struct rotation *x, const struct key *root, struct err *e)
{
	if (!keys_role_prepare(x, e) || !keys_policy_review(x->k, x->to, e) ||
	    !keys_begin(x->k, e) || !keys_role_renew(x, e) || !keys_commit(x->k, e) ||
	    !keys_role_file(x, e) || !keys_policy_sign(x->k, x->to, root, e) ||
	    !keys_role_renewed(x, e))
		return false;
	keys_next(x->k,
		  "`weir apply %s`, restart the pipeline or `kill -HUP` its "
		  "supervisor, then `weir "
		  "keys rotate role %s --finish`",
		  x->k->file, x->name);
	return true;
}

static void
science_file_drop(struct rotation *x, unsigned epoch)
{
	char was[KEY_LABEL_MAX + 8];

	snprintf(was, sizeof was, "role-%s-%u.key", x->name, epoch - 1);
	if (epoch > 1 && !unlinkat(x->k->dir, was, 0))
		keys_did(x->k, "removed %s/%s", x->k->m->keys_dir, was);
}

static bool
role_finish(struct rotation *x, struct err *e)
{
	const struct policy_role *now = policy_role(&x->k->policy, x->name);
	uint64_t gone = 0;

	if (!keys_begin(x->k, e) || !epochs_rewrap(x, now->pk, e) ||
	    !old_drop(x, now->pk, true, &gone, e) ||
	    !audit_rotate(x->k, "role, finished", x->name, now->epoch, e) || !keys_commit(x->k, e))
		return false;
	rewrap_tell(x, gone);
	science_file_drop(x, now->epoch);
	keys_did(x->k, "took away the old secret of role %s: it opens nothing any more", x->name);
	return true;
}

bool
keys_rotate_role(struct keys *k, struct err *e)
{
	struct policy to = {0};
	struct rotation x = {.k = k, .name = keys_operand(k, 0), .to = &to};
	struct key *root = NULL, *holder = NULL;
	bool finish = args_flag(&k->c->args, "finish");

	if (!policy_role(&k->policy, x.name))
		return err_set(e, EXIT_USAGE, "there is no role \"%.80s\"", x.name);
	policy_copy(&to, &k->policy);
	bool good = (finish || keys_root(k, &root, e)) && keys_holder(k, &holder, e);
	x.holder = holder;
	good = good && (finish ? role_finish(&x, e) : role_rotate(&x, root, e));
	key_free(root);
	key_free(holder);
	key_free(x.fresh);
	policy_free(&to);
	return good;
}

/* ---- token ---- */

bool
keys_rotate_token(struct keys *k, struct err *e)
{
	const char *name = keys_operand(k, 0);
	static struct keys_file found[KEYS_FILES_MAX];
	char file[KEY_LABEL_MAX + 8];
	struct key *key = NULL;
	unsigned n;

	bool known = false;
	for (unsigned i = 0; i < k->m->domains_n; i++)
		known |= !strcmp(k->m->domains[i].name.s, name);
	if (!known)
		return err_set(e, EXIT_USAGE, "%s has no token domain \"%.80s\"", k->file, name);
	if (!keys_list(k, KEY_TOKEN, name, found, KEYS_FILES_MAX, &n, e))
		return false;
	unsigned epoch = n ? found[n - 1].epoch + 1 : 1;
	if (epoch > TOKEN_EPOCH_MAX)
		return err_set(e, EXIT_CONFIG, "domain %s has had its %d epochs", name,
			       TOKEN_EPOCH_MAX);
	snprintf(file, sizeof file, "token-%s-%u.key", name, epoch);
	enum seal_error why = key_generate(KEY_TOKEN, name, epoch, &key);
	bool good = (why == SEAL_OK || seal_fail(e, why, "a new token key")) &&
		    keyfile_create(k->dir, file, key, NULL, NULL, e);
	key_free(key);
	if (!good)
		return false;
	keys_data(k, "epoch", "%u", epoch);
	keys_did(
	    k, "made %s/%s: ingest makes tokens of epoch %u with it as soon as the policy lists it",
	    k->m->keys_dir, file, epoch);
	if (n)
		keys_not(k, "tokens and sids that are in the warehouse stay as they are: those of "
			    "different epochs do not join. Keep the older key files: `weir keys "
			    "erase` needs them to find a person in every epoch");
	keys_not(k,
		 "the policy does not list it yet: ingest does not start with a token key that is "
		 "not signed");
	keys_next(k,
		  "`weir keys policy sign %s`, then `weir apply %s`, then restart the pipeline, or "
		  "`kill -HUP` its supervisor",
		  k->file, k->file);
	return true;
}

/* ---- root ---- */

static bool
root_pin(struct keys *k, const struct key *old, const struct key *new, struct err *e)
{
	uint8_t signature[KEY_SIGNATURE_BYTES];
	struct buf hex = {0}, detail = {0};
	char serial[24];
	struct pg_result *r;

	policy_root_replace(old, k->m->pipeline.s, k->policy.serial + 1, key_public(new),
			    signature);
	keys_hex(&hex, signature, sizeof signature);
	buf_printf(&detail, "{\"what\":\"root\",\"serial\":%llu,\"signature\":\"%s\",\"root\":\"",
		   (unsigned long long)k->policy.serial + 1, buf_cstr(&hex));
	keys_hex(&detail, key_public(new), KEY_PUBLIC_BYTES);
	buf_text(&detail, "\"}");
	snprintf(serial, sizeof serial, "%llu", (unsigned long long)k->policy.serial);
	const struct pg_param params[] = {
	    {.data = k->id},
	    {.data = key_public(new), .len = KEY_PUBLIC_BYTES, .binary = true, .type = 17},
	    {.data = key_public(old), .len = KEY_PUBLIC_BYTES, .binary = true, .type = 17},
	    {.data = serial},
	};
	bool good = pg_query(k->pg,
			     "UPDATE admin_schema.pipeline SET policy_root = $2 WHERE id = $1::int "
			     "AND policy_root = $3 AND policy_serial <= $4::bigint",
			     params, 4, false, &r, e);
	if (good && pg_affected(r) != 1)
		good = err_set(e, EXIT_PERMISSION,
			       "the warehouse pins another root, or a later policy is in force");
	if (good)
		pg_result_free(r);
	good = good && keys_audit(k, "policy", "replace the root", buf_cstr(&detail), NULL, e);
	buf_free(&hex);
	buf_free(&detail);
	return good;
}

static bool
root_files(struct keys *k, const struct key *new, const struct kdf_limits *limits, struct err *e)
{
	char path[KEYS_PATH_MAX];
	struct buf hex = {0};

	keys_path(k, "root-key", "root.key", path);
	if (!keyfile_create(k->dir, "root.key.new", new, k->passphrase, limits, e))
		return false;
	if (!args_value(&k->c->args, "root-key") &&
	    renameat(k->dir, "root.key", k->dir, "root.key.old"))
		return err_errno(e, EXIT_PERMISSION, "cannot move %s aside", path);
	if (renameat(k->dir, "root.key.new", k->dir, "root.key"))
		return err_errno(e, EXIT_PERMISSION, "cannot put root.key in its place");
	keys_hex(&hex, key_public(new), KEY_PUBLIC_BYTES);
	buf_byte(&hex, '\n');
	bool good = keys_write(k, "root.pub", hex.data, hex.len, e);
	buf_free(&hex);
	return good;
}

bool
keys_new_root(struct keys *k, struct err *e)
{
	struct key *old = NULL, *new = NULL;
	struct policy to = {0};
	struct kdf_limits limits;

	policy_copy(&to, &k->policy);
	bool good = keys_kdf(k, &limits, e) && keys_root(k, &old, e) && keys_passphrase(k, true, e);
	if (good) {
		enum seal_error why = key_generate(KEY_ROOT, "", 0, &new);
		good = why == SEAL_OK || seal_fail(e, why, "a new root");
	}
	k->renew = true;
	good = good && keys_begin(k, e) && root_pin(k, old, new, e) &&
	       keys_policy_sign(k, &to, new, e) && root_files(k, new, &limits, e) &&
	       keys_commit(k, e);
	if (good) {
		keys_did(k, "the warehouse pins the new root; the old one signed that it may, and "
			    "the audit chain keeps its signature");
		keys_not(k, "the old root's file is kept beside the new one as root.key.old where "
			    "it was in the directory: destroy it");
	}
	key_free(old);
	key_free(new);
	policy_free(&to);
	return good;
}
