/* keys: ids of token keys, for the policy. */
#include "keys_tokens.h"

#include <string.h>

bool
keys_token_open(struct keys *k, const char *domain, const struct keys_file *file,
		struct token_key **out, struct err *e)
{
	char path[KEYS_PATH_MAX];
	struct key *key = NULL;

	*out = NULL;
	keys_path(k, NULL, file->file, path);
	if (!keys_key(k, path, KEY_TOKEN, &key, e))
		return false;
	enum seal_error why = token_key_new(key, domain, file->epoch, out);
	key_free(key);
	return why == SEAL_OK || seal_fail(e, why, "%s", path);
}

static bool
domain_take(struct keys *k, const char *domain, struct policy *to, struct err *e)
{
	static struct keys_file found[KEYS_FILES_MAX];
	unsigned n;

	if (!keys_list(k, KEY_TOKEN, domain, found, KEYS_FILES_MAX, &n, e))
		return false;
	if (!n) {
		keys_not(k,
			 "token domain %s has no key in %s; `weir keys rotate token %s` makes its "
			 "first",
			 domain, k->m->keys_dir, domain);
		return true;
	}
	policy_tokens_remove(to, domain);
	for (unsigned i = 0; i < n; i++) {
		struct token_key *key;
		if (!keys_token_open(k, domain, &found[i], &key, e))
			return false;
		struct policy_token *t = policy_token_add(to, domain);
		t->epoch = found[i].epoch;
		token_key_id(key, t->id);
		token_key_free(key);
	}
	return true;
}

bool
keys_tokens_take(struct keys *k, struct policy *to, struct err *e)
{
	for (unsigned i = 0; i < k->m->domains_n; i++)
		if (!domain_take(k, k->m->domains[i].name.s, to, e))
			return false;
	return true;
}
