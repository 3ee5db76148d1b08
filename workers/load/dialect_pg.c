#include "dialect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ddl.h"
#include "log.h"
#include "mem.h"
#include "pg.h"

/* ---- pieces of SQL ---- */

struct sql {
	const struct model *m;
	unsigned table;
	const struct copy_layout *l;
	char types[DDL_COLUMNS_MAX][DDL_TYPE_BYTES]; /* of the sent columns */
};

static char *
taken(struct buf *b)
{
	size_t n;

	buf_byte(b, 0);
	return (char *)buf_take(b, &n);
}

static void
target(const struct sql *s, struct buf *b)
{
	ddl_table_name(s->m, s->table, b);
}

static void
stage_name(const struct sql *s, struct buf *b)
{
	buf_printf(b, "pg_temp.weir_stage_%u", s->table);
}

static const char *
column_name(const struct sql *s, enum row_column_role role)
{
	for (unsigned i = 0; i < s->l->columns_n; i++)
		if (s->l->columns[i].role == role)
			return s->l->columns[i].name;
	panic("table %s has no column of role %d", s->m->tables[s->table].name.s, role);
}

/* "a", "b", "c"; with a prefix before each name. */
static void
columns(const struct sql *s, const char *prefix, struct buf *b)
{
	for (unsigned i = 0; i < s->l->columns_n; i++) {
		buf_printf(b, "%s%s", i ? ", " : "", prefix);
		pg_quote_name(b, s->l->columns[i].name);
	}
}

/* What the steps read: the stage, or one row of parameters under the stage's names. */
static void
rows_staged(const struct sql *s, struct buf *b)
{
	buf_text(b, "SELECT * FROM ");
	stage_name(s, b);
}

static void
rows_single(const struct sql *s, struct buf *b)
{
	buf_text(b, "SELECT ");
	for (unsigned i = 0; i < s->l->columns_n; i++) {
		buf_printf(b, "%s$%u AS ", i ? ", " : "", i + 1);
		pg_quote_name(b, s->l->columns[i].name);
	}
}

/* "t.name = s.name" with any text between and behind. */
static void
pair(const char *left, const char *between, const char *right, const char *name, struct buf *b)
{
	buf_text(b, left);
	pg_quote_name(b, name);
	buf_text(b, between);
	buf_text(b, right);
	pg_quote_name(b, name);
}

/* All but the key: "a" = s."a", ..., and when. */
static void
assignments(const struct sql *s, enum row_column_role key, enum row_column_role key2, struct buf *b)
{
	for (unsigned i = 0; i < s->l->columns_n; i++) {
		const struct row_column *c = &s->l->columns[i];
		if (c->role == key || c->role == key2)
			continue;
		pair("", " = ", "s.", c->name, b);
		buf_text(b, ", ");
	}
	buf_text(b, "\"loaded_at\" = now()");
}

static char *
create_stage(const struct sql *s)
{
	struct buf b = {0};

	buf_text(&b, "CREATE TEMPORARY TABLE ");
	stage_name(s, &b);
	for (unsigned i = 0; i < s->l->columns_n; i++) {
		buf_text(&b, i ? ", " : " (");
		pg_quote_name(&b, s->l->columns[i].name);
		buf_printf(&b, " %s", s->types[i]);
	}
	buf_text(&b, ") ON COMMIT DELETE ROWS");
	return taken(&b);
}

static char *
copy_into(const struct sql *s, bool staged)
{
	struct buf b = {0};

	buf_text(&b, "COPY ");
	if (staged)
		stage_name(s, &b);
	else
		target(s, &b);
	buf_text(&b, " (");
	columns(s, "", &b);
	buf_text(&b, ") FROM STDIN (FORMAT BINARY)");
	return taken(&b);
}

/* ---- facts of processes: the greater revision wins ---- */

/*
 * MERGE and not ON CONFLICT: what ON CONFLICT assigns from EXCLUDED counts as read, so load would
 * need the right to read every column. One lane owns a process, so nobody inserts the same key
 * meanwhile.
 */
static char *
process_merge(const struct sql *s, bool staged)
{
	const char *key = column_name(s, ROW_KEY), *revision = column_name(s, ROW_REVISION);
	struct buf b = {0};

	buf_text(&b, "MERGE INTO ");
	target(s, &b);
	buf_text(&b, " t USING (");
	if (staged) {
		rows_staged(s, &b);
		buf_text(&b, " ORDER BY ");
		pg_quote_name(&b, key);
	} else {
		rows_single(s, &b);
	}
	buf_text(&b, ") s ON ");
	pair("t.", " = ", "s.", key, &b);
	buf_text(&b, " WHEN MATCHED AND ");
	pair("s.", " > ", "t.", revision, &b);
	buf_text(&b, " THEN UPDATE SET ");
	assignments(s, ROW_KEY, ROW_KEY, &b);
	buf_text(&b, " WHEN NOT MATCHED THEN INSERT (");
	columns(s, "", &b);
	buf_text(&b, ") VALUES (");
	columns(s, "s.", &b);
	buf_text(&b, ")");
	return taken(&b);
}

static void
sink_process(const struct sql *s, struct sink *k)
{
	k->stage = create_stage(s);
	k->copy = copy_into(s, true);
	k->steps_n = 1;
	k->steps[0] = (struct step){STEP_WRITE, process_merge(s, true), process_merge(s, false)};
}

/* ---- facts of events ---- */

static char *
event_insert(const struct sql *s)
{
	struct buf b = {0};

	buf_text(&b, "INSERT INTO ");
	target(s, &b);
	buf_text(&b, " (");
	columns(s, "", &b);
	buf_text(&b, ") VALUES (");
	for (unsigned i = 0; i < s->l->columns_n; i++)
		buf_printf(&b, "%s$%u", i ? ", " : "", i + 1);
	buf_text(&b, ")");
	return taken(&b);
}

static void
sink_event(const struct sql *s, struct sink *k)
{
	k->copy = copy_into(s, false);
	k->steps_n = 1;
	k->steps[0] = (struct step){STEP_WRITE, NULL, event_insert(s)};
}

/* ---- dimensions, type 1 ---- */

/* Comparable also where a source has no time: such a version comes before all others. */
static void
version(const struct sql *s, const char *prefix, struct buf *b)
{
	buf_printf(b, "coalesce(%s", prefix);
	pg_quote_name(b, column_name(s, ROW_VERSION_AT));
	buf_printf(b, ", '-infinity'), coalesce(%s", prefix);
	pg_quote_name(b, column_name(s, ROW_VERSION_RID));
	buf_text(b, ", '00000000-0000-0000-0000-000000000000')");
}

/* One row a member, its newest version; sorted, so that lanes lock hot members in one order. */
static void
members(const struct sql *s, bool staged, const char *where, struct buf *b)
{
	const char *key = column_name(s, ROW_SURROGATE);

	if (!staged) {
		buf_text(b, "SELECT * FROM (");
		rows_single(s, b);
		buf_printf(b, ") s%s", where);
		return;
	}
	buf_text(b, "SELECT DISTINCT ON (");
	pg_quote_name(b, key);
	buf_text(b, ") * FROM ");
	stage_name(s, b);
	buf_printf(b, "%s ORDER BY ", where);
	pg_quote_name(b, key);
	buf_text(b, ", \"inferred\", (");
	version(s, "", b);
	buf_text(b, ") DESC");
}

/* Anti-join first: ON CONFLICT alone would lock hot members and serialise the lanes. */
static char *
member_insert(const struct sql *s, bool staged)
{
	const char *key = column_name(s, ROW_SURROGATE);
	struct buf b = {0};

	buf_text(&b, "INSERT INTO ");
	target(s, &b);
	buf_text(&b, " (");
	columns(s, "", &b);
	buf_text(&b, ") SELECT ");
	columns(s, "s.", &b);
	buf_text(&b, " FROM (");
	members(s, staged, "", &b);
	buf_text(&b, ") s WHERE NOT EXISTS (SELECT FROM ");
	target(s, &b);
	buf_text(&b, " t WHERE ");
	pair("t.", " = ", "s.", key, &b);
	buf_text(&b, ") ON CONFLICT (");
	pg_quote_name(&b, key);
	buf_text(&b, ") DO NOTHING");
	return taken(&b);
}

static char *
member_upgrade(const struct sql *s, bool staged)
{
	struct buf b = {0};

	buf_text(&b, "UPDATE ");
	target(s, &b);
	buf_text(&b, " t SET ");
	assignments(s, ROW_SURROGATE, ROW_NATURAL, &b);
	buf_text(&b, " FROM (");
	members(s, staged, " WHERE NOT \"inferred\"", &b);
	buf_text(&b, ") s WHERE ");
	pair("t.", " = ", "s.", column_name(s, ROW_SURROGATE), &b);
	buf_text(&b, " AND ");
	pair("t.", " = ", "s.", column_name(s, ROW_NATURAL), &b);
	buf_text(&b, " AND (t.\"inferred\" OR (");
	version(s, "t.", &b);
	buf_text(&b, ") < (");
	version(s, "s.", &b);
	buf_text(&b, "))");
	return taken(&b);
}

static char *
member_collided(const struct sql *s, bool staged)
{
	struct buf b = {0};

	buf_text(&b, "SELECT DISTINCT s.");
	pg_quote_name(&b, column_name(s, ROW_SURROGATE));
	buf_text(&b, ", s.");
	pg_quote_name(&b, column_name(s, ROW_NATURAL));
	buf_text(&b, "::text FROM (");
	if (staged)
		rows_staged(s, &b);
	else
		rows_single(s, &b);
	buf_text(&b, ") s JOIN ");
	target(s, &b);
	buf_text(&b, " t ON ");
	pair("t.", " = ", "s.", column_name(s, ROW_SURROGATE), &b);
	buf_text(&b, " WHERE ");
	pair("t.", " IS DISTINCT FROM ", "s.", column_name(s, ROW_NATURAL), &b);
	return taken(&b);
}

static void
sink_dimension(const struct sql *s, struct sink *k)
{
	k->stage = create_stage(s);
	k->copy = copy_into(s, true);
	k->steps_n = 3;
	k->steps[0] = (struct step){STEP_WRITE, member_insert(s, true), member_insert(s, false)};
	k->steps[1] =
	    (struct step){STEP_UPGRADE, member_upgrade(s, true), member_upgrade(s, false)};
	k->steps[2] =
	    (struct step){STEP_COLLIDED, member_collided(s, true), member_collided(s, false)};
}

/* ---- state and dead letters ---- */

static const uint32_t state_oids[] = {OID_INT8, OID_INT8, OID_TIMESTAMPTZ, OID_INT4, OID_INT4,
				      OID_INT2, OID_BOOL, OID_UUID,	   OID_BYTEA};
static const uint32_t dead_oids[DEAD_FIELDS] = {OID_INT4,  OID_INT2, OID_UUID,	OID_INT4,
						OID_INT4,  OID_INT8, OID_TEXT,	OID_TEXT,
						OID_BYTEA, OID_TEXT, OID_BYTEA, OID_BYTEA};
static const uint32_t replayed_oids[REPLAYED_FIELDS] = {OID_INT4, OID_INT2, OID_UUID};

#define STATE_COLUMNS "epoch, batch, check_at, pipeline, kg, build, tombstone, key, body"
#define NINE	      "$1, $2, $3, $4, $5, $6, $7, $8, $9"
#define DEAD_COLUMNS                                                                               \
	"pipeline, build, rid, source, partition, position, stage, reason, digest, class, body, "  \
	"sid"
#define TWELVE NINE ", $10, $11, $12"

static char *
format(const char *fmt, unsigned n)
{
	struct buf b = {0};

	/* The only conversion is %u, the slot. */
	for (const char *s = fmt; *s; s++) {
		if (s[0] == '%' && s[1] == 'u') {
			buf_printf(&b, "%u", n);
			s++;
		} else {
			buf_byte(&b, (uint8_t)*s);
		}
	}
	return taken(&b);
}

static void
sink_state(unsigned slot, struct sink *k)
{
	k->name = mem_string("state");
	k->fields_n = sizeof(state_oids) / sizeof(state_oids[0]);
	memcpy(k->oids, state_oids, sizeof(state_oids));
	k->copy = format(
	    "COPY admin_schema.state_%u (" STATE_COLUMNS ") FROM STDIN (FORMAT BINARY)", slot);
	k->steps_n = 1;
	k->steps[0] = (struct step){STEP_WRITE, NULL,
				    format("INSERT INTO admin_schema.state_%u (" STATE_COLUMNS
					   ") VALUES (" NINE ")",
					   slot)};
}

static void
sink_dead(struct sink *k)
{
	k->name = mem_string("dead letters");
	k->fields_n = sizeof(dead_oids) / sizeof(dead_oids[0]);
	memcpy(k->oids, dead_oids, sizeof(dead_oids));
	k->stage = mem_string(
	    "CREATE TEMPORARY TABLE pg_temp.weir_stage_dead (pipeline integer, build smallint, "
	    "rid uuid, source integer, partition integer, position bigint, stage text, "
	    "reason text, digest bytea, class text, body bytea, sid bytea) ON COMMIT DELETE ROWS");
	k->copy = mem_string("COPY pg_temp.weir_stage_dead (" DEAD_COLUMNS
			     ") FROM STDIN (FORMAT BINARY)");
	k->steps_n = 1;
	k->steps[0] =
	    (struct step){STEP_WRITE,
			  mem_string("INSERT INTO admin_schema.dead_letter (" DEAD_COLUMNS
				     ") SELECT " DEAD_COLUMNS
				     " FROM pg_temp.weir_stage_dead ON CONFLICT DO NOTHING"),
			  mem_string("INSERT INTO admin_schema.dead_letter (" DEAD_COLUMNS
				     ") VALUES (" TWELVE ") ON CONFLICT DO NOTHING")};
}

static void
sink_replayed(struct sink *k)
{
	k->name = mem_string("dead letters sent again");
	k->fields_n = REPLAYED_FIELDS;
	memcpy(k->oids, replayed_oids, sizeof(replayed_oids));
	k->stage = mem_string("CREATE TEMPORARY TABLE pg_temp.weir_stage_replayed (pipeline "
			      "integer, build smallint, rid uuid) ON COMMIT DELETE ROWS");
	k->copy = mem_string("COPY pg_temp.weir_stage_replayed (pipeline, build, rid) FROM STDIN "
			     "(FORMAT BINARY)");
	k->steps_n = 1;
	k->steps[0] = (struct step){
	    STEP_WRITE,
	    mem_string("DELETE FROM admin_schema.dead_letter d USING pg_temp.weir_stage_replayed s"
		       " WHERE d.pipeline = s.pipeline AND d.build = s.build AND d.rid = s.rid"),
	    mem_string("DELETE FROM admin_schema.dead_letter"
		       " WHERE pipeline = $1 AND build = $2 AND rid = $3")};
}

/* ---- the interface ---- */

static void
sink_table(const struct model *m, unsigned table, const struct copy_layout *l, struct sink *k)
{
	const struct table *t = &m->tables[table];
	struct ddl_column all[DDL_COLUMNS_MAX];
	struct sql *s = mem_zero(1, sizeof(*s));
	unsigned n = ddl_columns(m, table, all);

	*s = (struct sql){.m = m, .table = table, .l = l};
	for (unsigned i = 0; i < l->columns_n; i++)
		for (unsigned j = 0; j < n; j++)
			if (strcmp(all[j].name, l->columns[i].name) == 0)
				memcpy(s->types[i], all[j].type, DDL_TYPE_BYTES);
	k->name = mem_string(t->name.s);
	k->fields_n = l->columns_n;
	memcpy(k->oids, l->oids, sizeof(k->oids));
	if (t->kind == TABLE_DIMENSION)
		sink_dimension(s, k);
	else if (t->grain == GRAIN_PROCESS) /* sealed folds too */
		sink_process(s, k);
	else
		sink_event(s, k);
	free(s);
}

static void
sinks(const struct model *m, const struct copy_layout *layouts, struct sink *out)
{
	memset(out, 0, SINK_MAX * sizeof(*out));
	for (unsigned t = 0; t < m->tables_n; t++)
		if (m->tables[t].kind != TABLE_CALENDAR)
			sink_table(m, t, &layouts[t], &out[t]);
	for (unsigned slot = 0; slot < STATE_SLOTS; slot++)
		sink_state(slot, &out[SINK_STATE + slot]);
	sink_dead(&out[SINK_DEAD]);
	sink_replayed(&out[SINK_REPLAYED]);
}

static void
absent(const struct model *m, unsigned table, struct buf *b)
{
	buf_text(b, "SELECT k FROM unnest($1) k WHERE NOT EXISTS (SELECT FROM ");
	ddl_table_name(m, table, b);
	buf_text(b, " t WHERE t.");
	pg_quote_name(b, m->tables[table].surrogate.s);
	buf_text(b, " = k)");
}

/*
 * No plan but the nested loop over the target's index suits a batch: with a stage of unknown size
 * and statistics of a growing table the planner would now and then read all of the target. A
 * statement's time is bounded by what the client stands, so a client that is gone must be noticed
 * by the server.
 */
static const char *const settings[] = {
    "enable_hashjoin=off",
    "enable_mergejoin=off",
    "jit=off",
    "search_path=pg_catalog",
    "lock_timeout=30s",
    "idle_in_transaction_session_timeout=30s",
    "client_connection_check_interval=5s",
    "work_mem=64MB",
    "temp_buffers=32MB",
    NULL,
};

void
sinks_free(struct sink *k)
{
	for (unsigned i = 0; i < SINK_MAX; i++) {
		free(k[i].name);
		free(k[i].stage);
		free(k[i].copy);
		for (unsigned j = 0; j < k[i].steps_n; j++) {
			free(k[i].steps[j].staged);
			free(k[i].steps[j].row);
		}
	}
}

const struct dialect dialect_postgresql = {
    .name = "postgresql",
    .settings = settings,
    .sinks = sinks,
    .absent = absent,
};
