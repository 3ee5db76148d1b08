#include "seal/handover.h"

#include <stdlib.h>

#include <sodium.h>

#include "mem.h"
#include "seal/data_key.h"
#include "seal/private.h"

enum {
	STREAM_HEAD_BYTES = crypto_secretstream_xchacha20poly1305_HEADERBYTES,
	OVERHEAD_BYTES = crypto_secretstream_xchacha20poly1305_ABYTES,
	CHUNK_SEALED_MAX = HANDOVER_CHUNK_BYTES + OVERHEAD_BYTES,
	LENGTH_BYTES = 4,
	BIND_BYTES = 32,
	FIXED_BYTES = 4 + 4 + KID_BYTES + COMMIT_BYTES + 8 + POLICY_HASH_BYTES,
};

static const uint8_t magic[4] = "WRH1";

typedef crypto_secretstream_xchacha20poly1305_state stream_state;

/* ---- what both sides share ---- */

static stream_state *
state_new(void)
{
	return arena_alloc(sizeof(stream_state));
}

static void
stream_key(const struct data_key *k, uint8_t out[static SECRET_KEY_BYTES])
{
	b2b(data_key_bytes(k), "weir1.handover", NULL, 0, out, SECRET_KEY_BYTES);
}

static void
bind_make(const uint8_t *head, size_t n, uint8_t out[static BIND_BYTES])
{
	b2b(NULL, "weir1.handover", head, n, out, BIND_BYTES);
}

/* ---- writing ---- */

struct handover_writer {
	struct handover_sink sink;
	stream_state *state; /* in the arena */
	uint8_t bind[BIND_BYTES];
	uint8_t *plain, *sealed; /* secret_map */
	size_t used;
	bool failed, finished;
};

static enum seal_error
writer_put(struct handover_writer *w, const void *p, size_t n)
{
	if (!w->failed && !w->sink.put(w->sink.of, p, n))
		w->failed = true;
	return w->failed ? SEAL_SYSTEM : SEAL_OK;
}

static enum seal_error
head_write(struct handover_head *h, const struct data_key *k, const uint8_t (*pks)[32], unsigned n,
	   struct buf *out)
{
	memcpy(h->kid, data_key_kid(k), KID_BYTES);
	h->recipients_n = n;
	buf_add(out, magic, sizeof magic);
	put_u32(out, (uint32_t)SEALED_SUITE << 24);
	buf_add(out, h->kid, KID_BYTES);
	buf_add(out, data_key_commit(k), COMMIT_BYTES);
	put_u64(out, (uint64_t)h->created_ms);
	buf_add(out, h->policy_hash, POLICY_HASH_BYTES);
	put_text(out, h->pipeline.s);
	put_text(out, h->name.s);
	put_text(out, h->format);
	put_text(out, h->purpose);
	buf_byte(out, (uint8_t)n);
	for (unsigned i = 0; i < n; i++) {
		uint8_t wrap[ENVELOPE_WRAP_BYTES];
		enum seal_error why = wrap_make(k, pks[i], wrap);
		if (why != SEAL_OK)
			return why;
		buf_add(out, wrap, sizeof wrap);
	}
	return SEAL_OK;
}

static enum seal_error
writer_start(struct handover_writer *w, const struct data_key *k, const struct buf *head)
{
	uint8_t key[SECRET_KEY_BYTES], stream_head[STREAM_HEAD_BYTES];

	stream_key(k, key);
	crypto_secretstream_xchacha20poly1305_init_push(w->state, stream_head, key);
	sodium_memzero(key, sizeof key);
	bind_make(head->data, head->len, w->bind);
	enum seal_error why = writer_put(w, head->data, head->len);
	return why == SEAL_OK ? writer_put(w, stream_head, sizeof stream_head) : why;
}

enum seal_error
handover_start(struct handover_head *head, const uint8_t (*pks)[KEY_PUBLIC_BYTES], unsigned n,
	       struct handover_sink sink, struct handover_writer **out)
{
	struct data_key *k;
	struct buf b = {0};

	*out = NULL;
	if (n < 1 || n > HANDOVER_RECIPIENTS_MAX)
		return SEAL_SIZE;
	enum seal_error why = data_key_new(NULL, &k);
	if (why != SEAL_OK)
		return why;
	struct handover_writer *w = mem_zero(1, sizeof *w);
	w->sink = sink;
	w->state = state_new();
	w->plain = secret_map(HANDOVER_CHUNK_BYTES);
	w->sealed = mem_alloc(LENGTH_BYTES + CHUNK_SEALED_MAX);
	why = w->state && w->plain ? head_write(head, k, pks, n, &b) : SEAL_SYSTEM;
	if (why == SEAL_OK)
		why = writer_start(w, k, &b);
	data_key_free(k);
	buf_free(&b);
	if (why != SEAL_OK) {
		handover_writer_free(w);
		return why;
	}
	*out = w;
	return SEAL_OK;
}

static enum seal_error
chunk_write(struct handover_writer *w, uint8_t tag)
{
	size_t n = w->used + OVERHEAD_BYTES;

	arena_check(w->state);
	for (unsigned i = 0; i < LENGTH_BYTES; i++)
		w->sealed[i] = (uint8_t)(n >> (8 * (LENGTH_BYTES - 1 - i)));
	crypto_secretstream_xchacha20poly1305_push(w->state, w->sealed + LENGTH_BYTES, NULL,
						   w->plain, w->used, w->bind, BIND_BYTES, tag);
	sodium_memzero(w->plain, w->used);
	w->used = 0;
	return writer_put(w, w->sealed, LENGTH_BYTES + n);
}

enum seal_error
handover_write(struct handover_writer *w, const void *p, size_t n)
{
	const uint8_t *from = p;
	enum seal_error why = w->failed ? SEAL_SYSTEM : SEAL_OK;

	check(!w->finished);
	while (why == SEAL_OK && n) {
		/* A full chunk waits for more: the last one must be marked as such. */
		if (w->used == HANDOVER_CHUNK_BYTES)
			why = chunk_write(w, crypto_secretstream_xchacha20poly1305_TAG_MESSAGE);
		size_t room = HANDOVER_CHUNK_BYTES - w->used, now = n < room ? n : room;
		memcpy(w->plain + w->used, from, now);
		w->used += now;
		from += now;
		n -= now;
	}
	return why;
}

enum seal_error
handover_finish(struct handover_writer *w)
{
	if (w->failed)
		return SEAL_SYSTEM;
	check(!w->finished);
	w->finished = true;
	return chunk_write(w, crypto_secretstream_xchacha20poly1305_TAG_FINAL);
}

void
handover_writer_free(struct handover_writer *w)
{
	if (!w)
		return;
	arena_free(w->state);
	secret_unmap(w->plain, HANDOVER_CHUNK_BYTES);
	free(w->sealed);
	free(w);
}

/* ---- reading ---- */

struct handover_reader {
	struct handover_source source;
	stream_state *state; /* in the arena */
	uint8_t bind[BIND_BYTES];
	uint8_t *plain, *sealed;
	bool final;
	enum seal_error failed;
};

/* Exactly n bytes, or what there is up to the end. */
static enum seal_error
source_fill(struct handover_source *s, uint8_t *p, size_t n, size_t *got)
{
	*got = 0;
	while (*got < n) {
		size_t now = 0;
		if (!s->get(s->of, p + *got, n - *got, &now))
			return SEAL_SYSTEM;
		check(now <= n - *got);
		if (now == 0)
			break;
		*got += now;
	}
	return SEAL_OK;
}

static enum seal_error
source_exact(struct handover_source *s, uint8_t *p, size_t n)
{
	size_t got;
	enum seal_error why = source_fill(s, p, n, &got);

	if (why != SEAL_OK)
		return why;
	return got == n ? SEAL_OK : SEAL_TRUNCATED;
}

/* Appends n bytes of the source to the head's. */
static enum seal_error
head_more(struct handover_source *s, struct buf *head, size_t n)
{
	buf_reserve(head, n);
	enum seal_error why = source_exact(s, head->data + head->len, n);
	if (why == SEAL_OK)
		head->len += n;
	return why;
}

static enum seal_error
head_text(struct handover_source *s, struct buf *head, char *out, size_t max)
{
	enum seal_error why = head_more(s, head, 2);

	if (why != SEAL_OK)
		return why;
	size_t n = (size_t)head->data[head->len - 2] << 8 | head->data[head->len - 1];
	if (n > max)
		return SEAL_MALFORMED;
	why = head_more(s, head, n);
	if (why != SEAL_OK)
		return why;
	const uint8_t *p = head->data + head->len - n;
	if (n && memchr(p, 0, n))
		return SEAL_MALFORMED;
	memcpy(out, p, n);
	out[n] = '\0';
	return SEAL_OK;
}

static enum seal_error
head_fixed(struct handover_source *s, struct buf *head, struct handover_head *h,
	   uint8_t commit[static COMMIT_BYTES])
{
	enum seal_error why = head_more(s, head, FIXED_BYTES);

	if (why != SEAL_OK)
		return why;
	struct cursor c = {.p = head->data, .n = head->len};
	const uint8_t *m = take(&c, sizeof magic);
	if (memcmp(m, magic, sizeof magic) != 0)
		return SEAL_MALFORMED;
	if (take_uint(&c, 1) != SEALED_SUITE)
		return SEAL_SUITE;
	take_zeros(&c, 3);
	take_copy(&c, h->kid, KID_BYTES);
	take_copy(&c, commit, COMMIT_BYTES);
	uint64_t created = take_uint(&c, 8);
	take_copy(&c, h->policy_hash, POLICY_HASH_BYTES);
	h->created_ms = (int64_t)(created & INT64_MAX);
	if (c.bad || created > INT64_MAX)
		return SEAL_MALFORMED;
	return memcmp(h->kid, commit, KID_BYTES) == 0 ? SEAL_OK : SEAL_COMMIT;
}

/* The whole head into a buffer, as every chunk is bound to it; *wraps is where they begin. */
static enum seal_error
head_read(struct handover_source *s, struct buf *head, struct handover_head *h,
	  uint8_t commit[static COMMIT_BYTES], size_t *wraps)
{
	*h = (struct handover_head){0};
	enum seal_error why = head_fixed(s, head, h, commit);
	if (why == SEAL_OK)
		why = head_text(s, head, h->pipeline.s, NAME_BYTES_MAX);
	if (why == SEAL_OK)
		why = head_text(s, head, h->name.s, NAME_BYTES_MAX);
	if (why == SEAL_OK)
		why = head_text(s, head, h->format, sizeof h->format - 1);
	if (why == SEAL_OK)
		why = head_text(s, head, h->purpose, HANDOVER_TEXT_MAX);
	if (why == SEAL_OK)
		why = head_more(s, head, 1);
	if (why != SEAL_OK)
		return why;
	h->recipients_n = head->data[head->len - 1];
	if (h->recipients_n < 1 || h->recipients_n > HANDOVER_RECIPIENTS_MAX)
		return SEAL_MALFORMED;
	*wraps = head->len;
	return head_more(s, head, (size_t)h->recipients_n * ENVELOPE_WRAP_BYTES);
}

static enum seal_error
reader_start(struct handover_reader *r, const struct buf *head, size_t wraps, unsigned n,
	     const struct key *recipient, const uint8_t *commit)
{
	uint8_t key[SECRET_KEY_BYTES], stream_head[STREAM_HEAD_BYTES];
	struct envelope e = {.wraps = head->data + wraps, .n = n};
	struct data_key *k = NULL;
	const uint8_t *wrap;

	if (!r->state)
		return SEAL_SYSTEM;
	enum seal_error why = envelope_find(&e, recipient, &wrap);
	if (why == SEAL_OK)
		why = wrap_open(wrap, ENVELOPE_WRAP_BYTES, recipient, commit, &k);
	if (why == SEAL_OK)
		why = source_exact(&r->source, stream_head, sizeof stream_head);
	if (why == SEAL_OK) {
		stream_key(k, key);
		crypto_secretstream_xchacha20poly1305_init_pull(r->state, stream_head, key);
		sodium_memzero(key, sizeof key);
		bind_make(head->data, head->len, r->bind);
	}
	data_key_free(k);
	return why;
}

enum seal_error
handover_open(struct handover_source source, const struct key *recipient,
	      struct handover_head *head, struct handover_reader **out)
{
	uint8_t commit[COMMIT_BYTES];
	struct buf b = {0};
	size_t wraps = 0;

	sodium_start();
	*out = NULL;
	struct handover_reader *r = mem_zero(1, sizeof *r);
	r->source = source;
	r->plain = secret_map(HANDOVER_CHUNK_BYTES);
	r->sealed = mem_alloc(CHUNK_SEALED_MAX);
	enum seal_error why =
	    r->plain ? head_read(&r->source, &b, head, commit, &wraps) : SEAL_SYSTEM;
	if (why == SEAL_OK) {
		r->state = state_new();
		why = reader_start(r, &b, wraps, head->recipients_n, recipient, commit);
	}
	buf_free(&b);
	if (why != SEAL_OK) {
		handover_reader_free(r);
		return why;
	}
	*out = r;
	return SEAL_OK;
}

static enum seal_error
chunk_read(struct handover_reader *r, size_t *n)
{
	uint8_t length[LENGTH_BYTES], tag;
	enum seal_error why = source_exact(&r->source, length, sizeof length);

	if (why != SEAL_OK)
		return why;
	struct cursor c = {.p = length, .n = sizeof length};
	size_t sealed = (size_t)take_uint(&c, LENGTH_BYTES);
	if (sealed < OVERHEAD_BYTES || sealed > CHUNK_SEALED_MAX)
		return SEAL_MALFORMED;
	why = source_exact(&r->source, r->sealed, sealed);
	if (why != SEAL_OK)
		return why;
	arena_check(r->state);
	if (crypto_secretstream_xchacha20poly1305_pull(r->state, r->plain, NULL, &tag, r->sealed,
						       sealed, r->bind, BIND_BYTES) != 0)
		return SEAL_AUTH;
	*n = sealed - OVERHEAD_BYTES;
	r->final = tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL;
	if (!r->final && (tag != crypto_secretstream_xchacha20poly1305_TAG_MESSAGE ||
			  *n != HANDOVER_CHUNK_BYTES))
		return SEAL_MALFORMED;
	if (!r->final)
		return SEAL_OK;
	size_t more;
	why = source_fill(&r->source, length, 1, &more);
	return why == SEAL_OK && more ? SEAL_MALFORMED : why;
}

enum seal_error
handover_read(struct handover_reader *r, const uint8_t **p, size_t *n)
{
	*p = r->plain;
	*n = 0;
	sodium_memzero(r->plain, HANDOVER_CHUNK_BYTES);
	if (r->failed == SEAL_OK && !r->final) {
		r->failed = chunk_read(r, n);
		if (r->failed != SEAL_OK) {
			*n = 0;
			sodium_memzero(r->plain, HANDOVER_CHUNK_BYTES);
		}
	}
	return r->failed;
}

void
handover_reader_free(struct handover_reader *r)
{
	if (!r)
		return;
	arena_free(r->state);
	secret_unmap(r->plain, HANDOVER_CHUNK_BYTES);
	free(r->sealed);
	free(r);
}

enum seal_error
handover_inspect(struct handover_source source, struct handover_head *head)
{
	uint8_t commit[COMMIT_BYTES];
	struct buf b = {0};
	size_t wraps = 0;

	sodium_start();
	enum seal_error why = head_read(&source, &b, head, commit, &wraps);
	buf_free(&b);
	return why;
}
