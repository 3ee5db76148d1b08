#include "keeper.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

enum { OID_BYTEA = 17, OID_BYTEA_ARRAY = 1001, OID_TEXT = 25, SECRETS_LOWER_BOUND = 1 };

/* ---- arrays of bytea in PostgreSQL's binary form ---- */

static void
put_u32(struct buf *b, uint32_t v)
{
	const uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8),
				  (uint8_t)v};

	buf_add(b, bytes, sizeof bytes);
}

static void
array_begin(struct buf *b, uint32_t n)
{
	put_u32(b, 1); /* dimensions */
	put_u32(b, 0); /* no nulls */
	put_u32(b, OID_BYTEA);
	put_u32(b, n);
	put_u32(b, SECRETS_LOWER_BOUND);
}

static void
array_put(struct buf *b, const void *p, size_t n)
{
	put_u32(b, (uint32_t)n);
	buf_add(b, p, n);
}

struct bytes_reader {
	const uint8_t *p;
	size_t n, at;
	bool failed;
};

static uint32_t
take_u32(struct bytes_reader *r)
{
	if (r->failed || r->n - r->at < 4) {
		r->failed = true;
		return 0;
	}
	const uint8_t *p = r->p + r->at;
	r->at += 4;
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static struct pg_param
param_of(const void *data, size_t len, uint32_t type)
{
	return (struct pg_param){.data = data, .len = len, .binary = true, .type = type};
}

static struct pg_param
param_text(const char *s)
{
	return (struct pg_param){.data = s, .type = OID_TEXT};
}

/* ---- the three functions ---- */

bool
store_facts(struct pg *pg, const char *pipeline, struct facts *out, struct err *e)
{
	struct pg_param params[] = {param_text(pipeline)};
	struct pg_result *r = NULL;
	size_t n = 0;

	*out = (struct facts){0};
	if (!pg_query(pg,
		      "SELECT policy_root, coalesce(policy_serial, 0)::bigint, hash_key"
		      " FROM key_schema.pipeline_facts($1)",
		      params, 1, true, &r, e))
		return err_context(e, "pipeline_facts");
	bool good = pg_rows(r) == 1;
	if (!good)
		err_set(e, EXIT_CONFIG, "the warehouse knows no pipeline %s; run `weir apply`",
			pipeline);
	if (good && !pg_is_null(r, 0, 0)) {
		const uint8_t *root = pg_bytes(r, 0, 0, &n);
		good = n == sizeof out->root;
		if (good)
			memcpy(out->root, root, n);
		else
			err_set(e, EXIT_CONFIG, "the policy root in the warehouse is no key");
		out->has_root = good;
	}
	out->serial = good ? (uint64_t)pg_int(r, 0, 1) : 0;
	if (good) {
		const uint8_t *key = pg_bytes(r, 0, 2, &n);
		good = n == sizeof out->hash_key;
		if (good)
			memcpy(out->hash_key, key, n);
		else
			err_set(e, EXIT_CONFIG, "the hash key in the warehouse is no key");
	}
	pg_result_free(r);
	return good;
}

bool
store_publish(struct pg *pg, const char *pipeline, const struct core *core,
	      const struct buf *signed_core, const struct keyreq *k, struct err *e)
{
	struct buf rkids = {0}, wraps = {0};
	char times[2][32];

	array_begin(&rkids, k->wraps_n);
	array_begin(&wraps, k->wraps_n);
	for (unsigned i = 0; i < k->wraps_n; i++) {
		uint8_t rkid[KEY_ID_BYTES];
		enum seal_error whose = wrap_recipient(k->wraps[i], WRAP_BYTES, rkid);
		check(whose == SEAL_OK); /* judged before */
		array_put(&rkids, rkid, sizeof rkid);
		array_put(&wraps, k->wraps[i], WRAP_BYTES);
	}
	snprintf(times[0], sizeof times[0], "%lld", (long long)core->not_before_ms);
	snprintf(times[1], sizeof times[1], "%lld", (long long)core->not_after_ms);
	struct pg_param params[] = {param_text(pipeline),
				    param_of(core->kid, KID_BYTES, OID_BYTEA),
				    param_text(core->class.s),
				    param_text(times[0]),
				    param_text(times[1]),
				    param_of(signed_core->data, signed_core->len, OID_BYTEA),
				    param_of(rkids.data, rkids.len, OID_BYTEA_ARRAY),
				    param_of(wraps.data, wraps.len, OID_BYTEA_ARRAY)};
	bool good = pg_query(pg,
			     "SELECT key_schema.publish_envelope($1, $2, $3,"
			     " 'epoch'::timestamptz + $4::bigint * interval '1 ms',"
			     " 'epoch'::timestamptz + $5::bigint * interval '1 ms', $6, $7, $8)",
			     params, sizeof params / sizeof *params, true, NULL, e);
	buf_free(&rkids);
	buf_free(&wraps);
	return good || err_context(e, "publish_envelope");
}

/* Fails as a whole: half an answer would seal some people's values under wrong keys. */
static bool
secrets_take(const uint8_t *p, size_t n, uint32_t expected, struct buf *out, bool *erased)
{
	struct bytes_reader r = {.p = p, .n = n};
	uint32_t dimensions = take_u32(&r);

	take_u32(&r); /* whether there are nulls */
	if (dimensions != 1 || take_u32(&r) != OID_BYTEA || take_u32(&r) != expected)
		return false;
	take_u32(&r); /* lower bound */
	for (uint32_t i = 0; i < expected && !r.failed; i++) {
		static const uint8_t none[SUBJECT_SECRET_BYTES];
		uint32_t len = take_u32(&r);
		erased[i] = len == UINT32_MAX;
		if (erased[i]) {
			buf_add(out, none, sizeof none);
			continue;
		}
		if (len != SUBJECT_SECRET_BYTES || r.n - r.at < len)
			return false;
		buf_add(out, r.p + r.at, len);
		r.at += len;
	}
	return !r.failed && r.at == r.n;
}

bool
store_secrets(struct pg *pg, const char *pipeline, const struct keyreq *k, struct buf *out,
	      bool erased[static KEYREQ_SUBJECTS_MAX], struct err *e)
{
	struct buf sids = {0};
	struct pg_result *r = NULL;
	size_t n;

	buf_reserve(out, (size_t)k->sids_n * SUBJECT_SECRET_BYTES); /* never moved: no stray copy */
	array_begin(&sids, k->sids_n);
	for (uint32_t i = 0; i < k->sids_n; i++)
		array_put(&sids, k->sids + (size_t)i * SUBJECT_ID_BYTES, SUBJECT_ID_BYTES);
	struct pg_param params[] = {param_text(pipeline),
				    param_of(sids.data, sids.len, OID_BYTEA_ARRAY)};
	bool good =
	    pg_query(pg, "SELECT key_schema.subject_secrets($1, $2)", params, 2, true, &r, e);
	buf_free(&sids);
	if (!good)
		return err_context(e, "subject_secrets");
	good = pg_rows(r) == 1 && !pg_is_null(r, 0, 0);
	if (good) {
		const uint8_t *array = pg_bytes(r, 0, 0, &n);
		good = secrets_take(array, n, k->sids_n, out, erased);
		secret_wipe((void *)(uintptr_t)array, n);
	}
	pg_result_free(r);
	return good ||
	       err_set(e, EXIT_CONFIG, "subject_secrets: not the answer that was asked for");
}
