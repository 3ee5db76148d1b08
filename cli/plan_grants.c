/* plan: which of the grants that ddl.h lists are not there yet. */
#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "owner.h"

enum { GRANTEES_MAX = LOGIN_MAX + GROUP_MAX };

/* Missing grants are collected, so that a grantee is one line of the plan. */
struct missing {
	struct plan *plan;
	bool to_come; /* of tables that come later; else all others */
	struct {
		struct name name;
		struct buf sql;
		unsigned n;
	} of[GRANTEES_MAX];
	unsigned n;
};

/* A role or an object that is not there gives NULL: not granted. */
static const char *const questions[] = {
    [OBJECT_SCHEMA] =
	"SELECT has_schema_privilege(to_regrole($1)::oid, to_regnamespace($2)::oid, $3)",
    [OBJECT_TABLE] = "SELECT has_table_privilege(to_regrole($1)::oid, to_regclass($2)::oid, $3)",
    [OBJECT_SEQUENCE] =
	"SELECT has_sequence_privilege(to_regrole($1)::oid, to_regclass($2)::oid, $3)",
    [OBJECT_FUNCTION] =
	"SELECT has_function_privilege(to_regrole($1)::oid, to_regprocedure($2)::oid, $3)",
    [OBJECT_DEFAULT] =
	"SELECT EXISTS (SELECT FROM pg_default_acl d, aclexplode(d.defaclacl) a"
	" WHERE d.defaclrole = quote_ident(current_user)::regrole AND d.defaclobjtype = 'r'"
	" AND d.defaclnamespace = to_regnamespace($2) AND a.grantee = to_regrole($1)"
	" AND a.privilege_type = $3)",
};

static const char column_question[] =
    "SELECT bool_and(has_column_privilege(to_regrole($1)::oid, a.attrelid, a.attnum, $3))"
    " AND count(*) = cardinality($4::text[])"
    " FROM pg_attribute a WHERE a.attrelid = to_regclass($2) AND a.attname = ANY ($4::text[])";

static bool
granted(struct plan *p, const struct ddl_grant *g, bool *yes, struct err *e)
{
	struct buf role = {0}, columns = {0};

	pg_quote_name(&role, g->grantee.s);
	for (unsigned i = 0; g->columns[i]; i++) {
		buf_byte(&columns, i ? ',' : '{');
		pg_quote_name(&columns, g->columns[i]);
	}
	buf_byte(&columns, '}');
	const char *const params[] = {buf_cstr(&role), g->object, g->privilege,
				      g->columns[0] ? buf_cstr(&columns) : NULL, NULL};
	bool good =
	    plan_ask(p, g->columns[0] ? column_question : questions[g->kind], params, yes, e);
	buf_free(&role);
	buf_free(&columns);
	return good;
}

static void
missing_add(struct missing *x, const struct ddl_grant *g)
{
	unsigned i = 0;

	while (i < x->n && strcmp(x->of[i].name.s, g->grantee.s))
		i++;
	if (i == x->n) {
		check(x->n < GRANTEES_MAX);
		x->of[x->n++].name = g->grantee;
	}
	if (x->of[i].n++)
		buf_text(&x->of[i].sql, ";\n");
	ddl_grant(g, &x->of[i].sql);
}

static bool
grant_visit(void *ctx, const struct ddl_grant *g, struct err *e)
{
	struct missing *x = ctx;
	bool yes;

	if ((g->kind == OBJECT_DEFAULT) != x->to_come)
		return true;
	if (!granted(x->plan, g, &yes, e))
		return false;
	if (!yes)
		missing_add(x, g);
	return true;
}

static bool
missing_plan(struct plan *p, bool to_come, struct err *e)
{
	struct missing x = {.plan = p, .to_come = to_come};
	bool good = ddl_grants(p->model, grant_visit, &x, e);

	for (unsigned i = 0; i < x.n; i++) {
		if (good)
			plan_add(p, '+', &x.of[i].sql, "%u grant%s to %s%s", x.of[i].n,
				 x.of[i].n == 1 ? "" : "s", x.of[i].name.s,
				 to_come ? " on tables to come" : "");
		else
			buf_free(&x.of[i].sql);
	}
	return good;
}

/* Before the first table is made. */
bool
plan_grants_to_come(struct plan *p, struct err *e)
{
	return missing_plan(p, true, e);
}

/* CONNECT and TEMPORARY are everyone's in a database as it comes; not in one that was locked down.
 */
static bool
database_plan(struct plan *p, const struct name *login, const char *privilege, struct err *e)
{
	struct buf role = {0}, sql = {0};
	struct pg_result *r;

	pg_quote_name(&role, login->s);
	const char *const params[] = {buf_cstr(&role), privilege, NULL};
	bool good = owner_query(
	    p->pg,
	    "SELECT has_database_privilege('public', current_database(), $2) OR"
	    " coalesce(has_database_privilege(to_regrole($1)::oid, current_database(), $2), false),"
	    " current_database(), (SELECT pg_has_role(datdba, 'MEMBER') FROM pg_database"
	    " WHERE datname = current_database())",
	    params, &r, e);
	buf_free(&role);
	if (!good)
		return false;
	if (*pg_text(r, 0, 0) != 't') {
		buf_printf(&sql, "GRANT %s ON DATABASE ", privilege);
		pg_quote_name(&sql, pg_text(r, 0, 1));
		buf_text(&sql, " TO ");
		pg_quote_name(&sql, login->s);
		if (*pg_text(r, 0, 2) == 't') {
			plan_add(p, '+', &sql, "grant %s on the database to %s", privilege,
				 login->s);
		} else {
			plan_add_kind(p, CHANGE_REFUSED, '!', NULL, "as administrator: %s",
				      buf_cstr(&sql));
			buf_free(&sql);
		}
	}
	pg_result_free(r);
	return true;
}

/* Declared foreign keys need load to switch their triggers off, which is the administrator's to
 * allow. */
static bool
parameter_plan(struct plan *p, const struct name *login, struct err *e)
{
	struct buf role = {0}, sql = {0};
	bool yes, may;

	pg_quote_name(&role, login->s);
	const char *const params[] = {buf_cstr(&role), NULL};
	bool good = plan_ask(p,
			     "SELECT has_parameter_privilege(to_regrole($1)::oid, "
			     "'session_replication_role', 'SET')",
			     params, &yes, e) &&
		    plan_ask(p,
			     "SELECT has_parameter_privilege('session_replication_role', "
			     "'SET WITH GRANT OPTION')",
			     NULL, &may, e);
	buf_free(&role);
	if (!good || yes)
		return good;
	buf_text(&sql, "GRANT SET ON PARAMETER session_replication_role TO ");
	pg_quote_name(&sql, login->s);
	if (may) {
		plan_add(p, '+', &sql, "grant to %s: check references by batch, not by row",
			 login->s);
		return true;
	}
	plan_add_kind(
	    p, CHANGE_NOTE, 'i', NULL,
	    "foreign keys are checked row by row, at several times the cost of a load, until the "
	    "administrator runs: %s",
	    buf_cstr(&sql));
	buf_free(&sql);
	return true;
}

/* Whoever may create there can lay an object in the way of another's search_path. */
static bool
public_plan(struct plan *p, struct err *e)
{
	static const char revoke[] = "REVOKE CREATE ON SCHEMA public FROM PUBLIC";
	struct buf sql = {0};
	bool open, ours;

	if (!plan_ask(p,
		      "SELECT has_schema_privilege('public', to_regnamespace('public')::oid, "
		      "'CREATE')",
		      NULL, &open, e) ||
	    !plan_ask(p,
		      "SELECT pg_has_role(nspowner, 'MEMBER') FROM pg_namespace WHERE nspname = "
		      "'public'",
		      NULL, &ours, e))
		return false;
	if (open && ours) {
		buf_text(&sql, revoke);
		plan_add(p, '~', &sql, "schema public: not everybody may create in it");
	} else if (open) {
		plan_add_kind(p, CHANGE_NOTE, 'i', NULL,
			      "everybody may create in schema public; as administrator: %s",
			      revoke);
	}
	return true;
}

bool
plan_grants(struct plan *p, struct err *e)
{
	struct name login;

	for (unsigned l = 0; l < LOGIN_MAX; l++)
		if (!ddl_login_used(p->model, l))
			continue;
		else if (!ddl_login_name(p->model, l, &login, e) ||
			 !database_plan(p, &login, "CONNECT", e) ||
			 (l == LOGIN_LOAD && !database_plan(p, &login, "TEMPORARY", e)) ||
			 (l == LOGIN_LOAD && !p->model->foreign_keys_enforced &&
			  !parameter_plan(p, &login, e)))
			return false;
	return public_plan(p, e) && missing_plan(p, false, e);
}
