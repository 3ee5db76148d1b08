/* keys revoke --reseal: what a revoked key could open is sealed anew, under data keys that it has
 * no wrap of. Row by row, so that a second run goes on where a first one ended. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "reseal.h"

enum {
	PASSES_MAX = 5,
	KEY_MS_MAX = 15 * 60000,  /* one data key seals for as long as one of ingest does, */
	KEY_VALUES_MAX = 1 << 23, /* and no more values */
};

/* ---- old envelopes ---- */

static bool
hash_listed(const struct pg_result *fresh, const uint8_t *hash)
{
	size_t n;

	for (unsigned i = 0; i < pg_rows(fresh); i++) {
		const uint8_t *p = pg_bytes(fresh, i, 0, &n);
		if (n == POLICY_HASH_BYTES && !memcmp(p, hash, n))
			return true;
	}
	return false;
}

static bool
class_index(const struct reseal *x, const char *class, unsigned *out)
{
	for (*out = 0; *out < x->of->classes.n; ++*out)
		if (!strcmp(x->of->classes.s[*out].s, class))
			return true;
	return false;
}

static void
old_add(struct reseal *x, const struct pg_result *r, unsigned row, const struct pg_result *fresh)
{
	size_t core_len;
	const uint8_t *core = pg_bytes(r, row, 1, &core_len);
	struct core c;
	unsigned class;

	if (core_decode(core, core_len, true, &c) != SEAL_OK ||
	    !class_index(x, c.class.s, &class) || hash_listed(fresh, c.policy_hash) ||
	    !memcmp(c.policy_hash, x->k->policy.hash, POLICY_HASH_BYTES))
		return;
	x->olds = mem_resize(x->olds, x->olds_n + 1, sizeof *x->olds);
	struct old *o = &x->olds[x->olds_n++];
	*o = (struct old){.class = class};
	memcpy(o->kid, c.kid, KID_BYTES);
}

/* Whatever was published under a policy from before the revocation. */
static bool
olds_read(struct reseal *x, const struct pg_result *fresh, struct err *e)
{
	uint8_t last[KID_BYTES];
	size_t last_len = 0, n;
	unsigned rows = KEYS_BATCH;
	char limit[16];

	snprintf(limit, sizeof limit, "%d", KEYS_BATCH);
	while (rows == KEYS_BATCH) {
		struct pg_result *r;
		const struct pg_param params[] = {
		    {.data = x->k->id},
		    {.data = last, .len = last_len, .binary = true, .type = OID_BYTEA},
		    {.data = limit},
		};
		if (!pg_query(x->k->pg,
			      "SELECT kid, core FROM key_schema.envelope WHERE pipeline = $1::int "
			      "AND kid > $2 ORDER BY kid LIMIT $3::bigint",
			      params, 3, true, &r, e))
			return false;
		rows = pg_rows(r);
		for (unsigned i = 0; i < rows; i++)
			old_add(x, r, i, fresh);
		if (rows)
			memcpy(last, pg_bytes(r, rows - 1, 0, &n), KID_BYTES);
		last_len = KID_BYTES;
		pg_result_free(r);
	}
	return true;
}

static bool
olds_find(struct reseal *x, struct err *e)
{
	char serial[24];
	struct pg_result *fresh;

	snprintf(serial, sizeof serial, "%llu", (unsigned long long)x->of->serial);
	const struct pg_param params[] = {{.data = x->k->id}, {.data = serial}};
	if (!pg_query(x->k->pg,
		      "SELECT digest FROM key_schema.policy WHERE pipeline = $1::int AND serial >= "
		      "$2::bigint",
		      params, 2, true, &fresh, e))
		return false;
	bool good = olds_read(x, fresh, e);
	pg_result_free(fresh);
	return good;
}

static int
old_order(const void *kid, const void *old)
{
	return memcmp(kid, ((const struct old *)old)->kid, KID_BYTES);
}

struct old *
reseal_old(const struct reseal *x, const uint8_t *kid)
{
	return x->olds_n ? bsearch(kid, x->olds, x->olds_n, sizeof *x->olds, old_order) : NULL;
}

/* ---- new data keys ---- */

static bool
publish(struct reseal *x, const struct core *c, const struct buf *core, const struct buf *wraps,
	unsigned n, struct err *e)
{
	struct buf rkids = {0}, list = {0};
	char times[2][24];

	for (unsigned i = 0; i < n; i++) {
		const uint8_t *wrap = wraps->data + (size_t)i * ENVELOPE_WRAP_BYTES;
		keys_array_add(&rkids, wrap + 1, KEY_ID_BYTES);
		keys_array_add(&list, wrap, ENVELOPE_WRAP_BYTES);
	}
	keys_array_end(&rkids);
	keys_array_end(&list);
	snprintf(times[0], sizeof times[0], "%lld", (long long)c->not_before_ms);
	snprintf(times[1], sizeof times[1], "%lld", (long long)c->not_after_ms);
	const struct pg_param params[] = {
	    {.data = x->k->m->pipeline.s},
	    {.data = c->kid, .len = KID_BYTES, .binary = true, .type = OID_BYTEA},
	    {.data = c->class.s},
	    {.data = times[0]},
	    {.data = times[1]},
	    {.data = core->data, .len = core->len, .binary = true, .type = OID_BYTEA},
	    {.data = buf_cstr(&rkids)},
	    {.data = buf_cstr(&list)},
	};
	bool good = pg_query(x->k->pg,
			     "SELECT key_schema.publish_envelope($1, $2, $3, "
			     "'epoch'::timestamptz + $4::bigint * interval '1 ms', "
			     "'epoch'::timestamptz + $5::bigint * interval '1 ms', $6, "
			     "$7::bytea[], $8::bytea[])",
			     params, sizeof params / sizeof *params, false, NULL, e);
	buf_free(&rkids);
	buf_free(&list);
	return good || err_context(e, "publishing a new data key");
}

/* Nothing is sealed with a key before its envelope is there to stay. */
bool
reseal_fresh(struct reseal *x, unsigned class, struct err *e)
{
	struct fresh *f = &x->fresh[class];
	const char *name = x->of->classes.s[class].s;
	struct buf core = {0}, wraps = {0};
	int64_t now = keys_now_ms();
	struct core c;
	unsigned n = 0;

	if (f->key && now - f->since_ms < KEY_MS_MAX && f->values < KEY_VALUES_MAX)
		return true;
	data_key_free(f->key);
	*f = (struct fresh){.since_ms = now};
	enum seal_error why = data_key_new(NULL, &f->key);
	if (why == SEAL_OK)
		why = envelope_wrap_all(f->key, &x->k->policy, name, &wraps, &n);
	bool good = why == SEAL_OK || seal_fail(e, why, "a new data key of class %s", name);
	if (good) {
		core_fill(&c, f->key, &x->k->policy, name, now, now + KEY_MS_MAX);
		core_sign(&c, x->sealer, &core);
		good = publish(x, &c, &core, &wraps, n, e);
		x->keys += good;
	}
	buf_free(&core);
	buf_free(&wraps);
	return good;
}

/* Dead letters stay as they are, and so they need their envelopes. */
static bool
letters_need(struct reseal *x, uint64_t *letters, struct err *e)
{
	const struct pg_param params[] = {{.data = x->k->id}};
	struct pg_result *r;
	size_t n;

	if (!pg_query(x->k->pg,
		      "SELECT substr(body, 5, 16), count(*) FROM admin_schema.dead_letter WHERE "
		      "pipeline = $1::int AND octet_length(body) > 20 GROUP BY 1",
		      params, 1, true, &r, e))
		return false;
	*letters = 0;
	for (unsigned i = 0; i < pg_rows(r); i++) {
		const uint8_t *kid = pg_bytes(r, i, 0, &n);
		struct old *o = n == KID_BYTES ? reseal_old(x, kid) : NULL;
		if (!o)
			continue;
		o->needed = true;
		*letters += (uint64_t)pg_int(r, i, 1);
	}
	pg_result_free(r);
	return true;
}

/* ---- the report ---- */

static uint64_t
unneeded(const struct reseal *x)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < x->olds_n; i++)
		n += !x->olds[i].needed;
	return n;
}

static bool
audit(struct reseal *x, struct err *e)
{
	const char *purpose = args_value(&x->k->c->args, "purpose");
	char detail[512], words[256];

	snprintf(detail, sizeof detail,
		 "{\"what\":\"%s\",\"name\":\"%s\",\"resealed\":{\"rows\":%llu,\"values\":%llu,"
		 "\"keys\":%llu,\"erased\":%llu,\"failed\":%llu,\"old_envelopes\":%u,"
		 "\"unneeded\":%llu}}",
		 x->of->what, x->of->name, (unsigned long long)x->rows,
		 (unsigned long long)x->values, (unsigned long long)x->keys,
		 (unsigned long long)x->erased, (unsigned long long)x->failed, x->olds_n,
		 (unsigned long long)unneeded(x));
	snprintf(words, sizeof words, "reseal after revoke %s %s", x->of->what, x->of->name);
	return keys_begin(x->k, e) &&
	       keys_audit(x->k, "revoke", purpose ? purpose : words, detail, NULL, e) &&
	       keys_commit(x->k, e);
}

static void
failed_tell(struct reseal *x)
{
	for (unsigned i = SEAL_OK + 1; i < SEAL_ERROR_MAX; i++)
		if (x->by_error[i])
			keys_not(x->k, "%llu values did not open and stay as they are: %s: %s",
				 (unsigned long long)x->by_error[i],
				 seal_error_name((enum seal_error)i),
				 seal_error_words((enum seal_error)i));
	if (x->failed)
		x->k->code = EXIT_SOME_DEAD;
	if (x->changed)
		keys_not(x->k, "rows were changed by others faster than they could be sealed; the "
			       "same command again goes on");
}

static void
tell(struct reseal *x, uint64_t letters)
{
	struct keys *k = x->k;

	keys_data(k, "resealed",
		  "{\"rows\":%llu,\"values\":%llu,\"keys\":%llu,\"erased\":%llu,\"failed\":%llu}",
		  (unsigned long long)x->rows, (unsigned long long)x->values,
		  (unsigned long long)x->keys, (unsigned long long)x->erased,
		  (unsigned long long)x->failed);
	keys_data(k, "old_envelopes", "%u", x->olds_n);
	keys_data(k, "unneeded", "%llu", (unsigned long long)unneeded(x));
	keys_did(k,
		 "sealed %llu values of %llu rows of development_schema anew, under %llu new data "
		 "keys; rows that were under newer keys already were left alone",
		 (unsigned long long)x->values, (unsigned long long)x->rows,
		 (unsigned long long)x->keys);
	keys_did(k,
		 "of %u older envelopes of these classes, %llu are needed by no row and no dead "
		 "letter any more",
		 x->olds_n, (unsigned long long)unneeded(x));
	if (x->erased)
		keys_not(k, "%llu values of erased persons stay as they are: nothing opens them",
			 (unsigned long long)x->erased);
	failed_tell(x);
	keys_not(k,
		 "not reached: the state of processes that are not purged yet "
		 "(admin_schema.state); it writes what it carries into `process` again when such a "
		 "process changes");
	keys_not(k, "not reached: %llu dead letters that are sealed under the older keys",
		 (unsigned long long)letters);
	keys_not(k, "not reached: backups, replicas, old row versions until vacuum has passed, "
		    "hand-over files, and whatever was opened or copied before");
}

/* ---- the whole ---- */

static bool
reseal_open(struct reseal *x, struct err *e)
{
	static char purpose[256];
	char path[KEYS_PATH_MAX];

	snprintf(purpose, sizeof purpose, "reseal after revoke %s %s", x->of->what, x->of->name);
	keys_path(x->k, NULL, "sealer.key", path);
	if (!keys_key(x->k, path, KEY_SEALER, &x->sealer, e) ||
	    !owner_open(x->k->m, &x->reader, e) || !owner_open(x->k->m, &x->asker, e))
		return false;
	struct release_setup setup = {.pg = x->asker,
				      .pipeline = x->k->m->pipeline.s,
				      .policy = &x->k->policy,
				      .keys = &x->holder,
				      .keys_n = 1,
				      .purpose = purpose};
	x->release = release_new(&setup);
	return true;
}

static void
reseal_close(struct reseal *x)
{
	release_free(x->release);
	pg_close(x->reader);
	pg_close(x->asker);
	key_free(x->sealer);
	for (unsigned i = 0; i < POLICY_CLASSES_MAX; i++)
		data_key_free(x->fresh[i].key);
	free(x->olds);
	buf_free(&x->row);
}

bool
keys_reseal(struct keys *k, const struct key *holder, const struct reseal_of *of, struct err *e)
{
	struct reseal *x = mem_zero(1, sizeof *x);
	uint64_t letters = 0;

	x->k = k;
	x->of = of;
	x->holder = holder;
	bool good = reseal_open(x, e) && olds_find(x, e);
	for (unsigned i = 0; good && i < PASSES_MAX; i++) {
		good = reseal_pass(x, e);
		if (!x->changed)
			break;
	}
	reseal_progress(x, true);
	good = good && letters_need(x, &letters, e) && audit(x, e);
	if (good)
		tell(x, letters);
	else
		keys_next(k, "mend that; then the same command again goes on where this one ended");
	reseal_close(x);
	free(x);
	return good;
}
