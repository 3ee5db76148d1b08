/*
 * keys: what the sub-verbs of `weir keys` share: the key directory, key files
 * and passphrases, the signed policy, the owner's connection, and the report of
 * what was done. Every sub-verb prints what it did, what it did not do, and the
 * next command; with -o json as one document.
 */
#ifndef CLI_KEYS_H
#define CLI_KEYS_H

#include "cli.h"
#include "owner.h"
#include "seal/policy.h"

enum {
	KEYS_PATH_MAX = 4096,
	KEYS_BATCH = 10000, /* envelopes rewrapped by one statement */
	KEYS_VALID_DAYS = 366,
	KEYS_FILES_MAX = 512, /* key files of one directory */
};

struct keys {
	struct cli *c;
	struct model *m;
	const char *file;     /* the pipeline file, for next commands */
	int dir;	      /* the key directory; -1: not opened */
	struct policy policy; /* as signed; empty before keys_policy_read */
	struct secret *passphrase, *root_passphrase;
	struct pg *pg; /* NULL before keys_connect */
	struct owner_pipeline at;
	char id[24]; /* at.id as text */
	/* The report. */
	struct buf did, not_done, data, text;
	char next[ERR_TEXT_MAX];
	bool renew;		  /* sign also when nothing changed */
	bool reviewed, unchanged; /* by keys_policy_review */
	int code;		  /* what the command exits with when it has run */
};

/* ---- the report ---- */
void keys_did(struct keys *k, const char *fmt, ...) PRINTF(2, 3);
void keys_not(struct keys *k, const char *fmt, ...) PRINTF(2, 3);
void keys_next(struct keys *k, const char *fmt, ...) PRINTF(2, 3);
/* A member of the JSON document; value is JSON already. Ends with the call. */
void keys_data(struct keys *k, const char *name, const char *fmt, ...) PRINTF(3, 4);
/* The words of b, line by line, into the report as they are; with JSON as an
 * array `name`. */
void keys_words(struct keys *k, const char *name, struct buf *b);

/* ---- names ---- */

/* The operand after the words of the sub-verb; NULL: not given. */
const char *keys_operand(const struct keys *k, unsigned i);
/* Names of members and roles: a-z, 0-9 and _, beginning with a letter.
 * EXIT_USAGE. */
MUSTCHECK bool keys_name_check(const char *what, const char *name, struct err *e);

/* ---- files ---- */

/* Opens the key directory of the pipeline file. */
MUSTCHECK bool keys_dir_open(struct keys *k, struct err *e);
/* A path inside the key directory, or what the option says. Cut paths are an
 * error when opened. */
void keys_path(const struct keys *k, const char *option, const char *name,
	       char out[static KEYS_PATH_MAX]);
/* --passphrase-file, or typed; asked for once. */
MUSTCHECK bool keys_passphrase(struct keys *k, bool again, struct err *e);
/*
 * Opens a key file of this type; asks for the passphrase only when it has one.
 * root: with
 * --root-passphrase-file where that is given. The caller frees *out.
 */
MUSTCHECK bool keys_key(struct keys *k, const char *path, enum key_type type, struct key **out,
			struct err *e);
MUSTCHECK bool keys_root(struct keys *k, struct key **out, struct err *e);
/* Whoever opens: --member-key, a member's or the escrow's; EXIT_USAGE when it
 * is not given. */
MUSTCHECK bool keys_holder(struct keys *k, struct key **out, struct err *e);
/* A new public file in the directory, or over the one that is there; synced. */
MUSTCHECK bool keys_write(struct keys *k, const char *name, const void *p, size_t n, struct err *e);
MUSTCHECK bool keys_kdf(const struct keys *k, struct kdf_limits *out, struct err *e);

/*
 * Names in the directory that are labels of this type (token or role keys of a
 * name, all when name is NULL), ascending by epoch. Returns how many, at most
 * max.
 */
struct keys_file {
	char file[KEY_LABEL_MAX + 8];
	struct name name;
	unsigned epoch;
};
MUSTCHECK bool keys_list(struct keys *k, enum key_type type, const char *name,
			 struct keys_file *out, unsigned max, unsigned *n, struct err *e);

/* ---- the policy ---- */

/* Reads and verifies it, under the root that the warehouse pins when connected,
 * else root.pub. */
MUSTCHECK bool keys_policy_read(struct keys *k, struct err *e);
/* Without a struct keys, for who only reads. */
MUSTCHECK bool keys_policy_of(const struct model *m, const uint8_t *root, struct policy *out,
			      struct err *e);
/*
 * Shows what `to` changes and asks (or --yes): comes before anything is done.
 * Where nothing would change, and without --renew, it says so and k->unchanged
 * is set.
 */
MUSTCHECK bool keys_policy_review(struct keys *k, const struct policy *to, struct err *e);
/*
 * Signs it one serial higher and puts it in its place; k->policy is then the
 * new one. What was not reviewed is reviewed first; what is unchanged is not
 * signed. Comes last where a new secret must be kept first: a policy that names
 * a lost key would lose what is sealed to it.
 */
MUSTCHECK bool keys_policy_sign(struct keys *k, const struct policy *to, const struct key *root,
				struct err *e);
/* --yes, or the answer on the terminal; EXIT_USAGE: neither is to be had, or it
 * is no. */
MUSTCHECK bool keys_agreed(struct keys *k, const char *question, struct err *e);

/* ---- the warehouse ---- */
MUSTCHECK bool keys_connect(struct keys *k, struct err *e);
/* A row of the audit chain, in the open transaction. detail is JSON. */
MUSTCHECK bool keys_audit(struct keys *k, const char *kind, const char *purpose, const char *detail,
			  const struct buf *sids, struct err *e);
/*
 * Takes the end of the audit chain before anything else is locked: who holds it for longer than a
 * few seconds is ended, if the owner may, else named (EXIT_UNAVAILABLE).
 */
MUSTCHECK bool keys_chain_take(struct keys *k, struct err *e);
MUSTCHECK bool keys_begin(struct keys *k, struct err *e);
MUSTCHECK bool keys_commit(struct keys *k, struct err *e);

/* keys_rewrap.c */

/*
 * The secret of a role for the holder: of a member from the sealed secrets in
 * the warehouse, of escrow likewise. EXIT_PERMISSION: this holder has it not.
 * The caller frees *out.
 */
MUSTCHECK bool keys_role_secret(struct keys *k, const struct key *holder, const char *role,
				unsigned epoch, const uint8_t pk[static KEY_PUBLIC_BYTES],
				struct key **out, struct err *e);
/* A role's secret for a member, into the warehouse (or a file of the directory:
 * init). */
MUSTCHECK bool keys_role_seal(struct keys *k, const struct key *role_key, const char *role,
			      unsigned epoch, const char *member,
			      const uint8_t pk[static KEY_PUBLIC_BYTES], struct err *e);
/*
 * Adds a wrap for `to` to every envelope of a class (NULL: of all) that `from`
 * opens and that has none yet. Rows are not touched. Counts.
 */
struct rewrapped {
	uint64_t added, failed; /* failed: wraps that do not open or do not fit their
                             commitment */
	int64_t us;
};
MUSTCHECK bool keys_rewrap(struct keys *k, const struct key *from,
			   const uint8_t to[static KEY_PUBLIC_BYTES], const char *class,
			   struct rewrapped *out, struct err *e);

/* keys_rotate.c */

/*
 * A new epoch of a role, in the steps of a change that may hold more than that: prepare puts a new
 * key into *to, before the review; renew seals it to escrow and the members in *to and makes every
 * wrap anew, in the open transaction; file, before the policy is signed, gives it to science where
 * science has the old one; renewed, after that, takes away wraps of the old key. The caller frees
 * fresh.
 */
struct rotation {
	struct keys *k;
	const struct key *holder; /* who opens */
	struct policy *to;
	const char *name; /* of the role */
	struct key *fresh;
	unsigned epoch;
	struct rewrapped sum;
};
MUSTCHECK bool keys_role_prepare(struct rotation *x, struct err *e);
MUSTCHECK bool keys_role_renew(struct rotation *x, struct err *e);
MUSTCHECK bool keys_role_file(struct rotation *x, struct err *e);
MUSTCHECK bool keys_role_renewed(struct rotation *x, struct err *e);

/* keys_reseal.c */

/*
 * Seals anew what is in development_schema under envelopes of these classes that were published
 * under a policy of a lower serial than `serial`, by the policy in the key directory: its roles and
 * escrow open it then, nobody else. The holder opens, by the audited release. A second run goes on
 * where a first one ended. An audit row at the end.
 */
struct reseal_of {
	const char *what, *name; /* "member" or "role", and which: who was revoked */
	struct name_list classes;
	uint64_t serial;
};
MUSTCHECK bool keys_reseal(struct keys *k, const struct key *holder, const struct reseal_of *of,
			   struct err *e);

/* ---- the sub-verbs: true, or *e; the report is printed by keys.c ---- */
bool keys_init(struct keys *k, struct err *e);
bool keys_rid(struct keys *k, struct err *e);
bool keys_member(struct keys *k, struct err *e);
bool keys_sign(struct keys *k, struct err *e);
bool keys_show(struct keys *k, struct err *e);
bool keys_new_root(struct keys *k, struct err *e);
bool keys_grant_member(struct keys *k, struct err *e);
bool keys_grant_role(struct keys *k, struct err *e);
bool keys_grant_science(struct keys *k, struct err *e);
bool keys_revoke_member(struct keys *k, struct err *e);
bool keys_revoke_role(struct keys *k, struct err *e);
bool keys_rotate_data(struct keys *k, struct err *e);
bool keys_rotate_role(struct keys *k, struct err *e);
bool keys_rotate_sealer(struct keys *k, struct err *e);
bool keys_rotate_token(struct keys *k, struct err *e);
bool keys_erase(struct keys *k, struct err *e);
bool keys_verify(struct keys *k, struct err *e);
bool keys_inspect(struct keys *k, struct err *e);
bool keys_audit_verify(struct keys *k, struct err *e);
bool keys_audit_sign(struct keys *k, struct err *e);

/* Hexadecimal digits, without a prefix; appended. */
void keys_hex(struct buf *b, const void *p, size_t n);
/* The other way, with or without \x; false: other characters or an odd number.
 */
MUSTCHECK bool keys_unhex(const char *s, size_t n, struct buf *out);
/* One element of a text array of bytea: "\\x00ff", with a comma before it but
 * for the first. */
void keys_array_add(struct buf *array, const void *p, size_t n);
void keys_array_end(struct buf *array); /* closes it; an empty one becomes {} */
int64_t keys_now_ms(void);

#endif
