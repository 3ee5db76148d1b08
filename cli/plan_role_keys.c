/*
 * plan: the secrets of roles that `weir keys init` sealed to the first member and to escrow, from
 * the key directory into the warehouse. Later ones go there at once, by `weir keys grant` and
 * `rotate`.
 */
#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "owner.h"
#include "policy_read.h"

enum { SEALED_FILE_BYTES = KEY_PUBLIC_BYTES + KEY_SEALED_BYTES };

/* Without the table or the pipeline there is nothing yet. */
static bool
secret_there(struct plan *p, const char *role, const char *epoch, const char *member, bool *yes,
	     struct err *e)
{
	const char *const params[] = {p->model->pipeline.s, role, epoch, member, NULL};

	*yes = false;
	if (!p->pipeline)
		return true;
	return plan_ask(p, "SELECT to_regclass('key_schema.role_key') IS NOT NULL", NULL, yes, e) &&
	       (!*yes ||
		plan_ask(p,
			 "SELECT count(*) > 0 FROM key_schema.role_key k JOIN "
			 "admin_schema.pipeline l ON l.id = k.pipeline WHERE l.name = $1 AND "
			 "role = $2 AND epoch = $3::int AND member = $4",
			 params, yes, e));
}

static void
secret_add(struct plan *p, const struct policy_role *role, const char *member,
	   const struct buf *file)
{
	struct buf sql = {0};
	uint8_t rkid[KEY_ID_BYTES];

	key_id(role->pk, rkid);
	buf_text(&sql, "INSERT INTO key_schema.role_key SELECT id, ");
	pg_quote_text(&sql, role->name.s);
	buf_printf(&sql, ", %u, ", role->epoch);
	pg_quote_text(&sql, member);
	buf_text(&sql, ", '\\x");
	policy_hex(rkid, sizeof rkid, &sql);
	buf_text(&sql, "', '\\x");
	policy_hex(file->data, KEY_PUBLIC_BYTES, &sql);
	buf_text(&sql, "', '\\x");
	policy_hex(file->data + KEY_PUBLIC_BYTES, KEY_SEALED_BYTES, &sql);
	buf_text(&sql, "' FROM admin_schema.pipeline WHERE name = ");
	pg_quote_text(&sql, p->model->pipeline.s);
	plan_add(p, '+', &sql, "the secret of role %s, sealed to %s", role->name.s, member);
}

static bool
secret_plan(struct plan *p, const struct policy_role *role, const char *member, struct err *e)
{
	char path[4096], epoch[16];
	struct buf file = {0};
	struct err absent;
	bool there;

	snprintf(path, sizeof path, "%s/role-%s-%u.%s.sealed", p->model->keys_dir, role->name.s,
		 role->epoch, member);
	snprintf(epoch, sizeof epoch, "%u", role->epoch);
	bool good = true;
	if (file_whole(path, SEALED_FILE_BYTES, &file, &absent)) {
		good = secret_there(p, role->name.s, epoch, member, &there, e);
		if (good && (file.len != SEALED_FILE_BYTES ||
			     memcmp(file.data, role->pk, KEY_PUBLIC_BYTES) != 0))
			plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
				      "%s: not the secret of role %s of the policy", path,
				      role->name.s);
		else if (good && !there)
			secret_add(p, role, member, &file);
	}
	buf_free(&file);
	return good;
}

bool
plan_role_keys(struct plan *p, struct err *e)
{
	struct policy policy = {0};
	struct buf file = {0};
	struct err told; /* plan_policy has told it */

	if (!p->model->keys_dir)
		return true;
	bool good = true;
	/* Whose signature it has was judged by plan_policy; a refusal there stops everything. */
	if (policy_file_read(p->model, &file, &told) &&
	    policy_decode(file.data, file.len, NULL, &policy) == SEAL_OK) {
		for (unsigned i = 0; good && i < policy.roles_n; i++) {
			const struct policy_role *role = &policy.roles[i];
			good = secret_plan(p, role, "escrow", e);
			for (unsigned j = 0; good && j < policy.members_n; j++)
				if (name_list_has(&policy.members[j].roles, role->name.s))
					good = secret_plan(p, role, policy.members[j].name.s, e);
		}
	}
	policy_free(&policy);
	buf_free(&file);
	return good;
}
