/*
 * Metric pages and the board: shared, sealed, read-only where they are only read; and what status makes of them:
 * /metrics (whose names are an interface: tests/golden/metrics/names), /readyz, /status. GOLDEN_UPDATE=1 accepts.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "mem.h"
#include "metric.h"
#include "mono.h"
#include "sandbox.h"
#include "status/render.h"

static const char golden[] = "tests/golden/metrics/names";

/* ---- pages ---- */

static void
page_is_shared(void **state)
{
	struct err e;
	int fd = metric_page_create(ROLE_LOAD, 3, &e);
	struct metric_page *writer = metric_page_map(fd, true, &e);
	struct metric_page *reader = metric_page_map(fd, false, &e);

	(void)state;
	assert_non_null(writer);
	assert_non_null(reader);
	assert_int_equal(reader->role, ROLE_LOAD);
	assert_int_equal(reader->index, 3);
	assert_int_equal(atomic_load(&reader->waits_for_source), -1);
	metric_add(writer, METRIC_BATCHES, 2);
	metric_add(writer, METRIC_BATCHES, 3);
	metric_source_add(writer, SOURCES_MAX - 1, METRIC_SOURCE_COMMITTED, 7);
	metric_table_add(writer, TABLES_MAX - 1, METRIC_TABLE_ROWS, 9);
	assert_int_equal(metric_get(reader, METRIC_BATCHES), 5);
	assert_int_equal(atomic_load(&reader->source[SOURCES_MAX - 1][METRIC_SOURCE_COMMITTED]), 7);
	assert_int_equal(atomic_load(&reader->table[TABLES_MAX - 1][METRIC_TABLE_ROWS]), 9);
	metric_page_unmap(writer);
	/* The page outlives its worker's mapping. */
	assert_int_equal(metric_get(reader, METRIC_BATCHES), 5);
	metric_page_unmap(reader);
	metric_page_unmap(NULL);
	close(fd);
}

static void
page_cannot_shrink(void **state)
{
	struct err e;
	int fd = metric_page_create(ROLE_LOAD, 0, &e);

	(void)state;
	assert_int_not_equal(ftruncate(fd, 1), 0);
	assert_int_not_equal(ftruncate(fd, 1 << 24), 0);
	close(fd);
}

static void
reader_cannot_write(void **state)
{
	struct err e;
	char path[64];
	int fd = metric_page_create(ROLE_LOAD, 0, &e);

	(void)state;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int read_only = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(read_only >= 0);
	assert_null(metric_page_map(read_only, true, &e));
	struct metric_page *page = metric_page_map(read_only, false, &e);
	assert_non_null(page);
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL); /* a sanitizer would report it */
		metric_add(page, METRIC_BATCHES, 1);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	metric_page_unmap(page);
	close(read_only);
	close(fd);
}

static void
strangers_are_no_pages(void **state)
{
	struct err e;
	int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)state;
	assert_null(metric_page_map(fd, false, &e)); /* empty */
	assert_int_equal(ftruncate(fd, sizeof(struct metric_page)), 0);
	assert_null(metric_page_map(fd, false, &e)); /* not sealed: could be cut off */
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_null(metric_page_map(fd, false, &e)); /* no magic */
	assert_null(metric_page_map(-1, false, &e));
	close(fd);
	int board_fd;
	struct board *b = board_create(&board_fd, &e);
	assert_null(metric_page_map(board_fd, false, &e)); /* a board is none */
	board_unmap(b);
	close(board_fd);
}

/* ---- the board ---- */

static void
board_rows_are_whole(void **state)
{
	struct err e;
	int fd;
	struct board *b = board_create(&fd, &e);
	const struct board *reader = board_map(fd, &e);
	struct board_row row = {.role = ROLE_LOAD, .pid = 7}, got;

	(void)state;
	assert_non_null(b);
	assert_non_null(reader);
	board_row_write(b, 5, &row);
	assert_true(board_row_read(reader, 5, &got));
	assert_int_equal(got.pid, 7);
	row.pid = 8;
	board_row_write(b, 5, &row);
	assert_true(board_row_read(reader, 5, &got));
	assert_int_equal(got.pid, 8);
	/* A writer that died half-way: the reader says so and does not wait for ever. */
	atomic_fetch_add(&b->rows[5].seq, 1);
	assert_false(board_row_read(reader, 5, &got));
	board_unmap(b);
	board_unmap(reader);
	close(fd);
}

/* ---- what status makes of them ---- */

struct world {
	struct model model;
	struct source sources[2];
	struct table tables[1];
	struct board *board;
	int board_fd;
	struct metric_page *pages[2];
	int page_fd[2];
	struct view_source *source;
};

static void
row_put(struct world *w, unsigned i, enum role role, bool up)
{
	struct board_row row = {.role = (uint16_t)role,
				.up = up,
				.separation = SEPARATION_UID,
				.ready_since_wall_us = 1};

	snprintf(row.state_name, sizeof row.state_name, "%s", up ? "up" : "born");
	board_row_write(w->board, i, &row);
}

static int
world_open(void **state)
{
	struct world *w = mem_zero(1, sizeof *w);
	struct err e;
	struct view_fd fds[2];
	static const enum role roles[2] = {ROLE_CORRELATE, ROLE_LOAD};

	*state = w;
	w->model = (struct model){
	    .sources = w->sources, .sources_n = 2, .tables = w->tables, .tables_n = 1};
	snprintf(w->sources[0].name.s, NAME_BYTES_MAX, "application");
	snprintf(w->sources[1].name.s, NAME_BYTES_MAX, "offer");
	snprintf(w->tables[0].name.s, NAME_BYTES_MAX, "fact_loan");
	w->board = board_create(&w->board_fd, &e);
	snprintf(w->board->pipeline, sizeof w->board->pipeline, "loans");
	snprintf(w->board->instance, sizeof w->board->instance, "a \"quoted\" one");
	atomic_store(&w->board->generation, 4);
	w->board->started_wall_us = wall_now_us() - 1000000;
	for (unsigned i = 0; i < 2; i++) {
		w->page_fd[i] = metric_page_create(roles[i], 0, &e);
		w->pages[i] = metric_page_map(w->page_fd[i], true, &e);
		fds[i] = (struct view_fd){w->page_fd[i], roles[i], 0};
		row_put(w, i, roles[i], true);
	}
	atomic_store(&w->board->rows_n, 2);
	w->source = view_source_open(&w->model, w->board_fd, fds, 2, &e);
	assert_non_null(w->source);
	return 0;
}

static int
world_close(void **state)
{
	struct world *w = *state;

	view_source_close(w->source);
	board_unmap(w->board);
	close(w->board_fd);
	for (unsigned i = 0; i < 2; i++) {
		metric_page_unmap(w->pages[i]);
		close(w->page_fd[i]);
	}
	free(w);
	return 0;
}

static void
has(const struct buf *text, const char *line)
{
	struct buf copy = {0};

	buf_add(&copy, text->data, text->len);
	if (!strstr(buf_cstr(&copy), line))
		fail_msg("no line \"%s\" in:\n%s", line, buf_cstr(&copy));
	buf_free(&copy);
}

/* "weir_name type", one a line, as they stand in /metrics. */
static void
names_of(const char *text, struct buf *out)
{
	for (const char *at = text; (at = strstr(at, "# TYPE ")); at++)
		buf_printf(out, "%.*s\n", (int)strcspn(at + 7, "\n"), at + 7);
}

static void
names_are_an_interface(void **state)
{
	struct world *w = *state;
	struct buf text = {0}, names = {0};
	char want[16384];
	struct view v;

	struct peer_name name = {.url = "http://weir-lanes:8080"};
	struct peer_answer answer = {.up = true, .address = "10.0.0.3:8080"};
	view_take(w->source, &v);
	w->model.peers = &name;
	w->model.peers_n = v.peers_n = 1;
	v.asks = true;
	v.peers = &answer;
	render_metrics(&v, &text);
	w->model.peers_n = 0;
	has(&text, "\nweir_peer_up{peer=\"http://weir-lanes:8080\",address=\"10.0.0.3:8080\"} 1\n");
	names_of(buf_cstr(&text), &names);
	if (getenv("GOLDEN_UPDATE")) {
		FILE *f = fopen(golden, "we");
		assert_non_null(f);
		fwrite(names.data, 1, names.len, f);
		assert_int_equal(fclose(f), 0);
	}
	FILE *f = fopen(golden, "re");
	assert_non_null(f);
	size_t n = fread(want, 1, sizeof want - 1, f);
	fclose(f);
	want[n] = '\0';
	assert_string_equal(buf_cstr(&names), want);
	buf_free(&text);
	buf_free(&names);
}

static void
docs_name_every_metric(void **state)
{
	static char docs[65536];
	FILE *f = fopen("docs/metrics.md", "re");
	char line[256];

	(void)state;
	assert_non_null(f);
	docs[fread(docs, 1, sizeof docs - 1, f)] = '\0';
	fclose(f);
	f = fopen(golden, "re");
	assert_non_null(f);
	while (fgets(line, sizeof line, f)) {
		char want[sizeof line + 8];
		char *space = strchr(line, ' ');
		assert_non_null(space);
		*space = '\0';
		snprintf(want, sizeof want, "`%s` | %.*s ", line, (int)strcspn(space + 1, "\n"),
			 space + 1);
		if (!strstr(docs, want))
			fail_msg("docs/metrics.md has no row %s", want);
	}
	fclose(f);
}

static void
samples_have_labels_and_units(void **state)
{
	struct world *w = *state;
	struct buf text = {0};
	struct view v;

	metric_set(w->pages[1], METRIC_BATCHES, 12);
	metric_set(w->pages[1], METRIC_COMMIT_SECONDS, 1500000);
	metric_source_set(w->pages[1], 1, METRIC_SOURCE_COMMITTED, 99);
	metric_table_add(w->pages[1], 0, METRIC_TABLE_ROWS, 5);
	view_take(w->source, &v);
	render_metrics(&v, &text);
	has(&text, "\nweir_batches_total{role=\"load\",index=\"0\"} 12\n");
	has(&text, "\nweir_commit_seconds_total{role=\"load\",index=\"0\"} 1.500000\n");
	has(&text, "\nweir_source_events_committed_total{role=\"load\",index=\"0\",source="
		   "\"offer\"} 99\n");
	has(&text, "\nweir_table_rows_total{role=\"load\",index=\"0\",table=\"fact_loan\"} 5\n");
	has(&text, "\nweir_ready 1\n");
	has(&text, "\nweir_generation 4\n");
	buf_free(&text);
}

static bool
ready(struct world *w, json_t **why)
{
	struct buf text = {0};
	struct view v;

	view_take(w->source, &v);
	bool is = render_ready(&v, &text);
	json_t *o = json_loadb((const char *)text.data, text.len, 0, NULL);
	assert_non_null(o);
	assert_int_equal(json_is_true(json_object_get(o, "ready")), is);
	*why = json_incref(json_object_get(o, "unready"));
	json_decref(o);
	buf_free(&text);
	return is;
}

static void
readiness(void **state)
{
	struct world *w = *state;
	struct board_row row;
	json_t *why;

	assert_true(ready(w, &why));
	assert_int_equal(json_array_size(why), 0);
	json_decref(why);

	row_put(w, 0, ROLE_CORRELATE, false);
	assert_true(board_row_read(w->board, 1, &row));
	row.wait = WAIT_WAREHOUSE;
	row.wait_ms = 1500;
	snprintf(row.why, sizeof row.why, "connection refused");
	board_row_write(w->board, 1, &row);
	assert_false(ready(w, &why)); /* both are told, each by name */
	assert_int_equal(json_array_size(why), 2);
	json_t *first = json_array_get(why, 0), *second = json_array_get(why, 1);
	assert_string_equal(json_string_value(json_object_get(first, "dependency")), "worker");
	assert_string_equal(json_string_value(json_object_get(first, "role")), "correlate");
	assert_string_equal(json_string_value(json_object_get(second, "dependency")), "warehouse");
	assert_string_equal(json_string_value(json_object_get(second, "why")),
			    "connection refused");
	json_decref(why);

	row_put(w, 0, ROLE_CORRELATE, true);
	row.wait = WAIT_PEERS; /* the lanes have not taken over: nothing is read yet */
	board_row_write(w->board, 1, &row);
	assert_false(ready(w, &why));
	json_decref(why);
	row_put(w, 1, ROLE_LOAD, true);
	assert_true(ready(w, &why));
	json_decref(why);
	atomic_store(&w->board->draining, 1);
	assert_false(ready(w, &why));
	json_decref(why);
}

static void
a_worker_alone_does_not_hold_readiness(void **state)
{
	struct world *w = *state;
	json_t *why;

	row_put(w, 2, ROLE_TASK, false);
	atomic_store(&w->board->rows_n, 3);
	assert_true(ready(w, &why));
	json_decref(why);
}

static void
status_tells_the_clock(void **state)
{
	struct world *w = *state;
	struct buf text = {0};
	struct view v;

	metric_set(w->pages[0], METRIC_CLOCK_SECONDS, 1317429524546000);
	atomic_store(&w->pages[0]->waits_for_source, 1);
	metric_source_set(w->pages[1], 0, METRIC_SOURCE_DEAD, 3);
	view_take(w->source, &v);
	render_status(&v, &text);
	json_t *o = json_loadb((const char *)text.data, text.len, 0, NULL);
	assert_non_null(o);
	assert_string_equal(json_string_value(json_object_get(o, "clock")),
			    "2011-10-01T00:38:44.546Z");
	assert_string_equal(json_string_value(json_object_get(o, "clock_held_by")), "offer");
	assert_string_equal(json_string_value(json_object_get(o, "separation")), "uid");
	assert_string_equal(json_string_value(json_object_get(o, "instance")), "a \"quoted\" one");
	json_t *source = json_array_get(json_object_get(o, "sources"), 0);
	assert_int_equal(json_integer_value(json_object_get(source, "dead")), 3);
	assert_int_equal(json_array_size(json_object_get(o, "workers")), 2);
	json_decref(o);
	buf_free(&text);
}

int
main(void)
{
#define WITH_WORLD(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(page_is_shared),
	    cmocka_unit_test(page_cannot_shrink),
	    cmocka_unit_test(reader_cannot_write),
	    cmocka_unit_test(strangers_are_no_pages),
	    cmocka_unit_test(board_rows_are_whole),
	    WITH_WORLD(names_are_an_interface),
	    cmocka_unit_test(docs_name_every_metric),
	    WITH_WORLD(samples_have_labels_and_units),
	    WITH_WORLD(readiness),
	    WITH_WORLD(a_worker_alone_does_not_hold_readiness),
	    WITH_WORLD(status_tells_the_clock),
	};

	return cmocka_run_group_tests_name("metric", tests, NULL, NULL);
}
