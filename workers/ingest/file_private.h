/*
 * file_private: what file.c (the driver), file_scan.c (finding files) and file_slot.c (reading one)
 * share.
 */
#ifndef INGEST_FILE_PRIVATE_H
#define INGEST_FILE_PRIVATE_H

#include <sys/types.h>

#include "file_line.h"
#include "source.h"

enum {
	FILE_LOOK_MS = 100,	    /* between looks for growth and new files */
	FILE_QUOTA_MIN = 16,	    /* events of one file in one poll, when many have some */
	FILE_SKIP_BYTES = 8 << 20,  /* passed over in one poll, when going to a position */
	FILE_IDENTITY_BYTES = 1024, /* of the first line: what makes a file itself */
	FILE_PATH_MAX = 4096,
	FILE_GRACE_MS = 2000, /* a file under no path is read on until it is quiet for so long */
	FILE_LOOKS = 200,     /* files looked at in one poll */
};

enum file_state {
	FILE_FOUND, /* told, not started: another ingest may read it */
	FILE_READING,
	FILE_ENDED,  /* nothing comes any more */
	FILE_BEFORE, /* read to its end in an earlier run */
	FILE_BROKEN  /* damaged, gone or not readable: tried again at every look */
};

struct file_slot {
	char *path, *label;
	dev_t dev;
	ino_t ino;
	enum line_form form;
	enum file_state state;
	struct line_reader *reader; /* NULL: not open */
	bool delivered;		    /* in this poll: its buffer is borrowed */
	bool paused, caught_up;
	bool done;     /* ENDED, and no later run need read it */
	bool inside;   /* at is in the rest of a line that was too long */
	bool cut;      /* ENDED because it became shorter; what stands there is looked at again */
	bool replaced; /* ENDED because its path leads to another file or to none */
	bool alarmed;  /* a change of a finished file was told */
	int64_t next;  /* record number */
	int64_t skip;  /* records to pass over until next */
	int64_t at;    /* plain: byte where record next - skip begins, while not open */
	int64_t end;   /* not followed: only records that begin below this byte; -1: no end */
	int64_t size;  /* last seen, with the time of its last change */
	struct timespec mtime;
	int64_t opened_next; /* next when it was opened, for the mean size of a record */
	struct mono
	    left_at; /* since when its path leads elsewhere and it is quiet; 0: it does not */
	struct mono look_at; /* caught up or broken: not before */
	uint64_t used_at;    /* turn in which it was read last: the oldest is closed for another */
};

struct file_driver {
	struct source_setup setup;
	struct file_slot *slots; /* in order of discovery; owned */
	uint32_t slots_n, told_n;
	uint32_t *by_path,
	    by_path_n; /* open addressing: index + 1; a path may stand several times */
	char **names;  /* of the directory, being looked at; owned */
	size_t names_n, names_at;
	bool names_readable;
	uint32_t turn_from; /* where the next poll begins, for fairness */
	uint64_t turn;
	unsigned open_n, open_max;
	char dir[FILE_PATH_MAX], pattern[FILE_PATH_MAX]; /* pattern: "" for every file of dir */
	bool single;					 /* the path names one file */
	bool listed, rescan; /* rescan: something there has no identity yet */
	struct mono scan_at;
	struct timespec dir_mtime;
	char trouble[SOURCE_TROUBLE_MAX]; /* of the last scan */
	char broken[SOURCE_TROUBLE_MAX];  /* of a slot */
};

/* file_scan.c: looks for files; new ones are appended to slots. */
bool file_path_set(struct file_driver *d, struct err *e);
void file_scan(struct file_driver *d, struct mono now);
void file_scan_free(struct file_driver *d);

/* The file that is open in the slot begins with the line that named it. Plain only. */
bool file_begins_same(const struct file_slot *s);

/* file_slot.c */
void file_slot_close(struct file_driver *d, struct file_slot *s);
void file_slot_broken(struct file_driver *d, struct file_slot *s, struct mono now, const char *why);
/* Hands over at most max events of one slot. */
unsigned file_slot_read(struct file_driver *d, uint32_t slot, struct mono now,
			struct source_event *events, unsigned max);

#endif
