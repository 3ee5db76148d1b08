/* status: what the running supervisor says of itself, and what the database knows. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

#include "fetch.h"
#include "owner.h"
#include "rundir.h"
#include "status_text.h"

const struct option_row options_status[] = {
    {"pipeline", 'p', OPTION_VALUE, "FILE", "the pipeline file"},
    {"url", 0, OPTION_VALUE, "URL", "status address of the supervisor, as `weir up` prints it"},
    {"no-database", 0, OPTION_FLAG, NULL, "ask the supervisor only"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

struct picture {
	const struct model *model; /* NULL: only a URL was given */
	char url[512];		   /* "": no supervisor was found */
	bool answered, ready;
	bool beats;	 /* it wrote its heartbeat just now */
	struct buf live; /* JSON of /status */
	bool database;
	int refusal;	    /* exit code when the database could not be asked; else 0 */
	struct err unasked; /* why there is no connection to it; code 0: there was one */
	struct owner_pipeline at;
	struct pg_result *instance, *sources, *lanes;
};

/* ---- the supervisor ---- */

/*
 * Another warehouse may have a pipeline of the same name: the database knows who holds this one.
 * Where it cannot be asked, the name is all there is.
 */
static bool
note_ours(const struct picture *x, const struct rundir_note *n)
{
	/* With an exchange many hold it; those that only read sources are not in the database. */
	if (!x->database || model_exchange(x->model))
		return true;
	return x->beats && !strcmp(n->instance, pg_text(x->instance, 0, 0));
}

/* --url, else a supervisor of this machine, else the address that the pipeline file fixes. */
static void
url_find(const struct cli *c, struct picture *x)
{
	struct rundir_note notes[RUNDIR_FOUND_MAX];
	const char *given = args_value(&c->args, "url");

	if (given) {
		snprintf(x->url, sizeof x->url, "%s", given);
		return;
	}
	unsigned n = rundir_find(notes, RUNDIR_FOUND_MAX);
	for (unsigned i = 0; i < n && !*x->url; i++) {
		if (strcmp(notes[i].pipeline, x->model->pipeline.s) != 0)
			continue;
		if (note_ours(x, &notes[i]))
			snprintf(x->url, sizeof x->url, "%s", notes[i].url);
		else
			cli_say("a supervisor of a pipeline of this name runs here (--url %s), but "
				"it does not "
				"hold the pipeline in this database",
				notes[i].url);
	}
	const char *listen = x->model->listen;
	const char *port = listen ? strrchr(listen, ':') : NULL;
	if (!*x->url && port && strcmp(port, ":0"))
		snprintf(x->url, sizeof x->url, "http://%s/", listen);
}

static void
live_read(struct picture *x, bool must)
{
	struct buf ignored = {0};
	struct err e;
	int status;

	if (!*x->url)
		return;
	x->answered = fetch(x->url, "/status", &status, &x->live, &e) && status == 200;
	if (x->answered)
		x->ready = fetch(x->url, "/readyz", &status, &ignored, &e) && status == 200;
	else if (must)
		cli_say("weir status: %s", e.text);
	buf_free(&ignored);
}

/* ---- the database ---- */

#define HOLDERS                                                                                    \
	"SELECT instance, mode, to_char(started_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"            \
	" round(extract(epoch FROM clock_timestamp() - heartbeat)::numeric, 1)::text,"             \
	" heartbeat = to_timestamp(0), clock_timestamp() - heartbeat < interval '5 s'"

/* One, or with an exchange all that share the pipeline, who was heard last before others. */
static const char holder_sql[] =
    HOLDERS " FROM admin_schema.instance WHERE pipeline = $1::int AND build = $2::smallint";
static const char replicas_sql[] =
    HOLDERS " FROM admin_schema.replica WHERE pipeline = $1::int AND build = $2::smallint"
	    " ORDER BY heartbeat < clock_timestamp() - interval '5 s', instance";

static bool
database_queries(struct picture *x, struct pg *pg, struct err *e)
{
	char id[24], build[16];
	const char *const params[] = {id, build, NULL};

	snprintf(id, sizeof id, "%lld", (long long)x->at.id);
	snprintf(build, sizeof build, "%d", x->at.build);
	return owner_query(pg, model_exchange(x->model) ? replicas_sql : holder_sql, params,
			   &x->instance, e) &&
	       owner_query(
		   pg,
		   "SELECT s.name, count(p.id)::text, count(p.done_at)::text,"
		   " (SELECT count(*) FROM admin_schema.dead_letter d WHERE d.pipeline = s.pipeline"
		   "  AND d.build = $2::smallint AND d.source = s.id)::text"
		   " FROM admin_schema.source s LEFT JOIN admin_schema.partition p"
		   "  ON p.pipeline = s.pipeline AND p.source = s.id"
		   " WHERE s.pipeline = $1::int GROUP BY s.pipeline, s.id, s.name ORDER BY s.id",
		   params, &x->sources, e) &&
	       owner_query(
		   pg,
		   "SELECT s.lane::text, s.epoch::text, s.batch::text,"
		   " (SELECT coalesce(sum(r.kg_hi - r.kg_lo + 1), 0) FROM admin_schema.key_range r"
		   "  WHERE r.pipeline = s.pipeline AND r.build = s.build AND r.epoch = "
		   "s.epoch)::text"
		   " FROM admin_schema.shard s WHERE s.pipeline = $1::int AND s.build = "
		   "$2::smallint"
		   " AND NOT s.closed ORDER BY s.lane",
		   params, &x->lanes, e);
}

/* A database that is down is news, not a failure: the supervisor may still answer. */
static void
database_read(struct picture *x)
{
	struct pg *pg;
	struct err e;

	if (!owner_open(x->model, &pg, &x->unasked)) {
		x->refusal = x->unasked.code;
		return;
	}
	x->database = owner_pipeline(pg, x->model, &x->at, &e) && database_queries(x, pg, &e);
	if (!x->database) {
		cli_say("weir status: %s", e.text);
		x->refusal = e.code == EXIT_NOTHING ? EXIT_DONE : e.code;
	} else {
		x->beats = pg_rows(x->instance) && *pg_text(x->instance, 0, 5) == 't';
	}
	pg_close(pg);
}

/* Where the owner's DSN is not, as in a pod, but the supervisor answers, nothing is to mend. */
static void
unasked_tell(const struct cli *c, const struct picture *x)
{
	struct cli quiet = *c;

	quiet.json = false;
	if (!x->unasked.code)
		return;
	if (x->answered && x->unasked.code == EXIT_CONFIG)
		cli_say("weir status: the database was not asked: %s", x->unasked.text);
	else
		(void)owner_fail(&quiet, x->model, &x->unasked);
}

/* ---- showing ---- */

static void
holder_text(const struct picture *x, unsigned i, struct buf *out)
{
	if (*pg_text(x->instance, i, 4) == 't')
		buf_printf(out, "last held by %s (%s), which ended in order\n",
			   pg_text(x->instance, i, 0), pg_text(x->instance, i, 1));
	else
		buf_printf(out, "held by %s (%s since %s), heartbeat %s s ago\n",
			   pg_text(x->instance, i, 0), pg_text(x->instance, i, 1),
			   pg_text(x->instance, i, 2), pg_text(x->instance, i, 3));
}

static void
database_text(const struct picture *x, struct buf *out)
{
	static const char *const source_heads[] = {"source", "partitions", "read to the end",
						   "dead letters"};
	static const char *const lane_heads[] = {"lane", "epoch", "batch", "key groups"};
	struct grid *g;

	for (unsigned i = 0; i < pg_rows(x->instance); i++)
		holder_text(x, i, out);
	if (!pg_rows(x->instance))
		buf_text(out, model_exchange(x->model) ? "no lanes run\n" : "never started\n");
	g = grid_new(source_heads, 4);
	for (unsigned i = 0; i < pg_rows(x->sources); i++)
		for (unsigned j = 0; j < 4; j++)
			grid_cell(g, "%s", pg_text(x->sources, i, j));
	buf_byte(out, '\n');
	grid_print(g, "  ", out);
	grid_free(g);
	g = grid_new(lane_heads, 4);
	for (unsigned i = 0; i < pg_rows(x->lanes); i++)
		for (unsigned j = 0; j < 4; j++)
			grid_cell(g, "%s", pg_text(x->lanes, i, j));
	buf_byte(out, '\n');
	grid_print(g, "  ", out);
	grid_free(g);
}

static void
rows_json(const struct pg_result *r, const char *const *names, unsigned n, struct buf *out)
{
	buf_byte(out, '[');
	for (unsigned i = 0; i < pg_rows(r); i++) {
		for (unsigned j = 0; j < n; j++) {
			buf_printf(out, "%s\"%s\":", j ? "," : i ? ",{" : "{", names[j]);
			if (j) /* all but the first are numbers */
				buf_text(out, pg_text(r, i, j));
			else
				cli_json(out, pg_text(r, i, j));
		}
		buf_byte(out, '}');
	}
	buf_byte(out, ']');
}

static void
holder_json(const struct picture *x, unsigned i, struct buf *out)
{
	bool released = *pg_text(x->instance, i, 4) == 't';

	buf_text(out, "{\"name\":");
	cli_json(out, pg_text(x->instance, i, 0));
	buf_printf(out,
		   ",\"mode\":\"%s\",\"started_at\":\"%s\",\"heartbeat_age_seconds\":%s,"
		   "\"released\":%s}",
		   pg_text(x->instance, i, 1), pg_text(x->instance, i, 2),
		   released ? "null" : pg_text(x->instance, i, 3), released ? "true" : "false");
}

static void
picture_json(const struct picture *x, struct buf *out)
{
	static const char *const source_names[] = {"source", "partitions", "done", "dead_letters"};
	static const char *const lane_names[] = {"lane", "epoch", "batch", "key_groups"};

	buf_printf(out, "{\"running\":%s,\"ready\":%s,\"url\":",
		   x->answered || x->beats ? "true" : "false", x->ready ? "true" : "false");
	if (*x->url)
		cli_json(out, x->url);
	else
		buf_text(out, "null");
	buf_text(out, ",\"status\":");
	if (x->answered)
		buf_add(out, x->live.data, x->live.len);
	else
		buf_text(out, "null");
	buf_text(out, ",\"database\":");
	if (!x->database) {
		buf_text(out, "null}\n");
		return;
	}
	buf_text(out, "{\"instance\":");
	if (pg_rows(x->instance))
		holder_json(x, 0, out);
	else
		buf_text(out, "null");
	if (model_exchange(x->model)) {
		buf_text(out, ",\"replicas\":[");
		for (unsigned i = 0; i < pg_rows(x->instance); i++) {
			buf_text(out, i ? "," : "");
			holder_json(x, i, out);
		}
		buf_byte(out, ']');
	}
	buf_text(out, ",\"sources\":");
	rows_json(x->sources, source_names, 4, out);
	buf_text(out, ",\"lanes\":");
	rows_json(x->lanes, lane_names, 4, out);
	buf_text(out, "}}\n");
}

static int
outcome_tell(const struct picture *x)
{
	if (x->answered)
		return x->ready ? EXIT_DONE : EXIT_TRY_LATER;
	if (!x->model) {
		cli_say("nobody answers there. Next: is the address right, may this host reach it, "
			"and does the supervisor's log say \"status on\"?");
		return EXIT_UNAVAILABLE;
	}
	if (x->beats) {
		cli_say("it runs, but its status address is not known here. Next: weir status "
			"--url URL, with "
			"the address from its log");
		return EXIT_DONE;
	}
	if (x->refusal) {
		cli_say("no supervisor of it answers here, and the database, which would know of "
			"another, could not be asked");
		return x->refusal;
	}
	cli_say("not running%s%s. Next: `weir up`", *x->url ? ": nobody answers at " : "", x->url);
	return EXIT_NOTHING;
}

static int
picture_show(const struct cli *c, const struct picture *x)
{
	struct buf out = {0};
	struct err e;

	if (c->json) {
		picture_json(x, &out);
	} else {
		if (x->answered && !status_text((const char *)x->live.data, x->live.len, &out, &e))
			cli_say("weir status: %s", e.text);
		if (x->database)
			database_text(x, &out);
	}
	return cli_finish(c, &out, outcome_tell(x));
}

int
status_run(struct cli *c)
{
	struct picture x = {0};
	struct model *m = NULL;
	bool named = args_value(&c->args, "pipeline") || c->args.operands_n > 0;
	bool asked = args_value(&c->args, "url") != NULL;
	/* With a URL there need be no pipeline file at hand: then there is no database to ask. */
	bool alone = args_flag(&c->args, "no-database") || (asked && !named);
	int code;

	if (!(alone && asked) && !cli_model(c, cli_pipeline(c, 0), &m, &code))
		return code;
	x.model = m;
	if (!alone)
		database_read(&x);
	url_find(c, &x);
	live_read(&x, args_value(&c->args, "url") != NULL);
	unasked_tell(c, &x);
	code = picture_show(c, &x);
	pg_result_free(x.instance);
	pg_result_free(x.sources);
	pg_result_free(x.lanes);
	buf_free(&x.live);
	if (m)
		model_free(m);
	return code;
}
