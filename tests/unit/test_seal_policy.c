/* Policies: what is refused when signing and reading, what a change means in words, and whether a
 * pipeline file is as strong as what was signed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "seal/policy_model.h"

static struct {
	struct key *root, *sealer, *escrow, *audit, *science, *fraud, *ana, *bia;
} keys;

static void
pk_set(uint8_t *to, const struct key *k)
{
	memcpy(to, key_public(k), KEY_PUBLIC_BYTES);
}

static struct policy_sensitive *
sensitive_add(struct policy *p, const char *source, const char *path, const char *class)
{
	p->sensitive = realloc(p->sensitive, (p->sensitive_n + 1) * sizeof *p->sensitive);
	struct policy_sensitive *s = &p->sensitive[p->sensitive_n++];
	*s = (struct policy_sensitive){0};
	strncpy(s->source.s, source, NAME_BYTES_MAX);
	strncpy(s->path, path, POLICY_PATH_MAX);
	strncpy(s->class.s, class, NAME_BYTES_MAX);
	return s;
}

static void
source_add(struct policy *p, const char *name, const char *where)
{
	p->sources = realloc(p->sources, (p->sources_n + 1) * sizeof *p->sources);
	p->sources[p->sources_n] = (struct policy_source){.where = strdup(where)};
	strncpy(p->sources[p->sources_n++].name.s, name, NAME_BYTES_MAX);
}

static void
clear_add(struct policy *p, const char *path)
{
	struct policy_source *s = &p->sources[p->sources_n - 1];

	s->clear = realloc(s->clear, (s->clear_n + 1) * sizeof *s->clear);
	s->clear[s->clear_n] = (struct policy_clear){0};
	strncpy(s->clear[s->clear_n++].path, path, POLICY_PATH_MAX);
}

static void
token_add(struct policy *p, unsigned epoch)
{
	struct policy_token *t = policy_token_add(p, "customer");

	t->epoch = epoch;
	memset(t->id, (int)epoch, sizeof t->id);
}

static void
handoff_add(struct policy *p, const char *name, const char *recipient)
{
	p->handoffs = realloc(p->handoffs, (p->handoffs_n + 1) * sizeof *p->handoffs);
	struct policy_handoff *h = &p->handoffs[p->handoffs_n++];
	*h = (struct policy_handoff){0};
	strncpy(h->name.s, name, NAME_BYTES_MAX);
	name_list_add(&h->recipients, recipient);
	name_list_add(&h->columns, "income");
	h->purpose = strdup("training of a model");
	policy_digest_query("select income from p", h->query);
}

static void
role_add(struct policy *p, const char *name, const struct key *k)
{
	struct policy_role *r = policy_role_add(p, name);

	r->epoch = 1;
	pk_set(r->pk, k);
}

static void
policy_make(struct policy *p)
{
	*p = (struct policy){.serial = 3, .not_before_ms = 1000, .not_after_ms = 2000};
	memcpy(p->pipeline.s, "loans", 6);
	pk_set(p->escrow, keys.escrow);
	pk_set(p->audit, keys.audit);
	policy_sealer_add(p, key_public(keys.sealer));
	role_add(p, "science", keys.science);
	role_add(p, "fraud", keys.fraud);
	name_list_add(&policy_class_add(p, "identity")->roles, "fraud");
	name_list_add(&policy_class_add(p, "financial")->roles, "science");
	name_list_add(&policy_class_add(p, POLICY_DEAD_LETTER)->roles, "science");
	struct policy_member *m = policy_member_add(p, "ana");
	pk_set(m->pk, keys.ana);
	name_list_add(&m->roles, "science");
	struct policy_sensitive *s = sensitive_add(p, "offer", "customer.cpf", "identity");
	memcpy(s->domain.s, "customer", 9);
	s->canonical = CANONICAL_CPF;
	s->padexp = 4;
	s->subject = true;
	sensitive_add(p, "offer", "income", "financial");
	handoff_add(p, "training", "ana");
	source_add(p, "offer", "kafka offers");
	clear_add(p, "amount");
	token_add(p, 1);
	token_add(p, 2);
}

/* ---- signing and reading ---- */

static void
test_a_policy_survives_its_file(void **state)
{
	struct policy p, back, copy;
	struct buf file = {0}, words = {0}, again = {0};
	unsigned weaker;

	(void)state;
	policy_make(&p);
	assert_int_equal(policy_sign(&p, keys.root, &file), SEAL_OK);
	assert_int_equal(policy_decode(file.data, file.len, key_public(keys.root), &back), SEAL_OK);
	assert_memory_equal(p.hash, back.hash, POLICY_HASH_BYTES);
	assert_int_equal(policy_difference(&p, &back, &words, &weaker), 0);
	policy_copy(&copy, &back);
	policy_free(&back);
	assert_int_equal(policy_difference(&p, &copy, &words, &weaker), 0);
	assert_int_equal(words.len, 0);
	assert_int_equal(policy_sign(&copy, keys.root, &again), SEAL_OK);
	assert_int_equal(again.len, file.len);
	assert_memory_equal(again.data, file.data, file.len);
	policy_free(&copy);
	policy_free(&p);
	buf_free(&file);
	buf_free(&again);
	buf_free(&words);
}

static void
test_a_changed_policy_is_refused(void **state)
{
	struct policy p, back;
	struct buf file = {0};

	(void)state;
	policy_make(&p);
	assert_int_equal(policy_sign(&p, keys.root, &file), SEAL_OK);
	for (size_t i = 0; i < file.len; i++) {
		file.data[i] ^= 1;
		enum seal_error why =
		    policy_decode(file.data, file.len, key_public(keys.root), &back);
		assert_int_equal(why, i < 8 ? SEAL_MALFORMED : SEAL_SIGNATURE);
		assert_int_equal(back.classes_n, 0);
		file.data[i] ^= 1;
	}
	for (size_t n = 0; n < file.len; n++)
		assert_int_equal(policy_decode(file.data, n, key_public(keys.root), &back),
				 SEAL_MALFORMED);
	policy_free(&p);
	buf_free(&file);
}

static void
test_usable(void **state)
{
	struct policy p;

	(void)state;
	policy_make(&p);
	assert_int_equal(policy_usable(&p, "loans", 3, 1000), SEAL_OK);
	assert_int_equal(policy_usable(&p, "loans", 0, 2000), SEAL_OK);
	assert_int_equal(policy_usable(&p, "loans", 4, 1500), SEAL_POLICY);
	assert_int_equal(policy_usable(&p, "deposits", 3, 1500), SEAL_POLICY);
	assert_int_equal(policy_usable(&p, "loans", 3, 999), SEAL_VALIDITY);
	assert_int_equal(policy_usable(&p, "loans", 3, 2001), SEAL_VALIDITY);
	policy_free(&p);
}

static void
test_nothing_is_signed_that_nobody_accepts(void **state)
{
	struct buf file = {0};
	struct policy p;

	(void)state;
	policy_make(&p);
	memset(p.escrow, 0, KEY_PUBLIC_BYTES);
	assert_int_equal(policy_sign(&p, keys.root, &file), SEAL_LOWPOINT);
	pk_set(p.escrow, keys.escrow);
	policy_member_remove(&p,
			     "ana"); /* from the hand-over too: it goes to nobody, which is fine */
	assert_int_equal(policy_sign(&p, keys.root, &file), SEAL_OK);
	buf_clear(&file);
	policy_role_remove(&p, "fraud"); /* class identity is left without a role */
	assert_null(policy_role(&p, "fraud"));
	assert_int_equal(policy_sign(&p, keys.root, &file), SEAL_POLICY);
	assert_int_equal(file.len, 0);
	policy_free(&p);
	buf_free(&file);
}

static void
test_recipients_are_the_roles_and_escrow(void **state)
{
	uint8_t pks[4][KEY_PUBLIC_BYTES];
	struct policy p;
	unsigned n;

	(void)state;
	policy_make(&p);
	assert_int_equal(policy_recipients(&p, "financial", pks, 4, &n), SEAL_OK);
	assert_int_equal(n, 2);
	assert_memory_equal(pks[0], key_public(keys.science), KEY_PUBLIC_BYTES);
	assert_memory_equal(pks[1], key_public(keys.escrow), KEY_PUBLIC_BYTES);
	assert_int_equal(policy_recipients(&p, "medical", pks, 4, &n), SEAL_POLICY);
	assert_int_equal(policy_recipients(&p, "financial", pks, 1, &n), SEAL_SIZE);
	policy_free(&p);
}

/* ---- words ---- */

/* What one change to the policy says: exactly these lines, of which so many are to think about. */
static void
says(void (*change)(struct policy *), unsigned lines, unsigned weaker, const char *words)
{
	struct policy a, b;
	struct buf out = {0};
	unsigned have;

	policy_make(&a);
	policy_make(&b);
	change(&b);
	unsigned n = policy_difference(&a, &b, &out, &have);
	if (n != lines || have != weaker || !strstr(buf_cstr(&out), words))
		fail_msg("%u lines, %u to think about:\n%s", n, have, buf_cstr(&out));
	policy_free(&a);
	policy_free(&b);
	buf_free(&out);
}

static void
class_granted(struct policy *p)
{
	name_list_add(&p->classes[1].roles, "fraud");
}

static void
class_revoked(struct policy *p)
{
	name_list_add(&p->classes[0].roles, "science");
	name_list_remove(&p->classes[0].roles, "fraud");
}

static void
member_new(struct policy *p)
{
	struct policy_member *m = policy_member_add(p, "bia");

	pk_set(m->pk, keys.bia);
	name_list_add(&m->roles, "fraud");
}

static void
member_gone(struct policy *p)
{
	policy_member_remove(p, "ana");
}

static void
member_key(struct policy *p)
{
	pk_set(p->members[0].pk, keys.bia);
}

static void
role_rotated(struct policy *p)
{
	pk_set(p->roles[0].pk, keys.bia);
	p->roles[0].epoch = 2;
}

static void
field_clear(struct policy *p)
{
	p->sensitive_n--;
}

static void
field_new(struct policy *p)
{
	sensitive_add(p, "offer", "name", "identity");
}

static void
field_class(struct policy *p)
{
	memcpy(p->sensitive[1].class.s, "identity", 9);
}

static void
derive_new(struct policy *p)
{
	p->sensitive[1].digests = calloc(1, POLICY_DIGEST_BYTES);
	p->sensitive[1].digests_n = 1;
	policy_digest_derive("rich", "income > 100000", p->sensitive[1].digests[0]);
}

static void
token_new(struct policy *p)
{
	memcpy(p->sensitive[1].domain.s, "staff", 6);
}

static void
subject_lost(struct policy *p)
{
	p->sensitive[0].subject = false;
}

static void
form_other(struct policy *p)
{
	p->sensitive[0].canonical = CANONICAL_AS_IS;
}

static void
pad_less(struct policy *p)
{
	p->sensitive[0].padexp = 0;
}

static void
pad_more(struct policy *p)
{
	p->sensitive[1].padexp = 4;
}

static void
clear_new(struct policy *p)
{
	clear_add(p, "secret_note");
}

static void
clear_gone(struct policy *p)
{
	p->sources[0].clear_n = 0;
}

static void
sealed_and_told(struct policy *p)
{
	struct policy_sensitive *s = sensitive_add(p, "offer", "secret_note", "identity");

	s->digests = calloc(1, POLICY_DIGEST_BYTES);
	s->digests_n = 1;
	memcpy(s->domain.s, "staff", 6);
}

static void
token_other(struct policy *p)
{
	p->tokens[1].id[0] ^= 1;
}

static void
token_newer(struct policy *p)
{
	token_add(p, 3);
}

static void
token_gone(struct policy *p)
{
	p->tokens_n--;
}

static void
purpose_other(struct policy *p)
{
	free(p->handoffs[0].purpose);
	p->handoffs[0].purpose = strdup("marketing");
}

static void
handoff_query(struct policy *p)
{
	policy_digest_query("select income, cpf from p", p->handoffs[0].query);
	name_list_add(&p->handoffs[0].columns, "cpf");
}

static void
source_moved(struct policy *p)
{
	free(p->sources[0].where);
	p->sources[0].where = strdup("kafka payments");
}

static void
escrow_other(struct policy *p)
{
	pk_set(p->escrow, keys.bia);
}

static void
sealer_other(struct policy *p)
{
	pk_set(p->sealers[0], keys.root);
}

static void
serial_alone(struct policy *p)
{
	p->serial++;
	p->not_after_ms++;
}

static void
test_changes_in_words(void **state)
{
	(void)state;
	says(serial_alone, 0, 0, "");
	says(class_granted, 1, 1, "+ ! role fraud (no member) can open class financial");
	says(class_revoked, 2, 1,
	     "- role fraud cannot open what is sealed to class identity from now on");
	says(member_new, 2, 1, "+ ! bia (member) can open identity through role fraud");
	says(member_gone, 2, 0, "what they have copied stays theirs");
	says(member_key, 1, 1, "~ ! member ana has another key");
	says(role_rotated, 1, 0, "(epoch 2 after 1)");
	says(field_clear, 1, 1, "- ! offer.income is no longer sealed");
	says(field_new, 1, 0, "+ offer.name is sealed to class identity");
	says(field_class, 1, 1, "sealed to class identity, no longer to financial");
	says(derive_new, 1, 1,
	     "offer.income is read by 1 new derived field, whose result is in clear");
	says(token_new, 1, 1, "offer.income gets a token of domain staff");
	says(subject_lost, 1, 1, "no longer bound to the person in customer.cpf");
	says(form_other, 1, 1, "tokenised in the form \"as it is\", no longer \"cpf\"");
	says(pad_less, 1, 1, "offer.customer.cpf is padded to 0 bytes, no longer to 16");
	says(pad_more, 1, 0, "its length tells less");
	says(clear_new, 1, 1, "+ ! offer.secret_note is read in clear");
	says(clear_gone, 1, 0, "offer.amount is not read in clear any more");
	says(token_other, 1, 1, "domain customer, epoch 2 has another token key");
	says(token_newer, 1, 0, "+ token key of domain customer, epoch 3, id 0303030303030303");
	says(token_gone, 1, 1, "the token key of domain customer, epoch 2 is gone");
	says(purpose_other, 1, 1, "for another purpose: marketing; before: training of a model");
	says(handoff_query, 2, 2, "~ ! hand-over training asks another query, for ana");
	says(source_moved, 1, 1, "source offer reads kafka payments, no longer kafka offers");
	says(escrow_other, 1, 1, "escrow key");
	says(sealer_other, 2, 1, "envelopes that it signs are believed");
}

static void
test_a_first_policy_is_all_new(void **state)
{
	struct policy p;
	struct buf out = {0};
	unsigned weaker, n;

	(void)state;
	policy_make(&p);
	n = policy_difference(NULL, &p, &out, &weaker);
	assert_true(n >= 14);
	assert_non_null(strstr(buf_cstr(&out), "+ this is the policy of pipeline loans"));
	assert_non_null(strstr(buf_cstr(&out), "+ ! ana (member) can open financial, dead_letter "
					       "through role science"));
	buf_clear(&out);
	policy_show(&p, &out);
	assert_non_null(strstr(buf_cstr(&out),
			       "offer.customer.cpf to class identity, token customer (cpf), "
			       "the person, padded to 16"));
	assert_non_null(strstr(buf_cstr(&out), "in clear     offer.amount\n"));
	policy_free(&p);
	buf_free(&out);
}

/* ---- the pipeline file against what was signed ---- */

enum { CPF, INCOME, AMOUNT, CPF_TOKEN, BAND, FIELDS };

struct pipeline {
	struct model m;
	struct source source;
	struct field fields[FIELDS + 2];
	struct handoff handoff;
	char topic[32], query[64], purpose[32];
};

static bool
scope_find(void *ctx, const char *name, size_t n, unsigned *slot, enum value_type *type)
{
	const struct pipeline *x = ctx;

	for (unsigned i = 0; i < x->source.fields_n; i++)
		if (strlen(x->fields[i].name.s) == n && memcmp(x->fields[i].name.s, name, n) == 0) {
			*slot = i;
			*type = x->fields[i].type;
			return true;
		}
	return false;
}

static const char *
scope_next(void *ctx, unsigned i)
{
	(void)ctx;
	(void)i;
	return NULL;
}

static struct field *
field_set(struct pipeline *x, const char *name, const char *path, enum value_type type, int class)
{
	struct field *f = &x->fields[x->source.fields_n++];

	*f = (struct field){.type = type, .class = class, .domain = -1, .token_of = -1};
	strncpy(f->name.s, name, NAME_BYTES_MAX);
	strncpy(f->path, path, sizeof f->path - 1);
	return f;
}

static void
derive_set(struct pipeline *x, const char *name, const char *expression)
{
	struct expr_scope scope = {.ctx = x, .find = scope_find, .next = scope_next};
	struct expr_error e;
	struct expr *made;

	assert_true(expr_compile(expression, strlen(expression), &scope, VALUE_NULL, &made, &e));
	struct field *f = field_set(x, name, name, expr_type(made), -1);
	f->derive = made;
	f->derive_text = expression;
}

static void
pipeline_make(struct pipeline *x)
{
	memset(x, 0, sizeof *x);
	memcpy(x->m.pipeline.s, "loans", 6);
	memcpy(x->m.classes[0].s, "identity", 9);
	memcpy(x->m.classes[1].s, "financial", 10);
	memcpy(x->m.classes[2].s, "dead_letter", 12);
	x->m.classes_n = 3;
	memcpy(x->m.domains[0].name.s, "customer", 9);
	memcpy(x->m.domains[1].name.s, "staff", 6);
	x->m.domains_n = 2;
	x->m.sources = &x->source;
	x->m.sources_n = 1;
	memcpy(x->source.name.s, "offer", 6);
	x->source.kind = SOURCE_KAFKA;
	memcpy(x->topic, "offers", 7);
	x->source.topic = x->topic;
	x->source.fields = x->fields;
	x->source.unknown_field = -1;
	x->source.subject_field = CPF;
	field_set(x, "cpf", "customer.cpf", VALUE_TEXT, 0)->domain = 0;
	x->fields[CPF].canonical = CANONICAL_CPF;
	x->fields[CPF].padexp = 4;
	field_set(x, "income", "income", VALUE_DECIMAL, 1);
	field_set(x, "amount", "amount", VALUE_DECIMAL, -1);
	field_set(x, "cpf_token", "customer.cpf", VALUE_TEXT, -1)->token_of = CPF;
	derive_set(x, "band", "income > 100000");
	x->m.handoffs = &x->handoff;
	x->m.handoffs_n = 1;
	memcpy(x->handoff.name.s, "training", 9);
	memcpy(x->query, "select 1", 9);
	x->handoff.query = x->query;
	x->handoff.purpose = x->purpose;
	memcpy(x->purpose, "training", 9);
	memcpy(x->handoff.recipients[0].s, "ana", 4);
	x->handoff.recipients_n = 1;
}

static void
pipeline_free(struct pipeline *x)
{
	for (unsigned i = 0; i < x->source.fields_n; i++)
		expr_free(x->fields[i].derive);
}

static void
test_what_a_pipeline_would_have_signed(void **state)
{
	uint8_t digest[POLICY_DIGEST_BYTES];
	struct pipeline x;
	struct policy p;

	(void)state;
	pipeline_make(&x);
	policy_make(&p);
	policy_of_model(&p, &x.m);
	assert_int_equal(p.sensitive_n, 2);
	assert_string_equal(p.sensitive[0].path, "customer.cpf");
	assert_string_equal(p.sensitive[0].class.s, "identity");
	assert_string_equal(p.sensitive[0].domain.s, "customer");
	assert_true(p.sensitive[0].subject);
	assert_int_equal(p.sensitive[0].canonical, CANONICAL_CPF);
	assert_int_equal(p.sensitive[0].padexp, 4);
	assert_int_equal(p.sources[0].clear_n, 1);
	assert_string_equal(p.sources[0].clear[0].path, "amount");
	assert_string_equal(p.handoffs[0].purpose, "training");
	assert_int_equal(p.sensitive[0].digests_n, 0);
	assert_false(p.sensitive[1].subject);
	assert_int_equal(p.sensitive[1].digests_n, 1);
	policy_digest_derive("band", "income > 100000", digest);
	assert_memory_equal(p.sensitive[1].digests[0], digest, sizeof digest);
	assert_string_equal(p.sources[0].where, "kafka offers");
	assert_true(name_list_has(&p.handoffs[0].recipients, "ana"));
	policy_digest_query("select 1", digest);
	assert_memory_equal(p.handoffs[0].query, digest, sizeof digest);
	assert_int_equal(p.classes_n, 3); /* who may read is the policy's alone */
	policy_free(&p);
	pipeline_free(&x);
}

/* The same pipeline, changed: refused with these words; NULL: as strong as before. */
static void
covered(void (*change)(struct pipeline *), const char *words)
{
	struct pipeline x;
	struct policy p;
	struct err e;

	pipeline_make(&x);
	policy_make(&p);
	policy_of_model(&p, &x.m);
	change(&x);
	bool is = policy_covers(&p, &x.m, &e);
	if (is != !words || (words && !strstr(e.text, words)))
		fail_msg("%s", is ? "covered" : e.text);
	if (!is)
		assert_int_equal(e.code, EXIT_PERMISSION);
	/* What processes ask: this, and the two lists against each other. */
	assert_int_equal(policy_model_check(&p, &x.m, &e), is);
	policy_free(&p);
	pipeline_free(&x);
}

static void
unchanged(struct pipeline *x)
{
	(void)x;
}

static void
income_clear(struct pipeline *x)
{
	x->fields[INCOME].class = -1;
}

static void
income_renamed(struct pipeline *x)
{
	field_set(x, "harmless", "income", VALUE_DECIMAL, -1);
}

static void
customer_whole(struct pipeline *x)
{
	field_set(x, "customer", "customer", VALUE_JSON, -1);
}

static void
cpf_inside(struct pipeline *x)
{
	field_set(x, "part", "customer.cpf.number", VALUE_TEXT, -1);
}

static void
neighbour(struct pipeline *x)
{
	field_set(x, "kind", "customer.cpf_kind", VALUE_TEXT, -1);
}

static void
amount_elsewhere(struct pipeline *x)
{
	memcpy(x->fields[AMOUNT].path, "secret_note", 12);
}

static void
amount_twice(struct pipeline *x)
{
	field_set(x, "again", "amount", VALUE_DECIMAL, -1);
}

static void
amount_sealed(struct pipeline *x)
{
	x->fields[AMOUNT].class = 1;
}

static void
form_of_cpf(struct pipeline *x)
{
	x->fields[CPF].canonical = CANONICAL_AS_IS;
}

static void
pad_of_cpf(struct pipeline *x)
{
	x->fields[CPF].padexp = 0;
}

static void
income_class(struct pipeline *x)
{
	x->fields[INCOME].class = 0;
}

static void
income_token(struct pipeline *x)
{
	x->fields[INCOME].domain = 1;
}

static void
cpf_domain(struct pipeline *x)
{
	x->fields[CPF].domain = 1;
}

static void
cpf_no_token(struct pipeline *x)
{
	x->fields[CPF].domain = -1;
}

static void
derive_other(struct pipeline *x)
{
	derive_set(x, "band2", "income > 1000");
}

static void
derive_second_hand(struct pipeline *x)
{
	derive_set(x, "poor", "not band");
}

static void
derive_of_clear(struct pipeline *x)
{
	derive_set(x, "large", "amount > 1000");
}

static void
subject_off(struct pipeline *x)
{
	x->source.subject_field = -1;
}

static void
topic_other(struct pipeline *x)
{
	memcpy(x->topic, "payments", 9);
}

static void
source_renamed(struct pipeline *x)
{
	memcpy(x->source.name.s, "offer2", 7);
}

static void
pipeline_other(struct pipeline *x)
{
	memcpy(x->m.pipeline.s, "deposits", 9);
}

static void
class_unknown(struct pipeline *x)
{
	memcpy(x->m.classes[1].s, "medical", 8);
}

static void
unknown_sealed(struct pipeline *x)
{
	x->source.unknown = UNKNOWN_SEAL;
	x->source.unknown_field = (int)x->source.fields_n;
	field_set(x, "$unknown", "$unknown", VALUE_JSON, 1);
}

static void
test_a_weaker_pipeline_is_refused(void **state)
{
	(void)state;
	covered(unchanged, NULL);
	covered(income_clear, "offer.income: no longer sealed");
	covered(income_renamed, "offer.harmless: no longer sealed");
	covered(customer_whole, "offer.customer: no longer sealed");
	covered(cpf_inside, "offer.part: no longer sealed");
	covered(neighbour, "offer.kind: read in clear");
	covered(amount_elsewhere, "offer.amount: read in clear");
	covered(amount_twice, NULL);
	covered(amount_sealed, NULL);
	covered(form_of_cpf, "offer.cpf: tokenised in another form");
	covered(pad_of_cpf, "offer.cpf: padded less");
	covered(income_class, "offer.income: sealed to another class");
	covered(income_token, "offer.income: has a token that it had not");
	covered(cpf_domain, "offer.cpf: has a token that it had not");
	covered(cpf_no_token, NULL);
	covered(derive_other, "offer.income: read by a new derived field");
	covered(derive_second_hand, "offer.income: read by a new derived field");
	covered(derive_of_clear, NULL);
	covered(subject_off, "records are no longer bound to this person");
	covered(topic_other, "offer: reads something else");
	covered(source_renamed, "offer2: a new source");
	covered(pipeline_other, "the policy is that of pipeline loans, not of deposits");
	covered(class_unknown, "class medical is not in the signed policy");
	covered(unknown_sealed, "undeclared fields are sealed to another class");
}

/* Two signed lists against each other: how many weaknesses, and one of them in words. */
static void
weaker_by(void (*change)(struct policy *), unsigned n, const char *words)
{
	struct policy a, b;
	struct buf out = {0};

	policy_make(&a);
	policy_make(&b);
	change(&b);
	unsigned have = policy_weaker(&a, &b, &out);
	if (have != n || !strstr(buf_cstr(&out), words))
		fail_msg("%u:\n%s", have, buf_cstr(&out));
	policy_free(&a);
	policy_free(&b);
	buf_free(&out);
}

static void
test_a_weaker_list_in_words(void **state)
{
	(void)state;
	weaker_by(serial_alone, 0, "");
	weaker_by(field_new, 0, "");
	weaker_by(field_clear, 1, "offer.income: no longer sensitive; signed for class financial");
	weaker_by(field_class, 1, "sealed to class identity, signed for class financial");
	weaker_by(derive_new, 1, "offer.income: 1 derived field reads it that is not signed");
	weaker_by(token_new, 1, "a token of domain staff is not signed");
	weaker_by(subject_lost, 1, "persons could not be erased any more");
	weaker_by(form_other, 1, "offer.customer.cpf: another canonical form than the signed one");
	weaker_by(pad_less, 1, "offer.customer.cpf: padded less than signed");
	weaker_by(pad_more, 0, "");
	weaker_by(clear_new, 1, "offer.secret_note: read in clear, which is not signed");
	weaker_by(clear_gone, 0, "");
	weaker_by(sealed_and_told, 2, "offer.secret_note: read by a derived field, and not signed");
	weaker_by(purpose_other, 1, "another purpose than the signed one");
	weaker_by(handoff_query, 2, "another query than the signed one");
	weaker_by(source_moved, 1, "source offer reads kafka payments, signed for kafka offers");
}

static void
test_a_handover_must_be_signed(void **state)
{
	struct pipeline x;
	struct policy p;
	struct err e;

	(void)state;
	pipeline_make(&x);
	policy_make(&p);
	policy_of_model(&p, &x.m);
	assert_true(policy_handoff_check(&p, &x.handoff, &e));
	memcpy(x.query, "select 2", 9);
	assert_false(policy_handoff_check(&p, &x.handoff, &e));
	assert_non_null(strstr(e.text, "its query is another than the signed one"));
	memcpy(x.query, "select 1", 9);
	memcpy(x.purpose, "sale", 5);
	assert_false(policy_handoff_check(&p, &x.handoff, &e));
	assert_non_null(strstr(e.text, "its purpose is another than the signed one"));
	memcpy(x.purpose, "training", 9);
	memcpy(x.handoff.recipients[0].s, "eve", 4);
	assert_false(policy_handoff_check(&p, &x.handoff, &e));
	assert_non_null(strstr(e.text, "recipient eve is not in the signed policy"));
	memcpy(x.handoff.name.s, "other", 6);
	assert_false(policy_handoff_check(&p, &x.handoff, &e));
	assert_int_equal(e.code, EXIT_PERMISSION);
	policy_free(&p);
	pipeline_free(&x);
}

static void
test_a_token_key_must_be_the_signed_one(void **state)
{
	struct key *k[2];
	struct token_key *t[2];
	struct policy p;
	struct err e;

	(void)state;
	policy_make(&p);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(key_generate(KEY_TOKEN, "customer", 2, &k[i]), SEAL_OK);
		assert_int_equal(token_key_new(k[i], "customer", 2, &t[i]), SEAL_OK);
	}
	token_key_id(t[0], p.tokens[1].id);
	assert_int_equal(policy_token_newest(&p, "customer"), 2);
	assert_int_equal(policy_token_oldest(&p, "customer"), 1);
	assert_int_equal(policy_token_newest(&p, "staff"), 0);
	assert_int_equal(policy_token_oldest(&p, "staff"), 0);
	assert_true(policy_token_check(&p, "customer", t[0], &e));
	assert_false(policy_token_check(&p, "customer", t[1], &e));
	assert_int_equal(e.code, EXIT_PERMISSION);
	assert_non_null(strstr(e.text, "is another than the signed policy lists"));
	policy_tokens_remove(&p, "customer");
	assert_false(policy_token_check(&p, "customer", t[0], &e));
	assert_non_null(strstr(e.text, "is not in the signed policy"));
	for (unsigned i = 0; i < 2; i++) {
		token_key_free(t[i]);
		key_free(k[i]);
	}
	policy_free(&p);
}

static int
start(void **state)
{
	struct err e;
	struct {
		struct key **k;
		enum key_type t;
		const char *name;
		unsigned epoch;
	} all[] = {
	    {&keys.root, KEY_ROOT, "", 0},	     {&keys.sealer, KEY_SEALER, "", 0},
	    {&keys.escrow, KEY_ESCROW, "", 0},	     {&keys.audit, KEY_AUDIT, "", 0},
	    {&keys.science, KEY_ROLE, "science", 1}, {&keys.fraud, KEY_ROLE, "fraud", 1},
	    {&keys.ana, KEY_MEMBER, "ana", 0},	     {&keys.bia, KEY_MEMBER, "bia", 0},
	};

	(void)state;
	if (!secret_open(false, &e))
		return -1;
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		if (key_generate(all[i].t, all[i].name, all[i].epoch, all[i].k) != SEAL_OK)
			return -1;
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	key_free(keys.root), key_free(keys.sealer), key_free(keys.escrow), key_free(keys.audit);
	key_free(keys.science), key_free(keys.fraud), key_free(keys.ana), key_free(keys.bia);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_policy_survives_its_file),
	    cmocka_unit_test(test_a_changed_policy_is_refused),
	    cmocka_unit_test(test_usable),
	    cmocka_unit_test(test_nothing_is_signed_that_nobody_accepts),
	    cmocka_unit_test(test_recipients_are_the_roles_and_escrow),
	    cmocka_unit_test(test_changes_in_words),
	    cmocka_unit_test(test_a_first_policy_is_all_new),
	    cmocka_unit_test(test_what_a_pipeline_would_have_signed),
	    cmocka_unit_test(test_a_weaker_pipeline_is_refused),
	    cmocka_unit_test(test_a_weaker_list_in_words),
	    cmocka_unit_test(test_a_handover_must_be_signed),
	    cmocka_unit_test(test_a_token_key_must_be_the_signed_one),
	};

	return cmocka_run_group_tests(tests, start, finish);
}
