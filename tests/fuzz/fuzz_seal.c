/*
 * Any bytes as each of the sealing formats: refused with a class, or read; never a crash, never
 * more memory than a multiple of them. The first byte chooses the format. What is read is written
 * again and must read the same. Seeds: tests/vectors/make.py --seeds tests/fuzz/corpus/seal.
 */
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "seal/data_key.h"
#include "seal/envelope.h"
#include "seal/handover.h"
#include "seal/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	bool ready;
	struct data_key *key;
	struct key *root, *recipient;
	struct seal_place at;
} fuzz;

/* The keys of the vectors: SHA-256 of "weir vectors <label> 0". */
static const uint8_t vector_key[32] = {0x2d, 0xf5, 0x00, 0x64, 0xd6, 0x32, 0x7b, 0x6d,
				       0xf1, 0x7c, 0x3f, 0x2f, 0x56, 0x31, 0x46, 0xea,
				       0xc1, 0xe4, 0x58, 0x4c, 0xd9, 0xef, 0x63, 0x88,
				       0x7a, 0x91, 0x89, 0x3f, 0x1e, 0x1d, 0xbc, 0x87},
		     vector_ana[32] = {0xf7, 0xd2, 0xa9, 0xd9, 0x80, 0xff, 0x1c, 0xcf,
				       0x71, 0xd3, 0xa0, 0xb3, 0x49, 0x0f, 0x5c, 0x1c,
				       0xc1, 0x2a, 0x99, 0xc3, 0xc2, 0x50, 0x76, 0xa4,
				       0xac, 0xdd, 0xcd, 0xd4, 0x09, 0x5e, 0x4b, 0x11};
static const uint8_t rid[RID_BYTES] = {0x75, 0xd0, 0xd1, 0x90, 0x01, 0xde, 0xa2, 0xf8,
				       0x24, 0x9c, 0x91, 0x35, 0x37, 0x22, 0xb1, 0xed},
		     sid[SID_BYTES] = {0xfe, 0x82, 0xdc, 0x14, 0x46, 0xdb, 0x2e, 0x77,
				       0x5c, 0x2c, 0x65, 0x50, 0x54, 0x95, 0x4f, 0x0e};
static const uint8_t secret[32] = {0x1b, 0xbc, 0x69, 0x81, 0x5d, 0x9c, 0x4c, 0x86, 0x1d, 0xfb, 0xfd,
				   0x28, 0xb1, 0x2f, 0x26, 0x5d, 0xc5, 0x65, 0xa6, 0xd7, 0xb7, 0x5d,
				   0x2c, 0xf9, 0xf1, 0xe0, 0x23, 0x05, 0x60, 0x40, 0x75, 0x97};

static void
start(void)
{
	struct err e;

	if (fuzz.ready)
		return;
	check(secret_open(false, &e));
	check(data_key_of(vector_key, &fuzz.key) == SEAL_OK);
	check(key_generate(KEY_ROOT, "", 0, &fuzz.root) == SEAL_OK);
	check(key_of(KEY_MEMBER, "member-ana", vector_ana, &fuzz.recipient) == SEAL_OK);
	check(seal_place_set(&fuzz.at, "loans", "offer@main#1", 12, "customer.cpf", 12, 5) ==
	      SEAL_OK);
	fuzz.ready = true;
}

static void
value_any(const uint8_t *p, size_t n)
{
	struct buf plain = {0}, again = {0};
	struct value v;
	bool raw;

	buf_add(&plain, p, n);
	if (seal_plain_value(&plain, &v, &raw) == SEAL_OK && !raw)
		value_print(&v, &again);
	buf_free(&plain);
	buf_free(&again);
}

static void
field_any(const uint8_t *p, size_t n)
{
	const struct seal_subject who = {sid, secret};
	struct buf plain = {0}, again = {0};
	struct value v;
	bool raw;

	if (seal_open(fuzz.key, &fuzz.at, rid, &who, p, n, &plain) == SEAL_OK &&
	    seal_plain_value(&plain, &v, &raw) == SEAL_OK && !raw) {
		fuzz.at.padexp = p[3];
		check(seal_value(fuzz.key, &fuzz.at, rid, &who, &v, &again) == SEAL_OK);
		check(again.len == n || p[3] == 0); /* 0: an integer in a longer form */
	}
	buf_free(&plain);
	buf_free(&again);
}

static void
policy_any(const uint8_t *p, size_t n)
{
	struct policy one, two;
	struct buf file = {0}, words = {0};
	unsigned weaker;

	if (policy_decode(p, n, NULL, &one) == SEAL_OK) {
		policy_show(&one, &words);
		policy_difference(NULL, &one, &words, &weaker);
		check(policy_sign(&one, fuzz.root, &file) == SEAL_OK);
		check(policy_decode(file.data, file.len, key_public(fuzz.root), &two) == SEAL_OK);
		check(policy_difference(&one, &two, &words, &weaker) == 0);
		policy_free(&two);
	}
	policy_free(&one);
	buf_free(&file);
	buf_free(&words);
}

static void
core_any(const uint8_t *p, size_t n)
{
	struct buf again = {0};
	struct core c;

	if (core_decode(p, n, true, &c) == SEAL_OK) {
		core_encode(&c, &again);
		check(again.len + KEY_SIGNATURE_BYTES == n &&
		      memcmp(again.data, p, again.len) == 0);
	}
	(void)!core_decode(p, n, false, &c);
	buf_free(&again);
}

static void
envelope_any(const uint8_t *p, size_t n)
{
	struct buf again = {0};
	struct envelope e;
	const uint8_t *wrap;

	if (envelope_decode(p, n, &e) == SEAL_OK) {
		envelope_encode(&e, &again);
		check(again.len == n && memcmp(again.data, p, n) == 0);
		(void)!envelope_find(&e, fuzz.recipient, &wrap);
	}
	buf_free(&again);
}

static void
wrap_any(const uint8_t *p, size_t n)
{
	struct data_key *k;

	(void)!wrap_open(p, n, fuzz.recipient, data_key_commit(fuzz.key), &k);
	data_key_free(k);
}

static void
keyfile_any(const uint8_t *p, size_t n)
{
	struct keyfile_head head;
	struct key *k;

	/* Without a passphrase: a hostile file could ask for 2 GiB, which is allowed. */
	if (keyfile_decode(p, n, NULL, &k) == SEAL_OK)
		check(keyfile_head(p, n, &head) == SEAL_OK && head.type == key_type(k));
	key_free(k);
}

struct tape {
	const uint8_t *p;
	size_t n;
};

static bool
tape_get(void *of, void *p, size_t n, size_t *got)
{
	struct tape *t = of;

	*got = n < t->n ? n : t->n;
	if (*got)
		memcpy(p, t->p, *got);
	t->p += *got;
	t->n -= *got;
	return true;
}

static void
handover_any(const uint8_t *p, size_t n)
{
	struct tape t = {p, n};
	struct handover_head head;
	struct handover_reader *r;
	const uint8_t *chunk;
	size_t got = 1;

	if (handover_open((struct handover_source){tape_get, &t}, fuzz.recipient, &head, &r) ==
	    SEAL_OK)
		while (got && handover_read(r, &chunk, &got) == SEAL_OK)
			;
	handover_reader_free(r);
}

static void
texts_any(const uint8_t *p, size_t n)
{
	struct value v = value_text((const char *)p, n);
	char canonical[TOKEN_CANONICAL_MAX], *label = malloc(n + 1), name[NAME_BYTES_MAX + 1];
	struct token token;
	enum key_type t;
	unsigned epoch;
	size_t got;

	for (int form = 0; form < CANONICAL_MAX; form++)
		if (token_canonical(&v, (enum canonical)form, canonical, &got))
			check(got > 0 && got <= TOKEN_CANONICAL_MAX);
	memcpy(label, p, n);
	label[n] = '\0';
	(void)key_label_parse(label, &t, name, &epoch);
	free(label);
	(void)!token_decode(p, n, &token);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const formats[])(const uint8_t *, size_t) = {
	    value_any, field_any,   policy_any,	  core_any,  envelope_any,
	    wrap_any,  keyfile_any, handover_any, texts_any,
	};

	start();
	if (size > 0)
		formats[data[0] % (sizeof formats / sizeof *formats)](data + 1, size - 1);
	return 0;
}
