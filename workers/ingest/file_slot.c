#include "file_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

void
file_slot_close(struct file_driver *d, struct file_slot *s)
{
	if (!s->reader)
		return;
	if (s->form == LINE_PLAIN) {
		s->at = line_at(s->reader);
		s->inside = line_inside(s->reader);
	} else {
		s->at = 0;
		s->skip = s->next; /* compressed: from the start again */
	}
	line_close(s->reader);
	s->reader = NULL;
	d->open_n--;
}

void
file_slot_broken(struct file_driver *d, struct file_slot *s, struct mono now, const char *why)
{
	snprintf(d->broken, sizeof d->broken, "%s", why);
	if (s->state != FILE_BROKEN) {
		log_error("source %s: %s", d->setup.source->name.s, why);
		metric_source_add(d->setup.page, d->setup.index, METRIC_SOURCE_ERRORS, 1);
	}
	file_slot_close(d, s);
	s->state = FILE_BROKEN;
	s->look_at = mono_add_ms(now, FILE_LOOK_MS);
}

/* Nothing of it comes any more. done: and no later run need look. */
static void
slot_end(struct file_slot *s, bool done)
{
	s->state = FILE_ENDED;
	s->caught_up = true;
	s->done = done;
}

/* The loss alarm: less is there than was read before. */
static void
slot_shorter(struct file_driver *d, struct file_slot *s)
{
	log_error("source %s: %s ends before record %lld, up to which it was read: it was cut or "
		  "replaced; nothing more is read of it",
		  d->setup.source->name.s, s->path, (long long)s->next);
	metric_source_add(d->setup.page, d->setup.index, METRIC_SOURCE_ERRORS, 1);
	slot_end(s, false);
	s->cut = true;
	s->size = -1;
	d->rescan = true;
}

/* Its path leads to another file now; the scan finds out which. */
static void
slot_gone(struct file_driver *d, struct file_slot *s)
{
	slot_end(s, false);
	s->replaced = true;
	d->rescan = true;
}

/* One file must make room: caught up or paused, plain, and longest unused. */
static bool
room_make(struct file_driver *d)
{
	struct file_slot *oldest = NULL;

	if (d->open_n < d->open_max)
		return true;
	for (uint32_t i = 0; i < d->slots_n; i++) {
		struct file_slot *s = &d->slots[i];

		if (!s->reader || s->delivered || s->form != LINE_PLAIN)
			continue;
		if (!s->caught_up && !s->paused)
			continue;
		if (!oldest || s->used_at < oldest->used_at)
			oldest = s;
	}
	if (!oldest)
		return false;
	file_slot_close(d, oldest);
	return true;
}

/* Opened, and it still is the file that we know. */
static bool
slot_open(struct file_driver *d, struct file_slot *s, struct mono now)
{
	struct stat st;
	struct err e;

	if (s->reader)
		return true;
	if (!room_make(d))
		return false;
	if (!line_open(s->path, d->setup.model->limits.event_bytes_max, &s->reader, &st, &e)) {
		if (s->next > 0 && s->caught_up && d->setup.source->follow)
			s->look_at = mono_add_ms(now, FILE_LOOK_MS); /* read and taken away */
		else
			file_slot_broken(d, s, now, e.text);
		return false;
	}
	d->open_n++;
	s->state = FILE_READING;
	s->opened_next = s->next;
	if (st.st_ino != s->ino || st.st_dev != s->dev) {
		file_slot_close(d, s);
		slot_gone(d, s);
		return false;
	}
	s->size = st.st_size;
	if (s->form != LINE_PLAIN || !s->at)
		return true;
	if (st.st_size < s->at) {
		file_slot_close(d, s);
		slot_shorter(d, s);
		return false;
	}
	if (line_seek(s->reader, s->at, s->inside, &e))
		return true;
	file_slot_broken(d, s, now, e.text);
	return false;
}

/* A line that begins behind the end of a bounded reading is not ours. */
static bool
line_wanted(const struct file_slot *s, const struct line *l)
{
	return s->end < 0 || l->at < s->end;
}

static void
slot_fill_failed(struct file_driver *d, struct file_slot *s, struct mono now, const struct err *e)
{
	char why[SOURCE_TROUBLE_MAX];

	/* One that is still being written: it is read again, from the start, when it has grown. */
	if (line_truncated(s->reader) && d->setup.source->follow && !d->setup.bounded) {
		s->caught_up = true;
		s->look_at = mono_add_ms(now, 10 * FILE_LOOK_MS);
		file_slot_close(d, s);
		return;
	}
	snprintf(why, sizeof why, "%.150s is damaged behind record %lld: %.60s", s->path,
		 (long long)s->next, e->text);
	file_slot_broken(d, s, now, why);
}

/* Passes over records up to the position, a bounded number of bytes. True when it is reached. */
static bool
slot_skip(struct file_driver *d, struct file_slot *s, bool final, struct mono now)
{
	uint64_t from = line_consumed(s->reader);
	struct line l;
	struct err e;

	while (s->skip) {
		if (line_next(s->reader, final, &l)) {
			s->skip--;
			continue;
		}
		if (line_end(s->reader)) {
			slot_shorter(d, s);
			return false;
		}
		if (line_consumed(s->reader) - from > FILE_SKIP_BYTES)
			return false;
		if (!line_fill(s->reader, &e)) {
			slot_fill_failed(d, s, now, &e);
			return false;
		}
	}
	return true;
}

static void
event_set(struct source_event *ev, uint32_t slot, const struct file_slot *s, const struct line *l)
{
	*ev =
	    (struct source_event){.slot = slot, .offset = s->next, .data = l->data, .len = l->len};
	if (l->too_long)
		ev->reason = "the line is longer than event_bytes_max";
}

/* The lines that the buffer holds. */
static unsigned
slot_lines(struct file_driver *d, uint32_t slot, bool final, struct source_event *events,
	   unsigned max)
{
	struct file_slot *s = &d->slots[slot];
	unsigned n = 0;
	struct line l;

	while (n < max && (s->end < 0 || s->form != LINE_PLAIN || line_at(s->reader) < s->end) &&
	       line_next(s->reader, final, &l)) {
		if (!line_wanted(s, &l))
			break;
		if (l.len || l.too_long)
			event_set(&events[n++], slot, s, &l);
		s->next++;
	}
	return n;
}

/* The end of what is there: of a growing file for now, of the others for good. */
static void
slot_caught_up(struct file_driver *d, struct file_slot *s, struct mono now)
{
	bool follow = d->setup.source->follow;

	s->caught_up = true;
	s->look_at = mono_add_ms(now, FILE_LOOK_MS);
	if (s->form == LINE_PLAIN && follow && !d->setup.bounded)
		return;
	slot_end(s, s->form != LINE_PLAIN || !follow);
}

static bool
slot_at_end(const struct file_slot *s)
{
	if (s->form == LINE_PLAIN && s->end >= 0 && line_at(s->reader) >= s->end)
		return true;
	return line_end(s->reader);
}

/*
 * A look at a followed file that had no more: is there something now, and is it still the same
 * file?
 */
static bool
slot_grown(struct file_driver *d, struct file_slot *s, struct mono now)
{
	struct stat st;

	s->look_at = mono_add_ms(now, FILE_LOOK_MS);
	if (stat(s->path, &st))
		return false; /* taken away; all of it was read */
	if (st.st_ino != s->ino || st.st_dev != s->dev) {
		slot_gone(d, s);
		return false;
	}
	int64_t at = s->form != LINE_PLAIN ? s->size : s->reader ? line_at(s->reader) : s->at;
	if (st.st_size < at) {
		slot_shorter(d, s);
		return false;
	}
	if (st.st_size == s->size)
		return false;
	s->size = st.st_size;
	s->caught_up = false;
	if (s->reader)
		line_again(s->reader);
	return true;
}

unsigned
file_slot_read(struct file_driver *d, uint32_t slot, struct mono now, struct source_event *events,
	       unsigned max)
{
	struct file_slot *s = &d->slots[slot];
	bool final = !d->setup.source->follow || s->form != LINE_PLAIN;
	struct err e;
	unsigned n;

	if (s->paused || (s->state != FILE_READING && s->state != FILE_BROKEN) ||
	    ((s->caught_up || s->state == FILE_BROKEN) && !mono_due(s->look_at, now)))
		return 0;
	if ((s->caught_up && !slot_grown(d, s, now)) || !slot_open(d, s, now) ||
	    !slot_skip(d, s, final, now))
		return 0;
	s->used_at = d->turn;
	n = slot_lines(d, slot, final, events, max);
	while (!n && !slot_at_end(s)) {
		if (!line_fill(s->reader, &e)) {
			slot_fill_failed(d, s, now, &e);
			return 0;
		}
		n = slot_lines(d, slot, final, events, max);
	}
	if (n) {
		s->delivered = true;
		s->caught_up = false;
		return n;
	}
	slot_caught_up(d, s, now);
	return 0;
}
