#include "param.h"

#include <endian.h>
#include <string.h>

#include "log.h"

static void
note(struct param_set *s, uint32_t oid)
{
	check(s->n < PARAM_MAX);
	s->oids[s->n++] = oid;
}

void
param_int2(struct param_set *s, int16_t v)
{
	note(s, OID_INT2);
	copy_int2(&s->bytes, v);
}

void
param_int4(struct param_set *s, int32_t v)
{
	note(s, OID_INT4);
	copy_int4(&s->bytes, v);
}

void
param_int8(struct param_set *s, int64_t v)
{
	note(s, OID_INT8);
	copy_int8(&s->bytes, v);
}

void
param_bool(struct param_set *s, bool v)
{
	note(s, OID_BOOL);
	copy_bool(&s->bytes, v);
}

void
param_text(struct param_set *s, const char *v)
{
	note(s, OID_TEXT);
	copy_bytes(&s->bytes, v, strlen(v));
}

void
param_array(struct param_set *s, uint32_t array_oid, uint32_t element_oid, uint32_t n)
{
	note(s, array_oid);
	copy_array_begin(&s->bytes, element_oid, n, &s->mark);
}

void
param_array_end(struct param_set *s)
{
	copy_array_end(&s->bytes, s->mark);
}

const struct pg_param *
params_made(struct param_set *s)
{
	size_t at = 0;

	for (unsigned i = 0; i < s->n; i++) {
		uint32_t len;
		check(s->bytes.len - at >= sizeof(len));
		memcpy(&len, s->bytes.data + at, sizeof(len));
		len = be32toh(len);
		at += sizeof(len);
		check(s->bytes.len - at >= len);
		s->params[i] = (struct pg_param){
		    .data = s->bytes.data + at, .len = len, .binary = true, .type = s->oids[i]};
		at += len;
	}
	return s->params;
}

void
params_clear(struct param_set *s)
{
	buf_clear(&s->bytes);
	s->n = 0;
}

void
params_free(struct param_set *s)
{
	buf_free(&s->bytes);
}
