#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mono.h"

enum { LOG_LINE_MAX = 2048 };

static const char *const level_names[LOG_LEVEL_MAX] = {"debug", "info", "warn", "error"};

static struct {
	char subject[64];
	enum log_level least;
} self = {.subject = "weir", .least = LOG_INFO};

void
log_open(const char *subject)
{
	const char *want = getenv("WEIR_LOG");

	snprintf(self.subject, sizeof self.subject, "%s", subject);
	for (int i = 0; want && i < LOG_LEVEL_MAX; i++)
		if (!strcmp(want, level_names[i]))
			self.least = (enum log_level)i;
}

/* One write(2) per line, so that lines of several processes never mix. */
static void
line_write(const char *level, const char *text)
{
	char line[LOG_LINE_MAX], stamp[32];
	int64_t now_us = wall_now_us();
	time_t s = (time_t)(now_us / 1000000);
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
	int n = snprintf(line, sizeof line, "%s.%03dZ %-5s %s: %s", stamp,
			 (int)(now_us / 1000 % 1000), level, self.subject, text);
	if (n >= (int)sizeof line)
		n = (int)sizeof line - 1;
	for (int i = 0; i < n; i++) /* a line stays a line, and a terminal stays sane */
		if ((unsigned char)line[i] < ' ')
			line[i] = ' ';
	if (n == (int)sizeof line - 1)
		n--;
	line[n++] = '\n';
	ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
	(void)ignored;
}

void
log_write(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	va_list ap;

	if (level < self.least)
		return;
	long long now_us = mono_now().us;
	if (!site->written || now_us - site->window_us > LOG_WINDOW_MS * 1000LL) {
		unsigned held = site->held;
		*site = (struct log_site){.window_us = now_us};
		if (held) {
			snprintf(text, sizeof text,
				 "%u more lines like the next one were held back", held);
			line_write(level_names[level], text);
		}
	}
	if (site->written >= LOG_BURST) {
		site->held++;
		return;
	}
	site->written++;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	line_write(level_names[level], text);
}

void
fatal(int code, const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	line_write("fatal", text);
	exit(code);
}

void
panic(const char *fmt, ...)
{
	char text[LOG_LINE_MAX], line[LOG_LINE_MAX + 16];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	snprintf(line, sizeof line, "panic: %s", text);
	line_write("error", line);
	abort();
}

void
log_exit(int code)
{
	fflush(stdout);
	exit(code);
}
