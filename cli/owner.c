#include "owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "secretfile.h"

bool
file_whole(const char *path, size_t max, struct buf *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd < 0)
		return err_errno(e, EXIT_CONFIG, "cannot read \"%s\"", path);
	buf_reserve(out, max + 1);
	while (out->len <= max && (n = read(fd, out->data + out->len, max + 1 - out->len)) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		out->len += n > 0 ? (size_t)n : 0;
	}
	bool failed = n < 0 && !err_errno(e, EXIT_CONFIG, "cannot read \"%s\"", path);
	close(fd);
	if (failed)
		return false;
	if (out->len > max)
		return err_set(e, EXIT_CONFIG, "\"%s\" has more than %zu bytes", path, max);
	return true;
}

static void
line_end_drop(struct buf *b)
{
	while (b->len && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == '\r'))
		b->len--;
}

bool
file_read(const char *path, size_t max, struct buf *out, struct err *e)
{
	if (!file_whole(path, max, out, e))
		return false;
	line_end_drop(out);
	return true;
}

bool
file_secret(const char *path, size_t max, struct buf *out, struct err *e)
{
	if (!secretfile_read(path, max, out, e))
		return false;
	line_end_drop(out);
	return true;
}

bool
owner_dsn(const struct model *m, struct buf *out, struct err *e)
{
	if (!m->dsn)
		return err_set(e, EXIT_CONFIG, "%s: warehouse.postgresql.dsn is missing", m->path);
	if (!strncmp(m->dsn, "file:", 5))
		return file_secret(m->dsn + 5, OWNER_SECRET_MAX, out, e);
	const char *dsn = m->dsn;
	if (!strncmp(dsn, "env:", 4)) {
		dsn = getenv(m->dsn + 4);
		if (!dsn || !*dsn)
			return err_set(e, EXIT_CONFIG,
				       "%s: warehouse.postgresql.dsn is to come from the "
				       "environment variable %s, "
				       "which is not set",
				       m->path, m->dsn + 4);
	}
	buf_text(out, dsn);
	return true;
}

static bool
server_check(struct pg *pg, struct err *e)
{
	struct pg_result *r;

	if (!pg_exec(pg,
		     "SELECT current_setting('server_version_num')::int, "
		     "current_setting('server_version'), current_setting('server_encoding')",
		     &r, e))
		return false;
	bool good =
	    pg_int(r, 0, 0) >= OWNER_VERSION_MIN ||
	    err_set(e, EXIT_CONFIG, "the warehouse is PostgreSQL %s; Weir needs 15 or later",
		    pg_text(r, 0, 1));
	/* Another encoding has no place for most characters, or does not check any. */
	if (good && strcmp(pg_text(r, 0, 2), "UTF8") != 0)
		good = err_set(e, EXIT_CONFIG,
			       "the warehouse's database has the encoding %s; Weir needs UTF8 "
			       "(CREATE DATABASE ... TEMPLATE template0 ENCODING 'UTF8')",
			       pg_text(r, 0, 2));
	pg_result_free(r);
	return good;
}

bool
owner_open(const struct model *m, struct pg **out, struct err *e)
{
	static const char *const settings[] = {"search_path=pg_catalog",
					       "lock_timeout=30s",
					       "timezone=UTC",
					       "datestyle=ISO",
					       "client_min_messages=warning",
					       NULL};
	struct buf dsn = {0};

	*out = NULL;
	bool good = owner_dsn(m, &dsn, e) &&
		    pg_connect(buf_cstr(&dsn), "weir", settings, OWNER_CONNECT_MS, out, e) &&
		    server_check(*out, e);
	if (dsn.data)
		explicit_bzero(dsn.data, dsn.cap);
	buf_free(&dsn);
	if (good)
		return true;
	pg_close(*out);
	*out = NULL;
	return false;
}

int
owner_fail(const struct cli *c, const struct model *m, const struct err *e)
{
	return cli_fail(
	    c, e,
	    e->code == EXIT_UNAVAILABLE
		? "see that PostgreSQL runs and can be reached from here; the address is "
		  "warehouse.postgresql.dsn in %s"
		: "mend warehouse.postgresql.dsn in %s (or the variable or file it names)",
	    m->path);
}

bool
owner_connect(const struct cli *c, const struct model *m, struct pg **out, int *code)
{
	struct err e;

	if (owner_open(m, out, &e))
		return true;
	*code = owner_fail(c, m, &e);
	return false;
}

bool
owner_query(struct pg *pg, const char *sql, const char *const *params, struct pg_result **out,
	    struct err *e)
{
	struct pg_param p[PG_PARAMS_MAX] = {{0}};
	unsigned n = 0;

	for (; params && params[n]; n++) {
		check(n < PG_PARAMS_MAX);
		p[n].data = params[n];
		p[n].len = strlen(params[n]);
	}
	return pg_query(pg, sql, p, n, false, out, e);
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* bytea in text form: \x and two digits a byte. */
static bool
key_read(const char *text, uint8_t key[static 16])
{
	if (strlen(text) != 2 + 32)
		return false;
	for (unsigned i = 0; i < 16; i++) {
		int hi = hex_digit(text[2 + 2 * i]), lo = hex_digit(text[3 + 2 * i]);
		if (hi < 0 || lo < 0)
			return false;
		key[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

bool
owner_pipeline(struct pg *pg, const struct model *m, struct owner_pipeline *out, struct err *e)
{
	const char *const params[] = {m->pipeline.s, NULL};
	struct pg_result *r;

	if (!pg_exec(pg, "SELECT to_regclass('admin_schema.pipeline') IS NOT NULL", &r, e))
		return false;
	bool there = *pg_text(r, 0, 0) == 't';
	pg_result_free(r);
	if (!there)
		return err_set(e, EXIT_NOTHING, "nothing was applied to this warehouse yet");
	if (!owner_query(
		pg, "SELECT id, live_build, hash_key FROM admin_schema.pipeline WHERE name = $1",
		params, &r, e))
		return false;
	bool good = pg_rows(r) == 1;
	if (good) {
		out->id = pg_int(r, 0, 0);
		out->build = (int)pg_int(r, 0, 1);
		good = key_read(pg_text(r, 0, 2), out->hash_key) ||
		       err_set(e, EXIT_BUG, "the hash key of pipeline %s is not 16 bytes",
			       m->pipeline.s);
	} else {
		err_set(e, EXIT_NOTHING, "pipeline %s was not applied to this warehouse yet",
			m->pipeline.s);
	}
	pg_result_free(r);
	return good;
}
