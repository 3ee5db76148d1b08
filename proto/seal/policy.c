#include "seal/policy.h"

#include <stdlib.h>

#include "mem.h"
#include "seal/private.h"

static void
name_set(struct name *to, const char *s)
{
	size_t n = strlen(s);

	check(n <= NAME_BYTES_MAX);
	memset(to, 0, sizeof *to);
	memcpy(to->s, s, n);
}

static bool
name_is(const struct name *a, const char *s)
{
	return strcmp(a->s, s) == 0;
}

/* ---- lists of names ---- */

bool
name_list_has(const struct name_list *l, const char *name)
{
	for (unsigned i = 0; i < l->n; i++)
		if (name_is(&l->s[i], name))
			return true;
	return false;
}

void
name_list_add(struct name_list *l, const char *name)
{
	if (name_list_has(l, name))
		return;
	check(l->n < POLICY_NAMES_MAX);
	l->s = mem_resize(l->s, l->n + 1, sizeof *l->s);
	name_set(&l->s[l->n++], name);
}

void
name_list_remove(struct name_list *l, const char *name)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < l->n; i++)
		if (!name_is(&l->s[i], name))
			l->s[kept++] = l->s[i];
	l->n = kept;
}

/* ---- ownership ---- */

void
policy_model_part_free(struct policy *p)
{
	for (unsigned i = 0; i < p->sensitive_n; i++)
		free(p->sensitive[i].digests);
	for (unsigned i = 0; i < p->handoffs_n; i++) {
		free(p->handoffs[i].columns.s);
		free(p->handoffs[i].recipients.s);
		free(p->handoffs[i].purpose);
	}
	for (unsigned i = 0; i < p->sources_n; i++) {
		free(p->sources[i].where);
		free(p->sources[i].clear);
	}
	free(p->sensitive);
	free(p->handoffs);
	free(p->sources);
	p->sensitive = NULL;
	p->handoffs = NULL;
	p->sources = NULL;
	p->sensitive_n = p->handoffs_n = p->sources_n = 0;
	p->unknown_class = (struct name){{0}};
}

void
policy_free(struct policy *p)
{
	policy_model_part_free(p);
	for (unsigned i = 0; i < p->classes_n; i++)
		free(p->classes[i].roles.s);
	for (unsigned i = 0; i < p->members_n; i++)
		free(p->members[i].roles.s);
	free(p->classes);
	free(p->roles);
	free(p->sealers);
	free(p->members);
	free(p->tokens);
	*p = (struct policy){0};
}

static void *
copied(const void *p, size_t n, size_t bytes)
{
	if (n == 0)
		return NULL;
	void *to = mem_zero(n, bytes);
	memcpy(to, p, n * bytes);
	return to;
}

static void
list_copy(struct name_list *l)
{
	l->s = copied(l->s, l->n, sizeof *l->s);
}

void
policy_copy(struct policy *to, const struct policy *from)
{
	*to = *from;
	to->classes = copied(from->classes, from->classes_n, sizeof *from->classes);
	to->roles = copied(from->roles, from->roles_n, sizeof *from->roles);
	to->sealers = copied(from->sealers, from->sealers_n, sizeof *from->sealers);
	to->sensitive = copied(from->sensitive, from->sensitive_n, sizeof *from->sensitive);
	to->members = copied(from->members, from->members_n, sizeof *from->members);
	to->handoffs = copied(from->handoffs, from->handoffs_n, sizeof *from->handoffs);
	to->sources = copied(from->sources, from->sources_n, sizeof *from->sources);
	to->tokens = copied(from->tokens, from->tokens_n, sizeof *from->tokens);
	for (unsigned i = 0; i < to->classes_n; i++)
		list_copy(&to->classes[i].roles);
	for (unsigned i = 0; i < to->sensitive_n; i++)
		to->sensitive[i].digests = copied(
		    from->sensitive[i].digests, from->sensitive[i].digests_n, POLICY_DIGEST_BYTES);
	for (unsigned i = 0; i < to->members_n; i++)
		list_copy(&to->members[i].roles);
	for (unsigned i = 0; i < to->handoffs_n; i++) {
		list_copy(&to->handoffs[i].columns);
		list_copy(&to->handoffs[i].recipients);
		to->handoffs[i].purpose = mem_string(policy_purpose(&from->handoffs[i]));
	}
	for (unsigned i = 0; i < to->sources_n; i++) {
		struct policy_source *s = &to->sources[i];
		s->where = mem_string(from->sources[i].where);
		s->clear = copied(s->clear, s->clear_n, sizeof *s->clear);
	}
}

/* ---- editing ---- */

struct policy_class *
policy_class_add(struct policy *p, const char *name)
{
	p->classes = mem_resize(p->classes, p->classes_n + 1, sizeof *p->classes);
	struct policy_class *c = &p->classes[p->classes_n++];
	*c = (struct policy_class){0};
	name_set(&c->name, name);
	return c;
}

struct policy_role *
policy_role_add(struct policy *p, const char *name)
{
	p->roles = mem_resize(p->roles, p->roles_n + 1, sizeof *p->roles);
	struct policy_role *r = &p->roles[p->roles_n++];
	*r = (struct policy_role){0};
	name_set(&r->name, name);
	return r;
}

struct policy_member *
policy_member_add(struct policy *p, const char *name)
{
	p->members = mem_resize(p->members, p->members_n + 1, sizeof *p->members);
	struct policy_member *m = &p->members[p->members_n++];
	*m = (struct policy_member){0};
	name_set(&m->name, name);
	return m;
}

struct policy_token *
policy_token_add(struct policy *p, const char *domain)
{
	p->tokens = mem_resize(p->tokens, p->tokens_n + 1, sizeof *p->tokens);
	struct policy_token *t = &p->tokens[p->tokens_n++];
	*t = (struct policy_token){0};
	name_set(&t->domain, domain);
	return t;
}

void
policy_tokens_remove(struct policy *p, const char *domain)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < p->tokens_n; i++)
		if (!name_is(&p->tokens[i].domain, domain))
			p->tokens[kept++] = p->tokens[i];
	p->tokens_n = kept;
}

void
policy_sealer_add(struct policy *p, const uint8_t pk[static KEY_PUBLIC_BYTES])
{
	p->sealers = mem_resize(p->sealers, p->sealers_n + 1, sizeof *p->sealers);
	memcpy(p->sealers[p->sealers_n++], pk, KEY_PUBLIC_BYTES);
}

void
policy_member_remove(struct policy *p, const char *name)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < p->members_n; i++) {
		if (name_is(&p->members[i].name, name))
			free(p->members[i].roles.s);
		else
			p->members[kept++] = p->members[i];
	}
	p->members_n = kept;
	for (unsigned i = 0; i < p->handoffs_n; i++)
		name_list_remove(&p->handoffs[i].recipients, name);
}

void
policy_role_remove(struct policy *p, const char *name)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < p->roles_n; i++)
		if (!name_is(&p->roles[i].name, name))
			p->roles[kept++] = p->roles[i];
	p->roles_n = kept;
	for (unsigned i = 0; i < p->classes_n; i++)
		name_list_remove(&p->classes[i].roles, name);
	for (unsigned i = 0; i < p->members_n; i++)
		name_list_remove(&p->members[i].roles, name);
}

/* ---- looking up ---- */

const struct policy_class *
policy_class(const struct policy *p, const char *name)
{
	for (unsigned i = 0; i < p->classes_n; i++)
		if (name_is(&p->classes[i].name, name))
			return &p->classes[i];
	return NULL;
}

const struct policy_role *
policy_role(const struct policy *p, const char *name)
{
	for (unsigned i = 0; i < p->roles_n; i++)
		if (name_is(&p->roles[i].name, name))
			return &p->roles[i];
	return NULL;
}

const struct policy_member *
policy_member(const struct policy *p, const char *name)
{
	for (unsigned i = 0; i < p->members_n; i++)
		if (name_is(&p->members[i].name, name))
			return &p->members[i];
	return NULL;
}

const struct policy_handoff *
policy_handoff(const struct policy *p, const char *name)
{
	for (unsigned i = 0; i < p->handoffs_n; i++)
		if (name_is(&p->handoffs[i].name, name))
			return &p->handoffs[i];
	return NULL;
}

const char *
policy_purpose(const struct policy_handoff *h)
{
	return h->purpose ? h->purpose : "";
}

const struct policy_token *
policy_token(const struct policy *p, const char *domain, unsigned epoch)
{
	for (unsigned i = 0; i < p->tokens_n; i++)
		if (p->tokens[i].epoch == epoch && name_is(&p->tokens[i].domain, domain))
			return &p->tokens[i];
	return NULL;
}

unsigned
policy_token_newest(const struct policy *p, const char *domain)
{
	unsigned newest = 0;

	for (unsigned i = 0; i < p->tokens_n; i++)
		if (name_is(&p->tokens[i].domain, domain) && p->tokens[i].epoch > newest)
			newest = p->tokens[i].epoch;
	return newest;
}

unsigned
policy_token_oldest(const struct policy *p, const char *domain)
{
	unsigned oldest = 0;

	for (unsigned i = 0; i < p->tokens_n; i++)
		if (name_is(&p->tokens[i].domain, domain) &&
		    (!oldest || p->tokens[i].epoch < oldest))
			oldest = p->tokens[i].epoch;
	return oldest;
}

bool
policy_sealer_listed(const struct policy *p, const uint8_t id[static KEY_ID_BYTES],
		     uint8_t pk[static KEY_PUBLIC_BYTES])
{
	uint8_t have[KEY_ID_BYTES];

	for (unsigned i = 0; i < p->sealers_n; i++) {
		key_id(p->sealers[i], have);
		if (memcmp(have, id, KEY_ID_BYTES) == 0) {
			memcpy(pk, p->sealers[i], KEY_PUBLIC_BYTES);
			return true;
		}
	}
	return false;
}

enum seal_error
policy_recipients(const struct policy *p, const char *class, uint8_t (*pks)[KEY_PUBLIC_BYTES],
		  unsigned max, unsigned *n)
{
	const struct policy_class *c = policy_class(p, class);

	*n = 0;
	if (!c)
		return SEAL_POLICY;
	if (c->roles.n + 1 > max)
		return SEAL_SIZE;
	for (unsigned i = 0; i < c->roles.n; i++) {
		const struct policy_role *r = policy_role(p, c->roles.s[i].s);
		if (!r)
			return SEAL_POLICY;
		memcpy(pks[(*n)++], r->pk, KEY_PUBLIC_BYTES);
	}
	memcpy(pks[(*n)++], p->escrow, KEY_PUBLIC_BYTES);
	return SEAL_OK;
}

enum seal_error
policy_usable(const struct policy *p, const char *pipeline, uint64_t serial_min, int64_t now_ms)
{
	if (!name_is(&p->pipeline, pipeline) || p->serial < serial_min)
		return SEAL_POLICY;
	return now_ms >= p->not_before_ms && now_ms <= p->not_after_ms ? SEAL_OK : SEAL_VALIDITY;
}

/* ---- digests ---- */

void
policy_digest_derive(const char *name, const char *expression,
		     uint8_t out[static POLICY_DIGEST_BYTES])
{
	struct b2b h;

	sodium_start();
	b2b_start(&h, NULL, "weir1.derive", POLICY_DIGEST_BYTES);
	b2b_text(&h, name, strlen(name));
	b2b_text(&h, expression, strlen(expression));
	b2b_end(&h, out, POLICY_DIGEST_BYTES);
}

void
policy_digest_query(const char *query, uint8_t out[static POLICY_DIGEST_BYTES])
{
	sodium_start();
	b2b(NULL, "weir1.query", query, strlen(query), out, POLICY_DIGEST_BYTES);
}

/* ---- the root ---- */

static void
root_message(const char *pipeline, uint64_t serial, const uint8_t *new_root, struct buf *out)
{
	put_text(out, pipeline);
	put_u64(out, serial);
	buf_add(out, new_root, KEY_PUBLIC_BYTES);
}

static const char root_context[] = "WRP1-root";

void
policy_root_replace(const struct key *old_root, const char *pipeline, uint64_t serial,
		    const uint8_t new_root[static KEY_PUBLIC_BYTES],
		    uint8_t signature[static KEY_SIGNATURE_BYTES])
{
	struct buf m = {0};

	check(key_type(old_root) == KEY_ROOT);
	root_message(pipeline, serial, new_root, &m);
	key_sign(old_root, root_context, m.data, m.len, signature);
	buf_free(&m);
}

enum seal_error
policy_root_replaced(const uint8_t old_root[static KEY_PUBLIC_BYTES], const char *pipeline,
		     uint64_t serial, const uint8_t new_root[static KEY_PUBLIC_BYTES],
		     const uint8_t signature[static KEY_SIGNATURE_BYTES])
{
	struct buf m = {0};
	enum seal_error why = key_check_sign(new_root);

	if (why != SEAL_OK)
		return why;
	root_message(pipeline, serial, new_root, &m);
	why = key_verify(old_root, root_context, m.data, m.len, signature);
	buf_free(&m);
	return why;
}
