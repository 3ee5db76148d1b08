/*
 * error: how sealing, opening and key files fail. One list for C, the vectors (sealing.json) and
 * the Python reader; the names are an interface. Functions of proto/seal answer an enum seal_error
 * and write their results only with SEAL_OK. None of them says more than the class: a reason that
 * depended on secret bytes would be an oracle.
 */
#ifndef PROTO_SEAL_ERROR_H
#define PROTO_SEAL_ERROR_H

#include "err.h"

/* X(ID, name, words) */
#define SEAL_ERRORS(X)                                                                             \
	X(OK, "ok", "no error")                                                                    \
	X(MALFORMED, "malformed", "not the bytes of this format: magic, length, reserved bits")    \
	X(VERSION, "version", "an unknown version")                                                \
	X(SUITE, "suite", "an unknown suite")                                                      \
	X(FLAGS, "flags", "an unknown flag")                                                       \
	X(PADDING, "padding", "padding that is not allowed, or is not padding")                    \
	X(SIZE, "size", "longer than the format allows")                                           \
	X(KEY, "key", "sealed under another key than this one")                                    \
	X(COMMIT, "commit", "the key is not the one that was committed to")                        \
	X(AUTH, "auth", "changed, or not from this record, field, subject or key")                 \
	X(VALUE, "value", "inside is not exactly one value")                                       \
	X(ERASED, "erased", "the person was erased")                                               \
	X(SIGNATURE, "signature", "the signature does not hold")                                   \
	X(SEALER, "sealer", "signed by a sealer that the policy does not list")                    \
	X(POLICY, "policy", "not what the policy says, or an older or another policy")             \
	X(VALIDITY, "validity", "not valid at this time")                                          \
	X(LOWPOINT, "lowpoint", "a public key that makes no secret")                               \
	X(PERMISSIONS, "permissions", "a key file that others may read, or of another owner")      \
	X(KDF, "kdf", "key derivation parameters out of bounds")                                   \
	X(PASSPHRASE, "passphrase", "a wrong passphrase, or none")                                 \
	X(RECIPIENT, "recipient", "not sealed to this key")                                        \
	X(TRUNCATED, "truncated", "ends before its end")                                           \
	X(SYSTEM, "system", "the operating system refused: input, output or locked memory")

enum seal_error {
#define X(id, name, words) SEAL_##id,
	SEAL_ERRORS(X)
#undef X
	    SEAL_ERROR_MAX
};

const char *seal_error_name(enum seal_error why);  /* "auth" */
const char *seal_error_words(enum seal_error why); /* for a person */

/*
 * The same as a struct err: "what: words (name)". Code EXIT_PERMISSION for keys, policy and
 * permissions, EXIT_UNAVAILABLE for SEAL_SYSTEM (EXIT_CONFIG, in secret_shortage's words, for the
 * limit of locked memory), EXIT_DATA for the rest. Always false.
 */
bool seal_fail(struct err *e, enum seal_error why, const char *what_fmt, ...) PRINTF(3, 4);

#endif
