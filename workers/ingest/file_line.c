#include "file_line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

#include "buf.h"
#include "log.h"
#include "mem.h"

struct line_reader {
	enum line_form form;
	int fd; /* plain and zstd; gzip has it inside gz */
	gzFile gz;
	ZSTD_DStream *zs;
	ZSTD_inBuffer in; /* zstd: compressed bytes, in.src is owned */
	bool frame_open;  /* zstd: inside a frame */
	bool pending;	  /* zstd: it may hold more output than there was room for */
	struct buf buf;
	size_t from;	/* first byte of buf that is not handed out */
	size_t scanned; /* no newline between from and here */
	int64_t at;	/* plain: byte of the file at buf.data[0] */
	uint64_t consumed;
	size_t line_max;
	bool end, truncated;
	bool skipping; /* inside the rest of a line that was too long */
};

static bool
ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n > m && !strcmp(s + n - m, end);
}

enum line_form
line_form(const char *path)
{
	if (ends_with(path, ".gz"))
		return LINE_GZIP;
	return ends_with(path, ".zst") ? LINE_ZSTD : LINE_PLAIN;
}

bool
line_open(const char *path, size_t line_max, struct line_reader **out, struct stat *st,
	  struct err *e)
{
	struct line_reader *r;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	*out = NULL;
	if (fd < 0)
		return err_errno(e, errno == EACCES ? EXIT_PERMISSION : EXIT_UNAVAILABLE,
				 "cannot open %s as uid %u", path, (unsigned)geteuid());
	if (fstat(fd, st) || !S_ISREG(st->st_mode)) {
		close(fd);
		return err_set(e, EXIT_UNAVAILABLE, "%s is no regular file", path);
	}
	r = mem_zero(1, sizeof *r);
	r->form = line_form(path);
	r->fd = fd;
	r->line_max = line_max;
	if (r->form == LINE_GZIP) {
		r->gz = gzdopen(fd, "rb");
		if (r->gz)
			gzbuffer(r->gz, LINE_CHUNK_BYTES / 2);
	} else if (r->form == LINE_ZSTD) {
		r->zs = ZSTD_createDStream();
		r->in.src = mem_alloc(LINE_CHUNK_BYTES);
	}
	if ((r->form == LINE_GZIP && !r->gz) || (r->form == LINE_ZSTD && !r->zs)) {
		line_close(r);
		return err_set(e, EXIT_BUG, "no memory to decompress %s", path);
	}
	*out = r;
	return true;
}

static void *
owned(const void *p)
{
	return (void *)(uintptr_t)p; /* the library's struct says const, the bytes are ours */
}

void
line_close(struct line_reader *r)
{
	if (!r)
		return;
	if (r->gz)
		gzclose(r->gz);
	else
		close(r->fd);
	ZSTD_freeDStream(r->zs);
	free(owned(r->in.src));
	buf_free(&r->buf);
	free(r);
}

bool
line_seek(struct line_reader *r, int64_t at, bool inside, struct err *e)
{
	if (lseek(r->fd, at, SEEK_SET) != at)
		return err_errno(e, EXIT_UNAVAILABLE, "cannot go to byte %lld", (long long)at);
	buf_clear(&r->buf);
	r->from = r->scanned = 0;
	r->at = at;
	r->consumed = (uint64_t)at;
	r->end = false;
	r->skipping = inside;
	return true;
}

static bool
plain_read(struct line_reader *r, void *to, size_t n, size_t *got, struct err *e)
{
	ssize_t k;

	do
		k = read(r->fd, to, n);
	while (k < 0 && errno == EINTR);
	if (k < 0)
		return err_errno(e, EXIT_UNAVAILABLE, "cannot read");
	*got = (size_t)k;
	r->consumed += *got;
	r->end = k == 0;
	return true;
}

static bool
gzip_read(struct line_reader *r, void *to, size_t n, size_t *got, struct err *e)
{
	int code = Z_OK;
	int k = gzread(r->gz, to, (unsigned)n);

	const char *why = gzerror(r->gz, &code);
	r->consumed = (uint64_t)gzoffset(r->gz);
	*got = k > 0 ? (size_t)k : 0;
	r->end = k == 0;
	if (k > 0 || code == Z_OK)
		return true;
	r->truncated = code == Z_BUF_ERROR;
	return err_set(e, EXIT_DATA, "its compressed data %s",
		       r->truncated ? "ends in the middle" : why);
}

static bool
zstd_read(struct line_reader *r, void *to, size_t n, size_t *got, struct err *e)
{
	ZSTD_outBuffer out = {to, n, 0};

	while (out.pos < out.size) {
		if (r->in.pos == r->in.size && !r->pending) {
			size_t k;
			if (!plain_read(r, owned(r->in.src), LINE_CHUNK_BYTES, &k, e))
				return false;
			r->in.pos = 0;
			r->in.size = k;
			if (!k)
				break;
		}
		bool fed = r->in.pos < r->in.size;
		size_t left = ZSTD_decompressStream(r->zs, &out, &r->in);
		if (ZSTD_isError(left))
			return err_set(e, EXIT_DATA, "its compressed data is damaged: %s",
				       ZSTD_getErrorName(left));
		r->frame_open = left && (fed || r->frame_open);
		r->pending = out.pos == out.size;
	}
	*got = out.pos;
	r->end = r->end && !out.pos;
	if (r->end && r->frame_open) {
		r->truncated = true;
		return err_set(e, EXIT_DATA, "its compressed data ends in the middle");
	}
	return true;
}

/* Puts what is left of the buffer to its beginning. */
static void
compact(struct line_reader *r)
{
	memmove(r->buf.data, r->buf.data + r->from, r->buf.len - r->from);
	r->buf.len -= r->from;
	r->at += (int64_t)r->from;
	r->scanned -= r->from;
	r->from = 0;
}

bool
line_fill(struct line_reader *r, struct err *e)
{
	size_t got = 0;
	bool good;

	if (r->from)
		compact(r);
	buf_reserve(&r->buf, LINE_CHUNK_BYTES);
	void *to = r->buf.data + r->buf.len;
	if (r->form == LINE_PLAIN)
		good = plain_read(r, to, LINE_CHUNK_BYTES, &got, e);
	else if (r->form == LINE_GZIP)
		good = gzip_read(r, to, LINE_CHUNK_BYTES, &got, e);
	else
		good = zstd_read(r, to, LINE_CHUNK_BYTES, &got, e);
	r->buf.len += got;
	return good;
}

bool
line_truncated(const struct line_reader *r)
{
	return r->truncated;
}

/* Hands out buf[from, end) and goes on behind `used` bytes of it. */
static void
line_take(struct line_reader *r, size_t end, size_t used, struct line *out)
{
	size_t n = end - r->from;

	*out = (struct line){.data = (const char *)r->buf.data + r->from,
			     .at = r->at + (int64_t)r->from};
	out->too_long = n > r->line_max;
	if (out->too_long)
		n = n < LINE_KEPT_BYTES ? n : LINE_KEPT_BYTES;
	else if (n && out->data[n - 1] == '\r')
		n--;
	out->len = n;
	r->from += used;
	r->scanned = r->from;
}

/* The rest of a line that was too long goes by unseen. */
static bool
rest_skip(struct line_reader *r)
{
	const uint8_t *p = r->buf.data;
	const uint8_t *nl =
	    r->buf.len > r->from ? memchr(p + r->from, '\n', r->buf.len - r->from) : NULL;

	r->from = nl ? (size_t)(nl - p) + 1 : r->buf.len;
	r->scanned = r->from;
	r->skipping = !nl;
	return nl != NULL;
}

bool
line_next(struct line_reader *r, bool final, struct line *out)
{
	if (r->skipping && !rest_skip(r))
		return false;
	if (r->scanned < r->buf.len) {
		const uint8_t *p = r->buf.data;
		const uint8_t *nl = memchr(p + r->scanned, '\n', r->buf.len - r->scanned);
		if (nl) {
			size_t end = (size_t)(nl - p);
			line_take(r, end, end + 1 - r->from, out);
			return true;
		}
		r->scanned = r->buf.len;
	}
	size_t rest = r->buf.len - r->from;
	if (rest > r->line_max) {
		line_take(r, r->buf.len, rest, out);
		r->skipping = true;
		return true;
	}
	if (!final || !r->end || !rest)
		return false;
	line_take(r, r->buf.len, rest, out);
	return true;
}

bool
line_end(const struct line_reader *r)
{
	return r->end;
}

void
line_again(struct line_reader *r)
{
	r->end = false;
}

int64_t
line_at(const struct line_reader *r)
{
	return r->at + (int64_t)r->from;
}

bool
line_inside(const struct line_reader *r)
{
	return r->skipping;
}

uint64_t
line_consumed(const struct line_reader *r)
{
	return r->consumed;
}

bool
line_stat(const struct line_reader *r, struct stat *st)
{
	check(r->form == LINE_PLAIN);
	return !fstat(r->fd, st);
}

size_t
line_peek(const struct line_reader *r, int64_t at, void *to, size_t n)
{
	size_t got = 0;
	ssize_t k;

	check(r->form == LINE_PLAIN);
	while (got < n) {
		k = pread(r->fd, (char *)to + got, n - got, at + (int64_t)got);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			break;
		got += (size_t)k;
	}
	return got;
}
