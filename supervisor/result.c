#include "result.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "jsontext.h"
#include "outcome.h"

/* What is left out of a line that is too long, step by step. */
enum result_detail { RESULT_ALL, RESULT_NO_WORKERS, RESULT_TOTALS };

enum { SHOW_MS = 1000, LINE_MAX_BYTES = 160 };

static uint64_t
get(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static void
page_add(const struct model *m, const struct metric_page *page, struct result *r)
{
	for (unsigned i = 0; i < m->sources_n; i++) {
		const _Atomic uint64_t *v = page->source[i];
		r->events[i] += get(&v[METRIC_SOURCE_COMMITTED]);
		r->all_events += get(&v[METRIC_SOURCE_COMMITTED]);
		r->dead += get(&v[METRIC_SOURCE_DEAD]);
		r->duplicates += get(&v[METRIC_SOURCE_DROPPED]);
		r->backlog += get(&v[METRIC_SOURCE_BACKLOG]);
		/* Brokers come back, and with them what they hold; a cut file does not. */
		if (m->sources[i].kind == SOURCE_FILE)
			r->alarms += get(&v[METRIC_SOURCE_ERRORS]);
	}
	for (unsigned i = 0; i < m->tables_n; i++)
		r->rows[i] += get(&page->table[i][METRIC_TABLE_ROWS]);
	r->dead += metric_get(page, METRIC_ROW_LETTERS);
	r->processes += metric_get(page, METRIC_PROCESSES_OPENED);
}

void
result_sum(const struct fleet *f, struct result *r)
{
	memset(r, 0, sizeof *r);
	for (unsigned i = 0; i < f->n; i++)
		page_add(f->setup.model, f->children[i].page, r);
}

int
result_code(const struct fleet *f, const struct result *r)
{
	if (f->exit_code)
		return f->exit_code;
	if (r->alarms)
		return EXIT_DATA;
	return r->dead ? EXIT_SOME_DEAD : EXIT_DONE;
}

/* What each worker cost, over all its lives. */
static void
workers_print(const struct fleet *f, struct buf *out)
{
	buf_text(out, ", \"workers\": [");
	for (unsigned i = 0; i < f->n; i++) {
		const struct child *c = &f->children[i];
		buf_printf(out,
			   "%s{\"role\": \"%s\", \"index\": %u, \"cpu_seconds\": %.3f, "
			   "\"peak_rss_bytes\": %" PRIu64 "}",
			   i ? ", " : "", role_name(c->role), c->index, (double)c->cpu_us / 1e6,
			   c->peak_rss_bytes);
	}
	buf_text(out, "]");
}

/* By source and by table. */
static void
parts_print(const struct model *m, const struct result *r, struct buf *out)
{
	buf_text(out, ", \"events\": {");
	for (unsigned i = 0; i < m->sources_n; i++)
		buf_printf(out, "%s\"%s\": %" PRIu64, i ? ", " : "", m->sources[i].name.s,
			   r->events[i]);
	buf_text(out, "}, \"rows\": {");
	const char *comma = "";
	for (unsigned i = 0; i < m->tables_n; i++) {
		if (m->tables[i].kind == TABLE_CALENDAR)
			continue; /* filled by apply, never by load */
		buf_printf(out, "%s\"%s\": %" PRIu64, comma, m->tables[i].name.s, r->rows[i]);
		comma = ", ";
	}
	buf_byte(out, '}');
}

static void
line_print(const struct fleet *f, const struct result *r, int64_t us, enum result_detail detail,
	   struct buf *out)
{
	const struct model *m = f->setup.model;
	int code = result_code(f, r);

	buf_text(out, "{\"pipeline\": ");
	jsontext(out, m->pipeline.s);
	if (detail < RESULT_TOTALS)
		parts_print(m, r, out);
	buf_printf(
	    out,
	    ", \"processes\": %" PRIu64 ", \"dead_letters\": %" PRIu64 ", \"duplicates\": %" PRIu64
	    ", \"alarms\": %" PRIu64 ", \"seconds\": %.3f, \"generations\": %u, \"exit\": %d",
	    r->processes, r->dead, r->duplicates, r->alarms, (double)us / 1e6, f->generation, code);
	if (detail < RESULT_NO_WORKERS)
		workers_print(f, out);
	if (f->exit_code) {
		buf_text(out, ", \"reason\": ");
		jsontext_cut(out, f->reason, OUTCOME_TEXT_BYTES);
	}
	buf_text(out, "}\n");
}

void
result_print(const struct fleet *f, const struct result *r, int64_t us, struct buf *out)
{
	line_print(f, r, us, RESULT_ALL, out);
}

void
result_brief(const struct fleet *f, const struct result *r, int64_t us, struct buf *out)
{
	for (enum result_detail d = RESULT_ALL; d <= RESULT_TOTALS; d++) {
		buf_clear(out);
		line_print(f, r, us, d, out);
		if (out->len <= OUTCOME_BYTES_MAX)
			break;
	}
}

void
result_up(const struct fleet *f, int64_t us, struct buf *out)
{
	buf_text(out, "{\"pipeline\": ");
	jsontext(out, f->setup.model->pipeline.s);
	buf_text(out, ", \"instance\": ");
	jsontext_cut(out, f->setup.chan.instance, NAME_BYTES_MAX);
	buf_printf(out, ", \"seconds\": %.3f, \"generations\": %u, \"exit\": %d", (double)us / 1e6,
		   f->generation, f->exit_code);
	if (f->exit_code) {
		buf_text(out, ", \"reason\": ");
		jsontext_cut(out, f->reason, OUTCOME_TEXT_BYTES);
	}
	buf_text(out, "}\n");
}

static bool
is_object(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
			return false;
	return n >= 2 && s[0] == '{' && s[n - 1] == '}';
}

int
result_handoff(const struct fleet *f, int64_t us, struct buf *out)
{
	const char *reason = f->reason;
	int code = f->exit_code;

	if (!code && !is_object(f->said)) {
		code = EXIT_BUG;
		reason = "the science worker ended without a result";
	}
	buf_text(out, "{\"pipeline\": ");
	jsontext(out, f->setup.model->pipeline.s);
	buf_text(out, ", \"handoff\": ");
	jsontext(out, f->setup.chan.handoff);
	buf_printf(out, ", \"seconds\": %.3f, \"exit\": %d", (double)us / 1e6, code);
	buf_text(out, code ? ", \"reason\": " : ", \"result\": ");
	if (code)
		jsontext_cut(out, reason, OUTCOME_TEXT_BYTES);
	else
		buf_text(out, f->said);
	buf_text(out, "}\n");
	return code;
}

void
progress_show(struct progress *p, const struct fleet *f, struct mono now)
{
	struct result r;
	char line[LINE_MAX_BYTES], left[64] = "";

	if (p->any && mono_since_ms(p->shown, now) < SHOW_MS)
		return;
	result_sum(f, &r);
	double seconds = (double)mono_since_us(p->any ? p->shown : p->started, now) / 1e6;
	double rate = seconds > 0 ? (double)(r.all_events - p->events_shown) / seconds : 0;
	if (r.backlog && rate >= 1)
		snprintf(left, sizeof left, ", about %.0f s left", (double)r.backlog / rate);
	int n = snprintf(line, sizeof line,
			 "\033[K%" PRIu64 " events committed, %.0f/s, %" PRIu64 " waiting%s%s\r",
			 r.all_events, rate, r.backlog, left,
			 f->losses.down_since.us ? ", a dependency is down" : "");
	if (n > 0) {
		ssize_t ignored = write(STDERR_FILENO, line,
					(size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
		(void)ignored;
	}
	p->shown = now;
	p->events_shown = r.all_events;
	p->any = true;
}

void
progress_end(struct progress *p)
{
	if (p->any) {
		ssize_t ignored = write(STDERR_FILENO, "\n", 1);
		(void)ignored;
	}
	p->any = false;
}
