/*
 * check: rights in the catalogue against what ddl_grants declares; roles; what guards
 * key_schema.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "ddl.h"
#include "owner.h"

/* ---- what should be, as arrays for one query ---- */

enum { WANT_GRANTEE, WANT_KIND, WANT_OBJECT, WANT_COLUMN, WANT_PRIVILEGE, WANT_MAX };

struct wanted {
	struct check *check;
	struct buf arrays[WANT_MAX];
};

static void
element_add(struct buf *array, const char *s)
{
	buf_text(array, array->len ? ",\"" : "{\"");
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_byte(array, '\\');
		buf_byte(array, (uint8_t)*s);
	}
	buf_byte(array, '"');
}

static void
want(struct wanted *w, const struct ddl_grant *g, const char *column)
{
	static const char *const kinds[] = {"schema", "table", "sequence", "function", "default"};
	const char *const values[WANT_MAX] = {g->grantee.s, kinds[g->kind], g->object, column,
					      g->privilege};

	for (unsigned i = 0; i < WANT_MAX; i++)
		element_add(&w->arrays[i], values[i]);
	w->check->examined++;
}

static bool
want_visit(void *ctx, const struct ddl_grant *g, struct err *e)
{
	(void)e;
	if (!g->columns[0])
		want(ctx, g, "");
	for (unsigned i = 0; g->columns[i]; i++)
		want(ctx, g, g->columns[i]);
	return true;
}

/* ---- rights ---- */

/* $6: Weir's logins and groups; $7: logins of all pipelines of this database. */
static const char rights_sql[] =
    "WITH want AS MATERIALIZED ("
    " SELECT g, to_regrole(quote_ident(g))::oid AS grantee, k, o, c, p,"
    "  CASE WHEN k IN ('schema', 'default') THEN to_regnamespace(o)::oid"
    "   WHEN k = 'function' THEN to_regprocedure(o)::oid ELSE to_regclass(o)::oid END AS oid,"
    "  CASE c WHEN '' THEN 0 ELSE coalesce((SELECT attnum FROM pg_attribute WHERE"
    "   attrelid = to_regclass(o) AND attname = c AND NOT attisdropped), -1) END AS sub"
    " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) w (g, k, o, c, p)),"
    "ours AS MATERIALIZED (SELECT oid FROM pg_roles WHERE rolname = ANY ($6::text[])),"
    "spaces AS MATERIALIZED (SELECT oid FROM pg_namespace WHERE nspname IN ('admin_schema',"
    " 'analytical_schema', 'development_schema', 'data_visualization_schema', 'key_schema')),"
    "acl AS ("
    " SELECT 'schema' AS k, 'pg_namespace'::regclass AS class, oid, 0 AS sub, oid AS space,"
    "  nspowner AS owner, coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM pg_namespace"
    " UNION ALL SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, 'pg_class', oid, 0,"
    "  relnamespace, relowner, coalesce(relacl, acldefault("
    "   CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))"
    "  FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
    " UNION ALL SELECT 'table', 'pg_class', c.oid, a.attnum, relnamespace, relowner, a.attacl"
    "  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.attacl IS NOT NULL"
    "  AND NOT a.attisdropped"
    " UNION ALL SELECT 'function', 'pg_proc', oid, 0, pronamespace, proowner,"
    "  coalesce(proacl, acldefault('f', proowner)) FROM pg_proc"
    " UNION ALL SELECT CASE defaclobjtype WHEN 'r' THEN 'default' ELSE 'other default' END,"
    "  'pg_default_acl', CASE defaclobjtype WHEN 'r' THEN defaclnamespace ELSE oid END, 0,"
    "  defaclnamespace, defaclrole, defaclacl FROM pg_default_acl"
    " UNION ALL SELECT 'type', 'pg_type', oid, 0, typnamespace, typowner, typacl FROM pg_type"
    "  WHERE typacl IS NOT NULL),"
    "have AS MATERIALIZED (SELECT l.k, l.class, l.oid, l.sub, l.space, l.owner, a.grantee,"
    "  a.privilege_type AS p, a.is_grantable AS again FROM acl l, aclexplode(l.acl) a"
    " WHERE a.grantee <> l.owner AND (a.grantee IN (SELECT oid FROM ours)"
    "  OR (l.space IN (SELECT oid FROM spaces) AND a.grantee NOT IN (SELECT oid FROM pg_roles"
    "   WHERE rolname = ANY ($7::text[]))))) "
    "SELECT 'missing', w.g, w.p, w.k || ' ' || w.o || CASE w.c WHEN '' THEN '' ELSE"
    "  ' (' || w.c || ')' END, '', 'ours'"
    " FROM want w WHERE NOT EXISTS (SELECT FROM have h WHERE h.k = w.k AND h.oid = w.oid"
    "  AND h.sub IN (0, w.sub) AND h.grantee = w.grantee AND h.p = w.p) "
    "UNION ALL "
    "SELECT 'extra', coalesce(r.rolname, 'PUBLIC'), h.p || CASE WHEN h.again THEN"
    "  ' WITH GRANT OPTION' ELSE '' END, CASE WHEN h.k = 'default' THEN 'tables to come in '"
    "  || coalesce(h.space::regnamespace::text, 'every schema')"
    "  ELSE pg_describe_object(h.class, h.oid, h.sub) END,"
    " CASE WHEN h.k IN ('default', 'other default') THEN 'ALTER DEFAULT PRIVILEGES' ||"
    "   coalesce(' IN SCHEMA ' || nullif(h.space, 0)::regnamespace, '') || ' REVOKE ' || h.p ||"
    "   ' ON TABLES' ELSE 'REVOKE ' || h.p || CASE WHEN h.sub > 0 THEN (SELECT ' (' ||"
    "   quote_ident(attname) || ')' FROM pg_attribute WHERE attrelid = h.oid AND attnum = h.sub)"
    "   ELSE '' END || ' ON ' || upper(h.k) || ' ' || CASE h.k WHEN 'schema' THEN"
    "   h.oid::regnamespace::text WHEN 'function' THEN h.oid::regprocedure::text"
    "   WHEN 'type' THEN h.oid::regtype::text ELSE h.oid::regclass::text END END || ' FROM ' ||"
    "   coalesce(quote_ident(r.rolname), 'PUBLIC'),"
    " CASE WHEN h.grantee IN (SELECT oid FROM ours) THEN 'ours' WHEN h.grantee <> 0 AND"
    "   h.space IN (to_regnamespace('analytical_schema'),"
    "   to_regnamespace('data_visualization_schema')) THEN 'theirs' ELSE 'ours' END"
    " FROM have h LEFT JOIN pg_roles r ON r.oid = h.grantee"
    /* What the declared defaults gave a table, of a column each: it follows from them. */
    " WHERE h.again OR NOT EXISTS (SELECT FROM want w WHERE w.grantee = h.grantee AND w.p = h.p"
    "  AND ((w.k = h.k AND w.oid = h.oid AND w.sub = h.sub)"
    "   OR (w.k = 'default' AND h.k = 'table' AND w.oid = h.space)))"
    " ORDER BY 1, 2, 4, 3";

static bool
rows_add(struct check *c, const char *sql, const char *const *params, struct err *e)
{
	struct pg_result *r;

	if (!owner_query(c->pg, sql, params, &r, e))
		return false;
	for (unsigned i = 0; i < pg_rows(r); i++) {
		enum drift d = *pg_text(r, i, 5) == 't'	  ? DRIFT_NOTE
			       : *pg_text(r, i, 0) == 'm' ? DRIFT_MISSING
							  : DRIFT_EXTRA;
		check_add(c, d, pg_text(r, i, 4), "%s: %s on %s", pg_text(r, i, 1),
			  pg_text(r, i, 2), pg_text(r, i, 3));
	}
	pg_result_free(r);
	return true;
}

/* ---- roles ---- */

/*
 * Attributes, memberships, settings and possessions of Weir's roles. $1: logins, $2: groups, $3:
 * load. The owner may be a member: PostgreSQL 16 makes it one of the roles that it creates.
 */
static const char roles_sql[] =
    "WITH ours AS (SELECT n, false AS people FROM unnest($1::text[]) n"
    " UNION ALL SELECT n, true FROM unnest($2::text[]) n) "
    "SELECT 'missing', n, 'role ' || n || ' is not there', '' FROM ours"
    " WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = n) "
    "UNION ALL SELECT 'wrong', n, 'role ' || n || ': ' || w, 'ALTER ROLE ' || quote_ident(n) || "
    "' ' || s"
    " FROM ours JOIN pg_roles r ON r.rolname = n, LATERAL (VALUES"
    "  (rolsuper, 'superuser', 'NOSUPERUSER'), (rolcreaterole, 'may create roles', "
    "'NOCREATEROLE'),"
    "  (rolcreatedb, 'may create databases', 'NOCREATEDB'),"
    "  (rolreplication, 'may replicate', 'NOREPLICATION'),"
    "  (rolbypassrls, 'bypasses row security', 'NOBYPASSRLS'),"
    "  (people AND rolcanlogin, 'a group that can log in', 'NOLOGIN'),"
    "  (NOT people AND NOT rolcanlogin, 'a login that cannot log in', 'LOGIN')) v (bad, w, s)"
    " WHERE v.bad "
    "UNION ALL SELECT 'extra', m.rolname, m.rolname || ' is a member of ' || g.rolname,"
    "  'REVOKE ' || quote_ident(g.rolname) || ' FROM ' || quote_ident(m.rolname)"
    " FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = "
    "a.member"
    " WHERE (m.rolname IN (SELECT n FROM ours)"
    "  OR g.rolname IN (SELECT n FROM ours WHERE NOT people)) AND m.rolname <> current_user "
    "UNION ALL SELECT 'extra', r.rolname, r.rolname || ' is set ' || array_to_string(s.setconfig, "
    "', '),"
    "  'ALTER ROLE ' || quote_ident(r.rolname) || coalesce(' IN DATABASE ' || quote_ident(d.datname"
    "), '') || ' RESET ALL'"
    " FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d"
    "  ON d.oid = s.setdatabase WHERE r.rolname IN (SELECT n FROM ours) "
    "UNION ALL SELECT 'extra', r.rolname, r.rolname || ' owns ' ||"
    "  pg_describe_object(s.classid, s.objid, s.objsubid), 'REASSIGN OWNED BY ' ||"
    "  quote_ident(r.rolname) || ' TO ' || quote_ident(current_user)"
    " FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid AND s.refclassid = "
    "'pg_authid'::regclass"
    " WHERE s.deptype = 'o' AND r.rolname IN (SELECT n FROM ours) AND s.dbid IN (0, (SELECT oid"
    "  FROM pg_database WHERE datname = current_database()))"
    "  AND NOT EXISTS (SELECT FROM pg_class t WHERE s.classid = 'pg_class'::regclass AND"
    "  t.oid = s.objid AND t.relpersistence = 't') "
    "UNION ALL SELECT 'extra', r.rolname, r.rolname || ': ' || a.privilege_type || ' on database '"
    "  || d.datname, 'REVOKE ' || a.privilege_type || ' ON DATABASE ' || quote_ident(d.datname) ||"
    "  ' FROM ' || quote_ident(r.rolname)"
    " FROM pg_database d, aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee"
    " WHERE d.datname = current_database() AND r.rolname IN (SELECT n FROM ours)"
    "  AND (a.is_grantable OR NOT (a.privilege_type = 'CONNECT'"
    "   OR (a.privilege_type = 'TEMPORARY' AND r.rolname = $3))) "
    "UNION ALL SELECT 'extra', r.rolname, r.rolname || ': ' || a.privilege_type || ' on parameter '"
    "  || p.parname, 'REVOKE ' || a.privilege_type || ' ON PARAMETER ' || p.parname || ' FROM ' ||"
    "  quote_ident(r.rolname)"
    " FROM pg_parameter_acl p, aclexplode(p.paracl) a JOIN pg_roles r ON r.oid = a.grantee"
    " WHERE r.rolname IN (SELECT n FROM ours) AND (a.is_grantable OR NOT (a.privilege_type = 'SET'"
    "  AND p.parname = 'session_replication_role' AND r.rolname = $3))"
    " ORDER BY 1, 2, 3";

/* ---- what stands between a login and the tables behind its functions ---- */

/* Also: what others have put into Weir's schemas. */
static const char guards_sql[] =
    "SELECT 'wrong', '', 'function ' || p.oid::regprocedure || ' runs as its owner with the "
    "caller''s search_path', '' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
    " WHERE n.nspname IN ('admin_schema', 'key_schema') AND p.prosecdef"
    "  AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false) "
    "UNION ALL SELECT 'wrong', '', 'trigger ' || t || ' of key_schema.' || c || CASE WHEN g.oid IS"
    "  NULL THEN ' is not there: its rows can be changed' ELSE ' is disabled: its rows can be "
    "changed' END, CASE WHEN g.oid IS NULL THEN '' ELSE 'ALTER TABLE key_schema.' || c ||"
    "  ' ENABLE TRIGGER ' || t END"
    " FROM (VALUES ('stays', 'audit'), ('stays', 'policy'), ('stays_erased', 'subject')) v (t, c)"
    " LEFT JOIN pg_trigger g ON g.tgrelid = to_regclass('key_schema.' || c) AND g.tgname = t"
    " WHERE g.oid IS NULL OR g.tgenabled NOT IN ('O', 'A') "
    "UNION ALL SELECT 'extra', '', pg_describe_object(o.class, o.oid, 0) || ' belongs to ' ||"
    "  o.owner::regrole, '' FROM ("
    "  SELECT 'pg_class'::regclass AS class, oid, relnamespace AS space, relowner AS owner FROM "
    "pg_class"
    "   WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
    "  UNION ALL SELECT 'pg_proc', oid, pronamespace, proowner FROM pg_proc) o"
    " JOIN pg_namespace n ON n.oid = o.space WHERE n.nspname IN ('admin_schema',"
    "  'analytical_schema', 'development_schema', 'data_visualization_schema', 'key_schema')"
    "  AND o.owner <> n.nspowner AND o.owner <> current_user::regrole "
    "UNION ALL SELECT 'extra', '', 'PUBLIC: CREATE on schema public', 'REVOKE CREATE ON SCHEMA "
    "public FROM PUBLIC' WHERE has_schema_privilege('public', to_regnamespace('public')::oid, "
    "'CREATE')"
    " ORDER BY 1, 3";

static bool
facts_add(struct check *c, const char *sql, const char *const *params, struct err *e)
{
	struct pg_result *r;

	if (!owner_query(c->pg, sql, params, &r, e))
		return false;
	for (unsigned i = 0; i < pg_rows(r); i++) {
		const char *kind = pg_text(r, i, 0);
		check_add(c,
			  *kind == 'm'	 ? DRIFT_MISSING
			  : *kind == 'e' ? DRIFT_EXTRA
					 : DRIFT_WRONG,
			  pg_text(r, i, 3), "%s", pg_text(r, i, 2));
	}
	pg_result_free(r);
	return true;
}

/* ---- all of it ---- */

/* Logins of every pipeline here: those of others are theirs to check. */
static bool
logins_all(struct check *c, struct buf *out, struct err *e)
{
	struct buf sql = {0};
	struct pg_result *r;

	buf_text(&sql, "SELECT coalesce(array_agg('weir_' || name || '_' || s), '{}')"
		       " FROM admin_schema.pipeline, unnest('{");
	for (unsigned i = 0; i < LOGIN_MAX; i++)
		buf_printf(&sql, "%s%s", i ? "," : "", ddl_logins[i].suffix);
	buf_text(&sql, "}'::text[]) s WHERE name <> ");
	pg_quote_text(&sql, c->model->pipeline.s);
	bool good = pg_exec(c->pg, buf_cstr(&sql), &r, e);
	buf_free(&sql);
	if (!good)
		return false;
	buf_text(out, pg_text(r, 0, 0));
	pg_result_free(r);
	return true;
}

struct roles {
	struct buf logins, unused, groups, all, others;
	struct name load;
};

static bool
roles_list(struct check *c, struct roles *r, struct err *e)
{
	struct name name;

	for (unsigned i = 0; i < LOGIN_MAX; i++) {
		if (!ddl_login_name(c->model, i, &name, e))
			return false;
		element_add(ddl_login_used(c->model, i) ? &r->logins : &r->unused, name.s);
		element_add(&r->all, name.s);
		r->load = i == LOGIN_LOAD ? name : r->load;
		c->examined++;
	}
	for (unsigned i = 0; i < GROUP_MAX; i++) {
		element_add(&r->groups, ddl_groups[i].name);
		element_add(&r->all, ddl_groups[i].name);
		c->examined++;
	}
	buf_text(&r->logins, "}");
	buf_text(&r->groups, "}");
	buf_text(&r->all, "}");
	buf_text(&r->unused, r->unused.len ? "}" : "{}");
	return logins_all(c, &r->others, e);
}

static bool
roles_check(struct check *c, struct roles *r, struct err *e)
{
	const char *const known[] = {buf_cstr(&r->logins), buf_cstr(&r->groups), r->load.s, NULL};
	const char *const unused[] = {buf_cstr(&r->unused), NULL};

	return facts_add(c, roles_sql, known, e) &&
	       facts_add(c,
			 "SELECT 'extra', rolname, 'login ' || rolname || ', which a pipeline that "
			 "seals nothing does not use', 'DROP ROLE ' || quote_ident(rolname)"
			 " FROM pg_roles WHERE rolname = ANY ($1::text[]) ORDER BY 2",
			 unused, e) &&
	       facts_add(c, guards_sql, NULL, e);
}

bool
check_grants(struct check *c, struct err *e)
{
	struct wanted w = {.check = c};
	struct roles r = {0};

	bool good = ddl_grants(c->model, want_visit, &w, e) && roles_list(c, &r, e);
	for (unsigned i = 0; i < WANT_MAX; i++)
		buf_byte(&w.arrays[i], '}');
	const char *const params[] = {buf_cstr(&w.arrays[WANT_GRANTEE]),
				      buf_cstr(&w.arrays[WANT_KIND]),
				      buf_cstr(&w.arrays[WANT_OBJECT]),
				      buf_cstr(&w.arrays[WANT_COLUMN]),
				      buf_cstr(&w.arrays[WANT_PRIVILEGE]),
				      buf_cstr(&r.all),
				      buf_cstr(&r.others),
				      NULL};
	good = good && rows_add(c, rights_sql, params, e) && roles_check(c, &r, e);
	for (unsigned i = 0; i < WANT_MAX; i++)
		buf_free(&w.arrays[i]);
	buf_free(&r.logins);
	buf_free(&r.unused);
	buf_free(&r.groups);
	buf_free(&r.all);
	buf_free(&r.others);
	return good;
}
