#include "source.h"

#include "log.h"

const struct source_kind_ops *
source_kind_ops(enum source_kind kind)
{
	static const struct source_kind_ops *const kinds[SOURCE_KIND_MAX] = {
	    [SOURCE_KAFKA] = &source_kafka,
	    [SOURCE_RABBITMQ] = &source_rabbitmq,
	    [SOURCE_FILE] = &source_file,
	};

	check(kind < SOURCE_KIND_MAX);
	return kinds[kind];
}
