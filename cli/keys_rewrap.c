/* keys: secrets of roles for their members, and wraps for new keys; rows are
 * never touched. */
#include "keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mono.h"
#include "seal/envelope.h"

enum { SEALED_FILE_BYTES = KEY_PUBLIC_BYTES + KEY_SEALED_BYTES };

/* The name by which role_key knows a holder: the member's, or "escrow". */
static bool
holder_name(const struct key *holder, char out[static NAME_BYTES_MAX + 1], struct err *e)
{
	enum key_type type;
	unsigned epoch;

	if (key_type(holder) == KEY_ESCROW) {
		snprintf(out, NAME_BYTES_MAX + 1, "escrow");
		return true;
	}
	return (key_label_parse(key_label(holder), &type, out, &epoch) && type == KEY_MEMBER) ||
	       err_set(e, EXIT_PERMISSION, "\"%s\" is no member's key", key_label(holder));
}

bool
keys_role_secret(struct keys *k, const struct key *holder, const char *role, unsigned epoch,
		 const uint8_t pk[static KEY_PUBLIC_BYTES], struct key **out, struct err *e)
{
	char member[NAME_BYTES_MAX + 1], epoch_text[16];
	struct buf sealed = {0};
	struct pg_result *r;

	if (!holder_name(holder, member, e))
		return false;
	snprintf(epoch_text, sizeof epoch_text, "%u", epoch);
	const char *const params[] = {k->id, role, epoch_text, member, NULL};
	if (!owner_query(k->pg,
			 "SELECT sealed FROM key_schema.role_key WHERE pipeline = $1::int AND "
			 "role = $2 AND epoch = $3::int AND member = $4",
			 params, &r, e))
		return false;
	bool good = pg_rows(r) == 1 ||
		    err_set(e, EXIT_PERMISSION, "%s holds no secret of role %s, epoch %u", member,
			    role, epoch);
	if (good && !keys_unhex(pg_text(r, 0, 0), strlen(pg_text(r, 0, 0)), &sealed))
		good = err_set(e, EXIT_DATA, "role %s: its sealed secret is damaged", role);
	pg_result_free(r);
	if (good) {
		enum seal_error why =
		    key_unseal(sealed.data, sealed.len, holder, role, epoch, pk, out);
		good = why == SEAL_OK ||
		       seal_fail(e, why, "the secret of role %s sealed to %s", role, member);
	}
	buf_free(&sealed);
	return good;
}

static bool
sealed_insert(struct keys *k, const char *role, unsigned epoch, const char *member,
	      const uint8_t *pk, const uint8_t *sealed, struct err *e)
{
	uint8_t rkid[KEY_ID_BYTES];
	char epoch_text[16];

	key_id(pk, rkid);
	snprintf(epoch_text, sizeof epoch_text, "%u", epoch);
	const struct pg_param params[] = {
	    {.data = k->id},
	    {.data = role},
	    {.data = epoch_text},
	    {.data = member},
	    {.data = rkid, .len = sizeof rkid, .binary = true, .type = 17},
	    {.data = pk, .len = KEY_PUBLIC_BYTES, .binary = true, .type = 17},
	    {.data = sealed, .len = KEY_SEALED_BYTES, .binary = true, .type = 17},
	};
	return pg_query(k->pg,
			"INSERT INTO key_schema.role_key VALUES ($1::int, $2, $3::int, $4, $5, $6, "
			"$7) ON CONFLICT (pipeline, role, epoch, member) DO UPDATE SET rkid = "
			"excluded.rkid, pk = excluded.pk, sealed = excluded.sealed",
			params, 7, false, NULL, e);
}

bool
keys_role_seal(struct keys *k, const struct key *role_key, const char *role, unsigned epoch,
	       const char *member, const uint8_t pk[static KEY_PUBLIC_BYTES], struct err *e)
{
	uint8_t bytes[SEALED_FILE_BYTES];
	char file[2 * NAME_BYTES_MAX + 64];

	memcpy(bytes, key_public(role_key), KEY_PUBLIC_BYTES);
	enum seal_error why = key_seal_to(role_key, pk, bytes + KEY_PUBLIC_BYTES);
	if (why != SEAL_OK)
		return seal_fail(e, why, "the secret of role %s for %s", role, member);
	if (k->pg)
		return sealed_insert(k, role, epoch, member, bytes, bytes + KEY_PUBLIC_BYTES, e);
	snprintf(file, sizeof file, "role-%s-%u.%s.sealed", role, epoch, member);
	return keys_write(k, file, bytes, sizeof bytes, e);
}

/* ---- wraps ---- */

struct rewrap {
	struct keys *k;
	const struct key *from;
	const uint8_t *to;
	uint8_t to_id[KEY_ID_BYTES];
	struct buf kids, wraps; /* arrays in text form */
	struct rewrapped *out;
};

static bool
wrap_again(struct rewrap *x, const uint8_t *kid, const uint8_t *core, size_t core_len,
	   const uint8_t *wrap, size_t wrap_len)
{
	uint8_t fresh[ENVELOPE_WRAP_BYTES];
	struct data_key *key = NULL;
	struct core c;

	if (core_decode(core, core_len, true, &c) != SEAL_OK ||
	    wrap_open(wrap, wrap_len, x->from, c.commit, &key) != SEAL_OK)
		return false;
	bool good = !memcmp(c.kid, kid, KID_BYTES) && wrap_make(key, x->to, fresh) == SEAL_OK;
	data_key_free(key);
	if (good) {
		keys_array_add(&x->kids, kid, KID_BYTES);
		keys_array_add(&x->wraps, fresh, sizeof fresh);
	}
	return good;
}

static bool
batch_insert(struct rewrap *x, struct err *e)
{
	struct pg_result *r;

	if (!x->kids.len)
		return true;
	keys_array_end(&x->kids);
	keys_array_end(&x->wraps);
	const struct pg_param params[] = {
	    {.data = x->k->id},
	    {.data = buf_cstr(&x->kids)},
	    {.data = x->to_id, .len = KEY_ID_BYTES, .binary = true, .type = 17},
	    {.data = buf_cstr(&x->wraps)},
	};
	if (!pg_query(x->k->pg,
		      "INSERT INTO key_schema.wrap SELECT $1::int, u.k, $3, u.w FROM "
		      "unnest($2::bytea[], $4::bytea[]) u (k, w) ON CONFLICT DO NOTHING",
		      params, 4, false, &r, e))
		return false;
	x->out->added += pg_affected(r);
	pg_result_free(r);
	return true;
}

/* The envelopes after `last` that `from` opens and `to` does not yet. */
static bool
batch_select(struct rewrap *x, const uint8_t *last, size_t last_len, const char *class,
	     struct pg_result **out, struct err *e)
{
	uint8_t from_id[KEY_ID_BYTES];
	char limit[16];

	key_id(key_public(x->from), from_id);
	snprintf(limit, sizeof limit, "%d", KEYS_BATCH);
	const struct pg_param params[] = {
	    {.data = x->k->id},
	    {.data = from_id, .len = sizeof from_id, .binary = true, .type = 17},
	    {.data = x->to_id, .len = KEY_ID_BYTES, .binary = true, .type = 17},
	    {.data = last, .len = last_len, .binary = true, .type = 17},
	    {.data = limit},
	    {.data = class},
	};
	return pg_query(x->k->pg,
			"SELECT e.kid, e.core, w.wrap FROM key_schema.envelope e JOIN "
			"key_schema.wrap w ON w.pipeline = e.pipeline AND w.kid = e.kid AND "
			"w.rkid = $2 WHERE e.pipeline = $1::int AND e.kid > $4 AND ($6::text IS "
			"NULL OR e.class = $6) AND NOT EXISTS (SELECT FROM key_schema.wrap t "
			"WHERE "
			"t.pipeline = e.pipeline AND t.kid = e.kid AND t.rkid = $3) ORDER BY "
			"e.kid "
			"LIMIT $5::bigint",
			params, 6, true, out, e);
}

static bool
batch_do(struct rewrap *x, const struct pg_result *r, struct err *e)
{
	size_t kid_len, core_len, wrap_len;

	buf_clear(&x->kids);
	buf_clear(&x->wraps);
	for (unsigned i = 0; i < pg_rows(r); i++) {
		const uint8_t *kid = pg_bytes(r, i, 0, &kid_len);
		const uint8_t *core = pg_bytes(r, i, 1, &core_len);
		const uint8_t *wrap = pg_bytes(r, i, 2, &wrap_len);
		if (kid_len != KID_BYTES || !wrap_again(x, kid, core, core_len, wrap, wrap_len))
			x->out->failed++;
	}
	return batch_insert(x, e);
}

bool
keys_rewrap(struct keys *k, const struct key *from, const uint8_t to[static KEY_PUBLIC_BYTES],
	    const char *class, struct rewrapped *out, struct err *e)
{
	struct rewrap x = {.k = k, .from = from, .to = to, .out = out};
	struct mono started = mono_now();
	uint8_t last[KID_BYTES];
	size_t last_len = 0, n;
	unsigned rows = KEYS_BATCH;
	bool good = true;

	key_id(to, x.to_id);
	while (good && rows == KEYS_BATCH) {
		struct pg_result *r;
		good = batch_select(&x, last, last_len, class, &r, e);
		if (!good)
			break;
		rows = pg_rows(r);
		good = batch_do(&x, r, e);
		if (rows) {
			memcpy(last, pg_bytes(r, rows - 1, 0, &n), KID_BYTES);
			last_len = KID_BYTES;
		}
		pg_result_free(r);
	}
	buf_free(&x.kids);
	buf_free(&x.wraps);
	out->us += mono_since_us(started, mono_now());
	return good;
}
