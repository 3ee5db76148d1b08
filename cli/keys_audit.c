/* keys audit: the chain of releases, and its heads that are kept elsewhere. */
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "seal/audit.h"

enum { AUDIT_ROWS = 5000, HEAD_LINE_MAX = 1024, HEADS_BYTES_MAX = 64 << 20 };

struct chain {
	struct keys *k;
	uint64_t id; /* of the last good row */
	uint8_t hash[AUDIT_HASH_BYTES];
	uint64_t bad; /* id of the first bad row; 0: none */
	char why[200];
	const char *heads; /* lines; NULL: none */
	uint64_t heads_good;
};

/* ---- heads: "pipeline id hash at_ms signature", one a line ---- */

struct head_line {
	uint64_t id;
	uint8_t hash[AUDIT_HASH_BYTES];
	int64_t at_ms;
	uint8_t signature[KEY_SIGNATURE_BYTES];
};

static bool
hex_word(const char *s, uint8_t *out, size_t n)
{
	struct buf b = {0};
	bool good = keys_unhex(s, strlen(s), &b) && b.len == n;

	if (good)
		memcpy(out, b.data, n);
	buf_free(&b);
	return good;
}

static bool
head_parse(const char *line, size_t n, const char *pipeline, struct head_line *h)
{
	char text[HEAD_LINE_MAX], name[NAME_BYTES_MAX + 1], hash[80], signature[140];
	unsigned long long id;
	long long at;

	if (n >= sizeof text)
		return false;
	snprintf(text, sizeof text, "%.*s", (int)n, line);
	if (sscanf(text, "%63s %llu %79s %lld %139s", name, &id, hash, &at, signature) != 5)
		return false;
	h->id = id;
	h->at_ms = at;
	return !strcmp(name, pipeline) && hex_word(hash, h->hash, sizeof h->hash) &&
	       hex_word(signature, h->signature, sizeof h->signature);
}

/* A head of this row must say the same hash. */
static void
heads_look(struct chain *x, uint64_t id)
{
	struct head_line h;

	for (const char *at = x->heads; at && *at; at += strcspn(at, "\n") + 1) {
		size_t n = strcspn(at, "\n");
		if (head_parse(at, n, x->k->m->pipeline.s, &h) && h.id == id) {
			if (memcmp(h.hash, x->hash, AUDIT_HASH_BYTES)) {
				x->bad = id;
				snprintf(
				    x->why, sizeof x->why,
				    "its hash is not that of the signed head: it, or a row before "
				    "it, was written anew");
				return;
			}
			x->heads_good++;
		}
		if (!at[n])
			break;
	}
}

static bool
heads_check(struct chain *x, uint64_t *last, struct err *e)
{
	unsigned line = 0;
	struct head_line h;

	*last = 0;
	for (const char *at = x->heads; at && *at;) {
		size_t n = strcspn(at, "\n");
		line++;
		if (!head_parse(at, n, x->k->m->pipeline.s, &h)) {
			if (n)
				return err_set(e, EXIT_DATA,
					       "--heads, line %u: no head of pipeline %s", line,
					       x->k->m->pipeline.s);
		} else {
			struct audit_head head = {
			    .pipeline = x->k->m->pipeline.s, .id = h.id, .at_ms = h.at_ms};
			memcpy(head.hash, h.hash, sizeof head.hash);
			enum seal_error why =
			    audit_head_verify(x->k->policy.audit, &head, h.signature);
			if (why != SEAL_OK)
				return seal_fail(e, why, "--heads, line %u", line);
			*last = h.id > *last ? h.id : *last;
		}
		at += n + (at[n] == '\n');
	}
	return true;
}

/* ---- the chain ---- */

static void
row_check(struct chain *x, const struct pg_result *r, unsigned row)
{
	size_t prev_len, hash_len, text_len;
	uint64_t id = (uint64_t)pg_int(r, row, 0);
	const uint8_t *prev = pg_bytes(r, row, 1, &prev_len);
	const uint8_t *hash = pg_bytes(r, row, 2, &hash_len);
	const uint8_t *text = pg_bytes(r, row, 3, &text_len);
	uint8_t made[AUDIT_HASH_BYTES];

	audit_hash(x->hash, text, text_len, made);
	if (id != x->id + 1)
		snprintf(x->why, sizeof x->why, "row %llu is missing",
			 (unsigned long long)x->id + 1);
	else if (prev_len != AUDIT_HASH_BYTES || memcmp(prev, x->hash, AUDIT_HASH_BYTES))
		snprintf(x->why, sizeof x->why, "it does not follow the row before");
	else if (hash_len != AUDIT_HASH_BYTES || memcmp(hash, made, AUDIT_HASH_BYTES))
		snprintf(x->why, sizeof x->why, "its content is not what was hashed");
	if (*x->why) {
		x->bad = id != x->id + 1 ? x->id + 1 : id;
		return;
	}
	x->id = id;
	memcpy(x->hash, hash, AUDIT_HASH_BYTES);
	if (x->heads)
		heads_look(x, id);
}

static bool
chain_read(struct chain *x, struct err *e)
{
	unsigned rows = AUDIT_ROWS;
	char last[24], limit[16];

	snprintf(limit, sizeof limit, "%d", AUDIT_ROWS);
	while (rows == AUDIT_ROWS && !x->bad) {
		struct pg_result *r;
		snprintf(last, sizeof last, "%llu", (unsigned long long)x->id);
		const struct pg_param params[] = {
		    {.data = x->k->id}, {.data = last}, {.data = limit}};
		if (!pg_query(x->k->pg,
			      "SELECT a.id, a.prev, a.hash, convert_to(key_schema.audit_text(a), "
			      "'UTF8') FROM key_schema.audit a WHERE a.pipeline = $1::int AND "
			      "a.id > "
			      "$2::bigint ORDER BY a.id LIMIT $3::bigint",
			      params, 3, true, &r, e))
			return false;
		rows = pg_rows(r);
		for (unsigned i = 0; i < rows && !x->bad; i++)
			row_check(x, r, i);
		pg_result_free(r);
	}
	return true;
}

/* Rows cut off at the end leave no gap; the head row and signed heads know
 * better. */
static bool
tail_check(struct chain *x, uint64_t signed_last, struct err *e)
{
	const char *const params[] = {x->k->id, NULL};
	struct pg_result *r;

	if (x->bad)
		return true;
	if (!owner_query(x->k->pg, "SELECT id FROM key_schema.chain WHERE pipeline = $1::int",
			 params, &r, e))
		return false;
	uint64_t head = pg_rows(r) ? (uint64_t)pg_int(r, 0, 0) : 0;
	pg_result_free(r);
	if (head > x->id || signed_last > x->id) {
		x->bad = x->id + 1;
		snprintf(x->why, sizeof x->why, "it is missing: rows up to %llu were written",
			 (unsigned long long)(head > signed_last ? head : signed_last));
	}
	return true;
}

bool
keys_audit_verify(struct keys *k, struct err *e)
{
	const char *path = args_value(&k->c->args, "heads");
	struct chain x = {.k = k};
	struct buf heads = {0};
	uint64_t last = 0;

	bool good = !path || file_whole(path, HEADS_BYTES_MAX, &heads, e);
	if (good && path)
		x.heads = buf_cstr(&heads);
	good = good && heads_check(&x, &last, e) && chain_read(&x, e) && tail_check(&x, last, e);
	if (good) {
		keys_data(k, "rows", "%llu", (unsigned long long)x.id);
		keys_data(k, "bad", x.bad ? "%llu" : "null", (unsigned long long)x.bad);
		keys_data(k, "heads", "%llu", (unsigned long long)x.heads_good);
		if (x.bad)
			keys_not(k, "audit row %llu is the first bad one: %s",
				 (unsigned long long)x.bad, x.why);
		keys_did(k, "%llu rows of the audit chain hold%s", (unsigned long long)x.id,
			 x.bad ? ", up to there" : "");
		if (path)
			keys_did(k, "%llu signed heads fit", (unsigned long long)x.heads_good);
		else
			keys_not(k, "without --heads FILE a chain that was written anew as a whole "
				    "would not be noticed");
		k->code = x.bad ? EXIT_DATA : EXIT_DONE;
	}
	buf_free(&heads);
	return good;
}

/* ---- sign ---- */

static bool
head_append(const char *path, const struct buf *line, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_errno(e, EXIT_PERMISSION, "cannot write \"%s\"", path);
	bool good = write(fd, line->data, line->len) == (ssize_t)line->len && !fsync(fd);
	if (!good)
		err_errno(e, EXIT_PERMISSION, "cannot write \"%s\"", path);
	close(fd);
	return good;
}

static bool
head_sign(struct keys *k, const struct key *audit, const struct chain *x, const char *path,
	  struct err *e)
{
	struct audit_head head = {
	    .pipeline = k->m->pipeline.s, .id = x->id, .at_ms = keys_now_ms()};
	uint8_t signature[KEY_SIGNATURE_BYTES];
	struct buf line = {0};

	memcpy(head.hash, x->hash, sizeof head.hash);
	audit_head_sign(audit, &head, signature);
	buf_printf(&line, "%s %llu ", head.pipeline, (unsigned long long)head.id);
	keys_hex(&line, head.hash, sizeof head.hash);
	buf_printf(&line, " %lld ", (long long)head.at_ms);
	keys_hex(&line, signature, sizeof signature);
	buf_byte(&line, '\n');
	bool good = head_append(path, &line, e);
	buf_free(&line);
	return good;
}

bool
keys_audit_sign(struct keys *k, struct err *e)
{
	const char *heads = args_value(&k->c->args, "heads");
	struct chain x = {.k = k};
	struct key *audit = NULL;
	char path[KEYS_PATH_MAX];

	if (!heads)
		return err_set(e, EXIT_USAGE,
			       "where do signed heads go? --heads FILE, better on another machine");
	keys_path(k, "audit-key", "audit.key", path);
	if (!chain_read(&x, e))
		return false;
	if (x.bad)
		return err_set(e, EXIT_DATA, "audit row %llu is bad, so nothing was signed: %s",
			       (unsigned long long)x.bad, x.why);
	if (!x.id) {
		keys_not(k, "the audit chain has no row yet; nothing was signed");
		k->code = EXIT_NOTHING;
		return true;
	}
	bool good = keys_key(k, path, KEY_AUDIT, &audit, e) && head_sign(k, audit, &x, heads, e);
	key_free(audit);
	if (good) {
		keys_data(k, "id", "%llu", (unsigned long long)x.id);
		keys_did(k, "signed the head of the audit chain, row %llu, into %s",
			 (unsigned long long)x.id, heads);
		keys_next(k,
			  "copy %s away from who administers the warehouse; `weir keys audit "
			  "verify --heads` compares",
			  heads);
	}
	return good;
}
