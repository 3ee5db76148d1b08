#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "param.h"

enum {
	ID_ROUNDS_MAX = 40, /* another loader may draw the same ids meanwhile */
	ASK_MAX = 65536,    /* partitions in one ASK */
};

/*
 * Each is one statement that commits by itself: a loader that is stopped in between holds no lock.
 * Two that draw the same id at once: one of them inserts less, and asks again.
 */
static const char sources_sql[] =
    "INSERT INTO admin_schema.source (pipeline, id, name, cluster, generation, label)"
    " SELECT $1, (SELECT coalesce(max(id), 0) FROM admin_schema.source WHERE pipeline = $1)"
    " + row_number() OVER (ORDER BY u.at), u.name, u.cluster, u.generation, u.label"
    " FROM unnest($2, $3, $4, $5) WITH ORDINALITY u (name, cluster, generation, label, at)"
    " WHERE NOT EXISTS (SELECT FROM admin_schema.source s WHERE s.pipeline = $1"
    " AND s.label = u.label) ON CONFLICT DO NOTHING";

static const char sources_read_sql[] =
    "SELECT id, label FROM admin_schema.source WHERE pipeline = $1";

static const char partitions_sql[] =
    "INSERT INTO admin_schema.partition (pipeline, id, source, label, digest, kind, number)"
    " SELECT $1, (SELECT coalesce(max(id), 0) FROM admin_schema.partition WHERE pipeline = $1)"
    " + row_number() OVER (ORDER BY u.at), u.source, u.label,"
    " sha256(convert_to(u.label, 'UTF8')), u.kind, u.number"
    " FROM unnest($2, $3, $4, $5) WITH ORDINALITY u (source, label, kind, number, at)"
    " WHERE NOT EXISTS (SELECT FROM admin_schema.partition p WHERE p.pipeline = $1"
    " AND p.source = u.source AND p.digest = sha256(convert_to(u.label, 'UTF8')))"
    " ON CONFLICT DO NOTHING";

/* In the order of the question; the id is null while it is not there. */
static const char partitions_find_sql[] =
    "SELECT p.id, p.done_at IS NOT NULL, p.next, p.bytes"
    " FROM unnest($2, $3) WITH ORDINALITY u (source, label, at)"
    " LEFT JOIN admin_schema.partition p ON p.pipeline = $1 AND p.source = u.source"
    " AND p.digest = sha256(convert_to(u.label, 'UTF8')) ORDER BY u.at";

static const char partitions_read_sql[] =
    "SELECT p.id, p.source, p.label, p.kind = 'transient', p.number, p.done_at IS NOT NULL,"
    " p.next, p.bytes FROM admin_schema.partition p WHERE p.pipeline = $1 ORDER BY p.id";

static const char done_sql[] =
    "UPDATE admin_schema.partition p SET done_at = now(), next = u.next, bytes = u.bytes"
    " FROM unnest($2, $3, $4) u (id, next, bytes) WHERE p.pipeline = $1 AND p.id = u.id";

/* ---- sources ---- */

/* label is name@cluster#generation; the generation has no '#', the name no '@'. */
static void
label_part(const char *label, int part, struct buf *out)
{
	const char *at = strchr(label, '@'), *end = label + strlen(label);
	const char *hash = strrchr(label, '#');

	at = at ? at : end;
	hash = hash && hash > at ? hash : end;
	const char *from[] = {label, at < hash ? at + 1 : hash, hash < end ? hash + 1 : end};
	const char *to[] = {at, hash, end};
	copy_bytes(out, from[part], (size_t)(to[part] - from[part]));
}

static void
params_sources(const struct load *l, struct param_set *s)
{
	const struct model *m = l->w->model;

	param_int4(s, l->owner.pipeline);
	for (int part = 0; part < 3; part++) {
		param_array(s, OID_TEXT_ARRAY, OID_TEXT, m->sources_n);
		for (unsigned i = 0; i < m->sources_n; i++)
			label_part(m->sources[i].label, part, &s->bytes);
		param_array_end(s);
	}
	param_array(s, OID_TEXT_ARRAY, OID_TEXT, m->sources_n);
	for (unsigned i = 0; i < m->sources_n; i++)
		copy_bytes(&s->bytes, m->sources[i].label, strlen(m->sources[i].label));
	param_array_end(s);
}

static int
source_by_label(const struct model *m, const char *label)
{
	for (unsigned i = 0; i < m->sources_n; i++)
		if (strcmp(m->sources[i].label, label) == 0)
			return (int)i;
	return -1;
}

static bool
sources_read(struct load *l, unsigned *found, struct err *e)
{
	struct param_set s = {0};
	struct pg_result *r = NULL;

	param_int4(&s, l->owner.pipeline);
	bool good = pg_query(l->pg, sources_read_sql, params_made(&s), s.n, false, &r, e);
	params_free(&s);
	if (!good)
		return false;
	*found = 0;
	for (unsigned i = 0; i < pg_rows(r); i++) {
		int source = source_by_label(l->w->model, pg_text(r, i, 1));
		if (source < 0)
			continue;
		l->owner.source_ids[source] = (int32_t)pg_int(r, i, 0);
		(*found)++;
	}
	pg_result_free(r);
	return true;
}

bool
sources_register(struct load *l, struct err *e)
{
	unsigned found = 0;

	for (int i = 0; i < ID_ROUNDS_MAX; i++) {
		if (!sources_read(l, &found, e))
			return false;
		if (found == l->w->model->sources_n)
			return true;
		struct param_set s = {0};
		params_sources(l, &s);
		bool good = pg_query(l->pg, sources_sql, params_made(&s), s.n, false, NULL, e);
		params_free(&s);
		if (!good)
			return false;
	}
	return err_set(e, EXIT_UNAVAILABLE, "sources cannot be registered: others keep doing it");
}

/* ---- partitions ---- */

static int
source_by_id(const struct load *l, int64_t id)
{
	for (unsigned i = 0; i < l->w->model->sources_n; i++)
		if (l->owner.source_ids[i] == id)
			return (int)i;
	return -1;
}

bool
partitions_read(struct load *l, struct err *e)
{
	struct param_set s = {0};
	struct pg_result *r = NULL;

	param_int4(&s, l->owner.pipeline);
	bool good = pg_query(l->pg, partitions_read_sql, params_made(&s), s.n, false, &r, e);
	params_free(&s);
	if (!good)
		return false;
	for (unsigned i = 0; i < pg_rows(r); i++) {
		const char *label = pg_text(r, i, 2);
		char *copy = mem_string(label);
		struct known k = {.done = pg_text(r, i, 5)[0] == 't',
				  .source = source_by_id(l, pg_int(r, i, 1)),
				  .kind = pg_text(r, i, 3)[0] == 't' ? PARTITION_TRANSIENT
								     : PARTITION_DURABLE,
				  .number = (uint32_t)pg_int(r, i, 4),
				  .next = pg_int(r, i, 6),
				  .bytes = pg_int(r, i, 7),
				  .label = copy,
				  .label_len = (uint32_t)strlen(label)};
		owner_partition(&l->owner, (uint32_t)pg_int(r, i, 0), &k);
		free(copy);
	}
	pg_result_free(r);
	return true;
}

struct asked {
	struct partition *all; /* labels borrowed from the frame */
	unsigned n, max;
};

static bool
partitions_decode(struct load *l, const uint8_t *body, size_t n, struct asked *a, struct err *e)
{
	struct pack_reader *r = &l->batches.reader;

	*a = (struct asked){0};
	pack_reader_start(r, body, n);
	while (!r->failed && r->at < r->len && a->n < ASK_MAX) {
		if (a->n == a->max) {
			a->max = a->max ? a->max * 2 : 16;
			a->all = mem_resize(a->all, a->max, sizeof(*a->all));
		}
		if (wire_partition_read(r, &a->all[a->n]) &&
		    a->all[a->n++].source >= l->w->model->sources_n)
			pack_fail(r, "a partition of no source");
	}
	if (pack_reader_end(r))
		return true;
	free(a->all);
	return err_set(e, EXIT_BUG, "partitions: %s", r->why);
}

static void
params_labels(const struct load *l, const struct asked *a, struct param_set *s)
{
	param_int4(s, l->owner.pipeline);
	param_array(s, OID_INT4_ARRAY, OID_INT4, a->n);
	for (unsigned i = 0; i < a->n; i++)
		copy_int4(&s->bytes, l->owner.source_ids[a->all[i].source]);
	param_array_end(s);
	param_array(s, OID_TEXT_ARRAY, OID_TEXT, a->n);
	for (unsigned i = 0; i < a->n; i++)
		copy_bytes(&s->bytes, a->all[i].label, a->all[i].label_len);
	param_array_end(s);
}

static bool
partitions_insert(struct load *l, const struct asked *a, struct err *e)
{
	static const char *const kinds[] = {"durable", "transient"};
	struct param_set s = {0};

	params_labels(l, a, &s);
	param_array(&s, OID_TEXT_ARRAY, OID_TEXT, a->n);
	for (unsigned i = 0; i < a->n; i++)
		copy_bytes(&s.bytes, kinds[a->all[i].kind == PARTITION_TRANSIENT],
			   strlen(kinds[a->all[i].kind == PARTITION_TRANSIENT]));
	param_array_end(&s);
	param_array(&s, OID_INT4_ARRAY, OID_INT4, a->n);
	for (unsigned i = 0; i < a->n; i++)
		copy_int4(&s.bytes, (int32_t)a->all[i].number);
	param_array_end(&s);
	bool good = pg_query(l->pg, partitions_sql, params_made(&s), s.n, false, NULL, e);
	params_free(&s);
	return good;
}

/* Fills in what the database knows; *missing: how many it does not. */
static bool
partitions_find(struct load *l, struct asked *a, unsigned *missing, struct err *e)
{
	struct param_set s = {0};
	struct pg_result *r = NULL;

	params_labels(l, a, &s);
	bool good = pg_query(l->pg, partitions_find_sql, params_made(&s), s.n, false, &r, e);
	params_free(&s);
	if (!good)
		return false;
	check(pg_rows(r) == a->n);
	*missing = 0;
	for (unsigned i = 0; i < a->n; i++) {
		struct partition *p = &a->all[i];
		if (pg_is_null(r, i, 0)) {
			(*missing)++;
			continue;
		}
		p->id = (uint32_t)pg_int(r, i, 0);
		p->done = pg_text(r, i, 1)[0] == 't';
		p->next = pg_int(r, i, 2);
		p->bytes = pg_int(r, i, 3);
	}
	pg_result_free(r);
	return true;
}

static bool
partitions_identify(struct load *l, struct asked *a, struct err *e)
{
	unsigned missing = 1;

	for (int i = 0; i < ID_ROUNDS_MAX; i++) {
		if (!partitions_find(l, a, &missing, e))
			return false;
		if (missing == 0)
			return true;
		if (!partitions_insert(l, a, e))
			return false;
	}
	return err_set(e, EXIT_UNAVAILABLE,
		       "partitions cannot be registered: others keep doing it");
}

static void
partitions_keep(struct load *l, const struct asked *a)
{
	for (unsigned i = 0; i < a->n; i++) {
		const struct partition *p = &a->all[i];
		char *label = mem_string_n(p->label, p->label_len);
		struct known k = {.done = p->done,
				  .source = p->source,
				  .kind = p->kind,
				  .next = p->next,
				  .bytes = p->bytes,
				  .number = p->number,
				  .label = label,
				  .label_len = p->label_len};
		owner_partition(&l->owner, p->id, &k);
		free(label);
	}
}

bool
partitions_ask(struct load *l, const uint8_t *body, size_t n, struct err *e)
{
	struct asked a;

	if (!partitions_decode(l, body, n, &a, e))
		return false;
	if (!partitions_identify(l, &a, e)) {
		free(a.all);
		return false;
	}
	partitions_keep(l, &a);
	for (unsigned i = 0; i < l->w->count[load_reader(l)]; i++) {
		struct buf out = {0};
		pipe_body_start(&out);
		for (unsigned j = 0; j < a.n; j++)
			wire_partition_write(&out, &a.all[j]);
		pipe_send(l->w->pipes, load_reader(l), i, FRAME_PART, 0, a.n, &out);
	}
	free(a.all);
	return true;
}

bool
partitions_learn(struct load *l, const uint8_t *body, size_t n, struct err *e)
{
	struct asked a;

	if (!partitions_decode(l, body, n, &a, e))
		return false;
	for (unsigned i = 0; i < a.n; i++)
		if (a.all[i].id == 0) {
			free(a.all);
			return err_set(e, EXIT_BUG, "PART without an id");
		}
	partitions_keep(l, &a);
	free(a.all);
	return true;
}

/* ---- files read to their end ---- */

struct dones {
	struct done *all;
	unsigned n, max;
};

static bool
dones_decode(struct load *l, const uint8_t *body, size_t n, struct dones *d, struct err *e)
{
	struct pack_reader *r = &l->batches.reader;

	*d = (struct dones){0};
	pack_reader_start(r, body, n);
	while (!r->failed && r->at < r->len) {
		if (d->n == d->max) {
			d->max = d->max ? d->max * 2 : 16;
			d->all = mem_resize(d->all, d->max, sizeof(*d->all));
		}
		if (wire_done_read(r, &d->all[d->n]) &&
		    owner_known(&l->owner, d->all[d->n++].partition) == NULL)
			pack_fail(r, "DONE of an unknown partition");
	}
	if (pack_reader_end(r))
		return true;
	free(d->all);
	return err_set(e, EXIT_BUG, "DONE: %s", r->why);
}

static bool
dones_write(struct load *l, const struct dones *d, struct err *e)
{
	struct param_set s = {0};

	param_int4(&s, l->owner.pipeline);
	param_array(&s, OID_INT4_ARRAY, OID_INT4, d->n);
	for (unsigned i = 0; i < d->n; i++)
		copy_int4(&s.bytes, (int32_t)d->all[i].partition);
	param_array_end(&s);
	param_array(&s, OID_INT8_ARRAY, OID_INT8, d->n);
	for (unsigned i = 0; i < d->n; i++)
		copy_int8(&s.bytes, d->all[i].next);
	param_array_end(&s);
	param_array(&s, OID_INT8_ARRAY, OID_INT8, d->n);
	for (unsigned i = 0; i < d->n; i++)
		copy_int8(&s.bytes, d->all[i].bytes);
	param_array_end(&s);
	bool good = pg_query(l->pg, done_sql, params_made(&s), s.n, false, NULL, e);
	params_free(&s);
	return good;
}

bool
partitions_done(struct load *l, const uint8_t *body, size_t n, struct err *e)
{
	struct dones d;

	if (!dones_decode(l, body, n, &d, e))
		return false;
	bool good = dones_write(l, &d, e);
	for (unsigned i = 0; good && i < d.n; i++) {
		struct known *k = &l->owner.partitions[d.all[i].partition];
		k->done = true;
		k->next = d.all[i].next;
		k->bytes = d.all[i].bytes;
		for (uint32_t j = 0; j < l->owner.ranges_n; j++)
			range_unset(&l->owner.ranges[j], d.all[i].partition);
	}
	free(d.all);
	return good;
}
