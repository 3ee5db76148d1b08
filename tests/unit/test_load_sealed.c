/*
 * Load against a private PostgreSQL, with sealed columns: raw events, sealed folds, dead letters
 * with bodies, those that were sent again, the policy that the warehouse pins; all with the rights
 * that apply gives and no other. Starts itself again under tests/e2e/postgres_server.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/explain.h"
#include "conf.h"
#include "ddl.h"
#include "keyhash.h"
#include "load/load.h"
#include "log.h"
#include "mem.h"
#include "pg_login.h"
#include "process.h"
#include "sql/migrations.h"

static const char pipeline_text[] =
    "pipeline: shop\n"
    "lanes: 1\n"
    "keys: /nowhere/keys\n"
    "raw: { to: warehouse, keep: 30d }\n"
    "correlate:\n"
    "  by: id\n"
    "  folds:\n"
    "    income: { last: order.income }\n"
    "    n: { sum: order.n }\n"
    "sources:\n"
    "  order:\n"
    "    file: { path: \"/nowhere/order*.ndjson\" }\n"
    "    format: json\n"
    "    time: at\n"
    "    subject: person\n"
    "    fields:\n"
    "      id: text\n"
    "      at: timestamp\n"
    "      n: integer\n"
    "      more: json\n"
    "      income: { type: decimal, sensitive: financial }\n"
    "      person: { type: text, sensitive: identity, token: cpf }\n"
    "warehouse:\n"
    "  postgresql: { dsn: \"postgresql:///none\", logins: \"/nowhere\" }\n"
    "tables:\n"
    "  fact_order: { kind: fact, grain: process, key: id, columns: { n: n } }\n";

enum { MANY = 200 }; /* rows that go by COPY and not one by one */

static struct {
	struct model *m;
	struct metric_page *page;
	struct buf dsn; /* of the load login, with the rights that apply gives it and no other */
	struct pg *eye; /* looks at what is there */
	struct worker worker;
	struct load *l;
	int64_t batch;
	unsigned raw, process; /* tables */
} t;

bool
load_breathe(void *ctx)
{
	(void)ctx;
	return true;
}

/* ---- looking ---- */

static void
run(const char *sql)
{
	struct err e = {0};

	if (!pg_exec(t.eye, sql, NULL, &e))
		fail_msg("%s: %s", sql, e.text);
}

static int64_t
number(const char *sql)
{
	struct err e = {0};
	struct pg_result *r = NULL;

	if (!pg_exec(t.eye, sql, &r, &e))
		fail_msg("%s: %s", sql, e.text);
	assert_int_equal(pg_rows(r), 1);
	int64_t n = pg_int(r, 0, 0);
	pg_result_free(r);
	return n;
}

static void
text_is(const char *sql, const char *expected)
{
	struct err e = {0};
	struct pg_result *r = NULL;

	if (!pg_exec(t.eye, sql, &r, &e))
		fail_msg("%s: %s", sql, e.text);
	assert_int_equal(pg_rows(r), 1);
	assert_string_equal(pg_text(r, 0, 0), expected);
	pg_result_free(r);
}

/* ---- making ---- */

static bool
grant_run(void *ctx, const struct ddl_grant *g, struct err *e)
{
	struct buf *sql = ctx;

	(void)e;
	ddl_grant(g, sql);
	buf_text(sql, ";\n");
	return true;
}

static void
warehouse_make(void)
{
	struct err e = {0};
	struct buf sql = {0};

	run("DROP SCHEMA IF EXISTS admin_schema, analytical_schema, development_schema,"
	    " data_visualization_schema, key_schema CASCADE");
	for (unsigned i = 0; i < SCHEMA_MAX; i++)
		if (i != SCHEMA_ADMIN && i != SCHEMA_KEY)
			buf_printf(&sql, "CREATE SCHEMA %s;", ddl_schemas[i].name);
	for (unsigned i = 0; i < migrations_n; i++)
		if (!pg_script(t.eye, migrations[i].text, &e))
			fail_msg("migration %u: %s", migrations[i].number, e.text);
	for (unsigned i = 0; i < t.m->tables_n; i++)
		ddl_script(t.m, i, &sql);
	if (!pg_script(t.eye, buf_cstr(&sql), &e))
		fail_msg("%s", e.text);
	buf_clear(&sql);
	if (!ddl_grants(t.m, grant_run, &sql, &e) || !pg_script(t.eye, buf_cstr(&sql), &e))
		fail_msg("grants: %s", e.text);
	buf_free(&sql);
	run("INSERT INTO admin_schema.pipeline (id, name, g, hash_key, policy_root, policy_serial)"
	    " VALUES (1, 'shop', 128, '\\x000102030405060708090a0b0c0d0e0f',"
	    " decode(repeat('ab', 32), 'hex'), 7)");
}

/* A loader that owns the lane. */
static struct load *
owner_make(void)
{
	struct err e = {0};

	memset(&t.worker, 0, sizeof(t.worker));
	t.worker.model = t.m;
	t.worker.page = t.page;
	t.worker.count[ROLE_INGEST] = 1;
	snprintf(t.worker.instance, sizeof(t.worker.instance), "a");
	t.l = load_new(&t.worker, mem_string(buf_cstr(&t.dsn)));
	if (!load_connect(t.l, &e) || !schema_check(t.l, &e) || !takeover(t.l, &e))
		fail_msg("%s", e.text);
	load_owned(t.l);
	t.batch = 0;
	return t.l;
}

static int
setup(void **state)
{
	(void)state;
	if (t.eye == NULL)
		return 0;
	warehouse_make();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	load_free(t.l);
	t.l = NULL;
	return 0;
}

static void
needs_postgres(void)
{
	if (t.eye == NULL)
		skip();
}

/* ---- frames ---- */

static struct {
	struct buf bodies[TABLES_MAX + 1];
	uint32_t counts[TABLES_MAX + 1];
} x;

static void
feed(struct load *l, enum frame_type type, uint32_t count, struct buf *body)
{
	struct err e = {0};

	if (!batches_frame(&l->batches, type, false, count, body->data, body->len, &e))
		fail_msg("%s: %s", frame_name(type), e.text);
	buf_clear(body);
}

static void
begin(struct load *l)
{
	struct buf b = {0};
	struct begin begin = {.shard = 0, .epoch = l->owner.epoch, .n = ++t.batch};

	memset(x.counts, 0, sizeof(x.counts));
	wire_begin_write(&b, &begin);
	feed(l, FRAME_BEGIN, 1, &b);
	buf_free(&b);
}

static void
commit(struct load *l)
{
	struct end_range range = {.kg_lo = 0, .kg_hi = 127};
	struct end end = {.n = t.batch,
			  .ranges = &range,
			  .ranges_n = 1,
			  .dead = x.counts[TABLES_MAX],
			  .tables_n = t.m->tables_n,
			  .sources_n = t.m->sources_n};
	struct buf b = {0};
	struct err e = {0};

	end.sources[0].events = 1000000; /* no limit of dead letters is met by chance */
	for (unsigned i = 0; i < TABLES_MAX; i++) {
		end.rows[i] = x.counts[i];
		if (x.counts[i])
			feed(l, FRAME_ROWS, x.counts[i], &x.bodies[i]);
	}
	if (x.counts[TABLES_MAX])
		feed(l, FRAME_DEAD, x.counts[TABLES_MAX], &x.bodies[TABLES_MAX]);
	wire_end_write(&b, &end);
	feed(l, FRAME_END, 1, &b);
	buf_free(&b);
	enum commit_outcome got = commit_batch(l, batches_ready(&l->batches), &e);
	if (got != COMMIT_DONE)
		fail_msg("outcome %d: %s", got, e.text);
	l->owner.batch = t.batch;
	batches_drop(&l->batches);
}

static void
row_add(unsigned table, const struct row *row)
{
	if (x.bodies[table].len == 0)
		wire_table_write(&x.bodies[table], table);
	wire_row_write(&x.bodies[table], row);
	x.counts[table]++;
}

static const uint8_t payload[61] = {1, 1, 1, 4, 9};

static struct value
carried(struct buf *b, unsigned n)
{
	struct carried c = {.payload = payload,
			    .payload_len = sizeof payload,
			    .source = t.m->sources[0].label,
			    .source_len = (uint32_t)strlen(t.m->sources[0].label),
			    .path = "income",
			    .path_len = 6,
			    .has_sid = true,
			    .sid = {1}};

	c.rid[15] = (uint8_t)n;
	buf_clear(b);
	wire_carried_write(b, &c);
	return (struct value){
	    .type = VALUE_SEALED, .len = (uint32_t)b->len, .text = (const char *)b->data};
}

/* event_at, then the fields: id, at, n, more, income, person, person_token. */
static void
raw_add(unsigned n, const char *more)
{
	struct buf b = {0};
	struct value sealed = carried(&b, n);
	struct value v[] = {value_timestamp(n),
			    value_text("p", 1),
			    value_timestamp(n),
			    value_integer(n),
			    {.type = VALUE_JSON, .len = (uint32_t)strlen(more), .text = more},
			    sealed,
			    value_null(),
			    value_text("01aa", 4)};
	struct row row = {.values = v, .values_n = 8, .has_sid = n % 2, .sid = {7}};

	row.rid[12] = 1;
	row.rid[15] = (uint8_t)n;
	row.rid[14] = (uint8_t)(n >> 8);
	row_add(t.raw, &row);
	buf_free(&b);
}

static void
process_add(unsigned key, int64_t revision)
{
	char id[16];
	struct buf b = {0};

	snprintf(id, sizeof(id), "p%05u", key);
	struct value v[] = {value_text(id, 6), carried(&b, (unsigned)revision),
			    value_integer(revision)};
	struct row row = {.values = v, .values_n = 3};
	row_add(t.process, &row);
	buf_free(&b);
}

static void
dead_add(uint8_t rid, bool kept, bool replayed)
{
	struct dead d = {.rid = {0, rid},
			 .partition = 1,
			 .offset = rid,
			 .stage = "ingest",
			 .stage_len = 6,
			 .reason = "no",
			 .reason_len = 2,
			 .body = kept ? payload : NULL,
			 .body_len = kept ? sizeof payload : 0,
			 .has_sid = kept,
			 .sid = {5},
			 .replayed = replayed};

	wire_dead_write(&x.bodies[TABLES_MAX], &d);
	x.counts[TABLES_MAX]++;
}

/* ---- tests ---- */

#define RAW	"development_schema.raw_order"
#define PROCESS "development_schema.process"

static void
raw_rows(unsigned n)
{
	struct load *l = owner_make();

	begin(l);
	for (unsigned i = 0; i < n; i++)
		raw_add(i, "{\"a\": 1}");
	commit(l);
	assert_int_equal(number("SELECT count(*) FROM " RAW), n);
	assert_int_equal(number("SELECT count(*) FROM " RAW " WHERE sid IS NOT NULL"), n / 2);
	text_is("SELECT DISTINCT sid::text FROM " RAW " WHERE sid IS NOT NULL",
		"\\x07000000000000000000000000000000");
	text_is("SELECT rid || ' ' || id || ' ' || n || ' ' || more || ' ' || person_token || ' ' "
		"|| (person IS NULL) || ' ' || batch || ' ' || event_at FROM " RAW " WHERE n = 3",
		"00000000-0000-0000-0000-000001000003 p 3 {\"a\": 1} 01aa true 1 "
		"1970-01-01 00:00:00.000003+00");
	/* What lies there is what was carried, byte for byte. */
	struct buf b = {0}, hex = {0};
	carried(&b, 3);
	buf_text(&hex, "\\x");
	for (size_t i = 0; i < b.len; i++)
		buf_printf(&hex, "%02x", b.data[i]);
	text_is("SELECT income::text FROM " RAW " WHERE n = 3", buf_cstr(&hex));
	buf_free(&b);
	buf_free(&hex);
}

static void
test_few_raw_rows(void **state)
{
	(void)state;
	needs_postgres();
	raw_rows(10);
}

static void
test_many_raw_rows(void **state)
{
	(void)state;
	needs_postgres();
	raw_rows(MANY);
}

static void
test_load_cannot_read_what_it_wrote(void **state)
{
	static const char *const refused[] = {
	    "SELECT income FROM " RAW,
	    "SELECT rid FROM " RAW,
	    "SELECT count(*) FROM " RAW,
	    "DELETE FROM " RAW,
	    "UPDATE " RAW " SET n = 1",
	    "SELECT income FROM " PROCESS,
	    "SELECT body FROM admin_schema.dead_letter",
	    "SELECT sid FROM admin_schema.dead_letter",
	};
	struct err e;

	(void)state;
	needs_postgres();
	struct load *l = owner_make();
	begin(l);
	raw_add(1, "{}");
	process_add(1, 1);
	commit(l);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		assert_false(pg_exec(l->pg, refused[i], NULL, &e));
		assert_string_equal(pg_sqlstate(l->pg), "42501");
	}
}

/* A refused row is found without reading any. */
static void
test_refused_raw_rows_are_found(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make();
	begin(l);
	for (unsigned i = 0; i < MANY; i++)
		raw_add(i, i == 5 || i == 77 ? "{\"a\": \"\\u0000\"}" : "{}");
	process_add(1, 1);
	commit(l);
	assert_int_equal(number("SELECT count(*) FROM " RAW), MANY - 2);
	text_is("SELECT string_agg(rid || ' ' || stage || ' ' || (body IS NULL) || ' ' ||"
		" (class IS NULL), ', ' ORDER BY rid) FROM admin_schema.dead_letter",
		"00000000-0000-0000-0000-000001000005 load true true, "
		"00000000-0000-0000-0000-00000100004d load true true");
	assert_int_equal(number("SELECT count(*) FROM " PROCESS), 1);
}

static void
processes(struct load *l, unsigned n, int64_t revision)
{
	begin(l);
	for (unsigned i = 0; i < n; i++)
		process_add(i, revision);
	commit(l);
}

static void
test_sealed_folds_the_greater_revision_stays(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make();
	processes(l, MANY, 4);
	processes(l, 3, 9);
	processes(l, MANY, 6);
	assert_int_equal(number("SELECT count(*) FROM " PROCESS), MANY);
	assert_int_equal(number("SELECT count(*) FROM " PROCESS " WHERE revision = 9"), 3);
	assert_int_equal(number("SELECT count(*) FROM " PROCESS " WHERE revision = 6"), MANY - 3);
	assert_int_equal(number("SELECT count(DISTINCT income) FROM " PROCESS), 2);
	assert_int_equal(number("SELECT batch FROM " PROCESS " WHERE id = 'p00001'"), 2);
}

static void
test_dead_letters_and_their_replay(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make();
	begin(l);
	for (uint8_t i = 1; i <= 100; i++)
		dead_add(i, i % 2, false);
	commit(l);
	text_is("SELECT class || ' ' || encode(sid, 'hex') || ' ' || length(body) FROM"
		" admin_schema.dead_letter WHERE position = 1",
		"dead_letter 05000000000000000000000000000000 61");
	assert_int_equal(number("SELECT count(*) FROM admin_schema.dead_letter WHERE class IS NULL"
				" AND body IS NULL AND sid IS NULL"),
			 50);
	/* Few, and one that dies again: it stays as it is. */
	begin(l);
	dead_add(1, true, true);
	dead_add(3, true, true);
	dead_add(5, false, false);
	commit(l);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.dead_letter"), 98);
	assert_int_equal(number("SELECT length(body) FROM admin_schema.dead_letter"
				" WHERE position = 5"),
			 61);
	/* Many; of which some went before. */
	begin(l);
	for (uint8_t i = 1; i <= 60; i++)
		dead_add(i, true, true);
	commit(l);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.dead_letter"), 40);
	assert_int_equal(number("SELECT min(position) FROM admin_schema.dead_letter"), 61);
}

/* What goes again does not count against the limit of dead letters. */
static void
test_replay_is_no_failure(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make();
	begin(l);
	for (unsigned i = 0; i < 200; i++)
		dead_add((uint8_t)i, true, true);
	commit(l);
	assert_int_equal(l->dead.source[0][0].dead, 0);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.dead_letter"), 0);
}

static void
test_a_value_that_is_not_carried_is_a_breach(void **state)
{
	struct value v[] = {
	    value_text("p00001", 6),
	    {.type = VALUE_SEALED, .len = sizeof payload, .text = (const char *)payload},
	    value_integer(1)};
	struct row row = {.values = v, .values_n = 3};
	struct err e = {0};

	(void)state;
	needs_postgres();
	struct load *l = owner_make();
	for (int i = 0; i < 2; i++) {
		begin(l);
		row_add(t.process, &row);
		assert_false(batches_frame(&l->batches, FRAME_ROWS, false, 1,
					   x.bodies[t.process].data, x.bodies[t.process].len, &e));
		assert_non_null(strstr(e.text, "income"));
		buf_clear(&x.bodies[t.process]);
		load_free(l);
		l = owner_make();
		v[1] = value_text("1500", 4); /* clear */
	}
}

static void
test_own_tells_the_policy_that_is_pinned(void **state)
{
	struct pack_reader r = {0};
	struct buf b = {0};
	struct own own;

	(void)state;
	needs_postgres();
	for (int pinned = 1; pinned >= 0; pinned--) {
		struct load *l = owner_make();
		buf_clear(&b);
		owner_own_write(&l->owner, 0, &b);
		pack_reader_start(&r, b.data, b.len);
		assert_true(wire_own_read(&r, &own) && pack_reader_end(&r));
		assert_int_equal(own.has_policy, pinned);
		assert_int_equal(own.policy_serial, pinned ? 7 : 0);
		assert_int_equal(own.policy_root[31], pinned ? 0xab : 0);
		own_free(&own);
		load_free(l);
		t.l = NULL;
		run("UPDATE admin_schema.pipeline SET policy_root = NULL, policy_serial = NULL");
	}
	pack_reader_free(&r);
	buf_free(&b);
}

/* ---- weir explain ---- */

static void
place(void *ctx, const struct record *rec, uint8_t out[static RID_BYTES])
{
	(void)ctx;
	(void)rec;
	memset(out, 4, RID_BYTES);
}

/* The state of process p1 with one event whose income is this. */
static void
state_store(const uint8_t *income, size_t n)
{
	static const uint8_t key[HASH_KEY_BYTES] = {0, 1, 2,  3,  4,  5,  6,  7,
						    8, 9, 10, 11, 12, 13, 14, 15};
	struct value fields[FIELDS_MAX] = {{0}};
	struct record rec = {.partition = 1,
			     .fields = fields,
			     .fields_n = t.m->sources[0].fields_n,
			     .has_sid = true};
	struct process_layout *layout = process_layout_new(t.m);
	struct process *p = process_new(layout, "p1", 2);
	struct expr_run_state st = {0};
	struct buf body = {0}, sql = {0};
	uint8_t hash[16];

	fields[4] =
	    (struct value){.type = VALUE_SEALED, .len = (uint32_t)n, .text = (const char *)income};
	assert_string_equal(t.m->sources[0].fields[4].name.s, "income");
	assert_int_equal(process_fold(layout, p, &rec, place, NULL, &st), FOLD_APPLIED);
	process_encode(layout, p, &body);
	keyhash_process(key, "p1", 2, hash);
	buf_text(&sql, "DELETE FROM admin_schema.state_0; INSERT INTO admin_schema.state_0 (epoch,"
		       " batch, pipeline, kg, build, tombstone, key, body) VALUES (1, 1, 1, 0, 1,"
		       " false, encode('\\x");
	for (unsigned i = 0; i < sizeof hash; i++)
		buf_printf(&sql, "%02x", hash[i]);
	buf_text(&sql, "', 'hex')::uuid, '\\x");
	for (size_t i = 0; i < body.len; i++)
		buf_printf(&sql, "%02x", body.data[i]);
	buf_text(&sql, "')");
	struct err e;
	if (!pg_script(t.eye, buf_cstr(&sql), &e))
		fail_msg("%s", e.text);
	buf_free(&sql);
	buf_free(&body);
	process_free(layout, p);
	process_layout_free(layout);
	expr_run_free(&st);
}

static void
explained(bool json, const char *expected)
{
	struct buf out = {0};
	struct err e;

	if (!explain_process(t.eye, t.m, "p1", json, &out, &e))
		fail_msg("%s", e.text);
	if (!strstr(buf_cstr(&out), expected))
		fail_msg("no %s in %s", expected, buf_cstr(&out));
	for (size_t i = 0; i < out.len; i++)
		assert_true(out.data[i] == '\n' || (out.data[i] >= ' ' && out.data[i] < 0x7f));
	buf_free(&out);
}

static void
test_explain_tells_the_class_and_no_bytes(void **state)
{
	static const uint8_t erased[4] = {1, 1, 2, 0};

	(void)state;
	needs_postgres();
	state_store(payload, sizeof payload);
	explained(false, "sealed (financial)");
	explained(true, "\"income\":\"sealed (financial)\"");
	state_store(erased, sizeof erased);
	explained(false, "erased");
	explained(true, "\"income\":\"erased\"");
}

/* ---- the world ---- */

static unsigned
table(const char *name)
{
	int i = model_table_find(t.m, name, strlen(name));

	check(i >= 0);
	return (unsigned)i;
}

static void
model_make(void)
{
	struct conf_report report = {0};

	if (!conf_read_text("shop.yaml", pipeline_text, strlen(pipeline_text), &t.m, &report)) {
		fprintf(stderr, "%s\n", buf_cstr(&report.text));
		exit(1);
	}
	conf_report_free(&report);
	t.raw = table("raw_order");
	t.process = table("process");
}

static void
roles_make(void)
{
	struct err e = {0};
	struct name login;

	for (unsigned i = 0; i < GROUP_MAX; i++) {
		struct buf sql = {0};
		buf_printf(&sql, "CREATE ROLE %s NOLOGIN", ddl_groups[i].name);
		run(buf_cstr(&sql));
		buf_free(&sql);
	}
	for (unsigned i = 0; i < LOGIN_MAX; i++) {
		struct buf sql = {0};
		assert_true(ddl_login_name(t.m, (enum ddl_login)i, &login, &e));
		buf_printf(&sql, "CREATE ROLE %s LOGIN PASSWORD 'secret'", login.s);
		run(buf_cstr(&sql));
		buf_free(&sql);
	}
	assert_true(ddl_login_name(t.m, LOGIN_LOAD, &login, &e));
	run("GRANT SET ON PARAMETER session_replication_role TO weir_shop_load");
	assert_true(pg_dsn_for(t.eye, login.s, "secret", &t.dsn, &e));
}

static void
world_open(void)
{
	struct err e = {0};
	static const char *const settings[] = {"timezone=UTC", "client_min_messages=warning", NULL};

	model_make();
	int fd = metric_page_create(ROLE_LOAD, 0, &e);
	t.page = metric_page_map(fd, true, &e);
	close(fd);
	const char *dsn = getenv("WEIR_TEST_DSN");
	if (dsn == NULL)
		return;
	if (!pg_connect(dsn, "eye", settings, 5000, &t.eye, &e)) {
		fprintf(stderr, "%s\n", e.text);
		exit(1);
	}
	roles_make();
}

static void
world_close(void)
{
	pg_close(t.eye);
	model_free(t.m);
	buf_free(&t.dsn);
	metric_page_unmap(t.page);
	for (unsigned i = 0; i < TABLES_MAX + 1; i++)
		buf_free(&x.bodies[i]);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    WORLD(test_few_raw_rows),
	    WORLD(test_many_raw_rows),
	    WORLD(test_load_cannot_read_what_it_wrote),
	    WORLD(test_refused_raw_rows_are_found),
	    WORLD(test_sealed_folds_the_greater_revision_stays),
	    WORLD(test_dead_letters_and_their_replay),
	    WORLD(test_replay_is_no_failure),
	    WORLD(test_a_value_that_is_not_carried_is_a_breach),
	    WORLD(test_own_tells_the_policy_that_is_pinned),
	    WORLD(test_explain_tells_the_class_and_no_bytes),
	};

	(void)argc;
	if (!getenv("WEIR_TEST_DSN")) {
		if (access("/usr/lib/postgresql/15/bin/initdb", X_OK) == 0) {
			execlp("python3", "python3", "tests/e2e/postgres_server.py", argv[0], NULL);
			perror("python3");
			return 1;
		}
		fprintf(stderr, "*** POSTGRESQL 15 IS NOT HERE: its tests are SKIPPED ***\n");
	}
	log_open("test_load_sealed");
	keyhash_init();
	world_open();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	world_close();
	return failed;
}
