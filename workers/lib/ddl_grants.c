/* ddl: who may do what. The tables below are all of it; a test logs in as each and tries the rest.
 */
#include "ddl.h"

#include <stdio.h>
#include <string.h>

#include "pg.h"

enum { STATE_SLOTS = 8 };

const struct ddl_login_row ddl_logins[LOGIN_MAX] = {
    [LOGIN_LOAD] = {"load", "commits batches; reads back keys and versions only"},
    [LOGIN_STATE] = {"state", "reads process state"},
    [LOGIN_TASK] = {"task", "empties state segments, drops old bookkeeping"},
};

const struct ddl_group_row ddl_groups[GROUP_MAX] = {
    [GROUP_ANALYSTS] = {"data_analysts", "read dimensions and facts"},
    [GROUP_SCIENTISTS] = {"data_scientists", "read the development schema"},
    [GROUP_BUSINESS] = {"business_analysts", "read the visualization schema"},
};

/* What Weir's logins may do in admin_schema; the heads of the tables in sql/ say why. */
static const struct {
	enum ddl_login login;
	enum ddl_object kind;
	const char *object, *privilege;
	const char *columns[DDL_GRANT_COLUMNS_MAX + 1];
} admin_grants[] = {
    {LOGIN_LOAD, OBJECT_SEQUENCE, "epoch", "USAGE", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "pipeline", "SELECT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "instance", "SELECT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "instance", "INSERT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "instance", "UPDATE", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "shard", "SELECT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "shard", "INSERT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "shard", "UPDATE", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "key_range", "SELECT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "key_range", "INSERT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "key_range", "UPDATE", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "source", "SELECT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "source", "INSERT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "partition", "SELECT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "partition", "INSERT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "partition", "UPDATE", {"done_at", "next", "bytes", NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "state", "SELECT", {"pipeline", "build", NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "state_%u", "INSERT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "dead_letter", "SELECT", {"pipeline", "build", "rid", NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "dead_letter", "INSERT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "run", "SELECT", {"pipeline", "id", NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "run", "INSERT", {NULL}},
    {LOGIN_LOAD, OBJECT_TABLE, "run", "UPDATE", {NULL}},

    {LOGIN_STATE, OBJECT_TABLE, "pipeline", "SELECT", {"id", "name", "g", "live_build", NULL}},
    {LOGIN_STATE, OBJECT_TABLE, "state", "SELECT", {NULL}},

    {LOGIN_TASK, OBJECT_TABLE, "pipeline", "SELECT", {"id", "name", "live_build", "segment", NULL}},
    {LOGIN_TASK, OBJECT_TABLE, "pipeline", "UPDATE", {"segment", NULL}},
    {LOGIN_TASK, OBJECT_TABLE, "shard", "SELECT", {NULL}},
    {LOGIN_TASK, OBJECT_TABLE, "shard", "DELETE", {NULL}},
    {LOGIN_TASK, OBJECT_TABLE, "key_range", "SELECT", {NULL}},
    {LOGIN_TASK,
     OBJECT_TABLE,
     "state",
     "SELECT",
     {"pipeline", "build", "key", "epoch", "batch", "segment", NULL}},
    {LOGIN_TASK,
     OBJECT_TABLE,
     "state_%u",
     "SELECT",
     {"pipeline", "build", "key", "epoch", "batch", "segment", NULL}},
    {LOGIN_TASK, OBJECT_TABLE, "state_%u", "TRUNCATE", {NULL}},
    {LOGIN_TASK, OBJECT_TABLE, "run", "SELECT", {NULL}},
    {LOGIN_TASK, OBJECT_TABLE, "run", "DELETE", {NULL}},
};

/* Which schemas each login may enter, and each group. */
static const bool login_schemas[LOGIN_MAX][SCHEMA_MAX] = {
    [LOGIN_LOAD] = {[SCHEMA_ADMIN] = true, [SCHEMA_ANALYTICAL] = true},
    [LOGIN_STATE] = {[SCHEMA_ADMIN] = true},
    [LOGIN_TASK] = {[SCHEMA_ADMIN] = true},
};

static const enum ddl_schema group_schemas[GROUP_MAX] = {
    [GROUP_ANALYSTS] = SCHEMA_ANALYTICAL,
    [GROUP_SCIENTISTS] = SCHEMA_DEVELOPMENT,
    [GROUP_BUSINESS] = SCHEMA_VISUALIZATION,
};

struct granting {
	bool (*visit)(void *ctx, const struct ddl_grant *g, struct err *e);
	void *ctx;
	struct err *e;
	struct name logins[LOGIN_MAX];
};

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

static void
object_set(struct ddl_grant *g, enum ddl_schema schema, const char *object)
{
	struct buf b = {0};

	pg_quote_name(&b, ddl_schemas[schema].name);
	if (object) {
		buf_byte(&b, '.');
		pg_quote_name(&b, object);
	}
	snprintf(g->object, sizeof g->object, "%s", buf_cstr(&b));
	buf_free(&b);
}

static bool
schema_grants(struct granting *x)
{
	for (unsigned l = 0; l < LOGIN_MAX; l++)
		for (unsigned s = 0; s < SCHEMA_MAX; s++) {
			struct ddl_grant g = {
			    .grantee = x->logins[l], .kind = OBJECT_SCHEMA, .privilege = "USAGE"};
			object_set(&g, s, NULL);
			if (login_schemas[l][s] && !x->visit(x->ctx, &g, x->e))
				return false;
		}
	for (unsigned i = 0; i < GROUP_MAX; i++) {
		struct ddl_grant g = {.kind = OBJECT_SCHEMA, .privilege = "USAGE"};
		snprintf(g.grantee.s, sizeof g.grantee.s, "%s", ddl_groups[i].name);
		object_set(&g, group_schemas[i], NULL);
		if (!x->visit(x->ctx, &g, x->e))
			return false;
	}
	return true;
}

static bool
admin_row_grants(struct granting *x, unsigned i)
{
	bool slots = strstr(admin_grants[i].object, "%u") != NULL;

	for (unsigned slot = 0; slot < (slots ? STATE_SLOTS : 1); slot++) {
		struct ddl_grant g = {.grantee = x->logins[admin_grants[i].login],
				      .kind = admin_grants[i].kind,
				      .privilege = admin_grants[i].privilege};
		char name[NAME_BYTES_MAX + 1];
		if (slots)
			snprintf(name, sizeof name, "state_%u", slot);
		else
			snprintf(name, sizeof name, "%s", admin_grants[i].object);
		object_set(&g, SCHEMA_ADMIN, name);
		memcpy(g.columns, admin_grants[i].columns, sizeof g.columns);
		if (!x->visit(x->ctx, &g, x->e))
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

static bool
table_grant(struct granting *x, struct ddl_grant *g, const char *privilege)
{
	g->privilege = privilege;
	return x->visit(x->ctx, g, x->e);
}

static bool
table_grants(struct granting *x, const struct table *t)
{
	struct ddl_grant g = {.grantee = x->logins[LOGIN_LOAD], .kind = OBJECT_TABLE};
	bool merged =
	    t->kind == TABLE_DIMENSION || (t->kind == TABLE_FACT && t->grain == GRAIN_PROCESS);

	object_set(&g, SCHEMA_ANALYTICAL, t->name.s);
	if (t->kind != TABLE_CALENDAR && !table_grant(x, &g, "INSERT"))
		return false;
	if (merged && !table_grant(x, &g, "UPDATE"))
		return false;
	if (columns_read(t, g.columns) && !table_grant(x, &g, "SELECT"))
		return false;
	memset(g.columns, 0, sizeof g.columns);
	snprintf(g.grantee.s, sizeof g.grantee.s, "%s", ddl_groups[GROUP_ANALYSTS].name);
	/* REFERENCES shows keys to BI tools, which ask information_schema. */
	return table_grant(x, &g, "SELECT") && table_grant(x, &g, "REFERENCES");
}

bool
ddl_grants(const struct model *m,
	   bool (*visit)(void *ctx, const struct ddl_grant *g, struct err *e), void *ctx,
	   struct err *e)
{
	struct granting x = {.visit = visit, .ctx = ctx, .e = e};

	for (unsigned l = 0; l < LOGIN_MAX; l++)
		if (!ddl_login_name(m, l, &x.logins[l], e))
			return false;
	if (!schema_grants(&x))
		return false;
	for (unsigned i = 0; i < sizeof admin_grants / sizeof *admin_grants; i++)
		if (!admin_row_grants(&x, i))
			return false;
	for (unsigned t = 0; t < m->tables_n; t++)
		if (!table_grants(&x, &m->tables[t]))
			return false;
	return true;
}

void
ddl_grant(const struct ddl_grant *g, struct buf *out)
{
	static const char *const kinds[] = {"SCHEMA", "TABLE", "SEQUENCE"};

	buf_printf(out, "GRANT %s", g->privilege);
	for (unsigned i = 0; g->columns[i]; i++) {
		buf_text(out, i ? ", " : " (");
		pg_quote_name(out, g->columns[i]);
	}
	buf_printf(out, "%s ON %s %s TO ", g->columns[0] ? ")" : "", kinds[g->kind], g->object);
	pg_quote_name(out, g->grantee.s);
}
