/*
 * driver_probe: one source driver (workers/ingest/source.h) alone, with a test instead of ingest's core.
 *
 *	driver_probe kafka BROKERS TOPIC [OPTION ...]
 *	driver_probe rabbitmq URL QUEUE [OPTION ...]
 *
 * Options: bounded, latest, quiet (events are counted, not printed), prefetch=N, KEY=VALUE (a Kafka
 * property). Commands on stdin, a line each: start SLOT NEXT, pause SLOT, resume SLOT, committed SLOT
 * NEXT, hold 0|1 (poll for no events), skip SECONDS (on the clock), sum (events so far and CPU), quit. Answers on stdout, a JSON
 * object a line: found, listed, event, frontier (when it changed), trouble (when it changed), sum.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ingest/source.h"
#include "keyhash.h"
#include "log.h"
#include "mem.h"

enum { SLOTS_MAX = 64, PROPERTIES_MAX = 32 };

static struct {
	struct model model;
	struct source source;
	struct property properties[PROPERTIES_MAX];
	struct metric_page page;
	const struct source_kind_ops *ops;
	void *driver;
	bool quiet, hold, listed, started[SLOTS_MAX];
	struct source_frontier last[SLOTS_MAX];
	char trouble[2 * SOURCE_TROUBLE_MAX];
	int64_t skip_ms; /* added to the clock of poll */
	uint64_t events, bytes;
	long slowest_us; /* longest call of poll */
	char line[4096];
	size_t line_len;
} p;

static void
print_text(const char *name, const char *s, size_t n)
{
	if (!s) {
		printf("\"%s\": null", name);
		return;
	}
	printf("\"%s\": \"", name);
	for (size_t i = 0; i < n && i < 400; i++)
		if (s[i] == '"' || s[i] == '\\')
			printf("\\%c", s[i]);
		else if ((unsigned char)s[i] < 32)
			printf("\\u%04x", s[i]);
		else
			putchar(s[i]);
	putchar('"');
}

static void
look(void)
{
	struct source_found found[16];
	unsigned n;
	bool listed = false;
	struct err e;

	do {
		if (!p.ops->discover(p.driver, found, 16, &n, &listed, &e))
			fatal(e.code, "discover: %s", e.text);
		for (unsigned i = 0; i < n; i++) {
			printf("{\"found\": %u, ", found[i].slot);
			print_text("label", found[i].label, found[i].label_len);
			puts("}");
		}
	} while (n == 16);
	if (listed != p.listed)
		puts("{\"listed\": true}");
	p.listed = listed;
}

static void
event_print(const struct source_event *ev)
{
	printf("{\"event\": %u, \"offset\": %" PRId64 ", \"redelivered\": %s, \"time\": %" PRId64
	       ", ",
	       ev->slot, ev->offset, ev->redelivered ? "true" : "false",
	       ev->has_broker_time ? ev->broker_time_us : -1);
	print_text("identity", ev->identity, ev->identity_len);
	printf(", ");
	print_text("reason", ev->reason, ev->reason ? strlen(ev->reason) : 0);
	printf(", ");
	print_text("data", ev->data, ev->len);
	puts("}");
}

static void
poll_once(void)
{
	static struct source_event events[SOURCE_BATCH_MAX];
	struct err e;
	unsigned n = 0;
	struct mono before = mono_now();

	if (!p.ops->poll(p.driver, mono_add_ms(before, p.skip_ms), events,
			 p.hold ? 0 : SOURCE_BATCH_MAX, &n, &e))
		fatal(e.code, "poll: %s", e.text);
	long us = (long)mono_since_us(before, mono_now());
	if (us > p.slowest_us)
		p.slowest_us = us;
	p.events += n;
	for (unsigned i = 0; i < n; i++) {
		p.bytes += events[i].len;
		if (!p.quiet)
			event_print(&events[i]);
	}
}

static void
states_print(void)
{
	const char *trouble = p.ops->trouble(p.driver);

	if (strcmp(trouble ? trouble : "", p.trouble)) {
		snprintf(p.trouble, sizeof p.trouble, "%s", trouble ? trouble : "");
		printf("{");
		print_text("trouble", trouble, trouble ? strlen(trouble) : 0);
		puts("}");
	}
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		struct source_frontier f;

		if (!p.started[i])
			continue;
		memset(&f, 0, sizeof f);
		p.ops->frontier(p.driver, i, &f);
		if (f.next == p.last[i].next && f.caught_up == p.last[i].caught_up &&
		    f.finished == p.last[i].finished)
			continue;
		p.last[i] = f;
		if (!p.quiet || f.caught_up || f.finished)
			printf("{\"frontier\": %u, \"next\": %" PRId64 ", \"caught_up\": %s, "
			       "\"finished\": %s, \"backlog\": %" PRIu64 "}\n",
			       i, f.next, f.caught_up ? "true" : "false",
			       f.finished ? "true" : "false", f.backlog);
	}
}

static void
sum_print(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	printf("{\"sum\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"cpu\": %.3f, \"maxrss_kb\": %ld, "
	       "\"errors\": %" PRIu64 ", \"slowest_us\": %ld}\n",
	       p.events, p.bytes,
	       (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		   (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6,
	       u.ru_maxrss, (uint64_t)p.page.source[0][METRIC_SOURCE_ERRORS], p.slowest_us);
}

/* False: the end. */
static bool
command(const char *line)
{
	unsigned slot = 0;
	int64_t next = 0;
	char verb[16] = "";
	struct err e;

	sscanf(line, "%15s %u %" SCNd64, verb, &slot, &next);
	if (slot >= SLOTS_MAX && strcmp(verb, "skip"))
		fatal(EXIT_USAGE, "slot %u", slot);
	if (!strcmp(verb, "start")) {
		if (!p.ops->start(p.driver, slot, next, &e))
			fatal(e.code, "start: %s", e.text);
		p.started[slot] = true;
		p.last[slot].next = -1;
	} else if (!strcmp(verb, "pause") || !strcmp(verb, "resume"))
		p.ops->pause(p.driver, slot, verb[0] == 'p');
	else if (!strcmp(verb, "committed"))
		p.ops->committed(p.driver, slot, next);
	else if (!strcmp(verb, "hold"))
		p.hold = slot != 0;
	else if (!strcmp(verb, "skip"))
		p.skip_ms += slot * 1000;
	else if (!strcmp(verb, "sum"))
		sum_print();
	else
		return false;
	return true;
}

static bool
commands(void)
{
	ssize_t n = read(0, p.line + p.line_len, sizeof p.line - 1 - p.line_len);
	char *end;

	if (n <= 0)
		return false;
	p.line_len += (size_t)n;
	p.line[p.line_len] = 0;
	while ((end = strchr(p.line, '\n'))) {
		*end = 0;
		if (!command(p.line))
			return false;
		p.line_len -= (size_t)(end + 1 - p.line);
		memmove(p.line, end + 1, p.line_len + 1);
	}
	return true;
}

static void
options(int argc, char **argv)
{
	for (int i = 4; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!strcmp(argv[i], "latest"))
			p.source.from_latest = true;
		else if (!strcmp(argv[i], "quiet"))
			p.quiet = true;
		else if (!strncmp(argv[i], "prefetch=", 9))
			p.source.prefetch = (unsigned)strtoul(value + 1, NULL, 10);
		else if (value && p.source.properties_n < PROPERTIES_MAX) {
			*value = 0;
			p.properties[p.source.properties_n++] =
			    (struct property){argv[i], value + 1};
		}
	}
}

static void
setup(int argc, char **argv)
{
	struct source_setup s = {
	    .model = &p.model, .source = &p.source, .ingests = 1, .page = &p.page};
	struct err e;

	snprintf(p.model.pipeline.s, sizeof p.model.pipeline.s, "probe");
	snprintf(p.source.name.s, sizeof p.source.name.s, "s");
	p.model.sources = &p.source;
	p.model.sources_n = 1;
	p.model.ingests = 1;
	p.model.limits.kafka_queue_bytes_max = 128 << 20;
	p.model.limits.event_bytes_max = 4 << 20;
	p.source.kind = strcmp(argv[1], "kafka") ? SOURCE_RABBITMQ : SOURCE_KAFKA;
	p.source.brokers = p.source.url = argv[2];
	p.source.topic = p.source.queue = argv[3];
	p.source.properties = p.properties;
	p.source.identity = IDENTITY_MESSAGE_ID;
	p.source.prefetch = 20000;
	options(argc, argv);
	for (int i = 4; i < argc; i++)
		s.bounded = s.bounded || !strcmp(argv[i], "bounded");
	p.ops = p.source.kind == SOURCE_KAFKA ? &source_kafka : &source_rabbitmq;
	if (!p.ops->open(&s, &p.driver, &e)) {
		printf("{\"refused\": %d, ", e.code);
		print_text("why", e.text, strlen(e.text));
		puts("}");
		exit(e.code);
	}
}

int
main(int argc, char **argv)
{
	struct pollfd fds[SOURCE_FDS_MAX + 1] = {{.fd = 0, .events = POLLIN}};

	if (argc < 4)
		return EXIT_USAGE;
	log_open("probe");
	keyhash_init();
	setvbuf(stdout, NULL, _IOLBF, 1 << 16);
	setup(argc, argv);
	for (;;) {
		look();
		unsigned n = p.ops->watch(p.driver, fds + 1, SOURCE_FDS_MAX);
		struct mono now = mono_now(), next = p.ops->next(p.driver);
		if (poll(fds, 1 + n, mono_poll_ms(mono_min(next, mono_add_ms(now, 1000)), now)) < 0)
			break;
		if (fds[0].revents && !commands())
			break;
		poll_once();
		states_print();
	}
	sum_print();
	p.ops->close(p.driver);
	return 0;
}
