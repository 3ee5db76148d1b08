#include <stdio.h>

#include "seal/policy.h"
#include "seal/policy_text.h"
#include "seal/private.h"

/* A policy for a person, and the names of things in it. */

struct id_text
policy_hex_text(const uint8_t *id)
{
	struct id_text t;

	for (unsigned i = 0; i < 8; i++)
		snprintf(t.s + 2 * i, 3, "%02x", id[i]);
	return t;
}

struct id_text
policy_id_text(const uint8_t *pk)
{
	uint8_t id[KEY_ID_BYTES];

	key_id(pk, id);
	return policy_hex_text(id);
}

void
policy_list_text(const struct name_list *l, char *out, size_t max)
{
	size_t at = 0;

	snprintf(out, max, "nobody");
	for (unsigned i = 0; i < l->n && at < max; i++)
		at += (size_t)snprintf(out + at, max - at, "%s%s", i ? ", " : "", l->s[i].s);
}

/* The members of a role, by name. */
void
policy_members_text(const struct policy *p, const char *role, char *out, size_t max)
{
	size_t at = 0;

	snprintf(out, max, "no member");
	for (unsigned i = 0; i < p->members_n && at < max; i++)
		if (name_list_has(&p->members[i].roles, role))
			at += (size_t)snprintf(out + at, max - at, "%s%s", at ? ", " : "",
					       p->members[i].name.s);
}

const char *
policy_form_name(unsigned canonical)
{
	static const char *const names[] = {"as it is", "digits", "lower", "cpf"};

	check(canonical < sizeof names / sizeof *names);
	return names[canonical];
}

/* ---- the whole ---- */

static void
moment_print(struct buf *b, const char *what, int64_t ms)
{
	char text[VALUE_FORMAT_MAX];
	struct value v = value_timestamp(ms > INT64_MAX / 1000 ? INT64_MAX : ms * 1000);
	static const int64_t year_10000_us = 253402300800000000;

	if (v.integer >= year_10000_us) {
		buf_printf(b, "  %-12s no end\n", what);
		return;
	}
	size_t n = value_format(&v, text);
	buf_printf(b, "  %-12s %.*s\n", what, (int)n, text);
}

static void
token_show(const struct name *domain, unsigned canonical, struct buf *b)
{
	if (domain->s[0])
		buf_printf(b, ", token %s (%s)", domain->s, policy_form_name(canonical));
}

static void
source_show(const struct policy_source *s, struct buf *b)
{
	buf_printf(b, "  source       %s reads %s\n", s->name.s, s->where);
	for (unsigned i = 0; i < s->clear_n; i++) {
		const struct policy_clear *c = &s->clear[i];
		buf_printf(b, "  in clear     %s.%s", s->name.s, c->path);
		token_show(&c->domain, c->canonical, b);
		buf_text(b, c->subject ? ", the person\n" : "\n");
	}
}

static void
protected_show(const struct policy *p, struct buf *b)
{
	for (unsigned i = 0; i < p->sources_n; i++)
		source_show(&p->sources[i], b);
	for (unsigned i = 0; i < p->sensitive_n; i++) {
		const struct policy_sensitive *s = &p->sensitive[i];
		buf_printf(b, "  sealed       %s.%s to class %s", s->source.s, s->path, s->class.s);
		token_show(&s->domain, s->canonical, b);
		buf_text(b, s->subject ? ", the person" : "");
		buf_printf(b, ", padded to %u", s->padexp ? 1u << s->padexp : 0);
		if (s->digests_n)
			buf_printf(b, ", read by %u derived", s->digests_n);
		buf_text(b, "\n");
	}
	buf_printf(b, "  undeclared   %s%s\n",
		   p->unknown_class.s[0] ? "sealed to class " : "not kept", p->unknown_class.s);
}

void
policy_show(const struct policy *p, struct buf *words)
{
	char list[1024];

	buf_printf(words, "policy of pipeline %s, serial %llu\n", p->pipeline.s,
		   (unsigned long long)p->serial);
	moment_print(words, "from", p->not_before_ms);
	moment_print(words, "until", p->not_after_ms);
	protected_show(p, words);
	for (unsigned i = 0; i < p->classes_n; i++) {
		policy_list_text(&p->classes[i].roles, list, sizeof list);
		buf_printf(words, "  class        %s opened by %s, escrow\n", p->classes[i].name.s,
			   list);
	}
	for (unsigned i = 0; i < p->roles_n; i++) {
		policy_members_text(p, p->roles[i].name.s, list, sizeof list);
		buf_printf(words, "  role         %s, epoch %u, key %s: %s\n", p->roles[i].name.s,
			   p->roles[i].epoch, policy_id_text(p->roles[i].pk).s, list);
	}
	for (unsigned i = 0; i < p->members_n; i++)
		buf_printf(words, "  member       %s, key %s\n", p->members[i].name.s,
			   policy_id_text(p->members[i].pk).s);
	for (unsigned i = 0; i < p->handoffs_n; i++) {
		policy_list_text(&p->handoffs[i].recipients, list, sizeof list);
		buf_printf(words, "  hand-over    %s for %s: %s\n", p->handoffs[i].name.s, list,
			   policy_purpose(&p->handoffs[i]));
	}
	for (unsigned i = 0; i < p->tokens_n; i++)
		buf_printf(words, "  token key    domain %s, epoch %u, id %s\n",
			   p->tokens[i].domain.s, p->tokens[i].epoch,
			   policy_hex_text(p->tokens[i].id).s);
	buf_printf(words, "  escrow       key %s\n", policy_id_text(p->escrow).s);
	for (unsigned i = 0; i < p->sealers_n; i++)
		buf_printf(words, "  sealer       key %s\n", policy_id_text(p->sealers[i]).s);
	buf_printf(words, "  audit        key %s\n", policy_id_text(p->audit).s);
}
