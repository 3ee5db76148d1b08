#include "seal/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "seal/key.h"
#include "seal/private.h"
#include "secretfile.h"

enum {
	SALT_BYTES = crypto_pwhash_argon2id_SALTBYTES,
	NONCE_BYTES = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
	TAG_BYTES = crypto_aead_xchacha20poly1305_ietf_ABYTES,
	BOXED_BYTES = SECRET_KEY_BYTES + TAG_BYTES,
};

_Static_assert(KEYFILE_HEAD_BYTES == 16 + SALT_BYTES + NONCE_BYTES + 2, "the head of WRK1");
_Static_assert(KEYFILE_BYTES_MAX == KEYFILE_HEAD_BYTES + KEY_LABEL_MAX + BOXED_BYTES, "WRK1");

static const uint8_t magic[4] = "WRK1";

/* The key of the AEAD, into out. */
static enum seal_error
kdf_run(const struct keyfile_head *h, const uint8_t *salt, const struct secret *passphrase,
	uint8_t out[static SECRET_KEY_BYTES])
{
	memset(out, 0, SECRET_KEY_BYTES);
	if (h->kdf == KDF_NONE)
		return SEAL_OK;
	if (!passphrase)
		return SEAL_PASSPHRASE;
	int r = crypto_pwhash_argon2id(
	    out, SECRET_KEY_BYTES, (const char *)secret_bytes(passphrase),
	    secret_length(passphrase), salt, h->opslimit, (size_t)h->memlimit_kib * 1024,
	    crypto_pwhash_argon2id_ALG_ARGON2ID13);
	return r == 0 ? SEAL_OK : SEAL_SYSTEM;
}

static bool
kdf_allowed(const struct keyfile_head *h, const uint8_t *salt)
{
	if (h->kdf == KDF_NONE)
		return h->opslimit == 0 && h->memlimit_kib == 0 && sodium_is_zero(salt, SALT_BYTES);
	return h->kdf == KDF_ARGON2ID13 && h->opslimit >= KDF_OPSLIMIT_MIN &&
	       h->opslimit <= KDF_OPSLIMIT_MAX && h->memlimit_kib >= KDF_MEMLIMIT_KIB_MIN &&
	       h->memlimit_kib <= KDF_MEMLIMIT_KIB_MAX;
}

/* ---- bytes ---- */

enum seal_error
keyfile_encode(const struct key *k, const struct secret *passphrase,
	       const struct kdf_limits *limits, struct buf *out)
{
	static const struct kdf_limits defaults = {KDF_OPSLIMIT_DEFAULT, KDF_MEMLIMIT_KIB_DEFAULT};
	struct keyfile_head h = {.kdf = passphrase ? KDF_ARGON2ID13 : KDF_NONE};
	uint8_t salt[SALT_BYTES] = {0}, nonce[NONCE_BYTES], aead[SECRET_KEY_BYTES];
	size_t start = out->len;

	if (passphrase) {
		h.opslimit = limits ? limits->opslimit : defaults.opslimit;
		h.memlimit_kib = limits ? limits->memlimit_kib : defaults.memlimit_kib;
		randombytes_buf(salt, sizeof salt);
	}
	randombytes_buf(nonce, sizeof nonce);
	if (!kdf_allowed(&h, salt))
		return SEAL_KDF;
	enum seal_error why = kdf_run(&h, salt, passphrase, aead);
	if (why != SEAL_OK)
		return why;
	buf_add(out, magic, sizeof magic);
	buf_byte(out, (uint8_t)key_type(k));
	buf_byte(out, (uint8_t)h.kdf);
	put_u16(out, 0);
	put_u32(out, h.opslimit);
	put_u32(out, h.memlimit_kib);
	buf_add(out, salt, sizeof salt);
	buf_add(out, nonce, sizeof nonce);
	put_text(out, key_label(k));
	buf_reserve(out, BOXED_BYTES);
	crypto_aead_xchacha20poly1305_ietf_encrypt(out->data + out->len, NULL, key_secret_bytes(k),
						   SECRET_KEY_BYTES, out->data + start,
						   out->len - start, NULL, nonce, aead);
	out->len += BOXED_BYTES;
	sodium_memzero(aead, sizeof aead);
	return SEAL_OK;
}

/* Where the parts of a file lie. */
struct layout {
	const uint8_t *salt, *nonce, *boxed;
	size_t aad;
};

static enum seal_error
layout_read(const void *p, size_t n, struct keyfile_head *h, struct layout *l)
{
	struct cursor c = {.p = p, .n = n};
	const uint8_t *m = take(&c, sizeof magic);

	*h = (struct keyfile_head){0};
	c.bad |= !m || memcmp(m, magic, sizeof magic) != 0;
	h->type = (enum key_type)take_uint(&c, 1);
	h->kdf = (enum kdf)take_uint(&c, 1);
	take_zeros(&c, 2);
	h->opslimit = (uint32_t)take_uint(&c, 4);
	h->memlimit_kib = (uint32_t)take_uint(&c, 4);
	l->salt = take(&c, SALT_BYTES);
	l->nonce = take(&c, NONCE_BYTES);
	take_text(&c, h->label, KEY_LABEL_MAX);
	l->aad = c.at;
	l->boxed = take(&c, BOXED_BYTES);
	if (!take_end(&c) || h->type == 0 || h->type >= KEY_TYPE_MAX)
		return SEAL_MALFORMED;
	return kdf_allowed(h, l->salt) ? SEAL_OK : SEAL_KDF;
}

enum seal_error
keyfile_head(const void *p, size_t n, struct keyfile_head *out)
{
	struct layout l;

	sodium_start();
	return layout_read(p, n, out, &l);
}

enum seal_error
keyfile_decode(const void *p, size_t n, const struct secret *passphrase, struct key **out)
{
	uint8_t aead[SECRET_KEY_BYTES], secret[SECRET_KEY_BYTES];
	struct keyfile_head h;
	struct layout l;

	sodium_start();
	*out = NULL;
	enum seal_error why = layout_read(p, n, &h, &l);
	if (why == SEAL_OK)
		why = kdf_run(&h, l.salt, passphrase, aead);
	if (why != SEAL_OK)
		return why;
	int r = crypto_aead_xchacha20poly1305_ietf_decrypt(secret, NULL, NULL, l.boxed, BOXED_BYTES,
							   p, l.aad, l.nonce, aead);
	why = r == 0		  ? key_of(h.type, h.label, secret, out)
	      : h.kdf == KDF_NONE ? SEAL_AUTH
				  : SEAL_PASSPHRASE;
	sodium_memzero(aead, sizeof aead);
	sodium_memzero(secret, sizeof secret);
	return why;
}

/* ---- descriptors ---- */

enum seal_error
keyfile_permitted(unsigned mode, unsigned owner, unsigned euid)
{
	return secretfile_permitted(mode, owner, euid) ? SEAL_OK : SEAL_PERMISSIONS;
}

/* The whole file, when it may be trusted; *n at most KEYFILE_BYTES_MAX + 1. */
static enum seal_error
file_take(int fd, uint8_t file[static KEYFILE_BYTES_MAX + 1], size_t *n)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return SEAL_SYSTEM;
	enum seal_error why = keyfile_permitted(st.st_mode, st.st_uid, geteuid());
	if (why != SEAL_OK)
		return why;
	for (*n = 0; *n <= KEYFILE_BYTES_MAX;) {
		ssize_t got = pread(fd, file + *n, KEYFILE_BYTES_MAX + 1 - *n, (off_t)*n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return SEAL_SYSTEM;
		if (got == 0)
			return SEAL_OK;
		*n += (size_t)got;
	}
	return SEAL_MALFORMED;
}

enum seal_error
keyfile_read(int fd, const struct secret *passphrase, struct key **out)
{
	uint8_t file[KEYFILE_BYTES_MAX + 1];
	size_t n = 0;

	*out = NULL;
	enum seal_error why = file_take(fd, file, &n);
	if (why == SEAL_OK)
		why = keyfile_decode(file, n, passphrase, out);
	sodium_memzero(file, sizeof file);
	return why;
}

enum seal_error
keyfile_peek(int fd, struct keyfile_head *out)
{
	uint8_t file[KEYFILE_BYTES_MAX + 1];
	size_t n = 0;

	*out = (struct keyfile_head){0};
	enum seal_error why = file_take(fd, file, &n);
	if (why == SEAL_OK)
		why = keyfile_head(file, n, out);
	sodium_memzero(file, sizeof file);
	return why;
}

static bool
bytes_write(int fd, const struct buf *b)
{
	for (size_t at = 0; at < b->len;) {
		ssize_t done = write(fd, b->data + at, b->len - at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		at += (size_t)done;
	}
	return fchmod(fd, S_IRUSR | S_IWUSR) == 0 && fsync(fd) == 0;
}

bool
keyfile_create(int dir, const char *name, const struct key *k, const struct secret *passphrase,
	       const struct kdf_limits *limits, struct err *e)
{
	struct buf file = {0};
	enum seal_error why = keyfile_encode(k, passphrase, limits, &file);

	if (why != SEAL_OK) {
		buf_free(&file);
		return seal_fail(e, why, "%s", name);
	}
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			S_IRUSR | S_IWUSR);
	bool done = fd >= 0 && bytes_write(fd, &file);
	if (!done)
		err_errno(e, EXIT_UNAVAILABLE, "cannot make the key file %s", name);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && !done)
		unlinkat(dir, name, 0);
	else if (done && fsync(dir) != 0)
		done = err_errno(e, EXIT_UNAVAILABLE, "cannot sync the directory of %s", name);
	sodium_memzero(file.data, file.len);
	buf_free(&file);
	return done;
}
