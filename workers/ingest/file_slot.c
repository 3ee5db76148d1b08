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

/* The loss alarm. */
static void
slot_alarm(struct file_driver *d, const struct file_slot *s, const char *what)
{
	log_error("source %s: %s, read up to record %lld, %s", d->setup.source->name.s, s->path,
		  (long long)s->next, what);
	metric_source_add(d->setup.page, d->setup.index, METRIC_SOURCE_ERRORS, 1);
}

/* What was read of it is not there any more: it is shorter, or holds something else. */
static void
slot_cut(struct file_driver *d, struct file_slot *s, const char *what)
{
	slot_alarm(d, s, what);
	slot_end(s, false);
	s->cut = true;
	s->size = -1;
	d->rescan = true;
}

static void
slot_shorter(struct file_driver *d, struct file_slot *s)
{
	slot_cut(d, s,
		 "ends before that record: it was cut or replaced; nothing more is read of it");
}

/*
 * Whether the open file still holds what was read of it: it begins alike, and a line ends before
 * the byte where reading goes on. One that was emptied and filled again beyond its former size
 * shows only there.
 */
static bool
slot_same(struct file_driver *d, struct file_slot *s, int64_t at, bool inside)
{
	char before = '\n';

	if (s->form != LINE_PLAIN || !at)
		return true;
	if ((inside || (line_peek(s->reader, at - 1, &before, 1) == 1 && before == '\n')) &&
	    file_begins_same(s))
		return true;
	slot_cut(d, s,
		 "holds something else by now: it was emptied and filled again; what was written "
		 "to it before and not read is lost");
	return false;
}

/* Its path leads to another file now, or to none; the scan finds out which. */
static void
slot_gone(struct file_driver *d, struct file_slot *s)
{
	slot_end(s, false);
	s->left_at = (struct mono){0};
	s->replaced = true;
	d->rescan = true;
}

static const char LOST_UNSEEN[] = "was moved or removed while it was not open; what was written "
				  "to it since is not read";

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
		slot_alarm(d, s, LOST_UNSEEN);
		slot_gone(d, s);
		return false;
	}
	s->size = st.st_size;
	s->mtime = st.st_mtim;
	if (s->form != LINE_PLAIN || !s->at)
		return true;
	if (st.st_size < s->at) {
		file_slot_close(d, s);
		slot_shorter(d, s);
		return false;
	}
	if (!slot_same(d, s, s->at, s->inside)) {
		file_slot_close(d, s);
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

/* There is more to read than at the last look. */
static bool
slot_again(struct file_slot *s, const struct stat *st)
{
	s->size = st->st_size;
	s->mtime = st->st_mtim;
	s->caught_up = false;
	if (s->reader)
		line_again(s->reader);
	return true;
}

/*
 * Its path leads elsewhere, as after a rotation. Lines written before that are in the open file,
 * and whoever has it open may write some more: it is given up when it has been quiet for a while.
 */
static bool
slot_moved(struct file_driver *d, struct file_slot *s, struct mono now)
{
	struct stat st;

	if (!s->reader) {
		slot_alarm(d, s, LOST_UNSEEN);
		slot_gone(d, s);
		return false;
	}
	if (line_stat(s->reader, &st) && st.st_size > s->size) {
		s->left_at = now;
		return slot_again(s, &st);
	}
	if (!s->left_at.us)
		s->left_at = now;
	if (mono_since_ms(s->left_at, now) < FILE_GRACE_MS)
		return false;
	if (line_at(s->reader) < s->size)
		slot_alarm(d, s, "was moved or removed and ends inside a line, which is not read");
	slot_gone(d, s);
	return false;
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
	if (stat(s->path, &st) || st.st_ino != s->ino || st.st_dev != s->dev)
		return slot_moved(d, s, now);
	s->left_at = (struct mono){0};
	int64_t at = s->form != LINE_PLAIN ? s->size : s->reader ? line_at(s->reader) : s->at;
	if (st.st_size < at) {
		slot_shorter(d, s);
		return false;
	}
	if (st.st_size == s->size && st.st_mtim.tv_sec == s->mtime.tv_sec &&
	    st.st_mtim.tv_nsec == s->mtime.tv_nsec)
		return false;
	/* One that is not open is looked at when it is opened. */
	if (s->reader && !slot_same(d, s, at, line_inside(s->reader)))
		return false;
	return slot_again(s, &st);
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
