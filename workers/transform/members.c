#include "members.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

enum {
	WAYS = 4, /* entries that one hash may choose from */
	SETS = MEMBERS_SENT_MAX / WAYS,
	INDEX_FIRST = 1024, /* slots, a power of two */
	LINK_NONE = UINT32_MAX,
};

struct sent {
	struct member_id id;
	bool used;
	struct member_version version;
};

struct entry { /* of this batch */
	struct member_id id;
	struct member_version version;
	size_t row_at, row_n; /* in rows */
	size_t room;
	uint32_t next; /* of the same table */
};

struct members {
	struct sent *sent; /* MEMBERS_SENT_MAX */
	unsigned turn;	   /* which way is pushed out next */
	struct entry *entries;
	uint32_t entries_n, entries_max;
	uint32_t *index; /* entry + 1, by hash; 0 is empty */
	uint32_t index_n;
	struct buf rows;
	uint32_t first[TABLES_MAX], last[TABLES_MAX];
	uint32_t offered; /* the entry that waits for its row */
};

static void
batch_clear(struct members *m)
{
	memset(m->index, 0, m->index_n * sizeof *m->index);
	m->entries_n = 0;
	m->offered = LINK_NONE;
	buf_clear(&m->rows);
	for (unsigned t = 0; t < TABLES_MAX; t++)
		m->first[t] = m->last[t] = LINK_NONE;
}

struct members *
members_new(void)
{
	struct members *m = mem_zero(1, sizeof *m);

	m->sent = mem_zero(MEMBERS_SENT_MAX, sizeof *m->sent);
	m->index_n = INDEX_FIRST;
	m->index = mem_zero(m->index_n, sizeof *m->index);
	batch_clear(m);
	return m;
}

void
members_free(struct members *m)
{
	if (!m)
		return;
	free(m->sent);
	free(m->entries);
	free(m->index);
	buf_free(&m->rows);
	free(m);
}

uint32_t
member_check(const char *natural, size_t n)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)natural[i]) * 16777619u;
	return h;
}

/* The surrogate key is a hash already; tables with the same members must not crowd each other. */
static uint64_t
id_hash(const struct member_id *id)
{
	return (uint64_t)id->key ^ (id->table * UINT64_C(0x9e3779b97f4a7c15));
}

static bool
id_same(const struct member_id *a, const struct member_id *b)
{
	return a->key == b->key && a->table == b->table && a->check == b->check;
}

static int
version_compare(const struct member_version *a, const struct member_version *b)
{
	if (a->described != b->described)
		return a->described ? 1 : -1;
	if (!a->described)
		return 0;
	if (a->has_time != b->has_time)
		return a->has_time ? 1 : -1;
	if (a->has_time && a->time_us != b->time_us)
		return a->time_us < b->time_us ? -1 : 1;
	return memcmp(a->rid, b->rid, RID_BYTES);
}

/* ---- what was sent ---- */

static struct sent *
sent_set(struct members *m, const struct member_id *id)
{
	return m->sent + id_hash(id) % SETS * WAYS;
}

static struct sent *
sent_find(struct members *m, const struct member_id *id)
{
	struct sent *set = sent_set(m, id);

	for (int i = 0; i < WAYS; i++)
		if (set[i].used && id_same(&set[i].id, id))
			return &set[i];
	return NULL;
}

static void
sent_remember(struct members *m, const struct member_id *id, const struct member_version *v)
{
	struct sent *s = sent_find(m, id);

	for (int i = 0; i < WAYS && !s; i++)
		if (!sent_set(m, id)[i].used)
			s = &sent_set(m, id)[i];
	if (!s)
		s = &sent_set(m, id)[m->turn++ % WAYS];
	*s = (struct sent){*id, true, *v};
}

/* ---- this batch ---- */

static uint32_t *
index_slot(struct members *m, const struct member_id *id)
{
	uint64_t at = id_hash(id) >> 20; /* other bits than the set's */

	for (;; at++) {
		uint32_t *slot = &m->index[at & (m->index_n - 1)];
		if (!*slot || id_same(&m->entries[*slot - 1].id, id))
			return slot;
	}
}

static void
index_grow(struct members *m)
{
	m->index_n *= 2;
	free(m->index);
	m->index = mem_zero(m->index_n, sizeof *m->index);
	for (uint32_t i = 0; i < m->entries_n; i++)
		*index_slot(m, &m->entries[i].id) = i + 1;
}

static uint32_t
entry_add(struct members *m, const struct member_id *id)
{
	uint32_t i = m->entries_n++;

	if (i == m->entries_max) {
		m->entries_max = m->entries_max ? m->entries_max * 2 : INDEX_FIRST / 2;
		m->entries = mem_resize(m->entries, m->entries_max, sizeof *m->entries);
	}
	m->entries[i] = (struct entry){.id = *id, .next = LINK_NONE};
	if (m->last[id->table] == LINK_NONE)
		m->first[id->table] = i;
	else
		m->entries[m->last[id->table]].next = i;
	m->last[id->table] = i;
	*index_slot(m, id) = i + 1;
	if (m->entries_n > m->index_n / 2)
		index_grow(m);
	return i;
}

bool
members_offer(struct members *m, const struct member_id *id, const struct member_version *v)
{
	check(m->offered == LINK_NONE && id->table < TABLES_MAX);
	const struct sent *before = sent_find(m, id);
	if (before && version_compare(v, &before->version) <= 0)
		return false;
	uint32_t i = *index_slot(m, id);
	if (i && version_compare(v, &m->entries[i - 1].version) <= 0)
		return false;
	m->offered = i ? i - 1 : entry_add(m, id);
	m->entries[m->offered].version = *v;
	return true;
}

/* A newer version takes the place of the older one where it fits. */
void
members_put(struct members *m, const void *row, size_t n)
{
	check(m->offered != LINK_NONE);
	struct entry *e = &m->entries[m->offered];
	if (n > e->room) {
		e->row_at = m->rows.len;
		e->room = n;
		buf_add(&m->rows, row, n);
	} else {
		memcpy(m->rows.data + e->row_at, row, n);
	}
	e->row_n = n;
	m->offered = LINK_NONE;
}

void
members_each(const struct members *m, unsigned table,
	     void (*visit)(void *ctx, const uint8_t *row, size_t n), void *ctx)
{
	for (uint32_t i = m->first[table]; i != LINK_NONE; i = m->entries[i].next)
		visit(ctx, m->rows.data + m->entries[i].row_at, m->entries[i].row_n);
}

void
members_sent(struct members *m)
{
	for (uint32_t i = 0; i < m->entries_n; i++)
		sent_remember(m, &m->entries[i].id, &m->entries[i].version);
	batch_clear(m);
}
