/* keys: the key directory, key files and passphrases. */
#include "keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char key_suffix[] = ".key";

bool
keys_name_check(const char *what, const char *name, struct err *e)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

	if (n && !name[n] && n <= NAME_BYTES_MAX && name[0] >= 'a')
		return true;
	return err_set(e, EXIT_USAGE,
		       "%s \"%.80s\": a name has a-z, 0-9 and _, begins with a "
		       "letter and has at "
		       "most %d of them",
		       what, name, NAME_BYTES_MAX);
}

bool
keys_dir_open(struct keys *k, struct err *e)
{
	if (k->dir >= 0)
		return true;
	if (!k->m->keys_dir)
		return err_set(e, EXIT_CONFIG,
			       "%s names no key directory; add a line `keys: keys/`", k->file);
	k->dir = open(k->m->keys_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->dir < 0)
		return err_errno(e, errno == ENOENT ? EXIT_CONFIG : EXIT_PERMISSION,
				 "cannot open the key directory \"%s\"", k->m->keys_dir);
	return true;
}

void
keys_path(const struct keys *k, const char *option, const char *name,
	  char out[static KEYS_PATH_MAX])
{
	const char *given = option ? args_value(&k->c->args, option) : NULL;

	if (given)
		snprintf(out, KEYS_PATH_MAX, "%s", given);
	else
		snprintf(out, KEYS_PATH_MAX, "%s/%s", k->m->keys_dir ? k->m->keys_dir : ".", name);
}

/* Whoever waits for a writer of a pipe waits forever: what is no file is refused by its reader. */
static int
secret_file_open(const char *path)
{
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

static bool
passphrase_get(const struct keys *k, const char *option, const char *prompt, bool again,
	       struct secret **out, struct err *e)
{
	const char *path = args_value(&k->c->args, option);

	if (!path && k->c->no_input)
		return err_set(e, EXIT_USAGE, "a passphrase is needed: --%s FILE", option);
	if (!path) {
		enum seal_error why = passphrase_ask(prompt, again, out);
		return why == SEAL_OK || seal_fail(e, why, "passphrase");
	}
	int fd = secret_file_open(path);
	if (fd < 0)
		return err_errno(e, EXIT_PERMISSION, "cannot read \"%s\"", path);
	enum seal_error why = passphrase_read(fd, out);
	close(fd);
	return why == SEAL_OK || seal_fail(e, why, "%s", path);
}

bool
keys_passphrase(struct keys *k, bool again, struct err *e)
{
	return k->passphrase ||
	       passphrase_get(k, "passphrase-file", "Passphrase: ", again, &k->passphrase, e);
}

static bool
root_passphrase(struct keys *k, struct secret **out, struct err *e)
{
	if (!args_value(&k->c->args, "root-passphrase-file")) {
		if (!keys_passphrase(k, false, e))
			return false;
		*out = k->passphrase;
		return true;
	}
	if (!k->root_passphrase &&
	    !passphrase_get(k, "root-passphrase-file", "", false, &k->root_passphrase, e))
		return false;
	*out = k->root_passphrase;
	return true;
}

static bool
key_read(struct keys *k, int fd, const char *path, enum key_type type, struct key **out,
	 struct err *e)
{
	struct keyfile_head head;
	struct secret *passphrase = NULL;

	enum seal_error why = keyfile_peek(fd, &head);
	if (why != SEAL_OK)
		return seal_fail(e, why, "%s", path);
	if (head.type != type)
		return err_set(e, EXIT_PERMISSION, "%s: a key of type %s, not %s", path,
			       key_type_name(head.type), key_type_name(type));
	if (head.kdf != KDF_NONE && type == KEY_ROOT && !root_passphrase(k, &passphrase, e))
		return false;
	if (head.kdf != KDF_NONE && type != KEY_ROOT) {
		if (!keys_passphrase(k, false, e))
			return false;
		passphrase = k->passphrase;
	}
	why = keyfile_read(fd, passphrase, out);
	return why == SEAL_OK || seal_fail(e, why, "%s", path);
}

bool
keys_key(struct keys *k, const char *path, enum key_type type, struct key **out, struct err *e)
{
	int fd = secret_file_open(path);

	if (fd < 0)
		return err_errno(e, EXIT_PERMISSION, "cannot open the key file \"%s\"", path);
	bool good = key_read(k, fd, path, type, out, e);
	close(fd);
	return good;
}

bool
keys_root(struct keys *k, struct key **out, struct err *e)
{
	char path[KEYS_PATH_MAX];

	keys_path(k, "root-key", "root.key", path);
	return keys_key(k, path, KEY_ROOT, out, e) ||
	       err_context(e, "the root signs policies; --root-key FILE says where it is");
}

bool
keys_holder(struct keys *k, struct key **out, struct err *e)
{
	const char *path = args_value(&k->c->args, "member-key");
	struct keyfile_head head;

	if (!path)
		return err_set(e, EXIT_USAGE,
			       "somebody who can open must be present: --member-key FILE, a "
			       "member's key or the escrow key");
	int fd = secret_file_open(path);
	if (fd < 0)
		return err_errno(e, EXIT_PERMISSION, "cannot open the key file \"%s\"", path);
	enum seal_error why = keyfile_peek(fd, &head);
	bool good = why == SEAL_OK || seal_fail(e, why, "%s", path);
	if (good)
		good = key_read(k, fd, path, head.type == KEY_ESCROW ? KEY_ESCROW : KEY_MEMBER, out,
				e);
	close(fd);
	return good;
}

static bool
bytes_write(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n) {
		ssize_t put = write(fd, at, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return false;
		at += put;
		n -= (size_t)put;
	}
	return fsync(fd) == 0;
}

bool
keys_write(struct keys *k, const char *name, const void *p, size_t n, struct err *e)
{
	const char *where = k->m ? k->m->keys_dir : ".";
	char temporary[KEY_LABEL_MAX + 80];

	snprintf(temporary, sizeof temporary, "%s.new", name);
	unlinkat(k->dir, temporary, 0);
	int fd =
	    openat(k->dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_errno(e, EXIT_PERMISSION, "cannot write \"%s/%s\"", where, temporary);
	bool good = bytes_write(fd, p, n);
	good = !close(fd) && good && !renameat(k->dir, temporary, k->dir, name) && !fsync(k->dir);
	if (!good) {
		err_errno(e, EXIT_PERMISSION, "cannot write \"%s/%s\"", where, name);
		unlinkat(k->dir, temporary, 0);
	}
	return good;
}

bool
keys_kdf(const struct keys *k, struct kdf_limits *out, struct err *e)
{
	const char *given = args_value(&k->c->args, "kdf-memory");
	char *end = NULL;

	*out = (struct kdf_limits){KDF_OPSLIMIT_DEFAULT, KDF_MEMLIMIT_KIB_DEFAULT};
	if (!given)
		return true;
	unsigned long mib = strtoul(given, &end, 10);
	if (end == given || *end || mib < 1 || mib > KDF_MEMLIMIT_KIB_MAX / 1024)
		return err_set(e, EXIT_USAGE,
			       "--kdf-memory \"%.40s\" is no number of MiB from 1 to %d", given,
			       KDF_MEMLIMIT_KIB_MAX / 1024);
	out->memlimit_kib = (uint32_t)mib * 1024;
	return true;
}

static int
file_order(const void *a, const void *b)
{
	const struct keys_file *x = a, *y = b;
	int by_name = strcmp(x->name.s, y->name.s);

	return by_name ? by_name : (x->epoch > y->epoch) - (x->epoch < y->epoch);
}

/* Whether a directory entry is a key file of that type and name. */
static bool
entry_parse(const char *entry, enum key_type type, const char *name, struct keys_file *out)
{
	char label[KEY_LABEL_MAX + 1];
	enum key_type found;
	size_t n = strlen(entry), tail = sizeof key_suffix - 1;

	if (n <= tail || n - tail > KEY_LABEL_MAX || strcmp(entry + n - tail, key_suffix) != 0)
		return false;
	memcpy(label, entry, n - tail);
	label[n - tail] = 0;
	if (!key_label_parse(label, &found, out->name.s, &out->epoch) || found != type)
		return false;
	memcpy(out->file, entry, n + 1);
	return !name || !strcmp(out->name.s, name);
}

bool
keys_list(struct keys *k, enum key_type type, const char *name, struct keys_file *out, unsigned max,
	  unsigned *n, struct err *e)
{
	int fd = openat(k->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct keys_file file;
	struct dirent *entry;

	*n = 0;
	if (!d) {
		if (fd >= 0)
			close(fd);
		return err_errno(e, EXIT_PERMISSION, "cannot list \"%s\"", k->m->keys_dir);
	}
	while (*n < max && (entry = readdir(d)) != NULL)
		if (entry_parse(entry->d_name, type, name, &file))
			out[(*n)++] = file;
	closedir(d);
	qsort(out, *n, sizeof *out, file_order);
	return true;
}
