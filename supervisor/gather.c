#include "gather.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf.h"
#include "keyring.h"
#include "log.h"
#include "mem.h"
#include "secretfile.h"

struct gather {
	const struct model *model;
	int slice[ROLE_MAX];
	uint32_t slice_bytes[ROLE_MAX];
};

/* Which role logs in as what: one file each, written by `weir apply`. */
static const struct {
	unsigned need;
	const char *login;
} logins[] = {
    {NEED_LOAD, "load"},     {NEED_STATE, "state"},	{NEED_TASK, "task"},
    {NEED_KEEPER, "keeper"}, {NEED_RELEASE, "release"},
};

/* A memfd with these bytes that nobody can change any more. */
static int
sealed(const char *name, const void *bytes, size_t n, struct err *e)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && write(fd, bytes, n) == (ssize_t)n &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
		return fd;
	err_errno(e, EXIT_BUG, "memfd %s", name);
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool
slice_make(struct gather *g, enum role role, struct err *e)
{
	struct buf text = {0};

	conf_print_slice(g->model, role, &text);
	g->slice[role] = sealed("slice", text.data, text.len, e);
	g->slice_bytes[role] = (uint32_t)text.len;
	buf_free(&text);
	return g->slice[role] >= 0;
}

struct gather *
gather_new(const struct model *m, struct err *e)
{
	struct gather *g = mem_zero(1, sizeof *g);

	g->model = m;
	for (int r = 0; r < ROLE_MAX; r++)
		g->slice[r] = -1;
	for (int r = 0; r < ROLE_MAX; r++) {
		if (role_rows[r].kind == ROLE_KIND_PARENT || slice_make(g, (enum role)r, e))
			continue;
		gather_free(g);
		return NULL;
	}
	return g;
}

void
gather_free(struct gather *g)
{
	if (!g)
		return;
	for (int r = 0; r < ROLE_MAX; r++)
		if (g->slice[r] >= 0)
			close(g->slice[r]);
	free(g);
}

int
gather_slice(const struct gather *g, enum role role, uint32_t *bytes)
{
	*bytes = g->slice_bytes[role];
	return g->slice[role];
}

/* What `file:` names, a login, the rid key: secrets all. */
static int
file_open(const char *path, const char *what, struct err *e)
{
	char shown[PATH_MAX + 32];

	snprintf(shown, sizeof shown, "the %s %s", what, path);
	return secretfile_open(AT_FDCWD, path, shown, e);
}

/* Adds what was opened; false when it was not. */
static bool
item_add(struct gathered *out, int *n, enum ctl_fd_kind kind, const char *name, int fd)
{
	if (fd < 0)
		return false;
	check(*n < GATHERED_MAX);
	out[*n].kind = kind;
	out[*n].fd = fd;
	snprintf(out[*n].name, sizeof out[*n].name, "%s", name);
	++*n;
	return true;
}

/* Says also who makes what is missing. */
static bool
missing_tell(const char *maker, struct err *e)
{
	size_t n = strlen(e->text);

	if (e->code == EXIT_CONFIG)
		snprintf(e->text + n, sizeof e->text - n, "; %s", maker);
	return false;
}

static bool
login_open(const struct gather *g, const char *login, struct gathered *out, int *n, struct err *e)
{
	char path[PATH_MAX];
	const char *dir = g->model->logins_dir;

	if (!dir)
		return err_set(
		    e, EXIT_CONFIG,
		    "the pipeline file names no directory of logins (warehouse.postgresql.logins)");
	snprintf(path, sizeof path, "%s/%s.login", dir, login);
	return item_add(out, n, CTL_FD_LOGIN, login, file_open(path, "login", e)) ||
	       missing_tell("`weir apply` or `weir logins init` writes it", e);
}

static bool
rid_key_open(const char *path, struct gathered *out, int *n, struct err *e)
{
	return item_add(out, n, CTL_FD_KEY, "rid_key", file_open(path, "rid key", e)) ||
	       missing_tell("`weir keys rid` or `weir apply` makes it", e);
}

/* A secret given as "file:PATH" or "env:NAME". */
static int
secret_open(const struct conf_secret *s, struct err *e)
{
	if (!strncmp(s->from, "file:", 5))
		return file_open(s->from + 5, "secret", e);
	if (!strncmp(s->from, "env:", 4)) {
		const char *value = getenv(s->from + 4);
		if (value)
			return sealed("secret", value, strlen(value), e);
		err_set(e, EXIT_CONFIG, "%s: the environment has no %s", s->name, s->from + 4);
		return -1;
	}
	err_set(e, EXIT_BUG, "%s: neither file: nor env:", s->name);
	return -1;
}

static bool
secrets_open(const struct gather *g, enum role role, struct gathered *out, int *n, struct err *e)
{
	struct conf_secret secrets[GATHERED_SECRETS_MAX];
	unsigned found = conf_secrets(g->model, role, secrets, sizeof secrets / sizeof *secrets);

	for (unsigned i = 0; i < found; i++)
		if (!item_add(out, n, CTL_FD_SECRET, secrets[i].name, secret_open(&secrets[i], e)))
			return false;
	return true;
}

int
gather_open(const struct gather *g, enum role role, struct gathered out[static GATHERED_MAX],
	    struct err *e)
{
	unsigned needs = role_rows[role].needs;
	const char *rid_key = g->model->rid_key_path;
	bool good = true;
	int n = 0;

	for (unsigned i = 0; good && i < sizeof logins / sizeof *logins; i++)
		if (needs & logins[i].need)
			good = login_open(g, logins[i].login, out, &n, e);
	if (good && (needs & NEED_SOURCES) && rid_key)
		good = rid_key_open(rid_key, out, &n, e);
	if (good)
		good = keyring_open(g->model, role, out, &n, e);
	if (good)
		good = secrets_open(g, role, out, &n, e);
	if (good)
		return n;
	gather_close(out, n);
	return -1;
}

void
gather_close(struct gathered *items, int n)
{
	for (int i = 0; i < n; i++)
		close(items[i].fd);
}
