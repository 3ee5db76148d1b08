/*
 * demo: the parts of `weir demo`: a private PostgreSQL, a generator of live loan events, and
 * what is shown at the end.
 */
#ifndef CLI_DEMO_H
#define CLI_DEMO_H

#include <signal.h>

#include "program.h"
#include "cli.h"
#include "pg.h"
#include "sink.h"

enum { DEMO_PATH_MAX = 512, DEMO_DSN_MAX = 1024 };

/* ---- demo_server.c ---- */

struct demo_server {
	char bin[DEMO_PATH_MAX]; /* of PostgreSQL's programs */
	char data[DEMO_PATH_MAX], socket[DEMO_PATH_MAX], log[DEMO_PATH_MAX];
	char dsn[DEMO_DSN_MAX]; /* of the owner */
	uid_t uid;		/* whom it runs as, when we are root */
	gid_t gid;
	struct program child;
};

/* A new cluster below dir, started and answering, with a database "warehouse". */
MUSTCHECK bool demo_server_start(struct demo_server *s, const char *dir, struct err *e);
void demo_server_stop(struct demo_server *s);

/* ---- demo_keys.c ---- */

struct demo_keys {
	const char *dir, *pipeline_file, *log;
};

/* `weir keys init` and `policy sign`: the key directory, with a passphrase in DIR/passphrase. */
MUSTCHECK bool demo_keys_make(const struct demo_keys *k, struct err *e);
MUSTCHECK bool demo_self(char *path, size_t n, struct err *e); /* of this executable */
MUSTCHECK bool demo_secret_write(const char *path, const char *text, struct err *e); /* 0600 */

/* ---- demo_feed.c ---- */

enum demo_stream { STREAM_APPLICATION, STREAM_OFFER, STREAM_WORKITEM, STREAM_MAX };

extern const char *const demo_stream_names[STREAM_MAX];

struct demo_feed;

/*
 * Writes to these from now on, and closes them. again: its loans are others than those of any feed
 * before; else every feed tells the same story.
 */
void demo_feed_open(struct demo_feed **out, const struct sink sinks[static STREAM_MAX], bool again);
/* The same, appending to DIR/<stream>.ndjson. *out is to be closed in any case. */
MUSTCHECK bool demo_feed_open_files(struct demo_feed **out, const char *dir, struct err *e);
/*
 * Writes what is due; with last: begins no more loans, and what is not yet due is written, too, but
 * for offers that are held back.
 */
MUSTCHECK bool demo_feed_tick(struct demo_feed *f, bool last, struct err *e);
void demo_feed_counts(const struct demo_feed *f, uint64_t written[static STREAM_MAX],
		      uint64_t *broken);
void demo_feed_close(struct demo_feed *f); /* NULL is fine */

/* ---- demo_sources.c ---- */

/*
 * `weir demo --feed`: the events go to the sources of a pipeline file, for so long (or until
 * *asked), and no more. Returns an exit code.
 */
int demo_sources_feed(struct cli *c, const volatile sig_atomic_t *asked);

/* ---- demo_show.c ---- */

struct demo_seen { /* what the warehouse has */
	int64_t loans, open, complete, events, work, resources, dead;
};

MUSTCHECK bool demo_seen_read(struct pg *pg, struct demo_seen *out, struct err *e);

struct demo_report {
	const struct cli *cli;
	const struct model *model;
	struct pg *pg;
	const struct demo_feed *feed;
	double seconds;	 /* of feeding */
	int64_t last_ms; /* from the last event written to all rows visible; -1: not seen */
	const char *dir, *dsn, *pipeline_file;
	bool keep;
};

/* Number with thousands separated, in a ring of static texts good for one printf. */
struct demo_number {
	char s[28];
};
struct demo_number demo_number(int64_t n);

MUSTCHECK bool demo_report_text(const struct demo_report *r, struct buf *out, struct err *e);
/* ---- demo_roles.c ---- */

/* One loan as each kind of person sees it, each by logging in, and what is refused. */
MUSTCHECK bool demo_roles_text(const struct demo_report *r, const char *id, struct buf *out,
			       struct err *e);

/* ---- demo_show.c ---- */
MUSTCHECK bool demo_report_json(const struct demo_report *r, struct buf *out, struct err *e);

#endif
