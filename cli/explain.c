/*
 * explain: one process out of the stored state. Shows values of fields, on stdout: who can run it
 * has the owner's DSN and could read them anyway. Of a sealed value it says to whom it is sealed:
 * nothing here opens one.
 */
#include "cli.h"

#include <stdio.h>
#include <string.h>

#include "decimal.h"
#include "explain.h"
#include "keyhash.h"
#include "log.h"
#include "owner.h"
#include "process.h"

const struct option_row options_pipeline[] = {
    {"pipeline", 'p', OPTION_VALUE, "FILE", "the pipeline file"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

struct explained {
	const struct model *model;
	const char *id;
	struct process_layout *layout;
	struct process *process;
	struct expr_run_state run;
	struct value inputs[EXPR_INPUTS_MAX];
	uint64_t missing;
	int64_t epoch, batch, kg, due_us;
};

/* ---- reading ---- */

static bool
state_query(struct pg *pg, const struct owner_pipeline *at, const char *id, struct pg_result **out,
	    struct err *e)
{
	uint8_t key[16];
	char uuid[33], pipeline[24], build[16];

	keyhash_init();
	keyhash_process(at->hash_key, id, strlen(id), key);
	for (unsigned i = 0; i < sizeof key; i++)
		snprintf(uuid + 2 * i, 3, "%02x", key[i]);
	snprintf(pipeline, sizeof pipeline, "%lld", (long long)at->id);
	snprintf(build, sizeof build, "%d", at->build);
	const struct pg_param params[] = {
	    {.data = pipeline, .len = strlen(pipeline)},
	    {.data = build, .len = strlen(build)},
	    {.data = uuid, .len = strlen(uuid)},
	};
	return pg_query(
	    pg,
	    "SELECT epoch, batch, kg::bigint, tombstone::int, body FROM admin_schema.state"
	    " WHERE pipeline = $1::int AND build = $2::smallint AND key = $3::uuid"
	    " ORDER BY epoch DESC, batch DESC LIMIT 1",
	    params, 3, true, out, e);
}

static bool
state_decode(struct explained *x, const struct pg_result *r, struct err *e)
{
	size_t n;
	const uint8_t *body = pg_bytes(r, 0, 4, &n);
	int64_t revision;

	x->epoch = pg_int(r, 0, 0);
	x->batch = pg_int(r, 0, 1);
	x->kg = pg_int(r, 0, 2);
	if (pg_int(r, 0, 3)) {
		if (!process_tombstone_read(body, n, &revision, e))
			return err_context(e, "stored state of the process");
		return err_set(e, EXIT_NOTHING,
			       "the process closed long ago and was forgotten at revision %lld; "
			       "its rows stay in the "
			       "warehouse",
			       (long long)revision);
	}
	x->layout = process_layout_new(x->model);
	if (!process_decode(x->layout, body, n, &x->process, e))
		return err_context(e, "stored state of the process");
	/* What is stored is asked first: judging without a clock must not change what is shown. */
	process_inputs(x->layout, x->process, &x->run, x->inputs);
	x->due_us = process_due_us(x->layout, x->process);
	process_judge(x->layout, x->process, INT64_MIN, &x->run, &x->missing);
	expr_run_reset(&x->run);
	process_inputs(x->layout, x->process, &x->run, x->inputs);
	return true;
}

/* An integer has one way to be written, under which its process is stored. */
static bool
id_check(const struct explained *x, struct err *e)
{
	struct value v;
	struct buf text = {0};
	struct err ignored;

	if (x->model->key_type != VALUE_INTEGER)
		return true;
	bool good = decimal_parse(x->id, strlen(x->id), &v, &ignored) && !v.scale &&
		    value_units(&v) >= INT64_MIN && value_units(&v) <= INT64_MAX;
	if (good) {
		v = value_integer((int64_t)value_units(&v));
		value_print(&v, &text);
		good = !strcmp(buf_cstr(&text), x->id);
	}
	buf_free(&text);
	return good ||
	       err_set(e, EXIT_USAGE,
		       "the ID of pipeline %s is an integer, and \"%.80s\" is none as it is "
		       "written in events",
		       x->model->pipeline.s, x->id);
}

static bool
explain_read(struct explained *x, struct pg *pg, struct err *e)
{
	struct owner_pipeline at;
	struct pg_result *r;

	if (!id_check(x, e) || !owner_pipeline(pg, x->model, &at, e) ||
	    !state_query(pg, &at, x->id, &r, e))
		return false;
	bool good = pg_rows(r) == 1;
	if (good)
		good = state_decode(x, r, e);
	else
		err_set(e, EXIT_NOTHING,
			"no event of process \"%.80s\" was committed by pipeline %s", x->id,
			x->model->pipeline.s);
	pg_result_free(r);
	return good;
}

/* ---- showing ---- */

/* The class of a sealed value by where it is from; NULL: the file knows that field no more. */
static const char *
class_of(const struct model *m, const struct carried *c)
{
	for (unsigned i = 0; i < m->sources_n; i++) {
		const struct source *s = &m->sources[i];
		if (strlen(s->label) != c->source_len || memcmp(s->label, c->source, c->source_len))
			continue;
		for (unsigned k = 0; k < s->fields_n; k++)
			if (s->fields[k].class >= 0 && strlen(s->fields[k].path) == c->path_len &&
			    !memcmp(s->fields[k].path, c->path, c->path_len))
				return m->classes[s->fields[k].class].s;
	}
	return NULL;
}

static void
sealed_show(const struct model *m, const struct value *v, struct buf *out)
{
	struct carried c;
	const char *class = NULL;

	if (wire_carried_read(v->text, v->len, &c)) {
		if (wire_payload_erased(c.payload, c.payload_len)) {
			buf_text(out, "erased");
			return;
		}
		class = class_of(m, &c);
	}
	buf_text(out, "sealed");
	if (class)
		buf_printf(out, " (%s)", class);
}

static void
value_show(const struct model *m, const struct value *v, struct buf *out)
{
	buf_clear(out);
	if (v->type == VALUE_NULL)
		buf_text(out, "-");
	else if (v->type == VALUE_SEALED)
		sealed_show(m, v, out);
	else
		value_print(v, out);
}

static void
line(const struct model *m, struct buf *out, const char *name, const struct value *v,
     struct buf *text)
{
	value_show(m, v, text);
	buf_printf(out, "  %-14s %s\n", name, buf_cstr(text));
}

static void
time_line(struct buf *out, const char *name, int64_t us, const char *words, struct buf *text)
{
	struct value v = value_timestamp(us);

	value_show(NULL, &v, text);
	buf_printf(out, "  %-14s %s%s\n", name, buf_cstr(text), words);
}

/* Why it is still open, part by part. */
static void
missing_text(const struct explained *x, struct buf *out)
{
	const struct model *m = x->model;

	for (unsigned i = 0; i < m->parts_n; i++)
		if (x->missing & (1ull << i))
			buf_printf(out, "  %-14s %s\n", "missing", m->parts[i].name);
	if (!m->parts_n)
		buf_printf(out, "  %-14s nothing is asked for: the pipeline has no `complete:`\n",
			   "missing");
	else if (!x->missing)
		buf_printf(out, "  %-14s nothing\n", "missing");
}

/* The largest unit that leaves no rest: 90d, 1h, 1500ms. */
static void
duration_print(int64_t us, struct buf *out)
{
	static const struct {
		int64_t us;
		const char *unit;
	} units[] = {
	    {86400000000, "d"}, {3600000000, "h"}, {60000000, "m"}, {1000000, "s"}, {1000, "ms"}};
	unsigned i = 0;

	while (i < sizeof units / sizeof *units - 1 && us % units[i].us)
		i++;
	buf_printf(out, "%lld%s", (long long)(us / units[i].us), units[i].unit);
}

/* What closes it when nothing more comes. */
static void
rules_text(const struct explained *x, struct buf *out)
{
	const struct model *m = x->model;

	if (m->deadline_us) {
		buf_printf(out, "  %-14s ", "deadline");
		duration_print(m->deadline_us, out);
		buf_text(out, " after the first event\n");
	}
	if (m->quiet_for_us) {
		buf_printf(out, "  %-14s ", "quiet_for");
		duration_print(m->quiet_for_us, out);
		buf_text(out, " after the last event\n");
	}
}

static void
due_text(const struct explained *x, struct buf *out, struct buf *text)
{
	const struct value *status = &x->inputs[PROCESS_STATUS];
	bool open = status->len == 4 && !memcmp(status->text, "open", 4);

	if (open)
		rules_text(x, out);
	if (x->due_us == INT64_MAX)
		buf_printf(out, "  %-14s never%s\n", open ? "expires" : "forgotten",
			   open ? ": it stays open until it is complete" : "");
	else
		time_line(out, open ? "expires" : "forgotten", x->due_us,
			  open ? " in event time, unless it is complete by then"
			       : " in event time; until then late events revise it",
			  text);
}

static void
seen_text(const struct explained *x, struct buf *out)
{
	const struct model *m = x->model;
	uint64_t seen = process_seen(x->process);

	for (unsigned pass = 0; pass < 2; pass++) {
		unsigned n = 0;
		for (unsigned i = 0; i < m->sources_n; i++)
			if (!m->sources[i].reference && !(seen & (1ull << i)) == !!pass)
				buf_printf(out, "%s%s",
					   n++	  ? ", "
					   : pass ? "; not "
						  : "  sources seen   ",
					   m->sources[i].name.s);
		if (!n && !pass)
			buf_text(out, "  sources seen   none");
	}
	buf_byte(out, '\n');
}

static void
folds_text(const struct explained *x, struct buf *out, struct buf *text)
{
	const struct model *m = x->model;
	static const char *const heads[] = {"fold", "value", "from"};
	struct grid *g = grid_new(heads, 3);

	for (unsigned i = 0; i < m->folds_n; i++) {
		value_show(m, &x->inputs[PROCESS_FIXED + i], text);
		grid_cell(g, "%s", m->folds[i].name.s);
		grid_cell(g, "%s", buf_cstr(text));
		grid_cell(g, "%s", m->folds[i].definition ? m->folds[i].definition : "");
	}
	grid_print(g, "  ", out);
	grid_free(g);
}

static void
explain_text(const struct explained *x, struct buf *out)
{
	const struct value *v = x->inputs;
	struct buf text = {0};

	value_show(x->model, &v[PROCESS_STATUS], &text);
	buf_printf(out, "process %s of pipeline %s is %s\n", x->id, x->model->pipeline.s,
		   buf_cstr(&text));
	line(x->model, out, "first event", &v[PROCESS_FIRST_EVENT_AT], &text);
	line(x->model, out, "last event", &v[PROCESS_LAST_EVENT_AT], &text);
	if (v[PROCESS_CLOSED_AT].type != VALUE_NULL)
		line(x->model, out, "closed", &v[PROCESS_CLOSED_AT], &text);
	missing_text(x, out);
	due_text(x, out, &text);
	seen_text(x, out);
	buf_printf(out, "  %-14s %lld, revision %lld\n", "events",
		   (long long)process_events(x->process), (long long)process_revision(x->process));
	buf_printf(out, "  %-14s key group %lld, epoch %lld, batch %lld\n\n", "stored",
		   (long long)x->kg, (long long)x->epoch, (long long)x->batch);
	folds_text(x, out, &text);
	buf_free(&text);
}

static void
value_json(const struct model *m, const struct value *v, struct buf *out, struct buf *text)
{
	value_show(m, v, text);
	if (v->type == VALUE_NULL)
		buf_text(out, "null");
	else if (v->type == VALUE_BOOLEAN || v->type == VALUE_INTEGER || v->type == VALUE_JSON)
		buf_add(out, text->data, text->len);
	else /* a decimal, too: its digits shall survive the reader */
		cli_json_n(out, (const char *)text->data, text->len);
}

static void
json_member(const struct model *m, struct buf *out, const char *name, const struct value *v,
	    struct buf *text)
{
	buf_byte(out, ',');
	cli_json(out, name);
	buf_byte(out, ':');
	value_json(m, v, out, text);
}

static void
lists_json(const struct explained *x, struct buf *out)
{
	const struct model *m = x->model;
	uint64_t seen = process_seen(x->process);
	unsigned n = 0;

	buf_text(out, ",\"missing\":[");
	for (unsigned i = 0; i < m->parts_n; i++)
		if (x->missing & (1ull << i)) {
			buf_text(out, n++ ? "," : "");
			cli_json(out, m->parts[i].name);
		}
	buf_text(out, "],\"sources_seen\":[");
	n = 0;
	for (unsigned i = 0; i < m->sources_n; i++)
		if (seen & (1ull << i)) {
			buf_text(out, n++ ? "," : "");
			cli_json(out, m->sources[i].name.s);
		}
	buf_byte(out, ']');
}

static void
explain_json(const struct explained *x, struct buf *out)
{
	const struct model *m = x->model;
	const struct value *v = x->inputs;
	struct value due = x->due_us == INT64_MAX ? value_null() : value_timestamp(x->due_us);
	struct buf text = {0};

	buf_text(out, "{\"process\":");
	cli_json(out, x->id);
	buf_text(out, ",\"pipeline\":");
	cli_json(out, m->pipeline.s);
	json_member(m, out, "status", &v[PROCESS_STATUS], &text);
	json_member(m, out, "first_event_at", &v[PROCESS_FIRST_EVENT_AT], &text);
	json_member(m, out, "last_event_at", &v[PROCESS_LAST_EVENT_AT], &text);
	json_member(m, out, "closed_at", &v[PROCESS_CLOSED_AT], &text);
	json_member(m, out, "due_at", &due, &text);
	lists_json(x, out);
	buf_printf(out,
		   ",\"events\":%lld,\"revision\":%lld,\"key_group\":%lld,\"epoch\":%lld,"
		   "\"batch\":%lld,\"folds\":{",
		   (long long)process_events(x->process), (long long)process_revision(x->process),
		   (long long)x->kg, (long long)x->epoch, (long long)x->batch);
	for (unsigned i = 0; i < m->folds_n; i++) {
		buf_text(out, i ? "," : "");
		cli_json(out, m->folds[i].name.s);
		buf_byte(out, ':');
		value_json(m, &v[PROCESS_FIXED + i], out, &text);
	}
	buf_text(out, "}}\n");
	buf_free(&text);
}

bool
explain_process(struct pg *pg, const struct model *m, const char *id, bool json, struct buf *out,
		struct err *e)
{
	struct explained x = {.model = m, .id = id};
	bool good = explain_read(&x, pg, e);

	if (good && json)
		explain_json(&x, out);
	else if (good)
		explain_text(&x, out);
	if (x.layout) {
		process_free(x.layout, x.process);
		process_layout_free(x.layout);
	}
	expr_run_free(&x.run);
	return good;
}

int
explain_run(struct cli *c)
{
	struct buf out = {0};
	struct model *m;
	struct pg *pg;
	struct err e;
	int code;

	if (!cli_model(c, cli_pipeline(c, 1), &m, &code))
		return code;
	if (owner_connect(c, m, &pg, &code)) {
		if (explain_process(pg, m, c->args.operands[0], c->json, &out, &e))
			code = cli_finish(c, &out, EXIT_DONE);
		else
			code =
			    cli_fail(c, &e,
				     "see that the ID is written as in the events; `weir status` "
				     "tells how far the sources are read, `weir dead list` what "
				     "was refused");
		pg_close(pg);
	}
	model_free(m);
	return code;
}
