/*
 * plan: the signed policy of `keys:` into the warehouse, which pins its root. What would lower it
 * is refused: an older serial, another root, a pipeline file that is weaker than what was signed.
 */
#include "plan.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "owner.h"
#include "policy_read.h"
#include "seal/policy_model.h"

/* What the warehouse has of it. */
struct pinned {
	bool root_there;
	uint8_t root[KEY_PUBLIC_BYTES];
	uint64_t serial; /* 0: none was installed */
	struct buf body; /* of that serial; empty: not there */
};

bool
policy_unhex(const char *digits, size_t n, struct buf *out)
{
	static const char all[] = "0123456789abcdef";

	for (size_t i = 0; i + 1 < n; i += 2) {
		const char *hi = digits[i] ? strchr(all, digits[i]) : NULL;
		const char *lo = digits[i + 1] ? strchr(all, digits[i + 1]) : NULL;
		if (!hi || !lo)
			return false;
		buf_byte(out, (uint8_t)((hi - all) << 4 | (lo - all)));
	}
	return n % 2 == 0;
}

void
policy_hex(const void *bytes, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++)
		buf_printf(out, "%02x", ((const uint8_t *)bytes)[i]);
}

/* A bytea in text form, \x and digits, or NULL. */
static bool
bytea_read(const struct pg_result *r, unsigned column, struct buf *out)
{
	if (pg_is_null(r, 0, column))
		return true;
	const char *text = pg_text(r, 0, column);
	return strlen(text) >= 2 && policy_unhex(text + 2, strlen(text + 2), out);
}

static bool
pinned_take(const struct pg_result *r, struct pinned *out, struct err *e)
{
	struct buf root = {0};

	bool good = bytea_read(r, 0, &root) && bytea_read(r, 2, &out->body) &&
		    (!root.len || root.len == sizeof out->root);
	if (good && root.len) {
		memcpy(out->root, root.data, sizeof out->root);
		out->root_there = true;
	}
	out->serial = pg_is_null(r, 0, 1) ? 0 : (uint64_t)pg_int(r, 0, 1);
	buf_free(&root);
	return good || err_set(e, EXIT_BUG, "admin_schema.pipeline: policy_root is no key");
}

/* A warehouse of the version before has no policies. */
static bool
pinned_read(struct plan *p, struct pinned *out, struct err *e)
{
	const char *const params[] = {p->model->pipeline.s, NULL};
	struct pg_result *r;
	bool there;

	if (!p->pipeline)
		return true;
	if (!plan_ask(p, "SELECT to_regclass('key_schema.policy') IS NOT NULL", NULL, &there, e) ||
	    !owner_query(p->pg,
			 there ? "SELECT l.policy_root, l.policy_serial, y.body"
				 " FROM admin_schema.pipeline l LEFT JOIN key_schema.policy y"
				 " ON y.pipeline = l.id AND y.serial = l.policy_serial"
				 " WHERE l.name = $1"
			       : "SELECT policy_root, policy_serial, NULL"
				 " FROM admin_schema.pipeline WHERE name = $1",
			 params, &r, e))
		return false;
	bool good = pinned_take(r, out, e);
	pg_result_free(r);
	return good;
}

/* 32 bytes, or as many in hexadecimal digits. */
bool
policy_root_read(const struct model *m, uint8_t root[static KEY_PUBLIC_BYTES], struct err *e)
{
	char path[4096];
	struct buf b = {0}, key = {0};

	snprintf(path, sizeof path, "%s/" POLICY_ROOT_FILE, m->keys_dir);
	bool good = file_whole(path, 4 * KEY_PUBLIC_BYTES, &b, e);
	while (good && b.len > KEY_PUBLIC_BYTES && b.data[b.len - 1] == '\n')
		b.len--;
	if (good && b.len == KEY_PUBLIC_BYTES)
		buf_add(&key, b.data, b.len);
	else if (good && b.len == 2 * KEY_PUBLIC_BYTES)
		good = policy_unhex((const char *)b.data, b.len, &key);
	if (good && key.len == KEY_PUBLIC_BYTES)
		memcpy(root, key.data, KEY_PUBLIC_BYTES);
	else if (good || key.len)
		good = err_set(e, EXIT_CONFIG, "%s: not a public key of %d bytes", path,
			       KEY_PUBLIC_BYTES);
	buf_free(&b);
	buf_free(&key);
	return good;
}

bool
policy_file_read(const struct model *m, struct buf *out, struct err *e)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/" POLICY_FILE, m->keys_dir);
	return file_whole(path, POLICY_BYTES_MAX, out, e);
}

int64_t
policy_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A change without SQL for each line. */
static void
lines_tell(struct plan *p, enum change_kind kind, char mark, struct buf *text)
{
	for (const char *line = buf_cstr(text); *line;) {
		int n = (int)strcspn(line, "\n");
		if (n)
			plan_add_kind(p, kind, mark, NULL, "policy: %.*s", n, line);
		line += n + (line[n] == '\n');
	}
}

/* What the installed one said and this one does not, in words. */
static void
difference_tell(struct plan *p, const struct pinned *at, const struct policy *to)
{
	struct policy from = {0};
	struct buf words = {0};
	unsigned weaker = 0;
	bool known =
	    at->body.len && policy_decode(at->body.data, at->body.len, NULL, &from) == SEAL_OK;

	policy_difference(known ? &from : NULL, to, &words, &weaker);
	lines_tell(p, CHANGE_NOTE, 'i', &words);
	buf_free(&words);
	policy_free(&from);
}

static void
install(struct plan *p, const struct pinned *at, const struct policy *to, const struct buf *file,
	const uint8_t root[static KEY_PUBLIC_BYTES])
{
	struct buf sql = {0}, id = {0};
	char day[16];
	time_t until = (time_t)(to->not_after_ms / 1000);
	struct tm tm;

	strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&until, &tm));
	policy_hex(root, 8, &id);
	buf_text(&sql,
		 "INSERT INTO key_schema.policy (pipeline, serial, body, digest) SELECT id, ");
	buf_printf(&sql, "%llu, '\\x", (unsigned long long)to->serial);
	policy_hex(file->data, file->len, &sql);
	buf_text(&sql, "', '\\x");
	policy_hex(to->hash, sizeof to->hash, &sql);
	buf_text(&sql, "' FROM admin_schema.pipeline WHERE name = ");
	pg_quote_text(&sql, p->model->pipeline.s);
	buf_text(&sql, ";\nUPDATE admin_schema.pipeline SET policy_root = '\\x");
	policy_hex(root, KEY_PUBLIC_BYTES, &sql);
	buf_printf(&sql, "', policy_serial = %llu WHERE name = ", (unsigned long long)to->serial);
	pg_quote_text(&sql, p->model->pipeline.s);
	buf_text(&sql, ";\nSELECT key_schema.audit_add(id, 'policy', NULL, NULL, NULL, "
		       "'weir apply', jsonb_build_object('serial', policy_serial, 'root', "
		       "encode(policy_root, 'hex'), 'digest', '");
	policy_hex(to->hash, sizeof to->hash, &sql);
	buf_text(&sql, "')) FROM admin_schema.pipeline WHERE name = ");
	pg_quote_text(&sql, p->model->pipeline.s);
	plan_add(p, at->serial ? '~' : '+', &sql, "policy of serial %llu, valid to %s%s%s%s",
		 (unsigned long long)to->serial, day, at->root_there ? "" : "; its root ",
		 at->root_there ? "" : buf_cstr(&id),
		 at->root_there ? "" : "... is pinned: no other can sign the next one");
	buf_free(&id);
	difference_tell(p, at, to);
}

/* Every way in which the pipeline file is weaker than what was signed. */
static bool
weaker_refuse(struct plan *p, const struct policy *is)
{
	struct policy wanted = {0};
	struct buf report = {0};
	struct err why;
	unsigned before = p->refused;

	policy_of_model(&wanted, p->model);
	policy_weaker(is, &wanted, &report);
	lines_tell(p, CHANGE_REFUSED, '!', &report);
	if (p->refused == before && !policy_covers(is, p->model, &why))
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL, "policy: %s", why.text);
	buf_free(&report);
	policy_free(&wanted);
	return p->refused != before;
}

static void
policy_judge(struct plan *p, const struct pinned *at, const struct policy *to,
	     const struct buf *file, const uint8_t root[static KEY_PUBLIC_BYTES])
{
	enum seal_error why = policy_usable(to, p->model->pipeline.s, at->serial, policy_now_ms());
	bool same = at->body.len == file->len && !memcmp(at->body.data, file->data, file->len);

	if (why == SEAL_POLICY && to->serial < at->serial)
		plan_add_kind(
		    p, CHANGE_REFUSED, '!', NULL,
		    "policy: the file has serial %llu, and %llu was installed: an older one "
		    "is never taken",
		    (unsigned long long)to->serial, (unsigned long long)at->serial);
	else if (why != SEAL_OK)
		plan_add_kind(
		    p, CHANGE_REFUSED, '!', NULL,
		    "policy: serial %llu of pipeline %s: %s (%s); `weir keys policy sign` "
		    "makes a new one",
		    (unsigned long long)to->serial, to->pipeline.s, seal_error_words(why),
		    seal_error_name(why));
	else if (to->serial == at->serial && at->body.len && !same)
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "policy: another one of serial %llu was installed; `weir keys policy "
			      "sign` makes one of a higher serial",
			      (unsigned long long)to->serial);
	else if (!weaker_refuse(p, to) && !same)
		install(p, at, to, file, root);
}

static void
policy_plan(struct plan *p, const struct pinned *at)
{
	uint8_t root[KEY_PUBLIC_BYTES];
	struct policy to = {0};
	struct buf file = {0};
	struct err why;

	if (at->root_there)
		memcpy(root, at->root, sizeof root);
	if ((!at->root_there && !policy_root_read(p->model, root, &why)) ||
	    !policy_file_read(p->model, &file, &why)) {
		plan_add_kind(
		    p, CHANGE_REFUSED, '!', NULL,
		    "policy: %s; `weir keys init %s` and `weir keys policy sign %s` make it",
		    why.text, p->model->path, p->model->path);
		buf_free(&file);
		return;
	}
	enum seal_error bad = policy_decode(file.data, file.len, root, &to);
	if (bad == SEAL_OK)
		policy_judge(p, at, &to, &file, root);
	else if (bad == SEAL_SIGNATURE && at->root_there)
		plan_add_kind(
		    p, CHANGE_REFUSED, '!', NULL,
		    "policy: not signed by the root that this warehouse pins (signature); "
		    "only `weir keys policy root` replaces that root");
	else
		plan_add_kind(p, CHANGE_REFUSED, '!', NULL,
			      "policy: not a policy signed by the root: %s (%s)",
			      seal_error_words(bad), seal_error_name(bad));
	policy_free(&to);
	buf_free(&file);
}

bool
plan_policy(struct plan *p, struct err *e)
{
	struct pinned at = {0};
	bool good = pinned_read(p, &at, e);

	if (good && p->model->keys_dir)
		policy_plan(p, &at);
	else if (good && at.root_there)
		plan_add_kind(
		    p, CHANGE_REFUSED, '!', NULL,
		    "policy: this pipeline has a signed policy (serial %llu), and the file "
		    "names no `keys:`",
		    (unsigned long long)at.serial);
	buf_free(&at.body);
	return good;
}
