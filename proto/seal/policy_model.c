#include <stdio.h>
#include <stdlib.h>

#include "mem.h"
#include "seal/policy.h"
#include "seal/private.h"

/* The pipeline file's side of a policy: what it would list, and whether it is as strong. */

/* ---- what the model says ---- */

static char *
where_text(const struct source *s)
{
	struct buf b = {0};

	switch (s->kind) {
	case SOURCE_KAFKA:
		buf_printf(&b, "kafka %s", s->topic ? s->topic : "");
		break;
	case SOURCE_RABBITMQ:
		buf_printf(&b, "rabbitmq %s", s->queue ? s->queue : "");
		break;
	case SOURCE_FILE:
		buf_printf(&b, "file %s", s->path ? s->path : "");
		break;
	case SOURCE_EXCHANGE:
	case SOURCE_KIND_MAX:
		panic("a source of kind %d", s->kind);
	}
	size_t n = b.len < POLICY_WHERE_MAX ? b.len : POLICY_WHERE_MAX;
	char *text = mem_string_n((const char *)b.data, n);
	buf_free(&b);
	return text;
}

struct reads { /* fields[]: read, directly or through other derived fields */
	bool of[FIELDS_MAX];
};

static void
read_mark(void *ctx, unsigned slot)
{
	struct reads *r = ctx;

	if (slot < FIELDS_MAX)
		r->of[slot] = true;
}

/* Whether derived field i reads field f: a derived field reads only those before it. */
static bool
derive_reads(const struct source *s, unsigned i, unsigned f)
{
	struct reads all = {{false}};

	expr_slots(s->fields[i].derive, read_mark, &all);
	for (unsigned j = i; j-- > f;)
		if (all.of[j] && s->fields[j].derive)
			expr_slots(s->fields[j].derive, read_mark, &all);
	return all.of[f];
}

/* The digests of the derived fields that read field f; the caller frees them. */
static unsigned
digests_make(const struct source *s, unsigned f, uint8_t (**out)[POLICY_DIGEST_BYTES])
{
	unsigned n = 0;

	*out = mem_zero(s->fields_n, POLICY_DIGEST_BYTES);
	for (unsigned i = f + 1; i < s->fields_n; i++) {
		const struct field *d = &s->fields[i];
		if (d->derive && derive_reads(s, i, f))
			policy_digest_derive(d->name.s, d->derive_text, (*out)[n++]);
	}
	return n;
}

/* An entry for a sensitive field; a json of undeclared fields is the policy's unknown class. */
static bool
sensitive_of(const struct model *m, const struct source *s, unsigned f,
	     struct policy_sensitive *out)
{
	const struct field *x = &s->fields[f];

	*out = (struct policy_sensitive){.source = s->name};
	if (x->class < 0 || (int)f == s->unknown_field)
		return false;
	snprintf(out->path, sizeof out->path, "%s", x->path);
	out->class = m->classes[x->class];
	out->padexp = x->padexp;
	if (x->domain >= 0) {
		out->domain = m->domains[x->domain].name;
		out->canonical = (uint8_t)x->canonical;
	}
	out->subject = s->subject_field == (int)f;
	out->digests_n = digests_make(s, f, &out->digests);
	return true;
}

/* What stands in the event under a declared name and is not sealed. */
static bool
clear_in_event(const struct source *s, unsigned f)
{
	const struct field *x = &s->fields[f];

	return x->class < 0 && !x->derive && x->token_of < 0 && (int)f != s->unknown_field;
}

static void
clear_take(struct policy_source *to, const struct model *m, const struct source *s)
{
	to->clear = mem_zero(s->fields_n ? s->fields_n : 1, sizeof *to->clear);
	for (unsigned f = 0; f < s->fields_n; f++) {
		const struct field *x = &s->fields[f];
		struct policy_clear *c = &to->clear[to->clear_n];
		if (!clear_in_event(s, f))
			continue;
		snprintf(c->path, sizeof c->path, "%s", x->path);
		c->subject = s->subject_field == (int)f;
		if (x->domain >= 0) {
			c->domain = m->domains[x->domain].name;
			c->canonical = (uint8_t)x->canonical;
		}
		to->clear_n++;
	}
}

static void
source_take(struct policy *p, const struct model *m, const struct source *s)
{
	p->sources = mem_resize(p->sources, p->sources_n + 1, sizeof *p->sources);
	struct policy_source *to = &p->sources[p->sources_n++];
	*to = (struct policy_source){.name = s->name, .where = where_text(s)};
	clear_take(to, m, s);
	for (unsigned f = 0; f < s->fields_n; f++) {
		p->sensitive = mem_resize(p->sensitive, p->sensitive_n + 1, sizeof *p->sensitive);
		if (sensitive_of(m, s, f, &p->sensitive[p->sensitive_n]))
			p->sensitive_n++;
	}
	if (s->unknown == UNKNOWN_SEAL && s->unknown_field >= 0)
		p->unknown_class = m->classes[s->fields[s->unknown_field].class];
}

static void
handoff_take(struct policy *p, const struct handoff *h)
{
	p->handoffs = mem_resize(p->handoffs, p->handoffs_n + 1, sizeof *p->handoffs);
	struct policy_handoff *to = &p->handoffs[p->handoffs_n++];
	*to = (struct policy_handoff){.name = h->name};
	for (unsigned i = 0; i < h->recipients_n; i++)
		name_list_add(&to->recipients, h->recipients[i].s);
	policy_digest_query(h->query ? h->query : "", to->query);
	to->purpose = mem_string(h->purpose ? h->purpose : "");
}

void
policy_of_model(struct policy *p, const struct model *m)
{
	policy_model_part_free(p);
	p->pipeline = m->pipeline;
	for (unsigned i = 0; i < m->sources_n; i++)
		if (m->sources[i].kind != SOURCE_EXCHANGE)
			source_take(p, m, &m->sources[i]);
	for (unsigned i = 0; i < m->handoffs_n; i++)
		handoff_take(p, &m->handoffs[i]);
}

/* ---- whether it is as strong as what was signed ---- */

/* Equal, or one a dotted beginning of the other: reading the one reads of the other. */
static bool
paths_meet(const char *a, const char *b)
{
	size_t n = strlen(a), k = strlen(b), least = n < k ? n : k;

	if (memcmp(a, b, least) != 0)
		return false;
	return n == k || (n > k ? a[least] : b[least]) == '.';
}

static bool
weaker(struct err *e, const char *source, const char *field, const char *what)
{
	return err_set(e, EXIT_PERMISSION,
		       "%s%s%s: %s; the signed policy says otherwise (weir keys policy show, sign)",
		       source, field[0] ? "." : "", field, what);
}

static bool
digests_signed(const struct policy_sensitive *s, const struct source *source, unsigned f)
{
	uint8_t(*have)[POLICY_DIGEST_BYTES];
	unsigned n = digests_make(source, f, &have);
	bool all = true;

	for (unsigned i = 0; i < n; i++) {
		bool one = false;
		for (unsigned j = 0; j < s->digests_n; j++)
			one |= memcmp(s->digests[j], have[i], POLICY_DIGEST_BYTES) == 0;
		all &= one;
	}
	free(have);
	return all;
}

/* A field of the model that meets a signed path. */
static bool
field_covered(const struct policy_sensitive *s, const struct model *m, const struct source *source,
	      unsigned f, struct err *e)
{
	const struct field *x = &source->fields[f];

	if (x->class < 0)
		return weaker(e, source->name.s, x->name.s, "no longer sealed");
	if (strcmp(m->classes[x->class].s, s->class.s) != 0)
		return weaker(e, source->name.s, x->name.s, "sealed to another class");
	if (x->domain >= 0 && strcmp(m->domains[x->domain].name.s, s->domain.s) != 0)
		return weaker(e, source->name.s, x->name.s, "has a token that it had not");
	if (x->domain >= 0 && (uint8_t)x->canonical != s->canonical)
		return weaker(e, source->name.s, x->name.s, "tokenised in another form");
	if (x->padexp < s->padexp)
		return weaker(e, source->name.s, x->name.s, "padded less");
	if (!digests_signed(s, source, f))
		return weaker(e, source->name.s, x->name.s, "read by a new derived field");
	return true;
}

/* All that the model reads of one signed field. */
static bool
sensitive_covered(const struct policy_sensitive *s, const struct model *m,
		  const struct source *source, struct err *e)
{
	bool bound = false;

	for (unsigned f = 0; f < source->fields_n; f++) {
		const struct field *x = &source->fields[f];
		if (x->derive || x->token_of >= 0 || (int)f == source->unknown_field ||
		    !paths_meet(x->path, s->path))
			continue;
		if (!field_covered(s, m, source, f, e))
			return false;
		bound |= source->subject_field == (int)f;
	}
	if (s->subject && !bound)
		return weaker(e, source->name.s, s->path,
			      "records are no longer bound to this person");
	return true;
}

/* Nothing is read in clear but what was signed to be. */
static bool
clear_covered(const struct policy_source *listed, const struct model *m,
	      const struct source *source, struct err *e)
{
	for (unsigned f = 0; f < source->fields_n; f++) {
		const struct field *x = &source->fields[f];
		const struct policy_clear *c = NULL;
		if (!clear_in_event(source, f))
			continue;
		for (unsigned i = 0; i < listed->clear_n && !c; i++)
			if (strcmp(listed->clear[i].path, x->path) == 0)
				c = &listed->clear[i];
		if (!c)
			return weaker(e, source->name.s, x->name.s, "read in clear");
		if (x->domain < 0)
			continue;
		if (strcmp(m->domains[x->domain].name.s, c->domain.s) != 0)
			return weaker(e, source->name.s, x->name.s, "has a token that it had not");
		if ((uint8_t)x->canonical != c->canonical)
			return weaker(e, source->name.s, x->name.s, "tokenised in another form");
	}
	for (unsigned i = 0; i < listed->clear_n; i++)
		if (listed->clear[i].subject &&
		    (source->subject_field < 0 ||
		     strcmp(source->fields[source->subject_field].path, listed->clear[i].path)))
			return weaker(e, source->name.s, listed->clear[i].path,
				      "records are no longer bound to this person");
	return true;
}

static bool
source_covered(const struct policy *p, const struct model *m, const struct source *source,
	       struct err *e)
{
	const struct policy_source *listed = NULL;

	for (unsigned i = 0; i < p->sources_n && !listed; i++)
		if (strcmp(p->sources[i].name.s, source->name.s) == 0)
			listed = &p->sources[i];
	if (!listed)
		return weaker(e, source->name.s, "", "a new source");
	char *where = where_text(source);
	bool same = strcmp(where, listed->where) == 0;
	free(where);
	if (!same)
		return weaker(e, source->name.s, "", "reads something else");
	for (unsigned i = 0; i < p->sensitive_n; i++)
		if (strcmp(p->sensitive[i].source.s, source->name.s) == 0 &&
		    !sensitive_covered(&p->sensitive[i], m, source, e))
			return false;
	if (!clear_covered(listed, m, source, e))
		return false;
	if (source->unknown == UNKNOWN_SEAL && source->unknown_field >= 0 &&
	    strcmp(m->classes[source->fields[source->unknown_field].class].s, p->unknown_class.s) !=
		0)
		return weaker(e, source->name.s, "",
			      "undeclared fields are sealed to another class");
	return true;
}

bool
policy_covers(const struct policy *p, const struct model *m, struct err *e)
{
	if (strcmp(p->pipeline.s, m->pipeline.s) != 0)
		return err_set(e, EXIT_PERMISSION, "the policy is that of pipeline %s, not of %s",
			       p->pipeline.s, m->pipeline.s);
	for (unsigned i = 0; i < m->classes_n; i++)
		if (!policy_class(p, m->classes[i].s))
			return err_set(e, EXIT_PERMISSION,
				       "class %s is not in the signed policy: nobody could open it "
				       "(weir keys policy sign)",
				       m->classes[i].s);
	for (unsigned i = 0; i < m->sources_n; i++)
		if (m->sources[i].kind != SOURCE_EXCHANGE &&
		    !source_covered(p, m, &m->sources[i], e))
			return false;
	return true;
}
