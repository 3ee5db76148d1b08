/*
 * Any bytes as the body of a PROC or EVT frame, through compiled expressions into rows: refused, or rows that read
 * back, in which what is sealed is carried, and stands in sealed columns alone. The first byte chooses the type of frame, the second the number of items.
 */
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "keyhash.h"
#include "pipe.h"
#include "rows.h"
#include "transform/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char pipeline[] =
    "pipeline: fuzz\n"
    "keys: /nowhere/keys\n"
    "raw: warehouse\n"
    "correlate:\n"
    "  by: id\n"
    "  folds:\n"
    "    who: { last: a.who }\n"
    "    sum: { sum: a.d }\n"
    "    all: { set: a.who }\n"
    "    day: { min: a.day }\n"
    "    inc: { last: a.inc }\n"
    "sources:\n"
    "  a:\n"
    "    file: { directory: /srv, path: a }\n"
    "    format: json\n"
    "    time: at\n"
    "    subject: cpf\n"
    "    unknown_fields: { seal: some }\n"
    "    fields: { id: integer, at: timestamp, who: text, d: decimal, f: float, b: boolean, day: "
    "date, inc: { type: decimal, sensitive: some }, cpf: { type: text, sensitive: some, token: cpf "
    "} }\n"
    "warehouse:\n"
    "  postgresql: { dsn: \"postgresql://localhost/x\", logins: /srv }\n"
    "tables:\n"
    "  dim_date: { kind: calendar, from: 2011-01-01, to: 2012-12-31 }\n"
    "  dim_who: { kind: dimension, from: a, key: who, columns: { up: \"upper(who)\", x: \"d * d\" "
    "} }\n"
    "  fact_p:\n"
    "    kind: fact\n"
    "    grain: process\n"
    "    columns: { s: \"sum / 3\", n: \"size(all)\", w: \"trim(who) || cast(day as text)\" }\n"
    "    references: { dim_who: who, dim_date: day }\n"
    "  fact_a:\n"
    "    kind: fact\n"
    "    grain: a\n"
    "    columns: { f: \"f * 2\", b: \"not b\", m: \"date_trunc('month', at)\", y: \"day + 1\" }\n"
    "    references: { dim_who: \"lower(who)\", dim_date: at }\n";

enum { FRAMES_A_GENERATION = 1000 };

static struct {
	struct model *model;
	struct map *map;
	unsigned frames;
} world;

static bool
row_good(unsigned table, const struct row *row)
{
	struct row_column columns[ROW_COLUMNS_MAX];
	struct carried carried;
	unsigned values_n, n = row_columns(world.model, table, columns, &values_n);

	if (row->values_n != values_n)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (columns[i].value < 0)
			continue;
		const struct value *v = &row->values[columns[i].value];
		if (v->type == VALUE_NULL ||
		    (v->type != VALUE_SEALED && columns[i].type != VALUE_SEALED))
			continue;
		if (v->type != columns[i].type || !wire_carried_read(v->text, v->len, &carried))
			return false;
	}
	return true;
}

static void
rows_read(void *ctx, unsigned table, uint32_t count, struct buf *body)
{
	struct value values[COLUMNS_MAX * 2];
	struct row row = {.values = values};
	struct pack_reader r = {0};
	uint32_t id;

	(void)ctx;
	pack_reader_start(&r, body->data + FRAME_HEAD_BYTES, pipe_body_bytes(body));
	if (!wire_table_read(&r, &id) || id != table)
		abort();
	for (uint32_t i = 0; i < count; i++)
		if (!wire_row_read(&r, &row) || !row_good(table, &row))
			abort();
	if (!pack_reader_end(&r))
		abort();
	pack_reader_free(&r);
	buf_free(body);
}

static void
generation_begin(void)
{
	static const uint8_t key[HASH_KEY_BYTES] = {7};

	map_free(world.map);
	world.map = map_new(world.model, rows_read, NULL);
	map_hash_key(world.map, key);
	world.frames = 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct conf_report report = {0};
	uint64_t rows[TABLES_MAX];
	struct err e;

	if (!world.model) {
		keyhash_init();
		if (!conf_read_text("fuzz", pipeline, strlen(pipeline), &world.model, &report))
			abort();
		conf_report_free(&report);
		generation_begin();
	}
	if (n < 2)
		return 0;
	bool good = data[0] & 1 ? map_proc(world.map, data + 2, n - 2, data[1], &e)
				: map_evt(world.map, data + 2, n - 2, data[1], &e);
	(void)good; /* what a refused frame left half done must hold together too */
	map_end(world.map, rows);
	if (++world.frames == FRAMES_A_GENERATION)
		generation_begin();
	return 0;
}
