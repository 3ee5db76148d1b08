/*
 * log: one line on stderr per event of interest, and the only place that ends a process.
 *
 * Format: TIME LEVEL SUBJECT: TEXT. Repeated lines are limited: of one call site at most
 * LOG_BURST lines in LOG_WINDOW_MS are written, the rest is counted and told when the window ends.
 * No text contains a value of an event's field.
 */
#ifndef PROTO_LOG_H
#define PROTO_LOG_H

#include "err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVEL_MAX };

enum { LOG_BURST = 5, LOG_WINDOW_MS = 10000 };

/*
 * The subject that stands in each line ("ingest.0"); copied. Level from
 * WEIR_LOG=debug|info|warn|error.
 */
void log_open(const char *subject);

/* A call site of log_at: counts its own repetitions. */
struct log_site {
	long long window_us;
	unsigned written, held;
};

void log_write(struct log_site *site, enum log_level level, const char *fmt, ...) PRINTF(3, 4);

#define log_at(level, ...)                                                                         \
	do {                                                                                       \
		static struct log_site log_site_;                                                  \
		log_write(&log_site_, (level), __VA_ARGS__);                                       \
	} while (0)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)

/* The environment does not let us go on: one line, then exit(code). Not for bad data. */
NORETURN void fatal(int code, const char *fmt, ...) PRINTF(2, 3);

/* Our own bug: one line beginning "panic:", then abort(). */
NORETURN void panic(const char *fmt, ...) PRINTF(1, 2);

/* The last line of every main(): the only normal way out. */
NORETURN void log_exit(int code);

#define check(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			panic("%s:%d: %s does not hold", __FILE__, __LINE__, #cond);               \
	} while (0)

#endif
