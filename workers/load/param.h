/*
 * param: parameters of statements in binary form, collected into one buffer. The buffer may move
 * while it grows, so the params are made at the end.
 */
#ifndef WORKERS_LOAD_PARAM_H
#define WORKERS_LOAD_PARAM_H

#include "copy.h"
#include "pg.h"

enum { PARAM_MAX = 16 };

struct param_set {
	struct buf bytes; /* fields in the form of copy.h */
	uint32_t oids[PARAM_MAX];
	unsigned n;
	size_t mark; /* of the array under way */
	struct pg_param params[PARAM_MAX];
};

void param_int2(struct param_set *s, int16_t v);
void param_int4(struct param_set *s, int32_t v);
void param_int8(struct param_set *s, int64_t v);
void param_bool(struct param_set *s, bool v);
void param_text(struct param_set *s, const char *v);
/* An array: begin, then n elements by copy_* into s->bytes, then end. */
void param_array(struct param_set *s, uint32_t array_oid, uint32_t element_oid, uint32_t n);
void param_array_end(struct param_set *s);

/* The params, borrowed until the set changes. */
const struct pg_param *params_made(struct param_set *s);
void params_clear(struct param_set *s); /* for reuse */
void params_free(struct param_set *s);

#endif
