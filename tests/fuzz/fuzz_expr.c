/*
 * Any text as an expression: refused with a caret inside it, or compiled; what compiles runs on any
 * values and gives what it said it would. The first bytes choose the values, the rest is the
 * source.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "expr/code.h"
#include "expr/expr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Sealed values have no expressions. */
enum { TYPES = VALUE_SEALED - 1, INPUTS = 2 * TYPES };
enum { VALUES_BYTES = 24, NAME_BYTES = 4, RUNS = 3 };

static struct {
	bool ready;
	struct zone *zone;
	struct expr_run_state st;
	char names[INPUTS][NAME_BYTES];
	char text[4096];
} world;

/* Two names of each type: a1 .. h1, a2 .. h2; and what scopes answer. */
static enum value_type
input_type(unsigned slot)
{
	return (enum value_type)(slot % TYPES + 1);
}

static bool
find(void *ctx, const char *name, size_t n, unsigned *slot, enum value_type *type)
{
	(void)ctx;
	if (n == strlen("seen(x)") && !memcmp(name, "seen(x)", n)) {
		*slot = 0;
		*type = input_type(0);
		return true;
	}
	if (n != 2 || name[0] < 'a' || name[0] > 'h' || (name[1] != '1' && name[1] != '2'))
		return false;
	*slot = (unsigned)(name[0] - 'a') + (name[1] == '2' ? TYPES : 0);
	*type = input_type(*slot);
	return true;
}

static uint32_t
bound(void *ctx, unsigned slot)
{
	(void)ctx;
	return slot < TYPES ? EXPR_UNBOUNDED : slot % 3 + 1;
}

static const char *
next(void *ctx, unsigned i)
{
	(void)ctx;
	return i < INPUTS ? world.names[i] : NULL;
}

static void
world_open(void)
{
	struct err e;

	if (!zone_open("Europe/Paris", &world.zone, &e))
		world.zone = NULL;
	for (unsigned i = 0; i < INPUTS; i++) {
		world.names[i][0] = (char)('a' + i % TYPES);
		world.names[i][1] = i < TYPES ? '1' : '2';
	}
	for (size_t i = 0; i < sizeof world.text; i++)
		world.text[i] = (char)(i % 7 ? 'a' + i % 26 : ' ');
	world.ready = true;
}

/* Values at the edges more often than between them. */
static int64_t
number(uint8_t byte, uint8_t seed)
{
	static const int64_t edges[] = {0,
					1,
					-1,
					INT64_MAX,
					INT64_MIN,
					1000000,
					-719162,
					2932896,
					INT64_C(-62135596800000000),
					INT64_C(253402300799999999),
					INT64_C(1317429524546000)};

	if (byte < sizeof edges / sizeof *edges)
		return edges[byte];
	return (int64_t)((byte * UINT64_C(0x9e3779b97f4a7c15)) >> (seed & 63));
}

static struct value
value_of(enum value_type type, uint8_t byte, uint8_t seed)
{
	struct value v = {.type = (uint8_t)type};
	int64_t i = number(byte, seed);

	if (byte == 255)
		return value_null();
	switch (type) {
	case VALUE_BOOLEAN:
		return value_boolean(byte & 1);
	case VALUE_DECIMAL: {
		int128 most = (int128)99999999999999999 * 1000000000000000000 + 999999999999999999;
		return value_decimal(byte & 1 ? (int128)i * seed : most * (byte & 2 ? -1 : 1),
				     seed % 19);
	}
	case VALUE_FLOAT:
		v.real = byte & 1 ? (double)i : ldexp(i ? (double)i : 1, (int)(seed * 8) - 1024);
		if (!isfinite(v.real))
			v.real = 0.5;
		return v;
	case VALUE_TEXT:
	case VALUE_JSON:
		v.text = world.text + byte % 32;
		v.len = byte & 1 ? seed : (uint32_t)(seed * 15);
		return v;
	default:
		v.integer = i;
		return v;
	}
}

static void
run(const struct expr *x, const uint8_t *bytes)
{
	struct value inputs[INPUTS], out;

	for (int k = 0; k < RUNS; k++) {
		expr_run_reset(&world.st);
		for (unsigned i = 0; i < INPUTS; i++)
			inputs[i] = value_of(input_type(i), (uint8_t)(bytes[i] + k * 37),
					     bytes[INPUTS + i % 8]);
		expr_run(x, inputs, &world.st, &out);
		if (out.type != VALUE_NULL && out.type != expr_type(x))
			abort(); /* the type it promised */
		if (out.type == VALUE_FLOAT && !isfinite(out.real))
			abort(); /* no value is NaN */
		if (out.type == VALUE_DECIMAL && out.scale > DECIMAL_SCALE_MAX)
			abort();
		uint8_t sum = 0; /* every byte is readable */
		for (uint32_t i = 0;
		     (out.type == VALUE_TEXT || out.type == VALUE_JSON) && i < out.len; i++)
			sum = (uint8_t)(sum + (uint8_t)out.text[i]);
		*(volatile uint8_t *)&sum = sum;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct expr_error e;
	struct expr *x;
	size_t at[8], len[8];

	if (!world.ready)
		world_open();
	if (n < VALUES_BYTES)
		return 0;
	const char *source = (const char *)data + VALUES_BYTES;
	size_t source_n = n - VALUES_BYTES;
	struct expr_scope scope = {.find = find,
				   .next = next,
				   .zone = data[0] & 1 ? world.zone : NULL,
				   .bound = data[0] & 2 ? bound : NULL};
	unsigned parts = expr_conjuncts(source, source_n, at, len, 8);
	for (unsigned i = 0; i < parts; i++)
		if (!len[i] || at[i] + len[i] > source_n)
			abort();
	enum value_type want = data[1] % 4 ? VALUE_NULL : (enum value_type)(data[2] % VALUE_SEALED);
	if (!expr_compile(source, source_n, &scope, want, &x, &e)) {
		if (x || !e.len || e.at > source_n || !e.text[0] ||
		    !memchr(e.text, 0, sizeof e.text))
			abort();
		return 0;
	}
	/* Nothing to tell of without a bound; never less than one result. */
	if (!expr_bound(x) || (!scope.bound && expr_bound(x) != 1))
		abort();
	run(x, data);
	expr_free(x);
	return 0;
}
