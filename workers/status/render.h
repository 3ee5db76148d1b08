/* render: a view as what the endpoints answer. Each appends to out. */
#ifndef STATUS_RENDER_H
#define STATUS_RENDER_H

#include "buf.h"
#include "view.h"

void render_status(const struct view *v, struct buf *out); /* JSON, /status (json.c) */
/* JSON, /readyz; true: ready (200), false: 503, with every reason (json.c) */
bool render_ready(const struct view *v, struct buf *out);
void render_metrics(const struct view *v,
		    struct buf *out); /* Prometheus text, /metrics (prometheus.c) */

#endif
