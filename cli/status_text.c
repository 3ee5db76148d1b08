/* status_text: jansson.h is included here alone among the verbs. */
#include "status_text.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "roles.h"

/* A scalar member as text, "-" when it is not there. */
static const char *
text_of(const json_t *o, const char *name, char *room, size_t n)
{
	const json_t *v = json_object_get(o, name);

	if (json_is_string(v))
		snprintf(room, n, "%s", json_string_value(v));
	else if (json_is_integer(v))
		snprintf(room, n, "%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		snprintf(room, n, "%.1f", json_real_value(v));
	else if (json_is_boolean(v))
		snprintf(room, n, "%s", json_is_true(v) ? "yes" : "no");
	else
		snprintf(room, n, "-");
	/* Whoever answers at a URL decides what stands here: a terminal stays sane. */
	for (char *p = room; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	return *room ? room : "-";
}

static void
list_grid(const json_t *root, const char *list, const char *const *names, const char *const *heads,
	  unsigned n, struct buf *out)
{
	const json_t *items = json_object_get(root, list), *item;
	struct grid *g = grid_new(heads, n);
	char room[256];
	size_t i;

	json_array_foreach(items, i, item)
	{
		for (unsigned j = 0; j < n; j++)
			grid_cell(g, "%s", text_of(item, names[j], room, sizeof room));
	}
	buf_byte(out, '\n');
	grid_print(g, "  ", out);
	grid_free(g);
}

static void
duration_text(double s, struct buf *out)
{
	long long t = (long long)s;

	if (t >= 86400)
		buf_printf(out, "%lldd%02lldh", t / 86400, t / 3600 % 24);
	else if (t >= 3600)
		buf_printf(out, "%lldh%02lldm", t / 3600, t / 60 % 60);
	else if (t >= 60)
		buf_printf(out, "%lldm%02llds", t / 60, t % 60);
	else
		buf_printf(out, "%llds", t);
}

/* "ingest,keeper,status"; "all" where the whole pool lives under one supervisor. */
static const char *
roles_text(const json_t *o, char *room, size_t n)
{
	const json_t *only = json_object_get(o, "only"), *role;
	size_t i, at = 0;

	snprintf(room, n, json_is_null(only) ? "all" : "-");
	json_array_foreach(only, i, role)
	{
		const char *name = json_string_value(role);
		if (name && at < n)
			at += (size_t)snprintf(room + at, n - at, "%s%s", at ? "," : "", name);
	}
	return room;
}

static void
head_text(const json_t *root, struct buf *out)
{
	bool ready = json_is_true(json_object_get(root, "ready"));
	bool draining = json_is_true(json_object_get(root, "draining"));
	char a[256], b[256], c[256];

	buf_printf(out, "%s  %s  up ", text_of(root, "pipeline", a, sizeof a),
		   draining ? "DRAINING"
		   : ready  ? "RUNNING"
			    : "NOT READY");
	duration_text(json_number_value(json_object_get(root, "uptime_seconds")), out);
	buf_printf(out, "  generation %s  %s  separation %s",
		   text_of(root, "generation", a, sizeof a), text_of(root, "url", b, sizeof b),
		   text_of(root, "separation", c, sizeof c));
	buf_printf(out, "  %s, bears %s\n", text_of(root, "instance", a, sizeof a),
		   roles_text(root, b, sizeof b));
}

static void
figures_text(const json_t *root, struct buf *out)
{
	const json_t *commits = json_object_get(root, "commits");
	const json_t *processes = json_object_get(root, "processes");
	char a[256], b[256], c[256];

	buf_printf(out, "processes: %s opened, %s completed, ",
		   text_of(processes, "opened", a, sizeof a),
		   text_of(processes, "completed", b, sizeof b));
	buf_printf(out, "%s expired, %s in memory\n", text_of(processes, "expired", a, sizeof a),
		   text_of(processes, "cached", b, sizeof b));
	buf_printf(out, "commits: %s batches, last at %s, oldest uncommitted event %s s\n",
		   text_of(commits, "batches", a, sizeof a),
		   text_of(commits, "last_at", b, sizeof b),
		   text_of(root, "oldest_uncommitted_seconds", c, sizeof c));
	buf_printf(out, "clock: %s", text_of(root, "clock", a, sizeof a));
	if (json_is_string(json_object_get(root, "clock_held_by")))
		buf_printf(out, ", held back by source %s",
			   text_of(root, "clock_held_by", a, sizeof a));
	buf_byte(out, '\n');
}

/* What a person does about it; NULL: what that is stands in the reason itself. */
static const char *
unready_next(const char *dependency)
{
	static const char *const next[][2] = {
	    {"warehouse", "see that the database serves; sources pause, and all goes on by itself"},
	    {"source", "see that the broker or the file is there; the rest goes on meanwhile"},
	    {"peers", "a minute's patience; if it lasts, the supervisor's log"},
	    {"worker", "a moment's patience; if it lasts, the supervisor's log"},
	    {"drain", "wait for its end: what is under way is being finished"},
	};

	for (unsigned i = 0; i < sizeof next / sizeof *next; i++)
		if (!strcmp(next[i][0], dependency))
			return next[i][1];
	return NULL;
}

static void
unready_text(const json_t *root, struct buf *out)
{
	const json_t *items = json_object_get(root, "unready"), *item;
	char a[64], b[64], c[300];
	size_t i;

	json_array_foreach(items, i, item)
	{
		buf_printf(out, "not ready: %s", text_of(item, "dependency", a, sizeof a));
		if (json_object_get(item, "seconds"))
			buf_printf(out, ", for %s s", text_of(item, "seconds", b, sizeof b));
		buf_printf(out, ": %s\n", text_of(item, "why", c, sizeof c));
	}
	const char *first = text_of(json_array_get(items, 0), "dependency", a, sizeof a);
	const char *next = unready_next(first);
	if (next)
		buf_printf(out, "Next: %s\n", next);
}

/* The last death of each worker that ever died: what a restart looks like afterwards. */
static void
deaths_text(const json_t *root, struct buf *out)
{
	const json_t *items = json_object_get(root, "workers"), *item;
	char a[64], b[64], c[64], d[64], f[64];
	size_t i;

	json_array_foreach(items, i, item)
	{
		const json_t *deaths = json_object_get(item, "deaths");
		size_t n = json_array_size(deaths);
		if (!n)
			continue;
		const json_t *last = json_array_get(deaths, n - 1);
		buf_printf(out, "last death of %s %s: %s, ", text_of(item, "role", a, sizeof a),
			   text_of(item, "index", b, sizeof b), text_of(last, "at", c, sizeof c));
		buf_printf(out, "code %s, signal %s\n", text_of(last, "code", d, sizeof d),
			   text_of(last, "signal", f, sizeof f));
	}
}

/* A seccomp that is not in full force, said once: all have the same build and kernel. */
static void
seccomp_text(const json_t *root, struct buf *out)
{
	const json_t *items = json_object_get(root, "workers"), *item;
	char state[64], said[128];
	size_t i;

	json_array_foreach(items, i, item)
	{
		if (strcmp(text_of(item, "state", state, sizeof state), "up") != 0 ||
		    !strcmp(text_of(item, "seccomp", said, sizeof said), "on"))
			continue;
		buf_printf(out, "seccomp: %s\n", said);
		return;
	}
}

/* Why it does not answer, or the first reason why it is not ready. */
static const char *
peer_why(const json_t *peer, char *room, size_t n)
{
	const json_t *reasons = json_object_get(peer, "reasons");
	char dependency[32], why[256];

	if (!json_is_true(json_object_get(peer, "up")))
		return text_of(peer, "why", room, n);
	if (!json_array_size(reasons))
		return "";
	text_of(json_array_get(reasons, 0), "dependency", dependency, sizeof dependency);
	text_of(json_array_get(reasons, 0), "why", why, sizeof why);
	snprintf(room, n, "%s: %s", dependency, why);
	return room;
}

static const char *
peer_state(const json_t *peer)
{
	if (!json_is_true(json_object_get(peer, "up")))
		return "NO ANSWER";
	if (json_is_true(json_object_get(peer, "draining")))
		return "draining";
	return json_is_true(json_object_get(peer, "ready")) ? "ready" : "NOT READY";
}

/* The other supervisors' table, and what to look at. */
static void
peers_text(const json_t *root, struct buf *out)
{
	static const char *const heads[] = {"address",	  "instance",	"bears",	"state",
					    "oldest (s)", "separation", "answered (s)", "why"};
	const json_t *peers = json_object_get(root, "peers"), *peer;
	const json_t *sum = json_object_get(root, "peers_sum");
	struct grid *g = grid_new(heads, 8);
	char a[256], b[512];
	size_t i;

	buf_printf(out, "peers: %s answer at %s addresses", text_of(sum, "up", a, sizeof a),
		   text_of(sum, "addresses", b, sizeof b));
	buf_printf(out, ", %s ready", text_of(sum, "ready", a, sizeof a));
	buf_printf(out, "; read %s, committed %s", text_of(sum, "events", a, sizeof a),
		   text_of(sum, "committed", b, sizeof b));
	buf_printf(out, ", dead %s; oldest uncommitted event %s s\n\n",
		   text_of(sum, "dead", a, sizeof a),
		   text_of(sum, "oldest_uncommitted_seconds", b, sizeof b));
	json_array_foreach(peers, i, peer)
	{
		bool there = json_is_string(json_object_get(peer, "address"));
		grid_cell(g, "%s", text_of(peer, there ? "address" : "url", a, sizeof a));
		grid_cell(g, "%s", text_of(peer, "instance", a, sizeof a));
		grid_cell(g, "%s", roles_text(peer, b, sizeof b));
		grid_cell(g, "%s", peer_state(peer));
		grid_cell(g, "%s", text_of(peer, "oldest_uncommitted_seconds", a, sizeof a));
		grid_cell(g, "%s", text_of(peer, "separation", a, sizeof a));
		grid_cell(g, "%s", text_of(peer, "answer_age_seconds", a, sizeof a));
		grid_cell(g, "%s", peer_why(peer, b, sizeof b));
	}
	grid_print(g, "  ", out);
	grid_free(g);
	buf_text(out, "\nOne of them in full: weir status --url http://ADDRESS\n");
}

/* Status alone: it has read and written nothing itself. */
static bool
bears_data(const json_t *root)
{
	const json_t *only = json_object_get(root, "only");
	const char *first = json_string_value(json_array_get(only, 0));

	return json_array_size(only) != 1 || !first || strcmp(first, role_name(ROLE_STATUS)) != 0;
}

bool
status_text(const char *json, size_t n, struct buf *out, struct err *e)
{
	static const char *const sources[] = {"name", "events",	    "committed", "backlog",
					      "dead", "duplicates", "errors",	 "time"};
	static const char *const source_heads[] = {
	    "source", "read", "committed", "backlog", "dead", "duplicates", "errors", "event time"};
	static const char *const tables[] = {"name", "rows"};
	static const char *const table_heads[] = {"table", "rows written"};
	static const char *const workers[] = {"role",	"index", "pid", "state",
					      "births", "wait",	 "why"};
	static const char *const worker_heads[] = {"worker", "#",	  "pid", "state",
						   "births", "waits for", "why"};
	json_error_t why;
	json_t *root = json_loadb(json, n, 0, &why);

	if (!json_is_object(root)) {
		json_decref(root);
		return err_set(e, EXIT_BUG, "the answer of the supervisor is no JSON object");
	}
	head_text(root, out);
	if (bears_data(root))
		figures_text(root, out);
	unready_text(root, out);
	seccomp_text(root, out);
	deaths_text(root, out);
	if (json_is_array(json_object_get(root, "peers")))
		peers_text(root, out);
	if (bears_data(root)) {
		list_grid(root, "sources", sources, source_heads, 8, out);
		list_grid(root, "tables", tables, table_heads, 2, out);
	}
	list_grid(root, "workers", workers, worker_heads, 7, out);
	buf_byte(out, '\n');
	json_decref(root);
	return true;
}
