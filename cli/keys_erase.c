/* keys erase: a person's secret goes; what was sealed for the person stays shut, and what comes is
 * sealed no more. */
#include "keys.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "keys_tokens.h"
#include "seal/policy_model.h"

enum { IDENTIFIER_BYTES_MAX = 1024 };

struct erasure {
	struct keys *k;
	const char *domain;
	struct buf identifier;
	struct buf array;				   /* sids, as an array in text form */
	unsigned sids, erased, tombstones, known, nobodys; /* dead letters bound to nobody */
};

static bool
identifier_stdin(struct buf *out, struct err *e)
{
	char bytes[IDENTIFIER_BYTES_MAX + 2];
	ssize_t n;

	if (isatty(STDIN_FILENO))
		cli_say("the identifier, then Enter:");
	while (out->len <= IDENTIFIER_BYTES_MAX &&
	       (n = read(STDIN_FILENO, bytes, sizeof bytes)) != 0) {
		if (n < 0)
			return err_errno(e, EXIT_UNAVAILABLE, "cannot read the identifier");
		buf_add(out, bytes, (size_t)n);
		if (memchr(bytes, '\n', (size_t)n) && isatty(STDIN_FILENO))
			break;
	}
	secret_wipe(bytes, sizeof bytes);
	while (out->len && (out->data[out->len - 1] == '\n' || out->data[out->len - 1] == '\r'))
		out->len--;
	return true;
}

static bool
identifier_read(struct erasure *x, struct err *e)
{
	const char *path = args_value(&x->k->c->args, "subject-file");
	bool good = path ? file_read(path, IDENTIFIER_BYTES_MAX, &x->identifier, e)
			 : identifier_stdin(&x->identifier, e);

	return good &&
	       ((x->identifier.len && x->identifier.len <= IDENTIFIER_BYTES_MAX) ||
		err_set(e, EXIT_USAGE, "an identifier has 1 to %d bytes", IDENTIFIER_BYTES_MAX));
}

static bool
domain_find(struct erasure *x, int *domain, struct err *e)
{
	const struct model *m = x->k->m;

	x->domain = args_value(&x->k->c->args, "domain");
	if (!x->domain && m->domains_n == 1)
		x->domain = m->domains[0].name.s;
	if (!x->domain)
		return err_set(e, EXIT_USAGE,
			       "of which token domain is the identifier? --domain NAME");
	for (unsigned i = 0; i < m->domains_n; i++)
		if (!strcmp(m->domains[i].name.s, x->domain)) {
			*domain = (int)i;
			return true;
		}
	return err_set(e, EXIT_USAGE, "%s has no token domain \"%.80s\"", x->k->file, x->domain);
}

/* The canonical forms of the subjects of this domain, by the file: bit i is form i. */
static unsigned
forms_of(const struct model *m, int domain)
{
	unsigned forms = 0;

	for (unsigned i = 0; i < m->sources_n; i++) {
		const struct source *s = &m->sources[i];
		if (s->subject_field >= 0 && s->fields[s->subject_field].domain == domain)
			forms |= 1u << s->fields[s->subject_field].canonical;
	}
	return forms;
}

static bool
identifier_fits(const struct erasure *x, unsigned forms)
{
	struct value v = value_text((const char *)x->identifier.data, x->identifier.len);
	char canonical[TOKEN_CANONICAL_MAX];
	bool fits = false;
	size_t n;

	for (unsigned f = 0; f < CANONICAL_MAX && !fits; f++)
		fits = (forms & 1u << f) && token_canonical(&v, (enum canonical)f, canonical, &n);
	secret_wipe(canonical, sizeof canonical);
	return fits;
}

/*
 * The sid in each form that the identifier has, whatever the file says today:
 * what came before a change of `canonical:` has the form of its time.
 */
static void
sids_add(struct erasure *x, const struct token_key *key)
{
	char canonical[TOKEN_CANONICAL_MAX];
	uint8_t sids[CANONICAL_MAX][SID_BYTES];
	unsigned made = 0;
	size_t n;
	struct value v = value_text((const char *)x->identifier.data, x->identifier.len);

	for (unsigned f = 0; f < CANONICAL_MAX; f++) {
		bool again = false;
		if (!token_canonical(&v, (enum canonical)f, canonical, &n))
			continue;
		token_sid(key, canonical, n, sids[made]);
		for (unsigned i = 0; i < made; i++)
			again |= !memcmp(sids[i], sids[made], SID_BYTES);
		if (again)
			continue;
		keys_array_add(&x->array, sids[made++], SID_BYTES);
		x->sids++;
	}
	secret_wipe(canonical, sizeof canonical);
}

static bool
epoch_add(struct erasure *x, const struct keys_file *file, struct err *e)
{
	struct token_key *token = NULL;

	if (!keys_token_open(x->k, x->domain, file, &token, e))
		return false;
	/* One that was not signed yet has sealed nothing: no reason to let a person wait. */
	bool good = !policy_token(&x->k->policy, x->domain, file->epoch) ||
		    policy_token_check(&x->k->policy, x->domain, token, e);
	if (good)
		sids_add(x, token);
	token_key_free(token);
	return good;
}

/* A tombstone stands for persons who were never seen, too: what comes later is
 * erased at once. */
static bool
secrets_drop(struct erasure *x, struct err *e)
{
	const char *const params[] = {x->k->id, (const char *)x->array.data, NULL};
	struct pg_result *r;

	if (!owner_query(x->k->pg,
			 "WITH was AS (SELECT s.sid, s.secret IS NULL AS erased FROM "
			 "key_schema.subject s WHERE s.pipeline = $1::int AND s.sid = "
			 "ANY($2::bytea[])), done AS (INSERT INTO key_schema.subject AS s "
			 "(pipeline, "
			 "sid, secret, erased_at) SELECT $1::int, u, NULL, now() FROM (SELECT "
			 "DISTINCT "
			 "unnest($2::bytea[]) u ORDER BY 1) d ON CONFLICT (pipeline, sid) DO "
			 "UPDATE "
			 "SET secret = NULL, erased_at = now() WHERE s.secret IS NOT NULL "
			 "RETURNING "
			 "1) SELECT (SELECT count(*) FROM done), (SELECT count(*) FROM was "
			 "WHERE NOT "
			 "erased), (SELECT count(*) FROM was WHERE erased), (SELECT count(*) FROM "
			 "admin_schema.dead_letter d WHERE d.pipeline = $1::int AND d.sid IS NULL "
			 "AND octet_length(d.body) > 0)",
			 params, &r, e))
		return false;
	x->tombstones = (unsigned)pg_int(r, 0, 0);
	x->erased = (unsigned)pg_int(r, 0, 1);
	x->known = (unsigned)pg_int(r, 0, 2);
	x->nobodys = (unsigned)pg_int(r, 0, 3);
	pg_result_free(r);
	return true;
}

static bool
audit_erase(struct erasure *x, struct err *e)
{
	const char *purpose = args_value(&x->k->c->args, "purpose");
	char detail[256];

	snprintf(detail, sizeof detail, "{\"domain\":\"%s\",\"erased\":%u}", x->domain, x->erased);
	return keys_audit(x->k, "erase", purpose ? purpose : "erasure of a person", detail,
			  &x->array, e);
}

static void
erase_tell(struct erasure *x)
{
	struct keys *k = x->k;

	keys_data(k, "sids", "%u", x->sids);
	keys_data(k, "erased", "%u", x->erased);
	keys_data(k, "erased_before", "%u", x->known);
	keys_data(k, "tombstones", "%u", x->tombstones);
	keys_data(k, "dead_letters_of_nobody", "%u", x->nobodys);
	if (x->nobodys)
		keys_not(
		    k,
		    "%u dead letters are bound to no person, since none could be read in them: "
		    "what they hold of this person is not erased. `weir dead list` names them",
		    x->nobodys);
	if (x->erased)
		keys_did(k,
			 "erased: the secret of this person is deleted (%u of %u pseudonyms); a "
			 "tombstone stays",
			 x->erased, x->sids);
	else if (x->known)
		keys_did(k, "this person was erased before; nothing was left to delete");
	else
		keys_did(k, "this person is not in the warehouse; a tombstone was left, so that "
			    "whatever comes is erased at once");
	keys_did(k, "effective for readers now; for ingest within one window of 15 "
		    "minutes, or at "
		    "its next restart; for ever when the backups of key_schema from "
		    "before now have "
		    "expired");
	keys_not(k, "what was opened or handed over before is where it was taken to");
	keys_not(k, "pseudonym (sid) and tokens stay in the rows; values that no subject is "
		    "declared for are not bound to "
		    "a person");
}

/* The key that sids are made with, whatever was rotated since (seal/token.h). */
static bool
lowest_add(struct erasure *x, struct err *e)
{
	static struct keys_file found[KEYS_FILES_MAX];
	unsigned n = 0, epoch = policy_token_oldest(&x->k->policy, x->domain);

	if (!keys_list(x->k, KEY_TOKEN, x->domain, found, KEYS_FILES_MAX, &n, e))
		return false;
	for (unsigned i = 0; i < n; i++)
		if (!epoch || found[i].epoch == epoch)
			return epoch_add(x, &found[i], e);
	return err_set(e, EXIT_CONFIG,
		       "the token key of domain %s, epoch %u is not in %s: without it no person "
		       "can be found",
		       x->domain, epoch ? epoch : 1, x->k->m->keys_dir);
}

bool
keys_erase(struct keys *k, struct err *e)
{
	struct erasure x = {.k = k};
	int domain = -1;

	bool good = domain_find(&x, &domain, e);
	unsigned forms = good ? forms_of(k->m, domain) : 0;
	if (good && !forms)
		good =
		    err_set(e, EXIT_USAGE,
			    "no source of %s has a subject of domain %s: nothing is bound to its "
			    "persons",
			    k->file, x.domain);
	good = good && identifier_read(&x, e);
	if (good && !identifier_fits(&x, forms))
		good = err_set(e, EXIT_USAGE,
			       "this is no identifier of domain %s: it has not its form", x.domain);
	good = good && lowest_add(&x, e);
	keys_array_end(&x.array);
	buf_cstr(&x.array);
	good = good && keys_begin(k, e) && keys_chain_take(k, e) && secrets_drop(&x, e) &&
	       audit_erase(&x, e) && keys_commit(k, e);
	if (good)
		erase_tell(&x);
	secret_wipe(x.identifier.data, x.identifier.cap);
	buf_free(&x.identifier);
	buf_free(&x.array);
	return good;
}
