/*
 * keyfile: key pairs and secrets that live in files, and what is done with them besides sealing.
 *
 *   "WRK1" | type u8 | kdf u8 (0 none, 1 argon2id13) | zero u16 | opslimit u32 | memlimit_KiB u32
 *   | salt 16 | nonce 24 | L(label) | XChaCha20-Poly1305-IETF(secret 32; AAD = everything before)
 *
 * The AEAD key is argon2id13(passphrase, salt, opslimit, memlimit), or, with kdf none, 32 zero
 * bytes: such a file is protected by its permissions alone, and opslimit, memlimit and salt are
 * zero. The secret is 32 bytes: the seed of an Ed25519 pair, an X25519 secret, or a symmetric key.
 *
 * Labels are the file's name without ".key": "root", "sealer", "escrow", "audit", "member-<name>",
 * "role-<role>-<epoch>", "token-<domain>-<epoch>", "rid". The label is authenticated: a file that
 * was given another file's name is noticed (key_label_is).
 *
 * Order of a reader's checks: permissions (of a descriptor, by the rule of secretfile.h):
 * PERMISSIONS; shorter than
 * its fixed head, magic, zero bytes, unknown type, label longer than the file, length not exact:
 * MALFORMED; kdf unknown or its parameters out of bounds: KDF; argon2id without a passphrase:
 * PASSPHRASE; the AEAD fails: PASSPHRASE with argon2id, AUTH without.
 */
#ifndef PROTO_SEAL_KEYFILE_H
#define PROTO_SEAL_KEYFILE_H

#include "buf.h"
#include "model.h"
#include "seal/error.h"
#include "seal/secret.h"

enum {
	KEY_PUBLIC_BYTES = 32,
	KEY_SIGNATURE_BYTES = 64,
	KEY_ID_BYTES = 16,
	KEY_SEALED_BYTES = 80, /* 32 bytes in crypto_box_seal */
	KEY_LABEL_MAX = 160,
	KEYFILE_HEAD_BYTES = 58,				     /* before the label */
	KEYFILE_BYTES_MAX = KEYFILE_HEAD_BYTES + KEY_LABEL_MAX + 48, /* a longer one: MALFORMED */
	KDF_OPSLIMIT_MIN = 1,
	KDF_OPSLIMIT_MAX = 10,
	KDF_MEMLIMIT_KIB_MIN = 8,
	KDF_MEMLIMIT_KIB_MAX = 2 * 1024 * 1024,
	KDF_OPSLIMIT_DEFAULT = 3, /* with 256 MiB: about a second */
	KDF_MEMLIMIT_KIB_DEFAULT = 256 * 1024,
};

enum key_type {			/* the byte in the file */
		KEY_ROOT = 1,	/* Ed25519: signs policies */
		KEY_SEALER = 2, /* Ed25519: signs envelopes */
		KEY_AUDIT = 3,	/* Ed25519: signs heads of the audit chain */
		KEY_ESCROW = 4, /* X25519 */
		KEY_MEMBER = 5, /* X25519, a person's */
		KEY_ROLE = 6,	/* X25519, of a role and epoch */
		KEY_TOKEN = 7,	/* symmetric, of a domain and epoch */
		KEY_RID = 8,	/* symmetric */
		KEY_TYPE_MAX
};

enum kdf { KDF_NONE = 0, KDF_ARGON2ID13 = 1 };

struct kdf_limits { /* for writing */
	uint32_t opslimit, memlimit_kib;
};

const char *key_type_name(enum key_type t); /* "sealer" */

struct key; /* the secret is in the arena; type, label and public key beside it */

/* A fresh one. name: "" but for members, roles and domains; epoch for roles and domains, else 0. */
MUSTCHECK enum seal_error key_generate(enum key_type t, const char *name, unsigned epoch,
				       struct key **out);
/* From 32 bytes (a test's, or those of an older kind of file); the caller wipes them. */
MUSTCHECK enum seal_error key_of(enum key_type t, const char *label,
				 const uint8_t secret[static 32], struct key **out);
void key_free(struct key *k); /* wipes; NULL is fine */
enum key_type key_type(const struct key *k);
const char *key_label(const struct key *k);
const uint8_t *key_public(const struct key *k); /* KEY_PUBLIC_BYTES; a symmetric key: bug */
bool key_label_is(const struct key *k, enum key_type t, const char *name, unsigned epoch);
/* Writes the label that key_generate gives; false: it would be longer than KEY_LABEL_MAX. */
bool key_label_make(enum key_type t, const char *name, unsigned epoch,
		    char out[static KEY_LABEL_MAX + 1]);
/* The other way: false when the label is not of that kind. name has NAME_BYTES_MAX + 1 bytes. */
bool key_label_parse(const char *label, enum key_type *t, char *name, unsigned *epoch);

/* B2b-128(pk): no key, no personalisation. rkid of a recipient, id of a sealer. */
void key_id(const uint8_t pk[static KEY_PUBLIC_BYTES], uint8_t out[static KEY_ID_BYTES]);

/* SEAL_LOWPOINT for keys of low order (X25519) or off the prime group (Ed25519). */
MUSTCHECK enum seal_error key_check_box(const uint8_t pk[static KEY_PUBLIC_BYTES]);
MUSTCHECK enum seal_error key_check_sign(const uint8_t pk[static KEY_PUBLIC_BYTES]);

/* ---- files ---- */

/* Appends the file to out. passphrase NULL: kdf none. limits NULL: the defaults. */
MUSTCHECK enum seal_error keyfile_encode(const struct key *k, const struct secret *passphrase,
					 const struct kdf_limits *limits, struct buf *out);
MUSTCHECK enum seal_error keyfile_decode(const void *p, size_t n, const struct secret *passphrase,
					 struct key **out);

struct keyfile_head { /* what can be said without opening */
	enum key_type type;
	enum kdf kdf;
	uint32_t opslimit, memlimit_kib;
	char label[KEY_LABEL_MAX + 1];
};
MUSTCHECK enum seal_error keyfile_head(const void *p, size_t n, struct keyfile_head *out);

/* Of fstat: type, mode and owner as a reader of this uid must find them (secretfile.h). */
MUSTCHECK enum seal_error keyfile_permitted(unsigned mode, unsigned owner, unsigned euid);

/* Reads a descriptor with pread (its offset is shared with other births) after fstat. */
MUSTCHECK enum seal_error keyfile_read(int fd, const struct secret *passphrase, struct key **out);
/* Whether a descriptor's file asks for a passphrase; permissions are checked as by keyfile_read. */
MUSTCHECK enum seal_error keyfile_peek(int fd, struct keyfile_head *out);

/* Makes a new file of mode 0600 in dir (a descriptor), synced; an existing one is an error. */
MUSTCHECK bool keyfile_create(int dir, const char *name, const struct key *k,
			      const struct secret *passphrase, const struct kdf_limits *limits,
			      struct err *e);

/* ---- signatures: Ed25519 over context || one zero byte || message ---- */

void key_sign(const struct key *k, const char *context, const void *p, size_t n,
	      uint8_t out[static KEY_SIGNATURE_BYTES]);
MUSTCHECK enum seal_error key_verify(const uint8_t pk[static KEY_PUBLIC_BYTES], const char *context,
				     const void *p, size_t n,
				     const uint8_t signature[static KEY_SIGNATURE_BYTES]);

/* ---- a role's secret for its members: crypto_box_seal, KEY_SEALED_BYTES ---- */

MUSTCHECK enum seal_error key_seal_to(const struct key *role,
				      const uint8_t pk[static KEY_PUBLIC_BYTES],
				      uint8_t out[static KEY_SEALED_BYTES]);
/*
 * pk is the role's public key, from the policy. Other length: MALFORMED; not for this member:
 * RECIPIENT; another secret than that of pk: COMMIT.
 */
MUSTCHECK enum seal_error key_unseal(const void *p, size_t n, const struct key *member,
				     const char *role, unsigned epoch,
				     const uint8_t pk[static KEY_PUBLIC_BYTES], struct key **out);

/*
 * A rid key of the older kind (a bare file of 32 bytes) becomes a struct secret for keyhash's rid_*
 * by the caller itself; a WRK1 file of type rid is opened here. Out: wipe after use.
 */
void key_rid_bytes(const struct key *k, uint8_t out[static 32]);

#endif
