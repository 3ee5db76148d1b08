/*
 * policy: the signed list of who may open what (SEALING "Keys"). One file per pipeline, public.
 *
 *   "WRP1" | u32 body length | body | Ed25519 signature 64 of the root over "WRP1-policy\0" || all
 *   before.   Its hash = B2b-128(no key, "weir1.policy", the whole file).
 *
 * body: one MessagePack array of 15
 *    0 serial        unsigned, from 1, rises by signing
 *    1 not_before_ms 2 not_after_ms     unsigned, wall clock
 *    3 pipeline      str
 *    4 classes       [[name str, [role str ...]] ...]; "dead_letter" is always there
 *    5 roles         [[name str, epoch unsigned, X25519 pk bin32] ...]
 *    6 escrow        X25519 pk bin32
 *    7 sealers       [Ed25519 pk bin32 ...], also those whose envelopes are only read
 *    8 audit         Ed25519 pk bin32
 *    9 sensitive     [[source str, field path str, class str, domain str or "",
 *                      canonical unsigned, padexp unsigned, subject bool,
 *                      [digest bin16 of each derive that reads it ...]] ...]
 *   10 unknown class str: the class of undeclared fields, "" when they are not sealed
 *   11 members       [[name str, X25519 pk bin32, [role str ...]] ...]
 *   12 handoffs      [[name str, [column str ...], [member str ...], bin16 of the query,
 *                      purpose str] ...]
 *   13 sources       [[name str, where str, [[path str, domain str or "", canonical unsigned,
 *                      subject bool] ...]] ...]: where = "kafka <topic>", "rabbitmq <queue>",
 *                      "file <path>": the same events under a new name would escape 9; then the
 *                      paths of the events that are read in clear: no other may be
 *   14 tokens        [[domain str, epoch unsigned, id bin16 of the token key (token.h)] ...]
 * canonical is that of token.h: 0 as is, 1 digits, 2 lower, 3 cpf; 0 where there is no domain.
 * padexp is that of sealed fields: 0 or 4 to 12.
 * Digests: of a derive B2b-128(no key, "weir1.derive", L(name) || L(expression));
 * of a query B2b-128(no key, "weir1.query", its text).
 *
 * Order of a reader's checks: length, magic MALFORMED; SIGNATURE; body as above, no trailing byte,
 * bounds: MALFORMED; public keys LOWPOINT; names or token keys twice, a class or member of an
 * unknown role, a handoff to an unknown member, no dead_letter class, no role in a class, no
 * sealer, serial 0 or a token key's epoch 0: POLICY; not_before > not_after VALIDITY.
 */
#ifndef PROTO_SEAL_POLICY_H
#define PROTO_SEAL_POLICY_H

#include "buf.h"
#include "model.h"
#include "seal/error.h"
#include "seal/keyfile.h"

enum {
	POLICY_HASH_BYTES = 16,
	POLICY_DIGEST_BYTES = 16,
	POLICY_BYTES_MAX = 4 * 1024 * 1024,
	POLICY_CLASSES_MAX = CLASSES_MAX,
	POLICY_ROLES_MAX = 62, /* wraps of a class and escrow's: they fit one KEYREQ */
	POLICY_SEALERS_MAX = 64,
	POLICY_SENSITIVE_MAX = SOURCES_MAX * FIELDS_MAX,
	POLICY_MEMBERS_MAX = 1024,
	POLICY_HANDOFFS_MAX = HANDOFFS_MAX,
	POLICY_NAMES_MAX = COLUMNS_MAX, /* of one list: roles of a class, columns of a handoff */
	POLICY_DIGESTS_MAX = FIELDS_MAX,
	POLICY_PATH_MAX = 255,
	POLICY_WHERE_MAX = 4096,
	POLICY_PURPOSE_MAX = 1000,
	POLICY_EPOCH_MAX = 255, /* of a token key */
	POLICY_TOKENS_MAX = DOMAINS_MAX * POLICY_EPOCH_MAX,
	POLICY_PAD_MIN = 4,
	POLICY_PAD_MAX = 12,
};

#define POLICY_DEAD_LETTER "dead_letter"

struct name_list {
	struct name *s;
	unsigned n;
};

struct policy_class {
	struct name name;
	struct name_list roles;
};

struct policy_role {
	struct name name;
	unsigned epoch;
	uint8_t pk[KEY_PUBLIC_BYTES];
};

struct policy_sensitive {
	struct name source;
	char path[POLICY_PATH_MAX + 1]; /* of the field */
	struct name class;
	struct name domain; /* "" : no token */
	uint8_t canonical;  /* enum canonical */
	uint8_t padexp;
	bool subject; /* it is the source's subject */
	uint8_t (*digests)[POLICY_DIGEST_BYTES];
	unsigned digests_n;
};

struct policy_member {
	struct name name;
	uint8_t pk[KEY_PUBLIC_BYTES];
	struct name_list roles;
};

struct policy_handoff {
	struct name name;
	struct name_list columns, recipients;
	uint8_t query[POLICY_DIGEST_BYTES];
	char *purpose; /* owned */
};

struct policy_clear { /* what is read of events in clear */
	char path[POLICY_PATH_MAX + 1];
	struct name domain; /* "" : no token */
	uint8_t canonical;
	bool subject;
};

struct policy_source {
	struct name name;
	char *where;		    /* owned */
	struct policy_clear *clear; /* owned */
	unsigned clear_n;
};

struct policy_token {
	struct name domain;
	unsigned epoch;
	uint8_t id[KEY_ID_BYTES];
};

struct policy {
	uint64_t serial;
	int64_t not_before_ms, not_after_ms;
	struct name pipeline;
	struct policy_class *classes;
	unsigned classes_n;
	struct policy_role *roles;
	unsigned roles_n;
	uint8_t escrow[KEY_PUBLIC_BYTES];
	uint8_t (*sealers)[KEY_PUBLIC_BYTES];
	unsigned sealers_n;
	uint8_t audit[KEY_PUBLIC_BYTES];
	struct policy_sensitive *sensitive;
	unsigned sensitive_n;
	struct name unknown_class;
	struct policy_member *members;
	unsigned members_n;
	struct policy_handoff *handoffs;
	unsigned handoffs_n;
	struct policy_source *sources;
	unsigned sources_n;
	struct policy_token *tokens;
	unsigned tokens_n;
	/* Of the signed file; set by policy_decode and policy_sign. */
	uint8_t hash[POLICY_HASH_BYTES];
};

/* A zeroed struct policy is an empty one. All arrays are owned; policy_free leaves an empty one. */
void policy_free(struct policy *p);
/* What policy_of_model replaces, freed and empty. */
void policy_model_part_free(struct policy *p);
void policy_copy(struct policy *to, const struct policy *from); /* to: empty */

/* ---- editing: each adds a zeroed element at the end and returns it, valid until the next ---- */
struct policy_class *policy_class_add(struct policy *p, const char *name);
struct policy_role *policy_role_add(struct policy *p, const char *name);
struct policy_member *policy_member_add(struct policy *p, const char *name);
struct policy_token *policy_token_add(struct policy *p, const char *domain);
void policy_tokens_remove(struct policy *p, const char *domain);
void policy_sealer_add(struct policy *p, const uint8_t pk[static KEY_PUBLIC_BYTES]);
bool name_list_has(const struct name_list *l, const char *name);
void name_list_add(struct name_list *l, const char *name);    /* once */
void name_list_remove(struct name_list *l, const char *name); /* absent is fine */
void policy_member_remove(struct policy *p, const char *name);
void policy_role_remove(struct policy *p, const char *name); /* also from classes and members */

/* ---- looking up: NULL when there is none ---- */
const struct policy_class *policy_class(const struct policy *p, const char *name);
const struct policy_role *policy_role(const struct policy *p, const char *name);
const struct policy_member *policy_member(const struct policy *p, const char *name);
const struct policy_handoff *policy_handoff(const struct policy *p, const char *name);
const char *policy_purpose(const struct policy_handoff *h); /* "" when there is none */
const struct policy_token *policy_token(const struct policy *p, const char *domain, unsigned epoch);
/* Epochs; 0: none. Tokens are made with the newest key of a domain, pseudonyms with the oldest. */
unsigned policy_token_newest(const struct policy *p, const char *domain);
unsigned policy_token_oldest(const struct policy *p, const char *domain);
bool policy_sealer_listed(const struct policy *p, const uint8_t id[static KEY_ID_BYTES],
			  uint8_t pk[static KEY_PUBLIC_BYTES]);
/* Public keys of the roles of a class, then escrow's. SEAL_POLICY: no such class. */
MUSTCHECK enum seal_error policy_recipients(const struct policy *p, const char *class,
					    uint8_t (*pks)[KEY_PUBLIC_BYTES], unsigned max,
					    unsigned *n);

/* ---- files ---- */

/*
 * Checks p as a reader would, signs it and appends the file; sets p->hash. The error is that of
 * the reader, so that nothing is signed that nobody accepts.
 */
MUSTCHECK enum seal_error policy_sign(struct policy *p, const struct key *root, struct buf *out);

/* out is empty on failure. root NULL: whose signature it is is not checked (to show a file). */
MUSTCHECK enum seal_error policy_decode(const void *p, size_t n, const uint8_t *root,
					struct policy *out);

/*
 * Whether a decoded policy may be used now: another pipeline or a serial lower than serial_min:
 * SEAL_POLICY; outside its validity: SEAL_VALIDITY.
 */
MUSTCHECK enum seal_error policy_usable(const struct policy *p, const char *pipeline,
					uint64_t serial_min, int64_t now_ms);

/* ---- words ---- */

/*
 * What signing `to` after `from` would change, one sentence a line, each saying what it means
 * ("+ ana (member) can open class financial through role data_science: ..."). from NULL: everything
 * is new. Nothing changed but serial and validity: no line. Returns the number of lines; *weaker
 * counts those after which somebody can read more or something is less protected.
 */
unsigned policy_difference(const struct policy *from, const struct policy *to, struct buf *words,
			   unsigned *weaker);
/* The whole policy for a person. */
void policy_show(const struct policy *p, struct buf *words);

/* ---- the pipeline file against its signed list ---- */

/*
 * Replaces pipeline, sensitive, unknown_class, handoffs (without their columns, which the query
 * decides: the caller sets them, or leaves them empty), sources of p, by what the model says. The
 * ids of token keys are not of the model: they stay.
 */
void policy_of_model(struct policy *p, const struct model *m);

/*
 * Whether the model is as strong as the signed policy: every source known with its `where`, every
 * signed field of it sealed to its class wherever the model reads its path, a parent or a child of
 * it, token, canonical form, padding and subject as signed, no derive that reads it but the signed
 * ones, nothing read in clear but the signed paths, undeclared fields not less protected, classes
 * known. False: the first weakness, by name, EXIT_PERMISSION.
 */
MUSTCHECK bool policy_covers(const struct policy *p, const struct model *m, struct err *e);

void policy_digest_derive(const char *name, const char *expression,
			  uint8_t out[static POLICY_DIGEST_BYTES]);
void policy_digest_query(const char *query, uint8_t out[static POLICY_DIGEST_BYTES]);

/*
 * ---- replacing the root ----
 * The old root signs "WRP1-root\0" || L(pipeline) || u64 serial || new root pk 32; the new root's
 * policy of that serial or a higher one is accepted after it.
 */
void policy_root_replace(const struct key *old_root, const char *pipeline, uint64_t serial,
			 const uint8_t new_root[static KEY_PUBLIC_BYTES],
			 uint8_t signature[static KEY_SIGNATURE_BYTES]);
MUSTCHECK enum seal_error policy_root_replaced(const uint8_t old_root[static KEY_PUBLIC_BYTES],
					       const char *pipeline, uint64_t serial,
					       const uint8_t new_root[static KEY_PUBLIC_BYTES],
					       const uint8_t signature[static KEY_SIGNATURE_BYTES]);

#endif
