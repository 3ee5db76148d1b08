/* keys: the owner's connection, its transaction and the audit chain. */
#include "keys.h"

#include <stdio.h>
#include <string.h>

bool
keys_connect(struct keys *k, struct err *e)
{
	if (k->pg)
		return true;
	if (!owner_open(k->m, &k->pg, e))
		return false;
	if (!owner_pipeline(k->pg, k->m, &k->at, e))
		return e->code == EXIT_NOTHING ? err_set(e, EXIT_CONFIG,
							 "pipeline %s was not applied to this "
							 "warehouse yet; `weir apply %s` does that",
							 k->m->pipeline.s, k->file)
					       : false;
	snprintf(k->id, sizeof k->id, "%lld", (long long)k->at.id);
	return true;
}

bool
keys_begin(struct keys *k, struct err *e)
{
	return pg_script(k->pg, "BEGIN", e);
}

bool
keys_commit(struct keys *k, struct err *e)
{
	return pg_script(k->pg, "COMMIT", e);
}

bool
keys_audit(struct keys *k, const char *kind, const char *purpose, const char *detail,
	   const struct buf *sids, struct err *e)
{
	struct pg_result *r;
	const char *const params[] = {k->id,   kind,   sids ? (const char *)sids->data : "{}",
				      purpose, detail, NULL};

	if (!owner_query(k->pg,
			 "SELECT key_schema.audit_add($1::int, $2, NULL, '{}', "
			 "$3::bytea[], $4, "
			 "$5::jsonb)",
			 params, &r, e))
		return err_context(e, "audit");
	pg_result_free(r);
	return true;
}
