/* demo: its events for a pipeline that runs elsewhere: into topics, queues and files it reads. */
#include "demo.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "mono.h"

enum { TICK_MS = 25, SECONDS_MAX = 86400 };

static bool
seconds_read(const struct args *a, int64_t *ms, struct err *e)
{
	const char *given = args_value(a, "seconds");
	char *end = NULL;

	*ms = INT64_MAX;
	if (!given)
		return true;
	long seconds = strtol(given, &end, 10);
	if (end == given || *end || seconds < 1 || seconds > SECONDS_MAX)
		return err_set(e, EXIT_USAGE, "--seconds \"%.40s\" is no number from 1 to %d",
			       given, SECONDS_MAX);
	*ms = seconds * 1000;
	return true;
}

/* One sink a stream, in order; what was opened is the caller's, also where another one failed. */
static bool
sinks_open(const struct model *m, struct sink sinks[static STREAM_MAX], struct err *e)
{
	for (unsigned i = 0; i < STREAM_MAX; i++) {
		const char *name = demo_stream_names[i];
		int at = model_source_find(m, name, strlen(name));
		if (at < 0)
			return err_set(e, EXIT_CONFIG,
				       "%s has no source %s: the demo's events are those of the "
				       "loans example",
				       m->path, name);
		if (!sink_open(m, &m->sources[at], &sinks[i], e))
			return false;
	}
	return true;
}

static bool
feed_for(struct demo_feed *f, int64_t ms, const volatile sig_atomic_t *asked, struct err *e)
{
	struct mono begun = mono_now();

	while (!*asked && mono_since_ms(begun, mono_now()) < ms) {
		if (!demo_feed_tick(f, false, e))
			return false;
		poll(NULL, 0, TICK_MS);
	}
	return demo_feed_tick(f, true, e);
}

static int
report(const struct cli *c, const struct demo_feed *f)
{
	uint64_t written[STREAM_MAX], broken;
	struct buf out = {0};

	demo_feed_counts(f, written, &broken);
	for (unsigned i = 0; i < STREAM_MAX; i++)
		buf_printf(&out, c->json ? "%s\"%s\":%llu" : "%s%s %llu",
			   i	     ? ", "
			   : c->json ? "{"
				     : "",
			   demo_stream_names[i], (unsigned long long)written[i]);
	buf_printf(&out, c->json ? ", \"broken\":%llu}\n" : ", and %llu broken ones\n",
		   (unsigned long long)broken);
	return cli_finish(c, &out, EXIT_DONE);
}

int
demo_sources_feed(struct cli *c, const volatile sig_atomic_t *asked)
{
	struct sink sinks[STREAM_MAX] = {0};
	struct demo_feed *feed = NULL;
	struct model *m;
	struct err e;
	int64_t ms;
	int code;

	if (!seconds_read(&c->args, &ms, &e))
		return cli_fail(c, &e, "weir demo --feed --seconds 60");
	if (!cli_model(c, cli_pipeline(c, 0), &m, &code))
		return code;
	bool good = sinks_open(m, sinks, &e);
	demo_feed_open(&feed, sinks, true);
	good = good && feed_for(feed, ms, asked, &e);
	code = good ? report(c, feed)
		    : cli_fail(c, &e, "topics and queues must be there before they are fed");
	demo_feed_close(feed);
	model_free(m);
	return code;
}
