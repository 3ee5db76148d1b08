/*
 * json_table: the declared paths as a tree of keys, shared by json_table.c and json_path.c. Node 0
 * is the top object and stands for "none" where a child is meant.
 */
#ifndef INGEST_JSON_TABLE_H
#define INGEST_JSON_TABLE_H

#include "json.h"

struct json_node {
	char *key; /* unescaped */
	uint32_t key_len;
	uint32_t parent;
	int item;	   /* first path that ends here, or -1 */
	bool has_children; /* a declared path goes on below */
	uint32_t first;	   /* guess: the first key of this object */
	uint32_t follows;  /* guess: the key behind this one */
	uint64_t seen;	   /* serial of the parse that met it last */
};

struct json_table {
	struct json_node *nodes;
	uint32_t nodes_n;
	uint32_t *slots; /* hash of (parent, key) to node, open addressing */
	uint32_t slots_n;
	unsigned paths_n;
	int *alias; /* path to the item that holds its value */
	struct json_item *items;
};

uint64_t json_key_hash(uint32_t parent, const char *key, size_t n);
uint32_t json_table_find(const struct json_table *t, uint32_t parent, const char *key, size_t n,
			 uint64_t hash);

#endif
