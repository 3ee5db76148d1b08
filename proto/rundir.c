#include "rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "roles.h"

enum { NOTE_BYTES_MAX = 512 };

#define PREFIX "weir-"

/* Where directories are made: a root supervisor's workers have other uids and must be able to pass.
 */
static const char *
base(void)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	struct stat st;
	mode_t pass = geteuid() == 0 ? S_IXOTH : S_IXUSR;
	size_t room = RUNDIR_BYTES_MAX - sizeof "/" PREFIX "XXXXXX";

	if (dir && dir[0] == '/' && strlen(dir) <= room && stat(dir, &st) == 0 &&
	    S_ISDIR(st.st_mode) && (st.st_mode & pass) && access(dir, W_OK) == 0)
		return dir;
	return "/tmp";
}

/* Opens a directory that this user or root owns; /tmp is everyone's, and names in it prove nothing.
 */
static int
dir_open(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_uid == geteuid() || st.st_uid == 0))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Removes the files of a directory of ours; `all`: the note too. */
static void
files_remove(const char *path, bool all)
{
	int fd = dir_open(path);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && (all || strcmp(entry->d_name, "note") != 0))
			unlinkat(fd, entry->d_name, 0);
	if (dir)
		closedir(dir);
}

/* Opens the note of a directory; *owned: its supervisor lives. -1: there is none to trust. */
static int
note_open(const char *path, bool *owned)
{
	struct stat st;
	int dir = dir_open(path);

	if (dir < 0)
		return -1;
	int fd = openat(dir, "note", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	close(dir);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return -1;
	}
	*owned = flock(fd, LOCK_EX | LOCK_NB) != 0;
	return fd;
}

/* Calls visit for each directory that has a note; visit closes the note's descriptor. */
static void
dirs_walk(void (*visit)(void *ctx, const char *path, int note, bool owned), void *ctx)
{
	DIR *dir = opendir(base());
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char path[RUNDIR_BYTES_MAX];
		bool owned;
		if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) != 0)
			continue;
		int n = snprintf(path, sizeof path, "%s/%s", base(), entry->d_name);
		if (n < 0 || n >= (int)sizeof path)
			continue;
		int note = note_open(path, &owned);
		if (note >= 0)
			visit(ctx, path, note, owned);
	}
	if (dir)
		closedir(dir);
}

static void
sweep(void *ctx, const char *path, int note, bool owned)
{
	struct stat st;

	(void)ctx;
	if (!owned && fstat(note, &st) == 0 && st.st_uid == geteuid()) {
		files_remove(path, true);
		rmdir(path);
	}
	close(note);
}

bool
rundir_create(struct rundir *d, struct err *e)
{
	d->note_fd = -1;
	dirs_walk(sweep, NULL);
	snprintf(d->path, sizeof d->path, "%s/" PREFIX "XXXXXX", base());
	if (!mkdtemp(d->path)) {
		err_errno(e, EXIT_CONFIG, "cannot make a directory in %s", base());
		d->path[0] = '\0';
		return false;
	}
	if (geteuid() != 0 || (chown(d->path, 0, WEIR_GID) == 0 && chmod(d->path, 0770) == 0))
		return true;
	err_errno(e, EXIT_PERMISSION, "cannot give %s to its group", d->path);
	rundir_remove(d);
	return false;
}

bool
rundir_note_write(struct rundir *d, const struct rundir_note *n, struct err *e)
{
	char path[RUNDIR_BYTES_MAX + 8], unlocked[RUNDIR_BYTES_MAX + 8], text[NOTE_BYTES_MAX];

	snprintf(path, sizeof path, "%s/note", d->path);
	snprintf(unlocked, sizeof unlocked, "%s/new", d->path);
	int len = snprintf(text, sizeof text, "%s\n%s\n%s\n%d\n", n->pipeline, n->instance, n->url,
			   (int)n->pid);
	/* Locked before it has its name: a note without a lock has no living owner. */
	d->note_fd = open(unlocked, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (d->note_fd >= 0 && flock(d->note_fd, LOCK_EX | LOCK_NB) == 0 &&
	    write(d->note_fd, text, (size_t)len) == len && rename(unlocked, path) == 0)
		return true;
	return err_errno(e, EXIT_CONFIG, "cannot write %s", path);
}

void
rundir_clean(const struct rundir *d)
{
	files_remove(d->path, false);
}

void
rundir_remove(struct rundir *d)
{
	if (d->path[0]) {
		files_remove(d->path, true);
		rmdir(d->path);
		d->path[0] = '\0';
	}
	if (d->note_fd >= 0)
		close(d->note_fd);
	d->note_fd = -1;
}

struct found {
	struct rundir_note *out;
	unsigned n, max;
};

static bool
note_parse(char *text, struct rundir_note *n)
{
	char *lines[4];

	for (int i = 0; i < 4; i++) {
		char *end = strchr(text, '\n');
		if (!end)
			return false;
		*end = '\0';
		lines[i] = text;
		text = end + 1;
	}
	snprintf(n->pipeline, sizeof n->pipeline, "%s", lines[0]);
	snprintf(n->instance, sizeof n->instance, "%s", lines[1]);
	snprintf(n->url, sizeof n->url, "%s", lines[2]);
	n->pid = (pid_t)strtol(lines[3], NULL, 10);
	return n->pid > 0;
}

static void
collect(void *ctx, const char *path, int note, bool owned)
{
	struct found *f = ctx;
	char text[NOTE_BYTES_MAX];
	ssize_t n = owned && f->n < f->max ? pread(note, text, sizeof text - 1, 0) : -1;

	if (n > 0) {
		text[n] = '\0';
		snprintf(f->out[f->n].path, sizeof f->out[f->n].path, "%s", path);
		f->n += note_parse(text, &f->out[f->n]);
	}
	close(note);
}

unsigned
rundir_find(struct rundir_note *out, unsigned max)
{
	struct found f = {.out = out, .max = max};

	dirs_walk(collect, &f);
	return f.n;
}
