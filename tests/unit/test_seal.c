/* Sealed fields and the memory of keys: nonces survive a stuck generator and a repeated record, a
 * forked child has no keys, names and sizes have bounds, every value comes back as it was. */
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "seal/private.h"
#include "seal/seal.h"

enum { NONCE_AT = SEALED_PREFIX_BYTES, NONCE_BYTES = 24, NOBODY = 65534 };

#ifdef WEIR_ASAN
enum { LOCKING_IS_SEEN = 0 }; /* a sanitizer makes mlock a word without meaning */
#else
enum { LOCKING_IS_SEEN = 1 };
#endif

static const uint8_t rid[RID_BYTES] = "a record's id..", other_rid[RID_BYTES] = "another one....";
static const uint8_t sid[SID_BYTES] = "a person's sid.";
static const uint8_t s[32] = "the secret of a person.........";

static void
stuck(void *of, void *out, size_t n)
{
	(void)of;
	memset(out, 7, n);
}

static const struct seal_random stuck_random = {stuck, NULL};

static void
place(struct seal_place *at, const char *field, unsigned padexp)
{
	assert_int_equal(
	    seal_place_set(at, "loans", "offer@main#1", 12, field, strlen(field), padexp), SEAL_OK);
}

static void
sealed(struct data_key *k, const char *field, const uint8_t *record, const struct seal_subject *who,
       const char *text, struct buf *out)
{
	struct value v = value_text(text, strlen(text));
	struct seal_place at;

	place(&at, field, 5);
	buf_clear(out);
	assert_int_equal(seal_value(k, &at, record, who, &v, out), SEAL_OK);
}

static bool
nonces_equal(const struct buf *a, const struct buf *b)
{
	return memcmp(a->data + NONCE_AT, b->data + NONCE_AT, NONCE_BYTES) == 0;
}

/* ---- nonces ---- */

static void
test_a_stuck_generator_gives_no_nonce_twice(void **state)
{
	const struct seal_subject who = {sid, s};
	struct data_key *k, *same;
	struct buf a = {0}, b = {0};

	(void)state;
	assert_int_equal(data_key_new(&stuck_random, &k), SEAL_OK);
	assert_int_equal(data_key_new(&stuck_random, &same), SEAL_OK);
	assert_memory_equal(data_key_kid(k), data_key_kid(same), KID_BYTES); /* it is stuck */
	sealed(k, "cpf", rid, NULL, "1234", &a);
	sealed(k, "cpf", rid, NULL, "1235", &b);
	assert_false(nonces_equal(&a, &b)); /* another value */
	sealed(k, "name", rid, NULL, "1234", &b);
	assert_false(nonces_equal(&a, &b)); /* another field */
	sealed(k, "cpf", other_rid, NULL, "1234", &b);
	assert_false(nonces_equal(&a, &b)); /* another record */
	sealed(k, "cpf", rid, &who, "1234", &b);
	assert_false(nonces_equal(&a, &b)); /* another person */
	/* The same of everything, also out of a second key in that state: the same payload, which tells
	 * nothing but that. */
	sealed(same, "cpf", rid, NULL, "1234", &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	data_key_free(k);
	data_key_free(same);
	buf_free(&a);
	buf_free(&b);
}

static void
test_a_repeated_record_gives_another_nonce(void **state)
{
	enum { TIMES = 200 };
	static uint8_t seen[TIMES][NONCE_BYTES];
	struct data_key *k;
	struct buf a = {0};

	(void)state;
	assert_int_equal(data_key_new(NULL, &k), SEAL_OK);
	for (unsigned i = 0; i < TIMES; i++) {
		sealed(k, "cpf", rid, NULL, "1234", &a);
		memcpy(seen[i], a.data + NONCE_AT, NONCE_BYTES);
		for (unsigned j = 0; j < i; j++)
			assert_memory_not_equal(seen[i], seen[j], NONCE_BYTES);
	}
	data_key_free(k);
	buf_free(&a);
}

/* ---- forks ---- */

static void
dies(void (*what)(void *), void *of)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit none = {0, 0};
		signal(SIGABRT, SIG_DFL); /* cmocka's own handler would report it */
		setrlimit(RLIMIT_CORE, &none);
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		what(of);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void
child_seals(void *of)
{
	struct buf a = {0};
	struct value v = value_integer(1);
	struct seal_place at;

	if (seal_place_set(&at, "p", "s", 1, "f", 1, 4) == SEAL_OK)
		(void)!seal_value(of, &at, rid, NULL, &v, &a);
}

static void
child_reads(void *of)
{
	(void)secret_length(of);
}

static void
test_a_forked_child_has_no_keys(void **state)
{
	struct data_key *k;
	struct buf a = {0};
	struct secret *word = secret_of("word", 4);

	(void)state;
	assert_int_equal(data_key_new(NULL, &k), SEAL_OK);
	sealed(k, "cpf", rid, NULL, "1234", &a);
	dies(child_seals, k);
	dies(child_reads, word);
	sealed(k, "cpf", rid, NULL, "1234", &a); /* the parent goes on */
	assert_int_equal(secret_length(word), 4);
	secret_free(word);
	data_key_free(k);
	buf_free(&a);
}

/* ---- memory ---- */

/* A machine's list of swaps, in a file that goes when it is closed; its path. */
static const char *
swaps_list(const char *text)
{
	static char path[64];
	int fd = memfd_create("swaps", 0);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(2);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return path;
}

#define HEADS	"Filename\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
#define NO_SWAP HEADS
#define SWAP	HEADS "/dev/vda2                               partition\t1048572\t0\t-2\n"

/* Our limit from here on, and no right to go beyond it. */
static void
limit_to(size_t bytes)
{
	const struct rlimit limit = {bytes, bytes};

	if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
	    (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0))
		_exit(2);
}

/* What a child must be able to say of itself; it ends where that does not hold. */
#define HOLDS(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%d: %s\n", __LINE__, #cond);                              \
			_exit(3);                                                                  \
		}                                                                                  \
	} while (0)

static bool
says(const char *text, const char *word)
{
	return text && strstr(text, word);
}

static void
nothing_to_lock(void)
{
	struct err e;

	limit_to(0);
	HOLDS(!arena_open(true, swaps_list(SWAP), &e) && e.code == EXIT_CONFIG);
	HOLDS(says(e.text, "ulimit -l") && says(e.text, "is 0 KiB") && says(e.text, "container"));
	HOLDS(!arena_open(true, "/proc/no such list", &e) && e.code == EXIT_CONFIG);
	HOLDS(!arena_open(true, swaps_list(""), &e)); /* says nothing */
	HOLDS(arena_open(false, swaps_list(SWAP), &e) && secret_unlocked_bytes() > 0);
	struct secret *word = secret_of("word", 4);
	HOLDS(word && memcmp(secret_bytes(word), "word", 4) == 0);
}

static void
nothing_to_lock_and_no_swap(void)
{
	struct err e;

	limit_to(0);
	HOLDS(arena_open(true, swaps_list(NO_SWAP), &e) && secret_unlocked_bytes() > 0);
	HOLDS(secret_of("word", 4) && !secret_shortage());
	HOLDS(secret_map(1 << 20) != NULL && secret_unlocked_bytes() > 1 << 20);
}

/* Of the size of a data key; how many there were room for. */
static unsigned
secrets_take(struct secret **out, unsigned max)
{
	unsigned n = 0;

	while (n < max && (out[n] = secret_of(&n, sizeof n)) != NULL)
		n++;
	return n;
}

enum { LOTS = 20000 };
static struct secret *lots[LOTS];

static void
little_to_lock(void)
{
	struct err e;
	size_t bytes;

	limit_to(65536);
	HOLDS(arena_open(true, swaps_list(SWAP), &e) && secret_unlocked_bytes() == 0);
	unsigned n = secrets_take(lots, LOTS);
	HOLDS(n > 2 * SECRET_ARENA_BYTES / 64 - 16 && n < LOTS); /* two parts, and no third */
	HOLDS(says(secret_shortage(), "is 64 KiB") && secret_unlocked_bytes() == 0);
	for (unsigned i = 0; i < n; i++)
		HOLDS(memcmp(secret_bytes(lots[i]), &i, sizeof i) == 0);
	HOLDS(secret_map(1 << 20) == NULL && secret_unlocked_bytes() == 0);
	HOLDS(secret_map_fitting(16 << 20, 4 << 20, &bytes) == NULL);
	struct data_key *k;
	HOLDS(data_key_new(NULL, &k) == SEAL_SYSTEM && !k);
	HOLDS(!seal_fail(&e, SEAL_SYSTEM, "a key") && says(e.text, "a key: ") &&
	      says(e.text, "is 64 KiB"));
	secret_free(lots[7]); /* what is freed is used again */
	HOLDS(secret_of("word", 4) != NULL && secret_of("word", 4) == NULL);
}

static void
little_to_lock_and_no_swap(void)
{
	struct err e;

	limit_to(65536);
	HOLDS(arena_open(true, swaps_list(NO_SWAP), &e) && secret_unlocked_bytes() == 0);
	HOLDS(secrets_take(lots, LOTS) == LOTS && secret_unlocked_bytes() > 0);
	for (unsigned i = 0; i < LOTS; i++)
		HOLDS(memcmp(secret_bytes(lots[i]), &i, sizeof i) == 0);
}

/* What pods and shells have: the table is a part of it, so that keys have room. */
static void
what_is_usual(void)
{
	struct err e;
	size_t bytes;

	limit_to(8 << 20);
	HOLDS(arena_open(true, swaps_list(SWAP), &e));
	uint8_t *p = secret_map_fitting(16 << 20, 1 << 20, &bytes);
	HOLDS(p && bytes == 4 << 20 && secret_unlocked_bytes() == 0);
	memset(p, 1, bytes);
	HOLDS(secrets_take(lots, LOTS) == LOTS && secret_unlocked_bytes() == 0);
	secret_map_clear(p, bytes);
	for (size_t i = 0; i < bytes; i++)
		HOLDS(p[i] == 0);
	memset(p, 1, bytes);
	secret_unmap(p, bytes);
	HOLDS(secret_map_fitting(4 << 20, 4 << 20, &bytes) && bytes == 4 << 20);
}

static void
test_the_limit_of_locked_memory(void **state)
{
	static void (*const children[])(void) = {nothing_to_lock, nothing_to_lock_and_no_swap,
						 little_to_lock, little_to_lock_and_no_swap,
						 what_is_usual};
	int status;

	(void)state;
	if (!LOCKING_IS_SEEN)
		skip();
	for (unsigned i = 0; i < sizeof children / sizeof *children; i++) {
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			children[i]();
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

/* ---- passphrases at a terminal ---- */

enum { ASKED_RIGHT = 40, ASKED_WRONG };

static int
asks(void)
{
	struct secret *word = NULL;
	struct err e;

	if (!secret_open(false, &e))
		return 1;
	enum seal_error why = passphrase_ask("passphrase: ", true, &word);
	if (why == SEAL_PASSPHRASE)
		return ASKED_WRONG;
	return why == SEAL_OK && secret_length(word) == 4 &&
		       memcmp(secret_bytes(word), "word", 4) == 0
		   ? ASKED_RIGHT
		   : 1;
}

/* Reads the terminal until `until` was shown; all that was shown is in seen. */
static void
shown(int terminal, const char *until, char seen[static 256])
{
	size_t n = strlen(seen);

	while (!strstr(seen, until)) {
		ssize_t got = read(terminal, seen + n, 255 - n);
		if (got <= 0)
			fail_msg("the terminal has ended; it showed \"%s\"", seen);
		n += (size_t)got;
		seen[n] = '\0';
	}
}

/* What becomes of a process that asks, when these two lines are typed; NULL: ^C instead. */
static int
typed(const char *first, const char *second)
{
	char seen[256] = "";
	int terminal, status;
	pid_t child = forkpty(&terminal, NULL, NULL, NULL);

	assert_true(child >= 0);
	if (child == 0)
		_exit(asks());
	shown(terminal, "passphrase: ", seen);
	if (first) {
		assert_int_equal(write(terminal, first, strlen(first)), (ssize_t)strlen(first));
		shown(terminal, "again: ", seen);
	}
	if (!second)
		second = "\3";
	assert_int_equal(write(terminal, second, strlen(second)), (ssize_t)strlen(second));
	assert_int_equal(waitpid(child, &status, 0), child);
	close(terminal);
	assert_null(strstr(seen, "word"));
	return status;
}

static void
test_a_passphrase_is_typed_unseen(void **state)
{
	int status;

	(void)state;
	status = typed("word\n", "word\n");
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), ASKED_RIGHT);
	status = typed("word\n", "ward\n");
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), ASKED_WRONG);
	status = typed("word\n", NULL);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
	status = typed(NULL, NULL);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}

/* The VmFlags of the mapping that holds p, from /proc/self/smaps. */
static void
flags_of(const void *p, char out[static 256])
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[256];
	bool inside = false;

	out[0] = '\0';
	assert_non_null(f);
	while (fgets(line, sizeof line, f)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(out, 256, "%s", line + 8);
	}
	fclose(f);
}

static void
test_keys_lie_in_locked_undumped_wiped_pages(void **state)
{
	struct secret *word = secret_of("word", 4);
	char flags[256];

	(void)state;
	flags_of(word, flags);
	if (!flags[0]) {
		secret_free(word);
		skip();
	}
	assert_non_null(strstr(flags, " wf")); /* wiped on fork */
	assert_non_null(strstr(flags, " dd")); /* not in a core dump */
	if (LOCKING_IS_SEEN && secret_unlocked_bytes() == 0)
		assert_non_null(strstr(flags, " lo"));
	secret_free(word);
}

static void
test_the_arena_grows_and_wipes(void **state)
{
	enum { MANY = 2000 };
	static struct secret *all[MANY];
	uint8_t pattern[200];

	(void)state;
	memset(pattern, 0xa5, sizeof pattern);
	for (unsigned i = 0; i < MANY; i++) {
		all[i] = secret_of(pattern, 1 + i % sizeof pattern);
		assert_non_null(all[i]);
	}
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(secret_length(all[i]), 1 + i % sizeof pattern);
		assert_memory_equal(secret_bytes(all[i]), pattern, secret_length(all[i]));
		secret_free(all[i]);
	}
	for (unsigned i = 0; i < 64; i++) {
		uint8_t *p = arena_alloc(sizeof pattern);
		for (unsigned j = 0; j < sizeof pattern; j++)
			assert_int_equal(p[j], 0); /* what was freed was wiped */
		memset(p, 1, sizeof pattern);
		all[i] = (struct secret *)(void *)p;
	}
	for (unsigned i = 0; i < 64; i++)
		arena_free(all[i]);
}

static void
test_mapped_secrets_begin_as_zeros(void **state)
{
	enum { BYTES = 1 << 20 };
	uint8_t *p = secret_map(BYTES);
	char flags[256];

	(void)state;
	for (unsigned i = 0; i < BYTES; i += 4096)
		assert_int_equal(p[i], 0);
	flags_of(p, flags);
	if (flags[0])
		assert_non_null(strstr(flags, " wf"));
	secret_unmap(p, BYTES);
}

/* ---- values ---- */

static void
round_trip(struct data_key *k, const struct value *v, unsigned padexp,
	   const struct seal_subject *who)
{
	struct buf payload = {0}, plain = {0};
	struct seal_place at;
	struct sealed_head h;
	struct value back;
	bool raw;

	place(&at, "f", padexp);
	buf_text(&payload, "before"); /* appended to what is there */
	assert_int_equal(seal_value(k, &at, rid, who, v, &payload), SEAL_OK);
	assert_memory_equal(payload.data, "before", 6);
	assert_int_equal(sealed_head_read(payload.data + 6, payload.len - 6, &h), SEAL_OK);
	assert_int_equal(h.padexp, padexp);
	assert_int_equal(h.bound, who != NULL);
	assert_memory_equal(h.kid, data_key_kid(k), KID_BYTES);
	if (padexp)
		assert_int_equal((payload.len - 6 - 44 - 16) % (1u << padexp), 0);
	assert_int_equal(seal_open(k, &at, rid, who, payload.data + 6, payload.len - 6, &plain),
			 SEAL_OK);
	assert_int_equal(seal_plain_value(&plain, &back, &raw), SEAL_OK);
	assert_false(raw);
	assert_int_equal(back.type, v->type);
	if (v->type == VALUE_TEXT || v->type == VALUE_JSON) {
		assert_int_equal(back.len, v->len);
		if (v->len)
			assert_memory_equal(back.text, v->text, v->len);
	} else if (v->type != VALUE_NULL) {
		assert_int_equal(value_compare(&back, v), 0);
		assert_int_equal(back.scale, v->scale);
	}
	buf_free(&payload);
	buf_free(&plain);
}

static void
test_every_value_comes_back(void **state)
{
	static const unsigned padexps[] = {0, 4, 5, 8, 12};
	struct seal_subject who = {sid, s};
	struct value json = value_text("[1]", 3);
	struct data_key *k;

	json.type = VALUE_JSON;
	const struct value values[] = {
	    value_null(),
	    value_boolean(true),
	    value_integer(INT64_MIN),
	    value_integer(INT64_MAX),
	    value_decimal((int128)1 << 100, 18),
	    value_decimal(-1, 0),
	    {.type = VALUE_FLOAT, .real = -0.25},
	    {.type = VALUE_DATE, .integer = -719162},
	    value_timestamp(-1),
	    value_text("", 0),
	    value_text("Conceição", strlen("Conceição")),
	    json,
	};
	(void)state;
	assert_int_equal(data_key_new(NULL, &k), SEAL_OK);
	for (unsigned i = 0; i < sizeof values / sizeof *values; i++)
		for (unsigned j = 0; j < sizeof padexps / sizeof *padexps; j++) {
			round_trip(k, &values[i], padexps[j], NULL);
			round_trip(k, &values[i], padexps[j], &who);
		}
	data_key_free(k);
}

static void
test_persons_do_not_mix(void **state)
{
	uint8_t sids[2][SID_BYTES] = {"one", "two"}, secrets[2][32] = {"s of one", "s of two"};
	struct buf payload[2] = {{0}, {0}}, plain = {0};
	struct seal_place at;
	struct data_key *k;

	(void)state;
	assert_int_equal(data_key_new(NULL, &k), SEAL_OK);
	place(&at, "cpf", 5);
	/* In turns, so that a remembered person would be the wrong one. */
	for (unsigned i = 0; i < 2; i++)
		sealed(k, "cpf", rid, &(struct seal_subject){sids[i], secrets[i]}, "x",
		       &payload[i]);
	for (unsigned i = 0; i < 8; i++) {
		const struct seal_subject who = {sids[i & 1], secrets[i >> 1 & 1]};
		bool right = (i & 1) == (i >> 2 & 1) && (i >> 1 & 1) == (i >> 2 & 1);
		const struct buf *p = &payload[i >> 2 & 1];
		assert_int_equal(seal_open(k, &at, rid, &who, p->data, p->len, &plain),
				 right ? SEAL_OK : SEAL_AUTH);
	}
	assert_int_equal(seal_open(k, &at, rid, NULL, payload[0].data, payload[0].len, &plain),
			 SEAL_ERASED);
	data_key_free(k);
	buf_free(&payload[0]);
	buf_free(&payload[1]);
	buf_free(&plain);
}

static void
test_sizes_have_bounds(void **state)
{
	static char text[SEALED_PAYLOAD_MAX];
	struct value v = value_text(text, sizeof text);
	struct seal_place at;
	struct data_key *k;
	struct buf out = {0}, plain = {0};

	(void)state;
	memset(text, 'x', sizeof text);
	assert_int_equal(data_key_new(NULL, &k), SEAL_OK);
	place(&at, "notes", 0);
	assert_int_equal(seal_value(k, &at, rid, NULL, &v, &out), SEAL_SIZE);
	assert_int_equal(out.len, 0);
	assert_int_equal(seal_raw(k, &at, rid, NULL, text, sizeof text + 1, &out), SEAL_SIZE);
	v.len = sizeof text - SEALED_HEAD_BYTES - SEALED_TAG_BYTES - 5; /* 5: head of the text */
	assert_int_equal(seal_value(k, &at, rid, NULL, &v, &out), SEAL_OK);
	assert_int_equal(out.len, SEALED_PAYLOAD_MAX);
	assert_int_equal(seal_open(k, &at, rid, NULL, out.data, out.len, &plain), SEAL_OK);
	assert_int_equal(plain.len, v.len + 5);
	buf_clear(&out);
	v.len++;
	assert_int_equal(seal_value(k, &at, rid, NULL, &v, &out), SEAL_SIZE);
	assert_int_equal(out.len, 0);
	at.padexp = 12; /* what fits without padding may not fit with it */
	v.len--;
	assert_int_equal(seal_value(k, &at, rid, NULL, &v, &out), SEAL_SIZE);
	data_key_free(k);
	buf_free(&out);
	buf_free(&plain);
}

static void
test_places_have_bounds(void **state)
{
	char longest[SEALED_NAME_MAX + 2];
	struct seal_place at;

	(void)state;
	memset(longest, 'n', sizeof longest);
	longest[SEALED_NAME_MAX] = '\0';
	assert_int_equal(
	    seal_place_set(&at, longest, longest, SEALED_NAME_MAX, longest, SEALED_NAME_MAX, 12),
	    SEAL_OK);
	assert_int_equal(seal_place_set(&at, "p", longest, SEALED_NAME_MAX + 1, "f", 1, 0),
			 SEAL_SIZE);
	assert_int_equal(seal_place_set(&at, "p", "s", 1, longest, SEALED_NAME_MAX + 1, 0),
			 SEAL_SIZE);
	for (unsigned e = 0; e < 20; e++)
		assert_int_equal(seal_place_set(&at, "p", "s", 1, "f", 1, e),
				 e == 0 || (e >= 4 && e <= 12) ? SEAL_OK : SEAL_PADDING);
}

static void
test_erased_form(void **state)
{
	struct sealed_head h;
	struct buf out = {0};

	(void)state;
	seal_erased(&out);
	assert_int_equal(out.len, SEALED_ERASED_BYTES);
	assert_memory_equal(out.data, "\1\1\2\0", 4);
	assert_int_equal(sealed_head_read(out.data, out.len, &h), SEAL_OK);
	assert_true(h.erased);
	assert_false(h.bound);
	buf_free(&out);
}

static void
test_errors_have_names(void **state)
{
	struct err e;

	(void)state;
	for (unsigned i = 0; i < SEAL_ERROR_MAX; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(seal_error_name((enum seal_error)i),
						seal_error_name((enum seal_error)j));
	assert_false(seal_fail(&e, SEAL_LOWPOINT, "member %s", "ana"));
	assert_int_equal(e.code, EXIT_PERMISSION);
	assert_string_equal(e.text, "member ana: a public key that makes no secret (lowpoint)");
	assert_false(seal_fail(&e, SEAL_AUTH, "x"));
	assert_int_equal(e.code, EXIT_DATA);
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
	/* Without an arena as yet. */
	const struct CMUnitTest before[] = {
	    cmocka_unit_test(test_the_limit_of_locked_memory),
	    cmocka_unit_test(test_a_passphrase_is_typed_unseen),
	};
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_stuck_generator_gives_no_nonce_twice),
	    cmocka_unit_test(test_a_repeated_record_gives_another_nonce),
	    cmocka_unit_test(test_a_forked_child_has_no_keys),
	    cmocka_unit_test(test_keys_lie_in_locked_undumped_wiped_pages),
	    cmocka_unit_test(test_the_arena_grows_and_wipes),
	    cmocka_unit_test(test_mapped_secrets_begin_as_zeros),
	    cmocka_unit_test(test_every_value_comes_back),
	    cmocka_unit_test(test_persons_do_not_mix),
	    cmocka_unit_test(test_sizes_have_bounds),
	    cmocka_unit_test(test_places_have_bounds),
	    cmocka_unit_test(test_erased_form),
	    cmocka_unit_test(test_errors_have_names),
	};
	int failed = cmocka_run_group_tests(before, NULL, NULL);

	return failed + cmocka_run_group_tests(tests, start, NULL);
}
