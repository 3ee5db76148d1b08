#include "seal/policy.h"

#include <stdlib.h>

#include "mem.h"
#include "pack.h"
#include "seal/private.h"

/* The bytes of a policy: policy.h has the layout. Writers and their readers stand side by side. */

enum { HEAD_BYTES = 8, BODY_ELEMENTS = 15 };

static const uint8_t magic[4] = "WRP1";
static const char context[] = "WRP1-policy";

/* ---- names ---- */

static void
name_write(struct buf *b, const struct name *n)
{
	pack_text(b, n->s, strlen(n->s));
}

static void
list_write(struct buf *b, const struct name_list *l)
{
	pack_array(b, l->n);
	for (unsigned i = 0; i < l->n; i++)
		name_write(b, &l->s[i]);
}

/* A text of 0 to max bytes without NUL, into out with one. */
static bool
text_read(struct pack_reader *r, struct pack_view v, char *out, size_t max)
{
	const char *s;
	size_t n;

	if (!pack_view_text(r, v, &s, &n))
		return false;
	if (n > max || memchr(s, 0, n))
		return pack_fail(r, "a text of a policy is too long");
	if (n)
		memcpy(out, s, n);
	out[n] = '\0';
	return true;
}

static bool
name_read(struct pack_reader *r, struct pack_view v, struct name *out)
{
	if (!text_read(r, v, out->s, NAME_BYTES_MAX))
		return false;
	return out->s[0] || pack_fail(r, "a name of a policy is empty");
}

/* An array of at most max elements: allocated, zeroed. */
static void *
array_read(struct pack_reader *r, struct pack_view v, size_t max, size_t bytes, unsigned *n)
{
	size_t have;

	*n = 0;
	if (!pack_view_array(r, v, &have))
		return NULL;
	if (have > max) {
		pack_fail(r, "a list of a policy is too long");
		return NULL;
	}
	*n = (unsigned)have;
	return have ? mem_zero(have, bytes) : NULL;
}

static bool
list_read(struct pack_reader *r, struct pack_view v, struct name_list *out)
{
	out->s = array_read(r, v, POLICY_NAMES_MAX, sizeof *out->s, &out->n);
	for (unsigned i = 0; !r->failed && i < out->n; i++)
		name_read(r, pack_view_at(v, i), &out->s[i]);
	return !r->failed;
}

/* Element i of a list that must be an array of `elements`. */
static struct pack_view
row_read(struct pack_reader *r, struct pack_view list, unsigned i, size_t elements)
{
	struct pack_view row = pack_view_at(list, i);
	size_t n;

	if (pack_view_array(r, row, &n) && n != elements)
		pack_fail(r, "an entry of a policy has a wrong number of elements");
	return row;
}

/* ---- classes, roles, sealers ---- */

static void
classes_write(struct buf *b, const struct policy *p)
{
	pack_array(b, p->classes_n);
	for (unsigned i = 0; i < p->classes_n; i++) {
		pack_array(b, 2);
		name_write(b, &p->classes[i].name);
		list_write(b, &p->classes[i].roles);
	}
}

static bool
classes_read(struct pack_reader *r, struct pack_view v, struct policy *p)
{
	p->classes = array_read(r, v, POLICY_CLASSES_MAX, sizeof *p->classes, &p->classes_n);
	for (unsigned i = 0; !r->failed && i < p->classes_n; i++) {
		struct pack_view row = row_read(r, v, i, 2);
		if (!r->failed && name_read(r, pack_view_at(row, 0), &p->classes[i].name))
			list_read(r, pack_view_at(row, 1), &p->classes[i].roles);
	}
	return !r->failed;
}

static void
roles_write(struct buf *b, const struct policy *p)
{
	pack_array(b, p->roles_n);
	for (unsigned i = 0; i < p->roles_n; i++) {
		pack_array(b, 3);
		name_write(b, &p->roles[i].name);
		pack_uint(b, p->roles[i].epoch);
		pack_bytes(b, p->roles[i].pk, KEY_PUBLIC_BYTES);
	}
}

static bool
roles_read(struct pack_reader *r, struct pack_view v, struct policy *p)
{
	uint64_t epoch;

	p->roles = array_read(r, v, POLICY_ROLES_MAX, sizeof *p->roles, &p->roles_n);
	for (unsigned i = 0; !r->failed && i < p->roles_n; i++) {
		struct policy_role *x = &p->roles[i];
		struct pack_view row = row_read(r, v, i, 3);
		if (r->failed || !name_read(r, pack_view_at(row, 0), &x->name) ||
		    !pack_at_uint(r, row, 1, INT32_MAX, &epoch) ||
		    !pack_view_fixed(r, pack_view_at(row, 2), x->pk, KEY_PUBLIC_BYTES))
			return false;
		x->epoch = (unsigned)epoch;
	}
	return !r->failed;
}

static void
sealers_write(struct buf *b, const struct policy *p)
{
	pack_array(b, p->sealers_n);
	for (unsigned i = 0; i < p->sealers_n; i++)
		pack_bytes(b, p->sealers[i], KEY_PUBLIC_BYTES);
}

static bool
sealers_read(struct pack_reader *r, struct pack_view v, struct policy *p)
{
	p->sealers = array_read(r, v, POLICY_SEALERS_MAX, sizeof *p->sealers, &p->sealers_n);
	for (unsigned i = 0; !r->failed && i < p->sealers_n; i++)
		pack_view_fixed(r, pack_view_at(v, i), p->sealers[i], KEY_PUBLIC_BYTES);
	return !r->failed;
}

/* ---- sensitive fields ---- */

static void
sensitive_write(struct buf *b, const struct policy *p)
{
	pack_array(b, p->sensitive_n);
	for (unsigned i = 0; i < p->sensitive_n; i++) {
		const struct policy_sensitive *s = &p->sensitive[i];
		pack_array(b, 8);
		name_write(b, &s->source);
		pack_text(b, s->path, strlen(s->path));
		name_write(b, &s->class);
		name_write(b, &s->domain);
		pack_uint(b, s->canonical);
		pack_uint(b, s->padexp);
		pack_bool(b, s->subject);
		pack_array(b, s->digests_n);
		for (unsigned j = 0; j < s->digests_n; j++)
			pack_bytes(b, s->digests[j], POLICY_DIGEST_BYTES);
	}
}

static bool
canonical_read(struct pack_reader *r, struct pack_view row, size_t at, const struct name *domain,
	       uint8_t *out)
{
	uint64_t v;

	if (!pack_at_uint(r, row, at, CANONICAL_MAX - 1, &v))
		return false;
	*out = (uint8_t)v;
	return !v || domain->s[0] || pack_fail(r, "a canonical form without a token domain");
}

static bool
pad_read(struct pack_reader *r, struct pack_view row, size_t at, uint8_t *out)
{
	uint64_t v;

	if (!pack_at_uint(r, row, at, POLICY_PAD_MAX, &v))
		return false;
	*out = (uint8_t)v;
	return !v || v >= POLICY_PAD_MIN || pack_fail(r, "a padding that no field has");
}

static bool
sensitive_row_read(struct pack_reader *r, struct pack_view row, struct policy_sensitive *s)
{
	if (!name_read(r, pack_view_at(row, 0), &s->source) ||
	    !text_read(r, pack_view_at(row, 1), s->path, POLICY_PATH_MAX) ||
	    !name_read(r, pack_view_at(row, 2), &s->class) ||
	    !text_read(r, pack_view_at(row, 3), s->domain.s, NAME_BYTES_MAX) ||
	    !canonical_read(r, row, 4, &s->domain, &s->canonical) ||
	    !pad_read(r, row, 5, &s->padexp) ||
	    !pack_view_bool(r, pack_view_at(row, 6), &s->subject))
		return false;
	if (!s->path[0])
		return pack_fail(r, "a sensitive field without a path");
	struct pack_view digests = pack_view_at(row, 7);
	s->digests = array_read(r, digests, POLICY_DIGESTS_MAX, POLICY_DIGEST_BYTES, &s->digests_n);
	for (unsigned i = 0; !r->failed && i < s->digests_n; i++)
		pack_view_fixed(r, pack_view_at(digests, i), s->digests[i], POLICY_DIGEST_BYTES);
	return !r->failed;
}

static bool
sensitive_read(struct pack_reader *r, struct pack_view v, struct policy *p)
{
	p->sensitive =
	    array_read(r, v, POLICY_SENSITIVE_MAX, sizeof *p->sensitive, &p->sensitive_n);
	for (unsigned i = 0; !r->failed && i < p->sensitive_n; i++) {
		struct pack_view row = row_read(r, v, i, 8);
		if (!r->failed)
			sensitive_row_read(r, row, &p->sensitive[i]);
	}
	return !r->failed;
}

/* ---- members, hand-overs, sources ---- */

static void
members_write(struct buf *b, const struct policy *p)
{
	pack_array(b, p->members_n);
	for (unsigned i = 0; i < p->members_n; i++) {
		pack_array(b, 3);
		name_write(b, &p->members[i].name);
		pack_bytes(b, p->members[i].pk, KEY_PUBLIC_BYTES);
		list_write(b, &p->members[i].roles);
	}
}

static bool
members_read(struct pack_reader *r, struct pack_view v, struct policy *p)
{
	p->members = array_read(r, v, POLICY_MEMBERS_MAX, sizeof *p->members, &p->members_n);
	for (unsigned i = 0; !r->failed && i < p->members_n; i++) {
		struct policy_member *m = &p->members[i];
		struct pack_view row = row_read(r, v, i, 3);
		if (!r->failed && name_read(r, pack_view_at(row, 0), &m->name) &&
		    pack_view_fixed(r, pack_view_at(row, 1), m->pk, KEY_PUBLIC_BYTES))
			list_read(r, pack_view_at(row, 2), &m->roles);
	}
	return !r->failed;
}

static void
handoffs_write(struct buf *b, const struct policy *p)
{
	pack_array(b, p->handoffs_n);
	for (unsigned i = 0; i < p->handoffs_n; i++) {
		pack_array(b, 5);
		name_write(b, &p->handoffs[i].name);
		list_write(b, &p->handoffs[i].columns);
		list_write(b, &p->handoffs[i].recipients);
		pack_bytes(b, p->handoffs[i].query, POLICY_DIGEST_BYTES);
		const char *purpose = policy_purpose(&p->handoffs[i]);
		pack_text(b, purpose, strlen(purpose));
	}
}

static bool
handoffs_read(struct pack_reader *r, struct pack_view v, struct policy *p)
{
	char purpose[POLICY_PURPOSE_MAX + 1];

	p->handoffs = array_read(r, v, POLICY_HANDOFFS_MAX, sizeof *p->handoffs, &p->handoffs_n);
	for (unsigned i = 0; !r->failed && i < p->handoffs_n; i++) {
		struct policy_handoff *h = &p->handoffs[i];
		struct pack_view row = row_read(r, v, i, 5);
		if (!r->failed && name_read(r, pack_view_at(row, 0), &h->name) &&
		    list_read(r, pack_view_at(row, 1), &h->columns) &&
		    list_read(r, pack_view_at(row, 2), &h->recipients) &&
		    pack_view_fixed(r, pack_view_at(row, 3), h->query, POLICY_DIGEST_BYTES) &&
		    text_read(r, pack_view_at(row, 4), purpose, POLICY_PURPOSE_MAX))
			h->purpose = mem_string(purpose);
	}
	return !r->failed;
}

static void
clear_write(struct buf *b, const struct policy_source *s)
{
	pack_array(b, s->clear_n);
	for (unsigned i = 0; i < s->clear_n; i++) {
		const struct policy_clear *c = &s->clear[i];
		pack_array(b, 4);
		pack_text(b, c->path, strlen(c->path));
		name_write(b, &c->domain);
		pack_uint(b, c->canonical);
		pack_bool(b, c->subject);
	}
}

static bool
clear_read(struct pack_reader *r, struct pack_view v, struct policy_source *s)
{
	s->clear = array_read(r, v, FIELDS_MAX, sizeof *s->clear, &s->clear_n);
	for (unsigned i = 0; !r->failed && i < s->clear_n; i++) {
		struct policy_clear *c = &s->clear[i];
		struct pack_view row = row_read(r, v, i, 4);
		if (!r->failed && text_read(r, pack_view_at(row, 0), c->path, POLICY_PATH_MAX) &&
		    text_read(r, pack_view_at(row, 1), c->domain.s, NAME_BYTES_MAX) &&
		    canonical_read(r, row, 2, &c->domain, &c->canonical) &&
		    pack_view_bool(r, pack_view_at(row, 3), &c->subject) && !c->path[0])
			pack_fail(r, "a path of a policy is empty");
	}
	return !r->failed;
}

static void
sources_write(struct buf *b, const struct policy *p)
{
	pack_array(b, p->sources_n);
	for (unsigned i = 0; i < p->sources_n; i++) {
		pack_array(b, 3);
		name_write(b, &p->sources[i].name);
		pack_text(b, p->sources[i].where, strlen(p->sources[i].where));
		clear_write(b, &p->sources[i]);
	}
}

static bool
sources_read(struct pack_reader *r, struct pack_view v, struct policy *p)
{
	char where[POLICY_WHERE_MAX + 1];

	p->sources = array_read(r, v, SOURCES_MAX, sizeof *p->sources, &p->sources_n);
	for (unsigned i = 0; !r->failed && i < p->sources_n; i++) {
		struct policy_source *s = &p->sources[i];
		struct pack_view row = row_read(r, v, i, 3);
		if (!r->failed && name_read(r, pack_view_at(row, 0), &s->name) &&
		    text_read(r, pack_view_at(row, 1), where, POLICY_WHERE_MAX) &&
		    clear_read(r, pack_view_at(row, 2), s))
			s->where = mem_string(where);
	}
	return !r->failed;
}

/* ---- token keys ---- */

static void
tokens_write(struct buf *b, const struct policy *p)
{
	pack_array(b, p->tokens_n);
	for (unsigned i = 0; i < p->tokens_n; i++) {
		pack_array(b, 3);
		name_write(b, &p->tokens[i].domain);
		pack_uint(b, p->tokens[i].epoch);
		pack_bytes(b, p->tokens[i].id, KEY_ID_BYTES);
	}
}

static bool
tokens_read(struct pack_reader *r, struct pack_view v, struct policy *p)
{
	uint64_t epoch;

	p->tokens = array_read(r, v, POLICY_TOKENS_MAX, sizeof *p->tokens, &p->tokens_n);
	for (unsigned i = 0; !r->failed && i < p->tokens_n; i++) {
		struct policy_token *t = &p->tokens[i];
		struct pack_view row = row_read(r, v, i, 3);
		if (r->failed || !name_read(r, pack_view_at(row, 0), &t->domain) ||
		    !pack_at_uint(r, row, 1, POLICY_EPOCH_MAX, &epoch) ||
		    !pack_view_fixed(r, pack_view_at(row, 2), t->id, KEY_ID_BYTES))
			return false;
		t->epoch = (unsigned)epoch;
	}
	return !r->failed;
}

/* ---- the body ---- */

static void
body_write(struct buf *b, const struct policy *p)
{
	pack_array(b, BODY_ELEMENTS);
	pack_uint(b, p->serial);
	pack_uint(b, (uint64_t)p->not_before_ms);
	pack_uint(b, (uint64_t)p->not_after_ms);
	name_write(b, &p->pipeline);
	classes_write(b, p);
	roles_write(b, p);
	pack_bytes(b, p->escrow, KEY_PUBLIC_BYTES);
	sealers_write(b, p);
	pack_bytes(b, p->audit, KEY_PUBLIC_BYTES);
	sensitive_write(b, p);
	name_write(b, &p->unknown_class);
	members_write(b, p);
	handoffs_write(b, p);
	sources_write(b, p);
	tokens_write(b, p);
}

static bool
body_read(struct pack_reader *r, struct policy *p)
{
	struct pack_view v;
	uint64_t from, to;

	if (!pack_next_array(r, BODY_ELEMENTS, &v) || !pack_reader_end(r) ||
	    !pack_at_uint(r, v, 0, INT64_MAX, &p->serial) ||
	    !pack_at_uint(r, v, 1, INT64_MAX, &from) || !pack_at_uint(r, v, 2, INT64_MAX, &to))
		return false;
	p->not_before_ms = (int64_t)from;
	p->not_after_ms = (int64_t)to;
	return name_read(r, pack_view_at(v, 3), &p->pipeline) &&
	       classes_read(r, pack_view_at(v, 4), p) && roles_read(r, pack_view_at(v, 5), p) &&
	       pack_view_fixed(r, pack_view_at(v, 6), p->escrow, KEY_PUBLIC_BYTES) &&
	       sealers_read(r, pack_view_at(v, 7), p) &&
	       pack_view_fixed(r, pack_view_at(v, 8), p->audit, KEY_PUBLIC_BYTES) &&
	       sensitive_read(r, pack_view_at(v, 9), p) &&
	       text_read(r, pack_view_at(v, 10), p->unknown_class.s, NAME_BYTES_MAX) &&
	       members_read(r, pack_view_at(v, 11), p) &&
	       handoffs_read(r, pack_view_at(v, 12), p) &&
	       sources_read(r, pack_view_at(v, 13), p) && tokens_read(r, pack_view_at(v, 14), p);
}

/* ---- sense ---- */

static enum seal_error
keys_check(const struct policy *p)
{
	enum seal_error why = key_check_box(p->escrow);

	for (unsigned i = 0; why == SEAL_OK && i < p->roles_n; i++)
		why = key_check_box(p->roles[i].pk);
	for (unsigned i = 0; why == SEAL_OK && i < p->members_n; i++)
		why = key_check_box(p->members[i].pk);
	for (unsigned i = 0; why == SEAL_OK && i < p->sealers_n; i++)
		why = key_check_sign(p->sealers[i]);
	return why == SEAL_OK ? key_check_sign(p->audit) : why;
}

static bool
roles_exist(const struct policy *p, const struct name_list *roles)
{
	for (unsigned i = 0; i < roles->n; i++) {
		if (!policy_role(p, roles->s[i].s))
			return false;
		for (unsigned j = 0; j < i; j++)
			if (strcmp(roles->s[i].s, roles->s[j].s) == 0)
				return false;
	}
	return true;
}

/* That a lookup by name finds the element itself: no name stands twice. */
static bool
names_agree(const struct policy *p)
{
	for (unsigned i = 0; i < p->classes_n; i++)
		if (policy_class(p, p->classes[i].name.s) != &p->classes[i] ||
		    p->classes[i].roles.n == 0 || !roles_exist(p, &p->classes[i].roles))
			return false;
	for (unsigned i = 0; i < p->roles_n; i++)
		if (policy_role(p, p->roles[i].name.s) != &p->roles[i] || p->roles[i].epoch == 0)
			return false;
	for (unsigned i = 0; i < p->members_n; i++)
		if (policy_member(p, p->members[i].name.s) != &p->members[i] ||
		    !roles_exist(p, &p->members[i].roles))
			return false;
	return true;
}

static bool
uses_agree(const struct policy *p)
{
	for (unsigned i = 0; i < p->handoffs_n; i++) {
		const struct policy_handoff *h = &p->handoffs[i];
		if (policy_handoff(p, h->name.s) != h)
			return false;
		for (unsigned j = 0; j < h->recipients.n; j++)
			if (!policy_member(p, h->recipients.s[j].s))
				return false;
	}
	for (unsigned i = 0; i < p->sensitive_n; i++)
		if (!policy_class(p, p->sensitive[i].class.s))
			return false;
	for (unsigned i = 0; i < p->sources_n; i++)
		for (unsigned j = 0; j < i; j++)
			if (strcmp(p->sources[i].name.s, p->sources[j].name.s) == 0)
				return false;
	for (unsigned i = 0; i < p->tokens_n; i++)
		if (!p->tokens[i].epoch ||
		    policy_token(p, p->tokens[i].domain.s, p->tokens[i].epoch) != &p->tokens[i])
			return false;
	return !p->unknown_class.s[0] || policy_class(p, p->unknown_class.s);
}

static enum seal_error
policy_check(const struct policy *p)
{
	enum seal_error why = keys_check(p);

	if (why != SEAL_OK)
		return why;
	if (p->serial == 0 || p->sealers_n == 0 || !policy_class(p, POLICY_DEAD_LETTER) ||
	    !names_agree(p) || !uses_agree(p))
		return SEAL_POLICY;
	return p->not_before_ms <= p->not_after_ms ? SEAL_OK : SEAL_VALIDITY;
}

/* ---- the file ---- */

static void
hash_make(const uint8_t *file, size_t n, uint8_t out[static POLICY_HASH_BYTES])
{
	b2b(NULL, "weir1.policy", file, n, out, POLICY_HASH_BYTES);
}

enum seal_error
policy_sign(struct policy *p, const struct key *root, struct buf *out)
{
	uint8_t signature[KEY_SIGNATURE_BYTES];
	struct buf body = {0};
	struct policy again = {0};
	size_t start = out->len;

	check(key_type(root) == KEY_ROOT);
	body_write(&body, p);
	buf_add(out, magic, sizeof magic);
	put_u32(out, (uint32_t)body.len);
	buf_add(out, body.data, body.len);
	buf_free(&body);
	key_sign(root, context, out->data + start, out->len - start, signature);
	buf_add(out, signature, sizeof signature);
	enum seal_error why =
	    policy_decode(out->data + start, out->len - start, key_public(root), &again);
	if (why == SEAL_OK)
		memcpy(p->hash, again.hash, sizeof p->hash);
	else
		out->len = start;
	policy_free(&again);
	return why;
}

enum seal_error
policy_decode(const void *p, size_t n, const uint8_t *root, struct policy *out)
{
	const uint8_t *file = p;
	struct cursor c = {.p = p, .n = n};
	struct pack_reader r = {0};

	sodium_start();
	*out = (struct policy){0};
	const uint8_t *m = take(&c, sizeof magic);
	if (!m || n > POLICY_BYTES_MAX || memcmp(m, magic, sizeof magic) != 0)
		return SEAL_MALFORMED;
	size_t body_len = (size_t)take_uint(&c, 4);
	const uint8_t *body = take(&c, body_len), *signature = take(&c, KEY_SIGNATURE_BYTES);
	if (!take_end(&c))
		return SEAL_MALFORMED;
	if (root && key_verify(root, context, file, HEAD_BYTES + body_len, signature) != SEAL_OK)
		return SEAL_SIGNATURE;
	pack_reader_start(&r, body, body_len);
	enum seal_error why = body_read(&r, out) ? policy_check(out) : SEAL_MALFORMED;
	pack_reader_free(&r);
	if (why != SEAL_OK)
		policy_free(out);
	else
		hash_make(file, n, out->hash);
	return why;
}
