/*
 * keys rotate sealer: another key that signs envelopes. The one before stays in the policy, since
 * what it signed is believed by it: nothing that is sealed is touched.
 */
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define SEALER_FILE "sealer.key"
#define SEALER_NEW  SEALER_FILE ".new"
#define SEALER_OLD  SEALER_FILE ".old"

/* The new key is kept before a policy names it, and in its place only once one does. */
static bool
sealer_keep(struct keys *k, const struct key *sealer, struct err *e)
{
	if (unlinkat(k->dir, SEALER_NEW, 0) && errno != ENOENT)
		return err_errno(e, EXIT_PERMISSION, "cannot remove %s/" SEALER_NEW,
				 k->m->keys_dir);
	return keyfile_create(k->dir, SEALER_NEW, sealer, NULL, NULL, e);
}

static bool
sealer_place(struct keys *k, struct err *e)
{
	if (renameat(k->dir, SEALER_FILE, k->dir, SEALER_OLD) && errno != ENOENT)
		return err_errno(e, EXIT_PERMISSION, "cannot move %s/" SEALER_FILE " aside",
				 k->m->keys_dir);
	if (renameat(k->dir, SEALER_NEW, k->dir, SEALER_FILE) || fsync(k->dir))
		return err_errno(e, EXIT_PERMISSION, "cannot put %s/" SEALER_FILE " in its place",
				 k->m->keys_dir);
	return true;
}

static bool
audit_sealer(struct keys *k, const struct key *sealer, struct err *e)
{
	const char *purpose = args_value(&k->c->args, "purpose");
	struct buf detail = {0};

	buf_text(&detail, "{\"what\":\"sealer\",\"key\":\"");
	keys_hex(&detail, key_public(sealer), KEY_PUBLIC_BYTES);
	buf_text(&detail, "\"}");
	bool good = keys_begin(k, e) &&
		    keys_audit(k, "rotate", purpose ? purpose : "rotate sealer", buf_cstr(&detail),
			       NULL, e) &&
		    keys_commit(k, e);
	buf_free(&detail);
	return good;
}

static void
sealer_tell(struct keys *k)
{
	keys_did(k,
		 "made %s/" SEALER_FILE "; the one before is " SEALER_OLD ": destroy it when "
		 "the keeper runs with the new one",
		 k->m->keys_dir);
	keys_not(k, "the policy lists the sealer before, too: what it signed opens by it. If it "
		    "was stolen, whoever has it and may write envelopes can add some that stand "
		    "for nobody's data");
	keys_next(k,
		  "`weir apply %s`, then restart the pipeline, or `kill -HUP` its supervisor; with "
		  "Secrets, these first",
		  k->file);
}

bool
keys_rotate_sealer(struct keys *k, struct err *e)
{
	struct policy to = {0};
	struct key *root = NULL, *sealer = NULL;

	if (k->policy.sealers_n == POLICY_SEALERS_MAX)
		return err_set(e, EXIT_CONFIG, "the policy has had its %d sealers",
			       POLICY_SEALERS_MAX);
	policy_copy(&to, &k->policy);
	bool good = keys_root(k, &root, e);
	if (good) {
		enum seal_error why = key_generate(KEY_SEALER, "", 0, &sealer);
		good = why == SEAL_OK || seal_fail(e, why, "a new sealer key");
	}
	if (good)
		policy_sealer_add(&to, key_public(sealer));
	good = good && keys_policy_review(k, &to, e) && sealer_keep(k, sealer, e) &&
	       audit_sealer(k, sealer, e) && keys_policy_sign(k, &to, root, e) &&
	       sealer_place(k, e);
	if (good)
		sealer_tell(k);
	key_free(root);
	key_free(sealer);
	policy_free(&to);
	return good;
}
