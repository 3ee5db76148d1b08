/* ddl: who may do what. The tables below are all of it; a test logs in as each and tries the rest.
 */
#include "ddl.h"

#include <stdio.h>
#include <string.h>

#include "ddl_aggregate.h"
#include "log.h"
#include "pg.h"

enum { STATE_SLOTS = 8 };

const struct ddl_login_row ddl_logins[LOGIN_MAX] = {
    [LOGIN_LOAD] = {"load", "commits batches; reads back keys and versions only"},
    [LOGIN_STATE] = {"state", "reads process state"},
    [LOGIN_TASK] = {"task", "empties state segments, makes partitions, rebuilds aggregates"},
    [LOGIN_OPERATOR] = {"operator", "reads bookkeeping; no value of an event, no key"},
    [LOGIN_KEEPER] = {"keeper",
		      "publishes key envelopes, asks secrets of persons; three functions"},
    [LOGIN_RELEASE] = {"release", "opens for hand-overs: development schema, audited release"},
};

const struct ddl_group_row ddl_groups[GROUP_MAX] = {
    [GROUP_ANALYSTS] = {"data_analysts", "read dimensions, facts and aggregates"},
    [GROUP_SCIENTISTS] = {"data_scientists",
			  "read the development schema; open by audited release"},
    [GROUP_BUSINESS] = {"business_analysts", "read aggregates"},
    [GROUP_BI] = {"bi", "for BI tools: read aggregates"},
    [GROUP_OPERATORS] = {"operators", "read bookkeeping; no value of an event, no key"},
};

/* A grantee: a login or, from here on, a group. */
#define GROUP(g) ((unsigned)LOGIN_MAX + (unsigned)(g))
enum {
	SCIENTISTS = (int)LOGIN_MAX + (int)GROUP_SCIENTISTS,
	GRANTEES_MAX = (int)LOGIN_MAX + (int)GROUP_MAX
};

#define POLICY	"policy_current(text)"
#define REQUEST "request(text, bytea[], bytea[], text)"
#define FETCH	"fetch(uuid)"

/* Weir's own schemas; the heads of tables and functions in sql/ say why. */
static const struct rule {
	unsigned who;
	enum ddl_schema schema;
	enum ddl_object kind;
	const char *object, *privilege;
	const char *columns[DDL_GRANT_COLUMNS_MAX + 1];
} rules[] = {
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_SEQUENCE, "epoch", "USAGE", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "pipeline", "SELECT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "instance", "SELECT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "instance", "INSERT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "instance", "UPDATE", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "replica", "SELECT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "replica", "INSERT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "replica", "UPDATE", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "replica", "DELETE", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "shard", "SELECT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "shard", "INSERT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "shard", "UPDATE", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "key_range", "SELECT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "key_range", "INSERT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "key_range", "UPDATE", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "key_range", "DELETE", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "source", "SELECT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "source", "INSERT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "partition", "SELECT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "partition", "INSERT", {NULL}},
    {LOGIN_LOAD,
     SCHEMA_ADMIN,
     OBJECT_TABLE,
     "partition",
     "UPDATE",
     {"done_at", "next", "bytes", NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "state", "SELECT", {"pipeline", "build", NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "state_%u", "INSERT", {NULL}},
    {LOGIN_LOAD,
     SCHEMA_ADMIN,
     OBJECT_TABLE,
     "dead_letter",
     "SELECT",
     {"pipeline", "build", "rid", NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "dead_letter", "INSERT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "dead_letter", "DELETE", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "run", "SELECT", {"pipeline", "id", NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "run", "INSERT", {NULL}},
    {LOGIN_LOAD, SCHEMA_ADMIN, OBJECT_TABLE, "run", "UPDATE", {NULL}},

    {LOGIN_STATE,
     SCHEMA_ADMIN,
     OBJECT_TABLE,
     "pipeline",
     "SELECT",
     {"id", "name", "g", "live_build", NULL}},
    {LOGIN_STATE, SCHEMA_ADMIN, OBJECT_TABLE, "state", "SELECT", {NULL}},

    {LOGIN_TASK,
     SCHEMA_ADMIN,
     OBJECT_TABLE,
     "pipeline",
     "SELECT",
     {"id", "name", "live_build", "segment", NULL}},
    {LOGIN_TASK, SCHEMA_ADMIN, OBJECT_TABLE, "pipeline", "UPDATE", {"segment", NULL}},
    {LOGIN_TASK, SCHEMA_ADMIN, OBJECT_TABLE, "shard", "SELECT", {NULL}},
    {LOGIN_TASK, SCHEMA_ADMIN, OBJECT_TABLE, "shard", "DELETE", {NULL}},
    {LOGIN_TASK, SCHEMA_ADMIN, OBJECT_TABLE, "key_range", "SELECT", {NULL}},
    {LOGIN_TASK,
     SCHEMA_ADMIN,
     OBJECT_TABLE,
     "state",
     "SELECT",
     {"pipeline", "build", "key", "epoch", "batch", "segment", NULL}},
    {LOGIN_TASK,
     SCHEMA_ADMIN,
     OBJECT_TABLE,
     "state_%u",
     "SELECT",
     {"pipeline", "build", "key", "epoch", "batch", "segment", NULL}},
    {LOGIN_TASK, SCHEMA_ADMIN, OBJECT_TABLE, "state_%u", "TRUNCATE", {NULL}},
    {LOGIN_TASK, SCHEMA_ADMIN, OBJECT_TABLE, "run", "SELECT", {NULL}},
    {LOGIN_TASK, SCHEMA_ADMIN, OBJECT_TABLE, "run", "DELETE", {NULL}},
    {LOGIN_TASK, SCHEMA_ADMIN, OBJECT_TABLE, "aggregate", "SELECT", {NULL}},
    {LOGIN_TASK, SCHEMA_ADMIN, OBJECT_TABLE, "aggregate", "UPDATE", {"built_at", "rows", NULL}},
    {LOGIN_TASK, SCHEMA_ADMIN, OBJECT_FUNCTION, "raw_partitions(text)", "EXECUTE", {NULL}},

#define PUBLISH                                                                                    \
	"publish_envelope(text, bytea, text, timestamp with time zone, timestamp with time zone, " \
	"bytea, bytea[], bytea[])"
    {LOGIN_KEEPER, SCHEMA_KEY, OBJECT_FUNCTION, PUBLISH, "EXECUTE", {NULL}},
    {LOGIN_KEEPER,
     SCHEMA_KEY,
     OBJECT_FUNCTION,
     "subject_secrets(text, bytea[])",
     "EXECUTE",
     {NULL}},
    {LOGIN_KEEPER, SCHEMA_KEY, OBJECT_FUNCTION, "pipeline_facts(text)", "EXECUTE", {NULL}},

    {LOGIN_RELEASE, SCHEMA_KEY, OBJECT_FUNCTION, POLICY, "EXECUTE", {NULL}},
    {LOGIN_RELEASE, SCHEMA_KEY, OBJECT_FUNCTION, REQUEST, "EXECUTE", {NULL}},
    {LOGIN_RELEASE, SCHEMA_KEY, OBJECT_FUNCTION, FETCH, "EXECUTE", {NULL}},
    {LOGIN_RELEASE,
     SCHEMA_KEY,
     OBJECT_FUNCTION,
     "audit_write(text, text, text, jsonb)",
     "EXECUTE",
     {NULL}},

    {SCIENTISTS, SCHEMA_KEY, OBJECT_FUNCTION, POLICY, "EXECUTE", {NULL}},
    {SCIENTISTS, SCHEMA_KEY, OBJECT_FUNCTION, REQUEST, "EXECUTE", {NULL}},
    {SCIENTISTS, SCHEMA_KEY, OBJECT_FUNCTION, FETCH, "EXECUTE", {NULL}},
};

/*
 * What the operator login and the group operators read in admin_schema: how it goes, never what an
 * event said (bodies), who it was (sid), or a key.
 */
static const struct {
	const char *object;
	const char *columns[DDL_GRANT_COLUMNS_MAX + 1];
} operator_reads[] = {
    {"migration", {NULL}},
    {"pipeline",
     {"id", "name", "g", "policy_serial", "live_build", "segment", "correlated_by", "created_at",
      "applied_at", NULL}},
    {"instance", {NULL}},
    {"replica", {NULL}},
    {"shard", {NULL}},
    {"key_range", {NULL}},
    {"source", {NULL}},
    {"partition", {NULL}},
    {"state",
     {"pipeline", "build", "segment", "key", "kg", "epoch", "batch", "check_at", "tombstone",
      NULL}},
    {"dead_letter",
     {"pipeline", "build", "rid", "source", "partition", "position", "stage", "reason", "at",
      "class", "digest", NULL}},
    {"run", {NULL}},
    {"raw_table", {NULL}},
    {"aggregate", {NULL}},
};

/* Which schemas each login and each group may enter. */
static const bool schemas[GRANTEES_MAX][SCHEMA_MAX] = {
    [LOGIN_LOAD] = {[SCHEMA_ADMIN] = true, [SCHEMA_ANALYTICAL] = true, [SCHEMA_DEVELOPMENT] = true},
    [LOGIN_STATE] = {[SCHEMA_ADMIN] = true},
    [LOGIN_TASK] = {[SCHEMA_ADMIN] = true},
    [LOGIN_OPERATOR] = {[SCHEMA_ADMIN] = true},
    [LOGIN_KEEPER] = {[SCHEMA_KEY] = true},
    [LOGIN_RELEASE] = {[SCHEMA_KEY] = true, [SCHEMA_DEVELOPMENT] = true},
    [GROUP(GROUP_ANALYSTS)] = {[SCHEMA_ANALYTICAL] = true, [SCHEMA_VISUALIZATION] = true},
    [GROUP(GROUP_SCIENTISTS)] = {[SCHEMA_KEY] = true, [SCHEMA_DEVELOPMENT] = true},
    [GROUP(GROUP_BUSINESS)] = {[SCHEMA_VISUALIZATION] = true},
    [GROUP(GROUP_BI)] = {[SCHEMA_VISUALIZATION] = true},
    [GROUP(GROUP_OPERATORS)] = {[SCHEMA_ADMIN] = true},
};

/* Who reads all tables of a schema, those that the owner makes later included. */
static const struct {
	enum ddl_group group;
	enum ddl_schema schema;
	const char *privilege;
} readers[] = {
    {GROUP_ANALYSTS, SCHEMA_ANALYTICAL, "SELECT"},
    /* REFERENCES shows keys to BI tools, which ask information_schema. */
    {GROUP_ANALYSTS, SCHEMA_ANALYTICAL, "REFERENCES"},
    {GROUP_ANALYSTS, SCHEMA_VISUALIZATION, "SELECT"},
    {GROUP_SCIENTISTS, SCHEMA_DEVELOPMENT, "SELECT"},
    {GROUP_BUSINESS, SCHEMA_VISUALIZATION, "SELECT"},
    {GROUP_BI, SCHEMA_VISUALIZATION, "SELECT"},
};

struct granting {
	const struct model *m;
	bool (*visit)(void *ctx, const struct ddl_grant *g, struct err *e);
	void *ctx;
	struct err *e;
	struct name who[GRANTEES_MAX];
};

bool
ddl_login_used(const struct model *m, enum ddl_login login)
{
	if (login == LOGIN_KEEPER)
		return m->classes_n > 0 || model_exchange(m);
	return login != LOGIN_RELEASE || m->classes_n > 0;
}

bool
ddl_login_name(const struct model *m, enum ddl_login login, struct name *out, struct err *e)
{
	int n =
	    snprintf(out->s, sizeof out->s, "weir_%s_%s", m->pipeline.s, ddl_logins[login].suffix);

	if (n >= (int)sizeof out->s)
		return err_set(
		    e, EXIT_CONFIG,
		    "the pipeline's name is too long: its logins would have more than %d bytes",
		    NAME_BYTES_MAX);
	return true;
}

/* Of a function, the types after its name are left as they are. */
static void
object_set(struct ddl_grant *g, enum ddl_schema schema, const char *object)
{
	struct buf b = {0};

	pg_quote_name(&b, ddl_schemas[schema].name);
	if (object) {
		const char *types = g->kind == OBJECT_FUNCTION ? strchr(object, '(') : NULL;
		char name[NAME_BYTES_MAX + 1];
		snprintf(name, sizeof name, "%.*s", types ? (int)(types - object) : NAME_BYTES_MAX,
			 object);
		buf_byte(&b, '.');
		pg_quote_name(&b, name);
		buf_text(&b, types ? types : "");
	}
	check(b.len < sizeof g->object);
	snprintf(g->object, sizeof g->object, "%s", buf_cstr(&b));
	buf_free(&b);
}

/* One privilege of one grantee, unless the pipeline has no such login. */
static bool
grant(struct granting *x, struct ddl_grant *g, unsigned who, const char *privilege)
{
	if (who < LOGIN_MAX && !ddl_login_used(x->m, who))
		return true;
	g->grantee = x->who[who];
	g->privilege = privilege;
	return x->visit(x->ctx, g, x->e);
}

static bool
schema_grants(struct granting *x)
{
	for (unsigned w = 0; w < GRANTEES_MAX; w++)
		for (unsigned s = 0; s < SCHEMA_MAX; s++) {
			struct ddl_grant g = {.kind = OBJECT_SCHEMA};
			object_set(&g, s, NULL);
			if (schemas[w][s] && !grant(x, &g, w, "USAGE"))
				return false;
		}
	for (unsigned i = 0; i < sizeof readers / sizeof *readers; i++) {
		struct ddl_grant g = {.kind = OBJECT_DEFAULT};
		object_set(&g, readers[i].schema, NULL);
		if (!grant(x, &g, GROUP(readers[i].group), readers[i].privilege))
			return false;
	}
	return true;
}

static bool
rule_grants(struct granting *x, const struct rule *r)
{
	bool slots = strstr(r->object, "%u") != NULL;

	for (unsigned slot = 0; slot < (slots ? STATE_SLOTS : 1); slot++) {
		struct ddl_grant g = {.kind = r->kind};
		char name[NAME_BYTES_MAX + 1];
		snprintf(name, sizeof name, "state_%u", slot);
		object_set(&g, r->schema, slots ? name : r->object);
		memcpy(g.columns, r->columns, sizeof g.columns);
		if (!grant(x, &g, r->who, r->privilege))
			return false;
	}
	return true;
}

static bool
operator_grants(struct granting *x)
{
	for (unsigned i = 0; i < sizeof operator_reads / sizeof *operator_reads; i++) {
		struct ddl_grant g = {.kind = OBJECT_TABLE};
		object_set(&g, SCHEMA_ADMIN, operator_reads[i].object);
		memcpy(g.columns, operator_reads[i].columns, sizeof g.columns);
		if (!grant(x, &g, LOGIN_OPERATOR, "SELECT") ||
		    !grant(x, &g, GROUP(GROUP_OPERATORS), "SELECT"))
			return false;
	}
	return true;
}

/*
 * What load reads back of a table: what its merge compares, and nothing else. A fact of events is
 * only added to.
 */
static unsigned
columns_read(const struct table *t, const char **columns)
{
	unsigned n = 0;

	switch (t->kind) {
	case TABLE_FACT:
		if (t->grain == GRAIN_PROCESS) {
			columns[n++] = t->key.s;
			columns[n++] = "revision";
		} else if (t->unique) {
			columns[n++] = "rid";
		}
		break;
	case TABLE_DIMENSION:
		columns[n++] = t->surrogate.s;
		columns[n++] = t->key.s;
		columns[n++] = "inferred";
		columns[n++] = "version_at";
		columns[n++] = "version_rid";
		break;
	case TABLE_RAW:
		break;
	case TABLE_SEALED_PROCESS:
		columns[n++] = t->key.s;
		columns[n++] = "revision";
		break;
	case TABLE_CALENDAR: /* the per-batch check of foreign keys */
		columns[n++] = t->surrogate.s;
		break;
	}
	return n;
}

/* The groups that read the schema. */
static bool
reader_grants(struct granting *x, struct ddl_grant *g, enum ddl_schema schema)
{
	for (unsigned i = 0; i < sizeof readers / sizeof *readers; i++)
		if (readers[i].schema == schema &&
		    !grant(x, g, GROUP(readers[i].group), readers[i].privilege))
			return false;
	return true;
}

static bool
table_grants(struct granting *x, const struct table *t)
{
	struct ddl_grant g = {.kind = OBJECT_TABLE};
	bool development = t->kind == TABLE_RAW || t->kind == TABLE_SEALED_PROCESS;
	bool merged = t->kind == TABLE_DIMENSION || t->kind == TABLE_SEALED_PROCESS ||
		      (t->kind == TABLE_FACT && t->grain == GRAIN_PROCESS);
	enum ddl_schema schema = development ? SCHEMA_DEVELOPMENT : SCHEMA_ANALYTICAL;

	object_set(&g, schema, t->name.s);
	if (t->kind != TABLE_CALENDAR && !grant(x, &g, LOGIN_LOAD, "INSERT"))
		return false;
	if (merged && !grant(x, &g, LOGIN_LOAD, "UPDATE"))
		return false;
	if (columns_read(t, g.columns) && !grant(x, &g, LOGIN_LOAD, "SELECT"))
		return false;
	memset(g.columns, 0, sizeof g.columns);
	if (development && !grant(x, &g, LOGIN_RELEASE, "SELECT"))
		return false;
	return reader_grants(x, &g, schema);
}

static bool
aggregate_grants(struct granting *x, const struct aggregate *a)
{
	struct ddl_grant table = {.kind = OBJECT_TABLE}, function = {.kind = OBJECT_FUNCTION};
	struct buf b = {0};

	ddl_aggregate_function_name(x->m, a, &b);
	snprintf(function.object, sizeof function.object, "%s", buf_cstr(&b));
	buf_free(&b);
	object_set(&table, SCHEMA_VISUALIZATION, a->name.s);
	return grant(x, &function, LOGIN_TASK, "EXECUTE") &&
	       reader_grants(x, &table, SCHEMA_VISUALIZATION);
}

bool
ddl_grants(const struct model *m,
	   bool (*visit)(void *ctx, const struct ddl_grant *g, struct err *e), void *ctx,
	   struct err *e)
{
	struct granting x = {.m = m, .visit = visit, .ctx = ctx, .e = e};

	for (unsigned l = 0; l < LOGIN_MAX; l++)
		if (!ddl_login_name(m, l, &x.who[l], e))
			return false;
	for (unsigned g = 0; g < GROUP_MAX; g++)
		snprintf(x.who[GROUP(g)].s, sizeof x.who->s, "%s", ddl_groups[g].name);
	if (!schema_grants(&x) || !operator_grants(&x))
		return false;
	for (unsigned i = 0; i < sizeof rules / sizeof *rules; i++)
		if (!rule_grants(&x, &rules[i]))
			return false;
	for (unsigned t = 0; t < m->tables_n; t++)
		if (!table_grants(&x, &m->tables[t]))
			return false;
	for (unsigned a = 0; a < m->aggregates_n; a++)
		if (!aggregate_grants(&x, &m->aggregates[a]))
			return false;
	return true;
}

void
ddl_grant(const struct ddl_grant *g, struct buf *out)
{
	static const char *const kinds[] = {"SCHEMA", "TABLE", "SEQUENCE", "FUNCTION"};

	if (g->kind == OBJECT_DEFAULT)
		buf_printf(out, "ALTER DEFAULT PRIVILEGES IN SCHEMA %s ", g->object);
	buf_printf(out, "GRANT %s", g->privilege);
	for (unsigned i = 0; g->columns[i]; i++) {
		buf_text(out, i ? ", " : " (");
		pg_quote_name(out, g->columns[i]);
	}
	if (g->kind == OBJECT_DEFAULT)
		buf_text(out, " ON TABLES TO ");
	else
		buf_printf(out, "%s ON %s %s TO ", g->columns[0] ? ")" : "", kinds[g->kind],
			   g->object);
	pg_quote_name(out, g->grantee.s);
}
