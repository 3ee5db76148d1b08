#include "record_seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expr/utf8.h"
#include "log.h"
#include "mem.h"
#include "seal/policy.h"

static const char event_path[] = "$event";

enum { EVENT_PADEXP = 8 };

struct token_slot {
	unsigned of, slot; /* fields */
};

/* What is done to a record of one source. */
struct plan {
	struct token_slot *tokens;
	unsigned tokens_n;
	unsigned *sealed; /* fields that are read by something */
	unsigned sealed_n;
	unsigned *dropped; /* fields with a token that nothing else reads */
	unsigned dropped_n;
	struct seal_place *places; /* as sealed[] */
	struct seal_place event;
};

struct record_sealer {
	struct record_seal_setup is;
	struct plan *plans;
	unsigned dead_class;
	struct buf payloads;
	uint32_t ends[FIELDS_MAX]; /* of the payloads */
	char tokens[FIELDS_MAX][TOKEN_TEXT_BYTES];
};

static bool
place_set(const struct record_sealer *s, const struct source *src, const char *path,
	  unsigned padexp, struct seal_place *at, struct err *e)
{
	enum seal_error why = seal_place_set(at, s->is.model->pipeline.s, src->label,
					     strlen(src->label), path, strlen(path), padexp);

	return why == SEAL_OK || seal_fail(e, why, "source %s, field %s", src->name.s, path);
}

static bool
plan_make(struct record_sealer *s, unsigned source, struct err *e)
{
	const struct source *src = &s->is.model->sources[source];
	struct plan *p = &s->plans[source];

	p->tokens = mem_zero(src->fields_n, sizeof *p->tokens);
	p->sealed = mem_zero(src->fields_n, sizeof *p->sealed);
	p->dropped = mem_zero(src->fields_n, sizeof *p->dropped);
	p->places = mem_zero(src->fields_n, sizeof *p->places);
	for (unsigned i = 0; i < src->fields_n; i++) {
		const struct field *f = &src->fields[i];

		if (f->token_of >= 0 && f->used)
			p->tokens[p->tokens_n++] = (struct token_slot){(unsigned)f->token_of, i};
		if (f->domain >= 0 && !f->used)
			p->dropped[p->dropped_n++] = i;
		if (f->class < 0 || !f->used)
			continue;
		check((unsigned)f->class < s->is.model->classes_n);
		if (!place_set(s, src, f->path, f->padexp, &p->places[p->sealed_n], e))
			return false;
		p->sealed[p->sealed_n++] = i;
	}
	return place_set(s, src, event_path, EVENT_PADEXP, &p->event, e);
}

bool
record_sealer_new(const struct record_seal_setup *setup, struct record_sealer **out, struct err *e)
{
	const struct model *m = setup->model;
	struct record_sealer *s = mem_zero(1, sizeof *s);
	bool found = false;

	*out = NULL;
	s->is = *setup;
	s->plans = mem_zero(m->sources_n, sizeof *s->plans);
	for (unsigned i = 0; i < m->classes_n && !found; i++) {
		found = !strcmp(m->classes[i].s, POLICY_DEAD_LETTER);
		s->dead_class = i;
	}
	if (!found) {
		record_sealer_free(s);
		return err_set(e, EXIT_BUG, "a pipeline that seals has no class %s",
			       POLICY_DEAD_LETTER);
	}
	for (unsigned i = 0; i < m->sources_n; i++)
		if (!plan_make(s, i, e)) {
			record_sealer_free(s);
			return false;
		}
	*out = s;
	return true;
}

void
record_sealer_free(struct record_sealer *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->is.model->sources_n; i++) {
		free(s->plans[i].tokens);
		free(s->plans[i].sealed);
		free(s->plans[i].dropped);
		free(s->plans[i].places);
	}
	free(s->plans);
	buf_free(&s->payloads);
	free(s);
}

bool
record_seals(const struct record_sealer *s, unsigned source)
{
	return s->plans[source].sealed_n > 0;
}

/* ---- tokens ---- */

bool
record_sid(const struct record_sealer *s, unsigned source, const struct value *subject,
	   uint8_t sid[static SUBJECT_ID_BYTES])
{
	const struct source *src = &s->is.model->sources[source];
	const struct field *f = &src->fields[src->subject_field];
	char canonical[TOKEN_CANONICAL_MAX];
	size_t n;

	if (!token_canonical(subject, f->canonical, canonical, &n))
		return false;
	token_sid(s->is.persons[f->domain], canonical, n, sid);
	secret_wipe(canonical, n);
	return true;
}

static bool
token_text_of(const struct record_sealer *s, const struct field *f, const struct value *v,
	      char out[static TOKEN_TEXT_BYTES])
{
	char canonical[TOKEN_CANONICAL_MAX];
	uint8_t token[TOKEN_BYTES];
	size_t n;

	if (!token_canonical(v, f->canonical, canonical, &n))
		return false;
	token_make(s->is.tokens[f->domain], canonical, n, token);
	secret_wipe(canonical, n);
	token_text(token, out);
	return true;
}

static void
tokens_put(struct record_sealer *s, const struct plan *p, struct record *r)
{
	const struct field *fields = s->is.model->sources[r->source].fields;
	unsigned made = 0, refused = 0;

	for (unsigned i = 0; i < p->tokens_n; i++) {
		const struct value *v = &r->fields[p->tokens[i].of];
		struct value *slot = &r->fields[p->tokens[i].slot];

		if (v->type == VALUE_NULL) {
			*slot = value_null();
		} else if (token_text_of(s, &fields[p->tokens[i].of], v, s->tokens[i])) {
			*slot = value_text(s->tokens[i], TOKEN_TEXT_BYTES);
			made++;
		} else {
			*slot = value_null();
			refused++;
		}
	}
	metric_add(s->is.page, METRIC_TOKENS, made);
	if (refused)
		metric_add(s->is.page, METRIC_TOKENS_REFUSED, refused);
}

/* ---- sealing ---- */

static bool
fields_seal(struct record_sealer *s, struct plan *p, struct record *r, const uint8_t *rid,
	    const struct seal_subject *who, char *reason)
{
	const struct field *fields = s->is.model->sources[r->source].fields;
	bool erased = who && !who->secret;

	buf_clear(&s->payloads);
	for (unsigned i = 0; i < p->sealed_n; i++) {
		const struct field *f = &fields[p->sealed[i]];
		enum seal_error why = SEAL_OK;

		if (erased)
			seal_erased(&s->payloads);
		else
			why = seal_value(windows_key(s->is.windows, (unsigned)f->class),
					 &p->places[i], rid, who, &r->fields[p->sealed[i]],
					 &s->payloads);
		if (why != SEAL_OK) {
			snprintf(reason, REASON_MAX + 1, "field %s cannot be sealed: %s", f->name.s,
				 seal_error_words(why));
			return false;
		}
		s->ends[i] = (uint32_t)s->payloads.len;
	}
	metric_add(s->is.page, erased ? METRIC_ERASED_FIELDS : METRIC_SEALED_FIELDS, p->sealed_n);
	return true;
}

/* Only now does the buffer of payloads stand still. */
static void
payloads_put(const struct record_sealer *s, const struct plan *p, struct record *r)
{
	uint32_t from = 0;

	for (unsigned i = 0; i < p->sealed_n; i++) {
		r->fields[p->sealed[i]] =
		    (struct value){.type = VALUE_SEALED,
				   .len = s->ends[i] - from,
				   .text = (const char *)s->payloads.data + from};
		from = s->ends[i];
	}
}

/* The last look before a record leaves: a value in clear would be our bug, and ends everything. */
static void
nothing_clear(const struct record_sealer *s, const struct record *r)
{
	const struct source *src = &s->is.model->sources[r->source];

	check(r->fields_n == src->fields_n);
	for (unsigned i = 0; i < r->fields_n; i++)
		if (src->fields[i].class >= 0 && r->fields[i].type != VALUE_SEALED &&
		    (src->fields[i].used || r->fields[i].type != VALUE_NULL))
			panic("source %s, field %s would leave in clear", src->name.s,
			      src->fields[i].name.s);
}

bool
record_seal(struct record_sealer *s, struct record *r, const uint8_t rid[static RID_BYTES],
	    const struct seal_subject *who, char *reason)
{
	struct plan *p = &s->plans[r->source];

	if (p->tokens_n)
		tokens_put(s, p, r);
	for (unsigned i = 0; i < p->dropped_n; i++)
		r->fields[p->dropped[i]] = value_null();
	if (p->sealed_n) {
		if (!fields_seal(s, p, r, rid, who, reason))
			return false;
		payloads_put(s, p, r);
		windows_record(s->is.windows);
	}
	nothing_clear(s, r);
	return true;
}

static void
reason_add(char *reason, const char *words)
{
	size_t n = strlen(reason);

	snprintf(reason + n, REASON_MAX + 1 - n, "; %s", words);
}

void
record_seal_dead(struct record_sealer *s, struct record *r, const struct source_event *ev,
		 const uint8_t rid[static RID_BYTES], const struct seal_subject *who, char *reason)
{
	struct data_key *key = windows_key(s->is.windows, s->dead_class);
	struct seal_place *at = &s->plans[r->source].event;
	const struct value v = value_text(ev->data, ev->len);
	enum seal_error why;
	size_t bad;

	r->body = NULL;
	r->body_len = 0;
	buf_clear(&s->payloads);
	if (ev->reason || ev->len > TEXT_BYTES_MAX) {
		reason_add(reason, "the event is not kept, it is too large to be sealed");
		return;
	}
	if (who && !who->secret) {
		seal_erased(&s->payloads);
		why = SEAL_OK;
	} else if (utf8_check(ev->data, ev->len, &bad)) {
		why = seal_value(key, at, rid, who, &v, &s->payloads);
	} else {
		why = seal_raw(key, at, rid, who, ev->data, ev->len, &s->payloads);
	}
	if (why != SEAL_OK) {
		reason_add(reason, "the event is not kept, it cannot be sealed");
		return;
	}
	metric_add(s->is.page, who && !who->secret ? METRIC_ERASED_FIELDS : METRIC_SEALED_FIELDS,
		   1);
	windows_record(s->is.windows);
	r->body = s->payloads.data;
	r->body_len = (uint32_t)s->payloads.len;
}
