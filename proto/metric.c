#include "metric.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BOARD_READ_TRIES = 1000 };

/*
 * A memfd of fixed size, mapped. Mode 0600, since a memfd's inode is born 0777 and whoever holds a
 * read-only descriptor could open it for writing again; sealed against resizing, so that a mapping
 * cannot be cut off.
 */
static void *
shared_create(const char *name, size_t bytes, int *fd, struct err *e)
{
	*fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0) {
		err_errno(e, EXIT_BUG, "memfd %s", name);
		return NULL;
	}
	if (fchmod(*fd, 0600) == 0 && ftruncate(*fd, (off_t)bytes) == 0 &&
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
		void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
		if (p != MAP_FAILED)
			return p;
	}
	err_errno(e, EXIT_BUG, "memfd %s", name);
	close(*fd);
	*fd = -1;
	return NULL;
}

static void *
shared_map(int fd, size_t bytes, uint32_t magic, bool writable, struct err *e)
{
	struct stat st;
	int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;

	if (fstat(fd, &st) != 0) {
		err_errno(e, EXIT_BUG, "shared page");
		return NULL;
	}
	int seals = fcntl(fd, F_GET_SEALS);
	if ((size_t)st.st_size != bytes || seals < 0 || !(seals & F_SEAL_SHRINK)) {
		err_set(e, EXIT_BUG, "shared page: %lld bytes, not a sealed page of %zu",
			(long long)st.st_size, bytes);
		return NULL;
	}
	void *p = mmap(NULL, bytes, prot, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		err_errno(e, EXIT_BUG, "shared page");
		return NULL;
	}
	if (*(const uint32_t *)p != magic) {
		munmap(p, bytes);
		err_set(e, EXIT_BUG, "shared page: wrong magic");
		return NULL;
	}
	return p;
}

struct metric_page *
metric_page_map(int fd, bool writable, struct err *e)
{
	struct metric_page *p =
	    shared_map(fd, sizeof(struct metric_page), METRIC_PAGE_MAGIC, writable, e);

	if (p && p->role >= ROLE_MAX) {
		metric_page_unmap(p);
		err_set(e, EXIT_BUG, "metric page of an unknown role");
		return NULL;
	}
	return p;
}

void
metric_page_unmap(struct metric_page *p)
{
	if (p)
		munmap(p, sizeof *p);
}

int
metric_page_create(enum role role, unsigned index, struct err *e)
{
	int fd;
	struct metric_page *p = shared_create("metric", sizeof *p, &fd, e);

	if (!p)
		return -1;
	p->role = (uint16_t)role;
	p->index = (uint16_t)index;
	atomic_store(&p->waits_for_source, -1);
	p->magic = METRIC_PAGE_MAGIC;
	metric_page_unmap(p);
	return fd;
}

struct board *
board_create(int *fd, struct err *e)
{
	struct board *b = shared_create("board", sizeof *b, fd, e);

	if (b)
		b->magic = BOARD_MAGIC;
	return b;
}

const struct board *
board_map(int fd, struct err *e)
{
	return shared_map(fd, sizeof(struct board), BOARD_MAGIC, false, e);
}

void
board_unmap(const struct board *b)
{
	if (b)
		munmap((void *)(uintptr_t)b, sizeof *b);
}

void
board_row_write(struct board *b, unsigned i, const struct board_row *row)
{
	struct board_row *to = &b->rows[i];
	uint32_t seq = atomic_load_explicit(&to->seq, memory_order_relaxed);
	size_t head = sizeof to->seq;

	atomic_store_explicit(&to->seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	memcpy((char *)to + head, (const char *)row + head, sizeof *to - head);
	atomic_store_explicit(&to->seq, seq + 2, memory_order_release);
}

bool
board_row_read(const struct board *b, unsigned i, struct board_row *out)
{
	const struct board_row *from = &b->rows[i];

	for (int tries = 0; tries < BOARD_READ_TRIES; tries++) {
		uint32_t seq = atomic_load_explicit(&from->seq, memory_order_acquire);
		if (seq & 1)
			continue;
		memcpy(out, from, sizeof *out);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&from->seq, memory_order_relaxed) == seq)
			return true;
	}
	return false;
}
