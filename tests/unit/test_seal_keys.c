/* Key files as the file system has them, envelopes from ingest over the keeper to a reader, a
 * role's secret for its members, hand-over files of every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "seal/audit.h"
#include "seal/envelope.h"
#include "seal/handover.h"
#include "seal/token.h"

enum { NOW_MS = 1800000000, WINDOW_MS = 15 * 60 * 1000 };

static const struct kdf_limits quick = {1, 8};

static struct key *
key_new(enum key_type t, const char *name, unsigned epoch)
{
	struct key *k;

	assert_int_equal(key_generate(t, name, epoch, &k), SEAL_OK);
	return k;
}

/* ---- key files ---- */

struct folder {
	char path[64];
	int fd;
};

static void
folder_make(struct folder *f)
{
	snprintf(f->path, sizeof f->path, "/tmp/weir-keys-XXXXXX");
	assert_non_null(mkdtemp(f->path));
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->fd >= 0);
}

static void
folder_drop(struct folder *f, const char *name)
{
	unlinkat(f->fd, name, 0);
	close(f->fd);
	rmdir(f->path);
}

static void
test_a_key_file_is_made_and_read(void **state)
{
	struct key *k = key_new(KEY_SEALER, "", 0), *back;
	struct keyfile_head head;
	struct folder f;
	struct stat st;
	struct err e;

	(void)state;
	folder_make(&f);
	assert_true(keyfile_create(f.fd, "sealer.key", k, NULL, NULL, &e));
	assert_int_equal(fstatat(f.fd, "sealer.key", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_false(keyfile_create(f.fd, "sealer.key", k, NULL, NULL, &e)); /* never replaced */
	int fd = openat(f.fd, "sealer.key", O_RDONLY | O_CLOEXEC);
	lseek(fd, 0, SEEK_END); /* where another birth has left it */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(keyfile_read(fd, NULL, &back), SEAL_OK);
		assert_true(key_label_is(back, KEY_SEALER, "", 0));
		assert_memory_equal(key_public(back), key_public(k), KEY_PUBLIC_BYTES);
		key_free(back);
	}
	assert_int_equal(keyfile_peek(fd, &head), SEAL_OK);
	assert_int_equal(head.kdf, KDF_NONE);
	assert_string_equal(head.label, "sealer");
	assert_int_equal(keyfile_read(f.fd, NULL, &back), SEAL_PERMISSIONS); /* a directory */
	close(fd);
	folder_drop(&f, "sealer.key");
	key_free(k);
}

static void
test_a_key_file_that_others_may_touch_is_refused(void **state)
{
	static const mode_t modes[] = {0640, 0604, 0620, 0601, 0644, 0666};
	struct key *k = key_new(KEY_RID, "", 0), *back;
	struct folder f;
	struct err e;

	(void)state;
	folder_make(&f);
	assert_true(keyfile_create(f.fd, "rid.key", k, NULL, NULL, &e));
	int fd = openat(f.fd, "rid.key", O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
		assert_int_equal(fchmod(fd, modes[i]), 0);
		assert_int_equal(keyfile_read(fd, NULL, &back), SEAL_PERMISSIONS);
		assert_null(back);
	}
	assert_int_equal(fchmod(fd, 0400), 0);
	assert_int_equal(keyfile_read(fd, NULL, &back), SEAL_OK);
	key_free(back);
	if (geteuid() == 0) {
		assert_int_equal(fchown(fd, 12345, 0), 0);
		assert_int_equal(keyfile_read(fd, NULL, &back), SEAL_PERMISSIONS);
	}
	close(fd);
	folder_drop(&f, "rid.key");
	key_free(k);
}

static void
test_a_key_file_that_was_cut_is_refused(void **state)
{
	struct key *k = key_new(KEY_ROLE, "data_science", 2), *back;
	struct buf file = {0};

	(void)state;
	assert_int_equal(keyfile_encode(k, NULL, NULL, &file), SEAL_OK);
	for (size_t n = 0; n < file.len; n++)
		assert_int_equal(keyfile_decode(file.data, n, NULL, &back), SEAL_MALFORMED);
	for (size_t i = 0; i < file.len; i++) { /* no flipped bit opens it */
		file.data[i] ^= 0x10;
		assert_int_not_equal(keyfile_decode(file.data, file.len, NULL, &back), SEAL_OK);
		assert_null(back);
		file.data[i] ^= 0x10;
	}
	assert_int_equal(keyfile_decode(file.data, file.len, NULL, &back), SEAL_OK);
	key_free(back);
	key_free(k);
	buf_free(&file);
}

static void
test_a_passphrase_protects(void **state)
{
	const struct kdf_limits too_much = {11, 8};
	struct secret *word = secret_of("correct horse", 13),
		      *other = secret_of("correct house", 13);
	struct key *k = key_new(KEY_MEMBER, "ana", 0), *back;
	struct buf file = {0};

	(void)state;
	assert_int_equal(keyfile_encode(k, word, &too_much, &file), SEAL_KDF);
	assert_int_equal(keyfile_encode(k, word, &quick, &file), SEAL_OK);
	assert_int_equal(keyfile_decode(file.data, file.len, NULL, &back), SEAL_PASSPHRASE);
	assert_int_equal(keyfile_decode(file.data, file.len, other, &back), SEAL_PASSPHRASE);
	assert_int_equal(keyfile_decode(file.data, file.len, word, &back), SEAL_OK);
	assert_memory_equal(key_public(back), key_public(k), KEY_PUBLIC_BYTES);
	assert_string_equal(key_label(back), "member-ana");
	key_free(back);
	key_free(k);
	secret_free(word);
	secret_free(other);
	buf_free(&file);
}

static void
passphrase_case(const char *content, size_t n, mode_t mode, enum seal_error want, size_t want_n)
{
	char path[] = "/tmp/weir-word-XXXXXX";
	int fd = mkstemp(path);
	struct secret *word;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, n), (ssize_t)n);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(passphrase_read(fd, &word), want);
	if (want == SEAL_OK)
		assert_int_equal(secret_length(word), want_n);
	else
		assert_null(word);
	secret_free(word);
	close(fd);
	unlink(path);
}

static void
test_passphrase_files(void **state)
{
	char lots[1200];

	(void)state;
	memset(lots, 'w', sizeof lots);
	passphrase_case("word\n", 5, 0600, SEAL_OK, 4);
	passphrase_case("two words\r\n", 11, 0600, SEAL_OK, 9);
	passphrase_case("word", 4, 0400, SEAL_OK, 4);
	passphrase_case("", 0, 0600, SEAL_PASSPHRASE, 0);
	passphrase_case("\n", 1, 0600, SEAL_PASSPHRASE, 0);
	passphrase_case(lots, 1024, 0600, SEAL_OK, 1024);
	passphrase_case(lots, 1025, 0600, SEAL_PASSPHRASE, 0);
	passphrase_case(lots, 1200, 0600, SEAL_PASSPHRASE, 0);
	passphrase_case("word\n", 5, 0640, SEAL_PERMISSIONS, 0);
}

static void
test_labels(void **state)
{
	static const struct {
		const char *label, *name;
		enum key_type type; /* 0: none */
		unsigned epoch;
	} cases[] = {
	    {"root", "", KEY_ROOT, 0},
	    {"rid", "", KEY_RID, 0},
	    {"member-ana", "ana", KEY_MEMBER, 0},
	    {"member-ana-maria-2", "ana-maria-2", KEY_MEMBER, 0},
	    {"role-data_science-12", "data_science", KEY_ROLE, 12},
	    {"token-a-b-3", "a-b", KEY_TOKEN, 3},
	    {"token-customer", "", 0, 0},
	    {"token-customer-", "", 0, 0},
	    {"token-customer-0", "", 0, 0},
	    {"token-customer-01", "", 0, 0},
	    {"token--1", "", 0, 0},
	    {"token-1", "", 0, 0},
	    {"member-", "", 0, 0},
	    {"member", "", 0, 0},
	    {"roots", "", 0, 0},
	    {"", "", 0, 0},
	    {"role-x-9999999999", "", 0, 0},
	};
	char name[NAME_BYTES_MAX + 1], label[KEY_LABEL_MAX + 1];
	enum key_type t;
	unsigned epoch;

	(void)state;
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		bool is = key_label_parse(cases[i].label, &t, name, &epoch);
		assert_int_equal(is, cases[i].type != 0);
		if (!is)
			continue;
		assert_int_equal(t, cases[i].type);
		assert_int_equal(epoch, cases[i].epoch);
		assert_string_equal(name, cases[i].name);
		assert_true(key_label_make(t, name, epoch, label));
		assert_string_equal(label, cases[i].label);
	}
}

static void
test_a_token_key_is_of_its_domain(void **state)
{
	struct key *k = key_new(KEY_TOKEN, "customer", 1), *rid = key_new(KEY_RID, "", 0);
	struct token_key *t;

	(void)state;
	assert_int_equal(token_key_new(k, "staff", 1, &t), SEAL_KEY);
	assert_int_equal(token_key_new(k, "customer", 2, &t), SEAL_KEY);
	assert_int_equal(token_key_new(k, "customer", 256, &t), SEAL_KEY);
	assert_int_equal(token_key_new(rid, "customer", 1, &t), SEAL_KEY);
	assert_null(t);
	assert_int_equal(token_key_new(k, "customer", 1, &t), SEAL_OK);
	token_key_free(t);
	key_free(k);
	key_free(rid);
}

static void
test_a_role_secret_goes_to_a_member(void **state)
{
	struct key *role = key_new(KEY_ROLE, "data_science", 3),
		   *ana = key_new(KEY_MEMBER, "ana", 0);
	struct key *bia = key_new(KEY_MEMBER, "bia", 0), *back;
	uint8_t sealed[KEY_SEALED_BYTES], low[32] = {0};

	(void)state;
	assert_int_equal(key_seal_to(role, low, sealed), SEAL_LOWPOINT);
	assert_int_equal(key_seal_to(role, key_public(ana), sealed), SEAL_OK);
	assert_int_equal(
	    key_unseal(sealed, sizeof sealed, ana, "data_science", 3, key_public(role), &back),
	    SEAL_OK);
	assert_true(key_label_is(back, KEY_ROLE, "data_science", 3));
	assert_memory_equal(key_public(back), key_public(role), KEY_PUBLIC_BYTES);
	key_free(back);
	assert_int_equal(
	    key_unseal(sealed, sizeof sealed, bia, "data_science", 3, key_public(role), &back),
	    SEAL_RECIPIENT);
	assert_int_equal(
	    key_unseal(sealed, sizeof sealed, ana, "data_science", 3, key_public(bia), &back),
	    SEAL_COMMIT);
	assert_null(back);
	key_free(role);
	key_free(ana);
	key_free(bia);
}

/* ---- envelopes ---- */

struct world {
	struct key *root, *sealer, *escrow, *audit, *science, *fraud, *ana;
	struct policy policy;
};

static void
world_make(struct world *w)
{
	struct buf file = {0};

	*w = (struct world){.root = key_new(KEY_ROOT, "", 0),
			    .sealer = key_new(KEY_SEALER, "", 0),
			    .escrow = key_new(KEY_ESCROW, "", 0),
			    .audit = key_new(KEY_AUDIT, "", 0),
			    .science = key_new(KEY_ROLE, "science", 1),
			    .fraud = key_new(KEY_ROLE, "fraud", 1),
			    .ana = key_new(KEY_MEMBER, "ana", 0)};
	struct policy *p = &w->policy;
	p->serial = 1;
	p->not_after_ms = INT64_MAX;
	memcpy(p->pipeline.s, "loans", 6);
	memcpy(p->escrow, key_public(w->escrow), KEY_PUBLIC_BYTES);
	memcpy(p->audit, key_public(w->audit), KEY_PUBLIC_BYTES);
	policy_sealer_add(p, key_public(w->sealer));
	struct policy_role *r = policy_role_add(p, "science");
	r->epoch = 1;
	memcpy(r->pk, key_public(w->science), KEY_PUBLIC_BYTES);
	r = policy_role_add(p, "fraud");
	r->epoch = 1;
	memcpy(r->pk, key_public(w->fraud), KEY_PUBLIC_BYTES);
	struct policy_class *c = policy_class_add(p, "financial");
	name_list_add(&c->roles, "science");
	name_list_add(&c->roles, "fraud");
	name_list_add(&policy_class_add(p, POLICY_DEAD_LETTER)->roles, "science");
	struct policy_member *m = policy_member_add(p, "ana");
	memcpy(m->pk, key_public(w->ana), KEY_PUBLIC_BYTES);
	name_list_add(&m->roles, "science");
	assert_int_equal(policy_sign(p, w->root, &file), SEAL_OK);
	buf_free(&file);
}

static void
world_free(struct world *w)
{
	key_free(w->root);
	key_free(w->sealer);
	key_free(w->escrow);
	key_free(w->audit);
	key_free(w->science);
	key_free(w->fraud);
	key_free(w->ana);
	policy_free(&w->policy);
}

/* As ingest, keeper and reader do it one after another. */
static void
test_an_envelope_from_ingest_to_reader(void **state)
{
	struct buf core = {0}, wraps = {0}, signed_core = {0}, payload = {0}, plain = {0};
	const uint8_t *list[ENVELOPE_WRAPS_MAX], *wrap, rid[RID_BYTES] = {1};
	struct value v = value_integer(5000), back;
	struct data_key *k, *opened;
	struct core c, admitted;
	struct seal_place at;
	struct world w;
	unsigned n;
	bool raw;

	(void)state;
	world_make(&w);
	assert_int_equal(data_key_new(NULL, &k), SEAL_OK);
	core_fill(&c, k, &w.policy, "financial", NOW_MS, NOW_MS + WINDOW_MS);
	core_encode(&c, &core);
	assert_int_equal(envelope_wrap_all(k, &w.policy, "medical", &wraps, &n), SEAL_POLICY);
	assert_int_equal(envelope_wrap_all(k, &w.policy, "financial", &wraps, &n), SEAL_OK);
	assert_int_equal(n, 3);
	assert_int_equal(wraps.len, 3 * ENVELOPE_WRAP_BYTES);
	for (unsigned i = 0; i < n; i++)
		list[i] = wraps.data + i * ENVELOPE_WRAP_BYTES;

	assert_int_equal(envelope_admit(core.data, core.len, list, n, &w.policy, NOW_MS, &admitted),
			 SEAL_OK);
	core_sign(&admitted, w.sealer, &signed_core);
	assert_int_equal(envelope_admit(core.data, core.len, list, n, &w.policy, -1, &admitted),
			 SEAL_VALIDITY);

	assert_int_equal(core_verify(signed_core.data, signed_core.len, &w.policy, &c), SEAL_OK);
	assert_memory_equal(c.kid, data_key_kid(k), KID_BYTES);
	struct envelope e = {signed_core.data, signed_core.len, wraps.data, n};
	assert_int_equal(envelope_find(&e, w.ana, &wrap), SEAL_RECIPIENT);
	const struct key *recipients[] = {w.science, w.fraud, w.escrow};
	assert_int_equal(seal_place_set(&at, "loans", "offer@main#1", 12, "income", 6, 4), SEAL_OK);
	assert_int_equal(seal_value(k, &at, rid, NULL, &v, &payload), SEAL_OK);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(envelope_find(&e, recipients[i], &wrap), SEAL_OK);
		assert_int_equal(
		    wrap_open(wrap, ENVELOPE_WRAP_BYTES, recipients[i], c.commit, &opened),
		    SEAL_OK);
		assert_int_equal(
		    seal_open(opened, &at, rid, NULL, payload.data, payload.len, &plain), SEAL_OK);
		assert_int_equal(seal_plain_value(&plain, &back, &raw), SEAL_OK);
		assert_int_equal(back.integer, 5000);
		data_key_free(opened);
	}
	for (size_t i = 0; i < signed_core.len; i++) { /* no flipped bit is believed */
		signed_core.data[i] ^= 1;
		assert_int_not_equal(core_verify(signed_core.data, signed_core.len, &w.policy, &c),
				     SEAL_OK);
		signed_core.data[i] ^= 1;
	}
	data_key_free(k);
	buf_free(&core), buf_free(&wraps), buf_free(&signed_core), buf_free(&payload);
	buf_free(&plain);
	world_free(&w);
}

/* ---- hand-overs ---- */

static bool
sink_put(void *of, const void *p, size_t n)
{
	buf_add(of, p, n);
	return true;
}

static bool
sink_full(void *of, const void *p, size_t n)
{
	struct buf *b = of;

	buf_add(b, p, n);
	return b->len < 1000;
}

struct tape {
	const struct buf *b;
	size_t at, end;
};

static bool
tape_get(void *of, void *p, size_t n, size_t *got)
{
	struct tape *t = of;
	size_t left = t->end - t->at;

	*got = n < left ? n : left;
	if (*got)
		memcpy(p, t->b->data + t->at, *got);
	t->at += *got;
	return true;
}

static const uint8_t *
content_of(size_t n)
{
	static uint8_t content[3 * HANDOVER_CHUNK_BYTES + 100];

	assert_true(n <= sizeof content);
	for (size_t i = 0; i < sizeof content; i++)
		content[i] = (uint8_t)(i * 7 + i / 256);
	return content;
}

static void
handover_make(const struct key *to, size_t n, size_t step, bool finish, struct buf *out)
{
	struct handover_head head = {.created_ms = NOW_MS,
				     .pipeline = {"loans"},
				     .name = {"training"},
				     .format = "csv",
				     .purpose = "a model"};
	uint8_t pks[1][KEY_PUBLIC_BYTES];
	struct handover_writer *w;

	memcpy(pks[0], key_public(to), KEY_PUBLIC_BYTES);
	assert_int_equal(handover_start(&head, (const uint8_t(*)[32])pks, 1,
					(struct handover_sink){sink_put, out}, &w),
			 SEAL_OK);
	for (size_t at = 0; at < n; at += step)
		assert_int_equal(
		    handover_write(w, content_of(n) + at, n - at < step ? n - at : step), SEAL_OK);
	if (finish)
		assert_int_equal(handover_finish(w), SEAL_OK);
	handover_writer_free(w);
}

static enum seal_error
handover_take(const struct key *by, const struct buf *file, size_t end, struct buf *out)
{
	struct tape t = {file, 0, end};
	struct handover_head head;
	struct handover_reader *r;
	const uint8_t *p;
	size_t n = 1;
	enum seal_error why = handover_open((struct handover_source){tape_get, &t}, by, &head, &r);

	buf_clear(out);
	while (why == SEAL_OK && n) {
		why = handover_read(r, &p, &n);
		if (why == SEAL_OK)
			buf_add(out, p, n);
	}
	if (why != SEAL_OK && r) /* an error is final */
		assert_int_equal(handover_read(r, &p, &n), why);
	handover_reader_free(r);
	return why;
}

static void
test_a_handover_of_every_size(void **state)
{
	enum { C = HANDOVER_CHUNK_BYTES };
	static const size_t sizes[] = {0, 1, C - 1, C, C + 1, 2 * C, 3 * C + 77};
	struct key *ana = key_new(KEY_MEMBER, "ana", 0), *bia = key_new(KEY_MEMBER, "bia", 0);
	struct buf file = {0}, back = {0};

	(void)state;
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		buf_clear(&file);
		handover_make(ana, sizes[i], i & 1 ? 1000 : 100000, true, &file);
		assert_int_equal(handover_take(ana, &file, file.len, &back), SEAL_OK);
		assert_int_equal(back.len, sizes[i]);
		if (sizes[i])
			assert_memory_equal(back.data, content_of(sizes[i]), sizes[i]);
		assert_int_equal(handover_take(bia, &file, file.len, &back), SEAL_RECIPIENT);
		assert_int_equal(handover_take(ana, &file, file.len - 1, &back), SEAL_TRUNCATED);
	}
	key_free(ana);
	key_free(bia);
	buf_free(&file);
	buf_free(&back);
}

static void
test_a_truncated_handover_is_refused(void **state)
{
	struct key *ana = key_new(KEY_MEMBER, "ana", 0);
	struct buf file = {0}, back = {0};

	(void)state;
	handover_make(ana, 300, 300, true, &file);
	for (size_t n = 0; n < file.len; n++)
		assert_int_equal(handover_take(ana, &file, n, &back), SEAL_TRUNCATED);
	buf_clear(&file);
	handover_make(ana, 190000, 1000, false, &file); /* a writer that was killed */
	assert_int_equal(handover_take(ana, &file, file.len, &back), SEAL_TRUNCATED);
	key_free(ana);
	buf_free(&file);
	buf_free(&back);
}

static void
test_a_handover_that_cannot_be_written(void **state)
{
	struct handover_head head = {.pipeline = {"loans"}, .name = {"x"}, .format = "csv"};
	struct key *ana = key_new(KEY_MEMBER, "ana", 0);
	uint8_t pks[2][KEY_PUBLIC_BYTES] = {{0}};
	struct handover_writer *w;
	struct buf out = {0};
	struct handover_sink sink = {sink_full, &out};

	(void)state;
	memcpy(pks[0], key_public(ana), KEY_PUBLIC_BYTES);
	assert_int_equal(handover_start(&head, (const uint8_t(*)[32])pks, 0, sink, &w), SEAL_SIZE);
	assert_int_equal(handover_start(&head, (const uint8_t(*)[32])pks, 2, sink, &w),
			 SEAL_LOWPOINT);
	assert_null(w);
	assert_int_equal(out.len, 0);
	assert_int_equal(handover_start(&head, (const uint8_t(*)[32])pks, 1, sink, &w), SEAL_OK);
	enum seal_error why = SEAL_OK;
	for (unsigned i = 0; i < 10 && why == SEAL_OK; i++)
		why = handover_write(w, content_of(50000), 50000);
	assert_int_equal(why, SEAL_SYSTEM);
	assert_int_equal(handover_finish(w), SEAL_SYSTEM);
	handover_writer_free(w);
	key_free(ana);
	buf_free(&out);
}

static void
test_heads_of_the_audit_chain(void **state)
{
	struct key *audit = key_new(KEY_AUDIT, "", 0);
	struct audit_head h = {.pipeline = "loans", .id = 12, .at_ms = NOW_MS};
	uint8_t signature[KEY_SIGNATURE_BYTES], zeros[AUDIT_HASH_BYTES] = {0};

	(void)state;
	audit_hash(zeros, "row", 3, h.hash);
	audit_head_sign(audit, &h, signature);
	assert_int_equal(audit_head_verify(key_public(audit), &h, signature), SEAL_OK);
	h.id++;
	assert_int_equal(audit_head_verify(key_public(audit), &h, signature), SEAL_SIGNATURE);
	key_free(audit);
}

static int
start(void **state)
{
	struct err e;

	(void)state;
	return secret_open(false, &e) ? 0 : -1;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_key_file_is_made_and_read),
	    cmocka_unit_test(test_a_key_file_that_others_may_touch_is_refused),
	    cmocka_unit_test(test_a_key_file_that_was_cut_is_refused),
	    cmocka_unit_test(test_a_passphrase_protects),
	    cmocka_unit_test(test_passphrase_files),
	    cmocka_unit_test(test_labels),
	    cmocka_unit_test(test_a_token_key_is_of_its_domain),
	    cmocka_unit_test(test_a_role_secret_goes_to_a_member),
	    cmocka_unit_test(test_an_envelope_from_ingest_to_reader),
	    cmocka_unit_test(test_a_handover_of_every_size),
	    cmocka_unit_test(test_a_truncated_handover_is_refused),
	    cmocka_unit_test(test_a_handover_that_cannot_be_written),
	    cmocka_unit_test(test_heads_of_the_audit_chain),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
