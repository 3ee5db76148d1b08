/*
 * jsontext: a JSON string, in quotes, of whatever bytes there are: what is not UTF-8 becomes
 * U+FFFD, so that the document stays one.
 */
#ifndef PROTO_JSONTEXT_H
#define PROTO_JSONTEXT_H

#include "buf.h"

void jsontext(struct buf *b, const char *s);
void jsontext_n(struct buf *b, const char *s, size_t n);
/* As jsontext, of the first whole characters that take at most n bytes between the quotes. */
void jsontext_cut(struct buf *b, const char *s, size_t n);

#endif
