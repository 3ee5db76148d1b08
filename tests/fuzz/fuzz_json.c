/*
 * The JSON shim and what stands on it, under any bytes: no crash, no step beyond the event, and
 * what is accepted keeps its promises. The first byte chooses how the source is declared.
 */
#include "ingest/decode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/json.h"
#include "log.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { SOURCES = 4, FIELDS = 8, COLLECTS = 3 }; /* the last one seals what is undeclared */

static struct {
	bool ready;
	struct field fields[SOURCES][FIELDS + 1];
	struct source sources[SOURCES];
	struct model model;
	struct decoder *d;
	struct json *json; /* reads what was collected */
	struct json_table *none;
} world;

static void
field_set(struct field *f, const char *path, enum value_type type, enum time_form form)
{
	*f = (struct field){
	    .type = type, .form = form, .used = true, .class = -1, .domain = -1, .token_of = -1};
	snprintf(f->name.s, sizeof f->name.s, "%s", path);
	snprintf(f->path, sizeof f->path, "%s", path);
}

static void
world_open(void)
{
	struct err e;

	for (int i = 0; i < SOURCES; i++) {
		struct field *f = world.fields[i];

		field_set(&f[0], "id", i == 1 ? VALUE_INTEGER : VALUE_TEXT, TIME_RFC3339);
		field_set(&f[1], "t", VALUE_TIMESTAMP, (enum time_form)(i == 1 ? TIME_UNIX_S : i));
		field_set(&f[2], "a.b.c", VALUE_DECIMAL, TIME_RFC3339);
		field_set(&f[3], "a.b.d", VALUE_FLOAT, TIME_RFC3339);
		field_set(&f[4], "a", VALUE_JSON, TIME_RFC3339);
		field_set(&f[5], "n", VALUE_INTEGER, TIME_RFC3339);
		field_set(&f[6], "d", VALUE_DATE, TIME_RFC3339);
		field_set(&f[7], "o", VALUE_BOOLEAN, TIME_RFC3339);
		field_set(&f[FIELDS], "$unknown", VALUE_JSON, TIME_RFC3339);
		if (i == COLLECTS)
			field_set(&f[4], "a.d", VALUE_JSON, TIME_RFC3339);
		world.sources[i] =
		    (struct source){.kind = i == 2 ? SOURCE_RABBITMQ : SOURCE_FILE,
				    .identity = IDENTITY_PATH,
				    .identity_path = "a.b.c",
				    .fields = f,
				    .fields_n = i == COLLECTS ? FIELDS + 1 : FIELDS,
				    .time = i == 2 ? TIME_NONE : TIME_OF_FIELD,
				    .time_field = i == 2 ? -1 : 1,
				    .sequence_field = 5,
				    .subject_field = -1,
				    .unknown = i == COLLECTS ? UNKNOWN_SEAL : UNKNOWN_DROP,
				    .unknown_field = i == COLLECTS ? FIELDS : -1};
	}
	world.model = (struct model){.sources = world.sources, .sources_n = SOURCES, .groups = 128};
	world.model.limits.event_bytes_max = 1 << 20;
	check(decoder_new(&world.model, &world.d, &e));
	world.json = json_new();
	check(json_table_new(NULL, 0, &world.none, &e));
	world.ready = true;
}

static void
check_text(const char *s, size_t n)
{
	check(!n || !memchr(s, '\0', n));
}

/* What is undeclared stands together as one event's worth of JSON, and is there iff it is counted. */
static void
check_collected(const struct value *v, unsigned undeclared)
{
	unsigned n;
	int path;
	struct err e;

	check((v->type == VALUE_NULL) == !undeclared);
	if (v->type == VALUE_NULL)
		return;
	check(v->type == VALUE_JSON);
	check(json_parse(world.json, world.none, v->text, v->len, &n, &path, &e));
	check(n && n <= undeclared);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct decoded out;

	if (!world.ready)
		world_open();
	if (!n)
		return 0;
	/* An allocation of its own, so that a step beyond the end is seen. */
	char *event = mem_alloc(n - 1);
	memcpy(event, data + 1, n - 1);
	struct source_event ev = {.data = event, .len = n - 1};
	if (decoder_event(world.d, data[0] % SOURCES, &ev, INT64_C(1700000000000000), &out)) {
		const struct record *r = &out.record;

		check(r->key_len && r->key_len <= KEY_BYTES_MAX &&
		      r->fields_n == world.sources[r->source].fields_n);
		check_text(r->key, r->key_len);
		for (unsigned i = 0; i < r->fields_n; i++)
			if (r->fields[i].type >= VALUE_TEXT)
				check_text(r->fields[i].text, r->fields[i].len);
		if (r->source == COLLECTS)
			check_collected(&r->fields[FIELDS], out.undeclared);
	} else {
		check(strlen(out.reason) > 0 && strlen(out.reason) <= REASON_MAX);
	}
	free(event);
	return 0;
}
