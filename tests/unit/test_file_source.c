/*
 * file: what is found, in which order and under which numbers it is delivered, plain and
 * compressed, growing, cut, replaced, damaged. Time is the test's own: no test sleeps.
 */
#include "ingest/source.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <zlib.h>
#include <zstd.h>

#include "keyhash.h"
#include "mem.h"

enum { SLOTS = 512, TURNS_MAX = 400, EVENTS_MAX = 200000 };

struct world {
	char dir[128];
	struct model model;
	struct source source;
	struct metric_page *page;
	char path[256];
	void *d;
	struct mono now;
	struct source_event events[SOURCE_BATCH_MAX];
	char *labels[SLOTS];
	unsigned slots;
	bool listed, auto_start;
	int64_t start_at;
	struct buf text; /* payloads so far, each "slot:offset:payload\n" */
	unsigned taken, reasons;
	int64_t last[SLOTS]; /* offset delivered last, to see that they rise */
};

static void
path_of(const struct world *w, const char *name, char out[static 256])
{
	snprintf(out, 256, "%s/%s", w->dir, name);
}

static void
write_file(struct world *w, const char *name, const char *text, bool append)
{
	char path[256];

	path_of(w, name, path);
	FILE *f = fopen(path, append ? "a" : "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int
setup(void **state)
{
	struct world *w = mem_zero(1, sizeof *w);
	const char *tmp = getenv("TMPDIR");

	snprintf(w->dir, sizeof w->dir, "%s/weir-file-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(w->dir));
	w->page = mem_zero(1, sizeof *w->page);
	w->model = (struct model){.sources = &w->source, .sources_n = 1};
	w->model.limits.event_bytes_max = 4096;
	w->model.limits.files_open_max = 64;
	snprintf(w->source.name.s, sizeof w->source.name.s, "files");
	w->source.kind = SOURCE_FILE;
	w->source.path = w->path;
	w->now = (struct mono){1000000};
	w->auto_start = true;
	w->start_at = SOURCE_POSITION_NONE;
	keyhash_init();
	*state = w;
	return 0;
}

static void
driver_close(struct world *w)
{
	if (w->d)
		source_file.close(w->d);
	w->d = NULL;
	for (unsigned i = 0; i < w->slots; i++)
		free(w->labels[i]);
	w->slots = 0;
	w->taken = w->reasons = 0;
	w->listed = false;
	buf_clear(&w->text);
}

static int
teardown(void **state)
{
	struct world *w = *state;
	char cmd[256];

	driver_close(w);
	buf_free(&w->text);
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", w->dir);
	assert_int_equal(system(cmd), 0);
	free(w->page);
	free(w);
	return 0;
}

static void
driver_open(struct world *w, const char *pattern, bool follow, bool bounded)
{
	struct source_setup s = {.model = &w->model,
				 .source = &w->source,
				 .ingests = 1,
				 .page = w->page,
				 .bounded = bounded};
	struct err e;

	driver_close(w);
	path_of(w, pattern, w->path);
	w->source.follow = follow;
	assert_true(source_file.open(&s, &w->d, &e));
}

static void
discover(struct world *w)
{
	struct source_found found[16];
	unsigned n;
	struct err e;

	do {
		assert_true(source_file.discover(w->d, found, 16, &n, &w->listed, &e));
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(found[i].slot, w->slots);
			w->labels[w->slots] = mem_string_n(found[i].label, found[i].label_len);
			w->last[w->slots] = -1;
			if (w->auto_start)
				assert_true(source_file.start(w->d, w->slots, w->start_at, &e));
			w->slots++;
		}
	} while (n == 16);
}

/* One turn: a tenth of a second passes. */
static unsigned
turn(struct world *w, unsigned max)
{
	unsigned n;
	struct err e;

	w->now = mono_add_ms(w->now, 100);
	assert_true(source_file.poll(w->d, w->now, w->events, max, &n, &e));
	assert_true(n <= max);
	for (unsigned i = 0; i < n; i++) {
		const struct source_event *ev = &w->events[i];

		assert_true(ev->offset > w->last[ev->slot]);
		w->last[ev->slot] = ev->offset;
		w->reasons += ev->reason != NULL;
		if (w->taken++ < 5000)
			buf_printf(&w->text, "%u:%lld:%.*s\n", ev->slot, (long long)ev->offset,
				   (int)(ev->len < 40 ? ev->len : 40), ev->data);
	}
	discover(w);
	return n;
}

static struct source_frontier
frontier(struct world *w, unsigned slot)
{
	struct source_frontier f;

	source_file.frontier(w->d, slot, &f);
	return f;
}

/* Turns until everything found is read; fails when that does not come. */
static void
read_all(struct world *w)
{
	for (unsigned i = 0; i < TURNS_MAX; i++) {
		bool all = true;

		if (turn(w, SOURCE_BATCH_MAX))
			continue;
		for (unsigned s = 0; s < w->slots; s++)
			all = all && frontier(w, s).caught_up;
		if (all && w->listed)
			return;
	}
	fail_msg("not read to the end: %s",
		 source_file.trouble(w->d) ? source_file.trouble(w->d) : "no trouble");
}

static void
assert_text(struct world *w, const char *text)
{
	assert_string_equal(buf_cstr(&w->text), text);
	buf_clear(&w->text);
}

static void
test_plain_once(void **state)
{
	struct world *w = *state;

	write_file(w, "a.ndjson", "{1}\n\n{2}\r\n\r\n{3}", false);
	driver_open(w, "a.ndjson", false, false);
	read_all(w);
	assert_text(w, "0:0:{1}\n0:2:{2}\n0:4:{3}\n");
	struct source_frontier f = frontier(w, 0);
	assert_true(f.finished && f.done);
	assert_int_equal(f.next, 5);
	assert_int_equal(f.done_bytes, 15);
	assert_null(source_file.trouble(w->d));
}

static void
test_follow_takes_complete_lines_only(void **state)
{
	struct world *w = *state;

	write_file(w, "a.ndjson", "{1}\n{2", false);
	driver_open(w, "*.ndjson", true, false);
	read_all(w);
	assert_text(w, "0:0:{1}\n");
	assert_false(frontier(w, 0).finished);
	write_file(w, "a.ndjson", "2}\n", true);
	read_all(w);
	turn(w, 10);
	assert_text(w, "0:1:{22}\n");
	write_file(w, "b.ndjson", "{x}\n", false);
	write_file(w, "other.txt", "{no}\n", false);
	write_file(w, ".hidden.ndjson", "{no}\n", false);
	for (int i = 0; i < 30 && w->slots < 2; i++)
		turn(w, 10);
	read_all(w);
	assert_text(w, "1:0:{x}\n");
}

static void
test_identity_does_not_change_while_growing(void **state)
{
	struct world *w = *state;
	char *label;

	write_file(w, "a.ndjson", "{\"first", false);
	driver_open(w, "a.ndjson", true, false);
	turn(w, 10);
	assert_int_equal(w->slots, 0); /* its first line is not complete: no identity yet */
	write_file(w, "a.ndjson", "\":1}\n", true);
	read_all(w);
	assert_int_equal(w->slots, 1);
	label = mem_string(w->labels[0]);
	for (int i = 0; i < 300; i++)
		write_file(w, "a.ndjson", "{\"more\":\"0123456789\"}\n", true);
	driver_open(w, "a.ndjson", true, false);
	read_all(w);
	assert_string_equal(w->labels[0], label);
	assert_int_equal(w->taken, 301);
	write_file(w, "a.ndjson", "{\"other\":1}\n", false);
	driver_open(w, "a.ndjson", true, false);
	read_all(w);
	assert_string_not_equal(w->labels[0], label);
	free(label);
}

static void
gzip_file(struct world *w, const char *name, const char *text, const char *mode)
{
	char path[256];

	path_of(w, name, path);
	gzFile f = gzopen(path, mode);
	assert_non_null(f);
	assert_int_equal(gzputs(f, text), (int)strlen(text));
	gzclose(f);
}

static void
zstd_file(struct world *w, const char *name, const char *text, const char *mode)
{
	char path[256];
	size_t room = ZSTD_compressBound(strlen(text));
	void *to = mem_alloc(room);
	size_t n = ZSTD_compress(to, room, text, strlen(text), 3);

	path_of(w, name, path);
	FILE *f = fopen(path, mode);
	assert_non_null(f);
	assert_int_equal(fwrite(to, 1, n, f), n);
	fclose(f);
	free(to);
}

static void
test_compressed(void **state)
{
	struct world *w = *state;

	gzip_file(w, "a.ndjson.gz", "{1}\n{2}\n", "w");
	gzip_file(w, "a.ndjson.gz", "{3}\n{4}", "a"); /* a second member */
	zstd_file(w, "b.ndjson.zst", "{5}\n", "w");
	zstd_file(w, "b.ndjson.zst", "{6}\n", "a");
	for (int follow = 0; follow < 2; follow++) {
		driver_open(w, "*.ndjson.*", follow, false);
		read_all(w);
		assert_text(w, "0:0:{1}\n0:1:{2}\n0:2:{3}\n1:0:{5}\n1:1:{6}\n0:3:{4}\n");
		assert_true(frontier(w, 0).done && frontier(w, 1).done);
	}
	w->start_at = 1;
	driver_open(w, "*.ndjson.*", false, true);
	read_all(w);
	assert_text(w, "0:1:{2}\n0:2:{3}\n1:1:{6}\n0:3:{4}\n");
}

static void
test_large_compressed_in_small_steps(void **state)
{
	struct world *w = *state;
	struct buf b = {0};

	for (int i = 0; i < 60000; i++)
		buf_printf(&b, "{\"number\":%d,\"x\":\"%d\"}\n", i, i * 7919 % 100003);
	zstd_file(w, "a.zst", buf_cstr(&b), "w");
	gzip_file(w, "b.gz", buf_cstr(&b), "w");
	write_file(w, "c", buf_cstr(&b), false);
	driver_open(w, "", false, true);
	read_all(w);
	assert_int_equal(w->slots, 3);
	assert_int_equal(w->taken, 180000);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(frontier(w, i).next, 60000);
	buf_free(&b);
}

static void
test_resume_at_a_position(void **state)
{
	struct world *w = *state;

	write_file(w, "a", "{0}\n{1}\n\n{3}\n{4}\n", false);
	for (w->start_at = 0; w->start_at <= 5; w->start_at++) {
		driver_open(w, "a", true, false);
		read_all(w);
		assert_int_equal(frontier(w, 0).next, 5);
		const char *all = "0:0:{0}\n0:1:{1}\n0:3:{3}\n0:4:{4}\n";
		const char *from[] = {all, all + 8, all + 16, all + 16, all + 24, all + 32};
		assert_text(w, from[w->start_at]);
	}
}

static void
test_bounded_ends_at_the_size_seen(void **state)
{
	struct world *w = *state;

	write_file(w, "a", "{1}\n{2}\n", false);
	for (int follow = 0; follow < 2; follow++) {
		driver_open(w, "a", follow, true);
		w->auto_start = false;
		turn(w, 10);
		struct err e;
		assert_true(source_file.start(w->d, 0, SOURCE_POSITION_NONE, &e));
		write_file(w, "a", "{3}\n", true);
		write_file(w, "a2", "{9}\n", false);
		read_all(w);
		if (!follow)
			assert_text(w, "0:0:{1}\n0:1:{2}\n");
		else
			assert_text(w, "0:0:{1}\n0:1:{2}\n0:2:{3}\n");
		assert_true(frontier(w, 0).finished);
		assert_int_equal(frontier(w, 0).done, !follow); /* a followed one goes on later */
		w->auto_start = true;
	}
}

static void
test_line_too_long(void **state)
{
	struct world *w = *state;
	struct buf b = {0};

	buf_text(&b, "{1}\n");
	for (int i = 0; i < 1000000; i++)
		buf_byte(&b, 'x');
	buf_text(&b, "\n{3}\n");
	write_file(w, "a", buf_cstr(&b), false);
	driver_open(w, "a", true, false);
	read_all(w);
	assert_int_equal(w->taken, 3);
	assert_int_equal(w->reasons, 1);
	assert_text(w, "0:0:{1}\n0:1:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n0:2:{3}\n");
	w->start_at = 2; /* passing over it counts it once */
	driver_open(w, "a", true, false);
	read_all(w);
	assert_text(w, "0:2:{3}\n");
	buf_free(&b);
}

static void
test_more_files_than_may_be_open(void **state)
{
	struct world *w = *state;
	char name[32], line[64];

	w->model.limits.files_open_max = 3;
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "f%02d", i);
		for (int k = 0; k < 20; k++) {
			snprintf(line, sizeof line, "{\"f\":%d,\"k\":%d}\n", i, k);
			write_file(w, name, line, k > 0);
		}
	}
	driver_open(w, "f*", true, false);
	for (int i = 0; i < TURNS_MAX && w->taken < 800; i++)
		turn(w, 7);
	assert_int_equal(w->taken, 800);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "f%02d", i);
		write_file(w, name, "{\"late\":1}\n", true);
	}
	for (int i = 0; i < TURNS_MAX && w->taken < 840; i++)
		turn(w, 7);
	assert_int_equal(w->taken, 840);
}

static void
test_paused_file_is_silent(void **state)
{
	struct world *w = *state;

	write_file(w, "a", "{1}\n{2}\n{3}\n", false);
	write_file(w, "b", "{4}\n", false);
	driver_open(w, "", true, false);
	turn(w, 1);
	source_file.pause(w->d, 0, true);
	for (int i = 0; i < 10; i++)
		turn(w, 10);
	assert_int_equal(w->last[0], -1);
	assert_int_equal(w->last[1], 0);
	source_file.pause(w->d, 0, false);
	read_all(w);
	assert_int_equal(w->last[0], 2);
}

static uint64_t
alarms(const struct world *w)
{
	return w->page->source[0][METRIC_SOURCE_ERRORS];
}

static void
test_cut_file_is_an_alarm(void **state)
{
	struct world *w = *state;
	char path[256];

	write_file(w, "a", "{1}\n{2}\n{3}\n", false);
	driver_open(w, "a", true, false);
	read_all(w);
	path_of(w, "a", path);
	assert_int_equal(truncate(path, 4), 0);
	for (int i = 0; i < 5; i++)
		turn(w, 10);
	assert_int_equal(alarms(w), 1);
	/* Another beginning in the same file: another partition. */
	write_file(w, "a", "{new}\n", false);
	for (int i = 0; i < 10 && w->slots < 2; i++)
		turn(w, 10);
	read_all(w);
	assert_int_equal(w->slots, 2);
	assert_int_equal(w->last[1], 0);
	/* The same between two runs. */
	w->start_at = 5;
	driver_open(w, "a", true, false);
	read_all(w);
	assert_true(alarms(w) >= 2);
	assert_int_equal(w->taken, 0);
}

static void
test_replaced_file(void **state)
{
	struct world *w = *state;
	char from[256], to[256];

	write_file(w, "a", "{1}\n{2}\n", false);
	driver_open(w, "a", true, false);
	read_all(w);
	path_of(w, "new", from);
	path_of(w, "a", to);
	/* It begins alike: the same file, which goes on at its record. */
	write_file(w, "new", "{1}\n{2}\n{3}\n", false);
	assert_int_equal(rename(from, to), 0);
	for (int i = 0; i < 30 && w->last[0] < 2; i++)
		turn(w, 10);
	assert_int_equal(w->last[0], 2);
	assert_int_equal(w->slots, 1);
	/* It begins differently: another partition. */
	write_file(w, "new", "{x}\n", false);
	assert_int_equal(rename(from, to), 0);
	for (int i = 0; i < 30 && w->slots < 2; i++)
		turn(w, 10);
	read_all(w);
	assert_int_equal(w->last[1], 0);
}

/* Lines written between the last look and a rotation, and after it by who has it open, are read. */
static void
test_rotated_file_is_read_to_its_end(void **state)
{
	struct world *w = *state;
	char path[256], old[256];

	write_file(w, "a", "{1}\n", false);
	driver_open(w, "a", true, false);
	read_all(w);
	write_file(w, "a", "{2}\n{3}\n", true);
	path_of(w, "a", path);
	path_of(w, "old", old);
	assert_int_equal(rename(path, old), 0);
	write_file(w, "a", "{x}\n", false);
	for (int i = 0; i < 5; i++)
		turn(w, 10);
	assert_int_equal(w->last[0], 2);
	write_file(w, "old", "{4}\n", true);
	for (int i = 0; i < 60; i++)
		turn(w, 10);
	assert_int_equal(w->last[0], 3);
	assert_int_equal(w->slots, 2);
	assert_int_equal(w->last[1], 0);
	assert_int_equal(alarms(w), 0);
	/* In a run without end it is caught up, so that time passes; only a bounded one is over. */
	assert_true(frontier(w, 0).caught_up && !frontier(w, 0).finished);
	/* One that ends inside a line is told. */
	write_file(w, "a", "{y}\n{z", true);
	assert_int_equal(remove(path), 0);
	for (int i = 0; i < 60; i++)
		turn(w, 10);
	assert_int_equal(w->last[1], 1);
	assert_int_equal(alarms(w), 1);
}

/* It was closed to make room: what was written since cannot be known. */
static void
test_rotated_while_closed_is_an_alarm(void **state)
{
	struct world *w = *state;
	char path[256], old[256];

	w->model.limits.files_open_max = 1;
	write_file(w, "a", "{1}\n", false);
	write_file(w, "b", "{2}\n", false);
	driver_open(w, "?", true, false);
	read_all(w);
	write_file(w, "a", "{3}\n", true);
	path_of(w, "a", path);
	path_of(w, "old", old);
	assert_int_equal(rename(path, old), 0);
	for (int i = 0; i < 40; i++)
		turn(w, 10);
	assert_int_equal(alarms(w), 1);
	/* It comes back as it was. */
	assert_int_equal(rename(old, path), 0);
	for (int i = 0; i < 40 && w->last[0] < 1; i++)
		turn(w, 10);
	assert_int_equal(w->last[0], 1);
	assert_int_equal(w->slots, 2);
	assert_int_equal(alarms(w), 1);
}

/* Emptied in its place and filled beyond its former size (copytruncate). */
static void
test_refilled_file_is_an_alarm(void **state)
{
	struct world *w = *state;

	/* Another first line; the old position is in a line, and at the end of one. */
	for (unsigned closed = 0; closed < 2; closed++) {
		w->model.limits.files_open_max = closed ? 1 : 64;
		write_file(w, "a", "{old1}\n{old2}\n", false);
		write_file(w, "b", "{b}\n", false);
		driver_open(w, "?", true, false);
		read_all(w);
		uint64_t before = alarms(w);
		write_file(w, "a", "{new1}\n{new2}\n{new3}\n", false);
		for (int i = 0; i < 30 && w->slots < 3; i++)
			turn(w, 10);
		read_all(w);
		assert_int_equal(w->slots, 3);
		assert_int_equal(w->last[0], 1);
		assert_int_equal(w->last[2], 2);
		assert_int_equal(alarms(w), before + 1);
	}
	/* The same first line, but no line ends where reading would go on. */
	write_file(w, "c", "{head}\n{1}\n", false);
	driver_open(w, "c", true, false);
	read_all(w);
	uint64_t before = alarms(w);
	write_file(w, "c", "{head}\n{1234567}\n", false);
	for (int i = 0; i < 10; i++)
		turn(w, 10);
	assert_int_equal(w->last[0], 1);
	assert_int_equal(alarms(w), before + 1);
}

static void
test_done_file_that_changed(void **state)
{
	struct world *w = *state;
	struct err e;

	write_file(w, "a", "{1}\n", false);
	w->auto_start = false;
	for (int changed = 0; changed < 2; changed++) {
		driver_open(w, "a", false, true);
		turn(w, 10);
		assert_int_equal(w->slots, 1);
		assert_true(source_file.done(w->d, 0, 1, 4 + changed, &e));
		turn(w, 10);
		assert_int_equal(w->taken, 0);
		assert_int_equal(alarms(w), changed);
	}
}

static void
test_damaged_gzip(void **state)
{
	struct world *w = *state;
	char path[256];
	struct buf b = {0};

	for (int i = 0; i < 20000; i++)
		buf_printf(&b, "{\"n\":%d}\n", i * 7919 % 100003);
	gzip_file(w, "a.gz", buf_cstr(&b), "w");
	path_of(w, "a.gz", path);
	assert_int_equal(truncate(path, 20000), 0);
	driver_open(w, "a.gz", false, true);
	for (int i = 0; i < 60 && !source_file.trouble(w->d); i++)
		turn(w, SOURCE_BATCH_MAX);
	assert_non_null(source_file.trouble(w->d));
	assert_non_null(strstr(source_file.trouble(w->d), "a.gz is damaged"));
	assert_false(frontier(w, 0).finished);
	unsigned before = w->taken;
	gzip_file(w, "a.gz", buf_cstr(&b), "w"); /* mended: it goes on where it was */
	for (int i = 0; i < TURNS_MAX && w->taken < 20000; i++)
		turn(w, SOURCE_BATCH_MAX);
	assert_true(before > 0 && before < 20000);
	assert_int_equal(w->taken, 20000);
	turn(w, 10);
	assert_null(source_file.trouble(w->d));
	/* Followed, a file that ends in the middle is one that is still being written. */
	gzip_file(w, "b.gz", buf_cstr(&b), "w");
	path_of(w, "b.gz", path);
	assert_int_equal(truncate(path, 20000), 0);
	driver_open(w, "b.gz", true, false);
	for (int i = 0; i < 60; i++)
		turn(w, SOURCE_BATCH_MAX);
	assert_null(source_file.trouble(w->d));
	assert_true(w->taken > 0 && w->taken < 20000);
	gzip_file(w, "b.gz", buf_cstr(&b), "w");
	for (int i = 0; i < TURNS_MAX && w->taken < 20000; i++)
		turn(w, SOURCE_BATCH_MAX);
	assert_int_equal(w->taken, 20000);
	buf_free(&b);
}

static void
test_nothing_there(void **state)
{
	struct world *w = *state;
	char path[256];

	/* A file that is named must be there. */
	driver_open(w, "none1.ndjson", false, true);
	turn(w, 10);
	assert_false(w->listed);
	assert_non_null(strstr(source_file.trouble(w->d), "there is no file"));
	write_file(w, "none1.ndjson", "{1}\n", false);
	for (int i = 0; i < 30 && !w->slots; i++)
		turn(w, 10);
	read_all(w);
	assert_null(source_file.trouble(w->d));
	assert_text(w, "0:0:{1}\n");

	/*
	 * A pattern may match nothing: a bounded run has nothing to read, another waits for the
	 * first file.
	 */
	driver_open(w, "what*.ndjson", false, true);
	turn(w, 10);
	assert_true(w->listed);
	assert_null(source_file.trouble(w->d));
	driver_open(w, "what*.ndjson", false, false);
	turn(w, 10);
	write_file(w, "what1.ndjson", "{1}\n", false);
	for (int i = 0; i < 30 && !w->slots; i++)
		turn(w, 10);
	read_all(w);
	assert_text(w, "0:0:{1}\n");

	driver_open(w, "later*.ndjson", true, false);
	turn(w, 10);
	assert_null(source_file.trouble(w->d)); /* a follower waits */
	assert_true(w->listed);

	driver_open(w, "sub/x*.ndjson", true, false);
	turn(w, 10);
	assert_false(w->listed);
	assert_non_null(strstr(source_file.trouble(w->d), "cannot read the directory"));
	assert_non_null(strstr(source_file.trouble(w->d), "as uid"));
	path_of(w, "sub", path);
	assert_int_equal(mkdir(path, 0755), 0);
	write_file(w, "sub/x1.ndjson", "{1}\n", false);
	for (int i = 0; i < 30 && !w->slots; i++)
		turn(w, 10);
	read_all(w);
	assert_null(source_file.trouble(w->d));
}

static void
test_unreadable_file_names_path_and_uid(void **state)
{
	struct world *w = *state;
	char path[256];
	bool root = geteuid() == 0;

	write_file(w, "a", "{1}\n", false);
	path_of(w, "a", path);
	assert_int_equal(chmod(path, 0), 0);
	assert_int_equal(chmod(w->dir, 0755), 0);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	driver_open(w, "a", false, true);
	turn(w, 10);
	assert_non_null(source_file.trouble(w->d));
	assert_non_null(strstr(source_file.trouble(w->d), path));
	assert_non_null(strstr(source_file.trouble(w->d), root ? "as uid 65534" : "as uid"));
	assert_false(w->listed);
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(path, 0644), 0);
	for (int i = 0; i < 30 && !w->slots; i++)
		turn(w, 10);
	read_all(w);
	assert_text(w, "0:0:{1}\n");
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	static const struct CMUnitTest tests[] = {
	    T(test_plain_once),
	    T(test_follow_takes_complete_lines_only),
	    T(test_identity_does_not_change_while_growing),
	    T(test_compressed),
	    T(test_large_compressed_in_small_steps),
	    T(test_resume_at_a_position),
	    T(test_bounded_ends_at_the_size_seen),
	    T(test_line_too_long),
	    T(test_more_files_than_may_be_open),
	    T(test_paused_file_is_silent),
	    T(test_cut_file_is_an_alarm),
	    T(test_replaced_file),
	    T(test_rotated_file_is_read_to_its_end),
	    T(test_rotated_while_closed_is_an_alarm),
	    T(test_refilled_file_is_an_alarm),
	    T(test_done_file_that_changed),
	    T(test_damaged_gzip),
	    T(test_nothing_there),
	    T(test_unreadable_file_names_path_and_uid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
