/* release: the policy that a reader goes by. */
#include <string.h>
#include <time.h>

#include "release.h"

struct installed { /* borrowed from the result */
	const uint8_t *root, *body;
	size_t root_len, body_len;
	uint64_t serial;
};

static bool
installed_take(const struct pg_result *r, const char *pipeline, struct installed *out,
	       struct err *e)
{
	if (pg_rows(r) != 1 || pg_is_null(r, 0, 0))
		return err_set(
		    e, EXIT_PERMISSION,
		    "the warehouse pins no policy of pipeline %s yet; `weir apply` puts it "
		    "in force",
		    pipeline);
	out->root = pg_bytes(r, 0, 0, &out->root_len);
	out->serial = (uint64_t)pg_int(r, 0, 1);
	out->body = pg_is_null(r, 0, 2) ? NULL : pg_bytes(r, 0, 2, &out->body_len);
	return out->root_len == KEY_PUBLIC_BYTES ||
	       err_set(e, EXIT_PERMISSION, "the root that the warehouse pins is no key");
}

/* What the administrator can replace is believed only as far as nothing else is known. */
static bool
root_check(const struct installed *in, const char *pipeline, const uint8_t *root, struct err *e)
{
	return !root || !memcmp(root, in->root, KEY_PUBLIC_BYTES) ||
	       err_set(e, EXIT_PERMISSION,
		       "the warehouse pins another root of pipeline %s than the one that is given: "
		       "somebody has replaced it there, or a new root.pub has not reached you",
		       pipeline);
}

static bool
decode(const void *p, size_t n, const struct installed *in, const char *pipeline, uint64_t least,
       struct policy *out, struct err *e)
{
	struct timespec t;

	enum seal_error why = policy_decode(p, n, in->root, out);
	clock_gettime(CLOCK_REALTIME, &t);
	if (why == SEAL_OK)
		why = policy_usable(out, pipeline, least,
				    (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
	if (why == SEAL_OK)
		return true;
	policy_free(out);
	seal_fail(e, why, "the policy of pipeline %s", pipeline);
	e->code = EXIT_PERMISSION;
	return false;
}

/* Whether a file that does not stand is an old copy, and not one that tells of another root. */
static bool
is_of_this_root(const struct installed *in, const struct buf *file)
{
	struct policy ours;

	if (policy_decode(file->data, file->len, in->root, &ours) != SEAL_OK)
		return false;
	policy_free(&ours);
	return true;
}

static bool
choose(const struct installed *in, const char *pipeline, const struct buf *file, bool newest,
       struct policy *out, struct err *e)
{
	if (file && decode(file->data, file->len, in, pipeline, in->serial, out, e))
		return true;
	if (file && !newest)
		return false;
	if (!in->body)
		return file ? false
			    : err_set(e, EXIT_PERMISSION,
				      "the warehouse has no policy of pipeline %s", pipeline);
	return decode(in->body, in->body_len, in, pipeline, in->serial, out, e);
}

bool
release_policy(struct pg *pg, const char *pipeline, const uint8_t *root, const struct buf *file,
	       bool newest, struct policy *out, struct err *e)
{
	const struct pg_param params[] = {{.data = pipeline}};
	struct installed in = {0};
	struct pg_result *r;

	if (!pg_query(pg, "SELECT root, serial, body FROM key_schema.policy_current($1)", params, 1,
		      true, &r, e))
		return err_context(e, "policy");
	bool good = installed_take(r, pipeline, &in, e) && root_check(&in, pipeline, root, e);
	newest = newest && good && (root || !file || is_of_this_root(&in, file));
	good = good && choose(&in, pipeline, file, newest, out, e);
	pg_result_free(r);
	return good;
}
