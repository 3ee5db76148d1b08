/*
 * sink: where the demo's events go: a file, a Kafka topic or a RabbitMQ queue, the same that a
 * source of a pipeline file reads. One kind is a struct sink_ops at the end of its file.
 */
#ifndef CLI_SINK_H
#define CLI_SINK_H

#include "buf.h"
#include "err.h"
#include "model.h"

enum {
	SINK_UNSETTLED_MAX = 10000, /* events that a broker has not confirmed; then send waits */
	SINK_SETTLE_MS = 30000,	    /* for so long; then it is EXIT_UNAVAILABLE */
};

struct sink_ops {
	/* One event, without a line break; may be kept back until push. key_n 0: it has no key. */
	bool (*send)(void *ctx, const char *line, size_t n, const char *key, size_t key_n,
		     struct err *e);
	bool (*push)(void *ctx, struct err *e);	  /* without waiting, what was sent goes out */
	bool (*settle)(void *ctx, struct err *e); /* all that was sent is safe at its place */
	void (*close)(void *ctx);
};

struct sink {
	const struct sink_ops *ops; /* NULL: not opened, and sink_close does nothing */
	void *ctx;
};

/* By the source's kind; EXIT_UNAVAILABLE: the broker does not answer or has no such place. */
MUSTCHECK bool sink_open(const struct model *m, const struct source *s, struct sink *out,
			 struct err *e);
MUSTCHECK bool sink_file_open(const char *path, struct sink *out, struct err *e);
MUSTCHECK bool sink_kafka_open(const struct model *m, const struct source *s, struct sink *out,
			       struct err *e);
MUSTCHECK bool sink_rabbit_open(const struct model *m, const struct source *s, struct sink *out,
				struct err *e);
void sink_close(struct sink *s);

/* The value of a secret of a source, sources.<source>.<what>; appended. */
MUSTCHECK bool sink_secret(const struct model *m, const struct source *s, const char *what,
			   struct buf *out, struct err *e);

#endif
