/*
 * policy_model: a pipeline file's list of what is sensitive against the signed one. policy_of_model
 * (policy.h) makes the list `wanted` of a model; here the two lists are compared, with no model at
 * hand, so that a command, ingest and science say the same words. policy_covers (policy.h) looks
 * deeper, at everything that the model reads; policy_model_check asks both.
 */
#ifndef PROTO_SEAL_POLICY_MODEL_H
#define PROTO_SEAL_POLICY_MODEL_H

#include "seal/policy.h"
#include "seal/token.h"

/*
 * Names every way in which `wanted` is weaker than the signed `is`, one sentence a line: a field no
 * longer sensitive, another class, a derive or a token that was not signed, a subject removed,
 * undeclared fields less protected, a class that is unknown, a hand-over, a recipient or a query
 * that was not signed. Appended to report; returns how many. A source that `wanted` does not have
 * is not weaker, unless another source of `wanted` reads the same place.
 */
unsigned policy_weaker(const struct policy *is, const struct policy *wanted, struct buf *report);

/*
 * What a process asks before it starts: whether its model is as strong as the signed policy. False:
 * EXIT_PERMISSION, the first weakness and how many there are.
 */
MUSTCHECK bool policy_model_check(const struct policy *is, const struct model *m, struct err *e);

/*
 * A token key that is about to be used: whether it is the one that the policy lists for its domain
 * and epoch. Under another key a person has another pseudonym, which no erasure finds. False:
 * EXIT_PERMISSION.
 */
MUSTCHECK bool policy_token_check(const struct policy *is, const char *domain,
				  const struct token_key *key, struct err *e);

/*
 * One hand-over of the model against the signed policy: listed, with this query, recipients that
 * are signed for it and are members. False: EXIT_PERMISSION.
 */
MUSTCHECK bool policy_handoff_check(const struct policy *is, const struct handoff *h,
				    struct err *e);

#endif
