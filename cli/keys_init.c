/* keys init: everything a pipeline needs to seal, in one directory; keys
 * member: a person's key. */
#include "keys.h"
#include "login_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MADE_MAX = 8 + DOMAINS_MAX };

struct init {
	struct keys *k;
	struct kdf_limits limits;
	const char *member, *role;
	char user[NAME_BYTES_MAX + 1];
	struct key *root, *escrow, *audit, *sealer, *person, *role_key;
	char made[MADE_MAX][KEY_LABEL_MAX + 16]; /* taken away again after a failure */
	unsigned made_n;
};

static bool
made_add(struct init *x, const char *name)
{
	snprintf(x->made[x->made_n++], sizeof x->made[0], "%s", name);
	return true;
}

/* protect: under the passphrase; a service that starts by itself has nobody to
 * type it. */
static bool
key_make(struct init *x, enum key_type type, const char *name, unsigned epoch, bool protect,
	 struct key **out, struct err *e)
{
	char file[KEY_LABEL_MAX + 8];
	struct keys *k = x->k;

	enum seal_error why = key_generate(type, name, epoch, out);
	if (why != SEAL_OK)
		return seal_fail(e, why, "a new %s key", key_type_name(type));
	snprintf(file, sizeof file, "%s.key", key_label(*out));
	return keyfile_create(k->dir, file, *out, protect ? k->passphrase : NULL,
			      protect ? &x->limits : NULL, e) &&
	       made_add(x, file);
}

static void
user_name(char out[static NAME_BYTES_MAX + 1])
{
	const struct passwd *p = getpwuid(getuid());
	const char *name = p && p->pw_name[0] >= 'a' && p->pw_name[0] <= 'z' ? p->pw_name : "owner";
	size_t n = 0;

	for (; name[n] && n < NAME_BYTES_MAX; n++) {
		char c = name[n];
		bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		out[n] = (char)(good ? c : '_');
	}
	out[n] = 0;
}

static bool
names_choose(struct init *x, struct err *e)
{
	const struct args *a = &x->k->c->args;
	const char *const *roles;

	user_name(x->user);
	x->member = args_value(a, "member") ? args_value(a, "member") : x->user;
	x->role = args_list(a, "role", &roles) ? roles[0] : "data_science";
	return keys_name_check("--member", x->member, e) && keys_name_check("--role", x->role, e);
}

/* Nothing is ever overwritten: whoever loses a key loses what was sealed to it.
 */
static bool
directory_ready(struct keys *k, struct err *e)
{
	static const char *const taken[] = {"policy", "root.key", "escrow.key", "sealer.key"};

	if (!k->m->keys_dir)
		return err_set(e, EXIT_CONFIG,
			       "%s names no key directory; add a line `keys: keys/`", k->file);
	if (mkdir(k->m->keys_dir, 0700) && errno != EEXIST)
		return err_errno(e, EXIT_PERMISSION, "cannot make the key directory \"%s\"",
				 k->m->keys_dir);
	if (!keys_dir_open(k, e))
		return false;
	for (unsigned i = 0; i < sizeof taken / sizeof *taken; i++)
		if (!faccessat(k->dir, taken[i], F_OK, AT_SYMLINK_NOFOLLOW)) {
			keys_next(k, "`weir keys verify %s` looks at what is there", k->file);
			return err_set(e, EXIT_CONFIG,
				       "\"%s/%s\" is there already; keys are never overwritten",
				       k->m->keys_dir, taken[i]);
		}
	return true;
}

static bool
keys_make(struct init *x, struct err *e)
{
	struct key *token = NULL;

	if (!key_make(x, KEY_ROOT, "", 0, true, &x->root, e) ||
	    !key_make(x, KEY_ESCROW, "", 0, true, &x->escrow, e) ||
	    !key_make(x, KEY_AUDIT, "", 0, true, &x->audit, e) ||
	    !key_make(x, KEY_MEMBER, x->member, 0, true, &x->person, e) ||
	    !key_make(x, KEY_SEALER, "", 0, false, &x->sealer, e))
		return false;
	for (unsigned i = 0; i < x->k->m->domains_n; i++) {
		bool good = key_make(x, KEY_TOKEN, x->k->m->domains[i].name.s, 1, false, &token, e);
		key_free(token);
		token = NULL;
		if (!good)
			return false;
	}
	/* Only science opens as a role; without hand-overs no service holds its
   * secret. */
	if (x->k->m->handoffs_n)
		return key_make(x, KEY_ROLE, x->role, 1, false, &x->role_key, e);
	enum seal_error why = key_generate(KEY_ROLE, x->role, 1, &x->role_key);
	return why == SEAL_OK || seal_fail(e, why, "a new role key");
}

/* The first policy: who is who. Nothing is listed as sensitive before `policy
 * sign`. */
static bool
policy_first(struct init *x, struct err *e)
{
	struct policy *p = &x->k->policy;
	struct buf file = {0}, hex = {0};

	p->serial = 1;
	p->not_before_ms = keys_now_ms() - 60000;
	p->not_after_ms = p->not_before_ms + (int64_t)KEYS_VALID_DAYS * 86400000;
	p->pipeline = x->k->m->pipeline;
	struct policy_role *role = policy_role_add(p, x->role);
	role->epoch = 1;
	memcpy(role->pk, key_public(x->role_key), KEY_PUBLIC_BYTES);
	name_list_add(&policy_class_add(p, POLICY_DEAD_LETTER)->roles, x->role);
	struct policy_member *member = policy_member_add(p, x->member);
	memcpy(member->pk, key_public(x->person), KEY_PUBLIC_BYTES);
	name_list_add(&member->roles, x->role);
	memcpy(p->escrow, key_public(x->escrow), KEY_PUBLIC_BYTES);
	memcpy(p->audit, key_public(x->audit), KEY_PUBLIC_BYTES);
	policy_sealer_add(p, key_public(x->sealer));
	enum seal_error why = policy_sign(p, x->root, &file);
	keys_hex(&hex, key_public(x->root), KEY_PUBLIC_BYTES);
	buf_byte(&hex, '\n');
	bool good = (why == SEAL_OK || seal_fail(e, why, "the first policy")) &&
		    keys_write(x->k, "root.pub", hex.data, hex.len, e) && made_add(x, "root.pub") &&
		    keys_write(x->k, "policy", file.data, file.len, e) && made_add(x, "policy");
	buf_free(&file);
	buf_free(&hex);
	return good;
}

static void
init_tell(const struct init *x)
{
	struct keys *k = x->k;
	const char *d = k->m->keys_dir;

	keys_data(k, "member", "\"%s\"", x->member);
	keys_data(k, "role", "\"%s\"", x->role);
	keys_did(k, "made %s/root.key: signs policies. Move it offline, now", d);
	keys_did(k,
		 "made %s/escrow.key: opens everything but what is bound to a "
		 "person, when all "
		 "role keys are lost. Move it offline, now",
		 d);
	keys_did(k,
		 "made %s/audit.key: signs heads of the audit chain. Move it to who "
		 "audits",
		 d);
	keys_did(k, "made %s/member-%s.key: opens as a member of role %s. Hand it to %s", d,
		 x->member, x->role, x->member);
	keys_did(k, "made %s/sealer.key: the keeper's, signs key envelopes; stays, mode 0600", d);
	for (unsigned i = 0; i < k->m->domains_n; i++)
		keys_did(k, "made %s/token-%s-1.key: ingest's, makes tokens; stays, mode 0600", d,
			 k->m->domains[i].name.s);
	if (k->m->handoffs_n)
		keys_did(k,
			 "made %s/role-%s-1.key: science's, opens for hand-overs; stays, "
			 "mode 0600",
			 d, x->role);
	else
		keys_did(k,
			 "made role %s; its secret is sealed to %s and to escrow, no "
			 "service has it",
			 x->role, x->member);
	keys_did(k, "signed the first policy, serial 1: nothing is listed as sensitive yet");
	keys_not(k, "a role that no living member or escrow key can open is lost "
		    "with its data: "
		    "keep escrow.key and its passphrase well");
	keys_next(k,
		  "`weir keys policy sign %s`, then move root.key, escrow.key and "
		  "audit.key away",
		  k->file);
}

static void
init_close(struct init *x, bool good)
{
	for (unsigned i = 0; !good && i < x->made_n; i++)
		unlinkat(x->k->dir, x->made[i], 0);
	key_free(x->root);
	key_free(x->escrow);
	key_free(x->audit);
	key_free(x->sealer);
	key_free(x->person);
	key_free(x->role_key);
}

/* ---- the key of queue identities ---- */

/* The file's directory, where it is not there yet. */
static bool
rid_directory(const char *path, struct err *e)
{
	char directory[LOGIN_PATH_MAX];
	char *slash;

	snprintf(directory, sizeof directory, "%s", path);
	slash = strrchr(directory, '/');
	if (!slash || slash == directory)
		return true;
	*slash = 0;
	return directory_make(directory, e);
}

static bool
rid_make(struct keys *k, struct err *e)
{
	const char *path = k->m->rid_key_path;

	if (!rid_directory(path, e) || !rid_key_make(k->m, e))
		return false;
	keys_did(k,
		 "made %s: ingest's, makes the identities of queue messages; stays, mode 0600. "
		 "Every host of the pipeline needs this one; keep a copy, it cannot be made again",
		 path);
	return true;
}

/* One of apply's, or of before, goes on: under another, sent-again messages would count twice. */
static bool
rid_add(struct keys *k, struct err *e)
{
	const char *path = k->m->rid_key_path;

	if (!path)
		return true;
	if (access(path, F_OK))
		return rid_make(k, e);
	keys_did(k, "kept %s, which is there already", path);
	return true;
}

bool
keys_rid(struct keys *k, struct err *e)
{
	const char *path = k->m->rid_key_path;

	if (!path)
		return err_set(e, EXIT_CONFIG, "%s has no rid_key; only queues need one", k->file);
	if (!access(path, F_OK))
		return err_set(e, EXIT_CONFIG,
			       "\"%s\" is there already; keys are never overwritten", path);
	return rid_make(k, e);
}

/* The policy is made last: with it everything is there. */
static bool
made_before(const struct keys *k)
{
	char path[KEYS_PATH_MAX];

	if (!args_flag(&k->c->args, "if-none") || !k->m->keys_dir)
		return false;
	keys_path(k, NULL, "policy", path);
	return !access(path, F_OK);
}

bool
keys_init(struct keys *k, struct err *e)
{
	struct init x = {.k = k};

	if (made_before(k)) {
		keys_not(k, "made nothing: %s has keys already", k->m->keys_dir);
		return true;
	}
	bool good = names_choose(&x, e) && keys_kdf(k, &x.limits, e) && directory_ready(k, e) &&
		    keys_passphrase(k, true, e) && keys_make(&x, e) &&
		    keys_role_seal(k, x.role_key, x.role, 1, x.member, key_public(x.person), e) &&
		    keys_role_seal(k, x.role_key, x.role, 1, "escrow", key_public(x.escrow), e) &&
		    policy_first(&x, e) && rid_add(k, e);
	if (good)
		init_tell(&x);
	init_close(&x, good);
	return good;
}

/* ---- a person's own key, made where the person is ---- */

static bool
member_write(struct keys *k, const char *name, const struct kdf_limits *limits,
	     const char *directory, struct err *e)
{
	char file[KEY_LABEL_MAX + 8], public[KEY_LABEL_MAX + 8];
	struct key *key = NULL;
	struct buf hex = {0};
	int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return err_errno(e, EXIT_PERMISSION, "cannot open the directory \"%s\"", directory);
	snprintf(file, sizeof file, "member-%s.key", name);
	snprintf(public, sizeof public, "member-%s.pub", name);
	enum seal_error why = key_generate(KEY_MEMBER, name, 0, &key);
	bool good = (why == SEAL_OK || seal_fail(e, why, "a new member key")) &&
		    keyfile_create(dir, file, key, k->passphrase, limits, e);
	if (good) {
		keys_hex(&hex, key_public(key), KEY_PUBLIC_BYTES);
		keys_data(k, "public", "\"%s\"", buf_cstr(&hex));
		keys_did(k, "made %s/%s: the secret, under the passphrase; it stays with %s",
			 directory, file, name);
		buf_byte(&hex, '\n');
		k->dir = dir;
		good = keys_write(k, public, hex.data, hex.len, e);
		k->dir = -1;
	}
	if (good) {
		keys_did(k, "made %s/%s: the public key, for who grants", directory, public);
		keys_next(k,
			  "whoever holds the root and a key that opens: `weir keys grant member "
			  "%s --role ROLE --public %s --member-key FILE`",
			  name, public);
	}
	close(dir);
	key_free(key);
	buf_free(&hex);
	return good;
}

bool
keys_member(struct keys *k, struct err *e)
{
	const char *name = keys_operand(k, 0);
	const char *directory = args_value(&k->c->args, "out");
	struct kdf_limits limits;

	return keys_name_check("member", name, e) && keys_kdf(k, &limits, e) &&
	       keys_passphrase(k, true, e) &&
	       member_write(k, name, &limits, directory ? directory : ".", e);
}
