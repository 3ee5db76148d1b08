/*
 * The pipeline file as a model: what the example says, what each role's slice keeps and hides,
 * secrets, units, bounds, hostile text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glob.h>
#include <unistd.h>

#include "conf.h"
#include "mem.h"

static struct model *
read_file(const char *path)
{
	struct conf_report report = {0};
	struct model *m = NULL;

	if (!conf_read_file(path, &m, &report))
		print_message("%s", buf_cstr(&report.text));
	conf_report_free(&report);
	assert_non_null(m);
	return m;
}

static struct model *
read_text(const char *text)
{
	struct conf_report report = {0};
	struct model *m = NULL;

	if (!conf_read_text("/etc/weir/test.yaml", text, strlen(text), &m, &report))
		print_message("%s", buf_cstr(&report.text));
	conf_report_free(&report);
	assert_non_null(m);
	return m;
}

/* True when the text is refused, and the report has these words. */
static bool
refused(const char *text, size_t n, const char *words)
{
	struct conf_report report = {0};
	struct model *m = NULL;
	bool fine = conf_read_text("x.yaml", text, n, &m, &report);
	bool found = !fine && strstr(buf_cstr(&report.text), words);

	if (!found)
		print_message("wanted \"%s\", got: %s\n", words,
			      fine ? "valid" : buf_cstr(&report.text));
	model_free(m);
	conf_report_free(&report);
	return found;
}

static int
variables_setup(void **state)
{
	(void)state;
	setenv("WEIR_DSN", "postgresql://owner:secret@localhost/warehouse", 1);
	setenv("WEIR_DATA", "/srv/loans", 1);
	setenv("WEIR_LOGINS", "/etc/weir/logins", 1);
	setenv("WEIR_KEYS", "/etc/weir/keys", 1);
	setenv("WEIR_KAFKA", "localhost:9092", 1);
	setenv("WEIR_AMQP", "file:/etc/weir/sources/amqp", 1);
	setenv("WEIR_RID_KEY", "file:/etc/weir/keys/rid.key", 1);
	setenv("WEIR_LISTEN", "127.0.0.1:8080", 1);
	setenv("WEIR_HANDOFFS", "/var/lib/weir/handoffs", 1);
	return 0;
}

/* A source's name that is too long is told, once, and what is made of sources does without. */
static void
test_a_name_too_long(void **state)
{
	static const char *const more[] = {"raw: warehouse\nkeys: keys",
					   "exchange: { brokers: \"localhost:9092\" }"};
	char name[200], text[2000];

	(void)state;
	memset(name, 'a', sizeof name - 1);
	name[sizeof name - 1] = 0;
	for (unsigned i = 0; i < 2; i++) {
		int n = snprintf(
		    text, sizeof text,
		    "pipeline: p\n%s\ncorrelate: { by: id, folds: { n: { count: %s } } }\n"
		    "sources:\n  %s:\n    file: { path: \"/x/*\" }\n    time: none\n"
		    "    fields: { id: text, name: { type: text, sensitive: identity } }\n"
		    "warehouse: { postgresql: { dsn: \"x\", logins: l } }\n"
		    "tables: { f: { kind: fact, grain: process, key: id, columns: { n: n } } }\n",
		    more[i], name, name);
		assert_true(refused(text, (size_t)n, "63"));
	}
}

/* ---- the example ---- */

static void
example_sources(void **state)
{
	struct model *m = read_file("examples/loans/plain.yaml");

	(void)state;
	assert_string_equal(m->pipeline.s, "loans");
	assert_int_equal(m->groups, 128);
	assert_in_range(m->lanes, 1, LANES_MAX);
	assert_int_equal(m->ingests, 1);
	assert_int_equal(m->sources_n, 3);
	const struct source *s = &m->sources[0];
	assert_string_equal(s->name.s, "application");
	assert_string_equal(s->label, "application@#1");
	assert_int_equal(s->kind, SOURCE_FILE);
	assert_string_equal(s->path, "/srv/loans/application*.ndjson*");
	assert_true(s->follow);
	assert_int_equal(s->time, TIME_OF_FIELD);
	assert_string_equal(s->fields[s->time_field].name.s, "at");
	assert_string_equal(s->fields[s->sequence_field].name.s, "seq");
	assert_string_equal(s->fields[s->key_field].name.s, "case_id");
	assert_int_equal(s->fields_n, 8);
	assert_int_equal(s->fields[6].type, VALUE_DECIMAL);
	assert_string_equal(s->fields[6].path, "amount_requested");
	assert_true(s->fields[6].used);
	assert_false(s->fields[7].used); /* registered_at: nobody reads it */
	assert_int_equal(m->key_type, VALUE_TEXT);
	assert_string_equal(m->key_name.s, "case_id");
	assert_string_equal(m->dsn, "postgresql://owner:secret@localhost/warehouse");
	assert_string_equal(m->logins_dir, "/etc/weir/logins");
	assert_string_equal(m->listen, "127.0.0.1:0");
	assert_null(m->zone);
	assert_int_equal(model_source_find(m, "offer", 5), 1);
	assert_int_equal(model_source_find(m, "offers", 6), -1);
	model_free(m);
}

static void
example_folds(void **state)
{
	struct model *m = read_file("examples/loans/plain.yaml");

	(void)state;
	assert_int_equal(m->folds_n, 9);
	assert_int_equal(m->folds[0].op, FOLD_MIN);
	assert_int_equal(m->folds[0].type, VALUE_TIMESTAMP);
	assert_non_null(m->folds[0].inputs[0].where);
	assert_string_equal(m->folds[0].definition,
			    "min application.at where activity = 'A_SUBMITTED'");
	assert_int_equal(m->folds[2].inputs_n, 3);
	assert_int_equal(m->folds[2].inputs[2].source, 2);
	assert_int_equal(m->folds[3].op, FOLD_ANY);
	assert_int_equal(m->folds[3].inputs[0].field, -1);
	assert_int_equal(m->folds[6].type, VALUE_INTEGER);
	assert_int_equal(m->parts_n, 2);
	assert_string_equal(m->parts[1].name, "offer");
	assert_int_equal(m->deadline_us, INT64_C(90) * 86400 * 1000000);
	assert_false(m->emit_on_close);
	/* The fixed inputs, the folds, and seen(offer), which `complete` asks for. */
	assert_int_equal(m->inputs_n, PROCESS_FIXED + 9 + 1);
	assert_string_equal(m->inputs[PROCESS_KEY].name, "case_id");
	assert_string_equal(m->inputs[PROCESS_FIXED + 2].name, "resource");
	assert_int_equal(m->inputs[PROCESS_FIXED + 9].kind, INPUT_SEEN);
	assert_int_equal(m->inputs[PROCESS_FIXED + 9].of, 1);
	for (unsigned i = 0; i < m->folds_n; i++) {
		for (unsigned k = 0; k < i; k++)
			assert_true(m->folds[i].id != m->folds[k].id);
	}
	model_free(m);
}

static void
example_tables(void **state)
{
	struct model *m = read_file("examples/loans/plain.yaml");

	(void)state;
	assert_int_equal(m->tables_n, 4);
	assert_int_equal(m->tables[0].kind, TABLE_CALENDAR);
	assert_string_equal(m->tables[0].surrogate.s, "date_key");
	assert_int_equal(m->tables[0].from_date, date_from_civil(2011, 1, 1));
	assert_int_equal(m->tables[0].to_date, date_from_civil(2030, 12, 31));
	assert_int_equal(m->tables[1].kind, TABLE_DIMENSION);
	assert_int_equal(m->tables[1].grain, -1);
	assert_string_equal(m->tables[1].key.s, "resource");
	assert_string_equal(m->tables[1].surrogate.s, "resource_key");
	assert_int_equal(m->tables[1].key_type, VALUE_TEXT);
	const struct table *t = &m->tables[2];
	assert_int_equal(t->kind, TABLE_FACT);
	assert_int_equal(t->grain, GRAIN_PROCESS);
	assert_string_equal(t->key.s, "case_id");
	assert_int_equal(t->columns_n, 6);
	assert_string_equal(t->columns[0].comment, "What became of the loan");
	assert_int_equal(t->columns[0].type, VALUE_TEXT);
	assert_int_equal(t->columns[1].type, VALUE_DECIMAL);
	assert_int_equal(t->references_n, 2);
	assert_int_equal(t->references[0].table, 1);
	assert_string_equal(t->references[0].column.s, "resource_key");
	assert_string_equal(t->references[1].source, "submitted_at");
	assert_int_equal(m->tables[3].grain, 2);
	assert_int_equal(model_table_find(m, "fact_work", 9), 3);
	model_free(m);
}

static void
examples_valid(void **state)
{
	struct model *kafka = read_file("examples/loans/kafka.yaml");
	struct model *mixed = read_file("examples/loans/mixed.yaml");

	(void)state;
	assert_string_equal(kafka->sources[2].topic, "loans.workitem");
	assert_string_equal(kafka->sources[2].brokers, "localhost:9092");
	assert_int_equal(mixed->sources[1].kind, SOURCE_RABBITMQ);
	assert_int_equal(mixed->sources[1].identity, IDENTITY_MESSAGE_ID);
	assert_null(mixed->sources[1].url);
	assert_int_equal(mixed->rid_key_path[0], '/');
	/* The same folds over any transport, so the same state. */
	for (unsigned i = 0; i < kafka->folds_n; i++)
		assert_true(kafka->folds[i].id == mixed->folds[i].id);
	model_free(kafka);
	model_free(mixed);
}

/* The example that seals: what is sensitive is in no column of the star schema. */
static void
example_sealed(void **state)
{
	struct model *plain = read_file("examples/loans/plain.yaml");
	struct model *m = read_file("examples/loans/pipeline.yaml");
	const struct source *s = &m->sources[0];

	(void)state;
	assert_int_equal(m->classes_n, 3);
	assert_int_equal(m->domains_n, 2);
	assert_string_equal(m->keys_dir, "/etc/weir/keys");
	assert_true(m->raw_warehouse);
	assert_int_equal(m->aggregates_n, 1);
	assert_int_equal(m->handoffs_n, 1);
	assert_int_equal(m->tables_n, 4 + 3 + 1);
	for (unsigned i = 0; i < m->sources_n; i++)
		assert_string_equal(m->sources[i].fields[m->sources[i].subject_field].name.s,
				    "case_id");
	for (unsigned i = 0; i < s->fields_n; i++) {
		bool sensitive = strcmp(s->fields[i].name.s, "resource") == 0 ||
				 strcmp(s->fields[i].name.s, "amount_requested") == 0;
		assert_int_equal(s->fields[i].class >= 0, sensitive);
	}
	for (unsigned t = 0; t < plain->tables_n; t++) {
		assert_string_equal(m->tables[t].name.s, plain->tables[t].name.s);
		for (unsigned i = 0; i < m->tables[t].columns_n; i++)
			assert_true(m->tables[t].columns[i].type != VALUE_SEALED);
	}
	assert_string_equal(m->tables[1].key.s, "resource_token");
	/* The folds that do not touch what is sensitive have the same state. */
	assert_true(m->folds[0].id == plain->folds[0].id);
	assert_true(m->folds[1].id != plain->folds[1].id);
	model_free(plain);
	model_free(m);
}

/* ---- slices ---- */

static void
text_same(const char *a, const char *b)
{
	assert_int_equal(a == NULL, b == NULL);
	if (a)
		assert_string_equal(a, b);
}

/* Present in the slice or withheld from it, never another one. */
static void
text_kept(const char *whole, const char *slice, bool sees)
{
	text_same(sees ? whole : NULL, slice);
}

static void
source_same(const struct source *a, const struct source *b, bool sees)
{
	assert_string_equal(a->name.s, b->name.s);
	assert_string_equal(a->label, b->label);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->time, b->time);
	assert_int_equal(a->time_field, b->time_field);
	assert_int_equal(a->sequence_field, b->sequence_field);
	assert_int_equal(a->key_field, b->key_field);
	assert_int_equal(a->reference, b->reference);
	text_kept(a->brokers, b->brokers, sees);
	text_kept(a->topic, b->topic, sees);
	text_kept(a->url, b->url, sees);
	text_kept(a->queue, b->queue, sees);
	text_kept(a->path, b->path, sees);
	assert_int_equal(sees ? a->properties_n : 0, b->properties_n);
	assert_int_equal(sees ? a->prefetch : 0, b->prefetch);
	for (unsigned i = 0; i < b->properties_n; i++) {
		assert_string_equal(a->properties[i].key, b->properties[i].key);
		text_same(a->properties[i].value, b->properties[i].value);
	}
	assert_int_equal(a->fields_n, b->fields_n);
	for (unsigned i = 0; i < a->fields_n; i++) {
		assert_string_equal(a->fields[i].name.s, b->fields[i].name.s);
		assert_string_equal(a->fields[i].path, b->fields[i].path);
		assert_int_equal(a->fields[i].type, b->fields[i].type);
		assert_int_equal(a->fields[i].form, b->fields[i].form);
		assert_int_equal(a->fields[i].used, b->fields[i].used);
		assert_int_equal(a->fields[i].derive != NULL, b->fields[i].derive != NULL);
		assert_int_equal(a->fields[i].class, b->fields[i].class);
		assert_int_equal(a->fields[i].domain, b->fields[i].domain);
		assert_int_equal(a->fields[i].token_of, b->fields[i].token_of);
		/* How a value is sealed is the business of who seals it. */
		if (sees) {
			assert_int_equal(a->fields[i].canonical, b->fields[i].canonical);
			assert_int_equal(a->fields[i].padexp, b->fields[i].padexp);
		}
	}
	assert_int_equal(a->subject_field, b->subject_field);
	assert_int_equal(a->unknown, b->unknown);
	assert_int_equal(a->unknown_field, b->unknown_field);
}

static void
fold_same(const struct fold *a, const struct fold *b)
{
	assert_string_equal(a->name.s, b->name.s);
	assert_true(a->id == b->id);
	assert_int_equal(a->op, b->op);
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->in, b->in);
	assert_int_equal(a->size, b->size);
	assert_string_equal(a->definition, b->definition);
	assert_int_equal(a->inputs_n, b->inputs_n);
	for (unsigned i = 0; i < a->inputs_n; i++) {
		assert_int_equal(a->inputs[i].source, b->inputs[i].source);
		assert_int_equal(a->inputs[i].field, b->inputs[i].field);
		assert_int_equal(a->inputs[i].where != NULL, b->inputs[i].where != NULL);
	}
}

static void
table_same(const struct table *a, const struct table *b)
{
	assert_string_equal(a->name.s, b->name.s);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->grain, b->grain);
	assert_string_equal(a->key.s, b->key.s);
	assert_string_equal(a->surrogate.s, b->surrogate.s);
	assert_int_equal(a->key_type, b->key_type);
	assert_int_equal(a->unique, b->unique);
	assert_true(a->from_date == b->from_date && a->to_date == b->to_date);
	text_same(a->comment, b->comment);
	assert_int_equal(a->columns_n, b->columns_n);
	for (unsigned i = 0; i < a->columns_n; i++) {
		assert_string_equal(a->columns[i].name.s, b->columns[i].name.s);
		assert_int_equal(a->columns[i].type, b->columns[i].type);
		assert_string_equal(a->columns[i].source, b->columns[i].source);
		assert_int_equal(a->columns[i].slot, b->columns[i].slot);
		text_same(a->columns[i].comment, b->columns[i].comment);
		assert_int_equal(a->columns[i].decimal_scale, b->columns[i].decimal_scale);
	}
	assert_int_equal(a->references_n, b->references_n);
	for (unsigned i = 0; i < a->references_n; i++) {
		assert_string_equal(a->references[i].column.s, b->references[i].column.s);
		assert_int_equal(a->references[i].table, b->references[i].table);
	}
}

static void
plain_same(const struct model *a, const struct model *b)
{
	assert_string_equal(a->pipeline.s, b->pipeline.s);
	assert_int_equal(a->groups, b->groups);
	assert_int_equal(a->lanes, b->lanes);
	assert_int_equal(a->ingests, b->ingests);
	assert_int_equal(a->require_sandbox, b->require_sandbox);
	assert_true(a->keep_closed_us == b->keep_closed_us);
	assert_true(a->drain_limit_us == b->drain_limit_us);
	assert_memory_equal(&a->limits, &b->limits, sizeof a->limits);
}

static void
meaning_same(const struct model *a, const struct model *b, bool sees_sources)
{
	text_same(a->zone_name, b->zone_name);
	assert_int_equal(a->key_type, b->key_type);
	assert_string_equal(a->key_name.s, b->key_name.s);
	assert_true(a->deadline_us == b->deadline_us && a->quiet_for_us == b->quiet_for_us);
	assert_int_equal(a->emit_on_close, b->emit_on_close);
	assert_int_equal(a->foreign_keys_enforced, b->foreign_keys_enforced);
	assert_int_equal(a->sources_n, b->sources_n);
	for (unsigned i = 0; i < a->sources_n; i++)
		source_same(&a->sources[i], &b->sources[i], sees_sources);
	assert_int_equal(a->folds_n, b->folds_n);
	for (unsigned i = 0; i < a->folds_n; i++)
		fold_same(&a->folds[i], &b->folds[i]);
	assert_int_equal(a->parts_n, b->parts_n);
	for (unsigned i = 0; i < a->parts_n; i++)
		assert_string_equal(a->parts[i].name, b->parts[i].name);
	assert_int_equal(a->inputs_n, b->inputs_n);
	for (unsigned i = 0; i < a->inputs_n; i++) {
		assert_string_equal(a->inputs[i].name, b->inputs[i].name);
		assert_int_equal(a->inputs[i].kind, b->inputs[i].kind);
		assert_int_equal(a->inputs[i].of, b->inputs[i].of);
		assert_int_equal(a->inputs[i].type, b->inputs[i].type);
	}
	assert_int_equal(a->classes_n, b->classes_n);
	for (unsigned i = 0; i < a->classes_n; i++)
		assert_string_equal(a->classes[i].s, b->classes[i].s);
	assert_int_equal(a->domains_n, b->domains_n);
	for (unsigned i = 0; i < a->domains_n; i++)
		assert_string_equal(a->domains[i].name.s, b->domains[i].name.s);
	assert_int_equal(a->raw_warehouse, b->raw_warehouse);
	assert_int_equal(a->tables_n, b->tables_n);
	for (unsigned i = 0; i < a->tables_n; i++)
		table_same(&a->tables[i], &b->tables[i]);
}

static void
slice_check(const struct model *whole, enum role role)
{
	bool data = role != ROLE_TASK && role != ROLE_NULL && role != ROLE_KEEPER;
	bool sources = role == ROLE_INGEST || role == ROLE_SUPERVISOR;
	struct buf text = {0}, again = {0};

	conf_print_slice(whole, role, &text);
	struct model *m = read_text(buf_cstr(&text));
	conf_print_slice(m, role, &again);
	assert_string_equal(buf_cstr(&text), buf_cstr(&again));
	plain_same(whole, m);
	if (data)
		meaning_same(whole, m, sources);
	else
		assert_int_equal(m->sources_n + m->folds_n + m->tables_n, 0);
	assert_null(m->dsn);
	text_kept(whole->logins_dir, m->logins_dir, role == ROLE_SUPERVISOR);
	text_kept(whole->keys_dir, m->keys_dir, role == ROLE_SUPERVISOR);
	assert_int_equal(m->handoffs_n,
			 role == ROLE_SCIENCE || role == ROLE_SUPERVISOR ? whole->handoffs_n : 0);
	assert_int_equal(m->aggregates_n,
			 role == ROLE_TASK || role == ROLE_SUPERVISOR ? whole->aggregates_n : 0);
	assert_true(m->raw_keep_us == 0);
	text_kept(whole->rid_key_path, m->rid_key_path, sources);
	text_kept(whole->listen, m->listen, role == ROLE_STATUS || role == ROLE_SUPERVISOR);
	assert_null(strstr(buf_cstr(&text), "owner"));
	if (!sources)
		assert_null(strstr(buf_cstr(&text), "localhost"));
	model_free(m);
	buf_free(&text);
	buf_free(&again);
}

/* All that a file can say, in one. */
static const char everything[] =
    "pipeline: all\ngroups: 64\nlanes: 3\ningests: 2\ntime_zone: Europe/Amsterdam\nlisten: "
    "\"[::1]:8080\"\n"
    "require_sandbox: true\ndrain_limit: 10s\nrid_key: file:rid.key\n"
    "limits: { inflight_bytes_max: 64MiB, batch_rows: 7, batch_delay: 1s, dead_letter_limit: 2.5% "
    "}\n"
    "correlate:\n  by: { a: k, b: key }\n  folds:\n"
    "    tags: { set: [a.tag, b.tag], where: \"tag <> ''\", size: 9 }\n"
    "    paid: { sum: a.price }\n    good: { all: [a, b.flag], where: \"tag is not null\" }\n"
    "    days: { list: a.day }\n"
    "  complete: \"good and size(tags) > 1\\n  and (seen(b) or\\t paid > 3)\"\n"
    "  quiet_for: 15m\n  emit: on_close\n  keep_closed: 2d\n"
    "sources:\n"
    "  a:\n    kafka: { brokers: \"localhost:1,localhost:2\", topic: t.a, from: latest, "
    "properties: { client.id: \"x: y\", "
    "sasl.password: hidden, ssl.key.password: file:key.txt, sasl.username: env:WEIR_USER } }\n"
    "    cluster: eu-1\n    generation: 3\n    time: broker\n"
    "    fields: { k: integer, tag: text, price: { type: decimal, path: total.price }, day: date, "
    "flag: boolean }\n"
    "    derive: { cheap: \"price < 10\", band: \"case when cheap then 'low' else 'high' end\" }\n"
    "  b:\n    rabbitmq: { url: file:/run/secrets/amqp, queue: q, identity: meta.id, prefetch: 10 "
    "}\n    time: t\n"
    "    fields: { key: integer, tag: text, flag: boolean, t: { type: timestamp, form: unix_ms } "
    "}\n"
    "  r:\n    file: { path: \"./ref/*.ndjson\" }\n    time: none\n    reference: name\n"
    "    fields: { name: text, title: text }\n"
    "warehouse: { postgresql: { dsn: file:owner.dsn, logins: logins, foreign_keys: enforced } }\n"
    "tables:\n"
    "  dim_thing: { kind: dimension, key: name, from: r, columns: { title: title } }\n"
    "  dim_day: { kind: calendar, from: 2024-01-01, to: 2024-12-31 }\n"
    "  f: { kind: fact, grain: process, columns: { tags: tags, full: \"overflowed(tags)\", paid: { "
    "expr: paid, scale: 2, "
    "comment: \"two\\nlines \\u2028 \\\"quoted\\\"\" } } }\n"
    "  g: { kind: fact, grain: a, key: process_key, unique: true, columns: { band: band }, "
    "references: { dim_thing: tag, "
    "paid_on: { dimension: dim_day, value: day } } }\n";

static void
slices_agree(void **state)
{
	struct model *example = read_file("examples/loans/mixed.yaml");
	struct model *all = read_text(everything);
	struct model *sealing = read_file("tests/golden/conf/sealing.yaml");
	struct model *sealed = read_file("examples/loans/pipeline.yaml");

	(void)state;
	for (enum role r = 0; r < ROLE_MAX; r++) {
		slice_check(example, r);
		slice_check(all, r);
		slice_check(sealing, r);
		slice_check(sealed, r);
	}
	model_free(sealing);
	model_free(sealed);
	model_free(example);
	model_free(all);
}

static void
slice_not_of_another_role(void **state)
{
	(void)state;
	assert_true(refused("slice: nobody\n", 14, "role"));
	/* A slice does not excuse what its role must see. */
	assert_true(refused("slice: correlate\npipeline: x\n", 29, "correlate"));
}

static void
everything_read(void **state)
{
	struct model *m = read_text(everything);

	(void)state;
	assert_string_equal(m->key_name.s, "id");
	assert_int_equal(m->key_type, VALUE_INTEGER);
	assert_string_equal(m->sources[0].label, "a@eu-1#3");
	assert_string_equal(m->sources[0].fields[2].path, "total.price");
	assert_int_equal(m->sources[0].fields[5].type, VALUE_BOOLEAN);
	assert_non_null(m->sources[0].fields[6].derive);
	assert_int_equal(m->sources[0].time, TIME_OF_BROKER);
	assert_int_equal(m->sources[1].identity, IDENTITY_PATH);
	assert_string_equal(m->sources[1].identity_path, "meta.id");
	assert_int_equal(m->sources[1].fields[3].form, TIME_UNIX_MS);
	assert_true(m->sources[2].reference);
	assert_int_equal(m->sources[2].time, TIME_NONE);
	assert_string_equal(m->sources[2].path, "/etc/weir/ref/*.ndjson");
	assert_string_equal(m->rid_key_path, "/etc/weir/rid.key");
	assert_string_equal(m->logins_dir, "/etc/weir/logins");
	assert_string_equal(m->dsn, "file:/etc/weir/owner.dsn");
	assert_int_equal(m->folds[0].size, 9);
	assert_int_equal(m->folds[0].type, VALUE_JSON);
	assert_int_equal(m->folds[1].type, VALUE_DECIMAL);
	assert_int_equal(m->folds[3].size, FOLD_SIZE_DEFAULT);
	assert_int_equal(m->parts_n, 3);
	assert_string_equal(m->parts[1].name, "size(tags) > 1");
	assert_string_equal(m->parts[2].name, "(seen(b) or paid > 3)");
	assert_true(m->emit_on_close);
	assert_true(m->limits.inflight_bytes_max == 64u << 20);
	assert_true(m->limits.dead_letter_limit == 0.025);
	assert_true(m->limits.batch_delay_us == 1000000);
	assert_int_equal(m->tables[0].key_type, VALUE_TEXT);
	assert_int_equal(m->tables[0].grain, 2);
	assert_non_null(m->tables[0].key_expr);
	assert_string_equal(m->tables[2].key.s, "id");
	assert_string_equal(m->tables[2].columns[2].comment, "two\nlines \xe2\x80\xa8 \"quoted\"");
	assert_string_equal(m->tables[3].references[1].column.s, "paid_on_key");
	assert_true(m->tables[3].unique);
	model_free(m);
}

/* ---- sealing ---- */

static void
field_is(const struct field *f, const char *name, int class, int domain, int token_of, unsigned pad)
{
	assert_string_equal(f->name.s, name);
	assert_int_equal(f->class, class);
	assert_int_equal(f->domain, domain);
	assert_int_equal(f->token_of, token_of);
	assert_int_equal(f->padexp, pad);
}

static void
sealing_fields(void **state)
{
	struct model *m = read_file("tests/golden/conf/sealing.yaml");
	const struct source *s = &m->sources[0];

	(void)state;
	assert_int_equal(m->classes_n, 4);
	assert_string_equal(m->classes[0].s, "financial");
	assert_string_equal(m->classes[1].s, "identity");
	assert_string_equal(m->classes[2].s, "everything");
	assert_string_equal(m->classes[3].s, "dead_letter");
	assert_int_equal(m->domains_n, 2);
	assert_string_equal(m->domains[1].name.s, "person");
	assert_string_equal(m->keys_dir, "/etc/weir/keys");
	assert_int_equal(s->fields_n, 7 + 2 + 4 + 1);
	field_is(&s->fields[2], "amount", 0, -1, -1, 4);
	field_is(&s->fields[3], "resource", 1, 0, -1, 4);
	field_is(&s->fields[4], "resource_token", -1, -1, 3, 0);
	field_is(&s->fields[5], "customer", 1, 1, -1, 4);
	field_is(&s->fields[6], "customer_token", -1, -1, 5, 0);
	field_is(&s->fields[7], "born", 1, -1, -1, 0);
	field_is(&s->fields[8], "note", 1, -1, -1, 12);
	field_is(&s->fields[9], "amount_band", -1, -1, -1, 0);
	field_is(&s->fields[13], "$unknown", 2, -1, -1, 8);
	assert_int_equal(s->fields[2].type, VALUE_DECIMAL);
	assert_int_equal(s->fields[4].type, VALUE_TEXT);
	assert_int_equal(s->fields[3].canonical, CANONICAL_LOWER);
	assert_int_equal(s->subject_field, 5);
	assert_int_equal(s->unknown, UNKNOWN_SEAL);
	assert_int_equal(s->unknown_field, 13);
	/* 0 to 3, and null. */
	assert_int_equal(expr_bound(s->fields[9].derive), 5);
	assert_int_equal(m->sources[1].unknown, UNKNOWN_REJECT);
	assert_int_equal(m->sources[1].unknown_field, -1);
	assert_int_equal(m->sources[1].subject_field, -1);
	assert_int_equal(m->sources[1].key_field, 0);
	/* Raw rows have all fields, so all of them are used. */
	for (unsigned i = 0; i < s->fields_n; i++)
		assert_true(s->fields[i].used);
	assert_int_equal(m->folds[2].type, VALUE_SEALED);
	assert_int_equal(m->folds[2].in, VALUE_SEALED);
	assert_int_equal(m->folds[3].type, VALUE_INTEGER);
	assert_int_equal(m->inputs[PROCESS_FIXED + 2].type, VALUE_SEALED);
	model_free(m);
}

static void
sealing_tables(void **state)
{
	struct model *m = read_file("tests/golden/conf/sealing.yaml");
	const struct table *t = &m->tables[4];

	(void)state;
	assert_int_equal(m->tables_n, 7);
	assert_string_equal(t->name.s, "raw_application");
	assert_int_equal(t->kind, TABLE_RAW);
	assert_int_equal(t->grain, 0);
	assert_int_equal(t->columns_n, m->sources[0].fields_n);
	assert_string_equal(t->columns[2].name.s, "amount");
	assert_int_equal(t->columns[2].type, VALUE_SEALED);
	assert_int_equal(t->columns[2].slot, 2);
	assert_null(t->columns[2].expr);
	assert_int_equal(t->columns[4].type, VALUE_TEXT);
	assert_string_equal(m->tables[5].name.s, "raw_staff");
	t = &m->tables[6];
	assert_string_equal(t->name.s, "process");
	assert_int_equal(t->kind, TABLE_SEALED_PROCESS);
	assert_int_equal(t->grain, GRAIN_PROCESS);
	assert_string_equal(t->key.s, "case_id");
	assert_int_equal(t->columns_n, 2);
	assert_string_equal(t->columns[1].name.s, "customer");
	assert_int_equal(t->columns[1].slot, PROCESS_FIXED + 5);
	assert_int_equal(m->tables[0].columns_n ? m->tables[0].columns[0].slot : -1, -1);
	model_free(m);
}

static void
aggregates_read(void **state)
{
	struct model *m = read_file("tests/golden/conf/sealing.yaml");
	const struct aggregate *a = m->aggregates;
	struct buf text = {0};

	(void)state;
	assert_int_equal(m->aggregates_n, 4);
	assert_int_equal(a->table, 2);
	assert_int_equal(a->by_n, 4);
	assert_int_equal(a->by[0].column, 0);
	assert_int_equal(a->by[0].reference, -1);
	assert_string_equal(a->by[1].name.s, "status");
	assert_int_equal(a->by[1].column, -1);
	assert_int_equal(a->by[1].reference, -1);
	assert_int_equal(a->by[2].reference, 0);
	assert_int_equal(a->by[2].column, 0);
	assert_string_equal(a->by[3].name.s, "date");
	assert_int_equal(a->by[3].reference, 1);
	assert_int_equal(a->by[3].column, -1);
	assert_int_equal(a->measures_n, 3);
	assert_int_equal(a->measures[0].column, -1);
	assert_int_equal(a->measures[1].op, MEASURE_SUM);
	assert_int_equal(a->measures[2].op, MEASURE_AVG);
	assert_string_equal(a->subject.s, "case_id");
	assert_int_equal(a->k, 10);
	assert_true(a->every_us == INT64_C(86400) * 1000000);
	assert_false(a->overlap);
	assert_string_equal(a->comment, "Loans");
	assert_int_equal(a[1].k, 20);
	assert_string_equal(a[2].subject.s, "who");
	assert_true(a[2].overlap);
	assert_string_equal(a[3].by[0].name.s, "year_month");
	assert_int_equal(a[3].by[0].column, -1);
	/* task builds them by name: of their definition it knows the fact and the interval. */
	conf_print_slice(m, ROLE_TASK, &text);
	model_free(m);
	assert_null(strstr(buf_cstr(&text), "measures"));
	m = read_text(buf_cstr(&text));
	assert_string_equal(m->aggregates[1].name.s, "events_by_band");
	assert_true(m->aggregates[1].every_us == INT64_C(3600) * 1000000);
	assert_int_equal(m->aggregates[1].table, -1);
	model_free(m);
	buf_free(&text);
}

static const char spread[] =
    "pipeline: wide\ngroups: 16\n"
    "exchange: { brokers: \"kafka-1:9092\", replication: 3, retention: 2d,\n"
    "  properties: { security.protocol: ssl, sasl.password: file:secret.txt } }\n"
    "correlate: { by: id, folds: { n: { count: a } } }\n"
    "sources:\n  a:\n    kafka: { brokers: \"other:1\", topic: t }\n    time: at\n"
    "    fields: { id: text, at: timestamp }\n"
    "warehouse: { postgresql: { dsn: d, logins: logins } }\n"
    "tables: { f: { kind: fact, grain: process, key: id, columns: { n: n } } }\n";

static void
exchange_read(void **state)
{
	struct model *whole = read_text(spread);

	(void)state;
	assert_string_equal(whole->exchange.topic, "weir.wide");
	assert_int_equal(whole->exchange.replication, 3);
	assert_true(whole->exchange.retention_us == INT64_C(2) * 86400 * 1000000);
	for (enum role r = 0; r < ROLE_MAX; r++) {
		bool connects = r == ROLE_SUPERVISOR || r == ROLE_INGEST || r == ROLE_RELAY;
		bool knows = r != ROLE_TASK && r != ROLE_NULL;
		bool sources = knows && r != ROLE_KEEPER;
		struct conf_secret secrets[CONF_SECRETS_MAX];
		struct buf text = {0};

		conf_print_slice(whole, r, &text);
		struct model *m = read_text(buf_cstr(&text));
		assert_int_equal(model_exchange(m), knows);
		assert_true(!m->exchange.brokers == !connects);
		assert_int_equal(m->exchange.properties_n, connects ? 2 : 0);
		assert_int_equal(conf_secrets(whole, r, secrets, CONF_SECRETS_MAX), connects);
		assert_true(!strstr(buf_cstr(&text), "kafka-1") == !connects);
		assert_true(!strstr(buf_cstr(&text), "secret.txt") == !connects);
		/* The source that nobody declared is the last. */
		assert_int_equal(m->sources_n, sources ? 2 : 0);
		if (sources) {
			assert_int_equal(m->sources[1].kind, SOURCE_EXCHANGE);
			assert_string_equal(m->sources[1].label, "$exchange@#1");
		}
		model_free(m);
		buf_free(&text);
	}
	model_free(whole);
}

static void
handoffs_read(void **state)
{
	struct model *whole = read_file("tests/golden/conf/sealing.yaml");
	struct buf text = {0};

	(void)state;
	conf_print_slice(whole, ROLE_SCIENCE, &text);
	struct model *m = read_text(buf_cstr(&text));
	/* Where values belong, and not where events come from. */
	assert_int_equal(m->sources_n, whole->sources_n);
	assert_null(strstr(buf_cstr(&text), "brokers"));
	assert_int_equal(m->handoffs_n, 2);
	assert_string_equal(m->handoffs[0].name.s, "scoring");
	/* Byte by byte: its digest is in the policy. */
	assert_string_equal(m->handoffs[0].query, whole->handoffs[0].query);
	assert_non_null(strstr(m->handoffs[0].query, "\nfrom development_schema.process p\n"));
	assert_int_equal(m->handoffs[0].recipients_n, 2);
	assert_string_equal(m->handoffs[0].recipients[1].s, "joao");
	assert_string_equal(m->handoffs[0].directory, "/srv/out");
	assert_int_equal(m->handoffs[0].format, HANDOFF_NDJSON);
	assert_true(m->handoffs[0].every_us == 0);
	assert_int_equal(m->handoffs[1].format, HANDOFF_CSV);
	assert_string_equal(m->handoffs[1].recipients[0].s, "ana");
	model_free(m);
	model_free(whole);
	buf_free(&text);
}

static const char classes_head[] =
    "pipeline: s\nkeys: /k\ncorrelate: { by: k }\n"
    "warehouse: { postgresql: { dsn: d, logins: /l } }\n"
    "tables: { f: { kind: fact, grain: process } }\n"
    "sources:\n  a:\n    file: { path: /a }\n    time: none\n    fields:\n      k: text\n";

/* A sensitive field that nobody keeps is read, and goes no further. */
static void
sealing_unused(void **state)
{
	char text[2048];

	(void)state;
	snprintf(text, sizeof text, "%s      v: { type: text, sensitive: c }\n", classes_head);
	struct model *m = read_text(text);
	assert_false(m->sources[0].fields[1].used);
	assert_int_equal(m->classes_n, 2);
	assert_int_equal(m->tables_n, 1);
	model_free(m);
	/* A token alone needs its key, so there is a policy, and dead letters are sealed. */
	snprintf(text, sizeof text, "%s      v: { type: integer, token: t }\n", classes_head);
	m = read_text(text);
	assert_int_equal(m->classes_n, 1);
	assert_string_equal(m->classes[0].s, "dead_letter");
	assert_int_equal(m->sources[0].fields[2].token_of, 1);
	model_free(m);
}

/* A field that becomes sensitive must not find the state of the clear one, nor the other way. */
static void
sealing_fold_identity(void **state)
{
	static const char clear[] = "text", sealed[] = "{ type: text, sensitive: c }";
	char text[1024];
	uint64_t id[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		snprintf(
		    text, sizeof text,
		    "pipeline: s\nkeys: /k\ncorrelate: { by: k, folds: { x: { first: a.v } } }\n"
		    "warehouse: { postgresql: { dsn: d, logins: /l } }\n"
		    "tables: { f: { kind: fact, grain: process } }\n"
		    "sources: { a: { file: { path: /a }, time: none, fields: { k: text, v: %s } } "
		    "}\n",
		    i ? sealed : clear);
		struct model *m = read_text(text);
		id[i] = m->folds[0].id;
		model_free(m);
	}
	assert_true(id[0] != id[1]);
}

/* ---- secrets ---- */

static void
secrets_by_role(void **state)
{
	struct model *m = read_text(everything);
	struct conf_secret got[8];

	(void)state;
	assert_int_equal(conf_secrets(m, ROLE_INGEST, got, 8), 3);
	assert_string_equal(got[0].name, "sources.a.kafka.properties.ssl.key.password");
	assert_string_equal(got[0].from, "file:/etc/weir/key.txt");
	assert_string_equal(got[1].name, "sources.a.kafka.properties.sasl.username");
	assert_string_equal(got[1].from, "env:WEIR_USER");
	assert_string_equal(got[2].name, "sources.b.rabbitmq.url");
	assert_int_equal(conf_secrets(m, ROLE_INGEST, got, 2), 2);
	assert_int_equal(conf_secrets(m, ROLE_CORRELATE, got, 8), 0);
	assert_int_equal(conf_secrets(m, ROLE_LOAD, got, 8), 0);
	/* A value that comes as a descriptor is not in the model. */
	assert_string_equal(m->sources[0].properties[1].value, "hidden");
	assert_null(m->sources[0].properties[2].value);
	assert_null(m->sources[1].url);
	model_free(m);
}

static void
secrets_not_printed(void **state)
{
	struct model *m = read_text(everything);
	struct buf text = {0};

	(void)state;
	conf_print_effective(m, &text);
	assert_null(strstr(buf_cstr(&text), "hidden"));
	assert_non_null(strstr(buf_cstr(&text), "sasl.password: \"***\""));
	assert_non_null(strstr(buf_cstr(&text), "client.id: \"x: y\""));
	assert_non_null(strstr(buf_cstr(&text), "file:/run/secrets/amqp"));
	buf_clear(&text);
	conf_print_slice(m, ROLE_INGEST, &text);
	assert_non_null(strstr(buf_cstr(&text), "hidden"));
	model_free(m);
	m = read_file("examples/loans/plain.yaml");
	buf_clear(&text);
	conf_print_effective(m, &text);
	assert_null(strstr(buf_cstr(&text), "secret"));
	buf_free(&text);
	model_free(m);
}

static void
secret_bytes(void **state)
{
	char path[] = "/tmp/weir-secret-XXXXXX", from[64];
	struct buf out = {0};
	struct err e;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "s3cret\r\n", 8), 8);
	close(fd);
	snprintf(from, sizeof from, "file:%s", path);
	assert_true(conf_secret_read(from, &out, &e));
	assert_string_equal(buf_cstr(&out), "s3cret");
	unlink(path);
	assert_false(conf_secret_read(from, &out, &e));
	assert_int_equal(e.code, EXIT_CONFIG);
	assert_true(conf_secret_read("env:WEIR_DSN", &out, &e));
	assert_string_equal(buf_cstr(&out), "postgresql://owner:secret@localhost/warehouse");
	assert_false(conf_secret_read("env:WEIR_NOT_THERE", &out, &e));
	assert_true(conf_secret_read("host=localhost", &out, &e));
	assert_string_equal(buf_cstr(&out), "host=localhost");
	buf_free(&out);
}

/* ---- identity of folds ---- */

static const char small[] =
    "pipeline: s\ncorrelate:\n  by: k\n  folds:\n    x: { %s }\n    y: { count: a }\n"
    "sources:\n  a: { file: { path: /a }, time: none, fields: { k: text, v: %s, w: integer } }\n"
    "warehouse: { postgresql: { dsn: d, logins: /l } }\n"
    "tables: { f: { kind: fact, grain: process } }\n";

static uint64_t
fold_id_of(const char *fold, const char *type)
{
	char text[1024];
	uint64_t id;

	snprintf(text, sizeof text, small, fold, type);
	struct model *m = read_text(text);
	id = m->folds[0].id;
	model_free(m);
	return id;
}

static void
fold_identity(void **state)
{
	uint64_t id = fold_id_of("first: a.v", "text");

	(void)state;
	assert_true(id == fold_id_of("first: [a.v]", "text"));
	assert_true(id == fold_id_of("\"first\": 'a.v'", "text"));
	assert_true(id != fold_id_of("last: a.v", "text"));
	assert_true(id != fold_id_of("first: a.w", "text"));
	assert_true(id != fold_id_of("first: a.v, where: \"w > 1\"", "text"));
	/* Another type is another state. */
	assert_true(id != fold_id_of("first: a.v", "integer"));
	assert_true(fold_id_of("set: a.v", "text") != fold_id_of("set: a.v, size: 65", "text"));
	assert_true(fold_id_of("set: a.v", "text") == fold_id_of("set: a.v, size: 64", "text"));
}

/* ---- bounds and hostile text ---- */

/* A valid file with n of something. */
static char *
repeated(const char *head, const char *each, unsigned n, const char *tail)
{
	struct buf b = {0};
	size_t len;

	buf_text(&b, head);
	for (unsigned i = 0; i < n; i++) {
		for (const char *c = each; *c; c++) {
			if (*c == '#')
				buf_printf(&b, "%u", i);
			else
				buf_byte(&b, (uint8_t)*c);
		}
	}
	buf_text(&b, tail);
	buf_byte(&b, 0);
	return (char *)buf_take(&b, &len);
}

static void
bound_check(const char *head, const char *each, unsigned most, const char *tail, const char *words)
{
	char *text = repeated(head, each, most, tail);
	struct model *m = read_text(text);

	model_free(m);
	free(text);
	text = repeated(head, each, most + 1, tail);
	assert_true(refused(text, strlen(text), words));
	free(text);
}

#define HEAD "pipeline: s\ncorrelate:\n  by: k\n"
#define TAIL                                                                                       \
	"warehouse: { postgresql: { dsn: d, logins: /l } }\n"                                      \
	"tables: { f: { kind: fact, grain: process } }\n"
#define PLAIN_SOURCE "sources:\n  a: { file: { path: /a }, time: none, fields: { k: text } }\n"

static void
bounds_reached(void **state)
{
	(void)state;
	bound_check(HEAD "sources:\n",
		    "  s#: { file: { path: /a }, time: none, fields: { k: text } }\n", SOURCES_MAX,
		    TAIL, "at most 63 sources");
	bound_check(HEAD "sources:\n  a: { file: { path: /a }, time: none, fields: { k: text",
		    ", f#: text", FIELDS_MAX - 1, " } }\n" TAIL, "at most 128 fields");
	bound_check(HEAD "  folds:\n", "    f#: { count: a }\n", FOLDS_MAX, PLAIN_SOURCE TAIL,
		    "at most 128 folds");
	bound_check(HEAD "  folds:\n    f: { count: [", "a, ", FOLD_INPUTS_MAX,
		    "] }\n" PLAIN_SOURCE TAIL, "1 to 16 inputs");
	bound_check(HEAD "  complete: \"true", " and seen(a)", PARTS_MAX - 1,
		    "\"\n" PLAIN_SOURCE TAIL, "more than 32");
	bound_check(HEAD PLAIN_SOURCE
		    "warehouse: { postgresql: { dsn: d, logins: /l } }\ntables:\n",
		    "  t#: { kind: fact, grain: process }\n", TABLES_MAX, "", "at most 64 tables");
	bound_check(HEAD PLAIN_SOURCE "warehouse: { postgresql: { dsn: d, logins: /l } "
				      "}\ntables:\n  t: { kind: fact, grain: a, columns: {",
		    " c#: k,", COLUMNS_MAX, "} }\n", "at most 128 columns");
	bound_check(HEAD PLAIN_SOURCE "warehouse: { postgresql: { dsn: d, logins: /l } "
				      "}\ntables:\n  d: { kind: dimension, key: k }\n"
				      "  t: { kind: fact, grain: a, references: {",
		    " r#: { dimension: d, value: k },", REFERENCES_MAX, "} }\n",
		    "at most 16 references");
	bound_check(HEAD "sources:\n  a:\n    kafka: { brokers: b, topic: t, properties: {",
		    " p#: env:X,", CONF_SECRETS_MAX,
		    "} }\n    time: none\n    fields: { k: text }\n" TAIL, "more than 64 secrets");
}

static void
hostile_sizes(void **state)
{
	char *text = mem_zero(CONF_BYTES_MAX + 2, 1);

	(void)state;
	memset(text, '#', CONF_BYTES_MAX + 1);
	assert_true(refused(text, CONF_BYTES_MAX + 1, "larger than 1024 KiB"));
	/* Comments alone, at the bound. */
	assert_true(refused(text, CONF_BYTES_MAX, "map of keys"));
	memset(text, '[', CONF_BYTES_MAX);
	assert_true(refused(text, CONF_BYTES_MAX, "nested too deeply"));
	for (size_t i = 0; i + 1 < CONF_BYTES_MAX; i += 2)
		memcpy(text + i, "- ", 2);
	assert_true(refused(text, CONF_BYTES_MAX, "nested too deeply"));
	free(text);
	text = repeated("x: [", "a,", 5000, "]\n");
	assert_true(refused(text, strlen(text), "too many"));
	free(text);
	text = repeated("", "a#: 1\n", 5000, "");
	assert_true(refused(text, strlen(text), "too many"));
	free(text);
	text = repeated("pipeline: \"", "aaaaaaaaaaaaaaaa", 2000, "\"\n");
	assert_true(refused(text, strlen(text), "too long"));
	free(text);
	assert_true(refused("a\0b: 1\n", 7, "control character"));
	assert_true(refused("", 0, "map of keys"));
}

static void
every_error_counts(void **state)
{
	char *text = repeated("", "k#: 1\n", 150, "");
	struct conf_report report = {0};
	struct model *m;

	(void)state;
	assert_false(conf_read_text("x.yaml", text, strlen(text), &m, &report));
	assert_null(m);
	assert_int_equal(report.errors, 151); /* 150 keys, and what is missing */
	assert_non_null(strstr(buf_cstr(&report.text), "51 more errors"));
	conf_report_free(&report);
	free(text);
}

static void
report_json(void **state)
{
	static const char text[] = "pipelin: \"a\\\"b\"\nlanes: 9\n";
	struct conf_report report = {0};
	struct model *m;

	(void)state;
	assert_false(conf_read_text("a\"b.yaml", text, strlen(text), &m, &report));
	const char *json = buf_cstr(&report.json);
	assert_non_null(strstr(
	    json, "{\"file\":\"a\\\"b.yaml\",\"line\":1,\"column\":1,\"message\":\"unknown key "
		  "\\\"pipelin\\\"\",\"suggestion\":\"pipeline\"}"));
	assert_non_null(strstr(json, "},{\"file\":"));
	assert_non_null(strstr(json, "\"line\":2,\"column\":8"));
	assert_non_null(strstr(json, "\"suggestion\":null}"));
	conf_report_free(&report);
}

static void
missing_file(void **state)
{
	struct conf_report report = {0};
	struct model *m;

	(void)state;
	assert_false(conf_read_file("/nonexistent/pipeline.yaml", &m, &report));
	assert_non_null(strstr(buf_cstr(&report.text), "cannot be read: No such file"));
	conf_report_free(&report);
	assert_false(conf_read_file("/", &m, &report));
	assert_non_null(strstr(buf_cstr(&report.text), "cannot be read: Is a directory"));
	conf_report_free(&report);
}

/* ---- the page ---- */

static void
page_read(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "re");
	size_t n;

	assert_non_null(f);
	do {
		buf_reserve(out, 65536);
		n = fread(out->data + out->len, 1, 65536, f);
		out->len += n;
	} while (n > 0);
	fclose(f);
}

static void
reference_is_current(void **state)
{
	struct buf page = {0}, have = {0};

	(void)state;
	conf_reference_print(&page);
	page_read("docs/reference.md", &have);
	assert_string_equal(buf_cstr(&page), buf_cstr(&have)); /* else: make docs */
	buf_free(&page);
	buf_free(&have);
}

/* Every whole pipeline file that the documents show must be one. */
static unsigned
blocks_valid(const char *path, char *page)
{
	static const char fence[] = "```yaml\n";
	unsigned found = 0;

	for (char *at = page; (at = strstr(at, fence)) != NULL;) {
		char *begin = at + strlen(fence), *end = strstr(begin, "```");
		assert_non_null(end);
		*end = '\0';
		at = end + 1;
		if (strncmp(begin, "pipeline:", 9) != 0 && !strstr(begin, "\npipeline:"))
			continue;
		struct conf_report report = {0};
		struct model *m = NULL;
		if (!conf_read_text(path, begin, strlen(begin), &m, &report))
			print_message("%s", buf_cstr(&report.text));
		conf_report_free(&report);
		assert_non_null(m);
		model_free(m);
		found++;
	}
	return found;
}

static void
documents_valid(void **state)
{
	unsigned found = 0;
	glob_t pages;

	(void)state;
	assert_int_equal(glob("docs/*.md", 0, NULL, &pages), 0);
	assert_int_equal(glob("README.md", GLOB_APPEND, NULL, &pages), 0);
	for (size_t i = 0; i < pages.gl_pathc; i++) {
		struct buf page = {0};
		page_read(pages.gl_pathv[i], &page);
		buf_byte(&page, 0);
		found += blocks_valid(pages.gl_pathv[i], (char *)page.data);
		buf_free(&page);
	}
	globfree(&pages);
	assert_true(found > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_name_too_long),
	    cmocka_unit_test(example_sources),
	    cmocka_unit_test(example_folds),
	    cmocka_unit_test(example_tables),
	    cmocka_unit_test(examples_valid),
	    cmocka_unit_test(example_sealed),
	    cmocka_unit_test(everything_read),
	    cmocka_unit_test(slices_agree),
	    cmocka_unit_test(slice_not_of_another_role),
	    cmocka_unit_test(sealing_fields),
	    cmocka_unit_test(sealing_tables),
	    cmocka_unit_test(aggregates_read),
	    cmocka_unit_test(handoffs_read),
	    cmocka_unit_test(exchange_read),
	    cmocka_unit_test(sealing_unused),
	    cmocka_unit_test(sealing_fold_identity),
	    cmocka_unit_test(secrets_by_role),
	    cmocka_unit_test(secrets_not_printed),
	    cmocka_unit_test(secret_bytes),
	    cmocka_unit_test(fold_identity),
	    cmocka_unit_test(bounds_reached),
	    cmocka_unit_test(hostile_sizes),
	    cmocka_unit_test(every_error_counts),
	    cmocka_unit_test(report_json),
	    cmocka_unit_test(missing_file),
	    cmocka_unit_test(reference_is_current),
	    cmocka_unit_test(documents_valid),
	};

	return cmocka_run_group_tests_name("conf", tests, variables_setup, NULL);
}
