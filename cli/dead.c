/* dead list, dead show: what could not be processed. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dead.h"
#include "open.h"
#include "owner.h"

enum { DEAD_LIMIT_DEFAULT = 100, DEAD_LIMIT_MAX = 1000000 };

const struct option_row options_dead[] = {
    OPENER_OPTIONS,
    {"all", 0, OPTION_FLAG, NULL, "replay: every dead letter whose event was kept"},
    {"limit", 'n', OPTION_VALUE, "N", "list: at most so many (default 100)"},
    {"source", 0, OPTION_VALUE, "NAME", "list: only of this source"},
    {"reasons", 0, OPTION_FLAG, NULL, "list: count by source, stage and reason"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

#define DEAD_FROM                                                                                  \
	" FROM admin_schema.dead_letter d"                                                         \
	" LEFT JOIN admin_schema.source s ON s.pipeline = d.pipeline AND s.id = d.source"          \
	" LEFT JOIN admin_schema.partition p ON p.pipeline = d.pipeline AND p.id = d.partition"    \
	" WHERE d.pipeline = $1::int AND d.build = $2::smallint"

#define DEAD_COLUMNS                                                                               \
	"SELECT replace(d.rid::text, '-', '') AS rid, s.name AS source, p.label AS partition,"     \
	" d.position::text AS position, d.stage, d.reason,"                                        \
	" to_char(d.at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at, encode(d.digest, 'hex') AS "      \
	"digest, octet_length(d.body)::text AS sealed"

enum {
	DEAD_RID,
	DEAD_SOURCE,
	DEAD_PARTITION,
	DEAD_POSITION,
	DEAD_STAGE,
	DEAD_REASON,
	DEAD_AT,
	DEAD_DIGEST,
	DEAD_SEALED, /* bytes of the sealed event; null: it was not kept */
	DEAD_COLUMN_MAX
};

static const char *const dead_names[DEAD_COLUMN_MAX] = {
    "rid", "source", "partition", "position", "stage", "reason", "at", "digest", "sealed"};

static const char *
cell(const struct pg_result *r, unsigned row, unsigned column)
{
	return pg_is_null(r, row, column) ? "-" : pg_text(r, row, column);
}

/* A file's label is its path and a digest of its head; people know it by the path. */
static int
label_shown(const char *label)
{
	return (int)strcspn(label, "#");
}

static void
dead_json(const struct pg_result *r, unsigned row, struct buf *out)
{
	for (unsigned i = 0; i < DEAD_COLUMN_MAX; i++) {
		buf_printf(out, "%s\"%s\":", i ? "," : "{", dead_names[i]);
		if (pg_is_null(r, row, i))
			buf_text(out, "null");
		else if (i == DEAD_POSITION || i == DEAD_SEALED)
			buf_text(out, pg_text(r, row, i));
		else
			cli_json(out, pg_text(r, row, i));
	}
	buf_byte(out, '}');
}

void
dead_table(const struct pg_result *r, const char *indent, struct buf *out)
{
	static const char *const heads[] = {"rid",	"at",	 "source", "partition",
					    "position", "stage", "reason"};
	struct grid *g = grid_new(heads, 7);

	for (unsigned i = 0; i < pg_rows(r); i++) {
		const char *label = cell(r, i, DEAD_PARTITION);
		const char *slash = memrchr(label, '/', (size_t)label_shown(label));
		bool file = slash && label == strchr(label, '/');
		label = file ? slash + 1 : label;
		grid_cell(g, "%.8s", pg_text(r, i, DEAD_RID));
		grid_cell(g, "%s", cell(r, i, DEAD_AT));
		grid_cell(g, "%s", cell(r, i, DEAD_SOURCE));
		grid_cell(g, "%.*s", label_shown(label), label);
		grid_cell(g, "%s", cell(r, i, DEAD_POSITION));
		grid_cell(g, "%s", cell(r, i, DEAD_STAGE));
		grid_cell(g, "%s", cell(r, i, DEAD_REASON));
	}
	grid_print(g, indent, out);
	grid_free(g);
}

struct dead_place { /* parameters of every query */
	char pipeline[24], build[16];
};

static bool
place_find(struct pg *pg, const struct model *m, struct dead_place *at, struct err *e)
{
	struct owner_pipeline row;

	if (!owner_pipeline(pg, m, &row, e))
		return false;
	snprintf(at->pipeline, sizeof at->pipeline, "%lld", (long long)row.id);
	snprintf(at->build, sizeof at->build, "%d", row.build);
	return true;
}

bool
dead_query(struct pg *pg, const struct model *m, const char *source, const char *limit,
	   struct pg_result **out, struct err *e)
{
	struct dead_place at;

	if (!place_find(pg, m, &at, e))
		return false;
	const char *const params[] = {at.pipeline, at.build, limit, source ? source : "", NULL};
	return owner_query(pg,
			   DEAD_COLUMNS DEAD_FROM " AND ($4 = '' OR s.name = $4)"
						  " ORDER BY d.at DESC, d.rid LIMIT $3::bigint",
			   params, out, e);
}

bool
dead_reasons(struct pg *pg, const struct model *m, const char *source, struct pg_result **out,
	     struct err *e)
{
	struct dead_place at;

	if (!place_find(pg, m, &at, e))
		return false;
	const char *const params[] = {at.pipeline, at.build, source ? source : "", NULL};
	return owner_query(pg,
			   "SELECT count(*)::text, s.name, d.stage, d.reason" DEAD_FROM
			   " AND ($3 = '' OR s.name = $3)"
			   " GROUP BY s.name, d.stage, d.reason ORDER BY count(*) DESC, 2, 3, 4",
			   params, out, e);
}

void
dead_reasons_table(const struct pg_result *r, const char *indent, struct buf *out)
{
	static const char *const heads[] = {"count", "source", "stage", "reason"};
	struct grid *g = grid_new(heads, 4);

	for (unsigned i = 0; i < pg_rows(r); i++)
		for (unsigned j = 0; j < 4; j++)
			grid_cell(g, "%s", cell(r, i, j));
	grid_print(g, indent, out);
	grid_free(g);
}

static void
reasons_json(const struct pg_result *r, struct buf *out)
{
	static const char *const names[] = {"source", "stage", "reason"};

	buf_byte(out, '[');
	for (unsigned i = 0; i < pg_rows(r); i++) {
		buf_printf(out, "%s{\"count\":%s", i ? "," : "", pg_text(r, i, 0));
		for (unsigned j = 0; j < 3; j++) {
			buf_printf(out, ",\"%s\":", names[j]);
			if (pg_is_null(r, i, j + 1))
				buf_text(out, "null");
			else
				cli_json(out, pg_text(r, i, j + 1));
		}
		buf_byte(out, '}');
	}
	buf_text(out, "]\n");
}

static bool
limit_check(const char *limit, struct err *e)
{
	char *end;
	long n = strtol(limit, &end, 10);

	if (end == limit || *end || n < 1 || n > DEAD_LIMIT_MAX)
		return err_set(e, EXIT_USAGE, "--limit \"%.40s\" is no number from 1 to %d", limit,
			       DEAD_LIMIT_MAX);
	return true;
}

/* Of the file, or of the warehouse: a source that left the file has its dead letters still. */
static bool
source_check(struct pg *pg, const struct model *m, const char *source, struct err *e)
{
	struct dead_place at;
	struct pg_result *r;

	if (!source)
		return true;
	for (unsigned i = 0; i < m->sources_n; i++)
		if (!strcmp(m->sources[i].name.s, source))
			return true;
	if (!place_find(pg, m, &at, e))
		return false;
	const char *const params[] = {at.pipeline, source, NULL};
	if (!owner_query(pg,
			 "SELECT coalesce(bool_or(name = $2), false),"
			 " string_agg(DISTINCT name, ', ' ORDER BY name)"
			 " FROM admin_schema.source WHERE pipeline = $1::int",
			 params, &r, e))
		return false;
	bool good =
	    *pg_text(r, 0, 0) == 't' || err_set(e, EXIT_USAGE,
						"--source \"%.80s\" is no source of pipeline %s; "
						"its sources are %.400s",
						source, m->pipeline.s, cell(r, 0, 1));
	pg_result_free(r);
	return good;
}

static bool
list(const struct cli *c, const struct model *m, struct pg *pg, struct buf *out, unsigned *n,
     struct err *e)
{
	char limit[16];
	struct pg_result *r;
	const char *given = args_value(&c->args, "limit");
	const char *source = args_value(&c->args, "source");

	snprintf(limit, sizeof limit, "%d", DEAD_LIMIT_DEFAULT);
	if ((given && !limit_check(given, e)) || !source_check(pg, m, source, e))
		return false;
	bool reasons = args_flag(&c->args, "reasons");
	if (reasons ? !dead_reasons(pg, m, source, &r, e)
		    : !dead_query(pg, m, source, given ? given : limit, &r, e))
		return false;
	*n = pg_rows(r);
	if (c->json && reasons) {
		reasons_json(r, out);
	} else if (c->json) {
		buf_byte(out, '[');
		for (unsigned i = 0; i < *n; i++) {
			buf_text(out, i ? "," : "");
			dead_json(r, i, out);
		}
		buf_text(out, "]\n");
	} else if (*n && reasons) {
		dead_reasons_table(r, "", out);
	} else if (*n) {
		dead_table(r, "", out);
	}
	pg_result_free(r);
	return true;
}

static void
show_text(const struct pg_result *r, struct buf *out)
{
	for (unsigned i = 0; i < DEAD_COLUMN_MAX; i++)
		buf_printf(out, "%-10s %s\n", dead_names[i], cell(r, 0, i));
	if (pg_is_null(r, 0, DEAD_SEALED))
		buf_text(
		    out,
		    "\nThe event itself is not stored: bytes of events are kept only sealed, by a "
		    "pipeline that\nseals, from the stage ingest, up to 1 MiB. What other stages "
		    "refused is in raw_<source> where\n`raw: warehouse` keeps it. To see the "
		    "event, read the source at this position.");
	else
		buf_text(out,
			 "\nThe event is kept, sealed to the class dead_letter. `weir dead open "
			 "RID` opens it, `weir dead\nreplay RID` sends it through the pipeline "
			 "again; both leave an audit row.");
	buf_text(out,
		 " Positions count from 0:\nof a file it is the record's number, so that line = "
		 "position + 1; of a Kafka partition,\nthe offset.\n");
}

static bool
show(const struct cli *c, const struct model *m, struct pg *pg, struct buf *out, unsigned *n,
     struct err *e)
{
	char prefix[DEAD_RID_DIGITS + 1];
	struct dead_place at;
	struct pg_result *r;

	if (!dead_rid_prefix(c->args.operands[1], prefix, e) || !place_find(pg, m, &at, e))
		return false;
	const char *const params[] = {at.pipeline, at.build, prefix, NULL};
	if (!owner_query(pg,
			 DEAD_COLUMNS DEAD_FROM " AND replace(d.rid::text, '-', '') LIKE $3 || '%'"
						" LIMIT 2",
			 params, &r, e))
		return false;
	*n = pg_rows(r);
	bool good =
	    *n <= 1 ||
	    err_set(e, EXIT_USAGE, "several dead letters begin with %s; give more digits", prefix);
	if (good && *n && c->json) {
		dead_json(r, 0, out);
		buf_byte(out, '\n');
	} else if (good && *n) {
		show_text(r, out);
	}
	pg_result_free(r);
	return good;
}

static const struct dead_verb {
	const char *name;
	int (*run)(struct cli *c);     /* NULL: list and show, here */
	unsigned names_min, names_max; /* operands after the word and before the pipeline file */
} dead_verbs[] = {
    {"list", NULL, 0, 0},
    {"show", NULL, 1, 1},
    {"open", dead_open, 1, 1},
    {"replay", dead_replay, 0, 1},
};

static const struct dead_verb *
sub_verb(const struct cli *c, struct err *e)
{
	const char *word = c->args.operands[0], *near = "list";
	unsigned n = c->args.operands_n;

	for (unsigned i = 0; i < sizeof dead_verbs / sizeof *dead_verbs; i++) {
		const struct dead_verb *v = &dead_verbs[i];
		if (near_enough(word, v->name, near_distance(word, v->name)))
			near = v->name;
		if (strcmp(word, v->name) != 0)
			continue;
		if (n < 1 + v->names_min)
			err_set(e, EXIT_USAGE, "which one? Its RID is missing");
		else if (n > 2 + v->names_max)
			err_set(e, EXIT_USAGE, "\"%.80s\" is one operand too many",
				c->args.operands[2 + v->names_max]);
		else
			return v;
		return NULL;
	}
	err_set(e, EXIT_USAGE, "\"dead %.40s\" is unknown; did you mean \"dead %s\"?", word, near);
	return NULL;
}

int
dead_run(struct cli *c)
{
	struct buf out = {0};
	struct model *m;
	struct pg *pg;
	struct err e;
	unsigned n = 0;
	int code;

	const struct dead_verb *v = sub_verb(c, &e);
	if (!v)
		return cli_fail(c, &e,
				"weir dead list [PIPELINE], or weir dead show RID [PIPELINE]");
	if (v->run)
		return v->run(c);
	bool showing = v->names_min > 0;
	if (!cli_model(c, cli_pipeline(c, 1 + v->names_max), &m, &code))
		return code;
	if (owner_connect(c, m, &pg, &code)) {
		if (showing ? !show(c, m, pg, &out, &n, &e) : !list(c, m, pg, &out, &n, &e)) {
			code = cli_fail(c, &e, "`weir dead list` shows what there is");
		} else {
			if (!n)
				cli_say(showing ? "no dead letter has that RID"
						: "no dead letters");
			code = n ? EXIT_DONE : EXIT_NOTHING;
		}
		code = cli_finish(c, &out, code);
		pg_close(pg);
	}
	model_free(m);
	return code;
}
