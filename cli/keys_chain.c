/* The end of the audit chain, which a command that writes an audit row needs: whoever holds it
 * cannot keep a person from being erased. */
#include "keys.h"

#include <stdio.h>
#include <string.h>

enum { TRIES = 5 }; /* of 3 seconds each */

static const char before_sql[] = "SAVEPOINT chain; SET LOCAL lock_timeout = '3s'";
static const char after_sql[] = "SET LOCAL lock_timeout TO DEFAULT; RELEASE SAVEPOINT chain";
static const char take_sql[] =
    "WITH first AS (INSERT INTO key_schema.chain VALUES ($1::int) ON CONFLICT DO NOTHING)"
    " SELECT FROM key_schema.chain c WHERE c.pipeline = $1::int FOR UPDATE";

/* Those who wait for it too: the next one would hold it. */
static const char holders_sql[] =
    "SELECT DISTINCT a.pid, a.usename, a.usename = session_user FROM pg_catalog.pg_locks l"
    " JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.datname = current_database()"
    " WHERE l.locktype = 'relation' AND l.relation = 'key_schema.chain'::regclass AND l.granted"
    " AND l.mode IN ('RowShareLock', 'RowExclusiveLock') AND l.pid <> pg_backend_pid()";

static bool
holder_end(struct keys *k, const char *pid, const char *login, struct err *e)
{
	const char *const params[] = {pid, NULL};
	struct pg_result *r = NULL;

	if (!owner_query(k->pg, "SELECT pg_terminate_backend($1::int, 5000)", params, &r, e)) {
		if (strcmp(pg_sqlstate(k->pg), "42501") != 0)
			return false;
		return err_set(e, EXIT_UNAVAILABLE,
			       "login %.64s holds the audit in an open transaction, and the owner "
			       "may not end it. An administrator of the database may: SELECT "
			       "pg_terminate_backend(%s), or GRANT pg_signal_backend to the owner",
			       login, pid);
	}
	pg_result_free(r);
	keys_did(k,
		 "ended the session of login %.64s (process %s): its open transaction held the "
		 "audit",
		 login, pid);
	return true;
}

/* Not another command of the owner: that one is waited for. */
static bool
holders_end(struct keys *k, struct err *e)
{
	struct pg_result *r = NULL;
	bool good = owner_query(k->pg, holders_sql, NULL, &r, e);

	for (unsigned i = 0; good && i < pg_rows(r); i++)
		if (strcmp(pg_text(r, i, 2), "t") != 0)
			good = holder_end(k, pg_text(r, i, 0), pg_text(r, i, 1), e);
	pg_result_free(r);
	return good;
}

bool
keys_chain_take(struct keys *k, struct err *e)
{
	const char *const params[] = {k->id, NULL};
	struct pg_result *r = NULL;

	for (unsigned i = 0; i < TRIES; i++) {
		if (!pg_script(k->pg, before_sql, e))
			return false;
		if (owner_query(k->pg, take_sql, params, &r, e)) {
			pg_result_free(r);
			return pg_script(k->pg, after_sql, e);
		}
		if (strcmp(pg_sqlstate(k->pg), "55P03") != 0)
			return err_context(e, "audit");
		if (!pg_script(k->pg, "ROLLBACK TO SAVEPOINT chain", e) || !holders_end(k, e))
			return false;
	}
	return err_set(e, EXIT_UNAVAILABLE,
		       "the end of the audit is held by others again and again: end their "
		       "sessions, or take their logins away");
}
