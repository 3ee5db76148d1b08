/*
 * metric: counters and gauges of one worker, in a page of shared memory (a memfd made by the
 * supervisor, one per worker slot). The worker alone writes its page; supervisor and status read
 * it. A page outlives its worker's deaths, so counters never fall. Counting and rendering never
 * mix: render is status' own.
 */
#ifndef PROTO_METRIC_H
#define PROTO_METRIC_H

#include <stdatomic.h>
#include <stdint.h>

#include "model.h"
#include "roles.h"

enum metric {
#define METRIC(id, name, type, help) METRIC_##id,
#define METRIC_SOURCE(id, name, type, help)
#define METRIC_TABLE(id, name, type, help)
#include "metric.def"
	METRIC_MAX
#undef METRIC
#undef METRIC_SOURCE
#undef METRIC_TABLE
};

enum metric_source {
#define METRIC(id, name, type, help)
#define METRIC_SOURCE(id, name, type, help) METRIC_##id,
#define METRIC_TABLE(id, name, type, help)
#include "metric.def"
	METRIC_SOURCE_MAX
#undef METRIC
#undef METRIC_SOURCE
#undef METRIC_TABLE
};

enum metric_table {
#define METRIC(id, name, type, help)
#define METRIC_SOURCE(id, name, type, help)
#define METRIC_TABLE(id, name, type, help) METRIC_##id,
#include "metric.def"
	METRIC_TABLE_MAX
#undef METRIC
#undef METRIC_SOURCE
#undef METRIC_TABLE
};

enum { METRIC_PAGE_MAGIC = 0x57504731 }; /* "WPG1" */

struct metric_page {
	uint32_t magic;
	uint16_t role, index;
	_Atomic uint64_t value[METRIC_MAX];
	_Atomic uint64_t source[SOURCES_MAX][METRIC_SOURCE_MAX];
	_Atomic uint64_t table[TABLES_MAX][METRIC_TABLE_MAX];
	_Atomic int64_t waits_for_source; /* correlate: source that holds the clock back, or -1 */
};

/* Relaxed: a reader may see values of slightly different moments. */
static inline void
metric_add(struct metric_page *p, enum metric m, uint64_t n)
{
	atomic_store_explicit(&p->value[m],
			      atomic_load_explicit(&p->value[m], memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline void
metric_set(struct metric_page *p, enum metric m, uint64_t v)
{
	atomic_store_explicit(&p->value[m], v, memory_order_relaxed);
}

static inline uint64_t
metric_get(const struct metric_page *p, enum metric m)
{
	return atomic_load_explicit(&p->value[m], memory_order_relaxed);
}

static inline void
metric_source_add(struct metric_page *p, unsigned source, enum metric_source m, uint64_t n)
{
	_Atomic uint64_t *v = &p->source[source][m];

	atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline void
metric_source_set(struct metric_page *p, unsigned source, enum metric_source m, uint64_t n)
{
	atomic_store_explicit(&p->source[source][m], n, memory_order_relaxed);
}

static inline void
metric_table_add(struct metric_page *p, unsigned table, enum metric_table m, uint64_t n)
{
	_Atomic uint64_t *v = &p->table[table][m];

	atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/*
 * Maps a page; writable for its worker, else read-only. NULL and *e when fd is not such a page. fd
 * stays the caller's and is not needed afterwards; free with metric_page_unmap.
 */
MUSTCHECK struct metric_page *metric_page_map(int fd, bool writable, struct err *e);
void metric_page_unmap(struct metric_page *p); /* NULL is fine */

/* Supervisor: a new page as a memfd, -1 and *e on failure. */
int metric_page_create(enum role role, unsigned index, struct err *e);

/*
 * The board: what the supervisor knows of its workers, for status and for its own result line.
 * Written by the supervisor alone, a memfd like a page. Each row is written under its seq (odd
 * while writing).
 */
enum { BOARD_MAGIC = 0x57424431, /* "WBD1" */ BOARD_ROWS_MAX = 64, BOARD_DEATHS_MAX = 8 };

struct board_row {
	_Atomic uint32_t seq;
	uint16_t role, index;
	int32_t pid;
	uint8_t state; /* enum child_state of the supervisor, as text in state_name */
	char state_name[16];
	int64_t up_since_wall_us, ready_since_wall_us; /* 0: not */
	uint16_t wait;				       /* enum worker_wait */
	int64_t wait_ms;
	char why[256];
	uint8_t up; /* 1: lives, and has done its first turn after GO */
	uint8_t separation, seccomp, landlock;
	uint64_t births;
	struct {
		int64_t at_wall_us;
		int32_t code, signal; /* one of them is 0 */
	} deaths[BOARD_DEATHS_MAX];   /* newest last */
	uint32_t deaths_n;
};

struct board {
	uint32_t magic;
	char pipeline[NAME_BYTES_MAX + 1];
	char instance[64];
	char url[64]; /* of status: http://127.0.0.1:8080/ */
	_Atomic uint32_t generation;
	_Atomic uint32_t draining; /* 1 from SIGTERM on */
	int64_t started_wall_us;
	uint32_t roles; /* 1 << ROLE_*: those it bears */
	uint8_t whole;	/* 1: all that the pipeline has */
	uint8_t apart;	/* 1: process 1 of a namespace of its own, that it shares with no other */
	_Atomic int64_t beat_us; /* struct mono of the supervisor's last turn */
	_Atomic uint32_t rows_n;
	struct board_row rows[BOARD_ROWS_MAX];
};

/*
 * Supervisor: a new board, mapped, with its memfd in *fd; NULL and *e on failure. Free:
 * board_unmap.
 */
MUSTCHECK struct board *board_create(int *fd, struct err *e);
/* Status: read-only. NULL and *e when fd is not a board. Free: board_unmap. */
MUSTCHECK const struct board *board_map(int fd, struct err *e);
void board_unmap(const struct board *b); /* NULL is fine */

void board_row_write(struct board *b, unsigned i,
		     const struct board_row *row); /* seq: the board's own */
/* False when the writer never stood still (it died while writing). */
MUSTCHECK bool board_row_read(const struct board *b, unsigned i, struct board_row *out);

#endif
