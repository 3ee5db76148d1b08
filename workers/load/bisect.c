/*
 * bisect: which rows does the warehouse refuse? Slower by far than sets, and only for a batch that
 * was refused.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"

enum { CHUNK_MAX = 512 };

/* ---- dead letters ---- */

static const struct copy_field *
field_of(const struct copy_layout *l, const struct copy_field *fields, enum row_column_role role)
{
	for (unsigned i = 0; i < l->columns_n; i++)
		if (l->columns[i].role == role && fields[i].data)
			return &fields[i];
	return NULL;
}

/*
 * Identity of the letter: the event's rid where the row is of one event; else a hash of table and
 * key, so that the same row, refused again, is the same letter.
 */
static void
letter_rid(const struct commit *c, const char *table, const struct copy_layout *l,
	   const struct copy_field *fields, uint8_t rid[static RID_BYTES])
{
	const struct copy_field *f = field_of(l, fields, ROW_RID);
	struct buf b = {0};

	if (f && f->len == RID_BYTES) {
		memcpy(rid, f->data, RID_BYTES);
		return;
	}
	f = field_of(l, fields, ROW_KEY);
	if (f == NULL)
		f = field_of(l, fields, ROW_NATURAL);
	buf_text(&b, "row of ");
	buf_add(&b, table, strlen(table) + 1);
	if (f)
		buf_add(&b, f->data, f->len);
	keyhash_process(c->l->owner.hash_key, (const char *)b.data, b.len, rid);
	buf_free(&b);
}

void
bisect_note(struct commit *c, unsigned table, const struct copy_field *fields, const char *why)
{
	const struct table *t = &c->l->w->model->tables[table];
	char reason[REASON_MAX + 1];
	struct dead_row d = {.source = t->grain,
			     .stage = role_name(ROLE_LOAD),
			     .stage_len = strlen(role_name(ROLE_LOAD)),
			     .reason = reason};

	int n = snprintf(reason, sizeof(reason), "%s: %s", t->name.s, why);
	d.reason_len = n < REASON_MAX ? (size_t)n : REASON_MAX;
	letter_rid(c, t->name.s, &c->l->layouts[table], fields, d.rid);
	batch_dead(&c->l->batches.setup, &d, t->grain >= 0 ? &c->dead : &c->dead_rows);
	if (t->grain >= 0)
		c->source_dead[t->grain]++;
}

/* ---- finding them ---- */

static size_t *
offsets_of(const struct rows *rows)
{
	size_t *at = mem_alloc((rows->n + 1) * sizeof(*at)), end = 0;
	struct copy_field fields[ROW_COLUMNS_MAX];

	for (uint32_t i = 0; i < rows->n; i++) {
		at[i] = end;
		copy_next(&rows->bytes, &end, fields, ROW_COLUMNS_MAX);
	}
	at[rows->n] = end;
	return at;
}

static void
row_refuse(struct commit *c, unsigned table, const struct rows *rows, size_t at)
{
	struct copy_field fields[ROW_COLUMNS_MAX];

	copy_next(&rows->bytes, &at, fields, ROW_COLUMNS_MAX);
	bisect_note(c, table, fields, c->e->text);
	log_warn("a row of %s was refused: %s", c->l->sinks[table].name, c->e->text);
}

/*
 * A chunk in one round trip; the server says which of its rows it refused. Those before it go
 * again, it is left out, and so on behind it.
 */
static bool
table_bisect(struct commit *c, unsigned table)
{
	const struct rows *rows = &c->b->rows[table];
	size_t *at = offsets_of(rows);
	uint32_t first = 0, chunk = CHUNK_MAX;
	bool good = true;

	while (good && first < rows->n) {
		struct each x = {.sink = table,
				 .rows = rows,
				 .first = first,
				 .n = rows->n - first < chunk ? rows->n - first : chunk,
				 .at = at[first],
				 .before = "SAVEPOINT weir",
				 .after = "RELEASE SAVEPOINT weir"};
		if (merge_each(c, &x)) {
			first += x.n;
			chunk = chunk * 2 < CHUNK_MAX ? chunk * 2 : CHUNK_MAX;
			continue;
		}
		struct err ignore;
		good = pg_alive(c->l->pg) && commit_class(c->l) == COMMIT_BAD;
		if (!good)
			break;
		if (x.failed == first)
			row_refuse(c, table, rows, at[first++]);
		else
			chunk = x.failed - first;
		good = pg_exec(c->l->pg, "ROLLBACK TO SAVEPOINT weir", NULL, &ignore);
	}
	free(at);
	return good;
}

static bool
nothing_between(struct commit *c)
{
	(void)c;
	return true;
}

bool
bisect_rows(struct commit *c)
{
	return merge_order(c, table_bisect, nothing_between);
}
