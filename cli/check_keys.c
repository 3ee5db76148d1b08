/*
 * check: files. Logins' files, the directory of `keys:` with what each role needs of it, the
 * policy. Secret bytes are looked at only to see that a key is the one that the policy lists.
 */
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "ddl.h"
#include "owner.h"
#include "policy_read.h"
#include "seal/policy_model.h"
#include "seal/token.h"
#include "secretfile.h"

enum { PATH_MAX_BYTES = 4096, VALID_DAYS_LEAST = 30 };

#define DAY_MS (24LL * 3600 * 1000)

/* ---- permissions ---- */

/* What may hold a secret (secretfile.h), by the file that its name leads to. */
static bool
file_check(struct check *c, const char *path)
{
	char next[PATH_MAX_BYTES + 64] = "";
	struct stat st;
	struct err e;

	c->examined++;
	if (stat(path, &st)) {
		check_add(c, DRIFT_MISSING, "", "%s: %s", path, strerror(errno));
		return false;
	}
	if (secretfile_check(&st, path, &e))
		return true;
	if (S_ISREG(st.st_mode) && (st.st_uid == 0 || st.st_uid == geteuid()))
		snprintf(next, sizeof next, "chmod 0600 '%s'", path);
	check_add(c, DRIFT_WRONG, next, "%s", e.text);
	return false;
}

/*
 * Nobody but the owner, who is root or who runs this. Where nothing can be written at all (a
 * mounted Secret, whose directory is everybody's by its mode), the files' own modes are enough.
 */
static void
directory_check(struct check *c, const char *path)
{
	char next[PATH_MAX_BYTES + 64];
	struct statvfs system;
	struct stat st;

	c->examined++;
	if (stat(path, &st)) {
		check_add(c, DRIFT_MISSING, "", "%s: %s", path, strerror(errno));
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		check_add(c, DRIFT_WRONG, "", "%s is no directory", path);
		return;
	}
	if (st.st_uid && st.st_uid != geteuid())
		check_add(c, DRIFT_WRONG, "", "%s belongs to user %u", path, (unsigned)st.st_uid);
	if (!statvfs(path, &system) && (system.f_flag & ST_RDONLY))
		return;
	snprintf(next, sizeof next, "chmod 0700 '%s'", path);
	if (st.st_mode & 077)
		check_add(c, DRIFT_WRONG, next, "%s: others may use it (mode %04o)", path,
			  (unsigned)(st.st_mode & 07777));
}

static void
logins_check(struct check *c)
{
	char path[PATH_MAX_BYTES];

	if (!c->model->logins_dir)
		return;
	directory_check(c, c->model->logins_dir);
	for (unsigned i = 0; i < LOGIN_MAX; i++) {
		if (!ddl_login_used(c->model, i))
			continue;
		snprintf(path, sizeof path, "%s/%s.login", c->model->logins_dir,
			 ddl_logins[i].suffix);
		(void)file_check(c, path);
	}
}

/* ---- the policy ---- */

static bool
pinned_root(struct check *c, uint8_t root[static KEY_PUBLIC_BYTES], bool *there, int64_t *serial,
	    struct err *e)
{
	const char *const params[] = {c->model->pipeline.s, NULL};
	struct buf bytes = {0};
	struct pg_result *r;

	if (!owner_query(c->pg,
			 "SELECT coalesce(encode(policy_root, 'hex'), ''), coalesce(policy_serial, "
			 "0) FROM admin_schema.pipeline WHERE name = $1",
			 params, &r, e))
		return false;
	const char *digits = pg_text(r, 0, 0);
	*there =
	    strlen(digits) == 2 * KEY_PUBLIC_BYTES && policy_unhex(digits, strlen(digits), &bytes);
	if (*there)
		memcpy(root, bytes.data, KEY_PUBLIC_BYTES);
	*serial = pg_int(r, 0, 1);
	buf_free(&bytes);
	pg_result_free(r);
	return true;
}

static void
weaker_check(struct check *c, const struct policy *is)
{
	static const char next[] =
	    "mend the pipeline file, or `weir keys policy sign` after reading "
	    "what it gives up";
	struct policy wanted = {0};
	struct buf report = {0};
	struct err why;

	policy_of_model(&wanted, c->model);
	unsigned n = policy_weaker(is, &wanted, &report);
	for (const char *line = buf_cstr(&report); *line;) {
		int len = (int)strcspn(line, "\n");
		check_add(c, DRIFT_WRONG, next, "the pipeline file is weaker than its policy: %.*s",
			  len, line);
		line += len + (line[len] == '\n');
	}
	if (!n && !policy_covers(is, c->model, &why))
		check_add(c, DRIFT_WRONG, next, "the pipeline file is weaker than its policy: %s",
			  why.text);
	buf_free(&report);
	policy_free(&wanted);
}

static void
policy_judge(struct check *c, const struct policy *p, int64_t serial)
{
	int64_t now = policy_now_ms();
	enum seal_error why = policy_usable(p, c->model->pipeline.s, (uint64_t)serial, now);

	if (why != SEAL_OK)
		check_add(c, DRIFT_WRONG, "`weir keys policy sign`",
			  "the policy of serial %llu: %s (%s)", (unsigned long long)p->serial,
			  seal_error_words(why), seal_error_name(why));
	else if (p->serial > (uint64_t)serial)
		check_add(c, DRIFT_MISSING, "`weir apply`",
			  "the policy of serial %llu is not installed; %lld is",
			  (unsigned long long)p->serial, (long long)serial);
	else if (p->not_after_ms - now < VALID_DAYS_LEAST * DAY_MS)
		check_add(c, DRIFT_NOTE, "`weir keys policy sign --renew`",
			  "the policy ends in %lld days; nothing is sealed after that",
			  (long long)((p->not_after_ms - now) / DAY_MS));
	weaker_check(c, p);
}

/* The signed policy, when it is one; else an empty one, and it has been said. */
static bool
policy_check(struct check *c, struct policy *out, struct err *e)
{
	uint8_t root[KEY_PUBLIC_BYTES];
	struct buf file = {0};
	struct err why;
	int64_t serial;
	bool there;

	if (!pinned_root(c, root, &there, &serial, e))
		return false;
	c->examined++;
	if (!there)
		check_add(c, DRIFT_MISSING, "`weir apply`", "the warehouse pins no policy root");
	if ((!there && !policy_root_read(c->model, root, &why)) ||
	    !policy_file_read(c->model, &file, &why)) {
		check_add(c, DRIFT_MISSING, "`weir keys init`, then `weir keys policy sign`", "%s",
			  why.text);
	} else {
		enum seal_error bad = policy_decode(file.data, file.len, root, out);
		if (bad == SEAL_OK)
			policy_judge(c, out, serial);
		else
			check_add(c, DRIFT_WRONG, "", "the policy's file: %s (%s)",
				  seal_error_words(bad), seal_error_name(bad));
	}
	buf_free(&file);
	return true;
}

/* ---- key files ---- */

/* Whether the policy knows this key: for those kinds that it lists. */
static bool
key_listed(const struct key *k, const struct policy *p, const char *name, unsigned epoch)
{
	uint8_t id[KEY_ID_BYTES], pk[KEY_PUBLIC_BYTES];

	if (key_type(k) == KEY_SEALER) {
		key_id(key_public(k), id);
		return policy_sealer_listed(p, id, pk);
	}
	const struct policy_role *r = policy_role(p, name);
	return r && r->epoch == epoch && !memcmp(r->pk, key_public(k), KEY_PUBLIC_BYTES);
}

static void
token_key_check(struct check *c, const struct policy *p, const char *path, const struct key *k)
{
	char name[NAME_BYTES_MAX + 1] = "";
	struct token_key *token = NULL;
	enum key_type type;
	unsigned epoch = 0;
	struct err why;

	if (!key_label_parse(key_label(k), &type, name, &epoch) ||
	    token_key_new(k, name, epoch, &token) != SEAL_OK)
		check_add(c, DRIFT_WRONG, "", "%s is no token key of a domain and epoch", path);
	else if (!policy_token_check(p, name, token, &why))
		check_add(c, DRIFT_WRONG, "", "%s: %s", path, why.text);
	token_key_free(token);
}

static void
service_key_check(struct check *c, const struct policy *p, const char *path, int fd,
		  const struct keyfile_head *h)
{
	char name[NAME_BYTES_MAX + 1] = "";
	enum key_type type;
	unsigned epoch = 0;
	struct key *k;

	if (h->kdf != KDF_NONE) {
		check_add(c, DRIFT_WRONG, "",
			  "%s has a passphrase: the worker that needs it cannot start by itself",
			  path);
		return;
	}
	enum seal_error why = keyfile_read(fd, NULL, &k);
	if (why != SEAL_OK) {
		check_add(c, DRIFT_WRONG, "", "%s: %s (%s)", path, seal_error_words(why),
			  seal_error_name(why));
		return;
	}
	if (p->serial && (h->type == KEY_SEALER || h->type == KEY_ROLE) &&
	    key_label_parse(h->label, &type, name, &epoch) && !key_listed(k, p, name, epoch))
		check_add(c, DRIFT_WRONG, "`weir keys policy sign`",
			  "%s is not the key that the policy lists", path);
	if (p->serial && h->type == KEY_TOKEN)
		token_key_check(c, p, path, k);
	key_free(k);
}

static bool
is_rid_key(const struct model *m, const char *path)
{
	struct stat rid, at;

	return m->rid_key_path && !stat(m->rid_key_path, &rid) && !stat(path, &at) &&
	       rid.st_dev == at.st_dev && rid.st_ino == at.st_ino;
}

static void
key_file_check(struct check *c, const struct policy *p, int dir, const char *name)
{
	char path[PATH_MAX_BYTES], label[KEY_LABEL_MAX + 8];
	struct keyfile_head h;

	snprintf(path, sizeof path, "%s/%s", c->model->keys_dir, name);
	if (!file_check(c, path))
		return;
	/* The key of queue identities may lie here, too: 32 bytes without a head. */
	if (is_rid_key(c->model, path))
		return;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		check_add(c, DRIFT_WRONG, "", "%s: %s", path, strerror(errno));
		return;
	}
	enum seal_error why = keyfile_peek(fd, &h);
	if (why != SEAL_OK) {
		check_add(c, DRIFT_WRONG, "", "%s: %s (%s)", path, seal_error_words(why),
			  seal_error_name(why));
		close(fd);
		return;
	}
	snprintf(label, sizeof label, "%s.key", h.label);
	if (strcmp(label, name))
		check_add(c, DRIFT_WRONG, "", "%s is the key %s under another name", path, h.label);
	else if (h.type == KEY_SEALER || h.type == KEY_TOKEN || h.type == KEY_ROLE)
		service_key_check(c, p, path, fd, &h);
	else if (h.kdf == KDF_NONE)
		check_add(c, DRIFT_WRONG, "", "%s has no passphrase, and is not a service's", path);
	else
		check_add(c, DRIFT_NOTE, "",
			  "%s: no worker needs it; move it offline, or to its "
			  "person",
			  path);
	close(fd);
}

static bool
file_there(int dir, const char *name)
{
	return faccessat(dir, name, F_OK, 0) == 0;
}

/* A key of some epoch: "token-cpf-" and digits. */
static bool
epoch_there(int dir, const char *start)
{
	DIR *d = fdopendir(fcntl(dir, F_DUPFD_CLOEXEC, 0));
	bool there = false;

	if (!d)
		return false;
	rewinddir(d);
	for (struct dirent *at; !there && (at = readdir(d));) {
		const char *rest = at->d_name + strlen(start);
		there = !strncmp(at->d_name, start, strlen(start)) && *rest >= '0' && *rest <= '9';
	}
	closedir(d);
	return there;
}

/* Token keys that the policy lists: the oldest of a domain finds persons, the newest is in use. */
static void
tokens_check(struct check *c, const struct policy *p, int dir)
{
	char name[KEY_LABEL_MAX + 8];

	for (unsigned i = 0; i < p->tokens_n; i++) {
		const struct policy_token *t = &p->tokens[i];
		snprintf(name, sizeof name, "token-%s-%u.key", t->domain.s, t->epoch);
		if (!file_there(dir, name))
			check_add(c, DRIFT_MISSING, "put it back", "%s/%s, which the policy lists",
				  c->model->keys_dir, name);
	}
}

static void
needed_check(struct check *c, int dir)
{
	const struct model *m = c->model;
	char start[KEY_LABEL_MAX + 8];

	if (!file_there(dir, "sealer.key"))
		check_add(c, DRIFT_MISSING, "`weir keys init`",
			  "%s/sealer.key (keeper signs with it)", m->keys_dir);
	for (unsigned i = 0; i < m->domains_n; i++) {
		snprintf(start, sizeof start, "token-%s-", m->domains[i].name.s);
		if (!epoch_there(dir, start))
			check_add(c, DRIFT_MISSING, "`weir keys init`",
				  "%s/%s1.key (ingest makes tokens with it)", m->keys_dir, start);
	}
	if (!m->handoffs_n || !m->keys_role)
		return;
	snprintf(start, sizeof start, "role-%s-%u.key", m->keys_role, m->keys_role_epoch);
	if (m->keys_role_epoch ? !file_there(dir, start)
			       : (snprintf(start, sizeof start, "role-%s-", m->keys_role),
				  !epoch_there(dir, start)))
		check_add(c, DRIFT_MISSING, "`weir keys grant science`",
			  "%s/%s (science opens hand-overs with it)", m->keys_dir, start);
}

static void
keys_check(struct check *c, const struct policy *p)
{
	directory_check(c, c->model->keys_dir);
	int dir = open(c->model->keys_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = dir < 0 ? NULL : fdopendir(fcntl(dir, F_DUPFD_CLOEXEC, 0));

	if (d)
		for (struct dirent *at; (at = readdir(d));) {
			size_t n = strlen(at->d_name);
			if (n > 4 && !strcmp(at->d_name + n - 4, ".key"))
				key_file_check(c, p, dir, at->d_name);
		}
	if (d) {
		closedir(d);
		needed_check(c, dir);
		tokens_check(c, p, dir);
	}
	if (dir >= 0)
		close(dir);
}

/* ---- all of it ---- */

bool
check_files(struct check *c, struct err *e)
{
	struct policy p = {0};

	logins_check(c);
	if (c->model->rid_key_path)
		(void)file_check(c, c->model->rid_key_path);
	if (!c->model->keys_dir)
		return true;
	bool good = secret_open(false, e) && policy_check(c, &p, e);
	if (good)
		keys_check(c, &p);
	policy_free(&p);
	return good;
}
