#include "keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "seal/policy_model.h"

static const char policy_name[] = "policy";
static const char key_suffix[] = ".key";

/* token-<domain>-<epoch>.key of a domain of the pipeline. */
static bool
token_name_read(const struct model *m, const char *file, unsigned *domain, unsigned *epoch)
{
	char label[KEY_LABEL_MAX + 1], name[NAME_BYTES_MAX + 1];
	size_t n = strlen(file), suffix = sizeof key_suffix - 1;
	enum key_type type;

	if (n <= suffix || n - suffix > KEY_LABEL_MAX || strcmp(file + n - suffix, key_suffix) != 0)
		return false;
	memcpy(label, file, n - suffix);
	label[n - suffix] = '\0';
	if (!key_label_parse(label, &type, name, epoch) || type != KEY_TOKEN)
		return false;
	for (*domain = 0; *domain < m->domains_n; ++*domain)
		if (!strcmp(m->domains[*domain].name.s, name))
			return true;
	return false;
}

/* Whatever is wrong with a key or the policy, it is not one to seal under. */
static bool PRINTF(3, 4) refused(struct err *e, enum seal_error why, const char *fmt, ...)
{
	char what[ERR_TEXT_MAX / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	seal_fail(e, why, "%s", what);
	e->code = why == SEAL_SYSTEM && secret_shortage() ? EXIT_CONFIG : EXIT_PERMISSION;
	return false;
}

static bool
token_open(const char *name, unsigned epoch, int fd, struct token_key **out, struct err *e)
{
	struct key *key = NULL;
	enum seal_error why = keyfile_read(fd, NULL, &key);

	if (why == SEAL_OK)
		why = token_key_new(key, name, epoch, out);
	key_free(key);
	if (why == SEAL_OK)
		return true;
	return refused(e, why, "token key of domain %s, epoch %u", name, epoch);
}

static bool
tokens_open(struct keys *k, const struct worker *w, struct err *e)
{
	const struct model *m = w->model;
	struct {
		unsigned epoch;
		int fd;
	} last[DOMAINS_MAX] = {0}, first[DOMAINS_MAX] = {0};

	for (unsigned i = 0; i < w->keys_n; i++) {
		unsigned domain, epoch;

		if (!token_name_read(m, w->keys[i].name, &domain, &epoch))
			continue;
		if (epoch > last[domain].epoch) {
			last[domain].epoch = epoch;
			last[domain].fd = w->keys[i].fd;
		}
		if (!first[domain].epoch || epoch < first[domain].epoch) {
			first[domain].epoch = epoch;
			first[domain].fd = w->keys[i].fd;
		}
	}
	for (unsigned i = 0; i < m->domains_n; i++) {
		const char *name = m->domains[i].name.s;

		if (!last[i].epoch)
			return err_set(e, EXIT_PERMISSION,
				       "no token key of domain %s was handed over; `weir keys "
				       "init` makes it",
				       name);
		if (!token_open(name, last[i].epoch, last[i].fd, &k->tokens[i], e) ||
		    !token_open(name, first[i].epoch, first[i].fd, &k->persons[i], e))
			return false;
	}
	return true;
}

bool
keys_open(struct keys *k, const struct worker *w, struct err *e)
{
	int fd = skel_key(w, policy_name);

	*k = (struct keys){0};
	if (!secret_open(true, e))
		return false;
	if (fd < 0)
		return err_set(e, EXIT_PERMISSION,
			       "no policy was handed over; `weir keys policy sign` makes it");
	if (!skel_read_fd(fd, POLICY_BYTES_MAX, &k->file, e))
		return err_context(e, "policy");
	return tokens_open(k, w, e);
}

void
keys_free(struct keys *k)
{
	for (unsigned i = 0; i < DOMAINS_MAX; i++) {
		token_key_free(k->tokens[i]);
		token_key_free(k->persons[i]);
	}
	policy_free(&k->policy);
	buf_free(&k->file);
	*k = (struct keys){0};
}

/* A key that was handed over is one that was signed, and of the epoch that is to be used. */
static bool
token_admit(const struct keys *k, const char *domain, const struct token_key *key, unsigned epoch,
	    struct err *e)
{
	if (!policy_token_check(&k->policy, domain, key, e))
		return false;
	return token_key_epoch(key) == epoch ||
	       err_set(
		   e, EXIT_PERMISSION,
		   "the token key of domain %s, epoch %u, which the signed policy lists, was not "
		   "handed over",
		   domain, epoch);
}

static bool
tokens_admit(const struct keys *k, const struct model *m, struct err *e)
{
	for (unsigned i = 0; i < m->domains_n; i++) {
		const char *name = m->domains[i].name.s;

		if (!token_admit(k, name, k->tokens[i], policy_token_newest(&k->policy, name), e) ||
		    !token_admit(k, name, k->persons[i], policy_token_oldest(&k->policy, name), e))
			return false;
	}
	return true;
}

bool
keys_admit(struct keys *k, const struct model *m, const struct own *o, int64_t now_wall_us,
	   struct err *e)
{
	struct policy read = {0};
	enum seal_error why;

	if (!o->has_policy)
		return err_set(e, EXIT_PERMISSION,
			       "the database pins no policy of this pipeline; `weir apply` does");
	why = policy_decode(k->file.data, k->file.len, o->policy_root, &read);
	if (why == SEAL_OK)
		why = policy_usable(&read, m->pipeline.s, o->policy_serial, now_wall_us / 1000);
	if (why != SEAL_OK) {
		policy_free(&read);
		return refused(e, why, "the policy");
	}
	if (k->admitted) {
		policy_free(&read);
		return true;
	}
	k->policy = read;
	k->admitted = policy_model_check(&k->policy, m, e) && tokens_admit(k, m, e);
	return k->admitted;
}
