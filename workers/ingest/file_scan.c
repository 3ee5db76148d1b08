#include "file_private.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keyhash.h"
#include "log.h"
#include "mem.h"

enum { LIST_MAX = SOURCE_SLOTS_MAX, MTIME_DOUBT_S = 2 };

bool
file_path_set(struct file_driver *d, struct err *e)
{
	const char *path = d->setup.source->path;
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (!slash || strlen(path) >= sizeof d->dir)
		return err_set(e, EXIT_CONFIG, "%s is no absolute path of a usable length", path);
	d->single = !strpbrk(slash + 1, "*?[") && slash[1];
	if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
		d->single = false;
		snprintf(d->dir, sizeof d->dir, "%s", path);
		return true;
	}
	snprintf(d->dir, sizeof d->dir, "%.*s", (int)(slash - path), path);
	if (!d->dir[0])
		snprintf(d->dir, sizeof d->dir, "/");
	snprintf(d->pattern, sizeof d->pattern, "%s", slash + 1);
	return true;
}

static int
name_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool
name_wanted(const struct file_driver *d, const char *name)
{
	if (name[0] == '.')
		return false;
	if (d->single)
		return !strcmp(name, d->pattern);
	return !d->pattern[0] || !fnmatch(d->pattern, name, FNM_PERIOD);
}

static void
names_free(struct file_driver *d)
{
	for (size_t i = 0; i < d->names_n; i++)
		free(d->names[i]);
	free(d->names);
	d->names = NULL;
	d->names_n = d->names_at = 0;
}

void
file_scan_free(struct file_driver *d)
{
	names_free(d);
	free(d->by_path);
}

/* The names that match, sorted. */
static bool
directory_list(struct file_driver *d)
{
	DIR *dir = opendir(d->dir);
	struct dirent *entry;

	if (!dir) {
		snprintf(d->trouble, sizeof d->trouble,
			 "cannot read the directory %.120s as uid %u: %s", d->dir,
			 (unsigned)geteuid(), strerror(errno));
		return false;
	}
	while ((entry = readdir(dir)) && d->names_n < LIST_MAX) {
		if (!name_wanted(d, entry->d_name))
			continue;
		if (!(d->names_n & (d->names_n + 1)))
			d->names = mem_resize(d->names, (d->names_n + 1) * 2, sizeof *d->names);
		d->names[d->names_n++] = mem_string(entry->d_name);
	}
	closedir(dir);
	if (d->names_n)
		qsort(d->names, d->names_n, sizeof *d->names, name_compare);
	return true;
}

static uint64_t
path_hash(const char *s)
{
	uint64_t h = 14695981039346656037u;

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 1099511628211u;
	return h ^ h >> 29;
}

static void
path_put(struct file_driver *d, uint32_t index)
{
	uint64_t h = path_hash(d->slots[index].path);

	while (d->by_path[h & (d->by_path_n - 1)])
		h++;
	d->by_path[h & (d->by_path_n - 1)] = index + 1;
}

static void
paths_grow(struct file_driver *d)
{
	d->by_path_n = d->by_path_n ? d->by_path_n * 2 : 64;
	free(d->by_path);
	d->by_path = mem_zero(d->by_path_n, sizeof *d->by_path);
	for (uint32_t i = 0; i < d->slots_n; i++)
		path_put(d, i);
}

/* The slot of this path with this inode (label NULL) or with this label. */
static struct file_slot *
slot_find(struct file_driver *d, const char *path, const struct stat *st, const char *label)
{
	for (uint64_t h = path_hash(path); d->by_path_n; h++) {
		uint32_t at = d->by_path[h & (d->by_path_n - 1)];

		if (!at)
			break;
		struct file_slot *s = &d->slots[at - 1];
		if (strcmp(s->path, path) != 0)
			continue;
		if (label ? !strcmp(s->label, label) : s->ino == st->st_ino && s->dev == st->st_dev)
			return s;
	}
	return NULL;
}

/*
 * The first line, at most its first KiB: it does not change while the file grows, nor with the
 * compression. 0: not there yet, 1: got, -1: cannot be read (*e).
 */
static int
first_line(struct file_driver *d, const char *path, struct buf *out, struct stat *st, struct err *e)
{
	struct line_reader *r;
	struct line line;
	int result = 0;

	if (!line_open(path, FILE_IDENTITY_BYTES, &r, st, e))
		return -1;
	do {
		if (!line_fill(r, e)) {
			result = line_truncated(r) && d->setup.source->follow ? 0 : -1;
			if (result)
				err_context(e, "%s is damaged", path);
			break;
		}
		if (line_next(r, !d->setup.source->follow, &line)) {
			size_t n = line.len < FILE_IDENTITY_BYTES ? line.len : FILE_IDENTITY_BYTES;
			buf_add(out, line.data, n);
			result = 1;
			break;
		}
	} while (!line_end(r));
	line_close(r);
	return result;
}

/* path#digest: a file of the same name with another beginning is another partition. */
static char *
label_make(const char *path, const struct buf *first)
{
	static const uint8_t no_key[HASH_KEY_BYTES];
	uint8_t digest[DIGEST_BYTES];
	struct buf b = {0};

	digest_dead(no_key, first->data, first->len, digest);
	buf_text(&b, path);
	buf_byte(&b, '#');
	for (unsigned i = 0; i < sizeof digest; i++)
		buf_printf(&b, "%02x", digest[i]);
	buf_byte(&b, 0);
	return (char *)b.data;
}

bool
file_begins_same(const struct file_slot *s)
{
	char first[FILE_IDENTITY_BYTES + 1];
	size_t n = line_peek(s->reader, 0, first, sizeof first);
	const char *nl = memchr(first, '\n', n);

	/* As line_next hands it out: a longer line is its beginning. */
	if (nl)
		n = (size_t)(nl - first);
	if (n > FILE_IDENTITY_BYTES)
		n = FILE_IDENTITY_BYTES;
	else if (n && first[n - 1] == '\r')
		n--;
	struct buf line = {.data = (uint8_t *)first, .len = n};
	char *label = label_make(s->path, &line);
	bool same = !strcmp(label, s->label);
	free(label);
	return same;
}

static void
slot_add(struct file_driver *d, const char *path, char *label, const struct stat *st)
{
	bool follow = d->setup.source->follow;
	struct file_slot *s;

	if (d->slots_n * 2 >= d->by_path_n)
		paths_grow(d);
	if (!(d->slots_n & (d->slots_n + 1)))
		d->slots = mem_resize(d->slots, ((size_t)d->slots_n + 1) * 2, sizeof *d->slots);
	s = &d->slots[d->slots_n++];
	*s = (struct file_slot){.path = mem_string(path),
				.label = label,
				.dev = st->st_dev,
				.ino = st->st_ino,
				.form = line_form(path),
				.size = st->st_size,
				.mtime = st->st_mtim,
				.end = -1};
	if (s->form == LINE_PLAIN && (!follow || d->setup.bounded))
		s->end = st->st_size;
	path_put(d, d->slots_n - 1);
}

/* A file under a name that had another inode before: the same content goes on, another is new. */
static void
slot_replaced(struct file_driver *d, struct file_slot *s, const struct stat *st)
{
	if (s->cut)
		return;	 /* told so already */
	if (s->reader) { /* the old one is not read to its end; the next look finds this again */
		d->rescan = true;
		return;
	}
	if (s->replaced && s->ino == st->st_ino && s->dev == st->st_dev) { /* it came back */
		s->state = FILE_READING;
		s->replaced = s->caught_up = false;
		return;
	}
	log_warn("source %s: %s was replaced by a file that begins alike; going on at record %lld",
		 d->setup.source->name.s, s->path, (long long)s->next);
	metric_source_add(d->setup.page, d->setup.index, METRIC_SOURCE_ERRORS, 1);
	s->dev = st->st_dev;
	s->ino = st->st_ino;
	s->at = 0;
	s->inside = false;
	s->skip = s->next;
	s->size = st->st_size;
	if (s->replaced)
		s->state = FILE_READING;
	s->replaced = false;
	if (s->state == FILE_READING)
		s->caught_up = false;
}

static void
finished_check(struct file_driver *d, struct file_slot *s, const struct stat *st)
{
	bool finished = s->state == FILE_BEFORE || (s->state == FILE_ENDED && s->done);

	if (!finished || s->alarmed || st->st_size == s->size)
		return;
	s->alarmed = true;
	log_error("source %s: %s had been read to its end (%lld bytes) and has changed since (%lld "
		  "bytes); what changed is not read. Give new events in a new file",
		  d->setup.source->name.s, s->path, (long long)s->size, (long long)st->st_size);
	metric_source_add(d->setup.page, d->setup.index, METRIC_SOURCE_ERRORS, 1);
}

/* false: it cannot be read, d->trouble says why. */
static bool
file_look(struct file_driver *d, const char *path)
{
	struct stat st;
	struct buf first = {0};
	struct err e;

	if (stat(path, &st) || !S_ISREG(st.st_mode))
		return true; /* gone meanwhile, or a directory */
	struct file_slot *known = slot_find(d, path, &st, NULL);
	if (known && known->cut)
		d->rescan = true; /* it may get another content without the directory changing */
	if (known && !known->replaced && (!known->cut || known->size == st.st_size)) {
		finished_check(d, known, &st);
		return true;
	}
	int found = st.st_size ? first_line(d, path, &first, &st, &e) : 0;
	if (found == 1) {
		char *label = label_make(path, &first);

		struct file_slot *s = slot_find(d, path, NULL, label);
		if (known)
			known->size = st.st_size;
		if (s) {
			slot_replaced(d, s, &st);
			free(label);
		} else {
			if (known) {
				known->cut = false;
				known->ino = 0;
			}
			slot_add(d, path, label, &st);
		}
	}
	buf_free(&first);
	if (found < 0)
		snprintf(d->trouble, sizeof d->trouble, "%.250s", e.text);
	if (found == 0 && d->setup.source->follow)
		d->rescan = true;
	return found >= 0;
}

/* A few names at a time: many files must not keep the worker from everything else. */
static void
names_look(struct file_driver *d)
{
	for (unsigned i = 0; i < FILE_LOOKS && d->names_at < d->names_n; i++) {
		const char *name = d->names[d->names_at++];
		char path[2 * FILE_PATH_MAX];

		snprintf(path, sizeof path, "%s/%s", strcmp(d->dir, "/") ? d->dir : "", name);
		if (strlen(path) >= FILE_PATH_MAX - 64) {
			log_error(
			    "source %s: a path of %zu bytes is too long, the file is left out",
			    d->setup.source->name.s, strlen(path));
			continue;
		}
		if (!file_look(d, path))
			d->names_readable = false;
	}
}

/* A directory whose time stands still has no new names, unless it was changed just now. */
static bool
directory_same(struct file_driver *d)
{
	struct stat st;
	bool same;

	if (stat(d->dir, &st))
		return false;
	same = st.st_mtim.tv_sec == d->dir_mtime.tv_sec &&
	       st.st_mtim.tv_nsec == d->dir_mtime.tv_nsec &&
	       wall_now_us() / 1000000 - st.st_mtim.tv_sec > MTIME_DOUBT_S;
	d->dir_mtime = st.st_mtim;
	return same;
}

/*
 * All names have been looked at. A pattern may match nothing, a file that is named must be there;
 * one that is followed may still come.
 */
static void
scan_end(struct file_driver *d)
{
	const char *path = d->setup.source->path;
	bool first = !d->listed;

	names_free(d);
	d->listed = d->listed || d->names_readable;
	if (d->slots_n || !d->listed || d->setup.source->follow)
		return;
	if (d->single) {
		snprintf(d->trouble, sizeof d->trouble, "there is no file %.180s", path);
		d->listed = false;
	} else if (first) {
		log_warn("source %s: no file matches %s", d->setup.source->name.s, path);
	}
}

static bool
scan_begin(struct file_driver *d, struct mono now)
{
	bool follow = d->setup.source->follow;

	if (!mono_due(d->scan_at, now))
		return false;
	d->scan_at = mono_add_ms(now, FILE_LOOK_MS);
	if (d->listed && (d->setup.bounded || (!follow && d->slots_n))) {
		d->scan_at = mono_never(); /* it has its list */
		return false;
	}
	if (directory_same(d) && d->listed && !d->rescan && !d->trouble[0])
		return false;
	d->trouble[0] = '\0';
	d->rescan = false;
	d->names_readable = true;
	return directory_list(d);
}

void
file_scan(struct file_driver *d, struct mono now)
{
	if (!d->names && !scan_begin(d, now))
		return;
	names_look(d);
	if (d->names_at == d->names_n)
		scan_end(d);
}
