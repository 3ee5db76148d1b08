/*
 * view: one consistent look at the board and at everyone's metric pages, taken for one request;
 * what the answers of status (JSON, metrics, probes) are rendered from.
 */
#ifndef STATUS_VIEW_H
#define STATUS_VIEW_H

#include "ctl.h"
#include "metric.h"
#include "model.h"
#include "peers.h"

struct view_source; /* where views are taken from: the mapped pages and the board */

struct view_page {
	enum role role;
	unsigned index;
	const struct metric_page *page; /* borrowed from the view_source */
};

struct view {
	const struct model *model;
	const struct board *board; /* pipeline, instance, url: constant */
	struct board_row rows[BOARD_ROWS_MAX];
	unsigned rows_n;
	const struct view_page *pages;
	unsigned pages_n;
	uint32_t generation;
	bool draining;
	int64_t now_wall_us;
	struct mono now;
	bool asks;		   /* other supervisors: what they answered is in peers */
	struct peer_answer *peers; /* the caller frees; view_take leaves them out */
	unsigned peers_n;
};

/*
 * Takes the board's and the pages' descriptors over a mapping of each; they stay the caller's to
 * close.
 */
struct view_fd {
	int fd;
	enum role role;
	unsigned index;
};
MUSTCHECK struct view_source *view_source_open(const struct model *m, int board_fd,
					       const struct view_fd *pages, unsigned n,
					       struct err *e);
void view_source_close(struct view_source *s); /* NULL is fine */

void view_take(const struct view_source *s, struct view *v);

/* Sums over all workers' pages. */
uint64_t view_sum(const struct view *v, enum metric m);
uint64_t view_source_sum(const struct view *v, unsigned source, enum metric_source m);
uint64_t view_source_max(const struct view *v, unsigned source, enum metric_source m);
uint64_t view_table_sum(const struct view *v, unsigned table, enum metric_table m);
uint64_t view_max(const struct view *v, enum metric m);

/*
 * The slowest shard's clock; false: no shard has one yet. *held: index of the source that holds
 * it, or -1.
 */
bool view_clock(const struct view *v, int64_t *clock_us, int *held);

/*
 * What the supervisor has for a turn, which it else makes at least twice a second: beyond it, it
 * counts as hung, and only its end helps. Nothing outside of the process can bring that about.
 */
enum { SUPERVISOR_SILENT_MS_MAX = 15000 };
int64_t view_silent_ms(const struct view *v); /* since its last turn */

/*
 * Why the pipeline does not serve now, one reason after another; false when there is no i-th one.
 */
struct unready {
	const char *dependency;	     /* "warehouse", "source", "peers"; or "worker", "drain" */
	const struct board_row *row; /* NULL: none in particular */
	const char *why;	     /* borrowed from the view */
};
bool view_unready(const struct view *v, unsigned i, struct unready *out);

/* What separates the workers: the weakest of those that are born. */
enum separation view_separation(const struct view *v);
/*
 * The same in a word; "pods" where nothing does on this host, and the supervisor bears only a part
 * of the pool in a namespace of processes of its own: the others' secrets are elsewhere.
 */
const char *view_separation_name(const struct view *v);

/* Over those that answer; two names of one instance count once. */
struct peers_sum {
	unsigned up, ready, draining;
	double oldest_s; /* of all, the largest */
	uint64_t events, committed, backlog, dead;
};
void view_peers_sum(const struct view *v, struct peers_sum *out);

const char *wait_name(enum worker_wait w); /* "nothing", "warehouse", "source", "peers" */

#endif
