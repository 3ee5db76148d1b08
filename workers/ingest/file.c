/*
 * file: files and directories of NDJSON as sources. A partition is a file: its path and the digest
 * of its first line; its offset is the record number, counted by lines, empty ones included. Plain,
 * gzip and zstd.
 *
 * follow: true   new files are found, plain files are read on as they grow, complete lines only. A
 *                compressed file ends where it ends, and is then done.
 * follow: false  the files there are at the start, up to the size they had when they were found;
 * the last line
 *                needs no newline. Each is then done: no later run reads it, and it may not change.
 * A bounded run reads every file to the size it had when found; a followed plain one stays open for
 * later runs.
 *
 * Giving a file another name makes it another partition, whose events are new: a pattern must not
 * match both the current and the rotated names of a log. A followed file that gets another name is
 * read to its end, as long as it is open here; one that is emptied in its place loses what was not
 * read yet. What is or may be lost is an alarm: an error in the log and a count.
 */
#include "file_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"

static void
file_close(void *self)
{
	struct file_driver *d = self;

	for (uint32_t i = 0; i < d->slots_n; i++) {
		line_close(d->slots[i].reader);
		free(d->slots[i].path);
		free(d->slots[i].label);
	}
	free(d->slots);
	file_scan_free(d);
	free(d);
}

static bool
file_open(const struct source_setup *setup, void **out, struct err *e)
{
	struct file_driver *d = mem_zero(1, sizeof *d);
	unsigned sources = 0;

	d->setup = *setup;
	for (unsigned i = 0; i < setup->model->sources_n; i++)
		sources += setup->model->sources[i].kind == SOURCE_FILE;
	d->open_max = setup->model->limits.files_open_max / (sources ? sources : 1);
	if (!d->open_max)
		d->open_max = 1;
	if (!file_path_set(d, e)) {
		file_close(d);
		return false;
	}
	*out = d;
	return true;
}

static bool
file_discover(void *self, struct source_found *out, unsigned max, unsigned *n, bool *listed,
	      struct err *e)
{
	struct file_driver *d = self;

	(void)e;
	for (*n = 0; *n < max && d->told_n < d->slots_n; (*n)++, d->told_n++) {
		const struct file_slot *s = &d->slots[d->told_n];

		out[*n] = (struct source_found){.slot = d->told_n,
						.kind = PARTITION_DURABLE,
						.label = s->label,
						.label_len = strlen(s->label)};
	}
	*listed = d->listed && d->told_n == d->slots_n;
	return true;
}

static bool
file_start(void *self, unsigned slot, int64_t next, struct err *e)
{
	struct file_driver *d = self;
	struct file_slot *s = &d->slots[slot];

	(void)e;
	check(s->state == FILE_FOUND);
	s->state = FILE_READING;
	s->next = s->skip = next > 0 ? next : 0;
	return true;
}

static bool
file_done(void *self, unsigned slot, int64_t next, int64_t bytes, struct err *e)
{
	struct file_driver *d = self;
	struct file_slot *s = &d->slots[slot];

	(void)e;
	s->state = FILE_BEFORE;
	s->next = next;
	if (s->size == bytes)
		return true;
	s->alarmed = true;
	log_error(
	    "source %s: %s was read to its end (%lld records, %lld bytes) in an earlier run and "
	    "has %lld bytes now; what changed is not read. Give new events in a new file",
	    d->setup.source->name.s, s->path, (long long)next, (long long)bytes,
	    (long long)s->size);
	metric_source_add(d->setup.page, d->setup.index, METRIC_SOURCE_ERRORS, 1);
	return true;
}

/* Closes what ended, now that nobody borrows from it. */
static void
poll_begin(struct file_driver *d)
{
	d->turn++;
	for (uint32_t i = 0; i < d->slots_n; i++) {
		struct file_slot *s = &d->slots[i];

		s->delivered = false;
		if (s->reader && s->state == FILE_ENDED)
			file_slot_close(d, s);
	}
}

static unsigned
readable(const struct file_driver *d)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < d->slots_n; i++) {
		const struct file_slot *s = &d->slots[i];

		n += s->state == FILE_READING && !s->paused && !s->caught_up;
	}
	return n;
}

static bool
file_poll(void *self, struct mono now, struct source_event *events, unsigned max, unsigned *n,
	  struct err *e)
{
	struct file_driver *d = self;
	bool broken = false;

	(void)e;
	*n = 0;
	poll_begin(d);
	file_scan(d, now);
	unsigned files = readable(d);
	unsigned quota = files ? max / files : max;
	if (quota < FILE_QUOTA_MIN)
		quota = FILE_QUOTA_MIN;
	for (uint32_t i = 0; i < d->slots_n && *n < max; i++) {
		uint32_t slot = (d->turn_from + i) % d->slots_n;
		unsigned left = max - *n;

		*n += file_slot_read(d, slot, now, events + *n, left < quota ? left : quota);
		if (*n == max)
			d->turn_from = (slot + 1) % d->slots_n;
	}
	for (uint32_t i = 0; i < d->slots_n; i++)
		broken = broken || d->slots[i].state == FILE_BROKEN;
	if (!broken)
		d->broken[0] = '\0';
	return true;
}

/* By the mean record so far. */
static uint64_t
backlog(const struct file_slot *s)
{
	int64_t end = s->end >= 0 ? s->end : s->size;

	if (!s->reader || s->caught_up || s->next <= s->opened_next)
		return 0;
	int64_t at = s->form == LINE_PLAIN ? line_at(s->reader) : (int64_t)line_consumed(s->reader);
	int64_t from = s->form == LINE_PLAIN ? s->at : 0;
	int64_t records = s->form == LINE_PLAIN ? s->next - s->opened_next : s->next;
	if (at <= from || end <= at)
		return 0;
	return (uint64_t)((double)(end - at) * (double)records / (double)(at - from));
}

static void
file_frontier(void *self, unsigned slot, struct source_frontier *out)
{
	struct file_driver *d = self;
	const struct file_slot *s = &d->slots[slot];

	*out = (struct source_frontier){.next = s->next,
					.caught_up = s->caught_up,
					.finished =
					    s->state == FILE_ENDED && (s->done || d->setup.bounded),
					.backlog = backlog(s),
					.done = s->state == FILE_ENDED && s->done,
					.done_bytes = s->size};
}

static void
file_pause(void *self, unsigned slot, bool paused)
{
	struct file_driver *d = self;

	d->slots[slot].paused = paused;
}

static void
file_committed(void *self, unsigned slot, int64_t next)
{
	(void)self;
	(void)slot;
	(void)next;
}

static unsigned
file_watch(void *self, struct pollfd *fds, unsigned max)
{
	(void)self;
	(void)fds;
	(void)max;
	return 0;
}

static struct mono
file_next(void *self)
{
	struct file_driver *d = self;
	struct mono next = d->names ? (struct mono){0} : d->scan_at;

	for (uint32_t i = 0; i < d->slots_n; i++) {
		const struct file_slot *s = &d->slots[i];
		bool waits = s->caught_up || s->state == FILE_BROKEN;

		if (s->paused || (s->state != FILE_READING && s->state != FILE_BROKEN))
			continue;
		next = mono_min(next, waits ? s->look_at : (struct mono){0});
	}
	return next;
}

static const char *
file_trouble(void *self)
{
	struct file_driver *d = self;

	if (d->trouble[0])
		return d->trouble;
	return d->broken[0] ? d->broken : NULL;
}

const struct source_kind_ops source_file = {
    .open = file_open,
    .discover = file_discover,
    .start = file_start,
    .done = file_done,
    .poll = file_poll,
    .frontier = file_frontier,
    .pause = file_pause,
    .committed = file_committed,
    .watch = file_watch,
    .next = file_next,
    .trouble = file_trouble,
    .close = file_close,
};
