/* keys policy: reading, signing, showing; the root's replacement. */
#include "keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keys_tokens.h"
#include "seal/policy_model.h"

enum { DAY_MS = 86400000, DAYS_MAX = 3660 };

/* What the warehouse pins wins over any file; *there false: it pins nothing
 * yet. */
static bool
root_pinned(struct keys *k, uint8_t out[static KEY_PUBLIC_BYTES], bool *there, struct err *e)
{
	const char *const params[] = {k->id, NULL};
	struct pg_result *r;
	struct buf bytes = {0};

	if (!owner_query(k->pg, "SELECT policy_root FROM admin_schema.pipeline WHERE id = $1::int",
			 params, &r, e))
		return false;
	*there = pg_rows(r) == 1 && !pg_is_null(r, 0, 0);
	bool good = !*there || (keys_unhex(pg_text(r, 0, 0), strlen(pg_text(r, 0, 0)), &bytes) &&
				bytes.len == KEY_PUBLIC_BYTES);
	if (good && *there)
		memcpy(out, bytes.data, KEY_PUBLIC_BYTES);
	buf_free(&bytes);
	pg_result_free(r);
	return good || err_set(e, EXIT_BUG, "the root that the warehouse pins is not 32 bytes");
}

static bool
root_public(const struct model *m, uint8_t out[static KEY_PUBLIC_BYTES], struct err *e)
{
	char path[KEYS_PATH_MAX];
	struct buf text = {0}, bytes = {0};

	snprintf(path, sizeof path, "%s/root.pub", m->keys_dir);
	bool good = file_read(path, 1024, &text, e);
	if (good &&
	    (!keys_unhex(buf_cstr(&text), text.len, &bytes) || bytes.len != KEY_PUBLIC_BYTES))
		good = err_set(e, EXIT_CONFIG, "%s does not hold 64 digits of a public key", path);
	if (good)
		memcpy(out, bytes.data, KEY_PUBLIC_BYTES);
	buf_free(&text);
	buf_free(&bytes);
	return good;
}

bool
keys_policy_of(const struct model *m, const uint8_t *root, struct policy *out, struct err *e)
{
	uint8_t public[KEY_PUBLIC_BYTES];
	char path[KEYS_PATH_MAX];
	struct buf bytes = {0};

	if (!m->keys_dir)
		return err_set(e, EXIT_CONFIG,
			       "%s names no key directory; add a line `keys: keys/`", m->path);
	if (!root && !root_public(m, public, e))
		return false;
	snprintf(path, sizeof path, "%s/policy", m->keys_dir);
	bool good = file_whole(path, POLICY_BYTES_MAX, &bytes, e);
	if (good) {
		enum seal_error why =
		    policy_decode(bytes.data, bytes.len, root ? root : public, out);
		good = why == SEAL_OK || seal_fail(e, why, "%s", path);
	}
	if (good && strcmp(out->pipeline.s, m->pipeline.s)) {
		good = err_set(e, EXIT_PERMISSION, "%s: the policy of pipeline %s, not of %s", path,
			       out->pipeline.s, m->pipeline.s);
		policy_free(out);
	}
	buf_free(&bytes);
	return good;
}

bool
keys_policy_read(struct keys *k, struct err *e)
{
	uint8_t root[KEY_PUBLIC_BYTES];
	bool pinned = false;

	policy_free(&k->policy);
	if (k->pg && !root_pinned(k, root, &pinned, e))
		return false;
	return keys_policy_of(k->m, pinned ? root : NULL, &k->policy, e);
}

bool
keys_agreed(struct keys *k, const char *question, struct err *e)
{
	char answer[16] = "";

	if (args_flag(&k->c->args, "yes"))
		return true;
	if (k->c->no_input || !isatty(STDIN_FILENO))
		return err_set(e, EXIT_USAGE, "nobody is here to be asked: %s --yes agrees",
			       question);
	fprintf(stderr, "%s [y/N] ", question);
	if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
		return err_set(e, EXIT_USAGE, "not agreed; nothing was signed");
	return true;
}

static bool
valid_days(const struct keys *k, int64_t *days, struct err *e)
{
	const char *given = args_value(&k->c->args, "valid");
	char *end = NULL;

	*days = KEYS_VALID_DAYS;
	if (!given)
		return true;
	*days = strtol(given, &end, 10);
	if (end == given || *end || *days < 1 || *days > DAYS_MAX)
		return err_set(e, EXIT_USAGE, "--valid \"%.40s\" is no number of days from 1 to %d",
			       given, DAYS_MAX);
	return true;
}

/* The shortest proof of what the pipeline file would weaken stands before the
 * question. */
static void
weaker_tell(struct keys *k, const struct policy *to)
{
	struct buf words = {0};
	unsigned n = policy_weaker(&k->policy, to, &words);

	if (n) {
		buf_printf(&k->text, "weaker than what is signed now, in %u way%s:\n", n,
			   n == 1 ? "" : "s");
		keys_words(k, "weaker", &words);
	}
	buf_free(&words);
}

static bool
policy_put(struct keys *k, struct policy *to, const struct key *root, struct err *e)
{
	struct buf file = {0}, hash = {0};

	enum seal_error why = policy_sign(to, root, &file);
	bool good = why == SEAL_OK || seal_fail(e, why, "the new policy");
	good = good && keys_write(k, "policy", file.data, file.len, e);
	if (good) {
		keys_hex(&hash, to->hash, sizeof to->hash);
		keys_data(k, "serial", "%llu", (unsigned long long)to->serial);
		keys_data(k, "hash", "\"%s\"", buf_cstr(&hash));
		keys_did(k, "signed the policy, serial %llu, in %s/policy",
			 (unsigned long long)to->serial, k->m->keys_dir);
		policy_free(&k->policy);
		policy_copy(&k->policy, to);
		keys_next(k,
			  "`weir apply %s` puts it in force; then restart the pipeline, or "
			  "`kill -HUP` its supervisor",
			  k->file);
	}
	buf_free(&file);
	buf_free(&hash);
	return good;
}

bool
keys_policy_review(struct keys *k, const struct policy *to, struct err *e)
{
	struct buf words = {0};
	unsigned weaker = 0;
	bool renew = k->renew || args_flag(&k->c->args, "renew");

	unsigned lines = policy_difference(&k->policy, to, &words, &weaker);
	keys_words(k, "changes", &words);
	buf_free(&words);
	k->reviewed = true;
	k->unchanged = !lines && !renew;
	if (k->unchanged) {
		keys_not(k,
			 "the policy stays as it is, serial %llu: nothing in it changes "
			 "(--renew signs it anew)",
			 (unsigned long long)k->policy.serial);
		return true;
	}
	if (!k->c->json && k->text.len && !args_flag(&k->c->args, "yes")) {
		if (!cli_print(&k->text, e))
			return false;
		buf_clear(&k->text);
	}
	return keys_agreed(k, "Sign this?", e);
}

bool
keys_policy_sign(struct keys *k, const struct policy *to, const struct key *root, struct err *e)
{
	struct policy next = {0};
	int64_t days;

	if (!valid_days(k, &days, e) || (!k->reviewed && !keys_policy_review(k, to, e)))
		return false;
	if (k->unchanged)
		return true;
	policy_copy(&next, to);
	next.serial = k->policy.serial + 1;
	next.not_before_ms = keys_now_ms() - 60000; /* clocks differ */
	next.not_after_ms = next.not_before_ms + days * DAY_MS;
	bool good = policy_put(k, &next, root, e);
	policy_free(&next);
	return good;
}

/* ---- sign ---- */

static bool
class_roles(struct keys *k, struct policy *to, const char *given, struct err *e)
{
	char name[NAME_BYTES_MAX + 1];
	size_t n = strcspn(given, "=");

	if (!given[n] || n > NAME_BYTES_MAX)
		return err_set(e, EXIT_USAGE, "--class \"%.80s\": CLASS=ROLE[,ROLE] is its form",
			       given);
	snprintf(name, sizeof name, "%.*s", (int)n, given);
	struct policy_class *c = NULL;
	for (unsigned i = 0; i < to->classes_n; i++)
		if (!strcmp(to->classes[i].name.s, name))
			c = &to->classes[i];
	if (!c)
		return err_set(e, EXIT_USAGE, "--class: %s has no class \"%s\"", k->file, name);
	free(c->roles.s);
	c->roles = (struct name_list){0};
	for (const char *at = given + n + 1; *at;) {
		n = strcspn(at, ",");
		snprintf(name, sizeof name, "%.*s", (int)(n > NAME_BYTES_MAX ? NAME_BYTES_MAX : n),
			 at);
		if (!policy_role(to, name))
			return err_set(e, EXIT_USAGE,
				       "--class: there is no role \"%s\"; `weir keys grant role` "
				       "makes one",
				       name);
		name_list_add(&c->roles, name);
		at += n + (at[n] == ',');
	}
	return true;
}

/* Every class of the file needs a role; with one role there is nothing to
 * choose. */
static bool
classes_set(struct keys *k, struct policy *to, struct err *e)
{
	const char *const *given;
	unsigned n = args_list(&k->c->args, "class", &given);

	for (unsigned i = 0; i < k->m->classes_n; i++)
		if (!policy_class(to, k->m->classes[i].s))
			policy_class_add(to, k->m->classes[i].s);
	for (unsigned i = 0; i < n; i++)
		if (!class_roles(k, to, given[i], e))
			return false;
	for (unsigned i = 0; i < to->classes_n; i++) {
		struct policy_class *c = &to->classes[i];
		if (c->roles.n)
			continue;
		if (to->roles_n != 1)
			return err_set(e, EXIT_USAGE,
				       "which role opens class %s? --class %s=ROLE[,ROLE]",
				       c->name.s, c->name.s);
		name_list_add(&c->roles, to->roles[0].name.s);
	}
	return true;
}

/* Columns of a hand-over as the warehouse describes them; without one the
 * query's digest stands alone. */
static bool
columns_ask(struct pg *pg, const struct handoff *h, struct policy_handoff *out, struct err *e)
{
	struct pg_result *r;
	struct buf sql = {0};

	buf_printf(&sql, "SELECT * FROM (%s\n) q LIMIT 0", h->query);
	/* As science runs it. */
	bool good = pg_script(pg, "SET search_path = development_schema", e) &&
		    pg_exec(pg, buf_cstr(&sql), &r, e);
	buf_free(&sql);
	if (!good)
		return false;
	for (unsigned i = 0; i < pg_columns(r); i++)
		name_list_add(&out->columns, pg_column_name(r, i));
	pg_result_free(r);
	return pg_script(pg, "SET search_path = pg_catalog", e);
}

static void
columns_set(struct keys *k, struct policy *to)
{
	struct err e;

	if (!to->handoffs_n)
		return;
	bool connected = keys_connect(k, &e);
	for (unsigned i = 0; i < to->handoffs_n; i++) {
		for (unsigned j = 0; j < k->m->handoffs_n; j++) {
			const struct handoff *h = &k->m->handoffs[j];
			if (strcmp(h->name.s, to->handoffs[i].name.s))
				continue;
			if (!connected || !columns_ask(k->pg, h, &to->handoffs[i], &e))
				keys_not(k,
					 "the columns of hand-over %s are not in the policy, its "
					 "query is: %s. Sign again after `weir apply`",
					 h->name.s, e.text);
		}
	}
}

bool
keys_sign(struct keys *k, struct err *e)
{
	struct policy to = {0};
	struct key *root = NULL;

	policy_copy(&to, &k->policy);
	policy_of_model(&to, k->m);
	columns_set(k, &to);
	bool good = keys_tokens_take(k, &to, e) && classes_set(k, &to, e) &&
		    keys_root(k, &root, e) && keys_policy_sign(k, &to, root, e);
	key_free(root);
	policy_free(&to);
	return good;
}

bool
keys_show(struct keys *k, struct err *e)
{
	struct buf words = {0}, hash = {0};
	struct policy wanted = {0};

	(void)e;
	policy_show(&k->policy, &words);
	keys_hex(&hash, k->policy.hash, sizeof k->policy.hash);
	keys_data(k, "serial", "%llu", (unsigned long long)k->policy.serial);
	keys_data(k, "hash", "\"%s\"", buf_cstr(&hash));
	keys_words(k, "policy", &words);
	buf_free(&words);
	buf_free(&hash);
	policy_copy(&wanted, &k->policy);
	policy_of_model(&wanted, k->m);
	weaker_tell(k, &wanted);
	policy_free(&wanted);
	return true;
}
