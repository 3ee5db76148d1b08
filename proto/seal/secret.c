#include "seal/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <sodium.h>

#include "log.h"
#include "mem.h"
#include "seal/keyfile.h"
#include "seal/private.h"

enum {
	PAGE_BYTES = 4096,
	CANARY_BYTES = 16, /* sodium_malloc's own, before the bytes it gives */
	SLOT_CLASSES = 8,  /* 64, 128, ... 8192 bytes, head included */
	SLOT_BYTES_MIN = 64,
	PASSPHRASE_BYTES_MAX = 1024,
	SHORTAGE_BYTES = 400,
};

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* newer than Debian 12's headers */
#endif

#define SLOT_USED 0x7372696577656c73ULL
#define SLOT_FREE 0x6672656573656372ULL

struct slot { /* before each allocation, in the arena: zeros in a forked child */
	uint64_t state;
	uint8_t class;
};

struct free_slot {
	struct slot head;
	struct free_slot *next;
};

_Static_assert(sizeof(struct slot) == 16, "allocations are aligned to 16");

static struct {
	bool open, required;
	bool swaps;    /* this machine has swap, or does not say; as it was when we started */
	bool told;     /* of the first bytes that are not locked */
	uint8_t *part; /* the newest part of the arena: slots are cut from it */
	size_t part_used, part_bytes;
	size_t unlocked;
	struct free_slot *free[SLOT_CLASSES];
	char shortage[SHORTAGE_BYTES]; /* why a secret was refused; "": none was */
	pid_t pid;
} arena;

/* The whole pages that n bytes at p lie in. */
static void *
pages_of(void *p, size_t n, size_t *bytes)
{
	uint8_t *first = (uint8_t *)((uintptr_t)p & ~(uintptr_t)(PAGE_BYTES - 1));

	*bytes = (size_t)((uint8_t *)p + n - first);
	return first;
}

static void
pages_hide(void *first, size_t bytes)
{
	if (madvise(first, bytes, MADV_WIPEONFORK) != 0)
		log_debug("keys are not wiped in a forked process: %s", strerror(errno));
	(void)madvise(first, bytes, MADV_DONTDUMP);
}

/* ---- the limit of locked memory ---- */

/*
 * The list of swaps has a line of heads, and one for each. Who cannot be asked may have some: it is
 * asked before the sandbox, where files can still be opened.
 */
static bool
machine_swaps(const char *list)
{
	char text[4096];
	int fd = open(list, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return true;
	text[n] = 0;
	const char *second = strchr(text, '\n');
	return !second || second[1];
}

static unsigned long long
limit_kib(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 ? limit.rlim_cur / 1024 : 0;
}

/*
 * These bytes are not locked: whether they may be used all the same. Where nothing is swapped
 * nothing comes to a disk, locked or not; a command, which ends soon, is not strict.
 */
static bool
unlocked_allowed(size_t bytes)
{
	if (arena.required && arena.swaps) {
		snprintf(arena.shortage, sizeof arena.shortage,
			 "%zu KiB more of memory for keys cannot be locked: the limit of locked "
			 "memory (ulimit -l) is %llu KiB, and this machine swaps. Raise it "
			 "(LimitMEMLOCK= of a unit, `ulimits: memlock` of compose; in Kubernetes "
			 "LimitMEMLOCK= of the node's container runtime, a pod cannot), or turn "
			 "swap off",
			 bytes / 1024, limit_kib());
		return false;
	}
	arena.unlocked += bytes;
	if (arena.required && !arena.told)
		log_warn("keys are in memory that is not locked: the limit of locked memory "
			 "(ulimit -l) is %llu KiB. This machine has no swap, so none of them comes "
			 "to a disk; it must stay without while this runs",
			 limit_kib());
	arena.told = true;
	return true;
}

const char *
secret_shortage(void)
{
	return *arena.shortage ? arena.shortage : NULL;
}

/*
 * False: no memory, or it must be locked and is not. sodium_malloc has called mlock without telling
 * how that ended: called again on the same pages, it tells.
 */
static bool
arena_grow(void)
{
	size_t n = SECRET_ARENA_BYTES - CANARY_BYTES, bytes;
	uint8_t *part = sodium_malloc(n);

	if (!part)
		return false;
	void *first = pages_of(part, n, &bytes);
	pages_hide(first, bytes);
	if (mlock(first, bytes) != 0 && !unlocked_allowed(bytes)) {
		sodium_free(part);
		return false;
	}
	memset(part, 0, n);
	arena.part = part;
	arena.part_bytes = n;
	arena.part_used = -(uintptr_t)part & 15;
	return true;
}

bool
arena_open(bool required, const char *swaps, struct err *e)
{
	sodium_start();
	if (arena.open)
		return true;
	arena.required = required;
	arena.swaps = machine_swaps(swaps);
	if (!arena_grow())
		return err_set(e, EXIT_CONFIG, "%s",
			       *arena.shortage ? arena.shortage : "no memory for keys");
	arena.open = true;
	arena.pid = getpid();
	return true;
}

bool
secret_open(bool required, struct err *e)
{
	return arena_open(required, "/proc/swaps", e);
}

size_t
secret_unlocked_bytes(void)
{
	return arena.unlocked;
}

static unsigned
class_of(size_t n)
{
	unsigned class = 0;

	while (((size_t)SLOT_BYTES_MIN << class) < n)
		class ++;
	check(class < SLOT_CLASSES);
	return class;
}

void *
arena_alloc(size_t n)
{
	unsigned class = class_of(n + sizeof(struct slot));
	size_t bytes = (size_t)SLOT_BYTES_MIN << class;
	struct slot *slot;

	if (!arena.open)
		panic("a secret is made before secret_open");
	if (arena.free[class]) {
		struct free_slot *f = arena.free[class];
		if (f->head.state != SLOT_FREE)
			panic("a forked process uses its parent's keys");
		arena.free[class] = f->next;
		slot = &f->head;
		memset(f, 0, sizeof *f);
	} else {
		if (arena.part_bytes - arena.part_used < bytes && !arena_grow())
			return NULL;
		slot = (struct slot *)(void *)(arena.part + arena.part_used);
		arena.part_used += bytes;
	}
	*arena.shortage = 0;
	slot->state = SLOT_USED;
	slot->class = (uint8_t) class;
	return slot + 1;
}

void
arena_check(const void *p)
{
	const struct slot *slot = (const struct slot *)p - 1;

	if (slot->state != SLOT_USED)
		panic("%s", getpid() == arena.pid ? "a freed secret is used"
						  : "a forked process uses its parent's keys");
}

void
arena_free(void *p)
{
	if (!p)
		return;
	arena_check(p);
	struct free_slot *f = (struct free_slot *)(void *)((struct slot *)p - 1);
	unsigned class = f->head.class;
	sodium_memzero(f, (size_t)SLOT_BYTES_MIN << class);
	f->head.state = SLOT_FREE;
	f->next = arena.free[class];
	arena.free[class] = f;
}

/* ---- secrets ---- */

struct secret { /* in the arena */
	size_t n;
	uint8_t b[];
};

static struct secret *
secret_make(size_t n)
{
	check(n > 0 && n <= SECRET_BYTES_MAX);
	struct secret *s = arena_alloc(sizeof *s + n);
	if (s)
		s->n = n;
	return s;
}

struct secret *
secret_of(const void *p, size_t n)
{
	struct secret *s = secret_make(n);

	if (s)
		memcpy(s->b, p, n);
	return s;
}

struct secret *
secret_random(size_t n)
{
	struct secret *s = secret_make(n);

	if (s)
		randombytes_buf(s->b, n);
	return s;
}

void
secret_free(struct secret *s)
{
	arena_free(s);
}

size_t
secret_length(const struct secret *s)
{
	arena_check(s);
	return s->n;
}

const uint8_t *
secret_bytes(const struct secret *s)
{
	arena_check(s);
	return s->b;
}

uint8_t *
secret_writable(struct secret *s)
{
	arena_check(s);
	return s->b;
}

bool
secret_equal(const struct secret *a, const struct secret *b)
{
	return secret_length(a) == secret_length(b) && sodium_memcmp(a->b, b->b, a->n) == 0;
}

void
secret_wipe(void *p, size_t n)
{
	sodium_memzero(p, n);
}

void *
secret_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fatal(EXIT_TRY_LATER, "no memory for %zu bytes of secrets", bytes);
	pages_hide(p, bytes);
	/* As they are touched: a large table need not be in memory before it is filled. */
	if (mlock2(p, bytes, MLOCK_ONFAULT) == 0 || unlocked_allowed(bytes)) {
		*arena.shortage = 0;
		return p;
	}
	munmap(p, bytes);
	return NULL;
}

/* Half of the limit is for others; without swap there is none. */
static bool
map_fits(size_t bytes)
{
	struct rlimit limit;

	return !arena.required || !arena.swaps || getrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
	       limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur / 2;
}

void *
secret_map_fitting(size_t most, size_t least, size_t *bytes)
{
	*bytes = most;
	while (*bytes / 2 >= least && !map_fits(*bytes))
		*bytes /= 2;
	return secret_map(*bytes);
}

void
secret_map_clear(void *p, size_t bytes)
{
	sodium_memzero(p, bytes);
	/* Gives them back, which a kernel before 5.18 does not for locked pages. */
	if (madvise(p, bytes, MADV_DONTNEED_LOCKED) != 0)
		(void)madvise(p, bytes, MADV_DONTNEED);
}

void
secret_unmap(void *p, size_t bytes)
{
	if (!p)
		return;
	sodium_memzero(p, bytes);
	munmap(p, bytes);
}

/* ---- passphrases ---- */

static enum seal_error
passphrase_take(char *line, size_t n, struct secret **out)
{
	enum seal_error why = SEAL_PASSPHRASE;

	while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
		n--;
	if (n > 0 && n <= PASSPHRASE_BYTES_MAX) {
		*out = secret_of(line, n);
		why = *out ? SEAL_OK : SEAL_SYSTEM;
	}
	return why;
}

enum seal_error
passphrase_read(int fd, struct secret **out)
{
	char line[PASSPHRASE_BYTES_MAX + 3];
	struct stat st;

	*out = NULL;
	if (fstat(fd, &st) != 0)
		return SEAL_SYSTEM;
	enum seal_error why = keyfile_permitted(st.st_mode, st.st_uid, geteuid());
	if (why != SEAL_OK)
		return why;
	ssize_t n = pread(fd, line, sizeof line, 0);
	why = n < 0 ? SEAL_SYSTEM : passphrase_take(line, (size_t)n, out);
	sodium_memzero(line, sizeof line);
	return why;
}

/*
 * An interrupted prompt must not leave a terminal without echo: signals are blocked but while we
 * wait for a key; one is noted, ends the reading, and is raised again when the terminal is as it
 * was.
 */
static const int interrupts[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
enum { INTERRUPTS = sizeof interrupts / sizeof *interrupts };
static volatile sig_atomic_t interrupted;

struct handlers {
	struct sigaction before[INTERRUPTS];
	sigset_t mask;
};

static void
interrupt_note(int signal_number)
{
	interrupted = signal_number;
}

static void
interrupts_take(struct handlers *h)
{
	const struct sigaction note = {.sa_handler = interrupt_note};
	sigset_t ours;

	interrupted = 0;
	sigemptyset(&ours);
	for (unsigned i = 0; i < INTERRUPTS; i++)
		sigaddset(&ours, interrupts[i]);
	sigprocmask(SIG_BLOCK, &ours, &h->mask);
	for (unsigned i = 0; i < INTERRUPTS; i++)
		sigaction(interrupts[i], &note, &h->before[i]);
}

static void
interrupts_give(const struct handlers *h)
{
	for (unsigned i = 0; i < INTERRUPTS; i++)
		sigaction(interrupts[i], &h->before[i], NULL);
	if (interrupted)
		raise(interrupted);
	sigprocmask(SIG_SETMASK, &h->mask, NULL);
}

/* Bytes of a key press, 0 when the terminal has ended or a signal has come. */
static size_t
keys_read(int tty, const struct handlers *h, char *p, size_t n)
{
	for (;;) {
		struct pollfd wait = {.fd = tty, .events = POLLIN};
		int ready = ppoll(&wait, 1, NULL, &h->mask);
		if (interrupted || (ready < 0 && errno != EINTR))
			return 0;
		if (ready <= 0)
			continue;
		ssize_t got = read(tty, p, n);
		return got > 0 ? (size_t)got : 0;
	}
}

static enum seal_error
line_ask(int tty, const struct handlers *h, const char *prompt, struct secret **out)
{
	char line[PASSPHRASE_BYTES_MAX + 3];
	size_t n = 0, got;

	*out = NULL;
	if (write(tty, prompt, strlen(prompt)) < 0)
		return SEAL_SYSTEM;
	while (n < sizeof line && (got = keys_read(tty, h, line + n, sizeof line - n)) > 0) {
		n += got;
		if (line[n - 1] == '\n')
			break;
	}
	enum seal_error why = interrupted ? SEAL_PASSPHRASE : passphrase_take(line, n, out);
	sodium_memzero(line, sizeof line);
	return write(tty, "\n", 1) == 1 ? why : SEAL_SYSTEM;
}

static enum seal_error
lines_ask(int tty, const struct handlers *h, const char *prompt, bool again, struct secret **out)
{
	struct secret *second = NULL;
	enum seal_error why = line_ask(tty, h, prompt, out);

	if (why == SEAL_OK && again) {
		why = line_ask(tty, h, "the same again: ", &second);
		if (why == SEAL_OK && !secret_equal(*out, second))
			why = SEAL_PASSPHRASE;
		secret_free(second);
	}
	if (why != SEAL_OK) {
		secret_free(*out);
		*out = NULL;
	}
	return why;
}

enum seal_error
passphrase_ask(const char *prompt, bool again, struct secret **out)
{
	struct handlers handlers;
	struct termios before, silent;
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	*out = NULL;
	if (tty < 0)
		return SEAL_PASSPHRASE;
	if (tcgetattr(tty, &before) != 0) {
		close(tty);
		return SEAL_PASSPHRASE;
	}
	silent = before;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	interrupts_take(&handlers);
	enum seal_error why = tcsetattr(tty, TCSAFLUSH, &silent) == 0
				  ? lines_ask(tty, &handlers, prompt, again, out)
				  : SEAL_SYSTEM;
	tcsetattr(tty, TCSAFLUSH, &before);
	close(tty);
	interrupts_give(&handlers);
	return why;
}
