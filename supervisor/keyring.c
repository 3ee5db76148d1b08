#include "keyring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "secretfile.h"

static const char next_step[] =
    "`weir keys init` makes all keys, `weir keys rotate token DOMAIN` those of a new domain; a key "
    "that was lost comes back from your copy; `weir check` says what else is missing";

struct ring {
	const char *dir; /* its path, for messages */
	int dir_fd;
	struct gathered *out;
	int *n, first;
};

/* The policy is no secret, and public to whoever has a row that it protects. */
static int
policy_open(const struct ring *r, const char *name, const char *path, struct err *e)
{
	int fd = openat(r->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0) {
		err_errno(e, errno == ENOENT ? EXIT_CONFIG : EXIT_PERMISSION, "cannot open %s",
			  path);
	} else if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		err_set(e, EXIT_PERMISSION, "%s is no file", path);
		close(fd);
		fd = -1;
	}
	return fd;
}

/* A key file is looked at again by the worker that reads it (keyfile_permitted). */
static bool
file_add(struct ring *r, const char *name, bool is_secret, struct err *e)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s", r->dir, name);
	int fd =
	    is_secret ? secretfile_open(r->dir_fd, name, path, e) : policy_open(r, name, path, e);
	if (fd < 0)
		return e->code == EXIT_CONFIG
			   ? err_set(e, EXIT_CONFIG, "%s is missing; %s", path, next_step)
			   : false;
	if (*r->n - r->first == KEYRING_MAX) {
		close(fd);
		return err_set(e, EXIT_CONFIG,
			       "%s: more than %d files for one role; move keys of old epochs away",
			       r->dir, KEYRING_MAX);
	}
	check(*r->n < GATHERED_MAX && strlen(name) < sizeof r->out->name);
	struct gathered *g = &r->out[(*r->n)++];
	g->kind = CTL_FD_KEY;
	g->fd = fd;
	snprintf(g->name, sizeof g->name, "%s", name);
	return true;
}

/* "<prefix><something>.key", of a length that a control frame can name. */
static bool
name_is(const char *name, const char *prefix)
{
	size_t n = strlen(name), head = strlen(prefix);

	return n > head + 4 && n < sizeof((struct gathered *)0)->name &&
	       !strncmp(name, prefix, head) && !strcmp(name + n - 4, ".key");
}

static bool
files_add(struct ring *r, const char *prefix, struct err *e)
{
	int copy = openat(r->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	bool good = true;

	if (!d) {
		err_errno(e, EXIT_PERMISSION, "cannot list %s", r->dir);
		if (copy >= 0)
			close(copy);
		return false;
	}
	for (struct dirent *entry; good && (entry = readdir(d)) != NULL;)
		if (name_is(entry->d_name, prefix))
			good = file_add(r, entry->d_name, true, e);
	closedir(d);
	return good;
}

/* A domain or role has at least one key: "<kind>-<name>-<epoch>.key". name NULL: any. */
static bool
key_there(const struct ring *r, const char *kind, const char *name, struct err *e)
{
	char prefix[NAME_BYTES_MAX + 16];

	snprintf(prefix, sizeof prefix, "%s-%s%s", kind, name ? name : "", name ? "-" : "");
	for (int i = r->first; i < *r->n; i++) {
		size_t head = strlen(prefix), n = strlen(r->out[i].name);
		if (!name_is(r->out[i].name, prefix))
			continue;
		size_t digits = strspn(r->out[i].name + head, "0123456789");
		if (!name || (digits && head + digits + 4 == n))
			return true;
	}
	return err_set(e, EXIT_CONFIG, "%s/%s-%s-<epoch>.key is missing; %s", r->dir, kind,
		       name ? name : "<name>", next_step);
}

static bool
ring_fill(struct ring *r, const struct model *m, unsigned needs, struct err *e)
{
	if (!file_add(r, "policy", false, e))
		return false;
	if ((needs & NEED_SEALER) && !file_add(r, "sealer.key", true, e))
		return false;
	if ((needs & NEED_TOKENS) && !files_add(r, "token-", e))
		return false;
	if ((needs & NEED_ROLE_KEY) && !files_add(r, "role-", e))
		return false;
	for (unsigned i = 0; (needs & NEED_TOKENS) && i < m->domains_n; i++)
		if (!key_there(r, "token", m->domains[i].name.s, e))
			return false;
	return !(needs & NEED_ROLE_KEY) || key_there(r, "role", m->keys_role, e);
}

bool
keyring_open(const struct model *m, enum role role, struct gathered out[static GATHERED_MAX],
	     int *n, struct err *e)
{
	unsigned needs = role_rows[role].needs;
	bool asked = m->classes_n > 0 || m->domains_n > 0 || m->handoffs_n > 0;
	struct ring r = {.dir = m->keys_dir, .dir_fd = -1, .out = out, .n = n, .first = *n};

	if (!asked || !(needs & (NEED_SEALER | NEED_TOKENS | NEED_ROLE_KEY)))
		return true;
	if (!m->keys_dir)
		return err_set(e, EXIT_CONFIG,
			       "the pipeline file seals and names no directory of keys (keys:)");
	r.dir_fd = open(m->keys_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r.dir_fd < 0 && errno == ENOENT)
		return err_set(e, EXIT_CONFIG, "the directory of keys %s is missing; %s",
			       m->keys_dir, next_step);
	if (r.dir_fd < 0)
		return err_errno(e, EXIT_PERMISSION, "cannot open the directory of keys %s",
				 m->keys_dir);
	bool good = ring_fill(&r, m, needs, e);
	close(r.dir_fd);
	return good;
}
