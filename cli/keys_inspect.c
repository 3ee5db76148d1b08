/* keys inspect: what the bytes of a sealed thing say without any key. */
#include "keys.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "seal/envelope.h"
#include "seal/handover.h"
#include "seal/token.h"
#include "wire.h"

enum { INSPECT_BYTES_MAX = 8 << 20 };

static void
hex_data(struct keys *k, const char *name, const void *p, size_t n)
{
	struct buf hex = {0};

	keys_hex(&hex, p, n);
	keys_data(k, name, "\"%s\"", buf_cstr(&hex));
	keys_did(k, "%-10s %s", name, buf_cstr(&hex));
	buf_free(&hex);
}

static void
kind_is(struct keys *k, const char *kind, const char *words)
{
	keys_data(k, "kind", "\"%s\"", kind);
	keys_did(k, "%-10s %s", "kind", words);
}

static bool
sealed_show(struct keys *k, const void *p, size_t n, struct err *e)
{
	struct sealed_head h;

	enum seal_error why = sealed_head_read(p, n, &h);
	if (why != SEAL_OK)
		return seal_fail(e, why, "sealed value");
	kind_is(k, h.erased ? "erased" : "sealed",
		h.erased ? "the mark of an erased person; nothing is inside" : "a sealed value");
	if (h.erased)
		return true;
	hex_data(k, "kid", h.kid, sizeof h.kid);
	keys_data(k, "bound", "%s", h.bound ? "true" : "false");
	keys_data(k, "padexp", "%u", h.padexp);
	keys_data(k, "bytes", "%zu", n);
	keys_did(k, "%-10s %s", "subject", h.bound ? "bound to a person" : "not bound to a person");
	keys_did(k, "%-10s to multiples of %u bytes", "padded", h.padexp ? 1u << h.padexp : 1);
	return true;
}

static bool
carried_show(struct keys *k, const struct carried *c, struct err *e)
{
	struct buf text = {0};

	hex_data(k, "rid", c->rid, sizeof c->rid);
	if (c->has_sid)
		hex_data(k, "sid", c->sid, sizeof c->sid);
	cli_json_n(&text, c->source, c->source_len);
	keys_data(k, "source", "%s", buf_cstr(&text));
	buf_clear(&text);
	cli_json_n(&text, c->path, c->path_len);
	keys_data(k, "field", "%s", buf_cstr(&text));
	buf_free(&text);
	keys_did(k, "%-10s %.*s", "source", (int)c->source_len, c->source);
	keys_did(k, "%-10s %.*s", "field", (int)c->path_len, c->path);
	return sealed_show(k, c->payload, c->payload_len, e);
}

static bool
core_show(struct keys *k, const void *p, size_t n, struct err *e)
{
	struct core c;

	enum seal_error why = core_decode(p, n, true, &c);
	if (why != SEAL_OK)
		return seal_fail(e, why, "envelope core");
	kind_is(k, "core", "the core of a key envelope");
	hex_data(k, "kid", c.kid, sizeof c.kid);
	hex_data(k, "sealer", c.sealer, sizeof c.sealer);
	hex_data(k, "policy", c.policy_hash, sizeof c.policy_hash);
	keys_data(k, "pipeline", "\"%s\"", c.pipeline.s);
	keys_data(k, "class", "\"%s\"", c.class.s);
	keys_data(k, "not_before_ms", "%lld", (long long)c.not_before_ms);
	keys_data(k, "not_after_ms", "%lld", (long long)c.not_after_ms);
	keys_did(k, "%-10s %s, class %s", "pipeline", c.pipeline.s, c.class.s);
	keys_did(k, "%-10s %lld to %lld (ms since 1970)", "window", (long long)c.not_before_ms,
		 (long long)c.not_after_ms);
	return true;
}

static bool
keyfile_show(struct keys *k, const void *p, size_t n, struct err *e)
{
	struct keyfile_head h;

	enum seal_error why = keyfile_head(p, n, &h);
	if (why != SEAL_OK)
		return seal_fail(e, why, "key file");
	kind_is(k, "key", "a key file");
	keys_data(k, "type", "\"%s\"", key_type_name(h.type));
	keys_data(k, "label", "\"%s\"", h.label);
	keys_data(k, "passphrase", "%s", h.kdf == KDF_NONE ? "false" : "true");
	keys_did(k, "%-10s %s", "label", h.label);
	keys_did(k, "%-10s %s", "passphrase",
		 h.kdf == KDF_NONE ? "none: its permissions alone protect it" : "argon2id");
	return true;
}

struct memory { /* a handover_source */
	const uint8_t *p;
	size_t n;
};

static bool
memory_get(void *of, void *p, size_t n, size_t *got)
{
	struct memory *m = of;

	*got = n < m->n ? n : m->n;
	memcpy(p, m->p, *got);
	m->p += *got;
	m->n -= *got;
	return true;
}

static bool
handover_show(struct keys *k, const void *p, size_t n, struct err *e)
{
	struct memory memory = {p, n};
	struct handover_source source = {memory_get, &memory};
	struct handover_head h;
	struct buf text = {0};

	enum seal_error why = handover_inspect(source, &h);
	if (why != SEAL_OK)
		return seal_fail(e, why, "hand-over");
	kind_is(k, "handover", "a hand-over file");
	keys_data(k, "name", "\"%s\"", h.name.s);
	keys_data(k, "recipients", "%u", h.recipients_n);
	cli_json(&text, h.purpose);
	keys_data(k, "purpose", "%s", buf_cstr(&text));
	buf_free(&text);
	keys_did(k, "%-10s %s of pipeline %s, as %s, for %u recipients", "name", h.name.s,
		 h.pipeline.s, h.format, h.recipients_n);
	keys_did(k, "%-10s %s", "purpose", h.purpose);
	return true;
}

static bool
token_show(struct keys *k, const void *p, size_t n, struct err *e)
{
	struct token t;

	enum seal_error why = token_decode(p, n, &t);
	if (why != SEAL_OK)
		return seal_fail(e, why, "token");
	kind_is(k, "token", "a token");
	keys_data(k, "epoch", "%u", t.epoch);
	keys_data(k, "domain", "%u", t.domain);
	keys_did(k, "%-10s %u, epoch %u", "domain", t.domain, t.epoch);
	return true;
}

static bool
policy_words_show(struct keys *k, const void *p, size_t n, struct err *e)
{
	struct policy policy = {0};
	struct buf words = {0};

	enum seal_error why = policy_decode(p, n, NULL, &policy);
	if (why != SEAL_OK)
		return seal_fail(e, why, "policy");
	kind_is(k, "policy", "a policy; whose signature it has was not checked");
	policy_show(&policy, &words);
	keys_words(k, "policy", &words);
	buf_free(&words);
	policy_free(&policy);
	return true;
}

/* Digits, with or without \x and blanks, stand for bytes; anything else is the
 * bytes. */
static void
bytes_of(const struct buf *in, struct buf *out)
{
	struct buf digits = {0};

	for (size_t i = 0; i < in->len; i++)
		if (!isspace(in->data[i]))
			buf_byte(&digits, in->data[i]);
	if (!digits.len || !keys_unhex(buf_cstr(&digits), digits.len, out)) {
		buf_clear(out);
		buf_add(out, in->data, in->len);
	}
	buf_free(&digits);
}

static bool
stdin_read(struct buf *out, struct err *e)
{
	ssize_t n;

	do {
		buf_reserve(out, 65536);
		n = read(STDIN_FILENO, out->data + out->len, 65536);
		out->len += n > 0 ? (size_t)n : 0;
	} while ((n > 0 || (n < 0 && errno == EINTR)) && out->len <= INSPECT_BYTES_MAX);
	if (n < 0)
		return err_errno(e, EXIT_UNAVAILABLE, "cannot read from stdin");
	return out->len <= INSPECT_BYTES_MAX ||
	       err_set(e, EXIT_USAGE, "more than %d bytes", INSPECT_BYTES_MAX);
}

static bool
bytes_show(struct keys *k, const struct buf *b, struct err *e)
{
	static const struct {
		const char *magic;
		bool (*show)(struct keys *k, const void *p, size_t n, struct err *e);
	} kinds[] = {{"WRE1", core_show},
		     {"WRK1", keyfile_show},
		     {"WRH1", handover_show},
		     {"WRP1", policy_words_show}};
	struct carried c;

	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (b->len >= 4 && !memcmp(b->data, kinds[i].magic, 4))
			return kinds[i].show(k, b->data, b->len, e);
	if (wire_carried_read(b->data, b->len, &c))
		return carried_show(k, &c, e);
	if (b->len == TOKEN_BYTES)
		return token_show(k, b->data, b->len, e);
	return sealed_show(k, b->data, b->len, e);
}

bool
keys_inspect(struct keys *k, struct err *e)
{
	struct buf in = {0}, bytes = {0};

	bool good = stdin_read(&in, e);
	if (good) {
		bytes_of(&in, &bytes);
		good = (bytes.len || err_set(e, EXIT_USAGE,
					     "nothing came on stdin: a value of a column, in "
					     "digits or as it is")) &&
		       bytes_show(k, &bytes, e);
	}
	buf_free(&in);
	buf_free(&bytes);
	return good;
}
