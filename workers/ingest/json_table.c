#include "json_table.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

uint64_t
json_key_hash(uint32_t parent, const char *key, size_t n)
{
	uint64_t h = 14695981039346656037u ^ parent;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)key[i]) * 1099511628211u;
	return h ^ h >> 29;
}

uint32_t
json_table_find(const struct json_table *t, uint32_t parent, const char *key, size_t n,
		uint64_t hash)
{
	for (uint64_t i = hash;; i++) {
		uint32_t at = t->slots[i & (t->slots_n - 1)];
		const struct json_node *node = &t->nodes[at];

		if (!at)
			return 0;
		if (node->parent == parent && node->key_len == n && !memcmp(node->key, key, n))
			return at;
	}
}

static uint32_t
child_get(struct json_table *t, uint32_t parent, const char *key, size_t n)
{
	uint64_t hash = json_key_hash(parent, key, n);
	uint32_t at = json_table_find(t, parent, key, n, hash);

	if (at)
		return at;
	at = t->nodes_n++;
	t->nodes[at] = (struct json_node){
	    .key = mem_string_n(key, n), .key_len = (uint32_t)n, .parent = parent, .item = -1};
	while (t->slots[hash & (t->slots_n - 1)])
		hash++;
	t->slots[hash & (t->slots_n - 1)] = at;
	return at;
}

static bool
path_add(struct json_table *t, const char *path, unsigned i, struct err *e)
{
	uint32_t node = 0;

	for (const char *p = path;; p++) {
		size_t n = strcspn(p, ".");

		if (!n)
			return err_set(e, EXIT_CONFIG, "path \"%s\": a key is empty", path);
		t->nodes[node].has_children = true;
		node = child_get(t, node, p, n);
		p += n;
		if (!*p)
			break;
	}
	if (t->nodes[node].item < 0)
		t->nodes[node].item = (int)i;
	t->alias[i] = t->nodes[node].item;
	return true;
}

bool
json_table_new(const char *const *paths, unsigned n, struct json_table **out, struct err *e)
{
	size_t keys = 1;

	*out = NULL;
	if (n > JSON_PATHS_MAX)
		return err_set(e, EXIT_CONFIG, "%u paths, at most %d are possible", n,
			       JSON_PATHS_MAX);
	for (unsigned i = 0; i < n; i++)
		for (const char *p = paths[i]; p; p = strchr(p, '.'), p = p ? p + 1 : NULL)
			keys++;
	struct json_table *t = mem_zero(1, sizeof *t);
	t->nodes = mem_zero(keys, sizeof *t->nodes);
	t->nodes[0] = (struct json_node){.item = -1};
	t->nodes_n = 1;
	for (t->slots_n = 16; t->slots_n < keys * 4;)
		t->slots_n *= 2;
	t->slots = mem_zero(t->slots_n, sizeof *t->slots);
	t->paths_n = n;
	t->alias = mem_zero(n, sizeof *t->alias);
	t->items = mem_zero(n, sizeof *t->items);
	for (unsigned i = 0; i < n; i++)
		if (!path_add(t, paths[i], i, e)) {
			json_table_free(t);
			return false;
		}
	*out = t;
	return true;
}

void
json_table_free(struct json_table *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; i < t->nodes_n; i++)
		free(t->nodes[i].key);
	free(t->nodes);
	free(t->slots);
	free(t->alias);
	free(t->items);
	free(t);
}

const struct json_item *
json_item(const struct json_table *t, unsigned i)
{
	return &t->items[t->alias[i]];
}
