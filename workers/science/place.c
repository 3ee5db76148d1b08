/* science: the directory where hand-overs go. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "science.h"

static const char suffix[] = ".weir", half[] = ".part";
enum { STAMP_BYTES = 16 /* 20261124T103000Z */, STAMPS_TRIED = 60 };

static void
stamp_make(int64_t wall_us, char out[static STAMP_BYTES + 1])
{
	int64_t seconds = wall_us / 1000000, year;
	unsigned month, day;

	date_to_civil(seconds / 86400, &year, &month, &day);
	unsigned rest = (unsigned)(seconds % 86400);
	snprintf(out, STAMP_BYTES + 1, "%04u%02u%02uT%02u%02u%02uZ", (unsigned)year % 10000, month,
		 day, rest / 3600 % 24, rest / 60 % 60, rest % 60);
}

static int64_t
stamp_read(const char *s)
{
	unsigned year, month, day, hour, minute, second;

	if (sscanf(s, "%4u%2u%2uT%2u%2u%2uZ", &year, &month, &day, &hour, &minute, &second) != 6)
		return INT64_MIN;
	return (date_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second) *
	       1000000;
}

static void
place_name(const char *pipeline, const char *handoff, int64_t wall_us,
	   char out[static HANDOVER_NAME_MAX])
{
	char stamp[STAMP_BYTES + 1];

	stamp_make(wall_us, stamp);
	snprintf(out, HANDOVER_NAME_MAX, "%s-%s-%s%s", pipeline, handoff, stamp, suffix);
}

/* The stamp in the name of a file of this hand-over; NULL: it is another's. tail ends the name. */
static const char *
name_stamp(const char *entry, const char *before, const char *pipeline, const char *handoff,
	   const char *tail)
{
	char prefix[HANDOVER_NAME_MAX];

	int n = snprintf(prefix, sizeof prefix, "%s%s-%s-", before, pipeline, handoff);
	if (strncmp(entry, prefix, (size_t)n) ||
	    strlen(entry) != (size_t)n + STAMP_BYTES + strlen(tail))
		return NULL;
	return strcmp(entry + n + STAMP_BYTES, tail) ? NULL : entry + n;
}

static DIR *
dir_list(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

int64_t
place_last(int dir, const char *pipeline, const char *handoff)
{
	int64_t last = INT64_MIN;
	struct dirent *entry;
	DIR *d = dir_list(dir);

	while (d && (entry = readdir(d)) != NULL) {
		const char *stamp = name_stamp(entry->d_name, "", pipeline, handoff, suffix);
		int64_t at = stamp ? stamp_read(stamp) : INT64_MIN;
		last = at > last ? at : last;
	}
	if (d)
		closedir(d);
	return last;
}

/* Whoever writes a part holds its lock until it is gone: one without a lock is a dead one's. */
static void
part_sweep(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	if (!flock(fd, LOCK_EX | LOCK_NB))
		unlinkat(dir, name, 0);
	close(fd);
}

static void
place_sweep(int dir, const char *pipeline, const char *handoff)
{
	char tail[16];
	struct dirent *entry;
	DIR *d = dir_list(dir);

	snprintf(tail, sizeof tail, "%s%s", suffix, half);
	while (d && (entry = readdir(d)) != NULL)
		if (name_stamp(entry->d_name, ".", pipeline, handoff, tail))
			part_sweep(dir, entry->d_name);
	if (d)
		closedir(d);
}

static bool
is_taken(int dir, const char *name)
{
	struct stat st;

	return !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) || errno != ENOENT;
}

/* The part keeps the name for its file: nobody begins another one of that stamp. */
static bool
part_make(int dir, const char *pipeline, const char *handoff, int64_t wall_us, struct place *p,
	  struct err *e)
{
	for (unsigned i = 0; i < STAMPS_TRIED; i++) {
		place_name(pipeline, handoff, wall_us + (int64_t)i * 1000000, p->file);
		snprintf(p->part, sizeof p->part, ".%s%s", p->file, half);
		if (is_taken(dir, p->file) || is_taken(dir, p->part))
			continue;
		p->fd =
		    openat(dir, p->part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
		if (p->fd < 0)
			return err_errno(e, EXIT_CONFIG, "cannot write %s", p->part);
		return !flock(p->fd, LOCK_EX | LOCK_NB) ||
		       err_errno(e, EXIT_UNAVAILABLE, "cannot lock %s", p->part);
	}
	return err_set(e, EXIT_UNAVAILABLE, "%u names from %s on are taken", STAMPS_TRIED, p->file);
}

bool
place_begin(int dir, const char *pipeline, const char *handoff, int64_t wall_us, struct place *p,
	    struct err *e)
{
	*p = (struct place){.dir = dir, .fd = -1};
	if (flock(dir, LOCK_EX | LOCK_NB))
		return err_errno(e, EXIT_UNAVAILABLE, "another hand-over begins here now");
	place_sweep(dir, pipeline, handoff);
	bool good = part_make(dir, pipeline, handoff, wall_us, p, e);
	if (flock(dir, LOCK_UN))
		check(false); /* of a lock that we hold */
	if (!good)
		place_end(p);
	return good;
}

bool
place_keep(struct place *p, struct err *e)
{
	if (renameat2(p->dir, p->part, p->dir, p->file, RENAME_NOREPLACE) || fsync(p->dir))
		return err_errno(e, EXIT_UNAVAILABLE, "cannot put %s in its place", p->file);
	*p->part = 0;
	return true;
}

void
place_end(struct place *p)
{
	if (p->fd < 0)
		return;
	if (*p->part)
		unlinkat(p->dir, p->part, 0);
	close(p->fd);
	p->fd = -1;
}
