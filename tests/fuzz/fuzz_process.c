/*
 * Any bytes as a stored state, and states of real events with one byte changed: refused, or a process that
 * judges, shows its values, takes one more event and is written and read back to the same bytes.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "keyhash.h"
#include "log.h"
#include "process.h"

static const char pipeline[] =
    "pipeline: fuzz\n"
    "keys: /nowhere/keys\n"
    "correlate:\n"
    "  by: id\n"
    "  folds:\n"
    "    a: { first: s.t }\n"
    "    b: { last: s.d }\n"
    "    c: { min: s.n }\n"
    "    d: { max: s.d }\n"
    "    e: { count: s }\n"
    "    f: { sum: s.d }\n"
    "    g: { sum: s.n }\n"
    "    h: { any: s.b }\n"
    "    i: { all: s.b }\n"
    "    j: { set: s.t, size: 3 }\n"
    "    k: { set: s.d }\n"
    "    l: { list: s.t, size: 3 }\n"
    "    m: { list: s.n }\n"
    "    n: { last: s.j }\n"
    "    o: { first: s.x }\n"
    "    p: { last: s.x }\n"
    "    q: { count: s.x }\n"
    "  complete: \"h and e > 1\"\n"
    "  deadline: 10d\n"
    "  quiet_for: 2d\n"
    "sources:\n"
    "  s:\n"
    "    file: { path: /nowhere/s.ndjson }\n"
    "    format: json\n"
    "    time: at\n"
    "    fields: { id: text, at: timestamp, t: text, d: decimal, n: integer, b: boolean, j: json, "
    "x: { type: text, sensitive: some } }\n"
    "warehouse:\n"
    "  postgresql: { dsn: \"dbname=x\", logins: /nowhere }\n"
    "tables:\n"
    "  fact: { kind: fact, grain: process, key: id, columns: { e: e, f: f } }\n";

static struct {
	struct model *model;
	struct process_layout *layout;
	struct expr_run_state st;
	struct value inputs[EXPR_INPUTS_MAX];
	struct buf once, twice;
} fuzz;

static void
fuzz_start(void)
{
	struct conf_report report = {0};

	keyhash_init();
	if (!conf_read_text("fuzz.yaml", pipeline, sizeof pipeline - 1, &fuzz.model, &report))
		panic("%s", buf_cstr(&report.text));
	conf_report_free(&report);
	fuzz.layout = process_layout_new(fuzz.model);
}

/* One more event, its values taken from the input. */
static void
fold_one(struct process *p, const uint8_t *data, size_t n)
{
	static const uint8_t sealed[61 + 64] = {1, 1, 0, 4};
	struct value fields[FIELDS_MAX] = {0};
	struct record rec = {
	    .kind = RECORD_EVENT, .partition = 1, .fields = fields, .has_time = true};
	int64_t v = 0;

	memcpy(&v, data, n < sizeof v ? n : sizeof v);
	rec.fields_n = fuzz.model->sources[0].fields_n;
	rec.offset = v & INT32_MAX;
	rec.time_us = v / 2;
	fields[1] = value_timestamp(v / 2);
	fields[2] = value_text("text of some length", (size_t)(v & 15));
	fields[3] = value_decimal(v, (unsigned)v % (DECIMAL_SCALE_MAX + 1));
	fields[4] = value_integer(v);
	fields[5] = value_boolean(v & 1);
	fields[7] = (struct value){
	    .type = VALUE_SEALED, .len = 61 + (v & 63), .text = (const char *)sealed};
	rec.has_rid = v & 2;
	rec.rid[0] = (uint8_t)(1 + (v >> 3 & 7));
	rec.distinct = v & 64;
	if (rec.distinct)
		process_distinguish(p, &rec);
	(void)process_fold(fuzz.layout, p, &rec, NULL, NULL, &fuzz.st);
}

static void
there_and_back(struct process *p)
{
	struct process *q;
	struct err e;

	buf_clear(&fuzz.once);
	buf_clear(&fuzz.twice);
	process_encode(fuzz.layout, p, &fuzz.once);
	check(process_decode(fuzz.layout, fuzz.once.data, fuzz.once.len, &q, &e));
	process_encode(fuzz.layout, q, &fuzz.twice);
	check(fuzz.once.len == fuzz.twice.len &&
	      !memcmp(fuzz.once.data, fuzz.twice.data, fuzz.once.len));
	check(process_revision(p) == process_revision(q));
	process_free(fuzz.layout, q);
}

static void
try_body(const uint8_t *body, size_t n, const uint8_t *data, size_t data_n)
{
	struct process *p;
	struct err e;
	int64_t revision;
	uint64_t missing;

	(void)process_tombstone_read(body, n, &revision, &e);
	if (!process_decode(fuzz.layout, body, n, &p, &e))
		return;
	there_and_back(p);
	process_judge(fuzz.layout, p, process_due_us(fuzz.layout, p), &fuzz.st, &missing);
	process_inputs(fuzz.layout, p, &fuzz.st, fuzz.inputs);
	(void)process_forgettable(fuzz.layout, p, 0);
	fold_one(p, data, data_n);
	there_and_back(p);
	process_free(fuzz.layout, p);
}

/* A state of events made from the input, with one byte of it changed: near to a valid one. */
static void
try_damaged(const uint8_t *data, size_t n)
{
	struct process *p = process_new(fuzz.layout, "key", 3);
	struct buf b = {0};

	for (size_t at = 4; at < n; at += sizeof(int64_t))
		fold_one(p, data + at, n - at);
	process_encode(fuzz.layout, p, &b);
	process_free(fuzz.layout, p);
	b.data[(data[1] | data[2] << 8) % b.len] ^= data[3];
	try_body(b.data, b.len, data, n);
	buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (!fuzz.model)
		fuzz_start();
	if (n > 4 && data[0] & 1)
		try_damaged(data, n);
	else if (n)
		try_body(data + 1, n - 1, data, n);
	return 0;
}
