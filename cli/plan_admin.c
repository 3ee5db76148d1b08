/* plan: what comes before the tables: migrations of admin_schema, schemas, groups, the pipeline's
 * row. */
#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "owner.h"
#include "sql/migrations.h"

/* ---- migrations ---- */

static void
migration_add(struct plan *p, const struct migration *m)
{
	struct buf sql = {0};

	buf_text(&sql, m->text);
	buf_printf(&sql,
		   "\nINSERT INTO admin_schema.migration (number, name, digest, version) VALUES "
		   "(%u, ",
		   m->number);
	pg_quote_text(&sql, m->name);
	buf_text(&sql, ", sha256(convert_to(");
	pg_quote_text(&sql, m->text);
	buf_text(&sql, ", 'UTF8')), '" WEIR_VERSION "')");
	plan_add(p, '+', &sql, "migration %u of admin_schema: %s", m->number, m->name);
}

static bool
migration_check(struct plan *p, const struct migration *m, bool *there, struct err *e)
{
	char number[16];
	const char *const params[] = {number, m->text, NULL};
	struct pg_result *r;

	snprintf(number, sizeof number, "%u", m->number);
	if (!owner_query(p->pg,
			 "SELECT digest = sha256(convert_to($2, 'UTF8'))"
			 " FROM admin_schema.migration WHERE number = $1::int",
			 params, &r, e))
		return false;
	*there = pg_rows(r) == 1;
	if (*there && *pg_text(r, 0, 0) != 't')
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "migration %u (%s) of admin_schema is not the one that was applied "
			      "here; use the "
			      "version of Weir that made this warehouse",
			      m->number, m->name);
	pg_result_free(r);
	return true;
}

static bool
migrations_newer(struct plan *p, struct err *e)
{
	struct pg_result *r;

	if (!pg_exec(p->pg,
		     "SELECT number, name, version FROM admin_schema.migration"
		     " ORDER BY number DESC LIMIT 1",
		     &r, e))
		return false;
	if (pg_rows(r) && pg_int(r, 0, 0) > migrations_n)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "admin_schema was changed by a newer Weir (migration %s, %s, by %s); "
			      "this is %s",
			      pg_text(r, 0, 0), pg_text(r, 0, 1), pg_text(r, 0, 2), WEIR_VERSION);
	pg_result_free(r);
	return true;
}

static bool
plan_migrations(struct plan *p, struct err *e)
{
	for (unsigned i = 0; i < migrations_n; i++) {
		bool there = false;
		if (p->admin_there && !migration_check(p, &migrations[i], &there, e))
			return false;
		if (!there)
			migration_add(p, &migrations[i]);
	}
	return !p->admin_there || migrations_newer(p, e);
}

/* ---- schemas and groups ---- */

static bool
plan_schema(struct plan *p, const struct ddl_schema_row *s, struct err *e)
{
	const char *const params[] = {s->name, NULL};
	struct buf sql = {0};
	bool there;

	if (!plan_ask(p, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", params,
		      &there, e))
		return false;
	if (there)
		return true;
	buf_printf(&sql, "CREATE SCHEMA %s;\nCOMMENT ON SCHEMA %s IS ", s->name, s->name);
	pg_quote_text(&sql, s->comment);
	plan_add(p, '+', &sql, "schema %s", s->name);
	return true;
}

static bool
plan_group(struct plan *p, const struct ddl_group_row *g, struct err *e)
{
	const char *const params[] = {g->name, NULL};
	struct buf sql = {0};
	bool there;

	if (!plan_ask(p, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", params, &there,
		      e))
		return false;
	if (there)
		return true;
	if (!p->may_create_role) {
		plan_role_refuse(p, "group", g->name);
		return true;
	}
	buf_printf(&sql, "CREATE ROLE %s NOLOGIN", g->name);
	plan_add(p, '+', &sql, "group %s (no login; %s)", g->name, g->words);
	return true;
}

bool
plan_admin(struct plan *p, struct err *e)
{
	if (!p->may_create_schema && !p->admin_there)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "schemas: the owner may not create any; as administrator: GRANT "
			      "CREATE ON DATABASE %s TO %s",
			      buf_cstr(&p->database), buf_cstr(&p->owner));
	if (!plan_migrations(p, e))
		return false;
	for (unsigned i = 0; i < SCHEMA_MAX; i++)
		if (i != SCHEMA_ADMIN && i != SCHEMA_KEY && !plan_schema(p, &ddl_schemas[i], e))
			return false;
	for (unsigned i = 0; i < GROUP_MAX; i++)
		if (!plan_group(p, &ddl_groups[i], e))
			return false;
	return true;
}

/* ---- the pipeline's row ---- */

/* "case_id", or "application=case_id,offer=application_no" where sources differ. */
static void
correlated_by(const struct model *m, struct buf *out)
{
	const char *first = NULL;
	bool same = true;

	for (unsigned i = 0; i < m->sources_n; i++) {
		const struct source *s = &m->sources[i];
		if (s->reference || s->key_field < 0)
			continue;
		const char *name = s->fields[s->key_field].name.s;
		same &= !first || !strcmp(first, name);
		first = first ? first : name;
		buf_printf(out, "%s%s=%s", out->len ? "," : "", s->name.s, name);
	}
	if (same && first) {
		buf_clear(out);
		buf_text(out, first);
	}
}

static void
pipeline_add(struct plan *p, const char *by)
{
	const struct model *m = p->model;
	struct buf sql = {0};

	/* The key is made by the server: it never travels and stands in no statement. */
	buf_text(&sql,
		 "INSERT INTO admin_schema.pipeline (id, name, g, hash_key, correlated_by) SELECT "
		 "coalesce(max(id), 0) + 1, ");
	pg_quote_text(&sql, m->pipeline.s);
	buf_printf(&sql,
		   ", %u, substring(sha256(uuid_send(gen_random_uuid()) || "
		   "uuid_send(gen_random_uuid())) FOR 16), ",
		   m->groups);
	pg_quote_text(&sql, by);
	buf_text(&sql, " FROM admin_schema.pipeline");
	plan_add(p, '+', &sql, "pipeline %s: %u key groups, correlated by %s, a random hash key",
		 m->pipeline.s, m->groups, by);
}

/* What cannot change in the life of a pipeline. */
static void
pipeline_compare(struct plan *p, int64_t groups, const char *was, const char *by)
{
	const struct model *m = p->model;

	if (groups != m->groups)
		plan_add_kind(
		    p, CHANGE_REFUSED, '!', NULL,
		    "groups: pipeline %s was created with %lld key groups, the file says %u, and "
		    "that "
		    "cannot change; write `groups: %lld`, or give the pipeline another name",
		    m->pipeline.s, (long long)groups, m->groups, (long long)groups);
	if (*was && strcmp(was, by))
		plan_add_kind(
		    p, CHANGE_REFUSED, '!', NULL,
		    "correlate.by: pipeline %s was created with \"%s\", the file says \"%s\", and "
		    "that "
		    "cannot change: stored processes would not be found again; give the pipeline "
		    "another name",
		    m->pipeline.s, was, by);
}

static bool
pipeline_row(struct plan *p, const char *by, struct err *e)
{
	const char *const params[] = {p->model->pipeline.s, NULL};
	struct pg_result *r;

	if (!p->admin_there) {
		pipeline_add(p, by);
		return true;
	}
	if (!owner_query(p->pg,
			 "SELECT id, g, correlated_by FROM admin_schema.pipeline WHERE name = $1",
			 params, &r, e))
		return false;
	if (pg_rows(r)) {
		p->pipeline = pg_int(r, 0, 0);
		pipeline_compare(p, pg_int(r, 0, 1), pg_text(r, 0, 2), by);
	} else {
		pipeline_add(p, by);
	}
	pg_result_free(r);
	return true;
}

/* ---- its sources ---- */

static void
source_add(struct plan *p, const struct source *s)
{
	struct buf sql = {0};
	const char *at = strchr(s->label, '@'), *hash = strrchr(s->label, '#');
	char cluster[sizeof s->label], generation[sizeof s->label];

	check(at && hash && at < hash); /* name@cluster#generation, made by conf */
	snprintf(cluster, sizeof cluster, "%.*s", (int)(hash - at - 1), at + 1);
	snprintf(generation, sizeof generation, "%s", hash + 1);
	buf_text(&sql,
		 "INSERT INTO admin_schema.source (pipeline, id, name, cluster, generation, label)"
		 " SELECT p.id, coalesce((SELECT max(id) FROM admin_schema.source s"
		 " WHERE s.pipeline = p.id), 0) + 1, ");
	pg_quote_text(&sql, s->name.s);
	buf_text(&sql, ", ");
	pg_quote_text(&sql, cluster);
	buf_text(&sql, ", ");
	pg_quote_text(&sql, generation);
	buf_text(&sql, ", ");
	pg_quote_text(&sql, s->label);
	buf_text(&sql, " FROM admin_schema.pipeline p WHERE p.name = ");
	pg_quote_text(&sql, p->model->pipeline.s);
	plan_add(p, '+', &sql, "source %s (%s)", s->name.s, s->label);
}

static bool
source_row(struct plan *p, const struct source *s, struct err *e)
{
	char id[32];
	const char *const params[] = {id, s->label, NULL};
	bool there = false;

	snprintf(id, sizeof id, "%lld", (long long)p->pipeline);
	if (p->pipeline &&
	    !plan_ask(p,
		      "SELECT EXISTS (SELECT FROM admin_schema.source WHERE pipeline = $1::int "
		      "AND label = $2)",
		      params, &there, e))
		return false;
	if (!there)
		source_add(p, s);
	return true;
}

bool
plan_pipeline(struct plan *p, struct err *e)
{
	struct buf by = {0};

	correlated_by(p->model, &by);
	bool good = pipeline_row(p, buf_cstr(&by), e);
	for (unsigned i = 0; good && i < p->model->sources_n; i++)
		good = source_row(p, &p->model->sources[i], e);
	buf_free(&by);
	return good;
}
