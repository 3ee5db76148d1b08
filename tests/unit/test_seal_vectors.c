/* Every vector of tests/vectors/sealing.json: what must open opens to what it says, byte by byte;
 * what must not, fails with the error that it names. Where a vector tells the randomness, sealing
 * again gives the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "seal/audit.h"
#include "seal/data_key.h"
#include "seal/envelope.h"
#include "seal/handover.h"
#include "seal/key.h"
#include "seal/token.h"

static json_t *file;
static const char *current; /* id of the vector at hand */

#define must(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond))                                                                       \
			fail_msg("%s: %s does not hold", current, #cond);                          \
	} while (0)

/* ---- what a vector holds ---- */

struct bytes {
	uint8_t *p;
	size_t n;
};

static const char *
text_of(json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	if (!s)
		fail_msg("%s: no text %s", current, name);
	return s;
}

static int64_t
number_of(json_t *o, const char *name)
{
	json_t *v = json_object_get(o, name);

	must(json_is_integer(v));
	return json_integer_value(v);
}

static struct bytes
hex_read(const char *s)
{
	struct bytes b = {.n = strlen(s) / 2};

	b.p = malloc(b.n + 1);
	for (size_t i = 0; i < b.n; i++) {
		unsigned v;
		must(sscanf(s + 2 * i, "%2x", &v) == 1);
		b.p[i] = (uint8_t)v;
	}
	return b;
}

static struct bytes
slices_read(json_t *v)
{
	json_t *blobs = json_object_get(file, "blobs");
	struct bytes whole = hex_read(text_of(blobs, text_of(v, "blob"))), b = {0};
	json_t *slices = json_object_get(v, "slices");

	b.p = malloc(2 * whole.n);
	for (size_t i = 0; i < json_array_size(slices); i++) {
		json_t *slice = json_array_get(slices, i);
		size_t from = (size_t)json_integer_value(json_array_get(slice, 0));
		size_t to = (size_t)json_integer_value(json_array_get(slice, 1));
		must(from <= to && to <= whole.n && b.n + to - from <= 2 * whole.n);
		memcpy(b.p + b.n, whole.p + from, to - from);
		b.n += to - from;
	}
	free(whole.p);
	return b;
}

/* Absent or null: p is NULL. The caller frees. */
static struct bytes
bytes_of(json_t *o, const char *name)
{
	json_t *v = json_object_get(o, name);

	if (!v || json_is_null(v))
		return (struct bytes){0};
	return json_is_object(v) ? slices_read(v) : hex_read(json_string_value(v));
}

static void
equal(json_t *out, const char *name, const void *p, size_t n)
{
	struct bytes want = bytes_of(out, name);

	must(want.p && want.n == n && (n == 0 || memcmp(want.p, p, n) == 0));
	free(want.p);
}

static void
equal_text(json_t *out, const char *name, const char *s)
{
	if (strcmp(text_of(out, name), s) != 0)
		fail_msg("%s: %s is %s", current, name, s);
}

static void
copy_of(json_t *o, const char *name, void *to, size_t n)
{
	struct bytes b = bytes_of(o, name);

	must(b.p && b.n == n);
	memcpy(to, b.p, n);
	free(b.p);
}

static struct key *
key_from(json_t *o, const char *name, enum key_type t, const char *label)
{
	struct bytes secret = bytes_of(o, name);
	struct key *k;

	must(secret.n == 32);
	must(key_of(t, label, secret.p, &k) == SEAL_OK);
	free(secret.p);
	return k;
}

/* ---- fields ---- */

static void
random_fixed(void *of, void *out, size_t n)
{
	struct bytes *b = of;

	must(n == b->n);
	memcpy(out, b->p, n);
}

static void
opened_check(const struct buf *plain, json_t *out)
{
	struct value v;
	struct buf text = {0};
	bool raw;

	equal(out, "plain", plain->data, plain->len);
	must(seal_plain_value(plain, &v, &raw) == SEAL_OK);
	equal_text(out, "type",
		   raw			  ? "raw"
		   : v.type == VALUE_NULL ? "null"
					  : value_type_name(v.type));
	if (raw)
		equal(out, "raw", v.text, v.len);
	else if (v.type != VALUE_NULL) {
		value_print(&v, &text);
		equal_text(out, "text", buf_cstr(&text));
	}
	buf_free(&text);
}

/* Sealing the value again, with the vector's randomness, gives the vector's payload. */
static void
sealed_again(const uint8_t *key, struct seal_place *at, const uint8_t *rid,
	     const struct seal_subject *who, const struct buf *plain, struct bytes *random,
	     const struct bytes *payload)
{
	struct seal_random fixed = {random_fixed, random};
	struct bytes first = {.p = malloc(32), .n = 32};
	struct data_key *k;
	struct buf again = {0};
	struct value v;
	bool raw;

	memcpy(first.p, key, 32);
	fixed.of = &first; /* the first draw is the data key itself */
	must(data_key_new(&fixed, &k) == SEAL_OK);
	free(first.p);
	first = *random;
	at->padexp = payload->p[3];
	must(seal_plain_value(plain, &v, &raw) == SEAL_OK);
	must((raw ? seal_raw(k, at, rid, who, v.text, v.len, &again)
		  : seal_value(k, at, rid, who, &v, &again)) == SEAL_OK);
	must(again.len == payload->n && memcmp(again.data, payload->p, again.len) == 0);
	data_key_free(k);
	buf_free(&again);
}

static enum seal_error
run_field(json_t *in, json_t *out)
{
	struct bytes key = bytes_of(in, "key"), rid = bytes_of(in, "rid"),
		     sid = bytes_of(in, "sid");
	struct bytes s = bytes_of(in, "s"), payload = bytes_of(in, "payload");
	struct bytes random = bytes_of(in, "random");
	const char *source = text_of(in, "source"), *field = text_of(in, "field");
	struct seal_subject who = {sid.p, s.p};
	struct seal_place at;
	struct buf plain = {0};
	struct data_key *k;
	struct value v;
	bool raw;

	must(data_key_of(key.p, &k) == SEAL_OK);
	must(seal_place_set(&at, text_of(in, "pipeline"), source, strlen(source), field,
			    strlen(field), 0) == SEAL_OK);
	enum seal_error why =
	    seal_open(k, &at, rid.p, sid.p ? &who : NULL, payload.p, payload.n, &plain);
	if (why == SEAL_OK)
		why = seal_plain_value(&plain, &v, &raw);
	if (why == SEAL_OK && json_is_object(out))
		opened_check(&plain, out);
	if (why == SEAL_OK && random.p)
		sealed_again(key.p, &at, rid.p, sid.p ? &who : NULL, &plain, &random, &payload);
	data_key_free(k);
	buf_free(&plain);
	free(key.p), free(rid.p), free(sid.p), free(s.p), free(payload.p), free(random.p);
	return why;
}

/* ---- tokens ---- */

static struct value
value_of(json_t *in)
{
	const char *type = text_of(in, "type"), *s = json_string_value(json_object_get(in, "text"));
	struct value v = value_null();
	struct err e;

	if (strcmp(type, "null") == 0)
		return v;
	switch (value_type_find(type, strlen(type))) {
	case VALUE_TEXT:
		return value_text(s, strlen(s));
	case VALUE_INTEGER:
		return value_integer(atoll(s));
	case VALUE_BOOLEAN:
		return value_boolean(strcmp(s, "true") == 0);
	case VALUE_DECIMAL:
		must(decimal_parse(s, strlen(s), &v, &e));
		return v;
	case VALUE_DATE:
		must(date_parse(s, strlen(s), &v.integer, &e));
		v.type = VALUE_DATE;
		return v;
	case VALUE_TIMESTAMP:
		must(time_parse(s, strlen(s), TIME_RFC3339, NULL, &v.integer, &e));
		v.type = VALUE_TIMESTAMP;
		return v;
	case VALUE_FLOAT:
		return (struct value){.type = VALUE_FLOAT, .real = atof(s)};
	case VALUE_JSON:
		v = value_text(s, strlen(s));
		v.type = VALUE_JSON;
		return v;
	default:
		fail_msg("%s: type %s", current, type);
	}
	return v;
}

static enum canonical
form_of(const char *name)
{
	static const char *const names[CANONICAL_MAX] = {"as_is", "digits", "lower", "cpf"};

	for (unsigned i = 0; i < CANONICAL_MAX; i++)
		if (strcmp(names[i], name) == 0)
			return (enum canonical)i;
	fail_msg("%s: form %s", current, name);
	return CANONICAL_MAX;
}

static enum seal_error
run_token(json_t *in, json_t *out)
{
	char canonical[TOKEN_CANONICAL_MAX], label[KEY_LABEL_MAX + 1];
	uint8_t token[TOKEN_BYTES], sid[SID_BYTES], id[KEY_ID_BYTES];
	const char *domain = text_of(in, "domain");
	unsigned epoch = (unsigned)number_of(in, "epoch");
	struct value v = value_of(in);
	struct token_key *t;
	size_t n;

	must(key_label_make(KEY_TOKEN, domain, epoch, label));
	struct key *k = key_from(in, "key", KEY_TOKEN, label);
	must(token_key_new(k, domain, epoch, &t) == SEAL_OK);
	token_key_id(t, id);
	equal(out, "id", id, sizeof id);
	must(token_key_epoch(t) == epoch);
	if (token_canonical(&v, form_of(text_of(in, "form")), canonical, &n)) {
		char text[TOKEN_TEXT_BYTES];
		equal(out, "canonical", canonical, n);
		token_make(t, canonical, n, token);
		token_sid(t, canonical, n, sid);
		equal(out, "token", token, sizeof token);
		equal(out, "sid", sid, sizeof sid);
		token_text(token, text);
		must(strlen(text_of(out, "token")) == sizeof text &&
		     memcmp(text, text_of(out, "token"), sizeof text) == 0);
	} else {
		must(json_is_null(json_object_get(out, "canonical")));
	}
	token_key_free(t);
	key_free(k);
	return SEAL_OK;
}

static enum seal_error
run_token_bytes(json_t *in, json_t *out)
{
	struct bytes p = bytes_of(in, "payload");
	struct token t;
	enum seal_error why = token_decode(p.p, p.n, &t);

	if (why == SEAL_OK) {
		must(t.epoch == number_of(out, "epoch") && t.domain == number_of(out, "domain"));
		equal(out, "hash", t.hash, sizeof t.hash);
	}
	free(p.p);
	return why;
}

/* ---- policy ---- */

static struct bytes
policy_bytes(json_t *in)
{
	json_t *policies = json_object_get(file, "policies");

	return hex_read(text_of(policies, text_of(in, "policy")));
}

static void
policy_of(json_t *in, struct policy *out)
{
	struct bytes root = bytes_of(json_object_get(file, "roots"), "good"), p = policy_bytes(in);

	must(policy_decode(p.p, p.n, root.p, out) == SEAL_OK);
	free(root.p), free(p.p);
}

static enum seal_error
run_policy(json_t *in, json_t *out)
{
	struct bytes root = bytes_of(in, "root"), p = policy_bytes(in);
	struct policy policy;
	struct buf words = {0};
	enum seal_error why = policy_decode(p.p, p.n, root.p, &policy);

	if (why == SEAL_OK) {
		policy_show(&policy, &words);
		why = policy_usable(&policy, text_of(in, "pipeline"),
				    (uint64_t)number_of(in, "serial_min"), number_of(in, "now"));
	}
	if (why == SEAL_OK) {
		must(policy.serial == (uint64_t)number_of(out, "serial"));
		equal(out, "hash", policy.hash, sizeof policy.hash);
		equal_text(out, "pipeline", policy.pipeline.s);
	}
	policy_free(&policy);
	buf_free(&words);
	free(root.p), free(p.p);
	return why;
}

static enum seal_error
run_root(json_t *in, json_t *out)
{
	uint8_t old_root[32], new_root[32], signature[64];

	(void)out;
	copy_of(in, "old_root", old_root, sizeof old_root);
	copy_of(in, "new_root", new_root, sizeof new_root);
	copy_of(in, "signature", signature, sizeof signature);
	return policy_root_replaced(old_root, text_of(in, "pipeline"),
				    (uint64_t)number_of(in, "serial"), new_root, signature);
}

static enum seal_error
run_public(json_t *in, json_t *out)
{
	uint8_t pk[32];

	(void)out;
	copy_of(in, "pk", pk, sizeof pk);
	return strcmp(text_of(in, "use"), "box") == 0 ? key_check_box(pk) : key_check_sign(pk);
}

/* ---- envelopes ---- */

static enum seal_error
run_core(json_t *in, json_t *out)
{
	struct bytes core = bytes_of(in, "core");
	struct policy policy;
	struct core c;

	policy_of(in, &policy);
	enum seal_error why = core_verify(core.p, core.n, &policy, &c);
	if (why == SEAL_OK) {
		equal(out, "kid", c.kid, sizeof c.kid);
		equal(out, "commit", c.commit, sizeof c.commit);
		equal_text(out, "pipeline", c.pipeline.s);
		equal_text(out, "class", c.class.s);
		must(c.not_before_ms == number_of(out, "not_before"));
		must(c.not_after_ms == number_of(out, "not_after"));
	}
	policy_free(&policy);
	free(core.p);
	return why;
}

static enum seal_error
run_wrap(json_t *in, json_t *out)
{
	struct bytes wrap = bytes_of(in, "wrap"), commit = bytes_of(in, "commit");
	struct key *recipient = key_from(in, "secret", KEY_ROLE, "role-x-1");
	struct data_key *k;
	enum seal_error why = wrap_open(wrap.p, wrap.n, recipient, commit.p, &k);

	if (why == SEAL_OK)
		equal(out, "key", data_key_bytes(k), 32);
	data_key_free(k);
	key_free(recipient);
	free(wrap.p), free(commit.p);
	return why;
}

static enum seal_error
run_envelope(json_t *in, json_t *out)
{
	struct bytes bytes = bytes_of(in, "envelope");
	struct key *recipient = key_from(in, "secret", KEY_ROLE, "role-x-1");
	struct data_key *k = NULL;
	struct policy policy;
	struct envelope e;
	struct core c;
	const uint8_t *wrap;

	policy_of(in, &policy);
	enum seal_error why = envelope_decode(bytes.p, bytes.n, &e);
	if (why == SEAL_OK)
		why = core_verify(e.core, e.core_len, &policy, &c);
	if (why == SEAL_OK)
		why = envelope_find(&e, recipient, &wrap);
	if (why == SEAL_OK)
		why = wrap_open(wrap, ENVELOPE_WRAP_BYTES, recipient, c.commit, &k);
	if (why == SEAL_OK) {
		struct buf again = {0};
		equal(out, "key", data_key_bytes(k), 32);
		equal_text(out, "class", c.class.s);
		envelope_encode(&e, &again);
		must(again.len == bytes.n && memcmp(again.data, bytes.p, bytes.n) == 0);
		buf_free(&again);
	}
	data_key_free(k);
	policy_free(&policy);
	key_free(recipient);
	free(bytes.p);
	return why;
}

static enum seal_error
run_admit(json_t *in, json_t *out)
{
	struct bytes core = bytes_of(in, "core"), wraps[ENVELOPE_WRAPS_MAX];
	const uint8_t *list[ENVELOPE_WRAPS_MAX];
	json_t *array = json_object_get(in, "wraps");
	unsigned n = (unsigned)json_array_size(array);
	struct policy policy;
	struct core c;

	policy_of(in, &policy);
	for (unsigned i = 0; i < n; i++) {
		wraps[i] = hex_read(json_string_value(json_array_get(array, i)));
		must(wraps[i].n == ENVELOPE_WRAP_BYTES);
		list[i] = wraps[i].p;
	}
	enum seal_error why =
	    envelope_admit(core.p, core.n, list, n, &policy, number_of(in, "now"), &c);
	if (why == SEAL_OK)
		equal_text(out, "class", c.class.s);
	for (unsigned i = 0; i < n; i++)
		free(wraps[i].p);
	policy_free(&policy);
	free(core.p);
	return why;
}

/* ---- key files ---- */

static enum seal_error
run_keyfile(json_t *in, json_t *out)
{
	struct bytes bytes = bytes_of(in, "file"), word = bytes_of(in, "passphrase");
	struct secret *passphrase = word.p ? secret_of(word.p, word.n) : NULL;
	struct key *k = NULL;
	enum seal_error why = keyfile_decode(bytes.p, bytes.n, passphrase, &k);

	if (why == SEAL_OK) {
		equal_text(out, "type", key_type_name(key_type(k)));
		equal_text(out, "label", key_label(k));
		equal(out, "secret", key_secret_bytes(k), 32);
	}
	key_free(k);
	secret_free(passphrase);
	free(bytes.p), free(word.p);
	return why;
}

static enum seal_error
run_permissions(json_t *in, json_t *out)
{
	(void)out;
	return keyfile_permitted((unsigned)strtoul(text_of(in, "mode"), NULL, 8),
				 (unsigned)number_of(in, "owner"), (unsigned)number_of(in, "euid"));
}

static enum seal_error
run_role(json_t *in, json_t *out)
{
	struct bytes sealed = bytes_of(in, "sealed");
	struct key *member = key_from(in, "secret", KEY_MEMBER, "member-ana"), *role;
	uint8_t pk[32];

	copy_of(in, "pk", pk, sizeof pk);
	enum seal_error why = key_unseal(sealed.p, sealed.n, member, text_of(in, "role"),
					 (unsigned)number_of(in, "epoch"), pk, &role);
	if (why == SEAL_OK)
		equal(out, "secret", key_secret_bytes(role), 32);
	key_free(role);
	key_free(member);
	free(sealed.p);
	return why;
}

/* ---- hand-overs ---- */

struct tape {
	struct bytes bytes;
	size_t at;
};

/* An odd number of bytes at a time, as a network would. */
static bool
tape_get(void *of, void *p, size_t n, size_t *got)
{
	struct tape *t = of;
	size_t left = t->bytes.n - t->at;

	n = n > 1009 ? 1009 : n;
	*got = n < left ? n : left;
	if (*got)
		memcpy(p, t->bytes.p + t->at, *got);
	t->at += *got;
	return true;
}

static void
handover_check(const struct handover_head *head, const struct buf *content, json_t *out)
{
	uint8_t hash[AUDIT_HASH_BYTES];

	equal_text(out, "pipeline", head->pipeline.s);
	equal_text(out, "name", head->name.s);
	equal_text(out, "format", head->format);
	equal_text(out, "purpose", head->purpose);
	must(head->created_ms == number_of(out, "created"));
	must((int64_t)content->len == number_of(out, "length"));
	/* SHA-256 is at hand as the audit's: 32 bytes before, then the text. */
	if (content->len >= AUDIT_HASH_BYTES) {
		audit_hash(content->data, content->data + AUDIT_HASH_BYTES,
			   content->len - AUDIT_HASH_BYTES, hash);
		equal(out, "sha256", hash, sizeof hash);
	}
	if (!json_is_null(json_object_get(out, "content")))
		equal(out, "content", content->data, content->len);
}

static enum seal_error
run_handover(json_t *in, json_t *out)
{
	struct tape tape = {.bytes = bytes_of(in, "file")};
	struct key *recipient = key_from(in, "secret", KEY_MEMBER, "member-ana");
	struct handover_source source = {tape_get, &tape};
	struct handover_reader *r;
	struct handover_head head;
	struct buf content = {0};
	const uint8_t *p;
	size_t n = 1;
	enum seal_error why = handover_open(source, recipient, &head, &r);

	while (why == SEAL_OK && n) {
		why = handover_read(r, &p, &n);
		if (why == SEAL_OK)
			buf_add(&content, p, n);
	}
	if (why == SEAL_OK)
		handover_check(&head, &content, out);
	handover_reader_free(r);
	key_free(recipient);
	buf_free(&content);
	free(tape.bytes.p);
	return why;
}

/* ---- audit ---- */

static enum seal_error
run_audit(json_t *in, json_t *out)
{
	uint8_t prev[32], hash[32];
	const char *text = text_of(in, "text");

	copy_of(in, "prev", prev, sizeof prev);
	audit_hash(prev, text, strlen(text), hash);
	equal(out, "hash", hash, sizeof hash);
	return SEAL_OK;
}

static enum seal_error
run_audit_head(json_t *in, json_t *out)
{
	struct audit_head h = {.pipeline = text_of(in, "pipeline"),
			       .id = (uint64_t)number_of(in, "id"),
			       .at_ms = number_of(in, "at")};
	uint8_t pk[32], signature[64];

	(void)out;
	copy_of(in, "hash", h.hash, sizeof h.hash);
	copy_of(in, "audit", pk, sizeof pk);
	copy_of(in, "signature", signature, sizeof signature);
	return audit_head_verify(pk, &h, signature);
}

/* ---- all of them ---- */

static const struct {
	const char *kind;
	enum seal_error (*run)(json_t *in, json_t *out);
} kinds[] = {
    {"field", run_field},
    {"token", run_token},
    {"token_bytes", run_token_bytes},
    {"core", run_core},
    {"wrap", run_wrap},
    {"envelope", run_envelope},
    {"admit", run_admit},
    {"keyfile", run_keyfile},
    {"permissions", run_permissions},
    {"policy", run_policy},
    {"root", run_root},
    {"public", run_public},
    {"role", run_role},
    {"handover", run_handover},
    {"audit", run_audit},
    {"audit_head", run_audit_head},
};

static unsigned
vectors_run(const char *kind)
{
	json_t *vectors = json_object_get(file, "vectors"), *v;
	unsigned ran = 0;
	size_t i;

	json_array_foreach(vectors, i, v)
	{
		current = text_of(v, "id");
		if (strcmp(text_of(v, "kind"), kind) != 0)
			continue;
		for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
			if (strcmp(kinds[k].kind, kind) != 0)
				continue;
			enum seal_error why =
			    kinds[k].run(json_object_get(v, "in"), json_object_get(v, "out"));
			if (strcmp(seal_error_name(why), text_of(v, "error")) != 0)
				fail_msg("%s: %s, not %s", current, seal_error_name(why),
					 text_of(v, "error"));
			ran++;
		}
	}
	return ran;
}

#define TEST_KIND(name)                                                                            \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		(void)state;                                                                       \
		assert_true(vectors_run(#name) > 0);                                               \
	}
TEST_KIND(field)
TEST_KIND(token)
TEST_KIND(token_bytes)
TEST_KIND(core)
TEST_KIND(wrap)
TEST_KIND(envelope)
TEST_KIND(admit)
TEST_KIND(keyfile)
TEST_KIND(permissions)
TEST_KIND(policy)
TEST_KIND(root)
TEST_KIND(public)
TEST_KIND(role)
TEST_KIND(handover)
TEST_KIND(audit)
TEST_KIND(audit_head)

static void
test_no_vector_is_left_out(void **state)
{
	size_t ran = 0;

	(void)state;
	for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++)
		ran += vectors_run(kinds[k].kind);
	assert_true(ran >= 60);
	assert_int_equal(ran, json_array_size(json_object_get(file, "vectors")));
}

static int
file_load(void **state)
{
	json_error_t e;
	struct err err;

	(void)state;
	file = json_load_file("tests/vectors/sealing.json", 0, &e);
	return file && secret_open(false, &err) ? 0 : -1;
}

static int
file_drop(void **state)
{
	(void)state;
	json_decref(file);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_field),
	    cmocka_unit_test(test_token),
	    cmocka_unit_test(test_token_bytes),
	    cmocka_unit_test(test_core),
	    cmocka_unit_test(test_wrap),
	    cmocka_unit_test(test_envelope),
	    cmocka_unit_test(test_admit),
	    cmocka_unit_test(test_keyfile),
	    cmocka_unit_test(test_permissions),
	    cmocka_unit_test(test_policy),
	    cmocka_unit_test(test_root),
	    cmocka_unit_test(test_public),
	    cmocka_unit_test(test_role),
	    cmocka_unit_test(test_handover),
	    cmocka_unit_test(test_audit),
	    cmocka_unit_test(test_audit_head),
	    cmocka_unit_test(test_no_vector_is_left_out),
	};

	return cmocka_run_group_tests(tests, file_load, file_drop);
}
