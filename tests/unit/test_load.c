/*
 * Load against a private PostgreSQL: take-over, fence, merges, refused rows, doubtful commits. Starts itself again
 * under tests/e2e/postgres_server.py, which owns the cluster; without PostgreSQL every test is skipped, loudly.
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

#include "conf.h"
#include "ddl.h"
#include "keyhash.h"
#include "load/load.h"
#include "log.h"
#include "mem.h"
#include "pg_login.h"
#include "sql/migrations.h"

static const char pipeline_text[] =
    "pipeline: shop\n"
    "lanes: 1\n"
    "correlate:\n"
    "  by: order_id\n"
    "  folds:\n"
    "    total: { sum: order.price }\n"
    "    product: { first: order.product }\n"
    "  complete:\n"
    "    paid: \"total > 0\"\n"
    "    product: \"product is not null\"\n"
    "sources:\n"
    "  order:\n"
    "    file: { path: \"/nowhere/order*.ndjson\" }\n"
    "    format: json\n"
    "    time: at\n"
    "    fields: { order_id: text, product: text, price: decimal, at: timestamp }\n"
    "  product:\n"
    "    file: { path: \"/nowhere/product*.ndjson\" }\n"
    "    format: json\n"
    "    time: at\n"
    "    reference: product\n"
    "    fields: { product: text, title: text, at: timestamp }\n"
    "warehouse:\n"
    "  postgresql: { dsn: \"postgresql:///none\", logins: \"/nowhere\" }\n"
    "tables:\n"
    "  dim_product:\n"
    "    kind: dimension\n"
    "    key: product\n"
    "    from: product\n"
    "    columns: { title: title }\n"
    "  fact_order:\n"
    "    kind: fact\n"
    "    grain: process\n"
    "    key: order_id\n"
    "    columns: { total: total }\n"
    "    references: { dim_product: product }\n"
    "  fact_event:\n"
    "    kind: fact\n"
    "    grain: order\n"
    "    key: order_id\n"
    "    columns: { price: price }\n"
    "    references: { dim_product: product }\n";

enum {
	DIM_PRODUCT,
	FACT_ORDER,
	FACT_EVENT,
};

static char topic[] = "weir.shop";

static struct {
	struct model *m;
	struct metric_page *page;
	struct buf dsn; /* of the load login, with the rights that apply gives it and no other */
	struct pg *eye; /* looks at what is there */
	struct worker workers[2];
	struct load *loads[2];
	int64_t batch;
	void (*meanwhile)(void); /* once, while a loader waits for the server */
} t;

bool
load_breathe(void *ctx)
{
	(void)ctx;
	void (*fn)(void) = t.meanwhile;

	t.meanwhile = NULL;
	if (fn)
		fn();
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
grants_make(void)
{
	struct err e = {0};
	struct buf sql = {0};

	if (!ddl_grants(t.m, grant_run, &sql, &e) || !pg_script(t.eye, buf_cstr(&sql), &e))
		fail_msg("grants: %s", e.text);
	buf_free(&sql);
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
	buf_free(&sql);
	grants_make();
	run("INSERT INTO admin_schema.pipeline (id, name, g, hash_key)"
	    " VALUES (1, 'shop', 128, '\\x000102030405060708090a0b0c0d0e0f')");
}

static struct load *
loader(int i, const char *instance)
{
	struct worker *w = &t.workers[i];

	load_free(t.loads[i]); /* of an earlier life in the same test */
	memset(w, 0, sizeof(*w));
	w->model = t.m;
	w->page = t.page;
	w->count[ROLE_INGEST] = 1;
	snprintf(w->instance, sizeof(w->instance), "%s", instance);
	t.loads[i] = load_new(w, mem_string(buf_cstr(&t.dsn)));
	return t.loads[i];
}

static void
connected(struct load *l)
{
	struct err e = {0};

	if (!load_connect(l, &e))
		fail_msg("%s", e.text);
}

static struct load *
owner_make(int i, const char *instance)
{
	struct load *l = loader(i, instance);
	struct err e = {0};

	connected(l);
	if (!takeover(l, &e))
		fail_msg("%s", e.text);
	load_owned(l);
	t.batch = 0;
	return l;
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
	t.m->exchange.topic = NULL;
	for (int i = 0; i < 2; i++) {
		load_free(t.loads[i]);
		t.loads[i] = NULL;
	}
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
	struct buf bodies[TABLES_MAX + 2];
	uint32_t counts[TABLES_MAX + 2];
	struct position positions[8];
	uint32_t positions_n;
	uint64_t events;
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
	struct begin begin = {.shard = l->w->index, .epoch = l->owner.epoch, .n = ++t.batch};

	memset(x.counts, 0, sizeof(x.counts));
	x.positions_n = 0;
	x.events = 1000000; /* so that no limit of dead letters is met by chance */
	wire_begin_write(&b, &begin);
	feed(l, FRAME_BEGIN, 1, &b);
	buf_free(&b);
}

static void
row_add(unsigned table, struct value *values, unsigned n, uint64_t missing, unsigned rid)
{
	struct row row = {.values = values, .values_n = n, .missing = missing};

	if (x.bodies[table].len == 0)
		wire_table_write(&x.bodies[table], table);
	row.rid[15] = (uint8_t)rid;
	row.rid[14] = (uint8_t)(rid >> 8);
	wire_row_write(&x.bodies[table], &row);
	x.counts[table]++;
}

static int64_t
product_key(const char *product)
{
	static const uint8_t key[HASH_KEY_BYTES] = {0, 1, 2,  3,  4,  5,  6,  7,
						    8, 9, 10, 11, 12, 13, 14, 15};
	return keyhash_surrogate(key, product, strlen(product));
}

static void
member(const char *product, const char *title, int64_t version, unsigned rid)
{
	struct value v[] = {
	    value_integer(product_key(product)), value_text(product, strlen(product)),
	    title ? value_text(title, strlen(title)) : value_null(), value_boolean(title == NULL),
	    title ? value_timestamp(version) : value_null()};

	row_add(DIM_PRODUCT, v, 5, 0, rid);
}

static void
order(const char *id, int64_t cents, int64_t product, int64_t revision)
{
	struct value v[] = {value_text(id, strlen(id)), value_decimal(cents, 2),
			    value_integer(product),	value_text("open", 4),
			    value_timestamp(0),		value_null(),
			    value_integer(revision),	value_integer(revision)};

	row_add(FACT_ORDER, v, 8, 2, 0);
}

static void
event(unsigned rid, int128 units, unsigned scale, int64_t product)
{
	struct value v[] = {value_text("o", 1), value_timestamp(1000000),
			    value_decimal(units, scale), value_integer(product)};

	row_add(FACT_EVENT, v, 4, 0, rid);
}

static void
position(uint32_t partition, int64_t next)
{
	x.positions[x.positions_n++] = (struct position){.partition = partition, .next = next};
}

static void
state_add(uint8_t key)
{
	struct state_row s = {.key = {key},
			      .kg = 7,
			      .has_check_at = key % 2,
			      .check_at_us = 5,
			      .body = (const uint8_t *)"body",
			      .body_len = 4};

	wire_state_write(&x.bodies[TABLES_MAX], &s);
	x.counts[TABLES_MAX]++;
}

static void
dead_add(uint8_t rid)
{
	struct dead d = {.rid = {0, rid},
			 .source = 0,
			 .partition = 1,
			 .offset = rid,
			 .stage = "ingest",
			 .stage_len = 6,
			 .reason = "no",
			 .reason_len = 2};

	wire_dead_write(&x.bodies[TABLES_MAX + 1], &d);
	x.counts[TABLES_MAX + 1]++;
}

static void
end_of(struct load *l, struct end_range *ranges, uint32_t ranges_n)
{
	struct end e = {.n = t.batch,
			.ranges = ranges,
			.ranges_n = ranges_n,
			.state = x.counts[TABLES_MAX],
			.dead = x.counts[TABLES_MAX + 1],
			.tables_n = t.m->tables_n,
			.sources_n = t.m->sources_n};
	struct buf b = {0};

	for (unsigned i = 0; i < TABLES_MAX; i++)
		e.rows[i] = x.counts[i];
	e.sources[0].events = x.events;
	for (unsigned i = 0; i < TABLES_MAX; i++)
		if (x.counts[i])
			feed(l, FRAME_ROWS, x.counts[i], &x.bodies[i]);
	if (x.counts[TABLES_MAX])
		feed(l, FRAME_STATE, x.counts[TABLES_MAX], &x.bodies[TABLES_MAX]);
	if (x.counts[TABLES_MAX + 1])
		feed(l, FRAME_DEAD, x.counts[TABLES_MAX + 1], &x.bodies[TABLES_MAX + 1]);
	wire_end_write(&b, &e);
	feed(l, FRAME_END, 1, &b);
	buf_free(&b);
}

static void
end(struct load *l)
{
	struct end_range range = {
	    .kg_lo = 0, .kg_hi = 127, .positions = x.positions, .positions_n = x.positions_n};

	end_of(l, &range, 1);
}

static void
commit_is(struct load *l, enum commit_outcome expected, struct err *e)
{
	enum commit_outcome got = commit_batch(l, batches_ready(&l->batches), e);

	if (got != expected)
		fail_msg("outcome %d, not %d: %s", got, expected, e->text);
	if (got == COMMIT_DONE) {
		l->owner.batch = t.batch;
		owner_settled(&l->owner);
		batches_drop(&l->batches);
	}
}

static void
commit(struct load *l)
{
	struct err e = {0};

	end(l);
	commit_is(l, COMMIT_DONE, &e);
}

/* ---- tests ---- */

static void
test_a_batch_is_all_there(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "a");
	assert_true(l->owner.state_empty);
	assert_int_equal(l->owner.ranges_n, 1);
	run("INSERT INTO admin_schema.partition (pipeline, id, source, label, digest, kind)"
	    " SELECT 1, 1, id, 'f', sha256('f'), 'durable' FROM admin_schema.source WHERE name = "
	    "'order'");
	struct known k = {.source = 0, .label = (char[]){"f"}, .label_len = 1};
	owner_partition(&l->owner, 1, &k);
	begin(l);
	member("pen", NULL, 0, 0);
	order("o1", 1234, product_key("pen"), 1);
	order("o2", -5, -1, 1);
	event(1, 1234, 2, product_key("pen"));
	state_add(1);
	state_add(2);
	dead_add(9);
	position(1, 17);
	commit(l);
	text_is("SELECT string_agg(order_id || ' ' || total || ' ' || status || ' ' || "
		"missing::text || ' ' ||"
		" batch, ', ' ORDER BY order_id) FROM analytical_schema.fact_order",
		"o1 12.34 open {product} 1, o2 -0.05 open {product} 1");
	text_is(
	    "SELECT product || inferred FROM analytical_schema.dim_product WHERE product_key > 0",
	    "pentrue");
	text_is("SELECT rid || ' ' || price || ' ' || event_at FROM analytical_schema.fact_event",
		"00000000-0000-0000-0000-000000000001 12.34 1970-01-01 00:00:01+00");
	assert_int_equal(number("SELECT count(*) FROM admin_schema.state_0 WHERE epoch ="
				" (SELECT max(epoch) FROM admin_schema.shard) AND batch = 1"),
			 2);
	assert_int_equal(number("SELECT count(check_at) FROM admin_schema.state"), 1);
	assert_int_equal(number("SELECT position FROM admin_schema.dead_letter"), 9);
	text_is("SELECT partition::text || next::text FROM admin_schema.key_range", "{1}{17}");
	assert_int_equal(number("SELECT batch FROM admin_schema.shard"), 1);
}

/* The few-rows way and the COPY way write the same. */
static void
many_orders(struct load *l, unsigned n, int64_t revision)
{
	char id[16];

	begin(l);
	member("pen", NULL, 0, 0);
	for (unsigned i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "o%05u", i);
		order(id, i, product_key("pen"), revision);
		event(i + 1, i, 2, product_key("pen"));
		state_add((uint8_t)i);
	}
	commit(l);
}

static void
test_many_rows_equal_few(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "a");
	uint64_t stale = metric_get(t.page, METRIC_STALE_ROWS);
	many_orders(l, 30, 2);
	many_orders(l, 3000, 3);
	many_orders(l, 3000, 3); /* the same revision: nothing is newer */
	many_orders(l, 20, 1);
	assert_int_equal(metric_get(t.page, METRIC_STALE_ROWS) - stale, 3020);
	assert_int_equal(
	    number("SELECT count(*) FROM analytical_schema.fact_order WHERE revision = 3"
		   " AND batch = 2 AND total = substr(order_id, 2)::numeric / 100"),
	    3000);
	assert_int_equal(number("SELECT count(*) FROM analytical_schema.fact_event"), 6050);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.state"), 6050);
}

static void
test_dimension_versions(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "a");
	static const char title[] =
	    "SELECT title || inferred || batch FROM analytical_schema.dim_product"
	    " WHERE product = 'pen'";
	begin(l);
	member("pen", NULL, 0, 0);
	commit(l);
	begin(l);
	member("pen", "Old pen", 100, 1);
	commit(l);
	text_is(title, "Old penfalse2");
	begin(l);
	member("pen", "New pen", 300, 3);
	member("pen", "Middle pen", 200, 2);
	member("pen", NULL, 0, 0);
	commit(l);
	text_is(title, "New penfalse3");
	begin(l);
	member("pen", "Older pen", 50, 9);
	member("ink", "Ink", 50, 9);
	commit(l);
	text_is(title, "New penfalse3");
	/* The same time: the greater rid wins; and through the stage as well. */
	begin(l);
	for (unsigned i = 0; i < 200; i++) {
		char name[16];
		snprintf(name, sizeof(name), "p%u", i % 50);
		member(name,
		       i < 50	 ? "first"
		       : i < 100 ? "last"
		       : i < 150 ? NULL
				 : "middle",
		       300,
		       i < 50	 ? 1
		       : i < 100 ? 7
				 : 4);
		member("pen", "Last pen", 300, 4);
	}
	commit(l);
	text_is(title, "Last penfalse5");
	assert_int_equal(
	    number("SELECT count(*) FROM analytical_schema.dim_product WHERE title = 'last'"
		   " AND NOT inferred AND product LIKE 'p%'"),
	    50);
}

static void
test_a_collision_is_a_dead_letter(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "a");
	struct value v[] = {value_integer(product_key("pen")), value_text("other", 5), value_null(),
			    value_boolean(true), value_null()};
	begin(l);
	member("pen", NULL, 0, 0);
	row_add(DIM_PRODUCT, v, 5, 0, 0);
	commit(l);
	begin(l);
	for (int i = 0; i < 60; i++)
		row_add(DIM_PRODUCT, v, 5, 0, 0);
	commit(l);
	text_is("SELECT product FROM analytical_schema.dim_product WHERE product_key > 0", "pen");
	text_is("SELECT stage || ': ' || reason FROM admin_schema.dead_letter",
		"load: dim_product: another natural key has the same surrogate key");
}

static void
test_refused_rows_are_found(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "a");
	run("ALTER TABLE analytical_schema.fact_event ADD CONSTRAINT no_13 CHECK (price <> 13)");
	run("ALTER TABLE analytical_schema.fact_order ALTER total TYPE numeric(5,2)");
	for (unsigned round = 0; round < 2; round++) {
		unsigned n = round ? 2000 : 15;
		char id[16];
		begin(l);
		for (unsigned i = 0; i < n; i++) {
			snprintf(id, sizeof(id), "r%u-%u", round, i);
			order(id, i % 500 == 7 ? 100000000 : i, -1, 1);
			event(1 + round * 5000 + i, i % 300 == 13 ? 13 : i + 100, 0, -1);
			state_add((uint8_t)i);
		}
		commit(l);
	}
	assert_int_equal(number("SELECT count(*) FROM analytical_schema.fact_order"), 2015 - 1 - 4);
	assert_int_equal(number("SELECT count(*) FROM analytical_schema.fact_event"), 2015 - 1 - 7);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.state"), 2015);
	assert_int_equal(
	    number("SELECT count(*) FROM admin_schema.dead_letter WHERE stage = 'load'"), 13);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.dead_letter WHERE source ="
				" (SELECT id FROM admin_schema.source WHERE name = 'order')"),
			 8);
	assert_int_equal(
	    number("SELECT count(*) FROM admin_schema.dead_letter WHERE reason LIKE"
		   " 'fact_event: check constraint violated, table fact_event, constraint no_13%'"),
	    8);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.dead_letter WHERE reason LIKE"
				" '%number out of range%'"),
			 5);
}

static void
test_references_are_checked_as_sets(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "a");
	assert_true(l->set_checks);
	for (unsigned n = 10; n <= 1000; n *= 100) {
		begin(l);
		member("pen", NULL, 0, 0);
		for (unsigned i = 0; i < n; i++)
			event(i + 1, 1, 0, i == 3 ? 4711 : product_key("pen"));
		commit(l);
	}
	assert_int_equal(number("SELECT count(*) FROM analytical_schema.fact_event"), 1010 - 2);
	text_is("SELECT reason FROM admin_schema.dead_letter",
		"fact_event: refers to a row that does not exist, table "
		"fact_event, "
		"constraint fact_event_product_key_fk (SQLSTATE 23503)");
}

static void
test_too_many_dead_letters_stop(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "a");
	struct err e = {0};

	begin(l);
	for (unsigned i = 0; i < 101; i++)
		dead_add((uint8_t)i);
	x.events = 101;
	end(l);
	commit_is(l, COMMIT_STOP, &e);
	assert_int_equal(e.code, EXIT_DATA);
	assert_non_null(strstr(e.text, "dead_letter_limit"));
	assert_int_equal(number("SELECT count(*) FROM admin_schema.dead_letter"), 0);
	l->w->accept_dead = true;
	commit_is(l, COMMIT_DONE, &e);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.dead_letter"), 101);
}

static void
test_the_fence(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "same");
	struct err e = {0};

	begin(l);
	order("before", 1, -1, 1);
	commit(l);
	int64_t first = l->owner.epoch;
	begin(l);
	order("zombie", 1, -1, 1);
	end(l);
	struct load *next = owner_make(1, "same");
	assert_true(next->owner.epoch > first);
	assert_int_equal(next->owner.batch, 0);
	t.batch = 2;
	commit_is(l, COMMIT_FENCED, &e);
	assert_int_equal(e.code, EXIT_TRY_LATER);
	assert_non_null(strstr(e.text, "same has taken key groups 0 to 127 over"));
	t.batch = 0;
	begin(next);
	order("after", 1, -1, 1);
	commit(next);
	text_is(
	    "SELECT string_agg(order_id, ' ' ORDER BY order_id) FROM analytical_schema.fact_order",
	    "after before");
	assert_int_equal(number("SELECT count(*) FROM admin_schema.shard WHERE NOT closed"), 1);
	assert_int_equal(number("SELECT epoch FROM admin_schema.key_range"), next->owner.epoch);
}

static void
another_takes_over(void)
{
	run("SELECT nextval('admin_schema.epoch')");
	run("UPDATE admin_schema.shard SET closed = true");
	run("INSERT INTO admin_schema.shard (pipeline, build, epoch, instance, lane, backend_pid,"
	    " backend_start) VALUES (1, 1, currval('admin_schema.epoch'), 'same', 0, 0, now())");
	run("UPDATE admin_schema.key_range SET epoch = currval('admin_schema.epoch')");
	run("COMMIT");
}

/* States are told apart by their epochs: who comes late must not own with one from before. */
static void
test_a_late_take_over_has_a_later_epoch(void **state)
{
	(void)state;
	needs_postgres();
	owner_make(0, "same");
	run("BEGIN");
	run("SELECT FROM admin_schema.shard FOR UPDATE");
	t.meanwhile = another_takes_over;
	struct load *late = owner_make(1, "same");
	assert_true(t.meanwhile == NULL);
	assert_true(late->owner.epoch > number("SELECT currval('admin_schema.epoch')"));
	assert_int_equal(number("SELECT epoch FROM admin_schema.key_range"), late->owner.epoch);
	assert_int_equal(number("SELECT closed_by FROM admin_schema.shard"
				" WHERE epoch = currval('admin_schema.epoch')"),
			 late->owner.epoch);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.shard WHERE NOT closed"), 1);
	/* A sequence that went back, as after a restore, is drawn from until it is beyond. */
	run("SELECT setval('admin_schema.epoch', 1, false)");
	struct load *next = owner_make(0, "same");
	assert_true(next->owner.epoch > late->owner.epoch);
}

/* A loader that stands still inside its transaction holds its rows for ever: its session is ended. */
static void
test_a_stopped_loader_is_ended(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "same");
	struct err e = {0};

	assert_true(pg_exec(l->pg, "BEGIN", NULL, &e));
	assert_true(pg_exec(l->pg, "UPDATE admin_schema.shard SET batch = 1", NULL, &e));
	assert_true(pg_exec(l->pg, "UPDATE admin_schema.key_range SET next = '{}'", NULL, &e));
	struct mono began = mono_now();
	owner_make(1, "same");
	assert_true(mono_since_ms(began, mono_now()) < 2000);
	assert_false(pg_exec(l->pg, "COMMIT", NULL, &e));
	assert_false(pg_alive(l->pg));
	assert_int_equal(number("SELECT batch FROM admin_schema.shard WHERE closed"), 0);
}

static void
test_a_commit_in_doubt(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "a");
	struct err e = {0};
	bool committed = true;

	begin(l);
	order("one", 1, -1, 1);
	commit(l);
	/* Lost before the commit. */
	begin(l);
	order("two", 1, -1, 1);
	end(l);
	struct load *killer = loader(1, "a");
	connected(killer);
	assert_true(pg_exec(
	    killer->pg,
	    "SELECT pg_terminate_backend(backend_pid) FROM admin_schema.shard WHERE NOT closed",
	    NULL, &e));
	commit_is(l, COMMIT_RETRY, &e);
	assert_false(pg_alive(l->pg));
	pg_close(l->pg);
	connected(l);
	assert_true(takeover_verify(l, &committed, &e));
	assert_false(committed);
	commit_is(l, COMMIT_DONE, &e);
	/* Lost after it: the answer never came. */
	begin(l);
	order("three", 1, -1, 1);
	end(l);
	commit_is(l, COMMIT_DONE, &e);
	l->owner.batch--;
	pg_close(l->pg);
	connected(l);
	assert_true(takeover_verify(l, &committed, &e));
	assert_true(committed);
	/* A warehouse that went back. */
	run("UPDATE admin_schema.shard SET batch = 1");
	assert_false(takeover_verify(l, &committed, &e));
	assert_non_null(strstr(e.text, "went back"));
	assert_int_equal(number("SELECT count(*) FROM analytical_schema.fact_order"), 3);
	/* The session is the recorded one again. */
	assert_int_equal(number("SELECT backend_pid FROM admin_schema.shard"),
			 pg_backend_pid(l->pg));
}

static void
test_courtesy(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = owner_make(0, "first");
	struct load *other = loader(1, "second");
	struct err e = {0};

	connected(other);
	assert_false(takeover(other, &e));
	assert_int_equal(e.code, EXIT_TRY_LATER);
	assert_non_null(strstr(e.text, "held by first"));
	other->w->index = 1; /* other lanes obey too */
	assert_false(instance_claim(other, &e));
	assert_int_equal(e.code, EXIT_TRY_LATER);
	other->w->index = 0;
	instance_release(l);
	assert_true(takeover(other, &e));
	l->w->take_over = true;
	assert_true(takeover(l, &e));
	l->w->take_over = false;
	run("UPDATE admin_schema.instance SET heartbeat = now() - interval '6 s'");
	assert_true(takeover(other, &e));
}

static void
test_what_is_wrong_is_said(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = loader(0, "a");
	struct err e = {0};

	connected(l);
	run("UPDATE admin_schema.pipeline SET name = 'other'");
	assert_false(takeover(l, &e));
	assert_int_equal(e.code, EXIT_CONFIG);
	assert_non_null(strstr(e.text, "weir apply"));
	run("UPDATE admin_schema.pipeline SET name = 'shop'");
	/* A column is gone: no dead letters, stop. */
	assert_true(takeover(l, &e));
	load_owned(l);
	t.batch = 0;
	run("ALTER TABLE analytical_schema.fact_event DROP COLUMN price");
	begin(l);
	event(1, 1, 0, -1);
	end(l);
	commit_is(l, COMMIT_STOP, &e);
	assert_int_equal(e.code, EXIT_CONFIG);
	assert_non_null(strstr(e.text, "fact_event"));
	assert_non_null(strstr(e.text, "price"));
	assert_int_equal(number("SELECT count(*) FROM admin_schema.dead_letter"), 0);
}

/* OWN without the done one of the four; that one in a PART of its own. */
static void
frames_are(const struct owner *o)
{
	struct pack_reader r = {0};
	struct buf b = {0};
	struct own own;
	struct partition p;
	struct owner_rest rest;

	owner_own_write(o, 0, &b);
	pack_reader_start(&r, b.data, b.len);
	assert_true(wire_own_read(&r, &own) && pack_reader_end(&r));
	assert_int_equal(own.partitions_n, 3);
	own_free(&own);
	buf_clear(&b);
	owner_rest_start(o, false, &rest);
	assert_int_equal(owner_rest_write(o, &rest, &b), 0);
	owner_rest_start(o, true, &rest);
	assert_int_equal(owner_rest_write(o, &rest, &b), 1);
	assert_int_equal(owner_rest_write(o, &rest, &b), 0);
	pack_reader_start(&r, b.data, b.len);
	assert_true(wire_partition_read(&r, &p) && pack_reader_end(&r));
	assert_int_equal(p.id, 4);
	assert_true(p.done);
	pack_reader_free(&r);
	buf_free(&b);
}

/* More files than a frame holds, with the longest labels: OWN has some, PART frames the rest. */
static void
test_own_stays_within_a_frame(void **state)
{
	(void)state;
	struct owner o = {0};
	struct buf b = {0}, label = {0};
	uint32_t told = 0, n;
	struct owner_rest rest;
	struct own own;
	struct pack_reader r = {0};
	struct known k = {.label_len = PARTITION_LABEL_MAX};

	for (int i = 0; i < PARTITION_LABEL_MAX; i++)
		buf_text(&label, "x");
	k.label = (char *)label.data;
	for (uint32_t i = 1; i <= 20000; i++)
		owner_partition(&o, i, &k);
	owner_range_add(&o, 0, 127);
	for (uint32_t i = 1; i <= 20000; i++)
		range_set(&o.ranges[0], i, INT64_MAX);
	owner_own_write(&o, 0, &b);
	assert_true(b.len < FRAME_BYTES_MAX);
	pack_reader_start(&r, b.data, b.len);
	assert_true(wire_own_read(&r, &own) && pack_reader_end(&r));
	told = own.partitions_n;
	assert_int_equal(own.ranges[0].positions_n, 20000);
	own_free(&own);
	owner_rest_start(&o, false, &rest);
	do {
		buf_clear(&b);
		n = owner_rest_write(&o, &rest, &b);
		assert_true(b.len < FRAME_BYTES_MAX);
		told += n;
	} while (n);
	assert_int_equal(told, 20000);
	pack_reader_free(&r);
	buf_free(&b);
	buf_free(&label);
	owner_free(&o);
}

static void
test_positions_come_back(void **state)
{
	(void)state;
	needs_postgres();
	struct pack_reader r = {0};
	struct buf b = {0};
	struct own own;
	struct load *l = owner_make(0, "a");
	run("INSERT INTO admin_schema.partition (pipeline, id, source, label, digest, kind, "
	    "done_at)"
	    " SELECT 1, n, id, 'f' || n, sha256(n::text::bytea), CASE n WHEN 3 THEN 'transient' "
	    "ELSE 'durable' END,"
	    " CASE n WHEN 4 THEN now() END"
	    " FROM admin_schema.source, generate_series(1, 4) n WHERE name = 'order'");
	for (uint32_t i = 1; i < 5; i++) {
		struct known k = {.source = 0,
				  .label = (char[]){"f"},
				  .label_len = 1,
				  .kind = i == 3 ? PARTITION_TRANSIENT : PARTITION_DURABLE};
		owner_partition(&l->owner, i, &k);
	}
	begin(l);
	for (uint32_t i = 1; i < 5; i++)
		position(i, i * 10);
	commit(l);
	begin(l);
	position(2, 99);
	position(1, 5); /* behind what is stored: never back */
	commit(l);
	struct load *next = owner_make(1, "a");
	assert_int_equal(next->owner.ranges[0].positions_n, 2);
	assert_int_equal(next->owner.ranges[0].positions[0].next, 10);
	assert_int_equal(next->owner.ranges[0].positions[1].next, 99);
	assert_true(owner_known(&next->owner, 4)->done);
	frames_are(&next->owner);
	assert_string_equal(owner_known(&next->owner, 2)->label, "f2");
	/* Its source left the file: kept, and named to nobody. */
	next->owner.partitions[2].source = -1;
	owner_own_write(&next->owner, 0, &b);
	pack_reader_start(&r, b.data, b.len);
	assert_true(wire_own_read(&r, &own) && pack_reader_end(&r));
	assert_int_equal(own.ranges[0].positions_n, 1);
	assert_int_equal(own.ranges[0].positions[0].partition, 1);
	assert_int_equal(next->owner.ranges[0].positions_n, 2);
	own_free(&own);
	pack_reader_free(&r);
	buf_free(&b);
	assert_int_equal(owner_known(&next->owner, 3)->kind, PARTITION_TRANSIENT);
}

/* ---- another number of lanes ---- */

static struct load *
lane_make(unsigned lane, unsigned lanes)
{
	struct load *l = loader((int)lane % 2, "a");
	struct err e = {0};

	l->w->index = lane;
	t.m->lanes = lanes;
	connected(l);
	if (!takeover(l, &e))
		fail_msg("%s", e.text);
	t.m->lanes = 1;
	load_owned(l);
	t.batch = 0;
	return l;
}

static void
partitions_make(unsigned n)
{
	struct buf sql = {0};

	buf_printf(&sql,
		   "INSERT INTO admin_schema.partition (pipeline, id, source, label, digest, kind)"
		   " SELECT 1, n, id, 'f' || n, sha256(n::text::bytea), 'durable'"
		   " FROM admin_schema.source, generate_series(1, %u) n WHERE name = 'order'",
		   n);
	run(buf_cstr(&sql));
	buf_free(&sql);
}

static void
ranges_are(const char *expected)
{
	text_is("SELECT string_agg(format('%s-%s %s', kg_lo, kg_hi, next), ' ' ORDER BY kg_lo)"
		" FROM admin_schema.key_range",
		expected);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.key_range r"
				" WHERE NOT EXISTS (SELECT FROM admin_schema.shard s"
				" WHERE s.epoch = r.epoch)"),
			 0);
}

/* One commit of the lane: each of its ranges has read the first partition up to there. */
static void
read_to(struct load *l, int64_t first, int64_t second)
{
	struct end_range ranges[8];
	struct position at[8];
	struct err e = {0};
	uint32_t n = l->owner.ranges_n;

	begin(l);
	for (uint32_t i = 0; i < n; i++) {
		at[i] = (struct position){.partition = 1, .next = i ? second : first};
		ranges[i] = (struct end_range){.kg_lo = l->owner.ranges[i].kg_lo,
					       .kg_hi = l->owner.ranges[i].kg_hi,
					       .positions = &at[i],
					       .positions_n = 1};
	}
	end_of(l, ranges, n);
	commit_is(l, COMMIT_DONE, &e);
}

/* Lanes 1, 3, 2, 1: a split copies, what was joined keeps both until they are equal. */
static void
test_positions_of_other_lanes(void **state)
{
	(void)state;
	needs_postgres();
	lane_make(0, 1);
	partitions_make(1);
	read_to(lane_make(0, 1), 10, 10);
	ranges_are("0-127 {10}");
	/* One of the three is born and reads on; the others' groups wait where they were. */
	struct load *l = lane_make(1, 3);
	assert_int_equal(l->owner.ranges_n, 1);
	assert_int_equal(l->owner.ranges[0].positions[0].next, 10);
	ranges_are("0-42 {10} 43-85 {10} 86-127 {10}");
	assert_int_equal(number("SELECT count(DISTINCT epoch) FROM admin_schema.key_range"), 2);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.shard WHERE NOT closed"), 1);
	read_to(l, 20, 20);
	lane_make(0, 3);
	lane_make(2, 3);
	ranges_are("0-42 {10} 43-85 {20} 86-127 {10}");
	assert_int_equal(number("SELECT count(*) FROM admin_schema.shard WHERE NOT closed"), 3);
	l = lane_make(0, 2);
	ranges_are("0-42 {10} 43-63 {20} 64-85 {20} 86-127 {10}");
	assert_int_equal(l->owner.ranges_n, 2);
	assert_int_equal(l->owner.ranges[1].kg_hi, 63);
	assert_int_equal(l->owner.ranges[1].positions[0].next, 20);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.shard WHERE NOT closed"), 2);
	read_to(l, 15, 20);
	ranges_are("0-42 {15} 43-63 {20} 64-85 {20} 86-127 {10}");
	read_to(l, 25, 25);
	ranges_are("0-63 {25} 64-85 {20} 86-127 {10}");
	assert_int_equal(l->owner.ranges_n, 1);
	read_to(l, 30, 30);
	ranges_are("0-63 {30} 64-85 {20} 86-127 {10}");
	read_to(lane_make(0, 1), 40, 40);
	ranges_are("0-127 {40}");
	assert_int_equal(number("SELECT count(*) FROM admin_schema.shard WHERE NOT closed"), 1);
}

/* What correlate knows as two stays two in its frames, and a commit that is lost joins again. */
static void
test_joined_ranges_are_still_told_apart(void **state)
{
	(void)state;
	needs_postgres();
	struct err e = {0};
	struct position at = {.partition = 1, .next = 7};
	struct end_range two[2] = {{.kg_lo = 0, .kg_hi = 63, .positions = &at, .positions_n = 1},
				   {.kg_lo = 64, .kg_hi = 127, .positions = &at, .positions_n = 1}};

	lane_make(0, 2);
	lane_make(1, 2);
	partitions_make(1);
	struct load *l = lane_make(0, 1);
	assert_int_equal(l->owner.ranges_n, 2);
	begin(l);
	end_of(l, two, 2);
	run("BEGIN");
	run("LOCK TABLE admin_schema.key_range");
	assert_true(pg_exec(l->pg, "SET lock_timeout = 50", NULL, &e));
	commit_is(l, COMMIT_RETRY, &e);
	run("ROLLBACK");
	ranges_are("0-63 {} 64-127 {}");
	commit_is(l, COMMIT_DONE, &e);
	ranges_are("0-127 {7}");
	begin(l);
	at.next = 8;
	end_of(l, two, 2);
	commit_is(l, COMMIT_DONE, &e);
	ranges_are("0-127 {8}");
}

static void
another_makes_ranges(void)
{
	run("INSERT INTO admin_schema.key_range (pipeline, build, kg_lo, kg_hi, epoch)"
	    " VALUES (1, 1, 0, 20, 0)");
	run("COMMIT");
}

/* Two first starts at once do not make rows that overlap. */
static void
test_ranges_are_made_once(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = loader(0, "a");
	struct err e = {0};

	connected(l);
	run("BEGIN");
	run("SELECT pg_advisory_xact_lock('admin_schema.key_range'::regclass::integer, 1)");
	t.meanwhile = another_makes_ranges;
	assert_true(takeover(l, &e));
	assert_true(t.meanwhile == NULL);
	ranges_are("0-20 {} 21-127 {}");
	assert_int_equal(l->owner.ranges_n, 2);
}

/* ---- an exchange ---- */

/* A replica's lane that CLAIM gave these key groups. */
static struct load *
replica_make(int i, const char *instance, unsigned lane, const uint16_t *groups, uint32_t n)
{
	struct load *l = loader(i, instance);
	const struct claim c = {(uint16_t *)(uintptr_t)groups, n};
	struct err e = {0};

	t.m->exchange.topic = topic;
	l->w->index = lane;
	l->w->count[ROLE_RELAY] = 1;
	l->w->count[ROLE_LOAD] = 2;
	owner_claim(&l->owner, &c);
	connected(l);
	if (!takeover(l, &e))
		fail_msg("%s", e.text);
	load_owned(l);
	t.batch = 0;
	return l;
}

#define GROUPS(...) (const uint16_t[]){__VA_ARGS__}, sizeof((uint16_t[]){__VA_ARGS__}) / 2

static void
group_to(struct load *l, uint32_t kg, struct position *at, uint32_t n, enum commit_outcome expected)
{
	struct end_range range = {.kg_lo = kg, .kg_hi = kg, .positions = at, .positions_n = n};
	struct err e = {0};

	begin(l);
	end_of(l, &range, 1);
	commit_is(l, expected, &e);
	if (expected == COMMIT_FENCED) {
		assert_int_equal(e.code, CTL_BYE_REBORN);
		assert_non_null(strstr(e.text, "over"));
	}
}

static void
test_key_groups_move_between_replicas(void **state)
{
	(void)state;
	needs_postgres();
	/* What one host has read is where the marks begin. */
	lane_make(0, 1);
	partitions_make(3);
	read_to(lane_make(0, 1), 10, 10);
	struct load *a = replica_make(0, "a", 0, GROUPS(3, 4, 9));
	ranges_are("0-2 {10} 3-3 {10} 4-4 {10} 5-8 {10} 9-9 {10} 10-127 {10}");
	assert_int_equal(a->owner.ranges_n, 3);
	struct position at[] = {{1, 12}, {2, 1}};
	group_to(a, 4, at, 2, COMMIT_DONE);
	ranges_are("0-2 {10} 3-3 {10} 4-4 {12,1} 5-8 {10} 9-9 {10} 10-127 {10}");
	/* Equal ones are not joined, and who stands still is not written. */
	int64_t epoch = a->owner.epoch;
	run("UPDATE admin_schema.key_range SET epoch = 0 WHERE kg_lo = 9");
	at[0].next = 13;
	group_to(a, 4, at, 1, COMMIT_DONE);
	run("UPDATE admin_schema.key_range SET epoch = (SELECT max(epoch) FROM admin_schema.shard)"
	    " WHERE kg_lo = 9");
	/* Another replica is given two of them; what a has left waits for its next birth. */
	struct load *b = replica_make(1, "b", 0, GROUPS(4, 5, 9));
	ranges_are("0-2 {10} 3-3 {10} 4-4 {13,1} 5-5 {10} 6-8 {10} 9-9 {10} 10-127 {10}");
	assert_true(b->owner.epoch > epoch);
	assert_int_equal(b->owner.ranges[0].positions_n, 2);
	assert_int_equal(b->owner.ranges[0].positions[0].next, 13);
	t.batch = a->owner.batch;
	at[0].next = 99;
	group_to(a, 4, at, 1, COMMIT_FENCED);
	a = replica_make(0, "a", 0, GROUPS(3));
	at[0].next = 14;
	group_to(b, 4, at, 1, COMMIT_DONE);
	t.batch = 0;
	group_to(a, 3, at, 1, COMMIT_DONE);
	ranges_are("0-2 {10} 3-3 {14} 4-4 {14,1} 5-5 {10} 6-8 {10} 9-9 {10} 10-127 {10}");
	text_is("SELECT string_agg(instance, ' ' ORDER BY instance) FROM admin_schema.replica",
		"a b");
	assert_int_equal(number("SELECT count(*) FROM admin_schema.shard WHERE NOT closed"), 2);
	instance_release(a);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.replica"), 1);
}

static void
test_a_lane_without_key_groups(void **state)
{
	(void)state;
	needs_postgres();
	struct err e = {0};
	struct load *a = replica_make(0, "a", 1, NULL, 0);

	assert_int_equal(a->owner.ranges_n, 0);
	begin(a);
	end_of(a, NULL, 0);
	commit_is(a, COMMIT_DONE, &e);
	/* Its next life closes the row that no take-over would. */
	replica_make(0, "a", 1, NULL, 0);
	replica_make(1, "b", 1, NULL, 0);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.shard WHERE NOT closed"), 2);
	assert_int_equal(number("SELECT count(*) FROM admin_schema.key_range"), 0);
}

static void
another_gives_ids(void)
{
	run("COMMIT");
}

/* Replicas find the same partitions, and others, at the same time. */
static void
test_ids_are_given_once(void **state)
{
	(void)state;
	needs_postgres();
	struct load *l = replica_make(0, "a", 0, GROUPS(1));
	struct buf body = {0};
	struct err e = {0};
	const char *const labels[] = {"t/0", "t/1", "t/2"};

	run("BEGIN");
	run("INSERT INTO admin_schema.partition (pipeline, id, source, label, digest, kind)"
	    " SELECT 1, n, id, 't/' || n, sha256(convert_to('t/' || n, 'UTF8')), 'durable'"
	    " FROM admin_schema.source, generate_series(1, 2) n WHERE name = 'order'");
	for (unsigned i = 0; i < 3; i++) {
		struct partition p = {.label = labels[i], .label_len = 3, .number = i};
		wire_partition_write(&body, &p);
	}
	l->w->count[ROLE_RELAY] = 0; /* nobody to tell */
	t.meanwhile = another_gives_ids;
	assert_true(partitions_ask(l, body.data, body.len, &e));
	assert_true(t.meanwhile == NULL);
	buf_free(&body);
	text_is("SELECT string_agg(id || ' ' || label, ', ' ORDER BY id)"
		" FROM admin_schema.partition",
		"1 t/1, 2 t/2, 3 t/0");
	assert_string_equal(owner_known(&l->owner, 1)->label, "t/1");
	assert_string_equal(owner_known(&l->owner, 3)->label, "t/0");
}

/* A file with as many tables as may be needs as many prepared statements. */
static void
test_every_statement_is_prepared(void **state)
{
	(void)state;
	needs_postgres();
	char *sql[STATEMENTS_MAX];
	struct pg_result *results[STATEMENTS_MAX];
	struct err e = {0};

	for (unsigned i = 0; i < STATEMENTS_MAX; i++) {
		struct buf b = {0};
		buf_printf(&b, "SELECT %u", i);
		sql[i] = mem_string(buf_cstr(&b));
		buf_free(&b);
	}
	struct load *l = owner_make(0, "a");
	for (unsigned round = 0; round < 2; round++) {
		assert_true(pg_pipeline_begin(l->pg, &e));
		for (unsigned i = 0; i < STATEMENTS_MAX; i++)
			assert_true(pg_pipeline_prepared(l->pg, sql[i], NULL, 0, &e));
		assert_true(pg_pipeline_end(l->pg, results, STATEMENTS_MAX, NULL, &e));
		for (unsigned i = 0; i < STATEMENTS_MAX; i++) {
			assert_int_equal(pg_int(results[i], 0, 0), i);
			pg_result_free(results[i]);
		}
	}
	for (unsigned i = 0; i < STATEMENTS_MAX; i++)
		free(sql[i]);
}

/* ---- the world ---- */

static struct model *
model_make(void)
{
	struct conf_report report = {0};
	struct model *m = NULL;

	if (!conf_read_text("shop.yaml", pipeline_text, strlen(pipeline_text), &m, &report)) {
		fprintf(stderr, "%s\n", buf_cstr(&report.text));
		exit(1);
	}
	conf_report_free(&report);
	return m;
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

	t.m = model_make();
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
	for (unsigned i = 0; i < TABLES_MAX + 2; i++)
		buf_free(&x.bodies[i]);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_a_batch_is_all_there, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_many_rows_equal_few, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_dimension_versions, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_collision_is_a_dead_letter, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refused_rows_are_found, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_references_are_checked_as_sets, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_too_many_dead_letters_stop, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_the_fence, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_late_take_over_has_a_later_epoch, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_a_stopped_loader_is_ended, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_commit_in_doubt, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_courtesy, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_what_is_wrong_is_said, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_positions_come_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_own_stays_within_a_frame, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_positions_of_other_lanes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_joined_ranges_are_still_told_apart, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_ranges_are_made_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_key_groups_move_between_replicas, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_lane_without_key_groups, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_ids_are_given_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_every_statement_is_prepared, setup, teardown),
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
	log_open("test_load");
	keyhash_init();
	world_open();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	world_close();
	return failed;
}
