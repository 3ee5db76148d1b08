/* open: rows of a query with their sealed values opened; a hand-over file. */
#include "open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "opened.h"
#include "seal/handover.h"

const struct option_row options_open[] = {
    OPENER_OPTIONS,
    {"output", 'o', OPTION_VALUE, "FORMAT", "ndjson (default), csv, or json: one array"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

/* A table's name alone stands for all of its rows. */
static bool
query_of(const char *operand, struct buf *out, struct err *e)
{
	size_t n = strspn(operand, "abcdefghijklmnopqrstuvwxyz0123456789_.");

	if (operand[n]) {
		buf_text(out, operand);
		return true;
	}
	if (!n || n > NAME_BYTES_MAX)
		return err_set(e, EXIT_USAGE, "\"%.80s\" is neither a query nor a table", operand);
	buf_printf(out, "SELECT * FROM %s%s", strchr(operand, '.') ? "" : "development_schema.",
		   operand);
	return true;
}

static bool
format_of(const struct cli *c, enum opened_format *out, struct err *e)
{
	const char *format = args_value(&c->args, "output");

	*out = OPENED_NDJSON;
	if (!format || !strcmp(format, "ndjson"))
		return true;
	*out = !strcmp(format, "csv") ? OPENED_CSV : OPENED_JSON;
	return *out == OPENED_CSV || !strcmp(format, "json") ||
	       err_set(e, EXIT_USAGE, "\"%.40s\" is no output format; ndjson, csv and json are",
		       format);
}

static bool
stdout_put(void *of, const void *p, size_t n, struct err *e)
{
	const char *at = p;

	(void)of;
	while (n) {
		ssize_t put = write(STDOUT_FILENO, at, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_errno(e, EXIT_UNAVAILABLE, "cannot write the output");
		at += put;
		n -= (size_t)put;
	}
	return true;
}

static int
query_open(struct opener *o, const char *query, enum opened_format format)
{
	struct opened_setup setup = {.pg = o->reader,
				     .release = o->release,
				     .model = o->k.m,
				     .policy = &o->k.policy,
				     .query = query,
				     .format = format,
				     .put = stdout_put};
	struct opened_counts counts;
	struct buf words = {0};
	struct err e;

	if (!opened_run(&setup, &counts, &e))
		return cli_fail(o->k.c, &e,
				"see that the query runs with this login, and that the login is a "
				"member of data_scientists");
	opened_words(&counts, &words);
	cli_say("%llu rows, %llu values opened%s%s; %llu audit rows tell of it",
		(unsigned long long)counts.rows, (unsigned long long)counts.opened,
		words.len ? "; not opened: " : "", buf_cstr(&words),
		(unsigned long long)release_requests(o->release));
	buf_free(&words);
	return counts.failed ? EXIT_SOME_DEAD : EXIT_DONE;
}

static int
rows_run(struct cli *c)
{
	enum opened_format format;
	struct buf query = {0};
	struct opener o;
	struct err e;
	int code;

	if (!opener_shows(c, &e) || !format_of(c, &format, &e) ||
	    !query_of(c->args.operands[0], &query, &e)) {
		buf_free(&query);
		return cli_fail(c, &e, "weir open TABLE --member-key FILE --purpose TEXT > FILE");
	}
	if (opener_open(&o, c, 1, false, &code)) {
		code = query_open(&o, buf_cstr(&query), format);
		opener_close(&o);
	}
	buf_free(&query);
	return code;
}

/* ---- a hand-over file ---- */

static bool
fd_get(void *of, void *p, size_t n, size_t *got)
{
	ssize_t some;

	do
		some = read(*(const int *)of, p, n);
	while (some < 0 && errno == EINTR);
	*got = some > 0 ? (size_t)some : 0;
	return some >= 0;
}

/* Reads the file from its beginning; prints it, or only sees that it is whole. */
static bool
file_pass(const char *path, int fd, const struct key *key, bool print, struct handover_head *head,
	  struct err *e)
{
	struct handover_source source = {fd_get, &fd};
	struct handover_reader *r = NULL;
	const uint8_t *p;
	size_t n = 1;

	if (lseek(fd, 0, SEEK_SET))
		return err_errno(e, EXIT_DATA, "\"%s\" is no file that can be read twice", path);
	bool good = true;
	enum seal_error why = handover_open(source, key, head, &r);
	while (good && why == SEAL_OK && n) {
		why = handover_read(r, &p, &n);
		if (why == SEAL_OK && n && print)
			good = stdout_put(NULL, p, n, e);
	}
	handover_reader_free(r);
	if (why != SEAL_OK)
		return seal_fail(e, why, "%s", path);
	return good;
}

static bool
file_open(struct keys *k, const char *path, struct err *e)
{
	struct handover_head head;
	struct key *key = NULL;

	if (!opener_shows(k->c, e) || !secret_open(false, e) || !keys_holder(k, &key, e))
		return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		key_free(key);
		return err_errno(e, EXIT_DATA, "cannot open \"%s\"", path);
	}
	/* Nothing of a file that is not whole may be taken for its content. */
	bool good =
	    file_pass(path, fd, key, false, &head, e) && file_pass(path, fd, key, true, &head, e);
	close(fd);
	key_free(key);
	if (good)
		cli_say("hand-over %s of pipeline %s, %s: %s", head.name.s, head.pipeline.s,
			head.format, head.purpose);
	return good;
}

static int
file_run(struct cli *c)
{
	struct keys k = {.c = c, .dir = -1};
	struct err e;

	int code = file_open(&k, c->args.operands[1], &e)
		       ? EXIT_DONE
		       : cli_fail(c, &e, "weir open file FILE --member-key FILE > OUT");
	secret_free(k.passphrase);
	return code;
}

int
open_run(struct cli *c)
{
	bool file = !strcmp(c->args.operands[0], "file");
	struct err e;

	if (file && c->args.operands_n == 2)
		return file_run(c);
	if (!file && c->args.operands_n <= 2)
		return rows_run(c);
	err_set(&e, EXIT_USAGE, "a query, or a table, or \"file\" and the file's name");
	return cli_fail(c, &e, "`weir help open`");
}
