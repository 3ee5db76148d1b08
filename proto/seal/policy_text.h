/*
 * policy_text: how keys, lists and forms of a policy are written in what it says to persons.
 */
#ifndef PROTO_SEAL_POLICY_TEXT_H
#define PROTO_SEAL_POLICY_TEXT_H

#include "seal/policy.h"

/* The first half of a key's id: enough to compare by eye. */
struct id_text {
	char s[2 * 8 + 1];
};

struct id_text policy_hex_text(const uint8_t *id); /* KEY_ID_BYTES */
struct id_text policy_id_text(const uint8_t *pk);
/* Names with commas, cut to max; "nobody". */
void policy_list_text(const struct name_list *l, char *out, size_t max);
/* The members of a role, by name. */
void policy_members_text(const struct policy *p, const char *role, char *out, size_t max);
const char *policy_form_name(unsigned canonical);

#endif
