/*
 * keys_tokens: token keys of the key directory, held against what the signed policy lists.
 */
#ifndef CLI_KEYS_TOKENS_H
#define CLI_KEYS_TOKENS_H

#include "keys.h"
#include "seal/token.h"

/* Opens one file of a domain, whatever the policy says of it. The caller frees *out. */
MUSTCHECK bool keys_token_open(struct keys *k, const char *domain, const struct keys_file *file,
			       struct token_key **out, struct err *e);
/*
 * Lists in `to` the ids of the token keys that are in the directory: of each domain of the model
 * that has one there, these and no others. What `to` lists of other domains stays.
 */
MUSTCHECK bool keys_tokens_take(struct keys *k, struct policy *to, struct err *e);

#endif
