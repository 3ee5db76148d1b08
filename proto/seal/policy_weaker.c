#include "seal/policy_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct weak { /* what is found, and where it is told */
	const struct policy *is, *wanted;
	struct buf *report;
	unsigned n;
};

static void weak_add(struct weak *w, const char *fmt, ...) PRINTF(2, 3);

static void
weak_add(struct weak *w, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	buf_text(w->report, text);
	buf_byte(w->report, '\n');
	w->n++;
}

static const struct policy_sensitive *
sensitive_find(const struct policy *p, const char *source, const char *path)
{
	for (unsigned i = 0; i < p->sensitive_n; i++)
		if (!strcmp(p->sensitive[i].source.s, source) &&
		    !strcmp(p->sensitive[i].path, path))
			return &p->sensitive[i];
	return NULL;
}

static const struct policy_source *
source_find(const struct policy *p, const char *name)
{
	for (unsigned i = 0; i < p->sources_n; i++)
		if (!strcmp(p->sources[i].name.s, name))
			return &p->sources[i];
	return NULL;
}

static bool
digest_listed(const struct policy_sensitive *s, const uint8_t *digest)
{
	for (unsigned i = 0; i < s->digests_n; i++)
		if (!memcmp(s->digests[i], digest, POLICY_DIGEST_BYTES))
			return true;
	return false;
}

static void
derives_compare(struct weak *w, const struct policy_sensitive *a, const struct policy_sensitive *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b->digests_n; i++)
		n += !digest_listed(a, b->digests[i]);
	if (n)
		weak_add(w,
			 "%s.%s: %u derived field%s read%s it that %s not signed; what %s would "
			 "leave ingest in clear",
			 a->source.s, a->path, n, n == 1 ? "" : "s", n == 1 ? "s" : "",
			 n == 1 ? "is" : "are", n == 1 ? "it says" : "they say");
}

static void
field_compare(struct weak *w, const struct policy_sensitive *a, const struct policy_sensitive *b)
{
	if (strcmp(a->class.s, b->class.s))
		weak_add(w, "%s.%s: sealed to class %s, signed for class %s", a->source.s, a->path,
			 b->class.s, a->class.s);
	if (*b->domain.s && strcmp(a->domain.s, b->domain.s))
		weak_add(w,
			 "%s.%s: a token of domain %s is not signed; equal values would be seen to "
			 "be equal",
			 a->source.s, a->path, b->domain.s);
	else if (*b->domain.s && a->canonical != b->canonical)
		weak_add(w,
			 "%s.%s: another canonical form than the signed one; a person would have "
			 "another pseudonym, which no erasure finds",
			 a->source.s, a->path);
	if (b->padexp < a->padexp)
		weak_add(w, "%s.%s: padded less than signed; lengths tell more", a->source.s,
			 a->path);
	if (a->subject && !b->subject)
		weak_add(w, "%s.%s: no longer the subject; persons could not be erased any more",
			 a->source.s, a->path);
	derives_compare(w, a, b);
}

/* The name under which `wanted` reads what the signed source `name` was; NULL: nowhere. */
static const char *
source_now(const struct weak *w, const char *name)
{
	const struct policy_source *was = source_find(w->is, name);

	if (source_find(w->wanted, name))
		return name;
	for (unsigned i = 0; was && i < w->wanted->sources_n; i++)
		if (!strcmp(w->wanted->sources[i].where, was->where))
			return w->wanted->sources[i].name.s;
	return NULL;
}

static void
fields_compare(struct weak *w)
{
	for (unsigned i = 0; i < w->is->sensitive_n; i++) {
		const struct policy_sensitive *a = &w->is->sensitive[i];
		const char *source = source_now(w, a->source.s);
		if (!source)
			continue;
		const struct policy_sensitive *b = sensitive_find(w->wanted, source, a->path);
		if (b)
			field_compare(w, a, b);
		else
			weak_add(w, "%s.%s: no longer sensitive; signed for class %s", source,
				 a->path, a->class.s);
	}
}

static const struct policy_clear *
clear_find(const struct policy_source *s, const char *path)
{
	for (unsigned i = 0; s && i < s->clear_n; i++)
		if (!strcmp(s->clear[i].path, path))
			return &s->clear[i];
	return NULL;
}

/* What a signed source is read for in clear: a path that was not signed to be may hold anything. */
static void
clear_compare(struct weak *w, const struct policy_source *a, const struct policy_source *b)
{
	for (unsigned i = 0; i < b->clear_n; i++) {
		const struct policy_clear *c = &b->clear[i], *was = clear_find(a, c->path);
		if (!was && !sensitive_find(w->is, a->name.s, c->path)) /* else it is told */
			weak_add(w, "%s.%s: read in clear, which is not signed", b->name.s,
				 c->path);
		else if (was && *c->domain.s && strcmp(was->domain.s, c->domain.s))
			weak_add(w, "%s.%s: a token of domain %s is not signed", b->name.s, c->path,
				 c->domain.s);
		else if (was && *c->domain.s && was->canonical != c->canonical)
			weak_add(w, "%s.%s: another canonical form than the signed one", b->name.s,
				 c->path);
	}
}

/* A path that is new, though sealed: what it tells in clear, and to whom it is sealed. */
static void
sealed_new(struct weak *w, const struct policy_sensitive *b)
{
	const char *unknown = w->is->unknown_class.s;
	const struct policy_source *a = source_find(w->is, b->source.s);

	if (sensitive_find(w->is, b->source.s, b->path) || clear_find(a, b->path))
		return;
	if (b->digests_n)
		weak_add(w, "%s.%s: read by a derived field, and not signed", b->source.s, b->path);
	if (*b->domain.s)
		weak_add(w, "%s.%s: a token of domain %s is not signed", b->source.s, b->path,
			 b->domain.s);
	if (*unknown && strcmp(unknown, b->class.s))
		weak_add(w, "%s.%s: sealed to class %s; as an undeclared field signed for %s",
			 b->source.s, b->path, b->class.s, unknown);
}

/* A class that the policy does not know has no recipients: nothing could be sealed to it. */
static void
new_compare(struct weak *w)
{
	for (unsigned i = 0; i < w->wanted->sensitive_n; i++) {
		const struct policy_sensitive *b = &w->wanted->sensitive[i];
		if (!policy_class(w->is, b->class.s))
			weak_add(w, "%s.%s: class %s is not signed: nobody would be its recipient",
				 b->source.s, b->path, b->class.s);
		sealed_new(w, b);
	}
	for (unsigned i = 0; i < w->wanted->sources_n; i++) {
		const struct policy_source *b = &w->wanted->sources[i];
		const struct policy_source *a = source_find(w->is, b->name.s);
		if (!a)
			weak_add(w, "source %s is not signed", b->name.s);
		else if (strcmp(a->where, b->where))
			weak_add(w, "source %s reads %s, signed for %s", b->name.s, b->where,
				 a->where);
		if (a)
			clear_compare(w, a, b);
	}
}

static void
unknown_compare(struct weak *w)
{
	const char *a = w->is->unknown_class.s, *b = w->wanted->unknown_class.s;

	if (*b && strcmp(a, b))
		weak_add(w, "undeclared fields are sealed to class %s, signed for %s", b,
			 *a ? a : "none");
}

static void
handoff_compare(struct weak *w, const struct policy_handoff *b)
{
	const struct policy_handoff *a = policy_handoff(w->is, b->name.s);

	if (!a) {
		weak_add(w, "hand-over %s is not signed", b->name.s);
		return;
	}
	if (memcmp(a->query, b->query, POLICY_DIGEST_BYTES))
		weak_add(w, "hand-over %s: another query than the signed one", b->name.s);
	if (strcmp(policy_purpose(a), policy_purpose(b)))
		weak_add(w, "hand-over %s: another purpose than the signed one", b->name.s);
	for (unsigned i = 0; i < b->recipients.n; i++)
		if (!name_list_has(&a->recipients, b->recipients.s[i].s))
			weak_add(w, "hand-over %s: recipient %s is not signed", b->name.s,
				 b->recipients.s[i].s);
	for (unsigned i = 0; a->columns.n && i < b->columns.n; i++)
		if (!name_list_has(&a->columns, b->columns.s[i].s))
			weak_add(w, "hand-over %s: column %s is not signed", b->name.s,
				 b->columns.s[i].s);
}

unsigned
policy_weaker(const struct policy *is, const struct policy *wanted, struct buf *report)
{
	struct weak w = {.is = is, .wanted = wanted, .report = report};

	if (strcmp(is->pipeline.s, wanted->pipeline.s))
		weak_add(&w, "the policy is of pipeline %s, not of %s", is->pipeline.s,
			 wanted->pipeline.s);
	fields_compare(&w);
	new_compare(&w);
	unknown_compare(&w);
	for (unsigned i = 0; i < wanted->handoffs_n; i++)
		handoff_compare(&w, &wanted->handoffs[i]);
	return w.n;
}

bool
policy_model_check(const struct policy *is, const struct model *m, struct err *e)
{
	struct policy wanted = {0};
	struct buf report = {0};

	policy_of_model(&wanted, m);
	unsigned n = policy_weaker(is, &wanted, &report);
	if (n) {
		const char *text = buf_cstr(&report);
		err_set(e, EXIT_PERMISSION,
			"the pipeline file is not what was signed: %.*s%s; `weir keys policy sign` "
			"shows the difference",
			(int)strcspn(text, "\n"), text, n > 1 ? " (and more)" : "");
	}
	buf_free(&report);
	policy_free(&wanted);
	return !n && policy_covers(is, m, e);
}

bool
policy_token_check(const struct policy *is, const char *domain, const struct token_key *key,
		   struct err *e)
{
	unsigned epoch = token_key_epoch(key);
	const struct policy_token *t = policy_token(is, domain, epoch);
	uint8_t id[KEY_ID_BYTES];

	if (!t)
		return err_set(e, EXIT_PERMISSION,
			       "the token key of domain %s, epoch %u is not in the signed policy; "
			       "`weir keys policy sign` puts it there, then `weir apply`",
			       domain, epoch);
	token_key_id(key, id);
	if (memcmp(t->id, id, sizeof id))
		return err_set(e, EXIT_PERMISSION,
			       "the token key of domain %s, epoch %u is another than the signed "
			       "policy lists: put the right file back",
			       domain, epoch);
	return true;
}

bool
policy_handoff_check(const struct policy *is, const struct handoff *h, struct err *e)
{
	const struct policy_handoff *a = policy_handoff(is, h->name.s);
	uint8_t digest[POLICY_DIGEST_BYTES];

	if (!a)
		return err_set(e, EXIT_PERMISSION, "hand-over %s is not in the signed policy",
			       h->name.s);
	policy_digest_query(h->query, digest);
	if (memcmp(a->query, digest, sizeof digest))
		return err_set(e, EXIT_PERMISSION,
			       "hand-over %s: its query is another than the signed one", h->name.s);
	if (strcmp(policy_purpose(a), h->purpose ? h->purpose : ""))
		return err_set(e, EXIT_PERMISSION,
			       "hand-over %s: its purpose is another than the signed one",
			       h->name.s);
	for (unsigned i = 0; i < h->recipients_n; i++)
		if (!name_list_has(&a->recipients, h->recipients[i].s))
			return err_set(e, EXIT_PERMISSION,
				       "hand-over %s: recipient %s is not in the signed policy",
				       h->name.s, h->recipients[i].s);
		else if (!policy_member(is, h->recipients[i].s))
			return err_set(e, EXIT_PERMISSION,
				       "hand-over %s: recipient %s is no member of the policy",
				       h->name.s, h->recipients[i].s);
	return true;
}
