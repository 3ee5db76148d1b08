/* demo: what happened, for a person. */
#include "demo.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dead.h"
#include "explain.h"

struct demo_number
demo_number(int64_t n)
{
	struct demo_number out;
	char plain[24];
	unsigned at = 0;

	int len = snprintf(plain, sizeof plain, "%lld", (long long)n);
	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0 && plain[i - 1] != '-')
			out.s[at++] = ',';
		out.s[at++] = plain[i];
	}
	out.s[at] = 0;
	return out;
}

bool
demo_seen_read(struct pg *pg, struct demo_seen *out, struct err *e)
{
	struct pg_result *r;

	if (!pg_exec(
		pg,
		"SELECT l.n, l.open, l.complete, l.events,"
		" (SELECT count(*) FROM analytical_schema.fact_work),"
		" (SELECT count(*) FROM analytical_schema.dim_resource WHERE resource_key > 0),"
		" (SELECT count(*) FROM admin_schema.dead_letter)"
		" FROM (SELECT count(*) AS n, count(*) FILTER (WHERE status = 'open') AS open,"
		" count(*) FILTER (WHERE status = 'complete') AS complete,"
		" coalesce(sum(events), 0)::bigint AS events FROM analytical_schema.fact_loan) l",
		&r, e))
		return false;
	*out = (struct demo_seen){.loans = pg_int(r, 0, 0),
				  .open = pg_int(r, 0, 1),
				  .complete = pg_int(r, 0, 2),
				  .events = pg_int(r, 0, 3),
				  .work = pg_int(r, 0, 4),
				  .resources = pg_int(r, 0, 5),
				  .dead = pg_int(r, 0, 6)};
	pg_result_free(r);
	return true;
}

/* ---- the parts ---- */

static void
title(struct buf *out, const char *text)
{
	buf_printf(out, "\n== %s\n\n", text);
}

static void
flow_text(const struct demo_report *r, const struct demo_seen *seen, struct buf *out)
{
	uint64_t written[STREAM_MAX], broken;
	unsigned lanes = r->model->lanes;

	demo_feed_counts(r->feed, written, &broken);
	title(out, "What flowed");
	buf_printf(out,
		   "  application.ndjson %8s ─┐                                        ┌─ "
		   "fact_loan    %8s rows, one a loan\n",
		   demo_number((int64_t)written[STREAM_APPLICATION]).s, demo_number(seen->loans).s);
	buf_printf(out,
		   "  offer.ndjson       %8s ─┼─ ingest ─ %u x (correlate ─ transform ─┼─ "
		   "fact_work    %8s rows, one a work item\n",
		   demo_number((int64_t)written[STREAM_OFFER]).s, lanes, demo_number(seen->work).s);
	buf_printf(out,
		   "  workitem.ndjson    %8s ─┘               ─ load)                 ├─ "
		   "dim_resource %8s members\n",
		   demo_number((int64_t)written[STREAM_WORKITEM]).s,
		   demo_number(seen->resources).s);
	buf_printf(out,
		   "  broken on purpose  %8s                                          └─ dead "
		   "letters %8s\n",
		   demo_number((int64_t)broken).s, demo_number(seen->dead).s);
}

static void
rates_text(const struct demo_report *r, const struct demo_seen *seen, struct buf *out)
{
	double s = r->seconds > 0 ? r->seconds : 1;

	title(out, "How fast");
	buf_printf(
	    out,
	    "  %s events a second for %.0f s became %s loans; the generator is the limit here.\n",
	    demo_number((int64_t)((double)seen->events / s)).s, s, demo_number(seen->loans).s);
	if (r->last_ms >= 0)
		buf_printf(
		    out,
		    "  %lld ms after the last event was appended, every event was in its row.\n",
		    (long long)r->last_ms);
	buf_text(out, "  Rows, state and read positions were committed together: nothing can be "
		      "lost or doubled.\n");
}

static const char outcome_sql[] =
    "SELECT outcome, count(*) AS loans, round(avg(amount_band), 1) AS \"amount band\",\n"
    "       round(avg(offers_sent), 2) AS offers, round(avg(work_items), 1) AS \"work items\",\n"
    "       round(avg(extract(epoch FROM last_event_at - submitted_at)) / 3600, 1) AS hours\n"
    "FROM analytical_schema.fact_loan GROUP BY outcome ORDER BY loans DESC";

static bool
outcome_text(const struct demo_report *r, struct buf *out, struct err *e)
{
	static const char *const heads[] = {"outcome", "loans",	     "amount band",
					    "offers",  "work items", "hours"};
	struct pg_result *rows;

	if (!pg_exec(r->pg, outcome_sql, &rows, e))
		return false;
	struct grid *g = grid_new(heads, 6);
	for (unsigned i = 0; i < pg_rows(rows); i++)
		for (unsigned j = 0; j < 6; j++)
			grid_cell(g, "%s", pg_is_null(rows, i, j) ? "-" : pg_text(rows, i, j));
	title(out, "What came of the loans (fact_loan, by plain SQL)");
	grid_print(g, "  ", out);
	grid_free(g);
	pg_result_free(rows);
	return true;
}

/* A loan that makes one curious: approved, and its offer never came. */
static bool
curious_find(const struct demo_report *r, char *id, size_t n, struct err *e)
{
	struct pg_result *rows;

	if (!pg_exec(r->pg,
		     "SELECT case_id FROM analytical_schema.fact_loan ORDER BY"
		     " (status = 'open' AND outcome = 'approved') DESC, (status = 'open') DESC, "
		     "case_id LIMIT 1",
		     &rows, e))
		return false;
	snprintf(id, n, "%s", pg_rows(rows) ? pg_text(rows, 0, 0) : "");
	pg_result_free(rows);
	return true;
}

static bool
one_text(const struct demo_report *r, char *id, size_t n, struct buf *out, struct err *e)
{
	if (!curious_find(r, id, n, e))
		return false;
	title(out, "One loan (`weir explain`)");
	return !*id || explain_process(r->pg, r->model, id, false, out, e);
}

static bool
dead_text(const struct demo_report *r, struct buf *out, struct err *e)
{
	struct pg_result *rows;

	if (!dead_reasons(r->pg, r->model, NULL, &rows, e))
		return false;
	title(out, "What could not be processed (`weir dead list --reasons`)");
	dead_reasons_table(rows, "  ", out);
	pg_result_free(rows);
	return true;
}

/* A path as one would type it here: below this directory without it. */
static void
path_shown(const char *path, char *out, size_t n)
{
	char whole[PATH_MAX], here[PATH_MAX];

	snprintf(out, n, "%s", path);
	if (!realpath(path, whole) || !getcwd(here, sizeof here))
		return;
	size_t m = strlen(here);
	bool below = !strncmp(whole, here, m) && whole[m] == '/';
	snprintf(out, n, "%s", below ? whole + m + 1 : whole);
}

/* This executable likewise; its name alone where a shell finds it by that. */
static void
self_shown(char *out, size_t n)
{
	char exe[PATH_MAX];
	const char *path = getenv("PATH");
	ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);

	snprintf(out, n, "weir");
	if (len <= 0)
		return;
	exe[len] = 0;
	size_t m = (size_t)(strrchr(exe, '/') - exe);
	for (const char *at = path; at && *at; at += strcspn(at, ":"), at += *at == ':')
		if (strcspn(at, ":") == m && !strncmp(at, exe, m))
			return;
	path_shown(exe, out, n);
}

static void
next_text(const struct demo_report *r, const char *id, struct buf *out)
{
	static const struct {
		const char *verb, *rest;
	} steps[] = {{"keys init", " --member ana"},
		     {"keys policy sign", ""},
		     {"apply", ""},
		     {"up", ""},
		     {"open development_schema.process --pipeline",
		      " --member-key keys/member-ana.key --purpose trial --show"}};
	char weir[PATH_MAX], file[PATH_MAX];

	self_shown(weir, sizeof weir);
	path_shown(r->pipeline_file, file, sizeof file);
	title(out, "What to type next");
	if (r->keep) {
		buf_printf(out, "  export WEIR_DSN='%s'\n", r->dsn);
		buf_printf(out, "  export WEIR_PIPELINE=%s WEIR_DATA=. WEIR_LOGINS=. WEIR_KEYS=.\n",
			   file);
		buf_text(out, "  psql \"$WEIR_DSN\"          # then: \\d analytical_schema.*\n");
		buf_printf(out, "  %s status\n  %s explain %s\n  %s dead list\n", weir, weir,
			   *id ? id : "ID", weir);
		return;
	}
	buf_printf(out,
		   "  %s demo --keep   # the same, but it stays up, for psql and for weir status, "
		   "explain, dead\n",
		   weir);
	buf_text(out, "\n  and with a PostgreSQL of yours:\n"
		      "  export WEIR_DSN=postgresql://owner@localhost/warehouse "
		      "WEIR_DATA=/srv/loans WEIR_LOGINS=$PWD/logins WEIR_KEYS=$PWD/keys\n");
	for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++)
		buf_printf(out, "  %s %s %s%s\n", weir, steps[i].verb, file, steps[i].rest);
	buf_printf(out, "  %s help options      # every key of the pipeline file\n", weir);
}

bool
demo_report_text(const struct demo_report *r, struct buf *out, struct err *e)
{
	struct demo_seen seen;
	char id[64];

	if (!demo_seen_read(r->pg, &seen, e))
		return false;
	flow_text(r, &seen, out);
	rates_text(r, &seen, out);
	if (!outcome_text(r, out, e) || !one_text(r, id, sizeof id, out, e) ||
	    !dead_text(r, out, e))
		return false;
	title(out, "Who sees what of it, each by logging in");
	if (*id && !demo_roles_text(r, id, out, e))
		return false;
	next_text(r, id, out);
	return true;
}

bool
demo_report_json(const struct demo_report *r, struct buf *out, struct err *e)
{
	uint64_t written[STREAM_MAX], broken;
	struct demo_seen seen;
	struct buf views = {0};
	char id[64];

	if (!demo_seen_read(r->pg, &seen, e) || !curious_find(r, id, sizeof id, e) ||
	    !demo_roles_text(r, id, &views, e)) {
		buf_free(&views);
		return false;
	}
	demo_feed_counts(r->feed, written, &broken);
	buf_text(out, "{\"views\":");
	cli_json(out, buf_cstr(&views));
	buf_free(&views);
	buf_text(out, ",\"written\":{");
	for (unsigned i = 0; i < STREAM_MAX; i++)
		buf_printf(out, "%s\"%s\":%llu", i ? "," : "", demo_stream_names[i],
			   (unsigned long long)written[i]);
	buf_printf(out, "},\"broken\":%llu,\"seconds\":%.1f,\"last_visible_ms\":%lld",
		   (unsigned long long)broken, r->seconds, (long long)r->last_ms);
	buf_printf(out,
		   ",\"loans\":%lld,\"open\":%lld,\"complete\":%lld,\"events\":%lld"
		   ",\"work_items\":%lld,\"resources\":%lld,\"dead_letters\":%lld}\n",
		   (long long)seen.loans, (long long)seen.open, (long long)seen.complete,
		   (long long)seen.events, (long long)seen.work, (long long)seen.resources,
		   (long long)seen.dead);
	return true;
}
