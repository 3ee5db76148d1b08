/*
 * json_text: the two scalar grammars of JSON that need care. Pure.
 */
#ifndef INGEST_JSON_TEXT_H
#define INGEST_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? and nothing else. */
bool json_number_good(const char *s, size_t n);

/*
 * Resolves the escapes of a string's inside (quotes excluded). out has room for n bytes. Returns
 * NULL and *out_len, or what is wrong.
 */
const char *json_unescape(const char *s, size_t n, char *out, size_t *out_len);

#endif
