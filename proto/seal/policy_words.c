#include <stdarg.h>
#include <stdio.h>

#include "seal/policy.h"
#include "seal/policy_text.h"
#include "seal/private.h"

/* What two policies differ in, each difference with what it means for whoever signs it. */

struct words {
	struct buf *out;
	unsigned lines, weaker;
};

enum { LINE_MAX_BYTES = 1024 };

/* kind '+' something is new, '-' gone, '~' changed. `weaker`: it is one of those to think about. */
static void PRINTF(4, 5) say(struct words *w, char kind, bool weaker, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	buf_printf(w->out, "%c %s%s\n", kind, weaker ? "! " : "", line);
	w->lines++;
	w->weaker += weaker;
}

static bool
key_equal(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, KEY_PUBLIC_BYTES) == 0;
}

/* The classes that a role opens. */
static void
classes_text(const struct policy *p, const char *role, char *out, size_t max)
{
	size_t at = 0;

	snprintf(out, max, "no class");
	for (unsigned i = 0; i < p->classes_n && at < max; i++)
		if (name_list_has(&p->classes[i].roles, role))
			at += (size_t)snprintf(out + at, max - at, "%s%s", at ? ", " : "",
					       p->classes[i].name.s);
}

/* ---- who can open what ---- */

static void
classes_differ(struct words *w, const struct policy *a, const struct policy *b)
{
	static const struct name_list none;
	char who[256];

	for (unsigned i = 0; i < b->classes_n; i++) {
		const struct policy_class *c = &b->classes[i], *old = policy_class(a, c->name.s);
		const struct name_list *before = old ? &old->roles : &none;
		for (unsigned j = 0; j < c->roles.n; j++) {
			if (name_list_has(before, c->roles.s[j].s))
				continue;
			policy_members_text(b, c->roles.s[j].s, who, sizeof who);
			say(w, '+', true,
			    "role %s (%s) can open class %s: all that is sealed to it from "
			    "now on%s",
			    c->roles.s[j].s, who, c->name.s,
			    old ? "; what is sealed already only after weir keys grant" : "");
		}
	}
	for (unsigned i = 0; i < a->classes_n; i++) {
		const struct policy_class *old = &a->classes[i], *c = policy_class(b, old->name.s);
		if (!c)
			say(w, '-', false,
			    "class %s is gone: nothing is sealed to it any more; who holds "
			    "its keys can still open what was",
			    old->name.s);
		for (unsigned j = 0; c && j < old->roles.n; j++)
			if (!name_list_has(&c->roles, old->roles.s[j].s))
				say(w, '-', false,
				    "role %s cannot open what is sealed to class %s from "
				    "now on; what was sealed before stays open to it until its "
				    "wraps "
				    "are deleted",
				    old->roles.s[j].s, c->name.s);
	}
}

static void
roles_differ(struct words *w, const struct policy *a, const struct policy *b)
{
	for (unsigned i = 0; i < b->roles_n; i++) {
		const struct policy_role *r = &b->roles[i], *old = policy_role(a, r->name.s);
		if (!old)
			say(w, '+', false, "role %s, epoch %u, key %s", r->name.s, r->epoch,
			    policy_id_text(r->pk).s);
		else if (!key_equal(old->pk, r->pk))
			say(w, '~', r->epoch <= old->epoch,
			    "role %s has another key, %s for %s (epoch %u after %u): only who "
			    "holds "
			    "the new secret opens what is sealed from now on",
			    r->name.s, policy_id_text(r->pk).s, policy_id_text(old->pk).s, r->epoch,
			    old->epoch);
		else if (old->epoch != r->epoch)
			say(w, '~', false, "role %s: epoch %u after %u, the same key", r->name.s,
			    r->epoch, old->epoch);
	}
	for (unsigned i = 0; i < a->roles_n; i++)
		if (!policy_role(b, a->roles[i].name.s))
			say(w, '-', false, "role %s is gone: nothing is sealed to it any more",
			    a->roles[i].name.s);
}

static void
member_roles_differ(struct words *w, const struct policy *b, const struct policy_member *old,
		    const struct policy_member *m)
{
	static const struct name_list none;
	const struct name_list *before = old ? &old->roles : &none;
	char classes[256];

	for (unsigned i = 0; i < m->roles.n; i++) {
		if (name_list_has(before, m->roles.s[i].s))
			continue;
		classes_text(b, m->roles.s[i].s, classes, sizeof classes);
		say(w, '+', true,
		    "%s (member) can open %s through role %s: everything sealed to that "
		    "role so far too, as soon as its secret was granted",
		    m->name.s, classes, m->roles.s[i].s);
	}
	for (unsigned i = 0; old && i < old->roles.n; i++)
		if (!name_list_has(&m->roles, old->roles.s[i].s))
			say(w, '-', false,
			    "%s (member) leaves role %s: whoever had its secret keeps it; "
			    "weir keys rotate role makes it worthless for what comes",
			    m->name.s, old->roles.s[i].s);
}

static void
members_differ(struct words *w, const struct policy *a, const struct policy *b)
{
	for (unsigned i = 0; i < b->members_n; i++) {
		const struct policy_member *m = &b->members[i], *old = policy_member(a, m->name.s);
		if (!old)
			say(w, '+', false, "member %s, key %s", m->name.s, policy_id_text(m->pk).s);
		else if (!key_equal(old->pk, m->pk))
			say(w, '~', true,
			    "member %s has another key, %s for %s: make sure that it is "
			    "theirs",
			    m->name.s, policy_id_text(m->pk).s, policy_id_text(old->pk).s);
		member_roles_differ(w, b, old, m);
	}
	for (unsigned i = 0; i < a->members_n; i++)
		if (!policy_member(b, a->members[i].name.s))
			say(w, '-', false,
			    "member %s is gone: gets no hand-over and no secret any more; "
			    "what they have copied stays theirs, so rotate their roles",
			    a->members[i].name.s);
}

/* ---- the deployment's own keys ---- */

static bool
sealer_in(const struct policy *p, const uint8_t *pk)
{
	for (unsigned i = 0; i < p->sealers_n; i++)
		if (key_equal(p->sealers[i], pk))
			return true;
	return false;
}

static void
deployment_differs(struct words *w, const struct policy *a, const struct policy *b)
{
	if (!key_equal(a->escrow, b->escrow))
		say(w, '~', true,
		    "escrow key %s: its holder can open everything that is sealed from "
		    "now on",
		    policy_id_text(b->escrow).s);
	if (!key_equal(a->audit, b->audit))
		say(w, '~', true, "audit key %s signs the chain of releases",
		    policy_id_text(b->audit).s);
	for (unsigned i = 0; i < b->sealers_n; i++)
		if (!sealer_in(a, b->sealers[i]))
			say(w, '+', true, "sealer %s: envelopes that it signs are believed",
			    policy_id_text(b->sealers[i]).s);
	for (unsigned i = 0; i < a->sealers_n; i++)
		if (!sealer_in(b, a->sealers[i]))
			say(w, '-', false,
			    "sealer %s is not believed any more: what it has signed cannot "
			    "be opened",
			    policy_id_text(a->sealers[i]).s);
}

/* ---- what is protected ---- */

static const struct policy_sensitive *
sensitive_find(const struct policy *p, const struct policy_sensitive *like)
{
	for (unsigned i = 0; i < p->sensitive_n; i++)
		if (strcmp(p->sensitive[i].source.s, like->source.s) == 0 &&
		    strcmp(p->sensitive[i].path, like->path) == 0)
			return &p->sensitive[i];
	return NULL;
}

static unsigned
digests_new(const struct policy_sensitive *old, const struct policy_sensitive *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->digests_n; i++) {
		bool known = false;
		for (unsigned j = 0; old && j < old->digests_n; j++)
			known |= memcmp(old->digests[j], s->digests[i], POLICY_DIGEST_BYTES) == 0;
		n += !known;
	}
	return n;
}

/* A person whose identifier is written in another form is another one. */
static void
form_differs(struct words *w, const char *source, const char *path, const char *domain,
	     unsigned old, unsigned now)
{
	if (domain[0] && old != now)
		say(w, '~', true,
		    "%s.%s is tokenised in the form \"%s\", no longer \"%s\": the same person has "
		    "other tokens and another pseudonym from now on",
		    source, path, policy_form_name(now), policy_form_name(old));
}

static void
pad_differs(struct words *w, const struct policy_sensitive *old, const struct policy_sensitive *s)
{
	if (old->padexp != s->padexp)
		say(w, '~', s->padexp < old->padexp,
		    "%s.%s is padded to %u bytes, no longer to %u: its length tells %s",
		    s->source.s, s->path, s->padexp ? 1u << s->padexp : 0,
		    old->padexp ? 1u << old->padexp : 0, s->padexp < old->padexp ? "more" : "less");
}

static void
protection_differs(struct words *w, const struct policy_sensitive *old,
		   const struct policy_sensitive *s)
{
	const char *source = s->source.s, *path = s->path;

	if (!old)
		say(w, '+', false, "%s.%s is sealed to class %s", source, path, s->class.s);
	else if (strcmp(old->class.s, s->class.s) != 0)
		say(w, '~', true,
		    "%s.%s is sealed to class %s, no longer to %s: other roles open it", source,
		    path, s->class.s, old->class.s);
	if (s->domain.s[0] && (!old || strcmp(old->domain.s, s->domain.s) != 0))
		say(w, '+', true,
		    "%s.%s gets a token of domain %s: readers of rows can tell which "
		    "values are equal, and who has the token key can try every value",
		    source, path, s->domain.s);
	if (old && old->domain.s[0] && !s->domain.s[0])
		say(w, '-', false, "%s.%s gets no token any more", source, path);
	if (old && strcmp(old->domain.s, s->domain.s) == 0)
		form_differs(w, source, path, s->domain.s, old->canonical, s->canonical);
	if (old)
		pad_differs(w, old, s);
	if (s->subject && (!old || !old->subject))
		say(w, '+', false, "%s: records are bound to the person in %s, who can be erased",
		    source, path);
	if (old && old->subject && !s->subject)
		say(w, '-', true,
		    "%s: records are no longer bound to the person in %s: erasing that "
		    "person will not close them",
		    source, path);
	if (digests_new(old, s))
		say(w, '+', true,
		    "%s.%s is read by %u new derived field%s, whose result is in clear", source,
		    path, digests_new(old, s), digests_new(old, s) == 1 ? "" : "s");
	if (old && digests_new(s, old))
		say(w, '-', false, "%s.%s: %u derived field%s no longer read%s it", source, path,
		    digests_new(s, old), digests_new(s, old) == 1 ? "" : "s",
		    digests_new(s, old) == 1 ? "s" : "");
}

static void
sensitive_differs(struct words *w, const struct policy *a, const struct policy *b)
{
	for (unsigned i = 0; i < b->sensitive_n; i++)
		protection_differs(w, sensitive_find(a, &b->sensitive[i]), &b->sensitive[i]);
	for (unsigned i = 0; i < a->sensitive_n; i++)
		if (!sensitive_find(b, &a->sensitive[i]))
			say(w, '-', true,
			    "%s.%s is no longer sealed: whoever reads rows may read it in "
			    "clear from now on",
			    a->sensitive[i].source.s, a->sensitive[i].path);
	if (strcmp(a->unknown_class.s, b->unknown_class.s) == 0)
		return;
	if (!b->unknown_class.s[0])
		say(w, '-', false, "undeclared fields are not kept any more");
	else
		say(w, '~', a->unknown_class.s[0], "undeclared fields are kept, sealed to class %s",
		    b->unknown_class.s);
}

static const struct policy_source *
source_find(const struct policy *p, const char *name)
{
	for (unsigned i = 0; i < p->sources_n; i++)
		if (strcmp(p->sources[i].name.s, name) == 0)
			return &p->sources[i];
	return NULL;
}

static const struct policy_clear *
clear_find(const struct policy_source *s, const char *path)
{
	for (unsigned i = 0; s && i < s->clear_n; i++)
		if (strcmp(s->clear[i].path, path) == 0)
			return &s->clear[i];
	return NULL;
}

/* One line a path: in a list one of them would not be seen. */
static void
clear_differs(struct words *w, const struct policy_source *old, const struct policy_source *s)
{
	const char *name = s->name.s;

	for (unsigned i = 0; i < s->clear_n; i++) {
		const struct policy_clear *c = &s->clear[i], *was = clear_find(old, c->path);
		if (!was)
			say(w, '+', true, "%s.%s is read in clear", name, c->path);
		if (c->domain.s[0] && (!was || strcmp(was->domain.s, c->domain.s) != 0))
			say(w, '+', true, "%s.%s gets a token of domain %s", name, c->path,
			    c->domain.s);
		else if (was)
			form_differs(w, name, c->path, c->domain.s, was->canonical, c->canonical);
		if (c->subject && (!was || !was->subject))
			say(w, '+', false,
			    "%s: records are bound to the person in %s, who can be erased", name,
			    c->path);
		if (was && was->subject && !c->subject)
			say(w, '-', true, "%s: records are no longer bound to the person in %s",
			    name, c->path);
	}
	for (unsigned i = 0; old && i < old->clear_n; i++)
		if (!clear_find(s, old->clear[i].path))
			say(w, '-', old->clear[i].subject, "%s.%s is not read in clear any more%s",
			    name, old->clear[i].path,
			    old->clear[i].subject ? "; records were bound to the person in it"
						  : "");
}

static void
sources_differ(struct words *w, const struct policy *a, const struct policy *b)
{
	for (unsigned i = 0; i < b->sources_n; i++) {
		const struct policy_source *s = &b->sources[i], *old = source_find(a, s->name.s);
		if (!old)
			say(w, '+', true,
			    "source %s reads %s: only what is listed here of its events", s->name.s,
			    s->where);
		else if (strcmp(old->where, s->where) != 0)
			say(w, '~', true, "source %s reads %s, no longer %s", s->name.s, s->where,
			    old->where);
		clear_differs(w, old, s);
	}
	for (unsigned i = 0; i < a->sources_n; i++)
		if (!source_find(b, a->sources[i].name.s))
			say(w, '-', false, "source %s is not read any more", a->sources[i].name.s);
}

/* ---- what leaves ---- */

static void
handoff_differs(struct words *w, const struct policy_handoff *old, const struct policy_handoff *h)
{
	char list[512];

	for (unsigned i = 0; i < h->recipients.n; i++)
		if (!name_list_has(&old->recipients, h->recipients.s[i].s))
			say(w, '+', true, "%s (member) receives hand-over %s, opened",
			    h->recipients.s[i].s, h->name.s);
	for (unsigned i = 0; i < old->recipients.n; i++)
		if (!name_list_has(&h->recipients, old->recipients.s[i].s))
			say(w, '-', false,
			    "%s (member) does not receive hand-over %s any more; files that "
			    "were made stay theirs",
			    old->recipients.s[i].s, h->name.s);
	for (unsigned i = 0; i < h->columns.n; i++)
		if (!name_list_has(&old->columns, h->columns.s[i].s))
			say(w, '+', true, "hand-over %s has column %s too", h->name.s,
			    h->columns.s[i].s);
	for (unsigned i = 0; i < old->columns.n; i++)
		if (!name_list_has(&h->columns, old->columns.s[i].s))
			say(w, '-', false, "hand-over %s has no column %s any more", h->name.s,
			    old->columns.s[i].s);
	if (memcmp(old->query, h->query, POLICY_DIGEST_BYTES) != 0) {
		policy_list_text(&h->recipients, list, sizeof list);
		say(w, '~', true, "hand-over %s asks another query, for %s", h->name.s, list);
	}
	if (strcmp(policy_purpose(old), policy_purpose(h)) != 0)
		say(w, '~', true, "hand-over %s is for another purpose: %.400s; before: %.400s",
		    h->name.s, policy_purpose(h), policy_purpose(old));
}

static void
handoffs_differ(struct words *w, const struct policy *a, const struct policy *b)
{
	char list[512];

	for (unsigned i = 0; i < b->handoffs_n; i++) {
		const struct policy_handoff *h = &b->handoffs[i],
					    *old = policy_handoff(a, h->name.s);
		if (old) {
			handoff_differs(w, old, h);
			continue;
		}
		policy_list_text(&h->recipients, list, sizeof list);
		say(w, '+', true,
		    "hand-over %s: its rows leave the database, opened, for %s: %.400s", h->name.s,
		    list, policy_purpose(h));
	}
	for (unsigned i = 0; i < a->handoffs_n; i++)
		if (!policy_handoff(b, a->handoffs[i].name.s))
			say(w, '-', false, "hand-over %s is gone; files that were made stay",
			    a->handoffs[i].name.s);
}

/* ---- token keys ---- */

static void
tokens_differ(struct words *w, const struct policy *a, const struct policy *b)
{
	for (unsigned i = 0; i < b->tokens_n; i++) {
		const struct policy_token *t = &b->tokens[i];
		const struct policy_token *old = policy_token(a, t->domain.s, t->epoch);
		if (!old)
			say(w, '+', false, "token key of domain %s, epoch %u, id %s", t->domain.s,
			    t->epoch, policy_hex_text(t->id).s);
		else if (memcmp(old->id, t->id, KEY_ID_BYTES) != 0)
			say(w, '~', true,
			    "domain %s, epoch %u has another token key, id %s for %s: persons get "
			    "other pseudonyms, and those under the old key cannot be erased "
			    "without it",
			    t->domain.s, t->epoch, policy_hex_text(t->id).s,
			    policy_hex_text(old->id).s);
	}
	for (unsigned i = 0; i < a->tokens_n; i++)
		if (!policy_token(b, a->tokens[i].domain.s, a->tokens[i].epoch))
			say(w, '-', true,
			    "the token key of domain %s, epoch %u is gone: persons who are known "
			    "under it alone cannot be erased",
			    a->tokens[i].domain.s, a->tokens[i].epoch);
}

unsigned
policy_difference(const struct policy *from, const struct policy *to, struct buf *words,
		  unsigned *weaker)
{
	static const struct policy nothing;
	const struct policy *a = from ? from : &nothing;
	struct words w = {.out = words};

	if (strcmp(a->pipeline.s, to->pipeline.s) != 0)
		say(&w, from ? '~' : '+', from != NULL, "this is the policy of pipeline %s",
		    to->pipeline.s);
	sources_differ(&w, a, to);
	sensitive_differs(&w, a, to);
	classes_differ(&w, a, to);
	roles_differ(&w, a, to);
	members_differ(&w, a, to);
	handoffs_differ(&w, a, to);
	tokens_differ(&w, a, to);
	deployment_differs(&w, a, to);
	*weaker = w.weaker;
	return w.lines;
}
