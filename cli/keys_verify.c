/* keys verify: signatures, commitments, missing wraps, and which keys are still
 * needed. */
#include "keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keys_tokens.h"
#include "mem.h"
#include "seal/envelope.h"
#include "seal/policy_model.h"

enum { PROBLEMS_SHOWN = 20, NEEDED_MAX = 256 };

struct needed { /* a recipient's key, and how many wraps are for it */
	uint8_t rkid[KEY_ID_BYTES];
	uint64_t n;
};

struct verifying {
	struct keys *k;
	struct key *holder, *secrets[POLICY_ROLES_MAX]; /* of the roles that the holder has */
	unsigned secrets_n;
	struct needed needed[NEEDED_MAX];
	unsigned needed_n;
	uint64_t envelopes, wraps, opened, problems;
};

static void problem(struct verifying *x, const char *fmt, ...) PRINTF(2, 3);

static void
problem(struct verifying *x, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (x->problems++ < PROBLEMS_SHOWN)
		keys_not(x->k, "%s", text);
}

static void
kid_text(const uint8_t *kid, size_t n, char out[static 2 * KID_BYTES + 1])
{
	struct buf b = {0};

	keys_hex(&b, kid, n < KID_BYTES ? n : KID_BYTES);
	snprintf(out, 2 * KID_BYTES + 1, "%s", buf_cstr(&b));
	buf_free(&b);
}

static void
needed_add(struct verifying *x, const uint8_t *rkid)
{
	unsigned i = 0;

	while (i < x->needed_n && memcmp(x->needed[i].rkid, rkid, KEY_ID_BYTES) != 0)
		i++;
	if (i == x->needed_n && i < NEEDED_MAX) {
		memcpy(x->needed[i].rkid, rkid, KEY_ID_BYTES);
		x->needed[x->needed_n++].n = 0;
	}
	if (i < NEEDED_MAX)
		x->needed[i].n++;
}

/* Who a recipient's key is of, in words. */
static void
recipient_name(const struct policy *p, const uint8_t *rkid, char *out, size_t size)
{
	uint8_t id[KEY_ID_BYTES];

	key_id(p->escrow, id);
	if (!memcmp(id, rkid, KEY_ID_BYTES)) {
		snprintf(out, size, "escrow");
		return;
	}
	for (unsigned i = 0; i < p->roles_n; i++) {
		key_id(p->roles[i].pk, id);
		if (!memcmp(id, rkid, KEY_ID_BYTES)) {
			snprintf(out, size, "role %s, epoch %u", p->roles[i].name.s,
				 p->roles[i].epoch);
			return;
		}
	}
	snprintf(out, size, "a key that the policy does not name (an older epoch)");
}

static const struct key *
secret_for(const struct verifying *x, const uint8_t *rkid)
{
	uint8_t id[KEY_ID_BYTES];

	for (unsigned i = 0; i < x->secrets_n; i++) {
		key_id(key_public(x->secrets[i]), id);
		if (!memcmp(id, rkid, KEY_ID_BYTES))
			return x->secrets[i];
	}
	return NULL;
}

/* One wrap of an envelope; bit of the recipients in *have. */
static void
wrap_check(struct verifying *x, const struct core *c, const char *kid, const uint8_t *wrap,
	   const uint8_t (*pks)[KEY_PUBLIC_BYTES], unsigned pks_n, uint64_t *have)
{
	uint8_t rkid[KEY_ID_BYTES], id[KEY_ID_BYTES];
	struct data_key *key = NULL;

	x->wraps++;
	enum seal_error why = wrap_recipient(wrap, ENVELOPE_WRAP_BYTES, rkid);
	if (why != SEAL_OK) {
		problem(x, "envelope %s: a wrap is %s", kid, seal_error_name(why));
		return;
	}
	needed_add(x, rkid);
	for (unsigned i = 0; i < pks_n; i++) {
		key_id(pks[i], id);
		if (!memcmp(id, rkid, KEY_ID_BYTES))
			*have |= (uint64_t)1 << i;
	}
	const struct key *secret = secret_for(x, rkid);
	if (!secret)
		return;
	why = wrap_open(wrap, ENVELOPE_WRAP_BYTES, secret, c->commit, &key);
	data_key_free(key);
	x->opened += why == SEAL_OK;
	if (why != SEAL_OK)
		problem(x, "envelope %s: its wrap for %s is %s: %s", kid, key_label(secret),
			seal_error_name(why), seal_error_words(why));
}

/* A row: kid, core, all wraps one after another. */
static void
envelope_check(struct verifying *x, const struct pg_result *r, unsigned row)
{
	uint8_t pks[POLICY_ROLES_MAX + 1][KEY_PUBLIC_BYTES];
	char kid[2 * KID_BYTES + 1], name[128];
	size_t kid_len, core_len, wraps_len;
	const uint8_t *id = pg_bytes(r, row, 0, &kid_len);
	const uint8_t *core = pg_bytes(r, row, 1, &core_len);
	const uint8_t *wraps = pg_bytes(r, row, 2, &wraps_len);
	uint64_t have = 0;
	unsigned n = 0;
	struct core c;

	x->envelopes++;
	kid_text(id, kid_len, kid);
	enum seal_error why = core_verify(core, core_len, &x->k->policy, &c);
	if (why == SEAL_OK && (kid_len != KID_BYTES || memcmp(c.kid, id, KID_BYTES)))
		why = SEAL_COMMIT;
	if (why == SEAL_OK)
		why = policy_recipients(&x->k->policy, c.class.s, pks, POLICY_ROLES_MAX + 1, &n);
	if (why != SEAL_OK) {
		problem(x, "envelope %s: %s: %s", kid, seal_error_name(why), seal_error_words(why));
		return;
	}
	for (size_t at = 0; at + ENVELOPE_WRAP_BYTES <= wraps_len; at += ENVELOPE_WRAP_BYTES)
		wrap_check(x, &c, kid, wraps + at, (const uint8_t(*)[KEY_PUBLIC_BYTES])pks, n,
			   &have);
	for (unsigned i = 0; i < n; i++) {
		uint8_t rkid[KEY_ID_BYTES];
		if (have & (uint64_t)1 << i)
			continue;
		key_id(pks[i], rkid);
		recipient_name(&x->k->policy, rkid, name, sizeof name);
		problem(x, "envelope %s, class %s: no wrap for %s", kid, c.class.s, name);
	}
}

static bool
envelopes_check(struct verifying *x, struct err *e)
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
		    {.data = last, .len = last_len, .binary = true, .type = 17},
		    {.data = limit},
		};
		if (!pg_query(x->k->pg,
			      "SELECT e.kid, e.core, (SELECT string_agg(w.wrap, ''::bytea) FROM "
			      "key_schema.wrap w WHERE w.pipeline = e.pipeline AND w.kid = "
			      "e.kid) "
			      "FROM key_schema.envelope e WHERE e.pipeline = $1::int AND e.kid > "
			      "$2 "
			      "ORDER BY e.kid LIMIT $3::bigint",
			      params, 3, true, &r, e))
			return false;
		rows = pg_rows(r);
		for (unsigned i = 0; i < rows; i++)
			envelope_check(x, r, i);
		if (rows) {
			memcpy(last, pg_bytes(r, rows - 1, 0, &n), KID_BYTES);
			last_len = KID_BYTES;
		}
		pg_result_free(r);
	}
	return true;
}

/* What the warehouse has of the policy, against the file. */
static bool
policy_check(struct verifying *x, struct err *e)
{
	struct keys *k = x->k;
	const char *const params[] = {k->id, NULL};
	struct pg_result *r;

	if (!owner_query(k->pg,
			 "SELECT coalesce(policy_serial, 0), policy_root IS NULL, "
			 "(SELECT digest "
			 "FROM key_schema.policy p WHERE p.pipeline = l.id ORDER BY "
			 "serial DESC "
			 "LIMIT 1) FROM admin_schema.pipeline l WHERE id = $1::int",
			 params, &r, e))
		return false;
	uint64_t serial = (uint64_t)pg_int(r, 0, 0);
	struct buf hash = {0};
	keys_hex(&hash, k->policy.hash, sizeof k->policy.hash);
	if (*pg_text(r, 0, 1) == 't')
		problem(x, "the warehouse pins no root yet; `weir apply` does");
	else if (serial != k->policy.serial)
		problem(x,
			"the warehouse has the policy of serial %llu in force, the file is "
			"%llu; "
			"`weir apply`",
			(unsigned long long)serial, (unsigned long long)k->policy.serial);
	else if (!pg_is_null(r, 0, 2) && strcmp(pg_text(r, 0, 2) + 2, buf_cstr(&hash)))
		problem(x, "the warehouse has another policy of the same serial");
	enum seal_error why = policy_usable(&k->policy, k->m->pipeline.s, serial, keys_now_ms());
	if (why != SEAL_OK)
		problem(x, "the policy: %s: %s", seal_error_name(why), seal_error_words(why));
	keys_did(k, "the policy, serial %llu: its signature holds under the pinned root",
		 (unsigned long long)k->policy.serial);
	buf_free(&hash);
	pg_result_free(r);
	return true;
}

/* Token keys in the directory against those that were signed. */
static bool
token_keys_check(struct verifying *x, struct err *e)
{
	static struct keys_file found[KEYS_FILES_MAX];
	const struct policy *p = &x->k->policy;
	uint64_t listed = 0;

	for (unsigned d = 0; d < x->k->m->domains_n; d++) {
		const char *domain = x->k->m->domains[d].name.s;
		unsigned n;
		if (!keys_list(x->k, KEY_TOKEN, domain, found, KEYS_FILES_MAX, &n, e))
			return false;
		for (unsigned i = 0; i < n; i++) {
			struct token_key *key;
			struct err why;
			if (!keys_token_open(x->k, domain, &found[i], &key, &why) ||
			    !policy_token_check(p, domain, key, &why))
				problem(x, "%s", why.text);
			else
				listed++;
			token_key_free(key);
		}
	}
	if (listed != p->tokens_n)
		problem(x, "of %u token keys that the policy lists %llu are here and the same",
			p->tokens_n, (unsigned long long)listed);
	else
		keys_did(x->k, "%u token keys are those that the policy lists", p->tokens_n);
	return true;
}

/* Every role's secret must be held by each of its members and by escrow, else
 * it may be lost. */
static bool
role_keys_check(struct verifying *x, struct err *e)
{
	struct keys *k = x->k;
	const char *const params[] = {k->id, NULL};
	struct pg_result *r;
	struct buf have = {0};
	char line[3 * NAME_BYTES_MAX];

	if (!owner_query(k->pg,
			 "SELECT role, epoch, member FROM key_schema.role_key WHERE "
			 "pipeline = "
			 "$1::int",
			 params, &r, e))
		return false;
	buf_byte(&have, '\n');
	for (unsigned i = 0; i < pg_rows(r); i++)
		buf_printf(&have, "%s %s %s\n", pg_text(r, i, 0), pg_text(r, i, 1),
			   pg_text(r, i, 2));
	pg_result_free(r);
	for (unsigned i = 0; i < k->policy.roles_n; i++) {
		const struct policy_role *role = &k->policy.roles[i];
		snprintf(line, sizeof line, "\n%s %u escrow\n", role->name.s, role->epoch);
		if (!strstr(buf_cstr(&have), line))
			problem(x, "role %s: its secret is not sealed to escrow", role->name.s);
		for (unsigned j = 0; j < k->policy.members_n; j++) {
			const struct policy_member *m = &k->policy.members[j];
			snprintf(line, sizeof line, "\n%s %u %s\n", role->name.s, role->epoch,
				 m->name.s);
			if (name_list_has(&m->roles, role->name.s) &&
			    !strstr(buf_cstr(&have), line))
				problem(x, "role %s: its secret is not sealed to %s", role->name.s,
					m->name.s);
		}
	}
	buf_free(&have);
	return true;
}

/* With --member-key wraps are opened, too. */
static bool
holder_open(struct verifying *x, struct err *e)
{
	const struct policy *p = &x->k->policy;

	if (!args_value(&x->k->c->args, "member-key"))
		return true;
	if (!keys_holder(x->k, &x->holder, e))
		return false;
	if (key_type(x->holder) == KEY_ESCROW) {
		x->secrets[x->secrets_n++] = x->holder;
		x->holder = NULL;
		return true;
	}
	for (unsigned i = 0; i < p->roles_n && x->secrets_n < POLICY_ROLES_MAX; i++) {
		struct err none; /* a role that the holder has not */
		if (keys_role_secret(x->k, x->holder, p->roles[i].name.s, p->roles[i].epoch,
				     p->roles[i].pk, &x->secrets[x->secrets_n], &none))
			x->secrets_n++;
	}
	return true;
}

static void
verify_tell(struct verifying *x)
{
	struct keys *k = x->k;
	char name[128];

	keys_data(k, "envelopes", "%llu", (unsigned long long)x->envelopes);
	keys_data(k, "wraps", "%llu", (unsigned long long)x->wraps);
	keys_data(k, "opened", "%llu", (unsigned long long)x->opened);
	keys_data(k, "problems", "%llu", (unsigned long long)x->problems);
	keys_did(k, "%llu envelopes with %llu wraps: signatures and recipients were checked",
		 (unsigned long long)x->envelopes, (unsigned long long)x->wraps);
	for (unsigned i = 0; i < x->needed_n; i++) {
		recipient_name(&k->policy, x->needed[i].rkid, name, sizeof name);
		keys_did(k, "still needed: %s, for %llu envelopes", name,
			 (unsigned long long)x->needed[i].n);
	}
	if (x->secrets_n)
		keys_did(k, "%llu wraps were opened: they hold what was committed to",
			 (unsigned long long)x->opened);
	else
		keys_not(k, "no wrap was opened: commitments are checked with --member-key FILE");
	if (x->problems > PROBLEMS_SHOWN)
		keys_not(k, "and %llu more problems like these",
			 (unsigned long long)(x->problems - PROBLEMS_SHOWN));
	if (x->problems) {
		k->code = EXIT_DATA;
		keys_next(k,
			  "missing wraps: `weir keys grant role`, or `weir keys rotate role NAME "
			  "--finish`, with a key that opens");
	}
}

bool
keys_verify(struct keys *k, struct err *e)
{
	struct verifying *x = mem_zero(1, sizeof *x);

	x->k = k;
	bool good = policy_check(x, e) && token_keys_check(x, e) && role_keys_check(x, e) &&
		    holder_open(x, e) && envelopes_check(x, e);
	if (good)
		verify_tell(x);
	for (unsigned i = 0; i < x->secrets_n; i++)
		key_free(x->secrets[i]);
	key_free(x->holder);
	free(x);
	return good;
}
