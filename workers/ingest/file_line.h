/*
 * file_line: lines of a plain, gzip or zstd file, in bounded memory. zlib.h and zstd.h are included
 * in file_line.c alone.
 *
 * Lines handed out stay valid until the next line_fill, line_seek or line_close: read all that the
 * buffer has, then fill again.
 */
#ifndef INGEST_FILE_LINE_H
#define INGEST_FILE_LINE_H

#include <stdint.h>
#include <sys/stat.h>

#include "err.h"

enum line_form { LINE_PLAIN, LINE_GZIP, LINE_ZSTD };

enum {
	LINE_CHUNK_BYTES = 256 * 1024, /* read at once */
	LINE_KEPT_BYTES = 64 * 1024,   /* of a line that is too long: what is handed out */
};

struct line {
	const char *data; /* without newline and without a carriage return before it */
	size_t len;
	int64_t at;    /* plain: byte of the file where it begins */
	bool too_long; /* more than line_max bytes; data is its beginning */
};

struct line_reader;

enum line_form line_form(const char *path); /* by its ending: .gz, .zst */

/* Opens; *st is what the file was at that moment. line_max: bytes of the longest line. */
MUSTCHECK bool line_open(const char *path, size_t line_max, struct line_reader **out,
			 struct stat *st, struct err *e);
void line_close(struct line_reader *r); /* NULL is fine */

/* Plain only: go on at this byte: where a line begins, or inside one that was too long. */
MUSTCHECK bool line_seek(struct line_reader *r, int64_t at, bool inside, struct err *e);

/*
 * Reads one chunk. False: the compressed data is damaged (line_truncated: it ends in the middle,
 * which a file still being written does too) or cannot be read.
 */
MUSTCHECK bool line_fill(struct line_reader *r, struct err *e);
bool line_truncated(const struct line_reader *r);

/*
 * The next line of the buffer. False: there is none; fill again unless line_end. final: what stands
 * behind the last newline is a line too, once the end is reached.
 */
bool line_next(struct line_reader *r, bool final, struct line *out);

bool line_end(const struct line_reader *r);   /* the last fill met the end of the file */
void line_again(struct line_reader *r);	      /* which has grown since: it is not the end */
int64_t line_at(const struct line_reader *r); /* plain: where the next line begins */
bool
line_inside(const struct line_reader *r); /* that byte is in the rest of a line that was too long */
/* Plain: what the open file is by now, whatever its path leads to. */
MUSTCHECK bool line_stat(const struct line_reader *r, struct stat *st);
/* Plain: bytes of the file, without moving in it; how many there are, at most n. */
size_t line_peek(const struct line_reader *r, int64_t at, void *to, size_t n);
uint64_t line_consumed(const struct line_reader *r); /* bytes of the file taken in so far */

#endif
